from __future__ import annotations

from pathlib import Path

import pytest

from study import bench
from study.analyze import compare, frame


def test_the_bench_s_campaign_is_one_that_all_of_the_analysis_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BOARDS", ("simulated-1", "simulated-2"))
    monkeypatch.setattr(bench, "LARGE", {**bench.LARGE, "boots": 3, "processes": 1, "values": 4})
    measured = bench.campaign(tmp_path / "c")
    assert measured.verify() == []
    took = bench.pipeline(measured.folder)
    assert (took["cells"], took["values"]) == (2 * 75, 2 * 75 * 3 * 4)
    assert set(took) == {"frame", "intervals", "cost model", "tables", "figures", "values", "cells", "peak"}
    assert (tmp_path / "c/out/cost-hvc.svg").exists()
    rows = compare.control_arm(compare.timed(compare.summarise(frame.tidy(measured), measured.baselines())))
    assert set(rows["verdict"]) == {compare.CANNOT}
    assert len(bench.intervals(measured.folder)) == bench.PAIRS


def test_the_large_campaign_is_as_large_as_it_says() -> None:
    from study.design import choose

    factors = choose("full", "kvm", **bench.LARGE)
    cells = len(factors.cells())
    assert cells * len(bench.BOARDS) == 300
    assert cells * len(bench.BOARDS) * factors.boots * factors.processes * factors.values >= 1_000_000
