"""Walk a design on one board, visit by visit."""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from study import schema, sense
from study.campaign import VISITS, Campaign, OpenBoot
from study.collect import boards, doctor, provenance, restart
from study.collect.boards import Board, Link
from study.design import LEAST_BOOTS, Factors, Kernel, Visit, options
from study.disk import cut_torn_line
from study.errors import BadData, BoardFailed, WrongBoot

# What a board must still be when it goes on with a campaign: all, or all but the kernel where kernels are compared.
SAME = ("kernel", "architecture", "identity", "model", "breakpoints", "watchpoints", "frequency")

# Seconds between two lines of progress.
MOMENT = 1.0


# The width of the widest interval among the comparisons of one board, as a share of its ratio.
Widest = Callable[[Campaign, str], float]


def collect(
    board: str, folder: Path, factors: Factors, widest: Widest | None = None, tune: bool = False, reboot: str = ""
) -> Campaign:
    """Measure on one board what a campaign still lacks.

    Parameters
    ----------
    board : str
        A name in study.collect.boards.BOARDS.
    folder : path
        The campaign; it is made if it is not there.
    factors : Factors
        What to measure; they must be those of the campaign if it is there.
    widest : callable, optional
        How wide the intervals of the board are so far; asked after a boot if the factors say to stop at a width.
    tune : bool
        Whether to tune each boot for the CPU that measures, until the boot ends; see study/collect/onboard/tuning.py.
    reboot : str
        A command on this machine that restarts the board, run where the design needs another boot of it; STUDY_KERNEL in its
        environment is the release of the kernel that is wanted, STUDY_LABEL its label. Empty: the user is asked to do it.

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
    Busy
        If another command records visits of the board in that campaign.
    """
    machine = boards.find(board)
    campaign = Campaign.freeze(folder, factors)
    if not campaign.unclosed(board) and not campaign.damaged() and not campaign.missing(board):
        print(f"{campaign.name}: all {len(campaign.asked(board))} visits of {board} are there, nothing to measure")
        return campaign
    with campaign.recording(board):
        return _collect(machine, Campaign(folder), factors, widest, tune, reboot)


def _collect(machine: Board, campaign: Campaign, factors: Factors, widest: Widest | None, tune: bool, reboot: str) -> Campaign:
    folder, board = campaign.folder, machine.name
    if damaged := campaign.damaged():
        raise BadData(f"{damaged[0]}: nothing is measured until this is mended, with: study repair {folder}")
    for path in campaign.unclosed(board):
        if path.name == VISITS and cut_torn_line(path):
            print(f"{path}: the last line was torn by an interruption; it is cut off and measured again", flush=True)
    missing, planned = campaign.missing(board), len(campaign.asked(board))
    if not missing:
        print(f"{campaign.name}: all {planned} visits of {board} are there")
        campaign.close(board)
        return Campaign(folder)
    progress = Progress(board, total=planned, left=len(missing), boots=len({v.boot for v in missing}), each=machine.seconds)
    try:
        for number, visits in itertools.groupby(missing, key=lambda visit: visit.boot):
            left = list(visits)
            untouched = len(left) == len(factors.cells_of(number)) * factors.processes  # an interrupted boot is gone on with
            if widest and factors.until and number > LEAST_BOOTS * max(1, len(factors.kernels)) and untouched:
                width = widest(campaign, board)
                print(f"{board}: after {number - 1} boots the widest interval is {width:.2%} of its ratio", flush=True)
                if width <= factors.until:
                    campaign.enough(board, number - 1, width)
                    break
            if reboot and left[0].kernel:
                kernel = Kernel.of(left[0].kernel)
                wanted = {"STUDY_KERNEL": kernel.release, "STUDY_LABEL": kernel.label}
                restart.until_right(partial(_look, machine, campaign, left[0]), reboot, wanted)
            _walk_boot(machine, campaign, campaign.open_boot(board, number), left, progress, tune)
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk has been named already
            campaign.close(board)
        raise
    campaign.close(board)
    return Campaign(folder)  # another command may have brought a design for another kind of board


