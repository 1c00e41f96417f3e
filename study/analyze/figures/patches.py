"""A patch series: what each exit costs after each commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analyze import compare, texts
from study.analyze.figures.look import COLOURS, MARKERS, STYLE, TITLE, message, panels, wrapped
from study.analyze.patches import BASE, BEFORE
from study.analyze.tables import scale, shorten
from study.factors import EXITS, GUEST_STATES

DASHES = ["-", (0, (5, 2)), (0, (1, 1)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1))]
SHADES = [0, 1, 2, 4, 7]  # of COLOURS, those that are the least alike
NAME = 30  # letters of a commit's name beside a panel


def by_patch(moved: pd.DataFrame, series: Mapping[str, Any]) -> Figure:
    """Draw for each board and guest what a round trip costs above the base, commit by commit from above to below, a line for each exit.

    A filled marker is a commit that makes a difference against the one before it; a hollow one does not.

    Parameters
    ----------
    moved : DataFrame
        As patches.moves() returns it.
    series : mapping
        As Campaign.series() returns it.
    """
    commits = [series["base"], *series["patches"]]
    boards = list(dict.fromkeys(moved["board"]))
    guests = [name for name in GUEST_STATES if name in set(moved["guest"])] or list(dict.fromkeys(moved["guest"]))
    exits = [name for name in EXITS if name in set(moved["exit"])] or list(dict.fromkeys(moved["exit"]))
    factor, word = scale(moved["unit"].iloc[0])
    sure = moved[moved["than"] == BEFORE].assign(differs=lambda rows: rows["verdict"].isin([compare.HIGHER, compare.LOWER]))
    differs = sure.set_index(["board", "guest", "exit", "patch"])["differs"].to_dict()
    steps = set(sure.loc[sure["differs"], "patch"])
    above = moved[moved["than"] == BASE]
    with plt.style.context(STYLE):
        figure, axes = panels(len(boards), len(guests), height=0.9 + 0.22 * len(commits), more=1.5, sharex=True, sharey=True)
        for line, board in zip(axes, boards, strict=True):
            of_board = above[above["board"] == board]
            for axis, guest in zip(line, guests, strict=True):
                for number, leave in enumerate(exits):
                    here = of_board[(of_board["guest"] == guest) & (of_board["exit"] == leave)].set_index("patch")
                    x = np.concatenate([[0.0], here["moved"].reindex(range(1, len(commits))).to_numpy() * factor])
                    known = ~np.isnan(x)
                    colour = COLOURS[SHADES[number % len(SHADES)]]
                    places = np.arange(len(commits)) + 0.12 * (
                        number - (len(exits) - 1) / 2
                    )  # lines that are the same stay apart
                    axis.plot(x[known], places[known], color=colour, ls=DASHES[number % len(DASHES)], lw=1.3, zorder=2)
                    filled = np.array([differs.get((board, guest, leave, place), False) for place in range(len(commits))])
                    for chosen, face in ((filled, colour), (~filled, "white")):
                        at = known & chosen
                        axis.plot(x[at], places[at], MARKERS[number % len(MARKERS)], color=colour, mfc=face, ms=4.5, zorder=3)
                axis.set(title=f"guest: {guest}", ylim=(len(commits) - 0.5, -0.5))
                axis.grid(axis="both", visible=True)
                axis.set_yticks(range(len(commits)), [f"{shorten(row['label'], NAME)}  {row['commit'][:8]}" for row in commits])
                for place, tick in enumerate(axis.get_yticklabels()):
                    tick.set_fontweight("bold" if place in steps else "normal")
            line[0].set_ylabel(wrapped(board))
        emulated = ", emulated: path length, not time" if (moved["metric"] == "clock").all() else ""
        lines = [
            Line2D(
                [],
                [],
                color=COLOURS[SHADES[n % len(SHADES)]],
                ls=DASHES[n % len(DASHES)],
                marker=MARKERS[n % len(MARKERS)],
                ms=4.5,
                label=name,
            )
            for n, name in enumerate(exits)
        ]
        figure.legend(
            handles=lines,
            loc="outside lower center",
            ncols=len(lines),
            title=f"{word} per round trip above the base{emulated}\nbold: commits that make a difference; a line for each exit; "
            "filled: sure to differ from the commit before",
        )
        figure.suptitle(message(texts.message_of_series(moved)), **TITLE)
    return figure
