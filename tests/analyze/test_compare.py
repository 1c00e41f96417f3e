from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analyze import compare, frame

numbers = st.floats(1, 1e6)


def tidy(**boots: list[list[float]]) -> pd.DataFrame:
    """A frame of one cell for each strategy: a list of visits for each boot, a number a visit."""
    rows = []
    for strategy, visits in boots.items():
        name, _, arm = strategy.partition("_")
        for boot, row in enumerate(visits):
            for number, value in enumerate(row):
                tags = (
                    "b",
                    "k",
                    "vhe",
                    name,
                    "mde",
                    "none",
                    "hvc",
                    arm or "main",
                    f"b.{boot}",
                    f"b{boot}-{number}",
                    0,
                    1,
                    "clock",
                )
                rows.append((*tags, "instructions", value, 1.0, True, True, False, 1, "write"))
    return pd.DataFrame(rows, columns=frame.COLUMNS)


def row(summary: pd.DataFrame, strategy: str, arm: str = "main") -> pd.Series:
    return summary[(summary["strategy"] == strategy) & (summary["arm"] == arm)].iloc[0]


@given(st.lists(st.lists(numbers, min_size=1, max_size=5), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_resamples_stay_within_the_data_and_repeat(boots: list[list[float]], seed: int) -> None:
    arrays = [np.array(visits) for visits in boots]
    medians = compare.resample(arrays, seed, 200)
    flat = np.concatenate(arrays)
    assert medians.shape == (200,)
    assert (medians >= flat.min()).all()
    assert (medians <= flat.max()).all()
    assert (compare.resample(arrays, seed, 200) == medians).all()


@given(st.lists(st.lists(numbers, min_size=2, max_size=4), min_size=1, max_size=3))
def test_the_interval_holds_the_median(boots: list[list[float]]) -> None:
    cell = row(compare.summarise(tidy(lazy=boots), {"b": "lazy"}), "lazy")
    assert cell["ci_low"] - 1e-9 <= cell["median"] <= cell["ci_high"] + 1e-9
    assert (cell["boots"], cell["visits"]) == (len(boots), sum(map(len, boots)))


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ([[120, 121, 119], [118, 122, 120]], compare.HIGHER),
        ([[80, 81, 79], [78, 82, 80]], compare.LOWER),
        ([[100.2, 100.3, 100.1], [100.2, 100.3, 100.2]], compare.CANNOT),  # apart, but by less than matters
        ([[90, 130, 101], [85, 140, 99]], compare.CANNOT),  # too noisy
    ],
)
def test_a_verdict_needs_an_effect_and_an_interval(other: list[list[float]], verdict: str) -> None:
    summary = compare.summarise(tidy(lazy=[[100, 101, 99], [100, 99, 101]], eager=other), {"b": "lazy"})
    assert row(summary, "eager")["verdict"] == verdict
    assert row(summary, "lazy")["verdict"] == compare.BASELINE


def test_boots_count_more_than_visits() -> None:
    """Two boots that differ say less than their many visits pretend."""
    apart = compare.summarise(tidy(lazy=[[100.0] * 20, [110.0] * 20]), {"b": "lazy"}).iloc[0]
    assert (apart["ci_low"], apart["ci_high"]) == (100, 110)


def test_one_visit_gives_no_interval_and_no_verdict() -> None:
    summary = compare.summarise(tidy(lazy=[[100.0]], eager=[[200.0]]), {"b": "lazy"})
    eager = row(summary, "eager")
    assert eager["ratio"] == 2
    assert math.isnan(eager["ci_low"])
    assert math.isnan(eager["ratio_low"])
    assert eager["verdict"] == compare.CANNOT


def test_constant_values_give_an_interval_of_no_width() -> None:
    summary = compare.summarise(tidy(lazy=[[100.0, 100.0]], eager=[[150.0, 150.0]], lazy_control=[[100.0, 100.0]]), {"b": "lazy"})
    assert row(summary, "eager")[["ratio", "ratio_low", "ratio_high", "verdict"]].tolist() == [1.5, 1.5, 1.5, "higher"]
    assert row(summary, "lazy", "control")["verdict"] == compare.CANNOT


def test_a_missing_baseline_and_a_missing_count_are_no_verdict() -> None:
    summary = compare.summarise(tidy(eager=[[1.0, 2.0]], stock=[[math.nan, math.nan]]), {"b": "lazy"})
    assert summary["strategy"].tolist() == ["eager"]
    assert summary["verdict"].tolist() == [compare.CANNOT]
    assert summary["ratio"].isna().all()
