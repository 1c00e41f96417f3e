"""Tables of receipts: what a round trip is made of, and what one is made of more than another. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from study.analyze import cost, receipts, tables
from study.analyze.receipts import Pair
from study.analyze.select import TAGS

# Functions with less than this share of a round trip are one row, unless all are asked for.
SMALL = 0.01
# Of an excerpt: lines in all, functions of a pair, and columns of a name.
LINES, FEW, NAME = 10, 3, 40
UNIT = "instructions (emulated: path length, not time)"
NOTHING = "This campaign has no receipts; study trace makes them."


def show(rows: pd.DataFrame, style: str = "text", everything: bool = False) -> str:
    """Return a table for each of some traced receipts: its functions, the longest first.

    Parameters
    ----------
    rows : DataFrame
        Of receipts.frame(), of those that were traced.
    style : str
        A row of tables.FORMATS.
    everything : bool
        Whether the smallest functions have rows of their own.
    """
    parts = [_one(row, style, everything) for row in rows.itertuples()]
    return _joined(parts or [tables.prose(NOTHING, style)])


def _one(row: Any, style: str, everything: bool) -> str:
    found = receipts.of_one(row)
    whole = row.line["instructions"]
    few = found["instructions"] < SMALL * whole
    listed = found if everything or few.sum() < 2 else found[~few]
    columns = ["instructions", "reads", "writes", "barriers", "exceptions", "loads", "stores", "lines"]
    body = [[_name(each), *(_number(getattr(each, name)) for name in columns)] for each in listed.itertuples()]
    rest = found.drop(listed.index)
    if len(rest):
        body.append([tables.plural(len(rest), "other"), *(_number(rest[name].sum()) for name in columns)])
    body.append(["all", *(_number(found[name].sum()) for name in columns)])
    heads = ["function", "instr.", "reads", "writes", "barriers", "exc.", "loads", "stores", "lines"]
    notes = [_mean_of(row), _clock(row), *_apart(row), f"Registers: {_registers(receipts.accesses(row))}."]
    return _joined([tables.title(f"{place_of(row)}: {UNIT}", style), tables.table(heads, body, "l" + "r" * 8, style),
                    *(tables.prose(note, style) for note in notes), tables.prose(COLUMNS, style)])  # fmt: skip


COLUMNS = (
    "Reads and writes are of system registers, barriers ISB and DSB, exc. exceptions that are taken to a function, lines different 64-byte "
    "lines of its code."
)


def differences(pairs: Sequence[Pair], style: str = "text", everything: bool = False) -> str:
    """Return a table for each pair of receipts: what the first has more than the second, function by function."""
    parts = [_pair(this, that, style, everything) for this, that in pairs]
    return _joined(parts or [tables.prose(NOTHING, style)])


def _pair(this: Any, that: Any, style: str, everything: bool) -> str:
    found = receipts.difference(this, that)
    apart = receipts.differs(found)
    rows, same = (found, found[:0]) if everything else (found[apart], found[~apart])
    columns = ["difference", "accesses", "barriers", "exceptions"]
    body = [
        [_name(row), _number(row.that), _number(row.this), *(signed(getattr(row, name)) for name in columns)]
        for row in rows.itertuples()
    ]
    whole = [_number(found["that"].sum()), _number(found["this"].sum()), *(signed(found[name].sum()) for name in columns)]
    heads = ["function", *sides_of(this, that)[::-1], "more", "accesses", "barriers", "exc."]
    notes = [f"{tables.plural(len(same), 'other function')}, {_number(same['this'].sum())} instructions, alike."] * bool(
        len(same)
    )
    notes += [f"More accesses to registers: {_registers(receipts.accesses(this, that), more=True)}."]
    notes += [_clocks(this, that)]
    return _joined([tables.title(f"{place_of(this)} against {_other(this, that)}: {UNIT}", style),
                    tables.table(heads, [*body, ["all", *whole]], "l" + "r" * 6, style),
                    *(tables.prose(note, style) for note in notes)])  # fmt: skip


def sampled(rows: pd.DataFrame, style: str = "text", everything: bool = False) -> str:
    """Return a table of shares of samples for each cell that was sampled."""
    parts = []
    for _, own in receipts.shares(rows).groupby([*TAGS], sort=False):
        listed = own if everything else own[own["share"] >= SMALL]
        rest, first = own.drop(listed.index), own.iloc[0]
        body = [[_name(row), tables.share(row.share), _interval(row)] for row in listed.itertuples()]
        if len(rest):
            body.append([tables.plural(len(rest), "other"), tables.share(rest["share"].sum()), ""])
        place = ", ".join(str(first[tag]) for tag in TAGS)
        note = (
            f"Shares of {first['samples']} samples of {first['event']} in {tables.plural(int(first['visits']), 'visit')}: estimates, not "
            "counts. The interrupt that takes a sample waits while interrupts are masked, as they are around a guest, so what runs "
            "then is sampled where they are let in again."
        )
        head = tables.title(f"{place}: shares of samples", style)
        parts.append(
            _joined(
                [head, tables.table(["function", "share", "95 % over visits"], body, "lrr", style), tables.prose(note, style)]
            )
        )
    return _joined(parts or [tables.prose(NOTHING, style)])


def _interval(row: Any) -> str:
    return "-" if math.isnan(row.low) else f"{row.low:.1%} to {row.high:.1%}"


def parts(vectors: pd.DataFrame, fits: Mapping[str, cost.Fit], style: str = "text") -> str:
    """Return what a base, a trap, a switch and a scan are made of, beside what the fit to the clock says of them; empty without receipts.

    Parameters
    ----------
    vectors : DataFrame
        As cost.vectors() returns it.
    fits : mapping
        As cost.fits() returns it; that of a board is of one kernel.
    style : str
        A row of tables.FORMATS.
    """
    found = []
    for (board, kernel), own in vectors.groupby(["board", "kernel"], sort=False):
        body = [[row.part, *(_number(getattr(row, name)) for name in cost.EVENTS)] for row in own.itertuples()]
        head = tables.title(f"{board}, kernel {kernel}, hvc: what each part is made of, by receipts", style)
        check = _agreement(cost.apart(own, fits[board])) if board in fits else ""
        note = f"These parts make each round trip of the receipts within {own['error'].iloc[0]:.1%}.{check}"
        found.append(
            _joined(
                [head, tables.table(["part", *cost.EVENTS], body, "l" + "r" * len(cost.EVENTS), style), tables.prose(note, style)]
            )
        )
    return "\n".join(found)


def _agreement(apart: float) -> str:
    """Say whether receipts and the fit to the clock agree."""
    said = f" The fit to the clock gives round trips within {apart:.1%} of these"
    most = f"{cost.AGREE:.0%}"
    return f"{said}." if apart <= cost.AGREE else f"{said}, and {most} is the most: they are not of the same guests or kernel."


def excerpt(pairs: Sequence[Pair]) -> list[str]:
    """Return what some pairs of receipts tell, in at most LINES lines of a mail: the functions that differ most, and their accesses."""
    found: list[str] = []
    few = max(1, min(FEW, LINES // max(1, len(pairs)) - 1))
    for this, that in pairs[: LINES // (few + 1)]:
        rows = receipts.difference(this, that)
        total = sum(sum(times) for times in receipts.accesses(this, that).values())
        found.append(
            tables.shorten(f"{this.board} {this.kernel}: {difference_of(this, that)}", 46)
            + f" {signed(rows['difference'].sum())}, {signed(total)} accesses"
        )
        found += [
            f"  {tables.shorten(row.function, NAME):<{NAME}} {signed(row.difference):>6} {signed(row.accesses):>6} accesses"
            for row in rows.head(few).itertuples()
        ]
    return found


def difference_of(this: Any, that: Any) -> str:
    """Say in what two receipts differ."""
    tags = [tag for tag in TAGS if getattr(this, tag) != getattr(that, tag)]
    return ", ".join(f"{getattr(this, tag)} over {getattr(that, tag)}" for tag in tags) or "the same"


def sides_of(this: Any, that: Any) -> tuple[str, str]:
    """Return what the two columns of a pair are called: that in which they differ."""
    tags = [tag for tag in TAGS if getattr(this, tag) != getattr(that, tag)] or ["guest"]
    one, other = (" ".join(tables.shorten(str(getattr(row, tag)), 14) for tag in tags) for row in (this, that))
    return one, other


def _other(this: Any, that: Any) -> str:
    return ", ".join(str(getattr(that, tag)) for tag in TAGS if getattr(this, tag) != getattr(that, tag)) or "itself"


def place_of(row: Any) -> str:
    """Say of what a receipt is."""
    return f"{row.board}, kernel {row.kernel} ({row.mode}), {row.strategy}, guest {row.guest}, host {row.host}, {row.exit} round trip"


def _mean_of(row: Any) -> str:
    line = row.line
    lengths = [f"{length} x {count}" for length, count in line["trips"][:4]]
    more = f" and {len(line['trips']) - 4} more" if len(line["trips"]) > 4 else ""
    period = f", each of {line['period']} in its period once" if line["period"] > 1 else ""
    return f"The mean of {line['usual']['trips']} round trips{period}; those that were traced: {', '.join(lengths)}{more}."


def _clock(row: Any) -> str:
    clock, whole = row.line["clock"], row.line["instructions"]
    on_top = float(np.mean(clock["values"])) - whole
    return (
        f"The clock of the same loop says {_number(clock['instructions'])}; values such as a visit's have {_number(on_top)} more, for the "
        "end of a batch and interrupts."
    )


def _clocks(this: Any, that: Any) -> str:
    apart = this.line["clock"]["instructions"] - that.line["clock"]["instructions"]
    return f"By the clock of the same loops the difference is {signed(apart)}."


def _apart(row: Any) -> list[str]:
    return [
        f"{tables.plural(each['trips'], 'round trip')} of {_number(each['instructions'])} ran besides: "
        + ", ".join(f"{name} {signed(more)}" for name, more in sorted(each["more"].items(), key=lambda row: -abs(row[1]))[:3])
        + "."
        for each in row.line["apart"][:3]
    ]


def _registers(found: receipts.Accesses, more: bool = False) -> str:
    """Say how often registers are read and written, those of one number together."""
    number = signed if more else _number
    return (
        "; ".join(
            f"{', '.join(receipts.families(names)) if debug or len(names) < 6 else tables.plural(len(names), 'other register')}: "
            + ", ".join(f"{number(times)} {word}" for times, word in zip(counts, ("read", "written"), strict=True) if times)
            for debug, counts, names in receipts.grouped(found)[:6]
        )
        or "none"
    )


def _name(row: Any) -> str:
    """Return what a function is called: of what is no kernel's function, whose it is, too."""
    whose = "" if row.module in ("kernel", row.function) else f" [{row.module}]"
    return f"{row.function}{whose}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 0.05 else f"{value:.1f}"


def signed(value: float) -> str:
    """Return a difference with its sign."""
    return "0" if abs(value) < 0.05 else f"{'+' if value > 0 else '-'}{_number(abs(value))}"


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
