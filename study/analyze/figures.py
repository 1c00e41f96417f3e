"""The figures: from a frame to a figure, one function each."""

from __future__ import annotations

import dataclasses
import io
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image
from scipy import ndimage

from study.analyze import compare, cost, history, svg, tables, texts
from study.analyze.tables import label, scale, shorten
from study.analyze.texts import (
    BROKEN_DOWN,
    KEPT_ON,
    PRICED,
    ROOM,
    above_floor,
    cell_name,
    competing,
    heading,
    inside,
    labelled,
    noisy,
    off,
    rooms_of,
)
from study.campaign.files import write_whole
from study.campaign.names import slug
from study.design import CONTROL, MAIN
from study.errors import BadRequest
from study.factors import EXITS, GUEST_STATES, HOST_STATES, KVM, RIG, STRATEGIES, kind_of
from study.terminal import progress

STYLE = Path(__file__).with_name("style.mplstyle")
WIDTH = 11.0  # inches
PIXELS = 1600  # of a PNG, across
SHADES = 64  # colours of a PNG


@dataclass(frozen=True)
class Look:
    """How a strategy looks in every figure: a colour for the colour-blind, a marker for print in grey."""

    colour: tuple[float, float, float]
    marker: str
    filled: bool = True


_COLOURS = sns.color_palette("colorblind")
_MARKERS = ["o", "s", "^", "D", "v", "p", "X", "P"]


def looks(strategies: Iterable[str]) -> dict[str, Look]:
    """Return how each strategy looks, and its control arm: always the same for those of the study, in turn for others."""
    names = [*STRATEGIES, *(name for name in dict.fromkeys(strategies) if name not in STRATEGIES)]
    main = {name: Look(_COLOURS[n % len(_COLOURS)], _MARKERS[n % len(_MARKERS)]) for n, name in enumerate(names)}
    return main | {label(name, CONTROL): dataclasses.replace(look, filled=False) for name, look in main.items()}


# Parts of a round trip: shade and hatch, so that they read in grey.
PARTS = {"base": ("0.85", ""), "scan": (_COLOURS[8], "xx"), "switch": (_COLOURS[0], "//"), "trap": (_COLOURS[1], "..")}
RUN = 15  # visits in a running median


@dataclass(frozen=True)
class Drawing:
    """A figure, what it is called, and what it shows for those who cannot see it: in words, and as plain text."""

    name: str
    figure: Figure
    alt: str
    text: str


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
        figure, axes = _panels(len(rooms), 1, height=3.1, sharex=True)
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
            axis.set(title=_title(heading(here.iloc[0])), ylabel=f"{here['word'].iloc[0]}{per}", xlabel="")
            axis.get_legend().remove()
            for edge in range(1, len(guests)):
                axis.axvline(edge - 0.5, color="0.85", lw=0.8, zorder=0)
        axes[-1, 0].set_xlabel(
            f"what the guest does with its debug registers (exit: {leave}; dots: visits; the axis does not start at 0)"
        )
        short = [shorten(name) for name in names]
        figure.legend(axes[0, 0].lines[: len(names)], short, loc="outside upper center", ncols=_columns(short))
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
        figure, axes = _panels(len(boards), len(exits), height=2.9)
        for line, board in zip(axes, boards, strict=True):
            for axis, leave in zip(line, exits, strict=True):
                here = rows[(rows["board"] == board) & (rows["exit"] == leave)]
                names = history.short(here["kernel"])
                factor, word = scale(here["unit"].iloc[0])
                for n, guest in enumerate(guests):
                    own = here[here["guest"] == guest]
                    x = [list(names).index(kernel) + step * (n - (len(guests) - 1) / 2) for kernel in own["kernel"]]
                    colour, marker = _COLOURS[n % len(_COLOURS)], _MARKERS[n % len(_MARKERS)]
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
            Line2D([], [], color=_COLOURS[n % len(_COLOURS)], marker=_MARKERS[n % len(_MARKERS)], ls="")
            for n in range(len(guests))
        ]
        figure.legend(handles, guests, loc="outside upper center", ncols=_columns(guests))
    return figure


