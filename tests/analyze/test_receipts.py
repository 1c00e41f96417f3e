"""What receipts say: rows, differences, stacks, shares, an excerpt; by the command and on their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analyze import compare, cost, frame, receipt_tables, receipts
from study.analyze.figures import draw_all
from study.campaign import Campaign
from study.campaign.store import RECEIPTS
from study.design import Factors
from study.publish import letter, reply
from tests import lines
from tests import receipts as made
from tests.conftest import drawn, refused, run, some

FACTORS = Factors(strategies=("stock", "lazy"), guests=("untouched", "mde"), boots=3)
# As schema.published("receipt") wants them, and design.md of who reads them.
ROW = {"board", "kernel", "strategy", "guest", "host", "exit", "function", "module", "instructions", "reads", "writes", "isb", "dsb",
       "exceptions", "loads", "stores", "lines"}  # fmt: skip


def more(line: dict[str, Any], function: str, instructions: float, reads: float = 0.0) -> dict[str, Any]:
    """Return a receipt with one function more."""
    zero = dict.fromkeys(("writes", "isb", "dsb", "entries", "returns", "loads", "stores", "branches"), 0.0)
    registers = {f"dbgbvr{number}_el1": [reads / 2, 0.0] for number in range(2)} if reads else {}
    row = {
        "function": function,
        "module": "kernel",
        "instructions": instructions,
        "reads": reads,
        **zero,
        "lines": 1,
        "registers": registers,
    }
    whole = line["instructions"] + instructions
    clock = {**line["clock"], "instructions": whole, "values": [whole + 5.0]}
    return {**line, "functions": [*line["functions"], row], "instructions": whole, "clock": clock,
            "stacks": {**line["stacks"], f"guest;{function}": instructions}, "trips": [[round(whole), 27]]}  # fmt: skip


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A campaign of three boots, with receipts of two guests, and shares of one."""
    found = Campaign.freeze(tmp_path_factory.mktemp("receipts") / "c", FACTORS)
    board = "qemu-neoverse-n1"
    for number in (1, 2, 3):
        boot = found.open_boot(board, number)
        boot.begin()
        boot.describe({"board": board, "kernel": "6.1.0-1", "mode": "vhe", "emulated": True})
        boot.record(*(lines.of_kvm(visit, FACTORS) for visit in found.missing(board) if visit.boot == number))
        if number == 1:
            mde = more(made.line(guest="mde"), "__debug_save_state", 170.0, reads=42.0)
            boot.record(made.line(), mde, *(made.sampled(visit) for visit in (1, 2, 3)), file=RECEIPTS)
    found.close(board)
    assert found.verify() == []
    return found


def test_rows_are_what_others_rely_on(campaign: Campaign) -> None:
    done = run("receipt", campaign.folder, "--json")
    rows = some(json.loads(done.stdout), 6)
    assert all(row.keys() >= ROW for row in rows)
    whole = {guest: sum(row["instructions"] for row in rows if row["guest"] == guest) for guest in ("untouched", "mde")}
    assert whole["mde"] - whole["untouched"] == 170


@pytest.mark.parametrize("style", ["text", "markdown", "html"])
def test_a_difference_names_the_function_and_its_accesses(campaign: Campaign, style: str) -> None:
    done = run("receipt", campaign.folder, "--cells", "guest=mde", "--against", "guest=untouched", "--as", style)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if "__debug_save_state" in line)
    assert "+170" in row and "+42" in row
    assert "dbgbvr0..1_el1: +21 read" in done.stdout
    assert "path length, not time" in " ".join(done.stdout.split())


def test_stacks_are_whole_and_of_one_receipt(campaign: Campaign) -> None:
    done = run("receipt", campaign.folder, "--cells", "guest=mde", "--as", "folded")
    counts = {path: int(count) for path, _, count in (line.rpartition(" ") for line in done.stdout.splitlines())}
    assert counts["guest;__debug_save_state"] == 170
    (line,) = (
        record.line
        for record in campaign.receipts()
        if record.line["cell"]["guest"] == "mde" and record.line["receipt"] == "traced"
    )
    assert sum(counts.values()) == round(line["instructions"])
    assert "stacks are of one receipt, and these are 2" in refused(run("receipt", campaign.folder, "--as", "folded"))


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--cells", "guest=one"], "choose from"), (["--cells", "guest=mde", "--against", "guest=half"], "choose from"),
     (["--cells", "guest"], "is no tag with values"), (["--cells", "guest=mde", "--sampled"], "choose from untouched"),
     (["--cells", "guest=mde", "--against", "strategy=lazy"], "choose from stock")],
)  # fmt: skip
def test_what_there_is_not_is_one_line(campaign: Campaign, words: list[str], says: str) -> None:
    assert says in refused(run("receipt", campaign.folder, *words))


