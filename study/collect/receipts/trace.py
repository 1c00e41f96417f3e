"""Read what the emulator wrote down: the address of every instruction that was executed, in order, and the word at each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from study.errors import BadData

# QEMU's -d exec,nochain,in_asm with one instruction a block. What is taken back was written down and not executed: the block was
# left before it began, or is begun anew.
RAN = re.compile(
    rb"^Trace \d+: \S+ \[[0-9a-f]*/([0-9a-f]+)/[^\n]*|^(Stopped execution of TB chain before|cpu_io_recompile: )", re.M
)
WORD = re.compile(rb"^0x([0-9a-f]+): +([0-9a-f]{8}) ", re.M)


@dataclass(frozen=True)
class Trace:
    """Instructions in the order in which they were executed.

    Parameters
    ----------
    places : array of int, shape (addresses,)
        Every address that was executed, once.
    order : array of int, shape (instructions,)
        For each instruction the number of its address in `places`.
    """

    places: npt.NDArray[np.uint64]
    order: npt.NDArray[np.int64]


def read(path: Path) -> tuple[Trace, dict[int, int]]:
    """Return what a log holds: the trace, and the words that were translated while it was written, by address.

    An instruction that was translated before is executed from there, and its word is in an earlier log of the same boot.

    Raises
    ------
    BadData
        If nothing was executed.
    """
    text = path.read_bytes()
    numbers: dict[bytes, int] = {}
    order: list[int] = []
    for place, taken_back in RAN.findall(text):
        if taken_back:
            if order:
                order.pop()
        else:
            order.append(numbers.setdefault(place, len(numbers)))
    if not order:
        raise BadData("the emulator wrote down no instruction")
    places = np.array([int(place, 16) for place in numbers], np.uint64)
    return Trace(places, np.array(order)), {int(place, 16): int(word, 16) for place, word in WORD.findall(text)}


def of(addresses: Iterable[int]) -> Trace:
    """Return the trace of addresses in the order in which they were executed."""
    places, order = np.unique(np.array(list(addresses), np.uint64), return_inverse=True)
    return Trace(places, order)
