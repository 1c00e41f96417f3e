"""Frames of cells, as tests write them."""

from __future__ import annotations

import pandas as pd

TAGS = {
    "board": "b",
    "kernel": "k",
    "mode": "vhe",
    "guest": "mde",
    "host": "none",
    "exit": "hvc",
    "arm": "main",
    "unit": "instructions",
}


def tidy(metric: str = "clock", boots: str = "b", **strategies: list[list[float]]) -> pd.DataFrame:
    """A frame of one cell for each strategy: a list of visits for each boot, a number a visit; ``lazy_control`` is an arm."""
    rows = []
    for words, visits in strategies.items():
        name, _, arm = words.partition("_")
        for boot, row in enumerate(visits):
            for block, value in enumerate(row, 1):
                tags = {**TAGS, "strategy": name, "arm": arm or "main", "boot": f"{boots}.{boot}", "metric": metric}
                rows.append({**tags, "visit": f"{words}-{boot}-{block}", "block": block, "position": block, "value": value})
    return pd.DataFrame(rows)
