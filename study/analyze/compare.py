"""Medians, intervals and verdicts. Pure.

From the inside out, a visit is the median of its values, a boot the median of its visits, and a cell the geometric mean of its boots,
with an interval from Student's t over the logarithms of boots. A comparison is a ratio to the baseline, of which
study.analyze.pooling says how sure it is. The intervals of ratios that answer one question hold together, and they decide the verdict:
a row that says "higher" shows an interval that is wholly higher.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special  # Student's t: stdtr() is its distribution, stdtrit() the inverse; scipy.stats takes a second to import

from study.analyze import garbage
from study.analyze.pooling import LEVEL, Array, Numbers, Spread, effects, over_boots
from study.analyze.rounding import OF_A_CHANCE, rounded
from study.design import CONTROL, MAIN
from study.factors import EXITS, GUEST_STATES, HOST_STATES, KVM, STRATEGIES, kind_of
from study.guests import BOOT, GUESTS, WORKLOADS

# A cell of the summary: these tags tell its rows apart.
CELL = ["board", "kernel", "mode", "strategy", "guest", "host", "exit", "arm", "metric", "unit"]
# A comparison is made within these, over strategies and arms, and over kernels where the baseline is on another one.
# What is noisy together: cells of a kernel that leave their guest in the same way, in the same boots.
POOL = ["board", "kernel", "mode", "exit", "metric"]
ROOM = ["board", "exit", "metric"]  # what boots of several kernels have in common
# The comparisons of one table answer one question.
QUESTION = ["board", "kernel", "mode", "exit", "host", "metric"]
CONTEXT = [tag for tag in CELL if tag not in ("kernel", "mode", "strategy", "arm")]
NEAR = [*CONTEXT, "kernel", "mode"]
# What tells the values of one visit and metric from others.
VISIT = ["board", "boot", "visit", "metric"]
AT_ONCE = 2**17  # values of which medians are taken at the same time

# What a kernel does as it is, by all of its names.
AS_IT_IS = [name for name, row in STRATEGIES.items() if not row.module]

# What a cell of one campaign has in common with the same cell of another.
SAME = [tag for tag in CELL if tag not in ("kernel", "mode", "arm")]

# A difference that is not larger than this share is of no interest, however sure it is.
SMALLEST_EFFECT = 0.01
# Of a board with more kernels than these, figures and letters show one, and their history.
MOST_KERNELS = 2
# The chance with which the least difference that a design could have seen would have been seen.
POWER = 0.8

BASELINE, LOWER, HIGHER, CANNOT = "baseline", "lower", "higher", "cannot distinguish"

COLUMNS = [
    "median", "ci_low", "ci_high", "boots", "visits", "values", "ratio", "ratio_low", "ratio_high", "p", "least", "verdict",
    "baseline", "margin", "running",
]  # fmt: skip


@garbage.uncollected()
def summarise(frame: pd.DataFrame, baselines: Mapping[str, str], smallest: float = SMALLEST_EFFECT) -> pd.DataFrame:
    """Return one row for each cell and metric: median, interval, n at each level, ratio to the baseline, verdict.

    Parameters
    ----------
    frame : DataFrame
        As study.analyze.frame.tidy returns it.
    baselines : mapping of str to str
        For each board the strategy to compare with, unless the control arm shows another one to be its kernel's baseline. The
        control arm is compared with it like any other. Where a board ran several kernels, a cell is compared with the baseline
        on its own kernel, and a baseline with the one on the first kernel; a kernel as it is with the first as it is.
    smallest : float
        The share below which a difference is of no interest.

    Returns
    -------
    DataFrame
        CELL and COLUMNS, in the order of in_order(). Intervals of medians hold at LEVEL, each by itself; those of ratios hold together
        for all comparisons of a QUESTION, and decide the verdict: see judge(). Without LEAST_BOOTS boots there is no interval (NaN)
        and no verdict, unless every visit of a cell gave the same. `running`: the least share of the time in which a value was counted.
    """
    visits = medians(frame)
    cells = estimate(visits)
    base = bases(cells, baselines)
    reference = references(cells, base)
    effect = effects(visits, reference.to_numpy())
    itself = (reference == cells.index).to_numpy()
    effect = Spread(effect.middle, np.where(itself, np.nan, effect.error), effect.freedom)
    compared = cells.assign(baseline=_words(cells, reference, base))
    compared = compared.join(judge(effect, cells.groupby(QUESTION).ngroup().to_numpy(), smallest))
    compared.loc[itself, ["ratio", "ratio_low", "ratio_high"]] = 1.0
    compared.loc[itself, "verdict"] = BASELINE
    compared["running"] = _running(frame, compared)
    return in_order(compared[[*CELL, *COLUMNS]])


def _running(frame: pd.DataFrame, cells: pd.DataFrame) -> list[float]:
    """Return in which share of the time each cell was counted, at least; all of it where nothing is said of that."""
    if "running" not in frame:
        return [1.0] * len(cells)
    parts = frame.loc[(frame["running"] < 1) & frame["value"].notna(), [*CELL, "running"]]
    least = parts.sort_values("running", ascending=False)
    shares = dict(zip(_keys(least, CELL), least["running"], strict=True))
    return [shares.get(key, 1.0) for key in _keys(cells, CELL)]


def medians(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each visit and metric: its tags, `cell`, `boot`, `block`, `position`, `value`, `values`, `pool`, `room`.

    `value` is the median of the visit's values, `values` their number; what could not be counted is left out. Cells, and what they
    have in common by POOL and ROOM, are numbers.
    """
    changes = np.zeros(len(frame), dtype=bool)
    changes[:1] = True
    for tag in VISIT:
        codes = frame[tag].astype("category").cat.codes.to_numpy()
        changes[1:] |= codes[1:] != codes[:-1]
    starts, counted = np.flatnonzero(changes), frame["value"].notna().to_numpy()
    lost = np.searchsorted(starts, np.flatnonzero(~counted), side="right") - 1
    sizes = np.diff(starts, append=len(frame)) - np.bincount(lost, minlength=len(starts))
    runs = frame[[*CELL, "boot", "visit", "block", "position"]].iloc[starts[sizes > 0]]
    number = runs.groupby(VISIT, sort=False, observed=True).ngroup().to_numpy()
    first = ~pd.Series(number).duplicated().to_numpy()
    values, sizes = frame["value"].to_numpy(), sizes[sizes > 0]
    values = values if counted.all() else values[counted]
    if not first.all():  # rows of a visit are apart
        of_visit = np.repeat(number, sizes)
        values, sizes = values[np.argsort(of_visit, kind="stable")], np.bincount(of_visit)
    visits = runs[first].reset_index(drop=True).assign(value=_middles(values, sizes), values=sizes)
    numbers = {"cell": CELL, "pool": POOL, "room": ROOM}
    return visits.assign(**{name: visits.groupby(tags, sort=False, observed=True).ngroup() for name, tags in numbers.items()})


