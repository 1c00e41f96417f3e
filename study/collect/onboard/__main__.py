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
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from . import (
    BoardError,
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
    sequence,
    strategy,
    tied,
    tuning,
    visit,
)  # fmt: skip

HELD = contextlib.ExitStack()  # what is put back when the agent ends
LAST = contextlib.ExitStack()  # what is done after that
PF_EXITING = 4  # of the flags of proc(5), stat: sched.h


def board_facts(
    events: list[list[str]], strategies: list[str], guests: bool = False, gic: bool = True, exits: tuple[str, ...] = ()
) -> dict[str, object]:
    """Say what the board is, after trying perf, KVM, strategies of the module, and what exits and real guests need if there are any."""
    rows = counting.fitting(events)
    result: dict[str, Any] = {**facts.collect(), "pyperf": visit.ALIKE, "events": rows, "gic": facts.guests_gic() if gic else 0}
    for leave in exits:
        guest.check(leave, result["gic"])
    registers = result["breakpoints"], result["watchpoints"]
    board = doctor.Board(
        facts.ROOT, result["measuring_cpu"], result["kernel"], result["mode"], registers, result["gic"], tried=doctor.tried(rows)
    )
    result["doctor"] = doctor.examine(board)
    result["throttled"] = {"before": visit.slowed_by()}
    for name in strategies:
        strategy.choose(name)
    if guests:
        life.check()
    return result


def examine(events: list[list[str]]) -> dict[str, object]:
    """Say what is good and what is not, after trying perf and KVM."""
    return {"checks": doctor.examine(doctor.look(facts.ROOT, events))}


def after() -> dict[str, object]:
    """Say what slows the CPU that measures down when all is measured."""
    return {"throttled": {"after": visit.slowed_by()}}


def tune(guests: bool = False) -> dict[str, object]:
    """Tune the machine, for real guests too if there are any, and say what was changed."""
    settings = [*tuning.wanted(facts.ROOT, facts.measuring_cpu()), *life.settings(facts.ROOT) * guests]
    return {"tuned": HELD.enter_context(tuning.held(facts.ROOT, settings))}


def runs() -> dict[str, object]:
    """Say which kernel runs, and which is the board's own."""
    return kexec.runs(facts.ROOT)


def restart(release: str, words: str = "") -> dict[str, object]:
    """Restart the board when the agent ends: into the kernel that was sent along, of that release, or into its own if there is none.

    `words` are added to the command line of the one that was sent along.
    """
    ways, why = kexec.loaded(facts.ROOT, release, words)
    LAST.callback(kexec.go, facts.ROOT, ways, os.environ.get("STUDY_FOLDER", ""))
    return {"why": why}


REQUESTS: dict[str, Callable[..., dict[str, object]]] = {
    "facts": board_facts, "visit": visit.measure, "live": life.live, "bits": life.bits, "sample": visit.sampled, "loop": loop.begin, "rest": loop.end, "price": price.prices, "play": sequence.play, "symbols": partial(loop.symbols, facts.ROOT),
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
    tuning.mend(facts.ROOT)
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
