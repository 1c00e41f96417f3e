"""Linux's own source, as Debian packages it, in a git repository: what a developer of kernels has."""

from __future__ import annotations

import shutil
from pathlib import Path

from study.kernels import archive
from study.kernels.cache import cached, digest
from study.process import run
from tests.kernels.tree import WHO, git

EXIT = "arch/arm64/kvm/handle_exit.c"
TRAP = "return handle_trap_exceptions(vcpu);"


def repository(series: str) -> Path:
    """Return a bare repository with the newest source of a series on its only branch, ``topic``, with the tag ``base``."""
    package = f"linux-source-{series}"

    def fetch(place: Path) -> None:
        host = run(["dpkg", "--print-architecture"]).strip()
        archive.fetch(archive.of_kernels(place, host), "download", names=[package], cwd=place)
        archive.unpack(list(place.glob("*.deb")), place / "unpacked")
        (packed,) = place.glob("unpacked/usr/src/*.tar.xz")
        tree = place / "tree"
        tree.mkdir()
        run(["tar", "--extract", "--file", packed, "--directory", tree, "--strip-components=1"])
        repo = place / "linux.git"
        run(["git", "init", "--quiet", "--bare", "--initial-branch=topic", repo])
        words = ["git", *WHO, f"--git-dir={repo}", f"--work-tree={tree}", "-c", "core.looseCompression=0"]
        run([*words, "add", "--all", "--force"], cwd=tree)
        run([*words, "commit", "--quiet", "-m", f"Linux {series}"], cwd=tree)
        run([*words, "tag", "base"])
        for name in ("tree", "unpacked", f"apt-{host}"):
            shutil.rmtree(place / name)
        for path in place.glob("*.deb"):
            path.unlink()

    return cached("linux", digest(package), fetch) / "linux.git"


def clone(series: str, folder: Path) -> Path:
    """Return a repository of one's own that borrows those objects, and has the files of KVM checked out, and no others."""
    run(["git", "clone", "--quiet", "--shared", "--no-checkout", repository(series), folder])
    git(folder, "sparse-checkout", "set", "arch/arm64/kvm")
    git(folder, "checkout", "--quiet", "topic")
    return folder


def commit(repo: Path, subject: str, file: str, old: str, new: str) -> str:
    """Replace a text in a file, commit, and return the commit."""
    text = (repo / file).read_text()
    assert text.count(old) == 1, f"{file} has {text.count(old)} times: {old}"
    (repo / file).write_text(text.replace(old, new))
    git(repo, "commit", "--quiet", "--all", "-m", subject)
    return git(repo, "rev-parse", "HEAD")


def burn(instructions: int) -> str:
    """Return what takes so many instructions on each exit, before it is handled."""
    return f'asm volatile(".rept {instructions}\\n\\tnop\\n\\t.endr");\n\t\t{TRAP}'
