"""Results that were measured elsewhere, as a campaign: pyperf suites, what ``perf stat -j`` printed, and logs of micro-bench.

What a file does not say of itself, tags say. Each run of a pyperf suite that has values is a visit, for it was a process of
its own; a file of perf is one visit, and each of its runs a value; each test of a run of micro-bench is a visit with one value. What was
run is recorded once, however its file is called, packed or laid out. Everything is read and checked before anything is written,
and a boot is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import math
import os
import shlex
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pyperf

from study import __version__
from study.campaign import Campaign, schema, sense
from study.campaign.store import DESIGN
from study.collect import perfstat, suites
from study.collect.imports import clocks, microbench
from study.collect.imports.tags import LONGEST, UNKNOWN, check, is_name, resolve
from study.design import VARIED, Factors
from study.errors import BadData, BadRequest
from study.factors import IMPORTED

CELL = ("strategy", "guest", "host", "exit")
LARGEST = 1 << 28  # bytes of a file, unpacked
GZIP = b"\x1f\x8b"
WANTED = "name a suite that pyperf wrote with -o FILE, what perf stat -j -o FILE wrote, or a log of micro-bench"


@dataclass(frozen=True)
class Source:
    """A file that results are from: its name without its place, and the digests of its bytes and of what it holds, unpacked."""

    name: str
    sha256: str
    content: str = ""
    path: Path = field(default=Path(), compare=False)


@dataclass(frozen=True)
class Boot:
    """A boot, as far as results tell boots apart: a boot has one kernel, whatever else is said of it."""

    board: str
    kernel: str
    mode: str
    emulated: bool
    name: str

    @property
    def machine(self) -> Boot:
        """What is booted: a boot without a name."""
        return replace(self, name="")

    @property
    def boot_id(self) -> str:
        """What tells it from the other boots of its board."""
        return ", ".join([self.name, self.kernel, self.mode, *["emulated"] * self.emulated])


Recorded = tuple[Boot, dict[str, Any]]  # a line that a campaign has, and of which boot


@dataclass(frozen=True)
class Visit:
    """A visit that was made elsewhere: where it is from, its boot, and its line but for its number."""

    source: Source
    boot: Boot
    line: dict[str, Any]
    date: str = ""
    seen: clocks.Seen | None = None
    named_by_file: bool = False

    @property
    def when(self) -> tuple[float, str]:
        """What visits of a boot are in order by: the uptime, which no time zone changes, or else the date."""
        return (self.seen.up if self.seen and self.seen.up > 0 else 0.0, self.date)

    @property
    def place(self) -> tuple[str, ...]:
        """What its values are told from others by: its machine and its cell."""
        return _place(self.boot, self.line)

    @property
    def identity(self) -> tuple[str, ...]:
        """What two visits have in common only if what was run is imported twice."""
        return _identity(self.boot, self.line)


def _place(boot: Boot, line: Mapping[str, Any]) -> tuple[str, ...]:
    return (boot.board, boot.kernel, boot.mode, line["arm"], *(line["cell"][name] for name in CELL))


def _identity(boot: Boot, line: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what tells what was run: of pyperf its date and its values, else what the file holds, and as what it was imported."""
    ran = suites.ran(line["pyperf"]) if "pyperf" in line else ""
    return (ran,) if ran else (line["source"], boot.boot_id, *_place(boot, line))


def import_files(campaign: Path, files: Sequence[Path], tags: Mapping[str, str], baseline: str | None = None) -> Campaign:
    """Record results that were measured elsewhere.

    Parameters
    ----------
    campaign : path
        A campaign of imported results; it is made if it is not there.
    files : sequence of path
        pyperf suites, output of ``perf stat -j`` and logs of micro-bench, packed by gzip or not.
    tags : mapping of str to str
        What holds for all of these files, by the names in study.collect.imports.tags.TAGS, whatever they say themselves. Counts of
        perf are divided by ``loops``; pyperf's values are per loop already, in seconds, bytes or units. Of a log of micro-bench
        ``loops`` says how often a test ran if the program was changed.
    baseline : str, optional
        The strategy that others are compared to; without it what the campaign has, or the first file's strategy.

    Returns
    -------
    Campaign
        With the files' visits, closed.

    Raises
    ------
    BadRequest
        If a file is missing, a tag unknown, a run imported already, or the campaign one that was measured; if two files would be
        one strategy by their names, or boots cannot be told apart by their clocks.
    BadData
        If a file is none of these, or says nonsense. Nothing is written then, as with BadRequest.
    """
    given = check(tags)
    if not files:
        raise BadRequest(f"there is no file to import; {WANTED}")
    read = [_read(path, given) for path in files]
    if not campaign.exists():  # what is refused leaves no folder behind
        _fitted(None, read, baseline)
        campaign.mkdir(parents=True, exist_ok=True)
    with _alone(campaign):
        there = _there(campaign)
        visits, factors = _fitted(there, read, baseline)
        if there is None:
            there = Campaign.freeze(campaign, factors)
        for left in there.interrupted():
            shutil.rmtree(left)
        _write(there, visits)
        if there.designs[IMPORTED].factors != factors:
            there.redesign(factors)
        for board in {visit.boot.board for visit in visits}:
            there.close(board)
    return there


