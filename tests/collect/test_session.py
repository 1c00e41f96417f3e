"""Stopping by a rule, and alternating kernels: on emulated boards."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from study.campaign import Campaign
from study.collect import boards, identity, session
from study.design import Factors, Kernel, choose, draw
from study.errors import BoardFailed
from study.factors import KVM, RIG
from tests.conftest import refused, run

ONE = ["--board", "qemu-neoverse-n1", "--strategies", "stock", "--guests", "untouched", "--processes", "1", "--loops", "100"]
QUICK = ["--guests", "untouched,touch", "--strategies", "lazy,control-scan", "--hosts", "none"]


@pytest.mark.board
def test_a_campaign_stops_at_the_width_that_its_design_states(tmp_path: Path) -> None:
    """A rig repeats itself exactly, so its intervals have no width: three boots are enough, of seven."""
    command = ["collect", "--board", "rig-cortex-a57", "--campaign", tmp_path / "c", *QUICK, "--boots", "7", "--until", "0.01"]
    said = run(*command).stdout
    assert "rig-cortex-a57: after 3 boots the widest interval is 0.00% of its ratio" in said
    assert "rig-cortex-a57: 18/18 visits, 0 left" in said.splitlines()
    assert "all visits of each board are there" in said
    campaign = Campaign(tmp_path / "c")
    assert sorted(boot.name for boot in campaign.boots()) == [f"rig-cortex-a57.{number}" for number in (1, 2, 3)]
    assert json.loads((campaign.folder / "boots/rig-cortex-a57.3/enough.json").read_text()) == {"boot": 3, "widest": 0.0}
    assert campaign.verify() == []
    again = run(*command).stdout
    assert "all 18 visits of rig-cortex-a57 are there, nothing to measure" in again
    assert json.loads((campaign.folder / "design.json").read_text())["factors"]["until"] == 0.01


@pytest.mark.board
def test_a_budget_is_spent_where_the_width_is_never_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rig repeats itself exactly: the width is given."""
    factors = choose("quick", RIG, guests="untouched", strategies="lazy,control-scan", hosts="none", boots=5, until=0.01)
    campaign = session.collect("rig-cortex-a57", tmp_path / "c", factors, lambda *_: 0.5)
    said = capsys.readouterr().out
    assert [boots for boots in range(9) if f"after {boots} boots the widest interval is 50.00% of its ratio" in said] == [3, 4]
    assert len(campaign.boots()) == 5
    assert campaign.missing("rig-cortex-a57") == []


@pytest.mark.board
def test_boots_alternate_between_kernels_and_the_next_one_is_asked_for(tmp_path: Path) -> None:
    done = run("collect", "--campaign", tmp_path / "c", *ONE, "--kernels", "base=6.1,mine=6.1", "--boots", "2")
    asked = "boot 2 of the design is one of mine, but qemu-neoverse-n1 runs base, by its build ID: boot it, and run the same command again"
    assert asked in refused(done)
    campaign = Campaign(tmp_path / "c")
    assert next(visit.name for visit in campaign.missing("qemu-neoverse-n1")) == "b2-0001"
    assert campaign.verify() == []


def test_boots_of_two_kernels_go_forwards_and_backwards() -> None:
    visits = draw(Factors(strategies=("stock",), guests=("untouched",), kernels=("A", "B"), boots=3)).visits()
    assert list(dict.fromkeys((visit.boot, visit.kernel) for visit in visits)) == list(enumerate("ABBAAB", 1))


BASE, NEW = Kernel("6.18.2", "base"), Kernel("6.18.2-v2", "v2")
BOOTS = [{"kernel": "base", "build_id": "aa"}, {"kernel": "v2", "build_id": "bb"}]


@pytest.mark.parametrize(
    ("wanted", "known", "release", "build", "runs"),
    [
        (BASE, [], "6.18.2", "aa", ""),
        (BASE, [], "6.18.2-v2", "bb", "6.18.2-v2"),  # it begins like base, but is v2
        (NEW, [], "6.18.2", "aa", "6.18.2"),
        (BASE, BOOTS, "6.18.2", "aa", ""),
        (BASE, BOOTS, "6.18.2", "bb", "v2, by its build ID"),
        (BASE, BOOTS, "6.18.2", "cc", "another build of 6.18.2 than its boots before"),
        (Kernel("6.1"), [], "6.12.117", "", "6.12.117"),
        (Kernel("6.1"), [], "6.1.0-56", "", ""),
    ],
)
def test_a_boot_of_another_kernel_is_told(
    wanted: Kernel, known: list[dict[str, str]], release: str, build: str, runs: str
) -> None:
    facts = {"kernel": release, "build_id": build}
    assert identity.other_kernel(wanted, [BASE, NEW, Kernel("6.1")], known, facts) == runs


