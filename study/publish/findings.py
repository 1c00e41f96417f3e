"""What a campaign says, in sentences: the answers, the findings, hosts that debug, traps, the control arm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.analyze import compare, cost, history, tables
from study.analyze.rounding import difference, shown
from study.campaign import Campaign
from study.design import MAIN
from study.factors import HOST_STATES, IMPORTED, KVM, RIG, kind_of
from study.publish.prose import with_first_line

BLOCKS = "Visits, each a fresh process and VM, come in random blocks of all cells, by a recorded seed."
IMPORTED_SAYS = "The results were measured elsewhere and imported: a boot is what their tags or boot times say."
RULE = "The 95 % intervals of a table hold together, and only what lies wholly more than {} away is called different{}."
REPEATED = "; where counts repeat exactly, every difference is one"
NOT_MODELLED = (
    "It does not show trap latency, the cost of a register access, or caches: an emulator has none, and on hardware a trap and a register "
    "access cost far more than an instruction."
)
NOT_ELSEWHERE = "It shows nothing of other boards, kernels and workloads than these."
UNJUDGED = "without intervals nobody can say whether it is told apart from itself"
WHY_TRAPS_DIFFER = (
    "In Linux such a trap leaves the guest for the host, whose exit handling decodes it, and enters the guest again; the rig "
    "handles it in its exception vector, so that a guest which touches its registers pays less for each touch there."
)


def where(campaign: Campaign, timed: pd.DataFrame) -> str:
    """Return on what it was measured: boards, modes and kernels.

    Parameters
    ----------
    campaign : Campaign
        What was measured.
    timed : DataFrame
        The timed rows of its summary.
    """
    alike, series = dict[str, list[str]](), campaign.series()
    for board, own in compare.in_order(timed).groupby("board", sort=False):
        kernels = list(history.short(own["kernel"]).values()) if kind_of(str(board)) == KVM else []
        linux = f"with {of_series(series)}" if series else f"with Linux {', '.join(kernels)}" if kernels else "bare metal"
        alike.setdefault(linux, []).append(f"{board} ({own['mode'].iloc[0]})")
    return f"Measured on {'; '.join(f'{prose_list(boards)} {linux}' for linux, boards in alike.items())}."


def of_series(series: Mapping[str, Any]) -> str:
    """Return which kernels a series has: what it is on top of, and where its patches are."""
    base = series["base"]
    if "lines" in series:
        return f"{base['subject']}, as Debian has its source, and each patch of {series['lines']}"
    return f"{base['describe']}, commit {base['commit'][:12]}, and each commit of {series['branch']}"


def prose_list(words: list[str]) -> str:
    """Return words as a sentence has them: a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def measured(campaign: Campaign, timed: pd.DataFrame) -> str:
    """Return how it was measured, for a letter of one page."""
    named = sorted(
        {facts["study"]["commit"] for facts in map(campaign.facts, campaign.boots()) if facts.get("study", {}).get("commit")}
    )
    kit = f"Measured with commit {', '.join(named)} of the kit." if named else ""
    what = IMPORTED_SAYS if IMPORTED in campaign.designs else BLOCKS
    again = control_arm(timed, "the base" if campaign.series() else "")
    return " ".join(filter(None, [f"{tables.sizes(timed)} {what} {rule(timed)}", again, kit]))


def rule(timed: pd.DataFrame) -> str:
    """Return what it takes for a difference to be one."""
    if compare.exact(timed):
        return tables.EXACT.format("")
    repeats = (timed["margin"] == 0).any()
    return RULE.format(tables.percent(timed["margin"].max()), REPEATED if repeats else "")


def silent(timed: pd.DataFrame) -> str:
    """Return what the figures do not show."""
    emulated = (timed["metric"] == "clock").any()
    return NOT_MODELLED if emulated else NOT_ELSEWHERE


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
    each = ", ".join(f"{shown(value * words[board][0])} {words[board][1]} on {board}" for board, value in traps.items())
    sentence = f"One trapped access to a debug register costs under control-scan: {each}."
    if not {KVM, RIG} <= set(map(kind_of, traps.index)):
        return sentence
    return f"{sentence} {WHY_TRAPS_DIFFER} {ranks(summary)}".rstrip()


def meetings(fits: Mapping[str, cost.Fit]) -> list[str]:
    """Return for each Linux board from where on another way of switching wins, a sentence each."""
    sentences = []
    for board, fitted in fits.items():
        rate = fitted.interval(lambda costs: cost.touch_rate(costs, "lazy", "eager"))
        share = fitted.interval(lambda costs: cost.debugging(costs, "lazy", "control-scan", kept_on=True))
        if kind_of(board) == KVM and "control-scan" in set(fitted.cells["strategy"]) and 0 < rate[0] < 1 and 0 < share[0] < 1:
            sentences.append(
                f"On {board} the cost model (no cell is off by more than {fitted.error:.1%}) says: with debugging off, eager costs less than lazy from {_with_interval(*rate)} accesses to debug registers per entry on. For a guest "
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
    sure = ~table.apply(lambda ranked: ranked.str.contains("~")).any(axis=1)
    if not sure.any():
        return ""
    table = table[sure]
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
            f"{strategy} {difference(mde - untouched, untouched, factor)} ({mde / untouched - 1:+.0%})"
            for strategy, untouched, mde in median[["untouched", "mde"]].dropna().itertuples()
        ]
    return costs


def control_arm(summary: pd.DataFrame, name: str = "") -> str:
    """Return what the control arm says: how far the baseline was from itself when measured a second time.

    Parameters
    ----------
    summary : DataFrame
        Of the campaign.
    name : str, optional
        What the baseline is called there; else its strategy.
    """
    rows = compare.control_arm(compare.timed(summary)).dropna(subset="ratio")
    if rows.empty:
        return "The control arm was not measured."
    if (rows["visits"] == 1).all():
        return "Control arm: with a single visit of each cell it cannot say how far the baseline is from itself."
    again = f"Control arm: {name or rows['baseline'].iloc[0]}, measured a second time,"
    exact = rows["ratio_low"] == rows["ratio_high"]
    apart = exact & (rows["ratio"] != 1)
    if exact.all() and not apart.any():
        return f"{again} gives the same counts of {tables.plural(len(rows), 'cell')} that repeat exactly."
    far = f"{again} differs from itself by at most {(rows['ratio'] - 1).abs().max():.2%} in {tables.plural(len(rows), 'cell')}"
    judged = rows["ratio_low"].notna()
    if not judged.any():
        return f"{far}; {UNJUDGED}."
    told = int((apart | (judged & ~exact & (rows["verdict"] != compare.CANNOT))).sum())
    return f"{far}, and is told apart from itself in {told} of {'them' if judged.all() else int(judged.sum())}."


def built(campaign: Campaign) -> str:
    """Say what the kernels of a series were built of and by, as their boots have it."""
    known = [facts["source"] for facts in map(campaign.facts, campaign.boots()) if "source" in facts]
    if not known:
        return ""
    by, configured = ({source[name] for source in known} for name in ("compiler", "config_sha256"))
    digests = ", ".join(sorted(digest[:12] for digest in configured))
    return (
        f"The kernels were built by {' and '.join(sorted(by))}, configuration {digests}; each boot reported the build ID of the kernel "
        "that was built for it."
    )
