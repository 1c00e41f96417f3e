"""What real guests did and what it cost, as the command, the figure and programs show it, on lives whose truth is known."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from study.analyze import asked, compare, cost, figures, frame, life_tables, lives, tables, texts
from study.analyze.figures import answers
from study.analyze.figures.look import STYLE
from study.analyze.figures.prices import break_even
from study.campaign import Campaign
from study.campaign.store import Record
from study.collect.onboard import census
from study.guests import BOOT
from study.publish import answer
from tests import made_lives
from tests.analyze.test_cost import campaign
from tests.conftest import drawn, refused, run, some
from tests.made_lives import BOARD, DOES, KERNEL, NO_BREAKPOINTS, Doing, Held, held

SAVED = made_lives.TRUE.switch - made_lives.TRUE.scan  # by a guest that keeps monitor mode on, at each exit


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Two guests on three boots, and the kit's own guest on three others."""
    return made_lives.make(tmp_path_factory.mktemp("lives") / "c")


@pytest.fixture(scope="module")
def found(measured: Campaign) -> pd.DataFrame:
    return lives.frame(measured)


@pytest.fixture(scope="module")
def judged(measured: Campaign, found: pd.DataFrame) -> pd.DataFrame:
    return lives.judged(found, compare.medians(frame.tidy(measured)))


