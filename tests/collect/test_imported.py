from __future__ import annotations

import gzip
import json
import math
import re
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyperf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analyze import compare, exports, frame
from study.campaign import Campaign
from study.collect import suites
from study.collect.imports.imported import import_files
from study.design import Factors
from study.errors import BadData, BadRequest, StudyError
from tests import lines, made_logs
from tests.conftest import drawn, refused, run, some

SHIPPED = Path(pyperf.__file__).parent / "tests"
LISTS = [SHIPPED / f"mult_list_py3{minor}.json" for minor in (6, 7, 8)]
# As perf 6.1 prints it: values are strings, and so is what could not be counted.
PERF = """# started on Tue Nov 24 22:01:20 2026

{{"counter-value" : "{clock}", "unit" : "msec", "event" : "task-clock", "event-runtime" : 615261, "pcnt-running" : 100.00, "metric-value" : 0.153822, "metric-unit" : "CPUs utilized"}}
{{"counter-value" : "<not supported>", "unit" : "", "event" : "cycles:u", "event-runtime" : 0, "pcnt-running" : 100.00, "metric-value" : 0.000000, "metric-unit" : ""}}
{{"counter-value" : "{instructions}", "unit" : "", "event" : "instructions:kh", "event-runtime" : 615261, "pcnt-running" : 62.50, "metric-value" : 0.000000, "metric-unit" : ""}}
{{"metric-value" : "7.4", "metric-unit" : "%  tma_frontend_bound"}}

"""
INTERVALS = """
{"interval" : 0.100163535, "counter-value" : "0.864961", "unit" : "msec", "event" : "task-clock", "event-runtime" : 864961, "pcnt-running" : 100.00, "metric-value" : 0.008650, "metric-unit" : "CPUs utilized"}
{"interval" : 0.100163535, "counter-value" : "2.000000", "unit" : "", "event" : "context-switches", "event-runtime" : 864961, "pcnt-running" : 100.00, "metric-value" : 2.312243, "metric-unit" : "K/sec"}
{"interval" : 0.200480337, "counter-value" : "<not counted>", "unit" : "msec", "event" : "task-clock", "event-runtime" : 0, "pcnt-running" : 100.00, "metric-value" : 0.000000, "metric-unit" : ""}
{"interval" : 0.200480337, "counter-value" : "4.000000", "unit" : "", "event" : "context-switches", "event-runtime" : 864961, "pcnt-running" : 100.00, "metric-value" : 0.000000, "metric-unit" : ""}
{"interval" : 0.300736830, "counter-value" : "0.072298", "unit" : "msec", "event" : "task-clock", "event-runtime" : 72298, "pcnt-running" : 100.00, "metric-value" : 0.000723, "metric-unit" : "CPUs utilized"}
{"interval" : 0.300736830, "counter-value" : "6.000000", "unit" : "", "event" : "context-switches", "event-runtime" : 72298, "pcnt-running" : 100.00, "metric-value" : 0.000000, "metric-unit" : "/sec"}
"""
APART = '{"cpu" : "0", "counter-value" : "101.65", "unit" : "msec", "event" : "task-clock", "event-runtime" : 101650632, "pcnt-running" : 100.00}\n'


