"""What a round trip is made of, function by function: rows, differences, register accesses, shares, folded stacks. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from study.analyze import compare, pooling
from study.analyze.rounding import rounded
from study.analyze.select import TAGS, only
from study.campaign import Campaign
from study.campaign.names import legible
from study.campaign.store import CELL, Record
from study.design import LEAST_BOOTS
from study.errors import BadRequest

TRACED, SAMPLED = "traced", "sampled"
COLUMNS = [*TAGS, "mode", "baseline", "receipt", "number", "line"]
NOTHING = pd.DataFrame(columns=COLUMNS)
# What is counted of a function in each round trip, by what it is called in a line of receipts.jsonl.
COUNTS = {name: name for name in ("instructions", "reads", "writes", "isb", "dsb")}
COUNTS |= {"entries": "exceptions"}
COUNTS |= {name: name for name in ("returns", "loads", "stores", "branches", "lines", "registers")}
# What of that is compared, beside instructions.
COMPARED = {"accesses": ["reads", "writes"], "barriers": ["isb", "dsb"], "exceptions": ["exceptions"]}
DIFFERENCE = ["function", "module", "this", "that", "difference", *COMPARED]
DECIMALS = 6  # of a count in a line; sums of them have no more that mean anything
# What the compiler appends to the name of a function of which it makes another, and what the kernel puts before what runs at EL2.
APPENDED, AT_EL2 = re.compile(r"(?:\.(?:isra|constprop|part|cold|llvm|lto_priv)(?:\.\d+)*)+$"), "__kvm_nvhe_"
# A register of debugging, and one of several with a number: its family, the number, and what follows.
DEBUG, NUMBERED = re.compile(r"dbg|mdc|mdscr|osl|osd|oseccr"), re.compile(r"(\D.*?)(\d+)(_el\d)")
LONGEST_STACK = 100_000
# The question of 2015: what one guest pays more than another, and at which exit that is shown.
ASKED, IDLE, LEAVE = "mde", "untouched", "hvc"

Pair = tuple[Any, Any]  # two rows of frame(): the one that is shown, and what it is compared with
Accesses = dict[str, tuple[float, float]]  # by register: reads and writes


def frame(campaign: Campaign) -> pd.DataFrame:
    """Return every receipt of a campaign.

    Returns
    -------
    DataFrame
        COLUMNS, in the order of compare.in_order(). `receipt` is TRACED or SAMPLED; `number` counts the visits in which one cell was
        sampled; `baseline` is the strategy that others of its board are compared with; `line` is the line as it was written.
    """
    return compare.in_order(pd.DataFrame([_row(campaign, record) for record in campaign.receipts()], columns=COLUMNS))


def _row(campaign: Campaign, record: Record) -> dict[str, Any]:
    facts, line = record.facts, record.line
    factors = campaign.design_of(facts["board"]).factors
    cell = {name: line["cell"][name] for name in CELL}
    cell["strategy"] = factors.as_named(cell["strategy"], facts["kernel"], facts.get("release", facts["kernel"]))
    tags = {"board": facts["board"], "kernel": facts["kernel"], "mode": facts["mode"], **cell, "baseline": factors.baseline}
    return {name: legible(str(tag)) for name, tag in tags.items()} | {
        "receipt": line["receipt"], "number": line["number"], "line": line,
    }  # fmt: skip


# --- which of them ------------------------------------------------------------------------------------------------------


def of_kind(receipts: pd.DataFrame, kind: str, cells: str = "") -> pd.DataFrame:
    """Return the receipts of one kind that are named by tags with values, as study.analyze.select has them.

    Raises
    ------
    BadRequest
        If there is none of that kind, or none of these cells.
    """
    found = receipts[receipts["receipt"] == kind]
    if found.empty:
        others = f"those that it has are {', '.join(receipts['receipt'].unique())}" if len(receipts) else "it has none at all"
        raise BadRequest(f"this campaign has no {kind} receipt: {others}; docs/receipts.md says how they are made")
    return only(found, cells, lacks=f"has no {kind} receipt there")


def pairs(receipts: pd.DataFrame, cells: str, against: str) -> list[Pair]:
    """Return each receipt of some cells with those of others that agree with it in every tag that `against` does not name.

    Parameters
    ----------
    receipts : DataFrame
        As frame() returns it.
    cells : str
        Which are shown.
    against : str
        What is different of those that they are compared with, such as ``guest=untouched``.

    Raises
    ------
    BadRequest
        If there are no two of them. What a kernel does as it is counts as the same strategy, whatever it is called.
    """
    named = {word.partition("=")[0] for word in against.split()}
    alike = [word for word in cells.split() if word.partition("=")[0] not in named]
    ours = of_kind(receipts, TRACED, cells)
    theirs = of_kind(receipts, TRACED, " ".join([*alike, against]))
    same = [tag for tag in TAGS if tag not in named]
    found = [
        (this, that)
        for this in ours.itertuples()
        for that in theirs.itertuples()
        if this.Index != that.Index and _place(this, same) == _place(that, same)
    ]
    if not found:
        there = "; ".join(
            f"{row.board} {row.kernel} {row.strategy} {row.guest} {row.host} {row.exit}" for row in theirs.itertuples()
        )
        raise BadRequest(f"against {against!r}: nothing to compare these cells with that agrees in {', '.join(same)}: {there}")
    return found


def _place(row: Any, tags: Collection[str]) -> tuple[str, ...]:
    return tuple("" if tag == "strategy" and row.strategy in compare.AS_IT_IS else getattr(row, tag) for tag in tags)


def telling(receipts: pd.DataFrame, series: Mapping[str, Any]) -> list[Pair]:
    """Return the pairs of which tables and a letter speak.

    Parameters
    ----------
    receipts : DataFrame
        As frame() returns it.
    series : mapping
        As Campaign.series() returns it; empty if there is none.

    Returns
    -------
    list of pair
        On each board and kernel a guest that keeps monitor debug mode on against an untouched one, under what the kernel does by
        itself, or else under the baseline. Of a series on each board its tip against its base, in the cell that moved most.
    """
    traced = receipts[receipts["receipt"] == TRACED]
    return _of_series(traced, series) if series else _of_guests(traced)


def in_focus(receipts: pd.DataFrame, series: Mapping[str, Any]) -> list[Pair]:
    """Return those of telling() that a figure and a page show: of a board with many kernels one, as compare.in_focus() has it."""
    return telling(receipts if series else compare.in_focus(receipts), series)


def _of_guests(traced: pd.DataFrame) -> list[Pair]:
    found = []
    shown = traced[(traced["exit"] == LEAVE) & (traced["host"] == "none")]
    for _, own in shown.groupby(["board", "kernel"], sort=False):
        known = {(row.strategy, row.guest): row for row in own.itertuples()}
        both = [
            (known[strategy, ASKED], known[strategy, IDLE])
            for strategy in dict.fromkeys([*compare.AS_IT_IS, *own["baseline"]])
            if {(strategy, ASKED), (strategy, IDLE)} <= known.keys()
        ]
        found += both[:1]
    return found


def _of_series(traced: pd.DataFrame, series: Mapping[str, Any]) -> list[Pair]:
    base, tip = series["base"]["kernel"], series["patches"][-1]["kernel"]
    cell = [tag for tag in TAGS if tag != "kernel"]
    before = {_place(row, cell): row for row in traced[traced["kernel"] == base].itertuples()}
    both = [
        (row, before[_place(row, cell)])
        for row in traced[traced["kernel"] == tip].itertuples()
        if tip != base and _place(row, cell) in before
    ]
    most: dict[str, Pair] = {}
    for pair in sorted(both, key=lambda pair: -abs(float(np.log(pair[0].line["instructions"] / pair[1].line["instructions"])))):
        most.setdefault(pair[0].board, pair)
    return [most[board] for board in sorted(most)]


# --- what is in them ----------------------------------------------------------------------------------------------------


def functions(receipts: pd.DataFrame) -> pd.DataFrame:
    """Return what traced receipts are made of: a row for each function, all per round trip.

    Returns
    -------
    DataFrame
        The tags, `mode`, `function`, `module` and the values of COUNTS. `exceptions` are those that were taken to the function,
        `lines` its different 64-byte lines of code that were executed, and `registers` has for each system register how often it was
        read and written.
    """
    head = [*TAGS, "mode", "function", "module", *COUNTS.values()]
    rows = [
        [*(getattr(row, tag) for tag in (*TAGS, "mode")), *_named(each), *(each[name] for name in COUNTS)]
        for row in receipts[receipts["receipt"] == TRACED].itertuples()
        for each in row.line["functions"]
    ]
    return pd.DataFrame(rows, columns=head)


def _named(each: Mapping[str, Any]) -> tuple[str, str]:
    return legible(each["function"]), legible(each["module"])


def of_one(receipt: Any) -> pd.DataFrame:
    """Return what one traced receipt is made of: `function`, `module`, the values of COUNTS, and of COMPARED."""
    rows = [[*_named(each), *(each[name] for name in COUNTS)] for each in receipt.line["functions"]]
    found = pd.DataFrame(rows, columns=["function", "module", *COUNTS.values()])
    return found.assign(**{name: found[parts].sum(axis=1) for name, parts in COMPARED.items()})


def stem(function: str) -> str:
    """Return the name that a function has in its source."""
    return APPENDED.sub("", function).removeprefix(AT_EL2) or function


def difference(this: Any, that: Any) -> pd.DataFrame:
    """Return what one receipt has more than another, function by function.

    A function that only one of them has goes by its stem(), together with others of that stem: two kernels of one source may
    differ in ``.isra.0``, ``.constprop.0`` or ``.part.0`` that the compiler appended to a name, and in ``__kvm_nvhe_`` before it.

    Parameters
    ----------
    this, that : row of frame()
        Two that were traced.

    Returns
    -------
    DataFrame
        DIFFERENCE: the instructions of both, and what the first has more: instructions, accesses to system registers, barriers,
        exceptions. The largest first; functions that do not differ() are among them, so that each column adds up.
    """
    sides = {"this": of_one(this), "that": of_one(that)}
    names = [set(zip(side["function"], side["module"], strict=True)) for side in sides.values()]
    both = names[0] & names[1]
    parts = []
    for sign, (name, side) in zip((1, -1), sides.items(), strict=True):
        known = [
            function if (function, module) in both else stem(function)
            for function, module in zip(side["function"], side["module"], strict=True)
        ]
        signed = side[["instructions", *COMPARED]].mul(sign).rename(columns={"instructions": "difference"})
        parts.append(pd.concat([side[["module"]].assign(function=known), signed], axis=1).assign(**{name: side["instructions"]}))
    whole = pd.concat(parts, ignore_index=True).fillna(dict.fromkeys(sides, 0.0))
    found = whole.groupby(["function", "module"], sort=False).sum().round(DECIMALS).add(0.0).reset_index()  # which makes 0 of -0
    size = found["difference"].abs()
    return found.assign(size=size).sort_values(["size", "function"], ascending=[False, True], ignore_index=True)[DIFFERENCE]


def differs(rows: pd.DataFrame) -> pd.Series:
    """Return which rows of a difference are one that can be printed with a decimal."""
    return (rows[["difference", *COMPARED]].abs() >= 0.05).any(axis=1)


def accesses(this: Any, that: Any = None) -> Accesses:
    """Return how often each system register is read and written in a round trip; or how much more often than in another's."""
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for sign, receipt in ((1, this), (-1, that)):
        for each in receipt.line["functions"] if receipt is not None else ():
            for register, times in each["registers"].items():
                found[legible(register)] = [old + sign * new for old, new in zip(found[legible(register)], times, strict=True)]
    whole = {name: (round(reads, DECIMALS) + 0.0, round(writes, DECIMALS) + 0.0) for name, (reads, writes) in found.items()}
    return {name: times for name, times in whole.items() if max(map(abs, times)) >= 0.05}


