"""Count events with perf stat, in windows that hold round trips and nothing else.

perf is attached to the measuring process with its counters off, and is told over a pair of FIFOs when to count
(``perf stat --control``, see perf-stat(1)). Starting Python, making the VM and perf's own start stay outside.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import BoardError

PATIENCE = 60.0  # seconds that perf may take to answer
TRACEPOINTS = Path("/sys/kernel/tracing/events")
# Tracepoints of the study's own that a kernel need not have: it is not counted then.
MAY_LACK = ("kvm:trap_reg",)


def here(events: list[str]) -> list[str]:
    """Return the events without those of MAY_LACK that this kernel lacks; what cannot be looked at is left to perf to refuse."""

    def is_there(event: str) -> bool:
        group, _, name = event.partition(":")
        return not os.path.isdir(TRACEPOINTS / group) or os.path.isdir(TRACEPOINTS / group / name)

    return [event for event in events if event not in MAY_LACK or is_there(event)]


def check(events: list[str]) -> None:
    """Try perf stat with `events` on a short command.

    Raises
    ------
    BoardError
        If perf is missing, forbidden, or does not know an event.
    """
    if shutil.which("perf") is None:
        raise BoardError("perf is not installed on the board; install it with: sudo apt-get install linux-perf")
    done = subprocess.run(
        ["perf", "stat", "-j", "-e", ",".join(here(events)), "true"], capture_output=True, text=True, env=_environment(), check=False
    )
    if done.returncode == 0:
        return
    words = " ".join(done.stderr.split())
    if "perf_event_paranoid" in words or "ermission" in words:
        level = Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip()
        raise BoardError(
            f"perf may not count here (kernel.perf_event_paranoid is {level}); run the study as root, "
            "or allow it with: sudo sysctl kernel.perf_event_paranoid=-1"
        )
    raise BoardError(f"perf stat cannot count {','.join(events)}: {words[:200]}")


def count(events: list[str], work: Callable[[], object]) -> str:
    """Count `events` of this process while `work` runs, guests that it runs included.

    Returns
    -------
    str
        What ``perf stat -j`` printed, as it stands.

    Raises
    ------
    BoardError
        If perf ends early or does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        names = {name: os.path.join(folder, name) for name in ("control", "ack", "out")}
        os.mkfifo(names["control"])
        os.mkfifo(names["ack"])
        control, ack = (os.open(names[name], os.O_RDWR | os.O_CLOEXEC) for name in ("control", "ack"))
        try:
            perf = subprocess.Popen(
                ["perf", "stat", "-j", "-e", ",".join(here(events)), "-p", str(os.getpid()), "-D", "-1", "-o", names["out"],
                 "--control", f"fifo:{names['control']},{names['ack']}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_environment(),
            )  # fmt: skip
            try:
                _tell(perf, control, ack, b"enable\n")
                work()
                _tell(perf, control, ack, b"disable\n")
                perf.send_signal(signal.SIGINT)  # perf's ordinary end: it prints and leaves
                _, words = perf.communicate(timeout=PATIENCE)
            finally:
                perf.kill()
                perf.wait()
        finally:
            os.close(control)
            os.close(ack)
        text = Path(names["out"]).read_text() if os.path.exists(names["out"]) else ""
    if not text.strip():
        raise BoardError(f"perf stat printed nothing for {','.join(events)}: {' '.join(words.split())[-200:]}")
    return text


def _tell(perf: subprocess.Popen[str], control: int, ack: int, command: bytes) -> None:
    os.write(control, command)
    waited = 0.0
    while not select.select([ack], [], [], 0.5)[0]:
        waited += 0.5
        if perf.poll() is not None or waited > PATIENCE:
            perf.kill()
            words = " ".join(perf.communicate()[1].split())
            raise BoardError(f"perf stat did not answer: {words[-200:] or 'it was silent'}")
    os.read(ack, 64)


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
