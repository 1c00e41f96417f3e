"""Count events with perf stat, in windows that hold round trips and nothing else.

perf is attached to the measuring process with its counters off, and is told over a pair of pipes when to count
(``perf stat --control``, see perf-stat(1)). Starting Python, making the VM and perf's own start stay outside.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import select
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from study.factors import MAY_LACK

from . import BoardError
from .facts import PMUS, install, lockdown, measuring_cpu, pmus

PATIENCE = 60.0  # seconds that perf may take to answer
INSTALL = f"install it with: {install('linux-perf')}"
TRACEPOINTS = Path("/sys/kernel/tracing/events")
WHOLE = 99.9  # per cent of the time: below it, others took turns with an event, and its count is an estimate
MOMENT = 20_000  # additions for which events are tried: about a million instructions
WRAPPED = "perf not found for kernel"  # what Ubuntu's perf says, a script that starts that of the kernel that runs
MISSING = re.compile("<(.+)>")  # what perf prints in the place of a count: why there is none
UNSUPPORTED = "not supported"
# What PMUs call an event of the hardware, where they do not call it as perf does.
ALSO = {"instructions": "inst_retired", "cycles": "cpu_cycles"}
# What lets others than root read tracepoints: the folders of tracefs keep their modes when it is mounted anew.
READABLE = f"sudo mount -o remount,mode=755 {TRACEPOINTS.parent} && sudo chmod -R a+rX {TRACEPOINTS}"
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
    ((text,),) = count([list(row)], [_work])
    return tuple(_tried(line) for line in text.splitlines() if '"counter-value"' in line)


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

    Raises
    ------
    BoardError
        If perf is missing, forbidden, or does not know an event.
    """

    def __init__(self, events: list[str], threads: Sequence[int] = ()) -> None:
        self._events = ",".join(events)
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
                    ["perf", "stat", "-j", "-e", self._events, *whom, "-D", "-1",
                     "--control", f"fd:{commands},{acks}", "--log-fd", str(self._out.fileno())],
                    pass_fds=(commands, acks, self._out.fileno()),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._words, env=_environment(),
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
            self._held = held.pop_all()

    def enable(self) -> None:
        """Count from here on."""
        self._tell(b"enable\n")

    def disable(self) -> None:
        """Count no more."""
        self._tell(b"disable\n")

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
            words = self._last_words()
            self.close()
            raise BoardError(f"perf stat did not answer: {words[-200:] or 'it was silent'}")

    def _answers(self, command: bytes) -> bool:
        try:
            os.write(self._control, command)
        except BrokenPipeError:
            return False
        return bool(select.select([self._ack], [], [], PATIENCE)[0] and os.read(self._ack, 64))

    def _last_words(self) -> str:
        self._end()  # perf writes at the position that reading moves
        self._words.seek(0)
        return " ".join(line.strip() for line in self._words if not line.startswith("Events "))

    def _end(self) -> None:
        self._perf.kill()
        self._perf.wait()


def count(rows: Sequence[list[str]], works: Sequence[Callable[[], object]]) -> list[list[str]]:
    """Count rows of events of some works, guests that they run included: each work in a thread of its own, each row by one perf.

    The last row comes first, and perf for the next one starts while the one before ends: the kernel takes tracepoints out by
    waiting. Each counts only when the one before is gone.

    Returns
    -------
    list of list of str
        Of each row, and of each work, the lines that ``perf stat -j --per-thread`` printed of its thread.

    Raises
    ------
    BoardError
        If perf ends early or does not answer.
    """
    texts: list[str] = []
    with contextlib.ExitStack() as held:
        threads = [held.enter_context(ThreadPoolExecutor(1)) for _ in works]
        numbers = [thread.submit(threading.get_native_id).result() for thread in threads]
        before: list[Counters] = []
        for events in reversed(rows):
            counters = held.enter_context(contextlib.closing(Counters([*map(of_its_core, events)], numbers)))
            texts += [ended.finish() for ended in before]
            counters.enable()
            for thread, work in zip(threads, works):
                thread.submit(work).result()
            counters.disable()
            counters.stop()
            before = [counters]
        texts += [ended.finish() for ended in before]
    named = [_named_as_asked(text, events) for text, events in zip(reversed(texts), rows)]
    return [[_of_thread(number, text) for number in numbers] for text in named]


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
