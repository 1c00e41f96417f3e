"""What a notebook is given: checked in its first cell; and the mark of its last."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import signal
from collections.abc import Iterable, Mapping
from typing import Any

from study.collect.onboard import tied
from study.design import Factors
from study.errors import BadRequest

# The last cell of every notebook calls finished(), which prints this: papermill calls dead notebooks completed.
END = "The notebook ran to its end."


def check_parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse parameters that a notebook does not have, or of another type than it declares.

    Papermill itself only warns of them. To be called in the cell after the parameters, with ``globals()``.

    Returns
    -------
    dict
        The notebook's parameters, by name.

    Raises
    ------
    BadRequest
        Naming the parameter and what it may be.
    """
    tied.end_with_parent(signal.SIGKILL)  # nothing goes on measuring for a papermill, or a JupyterLab, that was killed
    known = namespace["__annotations__"]
    for name in sorted(_injected(namespace.get("In", [])) - known.keys()):
        raise BadRequest(f"parameter {name!r} is unknown; this notebook has {', '.join(known)}")
    for name, kind in known.items():
        if type(namespace[name]) is not kind and (kind, type(namespace[name])) != (float, int):
            raise BadRequest(f"parameter {name} is {namespace[name]!r}: it must be of type {kind.__name__}")
    return {name: namespace[name] for name in known}


def _injected(sources: Iterable[str]) -> set[str]:
    """Return the names that papermill's own cell assigns, from the sources of the cells that have run."""
    trees = [ast.parse(source) for source in sources if source.startswith("# Parameters\n")]
    targets = [target for tree in trees for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def finished() -> None:
    """Mark the end of a notebook."""
    print(END)


def of_words(given: Mapping[str, str]) -> dict[str, Any]:
    """Return papermill parameters, given as text, with those that are numbers turned into some.

    Parameters
    ----------
    given : mapping of str to str
        As on papermill's own command line, with its rules for numbers; papermill itself is not imported for that, it takes a second.
    """
    numbers = {field.name for field in dataclasses.fields(Factors) if isinstance(field.default, int | float)} | {
        "version",
        "campaigns",
        "pixels",
        "tune",
    }
    return {name: _number(value) if name in numbers else value for name, value in given.items()}


def _number(text: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {"True": True, "False": False, "None": None}.get(text, text)
