"""The same paper wherever it is made, and pages that work without a network, in a real browser."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from study import paths
from study.analyze import compare, cost
from study.campaign import Campaign
from study.errors import BadData
from study.publish import answer, site
from study.publish.inline import inline
from tests import processors
from tests.conftest import copy_of_checkout, refused, run, some
from tests.publish import hostile

pytestmark = pytest.mark.browser

PAGES = ["reference/index.html", "reference/reference/analyze.html", "reference/reference/cover-letter.html",
         "reference/series-debug-registers/analyze.html",
         "hostile/index.html", "hostile/evil/analyze.html", "hostile/evil/cover-letter.html"]  # fmt: skip
every_page = pytest.mark.parametrize("name", PAGES, scope="module")
SIZES = {"telephone": (360, 740), "desk": (1400, 900)}
FIRST_SCREENS = {"telephone": (390, 844), "desk": (1400, 900)}
OPEN = "document.querySelectorAll('details').forEach(one => { one.open = true; })"
# Texts that leave their figure, and pairs that lie over each other; what is turned takes more room than it fills.
LABELS = """[...document.querySelectorAll('svg[role=img]')].flatMap(figure => {
  const frame = figure.getBoundingClientRect(), told = [...figure.querySelectorAll('text')];
  const upright = told.filter(one => !/rotate/.test(one.getAttribute('transform')));
  const box = one => { const r = one.getBoundingClientRect(), e = r.height / 5; return [r.left + e, r.top + e, r.right - e, r.bottom - e]; };
  const boxes = upright.map(one => [box(one), one.textContent]);
  const out = told.filter(one => { const r = box(one); return r[0] < frame.left || r[1] < frame.top || r[2] > frame.right || r[3] > frame.bottom; });
  const over = boxes.flatMap(([a, one], n) => boxes.slice(n + 1).filter(([b]) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3])
    .map(([, other]) => one + ' | ' + other));
  return [...out.map(one => one.textContent), ...over];
})"""


# Where, when and on which processor the same paper is made twice: what differs here must not be seen in it.
PLACES = {
    "here": {
        "TZ": "EARLY-14",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONHASHSEED": "1",
        **processors.PLAIN,
    },
    "a b/there": {"TZ": "LATE+11", "LC_ALL": "C.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "2", **processors.OTHER},
}


SHIPPED = ("reference", "series-debug-registers")  # campaigns with a letter
# The command of each of these letters.
PRINTED = [
    command
    for name in SHIPPED
    for command in re.findall(r"^    (make .*)$", (paths.PAPER / name / "letter.txt").read_text(), re.MULTILINE)
]


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two checkouts in different folders, time zones, locales, and on different processors, in each of which the paper was made."""
    folder = tmp_path_factory.mktemp("checkouts")

    def make(name: str) -> Path:
        place = copy_of_checkout(folder / name)
        env = {**os.environ, **PLACES[name], "PYTHONPATH": str(place), "STUDY_CACHE": str(place / "cache")}
        for command in (*PRINTED, "make html CAMPAIGN=data/reference"):  # the environment is there, however new the lock file is
            done = subprocess.run(
                ["sh", "-ec", f"MAKEFLAGS='-o .venv/ready' {command}"],
                cwd=place,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        rows = run("summary", place / "data/reference", "--json", env=env)
        assert rows.returncode == 0, rows.stderr
        (place / "paper/summary.json").write_text(rows.stdout)
        shutil.copy(place / "data/reference/values.parquet", place / "paper")
        return place / "paper"

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(make, PLACES))


