"""What accesses and traps cost: on emulated boards instruction for instruction, and on one that is taken for hardware as prices."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import statistics
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import paths
from study.analyze import measured, published
from study.campaign import Campaign
from study.collect import prices
from study.collect.onboard import BoardError, perfevent, price
from study.errors import BadRequest
from study.kernels import archive, module
from tests.collect import sshd
from tests.collect.sshd import Lab
from tests.conftest import BOARDS, refused, run, some

# What each loop has of its own, instruction for instruction.
REGISTERS = ("dbgbvr", "dbgbcr", "dbgwvr", "dbgwcr", "mdscr")
EXACT = {f"{do}_{register}": 1 for do in ("read", "write") for register in REGISTERS}
EXACT |= {f"{name}_isb": 2 for name in EXACT}
EXACT |= {"isb": 1, "batch": 17, "batch_isb": 32, "exception": 2}
# MOV and HVC, and what KVM does between the vector and the ERET that refuses the call: host_el1_sync_vect, __host_hvc,
# __kvm_handle_stub_hvc. By the sources of 6.1 they are 23 to 25, as the compiler finds an address.
STUB = range(2 + 23, 2 + 26)

counts = st.lists(st.integers(0, 10**9), min_size=1, max_size=30)


@given(counts, st.integers(0, 10**6), st.integers(1, 10**5))
def test_what_both_lengths_have_drops_out(overheads: list[int], cost: int, each: int) -> None:
    """Whatever a run has of its own, as long as it is in both: what one costs is exact."""
    short = [overhead + cost * each for overhead in overheads]
    long = [overhead + 2 * cost * each for overhead in overheads]
    assert prices.one(short, long, each) == cost


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=30), st.integers(0, 1000), st.integers(1, 1000), st.data())
def test_a_few_interrupted_pairs_change_nothing(overheads: list[int], cost: int, each: int, data: st.DataObject) -> None:
    short, long = list(overheads), [overhead + cost * each for overhead in overheads]
    for hit in data.draw(st.sets(st.integers(0, len(overheads) - 1), max_size=(len(overheads) - 1) // 2)):
        data.draw(st.sampled_from([short, long]))[hit] += data.draw(st.integers(1, 10**9))
    assert prices.one(short, long, each) == cost


@pytest.mark.parametrize(("short", "long", "each"), [([], [], 1), ([1], [2], 0), ([1], [1, 2], 1), ([float("nan")], [1], 1)])
def test_of_no_pairs_nothing_is_said(short: list[float], long: list[float], each: int) -> None:
    with pytest.raises(ValueError):
        prices.one(short, long, each)


@pytest.mark.parametrize(
    ("cpu", "core"),
    [
        ("MIDR_EL1 0x00000000414fd0c1", "Neoverse N1"), ("MIDR_EL1 0x00000000411fd070", "Cortex-A57"),
        ("MIDR_EL1 0x00000000410fd034", "Cortex-A53"), ("MIDR_EL1 0x00000000ff0fd034", "MIDR_EL1 0x00000000ff0fd034"),
        ("aarch64", "aarch64"),
    ],
)  # fmt: skip
def test_a_core_has_the_name_that_published_prices_have(cpu: str, core: str) -> None:
    assert prices.core_of(cpu) == core


def test_a_range_needs_two_repeats() -> None:
    with pytest.raises(BadRequest, match="repeats is 1"):
        prices.measure("local", repeats=1)


@pytest.mark.parametrize("board", ["rig-cortex-a57", "serial:/dev/ttyUSB0"])
def test_a_rig_has_no_kernel_to_be_priced(board: str) -> None:
    assert "prices are measured on boards with Linux and KVM" in refused(run("prices", board))


def test_what_is_no_campaign_is_refused_before_anything_is_measured() -> None:
    assert "/nowhere is no campaign" in refused(run("prices", BOARDS[0], "--campaign", "/nowhere"))


def counter(monkeypatch: pytest.MonkeyPatch, *readings: tuple[int, int, int], refuses: int = 0) -> None:
    """Let the kernel give a counter that says this when it is read, count, and for how long it was wanted and was there; or none."""
    reading, writing = os.pipe()
    os.write(writing, b"".join(struct.pack("=QQQ", *each) for each in readings))
    os.close(writing)

    def opened(*_: object, **__: object) -> int:
        if refuses:
            raise OSError(refuses, os.strerror(refuses))
        return reading

    monkeypatch.setattr(perfevent, "opened", opened)


@pytest.mark.parametrize(
    ("readings", "refuses", "says"),
    [
        ([(7, 5, 5), (7, 9, 9)], 0, "the PMU counts no cycles: it stands still; .*dmesg"),
        ([(7, 5, 5), (90, 9, 6)], 0, "others hold the counters of this CPU.*end what else uses perf"),
        ([(7, 5, 5)], 0, "others hold the counters of this CPU"),  # a pinned counter that has no place any more reads as nothing
        ([], errno.EACCES, "perf may not count the kernel here.*sysctl kernel.perf_event_paranoid=-1"),
        ([], errno.EMFILE, "the kernel does not count cycles: Too many open files"),
    ],
)
def test_a_counter_that_does_not_count_is_refused(
    monkeypatch: pytest.MonkeyPatch, readings: list[tuple[int, int, int]], refuses: int, says: str
) -> None:
    counter(monkeypatch, *readings, refuses=refuses)
    with pytest.raises(BoardError, match=says) as error, price._counter("cycles"):
        pass
    assert len(str(error.value).splitlines()) == 1


def test_without_a_pmu_it_is_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    counter(monkeypatch, refuses=errno.ENOENT)
    with price._counter("cycles") as (unit, read):
        assert (unit, read() < read()) == ("ns", True)


@pytest.mark.board
@pytest.mark.parametrize("board", BOARDS)
def test_every_loop_has_the_instructions_that_it_consists_of(board: str, tmp_path: Path) -> None:
    out, folder = tmp_path / "prices.toml", tmp_path / "mine"
    shutil.copytree(paths.DATA / "reference", folder)
    done = run("prices", board, "--repeats", "2", "--out", out, "--campaign", folder)
    assert done.returncode == 0, done.stderr
    table = some((line for line in done.stdout.splitlines() if re.match(r"[a-z_]+  +\S", line)), 25)
    found = {cells[0]: cells[2] for cells in (re.split(r"  +", line) for line in table[1:])}
    assert {name: found[name] for name in EXACT} == {name: str(count) for name, count in EXACT.items()}
    assert set(found) - set(EXACT) == ({"hypercall", "trap"} if board == "qemu-cortex-a57" else {"hypercall"})
    assert all(900 < int(count) < 2000 for count in found["hypercall"].split(" to "))
    words = " ".join(done.stdout.split())
    if "trap" in found:
        assert int(found["trap"]) in STUB
    else:
        assert "no trap: the host is at EL2" in words
    assert (
        f"{board} is emulated: these are path lengths in instructions, no time and no prices, and no file of prices is written"
        in words
    )
    assert not out.exists() and measured.recorded(Campaign(folder)) == []


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A board that is taken for hardware: what its PMU counts as cycles are instructions."""
    with sshd.lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="module")
