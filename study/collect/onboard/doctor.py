"""Ready to measure? What on a board keeps figures from being made, or spoils them, and what mends it.

A check reads files below a folder and says what it found: `good`, worth an `advice`, or `bad`, which is to say that nothing can be
measured. Adding one is a function and a row in CHECKS.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from study.factors import EXITS, MAY_LACK, fits

from . import BoardError, counting, facts, strategy, throttle, tuning
from .kvm import WITHOUT

GOOD, ADVICE, BAD = "good", "advice", "bad"
CLOCK = "arch_sys_counter"
# Options of the kernel without which something is missing, and how much that matters.
OPTIONS = {
    "KVM": BAD,
    "PERF_EVENTS": BAD,
    "HW_PERF_EVENTS": BAD,
    "HAVE_HW_BREAKPOINT": BAD,
    "TRACEPOINTS": BAD,
    "MODULES": ADVICE,
}
# Models of preemption, the more preemptible first; of a dynamic one the command line may choose another.
PREEMPTION = ("PREEMPT_RT", "PREEMPT_LAZY", "PREEMPT", "PREEMPT_VOLUNTARY", "PREEMPT_NONE")
TUNE = "study collect --tune"
# What mends counters: the kernel has none, has some that cannot do it, or something else has them.
NO_PMU = "the kernel has no PMU: a virtual machine must be given one, a device tree must name it; what it says: sudo dmesg | grep -i pmu"
OTHER_DRIVER = "boot a newer kernel, whose driver of the PMU may; what perf has here: perf list"
FREE = "end what has the counters, another perf or the watchdog: sudo sysctl kernel.nmi_watchdog=0"

Rows = tuple[tuple[counting.Tried, ...], ...]


@dataclass(frozen=True)
class Finding:
    """What a check found, its verdict, and the command that mends it, or words where no command does."""

    found: str
    verdict: str = GOOD
    todo: str = ""


@dataclass(frozen=True)
class Board:
    """What is examined.

    Parameters
    ----------
    root : path
        The folder that paths start at; ``/`` on a board.
    cpu : int
        The CPU that measures.
    release : str
        The kernel's.
    mode : str
        How KVM runs: see facts.mode().
    registers : tuple of int
        How many breakpoints and watchpoints a guest has; zeros if there is no guest.
    gic : int
        The version of a guest's interrupt controller; 0 if it has none.
    kvm, no_gic, perf : str
        Why making a guest, giving it an interrupt controller, or counting, failed when it was tried; empty if it did not.
    tried : tuple of tuple of Tried
        What came of trying to count the events, one row of them after the other.
    user : int
        Who measures.
    """

    root: Path
    cpu: int
    release: str
    mode: str
    registers: tuple[int, int]
    gic: int = 0
    kvm: str = ""
    no_gic: str = ""
    perf: str = ""
    tried: Rows = ()
    user: int = field(default_factory=os.geteuid)

    def read(self, path: str) -> str:
        """Return what a file below the root says; nothing if it cannot be read."""
        return tuning.read(self.root / path)

    def number(self, path: str) -> int:
        """Return the number in a file; 0 if there is none."""
        text = self.read(path)
        return int(text) if text.isdigit() else 0

    @cached_property
    def options(self) -> set[str]:
        """Those of the kernel's options that are asked for here and are set; none if they cannot be read."""
        text = facts.config(self.root, self.release)
        return {name for name in (*OPTIONS, *PREEMPTION) if f"\nCONFIG_{name}=y".encode() in text}

    @property
    def here(self) -> str:
        """The folder of the CPU that measures."""
        return f"{tuning.CPUS}/cpu{self.cpu}"

    @property
    def online(self) -> set[int]:
        """All CPUs that run."""
        return tuning.cpus(self.read(f"{tuning.CPUS}/online"))


def look(root: Path, events: list[list[str]]) -> Board:
    """Try what visits need, and return what there is to examine, whatever failed."""
    kvm = no_gic = perf = ""
    registers, gic, counted = (0, 0), 0, tried([])
    try:
        registers = facts.debug_registers()
    except BoardError as error:
        kvm = str(error)
    try:
        gic = facts.guests_gic()
    except BoardError as error:
        no_gic = str(error)
    try:
        counted = tried(counting.fitting(events))
    except BoardError as error:
        perf = str(error)
    return Board(root, facts.measuring_cpu(), platform.release(), facts.kvm_mode(), registers, gic, kvm, no_gic, perf, counted)


