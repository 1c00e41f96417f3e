"""Every file that the study reads back: files as they should be, how they are spoiled, and how they are read.

A row of FORMATS is a format. What reads it must refuse it with a StudyError or return what makes sense: a reader that
takes nonsense raises Nonsense here. ``values.parquet`` is not among them: it is written for other tools and never read back.
Neither are the caches in ``.cache``, which are named by the digest of what they are made of.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pyperf

from study import paths
from study.analyze import compare, frame, lives, measured, patches, played, published
from study.campaign import Campaign
from study.campaign.lines import line_digest
from study.campaign.names import LONGEST, legible
from study.campaign.store import BOOT, CENSUS, DESIGN, ENOUGH, PRICES, RECEIPTS, SEQUENCES, SERIES, VISITS
from study.campaign.sums import SUMS
from study.collect import records
from study.collect.boards import rig
from study.collect.boards.link import Launch, Link
from study.collect.boards.linux import LinuxBoard
from study.collect.fleet import shelf
from study.collect.guests import table
from study.collect.imports.imported import import_files
from study.collect.rig.script import Machine, oracle
from study.design import Design, Factors, Visit, draw
from study.errors import BoardFailed
from study.factors import GUESTS, IMPORTED, KVM, RIG
from study.kernels import lines
from study.publish import letter, prose, series, site
from tests import made_lives, made_logs, receipts
from tests.fuzz import mutate

REFERENCE = paths.DATA / "reference"
FACTORS = {
    KVM: Factors(strategies=("stock", "lazy"), guests=("untouched",), processes=1, loops=2000, boots=3),
    RIG: Factors(kind=RIG, strategies=("lazy", "eager"), guests=("untouched",), processes=1, values=2, warmups=1, loops=1000, boots=2),
}  # fmt: skip
# Of the reference, the boots of one kernel.
BOARDS = {KVM: "qemu-neoverse-n1", RIG: "rig-cortex-a15", IMPORTED: "h"}
BOOTS = {
    KVM: ("qemu-neoverse-n1.1", "qemu-neoverse-n1.8", "qemu-neoverse-n1.9"),
    RIG: ("rig-cortex-a15.1", "rig-cortex-a15.2"),
}
# What a visit has in bulk, and no reader looks at.
LEFT_OUT = ("python_", "cpu_", "load_avg", "perf_version", "runnable", "mem_")
NAMES = ["board", "kernel", "mode", "strategy", "guest", "host", "exit", "arm", "boot", "visit", "touch_by", "metric", "unit"]
NOTHING = [*compare.CELL, "boot", "visit", "cell", "block", "position", "value", "values"]
SMALLEST, LARGEST = 1e-15, 1e30  # no round trip takes more than this of anything, in any unit: 10^18 s are 10^27 instructions
PRICES_OF_OURS = b"""# measured
[[price]]
core = "Neoverse N1"
quantity = "write"
unit = "cycles"
of = "DBGBVR0_EL1, write of what it holds, one behind the other; medians of 5 repeats"
machine = "ssh:lab, a board"
kernel = "Linux 6.1, vhe"
seen = "measured"
source = "study prices ssh:lab, 2026-11-29: 5 repeats of 15 pairs of loops"
low = 1.5
high = 12.25

[[price]]
core = "Neoverse N1"
quantity = "trap"
high = 141
unit = "cycles"
of = "a trap"
machine = "ssh:lab"
kernel = "Linux"
seen = "first-hand"
source = "a page"
"""
TOML = b"""[boards."ssh:lab"]
kernel = "6.1"
cpu = 3
python = "sudo -n python3"
module = "build/dbgswitch.ko"
tune = true
reboot = "lab-power cycle"

[boards."qemu-neoverse-n1"]
kernel = "6.1"
[boards.rig-cortex-a15]
[boards."serial:/dev/ttyUSB0,921600"]
[boards.local]
kernel = "6.1"
tune = false
"""
KEPT = b"""linux = "7.3"
[design]
guests = "untouched,mde"
[[patch]]
message = "KVM: arm64: Charge"
[[patch.insert]]
file = "exit.c"
within = "cost"
before = "return a;"
text = "a++;\\n"
"""
KEPT_IN = "int cost(int a)\n{\n\treturn a;\n}\n"
OWN_GUESTS = b"""[mine]
kernel = "Image"
initrd = "initrd"
append = "console=ttyAMA0 quiet"
bits = 32
memory = 512
marks = true
"""
PERF = b"""# started on Tue Nov 24 22:01:20 2026

