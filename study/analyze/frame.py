"""A campaign as one tidy frame: a row for each value, every tag a column."""

from __future__ import annotations

import io
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.analyze import compare, garbage
from study.campaign import Campaign
from study.campaign.files import write_whole
from study.campaign.names import legible
from study.campaign.store import DERIVED, Record
from study.design import Factors
from study.errors import BadData

# What is said of a whole visit, and what of each value.
TAGS = [
    "board", "kernel", "mode", "strategy", "guest", "host", "exit", "arm", "boot", "visit", "block", "position", "loops",
    "emulated", "gic", "pmu", "touch_by",
]  # fmt: skip
COLUMNS = [*TAGS, "value_index", "metric", "unit", "value", "running"]

# A metric for each event that perf counts in every visit, and its unit. Events of the user's own keep their name, and so
# do those of imported visits, which have a source: ``instructions`` and ``instructions:kh`` may be beside each other there.
METRICS = {
    "instructions:kh": ("instructions", "instructions"),
    "instructions:u": ("user-instructions", "instructions"),
    "instructions:G": ("guest-instructions", "instructions"),
    "cycles:kh": ("cycles", "cycles"),
    "kvm:kvm_entry": ("entries", "events"),
    "kvm:kvm_exit": ("exits", "events"),
    "kvm:trap_reg": ("traps", "events"),
    "rig:instructions": ("instructions", "instructions"),
    "rig:cycles": ("cycles", "cycles"),
    "rig:base": ("part-base", "instructions"),
    "rig:scan": ("part-scan", "instructions"),
    "rig:switch": ("part-switch", "instructions"),
    "rig:trap": ("part-trap", "instructions"),
    "rig:reads": ("debug-reads", "events"),
    "rig:writes": ("debug-writes", "events"),
    "rig:traps": ("traps", "events"),
    "rig:isbs": ("isbs", "events"),
    "rig:switches": ("switches", "events"),
}
# On an emulated board the clock moves one nanosecond with each instruction, and so do the cycles: what pyperf times
# there is a path length, and is never called a time.
# By pyperf's unit: metric, unit, and what a value is multiplied with.
TIMED = {"second": ("time", "s", 1.0), "byte": ("memory", "bytes", 1.0), "integer": ("count", "units", 1.0)}
EMULATED = {"second": ("clock", "instructions", 1e9), "integer": ("clock", "instructions", 1.0)}
REPEATS_INSTRUCTIONS = {"cycles"}


@garbage.uncollected()
def tidy(campaign: Campaign) -> pd.DataFrame:
    """Return every value of a campaign.

    Parameters
    ----------
    campaign : Campaign
        It may still lack visits.

    Returns
    -------
    DataFrame
        COLUMNS; `value` is per round trip, in `unit`. A value that could not be counted is NaN; one that perf counted in a
        share of the time only is an estimate, and `running` is that share. On an emulated board the metric `clock` takes
        the place of `time`: pyperf's values, in instructions. A boot is a start of the machine: a board that went on running
        between two sessions has one. `position` is a visit's place in its boot, from 1; `block` the block of the design that
        it belongs to, 0 if it belongs to none.

    Raises
    ------
    BadRequest
        If nothing is recorded yet.
    BadData
        If a visit is damaged.
    """
    starts: dict[tuple[str, str], str] = {}
    places = Counter[tuple[str, str]]()
    visits: list[tuple[Any, ...]] = []
    series, counts = list[Series](), list[int]()  # of all visits, and how many each has
    for record in campaign.measured():
        board, boot = record.facts["board"], start_of(record, starts)
        places[board, boot] += 1
        tags, measured = _read(record, boot, places[board, boot], campaign.design_of(board).factors)
        series += measured
        visits.append(tags)
        counts.append(len(measured))
    if not visits:
        campaign.recorded()  # says so
    sizes = np.array([len(one.values) for one in series])
    of_visit = np.bincount(np.repeat(np.arange(len(visits)), counts), sizes, len(visits)).astype(int)
    said: dict[str, tuple[Sequence[Any], npt.NDArray[np.int_]]] = {
        name: (row, of_visit) for name, row in zip(TAGS, zip(*visits, strict=True), strict=True)
    }
    said |= {name: ([getattr(one, name) for one in series], sizes) for name in ("metric", "unit", "running")}
    with ThreadPoolExecutor() as threads:  # what takes long is to write that much memory
        value, index = threads.submit(_values, series, sizes), threads.submit(_places, sizes)
        columns = dict(zip(said, threads.map(_column, *zip(*said.values(), strict=True)), strict=True))
    columns |= {"value": value.result(), "value_index": index.result()}
    return pd.DataFrame({name: columns[name] for name in COLUMNS}, copy=False)


def start_of(record: Record, known: dict[tuple[str, str], str]) -> str:
    """Return the boot that stands for the start of the machine in which something was recorded; `known` are those before."""
    return known.setdefault((record.facts["board"], str(record.facts.get("boot_id") or record.boot)), record.boot)


