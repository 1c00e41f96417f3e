"""How fast the analysis of a campaign is, and in how much memory, on campaigns that are simulated for it.

Times of one machine say little by themselves, so each is held against what everybody has for such data: DuckDB, or pandas,
reading and grouping the same values, or matplotlib saving the same figures. A campaign has its copies in a cache of its own, as one that was collected; what it takes
without them has a row. Each run is a process of its own; what it imports is not counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from study import paths
from study.analyze import compare, cost, figures, frame, tables
from study.analyze.figures.look import STYLE
from study.bench.rows import PAIRS, Row, growth, in_turns, ratio
from study.campaign import Campaign, columns
from study.campaign.store import DERIVED
from study.design import STATES, Visit, choose
from study.factors import KVM

# A campaign of a million values in 300 cells: 4 boards x 75 cells x 5 boots x 4 visits x 167 values.
BOARDS = 4
LARGE: dict[str, Any] = {
    "boots": 5,
    "processes": 4,
    "values": 167,
    "loops": 2000,  # as the model has
    "hosts": ("none",),
    "exits": ("hvc", f"mmio:{'+'.join(STATES[:6])}"),
}
VALUES = (2, 17, 167, 1670)  # of a visit: 10^4, 10^5, 10^6 and 10^7 in all
FEW = 20  # values of a visit where something else grows
VISITS = (2, 6, 18)  # of a cell in a boot
CELLS = (1, 3, 9)  # boards, each with as many cells

# What the promises are: of a time and a memory of others, of a growth, and of a million values.
TIMES, FRAMES, LINEAR, SAVED = 3.0, 2.5, 1.05, 1.0
SECONDS, BYTES = 30.0, 1.5 * 2**30

KEYS = [*compare.CELL, "boot", "visit"]
STEPS = "frame, intervals, tables"
RUNS_EACH = 3  # of each size where growth is looked at
LOOK = 0.05  # seconds between two looks at how much memory is used


def campaign(folder: Path, boards: int, **sizes: int) -> Campaign:
    """Write a simulated campaign, of lines like those that boards of data/reference gave, with noise instead of values."""
    factors = choose("full", KVM, **{**LARGE, **sizes})
    made = Campaign.freeze(folder, factors)
    model = next(Campaign(paths.DATA / "reference").records())
    source = np.random.default_rng(1)
    for board in (f"simulated-{number}" for number in range(1, boards + 1)):
        visits = made.missing(board)
        for number in sorted({visit.boot for visit in visits}):
            boot = made.open_boot(board, number)
            boot.begin()
            boot.describe({**model.facts, "board": board, "boot_id": f"{board} {number}", "simulated": True})
            shift = 1 + 0.01 * source.standard_normal()
            boot.record(*(_line(visit, model.line, shift, factors.values, source) for visit in visits if visit.boot == number))
        made.close(board)
    return made


def _line(visit: Visit, model: dict[str, Any], shift: float, count: int, source: np.random.Generator) -> dict[str, Any]:
    """Return a visit's line with values of its own."""
    level = 1.5e-6 * shift * (1 + 0.005 * source.standard_normal())
    values = (level * (1 + 0.01 * np.abs(source.standard_normal(count)))).tolist()
    (benchmark,) = model["pyperf"]["benchmarks"]
    suite = {**model["pyperf"], "benchmarks": [{**benchmark, "runs": [{**benchmark["runs"][0], "values": values}]}]}
    cell = {name: getattr(visit.cell, name) for name in ("strategy", "guest", "host", "exit")}
    return {**model, "visit": visit.name, "block": visit.block, "arm": visit.cell.arm, "cell": cell, "pyperf": suite}