{"counter-value" : "0.500000", "unit" : "msec", "event" : "task-clock", "event-runtime" : 615261, "pcnt-running" : 100.00, "metric-value" : 0.153822, "metric-unit" : "CPUs utilized"}
{"counter-value" : "<not supported>", "unit" : "", "event" : "cycles:u", "event-runtime" : 0, "pcnt-running" : 100.00, "metric-value" : 0.000000, "metric-unit" : ""}
{"counter-value" : "4000.000000", "unit" : "", "event" : "instructions:kh", "event-runtime" : 615261, "pcnt-running" : 62.50, "metric-value" : 0.000000, "metric-unit" : ""}
{"metric-value" : "7.4", "metric-unit" : "%  tma_frontend_bound"}
"""
INTERVALS = b"""
{"interval" : 0.100163535, "counter-value" : "2.000000", "unit" : "", "event" : "context-switches", "event-runtime" : 864961, "pcnt-running" : 100.00}
{"interval" : 0.200480337, "counter-value" : "<not counted>", "unit" : "", "event" : "context-switches", "event-runtime" : 0, "pcnt-running" : 100.00}
{"interval" : 0.300736830, "counter-value" : "6.000000", "unit" : "", "event" : "context-switches", "event-runtime" : 72298, "pcnt-running" : 99.00}
"""
WORDS = b"""What the series does, in a paragraph or two.

Another paragraph: with a colon.

Link: https://lore.kernel.org/r/1435775343-20034-1-git-send-email-zhichao.huang@linaro.org
Suggested-by: A Reviewer <reviewer@example.org>
"""
LETTER = b"KVM: arm64: Switch the debug registers only when needed\n\n" + WORDS
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Title\n", "\n", "Prose with `code` and [a link](https://example.org)."]},
        {"cell_type": "code", "id": "b", "execution_count": 1, "metadata": {"tags": ["parameters"]}, "source": "x = 1", "outputs": [
            {"output_type": "stream", "name": "stdout", "text": "one line\n"},
            {"output_type": "display_data", "metadata": {}, "data": {"text/html": ["<table><thead><tr><th>a</th></tr></thead><tbody>",
             "<tr><td style=\"text-align: right;\">1</td></tr></tbody></table>"], "text/plain": "a 1"}},
            {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": {
             "image/png": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "text/plain": "<Figure>"}},
            {"output_type": "display_data", "metadata": {"study": {"name": "cost"}}, "data": {
             "image/svg+xml": "<svg xmlns=\"http://www.w3.org/2000/svg\"><title>t</title><path d=\"M0 0\"/></svg>", "text/markdown": "## Part\n\n| a | b |\n|--|--|\n| 1 | 2 |"}},
            {"output_type": "error", "ename": "ValueError", "evalue": "x", "traceback": ["\x1b[31mValueError\x1b[0m: x"]}]},
    ],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python", "version": "3.11"}},
    "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip
REQUEST = "id=7 measure strategy=none loops=1 values=1 warmups=0"


class Nonsense(AssertionError):
    """A reader took what makes no sense."""


def insist(true: object, says: str, *shown: object) -> None:
    """Raise Nonsense unless something is true; `says` is the kind of nonsense, `shown` the case."""
    if not true:
        raise Nonsense(f"{says} | {', '.join(repr(one)[:80] for one in shown)}" if shown else says)


@dataclass
class Bench:
    """Where a worker reads: a folder of its own, with a whole campaign of each kind to spoil copies of.

    Parameters
    ----------
    folder : path
        Where everything is written.
    base : path
        Of the campaigns; they are only read.
    known : set of str
        Frames whose summary was looked at already.
    """

    folder: Path
    base: Path
    known: set[str] = field(default_factory=set)

    def campaign(self, kind: str, use: str) -> Path:
        """Return the folder of a copy of a campaign that is of this use alone."""
        place = self.folder / use
        if not place.exists():
            shutil.copytree(self.base / kind, place)
        return place

    def fresh(self, use: str) -> Path:
        """Return an empty folder of this use."""
        place = self.folder / use
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place


# --- files as they should be -------------------------------------------------------------------------------------


def make(base: Path) -> None:
    """Make a small whole campaign of each kind: measured lines of the reference, and what a suite and perf said."""
    for kind, factors in FACTORS.items():
        campaign, board = Campaign.freeze(base / kind, factors), BOARDS[kind]
        for number, name in enumerate(BOOTS[kind], 1):
            old = REFERENCE / "boots" / name
            wanted = {visit.cell: visit for visit in campaign.designs[kind].visits() if visit.boot == number}
            boot = campaign.open_boot(board, number)
            boot.begin()
            boot.describe(_smaller_facts(json.loads((old / BOOT).read_text())))
            lines = {cell: _as_planned(line, visit) for cell, visit in wanted.items() if (line := _line_of(old, visit))}
            assert len(lines) == len(wanted), f"{old} has no visit like one of {list(wanted)}"
            boot.record(*(lines[visit.cell] for visit in wanted.values()))
            if kind == KVM and number == 1:
                boot.record(receipts.line(), receipts.line(strategy="lazy"), receipts.sampled(), file=RECEIPTS)
        if kind == KVM:
            campaign.enough(board, 3, 0.009)
        campaign.close(board)
    made_lives.make(base / GUESTS, trips=False, boots=1)
    source = base / "sources"
    source.mkdir()
    for name in ("before", "after"):
        (source / f"{name}.json").write_bytes(suite(1.0 if name == "before" else 2.0))
    (source / "counted.txt").write_bytes(PERF)
    import_files(base / IMPORTED, sorted(source.glob("*.json")), {})
    import_files(base / IMPORTED, [source / "counted.txt"], {"board": "h", "kernel": "6.1", "boot": "1"})
    _pages()  # nbconvert takes seconds to import, which no input should be blamed for


def visits(boot: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a boot as they are."""
    yield from map(json.loads, (boot / VISITS).read_bytes().splitlines())


