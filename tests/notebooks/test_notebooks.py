from __future__ import annotations

import ast
import dataclasses
import json
import re
import shlex
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import papermill
import pytest

from study import paths
from study.analyze import compare, frame, life_tables, lives
from study.collect import boards
from study.collect.onboard import tied
from study.design import KINDS, Factors, choose, from_parameters, kind_of
from study.errors import BadRequest, StudyError
from study.notebooks import check_parameters, execution
from study.notebooks.parameters import of_words
from tests import made_lives
from tests.conftest import refused, run, some

NOTEBOOKS = some(sorted(paths.NOTEBOOKS.glob("*.ipynb")), 4)
names = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "code") -> list[nbformat.NotebookNode]:
    return some(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind)


@names
def test_a_notebook_tells_and_modules_do(path: Path) -> None:
    for cell in cells(path):
        tree = ast.parse(cell.source)
        assert not cell.outputs, "strip the outputs: nbstripout"
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.walk(tree))
        assert cell.metadata.get("tags") or len(cell.source.splitlines()) <= 15
    assert cells(path, "markdown")


def test_no_table_takes_the_place_of_a_figures_text() -> None:
    source = "\n".join(cell.source for cell in cells(paths.NOTEBOOKS / "analyze.ipynb"))
    saved = some(re.findall(r'tables\.save\(.*, "([a-z-]+)"\)', source), 5)
    drawn = {
        name
        for folder in ("reference", "series-debug-registers")
        for name in json.loads((paths.PAPER / folder / "alt.json").read_text())
    }
    assert not {*saved, "tables"} & set(some(drawn, 10))


@names
def test_every_parameter_is_typed_and_explained(path: Path) -> None:
    (parameters,) = [cell for cell in cells(path) if "parameters" in cell.metadata.get("tags", [])]
    lines = some(parameters.source.splitlines(), 2)
    assert all(isinstance(node, ast.AnnAssign) for node in ast.parse(parameters.source).body)
    shown = papermill.inspect_notebook(path)
    assert [shown[line.partition(":")[0]]["help"] for line in lines] == [line.partition("  # ")[2] for line in lines]
    assert all(shown[name]["help"] and shown[name]["inferred_type_name"] != "None" for name in shown)


def test_collect_starts_with_the_defaults_of_the_profile() -> None:
    parameters = {
        node.target.id: ast.literal_eval(node.value)
        for node in ast.parse(cells(paths.NOTEBOOKS / "collect.ipynb")[0].source).body
    }  # type: ignore[attr-defined]
    factors = {field.name for field in dataclasses.fields(Factors)}
    assert parameters.keys() == {"board", "campaign", "profile", "repo", "tune", "reboot"} | factors - {
        "kind",
        "workloads",
        "longer",
    }
    for kind in KINDS:
        assert from_parameters(parameters, kind) == choose("default", kind)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("straegies", "lazy", "parameter 'straegies' is unknown; this notebook has board, campaign, profile, strategies"),
        ("loops", "abc", "parameter loops is 'abc': it must be of type int"),
        ("loops", "1e6", "parameter loops is 1000000.0: it must be of type int"),
        ("loops", "0", "loops is 0: it must be a whole number from 10 to"),
        ("guests", "host", "guests: 'host' is unknown"),
        ("board", "serial:", "board 'serial:' is unknown"),
    ],
)
def test_a_wrong_parameter_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    """By what the first cells of the notebook call, with the names that papermill would set before."""
    monkeypatch.setattr(tied, "end_with_parent", lambda number: None)
    (declared,) = [ast.parse(cell.source).body for cell in cells(paths.NOTEBOOKS / "collect.ipynb") if cell.metadata.get("tags")]
    known = {node.target.id: ast.literal_eval(node.value) for node in declared}  # type: ignore[attr-defined]
    given = of_words({name: value})
    namespace = {**known, **given, "__annotations__": {each: type(known[each]) for each in known}}
    namespace["In"] = ["# Parameters\n" + "\n".join(f"{each} = {what!r}" for each, what in given.items())]
    with pytest.raises(BadRequest, match=re.escape(words)):
        from_parameters(check_parameters(namespace), kind_of(namespace["board"]))
        boards.find(namespace["board"])