@pytest.fixture(scope="module")
def pages(papers: list[Path], reference: Campaign, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the shipped campaign, and those of a campaign that means no good."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "reference").symlink_to(papers[0] / "html")
    evil = hostile.make(reference, folder / "evil")
    paper = folder / "paper"
    words = paper / "evil" / "series.txt"
    words.parent.mkdir(parents=True)
    words.write_text(f"{hostile.SCRIPT}\n{hostile.MARKDOWN[:70]}\n")
    for name in ("analyze", "cover-letter"):
        done = run("notebook", name, paper / f"evil/notebooks/{name}.ipynb", "-p", "campaign", evil, "-p", "paper", paper)
        assert done.returncode == 0, done.stderr
    done = run("html", evil, "--paper", paper, "--out", folder / "hostile")
    assert (done.returncode, done.stdout.strip()) == (0, str(folder / "hostile/index.html")), done.stderr
    return folder


def test_the_command_of_a_letter_makes_the_letter(papers: list[Path]) -> None:
    assert [f"make figures mail CAMPAIGN=data/{name}" for name in SHIPPED] == PRINTED
    for paper, campaign in itertools.product(papers, SHIPPED):
        for name in ("letter.txt", "letter-more.txt"):
            assert (paper / campaign / name).read_bytes() == (paths.PAPER / campaign / name).read_bytes()


# The folded parts of a page, and whether a printed page has them.
PRINTED_FOLDS = {
    "The other exits": True,
    "Function by function, in numbers": False,
    "Core by core, and what was published of hypercalls": False,
    "The other guests, and each round trip by itself": False,
    "What a round trip on the rig consists of": True,
    "What these are made of, by receipts": False,
    "What the prices are applied to": False,
    "What was published": False,
    "The same on the rig": True,
    "What the module counted, and whether anything drifted": False,
    "Every cell, compared with the baseline": False,
    "Data and provenance": False,
}


class Visit:
    """A page that is open in the browser, and all that it asked for or complained of."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page, self.asked, self.said = page, list[str](), list[str]()
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))
        page.goto(path.as_uri())


@pytest.fixture(scope="module", params=SIZES)
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    return SIZES[request.param]


@pytest.fixture(scope="module")
def visit(chromium: Browser, pages: Path, name: str, size: tuple[int, int]) -> Iterator[Visit]:
    """A page that is loaded once for all that is looked at in it."""
    context = chromium.new_context(viewport={"width": size[0], "height": size[1]})
    yield Visit(context.new_page(), pages / name)
    context.close()


def test_all_that_is_shipped_is_made_again_without_an_emulator(papers: list[Path]) -> None:
    for campaign, command in zip(SHIPPED, PRINTED, strict=True):
        shipped, drawn = paths.PAPER / campaign, papers[0] / campaign
        ours, theirs = (
            {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} for folder in (drawn, shipped)
        )
        assert some(ours.keys(), 15) and ours.keys() == theirs.keys(), command
        assert [name for name in ours if ours[name] != theirs[name]] == [], f"out of date: {command}"
    assert {path.name for path in (papers[0].parent / "cache").iterdir()} == {"columns"}


def test_the_processors_do_differ() -> None:
    plain, other = (processors.looks_like(env) for env in (processors.PLAIN, processors.OTHER))
    assert plain == ([], processors.CORES[0], 1)
    assert other == (processors.FEATURES, processors.CORES[1], min(2, os.cpu_count() or 1))


def test_paper_pages_and_numbers_are_the_same_whatever_folder_time_zone_locale_and_processor(papers: list[Path]) -> None:
    here, there = (
        {path.relative_to(paper): path.read_bytes() for path in paper.rglob("*") if path.is_file()} for paper in papers
    )
    assert here.keys() == there.keys()
    known = ["html/index.html", "html/reference/analyze.html", "html/reference/reference.zip", "summary.json", "values.parquet"]
    assert set(map(Path, known)) <= here.keys()
    assert [name for name in here if here[name] != there[name]] == []


@every_page
def test_a_page_asks_for_nothing_and_complains_of_nothing(visit: Visit, name: str) -> None:
    visit.page.evaluate("new Promise(done => requestIdleCallback(done))")
    others = [url for url in visit.asked if not url.startswith("data:")]
    assert others == [visit.page.url]
    assert visit.said == []
    visit.page.evaluate("console.log('heard')")
    assert [visit.said.pop() for _ in list(visit.said)] == ["heard"], "or nothing would be"


@every_page
def test_nothing_of_what_a_board_says_runs(visit: Visit, name: str) -> None:
    assert visit.page.evaluate("window.taken") is None
    assert visit.page.title() != "taken"
    inside = "document.querySelectorAll('main script, main style, main iframe, main link, main meta, main img:not([src^=data])').length"
    assert visit.page.evaluate(inside) == 0
    assert (
        visit.page.evaluate("[...document.querySelectorAll('*')].some(e => [...e.attributes].some(a => /^on/.test(a.name)))")
        is False
    )
    assert visit.page.locator("a[href^='javascript']").count() == 0


@every_page
def test_a_page_fits_its_window_and_shows_all_of_itself(visit: Visit, name: str, size: tuple[int, int]) -> None:
    visit.page.evaluate(OPEN)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert visit.page.locator("#content h1").is_visible()
    hidden = [table for table in visit.page.locator("table").all() if not table.is_visible()]
    assert hidden == []
    assert visit.page.evaluate(
        "[...document.querySelectorAll('svg')].every(figure => figure.getBoundingClientRect().width >= 300)"
    )


@every_page
def test_no_label_of_a_figure_is_cut_off_or_lies_over_another(visit: Visit, name: str) -> None:
    visit.page.evaluate(OPEN)
    assert visit.page.evaluate(LABELS) == []
    if name.endswith("analyze.html"):
        assert visit.page.locator("svg[role=img] text").count() >= 80
        visit.page.evaluate("document.querySelector('svg[role=img] text').setAttribute('x', -100)")
        assert len(visit.page.evaluate(LABELS)) == 1, "or nothing would be"


@every_page
def test_the_keyboard_reaches_all_that_can_be_used(visit: Visit, name: str) -> None:
    usable = "a[href], button, input, select, summary, [tabindex='0']"
    wanted = visit.page.evaluate(f"[...document.querySelectorAll({usable!r})].filter(e => e.checkVisibility()).length")
    assert wanted > 0
    step = "(() => { const e = document.activeElement; if (e === document.body) return -1; e.reached = 1; return 1; })()"
    for _ in range(wanted):
        visit.page.keyboard.press("Tab")
        assert visit.page.evaluate(step) == 1
    missed = f"[...document.querySelectorAll({usable!r})].filter(e => e.checkVisibility() && !e.reached).map(e => e.outerHTML.slice(0, 99))"
    assert visit.page.evaluate(missed) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@every_page
def test_axe_finds_no_serious_violation(chromium: Browser, pages: Path, name: str, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": 1400, "height": 900}, color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto((pages / name).as_uri())
    told = Axe().run(page).response
    context.close()
    some(told["passes"], 10)
    found = told["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("screen", FIRST_SCREENS)
def test_a_page_answers_in_its_first_screen(chromium: Browser, pages: Path, summary: pd.DataFrame, screen: str) -> None:
    width, height = FIRST_SCREENS[screen]
    page = chromium.new_page(viewport={"width": width, "height": height})
    page.goto((pages / PAGES[1]).as_uri())
    for what in (".lead p", ".lead figure svg"):
        box = page.locator(what).first.bounding_box()
        assert box
        assert box["y"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height, what
    (said,) = re.findall(r"[\d.]+ to [\d.]+ instructions more", answer.answer(summary))[:1]
    assert said in page.locator(".lead p").first.inner_text() and "not time" in page.locator(".lead p").first.inner_text()
    page.close()


def test_one_switch_shows_all_code(chromium: Browser, pages: Path) -> None:
    page = chromium.new_page()
    page.goto((pages / PAGES[1]).as_uri())
    page.evaluate(OPEN)
    shown = "[...document.querySelectorAll('pre.code')].filter(code => code.checkVisibility()).length"
    assert page.evaluate(shown) == 0
    page.get_by_label("Show the code").focus()
    page.keyboard.press("Space")
    assert page.evaluate(shown) == page.locator("pre.code").count() >= 15
    page.close()


def test_a_dark_page_is_dark_and_a_printed_one_is_not(chromium: Browser, pages: Path) -> None:
    context = chromium.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto((pages / PAGES[1]).as_uri())
    shade = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(shade) == "rgb(22, 22, 22)"
    page.emulate_media(media="print")
    assert page.evaluate(shade) == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.locator("table").first.is_visible()
    captions = (
        "[...document.querySelectorAll('figcaption')].filter(e => !e.closest('details.long')).map(e => e.checkVisibility())"
    )
    assert all(some(page.evaluate(captions), 12))
    folds = "[...document.querySelectorAll('details')].map(e => [e.querySelector('h2, h3').textContent, e.lastElementChild.checkVisibility()])"
    assert dict(page.evaluate(folds)) == PRINTED_FOLDS
    hidden = (
        "[...document.querySelectorAll('main *')].filter(e => !e.checkVisibility() && !e.closest('details.long'))"
        ".map(e => e.closest('nav, .code')?.localName ?? e.outerHTML.slice(0, 99))"
    )
    assert set(page.evaluate(hidden)) == {"nav", "pre"}, "what a printed page leaves out is a short list"
    paper = page.pdf(format="A4")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 12
    context.close()


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_comparison_is_sorted_by_a_press_on_its_head(chromium: Browser, pages: Path, by: str) -> None:
    page = chromium.new_page()
    page.goto((pages / PAGES[1]).as_uri())
    page.evaluate(OPEN)
    table = page.locator("table", has_text="ratio to lazy").first
    head = table.locator("thead th", has_text="median")
    column = page.evaluate("head => [...head.parentNode.cells].indexOf(head)", head.element_handle())

    def press() -> list[float]:
        if by == "mouse":
            head.locator("button").click()
        else:
            head.locator("button").focus()
            page.keyboard.press("Enter")
        cells = table.locator(f"tbody tr td:nth-child({column + 1})").all_text_contents()
        return [float(cell) for cell in cells]

    before = sorted(float(cell) for cell in table.locator(f"tbody tr td:nth-child({column + 1})").all_text_contents())
    assert press() == some(before, 10)
    assert head.get_attribute("aria-sort") == "ascending"
    assert press() == before[::-1]
    assert head.get_attribute("aria-sort") == "descending"
    ratios = table.locator("thead th", has_text="ratio")
    ratios.locator("button").click()
    assert head.get_attribute("aria-sort") is None
    found = [float(text.split()[0]) for text in table.locator("tbody tr td:nth-child(4)").all_text_contents()]
    assert found == sorted(found)
    page.close()


@pytest.mark.parametrize(("trap", "access"), [(0, 0), (2000, 12), (64000.5, 7)])
def test_who_types_prices_sees_the_winner_and_is_told(
    chromium: Browser, pages: Path, summary: pd.DataFrame, trap: float, access: float
) -> None:
    """By keyboard alone; the winners are those of the cost model's own rule."""
    page = chromium.new_page()
    page.goto((pages / PAGES[1]).as_uri())
    first, second = (page.get_by_role("spinbutton", name=name) for name in ("a trap", "a debug register access"))
    first.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type(str(trap))
    page.keyboard.press("Tab")
    assert second.evaluate("input => input === document.activeElement")
    page.keyboard.type(str(access))
    rows = cost.counts(compare.in_focus(summary))
    heads = page.locator(".prices thead th").all_text_contents()[1:]
    assert heads == list(dict.fromkeys(rows["board"])) and len(heads) == 4
    won: Counter[str] = Counter()
    for line in some(page.locator(".prices tbody tr").all(), 9):
        guest, *cells = line.locator("th, td").all_text_contents()
        for board, cell in zip(heads, cells, strict=True):
            costs = cost.priced(rows[(rows["board"] == board) & (rows["guest"] == guest)], trap, access)
            name, _, margin = cell.partition(", by ")
            least, *others = sorted(costs.values())  # type: ignore[type-var]
            assert costs[name.split(" = ")[0]] == pytest.approx(least, abs=0.01)
            apart = [more - least for more in others if more - least >= 0.5]
            assert not apart or int(margin) == pytest.approx(min(apart), abs=1)
            won[name] += 1
    said = page.get_by_role("status").inner_text()
    assert all(f"{name} in {times}" in said for name, times in won.items())
    ring = page.locator("circle.mark").first
    bottom = page.locator("[id^=prices-map]").first.evaluate("map => { const box = map.getBBox(); return box.y + box.height; }")
    assert (float(ring.get_attribute("cy") or 0) == pytest.approx(bottom)) == (trap == 0)
    first.fill("-1")
    assert page.get_by_role("status").inner_text() == "A price is a number, 0 or more."
    assert page.locator(".prices tbody tr").count() == 0
    page.close()


def test_the_index_shows_each_campaign_s_sentence_and_figure(chromium: Browser, pages: Path) -> None:
    page = chromium.new_page(viewport={"width": 1400, "height": 900})
    for name, site_name in (("reference", "reference"), ("reference", "series-debug-registers"), ("hostile", "evil")):
        page.goto((pages / name / "index.html").as_uri())
        told = page.locator(f"section[aria-labelledby='campaign-{site_name}']")
        alone = told.locator(".answered svg")
        assert told.count() == 1 and alone.count() == 1
        words, alt = told.locator(".answered > p").inner_text(), alone.get_attribute("aria-label")
        page.goto((pages / name / site_name / "analyze.html").as_uri())
        assert page.locator(".lead > p").first.inner_text() == words
        assert page.locator(".lead svg").get_attribute("aria-label") == alt
    page.close()


@every_page
def test_a_page_is_one_file_of_at_most_a_megabyte(pages: Path, name: str) -> None:
    text = (pages / name).read_text()
    assert len(text.encode()) <= 1_000_000
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-")
    assert len(re.findall("sha256-", policy[1].partition("script-src")[2])) == 2
    assert "unsafe" not in policy[1]


@every_page
def test_every_link_leads_somewhere(chromium: Browser, pages: Path, name: str) -> None:
    page = chromium.new_page()
    page.goto((pages / name).as_uri())
    links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    lost = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.hash.slice(1))).length"
    )
    page.close()
    assert lost == 0
    assert links
    for link in links:
        assert link.startswith("#") or ((pages / name).parent / link).exists(), link


