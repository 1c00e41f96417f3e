"""Static HTML: each executed notebook as one file that asks the network for nothing, and an index of campaigns."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import pandas as pd

from study import paths
from study.analyze import compare, frame, history, lives, patches, tables
from study.analyze.verdict import share
from study.campaign import Campaign
from study.campaign.files import write_whole
from study.campaign.names import slug, system
from study.campaign.sums import SUMS
from study.errors import BadData, BadRequest, StudyError
from study.publish import answer, findings
from study.publish.inline import inline

TEMPLATES = paths.TEMPLATES / "html"
LARGEST = 1_000_000  # bytes of a page
# The files that are made with a page and lie beside it, and what each is.
BESIDE = {
    "letter.txt": "the cover letter",
    "tables.txt": "every table, as plain text",
    "tables.md": "every table, as Markdown",
    "receipts.txt": "what round trips are made of, as plain text",
    "predicted.txt": "what round trips would take on real cores, a prediction, as plain text",
    "guests.txt": "what real guests did and what that cost, as plain text",
    "figures.md": "what each figure shows",
    "alt.json": "the same, for programs",
}
PAGES = {"analyze": "figures and tables", "cover-letter": "the cover letter", "collect": "the measurement"}
FIGURES = {"svg": "SVG", "png": "PNG", "txt": "plain text"}
# What the output of a notebook may hold; all else is taken out. Beside it, the policy lets nothing run or load.
TAGS = {"a", "b", "br", "caption", "code", "em", "h1", "h2", "h3", "h4", "hr", "li", "ol", "p", "pre", "strong", "table", "tbody",
        "td", "th", "thead", "tr", "ul"}  # fmt: skip
ATTRIBUTES = {"*": ["id"], "a": ["href"], "td": ["class"], "th": ["class", "scope"]}
OWN, FOLDED, LONG = "own", "folded", "long"  # classes of headings; what is long is folded and not printed
HEADING, CONTENT = re.compile(r"(#+) "), re.compile(r"<(td|p|pre|svg)\b")
SHORT = 30  # characters of a cell that is not broken into lines
RIGHT, LEFT = ' style="text-align: right;"', ' style="text-align: left;"'


@dataclass(frozen=True)
class Shown:
    """A campaign with executed notebooks.

    Parameters
    ----------
    campaign : Campaign
        Its data.
    folder : path
        What is made from them: figures, tables, letter, and a folder of executed notebooks.
    """

    campaign: Campaign
    folder: Path

    @property
    def notebooks(self) -> list[Path]:
        """The executed notebooks: the analysis first, how it was measured last."""
        found = sorted(self.folder.glob("notebooks/*.ipynb"))
        order = list(PAGES)
        return sorted(found, key=lambda path: next((n for n, name in enumerate(order) if path.stem.startswith(name)), len(order)))

    def figure(self, prefix: str) -> str:
        """Return the first of its figures, which shows what came out, as an element of a page; empty if there is none."""
        alts = self.folder / "alt.json"
        for name, alt in (json.loads(alts.read_text(encoding="utf-8")) if alts.exists() else {}).items():
            return inline((self.folder / f"{name}.svg").read_text(encoding="utf-8"), alt, prefix)
        return ""

    def smallest(self) -> float:
        """Return the share below which the analysis took a difference to be of no interest."""
        analysis = self.folder / "notebooks" / "analyze.ipynb"
        try:
            parameters = json.loads(analysis.read_text(encoding="utf-8"))["metadata"].get("papermill", {}).get("parameters", {})
            return share(str(parameters.get("smallest", compare.SMALLEST_EFFECT)), "smallest")
        except (ValueError, LookupError, TypeError, AttributeError):
            raise BadData(f"{analysis} is no notebook; make it again with: make analyze mail") from None

    def stale(self) -> bool:
        """Say whether the data have changed since the analysis was executed."""
        analysis = self.folder / "notebooks" / "analyze.ipynb"
        return not analysis.exists() or self.campaign.digest() not in analysis.read_text(encoding="utf-8", errors="replace")


def build(campaigns: Sequence[Path], out: Path, paper: Path = paths.PAPER, progress: Callable[[str], object] = print) -> Path:
    """Write a page for each executed notebook of some campaigns, their raw data beside it, and an index.

    Parameters
    ----------
    campaigns : sequence of path
        Folders of campaigns. The first must be whole, and analysed as it is; of the others those that are not are left out,
        and named.
    out : path
        Folder of the pages.
    paper : path
        Where a folder of each campaign's name has its figures, tables, letter, and executed notebooks.
    progress : callable
        Is told what is left out.

    Returns
    -------
    path
        The index.

    Raises
    ------
    BadRequest
        If the first campaign has no executed notebook, or one of other data.
    BadData
        If a file is no notebook, or a page grows too large.
    """
    if not campaigns:
        raise BadRequest(
            f"{paths.DATA} holds no campaign that was analysed; make one with: make analyze mail CAMPAIGN=data/reference"
        )
    shown = []
    for number, folder in enumerate(campaigns):
        try:
            shown.append(_analysed(folder, paper))
        except StudyError as error:
            if number == 0:
                raise
            progress(f"left out: {error}")
    pages = Pages(out)
    parts = [{**said, **_write(one, pages)} for one, said in shown]
    method = [
        pages.notebook(path, "simulation", [], [(f"{path.stem}.txt", "its table")], {})
        for path in sorted(paper.glob("simulation/notebooks/*.ipynb"))
    ]
    _copy(paper / "simulation", out / "simulation", method)
    return pages.index(parts, method)


def _analysed(folder: Path, paper: Path) -> tuple[Shown, dict[str, Any]]:
    """Return a campaign that was analysed as it is, and what the index says of it."""
    campaign = Campaign(folder)
    one = Shown(campaign, paper / campaign.name)
    if one.stale():
        advice = f"make it with: make analyze mail CAMPAIGN={shlex.quote(str(folder))}"
        raise BadRequest(f"{one.folder} holds no analysis of {folder} as it is now; {advice}")
    return one, about(campaign, one.smallest())


def _write(one: Shown, pages: Pages) -> dict[str, Any]:
    """Write the pages of one campaign and what lies beside them; return where they are."""
    name = slug(one.campaign.name)
    folder = pages.out / name
    folder.mkdir(parents=True, exist_ok=True)
    raw = f"{name}.zip"
    archive(one.campaign, folder / raw)
    beside = [(raw, "the raw data: every visit, every boot, and their digests")]
    beside += [(file, words) for file, words in BESIDE.items() if (one.folder / file).exists()]
    _copy(one.folder, folder, one.notebooks)
    files = {
        drawn.stem: [(words, f"{drawn.stem}.{ending}") for ending, words in FIGURES.items()]
        for drawn in sorted(one.folder.glob("*.svg"))
    }
    made = [pages.notebook(path, name, one.notebooks, beside, files) for path in one.notebooks]
    return {
        "anchor": f"campaign-{name}",
        "figure": one.figure(f"{name}-"),
        "pages": [(f"{name}/{path}", text) for path, text in made],
        "raw": f"{name}/{raw}",
    }


def _copy(source: Path, folder: Path, needed: Sequence[Any]) -> None:
    """Copy the files of a campaign's paper folder beside its pages."""
    if not needed:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.suffix.removeprefix(".") in (*FIGURES, "md", "json") and path.is_file():
            shutil.copyfile(path, folder / path.name)