def again(campaign: Campaign) -> dict[str, str]:
    """Return how to go on for each board whose visits are not all there: the command, or nothing if that may be done unasked.

    A campaign may be from elsewhere: what it says is not reason enough to connect to another machine.
    """
    commands = {}
    for board in campaign.lacking():
        machine, factors = boards.find(board), campaign.design_of(board).factors
        words = ["study", "collect", "--board", board, "--campaign", str(campaign.folder)]
        commands[board] = "" if machine.emulated or board == "local" else f"{shlex.join(words)} {options(factors)}"
    return commands


def _look(board: Board, campaign: Campaign, visit: Visit) -> None:
    """Ask a board whether it runs the boot that a visit needs: WrongBoot if it runs another one."""
    factors = campaign.design_of(board.name).factors.on(visit.kernel)
    with tempfile.TemporaryDirectory() as folder:
        launch = board.launch(Path(folder, "console.log"), factors.strategies, Kernel.of(visit.kernel).release)
        with Link(board.name, launch) as link:
            _right_kernel(campaign, board.name, visit, board.describe(link, factors))


def _walk_boot(
    board: Board, campaign: Campaign, boot: OpenBoot, visits: list[Visit], progress: Progress, tune: bool = False
) -> None:
    wanted = visits[0].kernel
    factors, kernel = campaign.design_of(board.name).factors.on(wanted), Kernel.of(wanted)
    launch = board.launch(boot.console, factors.strategies, kernel.release)
    boot.begin()
    progress.booting()
    with Link(board.name, launch) as link:
        changed = board.tune(link) if tune else {}
        facts = {**board.describe(link, factors), **changed, **launch.facts}
        if changed:
            print(f"{board.name}: {doctor.tuned(changed['tuned'])}", flush=True)
        if wanted:
            _right_kernel(campaign, board.name, visits[0], facts)
            facts |= {"kernel": kernel.label, "release": facts["kernel"]} if kernel.label else {}
        _same_machine(campaign, board, facts)
        boot.describe(facts_of(board, facts))
        for visit in visits:
            started = time.monotonic()
            boot.record(line_of(board, visit, factors, board.measure(link, visit, factors)))
            progress.visited(visit, time.monotonic() - started)


def facts_of(board: Board, said: dict[str, Any]) -> dict[str, Any]:
    """Return what is recorded of a boot that says this of itself.

    Raises
    ------
    BoardFailed
        If that could not be read back.
    """
    facts = {**said, "board": board.name, "emulated": board.emulated, **provenance.of_the_host()}
    _check(board, "boot", facts)
    return facts


def line_of(board: Board, visit: Visit, factors: Factors, measured: dict[str, Any]) -> dict[str, Any]:
    """Return the line of a visit.

    Raises
    ------
    BoardFailed
        If it could not be read back, if its numbers cannot be true, or if breakpoints did not do what they must.
    """
    cell = {name: getattr(visit.cell, name) for name in ("strategy", "guest", "host", "exit")}
    ours = {
        "visit": visit.name,
        "block": visit.block,
        "arm": visit.cell.arm,
        "ended": "well",
        "cell": cell,
        "loops": factors.loops,
    }
    line = {**measured, **ours}
    _check(board, "visit", line)
    if line["checks"].get("well") is not True:
        raise BoardFailed(
            f"visit {visit.name}: under {visit.cell.strategy} breakpoints did not do what they must (the guest reported "
            f"{line['checks'].get('oracle')}, the host's fired {line['checks'].get('host', 'as they should')}): the "
            "visit is not recorded, and figures of this board would mean nothing"
        )
    if why := sense.nonsense(line, factors):
        raise BoardFailed(f"visit {visit.name} makes no sense: {why}; it is not recorded")
    return line


def _check(board: Board, kind: str, data: dict[str, Any]) -> None:
    """Refuse what a board says if it could not be read back."""
    try:
        schema.check(kind, data)
        json.dumps(data, allow_nan=False)
    except (BadData, ValueError) as error:
        raise BoardFailed(f"{board.name}: what it says is not recorded: {error}") from None