def _fitted(there: Campaign | None, read: Sequence[Sequence[Visit]], baseline: str | None) -> tuple[list[Visit], Factors]:
    """Return the visits of some files, each in its boot, and what the campaign varies with them; refuse what does not fit."""
    visits = [visit for of_file in read for visit in of_file]
    factors = _factors(there, visits, baseline)
    recorded = list(_recorded(there)) if there else []
    boots = _boots_of(visits, recorded)
    placed = [[replace(visit, boot=boots.get(visit.boot, visit.boot)) for visit in of_file] for of_file in read]
    _refuse_again(recorded, placed)
    _refuse_one_name(recorded, placed)
    return [visit for of_file in placed for visit in of_file], factors


def _read(path: Path, given: Mapping[str, str]) -> list[Visit]:
    """Return the visits in a file, whichever of the formats it has."""
    raw = _bytes(path)
    try:
        text = _unpacked(raw).decode("utf-8-sig")
        source = Source(path.name, _digest(raw), _digest("\n".join(map(str.strip, text.split("\n"))).encode()), path)
        read = next(read for has_its_form, read in READERS if has_its_form(text))
        visits = list(read(text, source, given))
        for visit in visits:
            json.dumps(visit.line, allow_nan=False)
            schema.check("visit", {**visit.line, "visit": UNKNOWN})
            if why := sense.too_small(visit.line):
                raise BadData(why)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"it is not text that can be kept: {error}")
    except BadData as error:
        _refuse(path, str(error))
    return visits


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _refuse(path: Path, why: str) -> NoReturn:
    raise BadData(f"{path}: {' '.join(why.split())}")


def _bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path}: {getattr(error, 'strerror', None) or error}; name a file that can be read") from None
    if len(raw) > LARGEST:
        _refuse(path, f"it is larger than {LARGEST >> 20} MiB")
    return raw


def _unpacked(raw: bytes) -> bytes:
    if not raw.startswith(GZIP):
        return raw
    try:
        text = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"it is packed, and damaged: {error}") from None
    if len(text) > LARGEST:
        raise BadData(f"it is larger than {LARGEST >> 20} MiB, unpacked")
    return text


def _is_suite(text: str) -> bool:
    """Say whether it is a pyperf suite or what perf printed, by what it holds."""
    try:
        data = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return False  # perf prints an object a line: together they are not JSON
    return not (isinstance(data, dict) and data.keys() & {"counter-value", "metric-value"})


def _no_number(word: str) -> NoReturn:
    raise BadData(f"it holds {word}, which is no number")


def _visits_of_pyperf(text: str, source: Source, given: Mapping[str, str]) -> Iterator[Visit]:
    """Yield a visit for each run with values."""
    names: dict[tuple[str, ...], str] = {}
    try:
        runs = suites.runs(text)
    except BadData as error:
        raise BadData(f"{error}; {WANTED}") from None
    source = replace(source, content=_digest(json.dumps([suites.of_run(run) for run in runs], sort_keys=True).encode()))
    for run in runs:
        metadata = run.get_metadata()
        name = str(metadata["name"])
        if wrong := [value for value in run.values if not _is_finite(value)]:
            raise BadData(f"benchmark {name[:LONGEST]!r} has the value {str(wrong[0])[:40]}: values are finite and above 0")
        known = resolve(given, metadata, source.name, name)
        if known["emulated"] == "yes" and metadata.get("unit") == "byte":
            raise BadData(f"benchmark {name[:LONGEST]!r} is of memory, which no emulated board has: leave out emulated=yes")
        visit = _visit(source, known, {"pyperf": suites.of_run(run), "counts": []}, {**metadata, **given})
        _insist_apart(names, visit, name)
        yield visit