def _middles(values: Array, sizes: npt.NDArray[np.intp]) -> Array:
    """Return the medians of blocks of values: of the first so many, of the next so many, and so on."""
    found, starts = np.empty(len(sizes)), np.cumsum(sizes) - sizes

    def take(some: npt.NDArray[np.intp]) -> None:
        size = sizes[some[0]]
        low, high = (size - 1) // 2, size // 2
        rows = np.lib.stride_tricks.sliding_window_view(values, size)[starts[some]]
        rows.partition((low, high), axis=1)
        found[some] = (rows[:, low] + rows[:, high]) / 2

    with ThreadPoolExecutor() as threads:
        for size in np.unique(sizes):
            of_size = np.flatnonzero(sizes == size)
            list(threads.map(take, np.array_split(of_size, min(len(of_size), 1 + len(of_size) * size // AT_ONCE))))
    return found


def estimate(visits: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each cell, indexed by its number: CELL, median, interval, n at each level.

    Parameters
    ----------
    visits : DataFrame
        As medians() returns it. Cells are averaged by logarithms, but for those with a value that is not above 0, as a
        counter of rare events may have.
    """
    by_cell = visits.groupby("cell")
    cells = by_cell[CELL].first().astype(str)
    sizes = by_cell.agg(boots=("boot", "nunique"), visits=("value", "size"), values=("values", "sum"))
    unit, value = visits["cell"].to_numpy(), visits["value"].to_numpy()
    on_log = (by_cell["value"].min() > 0).to_numpy()
    # Over the cell's first value, so that what repeats itself exactly is found exactly.
    scale = np.where(on_log, by_cell["value"].first().to_numpy(), 1.0)
    level = np.where(on_log[unit], np.log(np.where(on_log[unit], value / scale[unit], 1.0)), value)
    spread = over_boots(unit, visits["boot"].to_numpy(), level, len(cells))
    for name, ends in zip(("median", "ci_low", "ci_high"), (spread.middle, *spread.interval()), strict=True):
        cells[name] = rounded(np.where(on_log, np.exp(np.where(on_log, ends, 0.0)), ends) * scale)
    return cells.join(sizes)


def bases(cells: pd.DataFrame, baselines: Mapping[str, str]) -> pd.Series:
    """Return for each cell the baseline of its board and kernel: what was measured a second time there, as control arm.

    Where nothing was, it is the kernel as it is, if that is what is measured again on others; or else the board's.
    """
    machine = ["board", "kernel"]
    measured = cells[cells["arm"] == CONTROL]
    others = measured[measured["strategy"].isin(AS_IT_IS)]["board"]
    alone = cells[cells["strategy"].isin(AS_IT_IS) & cells["board"].isin(others)]
    known = pd.concat([measured, alone]).drop_duplicates(machine)
    again = known.set_index(machine)["strategy"].to_dict()
    found = [again.get(key, baselines.get(key[0], "")) for key in _keys(cells, machine)]
    return pd.Series(found, cells.index)


def references(cells: pd.DataFrame, base: pd.Series) -> pd.Series:
    """Return for each cell the number of the one that it is compared with; itself for a baseline, -1 where there is none.

    Parameters
    ----------
    cells : DataFrame
        As estimate() returns it.
    base : Series
        For each cell the strategy that is the baseline there.
    """
    chosen = cells.assign(as_it_is=cells["strategy"].isin(AS_IT_IS))
    main = chosen[chosen["arm"] == MAIN]
    baselines = main[main["strategy"] == base[main.index]]
    near = _number_of(chosen, baselines, NEAR)
    # A baseline is compared with the first kernel's: with itself as it is there, or with the baseline.
    alike = main[main["as_it_is"] | main.index.isin(baselines.index)]
    elsewhere = _number_of(chosen, alike, [*CONTEXT, "as_it_is"])
    found = near.mask(near == chosen.index, elsewhere).fillna(_number_of(chosen, baselines, CONTEXT))
    return found.fillna(-1).astype(int)


def _number_of(cells: pd.DataFrame, rows: pd.DataFrame, tags: list[str]) -> pd.Series:
    """Return for each cell the number of the first of some rows that has the same tags; NaN where none has."""
    first = dict(zip(_keys(rows, tags)[::-1], rows.index[::-1], strict=True))
    return pd.Series([first.get(key, np.nan) for key in _keys(cells, tags)], cells.index)


def ratios(effect: Spread, together: int | Array = 1) -> dict[str, Array]:
    """Return the ratios whose logarithms are given, and the ends of their intervals, by the names of their columns."""
    low, high = effect.interval(together)
    logs = {"ratio": effect.middle, "ratio_low": low, "ratio_high": high}
    return {name: rounded(np.exp(log)) for name, log in logs.items()}


def judge(effect: Spread, family: Numbers, smallest: float = SMALLEST_EFFECT) -> pd.DataFrame:
    """Say of each effect whether it is a difference: its interval decides.

    Parameters
    ----------
    effect : Spread
        Logarithms of ratios.
    family : array
        Shape (n,): which effects answer one question. Their intervals hold together at LEVEL (Bonferroni).
    smallest : float
        A difference that is not larger than this share is of no interest. Where counts repeat exactly, every difference is one.

    Returns
    -------
    DataFrame
        `ratio ratio_low ratio_high`. `p`: of the hypothesis that the ratio is within `margin` of 1, corrected like the interval, NaN
        without one. `least`: the smallest difference, as a share, that would have been found with a chance of POWER. `verdict`: HIGHER
        where the interval is wholly above 1 and the margin, LOWER where it is wholly below, CANNOT elsewhere. `margin`: `smallest`, or
        0 where counts repeat exactly.
    """
    tests = pd.Series(effect.error > 0).groupby(family).transform("sum").clip(lower=1).to_numpy()
    shown = ratios(effect, tests)
    margin = np.where(effect.error == 0, 0.0, smallest)
    above, below = shown["ratio_low"] > rounded(1 + margin), shown["ratio_high"] < rounded(1 / (1 + margin))
    beyond = np.abs(effect.middle) - np.log1p(margin)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        single = np.where(beyond > 0, 2 * special.stdtr(effect.freedom, -beyond / effect.error), 1.0)
    p = np.where(np.isnan(effect.error), np.nan, np.minimum(single * tests, 1.0))
    quantile = special.stdtrit(effect.freedom, 1 - (1 - LEVEL) / 2 / tests) + special.stdtrit(effect.freedom, POWER)
    least = np.expm1(np.log1p(margin) + np.where(effect.error == 0, 0.0, quantile * effect.error))
    return pd.DataFrame({
        **shown, "p": rounded(p, OF_A_CHANCE), "least": rounded(least, OF_A_CHANCE),
        "verdict": np.where(above, HIGHER, np.where(below, LOWER, CANNOT)), "margin": margin,
    })  # fmt: skip


def _keys(cells: pd.DataFrame, tags: list[str]) -> list[tuple[str, ...]]:
    return list(zip(*(_plain(cells[tag]) for tag in tags), strict=True))


def _plain(column: pd.Series) -> list[Any]:
    """Return the values of a column: those of pandas' columns of text are slow to come by one by one."""
    found: list[Any] = column.to_numpy(dtype=object).tolist()
    return found


def _words(cells: pd.DataFrame, reference: pd.Series, base: pd.Series) -> list[str]:
    """Return what each cell is compared with: a strategy, and the kernel where it is another one."""
    names, kernels = _plain(cells["strategy"]), _plain(cells["kernel"])
    return [
        name if at < 0 else names[at] if kernels[at] == kernel else f"{names[at]}, {kernels[at]}"
        for name, at, kernel in zip(base, reference, kernels, strict=True)
    ]


def moved(now: pd.DataFrame, before: pd.DataFrame, smallest: float = SMALLEST_EFFECT) -> pd.DataFrame:
    """Return for each timed cell of two campaigns what became of its median.

    Parameters
    ----------
    now, before : DataFrame
        As study.analyze.frame.tidy returns them. Of a board with several kernels one is compared; the two campaigns may
        have measured different kernels, and share no boots.
    smallest : float
        A difference that is not larger than this share is of no interest.

    Returns
    -------
    DataFrame
        SAME, `before` and `now` (medians, NaN where the cell is missing), and what judge() says of
        now over before, in the order of in_order().
    """
    visits = pd.concat([_one_arm(before, "before"), _one_arm(now, "now")], ignore_index=True)
    visits["cell"] = visits.groupby([*SAME, "campaign"], sort=False).ngroup()
    cells = visits.drop_duplicates("cell").set_index("cell")[[*SAME, "campaign"]].join(estimate(visits)["median"])
    wide = cells.reset_index().pivot(index=SAME, columns="campaign", values=["cell", "median"])
    wide = wide.reindex(columns=pd.MultiIndex.from_product([["cell", "median"], ["before", "now"]]))
    pairs = wide["cell"].dropna().astype(int)
    reference = np.full(len(cells), -1)
    reference[pairs["now"]] = pairs["before"]
    effect = effects(visits, reference)
    judged = judge(effect, cells.groupby(["board", "exit", "host"], sort=False).ngroup().to_numpy(), smallest)
    found = wide["median"].join(judged.loc[pairs["now"]].set_axis(pairs.index))
    return in_order(found.reset_index().assign(arm=MAIN, kernel=""))[[*SAME, "before", "now", *judged.columns]]


def _one_arm(frame: pd.DataFrame, campaign: str) -> pd.DataFrame:
    """Return the timed visits of a campaign, without its control arm and of one kernel of each board."""
    visits = timed(one_kernel(medians(frame[frame["arm"] == MAIN])))
    tags = visits[CELL].astype(str)
    return visits.assign(
        **{name: tags[name] for name in CELL}, campaign=campaign, boot=campaign + " " + visits["boot"].astype(str),
        pool=campaign + " " + visits["pool"].astype(str), room=tags[ROOM].agg(" ".join, axis=1),
    )  # fmt: skip


def widest(summary: pd.DataFrame) -> float:
    """Return the width of the widest interval of a ratio, as a share of the ratio; infinite where one has none.

    What is looked at is what is timed, but for the baselines themselves.
    """
    rows = timed(summary).query("verdict != @BASELINE")
    return float(((rows["ratio_high"] - rows["ratio_low"]) / rows["ratio"]).fillna(np.inf).max()) if len(rows) else np.inf


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in the order of the tables of factors, kernels by their numbers, the control arm last; other names come last."""
    tables = {"guest": [*GUEST_STATES, *GUESTS], "host": list(HOST_STATES), "strategy": list(STRATEGIES), "exit": list(EXITS)}
    tables |= {"arm": [MAIN, CONTROL], "phase": [BOOT, *WORKLOADS]}
    if "kernel" in rows:
        tables["kernel"] = sorted(rows["kernel"].astype(str).unique(), key=_by_numbers)

    def rank(column: pd.Series) -> pd.Series:
        names = tables.get(str(column.name))
        return column if names is None else column.map({name: n for n, name in enumerate(names)}).fillna(len(names))

    order = ["board", "kernel", "exit", "host", "metric", "guest", "phase", "arm", "strategy"]
    return rows.sort_values([name for name in order if name in rows], key=rank, ignore_index=True)


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Return a key by which 6.12 comes after 6.1 and 6.9."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", name) if word]


def timed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that pyperf timed: a path length on an emulated board, a time on any other.

    Of a board that has none, as where only perf counted, all rows are returned.
    """
    by_pyperf = rows["metric"].isin(["clock", "time", "memory", "count"])
    return rows[by_pyperf | ~rows["board"].isin(rows.loc[by_pyperf, "board"])]


def one_kernel(rows: pd.DataFrame) -> pd.DataFrame:
    """Return of each board that ran several kernels the rows of one: that of the baselines, or else the first."""
    known = rows.sort_values("verdict", key=lambda column: column != BASELINE, kind="stable") if "verdict" in rows else rows
    kernels = known.drop_duplicates("board").astype({"board": str}).set_index("board")["kernel"]
    return rows[rows["kernel"].astype(str) == rows["board"].astype(str).map(kernels.astype(str))]


def in_focus(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what figures and letters show of a campaign that varies a lot: tables have the rest.

    Of boards that ran more than MOST_KERNELS kernels one kernel is left, and of Linux boards the host that does not debug.
    """
    many = rows.groupby("board", observed=True)["kernel"].nunique()
    shown = rows[~rows["board"].isin(many.index[many <= MOST_KERNELS])]
    kept = rows[rows["board"].isin(many.index[many <= MOST_KERNELS]) | rows.index.isin(one_kernel(shown).index)]
    idle = (kept["host"] == "none") | ~kept["host"].isin(list(HOST_STATES)) | (kept["board"].map(kind_of) != KVM)
    return kept[idle | ~kept["board"].isin(kept.loc[kept["host"] == "none", "board"])]


def of_kind(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the rows of one kind of board: ``kvm`` or ``rig``."""
    return rows[rows["board"].map(kind_of) == kind]


def exact(rows: pd.DataFrame) -> bool:
    """Say whether every visit of every cell gave the same, so that nothing is left for an interval to say; of no cell it is not so."""
    return bool(len(rows) and (rows["visits"] > 1).all() and (rows["ci_low"] == rows["ci_high"]).all())


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
