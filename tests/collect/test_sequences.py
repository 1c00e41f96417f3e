"""Sequences of accesses to debug registers: what is drawn, what is made of it, and who is refused; kernels are in tests/kernels."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analyze import played
from study.campaign import Campaign
from study.collect import sequences
from study.collect.onboard import sequence
from study.errors import BadData
from study.factors import KDE
from tests import made_series
from tests.conftest import refused, run

numbers = st.tuples(st.integers(2, 16), st.integers(2, 16))
drawings = st.tuples(st.integers(0, 10**9).map(str), numbers, st.integers(1, 4).map(lambda count: list(range(count))))


@given(drawings)
def test_a_sequence_is_the_same_whenever_it_is_drawn_and_nobody_touches_what_is_not_there(
    drawing: tuple[str, tuple[int, int], list[int]],
) -> None:
    name, (breakpoints, watchpoints), cpus = drawing
    acts = sequence.drawn(name, breakpoints, watchpoints, cpus)
    assert acts == sequence.drawn(name, breakpoints, watchpoints, cpus)
    for act in acts:
        if (act.who, act.what) == ("user", "move"):
            assert act.which in cpus
        elif act.what in ("read", "write", "get", "set") and act.which < sequence.MDSCR:
            kind, n = divmod(act.which, 16)
            assert n < (breakpoints if kind < 2 else watchpoints)
        else:
            assert act.which <= sequence.OS_LOCK


@given(drawings)
def test_a_guest_never_stops_where_it_could_not_go_on(drawing: tuple[str, tuple[int, int], list[int]]) -> None:
    """Breakpoints are on what is run, watchpoints on what is stored to, and nothing steps the handler of what they raise."""
    name, counts, cpus = drawing
    for act in sequence.drawn(name, *counts, cpus):
        if act.what not in ("write", "set"):
            continue
        if act.which == sequence.MDSCR:
            assert not (act.value & sequence.SS and act.value & KDE)
        elif act.which // 16 in (0, 2):
            base, size = ((sequence.CODE, 4), (sequence.DATA, 8))[act.which // 32]
            assert base <= act.value < base + size * sequence.PLACES and act.value % size == 0


@given(drawings)
def test_a_host_begins_late_only_where_the_guest_waits_for_it(drawing: tuple[str, tuple[int, int], list[int]]) -> None:
    name, counts, cpus = drawing
    acts = sequence.drawn(name, *counts, cpus)
    late = [place for place, act in enumerate(acts) if act.what == sequence.LATE]
    assert [place + 1 for place in late] == [place for place, act in enumerate(acts) if act.what == "wait"]
    assert not late or len(cpus) > 1
    assert all(acts[place + 1].value for place in late), "a guest would not wait for 0, which is there before"


def test_of_a_few_hundred_every_act_is_drawn() -> None:
    acts = [act for number in range(300) for act in sequence.drawn(str(number), 6, 4, [0, 1])]
    assert {act.what for act in acts if act.who == "guest"} == set(sequence.STEPS)
    assert {(act.who, act.what) for act in acts if act.who != "guest"} == {
        ("user", "get"), ("user", "set"), ("user", "debug"), ("user", "move"), ("host", "debug"), ("host", sequence.LATE),
    }  # fmt: skip
    assert {act.which for act in acts if (act.who, act.what) == ("host", "debug")} == {0, 1, 2, 3}


def test_a_difference_is_shown_with_all_that_led_to_it() -> None:
    acts = [["guest", "write", 64, 0x8000], ["guest", "run-el0", 0, 0]]
    said = sequences.first_difference(7, [acts, [[[0, 0], [0, 0]]]], [acts, [[[0, 0], [0, 0xC2000022]]]])
    assert said.splitlines() == [
        "sequence 7 came out otherwise than on the base:", "  guest write 64 0x8000", "  guest run-el0 0 0x0",
        "  base: [[0, 0], [0, 0]]", "  here: [[0, 0], [0, 3254779938]]",
    ]  # fmt: skip


def series(folder: Path) -> Campaign:
    """A campaign of a series of one patch."""
    base, tip = made_series.row("base", 0), made_series.row("tip", 1)
    known = {"branch": "topic", "ends": False, "base": base, "patches": [tip]}
    return made_series.make(folder, {"base": 0.0, "tip": 100.0}, known)


def told(**differ: list[int]) -> dict[str, Any]:
    """What was played on two kernels of a board."""
    met = {"guest read": 3, "guest write": 4, "exception 0x30": 5, "exception 0x31": 6, "host fired": 7, "late fired": 8}
    one = {"board": "qemu-neoverse-n1", "mode": "vhe", "build_id": "", "digest": "0" * 64, "met": met}
    rows = [{**copy.deepcopy(one), "kernel": kernel, "differ": differ.get(kernel, [])} for kernel in ("base", "base", "tip")]
    return {"seed": "1", "count": 20, "played": rows}


def test_what_was_played_is_a_row_for_each_kernel_and_a_sentence() -> None:
    lines = played.table(told(tip=[4, 9])).splitlines()
    assert [line.split()[-5:] for line in lines[3:]] == [["20", "7", "11", "15", "0"]] * 2 + [["20", "7", "11", "15", "2"]]
    assert [line.split("  ")[1] for line in lines[3:]] == ["base", "base again", "tip"]
    assert "came out on each kernel as on the base" in played.sentence(told())
    assert "otherwise than on the base for 2 of them on tip (qemu-neoverse-n1)" in played.sentence(told(tip=[4, 9]))
    assert played.sentence({}) == ""


def test_what_was_played_is_kept_with_its_sum_and_is_in_the_letter(tmp_path: Path) -> None:
    campaign = series(tmp_path / "c")
    campaign.record_sequences(told())
    assert Campaign(campaign.folder).sequences() == told()
    assert run("verify", campaign.folder).returncode == 0
    file = campaign.folder / "sequences.json"
    file.write_text(file.read_text().replace('"count": 20', '"count": 2000'))
    assert "sequences.json" in refused(run("verify", campaign.folder))
    file.write_text(json.dumps({"seed": "1"}))
    with pytest.raises(BadData, match=r"sequences\.json: "):
        campaign.sequences()


def test_only_the_kernels_of_a_series_on_emulated_boards_are_played_on(tmp_path: Path) -> None:
    assert "measures no series" in refused(run("sequences", "data/reference", "--count", 10))
    campaign = series(tmp_path / "c")
    assert "played on emulated boards" in refused(run("sequences", campaign.folder, "--boards", "local"))
    assert "ask for 1 at least" in refused(run("sequences", campaign.folder, "--count", 0))
