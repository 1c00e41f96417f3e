"""Receipts as text, Markdown and HTML: what one round trip is made of, what two differ in, shares of samples, an excerpt for a mail."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from study.analyze import cost, history, receipts, tables, texts
from study.analyze.receipts import Accesses, Pair
from study.analyze.select import TAGS
from study.campaign.names import system

EMULATED = "instructions (emulated: path length, not time)"
HARDLY = 0.01  # of a round trip: a function of less than that is folded into one row, in text
NAME, SIDE = 34, 9  # columns that text has for a function, and for what one side of a difference is called
LENGTHS = 5  # of all round trips so many are named
EXCERPT = 10  # lines of an excerpt
MOST = 13  # bars of a figure
MOST_FIRST = 2  # functions that its title names
ALIKE = "no function differs"
NAMED = 6  # functions that an excerpt names of a pair at most
# What a total is called, and what holds all that is folded.
WHOLE, OTHERS = "whole round trip", "{} others"
KINDS = (
    "Reads, writes, accesses: of system registers, by instructions. Barriers: isb and dsb. Exceptions: those that are taken to the "
    "function."
)
SAMPLES = (
    "Shares of samples of {event}: estimates, not counts. The interrupt that takes a sample waits while interrupts are masked, as they "
    "are around a guest: all that runs then, the world switch, is charged to the function that lets them in again. The mean of {visits}, "
    "{samples} in all{interval}."
)
INTERVAL = "; with 95 % intervals by Student's t over visits"
NO_INTERVAL = ", which are too few for an interval"
TIMES = {1.0: "once", 2.0: "twice"}


# --- numbers and names --------------------------------------------------------------------------------------------------


def amount(value: float) -> str:
    """Return a number of instructions: whole where it is whole, else with one decimal."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def signed(value: float) -> str:
    """Return a difference with its sign; 0 has none."""
    shown = amount(value)
    return f"+{shown}" if shown[0] not in "-0" or float(shown) > 0 else shown


def name(function: str, module: str, style: str) -> str:
    """Return what a function is called in a table: with its module behind it, if that is not the kernel itself."""
    whole = function if module in ("kernel", function) else f"{function} [{module}]"
    return {"text": tables.shorten(whole, NAME), "markdown": f"`{whole}`"}.get(style, whole)


def sides(this: Any, that: Any) -> tuple[str, str]:
    """Return what tells two receipts apart, in short: guests, kernels, ..."""
    short = history.short(pd.Series([this.kernel, that.kernel]))
    found = [
        " ".join(short[row.kernel] if tag == "kernel" else getattr(row, tag) for tag in _different(this, that))
        for row in (this, that)
    ]
    return found[0] or "one", found[1] or "the other"


def _different(this: Any, that: Any) -> list[str]:
    return [tag for tag in TAGS if getattr(this, tag) != getattr(that, tag)]


def heading(this: Any, that: Any = None) -> str:
    """Return of which cell a receipt is, and what it is compared with."""
    than = "" if that is None else ", against " + ", ".join(f"{tag} {getattr(that, tag)}" for tag in _different(this, that))
    return f"{tables.place(pd.DataFrame([this._asdict()]))}, strategy {this.strategy}, guest {this.guest}, host {this.host}{than}"


# --- one receipt --------------------------------------------------------------------------------------------------------


def table(receipt: Any, style: str = "text", whole: bool = False) -> str:
    """Return what a round trip is made of, function by function, and how that was found.

    Parameters
    ----------
    receipt : row of receipts.frame()
        One that was traced.
    style : str
        A row of tables.FORMATS.
    whole : bool
        Whether text has the functions, too, that are less than HARDLY of the round trip: elsewhere they always are.
    """
    rows, total = receipts.of_one(receipt), receipt.line["instructions"]
    columns = ["instructions", "share", "reads", "writes", "barriers", "exceptions"]
    columns += [] if style == "text" else ["loads", "stores", "branches"]
    summed = rows.assign(share=100 * rows["instructions"] / total)[["function", "module", *columns]]
    small = _small(rows["instructions"] / total, style, whole)
    body = [
        [named, *(f"{row[column]:.1f} %" if column == "share" else amount(row[column]) for column in columns)]
        for named, row in [*_folded(summed, small, style), (WHOLE, summed[columns].sum())]
    ]
    return _page(
        f"{heading(receipt)}: {EMULATED}",
        tables.table(["function", *columns], body, "l" + "r" * len(columns), style),
        [*_how(receipt), KINDS, *_registers(receipts.accesses(receipt), "")],
        style,
    )  # fmt: skip


