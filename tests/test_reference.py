"""What the shipped data say, and that everything is drawn from them again: without an emulator, with the same bytes."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from study import paths
from study.analyze import compare, figures, frame, history, lives, tables, texts
from study.analyze import cost as cost_model
from study.analyze.figures.costs import by_guest
from study.analyze.figures.look import STYLE, WIDTH
from study.analyze.texts import above_floor, competing
from study.campaign import Campaign
from study.campaign.store import CENSUS
from study.collect import measuring
from study.collect.perfstat import counted
from study.design import STATES, choose
from study.errors import BadRequest
from study.factors import EXITS, GUEST_STATES, GUESTS, HOST_STATES, KVM, RIG, STRATEGIES, names
from tests.conftest import BOARDS, letters, some

# Facts of Debian's 6.1 kernel, measured apart from this study: instructions per hvc round trip of an untouched guest and
# of one with monitor debug mode on.
STOCK = {"qemu-neoverse-n1": (1175, 1537), "qemu-cortex-a57": (1595, 1959)}
RIGS = ["rig-cortex-a15", "rig-cortex-a57"]
KERNELS = {"6.1": "dirty-bit", "6.12": "dirty-bit", "6.18": "owner", "7.3": "owner"}
FACTORS = {
    KVM: choose("full", KVM, processes=1, loops=2000, boots=3, kernels="6.1,6.12:stock,6.18,7.3"), RIG: choose("full", RIG),
}  # fmt: skip
# Cells of a board by kernel, the control arm's among them: five ways on 6.1, one and itself again on the others.
GUESTS_AND_HOSTS = 9 + 2 + 3  # hvc, hvc with a host that debugs, mmio
CELLS, MMIO = (guests * (5 + 3 * 2) for guests in (GUESTS_AND_HOSTS, 3))
FIGURES = {"answer", "history", "cost-hvc", "cost-mmio", "rig-hvc", "parts", "rig-parts", "control-arm", "drift", "break-even", "rig-break-even",
           "prices", "rig-prices"}  # fmt: skip


@pytest.fixture(scope="module", params=["clock", "instructions"])
def cost(request: pytest.FixtureRequest, summary: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Medians per hvc round trip, by pyperf's clock and by perf's count: the same must hold of both."""
    rows = compare.in_focus(compare.of_kind(summary, KVM)).query("arm == 'main' and exit == 'hvc' and metric == @request.param")
    return {(row.board, row.strategy, row.guest): row.median for row in rows.itertuples()}


def test_the_reference_is_whole_and_complete(reference: Campaign) -> None:
    assert reference.verify() == []
    assert {kind: design.factors for kind, design in reference.designs.items()} == FACTORS
    for board in (*BOARDS, *RIGS):
        assert reference.missing(board) == []
    kernels = {(facts["board"], facts["kernel"]) for facts in map(reference.facts, reference.boots())}
    assert {name for name, _ in kernels} == {*BOARDS, *RIGS}
    for board in BOARDS:
        assert {".".join(kernel.split(".")[:2]) for name, kernel in kernels if name == board} == set(KERNELS)
    assert all(kernel.startswith("rig-") for name, kernel in kernels if name in RIGS)


SHIPPED = ("reference", "guests", "series-debug-registers")


def test_what_is_shipped_is_of_the_code_that_is_shipped() -> None:
    met: Counter[str] = Counter()
    boots = [boot for name in SHIPPED for boot in Campaign(paths.DATA / name).boots()]
    for boot in some(boots, 30):
        facts = json.loads((boot / "boot.json").read_text())
        kinds = {GUESTS} if (boot / CENSUS).exists() else {RIG if facts["board"] in RIGS else KVM}
        by, now = facts["study"].get("measured_by", {}), measuring.digests()
        assert [kind for kind in kinds if by.get(kind) != now[kind]] == [], f"{boot}: measure it anew, as CONTRIBUTING.md says"
        met.update(kinds)
    assert set(met) == {KVM, RIG, GUESTS}


