"""A campaign over ssh, of which something is killed again and again: what was recorded must stay.

    python -m tests.faults.ssh [--count 60] [--seed 1]

What can be killed is in KINDS. The study is stopped at an event (see stopper/sitecustomize.py) until what is to be killed is at work
on the board, and is killed. Then the same command is run again, and may be hit again, until the campaign is complete.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.campaign import Campaign
from study.collect.perfstat import counted
from study.errors import BadData
from tests.collect import sshd
from tests.collect.sshd import Lab
from tests.conftest import ordinary_signals
from tests.faults import kills as struck
from tests.faults import states
from tests.faults.kills import KILL, Kind, Row, Run, Say, Strike, collecting, dealt, drawn, harm
from tests.faults.processes import go_on, processes, unread
from tests.faults.states import STATES, Scene, State

BOARD = "ssh:lab"
DESIGN = {
    "strategies": "stock",
    "guests": "untouched,mde",
    "loops": "2000",
    "values": "2",
    "warmups": "1",
    "processes": "2",
    "boots": "1",
}
VISITS = 8  # of that design
PATIENCE = 900.0  # seconds; the machine may be busy
GRACE = 10.0  # seconds of the board until nothing of the study may run there any more
IN_A_VISIT = (STATES["asked"],)
ANY = (*IN_A_VISIT, STATES["begun"], STATES["between"])


def _kind(target: str, in_states: tuple[State, ...] = ANY) -> Kind:
    return Kind(f"ssh: {target}", 1, (KILL,), 1, target=target, states=in_states)


# The ssh client on this machine, and on the board: sshd's process for the session, the carrier, the agent, the measuring process,
# perf. The last two are there during a visit only.
CONNECTION = "connection"
KINDS = (
    *map(_kind, (CONNECTION, "session", "carrier", "agent")),
    *(_kind(target, IN_A_VISIT) for target in ("measuring", "perf")),
)

# On the board: find processes by what they are called, or were started with.
FIND = r"""
import os, pathlib, select, shutil, signal, sys, time

STARTED_WITH = {("-I", "-c"): "carrier", ("-m", "study.collect.onboard"): "agent"}
CALLED = {"perf": "perf", "onboard.bench": "measuring"}

def processes():
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            name = (path / "comm").read_text().strip()
        except (OSError, ValueError, IndexError):
            continue
        kind = CALLED.get(name) or STARTED_WITH.get(tuple(words[1:3]))
        if kind:
            yield kind, int(path.name), parent

def fields_of(process):
    return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
"""
# Say that we are there. Then, when told to, kill one as soon as there is one, unless the other end hangs up or the time is over.
# The measuring process is stopped first: so it is at work, and not about to end. perf, which stays over visits and is replaced if it
# ends between them, is killed when that process is there and perf has not run since: its windows are to come.
KILL_ONE = (
    FIND
    + r"""
wanted = sys.argv[1]

def named(kind):
    return [process for name, process, _ in processes() if name == kind]

def kill(process):
    while wanted == "session" and pathlib.Path(f"/proc/{process}/comm").read_text() != "sshd\n":
        process = int(fields_of(process)[1])
    os.kill(process, signal.SIGKILL)
    print(process)
    sys.exit()

def measuring():
    for agent in agents:
        for process in pathlib.Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
            if pathlib.Path(f"/proc/{process}/comm").read_text() == "onboard.bench\n":
                yield int(process)

def stopped(process):
    os.kill(process, signal.SIGSTOP)
    while fields_of(process)[0] not in "TZX":
        time.sleep(0.001)
    return fields_of(process)[0] == "T"

def has_run(process):
    return pathlib.Path(f"/proc/{process}/status").read_text().partition("voluntary_ctxt_switches:")[2]

def strike_at_work(process):
    try:
        if stopped(process):
            for victim in [process] if wanted == "measuring" else [perf for perf in asleep if has_run(perf) == asleep[perf]]:
                kill(victim)
    finally:
        os.kill(process, signal.SIGCONT)

agents, asleep = named("agent"), {perf: has_run(perf) for perf in named("perf")}
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + float(sys.argv[2])
while not select.select([0], [], [], 0.001)[0] and time.monotonic() < end:
    try:
        for process in measuring() if wanted in ("measuring", "perf") else named({"session": "carrier"}.get(wanted, wanted)):
            (strike_at_work if wanted in ("measuring", "perf") else kill)(process)
    except OSError:
        continue
"""
)
# Say how many processes and folders there are once no process is left, or the time is over; then clean up.
LEFT = (
    FIND
    + r"""
end = time.monotonic() + float(sys.argv[1])
while list(processes()) and time.monotonic() < end:
    time.sleep(0.1)
