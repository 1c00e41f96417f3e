"""Count loops that are alike but for some accesses in their bodies: the difference is theirs, and what one of them costs.

The loops of accesses to debug registers, and of traps from the kernel, are those of the module dbgprice; exceptions and hypercalls are the
guest's (payload.S, job 2). Each is there with so many of a thing in its body and with twice as many, and both are run in turns.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from . import BoardError, facts, fresh, guest, kvm, perfevent, sample, strategy

NAME = "onboard.price"  # of the process, as ps(1) shows it
LIMIT = 300.0  # seconds
MODULE = Path(os.environ.get("STUDY_MODULE", "/guests/prices/dbgprice.ko"))
PARAMETERS = Path("/sys/module/dbgprice/parameters")
TURNS = 64  # of the module's loops in a burst: dbgprice.c
JOB = 2
MODEL = ("sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name")
# What a count is of, if the clock is not read: an event of sample.EVENTS. Nobody takes turns with it (pinned), and what is read is the
# count, and for how long it was wanted and was there (PERF_FORMAT_TOTAL_TIME_ENABLED and _RUNNING).
PINNED, TIMES, COUNT = 1 << 2, 3, struct.Struct("=QQQ")
CLOCK, NO_PMU = "ns", (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV)
BUILD = (
    "build it in a checkout on the board with: study module --prices; from afar, copy that file here and name it in STUDY_MODULE"
)
# How KVM runs where the host is at EL1, and so can trap to EL2: see facts.mode(). Protected KVM has a longer way for every call.
TRAPS = ("nvhe", "hvhe")


class Loop(NamedTuple):
    """A loop: what it prices, how many its shorter body has, of what it is, its number in the guest if it is the guest's, turns in a burst."""

    quantity: str
    units: int
    of: str
    guests: int = -1
    turns: int = TURNS


def _accesses() -> Iterator[tuple[str, Loop]]:
    for do, says in (("read", "read"), ("write", "write of what it holds")):
        for name, register in (
            ("dbgbvr", "DBGBVR0_EL1"), ("dbgbcr", "DBGBCR0_EL1"), ("dbgwvr", "DBGWVR0_EL1"), ("dbgwcr", "DBGWCR0_EL1"),
            ("mdscr", "MDSCR_EL1"),
        ):  # fmt: skip
            yield f"{do}_{name}", Loop(do, 16, f"{register}, {says}, one behind the other")
            yield f"{do}_{name}_isb", Loop(f"{do}-isb", 16, f"{register}, {says}, an ISB behind each")


WRITES = "16 writes of DBGBVR0_EL1, DBGBCR0_EL1, DBGWVR0_EL1 and DBGWCR0_EL1 in turn"
LOOPS = {
    "trap": Loop(
        "trap",
        16,
        "HVC from the kernel to the hypervisor, which refuses a function of its stub, and back; some 24 instructions there",
    ),
    "exception": Loop("exception", 16, "SVC of a guest from EL0 to EL1, and ERET", 0, turns=4 * TURNS),
    **dict(_accesses()),
    "isb": Loop("isb", 16, "ISB, one behind the other"),
    "batch": Loop("batch", 2, f"{WRITES}, then one ISB"),
    "batch_isb": Loop("batch", 2, f"{WRITES}, an ISB behind each"),
    "hypercall": Loop("hypercall", 16, "PSCI_VERSION of the study's guest", 1, turns=1),
}


def prices(*, count: str, pairs: int, bursts: int) -> dict[str, object]:
    """Run every loop that this board has, in a fresh process, each in pairs of its two lengths.

    Parameters
    ----------
    count : str
        What is counted: an event of sample.EVENTS. On a board without a PMU it is the clock.
    pairs : int
        How often each loop is run with either length.
    bursts : int
        How many bursts of so many turns each run has.

    Returns
    -------
    dict
        ``unit``: ``cycles``, ``instructions`` or ``ns``; ``machine``, what the firmware calls it; ``left_out``, why loops are not there;
        ``loops``: for each its ``quantity``, what it is ``of``, ``each``, how many of it the longer run has more than the shorter, and
        the counts of both, ``short`` and ``long``.

    Raises
    ------
    BoardError
        If the module is not there, or the counter does not count.
    """
    _load()
    mode = facts.kvm_mode()
    left_out = (
        {}
        if mode in TRAPS
        else {"trap": f"the host is at EL2, or KVM is protected ({mode}): nothing of it traps as a guest does"}
    )
    names = [name for name in LOOPS if name not in left_out]
    work = partial(_write_counts, names, count, pairs, bursts)
    return {"machine": _model(), "left_out": left_out, **fresh.answer(NAME, work, LIMIT, "the process of the loops")}


def _write_counts(names: list[str], count: str, pairs: int, bursts: int, found: Path) -> None:
    found.write_text(json.dumps(_counts(names, count, pairs, bursts)))


def _counts(names: list[str], count: str, pairs: int, bursts: int) -> dict[str, object]:
    os.sched_setaffinity(0, {facts.measuring_cpu()})
    gic = facts.guests_gic() > 0
    with contextlib.closing(Priced(0, 0, gic)), _counter(count) as (unit, read):  # while there is a VM, there is KVM's hypervisor
        return {"unit": unit, "loops": {name: _pairs(name, read, pairs, bursts, gic) for name in names}}


