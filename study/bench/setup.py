"""The row on set-up: how much of a cold start is spent on fetching, by what nobody can make faster here."""

from __future__ import annotations

import os
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from study import paths
from study.bench.rows import Row, ratio, seconds
from study.collect.rig import build as rig
from study.kernels import archive, image
from study.process import follow, run

LOCK = paths.ROOT / "requirements.lock"


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Start cold, once: into a folder without a cache, and an environment without packages."""
    say("a cold start: Python packages, images and rigs, fetched and built anew (3 minutes)")
    with tempfile.TemporaryDirectory() as place, mock.patch.dict(os.environ, STUDY_CACHE=f"{place}/cache"):
        python = packages(Path(place))
        boards = images()
    fetched, whole = (python[number] + boards[number] for number in range(2))
    yield ratio(
        "cold start: share of fetching", None,
        (f"fetched: Python packages {python[0]:.0f} s, Debian's {boards[0]:.0f} s", [fetched]), ("all of make setup", [whole]),
    )  # fmt: skip


def packages(place: Path) -> tuple[float, float]:
    """Fetch what is in the lock file, and install it, fetched anew, into a new environment: the seconds of both."""
    how = ["--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--require-hashes", "-r", str(LOCK)]
    pip = place / "venv/bin/pip"
    venv.create(place / "venv", with_pip=True)
    return (
        seconds(lambda: run([pip, "download", "--dest", place / "wheels", *how])),
        seconds(lambda: run([pip, "install", *how])),
    )


def images() -> tuple[float, float]:
    """Build the image of an emulated board and both rigs: the seconds of fetching, and of all of it."""
    with timed_apt() as fetching:
        whole = seconds(lambda: (image.image(), rig.image("aarch64"), rig.image("armv7")))
    return sum(fetching), whole


@contextmanager
def timed_apt() -> Iterator[list[float]]:
    """Note how long each run of apt-get takes: it is all that fetches."""
    took: list[float] = []

    def timed(runs: Callable[..., Any]) -> Callable[..., Any]:
        def timed_run(argv: list[Any], *more: Any, **how: Any) -> Any:
            started = time.perf_counter()
            try:
                return runs(argv, *more, **how)
            finally:
                if argv[0] == "apt-get":
                    took.append(time.perf_counter() - started)

        return timed_run

    with mock.patch.multiple(archive, run=timed(run), follow=timed(follow)):
        yield took
