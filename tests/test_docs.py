"""What the pages say: each link leads somewhere, each path is there, each command is one that its program understands.

A shell reads the commands, in a folder of its own in which every program is one that only says how it was called.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import importlib.util
import itertools
import json
import os
import re
import shlex
import statistics
import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import click
import papermill
import papermill.cli
import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from study import cli, design, paths
from study.collect import boards
from study.collect.boards import rig
from study.collect.fleet import shelf
from study.errors import StudyError
from study.factors import EXITS, GUESTS, MICRO_BENCH
from tests import costs
from tests.conftest import BIN, files_of_checkout, some

README = paths.ROOT / "README.md"
PAGES = [
    README,
    *(paths.ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "data/README.md")),
    *sorted((paths.ROOT / "docs").glob("*.md")),
]
COLUMNS = 130
# Suffixes by which a name without a folder is one of the checkout's, and what commands make in folders of the checkout.
SOURCES = (".py", ".S", ".c", ".h", ".inc", ".ipynb", ".lock", ".md")
MADE = [
    "series.json",
    "sequences.json",
    "boots/<boot>/receipts.jsonl",
    "receipts.jsonl",
    "design-guests.json",
    "boots/<boot>/census.jsonl",
    "census.jsonl",
    "guests.toml",
    "boots/<boot>/enough.json",
    "aside/<n>/",
    "paper/html",
    "paper/<campaign>/series",
    "values.parquet",
]
# What assigns names of variables in the Makefile, and where else a variable of the environment may be read.
VARIABLE = re.compile(r"^(\w+) +\?=", re.MULTILINE)
ENVIRONMENT = re.compile(r"\b(?:STUDY|PYTEST|PYPERF)_[A-Z_]+\b")
READERS = ("Makefile", "study/", "tests/")
STAND_IN = """#!/bin/sh
{ printf '%s\\0' "$#" "${0##*/}" "$@"; } >>"$CALLS"
echo 6.1.0  # so says uname
"""


@cache
def tokens(page: Path) -> list[Token]:
    """What a page consists of: blocks, and what is in their lines."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    return [token for block in blocks for token in [block, *(block.children or [])]]


def spans(page: Path) -> list[str]:
    """What stands in backticks, in the text and in tables."""
    return [token.content for token in tokens(page) if token.type == "code_inline"]


def blocks(page: Path) -> list[str]:
    """What is indented or fenced, but for files that are shown."""
    return [
        token.content for token in tokens(page) if token.type in ("code_block", "fence") and token.info not in ("toml", "python")
    ]


def test_files_that_are_shown_can_be_read() -> None:
    shown = [(page, token.content) for page in PAGES for token in tokens(page) if token.info == "toml"]
    for page, text in some(shown):
        assert tomllib.loads(text), page


@cache
def checkout() -> frozenset[str]:
    """What a clone of this checkout would hold: files, and the folders that they are in."""
    files = files_of_checkout()
    return frozenset([*files, *(str(folder) for name in files for folder in PurePosixPath(name).parents)])


def there(name: str, before: str = "") -> bool:
    """Whether something of the checkout has that name; what stands for any name is in angle brackets."""
    return bool(fnmatch.filter(checkout(), before + re.sub("<[^>]*>", "*", name).rstrip("/")))


# --- links --------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as forges make them: lower case, blanks as hyphens, without other marks."""
    found = tokens(page)
    titles = [text.content for head, text in itertools.pairwise(found) if head.type == "heading_open"]
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    found = [token.attrs.get("href", token.attrs.get("src")) for token in tokens(page) if token.type in ("link_open", "image")]
    return [str(target) for target in found if "://" not in str(target)]


def test_every_link_leads_somewhere() -> None:
    wrong = []
    for where, target in some(((page, target) for page in PAGES for target in links(page)), 50):
        name, _, anchor = target.partition("#")
        found = (where.parent / name).resolve() if name else where
        known = found.is_relative_to(paths.ROOT) and str(found.relative_to(paths.ROOT)) in checkout()
        if not known or (anchor and anchor not in anchors(found)):
            wrong.append(f"{where.name}: {target}")
    assert wrong == []


def test_the_readme_is_one_short_page_that_leads_to_all_others() -> None:
    assert len(README.read_text().splitlines()) <= 150
    listed = {target.partition("#")[0] for target in links(README)}
    assert {str(page.relative_to(paths.ROOT)) for page in some(PAGES, 15)} - {"README.md"} <= listed


