"""Cells by their names: what a table for a reply, or a verdict, is of. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from study.analyze import compare
from study.design import MAIN
from study.errors import BadRequest
from study.factors import of_series

TAGS = ("board", "kernel", "strategy", "guest", "host", "exit")


def select(rows: pd.DataFrame, cells: str) -> pd.DataFrame:
    """Return the rows that are named by tags with values; the baseline and its control arm stay beside other strategies.

    Raises
    ------
    BadRequest
        At a tag or value that these rows do not have.
    """
    return only(rows, cells, beside=rows.index[(rows["arm"] != MAIN) | (rows["verdict"] == compare.BASELINE)])


def only(rows: pd.DataFrame, cells: str, beside: Collection[Any] = (), lacks: str = "was not measured there") -> pd.DataFrame:
    """Return the rows that are named by tags with values. A kernel may be named by how its release begins, such as 6.1.

    Parameters
    ----------
    rows : DataFrame
        With a column for each tag.
    cells : str
        Such as ``exit=hvc guest=mde,untouched``.
    beside : collection
        Labels of rows that stay whatever strategy is named.
    lacks : str
        What is said of a value that these rows do not have.

    Raises
    ------
    BadRequest
        At a tag or value that these rows do not have.
    """
    for tag, wanted in tags(cells):
        known = list(dict.fromkeys(rows[tag]))
        meant = {value: _meant(tag, value, known) for value in wanted}
        if unknown := [value for value, names in meant.items() if not names]:
            raise BadRequest(f"cells: {tag} {unknown[0]!r} {lacks}; choose from {', '.join(known)}")
        kept = rows[tag].isin([name for names in meant.values() for name in names])
        rows = rows[kept | rows.index.isin(beside) if tag == "strategy" else kept]
    return rows


def _meant(tag: str, value: str, known: Collection[str]) -> list[str]:
    """Return which of the known names a value means: itself, or else the kernels of that series."""
    if value in known:
        return [value]
    return [name for name in known if tag == "kernel" and of_series(name, value)]


def tags(cells: str) -> list[tuple[str, list[str]]]:
    """Return the tags that cells are named by, each with its values.

    Raises
    ------
    BadRequest
        At a word that is no tag with values.
    """
    found = []
    for word in cells.split():
        tag, _, values = word.partition("=")
        if tag not in TAGS or not values:
            raise BadRequest(
                f"cells: {word!r} is no tag with values; write such as guest=mde,untouched; tags are {', '.join(TAGS)}"
            )
        found.append((tag, values.split(",")))
    return found
