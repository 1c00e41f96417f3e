"""The loop of a visit, made to go on until it is stopped, so that it can be watched from outside.

It is a visit's own loop: the same guest in the same state, made by a fresh process on the CPU that measures, under the strategy in
force. Before it goes on for ever it is timed: in batches as long as a visit's values, and in batches of two lengths, whose difference
is round trips alone, without what each batch has of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from study.factors import EXITS

from . import BoardError, facts, fresh, guest, host, strategy

NAME = "onboard.loop"  # of the process, as ps(1) shows it
LIMIT = 120.0  # seconds until it must have been timed
# Round trips by which the longer batch is longer: few where each leaves for user space, of which some are much longer than others.
LONGER = {False: 100, True: 8}
TIMES = 80  # of each of the two
SHIFTS = 13
MOMENT = 0.005  # seconds
FOR_EVER = 1 << 30
HELD = list[host.Debugging]()  # in the process of the loop: what its host holds
RUNNING = contextlib.ExitStack()  # what is going on now


def begin(
    *, chosen: str, state: str, hosts: str, leave: str, gic: bool, pmu: bool, loops: int, values: int, period: int
) -> dict[str, object]:  # fmt: skip
    """Start the loop of a cell and return what its process says of itself once it goes on for ever."""
    end()
    strategy.choose(chosen)
    facts.debug_registers()  # found out once, not in each process

    def work() -> None:
        os.sched_setaffinity(0, {facts.measuring_cpu()})
        go_on(made(state, hosts, leave, gic=gic, pmu=pmu), EXITS[leave].to_user_space, loops, values, period)

    running = RUNNING.enter_context(fresh.started(NAME, work))
    try:
        said = running.line(LIMIT)
    except fresh.TookTooLong:
        end()
        raise BoardError(f"the loop was not timed within {LIMIT:.0f} s; ask for fewer loops") from None
    if not said.startswith("{"):
        end()
        raise BoardError(f"the process of the loop failed: {(said.strip().splitlines() or ['it ended'])[-1]}")
    return {**json.loads(said), "strategy": strategy.in_force()}


def end() -> dict[str, object]:
    """Stop it, if it goes on, and return the strategy that is in force after it."""
    RUNNING.close()
    return {"strategy": strategy.in_force()}


def made(state: str, hosts: str, leave: str, *, gic: bool, pmu: bool) -> guest.Guest:
    """Return a guest in a state, and let the host be in one, too, as long as this process lives."""
    breakpoints, watchpoints = facts.debug_registers()
    HELD.append(host.Debugging(hosts, breakpoints=breakpoints, watchpoints=watchpoints))
    return guest.Guest(state, leave, breakpoints=breakpoints, watchpoints=watchpoints, gic=gic, pmu=pmu)


def go_on(measured: guest.Guest, to_user_space: bool, loops: int, values: int, period: int) -> None:
    """Time the loop, say what it took and where this process has its code, and go on."""
    measured.run(loops)
    clock = [measured.run(loops) / loops for _ in range(values)]
    more = LONGER[to_user_space] // period * period or period
    short, long = list[float](), list[float]()
    for turn in range(TIMES):
        short.append(measured.run(period))
        long.append(measured.run(period + more))
        measured.run(period * (1 + turn % SHIFTS))  # or all would meet what comes at such intervals at the same place
    said = {"values": clock, "short": short, "long": long, "more": more, "maps": facts.code_of_this_process()}
    print(json.dumps(said), flush=True)
    while _runnable() > 1:  # the agent, which answers; KVM looks whether another task could run (single_task_running)
        time.sleep(MOMENT)
    while True:
        measured.run(FOR_EVER)


def _runnable() -> int:
    """Return how many tasks could run now, this one included; see proc(5), loadavg."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])


def symbols(root: Path) -> dict[str, object]:
    """Return the kernel's symbols of code, as /proc/kallsyms has them, and where in memory its text is.

    Raises
    ------
    BoardError
        If the kernel hides them.
    """
    with contextlib.suppress(OSError):
        (root / "proc/sys/kernel/kptr_restrict").write_text("0")
    with open(root / "proc/kallsyms") as lines:
        text = "".join(line for line in lines if line[17] in "tTwW")
    if not text or not text[:16].strip("0"):
        raise BoardError("the kernel hides its symbols: run the study as root, or set: sysctl kernel.kptr_restrict=0")
    code = next((line.split()[0] for line in (root / "proc/iomem").read_text().splitlines() if line.endswith("Kernel code")), "")
    return {"symbols": text, "code": [int(end, 16) for end in code.split("-")]}
