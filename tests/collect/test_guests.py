"""Real guests on a real emulated board: what they do, that every way to count agrees, and those that do not live as they should."""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import design, guests
from study.campaign import Campaign
from study.collect.guests import table, walk
from study.errors import BadRequest, BoardFailed
from study.factors import GUESTS
from study.kernels import guests as built
from study.kernels.image import pack
from tests.conftest import refused, run, some

A57, N1 = "qemu-cortex-a57", "qemu-neoverse-n1"
Phases = dict[tuple[str, str, str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A campaign of both guests, made by the command."""
    folder = tmp_path_factory.mktemp("guests") / "c"
    words = ["--boots", 1, "--strategies", "stock,lazy,control-scan", "--workloads", "marks,timer,fork,debugger"]
    done = run("guests", "--board", A57, "--campaign", folder, *words)
    assert done.returncode == 0, done.stderr
    return Campaign(folder)


@pytest.fixture(scope="module")
def phases(lived: Campaign) -> Phases:
    """What was counted, by guest, strategy, arm and phase."""
    return {
        (line["cell"]["guest"], line["cell"]["strategy"], line["arm"], phase["phase"]): phase
        for line in [record.line for record in lived.lives()]
        for phase in line["phases"]
    }


def of(phases: Phases, *wanted: str) -> list[dict[str, Any]]:
    """Phases of which guest, strategy, arm and phase are these, or any where nothing is named; those that could be."""
    found = [phase for key, phase in phases.items() if all(word in ("", name) for word, name in zip(wanted, key, strict=True))]
    return [phase for phase in found if "cannot" not in phase]


@pytest.mark.board
def test_a_32_bit_linux_keeps_monitor_mode_on_with_nothing_enabled(phases: Phases) -> None:
    working = [phase for phase in of(phases, "linux-armmp", "lazy", "census", "") if phase["phase"] != "boot"]
    for phase in some(working, 3):
        entries = phase["kvm"]["exits"]
        assert entries > 100 and phase["tracepoints"]["monitored"] >= 0.99 * entries, phase
        assert phase["census"]["enabled"] == 0
        assert phase["module"]["switches"] >= 0.99 * entries
    (boot,) = of(phases, "linux-armmp", "lazy", "census", "boot")
    assert 0 < boot["tracepoints"]["monitored"] < boot["kvm"]["exits"]


@pytest.mark.board
def test_a_64_bit_linux_has_monitor_mode_on_only_while_it_debugs(phases: Phases) -> None:
    counted = of(phases, "linux-arm64", "", "census", "")
    idle = [phase for phase in counted if phase["phase"] != "debugger"]
    assert {phase["tracepoints"]["monitored"] for phase in some(idle, 8)} == {0}
    for phase in some([phase for phase in counted if phase["phase"] == "debugger"], 2):
        assert 100 < phase["tracepoints"]["monitored"] < phase["kvm"]["exits"]
        assert phase["tracepoints"]["accesses"] > 400
    assert some(phase["census"]["enabled"] for phase in counted if phase["phase"] == "debugger" and phase["census"])[0] > 0


@pytest.mark.board
def test_every_way_to_count_counts_the_same(phases: Phases) -> None:
    counted = of(phases, "", "", "census", "")
    for phase in some(counted, 16):
        exits, traced = phase["kvm"]["exits"], phase["tracepoints"]
        assert traced["entries"] == sum(traced["exits"].values()) == exits
        if phase["module"]:
            assert (phase["module"]["entries"], phase["module"]["traps_taken"]) == (exits, traced["accesses"])
            assert phase["census"]["monitored"] == traced["monitored"]


@pytest.mark.board
def test_a_scan_saves_a_guest_the_switches_that_lazy_charges(phases: Phases) -> None:
    per_exit: dict[tuple[str, str], float] = {}
    for strategy, name in itertools.product(("lazy", "control-scan"), ("timer", "fork")):
        (phase,) = of(phases, "linux-armmp", strategy, "main", name)
        assert phase["module"]["switches"] == (phase["kvm"]["exits"] if strategy == "lazy" else 0), (strategy, name)
        per_exit[strategy, name] = phase["instructions"]["kernel"] / phase["kvm"]["exits"]
    # A switch of about 355, less a scan of about 50. Of the sleeps of timer some end together, more or fewer in each life, and what an
    # exit takes moves by half of that: only what never sleeps tells it from one life.
    saved = per_exit["lazy", "fork"] - per_exit["control-scan", "fork"]
    assert 250 < saved < 380, per_exit


@pytest.mark.board
def test_a_workload_that_a_guest_cannot_do_is_recorded_with_the_reason(phases: Phases) -> None:
    reasons = {key[1]: phase["cannot"] for key, phase in phases.items() if key[0] == "linux-armmp" and "cannot" in phase}
    assert "No such device" in reasons["lazy"] and "Failed to enable monitor mode" in reasons["control-scan"]
    assert not [key for key, phase in phases.items() if key[0] == "linux-arm64" and "cannot" in phase]


@pytest.mark.board
def test_lives_are_kept_whole_and_not_made_again(lived: Campaign) -> None:
    assert run("verify", lived.folder).returncode == 0
    again = run("guests", "--board", A57, "--campaign", lived.folder, "--boots", 1, "--workloads", "marks,timer,fork,debugger")
    assert again.returncode == 0 and "nothing to measure" in again.stdout
    made = len(list(lived.lives()))
    assert made == 12
    assert "was designed otherwise" in refused(run("guests", "--board", A57, "--campaign", lived.folder, "--boots", 2))
    lines = lived.boots()[0] / "census.jsonl"
    lines.write_text(lines.read_text().replace('"switches": 0', '"switches": 1', 1))
    assert "does not match its digest" in run("verify", lived.folder).stderr
    assert run("repair", "--no-measure", lived.folder).returncode == 0
    assert len(list(Campaign(lived.folder).lives())) == made - 1


@pytest.mark.board
def test_a_cpu_without_aarch32_refuses_a_32_bit_guest(tmp_path: Path) -> None:
    done = run("guests", "--board", N1, "--campaign", tmp_path / "c", "--profile", "quick", "--guests", "linux-arm64,linux-armmp")
    said = refused(done)
    assert "linux-armmp has 32 bits" in said and "leave it out with --guests" in said
    assert not (tmp_path / "c").exists()


# First processes of guests that go wrong, and what is said of them.
BAD = {
    "panics": ("exit 1", "Kernel panic"),
    "hangs": ("while :; do :; done", "took longer than"),
    "floods": ("yes study", "fills its console"),
    "leaves": ("poweroff -f", "ended in its boot"),
    "fails": ('echo "study: boot ends 0"; read x; echo "study: timer begins"; read x; echo "study: timer ends 3"; read x', "ended its timer with status 3"),
}  # fmt: skip


def refused_lives(folder: Path, names: Iterable[str], others: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Let some of BAD live, and others; return what is said of those that are not recorded: two of each of BAD."""
    base, rows = built.linux("linux-arm64"), list[str]()
    for name in names:
        initrd_with(folder / f"{name}.cpio", base / "initrd", BAD[name][0])
        rows += [f"[{name}]", f'kernel = "{base / "kernel"}"', f'initrd = "{name}.cpio"', "marks = true"]
        rows += ['append = "console=ttyAMA0 panic=-1"']
    (folder / "guests.toml").write_text("\n".join(rows))
    asked = design.choose("quick", GUESTS, guests=(*names, *others), strategies="stock", workloads="timer", control_on="none")
    with pytest.raises(BoardFailed, match=f"{2 * len(list(names))} lives of real guests are not recorded"):
        walk.live(A57, folder / "c", asked, folder / "guests.toml")
    return [line for line in "".join(capsys.readouterr()).splitlines() if "is not recorded" in line]


@pytest.mark.board
def test_a_guest_that_does_not_live_as_it_should_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(walk.PHASE, True, 4.0)
    names = [name for name in BAD if name != "floods"]
    said = refused_lives(tmp_path, names, ("linux-arm64",), capsys)
    for name in names:
        assert [line for line in said if f", {name} under" in line and BAD[name][1] in line], (name, said)
    assert {record.line["cell"]["guest"] for record in some(Campaign(tmp_path / "c").lives(), 2)} == {"linux-arm64"}
    assert Campaign(tmp_path / "c").verify() == []


@pytest.mark.board
def test_a_guest_that_fills_its_console_is_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused_lives(tmp_path, ["floods"], (), capsys)
    assert len(said) == 2 and all(BAD["floods"][1] in line for line in said), said


def initrd_with(out: Path, base: Path, script: str) -> None:
    """Write an initrd like another one whose first process is a script: of two files of one name, the later one is there."""
    tree = out.with_suffix("")
    tree.mkdir()
    (tree / "init").write_text(
        "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nmount -t devtmpfs devtmpfs /dev\n"
        f"exec 0<> /dev/console 1>&0 2>&0\nexport PATH=/bin\n{script}\n"
    )
    (tree / "init").chmod(0o755)
    pack(tree, out.with_suffix(".more"))
    out.write_bytes(base.read_bytes() + out.with_suffix(".more").read_bytes())


# A guest of a few instructions, a flat image as those of kvm-unit-tests are: it says something, and has PSCI switch it off.
FLAT = """
    ldr x1, =0x09000000
    adr x2, text
next: ldrb w0, [x2], #1
    cbz w0, off
    str w0, [x1]
    b next
off: ldr x0, =0x84000008
    hvc #0
    b .
text: .asciz "PASS: 1 test\\nEXIT: STATUS={status}\\n"
"""


@pytest.mark.board
def test_a_flat_image_is_one_phase_and_says_how_it_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, status in (("well", 1), ("badly", 3)):
        assembled(tmp_path / f"{name}.flat", FLAT.format(status=status))
    (tmp_path / "guests.toml").write_text('[well]\nkernel = "well.flat"\n[badly]\nkernel = "badly.flat"\n')
    asked = design.choose("quick", GUESTS, guests="well,badly", strategies="stock", workloads="marks", control_on="none")
    with pytest.raises(BoardFailed, match="2 lives of real guests are not recorded"):
        walk.live(A57, tmp_path / "c", asked, tmp_path / "guests.toml")
    assert "says that it ended with status 3" in "".join(capsys.readouterr())
    for record in some(Campaign(tmp_path / "c").lives(), 2):
        (whole,) = record.line["phases"]
        assert (record.line["cell"]["guest"], whole["phase"]) == ("well", "whole")
        written = len("PASS: 1 test\nEXIT: STATUS=1\n")
        assert written <= whole["kvm"]["mmio_exit_user"] <= written + 2 and whole["kvm"]["hvc_exit_stat"] == 1


def assembled(out: Path, text: str) -> None:
    """Assemble a flat image."""
    prefix = "" if platform.machine() == "aarch64" else "aarch64-linux-gnu-"
    out.with_suffix(".S").write_text(text)
    subprocess.run([f"{prefix}gcc", "-c", "-o", out.with_suffix(".o"), out.with_suffix(".S")], check=True)
    subprocess.run([f"{prefix}objcopy", "-O", "binary", out.with_suffix(".o"), out], check=True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[mine]\n", "it names no kernel"),
        ("[mine]\nkernel = 3\n", "kernel is 3: it must be the path of a file"),
        ('[mine]\nkernel = "there"\nbits = 16\n', "bits is 16: it must be 32 or 64"),
        ('[mine]\nkernel = "there"\nmemory = 1.5\n', "memory is 1.5"),
        ('[mine]\nkernel = "nowhere"\n', "its kernel .*nowhere is not there"),
        (f'[mine]\nkernel = "{"x" * 300}"\n', "its kernel .*x is not there"),
        ('[mine]\nkernel = "a\\u0000b"\n', r"its kernel .*a\?b.* is not there"),
        ('[mine]\nkernel = "there"\ncolour = "red"\n', "key 'colour' is unknown; choose from kernel, initrd"),
        ('[linux-arm64]\nkernel = "there"\n', "name it otherwise"),
        ('["a b"]\nkernel = "there"\n', "name it otherwise"),
        ("kernel = 1\n", "names no kernel"),
        ("[mine\n", "it is not TOML"),
    ],
)
def test_a_file_of_guests_that_makes_no_sense_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "there").write_bytes(b"kernel")
    (tmp_path / "guests.toml").write_text(text)
    with pytest.raises(BadRequest, match=why):
        table.read(tmp_path / "guests.toml")


