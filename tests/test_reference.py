"""What the shipped data say, and that everything is drawn from them again: without an emulator, with the same bytes."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from study import paths
from study.analyze import compare, figures, frame, tables
from study.analyze import cost as cost_model
from study.campaign import Campaign
from study.collect.onboard.factors import EXITS, GUEST_STATES, HOST_STATES, KVM, RIG, STRATEGIES, names
from study.collect.perfstat import parse
from study.design import KINDS, choose
from study.publish import letter
from tests.conftest import BIN, BOARDS, run

# Facts of Debian's 6.1 kernel, measured apart from this study: instructions per hvc round trip of an untouched guest and
# of one with monitor debug mode on.
STOCK = {"qemu-neoverse-n1": (1175, 1537), "qemu-cortex-a57": (1595, 1959)}
RIGS = ["rig-cortex-a15", "rig-cortex-a57"]
TITLE = ["-p", "title", "KVM: arm64: a title"]


@pytest.fixture(scope="module", params=["clock", "instructions"])
def cost(request: pytest.FixtureRequest, summary: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Medians per hvc round trip, by pyperf's clock and by perf's count: the same must hold of both."""
    rows = compare.of_kind(summary, KVM).query("arm == 'main' and exit == 'hvc' and metric == @request.param")
    return {(row.board, row.strategy, row.guest): row.median for row in rows.itertuples()}


def test_the_reference_is_whole_and_complete(reference: Campaign) -> None:
    assert reference.verify() == []
    assert {kind: design.factors for kind, design in reference.designs.items()} == {kind: choose("full", kind) for kind in KINDS}
    for board in (*BOARDS, *RIGS):
        assert reference.missing(board) == []
    kernels = {facts["board"]: str(facts["kernel"]) for facts in map(reference.facts, reference.boots())}
    assert all(kernels[board].startswith("6.1.") for board in BOARDS)
    assert all(kernels[board].startswith("rig-") for board in RIGS)


@pytest.mark.parametrize("board", BOARDS)
def test_stock_costs_what_is_known_of_it(cost: dict[tuple[str, str, str], float], board: str) -> None:
    untouched, mde = cost[board, "stock", "untouched"], cost[board, "stock", "mde"]
    assert (untouched, mde) == pytest.approx(STOCK[board], rel=0.05)
    assert 330 < mde - untouched < 390


@pytest.mark.parametrize("board", BOARDS)
def test_strategies_cost_what_their_rules_say(cost: dict[tuple[str, str, str], float], board: str) -> None:
    guests = {guest for _, _, guest in cost}
    eager = [cost[board, "eager", guest] for guest in guests]
    assert max(eager) / min(eager) < 1.02
    assert cost[board, "control-scan", "mde"] == pytest.approx(cost[board, "control-scan", "untouched"], rel=0.02)
    assert cost[board, "lazy", "touch"] > 2800
    assert cost[board, "eager", "touch"] == pytest.approx(cost[board, "eager", "untouched"], rel=0.02)
    assert cost[board, "lazy", "mde"] > 1.1 * cost[board, "control-scan", "mde"]
    assert cost[board, "lazy", "one-no-mde"] < cost[board, "control-scan", "one-no-mde"]


def test_pyperf_and_perf_agree_in_every_visit(values: pd.DataFrame) -> None:
    tags = ["board", "strategy", "guest", "exit", "arm", "boot", "visit"]
    visits = compare.of_kind(values, KVM).pivot_table(index=tags, columns="metric", values="value", aggfunc="median")
    counted = visits["instructions"] + visits["user-instructions"]
    assert len(visits) == 540
    assert ((counted / visits["clock"] - 1).abs() < 0.03).all()


def test_the_control_arm_is_never_told_apart(summary: pd.DataFrame) -> None:
    rows = compare.control_arm(compare.timed(summary))
    assert len(rows) == 18 + 2 * 7 * 4 * 3
    assert set(rows["verdict"]) == {compare.CANNOT}


