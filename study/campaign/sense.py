"""Whether the numbers of a visit can be true: of the right count, unit and size, by the design and by each other. Pure.

A visit that makes no sense is not recorded; one that was recorded all the same is never analysed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from study.campaign.names import legible
from study.campaign.schema import LARGEST
from study.design import EVENTS, Factors
from study.factors import IMPORTED, KVM

# Seconds: nothing that is one round trip takes less, or more.
SHORTEST, LONGEST = 1e-9, 1.0
# Hertz: what cycles, or instructions on an emulated board, over seconds can be. A value in milliseconds is out of it.
SLOWEST, FASTEST = 2e7, 2e10
# Of anything in a round trip: what the fastest clock makes in the longest, and many at once.
MOST = 1e12
# Events of which each round trip has one or more, up to the share that a window's ends may cut off.
EACH_TIME, NEARLY = ("kvm:kvm_entry", "kvm:kvm_exit"), 0.99
# Exits that interrupts may have added to the shorter of two windows, whose count is subtracted.
INTERRUPTED = 5
# What a round trip can only add to, but for user space, which may do less in the longer of two windows.
GROWING = {event for row in EVENTS for event in row} - {"instructions:u"}
# Below this share of the time, a counter is an estimate: others, such as a watchdog, took turns with it.
WHOLE = 0.999


def nonsense(line: Mapping[str, Any], factors: Factors) -> str:
    """Return why the numbers of a visit cannot be true; empty if they can.

    Parameters
    ----------
    line : mapping
        A visit's line, of the shape that schema.py demands.
    factors : Factors
        Those of the design that asked for it; of imported results no more is known than that they must be numbers that can be.
    """
    return too_small(line) or ("" if factors.kind == IMPORTED else next(_doubts(line, factors), ""))


def too_small(line: Mapping[str, Any]) -> str:
    """Return which count is less than one in any number of round trips; empty if none is."""
    found = [count for count in line["counts"] if count["value"] and abs(count["value"]) < 1 / LARGEST]
    return f"{found[0]['event']} is {found[0]['value']:g}: less than one in any number of round trips" if found else ""


# What an entry has once or not at all, of counts of the module, its census and tracepoints.
PARTS_OF_ENTRIES = ("switches", "traps_armed", "monitored", "enabled", "both")


def doubt_of_life(line: Mapping[str, Any], factors: Factors) -> str:
    """Return why what was counted of a real guest cannot be true; empty if it can.

    Parameters
    ----------
    line : mapping
        A line of census.jsonl, of the shape that schema.py demands.
    factors : Factors
        Those of the design that asked for it.
    """
    asked, had = ["boot", *factors.workloads], [phase["phase"] for phase in line["phases"]]
    if had not in (asked, ["whole"]):
        return f"its phases are {legible(', '.join(had))}, and the design asks for {legible(', '.join(asked))}"
    return next((why for phase in line["phases"] if (why := _doubt_of_phase(phase, line["lacking"]))), "")


def _doubt_of_phase(phase: Mapping[str, Any], lacking: list[str]) -> str:
    """Return why a phase cannot be as it was counted: each count of entries must be the same one."""
    if "cannot" in phase:
        return ""
    exits = phase["kvm"]["exits"]
    counted = {
        "the module": phase["module"].get("entries", exits),
        "tracepoints at entries": phase.get("tracepoints", {}).get("entries", exits),
        "tracepoints at entries that tell MDSCR_EL1": phase.get("tracepoints", {}).get("told", exits),
        "tracepoints at exits": sum(phase.get("tracepoints", {}).get("exits", {"": exits}).values()),
    }
    if wrong := [f"{who} {number}" for who, number in counted.items() if number != exits]:
        return f"in its {phase['phase']} KVM counted {exits} exits, and {wrong[0]}"
    seen = phase.get("census", {}).get("monitored", 0), phase.get("tracepoints", {}).get("monitored", 0)
    if phase.get("census") and seen[0] != seen[1] and "monitored" not in lacking:
        return f"in its {phase['phase']} the module saw monitor debug mode on in {seen[0]} entries, and tracepoints in {seen[1]}"
    parts = {**phase["module"], **phase.get("census", {}), "monitored": seen[1]}
    if more := [name for name in PARTS_OF_ENTRIES if parts.get(name, 0) > exits]:
        return f"in its {phase['phase']} {more[0]} is {parts[more[0]]}, and KVM counted {exits} exits"
    return "" if exits and phase["instructions"]["kernel"] > 0 else f"in its {phase['phase']} nothing was counted"


def _doubts(line: Mapping[str, Any], factors: Factors) -> Iterator[str]:
    if line["loops"] != factors.loops:
        yield f"it has {line['loops']} round trips in a value, and the design {factors.loops}"
    (benchmark,) = line["pyperf"]["benchmarks"] if "pyperf" in line else [{"runs": []}]
    metadata = {**line.get("pyperf", {}).get("metadata", {}), **benchmark.get("metadata", {})}
    values = list(itertools.chain.from_iterable(run.get("values", ()) for run in benchmark["runs"]))
    if len(values) != factors.values:
        yield f"pyperf has {len(values)} values, and the design {factors.values}"
    for said in (metadata, *(run.get("metadata", {}) for run in benchmark["runs"])):
        if said.get("loops", factors.loops) != factors.loops:
            yield f"pyperf made {said['loops']} round trips in a value, and the design has {factors.loops}"
        if said.get("unit", "second") != "second":
            yield f"pyperf's values are in {said['unit']}s, not in seconds"
    for value in {min(values), max(values)} if values else ():
        if not SHORTEST <= value <= LONGEST:
            yield f"pyperf has a round trip of {value:g} s"
    yield from _doubts_of_counts(line, sum(values) / max(1, len(values)), factors)
    yield from _doubts_of_the_module(line)


def _doubts_of_counts(line: Mapping[str, Any], seconds: float, factors: Factors) -> Iterator[str]:
    for count in line["counts"]:
        event, value = count["event"], count["value"]
        if (value is None) != bool(count["why"]):
            yield f"{event} has {'no value and no reason' if value is None else 'a value, and a reason for none'}"
        if value is not None and abs(value) > MOST:
            yield f"{event} is {value:g} in a round trip"
        if value is None or (event not in GROWING and not event.startswith("rig:")):
            continue
        if count["running"] < WHOLE:
            yield (
                f"perf counted {event} in {count['running']:.0%} of the time only, and guessed the rest: another perf or a "
                "watchdog has the counters; end it (for the watchdog: sysctl kernel.nmi_watchdog=0)"
            )
        if value < 0:
            yield f"{event} is {value:g} in a round trip"
        if event in EACH_TIME and value < NEARLY - INTERRUPTED / line["loops"]:
            yield f"{event} is {value:g} in a round trip: fewer were made than the design has"
        if event == "cycles:kh" and seconds and not SLOWEST <= value / seconds <= FASTEST:
            yield f"{value:g} cycles in {seconds:g} s would be a clock of {value / seconds:.3g} Hz: one of them is in another unit"
    lacking = {event for row in EVENTS for event in row} - {count["event"] for count in line["counts"]}
    if factors.kind == KVM and lacking:
        yield f"perf says nothing of {min(lacking)}"


def _doubts_of_the_module(line: Mapping[str, Any]) -> Iterator[str]:
    module = line.get("module", {})
    if module and module["loops"] != line["loops"]:
        yield f"the module counted over {module['loops']} round trips, and the design has {line['loops']}"
    for name, value in module.items():
        if value > MOST * line["loops"]:
            yield f"the module counted {value:g} {name}"
    if line["cell"]["strategy"] == "stock" or "entries" not in module:
        return
    if module["entries"] < NEARLY * module["loops"]:
        yield f"the module counted {module['entries']} entries in {module['loops']} round trips"
    for name in ("switches", "traps_armed"):
        if module.get(name, 0) > module["entries"]:
            yield f"the module counted more {name} than entries"


# --- receipts ------------------------------------------------------------------------------------------------------------

# Of a round trip so much may lie in functions that nobody knows.
UNKNOWN, MOST_UNKNOWN = "unknown", 0.001
# Instructions by which a receipt may miss the clock; and by how many standard errors of the trips that it is the mean of.
MISSES, ERRORS = 1.0, 4.0
ROUNDING = 0.01
FEWEST_TRIPS = 20


def doubt_of_receipt(line: Mapping[str, Any]) -> str:
    """Return why a receipt cannot be true; empty if it can."""
    return next(_doubts_of_a_sample(line) if line["receipt"] == "sampled" else _doubts_of_a_trace(line), "")


def _doubts_of_a_trace(line: Mapping[str, Any]) -> Iterator[str]:
    whole, rows = line["instructions"], line["functions"]
    total = sum(row["instructions"] for row in rows)
    folded = sum(line["stacks"].values())
    if max(abs(total - whole), abs(folded - whole)) > ROUNDING:
        yield f"its functions are {total:g} instructions, its stacks {folded:g}, and a round trip is {whole:g}"
    unknown = sum(row["instructions"] for row in rows if row["module"] == UNKNOWN)
    if unknown > MOST_UNKNOWN * whole:
        yield f"{unknown:g} of {whole:g} instructions are in functions that nobody knows"
    if line["usual"]["trips"] < FEWEST_TRIPS or sum(count for _, count in line["trips"]) < line["usual"]["trips"]:
        yield f"it is of {line['usual']['trips']} round trips, and {FEWEST_TRIPS} are needed"
    allowed = MISSES + ERRORS * (line["usual"]["error"] + line["clock"]["error"])
    if abs(whole - line["clock"]["instructions"]) > allowed:
        yield f"its functions are {whole:g} instructions, and the clock of the same loop says {line['clock']['instructions']:g}"
    for row in rows:
        if (
            max(row[name] for name in ("reads", "writes", "isb", "dsb", "returns", "loads", "stores"))
            > row["instructions"] + ROUNDING
        ):
            yield f"{row['function']} has more of a kind than it has instructions"
        for place, name in enumerate(("reads", "writes")):
            if abs(sum(times[place] for times in row["registers"].values()) - row[name]) > ROUNDING:
                yield f"{row['function']} has {row[name]:g} {name}, and other registers"


def _doubts_of_a_sample(line: Mapping[str, Any]) -> Iterator[str]:
    total = sum(row["samples"] for row in line["functions"])
    if total != line["samples"] or not total:
        yield f"its functions are {total} samples, and it has {line['samples']}"
