"""The cover letter, and excerpts of it for a reply: from a summary to the text that a list accepts."""

from __future__ import annotations

import math
import re
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from study import paths
from study.analyze import chart, compare, cost, frame, history, tables, texts
from study.campaign import Campaign
from study.campaign.files import write_whole
from study.campaign.names import system
from study.design import LEAST_BOOTS, MAIN, options
from study.errors import BadData, BadRequest, StudyError
from study.factors import HOST_STATES, IMPORTED, KVM, RIG, STRATEGIES, kind_of

WIDTH = 75  # columns that a kernel list is used to
REPLY = 40  # lines that an excerpt for a reply may have
MOST_MOVED = 12  # numbers that are listed of those that moved since the last version
ASKED = ("untouched", "mde")  # the guests of the question, which the chart shows
MARKS = 24  # lines of marks that a chart in a letter may have
WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+""")  # of a command, with what is quoted in it
LINK = re.compile(r"[A-Z][A-Za-z-]*: \S")  # a link or a tag, such as Suggested-by
WHY_TRAPS_DIFFER = (
    "In Linux such a trap leaves the guest for the host, whose exit handling decodes it, and enters the guest again; the rig "
    "handles it in its exception vector, so that a guest which touches its registers pays less for each touch there."
)
LARGEST = 100_000  # bytes that a kernel list accepts


def render(
    campaign: Campaign,
    values: pd.DataFrame,
    summary: pd.DataFrame,
    fits: Mapping[str, cost.Fit] = MappingProxyType({}),
    *,
    title: str,
    version: int,
    words: str = "",
    changes: str = "",
) -> str:
    """Return the letter: its first line is the subject, the rest the body, as git's branch descriptions want it.

    Parameters
    ----------
    campaign : Campaign
        What was measured.
    values, summary : DataFrame
        Of that campaign.
    fits : mapping of str to Fit
        The cost model of each board that has one.
    title : str
        Of the series.
    version : int
        Of the series, from 1 up.
    words : str
        What the author says of the series, as own_words() reads it.
    changes : str
        What moved since the last version, as changes() says it.

    Raises
    ------
    BadRequest
        If title or version cannot be in a letter.
    StudyError
        If the letter would not be accepted by a list.
    """
    if not title.strip() or not title.isascii() or not title.isprintable() or len(title) > WIDTH or title != title.strip():
        raise BadRequest(f"title is {title!r}: it must be one line of ASCII, at most {WIDTH} columns")
    if title.startswith("["):
        raise BadRequest(f"title is {title!r}: git and b4 take what is in brackets for a prefix; leave it out")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise BadRequest(f"version is {version!r}: it must be a whole number of at least 1")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"wrap": wrap, "plural": tables.plural, "underlined": lambda text: f"{text}\n{'-' * len(text)}"}
    said, links = split_links(words)
    text = environment.get_template("letter.txt.j2").render(
        contents(campaign, values, summary, fits), title=title, version=version, words=said, links=links, changes=changes
    )
    text = re.sub(r"\n{3,}", "\n\n", text.encode("ascii", "replace").decode())  # b4 drops the second of two empty lines
    check(text)
    return text


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


def contents(campaign: Campaign, values: pd.DataFrame, summary: pd.DataFrame, fits: Mapping[str, cost.Fit]) -> dict[str, Any]:
    """Return what the template of the letter is filled with."""
    grown = history.generations(compare.medians(values))
    timed = compare.timed(summary)
    focus = timed if IMPORTED in campaign.designs else compare.in_focus(timed)
    linux, rigs = compare.of_kind(timed, KVM), compare.of_kind(timed, RIG)
    answered = answers(summary, list(dict.fromkeys(rigs["board"])))
    shown = focus[~focus["board"].isin(answered)]
    factors = {kind: design.factors for kind, design in campaign.designs.items()}
    on_linux = factors.get(KVM)
    machines = (
        f"{row.board}, {system(row.board, row.kernel)} ({row.mode})"
        for row in compare.in_order(timed.drop_duplicates(["board", "kernel"])).itertuples()
    )
    return {
        "emulated": list(dict.fromkeys(timed[timed["metric"] == "clock"]["board"])),
        "all_emulated": bool((timed["metric"] == "clock").all()),
        "imported": IMPORTED in campaign.designs,
        "incomplete": campaign.incomplete(),
        "findings": findings(compare.of_kind(summary, KVM)),
        "results": [(tables.place(rows), with_first_line(rows, tables.costs(rows))) for _, rows in tables.contexts(shown)],
        "charts": charts(shown),
        "sizes": "" if shown.empty else tables.sizes(shown),
        "generations": texts.generations(grown),
        "history": tables.generations(grown[grown["exit"].isin(list(grown["exit"])[:1])]).rstrip("\n"),
        "hosts": hosts(timed),
        "cases": tables.CASES,
        "answers": list(answered.values()),
        "traps": traps(summary),
        "meetings": meetings(fits),
        "could_see": tables.could_see(shown),
        "control_arm": control_arm(summary),
        "boards": list(dict.fromkeys(machines)),
        "linux": on_linux if not linux.empty else None,
        "rig": factors.get(RIG) if not rigs.empty else None,
        "module": [name for name in on_linux.strategies if STRATEGIES[name].module] if on_linux else [],
        "fair": on_linux is not None and STRATEGIES[on_linux.baseline].module,
        "baseline": on_linux.baseline if on_linux else "",
        "agreement": compare.agreement(summary),
        "draw": _broken(f"make setup figures mail CAMPAIGN={shlex.quote(shown_folder(campaign))}"),
        "measure": measuring(campaign),
        "digest": campaign.digest(),
    }


def with_first_line(rows: pd.DataFrame, table: str) -> str:
    """Return a table of some rows under the line that says what its figures are."""
    return f"{tables.first_line(rows)}\n{table}"


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
                       f"{row.ratio:.3f} {tables.SHORT.get(row.verdict, row.verdict)}")
            for row in cells.itertuples()
        ]
        for guest, cells in compared.groupby("guest", sort=False)
    }  # fmt: skip
    return chart.intervals(groups, "guest, strategy", at=1.0)


def answers(summary: pd.DataFrame, boards: list[str]) -> dict[str, tuple[str, str]]:
    """Return for each rig that has measured the thread's cases a heading and their table."""
    rows = compare.timed(summary)
    tabled = {board: tables.thread(summary, board) for board in boards}
    return {
        board: (
            f"{board}, hvc round trip; in brackets what it costs above no switch at all",
            with_first_line(rows[rows["board"] == board], table),
        )
        for board, table in tabled.items()
        if table
    }


