"""Garbage is collected again after the analysis, however that ended, and not if it was not before."""

from __future__ import annotations

import contextlib
import gc

import pytest

from study.analyze.garbage import uncollected


@pytest.mark.parametrize("was", [True, False])
@pytest.mark.parametrize("error", [None, ValueError])
def test_python_collects_again_as_it_did(was: bool, error: type[Exception] | None) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if was else gc.disable)()
        with contextlib.suppress(ValueError), uncollected():
            assert not gc.isenabled()
            if error:
                raise error
        assert gc.isenabled() == was
    finally:
        (gc.enable if before else gc.disable)()
