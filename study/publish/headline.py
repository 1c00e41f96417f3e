"""The one table of a letter, of at most MOST rows, and what is to be read in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.analyze import compare, history, patches, tables
from study.analyze.rounding import difference
from study.analyze.tables import scale
from study.design import MAIN
from study.factors import EXITS, GUEST_STATES, HOST_STATES, STRATEGIES
from study.publish.prose import WIDTH, with_first_line

MOST = 10  # rows
# Of the guests, those that the question is about come first; what others pay is in the tables.
FIRST = ("untouched", history.ASKED, history.TOUCHING, "one", "all")
# What a column of kernels is called, by guest and exit.
PAYS = {
    (history.ASKED, "hvc"): ("monitor mode", "it keeps monitor debug mode (MDSCR_EL1.MDE) on and enables nothing, at each hvc"),
    (history.TOUCHING, "hvc"): ("writes", "it writes a debug register before each hvc"),
    (history.TOUCHING, "mmio"): ("writes, mmio", "the same before each exit to user space"),
}
ROOMS = range(24, 8, -1)  # letters that a patch or a cell may have in its table: as many as there is room for
DEARER = "all, dearer"  # the cell that a series makes dearest
PAYS_NOTE = "What a guest pays above an untouched one, on each kernel as it is: {}."


def headline(summary: pd.DataFrame, grown: pd.DataFrame, moved: pd.DataFrame, series: Mapping[str, Any]) -> list[str]:
    """Return the paragraphs of the table: what it is, the table, and what is to be read in it.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign.
    grown, moved : DataFrame
        As history.generations() and patches.moves() return them; what is not empty is the table.
    series : mapping
        As Campaign.series() returns it; empty if there is none.
    """
    if len(moved):
        return _patches(moved, series)
    if len(grown):
        return [*_kernels(grown), *_worse(grown)]
    return _cells(compare.in_focus(compare.timed(summary)))


def _patches(moved: pd.DataFrame, series: Mapping[str, Any]) -> list[str]:
    """Return what each patch moves in the cell that it moves most, and the series as a whole; of many, those that move most."""
    rows = patches.leading(moved)
    steps = rows[rows["than"] == patches.BEFORE]
    whole = rows[(rows["than"] == patches.BASE) & (rows["patch"] == rows["patch"].max())]
    dearer = patches.dearer(moved).assign(named=DEARER)
    room = max(MOST - len(whole) - len(dearer), 1)
    shown = steps.loc[steps["size"].sort_values(ascending=False, kind="stable").index[:room]]
    kept = pd.concat([pd.concat([shown, whole]).sort_index(), dearer])
    names = {place: row["label"] for place, row in enumerate([series["base"], *series["patches"]])}

    def table(room: int) -> str:
        body: list[list[str]] = []
        for board, own in kept.groupby("board", sort=False):
            body.append([tables.shorten(str(board), room + 2), "", "", "", ""])
            for row in own.itertuples():
                cell, *said = patches.words_of(row)[:4]
                body.append([f"  {tables.shorten(_step(row, names), room)}", tables.shorten(cell, room), *said])
        return tables.table(["board, patch", "cell", "moved", "interval", "verdict"], body, "llrrl", "text")

    told = next((told for told in map(table, ROOMS) if max(map(len, told.splitlines())) <= WIDTH), table(ROOMS[-1]))
    left = f" {len(steps) - len(shown)} steps that move less are in the tables." if len(shown) < len(steps) else ""
    note = patches.SHORT_NOTE.format("" if dearer.empty else ", and what it makes dearest")
    return [f"{note}{left}", with_first_line(moved, told)]


def _step(row: Any, names: Mapping[int, str]) -> str:
    """Return what a row is of: a patch, or the whole series."""
    return DEARER if row.named == DEARER else "all" if row.than == patches.BASE else names[row.patch]


def _kernels(grown: pd.DataFrame) -> list[str]:
    """Return what the columns are, and a row for each board and kernel: of more than MOST, each board's oldest and newest."""
    known = grown[["board", "kernel"]].drop_duplicates()
    of_board = known.groupby("board", sort=False)
    shown = known if len(known) <= MOST else pd.concat([of_board.head(1), of_board.tail(1)]).sort_index()[:MOST]
    kept = grown.merge(shown, on=["board", "kernel"])
    pays = {key: words for key, words in PAYS.items() if ((kept["guest"] == key[0]) & (kept["exit"] == key[1])).any()}
    body = []
    for (board, kernel), own in kept.groupby(["board", "kernel"], sort=False):
        names = history.short(grown.loc[grown["board"] == board, "kernel"])
        cells = {(row.guest, row.exit): row for row in own.itertuples()}
        idle = next((row for (_, leave), row in cells.items() if leave == "hvc"), own.iloc[0])
        paid = [_pays(cells[key]) if key in cells else "-" for key in pays]
        body.append([tables.shorten(str(board), 16), names[kernel], tables.number(idle.untouched, idle.unit), *paid])
    heads = ["board", "Linux", "untouched", *(head for head, _ in pays.values())]
    told = tables.table(heads, body, "llr" + "r" * len(pays), "text")
    note = PAYS_NOTE.format("; ".join(f"{head}: {says}" for head, says in pays.values()))
    left = f" {len(known) - len(shown)} kernels are left out here." if len(shown) < len(known) else ""
    metric = kept["unit"].map(lambda unit: "clock" if unit == "instructions" else "time")
    return [note + left, with_first_line(kept.assign(metric=metric), told)]