def test_nothing_but_round_trips_is_in_the_values(values: pd.DataFrame) -> None:
    """What else the kernel does in one value and not in the next is a burst: damon_stat took up to three million instructions."""
    clock = values[(values["metric"] == "clock") & values["board"].isin(BOARDS)]
    visits = clock.groupby(["board", "boot", "visit"])
    bursts = (visits["value"].max() - visits["value"].min()) * visits["loops"].first() > 100_000
    assert bursts.sum() <= len(some(bursts, 900)) / 100


@pytest.mark.parametrize("board", BOARDS)
def test_monitor_debug_mode_costs_under_every_generation_and_a_touch_until_owners(values: pd.DataFrame, board: str) -> None:
    rows = history.generations(compare.medians(values)).query("board == @board and exit == 'hvc'")
    assert dict(zip(history.short(rows["kernel"]).values(), rows.drop_duplicates("kernel")["does"], strict=True)) == KERNELS
    of = {guest: cells.set_index("does") for guest, cells in rows.groupby("guest")}
    assert len(of["mde"]) == len(of["touch"]) == len(KERNELS)
    assert of["mde"]["more"].between(330, 430).all()
    assert (of["mde"]["ratio_low"] > 1.01).all()
    assert of["touch"]["ratio"]["dirty-bit"].to_numpy() == pytest.approx(2.5, abs=0.25)
    owners = {guest: of[guest]["median"]["owner"].to_numpy() for guest in ("touch", "mde")}
    assert owners["touch"] == pytest.approx(owners["mde"], rel=0.03)


def test_the_analysis_says_that_the_question_is_open(values: pd.DataFrame, posted: str) -> None:
    paragraphs = texts.generations(history.generations(compare.medians(values)))
    assert len(paragraphs) == 2
    letter_ = " ".join(posted.split())
    for paragraph in paragraphs:
        assert "Every one of them charges that on every exit, 7.3 too: the reviewer's question of 2015 is open." in paragraph
        assert paragraph in letter_


@pytest.mark.parametrize("board", BOARDS)
def test_the_dirty_path_does_not_grow_with_what_the_host_has_enabled(summary: pd.DataFrame, board: str) -> None:
    rows = compare.timed(summary).query("board == @board and arm == 'main' and exit == 'hvc' and guest == 'all'")
    wide = rows.pivot_table(index=["kernel", "strategy"], columns="host", values="median", observed=True)
    assert set(wide) == {"none", "one", "all"}
    assert len(wide) == 4 + 3
    for host in ("one", "all"):
        assert wide[host].to_numpy() == pytest.approx(wide["none"].to_numpy(), rel=0.03)


def test_the_host_s_breakpoints_fire_before_the_guest_and_after_every_exit(reference: Campaign) -> None:
    seen = Counter[str]()
    for record in reference.records():
        if record.facts["board"] in BOARDS:
            host = record.line["cell"]["host"]
            count = {"none": 0, "one": 1, "all": record.facts["breakpoints"] + record.facts["watchpoints"]}[host]
            fired = record.line["checks"]["host"]
            assert len(fired) >= 4 and fired == [[1] * count] * len(fired)
            seen[host] += 1
    assert seen["one"] == seen["all"] > 0


@pytest.mark.parametrize("board", BOARDS)
def test_stock_costs_what_is_known_of_it(cost: dict[tuple[str, str, str], float], board: str) -> None:
    untouched, mde = cost[board, "stock", "untouched"], cost[board, "stock", "mde"]
    assert (untouched, mde) == pytest.approx(STOCK[board], rel=0.05)
    assert 330 < mde - untouched < 390


@pytest.mark.parametrize("board", BOARDS)
def test_strategies_cost_what_their_rules_say(cost: dict[tuple[str, str, str], float], board: str) -> None:
    guests = {guest for _, _, guest in cost}
    eager = [cost[board, "eager", guest] for guest in guests]
    assert max(eager) / min(eager) < 1.02
    assert cost[board, "control-scan", "mde"] == pytest.approx(cost[board, "control-scan", "untouched"], rel=0.02)
    assert cost[board, "lazy", "touch"] > 2800
    assert cost[board, "eager", "touch"] == pytest.approx(cost[board, "eager", "untouched"], rel=0.02)
    assert cost[board, "lazy", "mde"] > 1.1 * cost[board, "control-scan", "mde"]
    assert cost[board, "lazy", "one-no-mde"] < cost[board, "control-scan", "one-no-mde"]


