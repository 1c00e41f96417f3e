"""A minimal Debian in a folder, in which commands run as on a machine of their own: what they mount or leave is gone with them.

Where its packages come from, it takes from the machine at run time: apt's sources, pip's settings, certificates and proxies.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from study.errors import StudyError
from study.kernels.archive import KEYRING
from study.process import need, run

USER, NUMBER = "newcomer", 1000
# What apt and pip are told of the network, and of who may speak for it.
APT = re.compile(r'Acquire::(?:https?|Check-|Retries|ForceIP).*"')
PIP = ("index-url", "extra-index-url", "trusted-host", "proxy", "retries", "timeout", "default-timeout")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
KEPT = ("var/cache/apt/archives", "var/cache/pip")  # what was fetched
BORROWED = ("etc/resolv.conf", "etc/hosts")
# Entered as a machine's root and not by chroot, in which the kernel refuses user namespaces.
# The shell stays, and all ends with it: a program that becomes another user is no longer told that its parent died.
ENTER = """
mount --bind "$1" "$1" && cd "$1" && mount -t proc proc proc && mount -t sysfs -o ro sysfs sys &&
mkdir -p dev/pts dev/shm && mount -t tmpfs shm dev/shm &&
mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts dev/pts && ln -sf pts/ptmx dev/ptmx && { [ -z "$2" ] || for kept in $4; do mount --bind "$2/$kept" $kept; done; } &&
pivot_root . . && umount -l . && cd "$3" && shift 4 && { "$@"; exit $?; }
"""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Root:
    """A root folder with nothing but what Debian cannot be without.

    Parameters
    ----------
    folder : path
        Where it is made; it must not be there yet.
    suite : str
        Of Debian.
    cache : path, optional
        A folder that keeps Debian's archives and pip's downloads from one root to the next.
    """

    def __init__(self, folder: Path, suite: str, cache: Path | None = None) -> None:
        self.folder, self._cache = folder, cache
        with tempfile.TemporaryDirectory() as scratch:
            told = Path(scratch, "apt.conf")
            told.write_text("".join(f"{line}\n" for line in run(["apt-config", "dump"]).splitlines() if APT.match(line)))
            how = ["--quiet", "--mode=root", "--variant=minbase", f"--aptopt={told}"]
            alone = [need("unshare"), "--mount", "--propagation", "private"]
            run([*alone, need("mmdebstrap"), *how, suite, folder, *sources(suite)])
        for name in BORROWED:
            shutil.copy(f"/{name}", folder / name)
        self.env = {"PATH": PATH, "PIP_CACHE_DIR": "/var/cache/pip", "DEBIAN_FRONTEND": "noninteractive", **network()}
        for name in CERTIFICATES:
            if (file := Path(os.environ.get(name, ""))).is_file():
                shutil.copy(file, folder / f"etc/{name}.pem")
                self.env[name] = f"/etc/{name}.pem"
        for kept in KEPT:
            (folder / kept).mkdir(parents=True, exist_ok=True)
            if cache:
                (cache / kept).mkdir(parents=True, exist_ok=True)

    def run(
        self, command: str, *, place: str = "/", user: str = "root", said: Callable[[str], object] = print, stdin: str = ""
    ) -> int:
        """Run a shell's command in it as a user, pass its lines on as they come, and return its exit status."""
        home = {"HOME": "/root" if user == "root" else f"/home/{user}", "USER": user}
        become = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        argv = [
            need("setpriv"), "--pdeathsig", "KILL", "--",  # nothing goes on in there without us
            need("unshare"), "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
            "sh", "-c", ENTER, "enter", str(self.folder), str(self._cache or ""), place, " ".join(KEPT),
            *become, "sh", "-c", command,
        ]  # fmt: skip
        with subprocess.Popen(
            argv, env=self.env | home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace",
        ) as process:  # fmt: skip
            assert process.stdin and process.stdout
            try:
                process.stdin.write(stdin)
                process.stdin.close()
                for line in process.stdout:
                    said(line.rstrip("\n"))
            except BaseException:
                process.kill()
                process.stdout.read()  # until none of those that ran in there is left
                raise
        return process.returncode


def sources(suite: str) -> list[str]:
    """Return apt's sources for a suite of Debian, from where the machine's own apt has it.

    Raises
    ------
    StudyError
        If it has none.
    """
    if given := os.environ.get("STUDY_APT_SOURCES"):
        return [given]
    known = run(["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]).splitlines()
    lines = [(name, uri) for name, _, uri in (line.partition(" ") for line in known) if name.split("-")[0] == suite]
    if not lines:
        raise StudyError(
            f"the machine's apt knows no suite {suite} of Debian; name a sources.list that has it in STUDY_APT_SOURCES"
        )
    return [f"deb [signed-by={KEYRING}] {uri} {name} main" for name, uri in sorted(lines)]


def network() -> Mapping[str, str]:
    """Return what tells pip and others how to reach the network, as environment."""
    settings = (line.partition("=") for line in run([Path(sys.executable).with_name("pip"), "config", "list"]).splitlines())
    told = {name.rpartition(".")[2]: ast.literal_eval(value).split() for name, _, value in settings}
    known = {name: " ".join(word for word in told.get(name, []) if not word.startswith("file:")) for name in PIP}
    return {
        **{name: os.environ[name] for name in PROXIES if name in os.environ},
        **{f"PIP_{name.upper().replace('-', '_')}": text for name, text in known.items() if text},
    }
