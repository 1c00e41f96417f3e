"""What was run is imported once, as one strategy, and in the boot that it was run in, however files and clocks call it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pyperf
import pytest

from study.analyze import frame
from study.campaign import Campaign
from study.collect.imports.imported import import_files
from study.errors import BadRequest
from tests.conftest import refused, run

BOOTED = datetime(2026, 3, 7, 6, 30, 12)
DAY = 86400


def write(path: Path, *runs: Mapping[str, object], name: str = "trap") -> Path:
    """Write a suite of one benchmark: each run has a value, and says of itself what it is given."""
    made = [
        pyperf.Run([4e-6 + at * 1e-8], metadata={"name": name, "hostname": "lab", **said}, collect_metadata=False)
        for at, said in enumerate(runs)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pyperf.Benchmark(made).dump(str(path), replace=True)
    return path


def at(up: float, ahead: float = 0.0, took: float = 0.4, booted: datetime = BOOTED) -> dict[str, object]:
    """Return what pyperf says of a run that ended so many seconds after the boot, by a clock that is so many seconds ahead."""
    start = booted + timedelta(seconds=ahead)
    return {"boot_time": f"{start:%Y-%m-%d %H:%M:%S}", "uptime": up, "date": str(start + timedelta(seconds=up)), "duration": took}


def boots(campaign: Campaign) -> int:
    return int(frame.tidy(campaign)["boot"].nunique())


def test_two_files_of_one_name_are_not_one_strategy_unless_that_is_said(tmp_path: Path) -> None:
    old, new = (write(tmp_path / folder / "out.json", {"loops": loops}) for folder, loops in (("old", 4), ("new", 8)))
    says = refused(run("import", tmp_path / "c", old, new))
    assert f"{new}: by its name it is of strategy 'out', and so is {old}" in says and "--tag strategy=NAME" in says
    assert not (tmp_path / "c").exists()
    campaign = import_files(tmp_path / "c", [old], {})
    with pytest.raises(BadRequest, match="new/out.json: by its name it is of strategy 'out', and so is another file"):
        import_files(tmp_path / "c", [new], {})
    for strategy in ("out", "new"):
        campaign = import_files(
            tmp_path / "c", [write(tmp_path / strategy / "out.json", {"tags": [strategy]})], {"strategy": strategy}
        )
    assert [record.line["cell"]["strategy"] for record in campaign.records()] == ["out", "out", "new"]


def test_files_of_one_name_are_no_collision_where_nothing_of_them_is_one_cell(tmp_path: Path) -> None:
    one = write(tmp_path / "a/out.json", {}, name="hvc")
    two = write(tmp_path / "b/out.json", {}, name="wfx")
    three = write(tmp_path / "c/out.json", {"platform": "Linux-6.6.1-aarch64-with-glibc2.36"}, name="hvc")
    assert len(list(import_files(tmp_path / "campaign", [one, two, three], {}).records())) == 3


COPIES = {
    "packed": lambda text: gzip.compress(text.encode()),
    "laid out": lambda text: json.dumps(json.loads(text), indent=3).encode(),
    "in another order": lambda text: json.dumps(dict(reversed(json.loads(text).items()))).encode(),
    "with a mark of its encoding": lambda text: b"\xef\xbb\xbf" + text.encode(),
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("said", [{"loops": 5}, at(77.5)], ids=["undated", "dated"])
def test_a_copy_of_a_suite_is_refused(tmp_path: Path, name: str, said: Mapping[str, object]) -> None:
    suite = write(tmp_path / "a.json", said, said | {"date": "2026-03-08 10:00:00"} if "date" in said else said)
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy/a.json"
    copy.write_bytes(COPIES[name](suite.read_text()))
    import_files(tmp_path / "c", [suite], {})
    for files, campaign in (([copy], "c"), ([suite, copy], "new")):
        with pytest.raises(BadRequest, match="copy/a.json: what it holds is imported already; leave the file out"):
            import_files(tmp_path / campaign, files, {})


def test_a_run_with_a_date_is_one_run_in_every_file_that_has_it(tmp_path: Path) -> None:
    """Under another name, among other runs, with other tags; and without a date what is the same may be another run."""
    first, more = at(50.0), at(51.0)
    import_files(tmp_path / "c", [write(tmp_path / "a.json", first)], {})
    for name, tags in (("b", {}), ("a", {"boot": "other"}), ("a", {"arm": "control"})):
        with pytest.raises(BadRequest, match="imported already"):
            import_files(tmp_path / "c", [write(tmp_path / f"{name}.json", first, more)], tags)
    import_files(tmp_path / "undated", [write(tmp_path / "a.json", {})], {})
    assert boots(import_files(tmp_path / "undated", [write(tmp_path / "a.json", {})], {"boot": "2"})) == 2


def test_a_file_that_holds_a_run_twice_is_refused(tmp_path: Path) -> None:
    suite = json.loads(write(tmp_path / "a.json", at(50.0)).read_text())
    suite["benchmarks"][0]["runs"] *= 2
    (tmp_path / "a.json").write_text(json.dumps(suite))
    assert "a.json: it holds a run twice" in refused(run("import", tmp_path / "c", tmp_path / "a.json"))


def test_perf_and_logs_are_told_by_what_they_say(tmp_path: Path) -> None:
    row = '{"counter-value" : "31.0", "unit" : "", "event" : "faults", "event-runtime" : 7, "pcnt-running" : 100.00}\n'
    (tmp_path / "a.txt").write_text(row)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/a.txt").write_bytes(gzip.compress(row.replace("\n", " \r\n").encode()))
    with pytest.raises(BadRequest, match="imported already"):
        import_files(tmp_path / "c", [tmp_path / "a.txt", tmp_path / "copy/a.txt"], {})


# What runs of some files say of their boots, and how many boots that is.
BOOTS: dict[str, tuple[Sequence[Mapping[str, object]], int]] = {
    "read again": ([at(40.0), at(41.0, ahead=1), at(42.0, ahead=-1)], 1),
    "cut to another second": ([at(40.0), at(39.6, ahead=1), at(41.2), at(40.8, ahead=1)], 1),
    "a clock that is steered": ([at(40.0), at(4000.0, ahead=3), at(8000.0, ahead=6)], 1),
    "three time zones": ([at(40.0), at(41.0, ahead=2 * 3600), at(42.0, ahead=-5.75 * 3600)], 1),
    "by turns": ([at(40.0), at(41.0, ahead=3600), at(42.0), at(43.0, ahead=3600)], 1),
    "one after the other": ([at(90.0), at(80.0, ahead=700), at(70.0, ahead=1500)], 3),
    "every hour": ([at(40.0), at(40.1, ahead=3600), at(40.0, ahead=7200)], 3),
    "every night": ([at(40.0), at(39.0, ahead=DAY), at(38.0, ahead=2 * DAY)], 3),
    "no uptime": ([{"boot_time": f"2026-03-07 {hour}:00:0{hour % 2}"} for hour in (6, 7, 8)], 3),
    "no uptime, a second off": ([{"boot_time": f"2026-03-07 06:00:0{second}"} for second in (1, 2, 3)], 1),
    "no time": ([{"boot_time": "yesterday"}, {"boot_time": "today"}, {"boot_time": "today "}], 2),
}


@pytest.mark.parametrize("name", BOOTS)
@pytest.mark.parametrize("calls", [1, 3])
def test_a_boot_is_one_however_its_clock_is_read(tmp_path: Path, name: str, calls: int) -> None:
    said, count = BOOTS[name]
    paths = [write(tmp_path / f"s{number}.json", one) for number, one in enumerate(said)]
    for files in [paths] if calls == 1 else [[path] for path in paths]:
        campaign = import_files(tmp_path / "c", files, {})
    assert boots(campaign) == count
    assert campaign.verify() == []


UNSURE = {
    "set by years": ([at(30.0, booted=datetime(1970, 1, 1)), at(90.0)], "may be one whose clock was set"),
    "set by an hour and a bit": ([at(30.0), at(90.0, ahead=3700)], "may be one whose clock was set"),
    "still up": ([at(5000.0), at(60.0, ahead=3001)], "overlap"),
    "two runs at once": ([at(30.0), at(30.1)], "were made at the same time"),
}


@pytest.mark.parametrize("name", UNSURE)
def test_boots_that_their_clock_does_not_tell_apart_are_asked_for(tmp_path: Path, name: str) -> None:
    said, why = UNSURE[name]
    paths = [write(tmp_path / f"s{number}.json", one) for number, one in enumerate(said)]
    says = refused(run("import", tmp_path / "c", *paths))
    assert says.startswith("study: lab: ") and why in says and "--tag boot=NAME" in says
    assert not (tmp_path / "c").exists()
    import_files(tmp_path / "c", paths[:1], {})
    with pytest.raises(BadRequest, match=why):
        import_files(tmp_path / "c", paths[1:], {})
    assert boots(import_files(tmp_path / "c", paths[1:], {"boot": "2"})) == 2


def test_boots_of_two_kernels_and_of_two_boards_are_two(tmp_path: Path) -> None:
    said = [at(40.0), at(41.0) | {"platform": "Linux-6.6.1-aarch64-with-glibc2.36"}, at(42.0) | {"hostname": "other"}]
    campaign = import_files(tmp_path / "c", [write(tmp_path / f"s{number}.json", one) for number, one in enumerate(said)], {})
    assert len(list(campaign.boots())) == 3


def test_runs_of_a_boot_are_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    """By their dates the second would be the last: it was made in a time zone that is ahead."""
    paths = [write(tmp_path / f"s{up}.json", at(up, ahead=ahead)) for up, ahead in ((43.0, 0), (42.0, 3600), (41.0, 0))]
    campaign = import_files(tmp_path / "c", paths, {})
    assert [record.line["cell"]["strategy"] for record in campaign.records()] == ["s41.0", "s42.0", "s43.0"]