@pytest.mark.parametrize(("leave", "most"), [("hvc", 0.02), ("mmio", 0.04)])
def test_pyperf_and_perf_agree_in_every_visit(values: pd.DataFrame, leave: str, most: float) -> None:
    tags = ["board", "boot", "visit"]
    linux = compare.of_kind(values, KVM).query("exit == @leave").astype(dict.fromkeys(tags, str))
    visits = linux.pivot_table(index=tags, columns="metric", values="value", aggfunc="median")
    counted = visits["instructions"] + visits["user-instructions"]
    assert len(visits) == 2 * FACTORS[KVM].boots * {"hvc": CELLS - MMIO, "mmio": MMIO}[leave]
    assert ((counted / visits["clock"] - 1).abs() < most).all()


def test_the_control_arm_is_never_told_apart(summary: pd.DataFrame) -> None:
    rows = compare.control_arm(compare.timed(summary))
    assert len(rows) == 2 * GUESTS_AND_HOSTS * len(KERNELS) + 2 * 4 * (9 + 7 + 7)
    assert set(rows["verdict"]) == {compare.CANNOT}


def test_the_rig_ranks_strategies_as_linux_does_wherever_no_access_traps(summary: pd.DataFrame) -> None:
    ranks = cost_model.rankings(summary)
    assert set(ranks.columns) == {*BOARDS, *RIGS}
    assert ranks.loc[list(STATES)].notna().all(axis=None)
    for guest, row in ranks.loc[list(STATES)].drop(index="touch").iterrows():
        sure = row[~row.str.contains("~")]
        assert len(sure) >= 3 and sure.nunique() == 1, f"{guest}: {dict(row)}"
    assert ranks.loc["touch"].nunique() > 1


def test_a_trap_weighs_far_less_on_the_rig_and_the_letter_says_why(posted: str, summary: pd.DataFrame) -> None:
    traps = cost_model.trap_costs(summary)
    assert (traps[RIGS] < 100).all()
    assert (traps[BOARDS] > 1500).all()
    text = " ".join(posted.split())
    for board in (*BOARDS, *RIGS):
        assert f"{traps[board]:.0f} instructions on {board}" in text
    assert "pays less for each touch there" in text
    alike = re.search(r"alike for these guests: (.*?); not for: touch, touch-4\.", text)
    assert alike and {"untouched", "mde", "one", "half", "touch-20"} <= set(alike[1].split(", "))


@pytest.mark.parametrize("board", RIGS)
def test_the_thread_is_answered_with_every_strategy(posted: str, summary: pd.DataFrame, board: str) -> None:
    table = tables.thread(summary, board)
    assert table in posted
    rows = [line.split()[0] for line in table.splitlines()[2:]]
    assert set(rows) == set(names(STRATEGIES, RIG))
    assert re.search(r"^none +\d+ \(\+0\) +\d+ \(\+0\) +\d+ \(\+0\) +\d+ \(\+0\)$", table, re.MULTILINE)


def test_the_matrix_of_the_rigs_is_full(reference: Campaign) -> None:
    cells = {board: set() for board in RIGS}  # type: dict[str, set[tuple[str, ...]]]
    for record in reference.records():
        if record.facts["board"] in cells and record.line["arm"] == "main":
            cells[record.facts["board"]].add(tuple(record.line["cell"].values()))
            assert record.line["checks"]["well"] is True
    tables = [names(table, RIG) for table in (STRATEGIES, GUEST_STATES, HOST_STATES, EXITS)]
    every = {cell for cell in itertools.product(*tables) if cell[1] in STATES or cell[3] == "hvc"}
    for board in RIGS:
        assert {tuple(sorted(cell)) for cell in cells[board]} == {tuple(sorted(cell)) for cell in every}
        assert len(cells[board]) == 7 * 7 * 4 * 3 + 7 * 2 * 4


