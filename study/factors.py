"""The factors of the study, one table each: adding a strategy, a guest state or an exit is adding a row.

Pure, and without imports from the rest: the board reads these tables, and so does the design.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

# Kinds of board: Linux with KVM, and the bare-metal rig. Rows of the tables say where they can be measured.
KVM, RIG = "kvm", "rig"
EVERYWHERE = (KVM, RIG)
# Not a kind of board but of design: real guests, on a board with KVM.
GUESTS = "guests"
# Not measured by the study: no table knows the names of results that were made elsewhere.
IMPORTED = "imported"

# Tracepoints of the study's own that a kernel need not have: it is not counted then.
MAY_LACK = ("kvm:trap_reg",)

MDE, KDE = 1 << 15, 1 << 13  # MDSCR_EL1, Arm ARM D19.3.20


@dataclass(frozen=True)
class Strategy:
    """A way to treat the debug registers at a world switch.

    Parameters
    ----------
    says : str
        Its rule in words.
    module : bool
        Whether the kernel module must put it in force, but for a kernel that has it as it boots: see CHOOSES.
    correct : bool
        Whether a guest's breakpoints work under it; one that is not correct is a floor to measure from.
    on : tuple of str
        Kinds of board that can be asked for it.
    since : tuple of int
        The first version of Linux that treats the registers so by itself; empty if none does. Nobody asks for such a
        strategy: it is what a kernel left as it is gets called where there is no other to choose.
    """

    says: str
    module: bool = True
    correct: bool = True
    on: tuple[str, ...] = EVERYWHERE
    since: tuple[int, ...] = ()


STRATEGIES = {
    "stock": Strategy("the kernel left as it is", module=False, on=(KVM,)),
    "lazy": Strategy("a dirty bit; monitor debug mode means dirty (the patch of 2015, and KVM to 6.13)"),
    "eager": Strategy("switch everything on every entry and exit, never trap"),
    "control-scan": Strategy("switch everything if a control register has its enable bit set, else trap"),
    "host-mask": Strategy("clear the host's enable bits meanwhile; switch everything if the guest has one set", on=(RIG,)),
    "partial": Strategy("switch only the registers that are enabled, trap every access", on=(RIG,)),
    "summary-scan": Strategy("control-scan, with its answer kept as a bit when a control register changes", on=(RIG,)),
    "none": Strategy("never switch: guest breakpoints do not work", correct=False),
    "dirty-bit": Strategy("KVM to 6.13 as it is: lazy, and dirty for one exit only", module=False, on=(), since=(3, 7)),
    "owner": Strategy(
        "KVM from 6.14 as it is: a first access, or monitor debug mode, gives the registers to the guest until vcpu_put",
        module=False,
        on=(),
        since=(6, 14),
    ),
}

# The word of a command line by which a kernel of the user's own chooses its strategy as it boots, and where it says which it has:
# a parameter of paper/series/debug-switch.toml.
CHOOSES = "kvm.debug_switch="
CHOSEN = "sys/module/kvm/parameters/debug_switch"


def told(command_line: str) -> str:
    """Return the strategy that a kernel was told to have as it booted; empty if it was told none."""
    return next((word.removeprefix(CHOOSES) for word in reversed(command_line.split()) if word.startswith(CHOOSES)), "")


# The first and the last version of Linux that the module fits: those that keep a dirty bit which tracepoints can reach.
MODULE_FITS = (6, 1), (6, 13)


@dataclass(frozen=True)
class GuestState:
    """How a guest uses its debug registers.

    Parameters
    ----------
    says : str
        The state in words.
    mdscr : int
        Bits that the guest sets in MDSCR_EL1.
    enabled : float
        Which share of all breakpoints and watchpoints it enables; any share above 0 is at least one breakpoint.
    touch_every : int
        Round trips per access to a debug register; 0 if it never accesses one after it has set itself up.
    on : tuple of str
        Kinds of board that have it.
    """

    says: str
    mdscr: int = 0
    enabled: float = 0.0
    touch_every: int = 0
    on: tuple[str, ...] = EVERYWHERE


GUEST_STATES = {
    "untouched": GuestState("never accesses a debug register"),
    "mde": GuestState("monitor debug mode on, nothing enabled", mdscr=MDE),
    "one": GuestState("monitor debug mode on, one breakpoint", mdscr=MDE, enabled=1e-9),
    "half": GuestState("monitor debug mode on, half of all enabled", mdscr=MDE, enabled=0.5),
    "all": GuestState("monitor debug mode on, all enabled", mdscr=MDE, enabled=1.0),
    "one-no-mde": GuestState("one breakpoint, monitor debug mode off", enabled=1e-9),
    "touch": GuestState("accesses a debug register in every round trip, nothing enabled", touch_every=1),
    "touch-4": GuestState("accesses a debug register in every 4th round trip, nothing enabled", touch_every=4),
    "touch-20": GuestState("accesses a debug register in every 20th round trip, nothing enabled", touch_every=20),
}


@dataclass(frozen=True)
class HostState:
    """What the host itself has enabled in its debug registers.

    Parameters
    ----------
    says : str
        The state in words.
    enabled : float
        Which share of all breakpoints and watchpoints; any share above 0 is at least one breakpoint.
    on : tuple of str
        Kinds of board that have it.
    """

    says: str
    enabled: float = 0.0
    on: tuple[str, ...] = EVERYWHERE


HOST_STATES = {
    "none": HostState("nothing enabled"),
    "one": HostState("one breakpoint", enabled=1e-9),
    "half": HostState("half of all enabled", enabled=0.5),
    "all": HostState("all enabled", enabled=1.0),
}


@dataclass(frozen=True)
class Exit:
    """A way to leave the guest.

    Parameters
    ----------
    says : str
        The exit in words.
    number : int
        Its number in payload.S.
    to_user_space : bool
        Whether each round trip goes through the VMM. Then, and only then, it reaches vcpu_put(), where KVM from 6.14 takes
        the debug registers back from a guest that owns them.
    gic : int
        The first version of an in-kernel interrupt controller with which a guest can do it; 0 if it needs none.
    on : tuple of str
        Kinds of board that have it.
    also : str
        The test of MICRO_BENCH that leaves the same way, if one does. What it then asks for is another thing: see there.
    """

    says: str
    number: int
    to_user_space: bool = False
    gic: int = 0
    on: tuple[str, ...] = EVERYWHERE
    also: str = ""


EXITS = {
    "hvc": Exit("a hypercall, handled in the kernel", 0, also="hvc"),
    "sysreg": Exit("a read of a trapped system register, handled in the kernel", 2),
    "wfx": Exit(
        "a wait for an interrupt where one is pending, so that nobody sleeps, handled in the kernel", 3, gic=3, on=(KVM,)
    ),
    "vgic": Exit(
        "a read of the interrupt controller's distributor, handled in the kernel", 4, gic=2, on=(KVM,), also="mmio_read_vgic"
    ),
    "mmio": Exit("a store that no memory backs, handled in user space", 1, to_user_space=True, also="mmio_read_user"),
}

# The tests of arm/micro-bench of kvm-unit-tests, whose logs can be imported: what one loop is.
MICRO_BENCH = {
    "hvc": "a hypercall that no service knows, handled in the kernel",
    "mmio_read_user": "a load that no memory backs, handled in user space",
    "mmio_read_vgic": "a read of the interrupt controller's distributor, handled in the kernel",
    "eoi": "the end of an interrupt that is none",
    "ipi": "an interrupt sent to another virtual CPU, until that has taken it",
    "ipi_hw": "an interrupt that GICv4.1 brings to another virtual CPU, until that has taken it",
    "lpi": "an interrupt that the ITS sends to another virtual CPU, until that has taken it",
    "timer_10ms": "how late a timer of 10 ms is",
}


class Row(Protocol):
    """A row of any of the tables above."""

    @property
    def on(self) -> tuple[str, ...]:
        """Kinds of board that have it."""


def names(table: Mapping[str, Row], kind: str) -> tuple[str, ...]:
    """Return the names of the rows that a kind of board has."""
    return tuple(name for name, row in table.items() if kind in row.on)


def trip(leave: str) -> str:
    """Return what tables call an exit: one of the study's own is a round trip, a test of micro-bench is what it says."""
    if leave in EXITS:
        return f"{leave} round trip"
    return f"{leave} ({MICRO_BENCH[leave]})" if leave in MICRO_BENCH else leave


