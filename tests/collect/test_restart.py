"""Restarting a board whose design needs another boot."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from study.collect import restart
from study.errors import BadRequest, BoardFailed, StudyError, WrongBoot


class Machine:
    """A board that is down for some looks after it was restarted, and then runs what it was told to boot."""

    def __init__(self, folder: Path, wanted: str, down: int = 2) -> None:
        self.kernel, self.wanted, self.down = folder / "kernel", wanted, down
        self.kernel.write_text("old")
        script = f"import os, pathlib; pathlib.Path({str(self.kernel)!r}).write_text(os.environ['STUDY_KERNEL'])"
        self.command = shlex.join([sys.executable, "-c", script])

    def look(self) -> None:
        if (now := self.kernel.read_text()) == "old":
            raise WrongBoot("it runs old")
        if self.down:
            self.down -= 1
            raise BoardFailed("it does not answer")
        if now != self.wanted:
            raise WrongBoot(f"it runs {now}")


def test_a_board_is_restarted_and_waited_for(tmp_path: Path) -> None:
    machine, said = Machine(tmp_path, "7.3"), []
    restart.by_command(machine.look, machine.command, {"STUDY_KERNEL": "7.3"}, pause=0, say=said.append)
    assert machine.kernel.read_text() == "7.3" and machine.down == 0
    assert said == [f"it runs old; restarting it with: {machine.command}"]


def test_a_right_boot_is_left_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "7.3", down=0)
    machine.kernel.write_text("7.3")
    restart.by_command(machine.look, "/bin/false", {})


@pytest.mark.parametrize(("boots", "words"), [("6.1", "it runs 6.1; it was restarted"), ("", "it runs ; it was restarted")])
def test_a_board_that_boots_another_kernel_is_said(tmp_path: Path, boots: str, words: str) -> None:
    machine = Machine(tmp_path, "7.3", down=0)
    with pytest.raises(WrongBoot, match=words):
        restart.by_command(machine.look, machine.command, {"STUDY_KERNEL": boots}, patience=0, pause=0)


def test_a_board_that_stays_down_is_said(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "7.3", down=10**6)
    with pytest.raises(BoardFailed, match="does not answer; it was restarted 0 min ago"):
        restart.by_command(machine.look, machine.command, {"STUDY_KERNEL": "7.3"}, patience=0, pause=0)


def test_a_command_that_fails_is_said(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="false failed with exit status 1"):
        restart.by_command(Machine(tmp_path, "7.3").look, "false", {})


@pytest.mark.parametrize("command", ["", "'open"])
def test_a_command_that_is_none_is_refused(tmp_path: Path, command: str) -> None:
    with pytest.raises(BadRequest, match="the command that restarts a board"):
        restart.by_command(Machine(tmp_path, "7.3").look, command, {})
