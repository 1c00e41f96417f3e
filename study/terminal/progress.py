"""Progress: what is done, what is left and how long that takes, in one line that tqdm draws.

In a terminal it is a bar that stays on its line; in a log, a line now and then; in a notebook, one output that changes. What other
processes say of theirs, a notebook's kernel and the boards of a fleet, is told on in the same way.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TextIO

from tqdm.std import tqdm

from study.terminal.streams import legible_lines

BAR = "{desc}: {n_fmt}/{total_fmt} {unit}, {words} |{bar}|"  # where there is little room, it is the bar that goes
TOLD = re.compile(r"(.+): (\d+)/(\d+) (\S+), (\d+ left.*)")

# Seconds between two updates in a terminal and in a notebook; between two lines of a log, and of those that come at such intervals.
SCREEN, PAGE, LOG, TOLD_LOG = 0.1, 0.5, 10.0, 9.0
# What is of no interest afterwards is shown only if it takes longer than so many seconds.
DELAY = 2.0

# How many seconds so much of the work will take.
Expected = Callable[[int], float]


class Progress(tqdm):  # type: ignore[misc]
    """A tqdm with the study's words, and with its own idea of how long the rest will take.

    Parameters
    ----------
    what : str
        What is going on, such as the name of a board.
    total, done : int
        How much there is to do, and how much of it was done before.
    unit : str
        Of what, such as ``visits``.
    expected : callable, optional
        Returns the seconds that so much will take. Else it goes on as fast as what was done.
    stays : bool
        Whether the last line is kept.
    told : str
        What another process says of what is left.
    form : keywords
        Of tqdm.
    """

    monitor_interval = 0  # no thread
    leave: bool

    def __init__(
        self, what: str, total: int, unit: str, *, done: int = 0, expected: Expected | None = None, stays: bool = True,
        told: str = "", **form: Any,
    ) -> None:  # fmt: skip
        self.told, self._expected = told, expected or self._at_this_rate
        form |= {"initial": done, "leave": stays, "delay": 0.0 if stays else DELAY, "miniters": 1}
        super().__init__(desc=what, total=total, unit=unit, **form)

    def _at_this_rate(self, left: int) -> float:
        done = self.n - self.initial
        return float(left * super().format_dict["elapsed"] / done) if done else 0.0

    @property
    def words(self) -> str:
        """What is left, and about how long that takes if that can be said."""
        left = self.total - self.n
        seconds = self._expected(left) if left else 0.0
        return self.told or f"{left} left" + (f", about {duration(seconds)}" if seconds else "")

    @property
    def line(self) -> str:
        """All of it in a line."""
        return f"{self.desc}: {self.n}/{self.total} {self.unit}, {self.words}"

    @property
    def format_dict(self) -> dict[str, Any]:
        """What BAR is made of."""
        return {**super().format_dict, "words": self.words}

    def reach(self, done: int) -> None:
        """Say how much is done."""
        self.update(done - self.n)

    def tell(self, done: int, total: int, words: str) -> None:
        """Say what another process said."""
        self.total, self.told = total, words
        self.reach(done)
        if done == total:
            self.refresh()


class Bar(Progress):
    """In a terminal. What steers it goes beneath the stream that lets nothing steer; all of its words are legible."""

    def __init__(self, *what: Any, stream: TextIO, **more: Any) -> None:
        super().__init__(*what, file=_beneath(stream), mininterval=SCREEN, bar_format=BAR, dynamic_ncols=True, **more)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What BAR is made of, with room behind it for the ^C that a terminal writes there."""
        known = super().format_dict
        return {**known, "ncols": known["ncols"] - len("^C ") if known["ncols"] else None}

    def close(self) -> None:
        """End it: what is left of it is a line above the bars that are there."""
        if self.disable:
            return
        last = str(self) if self.leave else ""
        self.leave = False
        super().close()
        print("\r", end="", file=self.fp, flush=True)
        if last:
            say(last)


