"""The question of 2015 as a table: what a guest pays for monitor debug mode that enables nothing, under each way of switching. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from study.analyze import compare, history, lives, tables
from study.design import MAIN
from study.factors import KVM, RIG, STRATEGIES, kind_of

UNTOUCHED, ASKED = "untouched", history.ASKED
ENDS = ["median", "ci_low", "ci_high"]
PAYS, FREE, UNSURE = "pays", "free", "unsure"


def asked(summary: pd.DataFrame) -> pd.DataFrame:
    """Return what each way of switching makes a guest pay for monitor debug mode.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign.

    Returns
    -------
    DataFrame
        A row for each board, kernel and strategy that was measured with both guests, on one exit: of Linux boards, if there are some,
        and as times, if there are some. `board kernel mode strategy exit metric unit way alone`, where `way` is what a figure calls it,
        and `alone` is whether the kernel is as it is; `untouched` and `asked`, with the ends of their intervals; `more`, by how much the
        second is more than the first, `share`, the same as a share, and `says`: PAYS if it is sure to be more by the share that matters, FREE if
        it is sure not to be, else UNSURE.
    """
    rows = _in_question(summary)
    same = ["board", "kernel", "mode", "strategy", "exit", "metric", "unit"]
    idle, kept = (rows[rows["guest"] == guest].set_index(same)[ENDS] for guest in (UNTOUCHED, ASKED))
    found = idle.add_suffix("_idle").join(kept, how="inner").reset_index()
    found = found.rename(columns={"median_idle": "untouched", "median": "asked"})
    found = found.assign(alone=found["strategy"].isin(compare.AS_IT_IS))
    found = found.sort_values(["board", "alone"], key=_order, kind="stable", ignore_index=True)
    least = 1 + summary["margin"].max()
    pays, free = found["ci_low"] > found["ci_high_idle"] * least, found["ci_high"] < found["ci_low_idle"] * least
    return found.assign(
        way=_ways(found), more=found["asked"] - found["untouched"],
        share=found["asked"] / found["untouched"] - 1,
        says=pd.Series(UNSURE, found.index, dtype=object).mask(pays, PAYS).mask(free, FREE),
    )  # fmt: skip


def _in_question(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one exit, of strategies that keep a guest's breakpoints working, on boards that can be compared."""
    correct = [name for name in dict.fromkeys(summary["strategy"]) if name not in STRATEGIES or STRATEGIES[name].correct]
    rows = compare.in_order(compare.timed(summary))
    rows = rows[(rows["arm"] == MAIN) & (rows["host"] == "none") & rows["strategy"].isin(correct)]
    for preferred in (rows["board"].map(kind_of) == KVM, rows["metric"] != "clock", rows["exit"] == "hvc"):
        rows = rows[preferred.reindex(rows.index)] if preferred.reindex(rows.index).any() else rows
    return rows[rows["exit"].isin(list(rows["exit"])[:1])]


def _order(column: pd.Series) -> pd.Series:
    """Return where a row belongs: boards as they come, of each the kernels as they are first."""
    return ~column if column.dtype == bool else pd.Series(pd.factorize(column)[0], column.index)


def _ways(found: pd.DataFrame) -> list[str]:
    """Return what each row is called: a kernel as it is by its version, a strategy of the module by the kernel that it is on, too."""
    short = {board: history.short(own["kernel"]) for board, own in found.groupby("board", sort=False)}
    return [
        f"Linux {short[row.board][row.kernel]}" if row.strategy in compare.AS_IT_IS
        else row.strategy if kind_of(row.board) == RIG
        else f"{row.strategy}, on {short[row.board][row.kernel]}"
        for row in found.itertuples()
    ]  # fmt: skip


def spoken_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that say what a guest pays today: kernels as they are, else all of the first strategy."""
    alone = rows[rows["alone"]]
    return alone if len(alone) else rows[rows["strategy"].isin(list(rows["strategy"])[:1])]


def together(rows: pd.DataFrame) -> str:
    """Return what the ways of some rows are called together, such as ``Linux 6.1 to 7.3``."""
    alone, others = (list(dict.fromkeys(rows.loc[rows["alone"] == which, "way"])) for which in (True, False))
    kernels = f"{alone[0]} to {alone[-1].removeprefix('Linux ')}" if len(alone) > 2 else " and ".join(alone)
    return " and ".join(filter(None, [kernels, *(way.partition(", on ")[0] for way in others)]))


def span(rows: pd.DataFrame, column: str) -> str:
    """Return from what to what the size of a column goes over rows, in the unit that is printed."""
    factor, word = tables.scale(rows["unit"].iloc[0])
    return f"{ends(rows[column].abs() * factor)} {word}"


def ends(values: pd.Series, digits: int = 0) -> str:
    """Return the ends of some numbers, whole ones or with digits behind the point; one, if they are the same."""
    return " to ".join(dict.fromkeys(f"{end:.{digits}f}" for end in (values.min(), values.max())))


def real_guests(judged: pd.DataFrame) -> pd.DataFrame:
    """Return what the first strategy beside the baseline costs real guests, a row for each guest and phase.

    Parameters
    ----------
    judged : DataFrame
        As lives.judged() returns it.
    """
    rows = judged[judged["question"] == lives.STRATEGIES]
    if rows.empty:
        return rows
    rows = rows[(rows["arm"] == MAIN) & (rows["verdict"] != compare.BASELINE) & ~rows["strategy"].isin(compare.AS_IT_IS)]
    return rows[rows["strategy"].isin(list(rows["strategy"])[:1])]


def extremes(rows: pd.DataFrame) -> list[Any]:
    """Return of real_guests() the row that is less by the largest share and the one that is more, of those whose interval leaves out 0."""
    less, more = rows[rows["of_kernel_high"] < 0], rows[rows["of_kernel_low"] > 0]
    return [*less.nsmallest(1, "of_kernel").itertuples(), *more.nlargest(1, "of_kernel").itertuples()]


def proposed(summary: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the strategy that costs the guest in question the least, of those that are sure to cost it less than the baseline everywhere.

    Parameters
    ----------
    summary : DataFrame
        Of a campaign.
    rows : DataFrame
        As asked() returns it.

    Returns
    -------
    DataFrame
        For each board two rows of the summary, of guests ASKED and UNTOUCHED, and `moved`, by how much its median is more than the
        baseline's; none if there is no such strategy.
    """
    places = rows[~rows["alone"]][["board", "kernel", "exit", "metric"]].drop_duplicates()
    own = _in_question(summary).merge(places)
    base = own[own["verdict"] == compare.BASELINE].set_index(["board", "kernel", "guest"])["median"]
    own = own[
        (own["verdict"] != compare.BASELINE) & ~own["strategy"].isin(compare.AS_IT_IS) & own["guest"].isin([ASKED, UNTOUCHED])
    ]
    keys = pd.MultiIndex.from_frame(own[["board", "kernel", "guest"]])
    own = own.assign(moved=own["median"] - base.reindex(keys).to_numpy())
    less = own[own["guest"] == ASKED].groupby("strategy", sort=False).filter(
        lambda each: (each["verdict"] == compare.LOWER).all() and set(each["board"]) == set(places["board"])
    )  # fmt: skip
    if less.empty:
        return own[:0]
    return own[own["strategy"] == less.groupby("strategy", sort=False)["ratio"].max().idxmin()]
