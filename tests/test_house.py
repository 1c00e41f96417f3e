"""The house rules: files that must agree, and who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from study import paths
from tests import reliability
from tests.conftest import run, some

STUDY = paths.ROOT / "study"
# Who may import whom, by folder: all that is below study/ and is not named here is refused.
ALLOWED = {
    "study/collect/onboard": {"study.collect.onboard"},
    "study/analyze": {
        "study.analyze",
        "study.campaign",
        "study.design",
        "study.disk",
        "study.errors",
        "study.paths",
        "study.progress",
    },
    "study/publish": {
        "study.publish",
        "study.analyze",
        "study.campaign",
        "study.design",
        "study.disk",
        "study.errors",
        "study.paths",
        "study.process",
    },
}
# The names of strategies, guests and exits: one table for the board and for everyone.
SHARED = {"study.collect.onboard.factors"}


def sources(folder: Path, least: int) -> list[Path]:
    return some(sorted(folder.rglob("*.py")), least)


def imports(path: Path) -> set[str]:
    """All modules that a file imports, by their whole names."""
    nodes = ast.walk(ast.parse(path.read_text()))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            package = path.relative_to(paths.ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*package, *filter(None, [node.module])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names if module == "study"}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found - {"study"}


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows_point_one_way(folder: str) -> None:
    files = sources(paths.ROOT / folder, 3)
    arrows = ((path, name) for path in files for name in imports(path) if name.startswith("study") and name not in SHARED)
    for path, name in some(arrows, 10):
        assert any(f"{name}.".startswith(f"{allowed}.") for allowed in ALLOWED[folder]), f"{path} imports {name}"


def test_nothing_is_run_by_a_shell() -> None:
    files = sources(STUDY, 60) + sources(paths.ROOT / "tests", 40)
    calls = [(path, node) for path in files for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {ast.unparse(node.func) for _, node in calls}
    assert {"subprocess.run", "subprocess.Popen", "run"} <= names
    assert not names & {"os.system", "os.popen", "subprocess.getoutput", "eval", "exec"}
    assert [path for path, node in calls if any(word.arg == "shell" for word in node.keywords)] == []


def test_nothing_is_unpickled() -> None:
    found = {path: {name.split(".")[0] for name in imports(path)} for path in sources(STUDY, 60)}
    assert {"json", "study"} <= set().union(*found.values())
    for path, names in found.items():
        assert not names & {"pickle", "marshal", "shelve", "dill", "yaml"}, path


def test_a_board_needs_the_standard_library_and_pyperf_alone() -> None:
    found = {path: {name.split(".")[0] for name in imports(path)} for path in sources(STUDY / "collect/onboard", 15)}
    assert {"pyperf", "os"} <= set().union(*found.values())
    for path, names in found.items():
        assert names <= sys.stdlib_module_names | {"pyperf", "study"}, path  # of the study, its own folder: see the arrows


def test_environment_yml_is_what_pyproject_says(tmp_path: Path) -> None:
    made = tmp_path / "environment.yml"
    assert run("yaml", "--output", made, "--overwrite", "force", program="pyproject2conda").returncode == 0
    strip = re.compile(r"^#.*\n", re.MULTILINE)
    assert strip.sub("", made.read_text()) == strip.sub("", (paths.ROOT / "environment.yml").read_text()), "run: make lock"


def test_the_lock_file_is_hashed_and_names_no_address() -> None:
    text = (paths.ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^--(index|extra|find)", text, re.MULTILINE)
    packages = re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE)
    assert len(re.findall(r"^ +--hash=sha256:", text, re.MULTILINE)) >= len(packages)
    assert {"jupyterlab", "papermill", "pandas", "seaborn", "pyperf"} <= set(packages)


def test_make_explains_every_target() -> None:
    def make(*words: str) -> str:
        return subprocess.run(["make", "-s", *words], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout

    shown = make("help")
    for target in ("study", "setup", "collect", "analyze", "figures", "mail", "html", "lab", "test", "lint", "clean"):
        assert re.search(rf"^  {target} +\w", shown, re.MULTILINE), target


def test_the_page_of_promises_names_tests_that_are_there_and_figures_that_were_counted() -> None:
    text = (paths.ROOT / "SECURITY.md").read_text()
    for name in some(re.findall(r"`((?:tests|study)/[^` ]+)`", text), 20):
        assert (paths.ROOT / name).exists(), name
    for sentence in some(reliability.sentences(), 4):
        assert sentence in " ".join(text.split()), f"SECURITY.md does not say: {sentence}"
