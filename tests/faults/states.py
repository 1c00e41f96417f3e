"""The states in which a run can be struck: at which event it is stopped there, and how the disk and /proc tell that it is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.faults.ledger import lines, unsigned
from tests.faults.processes import files_of, processes, unread

STARTING, OPEN, CLOSING, CLOSED = range(4)  # how far a campaign is


@dataclass(frozen=True)
class Scene:
    """A campaign whose recorder is stopped.

    Parameters
    ----------
    folder : path
        The campaign.
    recorder : int
        The process that records.
    planned : int
        How many visits the campaign has in the end.
    before : frozenset of path
        What was in the folder before the run.
    """

    folder: Path
    recorder: int
    planned: int
    before: frozenset[Path]

    def new(self, pattern: str) -> list[Path]:
        """Return what this run has made."""
        return sorted(set(self.folder.glob(pattern)) - self.before)

    @cached_property
    def frozen(self) -> bool:
        """Whether the design is in place."""
        return (self.folder / "design.json").exists()

    @cached_property
    def complete(self) -> bool:
        """Whether all visits are recorded."""
        return len(lines(self.folder)[0]) == self.planned

    @cached_property
    def own(self) -> list[bytes]:
        """The lines that this run has written, after the last of them what is there of another."""
        return [text for path in self.new("boots/*/visits.jsonl") for text in path.read_bytes().split(b"\n")]

    @cached_property
    def board(self) -> int:
        """The process that carries the line to the board, if that has not read what it was asked; else 0."""
        children = [process.pid for process in processes() if process.parent == self.recorder]
        return next((pid for pid in children if unread(pid)), 0)


@dataclass(frozen=True)
class State:
    """A state.

    Parameters
    ----------
    event : str
        Of those of stopper/sitecustomize.py.
    says : str
        The state in words.
    far : int
        How far the campaign is then.
    is_met : callable
        Whether a scene shows it, if none of the states before it in the table is met.
    """

    event: str
    says: str
    far: int
    is_met: Callable[[Scene], object]


STATES = {
    state.event: state
    for state in (
        State("loading", "loading", STARTING, lambda scene: not scene.frozen and not scene.new("*.part")),
        State("unfrozen", "design aside", STARTING, lambda scene: not scene.frozen and scene.new("design.json.*.part")),
        State("closing", "sums aside", CLOSING, lambda scene: scene.new("SHA256SUMS.*.part")),
        State("closed", "all closed", CLOSED, lambda scene: scene.complete and not unsigned(scene.folder)),
        State("writing", "half a line", OPEN, lambda scene: scene.own and scene.own[-1]),
        State("unsynced", "line not synced", OPEN, lambda scene: scene.own and _is_open(scene)),
        State("asked", "in a visit", OPEN, lambda scene: scene.board),
        State("begun", "no line yet", OPEN, lambda scene: scene.new("boots/*/boot.json") and not scene.own),
        State("between", "between visits", OPEN, lambda scene: scene.own),
    )
}


def _is_open(scene: Scene) -> bool:
    return any(name.endswith("/visits.jsonl") for name in files_of(scene.recorder))


def of(scene: Scene) -> State | None:
    """Return the state that a scene shows; nothing if it is none of the table."""
    return next((state for state in STATES.values() if state.is_met(scene)), None)


def states(*far: int) -> tuple[State, ...]:
    """Return the states of campaigns that are so far."""
    return tuple(state for state in STATES.values() if state.far in far)
