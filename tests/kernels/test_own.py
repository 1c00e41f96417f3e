"""Kernels that are built here: Linux as Debian packages its source, with patches on top, on emulated boards."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from study import paths
from study.analyze import compare, frame
from study.campaign import Campaign
from study.collect.onboard.sequence import LATE, drawn
from study.kernels import lines, source
from tests import conftest
from tests.conftest import BIN, BOARDS, letters, refused, some, wait_for
from tests.kernels import linux
from tests.kernels.tree import git

pytestmark = pytest.mark.board

OLDEST, NEWEST = "6.1", "7.3"
PLANTED = 100  # instructions on each exit
run = functools.partial(conftest.run, timeout=3600)  # a first build takes minutes, beside other tests many
FEW = ["--exits", "hvc", "--guests", "untouched,mde"]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newest Linux that Debian has as source, and six commits on top: the third does not build, the fifth costs something."""
    folder = linux.clone(NEWEST, tmp_path_factory.mktemp("linux") / "linux")
    linux.commit(folder, "KVM: arm64: Say a word", linux.EXIT, "// SPDX", "/* A word. */ // SPDX")
    linux.commit(
        folder,
        "KVM: arm64: Move a line",
        linux.EXIT,
        "\tstruct kvm_run *run = vcpu->run;\n\n\tif (ARM",
        "\tstruct kvm_run *run;\n\n\trun = vcpu->run;\n\tif (ARM",
    )
    linux.commit(folder, "KVM: arm64: Forget a brace", linux.EXIT, linux.TRAP, linux.TRAP + " {")
    linux.commit(folder, "KVM: arm64: Find the brace", linux.EXIT, linux.TRAP + " {", linux.TRAP)
    linux.commit(folder, f"KVM: arm64: Burn {PLANTED} instructions", linux.EXIT, linux.TRAP, linux.burn(PLANTED))
    linux.commit(folder, "KVM: arm64: Say another word", linux.EXIT, "A word.", "Another word.")
    return folder


