"""The life of a real guest: start QEMU with it, follow the marks on its console, and read what was counted at each.

A mark is a line that the guest's first process writes; it waits for an answer then, so its virtual CPU sleeps while counters are
read, and a phase is what lies between two answers: exactly, whatever the board takes to read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import BoardError, census, facts, strategy, tied, tuning
from .kvm import KVM_CHECK_EXTENSION

GUESTS = Path(os.environ.get("STUDY_GUESTS", "/guests"))  # where guests are, and on an emulated board what runs them
VMM, PACKAGE = "qemu-system-aarch64", "qemu-system-arm"
LOADER = "ld-linux-aarch64.so.1"
# What a guest writes: see study/guests.py.
MARK, BOOT, WHOLE, CANNOT = b"study:", "boot", "whole", "77"
# What kvm-unit-tests' programs say of their end: 1 is success.
STATUS = re.compile(rb"EXIT: STATUS=(\d+)")
POLLING = "sys/module/kvm/parameters/halt_poll_ns"
KVM_CAP_ARM_EL1_32BIT = 93  # include/uapi/linux/kvm.h
MOMENT, TRIES = 0.002, 200  # seconds without an exit after which a guest is taken to wait, and how often that is tried
MOST_SAID = 1 << 16  # bytes on its console after which a guest is taken for one that fills it
LAST_WORDS = 2000  # bytes of them that are kept


def live(
    *, chosen: str, kernel: str, initrd: str, append: str, cpu: str, memory: int, marks: bool, counted: bool, limit: float
) -> dict[str, object]:  # fmt: skip
    """Run a guest from its start to its end and return its phases.

    Parameters
    ----------
    chosen : str
        The strategy.
    kernel, initrd, append : str
        What it boots: files below GUESTS, and words for its command line. Without an initrd none.
    cpu : str
        What is added to ``-cpu host``.
    memory : int
        MB.
    marks : bool
        Whether it marks its phases; else its whole life is one.
    counted : bool
        Whether to count by tracepoints, and by the module's census if it is there: both cost instructions.
    limit : float
        Seconds that a phase may take.

    Raises
    ------
    BoardError
        If it does not live as it should: one line that says why.
    """
    strategy.choose(chosen)
    argv = [*vmm(), "-machine", "virt,gic-version=host,accel=kvm", "-cpu", f"host{cpu}", "-m", str(memory)]
    argv += ["-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", str(GUESTS / kernel)]
    argv += ["-initrd", str(GUESTS / initrd)] * bool(initrd) + ["-append", append] * bool(append)
    with contextlib.ExitStack() as held:
        if lacking := settings(facts.ROOT):
            held.enter_context(tuning.held(facts.ROOT, lacking))
        reading = held.enter_context(census.counting(counted))
        if marks:
            phases = list(_phases(held.enter_context(_started(argv, limit)), reading))
        else:
            ours, theirs = map(held.enter_context, _monitor())
            argv += ["-S", "-no-shutdown", "-chardev", f"socket,id=monitor,fd={theirs.fileno()}"]
            argv += ["-mon", "chardev=monitor,mode=control"]
            phases = [_whole(held.enter_context(_started(argv, limit, theirs)), ours, reading)]
    if (now := strategy.in_force()) != chosen:
        raise BoardError(
            f"the strategy was changed to {now} while {chosen} was measured: something else uses the module dbgswitch"
        )
    return {"phases": phases, "lacking": sorted(reading.lacking), "vmm": version()}


def check() -> None:
    """Try what every life needs: QEMU, and to count in each way.

    Raises
    ------
    BoardError
        If something is missing or forbidden.
    """
    version()
    with census.counting(traced=True):
        pass


def settings(root: Path) -> list[tuple[str, str]]:
    """Return what is to be set while guests live, unless it is set already: KVM puts a virtual CPU that waits to sleep at once.

    While it polls, for up to half a millisecond, it executes as many instructions as fit: no strategy changes them, and they would
    hide all others.
    """
    return [(POLLING, "0")] if tuning.read(root / POLLING) not in ("", "0") else []


def bits() -> dict[str, object]:
    """Say whether KVM runs guests of 32 bits here: whether the CPU has AArch32 at EL1."""
    try:
        with open("/dev/kvm", "rb") as kvm:
            return {"aarch32": fcntl.ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ARM_EL1_32BIT) > 0}
    except OSError as error:
        raise BoardError(
            f"/dev/kvm: {error.strerror}: the board must run Linux with KVM, and you must be root or in the group kvm"
        ) from None


def vmm() -> list[str]:
    """Return how to start QEMU: the one that was sent along, with its libraries, or the board's own."""
    sent = GUESTS / "vmm"
    if sent.is_dir():
        return [str(sent / "lib" / LOADER), "--library-path", str(sent / "lib"), str(sent / "bin" / VMM)]
    found = shutil.which(VMM)
    if not found:
        raise BoardError(f"{VMM} is not installed on the board; install it with: {facts.install(PACKAGE)}")
    return [found]


