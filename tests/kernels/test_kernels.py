"""Kernels of several generations, more exits, and a host that debugs: on emulated boards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from study.analyze import compare, frame, history
from study.campaign import Campaign
from study.errors import BadRequest
from study.factors import EXITS
from study.kernels import archive
from tests.conftest import refused, run, some

pytestmark = pytest.mark.board

KERNELS = {"6.12": "dirty-bit", "7.3": "owner"}  # the reference data have those between


# Of one visit of 400 round trips: what the kernel does besides, in 0.8 ms, may be as much. A full switch is a fifth.
ABOUT = 0.1


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """A guest of each kind under each generation, and one that touches by every exit."""
    folder = tmp_path_factory.mktemp("kernels") / "c"
    exits = ",".join(["hvc", *(f"{name}:touch" for name in EXITS if name != "hvc")])
    done = run(
        "collect", "--campaign", folder, "--kernels", "6.12:stock,7.3", "--exits", exits, "--guests", "untouched,mde,touch",
        "--hosts", "none,all:mde", "--processes", "1", "--boots", "1", "--loops", "400", "--values", "2", "--warmups", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    yield Campaign(folder)


def _medians(campaign: Campaign, metric: str) -> pd.Series:
    rows = compare.medians(frame.tidy(campaign)).query("metric == @metric and arm == 'main'").astype({"kernel": str})
    return rows.assign(series=rows["kernel"].str.extract(r"^(\d+\.\d+)")[0]).groupby(
        ["series", "host", "exit", "guest"], observed=True
    )["value"].median()  # fmt: skip


def test_each_kernel_is_named_after_what_it_does_and_has_the_same_columns(grown: Campaign) -> None:
    values = frame.tidy(grown)
    named = values.astype(str).drop_duplicates(["kernel", "strategy"])[["kernel", "strategy"]].to_numpy()
    assert {".".join(kernel.split(".")[:2]): strategy for kernel, strategy in named} == KERNELS
    assert list(values.columns) == frame.COLUMNS
    assert not grown.verify()


def test_the_dirty_bit_traps_every_write_and_an_owner_one_after_each_vcpu_put(grown: Campaign) -> None:
    exits = _medians(grown, "exits")
    for leave, row in EXITS.items():
        assert exits["6.12", "none", leave, "touch"] == pytest.approx(2, abs=0.05)
        assert exits["7.3", "none", leave, "touch"] == pytest.approx(2 if row.to_user_space else 1, abs=0.05)


def test_monitor_debug_mode_costs_on_every_kernel_and_a_write_only_before_owners(grown: Campaign) -> None:
    rows = history.generations(compare.medians(frame.tidy(grown))).query("exit == 'hvc'").set_index(["does", "guest"])
    assert rows["more"].xs("mde", level="guest").between(250, 500).tolist() == [True] * len(KERNELS)
    assert rows["ratio"]["dirty-bit", "touch"].item() == pytest.approx(2.5, abs=0.3)
    assert rows["median"]["owner", "touch"].item() == pytest.approx(rows["median"]["owner", "mde"].item(), rel=ABOUT)


def test_a_host_that_debugs_costs_nothing_more_and_is_armed_after_every_exit(grown: Campaign) -> None:
    clock = _medians(grown, "instructions")
    for series in KERNELS:
        assert clock[series, "all", "hvc", "mde"] == pytest.approx(clock[series, "none", "hvc", "mde"], rel=ABOUT)
    for record in some(grown.records(), 2 * 9):
        fired = record.line["checks"]["host"]
        registers = record.facts["breakpoints"] + record.facts["watchpoints"]
        assert fired == [[1] * (registers if record.line["cell"]["host"] == "all" else 0)] * len(fired)
        assert len(fired) == 5


def test_a_tracepoint_that_a_kernel_lacks_is_data_with_a_reason(grown: Campaign) -> None:
    for record in some(grown.records(), 2 * 9):
        (traps,) = (count for count in record.line["counts"] if count["event"] == "kvm:trap_reg")
        assert (traps["value"] is None) == (traps["why"] == "not on this kernel") == record.facts["kernel"].startswith("7.3")


def test_a_kernel_that_the_archive_does_not_have_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    words = refused(run("collect", "--campaign", tmp_path / "c", "--kernels", "5.15", "--strategies", "stock"))
    assert "no kernel 5.15" in words and "6.1, 6.12" in words


@pytest.mark.parametrize(
    ("series", "release"),
    [("6.1", "6.1.0-56-arm64"), ("6.12", "6.12.117+deb12-arm64"), ("7", "7.3.4+deb13-arm64"), ("6.12.95", "6.12.95+deb12-arm64")],
)
def test_the_newest_release_of_a_series_is_taken(series: str, release: str) -> None:
    known = ["6.1.0-9-arm64", "6.1.0-56-arm64", "6.12.95+deb12-arm64", "6.12.117+deb13-arm64", "6.12.117+deb12-arm64"]
    known += ["7.2.12+deb13-arm64", "7.3.4+deb13-arm64"]
    assert archive.newest(known, series) == release
    with pytest.raises(BadRequest, match=r"no kernel 6\.11 .* has 6\.1, 6\.12, 7\.2, 7\.3"):
        archive.newest(known, "6.11")