def imported(campaign: Path, *words: object) -> list[dict[str, Any]]:
    """Import by the command, check that the campaign is whole, and return the rows of its summary."""
    done = run("import", campaign, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert run("verify", campaign).returncode == 0
    rows: list[dict[str, Any]] = json.loads(run("summary", campaign, "--json").stdout)
    return rows


def perf(path: Path, *, clock: float = 0.5, instructions: float = 4000.0) -> Path:
    path.write_text(PERF.format(clock=f"{clock:.6f}", instructions=f"{instructions:.6f}"))
    return path


def suite(path: Path, *runs: Sequence[float], **metadata: object) -> Path:
    """Write a suite with one benchmark, a run for each list of values."""
    made = [pyperf.Run(values, metadata={"name": "bench", "loops": 8, **metadata}, collect_metadata=False) for values in runs]
    pyperf.Benchmark(made).dump(str(path), replace=True)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_help_teaches_with_two_examples() -> None:
    shown = run("import", "--help").stdout
    assert "study import data/mine before.json after.json" in shown
    assert "--tag loops=4000 --tag boot=1" in shown


def test_suites_are_compared_and_their_medians_are_those_of_pyperf(tmp_path: Path) -> None:
    rows = imported(tmp_path / "c", *LISTS)
    medians = {(row["strategy"], row["exit"]): row["median"] for row in rows}
    for path in LISTS:
        for benchmark in pyperf.BenchmarkSuite.load(str(path)):
            runs = [pyperf.Benchmark([one]).median() for one in benchmark.get_runs() if one.values]
            # Of an even number of visits the middle is that of logarithms, which differs from pyperf's by less than a millionth.
            assert medians.pop((path.stem, benchmark.get_name())) == pytest.approx(statistics.median(runs), rel=1e-6)
    assert not medians
    assert {(row["metric"], row["unit"], row["visits"], row["values"], row["boots"]) for row in rows} == {
        ("time", "s", 20, 60, 1)
    }
    assert {(row["board"], row["kernel"], row["mode"], row["guest"]) for row in rows} == {
        ("apu", "5.8.12-200.fc32.x86_64", "unknown", "unknown")
    }
    assert {row["baseline"] for row in rows} == {"mult_list_py36"}
    ratios = {row["exit"]: row["ratio"] for row in rows if row["strategy"] == "mult_list_py37"}
    assert ratios["[1,2]*1000"] == pytest.approx(1.42, abs=0.01)  # pyperf compare_to says 1.42x slower


@pytest.mark.parametrize(
    ("name", "metric", "unit"),
    [("telco", "time", "s"), ("mult_list_py36_tags", "time", "s"), ("track_memory", "memory", "bytes")],
)
def test_every_suite_that_pyperf_ships_imports(tmp_path: Path, name: str, metric: str, unit: str) -> None:
    path = SHIPPED / f"{name}.json"
    rows = imported(tmp_path / "c", path)
    assert {row["exit"] for row in rows} == set(pyperf.BenchmarkSuite.load(str(path)).get_benchmark_names())
    assert {(row["metric"], row["unit"], row["verdict"]) for row in rows} == {(metric, unit, "baseline")}


def test_a_suite_made_on_the_spot_is_kept_as_pyperf_wrote_it(tmp_path: Path) -> None:
    words = [
        "-m",
        "pyperf",
        "timeit",
        "-p",
        "2",
        "-n",
        "2",
        "-w",
        "1",
        "-l",
        "16",
        "--quiet",
        "-o",
        tmp_path / "now.json.gz",
        "[1]*9",
    ]
    assert run(*words, program="python").returncode == 0
    (row,) = imported(tmp_path / "c", tmp_path / "now.json.gz", "--tag", "exit=list", "--tag", "board=here")
    assert (row["strategy"], row["exit"], row["board"], row["visits"]) == ("now", "list", "here", 2)
    made = pyperf.Benchmark.load(str(tmp_path / "now.json.gz"))
    kept = [pyperf.Benchmark.loads(json.dumps(record.line["pyperf"])) for record in Campaign(tmp_path / "c").records()]
    workers = [one for one in made.get_runs() if one.values]
    assert [one.get_runs()[0].get_metadata() for one in kept] == [one.get_metadata() for one in workers]
    assert [one.get_values() for one in kept] == [one.values for one in workers]
    assert {record.line["loops"] for record in Campaign(tmp_path / "c").records()} == {16}


def test_a_boot_says_which_files_it_is_from_and_no_place(tmp_path: Path) -> None:
    imported(tmp_path / "c", *LISTS[:2])
    (boot,) = Campaign(tmp_path / "c").boots()
    text = (boot / "boot.json").read_text()
    assert [source["name"] for source in json.loads(text)["sources"]] == [path.name for path in LISTS[:2]]
    assert str(tmp_path) not in text and str(SHIPPED) not in text
    assert json.loads(text)["imported"].startswith("20")


@pytest.mark.parametrize("emulated", [True, False])
def test_what_is_exported_and_imported_again_is_the_same(tmp_path: Path, emulated: bool) -> None:
    factors = Factors(strategies=("stock", "lazy"), guests=("untouched", "mde"), boots=3, processes=2, loops=10, values=2)
    campaign = Campaign.freeze(tmp_path / "c", factors)
    for number in (1, 2, 3):
        boot = campaign.open_boot("local", number)
        boot.begin()
        boot.describe({"board": "local", "kernel": "6.1", "mode": "vhe", "emulated": emulated})
        for at, visit in enumerate(visit for visit in campaign.missing("local") if visit.boot == number):
            cell = visit.cell
            value = round((2 if cell.strategy == "lazy" else 3) * 1e-6 + number * 1e-8 + at % 5 * 1e-9, 9)
            metadata = {"name": f"round trip {cell.guest} {cell.exit}", "loops": 10}
            one = pyperf.Run([value, value + 1e-9], metadata=metadata, collect_metadata=False)
            boot.record({**lines.of_kvm(visit, factors), "pyperf": suites.of_run(one)})
    campaign.close("local")
    done = run("export", campaign.folder, "--pyperf", tmp_path / "suites")
    rows = imported(tmp_path / "again", *done.stdout.splitlines(), "--baseline", "lazy")
    tags = ("board", "kernel", "mode", "strategy", "guest", "host", "exit", "arm", "metric", "unit", "boots", "visits", "values")
    shown = [row for row in json.loads(run("summary", campaign.folder, "--json").stdout) if row["metric"] in ("time", "clock")]
    before = {tuple(row[tag] for tag in tags): row for row in shown}
    after = {tuple(row[tag] for tag in tags): row for row in rows}
    assert set(some(before, 6)) == after.keys()
    for cell, row in before.items():
        assert after[cell]["median"] == pytest.approx(row["median"], rel=1e-9)
        assert after[cell]["ci_low"] == pytest.approx(row["ci_low"], rel=1e-9)


def test_perf_is_read_per_loop_in_its_own_units(tmp_path: Path) -> None:
    slow, fast = perf(tmp_path / "slow.txt", instructions=8000), perf(tmp_path / "fast.txt", instructions=4000)
    rows = imported(tmp_path / "c", slow, fast, "--tag", "loops=4000")
    shown = {(row["strategy"], row["metric"]): (row["median"], row["unit"], row["ratio"]) for row in rows}
    assert shown["slow", "instructions:kh"] == (2.0, "events", 1.0)
    assert shown["fast", "instructions:kh"] == (1.0, "events", 0.5)
    assert shown["fast", "task-clock"] == (pytest.approx(0.5 / 4000), "msec", 1.0)
    values = frame.tidy(Campaign(tmp_path / "c"))
    assert values.query("metric == 'cycles:u'")["value"].isna().tolist() == [True] * 2
    assert set(values.query("metric == 'instructions:kh'")["running"]) == {0.625}
    assert set(values["board"]) == {"imported"}
    assert {row["metric"]: row["running"] for row in rows} == {"instructions:kh": 0.625, "task-clock": 1.0}
    text = run("summary", tmp_path / "c").stdout
    assert "instructions:kh in events; ~ is estimated by perf, from 62.5% of" in " ".join(text.split())
    assert re.search(r"^unknown +~1 +~2$|^unknown +~2 +~1$", text, re.MULTILINE)


def test_intervals_of_perf_are_one_run_over_all_of_its_loops(tmp_path: Path) -> None:
    (tmp_path / "i.txt").write_text(INTERVALS)
    rows = {row["metric"]: row for row in imported(tmp_path / "c", tmp_path / "i.txt", "--tag", "loops=2")}
    assert (rows["context-switches"]["median"], rows["context-switches"]["values"]) == (6.0, 1)
    assert rows["task-clock"]["median"] == pytest.approx((0.864961 + 0.072298) / 2)
    assert (rows["task-clock"]["values"], rows["task-clock"]["visits"]) == (1, 1)


def test_three_boots_give_an_interval_and_boot_time_tells_boots_apart(tmp_path: Path) -> None:
    for strategy, base in (("before", 1.0), ("after", 2.0)):
        paths = [
            suite(
                tmp_path / f"{strategy}{boot}.json",
                [base + boot / 100],
                [base + boot / 90],
                boot_time=f"2026-01-0{boot} 10:00:00",
                hostname="h",
            )
            for boot in (1, 2, 3)
        ]
        rows = imported(tmp_path / "c", *paths, "--tag", f"strategy={strategy}")
    after = next(row for row in rows if row["strategy"] == "after")
    assert (after["boots"], after["visits"], after["verdict"], after["baseline"]) == (3, 6, "higher", "before")
    assert after["ratio_low"] < after["ratio"] < after["ratio_high"]
    assert after["ci_low"] < after["median"] < after["ci_high"]


def test_a_boot_has_one_kernel(tmp_path: Path) -> None:
    """Without a word about boots, files of two kernels are two boots, and files of one kernel are one."""
    imported(tmp_path / "c", suite(tmp_path / "a.json", [1.0]), suite(tmp_path / "b.json", [1.0]), "--tag", "kernel=6.1")
    imported(tmp_path / "c", suite(tmp_path / "x.json", [1.0]), "--tag", "kernel=6.2")
    values = frame.tidy(Campaign(tmp_path / "c"))
    assert values.groupby("kernel", observed=True)["boot"].nunique().to_dict() == {"6.1": 1, "6.2": 1}
    assert values["boot"].nunique() == 2


def test_a_call_adds_to_a_boot_without_touching_what_is_there(tmp_path: Path) -> None:
    imported(tmp_path / "c", suite(tmp_path / "a.json", [1.0]))
    before = contents(tmp_path / "c")
    rows = imported(tmp_path / "c", suite(tmp_path / "b.json", [2.0]), perf(tmp_path / "p.txt"))
    after = contents(tmp_path / "c")
    assert {name for name in before if after[name] != before[name]} == {"design.json", "SHA256SUMS"}
    assert {row["boots"] for row in rows} == {1}
    assert next(row["ratio"] for row in rows if row["strategy"] == "b") == pytest.approx(2.0)
    names = [record.line["visit"] for record in Campaign(tmp_path / "c").records()]
    assert len(set(names)) == len(names) == 3


def test_a_baseline_is_kept_until_another_is_asked_for(tmp_path: Path) -> None:
    a, b, c = (suite(tmp_path / f"{name}.json", [value]) for name, value in (("a", 1.0), ("b", 2.0), ("c", 4.0)))
    assert {row["baseline"] for row in imported(tmp_path / "c", a, b, "--baseline", "b")} == {"b"}
    assert {row["baseline"] for row in imported(tmp_path / "c", c)} == {"b"}
    assert {row["baseline"] for row in imported(tmp_path / "c", c, "--tag", "guest=x", "--baseline", "c")} == {"c"}
    assert "choose from c, b, a" in refused(run("import", tmp_path / "c", a, "--tag", "host=y", "--baseline", "d"))


def test_the_command_line_is_stronger_than_the_file(tmp_path: Path) -> None:
    path = suite(tmp_path / "s.json", [1.0], strategy="lazy", host="none", guest="mde", exit="hvc", arm="control", unit="integer")
    (row,) = imported(tmp_path / "said", path)
    said = {"strategy": "lazy", "host": "none", "guest": "mde", "exit": "hvc", "arm": "control", "metric": "count"}
    assert row.items() >= said.items()
    (row,) = imported(tmp_path / "told", path, "--tag", "guest=all", "--tag", "arm=main", "--tag", "emulated=yes")
    assert row.items() >= {**said, "guest": "all", "arm": "main", "metric": "clock", "unit": "instructions"}.items()


def test_the_same_file_with_the_same_tags_is_refused(tmp_path: Path) -> None:
    old, new = suite(tmp_path / "a.json", [1.0]), suite(tmp_path / "b.json", [2.0])
    imported(tmp_path / "c", old)
    before = contents(tmp_path / "c")
    assert "a.json: what it holds is imported already" in refused(run("import", tmp_path / "c", new, old))
    for files in ([old], [old, old], [new, new]):
        with pytest.raises(BadRequest, match="json: what it holds is imported already"):
            import_files(tmp_path / "c", files, {})
    assert contents(tmp_path / "c") == before
    with pytest.raises(BadRequest, match="b.json: what it holds is imported already"):
        import_files(tmp_path / "new", [new, new], {})
    assert not (tmp_path / "new").exists()
    assert import_files(tmp_path / "c", [old], {"boot": "2"}).verify() == []


HOSTILE = {
    "not there": (None, "No such file or directory"),
    "empty": (b"", "nothing was counted"),
    "words": (b"Performance counter stats for 'true'", "not a line of perf stat -j"),
    "no suite": (b'{"a": 1}', "pyperf cannot read it"),
    "list": (b"[1, 2]", "pyperf cannot read it"),
    "deep": (b"[" * 100_000, "not a line of perf stat -j"),
    "bytes": (b"\xff\xfe\x00", "it is not text"),
    "torn": (gzip.compress(b"{}")[:-9], "it is packed, and damaged"),
    "calibration": (b'{"version": "1.0", "benchmarks": [{"runs": [{"warmups": [[1, 0.5]], "metadata": {"name": "x"}}]}]}', "has a value"),
    "apart": (APART.encode(), "perf stat counted each cpu apart"),
    "nothing": (APART.replace('"cpu" : "0", ', "").replace("101.65", "<not counted>").encode(), "nothing was counted"),
    "negative": (APART.replace('"cpu" : "0", ', "").replace("101.65", "-1").encode(), "perf stat counted nonsense"),
    "nan": (APART.replace('"cpu" : "0", ', "").replace("101.65", "nan").encode(), "perf stat counted nonsense"),
    "event": (APART.replace('"cpu" : "0", ', "").replace("task-clock", "a\\nb").encode(), "printable characters"),
    "units": (2 * APART.replace('"cpu" : "0", ', "").encode() + APART.replace('"cpu" : "0", ', "").replace("msec", "ns").encode(), "is counted in"),
    "one cell": (b'{"version": "1.0", "metadata": {"exit": "hvc"}, "benchmarks": [{"runs": [{"values": [1.0], "metadata": {"name": "x"}}]},'
                 b'{"runs": [{"values": [1.0], "metadata": {"name": "y"}}]}]}', "would be one cell"),
}  # fmt: skip
HOSTILE["name"] = (
    b'{"version": "1.0", "benchmarks": [{"runs": [{"values": [1.0], "metadata": {"name": 5}}]}]}',
    "name must be string",
)
for _value in ("0", "-1.0", "NaN", "Infinity", "1e999", "1" + "0" * 400, '"1"', "null"):
    HOSTILE[f"value {_value[:9]}"] = (
        f'{{"version": "1.0", "benchmarks": [{{"runs": [{{"values": [{_value}], "metadata": {{"name": "x"}}}}]}}]}}'.encode(),
        "x.json: ",
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_bad_files_are_refused_in_one_line_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    content, says = HOSTILE[name]
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    good = suite(tmp_path / "good.json", [1.0])
    with pytest.raises((BadRequest, BadData)) as refusal:
        import_files(tmp_path / "c", [good, tmp_path / "x.json"], {})
    assert says in str(refusal.value)
    assert str(tmp_path / "x.json") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--tag", "colour=red"], "tag 'colour' is unknown; choose from board, kernel"),
        (["--tag", "board"], "write NAME=VALUE"),
        (["--tag", "board=a", "--tag", "board=b"], "tag 'board' is given twice"),
        (["--tag", "board="], "tag board is '': it must be a name of 1 to 100 printable characters"),
        (["--tag", "board=a\nb"], "tag board is"),
        (["--tag", f"strategy={'x' * 101}"], "tag strategy is"),
        (["--tag", "loops=0"], "tag loops is '0': it must be a whole number from 1"),
        (["--tag", "loops=1.5"], "tag loops is '1.5'"),
        (["--tag", "loops=-4"], "tag loops is '-4'"),
        (["--tag", "arm=left"], "tag arm is 'left': it must be main or control"),
        (["--tag", "emulated=perhaps"], "it must be yes or no"),
        (["--baseline", "nobody"], "baseline 'nobody' is no strategy of this campaign; choose from a"),
    ],
)
def test_bad_words_are_refused_in_one_line_and_nothing_is_written(tmp_path: Path, words: list[str], says: str) -> None:
    path = suite(tmp_path / "a.json", [1.0])
    assert says in refused(run("import", tmp_path / "c", path, *words))
    assert not (tmp_path / "c").exists()


