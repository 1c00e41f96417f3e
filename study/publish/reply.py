"""A table for a reply on the list."""

from __future__ import annotations

import textwrap

import pandas as pd

from study.analyze import compare, receipt_tables, receipts, tables
from study.analyze.select import select
from study.campaign import Campaign
from study.errors import BadRequest
from study.publish.findings import control_arm, rule
from study.publish.prose import check, with_first_line

REPLY = 40  # lines that an excerpt for a reply may have


def render(campaign: Campaign, summary: pd.DataFrame, cells: str) -> str:
    """Return an excerpt of the comparison for a reply on the list: at most REPLY lines, narrow enough to be quoted.

    What the round trips of these cells differ in, function by function, is there where it was traced and has room.

    Parameters
    ----------
    campaign : Campaign
        What was measured.
    summary : DataFrame
        Of that campaign.
    cells : str
        Which cells: tags with values, such as ``board=qemu-neoverse-n1 guest=mde,untouched``. The baseline and its control
        arm are always shown. Unless a kernel or host is among the tags, they are what compare.in_focus() leaves.

    Raises
    ------
    BadRequest
        If no cell is meant, or more than a reply can hold.
    """
    timed = compare.timed(summary)
    named = {word.partition("=")[0] for word in cells.split()}
    rows = select(timed if named & {"kernel", "host"} else compare.in_focus(timed), cells)
    parts = []
    for _, here in tables.contexts(rows):
        parts += [textwrap.fill(tables.place(here), tables.WIDTH), with_first_line(here, tables.comparison(here))]
    found = [f"{tables.sizes(rows)} {rule(rows)}", control_arm(summary)]
    said = [*(textwrap.fill(line, tables.WIDTH) for line in found), f"Data: {campaign.digest()}"]
    excerpt = _receipts(campaign, rows)
    known = [_text([*parts, *more, *said]) for more in ([excerpt] if excerpt else [], [])]
    text = next((text for text in known if len(text.splitlines()) <= REPLY), known[-1])
    if len(text.splitlines()) > REPLY:
        raise BadRequest(
            f"{cells!r} is {len(text.splitlines())} lines, and a reply should have {REPLY}: name fewer cells, "
            "such as: board=qemu-neoverse-n1 exit=hvc guest=mde"
        )
    check(text)
    return text


def _text(parts: list[str]) -> str:
    return ("\n\n".join(parts) + "\n").encode("ascii", "replace").decode()


def _receipts(campaign: Campaign, rows: pd.DataFrame) -> str:
    """Return what the receipts say of the cells that are shown: nothing where there is none."""
    place = ["board", "kernel", "exit", "guest", "host"]
    shown = set(rows[place].itertuples(index=False, name=None))
    pairs = receipts.telling(receipts.frame(campaign), campaign.series())
    return receipt_tables.excerpt([pair for pair in pairs if tuple(getattr(pair[0], tag) for tag in place) in shown])
