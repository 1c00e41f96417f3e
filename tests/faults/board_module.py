"""What is done to the module on the board, sent there as text. Prints one line of JSON.

    python3 - stress LOADS SEED
    python3 - inputs TRIES SEED

Runs where ``study.collect.onboard`` can be imported. What it counts is explained in module.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import random
import re
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from study.collect.onboard import facts, guest, kvm, strategy

NAMES = ["stock", "lazy", "eager", "control-scan", "none"]
STRATEGY, COUNTERS = strategy.PARAMETERS / "strategy", strategy.PARAMETERS / "counters"
FINIT_MODULE, DELETE_MODULE = 273, 106  # system calls of arm64
NOBODY = 65534
CHANGES = 3  # of strategy while the module is loaded
BATCH = 200  # round trips
STEADY = ["untouched", "mde", "touch", "all"]
SECOND = Path("/sys/devices/system/cpu/cpu1/online")
# Waiting for what may still run a probe takes a change most of its time; on every tenth load it takes the usual way.
EXPEDITED, USUAL = Path("/sys/kernel/rcu_expedited"), 10
PAGE = 4096  # sysfs hands on no more of a write

# KVM_SET_GUEST_DEBUG: control, padding, and 64 registers that stay 0. KVM_EXIT_DEBUG ends a single step.
KVM_SET_GUEST_DEBUG, KVM_EXIT_DEBUG = 0x4208_AE9B, 4
DEBUG = struct.Struct("=II512x")
ENABLE, SINGLE_STEP, USE_HARDWARE = 1, 2, 1 << 17

# What the kernel says of an emulator that others keep waiting, and of modules that are loaded as they are here.
EXPECTED = re.compile(
    r"hrtimer: interrupt took|loading out-of-tree module taints kernel|module verification failed"
    r"|dbgswitch: .*(invalid for parameter|unknown parameter|A{900})"
)
ALARMS = re.compile(
    r"WARNING|BUG|Oops|Call trace|refcount|list_(add|del)|Unable to handle|Internal error|slab|SLUB|KASAN|KFENCE|UBSAN|lockup"
    r"|stall|hung|corrupt|overwritten|Bad page|usercopy|atomic"
)
WARNING = 4  # a level of the log; worse ones are lower
TAINTED = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14  # by a bad page, an oops, a warning, a lockup

LIBC = ctypes.CDLL(None, use_errno=True)
wrong: list[str] = []


def check(right: object, what: str) -> None:
    """Note what is not as it should be."""
    if not right:
        wrong.append(what)


def name_of(error: int) -> str:
    """Return the name of an error number; 0 is no error."""
    return errno.errorcode.get(error, str(error)) if error else "done"


def load(words: bytes = b"") -> str:
    """Load the module, and return the name of the error."""
    with open(strategy.MODULE, "rb") as file:
        return load_from(file.fileno(), words)


def load_from(file: int, words: bytes) -> str:
    """Load the module from an open file."""
    return name_of(ctypes.get_errno() if LIBC.syscall(FINIT_MODULE, file, words, 0) else 0)


def unload() -> str:
    """Unload the module, without force, and return the name of the error."""
    return name_of(ctypes.get_errno() if LIBC.syscall(DELETE_MODULE, b"dbgswitch", os.O_NONBLOCK) else 0)


def loaded() -> bool:
    """Say whether anything of the module is there."""
    return strategy.PARAMETERS.parent.exists() or "dbgswitch" in Path("/proc/modules").read_text()


def write(data: bytes, path: Path = STRATEGY, at: int | None = None) -> str:
    """Write with one call, and return the name of the error."""
    try:
        file = os.open(path, os.O_WRONLY)
        try:
            os.write(file, data) if at is None else os.pwrite(file, data, at)
        finally:
            os.close(file)
    except OSError as error:
        return name_of(error.errno or 0)
    return "done"


# --- guests, each in a process of its own ------------------------------------------------------------------------------

Going = Callable[[], bool]
Work = Callable[[Going], dict[str, int]]


class Worker:
    """A process that works until it is told to end, and then says what it did."""

    def __init__(self, work: Work) -> None:
        ours, theirs = os.pipe()
        self._process, self._said = os.fork(), ours
        if self._process == 0:
            os.close(ours)
            _work(work, theirs)
        os.close(theirs)
        select.select([ours], [], [], 60)  # it is at work, or has failed

    def end(self) -> dict[str, int]:
        """Tell it to end, and return what it did."""
        os.kill(self._process, signal.SIGTERM)
        with open(self._said) as said:
            text = said.read().strip()
        status = os.waitpid(self._process, 0)[1]
        done: dict[str, int] = json.loads(text or "{}")
        if status or not done:
            wrong.append(f"a process failed: {text or status}")
        return done if not status else {}


def _work(work: Work, out: int) -> None:
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    os.nice(5)
    begun = []

    def going() -> bool:
        if not begun:
            begun.append(os.write(out, b" "))
        return not ended

    try:
        done, status = work(going), 0
    except BaseException as error:
        done, status = repr(error), 1  # type: ignore[assignment]
    os.write(out, json.dumps(done).encode())
    os._exit(status)


def cpu() -> dict[str, int]:
    """Return how many breakpoints and watchpoints a guest has."""
    return dict(zip(("breakpoints", "watchpoints"), facts.debug_registers(), strict=True))


def fresh(state: str, leave: str = "hvc") -> guest.Guest:
    """Return a guest that has set itself up."""
    return guest.Guest(state, leave, **cpu(), gic=True, pmu=False)


def registers(of: guest.Guest) -> list[int]:
    """Return the guest's debug registers but for the one that it may touch: MDSCR_EL1, DBGBVR, DBGBCR, DBGWVR, DBGWCR."""
    counts = cpu()
    wanted = [(0, 2, 2)]
    wanted += [(0, n, op2) for n in range(counts["breakpoints"]) for op2 in (4, 5) if (n, op2) != (0, 4)]
    wanted += [(0, n, op2) for n in range(counts["watchpoints"]) for op2 in (6, 7)]
    # A KVM register's number holds op0 (2 here), op1 (0), CRn, CRm and op2.
    return [of._machine.register(0x6030_0000_0013_0000 | 2 << 14 | crn << 7 | crm << 3 | op2) for crn, crm, op2 in wanted]


