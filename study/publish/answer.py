"""What a campaign answers, in one sentence: the first thing that a letter, a page and the index say."""

from __future__ import annotations

import pandas as pd

from study.analyze import asked, compare, patches, tables
from study.design import MAIN

GUEST = "a guest that keeps monitor debug mode on and enables nothing"
EMULATED = "emulated: path length in instructions, not time"
NO_MOVES = pd.DataFrame(columns=patches.COLUMNS)
NO_LIVES = pd.DataFrame(columns=["question"])


def answer(summary: pd.DataFrame, moved: pd.DataFrame = NO_MOVES, judged: pd.DataFrame = NO_LIVES) -> str:
    """Return the answer of a campaign in a sentence: what its series moves, what real guests pay, what monitor debug mode costs.

    Parameters
    ----------
    summary : DataFrame
        Of the campaign.
    moved : DataFrame
        As patches.moves() returns it.
    judged : DataFrame
        As lives.judged() returns it.
    """
    said = (_of_series(moved), _of_guests(judged), _of_monitor_mode(summary), _of_verdicts(summary))
    emulated = (compare.timed(summary)["metric"] == "clock").any() or ("emulated" in judged and judged["emulated"].any())
    return f"{next(filter(None, said), 'Nothing was compared')}{f' ({EMULATED})' if emulated else ''}."


def _of_series(moved: pd.DataFrame) -> str:
    """Return what a series as a whole moves on each board."""
    if moved.empty:
        return ""
    said = "; ".join(patches.both_ways(moved))
    return f"The series as a whole: {said}" if said else ""


def _of_guests(judged: pd.DataFrame) -> str:
    """Return what another way of switching saves a real guest the most, what it costs one the most, and how sure that is."""
    rows = asked.real_guests(judged)
    ends = asked.extremes(rows) if len(rows) else []
    if not ends:
        return (
            f"What {rows['strategy'].iloc[0]} costs real guests cannot be told from {rows['baseline'].iloc[0]}"
            if len(rows)
            else ""
        )
    told = [
        f"{abs(row.more):.0f} instructions an exit {'less' if row.more < 0 else 'more'} in {row.guest}'s {row.phase} "
        f"({' to '.join(f'{end:.0f}' for end in sorted(map(abs, (row.more_low, row.more_high))))}; {abs(row.of_kernel):.1%} of what the host's "
        "kernel does for it)"
        for row in ends
    ]
    unsure = [f"{row.guest}'s {row.phase}" for row in ends if row.verdict == compare.CANNOT]
    which = "neither is sure" if len(unsure) == len(ends) > 1 else f"that is not sure in {' and '.join(unsure)}"
    tail = f"; {which}" if unsure else ""
    return f"For real guests {ends[0].strategy} costs, against {ends[0].baseline}, {' and '.join(told)}{tail}"


def _of_monitor_mode(summary: pd.DataFrame) -> str:
    """Return what a guest pays for monitor debug mode that enables nothing, and which way of switching costs it less."""
    rows = asked.asked(summary)
    if rows.empty:
        return ""
    now = asked.spoken_of(rows)
    pays, other = now[now["says"] == asked.PAYS], now[now["says"] != asked.PAYS]
    if pays.empty and (now["says"] == asked.UNSURE).any():
        return f"Whether {GUEST} pays for it under {asked.together(now)}, too few boots say{_of_proposal(summary, rows)}"
    shown = now if pays.empty else pays
    much = f"{asked.span(pays, 'more')} more ({asked.ends(pays['share'] * 100)} %)" if len(pays) else "nothing for it"
    said = f"{GUEST.capitalize()} pays {much} on each {now['exit'].iloc[0]} round trip under {asked.together(shown)}"
    said += f", and not for sure under {asked.together(other)}" if len(pays) and len(other) else ""
    return f"{said}{_of_proposal(summary, rows)}"


def _of_proposal(summary: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Return which way of switching costs the guest less, and what it costs a guest that never touches its registers."""
    found = asked.proposed(summary, rows)
    if found.empty:
        return ""
    cheaper, price = found[found["guest"] == asked.ASKED], found[found["guest"] == asked.UNTOUCHED]
    first = cheaper.iloc[0]
    said = f"; {first['strategy']} costs it {asked.span(cheaper, 'moved')} less than {first['baseline']}"
    if price.empty or (price["verdict"] == compare.CANNOT).any():
        return said
    signs = {compare.LOWER: "less", compare.HIGHER: "more"}
    return (
        f"{said}, and an untouched guest {asked.span(price, 'moved')} {' or '.join(dict.fromkeys(price['verdict'].map(signs)))}"
    )


def _of_verdicts(summary: pd.DataFrame) -> str:
    """Return how many cells cost less and more than the baseline."""
    rows = compare.in_focus(compare.timed(summary))
    rows = rows[(rows["verdict"] != compare.BASELINE) & (rows["arm"] == MAIN)]
    if rows.empty:
        return ""
    counts = [int((rows["verdict"] == verdict).sum()) for verdict in (compare.LOWER, compare.HIGHER, compare.CANNOT)]
    return "Of {} {} cost less than {}, {} more, and {} cannot be told from it".format(
        tables.plural(len(rows), "cell"), counts[0], rows["baseline"].iloc[0], *counts[1:]
    )
