"""What each file of a campaign must look like, as the JSON Schemas in schemas/ say. What it must mean is in sense.py."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import fastjsonschema

from study.errors import BadData

# Far beyond what anything here counts, and far below where floating point ends; the schemas say the same.
LARGEST = 1e18
FOLDER = Path(__file__).with_name("schemas")
# What a board answers when it has measured a visit: of the line of a visit, what the board knows.
ANSWER = ("pyperf", "windows", "module", "checks")


def published(kind: str) -> dict[str, Any]:
    """Return a schema as docs/format.md publishes it: ``design``, ``boot``, ``visit``, ``receipt``, ``series``, ``sequences`` or ``stop``."""
    found: dict[str, Any] = json.loads((FOLDER / f"{kind}.schema.json").read_text())
    return found


def _schema(kind: str) -> dict[str, Any]:
    if kind != "answer":
        return published(kind)
    known = published("visit")["properties"]
    return {"type": "object", "properties": {name: known[name] for name in ANSWER}, "required": [*ANSWER]}


@functools.cache
def _validator(kind: str) -> Callable[[Any], Any]:
    validate: Callable[[Any], Any] = fastjsonschema.compile(_schema(kind))
    return validate


def check(kind: str, data: Any) -> None:
    """Refuse what is no `kind`.

    Parameters
    ----------
    kind : str
        A file of FOLDER, or ``answer``.
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
    """Say whether all are floats above 0, as the schema wants them."""
    floats = isinstance(values, list) and set(map(type, values)) == {float}
    return floats and min(values) >= 1 / LARGEST and max(values) <= LARGEST


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
