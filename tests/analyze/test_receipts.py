"""What one round trip is made of, and what two differ in, as the command, the figure and programs show it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from study.analyze import compare, cost, figures, frame, receipt_tables, receipts, tables
from study.analyze.figures.look import STYLE
from study.analyze.figures.receipts import by_function
from study.campaign import Campaign
from tests import made_receipts, made_series
from tests.conftest import drawn, refused, run, some
from tests.made_receipts import BOARD, cell, function, of_guest, sampled, traced

MDE, UNTOUCHED = "exit=hvc guest=mde", "guest=untouched"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Two guests that were traced, one of them at another exit, too; five visits of the one that were sampled, and two of the other."""
    apart = [{"trips": 1, "instructions": 3000.0, "more": {"chacha_permute": 2032.0}}]
    mmio = traced(
        cell("untouched", "mmio"), [function("__kvm_vcpu_run", 700.5), function("python", 300, module="user")], apart=apart
    )
    visits = [sampled(cell(), number, {"save": 30 + number, "run": 970 - number}) for number in range(1, 6)]
    visits += [sampled(cell("untouched"), number, {"run": 100}) for number in (1, 2)]
    lines = [of_guest("mde"), of_guest("untouched"), mmio, *visits]
    return made_receipts.make(tmp_path_factory.mktemp("receipts") / "c", lines)


