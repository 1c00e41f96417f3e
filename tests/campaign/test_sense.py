"""Numbers that cannot be true are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.campaign import schema, sense
from study.design import Factors, draw
from study.errors import BadData
from tests import lines

FACTORS = Factors()
VISIT = draw(FACTORS).visits()[0]


def count(line: dict[str, Any], event: str) -> dict[str, Any]:
    return next(each for each in line["counts"] if each["event"] == event)


def set_values(line: dict[str, Any], *values: float) -> None:
    line["pyperf"]["benchmarks"][0]["runs"][0]["values"] = list(values)


# What was done to a visit, and what is said of it.
NONSENSE: dict[str, Callable[[dict[str, Any]], object]] = {
    "it has 40 round trips in a value": lambda line: line.update(loops=40),
    "pyperf has 1 values, and the design 5": lambda line: set_values(line, 1e-6),
    "pyperf made 17 round trips": lambda line: line["pyperf"]["metadata"].update(loops=17),
    "values are in bytes, not in seconds": lambda line: line["pyperf"]["metadata"].update(unit="byte"),
    "a round trip of 1500 s": lambda line: set_values(line, 1e-6, 1e-6, 1e-6, 1e-6, 1500),
    "would be a clock of 1e\\+06 Hz": lambda line: set_values(line, *[1.5e-3] * 5),
    "instructions:kh is -3 in a round trip": lambda line: count(line, "instructions:kh").update(value=-3),
    "cache-misses is 1e+16 in a round trip": lambda line: line["counts"].append(
        {"event": "cache-misses", "value": 1e16, "running": 1.0, "why": ""}
    ),
    "the module counted 1e+17 entries": lambda line: line.update(module={"loops": 4000, "entries": 10**17}),
    "kvm:kvm_exit is 0.5 in a round trip: fewer were made": lambda line: count(line, "kvm:kvm_exit").update(value=0.5),
    "cycles:kh in 61% of the time only": lambda line: count(line, "cycles:kh").update(running=0.61),
    "no value and no reason": lambda line: count(line, "cycles:kh").update(value=None),
    "a value, and a reason for none": lambda line: count(line, "cycles:kh").update(why="not counted"),
    "perf says nothing of cycles:kh": lambda line: line["counts"].remove(count(line, "cycles:kh")),
    "the module counted over 9 round trips": lambda line: line.update(module={"loops": 9}),
    "the module counted 9 entries": lambda line: line.update(module={"loops": 4000, "entries": 9}, cell={**line["cell"], "strategy": "lazy"}),
    "more switches than entries": lambda line: line.update(
        module={"loops": 4000, "entries": 4001, "switches": 4002}, cell={**line["cell"], "strategy": "lazy"}
    ),
}  # fmt: skip


def test_a_visit_as_boards_give_it_makes_sense() -> None:
    line = lines.of_kvm(VISIT, FACTORS)
    schema.check("visit", line)
    count(line, "kvm:trap_reg").update(value=None, why="not on this kernel")
    count(line, "instructions:u").update(value=-0.9)  # the longer window may do less of what both do once
    assert sense.nonsense(line, FACTORS) == ""


def test_an_interrupt_in_the_shorter_window_is_no_nonsense() -> None:
    few = Factors(loops=100)
    line = lines.of_kvm(draw(few).visits()[0], few)
    count(line, "kvm:kvm_exit").update(value=(100 - 11) / 90)
    assert sense.nonsense(line, few) == ""


@pytest.mark.parametrize("says", NONSENSE)
def test_nonsense_is_named(says: str) -> None:
    line = lines.of_kvm(VISIT, FACTORS)
    NONSENSE[says](line)
    schema.check("visit", line)
    assert says.replace("\\", "") in sense.nonsense(line, FACTORS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"loops": 0}, "loops must be bigger than or equal to 1"),
        ({"loops": True}, "loops must be integer"),
        ({"counts": [{"event": "x", "value": float("inf"), "running": 1, "why": ""}]}, r"counts\[0\].value must be smaller"),
        ({"counts": [{"event": "x", "value": 1, "running": 1.5, "why": ""}]}, r"counts\[0\].running must be smaller"),
        ({"pyperf": {"benchmarks": [{"runs": [{"values": [-1.0]}]}]}}, r"values\[0\] must be bigger than"),
        ({"pyperf": {"benchmarks": []}}, "benchmarks must contain at least 1"),
        ({"cell": {"strategy": "lazy"}}, "cell must contain"),
        ({"ended": "badly"}, "ended must be one of"),
    ],
)
def test_another_shape_is_refused_with_its_place(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadData, match=f"it is no visit: .*{says}"):
        schema.check("visit", {**lines.of_kvm(VISIT, FACTORS), **change})


NUMBERS = st.floats() | st.sampled_from([1, True, None, "1", 1e-18, 1e18, 1e-19, 2e18, 0.0, [1.0]])


@given(values=st.lists(st.floats(1e-18, 1e18), max_size=9) | st.lists(NUMBERS, max_size=9), at=st.integers(0, 9), other=NUMBERS)
def test_values_are_refused_with_the_same_words_all_at_once_or_each_by_itself(values: list[Any], at: int, other: object) -> None:
    line = lines.of_kvm(VISIT, FACTORS)
    line["pyperf"]["benchmarks"][0]["runs"] = [{"values": [1e-6]}, {"values": [*values[:at], other, *values[at:]]}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "_in_brief", lambda data: data)
        exactly = complaint(line)
    assert complaint(line) == exactly


def complaint(line: dict[str, Any]) -> str:
    try:
        schema.check("visit", line)
    except BadData as error:
        return str(error)
    return ""


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "NaN", '{"a": Infinity}', "1" * 5000, b"\xff"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadData, match="it is not JSON"):
        schema.load(text)
