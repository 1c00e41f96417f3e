"""What ``perf stat -j`` prints, and what a round trip costs by it. Pure.

perf prints one JSON object a line. Values are strings, and so are ``<not supported>`` and ``<not counted>``: here they
become data with a reason, never zero and never an error. Rows of intervals are one run's, and their sum is what it counted.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from study.errors import BadData

# With these keys a line counts a part of the machine by itself; a window of ours is all that one thread does.
PARTS = frozenset({"cpu", "core", "cluster", "cache", "die", "socket", "node", "cgroup"})
APART = PARTS | {"thread"}
# What asks perf for that, but for --per- and the part.
OPTIONS = {"cpu": "-A", "cgroup": "-G and --for-each-cgroup"}

# How each run of perf stat -o begins, and the numbers of a locale whose decimals come after a comma, by -j and by -x.
STARTED = "# started on"
DECIMAL_COMMA = re.compile(r'\{.*" : "?\d+,\d+"?[,}]|\d+,\d+[^\s\d,]')
WHOLE_RUN = math.inf  # when the row of a whole run was printed: after all of its intervals

# Why perf has no value.
MISSING = {f"<{why}>": why for why in ("not supported", "not counted")}
# Round trips of a window, far below where whole numbers cannot be divided by any more.
MOST_LOOPS = 1 << 62


@dataclass(frozen=True)
class Count:
    """What perf says of one event.

    Parameters
    ----------
    event : str
        Its name, as perf prints it.
    value : float
        The count, scaled by perf if the event was multiplexed; NaN if there is none.
    running : float
        Share of the time in which it was counted, 0 to 1; below 1 the value is an estimate.
    why : str
        Why there is no value: ``not supported`` or ``not counted``; empty if there is one.
    unit : str
        What perf says it counts in, such as ``msec``; empty for what is counted by the piece.
    """

    event: str
    value: float
    running: float = 1.0
    why: str = ""
    unit: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the count as a visit's line holds it: null where there is no value, a unit where perf has one."""
        count = {"event": self.event, "value": None if self.why else self.value, "running": self.running, "why": self.why}
        return count | ({"unit": self.unit} if self.unit else {})


class NotPerf(BadData):
    """A line that perf stat -j does not print."""


def parse(text: str, refused: Set[str] = PARTS) -> list[Count]:
    """Read what ``perf stat -j`` printed: comments, blank lines and what perf derives from counts are passed over.

    Parameters
    ----------
    text : str
        Lines of JSON, of one run or several.
    refused : set of str
        Keys of lines that count a part by itself.

    Returns
    -------
    list of Count
        What each run counted: of a run with intervals (``-I``) their sum, or the summary that comes after them.

    Raises
    ------
    NotPerf
        If a line is not what perf prints.
    BadData
        If its numbers cannot be, have a decimal comma, or count a part of the machine by itself: parts are no repetitions.
    """
    runs: list[list[tuple[float, Count]]] = [[]]
    for line in map(str.strip, text.splitlines()):
        begins = line.startswith(STARTED)
        row = None if not line or line.startswith("#") else _row(line, refused)
        if begins or (row and runs[-1] and row[0] < runs[-1][-1][0]):
            runs.append([])
        runs[-1] += [row] if row else []
    return [count for run in runs for count in _of_run(run)]


def _row(line: str, refused: Set[str]) -> tuple[float, Count] | None:
    """Return when a row was printed, in seconds of its run, and what it says; None if that is only derived from others."""
    try:
        item = json.loads(line)
        if "metric-value" in item and "counter-value" not in item:
            return None
        apart = refused & item.keys()
        at = float(item.get("interval", WHOLE_RUN))
        word, event = str(item["counter-value"]), str(item["event"])
        running = float(item.get("pcnt-running", 100.0)) / 100
        value = math.nan if word in MISSING else float(word)
        unit = str(item.get("unit") or "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        if DECIMAL_COMMA.match(line):
            raise BadData(
                f"its numbers have a decimal comma: count again with LC_ALL=C perf stat -j ...: {line[:80]!r}"
            ) from None
        raise NotPerf(f"this is not a line of perf stat -j: {line[:80]!r}") from None
    if apart:
        part = min(apart)
        options = OPTIONS.get(part, f"--per-{part}")
        raise BadData(
            f"perf stat counted each {part} apart: count again without {options}, so that a row is all of it: {line[:80]!r}"
        )
    if not (word in MISSING or 0 <= value < math.inf) or not 0 <= running <= 1 or math.isnan(at):
        raise BadData(f"perf stat counted nonsense: {line[:80]!r}")
    return at, Count(event, value, running, MISSING.get(word, ""), unit)


def _of_run(rows: Sequence[tuple[float, Count]]) -> Iterator[Count]:
    """Yield what a run counted: rows of the whole run, and of an event that has none the sum of its intervals."""
    whole = {(count.event, count.unit) for at, count in rows if at == WHOLE_RUN}
    times = Counter[tuple[float, str, str]]()
    intervals: dict[tuple[str, str, int], list[Count]] = {}
    for at, count in rows:
        event = count.event, count.unit
        if at == WHOLE_RUN:
            yield count
        elif event not in whole:
            times[at, *event] += 1  # who asks for an event twice has two rows in each interval
            intervals.setdefault((*event, times[at, *event]), []).append(count)
    yield from map(_sum, intervals.values())


def _sum(intervals: Sequence[Count]) -> Count:
    """Return the count of all intervals. What slept in one has nothing there; what was left out of one is not known at all."""
    counted = [count for count in intervals if not count.why]
    lost = [count for count in intervals if count.why and count.running < 1] or ([] if counted else list(intervals))
    if lost:
        return lost[0]
    return replace(counted[0], value=math.fsum(c.value for c in counted), running=min(c.running for c in counted))


def counted(window: Mapping[str, Any]) -> list[Count]:
    """Read a window: what perf printed (`perf`), or how often tracepoints were met (`tracepoints`).

    Raises
    ------
    BadData
        If it is neither.
    """
    if "tracepoints" in window:
        return [Count(event, float(value)) for event, value in window["tracepoints"].items()]
    return parse(window["perf"])


def per_round_trip(windows: Iterable[Mapping[str, Any]]) -> list[Count]:
    """Return the count of each event per round trip: the difference of a long and a short window over that of their loops.

    What both windows contain once, such as switching the counters on and off, drops out. An event that is missing in
    either window keeps its reason.

    Parameters
    ----------
    windows : iterable of mappings
        ``loops``, and what counted() reads; each two successive ones belong together, the shorter first.

    Raises
    ------
    BadData
        If they do not pair up.
    """
    try:
        read = [(int(window["loops"]), counted(window)) for window in windows]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadData(f"this is no window of perf: {type(error).__name__}, {str(error)[:80]!r}") from None
    if len(read) % 2:
        raise BadData(f"{len(read)} windows do not pair up")
    result = []
    for (fewer, short), (more, long) in zip(read[::2], read[1::2], strict=True):
        loops = more - fewer
        shorter = {count.event: count for count in short}
        for count in long:
            first = shorter.get(count.event)
            if first is None or not 0 < loops < MOST_LOOPS:
                raise BadData(f"the windows of {count.event!r:.80} do not pair up")
            running = min(first.running, count.running)
            result.append(Count(count.event, (count.value - first.value) / loops, running, count.why or first.why, count.unit))
    return result
