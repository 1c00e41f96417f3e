"""A command ends in good order when it is asked to, whoever started it, and goes on where it is told to ignore that."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from study.terminal.ending import STAYS
from tests.faults.disk import SMALL
from tests.faults.kills import RIG, Run, collecting
from tests.faults.ledger import Ledger, unsigned
from tests.faults.processes import awaits, go_on, survivors

pytestmark = pytest.mark.board

TERM, HANGUP, INTERRUPT = signal.SIGTERM, signal.SIGHUP, signal.SIGINT


@contextmanager
def ignored(number: signal.Signals) -> Iterator[None]:
    """Let what is started ignore a signal, as a shell does for what it runs in the background, or nohup."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def of_the_command(campaign: Path) -> list[str]:
    return collecting(campaign, SMALL)


def of_a_notebook(campaign: Path) -> list[str]:
    return collecting(campaign, SMALL, notebook=campaign.with_suffix(".ipynb"))


def of_a_fleet(campaign: Path) -> list[str]:
    file = campaign.with_suffix(".toml")
    file.write_text(f"[boards.{RIG}]\n")
    return [word for word in collecting(campaign, SMALL) if not word.startswith(("--board", "--brief"))] + [f"--fleet={file}"]


# What is run, and the signal by which the process that records learns of the end, if it is another one.
PASSED_ON = {of_the_command: None, of_a_notebook: INTERRUPT, of_a_fleet: TERM}


def in_order(run: Run, campaign: Path) -> None:
    """Check that what was recorded is closed, and that nothing is left."""
    assert Ledger(campaign).look().recorded == 1
    assert unsigned(campaign) == Ledger(campaign).remains() == []
    assert survivors(set(), campaign) == set()


@pytest.mark.parametrize("number", [TERM, HANGUP])
@pytest.mark.parametrize("words", PASSED_ON)
def test_a_signal_ends_it_in_good_order_where_ctrl_c_is_ignored(
    tmp_path: Path, words: Callable[[Path], list[str]], number: signal.Signals
) -> None:
    campaign = tmp_path / "campaign"
    with ignored(INTERRUPT), Run(words(campaign), campaign, tmp_path / "run", ["between:1"]) as run:
        recorder = run.stopped()
        os.kill(run.process.pid, number)
        if other := PASSED_ON[words]:
            assert recorder != run.process.pid
            run.until(lambda: awaits(recorder, other))
        go_on(recorder)
        run.until(run.ended)
    assert run.err.strip() == f"study: ended by {number.name}; {STAYS}"
    assert run.process.returncode == 128 + number
    in_order(run, campaign)


@pytest.mark.parametrize(("second", "status"), [(TERM, 143), (INTERRUPT, 130), (HANGUP, 129)])
def test_a_second_signal_ends_it_at_once_unless_it_says_that_the_terminal_is_closed(
    tmp_path: Path, second: signal.Signals, status: int
) -> None:
    campaign = tmp_path / "campaign"
    with Run(of_the_command(campaign), campaign, tmp_path / "run", ["between:1", "closing:1"]) as run:
        for number in (HANGUP, second):
            assert run.stopped() == run.process.pid
            os.kill(run.process.pid, number)
            go_on(run.process.pid)
        run.until(run.ended)
    assert run.err.strip() == f"study: ended {'at once' if second is not HANGUP else 'by SIGHUP'}; {STAYS}"
    assert run.process.returncode == status
    if second is HANGUP:
        in_order(run, campaign)


@pytest.mark.parametrize("number", [HANGUP, TERM, INTERRUPT])
def test_what_is_ignored_stays_ignored(tmp_path: Path, number: signal.Signals) -> None:
    campaign = tmp_path / "campaign"
    with ignored(number), Run(of_the_command(campaign), campaign, tmp_path / "run", ["between:1"]) as run:
        assert run.stopped() == run.process.pid
        os.kill(run.process.pid, number)
        go_on(run.process.pid)
        run.until(run.ended)
    assert (run.process.returncode, run.err) == (0, "")
    assert Ledger(campaign).look().recorded == 12
