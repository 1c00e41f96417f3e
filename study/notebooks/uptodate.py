"""Leave what would come out the same: an executed notebook, and the folder of pages, hold what went in and what came out."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study import paths
from study.campaign import Campaign
from study.campaign.files import write_whole
from study.campaign.store import DERIVED, DESIGN
from study.campaign.sums import digest_of
from study.errors import StudyError

# The key of an executed notebook's metadata, and the file in a folder of pages.
KEY, MADE = "study", "made.json"
# What the results depend on besides campaigns and parameters: our own code, and the packages that it calls.
SOURCES = ((paths.ROOT / "study", "*"), (paths.TEMPLATES, "*"), (paths.ROOT, "requirements.lock"))
# Parameters that name a campaign, and the file beside the results that is the user's own.
CAMPAIGNS, OWN = ("campaign", "since"), "series.txt"


def inputs(source: Path, given: Mapping[str, Any], own: bool = True) -> str:
    """Return the digest of all that a run depends on: notebook, parameters, code, packages, and the campaigns as they are now.

    Parameters
    ----------
    source : path
        The notebook that is executed.
    given : mapping
        Its parameters, without those that are as it declares them.
    own : bool
        Whether the user's own words count, too; the first letter makes a file for them.

    Raises
    ------
    LookupError
        If the notebook is of no campaign: where its results are is not known, and it is run each time.
    """
    known = {**_defaults(source), **given}
    _results(known)
    folders = [paths.ROOT / known[name] for name in CAMPAIGNS if known.get(name)]
    words = [digest_of(source), *_code()]
    words += [Campaign(folder).digest() for folder in folders if (folder / DESIGN).exists()]
    words += [digest_of(path) for path in [_results(known) / OWN] if own and "title" in known and path.exists()]
    return _digest([*words, json.dumps({name: known[name] for name in sorted(known)})])


def outputs(source: Path, given: Mapping[str, Any], since: float) -> dict[str, str]:
    """Return the digest of each file of results that was written since a time, by name."""
    known = {**_defaults(source), **given}
    made = [*_results(known).glob("*"), paths.ROOT / known["campaign"] / DERIVED]
    return {
        _name(path): digest_of(path)
        for path in sorted(made)
        if path.is_file() and path.name != OWN and path.stat().st_mtime >= since
    }


def analysed(data: Path, paper: Path = paths.PAPER) -> Iterator[Path]:
    """Yield the campaigns in a folder that have executed notebooks."""
    for path in sorted(data.glob("*/design.json")):
        if (paper / path.parent.name / "notebooks" / "analyze.ipynb").exists():
            yield path.parent


def inputs_of_pages(campaigns: Sequence[Path], paper: Path) -> str:
    """Return the digest of all that the pages of some campaigns depend on: the data, and what was made from them."""
    words, folders = [], [paper / "simulation"]
    for folder in campaigns:
        try:
            words.append(Campaign(folder).digest())
            folders.append(paper / Campaign(folder).name)
        except StudyError as error:  # who makes the pages says what becomes of it
            words.append(str(error))
    files = [path for folder in folders for path in _files(folder, "*")]
    return _digest([*_code(), *words, *map(_said, files)])


def are_up_to_date(pages: Path, went_in: str) -> bool:
    """Say whether a folder of pages is what would be made now."""
    try:
        return bool(json.loads((pages / MADE).read_bytes()) == {"inputs": went_in, "outputs": _pages(pages)})
    except (OSError, ValueError):
        return False


def stamp_pages(pages: Path, went_in: str) -> None:
    """Write into a folder of pages what went in, and what came out."""
    write_whole(pages / MADE, json.dumps({"inputs": went_in, "outputs": _pages(pages)}) + "\n")


def _pages(pages: Path) -> list[str]:
    return [_said(path) for path in _files(pages, "*") if path.name != MADE]


def stamp(node: Any, went_in: str, came_out: Mapping[str, str]) -> None:
    """Write into an executed notebook what went in, and what came out."""
    node.metadata[KEY] = {"inputs": went_in, "outputs": dict(came_out), "cells": _cells(node.cells)}


def is_up_to_date(out: Path, source: Path, given: Mapping[str, Any]) -> bool:
    """Say whether an executed notebook, and all that it wrote, is what a run would make now."""
    try:
        node = json.loads(out.read_bytes())
        known = node["metadata"][KEY]
        whole = known["cells"] == _cells(node["cells"]) and all(
            digest_of(paths.ROOT / path) == value for path, value in known["outputs"].items()
        )
        return bool(whole and known["inputs"] == inputs(source, given))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _cells(cells: Any) -> str:
    # Notebooks keep a text as lines or as one: both are the same text.
    text = json.dumps(cells, sort_keys=True, default=dict)
    joined = json.loads(text, object_hook=lambda item: {key: _joined(value) for key, value in item.items()})
    return hashlib.sha256(json.dumps(joined, sort_keys=True).encode()).hexdigest()


def _joined(value: Any) -> Any:
    lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return "".join(value) if lines else value


def _code() -> list[str]:
    """Return what says which code makes the results: ours, and the packages that it calls."""
    return [sys.version, *(_said(path) for folder, pattern in SOURCES for path in _files(folder, pattern))]


def _said(path: Path) -> str:
    return f"{_name(path)} {digest_of(path)}"


def _name(path: Path) -> str:
    """Return what a file is called: the same in every checkout."""
    return os.path.relpath(path, paths.ROOT)


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def _files(folder: Path, pattern: str) -> list[Path]:
    return (
        sorted(path for path in folder.rglob(pattern) if path.is_file() and path.parent.name != "__pycache__")
        if "*" in pattern
        else [folder / pattern]
    )


def _results(known: Mapping[str, Any]) -> Path:
    """Return the folder of a campaign's results."""
    return paths.ROOT / str(known.get("paper", "paper")) / Path(str(known["campaign"])).name


def _defaults(source: Path) -> dict[str, Any]:
    """Return the parameters of a notebook that is not executed, as it declares them."""
    cells = json.loads(source.read_bytes())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
    known = [node for node in ast.parse(text).body if isinstance(node, ast.AnnAssign) and node.value]
    return {node.target.id: ast.literal_eval(node.value) for node in known if isinstance(node.target, ast.Name) and node.value}
