"""A board that is reached over the network: an emulated one that runs Debian's sshd, and the keys and names to reach it."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from study.collect.boards.emulated import EmulatedBoard
from study.errors import StudyError
from study.kernels import archive, cache, image, module
from study.process import run
from tests.conftest import own_address

BOARD = "qemu-neoverse-n1"
NETWORK = ["failover", "net_failover", "virtio_net"]  # modules, in the order in which they are loaded
# Without an ITS, whose tables a kernel that is followed by another leaves in memory, where only UEFI would reserve them.
MACHINE = "virt,virtualization=on,gic-version=3,its=off"
# Words for its kernel: system calls and fresh pages take it less. What a round trip in the kernel takes stays.
QUICK = "kpti=off init_on_alloc=0"
# Programs of Debian's, and where that which they load is, of all that their packages depend on.
PROGRAMS = {"openssh-server": "usr/sbin/sshd", "kexec-tools": "sbin/kexec"}
LIBRARIES = ["lib", "lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"]
# Words for the kernel of a board that goes from one into another: what it was booted with stays, for the next one.
KEPT, INITRD = "retain_initrd", "/sys/firmware/initrd"

# The emulated board runs this instead of the agent. Who reads what it says knows when it can be reached.
START = f"""#!/bin/busybox sh
for module in {" ".join(NETWORK)}; do insmod /lib/board/$(uname -r)/$module.ko; done
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
mkdir -p /run/sshd
/usr/sbin/sshd -D -e -f /etc/sshd_config >/dev/console 2>&1 &
while ! netstat -lnt | grep -q :22; do sleep 0.1; done
echo ready
exec cat
"""
SETTINGS = """
HostKey /etc/host_key
AuthorizedKeysFile /etc/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
USERS = "root:*:0:0::/root:/bin/sh\nsshd:*:100:65534::/run/sshd:/bin/false\n"

# Names for OpenSSH's client: the board, and what can go wrong on the way to it.
NAMES = """
Host lab stranger unknown changed
  HostName {address}
  Port {port}
Host shut
  HostName {address}
  Port {shut}
Host missing
  HostName missing.invalid
Host stranger
  User stranger
Host unknown
  UserKnownHostsFile /dev/null
Host changed
  UserKnownHostsFile "{folder}/others"
Host *
  User root
  IdentityFile "{folder}/key"
  IdentitiesOnly yes
  UserKnownHostsFile "{folder}/known"
  GlobalKnownHostsFile /dev/null
"""

PATIENCE = 120.0  # seconds; the machine may be busy
PORTS = itertools.count(2200)  # of an address that is ours


@dataclass(frozen=True)
class Lab:
    """A running board: the names that reach it are in `names`, a file for OpenSSH's client; `line` is a connection to be shared."""

    names: Path
    module: Path
    line: Path

    @property
    def env(self) -> dict[str, str]:
        """What the study is told by the environment."""
        return {"STUDY_SSH_CONFIG": str(self.names)}

    def wait(self, condition: str) -> None:
        """Wait until a command of the board's shell succeeds; it is the board that looks, which takes it less than to be asked."""
        self.sh(f"until {condition}; do sleep 0.2; done", limit=PATIENCE)

    def sh(self, script: str, stdin: bytes = b"", limit: float = 600) -> str:
        """Run a script on the board, by ssh alone, for at most so many seconds, and return what it printed.

        The study makes connections of its own; this one is made once: an emulated board takes longer to agree on keys than to answer.
        """
        return run(["timeout", str(limit), "ssh", "-F", self.names, "-S", self.line, "-T", "lab", script], stdin=stdin)