def _visits_of_log(text: str, source: Source, given: Mapping[str, str]) -> Iterator[Visit]:
    """Yield a visit for each test of each run, with one value."""
    names: dict[tuple[str, ...], str] = {}
    said = {name: word for name, word in given.items() if name != "loops"}  # each row says itself how many there were
    for row in microbench.read(text, int(given.get("loops", 0))):
        known = resolve(said, {"loops": row.loops}, source.name, row.test)
        metadata = {"name": row.test, "loops": row.loops, "unit": "second"}
        run = pyperf.Run([row.seconds], metadata=metadata, collect_metadata=False)
        visit = _visit(source, known, {"pyperf": suites.of_run(run), "counts": []}, given)
        _insist_apart(names, visit, row.test)
        yield visit


def _insist_apart(names: dict[tuple[str, ...], str], visit: Visit, name: str) -> None:
    """Refuse a benchmark that would be one cell with another of its file."""
    if (other := names.setdefault((visit.boot.boot_id, *visit.place), name)) != name:
        raise BadData(f"its benchmarks {other[:LONGEST]!r} and {name[:LONGEST]!r} would be one cell: leave out the tag exit")


def _visits_of_perf(text: str, source: Source, given: Mapping[str, str]) -> Iterator[Visit]:
    """Yield the one visit that a file of perf is."""
    try:
        counts = perfstat.parse(text, refused=perfstat.APART)
    except perfstat.NotPerf as error:
        raise BadData(f"{error}; as a whole it is no JSON either: {WANTED}") from None
    if all(count.why for count in counts):
        raise BadData(f"nothing was counted in it: {WANTED}")
    known = resolve(given, {}, source.name)
    loops, units = int(known["loops"]), dict[str, str]()
    for count in counts:
        if not is_name(count.event) or not is_name(count.unit or UNKNOWN):
            raise BadData(f"event {count.event[:40]!r} in {count.unit[:40]!r}: a name has 1 to {LONGEST} printable characters")
        if units.setdefault(count.event, count.unit) != count.unit:
            raise BadData(f"event {count.event!r} is counted in {units[count.event]!r} and in {count.unit!r}")
    kept = [{**count.to_json(), "value": None if count.why else count.value / loops} for count in counts]
    yield _visit(source, known, {"counts": kept}, given)


# What tells a format, and how its visits are read; what nothing else tells is perf's.
READERS: tuple[tuple[Callable[[str], bool], Callable[[str, Source, Mapping[str, str]], Iterator[Visit]]], ...] = (
    (_is_suite, _visits_of_pyperf),
    (microbench.is_log, _visits_of_log),
    (lambda text: True, _visits_of_perf),
)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value) and value > 0
    except OverflowError:  # a whole number that is larger than any of floating point
        return False


def _visit(source: Source, known: Mapping[str, str], measured: Mapping[str, Any], said: Mapping[str, Any]) -> Visit:
    """Return a visit of which so much is known by tags, and `said` by the file and the command line."""
    boot = Boot(known["board"], known["kernel"], known["mode"], known["emulated"] == "yes", known["boot"])
    cell = {name: known[name] for name in CELL}
    line = {"block": 0, "arm": known["arm"], "ended": "well", "cell": cell, "loops": int(known["loops"]), "checks": {},
            "source": source.content, **measured}  # fmt: skip
    seen = None if "boot" in said else clocks.seen(said)
    return Visit(source, boot, line, str(said.get("date", "")), seen, named_by_file="strategy" not in said)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other imports out of a campaign's folder meanwhile."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _there(folder: Path) -> Campaign | None:
    """Return the campaign that is there, fit to be added to."""
    if not (folder / DESIGN).exists():
        return None
    campaign = Campaign(folder)
    if IMPORTED not in campaign.designs:
        raise BadRequest(f"{folder} holds {campaign.origin} results: import into another campaign")
    if damaged := campaign.damaged():
        raise BadData(f"{damaged[0]}: nothing is imported until this is mended; see: study verify {shlex.quote(str(folder))}")
    return campaign


def _factors(there: Campaign | None, visits: Sequence[Visit], baseline: str | None) -> Factors:
    """Return what the campaign varies with these visits, the baseline first among its strategies."""
    record = there.designs[IMPORTED].factors if there else None
    varied: dict[str, Any] = {
        factor: tuple(dict.fromkeys([*getattr(record, factor, ()), *(visit.line["cell"][tag] for visit in visits)]))
        for factor, tag in zip(VARIED, CELL, strict=True)
    }
    strategies = varied["strategies"]
    if baseline is not None and baseline not in strategies:
        raise BadRequest(f"baseline {baseline[:LONGEST]!r} is no strategy of this campaign; choose from {', '.join(strategies)}")
    first = baseline or strategies[0]
    varied["strategies"] = (first, *(name for name in strategies if name != first))
    return Factors(kind=IMPORTED, **varied, touch_by=UNKNOWN, gic=False)


