"""The command in a process that has imported everything already: what is tested is what it does, not how it starts."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "study.cli",
        "study.analyze.figures",
        "study.collect.imports.imported",
        "study.publish.letter",
        "study.publish.site",
        "papermill.engines",
        "nbconvert",
        "tests.forks",
    ]
)
KILLED = 10.0  # seconds for a process to end that was killed


def run(words: list[str], cwd: Path, env: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run `study` with some words to its end, and return what it said, as a fresh process would.

    Parameters
    ----------
    words : list of str
        Its arguments.
    cwd : path
        Where it runs.
    env : dict
        Its whole environment. What Python reads of it when it starts, or a library when it is imported, has no effect.
    timeout : float
        Seconds.
    """
    with tempfile.TemporaryDirectory(prefix="study-said-") as folder:
        process = FORKS.Process(target=_study, args=(words, str(cwd), env, folder))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join(KILLED)
            raise subprocess.TimeoutExpired(["study", *words], timeout)
        out, errors = (Path(folder, name).read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess(["study", *words], process.exitcode, out, errors)


def end() -> None:
    """End the process that forks and wait for it, so that what was run counts among what the tests took."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


def _study(words: list[str], cwd: str, env: dict[str, str], folder: str) -> None:
    """Be the command."""
    for number, name in enumerate(("out", "err"), 1):
        file = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["study", *words]
    from study.__main__ import start

    start()
