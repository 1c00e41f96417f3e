"""Read TOML of users: whatever it holds, what is wrong with it is one line."""

from __future__ import annotations

import tomllib
from typing import Any

from study.errors import BadData


def load(text: str | bytes) -> dict[str, Any]:
    """Read TOML, not deeper than can be read.

    Raises
    ------
    BadData
        If it is none.
    """
    try:
        return tomllib.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        raise BadData(f"it is not TOML: {' '.join(str(error).split())}") from None
