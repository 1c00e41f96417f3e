"""Figures are drawn on several processors: the same bytes on any number of them, each error told, no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study import paths
from study.analyze import figures
from study.analyze.figures import Drawing
from study.analyze.figures.apart import apart
from tests.conftest import some


@pytest.fixture(params=["one processor", "all processors"])
def processors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Be allowed to use one processor, or all."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)} if request.param == "one processor" else allowed)
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("processors")
def test_each_is_done_in_a_process_of_its_own(tmp_path: Path) -> None:
    names = [f"{number}" for number in range(5)]
    assert sorted(apart(lambda name: (tmp_path / name).write_text(f"{os.getpid()}"), names)) == names
    assert len({(tmp_path / name).read_text() for name in names} - {f"{os.getpid()}"}) == 5
    assert not list(apart(print, []))


def test_figures_have_the_same_bytes_on_one_processor_as_drawn_here_one_after_the_other(
    drawings: dict[str, Drawing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [drawings[name] for name in ("answer", "cost-mmio", "drift")]
    written = figures.save_all(few, tmp_path / "apart", 800)
    monkeypatch.setattr("study.analyze.figures.saved.apart", lambda work, items: map(work, items))
    assert [path.name for path in figures.save_all(few, tmp_path / "here", 800)] == [path.name for path in written]
    for path in some(written, 9):
        assert path.read_bytes() == (tmp_path / "here" / path.name).read_bytes(), path.name


@pytest.mark.usefixtures("processors")
def test_an_error_is_raised_and_what_was_killed_is_done_here(tmp_path: Path) -> None:
    here = os.getpid()

    def work(name: str) -> None:
        if name == "killed" and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / name).write_text(f"{os.getpid()}")

    assert sorted(apart(work, ["killed", "well"])) == ["killed", "well"]
    assert (tmp_path / "killed").read_text() == f"{here}" != (tmp_path / "well").read_text()
    with pytest.raises(FileNotFoundError, match="nowhere/x"):
        list(apart(work, ["well", "nowhere/x"]))


# A program of its own, with threads as a notebook's kernel has them: whom a signal hits in a fork would have to live on.
INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
from study.analyze.figures.apart import apart
number, folder, here = int(sys.argv[1]), Path(sys.argv[2]), os.getpid()
if len(sys.argv) > 3: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for _ in range(3): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
def work(name):
    try:
        (folder / f"{os.getpid()}").touch()
        os.kill(os.getpid(), signal.SIGINT)  # as a terminal sends it, to all
        if name == "e":  # the first
            os.kill(here, number)
        for _ in range(6000):  # a minute: who is not ended by then fails the test, and holds nobody up
            time.sleep(0.01)
    finally:
        (folder / f"{os.getpid()}.end").touch()
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    list(apart(work, ["a", "b", "c", "d", "e"]))
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.parametrize("alone", [[], ["one processor"]], ids=["all processors", "one processor"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_interrupted_ends_all_in_good_order(tmp_path: Path, number: signal.Signals, alone: list[str]) -> None:
    words = [sys.executable, "-c", INTERRUPTED, f"{number.value}", str(tmp_path), *alone]
    done = subprocess.run(words, cwd=paths.ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 7, done.stderr
    for path in some((path for path in tmp_path.iterdir() if not path.suffix), 1):
        assert not Path(f"/proc/{path.name}").exists()
        assert path.with_suffix(".end").exists()
