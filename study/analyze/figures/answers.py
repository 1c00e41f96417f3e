"""The figures that answer: small enough for a telephone, one message each."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analyze import asked, compare, patches, texts
from study.analyze.figures.look import COLOURS, STYLE, TITLE
from study.analyze.rounding import difference
from study.analyze.tables import scale, shorten

NARROW = 4.2  # inches: its letters are as large as those of a telephone's page
LETTERS = 50  # of a line across it
LINE = 0.205  # inches of a row
BOARD = 18  # letters of its name
# What a guest pays, and what it does not: told apart by colour, and by the length of the line.
PAYS, FREE = COLOURS[3], COLOURS[0]


def monitor_mode(rows: pd.DataFrame) -> Figure:
    """Draw what a round trip costs a guest that is untouched and one that keeps monitor debug mode on, a line for each way of switching.

    Parameters
    ----------
    rows : DataFrame
        As asked.asked() returns it.
    """
    boards = list(dict.fromkeys(rows["board"]))
    counts = [int((rows["board"] == board).sum()) + 0.6 for board in boards]
    with plt.style.context(STYLE):
        figure, axes = _panels(counts, 1.35)
        for axis, board in zip(axes, boards, strict=True):
            own = rows[rows["board"] == board]
            _dumbbells(axis, own)
            axis.set_title(shorten(board, BOARD) + (", emulated" if (own["metric"] == "clock").all() else ""), fontsize="medium")
        factor, word = scale(rows["unit"].iloc[0])
        axes[0].set_xlim(*_limits(rows, factor))
        emulated = "\n(emulated: path length, not time;" if word == "instructions" else "\n("
        axes[-1].set_xlabel(
            f"{word} per {rows['exit'].iloc[0]} round trip{emulated}\nthe axis does not start at 0)".replace("(\n", "("),
            fontsize="small",
        )
        dots = [Line2D([], [], marker="o", ls="", color="0.2", mfc=face, label=name) for face, name in
                (("white", "untouched"), ("0.2", "monitor mode on, nothing enabled"))]  # fmt: skip
        figure.legend(handles=dots, loc="outside lower left", ncols=2, fontsize="small", handletextpad=0.1, columnspacing=1.0)
        figure.suptitle(textwrap.fill(texts.message(rows), LETTERS, break_on_hyphens=False), **TITLE | {"fontsize": "medium"})
    plt.close(figure)
    return figure


def _panels(counts: list[float], height: float) -> tuple[Figure, Any]:
    """Return a narrow figure and its panels, one below the other, as high as they have rows; `height` is that of what is around them."""
    figure = plt.figure(figsize=(NARROW, height + LINE * sum(counts) + 0.3 * len(counts)), layout="constrained")
    return figure, figure.subplots(len(counts), 1, sharex=True, squeeze=False, height_ratios=counts)[:, 0]


def _limits(rows: pd.DataFrame, factor: float) -> tuple[float, float]:
    """Return the ends of the axis, with room for a number behind the longest line."""
    low, high = rows[["untouched", "asked"]].min(axis=None) * factor, rows[["untouched", "asked"]].max(axis=None) * factor
    wide = (high - low) or 1.0
    return low - 0.06 * wide, high + 0.3 * wide


def _dumbbells(axis: Axes, own: pd.DataFrame) -> None:
    """Draw a line from the untouched guest to the other for each way of switching, and by how much it is longer."""
    for place, row in enumerate(own.itertuples()):
        factor, _ = scale(row.unit)
        ends = row.untouched * factor, row.asked * factor
        colour = PAYS if row.says == asked.PAYS else FREE
        axis.plot(ends, (place, place), color=colour, lw=2.5, zorder=2)
        axis.plot(ends[1], place, "o", color=colour, ms=7, zorder=3)
        axis.plot(ends[0], place, "o", color=colour, mfc="white", mew=1.4, ms=7 if abs(row.share) > 0.01 else 3.5, zorder=4)
        axis.annotate(
            difference(row.more, row.untouched, factor),
            (max(ends), place),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    _as_rows(axis, own["way"])


def _as_rows(axis: Axes, names: Iterable[str], below: Iterable[str] = ()) -> None:
    """Make an axis one of rows with names, the first on top, and what is said below each of them."""
    named = [
        "\n".join(filter(None, [shorten(name, 24), more])) for name, more in itertools.zip_longest(names, below, fillvalue="")
    ]
    axis.set_yticks(range(len(named)), named)
    axis.set_ylim(len(named) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", visible=True)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)


def real_guests(rows: pd.DataFrame) -> Figure:
    """Draw how much more another way of switching makes the kernel do for real guests: a mark and its interval for each guest and phase.

    Parameters
    ----------
    rows : DataFrame
        As asked.real_guests() returns it.
    """
    guests = list(dict.fromkeys(rows["guest"]))
    counts = [int((rows["guest"] == guest).sum()) + 0.6 for guest in guests]
    with plt.style.context(STYLE):
        figure, axes = _panels(counts, 1.1)
        for axis, guest in zip(axes, guests, strict=True):
            own = rows[rows["guest"] == guest]
            for place, row in enumerate(own.itertuples()):
                sure = row.of_kernel_low > 0 or row.of_kernel_high < 0
                colour = (PAYS if row.of_kernel > 0 else FREE) if sure else "0.45"
                _mark(axis, place, (100 * row.of_kernel_low, 100 * row.of_kernel, 100 * row.of_kernel_high), colour, sure)
            axis.axvline(0, color="0.4", lw=0.8)
            _as_rows(axis, own["phase"])
            axis.set_title(shorten(guest, BOARD), fontsize="medium")
        figure.supxlabel(
            f"% that {rows['strategy'].iloc[0]} makes the host's kernel do more than {rows['baseline'].iloc[0]}\n"
            f"({_unit_on(rows)};\nhollow: the 95 % interval holds 0)", fontsize="small",
        )  # fmt: skip
        figure.suptitle(
            textwrap.fill(texts.message_of_guests(rows), LETTERS, break_on_hyphens=False), **TITLE | {"fontsize": "medium"}
        )
    plt.close(figure)
    return figure


def of_series(moved: pd.DataFrame) -> Figure:
    """Draw what a patch series moves: a mark and its interval for each commit that is sure to differ, and for the series as a whole.

    Parameters
    ----------
    moved : DataFrame
        As patches.moves() returns it.
    """
    rows = patches.steps(moved)
    boards = list(dict.fromkeys(rows["board"]))
    counts = [2 * int((rows["board"] == board).sum()) + 0.6 for board in boards]
    colours = {compare.HIGHER: PAYS, compare.LOWER: FREE}
    with plt.style.context(STYLE):
        figure, axes = _panels(counts, 1.3)
        for axis, board in zip(axes, boards, strict=True):
            own = rows[rows["board"] == board]
            for place, row in enumerate(own.itertuples()):
                factor, colour = scale(row.unit)[0], colours.get(row.verdict, "0.45")
                ends = row.moved_low * factor, row.moved * factor, row.moved_high * factor
                _mark(axis, place, ends, colour, row.verdict in colours)
                end = row.moved if math.isnan(row.moved_high) else row.moved_high
                axis.annotate(patches.words_of(row)[1], (end * factor, place), (7, 0), textcoords="offset points",
                              va="center", fontsize="small")  # fmt: skip
            axis.axvline(0, color="0.4", lw=0.8)
            _as_rows(axis, own["named"], own[["exit", "guest", "host"]].apply(lambda cell: patches.cell_of(*cell), axis=1))
            axis.set_title(shorten(board, BOARD) + (", emulated" if (own["metric"] == "clock").all() else ""), fontsize="medium")
            axis.tick_params(axis="y", labelsize="small")
        axes[0].margins(x=0.25)
        words = " and ".join(dict.fromkeys(scale(unit)[1] for unit in rows["unit"]))
        figure.supxlabel(
            f"{words} that a round trip moves{' (path length, not time)' * (words == 'instructions')}\nin the cell that moves most, from the commit before,\n"
            "the whole series from its base; hollow: not sure", fontsize="small",
        )  # fmt: skip
        figure.suptitle(
            textwrap.fill(texts.message_of_series(moved), LETTERS, break_on_hyphens=False), **TITLE | {"fontsize": "medium"}
        )
    plt.close(figure)
    return figure


def _mark(axis: Axes, place: int, low_middle_high: tuple[float, float, float], colour: Any, sure: bool) -> None:
    """Draw a number with its interval in its row; hollow, if it is not sure."""
    low, middle, high = low_middle_high
    axis.hlines(place, low, high, color=colour, lw=2.5)
    axis.plot(middle, place, "o", color=colour, mfc=colour if sure else "white", ms=7)


def _unit_on(rows: pd.DataFrame) -> str:
    """Return what is counted on the first board, so that nobody takes emulated instructions for a time."""
    board = shorten(rows["board"].iloc[0])
    return f"instructions, emulated on {board}, not time" if rows["emulated"].any() else f"instructions on {board}"
