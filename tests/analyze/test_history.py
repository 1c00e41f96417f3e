"""What each generation of KVM pays, on campaigns whose truth is known."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.analyze import compare, figures, history, tables, texts
from tests.conftest import some

KERNELS = {"6.1.0-56-arm64": "stock", "6.12.117+deb12-arm64": "dirty-bit", "6.18.15+deb13-arm64": "owner", "7.3.4": "owner"}
UNTOUCHED = dict(zip(KERNELS, (1150, 1170, 1250, 1660), strict=True))


def campaign(newest_charges: bool, boots: int = 5) -> pd.DataFrame:
    """A frame of two boards, four kernels and two exits; the dirty bit traps every write, the owner none but for mmio."""
    source = np.random.default_rng(1)
    rows = []
    for board, (kernel, strategy), leave, boot in itertools.product(("a", "b"), KERNELS.items(), ("hvc", "mmio"), range(boots)):
        base = UNTOUCHED[kernel] + 14000 * (leave == "mmio")
        charged = 380 * (newest_charges or kernel != "7.3.4")
        truth = {"untouched": base, "mde": base + charged, "touch": base + (1700 if strategy != "owner" else 390)}
        for position, ((guest, value), arm) in enumerate(itertools.product(truth.items(), ("main", "control")), 1):
            rows.append({
                "board": board, "kernel": kernel, "mode": "vhe", "strategy": strategy, "guest": guest, "host": "none", "exit": leave,
                "arm": arm, "metric": "clock", "unit": "instructions", "boot": f"{board}.{kernel}.{boot}",
                "visit": f"{leave}{boot}-{position}", "block": 1, "position": position,
                "value": value * (1 + 0.002 * source.standard_normal()),
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_what_a_guest_pays_on_top_is_found_on_each_kernel() -> None:
    rows = history.generations(compare.medians(campaign(newest_charges=True)))
    assert list(dict.fromkeys(rows["kernel"])) == list(KERNELS)
    assert list(rows.drop_duplicates("kernel")["does"]) == ["dirty-bit", "dirty-bit", "owner", "owner"]
    hvc = rows[rows["exit"] == "hvc"].set_index(["board", "kernel", "guest"])
    for (_, kernel, guest), row in some(hvc.iterrows(), 2 * len(KERNELS) * 2):
        truth = 380 if guest == "mde" else 390 if "owner" in row["does"] else 1700
        assert row["more_low"] < row["more"] < row["more_high"]
        assert row["more"] == pytest.approx(truth, abs=15)
        assert row["untouched"] == pytest.approx(UNTOUCHED[kernel], rel=0.01)


@pytest.mark.parametrize(
    ("charges", "verdict"), [(True, "7.3 too: the reviewer's question of 2015 is open"), (False, "is answered")]
)
def test_the_words_follow_the_figures(charges: bool, verdict: str) -> None:
    paragraphs = texts.generations(history.generations(compare.medians(campaign(charges))))
    assert len(paragraphs) == 2
    assert all(verdict in text for text in paragraphs)
    assert all("2.4" in text and "on 6.1 (dirty-bit)" in text and "on 7.3 (owner)" in text for text in paragraphs)


def test_too_few_boots_decide_nothing() -> None:
    paragraphs = texts.generations(history.generations(compare.medians(campaign(True, boots=2))))
    assert all("too few to say" in text for text in some(paragraphs, 2))


def test_every_kernel_has_a_baseline_of_its_own() -> None:
    summary = compare.summarise(campaign(True), {"a": "stock", "b": "stock"})
    own = summary[(summary["arm"] == "control")]
    assert set(own.apply(lambda row: row["baseline"] == row["strategy"], axis=1)) == {True}
    first = summary[(summary["arm"] == "main") & (summary["kernel"] != "6.1.0-56-arm64")]
    assert set(first["baseline"]) == {"stock, 6.1.0-56-arm64"}
    assert list(dict.fromkeys(summary["kernel"])) == list(KERNELS)


def test_figure_table_and_text_speak_of_every_kernel(tmp_path: Path) -> None:
    frame = campaign(True)
    summary = compare.summarise(frame, {"a": "stock", "b": "stock"})
    drawing = next(drawing for drawing in figures.draw_all(frame, summary) if drawing.name == "history")
    labels = [text.get_text() for axis in drawing.figure.axes for text in axis.get_xticklabels()]
    table = tables.generations(history.generations(compare.medians(frame)))
    for name, kernel in zip(("6.1", "6.12", "6.18", "7.3"), KERNELS, strict=True):
        assert sum(label.startswith(f"{name}\n") for label in labels) == 2
        assert f"{name} " in table
        assert f"{name} " in drawing.text
        assert f"on {name}" in drawing.alt or name in ("6.12", "6.18")
        assert kernel not in table
    assert max(map(len, (table + drawing.text).splitlines())) <= tables.WIDTH
    assert figures.save_all([drawing], tmp_path)


def test_a_board_of_one_kernel_has_no_history() -> None:
    frame = campaign(True)
    assert history.generations(compare.medians(frame[frame["kernel"] == "7.3.4"])).empty


def test_what_is_in_focus_is_one_kernel_of_many_and_the_host_that_does_not_debug() -> None:
    frame = campaign(True).assign(host="none")
    rows = compare.medians(pd.concat([frame, frame.assign(host="all", visit=frame["visit"] + "h")], ignore_index=True))
    shown = compare.in_focus(rows)
    assert set(shown["kernel"]) == {"6.1.0-56-arm64"}
    assert set(shown["host"]) == {"none"}
    two = rows[rows["kernel"].isin(["6.1.0-56-arm64", "7.3.4"])]
    assert set(compare.in_focus(two)["kernel"]) == {"6.1.0-56-arm64", "7.3.4"}
