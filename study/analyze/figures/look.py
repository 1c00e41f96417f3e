"""How figures look: colours, markers, panels and titles that all of them share."""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from study.analyze.tables import label
from study.design import CONTROL
from study.factors import STRATEGIES

STYLE: list[str | Path | dict[str, Any]] = ["default", Path(__file__).with_name("style.mplstyle")]  # whatever a matplotlibrc says
WIDTH = 11.0  # inches
# The title of a whole figure: its message.
TITLE: dict[str, Any] = {"x": 0.01, "ha": "left", "weight": "bold", "fontsize": "large"}


@dataclass(frozen=True)
class Look:
    """How a strategy looks in every figure: a colour for the colour-blind, a marker for print in grey."""

    colour: tuple[float, float, float]
    marker: str
    filled: bool = True


COLOURS = sns.color_palette("colorblind")
MARKERS = ["o", "s", "^", "D", "v", "p", "X", "P"]


def looks(strategies: Iterable[str]) -> dict[str, Look]:
    """Return how each strategy looks, and its control arm: always the same for those of the study, in turn for others."""
    names = [*STRATEGIES, *(name for name in dict.fromkeys(strategies) if name not in STRATEGIES)]
    main = {name: Look(COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)]) for n, name in enumerate(names)}
    return main | {label(name, CONTROL): dataclasses.replace(look, filled=False) for name, look in main.items()}


@dataclass(frozen=True)
class Drawing:
    """A figure, what it is called, and what it shows for those who cannot see it: in words, and as plain text.

    Parameters
    ----------
    name : str
        What it is called.
    draw : callable
        Draws it.
    alt, text : str
        What it shows.
    width : float
        In inches.
    """

    name: str
    draw: Callable[[], Figure]
    alt: str
    text: str
    width: float = WIDTH

    @functools.cached_property
    def figure(self) -> Figure:
        """The figure, drawn when it is asked for."""
        return self.draw()


def panels(rows: int, columns: int, height: float, more: float = 1.0, **how: Any) -> tuple[Figure, Any]:
    """Return a figure of the house's width with a grid of panels, each `height` inches high, and `more` for what is around."""
    figure = blank(more + height * rows)
    return figure, figure.subplots(rows, columns, squeeze=False, **how)


def blank(height: float) -> Figure:
    """Return an empty figure of the house's width, so many inches high: no window is asked for, whatever MPLBACKEND says."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def wrapped(words: str) -> str:
    """Return a title that no edge cuts off, whatever a board is called."""
    return textwrap.fill(words, round(11 * WIDTH))


def message(words: str) -> str:
    """Return what a figure says as its title, which no edge cuts off."""
    return textwrap.fill(words, round(9.5 * WIDTH), break_on_hyphens=False)


def columns(names: Sequence[str]) -> int:
    """Return how many entries of a legend fit beside each other."""
    return max(1, min(len(names), round(12 * WIDTH) // (6 + max(map(len, names)))))


def plain_numbers(*axes: Axis) -> None:
    """Label logarithmic axes with numbers as people write them: names may hold a $, so that no text here is mathematics."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_locator(LogLocator(subs=(2, 5)))  # enough to see that it is logarithmic; ticks take long to draw
        axis.set_minor_formatter(NullFormatter())