def shown(campaign: Campaign, *words: str) -> str:
    done = run("census", campaign.folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sections(text: str) -> dict[str, dict[str, list[str]]]:
    """The rows of tables by guest, by their first cell; the first table of a guest goes by its name, others have more to it."""
    rows: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if re.fullmatch(r"linux-\w+", line):
            guest = rows.setdefault(line if line not in rows else f"{line}, {len(rows)}", {})
        elif match := re.fullmatch(r"  (\S.*?)  +(.*)", line):
            guest[match[1]] = re.split(r"  +", match[2])
    return rows


def of(rows: pd.DataFrame, guest: str, phase: str, strategy: str, arm: str = "main") -> Any:
    (row,) = rows[
        (rows["guest"] == guest) & (rows["phase"] == phase) & (rows["strategy"] == strategy) & (rows.get("arm", arm) == arm)
    ].itertuples()
    return row


# --- what they did ------------------------------------------------------------------------------------------------------


def test_the_campaign_is_whole_and_all_that_counted_agree(measured: Campaign, found: pd.DataFrame) -> None:
    assert measured.verify() == []
    assert len(some(found.itertuples(), 100)) == 4 * (
        2 * 6 + 2 * 2 * 4
    )  # phases of lives: in the first boot two more of each guest
    assert len(lives.checks(found)) > 100
    assert lives.mismatches(found).empty
    assert "all agree, entry for entry" in " ".join(shown(measured).split())


def test_the_census_says_what_each_guest_did(measured: Campaign) -> None:
    rows = sections(shown(measured))
    entries, mode, enabled, accesses, kinds = rows["linux-armmp"]["timer"]
    assert abs(int(entries) - 2400) <= 2 and (mode, enabled, accesses) == ("100.0%", "0.0%", "0")
    assert kinds.startswith("data abort 6") and "wait 33%" in kinds
    _, mode, enabled, accesses, _ = rows["linux-arm64"]["debugger"]
    assert (mode, enabled) == ("30.0%", "5.0%") and abs(int(accesses) - 0.7 * 840) <= 2
    assert rows["linux-arm64"]["idle"][1:3] == ["0.0%", "0.0%"]


def test_what_a_guest_cannot_do_is_said_with_its_reason(measured: Campaign) -> None:
    text = shown(measured)
    assert f"linux-armmp cannot do debugger under stock, lazy, control-scan: {NO_BREAKPOINTS}" in " ".join(text.split())
    assert all("debugger" not in phase for name, rows in sections(text).items() if "armmp" in name for phase in rows)


def test_what_only_another_strategy_lets_a_guest_do_has_no_baseline_whatever_the_boots() -> None:
    does = {"linux-armmp": {"debugger": Doing(1400, 5000), "timer": Doing(2400, 5400)}}
    found = lives.frame(held(1, 0.001, does, strategies="lazy,eager"))
    unable = (found["phase"] == "debugger") & (found["strategy"] == "lazy")
    text = life_tables.page(*(made := found.assign(cannot=np.where(unable, NO_BREAKPOINTS, "")), lives.judged(made, None)))
    assert f"linux-armmp cannot do debugger under lazy: {NO_BREAKPOINTS}" in " ".join(text.split())
    assert sections(text)["linux-armmp, 2"]["debugger, eager"][-2] == tables.NO_BASELINE
    assert tables.TOO_FEW[:30] not in text


def test_the_registers_that_a_guest_was_left_for_are_named(measured: Campaign) -> None:
    text = " ".join(shown(measured).split())
    (times,) = re.findall(
        r"System registers that linux-arm64 was left for most, in a life: MDSCR_EL1 (\d+) \(\1 in debugger\)\.", text
    )
    assert abs(int(times) - 0.7 * 840) <= 2
    assert "System registers that linux-armmp" not in text


@pytest.mark.parametrize(
    ("syndrome", "name"),
    [(made_lives.WRITES_MDSCR, "MDSCR_EL1"), (0x6232_C061, "CTR_EL0"), (0x6232_C0A1, "CTR_EL0"), (0x6228_07E0, "OSLAR_EL1"),
     (0x622A_0040, "DBGBCR0_EL1"), (0x6230_0003, "S3_0_C0_C1_0")],
)  # fmt: skip
def test_a_register_has_the_name_of_the_manual_or_its_encoding(syndrome: int, name: str) -> None:
    assert lives.register(str(syndrome)) == name


def test_programs_get_a_row_for_each_strategy_guest_and_phase(measured: Campaign) -> None:
    rows = json.loads(shown(measured, "--json"))
    assert rows == json.loads(shown(measured, "--as", "json"))
    assert len(rows) == 3 * 2 * 4
    promised = ["board", "kernel", "mode", "strategy", "guest", "workload", "phase", "entries", "monitor_mode", "enabled", "accesses",
                "switches", "instructions"]  # fmt: skip
    assert set(promised) <= rows[0].keys()
    by = {(row["strategy"], row["guest"], row["phase"]): row for row in rows}
    lazy, stock = by["lazy", "linux-armmp", "timer"], by["stock", "linux-armmp", "timer"]
    assert (lazy["monitor_mode"], lazy["enabled"], lazy["workload"]) == (1, 0, "timer")
    assert lazy["switches"] == pytest.approx(lazy["exits"]) and stock["switches"] is None
    assert stock["enabled"] is None and stock["unseen"] == {"enabled": lives.MODULE_ONLY}
    assert by["control-scan", "linux-armmp", "timer"]["unseen"].keys() == {"monitor_mode", "enabled", "accesses"}
    assert by["lazy", "linux-armmp", BOOT]["workload"] == ""
    assert by["lazy", "linux-armmp", "debugger"]["cannot"] == NO_BREAKPOINTS
    assert by["control-scan", "linux-armmp", "timer"]["more"] == pytest.approx(-SAVED, abs=2)


@pytest.mark.parametrize("style", ["markdown", "html"])
def test_tables_are_to_be_had_for_a_page(measured: Campaign, style: str) -> None:
    text = shown(measured, "--as", style)
    for words in ("linux-armmp", "data abort 1", "control-scan", "path length, not time", NO_BREAKPOINTS):
        assert words in text


def test_text_is_not_wider_than_a_terminal(measured: Campaign) -> None:
    assert max(map(len, shown(measured).splitlines())) <= 110


def test_a_campaign_in_which_nobody_lived_says_so() -> None:
    assert "holds no life of a real guest; let some live with: study guests --campaign" in refused(
        run("census", "data/reference")
    )


@pytest.mark.parametrize(
    ("key", "words"),
    [("0,0", "IRQ"), ("2,1", "wait"), ("2,3", "CP15"), ("2,24", "system register"), ("2,36", "data abort"), ("2,52", "debug"),
     ("2,18", "hypercall"), ("2,22", "hypercall"), ("2,62", "class 62"), ("1,0", "exit 1")],
)  # fmt: skip
def test_an_exit_has_a_word(key: str, words: str) -> None:
    assert lives.in_words(key) == words


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("traced_entries", "KVM counted {} and tracepoints at entries {}"),
        ("traced_exits", "KVM counted {} and tracepoints at exits {}"),
        ("entries", "KVM counted {} and the module {}"),
        ("seen_monitored", "tracepoints counted {} and the module {}"),
    ],
)
def test_a_count_that_is_off_by_one_entry_is_found(found: pd.DataFrame, column: str, says: str) -> None:
    at = found.index[(found["arm"] == "census") & (found["strategy"] == "lazy") & (found["phase"] == "timer")][-1]
    wrong = found.assign(**{column: found[column].where(found.index != at, found[column] + 1)})
    (row,) = lives.mismatches(wrong).itertuples()
    assert (row.phase, row.life) == ("timer", found["life"][at])
    told = says.format(f"{row.count:.0f}", f"{row.count + 1:.0f}")
    assert told in " ".join(life_tables.census(wrong).split()) and "all agree" not in life_tables.census(wrong)