def test_a_guest_of_ones_own_is_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "zImage").write_bytes(b"kernel")
    (tmp_path / "guests.toml").write_text(
        '[mine]\nkernel = "zImage"\nbits = 32\nmemory = 64\nappend = "console=ttyAMA0"\nmarks = true\n'
    )
    (row,) = table.rows(["mine"], ["timer", "fork"], 3, tmp_path / "guests.toml").values()
    assert (row.bits, row.memory, row.initrd) == (32, 64, "")
    assert row.append == "console=ttyAMA0 WORKLOADS=timer,fork LONGER=3"
    assert (row.folder / "kernel").read_bytes() == b"kernel"
    with pytest.raises(BadRequest, match="'other' is unknown; choose from linux-arm64, linux-armmp, mine"):
        table.rows(["other"], [], 1, tmp_path / "guests.toml")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"workloads": "sleep"}, "workloads: 'sleep' is unknown; choose from marks"),
        ({"workloads": ()}, "workloads: none given"),
        ({"longer": 0}, "longer is 0"),
        ({"exits": "hvc"}, "are their own"),
        ({"strategies": "partial"}, "strategies: 'partial' is unknown on a Linux board"),
    ],
)
def test_a_design_of_real_guests_that_makes_no_sense_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        design.choose("default", GUESTS, **changes)


