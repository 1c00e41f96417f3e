"""Pages that work without a network, in a real browser."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import nbformat
import pytest

from study import paths
from study.publish import site
from tests.conftest import refused, run

HOSTILE = "<script>document.title='taken'</script><img src=http://192.0.2.1/x>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    done = run("notebook", "analyze", folder / "notebooks/analyze.ipynb", "-p", "paper", folder)
    assert done.returncode == 0, done.stderr
    cell = nbformat.v4.new_code_cell("print(board)", outputs=[nbformat.v4.new_output("stream", text=HOSTILE)])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "notebooks/hostile.ipynb")
    done = run("html", folder / "notebooks", folder / "html")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "html/index.html")
    return folder / "html"


def test_the_index_leads_to_every_page(pages: Path) -> None:
    links = re.findall(r'href="([^"]+)"', (pages / "index.html").read_text())
    assert links == ["analyze.html", "hostile.html"]


@pytest.mark.parametrize("name", ["index", "analyze", "hostile"])
def test_a_page_asks_no_network_for_anything(pages: Path, name: str) -> None:
    text = (pages / f"{name}.html").read_text()
    head = text[: text.index("</head>")]
    assert re.search(r'<meta [^>]*http-equiv="Content-Security-Policy"', head)
    assert f'content="{site.POLICY}"' in head
    assert not re.search(r"<(script|link|iframe)\b", text)
    assert not re.search(r'\bsrc="(?!data:)', text)
    assert not re.search(r"url\((?!data:|#|&quot;data:|\"data:|'data:)", text)


def test_a_figure_s_finding_is_said_to_those_who_cannot_see_it(pages: Path) -> None:
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', (pages / "analyze.html").read_text())
    shipped = json.loads((paths.PAPER / "reference/alt.json").read_text())
    assert [html.unescape(alt) for alt in alts] == list(shipped.values())
    assert all(len(alt) > 80 for alt in alts)


def test_what_a_board_said_is_shown_as_text(pages: Path) -> None:
    text = (pages / "hostile.html").read_text()
    assert "&lt;script&gt;" in text
    assert HOSTILE not in text


def test_what_is_no_notebook_is_refused_in_one_line(tmp_path: Path) -> None:
    for text in ("", "{}", "[1]", "no JSON"):
        (tmp_path / "x.ipynb").write_text(text)
        assert "x.ipynb is no notebook" in refused(run("html", tmp_path, tmp_path / "out"))
