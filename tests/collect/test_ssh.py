"""A board over ssh: Debian's sshd on an emulated board, OpenSSH's client, and lines that are cut in every way."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from study import paths
from study.analyze import frame
from study.campaign import Campaign
from study.collect.boards import Link, find
from study.collect.boards.ssh import SILENCE, SshBoard, pack
from study.collect.onboard.visit import LIMIT
from study.design import Factors
from study.errors import BadRequest, BoardFailed
from tests.collect import sshd
from tests.collect.sshd import PATIENCE, Lab
from tests.collect.test_fleet import recorded, wait_for
from tests.conftest import BIN, own_address, refused, run, some
from tests.faults import ssh

pytestmark = pytest.mark.board

WHAT = ["--strategies", "stock", "--guests", "untouched,mde"]
HOW = ["--loops", "200", "--values", "2", "--processes", "1", "--boots", "1"]
SMALL = [*WHAT, *HOW]
SLOW = [*SMALL, "--loops", "15000"]  # so that a visit is seen at work from outside
LONG = {"chosen": "stock", "state": "mde", "host": "none", "leave": "hvc", "gic": True, "pmu": False}
LONG |= {"loops": 2_000_000, "values": 1, "warmups": 0}
STOP = r"""for process in /proc/[0-9]*; do
  if tr '\0' ' ' <$process/cmdline | grep -qE 'python3 -m study.collect.onboard( |.bench .*)$'; then kill -STOP ${process#/proc/}; fi
done"""
IN_A_VISIT = "grep -qs onboard.bench /proc/[0-9]*/comm"
NO_FOLDER = "set -- /tmp/*; [ ! -e $1 ]"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with sshd.lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def linked(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Link]]:
    """Return a way to open lines to the board in this process."""
    for name, value in lab.env.items():
        monkeypatch.setenv(name, value)

    def link(**how: float) -> Link:
        board = SshBoard("lab", **how)  # type: ignore[arg-type]
        return Link(board.name, board.launch(tmp_path / "console.log", ("stock",)))

    return link


def collect(lab: Lab, folder: Path, *words: object, board: str = "ssh:lab", **env: str) -> subprocess.CompletedProcess[str]:
    return run("collect", "--board", board, "--campaign", folder, *words, env={**lab.env, **env})


def left(lab: Lab) -> str:
    """Return what is on the board of processes and files that were not there before."""
    return lab.sh("ls -d /tmp/* 2>/dev/null; ps -o comm,args | grep -E '[p]ython3|[p]erf stat'; lsmod | grep dbgswitch; true")


def wait_until_gone(lab: Lab) -> None:
    """Wait until nothing of the study is left on the board: its folder goes last, and then the process that removed it."""
    lab.wait(NO_FOLDER)
    wait_for(lambda: left(lab) == "")


def client(parent: int) -> int:
    """Return the ssh that a process started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (found,) = [int(child) for child in children if Path(f"/proc/{child}/comm").read_text() == "ssh\n"]
    return found


@pytest.fixture(scope="module")
def measured(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A campaign whose line is cut in the middle of a visit, and that is gone on with."""
    folder = tmp_path_factory.mktemp("data") / "small"
    command = [str(BIN / "study"), "collect", "--board", "ssh:lab", "--campaign", str(folder), *SLOW]
    with subprocess.Popen(
        command, cwd=paths.ROOT, env={**os.environ, **lab.env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: recorded(folder, "ssh-lab") >= 1)
        lab.wait(IN_A_VISIT)
        os.kill(client(process.pid), signal.SIGKILL)
        said, words = process.communicate()
    assert "onboard.bench" not in said
    assert refused(subprocess.CompletedProcess(command, process.returncode, said, words)).startswith("study: ssh:lab: it ended")
    interrupted = Campaign(folder)
    assert interrupted.verify() == []
    assert 1 <= len(list(interrupted.records())) < len(interrupted.asked("ssh:lab"))
    wait_until_gone(lab)
    done = collect(lab, folder, *SLOW)
    assert done.returncode == 0, done.stderr
    return Campaign(folder)


def test_a_campaign_goes_on_where_its_line_was_cut(measured: Campaign) -> None:
    assert measured.verify() == []
    assert measured.missing("ssh:lab") == []
    assert sorted(record.line["visit"] for record in measured.records()) == sorted(v.name for v in measured.asked("ssh:lab"))
    assert [boot.name for boot in measured.boots()] == ["ssh-lab.1", "ssh-lab.1.2"]


def test_it_gives_the_columns_that_every_board_gives(measured: Campaign, values: pd.DataFrame) -> None:
    ours = frame.tidy(measured)
    assert list(ours.columns) == list(values.columns)
    assert [kind.name for kind in ours.dtypes] == [kind.name for kind in values.dtypes]
    assert {"time", "instructions", "cycles", "exits"} <= set(ours["metric"])
    cost = ours.query("metric == 'instructions'").groupby("guest", observed=True)["value"].median()
    assert cost["mde"] - cost["untouched"] == pytest.approx(363, abs=60)


def test_a_boot_says_what_it_was_and_how_it_was_reached(measured: Campaign) -> None:
    for boot in some(measured.boots(), 2):
        known = measured.facts(boot)
        assert (known["board"], known["ssh_host"], known["emulated"], known["mode"]) == ("ssh:lab", "lab", False, "vhe")
        assert (known["breakpoints"], known["watchpoints"], len(known["boot_id"])) == (6, 4, 36)
        assert not [word for word in ("key", own_address()) if word in json.dumps({**known, "host": ""})]


def test_nothing_stays_on_the_board(lab: Lab, measured: Campaign) -> None:
    assert measured.missing("ssh:lab") == []
    assert left(lab) == ""


def test_strategies_take_the_module_that_is_named_and_perf_an_event_of_one_s_own(lab: Lab, tmp_path: Path) -> None:
    small = ["--strategies", "lazy,eager", "--guests", "untouched", "--events", "stalled-cycles-frontend", *HOW]
    assert "name it there in STUDY_MODULE" in refused(collect(lab, tmp_path / "none", *small))
    assert "/nowhere: No such file" in refused(collect(lab, tmp_path / "none", *small, STUDY_MODULE="/nowhere"))
    done = collect(lab, tmp_path / "c", *small, STUDY_MODULE=str(lab.module))
    assert done.returncode == 0, done.stderr
    values = frame.tidy(Campaign(tmp_path / "c"))
    assert set(values.query("metric.str.startswith('stalled-cycles-frontend')")["value"].fillna(0)) == {0}
    switches = values.query("metric == 'module-switches'")
    assert switches.groupby("strategy", observed=True)["value"].median().round(1).to_dict() == {"lazy": 0.0, "eager": 1.0}
    assert left(lab) == ""


def test_a_host_that_falls_silent_is_given_up_by_the_board(lab: Lab, linked: Callable[..., Link]) -> None:
    assert SILENCE > LIMIT, "or a long visit would be taken for silence"
    with linked(silence=15.0) as link, pytest.raises(BoardFailed, match="nothing was asked for 15 s.*run the same command again"):
        assert link.ask("facts", events=Factors().perf_events, strategies=["stock"], patience=PATIENCE)["mode"] == "vhe"
        ssh = client(os.getpid())
        os.kill(ssh, signal.SIGSTOP)  # a machine that is gone without a word
        try:
            assert "onboard" in left(lab)
            wait_until_gone(lab)
        finally:
            os.kill(ssh, signal.SIGCONT)
        link.ask("facts", events=[], strategies=[])


def test_what_does_not_end_by_itself_is_ended_by_force(lab: Lab, linked: Callable[..., Link]) -> None:
    def cut() -> None:
        lab.wait(IN_A_VISIT)
        lab.sh(STOP)
        os.kill(client(os.getpid()), signal.SIGKILL)

    with linked() as link, pytest.raises(BoardFailed, match="it ended"):
        cutter = threading.Thread(target=cut)
        cutter.start()
        link.ask("visit", **LONG, events=[], label={}, patience=2 * PATIENCE)
    cutter.join()
    assert "onboard" in left(lab), "agent and measurement are stopped: they cannot have ended by themselves"
    wait_until_gone(lab)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("unknown", "ssh:unknown: Host key verification failed; accept its key once by hand with: ssh unknown"),
        ("changed", "has changed and you have requested strict checking; find out why before you forget the old one"),
        (
            "stranger",
            f"stranger@{own_address()}: Permission denied (publickey); let a key in without a password: ssh-copy-id stranger",
        ),
        ("shut", "Connection refused; is it up, and its sshd? Try: ssh shut"),
        ("missing", "ssh:missing: ssh: Could not resolve hostname missing.invalid"),
    ],
)
def test_what_ssh_refuses_is_one_line_with_what_to_do(lab: Lab, tmp_path: Path, host: str, words: str) -> None:
    assert words in refused(collect(lab, tmp_path / "c", *SMALL, board=f"ssh:{host}"))
    assert list(Campaign(tmp_path / "c").records()) == []


@pytest.mark.parametrize("name", ["root@-l", "two words", "two\nlines", "tab\tbed", "\x1b[2J", "nbsp\xa0"])
def test_a_name_that_no_host_can_have_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="names no host: give a name of ~/.ssh/config, or user@host") as error:
        find(f"ssh:{name}")
    assert str(error.value).isprintable()


def test_a_name_that_ssh_would_take_for_an_option_is_refused(tmp_path: Path) -> None:
    told = refused(run("collect", "--board", f"ssh:-oProxyCommand=touch${{IFS}}{tmp_path}/x", "--campaign", tmp_path / "c"))
    assert "names no host: give a name of ~/.ssh/config, or user@host" in told
    assert list(tmp_path.iterdir()) == []


def test_the_boards_that_can_be_named_are_listed(tmp_path: Path) -> None:
    assert {"ssh:HOST", "serial:PORT"} <= set(run("boards").stdout.split())
    assert find("ssh:root@lab").name == "ssh:root@lab"
    assert "ssh:HOST" in refused(run("collect", "--board", "ssh:", "--campaign", tmp_path / "c"))


def test_python_on_the_board_must_be_there_and_new_enough(lab: Lab, tmp_path: Path) -> None:
    told = refused(collect(lab, tmp_path / "c", *SMALL, STUDY_SSH_PYTHON="/opt/python9"))
    assert "/opt/python9: not found; install Python 3.9 or later on the board, or say where it is in STUDY_SSH_PYTHON" in told
    old = "import sys; sys.version_info = (3, 8, 1); text = sys.argv.pop(1); exec(text)"
    lab.sh(f'printf \'#!/bin/sh\\nshift 2; exec python3 -c "{old}" "$@"\\n\' >/bin/old; chmod +x /bin/old')
    told = refused(collect(lab, tmp_path / "c", *SMALL, STUDY_SSH_PYTHON="/bin/env old"))
    assert "is Python 3.8, the study needs 3.9 or later: name another in STUDY_SSH_PYTHON" in told
    assert "No closing quotation" in refused(collect(lab, tmp_path / "c", *SMALL, STUDY_SSH_PYTHON="'"))
    assert left(lab) == ""


def test_a_machine_that_is_no_arm64_linux_says_so_before_anything_is_sent_there() -> None:
    text = (paths.ONBOARD / "bootstrap.py").read_text()
    done = subprocess.run(
        [sys.executable, "-I", "-c", text, "1000", "9"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert json.loads(done.stdout) == {"id": 1, "error": "that machine is Linux on x86_64, not an arm64 Linux with KVM"}


def test_what_is_killed_on_either_side_loses_nothing_and_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    rows = ssh.kills(lab, tmp_path, 2, 1, print)  # make faults makes many
    assert ssh.harm(rows, []) == []
    assert [row["tried"] for row in rows] == [1, 1]


def test_a_board_finds_a_hook_for_pyperf_which_will_not_start_without_one_on_python_3_9(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(pack(b""))) as archive:
        archive.extractall(tmp_path)
    found = "from pyperf._hooks import get_hooks; print([hook.load() for hook in get_hooks()])"
    text = f"import sys; sys.path.insert(0, sys.argv[1]); {found}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", text, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout == "[<class 'study.collect.onboard.hook.PerfStat'>]\n", done.stderr
