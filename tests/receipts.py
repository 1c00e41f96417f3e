"""Made-up receipts: a program of a few functions, what it executes in a round trip, and the receipt of that."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from study.collect.receipts import trace, trips
from study.collect.receipts.kinds import Kind, kind
from study.collect.receipts.symbols import GUEST, Function

NOP, ISB, RET, ERET, HVC, LDR, STR = 0xD503201F, 0xD5033FDF, 0xD65F03C0, 0xD69F03E0, 0xD4000002, 0xF9400000, 0xF9000000
READ, WRITE = 0xD5300240, 0xD5100240  # mrs x0, mdscr_el1; msr mdscr_el1, x0
SUBS, AGAIN = 0xF1000673, 0x17FFFFFE  # b to two instructions before
REST = (NOP, ISB, LDR, STR, READ, WRITE)  # what leads to nothing but the next one
GUEST_AT, VECTOR_AT, HOST_AT, STEP = 0x40000000, 0x80000000, 0x80100000, 0x1000
LOOP = range(GUEST_AT, GUEST_AT + 12, 4)


def call(source: int, to: int) -> int:
    """Return the word of bl."""
    return 0x94000000 | (to - source) // 4 & 0x3FFFFFF


class Program:
    """A guest whose exits are handled by functions that call one another.

    Parameters
    ----------
    handlers : list of list of int
        The words of each function, of REST; each calls the next one at its end.
    """

    def __init__(self, handlers: list[list[int]]) -> None:
        self.words = dict(zip(LOOP, (SUBS, HVC, AGAIN), strict=True))
        self.functions = dict.fromkeys(LOOP, Function(GUEST, GUEST))
        starts = [VECTOR_AT, *(HOST_AT + STEP * number for number in range(1, len(handlers)))]
        self._down: list[list[int]] = []
        self._up: list[list[int]] = []
        for number, (start, rest) in enumerate(zip(starts, handlers, strict=True)):
            last = number == len(handlers) - 1
            end = start + 4 * len(rest)
            words = [*rest, *([] if last else [call(end, starts[number + 1])]), RET if number else ERET]
            places = [start + 4 * at for at in range(len(words))]
            self.words |= dict(zip(places, words, strict=True))
            self.functions |= dict.fromkeys(places, Function(f"handler{number}"))
            self._down.append(places[: None if last else -1])
            self._up.append([] if last else places[-1:])

    def trip(self) -> list[int]:
        """Return the addresses of a round trip."""
        return [*LOOP[:2], *chain.from_iterable(self._down), *chain.from_iterable(reversed(self._up)), LOOP[2]]

    def receipt(self, ran: list[int], period: int = 1) -> dict[str, Any]:
        """Return the receipt of a trace."""
        seen = trace.of(ran)
        kinds: list[Kind] = [kind("aarch64", self.words[int(place)]) for place in seen.places]
        code = trips.Code([self.functions[int(place)] for place in seen.places], kinds)
        return trips.receipt(seen, code, int(np.flatnonzero(seen.places == GUEST_AT)[0]), period)


def line(**cell: str) -> dict[str, Any]:
    """Return the line of a receipt, but for its digest."""
    program = Program([[NOP, READ, ISB], [STR, WRITE, NOP]])
    made = program.receipt(program.trip() * 30)
    clock = {"instructions": made["instructions"], "error": 0.1, "values": [made["instructions"] + 3]}
    known = {"strategy": "stock", "guest": "untouched", "host": "none", "exit": "hvc"}
    return {"receipt": "traced", "number": 1, "cell": {**known, **cell}, "clock": clock, **made}


def sampled(number: int = 1, **cell: str) -> dict[str, Any]:
    """Return the line of a receipt that was sampled, but for its digest."""
    known = {"strategy": "stock", "guest": "untouched", "host": "none", "exit": "hvc"}
    rows = [
        {"function": "first", "module": "kernel", "samples": 30, "late": 2.5},
        {"function": "guest", "module": "guest", "samples": 3},
    ]
    return {
        "receipt": "sampled", "number": number, "cell": {**known, **cell}, "event": "cycles:ukhHG", "period": 50000, "lost": 0,
        "loops": 100, "samples": 33, "functions": rows,
    }  # fmt: skip
