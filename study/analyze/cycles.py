"""When Python looks for cycles of objects: not while many objects are made that have none."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def unsought() -> Iterator[None]:
    """Let Python look for cycles later: else it looks through all that was imported whenever many objects were made."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
