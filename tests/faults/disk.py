"""Fill the disk up at every write: a file system of its own, in a mount namespace of its own, that has room for so much."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study import paths
from study.campaign import Campaign
from study.design import MAIN
from study.process import need
from tests.conftest import BIN
from tests.faults.kills import DESIGN, RIG, undisturbed
from tests.faults.ledger import Ledger, reference_of

PAGE = 4096  # bytes that a file system in memory hands out at a time
ROOMY = {"size": 64 << 20, "nr_inodes": 10_000}
SMALL = {**DESIGN, "processes": "2"}  # 12 visits, some 20 KiB
FULL = "No space left on device"
# What is asked of the namespace: root's, or one in which the user is root.
NAMESPACES = (["--mount"], ["--user", "--map-root-user", "--mount"])
Say = Callable[[str], object]


class Room:
    """A file system in memory at a folder, which only the commands that are run in it see.

    Parameters
    ----------
    folder : path
        Where it is mounted; as seen from outside it stays empty.
    """

    def __init__(self, folder: Path, **limits: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        script = f"mount -t tmpfs -o {_options({**ROOMY, **limits})} room {shlex.quote(str(folder))} && echo ready && exec cat"
        refusals = []
        for how in NAMESPACES:
            argv = [need("unshare"), *how, "--propagation", "private", "sh", "-c", script]
            self._keeper = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            assert self._keeper.stdout and self._keeper.stderr
            if self._keeper.stdout.readline() == "ready\n":
                break
            refusals.append(self._keeper.stderr.read().strip())
            self.close()
        else:
            raise RuntimeError(
                f"no namespace for a full disk: run this as root, or allow user namespaces ({'; '.join(refusals)})"
            )
        self._enter = [need("nsenter"), "-t", str(self._keeper.pid), "--mount"]
        self._enter += ["--user", "--preserve-credentials"] if "--user" in how else []

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let it go, with all that is in it."""
        assert self._keeper.stdin and self._keeper.stdout and self._keeper.stderr
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.close()
        self._keeper.wait()
        self._keeper.stdout.close()
        self._keeper.stderr.close()

    @property
    def seen(self) -> Path:
        """Its folder, as a process outside can read it."""
        return Path(f"/proc/{self._keeper.pid}/root{self.folder}")

    def limit(self, **limits: int) -> None:
        """Change how much it may hold."""
        self._mount(_options({**ROOMY, **limits}))

    def read_only(self, yes: bool) -> None:
        """Forbid writing, or allow it again."""
        self._mount("ro" if yes else "rw")

    def _mount(self, options: str) -> None:
        """Mount it anew with other options; those that it has are not repeated, for a user's namespace may not have them all."""
        done = self.run("mount", "--options-mode=ignore", "-t", "tmpfs", "-o", f"remount,{options}", "room", str(self.folder))
        assert done.returncode == 0, done.stderr

    def used(self) -> int:
        """Return the bytes that are taken."""
        state = os.statvfs(self.seen)
        return (state.f_blocks - state.f_bfree) * state.f_frsize

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program in it, in the checkout: who enters a name space of mounts is at its root."""
        command = [*self._enter, "--", "env", f"--chdir={paths.ROOT}", *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)

    def study(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run the command in it."""
        return self.run(str(BIN / "study"), *map(str, words))


def _options(limits: dict[str, int]) -> str:
    return ",".join(f"{name}={value}" for name, value in limits.items())


@dataclass(frozen=True)
class Point:
    """A limit at which a command is run: so much of a kind."""

    kind: str
    size: int

    def __str__(self) -> str:
        return f"{self.kind}={self.size}"


def complaints(done: subprocess.CompletedProcess[str], place: Path) -> list[str]:
    """Say what is wrong with how a command failed: it must in one line that says what is full."""
    lines = done.stderr.strip().splitlines()
    if "Traceback" in done.stderr + done.stdout or len(lines) != 1 or FULL not in lines[0] or str(place) not in lines[0]:
        return [f"exit status {done.returncode}: {' | '.join(lines)[-400:] or 'not a word'}"]
    return []


def measured(folder: Path) -> Path:
    """Measure a small campaign where there is room, and return it."""
    undisturbed(folder, SMALL)
    return folder / "undisturbed"


