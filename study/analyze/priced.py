"""What round trips consist of where prices differ, as a table that a page calculates with."""

from __future__ import annotations

import pandas as pd

from study.analyze import tables

# The ids by which the script of a page finds what it calculates with, and where it asks for prices.
TABLE, PLACE = "priced", "your-prices"
FORMULA = (
    "What a round trip costs at prices of your own: its instructions, and its traps and its accesses to debug registers, each times its "
    "price in instructions beyond the one that it is. Instructions, traps and accesses are counted in emulation; the prices are yours."
)


def asking() -> str:
    """Return the paragraph below which a page asks for prices."""
    return tables.prose(FORMULA, "html").replace("<p>", f'<p id="{PLACE}">', 1)


def counts(rows: pd.DataFrame) -> str:
    """Return the counts as HTML: a row for each board, guest and strategy, whole enough to calculate with.

    Parameters
    ----------
    rows : DataFrame
        As cost.counts() returns it.
    """
    body = [
        [row.board, row.guest, row.strategy, f"{row.instructions:.3f}", f"{row.traps:.3f}", f"{row.accesses:.3f}"]
        for row in rows.itertuples()
    ]
    drawn = tables.table(["board", "guest", "strategy", "instructions", "traps", "accesses"], body, "lllrrr", "html")
    return drawn.replace("<table>", f'<table id="{TABLE}">', 1)
