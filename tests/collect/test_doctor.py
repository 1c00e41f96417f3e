"""Ready to measure? Each check on trees that are well and trees that are not, and the command on real boards."""

from __future__ import annotations

import gzip
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from study import paths
from study.analyze import compare, frame, tables
from study.campaign import Campaign
from study.collect import doctor as host
from study.collect import session
from study.collect.boards import Link, emulated
from study.collect.boards.emulated import EmulatedBoard
from study.collect.boards.rig import EmulatedRig
from study.collect.onboard import doctor, kvm, throttle
from study.collect.onboard.counting import Tried
from study.collect.onboard.doctor import ADVICE, BAD, GOOD
from study.design import Factors, Visit, choose
from study.errors import BoardFailed
from tests.conftest import letters, refused, run

CPU = "sys/devices/system/cpu"
OURS = f"{CPU}/cpu3"
IDLE = {f"{OURS}/cpuidle/state{n}/{what}": text for n in (0, 1) for what, text in (("name", f"s{n}"), ("disable", "0"))}
KNOWN = [f"CONFIG_{name}=y" for name in doctor.OPTIONS]
CONFIG = "\n".join(["# a kernel", *KNOWN, "# CONFIG_PREEMPT is not set", "CONFIG_PREEMPT_VOLUNTARY=y"])
SPEEDS = {"scaling_min_freq": "600000", "scaling_max_freq": "2400000", "cpuinfo_max_freq": "2400000"}
# A board on which nothing is wrong.
WELL = {
    "dev/kvm": "",
    "proc/sys/kernel/perf_event_paranoid": "2\n",
    "sys/kernel/tracing/events/kvm/trap_reg/id": "1",
    "boot/config-6.1.0-arm64": CONFIG,
    "proc/cmdline": "root=/dev/sda1 isolcpus=3 nohz_full=3\n",
    "proc/version": "Linux version 6.1.0-arm64 (builder@host) #1 SMP Debian\n",
    f"{CPU}/online": "0-3\n",
    f"{CPU}/isolated": "3\n",
    f"{CPU}/nohz_full": "3\n",
    f"{OURS}/cpufreq/scaling_governor": "performance\n",
    **{f"{OURS}/cpufreq/{name}": f"{text}\n" for name, text in SPEEDS.items()},
    **IDLE,
    f"{OURS}/cpuidle/state1/disable": "1\n",
    "proc/irq/4/smp_affinity_list": "0-2\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "arch_sys_counter\n",
    "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
    "sys/class/thermal/cooling_device0/cur_state": "0\n",
    "proc/stat": "cpu  9 9 9 9 9 9 9 9 9 9\ncpu3 10 0 20 900 0 0 0 0 0 0\nintr 5\n",
    "proc/loadavg": "0.12 0.30 0.28 1/220 4711\n",
    "proc/meminfo": "MemTotal:  2000000 kB\nSwapTotal:     1024000 kB\nSwapFree:      1024000 kB\n",
}
BOARD = doctor.Board(Path(), cpu=3, release="6.1.0-arm64", mode="vhe", registers=(6, 4), gic=3, user=0)
PI, HWMON = "sys/devices/platform/soc/soc:firmware/get_throttled", "sys/class/hwmon/hwmon2"
LOCKDOWN = "sys/kernel/security/lockdown"
DAMON = "sys/module/damon_stat/parameters/enabled"
NONE: dict[str, object] = {}
# What may come of trying a row of events, and the PMU of a kind of core.
LOST = (Tried("instructions:G", "not supported", 100.0), Tried("cycles:kh", "not supported", 100.0))
COUNTED, TRACED = ((Tried(event, "", 100.0),) for event in ("instructions:kh", "kvm:trap_reg"))
PMUS = "sys/bus/event_source/devices"
BIG_LITTLE = {
    f"{PMUS}/armv8_cortex_a510/cpus": "0-1\n",
    f"{PMUS}/armv8_cortex_a510/events/inst_retired": "event=0x0008\n",
    f"{PMUS}/armv8_cortex_a78/cpus": "2-3\n",
    **{f"{PMUS}/armv8_cortex_a78/events/{name}": "event=0x0008\n" for name in ("inst_retired", "cpu_cycles", "br_retired")},
}
PARTS = {0: "0x410fd030", 2: "0x410fd030", 3: "0x410fd0b0"}
MIDRS = {f"{CPU}/cpu{cpu}/regs/identification/midr_el1": midr for cpu, midr in PARTS.items()}
PMU = {f"{PMUS}/armv8_cortex_a72/cpus": "0-3\n"}
GONE = None

