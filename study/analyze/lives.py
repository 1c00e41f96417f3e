"""What real guests did while they lived, and what each way of switching cost their host: rows, census, costs, predictions. Pure.

A *life* is one run of a guest from its start to its power-off, a *phase* of it is what one row of WORKLOADS does, or its boot. What
a guest did is counted in the arm census, by tracepoints, which cost instructions; what it costs in the others, which have none.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from study.analyze import compare, cost, pooling
from study.analyze.frame import start_of
from study.analyze.rounding import rounded
from study.campaign import Campaign
from study.campaign.names import legible
from study.campaign.store import Record
from study.design import ANY, CENSUS, CONTROL, MAIN
from study.errors import BadRequest
from study.factors import GUESTS
from study.guests import WORKLOADS

# What tells the phases of all lives apart, and in which of them the same was done.
PLACE = ["board", "kernel", "mode", "guest", "phase"]
CELL = [*PLACE[:3], "strategy", *PLACE[3:]]
# What is counted of a phase: its column, and where a line of census.jsonl has it. NaN where it has not.
COUNTS = {
    "exits": ("kvm", "exits"),
    **{name: ("instructions", name.removeprefix("in_")) for name in ("in_kernel", "in_vmm", "in_guest")},
    "entries": ("module", "entries"),
    "switches": ("module", "switches"),
    "traps": ("module", "traps_taken"),
    "traced_entries": ("tracepoints", "entries"),
    "monitored": ("tracepoints", "monitored"),
    "accesses": ("tracepoints", "accesses"),
    "seen_monitored": ("census", "monitored"),
    "enabled": ("census", "enabled"),
}
COLUMNS = [
    *CELL, "arm", "boot", "life", "block", "baseline", "emulated", "cannot", "lacking", *COUNTS, "classes", "registers", "traced_exits",
]  # fmt: skip
NOTHING = pd.DataFrame(columns=COLUMNS)
# What census() says of a phase under a strategy.
SEEN = [
    *CELL, "workload", "entries", "exits_by_class", "monitor_mode", "enabled", "accesses", "system_registers", "exits", "switches", "traps",
    "instructions", "vmm_instructions", "guest_instructions", "lives", "counted", "cannot", "unseen",
]  # fmt: skip
# Who must have counted the same: KVM's own statistics, the module, and tracepoints; and of monitor debug mode the last two.
SAME = {"exits": ("entries", "traced_entries", "traced_exits"), "monitored": ("seen_monitored",)}
WHO = {
    "exits": "KVM", "entries": "the module", "traced_entries": "tracepoints at entries", "traced_exits": "tracepoints at exits",
    "monitored": "tracepoints", "seen_monitored": "the module",
}  # fmt: skip

# Why a guest was left: what kvm_exit calls ret (ARM_EXCEPTION_IRQ and _TRAP of arch/arm64/include/asm/kvm_asm.h), and of a trap the
# exception class (Arm ARM, ESR_ELx.EC).
INTERRUPT, TRAP = "0", "2"
EXCEPTIONS = {
    1: "wait", 3: "CP15", 4: "CP15", 5: "CP14", 6: "CP14", 7: "FP", 8: "FP ID", 12: "CP14", 18: "hypercall", 19: "SMC", 22: "hypercall",
    23: "SMC", 24: "system register", 25: "SVE", 32: "instruction abort", 36: "data abort", **dict.fromkeys(range(48, 54), "debug"),
    56: "debug", 60: "debug",
}  # fmt: skip

# Where the ISS of such a trap has Op0, Op1, CRn, CRm and Op2 of a system register (Arm ARM, ESR_ELx, EC 0x18): bits, and how many.
FIELDS = ((20, 2), (14, 3), (10, 4), (1, 4), (17, 3))
ENCODED = "S{}_{}_C{}_C{}_{}"  # as an assembler calls a register that it has no name for
# The registers of breakpoints and watchpoints, by Op2.
BANKS = {4: "DBGBVR", 5: "DBGBCR", 6: "DBGWVR", 7: "DBGWCR"}
# Names of registers that guests are left for (Arm ARM, D24).
REGISTERS = {
    **{ENCODED.format(2, 0, 0, number, op2): f"{bank}{number}_EL1" for op2, bank in BANKS.items() for number in range(16)},
    "S2_0_C0_C2_2": "MDSCR_EL1", "S2_0_C1_C0_4": "OSLAR_EL1", "S2_0_C1_C3_4": "OSDLR_EL1", "S3_3_C0_C0_1": "CTR_EL0",
    "S3_0_C0_C4_0": "ID_AA64PFR0_EL1", "S3_0_C0_C4_1": "ID_AA64PFR1_EL1", "S3_0_C0_C5_0": "ID_AA64DFR0_EL1",
    "S3_0_C0_C6_0": "ID_AA64ISAR0_EL1", "S3_0_C0_C6_1": "ID_AA64ISAR1_EL1", "S3_0_C0_C6_2": "ID_AA64ISAR2_EL1",
    "S3_0_C0_C7_0": "ID_AA64MMFR0_EL1", "S3_0_C0_C7_1": "ID_AA64MMFR1_EL1", "S3_0_C0_C7_2": "ID_AA64MMFR2_EL1",
    "S3_1_C0_C0_0": "CCSIDR_EL1", "S3_1_C0_C0_1": "CLIDR_EL1", "S3_2_C0_C0_0": "CSSELR_EL1", "S3_3_C9_C12_0": "PMCR_EL0",
    "S3_0_C12_C11_5": "ICC_SGI1R_EL1", "S3_3_C14_C0_1": "CNTPCT_EL0", "S3_3_C14_C0_2": "CNTVCT_EL0",
}  # fmt: skip

# What could not be counted, and why.
UNTRACED = "nothing was counted by tracepoints under this strategy"
LACKS = "the kernel has no tracepoint that says it"
NO_HISTOGRAMS = "the kernel counts by no tracepoint, which takes CONFIG_HIST_TRIGGERS"
MODULE_ONLY = "only the module sees it, and it did not look"

STRATEGIES, KERNELS = "strategies", "kernels"  # what is compared
NAMED = ["board", "kernel", "strategy", "guest", "phase", "arm"]
METRIC = "kernel-instructions-per-exit"
AGREE = 0.10  # of what was measured: how far a prediction may be off, if it is outside of the interval
SAME_EXITS = 0.01  # how far the exits of two lives may be apart, as a share, to be taken for the same ones
PREDICTED = ("pays", "predicted", "predicted_low", "predicted_high", "agrees", "why")
# What programs are told of a comparison besides.
TOLD = [
    "boots", "per_exit", *(f"{what}{end}" for what in ("more", "of_kernel", "of_all", "ratio") for end in ("", "_low", "_high")), "p",
    "least", "verdict", "baseline", "margin", *PREDICTED,
]  # fmt: skip
NO_FIT = "this campaign has no cells of the kit's guest there that tell trap and switch apart"
NO_REASON = "no reason is known"

# Of a map: the fewest accesses per entry that it has; what is nearer than these shares of its width and height is one place, and
# what stands there.
FEWEST, NEAR = 1e-3, (0.06, 0.1)
BEYOND = " (more than one access an exit: the map does not hold for it)"
SYMBOLS = "123456789abcdefghijklmnopqrstuvwxyz"
PLACES = ["board", "kernel", "kept_on", "touches", "share", "monitored", "mode", "symbol", "says"]
NOWHERE = pd.DataFrame(columns=PLACES)


def frame(campaign: Campaign) -> pd.DataFrame:
    """Return every phase of every life of a campaign.

    Returns
    -------
    DataFrame
        COLUMNS, in the order of measurement. `in_kernel`, `in_vmm` and `in_guest` are instructions, `classes` the exits by what they
        are in words, and `registers` those for a system register by its name, where tracepoints counted them; `cannot` is why a guest could not do it, empty if it could; `baseline` is the
        strategy that others are compared with.
    """
    starts: dict[tuple[str, str], str] = {}
    rows = [row for record in campaign.lives() for row in _rows(campaign, record, start_of(record, starts))]
    return pd.DataFrame(rows, columns=COLUMNS)


def lived(campaign: Campaign) -> pd.DataFrame:
    """Return frame() of a campaign in which real guests have lived.

    Raises
    ------
    BadRequest
        If none has.
    """
    found = frame(campaign)
    if found.empty:
        raise BadRequest(
            f"{campaign.folder} holds no life of a real guest; let some live with: "
            f"study guests --campaign {shlex.quote(str(campaign.folder))}"
        )
    return found


def _rows(campaign: Campaign, record: Record, boot: str) -> list[dict[str, Any]]:
    facts, line, factors = record.facts, record.line, campaign.designs[GUESTS].factors
    strategy, baseline = (
        factors.as_named(name, facts["kernel"], facts.get("release", facts["kernel"]))
        for name in (line["cell"]["strategy"], factors.baseline)
    )
    tags = {name: facts[name] for name in ("board", "kernel", "mode")} | {
        "strategy": strategy, "guest": legible(line["cell"]["guest"]), "arm": line["arm"], "boot": boot, "life": line["visit"],
        "block": line["block"], "baseline": baseline, "emulated": bool(facts["emulated"]), "lacking": tuple(line["lacking"]),
    }  # fmt: skip
    return [{**tags, **_counted(phase)} for phase in line["phases"]]


def _counted(phase: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a phase, by column."""
    traced = phase.get("tracepoints", {})
    exits = traced.get("exits", {})
    counts = {name: float(phase.get(group, {}).get(key, math.nan)) for name, (group, key) in COUNTS.items()}
    return {
        "phase": legible(phase["phase"]), "cannot": legible(phase.get("cannot", "")), **counts,
        "classes": _named_by(in_words, exits), "registers": _named_by(register, traced.get("registers", {})), "traced_exits": float(sum(exits.values())) if exits else math.nan,
    }  # fmt: skip


