from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyperf
import pytest

from study.analyze import pooling, simulate
from study.analyze.pooling import Array
from study.analyze.simulate import EFFECTS, NOISES, QUESTIONS, Noise, Size
from study.errors import BadRequest
from tests.conftest import run

FIVE = Size(5)


def test_what_is_simulated_is_what_was_asked_for() -> None:
    values = simulate.draw(Noise("quiet", value=1e-6), FIVE, 3, seed=1)
    assert values.shape == (3, 5, 4, QUESTIONS, 1 + len(EFFECTS), 10)
    assert np.median(values, axis=(0, 1, 2, 3, 5)) == pytest.approx([1.0, *(1 + effect for effect in EFFECTS)], abs=1e-5)
    assert (simulate.draw(NOISES["clustered"], FIVE, 3, seed=2) == simulate.draw(NOISES["clustered"], FIVE, 3, seed=2)).all()


@pytest.mark.parametrize(("level", "alike"), [("boot", (2, 3, 4, 5)), ("visit", (5,)), ("layout", (2, 5))])
def test_each_level_of_noise_is_shared_by_what_it_holds(level: str, alike: tuple[int, ...]) -> None:
    values = simulate.draw(Noise("one level", value=0.0, **{level: 0.1}), FIVE, 2, seed=1, effects=(0.0,))  # type: ignore[arg-type]
    for axis in range(6):
        spread = np.ptp(values, axis=axis).max()
        assert (spread < 1e-12) == (axis in alike)


def test_cells_and_questions_differ_in_noise_and_some_repeat() -> None:
    def noise(**how: float) -> Array:
        values = simulate.draw(Noise("x", **how), FIVE, 40, seed=1, effects=(0.0,) * 7)  # type: ignore[arg-type]
        return np.log(np.log(values).std(axis=(1, 2, 5)) + 1e-12)

    assert noise(cells=0.5).std(axis=2).mean() == pytest.approx(0.5, abs=0.1)
    assert noise(questions=0.5).mean(axis=2).std(axis=1, ddof=1).mean() == pytest.approx(0.5, abs=0.12)
    assert (noise(steady=0.25) < -20).mean() == pytest.approx(0.25, abs=0.04)


def test_a_boot_drifts_from_its_first_visit_to_its_last() -> None:
    values = simulate.draw(Noise("drift", value=0.0, drift=0.1), FIVE, 4, seed=1, effects=(0.0,), questions=1)
    assert (np.diff(values.mean(axis=(4, 5)), axis=2) > 0).all()
    assert np.ptp(np.log(values)) == pytest.approx(0.1 * 7 / 8)  # of eight places, from the first to the last
    first = values[:, :, :, 0, 0, 0] < values[:, :, :, 0, 1, 0]
    assert 0.2 < first.mean() < 0.8, "arms do not change places within blocks"


@pytest.mark.parametrize("noise", NOISES)
def test_three_boots_hold_the_truth_as_often_as_they_say_and_tell_five_per_cent(
    noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty comparisons, 3 boots x 4 visits x 10 values, of which a hundred are seen: shares are sure to two or three per cent."""
    monkeypatch.setattr(simulate, "JUDGES", {"study": simulate.ours})
    found = simulate.prove(noise, Size(3), 100, seed=1)
    assert found["comparisons"] == 60
    assert 0.92 <= found["covered"] <= 0.98
    assert found["study any false"] <= 0.1 and found["study 0 %"] <= 0.001
    assert found["study 5 %"] >= {"spikes": 0.8, "exits differ": 0.75, "cells differ": 0.88}.get(noise, 0.93)


def test_two_boots_support_nothing() -> None:
    values = simulate.draw(NOISES["clustered"], Size(2), 20, seed=1)
    assert not simulate.ours(values, simulate.effects_of(values)).any()
    assert np.isnan(simulate.prove("clustered", Size(2), 5, seed=1)["covered"])


def test_other_tests_take_clustered_noise_for_a_difference() -> None:
    row = simulate.prove("clustered", FIVE, 10, seed=1)
    assert row["study 0 %"] == 0 < 0.12 < row["pyperf 0 %"]
    assert row["Welch 0 %"] > 0.12 and row["pyperf any false"] > 0.5
    independent = simulate.prove("independent", FIVE, 10, seed=1)
    assert independent["pyperf 0 %"] < 0.12, "where values are independent, pyperf's test is right"


def test_pyperf_is_judged_by_what_its_command_says(tmp_path: Path) -> None:
    values = simulate.draw(NOISES["clustered"], Size(3, 2, 5), 8, seed=3, effects=(0.0, 0.01), questions=1)
    told = simulate.by_pyperf(values, simulate.effects_of(values))
    for arm, path in ((0, tmp_path / "base.json"), (2, tmp_path / "other.json")):
        runs = [
            [
                pyperf.Run(list(visit), metadata={"name": f"c{number}"}, collect_metadata=False)
                for visit in campaign[:, :, 0, arm].reshape(-1, 5)
            ]
            for number, campaign in enumerate(values)
        ]
        pyperf.BenchmarkSuite([pyperf.Benchmark(benchmark) for benchmark in runs]).dump(str(path))
    said = run("compare_to", "-v", tmp_path / "base.json", tmp_path / "other.json", program="pyperf").stdout
    found = [bool(re.search(rf"^c{number}\n=+\n\n.*\nSignificant", said, re.MULTILINE)) for number in range(8)]
    assert found == told[:, 0, 1].tolist(), said
    assert 0 < sum(found) < 8


def test_stopping_at_a_width_keeps_what_intervals_promise() -> None:
    found = simulate.stopped("clustered", 0.02, Size(8), 60, seed=1)
    assert 3 < found["boots"] < 8
    assert 0.92 < found["covered"] < 0.98
    assert found["false"] <= 0.05


@pytest.mark.parametrize(
    ("campaigns", "seed", "says"), [(0, 1, "campaigns is 0"), (-3, 1, "campaigns is -3"), (1, -1, "seed is -1")]
)
def test_nonsense_is_refused(campaigns: int, seed: int, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        simulate.table(campaigns, seed)


def test_simulated_visits_look_like_measured_ones() -> None:
    visits = simulate.visits(simulate.draw(NOISES["clustered"], FIVE, 2, seed=1))
    assert set(visits) == {"cell", "boot", "block", "value", "values", "pool", "room"}
    assert pooling.over_boots(
        visits["cell"].to_numpy(), visits["boot"].to_numpy(), visits["value"].to_numpy(), 128
    ).error.shape == (128,)
