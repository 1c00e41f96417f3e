"""How a command ends: by a signal in good order, by a second one at once, and without a word of the libraries that it leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from types import FrameType

from study.terminal.streams import Legible

STAYS = "what was recorded stays: run the same command again to go on"
# The signals that end a command in good order, and what is said of it then.
ENDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM", signal.SIGHUP: "ended by SIGHUP"}


def guard() -> None:
    """Make standard output and error legible, and let signals end the command: the first in good order, a second one at once.

    What whoever started us ignores stays ignored: with nohup a command goes on when its terminal is closed.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        setattr(sys, name, Legible(stream.detach(), stream.encoding, "backslashreplace", line_buffering=True))
    _on_signals(_end)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries say of their own affairs from the user: what matters of it is said by us, in a line.

    After an interruption they are kept quiet for good: of what they left undone they speak when it is thrown away.
    """
    import logging  # not before start() has guarded us

    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            if not isinstance(sys.exception(), KeyboardInterrupt):
                logging.disable(before)


def ended() -> SystemExit:
    """Say which signal has ended the command, and return the exit that tells it."""
    print(f"study: {ENDS[_first]}; {STAYS}", file=sys.stderr)
    return SystemExit(128 + _first)


_first = signal.SIGINT  # the signal that ended the command: on its way through libraries, what it raised does not say which


def _on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    for number in ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    global _first
    _first = signal.Signals(number)
    _on_signals(_end_at_once)
    if number == signal.SIGHUP:  # a terminal that is closed says so twice: itself, and by the shell that ends with it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_at_once(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone
        os.write(2, f"study: ended at once; {STAYS}\n".encode())
    os._exit(128 + number)
