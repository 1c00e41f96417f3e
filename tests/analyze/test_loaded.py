"""What a notebook of one's own has of a campaign, and docs/api.md, which says so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from nbclient import NotebookClient

import study
from study import paths
from study.analyze import compare, frame, lives
from study.campaign import Campaign
from study.design import choose
from study.errors import BadData, BadRequest
from study.factors import KVM
from tests import made_receipts
from tests.conftest import BOARDS, some
from tests.made_receipts import cell, function, traced

PAGE = paths.ROOT / "docs/api.md"
FRAMES = ("values", "summary", "receipts", "census")


@pytest.fixture(scope="module")
def shipped() -> Any:
    return study.load(paths.DATA / "reference")


@pytest.fixture(scope="module")
def lived() -> Any:
    return study.load(str(paths.DATA / "guests"))


def documented() -> dict[str, list[str]]:
    """The columns of each frame, by the heading above their table."""
    found: dict[str, list[str]] = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        rows = re.findall(r"^\| (`.*?) \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE)
        found[section.splitlines()[0]] = [name for names, _ in rows for name in re.findall(r"`(\w+)`", names)]
        assert all(unit.strip() for _, unit in rows)
    return found


def test_each_column_is_documented_with_its_unit_and_none_is_that_there_is_not(shipped: Any, lived: Any) -> None:
    known = documented()
    for loaded in (shipped, lived):
        assert known == {
            **{f"c.{name}": list(getattr(loaded, name).columns) for name in FRAMES},
            "study.compare": list(study.compare(shipped, loaded).columns),
        }


def run(*cells: str) -> list[Any]:
    """The last output of each cell of a notebook, which is run in the checkout; a cell may fail."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(paths.ROOT)}}).execute()
    return [cell.outputs[-1] for cell in notebook.cells]


def test_the_examples_of_the_page_run_as_they_stand() -> None:
    examples = [token.content for token in MarkdownIt("commonmark").parse(PAGE.read_text()) if token.info == "python"]
    said, wide, moved = (output.data for output in run(*examples))
    assert len(said["text/plain"].splitlines()) == said["text/html"].count("<tr>") == 5
    heads, *rows = cells(wide)
    assert {"stock", "lazy", "control-scan"} <= set(heads)
    assert {"untouched", "mde"} <= {row[0] for row in rows}
    heads, *rows = cells(moved)
    assert heads[1:] == ["guest", "strategy", "before", "now", "ratio", "verdict"]
    for _, _, _, before, now, ratio, _ in some((row for row in rows if len(set(row)) > 1), 3):
        assert float(before) * float(ratio) == pytest.approx(float(now), rel=1e-4)


def cells(output: Any) -> list[list[str]]:
    """The text of each cell of a frame that a notebook shows, row by row."""
    return [[cell.text for cell in row(["th", "td"])] for row in BeautifulSoup(output["text/html"], "html.parser")("tr")]


def test_a_notebook_shows_one_line_of_an_error() -> None:
    of_load, of_compare = run("import study; study.load('nowhere')", "study.compare('data/reference', 'nowhere')")
    for output in (of_load, of_compare):
        (line,) = output.traceback
        assert line.startswith("BadRequest: nowhere is no campaign: ")


def test_the_frames_are_those_of_the_study(shipped: Any, lived: Any, values: pd.DataFrame, summary: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(shipped.values, values)
    pd.testing.assert_frame_equal(shipped.summary, summary)
    assert shipped.values is shipped.values
    assert set(some(shipped.receipts["board"], 1000)) == set(BOARDS) and len(shipped.census) == len(lived.receipts) == 0
    found = lives.frame(lived.campaign)
    expected = lives.programs(found, lives.judged(found, compare.medians(frame.tidy(lived.campaign))))
    pd.testing.assert_frame_equal(lived.census, expected)
    assert set(some(lived.census["guest"])) == {"linux-arm64", "linux-armmp"}


def test_receipts_are_a_row_for_each_function(tmp_path: Path) -> None:
    line = traced(cell(), [function("one", 60), function("other", 40)])
    loaded = study.load(made_receipts.make(tmp_path / "c", [line]).folder)
    assert dict(zip(loaded.receipts["function"], loaded.receipts["instructions"], strict=True)) == {"one": 60, "other": 40}
    assert list(loaded.receipts.columns) == documented()["c.receipts"]


def test_a_campaign_without_visits_has_empty_frames(tmp_path: Path, shipped: Any) -> None:
    empty = study.load(Campaign.freeze(tmp_path / "c", choose("quick", KVM)).folder)
    for name in FRAMES:
        assert len(getattr(empty, name)) == 0
        assert list(getattr(empty, name).columns) == documented()[f"c.{name}"]
    assert len(repr(empty).splitlines()) == 5
    with pytest.raises(BadRequest, match="holds no visit yet"):
        study.compare(shipped, empty)


def test_it_says_in_five_lines_what_was_measured(shipped: Any, lived: Any) -> None:
    for loaded in (shipped, lived):
        lines = repr(loaded).splitlines()
        assert len(lines) == 5
        assert f"{len(loaded.values)} values" in lines[0]
        for tag in ("board", "kernel", "strategy", "guest", "host", "exit"):
            for name in some(loaded.values[tag].unique()):
                assert name in repr(loaded)
        assert "path length" in lines[3]
        assert re.findall("<tr>", loaded._repr_html_()) == ["<tr>"] * 5
    assert f"{len(lived.census)} phases of real guests" in repr(lived)


def test_a_campaign_compared_with_itself_has_not_moved(shipped: Any) -> None:
    moved = study.compare(paths.DATA / "reference", shipped)
    assert list(some(moved["before"], 50)) == list(moved["now"])
    assert not set(moved["verdict"]) & {compare.LOWER, compare.HIGHER}


def test_what_is_no_campaign_is_refused_in_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere", __file__):
        with pytest.raises(BadRequest, match="is no campaign: .*; collect one with: study collect") as refused:
            study.load(folder)
        assert len(refused.value._render_traceback_()) == 1
    (tmp_path / "design.json").write_text("{}")
    with pytest.raises(BadData, match=r"design\.json: "):
        study.load(tmp_path)
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        study.lode  # noqa: B018


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, study; print(*(name for name in sys.modules if name.partition('.')[0] in {'study', 'numpy', 'pandas'}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["study"]
    assert {"compare", "load"} <= set(dir(study))