def well() -> int:
    """Run the oracle once, and say whether guest breakpoints work."""
    return int(guest.run_oracle(gic=True, pmu=False) == guest.ORACLE_FIRES)


def steady(state: str) -> Work:
    """Return work: one guest that runs without end. When it is told to, the module must be gone."""

    def work(going: Going) -> dict[str, int]:
        one, trips = fresh(state), 0
        before = registers(one)
        while going():
            one.run(BATCH)
            trips += BATCH
        one.run(BATCH)
        kept = int(registers(one) == before)
        one.close()
        return {"guests": 1, "trips": trips, "kept": kept, "oracles": well()}

    return work


def passing(seed: int) -> Work:
    """Return work: guests that are made, run for a moment, and go."""
    draw = random.Random(seed)

    def work(going: Going) -> dict[str, int]:
        guests = 0
        while going():
            one = fresh(draw.choice([*STEADY, "one-no-mde"]), draw.choice(["hvc", "sysreg", "mmio"]))
            one.run(draw.randint(1, BATCH))
            one.close()
            guests += 1
        return {"guests": guests, "oracles": well()}

    return work


def killed(seed: int) -> Work:
    """Return work: guests whose process is killed while they run."""
    draw = random.Random(seed)

    def work(going: Going) -> dict[str, int]:
        guests = 0
        while going():
            ready, theirs = os.pipe()
            process = os.fork()
            if process == 0:
                one = fresh(draw.choice(STEADY))
                os.write(theirs, b".")
                one.run(1 << 30)
                os._exit(1)
            os.close(theirs)
            os.read(ready, 1)
            os.close(ready)
            time.sleep(draw.uniform(0, 0.02))
            os.kill(process, signal.SIGKILL)
            if not os.WIFSIGNALED(os.waitpid(process, 0)[1]):
                raise AssertionError("a guest without end ended")
            guests += 1
        return {"guests": guests, "killed": guests, "oracles": well()}

    return work


