"""The agent: what the host talks to. One line of JSON in, one line of JSON out, until the input ends.

Requests name what to do and answer with ``{"id": ..., "result": ...}`` or ``{"id": ..., "error": "one line"}``:

============  ================================================================================================
``facts``     what the board is; and tries what a visit needs, so that nothing is missing later
``visit``     measure one cell once, in a fresh process
``live``      let a real guest live once, and say what was counted in each of its phases
``bits``      whether guests of 32 bits can live here
``sample``    make the round trips of a cell in a fresh process, and say where samples found them
``loop``      make the loop of a cell go on until ``rest``, and say what the clock says of it
``rest``      stop it
``price``     run the loops that are priced, and say what was counted
``play``      play sequences of accesses to debug registers, and say what came of each
``symbols``   the kernel's symbols, and where in memory its text is
``doctor``    what keeps this board from being measured, or spoils figures; nothing is refused
``after``     what became of the board while it was measured
``tune``      tune the machine for the CPU that measures, until the agent ends
``runs``      which kernel runs, and which is the board's own
``restart``   when the agent ends, restart the board: by kexec into another kernel, or into its own
============  ================================================================================================
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyperf

from study.factors import STRATEGIES

from . import (
    BoardError,
    bench,
    census,
    counting,
    doctor,
    facts,
    fresh,
    guest,
    kexec,
    life,
    loop,
    price,
    sample,
    sequence,
    strategy,
    throttle,
    tied,
    tuning,
)  # fmt: skip

VISIT_LIMIT = 600.0  # seconds
ROOT = Path(os.environ.get("STUDY_ROOT", "/"))  # where the machine's files are
PROGRAM = bench.program()  # it is run in the process of a visit, never here
HELD = contextlib.ExitStack()  # what is put back when the agent ends
LAST = contextlib.ExitStack()  # what is done after that
PF_EXITING = 4  # of the flags of proc(5), stat: sched.h
# pyperf asks this for every suite, and Python a program, file(1).
platform.architecture = functools.cache(platform.architecture)
pyperf.Run([1.0])  # asks all of it: what Python keeps, and the modules that it takes, are there for all forked processes


def board_facts(
    events: list[list[str]], strategies: list[str], guests: bool = False, gic: bool = True, exits: tuple[str, ...] = ()
) -> dict[str, object]:
    """Say what the board is, after trying perf, KVM, strategies of the module, and what exits and real guests need if there are any."""
    rows = counting.fitting(events)
    result: dict[str, Any] = {**facts.collect(), "events": rows, "gic": facts.guests_gic() if gic else 0}
    for leave in exits:
        guest.check(leave, result["gic"])
    registers = result["breakpoints"], result["watchpoints"]
    board = doctor.Board(
        ROOT, result["measuring_cpu"], result["kernel"], result["mode"], registers, result["gic"], tried=doctor.tried(rows)
    )
    result["doctor"] = doctor.examine(board)
    result["throttled"] = {"before": slowed_by()}
    for name in strategies:
        strategy.choose(name)
    if guests:
        life.check()
    return result


def examine(events: list[list[str]]) -> dict[str, object]:
    """Say what is good and what is not, after trying perf and KVM."""
    return {"checks": doctor.examine(doctor.look(ROOT, events))}


def slowed_by() -> list[str]:
    """Say what slows the CPU that measures down now, of what is of this boot."""
    return throttle.of_this_boot(ROOT, facts.measuring_cpu())


def after() -> dict[str, object]:
    """Say what slows the CPU that measures down when all is measured."""
    return {"throttled": {"after": slowed_by()}}


def tune(guests: bool = False) -> dict[str, object]:
    """Tune the machine, for real guests too if there are any, and say what was changed."""
    settings = [*tuning.wanted(ROOT, facts.measuring_cpu()), *life.settings(ROOT) * guests]
    return {"tuned": HELD.enter_context(tuning.held(ROOT, settings))}


def runs() -> dict[str, object]:
    """Say which kernel runs, and which is the board's own."""
    return kexec.runs(ROOT)


def restart(release: str, words: str = "") -> dict[str, object]:
    """Restart the board when the agent ends: into the kernel that was sent along, of that release, or into its own if there is none.

    `words` are added to the command line of the one that was sent along.
    """
    ways, why = kexec.loaded(ROOT, release, words)
    LAST.callback(kexec.go, ROOT, ways, os.environ.get("STUDY_FOLDER", ""))
    return {"why": why}


