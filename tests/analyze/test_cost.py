from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analyze import compare, cost
from study.analyze.cost import PAIRS, Costs, Mix
from study.errors import BadRequest
from study.factors import GUEST_STATES
from tests.analyze.frames import tidy
from tests.conftest import drawn

some = st.floats(1, 1e4)
costs = st.builds(Costs, base=some, trap=some, switch=some, scan=some)
shares = st.floats(0, 1)
TRUE = Costs(base=1350.0, trap=1700.0, switch=355.0, scan=65.0)
STRATEGIES = ("lazy", "eager", "control-scan")


def campaign(boots: int, noise: float = 0.0, seed: int = 1, guests: tuple[str, ...] = tuple(GUEST_STATES)) -> pd.DataFrame:
    """Rows of cost.boots() of a board that follows the model, but that each boot shifts."""
    source = np.random.default_rng(seed)
    rows = []
    for boot in range(boots):
        shift = 1 + noise * source.standard_normal()
        for strategy in STRATEGIES:
            for guest in guests:
                value = float(TRUE.of(strategy, cost.mix_of(guest))) * shift * (1 + 0.1 * noise * source.standard_normal())
                rows.append({"strategy": strategy, "guest": guest, "boot": f"b.{boot}", "unit": "instructions", "value": value})
    return pd.DataFrame(rows)


def test_the_rules_are_those_of_the_thread() -> None:
    assert TRUE.of("eager", Mix(0.5, 0.5, 0.5)) == TRUE.base + TRUE.switch
    assert TRUE.of("lazy", Mix()) == TRUE.base
    assert TRUE.of("lazy", Mix(monitored=1.0)) == TRUE.base + TRUE.switch
    assert TRUE.of("lazy", Mix(touches=1.0)) == TRUE.base + TRUE.trap + TRUE.switch
    assert TRUE.of("control-scan", Mix(monitored=1.0)) == TRUE.base + TRUE.scan
    assert TRUE.of("control-scan", Mix(touches=0.25, enabled=0.5)) == TRUE.base + TRUE.scan + TRUE.switch / 2 + TRUE.trap / 8


def test_every_guest_state_has_a_mix() -> None:
    mixes = {name: cost.mix_of(name) for name in GUEST_STATES}
    assert mixes["untouched"] == Mix()
    assert mixes["mde"] == Mix(monitored=1.0)
    assert mixes["all"] == Mix(monitored=1.0, enabled=1.0)
    assert mixes["one-no-mde"] == Mix(enabled=1.0)
    assert mixes["touch-20"] == Mix(touches=0.05)


