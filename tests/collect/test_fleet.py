"""Fleets of emulated boards, on real schedulers and workers, some of which are killed."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from study import paths
from study.analyze import frame
from study.campaign import Campaign
from study.campaign.store import VISITS
from study.collect.fleet import client
from study.collect.fleet import worker as on_worker
from tests.conftest import BIN, own_address, refused, run, some, wait_for

pytestmark = pytest.mark.board

RIGS = ["rig-cortex-a15", "rig-cortex-a57", "rig-neoverse-n1"]
DOWN = "serial:/dev/no-such-port"
SMALL = ["--profile", "quick", "--strategies", "lazy,eager", "--guests", "mde", "--hosts", "none"]
LONG = [*SMALL, "--processes", 6]
LONG_VISITS = 18
ENDLESS = [*SMALL, "--processes", 400]  # for what is interrupted long before its end
PATIENCE = 240.0  # seconds: other tests may keep the machine busy


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    """Build what the boards boot, once and before they all want it."""
    for words in (["image"], ["rig", "aarch64"], ["rig", "armv7"]):
        assert run(*words).returncode == 0


def shelf_of(folder: Path, *boards: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "boards.toml").write_text("".join(f"[boards.{json.dumps(board)}]\n" for board in boards))
    return folder / "boards.toml"


def command(file: Path, *words: object) -> list[str]:
    return ["collect", "--fleet", str(file), "--campaign", str(file.parent / "campaign"), *map(str, words)]


def start(*words: object, session: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(BIN / "study"), *map(str, words)], cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=session,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, errors = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def recorded(campaign: Path, board: str) -> int:
    """How many visits of a board are on the disk, those of an interrupted boot among them."""
    return sum(path.read_bytes().count(b"\n") for path in campaign.glob(f"boots/{board}.*/{VISITS}"))


def at_work(campaign: Path) -> list[psutil.Process]:
    """All processes that have to do with a campaign: that name it, or work in it."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(campaign) in " ".join(process.cmdline()) or process.cwd().startswith(f"{campaign}/"):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def collecting(campaign: Path, board: str) -> psutil.Process:
    """The process that collects on a board."""
    (found,) = [p for p in at_work(campaign) if "--brief" in p.cmdline() and board in p.cmdline()]
    return found


VICTIMS: dict[str, Callable[[psutil.Process], psutil.Process | None]] = {
    "worker": lambda process: process.parent(),
    "process": lambda process: process,
    "emulator": lambda process: next(child for child in process.children() if "qemu" in child.name()),
}
SAYS = {"worker": on_worker.LOST, "process": "was ended by SIGKILL", "emulator": "it ended"}


def names_of(campaign: Campaign, board: str) -> list[str]:
    return [record.line["visit"] for record in campaign.records() if record.facts["board"] == board]


def planned(campaign: Campaign, board: str) -> list[str]:
    return [visit.name for visit in campaign.design_of(board).visits()]


# --- on this machine ----------------------------------------------------------------------------------------------------