def shown(measured: Campaign, *words: str) -> str:
    done = run("receipt", measured.folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(text: str) -> dict[str, list[str]]:
    """The rows of tables in text, by their first cell."""
    return {
        line[0]: line[1:]
        for line in (re.split(r"  +", line.strip()) for line in text.splitlines() if "--" not in line)
        if len(line) > 2
    }


def test_a_receipt_is_a_table_whose_rows_add_up(measured: Campaign) -> None:
    text = shown(measured, "--cells", MDE)
    assert f"{BOARD}, Linux 6.1.0-56-arm64 (vhe), hvc round trip" in " ".join(text.split())
    assert receipt_tables.EMULATED in " ".join(text.split())
    rows = rows_of(text)
    assert rows["__kvm_vcpu_run"][0] == "700" and rows["__debug_save_state"][0] == "170"
    assert "small_8" not in rows and rows["41 others"][0] == "407"
    assert rows["whole round trip"] == ["1277", "100.0 %", "44", "42", "1", "0"]
    assert sum(int(row[0]) for name, row in rows.items() if name != "function") == 2 * 1277
    assert len(some(re.findall(r"^small_\d+ ", shown(measured, "--cells", MDE, "--all"), re.MULTILINE), 40)) == 40
    assert max(map(len, text.splitlines())) <= 100


def test_a_receipt_says_of_which_trips_it_is_and_what_the_clock_says(measured: Campaign) -> None:
    said = " ".join(shown(measured, "--cells", MDE).split())
    assert "The mean of 40 round trips. Traced were 40" in said and "40 of 1277" in said
    assert "says 1277 a round trip" in said and "A visit's value has +6 on top" in said
    apart = " ".join(shown(measured, "--cells", "exit=mmio").split())
    assert "Left out is 1 round trip of 3000: besides it runs chacha_permute +2032." in apart
    assert rows_of(shown(measured, "--cells", "exit=mmio"))["whole round trip"][0] == "1000.5"


def test_a_difference_shows_the_functions_that_differ_and_their_registers(measured: Campaign) -> None:
    text = shown(measured, "--cells", MDE, "--against", UNTOUCHED)
    rows = rows_of(text)
    assert rows["function"] == ["mde", "untouched", "difference", "accesses", "barriers", "exceptions"]
    assert rows["__debug_save_state"] == ["170", "0", "+170", "+84", "+1", "0"]
    assert rows["whole round trip"] == ["1277", "1107", "+170", "+84", "+1", "0"]
    assert set(rows) == {"function", "__debug_save_state", "whole round trip"}
    said = " ".join(text.split())
    assert "42 functions in which they do not differ are left out: 1107 instructions" in said
    assert "21 debug registers read twice more and written twice more each (+84): dbgbcr0..5_el1, dbgbvr0..5_el1," in said
    assert "against guest untouched" in said
    backwards = rows_of(shown(measured, "--cells", "exit=hvc guest=untouched", "--against", "guest=mde"))
    assert backwards["__debug_save_state"] == ["0", "170", "-170", "-84", "-1", "0"]


@pytest.mark.parametrize("style", ["markdown", "html"])
def test_tables_are_to_be_had_for_a_page(measured: Campaign, style: str) -> None:
    named = {"markdown": "`__debug_save_state`", "html": "<td>__debug_save_state</td>"}[style]
    for words in ([], ["--against", UNTOUCHED]):
        text = shown(measured, "--cells", MDE, "--as", style, *words)
        assert named in text and receipt_tables.WHOLE in text and receipt_tables.EMULATED in text
    assert "small_8" in shown(measured, "--cells", MDE, "--as", style)


def test_programs_get_a_row_for_each_function(measured: Campaign) -> None:
    rows = json.loads(shown(measured, "--json"))
    assert rows == json.loads(shown(measured, "--as", "json"))
    assert len(rows) == 43 + 42 + 2
    promised = ["board", "kernel", "strategy", "guest", "host", "exit", "function", "module", "instructions", "reads", "writes", "isb",
                "dsb", "exceptions", "loads", "stores", "lines"]  # fmt: skip
    assert set(promised) <= rows[0].keys()
    (save,) = [row for row in rows if row["function"] == "__debug_save_state"]
    assert (save["guest"], save["instructions"], save["reads"], save["writes"]) == ("mde", 170, 42, 42)
    assert save["registers"]["dbgbcr0_el1"] == [2, 2]
    compared = json.loads(shown(measured, "--cells", MDE, "--against", UNTOUCHED, "--json"))
    assert compared[0]["difference"] == 170 and compared[0]["against"]["guest"] == "untouched"
    shares = json.loads(shown(measured, "--sampled", "--json"))
    assert {(row["guest"], row["visits"]) for row in shares} == {("mde", 5), ("untouched", 2)}


def test_samples_are_shares_with_intervals_where_visits_are_enough(measured: Campaign) -> None:
    text = shown(measured, "--sampled", "--cells", "guest=mde")
    assert re.search(r"^save +3\.3% +3\.1% to 3\.5%$", text, re.MULTILINE)
    assert "estimates, not counts" in " ".join(text.split()) and "masked" in text and "cycles" in text
    few = " ".join(shown(measured, "--sampled", "--cells", "guest=untouched").split())
    assert "run 100.0% - " in few and "2 visits" in few and "too few for an interval" in few


def test_stacks_are_folded_for_a_flame_graph(measured: Campaign) -> None:
    lines = shown(measured, "--cells", "exit=mmio", "--as", "folded").splitlines()
    assert lines in (["run;0;__kvm_vcpu_run 700", "run;1;python 300"], ["run;0;__kvm_vcpu_run 701", "run;1;python 300"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--as", "folded"], "these cells have 3 receipts, and folded stacks are of one: choose with --cells from guest="),
        (["--cells", "guest=touch"], "guest 'touch' has no traced receipt there; choose from untouched, mde"),
        (["--cells", "kernel=7.3"], "kernel '7.3' has no traced receipt there; choose from 6.1.0-56-arm64"),
        (["--cells", "mde"], "'mde' is no tag with values"),
        (["--cells", "exit=mmio", "--against", "guest=mde"], "guest 'mde' has no traced receipt there; choose from untouched"),
        (["--cells", MDE, "--against", "guest=mde"], "nothing to compare these cells with that agrees in board, kernel"),
        (["--sampled", "--cells", "exit=mmio"], "exit 'mmio' has no sampled receipt there; choose from hvc"),
        (["--sampled", "--against", UNTOUCHED], "--against compares what was traced"),
        (["--sampled", "--as", "folded"], "samples have no stacks"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(measured: Campaign, words: list[str], says: str) -> None:
    assert says in refused(run("receipt", measured.folder, *words))


def test_a_campaign_without_receipts_says_so(tmp_path: Path) -> None:
    assert "has no traced receipt: it has none at all" in refused(run("receipt", "data/guests"))
    campaign = made_receipts.make(tmp_path / "c", [sampled(cell(), 1, {"run": 100})])
    assert "has no traced receipt: those that it has are sampled" in refused(run("receipt", campaign.folder))


def test_each_receipt_is_compared_with_the_one_that_agrees_in_all_else(measured: Campaign) -> None:
    found = receipts.frame(measured)
    ((this, that),) = receipts.pairs(found, "", UNTOUCHED)
    assert (this.guest, that.guest, this.exit, that.exit) == ("mde", "untouched", "hvc", "hvc")
    assert receipts.pairs(found, "kernel=6.1 exit=hvc", "exit=mmio")[0][1].exit == "mmio"


def two_kernels() -> list[receipts.Pair]:
    """The same cell on two kernels, of which one runs at EL2 by itself and has parts of functions."""
    rows = [
        pd.DataFrame([{"board": "b", "kernel": kernel, "strategy": strategy, "guest": "mde", "host": "none", "exit": "hvc", "mode": "vhe",
                       "baseline": "lazy", "receipt": "traced", "number": 1, "line": line}])
        for kernel, strategy, line in (
            ("7.3.0", "owner", traced(cell(), [function("__kvm_nvhe_save", 60), function("run.isra.0", 30), function("run.part.0", 10)])),
            ("6.1.0", "stock", traced(cell(), [function("save", 50), function("run", 40), function("memcpy.constprop.0", 5)])),
        )
    ]  # fmt: skip
    return receipts.pairs(pd.concat(rows, ignore_index=True), "kernel=7.3", "kernel=6.1")


def test_functions_that_a_compiler_renamed_are_the_same() -> None:
    """And what a kernel does as it is is one strategy, whatever it is called."""
    (pair,) = two_kernels()
    rows = receipts.difference(*pair).set_index("function")["difference"].to_dict()
    assert rows == {"save": 10, "memcpy": -5, "run": 0}
    assert receipt_tables.sides(*pair) == ("7.3 owner", "6.1 stock")


NAMES = ["save", "save.isra.0", "__kvm_nvhe_save", "run", "run.part.0", "__guest_enter", "a.cold"]
REGISTERS = st.dictionaries(
    st.sampled_from(["dbgbcr0_el1", "dbgbcr1_el1", "sp_el0"]), st.tuples(st.integers(0, 3), st.integers(0, 3))
)
FUNCTIONS = st.lists(
    st.builds(
        function, st.sampled_from(NAMES), st.integers(1, 10**7).map(lambda n: n / 1000), REGISTERS, st.sampled_from(["kernel", "kvm"])
    ),
    min_size=1, max_size=9, unique_by=lambda row: (row["function"], row["module"]),
)  # fmt: skip


def row_of(rows: list[dict[str, Any]], guest: str) -> Any:
    tags = {"board": "b", "kernel": "k", "strategy": "stock", "host": "none", "exit": "hvc", "mode": "vhe", "guest": guest}
    return next(pd.DataFrame([{**tags, "line": traced(cell(guest), rows)}]).itertuples())


@drawn(100)
@given(FUNCTIONS, FUNCTIONS)
def test_a_difference_adds_up_and_turns_round(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    this, that = row_of(ours, "mde"), row_of(theirs, "untouched")
    rows = receipts.difference(this, that)
    assert rows["this"].sum() == pytest.approx(this.line["instructions"], abs=1e-4)
    assert rows["that"].sum() == pytest.approx(that.line["instructions"], abs=1e-4)
    assert rows["difference"].to_numpy() == pytest.approx((rows["this"] - rows["that"]).to_numpy(), abs=1e-4)
    assert (rows["difference"].abs().diff().dropna() <= 0).all()
    registers = sum(map(sum, receipts.accesses(this, that).values()))
    assert rows["accesses"].sum() == pytest.approx(registers, abs=1e-4)
    back = receipts.difference(that, this).set_index(["function", "module"])["difference"]
    for key, more in rows.set_index(["function", "module"])["difference"].items():
        assert back[key] == pytest.approx(-more, abs=1e-5)
    assert not receipts.differs(receipts.difference(this, this)).any()
    assert receipts.accesses(this, this) == {}


@drawn(100)
@given(FUNCTIONS)
def test_folded_stacks_have_the_sum_of_the_round_trip(rows: list[dict[str, Any]]) -> None:
    receipt = row_of(rows, "mde")
    lines = receipts.folded(pd.DataFrame([receipt._asdict()]))
    counts = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}
    assert abs(sum(counts.values()) - receipt.line["instructions"]) <= 0.5 + 1e-6
    for name, exact in receipt.line["stacks"].items():
        assert abs(counts.get(name, 0) - exact) < 1


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["dbgbcr0_el1", "dbgbcr1_el1", "dbgbcr3_el1", "mdscr_el1"], ["dbgbcr0..1_el1", "dbgbcr3_el1", "mdscr_el1"]),
        (["sp_el0", "id_aa64dfr0_el1"], ["id_aa64dfr0_el1", "sp_el0"]),
        (["ich_lr10_el2", "ich_lr9_el2"], ["ich_lr9..10_el2"]),
        (["p14,0,c0,c5,4"], ["p14,0,c0,c5,4"]),
    ],
)
def test_registers_with_consecutive_numbers_are_one(names: list[str], said: list[str]) -> None:
    assert receipts.families(names) == said


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (3.0, "+3"), (-3.04, "-3"), (0.26, "+0.3"), (-0.01, "0"), (1234.56, "+1234.6")]
)
def test_a_number_is_whole_or_has_one_decimal(value: float, shown: str) -> None:
    assert receipt_tables.signed(value) == shown


