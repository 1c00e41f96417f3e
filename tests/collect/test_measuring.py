"""Which code decides what figures are, and that its digest changes with it alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import paths
from study.campaign import lines
from study.collect import measuring
from study.collect.onboard import visit
from study.factors import GUESTS, KVM, RIG
from tests.conftest import some

SOURCES = sorted(path for path in measuring.files(KVM) if path.suffix == ".py")
METADATA = st.dictionaries(
    st.sampled_from([*visit.ALIKE, *visit.MOMENTARY, "name"]), st.text(max_size=9) | st.integers() | st.floats(allow_nan=False)
)


def test_what_a_visit_runs_counts_and_what_examines_boards_does_not() -> None:
    found = {kind: {path.relative_to(paths.STUDY).as_posix() for path in measuring.files(kind)} for kind in (KVM, GUESTS, RIG)}
    onboard = "collect/onboard"
    assert found[KVM] >= {f"{onboard}/{name}" for name in ("visit.py", "bench.py", "counting.py", "kvm.py", "payload.S")}
    assert found[KVM] >= {"factors.py", "kernels/dbgswitch/dbgswitch.c", "collect/perfstat.py"}
    assert found[GUESTS] >= {f"{onboard}/life.py", f"{onboard}/census.py", "kernels/guests.py"}
    assert found[RIG] >= {"collect/rig/aarch64/switch.S", "collect/rig/armv7/switch.S", "collect/rig/script.py"}
    assert not any(name.endswith(("doctor.py", "kexec.py", "sequence.py", ".pyc")) for names in found.values() for name in names)
    assert set(measuring.digests()) == set(found) and len(set(measuring.digests().values())) == 3


@pytest.mark.parametrize("path", some(SOURCES, 15), ids=lambda path: path.name)
def test_words_for_people_do_not_count_and_everything_else_does(path: Path) -> None:
    text, counts = path.read_text(), measuring.code(path)
    tree = ast.parse(text)
    assert measuring.python(text).count("#") <= text.count("#") and ast.parse(measuring.python(text))
    more = text.splitlines()
    for row in sorted({node.end_lineno or 0 for node in tree.body}, reverse=True):
        more.insert(row, "# a word, \u2026\n")
    assert " ".join(measuring.python("\n".join(more)).split()) == counts
    said = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and ast.get_docstring(node))
    assert " ".join(measuring.python(text.replace(str(ast.get_docstring(said)).split("\n")[0], "Other words.")).split()) == counts
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    parts = [node for node in ast.walk(tree) if isinstance(node, (ast.Constant, ast.Name)) and id(node) not in inside]
    for node in some([one for one in parts if isinstance(one, ast.Name) or type(one.value) is int][::9], 2):
        rows = text.encode().splitlines(keepends=True)
        row = rows[node.lineno - 1]
        more = b"x" if isinstance(node, ast.Name) else b"1+"
        rows[node.lineno - 1] = row[: node.col_offset] + more + row[node.col_offset :]
        assert " ".join(measuring.python(b"".join(rows).decode()).split()) != counts, row


@given(METADATA)
def test_metadata_that_a_boot_has_are_put_back(metadata: dict[str, object]) -> None:
    line = {"pyperf": {"metadata": visit.apart(metadata), "benchmarks": [{}]}}
    assert lines.metadata({"pyperf": visit.ALIKE}, line) == metadata
    assert lines.metadata({}, {"pyperf": {"metadata": metadata, "benchmarks": [{}]}}) == metadata, "as earlier kits wrote it"
