"""The cover letter: from a summary to the text that a list accepts."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jinja2
import pandas as pd

from study import paths
from study.analyze import compare, cost, tables
from study.campaign import Campaign, system
from study.collect.onboard.factors import KVM, RIG, STRATEGIES, kind_of
from study.design import options
from study.errors import BadRequest, StudyError

WIDTH = 75  # columns that a kernel list is used to
WHY_TRAPS_DIFFER = (
    "In Linux such a trap leaves the guest for the host, whose exit handling decodes it, and enters the guest again; the rig "
    "handles it in its exception vector, so that a guest which touches its registers pays less for each touch there."
)
LARGEST = 100_000  # bytes that a kernel list accepts


def render(
    campaign: Campaign, summary: pd.DataFrame, fits: Mapping[str, cost.Fit] = MappingProxyType({}), *, title: str, version: int
) -> str:
    """Return the letter: its first line is the subject, the rest the body, as git's branch descriptions want it.

    Parameters
    ----------
    campaign : Campaign
        What was measured.
    summary : DataFrame
        Of that campaign.
    fits : mapping of str to Fit
        The cost model of each board that has one.
    title : str
        Of the series.
    version : int
        Of the series, from 1 up.

    Raises
    ------
    BadRequest
        If title or version cannot be in a letter.
    StudyError
        If the letter would not be accepted by a list.
    """
    if not title.strip() or not title.isascii() or "\n" in title or len(title) > WIDTH:
        raise BadRequest(f"title is {title!r}: it must be one line of ASCII, at most {WIDTH} columns")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise BadRequest(f"version is {version!r}: it must be a whole number of at least 1")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"wrap": wrap, "plural": tables.plural}
    text = environment.get_template("letter.txt.j2").render(contents(campaign, summary, fits), title=title, version=version)
    check(text)
    return text


def contents(campaign: Campaign, summary: pd.DataFrame, fits: Mapping[str, cost.Fit]) -> dict[str, Any]:
    """Return what the template of the letter is filled with."""
    timed = compare.timed(summary)
    linux, rigs = compare.of_kind(timed, KVM), compare.of_kind(timed, RIG)
    answered = answers(summary, list(dict.fromkeys(rigs["board"])))
    shown = timed[~timed["board"].isin(answered)]
    factors = {kind: design.factors for kind, design in campaign.designs.items()}
    on_linux = factors.get(KVM)
    machines = (
        f"{row.board}, {system(row.board, row.kernel)} ({row.mode})"
        for row in timed.drop_duplicates(["board", "kernel"]).itertuples()
    )
    return {
        "emulated": list(dict.fromkeys(timed[timed["metric"] == "clock"]["board"])),
        "all_emulated": bool((timed["metric"] == "clock").all()),
        "incomplete": campaign.incomplete(),
        "findings": findings(compare.of_kind(summary, KVM)),
        "results": [(heading, tables.costs(rows)) for heading, rows in tables.contexts(shown)],
        "sizes": "" if shown.empty else tables.sizes(shown),
        "cases": tables.CASES,
        "answers": [(heading, table) for heading, table in answered.values()],
        "traps": traps(summary),
        "meetings": meetings(fits),
        "could_see": tables.could_see(shown),
        "control_arm": control_arm(summary),
        "boards": list(machines),
        "linux": on_linux if not linux.empty else None,
        "rig": factors.get(RIG) if not rigs.empty else None,
        "module": [name for name in on_linux.strategies if STRATEGIES[name].module] if on_linux else [],
        "fair": on_linux is not None and STRATEGIES[on_linux.baseline].module,
        "baseline": on_linux.baseline if on_linux else "",
        "agreement": compare.agreement(summary),
        "commands": commands(campaign),
        "digest": campaign.digest(),
    }


def answers(summary: pd.DataFrame, boards: list[str]) -> dict[str, tuple[str, str]]:
    """Return for each rig that has measured the thread's cases a heading and their table."""
    words = "in brackets what it costs above no switch at all"
    tabled = {board: tables.thread(summary, board) for board in boards}
    return {
        board: (f"{board}, hvc round trip: {tables.meaning(summary, board)}; {words}", table)
        for board, table in tabled.items()
        if table
    }


