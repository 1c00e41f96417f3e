"""Work on several processors at a time: each piece in a forked process, which has all that we have, and leaves nothing but files."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import TypeVar

PATIENCE = 10.0  # seconds that a process has to end
MOST = 4  # processes at a time: each needs memory of its own
ENDS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
FORK = multiprocessing.get_context("fork")

Item = TypeVar("Item")


def apart(work: Callable[[Item], object], items: Sequence[Item]) -> Iterator[Item]:
    """Work on each item in a process of its own, the last first, on as many processors as we may use; yield it when that is done.

    What a process did not bring to its end is done here: so an error is raised where somebody hears of it. However we end, no process
    stays.
    """
    waiting, busy = list(items), list[tuple[BaseProcess, Item]]()
    try:
        while waiting or busy:
            while waiting and len(busy) < min(MOST, len(os.sched_getaffinity(0))):
                _start(work, waiting.pop(), busy)
            ended = connection.wait([process.sentinel for process, _ in busy])
            for process, item in [pair for pair in busy if pair[0].sentinel in ended]:
                process.join()
                busy.remove((process, item))
                if process.exitcode:
                    work(item)
                yield item
    finally:
        started = [process for process, _ in busy if process.pid]
        for process in started:
            process.terminate()
        for process in started:
            process.join(PATIENCE)
            process.kill()
            process.join()


def _start(work: Callable[[Item], object], item: Item, busy: list[tuple[BaseProcess, Item]]) -> None:
    """Start a process and enter it among the busy ones; no signal comes to it before it knows what signals are to it."""
    with _undisturbed():
        held = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        try:
            process = FORK.Process(target=_alone, args=(work, item, held))
            busy.append((process, item))
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let what interrupts us wait: in the middle of a fork it would leave locks that nobody opens. A mask does not hold off other threads."""
    if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda which, _: came.append(which)) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        for which in came[:1]:
            signal.raise_signal(which)


def _alone(work: Callable[[Item], object], item: Item, held: set[signal.Signals]) -> None:
    """Be the process: what interrupts all of us is for our parent to act on, which then ends us in good order."""
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        gc.disable()  # so short a life needs no collection, which would copy all memory that is shared
        work(item)
        status = 0
    finally:
        os._exit(status)
