"""What each patch of a series moves, and verdicts for programs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analyze import compare, figures, frame, history, patches, tables, verdict
from study.campaign import Campaign
from study.errors import BadRequest
from study.publish import answer, headline
from tests import made_series
from tests.conftest import drawn, refused, run, some

BURN, AGAIN = "1-burn-a-hundred", "2-burn-nothing-any-more"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Base, a patch that burns a hundred instructions, one that takes them away, one that does not build, and the base again."""
    rows = [
        made_series.row(BURN, 1),
        made_series.row(AGAIN, 2),
        made_series.row("3-break", 3, "", "commit x does not build: a.c:1: no"),
    ]
    rows.append(made_series.row("4-reword", 4, "base"))
    known = {"branch": "topic", "ends": False, "base": made_series.row("base", 0), "patches": rows}
    return made_series.make(tmp_path_factory.mktemp("series") / "c", {"base": 0, BURN: 100, AGAIN: 0}, known)


@pytest.fixture(scope="module")
def moved(measured: Campaign) -> pd.DataFrame:
    return patches.moves(compare.medians(frame.tidy(measured)), measured.series())


def test_each_patch_moves_what_was_planted_against_the_one_before_and_the_base(moved: pd.DataFrame) -> None:
    rows = moved.set_index(["label", "than"])
    for label, than, planted in [
        (BURN, "the one before", 100),
        (BURN, "base", 100),
        (AGAIN, "the one before", -100),
        (AGAIN, "base", 0),
    ]:
        own = rows.loc[[(label, than)]]
        assert len(some(own.index, 8)) == 8  # two boards, two exits, two guests
        assert own["moved"].to_numpy() == pytest.approx(planted, abs=1)
        assert (own["moved_low"] <= own["moved"]).all() and (own["moved"] <= own["moved_high"]).all()
        hvc = own[own["exit"] == "hvc"]
        expected = compare.HIGHER if planted > 0 else compare.LOWER if planted < 0 else compare.CANNOT
        assert set(hvc["verdict"]) == {expected}
    again = rows.loc[[("base", patches.AGAIN)]]
    assert set(again["verdict"]) == {compare.CANNOT} and len(again) == 8


def test_a_patch_that_was_not_measured_is_left_out_and_one_of_the_same_build_moves_nothing(moved: pd.DataFrame) -> None:
    assert "3-break" not in set(moved["label"])
    same = moved[(moved["label"] == "4-reword") & (moved["than"] == "base")]
    assert len(same) == 8 and (same["moved"] == 0).all() and set(same["verdict"]) == {compare.CANNOT}


def test_the_table_has_a_row_for_each_commit_and_fits_a_mail(measured: Campaign, moved: pd.DataFrame) -> None:
    text = patches.table(moved, measured.series())
    assert max(map(len, text.splitlines())) <= tables.WIDTH
    for board in made_series.BOARDS:
        assert text.count(f"{board} (") == 1
    lines = [line.split() for line in text.splitlines()]
    for start, sign in ((["than", "before"], "-100"), (["than", "base"], "+0")):
        at = next(n for n, line in enumerate(lines) if line[:2] == start)
        first, *others = lines[at + 2 : at + 7]
        assert first[:2] == ["base", "again"] and first[-2:] == ["cannot", "distinguish"]
        assert [line[0] for line in others] == [BURN, "2-burn-nothing-..", "3-break", "4-reword"]
        assert others[0][-1] == "higher" and "+100" in others[0]
        assert others[1][3] in (sign, "-0", "+1", "-1", "-101", "-99") and others[2][-1] == "unmeasured"
    markdown = patches.table(moved, measured.series(), "markdown")
    assert markdown.count("| 3-break ") == len(made_series.BOARDS)
    shown = run("patches", measured.folder, "--as", "markdown").stdout
    assert markdown in shown
    assert "[not measured: commit x does not build: a.c:1: no]" in shown and "[the same build as base]" in shown


