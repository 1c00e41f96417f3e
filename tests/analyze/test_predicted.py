"""Receipts times published prices: what is predicted of a round trip on real cores, of two strategies, and of published hypercalls."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from study.analyze import assumed, predicted, predicted_tables, published, receipts, tables
from study.analyze.predicted import (
    ANY,
    EVENTS,
    HOLDS,
    MISSES,
    NOT,
    ORDINARY,
    PART,
    SAME,
    THESE,
    Known,
    Span,
    cycles,
    ipc,
    judged,
    told,
)
from study.campaign import Campaign
from study.errors import BadData
from tests import made_receipts, made_series
from tests.conftest import drawn, refused, run, some
from tests.made_receipts import cell, function, traced

NEAR = 1e-6  # as a share: results have eight digits
ENDS = st.tuples(st.floats(0, 100), st.floats(0, 100)).map(lambda ends: Span(min(ends), max(ends)))
PRICES = st.fixed_dictionaries(dict.fromkeys(EVENTS, ENDS))
COUNTS = st.fixed_dictionaries(dict.fromkeys(EVENTS, st.integers(0, 2000).map(float)))
SHARES = st.fixed_dictionaries(dict.fromkeys(EVENTS, st.floats(0, 1)))

Prices = Mapping[str, Span]
Counts = Mapping[str, float]


def less(this: Counts, that: Counts) -> dict[str, float]:
    return {event: this[event] - that[event] for event in EVENTS}


def at(prices: Prices, shares: Counts) -> dict[str, float]:
    """Prices somewhere in their ranges."""
    return {event: span.low + shares[event] * (span.high - span.low) for event, span in prices.items()}


def total(counts: Counts, prices: Counts) -> float:
    return sum(counts[event] * prices[event] for event in EVENTS)


def within(value: float, span: Span) -> bool:
    slack = NEAR * max(1.0, *map(abs, span))
    return span.low - slack <= value <= span.high + slack


# --- ranges -------------------------------------------------------------------------------------------------------------


@drawn(100)
@given(COUNTS, COUNTS, PRICES, SHARES)
def test_what_any_prices_give_is_within_the_range_of_a_difference(
    this: Counts, that: Counts, prices: Prices, shares: Counts
) -> None:
    assert within(total(less(this, that), at(prices, shares)), cycles(less(this, that), prices))


@drawn(100)
@given(COUNTS, PRICES, st.sampled_from(EVENTS), st.floats(0, 100))
def test_a_dearer_price_makes_no_round_trip_cheaper(counts: Counts, prices: Prices, event: str, more: float) -> None:
    dearer = {**prices, event: Span(prices[event].low + more, prices[event].high + more)}
    before, after = cycles(counts, prices), cycles(counts, dearer)
    assert after.low >= before.low - NEAR and after.high >= before.high - NEAR


@drawn(100)
@given(COUNTS, COUNTS, PRICES)
def test_a_difference_lies_within_the_difference_of_the_ranges(this: Counts, that: Counts, prices: Prices) -> None:
    span, one, other = cycles(less(this, that), prices), cycles(this, prices), cycles(that, prices)
    apart = Span(one.low - other.high, one.high - other.low)
    assert within(span.low, apart) and within(span.high, apart)


@drawn(100)
@given(COUNTS, COUNTS, PRICES, COUNTS)
def test_what_both_have_cancels(this: Counts, that: Counts, prices: Prices, shared: Counts) -> None:
    more = [{event: side[event] + shared[event] for event in EVENTS} for side in (this, that)]
    assert cycles(less(*more), prices) == cycles(less(this, that), prices)


@drawn(100)
@given(COUNTS, COUNTS, st.fixed_dictionaries(dict.fromkeys(EVENTS, st.integers(0, 100).map(float))))
def test_points_give_a_point(this: Counts, that: Counts, prices: Counts) -> None:
    exact = total(less(this, that), prices)
    assert cycles(less(this, that), {event: Span(price, price) for event, price in prices.items()}) == Span(exact, exact)


@drawn(100)
@given(COUNTS, COUNTS, COUNTS, PRICES, SHARES, st.floats(0, 500))
def test_a_round_trip_that_is_known_narrows_the_range_and_loses_no_price_that_it_allows(
    this: Counts, that: Counts, known: Counts, prices: Prices, shares: Counts, wide: float
) -> None:
    true = at(prices, shares)
    takes = total(known, true)
    fact = Known(known, Span(takes - wide - 1, takes + wide + 1))
    narrow, span = cycles(less(this, that), prices, [fact]), cycles(less(this, that), prices)
    assert within(total(less(this, that), true), narrow)
    assert within(narrow.low, span) and within(narrow.high, span)


def test_no_prices_that_allow_what_is_known_make_no_range() -> None:
    prices, counts = dict.fromkeys(EVENTS, Span(1, 2)), dict.fromkeys(EVENTS, 10.0)
    assert all(map(math.isnan, cycles(counts, prices, [Known(counts, Span(1, 2))])))
    assert cycles(counts, prices, [Known(counts, Span(70, 80))]) == Span(70, 80)


def test_a_price_without_an_upper_end_has_none_only_where_it_counts() -> None:
    prices = dict.fromkeys(EVENTS, Span(1, 1)) | {"reads": Span(1, math.inf)}
    none = dict.fromkeys(EVENTS, 0.0)
    assert cycles({**none, "traps": 2.0}, prices) == Span(2, 2)
    assert cycles({**none, "reads": 2.0}, prices) == Span(2, math.inf)
    assert predicted_tables.amount(2, math.inf) == "2 to any"
    known = [Known({**none, ORDINARY: 1.0}, Span(0, 5))]
    assert cycles({**none, "reads": 2.0}, prices, known) == Span(2, math.inf)


@drawn(100)
@given(COUNTS, COUNTS, PRICES)
def test_two_are_told_apart_at_any_price_only_if_they_are_at_these(this: Counts, that: Counts, prices: Prices) -> None:
    more = less(this, that)
    span = cycles(more, prices)
    said = told(more, span)
    if said in (ANY, THESE, SAME):
        assert span.low >= 0 or span.high <= 0
    if said == NOT:
        assert span.low <= 0 <= span.high


@pytest.mark.parametrize(
    ("more", "span", "says"),
    [
        ({"reads": 0.0, "traps": 0.0}, (0, 0), SAME), ({"reads": 2.0, "traps": 0.0}, (0, 9), ANY), ({"reads": -2.0}, (-9, 0), ANY),
        ({"reads": 2.0, "traps": -1.0}, (1, 9), THESE), ({"reads": 2.0, "traps": -1.0}, (-1, 9), NOT),
    ],
)  # fmt: skip
def test_what_is_told_apart_is_said(more: Counts, span: tuple[float, float], says: str) -> None:
    assert told(more, Span(*span)) == says


@pytest.mark.parametrize(
    ("measured", "says", "factor"),
    [((200, 300), HOLDS, 1), ((50, 150), PART, 1), ((350, 500), PART, 1), ((50, 500), PART, 1), ((800, 900), MISSES, 2), ((10, 20), MISSES, 5)],
)  # fmt: skip
def test_a_published_figure_is_held_in_part_or_missed_by_a_factor(
    measured: tuple[float, float], says: str, factor: float
) -> None:
    assert judged(Span(100, 400), Span(*measured)) == (says, factor)


@drawn(100)
@given(COUNTS, PRICES, st.floats(0.1, 10), SHARES)
def test_the_ipc_that_would_do_is_within_what_is_said(counts: Counts, prices: Prices, rate: float, shares: Counts) -> None:
    assume(counts[ORDINARY] > 0)
    others = {event: 0.0 if event == ORDINARY else count for event, count in counts.items()}
    takes = total(others, at(prices, shares)) + counts[ORDINARY] / rate
    span = ipc(counts[ORDINARY], cycles(others, prices), Span(takes, takes))
    assert span.low * (1 - NEAR) <= rate <= span.high * (1 + NEAR)


def test_what_is_dearer_than_all_that_was_measured_is_met_at_no_ipc() -> None:
    assert all(map(math.isnan, ipc(100, Span(500, 900), Span(100, 200))))
    assert "more than any number" in predicted_tables.amount_of_ipc(math.nan, math.nan)


# --- what is counted ----------------------------------------------------------------------------------------------------


def trip(
    accesses: float, rest: float, exits: int = 1, guest: Mapping[str, tuple[float, float]] | None = None
) -> list[dict[str, object]]:
    """The functions of a round trip: so many exits, reads and writes as many, and other instructions."""
    guests = guest or {}
    return [
        function("__bp_harden_hyp_vecs", 20 * exits, isb=exits, dsb=exits, entries=exits),
        function("__guest_enter", 30 * exits, returns=exits),
        function("save", 2 * accesses + rest, {"dbgbcr0_el1": (accesses, accesses)}),
        function("guest", 6 + len(guests), guests, module="guest"),
    ]


def made(folder: Path, lines: list[dict[str, Any]], **facts: Any) -> Campaign:
    asked = dataclasses.replace(
        made_receipts.ASKED, strategies=("stock", "lazy", "eager", "control-scan"), hosts=("none", "one"), exits=("hvc", "mmio")
    )
    return made_receipts.make(folder, lines, asked=asked, **facts)


def counted(campaign: Campaign) -> dict[tuple[str, str], dict[str, float]]:
    rows = predicted.events(receipts.functions(receipts.frame(campaign)))
    return {(row.strategy, row.guest): {event: getattr(row, event) for event in EVENTS} for row in rows.itertuples()}


def test_what_has_a_price_is_no_instruction_besides_and_a_trapped_access_is_a_trap(tmp_path: Path) -> None:
    touch = {"dbgbvr0_el1": (0.0, 1.0)}
    lines = [
        traced(cell("untouched", strategy="lazy"), trip(10, 100)),
        traced(cell("touch", strategy="lazy"), trip(10, 100, 2, touch)),
        traced(cell("touch", strategy="eager"), trip(10, 100, 1, touch)),
    ]
    found = counted(made(tmp_path / "c", lines))
    # 20 + 30 + 120 + 6 instructions, of which 10 reads, 10 writes, an ISB, a DSB, an eret, and the hvc
    plain = {"traps": 1, "reads": 10, "writes": 10, "isb": 1, "dsb": 1}
    assert found["lazy", "untouched"] == {ORDINARY: 176 - 24, **plain}
    assert found["eager", "touch"] == {ORDINARY: 177 - 25, **plain, "writes": 11}
    # the write is the instruction that was trapped: neither a write nor an instruction
    assert found["lazy", "touch"] == {ORDINARY: 227 - 20 - 2 - 2 - 2 - 1 - 1, **plain, "traps": 2, "isb": 2, "dsb": 2}


def test_without_vhe_the_calls_of_the_host_are_traps_but_no_exits_of_the_guest(tmp_path: Path) -> None:
    touch = {"dbgbvr0_el1": (0.0, 1.0)}
    host = [function("__kvm_nvhe___kvm_hyp_host_vector", 5, entries=1), function("__kvm_nvhe___host_enter", 3, returns=1)]
    lines = [traced(cell("touch", strategy="eager"), [*trip(10, 100, 1, touch), *host])]
    (found,) = counted(made(tmp_path / "c", lines, board="qemu-cortex-a57", mode="nvhe")).values()
    assert found["traps"] == 2 and found["writes"] == 11


def test_other_exits_and_hosts_that_debug_are_not_predicted(tmp_path: Path) -> None:
    lines = [traced(cell(exit="mmio"), trip(10, 100)), traced(cell(host="one"), trip(10, 100))]
    said = refused(run("predict", made(tmp_path / "c", lines).folder))
    assert "no receipt of an hvc round trip whose host does not debug" in said


# --- what is shown ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Three strategies, of which control-scan reads twenty registers less and writes as many less for the guest in monitor mode."""
    lines = [
        traced(cell("untouched"), trip(10, 900)),
        traced(cell("mde", strategy="lazy"), trip(30, 1000)),
        traced(cell("mde", strategy="control-scan"), trip(10, 1100)),
        traced(cell("mde", strategy="eager"), trip(30, 1000)),
    ]
    return made(tmp_path_factory.mktemp("predicted") / "c", lines)