def hosts(timed: pd.DataFrame) -> list[str]:
    """Return for each Linux board whose host debugged by how much that changes what a guest pays, in a sentence.

    Parameters
    ----------
    timed : DataFrame
        The timed rows of a summary.
    """
    sentences = []
    rows = compare.in_order(timed[timed["host"].isin(list(HOST_STATES)) & (timed["board"].map(kind_of) == KVM)])
    for board, own in rows[rows["arm"] == MAIN].groupby("board", sort=False):
        wide = own.pivot_table(
            index=["kernel", "strategy", "exit", "guest"], columns="host", values="median", sort=False
        ).dropna()
        if "none" not in wide or wide.shape[1] < 2 or wide.empty:
            continue
        others = [host for host in wide if host != "none"]
        far = max((wide[host] / wide["none"] - 1).abs().max() for host in others)
        guests = ", ".join(dict.fromkeys(wide.index.get_level_values("guest")))
        sentences.append(
            f"On {board} the host itself debugged, too: {', '.join(HOST_STATES[str(host)].says for host in others)}. Each of its "
            "breakpoints fired before the guest ran and again after every exit to user space. What a round trip costs changed by at "
            f"most {far:.1%} (guest: {guests})."
        )
    return sentences


def traps(summary: pd.DataFrame) -> str:
    """Return what one trapped access costs on each board, in a sentence; empty where no guest touched in every round trip."""
    traps = cost.trap_costs(summary)
    if traps.empty:
        return ""
    units = compare.timed(summary).drop_duplicates("board").set_index("board")["unit"]
    words = {board: tables.UNITS[units[board]] for board in traps.index}
    shown = ", ".join(f"{value * words[board][0]:.0f} {words[board][1]} on {board}" for board, value in traps.items())
    sentence = f"One trapped access to a debug register costs under control-scan: {shown}."
    if not {KVM, RIG} <= set(map(kind_of, traps.index)):
        return sentence
    return f"{sentence} {WHY_TRAPS_DIFFER} {ranks(summary)}".rstrip()


