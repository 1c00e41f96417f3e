"""Tables as text, Markdown and HTML: whole instructions or nanoseconds, n at each level, the control arm among them."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import tabulate

from study.analyze import compare, cost
from study.campaign import system
from study.collect.onboard.factors import HOST_STATES, STRATEGIES
from study.design import CONTROL

# How a value of a unit is printed: factor, and the word for it.
UNITS = {"instructions": (1.0, "instructions"), "s": (1e9, "ns"), "cycles": (1.0, "cycles"), "events": (1.0, "events")}
ENDINGS = {"text": "txt", "markdown": "md", "html": "html"}
FORMATS = {"text": "simple", "markdown": "pipe", "html": "html"}

# A verdict in few letters, for text.
SHORT = {compare.CANNOT: "indistinct"}
NOTE = (
    "Ratios carry 95 % intervals over resampled boots and visits. "
    '"again" is the control arm: the baseline measured a second time. '
    "A cell that cannot be distinguished from the baseline is indistinct; "
    "with a single visit nothing can."
)

EXACT = "Every visit of a cell gave the same count, the control arm's too: here a difference is a difference."

WIDTH = 72  # columns that a table may have in a mail

tabulate.MIN_PADDING = 0  # a list wants narrow tables

EMULATED = "path length in instructions (emulated, not a time)"


def contexts(summary: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Yield a heading and the timed rows for each board, kernel, exit and host state."""
    tags = ["board", "kernel", "mode", "exit", "host"]
    for (board, kernel, mode, leave, host), rows in compare.timed(summary).groupby(tags, sort=False):
        what = meaning(rows, board)
        trip = f"{leave} round trip" + ("" if host == "none" else f", the host has {HOST_STATES[host].says}")
        yield f"{board}, {system(board, kernel)} ({mode}), {trip}: {what}", compare.in_order(rows)


def meaning(summary: pd.DataFrame, board: str) -> str:
    """Return what a board's figures are: a path length or a time, and in which unit."""
    row = compare.timed(summary).query("board == @board").iloc[0]
    return EMULATED if row["metric"] == "clock" else f"time in {UNITS[row['unit']][1]}"


def label(strategy: str, arm: str) -> str:
    """Return what a row is called: the control arm is the baseline, measured again."""
    return f"{strategy} again" if arm == CONTROL else strategy


