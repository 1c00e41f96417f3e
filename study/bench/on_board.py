"""What runs on the board: visits and a bare pyperf program in turns, in seconds of the board's clock. Printed as JSON."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-m", "study.collect.onboard.bench", "--guest", "mde", "--quiet"]


@dataclass
class Samples:
    """What was measured, pair by pair in seconds of the board's clock: a process, and the medians of the processes' values.

    Parameters
    ----------
    bare, visit, module, values_only, anew : list of float
        A process of a bare pyperf program; a visit; one through the module, of another strategy each time; one for which nothing is
        counted; the bare program with a visit's counts.
    of_bare, of_visits : list of float
        Medians of the values of each of these processes.
    """

    bare: list[float] = field(default_factory=list)
    visit: list[float] = field(default_factory=list)
    module: list[float] = field(default_factory=list)
    values_only: list[float] = field(default_factory=list)
    anew: list[float] = field(default_factory=list)
    of_bare: list[float] = field(default_factory=list)
    of_visits: list[float] = field(default_factory=list)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long some work took, and what came of it."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def medians(suite: dict[str, Any]) -> list[float]:
    """Return the median of each process of a pyperf suite."""
    runs = [run for benchmark in suite["benchmarks"] for run in benchmark["runs"]]
    return [statistics.median(run["values"]) for run in runs if "values" in run]


def main(plan: dict[str, Any]) -> None:
    """Measure in turns, and print what was found."""
    agent: Any = importlib.import_module("study.collect.onboard.__main__")
    few, many, size = plan["few"], plan["many"], plan["many"] - plan["few"]
    numbers = {name: plan[name] for name in ("loops", "values", "warmups")}
    words = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    out = Path("/tmp/out.json")
    found = Samples()

    def run(*more: str) -> dict[str, Any]:
        out.unlink(missing_ok=True)
        subprocess.run([*PROGRAM, *words, "-o", str(out), *more], check=True, stdout=subprocess.DEVNULL)
        suite: dict[str, Any] = json.loads(out.read_text())
        return suite

    def visits(events: list[list[str]], *strategies: str) -> list[float]:
        each = [
            agent.visit.measure(
                chosen=chosen, state="mde", host="none", leave="hvc", gic=True, pmu=False, events=events, label={}, **numbers
            )
            for chosen in itertools.islice(itertools.cycle(strategies), size)
        ]
        agent.fresh.settle()  # the last one has ended
        return [median for visit in each for median in medians(visit["pyperf"])]

    def bare() -> None:
        short, _ = seconds(lambda: run("-p", str(few)))
        long, suite = seconds(lambda: run("-p", str(many)))
        found.bare.append((long - short) / size)
        found.of_bare += medians(suite)

    def ours() -> None:
        took, each = seconds(lambda: visits(plan["events"], "stock"))
        found.visit.append(took / size)
        found.of_visits += each
        took, _ = seconds(lambda: visits(plan["events"], "lazy", "control-scan"))
        found.module.append(took / size)
        took, each = seconds(lambda: visits([], "stock"))
        found.values_only.append(took / size)
        found.of_visits += each

    def anew() -> None:
        counts = ["--worker", "--counts", "/tmp/counts.json", "--events", json.dumps(plan["events"])]
        took, _ = seconds(lambda: [run(*counts) for _ in range(few)])
        found.anew.append(took / few)

    for number in range(plan["pairs"]):
        for work in (ours, bare, anew)[:: 1 if number % 2 == 0 else -1]:
            work()
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    sys.path.insert(0, "/board")
    os.chdir("/board")
    main(json.loads(sys.argv[1]))
