from __future__ import annotations

import math
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from study.analyze import compare, pooling
from study.analyze.compare import CANNOT, HIGHER, LOWER
from study.analyze.pooling import Spread
from tests.analyze.frames import TAGS, tidy
from tests.conftest import drawn

numbers = st.floats(1, 1e6)


def summary(**strategies: list[list[float]]) -> pd.DataFrame:
    return compare.summarise(tidy(**strategies), {"b": "lazy"})


def row(rows: pd.DataFrame, strategy: str, arm: str = "main") -> pd.Series:
    return rows[(rows["strategy"] == strategy) & (rows["arm"] == arm)].iloc[0]


@drawn(40)
@given(st.lists(st.lists(numbers, min_size=1, max_size=4), min_size=3, max_size=6))
def test_the_interval_is_student_s_over_the_logarithms_of_boots(boots: list[list[float]]) -> None:
    cell = row(summary(lazy=boots), "lazy")
    levels = [np.median(np.log(visits)) for visits in boots]
    assert cell["median"] == pytest.approx(math.exp(np.mean(levels)))
    assert (cell["boots"], cell["visits"]) == (len(boots), sum(map(len, boots)))
    if np.std(levels) > 1e-6:
        expected = stats.t.interval(0.95, len(boots) - 1, np.mean(levels), stats.sem(levels))
        assert (cell["ci_low"], cell["ci_high"]) == pytest.approx(tuple(np.exp(expected)))
    else:
        assert cell["ci_low"] <= cell["median"] <= cell["ci_high"]


@drawn(40)
@given(st.lists(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=2), min_size=3, max_size=5), st.floats(0.1, 10))
def test_what_a_block_does_to_all_of_its_visits_drops_out(blocks: list[list[tuple[float, float]]], ratio: float) -> None:
    """Each block is scaled at will: only the ratio within it counts, and it is always the same."""
    lazy = [[base for base, _ in boot] for boot in blocks]
    eager = [[base * ratio for base, _ in boot] for boot in blocks]
    cell = row(summary(lazy=lazy, eager=eager), "eager")
    assert (cell["ratio"], cell["ratio_low"], cell["ratio_high"]) == pytest.approx((ratio, ratio, ratio), rel=1e-6)


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ([[120, 121], [118, 122], [119, 121]], HIGHER),
        ([[80, 81], [78, 82], [79, 80]], LOWER),
        ([[100.2, 100.3], [100.2, 100.3], [100.1, 100.2]], CANNOT),  # sure, but by less than matters
        ([[90, 95], [140, 130], [105, 98]], CANNOT),  # too noisy
    ],
)
def test_a_verdict_needs_an_effect_that_is_sure_to_matter(other: list[list[float]], verdict: str) -> None:
    rows = summary(lazy=[[100, 101], [100, 99], [100, 101]], eager=other)
    assert row(rows, "eager")["verdict"] == verdict
    assert row(rows, "lazy")["verdict"] == compare.BASELINE


def test_boots_count_and_not_visits() -> None:
    """Two boots that differ support nothing, however many visits they hold."""
    two = row(summary(lazy=[[100.0, 101.0] * 20, [110.0, 111.0] * 20]), "lazy")
    assert math.isnan(two["ci_low"])
    few, many = (row(summary(lazy=[[x, x + 1] * n for x in (100, 104, 108)]), "lazy") for n in (1, 50))
    assert (few["ci_low"], few["ci_high"]) == pytest.approx((many["ci_low"], many["ci_high"]))


@pytest.mark.parametrize("boots", [[[100.0, 101.0]], [[100.0, 101.0], [103.0, 102.0]], [[100.0]]])
def test_fewer_than_three_boots_give_no_interval_and_no_verdict(boots: list[list[float]]) -> None:
    eager = row(summary(lazy=boots, eager=[[2 * x + 1 for x in visits] for visits in boots]), "eager")
    assert 2 < eager["ratio"] < 2.1
    assert eager[["ci_low", "ratio_low", "p", "least"]].isna().all()
    assert eager["verdict"] == CANNOT


def test_a_board_that_repeats_itself_exactly_is_believed() -> None:
    rows = summary(lazy=[[0.1, 0.1], [0.1, 0.1]], eager=[[0.3, 0.3], [0.3, 0.3]], lazy_control=[[0.1, 0.1], [0.1, 0.1]])
    eager = row(rows, "eager")
    assert eager["ratio_low"] == eager["ratio"] == eager["ratio_high"] == pytest.approx(3)
    assert (eager["verdict"], eager["p"]) == (HIGHER, 0)
    assert row(rows, "lazy", "control")["verdict"] == CANNOT
    assert (rows["ci_low"] == rows["ci_high"]).all()


