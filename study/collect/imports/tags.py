"""Tags: what can be said of results that were measured elsewhere, and who says it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from study.design import CONTROL, MAIN
from study.errors import BadData, BadRequest

UNKNOWN = "unknown"
LONGEST = 100  # characters of a name


@dataclass(frozen=True)
class Tag:
    """Something that can be said of results.

    Parameters
    ----------
    default : str
        What holds if nobody says it.
    pattern : str
        The regular expression that it must match.
    says : str
        What that is in words.
    """

    default: str = UNKNOWN
    pattern: str = ".*"
    says: str = f"a name of 1 to {LONGEST} printable characters"


TAGS = {
    "board": Tag("imported"),
    "kernel": Tag(),
    "mode": Tag(),
    "strategy": Tag(),
    "guest": Tag(),
    "host": Tag(),
    "exit": Tag(),
    "arm": Tag(MAIN, f"{MAIN}|{CONTROL}", f"{MAIN} or {CONTROL}"),
    "boot": Tag(),
    "loops": Tag("1", "[1-9][0-9]{0,17}", "a whole number from 1, of at most 18 digits"),
    "emulated": Tag("no", "yes|no", "yes or no"),
}


def of_words(words: Iterable[str]) -> dict[str, str]:
    """Return tags by name from words like ``board=apu``.

    Raises
    ------
    BadRequest
        If a word is no tag, or a tag is given twice.
    """
    tags: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise BadRequest(f"tag {word[:LONGEST]!r} says nothing: write NAME=VALUE, such as board=apu")
        if name in tags:
            raise BadRequest(f"tag {name[:LONGEST]!r} is given twice, and holds for all files: import the others in another call")
        tags[name] = text
    return tags


def check(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a command line without blanks around them.

    Raises
    ------
    BadRequest
        If there is no such tag, or it cannot be that.
    """
    for name in tags:
        if name not in TAGS:
            raise BadRequest(f"tag {name[:LONGEST]!r} is unknown; choose from {', '.join(TAGS)}")
    try:
        return {name: _checked(name, text) for name, text in tags.items()}
    except BadData as error:
        raise BadRequest(f"tag {error}") from None


def resolve(given: Mapping[str, str], metadata: Mapping[str, Any], file: str, benchmark: str = UNKNOWN) -> dict[str, str]:
    """Return every tag of a visit: as the command line has it, else as the file says, else its default.

    Parameters
    ----------
    given : mapping of str to str
        The command line's, checked.
    metadata : mapping
        pyperf's. A key of a tag's name is that tag; else what pyperf collects by itself says board, kernel and boot.
    file, benchmark : str
        The file's name, which is the strategy without its ending, and the benchmark's, which is what was left for the host.

    Raises
    ------
    BadData
        If what the file says cannot be a tag.
    """
    collected = {
        "board": metadata.get("hostname"),
        "kernel": _release(str(metadata.get("platform", ""))),
        "boot": metadata.get("boot_time"),
        "strategy": PurePath(file.removesuffix(".gz")).stem,
        "exit": benchmark,
    }
    said = {name: str(text) for name, text in collected.items() if text} | {n: str(metadata[n]) for n in TAGS if n in metadata}
    try:
        return {name: _checked(name, given.get(name, said.get(name, tag.default))) for name, tag in TAGS.items()}
    except BadData as error:
        raise BadData(f"{error}, and a tag on the command line can say so") from None


def is_name(text: str) -> bool:
    """Say whether a text can be a name: it is data from outside, which goes into tables, lines and paths."""
    return 0 < len(text) <= LONGEST and text.isprintable()


def _checked(name: str, text: str) -> str:
    text = text.strip()
    if not is_name(text) or not re.fullmatch(TAGS[name].pattern, text):
        raise BadData(f"{name} is {text[:40]!r}: it must be {TAGS[name].says}")
    return text


def _release(platform: str) -> str:
    """Return the kernel's release in what platform.platform() says of a Linux: Linux-RELEASE-MACHINE-with-LIBC."""
    found = re.match(r"Linux-(.+)-[^-]+-with(-|$)", platform)
    return found[1] if found else ""