def _line_of(boot: Path, visit: Visit) -> dict[str, Any] | None:
    cell = {"strategy": visit.cell.strategy, "guest": visit.cell.guest, "host": visit.cell.host, "exit": visit.cell.exit}
    return next((line for line in visits(boot) if line["cell"] == cell and line["arm"] == visit.cell.arm), None)


def _as_planned(line: dict[str, Any], visit: Visit) -> dict[str, Any]:
    metadata = {name: value for name, value in line["pyperf"]["metadata"].items() if not name.startswith(LEFT_OUT)}
    metadata["visit"] = visit.name
    return {**line, "visit": visit.name, "block": visit.block, "pyperf": {**line["pyperf"], "metadata": metadata}}


def _smaller_facts(facts: dict[str, Any]) -> dict[str, Any]:
    few = {name: list(facts[name].items())[:2] for name in ("packages",) if name in facts}
    return {
        **facts,
        **{name: dict(rows) for name, rows in few.items()},
        **({"doctor": facts["doctor"][:2]} if "doctor" in facts else {}),
    }


def suite(scale: float = 1.0) -> bytes:
    """Return a suite of two benchmarks with three runs of two values, as pyperf writes it."""
    benchmarks = [
        pyperf.Benchmark([
            pyperf.Run([scale * (one + run / 100), scale * (one + run / 90)], warmups=[(4, scale)],
                       metadata={"name": f"bench{one}", "loops": 4, "unit": "second", "hostname": "h", "boot_time": f"2026-01-0{run} 10:00:00",
                                 "date": f"2026-01-0{run} 11:00:00", "platform": "Linux-6.1.0-56-arm64-aarch64-with-glibc2.36"},
                       collect_metadata=False)
            for run in (1, 2, 3)
        ])
        for one in (1, 2)
    ]  # fmt: skip
    text = io.StringIO()
    pyperf.BenchmarkSuite(benchmarks).dump(text)
    return text.getvalue().encode()


def designs(base: Path) -> list[bytes]:
    more = Factors(
        strategies=("stock", "lazy"), guests=("untouched", "mde"), kernels=("6.1", "new=6.12:stock"), boots=3, until=0.01
    )
    seeds = [json.dumps(draw(factors).to_json()).encode() for factors in (*FACTORS.values(), more)]
    return [*seeds, (base / IMPORTED / DESIGN).read_bytes()]


def files(kind: str, name: str, base: Path) -> list[bytes]:
    """Return the files of one name of a campaign."""
    return [path.read_bytes() for path in sorted((base / kind).glob(f"**/{name}"))]


def suites(base: Path) -> list[bytes]:
    shipped = Path(pyperf.__file__).parent / "tests"
    return [
        suite(),
        *(path.read_bytes() for name in ("track_memory",) if len((path := shipped / f"{name}.json").read_bytes()) < 4000),
    ]


def packed(base: Path) -> list[bytes]:
    return [gzip.compress(content, mtime=0) for content in (*suites(base), PERF)]


def logs(base: Path) -> list[bytes]:
    return [made_logs.log(Random(seed), runs).encode() for seed, runs in enumerate((1, 3))]


def linux_answers(base: Path) -> list[bytes]:
    """Return what the agent says of a boot and of a visit: two lines."""
    facts = json.loads((base / KVM / "boots" / BOOTS[KVM][0] / BOOT).read_text())
    line = next(visits(base / KVM / "boots" / f"{BOARDS[KVM]}.1"))
    visit = {name: line[name] for name in ("pyperf", "windows", "module", "checks") if name in line}
    return [_lines({"id": number, "result": result} for number, result in enumerate((facts, visit), 1))]


def rig_answers(base: Path) -> list[bytes]:
    """Return what a rig says of a boot, an empty window, one round trip, a visit, and its registers: five results."""
    facts = json.loads((base / RIG / "boots" / BOOTS[RIG][0] / BOOT).read_text())
    own = {name: facts[name] for name in ("architecture", "breakpoints", "watchpoints", "landmarks", "baits", "debug", "frequency", "code",
                                          "identity", "model", "started", "strategies")}  # fmt: skip
    measured = next(visits(base / RIG / "boots" / f"{BOARDS[RIG]}.1"))["rig"]
    said = {**measured, "empty": [6, 8, 1], "values": [[388006, 388008, 24250], [388006, 388008, 24251]]}
    architecture = rig.ARCHITECTURES[own["architecture"]]
    machine = Machine(own["breakpoints"], own["watchpoints"], int(own["landmarks"], 16), int(own["baits"], 16), architecture.monitor,
                      architecture.entry, int(own["debug"], 16))  # fmt: skip
    cell = _visit(RIG).cell
    reads = [f"{value:x}" for value in oracle(machine, cell.guest, cell.host, cell.exit).expected]
    return [_lines([own, {"values": [[6, 8, 1]]}, {"values": [[394, 396, 2]]}, said, {"reads": reads}])]


