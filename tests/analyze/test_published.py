"""Published prices: every one has a source, a bound is a bound, and what is no price is refused."""

from __future__ import annotations

import math
import re

import pytest

from study import paths
from study.analyze import published
from study.errors import BadData
from tests.conftest import some

ROW = """
[[price]]
core = "Cortex-A9"
quantity = "read"
high = 7
unit = "cycles"
of = "a counter"
machine = "a board"
kernel = "seL4"
seen = "first-hand"
source = "a page"
"""


def test_at_least_five_cores_are_on_the_map_each_with_its_source() -> None:
    known = published.prices()
    cores = set(published.ranges(known)["core"])
    assert len(cores) >= 5 and {"Cortex-A15", "X-Gene", "Neoverse N1"} <= cores
    for price in some(known, 20):
        assert len(price.source) > 20 and re.search(r"\d|html|cpp", price.source), price
        assert price.seen == "first-hand" or "quoted" in price.source


def test_a_bound_has_one_end_and_no_number_is_made_up_for_the_other() -> None:
    (price,) = published.prices(ROW)
    assert math.isnan(price.low) and price.range == "at most 7 cycles"
    (row,) = published.ranges([price]).itertuples(index=False)
    assert (row.axis, row.core, row.high) == ("access", "Cortex-A9", 7) and math.isnan(row.low)


def test_an_end_that_is_open_for_one_price_is_open_for_the_core() -> None:
    other = ROW.replace('"read"', '"write"').replace("high = 7", "low = 6\nhigh = 13")
    (row,) = published.ranges(published.prices(ROW + other)).itertuples(index=False)
    assert math.isnan(row.low) and row.high == 13


def test_what_costs_time_is_on_no_axis_of_cycles() -> None:
    assert published.ranges(published.prices(ROW.replace("cycles", "ns"))).empty


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('source = "a page"', "", "source"),
        ('source = "a page"', 'source = " "', "a field is empty"),
        ("high = 7", "", "neither low nor high"),
        ("high = 7", "high = 7\nlow = 8", "8 to 7 is no range"),
        ("high = 7", "high = -1", "is no range"),
        ("high = 7", "high = inf", "is no range"),
        ("high = 7", 'high = "7"', "high is '7'"),
        ("high = 7", "high = true", "high is True"),
        ("cycles", "seconds", "unit is 'seconds', and may be cycles, ns"),
        ('"read"', '"debug"', "quantity is 'debug'"),
        ("first-hand", "remembered", "seen is 'remembered'"),
        ("core =", "cpu =", "'cpu' is no part of a price"),
        ("[[price]]", "[[prices]]", "'price'"),
        ("high = 7", "high = 7 8", "prices.toml"),
    ],
)
def test_what_is_no_price_is_refused(old: str, new: str, says: str) -> None:
    with pytest.raises(BadData, match=re.escape(says)) as error:
        published.prices(ROW.replace(old, new))
    assert "prices.toml" in str(error.value)


def test_the_documentation_lists_them_all() -> None:
    text = " ".join((paths.ROOT / "docs/prices.md").read_text().split())
    assert " ".join(published.table("markdown").split()) in text
