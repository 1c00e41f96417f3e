"""Count events in windows that hold round trips and nothing else.

perf stat is attached to a process with its counters off, and is told over a pair of pipes when to count (``--control``, see
perf-stat(1)). Starting Python, making the VM and perf's own start stay outside. How a row of events is counted depends on them:

======================  ===================================================================================================
events of the hardware  by a perf stat that stays: it is attached to the process that forks those of visits, and they inherit its
                        counters. Off, these cost a round trip nothing, and perf is stopped between the windows.
tracepoints             as perf stat does, by perf_event_open(2), and read(2). One that is open, even off, lengthens each exit, so
                        that it cannot stay; and starting perf anew takes an emulated board half as long as what a visit measures.
others, and mixtures    by a perf stat that is started for them
======================  ===================================================================================================
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import json
import os
import re
import select
import signal
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Optional, Union

from study.factors import MAY_LACK

from . import BoardError, perfevent, tied
from .facts import PMUS, install, lockdown, measuring_cpu, pmus

PATIENCE = 60.0  # seconds that perf may take to answer
INSTALL = f"install it with: {install('linux-perf')}"
TRACEPOINTS = Path("/sys/kernel/tracing/events")
# Of include/uapi/linux/perf_event.h: the type of event, and what switches one on and off.
PERF_TYPE_TRACEPOINT, PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_DISABLE = 2, 0x2400, 0x2401
# Events that may stay open: by perf's names of the hardware's, or as a PMU of a core calls them.
MAY_STAY = re.compile(r"[a-z][\w-]*(:[ukhGHpP]+)?|armv\d\w+/[^/]*/[ukhGHpP]*")
STAYS = 1  # milliseconds between two times that a perf which stays prints, while it is not stopped
WHOLE = 99.9  # per cent of the time: below it, others took turns with an event, and its count is an estimate
MOMENT = 20_000  # additions for which events are tried: about a million instructions
WRAPPED = "perf not found for kernel"  # what Ubuntu's perf says, a script that starts that of the kernel that runs
MISSING = re.compile("<(.+)>")  # what perf prints in the place of a count: why there is none
UNSUPPORTED = "not supported"
# What PMUs call an event of the hardware, where they do not call it as perf does.
ALSO = {"instructions": "inst_retired", "cycles": "cpu_cycles"}
# What lets others than root read tracepoints: the folders of tracefs keep their modes when it is mounted anew.
READABLE = f"sudo mount -o remount,mode=755 {TRACEPOINTS.parent} && sudo chmod -R a+rX {TRACEPOINTS}"
Counted = dict[str, Union[str, dict[str, int]]]  # of a window: what perf printed (perf), or what was read (tracepoints)
UNLOCK = "boot with lockdown=integrity, or turn Secure Boot off: sudo mokutil --disable-validation"


class Tried(NamedTuple):
    """An event that was tried: why it could not be counted, if that is so, and in how many per cent of the time it was."""

    event: str
    why: str
    running: float

    @property
    def fits(self) -> bool:
        """Whether others took no turns with it. What is not supported would not be alone either."""
        return self.why == UNSUPPORTED or (not self.why and self.running >= WHOLE)


def here(events: Iterable[str]) -> list[str]:
    """Return the events without those of MAY_LACK that this kernel lacks; what cannot be looked at is left to perf to refuse."""

    def is_there(event: str) -> bool:
        group, _, name = event.partition(":")
        return not os.path.isdir(TRACEPOINTS / group) or os.path.isdir(TRACEPOINTS / group / name)

    return [event for event in events if event not in MAY_LACK or is_there(event)]


@functools.cache
def of_its_core(event: str, root: Path = Path("/")) -> str:
    """Return an event as it is asked of the PMU of the CPU that measures, where there are several: each kind of core has its own.

    ``instructions:kh`` is ``armv8_cortex_a76/inst_retired/kh`` there. What that PMU has no name for is left as it is.
    """
    known, name = pmus(root), event.partition(":")[0]
    own = [pmu for pmu, them in known.items() if measuring_cpu() in them and len(known) > 1]
    for pmu, alias in itertools.product(own, (name, ALSO.get(name, name))):
        if (root / PMUS / pmu / "events" / alias).exists():
            return f"{pmu}/{alias}/{event[len(name) + 1 :]}"
    return event


def fitting(rows: Iterable[Iterable[str]]) -> list[list[str]]:
    """Return rows of events that count all of the time each: one whose events do not fit the counters together is split.

    Raises
    ------
    BoardError
        If perf is missing, forbidden, or does not know an event.
    """
    return [list(part) for row in map(here, rows) if row for part in _parts(tuple(row))]


def _parts(row: tuple[str, ...]) -> list[tuple[str, ...]]:
    if len(row) == 1 or "{" in "".join(row) or all(event.fits for event in tried(row)):
        return [row]
    half = len(row) // 2
    return [*_parts(row[:half]), *_parts(row[half:])]


@functools.cache
def tried(row: tuple[str, ...]) -> tuple[Tried, ...]:
    """Count a row of events for a moment on the CPU that measures, as visits do; once, for it is the same in each.

    Raises
    ------
    BoardError
        If perf is missing, forbidden, or does not know an event.
    """
    (text,) = _by_a_perf(row, [_work], _nothing)
    return tuple(_tried(line) for line in str(text["perf"]).splitlines() if '"counter-value"' in line)


def _nothing() -> None:
    pass


def _work() -> None:
    os.sched_setaffinity(0, {measuring_cpu()})
    sum(range(MOMENT))


def _tried(line: str) -> Tried:
    said = json.loads(line)
    missing = MISSING.fullmatch(said["counter-value"])
    return Tried(said["event"], missing[1] if missing else "", float(said["pcnt-running"]))


class Counters:
    """perf stat, attached to this process with its counters off.

    All threads of the process are counted, and what they start from then on: threads, processes, guests. perf ends with the
    process, whatever ends that. It shares only pipes and unnamed files with it, so a killed process leaves nothing behind.

    Parameters
    ----------
    events : list of str
        As perf names them; groups and modifiers are welcome.
    threads : sequence of int, optional
        Count only these threads, by the kernel's numbers, and each apart.
    stays : bool
        Whether it prints at each command what was counted since the one before, and is killed when the thread that makes it ends.

    Raises
    ------
    BoardError
        If perf is missing, forbidden, or does not know an event.
    """

    def __init__(self, events: list[str], threads: Sequence[int] = (), stays: bool = False) -> None:
        self._events = ",".join(events)
        more = ["-I", str(STAYS)] if stays else []
        whom = ["--per-thread", "-t", ",".join(map(str, threads))] if threads else ["-p", str(os.getpid())]
        with contextlib.ExitStack() as held:
            self._out = held.enter_context(tempfile.TemporaryFile("w+"))
            # A file, for perf says a line per command: a pipe that nobody reads would fill up and stop it.
            self._words = held.enter_context(tempfile.TemporaryFile("w+"))
            commands, self._control = os.pipe()
            self._ack, acks = os.pipe()
            held.callback(os.close, self._control)
            held.callback(os.close, self._ack)
            try:
                self._perf = subprocess.Popen(
                    ["perf", "stat", "-j", *more, "-e", self._events, *whom, "-D", "-1",
                     "--control", f"fd:{commands},{acks}", "--log-fd", str(self._out.fileno())],
                    pass_fds=(commands, acks, self._out.fileno()),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._words, env=_environment(),
                    preexec_fn=tied.to_parent(signal.SIGKILL) if stays else None,
                )  # fmt: skip
            except FileNotFoundError:
                raise BoardError(f"perf is not installed; {INSTALL}") from None
            except OSError as error:
                raise BoardError(f"perf cannot be started ({error.strerror}); {INSTALL}") from None
            finally:  # only perf holds these ends, so that its end is seen as the end of its answers
                os.close(commands)
                os.close(acks)
            held.callback(self._end)
            if not self._answers(b"disable\n"):  # they are off: the answer says that perf is attached
                raise _refusal(self._events, self._last_words())
            if stays:
                self._send(signal.SIGSTOP)
            self._held = held.pop_all()

    def enable(self) -> None:
        """Count from here on."""
        self._tell(b"enable\n")

    def disable(self) -> None:
        """Count no more."""
        self._tell(b"disable\n")

    def window(self, work: Callable[[], object]) -> str:
        """Return what a perf that stays printed of some work, as it stands: rows of intervals, whose sum is the count.

        Intervals in which nothing ran are left out, if there are others.

        It prints by the clock, and is stopped (SIGSTOP) but for the moments in which it is told to count, or has to print. It is
        counted whichever process does the work, if that was forked after perf was attached to this one; so nothing else may run in
        any of them.
        """
        os.lseek(self._out.fileno(), 0, os.SEEK_SET)  # perf writes at the same position
        os.ftruncate(self._out.fileno(), 0)
        self._send(signal.SIGCONT)
        self._tell(b"enable\n")
        self._send(signal.SIGSTOP)
        work()
        self._send(signal.SIGCONT)
        self._tell(b"disable\n")
        printed, deadline = self._size(), time.monotonic() + PATIENCE
        while self._size() == printed:  # what it prints next is all that was left
            if select.select([self._ack], [], [], STAYS / 4000)[0] or time.monotonic() > deadline:  # it has ended, or is silent
                raise self._silent()
        self._send(signal.SIGSTOP)
        return _met(os.pread(self._out.fileno(), self._size(), 0).decode())

    def _send(self, number: signal.Signals) -> None:
        """Send perf a signal: by os.kill(), for in a process that was forked it is no child."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._perf.pid, number)

    def _size(self) -> int:
        return os.fstat(self._out.fileno()).st_size

    def ended(self) -> bool:
        """Say whether perf has ended."""
        return self._perf.poll() is not None

    def stop(self) -> None:
        """Have perf print and end, which may take it a while; do not wait for that."""
        self._perf.send_signal(signal.SIGINT)  # perf's ordinary end

    def finish(self) -> str:
        """Wait until perf has ended, and return what ``perf stat -j`` printed, as it stands."""
        with self._held:
            self.stop()
            if select.select([self._ack], [], [], PATIENCE)[0]:  # its end of the pipe is closed: it is on its way
                self._perf.wait()
            if self._perf.returncode == -signal.SIGKILL:
                raise BoardError(f"perf stat was killed while it counted {self._events}")
            words = self._last_words()
            self._out.seek(0)
            text = self._out.read()
        if not text.strip():
            raise BoardError(f"perf stat printed nothing for {self._events}: {words[-200:]}")
        return text

    def close(self) -> None:
        """End perf if it still runs, whatever it counted."""
        self._held.close()

    def _tell(self, command: bytes) -> None:
        if not self._answers(command):
            raise self._silent()

    def _silent(self) -> BoardError:
        words = self._last_words()
        self.close()
        return BoardError(f"perf stat did not answer while it counted {self._events}: {words[-200:] or 'it was silent'}")

    def _answers(self, commands: bytes) -> bool:
        try:
            os.write(self._control, commands)
        except BrokenPipeError:
            return False
        answers = b""
        while answers.count(b"ack") < commands.count(b"\n"):
            if not select.select([self._ack], [], [], PATIENCE)[0] or not (more := os.read(self._ack, 64)):
                return False
            answers += more
        return True

    def _last_words(self) -> str:
        self._end()  # perf writes at the position that reading moves
        self._words.seek(0)
        return " ".join(line.strip() for line in self._words if not line.startswith("Events "))

    def _end(self) -> None:
        self._perf.kill()
        self._perf.wait()