def _small(shares: pd.Series, style: str, whole: bool) -> pd.Series:
    """Return which functions are folded into one row, by their shares of a round trip; none where that would be a single one."""
    small = shares.abs() < HARDLY
    return small & (style == "text" and not whole and small.sum() > 1)


def _folded(rows: pd.DataFrame, small: pd.Series, style: str) -> list[tuple[str, Any]]:
    """Return rows with their names, the small ones as one."""
    shown = [(name(str(row["function"]), str(row["module"]), style), row) for _, row in rows[~small].iterrows()]
    numbers = rows[small].drop(columns=["function", "module"])
    return [*shown, *([(OTHERS.format(len(numbers)), numbers.sum())] if len(numbers) else [])]


def _page(title: str, table: str, notes: Sequence[str], style: str) -> str:
    """Return a heading, a table and what is said below it."""
    said = "\n\n".join(tables.prose(note, style) for note in notes)
    return "\n".join([tables.title(title, style), table, "", said, ""])


def _how(receipt: Any) -> list[str]:
    """Say of which round trips a receipt is the mean, which were left out, and what the clock says of the same loop."""
    line = receipt.line
    all_of_them = sum(count for _, count in line["trips"])
    lengths = [f"{count} of {length}" for length, count in line["trips"][:LENGTHS]]
    more = sum(count for _, count in line["trips"][LENGTHS:])
    lengths += [f"{more} of other lengths"] if more else []
    period = f", in which the guest does the same again after {line['period']}" if line["period"] > 1 else ""
    said = [
        f"The mean of {tables.plural(line['usual']['trips'], 'round trip')}{period}. Traced were {all_of_them}, by their instructions: "
        f"{', '.join(lengths)}."
    ]
    for apart in line["apart"]:
        besides = ", ".join(
            f"{function} {signed(more)}" for function, more in sorted(apart["more"].items(), key=lambda row: -abs(row[1]))
        )
        verb = "is" if apart["trips"] == 1 else "are"
        said.append(
            f"Left out {verb} {tables.plural(apart['trips'], 'round trip')} of {amount(apart['instructions'])}: besides it runs {besides}."
        )
    clock = line["clock"]
    top = sum(clock["values"]) / len(clock["values"]) - clock["instructions"]
    said.append(
        f"The clock of the same loop, which was not traced, says {amount(clock['instructions'])} a round trip (standard error "
        f"{amount(clock['error'])}). A visit's value has {signed(top)} on top: the end of a batch, and what interrupts it."
    )
    return said


def _registers(found: Accesses, more: str) -> list[str]:
    """Say how often which system registers are read and written, those together that are so equally often."""
    if not found:
        return []
    whole = sum(reads + writes for reads, writes in found.values())
    said = []
    for debug, times, names in receipts.grouped(found):
        kind = tables.plural(len(names), "debug register" if debug else "other register")
        verbs = [_times(verb, number, more) for verb, number in zip(("read", "written"), times, strict=True) if number]
        count = (signed if more else amount)(sum(times) * len(names))
        said.append(f"{kind} {' and '.join(verbs)}{' each' * (len(names) > 1)} ({count}): {', '.join(receipts.families(names))}")
    return [f"Accesses to system registers: {(signed if more else amount)(whole)}. {'; '.join(said)}."]


def _times(verb: str, times: float, more: str) -> str:
    often = TIMES.get(abs(times)) or f"{amount(abs(times))} times"
    return f"{verb} {often}{more and (' more' if times > 0 else ' less')}"


# --- two receipts -------------------------------------------------------------------------------------------------------


def against(pair: Pair, style: str = "text", whole: bool = False) -> str:
    """Return in which functions two receipts differ, and by how much: instructions, register accesses, barriers, exceptions.

    Parameters
    ----------
    pair : two rows of receipts.frame()
        Both traced.
    style : str
        A row of tables.FORMATS.
    whole : bool
        Whether text has the functions, too, whose difference is less than HARDLY of a round trip: elsewhere they always are.
    """
    this, that = pair
    rows = receipts.difference(this, that)
    same = ~receipts.differs(rows)
    small = _small(rows.loc[~same, "difference"] / this.line["instructions"], style, whole)
    columns = ["this", "that", "difference", *receipts.COMPARED]
    named = _folded(rows[~same], small, style)
    body = [
        [label, *(amount(row[column]) if column in ("this", "that") else signed(row[column]) for column in columns)]
        for label, row in [*named, (WHOLE, rows[columns].sum())]
    ]
    heads = [tables.shorten(side, SIDE) if style == "text" else side for side in sides(*pair)]
    left_out = (
        f"{tables.plural(int(same.sum()), 'function')} in which they do not differ {'is' if same.sum() == 1 else 'are'} left out: "
        f"{amount(rows.loc[same, 'this'].sum())} instructions of either."
    )
    how = [f"{side}: {sentence}" for side, row in zip(sides(*pair), pair, strict=True) for sentence in _how(row)]
    return _page(
        f"{heading(*pair)}: {EMULATED}",
        tables.table(["function", *heads, "difference", *receipts.COMPARED], body, "l" + "r" * (len(columns)), style),
        [left_out, KINDS, *_registers(receipts.accesses(*pair), " more"), *how],
        style,
    )  # fmt: skip


