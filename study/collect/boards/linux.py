"""What every board with Linux and KVM is asked, whatever process carries the line: the requests of the agent on it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.campaign import schema
from study.collect.boards.link import Launch, Link
from study.collect.perfstat import Count, per_round_trip
from study.design import Factors, Visit
from study.errors import BadData, BoardFailed
from study.factors import MAY_LACK

VISIT_PATIENCE = 900.0  # seconds


class LinuxBoard:
    """A board on which study/collect/onboard answers."""

    name: str
    emulated: bool
    seconds = (8.0, 1.0)
    guests: Mapping[str, Path] = MappingProxyType({})  # real guests that a boot takes along: a folder for each
    priced = False  # whether a boot takes the module along whose loops are priced

    def describe(self, link: Link, factors: Factors) -> dict[str, Any]:
        """Ask a boot what it is, after it has tried KVM, the module, and what visits need, or real guests, which need no perf."""
        strategies = factors.by_module
        if self.guests:
            return link.ask("facts", events=[], strategies=strategies, guests=True)
        exits = [text.partition(":")[0] for text in factors.exits]
        return link.ask("facts", events=factors.perf_events, strategies=strategies, gic=factors.gic, exits=exits)

    def doctor(self, link: Link) -> list[dict[str, str]]:
        """Ask a boot what is good about it and what is not, after it has tried perf and KVM."""
        rows: list[dict[str, str]] = link.ask("doctor", events=Factors().perf_events)["checks"]
        return rows

    def after(self, link: Link) -> dict[str, Any]:
        """Ask a boot what slows it down when all is measured."""
        said = link.ask("after").get("throttled")
        if not isinstance(said, dict):
            raise BoardFailed(
                f"{self.name}: it does not say what slowed it down; its visits are recorded: run the same command again"
            )
        return {"throttled": said}

    def tune(self, link: Link) -> dict[str, Any]:
        """Tune a boot for the CPU that measures; its agent puts everything back when it ends."""
        return link.ask("tune", guests=bool(self.guests))

    def measure(self, link: Link, visit: Visit, factors: Factors) -> dict[str, Any]:
        """Measure one visit with pyperf, perf, the module's counters and the oracle.

        What perf said is read at once, so that a perf whose words cannot be read is noticed while it can be mended. A tracepoint
        that the kernel does not have is data with a reason.
        """
        cell = visit.cell
        label = {"strategy": cell.strategy, "host": cell.host, "arm": cell.arm, "visit": visit.name}
        measured = link.ask(
            "visit", patience=VISIT_PATIENCE, chosen=cell.strategy, state=cell.guest, host=cell.host, leave=cell.exit,
            gic=factors.gic, pmu=factors.pmu, loops=factors.loops, values=factors.values,
            warmups=factors.warmups, events=factors.perf_events, label=label,
        )  # fmt: skip
        try:
            schema.check("answer", measured)
            counts = per_round_trip(measured["windows"])
        except BadData as error:
            raise BoardFailed(f"{label['visit']}: the board answers nonsense: {error}") from None
        lacking = [event for event in MAY_LACK if event not in {count.event for count in counts}]
        counts += [Count(event, math.nan, why="not on this kernel") for event in lacking]
        return {**measured, "counts": [count.to_json() for count in counts]}


class RunningBoard(LinuxBoard):
    """A board that runs before the study comes and after it has gone; another kernel is put in force on it by kexec."""

    emulated = False

    @abstractmethod
    def launch(self, console: Path, strategies: tuple[str, ...], kernel: str = "", image: Path | None = None) -> Launch:
        """Say how to start the agent, which finds the kernel `image`, if there is one, in the file $STUDY_IMAGE."""
