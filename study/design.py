"""The design of a campaign: factors, cells, visits and their random order. Pure.

A *cell* is one combination of strategy, guest, host and exit; the board and its kernel complete it when it is
measured. A *visit* is one process on one boot that measures one cell. Within a boot, visits come in randomised complete
blocks: each block holds every cell once, the control arm's among them, in an order of its own drawn from the recorded
seed. Where kernels are compared, a boot has one of them, and boots alternate forwards and backwards: A B, B A, A B.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from study import __version__, guests
from study.errors import BadData, BadRequest
from study.factors import (
    CHOOSES,
    EXITS,
    GUEST_STATES,
    GUESTS,
    HOST_STATES,
    IMPORTED,
    KVM,
    RIG,
    STRATEGIES,
    as_it_is,
    fits,
    kind_of,
    names,
    of_series,
    told,
    version,
)

__all__ = [
    "Cell",
    "Design",
    "Factors",
    "Kernel",
    "Visit",
    "choose",
    "describe",
    "differences",
    "draw",
    "from_parameters",
    "kind_of",
    "options",
]

MAIN, CONTROL = "main", "control"
# Of real guests, the arm that is counted entry for entry, in the first boot of each kernel: counting costs instructions.
CENSUS = "census"
# What the life of a real guest has in a cell for its host and its exit.
ANY = "any"
# Of which kernels the control arm is measured.
EVERY, FIRST, NONE = "every", "first", "none"
# The factors that make up a cell, and all that is said of results that were imported.
VARIED = ("strategies", "guests", "hosts", "exits")
# Those of which a name may be limited to some guests.
LIMITED = ("hosts", "exits")
RECORDED = ("kind", *VARIED, "touch_by", "gic", "pmu")

# Counted in every visit, one run of perf for each row: tracepoints cost instructions, so they are not counted with them.
EVENTS = (
    ("instructions:kh", "instructions:u", "instructions:G", "cycles:kh"),
    ("kvm:kvm_entry", "kvm:kvm_exit", "kvm:trap_reg"),
)


# What numbers make sense. Ten loops are the fewest that two windows of different length can be made of.
LEAST = {"processes": 1, "values": 1, "warmups": 0, "loops": 10, "boots": 1, "seed": 0, "longer": 1}
MOST = 10**9
# The rig's counters have 32 bits, and one command holds all values.
MOST_ON_THE_RIG = {"loops": 10**6, "values": 1000, "warmups": 1000}
# Boots that an interval needs, unless a board repeats itself exactly: two that agree may do so by chance.
LEAST_BOOTS = 3


@dataclass(frozen=True)
class Cell:
    """One combination that is measured; `arm` tells the baseline's second measurement, the control arm, apart."""

    strategy: str
    guest: str
    host: str
    exit: str
    arm: str = MAIN