def test_a_page_begins_with_its_title_and_no_line_is_too_wide() -> None:
    for page in some([README, *(page for page in PAGES if page.parent != paths.ROOT)], 13):
        lines = page.read_text().splitlines()
        assert lines[0].startswith("# ")
        assert (lines[1], bool(lines[2])) == ("", True), page
        wide = [line for line in lines if len(line) > COLUMNS and not line.startswith(("|", "!["))]
        assert wide == [], page


# --- names --------------------------------------------------------------------------------------------------------


def is_path(text: str) -> bool:
    """Whether a span looks like a path of the checkout."""
    if re.search(r"\s", text) or text.startswith("."):
        return False
    return text.partition("/")[0] in checkout() if "/" in text else text.endswith(SOURCES)


def test_every_path_is_there() -> None:
    found = [(page, text) for page in PAGES for text in spans(page) if is_path(text) and text not in MADE]
    assert [(page.name, text) for page, text in some(found, 90) if not there(text, "" if "/" in text else "*")] == []


def test_every_variable_of_the_environment_is_read_somewhere() -> None:
    named = {(page.name, name) for page in PAGES for name in ENVIRONMENT.findall(page.read_text())}
    sources = [paths.ROOT / name for name in checkout() if name.startswith(READERS) and name != "tests/test_docs.py"]
    read = {name for path in sources if path.is_file() for name in ENVIRONMENT.findall(path.read_text(errors="replace"))}
    assert [name for name in some(named, 5) if name[1] not in read] == []


def test_the_table_of_exits_is_that_of_the_study() -> None:
    """What reaches ``vcpu_put``, and what micro-bench calls it."""
    rows = [line.split(" | ") for line in (paths.ROOT / "docs/results.md").read_text().splitlines() if line.startswith("| `")]
    shown = {name.strip("|` "): (puts, also.strip("|` ")) for name, _, puts, also in (row for row in rows if len(row) == 4)}
    assert shown == {name: ("yes" if row.to_user_space else "no", row.also or "-") for name, row in EXITS.items()}
    assert {row.also for row in EXITS.values()} - {""} < MICRO_BENCH.keys()


def test_the_table_of_costs_has_the_parts_that_are_added_up() -> None:
    table = (paths.ROOT / "docs/testing.md").read_text()
    for part in some(costs.PARTS, 10):
        assert f"| {', '.join(part.split())} |" in table
        for beginning in part.split():
            assert there(f"{beginning}*"), beginning


def test_what_the_study_costs_is_what_the_bench_measured() -> None:
    """Figures with a point, of seconds, and of per cent are ends, medians or bounds of bench.json, rounded as they are written."""
    rows = [row for part in json.loads((paths.PAPER / "bench/bench.json").read_text()).values() for row in part]
    known = {value for row in rows for value in (row["value"], row["low"], row["high"], row["bound"]) if value is not None}
    for measured in (row["samples"].get(side, ()) for row in rows for side in ("ours", "other")):
        known |= {min(measured), statistics.median(measured), max(measured)} if measured else set()
    page = (paths.ROOT / "docs/cost.md").read_text()
    assert f"![{json.loads((paths.PAPER / 'bench/alt.json').read_text())['bench']}]" in page
    figures = re.findall(r"\d+\.\d+|\d+(?= (?:s\b|%|to \d))", page)
    lost = [
        figure
        for figure in some(figures, 20)
        if figure not in {f"{value * times:.{len(figure.partition('.')[2])}f}" for value in known for times in (1, 100)}
    ]
    assert lost == []


# --- commands -----------------------------------------------------------------------------------------------------


def of_make(_: str, *words: str) -> None:
    """Targets that the Makefile has, variables that it knows, values that make sense: make says what it would run."""
    given = dict(word.split("=", 1) for word in words if "=" in word)
    assert not {word for word in words if word.startswith("-")}
    assert given.keys() <= set(some(VARIABLE.findall((paths.ROOT / "Makefile").read_text()), 15))
    makes_sense(given.get("BOARD", "qemu-neoverse-n1"), given.get("PROFILE", "default"), kernels=given.get("KERNEL"))
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/ready", *words], cwd=paths.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def makes_sense(board: str, profile: str, kind: str = "", **factors: Any) -> None:
    """A board that is known, and factors of which a design can be made."""
    assert boards.find(board)
    assert design.choose(profile, kind or design.kind_of(board), **factors)


def parsed(command: click.Command, words: Sequence[str]) -> dict[str, Any]:
    """What a command would be given by these words; nothing if they ask for its help."""
    with contextlib.suppress(click.exceptions.Exit), contextlib.redirect_stdout(None):
        return command.make_context(command.name, list(words)).params
    return {}


