"""Lives of real guests that nobody lived: campaigns whose truth is given, a switch of so many instructions and so on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from study.analyze import cost
from study.analyze.cost import Costs
from study.campaign import Campaign
from study.campaign.store import CENSUS as FILE
from study.campaign.store import OpenBoot, Record
from study.design import CENSUS, Design, Factors, Kernel, Visit, choose, draw
from study.factors import GUESTS, kind_of
from study.guests import BOOT
from tests import lines

BOARD, KERNEL = "qemu-cortex-a57", "6.1.0-56-arm64"
# What a trap, a switch and a scan cost, and the base of the kit's own guest.
TRUE = Costs(base=1200.0, trap=1700.0, switch=355.0, scan=52.0)
VMM, GUEST = 150_000, 1_500_000  # instructions of QEMU and of the guest in each phase
WRITES_MDSCR = 0x18 << 26 | 1 << 25 | 2 << 20 | 2 << 17 | 3 << 5 | 2 << 1  # ESR_EL2 of MSR MDSCR_EL1, X3
NO_BREAKPOINTS = "Unexpected error setting watchpoint: No such device."


@dataclass(frozen=True)
class Doing:
    """What a guest does in a phase.

    Exits of its own, for each of which the host's kernel executes so many instructions if it were not for debug registers; shares of
    entries; and accesses for each exit, of which those that trap are exits, too.
    """

    exits: int
    base: float
    monitored: float = 0.0
    enabled: float = 0.0
    touches: float = 0.0

    @property
    def mix(self) -> cost.Mix:
        """The same as the cost model has it."""
        return cost.Mix(self.touches, self.monitored, self.enabled)


# A 32-bit guest keeps monitor debug mode on once it is up; a 64-bit one has it on while it debugs, and only that one can.
DOES: dict[str, dict[str, Doing | str]] = {
    "linux-armmp": {
        BOOT: Doing(80_000, 3000, monitored=0.02), "idle": Doing(200, 6000, monitored=1.0), "timer": Doing(2400, 5400, monitored=1.0),
        "debugger": NO_BREAKPOINTS,
    },
    "linux-arm64": {
        BOOT: Doing(1500, 90_000), "idle": Doing(80, 11_000), "timer": Doing(1200, 7900),
        "debugger": Doing(1400, 5000, monitored=0.3, enabled=0.05, touches=0.6),
    },
}  # fmt: skip


def phase(name: str, doing: Doing | str, strategy: str, counted: bool, noise: random.Random) -> dict[str, Any]:
    """A phase as a line has it; the noise moves its exits by 2 at most, and what each of them takes by half an instruction."""
    if isinstance(doing, str):
        return {"phase": name, "cannot": doing}
    exits = doing.exits + noise.randint(-2, 2)
    does = cost.RULES["lazy" if strategy == "stock" else strategy]
    times = {part: round(exits * float(getattr(does, part)(doing.mix))) for part in ("traps", "switches", "scans")}
    each = TRUE.trap * times["traps"] + TRUE.switch * times["switches"] + TRUE.scan * times["scans"]
    kernel = exits * (doing.base + noise.uniform(-0.5, 0.5)) + each + 5000 * counted
    entries = exits + times["traps"]
    found = {
        "phase": name, "seconds": 1.5, "cycles": 1000, "instructions": {"kernel": round(kernel), "vmm": VMM, "guest": GUEST},
        "kvm": {"exits": entries, "wfi_exit_stat": exits // 3},
        "module": {} if strategy == "stock" else {
            "entries": entries, "switches": times["switches"], "traps_armed": entries, "traps_taken": times["traps"],
        },
    }  # fmt: skip
    if counted:
        monitored, enabled = round(entries * doing.monitored), round(entries * doing.enabled)
        found["tracepoints"] = {
            "entries": entries, "exits": {"2,24": times["traps"], "2,1": exits // 3, "0,0": 5, "2,36": exits - exits // 3 - 5},
            "monitored": monitored, "accesses": times["traps"], "enabling": 0,
            "registers": {str(WRITES_MDSCR): times["traps"]},
        }  # fmt: skip
        found["census"] = {} if strategy == "stock" else {"monitored": monitored, "enabled": enabled, "both": enabled}
    return found


def life(visit: Visit, does: Mapping[str, Doing | str], noise: random.Random, **more: Any) -> dict[str, Any]:
    """A life as a line has it."""
    cell = {name: value for name, value in asdict(visit.cell).items() if name != "arm"}
    phases = [phase(name, doing, visit.cell.strategy, visit.cell.arm == CENSUS, noise) for name, doing in does.items()]
    return {
        "visit": visit.name, "block": visit.block, "arm": visit.cell.arm, "cell": cell, "vmm": "QEMU emulator version 7.2",
        "lacking": [], "phases": phases, **more,
    }  # fmt: skip


@dataclass
class Held:
    """What campaigns have of lives, held in memory: a thousand of them are made in a moment."""

    designs: dict[str, Design]
    records: list[Record]

    def lives(self) -> list[Record]:
        """As Campaign.lives() yields them."""
        return self.records


def held(seed: int, spread: float, does: Mapping[str, Mapping[str, Doing | str]] = DOES, **asked: Any) -> Held:
    """Lives whose base is another on each boot and in each life, by a share whose standard deviation is `spread`."""
    design, noise = draw(_asked(does, **asked)), random.Random(seed)
    boots = {visit.boot: 1 + spread * noise.gauss(0, 1) for visit in design.visits()}
    records = []
    for visit in design.visits():
        shift = boots[visit.boot] * (1 + spread * noise.gauss(0, 1))
        moved = {
            name: doing if isinstance(doing, str) else replace(doing, base=doing.base * shift)
            for name, doing in does[visit.cell.guest].items()
        }
        facts = {"board": BOARD, "kernel": KERNEL, "release": KERNEL, "mode": "nvhe", "emulated": True}
        records.append(Record(f"{BOARD}.{visit.boot}", facts, life(visit, moved, noise)))
    return Held({GUESTS: design}, records)


def _asked(does: Mapping[str, Mapping[str, Any]], **asked: Any) -> Factors:
    workloads = [name for name in next(iter(does.values())) if name != BOOT]
    return choose("default", GUESTS, guests=",".join(does), workloads=",".join(workloads), **asked)


def make(
    folder: Path,
    does: Mapping[str, Mapping[str, Doing | str]] = DOES,
    board: str = BOARD,
    trips: bool = True,
    seed: int = 1,
    **asked: Any,
) -> Campaign:
    """A campaign of lives, if anybody does something, and before them of the kit's own guest, if `trips` are asked for."""
    noise = random.Random(seed)
    if trips:
        of_kit = choose("default", kind_of(board), values=1, **asked)
        for boot, visit in _boots(Campaign.freeze(folder, of_kit), board):
            value = float(TRUE.of(visit.cell.strategy, cost.mix_of(visit.cell.guest)))
            boot.record(lines.of_kvm(visit, of_kit, value * 1e-9))
    if does:
        for boot, visit in _boots(Campaign.freeze(folder, _asked(does, **asked)), board):
            boot.record(life(visit, does[visit.cell.guest], noise), file=FILE)
    return Campaign(folder)


def _boots(campaign: Campaign, board: str) -> Iterator[tuple[OpenBoot, Visit]]:
    """Yield what a campaign lacks of a board, each with the boot that it goes into; which is closed when all are there."""
    missing = campaign.missing(board)
    for number in sorted({visit.boot for visit in missing}):
        boot = campaign.open_boot(board, number)
        boot.begin()
        kernel = Kernel.of(campaign.design_of(board).factors.kernel_of(number)).release or KERNEL
        boot.describe({"board": board, "kernel": kernel, "release": kernel, "mode": "nvhe", "emulated": True})
        yield from ((boot, visit) for visit in missing if visit.boot == number)
    campaign.close(board)
