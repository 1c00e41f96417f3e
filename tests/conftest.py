"""What the tests share: the command as users call it, the shipped data, copies of the checkout, and a browser."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright

from study import paths
from study.analyze import compare, frame
from study.campaign import Campaign
from study.process import need
from tests import costs, forks

if TYPE_CHECKING:
    from study.analyze.figures import Drawing

# A machine that is busy with emulators is slow now and then: that is no failure. What is drawn is the same in every run.
settings.register_profile(
    "study",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
CHECK = "PYTEST_CHECK" in os.environ  # make check: everything that needs no board, and of what is drawn a quarter
settings.register_profile("check", settings.get_profile("study"), max_examples=25)
settings.load_profile("check" if CHECK else "study")

BIN = Path(sys.executable).parent
BOARDS = ["qemu-neoverse-n1", "qemu-cortex-a57"]
T = TypeVar("T")

# What of the environment the tests keep: where programs, temporary files and the cache are, and how the network is reached.
KEPT = re.compile(
    r"PATH|LD_\w+|USER|LOGNAME|TMPDIR|STUDY_CACHE|STUDY_APT_SOURCES|APT_CONFIG|PIP_\w+|SSL_\w+|\w+_(proxy|PROXY)|PYTEST_\w+"
)
# Variables that nothing reads before the command is at work.
READ_LATE = re.compile(r"STUDY_\w+|PATH|GIT_\w+")
SET = {"LANG": "C.UTF-8", "TZ": "UTC"}


def ordinary_signals() -> None:
    """Let signals do what they do to what a login shell starts: nohup ignores some, a background job without job control others."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, signal.SIGTSTP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def ordinary_environment() -> None:
    """Give the tests, and all that they start, an environment that is the same for everyone, and a home of their own."""
    os.umask(0o022)
    home = Path(tempfile.mkdtemp(prefix="study-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / ".gitconfig").write_text(f"[safe]\n\tdirectory = {paths.ROOT}\n")  # whoever owns the checkout
    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    if "STUDY_CACHE" in kept:
        kept["STUDY_CACHE"] = str(paths.cache())  # wherever the tests are started from
    os.environ.clear()
    os.environ.update({**kept, **SET, "HOME": str(home)})
    time.tzset()


def without(programs: Iterable[str]) -> None:
    """Let programs be found that only say that they are not there: who needs them is not marked as one who does."""
    folder = Path(tempfile.mkdtemp(prefix="study-without-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in programs:
        (folder / name).write_text(f'#!/bin/sh\necho "{name}: make check has no such program; mark the test" >&2\nexit 1\n')
        (folder / name).chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


ordinary_signals()
if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has what the process that started it has
    ordinary_environment()
    if CHECK:
        without(["qemu-system-aarch64", "qemu-system-arm", "chromium", "apt-get", "apt-cache"])


# What takes long begins first, so that no worker is left alone with it in the end.
LONG = [
    "kernels/test_own",
    "collect/test_boards",
    "publish/test_site",
    "collect/test_ssh",
    "collect/test_kexec",
    "collect/test_fleet",
    "collect/test_rig",
    "kernels/test_kernels",
    "publish/test_series",
    "test_reference",
    "publish/test_letter",
    "collect/test_imported",
    "collect/test_local",
    "bench/test_bench",
    "faults/test_other",
    "kernels/test_module",
    "collect/test_doctor",
    "terminal/test_progress",
    "notebooks/test_uptodate",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of LONG, in that order."""
    places = {paths.ROOT / f"tests/{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Write down what each test took, if that is asked for."""
    before = costs.spent()
    done = yield
    if "PYTEST_COSTS" in os.environ:
        costs.write(Path(os.environ["PYTEST_COSTS"]), item.nodeid, costs.spent() - before)
    return done


def pytest_sessionfinish() -> None:
    forks.end()


def drawn(most: int) -> settings:
    """Return settings that draw so many examples, and a quarter of them in make check."""
    return settings(max_examples=most // 4 if CHECK else most)


def own_address() -> str:
    """Return an address of this machine that no other process of tests uses: all its ports are this one's."""
    number = os.getpid()
    return f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def some(things: Iterable[T], least: int = 1) -> list[T]:
    """Return things as a list, after checking that there are so many at least: what is said of each of none is always true."""
    found = list(things)
    assert len(found) >= least, f"{len(found)} instead of {least} or more: {found}"
    return found


def wait_for(look: Callable[[], T], limit: float = 240.0) -> T:
    """Look until there is something, and return it; other tests may keep the machine busy."""
    end = time.monotonic() + limit
    while not (found := look()):
        assert time.monotonic() < end, f"it did not come in {limit:.0f} s"
        time.sleep(0.02)
    return found


def run(
    *words: object, program: str = "study", env: dict[str, str] | None = None, timeout: float = 1800
) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment to its end, as a user would in the checkout."""
    argv, whole = list(map(str, words)), {**os.environ, **(env or {})}
    if program == "study" and all(READ_LATE.fullmatch(name) for name in env or {}):
        return forks.run(argv, paths.ROOT, whole, timeout)
    return subprocess.run(
        [str(BIN / program), *argv], cwd=paths.ROOT, env=whole, timeout=timeout, capture_output=True, text=True, check=False
    )


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


def letters(campaign: Campaign, values: pd.DataFrame, summary: pd.DataFrame, **says: Any) -> list[str]:
    """The letter of a campaign, and all that does not fit on its page."""
    from study.publish import letter

    return list(letter.render(campaign, values, summary, letter=letter.Letter(**says)).values())


@pytest.fixture(scope="session")
def page_and_posted(reference: Campaign, values: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """The letter of the shipped data, without words of an author, and all that is behind it."""
    return letters(reference, values, summary, title="A title", version=2)


@pytest.fixture(scope="session")
def one_page(page_and_posted: list[str]) -> str:
    return page_and_posted[0]


@pytest.fixture(scope="session")
def posted(page_and_posted: list[str]) -> str:
    return page_and_posted[1]


@pytest.fixture(scope="session")
def drawings(values: pd.DataFrame, summary: pd.DataFrame) -> dict[str, Drawing]:
    """The figures of the shipped data, by name, drawn once: nobody may change them."""
    from study.analyze import figures

    return {drawing.name: drawing for drawing in figures.draw_all(values, summary)}


def files_of_checkout() -> list[str]:
    """Return the names of all files that a clone of this checkout would hold."""
    names = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=paths.ROOT, capture_output=True, text=True, check=True
    ).stdout
    return some((name for name in names.split("\0") if name and (paths.ROOT / name).exists()), 100)


def copy_of_checkout(place: Path) -> Path:
    """Copy what a clone of this checkout would hold, without what is made of its campaigns, and with its environment."""
    made = tuple(f"paper/{campaign.name}/" for campaign in paths.DATA.iterdir())
    for name in files_of_checkout():
        if not name.startswith(made) or name.endswith("/series.txt"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(paths.ROOT / name, place / name)
    (place / ".venv").symlink_to(BIN.parent)
    return place


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as player:
        browser = player.chromium.launch(
            executable_path=need("chromium"),
            args=["--no-sandbox", "--disable-background-networking", "--disable-gpu", "--disable-software-rasterizer"],
        )
        yield browser
        browser.close()
