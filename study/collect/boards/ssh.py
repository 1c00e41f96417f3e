"""An arm64 Linux with KVM that is reached by ssh. Nothing of the study need be on it, and nothing stays.

OpenSSH's own client makes one connection for each boot, so names, keys, jump hosts and known hosts are those of the user's
``~/.ssh/config``. What the board needs goes ahead of the first request: see study/collect/onboard/bootstrap.py.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import py_compile
import shlex
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from types import MappingProxyType

from study import paths
from study.collect.boards.link import Launch
from study.collect.boards.linux import RunningBoard
from study.errors import BadRequest
from study.kernels.image import payload
from study.process import need

# Nobody is asked for anything, no unknown host is trusted, nothing but the line is carried, and a connection that is lost is
# noticed. A connection that the user shares already is used, for it may have taken a second factor.
OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "30",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ClearAllForwardings": "yes",
    "ControlMaster": "no",
    "RemoteCommand": "none",
    "LogLevel": "INFO",
}
# No pseudo-terminal, no agent, no X11.
FLAGS = ["-T", "-a", "-x"]

# What ssh and the board's shell say, and what to do then: the first that is found counts.
PYTHON = "install Python 3.9 or later on the board, or say where it is in STUDY_SSH_PYTHON"
AGAIN = "what was recorded stays: run the same command again to go on"
ADVICE = {
    "has changed and you have requested strict checking": "find out why before you forget the old one: ssh {host} says how",
    "Host key verification failed": "accept its key once by hand with: ssh {host}",
    "Permission denied (": "let a key in without a password: ssh-copy-id {host}",
    "Too many authentication failures": "name the key in ~/.ssh/config: IdentityFile and IdentitiesOnly yes",
    "Could not resolve hostname": "name it in ~/.ssh/config, or by its address",
    "Connection refused": "is it up, and its sshd? Try: ssh {host}",
    "onnection timed out": "is it up, and to be reached from here? Try: ssh {host}",
    "No route to host": "is it up, and to be reached from here? Try: ssh {host}",
    "Network is unreachable": "is this machine on the network? Try: ssh {host}",
    "{python}: command not found": PYTHON,
    "{python}: not found": PYTHON,
    "{python}: No such file": PYTHON,
    "command not found: {python}": PYTHON,
    "password is required": "let sudo run that without one, or log in as root",
    "terminal is required": "let sudo run that without a password, or log in as root",
    "must have a tty": "let sudo run that without a terminal (Defaults !requiretty in sudoers), or log in as root",
    "account is currently not available": "let that user log in with a shell: ssh {host} true",
    "not responding": AGAIN,
    "Connection reset by": AGAIN,
    "Connection closed by": AGAIN,
    "closed by remote host": AGAIN,
    "Broken pipe": AGAIN,
    "nothing was asked for": AGAIN,
}

# The folder is fresh: nobody need compare a compiled module with its source.
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH

# Seconds without a request after which the board takes us for dead: more than a visit may take, which is ten minutes.
SILENCE = 660.0


class SshBoard(RunningBoard):
    """A machine that OpenSSH's client reaches.

    Parameters
    ----------
    host : str
        A name of ``~/.ssh/config``, or ``user@host``.
    python : str
        What runs Python 3.9 or later there, such as ``sudo -n python3``; else $STUDY_SSH_PYTHON, else ``python3``.
    module : path, optional
        A module for its kernel, on this machine; else $STUDY_MODULE. Without one its kernel is measured as it is.
    silence : float
        Seconds without a request after which the board takes the study for dead, and cleans up.

    Raises
    ------
    BadRequest
        If the name is none that ssh could be given.
    """

    def __init__(self, host: str, python: str = "", module: Path | None = None, silence: float = SILENCE) -> None:
        self.name, self._host, self._silence = f"ssh:{host}", host, silence
        if any(part.startswith("-") for part in host.split("@")) or not host.isprintable() or " " in host:
            raise BadRequest(f"board {self.name!r} names no host: give a name of ~/.ssh/config, or user@host")
        self._python = _words(python or os.environ.get("STUDY_SSH_PYTHON") or "python3")
        named = os.environ.get("STUDY_MODULE", "")
        self._module = module or (Path(named).absolute() if named else None)

    def launch(self, console: Path, strategies: tuple[str, ...], kernel: str = "", image: Path | None = None) -> Launch:
        """Pack what runs on the board, and say how to send it there and start it."""
        module = self._read_module()
        archive = pack(module, image, self.guests)
        there = shlex.join([*self._python, "-I", "-c", starting(), str(len(archive)), str(self._silence)])
        names = os.environ.get("STUDY_SSH_CONFIG", "")
        argv = [need("ssh"), *(["-F", str(Path(names).absolute())] if names else []), *FLAGS]
        argv += [word for key, value in OPTIONS.items() for word in ("-o", f"{key}={value}")]
        facts = {"ssh_host": self._host, "module_file_sha256": hashlib.sha256(module).hexdigest() if module else ""}
        named = {"host": shlex.quote(self._host), "python": self._python[-1]}
        advice = {words.format(**named): todo.format(**named) for words, todo in ADVICE.items()}
        return Launch(
            [*argv, "--", self._host, there],
            cwd=console.parent,
            console=console,
            facts=facts,
            preamble=archive,
            advice=advice,
            chatty=True,
        )

    def _read_module(self) -> bytes:
        try:
            return self._module.read_bytes() if self._module else b""
        except OSError as error:
            raise BadRequest(
                f"{self._module}: {error.strerror}; STUDY_MODULE names the file of the module for the board's kernel"
            ) from None


def starting() -> str:
    """Return bootstrap.py as one line for Python: what a login shell of any kind, sh, csh or fish, leaves as it is between quotes."""
    packed = base64.b64encode(zlib.compress((paths.ONBOARD / "bootstrap.py").read_bytes(), 9)).decode()
    return f'import base64, zlib; exec(zlib.decompress(base64.b64decode("{packed}")))'


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise BadRequest(f"STUDY_SSH_PYTHON is {command!r}: {error}") from None


# With Python 3.9, pyperf begins only where something that is installed has a hook for it.
INSTALLED = {
    "study.dist-info/METADATA": "Metadata-Version: 2.1\nName: study\nVersion: 1\n",
    "study.dist-info/entry_points.txt": "[pyperf.hook]\nperf_stat = study.collect.onboard.hook:PerfStat\n",
}


def pack(module: bytes, image: Path | None = None, guests: Mapping[str, Path] = MappingProxyType({})) -> bytes:
    """Return an archive of all that runs on a board: the agent, pyperf, the guest, and module, kernel and real guests if there are any.

    Modules go along compiled, too: a board with the Python of this machine takes them as they are, and another one the sources.
    """
    pyperf = Path(str(distribution("pyperf").locate_file("pyperf")))
    modules = paths.agent() | {f"pyperf/{path.name}": path for path in sorted(pyperf.glob("*.py"))}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, tempfile.TemporaryDirectory() as scratch:
        for name, path in modules.items():
            archive.write(path, name)
            compiled = py_compile.compile(str(path), f"{scratch}/pyc", path.name, True, invalidation_mode=UNCHECKED)
            archive.write(str(compiled), f"{Path(name).parent}/__pycache__/{path.stem}.{sys.implementation.cache_tag}.pyc")
        for place, text in INSTALLED.items():
            archive.writestr(place, text)
        archive.write(payload(), "payload.bin")
        if module:
            archive.writestr("dbgswitch.ko", module)
        if image:
            archive.write(image, "Image")
        for name, folder in guests.items():
            for path in sorted(folder.iterdir()):
                archive.write(path, f"guests/{name}/{path.name}")
    return stream.getvalue()