def test_what_a_file_says_of_its_arm_is_checked_too(tmp_path: Path) -> None:
    path = suite(tmp_path / "a.json", [1.0], arm="left")
    assert "arm is 'left': it must be main or control, and a tag on the command line" in refused(
        run("import", tmp_path / "c", path)
    )
    assert imported(tmp_path / "c", path, "--tag", "arm=main")


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "..", ".", "a b", "a:b", "[x]*", "~", "-rf", "\u677f" * 90, "rig-x", "$(id)"]
)
def test_a_name_from_outside_stays_in_the_campaign(tmp_path: Path, name: str) -> None:
    (tmp_path / "box").mkdir()
    tags = {"board": name, "boot": name, "strategy": name, "kernel": name, "exit": name}
    campaign = import_files(tmp_path / "box/c", [suite(tmp_path / "a.json", [1.0]), perf(tmp_path / "p.txt")], tags)
    exports.export_pyperf(campaign, tmp_path / "box/e")
    assert {path.name for path in tmp_path.iterdir()} == {"box", "a.json", "p.txt"}
    assert {path.name for path in (tmp_path / "box").iterdir()} == {"c", "e"}
    assert len(list((tmp_path / "box/e").iterdir())) == len(list((tmp_path / "box/c/boots").iterdir())) == 1
    assert campaign.boards() == [name]
    assert campaign.verify() == campaign.incomplete() == campaign.missing(name) == []
    assert set(compare.summarise(frame.tidy(campaign), campaign.baselines())["strategy"]) == {name}


