"""Charts of plain ASCII, for what is read in a mail or on a terminal. Pure: from numbers to lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator

from study.analyze.tables import WIDTH, shorten

DOT, LINE, ZERO = "o", "-", ":"
FEWEST = 20  # columns that a chart has at least


@dataclass(frozen=True)
class Mark:
    """One line of a chart: a dot, its interval, and the same in figures at the end of the line.

    Parameters
    ----------
    name : str
        What the line is of.
    middle, low, high : float
        The dot and the ends of its interval; NaN where there is none.
    says : str
        What is written behind.
    """

    name: str
    middle: float
    low: float
    high: float
    says: str


def intervals(groups: Mapping[str, Sequence[Mark]], head: str, at: float | None = None, width: int = WIDTH) -> str:
    """Return a dot-and-interval chart: a line for each mark, under a line for each group, on one linear axis.

    Parameters
    ----------
    groups : mapping of str to sequence of Mark
        What is drawn; a group of no name has no line of its own.
    head : str
        What the names are, written above them.
    at : float, optional
        Where to draw a line down the chart, such as at the baseline.
    width : int
        Columns that it may take.

    Returns
    -------
    str
        Lines without a newline at the end; empty if there is no number to draw.
    """
    marks = [mark for group in groups.values() for mark in group]
    ends = [value for mark in marks for value in (mark.middle, mark.low, mark.high) if math.isfinite(value)]
    if not ends:
        return ""
    ends += [] if at is None else [at]
    indent = "  " if any(groups) else ""
    most = max(len(head), *(len(indent + shorten(mark.name)) for mark in marks))
    room = width - most - 2 - max(len(mark.says) for mark in marks) - 2
    axis = Axis.around(min(ends), max(ends), max(room, FEWEST))
    lines = [f"{head:<{most}}  {axis.labels()}", f"{'':<{most}}  {axis.ruler()}"]
    for group, members in groups.items():
        lines += [shorten(group, width)] if group else []
        for mark in members:
            drawn = axis.draw(mark, at)
            lines.append(f"{indent + shorten(mark.name):<{most}}  {drawn:<{axis.columns}}  {mark.says}".rstrip())
    return "\n".join(line.rstrip() for line in lines)


@dataclass(frozen=True)
class Axis:
    """A linear axis of some columns, with round numbers at its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    columns: int

    @classmethod
    def around(cls, low: float, high: float, columns: int) -> Axis:
        """Return the axis that holds two values and has a tick at every seventh column or so."""
        pad = 0.02 * ((high - low) or abs(high) or 1.0)
        pad = pad if high + pad > low - pad else 1.0  # around a number next to the smallest that there is
        with rc_context({"axes.autolimit_mode": "data"}):  # which a matplotlibrc may have changed
            found = MaxNLocator(max(2, columns // 7), steps=[1, 2, 5, 10]).tick_values(low - pad, high + pad)
        inside = tuple(float(tick) for tick in found if low - pad <= tick <= high + pad)
        return cls(low - pad, high + pad, inside, columns)

    def column(self, value: float) -> int:
        """Return the column of a value, from 0 up."""
        return round((value - self.low) / (self.high - self.low) * (self.columns - 1))

    def labels(self) -> str:
        """Return the numbers at the ticks, those that have room beside the one before."""
        step = min(np.diff(self.ticks), default=1.0)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        plain = digits <= 9 and max(map(abs, self.ticks), default=0.0) < 1e9
        line = ""
        for tick in self.ticks:
            text = f"{tick:.{digits}f}" if plain else f"{tick:.3g}"
            start = max(0, min(self.column(tick) - len(text) // 2, self.columns - len(text)))
            if not line or start > len(line):
                line = f"{line:<{start}}{text}"
        return line

    def ruler(self) -> str:
        """Return the line of the axis itself."""
        ticks = {self.column(tick) for tick in self.ticks}
        return "".join("+" if column in ticks else LINE for column in range(self.columns))

    def draw(self, mark: Mark, at: float | None) -> str:
        """Return a dot on its interval, and the line at a value."""
        cells = [" "] * self.columns
        if at is not None:
            cells[self.column(at)] = ZERO
        if math.isfinite(mark.low) and math.isfinite(mark.high):
            for column in range(self.column(mark.low), self.column(mark.high) + 1):
                cells[column] = LINE
        if math.isfinite(mark.middle):
            cells[self.column(mark.middle)] = DOT
        return "".join(cells)


def letters(names: Iterable[str]) -> dict[str, str]:
    """Return a letter for each name: its first that is not taken, or else a figure."""
    found: dict[str, str] = {}
    for name in names:
        own = [letter for letter in name.upper() if letter.isascii() and letter.isalnum()]
        free = [letter for letter in [*own, *"0123456789"] if letter not in found.values()]
        found[name] = free[0] if free else "?"
    return found