def test_a_kernel_of_one_s_own_is_known_by_its_build_alone() -> None:
    kernels = [Kernel.of(text) for text in ("base=git:1", "v2=git:2")]
    built = {"kernel": "7.3.4", "build_id": "b", "source": {"build_ids": ["b", "vdso"]}}
    assert identity.other_kernel(kernels[1], kernels, [], built) == ""
    assert "build ID c, which is another build" in identity.other_kernel(kernels[1], kernels, [], {**built, "build_id": "c"})
    assert "build ID none" in identity.other_kernel(kernels[1], kernels, [], {**built, "build_id": ""})
    known = [{"build_id": "b", "kernel": "base"}]
    assert identity.other_kernel(kernels[1], kernels, known, built) == "base, by its build ID"


@pytest.mark.parametrize(
    ("wanted", "command_line", "runs"),
    [
        ("lazy", "quiet kvm.debug_switch=lazy", ""),
        ("eager", "quiet kvm.debug_switch=eager", ""),
        (
            "eager",
            "kvm.debug_switch=lazy",
            "6.1.177 with kvm.debug_switch=lazy on its command line, and not kvm.debug_switch=eager",
        ),
        ("eager", "quiet", "6.1.177 with no kvm.debug_switch= on its command line, and not kvm.debug_switch=eager"),
        ("stock", "kvm.debug_switch=lazy", "6.1.177 with kvm.debug_switch=lazy on its command line, and not without"),
    ],
)
def test_boots_of_one_build_are_known_by_what_they_were_told(wanted: str, command_line: str, runs: str) -> None:
    kernels = {name: Kernel("git:1", "own", (name,)) for name in ("lazy", "eager", "stock")}
    facts = {"kernel": "6.1.177", "build_id": "b", "source": {"build_ids": ["b"]}}
    known = [{**facts, "kernel": "own", "command_line": "kvm.debug_switch=lazy"}]
    asked = {**facts, "command_line": command_line}
    assert identity.other_kernel(kernels[wanted], list(kernels.values()), known, asked) == runs


FACTS = {
    "cpu": "MIDR_EL1 0x00000000410fd0b1",
    "mode": "vhe",
    "build_id": "aa",
    "model": "a board",
    "mitigations": "spectre_v2: Mitigation: CSV2",
}


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ({}, ""),
        ({"boot_id": "another", "started": "2031-01-01T00:00:00+00:00"}, ""),
        ({"build_id": ""}, ""),  # what it does not tell now
        ({"cpu": "MIDR_EL1 0x00000000412fd050"}, "cpu"),  # a small core of the same machine
        ({"mode": "protected"}, "mode"),
        ({"mode": "unknown"}, "mode"),
        ({"build_id": "bb"}, "build_id"),
        ({"model": "another board"}, "model"),
        ({"mitigations": "spectre_v2: Vulnerable"}, "mitigations"),
        ({"kernel": "6.12.3", "build_id": "bb", "mode": "nvhe"}, ""),  # another kernel of the design
        ({"kernel": "6.12.3", "cpu": "MIDR_EL1 0x00000000412fd050"}, "cpu"),
    ],
)
def test_a_board_under_the_same_name_that_is_another_is_refused(
    reference: Campaign, tmp_path: Path, now: dict[str, str], says: str
) -> None:
    model = reference.facts(reference.boots()[0])
    campaign = Campaign.freeze(tmp_path / "c", choose("quick", KVM, kernels=("6.1", "6.12")))
    board = boards.find("local")
    boot = campaign.open_boot(board.name, 1)
    boot.begin()
    known = {**model, "board": board.name, **FACTS}
    boot.describe(known)
    with pytest.raises(BoardFailed, match=rf"local has {says} .*that is another campaign") if says else nullcontext():
        identity.same_machine(campaign, board, {**known, **now})
