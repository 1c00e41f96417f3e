"""Which boot a run is of, by the clock of the machine that made it. Pure.

pyperf says when a machine was booted in local time, by a clock that may be set meanwhile: the same boot is a second earlier or
later in another run, some hours in another time zone, and years before NTP has set the clock of a board without one. What
cannot be set is how long the machine has been up. So boots are one within seconds, and where they are whole quarters of an hour
apart and did not do two runs at once; and where neither can be said, nothing is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from study.errors import BadRequest

# Seconds by which the start of one boot moves, when it is read again and while a clock is steered.
TOLERANCE = 5.0
# Time zones are whole quarters of an hour apart, and less than a day; pyperf cuts the start of a boot to seconds.
QUARTER, DAY, ROUNDED = 900.0, 86400.0, 2.0
# Runs on one machine come one after the other: those that have this share of the shorter one in common are two machines', or boots'.
AT_ONCE = 0.5


@dataclass(frozen=True)
class Seen:
    """What a run says of its boot.

    Parameters
    ----------
    began : str
        When the machine was booted, in its local time, as pyperf has it.
    up : float
        Seconds since then, at the end of the run; NaN if nobody says it.
    took : float
        Seconds that the run took; 0 if nobody says it.
    """

    began: str
    up: float = math.nan
    took: float = 0.0

    @property
    def start(self) -> float:
        """When the machine was booted, in seconds of its local time; NaN if that is no time."""
        try:
            return datetime.fromisoformat(self.began).replace(tzinfo=UTC).timestamp()
        except (ValueError, OverflowError):
            return math.nan


def seen(metadata: Mapping[str, Any]) -> Seen | None:
    """Return what pyperf's metadata say of a run's boot; None if they do not say when it began."""
    began = str(metadata.get("boot_time") or "").strip()
    return Seen(began, _number(metadata, "uptime", math.nan), _number(metadata, "duration", 0.0)) if began else None


def _number(metadata: Mapping[str, Any], name: str, default: float) -> float:
    value = metadata.get(name)
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e12 else default


def boots(new: Sequence[Seen], known: Mapping[str, Sequence[Seen]]) -> dict[str, str]:
    """Return the name of the boot for each start that runs of one machine and kernel say.

    Parameters
    ----------
    new : sequence of Seen
        Of the runs that are asked for.
    known : mapping of str to sequences of Seen
        Boots whose names are given, and what was seen of them.

    Returns
    -------
    dict of str to str
        A name for each `began` of `new`: of a boot that is known, or the first start that was seen of another.

    Raises
    ------
    BadRequest
        If two boots overlap, or may be one whose clock was set.
    """
    found = {name: set(runs) for name, runs in known.items()}
    names = {}
    for began in sorted({run.began for run in new}):
        runs = {run for run in new if run.began == began}
        name = next((name for is_same in (_near, _elsewhere) for name, boot in found.items() if is_same(boot, runs)), began)
        found.setdefault(name, set()).update(runs)
        names[began] = name
    _insist_apart(found)
    return names


def _near(boot: set[Seen], runs: set[Seen]) -> bool:
    return any(run.began == one.began or abs(run.start - one.start) <= TOLERANCE for run in runs for one in boot)


def _elsewhere(boot: set[Seen], runs: set[Seen]) -> bool:
    """Say whether runs are of a boot by its clock in another time zone."""
    both = boot | runs
    apart = {abs(run.start - one.start) for run in runs for one in boot}
    whole = all(gap < DAY and abs(math.remainder(gap, QUARTER)) <= ROUNDED for gap in apart)
    return whole and not any(math.isnan(run.up) for run in both) and not _at_once(both)


def _at_once(runs: set[Seen]) -> bool:
    """Say whether a machine that was booted once would have made two runs at the same time."""
    ordered = sorted(runs, key=lambda run: run.up)
    return any(_apart(*pair) < AT_ONCE * min(run.took for run in pair) for pair in itertools.pairwise(ordered))


def _apart(early: Seen, late: Seen) -> float:
    """Return how many seconds two runs of a boot are apart: a start that is cut to another second is cut off the uptime, too."""
    cut = math.remainder(late.start - early.start, QUARTER)
    gaps = [late.up - early.up, *([late.up - early.up + cut] if abs(cut) <= ROUNDED else [])]
    return max(map(abs, gaps))


def _insist_apart(found: Mapping[str, set[Seen]]) -> None:
    """Refuse boots of which the clock does not say how many they are."""
    known = [{run for run in boot if not math.isnan(run.up + run.start)} for boot in found.values()]
    ordered = sorted(filter(None, known), key=lambda boot: min(run.start for run in boot))
    doubts = [*map(_doubt_of_one, ordered), *itertools.starmap(_doubt_of_two, itertools.pairwise(ordered))]
    if why := next(filter(None, doubts), ""):
        raise BadRequest(f"{why}: import each boot in a call of its own, with --tag boot=NAME")


def _doubt_of_one(boot: set[Seen]) -> str:
    """Return why runs cannot be of one boot, whose start they share; empty if they can."""
    return f"runs of the boot of {min(run.began for run in boot)} were made at the same time" if _at_once(boot) else ""


def _doubt_of_two(early: set[Seen], late: set[Seen]) -> str:
    """Return why boots may not be two; empty if they are."""
    first, second = (min(boot, key=lambda run: run.start) for boot in (early, late))
    both = f"the boots of {first.began} and {second.began}"
    if any(run.start + run.up > second.start + TOLERANCE for run in early):
        return f"{both} overlap"
    goes_on = max(run.up for run in early) <= min(run.up for run in late) and not _at_once(early | late)
    return f"{both} may be one whose clock was set, for the second goes on where the first ends" if goes_on else ""
