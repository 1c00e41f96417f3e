"""On real boards: QEMU boots Debian's kernel, whose KVM runs guests, which perf counts and pyperf times."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pandas as pd
import pyperf
import pytest

from study import paths
from study.analyze import compare, frame
from study.campaign import Campaign
from study.collect import boards, session
from study.collect.boards import Launch, Link
from study.collect.boards.emulated import EmulatedBoard
from study.collect.boards.link import json_answer
from study.collect.onboard import counting, doctor
from study.collect.onboard import facts as onboard_facts
from study.collect.perfstat import counted, per_round_trip
from study.design import Factors, choose, draw
from study.errors import BadRequest, BoardFailed, MissingTool, StudyError
from study.factors import KVM, STRATEGIES, names
from study.kernels import archive, cache, image, module
from study.notebooks.parameters import END
from study.process import install
from study.process import run as run_program
from tests.collect.test_fleet import recorded, wait_for
from tests.conftest import BIN, BOARDS, refused, run, some

pytestmark = pytest.mark.board

# Small, but with every strategy, the floor that fails the oracle among them, and every kind of guest.
SMALL = ["--strategies", "stock,lazy,eager,control-scan,none", "--guests", "untouched,mde,one,touch"]
SMALL += ["--processes", "1", "--boots", "1", "--values", "2", "--warmups", "1", "--loops", "2000"]
KILLED_AFTER = 3  # visits, on the first board
# On the other, with two of these guests.
OTHER = [*SMALL, "--guests", "mde,touch"]

# One boot, in whose shell one program is run after the other: the timing by hand; the agent as nobody, and with a module that fits
# no kernel; the doctor; the agent as nobody who may count, but not read tracepoints, and after what that says was done. Each prints
# one line. Then the agent where KVM knows no interrupt controller; and perf where there are two kinds of core.
NOBODY = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); os.execvp(sys.argv[1], sys.argv[1:])"
ASKED = '{{"id": 1, "do": "facts", "with": {{"events": {events}, "strategies": ["{strategy}"]}}}}'
SHELL = f"""
python3 -m study.collect.onboard.bench --guest mde -p 2 -n 2 -w 1 --min-time 0.01 --quiet -o /tmp/o >/dev/null; tr -d '\\n' </tmp/o; echo
echo '{{stock}}' | python3 -c '{NOBODY}' python3 -m study.collect.onboard
base64 -d >/tmp/dbgswitch.ko <<END
{{stranger}}
END
echo '{{lazy}}' | STUDY_MODULE=/tmp/dbgswitch.ko python3 -m study.collect.onboard
python3 - <<END
import platform, time
from pathlib import Path
from study.collect.onboard import counting, doctor
start = time.process_time()
rows = doctor.examine(doctor.Board(Path("/"), 0, platform.release(), "vhe", (6, 4)))
print(len(rows), time.process_time() - start)
END
echo -1 >/proc/sys/kernel/perf_event_paranoid
echo '{{stock}}' | python3 -c '{NOBODY}' python3 -m study.collect.onboard
{counting.READABLE.replace("sudo ", "")}
echo '{{stock}}' | python3 -c '{NOBODY}' python3 -m study.collect.onboard
echo '{{stock}}' | python3 -c 'from study.collect.onboard import __main__ as agent, kvm; kvm.GICS.clear(); agent.main()'
python3 - <<END
from study.collect.onboard import counting
(own,) = counting.pmus(counting.Path("/"))
counting.pmus = lambda root: {{{{own: {{{{0}}}}, "armv8_cortex_a53": {{{{1, 2, 3}}}}}}}}
asked = {Factors().perf_events[0]}
print(*asked, *[event.event for event in counting.tried(tuple(asked)) if event.fits], *map(counting.of_its_core, asked))
END
exit
"""

TURNS = 9
# The same round trips, counted by a perf that stays and by one of their own, and by perf and as perf does.
TWICE = f"""
python3 - <<END
import json, os
from functools import partial
from study.collect.onboard import counting, facts, fresh, guest
rows, lengths = {Factors().perf_events}, (200, 2000)
counting.keep(rows)
breakpoints, watchpoints = facts.debug_registers()
def work():
    os.sched_setaffinity(0, {{facts.measuring_cpu()}})
    made = guest.Guest("touch", "hvc", breakpoints=breakpoints, watchpoints=watchpoints, gic=True, pmu=False)
    works = [partial(made.run, loops) for loops in lengths]
    made.run(lengths[1])
    hardware, tracepoints = rows
    ways = (lambda: counting.count(hardware, works)), (lambda: counting._by_a_perf(tuple(hardware), works, lambda: None))
    both = [way() for _ in range({TURNS}) for way in ways]
    traced = []
    by_perf = counting._by_a_perf(tuple(tracepoints), [lambda: traced.extend(counting.count(tracepoints, works[1:]))], lambda: None)
    found = [[{{"loops": loops, **window}} for loops, window in zip(lengths, windows)] for windows in (*both, counting.count(tracepoints, works))]
    found += [by_perf, traced]
    print(json.dumps(found))
