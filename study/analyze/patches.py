"""What each patch of a series moves: against the commit before it, and against the base. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from study.analyze import compare, pooling, tables
from study.analyze.rounding import rounded
from study.design import CONTROL, MAIN

# What a cell of a series is, beside its patch.
PLACE = ["board", "exit", "guest", "host", "metric", "unit"]
BEFORE, BASE, AGAIN = "the one before", "base", "itself"
MISSING = "not measured"
QUIET = "none"  # what a host has enabled that does not debug
MOVED = [
    "median",
    "moved",
    "moved_low",
    "moved_high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "p",
    "least",
    "verdict",
    "margin",
    "boots",
]
COLUMNS = ["patch", "label", *PLACE, "mode", "than", *MOVED]


def moves(visits: pd.DataFrame, series: Mapping[str, Any], smallest: float = compare.SMALLEST_EFFECT) -> pd.DataFrame:
    """Return what every patch of a series moves in every cell.

    Parameters
    ----------
    visits : DataFrame
        As compare.medians() returns it.
    series : mapping
        As Campaign.series() returns it; empty if there is none.
    smallest : float
        A difference that is not larger than this share is of no interest.

    Returns
    -------
    DataFrame
        COLUMNS, in the order of the series. `patch` counts from 1; 0 is the base, whose row is its control arm over itself. `than` is
        what a row is compared with. `ratio` has a 95 % interval, and `moved` is what it comes to in `unit`. The intervals of all cells and
        patches of a board hold together, and decide the verdict. Empty where nothing was measured.
    """
    alone = visits.astype(dict.fromkeys(compare.CELL, str))
    alone = compare.timed(alone[alone["strategy"].isin(compare.AS_IT_IS)])
    rows = [series["base"], *series["patches"]] if series else []
    found = [
        alone[(alone["kernel"] == row["kernel"]) & (alone["arm"] == arm)].assign(patch=place, label=row["label"])
        for place, row in enumerate(rows)
        for arm in ([MAIN] if place else [MAIN, CONTROL])
    ]
    if not found or all(part.empty for part in found):
        return pd.DataFrame(columns=COLUMNS)
    each = pd.concat(found, ignore_index=True)
    each["cell"] = each.groupby(["patch", *PLACE, "arm"], sort=False).ngroup()
    tags = each.drop_duplicates("cell").set_index("cell")[["patch", "label"]]
    cells = compare.estimate(each).join(tags)
    known = {key: cell for cell, *key in cells[["patch", *PLACE, "arm"]].itertuples(name=None) for key in [tuple(key)]}
    parts = []
    for than in (AGAIN, BEFORE, BASE):
        reference = np.array([known.get(_other(than, key, known), -1) for key in known])
        parts.append(_compared(each, cells, reference, than, smallest))
    order = [(place, than) for place in range(len(rows)) for than in (AGAIN, BEFORE, BASE)]
    moved = compare.in_order(pd.concat(parts).assign(arm=MAIN, kernel="", strategy=""))
    moved["order"] = [order.index(key) for key in zip(moved["patch"], moved["than"], strict=True)]
    return moved.sort_values(["order"], kind="stable", ignore_index=True)[COLUMNS]


def _other(than: str, key: tuple[Any, ...], known: Mapping[tuple[Any, ...], int]) -> tuple[Any, ...]:
    """Return the cell that one is compared with; nothing where it is not to be."""
    patch, *place, arm = key
    if than == AGAIN:
        return (patch, *place, MAIN) if arm == CONTROL else ()
    if patch == 0:
        return ()
    earlier = (0,) if than == BASE else range(patch - 1, -1, -1)
    return next(((other, *place, MAIN) for other in earlier if (other, *place, MAIN) in known), ())


def _compared(each: pd.DataFrame, cells: pd.DataFrame, reference: Any, than: str, smallest: float) -> pd.DataFrame:
    effect = pooling.effects(each, reference)
    judged = compare.judge(effect, cells.groupby("board", sort=False).ngroup().to_numpy(), smallest)
    found = cells.assign(than=than).join(judged)
    other = np.where(reference >= 0, cells["median"].reindex(reference).to_numpy(), np.nan)
    for name in ("ratio", "ratio_low", "ratio_high"):
        found[name.replace("ratio", "moved")] = rounded(other * (found[name] - 1))
    return found[reference >= 0]


def leading(moved: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each board, patch and `than`: the cell that moved most, with `cells` and how many of them `differ`.

    Parameters
    ----------
    moved : DataFrame
        As moves() returns it.
    """
    by = ["board", "patch", "than"]
    rows = moved.assign(size=np.log(moved["ratio"]).abs(), differs=moved["verdict"].isin([compare.HIGHER, compare.LOWER]))
    first = rows.sort_values("size", ascending=False, kind="stable").drop_duplicates(by).set_index(by)
    counted = rows.groupby(by).agg(cells=("size", "size"), differ=("differs", "sum"))
    found = first.join(counted).reset_index()
    places = {than: place for place, than in enumerate((AGAIN, BEFORE, BASE))}
    return found.sort_values(by, key=lambda column: column.map(places) if column.name == "than" else column, ignore_index=True)