def test_names_that_are_one_as_a_path_stay_apart(tmp_path: Path) -> None:
    for board in ("a b", "a/b", "a-b"):
        campaign = import_files(tmp_path / "c", [suite(tmp_path / "s.json", [1.0])], {"board": board, "strategy": "x"})
    assert campaign.boards() == ["a b", "a-b", "a/b"]
    assert campaign.verify() == []
    assert [len(pyperf.Benchmark.load(str(path)).get_values()) for path in exports.export_pyperf(campaign, tmp_path / "e")] == [
        1,
        1,
        1,
    ]


def test_measured_and_imported_results_are_two_campaigns(tmp_path: Path) -> None:
    path = suite(tmp_path / "a.json", [1.0])
    Campaign.freeze(tmp_path / "measured", Factors())
    assert "holds measured results: import into another campaign" in refused(run("import", tmp_path / "measured", path))
    imported(tmp_path / "c", path)
    before = contents(tmp_path / "c")
    for board in ("local", "rig-cortex-a15"):
        says = refused(run("collect", "--board", board, "--campaign", tmp_path / "c", "--profile", "quick"))
        assert "holds imported results" in says
    shutil.copy(tmp_path / "measured/design.json", tmp_path / "c/design-kvm.json")
    assert "results are measured or imported" in refused(run("summary", tmp_path / "c"))
    (tmp_path / "c/design-kvm.json").unlink()
    assert contents(tmp_path / "c") == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("x")
    assert "neither empty nor a campaign" in refused(run("import", tmp_path / "thesis", path))