def steps(folder: Path, *, all_of_it: bool = False) -> dict[str, float]:
    """Analyse a campaign.

    Parameters
    ----------
    folder : path
        The campaign; what is made goes into ``out`` there.
    all_of_it : bool
        Whether the cost model is fitted and figures are drawn, too.

    Returns
    -------
    dict
        The seconds of each step and of all of them (`seconds`), and those of processors (`cpu`), of those that draw, too; `values`
        and `cells` of what was timed; `peak`, the most bytes that this process had while it worked, above those that it had before; `bytes` of
        its frame.
    """
    took: dict[str, float] = {}
    before, idle = _bytes("VmRSS"), sum(os.times()[:4])

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        took[name] = time.perf_counter() - started
        return result

    measured = timed("open", lambda: Campaign(folder))
    values = timed("frame", lambda: frame.tidy(measured))
    summary = timed("intervals", lambda: compare.summarise(values, measured.baselines()))
    timed("tables", lambda: tables.save_all(summary, folder / "out"))
    if all_of_it:
        timed("cost model", lambda: cost.fits(compare.medians(values)))
        timed("figures", lambda: figures.save_all(figures.draw_all(values, summary), folder / "out"))
    return {
        **took,
        "seconds": sum(took.values()),
        "cpu": sum(os.times()[:4]) - idle,
        "values": float((values["metric"] == "clock").sum()),
        "cells": float(len(compare.timed(summary))),
        "peak": float(_bytes("VmHWM") - before),
        "bytes": float(values.memory_usage(deep=True).sum()),
    }


def all_steps(folder: Path) -> dict[str, float]:
    """Do all of the analysis of a campaign."""
    return steps(folder, all_of_it=True)


def with_duckdb(folder: Path) -> dict[str, float]:
    """Read values.parquet with DuckDB, and take the median of each visit: the seconds, and how many medians there are."""
    import duckdb

    started = time.perf_counter()
    keys = ", ".join(f'"{key}"' for key in KEYS)
    query = f"SELECT {keys}, median(value) AS value FROM read_parquet('{folder / DERIVED}') GROUP BY {keys}"
    found = duckdb.connect().execute(query).fetchnumpy()["value"]
    return {"seconds": time.perf_counter() - started, "medians": float(len(found)), "sum": float(np.nansum(found))}


def with_pandas(folder: Path) -> dict[str, float]:
    """Take the median of each visit with pandas, of a frame that is in memory: the seconds, and how many medians there are."""
    read = pd.read_parquet(folder / DERIVED)
    started = time.perf_counter()
    found = read.groupby(KEYS, observed=True, sort=False)["value"].median()
    return {"seconds": time.perf_counter() - started, "medians": float(len(found)), "sum": float(found.sum())}


def with_savefig(folder: Path) -> dict[str, float]:
    """Draw the same figures and save each by matplotlib's savefig(), as SVG and PNG: the seconds that takes alone, and how many."""
    measured = Campaign(folder)
    values = frame.tidy(measured)
    summary = compare.summarise(values, measured.baselines())
    started = time.perf_counter()
    drawings = figures.draw_all(values, summary)
    with plt.style.context(STYLE):
        for drawing in drawings:
            for ending in ("svg", "png"):
                drawing.figure.savefig(folder / f"{drawing.name}.{ending}")
    return {"seconds": time.perf_counter() - started, "figures": float(len(drawings))}


RUNS: dict[str, Callable[[Path], dict[str, float]]] = {
    "steps": steps, "all-steps": all_steps, "savefig": with_savefig, "duckdb": with_duckdb, "pandas": with_pandas,
}  # fmt: skip


