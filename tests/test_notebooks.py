from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import nbformat
import pytest

from study import notebooks, paths
from study.design import KINDS, Factors, choose, from_parameters
from tests.conftest import refused, run

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
names = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "code") -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@names
def test_a_notebook_tells_and_modules_do(path: Path) -> None:
    for cell in cells(path):
        tree = ast.parse(cell.source)
        assert not cell.outputs, "strip the outputs: nbstripout"
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.walk(tree))
        assert cell.metadata.get("tags") or len(cell.source.splitlines()) <= 15
    assert cells(path, "markdown")


@names
def test_every_parameter_is_typed_and_explained(path: Path) -> None:
    (parameters,) = [cell for cell in cells(path) if "parameters" in cell.metadata.get("tags", [])]
    lines = parameters.source.splitlines()
    assert all(isinstance(node, ast.AnnAssign) for node in ast.parse(parameters.source).body)
    assert all("  # " in line for line in lines)
    shown = run("--help-notebook", path, program="papermill").stdout
    assert all(line.partition("#")[2].strip()[:30] in shown for line in lines)


def test_collect_starts_with_the_defaults_of_the_profile() -> None:
    parameters = {
        node.target.id: ast.literal_eval(node.value)
        for node in ast.parse(cells(paths.NOTEBOOKS / "collect.ipynb")[0].source).body
    }  # type: ignore[attr-defined]
    factors = {field.name for field in dataclasses.fields(Factors)}
    assert parameters.keys() == {"board", "campaign", "profile", "tune", "reboot"} | factors - {"kind"}
    for kind in KINDS:
        assert from_parameters(parameters, kind) == choose("default", kind)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("straegies", "lazy", "parameter 'straegies' is unknown; this notebook has board, campaign, profile, strategies"),
        ("loops", "abc", "parameter loops is 'abc': it must be of type int"),
        ("loops", "1e6", "parameter loops is 1000000.0: it must be of type int"),
        ("loops", "0", "loops is 0: it must be a whole number from 10 to"),
        ("board", "qemu-m68k", "board 'qemu-m68k' is unknown; choose from local, qemu-neoverse-n1"),
        ("guests", "host", "guests: 'host' is unknown"),
        ("board", "serial:", "board 'serial:' is unknown"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_measured(tmp_path: Path, name: str, value: str, words: str) -> None:
    out, campaign = tmp_path / "out.ipynb", tmp_path / "campaign"
    done = run("notebook", "collect", out, "-p", name, value, "-p", "campaign", campaign)
    assert words in done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert not out.exists()
    assert not campaign.exists()


def test_papermill_itself_fails_on_an_unknown_parameter(tmp_path: Path) -> None:
    done = run(paths.NOTEBOOKS / "analyze.ipynb", tmp_path / "out.ipynb", "-p", "campain", "x", program="papermill")
    assert done.returncode == 1
    assert "BadRequest: parameter 'campain' is unknown; this notebook has campaign, paper" in done.stderr


def test_by_hand_a_cell_can_be_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = "from study.notebooks import check_parameters, finished; check_parameters(globals())"
    sources = ["loops: int = 1  # an example", check, "folder = 'x'", check, "finished()"]
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources]), tmp_path / "hand.ipynb"
    )
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    notebooks.run("hand", tmp_path / "out.ipynb", {})
    assert (tmp_path / "out.ipynb").exists()


def test_an_unknown_notebook_is_refused(tmp_path: Path) -> None:
    assert "choose from analyze, collect, cover-letter" in refused(run("notebook", "colect", tmp_path / "out.ipynb"))


def test_a_notebook_that_dies_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os; os._exit(0)"), nbformat.v4.new_code_cell("1")])
    nbformat.write(node, tmp_path / "dying.ipynb")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    with pytest.raises(Exception, match="(?i)kernel died"):
        notebooks.run("dying", tmp_path / "out" / "dying.ipynb", {})
    assert not (tmp_path / "out" / "dying.ipynb").exists()