def _exporter() -> Any:
    """Return what makes HTML of a notebook: nbconvert, with the study's templates and those that were installed with nbconvert."""
    from jupyter_core.paths import ENV_JUPYTER_PATH
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    class Exporter(HTMLExporter):
        def get_prefix_root_dirs(self) -> list[str]:  # a user's of the same name would come first
            return ENV_JUPYTER_PATH

    exporter: Any = Exporter
    made = exporter(
        template_name="study", extra_template_basedirs=[str(TEMPLATES)], exclude_input_prompt=True, exclude_output_prompt=True,
        exclude_anchor_links=True, config=Config({"CoalesceStreamsPreprocessor": {"enabled": True}}),
    )  # fmt: skip
    for name, of in {"clean": clean, "inline": inline, "told": told}.items():
        made.register_filter(name, of)
    return made


class Pages:
    """The pages that are written to a folder, all with the same style, script and policy.

    Parameters
    ----------
    out : path
        The folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        style, *scripts = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "sort.js", "prices.js"))
        self.common = {"style": style, "scripts": scripts, "policy": policy(style, scripts)}
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
            autoescape=True,
        )  # fmt: skip
        self.exporter = _exporter()

    def notebook(
        self,
        source: Path,
        folder: str,
        others: Sequence[Path],
        beside: Sequence[tuple[str, str]],
        files: Mapping[str, Sequence[tuple[str, str]]],
    ) -> tuple[str, str]:
        """Write the page of an executed notebook; return its name, and what it is.

        Parameters
        ----------
        source : path
            The notebook.
        folder : str
            The folder of the page, in the folder of all pages.
        others : sequence of path
            The notebooks of the same campaign, to which the page links.
        beside : sequence of tuple
            Files beside the page, and what they are.
        files : mapping
            For each figure the files of it.
        """
        try:
            node = with_content(nbformat.read(source, as_version=4))
            body, _ = self.exporter.from_notebook_node(node, resources={"study_files": dict(files)})
        except StudyError:
            raise
        except Exception:  # whatever nbformat, nbconvert and their parsers meet in a file that is none
            raise BadData(f"{source} is no notebook; make it again with: make analyze mail") from None
        lead, text, contents, title = finish(body)
        links = [*((f"{path.stem}.html", what(path)) for path in others if path != source), *beside]
        named = f"{title or source.stem}: {folder}"
        self._write(
            self.out / folder / f"{source.stem}.html", "page.html.j2", title=named, lead=lead, body=text, contents=contents, links=links,
            home="../index.html",
        )  # fmt: skip
        return f"{source.stem}.html", what(source)

    def index(self, campaigns: Sequence[Mapping[str, Any]], method: Sequence[tuple[str, str]]) -> Path:
        """Write the index of campaigns, and return its path."""
        rows = [{**row, "campaign": one["name"], "page": one["pages"][0][0]} for one in campaigns for row in one["boards"]]
        return self._write(
            self.out / "index.html", "index.html.j2", title="Debug registers at guest entry and exit on ARM", campaigns=campaigns,
            rows=rows, home="", links=[],
            method=[(f"simulation/{path}", text) for path, text in method],
        )  # fmt: skip

    def _write(self, path: Path, template: str, **values: Any) -> Path:
        text = self.environment.get_template(template).render(**self.common, **values)
        if len(text.encode()) > LARGEST:
            raise BadData(
                f"{path} would have {len(text.encode())} bytes, more than {LARGEST}; draw smaller figures: make analyze PIXELS=1000"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
        return path


def what(notebook: Path) -> str:
    """Return in words what the page of a notebook holds."""
    for name, words in PAGES.items():
        if notebook.stem.startswith(name):
            return f"{words}{notebook.stem.removeprefix(name).replace('-', ' of ', 1)}"
    return notebook.stem


def policy(style: str, scripts: Sequence[str]) -> str:
    """Return the content security policy of a page: it loads nothing, and nothing runs but its own scripts and style."""
    style_hash, *hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, *scripts))
    allowed = " ".join(f"'sha256-{script_hash}'" for script_hash in hashes)
    return f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; script-src {allowed}; base-uri 'none'; form-action 'none'"


def clean(html: str) -> str:
    """Return the HTML of an output or of prose with nothing in it that could run, load or look like another page."""
    import bleach
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html.replace(RIGHT, ' class="r"').replace(LEFT, ""), "html.parser")
    for element in soup(["script", "style"]):  # bleach would leave what is in them, as text
        element.decompose()
    return str(bleach.clean(str(soup), tags=TAGS, attributes=ATTRIBUTES, protocols={"https", "http"}, strip=True))


def with_content(node: Any) -> Any:
    """Return a notebook without the sections whose cells have shown nothing, be it with all that is below them."""
    kept: list[Any] = []
    for level, cells in reversed(_sections(node.cells)):
        code = [cell for cell in cells if cell.cell_type == "code"]
        below = kept and kept[0][0] > level
        if level < 2 or below or not code or any(_shows(output) for cell in code for output in cell.outputs):
            kept.insert(0, (level, cells))
    node.cells = [cell for _, cells in kept for cell in cells]
    return node


def _sections(cells: Sequence[Any]) -> list[tuple[int, list[Any]]]:
    """Return the cells of a notebook by section, each with the level of its heading."""
    sections: list[tuple[int, list[Any]]] = [(0, [])]
    for cell in cells:
        heading = HEADING.match(cell.source) if cell.cell_type == "markdown" else None
        if heading:
            sections.append((len(heading[1]), []))
        sections[-1][1].append(cell)
    return sections


def _shows(output: Mapping[str, Any]) -> bool:
    """Say whether an output has something to see: not a table without a row."""
    data = output.get("data", {})
    html = str(data.get("text/html", data)).replace(tables.prose(tables.UNMEASURED, "html"), "")
    return bool(str(output.get("text", "")).strip() or set(data) - {"text/html", "text/plain"} or CONTENT.search(html))


def told(html: str, tags: Sequence[str]) -> str:
    """Return the HTML of prose, its heading marked as one of the notebook's own, and whether what is below it is to be folded, or is long."""
    marks = " ".join([OWN, *(tag for tag in (FOLDED, LONG) if tag in tags)])
    return re.sub(r"<(h\d)", rf'<\1 class="{marks}"', html, count=1)


