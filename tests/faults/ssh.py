"""A campaign over ssh, of which something is killed again and again at drawn moments: what was recorded must stay.

    python -m tests.faults.ssh [--count 60] [--seed 1]

What can be killed is in KINDS. After each kill the same command is run again, and may be hit again, until the campaign is
complete; then another begins.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study import paths
from study.campaign import Campaign
from study.collect.perfstat import parse
from study.errors import BadData
from tests.collect import sshd
from tests.collect.sshd import Lab

BOARD = "ssh:lab"
STUDY = Path(sys.executable).with_name("study")
DESIGN = ["--strategies", "stock", "--guests", "untouched,mde", "--loops", "200", "--values", "2", "--warmups", "1"]
DESIGN += ["--processes", "2", "--boots", "1"]
CONNECTION, CARRIER = "connection", "carrier"
# The ssh client on this machine, and on the board: sshd's process for the session, the carrier, the agent, the measuring
# process, perf.
KINDS = [CONNECTION, "session", CARRIER, "agent", "measuring", "perf"]
DELAY = 4.0  # seconds at most between a recorded visit and a kill
MOMENT = 0.2  # seconds between two looks
GRACE = 10.0  # seconds of the board until nothing of the study may run there any more
PATIENCE = 900.0  # seconds; the machine may be busy

# On the board: find processes by what they are called, or were started with.
FIND = r"""
import os, pathlib, select, shutil, signal, sys, time

STARTED_WITH = {("-I", "-c"): "carrier", ("-m", "onboard"): "agent"}
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

