"""pyperf suites, read and written by pyperf itself, so that every version of its format is one that it knows."""

from __future__ import annotations

import io
import json
from typing import Any

import pyperf

from study.errors import BadData

# What pyperf meets in a file that is JSON and no suite.
NO_SUITE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def runs(text: str) -> list[pyperf.Run]:
    """Return the runs of a suite that have values, benchmark by benchmark: its workers, and no calibration.

    Raises
    ------
    BadData
        If it is no suite, or has no values.
    """
    try:
        suite = pyperf.BenchmarkSuite.loads(text)
        found = [run for benchmark in suite for run in benchmark.get_runs() if run.values]
    except NO_SUITE as error:
        raise BadData(f"pyperf cannot read it: {type(error).__name__}, {str(error)[:200]}") from None
    if not found:
        raise BadData("no run of the suite has a value")
    return found


def metadata_of(suite: dict[str, Any]) -> dict[str, Any]:
    """Return what a suite of one run says of it, in all of its places."""
    (benchmark,) = suite["benchmarks"]
    (run,) = benchmark["runs"]
    return {**suite.get("metadata", {}), **benchmark.get("metadata", {}), **run.get("metadata", {})}


def ran(suite: dict[str, Any]) -> str:
    """Return what a suite of one run has in common with every copy of it: when it was made and its values; empty without a date."""
    date = metadata_of(suite).get("date")
    return json.dumps([str(date), suite["benchmarks"][0]["runs"][0]["values"]]) if date else ""


def of_run(run: pyperf.Run) -> dict[str, Any]:
    """Return a suite of one benchmark with one run, as pyperf writes it."""
    text = io.StringIO()
    pyperf.BenchmarkSuite([pyperf.Benchmark([run])]).dump(text)
    suite: dict[str, Any] = json.loads(text.getvalue())
    return suite
