"""What Python is given on its command line, on a board that has nothing of the study yet: unpack the rest, carry the line.

    python3 -I -c '(this text)' SIZE SILENCE

Standard input begins with SIZE bytes of archive (zip), which is unpacked into a fresh folder; what follows is for the agent
in it. What happens then, and SILENCE, is told in carrier.py. When this process ends, the folder is gone.

Any Python 3 must be able to read this, or it could not say that the board's is too old.
"""

import importlib
import io
import json
import os
import platform
import signal
import sys
import tempfile
import types
import typing
import zipfile

PYTHON = (3, 9)
MACHINE = ("Linux", "aarch64")


def refuse(why: str) -> typing.NoReturn:
    """Answer the first request, which is still to come, with an error, and end."""
    print(json.dumps({"id": 1, "error": why}))
    sys.exit(1)


def received(size: int) -> bytes:
    """Return so many bytes of standard input, and take not one more."""
    data = bytearray()
    while len(data) < size:
        more = os.read(0, size - len(data))
        if not more:
            sys.exit(1)
        data += more
    return bytes(data)


def unpacked(archive: bytes) -> "tempfile.TemporaryDirectory[str]":
    """Unpack an archive into a fresh folder, which is removed with what is returned, or by a normal exit."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="study-")
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            packed.extractall(folder.name)
        return folder
    except OSError as error:
        refuse("what the study needs there cannot be unpacked: %s; TMPDIR names another folder than /tmp" % error)


def hang_up(number: int, frame: typing.Optional[types.FrameType]) -> None:
    """Exit normally, and let nothing interrupt that."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main(size: int, silence: float) -> None:
    """Check the board, unpack, carry."""
    print()  # ends a line that a login shell has begun
    sys.stdout.flush()
    if sys.version_info < PYTHON:
        known = (sys.executable, *sys.version_info[:2], *PYTHON)
        refuse("%s there is Python %d.%d, the study needs %d.%d or later: name another in STUDY_SSH_PYTHON" % known)
    if (platform.system(), platform.machine()) != MACHINE:
        refuse("that machine is %s on %s, not an arm64 Linux with KVM" % (platform.system(), platform.machine()))
    archive = received(size)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, hang_up)
    with unpacked(archive) as folder:
        sys.path.insert(0, folder)
        importlib.import_module("study.collect.onboard.carrier").carry(folder, silence)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
