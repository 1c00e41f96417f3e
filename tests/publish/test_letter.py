"""The letter and its excerpts, as an author and a list meet them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from study import paths
from study.analyze import (
    compare,
    frame,
    history,
    life_tables,
    lives,
    patches,
    predicted,
    predicted_tables,
    receipt_tables,
    receipts,
    tables,
)
from study.campaign import Campaign
from study.collect import provenance
from study.collect.imports import imported
from study.errors import BadData, BadRequest, StudyError
from study.publish import answer, changes, findings, headline, letter, prose, reply, series
from tests import made_lives, made_receipts, made_series
from tests.conftest import BOARDS, letters, refused, run, some


def one_line(text: str) -> str:
    return " ".join(text.split())


def numbers(text: str) -> set[str]:
    """The numbers of a text that stand for something measured: of two digits or more, or with a fraction."""
    return set(re.findall(r"(?<![\w.])\d{2,}(?:\.\d+)?(?![\w.]*[\w])", text))


def test_the_letter_is_a_page_that_opens_with_the_answer(one_page: str) -> None:
    lines = one_page.splitlines()
    assert len(lines) <= 90
    first = one_line("\n".join(lines[:12]))
    assert "pays 359 to 394 instructions more (17 to 32 %) on each hvc round trip" in first
    assert all(f"{board} (" in first for board in BOARDS) and "Linux 6.1, 6.12, 6.18, 7.3" in first
    assert "path length in instructions, not time" in first
    assert max(map(len, lines)) <= 75


def test_the_rows_in_which_a_kernel_got_worse_are_in_the_letter(one_page: str) -> None:
    assert "every mmio round trip more than the oldest: +3056 on 7.3, +2174 on 6.1 (qemu-cortex-a57)" in one_line(one_page)


def test_no_number_of_the_letter_is_of_its_own(one_page: str, posted: str, summary: pd.DataFrame, values: pd.DataFrame) -> None:
    """What is measured stands in the tables, or in what is computed of them, with the same digits."""
    grown = history.generations(compare.medians(values))
    parts = [posted, tables.all_tables(summary), tables.generations(grown, "markdown"), answer.answer(summary)]
    known = numbers(" ".join(parts).replace("+", " ")) | numbers(
        " ".join(f"{row.ratio - 1:.0%} {row.more:.0f}" for row in grown.itertuples())
    )
    said = numbers(one_page.replace("+", " ").partition("How it was measured")[0])
    some(said, 40)
    assert said <= known, said - known


def test_a_table_of_many_kernels_has_ten_rows_says_what_it_leaves_out_and_calls_no_instruction_a_time(
    values: pd.DataFrame,
) -> None:
    grown = history.generations(compare.medians(values))
    nothing = pd.DataFrame()
    note, table, *_ = headline.headline(nothing, grown, nothing, {})
    assert "left out" not in note and table.startswith(tables.EMULATED) and len(re.findall(r"^qemu-", table, re.MULTILINE)) == 8
    real = grown[grown["board"] == BOARDS[0]].assign(board="lab", unit="s")
    note, table, *_ = headline.headline(nothing, pd.concat([grown, real], ignore_index=True), nothing, {})
    assert note.endswith("6 kernels are left out here.")
    assert len(re.findall(r"^(?:qemu-|lab)", table, re.MULTILINE)) == 6
    assert table.startswith("emulated boards: path length in instructions, not a time")
    _, table, *_ = headline.headline(nothing, real[real["exit"] == "hvc"], nothing, {})
    assert table.startswith("time in ns") and "mmio" not in table


def test_a_trap_costs_one_number(posted: str) -> None:
    """That of the cost model is not beside it."""
    assert len(set(re.findall(r"(\d+) instructions on qemu-cortex-a57", one_line(posted)))) == 1
    assert not re.search(r"\btrap \d{4}", one_line(posted))


def test_names_that_are_no_plain_words_are_explained(one_page: str) -> None:
    used = [name for name in ("lazy", "control-scan") if re.search(rf"(?<![\w-]){name}(?![\w-])", one_page)]
    assert used == ["lazy", "control-scan"]
    for name in used:
        assert re.search(rf"^  {name}: \w+", one_page, re.MULTILINE)
    assert not re.search(r"\b(one-no-mde|touch-20|eager)\b", one_page)


def test_what_does_not_fit_a_letter_of_a_series_is_behind_it(tmp_path: Path) -> None:
    rows = [made_series.row(f"{n}-patch", n, f"{n}-patch") for n in range(1, 13)]
    known = {"branch": "topic", "ends": False, "base": made_series.row("base", 0), "patches": rows}
    campaign = made_series.make(tmp_path / "c", {"base": 0, **{row["label"]: 50 * n for n, row in enumerate(rows, 1)}}, known)
    values = frame.tidy(campaign)
    summary = compare.summarise(values, campaign.baselines())
    changed = "v1: data/x.\n" + "what moved\n" * 30
    page, more = letters(
        campaign, values, summary, title="x", version=2, changes=changed, words="What it does.\n\nLink: https://a.org/"
    )
    assert len(page.splitlines()) <= 60 + 3
    assert "what moved" not in page and "what moved" in more
    assert re.search(r"\d+ steps that move less are in the tables", one_line(page))
    assert "What it does." in page and page.endswith("Link: https://a.org/\n")


def test_where_data_and_page_are_is_said(reference: Campaign, values: pd.DataFrame, summary: pd.DataFrame) -> None:
    page, _ = letters(reference, values, summary, title="x", url="https://example.org/kvm")
    assert "Data and page: https://example.org/kvm" in one_line(page)
    for url in ("example.org", "https://exa mple.org", "javascript:alert(1)"):
        with pytest.raises(BadRequest, match="url is"):
            letters(reference, values, summary, title="x", url=url)


def test_words_that_were_never_edited_do_not_leave_the_house(tmp_path: Path) -> None:
    text = "x\n\n" + letter.own_words(tmp_path / "series.txt") + "\n"
    with pytest.raises(BadRequest, match=r"line 3 of the letter still says EDITME: say in series\.txt"):
        series.check_letter(text)
    shipped = paths.PAPER / "reference"
    assert all("EDITME" not in (shipped / name).read_text() for name in ("series.txt", "letter.txt"))


def test_another_kit_says_so(reference: Campaign) -> None:
    facts = list(map(reference.facts, reference.boots()))
    (measured,) = {fact["study"]["commit"] for fact in facts}
    assert provenance.another_kit(facts).startswith(
        f"Note: this was measured with commit {measured} of the kit, and is drawn with "
    )
    here = provenance.of_the_host()["study"]["commit"]
    assert here and provenance.another_kit([{"study": {"commit": here}}]) == ""


def test_the_author_s_words_links_and_tags_are_in_the_letter_as_they_were_written(
    reference: Campaign, values: pd.DataFrame, summary: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "series.txt"
    words = "Patch 1 does this,\n  - and that.\n\nLink: https://lore.kernel.org/r/" + "x" * 80 + "\nSuggested-by: A B <a@b.org>\n"
    path.write_text(words)
    text, _ = letters(reference, values, summary, title="x", version=1, words=letter.own_words(path))
    assert path.read_text() == words
    assert "\n\nPatch 1 does this,\n  - and that.\n\n" in text
    assert text.endswith("\n\n" + words.partition("\n\n")[2]), "links and tags come last"


def test_the_file_of_the_author_s_words_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "series.txt"
    words = letter.own_words(path)
    assert words == (paths.TEMPLATES / "series.txt").read_text().strip()
    path.write_text("Mine.\n")
    assert letter.own_words(path) == "Mine."
    assert path.read_text() == "Mine.\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("fine\nna\u00efve", "line 2: a letter is plain ASCII"),
        ("# a comment", "line 1: a letter is plain ASCII, without tabs, and git takes what starts with #"),
        ("a\tb", "without tabs"),
        ("x" * 76, "76 columns; break it at 75, only a link may be longer"),
        ("\x00", "plain ASCII"),
        (b"\xff\xfe".decode("latin-1"), "plain ASCII"),
    ],
)
def test_words_that_no_list_takes_are_refused_with_their_line(tmp_path: Path, words: str, says: str) -> None:
    (tmp_path / "reference").mkdir()
    path = tmp_path / "reference" / "series.txt"
    path.write_text(words, encoding="utf-8")
    with pytest.raises(BadData, match=re.escape(says)):
        letter.own_words(path)
    assert path.read_text(encoding="utf-8") == words


def test_a_notebook_refuses_such_words_in_one_line_and_leaves_the_letter(tmp_path: Path) -> None:
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "series.txt").write_text("# no\n")
    (tmp_path / "reference" / "letter.txt").write_text("as it was\n")
    said = refused(run("notebook", "cover-letter", tmp_path / "x.ipynb", "-p", "paper", tmp_path))
    assert "series.txt, line 1" in said
    assert (tmp_path / "reference" / "letter.txt").read_text() == "as it was\n"


def test_every_table_of_the_letter_says_first_that_it_is_emulated(posted: str) -> None:
    lines = posted.splitlines()
    heads = [number for number, line in enumerate(lines) if re.match(r"(guest|strategy) {2,}\w", line)]
    assert len(heads) == 6
    assert {lines[number - 1] for number in heads} == {tables.EMULATED}


def test_the_chart_says_what_the_summary_says(posted: str, summary: pd.DataFrame) -> None:
    for board in BOARDS:
        (place,) = [match.end() for match in re.finditer(rf"^{board}, .*hvc round trip: ratio", posted, re.MULTILINE)]
        drawn = posted[place:].split("\n\n")[1].splitlines()
        rows = compare.in_focus(summary).query(
            "board == @board and exit == 'hvc' and metric == 'clock' and guest == 'mde' and verdict != 'baseline'"
        )
        shown = {line.split("  ")[1].strip(): line for line in drawn[drawn.index("mde") + 1 :]}
        assert len(shown) == len(rows) == 4
        at = {name: line.index("o", 16) for name, line in shown.items()}
        assert sorted(at, key=at.get) == sorted(
            at,
            key=lambda name: rows.set_index(rows.apply(lambda row: tables.label(row.strategy, row.arm), axis=1))["ratio"][name],
        )  # type: ignore[arg-type]
        for row in rows.itertuples():
            assert f"{row.ratio:.3f} {tables.verdict(row)}" in shown[tables.label(row.strategy, row.arm)]


def test_a_control_arm_that_could_not_be_told_apart_is_not_praised(reference: Campaign, values: pd.DataFrame) -> None:
    def said(rows: pd.DataFrame) -> str:
        return findings.control_arm(compare.summarise(rows, reference.baselines()))

    own = values[
        (values["board"] == BOARDS[0]) & (values["metric"] == "clock") & values["kernel"].astype(str).str.startswith("6.1.")
    ]
    assert "is told apart from itself in 0 of them." in said(own)
    assert said(own[own["arm"] == "main"]) == "The control arm was not measured."
    two = own[own["boot"].isin(list(own["boot"].unique())[:2])]
    assert said(two).endswith("cells; without intervals nobody can say whether it is told apart from itself.")


def test_boards_that_ranked_nothing_rank_nothing_alike(summary: pd.DataFrame) -> None:
    assert findings.ranks(summary[summary["board"] == BOARDS[0]]).startswith("All boards rank")
    assert findings.ranks(summary[summary["strategy"] != "eager"]) == ""
    kept = (summary["board"] == BOARDS[0]) | (summary["guest"] == "one")
    assert findings.ranks(summary[kept]).endswith("alike, for every guest: one.")


def test_changes_since_the_last_version_name_what_moved(reference: Campaign, values: pd.DataFrame, tmp_path: Path) -> None:
    unchanged = changes.since(values, reference, 2)
    assert "0 moved for sure by more than 1%; 0 are new, 0 are gone." in one_line(unchanged)
    assert reference.digest()[:12] in unchanged
    faster = values.copy()
    cell = (
        (faster["strategy"] == "lazy") & (faster["guest"] == "mde") & (faster["board"] == BOARDS[0]) & (faster["exit"] == "hvc")
    )
    faster.loc[cell & (faster["arm"] == "main"), "value"] *= 0.8
    faster = faster[~((faster["guest"] == "half") & (faster["board"] == BOARDS[0]))]
    text = changes.since(faster, reference, 2)
    assert "1 moved for sure by more than 1%; 0 are new, 4 are gone." in one_line(text)
    assert re.search(rf"^{BOARDS[0]} hvc$", text, re.MULTILINE)
    assert re.search(r"^  mde, lazy +1[67]\d\d +13\d\d +-20\.0%$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 75
    assert tables.EMULATED in text


def test_what_moved_on_a_board_that_is_not_emulated_is_not_called_emulated(reference: Campaign, values: pd.DataFrame) -> None:
    real = values[values["board"] == BOARDS[0]].assign(metric=lambda rows: rows["metric"].astype(str).replace("clock", "time"))
    before = changes.since(values, reference, 1)
    assert before.startswith("before: data/reference (digest ")
    rows = compare.moved(real.assign(value=real["value"] * 2), real)
    assert tables.first_line(rows) == tables.what(rows) == "time in ns"
    assert tables.first_line(pd.concat([rows, rows.assign(metric="clock")])).startswith("emulated boards: path length")


def test_what_one_boot_cannot_say_is_not_said(reference: Campaign, values: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(reference.folder, tmp_path / "c", ignore=shutil.ignore_patterns("*.[2-9]", "*.1[0-2]", "rig-*"))
    text = one_line(changes.since(values[values["board"].isin(BOARDS)], Campaign(tmp_path / "c"), 2))
    assert "Of 112 numbers that both have, 0 moved" in text
    assert re.search(r"Of 1[01]\d nobody can say, because one side has fewer than 3 boots\.", text)


def test_the_notebook_takes_the_last_version(reference: Campaign, tmp_path: Path) -> None:
    given = ["-p", "paper", tmp_path, "-p", "since", "data/reference", "-p", "version", "3", "-p", "title", "Third"]
    assert run("notebook", "cover-letter", tmp_path / "x.ipynb", *given).returncode == 0
    page, text = ((tmp_path / "reference" / name).read_text() for name in letter.LETTERS)
    assert page.startswith("Third\n")
    assert "\nChanges since v2\n----------------\n\nv2: data/reference (digest " in text
    assert "Result (v3)" in text
    assert "is no campaign" in refused(run("notebook", "cover-letter", tmp_path / "y.ipynb", "-p", "since", "data/none"))


def test_the_commands_of_the_letter_mean_something(posted: str) -> None:
    lines = re.findall(r"^    (?:.*\\\n)*.*", posted[posted.index("How to reproduce") :], re.MULTILINE)
    assert len(lines) == 3  # a design for each kind of board
    assert lines[0].strip() == "make figures mail CAMPAIGN=data/reference"
    shown = 0
    for line in lines[1:]:
        plan = line.replace(" \\\n        ", " ").replace(" collect ", " plan ").replace("--campaign data/again", "").strip()
        done = subprocess.run(["sh", "-ec", plan], cwd=paths.ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shown += done.stdout.count("time:")
    assert shown == 4


def test_imported_results_have_a_letter_too(tmp_path: Path) -> None:
    import pyperf

    for name, scale in (("before", 1.0), ("after", 0.9)):
        for boot in range(3):
            runs = [
                pyperf.Run(
                    [scale * (1e-6 + 1e-9 * ((n + boot) % 3)) for n in range(5)],
                    metadata={"name": "exit", "boot_time": f"2026-01-0{boot + 1} 00:00:00", "hostname": "na\u00efve"},
                    collect_metadata=False,
                )
            ]  # fmt: skip
            pyperf.BenchmarkSuite([pyperf.Benchmark(runs)]).dump(str(tmp_path / f"{name}-{boot}.json"))
        imported.import_files(tmp_path / "c", sorted(tmp_path.glob(f"{name}-*.json")), {"strategy": name}, "before")
    campaign = Campaign(tmp_path / "c")
    values = frame.tidy(campaign)
    summary = compare.summarise(values, campaign.baselines())
    text = letters(campaign, values, summary, title="x", version=1)[1]
    assert text.isascii()
    assert "na?ve" in text
    assert re.search(r"^  after +.*o.* 0\.900 lower$", text, re.MULTILINE)
    assert "measured elsewhere and imported" in text
    assert "emulat" not in text
    assert "study collect" not in text
    assert "time in ns" in text
    assert "lazy" not in text


@pytest.mark.parametrize(
    "cells",
    ["board=qemu-neoverse-n1 exit=hvc guest=mde,untouched,touch-4", "exit=hvc guest=mde board=qemu-neoverse-n1,qemu-cortex-a57"],
)
def test_a_reply_is_short_narrow_and_says_what_it_is(reference: Campaign, summary: pd.DataFrame, cells: str) -> None:
    text = reply.render(reference, summary, cells)
    lines = text.splitlines()
    assert len(lines) <= reply.REPLY
    assert max(map(len, lines)) <= tables.WIDTH
    assert tables.EMULATED in lines
    assert text.count("lazy again") == len(some(re.findall(r"^(mde|untouched|touch-4)$", text, re.MULTILINE), 2))
    assert lines[-1] == f"Data: {reference.digest()}"


def test_the_command_prints_the_reply_or_says_why_not(reference: Campaign, summary: pd.DataFrame) -> None:
    cells = "board=qemu-neoverse-n1 exit=hvc guest=mde strategy=eager"
    done = run("reply", "data/reference", "--cells", cells)
    assert (done.returncode, done.stdout) == (0, reply.render(reference, summary, cells)), done.stderr
    names = re.findall(r"^  ([a-z -]+?)  +\d", done.stdout, re.MULTILINE)
    assert names == ["lazy", "eager", "lazy again"], "a reply of one strategy keeps what it is compared with"
    assert "guest 'nobody' was not measured" in refused(run("reply", "data/reference", "--cells", "guest=nobody"))


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ("", "lines, and a reply should have 40: name fewer cells"),
        ("guest=nobody", "guest 'nobody' was not measured there; choose from untouched, mde"),
        ("mde", "'mde' is no tag with values; write such as guest=mde,untouched; tags are board"),
        ("guest=", "'guest=' is no tag with values"),
        ("board=rig-cortex-a15 exit=hvc exit=mmio", "exit 'mmio' was not measured there; choose from hvc"),
    ],
)
def test_a_reply_that_makes_no_sense_is_refused(reference: Campaign, summary: pd.DataFrame, cells: str, says: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(says)):
        reply.render(reference, summary, cells)


def test_a_line_that_ends_a_letter_is_found() -> None:
    for line in ("---", "# x", "x " * 38, "\u00e9"):
        with pytest.raises(StudyError, match="line 2 of the letter"):
            prose.check(f"fine\n{line}\n")
    prose.check("Link: https://example.org/" + "x" * 100 + "\n    /a/path/" + "x" * 100)


def test_a_series_has_a_letter_whose_table_is_of_its_patches(tmp_path: Path) -> None:
    labels = ["1-burn", "2-forget", "3-unburn"]
    rows = [
        made_series.row(label, n, "" if n == 2 else label, "it does not build" if n == 2 else "")
        for n, label in enumerate(labels, 1)
    ]
    known = {"branch": "topic", "ends": False, "base": made_series.row("base", 0), "patches": rows}
    campaign = made_series.make(tmp_path / "c", {"base": 0, "1-burn": 100, "3-unburn": 0}, known)
    values = frame.tidy(campaign)
    summary = compare.summarise(values, campaign.baselines())
    text = letters(campaign, values, summary, title="x", version=1)[1]
    assert tables.EMULATED.partition(":")[0] in text
    for line in patches.table(patches.moves(compare.medians(values), known), known).splitlines():
        assert line.rstrip() in text.splitlines(), line
    flat = one_line(text)
    assert f"Base: v7.3-0, commit {'0' * 40}. Branch: topic." in flat
    assert all(
        f"{row['label']} {row['commit'][:12]} {row['subject']}" in re.sub(r" +", " ", flat) for row in (known["base"], *rows)
    )
    assert "[not measured: it does not build]" in flat
    assert "gcc 12" in flat and "each boot reported the build ID" in flat
    assert re.search(r"make series REPO=\.\./linux \\?\s*BASE=0{40}", text)
    assert "In 2015" not in text and "control registers" not in text
    prose.check(text)


PREDICTED = "What real cores would pay: a prediction"


def test_letter_and_reply_say_what_round_trips_differ_in_and_nothing_else_changes(
    reference: Campaign, summary: pd.DataFrame, values: pd.DataFrame, tmp_path: Path
) -> None:
    campaign = made_receipts.without(reference, tmp_path / "reference")
    bare = letters(campaign, values, summary, title="A title", version=2)[1]
    longest = "board=qemu-neoverse-n1 exit=hvc guest=mde,untouched,touch-4,touch"
    without = reply.render(campaign, summary, longest)
    boot = next(boot for boot in campaign.boots() if boot.name == "qemu-neoverse-n1.1")
    with_receipts = made_receipts.add(campaign, boot, [made_receipts.of_guest("mde"), made_receipts.of_guest("untouched")])
    assert with_receipts.verify() == []
    pairs = receipts.telling(receipts.frame(with_receipts), {})
    excerpt = receipt_tables.excerpt(some(pairs))
    assert "__debug_save_state +170" in excerpt
    page, text = letters(with_receipts, values, summary, title="A title", version=2)
    assert text.count(f"\n\n{excerpt}\n\n") == 1
    on_cores = predicted.of_campaign(receipts.frame(with_receipts))
    assert on_cores is not None
    said = predicted_tables.telling(on_cores)
    assert "Neoverse N1  5.17" in said and text.count(f"\n\n{PREDICTED}\n{'-' * len(PREDICTED)}\n\n{said}\n") == 1
    assert "Kunpeng" not in page and "prediction" not in page
    told, known = (whole.partition("How to reproduce")[0] for whole in (text, bare))
    told = told.replace(f"{PREDICTED}\n{'-' * len(PREDICTED)}\n\n{said}\n", "")
    assert told.replace(f"{excerpt}\n\n", "") == known
    cells = "board=qemu-neoverse-n1 exit=hvc guest=mde"
    answer = reply.render(with_receipts, summary, f"{cells} kernel=6.1")
    assert f"\n\n{excerpt}\n\n" in answer and len(answer.splitlines()) <= reply.REPLY
    for others in ("board=qemu-cortex-a57 exit=hvc guest=mde", "board=qemu-neoverse-n1 exit=mmio guest=mde"):
        assert "__debug_save_state" not in reply.render(with_receipts, summary, others)
    assert len(without.splitlines()) + 2 > reply.REPLY - len(excerpt.splitlines()), "there is no room for it"
    assert reply.render(with_receipts, summary, longest).splitlines()[:-1] == without.splitlines()[:-1]


def test_a_letter_says_what_real_guests_pay_and_nothing_else_changes(
    reference: Campaign, summary: pd.DataFrame, values: pd.DataFrame, posted: str, tmp_path: Path
) -> None:
    shutil.copytree(reference.folder, tmp_path / "reference")
    campaign = made_lives.make(tmp_path / "reference", trips=False)
    assert campaign.verify() == []
    found = lives.frame(campaign)
    excerpt = life_tables.excerpt(found, lives.judged(found, compare.medians(values)))
    assert re.search(r"^  timer +2\d+ +100% ", excerpt, re.MULTILINE)
    text = letters(campaign, values, summary, title="A title", version=2)[1]
    assert text.count(f"\n\n{excerpt}\n\n") == 1
    told, known = (whole.partition("How to reproduce")[0] for whole in (text, posted))
    assert told.replace(f"{excerpt}\n\n", "") == known
    assert re.search(rf"for b in {made_lives.BOARD}; do \.venv/bin/study guests --board \$b", text)
    assert "study guests" not in posted


def test_the_share_that_matters_is_the_reader_s_everywhere(tmp_path: Path) -> None:
    """With 10 % nothing that is less is called different, in tables, sentences, the page's index and a reply."""
    given = ["-p", "paper", tmp_path, "-p", "smallest", "10%"]
    for name in ("analyze", "cover-letter"):
        assert run("notebook", name, tmp_path / f"reference/notebooks/{name}.ipynb", *given).returncode == 0
    folder = tmp_path / "reference"
    page, more, tables = ((folder / name).read_text() for name in (*letter.LETTERS, "tables.md"))
    for text in (page, more, tables):
        assert "more than 10% away" in " ".join(text.split()) and "1% away" not in text
    assert "make figures mail CAMPAIGN=data/reference SMALLEST=10%\n" in page
    told = [float(low) for low in re.findall(r"\((\d\.\d+)-\d\.\d+\) \| \S+ +\| higher", tables)]
    assert len(told) > 20 and min(told) >= 1.1 and len(told) == len(re.findall(r"\| higher +\|$", tables, re.MULTILINE))
    done = run("html", "data/reference", "--paper", tmp_path, "--out", tmp_path / "html")
    assert done.returncode == 0, done.stderr
    assert page.split("\n\n")[1].replace("\n", " ") in " ".join((tmp_path / "html/index.html").read_text().split())
    assert "more than 10% away" in " ".join(
        run("reply", "data/reference", "--smallest", "0.1", "--cells", "exit=hvc guest=mde board=qemu-neoverse-n1").stdout.split()
    )
    assert "it must be a share" in refused(run("notebook", "analyze", tmp_path / "x.ipynb", "-p", "smallest", "all"))
    assert "it must be a share" in refused(run("summary", "data/reference", "--smallest", "-1%"))
