"""What a command and a terminal owe each other: no text from elsewhere steers the terminal, and Ctrl-C ends the command."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 130
STAYS = "what was recorded stays: run the same command again to go on"


class Legible(io.TextIOWrapper):
    """A stream on which what a board, a file or a name says can only be read: escape sequences and the like become ``?``."""

    def write(self, text: str) -> int:
        """Write text with its lines and nothing else that a terminal would obey; to nobody, once the reader has gone."""
        try:
            return super().write(legible_lines(text))
        except BrokenPipeError:  # it has seen enough, as head has: that changes nothing of what is done and how it ends
            nobody = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nobody, self.fileno())
            os.close(nobody)
            return len(text)


def legible_lines(text: str) -> str:
    """Return text in which every character is printable, or ends a line."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def guard() -> None:
    """Make standard output and error legible, and let a second Ctrl-C end at once what the first one is ending in good order."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        setattr(sys, name, Legible(stream.detach(), stream.encoding, "backslashreplace", line_buffering=True))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries say of their own affairs from the user: what matters of it is said by us, in a line."""
    import logging  # not before start() has guarded us

    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def start() -> None:
    """Run the command. What can be interrupted is guarded before anything large is loaded."""
    guard()
    # With it, jsonschema could tell whether a text is an IRI, for which it builds 38 grammars as nbformat loads it: 2.6 s.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    try:
        from study import cli
    except KeyboardInterrupt:
        print(f"study: interrupted; {STAYS}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    cli.main()


def _interrupted(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, _interrupted_again)
    raise KeyboardInterrupt


def _interrupted_again(number: int, frame: FrameType | None) -> None:
    os.write(2, f"study: ended at once; {STAYS}\n".encode())
    os._exit(INTERRUPTED)
