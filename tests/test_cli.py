from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from study import cli, paths
from study.campaign import Campaign
from study.design import Factors
from tests.conftest import BIN, refused, run, some

NEW = "a folder that is not there"


def test_help_teaches() -> None:
    shown = run("--help").stdout
    assert "study collect --profile quick" in shown
    assert all(f"  {command} " in shown for command in cli.study.commands)


@pytest.mark.parametrize("command", ["", *cli.study.commands])
def test_help_is_paragraphs_without_marks(command: str) -> None:
    """What asks click to leave a paragraph's lines alone stands on a line of its own; elsewhere it is printed."""
    done = run(*filter(None, [command]), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: study")
    assert not re.search(r"(?<!\S)\?(?!\S)|[^\n -~]", done.stdout)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["collect", "--campaign", NEW, "--board", "toaster"], "board 'toaster' is unknown; choose from local"),
        (
            ["collect", "--campaign", NEW, "--strategies", "fast"],
            "'fast' is unknown on a Linux board; choose from stock, lazy",
        ),
        (["collect", "--campaign", NEW, "--guests", "nobody"], "'nobody' is unknown"),
        (["collect", "--campaign", NEW, "--loops", "0"], "loops is 0"),
        (["collect", "--campaign", NEW, "--loops", "-3"], "loops is -3"),
        (["collect", "--campaign", NEW, "--loop", "3"], "No such option"),
        (
            ["collect", "--campaign", NEW, "--profile", "huge"],
            "'huge' is unknown; choose from quick, default, full",
        ),
        (["collect"], "Missing option '--campaign'"),
        (["summary", "/nowhere"], "/nowhere is no campaign"),
        (["verify", "/nowhere"], "/nowhere is no campaign"),
        (["export", "/nowhere", "--pyperf", NEW], "/nowhere is no campaign"),
        (["export", "/nowhere", "--bmf", NEW], "/nowhere is no campaign"),
        (["export", "/nowhere"], "say what to write: --pyperf FOLDER or --bmf FILE"),
        (["html", "/nowhere", "--out", NEW], "/nowhere is no campaign"),
        (["mail", "/nowhere", NEW, "--branch", "x"], "/nowhere: No such file or directory"),
        (["reply", "/nowhere", "--cells", "guest=mde"], "/nowhere is no campaign"),
        (["plan", "--board", "toaster"], "board 'toaster' is unknown"),
        (["collect", "--campaign", "/proc/x/y", "--profile", "quick"], "/proc/x: No such file or directory"),
        (["fly"], "No such command 'fly'"),
    ],
)
def test_nonsense_is_refused_in_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    new = tmp_path / "made-by-nobody"
    assert says in refused(run(*(new if word == NEW else word for word in words)))
    assert not new.exists()


def test_plan_shows_every_visit_and_measures_none(tmp_path: Path) -> None:
    shown = run("plan", "--profile", "full").stdout
    assert "700 = 70 cells x 2 processes x 5 boots" in shown
    assert sum(shown.count(f"\nb{boot}-") for boot in range(1, 6)) == 700
    assert "about" in shown


def test_plan_shows_the_rule_for_stopping_and_the_kernels() -> None:
    shown = run("plan", "--profile", "quick", "--boots", "4", "--until", "0.01").stdout
    assert "60 = 15 cells x 1 processes x 4 boots at most, until each interval is narrower than 1.00% of its ratio" in shown
    lines = run("plan", "--profile", "quick", "--boots", "2", "--kernels", "old,new").stdout.splitlines()
    kernels = {line.split("-")[0]: line.split()[1] for line in lines if line.startswith("b")}
    assert kernels == {"b1": "old", "b2": "new", "b3": "new", "b4": "old"}


def test_summary_is_rows_for_programs() -> None:
    rows = json.loads(run("summary", "data/reference", "--json").stdout)
    wanted = "board kernel mode strategy guest host exit arm metric unit median ci_low ci_high boots visits values ratio"
    assert set(rows[0]) == {*wanted.split(), "ratio_low", "ratio_high", "p", "least", "verdict", "baseline", "margin", "running"}
    assert {row["arm"] for row in rows} == {"main", "control"}
    assert {row["verdict"] for row in rows} == {"baseline", "lower", "higher", "cannot distinguish"}
    assert {row["metric"] for row in rows} >= {"instructions", "clock", "exits", "traps", "module-switches"}


