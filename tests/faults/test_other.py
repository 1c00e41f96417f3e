"""Read-only data, a clock that runs backwards, two commands at once, boards that talk nonsense, panic, or lose their module."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from study import paths
from study.campaign import Campaign
from study.collect import boards, session
from study.collect.boards import Launch, linux
from study.collect.boards.emulated import EmulatedBoard
from study.design import Factors
from study.errors import BoardFailed
from tests.conftest import refused, run
from tests.faults.disk import SMALL, Room
from tests.faults.kills import RIG, Run, collecting
from tests.faults.ledger import Ledger, lines, planned_only
from tests.faults.processes import go_on

OTHER_RIG = "rig-neoverse-n1"
DESIGN = [f"--{name}={value}" for name, value in SMALL.items()]

# A clock that goes back by an hour whenever it is read, for Python alone: the emulator has no part in this.
BACKWARDS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static long back(void)
{
    static long calls;
    return strncmp(program_invocation_short_name, "python", 6) && strcmp(program_invocation_short_name, "study")
        ? 0 : 3600 * __sync_add_and_fetch(&calls, 1);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, now);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
        now->tv_sec -= back();
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (now)
        *now = fine.tv_sec;
    return fine.tv_sec;
}
"""


def collect(folder: Path, *more: object, board: str = RIG, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return run("collect", "--brief", "--board", board, "--campaign", folder, *DESIGN, *more, env=env)


@pytest.mark.board
def test_data_that_cannot_be_written_are_refused_in_one_line_and_can_be_read(tmp_path: Path) -> None:
    with Room(tmp_path / "room") as room:
        campaign = room.folder / "campaign"
        words = ["collect", "--brief", "--campaign", campaign, *DESIGN, "--board"]
        assert room.study(*words, RIG).returncode == 0
        before = Ledger(room.seen / "campaign").look().recorded
        room.read_only(True)
        line = refused(room.study(*words, OTHER_RIG))
        assert "Read-only file system" in line
        assert str(campaign) in line
        for command in ("summary", "verify"):
            done = room.study(command, campaign)
            assert (done.returncode, done.stderr) == (0, "")
        room.read_only(False)
        assert room.study(*words, OTHER_RIG).returncode == 0
        assert Ledger(room.seen / "campaign").look().recorded == 2 * before
        assert room.study("verify", campaign).returncode == 0


@pytest.mark.board
def test_a_clock_that_runs_backwards_harms_nothing(tmp_path: Path) -> None:
    source, library = tmp_path / "backwards.c", tmp_path / "backwards.so"
    source.write_text(BACKWARDS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    campaign, began = tmp_path / "campaign", datetime.now(UTC)
    for _ in range(2):
        done = collect(campaign, env={"LD_PRELOAD": library.name, "LD_LIBRARY_PATH": str(tmp_path)})
        assert (done.returncode, done.stderr) == (0, "")
    (boot,) = Campaign(campaign).boots()
    started = datetime.fromisoformat(json.loads((boot / "boot.json").read_text())["started"])
    assert started < began - timedelta(hours=1), "the clock did not run backwards"
    names = [line.content["visit"] for line in lines(campaign)[0]]
    assert names == [visit.name for visit in Campaign(campaign).asked(RIG)]
    assert run("verify", campaign).returncode == 0
    assert run("summary", campaign).returncode == 0


@pytest.mark.board
def test_a_second_command_on_the_same_board_is_refused(tmp_path: Path) -> None:
    campaign = tmp_path / "campaign"
    with Run(collecting(campaign, SMALL), campaign, tmp_path / "first", ["between:1"]) as first:
        assert first.stopped() == first.process.pid
        assert Ledger(campaign).look().recorded == 1
        line = refused(collect(campaign))
        go_on(first.process.pid)
        first.until(first.ended)
    assert first.process.returncode == 0, first.err
    assert "another command" in line
    assert str(first.process.pid) in line
    found = Ledger(campaign).look()
    assert (found.recorded, found.duplicated, found.wrong) == (12, 0, 0)
    assert run("verify", campaign).stderr == ""


@pytest.mark.board
def test_two_boards_at_once_share_a_campaign(tmp_path: Path) -> None:
    campaign, done = tmp_path / "campaign", {}

    def measure(board: str) -> None:
        done[board] = collect(campaign, board=board)

    both = [threading.Thread(target=measure, args=(board,)) for board in (RIG, OTHER_RIG)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert {board: (one.returncode, one.stderr) for board, one in done.items()} == {RIG: (0, ""), OTHER_RIG: (0, "")}
    found = Ledger(campaign, same=planned_only).look()
    assert (found.recorded, found.duplicated, found.wrong) == (24, 0, 0)
    assert run("verify", campaign).stderr == ""


# --- a Linux board whose line talks nonsense --------------------------------------------------------------------------------

# Speaks as the agent does, with answers of a real board, and spoils the answer to one visit.
AGENT = r"""
import json, sys

how, which, answers = sys.argv[1], int(sys.argv[2]), json.load(open(sys.argv[3]))
visits, before = 0, ""
for line in sys.stdin:
    if not line.strip():
        break
    request = json.loads(line)
    result = answers["facts"]
    if request["do"] == "visit":
        visits += 1
        asked = request["with"]
        result = answers["/".join([asked["chosen"], asked["state"], asked["label"]["arm"]])]
        result["pyperf"]["metadata"].update(asked["label"])
    if request["do"] == "after":
        result = {"throttled": "no" if which and how == "untold" else {"after": []}}
    text = json.dumps({"id": request["id"], "result": result}) + "\n"
    if visits == which and request["do"] == "visit" and how != "untold":
        text = {
            "garbage": "\x1b[2J\x00\xff not an answer at all\n", "nothing": "", "twice": text + text, "late": before,
            "half": text[: len(text) // 2] + "\n", "no object": "[]\n", "no result": json.dumps({"id": request["id"]}) + "\n",
            "too early": before + text,
        }[how]
    else:
        before = text
    sys.stdout.buffer.write(text.encode("latin-1"))
    sys.stdout.flush()
"""
# How an answer is spoilt; what the one line says; how many of the visits are recorded then, where the second is the spoilt one.
NONSENSE = {
    "garbage": ("gave no answer that can be read", 1),
    "nothing": ("silent for too long", 1),
    "twice": ("answered a question that was not asked", 2),
    "late": ("answered a question that was not asked", 1),
    "too early": ("answered a question that was not asked", 1),
    "half": ("gave no answer that can be read", 1),
    "no object": ("gave no answer that can be read", 1),
    "no result": ("answered a question that was not asked", 1),
    "untold": ("does not say what slowed it down", 6),
}
LINUX = "qemu-neoverse-n1"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a real board once answered: its facts, and for each cell the first visit."""
    boot = next(path for path in Campaign(paths.DATA / "reference").boots() if path.name.startswith(LINUX))
    facts = json.loads((boot / "boot.json").read_text())
    found: dict[str, Any] = {
        "facts": {name: facts[name] for name in facts.keys() - {"board", "emulated", "started", "study", "host"}}
    }
    for text in (boot / "visits.jsonl").read_bytes().splitlines():
        line = json.loads(text)
        if (line["cell"]["host"], line["cell"]["exit"]) == ("none", "hvc"):
            name = "/".join([line["cell"]["strategy"], line["cell"]["guest"], line["arm"]])
            result = {key: line[key] for key in line.keys() & {"pyperf", "windows", "checks", "module"}}
            found.setdefault(name, result)
    path = tmp_path_factory.mktemp("answers") / "answers.json"
    path.write_text(json.dumps(found))
    return path


@pytest.mark.parametrize("how", NONSENSE)
def test_nonsense_of_a_linux_board_is_no_visit(how: str, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT)
    factors = Factors(strategies=("stock", "lazy"), guests=("untouched", "mde"), processes=1, loops=2000)

    def launch(which: int) -> Any:
        argv = [sys.executable, str(agent), how, str(which), str(answers)]
        return lambda self, console, strategies, kernel="": Launch(argv, cwd=console.parent, console=console, patience=20.0)

    monkeypatch.setattr(linux, "VISIT_PATIENCE", 2.0)
    monkeypatch.setattr(EmulatedBoard, "launch", launch(2))
    words, recorded = NONSENSE[how]
    with pytest.raises(BoardFailed, match=words) as failed:
        session.collect(LINUX, tmp_path / "c", factors)
    assert str(failed.value).isprintable()
    ledger = Ledger(tmp_path / "c")
    assert ledger.look().recorded == recorded
    monkeypatch.setattr(EmulatedBoard, "launch", launch(0))
    campaign = session.collect(LINUX, tmp_path / "c", factors)
    found = ledger.look()
    assert (found.recorded, found.lost, found.duplicated, found.wrong) == (6, 0, 0, 0)
    assert campaign.verify() == []


# --- a Linux board that loses its module, or its life, in the middle of a visit ----------------------------------------------

# The emulated board runs its agent under this, which waits until a visit's process is at work. Seconds are the board's.
WAITER = """
import glob,os,sys,time
if os.fork():os.execvp(sys.argv[1],sys.argv[1:])
os.closerange(0,2)
def busy(path):
    try:return b'onboard.bench' in open(path,'rb').read()
    except OSError:return False
while not any(map(busy,glob.glob('/proc/[0-9]*/comm'))):time.sleep(.02)
time.sleep(.03)
"""
STRIKES = {
    "os.system('rmmod dbgswitch')": "the strategy was changed to stock while (lazy|eager) was measured",
    "open('/proc/sysrq-trigger','w').write('c')": "it ended; its last words: .*Kernel panic",
}


@pytest.mark.board
def test_a_module_taken_out_and_a_panic_in_the_middle_of_a_visit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factors = Factors(strategies=("lazy", "eager"), guests=("mde",), processes=1, loops=20_000, values=2, warmups=1)
    ledger = Ledger(tmp_path / "c")
    for strike, words in STRIKES.items():
        under = f"python3 -c exec(bytes.fromhex('{(WAITER + strike).encode().hex()}'))"  # the kernel's command line has no room for spaces
        with monkeypatch.context() as patch:
            patch.setitem(boards.BOARDS, LINUX, partial(EmulatedBoard, LINUX, append=f'"STUDY_UNDER={under}"'))
            with pytest.raises(BoardFailed, match=words) as failed:
                session.collect(LINUX, tmp_path / "c", factors)
        assert str(failed.value).isprintable()
        found = ledger.look()
        assert (found.recorded, found.lost, found.torn) == (0, 0, ())
    campaign = session.collect(LINUX, tmp_path / "c", factors)
    found = ledger.look()
    assert (found.recorded, found.duplicated, found.wrong) == (3, 0, 0)
    assert campaign.verify() == []
