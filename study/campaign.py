"""A campaign on disk: freeze a design, record visits, resume, verify.

    <campaign>/design.json               the frozen design; design-rig.json or design-kvm.json if a board of the
                                         other kind joined later
    <campaign>/boots/<boot>/boot.json    what the board, the kernel and the tools were
    <campaign>/boots/<boot>/visits.jsonl one line for each visit, with its own digest
    <campaign>/boots/<boot>/console.log  what the board said
    <campaign>/boots/<boot>/enough.json  the last boot that the design's rule for stopping asked for, if it has one
    <campaign>/SHA256SUMS                of all that is raw; ``sha256sum -c`` reads it

A campaign of imported results has the same files, but its design is a record: it grows with every import.

A visit is one line, appended and synced: it is there whole or not at all. Resuming is making the visits that have no
line. Everything else is derived from these files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.collect.onboard.factors import IMPORTED, KVM, kind_of
from study.design import Design, Factors, Visit, differences, draw
from study.errors import BadData, BadRequest

DESIGN, BOOT, VISITS, CONSOLE, ENOUGH, SUMS = (
    "design.json", "boot.json", "visits.jsonl", "console.log", "enough.json", "SHA256SUMS"
)  # fmt: skip
MORE_DESIGNS = "design-*.json"
DERIVED = "values.parquet"
LONGEST = 100  # characters of a name that is shown
PASSING = (".part", ".err")  # files that a running command has open


@dataclass(frozen=True)
class Record:
    """One recorded visit: the boot's folder name, the boot's facts, and the line as it was written."""

    boot: str
    facts: dict[str, Any]
    line: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Something in a campaign that is not as it was written."""

    file: Path
    says: str

    def __str__(self) -> str:
        return f"{self.file}: {self.says}"


