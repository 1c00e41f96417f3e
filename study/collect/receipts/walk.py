"""Make the receipts that a campaign lacks: one for each cell of each kernel, in a boot of its own after those that are measured."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from study.campaign import Campaign, sense
from study.campaign.store import CELL, RECEIPTS, OpenBoot
from study.collect import boards
from study.collect.boards import Board
from study.collect.pace import Pace
from study.collect.receipts import linux, rig
from study.collect.receipts.monitor import Monitor
from study.collect.receipts.sampled import Sampler
from study.collect.session import booted, cut_torn_lines
from study.design import MAIN, Cell, Factors, Kernel, Visit
from study.errors import BadData, BadRequest, BoardFailed
from study.factors import KVM, RIG
from study.kernels import source
from study.terminal import progress

TRACERS = {KVM: linux.Tracer, RIG: rig.Tracer}
TRACED, SAMPLED = "traced", "sampled"
# Seconds that a boot and a receipt take, until a run has seen its own.
SECONDS = (9.0, 1.5)


class Maker(Protocol):
    """What makes receipts in one boot."""

    def receipt(self, cell: Cell, factors: Factors) -> dict[str, Any]:
        """Return what the line of a receipt has of its own."""


@dataclass(frozen=True)
class Wanted:
    """A receipt that is lacking: of which cell, traced or sampled, and its number."""

    cell: Cell
    kind: str
    number: int


def collect(folder: Path, board: str, cells: dict[str, tuple[str, ...]], visits: int = 0) -> Campaign:
    """Make the receipts that cells of a campaign lack on a board.

    Parameters
    ----------
    folder : path
        The campaign.
    board : str
        An emulated board, or, to be sampled, any with Linux.
    cells : mapping of str to tuple of str
        Which cells, by tags: ``strategy``, ``guest``, ``host``, ``exit``, ``kernel``; all if empty.
    visits : int
        In how many visits each cell is to be sampled; 0 to trace it.

    Returns
    -------
    Campaign
        With them. Each was recorded as soon as it was there.

    Raises
    ------
    BadRequest
        If the board cannot be traced, or sampled, or the campaign has no such cell.
    BoardFailed
        If the board cannot be traced, or what was traced is no receipt.
    BadData
        If a file of the campaign is damaged. Nothing is traced then.
    """
    machine, campaign = boards.find(board), Campaign(folder)
    factors = campaign.design_of(board).factors
    source.prepare(factors.kernels)
    with campaign.recording(board):
        if damaged := campaign.damaged():
            raise BadData(f"{damaged[0]}: nothing is traced until this is mended, with: study repair {shlex.quote(str(folder))}")
        cut_torn_lines(campaign, board)
        asked = _asked(campaign, board, cells)
        if not asked:
            raise BadRequest(f"{folder}: no cell of {board} is such; study plan shows those that there are")
        if visits and factors.kind != KVM:
            raise BadRequest(f"{board}: a rig has no perf that could sample it; trace it")
        have, kind = _have(campaign, board), SAMPLED if visits else TRACED
        numbers = range(1, max(1, visits) + 1)
        lacking = {
            visit: [Wanted(cell, kind, n) for n in numbers for cell in wanted if (kind, n, *_key(visit, cell)) not in have]
            for visit, wanted in asked.items()
        }
        planned = sum(map(len, asked.values())) * len(numbers)
        _make_all(machine, campaign, {visit: todo for visit, todo in lacking.items() if todo}, planned)
    return Campaign(folder)


def _asked(campaign: Campaign, board: str, cells: Mapping[str, tuple[str, ...]]) -> dict[Visit, list[Cell]]:
    """Return what is asked for of a board: in the first visit of each of its kernels, the cells that are such."""
    factors = campaign.design_of(board).factors
    return {visit: wanted for visit in _first_visits(campaign, board) if (wanted := _wanted(factors, visit, cells))}


def boards_of(folder: Path, cells: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the boards of a campaign that can be traced and have such a cell; all that can, where none has one.

    Raises
    ------
    BadRequest
        If none can.
    """
    campaign = Campaign(folder)
    emulated = sorted({str(facts["board"]) for facts in map(campaign.facts, campaign.boots()) if facts["emulated"]})
    if not emulated or campaign.origin == "imported":
        raise BadRequest(f"{folder} has no emulated board, which alone sees every instruction; name one with --board")
    return [board for board in emulated if _asked(campaign, board, cells)] or emulated


