"""Kill what measures, for real and at random moments: the command, its emulator, a notebook's command and its kernel."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from study import paths
from study.collect.session import duration
from tests.conftest import BIN, run
from tests.faults.ledger import Ledger, Line, lines, reference_of

RIG = "rig-cortex-a57"
# Six cells, ten times each: 60 visits, of which an idle machine makes some 20 in a second.
DESIGN = {"strategies": "lazy,none", "guests": "untouched,touch", "hosts": "none", "exits": "hvc", "processes": "10"}
DESIGN |= {"loops": "10", "values": "2", "warmups": "1", "boots": "1"}
GRACE = 5.0  # seconds until whatever belonged to a killed command must have ended
PATIENCE = 120.0  # seconds for a command to end that was asked to, on a busy machine
POLL = 0.005  # seconds

KILL, TERM, HANGUP, INTERRUPT = signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT
EMULATOR, KERNEL = "qemu-system-aarch64 -M", "ipykernel_launcher"  # and not what only asks an emulator for its version
Say = Callable[[str], object]


@dataclass(frozen=True)
class Kind:
    """A way to stop a run.

    Parameters
    ----------
    says : str
        The way in words.
    share : int
        How many kills of a hundred are made so.
    signals : tuple of Signals
        What is sent, each within 300 ms of the last.
    notebook : bool
        Whether it is papermill that measures, and not the command itself.
    target : str
        What is in the command line of the descendant that is struck; empty for the run's own process.
    group : bool
        Whether the run's whole process group is struck, as a terminal does.
    torn : bool
        Whether the last line is then cut somewhere, as a loss of power may leave it.
    status : tuple of int
        With what a run that was struck so may exit, besides what the signal itself does; empty for anything but 0.
    """

    says: str
    share: int
    signals: tuple[signal.Signals, ...]
    notebook: bool = False
    target: str = ""
    group: bool = False
    torn: bool = False
    status: tuple[int, ...] = ()


KINDS = (
    Kind("command, SIGKILL", 20, (KILL,)),
    Kind("command, SIGKILL, and its last line torn", 10, (KILL,), torn=True),
    Kind("emulator, SIGKILL", 15, (KILL,), target=EMULATOR, status=(1,)),
    Kind("command, SIGTERM", 8, (TERM,)),
    Kind("command, SIGHUP", 7, (HANGUP,)),
    Kind("command, Ctrl-C", 8, (INTERRUPT,), group=True, status=(130,)),
    Kind("command, Ctrl-C twice", 10, (INTERRUPT, INTERRUPT), group=True, status=(130,)),
    Kind("notebook's command, SIGKILL", 7, (KILL,), notebook=True),
    Kind("notebook's kernel, SIGKILL", 6, (KILL,), notebook=True, target=KERNEL, status=(1,)),
    Kind("notebook's emulator, SIGKILL", 3, (KILL,), notebook=True, target=EMULATOR, status=(1,)),
    Kind("notebook, Ctrl-C", 6, (INTERRUPT,), notebook=True, group=True),
)


# --- processes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process as /proc has it; `start` tells it from a later one of the same number."""

    pid: int
    parent: int
    start: str
    words: str


def processes() -> Iterator[Process]:
    """Yield every process that has not ended."""
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if fields[0] not in "ZX":
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield Process(int(place.name), int(fields[1]), fields[19], words)


def family(pid: int) -> set[Process]:
    """Return a process and all that it started, directly or not."""
    all_ = list(processes())
    found = {process for process in all_ if process.pid == pid}
    while more := {process for process in all_ if process.parent in {one.pid for one in found}} - found:
        found |= more
    return found


def about(folder: Path) -> set[Process]:
    """Return the processes that work in a folder, or name it in their command line."""

    def works_in(process: Process) -> bool:
        try:
            return Path(f"/proc/{process.pid}/cwd").readlink().is_relative_to(folder)
        except OSError:
            return False

    return {
        process for process in processes() if process.pid != os.getpid() and (str(folder) in process.words or works_in(process))
    }


def survivors(known: set[Process], folder: Path) -> set[Process]:
    """Return which of the known processes, or of a folder's, are alive when there has been time to end."""
    end = time.monotonic() + GRACE
    names = {(process.pid, process.start) for process in known}
    while left := {process for process in processes() if (process.pid, process.start) in names} | about(folder):
        if time.monotonic() > end:
            return left
        time.sleep(POLL)
    return set()


# --- a run, and a strike --------------------------------------------------------------------------------------------------


