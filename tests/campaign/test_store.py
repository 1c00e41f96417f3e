from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.campaign import Campaign, schema, store
from study.campaign.files import cut_torn_line
from study.campaign.lines import line_digest, parse_line
from study.campaign.names import legible
from study.collect import session
from study.design import Factors, choose
from study.errors import BadData, BadRequest
from study.factors import KVM, RIG
from tests import lines
from tests.conftest import drawn, some

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


def test_a_power_cut_takes_at_most_a_second_of_visits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the disk is what was in a file when it was synced last: here by a clock that a visit moves on by 0.4 s."""
    clock, on_disk, fsync = [0.0], dict[str, int](), os.fsync

    def synced(file: int) -> None:
        fsync(file)
        path = Path(f"/proc/self/fd/{file}").readlink()
        if path.is_file():
            on_disk[path.name] = path.read_text().count("\n")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(store, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    campaign = Campaign.freeze(tmp_path / "c", replace(SMALL, processes=6))
    boot = campaign.open_boot("b", 1)
    boot.begin()
    boot.describe({"board": "b", "kernel": "k", "mode": "vhe", "emulated": True})
    at_stake = []
    for number, visit in enumerate(some(campaign.missing("b"), 18), 1):
        clock[0] += 0.4
        boot.record(lines.of_kvm(visit, SMALL))
        at_stake.append(number - on_disk["visits.jsonl"])
    assert at_stake == [0, 1, 2] * 6
    campaign.close("b")
    assert on_disk["visits.jsonl"] == 18
    assert campaign.verify() == []


def test_the_tenth_boot_comes_after_the_ninth(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c", 1)
    names = ["b.1", "b.2", "b.2.2", "b.2.10", "b.10", "c-9.9", "c-9.10", "c-10.2"]
    for name in names[1:]:
        shutil.copytree(tmp_path / "c/boots/b.1", tmp_path / "c/boots" / name)
    assert [boot.name for boot in campaign.boots()] == names


def test_commands_that_start_a_campaign_at_once_share_it(tmp_path: Path) -> None:
    def freeze(number: int) -> list[str]:
        return [Campaign.freeze(tmp_path / f"c{n}", SMALL).designs["kvm"].to_json()["version"] for n in range(40)]

    with ThreadPoolExecutor(4) as pool:
        assert [len(some(versions, 40)) for versions in pool.map(freeze, range(4))] == [40] * 4
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


@drawn(60)
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


def of_many(values: list[float], text: str = "") -> dict[str, Any]:
    """What matters of a visit with many values, and beside them what could be taken for values."""
    line = {"visit": text, "pyperf": {"benchmarks": [{"runs": [{"values": values, "warmups": [[1, 1.5]]}], text: text}]}}
    return {**line, "source": {"sha256": text, "values": "0"} if text else 1}


def signed(line: dict[str, Any], **form: Any) -> str:
    return json.dumps({**line, "sha256": line_digest(line)}, **{"sort_keys": True, **form})


def exactly(text: bytes) -> object:
    """What parse_line() says, by the book."""
    try:
        line = schema.load(text)
        return repr(line) if line["sha256"] == line_digest(line) else None
    except (BadData, LookupError, TypeError, AttributeError, ValueError):
        return None


def parsed(text: bytes) -> object:
    try:
        return repr(parse_line(text))
    except BadData:
        return None


POSITIVE = st.floats(min_value=1e-18, max_value=1e18) | st.floats(1e-7, 1e-5) | st.sampled_from([1.0, 2e-6, 5e-324, 1e16, 1.5])
TEXTS = st.text(max_size=20) | st.sampled_from(
    ['"values": [1.5, 2.5]', '\\"values": "0"', ', "a": 1, ', '"values":"0"', "\\", '\\\\"', "values", "\u2028 NaN"]
)
LISTS = st.lists(POSITIVE, min_size=1, max_size=80) | st.lists(st.floats(1e-7, 1e-5), min_size=32, max_size=64)
# What else a line may be: the same in another form, or another one.
CHANGES: dict[str, Callable[[str], str]] = {
    "nothing": lambda text: text,
    "spacing": lambda text: text.replace(", ", ","),
    "wider": lambda text: text.replace('"values": [', '"values":  ['),
    "a zero more": lambda text: re.sub(r"(\.\d+)", r"\g<1>0", text),
    "a zero at the front": lambda text: re.sub(r"\[(\d)", r"[0\1", text),
    "another exponent": lambda text: text.replace("e-06", "E-6"),
    "a sign": lambda text: text.replace('"values": [', '"values": [-'),
    "not JSON": lambda text: text.replace("}", ", }", 1),
    "NaN": lambda text: text.replace('"values": [', '"values": [NaN, ', 1),
    "true": lambda text: text.replace('"values": [', '"values": [true, ', 1),
    "a key twice": lambda text: text.replace('{"pyperf"', '{"visit": 1, "pyperf"', 1),
    "the values twice": lambda text: re.sub(r'("values": \[[^]]*\])', r"\1, \1", text),
    "the values first, and others": lambda text: re.sub(r'("values": \[[^]]*\])', r'\1, "values": [1.5]', text),
    "another value": lambda text: text.replace("1", "2", 1),
    "another digest": lambda text: text.replace('"sha256": "', '"sha256": "0', 1),
    "the digest twice": lambda text: re.sub(r'("sha256": "[0-9a-f]{64}")', r"\1, \1", text),
    "cut": lambda text: text[:-1],
}


@pytest.mark.parametrize("change", CHANGES)
@given(values=LISTS, text=TEXTS, form=st.sampled_from([{}, {"sort_keys": False}, {"ensure_ascii": False}, {"indent": 1}]))
def test_a_line_of_many_values_is_taken_or_refused_like_any(
    change: str, values: list[float], text: str, form: dict[str, Any]
) -> None:
    line = CHANGES[change](signed(of_many(values, text), **form)).encode("utf-8", "surrogatepass")
    assert parsed(line) == exactly(line)
    assert parsed(line) is not None or change not in ("nothing", "wider")


MANY = [1.5e-6 + number * 1e-9 for number in range(40)]


@pytest.mark.parametrize(
    "line",
    [
        {**of_many(MANY), "checks": {"values": MANY}},
        {**of_many([True]), "checks": {"values": MANY}},  # type: ignore[list-item]
        {**of_many("0"), "checks": {"values": MANY}},  # type: ignore[arg-type]
        {"pyperf": {"benchmarks": [{"runs": [{"values": MANY}, {"values": MANY[1:]}]}, {"runs": [{"values": MANY[2:]}]}]}},
        {"pyperf": {"benchmarks": [{"runs": [{"values": MANY}, {"values": "1"}]}]}},
        {"pyperf": {"benchmarks": [{"runs": [{"values": MANY}, {}]}]}},
        {"pyperf": {"benchmarks": [{"runs": [{'a"values': MANY}]}]}},
        {"pyperf": MANY, "a": {"b": {"values": MANY}}, "values": MANY},
    ],
)
def test_values_elsewhere_than_in_runs_are_read_like_anything(line: dict[str, Any]) -> None:
    text = signed(line).encode()
    assert parsed(text) == exactly(text) == repr(json.loads(text))


def test_many_values_are_read_in_a_fraction_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    text = signed(of_many(MANY)).encode()
    monkeypatch.setattr("study.campaign.lines.line_digest", lambda line: pytest.fail("all of them were written again"))
    assert parse_line(text)["pyperf"] == of_many(MANY)["pyperf"]


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


def test_what_was_read_is_read_again_only_where_it_changed(
    reference: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(reference.folder, tmp_path / "c")
    campaign, read = Campaign(tmp_path / "c"), list[Path]()
    lines_of = campaign.lines_of
    monkeypatch.setattr(campaign, "lines_of", lambda boot, seen: read.append(boot) or lines_of(boot, seen))
    boots = {board: [boot for boot in campaign.boots() if campaign.facts(boot)["board"] == board] for board in campaign.boards()}
    board, (first, *others) = next(iter(boots.items()))
    assert campaign.missing(board) == [] == campaign.missing(board)
    assert read == [first, *some(others)], "each of them once"
    visits = first / "visits.jsonl"
    visits.write_bytes(b"".join(visits.read_bytes().splitlines(keepends=True)[:-1]))
    assert len(campaign.missing(board)) == 1
    visits.unlink()
    assert len(campaign.missing(board)) > 1
    shutil.copy(some([boot / "visits.jsonl" for boot in others if (boot / "visits.jsonl").exists()])[0], visits)
    with pytest.raises(BadData, match="which .* has already"):
        campaign.missing(board)


GROWING = choose("series", kernels="base=git:" + "0" * 40, guests="untouched", exits="hvc")
MORE = replace(GROWING, kernels=(*GROWING.kernels, "1-a=git:" + "1" * 40, "2-b=git:" + "2" * 40))


def test_kernels_may_join_a_campaign_and_leave_what_is_measured_as_it_is(tmp_path: Path) -> None:
    campaign = Campaign.freeze(tmp_path / "c", GROWING)
    boot = campaign.open_boot("b", 1)
    boot.begin()
    boot.describe({"board": "b", "kernel": "base", "mode": "vhe", "emulated": True})
    for visit in [visit for visit in campaign.missing("b") if visit.boot == 1]:
        boot.record(lines.of_kvm(visit, GROWING))
    campaign.close("b")
    before = campaign.designs[KVM].visits()
    with pytest.raises(BadRequest, match="was designed otherwise"):
        Campaign.freeze(tmp_path / "c", MORE)
    grown = Campaign.freeze(tmp_path / "c", MORE, grows=True)
    assert grown.verify() == []
    assert [visit for visit in grown.designs[KVM].visits() if visit.boot <= GROWING.boots] == before
    joined = [visit.kernel.removeprefix("+") for visit in grown.missing("b") if visit.boot > GROWING.boots]
    boots = list(
        dict.fromkeys((visit.boot, visit.kernel.removeprefix("+")) for visit in grown.missing("b") if visit.boot > GROWING.boots)
    )
    a, b = MORE.kernels[1:]
    assert [kernel for _, kernel in boots] == [a, b, b, a, a, b]  # among themselves they alternate as ever
    assert set(joined) == {a, b}
    assert Campaign.freeze(tmp_path / "c", MORE, grows=True).designs[KVM] == grown.designs[KVM]
    for other in (replace(MORE, kernels=MORE.kernels[1:]), replace(MORE, loops=70), GROWING):
        with pytest.raises(BadRequest, match="was designed otherwise"):
            Campaign.freeze(tmp_path / "c", other, grows=True)


@drawn(50)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 4))
def test_every_kernel_has_its_boots_however_they_joined(sizes: list[int], boots: int) -> None:
    names = [
        f"{'+' * (at == 0 and group > 0)}k{group}{at}=git:{group}{at}" for group, size in enumerate(sizes) for at in range(size)
    ]
    factors = replace(GROWING, kernels=tuple(names), boots=boots)
    order = [factors.kernel_of(boot) for boot in range(1, factors.starts + 1)]
    assert sorted(order) == sorted(names * boots)
    assert factors.kernel_of(factors.starts + 1) == ""
    at = 0
    for size in sizes:  # the boots of a group are beside each other, and its kernels come by turns, forwards and backwards
        group, names = names[:size], names[size:]
        for turn in range(boots):
            assert order[at : at + size] == (group[::-1] if turn % 2 else group)
            at += size


def test_a_series_is_recorded_signed_and_replaced_as_a_whole(tmp_path: Path) -> None:
    row = {"commit": "1" * 40, "describe": "v7.3", "subject": "Linux 7.3", "label": "base", "kernel": "base", "why": ""}
    known = {"branch": "topic", "ends": False, "base": row, "patches": [{**row, "label": "1-a", "kernel": "1-a"}]}
    campaign = Campaign.freeze(tmp_path / "c", MORE)
    assert campaign.series() == {}
    campaign.record_series(known)
    campaign.close("b")
    assert campaign.verify() == [] and "series.json" in (tmp_path / "c/SHA256SUMS").read_text()
    campaign.record_series({**known, "patches": [*known["patches"], {**row, "label": "2-b", "kernel": "base"}]})
    assert campaign.verify() == [] and len(campaign.series()["patches"]) == 2
    for wrong in (
        {**known, "patches": []},
        {**known, "patches": [row]},
        {**known, "patches": [{**row, "label": "x", "kernel": "y"}]},
        [],
    ):
        (tmp_path / "c/series.json").write_text(json.dumps(wrong))
        with pytest.raises(BadData, match="series.json"):
            campaign.series()
