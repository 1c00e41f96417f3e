"""Where things lie: the one place that knows the layout of the checkout."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
NOTEBOOKS = ROOT / "notebooks"
PAPER = ROOT / "paper"
TEMPLATES = PAPER / "templates"

COLLECT = ROOT / "study" / "collect"
ONBOARD = COLLECT / "onboard"
MODULE = COLLECT / "module"
RIG = COLLECT / "rig"


def cache() -> Path:
    """Return the folder of what is built once and kept: $STUDY_CACHE, else .cache in the checkout."""
    return Path(os.environ.get("STUDY_CACHE", ROOT / ".cache")).absolute()
