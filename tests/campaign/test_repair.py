"""What is damaged goes aside, nothing is deleted, and what is whole stays."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from study.campaign import Campaign, files, repair
from study.campaign.lines import line_digest
from study.campaign.sums import digest_of
from study.design import Factors
from study.errors import BadRequest, Busy
from tests import lines
from tests.conftest import refused, run, some

SMALL = Factors(strategies=("stock", "lazy"), guests=("untouched",), processes=2, boots=2)
OPTIONS = [
    "--strategies",
    "lazy,control-scan",
    "--guests",
    "untouched",
    "--hosts",
    "none",
    "--exits",
    "hvc",
    "--boots",
    2,
    "--values",
    1,
]
RIG = "rig-cortex-a57"


def recorded(folder: Path, board: str = "b") -> Campaign:
    """A campaign of two whole, closed boots of a board that was never there."""
    campaign = Campaign.freeze(folder, SMALL)
    for number in (1, 2):
        boot = campaign.open_boot(board, number)
        boot.begin()
        boot.console.write_text("booted\n")
        boot.describe({"board": board, "kernel": "k", "mode": "vhe", "emulated": True})
        boot.record(*(lines.of_kvm(visit, SMALL) for visit in campaign.missing(board) if visit.boot == number))
    campaign.close(board)
    assert campaign.verify() == []
    return campaign


def with_crlf(folder: Path) -> dict[str, bytes]:
    """What files held before all of their line ends became CRLF."""
    before = {str(path): path.read_bytes() for path in some((path for path in folder.rglob("*") if path.is_file()), 6)}
    for name, data in before.items():
        Path(name).write_bytes(data.replace(b"\n", b"\r\n"))
    return before


def test_line_ends_that_became_crlf_are_told_in_one_line_and_made_lf_again(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "c").folder
    before = with_crlf(folder)
    files = len([name for name in before if not name.endswith("SHA256SUMS")])
    said = refused(run("verify", folder))
    assert f"{folder}: {files} files are whole but for CRLF line ends" in said
    assert "study repair" in said
    done = run("repair", folder, "--no-measure")
    assert done.returncode == 0, done.stderr
    assert f"{files} files had CRLF for line ends" in done.stdout
    assert run("verify", folder).returncode == 0
    assert not (folder / "aside").exists()
    assert {name: Path(name).read_bytes() for name in before} == before


def test_crlf_hides_no_other_damage(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c")
    bad = campaign.boots()[0] / "console.log"
    with_crlf(campaign.folder)
    bad.write_bytes(b"something else\r\n")
    assert [problem.file for problem in campaign.verify()] == [campaign.folder, bad]
    assert [problem.file for problem in repair.repair(campaign.folder)] == [campaign.folder, bad]
    assert (campaign.folder / "aside/1" / bad.relative_to(campaign.folder)).read_bytes() == b"something else\r\n"
    assert campaign.again().verify() == []


def change(path: Path, number: int, **changes: Any) -> None:
    """Change a visit's line and sign it again, as somebody could who knows how."""
    texts = path.read_text().splitlines(keepends=True)
    line = {**json.loads(texts[number]), **changes}
    texts[number] = json.dumps({**line, "sha256": line_digest(line)}) + "\n"
    path.write_text("".join(texts))


