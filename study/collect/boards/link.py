"""The line to a board: a process whose input carries one line for each request, its output one line for each answer.

Boards differ in the process that is started and, where they do not speak JSON both ways, in how a line is written and
read. When a board stops answering, the error holds its last words and where all of them are kept.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

from study.design import Factors, Visit
from study.errors import BoardFailed, Refused

# A line longer than this is no answer of ours.
LONGEST_LINE = 16 << 20
KEPT = 20  # lines that are no answer, for an error


def json_request(number: int, do: str, arguments: Mapping[str, Any]) -> str:
    """Write a request as a line of JSON."""
    return json.dumps({"id": number, "do": do, "with": arguments})


def json_answer(line: bytes, request: str) -> Any:
    """Read an answer as a line of JSON, without NaN and infinities."""
    return json.loads(line, parse_constant=_no_number)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


@dataclass(frozen=True)
class Launch:
    """How to start one boot of a board.

    Parameters
    ----------
    argv : list of str
        The process that carries the line.
    env : mapping
        Variables added to its environment.
    cwd : path
        Folder that it starts in.
    console : path
        Where the board's console log is kept; the process's standard error goes there too.
    facts : mapping
        What only the host knows of this boot: emulator, image.
    patience : float
        Seconds until the first answer must have come.
    write : callable
        From a request's number, what to do, and its arguments, to the line that the board reads.
    read : callable
        From a line and the request's line to the answer, a mapping with ``id`` and either ``result`` or ``error``;
        ValueError if it is none.
    chatty : bool
        Whether others, such as a login shell, may speak before the first answer: what is none is skipped then.
    greeting : str
        What is in the first line, which the board says unasked; empty if it says nothing unasked.
    farewell : str
        The line that ends the boot.
    preamble : bytes
        What goes ahead of the first request.
    advice : mapping
        From words with which the process may fail to what the user can do then.
    sockets : tuple of socket
        What the process is given open besides its line, and is closed here then.
    """

    argv: list[str]
    cwd: Path
    console: Path
    env: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    patience: float = 120.0
    write: Callable[[int, str, Mapping[str, Any]], str] = json_request
    read: Callable[[bytes, str], Any] = json_answer
    chatty: bool = False
    greeting: str = ""
    farewell: str = ""
    preamble: bytes = b""
    advice: Mapping[str, str] = field(default_factory=dict)
    sockets: tuple[socket.socket, ...] = ()


class Board(Protocol):
    """A kind of machine that is measured. `seconds` is what a boot and a visit take, until a run has seen its own."""

    name: str
    emulated: bool
    seconds: tuple[float, float]

    def launch(self, console: Path, strategies: tuple[str, ...], kernel: str = "") -> Launch:
        """Build what a boot needs and say how to start it, with a kernel of some series if the board can choose."""

    def describe(self, link: Link, factors: Factors) -> dict[str, Any]:
        """Ask a boot what it is, after trying what visits need: at least ``kernel`` and ``mode``."""

    def doctor(self, link: Link) -> list[dict[str, str]]:
        """Ask a boot what is good about it and what is not: rows of ``check``, ``found``, ``verdict`` and ``todo``."""

    def after(self, link: Link) -> dict[str, Any]:
        """Ask a boot what became of it while it was measured: facts that are added to what it was."""

    def tune(self, link: Link) -> dict[str, Any]:
        """Tune a boot until it ends, and return what was changed, under ``tuned``."""

    def measure(self, link: Link, visit: Visit, factors: Factors) -> dict[str, Any]:
        """Measure one visit: ``pyperf``, ``counts`` and ``checks``, and what else the board has to say."""


class Link:
    """One boot of a board: ask, and it answers. A context manager; leaving it ends the boot."""

    def __init__(self, board: str, launch: Launch) -> None:
        self._board, self._launch, self._asked, self._rest, self._before = board, launch, 0, b"", b""
        self._skipped = collections.deque[bytes](maxlen=KEPT)

    def __enter__(self) -> Link:
        launch = self._launch
        self._before = launch.console.read_bytes() if launch.console.exists() else b""
        self._errors = open(launch.console.with_suffix(".err"), "wb")
        self._process = subprocess.Popen(
            launch.argv, cwd=launch.cwd, env={**os.environ, **launch.env}, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0,
            pass_fds=[theirs.fileno() for theirs in launch.sockets],
        )  # fmt: skip
        for theirs in launch.sockets:
            theirs.close()
        assert self._process.stdin
        os.set_blocking(self._process.stdin.fileno(), False)  # a board that does not read must not hold us up
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{self._launch.farewell}\n".encode())
        self._process.stdin.close()
        self._end(patience=20 if error is None else 0.5)
        self._process.stdout.close()
        self._errors.close()
        errors = self._launch.console.with_suffix(".err")
        if text := errors.read_bytes():
            with open(self._launch.console, "ab") as console:
                console.write(text)
        errors.unlink()

    def _end(self, patience: float) -> None:
        """Wait for the process to end by itself, then ask it to, then make it."""
        for insist, wait in ((self._process.terminate, patience), (self._process.kill, 10.0)):
            try:
                self._process.wait(timeout=wait)
                return
            except subprocess.TimeoutExpired:
                insist()
        self._process.wait()

    def ask(self, do: str, patience: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Ask the board to do something and return its answer.

        Parameters
        ----------
        do : str
            A request of study/collect/onboard/__main__.py.
        patience : float, optional
            Seconds to wait; the launch's own by default.
        **arguments
            What the request takes.

        Raises
        ------
        BoardFailed
            If the board refuses, answers something else, ends, or is silent for too long.
        """
        self._asked += 1
        request = self._launch.write(self._asked, do, arguments)
        if self._asked == 1 and self._launch.greeting:
            self._greeted()
        deadline = time.monotonic() + (patience or self._launch.patience)
        self._send(self._launch.preamble * (self._asked == 1) + f"{request}\n".encode(), deadline)
        number, result, error = self._answer(request, deadline)
        if error is not None:
            raise Refused(f"{self._board}: {error}")
        if number != self._asked or not isinstance(result, dict):
            raise self._failed("it answered a question that was not asked")
        return result

    def _answer(self, request: str, deadline: float) -> tuple[Any, Any, Any]:
        """Return the number, result and error of the next answer, after skipping what is none where others may speak."""
        skips = self._launch.chatty and self._asked == 1
        while True:
            text = self._line(deadline)
            try:
                answer = self._launch.read(text, request)
                found = answer["id"], answer.get("result"), answer.get("error")
                if found[1:] != (None, None) or not skips:
                    return found
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                if self._launch.greeting and self._launch.greeting.encode() in text:
                    raise self._failed("it started anew in the middle of its work") from None
                if not skips:
                    raise self._failed(f"it gave no answer that can be read: {text[:80]!r}") from None
            self._skipped.append(text)

    def _greeted(self) -> None:
        """Wait until the board has said that it is there."""
        text = self._line(time.monotonic() + self._launch.patience)
        if self._launch.greeting.encode() not in text:
            raise self._failed(f"it did not start as it should: {text[:200].decode(errors='replace').strip()}")

    def _send(self, data: bytes, deadline: float) -> None:
        """Write to the board. One that has ended may have said why: that is read next."""
        assert self._process.stdin
        with selectors.DefaultSelector() as selector, contextlib.suppress(BrokenPipeError):
            selector.register(self._process.stdin, selectors.EVENT_WRITE)
            while data:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise self._failed("it has been silent for too long")
                data = data[os.write(self._process.stdin.fileno(), data) :]

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if len(self._rest) > LONGEST_LINE:
                    raise self._failed("it answers without end")
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise self._failed("it has been silent for too long")
                data = os.read(self._process.stdout.fileno(), 1 << 16)
                if not data:
                    raise self._failed("it ended")
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _failed(self, why: str) -> BoardFailed:
        errors = self._launch.console.with_suffix(".err")
        console, said = (path.read_bytes() if path.exists() else b"" for path in (self._launch.console, errors))
        text = b"\n".join(
            [*self._skipped, console.removeprefix(self._before), said]
        )  # an earlier boot's words are no cause of today
        lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
        for phrase, advice in self._launch.advice.items():
            for line in lines:
                if phrase in line:
                    return BoardFailed(f"{self._board}: {_printable(line).rstrip('.')}; {advice}")
        words = [line for line in lines if "Kernel panic" in line][:1] + lines[-2:]
        last = " | ".join(map(_printable, words)) or "nothing"
        return BoardFailed(f"{self._board}: {why}; its last words: {last} (all of them: {self._launch.console})")


def _printable(line: str) -> str:
    return "".join(c for c in line if c.isprintable())
