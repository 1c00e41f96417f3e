"""Real guests as text, Markdown and HTML: what they did, entry for entry, what each strategy cost their host, an excerpt for a mail."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from typing import Any

import pandas as pd

from study.analyze import compare, history, lives, tables
from study.campaign.names import system
from study.design import CONTROL, MAIN

INSTRUCTIONS = {True: "instructions (emulated: path length, not time)", False: "instructions"}
# Kinds of exits that text names of each phase, and system registers of each guest; and of all of them the least share that it names.
NAMED, LEAST = 3, 0.005
MOST = 12  # rows of an excerpt
HELD = ("lazy", "control-scan")  # the strategies that it holds against each other
EXCERPT = ["guest", "phase", "exits", "mode", "lazy,\nlife", "lazy,\nexit", "of\nkernel", "scan,\nexit", "measured"]
KEY = (
    "Mode: entries with monitor debug mode on. Lazy and scan (control-scan): what each takes for switches, traps and scans, by the module's "
    "counts and the cost model; of kernel: of what the host's kernel does for that guest. Measured: how much more the kernel executes per "
    "exit under control-scan than under lazy, and half of the 95 % interval."
)
NONE = "No real guest has lived in this campaign: study guests lets some live."
DID = (
    "Counted by tracepoints, and what is enabled by the module, in lives under {strategies} that are not compared. Monitor mode: entries "
    "with MDSCR_EL1.MDE or KDE set. Enabled: entries with an enable bit set in a control register. Accesses: to debug registers, that "
    "trapped."
)
UNCOUNTED = "No life was counted by tracepoints."
TOOK = (
    "Means of a life that no tracepoint counted. Switches and traps: by the module. Kernel: what the host's kernel does for the guest, the "
    "world switch included."
)
CHECKED = "{made} that were made twice, by KVM's statistics, the module or tracepoints: {agree}."
COMPARED = (
    "What the host's kernel does for the guest: per exit where strategies are compared, in a whole phase where kernels are, of which one "
    "may leave the guest more often. An exit is one that the guest's work causes; trapped accesses to debug registers are part of what "
    "the others cost. A phase of a life is one value. The 95 % intervals of a phase hold together, "
    "and a verdict needs one that is wholly more than {smallest} away from the baseline. Of kernel: of all that the host's kernel does for that guest then; of all: of kernel, QEMU "
    'and guest together. n is boots/lives; "again" is the control arm: the baseline measured a second time.'
)
PREDICTED = (
    "Predicted: what the cost model of the kit's own guest on that board and kernel makes of the switches and traps that the module "
    f"counted. It holds if it is within {lives.AGREE:.0%} of what was measured, or in its interval; else a ! is behind it."
)
COLLECT = "No prediction: {why}. They are measured by: study collect --board {board} --kernels {kernel} --campaign CAMPAIGN"


def page(found: pd.DataFrame, judged: pd.DataFrame, style: str = "text") -> str:
    """Return census() and costs(), one below the other.

    Parameters
    ----------
    found : DataFrame
        As lives.frame() returns it.
    judged : DataFrame
        As lives.judged() returns it.
    style : str
        A row of tables.FORMATS.
    """
    return f"{census(found, style)}\n{costs(judged, style)}"


# --- what guests did ----------------------------------------------------------------------------------------------------


def census(found: pd.DataFrame, style: str = "text") -> str:
    """Return what real guests did: for each board and kernel what happened in each phase, and what each strategy did for it.

    Parameters
    ----------
    found : DataFrame
        As lives.frame() returns it.
    style : str
        A row of tables.FORMATS.
    """
    rows, parts = lives.census(found), list[str]()
    for (board, kernel, mode), own in rows.groupby(["board", "kernel", "mode"], sort=False):
        here = found[(found["board"] == board) & (found["kernel"] == kernel)]
        shown = lives.behaviour(own).query("counted > 0 and cannot == ''")
        parts += [tables.title(f"{_place(board, kernel)} ({mode}): what real guests did", style), _did(shown, style), ""]
        parts += [tables.prose(said, style) + "\n" for said in _about(here, own, shown)]
        heading = f"{_place(board, kernel)}: what each strategy did for a life, in {INSTRUCTIONS[bool(here['emulated'].any())]}"
        parts += [tables.title(heading, style), _took(own.query("cannot == ''"), style), "", tables.prose(TOOK, style), ""]
    return "\n".join(parts or [tables.prose(NONE, style), ""])


def _place(board: str, kernel: str) -> str:
    return f"{board}, {system(board, kernel)}"


def _did(rows: pd.DataFrame, style: str) -> str:
    """Return the table of entries, shares and kinds of exits."""
    body = [
        [row.guest, row.phase, whole(row.entries), tables.share(row.monitor_mode), tables.share(row.enabled), whole(row.accesses),
         _kinds(row.exits_by_class, style)]
        for row in rows.itertuples()
    ]  # fmt: skip
    head = ["guest", "phase", "entries", "monitor mode", "enabled", "accesses", "exits"]
    return tables.table(*by_guest(head, body, style), "lrrrrl" if style == "text" else "llrrrrl", style)


def _kinds(exits: dict[str, float], style: str) -> str:
    """Return how many exits of each kind there were; in text the shares of the largest."""
    if style != "text":
        return ", ".join(f"{name} {count:.0f}" for name, count in exits.items() if count)
    total = sum(exits.values())
    return ", ".join(f"{name} {count / total:.0%}" for name, count in list(exits.items())[:NAMED] if count >= LEAST * total)


def _took(rows: pd.DataFrame, style: str) -> str:
    """Return the table of what was done under each strategy."""
    body = [
        [row.guest, f"{row.phase}, {row.strategy}", *(whole(getattr(row, name)) for name in
         ("exits", "switches", "traps", "instructions", "vmm_instructions", "guest_instructions"))]
        for row in rows.itertuples()
    ]  # fmt: skip
    head = ["guest", "phase, strategy", "exits", "switches", "traps", "kernel", "QEMU", "guest itself"]
    return tables.table(*by_guest(head, body, style), ("l" if style == "text" else "ll") + "r" * 6, style)


def by_guest(head: list[str], body: list[list[str]], style: str) -> tuple[list[str], list[list[str]]]:
    """Return a table whose first column is a guest; in text that has a line of its own above its rows, so that it is narrower."""
    if style != "text":
        return head, body
    lines: list[list[str]] = []
    for guest, *row in body:
        if [guest] not in lines:
            lines.append([guest])
        lines.append([f"  {row[0]}", *row[1:]])
    return [f"{head[0]}, {head[1]}", *head[2:]], lines


def whole(value: float) -> str:
    """Return a whole number; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.0f}"


