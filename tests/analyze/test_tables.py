from __future__ import annotations

import re

import pandas as pd
import pytest

from study.analyze import compare, figures, tables
from study.analyze.rounding import difference
from tests.analyze.frames import tidy

BASE = [[100.0, 101.0], [100.5, 99.0], [100.0, 101.5]]
HIGH = [[120.0, 121.0], [118.0, 122.0], [119.0, 121.0]]


def one_line(text: str) -> str:
    return " ".join(text.split())


def summary(**strategies: list[list[float]]) -> pd.DataFrame:
    return compare.summarise(tidy(**strategies), {"b": "lazy"})


def test_a_comparison_says_n_at_each_level_and_ends_with_the_control_arm() -> None:
    lines = tables.comparison(summary(lazy=BASE, eager=HIGH, lazy_control=BASE)).splitlines()
    assert lines[0].split() == ["guest,", "strategy", "median", "ratio", "to", "lazy", "verdict"]
    assert lines[2] == "mde"
    assert re.fullmatch(r"  lazy +100 +1 +baseline", lines[3])
    assert re.fullmatch(r"  eager +120 +1\.\d{3} \(1\.\d{3}-1\.\d{3}\) +higher", lines[4])
    assert re.fullmatch(r"  lazy again +100 +1\.000 \(\S+\) +cannot distinguish", lines[5])
    assert len(lines) == 6


@pytest.mark.parametrize("style", ["markdown", "html"])
def test_other_styles_have_n_at_each_level(style: str) -> None:
    text = tables.comparison(summary(lazy=BASE, eager=HIGH, lazy_control=BASE), style)
    assert "3/6/6" in text
    assert "cannot distinguish" in text


def test_what_supports_no_interval_is_said_and_not_judged() -> None:
    text = tables.all_tables(summary(lazy=BASE[:2], eager=HIGH[:2]))
    assert re.search(r"^  eager +120 +1\.\d{3} +no interval$", text, re.MULTILINE)
    assert "fewer than 3 boots" in " ".join(text.split())
    assert not re.search(r"higher$", text, re.MULTILINE)


def test_the_control_arm_is_spoken_of_where_there_is_one() -> None:
    same = {"lazy": [[0.1, 0.1]] * 2, "eager": [[0.3, 0.3]] * 2}
    said = "gave the same count, the control arm's too: here every difference is one, however small."
    assert said in one_line(tables.all_tables(summary(**same, lazy_control=same["lazy"])))
    assert said.replace(", the control arm's too", "") in one_line(tables.all_tables(summary(**same)))


def test_names_of_others_stay_in_their_place() -> None:
    names = {"lazy": BASE, "<script>alert(1)</script>": HIGH, "x" * 80: HIGH}
    rows = summary(**names)
    assert max(map(len, tables.all_tables(rows).splitlines())) <= 72
    assert "<script>" not in tables.all_tables(rows, "html")


def test_a_time_is_printed_in_whole_nanoseconds() -> None:
    frame = tidy("time", lazy=[[1.2345e-6, 1.2346e-6]] * 3).assign(unit="s")
    text = tables.all_tables(compare.summarise(frame, {"b": "lazy"}))
    assert "time in ns" in " ".join(text.split())
    assert re.search(r"\b1235\b", text)
    assert "emulated" not in text


# A value in its unit, and how it is printed: whole, and below ten with four digits.
PRINTED = [
    (0.273, "events", "0.273"),
    (0.00061239, "cycles", "0.0006124"),
    (3.4e-10, "s", "0.34"),
    (9.87654e-9, "s", "9.877"),
    (9.99996e-9, "s", "10"),
    (12.4e-9, "s", "12"),
    (3.0, "instructions", "3"),
    (0.0, "events", "0"),
    (1234.4, "cycles", "1234"),
    (float("nan"), "s", "-"),
]


@pytest.mark.parametrize(("value", "unit", "printed"), PRINTED)
def test_what_is_below_ten_has_its_digits(value: float, unit: str, printed: str) -> None:
    assert tables.number(value, unit) == printed


def test_what_is_less_than_one_a_round_trip_is_no_zero_in_any_table() -> None:
    few = {"lazy": [[0.63, 0.63]] * 3, "eager": [[0.21, 0.21]] * 3}
    frame = tidy("bus-access", **few).assign(unit="events")
    text = tables.all_tables(compare.summarise(frame, {"b": "lazy"}))
    assert re.search(r"^mde +0\.63 +0\.21$", text, re.MULTILINE)
    rows = compare.summarise(frame.assign(value=frame["value"] + frame["position"] / 1e3), {"b": "lazy"})
    assert re.search(r"^  eager +0\.2115 +0\.335", tables.all_tables(rows), re.MULTILINE)


def test_a_difference_of_small_numbers_is_no_zero_either() -> None:
    assert [difference(more, of, 1e9) for more, of in ((3e-10, 2e-9), (3e-10, 4e-7), (-4.26e-8, 4e-7))] == ["+0.3", "+0", "-43"]


@pytest.mark.parametrize("style", ["text", "markdown", "html"])
def test_what_perf_estimated_is_marked_with_the_share_that_it_counted(style: str) -> None:
    """Of a cell the least share counts; what was counted all of the time, or not at all, is no estimate."""
    frame = tidy("instructions", lazy=BASE, eager=HIGH).assign(running=1.0, unit="events")
    frame.loc[frame["strategy"] == "eager", "running"] = [0.7, 1.0, 0.0371, 1.0, 0.5, 1.0]
    rows = compare.summarise(frame, {"b": "lazy"})
    assert rows.set_index("strategy")["running"].to_dict() == {"lazy": 1.0, "eager": 0.0371}
    text = one_line(tables.all_tables(rows, style))
    assert "~120" in text and "~100" not in text
    assert "~ is estimated by perf, from 3.71% of the time" in text
    whole = one_line(tables.all_tables(compare.summarise(frame.assign(running=1.0), {"b": "lazy"}), style))
    assert "~" not in whole and "estimated" not in whole


def test_what_only_perf_counted_is_shown_by_metric() -> None:
    frame = pd.concat(
        [tidy("instructions:u", lazy=BASE, eager=HIGH), tidy("task-clock", lazy=BASE, eager=HIGH).assign(unit="msec")]
    )
    text = tables.all_tables(compare.summarise(frame, {"b": "lazy"}))
    assert "instructions:u in instructions" in text
    assert "task-clock in msec" in text
    assert tables.number(0.4567891, "msec") == "0.4568"


def test_figures_of_a_real_board_name_their_unit_and_call_nothing_emulated() -> None:
    frame = tidy("time", lazy=BASE, eager=HIGH, lazy_control=BASE).assign(unit="s")
    rows = compare.summarise(frame, {"b": "lazy"})
    drawings = {drawing.name: drawing for drawing in figures.draw_all(frame, rows)}
    assert drawings.keys() == {"cost-hvc", "control-arm", "drift"}
    axis = drawings["cost-hvc"].figure.axes[0]
    assert axis.get_ylabel() == "ns per round trip"
    assert axis.get_title(loc="left") == "b, Linux k, vhe; time in ns"
    assert "emulated" not in drawings["cost-hvc"].alt