def _make_all(machine: Board, campaign: Campaign, lacking: dict[Visit, list[Wanted]], planned: int) -> None:
    pace, left = Pace(SECONDS, boots=len(lacking)), sum(map(len, lacking.values()))
    if not left:
        print(f"{campaign.name}: all {planned} receipts of {machine.name} are there, nothing to make")
        if campaign.unclosed(machine.name):  # a full disk may have had no room for their sums
            campaign.close(machine.name)
        return
    try:
        with progress.bar(machine.name, planned, "receipts", done=planned - left, expected=pace.expected) as shown:
            for visit, todo in lacking.items():
                pace.booting()
                for seconds in _make_in_a_boot(machine, campaign, visit, todo):
                    pace.visited(seconds)
                    shown.update()
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk has been named already
            campaign.close(machine.name)
        raise
    campaign.close(machine.name)


def _make_in_a_boot(machine: Board, campaign: Campaign, visit: Visit, todo: list[Wanted]) -> Iterator[float]:
    """Make receipts in one boot, and yield how many seconds each took once it is recorded."""
    factors = campaign.design_of(machine.name).factors.on(visit.kernel)
    boot = campaign.open_boot(machine.name, visit.boot)
    with (_sampling if todo[0].kind == SAMPLED else _tracing)(machine, campaign, boot, visit) as maker:
        for wanted in todo:
            started = time.monotonic()
            boot.record(_line(machine.name, wanted, maker, factors), file=RECEIPTS)
            yield time.monotonic() - started


@contextlib.contextmanager
def _sampling(machine: Board, campaign: Campaign, boot: OpenBoot, visit: Visit) -> Iterator[Maker]:
    """Start a boot that is sampled."""
    with booted(machine, campaign, boot, visit) as link:
        yield Sampler(machine.name, link)


@contextlib.contextmanager
def _tracing(machine: Board, campaign: Campaign, boot: OpenBoot, visit: Visit) -> Iterator[Maker]:
    """Start a boot whose emulator writes down what is executed."""
    monitors: list[Monitor] = []

    def watched(launch: boards.Launch) -> boards.Launch:
        monitors.append(held.enter_context(contextlib.closing(Monitor(machine.name, launch))))
        return monitors[0].launch

    with (
        tempfile.TemporaryDirectory(prefix="study-") as scratch,
        contextlib.ExitStack() as held,
        booted(machine, campaign, boot, visit, changed=watched) as link,
    ):
        yield TRACERS[campaign.design_of(machine.name).factors.kind](machine, link, monitors[0], Path(scratch))


def _line(board: str, wanted: Wanted, maker: Maker, factors: Factors) -> dict[str, Any]:
    """Make the line of a receipt, refused if there is none or if it cannot be true."""
    cell = {field: getattr(wanted.cell, field) for field in CELL}
    try:
        line = {"receipt": wanted.kind, "number": wanted.number, "cell": cell, **maker.receipt(wanted.cell, factors)}
        why = sense.doubt_of_receipt(line)
    except BadData as error:
        why = str(error)
    if why:
        raise BoardFailed(f"{board}: the receipt of {' '.join(cell.values())} is not recorded: {why}")
    return line


def _first_visits(campaign: Campaign, board: str) -> list[Visit]:
    """Return the first visit of each kernel."""
    first: dict[str, Visit] = {}
    for visit in campaign.design_of(board).visits():
        first.setdefault(visit.kernel, visit)
    return list(first.values())


def _wanted(factors: Factors, visit: Visit, tags: Mapping[str, tuple[str, ...]]) -> list[Cell]:
    """Return the cells of a kernel that are asked for, each once."""
    found = factors.on(visit.kernel)
    kernels = tags.get("kernel", ())
    if kernels and Kernel.of(visit.kernel).name not in kernels:
        return []
    return [
        cell
        for cell in found.cells()
        if cell.arm == MAIN and all(getattr(cell, field) in tags.get(field, (getattr(cell, field),)) for field in CELL)
    ]


def _key(visit: Visit, cell: Cell) -> tuple[str, ...]:
    return (visit.kernel, *(getattr(cell, field) for field in CELL))


def _have(campaign: Campaign, board: str) -> set[tuple[object, ...]]:
    """Return how each receipt of a board was made, its number, its kernel and its cell."""
    factors = campaign.design_of(board).factors
    return {
        (
            line["receipt"],
            line["number"],
            factors.kernel_called(record.facts["kernel"], record.facts.get("command_line", "")),
            *(line["cell"].get(field, "") for field in CELL),
        )
        for record in campaign.receipts()
        for line in [record.line]
        if record.facts["board"] == board
    }