class Campaign:
    """A campaign's folder.

    Parameters
    ----------
    folder : path
        An existing campaign.

    Raises
    ------
    BadData
        If there is no readable design.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / DESIGN).exists():
            raise BadRequest(f"{folder} is no campaign: it has no {DESIGN}; collect one with: study collect --campaign {folder}")
        self.designs: dict[str, Design] = {}
        for path in (folder / DESIGN, *sorted(folder.glob(MORE_DESIGNS))):
            design = _read_design(path)
            kind = design.factors.kind
            if kind in self.designs or path.name not in (DESIGN, _design_name(kind)):
                raise BadData(f"{path}: a campaign has one design for each kind of board; remove what does not belong here")
            self.designs[kind] = design
        if IMPORTED in self.designs and len(self.designs) > 1:
            raise BadData(f"{folder}: results are measured or imported; remove the design that does not belong here")

    def design_of(self, board: str) -> Design:
        """Return the design of the boards of one board's kind; of imported results, whatever their boards are called.

        Raises
        ------
        BadRequest
            If the campaign has none.
        """
        kind = IMPORTED if IMPORTED in self.designs else kind_of(board)
        if kind not in self.designs:
            raise BadRequest(f"{self.folder} has no design for boards like {board}; collect with that board to make one")
        return self.designs[kind]

    def baselines(self) -> dict[str, str]:
        """Return for each board that was measured the strategy that others are compared to."""
        return {board: legible(self.design_of(board).factors.baseline) for board in self.boards()}

    def boards(self) -> list[str]:
        """Return the names of the boards that were measured."""
        return sorted({str(self.facts(boot)["board"]) for boot in self.boots()})

    @property
    def origin(self) -> str:
        """Where its results are from: measured or imported."""
        return "imported" if IMPORTED in self.designs else "measured"

    @property
    def name(self) -> str:
        """The campaign's name: that of its folder."""
        return self.folder.absolute().name

    @classmethod
    def freeze(cls, folder: Path, factors: Factors) -> Campaign:
        """Return the campaign in `folder`, made with a design drawn from `factors` if it is not there yet.

        A campaign has one design for each kind of board; the first is in design.json.

        Raises
        ------
        BadRequest
            If it is there with another design for that kind of board.
        """
        foreign = [path for path in folder.iterdir() if path.suffix != ".part"] if folder.exists() else []
        if foreign and not (folder / DESIGN).exists():
            raise BadRequest(f"{folder} is neither empty nor a campaign; name another folder")
        if not (folder / DESIGN).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another command was faster
                write_whole(folder / DESIGN, _design_text(draw(factors)), new=True)
        campaign = cls(folder)
        if (IMPORTED in campaign.designs) != (factors.kind == IMPORTED):
            raise BadRequest(f"{folder} holds {campaign.origin} results: what is measured and what is imported are two campaigns")
        if factors.kind not in campaign.designs:
            with contextlib.suppress(FileExistsError):
                write_whole(folder / _design_name(factors.kind), _design_text(draw(factors)), new=True)
            campaign = cls(folder)
        if different := differences(campaign.designs[factors.kind].factors, factors):
            raise BadRequest(
                f"{folder} was designed otherwise: it has {'; '.join(different)}; ask for what it has, or name another campaign"
            )
        return campaign

    def boots(self) -> list[Path]:
        """Return the folders of all boots, by name."""
        return sorted(path.parent for path in self.folder.glob(f"boots/*/{BOOT}"))

    def records(self) -> Iterator[Record]:
        """Yield every recorded visit, boot by boot in the order of measurement.

        Raises
        ------
        BadData
            At the first line whose digest is wrong.
        """
        for boot in self.boots():
            facts = self.facts(boot)
            for line in read_lines(boot / VISITS):
                yield Record(boot.name, facts, line)

    def facts(self, boot: Path) -> dict[str, Any]:
        """Return what is known of a boot."""
        try:
            facts: dict[str, Any] = json.loads((boot / BOOT).read_text())
        except (ValueError, RecursionError) as error:
            raise BadData(f"{boot / BOOT}: it is not JSON: {error}") from None
        kinds = {"board": str, "kernel": str, "mode": str, "emulated": bool}
        for name, kind in kinds.items():
            if not isinstance(facts, dict) or not isinstance(facts.get(name), kind):
                raise BadData(f"{boot / BOOT}: it does not say which {name}")
        return {**facts, **{name: legible(facts[name]) for name in ("board", "kernel", "mode")}}

    def missing(self, board: str) -> list[Visit]:
        """Return the visits of one board that have no line yet, in order."""
        ours = [boot for boot in self.boots() if self.facts(boot)["board"] == board]
        done = {line["visit"] for boot in ours for line in read_lines(boot / VISITS)}
        return [visit for visit in self.asked(board) if visit.name not in done]

    def asked(self, board: str) -> list[Visit]:
        """Return the visits of one board that the design asks for, in order: all, or to the boot at which its rule stopped it."""
        design = self.design_of(board)
        stops = [path for path in self.folder.glob(f"boots/*/{ENOUGH}") if _is_of(board, path.parent.name)]
        last = min(map(_stopped_at, stops), default=design.factors.starts)
        return [visit for visit in design.visits() if visit.boot <= last]

    def describe(self) -> str:
        """Return what is there in a few lines for people: boot by boot, and the digest of it all."""
        lines = []
        for boot in self.boots():
            facts = self.facts(boot)
            count = sum(1 for _ in read_lines(boot / VISITS))
            what = f"{system(facts['board'], facts['kernel'])}, {facts['mode']}" + (", emulated" if facts["emulated"] else "")
            when = f"imported {facts['imported']}" if "imported" in facts else f"started {facts.get('started')}"
            lines.append(f"{boot.name}: {count} visits of {facts['board']} ({what}), {when}")
        record = self.designs.get(IMPORTED)
        whole = [f"baseline: {record.factors.baseline}" if record else "all visits of each board are there"]
        return "\n".join([*lines, *(self.incomplete() or whole), f"digest: {self.digest()}"])

    def open_boot(self, board: str, number: int) -> OpenBoot:
        """Return a new boot to record in. A boot that continues an interrupted one is another boot of the board."""
        base = f"{slug(board)}.{number}"
        taken = {path.name for path in (self.folder / "boots").glob(f"{base}*")}
        name = next(name for name in (base, *(f"{base}.{n}" for n in range(2, 10_000))) if name not in taken)
        return OpenBoot(self.folder / "boots" / name)

    def enough(self, board: str, number: int, width: float) -> None:
        """Record that after this boot of the design the widest interval of a board was narrow enough."""
        write_whole(
            self.folder / "boots" / f"{slug(board)}.{number}" / ENOUGH, json.dumps({"boot": number, "widest": width}) + "\n"
        )

    def raw_files(self) -> list[Path]:
        """Return all files that are not derived, by name."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return sorted(path for path in files if path.name not in (SUMS, DERIVED) and path.suffix not in PASSING)

    def digest(self) -> str:
        """Return the digest that names this state of the campaign: of the digests of all that is raw."""
        text = "".join(f"{_digest(path)}  {self._name(path)}\n" for path in self.raw_files())
        return hashlib.sha256(text.encode()).hexdigest()

    def close(self, board: str) -> None:
        """Write the sums of the design and of one board's boots. A sum that is there already stays as it is."""
        ours = [path for path in self.raw_files() if _is_design(path) or _is_of(board, path.parent.name)]
        with open(self.folder / DESIGN) as lock:  # another board's command may close at the same time
            fcntl.flock(lock, fcntl.LOCK_EX)
            sums = self._sums()
            added = {self._name(path): _digest(path) for path in ours if self._name(path) not in sums}
            if added:
                self._write_sums(sums | added)

    def damaged(self) -> list[Problem]:
        """Compare every file that has a sum with it."""
        present = {self._name(path): path for path in self.raw_files()}
        problems = []
        for name, value in sorted(self._sums().items()):
            if name not in present:
                problems.append(Problem(self.folder / name, "it is missing"))
            elif _digest(present[name]) != value:
                problems.append(Problem(present[name], f"its bytes do not match {SUMS}"))
        return problems

    def verify(self) -> list[Problem]:
        """Compare every file with its sum and every visit with its digest; an empty list means that all is whole."""
        sums = self._sums()
        why = f"it is not in {SUMS}: foreign, or its boot was interrupted (collect again to close it)"
        unknown = [Problem(path, why) for path in self.raw_files() if self._name(path) not in sums]
        problems = self.damaged() + unknown
        for boot in self.boots():
            try:
                self.facts(boot)
                list(read_lines(boot / VISITS))
            except BadData as error:
                problems.append(Problem(boot / VISITS, str(error).removeprefix(f"{boot / VISITS}: ")))
        return problems

    def unclosed(self, board: str) -> list[Path]:
        """Return the files of a board's visits that have no sum yet: their boot was interrupted."""
        sums = self._sums()
        files = [path for path in self.raw_files() if path.name == VISITS and _is_of(board, path.parent.name)]
        return [path for path in files if self._name(path) not in sums]

    def interrupted(self) -> list[Path]:
        """Return the folders of boots of which no file has a sum: whoever recorded them was interrupted."""
        closed = {Path(name).parent.name for name in self._sums()}
        return sorted(path for path in self.folder.glob("boots/*") if path.is_dir() and path.name not in closed)

    def redesign(self, factors: Factors) -> None:
        """Replace the design of a campaign of imported results, and its sum with it: it is a record, and no plan."""
        write_whole(self.folder / DESIGN, _design_text(draw(factors)))
        sums = self._sums()
        if DESIGN in sums:
            self._write_sums({**sums, DESIGN: _digest(self.folder / DESIGN)})
        self.designs = {IMPORTED: draw(factors)}

    def incomplete(self) -> list[str]:
        """Say for each board whose visits are not all there how many are."""
        sizes = {board: (len(self.missing(board)), len(self.asked(board))) for board in self.boards()}
        return [f"{planned - left} of {planned} visits of {board} are there" for board, (left, planned) in sizes.items() if left]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _write_sums(self, sums: dict[str, str]) -> None:
        write_whole(self.folder / SUMS, "".join(f"{value}  {name}\n" for name, value in sorted(sums.items())))

    def _sums(self) -> dict[str, str]:
        path = self.folder / SUMS
        if not path.exists():
            return {}
        found = re.findall(r"^([0-9a-f]{64})  (.+)$", path.read_text(errors="replace"), re.MULTILINE)
        return {name: value for value, name in found}


