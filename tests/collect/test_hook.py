"""The pyperf hook perf_stat: real pyperf, real perf."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyperf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.collect.onboard import BoardError
from study.collect.onboard.hook import CALLS, EVENTS, PREFIX, VARIABLE, describe
from tests.conftest import run

HEADER = "ERROR setting up hook 'perf_stat':"
INHERIT = f"--inherit-environ={VARIABLE}"
WORKER = ("--worker", "--loops=1", "--warmups=1", "--values=1")  # what pyperf's main process starts


def hooked(command: str, *words: object, events: str = "page-faults", **env: str) -> subprocess.CompletedProcess[str]:
    words = ("-m", "pyperf", command, "--hook", "perf_stat", "--quiet", *words)
    return run(*words, program="python", env={VARIABLE: events, **env})


def measured(tmp_path: Path, *words: object, command: str = "timeit", events: str = "page-faults") -> list[pyperf.Run]:
    """Return pyperf's runs, calibrations included."""
    out = tmp_path / "out.json"
    out.unlink(missing_ok=True)
    done = hooked(command, INHERIT, "-o", out, *words, events=events)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    runs: list[pyperf.Run] = pyperf.Benchmark.load(str(out)).get_runs()
    return runs


def counters(run: pyperf.Run) -> dict[str, Any]:
    """Return what was counted; perf adds :u to the name of an event of which this user may count user space alone."""
    return {name.replace(":u", ""): value for name, value in run.get_metadata().items() if name.startswith(PREFIX)}


def may_count_the_kernel() -> bool:
    return os.getuid() == 0 or int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) < 2


def touching(pages: int) -> tuple[str, ...]:
    """Return a statement for timeit that touches new pages of memory, each time that it is run."""
    return "-s", "import mmap", f"with mmap.mmap(-1, {pages} * mmap.PAGESIZE) as new: new[:: mmap.PAGESIZE] = bytes({pages})"


def faults(run: pyperf.Run) -> float:
    """Return page faults per iteration."""
    return float(counters(run)[PREFIX + "page-faults"] / counters(run)[CALLS] / run.get_total_loops())


# --- what is counted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pages", [500, 1000])
def test_each_run_counts_the_work_of_its_values(tmp_path: Path, pages: int) -> None:
    runs = measured(tmp_path, "-p2", "-n3", "-w1", "-l4", *touching(pages))
    assert [counters(run)[CALLS] for run in runs] == [3, 3]
    assert [faults(run) for run in runs] == pytest.approx([pages, pages], rel=0.02)


@pytest.mark.parametrize("warmups", [0, 20])
def test_warm_ups_are_not_counted(tmp_path: Path, warmups: int) -> None:
    (only,) = measured(tmp_path, "-p1", "-n2", f"-w{warmups}", "-l1", *touching(500))
    assert len(only.warmups) == warmups
    assert counters(only)[CALLS] == 2
    assert faults(only) == pytest.approx(500, rel=0.02)


def test_calibrations_hold_no_counts(tmp_path: Path) -> None:
    first, *others, last = measured(tmp_path, "-p1", "-n2", "-w1", "--min-time=0.001", *touching(500))
    assert not any(counters(run) for run in (first, *others))
    assert not first.values
    assert faults(last) == pytest.approx(500, rel=0.02)


def test_threads_and_processes_that_a_call_starts_are_counted(tmp_path: Path) -> None:
    work = touching(500)[-1]
    within = f"import mmap, threading\ndef work():\n    {work}"
    thread = "t = threading.Thread(target=work); t.start(); t.join()"
    (only,) = measured(tmp_path, "-p1", "-n2", "-w1", "-l2", "-s", within, thread)
    assert 500 <= faults(only) < 600
    process = "import os; pid = os.fork() or (work(), os._exit(0)); os.waitpid(pid, 0)"
    (only,) = measured(tmp_path, "-p1", "-n2", "-w1", "-l2", "-s", within, process)
    assert 500 <= faults(only) < 2000


def test_of_a_command_its_last_value_is_counted(tmp_path: Path) -> None:
    """Not the Python that starts it, which alone has thousands of page faults."""
    (only,) = measured(tmp_path, "-p1", "-n2", "-w1", "-l1", "/bin/true", command="command")
    assert counters(only)[CALLS] == 1
    assert 10 < faults(only) < 500


