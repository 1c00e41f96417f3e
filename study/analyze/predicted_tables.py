"""What a round trip would take on real cores, as text, Markdown and HTML: each table says that it is a prediction, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.analyze import predicted, published, receipts, tables
from study.analyze.assumed import Assumed
from study.analyze.predicted import Predictions, Span
from study.campaign.names import system
from study.factors import GUEST_STATES

PREDICTION = "a prediction"
UNSEEN = "It is a prediction: events that emulated boards counted, times prices that others published. No core was measured."
MARK, GIVEN_SHORT = "*", "at its published hypercall"
TOLD = (
    "A quantity has one price on a core, the same in both round trips: what they share cancels. Told apart at any price: of each event one "
    "has as many as the other, or more. As published: at no published price is it the other way round."
)
GIVEN = (
    f"{MARK} is that core at those of its prices and instructions per cycle at which the round trips of its published hypercalls, below, "
    "take what was published, with a dash where there are none; it hangs on the most instructions per cycle that are assumed."
)
LACKING = "no receipt of a kernel like it"
NO_PAIR = "No two of these round trips are compared on any of these cores."
SIDES = 20  # columns that text has for both sides of a difference
NO_PATH = "None of these cores takes the path of a board that has receipts here."


def amount(low: float, high: float, signed: bool = False) -> str:
    """Return a range of cycles in whole ones; a dash if there is none."""
    if math.isnan(low):
        return "-"
    ends = [
        f"{round(end) + 0.0:{'+' if signed and round(end) else ''}.0f}" if math.isfinite(end) else "any" for end in (low, high)
    ]
    return " to ".join(dict.fromkeys(ends))


def rests_on(found: Predictions) -> list[str]:
    """Return what a prediction rests on: whose prices are its own, what is borrowed, and what is assumed."""
    own = [f"{core}: {_prices(dict(zip(row.own, map(row.of, row.own), strict=True)))}" for core, row in found.prices.items()]
    everywhere, ipc = predicted.ranges(published.prices()), found.assumed.ipc
    return [
        f"{UNSEEN} {published.PROXY.partition('. ')[0]}.",
        f"In cycles, a core's own prices are: {'; '.join(own)}. What a core lacks is the range of all cores: {_prices(everywhere)}. "
        "A bound without a low end begins at 0.",
        f"All else runs at {ipc.low:g} to {ipc.high:g} instructions a cycle, which is assumed. {ipc.reason.strip()}",
        "A trap is an exception taken to EL2, with its eret and what was trapped; an hvc round trip has one, and two under KVM without VHE. The path is "
        "that of the board: a core with other features, flaws or registers takes another one.",
    ]


def _prices(spans: Mapping[str, Span]) -> str:
    return ", ".join(f"{name} {' to '.join(dict.fromkeys(f'{end:g}' for end in span))}" for name, span in spans.items()) or "none"


# --- tables -------------------------------------------------------------------------------------------------------------


def trips(rows: pd.DataFrame, style: str = "text") -> str:
    """Return what each round trip would take: a table for each board, kernel and guest, a row for each core, a column for each strategy.

    In text that would be too wide a column for all strategies, with a row for each.
    """
    parts = []
    for _, own in rows.groupby(["board", "kernel", "guest"], sort=False):
        long = [[row.core, row.strategy, amount(row.low, row.high)] for row in own.itertuples()]
        names = list(dict.fromkeys(own["strategy"]))
        cells = {(core, name): words for core, name, words in long}
        wide = [[core, *(cells[core, name] for name in names)] for core in dict.fromkeys(own["core"])]
        made = tables.table(["core", *names], wide, "l" + "r" * len(names), style)
        if style == "text" and len(made.partition("\n")[0]) > tables.WIDTH:
            made = tables.table(["core", "strategy", "cycles"], long, "llr", style)
        parts += [tables.title(f"{_place(own)}: cycles, {PREDICTION}", style), made, ""]
    return "\n".join(parts) or tables.prose(NO_PATH, style)


def differences(rows: pd.DataFrame, style: str = "text") -> str:
    """Return by how much strategies would differ: a table for each board, kernel and guest, a row for each core and pair."""
    parts = []
    for _, own in rows.groupby(["board", "kernel", "guest"], sort=False):
        body = [
            [
                _core(row),
                _sides(row, style),
                amount(row.low, row.high, signed=True),
                row.told,
            ]
            for row in own.itertuples()
        ]
        parts += [tables.title(f"{_place(own)}: difference in cycles, {PREDICTION}", style)]
        parts += [tables.table(["core", "difference", "cycles", "told apart"], body, "llrl", style), ""]
    if not parts:
        return tables.prose(NO_PAIR, style)
    said = [TOLD, *([GIVEN] if rows["given"].any() else [])]
    return "\n".join([*parts, tables.prose(" ".join(said), style), ""])


def _sides(row: Any, style: str) -> str:
    """Return what is compared: in text in at most SIDES columns."""
    both = [row.this, row.against]
    if style == "text" and len(" - ".join(both)) > SIDES:
        both = [tables.shorten(side, (SIDES - len(" - ")) // 2) for side in both]
    return " - ".join(both)


def _core(row: Any) -> str:
    return f"{row.core} {MARK}" if row.given else str(row.core)


def checks(rows: pd.DataFrame, assumed: Assumed, style: str = "text") -> str:
    """Return whether what was published of hypercalls is within what is predicted, and of each row why, or why it was not checked."""
    body = [
        [row.core, row.linux, amount(row.low, row.high), amount(row.predicted_low, row.predicted_high), row.result]
        for row in rows.itertuples()
    ]
    said = [tables.prose(_why(row, assumed), style) for row in rows.itertuples()]
    head = tables.title(f"KVM hypercalls that were published, in cycles, beside {PREDICTION}", style)
    return "\n".join(
        [
            head,
            tables.table(["core", "Linux", "published", "predicted", "result"], body, "llrrl", style),
            "",
            "\n\n".join(said),
            "",
        ]
    )


def _why(row: Any, assumed: Assumed) -> str:
    """Say of a check what was compared, what came out, and why."""
    said = f"{row.core}, {row.linux}: published {row.published}"
    if not math.isnan(row.low) and row.published.endswith("ns"):
        clock = assumed.clocks[row.core]
        said += f", which is {amount(row.low, row.high)} cycles at {clock.low:g} to {clock.high:g} GHz, assumed: {clock.reason}"
    if row.result == predicted.UNCHECKED:
        return f"{said}. {row.result.capitalize()}: {LACKING}. {_sentence(row.reason)}"
    needs = amount_of_ipc(row.ipc_low, row.ipc_high)
    off = f" by a factor of {row.factor:.2g}" if row.result == predicted.MISSES else ""
    return (
        f"{said}. Predicted of {row.board}, {system(row.board, row.kernel)}: {amount(row.predicted_low, row.predicted_high)}, which "
        f"{row.result}{off}. It would take {needs} of what has no price. {_sentence(row.reason)}"
    )


def amount_of_ipc(low: float, high: float) -> str:
    """Return at which instructions per cycle something is so, in words."""
    if math.isnan(low):
        return "more than any number of instructions a cycle"
    return f"{low:.2g} {'or more' if math.isinf(high) else f'to {high:.2g}'} instructions a cycle"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _place(rows: pd.DataFrame) -> str:
    row = rows.iloc[0]
    return f"{tables.place(rows)}, guest {row['guest']}"


# --- all of it ----------------------------------------------------------------------------------------------------------


def answers(rows: pd.DataFrame) -> list[str]:
    """Return for each board and kernel in a sentence what control-scan would save a guest that keeps monitor debug mode on, by core."""
    asked = rows[(rows["guest"] == receipts.ASKED) & (rows["this"] == "lazy") & (rows["against"] == "control-scan")]
    found = []
    for (board, kernel), own in asked.groupby(["board", "kernel"], sort=False):
        each = []
        for row in own.itertuples():
            span = amount(row.low, row.high)
            each += [f"{GIVEN_SHORT} {span}" if row.given else f"{row.core}: {span}"]
        found.append(
            f"{PREDICTION.capitalize()} of the cycles that control-scan saves over lazy in each hvc round trip of guest {receipts.ASKED} "
            f"({GUEST_STATES[receipts.ASKED].says}), on the path of {board}, {system(board, kernel)}. {'; '.join(each)}."
        )
    return found


def telling(found: Predictions, style: str = "text") -> str:
    """Return what is predicted of the guests of the question, what was published beside it, and what it rests on; empty if that is nothing.

    Parameters
    ----------
    found : Predictions
        As predicted.predict() returns them.
    style : str
        A row of tables.FORMATS.
    """
    return _joined([answered(found, style), core_by_core(found, style)]) if _tells(found) else ""


def answered(found: Predictions, style: str = "text") -> str:
    """Return what is predicted of the guests of the question in sentences, and what it rests on; empty if that is nothing."""
    return _joined(_said(found, style)) if _tells(found) else ""


def core_by_core(found: Predictions, style: str = "text") -> str:
    """Return the tables behind that: the differences on each core, and what was published beside them; empty if that is nothing."""
    return _joined([differences(_asked(found), style), checks(found.checks, found.assumed, style)]) if _tells(found) else ""


def _asked(found: Predictions) -> pd.DataFrame:
    return found.differences[found.differences["guest"].isin([receipts.IDLE, receipts.ASKED])]


def _tells(found: Predictions) -> bool:
    return not (_asked(found).empty and (found.checks["result"] == predicted.UNCHECKED).all())


def others(found: Predictions, style: str = "text") -> str:
    """Return what is predicted of the other guests, and of each round trip by itself."""
    rest = found.differences[~found.differences["guest"].isin([receipts.IDLE, receipts.ASKED])]
    return _joined([*([differences(rest, style)] if len(rest) else []), trips(found.trips, style)])


def page(found: Predictions, style: str = "text") -> str:
    """Return all that is predicted of a campaign, and what it rests on."""
    parts = [differences(found.differences, style), checks(found.checks, found.assumed, style), trips(found.trips, style)]
    return _joined([*_said(found, style), *parts])


def _said(found: Predictions, style: str) -> list[str]:
    return [tables.prose(text, style) for text in (*answers(found.differences), *rests_on(found))]


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def programs(found: Predictions) -> pd.DataFrame:
    """Return all that is predicted as rows for programs: `kind` is ``difference``, ``round-trip`` or ``check``."""
    kinds = {"difference": found.differences, "round-trip": found.trips, "check": found.checks}
    parts = [rows.astype(object).assign(kind=kind) for kind, rows in kinds.items() if len(rows)]
    whole = pd.concat(parts, ignore_index=True)
    return whole[["kind", *(name for name in whole if name != "kind")]]
