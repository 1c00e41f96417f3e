"""Make the receipts that a campaign lacks: one for each cell of each kernel, in a boot of its own after those that are measured."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study.campaign import Campaign, sense
from study.campaign.store import CELL, RECEIPTS
from study.collect import boards
from study.collect.boards import Board
from study.collect.pace import Pace
from study.collect.receipts import linux, rig
from study.collect.receipts.monitor import Monitor
from study.collect.session import booted, cut_torn_lines
from study.design import MAIN, Cell, Factors, Kernel, Visit
from study.errors import BadData, BadRequest, BoardFailed
from study.factors import KVM, RIG
from study.kernels import source
from study.terminal import progress

TRACERS = {KVM: linux.Tracer, RIG: rig.Tracer}
# Seconds that a boot and a receipt take, until a run has seen its own.
SECONDS = (9.0, 1.5)


def collect(folder: Path, board: str, cells: dict[str, tuple[str, ...]]) -> Campaign:
    """Trace the cells of a campaign that have no receipt on a board yet.

    Parameters
    ----------
    folder : path
        The campaign.
    board : str
        An emulated board.
    cells : mapping of str to tuple of str
        Which cells, by tags: ``strategy``, ``guest``, ``host``, ``exit``, ``kernel``; all if empty.

    Returns
    -------
    Campaign
        With them. Each was recorded as soon as it was there.

    Raises
    ------
    BadRequest
        If the board is not emulated, or the campaign has no such cell.
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
            raise BadData(f"{damaged[0]}: nothing is traced until this is mended, with: study repair {folder}")
        cut_torn_lines(campaign, board)
        asked = {visit: wanted for visit in _first_visits(campaign, board) if (wanted := _wanted(factors, visit, cells))}
        if not asked:
            raise BadRequest(f"{folder}: no cell of {board} is such; study plan shows those that there are")
        have = _have(campaign, board)
        lacking = {visit: [cell for cell in wanted if _key(factors, visit, cell) not in have] for visit, wanted in asked.items()}
        _trace_all(machine, campaign, {visit: todo for visit, todo in lacking.items() if todo}, sum(map(len, asked.values())))
    return Campaign(folder)


def boards_of(folder: Path) -> list[str]:
    """Return the boards of a campaign that can be traced.

    Raises
    ------
    BadRequest
        If it has none.
    """
    campaign = Campaign(folder)
    emulated = sorted({str(facts["board"]) for facts in map(campaign.facts, campaign.boots()) if facts["emulated"]})
    if not emulated or campaign.origin == "imported":
        raise BadRequest(f"{folder} has no emulated board, which alone sees every instruction; name one with --board")
    return emulated


def _trace_all(machine: Board, campaign: Campaign, lacking: dict[Visit, list[Cell]], planned: int) -> None:
    pace, left = Pace(SECONDS, boots=len(lacking)), sum(map(len, lacking.values()))
    if not left:
        print(f"{campaign.name}: all {planned} receipts of {machine.name} are there, nothing to trace")
        return
    try:
        with progress.bar(machine.name, planned, "receipts", done=planned - left, expected=pace.expected) as shown:
            for visit, cells in lacking.items():
                pace.booting()
                for seconds in _trace_boot(machine, campaign, visit, cells):
                    pace.visited(seconds)
                    shown.update()
    finally:
        with contextlib.suppress(OSError):  # a full disk has been named already
            campaign.close(machine.name)


def _trace_boot(machine: Board, campaign: Campaign, visit: Visit, cells: list[Cell]) -> Iterator[float]:
    """Trace cells in one boot, and yield how many seconds each took once it is recorded."""
    factors = campaign.design_of(machine.name).factors.on(visit.kernel)
    boot = campaign.open_boot(machine.name, visit.boot)
    with tempfile.TemporaryDirectory(prefix="study-") as scratch, contextlib.ExitStack() as held:
        monitors: list[Monitor] = []

        def watched(launch: boards.Launch) -> boards.Launch:
            monitors.append(held.enter_context(contextlib.closing(Monitor(machine.name, launch))))
            return monitors[0].launch

        with booted(machine, campaign, boot, visit, changed=watched) as link:
            tracer = TRACERS[factors.kind](machine, link, monitors[0], Path(scratch))
            for cell in cells:
                started = time.monotonic()
                boot.record(_line(machine.name, cell, tracer.receipt(cell, factors)), file=RECEIPTS)
                yield time.monotonic() - started


def _line(board: str, cell: Cell, made: dict[str, Any]) -> dict[str, Any]:
    """Return the line of a receipt, refused if it cannot be true."""
    line = {"receipt": "traced", "number": 1, "cell": {field: getattr(cell, field) for field in CELL}, **made}
    if why := sense.doubt_of_receipt(line):
        raise BoardFailed(f"{board}: the receipt of {' '.join(line['cell'].values())} makes no sense: {why}; it is not recorded")
    return line


def _first_visits(campaign: Campaign, board: str) -> list[Visit]:
    """Return the first visit of each kernel."""
    first: dict[str, Visit] = {}
    for visit in campaign.design_of(board).visits():
        first.setdefault(visit.kernel, visit)
    return list(first.values())


def _wanted(factors: Factors, visit: Visit, tags: dict[str, tuple[str, ...]]) -> list[Cell]:
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


def _key(factors: Factors, visit: Visit, cell: Cell) -> tuple[str, ...]:
    return (visit.kernel, *(getattr(cell, field) for field in CELL))


def _have(campaign: Campaign, board: str) -> set[tuple[str, ...]]:
    """Return the kernel and the cell of each receipt of a board that is traced."""
    factors = campaign.design_of(board).factors
    return {
        (factors.kernel_called(record.facts["kernel"]), *(record.line["cell"].get(field, "") for field in CELL))
        for record in campaign.receipts()
        if record.facts["board"] == board and record.line["receipt"] == "traced"
    }
