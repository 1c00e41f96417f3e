"""What users name reaches what make runs as they wrote it: a checkout and a campaign that have blanks in their names."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from study.campaign import Campaign
from tests.conftest import copy_of_checkout

pytestmark = pytest.mark.board

CAMPAIGN = "my  run's"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which make has done everything for a small campaign of a rig, from building the rig on."""
    place = copy_of_checkout(tmp_path_factory.mktemp("a place") / "a study")
    words = ["collect", "analyze", "mail", "html", "BOARD=rig-cortex-a57", "PROFILE=quick", f"CAMPAIGN=data/{CAMPAIGN}"]
    done = make(place, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def make(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return sh(place, "make", "-o", ".venv/ready", *words)


def sh(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(place), "STUDY_CACHE": str(place / ".cache")}
    return subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, check=False)


def test_everything_is_where_the_name_says(checkout: Path) -> None:
    assert Campaign(checkout / "data" / CAMPAIGN).missing("rig-cortex-a57") == []
    made = {str(path.relative_to(checkout / "paper")) for path in checkout.glob(f"paper/{CAMPAIGN}/**/*")}
    own = f"{CAMPAIGN}/notebooks"
    assert {f"{own}/collect-rig-cortex-a57.ipynb", f"{own}/analyze.ipynb", f"{CAMPAIGN}/letter.txt"} <= made
    assert {path.name for path in (checkout / "data").iterdir()} == {
        "README.md",
        "reference",
        "guests",
        "series-debug-registers",
        CAMPAIGN,
    }
    assert (checkout / "paper/html/index.html").exists()


def test_the_letter_s_command_draws_it_again(checkout: Path) -> None:
    letter = checkout / "paper" / CAMPAIGN / "letter.txt"
    (command,) = re.findall(r"^    make (figures mail CAMPAIGN=.*)$", letter.read_text(), re.MULTILINE)
    done = sh(checkout, "sh", "-c", f"make -o .venv/ready {command}")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(\S+\.ipynb) is up to date", done.stdout) == [
        "run's/notebooks/analyze.ipynb",
        "run's/notebooks/cover-letter.ipynb",
    ]


def test_the_share_that_matters_is_in_the_command_of_the_letter(checkout: Path) -> None:
    letter = checkout / "paper" / CAMPAIGN / "letter.txt"
    for share in ("25%", "1%"):  # the second leaves the letter as it was
        assert make(checkout, "mail", "analyze", f"CAMPAIGN=data/{CAMPAIGN}", f"SMALLEST={share}").returncode == 0
        (command,) = re.findall(r"^    (make (?:.*\\\n)*.*)$", letter.read_text(), re.MULTILINE)
        assert command.endswith(" SMALLEST=25%") == (share == "25%")
        done = sh(checkout, "sh", "-c", f"MAKEFLAGS='-o .venv/ready' {command}")
        assert done.stdout.count("is up to date") == 2, done.stdout + done.stderr
