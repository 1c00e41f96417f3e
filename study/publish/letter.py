"""The cover letter: from a summary to the text that a list accepts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import pandas as pd

from study import paths
from study.analyze import (
    chart,
    compare,
    cost,
    history,
    life_tables,
    lives,
    patches,
    played,
    predicted,
    predicted_tables,
    receipt_tables,
    receipts,
    tables,
    texts,
)
from study.campaign import Campaign
from study.campaign.files import write_whole
from study.campaign.names import system
from study.design import Kernel, options
from study.errors import BadData, BadRequest
from study.factors import GUESTS, IMPORTED, KVM, RIG
from study.publish import answer, findings, headline
from study.publish.prose import LINK, WIDTH, broken, check, shown_folder, with_first_line, wrap

LETTERS = ("letter.txt", "letter-more.txt")
PAGE = {False: 90, True: 60}  # lines of a letter beside the author's words; with a series fewer
DISPENSABLE = ("excerpt", "explained", "changes")  # what of a letter that is too long is in letter-more.txt alone, in this order
ASKED = ("untouched", "mde")  # the guests of the question, which the chart shows
MARKS = 24  # lines of marks that a chart in a letter may have


@dataclass(frozen=True)
class Letter:
    """What a letter says beside the figures.

    Parameters
    ----------
    title : str
        Of the series.
    version : int
        Of the series, from 1 up.
    words : str
        What the author says of the series, as own_words() reads it.
    changes : str
        What moved since the last version, as changes() says it.
    url : str
        Where data and page are; empty if that is nowhere.

    Raises
    ------
    BadRequest
        If title, version or URL cannot be in a letter.
    """

    title: str
    version: int = 1
    words: str = ""
    changes: str = ""
    url: str = ""

    def __post_init__(self) -> None:
        title, version = self.title, self.version
        if not title.strip() or not title.isascii() or not title.isprintable() or len(title) > WIDTH or title != title.strip():
            raise BadRequest(f"title is {title!r}: it must be one line of ASCII, at most {WIDTH} columns")
        if title.startswith("["):
            raise BadRequest(f"title is {title!r}: git and b4 take what is in brackets for a prefix; leave it out")
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise BadRequest(f"version is {version!r}: it must be a whole number of at least 1")
        if self.url and not re.fullmatch(r"https?://[!-~]+", self.url):
            raise BadRequest(f"url is {self.url!r}: it must be an address that starts with https:// or http://")


def render(
    campaign: Campaign,
    values: pd.DataFrame,
    summary: pd.DataFrame,
    fits: Mapping[str, cost.Fit] = MappingProxyType({}),
    *,
    letter: Letter,
    smallest: float = compare.SMALLEST_EFFECT,
) -> dict[str, str]:
    """Return the letter, one page, and all that does not fit on it, by the names of their files.

    The first line of the letter is its subject, the rest the body, as git's branch descriptions want it.

    Parameters
    ----------
    campaign : Campaign
        What was measured.
    values, summary : DataFrame
        Of that campaign.
    fits : mapping of str to Fit
        The cost model of each board that has one.
    letter : Letter
        What it says beside the figures.
    smallest : float
        The share below which a difference is of no interest; the summary's.

    Raises
    ------
    StudyError
        If the letter would not be accepted by a list.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"wrap": wrap, "plural": tables.plural, "underlined": lambda text: f"{text}\n{'-' * len(text)}"}
    said, links = split_links(letter.words)
    known = contents(campaign, values, summary, fits, smallest) | {
        "title": letter.title,
        "version": letter.version,
        "changes": letter.changes,
    }
    known |= {"words": said, "links": links, "url": letter.url}

    def made(name: str, known: Mapping[str, Any]) -> str:
        text = environment.get_template(f"{name}.j2").render(known).encode("ascii", "replace").decode()
        text = re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"  # b4 drops the second of two empty lines
        check(text)
        return text

    page, more = LETTERS
    most = PAGE[bool(known["series"])] + len(letter.words.splitlines())
    for count in range(len(DISPENSABLE) + 1):
        text = made(page, known | dict.fromkeys(DISPENSABLE[:count], ""))
        if len(text.splitlines()) <= most:
            break
    return {page: text, more: made(more, known)}


