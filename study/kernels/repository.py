"""Commits of the user's repository, and a clone of ours that borrows its objects. The repository is read and never written."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.errors import BadRequest, StudyError
from study.kernels.cache import alone, folder_for_kbuild
from study.process import git, run

WORKING = "."  # names what is in the working tree, committed or not
DIRTY = "-dirty"
# Neither the user's configuration nor the system's changes what is read from a tree of ours.
PLAIN = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_ATTR_NOSYSTEM": "1"}
# A tree that was kept in an archive and unpacked again is the same: no file of it need be written, and built, anew.
MOVABLE = ["-c", "core.trustctime=false", "-c", "core.checkStat=minimal"]
SOMEONE = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "study"), ("EMAIL", "study@localhost"), ("DATE", "@0 +0000"))
}


@dataclass(frozen=True)
class Commit:
    """A commit that was seen.

    Parameters
    ----------
    name : str
        Its 40 digits, and ``-dirty`` behind them if it is a working tree with changes.
    tree : str
        Of its files.
    describe : str
        What ``git describe`` says of it.
    subject : str
        The first line of its message.
    """

    name: str
    tree: str
    describe: str
    subject: str

    def __str__(self) -> str:
        return f"{self.name[:12]} ({self.subject})"

    @property
    def dirty(self) -> bool:
        """Whether it is a working tree with changes that are in no commit."""
        return self.name.endswith(DIRTY)

    def facts(self) -> dict[str, Any]:
        """Return what is recorded of it in a boot."""
        known = dataclasses.asdict(self)
        return {"commit": known.pop("name").removesuffix(DIRTY), **known, "dirty": self.dirty}


class Repository:
    """A git repository of the user's.

    Parameters
    ----------
    folder : path
        Its working tree, or a bare repository.

    Raises
    ------
    BadRequest
        If it is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise BadRequest(f"{folder}: there is no such folder; name a git repository with the kernel's source")
        try:
            self.objects = Path(self._git("rev-parse", "--path-format=absolute", "--git-path", "objects"))
        except StudyError as error:
            raise BadRequest(f"{folder} is no git repository that can be read: {error}") from None

    def commit(self, name: str) -> str:
        """Return the 40 digits of the commit that a name means.

        Raises
        ------
        BadRequest
            If it means none.
        """
        try:
            return self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except StudyError:
            known = f"has no commit {name!r}" if name else "is there, but no commit of it is named"
            raise BadRequest(f"{self.folder} {known}; name a branch, a tag or a commit") from None

    def describe(self, commit: str) -> tuple[str, str, str]:
        """Return of a commit its tree, what ``git describe`` says, and its subject."""
        words = ["log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%T%n%s", commit]
        tree, subject = self._git(*words).split("\n", 1)
        return tree, self._git("describe", "--always", "--tags", "--abbrev=12", commit), subject

    def series(self, base: str, branch: str) -> list[str]:
        """Return the commits of ``base..branch``, oldest first.

        Raises
        ------
        BadRequest
            If there is none, or not one after the other.
        """
        start, tip = self.commit(base), self.commit(branch)
        rows = [
            line.split()
            for line in self._git("rev-list", "--reverse", "--topo-order", "--parents", f"{start}..{tip}").splitlines()
        ]
        if not rows:
            raise BadRequest(f"{base}..{branch} is empty: {branch} has no commit that {base} does not have")
        merges = [row[0] for row in rows if len(row) > 2]
        if merges:
            raise BadRequest(
                f"{base}..{branch} has a merge, {merges[0][:12]}: a series is one commit after the other; rebase it first"
            )
        first, below = rows[0][0], rows[0][1:]
        if below != [start]:
            under = below[0][:12] if below else "nothing that is here (git fetch --unshallow fetches what a shallow clone lacks)"
            raise BadRequest(
                f"{branch} does not start at {base}: its first commit, {first[:12]}, is on top of {under}; "
                f"name that, or git merge-base {base} {branch}"
            )
        return [row[0] for row in rows]

    def index(self) -> Path | None:
        """Return the file with the state of the working tree, if there is one."""
        found = Path(self._git("rev-parse", "--path-format=absolute", "--git-path", "index"))
        return found if found.is_file() else None

    def worktree(self) -> Path:
        """Return the working tree.

        Raises
        ------
        BadRequest
            If it is a bare repository.
        """
        try:
            return Path(self._git("rev-parse", "--path-format=absolute", "--show-toplevel"))
        except StudyError:
            raise BadRequest(f"{self.folder} has no working tree: name a commit instead of git:{WORKING}") from None

    def _git(self, *words: str) -> str:
        return git(self.folder, *words).strip()