def test_a_figure_s_finding_is_said_to_those_who_cannot_see_it(chromium: Browser, pages: Path) -> None:
    page = chromium.new_page()
    for name, least in (("reference/reference", 6), ("reference/series-debug-registers", 3), ("hostile/evil", 6)):
        page.goto((pages / name / "analyze.html").as_uri())
        alts = page.evaluate("[...document.querySelectorAll('svg')].map(figure => figure.getAttribute('aria-label'))")
        assert len(alts) >= least
        assert all(re.search(r"\d", alt) and 80 < len(alt) <= 300 for alt in alts)
    page.close()


def test_the_index_answers_in_its_first_screen(chromium: Browser, pages: Path, summary: pd.DataFrame) -> None:
    lazy, untouched = (
        compare.in_focus(compare.timed(summary))
        .query(
            f"board == 'qemu-neoverse-n1' and strategy == 'lazy' and arm == 'main' and exit == 'hvc' and host == 'none' and guest == '{guest}'"
        )["median"]
        .item()
        for guest in ("mde", "untouched")
    )
    page = chromium.new_page(viewport={"width": 1400, "height": 900})
    page.goto((pages / "reference/index.html").as_uri())
    for text in (
        "stock, lazy, eager, control-scan",
        "Linux 6.1, 6.12, 6.18, 7.3",
        "path length in instructions, not time",
        f"lazy +{lazy - untouched:.0f} (+{lazy / untouched - 1:.0%})",
        "rig-cortex-a57",
    ):
        box = page.get_by_text(text).first.bounding_box()
        assert box
        assert box["y"] + box["height"] <= 900, text
    row = page.locator("tbody tr", has_text="qemu-neoverse-n1").filter(has_text="reference").text_content() or ""
    for text in ("reference", "6.1, 6.12", "2026-", "0 of 56", "lazy", "emulated"):
        assert text in row
    page.close()


