"""Kill what measures, for real, in every state that it can be in: the command, its emulator, a notebook's command and its kernel.

The process that records is stopped at an event (see stopper/sitecustomize.py), looked at, struck, and let go on. What counts is the
state that a strike met (see states.py), told by what is on the disk and in /proc then, and not by what was meant.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from study import paths
from study.terminal.progress import duration
from tests.conftest import BIN, run
from tests.faults import states
from tests.faults.ledger import Ledger, Line, Look, lines, reference_of, unsigned
from tests.faults.processes import POLL, Process, awaits, family, go_on, is_stopped, survivors, unread
from tests.faults.states import CLOSED, CLOSING, OPEN, STARTING, STATES, Scene, State

RIG = "rig-cortex-a57"
# Six cells, ten times each: 60 visits.
DESIGN = {"strategies": "lazy,none", "guests": "untouched,touch", "hosts": "none", "exits": "hvc", "processes": "10"}
DESIGN |= {"loops": "10", "values": "2", "warmups": "1", "boots": "1"}
PATIENCE = 120.0  # seconds for what must happen, on a busy machine
STOPPER = Path(__file__).with_name("stopper")

KILL, TERM, HANGUP, INTERRUPT = signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT
EMULATOR, KERNEL = "qemu-system-aarch64 -M", "study.notebooks.kernel"  # and not what only asks an emulator for its version
ALL, RUNNING = states.states(STARTING, OPEN, CLOSING, CLOSED), states.states(OPEN)
OF_A_NOTEBOOK = tuple(state for state in ALL if state is not STATES["loading"])  # its kernel is loaded by others
TEARABLE = tuple(STATES[event] for event in ("unsynced", "asked", "between", "closing"))
COUNTS = ("tried", "recorded", "before", "after", "lost", "duplicated", "wrong", "left")
PROMISED = ("lost", "duplicated", "wrong", "left")  # must be zero
Say = Callable[[str], object]
Row = dict[str, Any]


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
        What is sent; a second one when the first has been taken for an order to close what was recorded.
    status : int
        With what a run that was struck so exits; below 0: the signal that ends it.
    notebook : bool
        Whether it is papermill that measures, and not the command itself.
    target : str
        What is in the command line of the descendant that is struck; empty for the run's own process.
    group : bool
        Whether the run's whole process group is struck, as a terminal does.
    torn : bool
        Whether the last line is then cut somewhere, as a loss of power may leave it.
    states : tuple of State
        In which it is struck.
    """

    says: str
    share: int
    signals: tuple[signal.Signals, ...]
    status: int
    notebook: bool = False
    target: str = ""
    group: bool = False
    torn: bool = False
    states: tuple[State, ...] = ALL

    @property
    def in_order(self) -> bool:
        """Whether the run is asked to end, and closes what it has recorded."""
        return KILL not in self.signals and len(self.signals) == 1


KINDS = (
    Kind("command, SIGKILL", 20, (KILL,), -KILL),
    Kind("command, SIGKILL, and its last line torn", 10, (KILL,), -KILL, torn=True, states=TEARABLE),
    Kind("emulator, SIGKILL", 15, (KILL,), 1, target=EMULATOR, states=RUNNING),
    Kind("command, SIGTERM", 8, (TERM,), 128 + TERM),
    Kind("command, SIGHUP", 7, (HANGUP,), 128 + HANGUP),
    Kind("command, Ctrl-C", 8, (INTERRUPT,), 128 + INTERRUPT, group=True),
    Kind("command, Ctrl-C twice", 10, (INTERRUPT, INTERRUPT), 128 + INTERRUPT, group=True, states=RUNNING),
    Kind("notebook's command, SIGKILL", 5, (KILL,), -KILL, notebook=True, states=OF_A_NOTEBOOK),
    Kind("notebook's kernel, SIGKILL", 5, (KILL,), 1, notebook=True, target=KERNEL, states=OF_A_NOTEBOOK),
    Kind("notebook's emulator, SIGKILL", 3, (KILL,), 1, notebook=True, target=EMULATOR, states=RUNNING),
    Kind("notebook, Ctrl-C", 5, (INTERRUPT,), 128 + INTERRUPT, notebook=True, group=True, states=OF_A_NOTEBOOK),
    Kind("notebook, SIGTERM", 4, (TERM,), 128 + TERM, notebook=True, states=OF_A_NOTEBOOK),
)