def _about(here: pd.DataFrame, own: pd.DataFrame, shown: pd.DataFrame) -> Iterable[str]:
    """Say how it was counted, whether all that counted agree, what could not be counted, and what guests could not do."""
    yield DID.format(strategies=" and ".join(dict.fromkeys(shown["strategy"]))) if len(shown) else UNCOUNTED
    made, wrong = lives.checks(here), lives.mismatches(here)
    agree = "all agree, entry for entry" if wrong.empty else "; ".join(
        f"in {row.phase} of {row.guest} ({row.life}) {row.who} counted {row.count:.0f} and {row.other} {row.counted:.0f}" for row in wrong.itertuples()
    )  # fmt: skip
    if len(made):
        yield CHECKED.format(made=tables.plural(len(made), "count"), agree=agree)
    unseen = {f"{name.replace('_', ' ')}: {why}": None for row in shown.itertuples() for name, why in row.unseen.items()}
    if unseen:
        yield f"Not counted: {'; '.join(unseen)}."
    for guest, phases in shown.groupby("guest", sort=False):
        if registers := _registers(phases):
            yield f"System registers that {guest} was left for most, in a life: {registers}."
    for (guest, phase, why), unable in own[own["cannot"] != ""].groupby(["guest", "phase", "cannot"], sort=False):
        yield f"{guest} cannot do {phase} under {', '.join(unable['strategy'])}: {why}"