def meetings(fits: Mapping[str, cost.Fit]) -> list[str]:
    """Return for each Linux board from where on another way of switching wins, a sentence each."""
    sentences = []
    for board, fitted in fits.items():
        factor, word = tables.scale(fitted.unit)
        rate = fitted.interval(lambda costs: cost.touch_rate(costs, "lazy", "eager"))
        share = fitted.interval(lambda costs: cost.debugging(costs, "lazy", "control-scan", kept_on=True))
        if kind_of(board) == KVM and "control-scan" in set(fitted.cells["strategy"]) and 0 < rate[0] < 1 and 0 < share[0] < 1:
            parts = ", ".join(f"{part} {getattr(fitted.costs, part) * factor:.0f}" for part in fitted.parts[1:])
            sentences.append(
                f"On {board} the cost model ({word}: {parts}; no cell is off by more than {fitted.error:.1%}) says: with debugging "
                f"off, eager costs less than lazy from {_with_interval(*rate)} accesses to debug registers per entry on. For a guest "
                "that keeps monitor debug mode on and hardly touches the registers, control-scan costs less than lazy until "
                f"something is enabled in {_with_interval(*share)} of all entries."
            )
    return sentences


def _with_interval(middle: float, low: float, high: float) -> str:
    shown = [f"{value:.2f}" for value in (middle, low, high)]
    return shown[0] if math.isnan(low) or len(set(shown)) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


def ranks(summary: pd.DataFrame) -> str:
    """Return for which guests the boards rank lazy, eager and control-scan alike, in a sentence; empty if no guest was ranked by all."""
    table = cost.rankings(summary).dropna()
    if table.empty:
        return ""
    alike = table.nunique(axis=1) == 1
    same, apart = (", ".join(table.index[chosen]) for chosen in (alike, ~alike))
    if not apart:
        return f"All boards rank lazy, eager and control-scan alike, for every guest: {same}."
    return f"The boards rank lazy, eager and control-scan alike for these guests: {same or 'none'}; not for: {apart}."


def findings(summary: pd.DataFrame, leave: str = "hvc") -> list[str]:
    """Return what the thread asked, answered by the figures: what monitor debug mode costs a guest that enables nothing.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign.
    leave : str
        The exit to speak of.

    Returns
    -------
    list of str
        A sentence for each board; none where the campaign has not measured both guests.
    """
    found = []
    for board, more in monitor_mode(summary, leave).items():
        unit = compare.timed(summary).query("board == @board")["unit"].iloc[0]
        found.append(
            f"On {board}, a guest that keeps monitor debug mode on and enables nothing pays for it on every {leave} round "
            f"trip, in {tables.scale(unit)[1]} over an untouched guest under the same strategy: {', '.join(more)}."
        )
    return found


def monitor_mode(summary: pd.DataFrame, leave: str = "hvc") -> dict[str, list[str]]:
    """Return for each board what each strategy makes a guest pay for monitor debug mode, such as ``lazy +372 (+28%)``."""
    main = compare.timed(compare.one_kernel(summary)).query("arm == 'main' and exit == @leave and host == 'none'")
    costs = {}
    for board, rows in compare.in_order(main).groupby("board", sort=False):
        median = rows.pivot_table(index="strategy", columns="guest", values="median", sort=False)
        if not {"untouched", "mde"} <= set(median):
            continue
        factor, _ = tables.scale(rows["unit"].iloc[0])
        costs[str(board)] = [
            f"{strategy} {(mde - untouched) * factor:+.0f} ({mde / untouched - 1:+.0%})"
            for strategy, untouched, mde in median[["untouched", "mde"]].dropna().itertuples()
        ]
    return costs