print(fresh.run("twice", work, 60)[1], end="")
END
exit
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A small campaign on an emulated board. The command is killed after a few visits and run again."""
    folder = tmp_path_factory.mktemp("data") / "small"
    assert run("image").returncode == 0
    command = ["collect", "--campaign", folder, "--board", BOARDS[0], *SMALL]
    with subprocess.Popen([str(BIN / "study"), *map(str, command)], cwd=paths.ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: recorded(folder, BOARDS[0]) >= KILLED_AFTER)
        process.kill()
    done = run(*command)
    assert done.returncode == 0, done.stderr
    return Campaign(folder)


@pytest.fixture(scope="module")
def both(measured: Campaign, tmp_path_factory: pytest.TempPathFactory) -> list[Campaign]:
    """That campaign, and one on the other emulated board."""
    folder = tmp_path_factory.mktemp("data") / "other"
    done = run("collect", "--campaign", folder, "--board", BOARDS[1], *OTHER)
    assert done.returncode == 0, done.stderr
    return [measured, Campaign(folder)]


@pytest.fixture(scope="module")
def cells(both: list[Campaign]) -> pd.DataFrame:
    """Medians of both campaigns: a row for each board, strategy and guest, a column for each metric."""
    rows = pd.concat([compare.summarise(frame.tidy(campaign), campaign.baselines()) for campaign in both]).query("arm == 'main'")
    return rows.astype({"board": str, "guest": str}).pivot_table(
        index=["board", "strategy", "guest"], columns="metric", values="median", observed=True
    )


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """A line to one boot of a board, for questions of which none changes it."""
    board = boards.find(BOARDS[0])
    with Link(board.name, board.launch(tmp_path_factory.mktemp("linked") / "console.log", ("stock",))) as link:
        yield link


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the programs of SHELL print."""
    real = module.module(*_board_kernel()).read_bytes()
    stranger = real.replace(b"modversions aarch64", b"modversions sparc64")
    assert stranger != real
    stock, lazy = (ASKED.format(events=json.dumps(Factors().perf_events), strategy=name) for name in ("stock", "lazy"))
    script = SHELL.format(stock=stock, lazy=lazy, stranger=base64.encodebytes(stranger).decode())
    launch = EmulatedBoard(BOARDS[0], append='"STUDY_UNDER=sh -s"').launch(
        tmp_path_factory.mktemp("shell") / "console.log", ("stock",)
    )
    lines = typed(launch, script)
    assert len(lines) == 8, launch.console.read_text()
    return lines