def tried(rows: Sequence[Sequence[str]]) -> Rows:
    """Return what came of trying rows of events."""
    return tuple(counting.tried(tuple(row)) for row in rows)


def examine(board: Board) -> list[dict[str, str]]:
    """Return a row for each check: ``check``, ``found``, ``verdict`` and ``todo``."""
    rows = []
    for name, check in CHECKS.items():
        finding = check(board)
        rows.append({"check": name, "found": finding.found, "verdict": finding.verdict, "todo": finding.todo})
    return rows


def kvm(board: Board) -> Finding:
    """Find out whether guests can be made."""
    if not (board.root / "dev/kvm").exists():
        return Finding("there is no /dev/kvm", BAD, "boot a kernel with KVM, at EL2; what it says: sudo dmesg | grep -i kvm")
    if board.kvm:
        return Finding(board.kvm, BAD, "run the study as root, or: sudo usermod -aG kvm $USER")
    return Finding("a guest can be made")


def kvm_mode(board: Board) -> Finding:
    """Find out whether it is known how KVM runs: figures of one mode do not hold for another."""
    if board.mode == "unknown":
        return Finding(
            "unknown: KVM's line in the kernel log is gone or cannot be read, and the timer does not tell",
            ADVICE,
            "run the study as root, soon after a boot",
        )
    return Finding(board.mode)


def debug_registers(board: Board) -> Finding:
    """Find out what there is to switch."""
    if not all(board.registers):
        return Finding("unknown: there is no guest to ask", BAD, "see KVM above")
    return Finding("{} breakpoints, {} watchpoints".format(*board.registers))


def interrupt_controller(board: Board) -> Finding:
    """Find out which interrupt controller guests have: what they leave for depends on it, and so does what that costs."""
    found, _, todo = board.no_gic.partition(": ")
    if board.kvm or (found and todo != WITHOUT):
        return Finding("unknown: there is no guest to ask", BAD, "see KVM above")
    if found:
        return Finding(found, BAD, todo)
    if not board.gic:
        return Finding("guests are measured without one")
    lost = [f"exit {name}" for name, row in EXITS.items() if row.gic > board.gic]
    return Finding(f"guests have a GICv{board.gic}" + (f", which cannot do {', '.join(lost)}" if lost else ""))


def perf(board: Board) -> Finding:
    """Find out whether perf counts all that visits count."""
    found, _, todo = board.perf.partition("; ")
    if found:
        return Finding(found, BAD, todo or "what perf knows: perf list")
    events = [event for row in board.tried for event in row]
    lost = [event for event in events if event.why]
    if lost:
        counters = [event for event in events if not is_tracepoint(board, event.event)]
        none = all(event.why for event in counters)
        what = "no event of the hardware" if none else f"all but {', '.join(event.event for event in lost)}"
        return Finding(f"counts {what}: {lost[0].why}", BAD if none else ADVICE, _way_to_count(board, lost[0].why))
    if shared := [event for event in events if not event.fits]:
        return Finding(f"counts {shared[0].event} in {shared[0].running:.0f} % of the time only", BAD, FREE)
    absent = [event for event in MAY_LACK if not is_tracepoint(board, event)]
    found = f"counts all events but {', '.join(absent)}, which this kernel lacks" if absent else "counts all events"
    return Finding(f"{found}, in {len(board.tried)} turns" if board.tried else "not tried: nothing is counted by perf here")


def is_tracepoint(board: Board, event: str) -> bool:
    """Say whether an event is a tracepoint of the kernel, and not one of the hardware with its modifiers."""
    return os.path.isdir(board.root.joinpath(counting.TRACEPOINTS.relative_to("/"), *event.split(":")))


def _way_to_count(board: Board, why: str) -> str:
    """Return what mends that perf gives this for a reason."""
    if why != counting.UNSUPPORTED:
        return FREE
    return OTHER_DRIVER if facts.pmus(board.root) else NO_PMU


def paranoid(board: Board) -> Finding:
    """Find out whether the kernel lets this user count what it does itself."""
    level = board.read("proc/sys/kernel/perf_event_paranoid")
    if not level:
        return Finding("not there: the kernel has no perf events", BAD, "boot a kernel with CONFIG_PERF_EVENTS")
    if board.user and int(level) > 1:
        return Finding(f"{level}, and you are not root", BAD, "sudo sysctl kernel.perf_event_paranoid=-1")
    return Finding(f"{level}, and you are root" if not board.user else level)


