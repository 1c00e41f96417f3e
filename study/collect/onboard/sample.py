"""Sample the loop of a visit: where it is whenever the PMU has counted so many events, guest and host, EL2 included.

Neither ``perf record`` nor ``perf report`` will do. While a vCPU is loaded, arm64 takes every sample for one of the guest and gives
the guest's program counter as its place, wherever the interrupt came (until Linux 6.13, and later, too, if guests are sampled as
well). The registers at the interrupt tell the truth (PERF_SAMPLE_REGS_INTR), and so they are what is sampled here.

The PMU's interrupt waits as long as interrupts are masked, as they are from before a guest's entry until behind its exit. All that
runs meanwhile is sampled where they are let in again. The kernel begins the next period where the last one ended, not where it was
noticed: so what the counter says in a sample, beyond whole periods, is how many events the sample is late.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import random
import struct
from collections import defaultdict
from collections.abc import Iterator

from . import BoardError, facts, guest, perfevent

NAME = "onboard.sample"  # of the process, as ps(1) shows it
# Events of PERF_TYPE_HARDWARE.
PERF_TYPE_HARDWARE = 0
EVENTS = {"cycles": 0, "instructions": 1}
# Nothing is left out: user space, kernel, EL2, host and guest, in perf's words.
EVERYWHERE = ":ukhHG"
SAMPLE_READ, SAMPLE_REGS_INTR = 1 << 4, 1 << 18
REGISTER_PC = 32  # arch/arm64/include/uapi/asm/perf_regs.h
ENABLE, DISABLE = 0x2400, 0x2401
# Beside the page that describes it: 2048 samples. Nothing is read before the end of a batch.
BUFFER = 64 << 10
DATA_HEAD = 1024  # where in that page it says how far the buffer is filled
HEADER, SAMPLE, A_SAMPLE = struct.Struct("=IHH"), struct.Struct("=QQQ"), 9
# Each of so many batches has a period that is drawn, up to so much longer: one that fits the loop, which does the same again and again,
# would always find it at the same places.
BATCHES, LONGER = 200, 0.1
REFUSED = {
    errno.EACCES: "perf may not sample the kernel here; run the study as root, or allow it with: "
    "sudo sysctl kernel.perf_event_paranoid=-1",
    errno.ENOENT: "the kernel drives no PMU of this CPU, which alone could take samples; see what it says: dmesg | grep -i pmu",
    errno.EOPNOTSUPP: "the PMU of this CPU has no interrupt, or its registers at an interrupt cannot be had; measure without samples",
}
REFUSED[errno.EPERM] = REFUSED[errno.EACCES]
REFUSED[errno.ENODEV] = REFUSED[errno.ENOENT]


def sample(measured: guest.Guest, loops: int, event: str, period: int) -> dict[str, object]:
    """Make round trips and say where they were.

    Parameters
    ----------
    measured : Guest
        The guest.
    loops : int
        Round trips, at least BATCHES.
    event : str
        A row of EVENTS.
    period : int
        Events between two samples, at least.

    Returns
    -------
    dict
        ``places``: for each address the samples that were taken there, and the sum of the events by which they were late. ``samples``,
        and ``lost``: those that were due and are not there. ``maps``, where this process has its code. ``event``, ``period`` and
        ``loops``, as they were.

    Raises
    ------
    BoardError
        If no samples can be had.
    """
    each, draw = loops // BATCHES, random.SystemRandom()
    due, samples = 0, []
    measured.run(each)
    for _ in range(BATCHES):
        drawn = period + draw.randrange(int(period * LONGER) or 1)
        counted, found = _batch(measured, each, event, drawn)
        due += counted // drawn
        samples += [(place, value % drawn) for value, place in found]
    if not samples:
        raise BoardError(
            f"{due} samples of {event} were due in {loops} round trips and none came: ask for more round trips or a shorter "
            "period; or the PMU's interrupt does not come: grep pmu /proc/interrupts"
        )
    places = defaultdict[int, list[int]](lambda: [0, 0])
    for place, late in samples:
        places[place][0] += 1
        places[place][1] += late
    return {
        "event": f"{event}{EVERYWHERE}",
        "period": period,
        "loops": each * BATCHES,
        "samples": len(samples),
        "lost": max(0, due - len(samples)),
        "places": [[place, *row] for place, row in sorted(places.items())],
        "maps": facts.code_of_this_process(),
    }


def _batch(measured: guest.Guest, loops: int, event: str, period: int) -> tuple[int, list[tuple[int, int]]]:
    """Make some round trips and return how many events were counted, and the samples."""
    with _opened(event, period) as (file, buffer):
        fcntl.ioctl(file, ENABLE, 0)
        measured.run(loops)
        fcntl.ioctl(file, DISABLE, 0)
        (counted,) = struct.unpack("=Q", os.read(file, 8))
        return counted, list(_samples(buffer))


@contextlib.contextmanager
def _opened(event: str, period: int) -> Iterator[tuple[int, mmap.mmap]]:
    """Open an event, off, with a buffer for its samples."""
    try:
        file = perfevent.opened(
            PERF_TYPE_HARDWARE, EVENTS[event], flags=perfevent.DISABLED, period=period, sample=SAMPLE_READ | SAMPLE_REGS_INTR,
            registers=1 << REGISTER_PC, cpu=facts.measuring_cpu(),
        )  # fmt: skip
        try:
            with mmap.mmap(file, mmap.PAGESIZE + BUFFER) as buffer:
                yield file, buffer
        finally:
            os.close(file)
    except OSError as error:
        raise BoardError(REFUSED.get(error.errno or 0, f"the kernel takes no samples of {event}: {error.strerror}")) from None


def _samples(buffer: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yield of each sample what the counter said, and the program counter."""
    (head,) = struct.unpack_from("=Q", buffer, DATA_HEAD)
    at, end = mmap.PAGESIZE, mmap.PAGESIZE + head
    while at < end:
        kind, _, size = HEADER.unpack_from(buffer, at)
        if kind == A_SAMPLE:
            value, _, place = SAMPLE.unpack_from(buffer, at + HEADER.size)
            yield value, place
        at += size
