from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from study.analyze import compare, frame
from study.bench import __main__ as bench
from study.bench import analysis, collection, figure, notebooks, rows, setup, statistics
from study.design import choose
from study.kernels import archive

SMALL = {"boots": 3, "processes": 1, "values": 40}


def test_a_simulated_campaign_is_one_that_all_of_the_analysis_takes(tmp_path: Path) -> None:
    measured = analysis.campaign(tmp_path / "c", boards=1, **SMALL)
    assert measured.verify() == []
    took = analysis.run("all-steps", measured.folder)
    assert (took["cells"], took["values"]) == (75, 75 * 3 * 40)
    assert took["seconds"] == pytest.approx(
        sum(took[step] for step in ("open", "frame", "intervals", "cost model", "tables", "figures"))
    )
    assert 0 < took["bytes"] < took["peak"] < 2**30
    assert (tmp_path / "c/out/cost-hvc.svg").exists()
    summary = compare.summarise(frame.tidy(measured), measured.baselines())
    assert set(compare.control_arm(compare.timed(summary))["verdict"]) == {compare.CANNOT}


def test_the_same_figures_are_saved_by_matplotlib_and_memory_is_that_of_all_processes(tmp_path: Path) -> None:
    measured = analysis.campaign(tmp_path / "c", boards=1, **SMALL)
    alone = analysis.run("savefig", measured.folder)
    assert alone["figures"] == len(list(measured.folder.glob("*.png"))) == len(list(measured.folder.glob("*.svg"))) > 5
    both = analysis.memory("all-steps", measured.folder)
    assert {path.name for path in measured.folder.glob("*.svg")} == {
        path.name for path in (measured.folder / "out").glob("*.svg")
    }
    assert analysis.run("steps", measured.folder)["peak"] < both < 2**30


def test_all_that_is_compared_finds_the_same_medians(tmp_path: Path) -> None:
    measured = analysis.campaign(tmp_path / "c", boards=1, **SMALL)
    values = frame.tidy(measured)
    frame.write(measured, values)
    ours = compare.medians(values)
    for other in (analysis.with_pandas, analysis.with_duckdb):
        found = other(measured.folder)
        assert (found["medians"], found["sum"]) == (len(ours), pytest.approx(ours["value"].sum()))


def test_the_analysis_has_a_row_for_each_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "LARGE", {**analysis.LARGE, **SMALL})
    for name, small in {"BOARDS": 1, "VALUES": (2, 4, 40), "FEW": 2, "VISITS": (1, 2, 3), "CELLS": (1, 2, 3)}.items():
        monkeypatch.setattr(analysis, name, small)
    monkeypatch.setattr(analysis, "PAIRS", 1)
    monkeypatch.setattr(analysis, "RUNS_EACH", 1)
    monkeypatch.setitem(analysis.RUNS, "all-steps", analysis.steps)
    monkeypatch.setitem(analysis.RUNS, "savefig", analysis.steps)
    monkeypatch.setattr(analysis, "memory", lambda what, folder: 2.0**30)
    monkeypatch.setattr(analysis, "run", lambda what, folder: analysis.RUNS[what](folder))  # in this process: it is quicker
    said: list[str] = []
    found = {row.name: row for row in analysis.rows(said.append)}
    assert [row.bound for row in found.values()] == [3.0, None, None, 2.5, 1.0, 1.0, 1.0, 1.05, 1.05, 1.05]
    assert list(found["growth with values"].samples["sizes"]) == [75 * 3 * values for values in (2, 4, 40)]
    assert list(found["growth with visits"].samples["sizes"]) == [75 * 3 * visits for visits in (1, 2, 3)]
    assert list(found["growth with cells"].samples["sizes"]) == [75 * boards for boards in (1, 2, 3)]
    assert said[0] == "writing a simulated campaign: 2 values"


def test_the_intervals_are_compared_with_scipy_s(tmp_path: Path) -> None:
    row = statistics.intervals(analysis.campaign(tmp_path / "c", boards=1, **SMALL))
    assert (row.n, row.bound) == (rows.PAIRS, 1.0)
    assert row.value > 0


def test_the_large_campaigns_are_as_large_as_they_say() -> None:
    factors = choose("full", "kvm", **analysis.LARGE)
    cells = len(factors.cells()) * analysis.BOARDS
    assert cells == 300
    visits = cells * factors.boots * factors.processes
    assert visits * factors.values >= 1_000_000
    assert [round(visits * values, -4) for values in analysis.VALUES] == [10_000, 100_000, 1_000_000, 10_020_000]
    assert factors.values in analysis.VALUES


@pytest.mark.board
def test_a_visit_is_compared_with_a_bare_pyperf_program_on_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "FEW", 1)
    monkeypatch.setattr(collection, "MANY", 2)
    found = {row.name.strip(): row for row in collection.visits(1)}
    names = "board time of a sample: ours / bare pyperf", "with all that a visit counts / bare pyperf"
    values, whole, module = (found[name].value for name in (*names, "the same through the module / bare pyperf"))
    assert 0 < values < min(whole, module)  # of one visit each, the first of which starts what stays
    spread = found["spread between processes: ours / bare pyperf"]
    assert (len(spread.samples["ours"]), len(spread.samples["other"])) == (2, 2)
    assert all(1.4e-6 < median < 1.7e-6 for kind in ("ours", "other") for median in spread.samples[kind])


def test_the_spread_of_like_samples_is_like() -> None:
    source = np.random.default_rng(1)
    row = collection.spread(*(list(source.normal(1, 0.01, 200)) for _ in range(2)))
    assert row.low < 1 < row.high
    assert collection.spread(list(source.normal(1, 0.03, 200)), list(source.normal(1, 0.01, 200))).low > 1


@pytest.mark.board
def test_a_rig_s_campaign_is_compared_with_its_loops_and_side_by_side_counts_the_same() -> None:
    row = collection.rig(1, "quick")
    assert row.value > 0
    assert row.samples["round trips per second"][1] > 0
    assert collection.same_side_by_side()


@pytest.mark.board
def test_what_apt_does_is_what_fetching_takes() -> None:
    with setup.timed_apt() as took:
        archive.run(["apt-get", "--version"])
        archive.run(["true"])
    (of_apt,) = took
    assert of_apt > 0


def test_the_start_of_the_command_is_held_against_its_promise(tmp_path: Path) -> None:
    row = notebooks.started(1)
    assert (row.bound, row.n, row.samples["other"]) == (1.0, 1, [0.3])
    written = [row, rows.growth("growth", 1.05, "all", [1, 10, 100], [1, 10, 100])]
    (tmp_path / "bench.json").write_text(json.dumps({"a": [dataclasses.asdict(each) for each in written]}))
    read = bench.read(tmp_path / "bench.json")
    assert [each.name for each in read] == ["study --help, of 0.3 s", "growth"]
    assert read[1].value == pytest.approx(1)
    assert "growth" in bench.table(read)
    assert {path.name for path in figure.save(read, tmp_path)} >= {"bench.svg", "bench.png"}