def parent_of(process):
    return int(pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
"""
# Kill one, as soon as there is one, unless the other end hangs up.
KILL = (
    FIND
    + r"""
wanted = sys.argv[1]
while not select.select([0], [], [], 0.02)[0]:
    for kind, process, parent in processes():
        if kind == {"session": "carrier"}.get(wanted, wanted):
            try:
                if wanted == "session":
                    process = parent
                    while pathlib.Path(f"/proc/{process}/comm").read_text() != "sshd\n":
                        process = parent_of(process)
                os.kill(process, signal.SIGKILL)
            except OSError:
                continue
            print(process)
            sys.exit()
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

    Attributes
    ----------
    lost, duplicated, wrong : int
        Visits that were there and are not, or not with the same bytes; names that a board has twice; lines that do not match
        their digest, are not of the design, or whose oracle was not right.
    complaints : list of str
        What of that was found, in words.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[tuple[str, str], bytes] = {}
        self.lost = self.duplicated = self.wrong = 0
        self.complaints: list[str] = []

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
        self.lost, self.duplicated, self.wrong = self.lost + len(lost), self.duplicated + len(twice), self.wrong + len(wrong)
        self.complaints += [*lost, *twice, *wrong]
        return len(now)


def _right(line: dict[str, Any], planned: dict[str, Any]) -> bool:
    cell = planned.get(line["visit"])
    if cell is None or not line["checks"]["well"]:
        return False
    return line["arm"] == cell.arm and all(line["cell"][name] == getattr(cell, name) for name in line["cell"])


def _counted(line: dict[str, Any]) -> tuple[object, ...]:
    """Return the windows of a visit and the events that each has a count of, which must be the same for all visits."""
    return tuple((window["loops"], *(count.event for count in parse(window["perf"]))) for window in line["windows"])


def kills(lab: Lab, folder: Path, count: int, seed: int, say: Callable[[str], object]) -> list[dict[str, Any]]:
    """Kill `count` times while campaigns are measured, each time something of the next kind, in a drawn order.

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
        For each kill: ``kind``; ``tried``, which is 1, and ``runs``, how often the study was started until something was hit;
        ``before`` and ``after``, the visits recorded when the run that was hit had ended, and when the next had; ``lost``,
        ``duplicated``, ``wrong`` and ``complaints`` (see Watch); ``left``, processes of the study on the board 10 seconds later,
        and ``folders`` that were left then.
    """
    draw = random.Random(seed)
    order = [kind for _ in range(-(-count // len(KINDS))) for kind in draw.sample(KINDS, len(KINDS))][:count]
    done: list[dict[str, Any]] = []
    watch = Watch(folder / "campaign-1")
    campaigns, open_row = 1, None
    for kind in order:
        runs, hit = 0, False
        while not hit:
            if watch.complete():
                _account(watch, done, open_row)
                open_row = None
                campaigns += 1
                watch = Watch(folder / f"campaign-{campaigns}")
            runs += 1
            hit = _run(lab, watch, kind, draw)
            size = _account(watch, done, open_row)
            open_row = None
        left, folders = _left(lab)
        open_row = {"kind": kind, "tried": 1, "runs": runs, "before": size, "after": size, "left": left, "folders": folders}
        open_row |= {"lost": 0, "duplicated": 0, "wrong": 0, "complaints": []}
        done.append(open_row)
        say(f"{len(done)}/{count} {kind}: {size} visits of campaign {campaigns}, {left} processes and {folders} folders left")
    while not watch.complete():
        _run(lab, watch, "", draw)
        _account(watch, done, open_row)
    return done


def _account(watch: Watch, done: list[dict[str, Any]], row: dict[str, Any] | None) -> int:
    """Look at the campaign after a run, and note what was found with the last kill; return the number of visits."""
    size = watch.look()
    if row is not None:
        row["after"] = size
    if done:
        for name in ("lost", "duplicated", "wrong"):
            done[-1][name] += getattr(watch, name)
            setattr(watch, name, 0)
        done[-1]["complaints"] += watch.complaints
        watch.complaints = []
    return size


def _run(lab: Lab, watch: Watch, kind: str, draw: random.Random) -> bool:
    """Measure, and kill something of a kind at a drawn moment; say whether something was hit."""
    command = [str(STUDY), "collect", "--board", BOARD, "--campaign", str(watch.folder), *DESIGN]
    first = watch.size() + draw.choice([0, 0, 1, 1, 2])
    delay, end = draw.uniform(0, DELAY), time.monotonic() + PATIENCE
    with subprocess.Popen(
        command, cwd=paths.ROOT, env={**os.environ, **lab.env}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            while process.poll() is None and watch.size() < first:
                time.sleep(MOMENT)
                assert time.monotonic() < end, "no visit is recorded"
            until = time.monotonic() + delay
            while process.poll() is None and time.monotonic() < until:
                time.sleep(MOMENT)
            hit = process.poll() is None and bool(kind) and _kill(lab, kind, process)
            words = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()
    assert "Traceback" not in words, words
    assert hit or process.returncode == 0, words
    return hit


def _kill(lab: Lab, kind: str, process: subprocess.Popen[str]) -> bool:
    """Kill something of a kind as soon as it is there; say whether it was, before the study ended."""
    if kind == CONNECTION:
        return _kill_client(process)
    there = shlex.join(["python3", "-c", KILL, kind])
    with subprocess.Popen(["ssh", "-F", lab.names, "-T", "lab", there], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killer:
        try:
            while killer.poll() is None and process.poll() is None:
                time.sleep(MOMENT)
            assert killer.stdout
            return bool(killer.communicate(timeout=PATIENCE)[0].strip())
        finally:
            killer.kill()


def _kill_client(process: subprocess.Popen[str]) -> bool:
    while process.poll() is None:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text() == "ssh\n":
                os.kill(int(child), signal.SIGKILL)
                return True
        time.sleep(MOMENT)
    return False


def _left(lab: Lab) -> tuple[int, int]:
    """Return how many processes still measure after a while, and how many folders are there; then end and remove them."""
    processes, folders = lab.sh(shlex.join(["python3", "-c", LEFT, str(GRACE)])).split()
    return int(processes), int(folders)


def well(row: dict[str, Any]) -> bool:
    """Say whether nothing was wrong with a kill. A carrier that is killed before it has an agent leaves its folder."""
    harms = ("lost", "duplicated", "wrong", "left", *(["folders"] if row["kind"] != CARRIER else []))
    return not any(row[name] for name in harms)


def main() -> int:
    """Kill, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "board").mkdir()
        with sshd.lab(Path(folder) / "board") as lab:
            rows = kills(lab, Path(folder), args.count, args.seed, lambda line: print(line, flush=True))
    for row in rows:
        print(json.dumps(row))
    bad = [row for row in rows if not well(row)]
    print(f"{len(rows)} kills, {len(bad)} not well, {time.monotonic() - started:.0f} s")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
