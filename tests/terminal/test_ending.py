"""What others say can be read, and steers nothing."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from study.campaign import Campaign
from study.design import Factors
from study.terminal.streams import legible_lines
from tests import lines
from tests.conftest import refused, run, some

EVIL = "\x1b[2J\x1b]0;x\x07\u202eb\x9b31m\r"


@given(st.text())
def test_no_text_steers_a_terminal_and_lines_stay_lines(text: str) -> None:
    shown = legible_lines(text)
    assert len(shown) == len(text)
    assert all(letter.isprintable() or letter in "\n\t" for letter in shown)
    assert shown.count("\n") == text.count("\n")
    assert legible_lines(shown) == shown


def test_a_campaign_s_words_steer_nothing(tmp_path: Path) -> None:
    factors = Factors(strategies=("stock",), guests=("untouched",), processes=1)
    campaign = Campaign.freeze(tmp_path / "c", factors)
    boot = campaign.open_boot("b", 1)
    boot.begin()
    boot.describe({"board": EVIL, "kernel": EVIL, "mode": EVIL, "emulated": False, "started": EVIL, "doctor": []})
    boot.record(*(lines.of_kvm(visit, factors) for visit in campaign.designs["kvm"].visits()))
    (campaign.folder / f"boots/{EVIL}").write_text("x")
    commands = {
        "summary": ([], 0),
        "verify": ([], 1),
        "export": (["--pyperf", tmp_path / "out"], 0),
        "repair": (["--no-measure"], 0),
    }
    for command, (words, status) in commands.items():
        done = run(command, campaign.folder, *words)
        assert done.returncode == status
        assert "Traceback" not in done.stderr
        assert all(letter.isprintable() or letter in "\n\t" for letter in some(done.stdout + done.stderr, 20)), command
    assert all(c.isprintable() for c in refused(run("summary", tmp_path / f"no{EVIL}")))
    assert json.loads(run("summary", campaign.folder, "--json").stdout)