def options(board: Board) -> Finding:
    """Find out whether the kernel has what the study needs."""
    if not board.options:
        return Finding("they cannot be read", ADVICE, f"put them in /boot/config-{board.release}, or: sudo modprobe configs")
    missing = [name for name in OPTIONS if name not in board.options]
    if missing:
        verdict = BAD if BAD in map(OPTIONS.get, missing) else ADVICE
        return Finding(f"without {', '.join(missing)}", verdict, "boot a kernel that has them")
    return Finding(f"all {len(OPTIONS)} that the study needs")


def preemption(board: Board) -> Finding:
    """Find out how preemptible the kernel is, which is part of what an entry costs. No model is wrong."""
    chosen = re.search(r"\bpreempt=(\w+)", board.read("proc/cmdline"))
    said = re.search(r"\bPREEMPT\w*", board.read("proc/version"))
    built = next((name for name in PREEMPTION if name in board.options), "") or (said[0] if said else "")
    return Finding(" ".join(filter(None, [built or "none or voluntary", chosen[0] if chosen else ""])))


def module(board: Board) -> Finding:
    """Find out whether strategies can be chosen here, and whether something else has done so."""
    if (board.root / strategy.PARAMETERS.relative_to("/")).exists():
        return Finding("dbgswitch is loaded: another study runs, or was killed", ADVICE, "sudo rmmod dbgswitch")
    if not fits(board.release):
        return Finding(f"dbgswitch does not fit {board.release}", ADVICE, "study collect --strategies stock")
    if signed := facts.takes_signed_modules_only(board.root):
        return Finding(f"{signed}: dbgswitch must be signed", ADVICE, f"{strategy.SIGN}; or: study collect --strategies stock")
    return Finding(f"dbgswitch fits {board.release}")


def measuring_cpu(board: Board) -> Finding:
    """Find out which CPU measures, of how many, and of which kind it is. Which one is the user's choice."""
    found = f"{board.cpu} of {board.read(f'{tuning.CPUS}/online') or board.cpu}"
    kinds = facts.cores(board.root)
    if len(kinds) < 2:
        return Finding(found)
    own = [kind for kind, them in kinds.items() if board.cpu in tuning.cpus(them)]
    return Finding(f"{found}, {' '.join(own)}; kinds: {', '.join(f'{kind} {them}' for kind, them in kinds.items())}")


def governor(board: Board) -> Finding:
    """Find out whether the CPU's frequency stays where it is."""
    path = f"{board.here}/cpufreq/scaling_governor"
    now = board.read(path)
    if not now or now in tuning.STEADY:
        return Finding(now or "fixed: there is no cpufreq")
    return Finding(now, ADVICE, f"echo performance | sudo tee /{path}")


def frequency(board: Board) -> Finding:
    """Find out whether the CPU may run as fast as it can."""
    low, high, able = (
        board.number(f"{board.here}/cpufreq/{name}") for name in ("scaling_min_freq", "scaling_max_freq", "cpuinfo_max_freq")
    )
    if not high:
        return Finding("fixed: there is no cpufreq")
    found = f"{low // 1000} to {high // 1000} MHz"
    if high < able:
        todo = f"echo {able} | sudo tee /{board.here}/cpufreq/scaling_max_freq"
        return Finding(f"{found}, of {able // 1000}", ADVICE, todo)
    return Finding(found)


def throttling(board: Board) -> Finding:
    """Find out whether firmware or heat slows the CPU down; a limit of its frequency is looked at by itself."""
    words = [*throttle.by_firmware(board.root), *throttle.by_heat(board.root)]
    if words:
        power = any(throttle.BITS[0] in word for word in words)
        return Finding(
            ", ".join(words), ADVICE, "use a stronger power supply and a shorter cable" if power else "let the board cool down"
        )
    return Finding("none")


def idle_states(board: Board) -> Finding:
    """Find out whether the CPU sleeps deeper than WFI, from which it wakes late and cold."""
    deep = [Path(path).parent for path, _ in tuning.idle_states(board.root, board.cpu)]
    names = [board.read(f"{state}/name") or state.name for state in deep]
    if deep:
        todo = f"echo 1 | sudo tee /{board.here}/cpuidle/state[1-9]*/disable"
        return Finding(f"deeper than the first: {', '.join(names)}", ADVICE, todo)
    return Finding("none deeper than the first")


