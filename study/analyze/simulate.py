"""What the intervals and verdicts of the study are worth: campaigns with a known truth, judged by us and by others. Pure.

A simulated value is the truth times the noise of its boot, of the strategy in that boot, of its visit and of itself,
times a drift that goes on from the first visit of a boot to its last. All judges see the same values. pyperf and
Welch's test see the values of all visits and boots as one sample, as ``pyperf compare_to`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyperf._utils import is_significant
from scipy import stats

from study.analyze import compare
from study.analyze.compare import Array, Spread
from study.design import LEAST_BOOTS
from study.errors import BadRequest
from study.terminal import progress

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _spikes(source: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return normal noise, and in one of ten a delay on top of it, as interrupts and page faults make it."""
    return source.standard_normal(shape) + (source.random(shape) < 0.1) * source.exponential(5.0, shape)


SHAPES: dict[str, Draw] = {
    "normal": lambda source, shape: source.standard_normal(shape),
    "heavy": lambda source, shape: source.standard_t(3, shape) / np.sqrt(3),
    "spikes": _spikes,
}


@dataclass(frozen=True)
class Noise:
    """What disturbs a value: standard deviations as shares of it.

    Parameters
    ----------
    says : str
        In words.
    boot : float
        Of a boot, shared by all of its visits.
    layout : float
        Of a strategy in a boot, shared by its visits there: where the kernel came to lie, what was allocated first.
    visit : float
        Of a process, shared by its values.
    value : float
        Of a single value.
    drift : float
        From the first visit of a boot to its last.
    shape : str
        A row of SHAPES.
    """

    says: str
    boot: float = 0.0
    layout: float = 0.0
    visit: float = 0.0
    value: float = 0.01
    drift: float = 0.0
    shape: str = "normal"


NOISES = {
    "independent": Noise("every value on its own"),
    "clustered": Noise("boots and processes shift all of their values", boot=0.02, layout=0.002, visit=0.01),
    "heavy tails": Noise("the same, by Student's t with 3 degrees", boot=0.02, layout=0.002, visit=0.01, shape="heavy"),
    "spikes": Noise("the same, and one of ten is delayed", boot=0.02, layout=0.002, visit=0.01, shape="spikes"),
    "drift": Noise("clustered, and a boot slows down by 5 %", boot=0.02, layout=0.002, visit=0.01, drift=0.05),
    "all at once": Noise("heavy tails, drift, noisier boots", boot=0.03, layout=0.004, visit=0.015, drift=0.05, shape="heavy"),
}


@dataclass(frozen=True)
class Size:
    """How much a campaign measures of each cell: boots, visits on each, values in each."""

    boots: int
    visits: int = 4
    values: int = 10

    def __str__(self) -> str:
        return f"{self.boots} x {self.visits} x {self.values}"


SIZES = [Size(2), Size(3), Size(5), Size(10)]
MANY = 20_000  # boots, to find a true median by
# True differences from the baseline. The first is the control arm.
EFFECTS = (0.0, 0.01, 0.02, 0.05)


def draw(noise: Noise, size: Size, campaigns: int, seed: int, effects: Sequence[float] = EFFECTS) -> Array:
    """Return the values of simulated campaigns, as randomised complete blocks measure them.

    Returns
    -------
    array
        Shape (campaigns, boots, visits, 1 + effects, values): the baseline first. Without noise it is 1.
    """
    source, shape = np.random.default_rng(seed), SHAPES[noise.shape]
    whole = (campaigns, size.boots, size.visits, 1 + len(effects), size.values)
    levels = (("boot", (0, 1)), ("layout", (0, 1, 3)), ("visit", (0, 1, 2, 3)), ("value", (0, 1, 2, 3, 4)))
    logs = np.zeros(whole)
    for name, axes in levels:
        logs += getattr(noise, name) * shape(source, tuple(n if axis in axes else 1 for axis, n in enumerate(whole)))
    # In each block the arms come in an order of their own; the boot goes on from block to block.
    order = source.permuted(np.broadcast_to(np.arange(whole[3]), whole[:4]), axis=3)
    place = (np.arange(size.visits)[:, None] * whole[3] + order + 0.5) / (size.visits * whole[3]) - 0.5
    logs += noise.drift * place[..., None]
    return np.asarray(np.exp(logs) * np.array([1.0, *(1 + effect for effect in effects)])[:, None])


