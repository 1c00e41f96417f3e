"""From a frame to values, tables and figures."""

import os
from pathlib import Path

# matplotlib refuses to load with a backend that it does not know, and no figure of ours is shown in a window. A notebook's is Jupyter's.
if not os.environ.get("MPLBACKEND", "").startswith("module:"):
    os.environ.pop("MPLBACKEND", None)
# Nor does it load with a matplotlibrc that it cannot read; what a figure looks like says a style.
os.environ["MATPLOTLIBRC"] = str(Path(__file__).parent / "figures" / "style.mplstyle")

# NumPy asks for huge pages, which the host of a virtual machine may have to find first: a large frame took three times as long then. It
# reads this when it is imported.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