def grouped(found: Accesses) -> list[tuple[bool, tuple[float, float], list[str]]]:
    """Return registers together that are read and written equally often: whether they are of debugging, how often, and their names.

    Those with the most accesses come first.
    """
    groups: dict[tuple[bool, tuple[float, float]], list[str]] = defaultdict(list)
    for name, times in found.items():
        groups[DEBUG.match(name) is not None, times].append(name)
    rows = [(debug, times, sorted(names)) for (debug, times), names in groups.items()]
    return sorted(rows, key=lambda row: (-abs(sum(row[1])) * len(row[2]), not row[0], row[2]))


def families(names: Collection[str]) -> list[str]:
    """Return names of registers, those of one family with consecutive numbers as one: ``dbgbcr0..5_el1``."""
    found, runs = [], dict[tuple[str, str], list[int]]()
    for name in names:
        if match := NUMBERED.fullmatch(name):
            runs.setdefault((match[1], match[3]), []).append(int(match[2]))
        else:
            found.append(name)
    for (family, end), numbers in runs.items():
        ordered = np.array(sorted(numbers))
        for run in np.split(ordered, np.flatnonzero(np.diff(ordered) > 1) + 1):
            found.append(f"{family}{run[0]}{f'..{run[-1]}' if len(run) > 1 else ''}{end}")
    return sorted(found)


