"""Set-up on machines that have little: what is missing is installed or named before anything that needs it is begun."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from study import paths
from study.factors import install
from study.process import package
from tests.conftest import copy_of_checkout, run, some

# What every Linux has. Of all else, a machine here has what a test gives it.
COMMON = ("make", "sh", "echo", "uname", "sed", "tr", "touch", "grep", "sleep", "mkdir", "cp", "basename")
# A program that says that it was called, and does of its work what the next one waits for. Who would not wait for apt-get begins
# while that is still at work: it gives him a second.
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >>"$LOG"
case "$(basename "$0") $*" in
  "id -u") echo $USER_ID;;
  sudo*) exit 1;;
  "apt-get "*install*)
    n=0; while [ $n -lt 10 ] && ! grep -q "m venv" "$LOG"; do sleep 0.1; n=$((n + 1)); done; echo installed >>"$LOG";;
  *ensurepip) grep -q installed "$LOG";;
  *version_info*) exit $OLD;;
  *--version) echo "Python 3.9.2";;
  *"-m venv"*) mkdir -p .venv/bin; for name in pip study; do cp "$0" .venv/bin/$name; done;;
esac
"""


class Machine:
    """A machine with a checkout, little else, and stubs that note what is called."""

    def __init__(self, folder: Path, stubs: Sequence[str], user: int = 0, old: int = 0) -> None:
        self.log, tools = folder / "log", folder / "bin"
        self.log.touch()
        tools.mkdir()
        for name in COMMON:
            (tools / name).symlink_to(shutil.which(name) or name)
        for name in stubs:
            (tools / name).write_text(STUB)
            (tools / name).chmod(0o755)
        self.env = {"PATH": str(tools), "LOG": str(self.log), "USER_ID": str(user), "OLD": str(old)}
        self.checkout = copy_of_checkout(folder / "checkout")
        (self.checkout / ".venv").unlink()

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run make in the checkout."""
        return subprocess.run(
            ["make", *words], cwd=self.checkout, env=self.env, capture_output=True, text=True, check=False, timeout=60
        )

    def calls(self) -> list[str]:
        """Return what was called, in order; of each program its first two words."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [" ".join(line[:2]) for line in lines if line[0] in ("apt-get", "installed", "pip", "study") or "venv" in line]


ORDER = ["apt-get -qq", "apt-get -qq", "installed", "python3 -m", "pip install", "pip install"]


@pytest.mark.parametrize("goal", ["setup", "collect", "doctor", "html"])
def test_system_packages_come_first_however_many_jobs_there_are(tmp_path: Path, goal: str) -> None:
    machine = Machine(tmp_path, ["apt-get", "id", "python3", "git"])
    done = machine.make("-j4", goal)
    assert done.returncode == 0, done.stderr
    *first, last = machine.calls()[:7]
    assert (first, last.split()[0]) == (ORDER, "study")


def test_the_environment_is_made_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path, ["apt-get", "id", "python3", "git"])
    assert [machine.make(goal).returncode for goal in ("setup", "setup", "html")] == [0, 0, 0]
    assert machine.calls().count("python3 -m") == 1


@pytest.mark.parametrize(
    ("asked", "goal", "words"),
    [
        ("GIC=no", "collect", "-p gic False"),
        ("GIC=no", "study", "-p gic False"),
        ("GIC=no", "fleet", "--no-gic"),
        ("GIC=no", "series", "--no-gic"),
        ("EXITS=hvc,mmio:mde", "study", "-p exits hvc,mmio:mde"),
        ("EXITS=hvc,mmio:mde", "fleet", "--exits hvc,mmio:mde"),
        ("EXITS=hvc,mmio:mde", "series", "--exits hvc,mmio:mde"),
    ],
)
def test_make_passes_on_what_guests_have_and_how_they_leave(tmp_path: Path, asked: str, goal: str, words: str) -> None:
    machine = Machine(tmp_path, ["apt-get", "id", "python3", "git"])
    for more in ((), (asked,)):
        assert machine.make(goal, "KERNEL=6.1", *more).returncode == 0
    asking = [line for line in machine.log.read_text().splitlines() if re.match("study (collect|series|notebook collect)", line)]
    assert [words in f"{line} " for line in asking] == [False, True]


