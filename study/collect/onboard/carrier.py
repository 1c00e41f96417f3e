"""Carry a line from afar to the agent, and leave nothing behind when the line is cut.

sshd hangs up by closing our standard input, or, where the other end is gone without a word, not at all: then silence tells.
Both are noticed while the agent is busy with a visit, which the agent itself would not see before it is done.
"""

from __future__ import annotations

import compileall
import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import price, strategy

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
GRACE = 5.0  # seconds that the agent has to end its measurement and to leave the machine as it was
MOMENT = 2.0  # seconds that each of its processes has after that
# Where insmod is: not every user's path has them.
PLACES = ["/usr/local/sbin", "/usr/sbin", "/sbin"]


def carry(folder: str, silence: float) -> None:
    """Start the agent and hand it what comes on standard input, until either of them ends, or nothing has come for too long.

    Parameters
    ----------
    folder : str
        Where the packages ``study`` and ``pyperf``, the guest and perhaps the module are. Whatever is written goes there.
    silence : float
        Seconds after which the other end is taken for dead; longer than a visit may take.
    """
    compileall.compile_dir(folder, quiet=2)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what the agent leaves behind becomes ours
    alive, held = os.pipe()
    agent = subprocess.Popen(
        [sys.executable, "-m", __package__], cwd=folder, env=environment(folder), stdin=subprocess.PIPE, bufsize=0,
        start_new_session=True, pass_fds=[held],
    )  # fmt: skip
    os.close(held)
    try:
        forward(agent, alive, silence)
    finally:
        end(agent)


def environment(folder: str) -> dict[str, str]:
    """Return what the agent finds in its environment."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), *PLACES]),
        "LC_ALL": "C",
        "PYTHONPATH": folder,
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": folder,
        "STUDY_FOLDER": folder,
        "STUDY_PARENT": str(os.getpid()),
        "STUDY_PAYLOAD": os.path.join(folder, "payload.bin"),
        "STUDY_MODULE": os.path.join(folder, "dbgswitch.ko"),
        "STUDY_GUESTS": os.path.join(folder, "guests"),
        "STUDY_IMAGE": os.path.join(folder, "Image"),
    }


def forward(agent: subprocess.Popen[bytes], alive: int, silence: float) -> None:
    """Copy standard input to the agent while both last. The agent holds the other end of the pipe `alive`."""
    assert agent.stdin
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        for file in (0, alive):
            selector.register(file, selectors.EVENT_READ)
        while ready := selector.select(silence):
            data = b"" if any(key.fd == alive for key, _ in ready) else os.read(0, 1 << 16)
            if not data:
                return
            agent.stdin.write(data)
        print(f"nothing was asked for {silence:.0f} s: the other end is taken for dead", file=sys.stderr)


def end(agent: subprocess.Popen[bytes]) -> None:
    """End the agent, which ends its measurement and leaves the machine as it was; by force what does not end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    assert agent.stdin
    agent.stdin.close()
    agent.terminate()
    try:
        agent.wait(GRACE)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait()
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        until = time.monotonic() + MOMENT
        while descendants() and time.monotonic() < until:
            time.sleep(0.05)
    strategy.unload()
    price.unload()


def descendants() -> set[int]:
    """Return the processes that descend from this one, after burying the dead."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found, known = set(), {os.getpid()}
    while known:
        known = {process for process, parent in parents.items() if parent in known}
        found |= known
    return found
