"""The shelf: boards that are measured together, described in a file such as boards.toml.

    [boards."ssh:lab"]
    kernel = "6.1"
    cpu = 3
    module = "build/dbgswitch.ko"
    reboot = "lab-power cycle"

    [boards."qemu-neoverse-n1"]

A board is called what ``study collect --board`` calls it. All keys may be left out; a key that a board has no use for is
refused, since whoever wrote it expects that something comes of it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study import toml
from study.campaign.names import legible, slug
from study.collect import boards
from study.errors import BadData, BadRequest
from study.factors import KVM, kind_of

TABLE = "boards"


@dataclass(frozen=True)
class BoardEntry:
    """What a shelf says of one board.

    Parameters
    ----------
    name : str
        As ``--board`` takes it.
    kernel : str
        How the release of the kernel begins that an emulated board boots, or that a real one must run; empty if any will do. It
        is part of the design, so all boards that have it have the same.
    cpu : int, optional
        The CPU that visits are pinned to.
    python : str
        The board's interpreter.
    module : path, optional
        The module for the board's kernel, if it has one.
    tune : bool
        Whether the board is tuned for each boot, and put back.
    reboot : str
        A command, run where the board is measured from, that restarts the board when the design needs another boot.
    """

    name: str
    kernel: str = ""
    cpu: int | None = None
    python: str = ""
    module: Path | None = None
    tune: bool = False
    reboot: str = ""

    @property
    def options(self) -> list[str]:
        """The options of ``study collect`` that choose the board and say how it is treated."""
        words = ["--board", self.name, *(["--tune"] if self.tune else [])]
        return [*words, "--reboot", self.reboot] if self.reboot else words

    @property
    def pinning(self) -> list[str]:
        """The command that pins what follows it to the board's CPU, and what that starts; empty if no CPU is named."""
        return [] if self.cpu is None else ["taskset", "-c", str(self.cpu)]

    @property
    def before(self) -> list[str]:
        """What the command that collects is started by, where it runs on the board itself."""
        return self.pinning if self.name == "local" else []

    @property
    def environment(self) -> dict[str, str]:
        """What ``study collect`` is told of a board elsewhere through its environment: see study/collect/boards/ssh.py."""
        python = [*self.pinning, self.python or "python3"] if self.name != "local" and (self.pinning or self.python) else []
        told = {"STUDY_SSH_PYTHON": " ".join(python), "STUDY_MODULE": str(self.module) if self.module else ""}
        return {name: value for name, value in told.items() if value}


@dataclass(frozen=True)
class Key:
    """A key of a board's table: a value that is accepted, in words, and a function that says whether one is."""

    says: str
    accepts: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_release(value: Any) -> bool:
    return isinstance(value, str) and (not value or re.fullmatch(r"\d+\.\d+[\w.+~-]*", value, re.ASCII) is not None)


def _is_cpu(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 4096


def _is_command(value: Any) -> bool:
    try:
        return _is_text(value) and bool(shlex.split(value))
    except ValueError:  # a quote that is not closed
        return False


KEYS = {
    "kernel": Key('how a release begins, in quotes, such as "6.12"', _is_release),
    "cpu": Key("the number of a CPU, such as 3", _is_cpu),
    "python": Key('a command in quotes, such as "python3.11" or "sudo -n python3"', _is_command),
    "module": Key('a path in quotes, such as "build/dbgswitch.ko"', _is_text),
    "tune": Key("true or false", lambda value: isinstance(value, bool)),
    "reboot": Key('a command in quotes, such as "ssh lab reboot"', _is_command),
}

# How a board's name begins, and which keys the board has a use for.
USES: dict[str, tuple[str, ...]] = {
    "local": ("kernel", "cpu", "tune"),
    "ssh:": tuple(KEYS),
    "qemu-": ("kernel", "tune"),
    "rig-": (),
    "serial:": (),
}


def read(path: Path) -> tuple[BoardEntry, ...]:
    """Return the boards that a file describes, in its order.

    Raises
    ------
    BadRequest
        If it is not such a file; the message names the file, the board and the key.
    """
    try:
        return parse(toml.load(path.read_bytes()), path.absolute().parent)
    except (BadData, BadRequest) as error:
        raise BadRequest(f"{path}: {error}") from None


def parse(data: Mapping[str, Any], folder: Path = Path()) -> tuple[BoardEntry, ...]:
    """Return the boards that the tables of a file describe; paths in it start from `folder`.

    Raises
    ------
    BadRequest
        If a table, a board, a key or a value is none that makes sense, or two boards are one.
    """
    for name in data:
        if name != TABLE:
            raise BadRequest(f'{_shown(name)} is unknown: describe each board in a table such as [{TABLE}."qemu-neoverse-n1"]')
    tables = data.get(TABLE)
    if not isinstance(tables, dict) or not tables:
        raise BadRequest(f'it describes no board: begin with [{TABLE}."qemu-neoverse-n1"]')
    entries = tuple(_entry(name, table, folder) for name, table in tables.items())
    _check_different(entry.name for entry in entries)
    _check_one_kernel([entry for entry in entries if kind_of(entry.name) == KVM])
    return entries


def _entry(name: str, table: Any, folder: Path) -> BoardEntry:
    if not name.isprintable():
        raise BadRequest(f"board {_shown(name)}: a name has printable characters only")
    try:
        boards.find(name)
    except BadRequest as error:
        raise BadRequest(legible(str(error), 300)) from None
    if not isinstance(table, dict):
        raise BadRequest(f'board {_shown(name)}: it is no table: write [{TABLE}."{legible(name)}"], and its keys below')
    used = next((keys for start, keys in USES.items() if name.startswith(start)), ())
    for key, value in table.items():
        if key not in KEYS:
            raise BadRequest(f"board {_shown(name)}: key {_shown(key)} is unknown; choose from {', '.join(KEYS)}")
        if key not in used:
            choice = f"what it has a use for: {', '.join(used)}" if used else "it has a use for none"
            raise BadRequest(f"board {_shown(name)}: key {key} is of no use to this kind of board; remove it ({choice})")
        if not KEYS[key].accepts(value):
            raise BadRequest(f"board {_shown(name)}: {key} is {_shown(value)}: it must be {KEYS[key].says}")
    module = {"module": folder / table["module"]} if "module" in table else {}
    return BoardEntry(name, **{**table, **module})


def _check_different(names: Iterable[str]) -> None:
    """Refuse two names of one board, and two whose boots would have one name: a port is the same at any speed."""
    known: dict[str, str] = {}
    for name in names:
        first = known.setdefault(slug(name.partition(",")[0]), name)
        if first != name:
            raise BadRequest(f"boards {_shown(first)} and {_shown(name)} are one board, or cannot be told apart: remove one")


def _check_one_kernel(entries: Sequence[BoardEntry]) -> None:
    """Refuse kernels that differ: a campaign has one design for all boards of a kind, and its kernels are part of it."""
    for entry in entries:
        if entry.kernel != entries[0].kernel:
            raise BadRequest(
                f"board {_shown(entry.name)}: kernel is {_shown(entry.kernel)}, and {_shown(entries[0].kernel)} on "
                f"{_shown(entries[0].name)}: say the same for all Linux boards, or none and let --kernels alternate"
            )


def _shown(value: Any) -> str:
    return legible(repr(value))
