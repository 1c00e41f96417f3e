"""The factors of the study, one table each: adding a strategy, a guest state or an exit is adding a row.

Pure, and without imports from the rest: the board reads these tables, and so does the design.
"""

from __future__ import annotations

from dataclasses import dataclass

MDE, KDE = 1 << 15, 1 << 13  # MDSCR_EL1, Arm ARM D19.3.20


@dataclass(frozen=True)
class Strategy:
    """A way to treat the debug registers at a world switch.

    Parameters
    ----------
    says : str
        Its rule in words.
    module : bool
        Whether the kernel module must put it in force.
    correct : bool
        Whether a guest's breakpoints work under it; one that is not correct is a floor to measure from.
    """

    says: str
    module: bool = True
    correct: bool = True


STRATEGIES = {
    "stock": Strategy("the kernel left as it is", module=False),
    "lazy": Strategy("a dirty bit; monitor debug mode means dirty (the patch of 2015, and KVM to 6.13)"),
    "eager": Strategy("switch everything on every entry and exit, never trap"),
    "control-scan": Strategy("switch everything if a control register has its enable bit set, else trap"),
    "none": Strategy("never switch: guest breakpoints do not work", correct=False),
}


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
    touches : bool
        Whether it writes a debug register once in so many round trips.
    """

    says: str
    mdscr: int = 0
    enabled: float = 0.0
    touches: bool = False


GUEST_STATES = {
    "untouched": GuestState("never accesses a debug register"),
    "mde": GuestState("monitor debug mode on, nothing enabled", mdscr=MDE),
    "one": GuestState("monitor debug mode on, one breakpoint", mdscr=MDE, enabled=1e-9),
    "half": GuestState("monitor debug mode on, half of all enabled", mdscr=MDE, enabled=0.5),
    "all": GuestState("monitor debug mode on, all enabled", mdscr=MDE, enabled=1.0),
    "one-no-mde": GuestState("one breakpoint, monitor debug mode off", enabled=1e-9),
    "touch": GuestState("writes a debug register, nothing enabled", touches=True),
}

# What the host itself has enabled in its debug registers, in words.
HOST_STATES = {"none": "nothing enabled"}


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
        Whether each round trip goes through the VMM.
    """

    says: str
    number: int
    to_user_space: bool


EXITS = {
    "hvc": Exit("a hypercall, handled in the kernel", 0, to_user_space=False),
    "mmio": Exit("a store that no memory backs, handled in user space", 1, to_user_space=True),
}
