"""What is kept where others may write, too."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from study.errors import StudyError
from study.kernels.cache import folder_for_kbuild


def test_a_folder_beside_the_cache_is_private_and_nobody_else_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    assert folder_for_kbuild("source") == tmp_path / "cache/source"
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "a cache"))
    place = folder_for_kbuild("source")
    assert (place.parent, stat.S_IMODE(place.stat().st_mode)) == (tmp_path, 0o700)
    assert folder_for_kbuild("source") == place
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)  # for whom ours are somebody else's
    place.rename(tmp_path / f"study-{me + 1}-source")
    with pytest.raises(StudyError, match="is somebody else's: set STUDY_CACHE to a folder of yours"):
        folder_for_kbuild("source")