def kind_of(board: str) -> str:
    """Return the kind of a board, which its name tells."""
    return RIG if board.startswith(("rig-", "serial:")) else KVM


def version(release: str) -> tuple[int, ...]:
    """Return the first two numbers of a kernel's release; none of a name that does not begin with them."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return tuple(map(int, found.groups())) if found else ()


def fits(release: str) -> bool:
    """Say whether the module that chooses a strategy fits a kernel of that release."""
    first, last = MODULE_FITS
    return first <= version(release) <= last


# How systems install a package, by their ID or ID_LIKE in os-release(5), and what they call some of Debian's, or begin them with.
OS_RELEASE = "etc/os-release"
SYSTEMS: dict[str, tuple[str, dict[str, str]]] = {
    "ubuntu": ("sudo apt-get install", {"linux-perf": "linux-tools-$(uname -r)"}),
    "debian": ("sudo apt-get install", {}),
    "fedora": (
        "sudo dnf install",
        {
            "linux-perf": "perf",
            "linux-headers-": "kernel-devel-",
            "qemu-system-arm": "qemu-kvm-core",
            "openssh-client": "openssh-clients",
        },
    ),
    "suse": (
        "sudo zypper install",
        {"linux-perf": "perf", "linux-headers-": "kernel-default-devel-", "openssh-client": "openssh-clients"},
    ),
    "arch": ("sudo pacman -S", {"linux-perf": "perf", "linux-headers-": "linux-headers=", "openssh-client": "openssh"}),
}


def install(package: str, os_release: str) -> str:
    """Return the command that installs a package of Debian's, or what a system has in its place.

    Parameters
    ----------
    package : str
        As Debian calls it.
    os_release : str
        What /etc/os-release of the system says; Debian is meant where it names none of SYSTEMS.
    """
    said = {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in os_release.splitlines())}
    named = [said.get("ID", ""), *said.get("ID_LIKE", "").split(), "debian"]
    command, names = next(SYSTEMS[name] for name in named if name in SYSTEMS)
    ours = next(filter(package.startswith, names), "")
    return f"{command} {names.get(ours, '')}{package[len(ours) :]}"


MISFIT = (
    "kernel {release} keeps no dirty bit for the debug registers: the module dbgswitch fits 6.1 to 6.13; "
    "measure this kernel as it is, with strategies=stock"
)


# How the releases of Debian's kernels end whose pages have 16 KiB, as those of some boards' own have.
LARGER_PAGES = "-16k"


def of_series(release: str, series: str) -> bool:
    """Say whether a kernel's release is, or begins with, a series: 6.1.0-56 is of 6.1, and 6.12.117 is not; 6.12-16k has larger pages."""
    start = series.removesuffix(LARGER_PAGES)
    return re.match(rf"{re.escape(start)}(?!\d)", release) is not None and (start == series or release.endswith(LARGER_PAGES))


def as_it_is(release: str) -> str:
    """Return the name of what a kernel of that release does by itself; ``stock`` if its version is not known."""
    known = {row.since: name for name, row in STRATEGIES.items() if row.since and row.since <= version(release)}
    return known[max(known)] if known else "stock"


def share(count: int, part: float, least: int = 0) -> int:
    """Return `part` of `count` rounded down, but at least `least` if any part is asked for."""
    return max(int(count * part), least) if part else 0
