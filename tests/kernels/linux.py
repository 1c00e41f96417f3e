"""What a developer does with Linux's source: a tree of his own, and commits."""

from __future__ import annotations

from pathlib import Path

from study.kernels.linux import repository
from study.process import run
from tests.kernels.tree import git

EXIT = "arch/arm64/kvm/handle_exit.c"
DEBUG = "arch/arm64/kvm/debug.c"
TRAP = "return handle_trap_exceptions(vcpu);"


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
