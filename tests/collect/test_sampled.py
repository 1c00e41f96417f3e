"""Sampled receipts agree with exact ones, as far as samples can: what runs while interrupts are masked is sampled behind it."""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

from study.collect import boards
from study.collect.boards import Link
from study.collect.boards.emulated import EmulatedBoard
from study.collect.receipts import linux, trips
from study.collect.receipts.monitor import Monitor
from study.collect.receipts.sampled import Sampler
from study.collect.receipts.trace import Trace
from study.collect.receipts.trips import Code
from study.design import Cell, Factors
from study.errors import BoardFailed
from tests.conftest import BOARDS, some

pytestmark = pytest.mark.board

FACTORS = Factors(strategies=("stock",), guests=("mde",), exits=("hvc",), loops=2000)
VISITS = 20
LARGEST = 10
# All intervals of all boards hold together at 99 % (Bonferroni): at 95 % each, one of them would miss in most runs.
WITHIN = float(scipy.stats.t.ppf(1 - 0.01 / (2 * LARGEST * len(BOARDS)), VISITS - 1))
# Beside the interval, in percent of all samples and of a function's own: samples are not without bias. Each one makes the guest leave
# and enter once more, and what lets interrupts in again has up to 3 percent of its own fewer than the trace says.
ITS_OWN, OF_OWN = 0.6, 0.03
# MSR DAIFSet and DAIFClr with an immediate, and the bit of it that is I (Arm ARM, C6.2.230).
ANY, SET, CLEAR, MASKS_IRQ = 0xFFFFF0FF, 0xD50340DF, 0xD50340FF, 1 << 9


@dataclass(frozen=True)
class Exact:
    """Shares of a round trip's instructions by function, in percent: where they run, and where a sample of them is taken."""

    own: dict[str, float]
    sampled: dict[str, float]


@pytest.fixture(scope="module")
def cell() -> Cell:
    return next(cell for cell in FACTORS.cells() if cell.strategy == "stock" and cell.guest == "mde")


@pytest.fixture(scope="module", params=BOARDS)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cell: Cell
) -> tuple[Exact, list[dict[str, Any]]]:
    """What one boot says of a cell: by a trace, and by samples of several visits."""
    with booted(request.param, tmp_path_factory.mktemp("sampled")) as (link, monitor, folder):
        found = exact(linux.Tracer(boards.find(request.param), link, monitor, folder), cell)
        sampler = Sampler(request.param, link)
        return found, [sampler.receipt(cell, FACTORS) for _ in range(VISITS)]


@contextlib.contextmanager
def booted(name: str, folder: Path) -> Iterator[tuple[Link, Monitor, Path]]:
    """Boot a board whose emulator has a monitor."""
    monitor = Monitor(name, boards.find(name).launch(folder / "console.log", ("stock",)))
    with contextlib.closing(monitor), Link(name, monitor.launch) as link:
        link.ask("facts", events=[], strategies=["stock"])
        yield link, monitor, folder


def exact(tracer: linux.Tracer, cell: Cell) -> Exact:
    """Trace a cell."""
    kept: list[tuple[Trace, Code, int]] = []
    with pytest.MonkeyPatch.context() as patched:
        whole = trips.receipt
        patched.setattr(
            trips, "receipt", lambda ran, code, mark, period: kept.append((ran, code, mark)) or whole(ran, code, mark, period)
        )
        tracer.receipt(cell, FACTORS)
    ran, code, mark = kept[0]
    marks = [at for at, place in enumerate(ran.order) if place == mark][trips.SETTLING :]
    whole_trips = [[int(place) for place in ran.order[first:last]] for first, last in itertools.pairwise(marks)]
    usual = statistics.mode(map(len, whole_trips))  # the others are interrupted, which masks and unmasks by itself
    order = [place for trip in whole_trips if len(trip) == usual for place in trip]
    names = [function.name for function in code.functions]
    words = [tracer._words[int(place)] for place in ran.places]
    return Exact(shares(Counter(names[place] for place in order)), shares(as_sampled(order, names, words)))


def as_sampled(order: list[int], names: list[str], words: list[int]) -> Counter[str]:
    """Return how many instructions are sampled in each function: those that run while interrupts are masked in the one that ends that."""
    found, masked, waiting = Counter[str](), True, 0
    for place in order:  # begins in the guest: masked
        found[names[place]] += not masked
        waiting += masked
        word = words[place]
        if word & ANY in (SET, CLEAR) and word & MASKS_IRQ:
            masked = word & ANY == SET
        if not masked and waiting:
            found[names[place]] += waiting
            waiting = 0
    return found


def shares(counts: Counter[str]) -> dict[str, float]:
    total = counts.total()
    return {name: 100 * count / total for name, count in counts.items()}


def test_the_ten_largest_functions_agree_with_a_trace(both: tuple[Exact, list[dict[str, Any]]]) -> None:
    found, receipts = both
    visits = []
    for receipt in some(receipts, VISITS):
        inside = Counter({row["function"]: row["samples"] for row in receipt["functions"] if row["function"] in found.own})
        assert inside.total() > 0.85 * receipt["samples"] > 900  # the rest: what a batch of round trips has of its own
        assert receipt["lost"] < 0.01 * receipt["samples"]
        visits.append(shares(inside))
    largest = sorted(found.sampled, key=lambda name: -found.sampled[name])[:LARGEST]
    for name in some(largest, LARGEST):
        values = [visit.get(name, 0.0) for visit in visits]
        mean, half = statistics.mean(values), WITHIN * statistics.stdev(values) / math.sqrt(VISITS)
        assert half < 0.02 * found.sampled[name] + 1, f"{name}: {mean:.2f} +- {half:.2f} says nothing"
        assert abs(mean - found.sampled[name]) < half + ITS_OWN + OF_OWN * found.sampled[name], (
            f"{name}: {mean:.2f} +- {half:.2f}, and {found.sampled[name]:.2f} by the trace"
        )


def test_what_runs_while_interrupts_are_masked_is_sampled_late_and_elsewhere(both: tuple[Exact, list[dict[str, Any]]]) -> None:
    found, receipts = both
    hidden = [name for name in some(sorted(found.own), 30) if found.sampled.get(name, 0) == 0]
    assert any("__debug_save_state" in name for name in some(hidden, 20))
    (pile,) = [name for name, share in found.sampled.items() if share > 50]
    for receipt in some(receipts, VISITS):
        rows = {row["function"]: row for row in receipt["functions"]}
        seen = sum(rows[name]["samples"] for name in hidden if name in rows)
        assert seen < 0.02 * receipt["samples"] < 0.5 * sum(found.own[name] for name in hidden) / 100 * receipt["samples"]
        assert rows[pile]["late"] > 1.5 * statistics.median(row["late"] for row in receipt["functions"])


def test_a_board_without_a_pmu_says_so(tmp_path: Path, cell: Cell) -> None:
    launch = EmulatedBoard(BOARDS[0], append="initcall_blacklist=armv8_pmu_driver_init").launch(
        tmp_path / "console.log", ("stock",)
    )
    with Link(BOARDS[0], launch) as link, pytest.raises(BoardFailed, match="drives no PMU of this CPU.*dmesg") as error:
        Sampler(BOARDS[0], link).receipt(cell, FACTORS)
    assert len(str(error.value).splitlines()) == 1
