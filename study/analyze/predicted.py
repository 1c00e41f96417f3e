"""What a round trip would take on real cores: events of receipts times published prices, a prediction, and never measured. Pure.

A receipt counts what a round trip executes on an emulated board. Of a core that somebody published prices of, the round trip is then

    ordinary / IPC + traps t + reads r + writes w + isb i + dsb d        cycles

where each of t, r, w, i and d is a range: the core's own prices, or those of all cores where it has none of its own. What has a price is
not charged as an instruction besides. A trap is an exception that is taken to EL2 and the eret behind it, with the instruction that was
trapped: an hvc round trip has one, and two if KVM runs without VHE, since the host itself calls EL2 then. In an hvc round trip nothing
is taken to EL1, so that prices of exceptions into EL1 are of no use here.

Two strategies are compared by the difference of their events: a price is the same in both, whatever it is, so that what they share
cancels. Both ends of a range are met where each price is at one of its own. Where somebody published a hypercall of the core, under a
kernel that has receipts, prices at which those receipts would take another time are not its own, and the range is narrower: that is a
linear programme of six unknowns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize

from study.analyze import assumed as assuming
from study.analyze import compare, cost, published, receipts
from study.analyze.assumed import FILE, Assumed, Like, Rate
from study.analyze.published import Price
from study.analyze.receipt_tables import sides
from study.analyze.rounding import rounded
from study.analyze.select import TAGS, only
from study.errors import BadData, BadRequest
from study.factors import of_series

# What has a price, and what it is counted by; and all else.
PRICED = {"trap": "traps", "read": "reads", "write": "writes", "isb": "isb", "dsb": "dsb"}
ORDINARY = "ordinary"
EVENTS = (ORDINARY, *PRICED.values())
GUEST, ENTERS = "guest", "__guest_enter"  # a module of receipts, and the function of KVM whose eret enters a guest
DECIMALS = 6
# Whether two strategies are told apart: one has more of everything; the range of their difference is on one side of 0; it is not; they
# are made of the same.
ANY, THESE, NOT, SAME = "at any price", "as published", "no", "the same"
# What becomes of a published hypercall.
HOLDS, PART, MISSES, UNCHECKED = "holds it", "holds a part", "does not hold it", "not checked"
CHECKS = ["core", "linux", "published", "low", "high", "board", "kernel", "predicted_low", "predicted_high", "result", "factor",
          "ipc_low", "ipc_high", "reason"]  # fmt: skip
NOTHING = "this campaign has no receipt of an hvc round trip whose host does not debug, and of others nothing is predicted"

Pair = tuple[Any, Any]  # two rows of events()


class Span(NamedTuple):
    """From what to what something is, both ends among it; an end that nobody knows is 0 or infinite."""

    low: float
    high: float


@dataclass(frozen=True)
class Prices:
    """What events cost on a core.

    Parameters
    ----------
    core : str
        Its name.
    spans : mapping of str to Span
        Cycles, for each of EVENTS.
    own : tuple of str
        Of which quantities it has prices of its own; the others are those of all cores.
    """

    core: str
    spans: Mapping[str, Span]
    own: tuple[str, ...]

    def of(self, quantity: str) -> Span:
        """Return the price of a quantity."""
        return self.spans[PRICED[quantity]]


class Known(NamedTuple):
    """What a round trip of so many events is known to take."""

    counts: Mapping[str, float]
    span: Span


@dataclass(frozen=True)
class Predictions:
    """What is predicted of a campaign.

    Parameters
    ----------
    prices : mapping of str to Prices
        Of the cores that are shown.
    trips : DataFrame
        As trips() returns them.
    differences : DataFrame
        As differences() returns them.
    checks : DataFrame
        As checks() returns them.
    assumed : Assumed
        What nobody published.
    """

    prices: Mapping[str, Prices]
    trips: pd.DataFrame
    differences: pd.DataFrame
    checks: pd.DataFrame
    assumed: Assumed


# --- events and prices --------------------------------------------------------------------------------------------------


def events(functions: pd.DataFrame) -> pd.DataFrame:
    """Return what of an hvc round trip has a price, and what has none, for each cell whose host does not debug.

    Parameters
    ----------
    functions : DataFrame
        As receipts.functions() returns it.

    Returns
    -------
    DataFrame
        TAGS, `mode` and EVENTS, per round trip. An access of the guest that is trapped is a trap, and no access; `ordinary` are the
        instructions that are none of the others, nor the eret of a trap, nor the instruction that was trapped.
    """
    here = functions[(functions["exit"] == receipts.LEAVE) & (functions["host"] == "none")]
    rows = [[*tags, *_counts(own)] for tags, own in here.groupby([*TAGS, "mode"], sort=False)]
    return pd.DataFrame(rows, columns=[*TAGS, "mode", *EVENTS])


def _counts(own: pd.DataFrame) -> list[float]:
    """Return EVENTS of one receipt."""
    total = own[["instructions", "reads", "writes", "isb", "dsb", "exceptions", "returns"]].sum()
    enters = own.loc[own["function"].map(receipts.stem) == ENTERS, "returns"].sum() or total["exceptions"]
    by_guest = own.loc[own["module"] == GUEST, ["reads", "writes"]].sum()
    trapped = min(float(by_guest.sum()), max(0.0, float(enters) - 1))  # one of its exits is the hvc
    share = trapped / by_guest.sum() if trapped else 0.0
    reads, writes = total["reads"] - share * by_guest["reads"], total["writes"] - share * by_guest["writes"]
    priced = [total["exceptions"], reads, writes, total["isb"], total["dsb"]]
    ordinary = total["instructions"] - sum(priced) - total["returns"]
    return [round(float(count), DECIMALS) + 0.0 for count in (ordinary, *priced)]


def price_list(known: Sequence[Price], assumed: Assumed) -> dict[str, Prices]:
    """Return what events cost on each core of which anything was published.

    Parameters
    ----------
    known : sequence of Price
        What was published; what is in ns is no price of an event.
    assumed : Assumed
        What was not.
    """
    everywhere, ordinary = ranges(known), Span(1 / assumed.ipc.high, 1 / assumed.ipc.low)
    if lacking := [quantity for quantity in PRICED if quantity not in everywhere]:
        raise BadData(f"prices.toml: no core has a price of {lacking[0]} in cycles, and nothing can be predicted without one")
    found = {}
    for core in dict.fromkeys(price.core for price in known):
        own = ranges([price for price in known if price.core == core])
        spans = {event: {**everywhere, **own}[quantity] for quantity, event in PRICED.items()}
        found[core] = Prices(core, {ORDINARY: ordinary, **spans}, tuple(own))
    return found


def ranges(known: Sequence[Price]) -> dict[str, Span]:
    """Return for each quantity of PRICED the range of all of its prices in cycles: a bound without a low end begins at 0."""
    found: dict[str, Span] = {}
    for price in known:
        if price.quantity in PRICED and price.unit == "cycles":
            ends = Span(0.0 if math.isnan(price.low) else price.low, math.inf if math.isnan(price.high) else price.high)
            old = found.get(price.quantity, ends)
            found[price.quantity] = Span(min(old.low, ends.low), max(old.high, ends.high))
    return {quantity: found[quantity] for quantity in PRICED if quantity in found}


def cycles(counts: Mapping[str, float], prices: Mapping[str, Span], given: Sequence[Known] = ()) -> Span:
    """Return from what to what so many events cost.

    Parameters
    ----------
    counts : mapping of str to float
        How many of each event; less than none where one round trip has fewer than another.
    prices : mapping of str to Span
        Cycles of each.
    given : sequence of Known
        Round trips that take what was published, which not all prices allow.

    Returns
    -------
    Span
        Not a number if no prices allow what is given.
    """
    if given:
        return Span(_least(counts, prices, given, 1.0), _least(counts, prices, given, -1.0))
    ends = [sorted(count * end if count else 0.0 for end in prices[event]) for event, count in counts.items()]
    return Span(sum(low for low, _ in ends), sum(high for _, high in ends))


def _least(counts: Mapping[str, float], prices: Mapping[str, Span], given: Sequence[Known], sign: float) -> float:
    """Return the least that events cost, or with the sign turned round the most."""
    sides = [(way, known) for known in given for way in (1.0, -1.0)]
    done = optimize.linprog(
        [sign * counts.get(event, 0.0) for event in EVENTS],
        np.array([[way * known.counts.get(event, 0.0) for event in EVENTS] for way, known in sides]),
        [known.span.high if way > 0 else -known.span.low for way, known in sides],
        bounds=[(prices[event].low, None if math.isinf(prices[event].high) else prices[event].high) for event in EVENTS],
    )
    ends = {0: done.fun, 3: -math.inf}.get(done.status, math.nan)  # 2: no prices allow it; 3: no end
    return float(rounded(sign * ends)) + 0.0


# --- what is predicted --------------------------------------------------------------------------------------------------


def predict(
    found: pd.DataFrame, known: Sequence[Price], assumed: Assumed, cells: str = "", against: str = "", core: str = ""
) -> Predictions:
    """Return all that is predicted of the receipts of a campaign.

    Parameters
    ----------
    found : DataFrame
        As receipts.frame() returns it.
    known, assumed
        As published.prices() and assumed.assumed() return them.
    cells : str
        Which round trips are shown, as study.analyze.select has them; published hypercalls are held against all.
    against : str
        What is different of those that they are compared with, as receipts.pairs() has it; if empty strategies are compared.
    core : str
        One core; all if empty.

    Raises
    ------
    BadRequest
        If there is no such core, or no such receipt of an hvc round trip.
    BadData
        If prices or assumptions are not whole.
    """
    costs = price_list(known, assumed)
    if lacking := [name for name in costs if name not in assumed.modes]:
        raise BadData(f"{FILE.name}: {lacking[0]} has a price, and no table of core says which path it takes")
    if core and core not in costs:
        raise BadRequest(f"core {core!r} has no published price; choose from {'; '.join(costs)}")
    counted = events(receipts.functions(receipts.of_kind(found, receipts.TRACED)))
    if counted.empty:
        raise BadRequest(NOTHING)
    chosen = only(counted, cells, lacks="has no receipt of an hvc round trip")
    pairs = _named(counted, receipts.pairs(found, cells, against)) if against else of_strategies(chosen)
    return _predicted(counted, chosen, pairs, known, assumed, core)


def of_campaign(found: pd.DataFrame, series: Mapping[str, Any] = MappingProxyType({})) -> Predictions | None:
    """Return all that is predicted of the receipts of a campaign at published prices; None if it has none of which anything is.

    Parameters
    ----------
    found : DataFrame
        As receipts.frame() returns it.
    series : mapping
        As Campaign.series() returns it: of one its tip is compared with its base.
    """
    counted = events(receipts.functions(found))
    if counted.empty:
        return None
    pairs = of_ends(counted, series) if series else of_strategies(counted)
    return _predicted(counted, counted, pairs, published.prices(), assuming.assumed())


def _predicted(
    counted: pd.DataFrame, chosen: pd.DataFrame, pairs: Sequence[Pair], known: Sequence[Price], assumed: Assumed, core: str = ""
) -> Predictions:
    """Return what is predicted of some round trips, and of pairs of them."""
    shown = {name: prices for name, prices in price_list(known, assumed).items() if core in ("", name)}
    beside = published_beside(counted, known, shown, assumed)
    return Predictions(
        shown, trips(chosen, shown, assumed), differences(pairs, shown, assumed, _given(beside)), checks(beside, shown), assumed
    )


def of_strategies(counted: pd.DataFrame) -> list[Pair]:
    """Return the pairs of cost.PAIRS, which carry the same cost of the module, each in the same cell but for that."""
    found = []
    for _, own in counted.groupby([tag for tag in TAGS if tag != "strategy"], sort=False):
        known = {row.strategy: row for row in own.itertuples()}
        found += [(known[first], known[second]) for first, second in cost.PAIRS if {first, second} <= known.keys()]
    return found


def of_ends(counted: pd.DataFrame, series: Mapping[str, Any]) -> list[Pair]:
    """Return of a series its tip against its base, in each cell that both have as they are."""
    base, tip = series["base"]["kernel"], series["patches"][-1]["kernel"]
    itself = counted[counted["strategy"].isin(compare.AS_IT_IS)]
    before = {(row.board, row.guest): row for row in itself[itself["kernel"] == base].itertuples()}
    after = [row for row in itself[itself["kernel"] == tip].itertuples() if base != tip]
    return [(row, before[row.board, row.guest]) for row in after if (row.board, row.guest) in before]


def _named(counted: pd.DataFrame, pairs: Sequence[receipts.Pair]) -> list[Pair]:
    """Return pairs of receipts by their events."""
    known = {_tags(row): row for row in counted.itertuples()}
    found = [(known[_tags(this)], known[_tags(that)]) for this, that in pairs if {_tags(this), _tags(that)} <= known.keys()]
    if not found:
        raise BadRequest(NOTHING)
    return found


def _tags(row: Any) -> tuple[str, ...]:
    return tuple(getattr(row, tag) for tag in TAGS)


def trips(counted: pd.DataFrame, costs: Mapping[str, Prices], assumed: Assumed) -> pd.DataFrame:
    """Return what each round trip would take on each core that takes such a path: TAGS, `mode core low high`, in cycles.

    Parameters
    ----------
    counted : DataFrame
        As events() returns it.
    costs : mapping of str to Prices
        As price_list() returns it.
    assumed : Assumed
        Which path a core takes.
    """
    rows = [
        [*(getattr(row, tag) for tag in (*TAGS, "mode")), core, *cycles(_of(row), costs[core].spans)]
        for row in counted.itertuples()
        for core in _cores(row.mode, costs, assumed)
    ]
    return pd.DataFrame(rows, columns=[*TAGS, "mode", "core", "low", "high"])


def differences(
    pairs: Sequence[Pair],
    costs: Mapping[str, Prices],
    assumed: Assumed,
    given: Mapping[str, Sequence[Known]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Return by how much one round trip would take longer than another on each core that takes the path of the first.

    Parameters
    ----------
    pairs : sequence of pair
        Two rows of events() each.
    costs, assumed
        As trips() takes them.
    given : mapping of str to sequence of Known
        Of a core what its round trips are known to take.

    Returns
    -------
    DataFrame
        TAGS and `mode` of the first, `this` and `against` (what is different of the two, in short), `core`, `low` and `high` in cycles,
        `told`: ANY, THESE, NOT or SAME, and `given`: whether that is at prices at which hypercalls take what was published, which is a
        row of its own.
    """
    rows = []
    for this, that in pairs:
        more = {event: round(_of(this)[event] - _of(that)[event], DECIMALS) + 0.0 for event in EVENTS}
        for core in _cores(this.mode, costs, assumed):
            for known in [(), tuple(given[core])] if given.get(core) else [()]:
                span = cycles(more, costs[core].spans, known)
                rows.append([*_tags(this), this.mode, *sides(this, that), core, *span, told(more, span), bool(known)])
    return pd.DataFrame(rows, columns=[*TAGS, "mode", "this", "against", "core", "low", "high", "told", "given"])


