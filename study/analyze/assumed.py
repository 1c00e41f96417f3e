"""What nobody published, and a prediction of cycles needs all the same, each with its reason: assumed.toml beside this. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from study import toml
from study.errors import BadData

FILE = Path(__file__).with_name("assumed.toml")


@dataclass(frozen=True)
class Rate:
    """From what to what a rate is taken to be.

    Parameters
    ----------
    low, high : float
        Instructions per cycle, or GHz.
    reason : str
        Why.
    core : str
        Of which core; empty for all of them.

    Raises
    ------
    BadData
        If it is none.
    """

    low: float
    high: float
    reason: str
    core: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < math.inf:
            raise BadData(f"{FILE.name}: {self.core or 'ipc'}: {self.low} to {self.high} is no range")
        _said(self, "reason")


@dataclass(frozen=True)
class Core:
    """Of which boards the receipts are of a path that a core takes.

    Parameters
    ----------
    core : str
        As prices.toml has it.
    modes : list of str
        How KVM runs on such a board, or how its rig does.
    reason : str
        Why.
    """

    core: str
    modes: list[str]
    reason: str

    def __post_init__(self) -> None:
        _said(self, "core", "reason")
        if not self.modes or not all(isinstance(mode, str) and mode for mode in self.modes):
            raise BadData(f"{FILE.name}: {self.core}: modes are {self.modes!r}, and must be names")


@dataclass(frozen=True)
class Like:
    """Whether a kernel can have receipts that is like the one of a published hypercall.

    Parameters
    ----------
    core, kernel : str
        Of the hypercall, as prices.toml has them.
    linux : str
        The same kernel in short.
    series, mode : str
        The series of the kernel that is like it, and how its KVM runs; both empty if there is none.
    reason : str
        Why, and what is different all the same.
    """

    core: str
    kernel: str
    linux: str
    series: str
    mode: str
    reason: str

    def __post_init__(self) -> None:
        _said(self, "core", "kernel", "linux", "reason")
        if bool(self.series) != bool(self.mode):
            raise BadData(f"{FILE.name}: {self.core}: it has a series or a mode, and needs both or none")


@dataclass(frozen=True)
class Assumed:
    """All that is assumed.

    Parameters
    ----------
    ipc : Rate
        Instructions per cycle of what has no price of its own.
    clocks : mapping of str to Rate
        GHz, by core.
    modes : mapping of str to list of str
        By core, as Core has them.
    likes : mapping of tuple to Like
        By core and kernel of a published hypercall.
    """

    ipc: Rate
    clocks: Mapping[str, Rate]
    modes: Mapping[str, Sequence[str]]
    likes: Mapping[tuple[str, str], Like]


Row = TypeVar("Row", Rate, Core, Like)
KINDS = {"low": (int, float), "high": (int, float), "modes": (list,)}  # of a value; all others are text


def assumed(text: str | None = None) -> Assumed:
    """Return all that is assumed.

    Parameters
    ----------
    text : str, optional
        The text of such a file; else of assumed.toml.

    Raises
    ------
    BadData
        If it is none: the line says what is wrong with it.
    """
    try:
        found = toml.load(FILE.read_bytes() if text is None else text)
    except BadData as error:
        raise BadData(f"{FILE.name}: {error}") from None
    if unknown := sorted(found.keys() ^ {"ipc", "clock", "core", "like"}):
        raise BadData(f"{FILE.name}: {unknown[0]!r}: it has ipc, clock, core and like, each of them and nothing else")
    return Assumed(
        _row(Rate, found["ipc"]),
        {row.core: row for row in _rows(Rate, found["clock"])},
        {row.core: row.modes for row in _rows(Core, found["core"])},
        {(row.core, row.kernel): row for row in _rows(Like, found["like"])},
    )


def _rows(kind: type[Row], tables: Any) -> list[Row]:
    if not isinstance(tables, list):
        raise BadData(f"{FILE.name}: {kind.__name__.lower()}s are {tables!r}, and must be tables in double brackets")
    return [_row(kind, table) for table in tables]


def _row(kind: type[Row], table: Any) -> Row:
    """Return what a table of the file says."""
    names = {field.name for field in fields(kind)}
    if not isinstance(table, dict):
        raise BadData(f"{FILE.name}: {table!r} is no table")
    for name, value in table.items():
        if name not in names:
            raise BadData(f"{FILE.name}: {name!r} is no part of it; it has {', '.join(sorted(names))}")
        if not isinstance(value, KINDS.get(name, (str,))) or isinstance(value, bool):
            raise BadData(f"{FILE.name}: {name} is {value!r}")
    try:
        return kind(**table)
    except TypeError:
        lacking = [field.name for field in fields(kind) if field.name not in table and field.default is MISSING]
        raise BadData(f"{FILE.name}: {table.get('core', 'ipc')}: {', '.join(lacking)} lacking") from None


def _said(row: object, *names: str) -> None:
    for name in names:
        if not getattr(row, name).strip():
            raise BadData(f"{FILE.name}: {getattr(row, 'core', '') or 'ipc'}: {name} is empty")
