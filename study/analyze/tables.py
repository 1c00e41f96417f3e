"""Tables as text, Markdown and HTML: whole instructions or nanoseconds, n at each level, the control arm among them."""

from __future__ import annotations

import html
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import tabulate

from study.analyze import compare, cost, history
from study.analyze.rounding import difference, shown
from study.campaign import Campaign, lines, sense
from study.campaign.files import write_whole
from study.campaign.names import legible, system
from study.design import CONTROL, LEAST_BOOTS, MAIN
from study.factors import HOST_STATES, STRATEGIES, trip

# How a value of a unit is printed: factor, and the word for it.
UNITS = {"instructions": (1.0, "instructions"), "s": (1e9, "ns"), "cycles": (1.0, "cycles"), "events": (1.0, "events")}
# What a value per round trip is called, by metric; another metric is called what it is.
MEANINGS = {"clock": "path length in instructions (emulated, not a time)", "time": "time in ns"}
EMULATED = "emulated: path length in instructions, not a time"  # the first line of a table in a mail
ENDINGS = {"text": "txt", "markdown": "md", "html": "html"}
FORMATS = {"text": "simple", "markdown": "pipe", "html": "html"}

# What stands before a count that perf made in a part of the time only, and what is said of it.
ESTIMATE = "~"
ESTIMATED = f"{ESTIMATE} is estimated by perf, from {{}} of the time"
NO_INTERVAL, NO_BASELINE = "no interval", "no baseline"
NOTE = (
    "Medians of boots, these of visits, these of values; n is boots/visits/values. A ratio's 95 % intervals hold together for all of a "
    f"table, and they decide the verdict: {compare.HIGHER} or {compare.LOWER} where the interval is wholly more than {{smallest}} away "
    f'from 1, else {compare.CANNOT}. "again" is the control arm: the baseline measured a second time. A kernel behind a slash: the ratio '
    "is to that kernel's baseline."
)
EXACT = "Every visit of a cell gave the same count{}: here every difference is one, however small."
TOO_FEW = (
    f"A cell of fewer than {LEAST_BOOTS} boots, whose visits differ, supports no interval and no verdict, however far it is from "
    f"the baseline: measure on {LEAST_BOOTS} boots or more."
)

# The guests of which a table of kernels in a mail speaks.
HISTORY = ("mde", "all", "one-no-mde", "touch")

# Facts of a board: what a dictionary of more becomes one line, and how long that may be.
MOST_FACTS, LONGEST_FACT = 20, 4000
APART = ("doctor", "pyperf")  # facts whose parts have a line each, however many these are

UNMEASURED = "This campaign has not measured what is needed for it."
WIDTH = 72  # columns that a table may have in a mail

tabulate.MIN_PADDING = 0  # a list wants narrow tables


