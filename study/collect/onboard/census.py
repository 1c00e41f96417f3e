"""What is counted while a real guest lives: nothing is sampled, and each number is the kernel's own.

=============== =========================================================================================================
``instructions`` by the PMU, of QEMU's process alone, in the host's kernel (the world switch at EL2 included), in QEMU, and in the guest
``exits``       by KVM's own statistics, which it keeps for every VM: they cost nothing
``module``      by the module that chooses the strategy, where it is loaded
``tracepoints`` only if it is asked for: by histograms of KVM's tracepoints in an instance of tracefs that is ours alone
=============== =========================================================================================================
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from . import BoardError, perfevent, strategy

Counts = dict[str, Union[int, float, "Counts"]]

INSTANCES, OURS = Path("/sys/kernel/tracing/instances"), "study-"
STATISTICS = Path("/sys/kernel/debug/kvm")
# KVM's statistics of a VM that are reported; include/asm/kvm_host.h, struct kvm_vcpu_stat.
KVM_COUNTS = (
    "exits", "hvc_exit_stat", "wfe_exit_stat", "wfi_exit_stat", "mmio_exit_user", "mmio_exit_kernel", "signal_exits",
)  # fmt: skip

# By which trigger what is counted: the tracepoint, the keys beside the thread, and the filter.
MONITOR = (1 << 15) | (1 << 13)  # MDE and KDE of MDSCR_EL1
CONTROL = 'fn ~ "trap_?cr"'  # trap_bcr and trap_wcr of arch/arm64/kvm/sys_regs.c
TRIGGERS = {
    "entries": ("kvm_entry", (), ""),
    "exits": ("kvm_exit", ("ret", "esr_ec"), ""),
    "told": ("kvm_arm_set_dreg32", (), 'name == "MDSCR_EL1"'),
    "monitored": ("kvm_arm_set_dreg32", (), f'name == "MDSCR_EL1" && value & {MONITOR}'),
    "accesses": ("trap_reg", (), ""),
    "enabling": ("trap_reg", (), f"is_write == 1 && write_value & 1 && {CONTROL}"),
    "registers": ("kvm_handle_sys_reg", ("hsr",), ""),
}
# Lines of a histogram: its trigger, and how often each combination of keys was met.
TRIGGER = re.compile(r"trigger info: hist:keys=([^:\s]*)\S*(?: if (.*?))? \[active\]")
HIT = re.compile(r"\{ common_pid: *(\d+)((?:, \w+: *-?\d+)*) *\} hitcount: *(\d+)")
DROPPED = re.compile(r"Dropped: (\d+)")

PERF_TYPE_HARDWARE, CYCLES, INSTRUCTIONS = 0, 0, 1
ENABLED_AND_RUNNING = 3  # PERF_FORMAT_TOTAL_TIME_ENABLED and _RUNNING
IN_USER_SPACE, IN_THE_KERNEL = perfevent.EXCLUDE_KERNEL | perfevent.EXCLUDE_HV, perfevent.EXCLUDE_USER
# What each of QEMU's threads is counted by. The host's share is the difference of two: on nVHE an event that leaves the guest
# out misses the switch at EL2.
EVENTS = {
    "kernel and guest's kernel": (INSTRUCTIONS, IN_THE_KERNEL),
    "guest's kernel": (INSTRUCTIONS, IN_THE_KERNEL | perfevent.EXCLUDE_HOST),
    "user space and guest's": (INSTRUCTIONS, IN_USER_SPACE),
    "guest's user space": (INSTRUCTIONS, IN_USER_SPACE | perfevent.EXCLUDE_HOST),
    "cycles": (CYCLES, 0),
}


@dataclass
class Reading:
    """What counts while a guest lives; made before it starts.

    Parameters
    ----------
    files : mapping of str to int
        Events of perf that count what we start from now on.
    traced : path or None
        The instance of tracefs that counts by tracepoints.
    lacking : set of str
        What this kernel cannot count so; more may be found out while a guest lives.
    """

    files: dict[str, int]
    traced: Path | None
    lacking: set[str]

    def __post_init__(self) -> None:
        self.first: Counts = {"module": _module(), "census": {**strategy.census()}}  # since the module was loaded

    def exits(self, process: int) -> object:
        """Return how many exits there were so far, by KVM."""
        return _statistics(process).get("exits")

    def of(self, process: int) -> Counts:
        """Return what was counted so far of a VMM's process.

        Raises
        ------
        BoardError
            If something was not counted all the time.
        """
        perf = {name: _event(name, file) for name, file in self.files.items()}
        counts: Counts = {
            "instructions": {
                "kernel": perf["kernel and guest's kernel"] - perf["guest's kernel"],
                "vmm": perf["user space and guest's"] - perf["guest's user space"],
                "guest": perf["guest's kernel"] + perf["guest's user space"],
            },
            "cycles": perf["cycles"],
            "kvm": _statistics(process),
            "module": _module(),
        }
        if self.traced:
            threads = {int(path.name) for path in Path(f"/proc/{process}/task").iterdir()}
            counts["tracepoints"] = self._traced(_histograms(self.traced, threads, self.lacking))
            counts["census"] = {**strategy.census()}
        return counts

    def _traced(self, counts: Counts) -> Counts:
        """Return what tracepoints counted, without what they are not told: the one of kernels from 6.14 knows no MDSCR_EL1."""
        if counts.get("entries") and not counts.get("told"):
            self.lacking |= {"told", "monitored"}
        return {name: count for name, count in counts.items() if name not in self.lacking}


@contextlib.contextmanager
def counting(traced: bool) -> Iterator[Reading]:
    """Count what is started while this lasts; by tracepoints and the module's census, too, if that is asked for."""
    try:
        os.listdir(STATISTICS)
    except OSError as error:
        raise BoardError(
            f"{STATISTICS} cannot be read, which holds KVM's statistics of a guest: {error.strerror}; run the study as root, "
            "where it is not mounted after: sudo mount -t debugfs none /sys/kernel/debug"
        ) from None
    with contextlib.ExitStack() as held:
        files = {}
        for name, (event, flags) in EVENTS.items():
            files[name] = _opened(event, flags)
            held.callback(os.close, files[name])
        instance, lacking = held.enter_context(_tracing()) if traced else (None, set())
        if traced:
            held.enter_context(strategy.taking_census())
        yield Reading(files, instance, lacking)