class OpenBoot:
    """A boot that is being recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self) -> None:
        """Make its folder."""
        self.folder.mkdir(parents=True)

    @property
    def console(self) -> Path:
        """Where the board's console log is kept."""
        return self.folder / CONSOLE

    def describe(self, facts: dict[str, Any]) -> None:
        """Record what the boot is, before its first visit."""
        write_whole(self.folder / BOOT, json.dumps(facts, indent=1, sort_keys=True) + "\n")

    def record(self, *lines: dict[str, Any]) -> None:
        """Append visits and sync them to the disk."""
        text = "".join(json.dumps({**line, "sha256": line_digest(line)}, sort_keys=True) + "\n" for line in lines)
        with open(self.folder / VISITS, "a") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def system(board: str, kernel: str) -> str:
    """Return what ran on a board: Linux of some release, or the rig's own image."""
    return f"Linux {kernel}" if kind_of(board) == KVM else kernel


def _design_name(kind: str) -> str:
    return MORE_DESIGNS.replace("*", kind)


def _is_design(path: Path) -> bool:
    return path.name == DESIGN or path.match(MORE_DESIGNS)


def _read_design(path: Path) -> Design:
    try:
        return Design.from_json(json.loads(path.read_text()))
    except (ValueError, RecursionError) as error:
        raise BadData(f"{path}: it is not JSON: {error}") from None
    except BadData as error:
        raise BadData(f"{path}: {error}") from None


