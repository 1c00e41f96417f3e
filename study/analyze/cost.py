"""What a round trip consists of: the cost model, its fit to a campaign, and where another way of switching wins. Pure.

A round trip costs a base, and what its strategy does on top: T for each trapped access, S for each full switch, C for each
scan. How often it does so depends on the guest, its *mix*: p accesses to the debug registers per entry, a share m of entries
with monitor debug mode on, a share q with something enabled. Of a strategy the study knows (RULES)

    eager          S
    lazy           m S + (1 - m) p (T + S)       a trapped access sets the dirty bit, so the switch comes with the trap
    control-scan   C + q S + (1 - q) p T         a trapped access goes to memory

for p up to 1: the rules in the thread of 2015 ([PATCH v3 08/11] KVM: arm: implement dirty bit mechanism for debug registers)
and in arch/arm64/kvm/hyp/include/hyp/debug-sr.h of Linux 6.1. What every strategy looks at on each entry is in the base; the
floor, none, looks at nothing, and has no rule. Emulation counts instructions: what a trap and a register access cost beyond
theirs, only a board can say. So winners are drawn over these prices, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.analyze import compare, pooling
from study.analyze.pooling import Array
from study.analyze.rounding import rounded
from study.design import LEAST_BOOTS
from study.errors import BadRequest
from study.factors import GUEST_STATES, MDE, RIG, STRATEGIES

RESAMPLES = 10_000
# Whose costs are held against each other.
PAIRS = (("lazy", "eager"), ("lazy", "control-scan"), ("control-scan", "eager"))
# What is counted of each part where receipts say it, and what vectors() returns.
EVENTS = ("instructions", "reads", "writes", "isb", "dsb", "exceptions")
AGREE = 0.02  # as a share: how far apart() may be
VECTORS = ["board", "kernel", "part", *EVENTS, "error"]
# How much of the design's smallest direction must be left for a fit to tell its parameters apart.
TOLERANCE = 1e-8


@dataclass(frozen=True)
class Mix:
    """What a guest does with its debug registers, entry for entry.

    Parameters
    ----------
    touches : float or array
        p: accesses per entry, 0 to 1.
    monitored : float or array
        m: share of entries with monitor debug mode on, 0 to 1.
    enabled : float or array
        q: share of entries with a breakpoint or watchpoint enabled, 0 to 1.
    """

    touches: float | Array = 0.0
    monitored: float | Array = 0.0
    enabled: float | Array = 0.0


@dataclass(frozen=True)
class Does:
    """How often a strategy traps, switches and scans in a round trip of a mix."""

    traps: Callable[[Mix], float | Array] = lambda mix: 0.0
    switches: Callable[[Mix], float | Array] = lambda mix: 0.0
    scans: Callable[[Mix], float | Array] = lambda mix: 0.0


def _always(mix: Mix) -> float:
    return 1.0


def _touched_unmonitored(mix: Mix) -> float | Array:
    return (1 - mix.monitored) * mix.touches


RULES = {
    "eager": Does(switches=_always),
    "lazy": Does(traps=_touched_unmonitored, switches=lambda mix: mix.monitored + _touched_unmonitored(mix)),
    "control-scan": Does(traps=lambda mix: (1 - mix.enabled) * mix.touches, switches=lambda mix: mix.enabled, scans=_always),
}
# The kernel as it is switches lazily, to 6.13. It has not the module's cost, neither in its base nor in its traps, so it is
# fitted by itself.
RULES["stock"] = RULES["lazy"]
ALONE = "stock"


def mix_of(guest: str) -> Mix:
    """Return the mix of a guest state, a row of GUEST_STATES."""
    row = GUEST_STATES[guest]
    touches = 1 / row.touch_every if row.touch_every else 0.0
    return Mix(touches, float(bool(row.mdscr & MDE)), float(row.enabled > 0))


@dataclass(frozen=True)
class Costs:
    """What the parts of a round trip cost, in one unit, each a number or an array of resamples."""

    base: float | Array
    trap: float | Array
    switch: float | Array
    scan: float | Array

    def of(self, strategy: str, mix: Mix) -> float | Array:
        """Return what a round trip costs under a row of RULES."""
        does = RULES[strategy]
        return self.base + self.trap * does.traps(mix) + self.switch * does.switches(mix) + self.scan * does.scans(mix)


PARTS = tuple(field.name for field in dataclasses.fields(Costs))


@dataclass(frozen=True)
class Fit:
    """The cost model, fitted to the cells of one board.

    Parameters
    ----------
    unit : str
        Of the costs.
    costs : Costs
        The estimate; a part that the cells cannot tell apart from the base is 0 and not in `parts`.
    draws : Costs
        RESAMPLES of it, by which intervals of anything that is computed from it are found; NaN where boots are too few.
    parts : tuple of str
        What was fitted.
    cells : DataFrame
        `strategy guest measured fitted`, a row for each cell; `used` says whether it was fitted to.
    """

    unit: str
    costs: Costs
    draws: Costs
    parts: tuple[str, ...]
    cells: pd.DataFrame

    def interval(self, what: Callable[[Costs], float | Array]) -> tuple[float, float, float]:
        """Return what is computed from the costs, and its interval at pooling.LEVEL."""
        drawn = np.broadcast_to(np.asarray(what(self.draws), float), RESAMPLES)
        low, high = np.quantile(drawn, [(1 - pooling.LEVEL) / 2, (1 + pooling.LEVEL) / 2])
        middle, low, high = map(float, rounded([what(self.costs), low, high]))
        return middle, low, high

    @property
    def error(self) -> float:
        """Return by how much at most, as a share, a fitted cell is off."""
        return float((self.cells["fitted"] / self.cells["measured"] - 1).abs().max())


def boots(visits: pd.DataFrame, board: str, leave: str = "hvc", host: str = "none") -> pd.DataFrame:
    """Return what each cell of a board costs on each boot: `strategy guest boot value unit`, for what the model knows.

    Parameters
    ----------
    visits : DataFrame
        As compare.medians() returns it.
    board, leave, host : str
        The board, exit and host state to speak of.
    """
    rows = compare.one_kernel(
        compare.timed(visits).query("board == @board and exit == @leave and host == @host and arm == 'main'")
    )
    rows = rows[rows["strategy"].isin(RULES.keys() - {ALONE}) & rows["guest"].isin(GUEST_STATES)]
    return rows.groupby(["strategy", "guest", "boot", "unit"], observed=True, sort=False)["value"].median().reset_index()


def fit(rows: pd.DataFrame, guests: Sequence[str] = (), seed: int = 1) -> Fit:
    """Fit the model by least squares of relative errors, boot by boot.

    Parameters
    ----------
    rows : DataFrame
        As boots() returns it.
    guests : sequence of str
        The guest states to fit to; all if empty. The others are predicted.
    seed : int
        Of the resampling.

    Returns
    -------
    Fit
        The mean of the boots' fits. Resamples are drawn from the multivariate t distribution that they span: of five boots,
        resampling the boots themselves would cover four fifths of what it says.

    Raises
    ------
    BadRequest
        If there are not enough cells to fit to.
    """
    wide = rows.pivot_table(index=["strategy", "guest"], columns="boot", values="value", observed=True, sort=False)
    whole = wide.dropna(axis=1)  # of an unfinished campaign, the boots that have every cell
    wide = wide.dropna() if whole.empty else whole
    cells = wide.index.to_frame(index=False).astype(str)
    used = cells["guest"].isin(list(guests) or list(GUEST_STATES)).to_numpy()
    matrix = np.array([[_weight(part, *cell) for part in PARTS] for cell in cells.itertuples(index=False)], float).reshape(
        -1, len(PARTS)
    )
    kept = _independent(matrix[used])
    if len(kept) < 2 or not wide.size:
        raise BadRequest("the cost model needs cells of several strategies and guests, each measured on the same boots")
    each = wide.mean(axis=1).to_numpy()
    solved = np.linalg.lstsq((matrix / each[:, None])[used][:, kept], (wide.to_numpy() / each[:, None])[used], rcond=None)[0]
    by_part = np.zeros((len(PARTS), solved.shape[1]))  # parts x boots
    by_part[kept] = solved
    estimate = rounded(by_part.mean(axis=1))
    return Fit(
        str(rows["unit"].iloc[0]), Costs(*map(float, estimate)), Costs(*_draw(by_part, seed).T), tuple(PARTS[n] for n in kept),
        cells.assign(measured=rounded(each), fitted=rounded(matrix @ estimate), used=used),
    )  # fmt: skip


def _weight(part: str, strategy: str, guest: str) -> float | Array:
    """Return how often a part is in a round trip of a cell."""
    return Costs(**{name: float(name == part) for name in PARTS}).of(strategy, mix_of(guest))


def _independent(matrix: Array) -> list[int]:
    """Return the columns that the rows can tell apart, the first ones first."""
    kept: list[int] = []
    for column in range(matrix.shape[1]):
        if np.linalg.matrix_rank(matrix[:, [*kept, column]], tol=TOLERANCE) > len(kept):
            kept.append(column)
    return kept


def _draw(by_boot: Array, seed: int) -> Array:
    """Return RESAMPLES of the mean of boots, shape (RESAMPLES, parts); NaN where boots differ and are too few."""
    count = by_boot.shape[1]
    middle = by_boot.mean(axis=1)
    apart = (by_boot - middle[:, None]).T
    if np.allclose(apart, 0, atol=1e-9 * np.abs(middle).max()):
        return np.tile(middle, (RESAMPLES, 1))
    if count < LEAST_BOOTS:
        return np.full((RESAMPLES, len(by_boot)), np.nan)
    source = np.random.default_rng(seed)
    heavy = np.sqrt(source.chisquare(count - 1, (RESAMPLES, 1)) / (count - 1))
    return np.asarray(middle + source.standard_normal((RESAMPLES, count)) @ apart / np.sqrt(count * (count - 1)) / heavy)


def held_out(rows: pd.DataFrame, guests: Sequence[str]) -> pd.DataFrame:
    """Fit the model without some guest states and predict them.

    Returns
    -------
    DataFrame
        `strategy guest measured predicted error`; the error is a share of what was measured.
    """
    others = [name for name in GUEST_STATES if name not in guests]
    cells = fit(rows, others).cells.query("not used").drop(columns="used").rename(columns={"fitted": "predicted"})
    return cells.assign(error=cells["predicted"] / cells["measured"] - 1).reset_index(drop=True)


def fits(visits: pd.DataFrame, leave: str = "hvc") -> dict[str, Fit]:
    """Return the fit of each board that has measured what tells trap and switch apart.

    Parameters
    ----------
    visits : DataFrame
        As compare.medians() returns it.
    leave : str
        The exit to speak of.
    """
    fitted = {}
    for board in sorted(set(visits["board"])):
        with contextlib.suppress(BadRequest):
            found = fit(boots(visits, board, leave))
            if {"trap", "switch"} <= set(found.parts):
                fitted[board] = found
    return fitted


def breakdown(fitted: Fit) -> pd.DataFrame:
    """Return what the model says a round trip of each cell consists of: `strategy guest`, and a column for each part."""
    rows = fitted.cells[["strategy", "guest"]]
    times = [
        {part: _weight(part, *cell) * getattr(fitted.costs, part) for part in PARTS} for cell in rows.itertuples(index=False)
    ]
    return rows.join(pd.DataFrame(times))


def vectors(functions: pd.DataFrame, leave: str = "hvc", host: str = "none") -> pd.DataFrame:
    """Return what each part of a round trip is made of, from receipts: events instead of one number, so that each can have a price.

    Parameters
    ----------
    functions : DataFrame
        As receipts.functions() returns it.
    leave, host : str
        The exit and host state to speak of.

    Returns
    -------
    DataFrame
        `board kernel part`, EVENTS, each a count in one base, trap, switch or scan, and `error`: by how much at most, as a share of its
        instructions, a round trip is off. Of each board and kernel whose receipts tell trap and switch apart.
    """
    rows = functions[(functions["exit"] == leave) & (functions["host"] == host)]
    rows = rows[rows["strategy"].isin(RULES.keys() - {ALONE}) & rows["guest"].isin(GUEST_STATES)]
    found = []
    for (board, kernel), own in rows.groupby(["board", "kernel"], sort=False):
        totals = own.groupby(["strategy", "guest"], sort=False)[list(EVENTS)].sum()
        matrix = np.array([[_weight(part, *cell) for part in PARTS] for cell in totals.index], float)
        kept = _independent(matrix)
        if not {"trap", "switch"} <= {PARTS[n] for n in kept}:
            continue
        each = totals.to_numpy()
        solved = np.linalg.lstsq(matrix[:, kept], each, rcond=None)[0]
        error = float(np.abs((matrix[:, kept] @ solved)[:, 0] / each[:, 0] - 1).max())
        parts = pd.DataFrame(solved.round(6) + 0.0, columns=list(EVENTS)).assign(
            board=board, kernel=kernel, part=[PARTS[n] for n in kept], error=error
        )
        found.append(parts[VECTORS])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=VECTORS)


def apart(parts: pd.DataFrame, fitted: Fit) -> float:
    """Return by how much at most, as a share, a round trip of one board's vectors() has other instructions than the fit to the clock says.

    Parameters
    ----------
    parts : DataFrame
        Those rows of vectors() that are of the board and the kernel.
    fitted : Fit
        Of the same board and kernel.
    """
    known = dict.fromkeys(PARTS, 0.0) | dict(zip(parts["part"], parts["instructions"], strict=True))
    costs = Costs(**known)
    each = [costs.of(row.strategy, mix_of(row.guest)) for row in fitted.cells.itertuples()]
    return float(np.abs(np.array(each, float) / fitted.cells["fitted"].to_numpy() - 1).max())


def predicted(visits: pd.DataFrame, guest: str) -> pd.DataFrame:
    """Return held_out() of one guest state for every board that has measured enough without it, with `board` and `unit`."""
    found = []
    for board, fitted in fits(visits).items():
        with contextlib.suppress(BadRequest):
            found.append(held_out(boots(visits, board), [guest]).assign(board=board, unit=fitted.unit))
    columns = ["board", "strategy", "guest", "measured", "predicted", "error", "unit"]
    return pd.concat(found)[columns] if found else pd.DataFrame(columns=columns)


# --- where another way wins --------------------------------------------------------------------------------------------


def _root(difference: Callable[[float], float | Array]) -> float | Array:
    """Return where a linear function is 0; NaN where it is nowhere, or everywhere."""
    at_zero, at_one = np.asarray(difference(0.0), float), np.asarray(difference(1.0), float)
    slope = at_one - at_zero
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.where(np.abs(slope) > 1e-12 * np.maximum(np.abs(at_zero), 1), -at_zero / slope, np.nan)
    return float(root) if root.ndim == 0 else root


def touch_rate(costs: Costs, first: str, second: str, monitored: float = 0.0, enabled: float = 0.0) -> float | Array:
    """Return the accesses per entry at which two strategies cost the same.

    The costs are linear in p, so this is closed: lazy and eager meet at p = S / (T + S) whatever m is, control-scan and eager
    at (S - C - q S) / ((1 - q) T). Outside 0 to 1 one of them always wins.
    """
    return _root(lambda p: _difference(costs, first, second, Mix(p, monitored, enabled)))


def debugging(costs: Costs, first: str, second: str, touches: float = 0.0, *, kept_on: bool = False) -> float | Array:
    """Return the share of entries with debugging on at which two strategies cost the same.

    Debugging on means that something is enabled, and with it monitor debug mode; with `kept_on` the guest keeps that mode on
    all the time, as a 32-bit Linux does. Control-scan and eager meet at q = (S - C - p T) / (S - p T).
    """
    return _root(lambda share: _difference(costs, first, second, debugging_mix(touches, share, kept_on=kept_on)))


def trap_cost(costs: Costs, first: str, second: str, mix: Mix) -> float | Array:
    """Return the cost of a trap at which two strategies cost the same for a guest."""
    return _root(lambda trap: _difference(dataclasses.replace(costs, trap=trap), first, second, mix))


# What may differ from reader to reader: in words, where two strategies meet, whether it is a cost, and what it stays below. The
# share is that of a guest that keeps monitor debug mode on, the trap that of one with one access in 20 entries.
QUESTIONS: tuple[tuple[str, Callable[[Costs, str, str], float | Array], bool, float], ...] = (
    ("accesses per entry", touch_rate, False, 1.0),
    ("share with debugging on", lambda costs, first, second: debugging(costs, first, second, kept_on=True), False, 1.0),
    ("cost of a trap", lambda costs, first, second: trap_cost(costs, first, second, Mix(touches=0.05)), True, np.inf),
)


def debugging_mix(touches: float | Array, share: float | Array, *, kept_on: bool) -> Mix:
    """Return the mix of a guest that debugs in a share of its entries."""
    return Mix(touches, 1.0 if kept_on else share, share)


def _difference(costs: Costs, first: str, second: str, mix: Mix) -> float | Array:
    return costs.of(first, mix) - costs.of(second, mix)


def winners(costs: Mapping[str, float | Array]) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Return which strategy is the cheapest at each place of a map, as a number of the names; a tie goes to the first.

    Parameters
    ----------
    costs : mapping of str to array
        For each strategy its cost, of shapes that broadcast against each other.
    """
    stacked = np.stack(np.broadcast_arrays(*costs.values()))
    return np.argmin(stacked, axis=0), list(costs)