class Lines(Progress):
    """In a log: a line at the start and at the end, and now and then between."""

    def __init__(self, *what: Any, stream: TextIO, every: float = LOG, **more: Any) -> None:
        self._said = -1
        every = TOLD_LOG if more.get("told") else every
        super().__init__(*what, file=stream, mininterval=every, **more)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Show the line, unless it was shown; the empty message, with which tqdm clears its own, is nothing to show."""
        if msg is None and self.n != self._said:
            self._said = self.n
            self.show()
        return False

    def show(self) -> None:
        """Write the line."""
        print(self.line, file=self.fp, flush=True)

    def close(self) -> None:
        """End with the last line if it is kept, or if it was seen before."""
        if not self.disable and (self.leave or self._said >= 0):
            self.display()
        self.leave = False  # for tqdm, which would end a line here
        super().close()


class Page(Lines):
    """In a notebook: an output that is replaced. If it is not kept it is none, and told only to who executes the notebook."""

    def __init__(self, *what: Any, **more: Any) -> None:
        from IPython.display import DisplayHandle

        self._output: Any = DisplayHandle()
        self._is_there = not more.get("stays", True)
        super().__init__(*what, every=PAGE, **more)

    def show(self) -> None:
        """Show the line in the place of the last one."""
        show = self._output.update if self._is_there else self._output.display
        self._is_there = True
        show({"text/plain": self.line}, raw=True)


class Retold:
    """A file for lines of other processes: progress in them is shown as ours is, and other lines above it."""

    def __init__(self) -> None:
        self._bars: dict[str, Progress] = {}
        self._rest = ""

    def __enter__(self) -> Retold:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._rest:
            say(self._rest)
        for shown in self._bars.values():
            shown.close()

    def write(self, text: str) -> None:
        """Tell each line of a text as soon as it is whole."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self.tell(line)

    def flush(self) -> None:
        """Do nothing: lines are told as they come."""

    def tell(self, line: str) -> None:
        """Tell a line."""
        if not self.hear(line):
            say(line)

    def hear(self, line: str) -> bool:
        """Tell a line if it is progress, and say whether it is."""
        if not (told := TOLD.fullmatch(legible_lines(line))):
            return False
        what, done, total, unit, words = told.groups()
        if what in self._bars:
            self._bars[what].tell(int(done), int(total), words)
        else:
            self._bars[what] = bar(what, int(total), unit, done=int(done), told=words)
        return True


def bar(what: str, total: int, unit: str, *, aside: bool = False, over: Iterable[Any] | None = None, **more: Any) -> Progress:
    """Return the progress of something, in the form that fits where it is seen; a context manager, or an iterable.

    Parameters
    ----------
    what, total, unit
        As for Progress.
    aside : bool
        Whether it is of no interest afterwards, nor in a log: then it does not stay, and standard output stays as it is.
    over : iterable, optional
        What it hands out and counts, where it is iterated.
    more : keywords
        Of Progress.
    """
    stream = sys.stderr if aside else sys.stdout
    form = Page if _in_notebook() else Bar if stream.isatty() else Lines
    return form(
        legible_lines(what), total, unit, stream=stream, iterable=over, stays=not aside, disable=aside and form is Lines, **more
    )


def say(text: str) -> None:
    """Print a line, above the bars that are there."""
    if not sys.stdout.isatty():
        print(text, flush=True)
        return
    with tqdm.external_write_mode(_beneath(sys.stdout)):
        print(text, flush=True)


def duration(seconds: float) -> str:
    """Say a duration as a person would."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _in_notebook() -> bool:
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")


def _beneath(stream: TextIO) -> TextIO:
    """Return a stream to the same terminal that lets pass whatever is written."""
    return _terminal(stream.fileno(), stream.encoding)


@functools.cache
def _terminal(descriptor: int, encoding: str) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding=encoding, errors="replace", closefd=False)
