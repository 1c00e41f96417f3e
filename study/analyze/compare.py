"""Medians, intervals and verdicts. Pure.

Values of one visit belong together, and so do visits of one boot: what is resampled is boots, and visits within boots,
never single values. A comparison is a ratio to the baseline in the same cell otherwise, with its interval.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pandas as pd

from study.collect.onboard.factors import EXITS, GUEST_STATES, STRATEGIES
from study.design import CONTROL, MAIN

# A cell of the summary: these tags tell its rows apart.
CELL = ["board", "kernel", "mode", "strategy", "guest", "host", "exit", "arm", "metric", "unit"]
# A comparison is made within these, over strategies and arms.
CONTEXT = [tag for tag in CELL if tag not in ("strategy", "arm")]

RESAMPLES = 2000
LEVEL = 0.95
# Ratios closer to 1 than this are not called a difference: boots of one board agree no better.
SMALLEST_EFFECT = 0.01

BASELINE, LOWER, HIGHER, CANNOT = "baseline", "lower", "higher", "cannot distinguish"


def summarise(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return one row for each cell and metric: median, interval, n at each level, ratio to the baseline, verdict.

    Parameters
    ----------
    frame : DataFrame
        As study.analyze.frame.tidy returns it.
    baseline : str
        The strategy to compare with. Its control arm is compared with it like any other.

    Returns
    -------
    DataFrame
        CELL, ``median ci_low ci_high boots visits values ratio ratio_low ratio_high verdict baseline``. Intervals are
        95 % percentile intervals of the median over resampled boots and visits; with one visit there is none (NaN).
        The verdict speaks of a difference only if the interval of the ratio leaves 1 out and the ratio is at least
        SMALLEST_EFFECT away from it.
    """
    counted = frame.dropna(subset="value")
    visits = counted.groupby([*CELL, "boot", "visit"], sort=False, observed=True)["value"].agg(["median", "size"]).reset_index()
    resampled = {}
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, group in visits.groupby(CELL, sort=False, observed=True):
        boots = [part["median"].to_numpy() for _, part in group.groupby("boot", sort=False, observed=True)]
        resampled[key] = medians = resample(boots, seed=zlib.crc32(repr(key).encode()))
        low, high = interval(medians) if len(group) > 1 else (np.nan, np.nan)
        rows[key] = {
            "median": float(group["median"].median()), "ci_low": low, "ci_high": high,
            "boots": len(boots), "visits": len(group), "values": int(group["size"].sum()),
        }  # fmt: skip
    for key, row in rows.items():
        tags = dict(zip(CELL, key, strict=True))
        against = tuple({**tags, "strategy": baseline, "arm": MAIN}.values())
        row |= {"baseline": baseline} | (
            {"ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0, "verdict": BASELINE}
            if key == against
            else _compare(row, resampled[key], rows.get(against), resampled.get(against))
        )
    summary = pd.DataFrame([dict(zip(CELL, key, strict=True)) | row for key, row in rows.items()])
    columns = [
        "median",
        "ci_low",
        "ci_high",
        "boots",
        "visits",
        "values",
        "ratio",
        "ratio_low",
        "ratio_high",
        "verdict",
        "baseline",
    ]
    return in_order(summary[[*CELL, *columns]])


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in the order of the tables of factors, the control arm last; names that no table has come last."""
    tables = {"guest": list(GUEST_STATES), "strategy": list(STRATEGIES), "exit": list(EXITS), "arm": [MAIN, CONTROL]}

    def rank(column: pd.Series) -> pd.Series:
        names = tables.get(str(column.name))
        return column if names is None else column.map({name: n for n, name in enumerate(names)}).fillna(len(names))

    return rows.sort_values(["board", "kernel", "exit", "metric", "guest", "arm", "strategy"], key=rank, ignore_index=True)


def resample(boots: list[np.ndarray], seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Return medians over resampled boots and visits.

    Parameters
    ----------
    boots : list of arrays
        For each boot the medians of its visits, shape (visits,).
    seed : int
        Of the resampling, so that the same data give the same interval.
    resamples : int
        How many.

    Returns
    -------
    array
        Shape (resamples,).
    """
    source = np.random.default_rng(seed)
    sizes = np.array([len(visits) for visits in boots])
    padded = np.full((len(boots), sizes.max()), np.nan)
    for row, visits in zip(padded, boots, strict=True):
        row[: len(visits)] = visits
    chosen = source.integers(len(boots), size=(resamples, len(boots)))
    which = np.floor(source.random((resamples, len(boots), sizes.max())) * sizes[chosen][..., None]).astype(int)
    drawn = padded[chosen[..., None], which]
    middle = np.median
    if (sizes != sizes.max()).any():
        drawn[np.arange(sizes.max()) >= sizes[chosen][..., None]] = np.nan
        middle = np.nanmedian
    return np.asarray(middle(drawn, axis=(1, 2)))


def interval(resampled: np.ndarray) -> tuple[float, float]:
    """Return the percentile interval at LEVEL."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def verdict(ratio: float, low: float, high: float) -> str:
    """Say whether a ratio to the baseline is a difference."""
    if low > 1 and ratio >= 1 + SMALLEST_EFFECT:
        return HIGHER
    if high < 1 and ratio <= 1 - SMALLEST_EFFECT:
        return LOWER
    return CANNOT


def _compare(
    row: dict[str, Any], medians: np.ndarray, base: dict[str, Any] | None, base_medians: np.ndarray | None
) -> dict[str, Any]:
    if base is None or base_medians is None or not base["median"] > 0 or not (base_medians > 0).all():
        return {"ratio": np.nan, "ratio_low": np.nan, "ratio_high": np.nan, "verdict": CANNOT}
    ratio = row["median"] / base["median"]
    if row["visits"] == 1 or base["visits"] == 1:
        return {"ratio": ratio, "ratio_low": np.nan, "ratio_high": np.nan, "verdict": CANNOT}
    low, high = interval(medians / base_medians)
    return {"ratio": ratio, "ratio_low": low, "ratio_high": high, "verdict": verdict(ratio, low, high)}


def timed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that pyperf timed: a path length on an emulated board, a time on any other."""
    return rows[rows["metric"].isin(["clock", "time"])]


def control_arm(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the control arm: the baseline, measured a second time."""
    return summary[summary["arm"] == CONTROL]


def agreement(summary: pd.DataFrame) -> float:
    """Return by how much at most, as a share, perf's count of a cell differs from its path length by pyperf.

    Only emulated boards can say: there both count instructions. perf counts the kernel and the guest apart from user
    space. NaN without such cells.
    """
    tags = [tag for tag in CELL if tag not in ("metric", "unit")]
    wide = summary.pivot_table(index=tags, columns="metric", values="median")
    if not {"clock", "instructions", "user-instructions"} <= set(wide):
        return float("nan")
    counted = wide["instructions"] + wide["user-instructions"]
    return float((counted / wide["clock"] - 1).abs().max())