def number(value: float, unit: str) -> str:
    """Return a value in whole units; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value * UNITS[unit][0]:.0f}"


def interval(low: float, high: float, unit: str) -> str:
    """Return an interval in whole units; a dash where there is none."""
    return "-" if math.isnan(low) else f"{number(low, unit)} to {number(high, unit)}"


def ratio(middle: float, low: float, high: float) -> str:
    """Return a ratio with its interval."""
    if math.isnan(middle):
        return "-"
    return f"{middle:.3f}" if math.isnan(low) else f"{middle:.3f} ({low:.3f}-{high:.3f})"


def costs(rows: pd.DataFrame, style: str = "text") -> str:
    """Return medians: a row for each guest state, a column for each strategy, or the other way round if that is too wide.

    Parameters
    ----------
    rows : DataFrame
        The summary of one board, exit and host state.
    style : str
        A row of FORMATS.
    """
    names = list(dict.fromkeys(label(row.strategy, row.arm) for row in rows.itertuples()))
    guests = list(dict.fromkeys(rows["guest"]))
    cells = {(row.guest, label(row.strategy, row.arm)): number(row.median, row.unit) for row in rows.itertuples()}
    upright = [["guest", *names], *([guest, *(cells.get((guest, name), "-") for name in names)] for guest in guests)]
    turned = [["strategy", *guests], *([name, *(cells.get((guest, name), "-") for guest in guests)] for name in names)]
    head, *body = upright if sum(len(word) + 2 for word in upright[0]) <= WIDTH else turned
    return tabulate.tabulate(body, head, FORMATS[style], colalign=["left", *["right"] * (len(head) - 1)], disable_numparse=True)


def comparison(rows: pd.DataFrame, style: str = "text") -> str:
    """Return every cell with its ratio to the baseline, interval, n and verdict. At most 72 columns as text.

    Parameters
    ----------
    rows : DataFrame
        The summary of one board and exit.
    style : str
        A row of FORMATS.
    """
    body = [
        [row.guest, label(row.strategy, row.arm), number(row.median, row.unit),
         "1" if row.verdict == compare.BASELINE else ratio(row.ratio, row.ratio_low, row.ratio_high),
         SHORT.get(row.verdict, row.verdict) if style == "text" else row.verdict]
        for row in rows.itertuples()
    ]  # fmt: skip
    head = ["guest", "strategy", "median", f"ratio to {rows['baseline'].iloc[0]}", "verdict"]
    return tabulate.tabulate(
        body, head, FORMATS[style], colalign=["left", "left", "right", "left", "left"], disable_numparse=True
    )


# The cases of the thread of 2015, and the guest of its objection: name, words, guest, host.
CASES = [
    ("case 1", "everything enabled in guest and host", "all", "all"),
    ("case 2", "half of it enabled in guest and host", "half", "half"),
    ("case 3", "nothing enabled, and the guest never touches", "untouched", "none"),
    ("monitor mode", "kept on by the guest, nothing enabled", "mde", "none"),
]


def thread(summary: pd.DataFrame, board: str, style: str = "text", leave: str = "hvc") -> str:
    """Return the thread's three cases and its objection: a row for each strategy, the cost above the floor in brackets.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign with boards whose host debugs.
    board : str
        The board to speak of.
    style : str
        A row of FORMATS.
    leave : str
        The exit.

    Returns
    -------
    str
        Empty if the board has not measured the cases.
    """
    rows = compare.timed(summary).query("arm == 'main' and exit == @leave and board == @board")
    unit = rows["unit"].iloc[0] if len(rows) else "instructions"
    each = {(row.strategy, row.guest, row.host): row.median for row in rows.itertuples()}
    names = [name for name in STRATEGIES if all((name, guest, host) in each for _, _, guest, host in CASES)]

    def cell(strategy: str, guest: str, host: str) -> str:
        floor = each.get(("none", guest, host))
        above = "" if floor is None else f" ({(each[strategy, guest, host] - floor) * UNITS[unit][0]:+.0f})"
        return number(each[strategy, guest, host], unit) + above

    body = [[name, *(cell(name, guest, host) for _, _, guest, host in CASES)] for name in names]
    heads = ["strategy", *(name for name, *_ in CASES)]
    table = tabulate.tabulate(body, heads, FORMATS[style], colalign=["left", *["right"] * len(CASES)], disable_numparse=True)
    return str(table) if names else ""


def split(summary: pd.DataFrame, board: str, guest: str, style: str = "text") -> str:
    """Return what a round trip of one guest on the rig consists of: instructions by part, and events, by strategy."""
    rows = cost.parts(summary)
    if (board, guest) not in rows.index.droplevel("strategy"):
        return ""
    here = rows.loc[(board, guest)]
    body = [[name, *(f"{value:.0f}" for value in row)] for name, row in zip(here.index, here.to_numpy(), strict=True)]
    return tabulate.tabulate(
        body,
        ["strategy", *here.columns],
        FORMATS[style],
        colalign=["left", *["right"] * len(here.columns)],
        disable_numparse=True,
    )


def sizes(rows: pd.DataFrame) -> str:
    """Return n at each level, as a range where cells differ."""
    levels = []
    for word in ("boot", "visit", "value"):
        low, high = int(rows[f"{word}s"].min()), int(rows[f"{word}s"].max())
        levels.append(("" if low == high else f"{low} to ") + plural(high, word))
    return "n of a cell: " + ", ".join(levels) + "."


def plural(number: int, word: str) -> str:
    """Return a number with its word: 1 boot, 2 boots."""
    return f"{number} {word}" + "s" * (number != 1)


def all_tables(summary: pd.DataFrame, style: str = "text") -> str:
    """Return the table of costs and the comparison for every board and exit, each under its heading."""
    parts = []
    for heading, rows in contexts(summary):
        compared = _prose(EXACT, style) if compare.exact(rows) else comparison(rows, style)
        parts += [_heading(heading, style), costs(rows, style), "", compared, "", _prose(sizes(rows), style), ""]
    return "\n".join([*parts, _prose(NOTE, style)]) + "\n"


def _heading(text: str, style: str) -> str:
    return {"text": textwrap.fill(text, WIDTH) + "\n", "markdown": f"### {text}\n", "html": f"<h3>{html.escape(text)}</h3>"}[
        style
    ]


def _prose(text: str, style: str) -> str:
    return {"text": textwrap.fill(text, WIDTH), "markdown": text, "html": f"<p>{html.escape(text)}</p>"}[style]


def save_all(summary: pd.DataFrame, folder: Path) -> list[Path]:
    """Write every table as text, Markdown and HTML, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"tables.{ending}" for ending in ENDINGS.values()]
    for path, style in zip(paths, ENDINGS, strict=True):
        path.write_text(all_tables(summary, style))
    return paths
