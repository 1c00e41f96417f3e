"""Run other programs: no shell, and one line when they fail."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from study import factors
from study.errors import MissingTool, StudyError
from study.paths import PACKAGES

# Of git's own variables those that say who commits, and how git and diff are set up. All others lead to a repository, an index or
# objects that are not those of the one that is named, as hooks and rebase --exec set them.
OF_GIT = re.compile(r"GIT_(?!((AUTHOR|COMMITTER|CONFIG)_\w+|DIFF_OPTS|EXEC_PATH)$)\w+")


def environment() -> dict[str, str]:
    """Return what programs find in their environment: ours, without what would lead git to another repository than is named."""
    return {name: value for name, value in os.environ.items() if not OF_GIT.fullmatch(name)}


def need(program: str) -> str:
    """Return the path of `program`.

    Raises
    ------
    MissingTool
        If it is not installed; the message holds the command that installs it.
    """
    found = shutil.which(program)
    if found is None:
        raise MissingTool(program, install(package(program)))
    return found


def install(package: str) -> str:
    """Return the command that installs a package of Debian's on this system, or what it has in its place."""
    path = Path("/", factors.OS_RELEASE)
    return factors.install(package, path.read_text() if path.exists() else "")


def package(program: str) -> str:
    """Return the package of Debian that brings a program: one of the same name, if none is known to."""
    rows = (line.split() for line in PACKAGES.read_text().splitlines() if not line.startswith("#"))
    return {row[0]: row[1] for row in rows if row}.get(program, program)


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    stdin: bytes = b"",
    out: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return what it printed on standard output.

    Parameters
    ----------
    argv : sequence of str or path
        The program and its arguments.
    cwd : path, optional
        Folder to run in.
    stdin : bytes
        What it reads.
    out : path, optional
        File for its standard output, instead of returning it.
    env : mapping of str to str, optional
        What to set in its environment, besides what is there.

    Raises
    ------
    StudyError
        If it exits with anything but 0, with the last lines that it printed.
    """
    program = need(str(argv[0]))
    with open(out, "wb") if out else contextlib.nullcontext(subprocess.PIPE) as stdout:
        done = subprocess.run(
            [program, *map(str, argv[1:])],
            cwd=cwd,
            env={**environment(), "LC_ALL": "C", **(env or {})},
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
    printed = (done.stdout or b"").decode(errors="replace")
    if done.returncode != 0:
        raise _failed(program, done.returncode, done.stderr.decode(errors="replace") or printed)
    return printed


def git(folder: Path, *words: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> str:
    """Run git in the repository that is in a folder, and in no other, and return what it printed; failure as with run()."""
    return run(["git", "-C", folder, *words], env=env)


def follow(
    argv: Sequence[str | os.PathLike[str]],
    hear: Callable[[str], object],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    *,
    together: bool = False,
) -> None:
    """Run a program to its end and pass on each line that it prints, as it is printed; environment and failure as with run().

    With `together` what it says of errors is passed on as well, where it comes.
    """
    program = need(str(argv[0]))
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        subprocess.Popen(
            [program, *map(str, argv[1:])], cwd=cwd, env={**environment(), "LC_ALL": "C", **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT if together else errors, text=True, errors="replace",
        ) as process,
    ):  # fmt: skip
        assert process.stdout
        try:
            for line in process.stdout:
                hear(line.rstrip("\n"))
        except BaseException:
            process.terminate()  # whoever interrupts us need not have told it
            raise
        if status := process.wait():
            errors.seek(0)
            raise _failed(program, status, errors.read())


def _failed(program: str, status: int, words: str) -> StudyError:
    last = " | ".join(words.strip().splitlines()[-3:])
    return StudyError(f"{Path(program).name} failed with exit status {status}: {last}")