@dataclass(frozen=True)
class Strike:
    """A kill that is to be: of a kind, in a state, at the place of the campaign where so many visits are recorded."""

    kind: Kind
    state: State
    place: int = 0

    def stops(self, recorded: int) -> list[str]:
        """Return where a run must be stopped for it that finds so many visits recorded."""
        ahead = {"unsynced": 0, "between": 0, "writing": 1, "asked": 1}.get(self.state.event)
        number = 1 if ahead is None else max(1, self.place - recorded + ahead)
        return [f"{self.state.event}:{number}", *(["closing:1"] * (len(self.kind.signals) - 1))]


# --- a run ----------------------------------------------------------------------------------------------------------------


def collecting(campaign: Path, design: Mapping[str, str], board: str = RIG, notebook: Path | None = None) -> list[str]:
    """Return the words that collect: of the command itself or, with a place for what is executed, of its notebook."""
    given = {"board": board, "campaign": str(campaign), **design}
    if notebook:
        return ["notebook", "collect", str(notebook), *(word for name, value in given.items() for word in ("-p", name, value))]
    return ["collect", "--brief", *(f"--{name}={value}" for name, value in given.items())]


class Run:
    """The command in a process group of its own, with files for what it says.

    Parameters
    ----------
    words : sequence of str
        What it is to do.
    campaign : path
        Where it records.
    place : path
        A folder that is made for what it says.
    stops : sequence of str
        Events at which the process that records is stopped, each once: see stopper/sitecustomize.py.
    env : mapping of str to str
        Set for it.
    """

    def __init__(
        self, words: Sequence[str], campaign: Path, place: Path, stops: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        place.mkdir()
        self._out, self._err, self._marks, self._stops = place / "out", place / "err", place, itertools.count()
        stopper = {"PYTHONPATH": STOPPER, "STOPPER_CAMPAIGN": campaign, "STOPPER_STOPS": " ".join(stops), "STOPPER_MARKS": place}
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            self.process = subprocess.Popen(
                [str(BIN / "study"), *words],
                cwd=paths.ROOT,
                env={**os.environ, **(env or {}), **({name: str(value) for name, value in stopper.items()} if stops else {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

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

    def stopped(self, patience: float = PATIENCE) -> int:
        """Wait for the next stop, and return the process that was stopped; 0 if the run came to its end before."""
        mark = self._marks / str(next(self._stops))

        def process() -> int:
            stopped = int(json.loads(mark.read_text())["process"]) if mark.exists() else 0
            return stopped if is_stopped(stopped) else 0

        return int(self.until(process, patience))

    def target(self, words: str) -> Process | None:
        """Return the descendant whose command line has these words."""
        return next((one for one in family(self.process.pid) if words in one.words and "setpriv" not in one.words), None)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        """End all of it, at once."""
        for process in family(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, KILL)
        self.process.wait()


@dataclass(frozen=True)
class Uninterrupted:
    """A campaign that nothing has disturbed: its lines, by board and visit and as they are written."""

    lines: dict[tuple[str, str], dict[str, Any]]
    texts: tuple[bytes, ...]


def undisturbed(folder: Path, design: Mapping[str, str] = DESIGN) -> Uninterrupted:
    """Measure a campaign without any disturbance."""
    campaign = folder / "undisturbed"
    with Run(collecting(campaign, design), campaign, folder / "undisturbed-run") as run_:
        run_.until(lambda: False)
    assert run_.process.returncode == 0, run_.err
    return Uninterrupted(reference_of(campaign), tuple(sorted(line.text for line in lines(campaign)[0])))


# --- a campaign that is struck --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Struck:
    """What a strike met: the state, if it is one of the table; what was recorded just before; all that must end; signals sent."""

    met: State | None
    before: Look
    known: set[Process]
    sent: int


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

    def start(self, notebook: bool = False, stops: Sequence[str] = ()) -> Run:
        """Run the same command again."""
        place = self.folder / f"run-{next(self._runs)}"
        words = collecting(self.campaign, self._design, notebook=place / "out.ipynb" if notebook else None)
        return Run(words, self.campaign, place, stops)

    def kill(self, strike: Strike) -> Row:
        """Run, strike once, and count. If the run came to its end before it could be struck, `tried` is 0."""
        kind, there = strike.kind, frozenset(self.campaign.rglob("*"))
        with self.start(kind.notebook, strike.stops(len(lines(self.campaign)[0]))) as run_:
            struck = self._struck(run_, kind, there)
            run_.until(lambda: False)
            hung = not run_.ended()
        left = survivors(struck.known if struck else set(), self.campaign)
        for process in left:
            self._say(f"  left running: {process.pid} {process.words[:100]}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, KILL)
        found = self._ledger.look(run_.out)
        wrong = [*self._torn_and_told(run_, set(found.torn)), *(["it did not end"] if hung else [])]
        wrong += (
            self._complaints(run_, strike, struck, there) if struck else [f"{strike.state.says}: it ended before it was struck"]
        )
        for complaint in wrong:
            self._say(f"  {kind.says}: {complaint}")
        if kind.torn and struck:
            self._tear()
        before = struck.before if struck else Look(0)
        return {
            "kind": kind.says, "tried": int(struck is not None), "recorded": int(before.recorded > 0),
            "before": before.recorded, "after": found.recorded if struck else 0, "lost": before.lost + found.lost,
            "duplicated": before.duplicated + found.duplicated, "wrong": before.wrong + found.wrong, "left": len(left),
            "asked": Counter({strike.state.says: 1}), "met": Counter({struck.met.says: 1} if struck and struck.met else {}),
            "complaints": wrong,
        }  # fmt: skip

    def _struck(self, run_: Run, kind: Kind, there: frozenset[Path]) -> Struck | None:
        """Strike when the run has stopped, and say what was there just before; nothing if it has ended, or has no target."""
        recorder = run_.stopped()
        scene = Scene(self.campaign, recorder, len(self.reference.lines), there)
        met, before, known = states.of(scene), self._ledger.look(), family(run_.process.pid)
        target = run_.target(kind.target) if kind.target else None
        if run_.ended() or (kind.target and not target):
            return None
        if board := scene.board:  # it begins with the visit that it was asked for
            go_on(board)
            run_.until(lambda: not unread(board))
        sent = 0
        while sent < len(kind.signals) and (not sent or run_.stopped()):
            (os.killpg if kind.group else os.kill)(target.pid if target else run_.process.pid, kind.signals[sent])
            if kind.notebook and KILL not in kind.signals:  # the command passes it on to the kernel
                run_.until(lambda: awaits(recorder, INTERRUPT))
            if KILL not in kind.signals or kind.target == EMULATOR:  # else it is killed itself, or with its command
                go_on(recorder)
            sent += 1
        return Struck(met, before, known, sent)

    def _complaints(self, run_: Run, strike: Strike, struck: Struck, there: frozenset[Path]) -> list[str]:
        """Say what is wrong with how a run was struck, and how it ended: a traceback, more than a line, or as if nothing had happened."""
        kind, words, status = strike.kind, run_.err.strip(), run_.process.returncode
        found = []
        if struck.met is not strike.state:
            found.append(
                f"it was to be struck in the state {strike.state.says!r}, and was in {getattr(struck.met, 'says', 'none')!r}"
            )
        if struck.sent < len(kind.signals):
            found.append(f"it ended after {struck.sent} of {len(kind.signals)} signals")
        if "Traceback" in words + run_.out.decode(errors="replace"):
            found.append(f"a traceback: ... {' | '.join(words.splitlines()[-3:])[-300:]}")
        elif len(words.splitlines()) != (KILL not in kind.signals or bool(kind.target)):
            found.append(f"{len(words.splitlines())} lines: {' | '.join(words.splitlines())[:300]}")
        if status != kind.status:
            found.append(f"exit status {status}: {words[-200:]}")
        if kind.in_order:
            files = [path.name for path in set(self.campaign.rglob("*")) - there if path.name in self._ledger.remains()]
            open_ = unsigned(self.campaign) if strike.state.far == OPEN else []
            found += [f"it has left {', '.join(sorted(files + open_))}"] if files + open_ else []
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

    def finish(self, kind: str) -> Row:
        """Let it run to its end after a last kill of a kind, and check that it is complete, whole, and has nothing twice."""
        with self.start() as run_:
            run_.until(lambda: False, patience=600)
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
            **dict.fromkeys(COUNTS, 0), "kind": kind, "lost": found.lost, "duplicated": found.duplicated, "wrong": found.wrong,
            "left": len(left), "asked": Counter(), "met": Counter(), "complaints": wrong,
        }  # fmt: skip


# --- campaigns ------------------------------------------------------------------------------------------------------------


def drawn(count: int, random: Random, kinds: Sequence[Kind] = KINDS) -> list[Strike]:
    """Draw so many strikes: one of each kind, then one of each kind in each of its states, as far as there is room; then by shares."""
    pairs = [Strike(kind, state) for kind in kinds for state in kind.states]
    random.shuffle(pairs)
    first = list({pair.kind: pair for pair in pairs}.values())
    rest = random.choices(kinds, [kind.share for kind in kinds], k=max(0, count - len(pairs)))
    return [*first, *(pair for pair in pairs if pair not in first), *(Strike(kind, random.choice(kind.states)) for kind in rest)][
        :count
    ]


def dealt(strikes: Sequence[Strike], random: Random, planned: int) -> list[list[Strike]]:
    """Deal strikes to campaigns of so many visits: each begins before its design is there, and ends, if it can, when all is closed."""
    far = Counter(strike.state.far for strike in strikes)
    count = max(1, far[CLOSED], -(-far[OPEN] // (planned - 2)))
    in_order = sorted(strikes, key=lambda strike: strike.state.far)
    return [_placed(in_order[number::count], random, planned) for number in range(min(count, len(strikes)))]


def _placed(strikes: Sequence[Strike], random: Random, planned: int) -> list[Strike]:
    """Draw where in a campaign those are that come while visits are recorded: one of them may let one visit more be recorded."""
    places = iter(sorted(random.sample(range(1, planned - 1), sum(strike.state.far == OPEN for strike in strikes))))
    return [Strike(one.kind, one.state, next(places)) if one.state.far == OPEN else one for one in strikes]


def campaigns(
    folder: Path, reference: Uninterrupted, strikes: Sequence[Strike], seed: int, say: Say, lanes: int = 2
) -> list[Row]:
    """Strike so, in as many campaigns as it takes, each gone on with until it is complete.

    Parameters
    ----------
    reference : Uninterrupted
        What each must be in the end.
    lanes : int
        How many campaigns run at the same time.

    Returns
    -------
    list of dict
        For each kind, what was tried and found; see added().
    """
    began, done = time.monotonic(), itertools.count(1)

    def told(row: Row) -> None:
        number, spent = next(done), time.monotonic() - began
        what = f"{row['kind']}, {', '.join(row['met']) or 'not struck'}: {row['before']} visits before, {row['after']} after"
        say(f"kill {number}/{len(strikes)}: {what}; about {duration(spent / number * (len(strikes) - number))} left")

    def trial(number: int, hand: Sequence[Strike]) -> list[Row]:
        trial, rows = Trial(folder / f"trial-{number}", reference, Random(f"{seed} {number}"), say), list[Row]()
        for strike in hand:
            rows.append(trial.kill(strike))
            told(rows[-1])
        return [*rows, trial.finish(rows[-1]["kind"])]

    with ThreadPoolExecutor(lanes) as pool:
        hands = dealt(strikes, Random(seed), len(reference.lines))
        return added(list(itertools.chain.from_iterable(pool.map(trial, itertools.count(1), hands))))


def added(rows: Sequence[Row]) -> list[Row]:
    """Add up what is counted, for each kind."""
    by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in dict.fromkeys(row["kind"] for row in rows)}
    return [
        {"kind": kind, **{name: sum(row[name] for row in ours) for name in COUNTS},
         **{name: dict(sum((row[name] for row in ours), Counter())) for name in ("asked", "met")},
         "complaints": sorted({words for row in ours for words in row["complaints"]})}
        for kind, ours in by_kind.items()
    ]  # fmt: skip


def harm(rows: Sequence[Row], kinds: Sequence[Kind]) -> list[str]:
    """Name all that is not zero and should be, each kind that met no state, and each of its states that it was to meet and did not."""
    found = [f"{row['kind']}: {row[name]} {name}" for row in rows for name in PROMISED if row[name]]
    for row in rows:
        found += [f"{row['kind']}: {words}" for words in row["complaints"]]
        met = {state: (row["met"].get(state, 0), count) for state, count in row["asked"].items()}
        found += [
            f"{row['kind']}: {hit} of {count} met the state {state!r}" for state, (hit, count) in met.items() if hit < count
        ]
    some = {row["kind"] for row in rows if row["met"]}
    return [*found, *(f"{kind.says}: no kill met any state" for kind in kinds if kind.says not in some)]
