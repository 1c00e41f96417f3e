"""What the intervals and verdicts of the study are worth: campaigns with a known truth, judged by us and by others. Pure.

A simulated value is the truth times the noise of its boot, of its cell in that boot, of its visit and of itself, times a drift that
goes on from the first visit of a boot to its last. A campaign asks several questions, each of a baseline and some arms, as a board
with several exits does. All judges see the same values. pyperf and Welch's test see the values of all visits and boots as one sample,
as ``pyperf compare_to`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyperf._utils import is_significant
from scipy import stats

from study.analyze import compare, pooling
from study.analyze.pooling import Array, Spread
from study.design import LEAST_BOOTS
from study.errors import BadRequest
from study.terminal import progress

Told = npt.NDArray[np.bool_]
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
        Of a cell in a boot, shared by its visits there: where the kernel came to lie, what was allocated first.
    visit : float
        Of a process, shared by its values.
    value : float
        Of a single value.
    drift : float
        From the first visit of a boot to its last.
    shape : str
        A row of SHAPES.
    questions, cells : float
        By how much questions, and cells of one question, differ in all but the noise of boots: standard deviations of logarithms.
    steady : float
        The share of cells that repeat themselves exactly, in all but what the boot does.
    """

    says: str
    boot: float = 0.0
    layout: float = 0.0
    visit: float = 0.0
    value: float = 0.01
    drift: float = 0.0
    shape: str = "normal"
    questions: float = 0.0
    cells: float = 0.0
    steady: float = 0.0