def sweep(folder: Path, whole: Path, step: int, say: Say, only: Sequence[Point] = ()) -> dict[str, Any]:
    """Measure with ever more room, one page and one file more at a time, until there is enough; then, each time, with plenty.

    Parameters
    ----------
    folder : path
        Where everything of it is kept.
    whole : path
        What measured() made.
    step : int
        Pages, and files, between two points.
    only : sequence of Point
        Instead of all.

    Returns
    -------
    dict
        Points tried; those at which the disk was full, and those of them at which some visits, but not all, were recorded; visits
        lost, duplicated and wrong; and what was wrong with how commands failed.
    """
    reference = reference_of(whole)
    totals: dict[str, Any] = {"tried": 0, "full": 0, "partly": 0, "lost": 0, "duplicated": 0, "wrong": 0, "complaints": []}
    began = time.monotonic()
    sizes, files = (itertools.count(first, first) for first in (step * PAGE, step))
    rows: list[Iterable[Point]] = [[point] for point in only]
    for row in rows or [(Point("size", size) for size in sizes), (Point("nr_inodes", count) for count in files)]:
        for point in row:
            found = at(folder / f"room-{point.kind}-{point.size}", point, reference)
            totals["tried"] += 1
            totals["full"] += bool(found["said"])
            totals["partly"] += bool(found["said"]) and 0 < found["recorded"] < len(reference)
            for name in ("lost", "duplicated", "wrong"):
                totals[name] += found[name]
            totals["complaints"] += [f"{point}: {words}" for words in found["complaints"]]
            said = "; ".join(found["complaints"]) or found["said"] or "enough"
            each = (time.monotonic() - began) / totals["tried"]
            say(f"room for {point}: {found['recorded']} visits recorded, then: {said} ({each:.1f} s each)")
            if not found["said"]:
                break
    return totals


def at(folder: Path, limit: Point, reference: Any) -> dict[str, Any]:
    """Measure with little room, then with plenty, and count. What was `said` is nothing if the little was enough."""
    with Room(folder, **{limit.kind: limit.size}) as room:
        ledger = Ledger(room.seen / "campaign", reference)
        words = ["collect", "--brief", "--board", RIG, "--campaign", str(folder / "campaign")]
        words += [f"--{name}={value}" for name, value in SMALL.items()]
        first = room.study(*words)
        early = ledger.look(first.stdout.encode())
        wrong = complaints(first, folder) if first.returncode else []
        room.limit()
        again = room.study(*words)
        late = ledger.look(again.stdout.encode())
        verified = room.study("verify", folder / "campaign")
        if again.returncode or verified.returncode or not ledger.whole():
            wrong.append(f"with room again it is not completed: {(again.stderr + verified.stderr).strip()[-300:]}")
        if early.torn and "the last line was torn" not in again.stdout:
            wrong.append("a torn line has gone without a word")
        return {
            "said": first.stderr.strip() if first.returncode else "", "recorded": early.recorded, "lost": early.lost + late.lost,
            "duplicated": early.duplicated + late.duplicated, "wrong": early.wrong + late.wrong, "complaints": wrong,
        }  # fmt: skip


def imports(folder: Path, step: int, say: Say) -> dict[str, Any]:
    """Add a suite to imported results with ever more room: what was there stays, and what is added is there whole or not at all."""
    totals: dict[str, Any] = {"tried": 0, "full": 0, "lost": 0, "duplicated": 0, "complaints": []}
    folder.mkdir(exist_ok=True)
    for name in ("before", "after"):
        values = [1e-6 + place * 1e-9 for place in range(200)]
        suite = {
            "benchmarks": [{"runs": [{"values": [value]} for value in values]}],
            "metadata": {"name": name},
            "version": "1.0",
        }
        (folder / f"{name}.json").write_text(json.dumps(suite))
    with Room(folder / "room") as room:
        campaign = room.folder / "campaign"
        tags = ["--tag", "board=shelf", "--tag", "kernel=6.1", "--tag", "exit=hvc"]
        first = room.study("import", campaign, folder / "before.json", *tags)
        assert first.returncode == 0, first.stderr
        ledger = Ledger(room.seen / "campaign")
        there, used = ledger.look().recorded, room.used()
        for pages in itertools.count(0, step):
            room.limit(size=used + pages * PAGE)
            done = room.study("import", campaign, folder / "after.json", *tags)
            found = ledger.look()
            totals["tried"] += 1
            totals["lost"] += found.lost
            totals["duplicated"] += found.duplicated
            if not done.returncode:
                break
            totals["full"] += 1
            totals["complaints"] += [f"{pages} pages: {words}" for words in complaints(done, folder)]
            if found.recorded not in (there, 2 * there) or found.torn:
                totals["complaints"].append(f"{pages} pages: a share of an import is there, {found.recorded - there} visits")
            say(f"import with room for {pages} pages: {done.stderr.strip()}")
        room.limit()
        verified = room.study("verify", campaign)
        if verified.returncode or found.recorded != 2 * there:
            totals["complaints"].append(f"with room it is not completed: {verified.stderr.strip()[-300:]}")
    return totals