def _met(text: str) -> str:
    """Return the rows of intervals in which an event was counted for some time; all of them if there is none. Pure."""
    rows = [(line, json.loads(line)) for line in text.splitlines(keepends=True) if line.startswith("{")]
    ran = {said.get("interval") for _, said in rows if said.get("event-runtime")}
    return "".join(line for line, said in rows if said.get("interval") in ran) or text


KEPT: dict[tuple[str, ...], Counters] = {}  # of rows of events: the perfs that stay, here and in what is forked from now on


def keep(rows: Iterable[Iterable[str]]) -> None:
    """Start a perf that stays for each row that may have one, if it has none, or one that has ended.

    Raises
    ------
    BoardError
        If perf is missing, forbidden, or does not know an event.
    """
    for row in map(tuple, rows):
        if row in KEPT and KEPT[row].ended():
            KEPT.pop(row).close()
        if _way(row) is _by_one_that_stays and row not in KEPT:
            KEPT[row] = Counters([*map(of_its_core, row)], stays=True)


def let_go() -> None:
    """End all perfs that stay."""
    while KEPT:
        KEPT.popitem()[1].close()


def count(
    row: Iterable[str], works: Sequence[Callable[[], object]], between: Optional[Callable[[], object]] = None
) -> list[Counted]:
    """Count a row of events of some works, guests that they run included.

    Parameters
    ----------
    row : iterable of str
        Events, as perf names them.
    works : sequence of callable
        What is counted, each apart.
    between : callable, optional
        Is called before the first work, and after each: it is not counted.

    Returns
    -------
    list of dict
        Of each work either ``perf``, the lines that ``perf stat -j`` printed of it, or ``tracepoints``, how often each was met.

    Raises
    ------
    BoardError
        If perf ends early or does not answer, or the kernel gives no tracepoint.
    """
    events = tuple(row)
    return _way(events)(events, works, between or _nothing)