def phase(**changes: Any) -> dict[str, Any]:
    """A phase as it should be, with some of it changed."""
    whole = {
        "phase": "timer", "seconds": 1.0, "cycles": 1000, "instructions": {"kernel": 500, "vmm": 10, "guest": 90}, "kvm": {"exits": 7},
        "module": {"entries": 7, "switches": 7, "traps_armed": 7, "traps_taken": 0},
        "tracepoints": {"entries": 7, "exits": {"2,1": 4, "0,0": 3}, "monitored": 7, "accesses": 0, "enabling": 0},
        "census": {"monitored": 7, "enabled": 0, "both": 0},
    }  # fmt: skip
    return {**whole, **changes}


ASKED = design.choose("default", GUESTS, workloads="timer")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"kvm": {"exits": 8}}, "KVM counted 8 exits, and the module 7"),
        ({"module": {"entries": 6}}, "the module 6"),
        ({"tracepoints": {"entries": 7, "exits": {"2,1": 4}, "monitored": 7}}, "tracepoints at exits 4"),
        ({"census": {"monitored": 5, "enabled": 0, "both": 0}}, "the module saw monitor debug mode on in 5 entries, and tracepoints in 7"),
        ({"census": {"monitored": 7, "enabled": 9, "both": 0}}, "enabled is 9, and KVM counted 7 exits"),
        ({"instructions": {"kernel": 0, "vmm": 0, "guest": 0}}, "nothing was counted"),
        ({"phase": "fork"}, "its phases are boot, fork, and the design asks for boot, timer"),
    ],
)  # fmt: skip
def test_counts_that_do_not_agree_make_no_sense(changed: dict[str, Any], why: str) -> None:
    from study.campaign import sense

    assert sense.doubt_of_life({"phases": [phase(phase="boot"), phase()], "lacking": []}, ASKED) == ""
    assert why in sense.doubt_of_life({"phases": [phase(phase="boot"), phase(**changed)], "lacking": []}, ASKED)