def test_a_damaged_campaign_is_added_nothing(tmp_path: Path) -> None:
    imported(tmp_path / "c", suite(tmp_path / "a.json", [1.0]))
    (boot,) = Campaign(tmp_path / "c").boots()
    (boot / "boot.json").write_text((boot / "boot.json").read_text().replace("unknown", "6.1"))
    assert "nothing is imported until this is mended" in refused(run("import", tmp_path / "c", suite(tmp_path / "b.json", [1.0])))


def test_an_import_that_was_interrupted_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = suite(tmp_path / "a.json", [1.0]), suite(tmp_path / "b.json", [2.0])
    import_files(tmp_path / "c", [first], {})
    with monkeypatch.context() as patched:
        patched.setattr(Campaign, "close", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            import_files(tmp_path / "c", [second], {})
    assert Campaign(tmp_path / "c").verify()
    campaign = import_files(tmp_path / "c", [second], {})
    assert campaign.verify() == []
    assert [record.line["cell"]["strategy"] for record in campaign.records()] == ["a", "b"]


def test_one_tag_for_all_benchmarks_would_be_one_cell(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="'\\[1\\]\\*1000' and '\\[1,2\\]\\*1000' would be one cell"):
        import_files(tmp_path / "c", [LISTS[0]], {"exit": "list"})


SMALL_SUITE = json.dumps({
    "version": "1.0", "metadata": {"hostname": "h", "unit": "second", "boot_time": "2026-01-01 10:00:00", "loops": 4,
                                   "uptime": 90.5, "duration": 1.5, "date": "2026-01-01 10:01:30.5"},
    "benchmarks": [{"runs": [{"values": [1.5, 2.5], "warmups": [[4, 1.0]], "metadata": {"name": "x"}}]}],
}).encode()  # fmt: skip
PRINTED = PERF.format(clock="0.5", instructions="7").encode()
LOG = made_logs.run(made_logs.TIMES).encode()


def mutated() -> st.SearchStrategy[bytes]:
    """Files of all formats with some bytes replaced by others, cut, or any bytes or JSON at all."""

    @st.composite
    def edited(draw: st.DrawFn) -> bytes:
        content = bytearray(draw(st.sampled_from([SMALL_SUITE, PRINTED, INTERVALS.encode(), LOG])))
        for _ in range(draw(st.integers(0, 3))):
            start = draw(st.integers(0, len(content)))
            words = st.sampled_from(
                [b"", b"null", b"-1", b"NaN", b"1e999", b"[]", b"{}", b'"', b"\\u0000", b"\\ud800", b"\n"]
            ) | st.binary(max_size=4)
            content[start : start + draw(st.integers(0, 6))] = draw(words)
        return bytes(content)

    @st.composite
    def revalued(draw: st.DrawFn) -> bytes:
        data = json.loads(SMALL_SUITE)
        value = draw(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)
        )
        run_ = data["benchmarks"][0]["runs"][0]
        place, key = draw(st.sampled_from([
            (data, "version"), (data, "metadata"), (data, "benchmarks"), (data["metadata"], "hostname"), (data["metadata"], "unit"),
            (data["metadata"], "boot_time"), (data["metadata"], "uptime"), (data["metadata"], "duration"), (data["metadata"], "date"), (data["metadata"], "platform"), (data["metadata"], "loops"), (data["metadata"], "arm"),
            (data["metadata"], "exit"), (data["benchmarks"][0], "runs"), (run_, "values"), (run_, "warmups"), (run_["metadata"], "name"),
            (run_["metadata"], "board"), (run_["metadata"], "any"),
        ]))  # fmt: skip
        place[key] = [value] if key == "values" and draw(st.booleans()) else value
        return json.dumps(data).encode()

    return (
        edited()
        | revalued()
        | st.binary(max_size=40)
        | edited().map(gzip.compress)
        | st.binary(max_size=20).map(lambda b: b"\x1f\x8b" + b)
    )