def own_words(path: Path) -> str:
    """Return what the author says of the series: the text of a file, which is made if it is missing, and never overwritten.

    Raises
    ------
    BadData
        If a line of it cannot be in a letter.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (paths.TEMPLATES / path.name).read_text())
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.isascii() or line.startswith("#") or any(not letter.isprintable() for letter in line):
            why = "a letter is plain ASCII, without tabs, and git takes what starts with # for a comment"
            raise BadData(f"{path}, line {number}: {why}: {line[:60]!r}")
        if len(line) > WIDTH and not LINK.match(line):
            raise BadData(f"{path}, line {number}: {len(line)} columns; break it at {WIDTH}, only a link may be longer")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def split_links(words: str) -> tuple[str, str]:
    """Return the author's paragraphs, and apart from them the last one, if all of its lines are links or tags."""
    said, _, last = words.rpartition("\n\n")
    return (said.rstrip("\n"), last) if last and all(map(LINK.match, last.splitlines())) else (words, "")


def contents(
    campaign: Campaign, values: pd.DataFrame, summary: pd.DataFrame, fits: Mapping[str, cost.Fit], smallest: float
) -> dict[str, Any]:
    """Return what the template of the letter is filled with."""
    series, visits, lived = campaign.series(), compare.medians(values), lives.frame(campaign)
    moved, judged = patches.moves(visits, series, smallest), lives.judged(lived, visits, smallest)
    grown = history.NOTHING if series else history.generations(visits, smallest)
    timed = compare.timed(summary)
    focus = timed if IMPORTED in campaign.designs else compare.in_focus(timed)
    linux, rigs = compare.of_kind(timed, KVM), compare.of_kind(timed, RIG)
    answered = findings.answers(summary, list(dict.fromkeys(rigs["board"])))
    shown = focus[~focus["board"].isin(answered)] if not series else focus[:0]
    factors = {kind: design.factors for kind, design in campaign.designs.items()}
    on_linux = factors.get(KVM)
    machines = (
        f"{row.board}, {'kernels of the series' if series else system(row.board, row.kernel)} ({row.mode})"
        for row in compare.in_order(timed.drop_duplicates(["board"] if series else ["board", "kernel"])).itertuples()
    )
    made_of = receipts.frame(campaign)
    on_cores = predicted.of_campaign(made_of, series)
    excerpts = {
        "receipts": receipt_tables.excerpt(receipts.telling(made_of, series)),
        "lives": life_tables.excerpt(lived, judged),
    }
    top = headline.headline(summary, grown, moved, series)
    first = answer.answer(summary, moved if series else answer.NO_MOVES, judged)
    return {
        "answer": first,
        "where": findings.where(campaign, timed),
        "headline": top,
        "explained": headline.explained(" ".join([first, *(part for part in top if "\n" in part)]), summary, series),
        "excerpt": excerpts["lives"] or excerpts["receipts"],
        "measured": findings.measured(campaign, timed),
        "rule": findings.rule(timed),
        "silent": findings.silent(timed),
        **excerpts,
        "predicted": predicted_tables.telling(on_cores).rstrip("\n") if on_cores else "",
        "emulated": list(dict.fromkeys(timed[timed["metric"] == "clock"]["board"])),
        "all_emulated": bool((timed["metric"] == "clock").all()),
        "imported": IMPORTED in campaign.designs,
        "incomplete": campaign.incomplete(),
        "notes": campaign.notes(),
        "series": series,
        "commits": patches.commits(series) if series else [],
        "patches": patches.table(moved, series) if series else "",
        "played": played.sentence(campaign.sequences()),
        "sequences": played.table(campaign.sequences()).rstrip("\n") if campaign.sequences() else "",
        "built": findings.built(campaign) if series else "",
        "findings": [f"On {board} {said}." for board, two in patches.whole(moved).items() for said in two]
        if series
        else findings.findings(compare.of_kind(summary, KVM)),
        "results": [(tables.place(rows), with_first_line(rows, tables.costs(rows))) for _, rows in tables.contexts(shown)],
        "charts": charts(shown),
        "sizes": "" if shown.empty else tables.sizes(shown),
        "generations": texts.generations(grown),
        "history": tables.generations(grown[grown["exit"].isin(list(grown["exit"])[:1])]).rstrip("\n"),
        "hosts": findings.hosts(timed),
        "cases": tables.CASES,
        "answers": list(answered.values()),
        "traps": findings.traps(summary),
        "meetings": findings.meetings(fits),
        "lacking": tables.lacking(shown),
        "control_arm": findings.control_arm(summary),
        "boards": list(dict.fromkeys(machines)),
        "linux": on_linux if not linux.empty else None,
        "rig": factors.get(RIG) if not rigs.empty else None,
        "module": on_linux.by_module if on_linux else [],
        "fair": on_linux is not None and on_linux.baseline in on_linux.by_module,
        "told": [f"{kernel.told} on {kernel.name}" for kernel in map(Kernel.of, on_linux.kernels) if kernel.told]
        if on_linux
        else [],
        "baseline": on_linux.baseline if on_linux else "",
        "agreement": compare.agreement(summary),
        "draw": drawing(campaign, smallest),
        "measure": measuring(campaign, list(dict.fromkeys(lived["board"]))),
        "digest": campaign.digest(),
    }


