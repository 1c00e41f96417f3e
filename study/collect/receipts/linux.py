"""The receipt of a cell on an emulated board with Linux: trace the loop of a visit, and name what ran."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from study.collect.boards.link import Board, Link
from study.collect.onboard import kvm
from study.collect.receipts import symbols, trace, trips
from study.collect.receipts.kinds import kind
from study.collect.receipts.monitor import Monitor
from study.collect.receipts.symbols import GUEST, UNKNOWN, Function
from study.collect.receipts.trips import Code
from study.design import Cell, Factors
from study.errors import BadData
from study.factors import EXITS, GUEST_STATES
from study.kernels import image

# ``subs x19, x19, #1``: with it the guest of onboard/payload.S counts its round trips, once in each.
ROUND = 0xF1000673
# Round trips that are traced where each leaves for user space, some of which are much longer than others.
MANY = 60
NEAR = 200  # instructions by which batches differ that were not interrupted
VALUES = 2  # batches such as a visit has
STARTS = re.compile(r"^([0-9a-f]{16}) \w (_stext|_text)$", re.M)
# Of the words that were executed in the kernel so many must be those that are in memory where the kernel says that its text is.
SAME = 0.9


class Tracer:
    """One boot of a board, whose cells are traced.

    Parameters
    ----------
    board : Board
        The board, which has described itself.
    link, monitor
        The line to it, and to its emulator.
    folder : path
        For files that are of no use afterwards.
    """

    def __init__(self, board: Board, link: Link, monitor: Monitor, folder: Path) -> None:
        self._link, self._monitor, self._folder = link, monitor, folder
        self._words: dict[int, int] = {}
        said = link.ask("symbols")
        self._text = str(said["symbols"])
        first, last = (int(end) for end in said["code"])
        memory = monitor.memory(first, last + 1 - first, folder / "memory")
        self._memory: npt.NDArray[np.uint32] = np.frombuffer(memory, "<u4", len(memory) // 4)
        self._kernel = symbols.of_kernel(self._text)
        payload = np.frombuffer(image.payload().read_bytes(), "<u4")
        self._rounds = [kvm.MEMORY_BASE + 4 * int(at) for at in np.flatnonzero(payload == ROUND)]

    def receipt(self, cell: Cell, factors: Factors) -> dict[str, Any]:
        """Return the receipt of a cell.

        Raises
        ------
        BadData
            If what was executed makes no receipt.
        """
        period, to_user_space = GUEST_STATES[cell.guest].touch_every or 1, EXITS[cell.exit].to_user_space
        loop = self._link.ask(
            "loop", chosen=cell.strategy, state=cell.guest, hosts=cell.host, leave=cell.exit, gic=factors.gic, pmu=factors.pmu,
            loops=factors.loops, values=VALUES, period=period,
        )  # fmt: skip
        try:
            log = self._folder / "trace.log"
            log.unlink(missing_ok=True)
            needed = max(trips.trips_needed(period), MANY * to_user_space)
            self._monitor.write(log, [b"/%016x/" % at for at in self._rounds], needed)
        finally:
            self._link.ask("rest")
        ran, words = trace.read(log)
        self._words |= words
        marks = np.flatnonzero(np.isin(ran.places, np.array(self._rounds, np.uint64)))
        if len(marks) != 1:
            raise BadData(f"{len(marks)} loops of the guest were traced, and not its one")
        return {**trips.receipt(ran, self._code(ran, str(loop["maps"])), int(marks[0]), period), "clock": clock_of(loop)}

    def _code(self, ran: trace.Trace, maps: str) -> Code:
        """Return what is at the addresses of a trace."""
        if lost := [int(place) for place in ran.places if int(place) not in self._words]:
            raise BadData(
                f"the emulator did not say which instruction is at {lost[0]:#x}, and at {len(lost) - 1} other addresses"
            )
        others = [lambda place: Function(GUEST, GUEST) if _of_guest(place) else None, symbols.of_program(maps)]
        functions = symbols.named(ran.places, self._kernel, {}, others)
        unknown = ran.places[[function.name == UNKNOWN for function in functions]]
        if len(unknown):
            moved = symbols.aliases(unknown, self._words, self._memory, self._start(ran, functions))
            functions = symbols.named(ran.places, self._kernel, moved, others)
        return Code(functions, [kind("aarch64", self._words[int(place)]) for place in ran.places])

    def _start(self, ran: trace.Trace, functions: list[Function]) -> int:
        """Return the address by which symbols know the first word of the kernel's text in memory: what was executed tells."""
        inside = [int(place) for place, function in zip(ran.places, functions, strict=True) if function.module == symbols.KERNEL]
        for start in (int(at, 16) for at, _ in STARTS.findall(self._text)):
            found = [(place - start) // 4 for place in inside]
            same = [
                self._memory[at] == self._words[place]
                for at, place in zip(found, inside, strict=True)
                if 0 <= at < len(self._memory)
            ]
            if same and sum(map(bool, same)) >= SAME * len(inside):
                return start
        raise BadData("the kernel's text is not in memory where it says")


def clock_of(loop: dict[str, Any]) -> dict[str, Any]:
    """Return what the clock of an emulated board says of a loop, where a nanosecond is an instruction.

    Some batches are interrupted, and some round trips are longer than most: of long and of short batches those count that are near the
    shortest.
    """
    taken = [np.array(loop[name]) * 1e9 for name in ("short", "long")]
    short, long = (each[each <= each.min() + NEAR] for each in taken)
    error = np.sqrt(sum(float(each.var()) / len(each) for each in (short, long)))
    return {
        "instructions": round(float(long.mean() - short.mean()) / loop["more"], 6),
        "error": round(float(error) / loop["more"], 6),
        "values": [round(value * 1e9, 6) for value in loop["values"]],
    }


def _of_guest(place: int) -> bool:
    return kvm.MEMORY_BASE <= place < kvm.MEMORY_BASE + kvm.MEMORY_SIZE
