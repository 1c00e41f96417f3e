"""A patch series that is kept as the lines that it adds: what becomes of it in a source, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import paths
from study.cli import main
from study.errors import BadRequest
from study.kernels import lines, linux
from study.kernels.lines import Insertion
from tests.conftest import some
from tests.kernels.tree import git, make

Made = Callable[..., str]
OURS = sorted(paths.ROOT.glob("paper/series/*.toml"))
SOURCE = """\
int cost(void);
static int other(int a)
{
	return a;
}

int cost(void)
{
	int a = 1;

	return a;
}
"""


@given(number=st.integers(0, 11), before=st.booleans(), added=st.lists(st.text("ab c;", max_size=5), min_size=1, max_size=3))
def test_nothing_but_lines_is_added(number: int, before: bool, added: list[str]) -> None:
    text = "".join(f"line {n}\n" for n in range(12))
    word, new = f"  line \t{number} ", "".join(f"{line}\n" for line in added)
    made = Insertion("a.c", new, **{"before" if before else "after": word}).into(text)
    at = (number + (not before)) * 1
    kept = made.splitlines(keepends=True)
    assert "".join(kept[at : at + len(added)]) == new
    assert "".join(kept[:at] + kept[at + len(added) :]) == text


def test_a_line_is_looked_for_in_its_function() -> None:
    made = Insertion("a.c", "\ta++;\n", before="return a;", within="cost").into(SOURCE)
    assert made == SOURCE.replace("\tint a = 1;\n\n", "\tint a = 1;\n\n\ta++;\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"before": "return a;"}, "a.c: 'return a;' is there 2 times, and must be once: it is another kernel"),
        ({"after": "return b;", "within": "cost"}, r"a.c, cost\(\): 'return b;' is there 0 times"),
        ({"after": "return a;", "within": "price"}, "a.c has no function price: it is another kernel"),
        ({}, "name one of the two"),
        ({"before": "return a;", "after": "return a;"}, "name one of the two"),
        ({"before": "return a;", "text": "a"}, "is no whole line"),
        ({"before": "return a;", "file": "../a.c"}, "is no file of the kernel's source"),
        ({"before": "return a;", "file": "/etc/passwd"}, "is no file of the kernel's source"),
    ],
)
def test_a_place_that_is_none_is_refused(words: dict[str, str], says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        Insertion(**{"file": "a.c", "text": "\ta++;\n", **words}).into(SOURCE)


SERIES = """
linux = "7.3"
[[patch]]
message = "First\\n\\nWhy."
[[patch.insert]]
file = "exit.c"
after = "int cost(void) { return 1; }"
text = "int more(void) { return 2; }\\n"
[[patch]]
message = "Second"
[[patch.insert]]
file = "exit.c"
before = "int more(void) { return 2; }"
text = "int less(void) { return 0; }\\n"
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sketch of a kernel's source in the place of Debian's."""
    repo = make(tmp_path / "source")
    git(repo, "branch", "-M", linux.BRANCH)
    git(repo, "tag", linux.BASE)
    monkeypatch.setattr(linux, "repository", lambda series: repo)
    return tmp_path


@pytest.fixture
def made(source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Made:
    """What makes a repository of a series, and returns what people are told."""

    def make_it(text: str, folder: str = "made") -> str:
        (source / "series.toml").write_text(text)
        monkeypatch.setattr("sys.argv", ["study", "lines", str(source / "series.toml"), str(source / folder)])
        with contextlib.suppress(SystemExit):
            main()
        return "".join(capsys.readouterr())

    return make_it


def test_each_patch_becomes_a_commit_and_a_second_time_the_same(source: Path, made: Made) -> None:
    names = []
    for _ in range(2):
        assert "its base is base, and its branch topic" in made(SERIES)
        names.append(git(source / "made", "log", "--format=%H %s", "base..topic").splitlines())
    assert [line.partition(" ")[2] for line in names[0]] == ["Second", "First"]
    assert names[0] == names[1]
    added = git(source / "made", "diff", "--unified=0", "base", "topic").splitlines()
    assert [line for line in added if line.startswith(("+int", "-int"))] == [
        "+int less(void) { return 0; }",
        "+int more(void) { return 2; }",
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('linux = "7.3"', "", "it has no 'linux'"),
        ("[[patch]]", "[[patches]]", "patch is no list of tables"),
        ("message", "massage", "it has no 'message'"),
        ('file = "exit.c"', 'file = "none.c"', "Linux 7.3 has no none.c"),
        ("after =", "behind =", "behind = 'int cost(void) { return 1; }' is no part of an insertion"),
        ('message = "Second"', 'message = ""', "a patch has no message, or adds nothing"),
        ("return 1", "return 3", "is there 0 times, and must be once"),
        ("[[patch]]", "[[patch", "is no series of lines: it is not TOML: "),
        ('"7.3"', "[" * 5000, "is no series of lines: it is not TOML: "),
        (
            '"7.3"',
            '"7.3"\n[design]\nkernels = "6.1"',
            "kernels = '6.1' is no part of a design; it has guests, hosts, exits, as text",
        ),
        ('"7.3"', '"7.3"\n[design]\nguests = ["mde"]', "guests = ['mde'] is no part of a design"),
        ('"7.3"', '"7.3"\ndesign = "mde"', "design is no table"),
    ],
)
def test_a_file_that_is_no_series_is_refused_in_a_line(made: Made, old: str, new: str, says: str) -> None:
    said = made(SERIES.replace(old, new))
    assert says in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(("words", "says"), [([], "guests: 'nobody'"), (["--guests", "mde,somebody"], "guests: 'somebody'")])
def test_a_series_says_what_is_measured_of_it_and_an_option_says_otherwise(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    (source / "series.toml").write_text(SERIES.replace('"7.3"', '"7.3"\n[design]\nguests = "mde,nobody"'))
    command = ["series", "--lines", source / "series.toml", "--repo", source / "made", "--campaign", source / "c", *words]
    monkeypatch.setattr("sys.argv", ["study", *map(str, command)])
    with pytest.raises(SystemExit):
        main()
    assert says in capsys.readouterr().err
    assert not (source / "c").exists()


def test_what_was_not_made_of_lines_is_left_alone(source: Path, made: Made) -> None:
    (source / "mine").mkdir()
    (source / "mine/file").touch()
    assert "is there already, and was not made of such a series" in made(SERIES, "mine")
    assert (source / "mine/file").exists()


@pytest.mark.board  # it takes the source of Linux
def test_our_own_series_fit_the_source_that_they_are_for(tmp_path: Path) -> None:
    for file in some(OURS, 1):
        lines.commit(file, tmp_path / file.stem)
        subjects = git(tmp_path / file.stem, "log", "--format=%s", "base..topic").splitlines()
        assert len(subjects) == len(lines.read(file).patches)
        removed = [line for line in git(tmp_path / file.stem, "diff", "base", "topic").splitlines() if line.startswith("-")]
        assert all(line.startswith("--- ") for line in removed)