def test_exits_are_the_loops_and_a_constant(reference: Campaign) -> None:
    constants = {
        count.value - window["loops"]
        for record in reference.records()
        if not record.line["cell"]["guest"].startswith("touch") and "windows" in record.line
        for window in record.line["windows"]
        for count in counted(window)
        if count.event == "kvm:kvm_exit"
    }
    assert constants
    assert all(0 < constant <= 10 for constant in constants)


def test_the_letter_is_one_that_a_list_takes(posted: str, reference: Campaign) -> None:
    assert posted.splitlines()[:2] == ["A title: all figures", ""]
    assert posted.isascii()
    assert max(map(len, posted.splitlines())) <= 75
    assert not any(line.startswith("#") for line in posted.splitlines())
    assert "path length in instructions, not time" in " ".join(posted.split())
    assert reference.digest() in posted
    assert "lazy again" in posted
    timed = [part for part in posted.split("\n\n") if re.search(r"\d (ns|us|ms)\b|\bseconds\b", part)]
    assert all("published" in part for part in some(timed, 3)), "nothing of ours is a time"


@pytest.mark.parametrize(("title", "version"), [("", 1), ("a\nb", 1), ("na\u00efve", 1), ("x" * 76, 1), ("x", 0), ("x", True)])
def test_a_letter_that_git_would_not_take_is_refused(
    reference: Campaign, values: pd.DataFrame, summary: pd.DataFrame, title: str, version: int
) -> None:
    with pytest.raises(BadRequest):
        letters(reference, values, summary, title=title, version=version)[1]


def test_tables_fit_a_mail_and_show_the_control_arm(summary: pd.DataFrame) -> None:
    text = tables.all_tables(summary)
    assert max(map(len, text.splitlines())) <= 72
    for board, leave in itertools.product(BOARDS, ("hvc", "mmio")):
        assert re.search(rf"{board}, .*{leave} round trip", " ".join(text.split()))
    assert text.count("lazy again") >= 18


def test_figures_say_what_they_are(drawings: dict[str, figures.Drawing]) -> None:
    assert drawings.keys() == FIGURES
    for name, drawing in drawings.items():
        texts = {text for text in drawing.figure.findobj(Text) if text.get_visible() and text.get_text()}
        said = " ".join(text.get_text() for text in texts)
        assert "emulat" in said, f"{name} does not say that it is no time"
        assert re.search(r"instructions|%", said), f"{name} has no unit"
        for board in RIGS if name.startswith("rig-") else BOARDS:
            assert board in said, f"{name} does not name {board}"
        assert re.search(r"\d", drawing.alt), f"the words for {name} hold no number"
        assert len(drawing.alt) <= 300 and drawing.alt.endswith(".")
        assert all(board in drawing.alt for board in (RIGS if name.startswith("rig-") else BOARDS))
        title = drawing.figure.get_suptitle()
        assert drawing.alt.startswith(" ".join(title.split())), f"the title of {name} says something else than its words"
        assert len(title.splitlines()) <= (2 if drawing.figure.get_figwidth() == WIDTH else 4)
        with plt.style.context(STYLE):
            drawing.figure.draw_without_rendering()
        page = drawing.figure.bbox
        for text in texts - _beyond_their_axis(drawing.figure):
            box = text.get_window_extent()
            inside = page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1 and page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1
            assert inside, f"{name}: {text.get_text()!r} is cut off"


