"""Receipts of real emulated boards: exact, by name, for each exit and mode; and what cannot be traced."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study import paths
from study.analyze import predicted, receipts
from study.campaign import Campaign
from study.campaign.store import RECEIPTS
from study.design import Factors
from study.factors import of_series
from tests.conftest import BIN, BOARDS, refused, run, some

pytestmark = pytest.mark.board

N1, A57 = "qemu-neoverse-n1", "qemu-cortex-a57"
# What is traced: each exit, a module, a guest with a period, both modes, the first kernel and the last one.
FACTORS = Factors(
    strategies=("stock", "lazy"), guests=("untouched", "mde", "touch-20"), exits=("hvc", "sysreg", "wfx", "vgic", "mmio"), boots=3,
    kernels=("6.1", "7.3:stock"),
)  # fmt: skip
ASKED = {
    N1: ["kernel=6.1 guest=untouched strategy=stock", "kernel=6.1 exit=hvc", "exit=hvc,mmio guest=mde strategy=stock",
         "kernel=7.3 exit=hvc guest=untouched,touch-20"],
    A57: ["kernel=6.1 exit=hvc guest=untouched,mde", "kernel=7.3 exit=hvc guest=untouched,mde"],
}  # fmt: skip
# Breakpoints, watchpoints and MDCCINT_EL1 of both CPUs: two registers each of six and four, and one.
REGISTERS = 2 * (6 + 4) + 1
DEBUG = re.compile(r"dbg[bw][cv]r\d+_el1|mdccint_el1")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A campaign of receipts alone, made by the command."""
    folder = tmp_path_factory.mktemp("receipts") / "c"
    Campaign.freeze(folder, FACTORS)
    for board, asked in ASKED.items():
        for cells in asked:
            done = run("trace", folder, "--board", board, "--cells", cells)
            assert done.returncode == 0, done.stderr
    return Campaign(folder)


@pytest.fixture(scope="module")
def lines(traced: Campaign) -> dict[tuple[str, ...], dict[str, Any]]:
    """Its receipts by board, series of the kernel, strategy, guest and exit."""
    return {
        (record.facts["board"], ".".join(record.facts["kernel"].split(".")[:2]), *(record.line["cell"][name] for name in ("strategy", "guest", "exit"))): record.line
        for record in traced.receipts()
    }  # fmt: skip


def of(line: dict[str, Any], column: str) -> Counter[str]:
    """Return a column of a receipt, by function: what the compiler made of one function's name is cut off."""
    found = Counter[str]()
    for row in line["functions"]:
        found[row["function"].removeprefix("__kvm_nvhe_").partition(".")[0]] += row[column]
    return found


def test_every_receipt_is_what_the_clock_says(lines: dict[tuple[str, ...], dict[str, Any]]) -> None:
    exits = Counter(key[-1] for key in lines)
    assert len(lines) >= 20 and exits.keys() == set(FACTORS.exits), exits
    for key, line in lines.items():
        apart = line["instructions"] - line["clock"]["instructions"]
        random = 4 * (line["usual"]["error"] + line["clock"]["error"]) if key[-1] == "mmio" else 0.5
        assert abs(apart) <= random + 0.5, (key, apart)
        assert all(row["module"] != "unknown" for row in line["functions"]), key
        assert sum(line["stacks"].values()) == pytest.approx(line["instructions"], abs=0.01), key


@pytest.mark.parametrize(("board", "kernel"), [(N1, "6.1"), (N1, "7.3"), (A57, "6.1"), (A57, "7.3")])
def test_what_monitor_mode_costs_is_told_by_function_and_register(
    lines: dict[tuple[str, ...], dict[str, Any]], board: str, kernel: str
) -> None:
    mde, untouched = (lines[board, kernel, "stock", guest, "hvc"] for guest in ("mde", "untouched"))
    more = of(mde, "instructions")
    more.subtract(of(untouched, "instructions"))
    assert sum(more.values()) == pytest.approx(mde["clock"]["instructions"] - untouched["clock"]["instructions"], abs=2)
    assert {"__debug_save_state", "__debug_restore_state"} <= set(+more)
    assert more["__debug_save_state"] + more["__debug_restore_state"] > 0.8 * sum(more.values())
    accesses = Counter[str]()
    for line, sign in ((mde, 1), (untouched, -1)):
        for row in line["functions"]:
            for name, times in row["registers"].items():
                accesses[name] += sign * sum(times) * bool(DEBUG.fullmatch(name))
    saved = {name: times for name, times in accesses.items() if times}
    assert len(saved) == REGISTERS and set(saved.values()) <= {4}, saved
    assert sum(saved.values()) == 4 * REGISTERS


def test_what_a_generation_added_is_told_by_function(lines: dict[tuple[str, ...], dict[str, Any]]) -> None:
    before, after = (lines[N1, kernel, "stock", "untouched", "hvc"] for kernel in ("6.1", "7.3"))
    more = of(after, "instructions")
    more.subtract(of(before, "instructions"))
    assert sum(more.values()) == pytest.approx(after["clock"]["instructions"] - before["clock"]["instructions"], abs=2)
    assert sum(more.values()) > 400 and more["kvm_vgic_flush_hwstate"] > 100, more.most_common(5)