def differences(pairs: Collection[Pair]) -> pd.DataFrame:
    """Return the differences of several pairs for programs: the tags of each first one, `against`, and DIFFERENCE."""
    head = [*TAGS, "against", *DIFFERENCE]
    parts = []
    for this, that in pairs:
        ours, theirs = ({tag: getattr(row, tag) for tag in TAGS} for row in (this, that))
        parts += [{**ours, "against": theirs, **row} for row in difference(this, that).to_dict("records")]
    return pd.DataFrame(parts, columns=head)


def folded(found: pd.DataFrame) -> list[str]:
    """Return a traced receipt's stacks as flamegraph.pl and speedscope read them: ``a;b;c N``, the outermost function first.

    Instructions are whole, and rounded so that their sum is the round trip's, by the largest remainders.

    Raises
    ------
    BadRequest
        If more than one receipt is given: stacks of two have no common length.
    """
    if len(found) > 1:
        varied = [f"{tag}={','.join(found[tag].unique())}" for tag in TAGS if found[tag].nunique() > 1]
        raise BadRequest(
            f"these cells have {len(found)} receipts, and folded stacks are of one: choose with --cells from {' '.join(varied)}"
        )
    (receipt,) = found.itertuples()
    names = list(receipt.line["stacks"])
    exact = np.array([receipt.line["stacks"][name] for name in names])
    whole = np.floor(rounded(exact))
    lacking = int(round(float(exact.sum())) - whole.sum())
    whole[np.argsort(-rounded(exact - whole), kind="stable")[:lacking]] += 1
    return [f"{legible(name, LONGEST_STACK)} {count:.0f}" for name, count in zip(names, whole, strict=True) if count]


