"""Walk a design on one board, visit by visit."""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from study.campaign import Campaign, schema, sense
from study.campaign.files import cut_torn_line
from study.campaign.store import VISITS, OpenBoot
from study.collect import boards, doctor, provenance, restart
from study.collect.boards import Board, Link
from study.design import LEAST_BOOTS, Factors, Kernel, Visit, options
from study.errors import BadData, BoardFailed, WrongBoot
from study.terminal import progress
from study.terminal.progress import duration

# What a board must still be when it goes on with a campaign: all, or all but the kernel where kernels are compared.
SAME = ("kernel", "architecture", "identity", "model", "breakpoints", "watchpoints", "frequency")

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
        raise BadData(f"{damaged[0]}: nothing is measured until this is mended, with: study repair {shlex.quote(str(folder))}")
    for path in campaign.unclosed(board):
        if path.name == VISITS and cut_torn_line(path):
            print(f"{path}: the last line was torn by an interruption; it is cut off and measured again", flush=True)
    missing, planned = campaign.missing(board), len(campaign.asked(board))
    if not missing:
        print(f"{campaign.name}: all {planned} visits of {board} are there")
        campaign.close(board)
        return Campaign(folder)
    pace = Pace(machine.seconds, boots=len({visit.boot for visit in missing}))
    done = planned - len(missing)
    try:
        with progress.bar(board, planned, "visits", done=done, expected=pace.expected) as shown:
            for number, visits in itertools.groupby(missing, key=lambda visit: visit.boot):
                left = list(visits)
                untouched = len(left) == len(factors.cells_of(number)) * factors.processes  # an interrupted boot is gone on with
                if widest and factors.until and number > LEAST_BOOTS * max(1, len(factors.kernels)) and untouched:
                    width = widest(campaign, board)
                    progress.say(f"{board}: after {number - 1} boots the widest interval is {width:.2%} of its ratio")
                    if width <= factors.until:
                        campaign.enough(board, number - 1, width)
                        shown.total = shown.n
                        break
                if reboot and left[0].kernel:
                    kernel = Kernel.of(left[0].kernel)
                    wanted = {"STUDY_KERNEL": kernel.release, "STUDY_LABEL": kernel.label}
                    restart.until_right(partial(_look, machine, campaign, left[0]), reboot, wanted)
                pace.booting()
                for seconds in _walk_boot(machine, campaign, campaign.open_boot(board, number), left, tune):
                    pace.visited(seconds)
                    shown.update()
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


def _walk_boot(board: Board, campaign: Campaign, boot: OpenBoot, visits: list[Visit], tune: bool = False) -> Iterator[float]:
    """Measure visits of one boot, and yield how many seconds each took once it is recorded."""
    wanted = visits[0].kernel
    factors, kernel = campaign.design_of(board.name).factors.on(wanted), Kernel.of(wanted)
    launch = board.launch(boot.console, factors.strategies, kernel.release)
    boot.begin()
    with Link(board.name, launch) as link:
        changed = board.tune(link) if tune else {}
        facts = {**board.describe(link, factors), **changed, **launch.facts}
        if changed:
            progress.say(f"{board.name}: {doctor.tuned(changed['tuned'])}")
        if wanted:
            _right_kernel(campaign, board.name, visits[0], facts)
            facts |= {"kernel": kernel.label, "release": facts["kernel"]} if kernel.label else {}
        _same_machine(campaign, board, facts)
        boot.describe(facts_of(board, facts))
        for visit in visits:
            started = time.monotonic()
            boot.record(line_of(board, visit, factors, board.measure(link, visit, factors)))
            yield time.monotonic() - started


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


class Pace:
    """How long visits take: as long as those of this run took; until there are some, as long as the board's usually do.

    Parameters
    ----------
    each : pair of float
        The usual seconds of a boot and of a visit.
    boots : int
        How many boots are left.
    """

    def __init__(self, each: tuple[float, float], boots: int) -> None:
        self._boot, self._usual = each
        self._boots, self._visits, self._seconds = boots, 0, 0.0

    def booting(self) -> None:
        """Note that one of the boots begins."""
        self._boots -= 1

    def visited(self, seconds: float) -> None:
        """Note how long a visit took."""
        self._visits += 1
        self._seconds += seconds

    def expected(self, visits: int) -> float:
        """Return the seconds that so many visits will take, with the boots that are left."""
        each = self._seconds / self._visits if self._visits else self._usual
        return visits * each + self._boots * self._boot


def planned(board: Board, visits: int, boots: int) -> str:
    """Say how long so many visits on so many boots usually take."""
    return f"about {duration(Pace(board.seconds, boots).expected(visits))}"
