"""From a frame to values, tables and figures."""

import os

# matplotlib refuses to load with a backend that it does not know, and no figure of ours is shown in a window. A notebook's is Jupyter's.
if not os.environ.get("MPLBACKEND", "").startswith("module:"):
    os.environ.pop("MPLBACKEND", None)