def typed(launch: Launch, script: str) -> list[str]:
    """Return what a script prints in the shell of a board."""
    with subprocess.Popen(launch.argv, cwd=launch.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        process.stdin.write(script)
        process.stdin.flush()
        return process.stdout.read().splitlines()


def facts(tmp_path: Path, **how: object) -> dict[str, object]:
    """Boot a board in some way and ask what it is."""
    board = EmulatedBoard("qemu-neoverse-n1", **how)  # type: ignore[arg-type]
    with Link(board.name, board.launch(tmp_path / "console.log", ("stock",))) as link:
        return link.ask("facts", events=Factors().perf_events, strategies=["stock"])


def test_a_killed_campaign_loses_nothing_and_repeats_nothing(measured: Campaign) -> None:
    assert measured.verify() == []
    assert [record.line["visit"] for record in measured.records()] == [
        visit.name for visit in measured.design_of(BOARDS[0]).visits()
    ]
    assert [boot.name for boot in measured.boots()] == ["qemu-neoverse-n1.1", "qemu-neoverse-n1.1.2"]
    first = [record for record in measured.records() if record.boot == "qemu-neoverse-n1.1"]
    assert len(first) >= KILLED_AFTER


def test_the_other_board_is_measured_whole(both: list[Campaign]) -> None:
    _, other = both
    assert other.verify() == []
    assert [record.line["visit"] for record in other.records()] == [visit.name for visit in other.design_of(BOARDS[1]).visits()]
    assert [boot.name for boot in other.boots()] == ["qemu-cortex-a57.1"]


def test_no_emulator_outlives_a_killed_command(measured: Campaign) -> None:
    console = f"{measured.folder}/boots"
    folders = [_link(path) for path in Path("/proc").glob("[0-9]*/cwd")]
    assert str(Path.cwd()) in folders, "our own, or nothing was looked at"
    assert [folder for folder in folders if folder.startswith(console)] == []


def test_a_complete_campaign_is_not_measured_again(measured: Campaign) -> None:
    before = measured.digest()
    done = run("collect", "--campaign", measured.folder, "--board", BOARDS[0], *SMALL, env={"PATH": "/nowhere"})
    assert done.returncode == 0, done.stderr
    assert "nothing to measure" in done.stdout
    assert measured.digest() == before


def test_a_campaign_of_another_design_is_refused(measured: Campaign) -> None:
    words = refused(run("collect", "--campaign", measured.folder, "--board", BOARDS[0], *SMALL, "--seed", 9))
    assert "seed 1 not 9" in words


def test_a_boot_says_what_it_was(both: list[Campaign]) -> None:
    modes = {}
    for boot, known in [(boot, campaign.facts(boot)) for campaign in both for boot in campaign.boots()]:
        modes[known["board"]] = known["mode"]
        assert known["emulated"] is True
        assert (known["breakpoints"], known["watchpoints"]) == (6, 4)
        assert known["kernel"].startswith("6.1.")
        assert known["tools"].keys() == {"python", "pyperf", "perf"}
        assert {len(known["image_sha256"]), len(known["config_sha256"])} == {64}
        assert known["packages"]["python3-minimal"]
        assert "QEMU emulator" in known["emulator"]
        assert (boot / "console.log").stat().st_size > 0
    assert modes == {"qemu-neoverse-n1": "vhe", "qemu-cortex-a57": "nvhe"}


def test_the_guest_s_breakpoint_fires_under_every_strategy_but_none(both: list[Campaign]) -> None:
    fires = (0x5A50, 0xC6000022, 0xD6000062, 0x5A50)
    silent = (0x5A50, 0x5A50)
    for campaign in both:
        seen = {(record.line["cell"]["strategy"], tuple(record.line["checks"]["oracle"])) for record in campaign.records()}
        assert seen == {(name, fires if STRATEGIES[name].correct else silent) for name in names(STRATEGIES, KVM)}


def test_the_module_counts_what_each_strategy_says(cells: pd.DataFrame) -> None:
    # Per round trip: switches, traps taken. A trapped touch is an entry more.
    expected = {
        ("lazy", "untouched"): (0, 0), ("lazy", "mde"): (1, 0), ("lazy", "one"): (1, 0), ("lazy", "touch"): (1, 1),
        ("eager", "untouched"): (1, 0), ("eager", "mde"): (1, 0), ("eager", "one"): (1, 0), ("eager", "touch"): (1, 0),
        ("control-scan", "untouched"): (0, 0), ("control-scan", "mde"): (0, 0), ("control-scan", "one"): (1, 0),
        ("control-scan", "touch"): (0, 1), ("none", "untouched"): (0, 0), ("none", "mde"): (0, 0), ("none", "one"): (0, 0),
        ("none", "touch"): (0, 1),
    }  # fmt: skip
    for (board, strategy, guest), row in some(cells.drop("stock", level="strategy").iterrows(), len(expected) + 4 * 2):
        switches, traps = expected[strategy, guest]
        where = f"{board} {strategy} {guest}"
        assert row["module-switches"] == pytest.approx(switches, abs=0.01), where
        assert row["module-traps-taken"] == pytest.approx(traps, abs=0.01), where
        assert row["module-entries"] == pytest.approx(1 + traps, abs=0.01), where
        assert row["traps"] == pytest.approx(traps, abs=0.01), where
        assert row["exits"] == pytest.approx(1 + traps, abs=0.01), where


def test_perf_counts_every_exit_and_a_constant(both: list[Campaign]) -> None:
    more = [
        count.value - window["loops"]
        for campaign in both
        for record in campaign.records()
        if record.line["cell"]["guest"] != "touch"
        for window in record.line["windows"]
        for count in counted(window)
        if count.event == "kvm:kvm_exit"
    ]
    assert all(0 < constant <= 5 for constant in some(more, 2 * 6 * (3 + 1)))  # windows, arms, and guests of each board


@pytest.mark.parametrize("name", BOARDS)
def test_a_perf_that_stays_and_the_kernel_itself_count_as_a_perf_of_their_own_does(name: str, tmp_path: Path) -> None:
    launch = EmulatedBoard(name, append='"STUDY_UNDER=sh -s"').launch(tmp_path / "console.log", ("stock",))
    (line,) = typed(launch, TWICE)
    *both, traced, (by_perf,), (at_once,) = json.loads(line)
    assert {count.event: count.value for count in counted(by_perf)} == at_once["tracepoints"]
    assert [count.value for count in per_round_trip(traced)] == pytest.approx([2, 2, 1], abs=0.01)
    counts = [count for windows in both for count in per_round_trip(windows)]
    assert {(count.running, count.why) for count in counts} == {(1, "")}
    for event in Factors().perf_events[0]:
        values = [count.value for count in counts if count.event == event]
        kept, alone = (statistics.median(values[turn::2]) for turn in (0, 1))
        assert len(values) == 2 * TURNS
        assert kept == pytest.approx(alone, abs=3 + 0.01 * alone), event


def test_pyperf_and_perf_agree(cells: pd.DataFrame) -> None:
    counted = cells["instructions"] + cells["user-instructions"]
    assert len(cells) == 5 * (4 + 2)
    assert ((counted / cells["clock"] - 1).abs() < 0.03).all()
    assert ((cells["instructions"] / cells["clock"] - 1).abs() < 0.03).all()
    assert cells.xs("untouched", level="guest")["guest-instructions"].eq(6).all()


def test_an_emulated_board_reports_no_time(both: list[Campaign]) -> None:
    metrics = pd.concat([frame.tidy(campaign)[["metric", "unit"]] for campaign in both])
    assert "clock" in set(metrics["metric"])
    assert "time" not in set(metrics["metric"])
    assert "s" not in set(metrics["unit"])


def test_pyperf_reads_what_is_exported(measured: Campaign, tmp_path: Path) -> None:
    done = run("export", measured.folder, "--pyperf", tmp_path)
    assert done.returncode == 0, done.stderr
    names = [tmp_path / f"qemu-neoverse-n1-{strategy}.json" for strategy in ("lazy", "eager")]
    compared = run("-m", "pyperf", "compare_to", *names, "--table", program="python")
    assert compared.returncode == 0, compared.stderr
    assert "round trip untouched hvc" in compared.stdout
    assert not any(unit in compared.stdout for unit in (" us", " ns", " ms"))


def test_what_is_the_same_in_all_visits_is_written_once(measured: Campaign, tmp_path: Path) -> None:
    """pyperf's metadata, and intervals in which perf had nothing to count; an export has the metadata again, whole, in each run."""
    alike = {"python_version", "python_compiler", "platform", "hostname", "perf_version"}
    lines = some([record.line for record in measured.records()], 20)
    said = [line["pyperf"]["metadata"] for line in lines]
    assert not any(alike & metadata.keys() for metadata in said) and {"uptime", "visit"} <= said[0].keys()
    assert all(alike <= measured.facts(boot)["pyperf"].keys() for boot in measured.boots())
    texts = [window["perf"] for line in lines for window in line["windows"] if "perf" in window]
    intervals = [[json.loads(row) for row in text.splitlines() if '"interval"' in row] for text in texts]
    assert all(
        any(row["event-runtime"] for row in rows if row["interval"] == at)
        for rows in intervals
        for at in {row["interval"] for row in rows}
    )
    assert len(some([rows for rows in intervals if rows], 20)) == len(texts)
    assert run("export", measured.folder, "--pyperf", tmp_path).returncode == 0
    for path in some(tmp_path.glob("*.json"), 2):
        for benchmark in pyperf.BenchmarkSuite.load(str(path)):
            assert alike <= benchmark.get_metadata().keys() and benchmark.get_metadata()["python_version"].startswith("3.11.2")


def test_the_timing_is_a_pyperf_program(printed: list[str], tmp_path: Path) -> None:
    """Run by hand on a board, it calibrates, spawns workers, and writes a suite with metadata, as any pyperf program."""
    (tmp_path / "suite.json").write_text(printed[0])
    benchmark = pyperf.Benchmark.load(str(tmp_path / "suite.json"))
    assert (benchmark.get_name(), benchmark.get_nvalue(), benchmark.get_nrun()) == ("round trip mde hvc", 4, 3)
    assert benchmark.get_metadata().items() >= {"guest": "mde", "exit": "hvc", "gic": "True", "unit": "second"}.items()
    assert benchmark.get_total_loops() >= 4096
    assert benchmark.median() * 1e9 == pytest.approx(1537, rel=0.05)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (1, r"perf may not count here .kernel.perf_event_paranoid is 3.*sysctl"),
        (2, r"dbgswitch.ko cannot be loaded into kernel 6\.1\..*make module"),
        (4, "may not read .*tracepoints; run as root, .*: sudo mount -o remount,mode=755 /sys/kernel/tracing && sudo chmod"),
        (5, "/dev/kvm: Permission denied.*in the group kvm"),
        (6, "no interrupt controller: measure guests without one, with --no-gic .of make: GIC=no."),
    ],
    ids=[
        "forbids perf",
        "has a module for another kernel",
        "hides tracepoints",
        "lets perf count, but has KVM for others",
        "gives guests no GIC",
    ],
)
def test_a_board_is_refused_that(printed: list[str], question: int, words: str) -> None:
    answer = json_answer(printed[question].encode(), "")
    assert answer.keys() == {"id", "error"}
    assert re.search(words, answer["error"])


