"""Cut a trace into round trips and make a receipt of them. Pure.

Round trips of one cell are not all alike: an interrupt falls into one, the kernel draws new random numbers in another, and a guest
that touches a register in every twentieth pays for it in that one. So trips are told apart by their place in the guest's *period*
and by which functions run in them. The receipt is the mean of the trips at each place that run what most of them run, the *usual* ones;
all others are listed *apart*, with what runs in them besides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from study.collect.receipts.kinds import Flow, Kind
from study.collect.receipts.symbols import GUEST, KERNEL, Function
from study.collect.receipts.trace import Trace
from study.errors import BadData

# Fewer usual round trips say too little; the guest, and what started it, need some to come to rest.
LEAST, SETTLING = 20, 2
LINE = 64  # bytes
# Of what runs in a trip that is not usual so many functions are named.
NAMED = 8
DEEPEST = 200  # frames
COUNTS = ("reads", "writes", "isb", "dsb", "entries", "returns", "loads", "stores", "branches")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Code:
    """What is known of each address of a trace, in the order of its `places`.

    Parameters
    ----------
    functions : sequence of Function
        In which function it lies.
    kinds : sequence of Kind
        What kind of instruction is there.
    size : int
        Bytes of an instruction.
    """

    functions: Sequence[Function]
    kinds: Sequence[Kind]
    size: int = 4


def trips_needed(period: int) -> int:
    """Return how many round trips must be traced for a guest of some period: three of its periods, to outvote one that is unusual."""
    return max(LEAST, 3 * period) + SETTLING + 2


def receipt(trace: Trace, code: Code, mark: int, period: int = 1) -> dict[str, Any]:
    """Return what a round trip is made of.

    Parameters
    ----------
    trace : Trace
        Of whole round trips, and what was before and after them.
    code : Code
        What is at its addresses.
    mark : int
        The number of an address that is executed once in each round trip.
    period : int
        After how many round trips the guest does the same again.

    Returns
    -------
    dict
        As the line of a receipt has them, all per round trip: ``functions``, ``stacks``, ``instructions``; and ``trips`` (how long they
        were, and how many), ``apart``, ``usual`` (how many, and the standard error of the mean of their lengths).

    Raises
    ------
    BadData
        If there are too few round trips that are usual.
    """
    trace = _executed(trace, code)
    ids = {function: number for number, function in enumerate(dict.fromkeys(code.functions))}
    of_place = np.array([ids[function] for function in code.functions])
    begins = np.flatnonzero(trace.order == mark)[SETTLING:]
    if len(begins) < LEAST + 1:
        raise BadData(f"the trace holds {max(0, len(begins) - 1)} round trips, of which {LEAST} are needed")
    first, last = begins[0], begins[-1]
    order = trace.order[first:last]
    trip = np.repeat(np.arange(len(begins) - 1), np.diff(begins))
    into = np.diff(of_place[trace.order])[first - 1 : last - 1] != 0

    def by_trip(which: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        cells = (trip * len(ids) + of_place[order])[which]
        return np.bincount(cells, minlength=(len(begins) - 1) * len(ids)).reshape(-1, len(ids))

    ran = by_trip(np.ones(len(order), bool))
    phases = _phases(ran, [ids[function] for function in ids if function.module == GUEST], period)
    usual, apart = _usual(by_trip(into), ran.sum(axis=1), phases, period)
    shares = np.array([float((usual & (phases == phase)).sum()) for phase in range(period)])
    if usual.sum() < LEAST or not shares.all():
        raise BadData(
            f"of {len(usual)} round trips {usual.sum()} are alike, and {LEAST} are needed: something else ran beside the guest"
        )
    weights = np.where(usual, 1 / (period * shares[phases]), 0.0)
    each = weights[trip]
    by_place = np.bincount(order, weights=each, minlength=len(trace.places)).astype(float)
    entered = _entered(trace, order, code)
    entries = np.bincount(of_place[order[1:]], weights=np.where(entered, each[1:], 0.0), minlength=len(ids)).astype(float)
    lengths = np.diff(begins)
    names = list(ids)
    return {
        "instructions": round(float(by_place.sum()), 6),
        "period": period,
        "usual": {"trips": int(usual.sum()), "error": _error(lengths, usual, phases, period)},
        "trips": [[int(length), count] for length, count in sorted(Counter(lengths.tolist()).items(), key=lambda row: (-row[1], row[0]))],
        "apart": [_besides(ran, usual, phases, names, lengths, numbers) for numbers in apart],
        "functions": _functions(trace, code, of_place, by_place, entries, names),
        "stacks": _stacks(trace, code, of_place, names, first, each),
    }  # fmt: skip


def _phases(ran: npt.NDArray[np.int64], guest: list[int], period: int) -> npt.NDArray[np.int64]:
    """Return for each trip its place in the guest's period; where it does more than otherwise is 0."""
    count = len(ran)
    if period == 1:
        return np.zeros(count, np.int64)
    own = ran[:, guest].sum(axis=1)
    touched = np.flatnonzero(own > np.median(own))
    if not len(touched):
        raise BadData(f"the guest does nothing else in one of {period} round trips than in the others")
    ((first, _),) = Counter((touched % period).tolist()).most_common(1)
    return np.asarray((np.arange(count) - first) % period)