def test_shares_are_said_to_be_samples(campaign: Campaign) -> None:
    done = run("receipt", campaign.folder, "--sampled")
    assert done.returncode == 0, done.stderr
    assert "99 samples of cycles:ukhHG in 3 visits: estimates, not counts" in " ".join(done.stdout.split())
    assert "90.9%" in done.stdout


def test_letter_reply_and_figure_have_what_it_is_made_of(campaign: Campaign, tmp_path: Path) -> None:
    values = frame.tidy(campaign)
    summary = compare.summarise(values, campaign.baselines())
    pairs = receipts.telling(receipts.frame(campaign), {})
    excerpt = receipt_tables.excerpt(pairs)
    assert 1 < len(excerpt) <= receipt_tables.LINES and max(map(len, excerpt)) <= 72
    text = letter.render(campaign, values, summary, title="x", version=1)
    assert "\n".join(excerpt) in text
    assert "\n".join(excerpt) in reply.render(campaign, summary, "exit=hvc guest=mde")
    drawing = next(drawing for drawing in draw_all(values, summary, {}, receipts.frame(campaign)) if drawing.name == "receipts")
    assert "__debug_save_state +170" in drawing.alt and "+170" in drawing.text


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


def test_nothing_is_said_of_a_campaign_without_receipts(reference: Campaign) -> None:
    assert receipts.telling(receipts.frame(reference), {}) == [] and receipt_tables.excerpt([]) == []
    assert "docs/receipts.md says how they are made" in refused(run("receipt", reference.folder))


counts = st.dictionaries(
    st.sampled_from(["a", "b.isra.0", "b", "__kvm_nvhe_c", "c", "d.constprop.0.isra.0"]), st.integers(1, 500), max_size=6
)


@drawn(100)
@given(counts, counts)
def test_differences_add_up_and_turn_around(ours: dict[str, int], theirs: dict[str, int]) -> None:
    def receipt(rows: dict[str, int]) -> Any:
        line = made.line()
        for name, size in rows.items():
            line = more(line, name, float(size), reads=2.0)
        return SimpleNamespace(line=line)

    this, that = receipt(ours), receipt(theirs)
    found, back = receipts.difference(this, that), receipts.difference(that, this)
    assert found["difference"].sum() == pytest.approx(this.line["instructions"] - that.line["instructions"])
    assert found["accesses"].sum() == 2 * (len(ours) - len(theirs))
    assert dict(zip(found["function"], found["difference"], strict=True)) == {
        name: -value for name, value in zip(back["function"], back["difference"], strict=True)
    }
    assert not receipts.differs(receipts.difference(this, this)).any()


@pytest.mark.parametrize(
    ("function", "stem"),
    [("a.isra.0", "a"), ("a.constprop.0.isra.0", "a"), ("__kvm_nvhe_a.part.0", "a"), ("a.b", "a.b"), ("x.cold", "x")],
)
def test_the_name_in_the_source(function: str, stem: str) -> None:
    assert receipts.stem(function) == stem


@drawn(100)
@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.01, 300), min_size=1))
def test_folded_stacks_are_whole_and_sum_up(stacks: dict[str, float]) -> None:
    rows = receipts.folded(SimpleNamespace(line={"stacks": stacks}))
    assert sum(int(row.rpartition(" ")[2]) for row in rows) == round(sum(stacks.values()))


def test_registers_of_a_family_are_one_word() -> None:
    named: Callable[[list[str]], list[str]] = receipts.families
    assert named([f"dbgbcr{n}_el1" for n in (0, 1, 2, 5)] + ["mdscr_el1"]) == ["dbgbcr0..2_el1", "dbgbcr5_el1", "mdscr_el1"]
