"""What the tests share: the command as users call it, the shipped data, and a campaign measured on real boards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from study import paths
from study.analyze import compare, frame
from study.campaign import Campaign

# A machine that is busy with emulators is slow now and then: that is no failure.
settings.register_profile("study", deadline=None)
settings.load_profile("study")

BIN = Path(sys.executable).parent
BOARDS = ["qemu-neoverse-n1", "qemu-cortex-a57"]
# Small, but with every strategy, the floor that fails the oracle among them, and every kind of guest.
SMALL = ["--strategies", "stock,lazy,eager,control-scan,none", "--guests", "untouched,mde,one,touch"]
SMALL += ["--processes", "1", "--boots", "1", "--events", "stalled-cycles-frontend"]
KILLED_AFTER = 3  # visits, on the first board


def run(
    *words: object, program: str = "study", env: dict[str, str] | None = None, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment to its end, as a user would in the checkout."""
    return subprocess.run(
        [str(BIN / program), *map(str, words)], cwd=paths.ROOT, env={**os.environ, **(env or {})}, timeout=timeout,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line with which a command refused, after checking that it did, in one line."""
    assert done.returncode not in (0, None), done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture(scope="session")
def reference() -> Campaign:
    return Campaign(paths.DATA / "reference")


@pytest.fixture(scope="session")
def values(reference: Campaign) -> pd.DataFrame:
    return frame.tidy(reference)


@pytest.fixture(scope="session")
def summary(reference: Campaign, values: pd.DataFrame) -> pd.DataFrame:
    return compare.summarise(values, reference.baselines())


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A small campaign on both emulated boards. On the first, the command is killed after a few visits and run again."""
    folder = tmp_path_factory.mktemp("data") / "small"
    run("image")
    command = ["collect", "--campaign", folder, *SMALL]

    def first(board: str) -> None:
        with subprocess.Popen(
            [str(BIN / "study"), *map(str, command), "--board", board], cwd=paths.ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            for line in process.stdout:
                if f" {KILLED_AFTER}/" in line:
                    process.kill()
        again(board)

    def again(board: str) -> None:
        done = run(*command, "--board", board)
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda walk, board: walk(board), [first, again], BOARDS))
    return Campaign(folder)


# What is expensive to make is made once: the tests that want it run one after the other, as do those of one file.
SHARED = ("measured", "papers")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        wanted = [name for name in SHARED if name in getattr(item, "fixturenames", ())]
        item.add_marker(pytest.mark.xdist_group(wanted[0] if wanted else item.path.stem))


# Where and when the same paper is made twice: what differs here must not be seen in it.
PLACES = {
    "here": {"TZ": "EARLY-14", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONHASHSEED": "1"},
    "a b/there": {"TZ": "LATE+11", "LC_ALL": "C.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "2"},
}


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two checkouts in different folders, time zones and locales, in each of which the paper was made from the shipped data."""
    folder = tmp_path_factory.mktemp("checkouts")

    def make(name: str) -> Path:
        place = copy_of_checkout(folder / name)
        env = {**os.environ, **PLACES[name], "PYTHONPATH": str(place), "STUDY_CACHE": str(place / "cache")}
        command = ["make", "-o", ".venv/ready", "mail", "html", "CAMPAIGN=data/reference"]
        done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return place / "paper"

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(make, PLACES))


def copy_of_checkout(place: Path) -> Path:
    """Copy what a clone of this checkout would hold, without what was made, and with its environment."""
    names = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=paths.ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if (paths.ROOT / name).exists() and (not name.startswith("paper/reference/") or name.endswith("/series.txt")):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(paths.ROOT / name, place / name)
    (place / ".venv").symlink_to(BIN.parent)
    return place


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as player:
        browser = player.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()
