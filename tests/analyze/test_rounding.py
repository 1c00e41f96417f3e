from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analyze.rounding import DIGITS, rounded

numbers = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: number == 0 or 1e-300 < abs(number) < 1e300)


@given(numbers, st.integers(1, 12))
def test_a_number_is_rounded_to_its_digits(number: float, digits: int) -> None:
    (found,) = rounded([number], digits)
    assert found == pytest.approx(number, rel=0.5003 * 10.0 ** (1 - digits) + 1e-15, abs=0)
    assert float(f"{found:.{digits - 1}e}") == found


@given(st.integers(1, 10**DIGITS), st.integers(-9, 9), st.integers(-3, 3))
def test_the_last_bits_do_not_decide_a_tie(count: int, power: int, steps: int) -> None:
    """A count and a half, as medians of counts are: each number that a processor may make of it is rounded alike."""
    tie = (count + 0.5) * 10.0**power
    near = tie
    for _ in range(abs(steps)):
        near = math.nextafter(near, math.inf if steps > 0 else 0.0)
    for digits in (len(str(count)), len(str(count)) + 1, DIGITS):
        assert rounded(near, digits) == rounded(tie, digits)
        assert rounded(-near, digits) == -rounded(near, digits)


def test_what_is_no_number_stays_and_so_does_the_shape() -> None:
    values = np.array([[math.nan, math.inf], [-math.inf, 0.0]])
    assert np.array_equal(rounded(values), values, equal_nan=True)
    assert rounded([]).shape == (0,)