def _same_machine(campaign: Campaign, board: Board, facts: dict[str, Any]) -> None:
    """Refuse to go on with another kernel, or another machine under the same name."""
    asked = campaign.design_of(board.name).factors.kernel_called
    for known in map(campaign.facts, campaign.boots()):
        if known["board"] != board.name:
            continue
        for what in SAME[asked(facts["kernel"]) != asked(known["kernel"]) :]:
            if what in known and known[what] != facts.get(what):
                raise BoardFailed(
                    f"{board.name} has {what} {facts.get(what)}, but {campaign.folder} has visits of it with {known[what]}: "
                    "that is another campaign, name one"
                )


def _right_kernel(campaign: Campaign, board: str, visit: Visit, facts: dict[str, Any]) -> None:
    """Refuse a boot of another kernel than the design alternates to, and one that was measured already."""
    kernels = [Kernel.of(text) for text in campaign.design_of(board).factors.kernels]
    kernel = Kernel.of(visit.kernel)
    boots = [known for known in map(campaign.facts, campaign.boots()) if known["board"] == board]
    again = "run the same command again: what was recorded stays"
    if runs := other_kernel(kernel, kernels, boots, facts):
        raise WrongBoot(f"boot {visit.boot} of the design is one of {kernel.name}, but {board} runs {runs}: boot it, and {again}")
    if facts.get("boot_id") in [known.get("boot_id") for known in boots] and visit.name.endswith("-0001"):
        raise WrongBoot(f"boot {visit.boot} of the design must be a new one: restart {board} with {kernel.name}, and {again}")


def other_kernel(wanted: Kernel, kernels: Sequence[Kernel], known: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return what a boot runs instead of the kernel that it should; empty if it runs that.

    Parameters
    ----------
    wanted : Kernel
        One of `kernels`, those of the design.
    known : sequence of mappings
        Facts of the board's boots so far, with what tables call their ``kernel``.
    facts : mapping
        Of the boot: ``kernel``, its release, and ``build_id``, by which kernels of one release are told apart.
    """
    release, build = str(facts["kernel"]), facts.get("build_id", "")
    exact = [kernel for kernel in kernels if kernel.release == release]
    if wanted not in exact and (exact or not wanted.is_that(release)):
        return release
    if not (wanted.label and build):
        return ""
    builds = {boot["build_id"]: boot["kernel"] for boot in known if boot.get("build_id")}
    if builds.get(build, wanted.label) != wanted.label:
        return f"{builds[build]}, by its build ID"
    if wanted.label in builds.values() and build not in builds:
        return f"another build of {release} than its boots before"
    return ""


class Progress:
    """One line for each visit: done, left, time expected. In a terminal it stays on one line."""

    def __init__(
        self,
        board: str,
        *,
        total: int,
        left: int,
        boots: int,
        each: tuple[float, float],
        write: Callable[[str], object] = lambda text: print(text, flush=True),
    ) -> None:
        self._board, self._total, self._left, self._boots, self._write = board, total, left, boots, write
        self._boot, self._visit = each
        self._seconds: list[float] = []
        self._said = -MOMENT

    def expected(self) -> float:
        """Return the seconds that are left, by the mean of this run's visits."""
        each = sum(self._seconds) / len(self._seconds) if self._seconds else self._visit
        return self._left * each + self._boots * self._boot

    def booting(self) -> None:
        """Say that a boot begins."""
        self._write(f"{self._board}: booting; {self._left} of {self._total} visits left, about {duration(self.expected())}")
        self._boots -= 1

    def visited(self, visit: Visit, seconds: float) -> None:
        """Say that a visit is done, unless the last one was a moment ago: a rig makes dozens a second."""
        self._left -= 1
        self._seconds.append(seconds)
        if self._left and time.monotonic() - self._said < MOMENT:
            return
        self._said = time.monotonic()
        cell = visit.cell
        host = "" if cell.host == "none" else f"host-{cell.host}"
        what = " ".join(filter(None, (cell.strategy, cell.guest, host, cell.exit))) + (
            " (control arm)" if cell.arm != "main" else ""
        )
        self._write(
            f"{self._board}: {self._total - self._left}/{self._total} {what}, {seconds:.1f} s; about {duration(self.expected())} left"
        )


def duration(seconds: float) -> str:
    """Say a duration as a person would."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
