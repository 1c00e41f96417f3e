"""`make bench`: what the statistics are worth, and how fast the analysis is, measured in one run and printed as ratios.

Times of one machine say little by themselves, so each is held against something that everybody has: scipy's bootstrap, or a
bound that the study promises. What is compared is run in turns.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import tabulate
from scipy import stats

from study import paths
from study.analyze import compare, cost, figures, frame, simulate, tables
from study.campaign import Campaign
from study.collect.onboard.factors import KVM
from study.design import STATES, Visit, choose

# A campaign of a million values in 300 cells: 4 boards x 75 cells x 5 boots x 4 visits x 167 values.
BOARDS = tuple(f"simulated-{number}" for number in range(1, 5))
LARGE: dict[str, Any] = {
    "boots": 5,
    "processes": 4,
    "values": 167,
    "loops": 2000,  # as the model has
    "hosts": ("none",),
    "exits": ("hvc", f"mmio:{'+'.join(STATES[:6])}"),
}
PROOF = (
    "Sizes are boots x visits x values of a cell. covered, median: intervals of a ratio, and of a median, that hold the truth. The\n"
    "rest: how often each judge told the control arm from the baseline; interval is the study's interval alone, without a smallest\n"
    "effect and uncorrected. Power at 1, 2 and 5 % is in bench.json, and in notebooks/simulation.ipynb."
)
SECONDS, BYTES = 30.0, 1.5 * 2**30
PAIRS = 5


def campaign(folder: Path) -> Campaign:
    """Write a simulated campaign, of lines like those that boards of data/reference gave, with noise instead of values."""
    made = Campaign.freeze(folder, choose("full", KVM, **LARGE))
    model = next(Campaign(paths.DATA / "reference").records())
    source = np.random.default_rng(1)
    for board in BOARDS:
        visits = made.missing(board)
        for number in sorted({visit.boot for visit in visits}):
            boot = made.open_boot(board, number)
            boot.begin()
            boot.describe({**model.facts, "board": board, "boot_id": f"{board} {number}", "simulated": True})
            shift = 1 + 0.01 * source.standard_normal()
            boot.record(*(_line(visit, model.line, shift, source) for visit in visits if visit.boot == number))
        made.close(board)
    return made


def _line(visit: Visit, model: dict[str, Any], shift: float, source: np.random.Generator) -> dict[str, Any]:
    """Return a visit's line with values of its own."""
    level = 1.5e-6 * shift * (1 + 0.005 * source.standard_normal())
    values = (level * (1 + 0.01 * np.abs(source.standard_normal(LARGE["values"])))).tolist()
    (benchmark,) = model["pyperf"]["benchmarks"]
    suite = {**model["pyperf"], "benchmarks": [{**benchmark, "runs": [{**benchmark["runs"][0], "values": values}]}]}
    cell = {name: getattr(visit.cell, name) for name in ("strategy", "guest", "host", "exit")}
    return {**model, "visit": visit.name, "block": visit.block, "arm": visit.cell.arm, "cell": cell, "pyperf": suite}


def pipeline(folder: Path) -> dict[str, float]:
    """Do all of the analysis of a campaign, and return the seconds of each step, and the peak of this process's memory."""
    took: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        took[name] = time.perf_counter() - started
        return result

    measured = Campaign(folder)
    values = timed("frame", lambda: frame.tidy(measured))
    summary = timed("intervals", lambda: compare.summarise(values, measured.baselines()))
    timed("cost model", lambda: cost.fits(compare.medians(values)))
    timed("tables", lambda: tables.save_all(summary, folder / "out"))
    timed("figures", lambda: figures.save_all(figures.draw_all(values, summary), folder / "out", progress=lambda text: None))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        **took,
        "values": float((values["metric"] == "clock").sum()),
        "cells": float(len(compare.timed(summary))),
        "peak": peak,
    }


def intervals(folder: Path) -> list[float]:
    """Return how often as fast as scipy's bootstrap, called for each cell, all intervals of medians are found: pair by pair."""
    visits = compare.timed(compare.medians(frame.tidy(Campaign(folder))))
    visits = visits.assign(cell=visits.groupby("cell").ngroup())
    unit, boot, logs = visits["cell"].to_numpy(), visits["boot"].to_numpy(), np.log(visits["value"].to_numpy())
    cells = [here["value"].to_numpy() for _, here in visits.groupby("cell")]

    def ours() -> None:
        compare.over_boots(unit, boot, logs, len(cells)).interval()

    def scipys() -> None:
        for values in cells:
            stats.bootstrap((values,), np.median, n_resamples=cost.RESAMPLES, method="percentile", rng=1)

    return [_seconds(scipys) / _seconds(ours) for _ in range(PAIRS)]


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@click.command()
@click.option(
    "--campaigns",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Campaigns to simulate for each noise and size.",
)
@click.option("--out", type=click.Path(path_type=Path), default=paths.PAPER / "bench", help="Folder of bench.json.")
@click.option("--pipeline", "only", type=click.Path(path_type=Path), hidden=True)
def main(campaigns: int, out: Path, only: Path | None) -> None:
    """Measure what the statistics of the study are worth, and how fast they are."""
    if only:
        print(json.dumps(pipeline(only)))
        return
    proof = simulate.table(campaigns, seed=1)
    print(f"\n{tables.proof(proof)}\n\n{PROOF}\n")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "large"
        print("writing a simulated campaign of a million values (about a minute)", flush=True)
        campaign(folder)
        print("analysing it", flush=True)
        command = [sys.executable, "-m", "study.bench", "--pipeline", str(folder)]
        took = json.loads(subprocess.run(command, cwd=paths.ROOT, check=True, capture_output=True, text=True).stdout)
        print("comparing with scipy's bootstrap", flush=True)
        faster = intervals(folder)
    seconds = sum(took[name] for name in ("frame", "intervals", "cost model", "tables", "figures"))
    rows = [
        ["analysis of a million values, of 30 s", f"{seconds / SECONDS:.2f}", f"{seconds:.1f} s", "1"],
        ["  its memory, of 1.5 GiB", f"{took['peak'] / BYTES:.2f}", f"{took['peak'] / 2**20:.0f} MiB", "1"],
        ["scipy's bootstrap of each cell / all intervals", f"{statistics.median(faster):.0f}",
         f"{min(faster):.0f} to {max(faster):.0f}", str(PAIRS)],
    ]  # fmt: skip
    print(tabulate.tabulate(rows, ["row", "ratio", "value or spread", "n"], colalign=["left", "right", "right", "right"]))
    out.mkdir(parents=True, exist_ok=True)
    report = {"simulation": proof.to_dict("records"), "large": took, "scipy over ours": faster}
    (out / "bench.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
