"""Cells by their names: what a table for a reply, or a verdict, is of. Pure."""

from __future__ import annotations

import pandas as pd

from study.analyze import compare
from study.design import MAIN
from study.errors import BadRequest

TAGS = ("board", "kernel", "strategy", "guest", "host", "exit")


def select(rows: pd.DataFrame, cells: str) -> pd.DataFrame:
    """Return the rows that are named by tags with values; the baseline and its control arm stay beside other strategies.

    Raises
    ------
    BadRequest
        At a tag or value that these rows do not have.
    """
    for tag, wanted in tags(cells):
        known = list(dict.fromkeys(rows[tag]))
        if unknown := [value for value in wanted if value not in known]:
            raise BadRequest(f"cells: {tag} {unknown[0]!r} was not measured there; choose from {', '.join(known)}")
        kept = rows[tag].isin(wanted)
        if tag == "strategy":
            kept |= (rows["arm"] != MAIN) | (rows["verdict"] == compare.BASELINE)
        rows = rows[kept]
    return rows


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
