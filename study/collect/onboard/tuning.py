"""Tune the machine for the CPU that measures, and put everything back afterwards, whatever ends the study.

What was there before is written to a journal before anything is changed. A guardian, a process of its own, waits until the agent ends
or dies, and sets back what the journal holds; if the guardian dies, too, the next agent does. Whoever tunes holds a lock on the journal,
which the kernel takes back from the dead. A journal of an earlier boot is void: a restart has undone its changes.

pyperf's ``system tune`` is not used: its ``reset`` writes values of its own choice, such as the governor powersave, and not what was
there before.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from . import BoardError

JOURNAL = "run/study-tuned.jsonl"
BOOT_ID = "proc/sys/kernel/random/boot_id"
CPUS = "sys/devices/system/cpu"
DAMON = "sys/module/damon_stat/parameters/enabled"
# Governors that leave the frequency where it is. What the owner of a machine chose to fix is not changed.
STEADY = ("performance", "userspace")
PATIENCE = 5.0  # seconds until a guardian that is still at work must have ended


def cpus(text: str) -> set[int]:
    """Return the CPUs of a list as the kernel writes it: ``0-2,5``; none of ``(null)``."""
    return {cpu for first, last in re.findall(r"(\d+)(?:-(\d+))?", text) for cpu in range(int(first), int(last or first) + 1)}


def listed(them: set[int]) -> str:
    """Return CPUs as the kernel lists them: ``0-2,5``."""
    first, last = (sorted(cpu for cpu in them if cpu + step not in them) for step in (-1, 1))
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in zip(first, last))


def governor(root: Path, cpu: int) -> Iterator[tuple[str, str]]:
    """Run the CPU at its highest frequency, and all that share its policy."""
    path = f"{CPUS}/cpu{cpu}/cpufreq/scaling_governor"
    if read(root / path) not in ("", *STEADY):
        yield path, "performance"


def idle_states(root: Path, cpu: int) -> Iterator[tuple[str, str]]:
    """Leave the CPU its first idle state, WFI, alone: waking from the deeper ones takes up to milliseconds."""
    for path in sorted(root.glob(f"{CPUS}/cpu{cpu}/cpuidle/state[1-9]*/disable")):
        if read(path) == "0":
            yield str(path.relative_to(root)), "1"


def interrupts(root: Path, cpu: int) -> Iterator[tuple[str, str]]:
    """Send interrupts to the other CPUs. What is delivered nowhere is left out: timers and others that each CPU has its own of."""
    online = cpus(read(root / CPUS / "online"))
    for path in sorted(root.glob("proc/irq/[0-9]*/smp_affinity_list")):
        now = cpus(read(path))
        others = (now & online) - {cpu} or online - {cpu}
        if cpu in now and others and delivered(path.parent) != set():
            yield str(path.relative_to(root)), ",".join(map(str, sorted(others)))


def delivered(interrupt: Path) -> set[int] | None:
    """Return the CPUs that an interrupt is delivered to, of those that it may be; None where the kernel does not say."""
    effective = interrupt / "effective_affinity_list"
    return cpus(read(effective)) if effective.exists() else None


def new_interrupts(root: Path, cpu: int) -> Iterator[tuple[str, str]]:
    """Send interrupts that are yet to be requested to the other CPUs."""
    path = "proc/irq/default_smp_affinity"
    now = int(read(root / path).replace(",", "") or "0", 16)
    others = now & ~(1 << cpu)
    online = sum(1 << other for other in cpus(read(root / CPUS / "online")))
    if others != now and others & online:
        yield path, mask(others)


def memory_monitor(root: Path, cpu: int) -> Iterator[tuple[str, str]]:
    """Stop the thread of damon_stat (mm/damon/stat.c), which some kernels start by themselves: it looks at all memory, on any CPU."""
    if read(root / DAMON) == "Y":
        yield DAMON, "N"


def mask(bits: int) -> str:
    """Write a mask of CPUs as the kernel reads it: groups of eight digits, hexadecimal."""
    digits = f"{bits:x}"
    digits = digits.zfill(-(-len(digits) // 8) * 8)
    return ",".join(digits[at : at + 8] for at in range(0, len(digits), 8))


RULES: tuple[Callable[[Path, int], Iterator[tuple[str, str]]], ...] = (
    governor,
    idle_states,
    interrupts,
    new_interrupts,
    memory_monitor,
)


def wanted(root: Path, cpu: int) -> Iterator[tuple[str, str]]:
    """Yield what tuning for a CPU writes, by what is there when it is asked for: paths below `root`, and values."""
    for rule in RULES:
        yield from rule(root, cpu)


@contextlib.contextmanager
def held(root: Path, settings: Iterable[tuple[str, str]]) -> Iterator[list[dict[str, str]]]:
    """Hold files at values, and set them back at the end, in reverse order.

    Parameters
    ----------
    root : path
        The folder that paths start at; ``/`` on a board.
    settings : iterable of (str, str)
        Paths and values; asked for when what an earlier study left changed is set back.

    Yields
    ------
    list of dict
        For each file its ``path``, what ``was`` there, and what is there ``now`` or why the kernel ``refused``.

    Raises
    ------
    BoardError
        If another study holds the machine, or this one may not.
    """
    with _locked(root, PATIENCE) as journal:
        restore(root, journal)
        rows = [(path, _text(root / path), value) for path, value in settings]
        if not rows:
            yield []
            return
        _note(root, journal, [[path, was] for path, was, _ in rows])
        with _guarded(root, journal):
            yield [_change(root, *row) for row in rows]


@contextlib.contextmanager
def _locked(root: Path, patience: float) -> Iterator[int]:
    """Open the journal and hold its lock."""
    path = root / JOURNAL
    try:
        journal = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BoardError(f"{path}: {error.strerror}: tuning takes root; run the study as root, or without --tune") from None
    try:
        end = time.monotonic() + patience
        while not _lock(journal):
            if time.monotonic() >= end:
                raise BoardError("another study has tuned this machine: wait until it is done, or go on without --tune")
            time.sleep(0.05)
        yield journal
    finally:
        os.close(journal)


def _lock(journal: int) -> bool:
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _note(root: Path, journal: int, rows: list[list[str]]) -> None:
    """Append to the journal, which may hold already what an earlier study changed and a file refused to take back."""
    size = os.fstat(journal).st_size
    lines = [*([] if size else [[_text(root / BOOT_ID)]]), *rows]
    data = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    try:
        if os.write(journal, data) == len(data):
            return os.fsync(journal)
    except OSError:
        pass
    os.ftruncate(journal, size)
    raise BoardError(f"{root / JOURNAL} cannot be written, so nothing was tuned; make room there, or go on without --tune")


@contextlib.contextmanager
def _guarded(root: Path, journal: int) -> Iterator[None]:
    """Keep a guardian while the work lasts. It sets everything back when we close the pipe, or die, which closes it, too."""
    guardian = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.tuning", str(root), str(journal)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, pass_fds=(journal,),
    )  # fmt: skip
    assert guardian.stdin and guardian.stdout
    try:
        if not guardian.stdout.readline():
            raise BoardError("the guardian that would set the machine back did not start; nothing was changed")
        yield
    finally:
        guardian.stdin.close()
        guardian.wait()
        guardian.stdout.close()
        restore(root, journal)  # what is left to do if somebody ended the guardian


def _change(root: Path, path: str, was: str, value: str) -> dict[str, str]:
    row = {"path": f"/{path}", "was": was.strip()}
    try:
        _write(root / path, value)
    except OSError as error:
        return {**row, "refused": str(error.strerror)}
    return {**row, "now": value}


def restore(root: Path, journal: int) -> None:
    """Set back what a journal holds, and empty it unless a file refused: then the next study tries again."""
    rows = _rows(journal)
    if not rows:
        return
    (boot,), *changed = rows
    if boot == _text(root / BOOT_ID):
        refused = [path for path, was in reversed(changed) if not _set_back(root, path, was)]
        if refused:
            return
    os.ftruncate(journal, 0)


def _rows(journal: int) -> list[list[str]]:
    """Return the lines of a journal; not those from a torn one on, for then what they say was not changed yet."""
    rows: list[list[str]] = []
    with contextlib.suppress(ValueError):
        for line in os.pread(journal, os.fstat(journal).st_size, 0).splitlines():
            rows.append(json.loads(line))
    return rows


def _set_back(root: Path, path: str, was: str) -> bool:
    """Write an old value, and say whether there is nothing left to do."""
    try:
        if _text(root / path) != was:
            _write(root / path, was)
    except FileNotFoundError:
        pass  # a device that is gone needs nothing
    except OSError as error:
        print(f"study: /{path} could not be set back to {was.strip()}: {error.strerror}", file=sys.stderr, flush=True)
        return False
    return True


def mend(root: Path) -> None:
    """Set back what a study left that was ended together with its guardian; leave a study alone that is still at work."""
    with contextlib.suppress(OSError, BoardError):
        if (root / JOURNAL).stat().st_size:
            with _locked(root, 0) as journal:
                restore(root, journal)


def read(path: Path) -> str:
    """Return what a file says, without the end of its line; nothing if it cannot be read."""
    try:
        return _text(path).strip()
    except OSError:
        return ""


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape") if path.exists() else ""


def _write(path: Path, value: str) -> None:
    """Write to a file that is there; never make one."""
    file = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(file, value.encode(errors="surrogateescape"))
    finally:
        os.close(file)


def guard(root: Path, journal: int) -> None:
    """Wait until the input ends, deaf to all that would end this process with the agent, then set everything back."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("ready", flush=True)
    sys.stdin.buffer.read()
    restore(root, journal)


if __name__ == "__main__":
    guard(Path(sys.argv[1]), int(sys.argv[2]))
