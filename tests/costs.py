"""What the tests cost: seconds of CPU of each test and of all that it starts, added up by part for docs/testing.md.

PYTEST_COSTS=costs.jsonl make test; .venv/bin/python -m tests.costs costs.jsonl
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path

import tabulate

TICK = 1 / os.sysconf("SC_CLK_TCK")
# Parts, by how the names of their files begin; the first that fits counts. And what they show.
PARTS = {
    "tests/analyze tests/test_reference tests/campaign/test_sense tests/test_design": "statistics, cost model, figures and tables; what the shipped data say",
    "tests/publish/test_site": "paper and pages: the same bytes in two checkouts on two kinds of processor; pages in Chromium, axe",
    "tests/publish": "letters, and series by git and b4",
    "tests/collect/test_rig": "the bare-metal rig: oracle, exact counts, drawn sequences of events",
    "tests/collect/test_ssh": "a board over ssh, by a real sshd",
    "tests/collect/test_fleet": "fleets, dask schedulers and workers, some of which are killed",
    "tests/kernels/test_own tests/kernels/test_source": "kernels of one's own: builds, a patch series, a bisection",
    "tests/kernels/test_module": "the kernel module under hostile guests",
    "tests/collect/test_local": "the local board, on an emulated machine",
    "tests/collect/test_boards tests/kernels/test_kernels tests/collect/test_session": "emulated boards: strategies, kernels, what can go wrong",
    "tests/collect/test_receipts tests/collect/test_trips tests/collect/test_sampled": "receipts: traced against the clock, sampled against traced",
    "tests/collect/test_guests": "real guests: every count against the others, guests that go wrong, flat images",
    "tests/collect/test_imported tests/collect/test_shelf tests/collect/test_perfstat": "results from elsewhere, files of boards",
    "tests/collect": "doctor, tuning, the pyperf hook",
    "tests/faults": "kills in each state, full disks, nonsense on the line, signals",
    "tests/test_fuzz": "damaged files",
    "tests/bench/test_bench": "the bench itself",
    "tests": "campaigns on disk, command line, notebooks, make, set-up, progress, house rules",
}


def spent() -> float:
    """Return the CPU seconds of this process, of those that it waited for, and of those that its fork server did."""
    ours = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split() if server else []
    return ours + TICK * sum(map(int, fields[11:15]))


def write(file: Path, test: str, seconds: float) -> None:
    """Add what a test took to a file that several workers write."""
    with open(file, "a") as out:
        out.write(json.dumps([test, seconds]) + "\n")


def table(file: Path) -> str:
    """Return the costs by part, in Markdown."""
    costs, counts = Counter[str](), Counter[str]()
    for test, seconds in map(json.loads, file.read_text().splitlines()):
        part = next(part for part in PARTS if test.startswith(tuple(part.split())))
        costs[part] += seconds
        counts[part] += 1
    rows = [(", ".join(part.split()), says, counts[part], round(costs[part])) for part, says in PARTS.items()]
    rows.append(("all", "", counts.total(), round(costs.total())))
    return tabulate.tabulate(rows, ["part", "shows", "tests", "CPU, s"], "github")


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