@pytest.fixture(scope="module")
def measured(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """The base, a patch that burns instructions, and one that does not burn them any more, on both boards."""
    git(repo, "checkout", "--quiet", "-b", "burns", "base")
    linux.commit(repo, f"KVM: arm64: Burn {PLANTED} instructions", linux.EXIT, linux.TRAP, linux.burn(PLANTED))
    linux.commit(repo, "KVM: arm64: Burn nothing any more", linux.EXIT, linux.burn(PLANTED), f"barrier();\n\t\t{linux.TRAP}")
    folder = tmp_path_factory.mktemp("series") / "c"
    done = run("series", "--repo", repo, "--base", "base", "--branch", "burns", "--campaign", folder, *FEW)
    assert done.returncode == 0, done.stderr
    return Campaign(folder)


def test_what_mainline_charges_a_guest_in_monitor_mode_is_what_its_own_build_charges(measured: Campaign) -> None:
    rows = compare.summarise(frame.tidy(measured), measured.baselines()).query(
        "arm == 'main' and metric == 'clock' and kernel == 'base'"
    )
    wide = rows.pivot_table(index="board", columns="guest", values="median")
    assert list(wide.index) == sorted(BOARDS)
    assert (wide["mde"] - wide["untouched"]).between(360, 400).all(), wide


def test_every_visit_is_well_and_every_boot_the_kernel_that_was_built(measured: Campaign) -> None:
    assert measured.verify() == []
    for record in some(measured.records(), 2 * 3 * (4 + 2 + 2)):
        assert record.line["checks"]["well"] is True
        assert record.facts["build_id"] in record.facts["source"]["build_ids"]
        assert (
            record.facts["source"]["commit"] == {row["label"]: row["commit"] for row in rows_of(measured)}[record.facts["kernel"]]
        )
    assert {facts["mode"] for facts in map(measured.facts, measured.boots())} == {"vhe", "nvhe"}


def rows_of(campaign: Campaign) -> list[dict[str, str]]:
    known = campaign.series()
    return [known["base"], *known["patches"]]


def test_each_patch_has_a_row_with_what_was_planted(measured: Campaign) -> None:
    rows = json.loads(run("patches", measured.folder, "--as", "json").stdout)
    exits = {(row["patch"], row["than"], row["board"], row["guest"]): row for row in rows}
    assert len(exits) == 2 * 2 * (1 + 2 * 2)
    for board in BOARDS:
        for guest in ("untouched", "mde"):
            first, whole = exits[1, "the one before", board, guest], exits[2, "base", board, guest]
            assert first["verdict"] == "higher" and abs(first["moved"] - PLANTED) < 5
            assert whole["verdict"] == "cannot distinguish" and abs(whole["moved"]) < 5
        assert exits[1, "the one before", board, "untouched"]["moved"] == pytest.approx(PLANTED, rel=0.03)
    assert run("verdict", measured.folder, "--than", "base").returncode == 0
    assert run("verdict", measured.folder, "--than", "base", "--kernel", "1-burn-100-instructions").returncode == 1


def test_a_commit_on_top_is_all_that_is_measured_then(measured: Campaign, repo: Path) -> None:
    before = {boot.name for boot in measured.boots()}
    git(repo, "checkout", "--quiet", "burns")
    linux.commit(repo, "KVM: arm64: Burn half of it", linux.EXIT, f"barrier();\n\t\t{linux.TRAP}", linux.burn(PLANTED // 2))
    done = run("series", "--repo", repo, "--base", "base", "--branch", "burns", "--campaign", measured.folder, *FEW)
    assert done.returncode == 0, done.stderr
    grown = Campaign(measured.folder)
    assert grown.verify() == []
    new = [grown.facts(boot) for boot in grown.boots() if boot.name not in before]
    assert sorted((facts["board"], facts["kernel"]) for facts in new) == sorted(
        (board, "3-burn-half-of-it") for board in BOARDS * 3
    )
    rows = json.loads(run("patches", measured.folder, "--as", "json").stdout)
    last = [row for row in rows if (row["patch"], row["than"], row["guest"]) == (3, "base", "untouched")]
    assert [row["moved"] for row in some(last, 2)] == pytest.approx([PLANTED // 2] * 2, abs=4)


# A guest in monitor mode is given the registers where one of them is enabled: what the review of 2015 asked for, without a word of the host;
# and the same where the host debugs when a vCPU is loaded, but not where it begins to afterwards.
LOAD = "\t\tif (mdscr & (MDSCR_EL1_KDE | MDSCR_EL1_MDE))\n\t\t\tvcpu->arch.debug_owner = VCPU_DEBUG_GUEST_OWNED;\n"
SCAN = """\t\tu64 needs = 0;

\t\tfor (int i = 0; i < 16; i++)
\t\t\tneeds |= vcpu->arch.vcpu_debug_state.dbg_bcr[i] | vcpu->arch.vcpu_debug_state.dbg_wcr[i];
\t\tif ((needs & BIT(0)) && (mdscr & (MDSCR_EL1_KDE | MDSCR_EL1_MDE)))
\t\t\tvcpu->arch.debug_owner = VCPU_DEBUG_GUEST_OWNED;
"""
AT_LOAD = "if (read_sysreg(mdscr_el1) & (MDSCR_EL1_KDE | MDSCR_EL1_MDE))\n\t\t\tneeds |= BIT(0);\n\t\tif ((needs & BIT(0)) &&"


def test_a_kernel_that_lets_the_host_s_breakpoints_fire_in_a_guest_is_found_by_sequences(
    repo: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """On the CPU whose kernel is its own hypervisor, where MDSCR_EL1 and the registers are all that there is between the two."""
    git(repo, "checkout", "--quiet", "-b", "scans", "base")
    linux.commit(repo, "KVM: arm64: Scan, and forget the host", linux.DEBUG, LOAD, SCAN)
    linux.commit(repo, "KVM: arm64: Look at the host at load alone", linux.DEBUG, "if ((needs & BIT(0)) &&", AT_LOAD)
    folder = tmp_path_factory.mktemp("scans") / "c"
    words = ["--boards", BOARDS[0], "--exits", "hvc", "--guests", "mde", "--boots", "1"]
    done = run("series", "--repo", repo, "--base", "base", "--branch", "scans", "--campaign", folder, *words)
    assert done.returncode == 0, done.stderr
    words = [str(BIN / "study"), "sequences", str(folder), "--boards", BOARDS[0], "--count", "100"]
    before = set(paths.cache().glob("played-*"))  # what others play
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as playing:
        first = wait_for(
            lambda: next((new for new in paths.cache().glob("played-*[!t]/played.json") if new.parent not in before), None)
        )
        playing.terminate()
        assert "run the same command again to go on" in playing.communicate()[0]
    first.write_text(first.read_text().replace('"vhe"', '"hvhe"'))
    done = run(*words[1:])
    assert done.returncode == 1, done.stdout + done.stderr
    assert not first.exists(), "who asks again has them played again"
    known = Campaign(folder).sequences()
    assert [row["mode"] for row in known["played"]] == ["hvhe", "vhe", "vhe", "vhe"], "what was played is not played again"
    base, again, forgets, at_load = [row["differ"] for row in some(known["played"], 4)]
    assert base == again == []
    assert len(at_load) > 1 and len(forgets) > len(at_load), known
    assert re.search(r"sequence \d+ came out otherwise than on the base:\n(  .*\n)+  base: .*\n  here: ", done.stdout)
    late = [number for number in at_load if not any(act.what == LATE for act in drawn(f"{known['seed']}/{number}", 6, 4, [0, 1]))]
    assert late == [], "only a host that begins while a vCPU is loaded is left"


def test_a_bisection_finds_what_was_planted_and_skips_what_does_not_build(repo: Path, tmp_path: Path) -> None:
    planted = git(repo, "rev-parse", "topic~1")
    words = ["--than", "base", "--cells", "exit=hvc guest=untouched", "--at-most", "1%", "--campaigns", str(tmp_path / "steps")]
    step = [str(BIN / "study"), "bisect-step", "--board", BOARDS[0], *words]
    git(repo, "checkout", "--quiet", "topic")
    git(repo, "bisect", "start", "topic", "base")
    done = subprocess.run(
        ["git", "bisect", "run", *step], cwd=repo, capture_output=True, text=True, check=False, env=os.environ.copy()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{planted} is the first bad commit" in done.stdout
    assert "does not build: arch/arm64/kvm/handle_exit.c:" in done.stdout + done.stderr
    assert "worse: " in done.stdout and "not worse: " in done.stdout
    git(repo, "bisect", "reset")


def test_a_kernel_tree_s_own_ci_shows_the_table_and_ends_red(repo: Path, measured: Campaign, tmp_path: Path) -> None:
    env = {
        **os.environ,
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "CELLS": "exit=hvc guest=untouched",
        "AT_MOST": "1%",
    }
    words = [
        str(paths.ROOT / "ci/series"),
        str(repo),
        "base",
        measured.series()["patches"][0]["commit"],
        *FEW,
        "--boards",
        BOARDS[0],
    ]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "worse: tip-burn-100 takes 1.0" in done.stdout
    table = (tmp_path / "summary.md").read_text()
    assert "| tip-burn-100 " in table and "| higher, 2 of 2 " in table


def test_a_kernel_that_does_not_boot_is_refused_with_its_last_words(repo: Path, tmp_path: Path) -> None:
    git(repo, "checkout", "--quiet", "-b", "dies", "base")
    start = "\tint err;\n\tbool in_hyp_mode;\n"
    linux.commit(repo, "KVM: arm64: Die", "arch/arm64/kvm/arm.c", start, f'{start}\n\tpanic("It dies here");\n')
    words = ["--base", "base", "--branch", "dies", "--campaign", tmp_path / "c", *FEW, "--boards", BOARDS[0]]
    said = refused(run("series", "--repo", repo, *words))
    last = "its last words: .*Kernel panic - not syncing: It dies here"
    assert re.search(f"no commit of base..dies can be measured; the first one: .*{last}", said), said
    assert not (tmp_path / "c").exists()

    step = ["bisect-step", "--repo", repo, "--than", "base", "--cells", "exit=hvc", "--campaigns", tmp_path / "steps"]
    done = run(*step)
    assert done.returncode == 125 and re.search(last, done.stderr), done.stderr

    built, folder = source.find(source.resolved("git:dies", repo).partition("=")[2]), tmp_path / "dies"
    folder.mkdir()
    shutil.copy(built / "vmlinuz", folder / "Image")
    shutil.copy(built / "config", folder)
    kernel = ["--kernels", f"image:{folder}", "--strategies", "stock", *FEW]
    assert re.search(last, refused(run("collect", "--campaign", tmp_path / "image", *kernel)))


SWITCH = paths.ROOT / "paper/series/debug-switch.toml"
TOLD = ["lazy", "eager", "control-scan"]
WHO = ["untouched", "mde", "one", "touch"]


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oldest Linux with the patch that lets it choose its strategy as it boots."""
    folder = tmp_path_factory.mktemp("oldest") / "linux"
    lines.commit(SWITCH, folder)
    return folder


@pytest.fixture(scope="module")
def ways(oldest: Path, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """The strategies by the kernel itself, told as it boots, beside those by the module on Debian's, on both boards."""
    folder = tmp_path_factory.mktemp("ways") / "c"
    kernels = f"own=git:topic:{'+'.join(TOLD)},mine=git:base:stock,{OLDEST}"
    words = f"--kernels {kernels} --exits hvc --guests {','.join(WHO)} --control-on first --boots 1 --processes 1 --loops 400 --values 3"
    for board in BOARDS:
        done = run("collect", "--board", board, "--campaign", folder, "--repo", oldest, *words.split())
        assert done.returncode == 0, done.stderr
    return Campaign(folder)


def of_the_ways(campaign: Campaign, metric: str) -> dict[str, pd.DataFrame]:
    """For each board the medians by guest, and by kernel and strategy: ``module`` is Debian's kernel."""
    rows = (
        compare.medians(frame.tidy(campaign)).query("arm == 'main' and metric == @metric").astype({"kernel": str, "board": str})
    )
    rows = rows.assign(kernel=rows["kernel"].where(~rows["kernel"].str.endswith("-arm64"), "module"))
    wide = {board: here.pivot_table(index="guest", columns=["kernel", "strategy"], values="value", observed=True)
            for board, here in rows.groupby("board")}  # fmt: skip
    assert sorted(wide) == sorted(BOARDS)
    return wide


def test_the_oldest_kernel_boots_and_is_measured(ways: Campaign) -> None:
    assert ways.verify() == []
    for record in some(ways.records(), 2 * len(WHO) * (3 + 1 + 1 + 4)):
        assert record.line["checks"]["well"] is True
    known = [ways.facts(boot) for boot in ways.boots()]
    own = [(facts["kernel"], facts["release"][:4], facts["mode"]) for facts in known if facts["kernel"] == "mine"]
    assert own == [("mine", "6.1.", "nvhe"), ("mine", "6.1.", "vhe")]
    told = [facts["build_id"] for facts in known if facts["kernel"] == "own"]
    assert (len(told), len(set(told))) == (2 * 3, 1)


# Instructions per entry: what the module's probes take of their own, whatever they decide, and by how much at most what a strategy adds
# to lazy differs between the two ways.
PROBES, WITHIN = (150, 250), 30


def test_a_kernel_s_own_strategies_cost_what_the_module_s_do_without_its_probes(ways: Campaign) -> None:
    for clock in of_the_ways(ways, "clock").values():
        module, kernel = clock["module"], clock["own"]
        still = ["untouched", "mde", "one"]  # no access traps: each round trip is one entry, however they are switched
        assert (module["lazy"] - module["stock"])[still].between(*PROBES).all(), clock
        for name in ("eager", "control-scan"):
            assert ((module[name] - module["lazy"]) - (kernel[name] - kernel["lazy"]))[still].abs().max() < WITHIN, clock
        assert (kernel["lazy"] - clock["mine", "dirty-bit"])[still].between(-10, 20).all(), clock
        assert (kernel["lazy"] - kernel["eager"])["mde"] == pytest.approx(0, abs=WITHIN)
        assert (kernel["lazy"] - kernel["control-scan"])["mde"] > 200
        assert (kernel["eager"] - kernel["lazy"])["untouched"] > 200
        assert (kernel["lazy"] - kernel["eager"])["touch"] > 500


def test_a_kernel_s_own_strategies_trap_as_often_as_the_module_s(ways: Campaign) -> None:
    for exits in of_the_ways(ways, "exits").values():
        for name in TOLD:
            assert exits["own", name].tolist() == pytest.approx(exits["module", name].tolist(), abs=0.05), exits
            assert exits["own", name]["touch"] == pytest.approx(1 if name == "eager" else 2, abs=0.05)


def test_the_letter_says_which_strategies_are_a_kernel_s_own(ways: Campaign) -> None:
    values = frame.tidy(ways)
    said = " ".join(letters(ways, values, compare.summarise(values, ways.baselines()), title="A title", version=1)[1].split())
    assert "by a patched kernel that was told as it booted: lazy on own, eager on own, control-scan on own." in said
    assert "put in force by a module" in said


def test_a_kernel_that_cannot_be_told_a_strategy_is_not_measured_as_if_it_had_it(oldest: Path, tmp_path: Path) -> None:
    words = ["--kernels", "eager=git:base:eager", "--repo", oldest, "--strategies", "eager", *FEW, "--boots", "1"]
    said = refused(run("collect", "--campaign", tmp_path / "c", *words))
    assert re.search(r"kernel 6\.1\.\d+ was told kvm\.debug_switch=eager as it booted, and has no such parameter", said), said
    assert list(Campaign(tmp_path / "c").records()) == []
