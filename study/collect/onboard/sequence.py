"""Sequences of accesses to debug registers, by a guest, by user space and by the host, and what comes of them.

A sequence is drawn from its number, so it is the same on every kernel. It has a VM of its own, in which the guest plays its steps
(payload.S, job 3): it reads and writes its debug registers, and runs and stores at EL1 and EL0 where its own breakpoints and watchpoints
may be, and the host's are. Between them user space reads, writes and debugs, and moves the vCPU; and the host debugs, or begins to
while the vCPU is loaded. What came of it is what was read, each exception of the guest, and how often the host's own fired when it
came by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import mmap
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from study.factors import HOST_STATES, KDE, MDE

from . import BoardError, facts, fresh, guest, host, kvm

NAME = "onboard.play"  # of the process, as ps(1) shows it
JOB = 3
LIMIT = 600.0  # seconds for all that is asked for at once
PATIENCE = 20.0  # seconds until a guest waits
MAP_FIXED_NOREPLACE = 0x100000  # mmap(2)
# The guest's steps, in the order of the table in payload.S.
STEPS = ("read", "write", "hypercalls", "run", "store", "run-el0", "step-el0", "store-el0", "wait")
REACH = ("run", "store", "store", "run-el0", "run-el0", "step-el0", "store-el0", "store-el0")
BETWEEN = [("user", "get"), ("user", "set"), ("user", "debug"), ("user", "move"), *[("host", "debug")] * 3]
# Where they are, what a wait is for, a store at EL0, what is run, and what is stored to; the last two are there in the host, too.
SCRIPT, WORD, STORE = (kvm.DATA_PAGE + 0x1_0000 * n for n in range(3))
CODE, DATA = kvm.DATA_PAGE + 0x4_0000, kvm.DATA_PAGE + 0x5_0000
STEP, WAITS = 32, 256
NOP, SVC, STORE_X0 = 0xD503201F, 0xD4000001, 0xF9000140  # the last is STR X0, [X10]
PLACES = 16  # instructions that are run, and words
# Registers, as payload.S numbers them: sixteen of each kind, then MDSCR_EL1, and OSLAR_EL1, or OSLSR_EL1 when it is read.
KINDS = ("DBGBVR", "DBGBCR", "DBGWVR", "DBGWCR")
MDSCR, OS_LOCK = 64, 65
LATE = "late"  # the host begins to debug while the vCPU is loaded
SS = 1 << 0  # MDSCR_EL1.SS: never with KDE, which would step the guest's own handler
PATTERN = 0x5A50
# Of DBGBCR and DBGWCR: E, the exception levels that count (PMC and PAC, from bit 1), and all bytes; a watchpoint is for stores and loads.
ENABLED, LEVELS, BYTES = 1, (0b01, 0b10, 0b11), {1: 0xF << 5, 3: 0xFF << 5 | 0b11 << 3}
GUESTDBG_ENABLE, GUESTDBG_SINGLESTEP, GUESTDBG_USE_HW = 1, 1 << 1, 1 << 17
DEBUGGERS = {"none": 0, "step": GUESTDBG_ENABLE | GUESTDBG_SINGLESTEP, "break": GUESTDBG_ENABLE | GUESTDBG_USE_HW}
STEPPED = 40  # exits after which a debugger lets go


class Act(NamedTuple):
    """One thing that somebody does: the guest a step, user space and the host what play() knows; register, word or CPU; and a value."""

    who: str
    what: str
    which: int = 0
    value: int = 0


def drawn(name: str, breakpoints: int, watchpoints: int, cpus: Sequence[int]) -> list[Act]:
    """Return a sequence, which depends on its name and on the arguments alone. Pure.

    Parameters
    ----------
    name : str
        Of the sequence: a seed and a number.
    breakpoints, watchpoints : int
        How many the CPU has.
    cpus : sequence of int
        That a vCPU may move to.
    """
    draw = _Draw(random.Random(name), breakpoints, watchpoints, cpus)
    acts = draw.lent() if draw.one_in(4) else []
    for _ in range(draw.random.randint(2, 4)):
        acts += [draw.between() for _ in range(draw.random.randint(0, 2))]
        if draw.one_in(2):
            acts += [
                draw.write(MDSCR),
                Act("user", "get", MDSCR),
            ]  # so that monitor mode is on, or off, from the next vcpu_load on
        if len(cpus) > 1 and draw.one_in(4):
            acts += [Act("host", LATE), Act("guest", "wait", value=len(acts) + 1), Act("guest", "run-el0")]
        elif not draw.one_in(3):
            acts.append(draw.reach())
        acts += [step for _ in range(draw.random.randint(1, 8)) for step in draw.steps()]
    return acts


class _Draw:
    """What a sequence is drawn by: one place that most of it is about, and in every other one nothing that is ever enabled."""

    def __init__(self, draw: random.Random, breakpoints: int, watchpoints: int, cpus: Sequence[int]) -> None:
        self.random, self._cpus = draw, cpus
        self._registers = [16 * kind + n for kind in range(4) for n in range(breakpoints if kind < 2 else watchpoints)]
        self._places = draw.randrange(PLACES), draw.randrange(watchpoints)  # of what is run, and of what is stored
        self._enables = not self.one_in(2)

    def one_in(self, number: int) -> bool:
        """Return whether something happens that does so once in a number of times."""
        return self.random.randrange(number) == 0

    def _place(self, kind: int) -> int:
        return self.random.randrange(PLACES) if self.one_in(5) else self._places[kind]

    def write(self, register: int) -> Act:
        """Return a write of the guest."""
        return Act("guest", "write", register, self._value(register))

    def _value(self, register: int) -> int:
        """Return what may be written to a register: nothing is ever enabled where a guest must not stop."""
        kind = register // 16
        if register == MDSCR:
            return self.random.choice([0, MDE, MDE, MDE | KDE, MDE | KDE, MDE | KDE, KDE, SS, MDE | SS])
        if register == OS_LOCK:
            return int(self.one_in(3))
        if kind in BYTES:
            return BYTES[kind] | self.random.choice(LEVELS) << 1 | ENABLED * (self._enables and not self.one_in(4))
        return CODE + 4 * self._place(0) if kind == 0 else DATA + 8 * self._place(1)

    def steps(self) -> list[Act]:
        """Return one step of a guest, or the two that set a breakpoint or a watchpoint up, in either order."""
        set_ups = ["set up"] * (5 if self._enables else 1)
        what = self.random.choice([*set_ups, "monitor", "read", "write", "hypercalls", "reach", "reach", "reach"])
        if what == "set up":
            kind = self.random.choice(list(BYTES))
            control = self.random.choice([register for register in self._registers if register // 16 == kind])
            return self.random.sample([self.write(control - 16), self.write(control)], 2)
        if what == "hypercalls":
            return [Act("guest", what, value=self.random.choice([1, 2, 5, 20]))]
        if what == "reach":
            return [self.reach()]
        register = MDSCR if what == "monitor" else self.random.choice([MDSCR, OS_LOCK, *self._registers])
        return [Act("guest", what, register) if what == "read" else self.write(register)]

    def lent(self) -> list[Act]:
        """Return what a guest in monitor mode does with registers that it has only because the host debugs: it enables one.

        The host debugs no more, then, and the guest comes to where that one is.
        """
        kind = self.random.choice(list(BYTES))
        control = self.random.choice([register for register in self._registers if register // 16 == kind])
        place, way = self._places[kind // 2], self.random.choice(("run", "run-el0") if kind == 1 else ("store", "store-el0"))
        look = Act("user", "get", MDSCR)
        return [
            Act("guest", "write", MDSCR, MDE | KDE),
            look,
            Act("host", "debug", self.random.randrange(1, len(HOST_STATES))),
            Act("guest", "write", control - 16, (CODE, DATA)[kind // 2] + (4, 8)[kind // 2] * place),
            Act("guest", "write", control, BYTES[kind] | LEVELS[-1] << 1 | ENABLED),
            look,
            Act("host", "debug"),
            Act("guest", way, place, PATTERN),
        ]

    def reach(self) -> Act:
        """Return a step that comes to where breakpoints or watchpoints may be, the guest's and the host's."""
        return Act("guest", self.random.choice(REACH), self._place(1), PATTERN)

    def between(self) -> Act:
        """Return what user space or the host does while the guest is not there."""
        who, what = self.random.choice(BETWEEN)
        register = self.random.choice([MDSCR, *self._registers])
        if what == "set":
            return Act(who, what, register, self._value(register))
        choices = {"get": [register], "debug": range(len(HOST_STATES if who == "host" else DEBUGGERS)), "move": self._cpus}
        return Act(who, what, self.random.choice(choices[what]))


def played(acts: Sequence[Act], breakpoints: int, watchpoints: int, cpus: Sequence[int]) -> list[object]:
    """Play a sequence in a fresh VM, which starts on the last CPU, and return what came of it, in order.

    The pages of host_pages() must be there.

    Raises
    ------
    BoardError
        If the guest leaves for another reason than the end of a batch, or does not come as far as its wait.
    """
    with contextlib.ExitStack() as held:
        os.sched_setaffinity(0, {cpus[-1]})
        stage = Stage(acts, breakpoints, watchpoints, cpus, held)
        late = False
        for who, group in itertools.groupby(acts, lambda act: act.who):
            if who == "guest":
                stage.batch(list(group), late)
                late = False
                continue
            for act in group:
                late = late or act.what == LATE
                stage.do(act)
        return stage.said


class Stage:
    """The VM of one sequence and what is around it; `said` is what came of the sequence so far."""

    def __init__(
        self, acts: Sequence[Act], breakpoints: int, watchpoints: int, cpus: Sequence[int], held: contextlib.ExitStack
    ) -> None:
        self.said: list[object] = []
        self._cpus = set(cpus)
        self._debugger = partial(host.Debugging, breakpoints=breakpoints, watchpoints=watchpoints, places=(CODE, DATA))
        self._held, self._host = held, held.enter_context(contextlib.ExitStack())
        self._debugging: host.Debugging | None = None
        steps = b"".join(
            STEPS.index(act.what).to_bytes(4, "little")
            + act.which.to_bytes(4, "little")
            + act.value.to_bytes(8, "little")
            + bytes(16)
            for act in acts
            if act.who == "guest"
        )
        registers = {0: JOB, 1: SCRIPT, 2: CODE, 3: DATA, 4: STORE, 5: WORD, 6: kvm.DEVICE_PAGE}
        self._machine = kvm.Machine(guest.PAYLOAD.read_bytes(), registers)
        held.callback(self._machine.close)
        self._word, self._waits = self._machine.word(WORD), self._machine.word(WORD + WAITS)
        held.callback(self._let_go)
        for address, part in ((SCRIPT, steps), (STORE, _code(STORE_X0, SVC)), (CODE, _code(*[NOP] * PLACES, SVC))):
            self._machine.put(address, part)
        self._enter()

    def _let_go(self) -> None:
        del self._word, self._waits  # the guest's memory cannot be closed before

    def do(self, act: Act) -> None:
        """Do what user space or the host does."""
        does: dict[tuple[str, str], Callable[[Act], None]] = {
            ("user", "get"): self._get, ("user", "set"): self._set, ("user", "debug"): self._debug, ("user", "move"): self._move,
            ("host", "debug"): self._debug_host, ("host", LATE): self._debug_late,
        }  # fmt: skip
        does[act.who, act.what](act)

    def batch(self, acts: Sequence[Act], late: bool) -> None:
        """Let the guest play some steps, and note what came of each, and of the host's own breakpoints then.

        Parameters
        ----------
        acts : sequence of Act
            The guest's; they are in its memory already.
        late : bool
            Whether the host begins to debug while the guest waits in the first one.
        """
        self._machine.answer(len(acts))
        (cpu,) = os.sched_getaffinity(0)
        with contextlib.ExitStack() as beside:
            latest: list[host.Debugging] = []
            if late:
                thread = threading.Thread(target=self._begin_to_debug, args=(acts[0].value, cpu, latest, beside))
                thread.start()
                beside.callback(thread.join)
                # Nothing else may take the CPU meanwhile, for then the vCPU would be put, and loaded again.
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
                beside.callback(os.sched_setscheduler, 0, os.SCHED_OTHER, os.sched_param(0))
            access = self._enter()
            words = []
            while access.is_write:
                words.append(access.value)
                access = self._enter()
            if len(words) != 2 * len(acts):
                raise BoardError(f"the guest reported {len(words)} words of {len(acts)} steps")
            self.said.append([words[2 * n : 2 * n + 2] for n in range(len(acts))])
            if late and not latest:
                raise BoardError("the host could not begin to debug while the guest waited")
            self.said += [[LATE, debugging.fire()] for debugging in latest]
        if self._debugging:
            self.said.append(["host", self._debugging.fire()])

    def _begin_to_debug(self, value: int, cpu: int, latest: list[host.Debugging], beside: contextlib.ExitStack) -> None:
        """Wait until the guest waits, which keeps its vCPU loaded; debug all that runs on its CPU; and let it go on."""
        until = time.monotonic() + PATIENCE
        try:
            os.sched_setaffinity(0, self._cpus - {cpu})  # of this thread; beside the vCPU, it would have to be put first
            while self._waits.value != value and time.monotonic() < until:
                time.sleep(0)
            if self._waits.value == value:
                latest.append(self._debugger("one", cpu=cpu))
                beside.callback(latest[0].close)
        finally:
            self._word.value = value

    def _enter(self) -> kvm.DeviceAccess:
        """Run the guest until it accesses its device page; a debugger that it meets on the way notes that, and lets go in time."""
        met: Counter[int] = Counter()
        while True:
            self._machine.enter()
            syndrome = self._machine.debugged()
            if syndrome is None:
                break
            met[syndrome >> 26] += 1
            if met.total() >= STEPPED or syndrome >> 26 != 0x32:  # a breakpoint, which would be met for ever
                self._machine.debug(0)
        if met:
            self.said.append(["debugger", sorted(met.items())])
        return self._machine.access()

    def _get(self, act: Act) -> None:
        self.said.append(["got", self._machine.register(_id(act.which))])

    def _set(self, act: Act) -> None:
        self._machine.set_register(_id(act.which), act.value)

    def _debug(self, act: Act) -> None:
        self._machine.debug(list(DEBUGGERS.values())[act.which], (BYTES[1] | 0b11 << 1 | ENABLED, CODE))

    def _move(self, act: Act) -> None:
        os.sched_setaffinity(0, {act.which})

    def _debug_late(self, act: Act) -> None:
        """Debug nothing until the guest's next batch has begun."""
        self._host.close()
        self._debugging = None

    def _debug_host(self, act: Act) -> None:
        self._debug_late(act)
        state = list(HOST_STATES)[act.which]
        if HOST_STATES[state].enabled:
            self._debugging = self._debugger(state)
            self._host.callback(self._debugging.close)


