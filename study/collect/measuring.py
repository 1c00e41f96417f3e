"""Which code of the study decides what a figure is, and a digest of it.

Data are of the kit that ships them while the digests are the same. Words for people do not count: comments, docstrings, and text with
a blank in it, as messages have.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from study import paths
from study.factors import GUESTS, KVM, RIG
from study.kernels.cache import digest

BOARDS = paths.STUDY / "collect" / "boards"
# Of each kind of design: where it begins on the board, whose imports there count too; and what else there is.
BEGINS = {KVM: "visit.py", GUESTS: "life.py"}
MORE = {
    KVM: (paths.ONBOARD / "payload.S", paths.MODULE, BOARDS / "emulated.py", paths.STUDY / "collect" / "perfstat.py"),
    GUESTS: (paths.MODULE, BOARDS / "emulated.py", paths.STUDY / "kernels" / "guests.py"),
    RIG: (paths.RIG, BOARDS / "rig.py", paths.STUDY / "factors.py"),
}
COMMENT_OF_C = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


@functools.cache
def digests() -> dict[str, str]:
    """Return of each kind of design the digest of the code that decides what its figures are: 16 hexadecimal digits."""
    return {
        kind: digest(*chain(*((str(path.relative_to(paths.STUDY)), code(path)) for path in files(kind))))[:16] for kind in MORE
    }


def files(kind: str) -> list[Path]:
    """Return the files of that code."""
    first = [paths.ONBOARD / BEGINS[kind]] if kind in BEGINS else []
    return sorted({*_reached(first), *chain(*map(_below, MORE[kind]))})


def _below(place: Path) -> Iterable[Path]:
    return (
        [place] if place.is_file() else (path for path in place.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    )


def _reached(first: Iterable[Path]) -> set[Path]:
    """Return files, and what they import of what runs on a board."""
    found, new = set[Path](), set(first)
    while new:
        found |= new
        new = {path for file in new for path in _imports(file)} - found
    return found


def _imports(file: Path) -> Iterator[Path]:
    on_board = set(paths.agent().values())
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module or ''}.{alias.name}" for alias in node.names)]
            above = file.parent if node.level else paths.ROOT
            yield from {above.joinpath(*name.strip(".").split(".")).with_suffix(".py") for name in names} & on_board


def code(path: Path) -> str:
    """Return what of a source counts, its words parted by single blanks."""
    text = path.read_text(encoding="utf-8")
    return " ".join((python(text) if path.suffix == ".py" else COMMENT_OF_C.sub(" ", text)).split())


def python(text: str) -> str:
    """Return Python without what is for people: comments, docstrings, and strings with a blank in them, which become empty ones. Pure.

    It works on the text, for what is made of the tree differs from one Python to the next.
    """
    lines = text.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    spans = [(starts[a - 1] + b, starts[c - 1] + d, b'""') for a, b, c, d in _for_people(ast.parse(text))]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            at = starts[row - 1] + len(token.line[:column].encode())
            spans.append((at, at + len(token.string.encode()), b""))
    left = text.encode()
    for first, last, instead in sorted(spans, reverse=True):
        left = left[:first] + instead + left[last:]
    return left.decode()


def _for_people(node: ast.AST) -> Iterator[tuple[int, int, int, int]]:
    """Yield where strings for people begin and end: rows from 1, columns in bytes."""
    if isinstance(node, (ast.Constant, ast.JoinedStr)):
        parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if any(" " in part for part in parts):
            assert node.end_lineno is not None and node.end_col_offset is not None
            yield node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
    else:
        for child in ast.iter_child_nodes(node):
            yield from _for_people(child)