class Clone:
    """Our clone: it has a few refs of its own, borrows all objects, and switches one tree from commit to commit.

    Parameters
    ----------
    folder : path
        Where it is; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self._dir = folder / "git"

    def knows(self, name: str) -> bool:
        """Say whether a commit was taken."""
        return (self.folder / "commits" / name).is_file()

    def commit(self, name: str) -> Commit:
        """Return a commit that was taken.

        Raises
        ------
        BadRequest
            If it was not.
        """
        try:
            return Commit(**json.loads((self.folder / "commits" / name).read_bytes()))
        except (OSError, ValueError, TypeError):
            raise BadRequest(
                f"commit {name[:12]} is not kept here: say which repository it is in, with --repo, or REPO= of make"
            ) from None

    def take(self, repo: Repository, name: str) -> Commit:
        """Return the commit that a name means in a repository, and borrow its objects from now on.

        ``.`` is the working tree as it is: a commit of our own holds it, on top of that which is checked out.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder / "git.lock"):
            self._borrow(repo.objects)
        if name == WORKING:
            commit = self._of_worktree(repo)
        else:
            digits = repo.commit(name)
            commit = Commit(digits, *repo.describe(digits))
        place = self.folder / "commits" / commit.name
        place.parent.mkdir(exist_ok=True)
        aside = place.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(dataclasses.asdict(commit)))
        aside.rename(place)
        return commit

    def switch(self, commit: Commit) -> None:
        """Make the tree that of a commit. Whoever was interrupted at it left a lock: who calls this is alone."""
        self.tree.mkdir(exist_ok=True)
        (self._dir / "index.lock").unlink(missing_ok=True)
        self._git("read-tree", "--reset", "-u", commit.tree)
        self._git("clean", "-xdffq")

    def _borrow(self, objects: Path) -> None:
        if not (self._dir / "HEAD").is_file():
            run(["git", "init", "--quiet", "--bare", "--template=", self._dir], env=PLAIN)
        known = self._dir / "objects/info/alternates"
        known.parent.mkdir(parents=True, exist_ok=True)
        lines = known.read_text().splitlines() if known.is_file() else []
        if str(objects) not in lines:
            aside = known.with_suffix(".part")
            aside.write_text("".join(f"{line}\n" for line in [*filter(os.path.isdir, lines), objects]))
            aside.rename(known)

    def _of_worktree(self, repo: Repository) -> Commit:
        tree, head = repo.worktree(), repo.commit("HEAD")
        files = {"GIT_INDEX_FILE": str(self.folder / f"index.{os.getpid()}")}
        index = Path(files["GIT_INDEX_FILE"])
        try:
            if state := repo.index():
                shutil.copy2(state, index)
            self._git("add", "--all", tree=tree, env=files)
            found = self._git("write-tree", env=files).strip()
        finally:
            index.unlink(missing_ok=True)
        of_head, describe, subject = repo.describe(head)
        if found == of_head:
            return Commit(head, of_head, describe, subject)
        words = ["commit-tree", found, "-p", head, "-m", f"{subject}, with changes"]
        made = self._git(*words, env=SOMEONE).strip()
        return Commit(made + DIRTY, found, describe + DIRTY, f"{subject}, with changes")

    def _git(self, *words: str, tree: Path | None = None, env: Mapping[str, str] = MappingProxyType({})) -> str:
        where = [f"--git-dir={self._dir}", f"--work-tree={tree or self.tree}"]
        return run(["git", *MOVABLE, *where, *words], cwd=tree or self.folder, env={**PLAIN, **env})


def clone() -> Clone:
    """Return the clone that is kept with what is built."""
    return Clone(folder_for_kbuild("source"))
