"""What is recorded of a boot and of a visit, refused where it could not be read back or cannot be true."""

from __future__ import annotations

import json
from typing import Any

from study.campaign import schema, sense
from study.collect import provenance
from study.collect.boards import Board
from study.design import Factors, Visit
from study.errors import BadData, BoardFailed


def facts_of(board: Board, said: dict[str, Any]) -> dict[str, Any]:
    """Return what is recorded of a boot that says this of itself.

    Raises
    ------
    BoardFailed
        If that could not be read back.
    """
    facts = {**said, "board": board.name, "emulated": board.emulated, **provenance.of_the_host()}
    _check(board, "boot", facts)
    return facts


def line_of(board: Board, visit: Visit, factors: Factors, measured: dict[str, Any]) -> dict[str, Any]:
    """Return the line of a visit.

    Raises
    ------
    BoardFailed
        If it could not be read back, if its numbers cannot be true, or if breakpoints did not do what they must.
    """
    cell = {name: getattr(visit.cell, name) for name in ("strategy", "guest", "host", "exit")}
    ours = {
        "visit": visit.name,
        "block": visit.block,
        "arm": visit.cell.arm,
        "ended": "well",
        "cell": cell,
        "loops": factors.loops,
    }
    line = {**measured, **ours}
    _check(board, "visit", line)
    if line["checks"].get("well") is not True:
        raise BoardFailed(
            f"visit {visit.name}: under {visit.cell.strategy} breakpoints did not do what they must (the guest reported "
            f"{line['checks'].get('oracle')}, the host's fired {line['checks'].get('host', 'as they should')}): the "
            "visit is not recorded, and figures of this board would mean nothing"
        )
    if why := sense.nonsense(line, factors):
        raise BoardFailed(f"visit {visit.name} makes no sense: {why}; it is not recorded")
    return line


def life_of(board: Board, visit: Visit, factors: Factors, lived: dict[str, Any]) -> dict[str, Any]:
    """Return the line of a real guest's life.

    Raises
    ------
    BadData
        If its numbers cannot be true.
    BoardFailed
        If it could not be read back.
    """
    cell = {name: getattr(visit.cell, name) for name in ("strategy", "guest", "host", "exit")}
    line = {**lived, "visit": visit.name, "block": visit.block, "arm": visit.cell.arm, "cell": cell}
    _check(board, "life", {**line, "sha256": ""})
    if why := sense.doubt_of_life(line, factors):
        raise BadData(f"it makes no sense: {why}")
    return line


def _check(board: Board, kind: str, data: dict[str, Any]) -> None:
    """Refuse what a board says if it could not be read back."""
    try:
        schema.check(kind, data)
        json.dumps(data, allow_nan=False)
    except (BadData, ValueError) as error:
        raise BoardFailed(f"{board.name}: what it says is not recorded: {error}") from None
