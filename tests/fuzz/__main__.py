"""Feed mutated files to every reader: each is refused with the study's own error, or read right, in bounded time and memory.

python -m tests.fuzz                                          100 000 inputs over all formats
python -m tests.fuzz --format visits --seed 17 --input 4242   one of them again
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from study import paths
from study.errors import StudyError
from study.terminal import progress
from tests.fuzz.formats import FORMATS, Bench, Nonsense, make, seeds_of

SECONDS = 5.0  # of a processor that one input may take: on a busy machine a clock would blame the input for the others
MEMORY = 512  # MiB that one input may take above what a worker has at its start
ADDRESSES = 6 << 30  # bytes of a worker's address space: what runs away ends in a MemoryError
FULL = 100_000  # inputs of a full run
CHUNK = 100  # inputs that a worker is given at once
HUNG = 12 * SECONDS  # by the clock, after which a worker is killed: it waits, or no signal reaches it
KEPT = 5  # inputs that are kept of each kind of failure
OUT = paths.PAPER / "reliability" / "fuzz.json"


class TooSlow(BaseException):
    """An input has taken longer than it may. No reader catches it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input: ``refused``, ``taken``, or what went wrong."""

    number: int
    end: str
    seconds: float
    memory: float
    content: bytes = b""


@dataclass
class Row:
    """A line of the table."""

    inputs: int = 0
    refused: int = 0
    taken: int = 0
    uncaught: int = 0
    seconds: float = 0.0
    worst_seconds: float = 0.0
    worst_memory: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one more input."""
        self.inputs += 1
        self.refused += outcome.end == "refused"
        self.taken += outcome.end == "taken"
        self.uncaught += outcome.end not in ("refused", "taken")
        self.seconds += outcome.seconds
        self.worst_seconds = max(self.worst_seconds, outcome.seconds)
        self.worst_memory = max(self.worst_memory, outcome.memory)