def version() -> str:
    """Return what QEMU says of its version; a QEMU that does not run is refused."""
    said = subprocess.run([*vmm(), "--version"], capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise BoardError(
            f"{VMM} does not run on the board: {(said.stderr.splitlines() or ['it says nothing'])[-1]}; remove it, and install it again with: "
            f"{facts.install(PACKAGE)}"
        )
    return said.stdout.splitlines()[0]


@dataclass
class Running:
    """A guest that runs: its process and its console."""

    process: subprocess.Popen[bytes]
    limit: float
    rest: bytes = b""
    said: int = 0
    last: bytes = b""

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of its console to its end, or for as long as a phase may take."""
        deadline = time.monotonic() + self.limit
        while True:
            while b"\n" in self.rest:
                line, _, self.rest = self.rest.partition(b"\n")
                yield line
            self.wait(deadline)
            if not self.hear():
                return

    def wait(self, deadline: float, *others: socket.socket) -> list[Any]:
        """Wait until its console, or others, have something to read, and return those."""
        assert self.process.stdout
        files: list[Any] = [self.process.stdout, *others]
        ready = select.select(files, [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            raise self.failed(f"took longer than {self.limit:.0f} s for a phase")
        return ready

    def hear(self) -> bool:
        """Read some of what it says, and return whether it still says something."""
        assert self.process.stdout
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        self.said, self.rest, self.last = self.said + len(data), self.rest + data, (self.last + data)[-LAST_WORDS:]
        if self.said > MOST_SAID:
            raise self.failed(f"fills its console: {MOST_SAID >> 10} KB and more")
        return bool(data)

    def hear_the_rest(self) -> None:
        """Read what it has said already."""
        while select.select([self.process.stdout], [], [], 0)[0] and self.hear():  # type: ignore[type-var]
            pass

    def failed(self, why: str) -> BoardError:
        """Return the error of a guest that does not live as it should, with its last words, those of a panic first."""
        lines = self.words()
        told = [line for line in lines if "Kernel panic" in line][:1] + lines[-2:]
        return BoardError(f"the guest {why}; its last words: {' | '.join(told) or 'nothing'}")

    def words(self) -> list[str]:
        """Return the last lines that it said."""
        lines = ["".join(filter(str.isprintable, line)) for line in self.last.decode(errors="replace").splitlines()]
        return [line.strip() for line in lines if line.strip()]

    def at_rest(self, reading: census.Reading) -> census.Counts:
        """Return what was counted once the guest waits: its virtual CPU has a few instructions left after it has written a mark."""
        for _ in range(TRIES):
            before = reading.exits(self.process.pid)
            time.sleep(MOMENT)
            counts = reading.of(self.process.pid)
            if before == reading.exits(self.process.pid):
                return counts
        raise self.failed("does not wait at its mark")

    def go_on(self) -> None:
        """Answer a mark."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(b"go on\n")
            self.process.stdin.flush()


def _monitor() -> tuple[socket.socket, socket.socket]:
    """Return our end and QEMU's of the line on which it says that a guest shut down."""
    try:
        return socket.socketpair()
    except OSError as error:
        raise BoardError(
            f"a guest that marks no phases takes sockets, by which QEMU says that it shut down: {error.strerror}; build this kernel "
            "with CONFIG_NET and CONFIG_UNIX"
        ) from None


@contextlib.contextmanager
def _started(argv: list[str], limit: float, *theirs: socket.socket) -> Iterator[Running]:
    """Start a guest on the CPU that measures, with its ends of sockets, and end it when this is left, or we are killed."""
    ready, measuring = tied.to_parent(signal.SIGKILL), facts.measuring_cpu()

    def before_exec() -> None:
        ready()
        os.sched_setaffinity(0, {measuring})

    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=before_exec,
        pass_fds=[end.fileno() for end in theirs],
    ) as process:  # fmt: skip
        for end in theirs:
            end.close()
        try:
            yield Running(process, limit)
        finally:
            process.kill()


def _phases(running: Running, reading: census.Reading) -> Iterator[dict[str, object]]:
    """Follow a guest from mark to mark, to its end."""
    before, doing, began = reading.first, BOOT, time.monotonic()
    while mark := _mark(running):
        phase, does, status = [*mark, "", ""][:3]
        took, counts = time.monotonic() - began, running.at_rest(reading)
        if does == "ends" and (phase != doing or status not in ("0", CANNOT)):
            raise running.failed(f"ended its {phase} with status {status}")
        if does == "ends" and status == CANNOT:
            yield {"phase": phase, "cannot": running.words()[-2]}
        elif does == "ends":
            yield {"phase": phase, "seconds": took, **census.difference(counts, before)}
        before, doing, began = counts, phase * (does == "begins"), time.monotonic()
        running.go_on()
    if doing:
        raise running.failed(f"ended in its {doing}")


def _mark(running: Running) -> list[str]:
    """Return the next mark of a guest, word by word; nothing once it has ended."""
    for line in running.lines():
        _, found, words = line.partition(MARK)
        if found:
            return words.decode(errors="replace").split()
    return []


def _whole(running: Running, monitor: socket.socket, reading: census.Reading) -> dict[str, object]:
    """Follow a guest that marks nothing, to its end: QEMU keeps it, stopped, until it is read."""
    began, events = time.monotonic(), b""
    monitor.sendall(b'{"execute": "qmp_capabilities"}\n{"execute": "cont"}\n')  # so that no event comes before it is heard
    while b'"SHUTDOWN"' not in events:
        for ready in running.wait(began + running.limit, monitor):
            if ready is monitor:
                events += monitor.recv(1 << 16)
            elif not running.hear():
                raise running.failed("ended before it shut down")
    took, counts = time.monotonic() - began, reading.of(running.process.pid)
    running.hear_the_rest()
    if (status := STATUS.search(running.last)) and status[1] != b"1":
        raise running.failed(f"says that it ended with status {status[1].decode()}")
    return {"phase": WHOLE, "seconds": took, **census.difference(counts, reading.first)}