def test_the_raw_data_beside_a_page_are_a_campaign(pages: Path, reference: Campaign, tmp_path: Path) -> None:
    with zipfile.ZipFile(pages / "reference/reference/reference.zip") as file:
        file.extractall(tmp_path)
    beside = Campaign(tmp_path / "reference")
    assert beside.digest() == reference.digest()
    assert beside.verify() == []


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "no JSON", '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [[]]}', "[" * 100_000]
)
def test_what_is_no_notebook_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.ipynb").write_text(text)
    with pytest.raises(BadData, match="bad.ipynb is no notebook; make it again with: make analyze mail"):
        site.Pages(tmp_path / "out").notebook(tmp_path / "bad.ipynb", "x", [], [], {})


def analysed(tmp_path: Path, *texts: str) -> list[object]:
    """Write an analysis of the shipped campaign that holds some texts, and return the command that makes its page."""
    folder = tmp_path / "reference/notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    cells = [nbformat.v4.new_markdown_cell(text) for text in texts]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "analyze.ipynb")
    return ["html", "data/reference", "--paper", tmp_path, "--out", tmp_path / "out"]


def test_a_campaign_that_has_changed_since_its_analysis_is_not_shown(tmp_path: Path, reference: Campaign) -> None:
    (tmp_path / "reference").mkdir()
    command = analysed(tmp_path, "digest 0000")
    assert "holds no analysis of data/reference as it is now; make it with: make analyze mail" in refused(run(*command))
    assert not (tmp_path / "out").exists()
    analysed(tmp_path, f"# A title\n\n{reference.digest()}")
    assert run(*command).returncode == 0
    assert "<title>A title: reference</title>" in (tmp_path / "out/reference/analyze.html").read_text()


