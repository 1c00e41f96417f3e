"""All figures of a campaign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import pandas as pd

from study.analyze import asked, compare, cost, history, lives, patches, published, receipt_tables, receipts, texts
from study.analyze.figures.answers import NARROW, monitor_mode, of_series, real_guests
from study.analyze.figures.costs import by_guest, generations, parts, rig
from study.analyze.figures.look import Drawing
from study.analyze.figures.patches import by_patch
from study.analyze.figures.prices import break_even, prices
from study.analyze.figures.receipts import by_function
from study.analyze.figures.steady import control, drift
from study.analyze.tables import scale
from study.analyze.texts import (
    heading,
    labelled,
    noisy,
)
from study.campaign.names import slug
from study.factors import KVM, RIG, kind_of


def draw_all(
    frame: pd.DataFrame,
    summary: pd.DataFrame,
    series: Mapping[str, Any] = MappingProxyType({}),
    found: pd.DataFrame = receipts.NOTHING,
    lived: pd.DataFrame = lives.NOTHING,
    smallest: float = compare.SMALLEST_EFFECT,
    own: Sequence[published.Price] = (),
) -> list[Drawing]:
    """Draw every figure that a campaign has the data for.

    What a strategy costs on the rig does not depend on the exit, so that one exit is drawn. Kernels of a patch series are no
    generations.

    Parameters
    ----------
    frame, summary : DataFrame
        Of a campaign.
    series : mapping
        As Campaign.series() returns it.
    found : DataFrame
        As receipts.frame() returns it.
    lived : DataFrame
        As lives.frame() returns it.
    smallest : float
        The share below which a difference is of no interest; the summary's.
    own : sequence of Price
        As measured.recorded() returns them.
    """
    return [*_of_visits(frame, summary, series, lived, smallest, own), *_of_receipts(receipts.in_focus(found, series))]


def _of_receipts(pairs: list[receipts.Pair]) -> list[Drawing]:
    """Return what is drawn of receipts: those that are compared, beside each other."""
    if not pairs:
        return []
    return [Drawing("functions", partial(by_function, pairs), receipt_tables.described(pairs), receipt_tables.drawn(pairs))]


def _of_visits(
    frame: pd.DataFrame,
    summary: pd.DataFrame,
    series: Mapping[str, Any],
    lived: pd.DataFrame,
    smallest: float,
    own: Sequence[published.Price],
) -> list[Drawing]:
    """Return what is drawn of the cost of round trips."""
    visits = compare.medians(frame)
    if series:
        return _of_series(patches.moves(visits, series, smallest), series)
    grown = history.generations(visits, smallest)
    everything, whole = visits, summary
    visits, summary = compare.in_focus(visits), compare.in_focus(summary)
    fits = cost.fits(visits)
    linux, rigs = compare.of_kind(summary, KVM), compare.of_kind(summary, RIG)
    drawings = _of_the_answer(whole, lives.judged(lived, everything, smallest))
    if not grown.empty:
        drawings.append(Drawing("history", partial(generations, grown), texts.describe_history(grown), texts.text_history(grown)))
    for leave in dict.fromkeys(compare.in_order(linux)["exit"]):
        figure = partial(by_guest, compare.of_kind(visits, KVM), linux, leave)
        drawings.append(Drawing(f"cost-{slug(leave)}", figure, texts.describe(linux, leave), texts.text_by_guest(linux, leave)))
    for leave in list(dict.fromkeys(compare.in_order(rigs)["exit"]))[:1]:
        for metric, rows in compare.timed(rigs).groupby("metric", sort=False):  # path lengths and times are two figures
            name = f"rig-{leave}" if metric == "clock" else f"rig-{leave}-{metric}"
            drawings.append(
                Drawing(name, partial(rig, rows, leave), texts.describe_rig(rows, leave), texts.text_rig(rows, leave))
            )
    drawings += _taken_apart(visits, summary, fits)
    unsteady = noisy(summary)
    if not unsteady.empty:
        boards = visits[visits["board"].isin(unsteady["board"])]
        if not compare.control_arm(unsteady)["ratio"].dropna().empty:
            drawings.append(
                Drawing("control-arm", partial(control, unsteady), texts.describe_control(unsteady), texts.text_control(unsteady))
            )
        drawings.append(
            Drawing("drift", partial(drift, boards, unsteady), texts.describe_drift(boards), texts.text_drift(boards))
        )
    for kind, name in ((KVM, ""), (RIG, "rig-")):
        here = {board: fitted for board, fitted in fits.items() if kind_of(board) == kind}
        if here:
            what = here, lives.in_focus(lived, visits[visits["board"].isin(here)]) if kind == KVM else lives.NOWHERE
            drawings.append(
                Drawing(
                    f"{name}break-even",
                    partial(break_even, *what),
                    texts.describe_break_even(*what),
                    texts.text_break_even(*what),
                )
            )
        counted = cost.counts(compare.of_kind(summary, kind))
        if texts.won_at_prices(counted):
            drawings.append(
                Drawing(
                    f"{name}prices",
                    partial(prices, counted, own=own),
                    texts.describe_prices(counted),
                    texts.text_prices(counted, own=own),
                )
            )
    return drawings


def _of_the_answer(summary: pd.DataFrame, judged: pd.DataFrame) -> list[Drawing]:
    """Return the figure of a campaign's answer: of real guests if some lived, else of the question of 2015, if it was measured."""
    lived, rows = asked.real_guests(judged), asked.asked(summary)
    if len(lived):
        return [Drawing("answer", partial(real_guests, lived), texts.describe_guests(lived), texts.text_guests(lived), NARROW)]
    return (
        [Drawing("answer", partial(monitor_mode, rows), texts.describe_asked(rows), texts.text_asked(rows), NARROW)]
        if len(rows)
        else []
    )