def told(more: Mapping[str, float], span: Span) -> str:
    """Say whether two round trips are told apart by what one has more than the other, and by the range of what that costs."""
    if not any(more.values()):
        return SAME
    if min(more.values()) >= 0 or max(more.values()) <= 0:
        return ANY
    return THESE if span.low > 0 or span.high < 0 else NOT


def _of(row: Any) -> dict[str, float]:
    return {event: float(getattr(row, event)) for event in EVENTS}


def _cores(mode: str, costs: Mapping[str, Prices], assumed: Assumed) -> list[str]:
    return [core for core in costs if mode in assumed.modes[core]]


# --- what was published -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Beside:
    """A published hypercall, and the receipt of a kernel like its own.

    Parameters
    ----------
    price : Price
        The hypercall.
    like : Like
        What is like its kernel.
    span : Span
        The same in cycles; not a number if no clock rate of its core is assumed.
    receipt : row of events()
        None if there is no such receipt.
    """

    price: Price
    like: Like
    span: Span
    receipt: Any


def published_beside(
    counted: pd.DataFrame, known: Sequence[Price], costs: Mapping[str, Prices], assumed: Assumed
) -> list[Beside]:
    """Return each published hypercall beside the receipts of a kernel like its own, as it is, and of an untouched guest.

    Raises
    ------
    BadData
        If nothing is said of the kernel of a hypercall, or no clock rate of one that has receipts beside it.
    """
    found = []
    for price in known:
        if price.quantity != "hypercall" or price.core not in costs:
            continue
        like = assumed.likes.get((price.core, price.kernel))
        if like is None:
            raise BadData(
                f"{FILE.name}: nothing says which kernel is like {price.kernel!r}, under which {price.core} was measured"
            )
        span, rows = in_cycles(price, assumed.clocks.get(price.core)), list(_alike(counted, like).itertuples())
        if rows and any(map(math.isnan, span)):
            raise BadData(f"{FILE.name}: {price.core} has a hypercall in ns beside receipts, and no clock rate of its own")
        found += [Beside(price, like, span, row) for row in rows or [None]]
    return found


