"""Rows on what stands around a measurement: a study with nothing to do, a notebook beside bare nbclient, and the command's start."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from study import paths
from study.bench.rows import PAIRS, Row, in_turns, ratio, seconds

WARM, HELP = 10.0, 0.3  # seconds that are promised
STUDY = Path(sys.executable).with_name("study")
# What anyone would write to execute a notebook with some parameters.
BARE = """
import sys, nbclient, nbformat
node = nbformat.read(sys.argv[1], as_version=4)
at = next(n for n, cell in enumerate(node.cells) if "parameters" in cell.metadata.get("tags", []))
node.cells.insert(at + 1, nbformat.v4.new_code_cell(f"paper = {sys.argv[3]!r}"))
nbclient.NotebookClient(node, kernel_name="python3", resources={"metadata": {"path": sys.argv[4]}}).execute()
nbformat.write(node, sys.argv[2])
"""


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Measure all rows."""
    say("a study with nothing to do (1 minute)")
    yield warm(PAIRS)
    say("analyze.ipynb beside bare nbclient (8 minutes)")
    yield beside_nbclient(PAIRS)
    say("the command's start")
    yield started(PAIRS)


def warm(pairs: int) -> Row:
    """Return the row of ``make study`` run again, in a copy of the checkout that has our environment and cache."""
    with tempfile.TemporaryDirectory() as place:
        checkout = Path(place, "study")
        ignored = shutil.ignore_patterns(".git", ".venv", ".cache", "data", "paper", "__pycache__", "*.egg-info")
        shutil.copytree(paths.ROOT, checkout, ignore=ignored)
        shutil.copytree(paths.TEMPLATES, checkout / "paper/templates")
        (checkout / ".venv").symlink_to(Path(sys.executable).parent.parent)
        env = {**os.environ, "PYTHONPATH": str(checkout), "STUDY_CACHE": str(paths.cache())}
        command = ["make", "-o", ".venv/ready", "study", "BOARD=rig-cortex-a57", "PROFILE=quick"]
        _run(command, checkout, env)
        took = [_run(command, checkout, env) for _ in range(pairs)]
    return ratio("make study, nothing to do, of 10 s", 1.0, (" ".join(command[3:]), took), ("promised", [WARM] * pairs))


def beside_nbclient(pairs: int, campaign: str = "data/reference") -> Row:
    """Return the row of an executed analysis beside bare nbclient: whole processes, from their start."""
    source = paths.NOTEBOOKS / "analyze.ipynb"
    with tempfile.TemporaryDirectory() as place:
        words = ["notebook", "analyze", f"{place}/ours.ipynb", "-p", "campaign", campaign, "-p", "paper", place, "--again"]
        bare = [sys.executable, "-c", BARE, str(source), f"{place}/bare.ipynb", place, str(paths.ROOT)]
        found = in_turns(lambda: _run([str(STUDY), *words]), lambda: _run(bare), pairs)
    return ratio("executed analyze.ipynb / bare nbclient", 1.1, ("study notebook analyze", found[0]), ("nbclient", found[1]))


def started(pairs: int) -> Row:
    """Return the row of the command's start."""
    took = [statistics.median(_run([str(STUDY), "--help"]) for _ in range(pairs)) for _ in range(pairs)]
    return ratio("study --help, of 0.3 s", 1.0, ("study --help", took), ("promised", [HELP] * pairs))


def _run(command: Sequence[str], folder: Path = paths.ROOT, env: dict[str, str] | None = None) -> float:
    """Run a command to its end, and return how long it took."""
    return seconds(lambda: subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL))
