"""A git repository that is to a kernel's what a sketch is: the targets that are called, a few files, an Image that nobody boots."""

from __future__ import annotations

import hashlib
from pathlib import Path

from study.process import run

RELEASE = "7.3.4"
# What the targets do. CALLS names a file in which each compilation leaves a line.
MAKEFILE = """\
VERSION = 7
PATCHLEVEL = 3
MAKEFLAGS += --no-builtin-rules
CC = $(CROSS_COMPILE)gcc
OBJECTS = $(O)/exit.o $(O)/entry.o

tinyconfig:
\t@mkdir -p $(O)/include/config $(O)/arch/arm64/boot
\t@printf '# Linux/arm64 7.3.4 Kernel Configuration\\n# by $(LLVM)\\n' >$(O)/.config
olddefconfig:
\t@grep -v '^CONFIG_HZ' $(O)/.config >$(O)/.new && mv $(O)/.new $(O)/.config
Image: $(OBJECTS)
\t$(CC) -nostdlib -static -Wl,--build-id -Wl,-e,entry -o $(O)/vmlinux $(OBJECTS)
\t{ head -c 56 /dev/zero; printf 'ARM\\144'; cat $(O)/vmlinux; } >$(O)/arch/arm64/boot/Image
\techo 7.3.4 >$(O)/include/config/kernel.release
$(O)/%.o: %.c
\t@echo '  CC      $@'
\t@echo $< >>$(O)/calls
\t@$(CC) -c -ffreestanding -o $@ $<
.PHONY: tinyconfig olddefconfig Image
"""
FILES = {
    "Makefile": MAKEFILE,
    "exit.c": "int cost(void) { return 1; }\n",
    "entry.c": "int cost(void);\nint entry(void) { return cost(); }\n",
}
WHO = ["-c", "user.name=A. Developer", "-c", "user.email=a@example.org"]


def git(repo: Path, *words: str) -> str:
    """Run git in a repository as its owner does."""
    return run(["git", "-C", repo, *WHO, *words]).strip()


def make(repo: Path) -> Path:
    """Make the repository, with a tag v7.3 on its only commit."""
    repo.mkdir(parents=True)
    git(repo, "init", "--quiet", "--initial-branch=topic")
    commit(repo, "Linux 7.3", **{name.replace(".", "_"): text for name, text in FILES.items()})
    git(repo, "tag", "v7.3")
    return repo


def commit(repo: Path, subject: str, **files: str) -> str:
    """Write files, whose names have _ for the dot, commit, and return the commit."""
    for name, text in files.items():
        (repo / name.replace("_", ".")).write_text(text)
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--allow-empty", "-m", subject)
    return git(repo, "rev-parse", "HEAD")


def exit_of(cost: int) -> str:
    """Return exit.c of a kernel whose exits cost so much."""
    return f"int cost(void) {{ return {cost}; }}\n"


def state(repo: Path) -> dict[str, str]:
    """Return the sum of every file in a repository, git's own among them."""
    return {
        str(path.relative_to(repo)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(repo.rglob("*"))
        if path.is_file()
    }