def shown_folder(campaign: Campaign) -> str:
    """Return the campaign's folder as a letter names it: from the checkout, if it lies in it."""
    place = campaign.folder.absolute()
    return str(place.relative_to(paths.ROOT) if place.is_relative_to(paths.ROOT) else place)


def measuring(campaign: Campaign) -> list[str]:
    """Return the lines of the command that measures anew, one for boards of equal designs; none for imported results."""
    if IMPORTED in campaign.designs:
        return []
    boards: dict[str, list[str]] = {}
    for board in campaign.boards():
        boards.setdefault(options(campaign.design_of(board).factors), []).append(board)
    loop = "for b in {}; do .venv/bin/study collect --board $b --campaign data/again {}; done"
    return [_broken(loop.format(shlex.join(names), asked)) for asked, names in boards.items()]


def _broken(command: str) -> str:
    """Return a command on lines that are narrow enough for a letter, broken between words, and never within quotes."""
    whole = WORD.sub(lambda word: word[0].replace(" ", "\0"), command)
    lines = textwrap.wrap(whole, WIDTH - 10, break_long_words=False, break_on_hyphens=False)
    return " \\\n        ".join(lines).replace("\0", " ")


def changes(values: pd.DataFrame, earlier: Campaign, version: int) -> str:
    """Return what moved since an earlier campaign, in a paragraph and a table of what moved most.

    Parameters
    ----------
    values : DataFrame
        The frame of the campaign that is reported.
    earlier : Campaign
        What the last version of the series reported.
    version : int
        Of the series now.
    """
    name = f"v{version - 1}" if version > 1 else "before"
    cells = compare.moved(values, frame.tidy(earlier))
    both = cells.dropna(subset=["before", "now"])
    told = both[both["verdict"].isin([compare.LOWER, compare.HIGHER])]
    untold = int((both["ratio_low"].isna()).sum())
    new, gone = int(cells["before"].isna().sum()), int(cells["now"].isna().sum())
    said = [
        f"{name}: {shown_folder(earlier)} (digest {earlier.digest()[:12]}).",
        f"Of {tables.plural(len(both), 'number')} that both have, {len(told)} moved for sure by more than "
        f"{compare.SMALLEST_EFFECT:.0%}; {new} are new, {gone} are gone.",
    ]
    if untold:
        said.append(f"Of {untold} nobody can say, because one side has fewer than {LEAST_BOOTS} boots.")
    if told.empty:
        return wrap(" ".join(said))
    most = (
        told.loc[np.log(told["ratio"]).abs().round(9).sort_values(ascending=False, kind="stable").index]
        .head(MOST_MOVED)
        .sort_index()
    )
    if len(told) > len(most):
        said.append("Those that moved most:")
    body: list[list[str]] = []
    for (board, leave, host), here in most.groupby(["board", "exit", "host"], sort=False):
        body.append([f"{tables.shorten(board)} {leave}" + ("" if host == "none" else f", host {host}"), "", "", ""])
        for row in here.itertuples():
            cell = f"  {tables.shorten(row.guest)}, {tables.shorten(row.strategy)}"
            body.append([cell, tables.number(row.before, row.unit), tables.number(row.now, row.unit), f"{row.ratio - 1:+.1%}"])
    table = tables.table(["guest, strategy", name, "now", "change"], body, "lrrr", "text")
    return f"{wrap(' '.join(said))}\n\n{with_first_line(most, table)}"