def shares(receipts: pd.DataFrame) -> pd.DataFrame:
    """Return of each cell that was sampled the share of samples that fell into each function.

    Returns
    -------
    DataFrame
        The tags, `mode`, `event`, `function`, `module`, and `share` with the ends of its 95 % interval `low` and `high`: the mean of
        visits, by Student's t over them, NaN of fewer visits than 3. `visits` and `samples` are those of the cell. The largest first.
    """
    head = [*TAGS, "mode", "event", "function", "module", "share", "low", "high", "visits", "samples"]
    parts = [pd.DataFrame(columns=head)]
    for tags, rows in receipts[receipts["receipt"] == SAMPLED].groupby([*TAGS, "mode"], sort=False):
        lines = list(rows["line"])
        each = [{_named(row): row["samples"] / line["samples"] for row in line["functions"]} for line in lines]
        names = list(dict.fromkeys(name for visit in each for name in visit))
        level = np.array([[visit.get(name, 0.0) for name in names] for visit in each])
        spread = pooling.over_boots(
            np.tile(np.arange(len(names)), len(each)), np.repeat(np.arange(len(each)), len(names)), level.ravel(), len(names)
        )
        low, high = (ends if len(lines) >= LEAST_BOOTS else np.full(len(names), np.nan) for ends in spread.interval())
        found = pd.DataFrame(names, columns=["function", "module"]).assign(
            **dict(zip([*TAGS, "mode"], tags, strict=True)), event=legible(lines[0]["event"]), share=rounded(spread.middle),
            low=rounded(np.maximum(low, 0.0)), high=rounded(np.minimum(high, 1.0)), visits=len(lines),
            samples=sum(line["samples"] for line in lines),
        )  # fmt: skip
        parts.append(found.sort_values(["share", "function"], ascending=[False, True])[head])
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
