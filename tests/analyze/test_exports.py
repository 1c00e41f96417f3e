"""What is exported: suites that pyperf reads, each benchmark one cell in one unit, and medians as Bencher takes them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyperf
import pytest

from study.campaign import Campaign
from study.collect.imports.imported import import_files
from tests.conftest import refused, run, some


def suite(path: Path, *values: float, **metadata: object) -> Path:
    """Write a suite of one benchmark, with a run for each value."""
    runs = [pyperf.Run([value], metadata={"name": "leave", **metadata}, collect_metadata=False) for value in values]
    pyperf.Benchmark(runs).dump(str(path), replace=True)
    return path


def exported(campaign: Path, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Export by the command, let pyperf show and load each suite, and return the values of each benchmark, by file."""
    done = run("export", campaign, "--pyperf", folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = {}
    for path in map(Path, some(done.stdout.splitlines(), 1)):
        shown = run("-m", "pyperf", "show", "--quiet", path, program="python")
        assert (shown.returncode, shown.stderr) == (0, "")
        found[path.stem] = {one.get_name(): list(one.get_values()) for one in pyperf.BenchmarkSuite.load(str(path))}
    return found


def test_each_unit_has_a_suite_of_its_own_in_which_names_are_as_they_were(tmp_path: Path) -> None:
    units = {"second": 3.5e-7, "byte": 7340032, "integer": 611}
    files = [suite(tmp_path / f"{unit}.json", value, unit=unit) for unit, value in units.items()]
    import_files(tmp_path / "c", files, {"strategy": "lazy", "board": "lab"})
    assert exported(tmp_path / "c", tmp_path / "e") == {
        "lab-lazy": {"leave": [3.5e-7]}, "lab-lazy-memory": {"leave": [7340032]}, "lab-lazy-count": {"leave": [611]},
    }  # fmt: skip


def test_cells_whose_benchmarks_have_one_name_stay_apart(tmp_path: Path) -> None:
    """And those that one tag tells apart are told apart by that alone, under every strategy."""
    for strategy, more in (("lazy", 0.0), ("eager", 1e-7)):
        for guest, value in (("mde", 2e-7), ("left alone", 5e-7)):
            path = suite(tmp_path / f"{strategy}-{guest}.json", value + more)
            import_files(tmp_path / "c", [path], {"strategy": strategy, "board": "lab", "guest": guest})
    import_files(tmp_path / "c", [suite(tmp_path / "x.json", 9e-7, name="other")], {"strategy": "lazy", "board": "lab"})
    assert exported(tmp_path / "c", tmp_path / "e") == {
        "lab-lazy": {"leave guest=mde": [2e-7], "leave guest='left alone'": [5e-7], "other": [9e-7]},
        "lab-eager": {"leave guest=mde": [pytest.approx(3e-7)], "leave guest='left alone'": [pytest.approx(6e-7)]},
    }


def test_modes_of_one_kernel_are_two_suites(tmp_path: Path) -> None:
    for mode, value in (("vhe", 2e-7), ("nvhe", 4e-7)):
        import_files(
            tmp_path / "c", [suite(tmp_path / f"{mode}.json", value)], {"strategy": "lazy", "board": "lab", "mode": mode}
        )
    assert exported(tmp_path / "c", tmp_path / "e") == {"lab-vhe-lazy": {"leave": [2e-7]}, "lab-nvhe-lazy": {"leave": [4e-7]}}


def test_runs_of_one_cell_may_differ_in_what_pyperf_compares(tmp_path: Path) -> None:
    """Python was updated between two boots, and a board of a shelf was replaced: that is not the benchmark's name."""
    said: list[dict[str, Any]] = [{"python_version": "3.11.2 (64-bit)", "hostname": "a", "cpu_count": 4, "aslr": "on"},
                                  {"python_version": "3.13.5 (64-bit)", "hostname": "b", "cpu_count": 8, "aslr": "on"}]  # fmt: skip
    for boot, metadata in enumerate(said):
        path = suite(tmp_path / f"{boot}.json", 2e-7 * 2**boot, **metadata)
        import_files(tmp_path / "c", [path], {"strategy": "lazy", "board": "lab", "boot": str(boot)})
    assert [sorted(values) for values in exported(tmp_path / "c", tmp_path / "e")["lab-lazy"].values()] == [[2e-7, 4e-7]]
    kept = pyperf.BenchmarkSuite.load(str(tmp_path / "e/lab-lazy.json")).get_benchmark("leave").get_metadata()
    assert kept["aslr"] == "on" and not {"python_version", "hostname", "cpu_count"} & kept.keys()


@pytest.fixture
def several(tmp_path: Path) -> Campaign:
    """Results of two strategies on three boots, of time and of perf's counts, and of one more board without intervals."""
    for boot in (1, 2, 3):
        for strategy, base in (("lazy", 4e-7), ("eager", 6e-7)):
            path = suite(tmp_path / f"{strategy}-{boot}.json", base + boot * 1e-9, base + boot * 2e-9)
            row = {"counter-value": str(base * 1e9 + boot), "unit": "", "event": "cycles:u", "pcnt-running": 100.0}
            (tmp_path / f"{strategy}-{boot}.txt").write_text(json.dumps(row) + "\n")
            tags = {"strategy": strategy, "board": "lab", "guest": "mde", "exit": "hvc", "boot": str(boot)}
            import_files(tmp_path / "c", [path, path.with_suffix(".txt")], tags)
    return import_files(tmp_path / "c", [suite(tmp_path / "once.json", 8e-7)], {"board": "one of a kind", "strategy": "lazy"})


def test_bencher_has_each_median_and_interval_of_the_summary(several: Campaign, tmp_path: Path) -> None:
    done = run("export", several.folder, "--bmf", tmp_path / "new/results.json")
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "new/results.json"))
    found = json.loads((tmp_path / "new/results.json").read_text())
    rows = json.loads(run("summary", several.folder, "--json").stdout)
    for row in some(rows, 5):
        board = "'one of a kind'" if " " in row["board"] else row["board"]
        name = f"board={board} strategy={row['strategy']} guest={row['guest']} host={row['host']} exit={row['exit']}"
        metric = found[name].pop(f"{row['metric']} in {row['unit']}")
        ends = {"lower_value": row["ci_low"], "upper_value": row["ci_high"]}
        assert metric == {"value": row["median"], **{end: value for end, value in ends.items() if value is not None}}
        assert set(metric) == {"value"} or metric["lower_value"] < metric["value"] < metric["upper_value"]
    assert set(map(len, found.values())) == {0}, "a measure that the summary does not have"
    assert sum(row["ci_low"] is not None for row in rows) == 4


