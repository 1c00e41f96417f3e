from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.campaign import Campaign, legible, line_digest
from study.collect import session
from study.collect.onboard.factors import KVM, RIG
from study.design import Factors, choose
from study.disk import cut_torn_line
from study.errors import BadData, BadRequest
from tests import lines

SMALL = Factors(strategies=("stock", "lazy"), guests=("untouched",), processes=2)


def recorded(folder: Path, visits: int) -> Campaign:
    """A campaign with some visits of a board that was never there."""
    campaign = Campaign.freeze(folder, SMALL)
    boot = campaign.open_boot("b", 1)
    boot.begin()
    boot.describe({"board": "b", "kernel": "k", "mode": "vhe", "emulated": True})
    for visit in campaign.missing("b")[:visits]:
        boot.record({**lines.of_kvm(visit, SMALL), "text": "\u2603 {}\n"})
    campaign.close("b")
    return campaign


def test_resuming_is_the_visits_that_have_no_line(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c", 2)
    planned = [visit.name for visit in campaign.designs["kvm"].visits()]
    assert [visit.name for visit in campaign.missing("b")] == planned[2:]
    assert [visit.name for visit in campaign.missing("another")] == planned
    assert campaign.verify() == []


def test_commands_that_start_a_campaign_at_once_share_it(tmp_path: Path) -> None:
    def freeze(number: int) -> list[str]:
        return [Campaign.freeze(tmp_path / f"c{n}", SMALL).designs["kvm"].to_json()["version"] for n in range(40)]

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(freeze, range(4)))) == 4
    assert not list(tmp_path.rglob("*.part"))


def test_another_design_is_refused_and_named(tmp_path: Path) -> None:
    recorded(tmp_path / "c", 1)
    with pytest.raises(BadRequest, match="it has loops 4000 not 70; seed 1 not 3"):
        Campaign.freeze(tmp_path / "c", Factors(strategies=("stock", "lazy"), guests=("untouched",), loops=70, seed=3))


def test_a_campaign_has_one_design_for_each_kind_of_board(tmp_path: Path) -> None:
    recorded(tmp_path / "c", 1)
    rig = choose("quick", RIG)
    both = Campaign.freeze(tmp_path / "c", rig)
    assert {kind: design.factors for kind, design in both.designs.items()} == {KVM: SMALL, RIG: rig}
    assert both.missing("rig-cortex-a15")[0].name == "b1-0001"
    assert both.incomplete() == [f"1 of {len(both.designs[KVM].visits())} visits of b are there"]
    both.close("rig-cortex-a15")
    assert both.verify() == []
    with pytest.raises(BadRequest, match="it has loops 1000 not 70"):
        Campaign.freeze(tmp_path / "c", choose("quick", RIG, loops=70))
    with pytest.raises(BadRequest, match="no design for boards like rig-x"):
        recorded(tmp_path / "linux", 1).design_of("rig-x")