def all_of(found: pd.DataFrame, style: str = "text", whole: bool = False) -> str:
    """Return the table of every receipt that was traced, one below the other."""
    return "\n".join(table(row, style, whole) for row in found[found["receipt"] == receipts.TRACED].itertuples())


def all_against(pairs: Iterable[Pair], style: str = "text", whole: bool = False) -> str:
    """Return against() of several pairs, one below the other."""
    return "\n".join(against(pair, style, whole) for pair in pairs)


# --- samples ------------------------------------------------------------------------------------------------------------


def sampled(shares: pd.DataFrame, style: str = "text", whole: bool = False) -> str:
    """Return the share of samples that fell into each function of one cell, with its interval over visits.

    Parameters
    ----------
    shares : DataFrame
        Of receipts.shares(), the rows of one cell.
    style : str
        A row of tables.FORMATS.
    whole : bool
        Whether text has the functions, too, that have less than HARDLY of the samples: elsewhere they always are.
    """
    small = _small(shares["share"], style, whole)
    body = [
        [
            name(row.function, row.module, style),
            tables.share(row.share),
            "-" if math.isnan(row.low) else f"{row.low:.1%} to {row.high:.1%}",
        ]
        for row in shares[~small].itertuples()
    ]
    body += [[OTHERS.format(int(small.sum())), tables.share(shares.loc[small, "share"].sum()), "-"]] if small.any() else []
    first = next(shares.itertuples())
    note = SAMPLES.format(
        event=first.event, visits=tables.plural(first.visits, "visit"), samples=tables.plural(first.samples, "sample"),
        interval=NO_INTERVAL if shares["low"].isna().all() else INTERVAL,
    )  # fmt: skip
    return _page(
        f"{heading(first)}: shares of samples",
        tables.table(["function", "share", "95 % interval"], body, "lrr", style),
        [note],
        style,
    )


def all_sampled(found: pd.DataFrame, style: str = "text", whole: bool = False) -> str:
    """Return the shares of every cell that was sampled, one below the other."""
    cells = receipts.shares(found).groupby([*TAGS], sort=False)
    return "\n".join(sampled(rows, style, whole) for _, rows in cells)


# --- in a figure --------------------------------------------------------------------------------------------------------


def largest(pair: Pair) -> list[tuple[str, float, float]]:
    """Return the functions in which two receipts differ most, MOST at most, and all others as one: instructions and accesses more."""
    rows = receipts.difference(*pair)
    rows = rows[receipts.differs(rows)]
    small = pd.Series(range(len(rows)), rows.index) >= MOST - (len(rows) > MOST)
    found = [(label, row["difference"], row["accesses"]) for label, row in _folded(rows, small, "html")]
    return found or [(ALIKE, 0.0, 0.0)]


def moved(pair: Pair) -> str:
    """Return what the first of two receipts has more in all."""
    total = receipts.difference(*pair)[["difference", "accesses"]].sum()
    return f"{signed(total['difference'])} to {amount(pair[0].line['instructions'])}, {signed(total['accesses'])} accesses"


def message(pairs: Sequence[Pair]) -> str:
    """Return what a figure of pairs says, in a line: by how much one round trip is longer than the other, and which function is the most of it.

    Parameters
    ----------
    pairs : sequence of pair
        As receipts.telling() returns them.
    """
    totals = sorted({float(receipts.difference(*pair)["difference"].sum()) for pair in pairs})
    first = list(dict.fromkeys(largest(pair)[0][0] for pair in pairs))
    same = len({sides(*pair) for pair in pairs}) == 1
    this, that = (tables.shorten(side, NAME) for side in (sides(*pairs[0]) if same else ("one round trip", "the other")))
    if first == [ALIKE]:
        return f"{this} and {that} do not differ in any function"
    span = " to ".join(dict.fromkeys(map(signed, (totals[0], totals[-1]))))
    return f"{this} over {that}: {span} instructions a round trip, most of all in {' or '.join(first[:MOST_FIRST])}"


