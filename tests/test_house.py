"""The house rules: files that must agree, and who may import whom."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

from study import paths
from tests import reliability
from tests.conftest import LONG, files_of_checkout, run, some

STUDY = paths.ROOT / "study"
# The rooms, each with those below it that it may import: arrows run down, and none of collect's leads into a campaign's analysis.
BASE = ["errors", "paths", "factors", "guests", "process", "terminal", "design", "campaign"]
ROOMS = {
    "errors": [],
    "paths": [],
    "factors": [],
    "terminal": [],
    "process": ["errors", "paths", "factors"],
    "guests": ["errors"],
    "toml": ["errors"],
    "design": ["errors", "factors", "guests"],
    "campaign": ["errors", "paths", "factors", "terminal", "design"],
    "kernels": [*BASE[:-1], "toml"],
    "collect": [*BASE, "toml", "kernels"],
    "analyze": [*BASE, "toml"],
    "publish": [*BASE, "analyze"],
    "bench": [*BASE, "kernels", "collect", "analyze"],
    "notebooks": [*BASE, "collect"],
    "cli": [*BASE, "kernels", "collect", "analyze", "publish", "notebooks"],
    "__main__": ["terminal", "cli"],
}
# What goes along to a board knows the vocabulary, and nothing else of the study.
ONBOARD = ("study.collect.onboard", "study.factors")


def sources(folder: Path, least: int) -> list[Path]:
    return some(sorted(folder.rglob("*.py")), least)


def imports(path: Path) -> set[str]:
    """All that a file imports, by its whole name: modules, and what is taken from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            package = path.relative_to(paths.ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*package, *filter(None, [node.module])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def modules() -> dict[str, Path]:
    """All modules of the study, by name."""
    return {
        ".".join(path.relative_to(paths.ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sources(STUDY, 60)
    }


def arrows() -> dict[str, set[str]]:
    """Which modules of the study each of them imports, wherever in it."""
    known = modules()
    found = {name: (each if each in known else each.rpartition(".")[0] for each in imports(path)) for name, path in known.items()}
    return {name: {each for each in others if each in known} for name, others in found.items()}


def test_arrows_run_down() -> None:
    met = set()
    for name, found in arrows().items():
        for other in found:
            here, there = (f"{module}.".split(".")[1] for module in (name, other))
            if here and there and here != there:
                assert there in ROOMS[here], f"{name} imports {other}"
                met.add((here, there))
    assert len(some(met, 40)) <= sum(map(len, ROOMS.values()))


def test_rooms_are_in_order_and_no_module_is_in_a_circle() -> None:
    assert list(graphlib.TopologicalSorter(ROOMS).static_order())
    assert len(list(graphlib.TopologicalSorter(arrows()).static_order())) == len(modules())


def test_a_board_knows_the_vocabulary_alone() -> None:
    found = [(name, other) for name, found in arrows().items() if name.startswith(ONBOARD[0]) for other in found]
    for name, other in some(found, 30):
        assert f"{other}.".startswith(tuple(f"{known}." for known in ONBOARD)), f"{name} imports {other}"


def test_few_files_lie_beside_the_rooms() -> None:
    assert {path.name for path in STUDY.iterdir() if path.is_file()} == {
        "__init__.py", "__main__.py", "cli.py", "design.py", "errors.py", "factors.py", "guests.py", "paths.py", "process.py", "toml.py",
    }  # fmt: skip


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


def test_no_setting_of_git_changes_a_file_of_a_checkout() -> None:
    """A filter or a conversion of whoever checks out would break the sums of campaigns."""
    names = files_of_checkout()
    done = subprocess.run(
        ["git", "-c", "core.autocrlf=true", "check-attr", "-z", "--stdin", "text"],
        cwd=paths.ROOT, input="\0".join(names), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\0")[2::3] == ["unset"] * len(names)


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


def test_what_takes_long_is_there() -> None:
    for name in some(LONG, 10):
        assert (paths.ROOT / f"tests/{name}.py").exists(), name
