"""Tuning a machine, and putting it back after whatever ends the study, on trees that look like a machine's files."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import paths
from study.collect import doctor as host
from study.collect.boards.emulated import EmulatedBoard
from study.collect.onboard import BoardError, facts, tuning
from tests.conftest import drawn

CPU = "sys/devices/system/cpu"
MEASURING = facts.measuring_cpu()
OURS = f"{CPU}/cpu{MEASURING}"
ALL = f"0-{MEASURING + 1}"  # one CPU more than the one that measures, so that there is somewhere to go
OTHERS = ",".join(str(cpu) for cpu in range(MEASURING + 2) if cpu != MEASURING)
MACHINE = {
    "proc/sys/kernel/random/boot_id": "first boot\n",
    f"{CPU}/online": f"{ALL}\n",
    f"{OURS}/cpufreq/scaling_governor": "schedutil\n",
    f"{OURS}/cpuidle/state0/disable": "0\n",
    f"{OURS}/cpuidle/state1/disable": "0\n",
    f"{OURS}/cpuidle/state2/disable": "0\n",
    "proc/irq/default_smp_affinity": f"{(1 << MEASURING + 2) - 1:x}\n",
    "proc/irq/7/smp_affinity_list": f"{ALL}\n",
    "proc/irq/12/smp_affinity_list": f"{MEASURING}\n",
    "proc/irq/30/smp_affinity_list": f"{MEASURING + 1}\n",
    tuning.DAMON: "Y\n",
}
TUNED = {
    **MACHINE,
    f"{OURS}/cpufreq/scaling_governor": "performance",
    f"{OURS}/cpuidle/state1/disable": "1",
    f"{OURS}/cpuidle/state2/disable": "1",
    "proc/irq/default_smp_affinity": tuning.mask((1 << MEASURING + 2) - 1 & ~(1 << MEASURING)),
    "proc/irq/7/smp_affinity_list": OTHERS,
    "proc/irq/12/smp_affinity_list": OTHERS,
    tuning.DAMON: "N",
}
PATIENCE = 120.0  # seconds
CHANGED = {name for name in MACHINE if TUNED[name] != MACHINE[name]}


def tree(root: Path, files: Mapping[str, str]) -> Path:
    (root / "run").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    return root


def there(root: Path, files: Mapping[str, str] = MACHINE) -> dict[str, str]:
    """Return what the files of a tree hold now."""
    return {name: (root / name).read_bytes().decode() for name in files}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return tree(tmp_path, MACHINE)


class Agent:
    """The real agent, whose machine is a tree."""

    def __init__(self, root: Path) -> None:
        argv = ["env", "--default-signal", sys.executable, "-m", "study.collect.onboard"]  # also where nohup has us ignore some
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "STUDY_ROOT": str(root), "PYTHONPATH": str(paths.ROOT)},
        )  # fmt: skip

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{json.dumps({'id': 1, 'do': do, 'with': arguments})}\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def tune(self) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = self.ask("tune")["result"]["tuned"]
        return rows

    def guardian(self) -> int:
        """Return the process that watches over the agent."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (found,) = [int(child) for child in children if "onboard.tuning" in Path(f"/proc/{child}/cmdline").read_text()]
        return found

    def gone(self) -> None:
        """Kill it, without waiting for a guardian that may be stuck."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()

    def end(self) -> str:
        return self.process.communicate("", timeout=PATIENCE)[1]


@pytest.fixture
def agent() -> Iterator[Callable[[Path], Agent]]:
    """Start agents, and end those that are left."""
    started: list[Agent] = []

    def start(root: Path) -> Agent:
        started.append(Agent(root))
        return started[-1]

    yield start
    for one in started:
        one.gone()


def soon(true: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Wait until something is true; milliseconds, on a machine that is not busy with emulators."""
    end = time.monotonic() + patience
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def test_a_machine_is_tuned_for_the_cpu_that_measures_and_put_back(machine: Path, agent: Callable[[Path], Agent]) -> None:
    study = agent(machine)
    rows = study.tune()
    assert there(machine) == TUNED
    assert {row["path"] for row in rows} == {f"/{name}" for name in CHANGED}
    assert {row["path"]: (row["was"], row["now"]) for row in rows}[f"/{OURS}/cpufreq/scaling_governor"] == (
        "schedutil",
        "performance",
    )
    assert study.end() == ""
    assert there(machine) == MACHINE
    assert (machine / tuning.JOURNAL).read_bytes() == b"", "nothing is left to do"