def _usual(
    into: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], phases: npt.NDArray[np.int64], period: int
) -> tuple[npt.NDArray[np.bool_], list[list[int]]]:
    """Return which trips go into functions as most at their place do, and the others, those together that are alike.

    Of several ways that are as frequent the shortest is the usual one.
    """
    usual = np.zeros(len(into), bool)
    others: dict[bytes, list[int]] = {}
    ways = [row.tobytes() for row in into]
    for phase in range(period):
        here = [int(number) for number in np.flatnonzero(phases == phase)]
        counts = Counter(ways[number] for number in here)
        most = max(here, key=lambda number: (counts[ways[number]], -int(lengths[number])), default=0)
        for number in here:
            if ways[number] == ways[most]:
                usual[number] = True
            else:
                others.setdefault(ways[number], []).append(number)
    return usual, list(others.values())


def _error(lengths: npt.NDArray[np.int64], usual: npt.NDArray[np.bool_], phases: npt.NDArray[np.int64], period: int) -> float:
    """Return the standard error of the mean length of usual trips."""
    found = 0.0
    for phase in range(period):
        here = lengths[usual & (phases == phase)]
        found += float(here.var(ddof=1)) / len(here) if len(here) > 1 else 0.0
    return round(float(np.sqrt(found)) / period, 6)


def _besides(
    ran: npt.NDArray[np.int64], usual: npt.NDArray[np.bool_], phases: npt.NDArray[np.int64], names: list[Function],
    lengths: npt.NDArray[np.int64], numbers: list[int],
) -> dict[str, Any]:  # fmt: skip
    """Return how some trips differ from usual ones at their places."""
    more = np.mean([ran[number] - ran[usual & (phases == phases[number])].mean(axis=0) for number in numbers], axis=0)
    most = sorted(np.flatnonzero(np.abs(more) >= 0.5), key=lambda at: (-abs(more[at]), names[at].name))[:NAMED]
    return {
        "trips": len(numbers),
        "instructions": round(float(lengths[numbers].mean()), 6),
        "more": {names[at].name: round(float(more[at]), 6) for at in most},
    }