def contexts(summary: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Yield a heading and the timed rows for each board, kernel, exit, host state and metric."""
    tags = ["board", "kernel", "mode", "exit", "host", "metric", "unit"]
    for _, rows in compare.in_order(compare.timed(summary)).groupby(tags, sort=False):
        yield f"{place(rows)}: {what(rows)}", rows


def place(rows: pd.DataFrame) -> str:
    """Return where the first of some rows was measured, and on which exit."""
    row = rows.iloc[0]
    host = HOST_STATES.get(row["host"])
    more = "" if host is None or row["host"] == "none" else f", the host has {host.says}"
    return f"{row['board']}, {system(row['board'], row['kernel'])} ({row['mode']}), {trip(row['exit'])}{more}"


def what(rows: pd.DataFrame) -> str:
    """Return what the first of some rows is: a path length or a time, and in which unit."""
    row = rows.iloc[0]
    meaning = MEANINGS.get(row["metric"], f"{row['metric']} in {scale(row['unit'])[1]}")
    return "; ".join(filter(None, [meaning, estimated(rows)]))


def estimated(rows: pd.DataFrame) -> str:
    """Say what the mark of an estimate means, and of what part of the time the least sure of some rows is; empty without any."""
    least = float(rows["running"].min()) if "running" in rows else 1.0
    return ESTIMATED.format(percent(least)) if least < sense.WHOLE else ""


def first_line(rows: pd.DataFrame) -> str:
    """Return the first line of a table in a mail: what the figures are, so that nobody takes an emulated one for a time."""
    emulated = rows["metric"] == "clock"
    if emulated.all():
        return EMULATED
    return "emulated boards: path length in instructions, not a time" if emulated.any() else what(rows)


def meaning(summary: pd.DataFrame, board: str) -> str:
    """Return what a board's figures are: a path length or a time, and in which unit."""
    return what(compare.timed(summary).query("board == @board"))


def scale(unit: str) -> tuple[float, str]:
    """Return with what a value of a unit is multiplied to be printed, and the word for it then."""
    return UNITS.get(unit, (1.0, unit))


def label(strategy: str, arm: str) -> str:
    """Return what a row is called: the control arm is the baseline, measured again."""
    return f"{strategy} again" if arm == CONTROL else strategy


def against(rows: pd.DataFrame) -> str:
    """Return what some rows of one board and kernel are compared with, but for the baseline itself."""
    others = rows[rows["arm"] == CONTROL]
    return str((rows if others.empty else others)["baseline"].iloc[0])


def compared_name(row: Any) -> str:
    """Return the label of a row in a table of ratios: ``owner / 6.1`` where it is compared with the first kernel's baseline."""
    _, _, kernel = row.baseline.partition(", ")
    elsewhere = kernel and kernel != row.kernel
    return label(row.strategy, row.arm) + (f" / {history.short(pd.Series([kernel]))[kernel]}" if elsewhere else "")


def number(value: float, unit: str) -> str:
    """Return a value in whole units, with four digits below ten or in a unit that the study does not know; a dash where there is none."""
    if math.isnan(value):
        return "-"
    return shown(value * UNITS[unit][0]) if unit in UNITS else f"{value:.4g}"


def median(row: Any) -> str:
    """Return the median of a row, with a mark if it is an estimate."""
    return mark(row) + number(row.median, row.unit)


def mark(row: Any) -> str:
    """Return the mark of an estimate, or nothing."""
    return ESTIMATE if getattr(row, "running", 1.0) < sense.WHOLE else ""


def interval(low: float, high: float, unit: str) -> str:
    """Return an interval in whole units; a dash where there is none."""
    return "-" if math.isnan(low) else f"{number(low, unit)} to {number(high, unit)}"


def ratio(middle: float, low: float, high: float) -> str:
    """Return a ratio with its interval."""
    if math.isnan(middle):
        return "-"
    return f"{middle:.3f}" if math.isnan(low) else f"{middle:.3f} ({low:.3f}-{high:.3f})"


def costs(rows: pd.DataFrame, style: str = "text") -> str:
    """Return medians: a row for each guest state, a column for each strategy, or the other way round if that is too wide.

    Parameters
    ----------
    rows : DataFrame
        The summary of one board, exit and host state.
    style : str
        A row of FORMATS. Text that is too wide either way has its columns in several tables, one below the other.
    """
    cells = {(row.guest, label(row.strategy, row.arm)): median(row) for row in rows.itertuples()}
    guests, names = (list(dict.fromkeys(key[at] for key in cells)) for at in (0, 1))
    by_guest = pd.DataFrame([[cells.get((guest, name), "-") for name in names] for guest in guests], guests, names)
    upright = sum(len(word) + 2 for word in ["guest", *names]) <= WIDTH
    first, grid = ("guest", by_guest) if upright else ("strategy", by_guest.T)
    parts = list(_columns(grid)) if style == "text" else [grid]
    return "\n\n".join(
        table([first, *part.columns], [[shorten(name), *row] for name, row in zip(part.index, part.to_numpy(), strict=True)],
               "l" + "r" * part.shape[1], style)
        for part in parts
    )  # fmt: skip


def _columns(table: pd.DataFrame) -> Iterable[pd.DataFrame]:
    """Yield as many columns of a table at a time as fit into WIDTH."""
    table = table.rename(columns=shorten)
    room = WIDTH - max(len(shorten(name)) for name in ["strategy", *table.index])
    widths = [2 + max(map(len, [str(name), *cells])) for name, cells in table.items()]
    taken: list[int] = []
    for at, width in enumerate(widths):
        if taken and sum(widths[n] for n in taken) + width > room:
            yield table.iloc[:, taken]
            taken = []
        taken.append(at)
    yield table.iloc[:, taken]


def comparison(rows: pd.DataFrame, style: str = "text") -> str:
    """Return every cell with n, its ratio to the baseline, interval and verdict; of each guest the control arm comes last.

    Parameters
    ----------
    rows : DataFrame
        The summary of one board, exit and host state.
    style : str
        A row of FORMATS. Text has a line for each guest above its strategies, so that it fits WIDTH.
    """
    text = style == "text"
    body: list[list[str]] = []
    by_guest: dict[str, list[Any]] = {guest: [] for guest in rows["guest"]}
    for row in rows.itertuples():
        by_guest[row.guest].append(row)
    for guest, here in by_guest.items():
        body += [[guest]] if text else []
        for row in here:
            name = compared_name(row)
            times = "1" if row.verdict == compare.BASELINE else ratio(row.ratio, row.ratio_low, row.ratio_high)
            body.append([
                *([f"  {shorten(name)}"] if text else [guest, name]), median(row), times,
                *([] if text else [f"{row.boots}/{row.visits}/{row.values}"]), verdict(row),
            ])  # fmt: skip
    head = ["guest, strategy" if text else "guest", *([] if text else ["strategy"]), "median",
            f"ratio to {shorten(against(rows))}", *([] if text else ["n"]), "verdict"]  # fmt: skip
    return table(head, body, "lrll" if text else "llrlll", style)


def verdict(row: Any) -> str:
    """Return the verdict on a row; in its place that there is none, without anything to compare with or too few boots."""
    if math.isnan(row.ratio) and row.verdict != compare.BASELINE:
        return NO_BASELINE
    return NO_INTERVAL if row.verdict == compare.CANNOT and math.isnan(row.ratio_low) else str(row.verdict)


def shorten(name: str, most: int = 20) -> str:
    """Return a name that leaves room for the rest of a line."""
    return name if len(name) <= most else f"{name[: most - 2]}.."


def share(value: float) -> str:
    """Return a share in per cent; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.1%}"


def lacking(rows: pd.DataFrame) -> str:
    """Say why some rows have no interval; empty if all have one."""
    compared = rows[(rows["verdict"] != compare.BASELINE) & rows["ratio"].notna()]
    return TOO_FEW if compared["ratio_low"].isna().any() else ""


# The cases of the thread of 2015, and the guest of its objection: name, words, guest, host.
CASES = [
    ("case 1", "everything enabled in guest and host", "all", "all"),
    ("case 2", "half of it enabled in guest and host", "half", "half"),
    ("case 3", "nothing enabled, and the guest never touches", "untouched", "none"),
    ("monitor mode", "kept on by the guest, nothing enabled", "mde", "none"),
]


def thread(summary: pd.DataFrame, board: str, style: str = "text", leave: str = "hvc") -> str:
    """Return the thread's three cases and its objection: a row for each strategy, the cost above the floor in brackets.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign with boards whose host debugs.
    board : str
        The board to speak of.
    style : str
        A row of FORMATS.
    leave : str
        The exit.

    Returns
    -------
    str
        Empty if the board has not measured the cases.
    """
    rows = compare.timed(summary).query("arm == 'main' and exit == @leave and board == @board")
    unit = rows["unit"].iloc[0] if len(rows) else "instructions"
    each = {(row.strategy, row.guest, row.host): row.median for row in rows.itertuples()}
    names = [name for name in STRATEGIES if all((name, guest, host) in each for _, _, guest, host in CASES)]

    def cell(strategy: str, guest: str, host: str) -> str:
        floor = each.get(("none", guest, host))
        above = "" if floor is None else f" ({difference(each[strategy, guest, host] - floor, floor, scale(unit)[0])})"
        return number(each[strategy, guest, host], unit) + above

    body = [[name, *(cell(name, guest, host) for _, _, guest, host in CASES)] for name in names]
    heads = ["strategy", *(name for name, *_ in CASES)]
    return table(heads, body, "l" + "r" * len(CASES), style) if names else ""


def split(summary: pd.DataFrame, board: str, guest: str, style: str = "text") -> str:
    """Return what a round trip of one guest on the rig consists of: instructions by part, and events, by strategy."""
    rows = cost.parts(summary)
    if (board, guest) not in rows.index.droplevel("strategy"):
        return ""
    here = rows.loc[(board, guest)]
    body = [[name, *(f"{value:.0f}" for value in row)] for name, row in zip(here.index, here.to_numpy(), strict=True)]
    return table(["strategy", *here.columns], body, "l" + "r" * len(here.columns), style)


def sizes(rows: pd.DataFrame) -> str:
    """Return n at each level, as a range where cells differ."""
    levels = []
    for word in ("boot", "visit", "value"):
        low, high = int(rows[f"{word}s"].min()), int(rows[f"{word}s"].max())
        levels.append(("" if low == high else f"{low} to ") + plural(high, word))
    return "n of a cell: " + ", ".join(levels) + "."


def agreement(summary: pd.DataFrame) -> str:
    """Return in a sentence how far pyperf's values and perf's counts are apart; empty where only one of them counted."""
    far = compare.agreement(summary)
    return "" if math.isnan(far) else f"Largest difference between pyperf's values and perf stat's counts of a cell: {far:.1%}."


def plural(number: int, word: str) -> str:
    """Return a number with its word: 1 boot, 2 boots."""
    return f"{number} {word}" + "s" * (number != 1)


def percent(share: float) -> str:
    """Return a share as it was chosen: 1%, 0.5%."""
    return f"{100 * share:.6g}%"


def all_tables(summary: pd.DataFrame, style: str = "text", notes: Iterable[str] = ()) -> str:
    """Return the table of costs and the comparison for every board and exit, each under its heading.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign.
    style : str
        A row of FORMATS.
    notes : iterable of str
        What a reader must know, as Campaign.notes() says it.
    """
    parts = []
    for heading, rows in contexts(summary):
        parts += [title(heading, style), costs(rows, style), ""]
        if compare.exact(rows):
            control = "" if compare.control_arm(rows).empty else ", the control arm's too"
            parts += [prose(f"{sizes(rows)} {EXACT.format(control)}", style), ""]
        else:
            parts += [comparison(rows, style), "", prose(f"{sizes(rows)} {lacking(rows)}".strip(), style), ""]
    for note in notes:
        parts += [prose(f"{note}.", style), ""]
    return "\n".join([*parts, prose(NOTE.format(smallest=percent(summary["margin"].max())), style)]) + "\n"


def generations(rows: pd.DataFrame, style: str = "text") -> str:
    """Return what each generation of KVM pays: for each board and exit a row for each kernel, a column for each guest.

    Parameters
    ----------
    rows : DataFrame
        As history.generations() returns it.
    style : str
        A row of FORMATS. Text has the guests of HISTORY only, so that it fits WIDTH.
    """
    parts = []
    for (board, leave), own in rows.groupby(["board", "exit"], sort=False):
        names, unit = history.short(own["kernel"]), own["unit"].iloc[0]
        guests = [guest for guest in dict.fromkeys(own["guest"]) if style != "text" or guest in HISTORY]
        body = []
        for kernel, here in own.groupby("kernel", sort=False):
            of = here.set_index("guest")
            more = {
                name: f"{difference(of.more[name], of.untouched[name], scale(unit)[0])} {round(100 * (of.ratio[name] - 1)):d}%"
                for name in of.index
            }
            cells = [more.get(name, "-") for name in guests]
            body.append([names[kernel], of["does"].iloc[0], number(of["untouched"].iloc[0], unit), *cells])
        parts += [title(f"{board}, {leave} round trip as each kernel is: an untouched guest, and what others pay on top, in {scale(unit)[1]}", style),
                  table(["kernel", "does", "untouched", *guests], body, "llr" + "r" * len(guests), style), ""]  # fmt: skip
    return "\n".join(parts)


def rankings(summary: pd.DataFrame, style: str = "text") -> str:
    """Return for each guest and board the strategies from the cheapest to the dearest, as cost.rankings() has them."""
    ranked = cost.rankings(summary).fillna("-")
    body = [[str(guest), *map(str, row)] for guest, row in zip(ranked.index, ranked.to_numpy(), strict=True)]
    return table(["guest", *map(str, ranked.columns)], body, "l" * (1 + ranked.shape[1]), style)


def module_counts(summary: pd.DataFrame, style: str = "text", leave: str = "hvc") -> str:
    """Return what the module counted per round trip, for each board, strategy and guest."""
    shown = compare.in_focus(summary)
    rows = shown[shown["metric"].str.startswith("module-") & (shown["exit"] == leave) & (shown["arm"] == MAIN)]
    wide = rows.pivot_table(index=["board", "strategy", "guest"], columns="metric", values="median", sort=False)
    body = [[*map(str, tags), *(f"{value:.2f}" for value in row)] for tags, row in zip(wide.index, wide.to_numpy(), strict=True)]
    return table(["board", "strategy", "guest", *wide.columns], body, "lll" + "r" * wide.shape[1], style)


def boots(campaign: Campaign, style: str = "text") -> str:
    """Return what was measured when: a row for each boot, with its digest as SHA256SUMS has it of its visits."""
    body = []
    for boot in campaign.boots():
        facts = campaign.facts(boot)
        when = facts.get("imported") or facts.get("started") or "-"
        commit = facts.get("study", {}).get("commit", "-") if isinstance(facts.get("study"), dict) else "-"
        body.append([legible(boot.name), facts["board"], system(facts["board"], facts["kernel"]), facts["mode"], legible(str(when)),
                     str(len(campaign.names_of(boot, {}))), legible(str(commit))])  # fmt: skip
    return table(["boot", "board", "kernel", "mode", "measured", "visits", "study's commit"], body, "lllllrl", style)


def facts(campaign: Campaign, board: str, style: str = "text") -> str:
    """Return all that is known of a board: what its boots have in common once, what differs boot by boot, pyperf's metadata too."""
    known: dict[str, list[str]] = {}
    for boot in campaign.boots():
        about = campaign.facts(boot)
        if about["board"] != board:
            continue
        metadata = lines.metadata(about, next(campaign.lines_of(boot), {}))
        said = {name: value for name, value in metadata.items() if name not in (*compare.CELL, "name", "visit")}
        for name, value in _flat({**about, "pyperf": said}):
            known.setdefault(name, []).append(value)
    body = []
    for name, values in sorted(known.items()):
        different = list(dict.fromkeys(values))
        more = f" (and {len(different) - 1} others, boot by boot)" if len(different) > 1 else ""
        body.append([name, different[0] + more])
    return table(["what", "value"], body, "ll", style)


def _flat(about: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yield the names and values of nested facts, legible."""
    for name, value in about.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) and row for row in value):
            rows = [list(map(str, row.values())) for row in value]
            value = {first: ", ".join(filter(None, rest)) for first, *rest in rows}
        if isinstance(value, dict) and (len(value) <= MOST_FACTS or name in APART):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            items = [f"{key} {one}" for key, one in value.items()] if isinstance(value, dict) else value
            shown = ", ".join(map(str, items)) if isinstance(items, list) else str(items)
            yield legible(f"{prefix}{name}"), legible(shown, LONGEST_FACT)


def model(fits: Mapping[str, cost.Fit], style: str = "text") -> str:
    """Return what the cost model was fitted to: for each board what each part costs, with its interval, and how well it fits.

    Parameters
    ----------
    fits : mapping of str to Fit
        For each board.
    style : str
        A row of FORMATS.
    """
    body = []
    for board, fitted in fits.items():
        for part in fitted.parts:
            middle, low, high = fitted.interval(lambda costs, part=part: getattr(costs, part))  # type: ignore[misc]
            body.append([board, part, number(middle, fitted.unit), interval(low, high, fitted.unit), scale(fitted.unit)[1]])
        body.append([board, "largest error", f"{fitted.error:.1%}", "-", "of a cell"])
    return table(["board", "part", "cost", "95 % interval", "unit"], body, "llrrl", style)


def predictions(rows: pd.DataFrame, style: str = "text") -> str:
    """Return what the model predicts of cells that it was not fitted to: `board` and the columns of cost.held_out()."""
    body = [
        [row.board, row.guest, row.strategy, number(row.measured, row.unit), number(row.predicted, row.unit), f"{row.error:+.1%}"]
        for row in rows.itertuples()
    ]
    return table(["board", "guest", "strategy", "measured", "predicted", "error"], body, "lllrrr", style)


def break_even(fitted: cost.Fit, style: str = "text") -> str:
    """Return where pairs of strategies cost the same on a board: touch rate, share of entries with debugging on, cost of a trap.

    Parameters
    ----------
    fitted : Fit
        The model of that board.
    style : str
        A row of FORMATS.
    """
    body = []
    for first, second in cost.PAIRS:
        for words, ask, is_cost, most in cost.QUESTIONS:
            middle, low, high = fitted.interval(lambda costs, ask=ask, pair=(first, second): ask(costs, *pair))  # type: ignore[misc]
            if {first, second} <= set(fitted.cells["strategy"]) and 0 < middle < most:
                factor, digits = (scale(fitted.unit)[0], 0) if is_cost else (1.0, 3)
                shown = [f"{value * factor:.{digits}f}" for value in (middle, low, high)]
                body.append([f"{first}, {second}", words, shown[0], "-" if math.isnan(low) else f"{shown[1]} to {shown[2]}"])
    return table(["cost the same", "at", "value", "95 % interval"], body, "llrr", style)


def proof(rows: pd.DataFrame, style: str = "text") -> str:
    """Return what simulation says of intervals and verdicts, in per cent: rows of study.analyze.simulate.prove().

    Text has coverage, how many campaigns had any false verdict, and the study's power; the other styles have all.
    """
    heads = {"covered": "covered", "median_covered": "median"}
    if style == "text":
        heads |= {"study any false": "any false", "study 2 %": "2 %", "study 5 %": "5 %", "pyperf any false": "pyperf's"}
    else:
        heads |= {name: name for name in rows if name.endswith((" %", "false"))}
    body = [[row["noise"], row["size"], *(share(row[name]) for name in heads)] for _, row in rows.iterrows()]
    return table(["noise", "size", *heads.values()], body, "ll" + "r" * len(heads), style)


def table(head: list[str], body: list[list[str]], sides: str, style: str) -> str:
    """Return a table; in a word that there is none if it has no row, as where a campaign lacks the cells for it.

    Parameters
    ----------
    head : list of str
        The heads of its columns.
    body : list of list of str
        Its rows.
    sides : str
        For each column ``l`` or ``r``: to which side its cells are.
    style : str
        A row of FORMATS.
    """
    if not body:
        return prose(UNMEASURED, style)
    aligned = [{"l": "left", "r": "right"}[side] for side in sides]
    made = tabulate.tabulate(body, head, FORMATS[style], colalign=aligned, disable_numparse=True, preserve_whitespace=True)
    return tight(made, style)


def tight(table: str, style: str) -> str:
    """Return a table without the blanks that tabulate pads cells with, where they are no layout but bytes: in HTML."""
    return re.sub(r" +(?=</t[dh]>)", "", table) if style == "html" else table


def title(text: str, style: str = "html") -> str:
    """Return a heading, its special characters escaped."""
    return {"text": textwrap.fill(text, WIDTH) + "\n", "markdown": f"### {text}\n", "html": f"<h3>{html.escape(text)}</h3>"}[
        style
    ]


def prose(text: str, style: str) -> str:
    """Return a paragraph."""
    return {"text": textwrap.fill(text, WIDTH), "markdown": text, "html": f"<p>{html.escape(text)}</p>"}[style]


def save_all(summary: pd.DataFrame, folder: Path, notes: Iterable[str] = ()) -> list[Path]:
    """Write every table as text, Markdown and HTML, with notes as all_tables() has them, and return the paths."""
    return save(lambda rows, style: all_tables(rows, style, notes), summary, folder, "tables")


def save(draw: Callable[[Any, str], str], rows: Any, folder: Path, name: str) -> list[Path]:
    """Write what a table function makes of rows as text, Markdown and HTML, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in ENDINGS.values()]
    for path, style in zip(paths, ENDINGS, strict=True):
        write_whole(path, f"{draw(rows, style).rstrip()}\n")
    return paths