def alike(costs: Mapping[str, float | Array], name: str, inside: npt.NDArray[np.bool_]) -> list[str]:
    """Return the strategies that cost what `name` costs at all places of a map that are `inside`, itself among them."""
    own = np.broadcast_to(costs[name], inside.shape)[inside]
    return [other for other, total in costs.items() if np.allclose(np.broadcast_to(total, inside.shape)[inside], own, rtol=1e-9)]


def counts(summary: pd.DataFrame, leave: str = "hvc", host: str = "none") -> pd.DataFrame:
    """Return what a round trip of each cell consists of where prices differ.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign.
    leave, host : str
        Exit and host state to speak of.

    Returns
    -------
    DataFrame
        `board strategy guest instructions traps accesses`, per round trip: an access and a trap are each among the
        instructions as one. Strategies that are not correct are left out, and so are those whose accesses nobody counted.
    """
    correct = [name for name, row in STRATEGIES.items() if row.correct]
    rows = compare.one_kernel(summary[summary["strategy"].isin(correct)]).query(
        "arm == 'main' and exit == @leave and host == @host"
    )
    wide = rows.pivot_table(index=["board", "strategy", "guest"], columns="metric", values="median", observed=True, sort=False)
    wide = wide.reindex(columns=["clock", "traps", "debug-reads", "debug-writes", "debug-accesses"])
    accesses = (wide["debug-reads"] + wide["debug-writes"]).fillna(wide["debug-accesses"])
    # The round trip to the host and back is made once in each window, too: rates of less than a thousandth are none.
    rates = pd.DataFrame({"traps": wide["traps"], "accesses": accesses}).round(3)
    return rates.assign(instructions=wide["clock"]).dropna().reset_index()


