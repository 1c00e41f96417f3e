"""What the titles of figures say, on data whose truth is known: odd, equal, of one board, of hardware."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analyze import compare, cost, patches, receipt_tables, texts
from study.analyze.figures.look import message as wrapped
from tests.analyze.frames import tidy
from tests.analyze.test_receipts import many
from tests.conftest import drawn, some

COSTS = st.integers(1, 4).map(lambda tens: 1000.0 + 100 * tens)
EQUAL = [[1000.0, 1000.3], [1000.1, 999.9], [999.8, 1000.0]]
MORE = [[value + 100 for value in boot] for boot in EQUAL]


def title(words: str) -> str:
    """What a figure says, which is two lines at most, and no sentence of its own that ends."""
    assert words and len(wrapped(words).splitlines()) <= 2 and not re.search(r"\bnan\b", words) and not words.endswith(".")
    return words


def summary(*boards: pd.DataFrame) -> pd.DataFrame:
    """The summary of frames, each of a board of its own."""
    named = [rows.assign(board=f"b{n}", boot=f"b{n}." + rows["boot"].str.partition(".")[2]) for n, rows in enumerate(boards)]
    return compare.summarise(pd.concat(named), {f"b{n}": "lazy" for n in range(len(boards))})


# --- what a round trip costs ----------------------------------------------------------------------------------------------


@drawn(30)
@given(
    st.lists(
        st.fixed_dictionaries({(name, guest): COSTS for name in ("lazy", "eager", "partial") for guest in ("mde", "touch")}),
        min_size=1,
        max_size=2,
    ),
    st.booleans(),
)
def test_who_is_said_to_cost_less_is_told_to_on_every_board(boards: list[dict[tuple[str, str], float]], hardware: bool) -> None:
    scale = 1e-9 if hardware else 1.0
    metric, unit = ("time", "s") if hardware else ("clock", "instructions")
    frames = [
        pd.concat(
            rows.assign(guest=guest, unit=unit, visit=f"{guest}-" + rows["visit"])
            for (name, guest), value in costs.items()
            for rows in [tidy(metric, **{name: [[(value + boot) * scale] * 2 for boot in (-1, 0, 1)]})]
        )
        for costs in boards
    ]
    said = title(texts.message_of_costs(summary(*frames), "hvc"))
    for name in ("eager", "partial"):
        less = [guest for guest in ("mde", "touch") if all(costs[name, guest] < costs["lazy", guest] for costs in boards)]
        words = {0: "", 1: f"{name} for {''.join(less)}", 2: f"{name} for every guest"}[len(less)]
        assert words in said and (less or name not in said)
    assert said.startswith(("Sure to cost less than lazy (hvc): ", "No strategy is sure to cost less than lazy"))
    assert "instructions" not in said or not hardware


def test_a_kernel_as_it_is_does_not_compete_with_what_carries_the_module() -> None:
    said = texts.message_of_costs(summary(tidy(lazy=MORE, stock=EQUAL)), "hvc")
    assert said == "What a round trip (hvc) takes: 1000 to 1100 instructions (emulated, not time)"
    assert "No strategy" in texts.message_of_costs(summary(tidy(lazy=EQUAL, stock=EQUAL, eager=EQUAL)), "hvc")


def test_what_one_strategy_takes_is_said_in_its_unit() -> None:
    times = tidy("time", lazy=[[1.2345e-6, 1.2346e-6]] * 3).assign(unit="s")
    assert texts.message_of_costs(summary(times), "hvc") == "What a round trip (hvc) takes: 1235 ns"
    both = texts.message_of_costs(summary(times, tidy(lazy=EQUAL)), "hvc")
    assert both == "What a round trip (hvc) takes: 1235 ns; 1000 instructions (emulated, not time)"


def test_long_names_leave_a_title_its_two_lines() -> None:
    names = [f"strategy_{'x' * 40}_{n}" for n in range(6)]
    rows = summary(pd.concat([tidy(lazy=MORE), *(tidy(x=EQUAL).assign(strategy=name, visit=name) for name in names)]))
    said = title(texts.message_of_costs(rows, "hvc"))
    assert said.startswith("Sure to cost less than lazy (hvc): strategy_") and said.endswith(" more in its text")


# --- what it is made of ---------------------------------------------------------------------------------------------------


def shares(word: str, *rows: tuple[str, float, float, float]) -> pd.DataFrame:
    """What round trips consist of: board, scan, switch and trap of each."""
    return pd.DataFrame([{"board": board, "guest": "mde", "word": word, "base": 900.0, "scan": scan, "switch": switch, "trap": trap} for board, scan, switch, trap in rows])  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (shares("instructions", ("a", 9, 50, 0), ("a", 3, 40, 70)), "at most 70 instructions for traps, 50 for switches, 9 for scans"),
        (shares("instructions", ("a", 0, 50, 0), ("b", 0, 60, 0)), "at most 50 to 60 instructions for switches"),
        (pd.concat([shares("ns", ("a", 0, 5, 0)), shares("instructions", ("b", 0, 60, 0))]),
         "at most 5 ns for switches; 60 instructions for switches"),
        (shares("ns", ("a", 0, 0.2, 0.4)), "takes nothing beside its base"),
    ],
    ids=["one board", "two", "of both kinds", "nothing"],
)  # fmt: skip
def test_the_largest_part_comes_first(rows: pd.DataFrame, said: str) -> None:
    assert title(texts.message_of_parts(rows)).endswith(said)


# --- how steady it was ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("again", "said"),
    [
        (EQUAL, "lazy, measured a second time, is at most 0.00% from itself, and told apart in no cell"),
        (MORE, "lazy, measured a second time, is at most 10.00% from itself, but told apart in 1 cell"),
        (MORE[:1], "lazy, measured a second time, is at most 10.00% from itself, and boots are too few to tell it apart"),
    ],
    ids=["equal", "told", "one boot"],
)
def test_how_far_the_baseline_is_from_itself(again: list[list[float]], said: str) -> None:
    rows = compare.control_arm(summary(tidy(lazy=EQUAL[: len(again)], lazy_control=again)))
    assert title(texts.message_of_control(rows.dropna(subset="ratio"))) == said


@pytest.mark.parametrize("drift", [0.0, 0.5, -2.0])
def test_a_drift_that_was_planted_is_said(drift: float) -> None:
    slope = [[1000 * (1 + drift / 100 * (place > 6)) for place in range(12)]]
    visits = tidy(lazy=slope).assign(cell=0)
    level = 1000 * (1 + drift / 200)  # the median of as many visits before as after, one more of which is late or early
    said = title(texts.message_of_drift(visits))
    shown = float(said.removesuffix(" %").rpartition(" ")[2])
    assert shown == pytest.approx(abs(drift) * 1000 / level, rel=0.05)


def test_one_visit_shows_no_drift() -> None:
    assert "too few visits" in texts.message_of_drift(tidy(lazy=[[1.0]]).assign(cell=0))
    assert "nan" not in texts.describe_drift(tidy(lazy=[[1.0]]).assign(cell=0))


# --- where another way wins -----------------------------------------------------------------------------------------------


def fit(unit: str = "instructions", names: tuple[str, ...] = ("lazy", "eager", "control-scan"), **parts: float) -> cost.Fit:
    """A fit of such costs."""
    costs = cost.Costs(**{"base": 1000.0, "trap": 2000.0, "switch": 400.0, "scan": 200.0} | parts)
    return cost.Fit(unit, costs, costs, cost.PARTS, pd.DataFrame({"strategy": names}))


@pytest.mark.parametrize(
    ("fits", "said"),
    [
        ({"a": fit()}, "lazy below 0.167, then eager; with monitor mode always on and accesses rare, control-scan"),
        ({"a": fit(), "b": fit(trap=1200.0)}, "lazy below 0.167 to 0.250, then eager; with monitor mode"),
        ({"a": fit(), "b": fit(trap=0.0)}, "lazy below 0.167, then eager on a; lazy below 0.500, then control-scan on b; "),
        ({"a": fit(names=("lazy",))}, "debugging off: lazy at any rate; with monitor mode always on and accesses rare, lazy"),
        ({"a": fit(trap=0.0, switch=0.0, scan=0.0)}, "lazy = eager = control-scan at any rate"),
    ],
    ids=["one board", "two", "two that differ", "one strategy", "all the same"],
)
def test_who_wins_at_which_touch_rate(fits: dict[str, cost.Fit], said: str) -> None:
    assert said in title(texts.message_of_break_even(fits))


@drawn(40)
@given(st.floats(1, 5000), st.floats(1, 5000), st.floats(1, 200))
def test_the_touch_rate_of_a_title_is_where_the_winner_changes(trap: float, switch: float, scan: float) -> None:
    one = fit(trap=trap, switch=switch, scan=scan)
    said = title(texts.message_of_break_even({"a": one}))
    first, *others = said.split(": ", 1)[1].split("; with")[0].split(", then ")
    winner = first.split(" ")[0]
    assert winner == min(("lazy", "eager", "control-scan"), key=lambda name: float(one.costs.of(name, cost.Mix(0.001, 0.0, 0.0))))  # type: ignore[arg-type]
    if others:
        rate, after = float(first.split(" ")[-1]), others[0].split(" ")[0]
        assert float(cost.touch_rate(one.costs, winner, after)) == pytest.approx(rate, abs=0.0005)


COUNTS = st.fixed_dictionaries({"instructions": st.integers(1000, 3000), "traps": st.sampled_from([0.0, 0.05, 1.0]), "accesses": st.integers(0, 40)})  # fmt: skip


@drawn(60)
@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS), min_size=1, max_size=2))
def test_who_wins_at_any_price_is_the_cheapest_at_every_corner(boards: list[tuple[dict[str, float], ...]]) -> None:
    rows = pd.DataFrame(
        [
            {"board": f"b{n}", "guest": "mde", "strategy": strategy, **own}
            for n, costs in enumerate(boards)
            for strategy, own in zip(("lazy", "eager", "control-scan"), costs, strict=True)
        ]
    )
    said = title(texts.message_of_prices(rows))
    best = set[str]()
    for (_, own), price in itertools.product(rows.groupby("board"), itertools.product((1, 1e5), (1, 1e3))):
        totals = cost.priced(own, *price)
        best |= {name for name, total in totals.items() if total == min(map(float, totals.values()))}
    if "at any price" in said:
        named = set(said.partition(" is the cheapest")[0].split(" = "))
        assert named <= best
        for _, own in rows.groupby("board"):
            for price in itertools.product((1, 1e5), (1, 1e3)):
                totals = cost.priced(own, *price)
                assert min(map(float, totals.values())) == pytest.approx(min(float(totals[name]) for name in named))
    else:
        assert len(best) > 1 and said in ("prices decide for mde", "the board decides for mde")


# --- series and receipts --------------------------------------------------------------------------------------------------

VERDICTS = st.sampled_from([compare.HIGHER, compare.LOWER, compare.CANNOT])


def series(verdicts: list[tuple[str, str]]) -> pd.DataFrame:
    """What patches move, each with its verdict against the one before and against the base."""
    ratios = {compare.HIGHER: 1.1, compare.LOWER: 0.9, compare.CANNOT: 1.001}
    place = {
        "board": "b",
        "exit": "hvc",
        "guest": "mde",
        "host": "none",
        "metric": "clock",
        "unit": "instructions",
        "mode": "vhe",
    }
    rows = [
        {"patch": n, "label": f"{n}-patch", **place, "than": than, "verdict": verdict, "ratio": ratios[verdict], "boots": 3, "median": 1000.0}
        | {f"moved{end}": 1000 * (ratios[verdict] - 1) for end in ("", "_low", "_high")}
        for n, both in enumerate(verdicts, 1)
        for than, verdict in zip((patches.BEFORE, patches.BASE), both, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@drawn(60)
@given(st.lists(st.tuples(VERDICTS, VERDICTS), min_size=1, max_size=8))
def test_commits_in_the_title_of_a_series_are_told_from_the_one_before(verdicts: list[tuple[str, str]]) -> None:
    moved = series(verdicts)
    said = title(texts.message_of_series(moved))
    for word, verdict in (("more", compare.HIGHER), ("less", compare.LOWER)):
        told = [f"{n}-patch" for n, (before, _) in enumerate(verdicts, 1) if before == verdict]
        assert (f"{word}: {texts.listed(told)}" in said) == bool(told)
    whole = {compare.HIGHER: "costs more than its base", compare.LOWER: "costs less than its base"}
    assert said.endswith(f"the whole series {whole.get(verdicts[-1][1], 'cannot be told from its base')}")
    assert ("No commit is sure" in said) == all(before == compare.CANNOT for before, _ in verdicts)
    assert texts.describe_series(moved).startswith(f"{said}. It moves most: b hvc mde by ")
    assert len(patches.steps(moved)) == 1 + sum(before != compare.CANNOT for before, _ in verdicts)


@pytest.mark.parametrize(
    ("names", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (list("abcd"), "a, b, c and d"), (list("abcde"), "a, b, c and 2 more")]
)  # fmt: skip
def test_names_that_are_many_are_counted(names: list[str], said: str) -> None:
    assert texts.listed(names) == said


def test_the_title_of_receipts_says_how_much_and_where() -> None:
    assert title(receipt_tables.message(many(3))).startswith(
        "mde over untouched: -750 instructions a round trip, most of all in a_fun"
    )
    assert "-750 to -540 instructions" in receipt_tables.message([*many(3), *many(2)])
    ((one, _),) = many(3)
    assert "do not differ in any function" in title(receipt_tables.message([(one, one)]))


def test_a_drift_of_the_noise_alone_is_small() -> None:
    source = np.random.default_rng(1)
    visits = tidy(lazy=[list(1000 + source.standard_normal(90)) for _ in range(3)]).assign(cell=0)
    assert float(some(texts.message_of_drift(visits).split(), 3)[-2]) < 0.2
