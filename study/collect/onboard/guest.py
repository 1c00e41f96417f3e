"""The guest that is measured: its batches of round trips, and its oracle."""

from __future__ import annotations

import os
import time
from pathlib import Path

from study.factors import EXITS, GUEST_STATES, KDE, MDE, share

from . import BoardError, kvm

PAYLOAD = Path(os.environ.get("STUDY_PAYLOAD", Path(__file__).with_name("payload.bin")))

# Offsets on the device page and the jobs of payload.S.
NEXT_BATCH, REPORT, EXIT = 0, 8, 16
MEASURE, ORACLE = 0, 1


# What the oracle of payload.S reports. ESR_EL1.EC 0x31: breakpoint, 0x35: watchpoint, both at the current EL, with IL
# set and a debug fault status; WnR (bit 6) for the store.
PATTERN, BREAKPOINT, WATCHPOINT = 0x5A50, 0xC600_0022, 0xD600_0062
ORACLE_FIRES = [PATTERN, BREAKPOINT, WATCHPOINT, PATTERN]
ORACLE_SILENT = [PATTERN, PATTERN]


class Guest:
    """A fresh VM in one guest state, ready to make round trips.

    Parameters
    ----------
    state, leave : str
        Rows of the tables in factors.py.
    breakpoints, watchpoints : int
        How many the CPU has.
    gic, pmu : bool
        See kvm.Machine.
    """

    def __init__(self, state: str, leave: str, *, breakpoints: int, watchpoints: int, gic: bool, pmu: bool) -> None:
        row = GUEST_STATES[state]
        enabled = {2: share(breakpoints, row.enabled, least=1), 3: share(watchpoints, row.enabled)}
        self._exit = EXITS[leave]
        self._machine = kvm.Machine(
            PAYLOAD.read_bytes(),
            {0: MEASURE, 1: row.mdscr, **enabled, 4: self._exit.number, 5: row.touch_every, 6: kvm.DEVICE_PAGE, 7: kvm.DATA_PAGE,
             8: kvm.DISTRIBUTOR, 10: kvm.REDISTRIBUTOR + kvm.SGI_PAGE},
            gic=gic,
            pmu=pmu,
        )  # fmt: skip
        check(leave, self._machine.gic)
        self._machine.enter()
        self._at_batch_end()

    def _at_batch_end(self) -> None:
        access = self._machine.access()
        if access.is_write or access.offset != NEXT_BATCH:
            raise BoardError(f"the guest took an exception (ESR_EL1 {access.value:#x}): its figures would mean nothing")

    def run(self, loops: int) -> float:
        """Make `loops` round trips, at least 1, and return the seconds that they took."""
        machine = self._machine
        machine.answer(loops)
        entries = loops + 1 if self._exit.to_user_space else 1
        start = time.perf_counter()
        machine.enter(entries)
        seconds = time.perf_counter() - start
        self._at_batch_end()
        return seconds

    def close(self) -> None:
        """End the VM."""
        self._machine.close()


def check(leave: str, gic: int) -> None:
    """Refuse an exit that needs a later version of the interrupt controller than guests have."""
    if EXITS[leave].gic > gic:
        has = f"have a GICv{gic}" if gic else "have no interrupt controller"
        others = ",".join(name for name, row in EXITS.items() if row.gic <= gic)
        raise BoardError(
            f"exit {leave} needs a GICv{EXITS[leave].gic}, and guests {has} here: leave it out, as --exits {others} does (EXITS= of make)"
        )


def run_oracle(*, gic: bool, pmu: bool) -> list[int]:
    """Run the oracle in a fresh VM and return the words that it reported, in order."""
    registers = {0: ORACLE, 1: MDE | KDE, 6: kvm.DEVICE_PAGE, 7: kvm.DATA_PAGE}
    machine = kvm.Machine(PAYLOAD.read_bytes(), registers, gic=gic, pmu=pmu)
    try:
        reports: list[int] = []
        while len(reports) <= len(ORACLE_FIRES):
            machine.enter()
            access = machine.access()
            if not access.is_write:
                break
            reports.append(access.value)
        return reports
    finally:
        machine.close()
