"""Kernels of one's own: real git, real make and a real compiler, on a tree that takes a moment to build."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from study import paths, process
from study.errors import BadRequest
from study.kernels import build, source
from study.kernels.repository import Repository
from tests.conftest import BIN, refused, run, wait_for
from tests.faults.disk import FULL, Room
from tests.kernels import tree

pytestmark = pytest.mark.board  # what builds kernels is needed

PLAN = ["plan", "--strategies", "stock", "--guests", "untouched", "--boots", "1"]


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up kernel tree, and a cache of its own."""
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    return tree.make(tmp_path / "linux")


def built(text: str, repo: Path | None) -> Path:
    """The folder of a kernel, by the text that asks for it."""
    return source.find(source.resolved(text, repo).partition("=")[2].partition(":stock")[0])


def compiled(tmp_path: Path) -> int:
    """How many files were compiled so far."""
    return sum(len(path.read_text().split()) for path in (tmp_path / "cache/source").glob("build-*/calls"))


def test_a_commit_is_built_once_and_the_next_one_takes_what_it_changes(repo: Path, tmp_path: Path) -> None:
    first = built("base=git:v7.3", repo)
    assert compiled(tmp_path) == 2
    tree.commit(repo, "KVM: arm64: Charge two", exit_c=tree.exit_of(2))
    second = built("v2=git:topic", repo)
    assert compiled(tmp_path) == 3
    assert built("base=git:v7.3", repo) == first
    assert compiled(tmp_path) == 3
    ids = [json.loads((place / "versions.json").read_text())["source"]["build_ids"] for place in (first, second)]
    assert len({one for (one,) in ids}) == 2
    # The same files under another message are the same kernel.
    tree.git(repo, "commit", "--quiet", "--amend", "-m", "KVM: arm64: Charge two, reworded")
    assert built("v3=git:topic", repo) == second
    assert compiled(tmp_path) == 3


def test_the_repository_is_read_and_never_written(repo: Path) -> None:
    tree.commit(repo, "KVM: arm64: Charge two", exit_c=tree.exit_of(2))
    (repo / "exit.c").write_text(tree.exit_of(3))
    (repo / "new.c").write_text("")
    (repo / ".git/hooks").mkdir(exist_ok=True)
    (repo / ".git/hooks/post-checkout").write_text("#!/bin/sh\ntouch was-run\n")
    (repo / ".git/hooks/post-checkout").chmod(0o755)
    before = tree.state(repo)
    for text in ("base=git:v7.3", "v2=git:topic", "mine=git:."):
        built(text, repo)
    assert tree.state(repo) == before
    assert len(before) > 10


def test_what_is_asked_for_is_frozen_as_a_commit(repo: Path) -> None:
    commit = tree.git(repo, "rev-parse", "topic")
    tree.git(repo, "branch", "kvm/a,b=c")
    assert source.resolved("base=git:v7.3,git:topic,kvm=git:HEAD:stock", repo).split(",") == [
        f"base=git:{commit}", f"topic=git:{commit}", f"kvm=git:{commit}:stock",
    ]  # fmt: skip
    assert source.resolved(f"base=git:{commit}", None) == f"base=git:{commit}"  # it was seen
    planned = run(*PLAN, "--kernels", "base=git:v7.3,6.1", "--repo", repo).stdout
    assert f"kernels:    base=git:{commit}, 6.1" in planned


def test_a_working_tree_with_changes_is_called_dirty(repo: Path) -> None:
    assert not source.about(source.resolved("git:.", repo).partition("=")[2])["dirty"]
    (repo / "exit.c").write_text(tree.exit_of(3))
    text = source.resolved("git:.", repo)
    assert re.fullmatch(r"v7\.3-dirty=git:[0-9a-f]{40}-dirty", text)
    about = source.about(text.partition("=")[2])
    assert (about["dirty"], about["describe"], about["subject"]) == (True, "v7.3-dirty", "Linux 7.3, with changes")
    assert source.resolved("git:.", repo) == text  # as long as nothing changes