def test_to_examine_each_boot_is_cheap(printed: list[str]) -> None:
    """A board's second is 10^9 instructions, however busy this machine is: a tenth of it is emulated in less than half a second."""
    count, seconds = printed[3].split()
    assert int(count) == len(doctor.CHECKS)
    assert 0 < float(seconds) < 0.05, "two short sleeps, which are not in it, and little else"


def test_what_a_core_s_own_pmu_counts_has_perf_s_names(printed: list[str]) -> None:
    words, asked = printed[7].split(), Factors().perf_events[0]
    assert words[: 2 * len(asked)] == asked * 2
    assert words[2 * len(asked) :] == [
        f"armv8_pmuv3/{name}" for name in ("inst_retired/kh", "inst_retired/u", "inst_retired/G", "cpu_cycles/kh")
    ]


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("VHE mode initialized successfully", "vhe"),
        ("Hyp mode initialized successfully", "nvhe"),
        ("Hyp nVHE mode initialized successfully", "nvhe"),
        ("Hyp hVHE mode initialized successfully", "hvhe"),
        ("Protected nVHE mode initialized successfully", "protected"),
        ("Protected hVHE mode initialized successfully", "protected-hvhe"),
        ("VHE+NV2 mode initialized successfully", "vhe"),
        ("HYP mode not available", "unknown"),
    ],
)
def test_every_kernel_s_words_for_its_mode_are_read(said: str, mode: str) -> None:
    assert onboard_facts.mode(f"[    0.1] kvm [1]: vgic interrupt IRQ9\n[    0.2] kvm [1]: {said}\n") == mode


