"""Sequences of accesses to debug registers that were played on the kernels of a series: what differs, as a table and in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.analyze import tables

HEADS = ["board, kernel", "sequences", "accesses", "exceptions", "host's", "differ"]


def table(told: Mapping[str, Any], style: str = "text") -> str:
    """Return a row for each kernel that sequences were played on: what they met of the guest and of a host that debugs, and how many differ.

    Parameters
    ----------
    told : mapping
        As Campaign.sequences() returns it; empty if none were played.
    style : str
        A row of tables.FORMATS.
    """
    body: list[list[str]] = []
    board, seen = "", set[str]()
    for row in told.get("played", []):
        if row["board"] != board:
            board, seen = row["board"], set()
            body.append([f"{tables.shorten(board)} ({row['mode']})", *[""] * (len(HEADS) - 1)])
        name = f"{row['kernel']} again" if row["kernel"] in seen else row["kernel"]
        seen.add(row["kernel"])
        met = row["met"]
        numbers = told["count"], _of(met, "guest read") + _of(met, "guest write"), _of(met, "exception"), _of(met, "fired")
        body.append([f"  {name}", *map(str, numbers), str(len(row["differ"]))])
    return tables.table(HEADS, body, "lrrrrr", style) + "\n"


def sentence(told: Mapping[str, Any]) -> str:
    """Return in one sentence on what sequences were played, and what differs.

    Parameters
    ----------
    told : mapping
        As Campaign.sequences() returns it; empty if none were played.
    """
    if not told:
        return ""
    rows = told["played"]
    worst = max(rows, key=lambda row: len(row["differ"]))
    came = (
        "came out on each kernel as on the base"
        if not worst["differ"]
        else f"came out otherwise than on the base for {len(worst['differ'])} of them on {worst['kernel']} ({worst['board']})"
    )
    fewest = min(_of(row["met"], "exception") for row in rows)
    return (
        f"{told['count']} random sequences of accesses by guest, user space and a debugging host, with {fewest} debug exceptions of the "
        f"guest, {came}."
    )


def _of(met: Mapping[str, int], words: str) -> int:
    """Return how often what has these words was met."""
    return sum(times for what, times in met.items() if words in what)