def test_a_boot_keeps_what_its_kernel_was_built_of(repo: Path) -> None:
    about = source.about(source.resolved("base=git:v7.3", repo).partition("=")[2])
    assert about["commit"] == tree.git(repo, "rev-parse", "v7.3")
    assert (about["describe"], about["dirty"]) == ("v7.3", False)
    assert re.fullmatch("[0-9a-f]{64}", about["config_sha256"])
    assert "gcc" in about["compiler"]
    assert re.fullmatch("[0-9a-f]{40}", about["build_ids"][0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exit_c": "int cost(void) { return x; }\n"}, ["does not build", "exit.c:1:", "error", "'x' undeclared", "log-"]),
        ({"exit_c": "int other(void) { return 1; }\n"}, ["does not build", "undefined reference to `cost'"]),
        (
            {"Makefile": tree.MAKEFILE.replace("olddefconfig", "nothing")},
            ["does not build", "No rule to make target 'olddefconfig'"],
        ),
        ({"Makefile": tree.MAKEFILE.replace("arm64 7", "x86 7")}, ["it is configured for x86, not for arm64"]),
        ({"Makefile": tree.MAKEFILE.replace("HZ", "KVM")}, ["must have built in", "CONFIG_KVM (guests)"]),
        ({"Makefile": tree.MAKEFILE.replace("HZ", "EVENT")}, ["must have built in", "CONFIG_EVENT_TRACING (tracepoints)"]),
        (
            {"Makefile": tree.MAKEFILE.replace("HZ", "VIRTIO_CON")},
            ["CONFIG_VIRTIO_CONSOLE (the line of the agent)", "emulated board"],
        ),
        ({"Makefile": tree.MAKEFILE.replace("ARM", "MZ.")}, ["its Image is not that of an arm64 kernel"]),
    ],
)
def test_what_cannot_be_built_or_booted_is_one_line(repo: Path, change: dict[str, str], words: list[str]) -> None:
    tree.commit(repo, "KVM: arm64: Break it", **{name.replace("Makefile", "Makefile"): text for name, text in change.items()})
    said = refused(run("image", "--kernels", "mine=git:topic", "--repo", repo))
    assert [word for word in words if word not in said] == []
    assert "KVM: arm64: Break it" in said or "git:" in said


@pytest.mark.parametrize(
    ("kernels", "words"),
    [
        ("mine=git:nothing", "has no commit 'nothing'; name a branch, a tag or a commit"),
        ("mine=git:--all", "has no commit '--all'"),
        ("mine=image:/nowhere", "holds no kernel: it must be a folder with Image (or Image.gz) and config"),
    ],
)
def test_what_is_not_there_is_one_line(repo: Path, kernels: str, words: str) -> None:
    assert words in refused(run(*PLAN, "--kernels", kernels, "--repo", repo))


def test_a_commit_needs_a_repository(repo: Path, tmp_path: Path) -> None:
    assert "say which repository it is in, with --repo" in refused(run(*PLAN, "--kernels", "git:v7.3"))
    assert "there is no such folder" in refused(run(*PLAN, "--kernels", "git:v7.3", "--repo", tmp_path / "none"))
    (tmp_path / "plain").mkdir()
    assert "no git repository that can be read" in refused(run(*PLAN, "--kernels", "git:v7.3", "--repo", tmp_path / "plain"))
    bare = tmp_path / "bare"
    tree.git(repo, "clone", "--quiet", "--bare", str(repo), str(bare))
    assert run(*PLAN, "--kernels", "git:v7.3", "--repo", bare).returncode == 0
    assert "has no working tree" in refused(run(*PLAN, "--kernels", "git:.", "--repo", bare))


def test_an_image_that_is_there_is_taken_along(repo: Path, tmp_path: Path) -> None:
    kernel = built("base=git:v7.3", repo)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "Image").write_bytes((kernel / "vmlinuz").read_bytes())
    (folder / "config").write_bytes((kernel / "config").read_bytes())
    text = source.resolved(f"image:{folder}", None)
    assert re.fullmatch(r"out=image:[0-9a-f]{40}", text)
    about = source.about(text.partition("=")[2])
    assert about["build_ids"] == json.loads((kernel / "versions.json").read_text())["source"]["build_ids"]
    (folder / "Image").write_bytes(b"MZ" + bytes(100))
    assert "its Image is not that of an arm64 kernel" in refused(run(*PLAN, "--kernels", f"mine=image:{folder}"))
    assert source.find(text.partition("=")[2]).is_dir()  # what was taken stays