def test_an_excerpt_has_ten_lines_however_many_boards_and_kernels_there_are(measured: Campaign) -> None:
    pairs = receipts.telling(receipts.frame(measured), {})
    assert receipt_tables.excerpt([]) == ""
    for count in (1, 2, 4, 8, 20):
        lines = receipt_tables.excerpt(pairs * count).splitlines()
        assert 2 < len(lines) <= receipt_tables.EXCERPT
        assert max(map(len, lines)) <= tables.WIDTH
        assert sum(f"  {BOARD}, Linux 6.1.0-56-arm64: +170 to 1277" in line for line in lines) == min(
            count, 8 if count < 9 else 7
        )


def test_of_a_board_with_many_kernels_a_figure_shows_one(measured: Campaign) -> None:
    found = receipts.frame(measured)
    several = pd.concat([found.assign(kernel=kernel) for kernel in ("6.1.0", "6.18.0", "7.3.0")], ignore_index=True)
    assert [this.kernel for this, _ in receipts.telling(several, {})] == ["6.1.0", "6.18.0", "7.3.0"]
    assert [this.kernel for this, _ in receipts.in_focus(several, {})] == ["6.1.0"]
    assert receipts.in_focus(receipts.NOTHING, {}) == []


def test_of_a_series_the_cell_that_moved_most_is_shown(tmp_path: Path) -> None:
    known = {"branch": "t", "ends": True, "base": made_series.row("base", 0), "patches": [made_series.row("1-less", 1)]}
    campaign = made_series.make(tmp_path / "c", {"base": 0, "1-less": 0}, known)
    for boot in campaign.boots():
        less = 0 if campaign.facts(boot)["kernel"] == "base" else 50
        lines = [
            traced(cell("mde", leave), [function("run", 900 - less * (leave == "hvc")), function("same", 100)])
            for leave in ("hvc", "mmio")
        ]
        if boot.name.endswith((".1", ".2")):
            made_receipts.add(campaign, boot, lines)
    found = receipts.frame(Campaign(campaign.folder))
    pairs = receipts.telling(found, known)
    assert [(this.board, this.kernel, that.kernel, this.exit) for this, that in pairs] == [
        (board, "1-less", "base", "hvc") for board in sorted(made_series.BOARDS)
    ]
    text = receipt_tables.excerpt(pairs)
    assert text.startswith("hvc, guest mde, 1-less over base: what a round trip has more")
    assert text.count("-50 to 950, 0 accesses: run -50") == 2
    values = frame.tidy(campaign)
    drawings = figures.draw_all(values, compare.summarise(values, campaign.baselines()), known, found)
    assert [drawing.name for drawing in drawings] == ["answer", "patches", "functions"]