def serial_lines(base: Path) -> list[bytes]:
    return [
        framed(7, body.encode(), REQUEST) for body in ('{"values":[[6,8,1]],"empty":[6,8,1],"loops":1}', '{"reads":["0","1e6"]}')
    ]


def _lines(trees: Iterable[Any]) -> bytes:
    return b"".join(mutate.as_bytes(tree) + b"\n" for tree in trees)


def framed(number: int, body: bytes, request: str) -> bytes:
    """Return a line of a rig that carries a body whole."""
    return b'{"id":%d,"result":%b,"crc":%d,"heard":%d}' % (number, body, zlib.crc32(body), zlib.crc32(request.encode()))


@cache
def _visit(kind: str) -> Visit:
    """Return the visit that boards are asked for: the first of its design."""
    return draw(FACTORS[kind]).visits()[0]


# --- how they are spoiled ----------------------------------------------------------------------------------------

Mutator = Callable[[Random, Sequence[bytes]], bytes]


def as_bytes(*words: bytes) -> Mutator:
    return lambda source, seeds: mutate.of_bytes(source, seeds, words)


def as_json(*words: bytes) -> Mutator:
    return lambda source, seeds: mutate.of_json(source, seeds, words)


def a_line(source: Random, seeds: Sequence[bytes]) -> bytes:
    """Change the tree of a line, or now and then its bytes."""
    lines = source.choice(seeds).splitlines()
    at = source.randrange(len(lines))
    lines[at] = (
        mutate.of_json(source, [lines[at]])
        if source.random() < 0.2
        else mutate.as_bytes(mutate.of_tree(source, json.loads(lines[at])))
    )
    return b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines)


def signed(source: Random, seeds: Sequence[bytes]) -> bytes:
    """Change the tree of a visit's line, and sign it: its digest is right, and what it says is not."""
    lines = [json.loads(line) for line in source.choice(seeds).splitlines()]
    at = source.randrange(len(lines))
    changed = mutate.of_tree(source, lines[at])
    lines[at] = {**changed, "sha256": line_digest(changed)} if isinstance(changed, dict) else changed
    return _lines(lines)


def of_packed(source: Random, seeds: Sequence[bytes]) -> bytes:
    """Spoil what is packed, or the packing."""
    if source.random() < 0.3:
        return mutate.of_bytes(source, seeds)
    return gzip.compress(mutate.of_bytes(source, [gzip.decompress(seed) for seed in seeds]), compresslevel=1, mtime=0)


def of_serial(source: Random, seeds: Sequence[bytes]) -> bytes:
    """Garble a line, or let the rig say something else in a line that is whole."""
    if source.random() < 0.4:
        return mutate.of_bytes(source, seeds)
    bodies = [seed.partition(b'"result":')[2].partition(b',"crc"')[0] for seed in seeds]
    return framed(7, mutate.of_json(source, bodies), REQUEST)


# --- how they are read, and what makes sense -----------------------------------------------------------------------


def printable(what: str, *names: object) -> None:
    """Insist that names are texts that can be shown anywhere."""
    for name in names:
        insist(
            isinstance(name, str) and name.isprintable() and len(name) <= LONGEST, f"{what} is no name that can be shown", name
        )


def is_one_line(what: str, text: str) -> None:
    insist(text.isprintable(), f"{what} is not one line of printable characters", text)


def finite(what: str, *values: object) -> None:
    """Insist that values are numbers."""
    for value in values:
        insist(
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value), f"{what} is no number", value
        )


def read_design(bench: Bench, content: bytes) -> None:
    """Read a design, and everything that is asked of one."""
    folder = bench.fresh("design")
    (folder / DESIGN).write_bytes(content)
    campaign = Campaign(folder)
    for kind, design in campaign.designs.items():
        again = Design.from_json(json.loads(json.dumps(design.to_json())))
        insist(again == design, "a design is not what it is after it is written and read again")
        names = {visit.name for visit in design.visits()}
        insist(kind == IMPORTED or len(names) == sum(map(len, design.order)), "two visits of a design have one name")
        insist(kind == IMPORTED or names, "a design asks for nothing")
        printable("a baseline", design.factors.baseline)


def commits(base: Path) -> list[bytes]:
    row = {"commit": "1" * 40, "describe": "v7.3", "subject": "Linux 7.3", "label": "base", "kernel": "base", "why": ""}
    first, second = ({**row, "label": label, "subject": f"KVM: arm64: {label}"} for label in ("1-a", "2-b"))
    known = {
        "branch": "topic",
        "ends": False,
        "base": row,
        "patches": [{**first, "kernel": "1-a"}, {**second, "kernel": "", "why": "it does not build"}],
    }
    return [json.dumps(known).encode()]


def read_commits(bench: Bench, content: bytes) -> None:
    """Read the commits of a series, and show them."""
    folder = bench.fresh("commits")
    (folder / DESIGN).write_text(json.dumps(draw(FACTORS[KVM]).to_json()))
    (folder / SERIES).write_bytes(content)
    known = Campaign(folder).series()
    insist(known["patches"], "a series has no patch")
    for line in patches.commits(known):
        is_one_line("a commit", line)
    insist(patches.table(patches.moves(pd.DataFrame(columns=NOTHING), known), known), "a table says nothing")


