"""Ready to measure? Start a board, ask it, and say what it found in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from study import paths
from study.collect import boards
from study.collect.boards import Link
from study.collect.onboard.doctor import BAD, GOOD
from study.errors import BoardFailed

Row = Mapping[str, str]
MOST = 64  # columns for what there is; what is longer pushes its verdict to the right


def examine(name: str, kernel: str = "") -> list[dict[str, str]]:
    """Start a board and return a row for each check: ``check``, ``found``, ``verdict`` and ``todo``.

    Parameters
    ----------
    name : str
        Of the board.
    kernel : str
        How the release of its kernel begins, where the board can choose.

    Raises
    ------
    BadRequest
        If there is no such board.
    BoardFailed
        If it does not start, does not answer, or examined nothing.
    """
    board = boards.find(name)
    folder = paths.cache() / "doctor"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name.replace('/', '-')}.log"
    log.unlink(missing_ok=True)
    launch = board.launch(log, (), kernel)
    with Link(name, launch) as link:
        rows = board.doctor(link)
    if not rows:
        raise BoardFailed(f"{name}: it answered, but examined nothing, so nothing is known of it (its words: {launch.console})")
    return rows


def well(rows: Sequence[Row]) -> bool:
    """Say whether nothing keeps the board from being measured."""
    return all(row["verdict"] != BAD for row in rows)


def lines(rows: Sequence[Row]) -> str:
    """Return a line for each row: the check, what there is, and ``good`` or what to do."""
    name = max(len(row["check"]) for row in rows)
    found = max((len(row["found"]) for row in rows if len(row["found"]) <= MOST), default=0)
    shown = []
    for row in rows:
        judged = GOOD if row["verdict"] == GOOD else f"{row['verdict']}: {row['todo']}"
        shown.append(f"{row['check']:<{name}}  {row['found']:<{found}}  {judged}")
    return "\n".join(shown)


def tuned(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return in a line what tuning a board changed and what it could not."""
    if not rows:
        return "there is nothing to tune"
    refused = [row for row in rows if "refused" in row]
    said = f"{len(rows) - len(refused)} settings are tuned until the end of the boot"
    if refused:
        said += f", {len(refused)} could not be ({refused[0]['path']}: {refused[0]['refused']})"
    return said