def lacking(alive: Held, names: list[str]) -> Held:
    """The same lives on kernels that cannot count so by tracepoints."""
    records = []
    for record in alive.records:
        phases = [dict(phase) for phase in record.line["phases"]]
        for phase in [phase for phase in phases if "tracepoints" in phase]:
            phase["tracepoints"] = {name: count for name, count in phase["tracepoints"].items() if name not in names}
        records.append(Record(record.boot, record.facts, {**record.line, "phases": phases, "lacking": names}))
    return Held(alive.designs, records)


@pytest.mark.parametrize(("names", "why"), [(["monitored"], lives.LACKS), ([*census.TRIGGERS], lives.NO_HISTOGRAMS)])
def test_a_kernel_that_cannot_count_something_says_why(names: list[str], why: str) -> None:
    alive = lacking(held(1, 0.0), names)
    rows = lives.census(lives.frame(alive))
    stock, lazy = (of(rows, "linux-armmp", "timer", name) for name in ("stock", "lazy"))
    assert math.isnan(stock.monitor_mode) and stock.unseen["monitor_mode"] == why
    assert lazy.monitor_mode == 1, "the module has seen it"
    assert abs(stock.entries - 2400) <= 2, "KVM has counted them"
    alone = lives.frame(Held(alive.designs, [record for record in alive.records if record.line["cell"]["strategy"] == "stock"]))
    text = " ".join(life_tables.census(alone).split())
    assert f"Not counted: monitor mode: {why}" in text
    assert ("all agree" in text) == (why == lives.LACKS), "where nothing was counted twice, nothing agrees"


# --- what it cost -------------------------------------------------------------------------------------------------------


def test_known_differences_are_found_and_the_control_arm_is_not_told_apart(judged: pd.DataFrame) -> None:
    for phase in ("idle", "timer"):
        row = of(judged, "linux-armmp", phase, "control-scan")
        assert row.more_low <= -SAVED + 1 and row.more_high >= -SAVED - 1 and row.verdict == compare.LOWER
        assert row.of_kernel == pytest.approx(-SAVED / (DOES["linux-armmp"][phase].base + 355), rel=0.01)  # type: ignore[union-attr]
        assert 0 < row.of_all / row.of_kernel < 1 and row.a_life == pytest.approx(row.more * row.exits, rel=1e-3)
    boot = of(judged, "linux-armmp", BOOT, "control-scan")
    assert boot.more == pytest.approx(52 - 0.02 * 355, abs=1) and boot.verdict == compare.HIGHER
    assert of(judged, "linux-arm64", "timer", "control-scan").more == pytest.approx(52, abs=2)
    again = judged[judged["arm"] == "control"]
    assert set(some(again["verdict"], 7)) == {compare.CANNOT} and again["more"].abs().max() < 2
    assert not len(judged[(judged["guest"] == "linux-armmp") & (judged["phase"] == "debugger")])


