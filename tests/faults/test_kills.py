"""Whatever is killed, and in whatever state: nothing is lost, nothing is there twice, nothing runs on. `make faults` does more of it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.faults import __main__ as faults
from tests.faults import kills
from tests.faults.kills import KINDS, Row, Strike, Uninterrupted, drawn
from tests.faults.states import STATES

pytestmark = pytest.mark.board

COMMANDS = [kind for kind in KINDS if not kind.notebook]
NOTEBOOKS = [kind for kind in KINDS if kind.notebook]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    return kills.undisturbed(tmp_path_factory.mktemp("reference"))


def struck(folder: Path, reference: Uninterrupted, strikes: Sequence[Strike]) -> list[Row]:
    """Strike, in one campaign after the other, and check that each strike met what it was to meet, and harmed nothing."""
    rows = kills.campaigns(folder, reference, strikes, 1, print, lanes=1)
    assert kills.harm(rows, [strike.kind for strike in strikes]) == []
    assert sum(row["tried"] for row in rows) == sum(sum(row["met"].values()) for row in rows) == len(strikes)
    return rows


def test_a_campaign_that_is_interrupted_in_every_state_is_the_uninterrupted_one(reference: Uninterrupted, tmp_path: Path) -> None:
    strikes = drawn(15, Random(87), COMMANDS)
    assert {strike.state for strike in strikes} == set(STATES.values())
    rows = struck(tmp_path, reference, strikes)
    assert {row["kind"] for row in rows if row["tried"] > 1} == {kind.says for kind in COMMANDS}


def test_a_notebook_may_be_killed_too(reference: Uninterrupted, tmp_path: Path) -> None:
    rows = struck(tmp_path, reference, drawn(len(NOTEBOOKS), Random(1), NOTEBOOKS))
    assert {row["kind"] for row in rows} == {kind.says for kind in NOTEBOOKS}


def test_a_whole_run_strikes_every_kind_in_each_of_its_states() -> None:
    pairs = {(kind.says, state.event) for kind in KINDS for state in kind.states}
    strikes = drawn(175, Random(1))
    assert {(strike.kind.says, strike.state.event) for strike in strikes} == pairs
    hands = kills.dealt(strikes, Random(1), 60)
    assert sum(map(len, hands)) == len(strikes)
    for hand in hands:
        assert [one.state.far for one in hand] == sorted(one.state.far for one in hand)
        places = [one.place for one in hand if one.place]
        assert places == sorted(set(places))


def harm(rows: list[Row]) -> str:
    return "\n".join(faults.harm({"kills": rows, "disk": {}, "module": {}}, COMMANDS))


def strikes(says: str, *events: str) -> list[Strike]:
    (kind,) = [kind for kind in KINDS if kind.says == says]
    return [Strike(kind, STATES[event], 5) for event in events]


def test_strikes_that_come_before_anything_is_recorded_are_no_proof(
    reference: Uninterrupted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kills.Run, "stopped", lambda run: run.process.pid)  # it waits for nothing
    found = harm(kills.campaigns(tmp_path, reference, strikes("command, SIGKILL", "asked", "between"), 1, print))
    assert "command, SIGKILL: 0 of 1 met the state 'in a visit'" in found
    assert "command, SIGKILL: 0 of 1 met the state 'between visits'" in found
    assert "and was in 'loading'" in found
    assert "command, Ctrl-C: no kill met any state" in found
    assert "0 of 2 kills came when visits were recorded" in found


def test_a_signal_that_is_ignored_is_no_kill_and_nor_is_one_that_comes_too_late(reference: Uninterrupted, tmp_path: Path) -> None:
    ordinary = signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # as nohup has it: the first run goes on to its end, and leaves no second
    try:
        rows = kills.campaigns(tmp_path, reference, strikes("command, SIGHUP", "writing", "between"), 1, print)
    finally:
        signal.signal(signal.SIGHUP, ordinary)
    assert (rows[0]["tried"], rows[0]["met"]) == (1, {"half a line": 1})
    found = harm(rows)
    assert "command, SIGHUP: exit status 0" in found
    assert "between visits: it ended before it was struck" in found
    assert "command, SIGHUP: 0 of 1 met the state 'between visits'" in found
