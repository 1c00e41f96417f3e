"""Alternate kernels on a board that runs on, by kexec: the user's own are sent there, and at the end the board has its own again."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from study.collect import restart
from study.collect.boards import Link
from study.collect.boards.linux import RunningBoard
from study.design import Kernel
from study.errors import BoardFailed, StudyError, WrongBoot
from study.terminal import progress

PATIENCE = 300.0  # seconds until a board must have come back; without firmware and boot loader it takes most of them less than 60


class Turns:
    """The kernels of one board in turn. A context manager: leaving it, however that happens, puts the board's own in force.

    Parameters
    ----------
    board : RunningBoard
        Its own kernel is known to the board itself: see study/collect/onboard/kexec.py.
    images : mapping of str to path
        From what the design calls a kernel to its folder, with ``vmlinuz`` and ``versions.json``; one that is not there must be
        the board's own.
    patience, pause : float
        Seconds until the board must have come back, and between two looks.
    say : callable
        Takes a line for people.
    """

    def __init__(
        self, board: RunningBoard, images: Mapping[str, Path], patience: float = PATIENCE, pause: float = restart.PAUSE,
        say: Callable[[str], object] = progress.say,
    ) -> None:  # fmt: skip
        self._board, self._images, self._say = board, images, say
        self._how = {"patience": patience, "pause": pause}
        self._due, self._boot = 0.0, ""  # until when the board may be on its way, and which boot it was told to leave
        self._ends = False  # whether we end with the machine, which restarts

    def __enter__(self) -> Turns:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ends:
            self._home()

    def until_right(self, kernel: Kernel, look: Callable[[], object]) -> None:
        """Return when the right boot answers: at once, or after a kernel was put in force; see restart.until_right().

        Raises
        ------
        BoardFailed
            If the board cannot do that, or does not come back in time.
        StudyError
            If the board is this machine: then it goes down, and this command with it.
        """
        restart.until_right(look, lambda: self._restart(kernel), "by kexec", **self._how, say=self._say)

    def _restart(self, kernel: Kernel | None) -> None:
        """Restart into a kernel; into the board's own if there is none, or none that could be sent."""
        folder = self._images.get(kernel.name) if kernel else None
        release = json.loads((folder / "versions.json").read_text())["release"] if folder else ""
        with self._linked(folder / "vmlinuz" if folder else None) as link:
            runs = link.ask("runs", self._how["patience"])  # behind the kernel, which may take its time
            if kernel and not folder and not kernel.is_that(runs["own"]):
                raise BoardFailed(
                    f"{self._board.name}: {kernel.name} is not its own kernel, which is {runs['own']}, and there is no file of it to "
                    f"send: name it as {kernel.name}=image:FOLDER"
                )
            if why := link.ask("restart", release=release, words=kernel.words if kernel else "")["why"]:
                self._say(f"{self._board.name}: {why}; its boot loader brings its own kernel back")
        self._due, self._boot = time.monotonic() + self._how["patience"], runs["boot_id"]
        if self._board.name == "local":
            self._ends = True
            raise StudyError(f"local restarts into {release or 'its own kernel'}: run the same command again when it is up")

    def _home(self) -> None:
        """Put the board's own kernel in force, also if it has yet to come up with another one, and say how that went."""
        while True:
            try:
                restart.until_right(self._at_home, lambda: self._restart(None), "by kexec", **self._how, say=self._say)
                return
            except StudyError as error:
                if self._ends or time.monotonic() > self._due:
                    self._give_up(error)
                    return
            time.sleep(self._how["pause"])

    def _give_up(self, error: StudyError) -> None:
        """Say what is left to do; of a board that was never restarted, what it says has been said."""
        if self._ends:
            self._say(f"{self._board.name} restarts into its own kernel")
        elif self._due:
            self._say(f"{error}; a restart of {self._board.name} brings its own kernel back")

    def _at_home(self) -> None:
        with self._linked() as link:
            runs = link.ask("runs")
        if runs["boot_id"] == self._boot:
            raise BoardFailed(f"{self._board.name} has yet to restart")
        if runs["foreign"]:
            raise WrongBoot(f"{self._board.name} runs {runs['kernel']}, its own kernel is {runs['own']}")
        if self._due:
            self._say(f"{self._board.name} runs its own kernel, {runs['own']}")

    @contextlib.contextmanager
    def _linked(self, image: Path | None = None) -> Iterator[Link]:
        with tempfile.TemporaryDirectory() as folder:
            launch = self._board.launch(Path(folder, "console.log"), ("stock",), image=image)
            with Link(self._board.name, launch) as link:
                yield link