def _expected(trace: Trace, code: Code) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Return for each address what may be executed behind it: the next one, a target, or anything."""
    behind = trace.places + np.uint64(code.size)
    targets = np.array(
        [(int(place) + kind.target) % (1 << 64) for place, kind in zip(trace.places, code.kinds, strict=True)], np.uint64
    )
    flows = [kind.flow for kind in code.kinds]
    direct = np.array([flow in (Flow.BRANCH, Flow.CALL) for flow in flows])
    anything = np.array([flow in (Flow.ANYWHERE, Flow.CALL_ANYWHERE, Flow.BACK) for flow in flows])
    return behind, np.where(direct, targets, behind), anything


def _executed(trace: Trace, code: Code) -> Trace:
    """Return a trace without the loads and stores that ended in an exception: nothing was loaded or stored, and no clock counts them."""
    entered = _entered(trace, trace.order, code)
    access = np.array([kind.load or kind.store for kind in code.kinds])
    return Trace(trace.places, trace.order[~np.append(entered & access[trace.order[:-1]], False)])


def _entered(trace: Trace, order: npt.NDArray[np.int64], code: Code) -> npt.NDArray[np.bool_]:
    """Return whether each instruction but the first begins an exception: nothing that was executed before it leads there."""
    behind, targets, anything = _expected(trace, code)
    before, now = order[:-1], trace.places[order[1:]]
    return np.asarray((now != behind[before]) & (now != targets[before]) & ~anything[before])


def _functions(
    trace: Trace, code: Code, of_place: npt.NDArray[np.int64], by_place: Floats, entries: Floats, names: list[Function]
) -> list[dict[str, Any]]:
    """Return a row for each function, the longest first."""
    rows = []
    for number, function in enumerate(names):
        here = [int(at) for at in np.flatnonzero((of_place == number) & (by_place > 0))]
        if not here:
            continue
        counts, registers = defaultdict[str, float](float), dict[str, list[float]]()
        for at in here:
            kind, times = code.kinds[at], float(by_place[at])
            for name, is_one in (
                ("reads", kind.reads), ("writes", kind.writes), ("isb", kind.isb), ("dsb", kind.dsb), ("returns", kind.eret),
                ("loads", kind.load), ("stores", kind.store), ("branches", kind.branch),
            ):  # fmt: skip
                counts[name] += times * bool(is_one)
            for place, register in enumerate((kind.reads, kind.writes)):
                if register:
                    registers.setdefault(register, [0.0, 0.0])[place] += times
        counts["entries"] = float(entries[number])
        rows.append(
            {
                "function": function.name,
                "module": function.module,
                "instructions": round(float(by_place[here].sum()), 6),
                **{name: round(counts[name], 6) for name in COUNTS},
                "lines": len({int(trace.places[at]) // LINE for at in here}),
                "registers": {name: [round(times, 6) for times in row] for name, row in sorted(registers.items())},
            }
        )
    return sorted(rows, key=lambda row: (-row["instructions"], row["function"]))


def _stacks(
    trace: Trace, code: Code, of_place: npt.NDArray[np.int64], names: list[Function], first: int, each: Floats
) -> dict[str, float]:
    """Return instructions per round trip by the functions that led there, the outermost first, with semicolons between.

    Calls, exceptions and returns are followed from the first instruction of the trace on. A return finds the frame whose return address
    it goes to; what goes to another function without a call takes the place of the one that it is in.
    """
    behind, targets, anything = _expected(trace, code)
    places, order = trace.places, trace.order
    before, after = order[:-1], order[1:]
    jumps = np.flatnonzero((places[after] != behind[before]) | (of_place[after] != of_place[before]))
    surprise = (places[after] != behind[before]) & (places[after] != targets[before]) & ~anything[before]
    tree, stack = _Tree(), list[tuple[int, int]]()  # where a frame returns to, and its node
    stack.append((-1, tree.node(-1, int(of_place[order[0]]))))
    of_segment = [stack[-1][1]]
    for jump in jumps.tolist():
        came, goes = int(order[jump]), int(order[jump + 1])
        kind, here, there = code.kinds[came], int(places[goes]), int(of_place[goes])
        if surprise[jump] or kind.flow in (Flow.CALL, Flow.CALL_ANYWHERE):
            stack.append((int(behind[came]), tree.node(stack[-1][1], there)))
        else:
            frame = next((n for n in range(len(stack) - 1, 0, -1) if stack[n][0] == here), 0)
            if frame and kind.flow in (Flow.BACK, Flow.ANYWHERE):
                del stack[frame:]
            elif kind.eret:  # to the guest
                stack.append((-1, tree.node(stack[-1][1], there)))
            elif kind.flow is Flow.BACK:  # out of what was there when the trace began
                stack = [(-1, tree.node(-1, there))]
            returns, node = stack[-1]
            stack[-1] = (returns, tree.node(tree.parents[node], there))
        del stack[1 : len(stack) - DEEPEST]
        of_segment.append(stack[-1][1])
    sizes = np.diff(np.concatenate([[0], jumps + 1, [len(order)]]))
    by_node = np.bincount(np.repeat(of_segment, sizes)[first : first + len(each)], weights=each, minlength=len(tree.parents))
    folded = defaultdict[str, float](float)
    for node in np.flatnonzero(by_node > 0).tolist():
        folded[";".join(_frame(names[function]) for function in tree.path(node))] += float(by_node[node])
    return {path: round(times, 6) for path, times in sorted(folded.items())}


class _Tree:
    """Who called whom: a node for each function, by its caller's node."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], int] = {}
        self.parents, self._functions = list[int](), list[int]()

    def node(self, parent: int, function: int) -> int:
        """Return the node of a function that another one called."""
        key = parent, function
        if key not in self._nodes:
            self._nodes[key] = len(self.parents)
            self.parents.append(parent)
            self._functions.append(function)
        return self._nodes[key]

    def path(self, node: int) -> list[int]:
        """Return the functions that lead to a node, the outermost first."""
        found = []
        while node >= 0:
            found.append(self._functions[node])
            node = self.parents[node]
        return found[::-1]


def _frame(function: Function) -> str:
    """Return what a frame is called: of what is no kernel's function, whose it is, too."""
    return function.name if function.module in (KERNEL, function.name) else f"{function.name} [{function.module}]"