def read_prices(bench: Bench, content: bytes) -> None:
    """Read the prices that a campaign holds, show them, and write them again."""
    folder = bench.fresh("prices")
    (folder / DESIGN).write_text(json.dumps(draw(FACTORS[KVM]).to_json()))
    (folder / PRICES).write_bytes(content)
    known = measured.recorded(Campaign(folder))
    for price in known:
        for word in (price.who, price.range, price.of, price.machine, price.kernel, price.source):
            is_one_line("a price", word)
    is_one_line("a sentence", published.measured(known))
    insist(repr(published.prices(measured.text(known))) == repr(known), "prices are others when they are written")


def played_of(base: Path) -> list[bytes]:
    one = {
        "board": "qemu-neoverse-n1",
        "mode": "vhe",
        "build_id": "",
        "digest": "0" * 64,
        "met": {"guest read": 3, "exception 0x30": 5},
    }
    rows = [{**one, "kernel": kernel, "differ": differ} for kernel, differ in (("base", []), ("base", []), ("tip", [4]))]
    return [json.dumps({"seed": "1", "count": 20, "played": rows}).encode()]


def read_played(bench: Bench, content: bytes) -> None:
    """Read which sequences were played on the kernels of a series, and say so."""
    folder = bench.fresh("played")
    (folder / DESIGN).write_text(json.dumps(draw(FACTORS[KVM]).to_json()))
    (folder / SEQUENCES).write_bytes(content)
    known = Campaign(folder).sequences()
    is_one_line("a sentence", played.sentence(known))
    insist(known["played"] and all(line.isprintable() for line in played.table(known).splitlines()), "a table says nothing")


def read_campaign(kind: str, name: str, bench: Bench, content: bytes) -> None:
    """Read a campaign of which one file is spoiled, as a frame and in words."""
    folder = bench.campaign(kind, f"{kind}-{name}")
    (next(iter(sorted(folder.glob(f"boots/*/{name}"))))).write_bytes(content)
    campaign = Campaign(folder)
    for record in campaign.records():
        printable("a fact", *(record.facts[name] for name in ("board", "kernel", "mode")))
    for line in campaign.describe().splitlines():
        is_one_line("a campaign's description", line)
    look_at(bench, campaign)


def look_at(bench: Bench, campaign: Campaign) -> None:
    """Look at a campaign's frame, and at its summary if no other frame was the same."""
    values = frame.tidy(campaign)
    for name in NAMES:
        printable(f"{name} in a frame", *values[name].unique())
    insist(len(values), "a frame has no row")
    numbers = values["value"].astype(float)
    insist((numbers.isna() | (numbers.abs() < LARGEST)).all(), "a value is infinite, or as good as", numbers.abs().max())
    is_timed = values["metric"].isin(["clock", "time", "memory", "count"])
    insist((numbers[is_timed] > SMALLEST).all(), "a timed value is not above 0", numbers[is_timed].min())
    insist(
        pd.to_numeric(values["running"]).between(0, 1).all(), "a share of time is not within 0 and 1", *values["running"].unique()
    )
    insist((pd.to_numeric(values["loops"]) >= 1).all(), "a visit has no loops", *values["loops"].unique())
    insist((pd.to_numeric(values["block"]) >= 0).all(), "a block is below 0", *values["block"].unique())
    if campaign.origin == "imported":
        insist((numbers.isna() | (numbers >= 0)).all(), "an imported value is below 0", numbers.min())
    if (seen := repr(values.to_dict("list"))) not in bench.known:
        bench.known.add(seen)
        look_at_summary(compare.summarise(values, campaign.baselines()))


def look_at_summary(summary: pd.DataFrame) -> None:
    """Look at what is made of a frame."""
    for name in ("median", "visits", "values", "boots"):
        insist(summary[name].map(math.isfinite).all(), f"{name} in a summary is not finite")
    for name in ("ci_low", "ci_high", "ratio", "ratio_low", "ratio_high", "p", "least"):
        insist((~summary[name].map(math.isinf)).all(), f"{name} in a summary is infinite")
    insist((summary["ratio"].isna() | (summary["ratio"] > 0)).all(), "a ratio is not above 0")
    insist((summary["p"].isna() | summary["p"].between(0, 1)).all(), "a p is no probability")
    known = {compare.BASELINE, compare.LOWER, compare.HIGHER, compare.CANNOT}
    insist(set(summary["verdict"].dropna()) <= known, "a verdict is unknown", *summary["verdict"].unique())


def read_lives(bench: Bench, content: bytes) -> None:
    """Read spoiled lives in the place of those of a campaign, and tabulate them."""
    folder = bench.campaign(GUESTS, "lives")
    next(folder.glob(f"boots/*/{CENSUS}")).write_bytes(content)
    found = lives.frame(Campaign(folder))
    for name in ("exits", "in_kernel", "in_vmm", "in_guest", "switches", "traps"):
        for value in found[name].dropna():
            finite(f"{name} of a phase", value)
            insist(value >= 0, "a count is below 0", name, value)
    table = lives.census(found)
    for name in ("monitor_mode", "enabled"):
        insist(table[name].dropna().between(0, 1).all(), "a share of entries is none", *table[name].dropna())