# A check, what is different from WELL, what is known otherwise of the board, what it says, its verdict, and what mends it.
CASES: list[tuple[str, Mapping[str, str | None], Mapping[str, object], str, str, str]] = [
    ("KVM", {"dev/kvm": GONE}, NONE, "no /dev/kvm", BAD, "dmesg"),
    ("KVM", {}, {"kvm": "/dev/kvm: Permission denied"}, "Permission denied", BAD, "usermod -aG kvm"),
    ("KVM mode", {}, {"mode": "unknown"}, "unknown", ADVICE, "root"),
    ("KVM mode", {}, {"mode": "nvhe"}, "nvhe", GOOD, ""),
    ("debug registers", {}, {"registers": (0, 0)}, "unknown", BAD, "KVM"),
    ("interrupts of guests", {}, {"gic": 2}, "a GICv2, which cannot do exit wfx", GOOD, ""),
    ("interrupts of guests", {}, {"gic": 0}, "without one", GOOD, ""),
    ("interrupts of guests", {}, {"gic": 0, "no_gic": f"guests get none: {kvm.WITHOUT}"}, "guests get none", BAD, "GIC=no"),
    ("interrupts of guests", {}, {"kvm": "x", "no_gic": "/dev/kvm: Permission denied"}, "unknown", BAD, "KVM"),
    ("perf", {}, {"perf": "perf is not installed; install it with: sudo apt-get install linux-perf"}, "not installed", BAD, "apt-get"),
    ("perf", {}, {"perf": "perf stat cannot count cycles"}, "cannot count cycles", BAD, "perf list"),
    ("perf", {}, {"tried": (LOST, TRACED)}, "no event of the hardware: not supported", BAD, "no PMU"),
    ("perf", PMU, {"tried": (LOST, TRACED)}, "no event of the hardware: not supported", BAD, "a newer kernel"),
    ("perf", PMU, {"tried": (COUNTED, LOST[:1])}, "all but instructions:G: not supported", ADVICE, "a newer kernel"),
    ("perf", PMU, {"tried": ((Tried("cycles:kh", "not counted", 0.0),), TRACED)}, "not counted", BAD, "nmi_watchdog=0"),
    ("perf", PMU, {"tried": (COUNTED, (Tried("instructions:u", "", 60.0),))}, "instructions:u in 60 %", BAD, "nmi_watchdog=0"),
    ("perf", PMU, {"tried": (COUNTED, COUNTED, TRACED)}, "all events, in 3 turns", GOOD, ""),
    ("perf", {"sys/kernel/tracing/events/kvm/trap_reg/id": GONE}, {"tried": (COUNTED,)}, "but kvm:trap_reg", GOOD, ""),
    ("perf_event_paranoid", {}, {"user": 1000}, "not root", BAD, "sudo sysctl kernel.perf_event_paranoid=-1"),
    ("perf_event_paranoid", {"proc/sys/kernel/perf_event_paranoid": "1"}, {"user": 1000}, "1", GOOD, ""),
    ("perf_event_paranoid", {"proc/sys/kernel/perf_event_paranoid": "-1"}, {"user": 1000}, "-1", GOOD, ""),
    ("perf_event_paranoid", {"proc/sys/kernel/perf_event_paranoid": GONE}, NONE, "no perf events", BAD, "CONFIG_PERF_EVENTS"),
    ("kernel options", {"boot/config-6.1.0-arm64": GONE}, NONE, "cannot be read", ADVICE, "sudo modprobe configs"),
    ("kernel options", {"boot/config-6.1.0-arm64": CONFIG.replace("CONFIG_MODULES=y", "")}, NONE, "MODULES", ADVICE, "boot"),
    ("kernel options", {"boot/config-6.1.0-arm64": CONFIG.replace("CONFIG_KVM=y", "# CONFIG_KVM is not set")}, NONE, "KVM", BAD, "boot"),
    ("kernel options", {"boot/config-6.1.0-arm64": CONFIG.replace("HW_BREAKPOINT=y", "HW_BREAKPOINT=n")}, NONE, "HW_BREAK", BAD, "boot"),
    ("preemption", {"boot/config-6.1.0-arm64": f"{CONFIG}\nCONFIG_PREEMPT_RT=y"}, NONE, "PREEMPT_RT", GOOD, ""),
    ("preemption", {"boot/config-6.1.0-arm64": GONE, "proc/version": "#1 SMP PREEMPT_DYNAMIC"}, NONE, "PREEMPT_DYNAMIC", GOOD, ""),
    ("preemption", {"boot/config-6.1.0-arm64": GONE, "proc/cmdline": "quiet preempt=full"}, NONE, "preempt=full", GOOD, ""),
    ("module", {"sys/module/dbgswitch/parameters/strategy": "lazy"}, NONE, "loaded", ADVICE, "sudo rmmod dbgswitch"),
    ("module", {}, {"release": "6.14.0"}, "does not fit 6.14.0", ADVICE, "--strategies stock"),
    ("module", {LOCKDOWN: "none integrity [confidentiality]\n"}, NONE, "locked down (confidentiality)", ADVICE, "Secure Boot off"),
    ("module", {"proc/cmdline": "quiet lockdown=integrity"}, NONE, "locked down (integrity)", ADVICE, "mokutil --import"),
    ("module", {LOCKDOWN: "[none] integrity confidentiality\n", "proc/cmdline": "lockdown=integrity"}, NONE, "fits", GOOD, ""),
    ("module", {"sys/module/module/parameters/sig_enforce": "Y"}, NONE, "sig_enforce", ADVICE, "sign dbgswitch.ko"),
    ("measuring CPU", {f"{CPU}/online": GONE}, NONE, "3 of 3", GOOD, ""),
    ("measuring CPU", BIG_LITTLE, NONE, "3 of 0-3, armv8_cortex_a78; kinds: armv8_cortex_a510 0-1, armv8_cortex_a78 2-3", GOOD, ""),
    ("measuring CPU", MIDRS, NONE, "3 of 0-3, MIDR_EL1 0x410fd0b0; kinds: MIDR_EL1 0x410fd030 0,2, MIDR_EL1 0x410fd0b0 3", GOOD, ""),
    ("governor", {f"{OURS}/cpufreq/scaling_governor": "schedutil"}, NONE, "schedutil", ADVICE, f"echo performance | sudo tee /{OURS}/"),
    ("governor", {f"{OURS}/cpufreq/scaling_governor": "userspace"}, NONE, "userspace", GOOD, ""),
    ("governor", {f"{OURS}/cpufreq/scaling_governor": GONE}, NONE, "fixed", GOOD, ""),
    ("frequency", {f"{OURS}/cpufreq/scaling_max_freq": "1800000"}, NONE, "1800 MHz, of 2400", ADVICE, "echo 2400000 | sudo tee"),
    ("frequency", {f"{OURS}/cpufreq/scaling_max_freq": GONE}, NONE, "fixed", GOOD, ""),
    ("throttling", {"sys/class/thermal/cooling_device0/cur_state": "2"}, NONE, "cpufreq-cpu0 is at step 2", ADVICE, "cool"),
    ("throttling", {"sys/class/thermal/cooling_device0/type": "pwm-fan", "sys/class/thermal/cooling_device0/cur_state": "2"}, NONE,
     "none", GOOD, ""),
    ("throttling", {PI: "50005\n"}, NONE, "under-voltage, throttled by firmware, under-voltage since power-on", ADVICE, "power supply"),
    ("throttling", {PI: "80008"}, NONE, "soft limit of temperature, soft limit of temperature since power-on", ADVICE, "cool down"),
    ("throttling", {PI: "0"}, NONE, "none", GOOD, ""),
    ("throttling", {PI: "what?"}, NONE, "none", GOOD, ""),
    ("throttling", {f"{HWMON}/name": "rpi_volt", f"{HWMON}/in0_lcrit_alarm": "1"}, NONE, "under-voltage", ADVICE, "power supply"),
    ("throttling", {f"{HWMON}/name": "gpu_volt", f"{HWMON}/in0_lcrit_alarm": "1"}, NONE, "none", GOOD, ""),
    ("idle states", IDLE, NONE, "s1", ADVICE, f"echo 1 | sudo tee /{OURS}/cpuidle/state[1-9]*/disable"),
    ("isolation", {f"{CPU}/isolated": "\n", f"{CPU}/nohz_full": "(null)\n"}, NONE, "not in isolcpus or nohz_full", ADVICE,
     "isolcpus=3 nohz_full=3"),
    ("isolation", {f"{CPU}/nohz_full": "0-2"}, NONE, "not in nohz_full", ADVICE, "boot with nohz_full=3"),
    ("isolation", {}, {"cpu": 2}, "CPU 3 is isolated, CPU 2 measures", ADVICE, "taskset -c 3"),
    ("isolation", {f"{CPU}/online": "0"}, {"cpu": 0}, "only CPU", GOOD, ""),
    ("interrupts", {"proc/irq/7/smp_affinity_list": "0-3"}, NONE, "1 may come to CPU 3", ADVICE, "study collect --tune"),
    ("interrupts", {"proc/irq/7/smp_affinity_list": "0-3", "proc/irq/7/effective_affinity_list": "1"}, NONE, "none", GOOD, ""),
    ("interrupts", {"proc/irq/7/smp_affinity_list": "0-3", "proc/irq/7/effective_affinity_list": "3"}, NONE, "1 may come", ADVICE, "--tune"),
    ("clock source", {"sys/devices/system/clocksource/clocksource0/current_clocksource": "timer"}, NONE, "timer", ADVICE,
     "echo arch_sys_counter | sudo tee"),
    ("steal time", {"proc/stat": "cpu3 10 0 20 960 0 0 0 10 0 0\n"}, NONE, "1.0% of CPU 3", ADVICE, "bare"),
    ("steal time", {"proc/stat": "cpu30 10 0 20 960 0 0 0 10 0 0\ncpu3 10 0 20 960 0 0 0 0 0 0\n"}, NONE, "none", GOOD, ""),
    ("interrupts", {"proc/irq/7/smp_affinity_list": "0-3", "proc/irq/7/effective_affinity_list": "\n"}, NONE, "none", GOOD, ""),
    ("load", {"proc/loadavg": "3.50 0.30 0.28 1/220 4711"}, NONE, "3.50", ADVICE, "ps -eo"),
    ("load", {"proc/loadavg": "0.10 0.30 0.28 4/220 4711"}, NONE, "4 running", ADVICE, "ps -eo"),
    ("swap", {"proc/meminfo": "SwapTotal:     1024000 kB\nSwapFree:      512000 kB\n"}, NONE, "500 MiB", ADVICE, "swapoff"),
    ("memory monitor", {DAMON: "Y"}, NONE, "damon_stat", ADVICE, f"echo N | sudo tee /{DAMON}"),
    ("memory monitor", {DAMON: "N"}, NONE, "none", GOOD, ""),
]  # fmt: skip