def batch(rows: pd.DataFrame) -> float:
    """Return how many accesses a full switch makes in a row, on the way into the guest or out of it: half of the most of a round trip.

    Parameters
    ----------
    rows : DataFrame
        As counts() returns it. Hardware may charge such a batch at the next ISB or return, and not each access; a price of a batch is
        that of an access so many times.
    """
    return float(max(1.0, round(rows["accesses"].max() / 2)))


def priced(rows: pd.DataFrame, trap: float | Array, access: float | Array) -> dict[str, float | Array]:
    """Return what a round trip costs under each strategy, in instructions, if a trap and a register access cost that many more.

    Parameters
    ----------
    rows : DataFrame
        Of counts(), for one board and guest.
    trap, access : float or array
        Prices, in units of an instruction.
    """
    return {row.strategy: row.instructions + row.traps * trap + row.accesses * access for row in rows.itertuples()}


# --- readings of a summary ---------------------------------------------------------------------------------------------


def costs(summary: pd.DataFrame, leave: str = "hvc", host: str = "none") -> pd.DataFrame:
    """Return what a round trip costs, a row for each board and guest, a column for each strategy; the control arm apart."""
    rows = compare.timed(compare.one_kernel(summary)).query("arm == 'main' and exit == @leave and host == @host")
    return rows.pivot_table(index=["board", "guest"], columns="strategy", values="median", sort=False, observed=True)


