"""Tables as text, Markdown and HTML: whole instructions or nanoseconds, n at each level, the control arm among them."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import tabulate

from study.analyze import compare
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

tabulate.MIN_PADDING = 0  # a list wants narrow tables

EMULATED = "path length in instructions (emulated, not a time)"


def contexts(summary: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Yield a heading and the timed rows for each board, kernel and exit."""
    for (board, kernel, mode, leave), rows in compare.timed(summary).groupby(["board", "kernel", "mode", "exit"], sort=False):
        unit = UNITS[rows["unit"].iloc[0]][1]
        what = f"{EMULATED}" if rows["metric"].iloc[0] == "clock" else f"time in {unit}"
        yield f"{board}, Linux {kernel} ({mode}), {leave} round trip: {what}", compare.in_order(rows)


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
    """Return medians: a row for each guest state, a column for each strategy.

    Parameters
    ----------
    rows : DataFrame
        The summary of one board and exit.
    style : str
        A row of FORMATS.
    """
    names = list(dict.fromkeys(label(row.strategy, row.arm) for row in rows.itertuples()))
    guests = list(dict.fromkeys(rows["guest"]))
    cells = {(row.guest, label(row.strategy, row.arm)): number(row.median, row.unit) for row in rows.itertuples()}
    body = [[guest, *(cells.get((guest, name), "-") for name in names)] for guest in guests]
    return tabulate.tabulate(
        body, ["guest", *names], FORMATS[style], colalign=["left", *["right"] * len(names)], disable_numparse=True
    )


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
        parts += [_heading(heading, style), costs(rows, style), "", comparison(rows, style), "", _prose(sizes(rows), style), ""]
    return "\n".join([*parts, _prose(NOTE, style)]) + "\n"


def _heading(text: str, style: str) -> str:
    return {"text": textwrap.fill(text, 72) + "\n", "markdown": f"### {text}\n", "html": f"<h3>{html.escape(text)}</h3>"}[style]


def _prose(text: str, style: str) -> str:
    return {"text": textwrap.fill(text, 72), "markdown": text, "html": f"<p>{html.escape(text)}</p>"}[style]


def save_all(summary: pd.DataFrame, folder: Path) -> list[Path]:
    """Write every table as text, Markdown and HTML, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"tables.{ending}" for ending in ENDINGS.values()]
    for path, style in zip(paths, ENDINGS, strict=True):
        path.write_text(all_tables(summary, style))
    return paths
