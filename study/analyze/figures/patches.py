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
from study.analyze.patches import BASE, BEFORE, QUIET
from study.analyze.tables import scale, shorten
from study.factors import EXITS, GUEST_STATES, HOST_STATES

DASHES = ["-", (0, (5, 2)), (0, (1, 1)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1))]
SHADES = [0, 1, 2, 4, 7]  # of COLOURS, those that are the least alike
NAME = 30  # letters of a commit's name beside a panel
MOST = 4  # panels beside each other
State = tuple[str, str]  # of a guest and its host


def by_patch(moved: pd.DataFrame, series: Mapping[str, Any]) -> Figure:
    """Draw for each board and guest what a round trip costs above the base, commit by commit from above to below, a line for each exit.

    Where there are more guests and hosts than there is room for, those are left out where the least is sure to move. A filled
    marker is a commit that makes a difference against the one before it; a hollow one does not.

    Parameters
    ----------
    moved : DataFrame
        As patches.moves() returns it.
    series : mapping
        As Campaign.series() returns it.
    """
    commits = [series["base"], *series["patches"]]
    boards = list(dict.fromkeys(moved["board"]))
    exits = [name for name in EXITS if name in set(moved["exit"])] or list(dict.fromkeys(moved["exit"]))
    factor, word = scale(moved["unit"].iloc[0])
    sure = moved[moved["than"] == BEFORE].assign(differs=lambda rows: rows["verdict"].isin([compare.HIGHER, compare.LOWER]))
    differs = sure.set_index(["board", "guest", "host", "exit", "patch"])["differs"].to_dict()
    states, left_out = _states(sure)
    steps = set(sure.loc[sure["differs"], "patch"])
    above = moved[moved["than"] == BASE]
    with plt.style.context(STYLE):
        figure, axes = panels(len(boards), len(states), height=0.9 + 0.22 * len(commits), more=1.5, sharex=True, sharey=True)
        for line, board in zip(axes, boards, strict=True):
            of_board = above[above["board"] == board]
            for axis, (guest, host) in zip(line, states, strict=True):
                of_state = of_board[(of_board["guest"] == guest) & (of_board["host"] == host)]
                for number, leave in enumerate(exits):
                    here = of_state[of_state["exit"] == leave].set_index("patch")
                    x = np.concatenate([[0.0], here["moved"].reindex(range(1, len(commits))).to_numpy() * factor])
                    known = ~np.isnan(x)
                    colour = COLOURS[SHADES[number % len(SHADES)]]
                    places = np.arange(len(commits)) + 0.12 * (
                        number - (len(exits) - 1) / 2
                    )  # lines that are the same stay apart
                    axis.plot(x[known], places[known], color=colour, ls=DASHES[number % len(DASHES)], lw=1.3, zorder=2)
                    filled = np.array([differs.get((board, guest, host, leave, place), False) for place in range(len(commits))])
                    for chosen, face in ((filled, colour), (~filled, "white")):
                        at = known & chosen
                        axis.plot(x[at], places[at], MARKERS[number % len(MARKERS)], color=colour, mfc=face, ms=4.5, zorder=3)
                axis.set(title=f"guest: {_named(guest, host)}", ylim=(len(commits) - 0.5, -0.5))
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
            f"filled: sure to differ from the commit before{left_out}",
        )
        figure.suptitle(message(texts.message_of_series(moved)), **TITLE)
    return figure


def _states(sure: pd.DataFrame) -> tuple[list[State], str]:
    """Return the guests and hosts that are shown, and in words which are not."""
    known = list(dict.fromkeys(zip(sure["guest"], sure["host"], strict=True)))
    places = [list(GUEST_STATES), list(HOST_STATES)]
    known.sort(
        key=lambda state: [place.index(name) if name in place else len(place) for name, place in zip(state, places, strict=True)]
    )
    moving = sure.groupby(["guest", "host"])["differs"].sum()
    shown = sorted(known, key=lambda state: -moving[state])[:MOST]
    rest = [state for state in known if state not in shown]
    if not rest:
        return known, ""
    names = ", ".join(_named(*state) for state in rest)
    says = "in the tables" if any(moving[state] for state in rest) else "nothing is sure to move"
    return [state for state in known if state in shown], f"\nnot shown, {says}: {names}"


def _named(guest: str, host: str) -> str:
    return guest if host == QUIET else f"{guest} (host: {host})"