def test_a_calibration_of_a_command_holds_no_counts(tmp_path: Path) -> None:
    first, *_, last = measured(tmp_path, "-p1", "-n1", "-w1", "--min-time=0.001", "/bin/true", command="command")
    assert not counters(first)
    assert counters(last)[CALLS] == 1


def test_switching_is_within_the_count_and_small(tmp_path: Path) -> None:
    (only,) = measured(tmp_path, "-p1", "-n50", "-w0", "-l1", "pass", events="task-clock,context-switches,page-faults")
    assert counters(only)[PREFIX + "task-clock_unit"] == "msec"
    assert 0 < counters(only)[PREFIX + "task-clock"] / 50 < 1
    least, most = (50, 500) if may_count_the_kernel() else (0, 1)  # it is the kernel that switches
    assert least <= counters(only)[PREFIX + "context-switches"] < most
    assert faults(only) < 20


def test_thousands_of_values_do_not_stop_perf(tmp_path: Path) -> None:
    """Perf says a line per command: more than a pipe holds."""
    (only,) = measured(tmp_path, "-p1", "-n4000", "-w0", "-l1", "pass")
    assert counters(only)[CALLS] == len(only.values) == 4000


# --- events ---------------------------------------------------------------------------------------------------------------


def test_without_a_choice_the_default_events_are_counted_or_said(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert hooked("timeit", "-p1", "-n1", "-w0", "-l1", "-o", out, "sum(range(9999))").returncode == 0  # pyperf hides the choice
    told = counters(pyperf.Benchmark.load(str(out)).get_runs()[0])
    assert {PREFIX + event for event in EVENTS.split(",")} <= set(told)
    assert told[PREFIX + "task-clock"] > 0


def test_what_the_machine_cannot_count_is_said_and_is_not_zero(tmp_path: Path) -> None:
    direct = subprocess.run(["perf", "stat", "-j", "-e", "instructions", "true"], capture_output=True, text=True, check=True)
    says = json.loads(direct.stderr.strip().splitlines()[0])["counter-value"]
    (only,) = measured(tmp_path, "-p1", "-n1", "-w0", "-l1", "sum(range(9999))", events="page-faults,instructions")
    value = counters(only)[PREFIX + "instructions"]
    assert value == says.strip("<>") if says.startswith("<") else value > 9999


def test_counts_survive_in_what_pyperf_shows(tmp_path: Path) -> None:
    measured(tmp_path, "-p2", "-n3", "-w1", "-l2", *touching(500))
    shown = run("-m", "pyperf", "show", "--metadata", tmp_path / "out.json", program="python").stdout
    assert "hooks: perf_stat" in shown
    assert f"{CALLS}: 3" in shown  # the same in all runs, therefore of the benchmark
    dumped = run("-m", "pyperf", "dump", "-v", tmp_path / "out.json", program="python").stdout
    assert re.search(f"{PREFIX}page-faults(:u)?: 3", dumped + shown)  # 3000 and a few


# --- refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "path", "says"),
    [
        (
            "page-faults,no-such-event",
            None,
            "perf stat cannot count page-faults,no-such-event: .*no-such-event' .*'perf list' .*",
        ),
        ("page-faults", "/nowhere", "perf is not installed; .*sudo apt-get install linux-perf$"),
    ],
)
def test_a_refusal_is_one_line(events: str, path: str | None, says: str) -> None:
    env = {"PATH": path} if path else {}
    done = hooked("timeit", *WORKER, "pass", events=events, **env)
    assert done.returncode == 1
    header, line = done.stderr.splitlines()
    assert header == HEADER
    assert re.fullmatch(says, line), line
    # pyperf's main process shows it first, and adds how it noticed
    done = hooked("timeit", INHERIT, "-p1", "-n1", "-w1", "-l1", "pass", events=events, **env)
    assert done.returncode == 1
    assert done.stderr.splitlines()[:2] == [header, line]
    assert "hook.py" not in done.stderr + done.stdout


def test_what_the_kernel_forbids_is_a_line_that_says_how_to_allow_it() -> None:
    level = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    command = [*powerless, sys.executable, "-m", "pyperf", "timeit", *WORKER, "--hook", "perf_stat", "pass"]
    done = subprocess.run(command, env={**os.environ, VARIABLE: "page-faults:k"}, capture_output=True, text=True, check=False)
    if level < 2:  # then everyone may count the kernel's events
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        HEADER,
        f"perf may not count here (kernel.perf_event_paranoid is {level}); run as root, "
        "or allow it with: sudo sysctl kernel.perf_event_paranoid=-1",
    ]


