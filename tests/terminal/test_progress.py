"""Progress as it is seen: in a terminal, in a log, and in a notebook, also where other processes make it."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import time
from pathlib import Path

import nbformat
import pytest

from study import paths
from study.collect.session import Pace
from tests.conftest import BIN, run
from tests.terminal.test_ending import EVIL

pytestmark = pytest.mark.board

RIG, OTHER = "rig-cortex-a57", "rig-cortex-a15"
ROWS, COLUMNS = 24, 80
SMALL = ["--profile", "quick", "--strategies", "lazy,eager", "--guests", "mde", "--hosts", "none"]
VISITS = 3
CTRL_C = b"\x03"


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    """Build what the boards boot: that would be told, too."""
    for architecture in ("aarch64", "armv7"):
        assert run("rig", architecture).returncode == 0


def collect(folder: Path, *words: object, board: str = RIG) -> list[object]:
    return ["collect", "--board", board, "--campaign", folder / "c", *SMALL, *words]


class Terminal:
    """A program in a terminal of 80 columns, and all that it wrote to it."""

    def __init__(self, *words: object, program: str = "study") -> None:
        self.text, self._decoder = "", codecs.getincrementaldecoder("utf-8")()
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [str(BIN / program), *map(str, words)], cwd=paths.ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)

    def until(self, pattern: str | None = None) -> None:
        """Read until it has written something, or to its end."""
        while pattern is None or not re.search(pattern, self.text):
            try:
                written = os.read(self._ours, 4096)
            except OSError:  # it has ended
                assert pattern is None, self.text
                os.close(self._ours)
                self.process.wait()
                return
            self.text += self._decoder.decode(written)

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def screen(self) -> list[str]:
        """Return the lines that are to be seen; of what steers a terminal, bars need three things."""
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\r|\n|\x1b\[A|[^\r\n\x1b]+|\x1b", self.text):
            if part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            elif part == "\x1b[A":
                row -= 1
            else:
                assert part.isprintable(), part
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
                column += len(part)
                assert column <= COLUMNS or " |" not in part, part
        return [line.rstrip() for line in lines]


def test_in_a_terminal_a_campaign_is_one_line_that_stays(tmp_path: Path) -> None:
    terminal = Terminal(*collect(tmp_path))
    terminal.until()
    assert terminal.process.returncode == 0, terminal.text
    progress, *rest = terminal.screen()
    assert re.fullmatch(rf"{RIG}: {VISITS}/{VISITS} visits, 0 left \|█+\|", progress)
    assert re.match(rf"\r{RIG}: 0/{VISITS} visits, {VISITS} left, about \d+ s", terminal.text), "with an estimate"
    assert terminal.text.count("\n") == len(rest)
    assert rest[0].startswith(f"{RIG}.1: {VISITS} visits of {RIG}")


def test_ctrl_c_leaves_a_terminal_clean(tmp_path: Path) -> None:
    terminal = Terminal(*collect(tmp_path, "--processes", 5000))
    terminal.until(r"\r\S+: [1-9]\d*/")
    terminal.press(CTRL_C)
    terminal.until()
    assert terminal.process.returncode == 130
    assert terminal.text.endswith("\n")
    progress, interrupted = filter(None, terminal.screen())
    assert progress.startswith(f"{RIG}: ")
    assert interrupted.startswith("study: interrupted")


def test_in_a_log_lines_are_few_and_the_last_says_that_nothing_is_left(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run(*collect(tmp_path, "--processes", 10))
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stdout
    visits = 10 * VISITS
    lines = [line for line in done.stdout.splitlines() if re.match(rf"{RIG}: \d+/\d+ ", line)]
    assert re.fullmatch(rf"{RIG}: 0/{visits} visits, {visits} left, about \d+ s", lines[0])
    assert lines[-1] == f"{RIG}: {visits}/{visits} visits, 0 left"
    assert len(lines) <= 2 + took / 10

    more = run(*collect(tmp_path, "--processes", 10, board=OTHER)).stdout
    assert f"{OTHER}: {visits}/{visits} visits, 0 left" in more.splitlines()


def test_a_campaign_is_gone_on_with_from_where_it_is(tmp_path: Path) -> None:
    terminal = Terminal(*collect(tmp_path, "--processes", 20))
    terminal.until(r"\r\S+: [1-9]\d*/")
    terminal.press(CTRL_C)
    terminal.until()
    first = run(*collect(tmp_path, "--processes", 20)).stdout.splitlines()
    done = next(int(found[1]) for line in first if (found := re.match(rf"{RIG}: (\d+)/60 visits, ", line)))
    assert done >= 1


def outputs(path: Path) -> list[nbformat.NotebookNode]:
    """Return the outputs of the cell that measures."""
    (cell,) = [cell for cell in nbformat.read(path, as_version=4).cells if "session.collect" in cell.source]
    return cell.outputs


@pytest.mark.parametrize("program", ["study", "papermill"])
def test_in_an_executed_notebook_it_is_one_output(tmp_path: Path, program: str) -> None:
    out = tmp_path / "out.ipynb"
    names = {"board": RIG, "profile": "quick", "strategies": "lazy,eager", "guests": "mde", "hosts": "none", "processes": 10}
    words = [word for name, value in {**names, "campaign": tmp_path / "c"}.items() for word in ("-p", name, value)]
    start = ["notebook", "collect"] if program == "study" else [paths.NOTEBOOKS / "collect.ipynb"]
    done = run(*start, out, *words, program=program)
    assert done.returncode == 0, done.stderr
    visits = 10 * VISITS
    (shown,) = outputs(out)
    assert shown.data == {"text/plain": f"{RIG}: {visits}/{visits} visits, 0 left"}
    if program == "study":
        lines = [line for line in done.stdout.splitlines() if line.startswith(f"{RIG}: ")]
        assert re.fullmatch(rf"{RIG}: 0/{visits} visits, {visits} left, about \d+ s", lines[0])
        assert lines[-1] == f"{RIG}: {visits}/{visits} visits, 0 left"


def test_in_a_terminal_a_notebook_s_progress_is_a_line_that_stays(tmp_path: Path) -> None:
    words = ["-p", "board", RIG, "-p", "strategies", "lazy,eager", "-p", "guests", "mde", "-p", "campaign", tmp_path / "c"]
    terminal = Terminal("notebook", "collect", tmp_path / "out.ipynb", "--profile", "quick", *words)
    terminal.until()
    assert terminal.process.returncode == 0, terminal.text
    seen = terminal.screen()
    for begins in (r"running collect.ipynb: (\d+)/\1 cells, 0 left \|█+\|", rf"{RIG}: (\d+)/\1 visits, 0 left \|█+\|"):
        assert len([line for line in seen if re.fullmatch(begins, line)]) == 1, seen


def test_in_a_terminal_each_board_of_a_fleet_has_a_line(tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text("".join(f"[boards.{json.dumps(board)}]\n" for board in (RIG, OTHER)))
    terminal = Terminal("collect", "--fleet", tmp_path / "boards.toml", "--campaign", tmp_path / "c", *SMALL)
    terminal.until()
    assert terminal.process.returncode == 0, terminal.text
    seen = terminal.screen()
    for board in (RIG, OTHER):
        assert len([line for line in seen if re.fullmatch(rf"{board}: {VISITS}/{VISITS} visits, 0 left \|█+\|", line)]) == 1, seen


SPOKEN = """
from study.terminal import ending, progress
ending.guard()
with progress.bar({evil!r}, 2, "visits") as shown, progress.Retold() as told:
    shown.update()
    progress.say("a line " + {evil!r})
    told.write("board " + {evil!r} + ": 1/2 visits, 1 left " + {evil!r} + "\\nanother " + {evil!r} + "\\n")
"""


def test_no_text_steers_a_terminal_that_has_bars() -> None:
    terminal = Terminal("-c", SPOKEN.format(evil=EVIL), program="python")
    terminal.until()
    assert terminal.process.returncode == 0, terminal.text
    seen = terminal.screen()  # which refuses what is not printable
    assert len([line for line in seen if line.startswith(("a line ?[2J", "another ?[2J"))]) == 2
    assert len([line for line in seen if line.startswith(("?[2J", "board ?[2J"))]) == 2


def test_what_is_expected_is_what_visits_of_this_run_took_and_the_boots_that_are_left() -> None:
    pace = Pace((10.0, 2.0), boots=2)
    assert pace.expected(5) == 2 * 10.0 + 5 * 2.0
    pace.booting()
    assert pace.expected(5) == 10.0 + 5 * 2.0
    for seconds in (3.0, 5.0):
        pace.visited(seconds)
    assert pace.expected(3) == 10.0 + 3 * 4.0