def final(moved: pd.DataFrame) -> pd.DataFrame:
    """Return of each board the cells of its last patch over the base: what the series as a whole moves."""
    rows = moved[moved["than"] == BASE]
    return rows[rows["patch"] == rows.groupby("board")["patch"].transform("max")]


def steps(moved: pd.DataFrame) -> pd.DataFrame:
    """Return of leading() the commits that are sure to differ from the one before, and the whole series over its base; `named` is what it is."""
    rows, last = leading(moved), leading(final(moved)).assign(named="whole series")
    told = rows[(rows["than"] == BEFORE) & (rows["differ"] > 0)]
    return pd.concat([told.assign(named=told["label"]), last]).sort_values("board", kind="stable", ignore_index=True)


def commits(series: Mapping[str, Any]) -> list[str]:
    """Return a line for each commit: its label, its first digits, its subject; and why it has no figures of its own, if it has none."""
    rows = [series["base"], *series["patches"]]
    width = max(len(row["label"]) for row in rows)
    apart = {"": " [not measured: {why}]"} | {row["label"]: " [the same build as {kernel}]" for row in rows}
    return [
        f"{row['label']:<{width}}  {row['commit'][:12]}  {row['subject']}"
        + (apart[row["kernel"]].format(**row) if row["kernel"] != row["label"] else "")
        for row in rows
    ]


def table(moved: pd.DataFrame, series: Mapping[str, Any], style: str = "text") -> str:
    """Return for each board a row for each patch: in the cell that moved most, what it moved, with interval and verdict.

    Parameters
    ----------
    moved : DataFrame
        As moves() returns it.
    series : mapping
        As Campaign.series() returns it; empty if there is none.
    style : str
        A row of tables.FORMATS. Text has a table for each thing that patches are compared with, so that it fits tables.WIDTH.
    """
    if not series:
        return tables.prose("This campaign measures no patch series.", style) + "\n"
    parts = []
    for board, rows in leading(moved).groupby("board", sort=False):
        parts.append(tables.title(f"{board} ({rows['mode'].iloc[0]}): {tables.what(rows)}", style))
        known = {(row.patch, row.than): row for row in rows.itertuples()}
        if style == "text":
            parts += [_narrow(known, series, than) for than in (BEFORE, BASE)]
        else:
            parts.append(_wide(known, series, style))
    parts.append(
        tables.prose(
            f"{NOTE.format(smallest=tables.percent(moved['margin'].max()))} {_boots(moved)}"
            if len(moved)
            else "No patch was measured.",
            style,
        )
    )
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


SHORT_NOTE = "The cell, exit and guest, that each patch moves most against the one before; all: the series against its base{}."
NOTE = (
    "Of each patch the cell, exit and guest, that moved most. The 95 % intervals of all cells and patches of a board hold together, and a "
    "verdict needs one that is wholly more than {smallest} away. The row of the base is the base measured a second time: what should not move. Against the base, the last row is the whole series."
)


def _boots(moved: pd.DataFrame) -> str:
    """Say over how many boots a kernel was measured."""
    low, high = moved["boots"].min(), moved["boots"].max()
    return f"Each kernel was measured in {low if low == high else f'{low} to {high}'} boots."


Known = Mapping[tuple[int, str], Any]


def _narrow(known: Known, series: Mapping[str, Any], than: str) -> str:
    """Return what patches move against one thing, for a mail."""
    body = []
    for place, commit in enumerate([series["base"], *series["patches"]]):
        cell, number, ends, verdict, _ = words_of(known.get((place, than if place else AGAIN)))
        name = f"{commit['label']} again" if not place else tables.shorten(commit["label"], 17)
        body.append([name, cell, number, ends, "unmeasured" if verdict == MISSING else verdict])
    return tables.table([f"than {than.rpartition(' ')[2]}", "cell", "moved", "interval", "verdict"], body, "llrrl", "text")