# --- ends -----------------------------------------------------------------------------------------------------------------

CHILDREN = (
    "from pathlib import Path; children = lambda: Path('/proc/self/task', str(os.getpid()), 'children').read_text().split()"
)


def test_perf_that_dies_meanwhile_is_one_line() -> None:
    done = hooked("timeit", *WORKER, "-s", f"import os; {CHILDREN}", "for pid in children(): os.kill(int(pid), 9)")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "ERROR in hook 'perf_stat': perf stat did not answer while it counted page-faults: it was silent"
    ]


def test_a_benchmark_that_fails_says_its_own_error() -> None:
    done = hooked("timeit", *WORKER, "-s", "import os", "os.stat('/nowhere')")
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
    assert "perf" not in re.sub("pyperf", "", done.stderr)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_ended_leaves_no_perf_and_no_file(tmp_path: Path, end: signal.Signals) -> None:
    mine = ["-s", f"import os, time; {CHILDREN}", "print(*children(), flush=True); time.sleep(9999)"]
    command = [sys.executable, "-m", "pyperf", "timeit", *WORKER, "--hook", "perf_stat", *mine]
    env = {**os.environ, VARIABLE: "page-faults", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
        assert worker.stdout is not None
        (pid,) = worker.stdout.readline().split()
        perf = Path("/proc", pid)
        assert (perf / "comm").read_text().startswith("perf")
        worker.send_signal(end)
    patience = time.monotonic() + 120
    while alive(perf):
        assert time.monotonic() < patience, "perf outlives the worker"
        time.sleep(0.05)
    assert not list(tmp_path.iterdir())


def alive(process: Path) -> bool:
    """Tell whether a process runs; a zombie that waits for its parent does not."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- perf's text and a run's metadata -------------------------------------------------------------------------------------

EVENT = st.from_regex(r"[a-z][a-z-]{0,12}(:[uk])?", fullmatch=True).filter(lambda name: name != "calls")
COUNTS = st.integers(0, 2**50)


@st.composite
def items(draw: st.DrawFn) -> dict[str, object]:
    """Draw what perf says of an event, in its order and its types."""
    unit, count = draw(st.sampled_from([("", st.just("")), ("msec", st.just(".5"))]))
    value = draw(st.one_of(COUNTS.map(lambda n: f"{n}.000000"), st.sampled_from(["<not supported>", "<not counted>"])))
    return {
        "counter-value": value.replace(".000000", draw(count) + "00000") if unit else value,
        "unit": unit,
        "event": draw(EVENT),
        "event-runtime": draw(COUNTS),
        "pcnt-running": draw(st.sampled_from([100.0, 100.0, 61.25, 0.5])),
        "metric-value": 0.0,
        "metric-unit": "",
    }


@given(st.lists(items(), unique_by=lambda item: item["event"]), st.integers(1, 1000))
def test_every_event_is_said_once_and_as_perf_says_it(said: list[dict[str, object]], calls: int) -> None:
    text = "# started on a day\n\n" + "".join(json.dumps(item) + "\n" for item in said)
    told = describe(text + '{"metric-value" : 1.0, "metric-unit" : "derived"}\n', calls)
    stored = pyperf.Run([1.0], metadata=told, collect_metadata=False).get_metadata()
    assert stored == told  # pyperf keeps every one as it is
    assert told.pop(CALLS) == calls
    for item in said:
        name, word = f"{PREFIX}{item['event']}", str(item["counter-value"])
        value = told.pop(name)
        if word.startswith("<"):
            assert f"<{value}>" == word
            continue
        assert value == float(word)
        assert isinstance(value, int) == word.endswith(".000000")
        assert told.pop(f"{name}_unit", "") == item["unit"]
        assert told.pop(f"{name}_running_pct", 100) == item["pcnt-running"]
    assert not told


def test_what_perf_does_not_print_is_refused() -> None:
    with pytest.raises(BoardError, match="not a line of perf stat -j: .*torn"):
        describe('{"counter-value" : "1.0", "torn', 1)