def test_a_machine_that_is_tuned_already_is_left_alone(tmp_path: Path, agent: Callable[[Path], Agent]) -> None:
    study = agent(tree(tmp_path, TUNED))
    assert study.tune() == []
    assert there(tmp_path) == TUNED
    study.end()
    assert there(tmp_path) == TUNED


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_whatever_ends_the_agent_the_machine_is_as_it_was_at_once(
    machine: Path, agent: Callable[[Path], Agent], number: signal.Signals
) -> None:
    study = agent(machine)
    study.tune()
    study.process.send_signal(number)
    assert soon(lambda: there(machine) == MACHINE)
    assert study.process.wait(timeout=PATIENCE) != 0


def test_the_guardian_is_deaf_to_what_would_end_it_with_the_agent(machine: Path, agent: Callable[[Path], Agent]) -> None:
    study = agent(machine)
    study.tune()
    guardian = study.guardian()
    assert os.getsid(guardian) != os.getsid(study.process.pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert ignored(guardian) >> number - 1 & 1
        os.kill(guardian, number)
    assert alive(guardian)
    assert there(machine) == TUNED, "the guardian goes on waiting"
    study.process.kill()
    assert soon(lambda: there(machine) == MACHINE)


def test_an_agent_whose_guardian_was_killed_puts_the_machine_back_itself(machine: Path, agent: Callable[[Path], Agent]) -> None:
    study = agent(machine)
    study.tune()
    os.kill(study.guardian(), signal.SIGKILL)
    study.end()
    assert there(machine) == MACHINE


def test_after_a_double_crash_the_next_agent_puts_the_machine_back(machine: Path, agent: Callable[[Path], Agent]) -> None:
    study = agent(machine)
    study.tune()
    os.kill(study.guardian(), signal.SIGKILL)
    study.process.kill()
    study.process.wait()
    assert there(machine) == TUNED, "nobody was left to put it back"
    following = agent(machine)
    following.end()
    assert there(machine) == MACHINE


def test_after_a_double_crash_tuning_again_does_not_take_tuned_values_for_the_owner_s(
    machine: Path, agent: Callable[[Path], Agent]
) -> None:
    study = agent(machine)
    study.tune()
    os.kill(study.guardian(), signal.SIGKILL)
    study.process.kill()
    study.process.wait()
    following = agent(machine)
    assert {row["was"] for row in following.tune() if "governor" in row["path"]} == {"schedutil"}
    following.end()
    assert there(machine) == MACHINE


@pytest.fixture
def doomed() -> Iterator[list[int]]:
    """Processes that are not to outlive a test, whatever it finds."""
    processes: list[int] = []
    yield processes
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def test_a_guardian_that_is_killed_in_the_middle_of_its_work_loses_nothing(
    machine: Path, agent: Callable[[Path], Agent], doomed: list[int]
) -> None:
    study = agent(machine)
    study.tune()
    guardian = study.guardian()
    doomed.append(guardian)
    stuck = machine / OURS / "cpuidle/state1/disable"  # a pipe that nobody writes: the guardian waits there
    stuck.unlink()
    os.mkfifo(stuck)
    study.process.kill()
    study.process.wait()
    last = machine / "proc/irq/default_smp_affinity"
    assert soon(lambda: last.read_text() == MACHINE["proc/irq/default_smp_affinity"])
    governor = machine / OURS / "cpufreq/scaling_governor"
    assert governor.read_text() == "performance", "what was changed first comes last"
    os.kill(guardian, signal.SIGKILL)
    assert soon(lambda: not alive(guardian))
    stuck.unlink()
    stuck.write_text(TUNED[f"{OURS}/cpuidle/state1/disable"])
    agent(machine).end()
    assert there(machine) == MACHINE


def ignored(process: int) -> int:
    """Return the signals that a process ignores, which the kernel drops at once: proc(5), SigIgn."""
    return int(dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())["SigIgn"], 16)


