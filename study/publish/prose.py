"""What a kernel list takes: plain ASCII in narrow lines."""

from __future__ import annotations

import re
import textwrap

import pandas as pd

from study import paths
from study.analyze import tables
from study.campaign import Campaign
from study.errors import StudyError

WIDTH = 75  # columns that a kernel list is used to
WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+""")  # of a command, with what is quoted in it
LINK = re.compile(r"[A-Z][A-Za-z-]*: \S")  # a link or a tag, such as Suggested-by
LARGEST = 100_000  # bytes that a kernel list accepts


def wrap(text: str, indent: int = 0, hanging: int = 0) -> str:
    """Break a paragraph into lines of at most WIDTH columns; those below the first may hang."""
    first, others = " " * indent, " " * (indent + hanging)
    return textwrap.fill(text, WIDTH - 3, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def check(text: str) -> None:
    """Refuse a letter that a list or git would not take as it is.

    Raises
    ------
    StudyError
        Naming the line.
    """
    for number, line in enumerate(text.splitlines(), 1):
        long = len(line) > WIDTH and len(WORD.findall(line.removesuffix("\\"))) > 1  # a word, such as a path, cannot be broken
        if (long and not LINK.match(line)) or not line.isascii() or line.startswith("#") or line == "---":
            why = f"over {WIDTH} columns, not ASCII, a comment, or what ends a letter"
            raise StudyError(f"line {number} of the letter is no line for a list ({why}): {line!r}")
    if len(text) > LARGEST:
        raise StudyError(f"the letter has {len(text)} bytes, and a list takes {LARGEST}; measure fewer cells, or post a part")


def broken(command: str) -> str:
    """Return a command on lines that are narrow enough for a letter, broken between words, and never within quotes."""
    whole = WORD.sub(lambda word: word[0].replace(" ", "\0"), command)
    lines = textwrap.wrap(whole, WIDTH - 10, break_long_words=False, break_on_hyphens=False)
    return " \\\n        ".join(lines).replace("\0", " ")


def shown_folder(campaign: Campaign) -> str:
    """Return the campaign's folder as a letter names it: from the checkout, if it lies in it."""
    place = campaign.folder.absolute()
    return str(place.relative_to(paths.ROOT) if place.is_relative_to(paths.ROOT) else place)


def with_first_line(rows: pd.DataFrame, table: str) -> str:
    """Return a table of some rows under the line that says what its figures are."""
    return f"{tables.first_line(rows)}\n{table}"