@pytest.mark.parametrize("name", ["design-old.json", "design-kvm.json", "design-rig.json"])
def test_a_second_design_for_one_kind_is_bad_data(tmp_path: Path, name: str) -> None:
    campaign = recorded(tmp_path / "c", 1)
    shutil.copy(campaign.folder / "design.json", campaign.folder / name)
    with pytest.raises(BadData, match=f"{name}: a campaign has one design for each kind of board"):
        Campaign(campaign.folder)


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BadRequest, match="neither empty nor a campaign"):
        Campaign.freeze(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_closing_again_signs_nothing_that_was_changed(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c", 2)
    path = campaign.folder / "boots/b.1/boot.json"
    path.write_text(path.read_text().replace('"k"', '"l"'))
    campaign.close("b")
    assert [problem.file for problem in campaign.verify()] == [path]
    with pytest.raises(BadData, match="boot.json: its bytes do not match SHA256SUMS: nothing is measured"):
        session.collect("qemu-neoverse-n1", campaign.folder, SMALL)


def test_a_board_closes_its_own_boots_alone(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c", 1)
    other = campaign.open_boot("other", 1)
    other.begin()
    other.describe({"board": "other", "kernel": "k", "mode": "vhe", "emulated": True})
    campaign.close("b")
    assert [problem.file for problem in campaign.verify()] == [other.folder / "boot.json"]
    campaign.close("other")
    assert campaign.verify() == []


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{}", "[]", "null", '{"board": 1}', '{"board": "b", "kernel": null, "mode": "vhe", "emulated": true}']
)
def test_a_boot_that_does_not_say_what_it_was_is_bad_data(tmp_path: Path, text: str) -> None:
    campaign = recorded(tmp_path / "c", 1)
    (campaign.folder / "boots/b.1/boot.json").write_text(text)
    with pytest.raises(BadData, match="boot.json: it "):
        list(campaign.records())


def test_what_another_board_is_writing_is_left_alone(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c", 1)
    other = campaign.open_boot("other", 1)
    other.begin()
    other.describe({"board": "other", "kernel": "k", "mode": "vhe", "emulated": True})
    (other.folder / "visits.jsonl").write_text('{"visit": "b1-00')
    assert campaign.unclosed("b") == []
    assert campaign.unclosed("other") == [other.folder / "boot.json", other.folder / "visits.jsonl"]
    assert len(campaign.missing("b")) == len(campaign.designs["kvm"].visits()) - 1


def test_a_rule_for_stopping_ends_what_is_asked_for_and_must_be_readable(tmp_path: Path) -> None:
    campaign = Campaign.freeze(tmp_path / "c", replace(SMALL, boots=4, until=0.01))
    boot = campaign.open_boot("b", 3)
    boot.begin()
    campaign.enough("b", 3, 0.001)
    assert {visit.boot for visit in campaign.asked("b")} == {1, 2, 3}
    assert {visit.boot for visit in campaign.asked("another")} == {1, 2, 3, 4}
    for text in ("", "[]", '{"boot": null}', '{"widest": 1}'):
        (boot.folder / "enough.json").write_text(text)
        with pytest.raises(BadData, match=r"b\.3/enough.json: it does not say at which boot"):
            campaign.asked("b")


def test_a_torn_last_line_is_cut_off_and_the_rest_stays(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c", 2)
    (lines,) = campaign.folder.glob("boots/*/visits.jsonl")
    whole = lines.read_bytes()
    with lines.open("ab") as file:
        file.write(whole[:40])
    assert cut_torn_line(lines)
    assert lines.read_bytes() == whole
    assert not cut_torn_line(lines)


def test_a_torn_only_line_leaves_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "visits.jsonl").write_bytes(b'{"visit": "b1')
    assert cut_torn_line(tmp_path / "visits.jsonl")
    assert (tmp_path / "visits.jsonl").read_bytes() == b""


def test_sha256sum_reads_the_sums(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c", 3)
    done = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=campaign.folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_verify_finds_any_flipped_byte(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "c"
    shutil.rmtree(folder, ignore_errors=True)
    campaign = recorded(folder, 3)
    path = data.draw(st.sampled_from(campaign.raw_files()))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        problems = Campaign(folder).verify()
    except BadData as error:  # the design itself cannot be read any more
        assert str(path) in str(error)
        return
    assert any(problem.file == path for problem in problems)


def test_verify_finds_missing_and_foreign_files(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c", 1)
    (campaign.folder / "boots/b.1/boot.json").rename(campaign.folder / "boots/b.1/stray")
    says = {problem.file.name: problem.says for problem in campaign.verify()}
    assert "missing" in says["boot.json"]
    assert "foreign" in says["stray"]


def test_a_visit_whose_digest_is_wrong_is_never_read(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c", 2)
    (lines,) = campaign.folder.glob("boots/*/visits.jsonl")
    text = lines.read_text().replace('"b1-0002"', '"b1-0003"')
    lines.write_text(text)
    with pytest.raises(BadData, match="line 2 does not match its digest"):
        list(campaign.records())


@given(st.dictionaries(st.text(), st.floats(allow_nan=False) | st.text() | st.integers(), max_size=5))
def test_a_digest_survives_the_file(line: dict[str, object]) -> None:
    line.pop("sha256", None)
    back = json.loads(json.dumps({**line, "sha256": line_digest(line)}))
    assert back["sha256"] == line_digest(back)


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_name_is_shown_so_that_it_can_confuse_nobody_and_two_stay_two(one: str, other: str) -> None:
    shown = legible(one)
    assert shown.isprintable()
    assert len(shown) <= 100
    assert legible(shown) == shown
    assert shown == one or not one.isprintable() or len(one) > 100
    assert (shown == legible(other)) == (one == other)


def test_a_board_s_name_cannot_turn_a_line_round(tmp_path: Path) -> None:
    boot = recorded(tmp_path, 1).boots()[0]
    text = json.dumps({**json.loads((boot / "boot.json").read_text()), "board": "a\u202eb\x00", "kernel": "k" * 5000})
    (boot / "boot.json").write_text(text)
    (name,) = Campaign(tmp_path).boards()
    assert name.startswith("a?b?..")
    assert len(Campaign(tmp_path).facts(boot)["kernel"]) == 100