def traps(summary: pd.DataFrame) -> str:
    """Return what one trapped access costs on each board, in a sentence; empty where no guest touched in every round trip."""
    traps = cost.trap_costs(summary)
    if traps.empty:
        return ""
    units = compare.timed(summary).drop_duplicates("board").set_index("board")["unit"]
    words = {board: tables.UNITS[units[board]] for board in traps.index}
    shown = ", ".join(f"{value * words[board][0]:.0f} {words[board][1]} on {board}" for board, value in traps.items())
    sentence = f"One trapped access to a debug register costs under control-scan: {shown}."
    return f"{sentence} {WHY_TRAPS_DIFFER} {ranks(summary)}" if {KVM, RIG} <= set(map(kind_of, traps.index)) else sentence


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
    """Return for which guests the boards rank lazy, eager and control-scan alike, in a sentence."""
    table = cost.rankings(summary)
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
    sentences = []
    main = compare.timed(compare.one_kernel(summary)).query("arm == 'main' and exit == @leave and host == 'none'")
    for board, rows in compare.in_order(main).groupby("board", sort=False):
        median = rows.pivot_table(index="strategy", columns="guest", values="median", sort=False)
        if not {"untouched", "mde"} <= set(median):
            continue
        factor, word = tables.UNITS[rows["unit"].iloc[0]]
        more = [
            f"{strategy} {(mde - untouched) * factor:+.0f} ({mde / untouched - 1:+.0%})"
            for strategy, untouched, mde in median[["untouched", "mde"]].dropna().itertuples()
        ]
        sentences.append(
            f"On {board}, a guest that keeps monitor debug mode on and enables nothing pays for it on every {leave} round "
            f"trip, in {word} over an untouched guest under the same strategy: {', '.join(more)}."
        )
    return sentences


def commands(campaign: Campaign) -> list[str]:
    """Return the commands that draw the figures again and measure them anew, each line narrow enough for a letter."""
    place = campaign.folder.absolute()
    shown = place.relative_to(paths.ROOT) if place.is_relative_to(paths.ROOT) else f"data/{place.name}"
    lines = ["make setup", f"make figures mail CAMPAIGN={shown}"]
    for board in campaign.boards():
        words = f".venv/bin/study collect --board {board} --campaign data/again {options(campaign.design_of(board).factors)}"
        broken = textwrap.wrap(words, WIDTH - 10, break_long_words=False, break_on_hyphens=False)
        lines.append(" \\\n        ".join(broken))
    return lines


def control_arm(summary: pd.DataFrame) -> str:
    """Return what the control arm says: how far the baseline was from itself when measured a second time."""
    rows = compare.control_arm(compare.timed(summary)).dropna(subset="ratio")
    if rows.empty:
        return "The control arm was not measured."
    worst = (rows["ratio"] - 1).abs().max()
    if (rows["visits"] == 1).all():
        return "Control arm: with a single visit of each cell it cannot say how far the baseline is from itself."
    told = int((rows["verdict"] != compare.CANNOT).sum())
    return (
        f"Control arm: {rows['baseline'].iloc[0]}, measured a second time under another name, differs from itself by at most "
        f"{worst:.2%} in {len(rows)} cells, and is told apart from itself in {told} of them."
    )


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
        if len(line) > WIDTH or not line.isascii() or line.startswith("#"):
            why = f"over {WIDTH} columns, not ASCII, or a comment"
            raise StudyError(f"line {number} of the letter is no line for a list ({why}): {line!r}")
    if len(text) > LARGEST:
        raise StudyError(f"the letter has {len(text)} bytes, and a list takes {LARGEST}; measure fewer cells, or post a part")
