"""A row of the table: a ratio of two things that were run in turns, or an exponent of growth. Pure, but for what it is given to run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PAIRS = 5


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    name : str
        What is compared: ``ours / other``, or what grows with what.
    bound : float or None
        The most that the value may be; None where the row only tells.
    value, low, high : float
        The median of the ratios and their ends; of an exponent, its interval.
    n : int
        How many pairs, or sizes, there were.
    ours, other : str
        What was run.
    samples : mapping
        The figures as they were measured, and their unit.
    """

    name: str
    bound: float | None
    value: float
    low: float
    high: float
    n: int
    ours: str
    other: str
    samples: Mapping[str, Any]

    @property
    def holds(self) -> bool:
        """Whether the value is within its bound."""
        return self.bound is None or self.value <= self.bound


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns(ours: Callable[[], float], other: Callable[[], float], pairs: int = PAIRS) -> tuple[list[float], list[float]]:
    """Measure two things in turns, each first in every second pair, and return the figures of both."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            found[which].append((ours, other)[which]())
    return found


def ratio(
    name: str, bound: float | None, ours: tuple[str, Sequence[float]], other: tuple[str, Sequence[float]], unit: str = "s"
) -> Row:
    """Return the row of two things that were measured in turns: the median of the ratios of all pairs.

    Parameters
    ----------
    ours, other : (str, sequence of float)
        What was run, and its figures, pair by pair.
    unit : str
        Of the figures.
    """
    ratios = [mine / theirs for mine, theirs in zip(ours[1], other[1], strict=True)]
    samples = {"unit": unit, "ours": list(ours[1]), "other": list(other[1])}
    return Row(name, bound, statistics.median(ratios), min(ratios), max(ratios), len(ratios), ours[0], other[0], samples)


def growth(name: str, bound: float | None, what: str, sizes: Sequence[float], found: Sequence[float], unit: str = "s") -> Row:
    """Return the row of how something grows: the exponent of a power of its size, by least squares on logarithms.

    Parameters
    ----------
    sizes, found : sequence of float
        Three sizes or more, and what each took. The ends are the exponents between neighbours.
    """
    x, y = np.log(np.asarray(sizes, dtype=float)), np.log(np.asarray(found, dtype=float))
    slopes = np.diff(y) / np.diff(x)
    samples = {"unit": unit, "sizes": list(sizes), "found": list(found)}
    return Row(name, bound, float(np.polyfit(x, y, 1)[0]), float(slopes.min()), float(slopes.max()), len(x), what, "", samples)
