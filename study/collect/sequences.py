"""Play the same sequences of accesses to debug registers on every kernel of a measured series: what was read, and what fired, must agree."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from study.campaign import Campaign
from study.campaign.files import write_whole
from study.collect import boards
from study.collect.boards import Link
from study.collect.boards.emulated import EmulatedBoard
from study.design import GIT
from study.errors import BadRequest, BoardFailed
from study.kernels import image
from study.kernels.cache import cached, digest, kept
from study.terminal import progress

PLAYED = "played"  # what of the cache came of a kernel, while others are still to be played on
AT_ONCE = 10  # sequences that a board is asked for
PATIENCE = 900.0  # seconds for so many
CPUS = 2  # one of a vCPU, and one of a host that begins to debug while it is loaded
# What sequences must have met before it means anything that nothing differs: exceptions by their class in ESR_EL1, a host whose breakpoints
# fired, and one whose fired though it began to debug while a vCPU was loaded, and a debugger of user space that met something.
MUST = {
    "exception 0x30": "breakpoint at EL0", "exception 0x31": "breakpoint at EL1", "exception 0x34": "watchpoint at EL0",
    "exception 0x35": "watchpoint at EL1", "exception 0x32": "step at EL0", "host fired": "breakpoint of the host",
    "late fired": "breakpoint of a host that begins to debug while a vCPU is loaded", "debugger met": "exit to a debugger",
}  # fmt: skip


def play(campaign: Campaign, names: Sequence[str], count: int, seed: str) -> dict[str, Any]:
    """Play sequences on the base, on the base again, and on every other kernel of a series; record and return what came of them.

    A command that was ended goes on with the first kernel that it did not come to the end of.

    Parameters
    ----------
    campaign : Campaign
        Of a series that was built here.
    names : sequence of str
        Emulated boards; they play at the same time.
    count : int
        How many sequences.
    seed : str
        From which they are drawn, together with their numbers.

    Returns
    -------
    dict
        As Campaign.sequences() has it.

    Raises
    ------
    BadRequest
        If the campaign measures no series, or a board is not emulated.
    BoardFailed
        If a kernel does not come to the end of a sequence, or so many sequences meet too little of what they are for.
    """
    known = campaign.series()
    if not known:
        raise BadRequest(f"{campaign.folder} measures no series, whose kernels sequences are played on: see study series --help")
    if count < 1:
        raise BadRequest(f"{count} sequences are none: ask for 1 at least")
    rows = [row for row in (known["base"], *known["patches"]) if row["kernel"] == row["label"]]
    kernels = [rows[0], *rows]
    alone, stopped = threading.Lock(), threading.Event()
    emulated = [_emulated(name) for name in dict.fromkeys(names)]
    recipes = {board.name: _recipes(campaign, board.name, kernels, count, seed) for board in emulated}
    with (
        progress.bar("sequences", len(emulated) * len(kernels) * count, "played") as bar,
        ThreadPoolExecutor(len(emulated)) as each,
    ):

        def done(number: int) -> None:
            if stopped.is_set():
                raise BoardFailed("the other board failed, or the command was ended")
            with alone:
                bar.update(number)

        try:
            found = [each.submit(_of_board, board, kernels, recipes[board.name], count, seed, done) for board in emulated]
            ended, _ = wait(found, return_when=FIRST_EXCEPTION)
            failed = [error for future in ended if (error := future.exception())]
            if failed:
                raise failed[0]
        finally:
            stopped.set()  # nobody plays on whom nobody waits for
        told = {"seed": seed, "count": count, "played": [row for future in found for row in future.result()]}
    campaign.record_sequences(told)
    for board in emulated:  # who asks again has them played again
        for recipe in recipes[board.name]:
            shutil.rmtree(kept(PLAYED, recipe), ignore_errors=True)
    return told


def _emulated(name: str) -> EmulatedBoard:
    board = boards.find(name)
    if not isinstance(board, EmulatedBoard):
        raise BadRequest(f"{name}: sequences are played on emulated boards, which start each kernel afresh; see: study boards")
    board.cpus = CPUS
    return board


def _of_board(
    board: EmulatedBoard,
    kernels: Sequence[Mapping[str, str]],
    recipes: Sequence[str],
    count: int,
    seed: str,
    done: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Play on one board, kernel after kernel."""
    name, base = board.name, list[Any]()
    rows: list[dict[str, Any]] = []
    for recipe, row in zip(recipes, kernels, strict=True):
        if kept(PLAYED, recipe).is_dir():
            done(count)
        place = cached(PLAYED, recipe, partial(_play, board, row, count, seed, done))
        told = json.loads((place / "played.json").read_text())
        played, met = told["played"], told["met"]
        base = base or played
        if lacking := [says for what, says in MUST.items() if not met.get(what)]:
            raise BoardFailed(f"{name}: {count} sequences met no {', no '.join(lacking)}: ask for more of them, with --count")
        differ = [number for number, (one, other) in enumerate(zip(base, played, strict=True)) if one != other]
        if differ:
            progress.say(f"{name}, {row['label']}: {first_difference(differ[0], base[differ[0]], played[differ[0]])}")
        rows.append(
            {
                "board": name,
                "mode": told["mode"],
                "kernel": row["label"],
                "build_id": told["build_id"],
                "digest": hashlib.sha256(json.dumps(played).encode()).hexdigest(),
                "differ": differ,
                "met": dict(sorted(met.items())),
            }
        )
    return rows


