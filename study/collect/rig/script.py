"""Scripts for the rig, and what the architecture says must be read. Pure.

The model is small because the architecture is: host and guest each have their own debug registers, and read what they
wrote last, whatever happens in between; a guest's breakpoint fires where it points if the guest enabled it and monitor
debug mode, and the host's never fires in the guest. A strategy is right if no script can tell it from this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from study.factors import EXITS, GUEST_STATES, HOST_STATES, RIG, names, share

HOST, GUEST = "H", "G"
LANDMARKS = 32  # places that breakpoints and watchpoints may aim at; the host's are from HOSTS on
HOSTS = 16
STRIDE = 8  # bytes from one landmark or bait to the next

# Control words (DBGBCR, DBGWCR; Arm ARM D17.3.2 and D17.3.15, ARMv7 C11.11.2 and C11.11.40): every byte, loads and stores,
# EL1 and EL0. Bit 0 enables. These and word-aligned addresses read back as written on every core.
BREAK, WATCH, ENABLE = 0x1E6, 0x1FFE, 1

# What a debug exception leaves in DBGDSCR.MOE, by the bit with which a script reports it (ARMv7 C11.11.20).
METHOD_OF_ENTRY = {1: 0b0001 << 2, 2: 0b1010 << 2}

ALL = ~0  # every bit of a read is compared

# The letter with which a script makes an exit.
LEAVE = {"hvc": "x", "sysreg": "s", "mmio": "d"}
assert LEAVE.keys() == set(names(EXITS, RIG))


@dataclass(frozen=True)
class Machine:
    """What a script must know of a machine.

    Parameters
    ----------
    breakpoints, watchpoints : int
        How many it has.
    landmarks, baits : int
        Addresses of the first place for breakpoints, and of the first for watchpoints.
    monitor : int
        Bits that turn monitor debug mode on for the guest's level: MDSCR_EL1.MDE and KDE, or DBGDSCR.MDBGEN.
    entry : int
        The field in the same register where a debug exception leaves which one it was; 0 where there is none.
    identity : int
        What the register holds that says how many there are: DBGDIDR or ID_AA64DFR0_EL1.
    """

    breakpoints: int
    watchpoints: int
    landmarks: int
    baits: int
    monitor: int
    entry: int = 0
    identity: int = 0

    def registers(self) -> Iterator[tuple[str, int]]:
        """Yield each value register with the address of its own place: ``bv0`` and landmark 0, ..."""
        for n in range(self.breakpoints):
            yield f"bv{n}", self.landmarks + STRIDE * n
        for n in range(self.watchpoints):
            yield f"wv{n}", self.baits + STRIDE * n

    def controls(self) -> Iterator[tuple[str, int]]:
        """Yield each control register with the word that it holds when it is not enabled."""
        for n in range(self.breakpoints):
            yield f"bc{n}", BREAK
        for n in range(self.watchpoints):
            yield f"wc{n}", WATCH

    def enabled(self, part: float) -> set[str]:
        """Return the control registers that are enabled in a state that enables a part of all."""
        breakpoints, watchpoints = share(self.breakpoints, part, least=1), share(self.watchpoints, part)
        return {*(f"bc{n}" for n in range(breakpoints)), *(f"wc{n}" for n in range(watchpoints))}


@dataclass
class Script:
    """Steps for the rig in its own words, and what must be read by the model. Steps are added by the methods.

    Parameters
    ----------
    machine : Machine
        That runs the script.
    """

    machine: Machine
    words: list[str] = field(default_factory=list)
    expected: list[int] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)
    _files: dict[str, dict[str, int]] = field(default_factory=lambda: {HOST: {}, GUEST: {}})
    _who: str = HOST

    def _by(self, who: str) -> dict[str, int]:
        if who != self._who:
            self.words.append(who)
            self._who = who
        return self._files[who]

    def write(self, who: str, register: str, value: int) -> None:
        """Let the host or the guest write a register."""
        self._by(who)[register] = value
        self.words.append(f"{register}={value:x}")

    def read(self, who: str, register: str) -> None:
        """Let the host or the guest read a register."""
        file = self._by(who)
        self.expected.append(self.machine.identity if register == "i" else file.get(register, 0))
        self.masks.append(self.machine.monitor | self.machine.entry if register == "m" else ALL)
        self.words.append(register)

    def leave(self, exit_: str, times: int) -> None:
        """Let the guest make exits."""
        self._by(GUEST)
        self.words.append(f"{LEAVE[exit_]}{times}")

    def fire(self, n: int) -> None:
        """Let the guest run over a landmark and read the bait of that number: 1 if a breakpoint fires, 2 if a watchpoint."""
        self._by(GUEST)
        self.expected.append(sum(bit for bit in METHOD_OF_ENTRY if self._fires(bit, n)))
        self.masks.append(ALL)
        self.words.append(f"f{n}")

    def fire_all(self) -> None:
        """Let the guest run over every landmark and read every bait, its own, the host's and those of no one: a bit for each."""
        self._by(GUEST)
        for step, bit in enumerate(METHOD_OF_ENTRY):
            self.expected.append(sum(1 << n for n in range(LANDMARKS) if self._fires(bit, n)))
            self.masks.append(ALL)
            self.words.append(f"F{step}")

    def _fires(self, bit: int, n: int) -> bool:
        """Say whether a breakpoint (1) or watchpoint (2) of the guest fires at its place n, and note what that leaves behind."""
        mine, machine = self._files[GUEST], self.machine
        kind, count, place = (
            ("b", machine.breakpoints, machine.landmarks) if bit == 1 else ("w", machine.watchpoints, machine.baits)
        )
        aims = (mine.get(f"{kind}v{k}") == place + STRIDE * n and mine.get(f"{kind}c{k}", 0) & ENABLE for k in range(count))
        if mine.get("m", 0) & machine.monitor != machine.monitor or not any(aims):
            return False
        mine["m"] = mine["m"] & ~machine.entry | METHOD_OF_ENTRY[bit] & machine.entry
        return True

    def read_all(self, who: str) -> None:
        """Let the host or the guest read every register that it has."""
        for register in [
            *(name for name, _ in self.machine.registers()),
            *(name for name, _ in self.machine.controls()),
            "m",
            "i",
        ]:
            self.read(who, register)

    def wrong(self, reads: list[int]) -> int:
        """Return how many reads are not what they must be; missing and surplus ones count.

        Of the register that turns monitor debug mode on only the bits of the model are compared: the others are status.
        """
        triples = zip(reads, self.expected, self.masks, strict=False)
        differ = sum((seen ^ must) & mask != 0 for seen, must, mask in triples)
        return differ + abs(len(reads) - len(self.expected))