def receipts(folder: Path, whole: Path, say: Say, most: int = 0) -> dict[str, Any]:
    """Trace a campaign with ever more room: receipts are there whole or not at all, and with room all of them.

    Parameters
    ----------
    folder, whole, say
        As for sweep().
    most : int
        At so many limits only; 0 for all.
    """
    totals: dict[str, Any] = {"tried": 0, "full": 0, "partly": 0, "complaints": []}
    with Room(folder / "room") as room:
        campaign = room.folder / "campaign"
        shutil.copytree(whole, room.seen / "campaign", symlinks=True)
        used, made = room.used(), 0
        for pages in itertools.count(1, 2):
            if most and totals["tried"] == most:
                break
            room.limit(size=used + pages * PAGE)
            done = room.study("trace", campaign, "--board", RIG)
            totals["tried"] += 1
            before, made = made, sum(1 for _ in Campaign(room.seen / "campaign").receipts())
            if made < before:
                totals["complaints"].append(f"{pages} pages: of {before} receipts {made} are left")
            if not done.returncode:
                break
            totals["full"] += 1
            totals["partly"] += made > 0
            totals["complaints"] += [f"{pages} pages: {words}" for words in complaints(done, folder)]
            say(f"receipts with room for {pages} pages: {made} recorded, then: {done.stderr.strip()}")
        room.limit()
        done = room.study("trace", campaign, "--board", RIG)
        made = sum(1 for _ in Campaign(room.seen / "campaign").receipts())
        wanted = len({cell for cell in Campaign(whole).design_of(RIG).factors.cells() if cell.arm == MAIN})
        if done.returncode or made != wanted or room.study("verify", campaign).returncode:
            totals["complaints"].append(
                f"with room it is not completed: {made} of {wanted} receipts, {done.stderr.strip()[-300:]}"
            )
    return totals


# What writes what can be made again, and where. A notebook takes a while.
PARQUET = "from study.analyze import frame; from study.campaign import Campaign; c = Campaign(Path(sys.argv[1])); frame.write(c, frame.tidy(c))"
DERIVED: dict[str, list[str]] = {
    "values.parquet": ["python", "-c", f"import sys; from pathlib import Path; {PARQUET}", "{campaign}"],
    "suites": ["study", "export", "{campaign}", "--pyperf", "{out}"],
}
NOTEBOOKS: dict[str, list[str]] = {
    "figures": [
        "study",
        "notebook",
        "analyze",
        "{out}/notebooks/analyze.ipynb",
        "--again",
        "-p",
        "campaign",
        "{campaign}",
        "-p",
        "paper",
        "{out}",
    ],
}


def derived(folder: Path, whole: Path, name: str, say: Say) -> dict[str, Any]:
    """Write again what was derived, with files that may not grow beyond so many bytes: what was there must stay whole.

    The limit is the system's own (RLIMIT_FSIZE): a write fails half way, as on a full disk, also where a file is written anew in
    its own place, which gives its room free first.
    """
    campaign, out = folder / "campaign", folder / "out"
    shutil.copytree(whole, campaign)
    out.mkdir()
    program, *words = [word.format(campaign=campaign, out=out) for word in {**DERIVED, **NOTEBOOKS}[name]]
    argv = [str(BIN / program), *words]

    def there() -> dict[Path, bytes]:
        found = [path for place in (campaign, out) for path in sorted(place.rglob("*")) if path.is_file()]
        return {path: path.read_bytes() for path in found if path.suffix != ".part" and "unfinished" not in path.parts}

    def write(*limit: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*limit, *argv], cwd=paths.ROOT, capture_output=True, text=True, timeout=600, check=False)

    raw = there()
    done = write()
    assert done.returncode == 0, done.stderr
    before = there()
    size = max(len(data) for path, data in before.items() if path not in raw)
    found: list[str] = []
    full = 0
    for limit in (0, size // 2):
        done = write(need("prlimit"), f"--fsize={limit}", "--")
        full += done.returncode != 0
        now = there()
        changed = [str(path.relative_to(folder)) for path, data in before.items() if now.get(path) != data]
        if changed:
            found.append(f"files of at most {limit} bytes: {len(changed)} have changed, the first is {changed[0]}")
        if not done.returncode:
            found.append(f"files of at most {limit} bytes: the command says that all is well")
        if program == "study" and (done.returncode == 0 or "Traceback" in done.stderr or len(done.stderr.splitlines()) != 1):
            found.append(f"files of at most {limit} bytes: it failed with {done.stderr.strip()[-300:]!r}")
        say(f"{name}, files of at most {limit} bytes: {done.stderr.strip().splitlines()[-1:]}")
    return {"tried": 2, "full": full, "complaints": found}