def shown(measured: Campaign, *words: str) -> str:
    done = run("predict", measured.folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_difference_is_the_prices_of_what_differs(measured: Campaign) -> None:
    rows = json.loads(shown(measured, "--json"))
    prices = predicted.price_list(published.prices(), assumed.assumed())["Neoverse N1"]
    (row,) = [
        row for row in rows if row["kind"] == "difference" and row["core"] == "Neoverse N1" and not row["given"]
        and (row["strategy"], row["against"]) == ("lazy", "control-scan")
    ]  # fmt: skip
    reads, writes, other = prices.spans["reads"], prices.spans["writes"], prices.spans[ORDINARY]
    assert row["low"] == pytest.approx(20 * reads.low + 20 * writes.low - 100 * other.high)
    assert row["high"] == pytest.approx(20 * reads.high + 20 * writes.high - 100 * other.low)
    assert row["told"] == NOT and row["guest"] == "mde"
    assert {row["kind"] for row in rows} == {"difference", "round-trip", "check"}
    alike = [row for row in rows if row["kind"] == "difference" and (row["strategy"], row["against"]) == ("lazy", "eager")]
    assert {(row["low"], row["high"], row["told"]) for row in some(alike, 5)} == {(0, 0, SAME)}


def test_every_table_says_that_it_is_a_prediction_and_what_it_rests_on(measured: Campaign) -> None:
    for style in ("text", "markdown", "html"):
        text = " ".join(shown(measured, "--as", style).split())
        headings = re.findall(r"<h3>(.*?)</h3>|### (.*?) \||(\S+ guest \S+: .*?) core ", text)
        for heading in some(headings, 3):
            assert "a prediction" in "".join(heading)
        for words in ("No core was measured", "Neoverse N1: write 6 to 13, isb 33", "What a core lacks is the range of all cores: trap 27 to 182",
                      "0.5 to 2 instructions a cycle, which is assumed", "No debug register was ever priced in public"):  # fmt: skip
            assert words in text, (style, words)
    assert max(map(len, shown(measured).splitlines())) <= tables.WIDTH


def test_many_strategies_are_rows_where_columns_would_be_too_wide(measured: Campaign) -> None:
    found = predicted.of_campaign(receipts.frame(measured))
    assert found is not None
    many = pd.concat([found.trips.assign(strategy=f"strategy-{number}") for number in range(6)]).query("guest == 'untouched'")
    text, page = (predicted_tables.trips(many, style) for style in ("text", "html"))
    assert max(map(len, text.splitlines())) <= tables.WIDTH and "strategy-5" in text
    assert text.count("\nNeoverse N1") == 6 and page.count("Neoverse N1") == 1


def test_only_cores_that_take_a_path_are_on_it(measured: Campaign) -> None:
    rows = json.loads(shown(measured, "--json"))
    assert {row["core"] for row in rows if row["kind"] == "round-trip"} == {
        core for core, modes in assumed.assumed().modes.items() if "vhe" in modes
    }
    assert "None of these cores takes the path" in " ".join(shown(measured, "--core", "Cortex-A15").split())


def test_a_round_trip_is_all_that_it_executes(measured: Campaign) -> None:
    (row,) = [
        row for row in json.loads(shown(measured, "--json", "--core", "Neoverse N1", "--cells", "guest=untouched"))
        if row["kind"] == "round-trip"
    ]  # fmt: skip
    everything = predicted.price_list(published.prices(), assumed.assumed())["Neoverse N1"].spans
    counts = {ORDINARY: 56 + 20 + 900 - 24, "traps": 1, "reads": 10, "writes": 10, "isb": 1, "dsb": 1}
    assert (row["low"], row["high"]) == pytest.approx(cycles(counts, everything))


@pytest.mark.parametrize(("rest", "says"), [(900, HOLDS), (1500, PART), (3000, MISSES)])
def test_a_published_hypercall_is_held_against_a_kernel_like_its_own(tmp_path: Path, rest: float, says: str) -> None:
    campaign = made(
        tmp_path / "c",
        [traced(cell("untouched", strategy="stock"), trip(10, rest))],
        kernel="6.12.9-arm64",
        release="6.12.9-arm64",
    )
    rows = [row for row in json.loads(shown(campaign, "--json")) if row["kind"] == "check"]
    by_kernel = {(row["core"], row["linux"]): row for row in some(rows, 6)}
    assert by_kernel["Neoverse N1", "6.12-rc1"]["result"] == says
    assert (by_kernel["Neoverse N1", "6.12-rc1"]["factor"] > 1) == (says == MISSES)
    assert {row["result"] for core, row in by_kernel.items() if core != ("Neoverse N1", "6.12-rc1")} == {predicted.UNCHECKED}
    text = " ".join(shown(campaign).split())
    assert f"which {says}" in text and "GHz, assumed" in text and text.count("Not checked: no receipt of a kernel like it.") == 5
    assert ("by a factor of" in text) == (says == MISSES)


def test_a_hypercall_that_is_checked_narrows_the_difference_of_its_core_alone(measured: Campaign) -> None:
    rows = [
        row for row in json.loads(shown(measured, "--json")) if row["kind"] == "difference" and row["against"] == "control-scan"
    ]
    narrow = [row for row in rows if row["given"]]
    assert {row["core"] for row in narrow} == {"Neoverse N1"}
    (wide,) = [row for row in rows if row["core"] == "Neoverse N1" and not row["given"]]
    (row,) = narrow
    assert wide["low"] < row["low"] <= row["high"] <= wide["high"]
    text = " ".join(shown(measured).split())
    assert "Neoverse N1 * " in text and "take what was published, with a dash" in text
    assert re.search(r"saves over lazy in each hvc round trip of guest mde .*at its published hypercall", text)


def test_any_two_round_trips_are_compared(measured: Campaign) -> None:
    words = ["--cells", "guest=mde strategy=eager", "--against", "strategy=control-scan", "--core", "Apple M5"]
    (row,) = [row for row in json.loads(shown(measured, *words, "--json")) if row["kind"] == "difference"]
    assert (row["this"], row["against"], row["told"]) == ("eager", "control-scan", THESE)
    assert "eager - control-scan" in shown(measured, *words)


def test_of_a_series_its_tip_is_compared_with_its_base(tmp_path: Path) -> None:
    tip = "1-with-a-long-name"
    series = {"branch": "t", "ends": True, "base": made_series.row("base", 0), "patches": [made_series.row(tip, 1)]}
    campaign = made_series.make(tmp_path / "c", {"base": 0, tip: 0}, series)
    for boot in campaign.boots():
        if boot.name.endswith((".1", ".2")):
            rest = trip(20 if campaign.facts(boot)["kernel"] == "base" else 10, 1000)
            made_receipts.add(campaign, boot, [traced(cell("mde"), rest)])
    campaign = Campaign(campaign.folder)
    found = predicted.of_campaign(receipts.frame(campaign), series)
    assert found is not None
    rows = found.differences
    assert set(rows["kernel"]) == {tip} and set(rows["against"]) == {"base"} and set(rows["told"]) == {ANY}
    assert (rows["high"] < 0).all() and set(rows["board"]) == set(made_series.BOARDS)
    text = predicted_tables.telling(found)
    assert "1-with.. - base" in text and max(map(len, text.splitlines())) <= 75


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--cells", "guest=mde strategy=eager", "--against", "guest=untouched"],
            "guest 'untouched' has no traced receipt there",
        ),
        (["--core", "Cortex-A9"], "core 'Cortex-A9' has no published price; choose from Cortex-A15; X-Gene;"),
        (["--cells", "guest=touch"], "guest 'touch' has no receipt of an hvc round trip; choose from"),
        (["--cells", "touch"], "'touch' is no tag with values"),
    ],
)
def test_what_cannot_be_predicted_is_said_in_a_line(measured: Campaign, words: list[str], says: str) -> None:
    assert says in refused(run("predict", measured.folder, *words))


