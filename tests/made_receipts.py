"""Receipts that nobody traced: lines of receipts.jsonl whose functions are given, and campaigns that hold them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.campaign import Campaign
from study.campaign.store import RECEIPTS
from study.campaign.sums import read_sums, write_sums
from study.design import Factors
from tests.conftest import some

BOARD, KERNEL = "qemu-neoverse-n1", "6.1.0-56-arm64"
NUMBERS = [
    *(f"dbgb{kind}r{number}_el1" for kind in "cv" for number in range(6)),
    *(f"dbgw{kind}r{number}_el1" for kind in "cv" for number in range(4)),
]
DEBUG = [*NUMBERS, "mdccint_el1"]
Registers = Mapping[str, tuple[float, float]]
NO_REGISTERS: Registers = MappingProxyType({})


def cell(guest: str = "mde", exit: str = "hvc", strategy: str = "stock", host: str = "none") -> dict[str, str]:
    """A cell as a line names it."""
    return {"strategy": strategy, "guest": guest, "host": host, "exit": exit}


def function(
    name: str, instructions: float, registers: Registers = NO_REGISTERS, module: str = "kernel", **more: float
) -> dict[str, Any]:
    """A function as a line has it."""
    none = dict.fromkeys(("isb", "dsb", "entries", "returns", "loads", "stores", "branches"), 0.0)
    reads, writes = (sum(times[place] for times in registers.values()) for place in (0, 1))
    return {
        "function": name, "module": module, "instructions": instructions, "reads": reads, "writes": writes, **none, **more,
        "lines": 1, "registers": {register: list(times) for register, times in registers.items()},
    }  # fmt: skip


def traced(of: Mapping[str, str], rows: Iterable[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A receipt of functions."""
    known = list(rows)
    total = sum(row["instructions"] for row in known)
    return {
        "receipt": "traced", "number": 1, "cell": dict(of), "instructions": total, "period": 1,
        "clock": {"instructions": total, "error": 0.0, "values": [total + 5, total + 7]},
        "usual": {"trips": 40, "error": 0.0}, "trips": [[max(1, round(total)), 40]], "apart": [], "functions": known,
        "stacks": {f"run;{place};{row['function']}": row["instructions"] for place, row in enumerate(known)}, **more,
    }  # fmt: skip


def sampled(of: Mapping[str, str], number: int, samples: Mapping[str, int]) -> dict[str, Any]:
    """What perf sampled in one visit."""
    rows = [{"function": name, "module": "kernel", "samples": count} for name, count in samples.items()]
    return {
        "receipt": "sampled", "number": number, "cell": dict(of), "event": "cycles", "samples": sum(samples.values()),
        "loops": 1000, "functions": rows,
    }  # fmt: skip


def of_guest(guest: str, save: str = "__debug_save_state", exit: str = "hvc") -> dict[str, Any]:
    """A receipt of two that differ in one function, which reads and writes each of 21 debug registers twice; 40 small ones do not."""
    rows = [function("__kvm_vcpu_run", 700, {"sp_el0": (2, 0)}), function("guest", 6, module="guest")]
    rows += [function(f"small_{number}", 10 + (number == 7)) for number in range(40)]
    rows += [function(save, 170, dict.fromkeys(DEBUG, (2, 2)), isb=1)] if guest == "mde" else []
    return traced(cell(guest, exit), rows)


ASKED = Factors(strategies=("stock", "lazy"), guests=("untouched", "mde", "touch"), exits=("hvc", "mmio"), boots=3)


def make(folder: Path, lines: Iterable[Mapping[str, Any]], board: str = BOARD, asked: Factors = ASKED, **facts: Any) -> Campaign:
    """A campaign of one boot that holds receipts, and no visit."""
    campaign = Campaign.freeze(folder, asked)
    boot = campaign.open_boot(board, 1)
    boot.begin()
    boot.describe({"board": board, "kernel": KERNEL, "release": KERNEL, "mode": "vhe", "emulated": True, **facts})
    for line in lines:
        boot.record(dict(line), file=RECEIPTS)
    campaign.close(board)
    return Campaign(folder)


def without(campaign: Campaign, place: Path) -> Campaign:
    """A copy of a campaign, without the boots in which receipts were made."""
    made = some({path.parent for path in campaign.folder.glob(f"boots/*/{RECEIPTS}")})
    shutil.copytree(campaign.folder, place, ignore=lambda folder, names: [name for name in names if Path(folder, name) in made])
    write_sums(place, {name: value for name, value in read_sums(place).items() if (place / name).exists()})
    return Campaign(place)


def add(campaign: Campaign, boot: Path, lines: Iterable[Mapping[str, Any]]) -> Campaign:
    """The campaign with receipts of a boot, in another of the same kernel."""
    facts = campaign.facts(boot)
    opened = campaign.open_boot(facts["board"], int(boot.name.split(".")[1]))
    opened.begin()
    opened.describe(facts)
    for line in lines:
        opened.record(dict(line), file=RECEIPTS)
    campaign.close(facts["board"])
    return Campaign(campaign.folder)
