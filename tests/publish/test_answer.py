"""The answer of a campaign, on summaries whose truth is known."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study import paths
from study.analyze import asked, compare, frame, lives
from study.campaign import Campaign
from study.publish.answer import answer


def summary(
    costs: dict[str, tuple[float, float]], boots: int = 3, metric: str = "clock", board: str = "qemu-cortex-a57"
) -> pd.DataFrame:
    """Return the summary of strategies on Linux 6.1, each with what an untouched guest costs, and one with monitor mode on."""
    source, unit = np.random.default_rng(1), "instructions" if metric == "clock" else "s"
    rows = [
        {"board": board, "kernel": "6.1.0-56-arm64", "mode": "vhe", "strategy": strategy, "guest": guest, "host": "none", "exit": "hvc",
         "arm": arm, "metric": metric, "unit": unit, "boot": f"{board}.{boot}", "visit": f"{boot}-{strategy}-{guest}-{arm}", "block": 1,
         "position": 1, "value": value * (1 + 1e-4 * source.standard_normal())}
        for boot, (strategy, both) in itertools.product(range(boots), costs.items())
        for guest, value in zip(("untouched", "mde"), both, strict=True)
        for arm in ("main", "control")[: 1 + (strategy == "lazy")]
    ]  # fmt: skip
    return compare.summarise(pd.DataFrame(rows), {board: "lazy"})


CHARGES = {"stock": (1000.0, 1300.0), "lazy": (1200.0, 1500.0), "control-scan": (1250.0, 1250.0)}


def test_what_a_guest_pays_what_would_cost_it_less_and_what_that_costs_others() -> None:
    said = answer(summary(CHARGES))
    assert said == (
        "A guest that keeps monitor debug mode on and enables nothing pays 300 instructions more (30 %) on each hvc round trip under "
        "Linux 6.1; control-scan costs it 250 instructions less than lazy, and an untouched guest 50 instructions more (emulated: path "
        "length in instructions, not time)."
    )


def test_a_kernel_that_charges_nothing_is_said_to() -> None:
    said = answer(summary({**CHARGES, "stock": (1000.0, 1001.0), "control-scan": (1600.0, 1600.0)}))
    assert "pays nothing for it on each hvc round trip under Linux 6.1 (emulated" in said
    assert "control-scan" not in said


def test_too_few_boots_answer_nothing() -> None:
    said = answer(summary(CHARGES, boots=2))
    assert said.startswith(
        "Whether a guest that keeps monitor debug mode on and enables nothing pays for it under Linux 6.1, too few boots say"
    )
    assert "control-scan" not in said


def test_a_time_is_said_in_nanoseconds_and_before_what_is_emulated() -> None:
    times = summary({name: (low * 1e-9, high * 1e-9) for name, (low, high) in CHARGES.items()}, metric="time", board="altra")
    assert "300 ns more (30 %)" in answer(times) and "emulated" not in answer(times)
    assert "300 ns more" in answer(pd.concat([summary({"stock": (1.0, 9.0), "lazy": (1.0, 2.0)}), times]))


def test_without_the_guests_of_the_question_verdicts_are_counted() -> None:
    rows = summary(CHARGES)
    said = answer(rows[rows["guest"] == "untouched"])
    assert said.startswith("Of 2 cells 1 cost less than lazy, 1 more, and 0 cannot be told from it")
    assert answer(rows[:0]) == "Nothing was compared."


def test_the_shipped_lives_of_real_guests_answer_with_what_is_sure_and_what_is_not() -> None:
    campaign = Campaign(paths.DATA / "guests")
    values = frame.tidy(campaign)
    judged = lives.judged(lives.frame(campaign), compare.medians(values))
    said = answer(compare.summarise(values, campaign.baselines()), judged=judged)
    rows = asked.extremes(asked.real_guests(judged))
    for row in rows:
        assert (
            f"{abs(row.more):.0f} instructions an exit {'less' if row.more < 0 else 'more'} in {row.guest}'s {row.phase}" in said
        )
    unsure = [row for row in rows if row.verdict == compare.CANNOT]
    assert ("neither is sure" in said) == (len(unsure) == 2)
    assert ("that is not sure in" in said) == (len(unsure) == 1)


@pytest.mark.parametrize("kind", ["rig", "qemu"])
def test_the_shipped_campaign_answers_with_its_own_numbers(reference: Campaign, kind: str, tmp_path: Path) -> None:
    rows = compare.summarise(frame.tidy(reference), reference.baselines())
    said = answer(rows[rows["board"].str.startswith(kind)])
    found = asked.spoken_of(asked.asked(rows[rows["board"].str.startswith(kind)]))
    assert f"pays {found['more'].min():.0f} to {found['more'].max():.0f} instructions more" in said
    assert said.endswith("not time).") and said.count(".") - said.count("6.1 to 7.3") * 2 == 1
