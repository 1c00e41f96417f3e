"""The commands of a letter that measure anew, run as they stand there, in another checkout: they give its numbers."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from study.analyze import compare, frame
from study.campaign import Campaign
from tests.conftest import copy_of_checkout, letters, run, some

pytestmark = pytest.mark.board

SHOWN = ["strategy", "guest", "host", "exit", "arm", "metric", "median", "ratio", "verdict"]


def twice(tmp_path: Path, *words: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The summaries of a small campaign, and of what the command of its letter measures in another checkout."""
    done = run("collect", "--campaign", tmp_path / "c", "--profile", "quick", *words)
    assert done.returncode == 0, done.stderr
    first = Campaign(tmp_path / "c")
    values = frame.tidy(first)
    summary = compare.summarise(values, first.baselines())
    _, more = letters(first, values, summary, title="x", version=1)
    (_, command) = re.findall(r"^    (?:make|for) (?:.*\\\n)*.*", more[more.index("How to reproduce") :], re.MULTILINE)
    place = copy_of_checkout(tmp_path / "a checkout")
    again = subprocess.run(
        ["sh", "-ec", command],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    measured = Campaign(place / "data/again")
    assert measured.designs.keys() == first.designs.keys() and measured.incomplete() == []
    return summary, compare.summarise(frame.tidy(measured), measured.baselines())


def test_a_rig_counts_the_same(tmp_path: Path) -> None:
    summary, rows = twice(tmp_path, "--board", "rig-cortex-a57", "--loops", 20)
    assert len(some(rows.index, 20))
    pd.testing.assert_frame_equal(rows[SHOWN], summary[SHOWN])


def test_a_board_measures_the_same_within_the_intervals(tmp_path: Path) -> None:
    small = ["--strategies", "lazy,eager", "--guests", "mde,touch", "--boots", 3, "--processes", 1, "--values", 2, "--warmups", 1]
    summary, rows = (compare.timed(each) for each in twice(tmp_path, "--board", "qemu-cortex-a57", *small))
    assert len(some(rows.index, 6)) == len(summary)
    assert (rows[SHOWN[:6]].to_numpy() == summary[SHOWN[:6]].to_numpy()).all()
    told = rows["verdict"].isin([compare.LOWER, compare.HIGHER])
    assert told.sum() >= 1 and (rows["verdict"] == summary["verdict"])[told].all()
    compared = rows["verdict"] != compare.BASELINE
    assert (rows["ratio_low"] <= summary["ratio_high"])[compared].all() and (summary["ratio_low"] <= rows["ratio_high"])[
        compared
    ].all()