def finish(body: str) -> tuple[str, str, list[tuple[str, str]], str]:
    """Make a page of what nbconvert wrote: tables that scroll and can be reached by keyboard, headings that can be linked to.

    Returns
    -------
    lead, text : str
        The page's content, to the first heading of the second level and from there.
    contents : list of tuple
        Anchor and text of each heading of the second level.
    title : str
        The first heading.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(body, "html.parser")
    taken: dict[str, int] = {}
    contents = []
    for heading in soup.find_all(["h1", "h2", "h3"]):
        text = heading.get_text().strip()
        base = slug(text).strip("-").lower() or "part"
        taken[base] = taken.get(base, 0) + 1
        heading["id"] = base if taken[base] == 1 else f"{base}-{taken[base]}"
        if heading.name == "h2":
            contents.append((str(heading["id"]), text))
    for number, table in enumerate(soup.find_all("table"), 1):
        near = table.find_previous(["h2", "h3", "h4"])
        about = f"Table {number}" + (f": {near.get_text().strip()}" if near else "")
        table.wrap(soup.new_tag("div", attrs={"class": "wide", "tabindex": "0", "role": "region", "aria-label": about}))
        for head in table.select("thead th"):
            head["scope"] = "col"
        for cell in table.select("tbody td"):
            if len(cell.get_text()) > SHORT:
                cell["class"] = "long"
    first = soup.find("h1")
    contents.append(("files", "Files beside this page"))
    second = soup.find("h2")
    below = [second, *second.find_next_siblings()] if second else []
    text = fold([element.extract() for element in below])
    return str(soup), text, contents, first.get_text().strip() if first else ""


def fold(elements: Sequence[Any]) -> str:
    """Return elements as a page has them: what is below a heading that is to be folded behind it, to be opened."""
    parts: list[str] = []
    closes = 0  # the level of the heading whose part is open; 0 for none
    for element in elements:
        marks = element.get("class", [])
        level = int(element.name[1]) if OWN in marks else 0
        if closes and 0 < level <= closes:
            parts.append("</details>")
            closes = 0
        if FOLDED in marks and not closes:
            kind = f' class="{LONG}"' if LONG in marks else ""
            parts.append(f"<details{kind}><summary>{element}</summary>")
            closes = level
        else:
            parts.append(str(element))
    return "\n".join([*parts, *["</details>"] * bool(closes)])


def archive(campaign: Campaign, path: Path) -> None:
    """Write all that is raw of a campaign, and its sums, into a zip file; the same data give the same bytes."""
    sums = campaign.folder / SUMS
    aside = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for source in [*campaign.raw_files(), *([sums] if sums.exists() else [])]:
            name = f"{slug(campaign.name)}/{source.relative_to(campaign.folder).as_posix()}"
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            file.writestr(entry, source.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    aside.replace(path)


def about(campaign: Campaign, smallest: float = compare.SMALLEST_EFFECT) -> dict[str, Any]:
    """Return what the index says of a campaign: what was compared, on which boards, and what came out."""
    values, series = frame.tidy(campaign), campaign.series()
    summary = compare.summarise(values, campaign.baselines(), smallest)
    timed = compare.timed(summary)
    strategies = list(dict.fromkeys(timed["strategy"]))
    guests = list(dict.fromkeys(timed["guest"]))
    boards = [_board(campaign, board, rows) for board, rows in timed.groupby("board", sort=False)]
    visits = compare.medians(values)
    moved = patches.moves(visits, series, smallest)
    if series:
        boards = [row | _of_series(moved, series, row["board"]) for row in boards]
        strategies = [f"{series['base']['describe']} and {tables.plural(len(series['patches']), 'commit')} of {series['branch']}"]
    return {
        "answer": answer.answer(summary, moved, lives.judged(lives.frame(campaign), visits, smallest)),
        "asked": "What a patch series moves." if series else "What monitor mode costs a guest that enables nothing.",
        "name": campaign.name,
        "emulated": any(row["emulated"] for row in boards),
        "digest": campaign.digest(),
        "compared": ", ".join(strategies),
        "guests": f"{', '.join(guests)}; exits: {', '.join(dict.fromkeys(timed['exit']))}",
        "control": findings.control_arm(summary).removeprefix("Control arm: "),
        "boards": boards,
    }


def _board(campaign: Campaign, board: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Return the row of one board in the index."""
    boots = [facts for facts in map(campaign.facts, campaign.boots()) if facts["board"] == board]
    days = sorted({str(facts.get("started") or facts.get("imported") or "-")[:10] for facts in boots})
    shown = compare.in_focus(rows)
    compared = shown[(shown["verdict"] != compare.BASELINE) & (shown["arm"] == "main")]
    control = compare.control_arm(rows).dropna(subset="ratio_low")
    told = int((control["verdict"] != compare.CANNOT).sum())
    counts = [int((compared["verdict"] == verdict).sum()) for verdict in (compare.LOWER, compare.HIGHER, compare.CANNOT)]
    last = rows[rows["kernel"] == compare.in_order(rows)["kernel"].iloc[-1]]
    costs = list(dict.fromkeys(cost for part in (rows, last) for found in findings.monitor_mode(part).values() for cost in found))
    word = tables.scale(rows["unit"].iloc[0])[1]
    return {
        "board": board,
        "kernel": _kernels(rows),
        "measured": days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
        "unit": tables.what(rows),
        "emulated": bool((rows["metric"] == "clock").any()),
        "finding": f"{', '.join(costs)} {word} on each hvc round trip" if costs else "",
        "counts": counts,
        "told": f"{told} of {len(control)}" if len(control) else "not known",
        "baseline": shown["baseline"].iloc[0],
        "verdicts": f"against {shown['baseline'].iloc[0]}: " + "{} lower, {} higher, {} cannot distinguish".format(*counts),
    }


def _of_series(moved: pd.DataFrame, series: Mapping[str, Any], board: str) -> dict[str, Any]:
    """Return what of a board's row is another where it measured a series: steps, and not strategies, are what differs."""
    steps = moved[(moved["board"] == board) & (moved["than"] == patches.BEFORE)]
    counts = [int((steps["verdict"] == verdict).sum()) for verdict in (compare.LOWER, compare.HIGHER, compare.CANNOT)]
    kernel = f"{series['base']['describe']} to {series['branch']} ({', '.join(dict.fromkeys(steps['mode']))})"
    return {
        "kernel": kernel,
        "finding": "; ".join(patches.whole(moved).get(board, [])),
        "counts": counts,
        "baseline": patches.BEFORE,
    }


def _kernels(rows: pd.DataFrame) -> str:
    """Return the kernels of one board, and how KVM runs; several by their versions."""
    systems = list(dict.fromkeys(system(row.board, row.kernel) + f" ({row.mode})" for row in rows.itertuples()))
    if len(systems) <= compare.MOST_KERNELS:
        return ", ".join(systems)
    versions = ", ".join(history.short(compare.in_order(rows)["kernel"]).values())
    return f"Linux {versions} ({', '.join(dict.fromkeys(rows['mode']))})"
