"""A campaign on disk: freeze a design, record visits, resume, verify.

    <campaign>/design.json               the frozen design; design-rig.json or design-kvm.json if a board of the
                                         other kind joined later
    <campaign>/series.json               the commits of a patch series, where it measures one
    <campaign>/prices.toml               what accesses and traps cost on a board, where study prices measured that for it
    <campaign>/boots/<boot>/boot.json    what the board, the kernel and the tools were
    <campaign>/boots/<boot>/visits.jsonl one line for each visit, with its own digest
    <campaign>/boots/<boot>/receipts.jsonl the same for receipts, where there are some
    <campaign>/boots/<boot>/census.jsonl the same for lives of real guests, of which design-guests.json, or design.json, is the design
    <campaign>/boots/<boot>/console.log  what the board said
    <campaign>/boots/<boot>/enough.json  the last boot that the design's rule for stopping asked for, if it has one
    <campaign>/SHA256SUMS                of all that is raw; ``sha256sum -c`` reads it
    <campaign>/aside/<n>/                what study/campaign/repair.py took out, and why.txt; never read as data
    <campaign>/<board>.lock              while a command records visits of that board

A campaign of imported results has the same files, but its design is a record: it grows with every import.

A visit is one line, appended whole and synced: no kill takes it away, and a power cut at most the last second of visits. Resuming
is making the visits that have no line. Everything else is derived from these files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from study.campaign import columns, files, schema, sense
from study.campaign.files import write_whole
from study.campaign.lines import line_digest, parse_line
from study.campaign.names import by_number, legible, slug, system
from study.campaign.sums import SUMS, before_crlf, digest_of, read_sums, write_sums
from study.design import Cell, Design, Factors, Visit, differences, draw
from study.errors import BadData, BadRequest
from study.factors import GUESTS, IMPORTED, MAY_LACK, kind_of
from study.terminal import progress

DESIGN, BOOT, VISITS, CONSOLE, ENOUGH = "design.json", "boot.json", "visits.jsonl", "console.log", "enough.json"
RECEIPTS = "receipts.jsonl"
CENSUS = "census.jsonl"
LIVES = "lives of real guests"  # what a line of it is called
LINES = (VISITS, RECEIPTS, CENSUS)  # files that are appended to, line by line
MORE_DESIGNS, SERIES, PRICES, SEQUENCES = "design-*.json", "series.json", "prices.toml", "sequences.json"
DERIVED = "values.parquet"
BOOTS, ASIDE, WHY = "boots", "aside", "why.txt"
State = tuple[int, ...]  # what tells a file from what it was before
Judge = Callable[[bytes], tuple[dict[str, Any], str]]  # of a line what is in it, and what is wrong with it
Seen = dict[str, dict[str, str]]  # by board and visit: the boot that has it
CELL = ("strategy", "guest", "host", "exit")
SECONDS_AT_STAKE = 1.0  # of measuring: to sync every visit of a rig takes a seventh of its time
PASSING = (files.ASIDE, files.LOCK, ".err")  # files that a running command has open


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
        return f"{legible(str(self.file), 1000)}: {legible(self.says, 1000)}"


class Campaign:
    """A campaign's folder.

    Parameters
    ----------
    folder : path
        An existing campaign.
    kind : str
        ``guests`` to speak of lives of real guests wherever it is visits otherwise.

    Raises
    ------
    BadData
        If there is no readable design.
    """

    def __init__(self, folder: Path, kind: str = "") -> None:
        self.folder, self._kind = folder, kind
        self.file = CENSUS if kind == GUESTS else VISITS
        if not (folder / DESIGN).exists():
            advice = f"collect one with: study collect --campaign {shlex.quote(str(folder))}"
            raise BadRequest(f"{folder} is no campaign: it has no {DESIGN}; {advice}")
        self.designs: dict[str, Design] = {}
        self._visits: dict[str, dict[str, Visit]] = {}
        self._read: dict[Path, tuple[State, list[str]]] = {}  # boots whose visits were all read: their names
        for path in (folder / DESIGN, *sorted(folder.glob(MORE_DESIGNS))):
            design = _read_design(path)
            kind = design.factors.kind
            if kind in self.designs or path.name not in (DESIGN, _design_name(kind)):
                raise BadData(f"{path}: a campaign has one design for each kind of board; remove what does not belong here")
            self.designs[kind] = design
        if IMPORTED in self.designs and len(self.designs) > 1:
            raise BadData(f"{folder}: results are measured or imported; remove the design that does not belong here")

    def again(self) -> Campaign:
        """Return it as it is now on disk."""
        return Campaign(self.folder, self._kind)

    def design_of(self, board: str) -> Design:
        """Return the design of the boards of one board's kind; of imported results, whatever their boards are called.

        Where nothing but real guests lived, it is theirs.

        Raises
        ------
        BadRequest
            If the campaign has none.
        """
        kind = self._kind or (IMPORTED if IMPORTED in self.designs else kind_of(board))
        known = self.designs.get(kind) or self.designs.get(GUESTS)
        if not known:
            raise BadRequest(f"{self.folder} has no design for boards like {board}; collect with that board to make one")
        return known

    def baselines(self) -> dict[str, str]:
        """Return for each board that was measured the strategy that others are compared to."""
        return {board: legible(self.design_of(board).factors.baseline) for board in self.boards()}

    def boards(self) -> list[str]:
        """Return the names of the boards that were measured."""
        return sorted({str(self.facts(boot)["board"]) for boot in self.boots()})

    def _measured(self) -> set[str]:
        """Return the boards of which there is a boot of this kind: where there are two designs, some boots are of lives alone."""
        lives, alone = self._kind == GUESTS, len(self.designs) == 1
        return {str(self.facts(boot)["board"]) for boot in self.boots() if alone or (boot / CENSUS).exists() == lives}

    @property
    def origin(self) -> str:
        """Where its results are from: measured or imported."""
        return "imported" if IMPORTED in self.designs else "measured"

    @property
    def name(self) -> str:
        """The campaign's name: that of its folder."""
        return self.folder.absolute().name

    @classmethod
    def freeze(cls, folder: Path, factors: Factors, *, grows: bool = False) -> Campaign:
        """Return the campaign in `folder`, made with a design drawn from `factors` if it is not there yet.

        A campaign has one design for each kind of board; the first is in design.json. One that `grows` may be joined by kernels
        besides those that it has: on an emulated board it makes no difference when a boot was.

        Raises
        ------
        BadRequest
            If it is there with another design for that kind of board.
        """
        foreign = [path for path in folder.iterdir() if path.suffix not in PASSING] if folder.exists() else []
        if not (folder / DESIGN).exists():
            if foreign and read_sums(folder).get(DESIGN) is None:
                raise BadRequest(f"{folder} is neither empty nor a campaign; name another folder")
            _freeze(folder, design_text(draw(factors)), lost=bool(foreign))
        view = GUESTS if factors.kind == GUESTS else ""
        campaign = cls(folder, view)
        if (IMPORTED in campaign.designs) != (factors.kind == IMPORTED):
            raise BadRequest(f"{folder} holds {campaign.origin} results: what is measured and what is imported are two campaigns")
        if factors.kind not in campaign.designs:
            with contextlib.suppress(FileExistsError):
                write_whole(folder / _design_name(factors.kind), design_text(draw(factors)), new=True)
            campaign = cls(folder, view)
        joined = campaign.designs[factors.kind].factors.joined_by(factors) if grows else None
        if joined and joined != campaign.designs[factors.kind].factors:
            campaign.redesign(joined)
        if different := differences(campaign.designs[factors.kind].factors, joined or factors):
            raise BadRequest(
                f"{folder} was designed otherwise: it has {'; '.join(different)}; ask for what it has, or name another campaign"
            )
        return campaign

    def boots(self) -> list[Path]:
        """Return the folders of all boots, by board and number."""
        found = [path.parent for path in self.folder.glob(f"{BOOTS}/*/{BOOT}") if not path.is_symlink()]
        return sorted((boot for boot in found if not boot.is_symlink()), key=lambda boot: by_number(boot.name))

    def records(self) -> Iterator[Record]:
        """Yield every recorded visit, boot by boot in the order of measurement.

        Raises
        ------
        BadData
            At the first line that is damaged, or is not what lines_of() lets pass.
        """
        return self._of_all(self.lines_of)

    def measured(self) -> Iterator[Record]:
        """Yield what records() does, in brief, as columns.brief() has it: for those who compute.

        A large boot is read from its copy in the cache, which is made if it is not there.
        """
        boots, designs = self.boots(), self._designs_in_words()
        with ThreadPoolExecutor() as threads:  # a boot is digested while those before it are made use of
            copies = {boot: threads.submit(self._copy_of, boot, designs) for boot in boots}
            yield from self._of_all(lambda boot, seen: self._in_brief(boot, seen, copies.pop(boot).result()))

    def _of_all(self, lines_of: Callable[[Path, Seen], Iterable[dict[str, Any]]]) -> Iterator[Record]:
        """Yield the lines of all boots, as something reads them."""
        seen: Seen = {}
        boots = self.boots()
        for boot in progress.bar(f"reading {self.name}", len(boots), "boots", aside=True, over=boots):
            facts = self.facts(boot)
            for line in lines_of(boot, seen):
                yield Record(boot.name, facts, line)

    def _designs_in_words(self) -> list[str]:
        return [design_text(design) for design in self.designs.values()]

    def _copy_of(self, boot: Path, designs: list[str]) -> columns.Copy:
        """Return the copy of the lines of a boot, as they are judged by these designs."""
        return columns.Copy.of(boot / self.file, self.file, self.facts(boot)["board"], *designs)

    def _in_brief(self, boot: Path, seen: Seen, copy: columns.Copy) -> list[dict[str, Any]]:
        """Return the lines of a boot in brief: from their copy, or as lines_of() reads them, and a copy is made."""
        places, names = self._places(self.facts(boot)["board"], seen), {line["visit"] for line in copy.lines}
        if names and not places.keys() & names:
            places |= dict.fromkeys(names, boot.name)
            return copy.lines
        lines = [columns.brief(line) for line in self.lines_of(boot, seen)]
        if self._copy_of(boot, self._designs_in_words()).place == copy.place:  # nobody has written to it meanwhile
            copy.keep(lines)
        return lines

    def _places(self, board: str, seen: Seen) -> dict[str, str]:
        """Return which visits of a board, or lives on it, were seen, and in which boots."""
        return seen.setdefault(f"{board} {CENSUS}" if self.file == CENSUS else board, {})

    def lines_of(self, boot: Path, seen: Seen | None = None) -> Iterator[dict[str, Any]]:
        """Yield the visits of a boot.

        Parameters
        ----------
        boot : path
            The boot's folder.
        seen : dict, optional
            Which visits of each board were seen before, and in which boot; the boot's are added.

        Raises
        ------
        BadData
            At the first line that does not match its digest, has another shape than a visit, is none of the design or says what
            cannot be true, or whose visit is recorded twice.
        """
        path, names = boot / self.file, list[str]()
        state = _state(path)
        if state:
            for line in self._judged(path, self.judge(boot, {} if seen is None else seen, self.file)):
                names.append(line["visit"])
                yield line
        self._read[boot] = state, names

    def _judged(self, path: Path, judge: Judge) -> Iterator[dict[str, Any]]:
        """Yield the lines of a file, up to the first that is bad."""
        for number, text in enumerate(path.read_bytes().splitlines(), 1):
            line, why = judge(text)
            if why:
                raise BadData(f"{path}: line {number} {why}; see: study verify {shlex.quote(str(self.folder))}")
            yield line

    def receipts(self) -> Iterator[Record]:
        """Yield every receipt, boot by boot in the order in which they were made.

        Raises
        ------
        BadData
            At the first line that is damaged, or is not what judge() lets pass.
        """
        seen: Seen = {}
        for boot in self.boots():
            if (boot / RECEIPTS).exists():
                facts = self.facts(boot)
                for line in self._judged(boot / RECEIPTS, self.judge(boot, seen, RECEIPTS)):
                    yield Record(boot.name, facts, line)

    def of_guests(self) -> Campaign:
        """Return it as what speaks of lives of real guests where it is visits otherwise."""
        return Campaign(self.folder, GUESTS)

    def lives(self) -> Iterator[Record]:
        """Yield every life of a real guest, boot by boot in the order in which they were.

        Raises
        ------
        BadData
            At the first line that is damaged, or is not what judge() lets pass.
        """
        if GUESTS in self.designs:
            yield from self.of_guests().records()

    def names_of(self, boot: Path, seen: Seen) -> list[str]:
        """Return the names of the visits that lines_of() yields. A file that it has read to the end is read again only if it changed."""
        state, names = self._read.get(boot, (None, list[str]()))
        places = self._places(self.facts(boot)["board"], seen)
        if state != _state(boot / self.file) or places.keys() & names:
            return [line["visit"] for line in self.lines_of(boot, seen)]
        places |= dict.fromkeys(names, boot.name)
        return names

    def judge(self, boot: Path, seen: Seen, file: str = VISITS) -> Judge:
        """Return what tells of each line of one of a boot's LINES what is in it, and what is wrong with it: nothing, if that is empty."""
        if file == RECEIPTS:
            return self._judge_of_receipts(boot, seen)
        board, shape = self.facts(boot)["board"], "life" if file == CENSUS else "visit"
        if file == CENSUS and GUESTS not in self.designs:
            return lambda text: ({}, "is the life of a real guest, and the campaign has no design for those")
        design = self.designs[GUESTS] if file == CENSUS else self.design_of(board)
        places = seen.setdefault(f"{board} {file}" if file == CENSUS else board, {})
        asked = self._visits_of(design.factors.kind)
        doubts = sense.doubt_of_life if file == CENSUS else sense.nonsense

        def judged(text: bytes) -> tuple[dict[str, Any], str]:
            try:
                line = parse_line(text)
                schema.check(shape, line)
            except BadData as error:
                return {}, str(error)
            name = line["visit"]
            if name in places:
                return line, f"is visit {legible(name)}, which {places[name]} has already"
            places[name] = boot.name
            why = "" if design.factors.kind == IMPORTED else _stray(line, asked.get(name))
            doubt = "" if why else doubts(line, design.factors)
            return line, f"makes no sense: {doubt}" if doubt else why

        return judged

    def _judge_of_receipts(self, boot: Path, seen: Seen) -> Judge:
        facts = self.facts(boot)
        factors = self.design_of(facts["board"]).factors
        cells = {
            _cell_of(cell) for cell in factors.on(factors.kernel_called(facts["kernel"], facts.get("command_line", ""))).cells()
        }
        places = seen.setdefault(f"{facts['board']} {facts['kernel']}", {})

        def judged(text: bytes) -> tuple[dict[str, Any], str]:
            try:
                line = parse_line(text)
                schema.check("receipt", line)
            except BadData as error:
                return {}, str(error)
            name = receipt_name(line)
            if name in places:
                return line, f"is the receipt of {legible(name)}, which {places[name]} has already"
            places[name] = boot.name
            if tuple(line["cell"].get(field, "") for field in CELL) not in cells:
                return line, f"is the receipt of {legible(name)}, for which the design does not ask"
            doubt = sense.doubt_of_receipt(line)
            return line, f"makes no sense: {doubt}" if doubt else ""

        return judged

    def _visits_of(self, kind: str) -> dict[str, Visit]:
        """Return the visits of the design of a kind of board, by name."""
        if kind not in self._visits:
            self._visits[kind] = {visit.name: visit for visit in self.designs[kind].visits()}
        return self._visits[kind]

    def facts(self, boot: Path) -> dict[str, Any]:
        """Return what is known of a boot.

        Raises
        ------
        BadData
            If the file is not JSON, or does not say what every boot says.
        """
        try:
            facts: dict[str, Any] = schema.load((boot / BOOT).read_bytes())
            schema.check("boot", facts)
        except BadData as error:
            raise BadData(f"{boot / BOOT}: {error}") from None
        return {**facts, **{name: legible(facts[name]) for name in ("board", "kernel", "mode")}}

    def missing(self, board: str) -> list[Visit]:
        """Return the visits of one board that have no line yet, in order."""
        ours = [boot for boot in self.boots() if self.facts(boot)["board"] == board]
        seen: Seen = {}
        done = {name for boot in ours for name in self.names_of(boot, seen)}
        return [visit for visit in self.asked(board) if visit.name not in done]

    def asked(self, board: str) -> list[Visit]:
        """Return the visits of one board that the design asks for, in order: all, or to the boot at which its rule stopped it."""
        design = self.design_of(board)
        if design.factors.kind == GUESTS:
            return design.visits()
        stops = [path for path in self.folder.glob(f"{BOOTS}/*/{ENOUGH}") if _is_of(board, path.parent.name)]
        last = min(map(_stopped_at, stops), default=design.factors.starts)
        return [visit for visit in design.visits() if visit.boot <= last]

    def describe(self) -> str:
        """Return what is there in a few lines for people: boot by boot, and the digest of it all."""
        lines = []
        for boot in self.boots():
            facts = self.facts(boot)
            count = f"{len(self.names_of(boot, {}))} visits"
            if (boot / CENSUS).exists():
                count = f"{len(self.of_guests().names_of(boot, {}))} {LIVES}"
            what = f"{system(facts['board'], facts['kernel'])}, {facts['mode']}" + (", emulated" if facts["emulated"] else "")
            when = f"imported {facts['imported']}" if "imported" in facts else f"started {facts.get('started')}"
            lines.append(legible(f"{boot.name}: {count} of {facts['board']} ({what}), {when}", 1000))
        record = self.designs.get(IMPORTED)
        whole = [f"baseline: {record.factors.baseline}" if record else "all visits of each board are there"]
        return "\n".join([*lines, *(self.incomplete() or whole), *self.notes(), f"digest: {self.digest()}"])

    def open_boot(self, board: str, number: int) -> OpenBoot:
        """Return a new boot to record in. A boot that continues an interrupted one is another boot of the board."""
        base = f"{slug(board)}.{number}"
        taken = {path.name for path in (self.folder / BOOTS).glob(f"{base}*")}
        name = next(name for name in (base, *(f"{base}.{n}" for n in range(2, 10_000))) if name not in taken)
        return OpenBoot(self.folder / BOOTS / name)

    def enough(self, board: str, number: int, width: float) -> None:
        """Record that after this boot of the design the widest interval of a board was narrow enough."""
        write_whole(
            self.folder / BOOTS / f"{slug(board)}.{number}" / ENOUGH, json.dumps({"boot": number, "widest": width}) + "\n"
        )

    def raw_files(self) -> list[Path]:
        """Return all files that are not derived, by name."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        return sorted(path for path in files if path.name not in (SUMS, DERIVED) and path.suffix not in PASSING)

    def links(self) -> list[Path]:
        """Return what leads out of the folder, or may: nobody follows it, and nothing signs it."""
        return sorted(path for path in self.folder.rglob("*") if path.is_symlink())

    def digest(self) -> str:
        """Return the digest that names this state of the campaign: of the digests of all that is raw."""
        text = "".join(f"{digest_of(path)}  {self._name(path)}\n" for path in self.raw_files())
        return hashlib.sha256(text.encode()).hexdigest()

    def close(self, board: str) -> None:
        """Write the sums of the design and of one board's boots. A sum that is there already stays as it is."""
        ours = [path for path in self.raw_files() if is_plan(path) or self._is_of(board, path)]
        with self._sums_to_oneself():
            sums = read_sums(self.folder)
            new = [path for path in ours if self._name(path) not in sums]
            for path in new:
                files.sync(path)
            added = {self._name(path): digest_of(path) for path in new}
            if added:
                write_sums(self.folder, sums | added)
        designs = self._designs_in_words()
        with contextlib.suppress(BadData):  # who reads it will say so
            for boot in self.boots():
                if self._is_of(board, boot / BOOT):
                    self._in_brief(boot, {}, self._copy_of(boot, designs))

    @contextlib.contextmanager
    def _sums_to_oneself(self) -> Iterator[None]:
        """Be the only one that writes sums: another board's command may close at the same time."""
        path = self.folder / DESIGN
        while True:
            with open(path) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(lock.fileno()), path.stat()):  # else its last owner has just replaced it
                    yield
                    return

    def damaged(self) -> list[Problem]:
        """Compare every file that has a sum with it."""
        present = {self._name(path): path for path in self.raw_files()}
        problems, ends = [], 0
        for name, value in sorted(read_sums(self.folder).items()):
            if name not in present:
                problems.append(Problem(self.folder / name, "it is missing"))
            elif digest_of(present[name]) == value:
                continue
            elif before_crlf(present[name], value):
                ends += 1
            else:
                problems.append(Problem(present[name], f"its bytes do not match {SUMS}"))
        says = (
            f"{ends} files are whole but for CRLF line ends, such as git's core.autocrlf makes; study repair makes them LF again"
        )
        return [*([Problem(self.folder, says)] if ends else []), *problems]

    def verify(self) -> list[Problem]:
        """Compare every file with its sum, and every visit with its digest and the design; an empty list means that all is whole."""
        sums = read_sums(self.folder)
        why = f"it is not in {SUMS}: foreign, or its boot was interrupted (collect again to close it)"
        unknown = [Problem(path, why) for path in self.raw_files() if self._name(path) not in sums]
        problems = self.damaged() + unknown
        problems += [Problem(path, "it is a link, and a campaign has none") for path in self.links()]
        seen: Seen = {}
        for boot in self.boots():
            for file in LINES:
                try:
                    judge = self.judge(boot, seen, file)
                except (BadData, BadRequest) as error:
                    problems.append(Problem(boot / BOOT, str(error).removeprefix(f"{boot / BOOT}: ")))
                    break
                text = (boot / file).read_bytes() if (boot / file).exists() else b""
                for number, line in enumerate(text.splitlines(), 1):
                    if says := judge(line)[1]:
                        problems.append(Problem(boot / file, f"line {number} {says}"))
        return problems

    @contextlib.contextmanager
    def recording(self, board: str) -> Iterator[None]:
        """Be the only command that records visits of a board.

        Raises
        ------
        Busy
            If another one does, or repairs the campaign.
        """
        lock = self.folder / f"{slug(board)}{files.LOCK}"
        with files.in_use(self.folder, alone=False), files.only_writer(lock, f"records visits of {board}"):
            yield

    def unclosed(self, board: str) -> list[Path]:
        """Return the files of a board, and the designs, that have no sum yet: whoever wrote them was interrupted."""
        sums = read_sums(self.folder)
        ours = [path for path in self.raw_files() if is_plan(path) or self._is_of(board, path)]
        return [path for path in ours if self._name(path) not in sums]

    def interrupted(self) -> list[Path]:
        """Return the folders of boots of which no file has a sum: whoever recorded them was interrupted."""
        closed = {Path(name).parent.name for name in read_sums(self.folder)}
        return sorted(path for path in self.folder.glob(f"{BOOTS}/*") if path.is_dir() and path.name not in closed)

    def redesign(self, factors: Factors) -> None:
        """Replace the design of a kind of board, and its sum with it: imported results are a record, and others may grow."""
        design = draw(factors)
        name = next(n for n in (_design_name(factors.kind), DESIGN) if (self.folder / n).exists())
        self._replace(name, design_text(design))
        self.designs[factors.kind] = design
        self._visits.pop(factors.kind, None)

    def series(self) -> dict[str, Any]:
        """Return the patch series that is measured: `branch`, `base` and `patches`, as series.json has them; empty if it is none.

        Raises
        ------
        BadData
            If the file is not what it should be.
        """
        known = self._known(SERIES, "series")
        if not known:
            return {}
        labels, kernels = ([row[name] for row in (known["base"], *known["patches"])] for name in ("label", "kernel"))
        if len(set(labels)) < len(labels) or kernels[0] != labels[0] or not {*kernels} <= {*labels, ""}:
            raise BadData(f"{self.folder / SERIES}: its labels are not one for each commit, or a kernel is none of them")
        base, *patches = ({name: legible(text) for name, text in row.items()} for row in (known["base"], *known["patches"]))
        return {
            **known,
            **{name: legible(known[name]) for name in ("branch", "lines") if name in known},
            "base": base,
            "patches": patches,
        }

    def _known(self, name: str, kind: str) -> dict[str, Any]:
        """Return what a file of the campaign holds, which is of a kind that schema.py knows; empty if there is no such file."""
        path = self.folder / name
        if not path.exists():
            return {}
        try:
            known: dict[str, Any] = schema.load(path.read_bytes())
            schema.check(kind, known)
        except BadData as error:
            raise BadData(f"{path}: {error}") from None
        return known

    def record_series(self, known: Mapping[str, Any]) -> None:
        """Record the series that is measured; one that grew takes the place of the last."""
        if known != self.series():
            self._replace(SERIES, json.dumps(known, indent=1) + "\n")

    def prices(self) -> str:
        """Return what was measured of what accesses and traps cost, as prices.toml has it; empty if nothing was."""
        path = self.folder / PRICES
        try:
            return path.read_text(encoding="utf-8") if path.exists() else ""
        except UnicodeDecodeError:
            raise BadData(f"{path}: it is no text; see: study verify {shlex.quote(str(self.folder))}") from None

    def record_prices(self, text: str) -> None:
        """Record what accesses and traps cost, and its sum."""
        self._replace_and_sum(PRICES, text)

    def sequences(self) -> dict[str, Any]:
        """Return which sequences of accesses were played on the kernels of the series, as sequences.json has them; empty if none were.

        Raises
        ------
        BadData
            If the file is not what it should be.
        """
        known = self._known(SEQUENCES, "sequences")
        if not known:
            return {}
        rows = [{name: legible(each) if isinstance(each, str) else each for name, each in row.items()} for row in known["played"]]
        return {**known, "played": rows}

    def record_sequences(self, known: Mapping[str, Any]) -> None:
        """Record which sequences were played, and what came of them, and its sum."""
        self._replace_and_sum(SEQUENCES, json.dumps(known, indent=1) + "\n")

    def _replace_and_sum(self, name: str, text: str) -> None:
        self._replace(name, text)
        with self._sums_to_oneself():
            write_sums(self.folder, {**read_sums(self.folder), name: digest_of(self.folder / name)})

    def _replace(self, name: str, text: str) -> None:
        """Write a file that is not of a boot, and its sum if it has one; between the two it has none, as one that is not closed."""
        with self._sums_to_oneself():
            sums = read_sums(self.folder)
            signed = sums.pop(name, "")
            if signed:
                write_sums(self.folder, sums)
            write_whole(self.folder / name, text)
            if signed:
                write_sums(self.folder, {**sums, name: digest_of(self.folder / name)})

    def recorded(self, *, lives: bool = False) -> int:
        """Return how many visits are there, or visits and lives of real guests together.

        Raises
        ------
        BadRequest
            If there is none: of nothing all can be said.
        """
        wanted = (VISITS, CENSUS) if lives else (VISITS,)
        files = [boot / name for boot in self.boots() for name in wanted if (boot / name).exists()]
        count = sum(path.read_bytes().count(b"\n") for path in files)
        if not count:
            raise BadRequest(
                f"{self.folder} holds no visit yet; collect some with: study collect --campaign {shlex.quote(str(self.folder))}"
            )
        return count

    def incomplete(self) -> list[str]:
        """Say for each board whose visits are not all there how many are; or that no board was measured."""
        if not self.boots():
            return ["no visit of any board is there"]
        views = [(self, "visits"), *([(self.of_guests(), LIVES)] if GUESTS in self.designs else [])]
        sizes = [(view, noun, board, left) for view, noun in views for board, left in view.lacking().items()]
        return [
            f"{planned - left} of {planned} {noun} of {board} are there"
            for view, noun, board, left in sizes
            for planned in [len(view.asked(board))]
        ]

    def notes(self) -> list[str]:
        """Say what a reader of its figures must know: which events could not be counted, and which boots were slowed down."""
        visits, lost = Counter[str](), Counter[tuple[str, str, str]]()
        slowed = {boot.name: set(chain.from_iterable(self.facts(boot).get("throttled", {}).values())) for boot in self.boots()}
        for record in self.measured():
            board = record.facts["board"]
            visits[board] += 1
            lost.update((board, count["event"], count["why"]) for count in uncounted(record.line))
            slowed[record.boot] |= set(record.line.get("throttled", ()))
        alike: dict[tuple[str, int, str], list[str]] = {}
        for (board, event, why), times in lost.items():
            alike.setdefault((board, times, why), []).append(event)
        found = [
            f"{', '.join(events)} could not be counted in {times} of {visits[board]} visits of {board}: {why}"
            for (board, times, why), events in alike.items()
        ]
        found += [
            f"{boot} was slowed down while it was measured: {', '.join(sorted(words))}" for boot, words in slowed.items() if words
        ]
        return [legible(note, 1000) for note in found]

    def lacking(self) -> dict[str, int]:
        """Return for each board whose visits are not all there how many are not; also for one whose boots were all set aside."""
        if not self._kind and self.designs.keys() == {GUESTS}:
            return {}
        known = self._measured()
        for path in self.folder.glob(f"{ASIDE}/*/{BOOTS}/*/{BOOT}"):
            with contextlib.suppress(BadData, BadRequest):  # a boot from elsewhere may be of boards that nobody asked for
                board = self.facts(path.parent)["board"]
                self.design_of(board)
                known.add(board)
        return {board: left for board in sorted(known) if (left := len(self.missing(board)))}

    def _is_of(self, board: str, path: Path) -> bool:
        """Say whether a file is in a folder of one of a board's boots."""
        return path.parent.parent == self.folder / BOOTS and _is_of(board, path.parent.name)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


