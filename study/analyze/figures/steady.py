"""How steady a campaign was: the baseline beside itself, and over time."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study.analyze import compare, tables, texts
from study.analyze.figures.look import COLOURS, STYLE, TITLE, message, panels, wrapped
from study.analyze.texts import (
    cell_name,
    heading,
    inside,
    off,
    rooms_of,
)

CELL = 0.09  # inches of a cell of the control arm
RUN = 15  # visits in a running median


def control(summary: pd.DataFrame) -> Figure:
    """Draw how far the baseline, measured a second time, is from itself: a dot for each cell with its interval, a panel for each board.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign that measured its baselines twice.
    """
    rows = compare.timed(compare.control_arm(summary)).dropna(subset="ratio")
    rooms = [inside(rows, room) for room in rooms_of(rows)]
    with plt.style.context(STYLE):
        figure, axes = panels(
            len(rooms), 1, CELL * len(rows) / len(rooms) + 0.6, 1.2, sharex=True, height_ratios=[len(here) + 6 for here in rooms]
        )
        for axis, here in zip(axes[:, 0], rooms, strict=True):
            for place, row in enumerate(here.itertuples()):
                told = row.verdict != compare.CANNOT and not np.isnan(row.ratio_low)
                colour = COLOURS[3] if told else COLOURS[0]
                axis.hlines(place, (row.ratio_low - 1) * 100, (row.ratio_high - 1) * 100, color=colour, lw=2.5, alpha=0.5)
                axis.plot((row.ratio - 1) * 100, place, "s" if told else "o", color=colour, ms=4)
                if told:
                    axis.annotate(cell_name(row), ((row.ratio_high - 1) * 100, place), (5, 0), textcoords="offset points",
                                  va="center", fontsize="small")  # fmt: skip
            margin = 100 * rows["margin"].max()
            axis.axvspan(-margin, margin, color="0.93", zorder=0)
            axis.axvline(0, color="0.4", lw=0.8)
            axis.grid(axis="y", visible=False)
            axis.set(
                title=wrapped(heading(here.iloc[0])), ylim=(len(here), -1), yticks=[], ylabel=tables.plural(len(here), "cell")
            )
        axes[-1, 0].set_xlabel("% from itself (line: 95 % interval; grey: too little to matter; a square: told apart)")
        figure.suptitle(message(texts.message_of_control(rows)), **TITLE)
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
    margin = 100 * summary["margin"].fillna(0.0).max()  # of a baseline alone there is none
    with plt.style.context(STYLE):
        figure, axes = panels(len(rooms), 1, height=1.6, more=1.2, sharex=True, sharey=True)
        for axis, room in zip(axes[:, 0], rooms, strict=True):
            here = inside(rows, room)
            axis.axhspan(-margin, margin, color="0.93", zorder=0)
            axis.plot(here["position"], here["more"], "o", color="0.45", ms=2.5)
            for _, one in here.groupby("boot", observed=True, sort=False):
                smooth = one["more"].rolling(RUN, center=True, min_periods=RUN // 3).median()
                axis.plot(one["position"], smooth, color=COLOURS[0], lw=1.8)
            axis.set(title=wrapped(heading(here.iloc[0])), ylabel="% from the cell")
        axes[-1, 0].set_xlabel(
            f"visit, in the order of measurement within its boot (a line for each boot: median of {RUN} visits; grey: too little to matter)"
        )
        figure.suptitle(message(texts.message_of_drift(visits)), **TITLE)
    return figure
