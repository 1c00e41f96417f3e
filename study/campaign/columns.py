"""What the visits of a boot measured, in brief, and a copy of it in the cache: it is read without reading and judging all lines again.

A copy's name is the digest of all that it depends on: the raw file, the designs, and what of this program reads and judges. It
begins with the digest of what follows: how many values there are, the values, and a line of JSON for each line, which has the
number of values in the place of them. One that is not there, or is damaged, is made again from the raw file, which alone is the
truth; one that was not used for long is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study import paths
from study.campaign.files import write_whole
from study.campaign.sums import digest_of

LEAST = 100_000  # bytes of a raw file; a smaller one is read as fast
KEPT = 30 * 86400.0  # seconds since a copy was used last
DIGEST, NUMBER = hashlib.sha256().digest_size, 8  # bytes of a digest, and of a number of values or of one
ASKED = ("visit", "block", "arm", "cell", "loops", "counts", "module", "source", "throttled")  # of a line, by those who compute
# What says which lines are good, as it is when it is loaded.
JUDGES = ("campaign/*.py", "campaign/schemas/*.json", "design.py", "factors.py", "guests.py")
JUDGED_BY = hashlib.sha256(
    b"\0".join(path.read_bytes() for pattern in JUDGES for path in sorted(paths.STUDY.glob(pattern)))
).hexdigest()


def folder() -> Path:
    """Return where copies are; all of them can be removed at any time."""
    return paths.cache() / "columns"


@dataclass(frozen=True)
class Copy:
    """The copy of a file of lines: where it is or would be, and what is in it: nothing if it is not there, or is damaged.

    A file that is too small to have one has no place.
    """

    place: Path | None
    lines: list[dict[str, Any]]

    @classmethod
    def of(cls, raw: Path, *judged_by: str) -> Copy:
        """Return the copy of a raw file of lines, as they are judged by what has these words."""
        if not raw.exists() or raw.stat().st_size < LEAST:
            return cls(None, [])
        name = hashlib.sha256("\0".join([JUDGED_BY, digest_of(raw), *judged_by]).encode()).hexdigest()
        place = folder() / name
        return cls(place, _read(place))

    def keep(self, lines: Sequence[dict[str, Any]]) -> None:
        """Write lines in brief, if they have a place and the cache can be written to, and remove copies that nobody uses."""
        if self.place:
            with contextlib.suppress(OSError):
                self.place.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self.place, _packed(lines))
                for other in self.place.parent.iterdir():
                    if other.stat().st_mtime < time.time() - KEPT:
                        other.unlink(missing_ok=True)


def brief(line: dict[str, Any]) -> dict[str, Any]:
    """Return of a line what was measured: ASKED, and of pyperf `unit` and `values`, an array of those of all runs."""
    import numpy as np

    found = {name: line[name] for name in ASKED if name in line}
    if "pyperf" in line:
        (benchmark,) = line["pyperf"]["benchmarks"]
        found["unit"] = {**line["pyperf"].get("metadata", {}), **benchmark.get("metadata", {})}.get("unit", "second")
        found["values"] = np.concatenate([np.asarray(run.get("values", ()), dtype=float) for run in benchmark["runs"]])
    return found


def _packed(lines: Sequence[dict[str, Any]]) -> bytes:
    import numpy as np

    values = np.concatenate([[], *(line["values"] for line in lines if "values" in line)]).astype("<f8")
    text = "".join(f"{json.dumps(line, default=len)}\n" for line in lines)  # of an array, how many values it has
    content = len(values).to_bytes(NUMBER, "little") + values.tobytes() + text.encode()
    return hashlib.sha256(content).digest() + content


def _read(place: Path) -> list[dict[str, Any]]:
    import numpy as np

    with contextlib.suppress(OSError):
        text = place.read_bytes()
        if hashlib.sha256(memoryview(text)[DIGEST:]).digest() == text[:DIGEST]:
            count = int.from_bytes(text[DIGEST : DIGEST + NUMBER], "little")
            values, at = np.frombuffer(text, "<f8", count, DIGEST + NUMBER), 0
            lines: list[dict[str, Any]] = [json.loads(line) for line in text[DIGEST + NUMBER * (1 + count) :].splitlines()]
            for line in lines:
                if "values" in line:
                    line["values"] = values[at : (at := at + line["values"])]
            os.utime(place)
            return lines
    return []