def test_another_campaign_that_is_damaged_is_left_out_and_named(tmp_path: Path, reference: Campaign) -> None:
    said: list[str] = []
    analysed(tmp_path, reference.digest())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "design.json").write_text("{")
    index = site.build([reference.folder, tmp_path / "bad"], tmp_path / "out", tmp_path, said.append)
    assert "Campaign reference" in index.read_text()
    assert len(said) == 1
    assert re.match(r"left out: .*bad/design.json: it is not JSON", said[0])


def test_a_page_that_grows_too_large_is_refused(tmp_path: Path, reference: Campaign) -> None:
    command = analysed(tmp_path, reference.digest(), "word " * 200_001)
    assert re.search(r"analyze.html would have \d+ bytes, more than 1000000; draw smaller", refused(run(*command)))


def test_a_section_that_shows_nothing_is_left_out_with_its_heading() -> None:
    def cell(*html: str) -> nbformat.NotebookNode:
        return nbformat.v4.new_code_cell(
            "x", outputs=[nbformat.v4.new_output("display_data", {"text/html": text}) for text in html]
        )

    words = nbformat.v4.new_markdown_cell
    empty = "<table><thead><tr><th>a</th></tr></thead></table>"
    cells = [words("# Title"), cell(), words("## Nothing"), cell(), words("### Nothing below"), cell(empty), words("## Some"), cell(),
             words("### Below"), cell("<p>here</p>"), words("## Words alone"), words("## None"), cell("<h3>a</h3>")]  # fmt: skip
    found = site.with_content(nbformat.v4.new_notebook(cells=cells))
    assert [one.source for one in found.cells if one.cell_type == "markdown"] == [
        "# Title",
        "## Some",
        "### Below",
        "## Words alone",
    ]