def debugged(seed: int) -> Work:
    """Return work: a guest that its VMM debugs now and then, with hardware breakpoints, in single steps, or not at all."""
    draw = random.Random(seed)

    def work(going: Going) -> dict[str, int]:
        one, steps, trips = fresh("mde"), 0, 0
        before = registers(one)
        machine = one._machine

        def debug(control: int) -> None:
            fcntl.ioctl(machine._vcpu, KVM_SET_GUEST_DEBUG, DEBUG.pack(control, 0))

        while going():
            how = draw.choice([0, ENABLE, ENABLE | USE_HARDWARE, ENABLE | SINGLE_STEP])
            debug(how)
            if how & SINGLE_STEP:
                machine.answer(BATCH)
                for _ in range(20):
                    machine.enter()
                    (reason,) = kvm.EXIT_REASON.unpack_from(machine._run_page, 8)
                    check(reason == KVM_EXIT_DEBUG, f"a single step ended with exit reason {reason}")
                    steps += 1
                debug(0)
                machine.enter()
                one._at_batch_end()
            else:
                one.run(BATCH)
            trips += BATCH
        debug(0)
        one.run(BATCH)
        kept = int(registers(one) == before)
        one.close()
        if wrong:  # what is noted here is known here alone
            raise AssertionError(wrong[0])
        return {"guests": 1, "trips": trips, "steps": steps, "kept": kept, "oracles": well()}

    return work


# --- what happens meanwhile --------------------------------------------------------------------------------------------


def racing(seed: int) -> Work:
    """Return work: change and read parameters of a module that may be about to go."""
    draw = random.Random(seed)

    def work(going: Going) -> dict[str, int]:
        changes = 0
        while going():
            said = write(draw.choice(NAMES).encode())
            changes += said == "done"
            if said not in ("done", "ENOENT", "ENODEV"):
                raise AssertionError(f"a change that races with an unload: {said}")
            try:
                if strategy.in_force() not in NAMES or len(strategy.counters()) not in (0, len(strategy.COUNTERS)):
                    raise AssertionError("a parameter reads otherwise than it should")
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise
        return {"raced": changes}

    return work


def hotplug(seed: int) -> Work:
    """Return work: take the second CPU away and give it back."""
    draw = random.Random(seed)

    def work(going: Going) -> dict[str, int]:
        times = 0
        while going():
            for state in "01":
                SECOND.write_text(state)
                time.sleep(draw.uniform(0, 0.3))
            times += 1
        return {"hotplugs": times}

    return work


class Log:
    """The kernel's log from now on."""

    def __init__(self) -> None:
        self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._file, 0, os.SEEK_END)
        self._taint = self._tainted()

    def _tainted(self) -> int:
        return int(Path("/proc/sys/kernel/tainted").read_text()) & TAINTED

    def _records(self) -> Iterator[tuple[int, str]]:
        """Yield level and text."""
        while True:
            try:
                record = os.read(self._file, 1 << 16).decode(errors="replace")
            except BlockingIOError:
                return
            except BrokenPipeError:
                yield 0, "the log lost records before they were read: the kernel's log_buf_len is too small"
                continue
            head, _, text = record.partition(";")
            yield int(head.split(",")[0]) & 7, text.splitlines()[0]

    def alarms(self) -> list[str]:
        """Return the lines that are warnings, by their level or by what they say, and what the kernel is tainted by."""
        found = [
            text for level, text in self._records() if not EXPECTED.search(text) and (level <= WARNING or ALARMS.search(text))
        ]
        return found + [f"tainted: {self._tainted():#x}"] * (self._tainted() != self._taint)


# --- the two jobs ------------------------------------------------------------------------------------------------------


