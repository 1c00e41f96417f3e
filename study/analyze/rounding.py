"""Numbers without the digits that depend on the processor: the last bits of exp, log and of matrix products differ between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

DIGITS = 8  # significant digits of a result: a hundred million times what differs, and far finer than any measurement
OF_A_CHANCE = 5  # of a probability, which a tail may amplify
WHOLE, FEW = 10.0, 4  # from where on a number is printed whole, and the digits that it has below
# What is this close below a tie, in units of the last digit, goes up with it: counts make ties, and noise of the last bits must
# not decide them.
NEAR_TIE = 3e-4


def rounded(values: Any, digits: int = DIGITS) -> npt.NDArray[np.float64]:
    """Return numbers rounded to significant digits, the same on every processor; NaN and infinities stay.

    Parameters
    ----------
    values : array_like
        Numbers that were computed with functions whose last bits nobody promises.
    digits : int
        How many significant digits are kept.

    Returns
    -------
    array
        Of the same shape. A tie goes away from zero.
    """
    numbers = np.asarray(values, dtype=float)
    up = 1 + NEAR_TIE * 10.0 ** (1 - digits)
    return np.array([float(f"{number * up:.{digits - 1}e}") for number in numbers.ravel()]).reshape(numbers.shape)


def shown(value: float) -> str:
    """Return a number as it is printed: whole, and below WHOLE with FEW digits."""
    return f"{value:.0f}" if abs(value) >= WHOLE else f"{value:.{FEW}g}"


def difference(value: float, of: float, factor: float = 1.0) -> str:
    """Return how much something is more than `of`, both times a factor, with its sign: whole if what it is more than is.

    Parameters
    ----------
    value, of : float
        In the unit that `factor` makes the printed one.
    """
    more = value * factor
    return f"{round(more, 0) + 0.0:+.0f}" if abs(of * factor) >= WHOLE else f"{more:+.{FEW}g}"  # + 0.0 makes 0 of -0
