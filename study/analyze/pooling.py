"""How far cells are from each other, and how sure that is: what boots say, and what all cells of a board say of the noise. Pure.

Values of one visit belong together, and so do visits of one boot. What is independent is the boot. Three boots leave two degrees of
freedom to a cell alone; but dozens of cells were measured in the same boots, and together they tell how noisy the board is:

1. What a block does to all of its visits drops out: it is the mean, or of many cells the median, of how far the cells of a pool are from theirs.
2. What is left is, for each cell and boot, the median of its visits. It varies from boot to boot with a variance that belongs to the
   cell.
3. Variances of a pool are moderated: each is drawn to what its pool has at its noise between visits, the more the less cells differ
   (G. K. Smyth, Linear models and empirical Bayes methods, Stat. Appl. Genet. Mol. Biol. 3 (2004), art. 3; with a trend as in
   M. A. Sartor et al., BMC Bioinformatics 7 (2006), 538). A cell that is far noisier than its pool keeps its own.

A comparison is the mean over boots of the difference of two such levels, over the blocks that have both; its variance is that of both
cells, its degrees of freedom those of Welch and Satterthwaite, but never more than the pool has. Cells without boots in common, such
as those of two kernels, carry the variance of boots, too. notebooks/simulation.ipynb shows what that is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special  # Student's t: stdtr() is its distribution, stdtrit() the inverse; scipy.stats takes a second to import

from study.design import LEAST_BOOTS

LEVEL = 0.95
# So many cells say how noise between boots goes with noise between visits; fewer share one variance.
LEAST_FOR_A_TREND = 8
# Of fewer cells the mean says what a block does to all: the median would be one of them, which then never varies.
FEW = 16
# A cell keeps its own variance where so large a share of cells of its pool would have a smaller one.
OWN = 0.8

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Spread:
    """The means of several units over boots, and how sure they are: one number for each unit.

    Parameters
    ----------
    middle : array
        Means over boots, NaN for a unit without any.
    error : array
        Their standard errors; NaN where there are too few boots to know, 0 where a unit repeats itself exactly.
    freedom : array
        Degrees of freedom of the errors.
    """

    middle: Array
    error: Array
    freedom: Array

    def interval(self, together: int | Array = 1) -> tuple[Array, Array]:
        """Return the ends of the intervals by Student's t: so many of them hold together at LEVEL (Bonferroni)."""
        half = special.stdtrit(self.freedom, 1 - (1 - LEVEL) / 2 / together) * self.error
        half = np.where(self.error == 0, 0.0, half)
        return self.middle - half, self.middle + half

    def take(self, units: Numbers) -> Spread:
        """Return the spread of some units."""
        return Spread(self.middle[units], self.error[units], self.freedom[units])


def over_boots(unit: Numbers, boot: npt.NDArray[Any], level: Array, count: int) -> Spread:
    """Return the means over boots of the medians in each boot, each by its own boots alone.

    Parameters
    ----------
    unit, boot, level : array
        Shape (n,): what each level belongs to, a number below `count`; its boot; the level, on the scale of the mean.
    count : int
        How many units there are.
    """
    rows = pd.DataFrame({"unit": unit, "boot": boot, "level": level})
    of_boots = rows.groupby(["unit", "boot"], observed=True)["level"].median().groupby("unit")
    boots = of_boots.agg(["mean", "std", "size", "min", "max"])
    single = rows.groupby("unit")["level"].agg(["min", "max", "std", "size"])
    error = boots["std"] / np.sqrt(boots["size"])
    # Boots may agree by chance where a clock is coarse; then visits must say how sure their mean is.
    agree = boots["min"] == boots["max"]  # and not a deviation of 0, which rounding misses
    error = error.where(~agree, single["std"] / np.sqrt(single["size"])).where(boots["size"] >= LEAST_BOOTS)
    error = error.mask((single["min"] == single["max"]) & (single["size"] > 1), 0.0)
    found = pd.DataFrame({"middle": boots["mean"], "error": error, "freedom": np.maximum(boots["size"] - 1, 1)})
    wide = found.reindex(range(count))
    return Spread(wide["middle"].to_numpy(), wide["error"].to_numpy(), wide["freedom"].fillna(1).to_numpy(float))


