"""Real guests that can be asked for: those of the study, and the rows of a file of the user's, such as guests.toml.

    [mine]
    kernel = "arch/arm/boot/zImage"
    initrd = "initrd.cpio.gz"
    append = "console=ttyAMA0"
    bits = 32
    memory = 512
    marks = true

Only ``kernel`` must be said. It may be a flat image, such as those of kvm-unit-tests. A guest that does not mark its phases, as the
first process of the study's guests does, is one phase from its start to its end: ``whole``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study import guests, toml
from study.campaign.names import legible
from study.errors import BadData, BadRequest
from study.kernels import guests as built
from study.kernels.cache import cached, digest, digest_of

KERNEL, INITRD = "kernel", "initrd"
# Keys of a row: what a value must be, and in words.
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "kernel": (lambda value: isinstance(value, str), "the path of a file"),
    "initrd": (lambda value: isinstance(value, str), "the path of a file"),
    "append": (lambda value: isinstance(value, str) and value.isprintable(), "words for its command line"),
    "bits": (lambda value: value in (32, 64), "32 or 64"),
    "memory": (lambda value: type(value) is int and 16 <= value <= 65536, "megabytes, from 16 to 65536"),
    "marks": (lambda value: isinstance(value, bool), "true or false"),
}
# What a guest of the study has on its command line besides what it is to do.
WORDS = "console=ttyAMA0 panic=-1 loglevel=4"


@dataclass(frozen=True)
class Row:
    """A real guest, ready to be sent to a board.

    Parameters
    ----------
    name : str
        What it is called.
    folder : path
        Where its kernel and its initrd are, under these names.
    bits : int
        32 needs a CPU that has AArch32 at EL1.
    append : str
        Its command line.
    memory : int
        MB.
    marks : bool
        Whether it marks its phases.
    """

    name: str
    folder: Path
    bits: int = 64
    append: str = ""
    memory: int = 256
    marks: bool = True

    @property
    def initrd(self) -> str:
        """Its initrd, as the board has it; empty if it has none."""
        return f"{self.name}/{INITRD}" if (self.folder / INITRD).exists() else ""

    @property
    def facts(self) -> dict[str, str]:
        """What it is, for the record of a boot: the same name must be the same guest."""
        files = {f"{name}_sha256": digest_of(self.folder / name) for name in (KERNEL, INITRD) if (self.folder / name).exists()}
        return {**files, "append": self.append, "memory": f"{self.memory} MB", "bits": str(self.bits)}


def rows(names: Iterable[str], workloads: Iterable[str], longer: int, file: Path | None) -> dict[str, Row]:
    """Return the guests of these names, built if they are the study's own.

    Raises
    ------
    BadRequest
        If one is unknown, or the file says nothing that makes sense.
    """
    own = read(file) if file else {}
    known = [*guests.GUESTS, *own]
    for name in names:
        if name not in known:
            raise BadRequest(
                f"guests: {legible(name)!r} is unknown; choose from {', '.join(known)}, or describe it in guests.toml"
            )
    work = f"WORKLOADS={','.join(workloads)} LONGER={longer}"
    return {name: _with(own[name], work) if name in own else _of_the_study(name, work) for name in names}


def _of_the_study(name: str, work: str) -> Row:
    return Row(name, built.linux(name), guests.GUESTS[name].bits, f"{WORDS} {work}")


def _with(row: Row, work: str) -> Row:
    """Return a guest of the user's; one that marks its phases is told its workloads, too."""
    return Row(row.name, row.folder, row.bits, f"{row.append} {work}".strip() if row.marks else row.append, row.memory, row.marks)


def read(path: Path) -> dict[str, Row]:
    """Return the guests that a file describes.

    Raises
    ------
    BadRequest
        If it is no such file; the message names the file, the guest and the key.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}; it is to describe guests, see docs/guests.md") from None
    try:
        return {name: _row(name, table, path.absolute().parent) for name, table in toml.load(text).items()}
    except (BadData, BadRequest) as error:
        raise BadRequest(f"{path}: {error}") from None


def _row(name: str, table: Any, folder: Path) -> Row:
    if name in guests.GUESTS or not name.isprintable() or not name or set(name) & set("/, "):
        raise BadRequest(
            f"guest {legible(repr(name))}: name it otherwise, without blank, comma and slash, and as none of the study's"
        )
    if not isinstance(table, dict) or KERNEL not in table:
        raise BadRequest(f'guest {name}: it names no kernel: write [{name}] and below it kernel = "FILE"')
    for key, value in table.items():
        if key not in KEYS:
            raise BadRequest(f"guest {name}: key {legible(repr(key))} is unknown; choose from {', '.join(KEYS)}")
        accepts, says = KEYS[key]
        if not accepts(value):
            raise BadRequest(f"guest {name}: {key} is {legible(repr(value))}: it must be {says}")
    files = {key: folder / table[key] for key in (KERNEL, INITRD) if key in table}
    for key, file in files.items():
        if not _is_there(file):
            raise BadRequest(f"guest {name}: its {key} {legible(str(file), 1000)} is not there")
    others = {key: value for key, value in table.items() if key not in files}
    return Row(name, _kept(files), **{"marks": False, **others})


def _is_there(file: Path) -> bool:
    """Say whether a name is that of a file: one that no file can have is none."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def _kept(files: dict[str, Path]) -> Path:
    """Return a folder that has these files under their keys, whatever becomes of them."""

    def build(place: Path) -> None:
        for key, file in files.items():
            shutil.copy(file, place / key)

    return cached("guest", digest(*(part for key, file in files.items() for part in (key, file.read_bytes()))), build)