NUMBERS = st.recursive(st.integers(0, 10**9), lambda inner: st.dictionaries(st.sampled_from("abcd"), inner), max_leaves=8)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10**9)),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10**9)),
)
def test_a_phase_is_the_difference_of_two_readings(first: dict[str, int], more: dict[str, int]) -> None:
    from study.collect.onboard import census

    later = {name: first.get(name, 0) + more.get(name, 0) for name in first.keys() | more.keys()}
    found = census.difference({"of": {**later}}, {"of": {**first}})
    assert found == {"of": {name: more.get(name, 0) for name in later}}


def test_what_a_killed_study_counted_by_is_taken_away_and_nothing_else(tmp_path: Path) -> None:
    from study.collect.onboard import census

    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in (f"study-{ended.pid}", f"study-{os.getpid()}", "somebody-else"):
        (tmp_path / name).mkdir()
    census.mend(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"study-{os.getpid()}", "somebody-else"}
    census.mend(tmp_path / "that a user may not look into")


HIST = """# event histogram
#
# trigger info: hist:keys=common_pid:vals=hitcount:sort=hitcount:size=2048 [active]
#

{{ common_pid:        640 }} hitcount:         {ours}
{{ common_pid:         99 }} hitcount:     178083

Totals:
    Hits: 905284
    Entries: 10
    Dropped: 0
# event histogram
#
# trigger info: hist:keys=common_pid:vals=hitcount:sort=hitcount:size=2048 if is_write == 1 && write_value & 1 && fn ~ "trap_?cr" [active]
#

{{ common_pid:        640 }} hitcount:          3

Totals:
    Hits: 3
    Entries: 1
    Dropped: {dropped}
"""


