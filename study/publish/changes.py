"""What moved since the last version of a series."""

from __future__ import annotations

import numpy as np
import pandas as pd

from study.analyze import compare, frame, tables
from study.campaign import Campaign
from study.design import LEAST_BOOTS
from study.publish.prose import shown_folder, with_first_line, wrap

MOST_MOVED = 12  # numbers that are listed of those that moved since the last version


def since(values: pd.DataFrame, earlier: Campaign, version: int, smallest: float = compare.SMALLEST_EFFECT) -> str:
    """Return what moved since an earlier campaign, in a paragraph and a table of what moved most.

    Parameters
    ----------
    values : DataFrame
        The frame of the campaign that is reported.
    earlier : Campaign
        What the last version of the series reported.
    version : int
        Of the series now.
    smallest : float
        A difference that is not larger than this share is of no interest.
    """
    name = f"v{version - 1}" if version > 1 else "before"
    cells = compare.moved(values, frame.tidy(earlier), smallest)
    both = cells.dropna(subset=["before", "now"])
    told = both[both["verdict"].isin([compare.LOWER, compare.HIGHER])]
    untold = int((both["ratio_low"].isna()).sum())
    new, gone = int(cells["before"].isna().sum()), int(cells["now"].isna().sum())
    said = [
        f"{name}: {shown_folder(earlier)} (digest {earlier.digest()[:12]}).",
        f"Of {tables.plural(len(both), 'number')} that both have, {len(told)} moved for sure by more than "
        f"{tables.percent(smallest)}; {new} are new, {gone} are gone.",
    ]
    if untold:
        said.append(f"Of {untold} nobody can say, because one side has fewer than {LEAST_BOOTS} boots.")
    if told.empty:
        return wrap(" ".join(said))
    most = (
        told.loc[np.log(told["ratio"]).abs().round(9).sort_values(ascending=False, kind="stable").index]
        .head(MOST_MOVED)
        .sort_index()
    )
    if len(told) > len(most):
        said.append("Those that moved most:")
    body: list[list[str]] = []
    for (board, leave, host), here in most.groupby(["board", "exit", "host"], sort=False):
        body.append([f"{tables.shorten(board)} {leave}" + ("" if host == "none" else f", host {host}"), "", "", ""])
        for row in here.itertuples():
            cell = f"  {tables.shorten(row.guest)}, {tables.shorten(row.strategy)}"
            body.append([cell, tables.number(row.before, row.unit), tables.number(row.now, row.unit), f"{row.ratio - 1:+.1%}"])
    table = tables.table(["guest, strategy", name, "now", "change"], body, "lrrr", "text")
    return f"{wrap(' '.join(said))}\n\n{with_first_line(most, table)}"
