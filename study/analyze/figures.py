"""The figures: from a frame to a figure, one function each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from study.analyze import compare
from study.analyze.tables import UNITS, label
from study.campaign import system
from study.collect.onboard.factors import GUEST_STATES, HOST_STATES, KVM, RIG, STRATEGIES
from study.design import CONTROL

STYLE = Path(__file__).with_name("style.mplstyle")
WIDTH = 11.0  # inches


@dataclass(frozen=True)
class Look:
    """How a strategy looks in every figure: a colour for the colour-blind, a marker for print in grey."""

    colour: tuple[float, float, float]
    marker: str
    filled: bool = True


_COLOURS = sns.color_palette("colorblind")
_MARKERS = ["o", "s", "^", "D", "v", "p", "X", "P"]
LOOKS = {name: Look(_COLOURS[n], _MARKERS[n]) for n, name in enumerate(STRATEGIES)}
LOOKS |= {label(name, CONTROL): dataclasses.replace(look, filled=False) for name, look in LOOKS.items()}


@dataclass(frozen=True)
class Drawing:
    """A figure, what it is called, and what it shows in words for those who cannot see it."""

    name: str
    figure: Figure
    alt: str


def cost(frame: pd.DataFrame, summary: pd.DataFrame, leave: str) -> Figure:
    """Draw what a round trip costs by guest state and strategy: every visit a dot, the median with its interval.

    Parameters
    ----------
    frame : DataFrame
        Tidy values.
    summary : DataFrame
        The same campaign's summary.
    leave : str
        The exit.
    """
    rows = _labelled(compare.in_order(compare.timed(summary).query("exit == @leave")))
    tags = ["board", "strategy", "guest", "arm", "boot", "visit", "unit"]
    values = compare.timed(frame).query("exit == @leave").groupby(tags, observed=True)["value"].median()
    visits = _labelled(values.reset_index())
    boards = list(dict.fromkeys(rows["board"]))
    guests = list(dict.fromkeys(rows["guest"]))
    names = list(dict.fromkeys(rows["label"]))
    looks = [LOOKS[name] for name in names]
    place: Any = {"x": "guest", "hue": "label", "order": guests, "hue_order": names}
    step = 0.8 / len(names)  # seaborn spreads the strategies of one guest over 0.8 of its place
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(len(boards), 1, figsize=(WIDTH, 1 + 3.1 * len(boards)), sharex=True, squeeze=False,
                                    layout="constrained")  # fmt: skip
        for axis, board in zip(axes[:, 0], boards, strict=True):
            here = rows[rows["board"] == board]
            sns.pointplot(
                here, y="median", **place, ax=axis, dodge=0.8 - step, errorbar=None, linestyle="none", markersize=7,
                markers=[look.marker for look in looks], palette=[look.colour for look in looks],
            )  # fmt: skip
            for points, name, look in zip(axis.lines, names, looks, strict=False):
                points.set_markerfacecolor(look.colour if look.filled else "white")
                cells = here[(here["label"] == name) & here["ci_low"].notna()]
                x = [guests.index(guest) + step * (names.index(name) - (len(names) - 1) / 2) for guest in cells["guest"]]
                axis.vlines(x, cells["ci_low"], cells["ci_high"], color=look.colour, lw=6, alpha=0.35, zorder=1)
            sns.stripplot(
                visits[visits["board"] == board], y="value", **place, ax=axis, dodge=True, jitter=False,
                palette=["0.1"] * len(names), size=2.5, zorder=5, legend=False,
            )  # fmt: skip
            axis.set(title=_heading(here.iloc[0]), ylabel=f"{here['word'].iloc[0]} per round trip", xlabel="")
            axis.get_legend().remove()
            for edge in range(1, len(guests)):
                axis.axvline(edge - 0.5, color="0.85", lw=0.8, zorder=0)
        axes[-1, 0].set_xlabel(
            f"what the guest does with its debug registers (exit: {leave}; dots: visits; the axis does not start at 0)"
        )
        figure.legend(axes[0, 0].lines[: len(names)], names, loc="outside upper center", ncols=len(names))
        plt.close(figure)
    return figure


def _labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows, each in the unit that is printed, with its word and a label for its strategy and arm."""
    factors, words = ([UNITS[unit][which] for unit in rows["unit"]] for which in (0, 1))
    labels = [label(row.strategy, row.arm) for row in rows.itertuples()]
    scaled = {name: rows[name] * factors for name in ("median", "ci_low", "ci_high", "value") if name in rows}
    return rows.assign(**scaled, word=words, label=labels)


def _heading(row: pd.Series) -> str:
    """Return a panel's title: what was measured, and that it is no time if it is none."""
    emulated = ", emulated: path length in instructions, not time" if row["metric"] == "clock" else ""
    return f"{row['board']}, {system(row['board'], row['kernel'])}, {row['mode']}{emulated}"