def test_no_cells_repeat_nothing_exactly() -> None:
    rows = summary(lazy=[[0.1, 0.1], [0.1, 0.1]])
    assert compare.exact(rows)
    assert not compare.exact(rows[:0])


def test_one_visit_does_not_repeat_itself() -> None:
    assert math.isnan(row(summary(lazy=[[100.0]]), "lazy")["ci_low"])


def test_boots_that_agree_by_chance_are_not_believed() -> None:
    """A coarse clock gives ties: all boots have the same median, but their visits do not."""
    cell = row(summary(lazy=[[100.0, 101.0, 102.0]] * 3), "lazy")
    assert cell["ci_low"] < 100.7
    assert cell["ci_high"] > 101.3


def test_a_missing_baseline_and_a_missing_count_are_no_verdict() -> None:
    rows = summary(eager=[[1.0, 2.0]] * 3, stock=[[math.nan, math.nan]])
    assert rows["strategy"].tolist() == ["eager"]
    assert rows["verdict"].tolist() == [CANNOT]
    assert rows["ratio"].isna().all()


def test_a_block_that_is_missing_takes_its_partner_with_it() -> None:
    whole = {"lazy": [[100.0, 400.0], [101.0, 401.0], [102.0, 402.0]], "eager": [[200.0], [202.0], [204.0]]}
    assert row(summary(**whole), "eager")["ratio"] == pytest.approx(2)


def test_counters_that_are_zero_have_a_mean_and_no_ratio() -> None:
    rows = compare.summarise(tidy("traps", lazy=[[0, 0], [1, 1], [2, 2]], eager=[[0, 0]] * 3), {"b": "lazy"})
    lazy = row(rows, "lazy")
    assert lazy["median"] == 1
    assert (lazy["ci_low"], lazy["ci_high"]) == pytest.approx(stats.t.interval(0.95, 2, 1, stats.sem([0, 1, 2])))
    eager = row(rows, "eager")
    assert (eager["median"], eager["ci_low"], eager["ci_high"]) == (0, 0, 0)
    assert math.isnan(eager["ratio"])


def test_boots_that_are_not_shared_are_compared_by_student_s_t() -> None:
    """Of cells that are alike in their noise, as here, the variance is one."""
    lazy, eager = [100.0, 103.0, 99.0, 101.0], [121.0, 118.0, 123.0]
    rows = pd.concat([tidy(boots="a", lazy=[[x] for x in lazy]), tidy(boots="e", eager=[[x] for x in eager])])
    found = row(compare.summarise(rows, {"b": "lazy"}), "eager")
    expected = stats.ttest_ind(np.log(eager), np.log(lazy)).confidence_interval(0.95)
    assert (found["ratio_low"], found["ratio_high"]) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))


def test_a_baseline_on_another_kernel_is_found_and_named() -> None:
    old = tidy(boots="old", lazy=[[100.0], [101.0], [100.5]]).assign(kernel="6.1")
    new = tidy(boots="new", lazy=[[120.0], [121.0], [120.5]], eager=[[150.0], [151.0], [150.5]]).assign(kernel="6.18")
    rows = compare.summarise(pd.concat([old, new]), {"b": "lazy"})
    lazy = rows.query("strategy == 'lazy'").set_index("kernel")
    assert lazy.loc["6.1", "verdict"] == compare.BASELINE
    assert (lazy.loc["6.18", "verdict"], lazy.loc["6.18", "baseline"]) == (HIGHER, "lazy, 6.1")
    eager = row(rows, "eager")
    assert eager["ratio"] == pytest.approx(1.25, rel=0.01)
    assert eager["baseline"] == "lazy"


@drawn(200)
@given(
    st.lists(st.tuples(st.floats(-0.2, 0.2), st.floats(0, 0.05), st.floats(1, 100), st.integers(0, 2)), min_size=1, max_size=30),
    st.floats(0, 0.1),
)
def test_no_row_says_what_its_interval_does_not(cells: list[tuple[float, float, float, int]], smallest: float) -> None:
    middle, error, freedom, family = map(np.array, zip(*cells, strict=True))
    rows = compare.judge(Spread(middle, error, freedom), family, smallest)
    for row in rows.itertuples():
        assert row.ratio_low <= row.ratio * (1 + 1e-7) and row.ratio <= row.ratio_high * (1 + 1e-7)
        assert (row.verdict == HIGHER) == (row.ratio_low > 1 + row.margin)
        assert (row.verdict == LOWER) == (row.ratio_high < 1 / (1 + row.margin))
        if row.verdict != CANNOT:
            assert row.p <= 1 - pooling.LEVEL + 1e-4
    assert (rows["margin"] == np.where(error == 0, 0.0, smallest)).all()


