"""What would come out the same is left, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from study import paths
from study.campaign import Campaign
from study.notebooks import uptodate
from tests.conftest import run, some
from tests.publish.test_site import analysed

pytestmark = pytest.mark.board

SMALL = ["--board", "rig-cortex-a57", "--strategies", "lazy,eager", "--guests", "mde", "--hosts", "none", "--loops", "100"]
SMALL += ["--boots", "1"]


def said(*words: object) -> str:
    done = run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    said("collect", "--campaign", tmp_path / "c", *SMALL)
    return tmp_path / "c"


def test_a_notebook_is_run_again_only_if_something_changed(campaign: Path) -> None:
    paper = campaign.parent / "paper"
    out, letter = paper / "c/notebooks/cover-letter.ipynb", paper / "c/letter.txt"
    command = ["notebook", "cover-letter", out, "-p", "campaign", campaign, "-p", "paper", paper]
    left = f"{out} is up to date"
    assert said(*command) == str(out)
    made, text = out.read_bytes(), letter.read_bytes()
    assert said(*command) == left
    assert (out.read_bytes(), letter.read_bytes()) == (made, text)

    def is_left(**more: str) -> bool:
        given = {"campaign": str(campaign), "paper": str(paper), **more}
        return uptodate.is_up_to_date(out, paths.NOTEBOOKS / "cover-letter.ipynb", given)

    assert is_left()
    assert not is_left(title="Another title")
    words = paper / "c/series.txt"
    for path, other in (
        (letter, b""),
        (letter, text + b"more"),
        (out, made.replace(b"ran to its end", b"ran somewhere else")),
        (words, b"The words of the author.\n"),
        (next(campaign.glob("boots/*/visits.jsonl")), b""),
    ):
        kept = path.read_bytes()
        path.write_bytes(other)
        assert not is_left(), path
        path.write_bytes(kept)
        assert is_left(), path
    letter.unlink()
    words.write_text("The words of the author.\n")
    said("collect", "--campaign", campaign, *SMALL, "--board", "rig-neoverse-n1")
    command += ["-p", "title", "Another title"]
    assert said(*command) == str(out)
    assert {"Another title", "The words of the author."} <= set(letter.read_text().splitlines())
    assert said(*command) == left
    assert said(*command, "--again") == str(out)


def test_what_was_measured_is_not_measured_again_and_what_is_missing_is(campaign: Path) -> None:
    out = campaign.parent / "collect.ipynb"
    options = zip(SMALL[::2], SMALL[1::2], strict=True)
    command = ["notebook", "collect", out, "-p", "campaign", campaign]
    command += [word for name, value in options for word in ("-p", name.removeprefix("--"), value)]
    assert said(*command) == str(out)
    assert said(*command) == f"{out} is up to date"
    (boot,) = Campaign(campaign).boots()
    (boot / "visits.jsonl").unlink()
    assert "visits.jsonl: it is missing" in run(*command).stderr


def test_pages_are_made_again_only_if_something_changed(tmp_path: Path, reference: Campaign) -> None:
    command = analysed(tmp_path, reference.digest())
    index = tmp_path / "out/index.html"
    assert said(*command) == str(index)
    made = {path: path.read_bytes() for path in some((tmp_path / "out").rglob("*"), 3) if path.is_file()}
    assert index in made
    assert said(*command) == f"{index} is up to date"
    index.unlink()
    (tmp_path / "out/reference/analyze.html").write_text("tampered with")
    assert said(*command) == str(index)
    assert {path: path.read_bytes() for path in made} == made
    analysed(tmp_path, "# Another title", reference.digest())
    assert said(*command) == str(index)
    assert said(*command) == f"{index} is up to date"
    assert json.loads((tmp_path / "out/made.json").read_text()).keys() == {"inputs", "outputs"}


def test_an_output_is_the_same_in_memory_and_on_disk(tmp_path: Path) -> None:
    """On disk a text is a list of lines, and one without any is an empty list."""
    texts = ["", "one", "one\ntwo\n"]
    outputs = [nbformat.v4.new_output("display_data", {"text/html": text}) for text in texts]
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=outputs)])
    uptodate.stamp(node, "digest", {})
    nbformat.write(node, tmp_path / "a.ipynb")
    read = json.loads((tmp_path / "a.ipynb").read_bytes())
    uptodate.stamp(again := nbformat.from_dict(read), "digest", {})
    assert again.metadata[uptodate.KEY] == read["metadata"][uptodate.KEY]


def test_a_notebook_of_no_campaign_is_run_each_time() -> None:
    with pytest.raises(LookupError):
        uptodate.inputs(paths.NOTEBOOKS / "simulation.ipynb", {})
