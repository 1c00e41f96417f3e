"""What ``perf stat -j`` prints, and what a round trip costs by it. Pure.

perf prints one JSON object a line. Values are strings, and so are ``<not supported>`` and ``<not counted>``: here they
become data with a reason, never zero and never an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from study.errors import BadData


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
    """

    event: str
    value: float
    running: float = 1.0
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the count as a visit's line holds it: null where there is no value."""
        return {"event": self.event, "value": None if self.why else self.value, "running": self.running, "why": self.why}


def parse(text: str) -> list[Count]:
    """Read what ``perf stat -j`` printed: comments and blank lines are passed over.

    Raises
    ------
    BadData
        If a line is not what perf prints.
    """
    counts = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            item = json.loads(line)
            word, event = str(item["counter-value"]), str(item["event"])
            running = float(item.get("pcnt-running", 100.0)) / 100
            value = math.nan if word.startswith("<") else float(word)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadData(f"this is not a line of perf stat -j: {line[:80]!r}") from None
        if math.isinf(value) or value < 0 or not 0 <= running <= 1:
            raise BadData(f"perf stat counted nonsense: {line[:80]!r}")
        counts.append(Count(event, value, running, word.strip("<>") if word.startswith("<") else ""))
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
    windows = list(windows)
    if len(windows) % 2:
        raise BadData(f"{len(windows)} windows do not pair up")
    result = []
    for short, long in zip(windows[::2], windows[1::2], strict=True):
        loops = long["loops"] - short["loops"]
        counted = {count.event: count for count in parse(short["perf"])}
        for count in parse(long["perf"]):
            first = counted.get(count.event)
            if first is None or loops <= 0:
                raise BadData(f"the windows of {count.event} do not pair up")
            running = min(first.running, count.running)
            result.append(Count(count.event, (count.value - first.value) / loops, running, count.why or first.why))
    return result
