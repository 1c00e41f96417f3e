"""Walk a design on one board, visit by visit."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.campaign import Campaign, OpenBoot, cut_torn_line
from study.collect import boards, provenance
from study.collect.boards import Board, Link
from study.collect.perfstat import per_round_trip
from study.design import Factors, Visit
from study.errors import BadData, BoardFailed

# Seconds that a boot and a visit take on an emulated board, until this run has seen its own.
EXPECTED_BOOT, EXPECTED_VISIT = 8.0, 3.5


def collect(board: str, folder: Path, factors: Factors) -> Campaign:
    """Measure on one board what a campaign still lacks.

    Parameters
    ----------
    board : str
        A name in study.collect.boards.BOARDS.
    folder : path
        The campaign; it is made if it is not there.
    factors : Factors
        What to measure; they must be those of the campaign if it is there.

    Returns
    -------
    Campaign
        Complete for this board.

    Raises
    ------
    BadRequest
        If the board is unknown, or the campaign has another design. Nothing is measured then.
    BadData
        If a file of the campaign is damaged. Nothing is measured then.
    BoardFailed
        If the board cannot be measured. What was recorded stays.
    """
    machine = boards.find(board)
    campaign = Campaign.freeze(folder, factors)
    if damaged := campaign.damaged():
        raise BadData(f"{damaged[0]}: nothing is measured until this is mended; see: study verify {folder}")
    for path in campaign.unclosed(board):
        if cut_torn_line(path):
            print(f"{path}: the last line was torn by an interruption; it is cut off and measured again", flush=True)
    missing = campaign.missing(board)
    if not missing:
        print(f"{campaign.name}: all {len(campaign.design.visits())} visits of {board} are there, nothing to measure")
        campaign.close(board)
        return campaign
    progress = Progress(board, total=len(campaign.design.visits()), left=len(missing), boots=len({v.boot for v in missing}))
    try:
        for number, visits in itertools.groupby(missing, key=lambda visit: visit.boot):
            _walk_boot(machine, campaign, campaign.open_boot(board, number), list(visits), progress)
    finally:
        campaign.close(board)
    return campaign


def _walk_boot(board: Board, campaign: Campaign, boot: OpenBoot, visits: list[Visit], progress: Progress) -> None:
    factors = campaign.design.factors
    launch = board.launch(boot.console, factors.strategies)
    boot.begin()
    progress.booting()
    with Link(board.name, launch) as link:
        facts = link.ask("facts", events=factors.perf_events, strategies=list(factors.strategies))
        _same_kernel(campaign, board, str(facts["kernel"]))
        host = {"board": board.name, "emulated": board.emulated, **provenance.of_the_host()}
        boot.describe({**facts, **launch.facts, **host})
        for visit in visits:
            started = time.monotonic()
            measured = _measure(link, visit, factors)
            line = {"visit": visit.name, "block": visit.block, "arm": visit.cell.arm, "ended": "well",
                    "cell": {name: getattr(visit.cell, name) for name in ("strategy", "guest", "host", "exit")},
                    "loops": factors.loops, **measured}  # fmt: skip
            boot.record(line)
            progress.visited(visit, time.monotonic() - started)


def _same_kernel(campaign: Campaign, board: Board, kernel: str) -> None:
    before = {str(known["kernel"]) for known in map(campaign.facts, campaign.boots()) if known["board"] == board.name}
    if before - {kernel}:
        raise BoardFailed(
            f"{board.name} runs kernel {kernel}, but {campaign.folder} has visits of it on {', '.join(sorted(before))}: "
            "two kernels are two campaigns, name another"
        )


def _measure(link: Link, visit: Visit, factors: Factors) -> dict[str, Any]:
    cell = visit.cell
    label = {"strategy": cell.strategy, "host": cell.host, "arm": cell.arm, "visit": visit.name}
    measured = link.ask(
        "visit", patience=900.0, chosen=cell.strategy, state=cell.guest, leave=cell.exit, touch_every=factors.touch_every,
        gic=factors.gic, pmu=factors.pmu, loops=factors.loops, values=factors.values, warmups=factors.warmups,
        events=factors.perf_events, label=label,
    )  # fmt: skip
    if not measured["checks"]["well"]:
        raise BoardFailed(
            f"visit {visit.name}: under {cell.strategy} the guest's breakpoints did not do what they must (it reported "
            f"{measured['checks']['oracle']}): the visit is not recorded, and figures of this board would mean nothing"
        )
    # Read at once, so that a perf whose words cannot be read is noticed while it can be mended.
    return {**measured, "counts": [count.to_json() for count in per_round_trip(measured["windows"])]}


class Progress:
    """One line for each visit: done, left, time expected. In a terminal it stays on one line."""

    def __init__(
        self,
        board: str,
        *,
        total: int,
        left: int,
        boots: int,
        write: Callable[[str], object] = lambda text: print(text, flush=True),
    ) -> None:
        self._board, self._total, self._left, self._boots, self._write = board, total, left, boots, write
        self._seconds: list[float] = []

    def expected(self) -> float:
        """Return the seconds that are left, by the mean of this run's visits."""
        each = sum(self._seconds) / len(self._seconds) if self._seconds else EXPECTED_VISIT
        return expected(self._left, self._boots, each)

    def booting(self) -> None:
        """Say that a boot begins."""
        self._write(f"{self._board}: booting; {self._left} of {self._total} visits left, about {duration(self.expected())}")
        self._boots -= 1

    def visited(self, visit: Visit, seconds: float) -> None:
        """Say that a visit is done."""
        self._left -= 1
        self._seconds.append(seconds)
        cell = visit.cell
        what = " ".join((cell.strategy, cell.guest, cell.exit)) + (" (control arm)" if cell.arm != "main" else "")
        self._write(
            f"{self._board}: {self._total - self._left}/{self._total} {what}, {seconds:.1f} s; about {duration(self.expected())} left"
        )


def expected(visits: int, boots: int, each: float = EXPECTED_VISIT) -> float:
    """Return the seconds that visits and boots take on an emulated board."""
    return visits * each + boots * EXPECTED_BOOT


def duration(seconds: float) -> str:
    """Say a duration as a person would."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
