"""Walk a design on one board, visit by visit."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from study.campaign import Campaign, store
from study.campaign.files import cut_torn_line
from study.campaign.store import LINES, OpenBoot
from study.collect import boards, doctor, restart
from study.collect.boards import Board, Launch, Link
from study.collect.boards.linux import RunningBoard
from study.collect.identity import right_kernel, same_machine
from study.collect.kexec import Turns
from study.collect.pace import Pace
from study.collect.records import facts_of, line_of
from study.design import LEAST_BOOTS, Factors, Kernel, Visit, options
from study.errors import BadData
from study.factors import GUESTS
from study.kernels import source
from study.terminal import progress

Line = dict[str, Any]


def _visit(board: Board, link: Link, visit: Visit, factors: Factors) -> Line | None:
    return line_of(board, visit, factors, board.measure(link, visit, factors))


def _as_it_is(board: Board) -> Board:
    return board


def _launched(launch: Launch) -> Launch:
    return launch


@dataclass(frozen=True)
class Way:
    """What is made of the visits of a design.

    Parameters
    ----------
    noun : str
        What they are called.
    seconds : tuple of float, optional
        What a boot and a visit take until a run has seen its own; else what the board says of itself.
    ready : callable
        Makes the board ready, before anything is started on it.
    launched : callable
        What makes of how a boot is started how it is to be started.
    line : callable
        Makes one visit, and returns what is recorded of it; nothing if it is not.
    """

    noun: str = "visits"
    seconds: tuple[float, float] | None = None
    ready: Callable[[Board], Board] = _as_it_is
    launched: Callable[[Launch], Launch] = _launched
    line: Callable[[Board, Link, Visit, Factors], Line | None] = _visit


# The width of the widest interval among the comparisons of one board, as a share of its ratio.
Widest = Callable[[Campaign, str], float]


def collect(
    board: str,
    folder: Path,
    factors: Factors,
    widest: Widest | None = None,
    tune: bool = False,
    reboot: str = "",
    way: Way = Way(),
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
        environment is the release of the kernel that is wanted, STUDY_LABEL its label. Empty: kernels of the user's own are put in
        force by kexec on a board that runs on, and for others the user is asked to do it.
    way : Way
        What is made of each visit: a measurement by pyperf and perf, unless it is said otherwise.

    Returns
    -------
    Campaign
        Complete for this board.

    Raises
    ------
    BadRequest
        If the board is unknown, the campaign has another design, or two kernels are one. Nothing is measured then.
    NotBuilt
        If a kernel of the user's own does not build. Nothing is measured then.
    BadData
        If a file of the campaign is damaged. Nothing is measured then.
    BoardFailed
        If the board cannot be measured. What was recorded stays.
    Busy
        If another command records visits of the board in that campaign.
    """
    machine = way.ready(boards.find(board))
    source.prepare(factors.kernels)
    campaign = Campaign.freeze(folder, factors, grows=machine.emulated)
    if not campaign.unclosed(board) and not campaign.damaged() and not campaign.missing(board):
        print(f"{campaign.name}: all {len(campaign.asked(board))} {way.noun} of {board} are there, nothing to measure")
        return campaign
    images = {kernel.name: source.find(kernel.release) for kernel in map(Kernel.of, factors.kernels) if kernel.own}
    runs_on = boards.find(board)  # what puts kernels in force takes no real guests along
    turns = Turns(runs_on, images) if images and not reboot and isinstance(runs_on, RunningBoard) else None
    with campaign.recording(board), turns or contextlib.nullcontext():
        return _collect(machine, campaign.again(), factors, widest, tune, reboot, turns, way)


def _collect(
    machine: Board,
    campaign: Campaign,
    factors: Factors,
    widest: Widest | None,
    tune: bool,
    reboot: str,
    turns: Turns | None,
    way: Way,
) -> Campaign:
    folder, board = campaign.folder, machine.name
    if damaged := campaign.damaged():
        raise BadData(f"{damaged[0]}: nothing is measured until this is mended, with: study repair {shlex.quote(str(folder))}")
    cut_torn_lines(campaign, board)
    missing, planned = campaign.missing(board), len(campaign.asked(board))
    if not missing:
        print(f"{campaign.name}: all {planned} {way.noun} of {board} are there")
        campaign.close(board)
        return campaign.again()
    pace = Pace(way.seconds or machine.seconds, boots=len({visit.boot for visit in missing}))
    done, told = planned - len(missing), set[str]()
    try:
        with progress.bar(board, planned, way.noun, done=done, expected=pace.expected) as shown:
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
                kernel, look = Kernel.of(left[0].kernel), partial(_look, machine, campaign, left[0])
                if turns:
                    turns.until_right(kernel, look)
                elif reboot and left[0].kernel:
                    restart.by_command(look, reboot, {"STUDY_KERNEL": kernel.release, "STUDY_LABEL": kernel.label})
                pace.booting()
                for seconds, line in _walk_boot(machine, campaign, campaign.open_boot(board, number), left, tune, way):
                    told |= _tell(board, line, told)
                    pace.visited(seconds)
                    shown.update()
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk has been named already
            campaign.close(board)
        raise
    campaign.close(board)
    return campaign.again()  # another command may have brought a design for another kind of board


