"""The boards that can be measured, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from study.collect.boards.emulated import CPUS, EmulatedBoard
from study.collect.boards.link import Board, Launch, Link
from study.collect.boards.local import LocalBoard
from study.collect.boards.rig import RIGS, EmulatedRig, SerialRig
from study.collect.boards.ssh import SshBoard
from study.errors import BadRequest

__all__ = ["BOARDS", "PLACES", "Board", "Launch", "Link", "find"]

BOARDS: dict[str, Callable[[], Board]] = {
    "local": LocalBoard,
    **{name: partial(EmulatedBoard, name) for name in CPUS},
    **{name: partial(EmulatedRig, name) for name in RIGS},
}
# Boards whose names say where they are.
PLACES: dict[str, tuple[str, Callable[[str], Board]]] = {"ssh:": ("HOST", SshBoard), "serial:": ("PORT", SerialRig)}


def find(name: str) -> Board:
    """Return the board of that name.

    Raises
    ------
    BadRequest
        If there is none.
    """
    for kind, (_, board) in PLACES.items():
        if name.startswith(kind) and name != kind:
            return board(name.removeprefix(kind))
    if name not in BOARDS:
        raise BadRequest(f"board {name!r} is unknown; choose from {', '.join(shown())}")
    return BOARDS[name]()


def shown() -> list[str]:
    """Return the names that a user can choose from."""
    return [*BOARDS, *(f"{kind}{place}" for kind, (place, _) in PLACES.items())]