@drawn(30)
@given(st.integers(1, 20), st.floats(1, 50), st.floats(0.001, 0.1))
def test_intervals_of_one_question_hold_together(others: int, freedom: float, error: float) -> None:
    count = others + 1
    alone, together = (
        compare.judge(Spread(np.zeros(count), np.full(count, error), np.full(count, freedom)), np.array(family))
        for family in (range(count), [0] * count)
    )
    half = stats.t.ppf(1 - 0.025 / count, freedom) * error
    assert np.log(together["ratio_high"]).to_numpy() == pytest.approx(half, abs=1e-7)
    assert (alone["ratio_high"] < together["ratio_high"]).all()


def test_where_counts_repeat_exactly_a_difference_is_a_difference() -> None:
    rows = summary(lazy=[[1000.0, 1000.0]] * 3, eager=[[1001.0, 1001.0]] * 3, lazy_control=[[1000.0, 1000.0]] * 3)
    assert (row(rows, "eager")["verdict"], row(rows, "eager")["margin"]) == (HIGHER, 0)
    assert row(rows, "lazy", "control")["verdict"] == CANNOT


def test_the_share_that_matters_can_be_chosen() -> None:
    cells = tidy(lazy=[[100, 101], [100, 99], [100, 101]], eager=[[104, 105], [104, 103], [104, 105]])
    found = [row(compare.summarise(cells, {"b": "lazy"}, smallest), "eager")["verdict"] for smallest in (0.0, 0.01, 0.1)]
    assert found == [HIGHER, HIGHER, CANNOT]


@given(st.floats(0.001, 0.05), st.integers(3, 12), st.integers(1, 40))
def test_the_least_difference_is_found_with_the_stated_chance(error: float, boots: int, tests: int) -> None:
    """A difference as large as `least` gives a p that is significant with a chance of POWER, after its correction."""
    judged = compare.judge(Spread(np.zeros(tests), np.full(tests, error), np.full(tests, boots - 1.0)), np.zeros(tests, int))
    shift = np.log1p(judged["least"][0]) - np.log1p(compare.SMALLEST_EFFECT)
    needed = stats.t.ppf(1 - (1 - pooling.LEVEL) / (2 * tests), boots - 1)
    assert stats.t.sf(needed - shift / error, boots - 1) == pytest.approx(compare.POWER, rel=1e-3)


def test_widths_are_of_what_is_timed_and_infinite_without_interval() -> None:
    rows = summary(lazy=[[100, 101], [100, 99], [100, 101]], eager=[[120, 121], [118, 122], [119, 121]])
    eager = row(rows, "eager")
    assert compare.widest(rows) == pytest.approx((eager["ratio_high"] - eager["ratio_low"]) / eager["ratio"])
    assert compare.widest(summary(lazy=[[1.0]], eager=[[2.0]])) == math.inf


def test_every_metric_is_a_question() -> None:
    """A counter that is compared too does not make the verdicts on time harsher."""
    clock = tidy(lazy=[[100, 101], [100, 99], [100, 101]], eager=[[120, 121], [118, 122], [119, 121]])
    alone = row(compare.summarise(clock, {"b": "lazy"}), "eager")["p"]
    with_counts = compare.summarise(pd.concat([clock, clock.assign(metric="instructions")]), {"b": "lazy"})
    assert row(with_counts[with_counts["metric"] == "clock"], "eager")["p"] == alone


def test_cells_beside_say_how_noisy_the_board_is() -> None:
    """Three boots leave two degrees of freedom to a cell alone; those of all cells count together, quiet or noisy."""
    noise = np.random.default_rng(1)

    def boots(level: float, size: float) -> list[list[float]]:
        return (level * np.exp(noise.normal(0, size, (3, 2)))).tolist()

    lazy, eager = boots(100, 0.01), boots(106, 0.01)
    few = row(summary(lazy=lazy, eager=eager), "eager")
    quiet, noisy = (
        row(summary(lazy=lazy, eager=eager, **{f"none{n}": boots(100, size) for n in range(20)}), "eager") for size in (0.01, 0.1)
    )
    assert quiet["verdict"] == HIGHER
    alone, beside, among_noisy = (np.log(found["ratio_high"] / found["ratio_low"]) for found in (few, quiet, noisy))
    assert beside < alone and 1.5 * beside < among_noisy


