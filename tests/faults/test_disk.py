"""A full disk, at a few of the writes: one line says so, and with room again nothing is missing. `make faults` does them all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import refused, run
from tests.faults import disk
from tests.faults.disk import PAGE, Point

pytestmark = pytest.mark.board

POINTS = [Point("size", pages * PAGE) for pages in (1, 3, 6)] + [Point("nr_inodes", files) for files in (2, 5)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk.measured(tmp_path_factory.mktemp("whole"))


def test_a_full_disk_loses_nothing(whole: Path, tmp_path: Path) -> None:
    found = disk.sweep(tmp_path, whole, 1, print, POINTS)
    assert found.pop("partly") > 0
    assert found == {"tried": 5, "full": 5, "lost": 0, "duplicated": 0, "wrong": 0, "complaints": []}


def test_an_import_that_meets_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    found = disk.imports(tmp_path, 5, print)
    assert found["full"] >= 2
    assert (found["lost"], found["duplicated"], found["complaints"]) == (0, 0, [])


def test_receipts_whose_sums_had_no_room_are_closed_by_the_same_command(whole: Path, tmp_path: Path) -> None:
    campaign = shutil.copytree(whole, tmp_path / "c", symlinks=True)
    trace = ("trace", campaign, "--board", disk.RIG)
    assert run(*trace).returncode == 0
    sums = campaign / "SHA256SUMS"
    kept = [line for line in sums.read_text().splitlines(keepends=True) if "receipts.jsonl" not in line]
    assert len(kept) < len(sums.read_text().splitlines())
    sums.write_text("".join(kept))
    assert "is not in SHA256SUMS" in refused(run("verify", campaign))
    done = run(*trace)
    assert "nothing to make" in done.stdout
    assert run("verify", campaign).returncode == 0


def test_receipts_that_meet_a_full_disk_are_whole_or_not_there(whole: Path, tmp_path: Path) -> None:
    found = disk.receipts(tmp_path, whole, print, most=4)
    assert found["full"] >= 3 and found["complaints"] == []


@pytest.mark.parametrize("name", disk.DERIVED)
def test_what_is_derived_stays_whole_when_it_cannot_be_written_anew(name: str, whole: Path, tmp_path: Path) -> None:
    assert disk.derived(tmp_path, whole, name, print) == {"tried": 2, "full": 2, "complaints": []}