@drawn(300)
@given(content=mutated())
def test_any_file_imports_or_is_refused(tmp_path: Path, content: bytes) -> None:
    shutil.rmtree(tmp_path / "c", ignore_errors=True)
    (tmp_path / "x.json").write_bytes(content)
    try:
        campaign = import_files(tmp_path / "c", [tmp_path / "x.json"], {})
    except StudyError as error:
        assert "\n" not in str(error)
        assert not (tmp_path / "c").exists()
        return
    assert campaign.verify() == []
    rows = compare.summarise(frame.tidy(campaign), campaign.baselines())
    assert rows["median"].map(math.isfinite).all() and len(rows)
    assert {path.parent for path in campaign.folder.rglob("boot.json")} == set(campaign.boots())


def test_the_notebook_draws_and_tabulates_what_was_imported(tmp_path: Path) -> None:
    """Suites of others beside what only perf counted, on three boots: names that no table of the study knows."""
    for boot in range(3):
        for strategy, more in (("before", 0), ("after", 900)):
            path = perf(tmp_path / f"{strategy}-{boot}.txt", instructions=4000 + more + boot)
            imported(tmp_path / "c", path, "--tag", f"strategy={strategy}", "--tag", f"boot={boot}", "--tag", "board=counted")
    imported(tmp_path / "c", *LISTS, "--baseline", "before")
    done = run("notebook", "analyze", tmp_path / "a.ipynb", "-p", "campaign", tmp_path / "c", "-p", "paper", tmp_path / "paper")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "paper/c/cost-unknown.svg").exists()
    text = " ".join((tmp_path / "paper/c/tables.txt").read_text().split())
    assert "counted, Linux unknown (unknown), unknown: instructions:kh in events" in text
    assert "no baseline" in text, "none of pyperf's suites is called before"
    assert "after ~4901 1.225" in text
