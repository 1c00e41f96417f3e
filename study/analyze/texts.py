"""What each figure shows, for those who cannot see it: in a sentence or two (describe_*), and as plain text (text_*).

The text of a figure says the same as the figure: a dot-and-interval chart, a table, or a map of letters, ASCII and narrow
enough for a mail.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from study.analyze import asked, chart, compare, cost, history, lives, patches, published, tables
from study.analyze.history import ASKED, TOUCHING
from study.analyze.rounding import difference, shown
from study.analyze.tables import MEANINGS, label, scale
from study.campaign.names import system
from study.factors import GUEST_STATES, HOST_STATES, RIG, STRATEGIES

EMULATED = "path length in instructions, emulated, not time"
# Guest states whose round trips are taken apart, and those over which prices are drawn.
BROKEN_DOWN, PRICED = ("mde", "one", "touch-4", "touch"), ("mde", "touch-20", "touch-4", "touch")
KEPT_ON = {False: "monitor mode on only while debugging (arm64 Linux)", True: "monitor mode always on (32-bit Linux)"}
PARTS = ("base", "scan", "switch", "trap")  # of a round trip, in the order in which they are drawn
ROOM = ["board", "kernel", "metric"]  # what has a panel of its own
REAL_GUESTS = "real guests, by what was counted (black: monitor mode on; fewer or more accesses than the map has are at its edge)"
TOUCHED = ("touching", "the guest writes a register in every round trip", "touch", "none")  # beside tables.CASES
LONGEST, LONGEST_TITLE = 300, 170  # letters of the words for a figure, and of its title: two lines
STEPS = (
    "Each commit that is sure to differ from the one before, and the whole series over its base, in the cell that moves most; o: by how "
    "much a round trip moves; dashes: its 95 % interval."
)
NAMED = 3  # names of a list in a title; those beyond are counted
COLUMNS, LINES = 56, 11  # of a map of letters


def rooms_of(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return what has a panel of its own: every board, kernel and metric, in order."""
    return list(dict.fromkeys(rows[ROOM].astype(str).itertuples(index=False, name=None)))