def test_a_fleet_measures_boards_of_both_kinds_into_one_campaign(tmp_path: Path) -> None:
    boards = ["qemu-neoverse-n1", "rig-cortex-a15", "rig-cortex-a57"]
    words = command(shelf_of(tmp_path, *boards), *SMALL[:2], "--strategies", "lazy", "--guests", "mde")
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    campaign = Campaign(tmp_path / "campaign")
    assert (campaign.boards(), campaign.verify(), campaign.incomplete()) == (boards, [], [])
    said = done.stdout.splitlines()
    for board in boards:
        assert any(line == f"{board}: 2/2 visits, 0 left" for line in said)
        assert names_of(campaign, board) == planned(campaign, board)
    assert said[-1] == f"digest: {campaign.digest()}"
    values = frame.tidy(campaign)
    assert not values[["board", "kernel", "strategy", "guest", "visit", "metric", "value"]].isna().any(axis=None)
    assert set(values.groupby("board")["visit"].nunique()) == {2}

    again = run(*words)
    assert again.returncode == 0
    assert again.stdout.count("nothing to measure") == len(boards)
    assert Campaign(tmp_path / "campaign").digest() == campaign.digest()
    assert at_work(tmp_path) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_two_of_three_boards_killed_at_random_moments_leave_the_third_alone(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    folder, words = tmp_path / "campaign", command(shelf_of(tmp_path, *RIGS), *LONG)
    *victims, survivor = draw.sample(RIGS, 3)
    ways = draw.sample(sorted(VICTIMS), 2)
    moments = [draw.randrange(1, LONG_VISITS // 3) for _ in victims]
    running = start(*words)

    def kill(board: str, way: str, moment: int) -> None:
        wait_for(lambda: recorded(folder, board) >= moment)
        found = VICTIMS[way](collecting(folder, board))
        assert found
        found.kill()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(kill, victims, ways, moments))
    done = ended(running)

    line = refused(done)
    assert done.returncode == 1
    assert "2 of 3 boards incomplete: " in line
    assert f"go on with: study {shlex.join(words)}" in line
    for board, way in zip(victims, ways, strict=True):
        assert any(text.startswith(f"{board}: ") and SAYS[way] in text for text in done.stdout.splitlines()), done.stdout
        assert board in line
    assert survivor not in line.partition(";")[0]
    assert at_work(tmp_path) == []

    campaign = Campaign(folder)
    assert names_of(campaign, survivor) == planned(campaign, survivor)
    assert all("its boot was interrupted" in problem.says for problem in campaign.verify())  # or its command could still close it
    first = {board: recorded(folder, board) for board in victims}
    for board in victims:
        assert [path.name for path in folder.glob(f"boots/{board}.*")] == [f"{board}.1"], "it was begun a second time"
        visits = [row["visit"] for row in Campaign(folder).lines_of(folder / f"boots/{board}.1")]
        assert some(visits) == planned(campaign, board)[: len(visits)]

    again = run(*words)
    assert again.returncode == 0, again.stderr
    campaign = Campaign(folder)
    assert (campaign.verify(), campaign.incomplete()) == ([], [])
    for board in RIGS:
        assert names_of(campaign, board) == planned(campaign, board)
    for board in victims:
        assert recorded(folder, board) == LONG_VISITS
        assert (folder / f"boots/{board}.1" / VISITS).read_bytes().count(b"\n") == first[board]
    assert list(folder.glob("*.part")) == []


@pytest.mark.parametrize("end", ["the terminal", "at once"])
def test_an_interruption_ends_everything_and_spoils_nothing(tmp_path: Path, end: str) -> None:
    boards = RIGS[:2]
    words = command(shelf_of(tmp_path, *boards), *ENDLESS)
    running = start(*words, session=True)
    wait_for(lambda: all(recorded(tmp_path / "campaign", board) > 2 for board in boards))
    if end == "the terminal":
        os.killpg(running.pid, signal.SIGINT)
        done = ended(running)
        assert "interrupted; what was recorded stays" in refused(done)
        assert done.returncode == 130
    else:
        running.kill()
        assert "Traceback" not in ended(running).stderr
    wait_for(lambda: at_work(tmp_path) == [])
    campaign = Campaign(tmp_path / "campaign")
    open_ = [] if end == "the terminal" else some(campaign.verify(), len(boards))
    assert all("its boot was interrupted" in problem.says for problem in open_)
    assert open_ == campaign.verify()
    for board in boards:
        assert 2 < recorded(campaign.folder, board) < len(planned(campaign, board))


def test_a_kind_that_cannot_have_the_design_stops_no_other(tmp_path: Path) -> None:
    done = run(*command(shelf_of(tmp_path, "qemu-cortex-a57", RIGS[1], DOWN), *SMALL, "--touch-by", "read"))
    assert "2 of 3 boards incomplete: qemu-cortex-a57, serial:/dev/no-such-port; " in refused(done)
    assert "qemu-cortex-a57: touch_by: 'read' is unknown; choose from write" in done.stdout
    assert f"{DOWN}: it ended; its last words: the port cannot be opened" in done.stdout
    campaign = Campaign(tmp_path / "campaign")
    assert campaign.boards() == [RIGS[1]]
    assert campaign.verify() == campaign.incomplete() == []


def test_nonsense_is_refused_in_one_line(tmp_path: Path) -> None:
    file = shelf_of(tmp_path, RIGS[0])
    assert "--board and --fleet: leave one of them out" in refused(run(*command(file), "--board", RIGS[0]))
    assert "--scheduler is of use with --fleet" in refused(run("collect", "--campaign", "/x", "--scheduler", "tcp://127.0.0.1:1"))
    assert "'huge' is unknown" in refused(run(*command(file, "--profile", "huge")))
    for address in ("phone://home", "127.0.0.1", "tcp://"):
        assert f"scheduler '{address}' is no address" in refused(run(*command(file, *SMALL, "--scheduler", address)))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for address in ("tcp://127.0.0.1:1", f"127.0.0.1:{mute.getsockname()[1]}"):
            assert f"scheduler at {address} does not answer" in refused(run(*command(file, *SMALL, "--scheduler", address)))


def test_without_dask_it_says_how_to_install_it(tmp_path: Path) -> None:
    words = ["study", *command(shelf_of(tmp_path, RIGS[0]))]
    text = f"import sys; sys.modules['distributed'] = None; sys.argv = {words}; from study.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert "pip install 'study[fleet]'" in refused(done)


# --- on a scheduler that is there ---------------------------------------------------------------------------------------


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """A scheduler as a user starts one, which would run a lost worker's task again."""
    file = tmp_path / "scheduler.json"
    words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with subprocess.Popen([BIN / "dask", *words], stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: file.exists() and file.stat().st_size)
        yield json.loads(file.read_text())["address"]
        process.terminate()


@pytest.fixture
def worker(scheduler: str, tmp_path: Path) -> Iterator[Callable[..., psutil.Process]]:
    """Start workers as a user does."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, *more: str) -> psutil.Process:
        words = ["worker", scheduler, "--host", own_address(), "--name", name, "--nthreads", "1", "--no-dashboard"]
        words += ["--local-directory", str(tmp_path / "scratch"), *more]
        started.append(subprocess.Popen([BIN / "dask", *words], cwd="/", stderr=subprocess.DEVNULL))
        return psutil.Process(started[-1].pid)

    yield begin
    for process in started:
        process.terminate()
    for process in started:
        process.wait(PATIENCE)


def test_workers_that_are_there_measure_and_those_that_cannot_are_named(
    tmp_path: Path, scheduler: str, worker: Callable[..., psutil.Process]
) -> None:
    good, missing, bare = RIGS
    worker(good, "--resources", "board=1")
    worker(bare)
    file = shelf_of(tmp_path / "shelf", good, missing, bare)
    done = run(*command(file, *SMALL, "--scheduler", scheduler))
    assert f"2 of 3 boards incomplete: {missing}, {bare}; " in refused(done)
    assert f"{missing}: no worker of the scheduler is called {missing}" in done.stdout
    assert f"{bare}: its worker has no resource board; start it with" in done.stdout
    campaign = Campaign(file.parent / "campaign")
    assert campaign.verify() == []
    assert names_of(campaign, good) == planned(campaign, good)


def test_a_lost_worker_s_task_is_not_run_again_where_it_comes_back(
    tmp_path: Path, scheduler: str, worker: Callable[..., psutil.Process]
) -> None:
    """The scheduler allows failures, and the worker comes back under its name and address."""
    board, file = RIGS[1], shelf_of(tmp_path / "shelf", RIGS[1])
    folder = file.parent / "campaign"
    worker(board, "--resources", "board=1", "--worker-port", "9000")
    running = start(*command(file, *ENDLESS, "--scheduler", scheduler))
    wait_for(lambda: recorded(folder, board) > 2)
    parent = collecting(folder, board).parent()
    assert parent
    parent.kill()
    done = ended(running)
    assert f"1 of 1 boards incomplete: {board}" in refused(done)
    assert f"{board}: {on_worker.LOST}" in done.stdout
    assert [path.name for path in folder.glob("boots/*")] == [f"{board}.1"]
    wait_for(lambda: at_work(folder) == [])

    # What a worker does ends when nobody waits for it any more.
    running = start(*command(file, *ENDLESS, "--scheduler", scheduler))
    before = recorded(folder, board)
    wait_for(lambda: recorded(folder, board) > before)
    running.kill()
    ended(running)
    wait_for(lambda: at_work(folder) == [])
    assert recorded(folder, board) < len(planned(Campaign(folder), board))


def test_a_worker_that_is_deaf_to_interruptions_ends_its_board_in_good_order(tmp_path: Path) -> None:
    """A shell without job control starts what runs in the background so: it is interrupted all the same, and not killed."""
    board, folder = RIGS[1], tmp_path / "campaign"
    options = ("--board", board, "--campaign", str(folder), *map(str, ENDLESS))
    errand = on_worker.Errand(board, options, (), {}, tmp_path / "ticket", "topic")
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        reason = on_worker._run(errand, wanted=lambda: recorded(folder, board) < 3, say=lambda text: None)
    finally:
        signal.signal(signal.SIGINT, heard)
    assert reason.startswith("ended by SIGTERM; ")
    assert 3 <= recorded(folder, board) < len(planned(Campaign(folder), board))
    assert at_work(folder) == []


def test_a_scheduler_that_goes_away_is_said_in_a_line(
    tmp_path: Path, scheduler: str, worker: Callable[..., psutil.Process]
) -> None:
    board, file = RIGS[1], shelf_of(tmp_path / "shelf", RIGS[1])
    worker(board, "--resources", "board=1")
    running = start(*command(file, *ENDLESS, "--scheduler", scheduler))
    wait_for(lambda: recorded(file.parent / "campaign", board) > 2)
    (serving,) = [child for child in psutil.Process().children() if "scheduler" in child.cmdline()]
    serving.kill()
    done = ended(running)
    assert f"1 of 1 boards incomplete: {board}" in refused(done)
    assert f"{board}: {client.GONE}" in done.stdout


def test_versions_that_differ_are_said() -> None:
    def side(distributed: str, python: str) -> dict[str, dict[str, str]]:
        return {"packages": {"distributed": distributed, "python": python}}

    ours = side("2026.8.0", "3.11.2.final.0")
    assert client.unlike(ours, side("2026.8.0", "3.11.9.final.0"), "its worker") == ""
    assert client.unlike(ours, side("2025.1.0", "3.11.2.final.0"), "the scheduler").startswith(
        "the scheduler has distributed 2025.1.0"
    )
    assert client.unlike(ours, side("2026.8.0", "3.12.1.final.0"), "its worker").startswith(
        "its worker has python 3.12, and this"
    )
    assert client.unlike(ours, None, "its worker") == "its worker does not say its versions"
