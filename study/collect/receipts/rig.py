"""The receipt of a cell on an emulated rig: trace one measurement, and name what ran by the symbols of its image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from study.collect.boards.link import Link
from study.collect.boards.rig import RIGS, SCRIPT_PATIENCE, Rig
from study.collect.receipts import trace, trips
from study.collect.receipts.kinds import kind
from study.collect.receipts.monitor import Monitor
from study.collect.receipts.symbols import GUEST, UNKNOWN, Function, Symbols
from study.collect.receipts.trips import Code
from study.collect.rig import build
from study.design import Cell, Factors
from study.errors import BadData
from study.factors import GUEST_STATES
from study.process import run

# Round trips that are traced, at least; a whole number of the guest's periods.
TRIPS = 60
# The window in which the rig counts instructions, and what of its image is the guest's.
BEGINS, ENDS = "plain_window_begins", "plain_window_ends"
GUESTS, LOOPS = re.compile(r"loop_|touch_|leave_|guest_"), re.compile(r"loop_")
RIG = "rig"


class Tracer:
    """One boot of a rig, whose cells are traced.

    Parameters
    ----------
    board : Rig
        An emulated one, which has described itself.
    link, monitor
        The line to it, and to its emulator.
    folder : path
        For files that are of no use afterwards.
    """

    def __init__(self, board: Rig, link: Link, monitor: Monitor, folder: Path) -> None:
        self._board, self._link, self._monitor, self._folder = board, link, monitor, folder
        self._architecture = RIGS[board.name].architecture
        self._words: dict[int, int] = {}
        elf = build.image(self._architecture).with_name("rig.elf")
        listing = run([build.ARCHITECTURES[self._architecture].tool("nm"), elf])
        loaded = int(str(link.ask("facts")["loaded"]), 16)
        rows = re.findall(r"^([0-9a-f]+) [tT] ([A-Za-z_]\w*)$", listing, re.M)
        self._symbols = Symbols(
            (loaded + int(at, 16), Function(name, GUEST if GUESTS.match(name) else RIG)) for at, name in sorted(rows)
        )

    def receipt(self, cell: Cell, factors: Factors) -> dict[str, Any]:
        """Return the receipt of a cell.

        Raises
        ------
        BadData
            If what was executed makes no receipt.
        """
        period = GUEST_STATES[cell.guest].touch_every or 1
        loops = -(-TRIPS // period) * period
        log = self._folder / "trace.log"
        log.unlink(missing_ok=True)
        words = self._board.words(cell, factors, loops=loops, values=1, warmups=0)
        with self._monitor.writing(log):
            measured = self._link.ask("measure", patience=SCRIPT_PATIENCE, words=words)
        ran, seen = trace.read(log)
        self._words |= seen
        found = [self._symbols.find(int(place)) or Function(UNKNOWN, UNKNOWN) for place in ran.places]
        window = self._window(ran)
        loop = [place for place in np.unique(window.order) if LOOPS.match(found[place].name)]
        if not loop:
            raise BadData("the guest's loop was not traced")
        code = Code(found, [kind(self._architecture, self._words[int(place)]) for place in ran.places])
        (value,), empty = measured["values"], measured["empty"]
        clock = (value[0] - empty[0]) / loops
        mark = max(loop, key=lambda place: int(ran.places[place]))
        return {
            **trips.receipt(window, code, int(mark), period),
            "clock": {"instructions": clock, "error": 0.0, "values": [clock]},
        }

    def _window(self, ran: trace.Trace) -> trace.Trace:
        """Return what was traced of the last window in which instructions were counted."""
        begins, ends = (self._times(ran, name) for name in (BEGINS, ENDS))
        if not len(begins) or not len(ends[ends > begins[-1]]):
            raise BadData("no window of the rig was traced")
        return trace.Trace(ran.places, ran.order[begins[-1] : ends[ends > begins[-1]][0]])

    def _times(self, ran: trace.Trace, name: str) -> Any:
        return np.flatnonzero(ran.places[ran.order] == self._symbols.start(name))
