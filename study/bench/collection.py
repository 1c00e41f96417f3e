"""Rows on collecting: a visit beside a bare pyperf program, two boards side by side, and the rig beside its loops alone."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from study.bench.on_board import Samples
from study.bench.rows import PAIRS, Row, in_turns, ratio, seconds
from study.campaign import Campaign
from study.collect import boards, session
from study.collect.boards.emulated import EmulatedBoard
from study.collect.boards.link import Link
from study.collect.boards.rig import EmulatedRig
from study.design import Factors, choose, draw
from study.errors import StudyError

LINUX, RIG = "qemu-neoverse-n1", "rig-cortex-a57"
# Runs on the board, in one boot. A bare pyperf program's own start and end drop out: of two runs the difference is taken.
ON_BOARD = Path(__file__).with_name("on_board.py")
FEW, MANY = 2, 8
PLAN = {"loops": Factors().loops, "values": Factors().values, "warmups": Factors().warmups, "events": Factors().perf_events}


def rows_of_visits(say: Callable[[str], None]) -> list[Row]:
    """Measure what a visit takes."""
    say("visits beside a bare pyperf program, on one emulated board (6 minutes)")
    return visits(PAIRS)


def rows_of_boards(say: Callable[[str], None]) -> list[Row]:
    """Measure what boards side by side take."""
    say("two and four emulated boards side by side and one after the other (16 minutes)")
    return side_by_side(PAIRS)


def rows_of_a_rig(say: Callable[[str], None]) -> list[Row]:
    """Measure what a rig's campaign takes."""
    say("a rig's default campaign and its loops alone (5 minutes)")
    return [rig(PAIRS)]