def test_twenty_commits_can_be_read_in_the_figure(tmp_path: Path) -> None:
    labels = [f"{n}-patch-with-quite-a-name" for n in range(1, 21)]
    known = {"branch": "t", "ends": False, "base": made_series.row("base", 0),
             "patches": [made_series.row(label, n) for n, label in enumerate(labels, 1)]}  # fmt: skip
    costs = {"base": 0.0} | {label: 30.0 * (n // 5) for n, label in enumerate(labels)}
    campaign = made_series.make(tmp_path / "c", costs, known)
    values = frame.tidy(campaign)
    first, drawing = figures.draw_all(values, compare.summarise(values, campaign.baselines()), campaign.series())
    assert (first.name, drawing.name) == ("answer", "patches")
    assert first.figure.get_figwidth() < drawing.figure.get_figwidth() and len(first.alt) <= 300
    figure = drawing.figure
    figure.draw_without_rendering()
    names = [tick.get_window_extent() for tick in figure.axes[0].get_yticklabels()]
    assert len(names) == 21
    assert all(not one.overlaps(other) for one, other in itertools.pairwise(names))
    assert min(box.x0 for box in names) >= 0
    bold = [tick.get_text().split()[0] for tick in figure.axes[0].get_yticklabels() if tick.get_fontweight() == "bold"]
    assert bold == ["6-patch-with-quite-a-name", "11-patch-with-quite-a-name", "16-patch-with-quite-a-name"]
    assert all(label in drawing.text for label in labels) and len(drawing.alt) <= 300
    for axis in some(first.figure.axes, 2):
        named = [tick.get_text().split("\n")[0] for tick in axis.get_yticklabels()]
        assert named == ["6-patch-with-quite-a-n..", "11-patch-with-quite-a-..", "16-patch-with-quite-a-..", "whole series"]


def test_the_answer_says_once_that_it_is_about_the_whole_series(measured: Campaign, moved: pd.DataFrame) -> None:
    said = answer.answer(compare.summarise(frame.tidy(measured), measured.baselines()), moved)
    assert said.lower().count("series as a whole") == 1 and said.endswith(" (emulated: path length in instructions, not time).")
    assert said.count(f"of 4 cells on each of {' and '.join(sorted(made_series.BOARDS))} none is sure to differ") == 1


@pytest.mark.parametrize(
    ("moved", "verdict", "words"),
    [
        (0.013, compare.HIGHER, "+0.01"),
        (-377.4, compare.LOWER, "-377"),
        (0.3, compare.CANNOT, "+0"),
        (0.0, compare.BASELINE, "+0"),
    ],
)
def test_a_difference_that_is_sure_is_never_written_as_none(moved: float, verdict: str, words: str) -> None:
    row = SimpleNamespace(
        exit="vgic", guest="mde", host="all", differ=1, cells=26, unit="instructions", moved=moved, moved_low=moved, moved_high=moved,
        verdict=verdict,
    )  # fmt: skip
    assert patches.words_of(row) == ["vgic mde/all", words, f"{words} to {words}", verdict, "1 of 26"]


def test_a_host_that_debugs_is_told_apart_in_the_figure_the_tables_and_the_letter(tmp_path: Path) -> None:
    base, tip = made_series.row("base", 0), made_series.row("tip", 1)
    known = {"branch": "topic", "ends": False, "base": base, "patches": [tip]}
    states = {"guests": "untouched,mde,one,half,all", "hosts": "none,all:mde", "exits": "hvc"}
    campaign = made_series.make(tmp_path / "c", {"base": 0.0, "tip": 100.0}, known, **states)
    tidy = frame.tidy(campaign)
    moved = patches.moves(compare.medians(tidy), campaign.series())
    *_, drawing = figures.draw_all(tidy, compare.summarise(tidy, campaign.baselines()), campaign.series())
    titles = {axis.get_title("left") for axis in drawing.figure.axes}
    assert titles == {"guest: untouched", "guest: mde", "guest: mde (host: all)", "guest: one"}
    assert "not shown, in the tables: half, all" in drawing.figure.legends[0].get_title().get_text()
    told = "\n".join(headline.headline(compare.summarise(tidy, campaign.baselines()), history.NOTHING, moved, campaign.series()))
    explained = headline.explained(f"{told} all hvc mde/all", compare.summarise(tidy, campaign.baselines()), campaign.series())
    assert {"mde: monitor debug mode on, nothing enabled", "/all: with a host that has all enabled"} <= set(explained)
    assert not any(line.startswith("all:") for line in explained), "it is a word of the table, too"
    only = moved[moved["host"] == "all"]
    assert "hvc mde/all" in patches.table(only, campaign.series()) and "hvc mde/all" in patches.said(
        next(patches.leading(only).itertuples())
    )


@pytest.mark.parametrize(
    ("cost", "says"), [(100.0, "lowers none, and raises 4"), (-100.0, "lowers 4, most hvc untouched (-100), and raises none")]
)
def test_the_answer_of_a_series_says_both_ways(tmp_path: Path, cost: float, says: str) -> None:
    base, tip = made_series.row("base", 0), made_series.row("tip", 1)
    known = {"branch": "topic", "ends": False, "base": base, "patches": [tip]}
    campaign = made_series.make(tmp_path / "c", {"base": 0.0, "tip": cost}, known)
    tidy = frame.tidy(campaign)
    moved = patches.moves(compare.medians(tidy), campaign.series())
    summary = compare.summarise(tidy, campaign.baselines())
    assert f"of 4 cells on each of {' and '.join(sorted(made_series.BOARDS))} it {says}" in answer.answer(summary, moved)
    assert f"of 4 cells on qemu-neoverse-n1 it {says}" in answer.answer(summary, moved[moved["board"] == "qemu-neoverse-n1"])
    table = headline.headline(summary, history.NOTHING, moved, campaign.series())[1]
    dearer = [line.split()[2:5] for line in table.splitlines() if "all, dearer" in line]
    assert dearer == ([["hvc", "untouched", "+100"]] * 2 if cost > 0 else [])


def test_programs_get_all_cells(measured: Campaign) -> None:
    rows = json.loads(run("patches", measured.folder, "--as", "json").stdout)
    assert len(rows) == 8 * (1 + 3 * 2)  # what was measured, against itself, the one before and the base
    assert {row["verdict"] for row in rows} == {"higher", "lower", "cannot distinguish"}


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--than", "base", "--kernel", BURN, "--cells", "exit=hvc"], 1, "worse: 1-burn-a-hundred takes 1.080"),
        (["--than", "base", "--kernel", BURN, "--cells", "exit=hvc", "--at-most", "10%"], 0, "not worse"),
        (
            ["--than", "base", "--kernel", BURN, "--cells", "exit=hvc guest=untouched", "--at-most", "0.0799"],
            125,
            "cannot be said",
        ),
        (["--than", "base", "--kernel", AGAIN], 0, "not worse"),
        (["--than", BURN, "--kernel", AGAIN, "--at-most", "0"], 0, "not worse"),
        (["--than", "base"], 0, "not worse: it is the build of base"),
        (["--than", "base", "--kernel", "3-break"], 125, "cannot be said: commit x does not build: a.c:1: no"),
        (["--than", "base", "--kernel", "nothing"], 128, "has no kernel 'nothing'; choose from base, 1-burn"),
        (["--than", "base", "--cells", "exit=nothing"], 128, "exit 'nothing' was not measured there"),
        (["--than", "base", "--at-most", "much"], 128, "at-most is 'much'"),
        (["--at-most", "1%"], 128, "Missing option '--than'"),
    ],
)
def test_a_verdict_is_a_status_that_git_bisect_understands(measured: Campaign, words: list[str], status: int, says: str) -> None:
    done = run("verdict", measured.folder, *words)
    assert (done.returncode, says in done.stdout + done.stderr) == (status, True), done.stdout + done.stderr