def tree(root: Path, files: Mapping[str, str | None]) -> Path:
    """Write files below a folder; None is no file."""
    for name, text in files.items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return root


def rows_of(root: Path, **known: object) -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in doctor.examine(replace(BOARD, root=root, **known))}  # type: ignore[arg-type]


def test_nothing_is_wrong_with_a_board_that_is_well(tmp_path: Path) -> None:
    rows = rows_of(tree(tmp_path, WELL))
    assert {name: row for name, row in rows.items() if row["verdict"] != GOOD or row["todo"]} == {}
    assert rows["frequency"]["found"] == "600 to 2400 MHz"
    assert rows["preemption"]["found"] == "PREEMPT_VOLUNTARY"
    assert rows["measuring CPU"]["found"] == "3 of 0-3"
    assert rows["debug registers"]["found"] == "6 breakpoints, 4 watchpoints"


@pytest.mark.parametrize(("check", "files", "known", "found", "verdict", "todo"), CASES)
def test_a_check_finds_what_is_wrong_and_nothing_else(
    tmp_path: Path, check: str, files: Mapping[str, str | None], known: Mapping[str, object], found: str, verdict: str, todo: str
) -> None:
    row = rows_of(tree(tmp_path, {**WELL, **files}), **known)[check]
    assert found in row["found"]
    assert row["verdict"] == verdict
    assert todo in row["todo"]
    assert bool(row["todo"]) == (verdict != GOOD), "what is good asks for nothing, and what is not says what to do"


