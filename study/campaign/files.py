"""Files that neither a crash nor a full disk nor a second command can spoil: whole or not at all, one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from study.errors import Busy

ASIDE, LOCK = ".part", ".lock"


def write_whole(path: Path, text: str | bytes, *, new: bool = False) -> None:
    """Write a file aside, sync it and put it in place, so that it is there whole or not at all.

    Raises
    ------
    FileExistsError
        If it must be new, and is not.
    """
    file, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=ASIDE)
    aside = Path(name)
    try:
        with _open(file):
            _write(file, text.encode() if isinstance(text, str) else text, path)
        aside.chmod(0o644)
        if new:
            os.link(aside, path)
        else:
            aside.replace(path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def append(path: Path, text: str, *, synced: bool = True) -> None:
    """Append to a file, and sync it if asked. If only a part can be written, such as on a full disk, the file stays what it was.

    What an interruption finds written to its end stays: somebody may have read it already.
    """
    is_new, data = not path.exists(), text.encode()
    with _open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)) as file:
        size = os.fstat(file).st_size
        try:
            _write(file, data, path, synced=synced)
        except BaseException as error:
            if isinstance(error, OSError) or os.fstat(file).st_size < size + len(data):
                os.ftruncate(file, size)
            raise
    if is_new:
        sync_folder(path.parent)


def _write(file: int, data: bytes, path: Path, *, synced: bool = True) -> None:
    """Write all of it and sync the file, or say which file cannot be written: the system does not."""
    try:
        while data:
            data = data[os.write(file, data) :]
        if synced:
            os.fsync(file)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def _open(file: int) -> Iterator[int]:
    """Close a file at the end."""
    try:
        yield file
    finally:
        os.close(file)


def cut_torn_line(path: Path) -> bool:
    """Cut off a last line that was not written to its end, as a crash leaves it. Return whether there was one."""
    if not path.exists():
        return False
    data = path.read_bytes()
    if data.endswith(b"\n") or not data:
        return False
    with open(path, "r+b") as file:
        file.truncate(data.rfind(b"\n") + 1)
        os.fsync(file.fileno())
    return True


def sync(path: Path) -> None:
    """Sync a file: all that was appended to it."""
    with _open(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as file:
        _write(file, b"", path)


def sync_folder(path: Path) -> None:
    """Sync a folder: the names in it, which fsync of a file leaves out."""
    with _open(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as folder:
        os.fsync(folder)


@contextlib.contextmanager
def in_use(folder: Path, *, alone: bool) -> Iterator[None]:
    """Use a folder with others who do, or alone. What holds it is the process: nothing stays of one that was killed.

    Raises
    ------
    Busy
        If it is in use, or alone by another.
    """
    with _open(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{folder}: another command is at work in it: wait for its end, or end it") from None
        yield


@contextlib.contextmanager
def only_writer(path: Path, what: str) -> Iterator[None]:
    """Be the only process that holds a lock. It dies with its owner: what a killed one leaves of its file is in nobody's way.

    Parameters
    ----------
    path : path
        The lock's file; it is there while the lock is held.
    what : str
        What the owner does, for the one that is refused.

    Raises
    ------
    Busy
        If another process has it; the message names that process.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):  # else its last owner has just removed it
                    break
        except BlockingIOError:
            owner = os.read(file, 20).decode(errors="replace").strip()
            os.close(file)
            raise Busy(
                f"{path.parent}: another command{f' (process {owner})' * owner.isdecimal()} {what}: wait for its end, or end it"
            ) from None
        os.close(file)
    try:
        os.ftruncate(file, 0)
        _write(file, f"{os.getpid()}\n".encode(), path)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)