def test_the_rig_ranks_strategies_as_linux_does_wherever_no_access_traps(summary: pd.DataFrame) -> None:
    ranks = cost_model.rankings(summary)
    assert set(ranks.columns) == {*BOARDS, *RIGS}
    for guest, row in ranks.drop(index="touch").iterrows():
        assert row.nunique() == 1, f"{guest}: {dict(row)}"
    assert ranks.loc["touch"].nunique() > 1


def test_a_trap_weighs_far_less_on_the_rig_and_the_letter_says_why(reference: Campaign, summary: pd.DataFrame) -> None:
    traps = cost_model.trap_costs(summary)
    assert (traps[RIGS] < 100).all()
    assert (traps[BOARDS] > 1500).all()
    text = " ".join(letter.render(reference, summary, title="x", version=1).split())
    for board in (*BOARDS, *RIGS):
        assert f"{traps[board]:.0f} instructions on {board}" in text
    assert "pays less for each touch there" in text
    assert "alike for these guests: untouched, mde, one, half, all, one-no-mde; not for: touch." in text


@pytest.mark.parametrize("board", RIGS)
def test_the_thread_is_answered_with_every_strategy(reference: Campaign, summary: pd.DataFrame, board: str) -> None:
    text = letter.render(reference, summary, title="x", version=1)
    table = tables.thread(summary, board)
    assert table in text
    rows = [line.split()[0] for line in table.splitlines()[2:]]
    assert set(rows) == set(names(STRATEGIES, RIG))
    assert re.search(r"^none +\d+ \(\+0\) +\d+ \(\+0\) +\d+ \(\+0\) +\d+ \(\+0\)$", table, re.MULTILINE)


def test_the_matrix_of_the_rigs_is_full(reference: Campaign) -> None:
    cells = {board: set() for board in RIGS}  # type: dict[str, set[tuple[str, ...]]]
    for record in reference.records():
        if record.facts["board"] in cells and record.line["arm"] == "main":
            cells[record.facts["board"]].add(tuple(record.line["cell"].values()))
            assert record.line["checks"]["well"] is True
    every = set(itertools.product(*(names(table, RIG) for table in (STRATEGIES, GUEST_STATES, HOST_STATES, EXITS))))
    for board in RIGS:
        assert {tuple(sorted(cell)) for cell in cells[board]} == {tuple(sorted(cell)) for cell in every}
        assert len(cells[board]) == 7 * 7 * 4 * 3


def test_exits_are_the_loops_and_a_constant(reference: Campaign) -> None:
    constants = {
        count.value - window["loops"]
        for record in reference.records()
        if record.line["cell"]["guest"] != "touch" and "windows" in record.line
        for window in record.line["windows"]
        for count in parse(window["perf"])
        if count.event == "kvm:kvm_exit"
    }
    assert constants
    assert all(0 < constant <= 10 for constant in constants)


def test_letter_and_figures_are_drawn_again_without_an_emulator(tmp_path: Path, summary: pd.DataFrame) -> None:
    bare = {"PATH": f"{BIN}:/usr/bin-without-anything", "STUDY_CACHE": str(tmp_path / "cache")}
    for name, more in (("analyze", []), ("cover-letter", TITLE)):
        done = run("notebook", name, tmp_path / f"{name}.ipynb", "-p", "paper", tmp_path, *more, env=bare)
        assert done.returncode == 0, done.stderr
    shipped, drawn = paths.PAPER / "reference", tmp_path / "reference"
    for name in ("tables.txt", "tables.md", "tables.html", "alt.json", "cost-hvc.svg", "cost-mmio.svg", "rig-hvc.svg"):
        assert (drawn / name).read_bytes() == (shipped / name).read_bytes(), (
            f"paper/reference/{name} is out of date: make figures"
        )
    ours, theirs = ((folder / "letter.txt").read_text().splitlines()[1:] for folder in (drawn, shipped))
    assert ours == theirs, "paper/reference/letter.txt is out of date: make mail CAMPAIGN=data/reference"
    assert not (tmp_path / "cache").exists()


def test_the_letter_is_one_that_a_list_takes(reference: Campaign, summary: pd.DataFrame) -> None:
    text = letter.render(reference, summary, title="A title", version=2)
    assert text.splitlines()[:2] == ["A title", ""]
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 75
    assert not any(line.startswith("#") for line in text.splitlines())
    assert "path length in instructions, not time" in " ".join(text.split())
    assert reference.digest() in text
    assert "lazy again" in text
    assert not re.search(r"\d (ns|us|ms)\b|\bseconds\b", text)


