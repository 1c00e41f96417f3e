"""What a round trip costs: by guest, by kernel, on the rig, and what it consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from study.analyze import compare, history, texts
from study.analyze.figures.look import COLOURS, MARKERS, STYLE, blank, columns, looks, panels, wrapped
from study.analyze.tables import scale, shorten
from study.analyze.texts import (
    BROKEN_DOWN,
    above_floor,
    heading,
    inside,
    labelled,
    rooms_of,
)
from study.factors import EXITS, GUEST_STATES, HOST_STATES, STRATEGIES

# Parts of a round trip: shade and hatch, so that they read in grey.
PARTS = {"base": ("0.85", ""), "scan": (COLOURS[8], "xx"), "switch": (COLOURS[0], "//"), "trap": (COLOURS[1], "..")}


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
    place: Any = {"x": "guest", "hue": "label", "order": guests, "hue_order": names}
    step = 0.8 / len(names)  # seaborn spreads the strategies of one guest over 0.8 of its place
    with plt.style.context(STYLE):
        figure, axes = panels(len(rooms), 1, height=3.1, sharex=True)
        for axis, room in zip(axes[:, 0], rooms, strict=True):
            here = inside(rows, room)
            sns.pointplot(
                here, y="median", **place, ax=axis, dodge=0.8 - step, errorbar=None, linestyle="none", markersize=7,
                markers=[look.marker for look in shown], palette=[look.colour for look in shown],
            )  # fmt: skip
            for points, name, look in zip(axis.lines, names, shown, strict=False):
                points.set_markerfacecolor(look.colour if look.filled else "white")
                cells = here[(here["label"] == name) & here["ci_low"].notna()]
                x = [guests.index(guest) + step * (names.index(name) - (len(names) - 1) / 2) for guest in cells["guest"]]
                axis.vlines(x, cells["ci_low"], cells["ci_high"], color=look.colour, lw=6, alpha=0.35, zorder=1)
            sns.stripplot(
                inside(dots, room), y="value", **place, ax=axis, dodge=True, jitter=False,
                palette=["0.1"] * len(names), size=2.5, zorder=5, legend=False,
            )  # fmt: skip
            per = " per round trip" if leave in EXITS else ""
            axis.set(title=wrapped(heading(here.iloc[0])), ylabel=f"{here['word'].iloc[0]}{per}", xlabel="")
            axis.get_legend().remove()
            for edge in range(1, len(guests)):
                axis.axvline(edge - 0.5, color="0.85", lw=0.8, zorder=0)
        axes[-1, 0].set_xlabel(
            f"what the guest does with its debug registers (exit: {leave}; dots: visits; the axis does not start at 0)"
        )
        short = [shorten(name) for name in names]
        figure.legend(axes[0, 0].lines[: len(names)], short, loc="outside upper center", ncols=columns(short))
    return figure


def generations(rows: pd.DataFrame) -> Figure:
    """Draw what each generation of KVM pays above an untouched guest: a marker for each guest on each kernel, with its interval.

    Parameters
    ----------
    rows : DataFrame
        As history.generations() returns it.
    """
    boards, exits, guests = (list(dict.fromkeys(rows[name])) for name in ("board", "exit", "guest"))
    step = 0.7 / len(guests)
    with plt.style.context(STYLE):
        figure, axes = panels(len(boards), len(exits), height=2.9)
        for line, board in zip(axes, boards, strict=True):
            for axis, leave in zip(line, exits, strict=True):
                here = rows[(rows["board"] == board) & (rows["exit"] == leave)]
                names = history.short(here["kernel"])
                factor, word = scale(here["unit"].iloc[0])
                for n, guest in enumerate(guests):
                    own = here[here["guest"] == guest]
                    x = [list(names).index(kernel) + step * (n - (len(guests) - 1) / 2) for kernel in own["kernel"]]
                    colour, marker = COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)]
                    axis.vlines(x, own["more_low"] * factor, own["more_high"] * factor, color=colour, lw=6, alpha=0.35)
                    axis.plot(x, own["more"] * factor, marker, color=colour, ms=6, ls="", label=guest)
                base = here.drop_duplicates("kernel").set_index("kernel")
                axis.set_xticks(range(len(names)), [
                    f"{names[kernel]}, {base['does'][kernel]}\n{base['untouched'][kernel] * factor:.0f}" for kernel in names
                ])  # fmt: skip
                axis.set(
                    title=f"{shorten(board, 40)}, {leave}{texts.unit_of(word)}",
                    ylim=(min(0.0, axis.get_ylim()[0]), None),
                    xlim=(-0.5, len(names) - 0.5),
                )
                axis.axhline(0, color="0.4", lw=0.8, zorder=0)
                for edge in range(1, len(names)):
                    axis.axvline(edge - 0.5, color="0.85", lw=0.8, zorder=0)
            line[0].set_ylabel("above an untouched guest")
        figure.supxlabel("kernel and what it does by itself; below, an untouched guest's round trip", fontsize="medium")
        handles = [
            Line2D([], [], color=COLOURS[n % len(COLOURS)], marker=MARKERS[n % len(MARKERS)], ls="") for n in range(len(guests))
        ]
        figure.legend(handles, guests, loc="outside upper center", ncols=columns(guests))
    return figure


def rig(summary: pd.DataFrame, leave: str) -> Figure:
    """Draw what each strategy costs above the floor on the rig: a grid of numbers for each board and host state.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign that has measured rigs.
    leave : str
        The exit.
    """
    rows = compare.in_order(above_floor(summary, leave))
    rows = rows[rows["strategy"] != "none"]
    boards = list(dict.fromkeys(rows["board"]))
    hosts = [host for host in HOST_STATES if host in set(rows["host"])]
    guests = [guest for guest in GUEST_STATES if guest in set(rows["guest"])]
    top = rows["above"].max()
    with plt.style.context(STYLE):
        figure, axes = panels(len(hosts), len(boards), height=2.4, more=1.2, sharex=True, sharey=True)
        for line, host in zip(axes, hosts, strict=True):
            for axis, board in zip(line, boards, strict=True):
                here = rows[(rows["board"] == board) & (rows["host"] == host)]
                grid = here.pivot(index="strategy", columns="guest", values="above")
                order = [name for name in STRATEGIES if name in grid.index]
                sns.heatmap(
                    grid.reindex(index=order, columns=guests), ax=axis, annot=True, fmt=".0f", cmap="Greys", vmin=0, vmax=1.4 * top,
                    cbar=False, linewidths=1, annot_kws={"size": 9},
                )  # fmt: skip
                axis.set(xlabel="", ylabel="", title=f"{shorten(board, 40)}, host: {HOST_STATES[host].says}")
                axis.tick_params(length=0)
                axis.tick_params(axis="x", labelrotation=30)
        word = rows["word"].iloc[0]
        emulated = ", emulated: path length, not time" if rows["metric"].iloc[0] == "clock" else ""
        figure.supxlabel(
            f"{word} per {leave} round trip above no switch at all, by guest state and strategy{emulated}", fontsize="medium"
        )
    return figure


def parts(shares: pd.DataFrame, measured: pd.DataFrame, title: Mapping[str, str], guests: Sequence[str] = BROKEN_DOWN) -> Figure:
    """Draw what a round trip consists of: a bar of base, scan, switch and trap for each strategy, and every visit as a dot.

    Parameters
    ----------
    shares : DataFrame
        `board guest strategy` and a column for each of PARTS, in the unit that is printed.
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
        figure = blank(0.5 + height * len(title))
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
                    axis.barh(
                        range(len(names)), length, left=left, color=shade, edgecolor="0.25", hatch=hatch, height=0.7, lw=0.6
                    )
                    left += length
                dots = measured.query("board == @board and guest == @guest and strategy in @names").astype({"strategy": str})
                sns.stripplot(dots, x="value", y="strategy", order=names, ax=axis, jitter=False, color="k", size=3.5, zorder=5)
                axis.set(xlabel="", ylabel="", title=f"guest: {guest}", xlim=(0, longest), ylim=(len(names) - 0.4, -0.6))
                axis.grid(axis="y", visible=False)
            room.suptitle(wrapped(words), x=0.01, ha="left", fontsize="medium", weight="bold")
        swatches = [Patch(facecolor=shade, edgecolor="0.25", hatch=hatch, label=part) for part, (shade, hatch) in PARTS.items()]
        dot = Line2D([], [], color="k", marker="o", ls="", ms=3.5, label="a visit, as measured")
        figure.supxlabel("per hvc round trip", fontsize="medium")
        figure.legend(handles=[*swatches, dot], loc="outside upper center", ncols=len(PARTS) + 1)
    return figure
