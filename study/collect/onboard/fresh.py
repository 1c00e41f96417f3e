"""A fresh process for each visit, forked from one that has imported all that it needs.

Starting Python and importing pyperf takes an emulated board ten times as long as what is measured then. What makes samples
independent is kept: a process of its own, which no other visit shares, with memory of its own, at addresses of its own. A fork
leaves code and heap where they are; so that what is mapped afterwards (the guest's memory, the page that it shares with KVM) is
not always at one place, a drawn number of pages is mapped ahead of it, as the kernel does for a new program (ASLR).

The end of such a process takes the kernel a while, in which it mostly waits. Who goes on before that is over says by alone() when
nothing of it may be there any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from . import BoardError, tied

PR_SET_NAME = 15  # prctl(2)
DONE = b"\0"  # the last word of a process that did its work
MOST_PAGES = 1 << 16  # 256 MB of addresses with pages of 4 kB; none of them is ever touched


class TookTooLong(Exception):
    """The work was not done in time."""


def run(name: str, work: Callable[[], object], limit: float) -> tuple[int, str]:
    """Do some work in a fresh process, and end all that it started, whatever happens, even if we are killed.

    Parameters
    ----------
    name : str
        What the process is called, as ps(1) shows it; 15 characters at most.
    work : callable
        Ends the process by returning, by SystemExit, or by an exception, whose words it prints.
    limit : float
        Seconds that it may take.

    Returns
    -------
    (int, str)
        Its exit status (below 0: the signal that ended it), and what it printed. If it did its work, it may still be ending.

    Raises
    ------
    TookTooLong
        If it is not done within the limit. It is ended.
    """
    with started(name, work) as running:
        words = _until_closed(running.words, time.monotonic() + limit)
        running.done = words.endswith(DONE)
    return running.status, words.removesuffix(DONE).decode(errors="replace")


def answer(name: str, work: Callable[[Path], object], limit: float, what: str, advice: str = "") -> dict[str, Any]:
    """Do some work in a fresh process, and return the JSON that it left in the file that it was given.

    Parameters
    ----------
    name, limit
        As for run().
    work : callable
        As for run(), of the file.
    what, advice : str
        What it is, and what to do if it takes too long, for messages.

    Raises
    ------
    BoardError
        If it fails, or takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        found = Path(folder, "found.json")
        try:
            status, words = run(name, lambda: work(found), limit)
        except TookTooLong:
            raise BoardError(f"{what} took longer than {limit:.0f} s{advice}") from None
        if status != 0:
            (last,) = words.strip().splitlines()[-1:] or [f"exit status {status}"]
            raise BoardError(f"{what} failed: {last}")
        answered: dict[str, Any] = json.loads(found.read_text())
        return answered


ENDING: dict[int, int] = {}  # processes that did their work and are ending, and files that can be read when they have ended


def alone() -> None:
    """Wait until none of those that did their work before is there any more."""
    while left := [file for file in ENDING.values() if not select.select([file], [], [], 0)[0]]:
        select.select(left, [], [])


def settle() -> None:
    """Do the same, and forget them: for the one that started them."""
    while ENDING:
        process, file = ENDING.popitem()
        os.waitpid(process, 0)
        os.close(file)


@dataclass
class Running:
    """A process that was started: what it prints comes from the file `words`; `status` is there once it has ended.

    Whether it is `done` says who has read its last word: its end need not be waited for then.
    """

    words: int
    status: int = 0
    done: bool = False

    def line(self, limit: float) -> str:
        """Return the first line that it prints; if it ends before, all of its words."""
        words, deadline = b"", time.monotonic() + limit
        while b"\n" not in words and (more := _read(self.words, deadline)):
            words += more
        return words.decode(errors="replace")


@contextlib.contextmanager
def started(name: str, work: Callable[[], object]) -> Iterator[Running]:
    """Start a fresh process that does some work, and end it, and all that it started, when it is left; even if we are killed.

    Parameters
    ----------
    name, work
        As for run().
    """
    ready = tied.to_parent(signal.SIGKILL)
    ours, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        _work(name, work, theirs, ready)
    os.close(theirs)
    running = Running(ours)
    try:
        yield running
    finally:
        os.close(ours)
        settle()  # the one before
        _kill(process)
        if running.done:
            ENDING[process] = os.pidfd_open(process)
        else:
            running.status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _work(name: str, work: Callable[[], object], out: int, ready: Callable[[], None]) -> NoReturn:
    """Be the fresh process."""
    status = 1
    try:
        ready()
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.close(out)
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
        size = mmap.PAGESIZE * random.SystemRandom().randint(1, MOST_PAGES)
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ):
            work()
        status = 0
    except BoardError as error:
        print(error)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if status == 0:
            os.write(1, DONE)
            os.close(1)
            os.close(2)
        os._exit(status)


def _until_closed(file: int, deadline: float) -> bytes:
    """Read what a process prints until it, and all that it started, have closed their end."""
    words = b""
    while more := _read(file, deadline):
        words += more
    return words


def _read(file: int, deadline: float) -> bytes:
    """Read some of what a process prints; nothing if it has closed its end."""
    if not select.select([file], [], [], max(0.0, deadline - time.monotonic()))[0]:
        raise TookTooLong
    return os.read(file, 1 << 16)


def _kill(process: int) -> None:
    """Kill a process that is not waited for yet, and its group; it may not have made its group yet."""
    for kill in (os.killpg, os.kill):
        try:
            kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
