"""Charts of plain ASCII: whatever the numbers are, they are drawn in their order and in their place."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from study.analyze import chart

finite = st.floats(-1e12, 1e12, allow_nan=False)


@st.composite
def marks(draw: st.DrawFn) -> list[chart.Mark]:
    found = []
    for number in range(draw(st.integers(1, 8))):
        low, middle, high = sorted(draw(st.lists(finite, min_size=3, max_size=3)))
        known = draw(st.booleans())
        found.append(chart.Mark(f"m{number}", middle, low if known else math.nan, high if known else math.nan, f"{middle:.3g}"))
    return found


@given(marks(), st.none() | finite, st.integers(60, 72))
def test_a_chart_is_narrow_ascii_and_keeps_the_order_of_its_numbers(
    drawn: list[chart.Mark], at: float | None, width: int
) -> None:
    lines = chart.intervals({"": drawn}, "name", at, width).splitlines()
    assert len(lines) == 2 + len(drawn)
    assert all(line.isascii() and len(line) <= width for line in lines)
    place = {mark.name: line.index(chart.DOT, 4) for mark, line in zip(drawn, lines[2:], strict=True)}
    for one in drawn:
        for other in drawn:
            assert not (one.middle < other.middle and place[one.name] > place[other.name])
    for mark, line in zip(drawn, lines[2:], strict=True):
        assert line.endswith(mark.says)
        assert (chart.LINE in line[6 : len(line) - len(mark.says)]) <= (not math.isnan(mark.low))


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(20, 60))
def test_ticks_are_where_their_numbers_say(low: float, span: float, columns: int) -> None:
    axis = chart.Axis.around(low, low + span, columns)
    assert len(axis.ruler()) == columns
    assert len(axis.labels()) <= columns
    for tick in axis.ticks:
        assert axis.ruler()[axis.column(tick)] == "+"
    for text in axis.labels().split():
        assert min(abs(float(text) - tick) for tick in axis.ticks) <= 1e-6 * max(1, abs(float(text))) + span * 1e-3


def test_an_interval_is_drawn_from_end_to_end_with_its_dot() -> None:
    text = chart.intervals({"": [chart.Mark("a", 5, 0, 10, "5")], "group": [chart.Mark("b", 2, 2, 2, "2")]}, "name", at=2)
    lines = text.splitlines()
    dashes = lines[2]
    assert dashes.count("o") == 1
    assert dashes.count("-") > 40
    assert lines[3] == "group"
    assert lines[4].index("o") == lines[0].index("2", 4)


def test_nothing_to_draw_is_nothing() -> None:
    assert chart.intervals({"": [chart.Mark("a", math.nan, math.nan, math.nan, "-")]}, "name") == ""


@given(st.lists(st.text("abcxyz-", min_size=1), unique=True, max_size=12))
def test_letters_tell_names_apart(names: list[str]) -> None:
    found = chart.letters(names)
    assert list(found) == names
    assert len(set(found.values()) - {"?"}) == len([letter for letter in found.values() if letter != "?"])
