"""Logs as arm/micro-bench prints them, made of times that are known: what the guest's clock would have counted of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from random import Random

# As seconds in each loop; the timer's is how late it is.
TIMES = {
    "hvc": 306e-9,
    "mmio_read_user": 1683e-9,
    "mmio_read_vgic": 451e-9,
    "eoi": 14.7e-9,
    "ipi": 1926e-9,
    "lpi": 2179e-9,
    "timer_10ms": 902e-9,
}
SKIPPED = "ipi_hw"
LIMIT = 5.0  # seconds that a test may take
TITLES = f"{'name':<30}{'total ns':>18}{'':13}{'avg ns':>18}{'':13}\n{'-' * 92}\n"
START = "Timer Frequency {clock} Hz (Output in microseconds)\n\n" + TITLES
WELL = "\nEXIT: STATUS=1\n"


def loops(test: str, seconds: float) -> int:
    """Return how often the program runs a test that takes so long."""
    most, timer = (256, 0.01) if test == "timer_10ms" else (65536, 0.0)
    return min(most, math.ceil(LIMIT / (seconds + timer)))


def row(test: str, seconds: float, count: int = 0, clock: int = 25_000_000) -> str:
    """Return the line of a test whose loops take so long each; `clock` ticks so often in a second."""
    count = count or loops(test, seconds)
    tick = -(-(10**12) // clock)  # ps, rounded up
    total, rest = divmod(math.ceil(seconds * count * clock) * tick, 1000)
    return f"{test:<30}{total:>15}.{rest // 100:<15}{total // count:>15}.{rest // 100 // count:<15}\n"


def run(times: Mapping[str, float], clock: int = 25_000_000, end: str = WELL) -> str:
    """Return what a run prints of tests that take so long."""
    rows = "".join(row(test, seconds, clock=clock) for test, seconds in times.items())
    return f"{START.format(clock=clock)}{rows}{SKIPPED} test skipped\n{end}"


def log(
    source: Random, runs: int, times: Mapping[str, float] = TIMES, scale: float = 1.0, boot: float = 0.003, noise: float = 0.002
) -> str:
    """Return a log of several runs on one boot, whose times have a noise of the boot and one of each run, both of that share."""
    of_boot = {test: seconds * scale * math.exp(source.gauss(0, boot)) for test, seconds in times.items()}
    made: Iterable[dict[str, float]] = (
        {test: seconds * math.exp(source.gauss(0, noise)) for test, seconds in of_boot.items()} for _ in range(runs)
    )
    before = "timeout -k 1s --foreground 90s qemu-system-aarch64 -machine virt -accel kvm -kernel arm/micro-bench.flat -smp 2\n"
    return "".join(before + run(one) for one in made)
