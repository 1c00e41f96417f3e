"""What traps, register accesses and hypercalls cost on real cores, as it was published: prices.toml beside this. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from study import toml
from study.analyze import tables
from study.errors import BadData

FILE = Path(__file__).with_name("prices.toml")
# What a price is of, in words; and those that are the two axes of a map.
QUANTITIES = {
    "trap": "trap into EL2 and back", "exception": "exception into EL1 and back", "read": "read of a system register",
    "write": "write of a system register", "isb": "ISB", "dsb": "DSB", "hypercall": "KVM hypercall",
    "read-isb": "read of a system register and an ISB", "write-isb": "write of a system register and an ISB",
    "batch": "batch of writes",
}  # fmt: skip
AXES = {"trap": ("trap", "exception"), "access": ("read", "write")}
NAMES = {"trap": "a trap", "access": "an access"}
MEASURED = "measured"  # by study prices
UNITS, SEEN = ("cycles", "ns"), ("first-hand", "second-hand", MEASURED)
PROXY = (
    "No debug register was ever priced in public: reads and writes are of other system registers, and stand for them. Cycles are read as "
    "instructions at one a cycle."
)


@dataclass(frozen=True)
class Price:
    """What somebody published, or was measured by study prices.

    Parameters
    ----------
    core, quantity : str
        Of which core, and a key of QUANTITIES.
    unit : str
        One of UNITS.
    of : str
        What exactly was measured.
    machine, kernel : str
        On what, and under what.
    seen : str
        One of SEEN: whether it was read where it was measured, or in another text that quotes it, or was measured by study prices.
    source : str
        Where it was read.
    low, high : float
        From what to what, in `unit`. A bound has one of them, and NaN for the other.
    derived : str
        How it was worked out from what was read; empty if it was read.
    note : str
        What is not in the source.

    Raises
    ------
    BadData
        If it is none.
    """

    core: str
    quantity: str
    unit: str
    of: str
    machine: str
    kernel: str
    seen: str
    source: str
    low: float = math.nan
    high: float = math.nan
    derived: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.high) if not math.isnan(end)]
        for wrong, why in {
            self.quantity not in QUANTITIES: f"quantity is {self.quantity!r}, and may be {', '.join(QUANTITIES)}",
            self.unit not in UNITS: f"unit is {self.unit!r}, and may be {', '.join(UNITS)}",
            self.seen not in SEEN: f"seen is {self.seen!r}, and may be {', '.join(SEEN)}",
            not ends: "it has neither low nor high",
            any(not 0 < end < math.inf for end in ends) or self.low > self.high: f"{self.low} to {self.high} is no range",
            any(not getattr(self, name).strip() for name in ("core", "of", "machine", "kernel", "source")): "a field is empty",
        }.items():
            if wrong:
                raise BadData(f"{FILE.name}: a price of {self.core or 'no core'}: {why}")

    @property
    def who(self) -> str:
        """Of which core, and that it was measured if it was not published."""
        return f"{self.core}, measured" if self.seen == MEASURED else self.core

    @property
    def range(self) -> str:
        """From what to what, in words."""
        return _words(self.low, self.high, self.unit)


def prices(text: str | None = None) -> list[Price]:
    """Return all that was published, in the order of the file.

    Parameters
    ----------
    text : str, optional
        The text of such a file; else of prices.toml.

    Raises
    ------
    BadData
        If it is none: the line says what is wrong with it.
    """
    try:
        found = toml.load(FILE.read_bytes() if text is None else text)
    except BadData as error:
        raise BadData(f"{FILE.name}: {error}") from None
    try:
        return [_price(row) for row in found["price"]]
    except (KeyError, TypeError) as error:
        raise BadData(f"{FILE.name}: {error}") from None


def _price(row: Mapping[str, Any]) -> Price:
    """Return a price of a table of the file."""
    kinds = {field.name: float if field.name in ("low", "high") else str for field in fields(Price)}
    for name, value in row.items():
        if name not in kinds:
            raise BadData(f"{FILE.name}: {name!r} is no part of a price; it has {', '.join(kinds)}")
        if not isinstance(value, (int, float) if kinds[name] is float else str) or isinstance(value, bool):
            raise BadData(f"{FILE.name}: {name} is {value!r}")
    return Price(**row)


def ranges(known: Sequence[Price]) -> pd.DataFrame:
    """Return for each axis of a map and each core the range of all of its prices in cycles. Where a trap is known, no exception stands for it.

    Returns
    -------
    DataFrame
        `axis` (a key of AXES), `core`, `low`, `high`: an end that nobody has published is NaN.
    """
    trapped = {price.who for price in known if price.quantity == "trap" and price.unit == "cycles"}
    rows = [
        (axis, price.who, price.low, price.high)
        for axis, quantities in AXES.items()
        for price in known
        if price.quantity in quantities
        and price.unit == "cycles"
        and not (price.quantity == "exception" and price.who in trapped)
    ]
    frame = pd.DataFrame(rows, columns=["axis", "core", "low", "high"])
    return frame.groupby(["axis", "core"], sort=False).agg(low=("low", _least), high=("high", _most)).reset_index()


def _least(ends: pd.Series) -> float:
    """Return the least of some ends, of which an open one is less than any."""
    return float(ends.min(skipna=False))


def _most(ends: pd.Series) -> float:
    return float(ends.max(skipna=False))


def spoken(own: Sequence[Price] = ()) -> str:
    """Return the ranges of all cores in a sentence for each axis, and behind it those of prices that were measured."""
    said = []
    for axis, known in ranges(prices()).groupby("axis", sort=False):
        cores = (f"{row.core} {_words(row.low, row.high, 'cycles')}" for row in known.itertuples())
        said.append(f"Published of {NAMES[str(axis)]}: {', '.join(cores)}.")
    return " ".join(filter(None, [*said, PROXY, measured(own)]))


def measured(own: Sequence[Price]) -> str:
    """Return what was measured on which board in a sentence for each, and that it is of debug registers; nothing if nothing was."""
    said = []
    for machine in dict.fromkeys(price.machine for price in own):
        here = [price for price in own if price.machine == machine]
        words = [f"{NAMES[row.axis]} {_words(row.low, row.high, 'cycles')}" for row in ranges(here).itertuples()]
        found = "; ".join(words) or "in ns, which no axis has"
        said.append(f"Measured on this board, {machine} ({here[0].core}), of debug registers themselves: {found}.")
    return " ".join(said)


def _words(low: float, high: float, unit: str) -> str:
    """Return from what to what a price is; an end that is not known is none."""
    if math.isnan(low):
        return f"at most {high:g} {unit}"
    if math.isnan(high):
        return f"at least {low:g} {unit}"
    return f"{' to '.join(dict.fromkeys(f'{end:g}' for end in (low, high)))} {unit}"


def table(style: str = "text", own: Sequence[Price] = ()) -> str:
    """Return all that was measured and published: core, quantity, price, what exactly, and where it was read.

    Parameters
    ----------
    style : str
        A row of tables.FORMATS.
    own : sequence of Price
        What was measured; it comes first.
    """
    rows = rows_of([*own, *prices()], style)
    said = " ".join(filter(None, [PROXY, measured(own)]))
    return f"{rows.rstrip()}\n\n{tables.prose(said, style)}\n"


def rows_of(known: Sequence[Price], style: str = "text") -> str:
    """Return some prices as a table: core, quantity, price, what exactly, and where it was read."""
    body = [
        [price.who, QUANTITIES[price.quantity], price.range, price.of, f"{price.machine}; {price.kernel}", _source(price)]
        for price in known
    ]
    return tables.table(["core", "price of", "price", "what was measured", "on", "source"], body, "l" * 6, style)


def _source(price: Price) -> str:
    """Return where a price was read, and what of it was not."""
    said = [f"derived: {price.derived}" * bool(price.derived), price.note, "second-hand" * (price.seen == SEEN[1])]
    behind = "; ".join(filter(None, said))
    return price.source + (f" ({behind})" if behind else "")
