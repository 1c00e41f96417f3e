"""From a frame to values, tables and figures."""

import os

# matplotlib refuses to load with a backend that it does not know, and no figure of ours is shown in a window. A notebook's is Jupyter's.
if not os.environ.get("MPLBACKEND", "").startswith("module:"):
    os.environ.pop("MPLBACKEND", None)

# NumPy asks for huge pages, which the host of a virtual machine may have to find first: to write a large frame then takes three times as
# long. Without them it takes no longer than that anywhere. It reads this when it is imported.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