def measured(pairs: int, plan: dict[str, Any] = PLAN) -> Samples:
    """Run the script of ON_BOARD on a freshly booted board, and return what it measured."""
    board = EmulatedBoard(LINUX, append='"STUDY_UNDER=sh -s"')
    request = json.dumps({**plan, "pairs": pairs, "few": FEW, "many": MANY})
    script = f"cat > /tmp/on_board.py <<'EOF'\n{ON_BOARD.read_text()}\nEOF\npython3 /tmp/on_board.py '{request}'; exit\n"
    with tempfile.TemporaryDirectory() as place:
        launch = board.launch(Path(place, "console.log"), ("stock",))
        with subprocess.Popen(launch.argv, cwd=launch.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin and process.stdout
            process.stdin.write(script)
            process.stdin.flush()  # and it stays open: a board whose line is closed stops listening
            said = process.stdout.read()
        try:
            return Samples(**json.loads(said))
        except (ValueError, TypeError):
            raise StudyError(f"the board did not run the comparison: {Path(place, 'console.log').read_text()[-300:]}") from None


def visits(pairs: int) -> list[Row]:
    """Return the rows on a visit: by itself, without what pyperf does not do, and by its spread between processes."""
    found = measured(pairs)
    bare = (f"a process of a bare pyperf program: ({MANY} - {FEW} processes) / {MANY - FEW}", found.bare)
    anew = ("the same program with the same counts, Python started anew", found.anew)
    whole = ("a visit of the kernel as it is: values, counts of two rows of events, the oracle", found.visit)
    module = ("such a visit through the module, with its counters: lazy and control-scan in turns", found.module)
    values = ("a visit that counts nothing", found.values_only)
    return [
        ratio("board time of a sample: ours / bare pyperf", 0.35, values, bare, "s of the board"),
        ratio("  with all that a visit counts / bare pyperf", 0.25, whole, bare, "s of the board"),
        ratio("  the same through the module / bare pyperf", 0.25, module, bare, "s of the board"),
        ratio("  with all that it counts / Python started anew", None, whole, anew, "s of the board"),
        spread(found.of_visits, found.of_bare),
    ]


def spread(ours: list[float], other: list[float], resamples: int = 2000) -> Row:
    """Return the row of the spread between processes: median absolute deviations of their medians, and a bootstrap's interval.

    Parameters
    ----------
    ours, other : list of float
        The median of each process's values.
    """

    def deviation(medians: np.ndarray[Any, Any]) -> Any:
        return np.median(np.abs(medians - np.median(medians, axis=-1, keepdims=True)), axis=-1)

    source = np.random.default_rng(1)
    drawn = [source.choice(np.asarray(each), (resamples, len(each))) for each in (ours, other)]
    low, high = np.quantile(deviation(drawn[0]) / np.maximum(deviation(drawn[1]), 1e-15), (0.025, 0.975))
    value = float(deviation(np.asarray(ours)) / deviation(np.asarray(other)))
    samples = {"unit": "s", "ours": ours, "other": other}
    what = "medians of visits", "medians of a bare pyperf program's processes"
    return Row("spread between processes: ours / bare pyperf", None, value, float(low), float(high), len(ours), *what, samples)


def side_by_side(pairs: int) -> list[Row]:
    """Return rows of two and of four equal boards that measure at the same time, after checking that none changes another's counts.

    The last row is what this machine makes of two cores at best: the same with a loop in Python instead of a board.

    Raises
    ------
    StudyError
        If a rig counts otherwise while another one runs.
    """
    factors = Factors(strategies=("stock",), guests=("untouched",), processes=2, boots=1)
    if not same_side_by_side():
        raise StudyError("rigs that run side by side count otherwise than alone")

    def beside(name: str, bound: float | None, took: Callable[[bool], float]) -> Row:
        ours, other = in_turns(lambda: took(True), lambda: took(False), pairs)
        return ratio(name, bound, ("at the same time", ours), ("in turn", other))

    return [
        beside("two boards: side by side / one after the other", 0.55, partial(_seconds, [LINUX] * 2, factors)),
        beside("four boards: at the same time / one after the other", 0.55, partial(_seconds, [LINUX] * 4, factors)),
        beside("  two loops in Python, on this machine", None, partial(_seconds_of_loops, 2)),
    ]


def same_side_by_side() -> bool:
    """Say whether two rigs, whose counts are exact, count the same side by side as one after the other."""
    rigs = [RIG, "rig-neoverse-n1"]
    return _counts(rigs, together=False) == _counts(rigs, together=True)


def _seconds(names: list[str], factors: Factors, together: bool) -> float:
    with tempfile.TemporaryDirectory() as place:
        return seconds(lambda: _collect(names, Path(place), factors, together))


def _seconds_of_loops(count: int, together: bool) -> float:
    command = [sys.executable, "-c", "for _ in range(3 * 10**7): pass"]
    with ThreadPoolExecutor(count if together else 1) as pool:
        return seconds(lambda: list(pool.map(lambda _: subprocess.run(command, check=True), range(count))))


def _counts(names: list[str], together: bool) -> list[Any]:
    with tempfile.TemporaryDirectory() as place:
        campaigns = _collect(names, Path(place), choose("quick", "rig", strategies="lazy,control-scan"), together)
        return [[record.line["rig"] for record in campaign.records()] for campaign in campaigns]


def _collect(names: list[str], place: Path, factors: Factors, together: bool) -> list[Campaign]:
    """Collect on some boards, each in a campaign of its own."""
    folders = [place / str(number) for number in range(len(names))]
    with redirect_stdout(StringIO()), ThreadPoolExecutor(len(names) if together else 1) as pool:
        list(pool.map(lambda name, folder: session.collect(name, folder, factors), names, folders))
    return [Campaign(folder) for folder in folders]


def rig(pairs: int, profile: str = "default") -> Row:
    """Return the row of a rig's campaign beside its measured loops alone: the same commands, piped into the emulator."""
    factors = choose(profile, "rig")
    commands = _commands(factors)

    def ours() -> float:
        return _seconds([RIG], factors, True)

    def alone() -> float:
        with tempfile.TemporaryDirectory() as place:
            launch = EmulatedRig(RIG).launch(Path(place, "console.log"), factors.strategies)
            started = time.perf_counter()
            with subprocess.Popen(launch.argv, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
                assert process.stdin
                process.stdin.write("".join(commands))
                process.stdin.flush()
                process.wait()
            return time.perf_counter() - started

    found = in_turns(ours, alone, pairs)
    round_trips = (len(commands) - 1) * factors.loops * (factors.values + factors.warmups)
    row = ratio(
        f"rig, {profile} campaign: all of it / its measured loops alone", 1.2,
        (f"study collect: {len(commands) - 1} visits", found[0]), ("its measure commands, piped into the emulator", found[1]),
    )  # fmt: skip
    row.samples["round trips per second"] = [round_trips / statistics.median(each) for each in found]  # type: ignore[index]
    return row


def _commands(factors: Factors) -> list[str]:
    """Return the lines with which a campaign has a rig measure, and the one that ends it, as the study writes them."""
    lines: list[str] = []

    class Overheard(Link):
        def ask(self, do: str, patience: float | None = None, **arguments: Any) -> dict[str, Any]:
            if do == "measure":
                lines.append(f"{launch.write(len(lines) + 1, do, arguments)}\n")
            return super().ask(do, patience, **arguments)

    board = boards.find(RIG)
    with tempfile.TemporaryDirectory() as place:
        launch = board.launch(Path(place, "console.log"), factors.strategies)
        with Overheard(RIG, launch) as link:
            board.describe(link, factors)
            lines.clear()
            for visit in draw(factors).visits():
                board.measure(link, visit, factors)
    return [*lines, f"{launch.farewell}\n"]
