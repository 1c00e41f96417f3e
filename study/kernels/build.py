"""Build a commit: a small configuration for emulated boards, and out-of-tree builds that go on from the last one.

What is built is kept by the digest of its tree, its configuration and its compiler; a second run builds nothing. The builds of one
configuration share a folder, so that a commit takes what it changes. This runs the Makefiles of the commit, as the user does.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from study import paths
from study.errors import BadRequest, StudyError
from study.kernels import needs
from study.kernels.cache import alone, cached, digest, digest_of
from study.kernels.module import cross
from study.kernels.repository import Clone, Commit
from study.process import follow, need, run
from study.terminal import progress

FRAGMENT = paths.STUDY / "kernels" / "own.config"
IMAGE = Path("arch/arm64/boot/Image")
# How many files a first build makes, about; a later one as many as the last. It is only for the estimate.
FIRST = 1500
# The same tree gives the same build, whoever builds it and when; and no word of the user's environment changes it.
FIXED = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan 1 00:00:00 UTC 1970", "KBUILD_BUILD_USER": "study", "KBUILD_BUILD_HOST": "study",
    "KBUILD_BUILD_VERSION": "1", "LOCALVERSION": "", "KCFLAGS": "", "KAFLAGS": "", "KBUILD_OUTPUT": "", "MAKEFLAGS": "", "MFLAGS": "",
}  # fmt: skip
# Programs that the tree's Makefiles call, and a header that they include: see packages.txt.
TOOLS = ["make", "flex", "bison", "bc", "gcc"]
# How a compiler, a linker, kbuild and make begin the line that says what is wrong.
WRONG = re.compile(
    r"(?:\S+:(?:\d+:)* )?(?:fatal )?error: .+|.*undefined reference to .+|.*No such file or directory|make.*: \*\*\* .+"
)
FULL, LEAST = "No space left on device", 1 << 20  # how the disk is said to be full, and the bytes below which it is
STEP = re.compile(r"  [A-Z][A-Z0-9_]+ ")  # kbuild's line for a file

# What is built depends on how: on this file.
RECIPE = Path(__file__).read_bytes()


class NotBuilt(StudyError):
    """A commit does not build, or not into what can be measured: a series goes on without it, and a bisection skips it."""


@dataclass(frozen=True)
class Compiler:
    """What builds, as the user chose it: make's variables for it, and what it says of itself."""

    variables: tuple[str, ...]
    says: str

    @classmethod
    def chosen(cls) -> Compiler:
        """Return the compiler that STUDY_LLVM and STUDY_CC name; else the cross compiler, on arm64 the machine's own.

        They are what LLVM= and CC= are to the kernel's make.
        """
        llvm, cc = os.environ.get("STUDY_LLVM", ""), os.environ.get("STUDY_CC", "")
        prefix = "" if platform.machine() == "aarch64" else "aarch64-linux-gnu-"
        variables = ["ARCH=arm64", f"CROSS_COMPILE={prefix}"]
        variables += [f"LLVM={llvm}"] * bool(llvm) + [f"CC={cc}"] * bool(cc)
        named = cc or (
            f"{llvm if llvm.endswith('/') else ''}clang{llvm if llvm.startswith('-') else ''}" if llvm else cross("gcc")
        )
        return cls(tuple(variables), run([*named.split(), "--version"]).splitlines()[0])


def kernel(clone: Clone, name: str) -> Path:
    """Build a commit, unless it was.

    Parameters
    ----------
    clone : Clone
        Where the commit is.
    name : str
        Of a commit that was taken.

    Returns
    -------
    path
        A folder with ``vmlinuz``, ``config`` and ``versions.json``: ``release``, ``packages`` (none), and ``source``: digest of the
        configuration, compiler, build ID.

    Raises
    ------
    NotBuilt
        If it does not build; the message has the first error, and where the log is.
    """
    commit, fragment, compiler = clone.commit(name), _fragment(), Compiler.chosen()
    of_all = digest(fragment, *compiler.variables, compiler.says)

    def build(place: Path) -> None:
        for tool in TOOLS:
            need(tool)
        with alone(clone.folder / "lock", "another command builds a kernel: waiting for it"), _room(clone.folder):
            _build(clone, commit, clone.folder / f"build-{of_all[:16]}", fragment, compiler, place)

    return cached("built", digest(RECIPE, commit.tree, of_all), build)


