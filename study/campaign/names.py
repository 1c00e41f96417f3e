"""What boards, kernels and suites are called, made fit for a line, a path and a list that people read."""

from __future__ import annotations

import hashlib
import re

from study.factors import KVM, kind_of

LONGEST = 100  # characters of a name that is shown


def system(board: str, kernel: str) -> str:
    """Return what ran on a board: Linux of some release, or the rig's own image."""
    return f"Linux {kernel}" if kind_of(board) == KVM else kernel


def legible(text: str, most: int = LONGEST) -> str:
    """Return a name as it can be shown anywhere: without control characters and such as turn a line round, and not too long.

    What a board or a pyperf suite calls itself is not ours. A name that had to be changed ends in a digest, so that two of
    them stay two.
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    if shown == text and len(text) <= most:
        return text
    return f"{shown[: most - 10]}..{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def by_number(name: str) -> list[str | int]:
    """Return what sorts names as people do: the tenth after the ninth."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split(r"(\d+)", name))]


def slug(name: str) -> str:
    """Return a name as part of a path: what no file's name should have is a dash."""
    return re.sub(r"[^\w.,@+=-]", "-", name, flags=re.ASCII)