class Series(NamedTuple):
    """What one visit has to say of one metric: its values, in order, over a scale, and in which share of the time they were counted."""

    metric: str
    unit: str
    values: Sequence[float] | npt.NDArray[np.float64]
    running: float = 1.0
    scale: float = 1.0


def _values(series: Sequence[Series], sizes: npt.NDArray[np.int_]) -> npt.NDArray[np.float64]:
    """Return the values of all series, in their units."""
    found, ends, single = np.empty(sizes.sum()), np.cumsum(sizes), sizes == 1
    found[ends[single] - 1] = [one.values[0] * one.scale for one in itertools.compress(series, single)]
    for one, end in zip(itertools.compress(series, ~single), ends[~single], strict=True):
        np.multiply(one.values, one.scale, out=found[end - len(one.values) : end])
    return found


def _places(sizes: npt.NDArray[np.int_]) -> npt.NDArray[np.int32]:
    """Return for each value its place in its series, from 0."""
    counted = np.arange(sizes.max(), dtype=np.int32)
    return np.concatenate([counted[:size] for size in sizes])


def _column(values: Sequence[Any], sizes: npt.NDArray[np.int_]) -> Any:
    """Return a column of each value so many times.

    Memory is what takes long: text is a categorical in the order of its first appearance, and a number has 32 bits if all fit.
    """
    if isinstance(values[0], str):
        codes, names = pd.factorize(np.asarray(values, dtype=object))
        short = pd.Categorical.from_codes(codes, [legible(str(name)) for name in names])
        return pd.Categorical.from_codes(np.repeat(short.codes, sizes), dtype=short.dtype)
    found = np.asarray(values)
    if found.dtype.kind == "i" and found.max() <= np.iinfo(np.int32).max:
        found = found.astype(np.int32)
    return np.repeat(found, sizes)


def widest(campaign: Campaign, board: str) -> float:
    """Return the width of the widest interval of a board's comparisons, as a share of its ratio: when a campaign may stop."""
    values = tidy(campaign)
    return compare.widest(compare.summarise(values[values["board"] == board], campaign.baselines()))


def write(campaign: Campaign, frame: pd.DataFrame) -> Path:
    """Write the frame beside the campaign as values.parquet, for other tools to read; it is derived, rebuilt at will."""
    path = campaign.folder / DERIVED
    packed = io.BytesIO()
    frame.to_parquet(packed, index=False)
    write_whole(path, packed.getvalue())
    return path


def _read(record: Record, boot: str, position: int, factors: Factors) -> tuple[tuple[Any, ...], list[Series]]:
    """Return the tags of a visit, in the order of TAGS, and its series."""
    line, facts = record.line, record.facts
    try:
        cell = line["cell"]
        emulated = bool(facts["emulated"])
        strategy = factors.as_named(cell["strategy"], facts["kernel"], facts.get("release", facts["kernel"]))
        tags = (facts["board"], facts["kernel"], facts["mode"], strategy, cell["guest"], cell["host"], cell["exit"],
                line["arm"], boot, line["visit"], int(line["block"]), position, int(line["loops"]), emulated, factors.gic,
                factors.pmu, factors.touch_by)  # fmt: skip
        return tags, list(_series(line, emulated, _accesses_per_switch(facts)))
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise BadData(
            f"boot {record.boot}, visit {legible(line['visit'])}: {type(error).__name__} {error}: it is not a visit"
        ) from None


def _accesses_per_switch(facts: dict[str, Any]) -> int:
    """Return how many debug registers a full switch of Linux to 6.13 reads and writes in a round trip.

    A control and a value register for each breakpoint and watchpoint, and MDCCINT_EL1; the host's are read and the guest's
    written on entry, and the other way round on exit (arch/arm64/kvm/hyp/include/hyp/debug-sr.h).
    """
    return 4 * (2 * (int(facts.get("breakpoints", 0)) + int(facts.get("watchpoints", 0))) + 1)


def _series(line: dict[str, Any], emulated: bool, per_switch: int) -> Iterator[Series]:
    if "values" in line:
        metric, word, scale = (EMULATED if emulated else TIMED)[line["unit"]]
        yield Series(metric, word, line["values"], scale=scale)
    for count in line["counts"]:
        name, unit = ({} if "source" in line else METRICS).get(count["event"], (count["event"], count.get("unit") or "events"))
        if not (emulated and name in REPEATS_INSTRUCTIONS):
            yield Series(name, unit, [math.nan if count["value"] is None else float(count["value"])], count["running"])
    # The module is loaded, but idle, while the kernel is measured as it is.
    module = line.get("module", {}) if line["cell"]["strategy"] != "stock" else {}
    for name in sorted(module.keys() - {"loops"}):
        yield Series(f"module-{name.replace('_', '-')}", "events", [module[name] / module["loops"]])
    if "switches" in module:
        yield Series("debug-accesses", "events", [module["switches"] / module["loops"] * per_switch])