def test_every_check_has_a_case_that_is_wrong_or_no_way_to_be(tmp_path: Path) -> None:
    assert {case[0] for case in CASES if case[4] != GOOD} == doctor.CHECKS.keys() - {"preemption", "measuring CPU"}


def test_a_board_that_says_nothing_at_all_is_examined_all_the_same(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    assert rows.keys() == doctor.CHECKS.keys()
    assert {name for name, row in rows.items() if row["verdict"] == BAD} == {"KVM", "perf_event_paranoid"}


def test_options_are_read_from_the_running_kernel_too(tmp_path: Path) -> None:
    tree(tmp_path, {**WELL, "boot/config-6.1.0-arm64": None})
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(CONFIG.encode()))
    assert rows_of(tmp_path)["kernel options"]["verdict"] == GOOD


def test_the_lines_are_aligned_and_bad_decides() -> None:
    rows = [
        {"check": "load", "found": "0.1", "verdict": GOOD, "todo": ""},
        {"check": "governor", "found": "schedutil", "verdict": ADVICE, "todo": "echo performance"},
    ]
    assert host.lines(rows) == "load      0.1        good\ngovernor  schedutil  advice: echo performance"
    long = {"check": "perf", "found": "x" * 200, "verdict": BAD, "todo": "perf list"}
    assert host.lines([*rows, long]).startswith(host.lines(rows)), "one that is long does not push the others away"
    assert host.well(rows)
    assert not host.well([*rows, {"check": "KVM", "found": "none", "verdict": BAD, "todo": "boot"}])


