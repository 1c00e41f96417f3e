"""The timing: a pyperf program. One benchmark, the time of a round trip from guest to host and back.

It has all that pyperf programs have: calibration, warm-ups, worker processes, metadata, ``--help``. On a board::

    python3 -m study.collect.onboard.bench --guest mde --exit hvc -o mde.json

With ``--counts`` a worker runs the oracle before, and after the values counts events in windows of two lengths, as perf stat counts
them, and reads the module's counters over the longer one; all in the process and, but for the oracle, in the VM whose values pyperf
records.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyperf

from study.factors import EXITS, GUEST_STATES, HOST_STATES, KVM, names

from . import BoardError, counting, facts, fresh, guest, host, strategy

NAME = "onboard.bench"  # of a visit's process, as ps(1) shows it
ENOUGH = 1000  # round trips in the longer window of tracepoints, of which each trip has a whole number, or each twentieth
EXITS_WATCHED = 3  # after which the host's breakpoints must fire


def program() -> pyperf.Runner:
    """Return the pyperf program with its options; what it measures is not there yet."""
    runner = pyperf.Runner(add_cmdline_args=_forward, program_args=("-m", "study.collect.onboard.bench"))
    parser = runner.argparser
    parser.set_defaults(inherit_environ=["STUDY_PAYLOAD"])
    parser.add_argument(
        "--guest", choices=names(GUEST_STATES, KVM), default="untouched", help="how the guest uses its debug registers"
    )
    parser.add_argument("--host", choices=names(HOST_STATES, KVM), default="none", help="what the host itself has enabled")
    parser.add_argument("--exit", choices=names(EXITS, KVM), default="hvc", help="how it leaves for the host")
    parser.add_argument("--no-gic", action="store_true", help="give the guest no in-kernel interrupt controller")
    parser.add_argument("--pmu", action="store_true", help="give the guest a PMU")
    parser.add_argument("--label", default="{}", help="JSON object of metadata to add, such as the strategy")
    parser.add_argument("--counts", help="JSON file to write counts to")
    parser.add_argument("--events", default="[]", help="JSON list of lists: events to count, one perf run each")
    return runner


def main(runner: pyperf.Runner, words: list[str] | None = None) -> None:
    """Run the program, once, with words instead of those on its command line if there are any."""
    args = runner.parse_args(words)
    metadata = {
        **json.loads(args.label),
        "guest": args.guest,
        "host": args.host,
        "exit": args.exit,
        "gic": str(not args.no_gic),
        "pmu": str(args.pmu),
    }

    run: Callable[[int], float] = _in_a_worker
    if args.worker:  # pyperf runs this file in its manager too, which must not open a board
        breakpoints, watchpoints = facts.debug_registers()
        held = host.Debugging(args.host, breakpoints=breakpoints, watchpoints=watchpoints)
        # First: meanwhile the kernel does what the visit before, and this VM, have left it to do.
        reports = guest.run_oracle(gic=not args.no_gic, pmu=args.pmu) if args.counts else []
        checked = {"oracle": reports, "host": [held.fire()]}
        measured = guest.Guest(
            args.guest, args.exit, breakpoints=breakpoints, watchpoints=watchpoints, gic=not args.no_gic, pmu=args.pmu
        )
        fresh.alone()
        run = partial(_run_and_count, measured, held, args, checked, itertools.count(1)) if args.counts else measured.run
    runner.bench_time_func(f"round trip {args.guest} {args.exit}", run, metadata=metadata)


def _run_and_count(
    measured: guest.Guest,
    held: host.Debugging,
    args: argparse.Namespace,
    checked: dict[str, Any],
    calls: Iterator[int],
    loops: int,
) -> float:
    """Make round trips for a value, and count after the last one: before pyperf looks at the machine, while tracepoints are taken out."""
    seconds = measured.run(loops)
    if next(calls) == args.warmups + args.values:
        Path(args.counts).write_text(json.dumps(_counts(measured, held, args, checked)))
    return seconds


def _counts(measured: guest.Guest, held: host.Debugging, args: argparse.Namespace, checked: dict[str, Any]) -> dict[str, object]:
    """Count what pyperf cannot: events in two windows for each list of events, the module's counters; and go on with what was checked.

    The host's oracle: each of its breakpoints and watchpoints fires after the guest's oracle, before the guest runs, and again after
    each of its exits to user space.
    """
    windows: list[dict[str, object]] = []
    seen: list[dict[str, int]] = []

    def look() -> None:
        seen.append(strategy.counters())

    # Tracepoints last: they lengthen exits until the process has ended.
    for row in sorted(counting.fitting(json.loads(args.events)), key=counting.of_tracepoints):
        most = min(args.loops, ENOUGH) if counting.of_tracepoints(row) else args.loops
        lengths = (short(most), most)
        counted = counting.count(row, [partial(measured.run, loops) for loops in lengths], look if most == args.loops else None)
        windows += [{"loops": loops, **each} for loops, each in zip(lengths, counted)]
    if not seen:  # else a row ended with as many round trips
        look()
        if seen[-1]:
            measured.run(args.loops)
        look()
    before, after = seen[-2:]
    fired = [held.fire()]
    for _ in range(EXITS_WATCHED):
        measured.run(1)
        fired.append(held.fire())
    measured.close()
    by_module = {"loops": args.loops, **{name: after[name] - before[name] for name in before}}
    return {"windows": windows, "module": by_module, "oracle": checked["oracle"], "host": [*checked["host"], *fired]}


def short(loops: int) -> int:
    """Return the length of the shorter window: what both have in common, the window's own cost, drops out."""
    return max(1, loops // 10)


def _forward(command: list[str], args: argparse.Namespace) -> None:
    """Hand this program's own options on to pyperf's worker processes."""
    command += ["--guest", args.guest, "--host", args.host, "--exit", args.exit, "--label", args.label]
    command += ["--no-gic"] * args.no_gic + ["--pmu"] * args.pmu


def _in_a_worker(loops: int) -> float:
    raise RuntimeError("round trips are made in pyperf's worker processes only")


if __name__ == "__main__":
    try:
        main(program())
    except BoardError as error:
        sys.exit(str(error))
