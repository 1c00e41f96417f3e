"""Choose how KVM switches the debug registers, through the kernel module, and read what it counted.

A kernel that was told on its command line how to do it has that strategy until it ends.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

from study.factors import CHOOSES, CHOSEN, MISFIT, STRATEGIES, fits, told

from . import BoardError, facts
from .tuning import read

MODULE = Path(os.environ.get("STUDY_MODULE", Path(__file__).with_name("dbgswitch.ko")))
PARAMETERS = Path("/sys/module/dbgswitch/parameters")
COUNTERS = ("entries", "switches", "traps_armed", "traps_taken")
CENSUS = ("monitored", "enabled", "both")
BUILD = "run the study as root, and build the module for this kernel with: make module"
SIGN = (
    "sign dbgswitch.ko with a key of the machine's owner (sign-file of the kernel's headers, mokutil --import), "
    "or turn Secure Boot off: sudo mokutil --disable-validation"
)


def choose(name: str) -> None:
    """Put a strategy in force, loading the module if it is needed.

    Raises
    ------
    BoardError
        If the module is not there, does not fit the kernel, or may not be loaded; or if the kernel was told to have another strategy,
        or knows no such word.
    """
    if asked := _told():
        has = read(Path("/", CHOSEN))
        if has != name:
            todo = (
                f"with {CHOOSES}{name} and the patch of paper/series/debug-switch.toml" if STRATEGIES[name].module else "without"
            )
            raise BoardError(
                f"kernel {platform.release()} was told {CHOOSES}{asked} as it booted, and has {has or 'no such parameter'}: boot one {todo}"
            )
        return
    if not STRATEGIES[name].module and not PARAMETERS.exists():
        return
    if not PARAMETERS.exists():
        _load()
    try:
        (PARAMETERS / "strategy").write_text(name)
    except OSError as error:
        raise BoardError(f"the module dbgswitch would not change to {name}: {error.strerror}; run the study as root") from None


def _told() -> str:
    return told(read(Path("/proc/cmdline")))


def in_force() -> str:
    """Return the strategy that is in force now."""
    if _told():
        return read(Path("/", CHOSEN)) or "stock"
    return (PARAMETERS / "strategy").read_text().strip() if PARAMETERS.exists() else "stock"


def _load() -> None:
    release = platform.release()
    if not fits(release):
        raise BoardError(MISFIT.format(release=release))
    if not MODULE.exists():
        raise BoardError(
            f"the module for kernel {release} is not there; build it in a checkout on the board, with make module, copy the file "
            "that this names to the machine that you measure from, and name it there in STUDY_MODULE"
        )
    done = subprocess.run(["insmod", str(MODULE)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        signed = facts.takes_signed_modules_only(Path("/"))
        why, todo = (signed, SIGN) if signed and not os.geteuid() else (reason[0], BUILD)
        raise BoardError(f"{MODULE.name} cannot be loaded into kernel {release}: {why}; {todo}")


def unload() -> None:
    """Take the module out again, which leaves the kernel as it was."""
    if PARAMETERS.exists():
        subprocess.run(["rmmod", "dbgswitch"], capture_output=True, check=False)


def counters() -> dict[str, int]:
    """Return what the module counted since it was loaded; empty without it."""
    if not PARAMETERS.exists():
        return {}
    return dict(zip(COUNTERS, map(int, (PARAMETERS / "counters").read_text().split())))


@contextlib.contextmanager
def taking_census() -> Iterator[None]:
    """Have the module look, at every entry, at what the guest has enabled: it costs instructions. Without the module, nothing."""
    if PARAMETERS.exists():
        (PARAMETERS / "census").write_text("1")
    try:
        yield
    finally:
        end_census()


def end_census() -> None:
    """Have the module look no more, if it is there and is one that can."""
    with contextlib.suppress(OSError):
        (PARAMETERS / "census").write_text("0")


def census() -> dict[str, int]:
    """Return at how many entries the module found monitor debug mode on, something enabled, and both, while it looked.

    Empty without the module, and under stock, where it does not look.
    """
    if not PARAMETERS.exists() or in_force() == "stock":
        return {}
    return dict(zip(CENSUS, map(int, (PARAMETERS / "census").read_text().split())))