def test_this_machine_is_said_to_be_none_that_can_be_measured() -> None:
    assert "not arm64" in refused(run("doctor", "local"))


@pytest.mark.board
def test_a_board_that_examined_nothing_is_not_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmulatedRig, "doctor", lambda *_: [])
    with pytest.raises(BoardFailed, match="rig-cortex-a57: it answered, but examined nothing"):
        host.examine("rig-cortex-a57")


def test_an_unknown_board_is_refused() -> None:
    assert "unknown; choose from" in refused(run("doctor", "pdp-11"))


@pytest.mark.board
def test_the_command_examines_an_emulated_board() -> None:
    done = run("doctor", "qemu-neoverse-n1")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()[-len(doctor.CHECKS) :]  # what is built on the way is said before
    found = {name: line for name in doctor.CHECKS for line in lines if re.match(rf"{name}  ", line)}
    assert found.keys() == doctor.CHECKS.keys()
    assert len({line.index(word) for line in lines for word in re.findall(r"good$|advice:|bad:", line)}) == 1
    for name, words in (
        ("KVM mode", "vhe"),
        ("debug registers", "6 breakpoints, 4 watchpoints"),
        ("clock source", "arch_sys_counter"),
    ):
        assert words in found[name]
    assert not [line for line in lines if "bad:" in line]