def test_two_labels_of_one_build_are_refused_before_anything_is_measured(repo: Path, tmp_path: Path) -> None:
    tree.commit(repo, "KVM: arm64: Say nothing new")
    words = ["--kernels", "base=git:v7.3,v2=git:topic", "--repo", repo, "--strategies", "stock"]
    said = refused(run("collect", "--campaign", tmp_path / "c", *words))
    assert "base and v2 are the same build" in said
    assert not (tmp_path / "c").exists()


def test_one_build_may_be_told_several_strategies_and_each_of_them_once(repo: Path) -> None:
    words = ["own=git:topic:lazy", "own=git:topic:eager", "base=git:v7.3:stock"]
    source.prepare(tuple(source.resolved(",".join(words), repo).split(",")))
    with pytest.raises(BadRequest, match="own and again are the same build"):
        source.prepare(tuple(source.resolved(",".join([*words, "again=git:v7.3:eager"]), repo).split(",")))
    planned = run(*PLAN[:1], "--kernels", "own=git:topic:lazy+eager", "--repo", repo, "--strategies", "lazy,eager").stdout
    assert re.search("own=(git:[0-9a-f]{40}):lazy, own=\\1:eager; boots alternate", planned)


def test_a_compiler_and_options_of_one_s_own_are_other_builds(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = built("base=git:v7.3", repo)
    more = tmp_path / "more.config"
    more.write_text("CONFIG_MORE=y\n")
    monkeypatch.setenv("STUDY_KCONFIG", str(more))
    second = built("base=git:v7.3", repo)
    assert second != first
    assert "CONFIG_MORE=y" in (second / "config").read_text()
    wrapper = tmp_path / "mycc"
    wrapper.write_text('#!/bin/sh\nexec aarch64-linux-gnu-gcc "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("STUDY_CC", str(wrapper))
    assert built("base=git:v7.3", repo) not in (first, second)
    (tmp_path / "clang-99").write_text("#!/bin/sh\necho clang version 99\n")
    (tmp_path / "clang-99").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("STUDY_CC")
    monkeypatch.setenv("STUDY_LLVM", "-99")
    by_llvm = built("base=git:v7.3", repo)
    assert "# by -99" in (by_llvm / "config").read_text()
    assert json.loads((by_llvm / "versions.json").read_text())["source"]["compiler"] == "clang version 99"
    monkeypatch.setenv("STUDY_KCONFIG", str(tmp_path / "none"))
    assert "KCONFIG= names a file with options" in refused(run("image", "--kernels", "git:v7.3", "--repo", repo))


def test_a_build_that_was_interrupted_goes_on(repo: Path, tmp_path: Path) -> None:
    wait = "\t@test $< != exit.c || { touch $(O)/waits; while [ -e $(O)/waits ]; do sleep 0.1; done; }\n\t@$(CC) -c"
    slow = tree.MAKEFILE.replace("\t@$(CC) -c", wait) + "$(O)/exit.o: $(O)/entry.o\n"
    tree.commit(repo, "KVM: arm64: Take long", Makefile=slow)
    command = [BIN / "study", "image", "--kernels", "git:topic", "--repo", str(repo)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        waits = wait_for(lambda: next((tmp_path / "cache").glob("source/build-*/waits"), None))
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[0]
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    waits.unlink(missing_ok=True)
    before = compiled(tmp_path)
    helper = subprocess.Popen(["sh", "-c", f"while [ ! -e {waits} ]; do sleep 0.1; done; rm {waits}"])
    built("mine=git:topic", repo)
    helper.wait(timeout=60)
    assert compiled(tmp_path) - before == 1


def test_two_commands_that_build_wait_for_each_other(repo: Path, tmp_path: Path) -> None:
    tree.commit(repo, "KVM: arm64: Charge two", exit_c=tree.exit_of(2))
    code = "import sys; from pathlib import Path; from study.kernels import source; print(source.find(source.resolved(sys.argv[1], Path(sys.argv[2])).partition('=')[2]))"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"a=git:{name}", str(repo)], stdout=subprocess.PIPE, text=True, cwd=paths.ROOT
        )
        for name in ("v7.3", "topic", "v7.3", "topic")
    ]
    found = [process.communicate(timeout=120)[0].splitlines()[-1] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert found[0] == found[2] != found[1] == found[3]


def test_a_series_is_one_commit_after_the_other(repo: Path, tmp_path: Path) -> None:
    base = tree.git(repo, "rev-parse", "v7.3")
    commits = [tree.commit(repo, f"KVM: arm64: Charge {n}", exit_c=tree.exit_of(n)) for n in (2, 3)]
    assert Repository(repo).series("v7.3", "topic") == commits
    series = ["series", "--repo", repo, "--campaign", tmp_path / "c"]
    assert "v7.3..v7.3 is empty" in refused(run(*series, "--base", "v7.3", "--branch", "v7.3"))
    assert "has no commit 'v9'" in refused(run(*series, "--base", "v9"))
    tree.git(repo, "checkout", "--quiet", "-b", "other", base)
    tree.commit(repo, "x86: Something else", other_c="")
    assert "does not start at topic" in refused(run(*series, "--base", "topic", "--branch", "other"))
    tree.git(repo, "checkout", "--quiet", "topic")
    tree.git(repo, "merge", "--quiet", "--no-edit", "other")
    assert "has a merge" in refused(run(*series, "--base", "v7.3", "--branch", "topic"))
    assert not (tmp_path / "c").exists()


def test_a_full_disk_is_named_and_the_next_run_goes_on(repo: Path, tmp_path: Path) -> None:
    tree.commit(
        repo,
        "KVM: arm64: Be large",
        large_c=f"/* {'x' * 60000} */\n",
        exit_c=f"const char large[50000] = {{1}};\n{tree.exit_of(1)}",
    )
    code = "from study.__main__ import start; start()"
    command = [sys.executable, "-c", code, "plan", *PLAN[1:], "--kernels", "mine=git:topic", "--repo", str(repo)]
    build = [sys.executable, "-c", f"from study.kernels import source; source.find('git:{tree.git(repo, 'rev-parse', 'topic')}')"]
    with Room(tmp_path / "cache") as room:
        for whole_run in (room.run(*command), room.run(*build)):
            assert whole_run.returncode == 0, whole_run.stderr
        whole = room.used()
    failed = 0
    for tenth in (2, 5, 8, 9):
        with Room(tmp_path / "cache") as room:
            assert room.run(*command).returncode == 0
            room.limit(size=max(room.used() + 4096, whole * tenth // 10))
            done = room.run(*build)
            if done.returncode:
                failed += 1
                last = done.stderr.strip().splitlines()[-1]
                assert FULL in last or "the disk is full" in last, done.stderr
            room.limit()
            assert room.run(*build).returncode == 0
    assert failed >= 2


def test_a_cache_that_was_put_away_and_unpacked_again_goes_on(repo: Path, tmp_path: Path) -> None:
    """As a service for continuous integration does it, from one run to the next."""
    built("base=git:v7.3", repo)
    packed = tmp_path / "cache.tar"
    process.run(["tar", "--create", "--file", packed, "cache"], cwd=tmp_path)
    shutil.rmtree(tmp_path / "cache")
    process.run(["tar", "--extract", "--file", packed], cwd=tmp_path)
    tree.commit(repo, "KVM: arm64: Charge two", exit_c=tree.exit_of(2))
    built("v2=git:topic", repo)
    assert compiled(tmp_path) == 3


def test_a_bisection_skips_a_commit_that_builds_without_what_is_measured(repo: Path) -> None:
    tree.commit(repo, "KVM: arm64: Forget KVM", Makefile=tree.MAKEFILE.replace("HZ", "KVM"))
    with pytest.raises(build.NotBuilt, match=r"CONFIG_KVM \(guests\)"):
        built("mine=git:topic", repo)
