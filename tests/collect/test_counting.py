"""How events are counted: by a real perf that stays; and, with a perf of few counters in its place, those that do not fit or count."""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from study.collect.onboard import BoardError, counting, fresh
from study.collect.onboard.counting import Tried
from study.collect.perfstat import counted
from study.design import Factors
from tests.collect.test_doctor import BIG_LITTLE, tree

# What counts like perf on a CPU with so many counters for each name of an event: those that are more take turns, and those that
# no counter can count are not supported.
FEW_COUNTERS = """#!{python}
import json, os, signal, sys
counters = json.loads('''{counters}''')
words = sys.argv[1:]
after = {{word: words[words.index(word) + 1] for word in ("-e", "--control", "--log-fd", "-t")}}
commands, acks = map(int, after["--control"].removeprefix("fd:").split(","))
events = after["-e"].split(",")
asked = [event.partition(":")[0] for event in events]
def end(*_):
    with open(int(after["--log-fd"]), "w") as out:
        for event, name in zip(events, asked):
            there = counters.get(name, len(events))
            value, running = ("1000", min(1, there / asked.count(name))) if there else ("<not supported>", 1)
            line = {{"thread": f"python3-{{after['-t']}}", "counter-value": value, "event": event, "pcnt-running": 100 * running}}
            print(json.dumps(line), file=out)
    os._exit(0)
signal.signal(signal.SIGINT, end)
while os.read(commands, 64):
    os.write(acks, b"ack\\n")
"""
Few = Callable[[dict[str, int]], None]


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Few]:
    """What puts a perf with so many counters in perf's place."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(counters: dict[str, int]) -> None:
        (tmp_path / "perf").write_text(FEW_COUNTERS.format(python=sys.executable, counters=json.dumps(counters)))
        (tmp_path / "perf").chmod(0o755)
        counting.tried.cache_clear()

    yield put
    counting.tried.cache_clear()


HARDWARE, TRACEPOINTS = Factors().perf_events


@pytest.mark.parametrize(
    ("counters", "split"),
    [
        ({}, [HARDWARE]),
        ({"instructions": 3}, [HARDWARE]),
        ({"instructions": 2}, [HARDWARE[:2], HARDWARE[2:]]),
        ({"instructions": 1}, [[HARDWARE[0]], [HARDWARE[1]], HARDWARE[2:]]),
        ({"instructions": 0}, [HARDWARE]),
        ({"instructions": 0, "cycles": 0}, [HARDWARE]),
    ],
    ids=["enough", "just enough", "two", "one", "none for instructions", "none at all"],
)
def test_a_row_is_split_until_each_event_counts_all_of_the_time(
    few: Few, counters: dict[str, int], split: list[list[str]]
) -> None:
    few(counters)
    assert counting.fitting([HARDWARE, TRACEPOINTS]) == [*split, TRACEPOINTS]
    for row in split:
        assert all(event.fits for event in counting.tried(tuple(row)))


def test_what_no_counter_counts_has_a_reason(few: Few) -> None:
    few({"cycles": 0})
    lost = [event for event in counting.tried(tuple(HARDWARE)) if event.why]
    assert lost == [Tried("cycles:kh", "not supported", 100.0)]


@pytest.mark.parametrize(
    ("cpu", "event", "asked"),
    [
        (3, "instructions:kh", "armv8_cortex_a78/inst_retired/kh"),
        (3, "cycles", "armv8_cortex_a78/cpu_cycles/"),
        (3, "br_retired:u", "armv8_cortex_a78/br_retired/u"),
        (3, "kvm:kvm_entry", "kvm:kvm_entry"),
        (0, "instructions:G", "armv8_cortex_a510/inst_retired/G"),
        (0, "cycles:kh", "cycles:kh"),
    ],
)
def test_an_event_is_asked_of_the_pmu_of_the_cpu_that_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: int, event: str, asked: str
) -> None:
    monkeypatch.setattr(counting, "measuring_cpu", lambda: cpu)
    assert counting.of_its_core(event, tree(tmp_path, BIG_LITTLE)) == asked


def test_where_all_cores_are_of_one_kind_events_are_perf_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "measuring_cpu", lambda: 3)
    alone = {name: text for name, text in BIG_LITTLE.items() if "a510" not in name}
    assert counting.of_its_core("instructions:kh", tree(tmp_path, alone)) == "instructions:kh"


def test_a_group_is_not_torn_apart(few: Few) -> None:
    few({"instructions": 1})
    group = ["{instructions:k", "instructions:u", "instructions:G}"]
    assert counting.fitting([group]) == [group]


def test_a_perf_of_another_kernel_is_one_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ubuntu's perf is a script; what it prints is of linux-tools-common, and goes on for ten lines."""
    (tmp_path / "perf").write_text("#!/bin/sh\necho 'WARNING: perf not found for kernel 6.8.0-45' >&2\nexit 2\n")
    (tmp_path / "perf").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    counting.tried.cache_clear()
    with pytest.raises(BoardError, match="^perf is not installed for the kernel that runs; install it with: "):
        counting.tried(("cycles",))
    counting.tried.cache_clear()