def _registers(phases: pd.DataFrame) -> str:
    """Return for which system registers a guest was left most, how often, and how often in the phase that has most of it."""
    counts = pd.DataFrame(list(phases["system_registers"]), index=phases["phase"]).fillna(0.0)
    most = counts.sum().sort_values(ascending=False, kind="stable").head(NAMED)
    return ", ".join(
        f"{name} {count:.0f} ({counts[name].max():.0f} in {counts[name].idxmax()})"
        for name, count in most.items()
        if count >= LEAST * counts.to_numpy().sum()
    )


# --- what it costs ------------------------------------------------------------------------------------------------------


def costs(rows: pd.DataFrame, style: str = "text") -> str:
    """Return what the host's kernel does per exit under each strategy, and on each kernel as it is, beside its baseline.

    Parameters
    ----------
    rows : DataFrame
        As lives.predicted() returns it.
    style : str
        A row of tables.FORMATS.
    """
    parts = []
    for (question, board), own in rows.groupby(["question", "board"], sort=False):
        for machine, here in own.groupby("kernel" if question == lives.STRATEGIES else "board", sort=False):
            of = f", {system(board, machine)}" if question == lives.STRATEGIES else ""
            parts += [tables.title(f"{board}{of}: {HEADINGS[question]}", style), _compared(here, question, style), ""]
            parts += [tables.prose(said, style) + "\n" for said in _reservations(here)]
    if parts:
        least = tables.percent(rows["margin"].max())
        parts += [tables.prose(COMPARED.format(smallest=least), style), "", tables.prose(PREDICTED, style), ""]
    return "\n".join(parts)


VARIED = {lives.STRATEGIES: "strategy", lives.KERNELS: "kernel"}
HEADINGS = {
    lives.STRATEGIES: "instructions of the host's kernel per exit, by strategy",
    lives.KERNELS: "instructions of the host's kernel in a phase, by kernel, each as it is",
}
PER = {lives.STRATEGIES: "an exit", lives.KERNELS: "a phase"}


def _compared(rows: pd.DataFrame, question: str, style: str) -> str:
    """Return the table of what an exit takes, and of its difference from the baseline."""
    names = history.short(rows["kernel"])
    body = []
    order = rows.groupby(["guest", "phase"], sort=False).ngroup().sort_values(kind="stable").index
    for row in rows.loc[order].itertuples():
        again = " again" * (row.arm == CONTROL)
        who = tables.compared_name(row) if question == lives.STRATEGIES else f"{names[row.kernel]} {row.strategy}{again}"
        is_base = row.verdict == compare.BASELINE
        body.append([
            row.guest, f"{row.phase}, {who}", whole(row.median), "-" if is_base else difference(row.more, row.more_low, row.more_high),
            *("-" if is_base else signed_share(part) for part in (row.of_kernel, row.of_all)), f"{row.boots}/{row.visits}",
            tables.verdict(row), foretold(row),
        ])  # fmt: skip
    head = [
        "guest",
        f"phase, {VARIED[question]}",
        PER[question],
        "difference",
        "of kernel",
        "of all",
        "n",
        "verdict",
        "predicted",
    ]
    return tables.table(*by_guest(head, body, style), ("l" if style == "text" else "ll") + "rrrrllr", style)


def difference(middle: float, low: float = math.nan, high: float = math.nan) -> str:
    """Return a difference in whole instructions with the ends of its interval; a dash where there is none."""
    if math.isnan(middle):
        return "-"
    shown = f"{round(middle):+d}" if round(middle) else "0"
    return shown if math.isnan(low) else f"{shown} ({round(low)} to {round(high)})"


def signed_share(value: float) -> str:
    """Return a share in per cent with its sign; a dash where there is none."""
    return "-" if math.isnan(value) else f"{round(value, 4) + 0.0:+.2%}"


def foretold(row: Any) -> str:
    """Return a prediction, marked if it does not hold."""
    return difference(row.predicted) + "!" * (row.agrees is False)