def test_summary_is_a_table_for_people() -> None:
    assert "path length in instructions" in " ".join(run("summary", "data/reference").stdout.split())


def test_verify_says_that_all_is_whole_and_how_much_that_is(reference: Campaign) -> None:
    done = run("verify", "data/reference")
    files, visits = len(reference.raw_files()), sum(1 for _ in reference.records())
    assert (done.returncode, done.stdout) == (0, f"data/reference: every file is whole: {files} files, {visits} visits\n")
    assert (files, visits) == (94, 3868)


@pytest.mark.parametrize("boots", [0, 1])
def test_of_a_campaign_without_visits_nothing_good_is_said(tmp_path: Path, boots: int) -> None:
    campaign = Campaign.freeze(tmp_path / "c", Factors())
    for number in range(1, boots + 1):
        boot = campaign.open_boot("b", number)
        boot.begin()
        boot.describe({"board": "b", "kernel": "k", "mode": "vhe", "emulated": True})
    campaign.close("b")
    assert campaign.verify() == []
    for words in (["verify"], ["summary"], ["export", "--pyperf", tmp_path / "out"]):
        assert f"{campaign.folder} holds no visit yet" in refused(run(words[0], campaign.folder, *words[1:]))
    assert not (tmp_path / "out").exists()
    assert "of any board" in campaign.describe() if not boots else "0 of 90 visits of b are there" in campaign.describe()


def test_verify_names_each_bad_file(tmp_path: Path) -> None:
    shutil.copytree(paths.DATA / "reference", tmp_path / "c")
    bad = some(sorted((tmp_path / "c").glob("boots/*/visits.jsonl"))[:2], 2)
    for path in bad:
        before, after = b'"loops": 2000', b'"loops": 2001'
        assert before in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(before, after, 1))
    done = run("verify", tmp_path / "c")
    assert done.returncode == 1
    assert all(str(path) in done.stderr for path in bad)
    assert "does not match its digest" in refused(run("summary", tmp_path / "c"))


ENOUGH = {
    "--help": 0,
    "boards": 0,
    "strategies": 0,
    "plan --profile full": 0,
    "summary {folder}/few": 0,
    "summary {folder}/few --json": 0,
    "verify {folder}/few": 0,
    "export {folder}/few --pyperf {folder}/suites": 0,
    "export {folder}/few --bmf {folder}/results.json": 0,
    "reply {folder}/few --cells 'board=qemu-neoverse-n1 exit=hvc guest=mde'": 0,
    "verify {folder}/bad": 1,
    "summary {folder}/none": 1,
    "fly": 2,
}


@pytest.fixture(scope="module")
def campaigns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign of few boots, and one in which several files are not what their sums say."""
    folder = tmp_path_factory.mktemp("campaigns")
    few = folder / "few"
    shutil.copytree(
        paths.DATA / "reference", few, ignore=shutil.ignore_patterns("rig-*", "qemu-cortex*", "*.[2-9]", "*.1[0-9]", "SHA*")
    )
    Campaign(few).close("qemu-neoverse-n1")
    shutil.copytree(paths.DATA / "reference", folder / "bad")
    for file in (folder / "bad").glob("boots/*/boot.json"):
        file.write_text("{}")
    return folder


@pytest.mark.parametrize("words", ENOUGH)
def test_a_reader_that_has_seen_enough_changes_nothing(words: str, campaigns: Path) -> None:
    """Who reads is gone before the first line is written: the command ends as it would have, and complains of nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [BIN / "study", *shlex.split(words.format(folder=shlex.quote(str(campaigns))))]
    errors = writing if ENOUGH[words] else subprocess.PIPE  # the commands that refuse say so to the same reader
    done = subprocess.run(command, cwd=paths.ROOT, stdout=writing, stderr=errors, text=True, check=False)
    os.close(writing)
    assert done.returncode == ENOUGH[words], done.stderr
    assert not done.stderr


def test_head_sees_its_line_and_no_error() -> None:
    pipe = f"set -o pipefail; {shlex.quote(str(BIN / 'study'))} plan --profile full | head -n 1; echo ${{PIPESTATUS[*]}}"
    done = subprocess.run(["bash", "-c", pipe], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines()[1:], done.stderr) == (["0 0"], "")