def _fragment() -> str:
    """Return what is asked for on top of tinyconfig: ours, and what the file in STUDY_KCONFIG has."""
    named = os.environ.get("STUDY_KCONFIG", "")
    try:
        return FRAGMENT.read_text() + (Path(named).read_text() if named else "")
    except OSError as error:
        raise BadRequest(
            f"{named}: {error.strerror}; KCONFIG= names a file with options for the kernels that are built"
        ) from None


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Say of what failed for want of room that it did: not everything that fails so says why."""
    try:
        yield
    except (StudyError, OSError) as error:
        if FULL not in str(error) and shutil.disk_usage(folder).free > LEAST:
            raise
        raise StudyError(
            f"the disk is full: {folder} takes about 3 GB for the source and what is built; make room, and run it again"
        ) from None


def _build(clone: Clone, commit: Commit, out: Path, fragment: str, compiler: Compiler, place: Path) -> None:
    """Configure and build a commit, and put what a board needs of it in its place."""
    out.mkdir(exist_ok=True)
    if not clone.tree.is_dir():
        progress.say("checking out the kernel's source (once, about a minute)")
    clone.switch(commit)
    log = clone.folder / f"log-{commit.name[:12]}.txt"
    log.unlink(missing_ok=True)
    make = Make(commit, clone.tree, out, compiler, log)
    make("tinyconfig")
    with open(out / ".config", "a") as config:
        config.write(fragment)
    make("olddefconfig")
    text = (out / ".config").read_text()
    if lacking := needs.lacks(f"commit {commit}", text):
        raise NotBuilt(lacking)
    make("Image", counted=out / "steps")
    needs.check(f"commit {commit}", (out / IMAGE).read_bytes(), text)
    shutil.copy(out / IMAGE, place / "vmlinuz")
    (place / "config").write_text(text)
    found = re.search(r"Build ID: ([0-9a-f]+)", run([cross("readelf"), "-n", out / "vmlinux"]))
    if not found:
        raise NotBuilt(f"commit {commit}: its vmlinux has no build ID, by which a boot of it would be known")
    release = (out / "include/config/kernel.release").read_text().strip()
    about = {"config_sha256": digest_of(place / "config"), "compiler": compiler.says, "build_ids": [found[1]]}
    (place / "versions.json").write_text(json.dumps({"release": release, "packages": {}, "source": about}, indent=1))
    log.unlink()


@dataclass(frozen=True)
class Make:
    """The kernel's make, for one commit: it says how far it is, and what went wrong first."""

    commit: Commit
    tree: Path
    out: Path
    compiler: Compiler
    log: Path

    def __call__(self, target: str, counted: Path | None = None) -> None:
        """Make a target.

        Parameters
        ----------
        target : str
            Such as ``Image``.
        counted : path, optional
            Where it is kept how many files the last build made; progress is shown then.

        Raises
        ------
        NotBuilt
            If it fails.
        """
        # If we are killed, it is told to end, and leaves no half of a file.
        words = ["setpriv", "--pdeathsig", "TERM", "--", "make", "-C", str(self.tree), f"O={self.out}", f"-j{os.cpu_count()}"]
        known = int(counted.read_text()) if counted and counted.is_file() else FIRST
        with (
            open(self.log, "a") as log,
            progress.bar(f"building {self.commit.name[:12]}", known, "files", aside=not counted) as shown,
        ):
            made = 0

            def hear(line: str) -> None:
                nonlocal made
                log.write(line + "\n")
                if STEP.match(line):
                    made += 1
                    shown.total = max(shown.total, made + 1)
                    shown.update()

            try:
                follow([*words, *self.compiler.variables, target], hear, env=FIXED, together=True)
            except StudyError:
                log.flush()
                raise self._wrong() from None
            shown.total = made
            shown.refresh()
        if counted:
            counted.write_text(str(made))

    def _wrong(self) -> StudyError:
        """Return what went wrong first, in a line."""
        lines = self.log.read_text(errors="replace").splitlines()
        first = next(
            (line.strip() for line in lines if FULL in line or WRONG.match(line)), lines[-1] if lines else "nothing was said"
        )
        return NotBuilt(f"commit {self.commit} does not build: {first.replace(f'{self.tree}/', '')} (all of it: {self.log})")