@pytest.mark.parametrize("bad", ["", "<p/>", "<svg", '<html xmlns="http://www.w3.org/1999/xhtml"/>'])
def test_what_is_no_figure_is_refused(bad: str) -> None:
    with pytest.raises(BadData, match="draw it again with: make analyze"):
        inline(bad, "alt")


def test_a_figure_in_a_page_holds_nothing_that_runs_or_loads() -> None:
    bad = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="50pt" onload="a()">
      <script>a()</script><style>*{}</style><foreignObject><p/></foreignObject><a xlink:href="javascript:a()"><text>no</text></a>
      <use xlink:href="http://192.0.2.1/x#y"/><image xlink:href="data:image/svg+xml,x"/><rect style="x" fill="url(http://192.0.2.1)"/>
      <set attributeName="onclick" to="a()"/><text onclick="a()" x="1">yes</text><rect fill="url(#h)"/></svg>"""
    text = inline(bad, hostile.ATTRIBUTE)
    assert not re.search(
        r"script|style|foreign|javascript|192|onload=|onclick|data:|<set", re.sub(r'aria-label="[^"]*"', "", text)
    )
    assert ">yes</text>" in text and "url(#h)" in text and "no" not in re.findall(r">(\w+)</text>", text)
    assert "<img" not in text


def test_serve_shows_the_pages_on_this_machine_only(papers: list[Path]) -> None:
    place = papers[0].parent
    with subprocess.Popen(
        ["make", "-o", ".venv/ready", "serve", "PORT=0"], cwd=place, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    ) as server:  # fmt: skip
        assert server.stdout
        try:
            found = re.search(r"port (\d+)", server.stdout.readline())
            assert found
            port = int(found[1])
            text = urlopen(f"http://127.0.0.1:{port}/").read().decode()
            sockets = Path("/proc/net/tcp").read_text()
            assert f" 0100007F:{port:04X} " in sockets
            assert f" 00000000:{port:04X} " not in sockets
        finally:
            os.killpg(server.pid, signal.SIGTERM)
    assert "Debug registers at guest entry and exit" in text


@pytest.mark.parametrize("text", [*hostile.ALL.values(), "<table onclick=x><tr><td style='position:fixed'>y</td></tr></table>"])
def test_what_is_cleaned_holds_nothing_that_runs(text: str) -> None:
    cleaned = site.clean(text)
    assert not re.search(r"<(script|style|img|iframe|link|meta|form|svg)\b", cleaned)
    assert not re.search(r"<[^>]*\b(on\w+|style|src)=", cleaned)


def test_a_frame_as_pandas_shows_it_is_a_table_and_nothing_more() -> None:
    cleaned = site.clean(pd.DataFrame({"a": [1]})._repr_html_())
    assert "dataframe" not in cleaned
    assert "vertical-align" not in cleaned
    assert re.search(r"<td>1</td>", cleaned)
