"""How long visits take."""

from __future__ import annotations

from study.collect.boards import Board
from study.terminal.progress import duration


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
