"""What ``perf stat -j`` prints, and what a round trip costs by it. Pure.

perf prints one JSON object a line. Values are strings, and so are ``<not supported>`` and ``<not counted>``: here they
become data with a reason, never zero and never an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from study.errors import BadData

# With these keys a line counts a part of the machine by itself; a window of ours is all that one thread does.
PARTS = frozenset({"cpu", "core", "cluster", "cache", "die", "socket", "node", "cgroup"})
APART = PARTS | {"thread"}

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


def parse(text: str, refused: Set[str] = PARTS) -> list[Count]:
    """Read what ``perf stat -j`` printed: comments, blank lines and what perf derives from counts are passed over.

    Parameters
    ----------
    text : str
        Lines of JSON.
    refused : set of str
        Keys of lines that count a part by itself.

    Raises
    ------
    BadData
        If a line is not what perf prints, or counts a part of the machine by itself: parts are no repetitions.
    """
    counts = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            item = json.loads(line)
            if "metric-value" in item and "counter-value" not in item:
                continue
            apart = refused & item.keys()
            word, event = str(item["counter-value"]), str(item["event"])
            running = float(item.get("pcnt-running", 100.0)) / 100
            value = math.nan if word in MISSING else float(word)
            unit = str(item.get("unit") or "")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise BadData(f"this is not a line of perf stat -j: {line[:80]!r}") from None
        if apart:
            raise BadData(
                f"perf stat counted each {min(apart)} apart; leave out -A, --per-{min(apart)} and the like: {line[:80]!r}"
            )
        if not (word in MISSING or 0 <= value < math.inf) or not 0 <= running <= 1:
            raise BadData(f"perf stat counted nonsense: {line[:80]!r}")
        counts.append(Count(event, value, running, MISSING.get(word, ""), unit))
    return counts


def per_round_trip(windows: Iterable[Mapping[str, Any]]) -> list[Count]:
    """Return the count of each event per round trip: the difference of a long and a short window over that of their loops.

    What both windows contain once, such as switching the counters on and off, drops out. An event that is missing in
    either window keeps its reason.

    Parameters
    ----------
    windows : iterable of mappings
        ``loops`` and ``perf``; each two successive ones belong together, the shorter first.

    Raises
    ------
    BadData
        If they do not pair up.
    """
    try:
        read = [(int(window["loops"]), parse(window["perf"])) for window in windows]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadData(f"this is no window of perf: {type(error).__name__}, {str(error)[:80]!r}") from None
    if len(read) % 2:
        raise BadData(f"{len(read)} windows do not pair up")
    result = []
    for (fewer, short), (more, long) in zip(read[::2], read[1::2], strict=True):
        loops = more - fewer
        counted = {count.event: count for count in short}
        for count in long:
            first = counted.get(count.event)
            if first is None or not 0 < loops < MOST_LOOPS:
                raise BadData(f"the windows of {count.event!r:.80} do not pair up")
            running = min(first.running, count.running)
            result.append(Count(count.event, (count.value - first.value) / loops, running, count.why or first.why, count.unit))
    return result
