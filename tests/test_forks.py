"""The command does the same in a process that was forked as in one that is started."""

from __future__ import annotations

import os
import subprocess

import pytest

from study import paths
from tests import forks
from tests.conftest import BIN


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["plan", "--profile", "quick"],
        ["verify", "/nowhere"],
        ["fly"],
        ["boards"],
    ],
    ids=lambda words: words[0],
)
def test_a_forked_command_is_like_a_fresh_one(words: list[str]) -> None:
    fresh = subprocess.run([BIN / "study", *words], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    forked = forks.run(words, paths.ROOT, dict(os.environ), 100)
    assert (forked.returncode, forked.stdout, forked.stderr) == (fresh.returncode, fresh.stdout, fresh.stderr)
    assert fresh.stdout or fresh.stderr