def _of_series(moved: pd.DataFrame, series: Mapping[str, Any]) -> list[Drawing]:
    """Return what is drawn of a patch series: what it is about is its commits."""
    if moved.empty:
        return []
    message = texts.message_of_series(moved)
    said = [f"on {board} {sentence}" for board, two in patches.whole(moved).items() for sentence in two]
    commits = "\n".join(map(texts.fill, patches.commits(series)))
    table = f"{texts.fill(f'{message}.')}\n\n{commits}\n\n{patches.table(moved, series)}".rstrip("\n")
    return [
        Drawing("answer", partial(of_series, moved), texts.describe_series(moved), texts.text_series(moved), NARROW),
        Drawing("patches", partial(by_patch, moved, series), texts.within(f"{message}: ", said), table),
    ]


def _taken_apart(visits: pd.DataFrame, summary: pd.DataFrame, fits: Mapping[str, cost.Fit]) -> Iterator[Drawing]:
    """Yield what a round trip consists of: on Linux boards by the cost model, on rigs as the switch counted itself."""
    measured = labelled(compare.timed(compare.one_kernel(visits)).query("arm == 'main' and exit == 'hvc' and host == 'none'"))
    first = compare.timed(compare.one_kernel(summary)).drop_duplicates("board").set_index("board", drop=False)
    modelled = [
        cost.breakdown(fitted).assign(board=board).set_index(["board", "guest", "strategy"]) * scale(fitted.unit)[0]
        for board, fitted in fits.items()
        if kind_of(board) == KVM
    ]
    words = {board: scale(row["unit"])[1] for board, row in first.iterrows()}
    for name, how, shares in (
        ("parts", "by the cost model", pd.concat(modelled) if modelled else pd.DataFrame()),
        ("rig-parts", "as counted by the switch itself", cost.parts(summary)),
    ):
        if shares.empty:
            continue
        rows = shares.reset_index()
        rows["word"] = rows["board"].map(words)
        titles = {board: f"{heading(first.loc[board])}; {how}" for board in dict.fromkeys(rows["board"])}
        yield Drawing(name, partial(parts, rows, measured, titles), texts.describe_parts(rows), texts.text_parts(rows, titles))