def rankings(summary: pd.DataFrame, strategies: Sequence[str] = ("lazy", "eager", "control-scan")) -> pd.DataFrame:
    """Return for each board and guest the strategies from the cheapest to the dearest (hvc, nothing enabled in the host).

    Returns
    -------
    DataFrame
        Index guest, a column for each board; a cell is like ``lazy < control-scan < eager``, with ``~`` between two whose intervals
        overlap. Empty where not all were measured.
    """
    rows = compare.timed(compare.one_kernel(summary)).query("arm == 'main' and exit == 'hvc' and host == 'none'")
    rows = rows[rows["strategy"].isin(list(strategies))].dropna(subset="ratio")
    found = {}
    for cell, here in rows.groupby(["board", "guest"], sort=False):
        if set(strategies) == set(here["strategy"]):
            found[cell] = _ranked(here.sort_values("ratio", kind="stable"))
    if not found:
        return pd.DataFrame()
    wide = pd.Series(found).rename_axis(["board", "guest"]).unstack("board", sort=False)
    return wide.reindex([name for name in GUEST_STATES if name in wide.index])


def _ranked(rows: pd.DataFrame) -> str:
    """Return the names of strategies in their order; without intervals nothing is told apart."""
    words = []
    for row, following in itertools.pairwise([*rows.itertuples(), None]):
        words += [row.strategy, *([] if following is None else ["<" if row.ratio_high < following.ratio_low else "~"])]
    return " ".join(words)