def described(pairs: Sequence[Pair]) -> str:
    """Say in words what a figure of pairs shows."""
    clauses = []
    for pair in pairs:
        function, more, _ = largest(pair)[0]
        clauses.append(f"{pair[0].board}, {system(pair[0].board, pair[0].kernel)}: {moved(pair)}: {function} {signed(more)}")
    return texts.within(f"{message(pairs)}. In {EMULATED}. ", clauses)


def drawn(pairs: Sequence[Pair]) -> str:
    """Return a figure of pairs as plain text that a mail can have: a table for each."""
    parts = []
    for pair in pairs:
        body = [[tables.shorten(function, NAME), signed(more), signed(accesses)] for function, more, accesses in largest(pair)]
        words = textwrap.fill(f"{heading(*pair)}: {moved(pair)}", tables.WIDTH)
        parts.append(f"{words}\n\n{tables.table(['function', 'instructions', 'accesses'], body, 'lrr', 'text')}")
    note = f"What a round trip has more: {EMULATED}; accesses to system registers."
    return "\n\n".join([textwrap.fill(message(pairs), tables.WIDTH), *parts, textwrap.fill(note, tables.WIDTH)])


# --- in the cost model ---------------------------------------------------------------------------------------------------


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
        body = [[row.part, *(amount(getattr(row, name)) for name in cost.EVENTS)] for row in own.itertuples()]
        head = f"{board}, kernel {kernel}, hvc: what each part is made of, by receipts"
        check = _agreement(cost.apart(own, fits[board])) if board in fits else ""
        note = f"These parts make each round trip of the receipts within {own['error'].iloc[0]:.1%}.{check}"
        found.append(_page(head, tables.table(["part", *cost.EVENTS], body, "l" + "r" * len(cost.EVENTS), style), [note], style))
    return "\n".join(found)


def _agreement(apart: float) -> str:
    """Say whether receipts and the fit to the clock agree."""
    said = f" The fit to the clock gives round trips within {apart:.1%} of these"
    most = f"{cost.AGREE:.0%}"
    return f"{said}." if apart <= cost.AGREE else f"{said}, and {most} is the most: they are not of the same guests or kernel."


# --- in a mail ----------------------------------------------------------------------------------------------------------


def excerpt(pairs: Sequence[Pair]) -> str:
    """Return what pairs of receipts differ in, in at most EXCERPT lines of a mail; nothing of no pair.

    Parameters
    ----------
    pairs : sequence of pair
        As receipts.telling() returns them. As many functions of each are named as there is room for.
    """
    if not pairs:
        return ""
    known = [_lines(pairs, most) for most in range(NAMED, -1, -1)]
    lines = next((lines for lines in known if len(lines) <= EXCERPT), known[-1])
    more = len(lines) - EXCERPT
    return "\n".join(lines if more <= 0 else [*lines[: EXCERPT - 1], "  ...; study receipt shows the others"])


def _lines(pairs: Sequence[Pair], most: int) -> list[str]:
    """Return an excerpt that names so many functions of each pair."""
    about = [_about(pair) for pair in pairs]
    alike = len(set(about)) == 1
    found = _filled(f"{f'{about[0]}: what' if alike else 'What'} a round trip has more, in {EMULATED}", "")
    for (this, that), words in zip(pairs, about, strict=True):
        rows = receipts.difference(this, that)
        rows = rows[receipts.differs(rows)]
        named = [f"{tables.shorten(row.function, NAME)} {signed(row.difference)}" for row in rows.head(most).itertuples()]
        if most < len(rows):
            named.append(f"{OTHERS.format(len(rows) - most)} {signed(rows['difference'][most:].sum())}")
        where = f"{tables.shorten(this.board)}, {tables.shorten(system(this.board, this.kernel))}{'' if alike else f', {words}'}"
        found += _filled(f"{where}: {moved((this, that))}{': ' + ', '.join(named) if most and named else ''}", "  ")
    return found


def _about(pair: Pair) -> str:
    """Return which cell a pair is of, and what is compared."""
    this, _ = pair
    different = _different(*pair)
    guest = [] if "guest" in different else [f"guest {this.guest}"]
    return ", ".join([this.exit, *guest, " over ".join(tables.shorten(side) for side in sides(*pair))])


def _filled(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, tables.WIDTH, initial_indent=indent, subsequent_indent=indent * 2, break_on_hyphens=False, break_long_words=True
    )