def stress(loads: int, seed: int) -> dict[str, int]:
    """Load and unload the module under guests: alone, raced by others, while a CPU comes and goes, and with both."""
    total = {"loads": 0, "changes": 0, "entries": 0, "raced": 0, "hotplugs": 0}
    works = [*map(steady, STEADY), passing(seed), killed(seed + 1), debugged(seed + 2)]
    workers = [Worker(work) for work in works]
    os.nice(-10)
    kinds: list[list[Callable[[int], Work]]] = [[], [racing]]
    if SECOND.exists():
        kinds += [[hotplug], [racing, hotplug]]
    for number, kind in enumerate(kinds):
        others = [Worker(work(seed + number)) for work in kind]
        for each in range(loads * number // len(kinds), loads * (number + 1) // len(kinds)):
            EXPEDITED.write_text(str(int(each % USUAL > 0)))
            once(random.Random(f"{seed} {each}"), total, alone=racing not in kind)
        add(total, *(other.end() for other in others))
    add(total, *(worker.end() for worker in workers))
    total["right"] = sum(well() for _ in range(3))
    check(not loaded(), "something of the module is left")
    return {**total, "processes": len(works)}


def add(total: dict[str, int], *more: dict[str, int]) -> None:
    """Add up what was done."""
    for done in more:
        for name, count in done.items():
            total[name] = total.get(name, 0) + count


def once(draw: random.Random, total: dict[str, int], alone: bool) -> None:
    """Load the module, change its strategy, read its counters, and unload it."""
    first, known = draw.choice(NAMES), [0] * len(strategy.COUNTERS)
    check((said := load(f"strategy={first}".encode())) == "done", f"load with {first}: {said}")
    check(not alone or strategy.in_force() == first, f"loaded with {first}: {strategy.in_force()} is in force")
    for name in draw.choices(NAMES, k=CHANGES):
        time.sleep(draw.uniform(0, 0.01))
        now = list(strategy.counters().values())
        check(all(a <= b for a, b in zip(known, now, strict=True)), f"counters went back from {known} to {now}")
        check(all(part <= now[0] + 8 for part in now[1:3]), f"more than entries: {now}")  # they are read one after the other
        known = now
        check((said := write(name.encode())) == "done", f"change to {name}: {said}")
        check(not alone or strategy.in_force() == name, f"changed to {name}: {strategy.in_force()} is in force")
        total["changes"] += 1
    total["entries"] += strategy.counters()["entries"]
    with contextlib.ExitStack() as held:
        files = [held.enter_context(open(path)) for path in (STRATEGY, COUNTERS) if draw.random() < 0.3]
        check((said := unload()) == "done", f"unload: {said}")
        for file in files:
            try:
                check(False, f"read a parameter that is gone: {file.read()!r}")
            except OSError as error:
                check(error.errno == errno.ENODEV, f"read a parameter that is gone: {error}")
    check(not loaded(), "something of the module is left")
    total["loads"] += 1


# Words at load time, and what comes of them. The kernel itself ignores those that it does not know, and says so in its log.
LOADS = {
    b"strategy=nonsense": "EINVAL", b"strategy=": "EINVAL", b"strategy": "EINVAL", b"strategy=lazy strategy=laz": "EINVAL",
    b"strategy=LAZY": "EINVAL", b"strategy=" + b"A" * 100_000: "EINVAL", b'strategy="lazy eager"': "EINVAL",
    b"counters": "EINVAL", b"counters=": "EPERM", b"counters=1": "EPERM", b"strategy=eager counters=0 0 0 0": "EPERM",
    b"unknown=1": "done", b"unknown": "done", b"strategy=lazy unknown=1": "done", b"strategie=lazy": "done",
    b'strategy="eager"': "done", b"strategy=none strategy=lazy": "done", b"": "done", b" ": "done",
}  # fmt: skip
TEXTS = [
    b"", b"\n", b"l", b"0", b"\0", b"A" * PAGE, b"A" * (PAGE - 1), b"A" * (1 << 20), b"laz", b"lazyx", b"lazy eager", b"lazy\n\n",
    b"lazy\n", b"lazy", b" lazy", b"lazy ", b"lazy\r\n", b"lazy\t", b"Lazy", b"lazy\0", b"lazy\0junk", b"lazy\n\0junk",
    b"\0lazy", b"lazy\njunk", b"control_scan", b"control-scan", b"control", b"none\n", b"stock,", b"=lazy", b"strategy=lazy",
    b"lazy" + b"\0" * PAGE, b"lazy" + b" " * PAGE, b"eager\n" * 1000, "läzy".encode(), b"\xff" * 16, b"%s%n%p" * 9, b"(null)",
]  # fmt: skip


def meant(data: bytes) -> str:
    """Return the strategy that a write names: all of it up to a first NUL, with or without a newline; empty if it names none."""
    text = data[:PAGE].split(b"\0")[0].removesuffix(b"\n").decode("latin-1")
    return text if text in NAMES else ""


def random_text(draw: random.Random) -> bytes:
    """Return a name that something was done to, or anything."""
    name = draw.choice(NAMES).encode()
    junk = draw.randbytes(draw.choice([1, 2, 3, 17, 300, PAGE]))
    at = draw.randrange(len(name) + 1)
    return draw.choice([
        junk, name, name + b"\n", name + junk, junk + name, name[:at], name[at:], name[:at] + junk[:1] + name[at:],
        name[:at] + b"\0" + junk, name[:at] + b"\n" + name[at:], name + draw.choice(NAMES).encode(), name.swapcase(),
        bytes(draw.choices(b"acegklnorstyz-\n\0 ", k=draw.randint(1, 12))),
    ])  # fmt: skip


def inputs(tries: int, seed: int) -> dict[str, int]:
    """Hand the module what user space may hand it."""
    worker = Worker(steady("mde"))
    EXPEDITED.write_text("1")
    draw, total = random.Random(seed), {"loads": 0, "loads refused": 0, "writes": 0, "refused": 0, "accepted": 0}
    for words, expected in LOADS.items():
        said = load(words)
        check(said == expected, f"load with {words[:40]!r}: {said}, not {expected}")
        check(
            loaded() == (said == "done"), f"load with {words[:40]!r}: {said}, and the module is {'' if loaded() else 'not '}there"
        )
        total["loads"] += 1
        total["loads refused"] += said != "done"
        check(said != "done" or unload() == "done", f"unload after {words[:40]!r}")
    check((said := load(b"strategy=lazy")) == "done", f"load: {said}")
    check((said := load()) == "EEXIST", f"load twice: {said}")
    for text in [*TEXTS, *(random_text(draw) for _ in range(tries))]:
        one_write(text, draw, total)
    faulty_pointer()
    read_only(total)
    apart(as_nobody)
    check((said := unload()) == "done", f"unload: {said}")
    add(total, worker.end())
    return {**total, "processes": 1}


def one_write(text: bytes, draw: random.Random, total: dict[str, int]) -> None:
    """Write, and compare what is in force then with what the text means. sysfs hands on no empty write, and no offset."""
    before, name = strategy.in_force(), meant(text)
    said = write(text, at=draw.choice([None, None, 1, PAGE, 1 << 40]))
    check(said == ("done" if name or not text else "EINVAL"), f"write {text[:40]!r}: {said}")
    check(strategy.in_force() == (name or before), f"write {text[:40]!r} under {before}: now {strategy.in_force()}")
    total["writes"] += 1
    total["accepted" if said == "done" else "refused"] += 1


def faulty_pointer() -> None:
    """Write from, and read to, where no memory is."""
    for path, flags, call in (
        (STRATEGY, os.O_WRONLY, LIBC.write),
        (STRATEGY, os.O_RDONLY, LIBC.read),
        (COUNTERS, os.O_RDONLY, LIBC.read),
    ):
        file = os.open(path, flags)
        for address in (8, (1 << 64) - PAGE):
            failed = call(file, ctypes.c_void_p(address), ctypes.c_size_t(5)) == -1
            check(failed and ctypes.get_errno() == errno.EFAULT, f"{path.name} at {address:#x}: {name_of(ctypes.get_errno())}")
        os.close(file)


def read_only(total: dict[str, int]) -> None:
    """Write to the counters, as root, and once more after the file was made writable."""
    for mode in (0o444, 0o666):
        COUNTERS.chmod(mode)
        for text in (b"0 0 0 0\n", b"", b"\0", b"A" * PAGE):
            said = write(text, COUNTERS)
            check(said != "done" or (not text and mode == 0o666), f"write {text[:9]!r} to counters of mode {mode:o}: {said}")
            total["writes"] += 1
            total["accepted" if said == "done" else "refused"] += 1
    COUNTERS.chmod(0o444)


def apart(what: Callable[[], None]) -> None:
    """Do something in a process of its own; what is wrong there ends it, and is noted."""

    def work(going: Going) -> dict[str, int]:
        before = len(wrong)
        going()
        what()
        if wrong[before:]:
            raise AssertionError(wrong[before])
        return {"done": 1}

    Worker(work).end()


def as_nobody() -> None:
    """Read and write, load and unload as somebody who is not root."""
    with open(strategy.MODULE, "rb") as file:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        before = strategy.in_force()
        for path in (STRATEGY, COUNTERS):
            check((said := write(b"none", path)) == "EACCES", f"nobody writes to {path.name}: {said}")
        check((said := load_from(file.fileno(), b"")) == "EPERM", f"nobody loads: {said}")
        check((said := unload()) == "EPERM", f"nobody unloads: {said}")
        check(len(strategy.counters()) == len(strategy.COUNTERS), "nobody reads no counters")
        check(strategy.in_force() == before, "nobody changed the strategy")


if __name__ == "__main__":
    log = Log()
    done = {"stress": stress, "inputs": inputs}[sys.argv[1]](*map(int, sys.argv[2:]))
    words = log.alarms()
    print(json.dumps({**done, "wrong": len(wrong), "warnings": len(words), "words": [*wrong[:20], *words[:40]]}))
