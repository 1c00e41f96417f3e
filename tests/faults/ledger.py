"""What a campaign holds, counted again and again while things go wrong. It reads the raw files itself: JSON and SHA-256."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRESS = re.compile(rb"^(\S+): (\d+)/(\d+) ", re.MULTILINE)
LEFT = {".part", ".lock", ".err"}  # what a file of a running command ends in


@dataclass(frozen=True)
class Line:
    """A line of a boot's file that was written to its end."""

    boot: str
    text: bytes

    @property
    def content(self) -> dict[str, Any]:
        """Return what it says; nothing if it is no JSON."""
        try:
            content = json.loads(self.text)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def board(self) -> str:
        """The board's name, as boots are named after it."""
        return re.sub(r"(\.\d+){1,2}$", "", self.boot)

    @property
    def holds(self) -> bool:
        """Whether its digest does."""
        content = self.content
        said = content.pop("sha256", "")
        return bool(said == hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest())


def lines(folder: Path) -> tuple[list[Line], list[Path]]:
    """Return the whole lines of a campaign, and the files whose last line is torn."""
    whole, torn = [], []
    for path in sorted(folder.glob("boots/*/visits.jsonl")):
        *texts, rest = path.read_bytes().split(b"\n")
        whole += [Line(path.parent.name, text) for text in texts]
        torn += [path] if rest else []
    return whole, torn


def unsigned(folder: Path) -> list[str]:
    """Return the names of a campaign's files that have no sum."""
    sums = folder / "SHA256SUMS"
    signed = {line.partition("  ")[2] for line in sums.read_text().splitlines()} if sums.exists() else set()
    found = [*folder.glob("design*.json"), *folder.glob("boots/*/*")]
    return sorted({path.relative_to(folder).as_posix() for path in found if path.suffix not in LEFT} - signed)


def planned(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the cell of each visit in a campaign's one design; none if there is none yet."""
    path = folder / "design.json"
    if not path.exists():
        return {}
    design = json.loads(path.read_text())
    return {
        f"b{boot}-{number:04}": design["cells"][place]
        for boot, places in enumerate(design["order"], 1)
        for number, place in enumerate(places, 1)
    }


def exact(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return of a line what must be the same in every run: on the rig all of it."""
    return content


def planned_only(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return of a line what must be the same on every board: which visit it is, and of what."""
    return {name: content.get(name) for name in ("visit", "block", "arm", "cell", "loops")}


@dataclass(frozen=True)
class Look:
    """What a look found: of all that is recorded, what is new since the last look and is not as it must be."""

    recorded: int
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    torn: tuple[Path, ...] = ()


@dataclass
class Ledger:
    """What was seen of a campaign so far.

    Parameters
    ----------
    folder : path
        The campaign.
    reference : mapping
        From a board and a visit to the line of an uninterrupted campaign; empty if there is none.
    same : callable
        What of a line must be as it is there.
    """

    folder: Path
    reference: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    same: Callable[[Mapping[str, Any]], Mapping[str, Any]] = exact
    _seen: Counter[Line] = field(default_factory=Counter)
    _doubled: int = 0
    _wrong: set[Line] = field(default_factory=set)

    def look(self, output: bytes = b"", there: tuple[list[Line], list[Path]] | None = None) -> Look:
        """Compare all that is recorded, or was `there` a moment ago, with what was before, and with what a command claimed."""
        whole, torn = there or lines(self.folder)
        now = Counter(whole)
        lost = sum((self._seen - now).values()) + self._unkept(output, whole)
        self._seen = now
        visits = Counter((line.board, line.content.get("visit")) for line in whole)
        doubled = sum(visits.values()) - len(visits)
        cells = planned(self.folder)
        wrong = {line for line in now if not self._right(line, cells)}
        found = Look(len(whole), lost, max(0, doubled - self._doubled), len(wrong - self._wrong), tuple(torn))
        self._doubled, self._wrong = doubled, wrong
        return found

    def forget(self, line: Line) -> None:
        """Strike out a line that was torn on purpose."""
        self._seen -= Counter([line])

    def _unkept(self, output: bytes, whole: list[Line]) -> int:
        """Return how many visits a command said were done beyond those that are there."""
        said: dict[str, int] = {}
        for board, done, _ in PROGRESS.findall(output):
            name = re.sub(r"[^\w.,@+=-]", "-", board.decode())
            said[name] = max(said.get(name, 0), int(done))
        there = Counter(line.board for line in whole)
        return sum(max(0, count - there[board]) for board, count in said.items())

    def _right(self, line: Line, cells: Mapping[str, Mapping[str, Any]]) -> bool:
        content = line.content
        name = content.get("visit", "")
        cell = {key: value for key, value in cells.get(name, {}).items() if key != "arm"}
        if not line.holds or cell != content.get("cell") or cells[name]["arm"] != content.get("arm"):
            return False
        return not self.reference or self.same(content) == self.same(self.reference.get((line.board, name), {}))

    def remains(self) -> list[str]:
        """Name what commands have left that is no part of a finished campaign."""
        return sorted(path.name for path in self.folder.rglob("*") if path.suffix in LEFT)

    def whole(self) -> bool:
        """Say whether every visit of the uninterrupted campaign is there, with its cell, and no other."""

        def key(content: Mapping[str, Any]) -> tuple[Any, str]:
            return content.get("visit"), json.dumps(content.get("cell"), sort_keys=True)

        return sorted(key(line.content) for line in lines(self.folder)[0]) == sorted(map(key, self.reference.values()))


def reference_of(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the lines of a finished campaign, by board and visit."""
    return {(line.board, line.content["visit"]): line.content for line in lines(folder)[0]}