KEYED = """# event histogram
#
# trigger info: hist:keys=common_pid,hsr:vals=hitcount:sort=hitcount:size=2048 [active]
#

{ common_pid:        640, hsr: 1647493217 } hitcount:          4
{ common_pid:         99, hsr: 1647493217 } hitcount:         17
{ common_pid:        640, hsr: 1646788576 } hitcount:          1
"""


def test_a_histogram_is_read_thread_by_thread_and_refused_if_it_is_full(tmp_path: Path) -> None:
    from study.collect.onboard import BoardError, census

    event = tmp_path / "events/kvm/trap_reg"
    event.mkdir(parents=True)
    lacking = {"entries", "exits", "told", "monitored"}
    (event / "hist").write_text(HIST.format(ours=12, dropped=0))
    registers = tmp_path / "events/kvm/kvm_handle_sys_reg"
    registers.mkdir()
    (registers / "hist").write_text(KEYED)
    counts = census._histograms(tmp_path, {640, 641}, lacking)
    assert counts == {"accesses": 12, "enabling": 3, "registers": {"1647493217": 4, "1646788576": 1}}
    (event / "hist").write_text(HIST.format(ours=12, dropped=2))
    with pytest.raises(BoardError, match="the histogram of trap_reg is full"):
        census._histograms(tmp_path, {640}, lacking)


def test_a_guests_first_process_runs_what_it_is_told(tmp_path: Path) -> None:
    """Its script is one that a shell reads, and each workload is a function of it."""
    script = tmp_path / "init"
    script.write_text(guests.init())
    assert subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False).stderr == ""
    for name in some(guests.WORKLOADS, 7):
        assert f"do_{name.replace('-', '_')}() {{" in guests.init()