def _boots_of(visits: Sequence[Visit], recorded: Sequence[Recorded]) -> dict[Boot, Boot]:
    """Return the boot that each one is that a clock has named."""
    found: dict[Boot, Boot] = {}
    by_clock = [visit for visit in visits if visit.seen]
    for machine in dict.fromkeys(visit.boot.machine for visit in by_clock):
        known: dict[str, list[clocks.Seen]] = {}
        for boot, line in recorded:
            seen = clocks.seen(suites.metadata_of(line["pyperf"])) if "pyperf" in line and boot.machine == machine else None
            known.setdefault(boot.name, []).extend([seen] if seen else [])
        ours = {visit.seen: visit.boot for visit in by_clock if visit.seen and visit.boot.machine == machine}
        try:
            names = clocks.boots(list(ours), known)
        except BadRequest as error:
            raise BadRequest(f"{machine.board}: {error}") from None
        found |= {boot: replace(boot, name=names[seen.began]) for seen, boot in ours.items()}
    return found


def _refuse_again(recorded: Sequence[Recorded], read: Sequence[Sequence[Visit]]) -> None:
    """Refuse a file with a run that is recorded, or given twice."""
    known = {_identity(boot, line) for boot, line in recorded}
    for visits in read:
        identities = {visit.identity for visit in visits}
        dated = [suites.ran(visit.line["pyperf"]) for visit in visits if "pyperf" in visit.line]
        if known & identities:
            raise BadRequest(f"{visits[0].source.path}: what it holds is imported already; leave the file out")
        if any(count > 1 for ran, count in Counter(dated).items() if ran):
            raise BadRequest(f"{visits[0].source.path}: it holds a run twice; put each run into it once")
        known |= identities


def _refuse_one_name(recorded: Sequence[Recorded], read: Sequence[Sequence[Visit]]) -> None:
    """Refuse a file that only its name makes the same as another one."""
    known: dict[tuple[str, ...], dict[str, str]] = {}
    for boot, line in recorded:
        known.setdefault(_place(boot, line), {})[line["source"]] = "another file"
    for visits in read:
        for visit in visits:
            source, files = visit.source, known.setdefault(visit.place, {})
            files.setdefault(source.content, str(source.path))
            if visit.named_by_file and (others := files.keys() - {source.content}):
                raise BadRequest(
                    f"{source.path}: by its name it is of strategy {visit.line['cell']['strategy']!r}, and so is {files[min(others)]}: "
                    "import each in a call of its own, with --tag strategy=NAME"
                )


def _recorded(campaign: Campaign) -> Iterator[Recorded]:
    for folder, facts in _boots(campaign):
        boot = Boot(facts["board"], facts["kernel"], facts["mode"], facts["emulated"], facts["boot"])
        yield from ((boot, line) for line in campaign.lines_of(folder))


def _boots(campaign: Campaign) -> list[tuple[Path, dict[str, Any]]]:
    """Return the boots that were recorded to their end, with what is known of them."""
    left = set(campaign.interrupted())
    return [(boot, campaign.facts(boot)) for boot in campaign.boots() if boot not in left]


def _write(campaign: Campaign, visits: Sequence[Visit]) -> None:
    """Record visits, boot by boot. A boot that is recorded already is gone on with in a folder of its own."""
    numbers: dict[str, dict[str, int]] = {}
    counts = Counter[str]()
    for there, facts in _boots(campaign):
        numbers.setdefault(facts["board"], {})[facts["boot_id"]] = facts["number"]
        counts[facts["board"]] += len(campaign.names_of(there, {}))
    for boot in dict.fromkeys(visit.boot for visit in visits):
        ours = sorted((visit for visit in visits if visit.boot == boot), key=lambda visit: visit.when)
        known = numbers.setdefault(boot.board, {})
        number = known.setdefault(boot.boot_id, len(known) + 1)
        lines = [{**visit.line, "visit": f"v{at:05d}"} for at, visit in enumerate(ours, counts[boot.board] + 1)]
        counts[boot.board] += len(lines)
        folder = campaign.open_boot(boot.board, number)
        folder.begin()
        folder.record(*lines)
        folder.describe(_facts(boot, number, ours))


def _facts(boot: Boot, number: int, visits: Sequence[Visit]) -> dict[str, Any]:
    return {
        "board": boot.board,
        "kernel": boot.kernel,
        "mode": boot.mode,
        "emulated": boot.emulated,
        "boot": boot.name,
        "boot_id": boot.boot_id,
        "number": number,
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
        "sources": [
            {name: text for name, text in asdict(source).items() if name != "path"}
            for source in dict.fromkeys(visit.source for visit in visits)
        ],
        "study": {"version": __version__},
    }
