"""What this board, this boot and its tools are."""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path

import pyperf

from . import BoardError, guest, kvm


def collect() -> dict[str, object]:
    """Return the facts that belong to a boot.

    Raises
    ------
    BoardError
        If this is no arm64 Linux with KVM.
    """
    if platform.machine() != "aarch64":
        raise BoardError(
            f"this machine is {platform.machine()}, not an arm64 one: measure an emulated board, such as qemu-neoverse-n1"
        )
    breakpoints, watchpoints = debug_registers()
    return {
        "kernel": platform.release(),
        "kernel_version": platform.version(),
        "config_sha256": _config_digest(),
        "command_line": Path("/proc/cmdline").read_text().strip(),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "measuring_cpu": measuring_cpu(),
        "mode": _mode(),
        "breakpoints": breakpoints,
        "watchpoints": watchpoints,
        "clocksource": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "governor": _read(f"/sys/devices/system/cpu/cpu{measuring_cpu()}/cpufreq/scaling_governor"),
        "tools": {"python": platform.python_version(), "pyperf": pyperf.__version__, "perf": _perf_version()},
    }


def debug_registers() -> tuple[int, int]:
    """Return how many breakpoints and watchpoints a guest has here, from its ID_AA64DFR0_EL1 (Arm ARM D19.2.59)."""
    machine = kvm.Machine(guest.PAYLOAD.read_bytes(), {}, gic=False)
    try:
        dfr0 = machine.register(kvm.ID_AA64DFR0_EL1)
    finally:
        machine.close()
    return (dfr0 >> 12 & 0xF) + 1, (dfr0 >> 20 & 0xF) + 1


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def measuring_cpu() -> int:
    """Return the CPU that visits are pinned to: the last one that we may use, far from the first, which serves interrupts."""
    return max(os.sched_getaffinity(0))


def _mode() -> str:
    try:
        log = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", check=False).stdout
    except OSError:
        log = ""
    return mode(log)


def mode(log: str) -> str:
    """Return how KVM runs, as it said in the kernel log: ``vhe``, ``nvhe`` or ``hvhe``, or ``unknown``.

    Source: arch/arm64/kvm/arm.c, whose words are "VHE mode" and "Hyp mode" to 6.3, and later name nVHE or hVHE behind "Hyp"
    or "Protected".
    """
    found = re.search(r"kvm \[\d+\]: (?:Protected |Hyp )?([nh]?VHE|Hyp)\S* mode initialized", log)
    return {"Hyp": "nvhe"}.get(found[1], found[1].lower()) if found else "unknown"


def _cpu() -> str:
    """Return implementer and part of the CPU that measures, as its MIDR_EL1 says."""
    midr = _read(f"/sys/devices/system/cpu/cpu{measuring_cpu()}/regs/identification/midr_el1")
    return f"MIDR_EL1 {midr}" if midr else platform.processor() or "unknown"


def _config_digest() -> str:
    """Return the SHA-256 of the kernel's configuration, where the board has it; empty otherwise."""
    for path in (Path(f"/boot/config-{platform.release()}"), Path("/proc/config.gz")):
        if path.exists():
            data = path.read_bytes()
            return hashlib.sha256(gzip.decompress(data) if path.suffix == ".gz" else data).hexdigest()
    return ""


def _perf_version() -> str:
    try:
        words = subprocess.run(["perf", "--version"], capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        return ""
    return words[-1] if words else ""
