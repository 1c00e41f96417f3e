"""Receipts: two round trips side by side, function by function, and what one has more."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from study.analyze import receipts
from study.analyze.figures.look import COLOURS, STYLE, panels, wrapped
from study.analyze.receipt_tables import difference_of, place_of, sides_of, signed
from study.analyze.receipts import Pair
from study.analyze.tables import plural, shorten

MOST = 12  # functions of a pair
NAME = 34  # letters of a function's name
PAIRS = 4  # that are drawn


def side_by_side(pairs: Sequence[Pair]) -> Figure:
    """Draw for each pair the functions that differ most: instructions in both round trips, and what the first has more.

    Parameters
    ----------
    pairs : sequence of pair
        As receipts.telling() returns them; the first PAIRS are drawn.
    """
    shown = pairs[:PAIRS]
    rows = [receipts.difference(this, that) for this, that in shown]
    heights = [min(MOST, int(receipts.differs(own).sum())) + 1 for own in rows]
    with plt.style.context(STYLE):
        figure, axes = panels(len(shown), 1, height=0.7 + 0.26 * max(heights), sharex=True)
        for axis, (this, that), own in zip(axes[:, 0], shown, rows, strict=True):
            top = own[receipts.differs(own)].head(MOST)
            rest = own.drop(top.index)
            names = [shorten(name, NAME) for name in top["function"]] + [plural(len(rest), "other")]
            more = [f"{signed(row.difference)}, {signed(row.accesses)} accesses" for row in top.itertuples()]
            more += [f"{signed(rest['difference'].sum())} in all"]
            ours, theirs = ([*top[side], 0.0] for side in ("this", "that"))
            places = np.arange(len(names))
            one, other = sides_of(this, that)
            axis.barh(places - 0.2, theirs, 0.38, color="white", edgecolor="black", lw=0.8, hatch="////", label=other)
            axis.barh(places + 0.2, ours, 0.38, color=COLOURS[0], edgecolor="black", lw=0.8, label=one)
            for place, (first, second, words) in enumerate(zip(ours, theirs, more, strict=True)):
                axis.annotate(
                    words, (max(first, second), place), (4, 0), textcoords="offset points", va="center", fontsize="small"
                )
            axis.set_yticks(places, names)
            axis.set(ylim=(len(names) - 0.4, -0.6))
            axis.margins(x=0.25)
            axis.grid(axis="x", visible=True)
            axis.set_title(wrapped(f"{place_of(this)}: {difference_of(this, that)}, {signed(own['difference'].sum())}"))
            axis.legend(loc="lower right")
        figure.supxlabel("instructions per round trip (emulated: path length, not time)", fontsize="medium")
    return figure


def described(pairs: Sequence[Pair]) -> str:
    """Say what side_by_side() shows."""
    said = []
    for this, that in pairs[:PAIRS]:
        own = receipts.difference(this, that)
        most = ", ".join(f"{row.function} {signed(row.difference)}" for row in own.head(3).itertuples())
        said.append(
            f"{place_of(this)}, {difference_of(this, that)}: {signed(own['difference'].sum())} instructions; most in {most}."
        )
    return "What a round trip is made of more, function by function (emulated: path length, not time). " + " ".join(said)
