"""A campaign as a reader of it has it in a notebook: ``study.load()`` and ``study.compare()``. docs/api.md has every column."""

from __future__ import annotations

import html
import os
from functools import cached_property
from pathlib import Path

import pandas as pd

from study.analyze import compare as comparison
from study.analyze import frame, lives, receipts
from study.analyze.verdict import share
from study.campaign import Campaign
from study.campaign.names import system
from study.campaign.store import VISITS


class Loaded:
    """What a campaign measured, as tidy frames, each made when it is first asked for.

    Parameters
    ----------
    campaign : Campaign
        What is on disk; `campaign` of this, too.
    smallest : float
        A difference that is not larger than this share is of no interest.
    """

    def __init__(self, campaign: Campaign, smallest: float = comparison.SMALLEST_EFFECT) -> None:
        self.campaign, self.smallest = campaign, smallest

    @cached_property
    def values(self) -> pd.DataFrame:
        """A row for each value, as frame.tidy() returns them; none where only real guests lived."""
        seen = any((boot / VISITS).exists() and (boot / VISITS).stat().st_size for boot in self.campaign.boots())
        return frame.tidy(self.campaign) if seen else pd.DataFrame(columns=frame.COLUMNS)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row for each cell and metric, as compare.summarise() returns them: median, interval, ratio to the baseline, verdict."""
        if self.values.empty:
            return pd.DataFrame(columns=[*comparison.CELL, *comparison.COLUMNS])
        return comparison.summarise(self.values, self.campaign.baselines(), self.smallest)

    @cached_property
    def receipts(self) -> pd.DataFrame:
        """A row for each function of each receipt that was traced, as receipts.functions() returns them."""
        return receipts.functions(receipts.frame(self.campaign))

    @cached_property
    def census(self) -> pd.DataFrame:
        """A row for each strategy, guest and phase of real guests, as lives.programs() returns them."""
        lived = lives.frame(self.campaign)
        visits = None if self.values.empty else comparison.medians(self.values)
        return lives.programs(lived, lives.judged(lived, visits, self.smallest))

    def _described(self) -> dict[str, str]:
        """Return what was measured: five lines, by what they are about."""
        boots = [self.campaign.facts(boot) for boot in self.campaign.boots()]
        kernels = {(facts["board"], facts["mode"]): dict[str, None]() for facts in boots}
        for facts in boots:
            kernels[facts["board"], facts["mode"]][system(facts["board"], facts["kernel"])] = None
        visits = self.values.drop_duplicates(["board", "boot", "visit"])
        timed = comparison.timed(self.values.drop_duplicates(["board", "metric", "unit"]))
        units = dict.fromkeys(f"{row.metric} in {row.unit}" for row in timed.itertuples())
        emulated = {facts["board"] for facts in boots if facts["emulated"]}
        return {
            self.campaign.name: f"{len(self.values)} values of {len(visits)} visits in {len(boots)} boots, {self.campaign.origin}",
            "boards": "; ".join(f"{board} {mode}: {', '.join(names)}" for (board, mode), names in kernels.items()) or "none",
            "cells": "; ".join(_listed(visits, tag) for tag in ("strategy", "guest", "host", "exit")),
            "timed": (", ".join(units) or "nothing") + "; emulated: a path length, and no time" * bool(emulated),
            "besides": f"{len(self.receipts)} functions of receipts, {len(self.census)} phases of real guests",
        }

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {said}" for name, said in self._described().items())

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(said)}</td></tr>" for name, said in self._described().items())
        return f"<table>{''.join(rows)}</table>"


def _listed(visits: pd.DataFrame, tag: str) -> str:
    """Return which values a tag has, in the order of the tables of factors."""
    names = comparison.in_order(visits[[tag]].astype(str).drop_duplicates())[tag]
    return f"{tag} {', '.join(names) or 'none'}"


def load(folder: str | os.PathLike[str], smallest: str | float = comparison.SMALLEST_EFFECT) -> Loaded:
    """Return what a campaign measured.

    Parameters
    ----------
    folder : path
        The campaign's folder, such as ``data/reference``.
    smallest : str or float
        A difference that is not larger than this share, ``2%`` or ``0.02``, is of no interest.

    Returns
    -------
    Loaded
        `values`, `summary`, `receipts` and `census` are DataFrames, whose columns docs/api.md explains; a part that was not
        measured is one without rows. Shown by itself, it says what was measured.

    Raises
    ------
    BadRequest
        If there is no campaign, or the share is none.
    BadData
        If a file of it is damaged; some are read only when a frame is asked for.
    """
    return Loaded(Campaign(Path(folder)), share(str(smallest), "smallest"))


def compare(a: Loaded | str | os.PathLike[str], b: Loaded | str | os.PathLike[str]) -> pd.DataFrame:
    """Return what became of each timed cell of one campaign in another.

    Parameters
    ----------
    a, b : Loaded or path
        What was before, and what is now; the share that matters is that of `b`.

    Returns
    -------
    DataFrame
        As compare.moved() returns it: a row for each cell that either has, with the medians `before` and `now`, and the ratio of
        now to before with its interval and verdict where both have it.

    Raises
    ------
    BadRequest
        If one of them is no campaign, or holds no visit.
    """
    before, now = (one if isinstance(one, Loaded) else load(one) for one in (a, b))
    for one in (before, now):
        one.campaign.recorded()
    return comparison.moved(now.values, before.values, now.smallest)