def _given(pairs: Sequence[Beside]) -> dict[str, list[Known]]:
    """Return what the round trips of each core are known to take."""
    found: dict[str, list[Known]] = {}
    for pair in pairs:
        if pair.receipt is not None:
            found.setdefault(pair.price.core, []).append(Known(_of(pair.receipt), pair.span))
    return found


def checks(pairs: Sequence[Beside], costs: Mapping[str, Prices]) -> pd.DataFrame:
    """Hold each published hypercall against what is predicted of the receipts beside it.

    Returns
    -------
    DataFrame
        CHECKS. `published` as it was, `low` and `high` the same in cycles; `result` is HOLDS, PART, MISSES or UNCHECKED, and `factor` by
        how much it is missed; `ipc_low` and `ipc_high` at which instructions per cycle it would be met at some prices of the core.
    """
    rows = []
    for pair in pairs:
        head, row = [pair.price.core, pair.like.linux, pair.price.range, *pair.span], pair.receipt
        held = ["", "", math.nan, math.nan, UNCHECKED, *[math.nan] * 3]
        if row is not None:
            held = [row.board, row.kernel, *_held(_of(row), costs[pair.price.core].spans, pair.span)]
        rows.append([*head, *held, pair.like.reason])
    return pd.DataFrame(rows, columns=CHECKS)