def read_receipts(bench: Bench, content: bytes) -> None:
    """Read spoiled receipts in the place of those of a campaign."""
    folder = bench.campaign(KVM, "receipts")
    next(folder.glob(f"boots/*/{RECEIPTS}")).write_bytes(content)
    for record in Campaign(folder).receipts():
        line = record.line
        if line["receipt"] == "sampled":
            insist(
                sum(row["samples"] for row in line["functions"]) == line["samples"],
                "a receipt has other samples than its functions",
            )
            continue
        finite("the instructions of a round trip", line["instructions"])
        total = sum(row["instructions"] for row in line["functions"])
        insist(abs(total - line["instructions"]) < 0.1, "a receipt is not the sum of its functions", total, line["instructions"])
        for row in line["functions"]:
            printable("a function", legible(row["function"]), legible(row["module"]))
            insist(
                row["reads"] + row["writes"] <= 2 * row["instructions"] + 0.1,
                "a function has more accesses than instructions",
                row,
            )


def read_sums(bench: Bench, content: bytes) -> None:
    """Verify a campaign by spoiled sums; what is wrong is said in lines that can be shown."""
    folder = bench.campaign(KVM, "sums")
    (folder / SUMS).write_bytes(content)
    campaign = Campaign(folder)
    for problem in [*campaign.verify(), *campaign.damaged()]:
        is_one_line("a problem of a campaign", str(problem))
    for board in BOARDS.values():
        campaign.unclosed(board)
    campaign.interrupted()


def read_enough(bench: Bench, content: bytes) -> None:
    """Ask for the visits of a board whose rule for stopping was met at some boot."""
    folder = bench.campaign(KVM, "enough")
    next(folder.glob(f"boots/*/{ENOUGH}")).write_bytes(content)
    asked = Campaign(folder).asked(BOARDS[KVM])
    insist(asked, "a board is asked for nothing, as if it were done")


def read_import(name: str, bench: Bench, content: bytes) -> None:
    """Import a file into a campaign of its own."""
    folder = bench.fresh("import")
    (folder / name).write_bytes(content)
    campaign = import_files(folder / "c", [folder / name], {})
    insist(campaign.verify() == [], "what was imported is not whole", *campaign.verify()[:1])
    printable("a board", *campaign.boards())
    printable("a baseline", *campaign.baselines().values())
    look_at(bench, campaign)


def read_shelf(bench: Bench, content: bytes) -> None:
    """Read the boards of a file, and how they are started."""
    path = bench.fresh("shelf") / "boards.toml"
    path.write_bytes(content)
    for entry in shelf.read(path):
        for word in (*entry.options, *entry.before, *entry.environment.values()):
            is_one_line("a word of a command", word)


def read_kept(bench: Bench, content: bytes) -> None:
    """Read a series that is kept as lines, and add its lines where they belong."""
    file = bench.fresh("kept") / "kept.toml"
    file.write_bytes(content)
    kept = lines.read(file)
    insist(kept.patches and all(isinstance(text, str) for text in (kept.linux, *kept.design.values())), "it says nothing")
    for patch in kept.patches:
        insist(patch.message.strip() and patch.insertions, "a patch that is none is taken", patch)
        for insertion in patch.insertions:
            added = insertion.into(KEPT_IN)
            insist(added.replace(insertion.text, "", 1) == KEPT_IN, "more than lines was added", added)


def read_own_guests(bench: Bench, content: bytes) -> None:
    """Read guests of a user's own, whose files are there."""
    folder = bench.fresh("guests")
    for name in ("Image", "initrd"):
        (folder / name).write_text(name)
    (folder / "guests.toml").write_bytes(content)
    for name, row in table.read(folder / "guests.toml").items():
        printable("a guest", name)
        is_one_line("a command line", row.append)
        insist(row.bits in (32, 64) and 16 <= row.memory <= 65536, "a guest that no board has is taken", row)


def read_serial(bench: Bench, content: bytes) -> None:
    """Read a line of a rig: ValueError is what its reader promises to the link."""
    try:
        answer = rig.read(content, REQUEST)
    except ValueError as error:
        raise BoardFailed(str(error)) from None
    insist(isinstance(answer, dict) and isinstance(answer.get("id"), int), "an answer of a rig is no answer", answer)
    insist("result" in answer or "error" in answer, "an answer of a rig says nothing", answer)


class Told(Link):
    """A link to a board that says given lines, whatever it is asked."""

    def __init__(self, board: str, launch: Launch, lines: Iterable[bytes], wrap: Callable[[int, bytes, str], bytes]) -> None:
        super().__init__(board, launch)
        self._lines, self._wrap, self._request, self._said = iter(lines), wrap, "", 0

    def _send(self, data: bytes, deadline: float) -> None:
        self._request = data.decode().removesuffix("\n")

    def _line(self, deadline: float) -> bytes:
        self._said += 1
        line = next(self._lines, None)
        if line is None:
            raise self._failed("it ended")
        return self._wrap(self._said, line, self._request)


