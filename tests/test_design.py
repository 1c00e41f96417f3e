from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import design, guests
from study.design import KINDS, PROFILES, Cell, Factors
from study.errors import BadData, BadRequest
from study.factors import CHOOSES, EXITS, GUEST_STATES, GUESTS, HOST_STATES, KVM, RIG, STRATEGIES, Row, names, told


@st.composite
def factors(draw: st.DrawFn) -> Factors:
    """Factors of either kind of board."""
    kind = draw(st.sampled_from(list(KINDS)))
    if kind == GUESTS:
        return draw(lives())

    def some(table: Mapping[str, Row]) -> tuple[str, ...]:
        return tuple(draw(st.lists(st.sampled_from(names(table, kind)), min_size=1, unique=True)))

    strategies, exits = some(STRATEGIES), some(EXITS)
    kernels = [text for text in ("6.1", "old=6.12:stock", "6.18", "my base=7.3.4+mine") if kind == KVM and "stock" in strategies]
    kernels += [f"told=git:topic:{name}" for name in ("eager", "lazy") if kind == KVM and name in strategies]
    return Factors(
        kind=kind, strategies=strategies, guests=some(GUEST_STATES), hosts=some(HOST_STATES), exits=exits,
        processes=draw(st.integers(1, 4)), boots=draw(st.integers(1, 3)), seed=draw(st.integers(0, 10**9)),
        kernels=tuple(draw(st.lists(st.sampled_from(kernels), unique=True))) if kernels else (),
        loops=draw(st.integers(1, 10**6 // 20)) * 20, gic=any(EXITS[name].gic for name in exits) or draw(st.booleans()),
        events=tuple(draw(st.lists(st.sampled_from(["branches", "cache-misses:u", "kvm:*"]), unique=True))),
    )  # fmt: skip


@st.composite
def lives(draw: st.DrawFn) -> Factors:
    """Factors of real guests, some of which only a file of the user's knows."""

    def some(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(draw(st.lists(st.sampled_from(list(names)), min_size=1, unique=True)))

    return design.choose(
        "default", GUESTS, strategies=some(names(STRATEGIES, KVM)), guests=some([*guests.GUESTS, "mine"]),
        workloads=some(guests.WORKLOADS), longer=draw(st.integers(1, 100)), processes=draw(st.integers(1, 4)),
        boots=draw(st.integers(1, 3)), kernels=draw(st.sampled_from([(), ("6.1",), ("6.1", "6.12")])),
    )  # fmt: skip


def in_a_block(chosen: Factors, kernel: str, boot: int) -> list[Cell]:
    """The cells of a block: what the kernel can have, and in its first boot alone the census."""
    first = min(each for each in range(1, chosen.starts + 1) if chosen.kernel_of(each) == kernel)
    return [cell for cell in chosen.on(kernel).cells() if cell.arm != design.CENSUS or boot == first]


@given(factors())
def test_every_block_holds_every_cell_once(chosen: Factors) -> None:
    visits = design.draw(chosen).visits()
    in_blocks = itertools.groupby(visits, key=lambda visit: (visit.kernel, visit.boot, visit.block))
    blocks = [(key, list(block)) for key, block in in_blocks]
    for (kernel, boot, _), block in blocks:
        assert sorted(repr(visit.cell) for visit in block) == sorted(map(repr, in_a_block(chosen, kernel, boot)))
    assert len(blocks) == chosen.processes * chosen.boots * max(1, len(chosen.kernels))
    assert len({visit.name for visit in visits}) == len(visits)
    assert {visit.cell for visit in visits} == set(chosen.cells())


def test_a_kernel_has_the_strategies_that_it_can_have() -> None:
    chosen = design.choose("quick", kernels="6.1,6.12:stock,6.18,mine=7.3.4", guests="mde")
    of = {boot: [(chosen.cells()[at].strategy, chosen.cells()[at].arm) for at in chosen.cells_of(boot)] for boot in range(1, 5)}
    everything = [("stock", "main"), ("lazy", "main"), ("eager", "main"), ("control-scan", "main"), ("lazy", "control")]
    alone = [("stock", "main"), ("stock", "control")]
    assert of == {1: everything, 2: alone, 3: alone, 4: alone}


@pytest.mark.parametrize(
    ("kernels", "kernel", "release", "name"),
    [
        ("", "6.1.0-56-arm64", "6.1.0-56-arm64", "stock"),  # another one could be chosen
        ("", "6.18.12", "6.18.12", "owner"),
        ("6.12:stock", "6.12.117", "6.12.117", "dirty-bit"),
        ("6.1:stock", "6.12.117", "6.12.117", "stock"),  # not asked for
        ("6.1", "6.1.0-56-arm64", "6.1.0-56-arm64", "stock"),
        ("v2=7.3.4", "v2", "7.3.4", "owner"),
        ("", "mainline", "mainline", "stock"),
    ],
)
def test_a_kernel_as_it_is_is_named_after_what_it_does(kernels: str, kernel: str, release: str, name: str) -> None:
    chosen = design.choose("quick", kernels=kernels or None)
    assert chosen.as_named("stock", kernel, release) == name
    assert chosen.as_named("lazy", kernel, release) == "lazy"


@given(factors())
def test_the_same_seed_draws_the_same_order_and_survives_the_file(chosen: Factors) -> None:
    drawn = design.draw(chosen)
    assert design.draw(chosen) == drawn
    assert design.Design.from_json(json.loads(json.dumps(drawn.to_json()))) == drawn


@given(factors())
def test_options_ask_for_the_same_factors(chosen: Factors) -> None:
    words = design.options(chosen).split(" --")
    changes = {}
    for word in words[1:]:
        name, *given = shlex.split(word)
        text = "".join(given)
        field = name.removeprefix("no-").replace("-", "_")
        changes[field] = text if text else not name.startswith("no-")
    changes = {name: int(text) if isinstance(text, str) and text.isdigit() else text for name, text in changes.items()}
    assert design.choose(words[0].split()[-1], chosen.kind, **changes) == chosen


def test_another_seed_draws_another_order() -> None:
    assert design.draw(Factors(seed=1)).order != design.draw(Factors(seed=2)).order


def test_the_control_arm_repeats_the_baseline_in_every_context() -> None:
    cells = Factors().cells()
    control = {(c.guest, c.host, c.exit) for c in cells if c.arm == design.CONTROL}
    assert control == {(c.guest, c.host, c.exit) for c in cells}
    assert {c.strategy for c in cells if c.arm == design.CONTROL} == {"lazy"}


def test_an_exit_can_be_limited_to_guests() -> None:
    cells = Factors(exits=("hvc", "mmio:untouched+mde")).cells()
    assert {c.guest for c in cells if c.exit == "mmio"} == {"untouched", "mde"}
    assert {c.guest for c in cells if c.exit == "hvc"} == set(GUEST_STATES)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": "lazy,fast"}, "'fast' is unknown on a Linux board; choose from stock"),
        ({"guests": "all,nobody"}, "'nobody' is unknown"),
        ({"hosts": "two"}, "'two' is unknown on a Linux board; choose from none"),
        ({"hosts": "all:nobody"}, "guests of host all:nobody: 'nobody' is unknown"),
        ({"exits": "wfx", "gic": False}, "wfx needs an interrupt controller"),
        ({"kernels": "7.3", "strategies": "lazy,eager"}, "7.3 can have none of the strategies lazy, eager"),
        ({"kernels": "mine=git:1:eager,mine=git:2:lazy"}, "a name is given twice in mine,mine"),
        ({"kernels": "mine=git:1:eager+lazy,mine=git:1:lazy"}, "a name is given twice in mine:eager,mine:lazy,mine:lazy"),
        ({"kernels": "mine=6.1:eager,mine=6.1:lazy"}, "given twice"),
        ({"kernels": "mine=git:1:lazy", "strategies": "eager"}, "strategies of kernel mine=git:1:lazy: 'lazy' is unknown"),
        ({"kernels": "6.1:owner"}, "strategies of kernel 6.1:owner: 'owner' is unknown"),
        ({"kernels": "mine="}, "'mine=' names no release"),
        ({"strategies": "partial"}, "'partial' is unknown on a Linux board"),
        ({"kind": "rig", "strategies": "stock"}, "'stock' is unknown on the rig; choose from lazy"),
        ({"kind": "rig", "loops": 10**6 + 1}, "loops is 1000001: it must be a whole number from 10 to 1000000"),
        ({"kind": "rig", "loops": 30, "guests": "touch-20"}, "loops is 30 and a guest is touch-20"),
        ({"until": 1.5}, "until is 1.5: it must be a share"),
        ({"until": 0.01, "boots": 2}, "ask for 3 boots at least"),
        ({"kernels": "a,a"}, "given twice"),
        ({"kind": "rig", "kernels": "a,b"}, "kernels: 'a' is unknown on the rig"),
        ({"touch_by": "read"}, "'read' is unknown; choose from write"),
        ({"exits": "smc"}, "'smc' is unknown on a Linux board; choose from hvc, sysreg, wfx, vgic, mmio"),
        ({"exits": "mmio:nobody"}, "'nobody' is unknown"),
        ({"guests": ""}, "none given"),
        ({"guests": "mde,mde"}, "given twice"),
        ({"loops": 0}, "loops is 0: it must be a whole number from 10 to"),
        ({"loops": -5}, "loops is -5"),
        ({"values": 1.5}, "values is 1.5"),
        ({"processes": True}, "processes is True"),
        ({"seed": -1}, "seed is -1: it must be a whole number from 0 to"),
        ({"gic": "yes"}, "gic is 'yes'"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        design.choose("default", **changes)


def test_every_profile_can_be_drawn_and_asks_for_what_its_boards_have() -> None:
    for kind, profiles in PROFILES.items():
        assert profiles.keys() - {"series"} == {"quick", "default", "full"}
        for name in profiles:
            assert design.draw(design.choose(name, kind)).factors.kind == kind


def test_parameters_leave_what_the_profile_has() -> None:
    parameters = {"board": "x", "profile": "full", "strategies": "", "loops": -1, "seed": 7, "gic": False, "exits": "sysreg"}
    assert design.from_parameters(parameters, RIG) == design.choose("full", RIG, seed=7, gic=False, exits="sysreg")


@pytest.mark.parametrize(
    ("board", "kind"), [("local", KVM), ("qemu-neoverse-n1", KVM), ("rig-cortex-a15", RIG), ("serial:/dev/ttyUSB0", RIG)]
)
def test_the_name_of_a_board_tells_its_kind(board: str, kind: str) -> None:
    assert design.kind_of(board) == kind


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(BadRequest, match="'huge' is unknown; choose from quick, default, full"):
        design.choose("huge")


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_what_is_no_design_is_bad_data(data: object) -> None:
    with pytest.raises(BadData):
        design.Design.from_json(data)  # type: ignore[arg-type]


def test_a_design_whose_order_was_changed_is_bad_data() -> None:
    data = design.draw(Factors()).to_json()
    data["order"][0][0] = data["order"][0][1]
    with pytest.raises(BadData, match="order"):
        design.Design.from_json(data)


def test_an_exit_and_a_host_may_be_limited_to_some_guests() -> None:
    chosen = design.choose(
        "quick", guests="untouched,mde,all", exits="hvc,mmio:mde", hosts="none,all:all+mde", strategies="stock"
    )
    rows = {(cell.exit, cell.host, cell.guest) for cell in chosen.cells()}
    assert rows == {
        *(("hvc", "none", guest) for guest in ("untouched", "mde", "all")), ("hvc", "all", "mde"), ("hvc", "all", "all"),
        ("mmio", "none", "mde"), ("mmio", "all", "mde"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "release", "label", "strategies", "own"),
    [
        ("6.12", "6.12", "", (), False),
        ("base=6.12:stock", "6.12", "base", ("stock",), False),
        ("v2=git:topic", "git:topic", "v2", (), True),
        ("git:v7.3~1:stock+lazy", "git:v7.3~1", "", ("stock", "lazy"), True),
        ("mine=image:/a/b=c:stock", "image:/a/b=c", "mine", ("stock",), True),
        ("image:out", "image:out", "", (), True),
        ("git=6.1", "6.1", "git", (), False),
    ],
)
def test_a_kernel_is_named_by_its_text(text: str, release: str, label: str, strategies: tuple[str, ...], own: bool) -> None:
    kernel = design.Kernel.of(text)
    assert (kernel.release, kernel.label, kernel.strategies, kernel.own) == (release, label, strategies, own)
    assert kernel.text == text
    assert design.Kernel.of(f"+{text}") == kernel  # the sign says when it joined, and nothing of the kernel


@given(st.text(max_size=30))
def test_every_text_names_a_kernel_and_every_kernel_a_text(text: str) -> None:
    kernel = design.Kernel.of(text)
    assert design.Kernel.of(kernel.text) == kernel


def test_kernels_of_one_s_own_are_measured_as_they_are() -> None:
    factors = design.choose("quick", kernels="base=6.12,v2=git:topic")
    assert factors.on("v2=git:topic").strategies == ("stock",)
    assert set(factors.on("base=6.12").strategies) == set(factors.strategies)


def test_one_of_one_s_own_is_booted_for_each_strategy_that_it_is_limited_to_and_told_it() -> None:
    asked = ("own=git:topic:lazy+eager+stock", "out=image:out:eager", "base=git:v6.1", "6.1:lazy+eager")
    factors = design.choose("quick", kernels=",".join(asked), strategies="stock,lazy,eager")
    named = [design.Kernel.of(text) for text in factors.kernels]
    assert [(kernel.name, factors.on(kernel.text).strategies, kernel.words) for kernel in named] == [
        ("own", ("lazy",), "kvm.debug_switch=lazy"),
        ("own", ("eager",), "kvm.debug_switch=eager"),
        ("own", ("stock",), ""),
        ("out", ("eager",), "kvm.debug_switch=eager"),
        ("base", ("stock",), ""),
        ("6.1", ("lazy", "eager"), ""),
    ]
    for kernel in named:
        assert told(f"quiet {CHOOSES}none {kernel.words}") == (kernel.told or "none")
        assert factors.kernel_called(kernel.name, f"quiet {kernel.words}") == kernel.text
    assert factors.by_module == ["lazy", "eager"]
    assert factors.as_named("lazy", "own", "6.1.177") == "lazy"
    assert factors.as_named("stock", "own", "6.1.177") == "dirty-bit"


def test_of_boots_that_were_told_a_strategy_those_of_the_baseline_have_a_control_arm() -> None:
    factors = design.choose("quick", kernels="own=git:topic:eager+lazy,6.1", guests="mde", strategies="lazy,eager")
    arms = {text: [(cell.strategy, cell.arm) for cell in factors.on(text).cells()] for text in factors.kernels}
    assert list(arms.values()) == [
        [("eager", "main")],
        [("lazy", "main"), ("lazy", "control")],
        [("lazy", "main"), ("eager", "main"), ("lazy", "control")],
    ]


def test_the_control_arm_may_be_on_the_first_kernel_alone() -> None:
    asked = {"kernels": "a=git:1,b=git:2", "guests": "untouched", "exits": "hvc", "boots": 2}
    arms = {
        where: [[visit.cell.arm for visit in design.draw(design.choose("series", control_on=where, **asked)).visits() if visit.boot == boot]
                for boot in (1, 2, 3, 4)]
        for where in ("every", "first")
    }  # fmt: skip
    assert [sorted(boot) for boot in arms["first"]] == [["control", "main"], ["main"], ["main"], ["control", "main"]]
    assert [sorted(boot) for boot in arms["every"]] == [["control", "main"]] * 4
