"""Work on several processors at a time: each piece in a forked process, which has all that we have, and leaves nothing but files."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from typing import TypeVar

MOST = 4  # processes at a time: each needs memory of its own
ENDS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
FORK = multiprocessing.get_context("fork")

Item = TypeVar("Item")


def apart(work: Callable[[Item], object], items: Sequence[Item]) -> Iterator[Item]:
    """Work on each item in a process of its own, the last first, on as many processors as we may use; yield it when that is done.

    What a process did not bring to its end is done here: so an error is raised where somebody hears of it. However we end, no process
    stays.
    """
    waiting, busy = list(items), dict[int, tuple[multiprocessing.process.BaseProcess, Item]]()
    try:
        while waiting or busy:
            while waiting and len(busy) < min(MOST, len(os.sched_getaffinity(0))):
                _start(work, waiting.pop(), busy)
            for ended in connection.wait(list(busy)):
                process, item = busy[ended]  # type: ignore[index]
                process.join()
                del busy[ended]  # type: ignore[arg-type]
                if process.exitcode:
                    work(item)
                yield item
    finally:
        for process, _ in busy.values():
            process.terminate()
        for process, _ in busy.values():
            process.join()


def _start(work: Callable[[Item], object], item: Item, busy: dict[int, tuple[multiprocessing.process.BaseProcess, Item]]) -> None:
    """Start a process and enter it among the busy ones; no signal comes between, nor before it knows what signals are to it."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        process = FORK.Process(target=_alone, args=(work, item, held))
        process.start()
        busy[process.sentinel] = process, item
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _alone(work: Callable[[Item], object], item: Item, held: set[signal.Signals]) -> None:
    """Be the process: what interrupts all of us is for our parent to act on, which then ends us in good order."""
    status = 1
    try:
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        gc.disable()  # so short a life needs no collection, which would copy all memory that is shared
        work(item)
        status = 0
    finally:
        os._exit(status)