@dataclass
class Report:
    """What a run found: a row for each format, and the failures by kind."""

    seed: int
    rows: dict[str, Row] = field(default_factory=dict)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str], int] = field(default_factory=dict)

    def total(self) -> Row:
        """Return the sum of all rows."""
        rows = list(self.rows.values())
        added = {name: sum(getattr(row, name) for row in rows) for name in ("inputs", "refused", "taken", "uncaught", "seconds")}
        return Row(
            **added,
            **{name: max((getattr(row, name) for row in rows), default=0.0) for name in ("worst_seconds", "worst_memory")},
        )

    def add(self, name: str, outcome: Outcome, folder: Path) -> None:
        """Count an outcome, and keep its input if it is a failure."""
        self.rows.setdefault(name, Row()).add(outcome)
        if outcome.end in ("refused", "taken"):
            return
        kind = (name, outcome.end.partition(" | ")[0])
        self.kinds[kind] += 1
        self.first.setdefault(kind, outcome.number)
        if self.kinds[kind] <= KEPT:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}-{self.seed}-{outcome.number}").write_bytes(outcome.content)
            (folder / f"{name}-{self.seed}-{outcome.number}.txt").write_text(f"{outcome.end}\n", errors="backslashreplace")

    def unmet(self) -> list[str]:
        """Name what nothing came to: each format's inputs are refused or taken, both, unless it says why they cannot be."""
        found = []
        for name, row in self.rows.items():
            never = FORMATS[name].never
            met = [end for end in ("refused", "taken") if getattr(row, end)]
            found += [f"{name}: none of {row.inputs} inputs was {end}" for end in {"refused", "taken"} - {*met, *never}]
            found += [f"{name}: an input was {end}, and none can be: {never[end]}" for end in met if end in never]
        return sorted(found)

    def table(self) -> str:
        """Return the table, and below it each kind of failure with the command that repeats one."""
        head = f"{'format':<16}{'inputs':>9}{'refused':>9}{'taken':>9}{'uncaught':>9}{'inputs/s':>10}{'worst s':>9}{'MiB':>6}"
        lines = [head, "-" * len(head)]
        for name, row in [*self.rows.items(), ("total", self.total())]:
            speed = row.inputs / row.seconds if row.seconds else 0.0
            lines.append(
                f"{name:<16}{row.inputs:>9}{row.refused:>9}{row.taken:>9}{row.uncaught:>9}{speed:>10.0f}{row.worst_seconds:>9.2f}"
                f"{row.worst_memory:>6.0f}"
            )
        for (name, kind), count in self.kinds.most_common():
            again = f"python -m tests.fuzz --format {name} --seed {self.seed} --input {self.first[name, kind]}"
            lines.append(f"{name}: {count} x {kind}\n    {again}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the figures, for a file."""
        return {
            "seed": self.seed,
            "limits": {"seconds": SECONDS, "mebibytes": MEMORY},
            "total": _rounded(self.total()),
            "formats": {name: _rounded(row) for name, row in self.rows.items()},
            "uncaught": [{"format": name, "kind": kind, "inputs": count} for (name, kind), count in self.kinds.most_common()],
        }


def _rounded(row: Row) -> dict[str, Any]:
    return {
        "inputs": row.inputs, "refused": row.refused, "taken": row.taken, "uncaught": row.uncaught,
        "worst_seconds": round(row.worst_seconds, 2), "worst_mebibytes": round(row.worst_memory),
    }  # fmt: skip


# --- one input -------------------------------------------------------------------------------------------------------


def spoiled(name: str, seed: int, number: int, seeds: Sequence[bytes]) -> bytes:
    """Return an input: the same for the same format, seed and number."""
    return FORMATS[name].mutate(Random(f"{seed}/{name}/{number}"), seeds)


def attempt(name: str, number: int, content: bytes, bench: Bench, start: float) -> Outcome:
    """Read one input within its bounds, and say how that ended."""
    began = time.process_time()
    try:
        with _alarm():
            FORMATS[name].read(bench, content)
        end = "taken"
    except StudyError as error:
        end = "refused" if str(error).isprintable() else f"a message that is not one line | {error}"
    except TooSlow:
        end = f"longer than {SECONDS:.0f} s"
    except Nonsense as error:
        end = f"nonsense: {error}"
    except Exception as error:  # this is what is looked for
        end = f"{type(error).__name__} in {_place(error)} | {error!s:.200}"
    seconds, memory = time.process_time() - began, _peak() - start
    if end in ("refused", "taken"):
        if seconds > SECONDS:
            end = f"longer than {SECONDS:.0f} s"
        elif memory > MEMORY:
            end = f"more than {MEMORY} MiB"
    return Outcome(number, end, seconds, max(0.0, memory), b"" if end in ("refused", "taken") else content)


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, where: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS, 1.0)  # again, if whoever was interrupted went on
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _place(error: BaseException) -> str:
    """Return the innermost function of the study that an exception came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if f"{os.sep}study{os.sep}" in one.filename] or frames[-1:]
    return f"{Path(ours[-1].filename).name}: {ours[-1].name}" if ours else "?"


def _peak() -> float:
    """Return the most memory that this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _forget_peak() -> float:
    """Let the most memory so far be what there is now (proc(5), clear_refs), and return it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


# --- many inputs -----------------------------------------------------------------------------------------------------


def chunks(names: Sequence[str], inputs: int, seed: int) -> list[tuple[str, range]]:
    """Share inputs among formats by their weights; return them in pieces, in an order that lets an estimate be good."""
    whole = sum(FORMATS[name].weight for name in names)
    pieces = []
    for name in names:
        count = math.ceil(inputs * FORMATS[name].weight / whole)
        pieces += [(name, range(at, min(count, at + CHUNK))) for at in range(0, count, CHUNK)]
    Random(seed).shuffle(pieces)
    return pieces


def _work(talk: Connection, seed: int, base: Path, folder: Path, seeds: Mapping[str, list[bytes]], at: Any) -> None:
    """Read chunks until there is none: the process of a worker. `at` says what it reads and since when."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", RuntimeWarning)  # numbers that overflow or are divided by 0 are no right result
    bench = Bench(folder, base)
    start = _forget_peak()
    for name, numbers in iter(talk.recv, None):
        start, outcomes = max(start, _forget_peak()), []
        for number in numbers:
            content = spoiled(name, seed, number, seeds[name])
            at[0], at[1] = number, time.monotonic()
            outcomes.append(attempt(name, number, content, bench, start))
            if outcomes[-1].memory > MEMORY / 2:
                start = max(start, _forget_peak())
        at[1] = 0.0
        talk.send(outcomes)


class Worker:
    """A process that reads chunks, and what it has been given."""

    def __init__(self, number: int, seed: int, base: Path, seeds: Mapping[str, list[bytes]]) -> None:
        context = multiprocessing.get_context("fork")
        folder = Path(tempfile.mkdtemp(prefix=f"worker{number}-", dir=base.parent))
        self.talk, theirs = context.Pipe()
        self.at = context.RawArray("d", 2)
        self.process = context.Process(target=_work, args=(theirs, seed, base, folder, seeds, self.at), daemon=True)
        self.process.start()
        theirs.close()
        self.chunk: tuple[str, range] | None = None

    def give(self, chunk: tuple[str, range] | None) -> None:
        """Give it a chunk, or tell it that there is none."""
        self.chunk = chunk
        self.talk.send(chunk)

    def hangs(self) -> bool:
        """Say whether no signal ends what it reads."""
        return bool(self.at[1]) and time.monotonic() - self.at[1] > HUNG