@pytest.mark.parametrize("pair", PAIRS)
@given(parts=costs, monitored=shares, enabled=shares)
def test_strategies_cost_the_same_at_the_touch_rate_of_break_even(
    pair: tuple[str, str], parts: Costs, monitored: float, enabled: float
) -> None:
    rate = float(cost.touch_rate(parts, *pair, monitored, enabled))
    if not math.isnan(rate) and abs(rate) < 1e6:
        first, second = (float(parts.of(name, Mix(rate, monitored, enabled))) for name in pair)
        assert first == pytest.approx(second, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("kept_on", [False, True])
@given(parts=costs, touches=shares)
def test_and_at_the_share_of_debugging(pair: tuple[str, str], kept_on: bool, parts: Costs, touches: float) -> None:
    share = float(cost.debugging(parts, *pair, touches, kept_on=kept_on))
    if not math.isnan(share) and abs(share) < 1e6:
        first, second = (float(parts.of(name, cost.debugging_mix(touches, share, kept_on=kept_on))) for name in pair)
        assert first == pytest.approx(second, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("pair", PAIRS)
@given(parts=costs, touches=shares, monitored=shares, enabled=shares)
def test_and_at_the_cost_of_a_trap(pair: tuple[str, str], parts: Costs, touches: float, monitored: float, enabled: float) -> None:
    mix = Mix(touches, monitored, enabled)
    trap = float(cost.trap_cost(parts, *pair, mix))
    if not math.isnan(trap) and abs(trap) < 1e9:
        with_it = Costs(parts.base, trap, parts.switch, parts.scan)
        assert float(with_it.of(pair[0], mix)) == pytest.approx(float(with_it.of(pair[1], mix)), rel=1e-6, abs=1e-3)


@given(costs)
def test_the_closed_forms_are_those_of_the_docstrings(parts: Costs) -> None:
    assert cost.touch_rate(parts, "lazy", "eager") == pytest.approx(parts.switch / (parts.trap + parts.switch))
    assert cost.touch_rate(parts, "control-scan", "eager") == pytest.approx(
        (parts.switch - parts.scan) / parts.trap, rel=1e-6, abs=1e-9
    )
    assert cost.debugging(parts, "control-scan", "eager") == pytest.approx(
        (parts.switch - parts.scan) / parts.switch, rel=1e-6, abs=1e-9
    )


def test_where_nothing_meets_there_is_no_number() -> None:
    assert math.isnan(float(cost.debugging(TRUE, "lazy", "control-scan")))  # parallel: the scan's cost apart, for ever
    assert math.isnan(float(cost.trap_cost(TRUE, "lazy", "eager", Mix())))  # nobody traps


def test_a_fit_finds_the_costs_that_made_the_data() -> None:
    fitted = cost.fit(campaign(3))
    assert fitted.parts == cost.PARTS
    assert [getattr(fitted.costs, part) for part in cost.PARTS] == pytest.approx([1350, 1700, 355, 65])
    assert fitted.error < 1e-9
    assert fitted.interval(lambda found: found.trap) == pytest.approx((1700, 1700, 1700))


def test_what_was_not_measured_is_predicted() -> None:
    rows = cost.held_out(campaign(5, noise=0.002), ["touch-4", "one"])
    assert set(rows["guest"]) == {"touch-4", "one"}
    assert len(rows) == 2 * len(STRATEGIES)
    assert rows["error"].abs().max() < 0.01


def test_intervals_of_the_costs_hold_the_truth_as_often_as_they_say() -> None:
    """Five boots: resampling them would cover 83 %."""
    held = [
        low <= 1700 <= high
        for seed in range(200)
        for _, low, high in [
            cost.fit(campaign(5, 0.01, seed, ("untouched", "mde", "one", "touch"))).interval(lambda found: found.trap)
        ]
    ]
    assert 0.90 <= np.mean(held) <= 0.99  # 200 of 95 %: four standard deviations


def test_two_boots_that_differ_give_no_interval() -> None:
    _, low, high = cost.fit(campaign(2, noise=0.01)).interval(lambda found: found.switch)
    assert math.isnan(low)
    assert math.isnan(high)


def test_a_part_that_cannot_be_told_from_the_base_is_not_fitted() -> None:
    rows = campaign(3)
    fitted = cost.fit(rows[rows["strategy"] == "lazy"], ["untouched", "mde"])
    assert fitted.parts == ("base", "switch")
    with pytest.raises(BadRequest, match="needs cells of several strategies and guests"):
        cost.fit(rows[rows["guest"] == "untouched"].query("strategy == 'lazy'"))


def test_an_unfinished_boot_is_left_out() -> None:
    rows = campaign(4, noise=0.01)
    unfinished = rows[~((rows["boot"] == "b.3") & (rows["guest"] == "touch"))]
    assert cost.fit(unfinished).costs == cost.fit(rows[rows["boot"] != "b.3"]).costs


def test_what_a_round_trip_consists_of_adds_up() -> None:
    fitted = cost.fit(campaign(3))
    parts = cost.breakdown(fitted)
    assert parts[list(cost.PARTS)].sum(axis=1).to_numpy() == pytest.approx(fitted.cells["fitted"].to_numpy())


@drawn(50)
@given(st.lists(st.lists(st.floats(1, 1000), min_size=len(cost.EVENTS), max_size=len(cost.EVENTS)), min_size=4, max_size=4))
def test_vectors_are_what_receipts_are_made_of(made: list[list[float]]) -> None:
    base, trap, switch, scan = map(np.array, made)
    rows = []
    for strategy in ("lazy", "eager", "control-scan"):
        for guest in ("untouched", "mde", "touch", "touch-20"):
            counts = Costs(base, trap, switch, scan).of(strategy, cost.mix_of(guest))
            halves = [(f"{name} function", counts / 2) for name in ("first", "second")]
            rows += [{"board": "b", "kernel": "k", "strategy": strategy, "guest": guest, "host": "none", "exit": "hvc", "function": name,
                      **dict(zip(cost.EVENTS, half, strict=True))} for name, half in halves]  # fmt: skip
    found = cost.vectors(pd.DataFrame(rows))
    assert list(found["part"]) == list(cost.PARTS) and found["error"].max() < 1e-6
    assert found[list(cost.EVENTS)].to_numpy() == pytest.approx(np.array(made), rel=1e-6)
    clock = [{"strategy": row["strategy"], "guest": row["guest"], "boot": boot, "unit": "instructions", "value": 2 * row["instructions"]}
             for row in rows[::2] for boot in (1, 2, 3)]  # fmt: skip
    assert cost.apart(found, cost.fit(pd.DataFrame(clock))) < 0.02


def test_vectors_need_what_tells_their_parts_apart() -> None:
    row = {"board": "b", "kernel": "k", "strategy": "lazy", "guest": "mde", "host": "none", "exit": "hvc", "function": "f"}
    assert cost.vectors(pd.DataFrame([{**row, **dict.fromkeys(cost.EVENTS, 1.0)}])).empty


@drawn(50)
@given(st.lists(st.lists(some, min_size=4, max_size=4), min_size=2, max_size=4))
def test_nobody_is_cheaper_than_the_winner(rows: list[list[float]]) -> None:
    table = {f"s{number}": np.array(row) for number, row in enumerate(rows)}
    best, names = cost.winners(table)
    for place, number in enumerate(best):
        assert table[names[number]][place] == min(row[place] for row in table.values())


def test_of_several_kernels_one_is_spoken_of_and_not_their_mean() -> None:
    base = {"lazy": [[100.0, 101.0]] * 3, "eager": [[150.0, 151.0]] * 3}
    old = tidy(boots="old", **base).assign(kernel="6.18")
    new = tidy(boots="new", **base).assign(kernel="6.1", value=lambda rows: 2 * rows["value"])
    frame = pd.concat([old, new])
    summary = compare.summarise(frame, {"b": "lazy"})
    assert set(compare.one_kernel(summary)["kernel"]) == {"6.18"}, "the kernel of the baseline, which was measured first"
    assert cost.costs(summary).loc["b"].loc["mde"].to_dict() == pytest.approx({"lazy": 100.5, "eager": 150.5}, rel=0.01)
    assert cost.boots(compare.medians(frame), "b")["value"].max() < 152


def test_prices_are_paid_for_each_trap_and_access() -> None:
    rows = pd.DataFrame({"strategy": ["a", "b"], "instructions": [10.0, 20.0], "traps": [1.0, 0.0], "accesses": [0.0, 84.0]})
    assert cost.priced(rows, trap=100.0, access=2.0) == {"a": 110.0, "b": 188.0}
