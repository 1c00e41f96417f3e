"""Medians, intervals and verdicts. Pure.

Values of one visit belong together, and so do visits of one boot: what is resampled is boots, and visits within boots,
never single values. A comparison is a ratio to the baseline in the same cell otherwise, with its interval.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from study.collect.onboard.factors import EXITS, GUEST_STATES, HOST_STATES, RIG, STRATEGIES, kind_of
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


def summarise(frame: pd.DataFrame, baselines: Mapping[str, str]) -> pd.DataFrame:
    """Return one row for each cell and metric: median, interval, n at each level, ratio to the baseline, verdict.

    Parameters
    ----------
    frame : DataFrame
        As study.analyze.frame.tidy returns it.
    baselines : mapping of str to str
        For each board the strategy to compare with. Its control arm is compared with it like any other.

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
    medians: dict[tuple[str, ...], dict[str, list[float]]] = {}
    sizes = Counter[tuple[str, ...]]()
    for *tags, boot, _, median, size in visits.itertuples(index=False, name=None):
        medians.setdefault(tuple(tags), {}).setdefault(boot, []).append(median)
        sizes[tuple(tags)] += size
    resampled = {}
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for key, by_boot in medians.items():
        boots = [np.array(values) for values in by_boot.values()]
        every = np.concatenate(boots)
        resampled[key] = resample(boots, seed=zlib.crc32(repr(key).encode()))
        low, high = interval(resampled[key]) if len(every) > 1 else (np.nan, np.nan)
        rows[key] = {
            "median": float(np.median(every)), "ci_low": low, "ci_high": high,
            "boots": len(boots), "visits": len(every), "values": sizes[key],
        }  # fmt: skip
    for key, row in rows.items():
        cell = dict(zip(CELL, key, strict=True))
        baseline = baselines[cell["board"]]
        against = tuple({**cell, "strategy": baseline, "arm": MAIN}.values())
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
    tables = {"guest": list(GUEST_STATES), "host": list(HOST_STATES), "strategy": list(STRATEGIES), "exit": list(EXITS)}
    tables["arm"] = [MAIN, CONTROL]

    def rank(column: pd.Series) -> pd.Series:
        names = tables.get(str(column.name))
        return column if names is None else column.map({name: n for n, name in enumerate(names)}).fillna(len(names))

    order = ["board", "kernel", "exit", "host", "metric", "guest", "arm", "strategy"]
    return rows.sort_values(order, key=rank, ignore_index=True)


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
    first = boots[0][0]
    if all((visits == first).all() for visits in boots):  # as an emulated board repeats itself
        return np.full(resamples, first)
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


def of_kind(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the rows of one kind of board: ``kvm`` or ``rig``."""
    return rows[rows["board"].map(kind_of) == kind]


def exact(rows: pd.DataFrame) -> bool:
    """Say whether every visit of every cell gave the same, so that nothing is left for an interval to say."""
    return bool((rows["visits"] > 1).all() and (rows["ci_low"] == rows["ci_high"]).all())


def costs(summary: pd.DataFrame, leave: str = "hvc", host: str = "none") -> pd.DataFrame:
    """Return what a round trip costs, a row for each board and guest, a column for each strategy; the control arm apart."""
    rows = timed(summary).query("arm == 'main' and exit == @leave and host == @host")
    return rows.pivot_table(index=["board", "guest"], columns="strategy", values="median", sort=False, observed=True)


def rankings(summary: pd.DataFrame, strategies: Sequence[str] = ("lazy", "eager", "control-scan")) -> pd.DataFrame:
    """Return for each board and guest the strategies from the cheapest to the dearest (hvc, nothing enabled in the host).

    Returns
    -------
    DataFrame
        Index guest, a column for each board; a cell is like ``lazy < control-scan < eager``.
    """
    table = costs(summary)
    named = table[[name for name in strategies if name in table]]
    ranked = named.dropna().apply(lambda row: " < ".join(row.sort_values(kind="stable").index), axis=1)
    wide = ranked.unstack("board")
    return wide.reindex([name for name in GUEST_STATES if name in wide.index])


def trap_costs(summary: pd.DataFrame, strategy: str = "control-scan") -> pd.Series:
    """Return for each board what one trapped access costs: guest touch, once in every round trip, over guest untouched.

    The strategy must be one that does not switch for an access. Where the floor was measured, what the guest itself
    executes for a touch is left out.
    """
    table = costs(summary)
    if strategy not in table:
        return pd.Series(dtype=float)
    more = {name: table[name].unstack("guest").reindex(columns=["touch", "untouched"]) for name in table}
    touch = {name: cost["touch"] - cost["untouched"] for name, cost in more.items()}
    own = touch["none"].fillna(0.0) if "none" in touch else 0.0
    return (touch[strategy] - own).dropna()


def parts(summary: pd.DataFrame, leave: str = "hvc", host: str = "none") -> pd.DataFrame:
    """Return what a round trip on the rig consists of: rows board, guest, strategy; columns of instructions and events."""
    named = {"part-base": "base", "part-scan": "scan", "part-switch": "switch", "part-trap": "trap", "debug-reads": "reads",
             "debug-writes": "writes", "isbs": "ISBs", "traps": "traps"}  # fmt: skip
    rows = of_kind(summary, RIG).query("arm == 'main' and exit == @leave and host == @host")
    wide = rows[rows["metric"].isin(named)].pivot_table(
        index=["board", "guest", "strategy"], columns="metric", values="median", sort=False, observed=True
    )
    return wide[[name for name in named if name in wide]].rename(columns=named)


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
