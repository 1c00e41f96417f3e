"""What the shipped data say of our own series: the data of the file that it is kept in, what it saves, and where it costs."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from study import paths
from study.analyze import compare, frame, lives, patches, receipts
from study.campaign import Campaign
from study.design import MAIN, choose
from study.factors import KVM
from study.guests import GUESTS
from study.kernels import lines
from tests.conftest import BOARDS, copy_of_checkout, some

NAME = "series-debug-registers"
KEPT = paths.PAPER / "series/debug-registers.toml"
EXITS = ("hvc", "sysreg", "wfx", "vgic")  # those that stay in the kernel: a device of user space takes thousands of instructions


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    return Campaign(paths.DATA / NAME)


@pytest.fixture(scope="module")
def moved(campaign: Campaign) -> pd.DataFrame:
    """What the series as a whole moves, cell by cell, with the median of its last patch."""
    return patches.final(patches.moves(compare.medians(frame.tidy(campaign)), campaign.series()))


def test_the_data_are_whole_and_of_the_series_that_is_kept(campaign: Campaign) -> None:
    assert campaign.verify() == []
    kept, series = lines.read(KEPT), campaign.series()
    assert series["lines"] == str(KEPT.relative_to(paths.ROOT))
    assert [row["subject"] for row in series["patches"]] == [patch.message.splitlines()[0] for patch in kept.patches]
    assert all(row["kernel"] == row["label"] for row in some(series["patches"], 2)), "each of them was built, and measured"
    factors = campaign.designs[KVM].factors
    assert factors == choose("series", **kept.design, kernels=factors.kernels)
    assert campaign.boards() == sorted(BOARDS)
    assert [campaign.missing(board) for board in BOARDS] == [[], []]


@pytest.mark.parametrize("board", BOARDS)
def test_a_guest_that_only_keeps_monitor_mode_on_pays_nothing(moved: pd.DataFrame, board: str) -> None:
    rows = moved[(moved["board"] == board) & (moved["host"] == "none") & moved["exit"].isin(EXITS)].set_index(["exit", "guest"])
    for name in EXITS:
        assert rows["median"][name, "mde"] - rows["median"][name, "untouched"] <= 5, name
        assert abs(rows["moved"][name, "untouched"]) <= 2, name
        assert rows["moved"][name, "mde"] < -300, name
        assert rows["moved"][name, "touch-20"] <= 2, name


@pytest.mark.parametrize("board", BOARDS)
def test_a_guest_that_enables_something_pays_what_it_paid(moved: pd.DataFrame, board: str) -> None:
    rows = moved[(moved["board"] == board) & (moved["host"] == "none") & (moved["exit"] == "hvc")].set_index("guest")
    assert [rows["moved"][guest] for guest in ("one", "half", "all")] == pytest.approx([0, 0, 0], abs=10)


@pytest.mark.parametrize("board", BOARDS)
def test_where_the_host_debugs_nothing_is_saved(moved: pd.DataFrame, board: str) -> None:
    rows = moved[(moved["board"] == board) & (moved["host"] == "all") & moved["exit"].isin(EXITS)]
    assert some(rows["moved"], len(EXITS)) == pytest.approx([0] * len(EXITS), abs=10)


def test_receipts_say_what_went_away(campaign: Campaign) -> None:
    """Of a guest that keeps monitor mode on the functions that switch the registers, and hardly anything came in their place."""
    pairs = receipts.telling(receipts.frame(campaign), campaign.series())
    assert sorted(tip.board for tip, _ in pairs) == sorted(BOARDS)
    for tip, base in pairs:
        assert (tip.guest, tip.exit) == ("mde", "hvc")
        less = receipts.difference(tip, base).set_index("function")["difference"]
        switch = less["__debug_save_state"] + less["__debug_restore_state"]
        assert switch < -300 and switch == pytest.approx(less.sum(), rel=0.2)
        assert less[less > 0].sum() < 20


def test_sequences_came_out_as_on_the_base(campaign: Campaign) -> None:
    told = campaign.sequences()
    assert told["count"] >= 2000
    assert [row["board"] for row in told["played"]] == [board for board in BOARDS for _ in range(4)], "the base twice"
    assert [row["differ"] for row in told["played"]] == [[]] * 8


def test_no_real_guest_is_dearer(campaign: Campaign) -> None:
    """Nor cheaper: a 32-bit Linux looks as if it caught vectors, because QEMU leaves as it was what DBGVCR32_EL2 is read into."""
    rows = lives.judged(lives.frame(campaign), None)
    rows = rows[(rows["question"] == lives.KERNELS) & (rows["arm"] == MAIN) & (rows["verdict"] != compare.BASELINE)]
    assert set(zip(rows["guest"], rows["phase"], strict=True)) == set(itertools.product(GUESTS, ("boot", "hackbench", "timer")))
    assert set(rows["verdict"]) == {compare.CANNOT}


def test_who_measures_it_anew_has_its_words_in_the_letter(tmp_path: Path) -> None:
    place = copy_of_checkout(tmp_path / "checkout")
    shutil.copytree(place / "data" / NAME, place / "data/again")
    words = ["-o", ".venv/ready", "mail", f"SERIES={KEPT.relative_to(paths.ROOT)}", "CAMPAIGN=data/again", "BRANCH="]
    env = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run(["make", "-C", place, *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    again = (place / "paper/again/letter.txt").read_text()
    assert again.replace("data/again", f"data/{NAME}") == (paths.PAPER / NAME / "letter.txt").read_text()


def test_the_letter_is_a_page_that_can_be_sent() -> None:
    text = (paths.PAPER / NAME / "letter.txt").read_text()
    assert len(text.splitlines()) <= 60
    assert "EDITME" not in text and text.isascii()
