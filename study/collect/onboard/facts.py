"""What this board, this boot and its tools are."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import mmap
import os
import platform
import re
import struct
import subprocess
from pathlib import Path

import pyperf

from study import factors

from . import BoardError, guest, kvm
from .tuning import CPUS, cpus, listed, read

ROOT = Path(os.environ.get("STUDY_ROOT", "/"))  # where the machine's files are
PMUS = "sys/bus/event_source/devices"


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
        "build_id": _build_id(),
        "config_sha256": _config_digest(),
        "command_line": Path("/proc/cmdline").read_text().strip(),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "cores": cores(Path("/")),
        "measuring_cpu": measuring_cpu(),
        "mode": kvm_mode(),
        "mitigations": mitigations(),
        "page_size": mmap.PAGESIZE,
        "breakpoints": breakpoints,
        "watchpoints": watchpoints,
        "clocksource": read(Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        "governor": read(Path(f"/sys/devices/system/cpu/cpu{measuring_cpu()}/cpufreq/scaling_governor")),
        "tools": {"python": platform.python_version(), "pyperf": pyperf.__version__, "perf": _perf_version()},
    }


def mitigations() -> str:
    """Return what the kernel does against flaws of this CPU, part of which it does at every entry and exit of a guest."""
    known = {path.name: read(path) for path in sorted(Path("/sys/devices/system/cpu/vulnerabilities").glob("*"))}
    return "; ".join(f"{name}: {words}" for name, words in known.items() if words and words != "Not affected")


@functools.cache
def debug_registers() -> tuple[int, int]:
    """Return how many breakpoints and watchpoints a guest has here, from its ID_AA64DFR0_EL1 (Arm ARM D19.2.59)."""
    machine = kvm.Machine(guest.PAYLOAD.read_bytes(), {}, gic=False)
    try:
        dfr0 = machine.register(kvm.ID_AA64DFR0_EL1)
    finally:
        machine.close()
    return (dfr0 >> 12 & 0xF) + 1, (dfr0 >> 20 & 0xF) + 1


@functools.cache
def guests_gic() -> int:
    """Return the version of the interrupt controller that guests have here.

    Raises
    ------
    BoardError
        If they can have none.
    """
    machine = kvm.Machine(guest.PAYLOAD.read_bytes(), {})
    machine.close()
    return machine.gic


def measuring_cpu() -> int:
    """Return the CPU that visits are pinned to: the last one that we may use, far from the first, which serves interrupts."""
    return max(os.sched_getaffinity(0))


def lockdown(root: Path) -> str:
    """Return how the kernel is locked down: ``integrity``, ``confidentiality``, or nothing; see kernel_lockdown(7)."""
    now = re.search(r"\[(\w+)\]", read(root / "sys/kernel/security/lockdown"))
    asked = re.search(r"\blockdown=(\w+)", read(root / "proc/cmdline"))  # where securityfs is not mounted
    found = now or asked
    return found[1].replace("none", "") if found else ""


def takes_signed_modules_only(root: Path) -> str:
    """Return why the kernel loads no module that nobody has signed; empty if it does."""
    if how := lockdown(root):
        return f"the kernel is locked down ({how})"
    return "module.sig_enforce is on" if read(root / "sys/module/module/parameters/sig_enforce") == "Y" else ""


def install(package: str) -> str:
    """Return the command that installs a package of Debian's on this board, or what its system has in its place."""
    return factors.install(package, read(Path("/", factors.OS_RELEASE)))


def pmus(root: Path) -> dict[str, set[int]]:
    """Return the PMUs of cores that the kernel knows, and the CPUs of each: one for each kind of core."""
    return {path.parent.name: cpus(read(path)) for path in sorted((root / PMUS).glob("*/cpus"))}


def cores(root: Path) -> dict[str, str]:
    """Return the kinds of core that there are, and the CPUs of each: by their PMUs' names if these differ, else by their MIDR_EL1."""
    known = pmus(root)
    if len(known) > 1:
        return {name: listed(them) for name, them in known.items()}
    kinds: dict[str, set[int]] = {}
    for path in sorted((root / CPUS).glob("cpu[0-9]*/regs/identification/midr_el1")):
        kinds.setdefault(f"MIDR_EL1 {read(path)}", set()).add(int(path.parts[-4][len("cpu") :]))
    return {kind: listed(them) for kind, them in kinds.items()}


