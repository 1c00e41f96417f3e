"""What the statistics of the study are worth: how often they are wrong, and how fast they are beside scipy's bootstrap."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from study.analyze import compare, cost, frame, pooling, simulate, tables
from study.bench import analysis
from study.bench.rows import Row, in_turns, ratio
from study.campaign import Campaign

PROOF = (
    "Sizes are boots x visits x values of a cell; a campaign makes 60 comparisons. covered, median: intervals of a ratio, and of a\n"
    "median, that hold the truth. any false: campaigns with a verdict on a cell that differs by at most 1 %; pyperf's: by its\ntest, on one that is equal.\n"
    "2 %, 5 %: how often a difference of that size is told. The rest is in bench.json, and in notebooks/simulation.ipynb."
)


def proof(campaigns: int, say: Callable[[str], None]) -> pd.DataFrame:
    """Return the table of simulated campaigns, so many for each noise and size, and say what is in it."""
    found = simulate.table(campaigns, seed=1)
    say(f"\n{tables.proof(found)}\n\n{PROOF}\n")
    return found


def rows(say: Callable[[str], None]) -> list[Row]:
    """Compare with scipy: all intervals of a campaign of 300 cells at once, and its bootstrap, called for each cell."""
    with tempfile.TemporaryDirectory() as place:
        say("writing a simulated campaign of 300 cells")
        measured = analysis.campaign(Path(place) / "c", analysis.BOARDS, values=analysis.FEW)
        say("comparing with scipy's bootstrap")
        return [intervals(measured)]


def intervals(measured: Campaign) -> Row:
    """Return the row of all intervals of a campaign's medians, of visits that were read before."""
    visits = compare.timed(compare.medians(frame.tidy(measured)))
    visits = visits.assign(cell=visits.groupby("cell").ngroup())
    unit, boot, logs = visits["cell"].to_numpy(), visits["boot"].to_numpy(), np.log(visits["value"].to_numpy())
    cells = [here["value"].to_numpy() for _, here in visits.groupby("cell")]

    def ours() -> None:
        pooling.over_boots(unit, boot, logs, len(cells)).interval()

    def scipys() -> None:
        for values in cells:
            stats.bootstrap((values,), np.median, n_resamples=cost.RESAMPLES, method="percentile", rng=1)

    mine, theirs = in_turns(lambda: _seconds(ours), lambda: _seconds(scipys))
    return ratio("all intervals / scipy's bootstrap of each cell", 1.0, ("over_boots", mine), ("scipy.stats.bootstrap", theirs))


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