def in_cycles(price: Price, clock: Rate | None) -> Span:
    """Return a published price in cycles; not a number if its core's clock rate is not assumed."""
    if price.unit == "cycles":
        return Span(price.low, price.high)
    return Span(price.low * clock.low, price.high * clock.high) if clock else Span(math.nan, math.nan)


def _alike(counted: pd.DataFrame, like: Like) -> pd.DataFrame:
    """Return the receipts of a kernel that is like another, as it is."""
    if not like.series:
        return counted[:0]
    alike = counted["kernel"].map(lambda kernel: of_series(str(kernel), like.series)).astype(bool)
    itself = counted["strategy"].isin(compare.AS_IT_IS) & (counted["guest"] == receipts.IDLE)
    return counted[alike & itself & (counted["mode"] == like.mode)]


def _held(counts: Mapping[str, float], spans: Mapping[str, Span], measured: Span) -> list[Any]:
    """Return what is predicted, whether that holds what was measured, by what factor not, and at which IPC it would."""
    span = cycles(counts, spans)
    priced = cycles({event: counts[event] for event in PRICED.values()}, spans)
    return [*span, *judged(span, measured), *ipc(counts[ORDINARY], priced, measured)]


def judged(span: Span, measured: Span) -> tuple[str, float]:
    """Return whether a predicted range holds a published one, and by which factor it is off if it does not: 1 if it does."""
    if span.low <= measured.low and measured.high <= span.high:
        return HOLDS, 1.0
    if measured.low <= span.high and span.low <= measured.high:
        return PART, 1.0
    return MISSES, measured.low / span.high if measured.low > span.high else span.low / measured.high


def ipc(ordinary: float, priced: Span, measured: Span) -> Span:
    """Return at which instructions per cycle a round trip takes what was measured, at some prices; not a number if at none."""
    most, least = measured.high - priced.low, measured.low - priced.high
    if most <= 0:
        return Span(math.nan, math.nan)
    return Span(ordinary / most, ordinary / least if least > 0 else math.inf)