@pytest.mark.board
def test_make_examines_a_rig(tmp_path: Path) -> None:
    done = subprocess.run(["make", "doctor", "BOARD=rig-cortex-a57"], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, found in (("breakpoints", "6"), ("watchpoints", "4"), ("mode", "el2"), ("frequency", r"62500000")):
        assert re.search(rf"^{name} +{found} +good$", done.stdout, re.MULTILINE)


@pytest.mark.board
def test_a_board_without_kvm_is_bad_and_refused_and_all_else_is_examined(tmp_path: Path) -> None:
    """QEMU without EL2 has no KVM."""
    board = EmulatedBoard("qemu-neoverse-n1", machine="virt,gic-version=3")
    with Link(board.name, board.launch(tmp_path / "console.log", ())) as link:
        rows = {row["check"]: row for row in board.doctor(link)}
        with pytest.raises(BoardFailed, match="/dev/kvm: No such file or directory.*started at EL2"):
            board.describe(link, Factors())
    assert {name for name, row in rows.items() if row["verdict"] == BAD} >= {"KVM", "debug registers"}
    assert "/dev/kvm" in rows["KVM"]["found"]
    assert rows["clock source"]["verdict"] == GOOD


@pytest.mark.board
def test_a_kernel_that_is_locked_down_takes_no_module_that_nobody_signed(tmp_path: Path) -> None:
    board = EmulatedBoard("qemu-cortex-a57", append="lockdown=integrity")
    with Link(board.name, board.launch(tmp_path / "console.log", ("lazy",))) as link:
        row = next(row for row in board.doctor(link) if row["check"] == "module")
        assert (row["verdict"], row["found"]) == (ADVICE, "the kernel is locked down (integrity): dbgswitch must be signed")
        with pytest.raises(
            BoardFailed, match=r"dbgswitch.ko cannot be loaded .*locked down \(integrity\); sign .*Secure Boot off"
        ):
            board.describe(link, Factors())
        assert board.describe(link, Factors(strategies=("stock",)))["mode"] == "nvhe"


@pytest.mark.board
def test_a_kernel_that_is_locked_down_further_has_no_tracepoints(tmp_path: Path) -> None:
    board = EmulatedBoard("qemu-neoverse-n1", append="lockdown=confidentiality")
    with Link(board.name, board.launch(tmp_path / "console.log", ())) as link:
        row = next(row for row in board.doctor(link) if row["check"] == "perf")
    assert (row["verdict"], row["found"]) == (BAD, "the kernel is locked down (confidentiality), and has no tracepoints then")
    assert row["todo"].startswith("boot with lockdown=integrity, or turn Secure Boot off")


@pytest.mark.board
def test_a_board_without_a_pmu_is_bad_and_its_campaign_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = "qemu-cortex-a57"
    monkeypatch.setitem(emulated.CPUS, board, f"{emulated.CPUS[board]},pmu=off")
    rows = {row["check"]: row for row in host.examine(board)}
    assert {name for name, row in rows.items() if row["verdict"] == BAD} == {"perf"}
    assert "no event of the hardware: not supported" in rows["perf"]["found"] and "no PMU" in rows["perf"]["todo"]
    words = {"strategies": "stock", "guests": "untouched,mde", "loops": 100, "values": 2, "warmups": 1}
    campaign = session.collect(board, tmp_path / "c", choose("quick", **words))
    assert campaign.verify() == campaign.incomplete() == []
    events = "instructions:kh, instructions:u, instructions:G, cycles:kh"
    assert capsys.readouterr().out.count(f"perf could not count {events}: not supported") == 1
    values = frame.tidy(campaign)
    summary = compare.summarise(values, campaign.baselines())
    said = f"{events} could not be counted in 4 of 4 visits of {board}: not supported"
    assert said in campaign.describe()
    assert said in " ".join(run("summary", campaign.folder).stdout.split())
    assert all(said in " ".join(letter.split()) for letter in letters(campaign, values, summary, title="A title"))


def test_what_lasts_and_was_there_before_a_boot_says_nothing_of_it(tmp_path: Path) -> None:
    def with_(bits: str, most: str) -> list[str]:
        return throttle.of_this_boot(tree(tmp_path, {**WELL, PI: bits, f"{OURS}/cpufreq/scaling_max_freq": most}), 3)

    assert with_("10000", "1800000") == [], "an under-voltage of before, and a limit that its owner has set"
    assert with_("10001", "1800000") == ["under-voltage"]
    assert with_("50000", "1500000") == ["throttled by firmware since power-on", "at most 1500 of 2400 MHz"]
    assert with_("10000", "2400000") == []


def test_the_firmware_is_asked_by_its_own_program_where_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vcgencmd").write_text("#!/bin/sh\n[ $1 = get_throttled ] && echo throttled=0x20002\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert throttle.by_firmware(tmp_path) == ["frequency capped by firmware", "frequency capped by firmware since power-on"]


@pytest.mark.board
def test_a_boot_that_was_slowed_down_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The board is as fast as ever; of its second visit it is said that it was not."""
    board, visits = "qemu-cortex-a57", list[str]()
    measure = EmulatedBoard.measure

    def slowly(self: EmulatedBoard, link: Link, visit: Visit, factors: Factors) -> dict[str, object]:
        visits.append(visit.name)
        return {**measure(self, link, visit, factors), **({"throttled": ["under-voltage"]} if len(visits) == 2 else {})}

    monkeypatch.setattr(EmulatedBoard, "measure", slowly)
    words = {"strategies": "stock", "guests": "mde", "loops": 100, "values": 2, "warmups": 1, "processes": 2}
    campaign = session.collect(board, tmp_path / "c", choose("quick", **words))
    assert campaign.verify() == []
    assert capsys.readouterr().out.count(f"{board} is slowed down: under-voltage") == 1
    (boot,) = campaign.boots()
    assert campaign.facts(boot)["throttled"] == {"before": [], "during": ["under-voltage"], "after": []}
    assert [record.line.get("throttled", []) for record in campaign.records()] == [[], ["under-voltage"], [], []]
    said = f"{boot.name} was slowed down while it was measured: under-voltage"
    assert campaign.notes() == [said]
    assert said in campaign.describe()


@pytest.mark.board
def test_a_boot_keeps_what_its_board_was_examined_for_and_the_tables_show_it(tmp_path: Path) -> None:
    folder = tmp_path / "campaign"
    words = [
        "--strategies",
        "stock",
        "--guests",
        "untouched",
        "--processes",
        1,
        "--boots",
        1,
        "--loops",
        100,
        "--values",
        2,
        "--warmups",
        1,
    ]
    done = run("collect", "--campaign", folder, "--board", "qemu-neoverse-n1", "--profile", "quick", "--tune", *words)
    assert done.returncode == 0, done.stderr
    assert "there is nothing to tune" in done.stdout
    campaign = Campaign(folder)
    (boot,) = campaign.boots()
    known = campaign.facts(boot)
    assert [row["check"] for row in known["doctor"]] == list(doctor.CHECKS)
    assert all(row.keys() == {"check", "found", "verdict", "todo"} for row in known["doctor"])
    assert known["tuned"] == []
    assert known["throttled"] == {"before": [], "after": []}
    assert (known["gic"], known["events"], list(known["cores"].values())) == (3, Factors().perf_events, ["0"])
    shown = " ".join(tables.facts(campaign, "qemu-neoverse-n1").split())
    assert "doctor clock source arch_sys_counter, good" in shown
    assert "doctor debug registers 6 breakpoints, 4 watchpoints, good" in shown


def test_an_examination_is_shown_where_there_was_one(reference: Campaign) -> None:
    assert "doctor clock source" in tables.facts(reference, "qemu-neoverse-n1")
    assert "doctor" not in tables.facts(reference, "rig-cortex-a57")