def inside(rows: pd.DataFrame, room: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows of one panel."""
    return rows[(rows[ROOM].astype(str) == list(room)).all(axis=1)]


def labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows, each in the unit that is printed, with its word and a label for its strategy and arm."""
    factors, words = ([scale(unit)[which] for unit in rows["unit"]] for which in (0, 1))
    labels = [label(row.strategy, row.arm) for row in rows.itertuples()]
    scaled = {name: rows[name] * factors for name in ("median", "ci_low", "ci_high", "value") if name in rows}
    return rows.assign(**scaled, word=words, label=labels)


def heading(row: pd.Series) -> str:
    """Return a panel's title: what was measured, and that it is no time if it is none."""
    what = EMULATED if row["metric"] == "clock" else MEANINGS.get(row["metric"], f"{row['metric']} in {scale(row['unit'])[1]}")
    return f"{tables.shorten(row['board'], 40)}, {tables.shorten(system(row['board'], row['kernel']), 40)}, {tables.shorten(row['mode'])}; {what}"


def within(head: str, clauses: Sequence[str], between: str = "; ") -> str:
    """Return a sentence of a head and as many clauses as words for a figure may have letters."""
    said = as_many(head, clauses, between, LONGEST - 1)
    return said if said.endswith("...") else f"{said}."


def as_many(head: str, clauses: Sequence[str], between: str = "; ", longest: int = LONGEST_TITLE) -> str:
    """Return a head and as many clauses as there is room for, and how many are left to the text of the figure."""
    for kept in range(len(clauses), 0, -1):
        left = len(clauses) - kept
        said = f"{head}{between.join(clauses[:kept])}{f'; and {left} more in its text' if left else ''}"
        if len(said) <= longest:
            return said
    said = f"{head}{clauses[0]}" if clauses else head
    return said if clauses and len(said) <= longest else f"{said[: longest - 4].rstrip()} ..."


def listed(names: Iterable[str], most: int = NAMED) -> str:
    """Return names as a sentence has them, those beyond the first few as a number."""
    short = [tables.shorten(name, 30) for name in names]
    shown = short if len(short) <= most + 1 else [*short[:most], f"{len(short) - most} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def message(rows: pd.DataFrame) -> str:
    """Return what monitor_mode() of the figures shows, in a line: who charges for monitor debug mode, and who does not.

    Parameters
    ----------
    rows : DataFrame
        As asked.asked() returns it.
    """
    pays, free = (rows[rows["says"] == says] for says in (asked.PAYS, asked.FREE))
    said = [
        *(
            [f"{asked.together(pays)} charge {asked.span(pays, 'more')} for monitor debug mode that enables nothing"]
            if len(pays)
            else []
        ),
        *([f"{asked.together(free)} at most {free['more'].max() * scale(free['unit'].iloc[0])[0]:.0f}"] if len(free) else []),
    ]
    return "; ".join(said) or "What monitor debug mode costs: too few boots to say"


def describe_asked(rows: pd.DataFrame) -> str:
    """Return what monitor_mode() of the figures shows, in words."""
    boards = shortened(dict.fromkeys(rows["board"]))
    return within(f"{message(rows)}. Per {rows['exit'].iloc[0]} round trip{not_time(rows)}. On: ", boards, ", ")


def text_asked(rows: pd.DataFrame) -> str:
    """Return monitor_mode() of the figures as text: for each board a line for each way of switching, from one guest to the other."""
    parts = []
    for board, own in rows.groupby("board", sort=False):
        factor, word = scale(own["unit"].iloc[0])
        marks = [
            chart.Mark(
                row.way,
                row.asked * factor,
                min(row.untouched, row.asked) * factor,
                max(row.untouched, row.asked) * factor,
                difference(row.more, row.untouched, factor),
            )
            for row in own.itertuples()
        ]
        words = fill(f"{board}, {own['exit'].iloc[0]}{unit_of(word)}")
        parts.append(f"{words}\n\n{chart.intervals({'': marks}, 'way of switching')}")
    return "\n\n".join(
        [fill(message(rows)), *parts, fill("o: monitor debug mode on and nothing enabled; dashes: from an untouched guest.")]
    )


def shortened(boards: Iterable[str]) -> list[str]:
    """Return the names of boards, as long as a line of words may have them."""
    return [tables.shorten(board, 40) for board in boards]


def message_of_series(moved: pd.DataFrame) -> str:
    """Return what by_patch() of the figures shows, in a line: which commits are sure to differ from the one before, and whether the series does.

    Parameters
    ----------
    moved : DataFrame
        As patches.moves() returns it.
    """
    steps = moved[moved["than"] == patches.BEFORE]
    sides = {"more": compare.HIGHER, "less": compare.LOWER}
    found = {word: list(dict.fromkeys(steps.loc[steps["verdict"] == verdict, "label"])) for word, verdict in sides.items()}
    told = [f"{word}: {listed(labels)}" for word, labels in found.items() if labels]
    clauses = [f"Sure to cost {'; '.join(told)}" if told else "No commit is sure to differ from the one before"]
    final = patches.final(moved)
    all_in_all = [word for word, verdict in sides.items() if (final["verdict"] == verdict).any()]
    whole = f"costs {' or '.join(all_in_all)} than its base" if all_in_all else "cannot be told from its base"
    return as_many("", [*clauses, f"the whole series {whole}"])


def describe_series(moved: pd.DataFrame) -> str:
    """Return what series() of the figures shows, in words."""
    whole = []
    for board, own in patches.leading(patches.final(moved)).groupby("board", sort=False):
        cell, number, *_ = patches.words_of(next(own.itertuples()))
        whole.append(f"{tables.shorten(board, 40)} {cell} by {number} {scale(own['unit'].iloc[0])[1]}{not_time(own)}")
    return within(f"{message_of_series(moved)}. It moves most: ", whole)


def text_series(moved: pd.DataFrame) -> str:
    """Return series() of the figures as text: for each board the commits that are sure to make a difference, and the whole series."""
    parts = []
    for board, own in patches.steps(moved).groupby("board", sort=False):
        factor, word = scale(own["unit"].iloc[0])
        groups: dict[str, list[chart.Mark]] = {}
        for row in own.itertuples():
            cell, number, *_ = patches.words_of(row)
            mark = chart.Mark(cell, row.moved * factor, row.moved_low * factor, row.moved_high * factor, number)
            groups.setdefault(tables.shorten(row.named, 30), []).append(mark)
        parts.append(f"{fill(f'{board}{unit_of(word)}')}\n\n{chart.intervals(groups, 'commit, cell', at=0.0)}")
    return "\n\n".join([fill(message_of_series(moved)), *parts, fill(STEPS)])


def message_of_guests(rows: pd.DataFrame) -> str:
    """Return what real_guests() of the figures shows, in a line: where another way of switching saves most, and where it costs most.

    Parameters
    ----------
    rows : DataFrame
        As asked.real_guests() returns it.
    """
    name = rows["strategy"].iloc[0]
    told = [
        f"{'saves' if row.more < 0 else 'costs'} {row.guest} in {row.phase} {abs(row.of_kernel):.1%}"
        for row in asked.extremes(rows)
    ]
    return (
        f"{name} {' and '.join(told)} of the kernel's work" if told else f"{name} cannot be told from {rows['baseline'].iloc[0]}"
    )


def describe_guests(rows: pd.DataFrame) -> str:
    """Return what real_guests() of the figures shows, in words."""
    boards = shortened(dict.fromkeys(rows["board"]))
    return within(
        f"{message_of_guests(rows)}, over {rows['baseline'].iloc[0]}, in instructions{' (emulated, not time)' * bool(rows['emulated'].any())}. On: ",
        boards,
        ", ",
    )


def text_guests(rows: pd.DataFrame) -> str:
    """Return real_guests() of the figures as text."""
    groups = {
        str(guest): [
            chart.Mark(row.phase, 100 * row.of_kernel, 100 * row.of_kernel_low, 100 * row.of_kernel_high, f"{row.of_kernel:+.1%}")
            for row in own.itertuples()
        ]
        for guest, own in rows.groupby("guest", sort=False)
    }
    drawn = chart.intervals(groups, "guest, phase", at=0.0)
    return f"{fill(describe_guests(rows))}\n\n{drawn}\n\n{fill('o: the change in %; dashes: its 95 % interval.')}"


def message_of_costs(summary: pd.DataFrame, leave: str) -> str:
    """Return what by_guest() of the figures shows, in a line: which strategy is sure to cost less than the baseline, and for which guest.

    Only what every board tells apart is named. The kernel as it is does not compete: others carry the cost of the module.
    """
    rows = compare.in_order(compare.timed(summary).query("exit == @leave and arm == 'main'"))
    others = rows[(rows["verdict"] != compare.BASELINE) & ~rows["strategy"].isin(compare.AS_IT_IS)]
    guests = list(dict.fromkeys(others["guest"]))
    if not guests:
        return as_many(f"What a round trip ({tables.shorten(leave, 40)}) takes: ", _spans(labelled(rows)))
    base = baseline_of(rows)
    less = (others["verdict"] == compare.LOWER).groupby([others["strategy"], others["guest"]], sort=False).all()
    winners = {str(name): [guest for _, guest in own[own].index] for name, own in less.groupby("strategy", sort=False)}
    clauses = [
        f"{tables.shorten(name, 30)} for {'every guest' if len(own) == len(guests) > 1 else listed(own)}"
        for name, own in winners.items()
        if own
    ]
    if not clauses:
        return f"No strategy is sure to cost less than {base} for any guest ({tables.shorten(leave, 40)})"
    return as_many(f"Sure to cost less than {base} ({tables.shorten(leave, 40)}): ", clauses)


def baseline_of(rows: pd.DataFrame) -> str:
    """Return what the baseline of some rows is called."""
    names = list(dict.fromkeys(rows["baseline"].dropna()))
    return tables.shorten(names[0], 30) if len(names) == 1 else "the baseline"


def _spans(rows: pd.DataFrame) -> list[str]:
    """Return from what to what the medians of labelled() rows go, for each unit."""
    return [
        f"{asked.ends(own['median'])} {word}{not_time(own)}" for word, own in rows.groupby("word", sort=False)
    ]  # fmt: skip


def not_time(rows: pd.DataFrame) -> str:
    """Return that rows are no times, if they are none."""
    return " (emulated, not time)" if (rows["metric"] == "clock").all() else ""


def describe(summary: pd.DataFrame, leave: str) -> str:
    """Return what by_guest() shows, in words: its message, and from what to what the medians of each board go."""
    rows = labelled(compare.timed(summary).query("exit == @leave and arm == 'main'"))
    spans = [f"{tables.shorten(board, 40)} {', '.join(_spans(own))}" for board, own in rows.groupby("board", sort=False)]
    return within(f"{message_of_costs(summary, leave)}. Medians: ", spans)


def above_floor(summary: pd.DataFrame, leave: str) -> pd.DataFrame:
    """Return what strategies cost above the floor on the rig: tags, and `above`; the cost itself where no floor was measured."""
    rows = labelled(compare.timed(compare.of_kind(summary, RIG)).query("exit == @leave and arm == 'main'"))
    floors = rows[rows["strategy"] == "none"].set_index(["board", "guest", "host"])["median"]
    keys = pd.MultiIndex.from_frame(rows[["board", "guest", "host"]])
    return rows.assign(above=rows["median"] - floors.reindex(keys, fill_value=0.0).to_numpy())


def generations(rows: pd.DataFrame, leave: str = "hvc") -> list[str]:
    """Return what changed from one generation of KVM to the next for which guest, and what did not: a paragraph for each board.

    Parameters
    ----------
    rows : DataFrame
        As history.generations() returns it.
    leave : str
        The exit to speak of.
    """
    paragraphs = []
    for board, own in rows[rows["exit"] == leave].groupby("board", sort=False):
        of = {str(guest): cells.to_dict("records") for guest, cells in own.groupby("guest", sort=False)}
        if ASKED not in of:
            continue
        factor, word = scale(own["unit"].iloc[0])
        names = history.short(own["kernel"])
        whole = [f"{shown(row['untouched'] * factor)} on {names[row['kernel']]}" for row in of[ASKED]]
        more = [
            f"{difference(row['more'], row['untouched'], factor)} ({row['ratio'] - 1:+.0%}) on {names[row['kernel']]}"
            for row in of[ASKED]
        ]
        rates = [f"{row['ratio']:.2f} times as much on {names[row['kernel']]} ({row['does']})" for row in of.get(TOUCHING, [])]
        rare = max((guest for guest in of if _every(guest) > 1), key=_every, default="")
        seldom = [f"{difference(row['more'], row['untouched'], factor)} on {names[row['kernel']]}" for row in of.get(rare, [])]
        emulated = " (emulated: path length, not time)" if word == "instructions" else ""
        paragraphs.append(" ".join([
            f"On {board} an untouched guest's {leave} round trip takes, in {word}{emulated}: {', '.join(whole)}.",
            *([f"With a write to a debug register in each it takes {', '.join(rates)}."] if rates else []),
            *([f"With one in {_every(rare)} round trips it pays on top: {', '.join(seldom)}."] if rare else []),
            f"A guest that keeps monitor debug mode on and enables nothing pays on top: {', '.join(more)}.",
            _verdict(of[ASKED], [names[row["kernel"]] for row in of[ASKED]]),
        ]))  # fmt: skip
    return paragraphs


def _every(guest: str) -> int:
    """Return once in how many round trips a guest writes a debug register; 0 if it never does, or is not the study's."""
    return GUEST_STATES[guest].touch_every if guest in GUEST_STATES else 0


def _verdict(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Say whether the newest kernel still charges for monitor debug mode, which was the question of 2015."""
    charged = [row["verdict"] == compare.HIGHER for row in rows]
    if all(charged):
        return f"Every one of them charges that on every exit, {names[-1]} too: the reviewer's question of 2015 is open."
    if charged[-1]:
        return f"{names[-1]} charges that on every exit: the reviewer's question of 2015 is open."
    if rows[-1]["ratio_high"] < 1 + rows[-1]["margin"]:
        return f"{names[-1]} does not charge for it any more: there the reviewer's question of 2015 is answered."
    return f"Whether {names[-1]} charges for it, these boots are too few to say."


def unit_of(word: str) -> str:
    """Return in which unit a panel is, behind its title."""
    return ": instructions, emulated, not time" if word == "instructions" else f": {word}"


def message_of_history(rows: pd.DataFrame) -> str:
    """Return what history() shows, in a line: what the guest of the question pays on every kernel, and how that of one that touches moved.

    Parameters
    ----------
    rows : DataFrame
        As history.telling() returns it.
    """
    factor, word = scale(rows["unit"].iloc[0])
    names, said = history.short(rows["kernel"]), list[str]()
    ends = [kernel for at in (0, -1) for kernel in [list(names)[at]]]
    for guest, what in ((ASKED, "monitor debug mode"), (TOUCHING, "a write to a debug register")):
        own = rows[rows["guest"] == guest]
        if own.empty:
            continue
        first, last = ([asked.ends(own.loc[own["kernel"] == kernel, "more"] * factor), names[kernel]] for kernel in ends)
        said.append(
            f"{what} costs {first[0]} {word if not said else ''} on {first[1]}, {last[0]} on {last[1]}".replace("  ", " ")
        )
    return "; ".join(said).capitalize()


def describe_history(rows: pd.DataFrame) -> str:
    """Return what history() shows, in words."""
    told = history.telling(rows)
    emulated = " (emulated: path length, not time)" if told["unit"].iloc[0] == "instructions" else ""
    boards = shortened(dict.fromkeys(told["board"]))
    return within(
        f"{message_of_history(told)}. Per {told['exit'].iloc[0]} round trip above an untouched guest{emulated}. On: ",
        boards,
        ", ",
    )


def text_history(rows: pd.DataFrame) -> str:
    """Return history() as text: for each board and exit what each guest pays on top, kernel by kernel."""
    parts = []
    for (board, leave), own in rows.groupby(["board", "exit"], sort=False):
        factor, word = scale(own["unit"].iloc[0])
        names = history.short(own["kernel"])
        groups = {
            str(guest): [
                chart.Mark(f"{names[row.kernel]} {row.does}", row.more * factor, row.more_low * factor, row.more_high * factor,
                           f"{row.more * factor:+.0f}")
                for row in cells.itertuples()
            ]
            for guest, cells in own.groupby("guest", sort=False)
        }  # fmt: skip
        parts.append(
            f"{fill(f'{board}, {leave}{unit_of(word)}; above an untouched guest')}\n\n{chart.intervals(groups, 'guest, kernel', at=0.0)}"
        )
    return "\n\n".join([*parts, fill("o: median; dashes: its 95 % interval over boots.")])


def in_cases(summary: pd.DataFrame, leave: str) -> pd.DataFrame:
    """Return above_floor() of the thread's cases that were measured, `case` by `case`, without what is not correct."""
    rows = compare.in_order(above_floor(summary, leave)).query("strategy != 'none'")
    cases = [(f"{name}: {words}", guest, host) for name, words, guest, host in (*tables.CASES, TOUCHED)]
    found = [rows[(rows["guest"] == guest) & (rows["host"] == host)].assign(case=case) for case, guest, host in cases]
    shown = pd.concat(found) if any(map(len, found)) else rows.assign(case="guest: " + rows["guest"] + ", host: " + rows["host"])
    return shown[shown["case"].isin(list(dict.fromkeys(shown["case"]))[: len(cases)])]


def message_of_rig(rows: pd.DataFrame) -> str:
    """Return what rig() shows, in a line: in which of the cases which strategy is the cheapest on every board.

    Parameters
    ----------
    rows : DataFrame
        As in_cases() returns it.
    """
    least = rows[rows["above"] == rows.groupby(["board", "case"])["above"].transform("min")]
    winners: dict[str, list[str]] = {}
    for case, own in least.groupby("case", sort=False):
        winners.setdefault(" or ".join(dict.fromkeys(own["strategy"])), []).append(str(case).partition(":")[0])
    return "The cheapest way: " + "; ".join(f"{name} in {', '.join(cases)}" for name, cases in winners.items())


def describe_rig(summary: pd.DataFrame, leave: str) -> str:
    """Return what rig() shows, in words."""
    rows = in_cases(summary, leave)
    far = {board: asked.ends(own["above"]) for board, own in rows.groupby("board", sort=False)}
    clauses = [f"{tables.shorten(board, 40)} {ends}" for board, ends in far.items()]
    return within(f"{message_of_rig(rows)}. Above no switch, in {rows['word'].iloc[0]}{not_time(rows)}: ", clauses)


def message_of_parts(shares: pd.DataFrame, guests: Sequence[str] = BROKEN_DOWN) -> str:
    """Return what parts() of the figures shows, in a line: what a trap, a switch and a scan add at most, the largest first.

    Parameters
    ----------
    shares : DataFrame
        `board guest word` and a column for each of PARTS, in the unit that `word` names.
    guests : sequence of str
        Guest states that are shown.
    """
    said = []
    for word, own in shares[shares["guest"].isin(guests)].groupby("word", sort=False):
        most = own.groupby("board", sort=False)[list(PARTS[1:])].max()
        each = {part: most.loc[most[part] >= 0.5, part] for part in most if (most[part] >= 0.5).any()}
        first, *others = sorted(each, key=lambda part: -each[part].max()) or [""]
        if first:
            said.append(
                ", ".join([
                    f"{asked.ends(each[first])} {word} for {_many(first)}",
                    *(f"{asked.ends(each[part])} for {_many(part)}" for part in others),
                ])
            )  # fmt: skip
    return as_many("Beside its base, a round trip takes at most ", said) if said else "A round trip takes nothing beside its base"


def _many(part: str) -> str:
    """Return the plural of a part's name."""
    return f"{part}es" if part.endswith("ch") else f"{part}s"


def describe_parts(shares: pd.DataFrame, guests: Sequence[str] = BROKEN_DOWN) -> str:
    """Return what parts() shows, in words: its message, and for each board what each part adds at most."""
    clauses = []
    for board, here in shares[shares["guest"].isin(guests)].groupby("board", sort=False):
        most = ", ".join(f"{part} {here[part].max():.0f}" for part in list(PARTS)[1:] if here[part].max() >= 0.5)
        clauses.append(f"{tables.shorten(board, 40)}: {most or 'nothing'}")
    return within(f"{message_of_parts(shares, guests)}. ", clauses)


def cell_name(row: Any) -> str:
    """Return what tells a cell of the baseline from its others: guest, exit, and the host if it debugs."""
    return " ".join([row.guest, row.exit, *([] if row.host == "none" else [f"host {row.host}"])])


def message_of_control(rows: pd.DataFrame) -> str:
    """Return what control() of the figures shows, in a line: how far the baseline is from itself, and in how many cells it is told apart.

    Parameters
    ----------
    rows : DataFrame
        Those of a summary that are timed and of the control arm.
    """
    judged = rows.dropna(subset="ratio_low")
    told = int((judged["verdict"] != compare.CANNOT).sum())
    apart = f"told apart in {tables.plural(told, 'cell') if told else 'no cell'}"
    verdict = f"{'but' if told else 'and'} {apart}" if len(judged) else "and boots are too few to tell it apart"
    return f"{baseline_of(rows)}, measured a second time, is at most {(rows['ratio'] - 1).abs().max():.2%} from itself, {verdict}"


def describe_control(summary: pd.DataFrame) -> str:
    """Return what control() shows, in words."""
    rows = compare.timed(compare.control_arm(summary)).dropna(subset="ratio")
    parts = []
    for board, here in rows.groupby("board", sort=False):
        far, told = (here["ratio"] - 1).abs().max(), int((here["verdict"] != compare.CANNOT).sum())
        parts.append(f"{tables.shorten(board, 40)}: at most {far:.2%} in {len(here)} cells, told apart in {told}")
    return within(f"{message_of_control(rows)}. ", parts)


def off(visits: pd.DataFrame) -> pd.DataFrame:
    """Return the timed visits, by how many per cent each is off the median of its cell, in the order of measurement."""
    rows = compare.timed(visits)
    more = (rows["value"] / rows.groupby("cell")["value"].transform("median") - 1) * 100
    return rows.assign(more=more).sort_values(["board", "boot", "position"], kind="stable")


def _drifts(visits: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return for each board by how many per cent the last third of its boots is off the first, and within how many 95 % of visits are."""
    found = {}
    for board, here in off(visits).groupby("board", observed=True):
        third = here.groupby("boot", observed=True)["position"].transform("max") / 3
        first, last = here[here["position"] <= third]["more"].median(), here[here["position"] > 2 * third]["more"].median()
        found[str(board)] = last - first, here["more"].abs().quantile(0.95)
    return found


def message_of_drift(visits: pd.DataFrame) -> str:
    """Return what drift() of the figures shows, in a line: how far costs moved from the first third of a boot to its last."""
    far = [abs(drift) for drift, _ in _drifts(visits).values() if not np.isnan(drift)]
    if not far:
        return "Whether costs drift while a boot is measured: too few visits to say"
    return f"From the first third of a boot's visits to the last, costs drift by at most {max(far):.2f} %"


def describe_drift(visits: pd.DataFrame) -> str:
    """Return what drift() shows, in words: how far the last third of a boot's visits is from the first."""
    sentences = [
        f"{tables.shorten(board, 40)}: {'-' if np.isnan(drift) else f'{drift:+.2f} %'}, 95 % of visits within {spread:.2f} % of their cell"
        for board, (drift, spread) in _drifts(visits).items()
    ]
    return within(f"{message_of_drift(visits)}. ", sentences)


def competing(fitted: cost.Fit) -> list[str]:
    """Return the strategies that were fitted, in the order of the tables."""
    return [name for name in STRATEGIES if name in set(fitted.cells["strategy"])]


def _along(fitted: cost.Fit, touches: Any, *, kept_on: bool) -> list[tuple[str, str]]:
    """Return which strategies are the cheapest over the touch rate with debugging off: of each stretch the first, and all that cost the same."""
    mix = cost.debugging_mix(touches, 0.0, kept_on=kept_on)
    costs = {name: np.broadcast_to(fitted.costs.of(name, mix), len(touches)) for name in competing(fitted)}
    best, names = cost.winners(costs)
    return [(names[at], " = ".join(cost.alike(costs, names[at], best == at))) for at in dict.fromkeys(best)]


def message_of_break_even(fits: Mapping[str, cost.Fit]) -> str:
    """Return what break_even() of the figures shows, in a line: which strategy is the cheapest for whom, and up to which touch rate."""
    touches = np.geomspace(1e-3, 1, COLUMNS)
    stretches: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for board, fitted in fits.items():
        stretches.setdefault(tuple(_along(fitted, touches, kept_on=False)), []).append(board)
    clauses = []
    for stretch, boards in stretches.items():
        met = [
            asked.ends(pd.Series([float(cost.touch_rate(fits[board].costs, first, second)) for board in boards]), 3)
            for (first, _), (second, _) in itertools.pairwise(stretch)
        ]
        rates = [f"{name} below {rate}" for (_, name), rate in zip(stretch, met, strict=False)]
        where = f" on {listed(boards)}" if len(stretches) > 1 else ""
        clauses.append(f"{', then '.join([*rates, stretch[-1][1]])}{'' if met else ' at any rate'}{where}")
    rare = dict.fromkeys(_along(fitted, touches[:1], kept_on=True)[0][1] for fitted in fits.values())
    clauses.append(f"with monitor mode always on and accesses rare, {' or '.join(rare)}")
    return as_many("Cheapest by accesses per entry, debugging off: ", clauses)


def describe_break_even(fits: Mapping[str, cost.Fit], places: pd.DataFrame = lives.NOWHERE) -> str:
    """Return what break_even() shows, in words: its message, and how many real guests are on it."""
    real = f" with {tables.plural(len(places), 'place')} of real guests" if len(places) else ""
    emulated = ", by emulated path lengths" if any(fitted.unit == "instructions" for fitted in fits.values()) else ""
    return within(f"{message_of_break_even(fits)}. By the cost model{emulated}{real}. On: ", shortened(fits), ", ")


def located(places: pd.DataFrame) -> list[str]:
    """Say where real guests are on the map, a sentence for each place, as lives.places() returns them."""
    return [
        f"{row.symbol} {row.says} ({row.board}): {row.touches:.2g} accesses per entry, something enabled in {row.share:.0%} of entries, "
        f"monitor mode on in {row.mode}."
        for row in places.itertuples()
    ]


def cheapest_at(rows: pd.DataFrame, trap: Any, access: Any) -> set[str]:
    """Return the strategies that are the cheapest anywhere on a map of prices, each with those that cost the same; rows as cost.counts() has them."""
    costs = {name: np.broadcast_to(total, np.shape(trap)) for name, total in cost.priced(rows, trap, access).items()}
    best, names = cost.winners(costs)
    return {" = ".join(cost.alike(costs, names[at], best == at)) for at in np.unique(best)}


def won_at_prices(rows: pd.DataFrame, guests: Sequence[str] = PRICED) -> dict[str, dict[str, set[str]]]:
    """Return for each guest that was measured the strategies that win at some prices, by board."""
    trap, access = np.meshgrid(np.geomspace(1, 1e5, LINES), np.geomspace(1, 1e3, COLUMNS), indexing="ij")
    return {
        guest: {str(board): cheapest_at(own, trap, access) for board, own in rows[rows["guest"] == guest].groupby("board", sort=False)}
        for guest in guests
        if guest in set(rows["guest"])
    }  # fmt: skip


def message_of_prices(rows: pd.DataFrame, guests: Sequence[str] = PRICED) -> str:
    """Return what prices() of the figures shows, in a line: for which guests one strategy always wins, and for which prices decide.

    Parameters
    ----------
    rows : DataFrame
        As cost.counts() returns it.
    guests : sequence of str
        Guest states to speak of.
    """
    ruled: dict[str, list[str]] = {}
    for guest, by_board in won_at_prices(rows, guests).items():
        won = set[str]().union(*by_board.values())
        alone = all(len(names) == 1 for names in by_board.values())
        says = f"{won.copy().pop()} is the cheapest" if len(won) == 1 else "the board decides" if alone else "prices decide"
        ruled.setdefault(says, []).append(guest)
    clauses = [f"{says}{' at any price' * says.endswith('cheapest')} for {listed(own)}" for says, own in ruled.items()]
    return as_many("", clauses)


def price_of_an_access(batch: float, own: Sequence[published.Price] = ()) -> str:
    """Return what the prices along a map are: of an access, and of a batch of them, if hardware charges so; and what the bars are."""
    bars = "black bars: measured on this board,\ngrey: published of other " if own else "bars: published of other\n"
    return (
        "price of a debug register access, in instructions beyond its own (path lengths from emulation); below it that of a batch of "
        f"{batch:.0f},\nas many as a full switch makes on the way in or out, if hardware charges at the next ISB; {bars}"
        "registers, in cycles, as at one instruction a cycle"
    )


def describe_prices(rows: pd.DataFrame, guest: str = "touch-20") -> str:
    """Return what prices() shows, in words: for each board who wins when both prices are low, when traps are dear, when accesses are."""
    known = [name for name in (guest, *PRICED, *rows["guest"]) if name in set(rows["guest"])]
    own = rows[rows["guest"] == known[0]]
    same: dict[str, list[str]] = {}
    for board, here in own.groupby("board", sort=False):
        at = [
            min((total, name) for name, total in cost.priced(here, *price).items())[1] for price in ((1, 1), (1e5, 1), (1, 1e3))
        ]
        same.setdefault(f"{at[0]}, with traps at 100000 {at[1]}, with accesses at 1000 {at[2]}", []).append(str(board))
    clauses = [f"{words} (on {', '.join(shortened(boards))})" for words, boards in same.items()]
    return within(f"{message_of_prices(rows)}, by emulated path lengths. For {own['guest'].iloc[0]}: ", clauses)


def message_of_proof(table: pd.DataFrame) -> str:
    """Return what proof() of the figures shows, in a line: how many intervals hold the truth, and how many campaigns any verdict is false of."""
    held = table["covered"].dropna()
    return (
        f"{held.min():.1%} to {held.max():.1%} of the 95 % intervals of a ratio hold the truth; at most "
        f"{table['study any false'].max():.1%} of campaigns have any false verdict by this study"
    )


def describe_proof(table: pd.DataFrame) -> str:
    """Return what proof() shows, in words."""
    return (
        f"{message_of_proof(table)}, {table['pyperf any false'].max():.1%} by pyperf's test, {table['Welch any false'].max():.1%} by "
        "Welch's. The campaigns are simulated."
    )


def noisy(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the boards that do not repeat themselves exactly."""
    rows = compare.timed(summary)
    return summary[summary["board"].isin([board for board, here in rows.groupby("board") if not compare.exact(here)])]


# --- the same as plain text ---------------------------------------------------------------------------------------------


def text_by_guest(summary: pd.DataFrame, leave: str) -> str:
    """Return by_guest() as text: for each board a dot-and-interval chart of medians, guest by guest."""
    rows = labelled(compare.in_order(compare.timed(summary).query("exit == @leave")))
    parts = []
    for room in rooms_of(rows):
        here = inside(rows, room)
        groups = {
            str(guest): [
                chart.Mark(row.label, row.median, row.ci_low, row.ci_high, tables.mark(row) + shown(row.median))
                for row in cells.itertuples()
            ]
            for guest, cells in here.groupby("guest", sort=False)
        }
        parts.append(f"{fill(heading(here.iloc[0]))}\n\n{chart.intervals(groups, 'guest, strategy')}")
    marks = ["o: median of a cell", "dashes: its 95 % interval over boots", *filter(None, [tables.estimated(rows)])]
    return "\n\n".join([fill(message_of_costs(summary, leave)), *parts, fill(f"Exit: {leave}. {'; '.join(marks)}.")])


def text_rig(summary: pd.DataFrame, leave: str) -> str:
    """Return rig() as text: what each strategy costs above the floor, a table for each board and host state."""
    rows = compare.in_order(above_floor(summary, leave)).query("strategy != 'none'")
    unit = f"{rows['word'].iloc[0]} per {leave} round trip above no switch at all"
    emulated = ", emulated: path length, not time" if rows["metric"].iloc[0] == "clock" else ""
    parts = [fill(unit + emulated)]
    for (board, host), here in rows.groupby(["board", "host"], sort=False):
        grid = here.pivot(index="guest", columns="strategy", values="above")
        names = [name for name in STRATEGIES if name in grid]
        guests = [guest for guest in GUEST_STATES if guest in grid.index]
        body = [[guest, *("-" if np.isnan(value) else f"{value:.0f}" for value in grid.loc[guest, names])] for guest in guests]
        words = fill(f"{board}, host: {HOST_STATES[host].says}")
        parts.append(f"{words}\n\n{tables.table(['guest', *names], body, 'l' + 'r' * len(names), 'text')}")
    return "\n\n".join(parts)


def text_parts(shares: pd.DataFrame, title: Mapping[str, str], guests: Sequence[str] = BROKEN_DOWN) -> str:
    """Return parts() as text: a table of what each round trip consists of, for each board."""
    found = []
    for board, words in title.items():
        own = shares[(shares["board"] == board) & shares["guest"].isin(guests)]
        own = own.sort_values("guest", key=lambda column: column.map(list(guests).index), kind="stable")
        body = [
            [row["guest"], row["strategy"], *(f"{row[part]:.0f}" for part in PARTS), f"{sum(row[part] for part in PARTS):.0f}"]
            for row in own.to_dict("records")
        ]  # fmt: skip
        head = ["guest", "strategy", *PARTS, "total"]
        found.append(f"{fill(words)}\n\n{tables.table(head, body, 'll' + 'r' * (len(PARTS) + 1), 'text')}")
    return "\n\n".join([fill(message_of_parts(shares, guests)), *found, "Per hvc round trip."])


def text_control(summary: pd.DataFrame) -> str:
    """Return control() as text: how far the baseline is from itself in each cell, with its interval."""
    rows = compare.timed(compare.control_arm(summary)).dropna(subset="ratio")
    parts = []
    for room in rooms_of(rows):
        here = inside(rows, room)
        marks = []
        for row in here.itertuples():
            middle, low, high = ((ratio - 1) * 100 for ratio in (row.ratio, row.ratio_low, row.ratio_high))
            marks.append(chart.Mark(cell_name(row), middle, low, high, f"{row.ratio - 1:+.2%}"))
        parts.append(f"{fill(heading(here.iloc[0]))}\n\n{chart.intervals({'': marks}, '% from itself', at=0.0)}")
    least = tables.percent(rows["margin"].max())
    words = f"{rows['baseline'].iloc[0]} measured a second time, over the first. o: ratio; dashes: its 95 % interval; less than {least} is too little to matter."
    return "\n\n".join([fill(message_of_control(rows)), *parts, fill(words)])


def text_drift(visits: pd.DataFrame) -> str:
    """Return drift() as text: for each boot how far its visits are from the median of their cells, quarter by quarter."""
    rows = off(visits)
    body = []
    for (board, boot), here in rows.groupby(["board", "boot"], observed=True):
        quarter = np.minimum(4 * np.arange(len(here)) // max(len(here), 1), 3)
        medians = here["more"].groupby(quarter).median().reindex(range(4))
        shown = ["-" if np.isnan(value) else f"{value:+.2f}" for value in [*medians, here["more"].min(), here["more"].max()]]
        body.append([tables.shorten(str(board), 18), tables.shorten(str(boot).removeprefix(f"{board}."), 12), *shown])
    head = ["board", "boot", "1st", "2nd", "3rd", "4th", "lowest", "highest"]
    words = "Visits over the median of their cell, in %: the median of each quarter of a boot, in the order of measurement, and the extremes."
    return "\n\n".join([fill(message_of_drift(visits)), fill(words), tables.table(head, body, "ll" + "r" * 6, "text")])


def text_break_even(fits: Mapping[str, cost.Fit], places: pd.DataFrame = lives.NOWHERE) -> str:
    """Return break_even() as text: a map of the cheapest strategy for each board, a letter for each, and where real guests are."""
    touches, share = np.geomspace(1e-3, 1, COLUMNS), np.linspace(0, 1, LINES)
    grid = np.meshgrid(touches, share)
    parts = []
    for board, fitted in fits.items():
        for kept_on, words in KEPT_ON.items():
            mix = cost.debugging_mix(*grid, kept_on=kept_on)
            costs = {name: fitted.costs.of(name, mix) for name in competing(fitted)}
            emulated = ", emulated" if fitted.unit == "instructions" else ""
            here = places[(places["board"] == board) & (places["kept_on"] == kept_on)]
            parts.append(_map(f"{board}{emulated}: {words}", touches, share, costs, "{:.1f}".format, here))
    axes = "Across: accesses to debug registers per entry. Up: share of entries with debugging on. A letter: the cheapest strategy by the cost model"
    emulated = ", by path length in instructions, not time" if any(f.unit == "instructions" for f in fits.values()) else ""
    return "\n\n".join(
        [
            fill(message_of_break_even(fits)),
            *parts,
            fill(f"{axes}{emulated}."),
            *([fill(f"{REAL_GUESTS}:")] * bool(len(places))),
            *map(fill, located(places)),
        ]
    )


def text_prices(rows: pd.DataFrame, guests: Sequence[str] = PRICED, own: Sequence[published.Price] = ()) -> str:
    """Return prices() as text: a map of the cheapest strategy for each board and guest, a letter for each."""
    trap, access = np.geomspace(1, 1e5, LINES), np.geomspace(1, 1e3, COLUMNS)
    grid = np.meshgrid(access, trap)
    parts = []
    for (board, guest), here in rows[rows["guest"].isin(guests)].groupby(["board", "guest"], sort=False):
        parts.append(_map(f"{board}, guest: {guest}", access, trap, cost.priced(here, grid[1], grid[0]), "{:.0f}".format))
    axes = (
        "Across: the price of a debug register access, up: that of a trap, in instructions beyond its own (path lengths from emulation; "
        "prices are the reader's). A letter: the cheapest strategy."
    )
    return "\n\n".join([fill(message_of_prices(rows, guests)), *parts, fill(axes), fill(published.spoken(own))])


def _map(
    title: str, x: Any, y: Any, costs: Mapping[str, Any], number: Callable[[float], str], places: pd.DataFrame = lives.NOWHERE
) -> str:
    """Return a map of letters with its axes and what its letters mean; a sentence where one of them is everywhere, and no real guest."""
    best, names = cost.winners({name: np.broadcast_to(total, (len(y), len(x))) for name, total in costs.items()})
    letters = chart.letters(names)
    key = {
        name: f"{letters[name]} {' = '.join(cost.alike(costs, name, best == at))}"
        for at, name in enumerate(names)
        if (best == at).any()
    }
    if len(key) == 1 and places.empty:
        return fill(f"{title}. Everywhere: {next(iter(key.values()))[2:]}")
    drawn_on = [[letters[names[at]] for at in line] for line in best]
    for place in places.itertuples():
        drawn_on[np.abs(y - place.share).argmin()][np.abs(np.log(x / lives.on_the_map(place.touches))).argmin()] = place.symbol
    lines = list(map("".join, drawn_on))
    drawn = [f"{number(value):>8} |{line}" for value, line in zip(y[::-1], lines[::-1], strict=True)]
    ends = f"{'':8}  {x[0]:<{COLUMNS // 2}g}{x[-1]:>{COLUMNS - COLUMNS // 2}g}"
    return "\n".join([fill(f"{title}. {', '.join(key.values())}"), "", *drawn, f"{'':8} +{'-' * COLUMNS}", ends])


def fill(text: str) -> str:
    """Break a sentence into lines that a mail can have."""
    return textwrap.fill(text, tables.WIDTH)
