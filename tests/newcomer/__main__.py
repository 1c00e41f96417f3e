"""Come to the study anew: the README's commands on a minimal Debian, as root and as a user who may not install anything.

python -m tests.newcomer [--commands "make study; make test"] [--users root,newcomer] [--cache FOLDER] [--keep]

The machine is made as the Containerfile says, line by line. What make prints for a user without sudo is run as root, and make again.
What is said goes to .cache/newcomer, too. Exits with 1 if a command failed, or if one that tests ran no test.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from study import paths
from study.errors import StudyError
from study.terminal.progress import duration
from tests.newcomer.root import NUMBER, USER, Root

SUITES = {"docker.io/library/debian:12": "bookworm"}
CONTAINERFILE = paths.ROOT / "Containerfile"
LOGS = paths.ROOT / ".cache" / "newcomer"
TO_INSTALL = re.compile(r"  sudo (apt-get install --no-install-recommends .+)")
TESTED = re.compile(r"(?:\d+ failed, )?(\d+) passed\b.* in [\d.]+s\b.*")
Step = tuple[str, str]
Say = Callable[[str], object]


def steps(text: str) -> list[Step]:
    """Return the instructions of a Containerfile with what they are given.

    Raises
    ------
    StudyError
        If one is none of ours, or goes on in the next line: nothing is read that is not done.
    """
    read = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, given = line.partition(" ")
        if line.startswith("#"):
            continue
        if name not in DO or not given or given.startswith("-") or line.endswith("\\"):
            raise StudyError(f"{CONTAINERFILE.name}: {line!r} is not understood; use one line, with one of {', '.join(DO)}")
        read.append((name, given.strip()))
    return read


class Machine:
    """What a Containerfile makes, line by line."""

    def __init__(self, folder: Path, cache: Path | None, say: Say) -> None:
        self.folder, self.cache, self.say, self.place = folder, cache, say, "/"
        self.root: Root

    def begin(self, image: str) -> None:
        """Begin with Debian's minimum."""
        if image not in SUITES:
            raise StudyError(f"{CONTAINERFILE.name}: {image} is no image that is known here; use one of {', '.join(SUITES)}")
        self.root = Root(self.folder, SUITES[image], self.cache)

    def work(self, place: str) -> None:
        """Go to a folder, which is made."""
        self.place = place
        self.inside(place).mkdir(parents=True, exist_ok=True)

    def copy(self, given: str) -> None:
        """Copy a folder of the checkout."""
        source, into = given.split()
        shutil.copytree(paths.ROOT / source, self.inside(f"{self.place}/{into}"), symlinks=True)

    def run(self, command: str) -> None:
        """Run a command as root; it must succeed."""
        if status := self.root.run(command, place=self.place, said=self.say):
            raise StudyError(f"{CONTAINERFILE.name}: RUN {command} ended with exit status {status}")

    def inside(self, path: str) -> Path:
        """Return where a path of the machine is."""
        return self.folder / path.lstrip("/")


DO: dict[str, Callable[[Machine, str], None]] = {
    "FROM": Machine.begin, "WORKDIR": Machine.work, "COPY": Machine.copy, "RUN": Machine.run,
}  # fmt: skip


def runs_make(step: Step) -> bool:
    """Say whether a step is one of the study's own commands, which the user gives himself."""
    return step[0] == "RUN" and step[1].startswith("make")


def come(user: str, commands: Sequence[str], machine: Machine) -> list[tuple[str, str, float]]:
    """Make a machine, and run the commands on it: each with what became of it, and its seconds."""
    todo = steps(CONTAINERFILE.read_text())
    for name, given in todo if user == "root" else itertools.takewhile(lambda step: not runs_make(step), todo):
        machine.say(f"== {name} {given}")
        DO[name](machine, given)
    if user != "root":
        machine.run(f"useradd --uid {NUMBER} --create-home {user} && chown -R {user}: . /var/cache/pip")
    return [attempt(user, command, machine) for command in commands]


def attempt(user: str, command: str, machine: Machine) -> tuple[str, str, float]:
    """Run one command, and where it names packages that a user may not install, again when they are installed."""
    machine.say(f"== {user}: {command}")
    started, said = time.monotonic(), list[str]()

    def heard(line: str) -> None:
        said.append(line)
        machine.say(line)

    def go(how: str, who: str) -> int:
        said.clear()
        return machine.root.run(how, place=machine.place, user=who, said=heard, stdin="y\n")

    status = go(command, user)
    if status and (named := [found[1] for line in said if (found := TO_INSTALL.fullmatch(line))]):
        machine.say(f"== root: {named[0]}")
        status = go(named[0], "root") or go(command, user)
    return command, verdict(command, status, said), time.monotonic() - started


def verdict(command: str, status: int, said: Sequence[str]) -> str:
    """Return ``passed``, with the number of tests of a command that tests, or why it did not."""
    if status:
        return f"FAILED with exit status {status}"
    if not re.search(r"\bmake (.* )?test\b", command):
        return "passed"
    counted = [int(found[1]) for line in said if (found := TESTED.fullmatch(line))]
    return f"passed, {counted[-1]} tests" if counted and counted[-1] else "FAILED: it ran no test"


def tell(log: TextIO, line: str) -> None:
    """Print a line, and keep it."""
    for out in (log, sys.stdout):
        print(line, file=out, flush=True)


def main() -> int:
    """Come as each user, and say what became of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.newcomer")
    parser.add_argument("--commands", default="make study; make test", help="what is run, separated by semicolons")
    parser.add_argument("--users", default=f"root,{USER}", help=f"root, {USER}, or both")
    parser.add_argument("--cache", type=Path, help="folder that keeps what apt and pip fetched from one machine to the next")
    parser.add_argument("--keep", action="store_true", help="leave the machines where they are, and say where")
    asked = parser.parse_args()
    commands = [command.strip() for command in asked.commands.split(";")]
    if os.geteuid() != 0:
        raise StudyError("a machine of its own takes root: run this as root")
    LOGS.mkdir(parents=True, exist_ok=True)
    rows = []
    for user in asked.users.split(","):
        folder = Path(tempfile.mkdtemp(prefix="newcomer-"))
        folder.chmod(0o755)
        cache = asked.cache.absolute() / user if asked.cache else None
        try:
            with open(LOGS / f"{user}.log", "w") as log:
                machine = Machine(folder / "root", cache, partial(tell, log))
                rows += [(user, *row) for row in come(user, commands, machine)]
        except StudyError as error:
            rows.append((user, "set-up", f"FAILED: {error}", 0.0))
        finally:
            if asked.keep:
                print(f"{user}'s machine: {folder / 'root'}")
            else:
                shutil.rmtree(folder)
    for user, command, became, seconds in rows:
        print(f"{user:<9} {command:<30} {became:<22} {duration(seconds)}")
    return int(any(became.startswith("FAILED") for _, _, became, _ in rows))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StudyError as error:
        sys.exit(f"newcomer: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