def test_a_campaign_without_receipts_says_so() -> None:
    assert "has no traced receipt" in refused(run("predict", "data/guests"))


# --- what is assumed ----------------------------------------------------------------------------------------------------


def test_every_core_has_a_path_and_every_hypercall_a_kernel_that_is_like_its_own_or_a_reason() -> None:
    known, all_of_it = published.prices(), assumed.assumed()
    assert {price.core for price in some(known, 20)} == set(all_of_it.modes)
    assert {(price.core, price.kernel) for price in known if price.quantity == "hypercall"} == set(all_of_it.likes)
    assert set(all_of_it.clocks) <= set(all_of_it.modes)
    for like in some(all_of_it.likes.values(), 6):
        assert len(like.reason) > 20 or like.linux == "not said"


TEXT = assumed.FILE.read_text()


@pytest.mark.parametrize(
    ("spoiled", "says"),
    [
        (lambda text: text.replace("low = 0.5", "low = 0"), "ipc: 0 to 2.0 is no range"),
        (lambda text: text.replace("high = 2.0", "high = 0.1"), "ipc: 0.5 to 0.1 is no range"),
        (lambda text: text.replace("high = 2.0", "high = inf"), "is no range"),
        (lambda text: text.replace("low = 0.5", 'low = "0.5"'), "low is '0.5'"),
        (lambda text: text.replace("low = 0.5", "low = true"), "low is True"),
        (lambda text: text.replace("low = 0.5\n", ""), "ipc: low lacking"),
        (lambda text: text.replace("low = 0.5", "least = 0.5"), "'least' is no part of it"),
        (lambda text: text.replace("[ipc]", "[ipc]\n[other]"), "'other': it has ipc, clock, core and like"),
        (lambda text: text.replace("[[clock]]", "[clock]"), "must be tables in double brackets"),
        (lambda text: "ipc = 1\n" + text.replace("[ipc]", "[[like]]", 1), "assumed.toml"),
        (lambda text: text.replace('modes = ["hyp"]', "modes = []"), "Cortex-A15: modes are []"),
        (lambda text: text.replace('modes = ["hyp"]', "modes = [1]"), "Cortex-A15: modes are [1]"),
        (
            lambda text: text.replace('series = "6.12"', 'series = ""'),
            "Neoverse N1: it has a series or a mode, and needs both or none",
        ),
        (lambda text: text.replace('reason = "its kernel is not said"', 'reason = " "'), "Kunpeng 920: reason is empty"),
        (lambda text: text.replace("low = 0.5", "low = = 0.5"), "assumed.toml"),
    ],
)
def test_what_is_no_assumption_is_refused(spoiled: Callable[[str], str], says: str) -> None:
    assert spoiled(TEXT) != TEXT
    with pytest.raises(BadData, match=re.escape(says)) as error:
        assumed.assumed(spoiled(TEXT))
    assert "assumed.toml" in str(error.value)


@pytest.mark.parametrize(
    ("spoiled", "says"),
    [
        (
            lambda text: text.replace('core = "X-Gene"\nmodes', 'core = "Y-Gene"\nmodes'),
            "X-Gene has a price, and no table of core says",
        ),
        (lambda text: text.replace('kernel = "KVM 3.10"', 'kernel = "KVM 3.11"'), "nothing says which kernel is like 'KVM 3.10'"),
        (
            lambda text: text.replace('[[clock]]\ncore = "Neoverse N1"', '[[clock]]\ncore = "X-Gene"'),
            "and no clock rate of its own",
        ),
    ],
)
def test_an_assumption_that_is_lacking_is_named(measured: Campaign, spoiled: Callable[[str], str], says: str) -> None:
    assert spoiled(TEXT) != TEXT
    with pytest.raises(BadData, match=re.escape(says)):
        predicted.predict(receipts.frame(measured), published.prices(), assumed.assumed(spoiled(TEXT)))


def test_prices_that_are_not_enough_to_predict_anything_are_refused(measured: Campaign) -> None:
    known = [price for price in published.prices() if price.quantity != "isb"]
    with pytest.raises(BadData, match="no core has a price of isb"):
        predicted.predict(receipts.frame(measured), known, assumed.assumed())
