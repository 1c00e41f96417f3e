"""How steady a campaign was: the baseline beside itself, and over time."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from study.analyze import compare
from study.analyze.figures.look import COLOURS, MARKERS, STYLE, panels, wrapped
from study.analyze.texts import (
    ROOM,
    cell_name,
    heading,
    inside,
    off,
    rooms_of,
)
from study.design import CONTROL, MAIN

RUN = 15  # visits in a running median


def control(visits: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw how far the baseline is from itself: the control arm over it, block by block, and the interval of each cell."""
    rows = compare.timed(compare.control_arm(summary)).dropna(subset="ratio")
    keys = [*ROOM, "guest", "exit", "host", "boot", "block"]
    both = compare.timed(visits).astype({"board": str, "strategy": str}).merge(rows[["board", "strategy"]].drop_duplicates())
    wide = both.pivot_table(index=keys, columns="arm", values="value", observed=True).dropna().reset_index()
    wide["more"] = (wide[CONTROL] / wide[MAIN] - 1) * 100
    rooms = rooms_of(rows)
    with plt.style.context(STYLE):
        figure, axes = panels(len(rooms), 1, height=2.5, sharey=True)
        for axis, room in zip(axes[:, 0], rooms, strict=True):
            here, dots = inside(rows, room), inside(wide, room)
            names = [cell_name(row) for row in here.itertuples()]
            axis.axhspan(-100 * rows["margin"].max(), 100 * rows["margin"].max(), color="0.93", zorder=0)
            axis.axhline(0, color="0.4", lw=0.8)
            axis.vlines(names, (here["ratio_low"] - 1) * 100, (here["ratio_high"] - 1) * 100, color=COLOURS[0], lw=6, alpha=0.45)
            sns.stripplot(
                x=[cell_name(row) for row in dots.itertuples()],
                y=dots["more"],
                order=names,
                ax=axis,
                jitter=False,
                color="k",
                size=3,
            )
            axis.set(title=wrapped(heading(here.iloc[0])), xlabel="", ylabel="% from itself")
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
        figure, axes = panels(len(rooms), 1, height=2.3, sharey=True)
        for axis, room in zip(axes[:, 0], rooms, strict=True):
            here = inside(rows, room)
            boots = list(dict.fromkeys(here["boot"].astype(str)))
            shades = sns.color_palette("cividis", len(boots))
            for boot, shade, marker in zip(boots, shades, MARKERS * len(boots), strict=False):
                one = here[here["boot"] == boot]
                axis.plot(one["position"], one["more"], marker, color=shade, ms=3, alpha=0.6, label=boot.rpartition(".")[2])
                axis.plot(
                    one["position"], one["more"].rolling(RUN, center=True, min_periods=RUN // 3).median(), color=shade, lw=1.6
                )
            axis.axhline(0, color="0.4", lw=0.8, zorder=0)
            axis.set(title=wrapped(heading(here.iloc[0])), xlabel="", ylabel="% from the cell")
            axis.legend(title="boot", loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes[-1, 0].set_xlabel(f"visit, in the order of measurement within its boot (lines: median of {RUN} visits)")
    return figure
