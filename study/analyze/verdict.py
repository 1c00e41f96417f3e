"""Whether a kernel is worse than another by more than a share: an answer for programs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.analyze import compare, pooling, tables
from study.analyze.patches import PLACE
from study.analyze.select import select
from study.campaign import Campaign
from study.design import MAIN, Kernel
from study.errors import BadRequest
from study.factors import IMPORTED, KVM

NOT_WORSE, WORSE, CANNOT_BE_SAID = 0, 1, 125  # what git bisect run takes for good, bad and skip


@dataclass(frozen=True)
class Verdict:
    """An answer: an exit status, and the reasons in lines."""

    status: int
    says: str


def verdict(visits: pd.DataFrame, kernel: str, than: str, cells: str, at_most: float) -> Verdict:
    """Say whether a kernel is worse than another.

    Parameters
    ----------
    visits : DataFrame
        As compare.medians() returns it.
    kernel, than : str
        The kernel that is judged, and the one that it is compared with, as tables call them.
    cells : str
        Which cells: see select(); empty for all.
    at_most : float
        The share by which it may be dearer: 0.01 for 1 %.

    Returns
    -------
    Verdict
        WORSE if the interval of any cell is wholly above that, NOT_WORSE if no interval reaches above it: the intervals of all cells
        hold together. CANNOT_BE_SAID otherwise, and where a cell is missing.

    Raises
    ------
    BadRequest
        If a cell is named that was not measured.
    """
    alone = visits.astype(dict.fromkeys(compare.CELL, str)).assign(verdict="")
    alone = alone[alone["strategy"].isin(compare.AS_IT_IS) & (alone["arm"] == MAIN)]
    if alone.empty:
        return Verdict(CANNOT_BE_SAID, f"cannot be said: nothing was measured with a strategy of {', '.join(compare.AS_IT_IS)}")
    rows = select(compare.timed(alone), cells)
    here = rows[rows["kernel"].isin([kernel, than])]
    here = here.assign(cell=here.groupby([*PLACE, "kernel"], sort=False).ngroup())
    known = compare.estimate(here).reset_index().pivot(index=PLACE, columns="kernel", values="cell")
    wanted = rows.groupby(PLACE).ngroups
    if lacking := [name for name in (than, kernel) if name not in known or known[name].count() < wanted]:
        return Verdict(CANNOT_BE_SAID, f"cannot be said: {lacking[0]} was not measured in all of {wanted} cells")
    if kernel == than:
        return Verdict(NOT_WORSE, f"not worse: it is the build of {than}")
    reference = np.full(len(known) * 2, -1)
    reference[known[kernel]] = known[than]
    effect = pooling.effects(here, reference).take(known[kernel].to_numpy(dtype=np.intp))
    low, high = effect.interval(max(int((effect.error > 0).sum()), 1))
    status = WORSE if (low > np.log1p(at_most)).any() else NOT_WORSE if (high <= np.log1p(at_most)).all() else CANNOT_BE_SAID
    worst = int(np.argmax(effect.middle))
    cell = " ".join(known.index[worst][:3])
    times = tables.ratio(*(np.exp(ends[worst]) for ends in (effect.middle, low, high)))
    return Verdict(
        status,
        f"{WORDS[status]}: {kernel} takes {times} times what {than} takes in {cell}, the worst of {tables.plural(wanted, 'cell')}",
    )


WORDS = {NOT_WORSE: "not worse", WORSE: "worse", CANNOT_BE_SAID: "cannot be said, measure more boots"}


def share(text: str, name: str) -> float:
    """Return the share that a text names: 0.01 for ``1%`` and for ``0.01``.

    Raises
    ------
    BadRequest
        If it is none.
    """
    number, percent, more = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if more or not 0 <= value < 1:
        raise BadRequest(f"{name} is {text!r}: it must be a share, such as 1% or 0.01")
    return value


def judged(campaign: Campaign, kernel: str) -> tuple[str, str]:
    """Return the label of the kernel that is judged, and why nothing can be said of it, if that is so.

    Parameters
    ----------
    campaign : Campaign
        Where it was measured.
    kernel : str
        Its label; empty for the last of the series, of the design, or of the boots that were imported.

    Raises
    ------
    BadRequest
        If there is no such kernel.
    """
    series, factors = campaign.series(), campaign.designs.get(KVM)
    rows = [series["base"], *series["patches"]] if series else []
    labels = {row["label"]: (row["kernel"], row["why"]) for row in rows} or {
        Kernel.of(text).name: (Kernel.of(text).name, "") for text in (factors.factors.kernels if factors else ())
    }
    if IMPORTED in campaign.designs:
        labels = {name: (name, "") for name in (campaign.facts(boot)["kernel"] for boot in campaign.boots())}
    if not labels or (kernel and kernel not in labels):
        raise BadRequest(f"{campaign.folder} has no kernel {kernel!r}; choose from {', '.join(labels) or 'none'}")
    found, why = labels[kernel or list(labels)[-1]]
    return found, why or " ".join(campaign.incomplete())