# Where kernels of one's own are from, and what names a kernel: [+][label=]release[:strategy+strategy].
GIT, IMAGE = "git:", "image:"
OWN = (GIT, IMAGE)
JOINS = "+"  # before the first of those that joined a campaign later
NAMED = re.compile(rf"(?:([^=:]*)=)?((?:{'|'.join(OWN)})?[^:]*)(?::(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Kernel:
    """A kernel that a boot must have.

    Parameters
    ----------
    release : str
        Its release, or how that begins: ``6.12`` is any 6.12. Of a kernel of one's own where it is from: ``git:`` and a commit,
        or ``image:`` and a folder; see study/kernels/source.py.
    label : str
        What tables call it; empty for its release. Two builds of one release are told apart by their labels.
    strategies : tuple of str
        What is measured on it; empty for all that it can have. One of the user's own is told to have the one that it is limited to
        as it boots, if that is one that the module puts in force on others; choose() makes one for each of several.
    """

    release: str
    label: str = ""
    strategies: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Kernel:
        """Return the kernel that a text names: ``[+][label=]release[:strategy+strategy]``."""
        label, release, limited = NAMED.fullmatch(text.removeprefix(JOINS)).groups(default="")  # type: ignore[union-attr]  # it matches any text
        return cls(release, label, tuple(limited.split("+")) if limited else ())

    @property
    def text(self) -> str:
        """The text that names it."""
        return f"{self.label}{'=' * bool(self.label)}{self.release}{':' * bool(self.strategies)}{'+'.join(self.strategies)}"

    @property
    def name(self) -> str:
        """What it is called in the design."""
        return self.label or self.release

    @property
    def own(self) -> bool:
        """Whether it is one of the user's own, known by its build and not by its release."""
        return self.release.startswith(OWN)

    @property
    def told(self) -> str:
        """The strategy that it is told to have as it boots; empty if it is none of the user's own, or measured as it is."""
        alone = self.own and len(self.strategies) == 1 and STRATEGIES[self.strategies[0]].module
        return self.strategies[0] if alone else ""

    @property
    def each(self) -> list[Kernel]:
        """It, once for each strategy that it has by boots of its own."""
        alone = self.own and any(STRATEGIES[name].module for name in self.strategies if name in STRATEGIES)
        return [dataclasses.replace(self, strategies=(name,)) for name in self.strategies] if alone else [self]

    @property
    def words(self) -> str:
        """The words that its command line has for that."""
        return f"{CHOOSES}{self.told}" if self.told else ""

    def is_that(self, release: str) -> bool:
        """Say whether a kernel of this release may be it."""
        return self.own or of_series(release, self.release)

    def has(self, strategy: str) -> bool:
        """Say whether a strategy is measured on it: what the module must put in force only where the module fits."""
        if strategy not in (self.strategies or (strategy,)):
            return False
        if self.own or not STRATEGIES[strategy].module:
            return strategy == self.told or not STRATEGIES[strategy].module
        return bool(self.strategies) or not version(self.release) or fits(self.release)


@dataclass(frozen=True)
class Visit:
    """One planned measurement: `name` is unique among the visits of one board in a campaign.

    `kernel` is the text in the design of the kernel that the boot must have, empty if any will do.
    """

    name: str
    boot: int
    block: int
    cell: Cell
    kernel: str = ""


@dataclass(frozen=True)
class Factors:
    """What a campaign varies and how often it measures.

    Parameters
    ----------
    kind : str
        Of the boards that are measured: ``kvm`` or ``rig``; ``guests`` for real guests on boards with KVM; ``imported`` for
        results that were made elsewhere. What these vary is a record and no plan: names that no table knows, and no order.
    strategies, guests, hosts, exits : tuple of str
        Rows of the tables in study/factors.py that this kind of board has. An exit or a host may be limited to
        some guests: ``mmio:untouched+mde``. Of what was imported the first strategy is the baseline.
    processes : int
        Visits of each cell on each boot: fresh processes with a fresh guest.
    values : int
        Values that a visit records with pyperf.
    warmups : int
        Values that it throws away before.
    loops : int
        Round trips per value.
    boots : int
        How often the board is started, with each kernel if several are compared; with `until`, the most that it may be.
    until : float
        Stop after the first boot, but never before LEAST_BOOTS, at which the interval of every comparison is narrower than
        this share of its ratio: 0.01 for 1 %. 0 makes all boots.
    kernels : tuple of str
        What Kernel.of() reads: the kernels to measure, of which the first is the baseline. Strategies that a kernel cannot have
        are left out on it. Empty: whichever runs.
    control_on : str
        Of which kernels the baseline is measured a second time: ``every`` one, or the ``first``.
    seed : int
        Of the random order.
    touch_by : str
        What a touch is: ``write`` or, on the rig, ``read``.
    gic, pmu : bool
        Whether the guest has an in-kernel interrupt controller (a GICv3, or a GICv2 where the host has no other), and a PMU.
    events : tuple of str
        Events of the user's own, counted apart from the study's.
    workloads : tuple of str
        What real guests do in each of their lives, one after the other: rows of WORKLOADS in study/guests.py.
    longer : int
        How many times as long as by default.
    """

    kind: str = KVM
    strategies: tuple[str, ...] = ("stock", "lazy", "eager", "control-scan")
    guests: tuple[str, ...] = tuple(GUEST_STATES)
    hosts: tuple[str, ...] = ("none",)
    exits: tuple[str, ...] = ("hvc",)
    processes: int = 2
    values: int = 5
    warmups: int = 3
    loops: int = 4000
    boots: int = 1
    until: float = 0.0
    kernels: tuple[str, ...] = ()
    control_on: str = EVERY
    seed: int = 1
    touch_by: str = "write"
    gic: bool = True
    pmu: bool = False
    events: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    longer: int = 1

    def __post_init__(self) -> None:
        if self.kind == IMPORTED:
            self._check_record()
        else:
            self._check_plan()
        for name in ("gic", "pmu"):
            if not isinstance(getattr(self, name), bool):
                raise BadRequest(f"{name} is {getattr(self, name)!r}: it must be True or False")

    def _check_record(self) -> None:
        for name in VARIED:
            words = getattr(self, name)
            if not isinstance(words, tuple) or not all(isinstance(word, str) and word.isprintable() for word in words):
                raise BadRequest(f"{name} is {words!r}: it must be names")
            _check_names(name, words, words)

    def _check_plan(self) -> None:
        _check_names("kind", [self.kind], PROFILES)
        tables: dict[str, Mapping[str, Any]] = {
            "strategies": STRATEGIES, "guests": GUEST_STATES, "hosts": HOST_STATES, "exits": EXITS,
        }  # fmt: skip
        if self.kind == GUESTS:
            self._check_lives()
            tables = {"strategies": STRATEGIES}
        for name, table in tables.items():
            bare = [text.partition(":")[0] if name in LIMITED else text for text in getattr(self, name)]
            _check_names(name, bare, names(table, _board_of(self.kind)), f" on {KINDS[self.kind]}")
        _check_names("touch_by", [self.touch_by], ("write", "read") if self.kind == RIG else ("write",))
        for what, text in [(name, text) for name in LIMITED for text in getattr(self, name)]:
            _check_names(f"guests of {what.removesuffix('s')} {text}", _guests_of(text, self.guests), self.guests)
        for text in () if self.kind == GUESTS else self.exits:
            if EXITS[text.partition(":")[0]].gic and not self.gic:
                raise BadRequest(
                    f"exits: {text} needs an interrupt controller in the guest, and gic is False: leave one of them out (of make: EXITS=, GIC=)"
                )
        for name, least in LEAST.items():
            _check_number(name, getattr(self, name), least, MOST_ON_THE_RIG.get(name, MOST) if self.kind == RIG else MOST)
        for name in self.guests if self.kind == RIG else ():
            if self.loops % max(GUEST_STATES[name].touch_every, 1):
                raise BadRequest(f"loops is {self.loops} and a guest is {name}: on the rig they must be a multiple of its number")
        if isinstance(self.until, bool) or not isinstance(self.until, int | float) or not 0 <= self.until < 1:
            raise BadRequest(f"until is {self.until!r}: it must be a share from 0 to 1, such as 0.01 for intervals of 1 %")
        if self.until and self.boots < LEAST_BOOTS:
            raise BadRequest(f"until needs intervals, and they need boots: ask for {LEAST_BOOTS} boots at least")
        if self.until and len(self._groups()) > 1:
            raise BadRequest("until is a rule for kernels that are measured together: no other may join them later")
        _check_names("control_on", [self.control_on], (EVERY, FIRST, NONE))
        if self.kernels:
            self._check_kernels()

    def _check_lives(self) -> None:
        """Refuse what real guests cannot be asked for. Who they are, besides those that the study has, a file of the user's says."""
        _check_names("guests", self.guests, filter(str.isprintable, self.guests))
        _check_names("workloads", self.workloads, guests.WORKLOADS)
        if (self.hosts, self.exits) != ((ANY,), (ANY,)):
            raise BadRequest(f"hosts and exits of real guests are their own: both must be {ANY}")

    def _check_kernels(self) -> None:
        kernels = [Kernel.of(text) for text in self.kernels]
        names_ = [name for name, _ in dict.fromkeys((kernel.name, kernel.release) for kernel in kernels)]
        _check_names("kernels", names_, names_ if _board_of(self.kind) == KVM else (), f" on {KINDS[self.kind]}")
        boots = [f"{kernel.name}{':' * bool(kernel.told)}{kernel.told}" for kernel in kernels]
        _check_names("kernels", boots, boots)
        for kernel, text in zip(kernels, self.kernels, strict=True):
            if not kernel.release:
                raise BadRequest(
                    f"kernels: {text!r} names no release; write label=release, with the release as uname -r prints it"
                )
            _check_names(f"strategies of kernel {text}", kernel.strategies or self.strategies, self.strategies)
            if not any(map(kernel.has, self.strategies)):
                raise BadRequest(
                    f"kernels: {text} can have none of the strategies {', '.join(self.strategies)}: it keeps no dirty bit that the "
                    "module could set; measure it as it is, with stock among the strategies"
                )

    def on(self, kernel: str) -> Factors:
        """Return the factors of the boots of one of `kernels`; as they are if they name none."""
        if not kernel:
            return self
        strategies = tuple(filter(Kernel.of(kernel).has, self.strategies))
        later = self.control_on == FIRST and kernel != self.kernels[0]
        control = NONE if later or Kernel.of(kernel).told not in ("", self.baseline) else self.control_on
        return dataclasses.replace(self, strategies=strategies, kernels=(kernel,), control_on=control)

    def as_named(self, strategy: str, kernel: str, release: str) -> str:
        """Return what a strategy is called in tables: ``stock`` after what the kernel does, where no other is to choose.

        Parameters
        ----------
        strategy : str
            As it is measured.
        kernel, release : str
            What the boot's kernel is called, and its release.
        """
        if _board_of(self.kind) != KVM or strategy != "stock":
            return strategy
        asked = self.kernel_called(kernel)
        others = any(STRATEGIES[name].module for name in self.on(asked).strategies)
        return as_it_is(release) if (asked and not others) or not fits(release) else strategy

    @property
    def by_module(self) -> list[str]:
        """The strategies that the module puts in force, on one kernel at least."""
        others = [kernel for kernel in map(Kernel.of, self.kernels or ("",)) if not kernel.own]
        return [name for name in self.strategies if STRATEGIES[name].module and any(kernel.has(name) for kernel in others)]

    def kernel_called(self, kernel: str, command_line: str = "") -> str:
        """Return which of `kernels` a boot has whose kernel is called so in tables, by what it was told; empty if it is none of them."""
        known = [(text, row) for text, row in zip(self.kernels, map(Kernel.of, self.kernels), strict=True)
                 if not row.own or row.told == told(command_line)]  # fmt: skip
        return next((text for text, row in known if kernel == row.label or (not row.label and row.is_that(kernel))), "")

    @property
    def baseline(self) -> str:
        """The strategy that others are compared to: lazy, which carries the module's cost as they do, if it is there."""
        return "lazy" if "lazy" in self.strategies and self.kind != IMPORTED else self.strategies[0]

    @property
    def starts(self) -> int:
        """How often the board is started in all."""
        return self.boots * max(1, len(self.kernels))

    @property
    def perf_events(self) -> list[list[str]]:
        """The events to count, one list for each run of perf."""
        return [list(row) for row in (*EVENTS, self.events) if row]

    def cells(self) -> list[Cell]:
        """Return every cell, and the baseline's again as control arm, in the order of the tables; none of what was imported."""
        if self.kind == IMPORTED:
            return []
        if len(self.kernels) > 1:
            return list(dict.fromkeys(itertools.chain.from_iterable(self.on(kernel).cells() for kernel in self.kernels)))
        if self.kernels and self.on(self.kernels[0]) != self:
            return self.on(self.kernels[0]).cells()
        arms = [(strategy, MAIN) for strategy in self.strategies]
        arms += [(self.baseline, CONTROL)] * (self.control_on != NONE)
        counted = [name for name in self.strategies if name in ("stock", self.baseline)]
        arms += [(strategy, CENSUS) for strategy in counted] * (self.kind == GUESTS)
        return [
            Cell(strategy, guest, host.partition(":")[0], text.partition(":")[0], arm)
            for text in self.exits
            for host in self.hosts
            for guest in _guests_of(text, self.guests)
            if guest in _guests_of(host, self.guests)
            for strategy, arm in arms
        ]

    def cells_of(self, boot: int) -> list[int]:
        """Return the places in cells() of those that a boot, counted from 1, has: what its kernel can have."""
        kernel = self.kernel_of(boot)
        places = {cell: place for place, cell in enumerate(self.cells())}
        first = all(self.kernel_of(earlier) != kernel for earlier in range(1, boot))
        return [places[cell] for cell in self.on(kernel).cells() if first or cell.arm != CENSUS]

    def kernel_of(self, boot: int) -> str:
        """Return which of `kernels` a boot, counted from 1, must have; empty if any will do.

        Every other round of kernels runs backwards, so that a drift from boot to boot meets all of them alike. Kernels that joined
        later have their boots after all of those before.
        """
        for together in self._groups():
            if boot <= self.boots * len(together):
                turn, place = divmod(boot - 1, len(together))
                return together[-1 - place] if turn % 2 else together[place]
            boot -= self.boots * len(together)
        return ""

    def _groups(self) -> list[list[str]]:
        """Return the kernels that alternate with one another."""
        groups: list[list[str]] = []
        for text in self.kernels:
            if not groups or text.startswith(JOINS):
                groups.append([])
            groups[-1].append(text)
        return groups

    def joined_by(self, asked: Factors) -> Factors | None:
        """Return these factors with the kernels that are asked for besides; nothing if more than that differs."""
        known, wanted = ([text.removeprefix(JOINS) for text in factors.kernels] for factors in (self, asked))
        if not known or wanted[: len(known)] != known or dataclasses.replace(asked, kernels=self.kernels) != self:
            return None
        first, *more = wanted[len(known) :] or [""]
        return dataclasses.replace(self, kernels=(*self.kernels, *([JOINS + first, *more] if first else [])))


# What a guest may be but for rates of touching other than once in every round trip.
STATES = tuple(name for name, row in GUEST_STATES.items() if row.touch_every <= 1)
# Kinds of board in words, and for each the profiles: what is measured unless it is asked otherwise.
KINDS = {KVM: "a Linux board", RIG: "the rig", GUESTS: "a Linux board"}
_RIG: dict[str, Any] = {
    "kind": RIG, "strategies": names(STRATEGIES, RIG), "hosts": names(HOST_STATES, RIG), "processes": 1, "values": 2, "warmups": 1,
    "loops": 1000, "boots": 2,
}  # fmt: skip
_LIVES: dict[str, Any] = {
    "kind": GUESTS, "strategies": ("stock", "lazy", "control-scan"), "guests": tuple(guests.GUESTS), "hosts": (ANY,), "exits": (ANY,),
    "workloads": ("marks", "idle", "hackbench", "timer", "debugger"), "processes": 1, "values": 1, "warmups": 0, "loops": 10, "boots": 3,
}  # fmt: skip
_ALL_STATES = "+".join(STATES)
PROFILES: dict[str, dict[str, dict[str, Any]]] = {
    KVM: {
        "quick": {"guests": ("untouched", "mde", "touch"), "processes": 1},
        "default": {"guests": STATES, "processes": 1, "boots": 3},
        "full": {
            "exits": ("hvc", "mmio:untouched+mde+touch"),
            "hosts": ("none", "one:all", "all:all"),
            "processes": 2,
            "boots": 5,
        },
        "series": {
            "strategies": ("stock",),
            "guests": ("untouched", "mde", "one", "touch-20"),
            "exits": names(EXITS, KVM),
            "processes": 1,
            "values": 3,
            "loops": 1000,
            "boots": 3,
            "control_on": FIRST,
        },
    },
    GUESTS: {
        "quick": {**_LIVES, "guests": ("linux-arm64",), "workloads": ("marks", "idle", "timer"), "boots": 1},
        "default": _LIVES,
        "full": {**_LIVES, "workloads": tuple(guests.WORKLOADS), "boots": 5},
    },
    RIG: {
        "quick": {**_RIG, "guests": ("untouched", "mde", "touch"), "hosts": ("none",), "boots": 1},
        "default": _RIG,
        "full": {**_RIG, "exits": ("hvc", *(f"{name}:{_ALL_STATES}" for name in names(EXITS, RIG) if name != "hvc"))},
    },
}


def choose(profile: str, kind: str = KVM, **changes: Any) -> Factors:
    """Return the factors of a profile with some of them changed.

    Parameters
    ----------
    profile : str
        A profile of that kind of board.
    kind : str
        A row of PROFILES.
    **changes
        Factors by name. A text is split at commas where a factor has several names; None leaves the profile's.

    Raises
    ------
    BadRequest
        If there is no such profile, or a value makes no sense.
    """
    _check_names("kind", [kind], PROFILES)
    _check_names("profile", [profile], PROFILES[kind])
    given = {name: value for name, value in changes.items() if value is not None}
    several = {field.name for field in dataclasses.fields(Factors) if isinstance(field.default, tuple)}
    split: dict[str, Any] = {
        name: _split(value) if name in several and isinstance(value, str) else value for name, value in given.items()
    }
    if split.get("kernels"):
        split["kernels"] = tuple(kernel.text for text in split["kernels"] for kernel in Kernel.of(text).each)
    changed: dict[str, Any] = {**PROFILES[kind][profile], **split}
    return Factors(**changed)


def from_parameters(parameters: Mapping[str, Any], kind: str) -> Factors:
    """Return the factors that the parameters of the collect notebook ask for, among others that are none.

    An empty text and a number of -1 leave what the profile has.
    """
    known = {field.name for field in dataclasses.fields(Factors)}
    asked = {name: value for name, value in parameters.items() if name in known and value not in ("", -1)}
    return choose(parameters["profile"], kind, **asked)


def _board_of(kind: str) -> str:
    """Return the kind of the boards of a kind of design."""
    return KVM if kind == GUESTS else kind


def _split(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


@dataclass(frozen=True)
class Design:
    """A frozen design: the factors, every visit in its order, and the study's version that drew it."""

    factors: Factors
    order: tuple[tuple[int, ...], ...]
    version: str = __version__

    def visits(self) -> list[Visit]:
        """Return every visit of one board, in order."""
        cells, processes = self.factors.cells(), self.factors.processes
        return [
            Visit(
                f"b{boot}-{position:04d}", boot, (position - 1) // (len(row) // processes) + 1, cells[index],
                self.factors.kernel_of(boot),
            )
            for boot, row in enumerate(self.order, 1)
            for position, index in enumerate(row, 1)
        ]  # fmt: skip

    def is_whole(self) -> bool:
        """Say whether the order holds every cell as often as the factors say, and nothing else."""
        if len(self.order) != self.factors.starts:
            return False
        each = self.factors.processes
        for boot, row in enumerate(self.order, 1):
            cells = self.factors.cells_of(boot)
            if not all(type(place) is int for place in row):
                return False
            if len(row) != len(cells) * each or sorted(row) != sorted(place for place in cells for _ in range(each)):
                return False
        return True

    def to_json(self) -> dict[str, Any]:
        """Return the design as design.json holds it; cells are written out, so that the file explains itself."""
        factors = dataclasses.asdict(self.factors)
        if self.factors.control_on == EVERY:  # designs from before the others were possible say nothing of it
            del factors["control_on"]
        if self.factors.kind != GUESTS:
            del factors["workloads"], factors["longer"]
        return {
            "version": self.version,
            "factors": {name: factors[name] for name in RECORDED} if self.factors.kind == IMPORTED else factors,
            "cells": [dataclasses.asdict(cell) for cell in self.factors.cells()],
            "order": [list(row) for row in self.order],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Design:
        """Return the design that design.json holds.

        Raises
        ------
        BadData
            If it is not a design.
        """
        try:
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in data["factors"].items()
            }
            if unknown := values.keys() - {field.name for field in dataclasses.fields(Factors)}:
                raise BadData(f"it is of another format ({', '.join(sorted(unknown))}); docs/format.md says which study reads it")
            design = cls(Factors(**values), tuple(tuple(row) for row in data["order"]), data["version"])
            if not design.is_whole():
                raise BadData("its order does not hold every cell as often as its factors say")
        except (KeyError, TypeError, AttributeError, ValueError, BadRequest) as error:
            raise BadData(f"it is not a design: {error}") from None
        return design


def draw(factors: Factors) -> Design:
    """Draw the order of a design: for each boot as many blocks as processes, each a shuffle of all cells."""
    order = []
    for boot in range(1, factors.starts + 1):
        source = random.Random(f"{factors.seed}/{boot}")
        row: list[int] = []
        for _ in range(factors.processes):
            block = factors.cells_of(boot)
            source.shuffle(block)
            row += block
        order.append(tuple(row))
    return Design(factors, tuple(order))


_CONTROL_ON = {EVERY: "", FIRST: ", on the first kernel", NONE: ", on no kernel"}


def describe(factors: Factors) -> str:
    """Return the design in a few lines for people: how many cells and visits, of what."""
    cells = [len(factors.cells_of(boot)) for boot in range(1, factors.starts + 1)]
    each = f"{cells[0]} cells" if len(set(cells)) == 1 else f"{min(cells)} to {max(cells)} cells, as the kernels have them,"
    count = f"{sum(cells) * factors.processes} = {each} x {factors.processes} processes x {factors.starts} boots"
    if factors.until:
        count += f" at most, until each interval is narrower than {factors.until:.2%} of its ratio, after {LEAST_BOOTS} at least"
    rows = [
        (
            "strategies",
            f"{', '.join(factors.strategies)}; control arm: {factors.baseline} again{_CONTROL_ON[factors.control_on]}",
        ),
        ("guests", ", ".join(factors.guests)),
        ("hosts", ", ".join(factors.hosts)),
        ("exits", ", ".join(factors.exits)),
        ("visits", count),
        ("each visit", f"{factors.warmups} warm-ups and {factors.values} values of {factors.loops} round trips each"),
    ]
    if factors.kind == GUESTS:
        longer = f", {factors.longer} times as long as by default" * (factors.longer > 1)
        rows[2:4] = []
        rows[-1] = ("each visit", f"a life: start, {', '.join(factors.workloads)}, power-off{longer}")
    if factors.kernels:
        rows.append(("kernels", ", ".join(factors.kernels) + ("; boots alternate: A B, B A" if len(factors.kernels) > 1 else "")))
    if factors.kind == KVM:
        rows.append(("events", ", ".join(event for row in factors.perf_events for event in row)))
    return "\n".join(f"{name + ':':<12}{text}" for name, text in rows)


def options(factors: Factors) -> str:
    """Return the options of ``study collect`` that ask for these factors, for a shell: a profile, and what differs from it.

    Raises
    ------
    BadRequest
        If they are those of imported results, which no board measures.
    """
    if factors.kind == IMPORTED:
        raise BadRequest("results that were imported have no options of study collect: they were measured elsewhere")
    profile = min(PROFILES[factors.kind], key=lambda name: len(differences(choose(name, factors.kind), factors)))
    base, words = choose(profile, factors.kind), [f"--profile {profile}"]
    for field in dataclasses.fields(Factors):
        value = getattr(factors, field.name)
        if value == getattr(base, field.name):
            continue
        name = field.name.replace("_", "-")
        words.append(f"--{'' if value else 'no-'}{name}" if isinstance(value, bool) else f"--{name} {shlex.quote(_show(value))}")
    return " ".join(words)


def differences(ours: Factors, theirs: Factors) -> list[str]:
    """Name the factors in which two designs differ, with both values."""
    fields = [field.name for field in dataclasses.fields(Factors)]
    return [f"{name} {_show(getattr(ours, name))} not {_show(getattr(theirs, name))}" for name in fields
            if getattr(ours, name) != getattr(theirs, name)]  # fmt: skip


def _show(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _guests_of(text: str, guests: tuple[str, ...]) -> tuple[str, ...]:
    """Return the guests that an exit is measured with: ``mmio:untouched+mde`` names them, ``hvc`` means all."""
    limited = text.partition(":")[2]
    return tuple(limited.split("+")) if limited else guests


def _check_names(what: str, given: Iterable[str], known: Iterable[str], where: str = "") -> None:
    given, known = list(given), list(known)
    if not given:
        raise BadRequest(f"{what}: none given; choose from {', '.join(known)}")
    for name in given:
        if name not in known:
            raise BadRequest(f"{what}: {name!r} is unknown{where}; choose from {', '.join(known)}")
    if len(set(given)) < len(given):
        raise BadRequest(f"{what}: a name is given twice in {','.join(given)}")


def _check_number(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(f"{name} is {value!r}: it must be a whole number from {least} to {most}")
