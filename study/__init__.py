"""A reproducible study of what each way of switching the debug registers costs at guest entry and exit on ARM.

In a notebook, ``study.load("data/reference")`` is what a campaign measured, and ``study.compare(a, b)`` what moved from one to
another: docs/api.md. They are imported when they are asked for, since this file goes along to boards.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"
__all__ = ["compare", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'study' has no attribute {name!r}")
    return getattr(importlib.import_module("study.analyze.loaded"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