def alive(process: int) -> bool:
    """Say whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# A file of the kernel's that says something and takes nothing, not even from root.
STUBBORN = Path("/proc/sys/kernel/ostype")
GOVERNOR = f"{OURS}/cpufreq/scaling_governor"


def replaced(file: Path, target: Path) -> None:
    file.unlink()
    file.symlink_to(target)


def test_values_that_are_refused_are_said_and_the_others_are_written(machine: Path, agent: Callable[[Path], Agent]) -> None:
    replaced(machine / GOVERNOR, STUBBORN)
    study = agent(machine)
    rows = study.tune()
    assert [row for row in rows if "refused" in row] == [{"path": f"/{GOVERNOR}", "was": "Linux", "refused": "Permission denied"}]
    assert {row["path"] for row in rows if "now" in row} == {f"/{name}" for name in CHANGED - {GOVERNOR}}
    said = host.tuned(rows)
    assert f"{len(CHANGED) - 1} settings are tuned" in said
    assert f"1 could not be (/{GOVERNOR}: Permission denied)" in said
    assert study.end() == ""
    assert there(machine) == {**MACHINE, GOVERNOR: "Linux\n"}


def test_a_value_that_cannot_be_set_back_is_said_and_tried_again_by_the_next_agent(
    machine: Path, agent: Callable[[Path], Agent]
) -> None:
    study = agent(machine)
    study.tune()
    replaced(machine / GOVERNOR, STUBBORN)
    said = study.end()
    assert f"study: /{GOVERNOR} could not be set back to schedutil: Permission denied" in said
    assert "Traceback" not in said
    assert there(machine) == {**MACHINE, GOVERNOR: "Linux\n"}, "all others are back"
    (machine / GOVERNOR).unlink()
    (machine / GOVERNOR).write_text("performance")
    following = agent(machine)
    following.ask("tune")
    following.end()
    assert there(machine) == MACHINE


def test_a_device_that_is_gone_needs_nothing(machine: Path, agent: Callable[[Path], Agent]) -> None:
    study = agent(machine)
    study.tune()
    (machine / "proc/irq/7/smp_affinity_list").unlink()
    assert study.end() == ""
    assert not (machine / "proc/irq/7/smp_affinity_list").exists(), "no file is made"
    left = {name: text for name, text in MACHINE.items() if "/7/" not in name}
    assert there(machine, left) == left
    assert (machine / tuning.JOURNAL).read_bytes() == b""


def test_a_journal_of_an_earlier_boot_is_void(machine: Path, agent: Callable[[Path], Agent]) -> None:
    lines = [["an earlier boot\n"], [GOVERNOR, "ondemand\n"]]
    (machine / tuning.JOURNAL).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    agent(machine).end()
    assert there(machine) == MACHINE
    assert (machine / tuning.JOURNAL).read_bytes() == b""


def test_a_torn_line_of_a_journal_takes_nothing_with_it(machine: Path, agent: Callable[[Path], Agent]) -> None:
    lines = [["first boot\n"], [GOVERNOR, "ondemand\n"]]
    (machine / tuning.JOURNAL).write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '["proc/irq/7/smp_aff')
    agent(machine).end()
    assert there(machine) == {**MACHINE, GOVERNOR: "ondemand\n"}


def test_two_studies_do_not_tune_one_machine(machine: Path, agent: Callable[[Path], Agent]) -> None:
    first, second = agent(machine), agent(machine)
    first.tune()
    assert "another study has tuned this machine" in second.ask("tune")["error"]
    second.end()
    assert there(machine) == TUNED, "the second leaves the first's alone"
    first.end()
    assert there(machine) == MACHINE


def test_where_no_journal_can_be_kept_nothing_is_changed(machine: Path, agent: Callable[[Path], Agent]) -> None:
    full = agent(machine)
    resource.prlimit(full.process.pid, resource.RLIMIT_FSIZE, (40, 40))  # a file system that is full
    assert "cannot be written, so nothing was tuned" in full.ask("tune")["error"]
    full.end()
    assert there(machine) == MACHINE
    (machine / tuning.JOURNAL).unlink()
    (machine / "run").rmdir()
    assert "run the study as root" in agent(machine).ask("tune")["error"]
    assert there(machine) == MACHINE


def test_where_no_guardian_can_be_kept_nothing_is_changed(
    machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nothing = tmp_path_factory.mktemp("bin") / "python"
    nothing.write_text("#!/bin/sh\nexit 1\n")
    nothing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(nothing))
    with pytest.raises(BoardError, match="nothing was changed"), tuning.held(machine, tuning.wanted(machine, MEASURING)):
        pass
    assert there(machine) == MACHINE


NAMES = st.from_regex(r"[a-z]{1,8}(/[0-9]{1,3})?", fullmatch=True)
TEXTS = st.text(max_size=40)


@given(files=st.dictionaries(NAMES, TEXTS, max_size=8), wanted=st.dictionaries(NAMES, TEXTS, max_size=8), fails=st.booleans())
@drawn(30)
def test_any_set_of_files_and_values_comes_back(files: dict[str, str], wanted: dict[str, str], fails: bool) -> None:
    files = {f"{name}/file": text for name, text in files.items()}
    asked = [(f"{name}/file", text) for name, text in wanted.items()]
    with tempfile.TemporaryDirectory() as folder:
        root = tree(Path(folder), files)
        with contextlib.suppress(ZeroDivisionError), tuning.held(root, asked) as rows:
            assert there(root, files) == {**files, **{name: text for name, text in asked if name in files}}
            assert [row["path"] for row in rows if "refused" in row] == [f"/{name}" for name, _ in asked if name not in files]
            if fails:
                raise ZeroDivisionError
        assert there(root, files) == files
        made = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        assert made - {tuning.JOURNAL} == files.keys(), "no file is made"


GOVERNORS = st.sampled_from(["schedutil", "ondemand", "powersave", "performance", "userspace", ""])
LISTS = st.sets(st.integers(0, MEASURING + 1), min_size=1).map(lambda cpus: ",".join(map(str, sorted(cpus))))


@given(governor=GOVERNORS, states=st.lists(st.sampled_from("01"), max_size=4), irqs=st.lists(LISTS, max_size=6))
@drawn(15)
def test_any_machine_comes_back_after_a_kill(governor: str, states: list[str], irqs: list[str]) -> None:
    files = {
        **{name: MACHINE[name] for name in (f"{CPU}/online", tuning.BOOT_ID)},
        GOVERNOR: f"{governor}\n",
        **{f"{OURS}/cpuidle/state{number}/disable": f"{text}\n" for number, text in enumerate(states)},
        **{f"proc/irq/{number}/smp_affinity_list": f"{text}\n" for number, text in enumerate(irqs)},
    }
    with tempfile.TemporaryDirectory() as folder:
        root = tree(Path(folder), files)
        study = Agent(root)
        try:
            study.tune()
            now = there(root, files)
            assert now[GOVERNOR].strip() in ("performance", "userspace", "")
            assert "0" not in [now[f"{OURS}/cpuidle/state{number}/disable"].strip() for number in range(1, len(states))]
            assert not [name for name, text in now.items() if "irq" in name and MEASURING in tuning.cpus(text)]
        finally:
            study.gone()
        assert soon(lambda: there(root, files) == files)
        assert soon(lambda: (root / tuning.JOURNAL).read_bytes() == b"")


@pytest.mark.parametrize(
    ("bits", "text"),
    [(1, "00000001"), (0xFFFFFFFE, "fffffffe"), (1 << 32, "00000001,00000000"), ((1 << 64) - 1, "ffffffff,ffffffff")],
)
def test_masks_are_written_as_the_kernel_writes_them(bits: int, text: str) -> None:
    assert tuning.mask(bits) == text


@pytest.mark.parametrize(("text", "cpus"), [("0-2,5\n", {0, 1, 2, 5}), ("7", {7}), ("\n", set()), ("(null)\n", set())])
def test_lists_of_cpus_are_read_as_the_kernel_writes_them(text: str, cpus: set[int]) -> None:
    assert tuning.cpus(text) == cpus


def test_an_interrupt_goes_nowhere_where_there_is_one_cpu(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0\n", "proc/irq/7/smp_affinity_list": "0\n", "proc/irq/default_smp_affinity": "ff\n"}
    assert list(tuning.wanted(tree(tmp_path, files), 0)) == []


def test_the_real_files_of_this_machine_are_only_read(tmp_path: Path) -> None:
    """What would be tuned here, which may be nothing, names files that are there, and values that differ from what they hold."""
    assert tuning.cpus(tuning.read(Path("/", CPU, "online"))), "the machine's own files are looked at"
    for path, value in tuning.wanted(Path("/"), MEASURING):
        assert Path("/", path).read_text().strip() not in ("", value)


ON_A_BOARD = """
files=$(echo /proc/irq/*/smp_affinity_list /proc/irq/default_smp_affinity)
mkfifo /tmp/in
grep . $files >/tmp/before
python3 -m study.collect.onboard </tmp/in >/tmp/answer & agent=$!
exec 3>/tmp/in
echo '{"id": 1, "do": "tune", "with": {}}' >&3
while [ ! -s /tmp/answer ]; do sleep 0.1; done
grep . $files >/tmp/tuned
kill -9 $agent
timeout 100 sh -c "while ps | grep -q '[o]nboard.tuning'; do sleep 0.1; done"
grep . $files >/tmp/after
cat /tmp/answer /tmp/before; echo; cat /tmp/tuned; echo; cat /tmp/after
exit
"""


@pytest.mark.board
def test_a_real_kernel_is_tuned_and_put_back_after_a_kill(tmp_path: Path) -> None:
    """The files of an emulated board with two CPUs, of which the second measures."""
    launch = EmulatedBoard("qemu-neoverse-n1", append='"STUDY_UNDER=sh -s"').launch(tmp_path / "console.log", ())
    with subprocess.Popen(
        [*launch.argv, "-smp", "2"], cwd=launch.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(ON_A_BOARD)
        process.stdin.flush()
        answer, _, rest = process.stdout.read().partition("\n")
    rows = json.loads(answer)["result"]["tuned"]
    before, tuned, after = (dict(line.split(":") for line in part.splitlines()) for part in rest.split("\n\n"))
    assert {row["path"] for row in rows if "now" in row} == {path for path in before if before[path] != tuned[path]}
    assert "/proc/irq/default_smp_affinity" in [row["path"] for row in rows]
    assert len(rows) > 1
    assert not [row for row in rows if "refused" in row], "interrupts that every CPU has its own of are not asked to move"
    assert {tuned[row["path"]] for row in rows if row["path"].endswith("_list")} == {"0"}
    assert after == before