class Run:
    """A command that measures, in a process group of its own, with files for what it says."""

    def __init__(self, campaign: Path, place: Path, notebook: bool, design: Mapping[str, str], board: str = RIG) -> None:
        place.mkdir()
        self._out, self._err = place / "out", place / "err"
        words = [f"--{name}={value}" for name, value in design.items()]
        given = [word for name, value in design.items() for word in ("-p", name, value)]
        argv = ["collect", "--brief", "--board", board, "--campaign", str(campaign), *words]
        if notebook:
            argv = [
                "notebook",
                "collect",
                str(place / "out.ipynb"),
                "-p",
                "board",
                board,
                "-p",
                "campaign",
                str(campaign),
                *given,
            ]
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            self.process = subprocess.Popen(
                [str(BIN / "study"), *argv],
                cwd=paths.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.started = time.monotonic()

    @property
    def out(self) -> bytes:
        """What it has said so far."""
        return self._out.read_bytes()

    @property
    def err(self) -> str:
        """What it has complained of so far."""
        return self._err.read_text(errors="replace")

    def ended(self) -> bool:
        """Say whether it has."""
        return self.process.poll() is not None

    def until(self, what: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """Wait for something, or for the run's end, and return what it was."""
        end = time.monotonic() + patience
        while not (found := what()) and not self.ended() and time.monotonic() < end:
            time.sleep(POLL)
        return found

    def moment_of(self, words: bytes) -> float:
        """Wait until it has said something, and return when that was."""
        self.until(lambda: words in self.out)
        return time.monotonic()

    def target(self, words: str) -> Process | None:
        """Return the descendant whose command line has these words."""
        return next((one for one in family(self.process.pid) if words in one.words and "setpriv" not in one.words), None)

    def end(self) -> None:
        """End all of it, at once."""
        for process in family(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, KILL)
        self.process.wait()


@dataclass(frozen=True)
class Times:
    """How long an uninterrupted run takes: to its first word, for each visit, and from the last one to its end; in seconds."""

    start: float
    visit: float
    close: float

    def whole(self, left: int) -> float:
        """Return what a run takes of which so many visits are left."""
        return self.start + left * self.visit + self.close


@dataclass(frozen=True)
class Uninterrupted:
    """A campaign that nothing has disturbed: its lines, and how long it took by command and by notebook."""

    lines: dict[tuple[str, str], dict[str, Any]]
    texts: tuple[bytes, ...]
    times: dict[bool, Times]


def undisturbed(folder: Path, notebooks: bool = True, design: Mapping[str, str] = DESIGN) -> Uninterrupted:
    """Measure a campaign without any disturbance, by command and by notebook, and take the time."""
    times = {}
    for notebook in (False, True)[: 1 + notebooks]:
        campaign = folder / f"undisturbed-{int(notebook)}"
        run_ = Run(campaign, folder / f"undisturbed-run-{int(notebook)}", notebook, design)
        try:
            start, last = (run_.moment_of(words) for words in (b"booting", b" 0 s left"))
            run_.until(lambda: False)
        finally:
            run_.end()
        assert run_.process.returncode == 0, run_.err
        count = len(lines(campaign)[0])
        times[notebook] = Times(start - run_.started, (last - start) / count, time.monotonic() - last)
    found = [reference_of(folder / f"undisturbed-{int(notebook)}") for notebook in times]
    assert all(one == found[0] for one in found)
    return Uninterrupted(found[0], tuple(sorted(line.text for line in lines(folder / "undisturbed-0")[0])), times)


class Trial:
    """One campaign that is killed, and gone on with, until it is complete.

    Parameters
    ----------
    folder : path
        Where everything of it is kept.
    reference : Uninterrupted
        What it must be in the end.
    """

    def __init__(
        self, folder: Path, reference: Uninterrupted, random: Random, say: Say, design: Mapping[str, str] = DESIGN
    ) -> None:
        folder.mkdir()
        self.folder, self.campaign, self.reference = folder, folder / "campaign", reference
        self._random, self._say, self._design, self._runs = random, say, design, itertools.count(1)
        self._ledger, self._torn = Ledger(self.campaign, reference.lines), set[Path]()
        self._last = ""

    @property
    def recorded(self) -> int:
        """How many visits are recorded."""
        return len(lines(self.campaign)[0])

    @property
    def complete(self) -> bool:
        """Whether all visits are recorded."""
        return self.recorded == len(self.reference.lines)

    def start(self, notebook: bool) -> Run:
        """Run the same command again."""
        return Run(self.campaign, self.folder / f"run-{next(self._runs)}", notebook, self._design)

    def moment(self, notebook: bool) -> float:
        """Draw when to strike: any moment of an uninterrupted run of what is left is as likely as any other."""
        whole = self.reference.times[notebook].whole(len(self.reference.lines) - self.recorded)
        return self._random.uniform(0, whole)

    def kill(self, kind: Kind, wait: Callable[[Run], object] | None = None) -> dict[str, Any]:
        """Run, strike once, and count. If the run came to its end before it could be struck, `tried` is 0."""
        run_ = self.start(kind.notebook)
        try:
            (wait or self._wait(kind))(run_)
            struck = self._strike(run_, kind)
            if struck is None:
                run_.until(lambda: False, patience=600)
                return self.finished(run_, self._last or kind.says)
            before, known = struck
            run_.until(lambda: False)
            hung = not run_.ended()
        finally:
            run_.end()
        left = survivors(known, self.campaign)
        for process in left:
            self._say(f"  left running: {process.pid} {process.words[:100]}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, KILL)
        self._last = kind.says
        found = self._ledger.look(run_.out)
        wrong = self._torn_and_told(run_, set(found.torn))
        complaints = [*self._complaints(run_, kind), *(["it did not end"] if hung else []), *wrong]
        for complaint in complaints:
            self._say(f"  {kind.says}: {complaint}")
        if kind.torn:
            self._tear()
        return {
            "kind": kind.says, "tried": 1, "before": before.recorded, "after": found.recorded,
            "lost": before.lost + found.lost, "duplicated": before.duplicated + found.duplicated,
            "wrong": before.wrong + found.wrong, "left": len(left), "complaints": complaints,
        }  # fmt: skip

    def _wait(self, kind: Kind) -> Callable[[Run], object]:
        moment = self.moment(kind.notebook)
        return lambda run_: run_.until(lambda: time.monotonic() - run_.started >= moment)

    def _strike(self, run_: Run, kind: Kind) -> tuple[Any, set[Process]] | None:
        """Send the signals. Return what was recorded just before, and the processes that must end; nothing if there is no target."""
        target = run_.until(lambda: run_.target(kind.target)) if kind.target else None
        if run_.ended() or (kind.target and not target):
            return None
        known = family(run_.process.pid)
        pid = target.pid if target else run_.process.pid
        there = lines(self.campaign)
        for number, one in enumerate(kind.signals):
            time.sleep(self._random.uniform(0, 0.3) if number else 0)
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if kind.group else os.kill)(pid, one)
        return self._ledger.look(there=there), known

    def _complaints(self, run_: Run, kind: Kind) -> list[str]:
        """Say what is wrong with how a struck run ended: a traceback, more than one line, or as if nothing had happened."""
        words, status = run_.err.strip(), run_.process.returncode
        if INTERRUPT in kind.signals and words.endswith("KeyboardInterrupt") and not re.search(", in (start|main)$", words, re.M):
            return []  # Python itself had not got to us yet
        found = []
        if "Traceback" in words + run_.out.decode(errors="replace"):
            found.append(f"a traceback: ... {' | '.join(words.splitlines()[-3:])[-300:]}")
        elif len(words.splitlines()) > 1:
            found.append(f"{len(words.splitlines())} lines: {' | '.join(words.splitlines())[:300]}")
        expected = (*kind.status, *(-one for one in kind.signals), *((0,) if self.complete else ()))
        if (kind.status and status not in expected) or (status == 0 and not self.complete):
            found.append(f"exit status {status}: {words[-200:]}")
        return found

    def _tear(self) -> None:
        """Cut the last line of the boot that was interrupted, somewhere."""
        sums = self.campaign / "SHA256SUMS"
        closed = sums.read_text() if sums.exists() else ""
        files = [path for path in self.campaign.glob("boots/*/visits.jsonl") if f"boots/{path.parent.name}/" not in closed]
        for path in (path for path in files if path.read_bytes().endswith(b"\n")):
            data = path.read_bytes()
            last = data[data.rfind(b"\n", 0, -1) + 1 :]
            os.truncate(path, len(data) - self._random.randint(1, len(last) - 1))
            self._ledger.forget(Line(path.parent.name, last[:-1]))
            self._torn.add(path)

    def _torn_and_told(self, run_: Run, torn: set[Path]) -> list[str]:
        """Check that a torn line is only ever mended by saying so, and keep in mind which are torn now."""
        mended = self._torn - torn
        silent = [path for path in mended if f"{path}: the last line was torn" not in run_.out.decode(errors="replace")]
        self._torn = torn
        return [f"{path}: a torn line has gone without a word" for path in silent]

    def finished(self, run_: Run, kind: str) -> dict[str, Any]:
        """Check a run that came to its end after kills, of which the last was of a kind: complete, whole, nothing twice."""
        left = survivors(set(), self.campaign)
        found = self._ledger.look(run_.out)
        verified = run("verify", self.campaign)
        wrong = self._torn_and_told(run_, set(found.torn))
        if run_.process.returncode != 0 or verified.returncode != 0:
            wrong.append(f"it is not completed: {(run_.err + verified.stderr).strip()[-300:]}")
        elif not self._ledger.whole():
            wrong.append("it has other visits or cells than the uninterrupted one")
        elif sorted(line.text for line in lines(self.campaign)[0]) != list(self.reference.texts):
            wrong.append("it has other bytes than the uninterrupted one")
        for words in wrong:
            self._say(f"  {kind}: {words}")
        return {
            "kind": kind, "tried": 0, "before": 0, "after": 0, "lost": found.lost, "duplicated": found.duplicated,
            "wrong": found.wrong, "left": len(left), "complaints": wrong,
        }  # fmt: skip

    def finish(self, kind: str) -> dict[str, Any]:
        """Let it run to its end, and check it."""
        run_ = self.start(notebook=False)
        try:
            run_.until(lambda: False, patience=600)
        finally:
            run_.end()
        return self.finished(run_, kind)


# --- campaigns ------------------------------------------------------------------------------------------------------------


def drawn(count: int, random: Random, kinds: Sequence[Kind] = KINDS) -> list[Kind]:
    """Draw so many kinds, each by its share, and each at least once if there is room."""
    shares = sum(kind.share for kind in kinds)
    exact = [kind for kind in kinds for _ in range(max(1, count * kind.share // shares))]
    random.shuffle(exact)
    more = random.choices(kinds, [kind.share for kind in kinds], k=max(0, count - len(exact)))
    return (exact + more)[:count]


def campaigns(folder: Path, count: int, seed: int, say: Say, lanes: int = 2) -> list[dict[str, Any]]:
    """Kill so many runs, in as many campaigns as it takes, each gone on with until it is complete.

    Parameters
    ----------
    lanes : int
        How many campaigns run at the same time.

    Returns
    -------
    list of dict
        For each kind, what was tried and found; see added().
    """
    reference = undisturbed(folder)
    kinds, began, done = drawn(count, Random(seed)), time.monotonic(), itertools.count(1)

    def told(row: dict[str, Any]) -> None:
        number, spent = next(done), time.monotonic() - began
        what = f"{row['kind']}, {row['before']} visits before, {row['after']} after"
        say(f"kill {number}/{count}: {what}; about {duration(spent / number * (count - number))} left")

    def lane(number: int) -> list[dict[str, Any]]:
        random, rows, trials = Random(f"{seed} {number}"), list[dict[str, Any]](), itertools.count(1)

        def fresh() -> Trial:
            return Trial(folder / f"trial-{number}-{next(trials)}", reference, random, say)

        trial, todo = fresh(), kinds[number::lanes]
        while todo:
            row = trial.kill(todo[0])
            rows.append(row)
            if row["tried"]:
                told(row)
            if row["tried"] or not trial.complete:  # one that can neither be struck nor completed is counted
                todo = todo[1:]
            if not row["tried"] or trial.complete:
                rows += [trial.finish(row["kind"])] if row["tried"] else []
                trial = fresh()
        return [*rows, trial.finish(rows[-1]["kind"])]

    with ThreadPoolExecutor(lanes) as pool:
        return added(list(itertools.chain.from_iterable(pool.map(lane, range(lanes)))))


def interrupted(folder: Path, kinds: Sequence[Kind], seed: int, say: Say) -> list[dict[str, Any]]:
    """Interrupt one campaign so, one after the other, then let it finish: it must equal the uninterrupted one, byte for byte.

    The points are visits, drawn without replacement, and a moment within each.
    """
    random = Random(seed)
    reference = undisturbed(folder, notebooks=False)
    trial = Trial(folder / "interrupted", reference, random, say)
    rows = []
    for kind, point in zip(kinds, sorted(random.sample(range(len(reference.lines) - 1), len(kinds))), strict=True):
        moment = random.uniform(0, reference.times[False].visit)

        def wait(run_: Run, point: int = point, moment: float = moment) -> None:
            run_.until(lambda: b"booting" in run_.out and trial.recorded >= point)
            time.sleep(moment)

        rows.append(trial.kill(kind, wait))
        say(f"point {len(rows)}/{len(kinds)}, visit {point}: {kind.says}, {rows[-1]['after']} visits after")
    return added([*rows, trial.finish(rows[-1]["kind"])])


def added(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add up what is counted, for each kind."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    counts = ("tried", "before", "after", "lost", "duplicated", "wrong", "left")
    return [
        {"kind": kind, **{name: sum(row[name] for row in rows if row["kind"] == kind) for name in counts},
         "complaints": sorted({words for row in rows if row["kind"] == kind for words in row["complaints"]})}
        for kind in kinds
    ]  # fmt: skip