def _pairs(name: str, read: Callable[[], int], pairs: int, bursts: int, gic: bool) -> dict[str, object]:
    """Run a loop with both lengths in turns, and return what was counted. Between two readings there is the run, and nothing else."""
    row, counts = LOOPS[name], (list[int](), list[int]())
    with contextlib.ExitStack() as held:
        runs = _of_the_guest(row, bursts, gic, held) if row.guests >= 0 else _of_the_module(name, bursts, held)
        for turn in range(-1, pairs):  # the first of all is thrown away
            for twice in (0, 1) if turn % 2 else (1, 0):
                run = runs[twice]
                before = read()
                run()
                counted = read() - before
                if turn >= 0:
                    counts[twice].append(counted)
    each = row.units * row.turns * bursts
    return {"quantity": row.quantity, "of": row.of, "each": each, "short": counts[0], "long": counts[1]}


def _of_the_guest(row: Loop, bursts: int, gic: bool, held: contextlib.ExitStack) -> list[Callable[[], object]]:
    """Return what runs a loop of the guest, with either length."""
    guests = [held.enter_context(contextlib.closing(Priced(row.guests, twice, gic))) for twice in (0, 1)]
    return [partial(priced.run, row.turns * bursts) for priced in guests]


def _of_the_module(name: str, bursts: int, held: contextlib.ExitStack) -> list[Callable[[], object]]:
    """Return what runs a loop of the module, with either length; it is tried.

    Raises
    ------
    BoardError
        If the module does not run it.
    """
    try:
        file = os.open(PARAMETERS / "run", os.O_WRONLY)
        held.callback(os.close, file)
        os.pwrite(file, f"{name} 0 1".encode(), 0)
    except OSError as error:
        raise BoardError(f"the module dbgprice does not run {name}: {error.strerror}; run the study as root") from None
    return [partial(os.pwrite, file, f"{name} {twice} {bursts}".encode(), 0) for twice in (0, 1)]


class Priced:
    """The guest, being priced: see payload.S."""

    def __init__(self, number: int, twice: int, gic: bool) -> None:
        registers = {0: JOB, 4: number, 5: twice, 6: kvm.DEVICE_PAGE, 7: kvm.DATA_PAGE}
        self._machine = kvm.Machine(guest.PAYLOAD.read_bytes(), registers, gic=gic)
        self._machine.enter()
        self._at_end()

    def run(self, turns: int) -> None:
        """Make so many turns."""
        self._machine.answer(turns)
        self._machine.enter()
        self._at_end()

    def _at_end(self) -> None:
        access = self._machine.access()
        if access.is_write or access.offset != guest.NEXT_BATCH:
            raise BoardError(f"the guest took an exception (ESR_EL1 {access.value:#x}): its figures would mean nothing")

    def close(self) -> None:
        """End the VM."""
        self._machine.close()


@contextlib.contextmanager
def _counter(count: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """Yield what is counted, and what reads it: an event of this thread, wherever it is, or the clock if there is no PMU.

    Raises
    ------
    BoardError
        If there is a counter and it does not count, or not all of the time.
    """
    try:
        file = perfevent.opened(
            sample.PERF_TYPE_HARDWARE, sample.EVENTS[count], flags=PINNED, cpu=facts.measuring_cpu(), read=TIMES
        )
    except OSError as error:
        if error.errno not in NO_PMU:
            why = sample.REFUSED.get(error.errno or 0, f"the kernel does not count {count}: {error.strerror}")
            raise BoardError(why.replace("sample the kernel", "count the kernel")) from None
        yield CLOCK, time.perf_counter_ns
        return

    def read() -> int:
        data = os.read(file, COUNT.size)
        counted, wanted, running = COUNT.unpack(data) if data else (0, 1, 0)
        if running < wanted:
            raise BoardError(f"others hold the counters of this CPU, and {count} cannot be counted: end what else uses perf")
        return int(counted)

    try:
        before = read()
        sum(range(1000))
        if read() == before:
            raise BoardError(
                f"the PMU counts no {count}: it stands still; see that firmware lets the kernel have it: dmesg | grep -i pmu"
            )
        yield count, read
    finally:
        os.close(file)


def _load() -> None:
    """Load the module, if it is not there.

    Raises
    ------
    BoardError
        If it cannot be.
    """
    if PARAMETERS.exists():
        return
    release = platform.release()
    if not MODULE.is_file() or b"name=dbgprice\0" not in MODULE.read_bytes():
        raise BoardError(f"the module dbgprice for kernel {release} is not there; {BUILD}")
    done = subprocess.run(["insmod", str(MODULE)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        signed = facts.takes_signed_modules_only(Path("/"))
        why, todo = (
            (signed, strategy.SIGN.replace("dbgswitch", "dbgprice")) if signed and not os.geteuid() else (reason[0], BUILD)
        )
        raise BoardError(f"dbgprice.ko cannot be loaded into kernel {release}: {why}; run the study as root, and {todo}")


def unload() -> None:
    """Take the module out again."""
    if PARAMETERS.exists():
        subprocess.run(["rmmod", "dbgprice"], capture_output=True, check=False)


def _model() -> str:
    """Return what the firmware calls this machine; empty if it does not say."""
    for name in MODEL:
        with contextlib.suppress(OSError):
            if said := Path("/", name).read_text(errors="replace").strip("\0\n "):
                return said
    return ""