def of_study(_: str, name: str, *words: str) -> None:
    """A command of the study with options and arguments that it has; what makes up a design makes one."""
    given = parsed(cli.study.commands[name], words)
    if {"board", "profile"} <= given.keys():
        known = {field.name for field in dataclasses.fields(design.Factors)}
        kind = GUESTS if name == "guests" else ""
        makes_sense(given["board"], given["profile"], kind, **{name: value for name, value in given.items() if name in known})


def of_papermill(_: str, *words: str) -> None:
    """A notebook that is there, with parameters that it has."""
    given = parsed(papermill.cli.papermill, words)
    known = papermill.inspect_notebook(str(paths.ROOT / given["notebook_path"]))
    assert {name for name, _ in given["parameters"]} <= known.keys()


def of_dask(_: str, name: str, *words: str) -> None:
    """A command of dask, as of the study."""
    from distributed.cli import dask_scheduler, dask_worker

    parsed({"worker": dask_worker.main, "scheduler": dask_scheduler.main}[name], words)


def of_python(_: str, option: str, module: str, *words: str) -> None:
    """A module that is there."""
    assert option == "-m"
    assert importlib.util.find_spec(module), module


def of_pip(program: str, name: str, *words: str) -> None:
    """Packages to install, with options of which pip's help knows."""
    assert name == "install"
    shown = subprocess.run([str(BIN / program), name, "--help"], capture_output=True, text=True, check=True).stdout
    assert {word for word in words if word.startswith("-")} <= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown))


def on_a_file(*words: str) -> None:
    """A program that is not ours, but is given a file of the checkout at the end."""
    assert words[-1] in checkout()


def of_uname(_: str, *words: str) -> None:
    """What prints the release of the kernel that runs."""
    assert words == ("-r",)


def of_git(_: str, *words: str) -> None:
    """A command of git; what a bisection runs is one of ours, too."""
    some(words, 2)
    if words[:2] == ("bisect", "run"):
        PROGRAMS[words[2]](*words[2:])


def of_series(program: str, *words: str) -> None:
    """The script of a kernel tree's CI, with a repository, a base and a tip."""
    assert os.access(paths.ROOT / "ci" / program, os.X_OK)
    assert len(words) == 3


# The programs that pages let their readers call, and how it is checked that they would understand it.
PROGRAMS: dict[str, Callable[..., None]] = {
    "make": of_make,
    "study": of_study,
    "papermill": of_papermill,
    "dask": of_dask,
    "python": of_python,
    "pip": of_pip,
    "pip-audit": on_a_file,
    "uname": of_uname,
    "git": of_git,
    "series": of_series,
}


def of_mentioned_study(_: str, name: str, *words: str) -> None:
    """A command of the study that is only named, perhaps with an option of it."""
    command = cli.study.commands.get(name, cli.study)
    known = {option for parameter in command.get_params(click.Context(command)) for option in parameter.opts}
    assert name in cli.study.commands or name in known
    assert {word for word in words if word.startswith("-")} <= known


def installed(program: str, *words: str) -> None:
    """A program of the environment, which the lock file brings."""
    assert os.access(BIN / program, os.X_OK)


def packaged(program: str, *words: str) -> None:
    """A program of which packages.txt says who brings it."""
    assert re.search(rf"^{program} ", paths.PACKAGES.read_text(), re.MULTILINE)