def states(machine: Machine, guest: str, host: str) -> Script:
    """Return the script that puts guest and host into their states, rows of the tables of factors."""
    script = Script(machine)
    _enable(script, HOST, machine.enabled(HOST_STATES[host].enabled), shift=HOSTS)
    if HOST_STATES[host].enabled:
        script.write(HOST, "m", machine.monitor)
    row = GUEST_STATES[guest]
    _enable(script, GUEST, machine.enabled(row.enabled))
    if row.mdscr:
        script.write(GUEST, "m", machine.monitor)
    return script


def _enable(script: Script, who: str, enabled: set[str], shift: int = 0) -> None:
    """Aim all registers that are enabled at their places, `shift` further, and enable them."""
    values, controls = dict(script.machine.registers()), dict(script.machine.controls())
    for register in sorted(enabled):
        value = register.replace("c", "v")
        script.write(who, value, values[value] + STRIDE * shift)
        script.write(who, register, controls[register] | ENABLE)


def oracle(machine: Machine, guest: str, host: str, leave: str, trips: int = 100) -> Script:
    """Return the script that shows whether a strategy switches what it must, in one state of guest and host.

    Parameters
    ----------
    machine : Machine
        That runs it.
    guest, host, leave : str
        States and exit, rows of the tables of factors.
    trips : int
        Round trips before anything is looked at.

    Returns
    -------
    Script
        Its expected reads are those of the architecture. Both sides fill their registers with patterns that the other must
        never see; after the round trips all is read, breakpoints and watchpoints fire or do not; then everything changes,
        on both sides, the last breakpoint and watchpoint of the guest are enabled, used and disabled.
    """
    script = states(machine, guest, host)
    values, controls = list(machine.registers()), list(machine.controls())
    busy = machine.enabled(HOST_STATES[host].enabled)
    for (value, place), (control, word) in zip(values, controls, strict=True):
        if control not in busy:
            script.write(HOST, value, place + STRIDE * HOSTS)
            script.write(HOST, control, word)
    if GUEST_STATES[guest].touch_every:
        script.leave(leave, trips // 2)
        script.write(GUEST, "bv0", machine.landmarks + STRIDE)
    script.leave(leave, trips)
    script.read_all(GUEST)
    script.fire_all()
    script.read_all(HOST)
    # Everything changes: the host's first, so that what the guest writes then cannot hide in it.
    for n, ((value, _), (control, word)) in enumerate(zip(values, controls, strict=True)):
        place = machine.landmarks if value.startswith("b") else machine.baits
        script.write(HOST, value, place + STRIDE * (HOSTS + (n + 5) % HOSTS))
        script.write(HOST, control, word | ENABLE if n % 3 == 1 else word)
    for n, ((value, _), (control, word)) in enumerate(zip(values, controls, strict=True)):
        place = machine.landmarks if value.startswith("b") else machine.baits
        script.write(GUEST, control, word)
        script.write(GUEST, value, place + STRIDE * ((n + 3) % HOSTS))
    script.leave(leave, 1)
    script.read_all(GUEST)
    script.read_all(HOST)
    script.write(GUEST, "m", machine.monitor)
    last = [values[machine.breakpoints - 1], values[-1]]
    for bit in (ENABLE, 0):
        for value, _ in last:
            control = value.replace("v", "c")
            script.write(GUEST, control, dict(controls)[control] | bit)
        script.leave(leave, 3)
        script.fire_all()
        script.read_all(GUEST)
        script.read_all(HOST)
    return script