def test_nothing_is_measured_with_a_wrong_parameter(tmp_path: Path) -> None:
    out, campaign = tmp_path / "out.ipynb", tmp_path / "campaign"
    done = run("notebook", "collect", out, "-p", "board", "qemu-m68k", "-p", "campaign", campaign)
    assert "board 'qemu-m68k' is unknown; choose from local, qemu-neoverse-n1" in done.stderr.splitlines()[-1]
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
    execution.run("hand", tmp_path / "out.ipynb", {})
    assert (tmp_path / "out.ipynb").exists()


def test_what_a_cell_prints_is_one_text_however_the_kernel_sent_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = "import time\nfor word in 'ab':\n    print(word, flush=True)\n    time.sleep(0.3)"
    ends = "from study.notebooks import check_parameters, finished; check_parameters(globals()); finished()"
    sources = ["loops: int = 1  # an example", texts, ends]
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources]), tmp_path / "slow.ipynb"
    )
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    execution.run("slow", tmp_path / "out.ipynb", {})
    assert [output.text for output in cells(tmp_path / "out.ipynb")[1].outputs] == ["a\nb\n"]


def test_an_unknown_notebook_is_refused(tmp_path: Path) -> None:
    assert "choose from analyze, collect, cover-letter" in refused(run("notebook", "colect", tmp_path / "out.ipynb"))


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("import os; os._exit(0)", "(?i)kernel died"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "(?i)kernel died"),
        ("import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", "the notebook as far as it ran"),
        ("raise SystemExit(0)", "stopped before its end"),
        ("1 / 0", "division by zero"),
        ("1", "stopped before its end"),
    ],
)
def test_a_notebook_that_does_not_reach_its_end_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, says: str
) -> None:
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell), nbformat.v4.new_code_cell("2")])
    nbformat.write(node, tmp_path / "dying.ipynb")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dying.ipynb").write_text("the last one that was whole")
    with pytest.raises(StudyError, match=says):
        execution.run("dying", tmp_path / "out/dying.ipynb", {})
    assert (tmp_path / "out/dying.ipynb").read_text() == "the last one that was whole"


@pytest.mark.parametrize("error", [TimeoutError("no answer"), RuntimeError("Kernel didn't respond in 60 seconds")])
def test_a_kernel_that_is_too_slow_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def too_slow(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("papermill.execute_notebook", too_slow)
    with pytest.raises(StudyError, match=str(error)):
        execution.run("analyze", tmp_path / "out.ipynb", {})


def test_the_analysis_shows_real_guests_where_some_lived(tmp_path: Path) -> None:
    for does in (made_lives.DOES, {}):
        campaign = made_lives.make(tmp_path / f"c{len(does)}", does)
        out = tmp_path / f"{campaign.name}.ipynb"
        execution.run("analyze", out, {"campaign": str(campaign.folder), "paper": str(tmp_path / "paper")})
        (cell,) = [cell for cell in cells(out) if cell.id == "guests-tables"]
        page = tmp_path / "paper" / campaign.name / "guests.txt"
        assert page.exists() == bool(cell.outputs) == bool(does)
        if does:
            found = lives.frame(campaign)
            judged = lives.judged(found, compare.medians(frame.tidy(campaign)))
            assert page.read_text() == life_tables.page(found, judged)
            assert "linux-armmp" in some(cell.outputs)[0].data["text/html"]


def test_jupyterlab_lets_nobody_in_without_its_token() -> None:
    words = subprocess.run(
        ["make", "-n", "--no-print-directory", "lab"], cwd=paths.ROOT, capture_output=True, text=True, check=True
    ).stdout
    command = next(line for line in words.splitlines() if "jupyter lab" in line)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [*shlex.split(command), "--no-browser", f"--port={port}", "--allow-root"]
    with subprocess.Popen(argv, cwd=paths.ROOT, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            said = (re.search(r"(http://127\.0\.0\.1:\d+)/lab\?token=(\w+)", line) for line in server.stderr)
            url, token = next(found for found in said if found).groups()
            assert _answer(f"{url}/api/contents") == 403
            assert _answer(f"{url}/api/contents?token={token}") == 200
        finally:
            server.kill()


def _answer(url: str) -> int:
    """Return a server's status; it says where it is a moment before it listens."""
    for _ in range(200):
        try:
            return urllib.request.urlopen(url).status
        except urllib.error.HTTPError as error:
            return error.code
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(f"nobody answers at {url}")
