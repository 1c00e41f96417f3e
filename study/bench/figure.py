"""The figure of the bench: each row as a share of the most that it may be."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from study.analyze import chart
from study.analyze.figures import Drawing, save_all
from study.analyze.figures.look import STYLE, blank
from study.bench.rows import Row

HEIGHT = 0.32  # inches of a row


def draw(rows: list[Row]) -> Drawing:
    """Draw the rows that have a bound: a dot for the value, a line for its spread, on a logarithmic axis with 1 for the bound."""
    shown = [row for row in rows if row.bound]
    over = [row.name.strip() for row in shown if not row.holds]
    alt = f"A dot for each of {len(shown)} rows of the bench: {len(shown) - len(over)} are within their bound" + (
        f"; not {', '.join(over)}." if over else "."
    )
    marks = [
        chart.Mark(
            row.name.strip(),
            row.value / row.bound,
            row.low / row.bound,
            row.high / row.bound,
            f"{row.value:.2f} of {row.bound:g}",
        )
        for row in shown
        if row.bound
    ]
    return Drawing("bench", partial(_dots, shown), alt, chart.intervals({"": marks}, "row", at=1.0))


def _dots(shown: list[Row]) -> Figure:
    with plt.style.context(STYLE):
        figure = blank(1.1 + HEIGHT * len(shown))
        axes = figure.subplots()
        for at, row in enumerate(shown):
            assert row.bound
            axes.plot([row.low / row.bound, row.high / row.bound], [at, at], color="0.55", linewidth=2, solid_capstyle="butt")
            axes.plot(row.value / row.bound, at, "o" if row.holds else "X", color="black")
        axes.axvline(1, color="black", linewidth=1, linestyle="--")
        axes.set_yticks(range(len(shown)), [row.name.strip() for row in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.set_xlabel("share of the most that it may be (dashed); the line spans all pairs")
    return figure


def save(rows: list[Row], folder: Path) -> list[Path]:
    """Write the figure as SVG, PNG and plain text."""
    return save_all([draw(rows)], folder)