def test_rows_come_in_the_order_of_the_tables_with_the_control_arm_last() -> None:
    one = [[1.0, 2.0]] * 3
    rows = summary(lazy_control=one, eager=one, stock=one, lazy=one)
    order = list(zip(rows["strategy"], rows["arm"], strict=True))
    assert order == [("stock", "main"), ("lazy", "main"), ("eager", "main"), ("lazy", "control")]


@drawn(30)
@given(st.floats(0.5, 2.0), st.integers(3, 6), st.integers(0, 100))
def test_what_moved_between_two_campaigns_is_found_with_welch_s_interval(factor: float, boots: int, seed: int) -> None:
    noise = np.random.default_rng(seed)
    before, now = (1000 * np.exp(noise.normal(0, 1e-3, (boots, 1))) for _ in range(2))
    now *= factor
    frames = [tidy(lazy=side.tolist()).assign(kernel=kernel) for side, kernel in ((before, "old"), (now, "new"))]
    (found,) = compare.moved(frames[1], frames[0]).itertuples()
    logs = [np.log(side[:, 0]) for side in (before, now)]
    assert found.ratio == pytest.approx(np.exp(logs[1].mean() - logs[0].mean()))
    low, high = stats.ttest_ind(logs[1], logs[0], equal_var=False).confidence_interval(0.95)
    assert (found.ratio_low, found.ratio_high) == (pytest.approx(np.exp(low)), pytest.approx(np.exp(high)))
    if abs(np.log(factor)) > 0.03:
        assert found.verdict == (HIGHER if factor > 1 else LOWER)
    if abs(np.log(factor)) < 0.005:
        assert found.verdict == CANNOT


def test_cells_of_one_campaign_alone_are_new_or_gone() -> None:
    now, before = tidy(lazy=[[1.0]], eager=[[2.0]]), tidy(lazy=[[1.0]], stock=[[3.0]])
    rows = compare.moved(now, before).set_index("strategy")
    assert rows.loc["eager", ["before", "now"]].isna().tolist() == [True, False]
    assert rows.loc["stock", ["before", "now"]].isna().tolist() == [False, True]
    assert rows["verdict"].isna().sum() == 2
    assert rows.loc["lazy", "ratio"] == 1.0


def by_the_book(frame: pd.DataFrame) -> pd.DataFrame:
    """What compare.medians() returns, by pandas."""
    counted = frame[frame["value"].notna()]
    of_visit = counted.groupby(compare.VISIT, sort=False, observed=True)["value"]
    first = ~pd.Series(of_visit.ngroup().to_numpy()).duplicated().to_numpy()
    visits = counted.loc[first, [*compare.CELL, "boot", "visit", "block", "position"]].reset_index(drop=True)
    visits["value"], visits["values"] = of_visit.median().to_numpy(), of_visit.size().to_numpy()
    numbers = {"cell": compare.CELL, "pool": compare.POOL, "room": compare.ROOM}
    return visits.assign(**{name: visits.groupby(tags, sort=False, observed=True).ngroup() for name, tags in numbers.items()})


VALUES = st.floats(-1e18, 1e18) | st.just(math.nan)


@pytest.mark.parametrize("at_once", [1, 2**20])
@pytest.mark.parametrize("kind", ["category", "object"])
@drawn(40)
@given(
    visits=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.lists(VALUES, max_size=9)), max_size=9),
    order=st.randoms(use_true_random=False),
    apart=st.booleans(),
)
def test_medians_are_those_of_pandas_to_the_last_bit(
    at_once: int, kind: str, visits: list[tuple[str, str, list[float]]], order: Random, apart: bool
) -> None:
    """Visits may have as many values as they like, none, some that could not be counted, and rows that are apart."""
    rows = [
        {**TAGS, "strategy": visit, "boot": "1", "visit": visit, "metric": metric, "block": 1, "position": 1, "value": value}
        for visit, metric, values in visits
        for value in values
    ]
    if apart:
        order.shuffle(rows)
    columns = [*compare.CELL, "boot", "visit", "block", "position", "value"]
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys([*compare.CELL, "boot", "visit"], kind))
    frame = frame.astype({"value": float})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "AT_ONCE", at_once)
        pd.testing.assert_frame_equal(compare.medians(frame), by_the_book(frame), check_exact=True)