def test_the_text_of_a_figure_says_what_the_figure_says(
    drawings: dict[str, figures.Drawing], values: pd.DataFrame, summary: pd.DataFrame
) -> None:
    texts = {name: drawing.text for name, drawing in drawings.items()}
    for name, text in texts.items():
        assert text.isascii()
        assert max(map(len, text.splitlines())) <= 72, name
        for board in RIGS if name.startswith("rig-") else BOARDS:
            assert board in text
        assert "emulat" in text or name == "drift", f"{name} does not say that it is no time"
    timed = compare.timed(summary)
    for leave in ("hvc", "mmio"):
        numbers = Counter(re.findall(r"^  \w.*o.* (\d+)$", texts[f"cost-{leave}"], re.MULTILINE))
        rows = compare.in_focus(compare.of_kind(timed, KVM)).query("exit == @leave")
        assert len(rows) >= 2 * 2 * 6
        assert numbers == Counter(f"{median:.0f}" for median in rows["median"])
    above = some(above_floor(summary, "hvc").query("strategy != 'none'")["above"], 2 * 6 * 7)
    assert Counter(re.findall(r"(?<= )\d+(?= |$)", texts["rig-hvc"], re.MULTILINE)) == Counter(f"{value:.0f}" for value in above)
    far = some(compare.control_arm(compare.in_focus(compare.of_kind(timed, KVM)))["ratio"] - 1, 2 * 11)
    assert Counter(re.findall(r" ([+-][\d.]+%)$", texts["control-arm"], re.MULTILINE)) == Counter(f"{part:+.2%}" for part in far)
    for prefix, boards in (("", BOARDS), ("rig-", RIGS)):
        fits = cost_model.fits(compare.medians(values))
        for board in boards:
            costs = fits[board].costs
            mix = cost_model.debugging_mix(1.0, 0.0, kept_on=False)
            names = competing(fits[board])
            best = min(names, key=lambda name: float(costs.of(name, mix)))  # type: ignore[arg-type]
            first = texts[f"{prefix}break-even"].split(f"{board}, emulated: ")[1]
            lowest = re.search(r"^ +0\.0 \|(.*)$", first, re.MULTILINE)
            assert lowest
            assert re.search(rf"\b{lowest[1][-1]} [a-z= \n-]*{best}", first), "what wins at one access per entry"


def test_a_number_in_a_title_is_one_of_the_texts_and_tables(drawings: dict[str, figures.Drawing], values: pd.DataFrame) -> None:
    below = {name: drawing.text.partition("\n\n")[2] for name, drawing in drawings.items()}  # a text begins with the message
    below |= {name: drawing.text for name, drawing in drawings.items() if name in ("history", "rig-hvc")}  # these do not
    fits = cost_model.fits(compare.medians(values))
    for prefix, boards in (("", BOARDS), ("rig-", RIGS)):
        below[f"{prefix}break-even"] += "".join(tables.break_even(fits[board]) for board in boards)
    checked = [
        (name, number)
        for name, drawing in drawings.items()
        for number in re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-])", drawing.figure.get_suptitle())
        if "case" not in drawing.figure.get_suptitle()  # those are numbered, not measured
    ]
    for name, number in some(checked, 15):
        assert number in below[name], f"{name}: {number}"


def test_figures_have_the_width_that_is_asked_for(values: pd.DataFrame, tmp_path: Path) -> None:
    drawing = figures.Drawing("x", lambda: Figure(figsize=(WIDTH, 3)), "alt 1", "text")
    for pixels in (800, 1600):
        figures.save_all([drawing], tmp_path, pixels)
        assert Image.open(tmp_path / "x.png").width == pixels
        assert f"PNG of {pixels} pixels" in (tmp_path / "figures.md").read_text()
    assert f'width="{WIDTH * 72:.0f}pt"' in (tmp_path / "x.svg").read_text()
    assert "alt 1" in (tmp_path / "figures.md").read_text()
    with pytest.raises(BadRequest, match="pixels is 12: a figure may be 400 to 8000 pixels wide"):
        figures.save_all([drawing], tmp_path, 12)


def _beyond_their_axis(figure: Figure) -> set[Text]:
    """Return the labels of ticks that are beyond the ends of their axis: matplotlib keeps them, and does not draw them."""
    kept: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            drawn = {tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high}
            kept |= set(axis.findobj(Text)) - drawn - {axis.label}
    return kept


