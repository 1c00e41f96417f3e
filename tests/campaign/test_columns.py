"""Copies of what was measured: there or not, whole or not, they change nothing but how long it takes to read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from study import paths
from study.analyze import frame
from study.campaign import Campaign, columns, store
from study.errors import BadData
from tests.conftest import some

BOOTS = ("qemu-cortex-a57.1", "rig-cortex-a15.1")


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """A campaign of two boots and a cache of its own, in which there is nothing yet."""
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    shutil.copytree(paths.DATA / "reference", tmp_path / "c")
    for boot in Campaign(tmp_path / "c").boots():
        if boot.name not in BOOTS:
            shutil.rmtree(boot)
    (tmp_path / "c/SHA256SUMS").unlink()
    return Campaign(tmp_path / "c")


def copies() -> list[Path]:
    return sorted(columns.folder().iterdir())


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The raw lines that are read from now on."""
    lines: list[bytes] = []
    read = store.parse_line
    monkeypatch.setattr(store, "parse_line", lambda text: lines.append(text) or read(text))
    return lines


def raw(campaign: Campaign) -> Path:
    return campaign.folder / "boots" / BOOTS[0] / "visits.jsonl"


def test_what_was_read_once_is_read_from_its_copy(campaign: Campaign, parsed: list[bytes]) -> None:
    first = frame.tidy(campaign)
    some(parsed, 300)
    parsed.clear()
    pd.testing.assert_frame_equal(frame.tidy(campaign), first, check_exact=True)
    assert parsed == []
    assert len(copies()) == len(BOOTS)


def test_a_copy_is_made_when_a_boot_is_closed_and_nothing_is_added_to_the_campaign(
    campaign: Campaign, parsed: list[bytes]
) -> None:
    files = campaign.raw_files()
    for board in campaign.boards():
        campaign.close(board)
    parsed.clear()
    frame.tidy(campaign)
    assert parsed == []
    assert campaign.raw_files() == files
    assert campaign.verify() == []


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda text: b"",
    "torn": lambda text: text[: len(text) // 2],
    "longer": lambda text: text + b"{}\n",
    "another digest": lambda text: bytes([text[0] ^ 1]) + text[1:],
    "another count": lambda text: text[: columns.DIGEST] + bytes([text[columns.DIGEST] ^ 1]) + text[columns.DIGEST + 1 :],
    "another value": lambda text: text[:100] + bytes([text[100] ^ 1]) + text[101:],
    "another line": lambda text: text[:-100] + bytes([text[-100] ^ 1]) + text[-99:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_made_again(campaign: Campaign, damage: str) -> None:
    first, whole = frame.tidy(campaign), {copy: copy.read_bytes() for copy in copies()}
    for copy, text in whole.items():
        copy.write_bytes(DAMAGES[damage](text))
        assert copy.read_bytes() != text
    pd.testing.assert_frame_equal(frame.tidy(campaign), first, check_exact=True)
    assert {copy: copy.read_bytes() for copy in copies()} == whole


def test_a_copy_is_not_of_a_raw_file_that_changed(campaign: Campaign) -> None:
    whole, text = frame.tidy(campaign), raw(campaign).read_bytes()
    raw(campaign).write_bytes(b"".join(text.splitlines(keepends=True)[:-1]))
    fewer = frame.tidy(campaign)
    assert len(fewer.groupby(["board", "visit"], observed=True)) == len(whole.groupby(["board", "visit"], observed=True)) - 1
    raw(campaign).write_bytes(text.replace(b'"running": 1.0', b'"running": 0.5', 1))
    with pytest.raises(BadData, match="line 1 does not match its digest"):
        frame.tidy(campaign)
    raw(campaign).write_bytes(text)
    pd.testing.assert_frame_equal(frame.tidy(campaign), whole, check_exact=True)


def test_a_visit_that_two_boots_have_is_found_though_both_have_copies(campaign: Campaign) -> None:
    frame.tidy(campaign)
    again = raw(campaign).parent.with_name("qemu-cortex-a57.1.2")
    shutil.copytree(raw(campaign).parent, again)
    with pytest.raises(BadData, match=rf"{again.name}/visits.jsonl: line 1 is visit \S+, which {BOOTS[0]} has already"):
        frame.tidy(campaign)


def test_a_copy_is_of_lines_that_the_same_design_asked_for(campaign: Campaign) -> None:
    frame.tidy(campaign)
    design = campaign.folder / "design-rig.json"
    text = design.read_text()
    assert text.count('"loops": 1000') == 1
    design.write_text(text.replace('"loops": 1000', '"loops": 2000'))
    with pytest.raises(BadData, match="round trips in a value, and the design"):
        frame.tidy(Campaign(campaign.folder))


def test_nothing_needs_a_cache(campaign: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = frame.tidy(campaign)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "file"))
    pd.testing.assert_frame_equal(frame.tidy(campaign), first, check_exact=True)


def test_copies_that_nobody_uses_are_removed(campaign: Campaign) -> None:
    frame.tidy(campaign)
    used, unused = copies()
    for copy in (used, unused):
        os.utime(copy, (0, 0))
    columns.Copy.of(raw(campaign))  # of other designs: it is not there
    unused.unlink()
    frame.tidy(campaign)
    assert used.stat().st_mtime > 0 and unused.stat().st_mtime > 0
    left = used.with_name("0" * 64)
    left.write_bytes(b"")
    os.utime(left, (0, 0))
    unused.unlink()
    frame.tidy(campaign)
    assert copies() == [used, unused]