def visits(values: Array) -> pd.DataFrame:
    """Return the visits of simulated campaigns as study.analyze.compare.medians returns those of a measured one.

    Parameters
    ----------
    values : array
        As draw() returns it. Cells are numbered by campaign, then by arm.
    """
    campaigns, boots, blocks, arms, size = values.shape
    campaign, boot, block, arm = (part.ravel() for part in np.indices((campaigns, boots, blocks, arms)))
    value = np.median(values, axis=-1).ravel()
    return pd.DataFrame({
        "cell": campaign * arms + arm, "boot": boot, "block": block + 1, "value": value, "values": size, "pool": campaign, "room": campaign,
    })  # fmt: skip


def effects_of(values: Array) -> Spread:
    """Return the logarithms of the ratios of every arm to its campaign's baseline, by the study's own code, campaign by campaign."""
    campaigns, arms = values.shape[0], values.shape[3]
    cell = np.arange(campaigns * arms)
    return compare.effects(visits(values), np.where(cell % arms == 0, -1, cell - cell % arms))


def ours(values: Array) -> Array:
    """Return the study's verdicts: shape (campaigns, effects), whether an arm is told from the baseline by more than matters."""
    campaigns, arms = values.shape[0], values.shape[3]
    verdicts = compare.judge(effects_of(values), np.repeat(np.arange(campaigns), arms))["verdict"]
    return np.asarray(verdicts != compare.CANNOT).reshape(campaigns, arms)[:, 1:]


def by_interval(values: Array) -> Array:
    """Return whether the study's interval leaves 1 out: without a smallest effect, and each comparison by itself."""
    low, high = (end.reshape(values.shape[0], -1)[:, 1:] for end in effects_of(values).interval())
    return np.asarray((low > 0) | (high < 0))


def by_pyperf(values: Array) -> Array:
    """Return what pyperf calls significant: its own function, on the flattened values of each arm."""
    flat = _flattened(values)
    return np.array([[is_significant(list(base), list(arm))[0] for arm in arms] for base, *arms in flat])


def by_welch(values: Array) -> Array:
    """Return what Welch's test at 5 % calls different, on the flattened values of each arm."""
    flat = _flattened(values)
    return np.asarray(stats.ttest_ind(flat[:, :1], flat[:, 1:], axis=-1, equal_var=False).pvalue < 1 - compare.LEVEL)


def _flattened(values: Array) -> Array:
    """Return all values of each arm as one sample: shape (campaigns, arms, boots x visits x values)."""
    return np.moveaxis(values, 3, 1).reshape(values.shape[0], values.shape[3], -1)


JUDGES: dict[str, Callable[[Array], Array]] = {"study": ours, "interval": by_interval, "pyperf": by_pyperf, "Welch": by_welch}