def drawing(campaign: Campaign, smallest: float) -> str:
    """Return the command that draws all of a campaign again, by the same share that matters."""
    chosen = "" if smallest == compare.SMALLEST_EFFECT else f" SMALLEST={tables.percent(smallest)}"
    return broken(f"make figures mail CAMPAIGN={shlex.quote(shown_folder(campaign))}{chosen}")


def charts(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return a heading and a dot-and-interval chart of ratios for each board and kernel, on its first exit.

    The guests of the question are shown; where nobody measured these, as of imported results, all, but at most MARKS lines.
    """
    found = []
    for _, own in rows.groupby(["board", "kernel"], sort=False):
        _, here = next(iter(tables.contexts(own)))
        asked = here[here["guest"].isin(ASKED)] if set(ASKED) <= set(here["guest"]) else here.head(MARKS)
        found.append((f"{tables.place(asked)}: ratio to {tables.against(asked)}", ratio_chart(asked)))
    return [(heading, drawn) for heading, drawn in found if drawn]


def ratio_chart(rows: pd.DataFrame) -> str:
    """Return a dot-and-interval chart of ratios to the baseline, guest by guest; empty where there is no ratio.

    Parameters
    ----------
    rows : DataFrame
        The summary of one board, exit and host state.
    """
    compared = rows[(rows["verdict"] != compare.BASELINE) & rows["ratio"].notna()]
    groups = {
        str(guest): [
            chart.Mark(tables.compared_name(row), row.ratio, row.ratio_low, row.ratio_high,
                       f"{row.ratio:.3f} {tables.verdict(row)}")
            for row in cells.itertuples()
        ]
        for guest, cells in compared.groupby("guest", sort=False)
    }  # fmt: skip
    return chart.intervals(groups, "guest, strategy", at=1.0)


def measuring(campaign: Campaign, homes: Sequence[str] = ()) -> list[str]:
    """Return the lines of the command that measures anew, one for boards of equal designs; none for imported results.

    Parameters
    ----------
    campaign : Campaign
        What was measured.
    homes : sequence of str
        The boards on which real guests lived: one line is for these.
    """
    if IMPORTED in campaign.designs:
        return []
    if series := campaign.series():
        tip = series["patches"][-1]["commit"]
        where = f"REPO=../linux BASE={series['base']['commit']} BRANCH={tip}"
        if "lines" in series:
            where = f"SERIES={shlex.quote(series['lines'])}"
        words = f"make series {where} CAMPAIGN=data/again"
        return [broken(f"{words}{' ENDS=1' if series['ends'] else ''}")]
    boards: dict[str, list[str]] = {}
    for board in campaign.boards():
        boards.setdefault(options(campaign.design_of(board).factors), []).append(board)
    commands = [("collect", asked, names) for asked, names in boards.items()]
    if homes:
        commands.append(("guests", options(campaign.designs[GUESTS].factors), list(homes)))
    loop = "for b in {}; do .venv/bin/study {} --board $b --campaign data/again {}; done"
    return [broken(loop.format(shlex.join(names), command, asked)) for command, asked, names in commands]
