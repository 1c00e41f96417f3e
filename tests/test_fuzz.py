"""A small part of ``make fuzz``, and what its mutators promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from study import paths
from tests.conftest import CHECK
from tests.fuzz import mutate
from tests.fuzz.__main__ import Report, Row, run, spoiled
from tests.fuzz.formats import FORMATS

COUNT = 1500 if CHECK else 3000  # inputs: as many as meet what is taken and what is refused of each format
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_every_reader_refuses_what_is_spoiled_or_reads_it_right(tmp_path: Path) -> None:
    report = run(list(FORMATS), inputs=COUNT, seed=2, processes=2, kept=tmp_path / "kept")
    assert not report.total().uncaught, report.table()
    assert report.total().inputs >= 0.97 * COUNT
    assert list(report.rows) == list(FORMATS)
    assert report.unmet() == [], report.table()


def test_a_format_of_which_nothing_was_taken_or_refused_is_named() -> None:
    report = Report(1, {"sums": Row(inputs=2, refused=1, taken=1), "boards": Row(inputs=3, refused=3), "design": Row()})
    assert report.unmet() == [
        "boards: none of 3 inputs was taken", "design: none of 0 inputs was refused", "design: none of 0 inputs was taken",
        "sums: an input was refused, and none can be: verify tells of it",
    ]  # fmt: skip


def test_one_input_is_repeated_by_its_number(tmp_path: Path) -> None:
    words = ["-m", "tests.fuzz", "--format", "boards", "--seed", "17", "--input", "42", "--kept", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "boards-17-42").read_bytes() == spoiled("boards", 17, 42, FORMATS["boards"].seeds(tmp_path))


@given(seeds=st.lists(st.binary(max_size=60), min_size=1, max_size=3), number=st.integers())
def test_bytes_are_spoiled_the_same_way_again(seeds: list[bytes], number: int) -> None:
    first, second = (mutate.of_bytes(Random(number), seeds) for _ in range(2))
    assert first == second


@given(tree=TREES, number=st.integers())
def test_a_spoiled_tree_is_json_and_leaves_the_first_alone(tree: Any, number: int) -> None:
    before = json.dumps(tree)
    json.loads(mutate.as_bytes(mutate.of_tree(Random(number), tree)))
    assert json.dumps(tree) == before