def trap_costs(summary: pd.DataFrame, strategy: str = "control-scan") -> pd.Series:
    """Return for each board what one trapped access costs: guest touch, once in every round trip, over guest untouched.

    The strategy must be one that does not switch for an access. Where the floor was measured, what the guest itself
    executes for a touch is left out.
    """
    table = costs(summary)
    if strategy not in table:
        return pd.Series(dtype=float)
    more = {name: table[name].unstack("guest").reindex(columns=["touch", "untouched"]) for name in table}
    touch = {name: cost["touch"] - cost["untouched"] for name, cost in more.items()}
    own = touch["none"].fillna(0.0) if "none" in touch else 0.0
    return (touch[strategy] - own).dropna()


def parts(summary: pd.DataFrame, leave: str = "hvc", host: str = "none") -> pd.DataFrame:
    """Return what a round trip on the rig consists of: rows board, guest, strategy; columns of instructions and events."""
    named = {"part-base": "base", "part-scan": "scan", "part-switch": "switch", "part-trap": "trap", "debug-reads": "reads",
             "debug-writes": "writes", "isbs": "ISBs", "traps": "traps"}  # fmt: skip
    rows = compare.of_kind(summary, RIG).query("arm == 'main' and exit == @leave and host == @host")
    wide = rows[rows["metric"].isin(named)].pivot_table(
        index=["board", "guest", "strategy"], columns="metric", values="median", sort=False, observed=True
    )
    return wide[[name for name in named if name in wide]].rename(columns=named)