def prove(noise: str, size: Size, campaigns: int, seed: int) -> dict[str, Any]:
    """Simulate campaigns and return what the study's intervals hold and what each judge says.

    Returns
    -------
    dict
        `noise`, `size`, `campaigns`; `covered` and `median_covered`, the shares of intervals of a ratio and of a median that
        hold the truth, and `width`, the median width of the former: NaN where the design supports no interval; and for each
        judge and effect the share of campaigns in which the arm was told from the baseline, under keys like ``pyperf 0 %``:
        false verdicts for 0 %, power for the others.
    """
    values = draw(NOISES[noise], size, campaigns, seed)
    arms, truth, table = values.shape[3], np.log1p(EFFECTS), visits(values)
    low, high = (end.reshape(campaigns, arms)[:, 1:] for end in effects_of(values).interval())
    logs = np.log(table["value"].to_numpy())
    cells = compare.over_boots(table["cell"].to_numpy(), table["boot"].to_numpy(), logs, campaigns * arms)
    lowest, highest = (end[::arms] for end in cells.interval())
    # Noise that delays has no median of 0: the true median of a cell is that of many boots of it.
    boots = draw(NOISES[noise], Size(1, size.visits, size.values), MANY, seed + 1, effects=())
    level = np.median(np.median(np.log(np.median(boots, axis=4)), axis=2))
    covered = {
        "covered": ((low <= truth) & (truth <= high)).mean(),
        "median_covered": ((lowest <= level) & (level <= highest)).mean(),
        "width": np.median(np.expm1(high - low)),
    }
    told = {
        f"{judge} {effect:.0%}".replace("%", " %"): float(share)
        for judge, judges in JUDGES.items()
        for effect, share in zip(EFFECTS, judges(values).mean(axis=0), strict=True)
    }
    supported = size.boots >= LEAST_BOOTS
    shares = {name: float(share) if supported else np.nan for name, share in covered.items()}
    return {"noise": noise, "size": str(size), "campaigns": campaigns} | shares | told


def table(campaigns: int, seed: int) -> pd.DataFrame:
    """Return a row of prove() for each of NOISES and SIZES.

    Raises
    ------
    BadRequest
        If there is nothing to simulate, or the seed is no seed.
    """
    for name, value, least in (("campaigns", campaigns, 1), ("seed", seed, 0)):
        if value < least:
            raise BadRequest(f"{name} is {value}: it must be a whole number of at least {least}")
    cells = [(noise, size) for noise in NOISES for size in SIZES]
    rows = []
    with progress.bar("simulating campaigns", campaigns * sum(size.boots for _, size in cells), "boots") as shown:
        for noise, size in cells:
            rows.append(prove(noise, size, campaigns, seed))
            shown.update(campaigns * size.boots)
    return pd.DataFrame(rows)


def family(noise: str, size: Size, campaigns: int, seed: int, comparisons: int = 12) -> dict[str, float]:
    """Return for each judge the share of campaigns of nothing but control arms in which any of them is told from the baseline."""
    values = draw(NOISES[noise], size, campaigns, seed, (0.0,) * comparisons)
    return {judge: float(judges(values).any(axis=1).mean()) for judge, judges in JUDGES.items()}


def stopped(noise: str, until: float, size: Size, campaigns: int, seed: int) -> dict[str, float]:
    """Simulate campaigns that stop at a width: after the first boot at which all intervals are narrower, or at the last.

    Parameters
    ----------
    noise : str
        A row of NOISES.
    until : float
        The width, as a share of the ratio.
    size : Size
        `boots` is the most that a campaign may take.
    campaigns, seed : int
        How many; of the noise.

    Returns
    -------
    dict
        `boots`, their mean number; `covered`, the share of intervals at the stop that hold the truth; `false`, the share of
        false verdicts on the control arm.
    """
    values = draw(NOISES[noise], size, campaigns, seed)
    arms, truth = values.shape[3], np.log1p(EFFECTS)
    going = np.ones(campaigns, bool)
    used, covered, false = np.full(campaigns, size.boots), np.zeros(campaigns), np.zeros(campaigns)
    for boots in range(LEAST_BOOTS, size.boots + 1):
        sofar = values[going, :boots]
        low, high = (end.reshape(-1, arms)[:, 1:] for end in effects_of(sofar).interval())
        stop = ((np.exp(high - low) - 1).max(axis=1) <= until) | (boots == size.boots)
        at = np.flatnonzero(going)[stop]
        used[at] = boots
        covered[at] = ((low <= truth) & (truth <= high)).mean(axis=1)[stop]
        if len(at):
            false[at] = ours(sofar[stop])[:, 0]
        going[at] = False
        if not going.any():
            break
    return {"boots": float(used.mean()), "covered": float(covered.mean()), "false": float(false.mean())}