def visit(
    *, chosen: str, state: str, host: str, leave: str, gic: bool, pmu: bool,
    loops: int, values: int, warmups: int, events: list[list[str]], label: dict[str, str],
) -> dict[str, object]:  # fmt: skip
    """Measure one cell once: pyperf values, events, module counters, oracle."""
    strategy.choose(chosen)
    facts.debug_registers()  # found out once, not in each process
    counting.keep(counting.fitting(events))  # the same
    slowed = slowed_by()
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        suite, counts = Path(folder, "suite.json"), Path(folder, "counts.json")
        words = ["--worker", "--quiet", "-o", str(suite), "--counts", str(counts)]
        words += ["--loops", str(loops), "--values", str(values), "--warmups", str(warmups)]
        words += ["--affinity", str(facts.measuring_cpu())]
        words += ["--guest", state, "--host", host, "--exit", leave]
        words += ["--no-gic"] * (not gic) + ["--pmu"] * pmu
        words += ["--events", json.dumps(events), "--label", json.dumps(label)]
        try:
            _freshly(bench.NAME, lambda: bench.main(PROGRAM, words), chosen)
        except BoardError:  # it may have left a perf that counts, or none
            counting.let_go()
            raise
        measured = json.loads(counts.read_text())
        reports, fired = measured.pop("oracle"), measured.pop("host")
        armed = all(times == 1 for row in fired for times in row)
        checks = {"oracle": reports, "host": fired, "well": oracle_well(chosen, reports) and armed}
        slowed = list(dict.fromkeys([*slowed, *slowed_by()]))
        said = {"throttled": slowed} if slowed else {}
        return {"pyperf": json.loads(suite.read_text()), **measured, "checks": checks, **said}


def sample_cell(
    *, chosen: str, state: str, host: str, leave: str, gic: bool, pmu: bool, loops: int, event: str, period: int
) -> dict[str, object]:
    """Sample one cell once: where it was whenever the PMU had counted so many events."""
    strategy.choose(chosen)
    facts.debug_registers()  # found out once, not in each process
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        found = Path(folder, "samples.json")

        def work() -> None:
            os.sched_setaffinity(0, {facts.measuring_cpu()})
            measured = loop.made(state, host, leave, gic=gic, pmu=pmu)
            found.write_text(json.dumps(sample.sample(measured, loops, event, period)))

        _freshly(sample.NAME, work, chosen)
        answer: dict[str, object] = json.loads(found.read_text())
        return answer


def _freshly(name: str, work: Callable[[], object], chosen: str) -> None:
    """Do what measures in a fresh process, while a strategy is in force."""
    try:
        status, said = fresh.run(name, work, VISIT_LIMIT)
    except fresh.TookTooLong:
        raise BoardError(f"a visit took longer than {VISIT_LIMIT:.0f} s; ask for fewer loops or values") from None
    if (now := strategy.in_force()) != chosen:
        raise BoardError(
            f"the strategy was changed to {now} while {chosen} was measured: something else uses the module dbgswitch"
        )
    if status != 0:
        last = said.strip().splitlines()[-1:] or [f"exit status {status}"]
        raise BoardError(f"the measuring process failed: {last[0]}")


def oracle_well(chosen: str, reports: list[int]) -> bool:
    """Say whether the guest's breakpoint and watchpoint did what they should under a strategy."""
    return reports == (guest.ORACLE_FIRES if STRATEGIES[chosen].correct else guest.ORACLE_SILENT)


REQUESTS: dict[str, Callable[..., dict[str, object]]] = {
    "facts": board_facts, "visit": visit, "live": life.live, "bits": life.bits, "sample": sample_cell, "loop": loop.begin, "rest": loop.end, "price": price.prices, "play": sequence.play, "symbols": partial(loop.symbols, ROOT),
    "doctor": examine, "after": after, "tune": tune, "runs": runs, "restart": restart,
}  # fmt: skip


def answer(line: str) -> dict[str, Any]:
    """Do what one line asks for."""
    request = json.loads(line)
    if request["do"] != "visit":  # nothing else is to inherit its counters, or to meet the one before
        counting.let_go()
        fresh.settle()
    try:
        return {"id": request["id"], "result": REQUESTS[request["do"]](**request["with"])}
    except BoardError as error:
        return {"id": request["id"], "error": " ".join(str(error).split())}


def main() -> None:
    """Answer until the host hangs up or ends us, then leave the kernel as it was."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parent = int(os.environ.get("STUDY_PARENT", "0"))  # who sent us, and cleans up if it can
    if parent:
        tied.end_with_parent(signal.SIGTERM)
    tuning.mend(ROOT)
    census.mend()
    with LAST, HELD:
        HELD.callback(_remove_orphaned, os.environ.get("STUDY_FOLDER", ""), parent)
        HELD.callback(strategy.unload)
        HELD.callback(price.unload)
        HELD.callback(loop.end)
        HELD.callback(counting.let_go)
        HELD.callback(fresh.settle)
        try:
            for line in sys.stdin:
                if line.strip() == "" or (parent and os.getppid() != parent):
                    break
                print(json.dumps(answer(line)), flush=True)
        finally:
            signal.signal(signal.SIGTERM, lambda *_: None)  # what is put back now must not be interrupted


def _remove_orphaned(folder: str, parent: int) -> None:
    """Remove the folder that we were sent in, if who would do it is gone."""
    if folder and _is_gone(parent):
        shutil.rmtree(folder, ignore_errors=True)


def _is_gone(parent: int) -> bool:
    """Say whether our parent has ended, or is about to: a process that is killed closes its pipes before it lets go of its children."""
    try:
        with open(f"/proc/{parent}/stat") as file:
            flags = int(file.read().rpartition(")")[2].split()[6])
    except OSError:
        return True
    return os.getppid() != parent or bool(flags & PF_EXITING)


if __name__ == "__main__":
    main()
