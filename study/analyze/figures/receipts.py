"""What two round trips differ in: bars of instructions, function by function."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analyze import receipt_tables
from study.analyze.figures.look import COLOURS, STYLE, TITLE, message, panels
from study.analyze.receipts import Pair
from study.analyze.tables import shorten

BAR = 0.24  # inches
NAME, LETTERS = 40, 78  # letters of a function's name, and of a line of the title beside the longest of them
# How what is more, and what is less, looks: the hatch tells them apart in grey.
MORE, LESS = {"color": COLOURS[0]}, {"facecolor": "white", "edgecolor": COLOURS[1], "hatch": "////"}
ROOM = 0.3  # beside the longest bar, for what is written there, as a share of all bars


def by_function(pairs: Sequence[Pair]) -> Figure:
    """Draw what a round trip has more than another, the largest difference first: a panel for each pair, all on one scale.

    Parameters
    ----------
    pairs : sequence of pair
        As receipts.telling() returns them.
    """
    found = [receipt_tables.largest(pair) for pair in pairs]
    most = [max(0.0, *(sign * more for rows in found for _, more, _ in rows)) for sign in (-1, 1)]
    room = ROOM * (sum(most) or 1.0)
    low, high = (-most[0] - room * (most[0] > 0), most[1] + room)
    with plt.style.context(STYLE):
        counts = [len(rows) + 1.5 for rows in found]
        height = BAR * sum(counts) / len(counts)
        figure, axes = panels(len(pairs), 1, height, 1.5, sharex=True, gridspec_kw={"height_ratios": counts})
        for axis, pair, rows in zip(axes[:, 0], pairs, found, strict=True):
            _bars(axis, rows)
            title = f"{receipt_tables.heading(*pair)}: {receipt_tables.moved(pair)}"
            axis.set(title=textwrap.fill(title, LETTERS), xlim=(low, high), ylim=(len(rows) - 0.4, -0.6))
        figure.supxlabel(f"what a round trip has more, in {receipt_tables.EMULATED}", fontsize="medium")
        figure.suptitle(message(receipt_tables.message(pairs)), **TITLE)
    return figure


def _bars(axis: Axes, rows: Sequence[tuple[str, float, float]]) -> None:
    """Draw a bar for each function, with its length and its accesses to system registers behind it."""
    for place, (_, more, accesses) in enumerate(rows):
        axis.barh(place, more, height=0.7, **(MORE if more >= 0 else LESS))
        words = receipt_tables.signed(more) + (f", {receipt_tables.signed(accesses)} accesses" if abs(accesses) >= 0.05 else "")
        side = 1 if more >= 0 else -1
        axis.annotate(
            words, (more, place), (4 * side, 0), textcoords="offset points", va="center", ha="left" if side > 0 else "right",
            fontsize="small",
        )  # fmt: skip
    axis.axvline(0, color="0.4", lw=0.8)
    axis.set_yticks(range(len(rows)), [shorten(function, NAME) for function, *_ in rows])
    axis.grid(axis="x", visible=True)
    axis.grid(axis="y", visible=False)
