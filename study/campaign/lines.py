"""The line of a visit: JSON with its own digest, read fast even where it holds many values."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from study.campaign import schema
from study.errors import BadData

# Values of a visit, if they are many, as Python spells them; and what stands in their place meanwhile.
NUMBER = rb"(?:[1-9](?:\.\d{1,16}+(?<!0))?e-(?:0[5-9]|[1-9]\d)|(?:0|[1-9]\d*+)\.\d++(?<!\d0))"
# An atomic group, and no possessive repetition of a group: with that one Python 3.11.2 finds nothing.
MANY = re.compile(rb'"values": \[((?>(?:%b, ){31,})%b)\]' % (NUMBER, NUMBER))
PLACE = re.compile(rb'"values":"(\d+)"')


def line_digest(line: dict[str, Any]) -> str:
    """Return the digest of a visit's line: of its canonical JSON, without the digest itself."""
    return hashlib.sha256(_canonical(line)).hexdigest()


def metadata(facts: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    """Return pyperf's metadata of a visit: those of all of its boot's processes, those of its suite, and of its benchmark.

    Parameters
    ----------
    facts, line : mapping
        Of the boot and of the visit, as they are recorded; a visit that only perf has counted has none.
    """
    suite = line.get("pyperf", {"benchmarks": [{}]})
    (benchmark,) = suite["benchmarks"]
    known = {**facts.get("pyperf", {}), **suite.get("metadata", {}), **benchmark.get("metadata", {})}
    return {name: value for name, value in known.items() if value is not None}


def _canonical(line: dict[str, Any]) -> bytes:
    content = {key: value for key, value in line.items() if key != "sha256"}
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def parse_line(text: bytes) -> dict[str, Any]:
    """Read one line of visits.

    Raises
    ------
    BadData
        If it is not JSON, or does not match its digest.
    """
    for read in (_of_many_values, _of_any):
        with contextlib.suppress(BadData, LookupError, TypeError, AttributeError, ValueError, RecursionError):
            if line := read(text):
                return line
    raise BadData("does not match its digest")


def _of_any(text: bytes) -> dict[str, Any]:
    """Return what is in a line; nothing if it does not match its digest."""
    line: dict[str, Any] = schema.load(text)
    return line if line["sha256"] == line_digest(line) else {}


def _of_many_values(text: bytes) -> dict[str, Any]:
    """Return what is in a line of many values, which takes long one by one; nothing if there are few, or something is amiss.

    The values are taken out as text, and everything else is read and digested like any line. They go back into the canonical
    JSON as they are spelled. Of a number that is spelled with more digits than Python needs, two digests are good, therefore:
    that of the number, and that of the spelling.
    """
    lists: list[bytes] = []

    def put_aside(found: re.Match[bytes]) -> bytes:
        lists.append(found[1])
        return b'"values": "%d"' % (len(lists) - 1)

    rest = MANY.sub(put_aside, text)
    if not lists:
        return {}
    line: dict[str, Any] = schema.load(rest)
    runs = [run for benchmark in line["pyperf"]["benchmarks"] for run in benchmark["runs"]]
    canonical, found = PLACE.subn(lambda place: b'"values":[%b]' % lists[int(place[1])].replace(b" ", b""), _canonical(line))
    # Each list is where values belong, once, and nothing else looks like the place of one.
    placed = found == len(lists) and [run["values"] for run in runs] == [str(number) for number in range(found)]
    if not placed or hashlib.sha256(canonical).hexdigest() != line["sha256"]:
        return {}
    for run, values in zip(runs, lists, strict=True):
        run["values"] = _floats(values)
    return line


def _floats(text: bytes) -> list[float]:
    """Return the numbers of a list in JSON, each the nearest that there is to what is written."""
    from pyarrow import array, compute, float64, string

    found: list[float] = compute.split_pattern(array([text], string()), ", ").flatten().cast(float64()).to_numpy().tolist()
    return found