# How it is checked what the text only names, by its first word: as above, or by who brings the program.
MENTIONED: dict[str, Callable[..., None]] = {
    "make": of_make,
    "study": of_mentioned_study,
    "dask": of_dask,
    "python": of_python,
    "pip": of_pip,
    "conda": on_a_file,
    **dict.fromkeys(("pre-commit", "b4", "pyperf"), installed),
    **dict.fromkeys(("git", "perf", "ssh"), packaged),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which every program that a page may name is a stand-in, with and without .venv/bin before it."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in PROGRAMS:
        (tmp_path / ".venv/bin" / name).write_text(STAND_IN)
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    (tmp_path / "ci").symlink_to(tmp_path / ".venv/bin")
    return tmp_path


def called(text: str, folder: Path) -> Iterator[list[str]]:
    """Let the shell read commands, and return the words of each call, the program's name first."""
    calls = folder / "calls"
    calls.write_text("")
    env = {**os.environ, "PATH": str(folder / ".venv/bin"), "CALLS": str(calls)}
    done = subprocess.run(["/bin/sh", "-eu", "-c", text], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    words = iter(calls.read_text().split("\0")[:-1])
    for count in words:
        yield [next(words) for _ in range(int(count) + 1)]


def complaints(known: dict[str, Callable[..., None]], commands: Iterable[tuple[Path, list[str]]]) -> list[str]:
    """What is wrong with commands of pages, a line for each."""
    found = []
    for page, words in commands:
        try:
            known[words[0]](*words)
        except (AssertionError, KeyError, TypeError, OSError, click.ClickException, StudyError) as error:
            found.append(f"{page.name}: {shlex.join(words)}: {type(error).__name__} {error}")
    return found


def test_every_command_is_understood(folder: Path) -> None:
    texts = [(page, text) for page in PAGES for text in blocks(page) if not other(text)]
    commands = some(((page, words) for page, text in texts for words in called(text, folder)), 45)
    assert complaints(PROGRAMS, commands) == []
    met = Counter(words[0] for _, words in commands)
    assert met.keys() == PROGRAMS.keys(), "a program is in the table, and on no page"
    assert met["make"] >= 20
    assert met["study"] >= 10


def test_what_the_text_names_is_a_command() -> None:
    texts = [(page, text.removeprefix(".venv/bin/")) for page in PAGES for text in spans(page)]
    named = [(page, shlex.split(text)) for page, text in texts if " " in text and text.split()[0] in MENTIONED]
    assert complaints(MENTIONED, some(named, 50)) == []
    assert {words[0] for _, words in named} == MENTIONED.keys()


# --- other blocks -------------------------------------------------------------------------------------------------


def of_shelf(text: str, folder: Path) -> None:
    """A file of boards that are read."""
    (folder / "boards.toml").write_text(text)
    some(shelf.read(folder / "boards.toml"), 3)


def of_tree(text: str, folder: Path) -> None:
    """Paths, and what is there."""
    for line in some(text.splitlines(), 5):
        for name in some(re.split(r" {2,}", line)[0].split(", ")):
            assert name in MADE or there(name, "*"), name


def of_rooms(text: str, folder: Path) -> None:
    """Rooms, and files beside them, that are there."""
    for name in some(re.findall(r"\b[\w/]+(?:/|\.py)(?=[ :;])", text), 20):
        assert any((paths.ROOT / place / name).exists() for place in ("", "study", "study/collect", "study/analyze")), name


def of_u_boot(text: str, folder: Path) -> None:
    """What a test gives to U-Boot."""
    typed = (paths.ROOT / "tests/collect/test_rig.py").read_text()
    for line in some(text.splitlines(), 2):
        assert re.search(rf'"{line.split()[0]}[ "]', typed), line


def of_rig(text: str, folder: Path) -> None:
    """Commands of the rig, as a board writes them, with words that its image knows."""
    image = (paths.ROOT / "study/collect/rig/shared/command.c").read_text()
    for line in some(text.splitlines(), 2):
        number, do, *words = line.split()
        assert rig.write(int(number.partition("=")[2]), do, {"words": " ".join(words)}) == line
        for word in (do, *(f"{word.partition('=')[0]}=" for word in words if len(word.partition("=")[0]) > 2)):
            assert f'"{word}"' in image, word


def of_workflow(text: str, folder: Path) -> None:
    """A workflow whose steps name actions by their version, and which runs our script."""
    (job,) = yaml.safe_load(text)["jobs"].values()
    ran = [step["run"] for step in some(job["steps"], 5) if "run" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
    (script,) = (words for words in map(str.split, ran) if words[0].startswith("study/"))
    of_series(Path(script[0]).name, *re.sub(r"\$\{\{.*?\}\}", "x", ran[-1]).split()[1:])
    assert os.access(paths.ROOT / script[0].removeprefix("study/"), os.X_OK)


# Blocks that are no commands, by how they begin.
OTHERS: dict[str, Callable[[str, Path], None]] = {
    "[boards.": of_shelf,
    "notebooks/ ": of_tree,
    "<architecture>/": of_tree,
    "design.json": of_tree,
    "+--": of_rooms,
    "setenv ": of_u_boot,
    "id=": of_rig,
    "name: ": of_workflow,
}


def other(text: str) -> Callable[[str, Path], None] | None:
    return next((check for beginning, check in OTHERS.items() if text.startswith(beginning)), None)


def test_every_other_block_is_what_it_looks_like(tmp_path: Path) -> None:
    found = [(check, text) for page in PAGES for text in blocks(page) if (check := other(text))]
    for check, text in some(found, len(OTHERS)):
        check(text, tmp_path)
    assert {check for check, _ in found} == set(OTHERS.values())
