"""Where things lie: the one place that knows the layout of the checkout."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
NOTEBOOKS = ROOT / "notebooks"
PAPER = ROOT / "paper"
TEMPLATES = PAPER / "templates"

STUDY = ROOT / "study"
ONBOARD = STUDY / "collect" / "onboard"
RIG = STUDY / "collect" / "rig"
MODULE, LOOPS = (STUDY / "kernels" / name for name in ("dbgswitch", "dbgprice"))  # kernel modules
PACKAGES = ROOT / "packages.txt"


def agent() -> dict[str, Path]:
    """Return what of the study runs on a Linux board: each file, by its place below a folder of packages there."""
    files = [STUDY / "__init__.py", STUDY / "factors.py", ONBOARD.parent / "__init__.py", *sorted(ONBOARD.glob("*.py"))]
    return {str(path.relative_to(ROOT)): path for path in files}


def cache() -> Path:
    """Return the folder of what is built once and kept: $STUDY_CACHE, else .cache in the checkout."""
    return Path(os.environ.get("STUDY_CACHE", ROOT / ".cache")).absolute()
