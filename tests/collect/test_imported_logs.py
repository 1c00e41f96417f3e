"""Logs of micro-bench: what is read of them, what is refused, and what two kernels come to by them."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analyze import compare, exports, frame, tables
from study.campaign import Campaign
from study.collect.imports import microbench
from study.collect.imports.imported import import_files
from study.errors import BadData, BadRequest
from study.factors import EXITS, MICRO_BENCH
from tests import made_logs
from tests.conftest import letters, refused, run, some
from tests.made_logs import TIMES, TITLES, WELL, row

KERNELS = ("6.12", "6.18")
PLAIN = made_logs.run(TIMES)
TOTAL = 20_054_016  # ns of 65536 loops of 306 ns


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def table(*rows: str, end: str = WELL) -> str:
    return TITLES + "".join(rows) + end


def line(test: str, total: object, average: object) -> str:
    return f"{test:<30}{total:>17}{'':14}{average:>17}{'':14}\n"


def two_kernels(folder: Path, scales: Mapping[str, float], seed: int = 1) -> Campaign:
    """Import by the command what two kernels took, each so many times of TIMES: three boots, and five runs on each."""
    source = Random(seed)
    for kernel, scale in scales.items():
        for boot in "123":
            log = write(folder / f"{kernel}-{boot}.log", made_logs.log(source, 5, scale=scale))
            tags = (f"board=lab kernel={kernel} strategy=stock boot={boot}").split()
            done = run("import", folder / "c", log, *(word for tag in tags for word in ("--tag", tag)))
            assert (done.returncode, done.stderr) == (0, "")
    assert run("verify", folder / "c").returncode == 0
    return Campaign(folder / "c")


def summary(campaign: Campaign) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(run("summary", campaign.folder, "--json").stdout)
    return rows


@pytest.mark.parametrize(
    ("scale", "verdict", "status", "back"), [(1.1, "higher", 1, 0), (0.9, "lower", 0, 1), (1.0, "cannot distinguish", 0, 0)]
)
def test_two_kernels_are_judged_as_they_are(tmp_path: Path, scale: float, verdict: str, status: int, back: int) -> None:
    campaign = two_kernels(tmp_path, dict(zip(KERNELS, (1.0, scale), strict=True)))
    cells = summary(campaign)
    assert {(cell["kernel"], cell["exit"]) for cell in cells} == {(kernel, test) for kernel in KERNELS for test in TIMES}
    for cell in cells:
        assert (cell["metric"], cell["unit"], cell["boots"], cell["visits"], cell["values"]) == ("time", "s", 3, 15, 15)
        assert cell["median"] == pytest.approx(TIMES[cell["exit"]] * (scale if cell["kernel"] == KERNELS[1] else 1.0), rel=0.01)
    for cell in some([cell for cell in cells if cell["kernel"] == KERNELS[1]], len(TIMES)):
        assert cell["ratio"] == pytest.approx(scale, rel=0.01)
        assert (cell["verdict"], cell["baseline"]) == (verdict, "stock, 6.12")
    for kernel, than, ends in ((KERNELS[1], KERNELS[0], status), (KERNELS[0], KERNELS[1], back)):
        done = run("verdict", campaign.folder, "--kernel", kernel, "--than", than, "--at-most", "5%")
        assert (done.returncode, done.stderr) == (ends, ""), done.stdout


def test_a_verdict_is_of_the_last_kernel_that_was_imported(tmp_path: Path) -> None:
    campaign = two_kernels(tmp_path, dict(zip(KERNELS, (1.0, 1.2), strict=True)))
    done = run("verdict", campaign.folder, "--than", "6.12", "--cells", "exit=mmio_read_user")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("worse: 6.18 takes 1.19")
    assert "has no kernel '7.3'; choose from 6.12, 6.18" in refused(run("verdict", campaign.folder, "--than", "7.3"))


def test_of_two_boots_and_of_other_strategies_a_verdict_cannot_be_said(tmp_path: Path) -> None:
    for kernel in KERNELS:
        log = write(tmp_path / f"{kernel}.log", made_logs.log(Random(kernel), 3))
        import_files(tmp_path / "named", [log], {"kernel": kernel})
        for boot in "12":
            import_files(tmp_path / "few", [log], {"kernel": kernel, "strategy": "stock", "boot": boot})
    for name, says in (("few", "cannot be said, measure more boots"), ("named", "nothing was measured with a strategy of stock")):
        done = run("verdict", tmp_path / name, "--than", "6.12")
        assert (done.returncode, done.stderr) == (125, "")
        assert says in done.stdout


def test_tables_and_the_letter_say_what_a_test_is(tmp_path: Path) -> None:
    campaign = two_kernels(tmp_path, dict(zip(KERNELS, (1.0, 1.1), strict=True)))
    values = frame.tidy(campaign)
    rows = compare.summarise(values, campaign.baselines())
    for text in (tables.all_tables(rows), letters(campaign, values, rows, title="x", version=1)[1]):
        words = " ".join(text.split())
        assert "lab, Linux 6.18 (unknown), hvc round trip" in words
        for test in some(set(TIMES) - set(EXITS), 6):
            assert f"lab, Linux 6.18 (unknown), {test} ({MICRO_BENCH[test]})" in words
        assert re.search(r" higher$", text, re.MULTILINE) and not re.search(r" lower$", text, re.MULTILINE)


def test_the_value_is_the_total_over_the_loops_and_not_the_average_that_was_cut(tmp_path: Path) -> None:
    """micro-bench prints 14.0 ns for what takes 14.7: a ratio of such averages may be off by a tenth."""
    (found,) = microbench.read(table(row("eoi", 14.7e-9)))
    assert found.seconds == pytest.approx(14.7e-9, rel=1e-4)
    (other,) = microbench.read(table(f"hyp_call {TOTAL}.0 306.0\n"))
    assert (other.test, other.seconds) == ("hyp_call", pytest.approx(306e-9)), "a test of a program that was changed"
    path = write(tmp_path / "a.log", PLAIN)
    medians = {record.line["cell"]["exit"]: record.line for record in import_files(tmp_path / "c", [path], {}).records()}
    assert {test: line["loops"] for test, line in medians.items()} == {test: 256 if "timer" in test else 65536 for test in TIMES}
    suites = exports.pyperf_suites(Campaign(tmp_path / "c"))
    assert [run_["metadata"]["loops"] for one in suites["imported-a"]["benchmarks"] for run_ in one["runs"]].count(65536) == 6


SECONDS = st.floats(1e-9, 0.5)
CLOCKS = st.sampled_from([1_000_000, 24_000_000, 25_000_000, 62_500_000, 100_000_000, 1_000_000_000])


@given(times=st.dictionaries(st.sampled_from(sorted(MICRO_BENCH)), SECONDS, min_size=1), clock=CLOCKS)
def test_what_was_printed_is_read(times: dict[str, float], clock: int) -> None:
    found = microbench.read(made_logs.run(times, clock))
    assert [(one.test, one.loops) for one in found] == [(test, made_logs.loops(test, took)) for test, took in times.items()]
    for one in found:  # to a tick of all loops, and to the picoseconds by which a tick is rounded
        assert abs(one.seconds - times[one.test]) <= 1e-5 * times[one.test] + (2 / clock + 1e-10) / one.loops


@given(runs=st.integers(1, 3), seed=st.integers(0, 9), data=st.data())
def test_a_log_that_was_cut_off_is_refused_or_read_to_there(runs: int, seed: int, data: st.DataObject) -> None:
    text = made_logs.log(Random(seed), runs)
    whole = microbench.read(text)
    cut = text[: data.draw(st.integers(0, len(text)))]
    try:
        found = microbench.read(cut)
    except BadData:
        return
    assert found == whole[: len(found)]
    assert len(found) == sum(one.lstrip().startswith(tuple(f"{test} " for test in TIMES)) for one in cut.splitlines())


@given(test=st.sampled_from(sorted(TIMES)), off=st.integers(-300, 300).filter(bool))
def test_an_average_that_is_not_the_total_over_the_loops_is_refused(test: str, off: int) -> None:
    total, average = row(test, 1e-6).split()[1:]
    wrong = f"{max(0, int(average.removesuffix('.0')) + off)}.0"
    with pytest.raises(BadData, match="do not take"):
        microbench.read(table(line(test, total, wrong)))


READ = {
    "lines end as a serial line does": PLAIN.replace("\n", "\r\n"),
    "one blank for many": re.sub(" +", " ", PLAIN),
    "a mail program's blanks": PLAIN.replace("  ", "\u00a0 "),
    "before there was an exit status": made_logs.run(TIMES, end=""),
    "QEMU warns in between": PLAIN.replace("ipi ", "qemu-system-aarch64: warning: host clock\nipi "),
    "the scripts around it": f"TESTNAME=micro-bench TIMEOUT=90s ACCEL=kvm ./arm/run\n{PLAIN}\x1b[32mPASS\x1b[0m micro-bench \n",
    "with a mark of its encoding": f"\ufeff{PLAIN}",
}


@pytest.mark.parametrize("name", READ)
def test_what_is_around_a_table_is_passed_over(tmp_path: Path, name: str) -> None:
    wanted = [(one.test, one.seconds) for one in microbench.read(PLAIN)]
    (tmp_path / "x.log").write_bytes(READ[name].encode())
    (tmp_path / "x.log.gz").write_bytes(gzip.compress(READ[name].encode()))
    for file in ("x.log", "x.log.gz"):
        lines = [record.line for record in import_files(tmp_path / f"of-{file}", [tmp_path / file], {}).records()]
        values = [one["pyperf"]["benchmarks"][0]["runs"][0]["values"] for one in lines]
        assert [(one["cell"]["exit"], *value) for one, value in zip(lines, values, strict=True)] == wanted
        assert {one["cell"]["strategy"] for one in lines} == {"x"}


SLOW = line("ipi", f"{5_000_100_000}.0", f"{5_000_100_000 // 12_345}.0")
REFUSED = {
    "nothing ran": ("Timer Frequency 25000000 Hz (Output in microseconds)\n\nEXIT: STATUS=1\n", "no test of micro-bench has a row"),
    "no interrupt controller": ("No supported gic present, skipping tests...\n\nEXIT: STATUS=3\n", "a run that did not end well"),
    "all skipped": (table("hvc test skipped\n"), "no test of micro-bench has a row"),
    "failed": (made_logs.run(TIMES, end="\nEXIT: STATUS=255\n"), "'EXIT: STATUS=255': a run that did not end well"),
    "the second failed": (PLAIN + made_logs.run({}, end="\nEXIT: STATUS=3\n"), "a run that did not end well"),
    "timed out": (table(row("hvc", 3e-7), end="qemu-system-aarch64: terminating on signal 15 from pid 7 (timeout)\n"), "signal 15"),
    "said to have failed": (f"{PLAIN}\x1b[31mFAIL\x1b[0m micro-bench (timeout; duration=90s)\n", "a run that did not end well"),
    "lost an interrupt": (table(end="arm/micro-bench.c:9: assert failed: irq_received\n"), "assert failed"),
    "torn": (table(line("hvc", f"{TOTAL}.0", "306")), "this one is torn"),
    "torn early": (table("hvc      200", end=""), "this one is torn"),
    "not a number": (table(line("hvc", "nan", "nan")), "this one is torn, or is none"),
    "below 0": (table(line("hvc", "-5.0", "-1.0")), "this one is torn, or is none"),
    "nothing": (table(line("eoi", "0.0", "0.0")), "'eoi"),
    "a timer that was early": (table(line("timer_10ms", f"{(2**64 - 10**9) // 1000}.0", f"{(2**64 - 10**9) // 1000 // 256}.0")), "takes 72058 s"),
    "other loops": (table(line("hvc", f"{TOTAL * 16}.0", "306.0")), "65536 loops of 320864256 ns in all do not take 306 ns each"),
    "fewer loops for no reason": (table(line("hvc", f"{TOTAL // 16}.0", "306.0")), "say --tag loops=NUMBER"),
    "no titles": (row("hvc", 3e-7) + "\nEXIT: STATUS=1\n", "no line `name total ns avg ns` is before it"),
    "titles of one of two runs": (table(row("hvc", 3e-7), row("hvc", 3e-7)), "hvc is there twice in one run"),
    "cycles": (table(row("hvc", 3e-7)).replace("total ns", "total cycles"), "prints its times in ns"),
    "a draft": ("Timer Frequency 25000000 Hz (Output in microseconds)\n       hvc:\tavg          0.3\tmin          0.2\tmax          9.9\t\n", "has a row"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    text, says = REFUSED[name]
    good, bad = write(tmp_path / "good.log", PLAIN), write(tmp_path / "bad.log", text)
    with pytest.raises(BadData) as refusal:
        import_files(tmp_path / "c", [good, bad], {})
    assert says in str(refusal.value)
    assert str(refusal.value).startswith(f"{bad}: ")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "c").exists()


def test_the_limit_of_five_seconds_tells_how_many_loops_there_were() -> None:
    (found,) = microbench.read(table(SLOW))
    assert (found.loops, found.seconds) == (12_345, pytest.approx(5.0001 / 12_345))


def test_a_changed_program_says_its_loops_by_a_tag(tmp_path: Path) -> None:
    """Tests that it did not change, and those that met the limit, are what they are."""
    path = write(tmp_path / "x.log", table(line("hvc", f"{TOTAL * 16}.0", "306.0"), row("timer_10ms", 9e-7), SLOW))
    assert "say --tag loops=NUMBER" in refused(run("import", tmp_path / "c", path))
    assert run("import", tmp_path / "c", path, "--tag", f"loops={65536 * 16}").returncode == 0
    found = {record.line["cell"]["exit"]: record.line["loops"] for record in Campaign(tmp_path / "c").records()}
    assert found == {"hvc": 65536 * 16, "timer_10ms": 256, "ipi": 12_345}


def test_logs_are_imported_beside_other_results_once(tmp_path: Path) -> None:
    one, two = (write(tmp_path / f"{name}.log", made_logs.log(Random(name), 2)) for name in ("one", "two"))
    campaign = import_files(tmp_path / "c", [one, two], {"strategy": "stock"})
    found = [record.line["cell"]["exit"] for record in campaign.records()]
    assert {test: found.count(test) for test in found} == dict.fromkeys(TIMES, 4)
    with pytest.raises(BadRequest, match="two.log: what it holds is imported already"):
        import_files(tmp_path / "c", [two], {"strategy": "stock"})
    with pytest.raises(BadData, match="'hvc' and 'mmio_read_user' would be one cell: leave out the tag exit"):
        import_files(tmp_path / "c", [two], {"exit": "hvc"})


def test_help_teaches_logs() -> None:
    shown = run("import", "--help").stdout
    assert "study import data/mine new-1.log --tag kernel=6.18 --tag strategy=stock --tag boot=1" in shown
