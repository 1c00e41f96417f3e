"""Prices that were measured: a file that reads back, a campaign that keeps them, bars and sentences of their own on its maps."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import paths
from study.analyze import compare, cost, figures, measured, published, texts
from study.analyze.figures.prices import prices as drawn
from study.campaign import Campaign
from study.campaign.store import PRICES
from study.errors import BadData
from study.factors import KVM
from tests.conftest import refused, run, some

BOARD = {"core": "Neoverse N1", "machine": "ssh:altra, Mt. Jade", "kernel": "Linux 6.1, vhe"}
SOURCE = "study prices ssh:altra, 2026-11-29: 3 repeats of 15 pairs of loops"


def row(quantity: str, *medians: float, unit: str = "cycles") -> dict[str, object]:
    return {"loop": quantity, "quantity": quantity, "of": f"a {quantity}", "unit": unit, "medians": list(medians)}


ROWS = [row("trap", 131.04, 130.1, 133), row("exception", 60, 61, 62), row("read", 4, 4.5, 4.1), row("write", 9, 11, 10)]
ROWS += [row("isb", 32, 33, 32), row("write-isb", 45, 44, 44), row("batch", 190, 188, 189), row("hypercall", 900, 901, 905)]


@pytest.fixture(scope="module")
def own() -> list[published.Price]:
    found, nothing = measured.of_rows(ROWS, SOURCE, **BOARD)
    assert not nothing
    return found


@pytest.fixture(scope="module")
def counted(summary: pd.DataFrame) -> pd.DataFrame:
    return cost.counts(compare.of_kind(compare.in_focus(summary), KVM))


def test_a_price_is_the_range_of_the_medians_of_repeats(own: list[published.Price]) -> None:
    prices = {price.quantity: price for price in own}
    assert (prices["trap"].low, prices["trap"].high, prices["trap"].range) == (130.1, 133.0, "130.1 to 133 cycles")
    assert prices["read"].of == "a read; medians of 3 repeats"
    assert {price.seen for price in own} == {"measured"}


def test_what_cannot_be_told_from_nothing_is_no_price() -> None:
    found, nothing = measured.of_rows([row("read", -0.01, 0.2), row("write", 0.1, 0.2)], SOURCE, **BOARD)
    assert [price.quantity for price in found] == ["write"]
    assert nothing == ["read of a system register (a read): -0.01 to 0.2 cycles"]


words = st.text(min_size=1).filter(str.strip)
numbers = st.floats(1e-6, 1e12)


@given(
    st.lists(st.tuples(st.sampled_from(sorted(published.QUANTITIES)), words, st.sampled_from(published.UNITS), st.lists(numbers, min_size=2, max_size=5)), max_size=4),
    words, words, words,
)  # fmt: skip
def test_a_file_reads_back_whatever_a_board_calls_itself(rows: list[tuple], core: str, machine: str, kernel: str) -> None:  # type: ignore[type-arg]
    known = [{"quantity": quantity, "of": of, "unit": unit, "medians": medians} for quantity, of, unit, medians in rows]
    found, nothing = measured.of_rows(known, SOURCE, core=core, machine=machine, kernel=kernel)
    assert len(found) == len(rows) and not nothing
    text = measured.text(found)
    assert (published.prices(text) if rows else []) == found
    for price, (_, _, _, medians) in zip(found, rows, strict=True):
        assert math.isclose(price.low, min(medians), rel_tol=1e-3) and math.isclose(price.high, max(medians), rel_tol=1e-3)


def test_a_board_that_is_measured_again_replaces_its_own(own: list[published.Price]) -> None:
    other, _ = measured.of_rows(ROWS[:2], SOURCE, **{**BOARD, "machine": "local"})
    again, _ = measured.of_rows(ROWS[2:3], SOURCE, **BOARD)
    assert measured.joined([*own, *other], again) == [*other, *again]


def test_bars_of_ones_own_stand_ahead_of_the_published_ones(counted: pd.DataFrame, own: list[published.Price]) -> None:
    with_them, without = drawn(counted, own=own), drawn(counted)
    try:
        (names, heights), (before, _) = ([labels(figure), bars(figure)] for figure in (with_them, without))
        assert names == ["Neoverse N1, measured", *before]
        assert heights[0] == (4.0, 11.0)  # of reads and writes, without those that an ISB is in
        traps = published.ranges(own)
        assert [(bar.low, bar.high) for bar in traps[traps["axis"] == "trap"].itertuples()] == [(130.1, 133.0)]
        assert "measured on this board" in with_them._supxlabel.get_text()  # type: ignore[attr-defined]
        assert "measured on this board" not in without._supxlabel.get_text()  # type: ignore[attr-defined]
    finally:
        plt.close("all")


def labels(figure: plt.Figure) -> list[str]:
    """The cores below the maps, from the top down."""
    return next(
        names
        for axis in figure.axes
        if len(names := [text.get_text() for text in axis.get_yticklabels()]) > 5 and "Cortex-A53" in names
    )


def bars(figure: plt.Figure) -> list[tuple[float, float]]:
    """From what to what their bars go."""
    axis = next(axis for axis in figure.axes if "Cortex-A53" in [text.get_text() for text in axis.get_yticklabels()])
    return [(float(path[0][0]), float(path[1][0])) for path in axis.collections[0].get_segments()]  # type: ignore[attr-defined]


def test_the_sentence_says_what_was_measured_and_that_it_stands_for_nothing_else(own: list[published.Price]) -> None:
    said = published.spoken(own)
    assert said.startswith(published.spoken())
    more = said.removeprefix(published.spoken()).strip()
    assert more == (
        "Measured on this board, ssh:altra, Mt. Jade (Neoverse N1), of debug registers themselves: a trap 130.1 to 133 cycles; "
        "an access 4 to 11 cycles."
    )
    assert "stand for them" not in more
    times, _ = measured.of_rows([row("read", 1, 2, unit="ns")], SOURCE, **BOARD)
    assert "in ns, which no axis has" in published.measured(times)
    assert published.measured(()) == ""


def test_an_exception_stands_for_a_trap_only_where_none_is_known() -> None:
    found, _ = measured.of_rows(ROWS[1:2], SOURCE, **BOARD)
    (bar,) = published.ranges(found).itertuples()
    assert (bar.axis, bar.low, bar.high) == ("trap", 60, 62)


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    shutil.copytree(paths.DATA / "reference", tmp_path / "mine")
    return Campaign(tmp_path / "mine")


def test_a_campaign_keeps_them_with_its_sums(campaign: Campaign, own: list[published.Price]) -> None:
    digest, raw = campaign.digest(), len(campaign.raw_files())
    assert measured.recorded(campaign) == []
    for prices in (own, own[:3]):
        campaign.record_prices(measured.text(prices))
        assert measured.recorded(campaign) == prices
        assert run("verify", campaign.folder).returncode == 0
    assert (campaign.digest() != digest, len(campaign.raw_files())) == (True, raw + 1)
    run("repair", "--no-measure", campaign.folder)
    assert measured.recorded(Campaign(campaign.folder)) == own[:3]


def test_what_is_damaged_is_named_and_set_aside(campaign: Campaign, own: list[published.Price]) -> None:
    campaign.record_prices(measured.text(own))
    file = campaign.folder / PRICES
    file.write_text(file.read_text().replace("130.1", "1.1"))
    assert f"{file}: its bytes do not match" in refused(run("verify", campaign.folder))
    file.write_text(file.read_text().replace("cycles", "miles"))
    with pytest.raises(BadData, match=re.escape(f"{file}: a price of Neoverse N1: unit is 'miles'")):
        measured.recorded(campaign)
    assert str(file) in run("repair", "--no-measure", campaign.folder).stdout
    assert not file.exists()


def test_all_figures_of_a_campaign_take_them_along(
    values: pd.DataFrame, summary: pd.DataFrame, own: list[published.Price]
) -> None:
    found = {drawing.name: drawing for drawing in figures.draw_all(values, summary, own=own)}
    for name in some(["prices", "rig-prices"], 2):
        assert "Measured on this board, ssh:altra" in " ".join(found[name].text.split())
    assert texts.price_of_an_access(40, own) != texts.price_of_an_access(40)
