"""What the tests share: the command as users call it, the shipped data, copies of the checkout, and a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from study import paths
from study.analyze import compare, frame
from study.campaign import Campaign
from study.process import need

# A machine that is busy with emulators is slow now and then: that is no failure.
settings.register_profile("study", deadline=None)
settings.load_profile("study")

BIN = Path(sys.executable).parent
BOARDS = ["qemu-neoverse-n1", "qemu-cortex-a57"]


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
            executable_path=need("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()
