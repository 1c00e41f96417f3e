"""The emulator's monitor: it writes down every instruction that is executed, from one moment to another, while the board runs on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from study.collect.boards.link import Launch
from study.errors import BadRequest, BoardFailed

PATIENCE = 60.0  # seconds that the emulator has to answer, or to execute so much
LOOK = 0.005  # seconds between two looks at what it wrote
# One instruction a block: then each line of the log is an instruction.
BEGIN, END = ("singlestep on", "log exec,nochain,in_asm"), ("log none", "singlestep off")
OFF = ["-monitor", "none"]


class Monitor:
    """A line to the monitor of an emulator that is not started yet.

    Parameters
    ----------
    launch : Launch
        How the board is started; of an emulated one.

    Raises
    ------
    BadRequest
        If it is not an emulator that would be started.
    """

    def __init__(self, board: str, launch: Launch) -> None:
        at = next((n for n in range(len(launch.argv)) if launch.argv[n : n + 2] == OFF), None)
        if at is None:
            raise BadRequest(f"{board}: only an emulator sees every instruction; sample the board instead, with --sampled")
        self._board = board
        self._line, theirs = socket.socketpair()
        self._line.settimeout(PATIENCE)
        self._words = self._line.makefile("rw")
        options = ["-chardev", f"socket,id=monitor,fd={theirs.fileno()}", "-mon", "chardev=monitor,mode=control"]
        argv = [*launch.argv[:at], *options, *launch.argv[at + len(OFF) :]]
        self.launch = dataclasses.replace(launch, argv=argv, sockets=(theirs,))
        self._greeted = False

    def close(self) -> None:
        """Hang up."""
        self._words.close()
        self._line.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """Execute a command of QMP and return its answer.

        Raises
        ------
        BoardFailed
            If the emulator refuses, or is gone.
        """
        if not self._greeted:
            self._greeted = True
            self._answer("QMP")
            self.execute("qmp_capabilities")
        try:
            print(json.dumps({"execute": command, "arguments": arguments}), file=self._words, flush=True)
        except OSError as error:
            raise BoardFailed(f"{self._board}: the emulator does not listen: {error}") from None
        return self._answer("return")

    def _answer(self, what: str) -> Any:
        try:
            for line in self._words:
                said = json.loads(line)
                if "error" in said:
                    raise BoardFailed(f"{self._board}: the emulator refuses: {said['error'].get('desc')}")
                if what in said:
                    return said[what]
        except (OSError, ValueError) as error:
            raise BoardFailed(f"{self._board}: the emulator gives no answer: {error}") from None
        raise BoardFailed(f"{self._board}: the emulator ended")

    def say(self, line: str) -> None:
        """Say a line as a person would to the monitor; what it answers is an error."""
        if answer := self.execute("human-monitor-command", **{"command-line": line}).strip():
            raise BoardFailed(f"{self._board}: the emulator cannot {line.split()[0]}: {answer}")

    @contextlib.contextmanager
    def writing(self, log: Path) -> Iterator[None]:
        """Let the emulator write down what is executed, as long as this is left open; what is there already stays."""
        self.execute("stop")
        self.say(f'logfile "{log}"')
        for line in BEGIN:
            self.say(line)
        self.execute("cont")
        try:
            yield
        finally:
            self.execute("stop")
            for line in END:
                self.say(line)
            self.execute("cont")

    def write(self, log: Path, any_of: Sequence[bytes], times: int) -> None:
        """Let it write down what is executed until it has written one of some texts so many times."""
        deadline, counts = time.monotonic() + PATIENCE, [0] * len(any_of)
        with self.writing(log), open(log, "rb") as lines:
            while max(counts) < times:
                if time.monotonic() > deadline:
                    raise BoardFailed(f"{self._board}: it is silent in {log}: the guest does not run, or the disk is full")
                text = lines.read()
                counts = [count + text.count(word) for count, word in zip(counts, any_of, strict=True)]
                time.sleep(0 if text else LOOK)

    def memory(self, place: int, size: int, file: Path) -> bytes:
        """Return what is in the board's memory at a physical address."""
        self.execute("pmemsave", val=place, size=size, filename=str(file))
        return file.read_bytes()
