"""Count events with perf stat while pyperf measures: ``--hook perf_stat``, for any benchmark that pyperf runs.

Install it beside pyperf; it needs pyperf, Linux's perf, and nothing else of the study (before Python 3.11 add
``--ignore-requires-python``; 3.9 is enough)::

    pip install --no-deps PATH-OF-THIS-CHECKOUT

Use it::

    python -m pyperf timeit --hook perf_stat -o out.json "bytearray(1 << 20)"
    python -m pyperf dump -v out.json

Choose events as ``perf stat -e`` takes them. pyperf hides most variables from its workers, so name this one::

    export PYPERF_PERF_STAT_EVENTS=instructions:u,cache-misses
    python -m pyperf timeit --hook perf_stat --inherit-environ=PYPERF_PERF_STAT_EVENTS -o out.json "sorted(range(999))"

Each run that holds values has in its metadata:

=================================  ========================================================================================
``perf_stat_calls``                how often the benchmark was called while counters ran: once for each value
``perf_stat_<event>``              the count over all those calls together, or ``not supported`` or ``not counted``; perf adds
                                   ``:u`` to an event of which you may count user space alone
``perf_stat_<event>_unit``         what it is counted in, if not by the piece, such as ``msec``
``perf_stat_<event>_running_pct``  only if less than 100: in what share of the time it was counted; the count is an estimate
=================================  ========================================================================================

What differs from run to run stays with the run; what all runs share, ``pyperf show --metadata`` shows. The count of one
iteration::

    for run in pyperf.Benchmark.load("out.json").get_runs():
        run_has = run.get_metadata()
        if "perf_stat_calls" in run_has:
            print(run_has["perf_stat_instructions"] / run_has["perf_stat_calls"] / run.get_total_loops())

**What is counted.** The process that runs the benchmark, with its threads and what they start, from just before each call
for a value until just after it. Warm-ups are not counted, nor are calibrations. With ``pyperf command`` a count is of the
command alone, start and end included, in the last value of the run: ``perf_stat_calls`` is 1, and each value overwrites
the one before. Switching the counters on and off is within the count: about a context switch and a few microseconds
of CPU time for each call. To be rid of it, count ``pass`` as well, or make calls long.

**What can go wrong** ends the worker with one line: perf is missing, forbidden, or does not know an event. pyperf's
main process may add how it noticed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Union

from pyperf._hooks import HookBase, HookError

from . import BoardError
from .counting import Counters

VARIABLE = "PYPERF_PERF_STAT_EVENTS"
EVENTS = "task-clock,context-switches,page-faults,instructions,cycles"  # the first three need no hardware
PREFIX = "perf_stat_"
CALLS = PREFIX + "calls"
# With one of these pyperf's main process asks a worker for loops or warm-ups, not for values.
CALIBRATIONS = frozenset(f"--{again}calibrate-{what}" for again in ("", "re") for what in ("loops", "warmups"))
# In the metadata of a worker that runs commands. The hook is in force twice then: in the worker, and in each process that starts
# the command, whose counts reach the worker's metadata first and are better, being without the start of that process.
OF_COMMAND = "command_max_rss"

Datum = Union[int, float, str]


def describe(text: str, calls: int) -> dict[str, Datum]:
    """Return what a run's metadata say of its counters. Pure.

    Parameters
    ----------
    text : str
        What ``perf stat -j`` printed. What it derives from counts is passed over.
    calls : int
        Number of calls that were counted.

    Raises
    ------
    BoardError
        If a line is not what perf prints.
    """
    described: dict[str, Datum] = {CALLS: calls}
    for line in text.splitlines():
        try:
            item = json.loads(line) if line.startswith("{") else {}
        except ValueError:
            raise BoardError(f"this is not a line of perf stat -j: {line[:80]!r}") from None
        if "counter-value" not in item:
            continue
        name, word = PREFIX + item["event"], item["counter-value"]
        if word.startswith("<"):  # <not supported>: there is no count, so there is no zero either
            described[name] = word.strip("<>")
            continue
        number = float(word)
        described[name] = int(number) if number.is_integer() else number
        if item.get("unit"):
            described[name + "_unit"] = item["unit"]
        if item.get("pcnt-running", 100) < 100:
            described[name + "_running_pct"] = item["pcnt-running"]
    return described


class PerfStat(HookBase):  # type: ignore[misc]
    """The hook. pyperf makes one for a worker's warm-ups, if it has any, and then one for its values.

    Raises
    ------
    HookError
        If perf is missing, forbidden, or does not know an event. pyperf prints its line and ends the worker.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0
        try:
            self._counters = Counters([os.environ.get(VARIABLE) or EVENTS])
        except BoardError as error:
            raise HookError(str(error)) from None

    def __enter__(self) -> None:
        with _said_in_one_line():
            self._counters.enable()

    def __exit__(self, kind: object, _value: object, _traceback: object) -> None:
        if kind is not None:  # the benchmark failed, and pyperf says how: there will be no teardown
            self._counters.close()
            return
        with _said_in_one_line():
            self._counters.disable()
        self._calls += 1

    def teardown(self, metadata: dict[str, Datum]) -> None:
        """Put the counts into a run's metadata, in place of those of the warm-ups before; none into a calibration's."""
        with _said_in_one_line():
            described = describe(self._counters.finish(), self._calls)
        calibrates = not CALIBRATIONS.isdisjoint(sys.argv)
        if OF_COMMAND in metadata and not calibrates:
            return
        for name in [name for name in metadata if name.startswith(PREFIX)]:
            del metadata[name]
        if not calibrates:
            metadata.update(described)


@contextlib.contextmanager
def _said_in_one_line() -> Iterator[None]:
    """End the process with the line of a BoardError: past its making, pyperf expects no error of a hook."""
    try:
        yield
    except BoardError as error:
        sys.exit(f"ERROR in hook 'perf_stat': {error}")