def read_linux(bench: Bench, content: bytes) -> None:
    """Measure a visit on a Linux board that says what a file holds."""
    launch = Launch([], cwd=bench.folder, console=bench.folder / "console.log")
    link = Told(BOARDS[KVM], launch, content.split(b"\n"), lambda number, line, request: line)
    board = LinuxBoard()
    board.emulated = True
    measure(bench, KVM, board, link)


def read_rig(board: Callable[[], rig.Rig], bench: Bench, content: bytes) -> None:
    """Measure a visit on a rig that says what a file holds, in lines that are whole."""
    launch = Launch([], cwd=bench.folder, console=bench.folder / "console.log", write=rig.write, read=rig.read)
    machine = board()
    measure(bench, RIG, machine, Told(BOARDS[RIG], launch, content.split(b"\n"), framed))


def measure(bench: Bench, kind: str, board: LinuxBoard | rig.Rig, link: Link) -> None:
    """Ask a board what it is and measure a visit on it; record both as study.collect.session does, and read them back."""
    board.name = BOARDS[kind]
    factors, visit = FACTORS[kind], _visit(kind)
    facts = board.describe(link, factors)
    measured = board.measure(link, visit, factors)
    for count in measured["counts"]:
        printable("an event", count["event"])
        finite("a share of time", count["running"])
        insist(count["why"] or count["value"] is not None, "a count has no value, and no reason")
        if count["value"] is not None:
            finite("a count", count["value"])
    folder = bench.fresh("measured")
    campaign = Campaign.freeze(folder / "c", factors)
    boot = campaign.open_boot(BOARDS[kind], 1)
    boot.begin()
    boot.describe(records.facts_of(board, facts))
    boot.record(records.line_of(board, visit, factors, measured))
    campaign.close(BOARDS[kind])
    recorded = Campaign(folder / "c")
    insist(recorded.verify() == [], "what was recorded is not whole", *recorded.verify()[:1])
    look_at(bench, recorded)


@cache
def _pages() -> site.Pages:
    return site.Pages(Path())


def read_notebook(bench: Bench, content: bytes) -> None:
    """Make a page of an executed notebook: it runs nothing but the scripts that its policy allows."""
    folder = bench.fresh("notebook")
    path = folder / "analyze.ipynb"
    path.write_bytes(content)
    pages = _pages()
    pages.out = folder
    name, _ = pages.notebook(path, "pages", [], [], {})
    page = (folder / "pages" / name).read_bytes()
    own = pages.common["scripts"]
    insist(all(f"<script>{script}</script>".encode() in page for script in own), "a page lacks a script of its own")
    insist(page.count(b"<script") == len(own) == 2, "a page runs more than its own scripts", page.count(b"<script"))
    insist(b"javascript:" not in page or b'"javascript:' not in page, "a link of a page runs something")


def read_words(bench: Bench, content: bytes) -> None:
    """Read what an author says of a series."""
    path = bench.fresh("words") / "series.txt"
    path.write_bytes(content)
    said, links = letter.split_links(letter.own_words(path))
    prose.check(f"{said}\n\n{links}\n")


