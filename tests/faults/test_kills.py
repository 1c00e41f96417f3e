"""Whatever is killed, and whenever: nothing is lost, nothing is there twice, nothing runs on. `make faults` does more of it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from tests.faults import kills


def spotless(rows: list[dict[str, Any]]) -> None:
    """Check that there is nothing in a table but what was tried and recorded."""
    assert [row for row in rows if row["lost"] or row["duplicated"] or row["wrong"] or row["left"] or row["complaints"]] == []


def test_a_campaign_that_is_interrupted_at_20_points_is_the_uninterrupted_one(tmp_path: Path) -> None:
    commands = [kind for kind in kills.KINDS if not kind.notebook]
    rows = kills.interrupted(tmp_path, kills.drawn(20, Random(1), commands), seed=1, say=print)
    assert sum(row["tried"] for row in rows) == 20
    spotless(rows)


def test_a_notebook_may_be_killed_too(tmp_path: Path) -> None:
    rows = kills.interrupted(tmp_path, [kind for kind in kills.KINDS if kind.notebook], seed=1, say=print)
    assert [row["tried"] for row in rows] == [1, 1, 1, 1]
    spotless(rows)
