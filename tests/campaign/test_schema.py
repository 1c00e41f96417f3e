"""The published schemas say what the shipped campaign is; a campaign of before reads the same, and another format is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest

from study import design
from study.analyze import frame
from study.campaign import Campaign, schema
from tests.conftest import refused, run, some

KINDS = {"design": "design*.json", "boot": "boots/*/boot.json", "visit": "boots/*/visits.jsonl"}
SINCE = ("doctor", "build_id", "release")  # facts that boots of before 2026-11-25 do not have


def judge(kind: str) -> jsonschema.Draft7Validator:
    """The schema, as anyone's validator reads it."""
    published = schema.published(kind)
    jsonschema.Draft7Validator.check_schema(published)
    return jsonschema.Draft7Validator(published)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shipped_is_what_the_schema_says(reference: Campaign, kind: str) -> None:
    judged = judge(kind)
    for path in some(reference.folder.glob(KINDS[kind]), 2):
        for text in some(path.read_text().splitlines())[:50] if path.suffix == ".jsonl" else [path.read_text()]:
            assert [error.message for error in judged.iter_errors(json.loads(text))] == [], path


def test_every_design_is_what_the_schema_says() -> None:
    judged, profiles = judge("design"), [(profile, kind) for kind in design.KINDS for profile in ("quick", "default", "full")]
    for profile, kind in some(profiles, 6):
        drawn = design.draw(design.choose(profile, kind)).to_json()
        assert [error.message for error in judged.iter_errors(json.loads(json.dumps(drawn)))] == []


def test_where_a_design_stopped_is_what_the_schema_says(reference: Campaign, tmp_path: Path) -> None:
    shutil.copytree(reference.folder, tmp_path / "c")
    campaign = Campaign(tmp_path / "c")
    campaign.enough("qemu-neoverse-n1", 4, 0.01)
    (written,) = campaign.folder.glob("boots/*/enough.json")
    assert judge("stop").is_valid(json.loads(written.read_text()))


def edited(folder: Path, place: str, **changes: Any) -> None:
    for path in some(folder.glob(place)):
        data = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in {**data, **changes}.items() if value is not None}))


def test_a_campaign_of_before_reads_the_same(reference: Campaign, values: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(reference.folder, tmp_path / "c", ignore=shutil.ignore_patterns(*map("*.{}".format, range(2, 13))))
    assert {name for boot in reference.boots() for name in SINCE if name in reference.facts(boot)} >= {"doctor", "build_id"}
    edited(tmp_path / "c", "boots/*/boot.json", **dict.fromkeys(SINCE))
    read = frame.tidy(Campaign(tmp_path / "c"))
    same = values[values["boot"].isin(read["boot"].unique())]
    pd.testing.assert_frame_equal(read.astype(str), same.astype(str).reset_index(drop=True))


def test_another_format_is_named_in_one_line(tmp_path: Path, reference: Campaign) -> None:
    shutil.copytree(reference.folder, tmp_path / "c")
    edited(
        tmp_path / "c",
        "design.json",
        factors={**json.loads((tmp_path / "c/design.json").read_text())["factors"], "touch_every": 1},
    )
    said = refused(run("summary", tmp_path / "c"))
    assert "design.json: it is of another format (touch_every); docs/format.md says which study reads it" in said
