"""Prices that were measured on a board, in the form of those that were published: as rows, as a file, and as a campaign holds them. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from study.analyze import published, tables
from study.analyze.published import Price
from study.campaign import Campaign
from study.campaign.names import legible
from study.campaign.store import PRICES
from study.errors import BadData

DIGITS, MOST = 4, 1000  # of a price, and what is beyond is noise; of a text, characters
HEAD = "# What traps and accesses to debug registers cost, measured by loops of our own: study prices. The form is that of published prices.\n"


def of_rows(rows: Iterable[Mapping[str, Any]], source: str, **board: str) -> tuple[list[Price], list[str]]:
    """Return the prices of what was measured, and what cannot be told from nothing, in words.

    Parameters
    ----------
    rows : iterable of mapping
        `quantity`, `of`, `unit` (of published.UNITS) and `medians`, one of each repeat.
    source : str
        What measured it, and when.
    **board
        `core`, `machine` and `kernel`.
    """
    found, nothing = list[Price](), list[str]()
    said = {name: legible(text) for name, text in board.items()}
    for row in rows:
        low, high = (float(f"{end:.{DIGITS}g}") for end in (min(row["medians"]), max(row["medians"])))
        of = f"{legible(row['of'], MOST)}; medians of {len(row['medians'])} repeats"
        if low <= 0:
            nothing.append(f"{published.QUANTITIES[row['quantity']]} ({row['of']}): {low:g} to {high:g} {row['unit']}")
            continue
        found.append(
            Price(
                quantity=row["quantity"],
                unit=row["unit"],
                of=of,
                seen=published.MEASURED,
                source=source,
                low=low,
                high=high,
                **said,
            )
        )
    return found, nothing


def path_lengths(rows: Iterable[Mapping[str, Any]], board: str) -> str:
    """Return how many instructions one of each is on an emulated board, as a table, and that these are no prices."""
    body = []
    for row in rows:
        ends = dict.fromkeys(str(round(end)) for end in (min(row["medians"]), max(row["medians"])))
        body.append([row["loop"], published.QUANTITIES[row["quantity"]], " to ".join(ends), row["of"]])
    shown = tables.table(["loop", "of", "instructions", "what"], body, "llrl", "text").rstrip()
    said = (
        f"{board} is emulated: these are path lengths in instructions, no time and no prices, and no file of prices is written. A board "
        "of hardware has prices: study boards lists them."
    )
    return f"{shown}\n\n{tables.prose(said, 'text')}"


def text(prices: Sequence[Price]) -> str:
    """Return prices as a file, which published.prices() reads."""
    return "\n".join([HEAD, *map(_table, prices)])


def _table(price: Price) -> str:
    """Return a price as a table of the file. What JSON has for a text and for a number, TOML has, too."""
    values = {field.name: getattr(price, field.name) for field in fields(Price)}
    known = {
        name: value for name, value in values.items() if value != "" and not (isinstance(value, float) and math.isnan(value))
    }
    return "[[price]]\n" + "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in known.items())


def _legible(price: Price) -> Price:
    """Return a price whose words fit into a line."""
    known = {field.name: getattr(price, field.name) for field in fields(Price)}
    words: dict[str, Any] = {name: legible(value, MOST) if isinstance(value, str) else value for name, value in known.items()}
    return Price(**words)


def joined(known: Sequence[Price], new: Sequence[Price]) -> list[Price]:
    """Return prices with those of some machines replaced."""
    machines = {price.machine for price in new}
    return [*(price for price in known if price.machine not in machines), *new]


def recorded(campaign: Campaign) -> list[Price]:
    """Return the prices that a campaign holds.

    Raises
    ------
    BadData
        If its file is not what it should be.
    """
    held = campaign.prices()
    try:
        return [_legible(price) for price in published.prices(held)] if held else []
    except BadData as error:
        raise BadData(f"{campaign.folder / PRICES}: {legible(str(error).removeprefix(f'{PRICES}: '), 1000)}") from None