def reply(campaign: Campaign, summary: pd.DataFrame, cells: str) -> str:
    """Return an excerpt of the comparison for a reply on the list: at most REPLY lines, narrow enough to be quoted.

    Parameters
    ----------
    campaign : Campaign
        What was measured.
    summary : DataFrame
        Of that campaign.
    cells : str
        Which cells: tags with values, such as ``board=qemu-neoverse-n1 guest=mde,untouched``. The baseline and its control
        arm are always shown. Unless a kernel or host is among the tags, they are what compare.in_focus() leaves.

    Raises
    ------
    BadRequest
        If no cell is meant, or more than a reply can hold.
    """
    timed = compare.timed(summary)
    named = {word.partition("=")[0] for word in cells.split()}
    rows = select(timed if named & {"kernel", "host"} else compare.in_focus(timed), cells)
    parts = []
    for _, here in tables.contexts(rows):
        parts += [textwrap.fill(tables.place(here), tables.WIDTH), with_first_line(here, tables.comparison(here))]
    found = [tables.sizes(rows) + " Ratios carry 95 % intervals over boots.", control_arm(summary)]
    text = "\n\n".join([*parts, *(textwrap.fill(line, tables.WIDTH) for line in found), f"Data: {campaign.digest()}"]) + "\n"
    text = text.encode("ascii", "replace").decode()
    if len(text.splitlines()) > REPLY:
        raise BadRequest(
            f"{cells!r} is {len(text.splitlines())} lines, and a reply should have {REPLY}: name fewer cells, "
            "such as: board=qemu-neoverse-n1 exit=hvc guest=mde"
        )
    check(text)
    return text


def select(rows: pd.DataFrame, cells: str) -> pd.DataFrame:
    """Return the rows that are named by tags with values; the baseline and its control arm stay beside other strategies.

    Raises
    ------
    BadRequest
        At a tag or value that these rows do not have.
    """
    tags = ["board", "kernel", "strategy", "guest", "host", "exit"]
    for word in cells.split():
        tag, _, values = word.partition("=")
        if tag not in tags or not values:
            raise BadRequest(
                f"cells: {word!r} is no tag with values; write such as guest=mde,untouched; tags are {', '.join(tags)}"
            )
        wanted, known = values.split(","), list(dict.fromkeys(rows[tag]))
        if unknown := [value for value in wanted if value not in known]:
            raise BadRequest(f"cells: {tag} {unknown[0]!r} was not measured there; choose from {', '.join(known)}")
        kept = rows[tag].isin(wanted)
        if tag == "strategy":
            kept |= (rows["arm"] != MAIN) | (rows["verdict"] == compare.BASELINE)
        rows = rows[kept]
    return rows


def control_arm(summary: pd.DataFrame) -> str:
    """Return what the control arm says: how far the baseline was from itself when measured a second time."""
    rows = compare.control_arm(compare.timed(summary)).dropna(subset="ratio")
    if rows.empty:
        return "The control arm was not measured."
    worst = (rows["ratio"] - 1).abs().max()
    if (rows["visits"] == 1).all():
        return "Control arm: with a single visit of each cell it cannot say how far the baseline is from itself."
    said = (
        f"Control arm: {rows['baseline'].iloc[0]}, measured a second time under another name, differs from itself by at most "
        f"{worst:.2%} in {len(rows)} cells"
    )
    judged = rows.dropna(subset="ratio_low")
    if judged.empty:
        return f"{said}; without intervals nobody can say whether it is told apart from itself."
    told = int((judged["verdict"] != compare.CANNOT).sum())
    return f"{said}, and is told apart from itself in {told} of {'them' if len(judged) == len(rows) else len(judged)}."


def wrap(text: str, indent: int = 0) -> str:
    """Break a paragraph into lines of at most WIDTH columns."""
    return textwrap.fill(text, WIDTH - 3, initial_indent=" " * indent, subsequent_indent=" " * indent, break_on_hyphens=False)


def check(text: str) -> None:
    """Refuse a letter that a list or git would not take as it is.

    Raises
    ------
    StudyError
        Naming the line.
    """
    for number, line in enumerate(text.splitlines(), 1):
        long = len(line) > WIDTH and len(WORD.findall(line.removesuffix("\\"))) > 1  # a word, such as a path, cannot be broken
        if (long and not LINK.match(line)) or not line.isascii() or line.startswith("#") or line == "---":
            why = f"over {WIDTH} columns, not ASCII, a comment, or what ends a letter"
            raise StudyError(f"line {number} of the letter is no line for a list ({why}): {line!r}")
    if len(text) > LARGEST:
        raise StudyError(f"the letter has {len(text)} bytes, and a list takes {LARGEST}; measure fewer cells, or post a part")
