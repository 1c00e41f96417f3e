"""What slows a board down while it is measured: its firmware, heat, a limit of its frequency.

Raspberry Pi's firmware tells by a word of bits what it does now and, 16 bits further up, what it did since power-on. The kernel of its
vendor has the word as a file, and the program vcgencmd has it too; Linux as it is has a sensor that tells of under-voltage alone.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import subprocess
from pathlib import Path

from .tuning import CPUS, read

FIRMWARE, ASK = "sys/devices/platform/soc*/*firmware/get_throttled", "vcgencmd"
# Bits of the firmware's word: documentation of vcgencmd, get_throttled.
BITS = {0: "under-voltage", 1: "frequency capped by firmware", 2: "throttled by firmware", 3: "soft limit of temperature"}
EARLIER = 16
WORD = re.compile(r"(0x)?[0-9a-fA-F]+")
SINCE = " since power-on"
LASTING = re.compile(rf".*{SINCE}|at most .*")  # says nothing of a boot that began with it


def now(root: Path, cpu: int) -> list[str]:
    """Return in words all that slows down a CPU now, or did since power-on."""
    return [*by_firmware(root), *by_heat(root), *by_limit(root, cpu)]


def by_firmware(root: Path) -> list[str]:
    """Return what firmware says that it does, or did."""
    found = next(root.glob(FIRMWARE), None)
    said = read(found) if found else _asked()
    bits = int(said, 16) if WORD.fullmatch(said) else 0
    words = [BITS[bit] for bit in BITS if bits >> bit & 1] + [BITS[bit] + SINCE for bit in BITS if bits >> bit + EARLIER & 1]
    alarms = [path for path in root.glob("sys/class/hwmon/hwmon*/in0_lcrit_alarm") if read(path.with_name("name")) == "rpi_volt"]
    return words + [BITS[0]] * (BITS[0] not in words and "1" in map(read, alarms))


def _asked() -> str:
    """Return the firmware's word as its own program says it, ``throttled=0x50000``; empty without it."""
    if not shutil.which(ASK):
        return ""
    with contextlib.suppress(OSError):
        said = subprocess.run([ASK, "get_throttled"], capture_output=True, text=True, check=False).stdout
        return said.strip().removeprefix("throttled=")
    return ""


def by_heat(root: Path) -> list[str]:
    """Return which CPUs the kernel slows down, so that they cool."""
    folders = sorted((root / "sys/class/thermal").glob("cooling_device*"))
    states = [(read(folder / "type"), read(folder / "cur_state")) for folder in folders]
    return [f"{kind} is at step {state}" for kind, state in states if "cpufreq" in kind and state not in ("", "0")]


def by_limit(root: Path, cpu: int) -> list[str]:
    """Return how much slower a CPU may run than it can."""
    most, able = (read(root / CPUS / f"cpu{cpu}/cpufreq/{name}") for name in ("scaling_max_freq", "cpuinfo_max_freq"))
    slower = most.isdigit() and able.isdigit() and int(most) < int(able)
    return [f"at most {int(most) // 1000} of {int(able) // 1000} MHz"] if slower else []


@functools.cache
def at_first(root: Path, cpu: int) -> tuple[str, ...]:
    """Return what slowed the CPU down when it was looked at for the first time."""
    return tuple(now(root, cpu))


def of_this_boot(root: Path, cpu: int) -> list[str]:
    """Return what slows the CPU down now, but for what lasts and was there when it was looked at first."""
    first = at_first(root, cpu)
    return [word for word in now(root, cpu) if word not in first or not LASTING.fullmatch(word)]