def loops() -> Path:
    """The module for its kernel."""
    system = archive.kernel(archive.KERNEL)
    return module.loops(json.loads((system / "versions.json").read_text())["release"], system / "headers")


@pytest.mark.board
def test_a_board_without_the_module_is_told_how_to_build_it(lab: Lab) -> None:
    for env in ({}, {"STUDY_MODULE": str(lab.module)}):
        line = refused(run("prices", "ssh:lab", env={**lab.env, **env}))
        assert re.search(
            r"module dbgprice for kernel 6\.1\S+ is not there; build it .*: study module --prices; .*STUDY_MODULE", line
        )


@pytest.mark.board
def test_prices_are_written_kept_by_a_campaign_and_nothing_stays_on_the_board(lab: Lab, loops: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "mine", tmp_path / "prices.toml"
    shutil.copytree(paths.DATA / "reference", folder)
    done = run(
        "prices", "ssh:lab", "--repeats", "3", "--campaign", folder, "--out", out, env={**lab.env, "STUDY_MODULE": str(loops)}
    )
    assert done.returncode == 0, done.stderr
    assert "emulated" not in done.stdout
    found = published.prices(out.read_text())
    assert measured.recorded(Campaign(folder)) == found and run("verify", folder).returncode == 0
    units = {(p.core, p.unit, p.seen, p.machine.partition(",")[0], p.kernel.partition(" ")[0]) for p in some(found, 25)}
    assert units == {("Neoverse N1", "cycles", "measured", "ssh:lab", "Linux")}
    assert all("medians of 3 repeats" in p.of and "study prices ssh:lab, 2" in p.source for p in found)
    by_quantity = {quantity: [p for p in found if p.quantity == quantity] for quantity in published.QUANTITIES}
    assert {quantity: len(rows) for quantity, rows in by_quantity.items()} == {
        "trap": 0, "exception": 1, "read": 5, "write": 5, "isb": 1, "dsb": 0, "hypercall": 1, "read-isb": 5,
        "write-isb": 5, "batch": 2,
    }  # fmt: skip
    for quantity, cost in {"read": 1, "write": 1, "isb": 1, "read-isb": 2, "write-isb": 2, "exception": 2}.items():
        for row in by_quantity[quantity]:
            assert row.low == pytest.approx(cost, abs=0.05) and row.high == pytest.approx(cost, abs=0.05), row
    together, apart = (statistics.mean([row.low, row.high]) for row in by_quantity["batch"])
    assert (together, apart) == (pytest.approx(17, abs=0.3), pytest.approx(32, abs=0.3))
    assert "module dbgprice" not in lab.sh("lsmod") and "dbgprice" not in lab.sh("lsmod")


@pytest.mark.board
def test_the_registers_hold_afterwards_what_they_held(lab: Lab, loops: Path) -> None:
    """Whatever the loops write: a breakpoint of the host's, armed by perf, fires after them as before."""
    lab.sh("cat >/tmp/dbgprice.ko", stdin=loops.read_bytes())
    said = lab.sh(
        "insmod /tmp/dbgprice.ko && cd /board && python3 - <<'END'\n"
        "from study.collect.onboard import facts, host, price\n"
        "breakpoints, watchpoints = facts.debug_registers()\n"
        "held = host.Debugging('all', breakpoints=breakpoints, watchpoints=watchpoints)\n"
        "before = held.fire()\n"
        "for name, row in price.LOOPS.items():\n"
        "    for twice in (0, 1):\n"
        "        if row.guests < 0 and name != 'trap':\n"
        "            (price.PARAMETERS / 'run').write_text(f'{name} {twice} 2')\n"
        "print(before, held.fire())\n"
        "for text in ('isb', 'isb 2 1', 'isb 0 0', 'isb 0 5000', 'nothing 0 1', 'isb 0 x', 'trap 0 1', 'x' * 5000):\n"
        "    try:\n"
        "        (price.PARAMETERS / 'run').write_text(text)\n"
        "        print('taken', text)\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
        "END\n"
        "rmmod dbgprice; rm /tmp/dbgprice.ko; dmesg | grep -E 'BUG|Oops|WARN' || echo quiet"
    )
    first, *refusals, last = said.splitlines()
    fired = [1] * 10
    assert (first, last) == (f"{fired} {fired}", "quiet")
    assert "taken" not in said and len(refusals) == 8
    assert refusals[6] == str(errno.ENXIO)  # the host is at EL2: nothing of it traps


def test_the_module_is_for_root_alone() -> None:
    text = (paths.LOOPS / "dbgprice.c").read_text()
    modes = [int(mode, 8) for mode in some(re.findall(r"module_param_cb\(\w+, &\w+, NULL, (0\d+)\)", text))]
    assert all(mode == stat.S_IWUSR for mode in modes)