# --- a perf that stays ------------------------------------------------------------------------------------------------------

ROW = ("minor-faults:u",)  # of software, which machines without a PMU count too
PAGES = (100, 1000)


def touch(pages: int) -> None:
    """Touch pages that were not there, one fault each."""
    with mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for page in range(pages):
            memory[page * mmap.PAGESIZE] = 1


TOUCHES: list[Callable[[], object]] = [partial(touch, pages) for pages in PAGES]


def in_a_visit(*works: Callable[[], object]) -> tuple[int, str]:
    """Count in a process that is forked, as those of visits are."""

    def count() -> None:
        sys.stdout = os.fdopen(1, "w", closefd=False)  # in pytest it is another
        print(json.dumps(counting.count(ROW, works or TOUCHES)))

    return fresh.run("visit", count, 60)


def perfs(of: int) -> list[int]:
    """Return the processes of perf that a process has started."""
    children = Path(f"/proc/{of}/task/{of}/children").read_text().split()
    return [int(child) for child in children if Path(f"/proc/{child}/comm").read_text() == "perf\n"]


@pytest.fixture
def kept() -> Iterator[None]:
    """A perf that stays, which this process has started."""
    counting.keep([ROW])
    yield
    counting.let_go()
    fresh.settle()
    assert perfs(os.getpid()) == []


@pytest.mark.usefixtures("kept")
def test_one_perf_counts_the_windows_of_one_visit_after_the_other_as_one_of_their_own_does() -> None:
    (perf,) = perfs(os.getpid())
    alone = [counted(window)[0].value for window in counting._by_a_perf(ROW, TOUCHES, lambda: None)]
    for _ in range(3):
        counting.keep([ROW])
        status, said = in_a_visit()
        assert status == 0, said
        both = [counted(window)[0].value for window in json.loads(said)]
        assert both[1] - both[0] == pytest.approx(alone[1] - alone[0], abs=50) == pytest.approx(PAGES[1] - PAGES[0], abs=50)
        assert perfs(os.getpid()) == [perf]


@pytest.mark.usefixtures("kept")
def test_a_window_counts_nothing_of_who_waits_for_the_visit() -> None:
    status, said = in_a_visit(lambda: None)
    assert status == 0, said
    (count,) = counted(json.loads(said)[0])
    assert count.value < PAGES[0]


@pytest.mark.usefixtures("kept")
def test_a_perf_that_was_killed_between_visits_is_started_again() -> None:
    (perf,) = perfs(os.getpid())
    os.kill(perf, signal.SIGKILL)
    os.waitid(os.P_PID, perf, os.WEXITED | os.WNOWAIT)
    counting.keep([ROW])
    status, said = in_a_visit()
    assert (status, perfs(os.getpid()) != [perf]) == (0, True), said


@pytest.mark.usefixtures("kept")
def test_a_perf_that_is_killed_in_a_window_is_one_line() -> None:
    (perf,) = perfs(os.getpid())
    status, said = in_a_visit(lambda: os.kill(perf, signal.SIGKILL))
    assert (status, said) == (1, "perf stat did not answer while it counted minor-faults:u: it was silent\n")
    counting.keep([ROW])
    assert in_a_visit()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_perf_that_stays_ends_with_who_started_it(number: signal.Signals) -> None:
    program = (
        "import sys, time; from study.collect.onboard import counting; "
        f"counting.keep([{ROW!r}]); print('ready', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        (perf,) = perfs(process.pid)
        ended = os.pidfd_open(perf)
        process.send_signal(number)
    started = time.monotonic()
    while not select.select([ended], [], [], 1)[0]:
        assert time.monotonic() - started < 60
    os.close(ended)


@pytest.mark.parametrize(
    ("row", "stays"),
    [
        (HARDWARE, True),
        (("armv8_cortex_a78/inst_retired/kh", "r8"), True),
        (TRACEPOINTS, False),
        (("kvm:*",), False),
        (("instructions:kh", "kvm:kvm_exit"), False),
        (("mem:0x1000:x",), False),
        (("{instructions", "cycles}"), False),
    ],
)
def test_what_may_lengthen_an_exit_while_it_is_off_does_not_stay(row: tuple[str, ...], stays: bool) -> None:
    assert all(map(counting.MAY_STAY.fullmatch, row)) == stays