AT_EL2 = " 10:       1250          3     GICv3  26 Level     arch_timer\n 12:          0          0     GICv3  30 Level     kvm guest ptimer\n"
AT_EL1 = " 11:        125     GIC-0  30 Level     arch_timer\n 12:          0     GIC-0  27 Level     kvm guest vtimer\n"


@pytest.mark.parametrize(
    ("interrupts", "command_line", "mode"),
    [
        (AT_EL2, "console=ttyAMA0 kvm-arm.mode=protected", "vhe"),  # asked for, and not had: the timer is EL2's
        (AT_EL1, "root=/dev/vda1 quiet", "nvhe"),
        (AT_EL1, "kvm-arm.mode=protected", "protected"),
        (AT_EL1, "arm64_sw.hvhe=1", "hvhe"),
        (AT_EL1, "kvm-arm.mode=protected arm64_sw.hvhe=1", "protected-hvhe"),
        (AT_EL1.replace("30 Level     arch", "27 Level     arch"), "", "unknown"),  # a guest's own timer: no host of guests
        (" 9:  1  AIC2  65538 Edge  something", "", "unknown"),
    ],
)
def test_the_mode_is_known_without_the_kernel_s_log(interrupts: str, command_line: str, mode: str) -> None:
    assert onboard_facts.mode("[  99.9] usb 1-1: new device\n", interrupts, command_line) == mode


MODES = """
python3 - <<END
from pathlib import Path
from study.collect.onboard import facts
print(facts.kvm_mode(), facts.mode("", *(Path("/proc", name).read_text() for name in ("interrupts", "cmdline"))), sep="\\n")
print("CSV2" in facts.mitigations())
END
exit
"""


