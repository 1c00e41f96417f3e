"""The timing: a pyperf program. One benchmark, the time of a round trip from guest to host and back.

It has all that pyperf programs have: calibration, warm-ups, worker processes, metadata, ``--help``. On a board::

    python3 -m study.collect.onboard.bench --guest mde --exit hvc -o mde.json

With ``--counts`` a worker also counts events with perf stat in windows of two lengths, reads the module's counters
over a known number of round trips, and runs the oracle; all in the process and, but for the oracle, in the VM whose
values pyperf records.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import pyperf

from study.factors import EXITS, GUEST_STATES, HOST_STATES, KVM, names

from . import BoardError, counting, facts, guest, host, strategy

NAME = "onboard.bench"  # of a visit's process, as ps(1) shows it
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

    measured: guest.Guest | None = None
    if args.worker:  # pyperf runs this file in its manager too, which must not open a board
        breakpoints, watchpoints = facts.debug_registers()
        held = host.Debugging(args.host, breakpoints=breakpoints, watchpoints=watchpoints)
        measured = guest.Guest(
            args.guest, args.exit, breakpoints=breakpoints, watchpoints=watchpoints, gic=not args.no_gic, pmu=args.pmu
        )
    runner.bench_time_func(f"round trip {args.guest} {args.exit}", measured.run if measured else _in_a_worker, metadata=metadata)
    if measured and args.counts:
        Path(args.counts).write_text(json.dumps(_counts(measured, held, args)))


def _counts(measured: guest.Guest, held: host.Debugging, args: argparse.Namespace) -> dict[str, object]:
    """Count what pyperf cannot: events in two windows for each list of events, the module's counters, the oracles.

    The host's oracle: each of its breakpoints and watchpoints fires before the guest runs, and again after each of its exits to
    user space.
    """
    lengths = (short(args.loops), args.loops)
    works = [partial(measured.run, loops) for loops in lengths]
    windows = [
        {"loops": loops, "perf": text}
        for texts in counting.count(counting.fitting(json.loads(args.events)), works)
        for loops, text in zip(lengths, texts)
    ]
    before = strategy.counters()
    if before:
        measured.run(args.loops)
    after = strategy.counters()
    fired = [held.fire()]
    for _ in range(EXITS_WATCHED):
        measured.run(1)
        fired.append(held.fire())
    measured.close()
    counted = {"loops": args.loops, **{name: after[name] - before[name] for name in before}}
    reports = guest.run_oracle(gic=not args.no_gic, pmu=args.pmu)
    return {"windows": windows, "module": counted, "oracle": reports, "host": [*fired, held.fire()]}


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
