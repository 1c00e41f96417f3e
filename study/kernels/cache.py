"""What is made once and kept, by the digest of what went in."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from study import paths
from study.errors import StudyError
from study.terminal import progress


def digest(*parts: str | bytes) -> str:
    """Return the SHA-256 of `parts`, each with its length, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, as sha256sum prints it."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def tree_digest(folder: Path) -> str:
    """Return the digest of all sources below `folder`: names and contents, caches left out."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return digest(*(part for p in files for part in (str(p.relative_to(folder)), p.read_bytes())))


def agent_digest() -> str:
    """Return the digest of what of the study runs on a Linux board, with the guest's source."""
    files = {**paths.agent(), "payload.S": paths.ONBOARD / "payload.S"}
    return digest(*(part for name, path in files.items() for part in (name, path.read_bytes())))


def kept(kind: str, recipe: str) -> Path:
    """Return where what cached() makes for a recipe is, or would be."""
    return paths.cache() / f"{kind}-{recipe[:16]}"


def folder_for_kbuild(name: str) -> Path:
    """Return a folder of the cache that kbuild can work in: it takes paths apart at blanks and colons."""
    if not re.search(r"[\s:]", str(folder := paths.cache() / name)):
        return folder
    place = Path(tempfile.gettempdir(), f"study-{os.getuid()}-{name}")
    place.mkdir(mode=0o700, exist_ok=True)
    if place.lstat().st_uid != os.getuid():  # in a folder of everyone's, anyone may have made it first
        raise StudyError(f"{place} is somebody else's: set STUDY_CACHE to a folder of yours whose path has no blank and no colon")
    return place


@contextlib.contextmanager
def alone(lock: Path, waits: str = "") -> Iterator[None]:
    """Be the only one that holds a lock: others wait, and say so if they have words for it."""
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waits:
                progress.say(waits)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cached(kind: str, recipe: str, build: Callable[[Path], None]) -> Path:
    """Return the folder that `build` made for this `recipe`, building it only if it is not there yet.

    The folder appears whole or not at all: it is built under another name and renamed. Everyone may read it: it becomes part of
    images in which others than root run.
    """
    place = kept(kind, recipe)
    if place.is_dir():
        return place
    paths.cache().mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{kind}-", suffix=".part", dir=paths.cache()))
    mask = os.umask(0o022)
    try:
        build(aside)
        aside.chmod(0o755)
        try:
            aside.rename(place)
        except OSError:  # another process was faster, and its folder is the same by construction
            if not place.is_dir():
                raise
    finally:
        os.umask(mask)
        shutil.rmtree(aside, ignore_errors=True)
    return place