@pytest.mark.parametrize(
    ("goal", "named"),
    [
        ("setup", {"qemu-system-arm", "cpio", "python3-venv"}),
        ("test", {"qemu-system-arm", "chromium", "openssh-client", "linux-perf", "python3-venv"}),
        ("html", {"python3-venv"}),
        ("series", {"qemu-system-arm", "cpio", "flex", "bison", "bc", "xz-utils", "gcc", "python3-venv"}),
    ],
)
def test_who_may_not_install_is_told_the_command(tmp_path: Path, goal: str, named: set[str]) -> None:
    """A user who is neither root nor allowed sudo: one command, for all that this goal needs."""
    machine = Machine(tmp_path, ["apt-get", "id", "sudo", "python3", "git"], user=1000)
    done = machine.make("-s", goal)
    assert done.returncode != 0
    (command,) = re.findall(r"^  sudo apt-get install --no-install-recommends (.+)", done.stderr, re.MULTILINE)
    assert named <= set(command.split())
    assert machine.calls() == []


def test_a_system_without_apt_is_told_the_programs_in_one_line(tmp_path: Path) -> None:
    done = Machine(tmp_path, ["id", "python3", "git"]).make("-s", "setup")
    said, made = done.stderr.splitlines()
    assert done.returncode != 0
    assert "qemu-system-aarch64 " in said
    assert re.search(r"Debian's packages would be: .*\bqemu-system-arm\b", said)
    assert made.startswith("make: ***")
    assert not done.stdout


@pytest.mark.parametrize(("stubs", "old", "says"), [(["id", "git"], 0, "python3 with its ensurepip"), (
    ["id", "git", "python3", "apt-get"], 1, "python3 is Python 3.9.2, and Python 3.11.2 or later is needed"
)])  # fmt: skip
def test_without_a_python_that_will_do_there_is_one_line(tmp_path: Path, stubs: list[str], old: int, says: str) -> None:
    done = Machine(tmp_path, stubs, old=old).make("-s", "html")
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 2  # ours, and that of make
    assert says in done.stderr


def test_pip_takes_the_whole_study_and_leaves_nothing_in_the_checkout(tmp_path: Path) -> None:
    checkout, installed = copy_of_checkout(tmp_path / "checkout"), tmp_path / "installed"
    before = some(sorted(checkout.rglob("*")), 100)
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", installed, checkout]
    done = run(*words, program="pip", env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert sorted(checkout.rglob("*")) == before
    assert {path.name for path in tmp_path.iterdir()} == {"checkout", "installed"}
    for path in before:
        if path.is_relative_to(checkout / "study") and path.is_file():
            assert (installed / path.relative_to(checkout)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("said", "package", "command"),
    [
        ("ID=debian\n", "linux-perf", "sudo apt-get install linux-perf"),
        ('ID="raspbian"\nID_LIKE=debian\n', "linux-headers-6.12.1", "sudo apt-get install linux-headers-6.12.1"),
        ("ID=ubuntu\nID_LIKE=debian\n", "linux-perf", "sudo apt-get install linux-tools-$(uname -r)"),
        ('ID="almalinux"\nID_LIKE="rhel centos fedora"\n', "linux-headers-6.1.9", "sudo dnf install kernel-devel-6.1.9"),
        ('ID="amzn"\nID_LIKE="fedora"\n', "linux-perf", "sudo dnf install perf"),
        ("ID=opensuse-leap\nID_LIKE='suse opensuse'\n", "linux-perf", "sudo zypper install perf"),
        ("ID=archarm\nID_LIKE=arch\n", "git", "sudo pacman -S git"),
        ("ID=of-my-own\n", "linux-perf", "sudo apt-get install linux-perf"),
        ("", "make", "sudo apt-get install make"),
    ],
)
def test_what_is_missing_is_installed_as_the_system_does_it(said: str, package: str, command: str) -> None:
    assert install(package, said) == command


def test_what_is_missed_later_is_named_by_the_same_table() -> None:
    rows = [line.split() for line in (paths.ROOT / "packages.txt").read_text().splitlines() if line[:1] not in ("", "#")]
    assert len({row[0] for row in rows}) == len(rows) > 20
    assert all(len(row) >= 3 for row in rows)
    assert package("qemu-system-aarch64") == "qemu-system-arm"
    assert package("nothing") == "nothing"
