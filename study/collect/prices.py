"""Measure on a board what traps and accesses to debug registers cost: by loops of our own, in its kernel and in its guest."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from study import paths
from study.collect import boards
from study.collect.boards import Link
from study.collect.boards.linux import LinuxBoard
from study.errors import BadRequest, BoardFailed
from study.terminal import progress

PATIENCE = 360.0  # seconds for a repeat
# For an emulated board and for hardware: what is counted, how often each loop is run with either length, and in how many bursts.
HOW = {True: ("instructions", 11, 8), False: ("cycles", 15, 32)}
# Cores by MIDR_EL1, implementer and part number: arch/arm64/include/asm/cputype.h.
CORES = {
    (0x41, 0xD03): "Cortex-A53", (0x41, 0xD05): "Cortex-A55", (0x41, 0xD07): "Cortex-A57", (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73", (0x41, 0xD0A): "Cortex-A75", (0x41, 0xD0B): "Cortex-A76", (0x41, 0xD0C): "Neoverse N1",
    (0x41, 0xD0D): "Cortex-A77", (0x41, 0xD40): "Neoverse V1", (0x41, 0xD41): "Cortex-A78", (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510", (0x41, 0xD47): "Cortex-A710", (0x41, 0xD48): "Cortex-X2", (0x41, 0xD49): "Neoverse N2",
    (0x41, 0xD4F): "Neoverse V2", (0x48, 0xD01): "Kunpeng 920", (0x50, 0x000): "X-Gene", (0x43, 0x0AF): "ThunderX2",
    (0x61, 0x022): "Apple M1, Icestorm", (0x61, 0x023): "Apple M1, Firestorm",
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What was measured on a board.

    Parameters
    ----------
    board, core, machine, kernel, source : str
        On what, and what measured it; `machine` begins with the board's name.
    emulated : bool
        Whether its instructions were counted, which are no price.
    rows : list of dict
        `loop`, `quantity`, `of`, `unit` and `medians`: of each repeat the median of its pairs, of one of what is priced.
    left_out : dict of str to str
        Loops that this board does not have, and why.
    """

    board: str
    core: str
    machine: str
    kernel: str
    source: str
    emulated: bool
    rows: list[dict[str, Any]]
    left_out: dict[str, str]


def measure(name: str, kernel: str = "", repeats: int = 5) -> Measured:
    """Start a board and run every loop, again and again.

    Parameters
    ----------
    name : str
        Of the board.
    kernel : str
        How the release of its kernel begins, where the board can choose.
    repeats : int
        How often, each time with fresh guests; 2 at least.

    Raises
    ------
    BadRequest
        If there is no such board, or it runs no Linux.
    BoardFailed
        If it does not start, has no module for the loops, or its counter does not count.
    """
    if repeats < 2:
        raise BadRequest(f"repeats is {repeats}: a price is a range of at least 2")
    board = boards.find(name)
    if not isinstance(board, LinuxBoard):
        raise BadRequest(f"{name}: prices are measured on boards with Linux and KVM; see: study boards")
    board.priced = True
    count, pairs, bursts = HOW[board.emulated]
    folder = paths.cache() / "prices"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name.replace('/', '-')}.log"
    log.unlink(missing_ok=True)
    answers, launch = [], board.launch(log, (), kernel)
    with progress.bar(name, repeats, "repeats") as bar, Link(name, launch) as link:
        facts = link.ask("facts", events=[], strategies=[])
        for _ in range(repeats):
            answers.append(link.ask("price", patience=PATIENCE, count=count, pairs=pairs, bursts=bursts))
            bar.update()
    try:
        model = str(answers[0]["machine"])
        return Measured(
            name,
            core_of(str(facts["cpu"])),
            ", ".join(filter(None, [name, model])),
            f"Linux {facts['kernel']}, {facts['mode']}",
            f"study prices {name}, {date.today()}: {repeats} repeats of {pairs} pairs of loops",
            board.emulated,
            rows_of(answers),
            dict(answers[0]["left_out"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BoardFailed(f"{name}: the board answers nonsense: {error!r}") from None


def rows_of(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each loop what it prices and the median of each repeat.

    Parameters
    ----------
    answers : sequence of mapping
        As prices() of study/collect/onboard/price.py returns them, one for each repeat.
    """
    return [
        {
            "loop": name,
            **{key: str(loop[key]) for key in ("quantity", "of")},
            "unit": str(answers[0]["unit"]),
            "medians": [one(**{key: answer["loops"][name][key] for key in ("short", "long", "each")}) for answer in answers],
        }
        for name, loop in answers[0]["loops"].items()
    ]


def one(short: Sequence[float], long: Sequence[float], each: int) -> float:
    """Return what one costs: the median over pairs of what the longer loop costs more, divided by how many more are in it.

    What is in both, the system call, the burst, the turn, is in neither. Pure.

    Parameters
    ----------
    short, long : sequence of float
        The counts of either loop, pair for pair.
    each : int
        How many of it the longer one has more.

    Raises
    ------
    ValueError
        If there are no pairs.
    """
    if each < 1 or not short or not all(map(math.isfinite, (*short, *long))):
        raise ValueError(f"{len(short)} pairs of {each}")
    return statistics.median((more - less) / each for less, more in zip(short, long, strict=True))


def core_of(cpu: str) -> str:
    """Return what a core is called, by its MIDR_EL1; else what is said of it.

    MIDR_EL1: implementer in bits 31 to 24, part number in bits 15 to 4.
    """
    found = re.fullmatch(r"MIDR_EL1 (0x[0-9a-f]+)", cpu)
    midr = int(found[1], 16) if found else 0
    return CORES.get((midr >> 24 & 0xFF, midr >> 4 & 0xFFF), cpu)