def _panels(rows: int, columns: int, height: float, more: float = 1.0, **how: Any) -> tuple[Figure, Any]:
    """Return a figure of the house's width with a grid of panels, each `height` inches high, and `more` for what is around."""
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, more + height * rows), squeeze=False, layout="constrained", **how)
    plt.close(figure)
    return figure, axes


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
        figure, axes = _panels(len(hosts), len(boards), height=2.4, more=1.2, sharex=True, sharey=True)
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
        figure = plt.figure(figsize=(WIDTH, 0.5 + height * len(title)), layout="constrained")
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
            room.suptitle(_title(words), x=0.01, ha="left", fontsize="medium", weight="bold")
        swatches = [Patch(facecolor=shade, edgecolor="0.25", hatch=hatch, label=part) for part, (shade, hatch) in PARTS.items()]
        dot = Line2D([], [], color="k", marker="o", ls="", ms=3.5, label="a visit, as measured")
        figure.supxlabel("per hvc round trip", fontsize="medium")
        figure.legend(handles=[*swatches, dot], loc="outside upper center", ncols=len(PARTS) + 1)
        plt.close(figure)
    return figure


def control(visits: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw how far the baseline is from itself: the control arm over it, block by block, and the interval of each cell."""
    rows = compare.timed(compare.control_arm(summary)).dropna(subset="ratio")
    keys = [*ROOM, "guest", "exit", "host", "boot", "block"]
    both = compare.timed(visits).astype({"board": str, "strategy": str}).merge(rows[["board", "strategy"]].drop_duplicates())
    wide = both.pivot_table(index=keys, columns="arm", values="value", observed=True).dropna().reset_index()
    wide["more"] = (wide[CONTROL] / wide[MAIN] - 1) * 100
    rooms = rooms_of(rows)
    with plt.style.context(STYLE):
        figure, axes = _panels(len(rooms), 1, height=2.5, sharey=True)
        for axis, room in zip(axes[:, 0], rooms, strict=True):
            here, dots = inside(rows, room), inside(wide, room)
            names = [cell_name(row) for row in here.itertuples()]
            axis.axhspan(-100 * compare.SMALLEST_EFFECT, 100 * compare.SMALLEST_EFFECT, color="0.93", zorder=0)
            axis.axhline(0, color="0.4", lw=0.8)
            axis.vlines(names, (here["ratio_low"] - 1) * 100, (here["ratio_high"] - 1) * 100, color=_COLOURS[0], lw=6, alpha=0.45)
            sns.stripplot(
                x=[cell_name(row) for row in dots.itertuples()],
                y=dots["more"],
                order=names,
                ax=axis,
                jitter=False,
                color="k",
                size=3,
            )
            axis.set(title=_title(heading(here.iloc[0])), xlabel="", ylabel="% from itself")
            axis.tick_params(axis="x", labelrotation=30)
        axes[-1, 0].set_xlabel(
            f"{rows['baseline'].iloc[0]} measured a second time, over the first (dots: blocks; shade: 95 % interval; grey: too little to matter)"
        )
    return figure


def drift(visits: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw every visit over the median of its cell, in the order of measurement: what changes from the first to the last.

    Parameters
    ----------
    visits : DataFrame
        As compare.medians() returns it.
    summary : DataFrame
        The same campaign's summary; its boards are drawn.
    """
    rows = off(visits)
    rooms = rooms_of(compare.timed(summary))
    with plt.style.context(STYLE):
        figure, axes = _panels(len(rooms), 1, height=2.3, sharey=True)
        for axis, room in zip(axes[:, 0], rooms, strict=True):
            here = inside(rows, room)
            boots = list(dict.fromkeys(here["boot"].astype(str)))
            shades = sns.color_palette("cividis", len(boots))
            for boot, shade, marker in zip(boots, shades, _MARKERS * len(boots), strict=False):
                one = here[here["boot"] == boot]
                axis.plot(one["position"], one["more"], marker, color=shade, ms=3, alpha=0.6, label=boot.rpartition(".")[2])
                axis.plot(
                    one["position"], one["more"].rolling(RUN, center=True, min_periods=RUN // 3).median(), color=shade, lw=1.6
                )
            axis.axhline(0, color="0.4", lw=0.8, zorder=0)
            axis.set(title=_title(heading(here.iloc[0])), xlabel="", ylabel="% from the cell")
            axis.legend(title="boot", loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes[-1, 0].set_xlabel(f"visit, in the order of measurement within its boot (lines: median of {RUN} visits)")
    return figure


def break_even(fits: Mapping[str, cost.Fit]) -> Figure:
    """Draw which strategy is the cheapest over touch rate and share of entries with debugging on, by the fitted model.

    Parameters
    ----------
    fits : mapping of str to Fit
        For each board; its strategies that have a rule compete.
    """
    touches, share = np.geomspace(1e-3, 1, 241), np.linspace(0, 1, 201)
    grid = np.meshgrid(touches, share)
    with plt.style.context(STYLE):
        figure, axes = _panels(len(KEPT_ON), len(fits), height=2.6, sharex=True, sharey=True)
        for line, (kept_on, words) in zip(axes, KEPT_ON.items(), strict=True):
            for axis, (board, fitted) in zip(line, fits.items(), strict=True):
                mix = cost.debugging_mix(*grid, kept_on=kept_on)
                _regions(axis, touches, share, {name: fitted.costs.of(name, mix) for name in competing(fitted)})
                axis.set(
                    xscale="log", title=f"{shorten(board, 40)}{', emulated' if fitted.unit == 'instructions' else ''}\n{words}"
                )
                _plain_numbers(axis.xaxis)
        for axis in axes[:, 0]:
            axis.set_ylabel("share of entries with debugging on")
        emulated = (
            " (emulated: by path length in instructions, not time)"
            if any(f.unit == "instructions" for f in fits.values())
            else ""
        )
        figure.supxlabel(
            f"accesses to debug registers per entry; the cheapest strategy by the cost model{emulated}", fontsize="medium"
        )
    return figure


def prices(rows: pd.DataFrame, guests: Sequence[str] = PRICED) -> Figure:
    """Draw which strategy is the cheapest over what a trap and a register access cost on hardware, for several guests.

    Parameters
    ----------
    rows : DataFrame
        As cost.counts() returns it.
    guests : sequence of str
        Guest states to show; those that were not measured are left out.
    """
    boards = list(dict.fromkeys(rows["board"]))
    guests = [guest for guest in guests if guest in set(rows["guest"])]
    trap, access = np.geomspace(1, 1e5, 301), np.geomspace(1, 1e3, 301)
    grid = np.meshgrid(access, trap)
    with plt.style.context(STYLE):
        figure, axes = _panels(len(guests), len(boards), height=2.3, sharex=True, sharey=True)
        for line, guest in zip(axes, guests, strict=True):
            for axis, board in zip(line, boards, strict=True):
                here = rows[(rows["board"] == board) & (rows["guest"] == guest)]
                _regions(axis, access, trap, cost.priced(here, grid[1], grid[0]))
                axis.set(xscale="log", yscale="log", title=f"{shorten(board, 40)}, guest: {guest}")
                _plain_numbers(axis.xaxis, axis.yaxis)
        figure.supxlabel(
            "price of a debug register access, in instructions beyond its own (path lengths from emulation; prices are the reader's)",
            fontsize="medium",
        )
        figure.supylabel("price of a trap, in instructions beyond its own", fontsize="medium")
    return figure


def _title(words: str) -> str:
    """Return a title that no edge cuts off, whatever a board is called."""
    return textwrap.fill(words, round(11 * WIDTH))


def _columns(names: Sequence[str]) -> int:
    """Return how many entries of a legend fit beside each other."""
    return max(1, min(len(names), round(12 * WIDTH) // (6 + max(map(len, names)))))


def _plain_numbers(*axes: Axis) -> None:
    """Label logarithmic axes with numbers as people write them: names may hold a $, so that no text here is mathematics."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_locator(LogLocator(subs=(2, 5)))  # enough to see that it is logarithmic; ticks take long to draw
        axis.set_minor_formatter(NullFormatter())


def _regions(axis: Axes, x: Any, y: Any, costs: Mapping[str, Any]) -> None:
    """Shade where each strategy is the cheapest, and write its name there, and those of others that cost the same there."""
    costs = {name: np.broadcast_to(total, (len(y), len(x))) for name, total in costs.items()}
    best, names = cost.winners(costs)
    shades = [tuple(1 - 0.45 * (1 - part) for part in looks(names)[name].colour) for name in names]
    axis.pcolormesh(x, y, best, cmap=ListedColormap(shades), vmin=-0.5, vmax=len(names) - 0.5, shading="nearest", rasterized=True)
    axis.grid(visible=False)
    for number, name in enumerate(names):
        where = best == number
        if not where.any():
            continue
        if not where.all():
            axis.contour(x, y, where.astype(float), [0.5], colors="0.2", linewidths=0.8)
        # The place of the name is the one that is furthest from all borders.
        depth = ndimage.distance_transform_edt(np.pad(where, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(np.argmax(depth), depth.shape)
        size = "small" if depth[row, column] > min(where.shape) / 12 else "x-small"
        axis.annotate(" = ".join(cost.alike(costs, name, where)), (x[column], y[row]), ha="center", va="center", fontsize=size,
                      bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.7})  # fmt: skip


def proof(table: pd.DataFrame) -> Figure:
    """Draw what simulation says of the intervals and verdicts: coverage, and false verdicts beside those of other tests.

    Parameters
    ----------
    table : DataFrame
        Rows of study.analyze.simulate.prove().
    """
    names = list(dict.fromkeys(table["noise"]))
    sizes = list(dict.fromkeys(table["size"]))
    shades = dict(zip(sizes, sns.color_palette("cividis", len(sizes)), strict=True))
    what = {"covered": "ratio", "median_covered": "median"}
    false = {"study 0 %": "this study", "pyperf 0 %": "pyperf", "Welch 0 %": "Welch's t"}
    with plt.style.context(STYLE):
        figure, (axes,) = _panels(1, 2, height=4.2, sharey=True)
        for axis, columns, markers in ((axes[0], what, "os"), (axes[1], false, "oX^")):
            for at, name in enumerate(names):
                here = table[table["noise"] == name]
                for number, (_, row) in enumerate(here.iterrows()):
                    y = at + (number - (len(here) - 1) / 2) * 0.17
                    for column, marker in zip(columns, markers, strict=True):
                        axis.plot(row[column] * 100, y, marker, color=shades[row["size"]], ms=6, mec="0.2", mew=0.5)
        axes[0].axvspan(93, 97, color="0.9", zorder=0)
        axes[0].set(
            xlabel="intervals that hold the truth, % (grey: 93 to 97; without mark: no interval)", yticks=range(len(names)),
            xlim=(min(92.0, 100 * table[list(what)].min(axis=None) - 0.5), max(98.0, 100 * table[list(what)].max(axis=None) + 0.5)),
        )  # fmt: skip
        axes[0].set_yticklabels(names)
        axes[0].invert_yaxis()
        axes[1].axvline(5, color="0.4", lw=0.8)
        axes[1].set_xlabel("control arm told from the baseline, % (line: 5)")
        figure.supxlabel(f"{table['campaigns'].iloc[0]} simulated campaigns for each mark", fontsize="medium")
        for axis, markers, words in ((axes[0], "os", what), (axes[1], "oX^", false)):
            marks = [Line2D([], [], color="0.3", marker=marker, ls="") for marker in markers]
            axis.legend(marks, list(words.values()), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        dots = [Line2D([], [], color=shade, marker="o", ls="") for shade in shades.values()]
        named = [f"{size} (boots x visits x values)" if size == sizes[0] else size for size in sizes]
        figure.legend(handles=dots, labels=named, loc="outside upper center", ncols=len(sizes))
    return figure


def draw_all(frame: pd.DataFrame, summary: pd.DataFrame) -> list[Drawing]:
    """Draw every figure that a campaign has the data for.

    What a strategy costs on the rig does not depend on the exit, so that one exit is drawn.
    """
    visits = compare.medians(frame)
    grown = history.generations(visits)
    visits, summary = compare.in_focus(visits), compare.in_focus(summary)
    fits = cost.fits(visits)
    linux, rigs = compare.of_kind(summary, KVM), compare.of_kind(summary, RIG)
    drawings = []
    if not grown.empty:
        drawings.append(Drawing("history", generations(grown), texts.describe_history(grown), texts.text_history(grown)))
    for leave in dict.fromkeys(compare.in_order(linux)["exit"]):
        figure = by_guest(compare.of_kind(visits, KVM), linux, leave)
        drawings.append(Drawing(f"cost-{slug(leave)}", figure, texts.describe(linux, leave), texts.text_by_guest(linux, leave)))
    for leave in list(dict.fromkeys(compare.in_order(rigs)["exit"]))[:1]:
        for metric, rows in compare.timed(rigs).groupby("metric", sort=False):  # path lengths and times are two figures
            name = f"rig-{leave}" if metric == "clock" else f"rig-{leave}-{metric}"
            drawings.append(Drawing(name, rig(rows, leave), texts.describe_rig(rows, leave), texts.text_rig(rows, leave)))
    drawings += _taken_apart(visits, summary, fits)
    unsteady = noisy(summary)
    if not unsteady.empty:
        boards = visits[visits["board"].isin(unsteady["board"])]
        if not compare.control_arm(unsteady)["ratio"].dropna().empty:
            drawings.append(
                Drawing("control-arm", control(boards, unsteady), texts.describe_control(unsteady), texts.text_control(unsteady))
            )
        drawings.append(Drawing("drift", drift(boards, unsteady), texts.describe_drift(boards), texts.text_drift(boards)))
    for kind, name in ((KVM, ""), (RIG, "rig-")):
        own = {board: fitted for board, fitted in fits.items() if kind_of(board) == kind}
        if own:
            drawings.append(
                Drawing(f"{name}break-even", break_even(own), texts.describe_break_even(own), texts.text_break_even(own))
            )
        counted = cost.counts(compare.of_kind(summary, kind))
        if len(counted):
            drawings.append(Drawing(f"{name}prices", prices(counted), texts.describe_prices(counted), texts.text_prices(counted)))
    return drawings


def _taken_apart(visits: pd.DataFrame, summary: pd.DataFrame, fits: Mapping[str, cost.Fit]) -> Iterator[Drawing]:
    """Yield what a round trip consists of: on Linux boards by the cost model, on rigs as the switch counted itself."""
    measured = labelled(compare.timed(compare.one_kernel(visits)).query("arm == 'main' and exit == 'hvc' and host == 'none'"))
    first = compare.timed(compare.one_kernel(summary)).drop_duplicates("board").set_index("board", drop=False)
    modelled = [
        cost.breakdown(fitted).assign(board=board).set_index(["board", "guest", "strategy"]) * scale(fitted.unit)[0]
        for board, fitted in fits.items()
        if kind_of(board) == KVM
    ]
    for name, how, shares in (
        ("parts", "by the cost model", pd.concat(modelled) if modelled else pd.DataFrame()),
        ("rig-parts", "as counted by the switch itself", cost.parts(summary)),
    ):
        if shares.empty:
            continue
        rows = shares.reset_index()
        titles = {board: f"{heading(first.loc[board])}; {how}" for board in dict.fromkeys(rows["board"])}
        yield Drawing(name, parts(rows, measured, titles), texts.describe_parts(rows), texts.text_parts(rows, titles))


def save_all(drawings: list[Drawing], folder: Path, pixels: int = PIXELS) -> list[Path]:
    """Write each figure as SVG, PNG and plain text, and an index of what each shows. The same data give the same bytes.

    Parameters
    ----------
    drawings : list of Drawing
        As draw_all() returns them.
    folder : path
        Where they go; ``figures.md`` in it is the index, ``alt.json`` the same for programs.
    pixels : int
        The width of a PNG. An SVG is as wide as WIDTH says, whatever the PNG has.

    Raises
    ------
    BadRequest
        If the width is none that a figure can have.
    """
    if not 400 <= pixels <= 8000:
        raise BadRequest(f"pixels is {pixels}: a figure may be 400 to 8000 pixels wide")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with plt.style.context(STYLE):
        for drawing in progress.bar("drawing figures", len(drawings), "figures", aside=True, over=drawings):
            if layout := drawing.figure.get_layout_engine():
                layout.execute(drawing.figure)
                drawing.figure.set_layout_engine("none")  # it is laid out once, not for each kind again
            drawn, pixelled, text = (folder / f"{drawing.name}.{ending}" for ending in ("svg", "png", "txt"))
            write_whole(drawn, svg.canonical(_svg(drawing.figure), drawing.name))
            write_whole(pixelled, _png(drawing.figure, pixels))
            write_whole(text, drawing.text.encode("ascii", "replace") + b"\n")
            paths += [drawn, pixelled, text]
    write_whole(folder / "alt.json", json.dumps({drawing.name: drawing.alt for drawing in drawings}, indent=1) + "\n")
    write_whole(folder / "figures.md", index(drawings, pixels))
    return paths


# A figure's savefig() draws twice: once for nothing, to lay out what has been laid out. Its canvases draw once.


def _svg(figure: Figure) -> str:
    """Return a figure as SVG."""
    drawn = io.StringIO()
    figure.set_dpi(plt.rcParams["savefig.dpi"])
    FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})
    return drawn.getvalue()


def _png(figure: Figure, pixels: int) -> bytes:
    """Return a figure as PNG with a palette: a third of the size, for pages and posts."""
    packed = io.BytesIO()
    figure.set_dpi(pixels / WIDTH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(SHADES, dither=Image.Dither.NONE)
    image.save(packed, format="PNG", optimize=True)
    return packed.getvalue()


def index(drawings: list[Drawing], pixels: int = PIXELS) -> str:
    """Return a Markdown index of the figures: what each shows, and its files."""
    parts = [
        "# Figures",
        f"Each is a PNG of {pixels} pixels, an SVG of {WIDTH:g} inches ({WIDTH * 96:.0f} CSS pixels) and plain text of at most "
        f"{tables.WIDTH} columns.",
    ]
    for drawing in drawings:
        links = ", ".join(f"[{drawing.name}.{ending}]({drawing.name}.{ending})" for ending in ("svg", "png", "txt"))
        parts += [f"## {drawing.name}", drawing.alt, links]
    return "\n\n".join(parts) + "\n"