def _stopped_at(path: Path) -> int:
    """Return the boot of the design at which its rule for stopping was met."""
    try:
        return int(json.loads(path.read_text())["boot"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadData(f"{path}: it does not say at which boot the rule for stopping was met") from None


def legible(text: str, most: int = LONGEST) -> str:
    """Return a name as it can be shown anywhere: without control characters and such as turn a line round, and not too long.

    What a board or a pyperf suite calls itself is not ours. A name that had to be changed ends in a digest, so that two of
    them stay two.
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    if shown == text and len(text) <= most:
        return text
    return f"{shown[: most - 10]}..{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def slug(name: str) -> str:
    """Return a name as part of a path: what no file's name should have is a dash."""
    return re.sub(r"[^\w.,@+=-]", "-", name, flags=re.ASCII)


def _is_of(board: str, boot: str) -> bool:
    """Say whether a boot's folder is one of a board."""
    return re.fullmatch(re.escape(slug(board)) + r"(\.\d+){1,2}", boot) is not None


def line_digest(line: dict[str, Any]) -> str:
    """Return the digest of a visit's line: of its canonical JSON, without the digest itself."""
    content = {key: value for key, value in line.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the visits in a file of lines.

    Raises
    ------
    BadData
        At a line that is not JSON or does not match its digest.
    """
    if not path.exists():
        return
    for number, text in enumerate(path.read_bytes().splitlines(), 1):
        try:
            line = json.loads(text)
            whole = line["sha256"] == line_digest(line)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            whole = False
        if not whole:
            raise BadData(f"{path}: line {number} does not match its digest; see: study verify {path.parent.parent.parent}")
        yield line


def cut_torn_line(path: Path) -> bool:
    """Cut off a last line that was not written to its end, as a crash leaves it. Return whether there was one."""
    if not path.exists():
        return False
    data = path.read_bytes()
    if data.endswith(b"\n") or not data:
        return False
    with open(path, "r+b") as file:
        file.truncate(data.rfind(b"\n") + 1)
        os.fsync(file.fileno())
    return True


def write_whole(path: Path, text: str, *, new: bool = False) -> None:
    """Write a file aside, sync it and put it in place, so that it is there whole or not at all.

    Raises
    ------
    FileExistsError
        If it must be new, and is not.
    """
    file, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
    aside = Path(name)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(file)
        aside.chmod(0o644)
        if new:
            os.link(aside, path)
        else:
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _design_text(design: Design) -> str:
    """Return design.json: one line for each factor, cell and boot, so that a diff of two designs can be read."""
    data = design.to_json()

    def rows(items: list[Any]) -> str:
        return "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in items) + "\n ]"

    factors = json.dumps(data["factors"], indent=1).replace("\n", "\n ")
    return (
        f'{{\n "version": {json.dumps(data["version"])},\n "factors": {factors},\n "cells": {rows(data["cells"])},\n'
        f' "order": {rows(data["order"])}\n}}\n'
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