Way = Callable[[tuple[str, ...], Sequence[Callable[[], object]], Callable[[], object]], list[Counted]]


def of_tracepoints(row: Iterable[str]) -> bool:
    """Say whether a row is of tracepoints alone. The kernel takes them out by waiting for ticks of its clock: when the process ends."""
    return _way(tuple(row)) is _traced


@functools.cache
def _way(row: tuple[str, ...]) -> Way:
    """Return how a row is counted."""
    if all(map(MAY_STAY.fullmatch, row)):
        return _by_one_that_stays
    return _traced if all(os.access(_identity(event), os.R_OK) for event in row) else _by_a_perf


def _identity(event: str) -> Path:
    """Return the file in which the kernel says the number of a tracepoint, if it is one."""
    return TRACEPOINTS / event.replace(":", "/", 1) / "id"


def _by_one_that_stays(
    row: tuple[str, ...], works: Sequence[Callable[[], object]], between: Callable[[], object]
) -> list[Counted]:
    """Count by the perf of that row that stays; where none does, by one that counts this process."""
    keep([row] * (row not in KEPT))
    found: list[Counted] = []
    between()
    for work in works:
        found.append({"perf": _named_as_asked(KEPT[row].window(work), row)})
        between()
    return found


def _traced(row: tuple[str, ...], works: Sequence[Callable[[], object]], between: Callable[[], object]) -> list[Counted]:
    """Count tracepoints that this thread, or what it starts, meets. Another thread closes them; the process ends after that."""
    files, found = [], list[Counted]()
    for event in row:
        try:
            number = int(_identity(event).read_text())
            files.append(perfevent.opened(PERF_TYPE_TRACEPOINT, number, flags=perfevent.DISABLED | perfevent.INHERIT))
        except OSError as error:
            raise BoardError(f"the kernel does not count {event}: {error.strerror}") from None
    between()
    for work in works:
        before = _read(files)
        for file in files:
            fcntl.ioctl(file, PERF_EVENT_IOC_ENABLE)
        work()
        for file in files:
            fcntl.ioctl(file, PERF_EVENT_IOC_DISABLE)
        found.append({"tracepoints": {name: after - first for name, first, after in zip(row, before, _read(files))}})
        between()
    threading.Thread(target=lambda: list(map(os.close, files)), daemon=True).start()
    return found


