"""Let real guests live on a board, life by life in the order of a design, and record what was counted in each phase."""

from __future__ import annotations

import dataclasses
import itertools
import re
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from study.campaign import Campaign
from study.campaign.store import DESIGN
from study.collect import boards, records
from study.collect.boards import Board, Launch, Link
from study.collect.boards.linux import LinuxBoard
from study.collect.guests import table
from study.collect.session import Way, collect
from study.design import CENSUS, Factors, Kernel, Visit
from study.errors import BadData, BadRequest, BoardFailed, Refused
from study.terminal import progress

# Seconds that a boot and a life take, until a run has seen its own.
SECONDS = (12.0, 22.0)
# Seconds by its own clock that a phase may take on a board, emulated or not, and that a life may take here: an emulated board that is
# busy takes thirty times as long as its clock says.
PHASE, LIFE = {True: 15.0, False: 60.0}, 1800.0
AARCH32 = ",aarch64=off"
TOLD = re.compile(r" ?WORKLOADS=\S* LONGER=\d+")


def live(board: str, folder: Path, factors: Factors, file: Path | None = None, tune: bool = False, reboot: str = "") -> Campaign:
    """Let real guests live on a board as often as a campaign still lacks it.

    Parameters
    ----------
    board, folder, factors, tune, reboot
        As for study.collect.session.collect(); the factors are of the kind ``guests``.
    file : path, optional
        Where guests of the user's own are described.

    Returns
    -------
    Campaign
        Complete for this board.

    Raises
    ------
    BadRequest
        If the board has no KVM, a guest is unknown, or the CPU cannot run one.
    BoardFailed
        If the board cannot be measured, or some guests did not live as they should: each was named, and is not recorded.
    """
    _with_guests({}, boards.find(board))
    known = table.rows(factors.guests, factors.workloads, factors.longer, file)
    way = Way(
        "lives", SECONDS, partial(_with_guests, known), partial(_with_facts, known), lives := _Lives(known),
    )  # fmt: skip
    lived = _lived(folder, board)
    _refuse_others(folder, lived, known)
    if not lived and (thirty_two := [name for name, row in known.items() if row.bits == 32]):
        _refuse_32_bits(way.ready(boards.find(board)), thirty_two, factors)  # what is refused leaves no campaign behind
    campaign = collect(board, folder, factors, tune=tune, reboot=reboot, way=way)
    if lives.refused:
        raise BoardFailed(
            f"{board}: {lives.refused} lives of real guests are not recorded, for the reasons above; the same command tries them again"
        )
    return campaign


class _Lives:
    """What makes lives of the visits of a design, and counts those that were refused.

    Parameters
    ----------
    known : mapping of str to Row
        The guests, by name.
    """

    def __init__(self, known: Mapping[str, table.Row]) -> None:
        self._known, self._still, self.refused = known, "", 0

    def __call__(self, board: Board, link: Link, visit: Visit, factors: Factors) -> dict[str, Any] | None:
        """Let a guest live once; one that does not as it should is said, and not recorded."""
        row = self._known[visit.cell.guest]
        try:
            lived = link.ask(
                "live", patience=LIFE * factors.longer, chosen=visit.cell.strategy, kernel=f"{row.name}/{table.KERNEL}",
                initrd=row.initrd, append=row.append, cpu=AARCH32 * (row.bits == 32), memory=row.memory, marks=row.marks,
                counted=visit.cell.arm == CENSUS, limit=PHASE[board.emulated] * factors.longer,
            )  # fmt: skip
            return records.life_of(board, visit, factors, lived)
        except (Refused, BadData) as error:
            self.refused += 1
            progress.say(f"{visit.name}, {visit.cell.guest} under {visit.cell.strategy}, is not recorded: {error}")
            return None


def _with_guests(known: Mapping[str, table.Row], board: Board) -> Board:
    """Have a board take guests along."""
    if not isinstance(board, LinuxBoard):
        raise BadRequest(f"{board.name}: a rig has no KVM that a guest could run under; name a board with Linux")
    board.guests = {name: row.folder for name, row in known.items()}
    return board


def _with_facts(known: Mapping[str, table.Row], launch: Launch) -> Launch:
    """Have what the guests are recorded with a boot."""
    return dataclasses.replace(launch, facts={**launch.facts, "guests": {name: row.facts for name, row in known.items()}})


def _lived(folder: Path, board: str) -> list[dict[str, Any]]:
    """Return what is known of the boots of a board in which guests have lived, if there is a campaign."""
    campaign = Campaign(folder) if (folder / DESIGN).exists() else None
    known = [campaign.facts(boot) for boot in campaign.boots()] if campaign else []
    return [facts for facts in known if facts["board"] == board and "guests" in facts]


def _refuse_others(folder: Path, lived: list[dict[str, Any]], known: Mapping[str, table.Row]) -> None:
    """Refuse a guest that has the name of another one in a campaign."""
    for facts, (name, row) in itertools.product(lived, known.items()):
        there = facts["guests"].get(name, row.facts)
        if other := [key for key in row.facts if _own(there.get(key, "")) != _own(row.facts[key])]:
            raise BadRequest(
                f"{folder} has a {name} with another {other[0]}: that is another guest; name it, or the campaign, otherwise"
            )


def _own(fact: str) -> str:
    """Return what is a guest's own of what is recorded of it: not what it is told to do, of which the design speaks."""
    return TOLD.sub("", fact)


def _refuse_32_bits(board: Board, names: list[str], factors: Factors) -> None:
    """Refuse guests of 32 bits where the CPU has no AArch32 at EL1."""
    kernel = Kernel.of(factors.kernels[0] if factors.kernels else "")
    with tempfile.TemporaryDirectory() as folder:
        launch = board.launch(Path(folder, "console.log"), ("stock",), kernel.release)
        with Link(board.name, launch) as link:
            if not link.ask("bits")["aarch32"]:
                raise BadRequest(
                    f"{board.name}: {', '.join(names)} has 32 bits, and this CPU runs no kernel of 32 bits (no AArch32 at EL1); "
                    "leave it out with --guests"
                )