def mend(instances: Path = INSTANCES) -> None:
    """Take away what a study that was killed left: instances of processes that are gone, and a census that goes on."""
    for instance in _named(instances, OURS):
        if not Path(f"/proc/{instance.name.removeprefix(OURS)}").exists():
            with contextlib.suppress(OSError):
                instance.rmdir()
    strategy.end_census()


def difference(later: Counts, earlier: Counts) -> Counts:
    """Return what was counted between two readings."""
    result: Counts = {}
    for name, value in later.items():
        before = earlier.get(name, {} if isinstance(value, dict) else 0)
        result[name] = difference(value, before) if isinstance(value, dict) else value - before  # type: ignore[arg-type, operator]
    return result


def _module() -> Counts:
    """Return what the module counted since it was loaded; nothing without it, and under stock, where it does not count."""
    return {} if strategy.in_force() == "stock" else {**strategy.counters()}


def _opened(event: int, flags: int) -> int:
    """Open an event that counts, in each program that we start, from its first instruction; never ourselves."""
    flags |= perfevent.DISABLED | perfevent.INHERIT | perfevent.ENABLE_ON_EXEC
    try:
        return perfevent.opened(PERF_TYPE_HARDWARE, event, flags=flags, read=ENABLED_AND_RUNNING)
    except OSError as error:
        raise BoardError(
            f"perf cannot count instructions of a guest here: {error.strerror}; does the machine have a PMU, and may you use it? "
            "Run the study as root, or allow it with: sudo sysctl kernel.perf_event_paranoid=-1"
        ) from None


def _event(name: str, file: int) -> int:
    count, enabled, running = struct.unpack("=QQQ", os.read(file, 24))
    if running < enabled:
        raise BoardError(
            f"{name} was counted in {running / enabled:.0%} of the time only: something else uses the PMU's counters"
        )
    return int(count)


def _named(folder: Path, start: str) -> list[Path]:
    """Return what a folder holds under names that start so: nothing, of one that we may not read."""
    try:
        return [folder / name for name in os.listdir(folder) if name.startswith(start)]
    except OSError:
        return []


def _statistics(process: int) -> Counts:
    """Return KVM's statistics of the VM of a process; of none, as before it is made, nothing."""
    counts: dict[str, int] = {}
    for folder in _named(STATISTICS, f"{process}-"):
        for name in KVM_COUNTS:
            with contextlib.suppress(OSError):
                counts[name] = counts.get(name, 0) + int((folder / name).read_text())
    return {**counts}


@contextlib.contextmanager
def _tracing() -> Iterator[tuple[Path, set[str]]]:
    """Set the triggers in an instance of their own; yield it and what this kernel lacks a tracepoint for."""
    instance = INSTANCES / f"{OURS}{os.getpid()}"
    try:
        instance.mkdir()
    except OSError as error:
        raise BoardError(
            f"{INSTANCES} gives no instance to count in: {error.strerror}; run the study as root, "
            "where it is not mounted after: sudo mount -t tracefs none /sys/kernel/tracing"
        ) from None
    try:
        lacking = set()
        for name, (event, keys, condition) in TRIGGERS.items():
            file = instance / "events/kvm" / event / "trigger"
            words = f"hist:keys={','.join(('common_pid', *keys))}" + (f" if {condition}" if condition else "")
            try:
                with open(file, "a") as trigger:
                    trigger.write(words)
            except OSError:
                lacking.add(name)
        yield instance, lacking
    finally:
        instance.rmdir()


def _histograms(instance: Path, threads: set[int], lacking: set[str]) -> Counts:
    """Return by trigger what it counted of some threads: a number, or numbers by keys."""
    counts: Counts = {}
    for name, (event, keys, condition) in TRIGGERS.items():
        if name not in lacking:
            text = _histogram((instance / "events/kvm" / event / "hist").read_text(), condition)
            if sum(map(int, DROPPED.findall(text))):
                raise BoardError(f"the histogram of {event} is full: more than it can hold was met")
            found = [
                (re.findall(r"-?\d+", rest), int(hits)) for thread, rest, hits in HIT.findall(text) if int(thread) in threads
            ]
            counts[name] = {",".join(words): hits for words, hits in found} if keys else sum(hits for _, hits in found)
    return counts


def _histogram(text: str, condition: str) -> str:
    """Return of all histograms of an event the one that has this condition."""
    parts = text.split("# event histogram")
    return next((part for part in parts if (found := TRIGGER.search(part)) and (found[2] or "") == condition), "")