def _reservations(rows: pd.DataFrame) -> Iterable[str]:
    """Say which predictions do not hold, and why; why there is none; and that boots are too few for intervals."""
    for row in rows[rows["agrees"].eq(False)].itertuples():
        yield f"! {row.guest}, {row.phase}, {row.strategy}: predicted {difference(row.predicted)}, measured {difference(row.more)}; {row.why}."
    none = rows[rows["predicted"].isna() & (rows["why"] != "")]
    for why, own in none.groupby("why", sort=False):
        who = ", ".join(dict.fromkeys(own["strategy"]))
        command = COLLECT.format(**own.iloc[0])
        yield command if why == lives.NO_FIT else f"No prediction for {who}: {why}."
    if lacking := tables.lacking(rows):
        yield lacking


# --- in a mail ----------------------------------------------------------------------------------------------------------


def excerpt(found: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Return what real guests did and what that costs, in at most MOST rows that a mail can have; nothing where none lived.

    Parameters
    ----------
    found : DataFrame
        As lives.frame() returns it.
    judged : DataFrame
        As lives.judged() returns it.
    """
    known = lives.behaviour(lives.census(found)).query("cannot == '' and phase != 'marks'")
    if known.empty:
        return ""
    paying = judged.loc[judged["strategy"].isin(HELD), ["board", "kernel"]].drop_duplicates()
    if len(paying):  # where no strategy could be chosen, nothing is known of what one takes
        known = known.merge(paying, on=["board", "kernel"])
    rows = known.loc[known["entries"].sort_values(ascending=False, kind="stable").index[:MOST]].sort_index()
    of = {
        (row.board, row.kernel, row.guest, row.phase, row.strategy): row
        for row in judged[(judged["question"] == lives.STRATEGIES) & (judged["arm"] == MAIN)].itertuples()
    }
    parts, changes = list[str](), list[float]()
    for (board, kernel), own in rows.groupby(["board", "kernel"], sort=False):
        body = []
        for row in own.itertuples():
            lazy, scan = (of.get((board, kernel, row.guest, row.phase, name)) for name in HELD)
            changes += [scan.of_all] if scan else []
            mode = "-" if math.isnan(row.monitor_mode) else f"{row.monitor_mode:.0%}"
            body.append([row.guest, row.phase, whole(row.entries), mode, *_pays(lazy), *_pays(scan)[1:2], _more(scan)])
        words = INSTRUCTIONS[bool(found["emulated"].any())]
        parts += [_filled(f"Real guests on {_place(board, kernel)}: their exits, and {words}"), ""]
        parts += [tables.table(*by_guest(EXCERPT, body, "text"), "l" + "r" * 7, "text"), ""]
    left = len(known) - len(rows)
    said = [KEY, *([f"Left out are {left} phases with fewer exits."] if left else []), *_of_everything(changes)]
    return "\n".join([*parts, _filled(" ".join(said))])


def _pays(row: Any) -> list[str]:
    """Return what a strategy takes in a life, per exit, and as a share of what the host's kernel does."""
    if row is None or math.isnan(row.pays):
        return ["-"] * 3
    return [f"{row.pays * row.exits:.0f}", f"{row.pays:.0f}", f"{row.pays * row.exits / row.in_kernel:.1%}"]


def _more(row: Any) -> str:
    """Return the measured difference, short enough for a mail: with the half of its interval, if it has one."""
    if row is None or math.isnan(row.more_low):
        return "-" if row is None else difference(row.more)
    return f"{difference(row.more)} +-{math.ceil((row.more_high - row.more_low) / 2)}"


def _of_everything(changes: list[float]) -> list[str]:
    """Say what share of everything that is executed for these guests a change of the strategy moves."""
    known = [change for change in changes if not math.isnan(change)]
    if not known:
        return []
    least, most = signed_share(min(known)), signed_share(max(known))
    return [f"Of all that the host's kernel, QEMU and the guest execute in these phases, that moves {least} to {most}."]


def _filled(text: str) -> str:
    return textwrap.fill(text, tables.WIDTH, break_on_hyphens=False)