def test_nothing_can_be_said_of_what_is_not_complete_or_not_there(measured: Campaign, tmp_path: Path) -> None:
    assert run("verdict", tmp_path / "none", "--than", "base").returncode == 128
    known = {**measured.series(), "patches": measured.series()["patches"][:1]}
    campaign = made_series.make(tmp_path / "c", {"base": 0, BURN: 0}, known)
    assert run("verdict", campaign.folder, "--than", "base").returncode == 0
    last = campaign.boots()[-1] / "visits.jsonl"
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    done = run("verdict", campaign.folder, "--than", "base")
    assert (done.returncode, "cannot be said: " in done.stdout) == (125, True)


@drawn(60)
@given(st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=6), st.floats(0.0, 0.1), st.floats(0.0, 0.003))
def test_a_verdict_is_sure_of_what_it_says(steps: list[float], at_most: float, noise: float) -> None:
    """Worse and not worse never both hold, and what is far beyond the limit, or far below it, is said."""
    boots = np.array(steps[:3])
    rows = []
    for kernel, middle in (("base", 0.0), ("v2", steps[0])):
        for boot, off in enumerate(boots * noise):
            tags = {
                "board": "b",
                "mode": "vhe",
                "strategy": "owner",
                "guest": "mde",
                "host": "none",
                "exit": "hvc",
                "arm": "main",
            }
            rows.append({**tags, "metric": "clock", "unit": "instructions", "kernel": kernel, "boot": f"{kernel}.{boot}", "visit": f"{kernel}{boot}",
                         "room": 0,                         "block": 1, "position": 1, "value": 1000 * np.exp(middle + off), "values": 1})  # fmt: skip
    visits = pd.DataFrame(rows)
    visits["cell"] = visits["pool"] = visits.groupby(compare.CELL, sort=False).ngroup()
    found = verdict.verdict(visits, "v2", "base", "", at_most)
    beyond = steps[0] - np.log1p(at_most)
    assert found.status in (verdict.NOT_WORSE, verdict.WORSE, verdict.CANNOT_BE_SAID)
    if abs(beyond) > 0.01:
        assert found.status == (verdict.WORSE if beyond > 0 else verdict.NOT_WORSE)
    assert not (found.status == verdict.WORSE and beyond < 0)
    assert not (found.status == verdict.NOT_WORSE and beyond > 1e-9)


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.01", 0.01), (" 2.5% ", 0.025), ("0", 0.0)])
def test_a_share_is_a_number_or_per_cent(text: str, share: float) -> None:
    assert verdict.share(text, "share") == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "1%%", "one", "-1%", "100%", "nan", "1% of it"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="must be a share"):
        verdict.share(text, "share")


def test_a_campaign_of_no_series_says_so() -> None:
    assert "measures no series" in refused(run("patches", "data/reference"))