def test_the_kits_own_guest_predicts_what_was_measured(judged: pd.DataFrame) -> None:
    rows = judged[judged["strategy"] == "control-scan"]
    assert all(some(rows["agrees"], 7))
    debugger = of(judged, "linux-arm64", "debugger", "control-scan")
    mix = DOES["linux-arm64"]["debugger"].mix  # type: ignore[union-attr]
    expected = float(made_lives.TRUE.of("control-scan", mix) - made_lives.TRUE.of("lazy", mix))
    assert debugger.predicted == pytest.approx(expected, abs=1.5)
    assert of(judged, "linux-armmp", "timer", "lazy").pays == pytest.approx(355, abs=1e-3)
    stock = of(judged, "linux-armmp", "timer", "stock")
    assert stock.agrees is None or math.isnan(stock.agrees)
    assert stock.why == "the module does not count what the kernel does by itself"


def test_without_cells_of_the_kits_guest_there_is_no_prediction_but_a_command(tmp_path: Path) -> None:
    alone = made_lives.make(tmp_path / "c", trips=False)
    text = " ".join(shown(alone).split())
    assert f"No prediction: {lives.NO_FIT}. They are measured by: study collect --board {BOARD} --kernels {KERNEL}" in text
    rows = json.loads(shown(alone, "--json"))
    assert {row["predicted"] for row in some(rows, 24)} == {None}
    assert {row["more"] for row in rows} != {None}


def test_two_boots_give_no_interval(tmp_path: Path) -> None:
    few = made_lives.make(tmp_path / "c", trips=False, boots=2)
    text = shown(few)
    assert tables.NO_INTERVAL in text and tables.TOO_FEW in " ".join(text.split())
    assert re.search(r"timer, control-scan +5452 +-30\d +-5", text), text
    rows = lives.costs(lives.frame(few)).query("verdict != 'baseline'")
    assert rows["more_low"].isna().all() and set(some(rows["verdict"], 20)) == {compare.CANNOT}


def test_kernels_are_compared_as_they_are(tmp_path: Path) -> None:
    several = made_lives.make(tmp_path / "c", trips=False, kernels="6.1,6.12,6.18:stock")
    rows = lives.costs(lives.frame(several))
    kernels = rows[rows["question"] == lives.KERNELS]
    assert set(kernels["kernel"]) == {"6.1", "6.12", "6.18"} and set(kernels["strategy"]) == {"stock", "owner"}
    assert set(kernels[(kernels["kernel"] != "6.1") & (kernels["arm"] == "main")]["baseline"]) == {"stock, 6.1"}
    assert set(kernels[kernels["kernel"] == "6.1"]["verdict"]) == {compare.BASELINE}
    assert some(kernels[kernels["kernel"] == "6.18"]["of_kernel"].abs(), 7)
    assert kernels["of_kernel"].abs().max() < 0.05, "all kernels are alike here, but for an exit more or less"
    strategies = rows[rows["question"] == lives.STRATEGIES]
    assert set(strategies["kernel"]) == {"6.1", "6.12"}
    fitted = cost.fit(campaign(3))
    foretold = lives.predicted(rows, {(BOARD, "6.12"): fitted})
    later = foretold[(foretold["kernel"] == "6.12") & (foretold["strategy"] == "control-scan")]
    assert later["predicted"].notna().all() and len(later)
    assert "6.18 owner" in life_tables.costs(foretold)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"more_exits": 0.05}, "its lives have +5.0% exits"),
        ({"more_low": math.nan, "more_high": math.nan}, "too few boots for an interval"),
        ({}, lives.NO_REASON),
    ],
)
def test_a_prediction_that_does_not_hold_is_marked_with_its_reason(
    judged: pd.DataFrame, change: dict[str, float], why: str
) -> None:
    bare = judged.drop(columns=[*lives.PREDICTED])
    at = bare.index[(bare["strategy"] == "control-scan") & (bare["guest"] == "linux-armmp") & (bare["phase"] == "timer")][0]
    for name, value in {"more": -400.0, "more_low": -401.0, "more_high": -399.0, **change}.items():
        bare.loc[at, name] = value
    foretold = lives.predicted(bare, {(BOARD, KERNEL): cost.fit(campaign(3))})
    row = foretold.loc[at]
    assert row["agrees"] is False and why in row["why"]
    text = life_tables.costs(foretold)
    assert re.search(r"timer, control-scan .*-29\d!", text) and why in " ".join(text.split())
    again = bare.index[(bare["arm"] == "control") & (bare["guest"] == "linux-armmp") & (bare["phase"] == "timer")][0]
    bare.loc[again, "more"] = 500.0
    if why == lives.NO_REASON:
        assert (
            "measured again, is 500 from itself" in lives.predicted(bare, {(BOARD, KERNEL): cost.fit(campaign(3))}).loc[at, "why"]
        )


