"""Processors that this one can pretend to be: what numpy and OpenBLAS choose by the processor is chosen for them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

# Two kinds of OpenBLAS kernels that every processor of an architecture runs, or nearly so.
CORES = {"x86_64": ("Nehalem", "Sandybridge"), "aarch64": ("ARMV8", "CORTEXA57")}[platform.machine()]
# What numpy would use here beyond what every processor of the architecture has.
FEATURES = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
PLAIN = {"NPY_DISABLE_CPU_FEATURES": " ".join(FEATURES), "OPENBLAS_CORETYPE": CORES[0], "OPENBLAS_NUM_THREADS": "1"}
OTHER = {"NPY_DISABLE_CPU_FEATURES": "", "OPENBLAS_CORETYPE": CORES[1], "OPENBLAS_NUM_THREADS": "2"}

LOOK = """
import ctypes, json, pathlib, numpy
from numpy._core._multiarray_umath import __cpu_dispatch__ as known, __cpu_features__ as has
(library,) = pathlib.Path(numpy.__file__).parent.with_name("numpy.libs").glob("libscipy_openblas64_*")
blas = ctypes.CDLL(str(library))
blas.scipy_openblas_get_corename64_.restype = ctypes.c_char_p
threads = blas.scipy_openblas_get_num_threads64_()
print(json.dumps([[name for name in known if has[name]], blas.scipy_openblas_get_corename64_().decode(), threads]))
"""


def looks_like(environment: dict[str, str]) -> tuple[list[str], str, int]:
    """Return what numpy uses in an environment: features, kind of OpenBLAS kernels, threads."""
    argv = [sys.executable, "-W", "ignore", "-c", LOOK]
    done = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    features, core, threads = json.loads(done.stdout)
    return features, core, threads