def code_of_this_process() -> str:
    """Return the lines of /proc/self/maps that are of code."""
    return "".join(line for line in Path("/proc/self/maps").read_text().splitlines(keepends=True) if " r-xp " in line)


def kvm_mode() -> str:
    """Return how KVM runs on this board: see `mode`."""
    try:
        log = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", check=False).stdout
    except OSError:
        log = ""
    return mode(log, read(Path("/proc/interrupts")), read(Path("/proc/cmdline")))


# The interrupt by which the host's timer comes tells the exception level of its kernel, whatever became of the log: the timer of EL2
# has 26, the physical one of EL1 30 (Arm BSA 4.8.2; arch_timer_select_ppi() of drivers/clocksource/arm_arch_timer.c).
AT_EL2, AT_EL1 = "26", "30"
# Modes of a host at EL1, and the words of its command line that choose them (Documentation/admin-guide/kernel-parameters.txt).
CHOSEN = {"kvm-arm.mode=protected": "protected", "arm64_sw.hvhe=1": "hvhe"}


def mode(log: str, interrupts: str = "", command_line: str = "") -> str:
    """Return how KVM runs: ``vhe``, ``nvhe``, ``hvhe``, ``protected``, ``protected-hvhe``, or ``unknown``.

    What KVM said in the kernel log counts; where that is gone, or may not be read, how the timer interrupts.
    Source: arch/arm64/kvm/arm.c, whose words are "VHE mode" and "Hyp mode" to 6.3, and later name nVHE or hVHE behind "Hyp"
    or "Protected".
    """
    if found := re.search(r"kvm \[\d+\]: (Protected |Hyp )?([nh]?VHE|Hyp)\S* mode initialized", log):
        how = found[2].lower().replace("hyp", "nvhe")
        return {"nvhe": "protected", "hvhe": "protected-hvhe"}[how] if found[1] == "Protected " else how
    level = re.search(r"^ *\d+:[ \d]*\s\S+ +(\d+) Level +arch_timer$", interrupts, re.MULTILINE)
    words = command_line.split()
    at_el1 = "-".join(name for word, name in CHOSEN.items() if word in words) or "nvhe"
    return {AT_EL2: "vhe", AT_EL1: at_el1}.get(level[1], "unknown") if level else "unknown"


def _cpu() -> str:
    """Return implementer and part of the CPU that measures, as its MIDR_EL1 says."""
    midr = read(Path(f"/sys/devices/system/cpu/cpu{measuring_cpu()}/regs/identification/midr_el1"))
    return f"MIDR_EL1 {midr}" if midr else platform.processor() or "unknown"


def config(root: Path, release: str) -> bytes:
    """Return the configuration of a kernel, where the board has it and lets us read it; nothing otherwise."""
    for path in (root / f"boot/config-{release}", root / "proc/config.gz"):
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            return gzip.decompress(data) if path.suffix == ".gz" else data
    return b""


def _config_digest() -> str:
    """Return the SHA-256 of the kernel's configuration, where the board has it; empty otherwise."""
    data = config(Path("/"), platform.release())
    return hashlib.sha256(data).hexdigest() if data else ""


def _build_id() -> str:
    """Return the build ID of the running kernel, which tells two builds of one release apart; empty where it has none.

    /sys/kernel/notes holds ELF notes, each of three words (sizes of name and content, type), name and content, both filled up
    to whole words; type 3 of name GNU is the build ID.
    """
    try:
        data = Path("/sys/kernel/notes").read_bytes()
    except OSError:
        return ""
    while len(data) >= 12:
        name_size, size, kind = struct.unpack_from("=III", data)
        start = 12 + -(-name_size // 4) * 4
        if kind == 3 and data[12:15] == b"GNU":
            return data[start : start + size].hex()
        data = data[start + -(-size // 4) * 4 :]
    return ""


def _perf_version() -> str:
    try:
        words = subprocess.run(["perf", "--version"], capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        return ""
    return words[-1] if words else ""
