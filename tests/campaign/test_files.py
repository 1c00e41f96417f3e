"""Files are whole or not there, and what failed half way leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.campaign import files
from study.errors import Busy


@contextlib.contextmanager
def little_room() -> Iterator[None]:
    """Nobody may write a file beyond 100 bytes; nor may pytest its log, so this is left before a test ends."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_what_cannot_be_appended_whole_is_not_appended(tmp_path: Path) -> None:
    path = tmp_path / "visits.jsonl"
    files.append(path, "x" * 80 + "\n")
    with little_room(), pytest.raises(OSError, match="File too large"):
        files.append(path, "y" * 80 + "\n")
    assert path.read_text() == "x" * 80 + "\n"


def test_what_is_written_whole_stays_when_an_interruption_comes_before_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "visits.jsonl"
    monkeypatch.setattr(os, "fsync", lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        files.append(path, "whole\n")
    assert path.read_text() == "whole\n"


def test_half_a_line_goes_when_an_interruption_comes_before_the_other_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "visits.jsonl", os.write

    def half(file: int, data: bytes) -> int:
        write(file, data[: len(data) // 2])
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not interrupted")

    files.append(path, "whole\n")
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(KeyboardInterrupt):
        files.append(path, "torn\n")
    assert path.read_text() == "whole\n"


def test_what_cannot_be_written_whole_leaves_what_was_there(tmp_path: Path) -> None:
    files.write_whole(tmp_path / "f", "old")
    with little_room(), pytest.raises(OSError, match="File too large"):
        files.write_whole(tmp_path / "f", "new" * 100)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("f", "old")]


def test_a_lock_dies_with_its_owner(tmp_path: Path) -> None:
    lock = tmp_path / "b.lock"
    hold = f"from study.campaign import files; import pathlib, sys\nwith files.only_writer(pathlib.Path({str(lock)!r}), 'x'): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=rf"another command \(process {owner.pid}\) measures"), files.only_writer(lock, "measures"):
            pass
        owner.kill()
        owner.wait()
    with files.only_writer(lock, "measures"):
        assert lock.read_text() == f"{os.getpid()}\n"
    assert not lock.exists()