def run(names: Sequence[str], inputs: int, seed: int, processes: int, kept: Path) -> Report:
    """Read many inputs in several processes.

    Parameters
    ----------
    names : sequence of str
        Rows of FORMATS.
    inputs : int
        How many inputs of all formats together.
    seed : int
        Of the inputs.
    processes : int
        How many workers; one that dies is replaced, and the input that it died of is a failure.
    kept : path
        Folder for the inputs that failed.
    """
    left = chunks(names, inputs, seed)
    report = Report(seed, {name: Row() for name in names})
    planned = sum(len(numbers) for _, numbers in left)
    with _base() as base, progress.bar("reading mutated files", planned, "inputs") as shown:
        seeds = seeds_of(base)
        workers = [Worker(number, seed, base, seeds) for number in range(processes)]
        try:
            for worker in workers:
                worker.give(left.pop() if left else None)
            while any(worker.chunk for worker in workers):
                wait([item for worker in workers if worker.chunk for item in (worker.talk, worker.process.sentinel)], timeout=1.0)
                for place, worker in enumerate(workers):
                    if worker.chunk is None:
                        continue
                    name, numbers = worker.chunk
                    if worker.hangs():
                        worker.process.kill()
                        worker.process.join()
                    if worker.talk.poll() and (outcomes := _received(worker)) is not None:
                        for outcome in outcomes:
                            report.add(name, outcome, kept)
                        worker.give(left.pop() if left else None)
                    elif not worker.process.is_alive():
                        number = int(worker.at[0])
                        end = f"a worker that died or hung, exit code {worker.process.exitcode}, in a chunk of {len(numbers)}"
                        content = spoiled(name, seed, number, seeds[name])
                        report.add(name, Outcome(number, end, time.monotonic() - worker.at[1], 0.0, content), kept)
                        others = (range(numbers.start, number), range(number + 1, numbers.stop))
                        left += [(name, part) for part in others if part]
                        workers[place] = Worker(place, seed, base, seeds)
                        workers[place].give(left.pop() if left else None)
                shown.reach(report.total().inputs)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.join()
    return report


def _received(worker: Worker) -> list[Outcome] | None:
    try:
        outcomes: list[Outcome] = worker.talk.recv()
        return outcomes
    except (EOFError, OSError):
        return None


@contextmanager
def _base() -> Iterator[Path]:
    """Make the campaigns that are spoiled, in memory if the machine has a place for files there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="study-fuzz-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        base = Path(folder, "base")
        base.mkdir()
        make(base)
        yield base


def repeat(name: str, seed: int, number: int, kept: Path) -> int:
    """Read one input again, in this process; keep it, and show the traceback of what it ends in."""
    with _base() as base:
        content = spoiled(name, seed, number, FORMATS[name].seeds(base))
        kept.mkdir(parents=True, exist_ok=True)
        path = kept / f"{name}-{seed}-{number}"
        path.write_bytes(content)
        print(f"{path}: {len(content)} bytes")
        warnings.simplefilter("error", RuntimeWarning)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        folder = base.parent / "worker"
        folder.mkdir()
        began, start = time.process_time(), _forget_peak()
        try:
            with _alarm():
                FORMATS[name].read(Bench(folder, base), content)
            end = "taken"
        except StudyError as error:
            end = f"refused: {error!s:.2000}"
        except BaseException as error:
            traceback.print_exc()
            end = f"uncaught: {type(error).__name__}"
        print(f"{end}\n{time.process_time() - began:.3f} s, {_peak() - start:.0f} MiB above the start")
        return int(end.startswith("uncaught"))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--inputs", type=int, default=FULL, help=f"how many over all formats, {FULL} by default")
    parser.add_argument("--seed", type=int, default=1, help="of the inputs, 1 by default")
    parser.add_argument("--format", choices=list(FORMATS), help="this format only")
    parser.add_argument("--input", type=int, help="this input of the format only, with its traceback")
    parser.add_argument("--processes", type=int, default=2, help="workers, 2 by default")
    parser.add_argument("--kept", type=Path, default=paths.cache() / "fuzz", help="folder for inputs that fail")
    parser.add_argument(
        "--out",
        type=Path,
        nargs="?",
        const=OUT,
        help=f"write the figures there, as JSON; a full run writes {OUT.relative_to(paths.ROOT)}",
    )
    asked = parser.parse_args()
    if asked.input is not None:
        if asked.format is None:
            parser.error("--input is a number of one format: name it with --format")
        return repeat(asked.format, asked.seed, asked.input, asked.kept)
    names = [asked.format] if asked.format else list(FORMATS)
    began = time.monotonic()
    report = run(names, asked.inputs, asked.seed, asked.processes, asked.kept)
    print(report.table())
    total = report.total()
    print(
        f"{time.monotonic() - began:.0f} s in {asked.processes} processes; limits: {SECONDS:.0f} s of a processor and {MEMORY} MiB an input, seed {asked.seed}"
    )
    unmet = report.unmet()
    for words in unmet:
        print(words)
    if total.uncaught:
        print(f"inputs that failed, at most {KEPT} of a kind: {asked.kept}")
    is_full = asked.format is None and asked.inputs >= FULL
    if out := asked.out or (OUT if is_full else None):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report.to_json(), indent=1) + "\n")
    return int(total.uncaught > 0 or bool(unmet))


if __name__ == "__main__":
    sys.exit(main())
