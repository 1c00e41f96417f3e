"""Lines of visits that nobody measured, of the shape that boards write."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from study.design import EVENTS, Factors, Visit


def of_kvm(visit: Visit, factors: Factors, seconds: float = 1.5e-6) -> dict[str, Any]:
    """A visit of a Linux board whose clock has a gigahertz."""
    cell = {name: value for name, value in asdict(visit.cell).items() if name != "arm"}
    each = {"kvm:kvm_entry": 1.0, "kvm:kvm_exit": 1.0, "kvm:trap_reg": 0.0}
    counts = [
        {"event": event, "value": each.get(event, seconds * 1e9), "running": 1.0, "why": ""} for row in EVENTS for event in row
    ]
    values = [seconds * (1 + 0.001 * place) for place in range(factors.values)]
    suite = {
        "version": "1.0",
        "metadata": {"name": "round trip", "loops": factors.loops},
        "benchmarks": [{"runs": [{"values": values}]}],
    }
    return {
        "visit": visit.name, "block": visit.block, "arm": visit.cell.arm, "cell": cell, "loops": factors.loops, "ended": "well",
        "counts": counts, "checks": {"well": True}, "pyperf": suite,
    }  # fmt: skip