def run(what: str, folder: Path) -> dict[str, float]:
    """Return what a row of RUNS finds, in a fresh process."""
    done = subprocess.run(_command(what, folder), cwd=paths.ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def memory(what: str, folder: Path) -> float:
    """Return the most bytes that a row of RUNS has at a time, in a fresh process and those that it starts; what they share counts once."""
    most = 0
    with subprocess.Popen(_command(what, folder), cwd=paths.ROOT, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, _together(process.pid))
            time.sleep(LOOK)
    return float(most)


def _command(what: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "study.bench.analysis", what, str(folder)]


def rows(say: Callable[[str], None]) -> list[Row]:
    """Measure all of it: campaigns are written to a temporary folder, one at a time."""
    return [*_of_values(say), *_of("visits", [{"processes": count} for count in VISITS], say),
            *_of("cells", [{"boards": count} for count in CELLS], say)]  # fmt: skip


def _of_values(say: Callable[[str], None]) -> list[Row]:
    """Return what campaigns of ever more values take, the largest beside DuckDB and pandas, and a million in full."""
    found: list[dict[str, float]] = []
    made: list[Row] = []
    for values in VALUES:
        with _written(say, values=values) as folder:
            if values == LARGE["values"]:
                made += _promises(folder, say)
            if values == max(VALUES):
                largest, beside = _beside_others(folder, say)
                found.append(_least(largest))
                made = [*beside, *made]
            else:
                found.append(_least([run("steps", folder) for _ in range(RUNS_EACH)]))
    return [*made, _growth("values", [one["values"] for one in found], found)]


def _beside_others(folder: Path, say: Callable[[str], None]) -> tuple[list[dict[str, float]], list[Row]]:
    """Return each run of the steps on a campaign, and the rows that compare them with others."""
    measured = Campaign(folder)
    frame.write(measured, frame.tidy(measured))
    runs: list[dict[str, float]] = []

    def ours() -> float:
        runs.append(run("steps", folder))
        return runs[-1]["seconds"]

    say("analysing it in turns with DuckDB and pandas")
    lines = in_turns(lambda: _first("steps", folder), lambda: run("duckdb", folder)["seconds"], PAIRS)
    duckdb = in_turns(ours, lambda: run("duckdb", folder)["seconds"], PAIRS)
    pandas = in_turns(ours, lambda: run("pandas", folder)["seconds"], PAIRS)
    count = f"{runs[0]['values']:.0e}".replace("e+0", " x 10^")
    peaks, frames = ([one[name] / 2**20 for one in runs] for name in ("peak", "bytes"))
    return runs, [
        ratio(f"{count} values: {STEPS} / DuckDB group-by median", TIMES, (STEPS, duckdb[0]), ("DuckDB", duckdb[1])),
        ratio(f"{count} values, from the raw lines: {STEPS} / DuckDB", None, (STEPS, lines[0]), ("DuckDB", lines[1])),
        ratio(f"{count} values: {STEPS} / pandas group-by median in memory", None, (STEPS, pandas[0]), ("pandas", pandas[1])),
        ratio(f"{count} values: peak memory / frame", FRAMES, ("peak above imports", peaks), ("frame", frames), "MiB"),
    ]


def _promises(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """Return how much of what is promised of a million values was needed, and what that is beside saving its figures alone."""
    say("analysing it in turns with matplotlib saving its figures")
    took, beside = in_turns(lambda: _first("all-steps", folder), lambda: run("savefig", folder)["seconds"], PAIRS)
    most = memory("all-steps", folder) / 2**20
    return [
        ratio(f"analysis of a million values, of {SECONDS:.0f} s", 1.0, ("all steps", took), ("promise", [SECONDS] * len(took))),
        ratio("its memory, of 1.5 GiB", 1.0, ("peak of all its processes", [most]), ("promise", [BYTES / 2**20]), "MiB"),
        ratio("its raw lines to saved figures / savefig() of these alone", SAVED, ("all steps", took), ("savefig()", beside)),
    ]


def _first(what: str, folder: Path) -> float:
    """Return the seconds that a row of RUNS takes from the raw lines, without a copy of what they measured."""
    shutil.rmtree(columns.folder(), ignore_errors=True)
    return run(what, folder)["seconds"]


def _of(what: str, sizes: list[dict[str, int]], say: Callable[[str], None]) -> list[Row]:
    """Return how the time grows with one of the sizes of a campaign, the others being equal."""
    found = []
    for size in sizes:
        with _written(say, **{"values": FEW, **size}) as folder:
            found.append(_least([run("steps", folder) for _ in range(RUNS_EACH)]))
    return [_growth(what, [one["values"] / FEW if what == "visits" else one["cells"] for one in found], found)]


def _least(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the run that others on this machine have slowed down least."""
    return min(runs, key=lambda one: one["cpu"])


def _growth(what: str, sizes: list[float], found: list[dict[str, float]]) -> Row:
    return growth(f"growth with {what}", LINEAR, STEPS, sizes, [one["cpu"] for one in found], "s of CPU")


@contextlib.contextmanager
def _written(say: Callable[[str], None], **sizes: int) -> Iterator[Path]:
    """Write a campaign, and the copies of what it measured, for as long as it is needed."""
    say("writing a simulated campaign: " + ", ".join(f"{count} {name}" for name, count in sizes.items()))
    with tempfile.TemporaryDirectory() as place, mock.patch.dict(os.environ, STUDY_CACHE=f"{place}/cache"):
        yield campaign(Path(place) / "c", **{"boards": BOARDS, **sizes}).folder


def _bytes(field: str) -> int:
    """Return a field of /proc/self/status; the peak of getrusage() is that of whoever started this process, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _together(process: int) -> int:
    """Return the bytes of a process and of its children, what they share once; 0 of what has ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        own = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        return own + sum(map(_together, map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())))
    return 0


if __name__ == "__main__":
    print(json.dumps(RUNS[sys.argv[1]](Path(sys.argv[2]))))
