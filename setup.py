"""What pyproject.toml cannot say: setuptools builds in a folder of its own, so that pip leaves nothing in the checkout."""

import atexit
import shutil
import tempfile

from setuptools import setup

SCRATCH = tempfile.mkdtemp(prefix="study-build-")
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
setup(options={"build": {"build_base": SCRATCH}, "egg_info": {"egg_base": SCRATCH}})