def effects(visits: pd.DataFrame, reference: Numbers) -> Spread:
    """Return for each cell the logarithm of its ratio to its reference, over boots.

    Parameters
    ----------
    visits : DataFrame
        As study.analyze.compare.medians() returns it; `cell`, `boot`, `block`, `value`, `pool` and `room` are read.
    reference : array
        For each cell the number of the one to compare with, -1 if there is none.

    Returns
    -------
    Spread
        Of boots that both cells were measured in; or, if these are fewer than LEAST_BOOTS, of all boots of both. A cell with a value
        that is not above 0 has no ratio.
    """
    whole = (visits.groupby("cell")["value"].min() > 0).reindex(range(len(reference)), fill_value=False).to_numpy()
    other = np.where((reference >= 0) & whole & whole[reference], reference, -1)
    known = np.flatnonzero(other >= 0)
    found = Spread(*(np.full(len(reference), empty) for empty in (np.nan, np.nan, 1.0)))
    if not len(known):
        return found
    rows = visits[whole[visits["cell"]]]
    # Over the cell's first value, so that what repeats itself exactly is found exactly.
    first = rows.groupby("cell")["value"].first().reindex(range(len(reference)), fill_value=1.0).to_numpy()
    rows = rows.assign(level=np.log(rows["value"] / first[rows["cell"]]))
    blocks, levels = _without_blocks(rows)
    cells = _variances(blocks, levels).reindex(range(len(reference)))
    effect = _contrasts(blocks, levels, cells, known, other[known])
    found.middle[known] = effect.middle + np.log(first[known]) - np.log(first[other[known]])
    found.error[known], found.freedom[known] = effect.error, effect.freedom
    return found


