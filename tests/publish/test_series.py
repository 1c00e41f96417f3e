"""Letters in front of patch series: real git, real b4, a real dry run of git send-email, and no network."""

from __future__ import annotations

import email
import email.policy
import os
import shlex
import shutil
import string
import subprocess
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import paths
from study.collect import provenance
from study.errors import BadRequest, MissingTool, StudyError
from study.publish import series as subject
from study.publish.series import Series, put
from tests.conftest import copy_of_checkout, drawn, refused, run, some

LIST, MAINTAINER = "linux-arm-kernel@lists.infradead.org", "Jörg Größe <joerg@example.org>"
SHIPPED = (paths.ROOT / "paper" / "reference" / "letter.txt").read_text(encoding="ascii")
SMALL = "KVM: a title\n\nA paragraph of\ntwo lines.\n\nHeading\n-------\n\n    indented\n\nThe last\none of it.\n"
FEW = drawn(12)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of whoever runs the tests, and no network."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n name = Jane Doe\n email = jane@example.org\n[init]\n defaultBranch = master\n")
    places: dict[str, object] = {"HOME": home, "XDG_CONFIG_HOME": home / "config", "XDG_CACHE_HOME": home / "cache"}
    places |= {"XDG_DATA_HOME": home / "data", "GIT_CONFIG_GLOBAL": home / ".gitconfig", "GIT_CONFIG_NOSYSTEM": "1"}
    for name, value in (places | {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}).items():
        monkeypatch.setenv(name, str(value))


def git(repo: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", repo, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(repo: Path, name: str, text: str = "") -> None:
    (repo / name).write_text(text or f"{name}\n", encoding="utf-8")
    git(repo, "add", name)
    git(repo, "commit", "--quiet", "--message", f"arm64: {name}")


def make(repo: Path, branch: str = "topic", patches: int = 2) -> Series:
    """Make a repository with a branch of so many patches over master."""
    git(repo.parent, "init", "--quiet", str(repo))
    commit(repo, "base")
    git(repo, "switch", "--quiet", "--create", branch)
    for number in range(patches):
        commit(repo, f"patch-{number}")
    return Series(repo, branch, "master", to=(LIST,), cc=(MAINTAINER, "kvmarm@lists.linux.dev"))


@pytest.fixture
def topic(tmp_path: Path) -> Series:
    return make(tmp_path / "a repo")


def read(path: Path) -> EmailMessage:
    return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)


def body(path: Path) -> str:
    part = read(path).get_body(("plain",))
    assert part
    return str(part.get_content())


def prefix(path: Path) -> str:
    return str(read(path)["subject"]).partition("]")[0] + "]"


def holds(path: Path, letter: str) -> bool:
    """Tell whether a mail holds a letter, told independently of the code under test."""
    title, text = letter.split("\n\n", 1)
    return str(read(path)["subject"]).endswith(f"] {title}") and body(path).startswith(text.rstrip("\n") + "\n\n")


def base(cover: Path) -> list[str]:
    """What a cover letter says that its series applies to."""
    return [line for line in body(cover).splitlines() if line.startswith(("base-commit: ", "prerequisite-"))]


def state(repo: Path) -> tuple[str, bytes]:
    """Every branch, what is checked out, what is not committed, and the configuration."""
    told = git(repo, "for-each-ref") + git(repo, "rev-parse", "HEAD") + git(repo, "status", "--porcelain")
    return told, (repo / ".git" / "config").read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("tool", subject.TOOLS)
@pytest.mark.parametrize("letter", [SHIPPED, SMALL], ids=["shipped", "small"])
@pytest.mark.parametrize(("version", "shown"), [(1, "[PATCH 0/2]"), (3, "[PATCH v3 0/2]")])
def test_the_letter_comes_out_as_it_went_in(
    topic: Series, tmp_path: Path, tool: str, letter: str, version: int, shown: str
) -> None:
    config = (topic.repo / ".git" / "config").read_bytes()
    mails = put(letter, replace(topic, version=version), tmp_path / "out", tool)
    assert len(mails) == 3
    assert holds(mails[0], letter)
    assert prefix(mails[0]) == shown
    assert base(mails[0]) == [f"base-commit: {git(topic.repo, 'rev-parse', 'master')}"]
    assert mails == sorted(mails)
    for mail in mails:
        assert LIST in str(read(mail)["to"])
        assert MAINTAINER in str(read(mail)["cc"])
    assert tool == "b4" or (topic.repo / ".git" / "config").read_bytes() == config
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_second_run_of_b4_gives_an_equal_cover(topic: Series, tmp_path: Path) -> None:
    (first, *_) = put(SHIPPED, topic, tmp_path / "out", "b4")
    before = body(first)
    assert body(put(SHIPPED, topic, tmp_path / "out", "b4")[0]) == before
    other = SHIPPED.replace("KVM: arm64", "KVM: ARM", 1)
    mails = put(other, replace(topic, version=2), tmp_path / "out", "b4")
    assert set(files(tmp_path / "out")) == {mail.name for mail in mails}
    assert holds(mails[0], other)