def test_names_for_bencher_have_a_kernel_and_an_arm_where_they_tell_cells_apart(tmp_path: Path) -> None:
    for number, tags in enumerate(
        [{"kernel": "6.6"}, {"kernel": "6.12"}, {"kernel": "6.12", "arm": "control"}, {"kernel": "6.12", "mode": "vhe"}]
    ):
        path = suite(tmp_path / f"{number}.json", 2e-7 + number * 1e-8)
        import_files(tmp_path / "c", [path], {"strategy": "lazy", "board": "lab", "exit": "hvc"} | tags)
    assert run("export", tmp_path / "c", "--bmf", tmp_path / "b.json").returncode == 0
    found = json.loads((tmp_path / "b.json").read_text())
    rest = "strategy=lazy guest=unknown host=unknown exit=hvc"
    assert {name: measures["time in s"]["value"] for name, measures in found.items()} == {
        f"board=lab kernel=6.6 {rest}": pytest.approx(2e-7),
        f"board=lab kernel=6.12 mode=unknown {rest}": pytest.approx(2.1e-7),
        f"board=lab kernel=6.12 mode=unknown {rest} arm=control": pytest.approx(2.2e-7),
        f"board=lab kernel=6.12 mode=vhe {rest}": pytest.approx(2.3e-7),
    }


def test_bencher_gets_names_of_a_length_that_it_takes(tmp_path: Path) -> None:
    """Two events whose names begin alike stay two."""
    rows = [{"counter-value": "7", "unit": "", "event": f"{'e' * 90}{end}", "pcnt-running": 100.0} for end in "ab"]
    (tmp_path / "p.txt").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_files(
        tmp_path / "c", [tmp_path / "p.txt"], dict.fromkeys(("board", "strategy", "guest", "host", "exit"), "\u677f" * 100)
    )
    assert run("export", tmp_path / "c", "--bmf", tmp_path / "b.json").returncode == 0
    ((name, measures),) = json.loads((tmp_path / "b.json").read_text()).items()
    assert len(name) <= 1024 and len(measures) == 2 and max(map(len, measures)) <= 64
    assert all(math.isfinite(measure["value"]) for measure in measures.values())


def test_an_export_of_nothing_in_particular_is_asked_what_it_is(several: Campaign) -> None:
    assert "say what to write: --pyperf FOLDER or --bmf FILE" in refused(run("export", several.folder))
