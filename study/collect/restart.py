"""Restart a board where the design needs another boot of it, and wait until that boot answers."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any

from study.errors import BadRequest, BoardFailed, WrongBoot
from study.process import run
from study.terminal import progress

PATIENCE, PAUSE = 900.0, 5.0  # seconds until the board must have come back, and between two looks


def until_right(
    look: Callable[[], object],
    again: Callable[[], object],
    how: str,
    patience: float = PATIENCE,
    pause: float = PAUSE,
    say: Callable[[str], object] = progress.say,
) -> None:
    """Return when the right boot answers: at once, or after the board was restarted.

    Parameters
    ----------
    look : callable
        Raises WrongBoot while another boot answers, and BoardFailed while none does.
    again : callable
        Restarts the board; called once.
    how : str
        How it does that: ``with: lab-power cycle``.
    patience, pause : float
        Seconds until the board must have come back, and between two looks.
    say : callable
        Takes a line for people.

    Raises
    ------
    BoardFailed
        If the board does not answer before it was restarted, or not in time after it; WrongBoot if it answers with another
        boot still.
    StudyError
        If it cannot be restarted.
    """
    try:
        look()
        return
    except WrongBoot as error:
        say(f"{error.why}; restarting it {how}")
    again()
    end = time.monotonic() + patience
    while True:
        time.sleep(pause)
        try:
            look()
            return
        except BoardFailed as error:
            if time.monotonic() > end:
                late = f"{error}; it was restarted {patience / 60:.0f} min ago {how}"
                raise type(error)(late) from None


def by_command(look: Callable[[], object], command: str, environment: Mapping[str, str], **how: Any) -> None:
    """Return when the right boot answers: at once, or after a command has restarted the board.

    Parameters
    ----------
    look : callable
        As for until_right().
    command : str
        Restarts the board; run once, without a shell.
    environment : mapping of str to str
        Tells the command which kernel is wanted.
    how : keywords
        Of until_right().

    Raises
    ------
    BoardFailed
        As until_right() does.
    StudyError
        If the command fails.
    """
    until_right(look, lambda: run(words(command), env=environment), f"with: {command}", **how)


def words(command: str) -> list[str]:
    """Return the words of a command line.

    Raises
    ------
    BadRequest
        If it has none, or quotes that do not close.
    """
    try:
        found = shlex.split(command)
    except ValueError as error:
        raise BadRequest(f"the command that restarts a board, {command!r}, cannot be read: {error}") from None
    if not found:
        raise BadRequest("the command that restarts a board is empty")
    return found
