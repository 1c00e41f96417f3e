from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.campaign import Campaign
from study.collect.perfstat import parse, per_round_trip
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
    events = {count.event for window in record.line["windows"] for count in parse(window["perf"])}
    assert events == {event for row in reference.designs["kvm"].factors.perf_events for event in row}
