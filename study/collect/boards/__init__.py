"""The boards that can be measured, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from study.collect.boards.emulated import CPUS, EmulatedBoard
from study.collect.boards.link import Board, Launch, Link
from study.collect.boards.local import LocalBoard
from study.collect.boards.rig import RIGS, EmulatedRig, SerialRig
from study.errors import BadRequest

__all__ = ["BOARDS", "SERIAL", "Board", "Launch", "Link", "find"]

BOARDS: dict[str, Callable[[], Board]] = {
    "local": LocalBoard,
    **{name: partial(EmulatedBoard, name) for name in CPUS},
    **{name: partial(EmulatedRig, name) for name in RIGS},
}
SERIAL = "serial:"


def find(name: str) -> Board:
    """Return the board of that name.

    Raises
    ------
    BadRequest
        If there is none.
    """
    if name.startswith(SERIAL) and name != SERIAL:
        return SerialRig(name.removeprefix(SERIAL))
    if name not in BOARDS:
        raise BadRequest(f"board {name!r} is unknown; choose from {', '.join(BOARDS)}, {SERIAL}PORT")
    return BOARDS[name]()