def test_modules_and_modes_are_named(lines: dict[tuple[str, ...], dict[str, Any]]) -> None:
    lazy = lines[N1, "6.1", "lazy", "untouched", "hvc"]
    assert sum(row["instructions"] for row in lazy["functions"] if row["module"] == "dbgswitch") > 20
    nvhe = lines[A57, "6.1", "stock", "untouched", "hvc"]
    assert sum(row["function"].startswith("__kvm_nvhe_") for row in nvhe["functions"]) > 10
    mmio = lines[N1, "6.1", "stock", "untouched", "mmio"]
    assert {"python3.11", "libc.so.6"} <= {row["function"] for row in mmio["functions"] if row["module"] == "user"}
    assert len(mmio["trips"]) > 1, "the kernel's random stack makes round trips differ, and that is shown"


def test_an_hvc_round_trip_is_one_trap_and_two_without_vhe_and_a_touch_is_as_many_more(traced: Campaign) -> None:
    found = predicted.events(receipts.functions(receipts.frame(traced)))
    met = Counter[str]()
    for row in found.itertuples():
        touches = 1 / 20 if row.guest == "touch-20" and of_series(row.kernel, "6.1") else 0.0
        assert row.traps == pytest.approx({"vhe": 1, "nvhe": 2}[row.mode] * (1 + touches)), row
        met[row.mode] += 1
        met["touches"] += bool(touches)
    assert met["vhe"] >= 6 and met["nvhe"] >= 5 and met["touches"] >= 2, met
    kinds = Counter(row["kind"] for row in json.loads(run("predict", traced.folder, "--json").stdout))
    assert kinds["round-trip"] >= 40 and kinds["check"] >= 6, kinds


def test_a_guest_with_a_period_is_the_mean_of_its_period(lines: dict[tuple[str, ...], dict[str, Any]]) -> None:
    line = lines[N1, "6.1", "stock", "touch-20", "hvc"]
    assert line["period"] == 20 and len(line["trips"]) >= 3
    guest = next(row for row in line["functions"] if row["module"] == "guest")
    assert (guest["instructions"], guest["writes"]) == (pytest.approx(6 + 3 / 20), pytest.approx(1 / 20))


def test_receipts_that_are_there_are_not_made_again(traced: Campaign) -> None:
    done = run("trace", traced.folder, "--board", N1, "--cells", ASKED[N1][0])
    assert done.returncode == 0 and "nothing to make" in done.stdout
    assert traced.verify() == []
    shown = run("verify", traced.folder)
    assert "no visit" in shown.stderr and shown.returncode == 1, "receipts alone are no measurement"


def test_boards_that_have_no_such_cell_are_passed_over(tmp_path: Path) -> None:
    """In the shipped campaign rigs have none of Debian's kernels; those that have the cell have its receipt, so that nothing starts."""
    shutil.copytree(paths.DATA / "reference", tmp_path / "c")
    done = run("trace", tmp_path / "c", "--cells", "exit=hvc host=none guest=untouched kernel=6.1 strategy=stock")
    assert done.stdout.splitlines() == [f"c: all 1 receipts of {name} are there, nothing to make" for name in sorted(BOARDS)]
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("board", "says"),
    [
        ("ssh:nowhere", "only an emulator sees every instruction"),
        ("qemu-cortex-a57", "no cell of qemu-cortex-a57 is such"),
        ("x", "is unknown"),
    ],
)
def test_what_cannot_be_traced_is_one_line(tmp_path: Path, board: str, says: str) -> None:
    Campaign.freeze(tmp_path / "c", Factors(strategies=("stock",), guests=("untouched",), boots=3))
    assert says in refused(
        run("trace", tmp_path / "c", "--board", board, "--cells", "guest=mde" if board.startswith("qemu") else "")
    )


def test_a_killed_command_leaves_whole_receipts_and_the_next_one_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    Campaign.freeze(folder, FACTORS)
    command = [BIN / "study", "trace", folder, "--board", N1, "--cells", "kernel=6.1 exit=hvc strategy=stock"]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        while not (found := list(folder.glob(f"boots/*/{RECEIPTS}"))) and running.poll() is None:
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    (path,) = found
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 3])  # as if it had been killed while it wrote
    done = run(*command[1:])
    assert done.returncode == 0 and "torn by an interruption" in done.stdout, done.stderr
    assert [record.line["cell"]["guest"] for record in Campaign(folder).receipts()] == ["untouched", "mde", "touch-20"]
    assert Campaign(folder).verify() == []


@pytest.fixture
def spoilt(traced: Campaign, tmp_path: Path) -> Iterator[tuple[Campaign, Path]]:
    shutil.copytree(traced.folder, tmp_path / "c")
    path = max((tmp_path / "c").glob(f"boots/*/{RECEIPTS}"), key=lambda path: path.stat().st_size)
    yield Campaign(tmp_path / "c"), path


def test_a_damaged_receipt_is_named_and_set_aside(spoilt: tuple[Campaign, Path]) -> None:
    campaign, path = spoilt
    texts = path.read_text().splitlines(keepends=True)
    changed = json.loads(texts[0])
    changed["instructions"] += 1
    path.write_text("".join([json.dumps(changed) + "\n", *texts[1:]]))
    assert any("line 1 does not match its digest" in str(problem) for problem in campaign.verify())
    assert "study repair" in refused(run("trace", campaign.folder, "--board", N1))
    mended = run("repair", campaign.folder, "--no-measure")
    assert mended.returncode == 0 and f"study trace {campaign.folder}" in mended.stdout
    assert Campaign(campaign.folder).verify() == []
    assert path.read_text().splitlines(keepends=True) == texts[1:]
    assert len(some(campaign.folder.glob(f"aside/1/boots/*/{RECEIPTS}"))) == 1