def describe(summary: pd.DataFrame, leave: str) -> str:
    """Return what cost() shows, in words: on each board, for each guest, the cheapest and the dearest strategy."""
    rows = _labelled(compare.timed(summary).query("exit == @leave and arm == 'main'"))
    parts = []
    for board, here in rows.groupby("board", sort=False):
        cells = []
        for guest, cell in here.groupby("guest", sort=False):
            low, high = cell.loc[cell["median"].idxmin()], cell.loc[cell["median"].idxmax()]
            cells.append(f"{guest} from {low['median']:.0f} ({low.strategy}) to {high['median']:.0f} ({high.strategy})")
        emulated = " (emulated, not time)" if here["metric"].iloc[0] == "clock" else ""
        parts.append(f"{board}, in {here['word'].iloc[0]}{emulated}: " + ", ".join(cells))
    return f"Cost of a round trip ({leave}) by guest state and strategy. " + "; ".join(parts) + "."


def above_floor(summary: pd.DataFrame, leave: str) -> pd.DataFrame:
    """Return what strategies cost above the floor on the rig: tags, and `above`; the cost itself where no floor was measured."""
    rows = _labelled(compare.timed(compare.of_kind(summary, RIG)).query("exit == @leave and arm == 'main'"))
    floors = rows[rows["strategy"] == "none"].set_index(["board", "guest", "host"])["median"]
    keys = pd.MultiIndex.from_frame(rows[["board", "guest", "host"]])
    return rows.assign(above=rows["median"] - floors.reindex(keys, fill_value=0.0).to_numpy())


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
        figure, axes = plt.subplots(len(hosts), len(boards), figsize=(WIDTH, 1.2 + 2.2 * len(hosts)), sharex=True, sharey=True,
                                    squeeze=False, layout="constrained")  # fmt: skip
        for line, host in zip(axes, hosts, strict=True):
            for axis, board in zip(line, boards, strict=True):
                here = rows[(rows["board"] == board) & (rows["host"] == host)]
                grid = here.pivot(index="strategy", columns="guest", values="above")
                order = [name for name in STRATEGIES if name in grid.index]
                sns.heatmap(
                    grid.reindex(index=order, columns=guests), ax=axis, annot=True, fmt=".0f", cmap="Greys", vmin=0, vmax=1.4 * top,
                    cbar=False, linewidths=1, annot_kws={"size": 9},
                )  # fmt: skip
                axis.set(xlabel="", ylabel="", title=f"{board}, host: {HOST_STATES[host].says}")
                axis.tick_params(length=0)
                axis.tick_params(axis="x", labelrotation=30)
        word = rows["word"].iloc[0]
        emulated = ", emulated: path length, not time" if rows["metric"].iloc[0] == "clock" else ""
        figure.supxlabel(
            f"{word} per {leave} round trip above no switch at all, by guest state and strategy{emulated}", fontsize="medium"
        )
        plt.close(figure)
    return figure


def describe_rig(summary: pd.DataFrame, leave: str) -> str:
    """Return what rig() shows, in words: for each board and host state the cheapest and the dearest strategy of each guest."""
    rows = above_floor(summary, leave).query("strategy != 'none'")
    sentences = []
    for (board, host), here in rows.groupby(["board", "host"], sort=False):
        cells = []
        for guest, cell in here.groupby("guest", sort=False):
            low, high = cell.loc[cell["above"].idxmin()], cell.loc[cell["above"].idxmax()]
            cells.append(f"{guest} from {low['above']:.0f} ({low.strategy}) to {high['above']:.0f} ({high.strategy})")
        sentences.append(f"{board}, host {host}: " + ", ".join(cells))
    emulated = " (emulated, not time)" if rows["metric"].iloc[0] == "clock" else ""
    return (
        f"Cost of each strategy above no switch at all, per {leave} round trip on the bare-metal rig, in {rows['word'].iloc[0]}"
        f"{emulated}. {'; '.join(sentences)}."
    )


def draw_all(frame: pd.DataFrame, summary: pd.DataFrame) -> list[Drawing]:
    """Draw every figure of a campaign: for each exit the Linux boards, and the rigs.

    What a strategy costs on the rig does not depend on the exit, so that one exit is drawn.
    """
    linux, values, rigs = compare.of_kind(summary, KVM), compare.of_kind(frame, KVM), compare.of_kind(summary, RIG)
    exits = dict.fromkeys(compare.in_order(linux)["exit"])
    drawings = [Drawing(f"cost-{leave}", cost(values, linux, leave), describe(linux, leave)) for leave in exits]
    for leave in list(dict.fromkeys(compare.in_order(rigs)["exit"]))[:1]:
        for metric, rows in compare.timed(rigs).groupby("metric", sort=False):  # path lengths and times are two figures
            name = f"rig-{leave}" if metric == "clock" else f"rig-{leave}-{metric}"
            drawings.append(Drawing(name, rig(rows, leave), describe_rig(rows, leave)))
    return drawings


def save_all(drawings: list[Drawing], folder: Path, progress: Callable[[str], object] = print) -> list[Path]:
    """Write each figure as SVG and PNG, and their descriptions as alt.json. The same data give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with plt.style.context(STYLE):
        for drawing in drawings:
            for kind in ("svg", "png"):
                paths.append(folder / f"{drawing.name}.{kind}")
                metadata = {"Date": None} if kind == "svg" else {"Software": None}
                drawing.figure.savefig(paths[-1], metadata=metadata)
            progress(f"{paths[-1]}: {drawing.alt}")
    (folder / "alt.json").write_text(json.dumps({drawing.name: drawing.alt for drawing in drawings}, indent=1) + "\n")
    return paths