def read_letter(bench: Bench, content: bytes) -> None:
    """Read a letter that is put in front of a series, as the command does."""
    series.check_letter(content.decode(errors="replace"))


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A kind of file that is read back.

    Parameters
    ----------
    weight : int
        Of all inputs, so many are of this format for each one of a format of weight 1: readers that are slow get fewer.
    seeds : callable
        From the folder of make() to files as they should be.
    mutate : callable
        Spoils one of them.
    read : callable
        Reads what came of it: StudyError if it is refused, Nonsense if it is taken and should not be.
    never : mapping of str to str
        Which end, ``refused`` or ``taken``, no input can come to, and why.
    """

    weight: int
    seeds: Callable[[Path], list[bytes]]
    mutate: Mutator
    read: Callable[[Bench, bytes], None]
    never: Mapping[str, str] = field(default_factory=dict)


DESIGN_WORDS = (
    b'"kind"',
    b'"imported"',
    b'"rig"',
    b'"kvm"',
    b'"boots"',
    b'"order"',
    b'"lazy"',
    b"hvc:mde",
    b"one:all",
    b"6.12:stock",
)
LINE_WORDS = (
    b'"pyperf"',
    b'"counts"',
    b'"cell"',
    b'"source"',
    b'"sha256"',
    b'"value"',
    b'"unit"',
    b'"byte"',
    b'"integer"',
    b'"module"',
)
RECEIPT_WORDS = (b'"receipt"', b'"sampled"', b'"traced"', b'"functions"', b'"stacks"', b'"registers"', b'"number"', b'"sha256"')
LIFE_WORDS = (
    b'"phases"',
    b'"cannot"',
    b'"kvm"',
    b'"exits"',
    b'"module"',
    b'"tracepoints"',
    b'"census"',
    b'"monitored"',
    b'"sha256"',
)
PERF_WORDS = (
    b'"counter-value"',
    b'"<not counted>"',
    b'"metric-value"',
    b'"cpu"',
    b'"event"',
    b'"unit"',
    b'"pcnt-running"',
    b"# ",
)
LOG_WORDS = (
    b"EXIT: STATUS=1\n",
    b"EXIT: STATUS=255\n",
    b" test skipped\n",
    b"name  total ns  avg ns\n",
    b"hvc  20054016.0  306.0\n",
    b"timer_10ms",
    b".0",
    b"SKIP micro-bench",
)
PRICE_WORDS = (
    b"[[price]]",
    b"]]",
    b'"""',
    b"0x7f",
    b"inf",
    b"nan",
    b"low",
    b"high",
    b"1e400",
    b"-1",
    b"cycles",
    b"ns",
    b"measured",
    b"\\u0007",
)
TOML_WORDS = (
    b"[boards.",
    b"]]",
    b'"""',
    b"'''",
    b"0x7f",
    b"1979-05-27",
    b"inf",
    b"nan",
    b"kernel",
    b"cpu",
    b"reboot",
    b"ssh:",
    b"serial:",
)
MAIL_WORDS = (b"Link: ", b"---", b"\nFrom ", b"Suggested-by: ", b"\n\n\n", b"[PATCH]", b"> ", "\u2028".encode(), b"#")
FORMATS: dict[str, Format] = {
    "design": Format(20, designs, as_json(*DESIGN_WORDS), read_design),
    "commits": Format(20, commits, as_json(b'"label"', b'"kernel"', b'"why"', b'"patches"', b'"base"'), read_commits),
    "boot": Format(2, partial(files, KVM, BOOT), as_json(b'"board"', b'"emulated"', b'"breakpoints"'), partial(read_campaign, KVM, BOOT)),
    "visits": Format(12, partial(files, KVM, VISITS), as_bytes(*LINE_WORDS), partial(read_campaign, KVM, VISITS)),
    "receipts": Format(12, partial(files, KVM, RECEIPTS), as_bytes(*RECEIPT_WORDS), read_receipts),
    "signed-receipts": Format(12, partial(files, KVM, RECEIPTS), signed, read_receipts),
    "lives": Format(12, partial(files, GUESTS, CENSUS), as_bytes(*LIFE_WORDS), read_lives),
    "signed-lives": Format(12, partial(files, GUESTS, CENSUS), signed, read_lives),
    "signed-kvm": Format(15, partial(files, KVM, VISITS), signed, partial(read_campaign, KVM, VISITS)),
    "signed-rig": Format(12, partial(files, RIG, VISITS), signed, partial(read_campaign, RIG, VISITS)),
    "signed-imported": Format(12, partial(files, IMPORTED, VISITS), signed, partial(read_campaign, IMPORTED, VISITS)),
    "sums": Format(6, partial(files, KVM, SUMS), as_bytes(b"  ", b"design.json", b"0" * 64), read_sums, {"refused": "verify tells of it"}),
    "enough": Format(12, partial(files, KVM, ENOUGH), as_json(b'"boot"'), read_enough),
    "suite": Format(4, suites, as_json(b'"values"', b'"warmups"', b'"unit"', b'"integer"', b'"byte"'), partial(read_import, "x.json")),
    "suite-gz": Format(3, packed, of_packed, partial(read_import, "x.json.gz")),
    "perf": Format(4, lambda base: [PERF, INTERVALS], as_bytes(*PERF_WORDS), partial(read_import, "x.txt")),
    "log": Format(4, logs, as_bytes(*LOG_WORDS), partial(read_import, "x.log")),
    "boards": Format(25, lambda base: [TOML], as_bytes(*TOML_WORDS), read_shelf),
    "kept": Format(25, lambda base: [KEPT], as_bytes(b"[[patch", b"]]", b"before", b"within", b'"""', b"return", b"../"), read_kept),
    "own-guests": Format(12, lambda base: [OWN_GUESTS], as_bytes(b"[mine", b"]", b"kernel", b"memory", b"0x7f", b"true", b"32"), read_own_guests),
    "played": Format(12, played_of, as_json(b'"played"', b'"met"', b'"differ"', b'"count"'), read_played),
    "prices": Format(25, lambda base: [PRICES_OF_OURS], as_bytes(*PRICE_WORDS), read_prices),
    "serial": Format(25, serial_lines, of_serial, read_serial),
    "linux": Format(3, linux_answers, a_line, read_linux),
    "rig": Format(3, rig_answers, a_line, partial(read_rig, lambda: rig.EmulatedRig("rig-cortex-a15"))),
    "rig-serial": Format(3, rig_answers, a_line, partial(read_rig, lambda: rig.SerialRig("/dev/ttyUSB0"))),
    "notebook": Format(1, lambda base: [mutate.as_bytes(NOTEBOOK)], as_json(b"<script>", b"<svg onload=x>", b"javascript:", b'"raw"'), read_notebook),
    "series": Format(25, lambda base: [WORDS], as_bytes(*MAIL_WORDS), read_words),
    "letter": Format(25, lambda base: [LETTER], as_bytes(*MAIL_WORDS), read_letter),
}  # fmt: skip


def seeds_of(base: Path) -> Mapping[str, list[bytes]]:
    """Return the files as they should be of every format."""
    return {name: row.seeds(base) for name, row in FORMATS.items()}
