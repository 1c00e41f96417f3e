"""A cell measured once, or sampled, in a fresh process.

What pyperf says of every process alike (how Python was built, the machine) is a fact of the boot, and not repeated in each visit.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyperf

from study.factors import STRATEGIES

from . import BoardError, bench, counting, facts, fresh, guest, loop, sample, strategy, throttle

LIMIT = 600.0  # seconds
PROGRAM = bench.program()  # it is run in the process of a visit, never here
MOMENTARY = ("date", "duration", "load_avg_1min", "mem_max_rss", "runnable_threads", "uptime")  # what pyperf says of a run alone
# pyperf asks this for every suite, and Python a program, file(1).
platform.architecture = functools.cache(platform.architecture)
# Asks for all of it: what Python keeps, and the modules that it takes, are there for all forked processes.
ALIKE = {name: value for name, value in pyperf.Run([1.0]).get_metadata().items() if name not in MOMENTARY}


def measure(
    *, chosen: str, state: str, host: str, leave: str, gic: bool, pmu: bool,
    loops: int, values: int, warmups: int, events: list[list[str]], label: dict[str, str],
) -> dict[str, object]:  # fmt: skip
    """Measure one cell once: pyperf values, events, module counters, oracle.

    Returns
    -------
    dict
        A visit, but for what the host knows; of pyperf's metadata what apart() leaves.

    Raises
    ------
    BoardError
        If something is not as it must be; nothing of the visit counts then.
    """
    strategy.choose(chosen)
    facts.debug_registers()  # found out once, not in each process
    counting.keep(counting.fitting(events))  # the same
    slowed = slowed_by()
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        suite = Path(folder, "suite.json")
        words = ["--worker", "--quiet", "-o", str(suite)]
        words += ["--loops", str(loops), "--values", str(values), "--warmups", str(warmups)]
        words += ["--affinity", str(facts.measuring_cpu())]
        words += ["--guest", state, "--host", host, "--exit", leave]
        words += ["--no-gic"] * (not gic) + ["--pmu"] * pmu
        words += ["--events", json.dumps(events), "--label", json.dumps(label)]
        try:
            measured = _under(chosen, bench.NAME, lambda found: bench.main(PROGRAM, [*words, "--counts", str(found)]))
        except BoardError:  # it may have left a perf that counts, or none
            counting.let_go()
            raise
        said = json.loads(suite.read_text())
    reports, fired = measured.pop("oracle"), measured.pop("host")
    armed = all(times == 1 for row in fired for times in row)
    checks = {"oracle": reports, "host": fired, "well": oracle_well(chosen, reports) and armed}
    slowed = list(dict.fromkeys([*slowed, *slowed_by()]))
    suite_of_it = {**said, "metadata": apart(said.get("metadata", {}))}
    return {"pyperf": suite_of_it, **measured, "checks": checks, **({"throttled": slowed} if slowed else {})}


def sampled(
    *, chosen: str, state: str, host: str, leave: str, gic: bool, pmu: bool, loops: int, event: str, period: int
) -> dict[str, object]:
    """Sample one cell once: where it was whenever the PMU had counted so many events."""
    strategy.choose(chosen)
    facts.debug_registers()  # found out once, not in each process

    def work(found: Path) -> None:
        os.sched_setaffinity(0, {facts.measuring_cpu()})
        measured = loop.made(state, host, leave, gic=gic, pmu=pmu)
        found.write_text(json.dumps(sample.sample(measured, loops, event, period)))

    return _under(chosen, sample.NAME, work)


def _under(chosen: str, name: str, work: Callable[[Path], object]) -> dict[str, Any]:
    """Do what measures in a fresh process, and see that a strategy was in force all the while."""
    try:
        return fresh.answer(name, work, LIMIT, "a visit", "; ask for fewer loops or values")
    finally:
        if (now := strategy.in_force()) != chosen:
            raise BoardError(
                f"the strategy was changed to {now} while {chosen} was measured: something else uses the module dbgswitch"
            )


def apart(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a run's metadata what is not as in ALIKE; None stands for what is only there."""
    missing = dict.fromkeys(name for name in ALIKE if name not in metadata)
    return {**missing, **{name: value for name, value in metadata.items() if (name, value) not in ALIKE.items()}}


def slowed_by() -> list[str]:
    """Say what slows the CPU that measures down now, of what is of this boot."""
    return throttle.of_this_boot(facts.ROOT, facts.measuring_cpu())


def oracle_well(chosen: str, reports: list[int]) -> bool:
    """Say whether the guest's breakpoint and watchpoint did what they should under a strategy."""
    return reports == (guest.ORACLE_FIRES if STRATEGIES[chosen].correct else guest.ORACLE_SILENT)