def _named_by(name: Callable[[str], str], counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by what their keys are called, the largest first, and none that is 0."""
    named = Counter[str]()
    for key, count in counts.items():
        named[name(key)] += count
    return dict((+named).most_common())


def register(syndrome: str) -> str:
    """Return the system register whose access trapped with this ESR_EL2, as kvm_handle_sys_reg has it."""
    encoded = ENCODED.format(*(int(syndrome) >> first & (1 << bits) - 1 for first, bits in FIELDS))
    return REGISTERS.get(encoded, encoded)


def in_words(key: str) -> str:
    """Return what an exit is: ``ret,ec`` as kvm_exit has them."""
    left, _, exception = key.partition(",")
    if left != TRAP:
        return "IRQ" if left == INTERRUPT else f"exit {left}"
    return EXCEPTIONS.get(int(exception), f"class {exception}")


# --- the census ---------------------------------------------------------------------------------------------------------


def checks(found: pd.DataFrame) -> pd.DataFrame:
    """Return every count of a phase that was made twice: CELL, `life`, `who`, `count`, `other`, `counted`; the two must be the same."""
    parts = [
        found.assign(who=WHO[one], count=found[one], other=WHO[other], counted=found[other]).dropna(subset=["count", "counted"])
        for one, others in SAME.items()
        for other in others
    ]
    return pd.concat(parts, ignore_index=True)[[*CELL, "life", "who", "count", "other", "counted"]]


def mismatches(found: pd.DataFrame) -> pd.DataFrame:
    """Return the checks() that failed: none, if all that counted saw every entry."""
    made = checks(found)
    return made[made["count"] != made["counted"]]


def census(found: pd.DataFrame) -> pd.DataFrame:
    """Return what guests did in each phase, under each strategy.

    Parameters
    ----------
    found : DataFrame
        As frame() returns it.

    Returns
    -------
    DataFrame
        SEEN: CELL; `workload`, empty for a boot. Of lives in the arm census: `entries`; `exits_by_class`, by what they are in words;
        `monitor_mode` and `enabled`, shares of the entries with monitor debug mode on and with something enabled; `accesses` that
        trapped; `system_registers` that it was left for, by name. Of the others: `exits`; by the module `switches` and `traps`; `instructions` of the host's kernel, `vmm_instructions`,
        `guest_instructions`. All are means of a life. `lives` and `counted` are how many there were of either, `cannot` is why the
        guest could not do it, and `unseen` says of each share that is NaN why.
    """
    rows = [_census(dict(zip(CELL, tags, strict=True)), own) for tags, own in found.groupby(CELL, sort=False)]
    return compare.in_order(pd.DataFrame(rows, columns=SEEN))


def _census(tags: dict[str, Any], own: pd.DataFrame) -> dict[str, Any]:
    counted, plain = own[own["arm"] == CENSUS], own[own["arm"] == MAIN]
    entries = counted["traced_entries"].fillna(counted["exits"]).mean() if len(counted) else plain["exits"].mean()
    shares = {
        "monitor_mode": (counted["monitored"].fillna(counted["seen_monitored"]) / counted["exits"]).mean(),
        "enabled": (counted["enabled"] / counted["exits"]).mean(),
    }
    lacking = {name for names in counted["lacking"] for name in names}
    cannot = own["cannot"].iloc[0] if (own["cannot"] != "").all() else ""
    why = UNTRACED if counted.empty else ""
    lacks = NO_HISTOGRAMS if "entries" in lacking else LACKS
    reasons = {
        "monitor_mode": why or (lacks if "monitored" in lacking else ""),
        "accesses": why or (lacks if "accesses" in lacking else ""),
        "enabled": why or MODULE_ONLY,
    }
    known = {**shares, "accesses": counted["accesses"].mean()}
    return {
        **tags, "workload": tags["phase"] if tags["phase"] in WORKLOADS else "", "entries": entries,
        "exits_by_class": _mean(counted["classes"]), **known, "system_registers": _mean(counted["registers"]),
        "exits": plain["exits"].mean(), "switches": plain["switches"].mean(), "traps": plain["traps"].mean(), "instructions": plain["in_kernel"].mean(),
        "vmm_instructions": plain["in_vmm"].mean(), "guest_instructions": plain["in_guest"].mean(), "lives": len(plain),
        "counted": len(counted), "cannot": cannot, "unseen": {name: reasons[name] for name in known if math.isnan(known[name]) and not cannot},
    }  # fmt: skip


def _mean(lives: pd.Series) -> dict[str, float]:
    """Return the means of counts by name, the largest first; one that a life has not is 0 in it."""
    means = pd.DataFrame(list(lives)).fillna(0.0).mean() if len(lives) else pd.Series(dtype=float)
    return {str(name): float(count) for name, count in means.sort_values(ascending=False, kind="stable").items()}


def behaviour(rows: pd.DataFrame, baseline: str = "lazy") -> pd.DataFrame:
    """Return one row of census() for each board, kernel, guest and phase: what a guest does it does under every strategy.

    It is the row that knows most, of several the baseline's.
    """
    if rows.empty:
        return rows
    known = rows["enabled"].notna().astype(int) + rows["monitor_mode"].notna() + (rows["counted"] > 0)
    order = rows.assign(known=known, other=rows["strategy"] != baseline).sort_values(
        ["known", "other"], ascending=[False, True], kind="stable"
    )
    return order.drop_duplicates(PLACE).sort_index().drop(columns=["known", "other"])


# --- what it costs ------------------------------------------------------------------------------------------------------


def costs(found: pd.DataFrame, smallest: float = compare.SMALLEST_EFFECT) -> pd.DataFrame:
    """Return what the host's kernel does for each exit of a phase, compared: strategies on one kernel, and kernels as they are.

    An exit here is one that the guest's work causes. Trapped accesses to debug registers, which one strategy has more of than another,
    are no exits of their own: they belong to what the others cost.

    Parameters
    ----------
    found : DataFrame
        As frame() returns it. Each life of the arms main and control is one value of each of its phases.
    smallest : float
        A difference that is not larger than this share is of no interest.

    Returns
    -------
    DataFrame
        `question` (STRATEGIES or KERNELS), CELL, `arm` and the columns of compare.summarise(), corrected within each question: in
        instructions per exit where strategies are compared, and of a whole phase where kernels are, of which one may leave a guest
        more often than another. `more` is the difference from the baseline in the same, `of_kernel` as a share of what the host's kernel
        does for that guest in that phase, `of_all` as a share of the instructions of kernel, QEMU and guest: each with the ends of
        its interval. `exits` and `more_exits` are how many a life has, and by which share more than the baseline's; `a_life` is
        `more` of all of them. `switches` and `traps` are the module's, per exit; `emulated` says whether its instructions are.
    """
    own = found.assign(exits=found["exits"] - _trapped(found))
    own = own[(own["arm"] != CENSUS) & (own["cannot"] == "")]
    alone = own[own["strategy"].isin(compare.AS_IT_IS)]
    several = alone.groupby("board")["kernel"].nunique()
    compared = [
        _compared(rows, STRATEGIES, rows["exits"], smallest)
        for (board, _), rows in own.groupby(["board", "kernel"], sort=False)
        if (rows["strategy"] == rows["baseline"]).any() and (rows["strategy"].nunique() > 1 or several.get(board, 0) < 2)
    ]
    for _, rows in alone[alone["board"].isin(several.index[several > 1])].groupby("board", sort=False):
        compared.append(_compared(rows, KERNELS, 1.0, smallest))
    return pd.concat(compared, ignore_index=True) if compared else pd.DataFrame(columns=["question", *CELL, "arm"])


def _trapped(found: pd.DataFrame) -> pd.Series:
    """Return how many exits of each phase were trapped accesses: by the module, else as many as in lives that tracepoints counted."""
    counted = found[found["arm"] == CENSUS].groupby(CELL)["accesses"].mean()
    traced = pd.Series(counted.reindex(pd.MultiIndex.from_frame(found[CELL])).to_numpy(), found.index)
    return found["traps"].fillna(traced).fillna(0.0)


def _compared(own: pd.DataFrame, question: str, per: pd.Series | float, smallest: float) -> pd.DataFrame:
    """Return the comparison of lives of one board, in instructions of its kernel per what is named."""
    values = own.assign(
        host=ANY, exit=own["phase"], metric=METRIC, unit="instructions", visit=own["life"] + " " + own["phase"], position=own["block"],
        value=own["in_kernel"] / per,
    )  # fmt: skip
    first = own.iloc[0]
    rows = compare.summarise(values, {first["board"]: first["baseline" if question == STRATEGIES else "strategy"]}, smallest)
    rows = compare.in_order(rows.rename(columns={"exit": "phase"}).drop(columns=["host", "metric", "unit"])).assign(
        question=question
    )
    totals = own.groupby(NAMED, sort=False)[[*COUNTS]].mean()
    ours, theirs = totals.reindex(_named(rows)), totals.reindex(_named(_references(rows)))
    base = rows.set_index(NAMED)["median"].reindex(theirs.index).to_numpy()
    share = (theirs["in_kernel"] / theirs[["in_kernel", "in_vmm", "in_guest"]].sum(axis=1)).to_numpy()
    for end in ("", "_low", "_high"):
        part = rows[f"ratio{end}"] - 1
        rows = rows.assign(
            **{f"more{end}": rounded(part * base), f"of_kernel{end}": rounded(part), f"of_all{end}": rounded(part * share)}
        )
    exits = ours["exits"].to_numpy()
    return rows.assign(
        exits=exits, more_exits=rounded(exits / theirs["exits"].to_numpy() - 1), a_life=rounded(rows["more"] * (exits if question == STRATEGIES else 1.0)),
        emulated=bool(first["emulated"]), in_kernel=ours["in_kernel"].to_numpy(), switches=ours["switches"].to_numpy() / exits, traps=ours["traps"].to_numpy() / exits,
    )  # fmt: skip


def _named(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[NAMED])


def _references(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the tags of what each row is compared with, as the column `baseline` names it."""
    words = rows["baseline"].str.partition(", ")
    return rows.assign(strategy=words[0], kernel=words[2].where(words[2] != "", rows["kernel"]), arm=MAIN)


# --- what the kit's own guest says of it --------------------------------------------------------------------------------


def fits(visits: pd.DataFrame) -> dict[tuple[str, str], cost.Fit]:
    """Return the cost model of each board and kernel that has measured the kit's own guest enough to tell trap and switch apart.

    Parameters
    ----------
    visits : DataFrame
        As compare.medians() returns it.
    """
    return {
        (board, str(kernel)): fitted
        for kernel, own in visits.groupby("kernel", observed=True, sort=False)
        for board, fitted in cost.fits(own).items()
    }


def predicted(compared: pd.DataFrame, fitted: Mapping[tuple[str, str], cost.Fit]) -> pd.DataFrame:
    """Return costs() with what the cost model of the kit's own guest makes of the switches and traps that the module counted.

    Parameters
    ----------
    compared : DataFrame
        As costs() returns it.
    fitted : mapping
        As fits() returns it.

    Returns
    -------
    DataFrame
        Besides, per exit: `pays`, what a strategy takes for switches, traps and scans; `predicted`, by how much that is more than
        the baseline's, with the ends of its interval. `agrees` is whether `more` is that within AGREE or its interval, nothing where
        there is no prediction; `why` says why there is none, or why it may be off.
    """
    rows = [_predicted(row, *_baseline_of(row, compared), fitted.get((row.board, row.kernel))) for row in compared.itertuples()]
    return compared.join(pd.DataFrame(rows, compared.index, [*PREDICTED]))


def judged(found: pd.DataFrame, visits: pd.DataFrame | None, smallest: float = compare.SMALLEST_EFFECT) -> pd.DataFrame:
    """Return predicted() of costs() of all lives, by fits() of the visits of the same campaign, if it has some."""
    return predicted(costs(found, smallest), {} if visits is None else fits(visits[visits["board"].isin(found["board"])]))


def programs(found: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return census() with what judged() says of the same lives, where strategies are compared: for programs."""
    own = verdicts[(verdicts["question"] == STRATEGIES) & (verdicts["arm"] == MAIN)].rename(columns={"median": "per_exit"})
    return census(found).merge(own.reindex(columns=[*CELL, *TOLD]), "left", CELL)


def _baseline_of(row: Any, compared: pd.DataFrame) -> tuple[Any, float]:
    """Return the row that another of the same question and kernel is compared with, and how far that is from itself, measured again.

    Nothing, and NaN, where there is no such row.
    """
    same = compared[(compared[["question", *PLACE]] == [getattr(row, tag) for tag in ("question", *PLACE)]).all(axis=1)]
    base = same[(same["arm"] == MAIN) & (same["strategy"] == row.baseline)]
    again = same.loc[same["arm"] == CONTROL, "more"]
    return next(base.itertuples(), None), abs(float(again.iloc[0])) if len(again) else math.nan


def _predicted(row: Any, base: Any, again: float, fitted: cost.Fit | None) -> dict[str, Any]:
    """Return the columns of PREDICTED for one row of costs()."""
    why = next((words for words, applies in UNKNOWN if applies(row, fitted)), "")
    if why or fitted is None:
        return {"why": why}
    pays = _pays(row)
    found: dict[str, Any] = {"pays": float(rounded(pays(fitted.costs))), "why": ""}
    if base is None or row.arm != MAIN or row.verdict == compare.BASELINE or math.isnan(row.more):
        return found
    theirs = _pays(base)
    middle, low, high = fitted.interval(lambda costs: pays(costs) - theirs(costs))
    agrees = abs(middle - row.more) <= AGREE * abs(row.more) or row.more_low <= middle <= row.more_high
    off = next((words for words, applies in REASONS if applies(row, abs(middle - row.more), again)), NO_REASON)
    return found | {
        "predicted": middle, "predicted_low": low, "predicted_high": high, "agrees": agrees, "why": "" if agrees else off.format(row=row, again=again),
    }  # fmt: skip


def _pays(row: Any) -> Callable[[cost.Costs], float | pooling.Array]:
    """Return what a strategy takes per exit for switches, traps and scans, as a function of what each of these costs."""
    scans = _scans(row.strategy)
    return lambda costs: costs.switch * row.switches + costs.trap * row.traps + costs.scan * scans


def _scans(strategy: str) -> float:
    """Return how often a strategy looks at the control registers at an exit."""
    return float(cost.RULES[strategy].scans(cost.Mix()))


# Why there is no prediction: the first that applies.
UNKNOWN: tuple[tuple[str, Callable[[Any, cost.Fit | None], bool]], ...] = (
    ("two kernels differ in more than how they switch", lambda row, fitted: row.question == KERNELS),
    ("the module does not count what the kernel does by itself", lambda row, fitted: row.strategy in compare.AS_IT_IS),
    ("the cost model has no rule for it", lambda row, fitted: row.strategy not in cost.RULES),
    (NO_FIT, lambda row, fitted: fitted is None),
    (
        "no cell of the kit's guest says what a scan costs",
        lambda row, fitted: _scans(row.strategy) > 0 and "scan" not in (fitted.parts if fitted else ()),
    ),
    ("the module counted nothing", lambda row, fitted: math.isnan(row.switches)),
)
# Why a prediction is off by so much, where the baseline is so far from itself: the first that applies.
REASONS: tuple[tuple[str, Callable[[Any, float, float], bool]], ...] = (
    (
        "its lives have {row.more_exits:+.1%} exits: not the same ones are compared",
        lambda row, off, again: abs(row.more_exits) > SAME_EXITS,
    ),
    ("the baseline, measured again, is {again:.0f} from itself", lambda row, off, again: again >= off),
    ("too few boots for an interval", lambda row, off, again: math.isnan(row.more_low)),
)


# --- which of it is shown -----------------------------------------------------------------------------------------------


def places(rows: pd.DataFrame) -> pd.DataFrame:
    """Return where guests are on the map of touch rate and debugging; those that could not be told apart there are one.

    Parameters
    ----------
    rows : DataFrame
        Of behaviour().

    Returns
    -------
    DataFrame
        `board kernel kept_on touches share monitored mode symbol says`: in which of the two maps, where in it (accesses per entry that
        none of them caused, share of entries with something enabled), whether monitor debug mode is on in most entries, and in how many,
        what stands there, and who it is.
    """
    groups: list[dict[str, Any]] = []
    for row in rows[rows[["accesses", "enabled", "monitor_mode"]].notna().all(axis=1)].itertuples():
        mode = row.monitor_mode
        here = {"board": row.board, "kernel": row.kernel, "kept_on": abs(mode - 1) <= abs(mode - row.enabled)}
        place = {"touches": row.accesses / max(row.entries - row.accesses, 1.0), "share": row.enabled}
        group = next((one for one in groups if all(one[tag] == here[tag] for tag in here) and _near(one, place)), None)
        if group is None:
            group = {**here, **place, "who": {}, "modes": []}
            groups.append(group)
        group["who"].setdefault(row.guest, []).append(f"{row.phase}{BEYOND if place['touches'] > 1 else ''}")
        group["modes"].append(mode)
    for number, group in enumerate(groups):
        group["symbol"] = SYMBOLS[number % len(SYMBOLS)]
        group["says"] = "; ".join(f"{guest}: {', '.join(phases)}" for guest, phases in group.pop("who").items())
        modes = group.pop("modes")
        group |= {
            "monitored": sum(modes) >= len(modes) / 2,
            "mode": " to ".join(dict.fromkeys(f"{end(modes):.0%}" for end in (min, max))),
        }
    return pd.DataFrame(groups, columns=PLACES)


def in_focus(found: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    """Return places() of all lives, on the kernels whose cost model a figure shows: of those visits one of each board."""
    shown = compare.one_kernel(visits)[["board", "kernel"]].astype(str).drop_duplicates()
    return places(behaviour(census(found)).merge(shown)) if len(found) else NOWHERE


def on_the_map(touches: float) -> float:
    """Return where on the map so many accesses per entry are: fewer or more than it has are at its edges."""
    return min(max(touches, FEWEST), 1.0)


def _near(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Say whether two places on the map would be drawn over each other."""
    across = abs(math.log10(on_the_map(one["touches"]) / on_the_map(other["touches"]))) / -math.log10(FEWEST)
    return across < NEAR[0] and abs(one["share"] - other["share"]) < NEAR[1]