class OpenBoot:
    """A boot that is being recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._synced = -math.inf

    def begin(self) -> None:
        """Make its folder."""
        self.folder.mkdir(parents=True)
        files.sync_folder(self.folder.parent)

    @property
    def console(self) -> Path:
        """Where the board's console log is kept."""
        return self.folder / CONSOLE

    def describe(self, facts: dict[str, Any]) -> None:
        """Record what the boot is, before its first visit."""
        write_whole(self.folder / BOOT, json.dumps(facts, indent=1, sort_keys=True) + "\n")

    def add(self, *more: Mapping[str, Mapping[str, Any]]) -> None:
        """Add to what the boot is, fact by fact, what is known when all is measured."""
        facts = schema.load((self.folder / BOOT).read_bytes())
        for name, said in (item for known in more for item in known.items()):
            facts[name] = {**facts.get(name, {}), **said}
        schema.check("boot", facts)
        self.describe(facts)

    def record(self, *lines: dict[str, Any], file: str = VISITS) -> None:
        """Append visits, or what else is one of LINES: no kill takes them away then, and a power cut the last SECONDS_AT_STAKE of them."""
        text = "".join(
            json.dumps({**line, "sha256": line_digest(line)}, sort_keys=True, allow_nan=False) + "\n" for line in lines
        )
        due = time.monotonic() - self._synced >= SECONDS_AT_STAKE
        files.append(self.folder / file, text, synced=due)
        if due:
            self._synced = time.monotonic()