def _code(*instructions: int) -> bytes:
    return b"".join(each.to_bytes(4, "little") for each in instructions)


def _id(register: int) -> int:
    """Return how KVM calls a debug register: CRm is its number, op2 its kind (KVM_REG_ARM64_SYSREG of its uapi/asm/kvm.h)."""
    kind, n = (-2, 2) if register == MDSCR else divmod(register, 16)
    return kvm.DBGBVR0_EL1 + (n << 3) + kind


def host_pages() -> None:
    """Map, in this process, the addresses at which guests run and store: there the host's own breakpoints and watchpoints are.

    Raises
    ------
    BoardError
        If something else is there.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    words = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    for address, code in ((CODE, host.RET * PLACES), (DATA, b"")):
        if (
            libc.mmap(
                *(
                    kind(each)
                    for kind, each in zip(words, (address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0))
                )
            )
            != address
        ):
            raise BoardError(f"the host has no page at {address:#x}: {os.strerror(ctypes.get_errno())}")
        ctypes.memmove(address, code, len(code))
        if code:  # executable only after it is written: that is when the kernel makes the instruction cache see it
            libc.mprotect(ctypes.c_void_p(address), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)


def play(*, seed: str, first: int, count: int) -> dict[str, object]:
    """Play sequences, one after the other, in a fresh process.

    Parameters
    ----------
    seed : str
        From which they are drawn, together with their numbers.
    first, count : int
        The number of the first, and how many.

    Returns
    -------
    dict
        ``played``: of each sequence its acts, and what came of it; ``met``: how often what was met, see tallied().

    Raises
    ------
    BoardError
        If a sequence does not come to its end.
    """
    numbers, cpus = facts.debug_registers(), sorted(os.sched_getaffinity(0))

    def work(found: Path) -> None:
        host_pages()
        met: Counter[str] = Counter()
        whole = []
        for number in range(first, first + count):
            acts = drawn(f"{seed}/{number}", *numbers, cpus)
            try:
                said = played(acts, *numbers, cpus)
            except BoardError as error:
                raise BoardError(f"sequence {number} of seed {seed}: {error}") from None
            met += tallied(acts, said)
            whole.append([acts, said])
        found.write_text(json.dumps({"played": whole, "met": met}))

    return fresh.answer(NAME, work, LIMIT, f"the process of {count} sequences")


def tallied(acts: Sequence[Act], said: Sequence[Any]) -> Counter[str]:
    """Return how often what was met in a sequence. Pure."""
    met = Counter(f"{act.who} {act.what}" for act in acts)
    for what in said:
        if isinstance(what[0], list):
            met.update(f"exception {syndrome >> 26:#x}" for _, syndrome in what if syndrome)
        elif what[0] in ("host", LATE):
            met[f"{what[0]} fired"] += sum(what[1])
        elif what[0] == "debugger":
            met["debugger met"] += sum(times for _, times in what[1])
    return met