def test_every_visit_is_a_dot(values: pd.DataFrame, summary: pd.DataFrame) -> None:
    visits, linux = (compare.in_focus(compare.of_kind(rows, KVM)) for rows in (compare.medians(values), summary))
    figure = by_guest(visits, linux, "hvc")
    for axis in some(figure.axes, len(BOARDS)):
        assert (
            sum(len(dots.get_offsets()) for dots in axis.collections if hasattr(dots, "get_sizes") and len(dots.get_sizes()))
            == 45 * FACTORS[KVM].boots
        )


def test_the_cost_model_predicts_guests_that_it_has_not_seen(values: pd.DataFrame) -> None:
    visits = compare.medians(values)
    fits = cost_model.fits(visits)
    assert fits.keys() == {*BOARDS, *RIGS}
    for guest in ("touch-4", "touch-20", "touch", "one"):
        rows = cost_model.predicted(visits, guest)
        assert set(rows["board"]) == fits.keys()
        assert rows["error"].abs().max() <= 0.05
    for board in BOARDS:
        trap = fits[board].interval(lambda costs: costs.trap)
        assert trap[1] < trap[0] < trap[2]
        assert fits[board].error < 0.02


def test_tables_of_the_cost_model_fit_a_mail(values: pd.DataFrame) -> None:
    fits = cost_model.fits(compare.medians(values))
    shown = [tables.model(fits), *(tables.break_even(fitted) for fitted in fits.values())]
    assert len(shown) == 1 + len(BOARDS) + len(RIGS)
    assert max(len(line) for table in shown for line in table.splitlines()) <= 72
    assert all("accesses per entry" in table for table in shown[1:])


def test_the_winner_of_the_objection_is_the_reviewer_s_proposal(values: pd.DataFrame) -> None:
    """A guest that keeps monitor mode on, hardly touches and hardly enables: control-scan; the author's lazy where it is off."""
    for board, fitted in some(cost_model.fits(compare.medians(values)).items(), len(BOARDS) + len(RIGS)):
        for mix, winner in ((cost_model.Mix(0.01, 1.0, 0.0), "control-scan"), (cost_model.Mix(0.01, 0.0, 0.0), "lazy")):
            cheapest = min(competing(fitted), key=lambda name, mix=mix: float(fitted.costs.of(name, mix)))  # type: ignore[misc]
            assert cheapest == winner, board


def test_a_campaign_of_both_kinds_says_which_figure_is_a_time(reference: Campaign, tmp_path: Path) -> None:
    """As if the second board were no emulated one."""
    shutil.copytree(reference.folder, tmp_path / "c")
    for path in some(tmp_path.glob("c/boots/*n1*/boot.json"), 12):
        path.write_text(path.read_text().replace('"emulated": true', '"emulated": false'))
    mixed = Campaign(tmp_path / "c")
    values = frame.tidy(mixed)
    summary = compare.summarise(values, mixed.baselines())
    drawings = figures.draw_all(compare.of_kind(values, KVM), compare.of_kind(summary, KVM))
    assert {"cost-hvc", "cost-mmio", "parts", "drift", "control-arm"} <= {drawing.name for drawing in drawings}
    for drawing in drawings:
        said = " ".join(text.get_text() for text in drawing.figure.findobj(Text))
        if drawing.name == "answer":  # of the times alone
            assert "ns per hvc" in said and "emulat" not in said and BOARDS[0] in said + drawing.alt
            continue
        assert "emulat" in said
        assert "time in ns" in said or not drawing.name.startswith(("parts", "drift", "control"))
        if not drawing.name.startswith("cost-"):
            continue
        labels = [axis.get_ylabel() for axis in drawing.figure.axes]
        assert labels == ["instructions per round trip", "ns per round trip"]
        assert all(axis.get_ylim()[1] < 20_000 for axis in drawing.figure.axes)
        assert "instructions (emulated, not time)" in drawing.alt
        assert drawing.alt.endswith(" ns.")
    text = " ".join(letters(mixed, values, summary, title="x", version=1)[1].split())
    assert (
        "The figures of qemu-cortex-a57 and rig-cortex-a15 and rig-cortex-a57 come from emulation: they are path length" in text
    )


