"""What a round trip costs: by guest, by kernel, on the rig, and what it consists of."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from study.analyze import compare, history, texts
from study.analyze.figures.look import (
    COLOURS,
    MARKERS,
    STYLE,
    TITLE,
    Look,
    blank,
    columns,
    looks,
    message,
    panels,
    wrapped,
)
from study.analyze.tables import scale, shorten
from study.analyze.texts import (
    BROKEN_DOWN,
    heading,
    inside,
    labelled,
    rooms_of,
)
from study.factors import EXITS, GUEST_STATES, STRATEGIES

# Parts of a round trip: shade and hatch, so that they read in grey.
PARTS = {"base": ("0.85", ""), "scan": (COLOURS[8], "xx"), "switch": (COLOURS[0], "//"), "trap": (COLOURS[1], "||")}


def by_guest(visits: pd.DataFrame, summary: pd.DataFrame, leave: str) -> Figure:
    """Draw what a round trip costs by guest state and strategy: every visit a dot, the median with its interval.

    Parameters
    ----------
    visits : DataFrame
        As compare.medians() returns it.
    summary : DataFrame
        The same campaign's summary.
    leave : str
        The exit.
    """
    rows = labelled(compare.in_order(compare.timed(summary).query("exit == @leave")))
    dots = labelled(compare.timed(visits).query("exit == @leave"))
    rooms, guests, names = rooms_of(rows), *(list(dict.fromkeys(rows[name])) for name in ("guest", "label"))
    shown = [looks(rows["strategy"])[name] for name in names]
    step = 0.8 / len(names)  # the strategies of one guest are spread over 0.8 of its place

    def across(cells: pd.DataFrame) -> list[float]:
        tags = zip(cells["guest"], cells["label"], strict=True)
        return [guests.index(guest) + step * (names.index(name) - (len(names) - 1) / 2) for guest, name in tags]

    with plt.style.context(STYLE):
        figure, axes = panels(len(rooms), 1, height=2.7, more=1.4, sharex=True)
        for axis, room in zip(axes[:, 0], rooms, strict=True):
            here, visited = inside(rows, room), inside(dots, room)
            for name, look in zip(names, shown, strict=True):
                cells, face = here[here["label"] == name], look.colour if look.filled else "white"
                axis.plot(across(cells), cells["median"], look.marker, color=look.colour, mfc=face, ms=7, mew=2.025)
                sure = cells[cells["ci_low"].notna()]
                axis.vlines(across(sure), sure["ci_low"], sure["ci_high"], color=look.colour, lw=6, alpha=0.35, zorder=1)
            axis.scatter(across(visited), visited["value"], 2.5**2, ["0.1"] * len(visited), lw=0, zorder=5)
            axis.set_xticks(range(len(guests)), guests)
            axis.set_xlim(-0.5, len(guests) - 0.5)
            per = " per round trip" if leave in EXITS else ""
            axis.set(title=wrapped(heading(here.iloc[0])), ylabel=f"{here['word'].iloc[0]}{per}", xlabel="")
            for edge in range(1, len(guests)):
                axis.axvline(edge - 0.5, color="0.85", lw=0.8, zorder=0)
        axes[-1, 0].set_xlabel(
            f"what the guest does with its debug registers (exit: {leave}; dots: visits; the axis does not start at 0)"
        )
        short = [shorten(name) for name in names]
        figure.legend(axes[0, 0].lines[: len(names)], short, loc="outside lower center", ncols=columns(short))
        figure.suptitle(message(texts.message_of_costs(summary, leave)), **TITLE)
    return figure


def generations(rows: pd.DataFrame) -> Figure:
    """Draw what the telling guests pay above an untouched one from kernel to kernel: a line for each, with its numbers.

    Parameters
    ----------
    rows : DataFrame
        As history.generations() returns it. One exit is drawn, and of the guests those that tell the generations apart.
    """
    rows = history.telling(rows)
    boards, guests = (list(dict.fromkeys(rows[name])) for name in ("board", "guest"))
    with plt.style.context(STYLE):
        figure, (axes,) = panels(1, len(boards), height=2.7, more=1.6, sharey=True)
        for axis, board in zip(axes, boards, strict=True):
            here = rows[rows["board"] == board]
            names = history.short(here["kernel"])
            factor, word = scale(here["unit"].iloc[0])
            for guest, look in zip(guests, map(Look, COLOURS, MARKERS), strict=False):
                own = here[here["guest"] == guest]
                x, y = [list(names).index(kernel) for kernel in own["kernel"]], own["more"] * factor
                axis.plot(x, y, look.marker, color=look.colour, ms=7, ls="-", lw=2)
                axis.vlines(x, own["more_low"] * factor, own["more_high"] * factor, color=look.colour, lw=6, alpha=0.35)
            for at, kernel in enumerate(names):
                _number(axis, at, sorted(here.loc[here["kernel"] == kernel, "more"] * factor))
            does = here.drop_duplicates("kernel").set_index("kernel")["does"]
            axis.set_xticks(range(len(names)), [f"{names[kernel]}\n{does[kernel]}" for kernel in names])
            axis.set(title=f"{shorten(board, 40)}, {rows['exit'].iloc[0]}{texts.unit_of(word)}", xlim=(-0.4, len(names) - 0.6))
            axis.margins(y=0.15)
            axis.axhline(0, color="0.4", lw=0.8, zorder=0)
        axes[0].set_ylabel("above an untouched guest")
        handles = [
            Line2D([], [], color=look.colour, marker=look.marker, ms=7, lw=2)
            for look in map(Look, COLOURS[: len(guests)], MARKERS)
        ]
        words = [f"{guest}: {GUEST_STATES[guest].says}" if guest in GUEST_STATES else guest for guest in guests]
        figure.legend(handles, words, loc="outside lower left", ncols=1)
        figure.suptitle(message(texts.message_of_history(rows)), **TITLE)
    return figure


def _number(axis: Axes, at: int, values: Sequence[float]) -> None:
    """Write numbers beside their marks; those of marks that are nearly at one place once, from the least to the greatest."""
    near = 0.09 * max(1.0, axis.dataLim.y1 - min(0.0, axis.dataLim.y0))
    groups: list[list[float]] = []
    for value in values:
        if groups and value - groups[-1][-1] < near:
            groups[-1].append(value)
        else:
            groups.append([value])
    for number, group in enumerate(groups):
        words = " to ".join(dict.fromkeys(f"{end:+.0f}" for end in (group[0], group[-1])))
        below = number == 0 and len(groups) > 1
        axis.annotate(words, (at, group[0 if below else -1]), (0, -8 if below else 8), textcoords="offset points", ha="center",
                      va="top" if below else "bottom", fontsize="small", bbox={"fc": "white", "ec": "none", "pad": 0.5})  # fmt: skip


def rig(summary: pd.DataFrame, leave: str) -> Figure:
    """Draw what each strategy costs above the floor on the rig in the thread's cases: a bar for each, the cheapest in colour.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign that has measured rigs.
    leave : str
        The exit.
    """
    rows = texts.in_cases(summary, leave)
    boards, cases = (list(dict.fromkeys(rows[name])) for name in ("board", "case"))
    names = [name for name in STRATEGIES if name in set(rows["strategy"])]
    with plt.style.context(STYLE):
        figure, axes = panels(len(boards), len(cases), height=0.6 + 0.21 * len(names), more=1.3, sharex=True, sharey=True)
        for line, board in zip(axes, boards, strict=True):
            for axis, case in zip(line, cases, strict=True):
                here = rows[(rows["board"] == board) & (rows["case"] == case)].set_index("strategy").reindex(names)
                least = here["above"] == here["above"].min()
                axis.barh(range(len(names)), here["above"], height=0.7, color=[COLOURS[0] if best else "0.75" for best in least])
                for place in np.flatnonzero(least):
                    axis.annotate(f"{here['above'].iloc[place]:.0f}", (here["above"].iloc[place], place), (4, 0),
                                  textcoords="offset points", va="center", fontsize="small", weight="bold")  # fmt: skip
                axis.set(ylim=(len(names) - 0.4, -0.6), title=textwrap.fill(case, 23) if board == boards[0] else "")
                axis.set_yticks(range(len(names)), names)
                axis.tick_params(axis="y", length=0)
                axis.grid(axis="x", visible=True)
                axis.grid(axis="y", visible=False)
            line[0].set_ylabel(shorten(board, 24))
        word = rows["word"].iloc[0]
        emulated = ", emulated: path length, not time" if rows["metric"].iloc[0] == "clock" else ""
        figure.supxlabel(
            f"{word} per {leave} round trip above no switch at all{emulated}; in colour the cheapest", fontsize="medium"
        )
        figure.suptitle(message(texts.message_of_rig(rows)), **TITLE)
    return figure


def parts(shares: pd.DataFrame, measured: pd.DataFrame, title: Mapping[str, str], guests: Sequence[str] = BROKEN_DOWN) -> Figure:
    """Draw what a round trip consists of: a bar of base, scan, switch and trap for each strategy, and every visit as a dot.

    Parameters
    ----------
    shares : DataFrame
        `board guest strategy` and a column for each of PARTS, in the unit that is printed and that `word` names.
    measured : DataFrame
        `board guest strategy value`, a row for each visit, in the same unit.
    title : mapping of str to str
        For each board what is said of it.
    guests : sequence of str
        Guest states to show; those that were not measured are left out.
    """
    guests = [guest for guest in guests if guest in set(shares["guest"])]
    with plt.style.context(STYLE):
        height = 1.1 + 0.24 * shares["strategy"].nunique()
        figure = blank(1.0 + height * len(title))
        for room, (board, words) in zip(figure.subfigures(len(title), 1, squeeze=False)[:, 0], title.items(), strict=True):
            own = shares[shares["board"] == board]
            names = [name for name in STRATEGIES if name in set(own["strategy"])]
            longest = 1.04 * own.loc[own["guest"].isin(guests), list(PARTS)].sum(axis=1).max()
            axes = room.subplots(1, len(guests), sharex=True, sharey=True, squeeze=False)[0]
            for axis, guest in zip(axes, guests, strict=True):
                here = own[own["guest"] == guest].set_index("strategy").reindex(names)
                left = np.zeros(len(names))
                for part, (shade, hatch) in PARTS.items():
                    length = here[part].fillna(0.0).to_numpy()
                    some = np.flatnonzero(length)
                    axis.barh(some, length[some], left=left[some], color=shade, edgecolor="0.25", hatch=hatch, height=0.7, lw=0.6)
                    left += length
                dots = measured.query("board == @board and guest == @guest and strategy in @names")
                axis.scatter(dots["value"], [names.index(name) for name in dots["strategy"]], 3.5**2, "k", lw=0, zorder=5)
                axis.set_yticks(range(len(names)), names)
                axis.set(title=f"guest: {guest}", xlim=(0, longest), ylim=(len(names) - 0.4, -0.6))
                axis.grid(axis="y", visible=False)
            room.suptitle(wrapped(words), x=0.01, ha="left", fontsize="medium")
        swatches = [Patch(facecolor=shade, edgecolor="0.25", hatch=hatch, label=part) for part, (shade, hatch) in PARTS.items()]
        dot = Line2D([], [], color="k", marker="o", ls="", ms=3.5, label="a visit, as measured")
        figure.legend(handles=[*swatches, dot], loc="outside lower center", ncols=len(PARTS) + 1, title="per hvc round trip")
        figure.suptitle(message(texts.message_of_parts(shares, guests)), **TITLE)
    return figure