def isolation(board: Board) -> Finding:
    """Find out whether the scheduler and its tick leave the CPU alone."""
    if len(board.online) < 2:
        return Finding("the only CPU there is")
    lists = {name: tuning.cpus(board.read(f"{tuning.CPUS}/{file}")) for name, file in ISOLATED.items()}
    missing = [name for name, isolated in lists.items() if board.cpu not in isolated]
    if not missing:
        return Finding(f"{' and '.join(lists)} hold CPU {board.cpu}")
    isolated = lists["isolcpus"]
    if isolated and board.cpu not in isolated:
        return Finding(
            f"CPU {max(isolated)} is isolated, CPU {board.cpu} measures", ADVICE, f"taskset -c {max(isolated)} study collect"
        )
    words = " ".join(f"{name}={board.cpu}" for name in missing)
    return Finding(f"CPU {board.cpu} is not in {' or '.join(missing)}", ADVICE, f"boot with {words}")


# Words of the kernel's command line, and the files that say which CPUs they hold.
ISOLATED = {"isolcpus": "isolated", "nohz_full": "nohz_full"}


def interrupts(board: Board) -> Finding:
    """Find out how many interrupts are delivered to the CPU, though they could go elsewhere."""
    targets = [tuning.delivered(board.root / Path(path).parent) for path, _ in tuning.interrupts(board.root, board.cpu)]
    ours = [target for target in targets if target is None or board.cpu in target]
    if ours:
        return Finding(f"{len(ours)} may come to CPU {board.cpu}", ADVICE, TUNE)
    return Finding(f"none that could go elsewhere come to CPU {board.cpu}")


def clock_source(board: Board) -> Finding:
    """Find out whether time is read from the architected counter."""
    folder = "sys/devices/system/clocksource/clocksource0"
    now = board.read(f"{folder}/current_clocksource")
    if now == CLOCK:
        return Finding(now)
    return Finding(now or "unknown", ADVICE, f"echo {CLOCK} | sudo tee /{folder}/current_clocksource")


def steal(board: Board) -> Finding:
    """Find out whether a hypervisor takes the CPU away: then the board is a virtual machine itself. proc(5), /proc/stat."""
    found = re.search(rf"^cpu{board.cpu} (.*)$", board.read("proc/stat"), re.MULTILINE)
    ticks = [int(word) for word in found[1].split()] if found else []
    if any(ticks[7:8]):
        share = ticks[7] / sum(ticks[:8])
        return Finding(f"{share:.1%} of CPU {board.cpu}: this is a virtual machine", ADVICE, "measure on the bare machine")
    return Finding("none")


def load(board: Board) -> Finding:
    """Find out whether something else works. One that works may be the study itself. proc(5), /proc/loadavg."""
    looks = [board.read("proc/loadavg").split()]
    for _ in range(2):  # what runs at one moment alone is no load
        time.sleep(0.02)
        looks.append(board.read("proc/loadavg").split())
    if len(looks[0]) < 4:
        return Finding("unknown")
    lately, running = looks[0][0], min(int(words[3].partition("/")[0]) for words in looks)
    found = f"{lately} in the last minute, {running} running now"
    if max(float(lately), running) >= 2:
        return Finding(found, ADVICE, "end what works: ps -eo pcpu,pid,args --sort=-pcpu | head")
    return Finding(found)


def swap(board: Board) -> Finding:
    """Find out whether memory is short."""
    known = dict(re.findall(r"^(\w+): +(\d+) kB$", board.read("proc/meminfo"), re.MULTILINE))
    used = int(known.get("SwapTotal", 0)) - int(known.get("SwapFree", 0))
    if used > 0:
        return Finding(f"{used // 1024} MiB in use", ADVICE, "sudo swapoff -a, if memory suffices")
    return Finding("none in use")


def memory_monitor(board: Board) -> Finding:
    """Find out whether damon_stat looks at all memory, many times a second."""
    if list(tuning.memory_monitor(board.root, board.cpu)):
        return Finding("damon_stat looks at all memory", ADVICE, f"echo N | sudo tee /{tuning.DAMON}")
    return Finding("none")


CHECKS: dict[str, Callable[[Board], Finding]] = {
    "KVM": kvm,
    "KVM mode": kvm_mode,
    "debug registers": debug_registers,
    "interrupts of guests": interrupt_controller,
    "perf": perf,
    "perf_event_paranoid": paranoid,
    "kernel options": options,
    "preemption": preemption,
    "module": module,
    "measuring CPU": measuring_cpu,
    "governor": governor,
    "frequency": frequency,
    "throttling": throttling,
    "idle states": idle_states,
    "isolation": isolation,
    "interrupts": interrupts,
    "clock source": clock_source,
    "steal time": steal,
    "load": load,
    "swap": swap,
    "memory monitor": memory_monitor,
}