def _recipes(campaign: Campaign, name: str, kernels: Sequence[Mapping[str, str]], count: int, seed: str) -> list[str]:
    """Return of each kernel what is played on it for a campaign; the second time on the base is another than the first."""
    images = [image.image(GIT + row["commit"]).name for row in kernels]
    whose = (str(campaign.folder.resolve()), name, str(count), seed)
    return [digest(*whose, what, str(images[:n].count(what))) for n, what in enumerate(images)]


def _play(board: EmulatedBoard, row: Mapping[str, str], count: int, seed: str, done: Callable[[int], None], folder: Path) -> None:
    """Play on one kernel, and write down what came of it."""
    played: list[Any] = []
    met: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="study-") as place,  # of this command: others may play on such a board, too
        Link(board.name, board.launch(Path(place, "console.log"), ("stock",), GIT + row["commit"])) as link,
    ):
        facts = link.ask("facts", events=[], strategies=["stock"])
        while len(played) < count:
            at_once = min(AT_ONCE, count - len(played))
            answer = link.ask("play", patience=PATIENCE, seed=seed, first=len(played), count=at_once)
            played += _checked(board.name, answer, at_once)
            met.update(answer["met"])
            done(at_once)
    told = {"mode": str(facts["mode"]), "build_id": str(facts["build_id"]), "played": played, "met": met}
    write_whole(folder / "played.json", json.dumps(told))


def _checked(name: str, answer: Mapping[str, Any], count: int) -> list[Any]:
    played = answer.get("played")
    if not isinstance(played, list) or len(played) != count or not isinstance(answer.get("met"), dict):
        raise BoardFailed(f"{name}: the board answers nonsense where {count} sequences were asked for")
    return played


def first_difference(number: int, base: Sequence[Any], other: Sequence[Any]) -> str:
    """Return a sequence, and the first thing that came of it on one kernel and not on the other. Pure.

    Parameters
    ----------
    number : int
        Of the sequence.
    base, other : sequence
        Its acts, and what came of it, on the two kernels.
    """
    acts = [" ".join([who, what, str(which), f"{value:#x}"]) for who, what, which, value in base[0]]
    pairs = itertools.zip_longest(base[1], other[1], fillvalue="nothing")
    one, two = next(((one, two) for one, two in pairs if one != two), ("other acts", "other acts"))
    return "\n  ".join([f"sequence {number} came out otherwise than on the base:", *acts, f"base: {one}", f"here: {two}"])