def test_intervals_cover_what_is_true() -> None:
    """On boots and lives that differ by a percent, nine in ten of them at least: the nominal share is 19 in 20."""
    does: dict[str, Any] = {
        "linux-armmp": {BOOT: Doing(9000, 3000), **{name: DOES["linux-armmp"][name] for name in ("idle", "timer")}}
    }
    hits, seen = 0, 0
    for seed in range(60):
        rows = lives.costs(lives.frame(held(seed, 0.01, does, boots=4)))
        for row in rows[(rows["strategy"] == "control-scan")].itertuples():
            doing = does["linux-armmp"][row.phase]
            truth = float(made_lives.TRUE.of("control-scan", doing.mix) - made_lives.TRUE.of("lazy", doing.mix))
            seen += 1
            hits += row.more_low <= truth <= row.more_high
    assert seen == 60 * 3
    assert 0.9 <= hits / seen <= 0.99


DOING = st.builds(
    Doing, exits=st.integers(20, 5000), base=st.integers(2000, 20_000), monitored=st.floats(0, 1), enabled=st.floats(0, 1), touches=st.floats(0, 1)
)  # fmt: skip


@drawn(40)
@given(st.lists(DOING, min_size=3, max_size=3))
def test_whatever_guests_do_is_said_as_it_was(doings: list[Doing]) -> None:
    does: dict[str, Any] = {"linux-arm64": dict(zip((BOOT, "idle", "timer"), doings, strict=True))}
    rows = lives.frame(held(1, 0.0, does, boots=1))
    assert len(lives.checks(rows)) and lives.mismatches(rows).empty
    for name, doing in does["linux-arm64"].items():
        row = of(lives.census(rows), "linux-arm64", name, "lazy")
        own, trapped = row.entries - row.accesses, float(cost.RULES["lazy"].traps(doing.mix))
        assert abs(own - doing.exits) <= 2 and row.accesses == pytest.approx(trapped * own, abs=0.6)
        assert row.monitor_mode == pytest.approx(doing.monitored, abs=0.6 / (doing.exits - 2))
        assert row.enabled == pytest.approx(doing.enabled, abs=0.6 / (doing.exits - 2))
        assert sum(row.exits_by_class.values()) == row.entries
        assert sum(row.system_registers.values()) == row.accesses
    places = lives.places(lives.behaviour(lives.census(rows)))
    assert sorted(phase for says in places["says"] for phase in says.partition(": ")[2].split(", ")) == sorted(
        does["linux-arm64"]
    )
    for one in places.to_dict("records"):
        assert sum(lives._near(one, other) for other in places.to_dict("records") if other["kept_on"] == one["kept_on"]) == 1


# --- on the map ---------------------------------------------------------------------------------------------------------


def on_the_map() -> pd.DataFrame:
    """Guests on two boards, some where names of strategies would be, some at the edges."""
    rows = [
        {"board": board, "kernel": "k", "guest": f"linux-{n}", "phase": "timer", "entries": 1000.0, "accesses": 1000 * touches,
         "enabled": share, "monitor_mode": mode}
        for board in ("a", "b")
        for n, (touches, share, mode) in enumerate([(0, 0, 0), (0, 0, 1), (0.01, 0.5, 0.5), (0.012, 0.45, 1), (1, 1, 1), (0.6, 0.05, 0.3)])
    ]  # fmt: skip
    return lives.places(pd.DataFrame(rows))


