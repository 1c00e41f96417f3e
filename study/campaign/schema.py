"""What each file of a campaign must look like, as JSON Schema. What it must mean is in sense.py."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, NoReturn

import fastjsonschema

from study.errors import BadData

TEXT: dict[str, Any] = {"type": "string"}
NAME: dict[str, Any] = {"type": "string", "minLength": 1}
# Far beyond what anything here counts, and far below where floating point ends.
LARGEST = 1e18
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
NUMBER = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
ABOVE_ZERO: dict[str, Any] = {"type": "number", "minimum": 1 / LARGEST, "maximum": LARGEST}
WHOLE = {"type": "integer", "minimum": 0, "maximum": LARGEST}
AT_LEAST_ONE = {"type": "integer", "minimum": 1, "maximum": LARGEST}


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def _list(items: Any, **limits: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **limits}


_METADATA = _object(name=NAME, unit={"enum": ["second", "byte", "integer"]}, loops=AT_LEAST_ONE)
_RUN = _object(values=_list(ABOVE_ZERO, minItems=1), warmups=_list(_list(NUMBER, minItems=2, maxItems=2)), metadata=_METADATA)
_SUITE = _object(
    "benchmarks",
    benchmarks=_list(_object("runs", runs=_list(_RUN, minItems=1), metadata=_METADATA), minItems=1, maxItems=1),
    metadata=_METADATA,
)
_COUNT = _object(
    "event",
    "value",
    "running",
    "why",
    event=NAME,
    value={**NUMBER, "type": ["number", "null"]},
    running=SHARE,
    why=TEXT,
    unit=TEXT,
)
_CELL = ("strategy", "guest", "host", "exit")
_WINDOWS = _list(_object("loops", "perf", loops=AT_LEAST_ONE, perf=TEXT))
_MODULE = {**_object("loops", loops=AT_LEAST_ONE), "additionalProperties": WHOLE}

SCHEMAS: dict[str, dict[str, Any]] = {
    "boot": _object(
        "board", "kernel", "mode", "emulated",
        board=NAME, kernel=TEXT, mode=TEXT, emulated={"type": "boolean"}, release=TEXT, build_id=TEXT, boot_id=TEXT, boot=TEXT,
        started=TEXT, imported=TEXT, number=AT_LEAST_ONE, breakpoints={**WHOLE, "maximum": 64}, watchpoints={**WHOLE, "maximum": 64},
        study=_object(), host=_object(), doctor=_list(_object(check=TEXT, found=TEXT, verdict=TEXT, todo=TEXT)),
    ),
    "visit": _object(
        "visit", "block", "arm", "cell", "loops", "ended", "counts", "checks",
        visit=NAME, block=WHOLE, arm=NAME, cell=_object(*_CELL, **dict.fromkeys(_CELL, NAME)), loops=AT_LEAST_ONE,
        ended={"enum": ["well"]}, counts=_list(_COUNT), checks=_object(), pyperf=_SUITE, source=NAME, rig=_object(),
        windows=_WINDOWS, module=_MODULE,
    ),
    "answer": _object("pyperf", "windows", "module", "checks", pyperf=_SUITE, windows=_WINDOWS, module=_MODULE, checks=_object()),
    "stop": _object("boot", boot=AT_LEAST_ONE, widest=NUMBER),
}  # fmt: skip


@functools.cache
def _validator(kind: str) -> Callable[[Any], Any]:
    validate: Callable[[Any], Any] = fastjsonschema.compile(SCHEMAS[kind])
    return validate


def check(kind: str, data: Any) -> None:
    """Refuse what is no `kind`.

    Parameters
    ----------
    kind : str
        A row of SCHEMAS.
    data : object
        As load() returns it.

    Raises
    ------
    BadData
        Naming the place and what must be there.
    """
    try:
        _validator(kind)(_in_brief(data))
    except fastjsonschema.JsonSchemaValueException as error:
        where = "".join(f"[{step}]" if step.isdecimal() else f".{step}" for step in error.path[1:]).lstrip(".")
        rule = str(error.message).removeprefix(str(error.name)).strip()
        raise BadData(f"it is no {kind}: {where or 'it'} {rule}") from None


def _in_brief(data: Any) -> Any:
    """Return a visit or an answer with one of its values for all of them, if they are such as it may have."""
    try:
        suite = data["pyperf"]
        (benchmark,) = suite["benchmarks"]
        runs = [{**run, "values": run["values"][:1]} if _are_above_zero(run["values"]) else run for run in benchmark["runs"]]
    except (LookupError, TypeError, ValueError):
        return data
    return {**data, "pyperf": {**suite, "benchmarks": [{**benchmark, "runs": runs}]}}


def _are_above_zero(values: Any) -> bool:
    """Say whether all are floats and each is ABOVE_ZERO."""
    floats = isinstance(values, list) and set(map(type, values)) == {float}
    return floats and ABOVE_ZERO["minimum"] <= min(values) and max(values) <= ABOVE_ZERO["maximum"]


def load(text: str | bytes) -> Any:
    """Read JSON, as the standard has it: without NaN and infinities, and not deeper than can be read.

    Raises
    ------
    BadData
        If it is none.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadData(f"it is not JSON: {error}") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")
