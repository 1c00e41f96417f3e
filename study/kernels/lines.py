"""A patch series that is kept as the lines that it adds, and named places: made into commits on top of the kernel's source.

So nothing of the kernel's own is kept, but for the lines that are the names of places. A file of such a series is TOML:

    linux = "7.3"                       # the series of kernels whose source it is for
    [design]                            # what is measured of it, where that is not said otherwise; may be left out
    guests = "untouched,mde"            # or hosts, or exits: as for study series
    [[patch]]                           # one for each commit
    message = "subject, and a text"
    [[patch.insert]]
    file = "arch/arm64/kvm/debug.c"
    within = "kvm_vcpu_load_debug"      # a function; the whole file if there is none
    before = "a line that is there"     # or after = ...; once in that place, blanks aside
    text = "the lines that are added"
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from study import toml
from study.errors import BadData, BadRequest
from study.kernels import linux
from study.kernels.repository import PLAIN, SOMEONE
from study.process import git, run

DESIGN = ("guests", "hosts", "exits")  # what a series may ask for


@dataclass(frozen=True)
class Insertion:
    """Lines that are added.

    Parameters
    ----------
    file : str
        Where, from the top of the source.
    text : str
        The lines, each with its end.
    before, after : str
        A line of the file: one of the two. Blanks at its ends, and how many are between two words, do not count.
    within : str
        The function that has that line; the whole file if empty.

    Raises
    ------
    BadRequest
        If it is none.
    """

    file: str
    text: str
    before: str = ""
    after: str = ""
    within: str = ""

    def __post_init__(self) -> None:
        parts = Path(self.file).parts
        if not parts or Path(self.file).is_absolute() or ".." in parts:
            raise BadRequest(f"{self.file!r} is no file of the kernel's source")
        if bool(self.before) == bool(self.after):
            raise BadRequest(f"{self.file}: lines are added before or after one that is there: name one of the two")
        if not self.text.endswith("\n"):
            raise BadRequest(
                f"{self.file}: what is added {'before ' + self.before if self.before else 'after ' + self.after} is no whole line"
            )

    def into(self, text: str) -> str:
        """Return the text of the file with these lines.

        Raises
        ------
        BadRequest
            If the place is not there, or there more than once.
        """
        lines = text.splitlines(keepends=True)
        first, last = self._function(lines) if self.within else (0, len(lines))
        named = _words(self.before or self.after)
        places = [number for number in range(first, last) if _words(lines[number]) == named]
        if len(places) != 1:
            where = f"{self.file}, {self.within}()" if self.within else self.file
            raise BadRequest(
                f"{where}: {self.before or self.after!r} is there {len(places)} times, and must be once: it is another kernel"
            )
        at = places[0] + bool(self.after)
        return "".join([*lines[:at], self.text, *lines[at:]])

    def _function(self, lines: list[str]) -> tuple[int, int]:
        """Return the first line of the body of a function, and the one behind its last."""
        named = re.compile(rf"[A-Za-z].*\b{re.escape(self.within)}\((?!.*;\s*$)")
        for number, line in enumerate(lines):
            if named.match(line):
                opens = next((n for n in range(number, len(lines)) if lines[n].rstrip().endswith(("{", ";"))), None)
                if opens is not None and lines[opens].startswith("{"):
                    closes = next((n for n in range(opens, len(lines)) if lines[n].startswith("}")), len(lines))
                    return opens + 1, closes
        raise BadRequest(f"{self.file} has no function {self.within}: it is another kernel")


def _words(line: str) -> str:
    return " ".join(line.split())


@dataclass(frozen=True)
class Patch:
    """A commit: its message, and what it adds."""

    message: str
    insertions: tuple[Insertion, ...]


@dataclass(frozen=True)
class Series:
    """What a file holds.

    Parameters
    ----------
    linux : str
        Of which kernels' source it is.
    patches : tuple of Patch
        One for each commit.
    design : mapping of str to str
        What it says of what is to be measured: options of ``study series`` by name, of DESIGN.
    """

    linux: str
    patches: tuple[Patch, ...]
    design: Mapping[str, str]


def read(file: Path) -> Series:
    """Return the series that a file holds.

    Raises
    ------
    BadRequest
        If the file holds no such series: the line says what is wrong.
    """
    try:
        known = toml.load(file.read_bytes())
        patches = tuple(_patch(row) for row in _tables(known, "patch"))
        if not isinstance(known["linux"], str) or not patches:
            raise TypeError("linux is no text, or there is no patch")
        return Series(known["linux"], patches, _design(known.get("design", {})))
    except (OSError, BadData, TypeError, AttributeError, KeyError) as error:
        why = error.strerror if isinstance(error, OSError) else f"it has no {error}" if isinstance(error, KeyError) else error
        raise BadRequest(f"{file} is no series of lines: {why}; docs/kernels.md says what one is") from None
    except BadRequest as error:
        raise BadRequest(f"{file}: {error}") from None


def _tables(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = row[name]
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise TypeError(f"{name} is no list of tables")
    return found


def _design(table: Any) -> dict[str, str]:
    if not isinstance(table, dict):
        raise TypeError("design is no table")
    if wrong := [name for name, value in table.items() if name not in DESIGN or not isinstance(value, str)]:
        raise TypeError(f"{wrong[0]} = {table[wrong[0]]!r} is no part of a design; it has {', '.join(DESIGN)}, as text")
    return table


def _patch(row: dict[str, Any]) -> Patch:
    parts = {field.name for field in fields(Insertion)}
    for words in _tables(row, "insert"):
        if wrong := [name for name, value in words.items() if name not in parts or not isinstance(value, str)]:
            raise TypeError(f"{wrong[0]} = {words[wrong[0]]!r} is no part of an insertion; it has {', '.join(sorted(parts))}")
    message, insertions = row["message"].strip(), tuple(Insertion(**words) for words in row["insert"])
    if not message or not insertions:
        raise TypeError("a patch has no message, or adds nothing")
    return Patch(message, insertions)


def commit(file: Path, folder: Path) -> Series:
    """Make a git repository of the kernel's source, with a commit for each patch of a series on linux.BRANCH, from linux.BASE on.

    What is at `folder` is made anew if it was made so before; all commits of one file on one source have the same names.

    Returns
    -------
    Series
        That the file holds.

    Raises
    ------
    BadRequest
        If the file holds no series, one that does not fit that source, or there is something else at `folder`.
    """
    series = read(file)
    made = folder / ".git" / "study-lines"
    if folder.exists() and not made.exists():
        raise BadRequest(f"{folder} is there already, and was not made of such a series: name another folder")
    shutil.rmtree(folder, ignore_errors=True)
    run(["git", "clone", "--quiet", "--no-checkout", linux.repository(series.linux), folder], env=PLAIN)
    made.touch()
    files = sorted({insertion.file for patch in series.patches for insertion in patch.insertions})
    git(folder, "sparse-checkout", "set", "--no-cone", *(f"/{name}" for name in files), env=PLAIN)
    git(folder, "checkout", "--quiet", linux.BRANCH, env=PLAIN)
    for patch in series.patches:
        for insertion in patch.insertions:
            place = folder / insertion.file
            if not place.is_file():
                raise BadRequest(f"{file}: Linux {series.linux} has no {insertion.file}")
            place.write_text(insertion.into(place.read_text(encoding="utf-8")), encoding="utf-8")
        git(folder, "commit", "--quiet", "--all", "--message", patch.message, env={**PLAIN, **SOMEONE})
    return series