def test_no_two_things_on_the_map_are_over_each_other() -> None:
    places = on_the_map()
    fitted = cost.fit(campaign(3))
    figure = break_even({"a": fitted, "b": fitted}, places)
    with plt.style.context(STYLE):
        figure.draw_without_rendering()
    symbols = set(places["symbol"])
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.texts if text.get_text()]
        for n, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:n])
    drawn_there = [text.get_text() for axis in figure.axes for text in axis.texts if text.get_text() in symbols]
    assert sorted(drawn_there) == sorted(symbols) and len(symbols) == len(places) >= 10
    page = figure.bbox
    for text in some(figure.legends[0].findobj(Text), len(places)):
        box = text.get_window_extent()
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text.get_text()


def test_the_map_is_said_in_words_too() -> None:
    places = on_the_map()
    fitted = {name: cost.fit(campaign(3)) for name in ("a", "b")}
    alt, text = texts.describe_break_even(fitted, places), texts.text_break_even(fitted, places)
    assert f"{len(places)} places of real guests" in alt and len(alt) <= 300
    for words in ("linux-1", "monitor mode on in 100%.", "monitor mode on in 0%.", "accesses per entry"):
        assert words in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= tables.WIDTH and text.isascii()
    grid = "".join(line.partition("|")[2] for line in text.splitlines() if "|" in line)
    assert set(places["symbol"]) <= set(grid)
    assert texts.text_break_even(fitted) != text and "eal guests" not in texts.text_break_even(
        fitted
    ) + texts.describe_break_even(fitted)


def test_figures_of_a_campaign_show_where_its_guests_are(measured: Campaign, found: pd.DataFrame) -> None:
    values = frame.tidy(measured)
    summary = compare.summarise(values, measured.baselines())
    with_them, without = ({d.name: d for d in figures.draw_all(values, summary, lived=rows)} for rows in (found, lives.NOTHING))
    assert with_them.keys() == without.keys()
    assert "linux-armmp: idle, timer" in with_them["break-even"].text and "linux" not in without["break-even"].text
    assert "of real guests" in with_them["break-even"].alt and "real" not in without["break-even"].alt
    assert [name for name in with_them if with_them[name].text != without[name].text] == ["answer", "break-even"]


# --- in a mail ----------------------------------------------------------------------------------------------------------


def test_an_excerpt_has_twelve_rows_at_most_that_a_mail_can_have(found: pd.DataFrame, judged: pd.DataFrame) -> None:
    text = life_tables.excerpt(found, judged)
    assert re.search(r"^  timer +2\d+ +100% +85\d+ +355 +6\.2% +52 +-30\d \+-\d$", text, re.MULTILINE), text
    assert "path length, not time" in text and "moves -4.70% to +1.49%" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= tables.WIDTH and text.isascii()
    assert life_tables.excerpt(lives.NOTHING, lives.judged(lives.NOTHING, None)) == ""
    many = pd.concat([found.assign(kernel=f"6.{n}") for n in range(3)], ignore_index=True)
    text = life_tables.excerpt(many, lives.judged(many, None))
    assert len(re.findall(r"^  \w+ +\d+ ", text, re.MULTILINE)) == life_tables.MOST
    assert "Left out are 9 phases with fewer exits." in " ".join(text.split())


def test_an_excerpt_of_large_numbers_is_not_too_wide(found: pd.DataFrame, judged: pd.DataFrame) -> None:
    longer = {"timer": "breakpoints-all"}
    rows, verdicts = (table.assign(phase=table["phase"].replace(longer)) for table in (found, judged))
    verdicts = verdicts.assign(exits=verdicts["exits"] * 1000, in_kernel=verdicts["in_kernel"] * 1000)
    assert max(map(len, life_tables.excerpt(rows, verdicts).splitlines())) <= 75


def test_what_was_counted_on_a_real_board_is_not_called_emulated(judged: pd.DataFrame) -> None:
    rows = asked.real_guests(judged)
    assert rows["emulated"].all()
    for here, said in ((rows, True), (rows.assign(emulated=False), False)):
        figure = answers.real_guests(here)
        words = [figure.get_supxlabel(), texts.describe_guests(here), answer.answer(NOTHING_TIMED, judged=here)]
        assert [("emulated" in text) for text in words] == [said] * 3, words


NOTHING_TIMED = pd.DataFrame(columns=[*compare.CELL, *compare.COLUMNS])
