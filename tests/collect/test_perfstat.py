from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.campaign import Campaign
from study.collect.perfstat import counted, parse, per_round_trip
from study.errors import BadData


def line(event: str, value: object, running: float = 100.0) -> str:
    return json.dumps({"counter-value": str(value), "event": event, "pcnt-running": running})


def test_comments_and_blank_lines_are_passed_over() -> None:
    (count,) = parse("# started on Sun Nov 22\n\n" + line("cycles:kh", "12.000000") + "\n")
    assert (count.event, count.value, count.why) == ("cycles:kh", 12.0, "")


@pytest.mark.parametrize("why", ["not supported", "not counted"])
def test_a_missing_count_is_data(why: str) -> None:
    (count,) = parse(line("branches", f"<{why}>", 0.0))
    assert math.isnan(count.value)
    assert count.why == why


def test_multiplexing_is_told() -> None:
    (count,) = parse(line("branches", 10, 62.5))
    assert count.running == 0.625


@pytest.mark.parametrize(
    "text",
    [
        "Killed",
        "{}",
        "[1]",
        "null",
        line("x", "-1"),
        line("x", "inf"),
        line("x", 1, 300),
        line("x", "many"),
        line("x", "<none>"),
        line("x", "<\x1b[2J>"),
    ],
)
def test_what_perf_does_not_print_is_bad_data(text: str) -> None:
    with pytest.raises(BadData):
        parse(text)


def row(value: object, at: float | None = None, event: str = "faults", **more: object) -> str:
    """Return a row of perf's, of an interval if it says when that ended."""
    interval = {} if at is None else {"interval": at}
    return json.dumps({**interval, "counter-value": str(value), "event": event, "pcnt-running": 100.0, **more}) + "\n"


SLEPT, SUPPRESSED = "<not counted>", {"pcnt-running": 0.0}
# What perf prints with -I, and what each run counted: its value and in which share of the time, or why there is none.
INTERVALS: dict[str, tuple[str, list[tuple[object, float]]]] = {
    "three": (row(3, 0.1) + row(5, 0.2) + row(7, 0.3), [(15, 1.0)]),
    "with their summary": (row(3, 0.1) + row(5, 0.2) + row(8), [(8, 1.0)]),
    "it slept in one": (row(3, 0.1) + row(SLEPT, 0.2) + row(5, 0.3), [(8, 1.0)]),
    "it was left out of one": (row(3, 0.1) + row(SLEPT, 0.2, **SUPPRESSED) + row(5, 0.3), [("not counted", 0.0)]),
    "it slept in all": (row(SLEPT, 0.1) + row(SLEPT, 0.2), [("not counted", 1.0)]),
    "an estimate in one": (row(3, 0.1) + row(5, 0.2, **{"pcnt-running": 25.0}), [(8, 0.25)]),
    "two runs": (row(3, 0.1) + row(5, 0.2) + row(11, 0.1) + row(13, 0.2), [(8, 1.0), (24, 1.0)]),
    "two runs with their summaries": (row(3, 0.1) + row(3) + row(5, 0.2) + row(5), [(3, 1.0), (5, 1.0)]),
    "two runs into one file": (row(3, 0.1) + "# started on Sat\n" + row(5, 0.2), [(3, 1.0), (5, 1.0)]),
    "asked for twice": (2 * row(3, 0.1) + 2 * row(5, 0.2), [(8, 1.0), (8, 1.0)]),
    "no intervals": (row(3) + row(5), [(3, 1.0), (5, 1.0)]),
    "mean of repetitions": (row(3.5, variance=1.25), [(3.5, 1.0)]),
}


@pytest.mark.parametrize("name", INTERVALS)
def test_a_run_is_the_sum_of_its_intervals_or_their_summary(name: str) -> None:
    text, wanted = INTERVALS[name]
    assert [(count.why or count.value, count.running) for count in parse(text)] == wanted


def test_each_event_of_a_run_is_a_sum_of_its_own() -> None:
    text = "".join(row(at * 10, at, "a") + row(at * 100, at, "b") for at in (1.0, 2.0, 3.0)) + row(61, event="a")
    assert {(count.event, count.value) for count in parse(text)} == {("a", 61.0), ("b", 600.0)}


@pytest.mark.parametrize(
    "text",
    [
        '{"counter-value" : "2718,281000", "unit" : "", "event" : "a", "event-runtime" : 5, "pcnt-running" : 99,50}',
        '{"counter-value" : "2718,281000", "event" : "a", "pcnt-running" : 100.00}',
        '{"interval" : 0,100148, "counter-value" : "12", "event" : "a", "pcnt-running" : 100,00}',
        "2718,281;msec;task-clock;2718281;100,00;0,994;CPUs utilized",
    ],
)
def test_a_decimal_comma_is_said_with_what_mends_it(text: str) -> None:
    with pytest.raises(BadData, match="decimal comma: count again with LC_ALL=C perf stat -j"):
        parse(text)


@pytest.mark.parametrize(
    ("part", "option"),
    [("cpu", "-A"), ("socket", "--per-socket"), ("cgroup", "-G and --for-each-cgroup"), ("core", "--per-core")],
)
def test_parts_are_refused_with_the_option_to_leave_out(part: str, option: str) -> None:
    with pytest.raises(BadData, match=f"counted each {part} apart: count again without {option}, so"):
        parse(row(3, **{part: "0"}) + row(5, **{part: "1"}))


@given(st.text())
def test_any_text_is_counts_or_bad_data(text: str) -> None:
    with contextlib.suppress(BadData):
        parse(text)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 1000), st.integers(1, 1000))
def test_what_both_windows_contain_drops_out(constant: int, each: int, short: int, more: int) -> None:
    windows = [{"loops": loops, "perf": line("e", constant + each * loops)} for loops in (short, short + more)]
    (count,) = per_round_trip(windows)
    assert count.value == pytest.approx(each)


@pytest.mark.parametrize(
    "windows",
    [
        [{"loops": 1, "perf": line("a", 1)}],
        [{"loops": 1, "perf": line("a", 1)}, {"loops": 2, "perf": line("b", 1)}],
        [{"loops": 2, "perf": line("a", 1)}, {"loops": 2, "perf": line("a", 1)}],
        [{"loops": 1, "perf": line("a", 1)}, {"loops": 10**400, "perf": line("a", 1)}],
        [{"loops": "x", "perf": line("a", 1)}, {"loops": 2, "perf": line("a", 1)}],
        [{"loops": 1, "perf": 3}, {"perf": line("a", 1)}],
        ["a", "b"],
        None,
    ],
)
def test_windows_that_do_not_pair_up_are_bad_data(windows: Any) -> None:
    with pytest.raises(BadData):
        per_round_trip(windows)


def test_what_perf_printed_on_a_board_is_read(reference: Campaign) -> None:
    record = next(iter(reference.records()))
    events = {count.event for window in record.line["windows"] for count in counted(window)}
    assert events == {event for row in reference.designs["kvm"].factors.perf_events for event in row}