def _wide(known: Known, series: Mapping[str, Any], style: str) -> str:
    """Return what patches move against the one before and against the base, beside each other."""
    body = []
    for place, commit in enumerate([series["base"], *series["patches"]]):
        thans = (BEFORE, BASE) if place else (AGAIN,)
        rows = [words_of(known.get((place, than))) for than in thans]
        cells = [
            word for cell, number, ends, verdict, some in rows for word in (cell, f"{number} ({ends})", f"{verdict}, {some}")
        ]
        digits = [commit["commit"][:12]] * (style == "markdown")  # a page has no room for them in its width, and names them above
        body.append([commit["label"] + " again" * (not place), *digits, *cells, *[""] * (6 - len(cells))])
    heads = [head for than in (BEFORE, BASE) for head in (f"against {than}", "moved", "verdict, cells")]
    first = ["patch", *["commit"] * (style == "markdown")]
    return tables.table([*first, *heads], body, "l" * len(first) + "lrl" * 2, style)


def words_of(row: Any) -> list[str]:
    """Return what a patch moved most, in words: the cell, by how much, the interval, the verdict, and how many cells differ, of how many."""
    if row is None:
        return ["-", "-", "-", MISSING, "-"]
    moved, low, high = (value * tables.scale(row.unit)[0] for value in (row.moved, row.moved_low, row.moved_high))
    cell, found = cell_of(row.exit, row.guest, row.host), f"{row.differ} of {row.cells}"
    if math.isnan(low):
        return [cell, _signed(moved), "-", tables.NO_INTERVAL, found]
    write = _signed if row.verdict == compare.CANNOT else _finely
    return [cell, write(moved), f"{write(low)} to {write(high)}", row.verdict, found]


def cell_of(leave: str, guest: str, host: str) -> str:
    """Return what people call a cell: its exit and its guest, and behind a slash its host, if that debugs, too."""
    return f"{leave} {guest}" + (f"/{host}" if host != QUIET else "")


def _signed(value: float) -> str:
    return f"{round(value):+d}"


def _finely(value: float) -> str:
    """Write what is sure: counts that repeat exactly may differ by less than one."""
    return _signed(value) if round(value) or not value else f"{value:+.1g}"


def whole(moved: pd.DataFrame) -> dict[str, list[str]]:
    """Say of each board in two sentences what the series as a whole moves against its base, and which patch moves most."""
    rows, found = leading(moved) if len(moved) else moved, {}
    for board, own in rows.groupby("board", sort=False):
        (last,) = own[own["than"] == BASE].iloc[-1:].itertuples()
        before = own[own["than"] == BEFORE]
        (most,) = before.loc[before["ratio"].map(math.log).abs().sort_values().index[-1:]].itertuples()
        found[str(board)] = [f"the series as a whole moves {said(last)}", f"the largest step is {most.label}: {said(most)}"]
    return found


def said(row: Any) -> str:
    """Say of a row of leading() which cell moved most, by how much, and how sure that is."""
    cell, number, ends, verdict, _ = words_of(row)
    return f"{cell} by {number} ({ends}; {verdict}), the most of {tables.plural(row.cells, 'cell')}"


def dearer(moved: pd.DataFrame) -> pd.DataFrame:
    """Return of each board the cell that the series as a whole makes dearest, as leading() has rows; none where none is dearer for sure.

    Parameters
    ----------
    moved : DataFrame
        As moves() returns it.
    """
    return leading(moved).iloc[:0] if moved.empty else leading(final(moved).query("verdict == @compare.HIGHER"))


def both_ways(moved: pd.DataFrame) -> list[str]:
    """Say how many cells the series as a whole makes cheaper, and dearer, and which of them most: once of boards of which it is the same.

    Parameters
    ----------
    moved : DataFrame
        As moves() returns it.
    """
    said: dict[tuple[str, str], list[str]] = {}
    for board, rows in final(moved).groupby("board", sort=False):
        if rows["ratio_low"].isna().all():
            said.setdefault(("what it moves", ", too few boots say"), []).append(board)
            continue
        sure, parts = rows["verdict"].isin([compare.LOWER, compare.HIGHER]).any(), []
        for verdict, verb in ((compare.LOWER, "lowers"), (compare.HIGHER, "raises")):
            own = rows[rows["verdict"] == verdict]
            if own.empty:
                parts.append(f"{verb} none")
                continue
            cell, number, *_ = words_of(next(leading(own).itertuples()))
            most = "" if len(own) == 1 else "most "
            parts.append(f"{verb} {len(own)}, {most}{cell} ({number})")
        moves = f"it {', and '.join(parts)}" if sure else "none is sure to differ"
        said.setdefault((f"of {tables.plural(len(rows), 'cell')}", f" {moves}"), []).append(board)
    return [
        f"{first} on {'each of ' if len(boards) > 1 else ''}{' and '.join(boards)}{last}"
        for (first, last), boards in said.items()
    ]