def uncounted(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the counts of a visit that perf could not make, but for those of tracepoints that a kernel need not have."""
    return [count for count in line.get("counts", ()) if count["value"] is None and count["event"] not in MAY_LACK]


def receipt_name(line: Mapping[str, Any]) -> str:
    """Return what tells the receipts of one kernel on one board apart: how and of which cell it is, and its number."""
    return " ".join([line["receipt"], *(line["cell"].get(field, "") for field in CELL), str(line["number"])])


def _cell_of(cell: Cell) -> tuple[str, ...]:
    return tuple(getattr(cell, field) for field in CELL)


def _design_name(kind: str) -> str:
    return MORE_DESIGNS.replace("*", kind)


def is_plan(path: Path) -> bool:
    """Say whether a file is a design, the series that is measured, sequences, or prices: what is of no boot, and asked for."""
    return path.name in (DESIGN, SERIES, PRICES, SEQUENCES) or path.match(MORE_DESIGNS)


def _freeze(folder: Path, text: str, *, lost: bool) -> None:
    """Write the first design of a campaign. Where it was lost, it must be the one whose sum is still there, byte for byte."""
    if lost and hashlib.sha256(text.encode()).hexdigest() != read_sums(folder)[DESIGN]:
        raise BadRequest(
            f"{folder} has lost its {DESIGN}, and these options, or this version of the study, draw another one: ask for what it had"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # another command was faster
        write_whole(folder / DESIGN, text, new=True)


def _read_design(path: Path) -> Design:
    try:
        return Design.from_json(schema.load(path.read_bytes()))
    except BadData as error:
        raise BadData(f"{path}: {legible(str(error), 1000)}") from None


def _state(path: Path) -> State:
    """Return what is another for a file that was written to or replaced; nothing of one that is not there."""
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return ()


def _stopped_at(path: Path) -> int:
    """Return the boot of the design at which its rule for stopping was met."""
    try:
        stop = schema.load(path.read_bytes())
        schema.check("stop", stop)
        return int(stop["boot"])
    except BadData as error:
        raise BadData(f"{path}: it does not say at which boot the rule for stopping was met: {error}") from None


def _stray(line: dict[str, Any], visit: Visit | None) -> str:
    """Return why a line is none of the design's; empty if it is."""
    if visit is None:
        return f"is visit {legible(line['visit'])}, for which the design does not ask"
    planned = {name: getattr(visit.cell, name) for name in line["cell"] if hasattr(visit.cell, name)}
    if (line["cell"], line["arm"], line["block"]) != (planned, visit.cell.arm, visit.block):
        return f"is visit {visit.name} of another cell than the design has there"
    return ""


def _is_of(board: str, boot: str) -> bool:
    """Say whether a boot's folder is one of a board."""
    return re.fullmatch(re.escape(slug(board)) + r"(\.\d+){1,2}", boot) is not None


def design_text(design: Design) -> str:
    """Return design.json: one line for each factor, cell and boot, so that a diff of two designs can be read."""
    data = design.to_json()

    def rows(items: list[Any]) -> str:
        return "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in items) + "\n ]"

    factors = json.dumps(data["factors"], indent=1).replace("\n", "\n ")
    return (
        f'{{\n "version": {json.dumps(data["version"])},\n "factors": {factors},\n "cells": {rows(data["cells"])},\n'
        f' "order": {rows(data["order"])}\n}}\n'
    )
