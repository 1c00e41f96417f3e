"""The receipt of a cell where nothing sees every instruction: in which functions samples found the loop of a visit.

The PMU's interrupt waits while interrupts are masked, as they are around a guest: what runs then, the guest itself and the whole
world switch, is sampled where they are let in again. There the samples are late, by what `late` says beyond that of other functions.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from study.campaign import schema
from study.collect.boards.link import Link
from study.collect.receipts import symbols
from study.collect.receipts.symbols import Function, Symbols
from study.design import Cell, Factors
from study.errors import BadData, BoardFailed
from study.factors import EXITS

PATIENCE = 900.0  # seconds
# By which event, after how many of them, and in how many round trips, by whether each leaves for user space.
EVENT, PERIOD, LOOPS = "cycles", 50_000, {False: 40_000, True: 4_000}
KEPT = ("event", "period", "samples", "lost", "loops")


class Sampler:
    """One boot of a board with Linux, whose cells are sampled.

    Parameters
    ----------
    board : str
        Its name.
    link : Link
        The line to it.
    """

    def __init__(self, board: str, link: Link) -> None:
        self._board, self._link = board, link
        self._kernel = symbols.of_kernel(str(link.ask("symbols")["symbols"]))

    def receipt(self, cell: Cell, factors: Factors) -> dict[str, Any]:
        """Return the receipt of a cell, by one visit.

        Raises
        ------
        BoardFailed
            If the board gives no samples, or answers nonsense.
        """
        sampled = self._link.ask(
            "sample", patience=PATIENCE, chosen=cell.strategy, state=cell.guest, host=cell.host, leave=cell.exit,
            gic=factors.gic, pmu=factors.pmu, event=EVENT, period=PERIOD, loops=LOOPS[EXITS[cell.exit].to_user_space],
        )  # fmt: skip
        try:
            return receipt(sampled, self._kernel)
        except BadData as error:
            raise BoardFailed(f"{self._board}: the board answers nonsense: {error}") from None


def receipt(sampled: dict[str, Any], kernel: Symbols) -> dict[str, Any]:
    """Return the receipt that a board's samples are, with the function that has the most of them first.

    Raises
    ------
    BadData
        If they are not what a board answers.
    """
    schema.check("samples", sampled)
    places = np.array([place for place, _, _ in sampled["places"]], np.uint64)
    found = defaultdict[Function, list[int]](lambda: [0, 0])
    functions = symbols.named(places, kernel, {}, [symbols.of_program(sampled["maps"])])
    for function, (_, samples, late) in zip(functions, sampled["places"], strict=True):
        found[function][0] += samples
        found[function][1] += late
    rows = [
        {"function": function.name, "module": function.module, "samples": samples, "late": round(late / samples, 1)}
        for function, (samples, late) in found.items()
    ]
    return {
        **{name: sampled[name] for name in KEPT},
        "functions": sorted(rows, key=lambda row: (-row["samples"], row["function"])),
    }