def everything(folder: Path) -> list[bytes]:
    """All lines of a campaign but those of its sums and its reasons, in whatever files; of a link, where it leads."""
    files = [
        path for path in folder.rglob("*") if path.is_symlink() or (path.is_file() and path.name not in ("SHA256SUMS", "why.txt"))
    ]
    return sorted(
        line for path in files for line in (bytes(path.readlink()) if path.is_symlink() else path.read_bytes()).splitlines()
    )


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_whole_campaign_stays_what_it_is(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c")
    before = campaign.digest()
    assert repair.repair(campaign.folder) == []
    assert campaign.digest() == before
    assert not (campaign.folder / "aside").exists()


# What was done to a campaign, what repair says of it, and how many visits of the twelve are left.
DAMAGE = {
    "a visit's byte": (lambda c: flip(c / "boots/b.1/visits.jsonl"), "does not match its digest", 11),
    "a boot's byte": (lambda c: flip(c / "boots/b.1/boot.json"), "nobody knows what these visits are of", 6),
    "no facts": (lambda c: (c / "boots/b.2/boot.json").unlink(), "boot.json is missing", 6),
    "no visits": (lambda c: (c / "boots/b.2/visits.jsonl").unlink(), "it is missing", 6),
    "a console's byte": (lambda c: flip(c / "boots/b.1/console.log"), "its bytes do not match SHA256SUMS", 12),
    "a file of somebody's": (lambda c: (c / "boots/b.1/notes.txt").write_text("x"), "it is foreign", 12),
    "a link": (lambda c: (c / "boots/b.1/passwd").symlink_to("/etc/passwd"), "it is a link", 12),
    "a link for visits": (
        lambda c: (
            shutil.move(c / "boots/b.1/visits.jsonl", c.parent),
            (c / "boots/b.1/visits.jsonl").symlink_to(c.parent / "visits.jsonl"),
        ),
        "it is a link",
        6,
    ),
    "a visit twice": (
        lambda c: (c / "boots/b.2/visits.jsonl").write_bytes(
            (c / "boots/b.2/visits.jsonl").read_bytes() + (c / "boots/b.1/visits.jsonl").read_bytes().splitlines(keepends=True)[0]
        ),
        "which b.1 has already",
        12,
    ),
    "another cell": (
        lambda c: change(
            c / "boots/b.1/visits.jsonl", 2, cell={"strategy": "lazy", "guest": "all", "host": "none", "exit": "hvc"}
        ),
        "of another cell than the design has there",
        11,
    ),
    "a visit of no design": (lambda c: change(c / "boots/b.1/visits.jsonl", 2, visit="b9-0001"), "the design does not ask", 11),
    "nonsense": (lambda c: change(c / "boots/b.1/visits.jsonl", 2, loops=7), "makes no sense: it has 7 round trips", 11),
    "no visit at all": (lambda c: change(c / "boots/b.1/visits.jsonl", 2, counts="many"), "counts must be array", 11),
    "a line gone": (
        lambda c: (c / "boots/b.1/visits.jsonl").write_bytes(
            b"".join((c / "boots/b.1/visits.jsonl").read_bytes().splitlines(keepends=True)[1:])
        ),
        "but its lines are whole",
        11,
    ),
    "a torn line": (
        lambda c: (c / "boots/b.2/visits.jsonl").write_bytes((c / "boots/b.2/visits.jsonl").read_bytes()[:-9]),
        "is cut off",
        11,
    ),
    "a boot of boards that nobody asked for": (
        lambda c: (
            shutil.copytree(c / "boots/b.1", c / "boots/rig-x.1"),
            (c / "boots/rig-x.1/boot.json").write_text((c / "boots/b.1/boot.json").read_text().replace('"b"', '"rig-x"')),
        ),
        "has no design for boards like rig-x",
        12,
    ),
    "a byte of the sums": (lambda c: flip(c / "SHA256SUMS"), "", None),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_damaged_goes_aside_and_nothing_is_deleted(tmp_path: Path, what: str) -> None:
    harm, says, left = DAMAGE[what]
    campaign = recorded(tmp_path / "c")
    harm(campaign.folder)
    before = everything(campaign.folder)
    assert Campaign(campaign.folder).verify()
    problems = repair.repair(campaign.folder)
    assert any(says in problem.says for problem in problems)
    whole = Campaign(campaign.folder)
    assert whole.verify() == []
    assert left is None or len(list(whole.records())) == left
    missing = whole.missing("b")
    assert len(missing) + len(list(whole.records())) == 12
    assert whole.incomplete() == ([f"{12 - len(missing)} of 12 visits of b are there"] if missing else [])
    if what != "a torn line":
        assert everything(campaign.folder) == before
    assert repair.repair(campaign.folder) == []  # once is enough
    for number in {visit.boot for visit in missing}:
        boot = whole.open_boot("b", number)
        boot.begin()
        boot.describe({"board": "b", "kernel": "k", "mode": "vhe", "emulated": True})
        boot.record(*(lines.of_kvm(visit, SMALL) for visit in missing if visit.boot == number))
    whole.close("b")
    assert Campaign(campaign.folder).verify() == []
    assert len(list(Campaign(campaign.folder).records())) == 12


def test_a_lost_design_comes_back_by_asking_for_the_same(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c")
    digest = campaign.digest()
    whole = digest_of(campaign.folder / "design.json")
    flip(campaign.folder / "design.json")
    with pytest.raises(BadRequest, match="collect once more with the options"):
        repair.repair(campaign.folder)
    assert (campaign.folder / "aside/1/design.json").exists()
    with pytest.raises(BadRequest, match=r"has lost its design\.json, and these options"):
        Campaign.freeze(campaign.folder, Factors())
    again = Campaign.freeze(campaign.folder, SMALL)
    assert digest_of(campaign.folder / "design.json") == whole
    repair.repair(campaign.folder)
    assert again.verify() == []
    shutil.rmtree(campaign.folder / "aside")
    assert again.digest() == digest


def test_nobody_repairs_what_is_being_recorded_or_records_twice(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c")
    with campaign.recording("b"):
        with pytest.raises(Busy, match="another command is at work in it"):
            repair.repair(campaign.folder)
        with pytest.raises(Busy, match=r"another command \(process \d+\) records visits of b: wait"), campaign.recording("b"):
            pass
        with campaign.recording("another"):
            assert campaign.verify() == []
    with files.in_use(campaign.folder, alone=True), pytest.raises(Busy), campaign.recording("b"):
        pass
    assert not list(campaign.folder.glob("*.lock"))


@pytest.mark.board
def test_the_command_repairs_and_measures_again(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    assert run("collect", "--board", RIG, "--campaign", folder, *OPTIONS).returncode == 0
    values = {record.line["visit"]: record.line["sha256"] for record in some(Campaign(folder).records(), 6)}
    flip(next(folder.glob("boots/*.1/visits.jsonl")))
    words = refused(run("collect", "--board", RIG, "--campaign", folder, *OPTIONS))
    assert f"nothing is measured until this is mended, with: study repair {shlex.quote(str(folder))}" in words
    first = run("repair", folder, "--no-measure")
    assert "line 1 does not match its digest" in first.stdout or "line 2 does not match" in first.stdout, first.stdout
    assert "5 of 6 visits" in first.stdout
    done = run("repair", folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert run("verify", folder).returncode == 0
    assert {record.line["visit"]: record.line["sha256"] for record in Campaign(folder).records()} == values


def test_a_campaign_from_elsewhere_connects_to_nobody(tmp_path: Path) -> None:
    campaign = recorded(tmp_path / "c", "ssh:somebody")
    flip(campaign.folder / "boots/ssh-somebody.1/visits.jsonl")
    done = run("repair", campaign.folder)
    assert done.returncode == 0
    assert (
        f"go on with: study collect --board ssh:somebody --campaign {shlex.quote(str(campaign.folder))} --profile" in done.stdout
    )