def test_a_letter_says_what_was_measured_and_not_what_was_planned(reference: Campaign, tmp_path: Path) -> None:
    shutil.copytree(reference.folder, tmp_path / "c")
    for path in some({*tmp_path.glob("c/boots/*.[2-9]"), *tmp_path.glob("c/boots/*.1[0-9]")}, 2 * 11):
        shutil.rmtree(path)
    part = Campaign(tmp_path / "c")
    values = frame.tidy(part)
    summary = compare.summarise(values, part.baselines())
    text = " ".join(letters(part, values, summary, title="x", version=1)[1].split())
    assert "n of a cell: 1 boot, 1 visit, 5 values." in text
    assert f"not complete: {GUESTS_AND_HOSTS * 5} of {CELLS * 3} visits of qemu-cortex-a57 are there" in text
    assert "3 boots" not in text.replace("fewer than 3 boots", "").replace("measure on 3 boots", "")
    assert "supports no interval and no verdict" in text


def test_no_path_of_the_collecting_machine_is_in_the_data(reference: Campaign) -> None:
    for path in some(reference.raw_files(), 80):
        assert not re.search(r"/(home|root|Users|tmp)/", path.read_text()), path


# --- real guests ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guests() -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the shipped lives of real guests are, and how they are judged."""
    campaign = Campaign(paths.DATA / "guests")
    assert campaign.verify() == [] and campaign.incomplete() == []
    found = lives.lived(campaign)
    return found, lives.judged(found, compare.medians(frame.tidy(campaign)))


def test_shipped_guests_keep_monitor_mode_on_as_the_thread_said(guests: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    rows = lives.behaviour(lives.census(guests[0])).query("cannot == '' and kernel.str.startswith('6.1')")
    thirty_two = rows[(rows["guest"] == "linux-armmp") & (rows["phase"] != "boot")]
    assert len(some(thirty_two.itertuples(), 4)) and thirty_two["monitor_mode"].min() >= 0.99 and thirty_two["enabled"].max() == 0
    sixty_four = rows[(rows["guest"] == "linux-arm64") & (rows["phase"] != "debugger")]
    assert len(some(sixty_four.itertuples(), 5)) and sixty_four["monitor_mode"].max() == 0
    assert len(lives.checks(guests[0])) > 150 and lives.mismatches(guests[0]).empty


def test_the_table_of_the_documentation_is_that_of_the_shipped_guests(guests: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    rows = guests[1].query("strategy == 'control-scan' and kernel.str.startswith('6.1.')").set_index(["guest", "phase"])
    told = re.findall(r"^\| (linux-\w+), (\w+) \| \d+ % \| (.+?) \|", (paths.ROOT / "docs/guests.md").read_text(), re.MULTILINE)
    for guest, phase, words in some(told, 5):
        row = rows.loc[guest, phase]
        assert words == f"{row.more:+.0f} ({row.more_low:.0f} to {row.more_high:.0f})", (guest, phase)


def test_shipped_guests_pay_what_the_kits_own_guest_predicts_and_the_readme_says(
    guests: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    rows = guests[1][(guests[1]["strategy"] == "control-scan") & guests[1]["predicted"].notna()]
    assert len(some(rows.itertuples(), 11)) and rows["agrees"].sum() >= 10
    assert (rows["agrees"].astype(bool) | (rows["why"] != "")).all(), "or it is known why not"
    readme = " ".join((paths.ROOT / "README.md").read_text().split())
    for guest, phase, words in (
        ("linux-armmp", "hackbench", "saves it {0:.0f} instructions an exit ({2:.0f} to {1:.0f})"),
        ("linux-arm64", "debugger", "{0:.0f} an exit ({1:.0f} to {2:.0f})"),
    ):
        (row,) = rows[(rows["guest"] == guest) & (rows["phase"] == phase)].itertuples()
        assert words.format(*(abs(value) for value in (row.more, row.more_low, row.more_high))) in readme