@pytest.mark.parametrize(("title", "version"), [("", 1), ("a\nb", 1), ("na\u00efve", 1), ("x" * 76, 1), ("x", 0), ("x", True)])
def test_a_letter_that_git_would_not_take_is_refused(
    reference: Campaign, summary: pd.DataFrame, title: str, version: int
) -> None:
    with pytest.raises(letter.BadRequest):
        letter.render(reference, summary, title=title, version=version)


def test_tables_fit_a_mail_and_show_the_control_arm(summary: pd.DataFrame) -> None:
    text = tables.all_tables(summary)
    assert max(map(len, text.splitlines())) <= 72
    for board, leave in itertools.product(BOARDS, ("hvc", "mmio")):
        assert re.search(rf"{board}, .*{leave} round trip", " ".join(text.split()))
    assert text.count("lazy again") >= 18


def test_figures_say_what_they_are(values: pd.DataFrame, summary: pd.DataFrame) -> None:
    for drawing in figures.draw_all(values, summary):
        drawing.figure.canvas.draw()  # type: ignore[attr-defined]
        box = drawing.figure.get_tightbbox()
        assert box.x0 >= -0.2, "a label is cut off"
        assert "untouched from" in drawing.alt
        assert "emulated, not time" in drawing.alt
        titles = [axis.get_title(loc="left") for axis in drawing.figure.axes]
        if drawing.name.startswith("rig-"):
            assert titles == [f"{board}, host: {HOST_STATES[host].says}" for host in HOST_STATES for board in RIGS]
            assert "emulated: path length, not time" in drawing.figure.get_supxlabel()
            continue
        assert all("emulated: path length in instructions, not time" in title for title in titles)
        assert [title.split(",")[0] for title in titles] == sorted(BOARDS)
        assert all(axis.get_ylabel() == "instructions per round trip" for axis in drawing.figure.axes)


def test_a_campaign_of_both_kinds_says_which_figure_is_a_time(reference: Campaign, tmp_path: Path) -> None:
    """As if the second board were no emulated one."""
    shutil.copytree(reference.folder, tmp_path / "c")
    for path in tmp_path.glob("c/boots/*n1*/boot.json"):
        path.write_text(path.read_text().replace('"emulated": true', '"emulated": false'))
    mixed = Campaign(tmp_path / "c")
    values = frame.tidy(mixed)
    summary = compare.summarise(values, mixed.baselines())
    for drawing in figures.draw_all(compare.of_kind(values, KVM), compare.of_kind(summary, KVM)):
        labels = [axis.get_ylabel() for axis in drawing.figure.axes]
        assert labels == ["instructions per round trip", "ns per round trip"]
        assert all(axis.get_ylim()[1] < 20_000 for axis in drawing.figure.axes)
        assert "in instructions (emulated, not time)" in drawing.alt
        assert "in ns:" in drawing.alt
    text = " ".join(letter.render(mixed, summary, title="x", version=1).split())
    assert (
        "The figures of qemu-cortex-a57 and rig-cortex-a15 and rig-cortex-a57 come from emulation: they are path length" in text
    )


def test_a_letter_says_what_was_measured_and_not_what_was_planned(reference: Campaign, tmp_path: Path) -> None:
    shutil.copytree(reference.folder, tmp_path / "c")
    for path in tmp_path.glob("c/boots/*.2"):
        shutil.rmtree(path)
    part = Campaign(tmp_path / "c")
    summary = compare.summarise(frame.tidy(part), part.baselines())
    text = " ".join(letter.render(part, summary, title="x", version=1).split())
    assert "n of a cell: 1 boot, 3 visits, 15 values." in text
    assert "not complete: 135 of 270 visits of qemu-cortex-a57 are there" in text
    assert "2 boots" not in text


def test_no_path_of_the_collecting_machine_is_in_the_data(reference: Campaign) -> None:
    for path in reference.raw_files():
        assert not re.search(r"/(home|root|Users|tmp)/", path.read_text()), path