def test_the_figure_is_said_in_words_too(measured: Campaign) -> None:
    pairs = receipts.telling(receipts.frame(measured), {})
    for text in (receipt_tables.described(pairs), receipt_tables.drawn(pairs)):
        assert BOARD in text and "__debug_save_state" in text and "+170" in text and "emulated" in text
    for some_pairs in (pairs, many(30)):
        assert 80 < len(receipt_tables.described(some_pairs)) <= 300
        text = receipt_tables.drawn(some_pairs)
        assert text.isascii() and max(map(len, text.splitlines())) <= tables.WIDTH


def many(count: int) -> list[receipts.Pair]:
    """Pairs of many functions with long names, some of which have less."""
    rows = [function(f"a_function_with_quite_a_long_name_{n}.constprop.0", 10 + 40 * n, {"sp_el0": (n, 0)}) for n in range(count)]
    fewer = [function(row["function"], 300.0, {"sp_el0": (1, 0)}) for row in rows]
    return [(row_of(rows, "mde"), row_of(fewer, "untouched"))]


@pytest.mark.parametrize("pairs", [many(3), many(13), many(30), [*many(13), *many(2)]], ids=["few", "all", "folded", "two"])
def test_no_label_of_the_figure_is_cut_off(pairs: list[receipts.Pair]) -> None:
    figure = by_function(pairs)
    with plt.style.context(STYLE):
        figure.draw_without_rendering()
    page = figure.bbox
    beyond = {label for axis in figure.axes for label in axis.get_xticklabels()}  # matplotlib keeps some that it does not draw
    for axis in figure.axes:
        assert len(axis.patches) == len(axis.get_yticklabels()) == len(axis.texts) <= receipt_tables.MOST
    for text in some(set(figure.findobj(Text)) - beyond, 8):
        if text.get_text():
            box = text.get_window_extent()
            assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text.get_text()


def test_receipts_that_are_not_of_what_was_measured_are_told() -> None:
    sizes = {"base": 1000.0, "trap": 2000.0, "switch": 350.0, "scan": 60.0}
    vectors = pd.DataFrame(
        [
            {"board": "b", "kernel": "k", "part": part, **dict.fromkeys(cost.EVENTS, size), "error": 0.0}
            for part, size in sizes.items()
        ]
    )
    for base, told in ((1000.0, False), (1500.0, True)):
        costs = cost.Costs(**{**sizes, "base": base})
        clock = [
            {
                "strategy": strategy,
                "guest": guest,
                "boot": boot,
                "unit": "instructions",
                "value": costs.of(strategy, cost.mix_of(guest)),
            }
            for strategy in ("lazy", "eager", "control-scan")
            for guest in ("untouched", "mde", "touch")
            for boot in (1, 2, 3)
        ]
        said = receipt_tables.parts(vectors, {"b": cost.fit(pd.DataFrame(clock))})
        assert ("not of the same guests or kernel" in " ".join(said.split())) == told, said
