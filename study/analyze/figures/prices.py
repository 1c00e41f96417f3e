"""From where on another way of switching wins: over touch rate and debugging, and over the prices of hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import ndimage

from study.analyze import cost, lives, published, texts
from study.analyze.figures import svg
from study.analyze.figures.look import STYLE, TITLE, blank, looks, message, panels, plain_numbers
from study.analyze.tables import shorten
from study.analyze.texts import (
    KEPT_ON,
    PRICED,
    competing,
)
from study.factors import kind_of

# A disc of a real guest, in points; how much further than the map its axes go for those at its edges; and how far names stay away
# from a disc, as shares of the map's width and height. A line of the key to them, in inches.
DISC, EDGE, AWAY, LINE = 12.0, 1.35, (0.2, 0.12), 0.21


def break_even(fits: Mapping[str, cost.Fit], places: pd.DataFrame = lives.NOWHERE) -> Figure:
    """Draw which strategy is the cheapest over touch rate and share of entries with debugging on, by the fitted model.

    Parameters
    ----------
    fits : mapping of str to Fit
        For each board; its strategies that have a rule compete.
    places : DataFrame
        As lives.places() returns it: where real guests are on the map. A disc is black if monitor debug mode is on.
    """
    touches, share = np.geomspace(1e-3, 1, 241), np.linspace(0, 1, 201)
    grid = np.meshgrid(touches, share)
    with plt.style.context(STYLE):
        more = 1.4 + LINE * (len(places) + 2) * bool(len(places))
        figure, axes = panels(len(KEPT_ON), len(fits), 2.6, more, sharex=True, sharey=True)
        for line, (kept_on, words) in zip(axes, KEPT_ON.items(), strict=True):
            for axis, (board, fitted) in zip(line, fits.items(), strict=True):
                mix = cost.debugging_mix(*grid, kept_on=kept_on)
                here = places[(places["board"] == board) & (places["kept_on"] == kept_on)]
                _regions(axis, touches, share, {name: fitted.costs.of(name, mix) for name in competing(fitted)}, here)
                _discs(axis, here)
                axis.set(
                    xscale="log", title=f"{shorten(board, 40)}{', emulated' if fitted.unit == 'instructions' else ''}\n{words}"
                )
                plain_numbers(axis.xaxis)
        for axis in axes[:, 0]:
            axis.set_ylabel("share of entries with debugging on")
        if len(places):
            axes[0, 0].set(xlim=(touches[0] / EDGE, touches[-1] * EDGE), ylim=(-0.1, 1.1))
            key = [Line2D([], [], **_disc(row)) for row in places.itertuples()]
            who = [f"{row.symbol}  {row.says} ({row.board})" for row in places.itertuples()]
            figure.legend(
                key, who, title=texts.REAL_GUESTS, loc="outside lower left", alignment="left", fontsize="small",
                title_fontsize="small", markerscale=0.7,
            )  # fmt: skip
        figure.suptitle(message(texts.message_of_break_even(fits)), **TITLE)
        emulated = (
            " (emulated: by path length in instructions, not time)"
            if any(f.unit == "instructions" for f in fits.values())
            else ""
        )
        axes[-1, 0].set_xlabel(
            f"accesses to debug registers per entry; the cheapest strategy by the cost model{emulated}", loc="left"
        )
    return figure


def prices(rows: pd.DataFrame, guests: Sequence[str] = PRICED, own: Sequence[published.Price] = ()) -> Figure:
    """Draw which strategy is the cheapest over what a trap and a register access cost on hardware, for the guests for which that decides.

    Below the maps and to their right is what was measured and published of either, a bar for each core; a bound has no end on its other
    side.

    Parameters
    ----------
    rows : DataFrame
        As cost.counts() returns it.
    guests : sequence of str
        Guest states to show; those that were not measured are left out, and those for which one strategy wins at any price, if there are
        others.
    own : sequence of Price
        What was measured by study prices: bars of its own, ahead of what was published.
    """
    boards = list(dict.fromkeys(rows["board"]))
    won = texts.won_at_prices(rows, guests)
    shown = [guest for guest, by_board in won.items() if any(len(names) > 1 for names in by_board.values())] or list(won)[:1]
    trap, access = np.geomspace(1, 1e5, 301), np.geomspace(1, 1e3, 301)
    grid = np.meshgrid(access, trap)
    with plt.style.context(STYLE):
        figure = blank(2.9 + 2.2 * len(boards))
        shares = {"width_ratios": [3] * len(shown) + [1], "height_ratios": [2.2] * len(boards) + [1.3]}
        grid_of = figure.subplots(len(boards) + 1, len(shown) + 1, sharex="col", sharey="row", gridspec_kw=shares)
        axes, known = grid_of[:-1, :-1], published.ranges([*own, *published.prices()])
        batch = cost.batch(rows)
        for axis in grid_of[-1, :-1]:
            _published(axis, known[known["axis"] == "access"])
        for axis in grid_of[:-1, -1]:
            _published(axis, known[known["axis"] == "trap"], up=True)
        grid_of[-1, -1].set_axis_off()
        for place, core in enumerate(known.loc[known["axis"] == "trap", "core"]):  # their names have that corner
            grid_of[-2, -1].annotate(
                core, (place, 0), (0, -5), xycoords=("data", "axes fraction"), textcoords="offset points", rotation=90, ha="center",
                va="top", fontsize="small", annotation_clip=False, in_layout=False,
            )  # fmt: skip
        for number, axis in enumerate(axes.flat):
            axis.patch.set_gid(f"{svg.MAP}-{kind_of(boards[0])}-{number}")
        for line, board in zip(axes, boards, strict=True):
            for axis, guest in zip(line, shown, strict=True):
                here = rows[(rows["board"] == board) & (rows["guest"] == guest)]
                _regions(axis, access, trap, cost.priced(here, grid[1], grid[0]))
                axis.set(xscale="log", yscale="log", title=f"{shorten(board, 24)}, {guest}")
                plain_numbers(axis.xaxis, axis.yaxis)
        for axis in grid_of[-1, :-1]:
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}\n{value * batch:g}")
        for axis in axes.flat:
            axis.set(xlim=(access[0], access[-1]), ylim=(trap[0], trap[-1]))
        figure.supxlabel(texts.price_of_an_access(batch, own), fontsize="medium")
        figure.supylabel("price of a trap, in instructions", fontsize="medium")
        figure.suptitle(message(texts.message_of_prices(rows, guests)), **TITLE)
    return figure


def _published(axis: Axes, known: pd.DataFrame, up: bool = False) -> None:
    """Draw for each core a bar from the least to the most that was published of a price, with an end where one is known."""
    places = np.arange(len(known))
    least, most = (0.5, 1e6)  # beyond the map: an end that nobody has published
    low, high = known["low"].fillna(least), known["high"].fillna(most)
    bar, ends = (axis.vlines, axis.hlines) if up else (axis.hlines, axis.vlines)
    bar(places, low, high, color=np.where(known["core"].str.endswith(published.MEASURED), "black", "0.35"), lw=2.5)
    for end in (known["low"], known["high"]):
        some = end.notna().to_numpy()
        ends(end[some], places[some] - 0.3, places[some] + 0.3, color="0.1", lw=1.5)
    limits = (-0.6, len(known) - 0.4)
    if up:
        axis.set_xlim(limits)
        axis.set_xticks(places, [""] * len(known))
        axis.set_title(
            "measured,\npublished" if known["core"].str.endswith(published.MEASURED).any() else "published", fontsize="small"
        )
    else:
        axis.set_ylim(limits[::-1])
        axis.set_yticks(places, known["core"], fontsize="small")
    axis.tick_params(axis="x" if up else "y", length=0)
    axis.grid(visible=False)


def _disc(place: Any) -> dict[str, Any]:
    """Return how the disc of a real guest looks: black if monitor debug mode is on in most entries, else white."""
    return {"marker": "o", "ls": "none", "ms": DISC, "mfc": "black" if place.monitored else "white", "mec": "black", "mew": 1.0}


def _discs(axis: Axes, places: pd.DataFrame) -> None:
    """Draw a disc with its symbol for each real guest."""
    for place in places.itertuples():
        at = lives.on_the_map(place.touches), place.share
        axis.plot(*at, **_disc(place), zorder=3)
        axis.annotate(place.symbol, at, ha="center", va="center_baseline", fontsize=DISC * 0.6, zorder=4,
                      color="white" if place.monitored else "black")  # fmt: skip


def _regions(axis: Axes, x: Any, y: Any, costs: Mapping[str, Any], places: pd.DataFrame = lives.NOWHERE) -> None:
    """Shade where each strategy is the cheapest, and write its name there, and those of others that cost the same there.

    Names keep away from `places`, as lives.places() returns them.
    """
    costs = {name: np.broadcast_to(total, (len(y), len(x))) for name, total in costs.items()}
    best, names = cost.winners(costs)
    shades = [tuple(1 - 0.45 * (1 - part) for part in looks(names)[name].colour) for name in names]
    _shade(axis, x, y, best, np.array(shades))
    axis.grid(visible=False)
    for number, name in enumerate(names):
        where = best == number
        if not where.any():
            continue
        if not where.all():
            axis.contour(x, y, where.astype(float), [0.5], colors="0.2", linewidths=0.8)
        # The place of the name is the one that is furthest from all borders.
        free = where & _free(x, y, places)
        depth = ndimage.distance_transform_edt(np.pad(free if free.any() else where, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(np.argmax(depth), depth.shape)
        size = "small" if depth[row, column] > min(where.shape) / 12 else "x-small"
        axis.annotate(" = ".join(cost.alike(costs, name, where)), (x[column], y[row]), ha="center", va="center", fontsize=size,
                      bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.7})  # fmt: skip


def _shade(axis: Axes, x: Any, y: Any, best: Any, shades: Any) -> None:
    """Shade a grid as pcolormesh() does with `nearest`, but cells of a row that are alike at once: there are a hundred times fewer."""
    across, up = (np.concatenate([[3 * at[0] - at[1], *(at[:-1] + at[1:]), 3 * at[-1] - at[-2]]]) / 2 for at in (x, y))
    rows, starts = np.nonzero(np.diff(best, axis=1, prepend=-1))
    ends = np.append(starts[1:], 0)
    ends[ends == 0] = best.shape[1]
    corners = np.array(
        [(across[starts], up[rows]), (across[ends], up[rows]), (across[ends], up[rows + 1]), (across[starts], up[rows + 1])]
    )
    runs = PolyCollection(
        list(corners.transpose(2, 0, 1)), facecolors=shades[best[rows, starts]], ec="none", antialiased=False, rasterized=True
    )
    runs.sticky_edges.x[:], runs.sticky_edges.y[:] = across[[0, -1]], up[[0, -1]]
    axis.add_collection(runs)
    axis.autoscale_view()


def _free(x: Any, y: Any, places: pd.DataFrame) -> Any:
    """Return where on a map, whose x is logarithmic, no real guest is as near as a name is wide and high."""
    free = np.ones((len(y), len(x)), dtype=bool)
    for place in places.itertuples():
        across = np.abs(np.log10(x / lives.on_the_map(place.touches))) < AWAY[0] * np.log10(x[-1] / x[0])
        free &= ~(across & (np.abs(y - place.share) < AWAY[1])[:, None])
    return free