def _without_blocks(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return levels without what their blocks do to all: of each cell, boot and block, and of each cell and boot.

    `off` is how far a level is from the cell's mean, `shift` what the block does to all, `left` the difference; `share` corrects
    variances for the part of a cell in its own shift. Of a block of one cell nothing is known.
    """
    of_cell, one = rows.groupby("cell")["level"].agg(["min", "max", "size"]), ["cell", "boot", "block"]
    rows = rows.assign(steady=rows["cell"].map((of_cell["min"] == of_cell["max"]) & (of_cell["size"] > 1)))
    blocks = rows.groupby(one, observed=True, sort=False).agg(
        level=("level", "median"), pool=("pool", "first"), room=("room", "first"), steady=("steady", "first")
    ).reset_index()  # fmt: skip
    blocks["off"] = blocks["level"] - blocks.groupby("cell")["level"].transform("mean")
    of_block = blocks.groupby(["pool", "boot", "block"], observed=True, sort=False)["off"]
    cells = of_block.transform("size").to_numpy()
    middle = np.where(cells < FEW, of_block.transform("mean"), of_block.transform("median"))
    blocks["shift"] = np.where(cells > 1, middle, 0.0)
    blocks["share"] = np.where(cells > 1, cells / np.maximum(cells - 1, 1), 1.0)
    blocks["left"] = blocks["off"] - blocks["shift"]
    blocks["cleared"] = blocks["level"] - np.where(blocks["steady"], 0.0, blocks["shift"])
    levels = blocks.groupby(["cell", "boot"], observed=True, sort=False).agg(
        level=("level", "median"), left=("left", "median"), shift=("shift", "mean"),
        pool=("pool", "first"), room=("room", "first"),
    ).reset_index()  # fmt: skip
    return blocks, levels


def _variances(blocks: pd.DataFrame, levels: pd.DataFrame) -> pd.DataFrame:
    """Return for each cell `variance` of a boot, `freedom`, `boots`, `steady`; `most`, the freedom of its pool; and those of boots' shifts."""
    by_cell, by_boot = blocks.groupby("cell"), levels.groupby("cell")
    share = by_cell["share"].mean()
    of_boot = blocks.groupby(["cell", "boot"], observed=True)["left"]
    cells = pd.DataFrame({
        "pool": by_cell["pool"].first(), "room": by_cell["room"].first(), "steady": by_cell["steady"].first(), "boots": by_boot.size(),
        "between": by_boot["left"].var() * share, "freedom": (by_boot.size() - 1) / share,
        "visits": by_cell.size() / by_boot.size(),
    })  # fmt: skip
    squares = (blocks["left"] - of_boot.transform("mean")).pow(2).groupby(blocks["cell"]).sum()
    cells["within"] = squares * share / (by_cell.size() - by_boot.size()).where(lambda of: of > 0)
    # Boots may agree by chance where a clock is coarse; then visits must say how sure their mean is.
    agree = (cells["between"] == 0) & (cells["within"] > 0)
    cells["between"] = cells["between"].mask(agree, cells["within"] / cells["visits"])
    cells = pd.concat([moderated(of_pool) for _, of_pool in cells.groupby("pool")]).sort_index()
    shifts = levels.groupby(["room", "pool", "boot"], observed=True)["shift"].mean().groupby(["room", "pool"])
    of_rooms = shifts.agg(["var", "size"]).fillna(0.0).assign(freedom=lambda of: of["size"] - 1).groupby("room")
    free = of_rooms["freedom"].sum()
    shifted = of_rooms.apply(lambda of: (of["var"] * of["freedom"]).sum()) / free.where(free > 0)
    return cells.assign(of_boots=cells["room"].map(shifted).fillna(0.0), free=cells["room"].map(free))


def moderated(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a pool with `variance`, its `freedom`, and `most`, the freedom of all of them.

    Parameters
    ----------
    cells : DataFrame
        `between`, the variance of a cell between boots, with its `freedom`; `within`, that between visits; `steady`, whether it always
        gave the same.
    """
    own, freedom = cells["between"].to_numpy(), cells["freedom"].to_numpy(float)
    says = (own > 0) & ~cells["steady"].to_numpy(bool)
    most = freedom[says].sum()
    if not says.any():
        return cells.assign(variance=np.where(cells["steady"], 0.0, own), most=np.maximum(freedom, 1))
    trend = _trend(cells["within"].to_numpy(), own, says)
    prior, typical = _prior(own[says] / trend[says], freedom[says])
    if np.isinf(prior):
        variance, free = typical * trend, np.full(len(own), most)
    else:
        variance = (prior * typical * trend + freedom * np.nan_to_num(own)) / (prior + freedom)
        free = freedom + prior
    variance = np.where(own > variance * special.fdtri(np.maximum(freedom, 1e-3), min(prior, 1e6), OWN), own, variance)
    return cells.assign(variance=np.where(cells["steady"], 0.0, variance), freedom=free, most=most)


def _trend(within: Array, between: Array, says: npt.NDArray[np.bool_]) -> Array:
    """Return by which factor cells vary more between boots than is usual in their pool, as far as their visits tell."""
    trend, fitted = np.ones(len(within)), says & (within > 0)
    if fitted.sum() < LEAST_FOR_A_TREND:
        return trend
    x, y = np.log(within[fitted]), np.log(between[fitted])
    varies = np.var(x, ddof=1)
    slope = np.clip(np.cov(x, y)[0, 1] / varies, 0, 1) if varies > 0 else 0.0
    trend[fitted] = np.exp(slope * (x - x.mean()))
    return trend


def _prior(variances: Array, freedom: Array) -> tuple[float, float]:
    """Return the degrees of freedom of the prior, and its variance: Smyth's estimates, infinite where cells do not differ.

    The variance is no less than what keeps the mean of all variances, which spikes raise and logarithms do not see.
    """
    mean = float(np.average(variances, weights=freedom))
    logs = np.log(variances) - special.digamma(freedom / 2) + np.log(freedom / 2)
    differ = (np.var(logs, ddof=1) if len(logs) > 1 else 0.0) - special.polygamma(1, freedom / 2).mean()
    if differ <= 0:
        return np.inf, mean
    prior = 2 * _inverse_trigamma(differ)
    typical = np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    return prior, float(max(typical, mean * (prior - 2) / prior))


def _inverse_trigamma(value: float) -> float:
    """Return where the trigamma function has this value: Newton's method on its inverse, as Smyth gives it."""
    found = 0.5 + 1 / value
    for _ in range(50):
        now = special.polygamma(1, found)
        step = now * (1 - now / value) / special.polygamma(2, found)
        found += step
        if abs(step) < 1e-10 * found:
            break
    return float(found)


def _contrasts(blocks: pd.DataFrame, levels: pd.DataFrame, cells: pd.DataFrame, ours: Numbers, theirs: Numbers) -> Spread:
    """Return the differences of pairs of cells, over boots."""
    pairs = pd.DataFrame({"cell": ours, "other": theirs, "pair": np.arange(len(ours))})
    of_cell = blocks[["cell", "boot", "block", "cleared"]]
    of_other = of_cell.rename(columns={"cell": "other", "cleared": "base"})
    shared = pairs.merge(of_cell, on="cell").merge(of_other, on=["other", "boot", "block"])
    of_boots = shared.groupby(["pair", "boot"], observed=True)[["cleared", "base"]].median()
    differences = (of_boots["cleared"] - of_boots["base"]).groupby("pair").agg(["mean", "size"]).reindex(pairs["pair"])
    both, mean = (
        differences["size"].fillna(0).to_numpy(),
        levels.groupby("cell")["level"].mean().reindex(range(len(cells))).to_numpy(),
    )
    we, they = (cells.take(of).reset_index(drop=True) for of in (ours, theirs))
    fewest = np.minimum(we["boots"], they["boots"]).to_numpy()
    paired = (both >= LEAST_BOOTS) | ((both > 0) & (fewest < LEAST_BOOTS))
    count = [np.where(paired, both, of["boots"]) for of in (we, they)]
    with np.errstate(invalid="ignore", divide="ignore"):
        shifts = np.where(paired, 0.0, we["of_boots"] / count[0] + they["of_boots"] / count[1])
        parts = [of["variance"].to_numpy() / boots for of, boots in zip((we, they), count, strict=True)]
        squares = parts[0] ** 2 / we["freedom"] + parts[1] ** 2 / they["freedom"] + shifts**2 / np.maximum(we["free"], 1)
        variance = parts[0] + parts[1] + shifts
        freedom = np.where(squares > 0, variance**2 / squares, 1.0)
    alike = (we["pool"] == they["pool"]).to_numpy()
    most = we["most"] + np.where(alike, 0.0, they["most"])
    steady = (we["steady"] & they["steady"]).to_numpy()
    error = np.where(steady, 0.0, np.where(np.where(paired, both, fewest) >= LEAST_BOOTS, np.sqrt(variance), np.nan))
    middle = np.where(paired, differences["mean"], mean[ours] - mean[theirs])
    return Spread(middle, error, np.maximum(np.minimum(freedom, most), 1.0))