folders = list(pathlib.Path("/tmp").glob("study-*"))
left = list(processes())
print(len(left), len(folders))
for _, process, _ in left:
    try:
        os.kill(process, signal.SIGKILL)
    except OSError:
        pass
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""
)


class Watch:
    """What was seen of a campaign so far: looks at it again and again, and counts what must not be.

    That is visits that were there and are not, or not with the same bytes (lost), names that a board has twice (duplicated), and
    lines that do not match their digest, are not of the design, or whose oracle was not right (wrong).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[tuple[str, str], bytes] = {}
        self._found: dict[str, list[str]] = collections.defaultdict(list)

    def size(self) -> int:
        """Return how many visits are recorded, without looking at them."""
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob("boots/*/visits.jsonl"))

    def complete(self) -> bool:
        """Say whether the campaign has all that its design asks for."""
        return (self.folder / "design.json").exists() and not Campaign(self.folder).missing(BOARD)

    def look(self) -> int:
        """Look at everything, and return how many visits there are."""
        if not (self.folder / "design.json").exists():
            return 0
        campaign, now = Campaign(self.folder), {}
        for path in sorted(self.folder.glob("boots/*/visits.jsonl")):
            for text in path.read_bytes().splitlines(keepends=True):
                now[path.parent.name, json.loads(text)["visit"]] = text
        lost = [
            f"{boot}: visit {name} is not what it was"
            for (boot, name), text in self._seen.items()
            if now.get((boot, name)) != text
        ]
        self._seen = now
        try:
            records = list(campaign.records())
            wrong = list(map(str, campaign.verify()))
        except BadData as error:
            records, wrong = [], [str(error)]
        names = collections.Counter(record.line["visit"] for record in records)
        twice = [f"visit {name} is there {times} times" for name, times in names.items() if times > 1]
        planned = {visit.name: visit.cell for visit in campaign.design_of(BOARD).visits()}
        wrong += [
            f"visit {record.line['visit']} is not as it should be" for record in records if not _right(record.line, planned)
        ]
        if len({_counted(record.line) for record in records}) > 1:
            wrong.append("visits differ in what was counted")
        for name, words in {"lost": lost, "duplicated": twice, "wrong": wrong}.items():
            self._found[name] += words
        return len(now)

    def taken(self) -> tuple[Counter[str], list[str]]:
        """Return how much was found since this was last asked, and in words."""
        found, self._found = self._found, collections.defaultdict(list)
        return Counter({name: len(words) for name, words in found.items()}), sorted(itertools.chain(*found.values()))


def _right(line: dict[str, Any], planned: dict[str, Any]) -> bool:
    cell = planned.get(line["visit"])
    if cell is None or not line["checks"]["well"]:
        return False
    return line["arm"] == cell.arm and all(line["cell"][name] == getattr(cell, name) for name in line["cell"])


def _counted(line: dict[str, Any]) -> tuple[object, ...]:
    """Return the windows of a visit and the events that each has a count of, which must be the same for all visits."""
    return tuple((window["loops"], *(count.event for count in counted(window))) for window in line["windows"])


def kills(lab: Lab, folder: Path, count: int, seed: int, say: Say) -> list[Row]:
    """Kill so often while campaigns are measured.

    Parameters
    ----------
    lab : Lab
        A board that stays up.
    folder : path
        Where the campaigns are made.
    count, seed : int
        How many kills, and what they are drawn from.
    say : callable
        Is told of each kill in a line.

    Returns
    -------
    list of dict
        For each kind, what was tried and found; see kills.added(). What is ``left`` are processes of the study on the board 10
        seconds later, and folders.
    """
    draw, rows, done = random.Random(seed), list[Row](), itertools.count(1)
    for number, hand in enumerate(dealt(drawn(count, draw, KINDS), draw, VISITS), 1):
        watch, runs = Watch(folder / f"campaign-{number}"), folder / f"runs-{number}"
        runs.mkdir()
        for place, strike in enumerate(hand):
            rows.append(_kill(lab, watch, strike, runs / str(place)))
            row = rows[-1]
            what = f"{row['kind']}, {', '.join(row['met']) or 'not struck'}: {row['before']} visits before, {row['after']} after"
            say(f"kill {next(done)}/{count} {what}, {row['left']} left on the board")
        rows.append(_finish(lab, watch, runs / "last", rows[-1]["kind"]))
    return struck.added(rows)


def _run(lab: Lab, watch: Watch, place: Path, stops: Sequence[str] = ()) -> Run:
    return Run(collecting(watch.folder, DESIGN, BOARD), watch.folder, place, stops, lab.env)


def _kill(lab: Lab, watch: Watch, strike: Strike, place: Path) -> Row:
    """Measure, and kill something when the study has stopped; say what the strike met, and what came of it."""
    there, recorded = frozenset(watch.folder.rglob("*")), watch.size()
    if strike.kind.target == "perf":  # it comes with the first visit of a run, and stays
        strike = replace(strike, place=max(strike.place, recorded + 1))
    with _run(lab, watch, place, strike.stops(recorded)) as run:
        recorder = run.stopped(PATIENCE)
        scene = Scene(watch.folder, recorder, VISITS, there)
        met, before = states.of(scene), watch.size()
        hit = not run.ended() and _strike(lab, run, strike.kind.target, scene)
        go_on(recorder)
        run.until(run.ended, PATIENCE)
    row = _row(watch, strike.kind.says, _wrong(run, strike, met, hit))
    left = sum(_left(lab))
    row |= {
        "tried": int(hit),
        "recorded": int(hit and before > 0),
        "before": before,
        "left": left,
        "asked": Counter({strike.state.says: 1}),
    }
    return row | {"met": Counter({met.says: 1} if hit and met else {})}


def _wrong(run: Run, strike: Strike, met: State | None, hit: bool) -> list[str]:
    """Say what is wrong with how a run was struck, and how it ended."""
    words = run.err.strip()
    found = [] if hit else [f"{strike.state.says}: it ended before it was struck"]
    if met is not strike.state:
        found.append(f"it was to be struck in the state {strike.state.says!r}, and was in {getattr(met, 'says', 'none')!r}")
    if (run.process.returncode, len(words.splitlines())) != (strike.kind.status, 1):
        found.append(f"exit status {run.process.returncode}: {words[-300:]}")
    return found


def _finish(lab: Lab, watch: Watch, place: Path, kind: str) -> Row:
    """Let a campaign come to its end after a last kill of a kind, and check that it is complete."""
    with _run(lab, watch, place) as run:
        run.until(run.ended, PATIENCE)
    whole = run.process.returncode == 0 and watch.complete() and watch.size() == VISITS
    return {**_row(watch, kind, [] if whole else [f"it is not completed: {run.err.strip()[-300:]}"]), "after": 0}


def _row(watch: Watch, kind: str, wrong: list[str]) -> Row:
    """Look at a campaign after a run, and count what was found since the last look."""
    after, (counts, words) = watch.look(), watch.taken()
    empty = {**dict.fromkeys(struck.COUNTS, 0), "kind": kind, "asked": Counter(), "met": Counter()}
    return {**empty, "after": after, **counts, "complaints": [*wrong, *words]}


def _strike(lab: Lab, run: Run, target: str, scene: Scene) -> bool:
    """Kill something as soon as it is there, when what the board was asked for has been read; say whether it was killed."""
    with contextlib.nullcontext() if target == CONNECTION else _killer(lab, target) as killer:
        if client := scene.board:
            go_on(client)
            run.until(lambda: not unread(client))
        if not killer:
            return _kill_client(scene.recorder)
        assert killer.stdin and killer.stdout
        killer.stdin.write(b"now\n")
        killer.stdin.flush()
        return bool(killer.stdout.readline())


@contextlib.contextmanager
def _killer(lab: Lab, target: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start on the board what kills when it is told to."""
    there = shlex.join(["python3", "-c", KILL_ONE, target, str(struck.PATIENCE)])
    line = ["ssh", "-F", lab.names, "-S", lab.line, "-T", "lab"]
    with subprocess.Popen([*line, there], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killer:
        try:
            assert killer.stdout and killer.stdout.readline() == b"ready\n"
            yield killer
        finally:
            killer.kill()


def _kill_client(study: int) -> bool:
    clients = [process.pid for process in processes() if process.parent == study and Path(process.words.split()[0]).name == "ssh"]
    for client in clients:
        os.kill(client, signal.SIGKILL)
    return bool(clients)


def _left(lab: Lab) -> tuple[int, int]:
    """Return how many processes still measure after a while, and how many folders are there; then end and remove them."""
    processes, folders = lab.sh(shlex.join(["python3", "-c", LEFT, str(GRACE)])).split()
    return int(processes), int(folders)


def main() -> int:
    """Kill, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ordinary_signals()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "board").mkdir()
        with sshd.lab(Path(folder) / "board") as lab:
            rows = kills(lab, Path(folder), args.count, args.seed, lambda line: print(line, flush=True))
    for row in rows:
        print(json.dumps(row))
    bad = harm(rows, KINDS)
    print("\n".join([*bad, f"{args.count} kills, {len(bad)} kinds of harm, {time.monotonic() - started:.0f} s"]))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