def _tell(board: str, line: Line, told: set[str]) -> set[str]:
    """Say which events a visit could not count, and what slowed it down, but for what was told, and return that."""
    lost = {count["event"]: count["why"] for count in store.uncounted(line) if count["event"] not in told}
    if lost:
        progress.say(
            f"{board}: perf could not count {', '.join(lost)}: {next(iter(lost.values()))}; its visits are recorded without, and what "
            f"mends it says: make doctor BOARD={shlex.quote(board)}"
        )
    slowed = set(line.get("throttled", ())) - told
    if slowed:
        progress.say(f"{board} is slowed down: {', '.join(sorted(slowed))}; its times are not those of a board at full speed")
    return {*lost, *slowed}


def cut_torn_lines(campaign: Campaign, board: str) -> None:
    """Cut off what an interruption left unfinished, and say so."""
    for path in campaign.unclosed(board):
        if path.name in LINES and cut_torn_line(path):
            print(f"{path}: the last line was torn by an interruption; it is cut off and measured again", flush=True)


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
        kernel = Kernel.of(visit.kernel)
        launch = board.launch(Path(folder, "console.log"), factors.strategies, kernel.release)
        with Link(board.name, launch) as link:
            right_kernel(campaign, board.name, visit, _facts(board, link, factors, kernel))


def _facts(board: Board, link: Link, factors: Factors, kernel: Kernel) -> dict[str, Any]:
    """Ask a boot what it is; of a kernel of the user's own it is known where it is from."""
    return {**board.describe(link, factors), **({"source": source.about(kernel.release)} if kernel.own else {})}


def lives_again(campaign: Campaign) -> list[str]:
    """Return the commands that make the lives of real guests that are not there; a guest of the user's needs its file besides."""
    if GUESTS not in campaign.designs:
        return []
    words = options(campaign.designs[GUESTS].factors)
    return [
        f"{shlex.join(['study', 'guests', '--board', board, '--campaign', str(campaign.folder)])} {words}"
        for board in campaign.of_guests().lacking()
    ]


@contextlib.contextmanager
def booted(
    board: Board,
    campaign: Campaign,
    boot: OpenBoot,
    visit: Visit,
    tune: bool = False,
    changed: Callable[[Launch], Launch] = _launched,
) -> Iterator[Link]:
    """Start the boot that a visit needs, record what it is, and yield the line to it.

    Parameters
    ----------
    board, campaign, boot
        What is started, and where that is recorded.
    visit : Visit
        One of those that the boot is for.
    tune : bool
        As for collect().
    changed : callable
        What makes of how it is started how it is to be started.
    """
    wanted = visit.kernel
    factors, kernel = campaign.design_of(board.name).factors.on(wanted), Kernel.of(wanted)
    launch = changed(board.launch(boot.console, factors.strategies, kernel.release))
    boot.begin()
    with Link(board.name, launch) as link:
        tuned = board.tune(link) if tune else {}
        facts = {**_facts(board, link, factors, kernel), **tuned, **launch.facts}
        if tuned:
            progress.say(f"{board.name}: {doctor.tuned(tuned['tuned'])}")
        if wanted:
            right_kernel(campaign, board.name, visit, facts)
            facts |= {"kernel": kernel.label, "release": facts["kernel"]} if kernel.label else {}
        same_machine(campaign, board, facts)
        boot.describe(facts_of(board, facts))
        yield link


def _walk_boot(
    board: Board, campaign: Campaign, boot: OpenBoot, visits: list[Visit], tune: bool, way: Way
) -> Iterator[tuple[float, Line]]:  # fmt: skip
    """Make the visits of one boot, and yield how many seconds each took once it is recorded, and what was recorded."""
    factors = campaign.design_of(board.name).factors.on(visits[0].kernel)
    slowed = set[str]()
    with booted(board, campaign, boot, visits[0], tune, way.launched) as link:
        for visit in visits:
            started = time.monotonic()
            if line := way.line(board, link, visit, factors):
                boot.record(line, file=campaign.file)
                slowed |= set(line.get("throttled", ()))
            yield time.monotonic() - started, line or {}
        boot.add(board.after(link), {"throttled": {"during": sorted(slowed)}} if slowed else {})