STRATEGIES = ["commit", "branch-description", "tip-commit"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_b4_keeps_the_letter_where_the_repository_says(topic: Series, tmp_path: Path, strategy: str) -> None:
    git(topic.repo, "config", "b4.prep-cover-strategy", strategy)
    start, tip = git(topic.repo, "rev-parse", "master"), git(topic.repo, "rev-parse", "topic")
    for letter, asked in ((SMALL, replace(topic, base="topic~2")), (SHIPPED, replace(topic, version=2))):
        cover = put(letter, asked, tmp_path / "out", "b4")[0]
        assert holds(cover, letter)
        assert base(cover) == [f"base-commit: {start}"]
    assert git(topic.repo, "config", "branch.topic.b4-prep-cover-strategy") == strategy
    assert (git(topic.repo, "rev-parse", "topic") == tip) == (strategy == "branch-description")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_git_after_b4_leaves_out_what_b4_keeps(topic: Series, tmp_path: Path, strategy: str) -> None:
    git(topic.repo, "config", "b4.prep-cover-strategy", strategy)
    put(SMALL, topic, tmp_path / "out", "b4")
    mails = put(SHIPPED, topic, tmp_path / "out", "git")
    assert holds(mails[0], SHIPPED)
    assert [mail.suffix for mail in mails] == [".patch"] * 3
    assert set(files(tmp_path / "out")) == {mail.name for mail in mails}
    assert "b4-submit-tracking" not in "".join(map(body, mails))
    assert base(mails[0]) == [f"base-commit: {git(topic.repo, 'rev-parse', 'master')}"]


@pytest.mark.parametrize("configured", ["", "tip-commit"])
def test_a_letter_kept_in_the_description_rewrites_nothing(topic: Series, tmp_path: Path, configured: str) -> None:
    if configured:
        git(topic.repo, "config", "b4.prep-cover-strategy", configured)
    before = state(topic.repo)[0]
    series = replace(topic, keep="description")
    for letter, asked in ((SMALL, series), (SHIPPED, replace(series, version=2)), (SMALL, replace(topic, version=3))):
        cover = put(letter, asked, tmp_path / "out", "b4")[0]
        assert holds(cover, letter)
        assert f"v{asked.version} 0/2]" in prefix(cover) or asked.version == 1
        assert git(topic.repo, "config", "branch.topic.description") == letter.strip()
        assert state(topic.repo)[0] == before


def test_keep_is_for_a_branch_that_b4_does_not_know(topic: Series, tmp_path: Path) -> None:
    put(SMALL, topic, tmp_path / "out", "b4")
    assert holds(put(SHIPPED, replace(topic, keep="commit"), tmp_path / "out", "b4")[0], SHIPPED)
    before = state(topic.repo)
    with pytest.raises(BadRequest, match="b4 keeps the letter of topic as commit already; leave out KEEP="):
        put(SMALL, replace(topic, keep="description"), tmp_path / "out", "b4")
    assert state(topic.repo) == before
    git(topic.repo, "config", "--unset", "branch.topic.b4-prep-cover-strategy")  # as in another clone of the branch
    assert holds(put(SMALL, replace(topic, keep="description"), tmp_path / "out", "b4")[0], SMALL)
    assert git(topic.repo, "log", "-1", "--format=%s", "master..topic~2") == "KVM: a title"
    assert "description" not in (topic.repo / ".git" / "config").read_text()


@pytest.mark.parametrize("mine", ["my words\n", "  -x: two\n\nparts \n\n"])
def test_a_description_that_is_there_is_not_lost(topic: Series, tmp_path: Path, mine: str) -> None:
    git(topic.repo, "config", "--", "branch.topic.description", mine)
    before = state(topic.repo)
    with pytest.raises(BadRequest, match=r"topic has a description, .* KEEP=commit, or run: git -C .* --unset branch.topic"):
        put(SMALL, replace(topic, keep="description"), tmp_path / "out", "b4")
    assert state(topic.repo) == before
    assert holds(put(SMALL, replace(topic, keep="commit"), tmp_path / "out", "b4")[0], SMALL)
    assert subprocess.check_output(["git", "-C", topic.repo, "config", "-z", "branch.topic.description"]).decode() == f"{mine}\0"


def advanced(series: Series) -> str:
    """Let master go on after the branch has left it, and return where it has."""
    start = git(series.repo, "rev-parse", "master")
    git(series.repo, "tag", "--annotate", "v7.3", "--message", "v7.3", "master")
    git(series.repo, "switch", "--quiet", "master")
    commit(series.repo, "later")
    git(series.repo, "update-ref", "refs/remotes/origin/next", "master")
    git(series.repo, "switch", "--quiet", "topic")
    return start


@pytest.mark.parametrize("name", ["master", "origin/next", "v7.3", "topic~2"])
@pytest.mark.parametrize(("tool", "keep"), [("git", ""), ("b4", "commit"), ("b4", "description")])
def test_the_cover_says_what_the_series_starts_from(topic: Series, tmp_path: Path, tool: str, name: str, keep: str) -> None:
    start = advanced(topic)
    if name in {"v7.3", "topic~2"}:  # b4 looks for the one branch that such a commit is on
        git(topic.repo, "update-ref", "-d", "refs/remotes/origin/next")
    mails = put(SMALL, replace(topic, base=name, keep=keep), tmp_path / "out", tool)
    assert base(mails[0]) == [f"base-commit: {start}"]
    assert len(mails) == 3


def test_a_series_does_not_start_from_the_commit_in_which_b4_keeps_the_letter(topic: Series, tmp_path: Path) -> None:
    start = git(topic.repo, "rev-parse", "topic~2")
    for tool in ("b4", "b4", "git"):
        mails = put(SMALL, replace(topic, base="topic~2"), tmp_path / "out", tool)
        assert base(mails[0]) == [f"base-commit: {start}"]
        assert len(mails) == 3
    assert git(topic.repo, "rev-parse", "topic~2") != start


def test_b4_wants_a_branch_to_keep_a_description_over(topic: Series, tmp_path: Path) -> None:
    advanced(topic)
    before = state(topic.repo)
    with pytest.raises(StudyError, match="b4 failed .*Multiple branches contain object v7.3, please pass a branch name as base"):
        put(SMALL, replace(topic, base="v7.3", keep="description"), tmp_path / "out", "b4")
    assert state(topic.repo) == before


@pytest.mark.parametrize("tool", subject.TOOLS)
def test_a_branch_into_which_its_base_was_merged_is_refused(topic: Series, tmp_path: Path, tool: str) -> None:
    advanced(topic)
    git(topic.repo, "merge", "--quiet", "--no-edit", "master")
    commit(topic.repo, "patch-2")
    with pytest.raises(
        BadRequest, match="not all commits of topic build on [0-9a-f]{40}, which it shares with master; rebase it"
    ):
        put(SMALL, topic, tmp_path / "out", tool)


def test_a_merge_of_what_builds_on_the_base_is_refused(topic: Series, tmp_path: Path) -> None:
    git(topic.repo, "switch", "--quiet", "--create", "side", "topic~1")
    commit(topic.repo, "patch-2")
    git(topic.repo, "switch", "--quiet", "topic")
    git(topic.repo, "merge", "--quiet", "--no-edit", "side")
    before = state(topic.repo)
    for tool in subject.TOOLS:
        with pytest.raises(
            BadRequest, match="topic has a merge, [0-9a-f]{12}: a series is one commit after the other; rebase it"
        ):
            put(SMALL, replace(topic, keep="description"), tmp_path / tool, tool)
    assert state(topic.repo) == before


def test_a_shallow_clone_that_hides_where_the_branch_left_its_base_is_refused(topic: Series, tmp_path: Path) -> None:
    git(topic.repo, "tag", "v7.3", "master")
    commit(topic.repo, "patch-2")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{topic.repo}", str(shallow))
    git(shallow, "fetch", "--quiet", "--depth=1", "origin", "tag", "v7.3")
    series = replace(topic, repo=shallow, base="v7.3")
    with pytest.raises(BadRequest, match="v7.3 is no ancestor of topic that this shallow clone can see; run: (.*)") as raised:
        put(SMALL, series, tmp_path / "out", "git")
    subprocess.run(shlex.split(str(raised.value).partition("run: ")[2]), check=True, capture_output=True)
    assert len(put(SMALL, series, tmp_path / "out", "git")) == 4
    git(tmp_path, "clone", "--quiet", "--depth=4", f"file://{topic.repo}", str(tmp_path / "deep enough"))
    assert len(put(SMALL, replace(series, repo=tmp_path / "deep enough", base="topic~3"), tmp_path / "out", "git")) == 4


def test_a_branch_that_shares_nothing_with_its_base_is_refused(topic: Series, tmp_path: Path) -> None:
    git(topic.repo, "switch", "--quiet", "--orphan", "other")
    commit(topic.repo, "first")
    with pytest.raises(BadRequest, match="other and master have no commit in common.*BASE="):
        put(SMALL, replace(topic, branch="other"), tmp_path / "out", "git")


def test_prerequisites_that_b4_knows_go_along(topic: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(topic.repo, "patch-2")
    series = replace(topic, base=git(topic.repo, "rev-parse", "topic~2"))
    put(SMALL, series, tmp_path / "out", "b4")
    early, needed = git(topic.repo, "rev-parse", "master"), "patch-id: " + "12" * 20
    (tmp_path / "needs").write_text(f"{needed}\nbase-commit: {early}\n")
    monkeypatch.setenv("GIT_EDITOR", f"cp '{tmp_path / 'needs'}'")
    subprocess.run([subject._b4(), "prep", "--edit-deps"], cwd=topic.repo, check=True, capture_output=True)
    cover = put(SMALL, series, tmp_path / "out", "b4")[0]
    assert base(cover) == [f"base-commit: {early}", f"prerequisite-{needed}"]


def test_a_base_that_is_missing_or_wrong_is_found(topic: Series, tmp_path: Path) -> None:
    before = state(topic.repo)
    template = tmp_path / "template"
    for trailer in ("", "base-commit: ${change_id}"):
        template.write_text(f"${{cover}}\n\n---\n${{shortlog}}\n\n{trailer}\n")
        git(topic.repo, "config", "b4.prep-cover-template", str(template))
        with pytest.raises(StudyError, match="b4 wrote base-commit: .*, and the series starts from [0-9a-f]{40}; look at BASE="):
            put(SMALL, topic, tmp_path / "out", "b4")
    git(topic.repo, "config", "--remove-section", "b4")
    assert state(topic.repo) == before


def test_b4_in_a_kernel_tree_without_a_mail_server(tmp_path: Path) -> None:
    series = make(tmp_path / "repo", "a/b=c")
    git(series.repo, "config", "user.name", "Jörg Größe")
    commit(series.repo, "Kconfig")  # by which b4 knows a kernel tree, and would send through the web
    assert holds(put(SHIPPED, series, tmp_path / "out", "b4")[0], SHIPPED)


def test_b4_is_found_beside_python(topic: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if shutil.which("b4") is None:
        assert holds(put(SHIPPED, topic, tmp_path / "out", "b4")[0], SHIPPED)
    tools = tmp_path / "bin"
    tools.mkdir()
    git_path = shutil.which("git")
    assert git_path
    monkeypatch.setenv("PATH", str(tools))
    (tools / "git").symlink_to(git_path)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(MissingTool, match="pip install b4"):
        put(SHIPPED, topic, tmp_path / "out", "b4")
    (tools / "git").unlink()
    with pytest.raises(MissingTool, match="apt-get install git"):
        put(SHIPPED, topic, tmp_path / "out", "git")


@pytest.mark.parametrize("branch", ["a/b", "v6.13-rc1", "a=b", "b4/it.s", 'quote"d', "a_branch+1", "ünï"])
def test_any_name_of_a_branch(tmp_path: Path, branch: str) -> None:
    series = make(tmp_path / "repo", branch, patches=1)
    git(series.repo, "tag", branch, "master")  # a tag of the same name is not meant
    (cover, _) = put(SMALL, series, tmp_path / "out", "git")
    assert holds(cover, SMALL)
    assert prefix(cover) == "[PATCH 0/1]"


def test_the_upstream_is_the_base(topic: Series, tmp_path: Path) -> None:
    git(topic.repo, "branch", "--quiet", "--set-upstream-to", "master")
    for tool in subject.TOOLS:
        assert len(put(SHIPPED, replace(topic, base=""), tmp_path / tool, tool)) == 3


CONFIGURED = [
    {"format.signature": "Jane (1):"}, {"format.signature": ""}, {"format.attach": "boundary"}, {"format.subjectPrefix": "PATCH net-next"},
    {"format.subjectPrefix": ""}, {"format.thread": "deep"}, {"format.numbered": "false"}, {"format.suffix": ".txt"},
    {"format.outputDirectory": "/nowhere"}, {"format.coverLetter": "false"}, {"format.notes": "true"}, {"format.signOff": "true"},
    {"format.coverFromDescription": "none"}, {"format.to": "other@example.org"}, {"format.headers": "X-Other: yes"},
    {"branch.topic.description": "My own title\n\nand text"}, {"user.name": "Jörg Größe"}, {"core.commentChar": "A"},
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGURED, ids=lambda config: "-".join(config))
def test_whatever_git_is_configured_to_do(topic: Series, tmp_path: Path, config: dict[str, str]) -> None:
    for name, value in config.items():
        git(topic.repo, "config", name, value)
    git(topic.repo, "commit", "--quiet", "--amend", "--no-edit", "--reset-author")
    cover = put(SHIPPED, replace(topic, version=2), tmp_path / "out", "git")[0]
    assert holds(cover, SHIPPED)
    assert "v2 0/2]" in prefix(cover)


OF_DIFFS = ["diff.noprefix=true", "diff.context=0", "diff.mnemonicPrefix=true", "color.ui=always", "format.attach=parts",
            "apply.whitespace=error", "GIT_DIFF_OPTS=-u0"]  # fmt: skip


@pytest.fixture
def edited(tmp_path: Path) -> Series:
    """A branch whose patches change a line among others, with blanks at its end, move a file, and change a byte that is no text."""
    repo = make(tmp_path / "edited", patches=0).repo
    lines = [f"{number}\n" for number in range(40)]
    git(repo, "switch", "--quiet", "master")
    commit(repo, "text", "".join(lines))
    git(repo, "switch", "--quiet", "topic")
    git(repo, "reset", "--quiet", "--hard", "master")
    commit(repo, "text", "".join([*lines[:20], "twenty \t\n", *lines[21:]]))
    git(repo, "mv", "text", "moved")
    (repo / "data").write_bytes(bytes(range(256)))
    commit(repo, "moved", "".join(["zero\n", *lines[1:20], "twenty \t\n", *lines[21:]]))
    git(repo, "add", "data")
    git(repo, "commit", "--quiet", "--message", "arm64: data")
    return Series(repo, "topic", "master")


def give(repo: Path, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what a user may have set, in git's configuration or in the environment."""
    name, value = setting.split("=", 1)
    monkeypatch.setenv(name, value) if name.isupper() else git(repo, "config", name, value)


@pytest.mark.parametrize("setting", OF_DIFFS)
def test_patches_are_what_the_branch_is_whatever_diff_is_configured_to_do(
    edited: Series, tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = files(tmp_path / "plain") if put(SMALL, edited, tmp_path / "plain", "git") else {}
    give(edited.repo, setting, monkeypatch)
    patches = put(SMALL, edited, tmp_path / "out", "git")[1:]
    assert [path.read_bytes() == plain[path.name] for path in patches] == [setting[:6] != "format"] * 3
    git(edited.repo, "switch", "--quiet", "--detach", "master")
    git(edited.repo, "am", "--quiet", "--whitespace=nowarn", *map(str, patches))
    assert git(edited.repo, "rev-parse", "HEAD^{tree}") == git(edited.repo, "rev-parse", "topic^{tree}")


@pytest.mark.parametrize("setting", ["diff.noprefix=true", "diff.context=0", "GIT_DIFF_OPTS=-u0"])
def test_patches_that_nobody_could_apply_are_refused_with_what_spoils_them(
    edited: Series, tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """b4 sends by itself, so that nothing is changed for it alone: what it would send must be right."""
    series, before = replace(edited, keep="description"), state(edited.repo)[0]
    give(edited.repo, setting, monkeypatch)
    with pytest.raises(StudyError, match=f"b4 wrote .*; look at your settings: {setting.replace('=', ' ')}$"):
        put(SMALL, series, tmp_path / "out", "b4")
    assert state(edited.repo)[0] == before
    assert not (tmp_path / "out").exists()


def test_b4_s_patches_are_what_the_branch_is(edited: Series, tmp_path: Path) -> None:
    before = state(edited.repo)[0]
    assert len(put(SMALL, replace(edited, keep="description"), tmp_path / "out", "b4")) == 4
    assert state(edited.repo)[0] == before


def test_line_ends_that_are_in_a_file_are_in_its_patch(edited: Series, tmp_path: Path) -> None:
    commit(edited.repo, "text", "one\r\ntwo\r\n")
    assert len(put(SMALL, edited, tmp_path / "out", "git")) == 5
    with pytest.raises(
        StudyError, match="b4 wrote patches that do not make what topic holds; another tool may do it: TOOL=git or b4"
    ):
        put(SMALL, replace(edited, keep="description"), tmp_path / "other", "b4")


def test_nothing_is_written_into_the_repository(edited: Series, tmp_path: Path) -> None:
    def held() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in edited.repo.rglob("*") if path.is_file()}

    before = held()
    put(SMALL, edited, tmp_path / "out", "git")
    assert held() == before


def test_a_folder_of_a_repository_is_the_repository(edited: Series, tmp_path: Path) -> None:
    (edited.repo / "sub").mkdir()
    assert len(put(SMALL, replace(edited, repo=edited.repo / "sub"), tmp_path / "out", "git")) == 4


def test_settings_that_the_environment_gives_stay(topic: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COUNT": "1", "KEY_0": "format.subjectPrefix", "VALUE_0": "RFC PATCH"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert prefix(put(SMALL, topic, tmp_path / "out", "git")[0]) == "[RFC PATCH 0/2]"


def test_in_a_hook_of_another_repository_the_one_that_is_named_is_meant(
    topic: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = git(paths.ROOT, "rev-parse", "--short=12", "HEAD")
    other = make(tmp_path / "another", "another", patches=1).repo
    git(other, "branch", "topic")
    theirs = {"GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index", "GIT_OBJECT_DIRECTORY": ".git/objects"}
    lead = dict.fromkeys(git(other, "rev-parse", "--local-env-vars").splitlines(), ".git/HEAD") | theirs
    for name, place in some(lead.items(), 10):
        if not name.startswith("GIT_CONFIG_"):
            monkeypatch.setenv(name, str(other / place))
    for name in ("GIT_LITERAL_PATHSPECS", "GIT_NAMESPACE", "GIT_ATTR_SOURCE"):
        monkeypatch.setenv(name, "1")
    for tool in subject.TOOLS:
        assert holds(put(SMALL, topic, tmp_path / tool, tool)[0], SMALL)
    assert provenance._commit().rstrip("+") == ours


def test_somebody_else_s_repository_around_the_study_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = make(tmp_path / "theirs").repo
    (repo / "study").mkdir()
    monkeypatch.setattr(paths, "ROOT", repo)
    assert provenance._commit() == git(repo, "rev-parse", "--short=12", "HEAD")
    (repo / "study/new.py").write_text("")
    assert provenance._commit() == git(repo, "rev-parse", "--short=12", "HEAD") + "+"
    monkeypatch.setattr(paths, "ROOT", repo / "study")
    assert provenance._commit() == ""


LINES = st.text(string.ascii_letters + string.digits + string.punctuation + " ", min_size=1, max_size=75).map(str.rstrip)
PROSE = LINES.filter(lambda line: line.strip() and not line.startswith("#"))
WORDS = st.text(string.ascii_letters + string.digits + " :,.-'()[]", min_size=1, max_size=75).map(str.strip).filter(bool)


@FEW
@given(title=WORDS, paragraphs=st.lists(st.lists(PROSE, min_size=1, max_size=4).map("\n".join), min_size=1, max_size=5))
def test_git_takes_any_letter(tmp_path: Path, title: str, paragraphs: list[str]) -> None:
    repo = tmp_path / "repo"
    series = Series(repo, "topic", "master", to=(LIST,)) if repo.exists() else make(repo)
    paragraphs[0] = paragraphs[0].lstrip()
    letter = "\n\n".join([title, *paragraphs, "The end."]) + "\n"
    assert holds(put(letter, series, tmp_path / "out", "git")[0], letter)


DAMAGED = {
    "a comment": ("two lines.", "two lines.\n# lost", "line 5 .*'# lost'"),
    "two empty lines": ("two lines.\n\n", "two lines.\n\n\n", "line 6 .*''.*'Heading'"),
    "an indented last paragraph": ("The last\n", "  The last\n", "line 11 .*'  The last'.*'The last'"),
    "a trailer": ("one of", "one: of", "line 12 .*'one: of it.'"),
    "a separator": ("-------", "---", "line 7 .*'---'.*''"),
    "a prefix": ("KVM: a title", "[RFC] a title", r"line 1 .*'\[RFC\] a title'.*'a title'"),
}


@pytest.mark.parametrize(("old", "new", "said"), DAMAGED.values(), ids=DAMAGED)
def test_what_b4_damages_is_found(topic: Series, tmp_path: Path, old: str, new: str, said: str) -> None:
    letter, before = SMALL.replace(old, new), state(topic.repo)
    with pytest.raises(StudyError, match=f"b4 changed {said}"):
        put(letter, topic, tmp_path / "out", "b4")
    assert not (tmp_path / "out").exists()
    assert state(topic.repo) == before


@pytest.mark.parametrize("earlier", [0, 2], ids="after-{}".format)
@pytest.mark.parametrize("keep", subject.KEEP)
def test_a_failure_leaves_what_b4_kept(topic: Series, tmp_path: Path, keep: str, earlier: int) -> None:
    series, out = replace(topic, keep=keep), tmp_path / "out"
    out.mkdir()
    for letter in [SMALL, SHIPPED][:earlier]:
        put(letter, series, out, "b4")
    before, mails = state(topic.repo), files(out)
    with pytest.raises(StudyError, match="b4 changed line 5"):
        put(SMALL.replace("two lines.", "two lines.\n# lost"), replace(series, version=2), out, "b4")
    assert state(topic.repo) == before
    assert files(out) == mails


def test_a_failure_leaves_the_mails_and_the_branch(topic: Series, tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(SMALL, topic, out, "git")
    (out / "mine.patch").write_text("mine")
    before = files(out)
    git(topic.repo, "commit", "--quiet", "--allow-empty", "--message", "empty")  # b4 fails to enrol such a branch
    earlier = state(topic.repo)
    with pytest.raises(StudyError, match="b4 failed") as raised:
        put(SMALL, topic, out, "b4")
    assert "\n" not in str(raised.value)
    assert state(topic.repo) == earlier
    assert files(out) == before


def test_mails_of_an_earlier_run_are_replaced_and_other_files_stay(topic: Series, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "0009-mine.patch").write_text("mine")
    (out / "mine.eml").write_text("mine")
    put(SMALL, topic, out, "git")
    mails = put(SMALL, replace(topic, version=2), out, "git")
    assert set(files(out)) == {"0009-mine.patch", "mine.eml", *(mail.name for mail in mails)}
    shutil.rmtree(out / subject.WRITTEN.parent)
    with pytest.raises(StudyError, match="not from an earlier run"):
        put(SMALL, replace(topic, version=2), out, "git")


def test_the_same_input_gives_the_same_mails(topic: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")  # which the cover letter is dated by
    put(SMALL, topic, tmp_path / "one", "git")
    put(SMALL, topic, tmp_path / "two", "git")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_mail_that_is_too_large_is_named(topic: Series, tmp_path: Path) -> None:
    commit(topic.repo, "large", "x" * 70 + "\n" + "y\n" * 50_000)
    with pytest.raises(StudyError, match=r"0003-arm64-large.patch has \d+ bytes, and a list takes 100000"):
        put(SMALL, topic, tmp_path / "out", "git")
    assert not (tmp_path / "out").exists()


SERIES = [
    ({"branch": "absent"}, "no branch 'absent'.*BRANCH="), ({"branch": "--output=/tmp/x"}, "no branch '--output"),
    ({"branch": "topic~1"}, "no branch"), ({"branch": ""}, "no branch ''"), ({"branch": "a\0b"}, "no branch"),
    ({"base": "absent"}, "no commit 'absent'.*BASE="), ({"base": "--all"}, "no commit '--all'"), ({"base": ""}, "no upstream.*BASE="),
    ({"base": "topic"}, "topic has no commits over topic"), ({"branch": "master"}, "master has no commits over master"),
    ({"keep": "tag"}, "keep is 'tag': it must be one of description, commit"), ({"version": 0}, "version is 0"), ({"version": True}, "version is True"), ({"to": ("nobody",)}, "'nobody' is no mail address"),
    ({"cc": ("a@b.org\nBcc: c@d.org",)}, "is no mail address"), ({"to": ("a@b.org, c@d.org",)}, "one address"),
    ({"to": ("--bcc@d.org",)}, "is no mail address"), ({"to": ("",)}, "is no mail address"), ({"repo": Path("/nowhere")}, "no git repository"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), SERIES, ids=[said for _, said in SERIES])
def test_a_series_that_makes_no_sense_is_refused(topic: Series, tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(BadRequest, match=said) as raised:
        put(SMALL, replace(topic, **change), tmp_path / "out", "git")  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_recipients_with_commas_between() -> None:
    assert subject.addresses(['a@b.org, "Doe, Jane" <c@d.org>,', "", "e@f.org"]) == (
        "a@b.org",
        '"Doe, Jane" <c@d.org>',
        "e@f.org",
    )


LETTERS = ["", "title\n", "title\nbody\n", "title\n\n", "\n\nbody\n", " title\n\nbody\n", "title\n\n\nbody\n"]
LETTERS += ["title\n\nBjörn\n", "title\n\nbody\r\nmore\n", "title\n\n\0\n", "title\n\n" + "x" * 100_000]


@pytest.mark.parametrize("letter", LETTERS, ids=range(len(LETTERS)))
def test_a_text_that_is_no_letter_is_refused(topic: Series, tmp_path: Path, letter: str) -> None:
    with pytest.raises(BadRequest, match="letter"):
        put(letter, topic, tmp_path / "out", "git")


def test_what_b4_cannot_work_on_is_refused(topic: Series, tmp_path: Path) -> None:
    out, tip = tmp_path / "out", git(topic.repo, "rev-parse", "topic")
    with pytest.raises(BadRequest, match="tool is 'quilt': it must be one of git, b4"):
        put(SMALL, topic, out, "quilt")
    (topic.repo / "base").write_text("changed")
    with pytest.raises(BadRequest, match="not committed"):
        put(SMALL, topic, out, "b4")
    git(topic.repo, "checkout", "--quiet", "base")
    with pytest.raises(BadRequest, match="single patch.*TOOL=git"):
        put(SMALL, replace(topic, base="topic~1"), out, "b4")
    git(topic.repo, "switch", "--quiet", "master")
    with pytest.raises(BadRequest, match="checked out.*switch topic"):
        put(SMALL, topic, out, "b4")
    assert git(topic.repo, "rev-parse", "topic") == tip


def test_a_folder_that_cannot_be_written_is_named(topic: Series, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(StudyError, match="cannot write the mails to .*file"):
            put(SMALL, topic, out, "git")


@pytest.mark.parametrize("tool", subject.TOOLS)
@pytest.mark.parametrize("quiet", [["--quiet"], []], ids=["quiet", "loud"])
def test_send_email_takes_the_mails(topic: Series, tmp_path: Path, tool: str, quiet: list[str]) -> None:
    out = tmp_path / "out"
    mails = put(SHIPPED, topic, out, tool)
    words = ["--dry-run", "--confirm=never", *quiet, f"--to={LIST}", "--cc=kvm@vger.kernel.org", "--suppress-cc=self"]
    done = subprocess.run(
        ["git", "-C", topic.repo, "send-email", *words, "--smtp-server=/bin/false", out],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning" not in done.stdout.lower()
    assert done.stdout.count("Subject: [PATCH") == (0 if quiet else len(mails))


@pytest.mark.parametrize("tool", subject.TOOLS)
def test_the_command_says_which_mails_there_are_and_how_to_send_them(topic: Series, tmp_path: Path, tool: str) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text(SMALL)
    words = ["mail", letter, tmp_path / "out", "--repo", topic.repo, "--branch", "topic", "--base", "master", "--tool", tool]
    words, tip = [*words, "--keep", "description"], git(topic.repo, "rev-parse", "topic")
    done = run(*words, "--to", f"{LIST}, Jane Doe <jane@example.org>", "--to", "", "--version", 2)
    assert done.returncode == 0, done.stderr
    *mails, sending = done.stdout.splitlines()
    assert [Path(mail).exists() for mail in mails] == [True] * 3
    assert git(topic.repo, "rev-parse", "topic") == tip
    assert {LIST, "jane@example.org"} <= {address.addr_spec for address in read(Path(mails[0]))["to"].addresses}
    people = "--to linux-arm-kernel@lists.infradead.org 'Jane Doe <jane@example.org>'"
    assert sending.partition(": ")[2] == {
        "git": f"git -C '{topic.repo}' send-email {tmp_path}/out/*.patch", "b4": f"cd '{topic.repo}' && b4 send {people}"
    }[tool]  # fmt: skip
    letter.write_bytes(b"x\n\n\xff\xfe\n")
    assert "line 3 of the letter has characters that are not plain ASCII" in refused(run(*words))


def test_the_command_that_is_printed_sends_by_the_settings_of_the_repository(
    topic: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, sent = tmp_path / "server", tmp_path / "sent"
    server.write_text(f'#!/bin/sh\n{{ echo "$*"; cat; }} >>"{sent}"\n')
    server.chmod(0o755)
    for name, value in {
        "user.email": "jane@work.example",
        "sendemail.smtpServer": str(server),
        "sendemail.confirm": "never",
    }.items():
        git(topic.repo, "config", name, value)
    monkeypatch.chdir(topic.repo.parent)
    meant = replace(topic, repo=Path(topic.repo.name))
    put(SHIPPED, meant, Path("out of here"), "git")
    command = subject.sending(meant, Path("out of here"), "git")
    subprocess.run(["sh", "-c", command], cwd="/", check=True, capture_output=True, stdin=subprocess.DEVNULL)
    said = sent.read_text()
    assert said.count("\nFrom: Jane Doe <jane@work.example>\n") == said.count("\nSubject: [PATCH") == 3
    assert said.count("-i ") >= 3


def test_make_puts_the_letter_into_a_branch(topic: Series, tmp_path: Path) -> None:
    place = copy_of_checkout(tmp_path / "checkout")
    command = [
        "make",
        "-o",
        ".venv/ready",
        "mail",
        "CAMPAIGN=data/reference",
        f"REPO={topic.repo}",
        "BRANCH=topic",
        "BASE=master",
    ]
    done = subprocess.run(
        [*command, "VERSION=2", "TITLE=A title; `y` 'z'", f"TO={LIST}"], cwd=place, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(place)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mails = sorted((place / "paper/reference/series").glob("*.patch"))
    assert [mail.name[:8] for mail in mails] == ["v2-0000-", "v2-0001-", "v2-0002-"]
    assert read(mails[0])["subject"] == "[PATCH v2 0/2] A title; `y` 'z'"
    assert body(mails[0]).startswith("A guest that keeps monitor debug mode on and enables nothing pays")
    done = subprocess.run(
        [*command, "KEEP=nowhere"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(place)},
    )
    assert done.returncode != 0
    assert "keep is 'nowhere'" in done.stderr