NOISES = {
    "independent": Noise("every value on its own"),
    "clustered": Noise("boots and processes shift all of their values", boot=0.02, layout=0.002, visit=0.01),
    "heavy tails": Noise("the same, by Student's t with 3 degrees", boot=0.02, layout=0.002, visit=0.01, shape="heavy"),
    "spikes": Noise("the same, and one of ten is delayed", boot=0.02, layout=0.002, visit=0.01, shape="spikes"),
    "drift": Noise("clustered, and a boot slows down by 5 %", boot=0.02, layout=0.002, visit=0.01, drift=0.05),
    "cells differ": Noise("clustered, some cells noisier than others", boot=0.02, layout=0.002, visit=0.01, cells=0.5),
    "exits differ": Noise(
        "the same, and some exits noisier, as mmio is beside hvc", boot=0.02, layout=0.002, visit=0.01, cells=0.3, questions=0.7
    ),
    "some repeat": Noise("clustered, and a fifth of the cells repeats exactly", layout=0.002, visit=0.01, steady=0.2),
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


SIZES = [Size(3), Size(5), Size(10)]
MANY = 20_000  # boots, to find a true median by
# True differences from the baseline of a question. The first is the control arm.
EFFECTS = (0.0,) * 8 + (0.01,) * 3 + (0.02,) * 2 + (0.05,) * 2
QUESTIONS = 4  # of a campaign: 60 comparisons


def draw(
    noise: Noise, size: Size, campaigns: int, seed: int, effects: Sequence[float] = EFFECTS, questions: int = QUESTIONS
) -> Array:
    """Return the values of simulated campaigns, as randomised complete blocks measure them.

    Returns
    -------
    array
        Shape (campaigns, boots, visits, questions, 1 + effects, values): the baseline first. Without noise it is 1.
    """
    source, shape = np.random.default_rng(seed), SHAPES[noise.shape]
    whole = (campaigns, size.boots, size.visits, questions, 1 + len(effects), size.values)

    def noises(name: str, axes: tuple[int, ...], shape: Draw = shape) -> Array:
        return np.asarray(getattr(noise, name) * shape(source, tuple(n if at in axes else 1 for at, n in enumerate(whole))))

    scale = np.exp(noises("questions", (0, 3), SHAPES["normal"]) + noises("cells", (0, 3, 4), SHAPES["normal"]))
    scale = np.where(source.random(scale.shape) < noise.steady, 0.0, scale)
    logs = noises("boot", (0, 1)) + scale * noises("layout", (0, 1, 3, 4))
    logs = logs + scale * noises("visit", (0, 1, 2, 3, 4)) + scale * noises("value", (0, 1, 2, 3, 4, 5))
    # In each block the cells come in an order of their own; the boot goes on from block to block.
    cells = questions * whole[4]
    order = source.permuted(np.broadcast_to(np.arange(cells), (*whole[:3], cells)), axis=3).reshape(whole[:5])
    place = (np.arange(size.visits)[:, None, None] * cells + order + 0.5) / (size.visits * cells) - 0.5
    logs += noise.drift * place[..., None]
    return np.asarray(np.exp(logs) * np.array([1.0, *(1 + effect for effect in effects)])[:, None])


def visits(values: Array) -> pd.DataFrame:
    """Return the visits of simulated campaigns as study.analyze.compare.medians returns those of a measured one.

    Parameters
    ----------
    values : array
        As draw() returns it. Cells are numbered by campaign, then by question, then by arm.
    """
    *_, questions, arms, size = values.shape
    campaign, boot, block, question, arm = (part.ravel() for part in np.indices(values.shape[:5]))
    pool = campaign * questions + question
    return pd.DataFrame({
        "cell": pool * arms + arm, "boot": boot, "block": block + 1, "value": np.median(values, axis=-1).ravel(), "values": size,
        "pool": pool, "room": pool,
    })  # fmt: skip


def effects_of(values: Array) -> Spread:
    """Return the logarithms of the ratios of every arm to the baseline of its question, by the study's own code."""
    campaigns, *_, questions, arms, _ = values.shape
    cell = np.arange(campaigns * questions * arms)
    return pooling.effects(visits(values), np.where(cell % arms == 0, -1, cell - cell % arms))


def intervals(values: Array, effect: Spread) -> tuple[Array, Array]:
    """Return the ends of the intervals of effects_of(), each by itself: shape (campaigns, questions, effects)."""
    low, high = (end.reshape(values.shape[0], *values.shape[3:5])[:, :, 1:] for end in effect.interval())
    return low, high


def ours(values: Array, effect: Spread) -> Told:
    """Return the study's verdicts: shape (campaigns, questions, effects), whether an arm is told from its baseline."""
    campaigns, *_, questions, arms, _ = values.shape
    verdicts = compare.judge(effect, np.repeat(np.arange(campaigns * questions), arms))["verdict"]
    return np.asarray(verdicts != compare.CANNOT).reshape(campaigns, questions, arms)[:, :, 1:]


def by_interval(values: Array, effect: Spread) -> Told:
    """Return whether the study's interval leaves 1 out: without a smallest effect, and each comparison by itself."""
    low, high = intervals(values, effect)
    return np.asarray((low > 0) | (high < 0))


def by_pyperf(values: Array, _: Spread) -> Told:
    """Return what pyperf calls significant: its own function, on the flattened values of each arm."""
    found = [[[_significant(base, arm) for arm in arms] for base, *arms in campaign] for campaign in _flattened(values).tolist()]
    return np.array(found)


def _significant(base: list[float], arm: list[float]) -> bool:
    """Return what pyperf's function says; it divides by a deviation of 0 where both repeat exactly: then they are told if they differ."""
    try:
        return bool(is_significant(base, arm)[0])
    except ZeroDivisionError:
        return base[0] != arm[0]


def by_welch(values: Array, _: Spread) -> Told:
    """Return what Welch's test at 5 % calls different, on the flattened values of each arm."""
    flat = _flattened(values)
    return np.asarray(stats.ttest_ind(flat[:, :, :1], flat[:, :, 1:], axis=-1, equal_var=False).pvalue < 1 - pooling.LEVEL)


def _flattened(values: Array) -> Array:
    """Return all values of each arm as one sample: shape (campaigns, questions, arms, boots x visits x values)."""
    campaigns, boots, visits, questions, arms, size = values.shape
    return np.moveaxis(values, (3, 4), (1, 2)).reshape(campaigns, questions, arms, boots * visits * size)


JUDGES: dict[str, Callable[[Array, Spread], Told]] = {
    "study": ours,
    "interval": by_interval,
    "pyperf": by_pyperf,
    "Welch": by_welch,
}
MARGINS = {"study": compare.SMALLEST_EFFECT}  # the judges for which a difference has to be larger than something


def prove(noise: str, size: Size, campaigns: int, seed: int, questions: int = QUESTIONS) -> dict[str, Any]:
    """Simulate campaigns and return what the study's intervals hold and what each judge says.

    Returns
    -------
    dict
        `noise`, `size`, `campaigns`, `comparisons` of each; `covered` and `median_covered`, the shares of intervals of a ratio and of a
        median that hold the truth, each by itself, and `width`, the median width of the former: NaN where the design supports no
        interval; for each judge `any false`, the share of campaigns in which an arm was told from the baseline that
        differs from it by no more than the judge's margin, or not at all where both repeat exactly; and for each judge and effect the share of arms that were told, under keys
        like ``pyperf 0 %``: false verdicts for 0 %, power for the others.
    """
    values = draw(NOISES[noise], size, campaigns, seed, questions=questions)
    truth, table, effect = np.log1p(EFFECTS), visits(values), effects_of(values)
    low, high = intervals(values, effect)
    logs = np.log(table["value"].to_numpy())
    cells = pooling.over_boots(table["cell"].to_numpy(), table["boot"].to_numpy(), logs, campaigns * questions * values.shape[4])
    lowest, highest = (end[:: values.shape[4]] for end in cells.interval())
    # Noise that delays has no median of 0: the true median of a cell is that of many boots of it.
    boots = draw(NOISES[noise], Size(1, size.visits, size.values), MANY, seed + 1, effects=(), questions=1)
    level = np.median(np.median(np.log(np.median(boots, axis=5)), axis=2))
    near = 1e-9  # of what repeats exactly, the logarithm's last bits
    covered = {
        "covered": ((low <= truth + near) & (truth <= high + near)).mean(),
        "median_covered": ((lowest <= level + near) & (level <= highest + near)).mean(),
        "width": np.median(np.expm1(high - low)),
    }
    told: dict[str, float] = {}
    steady: npt.NDArray[np.bool_] = np.ptp(values, axis=(1, 2, 5)) == 0
    exact = steady[:, :, :1] & steady[:, :, 1:]  # here every difference is one
    for name, judge in JUDGES.items():
        says = judge(values, effect)
        nothing = np.array(EFFECTS) <= np.where(exact, 0.0, MARGINS.get(name, 0.0))
        told[f"{name} any false"] = float((says & nothing).any(axis=(1, 2)).mean())
        told |= {
            f"{name} {effect:.0%}".replace("%", " %"): float(says[..., np.equal(EFFECTS, effect)].mean())
            for effect in dict.fromkeys(EFFECTS)
        }
    supported = size.boots >= LEAST_BOOTS
    shares = {name: float(share) if supported else np.nan for name, share in covered.items()}
    return {"noise": noise, "size": str(size), "campaigns": campaigns, "comparisons": questions * len(EFFECTS)} | shares | told


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
    values = draw(NOISES[noise], size, campaigns, seed, questions=1)
    truth = np.log1p(EFFECTS)
    going = np.ones(campaigns, bool)
    used, covered, false = np.full(campaigns, size.boots), np.zeros(campaigns), np.zeros(campaigns)
    for boots in range(LEAST_BOOTS, size.boots + 1):
        sofar = values[going, :boots]
        effect = effects_of(sofar)
        low, high = intervals(sofar, effect)
        stop = ((np.exp(high - low) - 1).max(axis=(1, 2)) <= until) | (boots == size.boots)
        at = np.flatnonzero(going)[stop]
        used[at] = boots
        covered[at] = ((low <= truth) & (truth <= high)).mean(axis=(1, 2))[stop]
        if len(at):
            false[at] = ours(sofar, effect)[stop][:, 0, 0]
        going[at] = False
        if not going.any():
            break
    return {"boots": float(used.mean()), "covered": float(covered.mean()), "false": float(false.mean())}
