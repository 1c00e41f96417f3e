"""Processes as /proc has them: who started whom, what works in a folder, what is stopped, and what waits to be read."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import re
import signal
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GRACE = 5.0  # seconds until whatever belonged to a killed command must have ended
POLL = 0.005  # seconds


@dataclass(frozen=True)
class Process:
    """A process; `start` tells it from a later one of the same number."""

    pid: int
    parent: int
    start: str
    words: str


def processes() -> Iterator[Process]:
    """Yield every process that has not ended."""
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = _fields(int(place.name))
            if fields[0] not in "ZX":
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield Process(int(place.name), int(fields[1]), fields[19], words)


def _fields(pid: int) -> list[str]:
    """Return what /proc says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def is_stopped(pid: int) -> bool:
    """Say whether a process is stopped."""
    with contextlib.suppress(OSError):
        return _fields(pid)[0] == "T"
    return False


def awaits(pid: int, number: int) -> bool:
    """Say whether a signal waits for a process that is stopped."""
    with contextlib.suppress(OSError):
        masks = re.findall(r"^(?:SigPnd|ShdPnd):\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return any(int(mask, 16) >> number - 1 & 1 for mask in masks)
    return False


def go_on(pid: int) -> None:
    """Let a process go on, if there is one that is stopped."""
    if is_stopped(pid):
        os.kill(pid, signal.SIGCONT)


def family(pid: int) -> set[Process]:
    """Return a process and all that it started, directly or not."""
    all_ = list(processes())
    found = {process for process in all_ if process.pid == pid}
    while more := {process for process in all_ if process.parent in {one.pid for one in found}} - found:
        found |= more
    return found


def files_of(pid: int) -> list[str]:
    """Return the files that a process has open."""
    found = []
    for path in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            found.append(str(path.readlink()))
    return found


def unread(pid: int) -> int:
    """Return how many bytes wait in the pipe that is a process's standard input."""
    size = array.array("i", [0])
    with contextlib.suppress(OSError):
        pipe = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.ioctl(pipe, termios.FIONREAD, size)
        finally:
            os.close(pipe)
    return size[0]


def about(folder: Path) -> set[Process]:
    """Return the processes that work in a folder, or name it in their command line."""

    def works_in(process: Process) -> bool:
        try:
            return Path(f"/proc/{process.pid}/cwd").readlink().is_relative_to(folder)
        except OSError:
            return False

    return {
        process for process in processes() if process.pid != os.getpid() and (str(folder) in process.words or works_in(process))
    }


def survivors(known: set[Process], folder: Path) -> set[Process]:
    """Return which of the known processes, or of a folder's, are alive when there has been time to end."""
    end = time.monotonic() + GRACE
    names = {(process.pid, process.start) for process in known}
    while left := {process for process in processes() if (process.pid, process.start) in names} | about(folder):
        if time.monotonic() > end:
            return left
        time.sleep(POLL)
    return set()