def _pays(row: Any) -> str:
    return f"{difference(row.more, row.untouched, scale(row.unit)[0])} {row.ratio - 1:.0%}"


def _worse(grown: pd.DataFrame) -> list[str]:
    """Say where the newest kernel charges more, or less, than the oldest: only where their intervals do not overlap."""
    said: dict[tuple[str, str], list[str]] = {}
    for (board, leave), own in grown[grown["guest"] == history.TOUCHING].groupby(["board", "exit"], sort=False):
        first, last = own.iloc[0], own.iloc[-1]
        apart = last["more_low"] > first["more_high"] or last["more_high"] < first["more_low"]
        if apart and len(own) > 1:
            way = "more" if last["more"] > first["more"] else "less"
            names, factor = history.short(own["kernel"]), scale(first["unit"])[0]
            spoken = f"{last['more'] * factor:+.0f} on {names[last['kernel']]}, {first['more'] * factor:+.0f} on {names[first['kernel']]} ({board})"
            said.setdefault((leave, way), []).append(spoken)
    return [
        f"The newest kernel charges a guest that writes in every {leave} round trip {way} than the oldest: {'; '.join(boards)}."
        for (leave, way), boards in sorted(said.items(), key=lambda item: item[0][1] == "less")
    ]


def _cells(rows: pd.DataFrame) -> list[str]:
    """Return the comparison of one exit of each board, guest by guest, as far as there is room."""
    parts, room = list[str](), MOST
    boards = list(dict.fromkeys(rows["board"]))
    for number, board in enumerate(boards):
        _, own = next(iter(tables.contexts(rows[rows["board"] == board])))
        known = [name for name in FIRST if name in set(own["guest"])] or list(dict.fromkeys(own["guest"]))
        shown = own[:0]
        for guest in known:
            here = own[own["guest"] == guest]
            if len(shown) + len(here) <= max(room // (len(boards) - number), 1):
                shown = pd.concat([shown, here])
        shown = shown if len(shown) else own.head(max(room // (len(boards) - number), 1))
        room -= len(shown)
        if room < 0:
            return [*parts, f"{len(boards) - number} boards are left out here."]
        if len(shown):
            parts += [tables.place(own), with_first_line(own, tables.comparison(own.loc[shown.index], "text"))]
    return parts


def explained(text: str, summary: pd.DataFrame, series: Mapping[str, Any]) -> list[str]:
    """Return for each name of a strategy, a guest or a host that a letter uses what it means.

    Parameters
    ----------
    text : str
        The letter.
    summary : DataFrame
        Of the campaign: what is not of it is not explained.
    series : mapping
        As Campaign.series() returns it; empty if there is none. Guests are used in names of cells alone then: "all" and "one" are words.
    """
    words = set(summary.loc[summary["arm"] == MAIN, "strategy"])
    known = {name: STRATEGIES[name].says for name in STRATEGIES if name in words and name != "stock"}
    known |= {name: state.says for name, state in GUEST_STATES.items() if name in set(summary["guest"]) and name != "untouched"}
    if not series:
        return [f"{name}: {says}" for name, says in known.items() if _used(name, text)]
    cells = re.findall(rf"\b(?:{'|'.join(EXITS)}) ([\w-]+)(?:/([\w-]+))?", text)
    guests, hosts = ({cell[part] for cell in cells} for part in (0, 1))
    told = [f"{name}: {says}" for name, says in known.items() if name in guests]
    return told + [f"/{name}: with a host that has {host.says}" for name, host in HOST_STATES.items() if name in hosts]


def _used(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None
