"""What each generation of KVM pays: boards that were measured with several kernels, each of them as it is. Pure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from study.analyze import compare, pooling
from study.analyze.rounding import rounded
from study.factors import GUEST_STATES, as_it_is, version

TAGS = ["board", "kernel", "mode", "does", "exit", "guest"]
COLUMNS = [
    "median",
    "untouched",
    "more",
    "more_low",
    "more_high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "verdict",
    "margin",
    "boots",
]
# The guests of the question: the one of the objection, and the one for which the generations differ.
ASKED, TOUCHING = "mde", "touch"
NOTHING = pd.DataFrame(columns=[*TAGS, "unit", *COLUMNS])


def generations(visits: pd.DataFrame, smallest: float = compare.SMALLEST_EFFECT) -> pd.DataFrame:
    """Return what each guest pays above an untouched one, on each kernel as it is.

    Parameters
    ----------
    visits : DataFrame
        As compare.medians() returns it.
    smallest : float
        A difference that is not larger than this share is of no interest.

    Returns
    -------
    DataFrame
        TAGS, `unit` and COLUMNS, in the order of in_order(): a row for each board, kernel, exit and guest but the untouched, of
        boards that ran several kernels. `does` is what the kernel does by itself; `ratio` is over the untouched guest of the
        same blocks and boots, and `more` what that ratio is in `unit`, both with 95 % intervals over boots. Empty where there is
        no such board.
    """
    wanted = compare.timed(visits.astype(dict.fromkeys(compare.CELL, str))).query("arm == 'main' and host == 'none'")
    alone = wanted[wanted["strategy"].isin(compare.AS_IT_IS)]
    several = alone.groupby("board")["kernel"].nunique()
    alone = alone[alone["board"].isin(several.index[several > 1])]
    if alone.empty:
        return NOTHING
    alone = alone.assign(cell=alone.groupby(compare.CELL, sort=False).ngroup())
    cells = compare.estimate(alone)
    same = ["board", "kernel", "exit", "unit"]
    idle = cells[cells["guest"] == "untouched"].reset_index().set_index(same)
    at = idle["cell"].reindex(pd.MultiIndex.from_frame(cells[same])).fillna(-1).astype(int).to_numpy()
    effect = pooling.effects(alone, np.where(at == cells.index, -1, at))
    untouched = np.where(at >= 0, cells["median"].reindex(at).to_numpy(), np.nan)
    found = cells.assign(untouched=untouched)
    found = found.join(compare.judge(effect, cells.groupby(["board", "exit"], sort=False).ngroup().to_numpy(), smallest))
    for name in ("ratio", "ratio_low", "ratio_high"):
        found[name.replace("ratio", "more")] = rounded(untouched * (found[name] - 1))
    found["does"] = [
        as_it_is(row.kernel) if row.strategy == "stock" else row.strategy for row in found[["kernel", "strategy"]].itertuples()
    ]
    return compare.in_order(found[found["untouched"].notna() & (found["guest"] != "untouched")])[[*TAGS, "unit", *COLUMNS]]


def telling(rows: pd.DataFrame) -> pd.DataFrame:
    """Return of generations() one exit, and the guests that tell the generations apart: those of the question, and the one that rarely touches."""
    rare = max(GUEST_STATES, key=lambda guest: GUEST_STATES[guest].touch_every)
    chosen = [guest for guest in (TOUCHING, ASKED, rare) if guest in set(rows["guest"])] or list(rows["guest"])[:1]
    own = rows[rows["exit"].isin(list(rows["exit"])[:1]) & rows["guest"].isin(chosen)]
    return own.sort_values("guest", key=lambda column: column.map(chosen.index), kind="stable")


def short(kernels: pd.Series) -> dict[str, str]:
    """Return a short name for each kernel of one board: its version, where that tells it from the others."""
    names = list(dict.fromkeys(kernels))
    versions = {name: ".".join(map(str, version(name))) or name for name in names}
    return {name: word if list(versions.values()).count(word) == 1 else name for name, word in versions.items()}