@contextlib.contextmanager
def lab(
    folder: Path,
    *,
    kernel: str = "",
    words: str = QUICK,
    cpus: int = 1,
    others: Sequence[str] = (),
    more: Mapping[str, Path] = MappingProxyType({}),
) -> Iterator[Lab]:
    """Boot a board that answers to ssh, with keys of its own, until the end.

    `kernel` is how its release begins, and `words` are added to its command line. More than one CPU run at the same time, and no
    longer one instruction in each nanosecond: figures of such a board mean nothing. `others` are kernels that it can go on with: then
    it has a /boot with its own, and kexec. `more` are folders whose files it has besides, by where it has them.
    """
    for key in ("key", "host_key", "other"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / key])
    address, port, shut = own_address(), next(PORTS), next(PORTS)  # one for the board, and one on which nothing listens
    for file, key in (("known", "host_key"), ("others", "other")):
        (folder / file).write_text(f"[{address}]:{port} {(folder / f'{key}.pub').read_text()}")
    (folder / "names").write_text(NAMES.format(address=address, port=port, shut=shut, folder=folder))

    append = f"STUDY_UNDER=/start {words} {KEPT if others else ''}"
    launch = EmulatedBoard(BOARD, MACHINE, append).launch(folder / "console.log", ("stock",), kernel)
    initrd = Path(launch.argv[launch.argv.index("-initrd") + 1])
    systems = {release_of(system): system for system in map(archive.kernel, [kernel or archive.KERNEL, *others])}
    release = next(iter(systems))
    _pack(folder, {".": server(*systems), **more}, initrd, systems, cpus)
    argv = [str(folder / "initrd") if word == str(initrd) else word for word in launch.argv]
    network = ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{address}:{port}-:22", "-device", "virtio-net-device,netdev=net"]
    if cpus > 1:
        at = argv.index("-icount")
        argv[at : at + 2] = ["-accel", "tcg,thread=multi", "-smp", str(cpus)]
    at = argv.index("-device")  # devices are counted from the last: the line's must stay the first
    argv[at:at] = network
    with subprocess.Popen(argv, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b"ready\n", (folder / "console.log").read_text()
            with tempfile.TemporaryDirectory(prefix="lab-") as short:  # the name of a socket may not be long
                master = ["ssh", "-F", folder / "names", "-f", "-N", "-M", "-S", f"{short}/line", "lab"]
                subprocess.run(master, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
                driver = module.module(release, archive.kernel(kernel or archive.KERNEL) / "headers")
                yield Lab(folder / "names", driver, Path(short, "line"))
                with contextlib.suppress(StudyError):  # the board may be gone
                    run(["ssh", "-F", folder / "names", "-S", f"{short}/line", "-O", "exit", "lab"])
        except BaseException:
            print(f"the board's console ends with:\n{(folder / 'console.log').read_text(errors='replace')[-3000:]}")
            raise
        finally:
            process.kill()


def release_of(system: Path) -> str:
    """Return the release of one of Debian's kernels."""
    return str(json.loads((system / "versions.json").read_text())["release"])


def server(*releases: str) -> Path:
    """Return Debian's sshd and kexec for arm64 and what they load, with the modules of some kernels that the network takes."""

    def fetch(place: Path) -> None:
        base = archive.packages(*PROGRAMS) / "root"
        libraries = [path for name in LIBRARIES for path in (base / name).glob("*.so*")]
        for path in [*libraries, *(base / name for name in PROGRAMS.values())]:
            into = place / path.relative_to(base)
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, into, follow_symlinks=False)
        apt = archive.of_kernels(place / "scratch", "arm64")
        for release in releases:
            scratch, modules = place / "scratch" / release, place / f"lib/board/{release}"
            scratch.mkdir()
            modules.mkdir(parents=True)
            pattern = f"^linux-(image|modules)-{re.escape(release)}$"
            names = [line.split()[0] for line in run(["apt-cache", *apt, "search", "--names-only", pattern]).splitlines()]
            run(["apt-get", *apt, "download", *names], cwd=scratch)
            archive.unpack(list(scratch.glob("*.deb")), scratch / "root")
            for name in NETWORK:
                (found,) = scratch.rglob(f"{name}.ko*")
                archive.plain(found, modules / f"{name}.ko")
        shutil.rmtree(place / "scratch")

    return cache.cached("sshd", cache.digest(*NETWORK, *LIBRARIES, *PROGRAMS, *releases), fetch)


def _pack(folder: Path, along: Mapping[str, Path], initrd: Path, systems: Mapping[str, Path], cpus: int) -> None:
    """Write an image that is the board's, and after it folders by their places: the kernel unpacks one after the other.

    Of some kernels that it may run, by their releases, the first is its own.
    """
    tree = folder / "tree"
    for place, base in along.items():
        shutil.copytree(base, tree / place, symlinks=True, dirs_exist_ok=True)
    for name in ("etc", "boot"):
        (tree / name).mkdir()
    texts = {"start": START, "etc/sshd_config": SETTINGS, "etc/passwd": USERS, "etc/group": "root:x:0:\nnogroup:x:65534:\n"}
    texts["init"] = image.init(f"$(uname -r)/{name}" for name in image.BOARD_MODULES)
    if cpus > 1:  # the port's name is there before it can be opened, which only another CPU sees
        texts["init"] = texts["init"].replace("cd /board\n", "sleep 2\ncd /board\n")
    for name, text in texts.items():
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    shutil.copy(folder / "host_key", tree / "etc/host_key")
    shutil.copy(folder / "key.pub", tree / "etc/authorized_keys")
    for release, system in systems.items():
        for path in system.glob("*.ko"):
            shutil.copy(path, tree / f"lib/board/{release}")
    if len(systems) > 1:
        release, system = next(iter(systems.items()))
        shutil.copy(system / "vmlinuz", tree / f"boot/vmlinuz-{release}")
        (tree / f"boot/initrd.img-{release}").symlink_to(INITRD)
    image.pack(tree, folder / "more")
    with open(folder / "initrd", "wb") as whole:
        for part in (initrd, folder / "more"):
            whole.write(part.read_bytes())
    shutil.rmtree(tree)
