"""On a worker of a fleet: collect on its board, as a process that ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study import __version__
from study.errors import StudyError
from study.process import need
from study.terminal import ending

MOMENT = 1.0  # seconds between two looks at whether a worker, or whoever waits for it, is still there
LOST = "its worker was lost"

Say = Callable[[str], object]


@dataclass(frozen=True)
class Errand:
    """What a worker is asked to do: to collect on one board.

    Parameters
    ----------
    board : str
        The board's name.
    options : tuple of str
        Of ``study collect``.
    before : tuple of str
        The command that starts that command, if any.
    environment : mapping of str to str
        Set for it.
    ticket : path
        A file in the campaign. Whoever takes it away collects, so that nobody does a second time.
    topic : str
        Under which lines of progress are told.
    """

    board: str
    options: tuple[str, ...]
    before: tuple[str, ...]
    environment: Mapping[str, str]
    ticket: Path
    topic: str


def dask_setup(worker: Any) -> None:
    """Make a worker that we start ready: dask calls this by its name.

    In a session of its own, it does not hear when the terminal interrupts the command, but learns it from the command. From here
    on it can be interrupted, and so can what it starts; what came before is forgotten.
    """
    for number in ending.ENDS:
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending.ENDS)
    for number in ending.ENDS:
        signal.signal(number, signal.SIG_DFL)


def look(ticket: str) -> dict[str, Any]:
    """Say which study a worker has, and whether it sees a file."""
    return {"version": __version__, "sees": Path(ticket).exists()}


def go(errand: Errand) -> str:
    """Collect on a board, as a process, and return why it is incomplete; empty if it is complete."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running")

    def say(text: str) -> None:
        worker.log_event(errand.topic, text)

    try:
        errand.ticket.unlink()
    except FileNotFoundError:
        return f"{LOST}, and the board is not measured a second time by one command"
    try:
        return _run(errand, wanted, say)
    except (StudyError, OSError) as error:
        return " ".join(str(error).split())


def _run(errand: Errand, wanted: Callable[[], bool], say: Say) -> str:
    """Run ``study collect``, pass on what it says, and return why it failed; empty if it did not."""
    argv = [need("setpriv"), "--pdeathsig", "KILL", "--"]  # nothing is measured without the worker that tells of it
    argv += [
        need("env"),
        "--default-signal=INT",
    ]  # which ends it, also where a shell started the worker in the background, deaf to it
    argv += [*errand.before, sys.executable, "-P", "-m", "study", "collect", "--brief", *errand.options]
    own = f"{errand.board}: "
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        subprocess.Popen(
            argv, env=_environment(errand.environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            text=True, errors="replace",
        ) as process,
    ):  # fmt: skip
        threading.Thread(target=_end_unless, args=(process, wanted), daemon=True).start()
        assert process.stdout
        for line in process.stdout:
            say(line.rstrip() if line.startswith(own) else own + line.rstrip())
        status = process.wait()
        errors.seek(0)
        said = [line.strip() for line in errors if line.strip()]
    if status == 0:
        return ""
    if status < 0:
        return f"the process that collected was ended by {signal.Signals(-status).name}"
    return (said[-1] if said else f"exit status {status}").removeprefix("study: ").removeprefix(own)


def _end_unless(process: subprocess.Popen[str], wanted: Callable[[], bool]) -> None:
    """End a process when its result is not wanted any more: asked first, so that it can leave everything in order."""
    while process.poll() is None:
        if not wanted():
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
        time.sleep(MOMENT / 4)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the worker's environment without what dask added to it, and with what a board needs."""
    import dask

    added = {"PYTHONHASHSEED", *dask.config.get("distributed.nanny.pre-spawn-environ", {})}
    return {**{name: value for name, value in os.environ.items() if name not in added}, **more}