@pytest.mark.parametrize(("asked", "mode"), [("", "vhe"), ("kvm-arm.mode=protected", "protected"), ("kvm-arm.mode=nvhe", "nvhe")])
def test_log_and_timer_of_a_real_kernel_say_the_same_mode(tmp_path: Path, asked: str, mode: str) -> None:
    launch = EmulatedBoard("qemu-neoverse-n1", append=f'"STUDY_UNDER=sh -s" {asked}').launch(tmp_path / "c", ("stock",))
    with subprocess.Popen(launch.argv, cwd=launch.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        process.stdin.write(MODES)
        process.stdin.flush()
        assert process.stdout.read().split("\n") == [mode, mode, "True", ""]


def test_a_host_whose_pages_are_larger_is_measured_or_refused(tmp_path: Path) -> None:
    factors = choose("quick", strategies="stock,eager", guests="touch", loops=1000, values=2, warmups=1)
    board = EmulatedBoard("qemu-neoverse-n1")
    visits = {visit.cell.strategy: visit for visit in draw(factors).visits()}
    with Link(board.name, board.launch(tmp_path / "console.log", ("stock", "eager"), "6.12-16k")) as link:
        facts = board.describe(link, factors)
        said = [board.measure(link, visits[name], factors) for name in ("stock", "eager")]
    assert (facts["page_size"], facts["kernel"].endswith("-16k")) == (16384, True)
    assert all(line["checks"]["well"] for line in said)
    counts = [{count["event"]: count["value"] for count in line["counts"]} for line in said]
    assert counts[0]["instructions:kh"] > counts[1]["instructions:kh"] + 500, "only eager saves a guest that touches its trap"
    with pytest.raises(BadRequest, match="qemu-cortex-a57 has no pages of 16 KiB, which kernel 6.12-16k needs"):
        EmulatedBoard("qemu-cortex-a57").launch(tmp_path / "console.log", ("stock",), "6.12-16k")


def test_guests_have_a_gicv2_where_the_host_has_no_other(tmp_path: Path) -> None:
    board = EmulatedBoard("qemu-cortex-a57", machine="virt,virtualization=on,gic-version=2")
    cells = {"strategies": "stock", "guests": "mde", "loops": 1000, "values": 2, "warmups": 1}
    factors, without = choose("quick", **cells, exits="hvc,vgic"), choose("quick", **cells, gic=False)
    (hvc, vgic), (other,) = draw(factors).visits()[:2], draw(without).visits()[:1]
    hvc, vgic = sorted((hvc, vgic), key=lambda visit: visit.cell.exit)
    with Link(board.name, board.launch(tmp_path / "console.log", ("stock",))) as link:
        assert {row["check"]: row["found"] for row in board.doctor(link)}["interrupts of guests"].startswith(
            "guests have a GICv2"
        )
        assert board.describe(link, factors)["gic"] == 2
        assert board.describe(link, without)["gic"] == 0
        with pytest.raises(
            BoardFailed,
            match="exit wfx needs a GICv3, and guests have a GICv2 here: leave it out, as --exits hvc,sysreg,vgic,mmio does",
        ):
            board.describe(link, choose("quick", **cells, exits="hvc,wfx"))
        said = [board.measure(link, visit, of) for visit, of in ((hvc, factors), (vgic, factors), (other, without))]
    assert all(line["checks"]["well"] for line in said)
    costs = [count["value"] for line in said for count in line["counts"] if count["event"] == "instructions:kh"]
    assert costs[1] > costs[0] + 500, "the kernel emulates a read of the distributor"
    assert costs[2] > costs[0] + 200, "without it, every exit looks after the lines of user space"


def test_a_guest_without_gic_is_another_guest(linked: Link) -> None:
    how = {"chosen": "stock", "state": "untouched", "host": "none", "leave": "hvc", "loops": 1000, "values": 5, "warmups": 1}
    costs = {
        (gic, pmu): linked.ask("visit", gic=gic, pmu=pmu, events=[["instructions:kh"]], label={}, **how)["pyperf"]
        for gic, pmu in ((True, False), (False, False), (True, True))
    }
    each = {key: min(suite["benchmarks"][0]["runs"][0]["values"]) * 1e9 for key, suite in costs.items()}
    assert each[False, False] > each[True, False] + 200  # without it, every exit looks after the lines of user space
    assert each[True, True] > each[True, False]


def test_touching_less_often_costs_less_and_what_cannot_be_counted_is_data(linked: Link) -> None:
    how = {"chosen": "stock", "host": "none", "leave": "hvc", "gic": True, "pmu": False, "loops": 1000, "values": 1, "warmups": 1}
    events, traps, reasons = [["kvm:trap_reg"], ["stalled-cycles-frontend"]], {}, set()
    for every, state in ((1, "touch"), (20, "touch-20")):
        windows = linked.ask("visit", state=state, events=events, label={}, **how)["windows"]
        counts = [counted(window)[0] for window in windows]
        traps[every] = sorted(count.value for count in counts if count.event == "kvm:trap_reg")
        stalled = [count for count in counts if count.event.startswith("stalled-cycles-frontend")]
        reasons |= {count.why or ("zero" if count.value == 0 else "counted") for count in stalled}
    assert traps == {1: [100, 1000], 20: [5, 50]}
    assert reasons
    assert reasons <= {"not supported", "not counted", "zero"}


def test_more_events_than_there_are_counters_are_counted_in_turns_and_each_all_of_the_time(linked: Link) -> None:
    how = {"chosen": "stock", "state": "mde", "host": "none", "leave": "hvc", "gic": True, "pmu": False}
    many = [f"instructions:{modifiers}" for modifiers in ("k", "u", "h", "G", "H", "kh", "ku", "kG")]
    numbers = {"loops": 1000, "values": 1, "warmups": 1}
    windows = linked.ask("visit", events=[many, ["kvm:kvm_exit"]], label={}, **how, **numbers)["windows"]
    rows = [[count.event for count in counted(window)] for window in windows]
    assert rows[::2] == rows[1::2] == [many[:4], many[4:], ["kvm:kvm_exit"]]
    assert all(count.running == 1 and not count.why for window in windows for count in counted(window))
    assert linked.ask("facts", events=[many], strategies=["stock"])["events"] == [many[:4], many[4:]]


def test_a_board_that_panics_ends_in_one_line_with_its_console(tmp_path: Path) -> None:
    with pytest.raises(BoardFailed, match="it ended; its last words: .*Kernel panic") as error:
        facts(tmp_path, append="rdinit=/nowhere")
    assert "\n" not in str(error.value)
    assert "Kernel panic" in (tmp_path / "console.log").read_text()


def test_a_board_that_hangs_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(BoardFailed, match="silent for too long"):
        facts(tmp_path, append="rdinit=/usr/bin/python3.11", patience=8)


def test_the_module_is_the_same_wherever_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kbuild takes no path with a blank or a colon, neither of what it builds nor of the headers."""
    release, root = _board_kernel()
    usual, place = module.module(release, root), tmp_path / "a b: c"
    shutil.copytree(root, place / "headers", symlinks=True)
    monkeypatch.setenv("STUDY_CACHE", str(place / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    built = module.module(release, place / "headers")
    assert built.is_relative_to(place / "cache")
    assert built.read_bytes() == usual.read_bytes()
    assert sorted(path.name for path in place.iterdir()) == ["cache", "headers"]


@pytest.mark.parametrize("release", ["5.10.0-30-arm64", "6.14.0", "7.3.4+deb13-arm64"])
def test_a_kernel_without_a_dirty_bit_is_refused_by_saying_why(release: str) -> None:
    with pytest.raises(StudyError, match=f"kernel {re.escape(release)} keeps no dirty bit.*strategies=stock"):
        module.module(release)


@pytest.mark.parametrize("version", ["6, 0, 0", "6, 14, 0"])
def test_the_module_s_source_refuses_other_kernels(tmp_path: Path, version: str) -> None:
    source = (paths.MODULE / "dbgswitch.c").read_text()
    refusal = source[source.index("#if LINUX_VERSION_CODE") : source.index("#endif")] + "#endif\n"
    macros = "#define KERNEL_VERSION(a, b, c) ((a) * 65536 + (b) * 256 + (c))\n"
    (tmp_path / "x.c").write_text(f"{macros}#define LINUX_VERSION_CODE KERNEL_VERSION({version})\n{refusal}")
    with pytest.raises(StudyError, match="dbgswitch needs a kernel from 6.1 to 6.13"):
        run_program([module.cross("gcc"), "-fsyntax-only", tmp_path / "x.c"])


def test_missing_headers_are_said_with_the_command_that_installs_them() -> None:
    with pytest.raises(StudyError, match="no headers of kernel 6.9.9 .*apt-get install linux-headers-6.9.9"):
        module.module("6.9.9")


def test_the_local_board_needs_an_arm64_machine(tmp_path: Path) -> None:
    assert platform.machine() != "aarch64", "on an arm64 machine, run: study collect --board local --profile quick"
    words = refused(run("collect", "--board", "local", "--campaign", tmp_path / "c"))
    assert "not arm64; measure an emulated board" in words


def test_the_local_board_runs_the_agent_of_the_emulated_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine it gets as far as its first question: perf."""
    guest = image.payload()
    monkeypatch.setattr("study.collect.boards.local.payload", lambda: guest)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    launch = boards.find("local").launch(tmp_path / "console.log", ("stock",))
    without_perf = dataclasses.replace(launch, env={**launch.env, "PATH": "/nowhere"})
    with Link("local", without_perf) as link, pytest.raises(BoardFailed) as error:
        link.ask("facts", events=Factors().perf_events, strategies=["stock"])
    assert str(error.value) == "local: perf is not installed; install it with: sudo apt-get install linux-perf"


ANSWER = "import json, sys; input(); print(json.dumps({'id': 1, 'result': json.load(open(sys.argv[1]))}))"


def test_a_board_with_another_kernel_is_another_campaign(
    measured: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board answers with what it said of an earlier boot."""
    shutil.copytree(measured.folder, tmp_path / "c")
    boot = tmp_path / "c/boots/qemu-neoverse-n1.1"
    said = shutil.copy(boot / "boot.json", tmp_path)
    (boot / "boot.json").write_text((boot / "boot.json").read_text().replace('"kernel": "6.1.', '"kernel": "6.0.'))
    (boot / "visits.jsonl").write_text("")
    (tmp_path / "c/SHA256SUMS").unlink()
    argv = [sys.executable, "-c", ANSWER, str(said)]
    monkeypatch.setattr(EmulatedBoard, "launch", lambda self, console, *_: Launch(argv, cwd=console.parent, console=console))
    with pytest.raises(BoardFailed, match="has kernel 6.1.*has visits of it with 6.0.*that is another campaign"):
        session.collect("qemu-neoverse-n1", tmp_path / "c", measured.design_of(BOARDS[0]).factors)


def test_no_qemu_is_said_with_the_command_that_installs_it(tmp_path: Path) -> None:
    words = refused(run("collect", "--campaign", tmp_path / "c", "--profile", "quick", env={"PATH": "/nowhere"}))
    assert "qemu-system-aarch64 is not installed; install it with: sudo apt-get install qemu-system-arm" in words
    left = Campaign(tmp_path / "c")
    assert left.boots() == []
    assert left.missing(BOARDS[0]) == left.asked(BOARDS[0]) != []


def test_what_is_built_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    place = image.image()
    monkeypatch.setenv("PATH", f"{Path(shutil.which('dpkg') or '/usr/bin/dpkg').parent}")
    monkeypatch.setattr(module, "run", lambda argv, **_: "amd64" if argv[0] == "dpkg" else pytest.fail(f"ran {argv}"))
    assert image.image() == place


def test_python_on_a_board_compiles_nothing() -> None:
    """A compiled module that is not compared with its source says so in its second word (PEP 552)."""
    for path in some((image.user_space() / "root/usr/lib").rglob("*.pyc"), 500):
        assert path.read_bytes()[4:8] == bytes([1, 0, 0, 0]), path


def test_what_is_built_is_the_same_for_a_user_whose_files_nobody_else_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_it(place: Path) -> None:
        (place / "a/b").mkdir(parents=True)
        (place / "a/b/c").write_text("")

    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    mask = os.umask(0o077)
    try:
        built = cache.cached("x", "recipe", build_it)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(mask)
    modes = [path.stat().st_mode & 0o777 for path in (built, built / "a", built / "a/b", built / "a/b/c")]
    assert modes == [0o755, 0o755, 0o755, 0o644]


def test_a_missing_tool_names_its_package() -> None:
    assert (
        str(MissingTool("perf", install("linux-perf")))
        == "perf is not installed; install it with: sudo apt-get install linux-perf"
    )


def test_the_guest_s_numbers_are_finite(both: list[Campaign]) -> None:
    values = pd.concat([frame.tidy(campaign) for campaign in both])
    # Where there is nothing to count, a difference of two windows misses zero: Python's own instructions between switching
    # the counters on and off vary by some thousand, over 1800 round trips.
    assert all(math.isfinite(value) and value > -4 for value in some(values["value"], 6 * (4 + 2) * 2))


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # it has ended meanwhile, or is somebody else's
        return ""


def _board_kernel() -> tuple[str, Path]:
    base = archive.kernel(archive.KERNEL)
    return json.loads((base / "versions.json").read_text())["release"], base / "headers"


def test_papermill_measures_with_the_notebook_alone(measured: Campaign, tmp_path: Path) -> None:
    options = {name.removeprefix("--"): value for name, value in zip(SMALL[::2], SMALL[1::2], strict=True)}
    given = [word for name, value in options.items() for word in ("-p", name, value)]
    out = tmp_path / "out.ipynb"
    done = run(paths.NOTEBOOKS / "collect.ipynb", out, "-p", "campaign", measured.folder, *given, program="papermill")
    assert done.returncode == 0, done.stderr
    text = json.dumps(nbformat.read(out, as_version=4))
    assert "nothing to measure" in text
    assert END in text