def _read(files: Iterable[int]) -> list[int]:
    return [struct.unpack("=Q", os.read(file, 8))[0] for file in files]


def _by_a_perf(row: tuple[str, ...], works: Sequence[Callable[[], object]], between: Callable[[], object]) -> list[Counted]:
    """Count by a perf that is started for it: each work in a thread of its own."""
    with contextlib.ExitStack() as held:
        threads = [held.enter_context(ThreadPoolExecutor(1)) for _ in works]
        numbers = [thread.submit(threading.get_native_id).result() for thread in threads]
        counters = held.enter_context(contextlib.closing(Counters([*map(of_its_core, row)], numbers)))
        between()
        counters.enable()
        for thread, work in zip(threads, works):
            thread.submit(work).result()
            between()
        counters.disable()
        text = _named_as_asked(counters.finish(), row)
    return [{"perf": _of_thread(number, text)} for number in numbers]


def _named_as_asked(text: str, events: Iterable[str]) -> str:
    """Return what perf printed, with events that were asked of a core's PMU under their own names."""
    return functools.reduce(lambda text, event: text.replace(f'"{of_its_core(event)}"', f'"{event}"'), events, text)


def _of_thread(number: int, text: str) -> str:
    """Return the lines of one thread of what ``perf stat -j --per-thread`` printed."""
    return "".join(line for line in text.splitlines(keepends=True) if f'-{number}"' in line.partition(",")[0])


def _refusal(events: str, said: str) -> BoardError:
    words = " ".join(said.partition("Usage:")[0].split())
    if lockdown(Path("/")) == "confidentiality":
        return BoardError(f"the kernel is locked down (confidentiality), and has no tracepoints then; {UNLOCK}")
    if WRAPPED in words:
        return BoardError(f"perf is not installed for the kernel that runs; {INSTALL}")
    if "perf_event_paranoid" not in words and "ermi" not in words:
        return BoardError(f"perf stat cannot count {events}: {words[:200] or 'it was silent'}")
    if "/tracing" in words:
        return BoardError(f"perf may not read the kernel's tracepoints; run as root, or allow it with: {READABLE}")
    level = Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip()
    return BoardError(
        f"perf may not count here (kernel.perf_event_paranoid is {level}); run as root, "
        "or allow it with: sudo sysctl kernel.perf_event_paranoid=-1"
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
