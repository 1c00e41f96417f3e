"""What an emulated board boots: user space, guest and image, built once and kept by the digest of what went in."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import distribution
from pathlib import Path

from study import paths
from study.errors import BadRequest
from study.kernels import needs
from study.kernels.archive import BOARD_MODULES, KERNEL, packages
from study.kernels.cache import agent_digest, cached, digest, digest_of
from study.kernels.module import cross, module
from study.kernels.source import find
from study.process import run
from study.terminal import progress

# The user space of an emulated board.
USER_SPACE = ["python3-minimal", "libpython3-stdlib", "linux-perf", "busybox-static", "kmod"]
# Left out of the image: nothing that is measured or measures needs them.
LEFT_OUT = [
    "usr/share", "usr/lib/aarch64-linux-gnu/perl", "usr/lib/aarch64-linux-gnu/perl-base", "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/python3.11/idlelib", "usr/lib/python3.11/ensurepip", "usr/lib/python3.11/lib2to3", "usr/lib/python3.11/distutils",
    "usr/lib/python3.11/pydoc_data", "usr/lib/python3.11/unittest", "usr/lib/python3.11/turtledemo", "usr/include",
]  # fmt: skip

INIT = """#!/bin/busybox sh
# The board's first process: mount what the study reads, then answer the host until it is done. The kernel's command
# line may name a program to run the agent under: STUDY_UNDER.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /tmp /run /root
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
# Or each tracepoint that perf leaves would keep it waiting for some ticks of the clock.
echo 1 > /sys/kernel/rcu_expedited
for module in {modules}; do [ ! -e /lib/board/$module.ko ] || insmod /lib/board/$module.ko; done
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C PYTHONDONTWRITEBYTECODE=1
port=/dev/vport0p1
cd /board
{answer}
poweroff -f
"""
# The driver makes the port's file before it knows the port: until then, opening it fails (drivers/char/virtio_console.c, add_port()).
ANSWER = """answered= waited=0
while [ -z "$answered" ] && [ $waited -lt 50 ]; do
  [ ! -e $port ] || { answered=yes; $STUDY_UNDER python3 -m study.collect.onboard; } <>$port >&0
  [ -n "$answered" ] || { sleep 0.1; waited=$((waited + 1)); }
done"""


def init(modules: Iterable[str]) -> str:
    """Return what the board runs first, with the kernel's modules that it loads."""
    return INIT.format(modules=" ".join(modules), answer=ANSWER)


# What is built depends on how: on this file.
RECIPE = Path(__file__).read_bytes()


def user_space() -> Path:
    """Return the user space of an emulated board: Debian's packages, without what nothing needs, compiled."""
    base = packages(*USER_SPACE)

    def build(place: Path) -> None:
        progress.say("compiling the board's user space (about 10 s)")
        shutil.copytree(base, place, symlinks=True, dirs_exist_ok=True)
        for name in LEFT_OUT:
            shutil.rmtree(place / "root" / name, ignore_errors=True)
        _compile(place / "root/usr/lib/python3.11", place / "root/usr/lib/python3")

    return cached("user-space", digest(RECIPE, base.name), build)


def payload() -> Path:
    """Assemble the guest and return its flat binary."""
    source = paths.ONBOARD / "payload.S"
    compiler = cross("gcc")

    def build(place: Path) -> None:
        progress.say("assembling the guest")
        run([compiler, "-c", "-o", place / "payload.o", source])
        run([cross("objcopy"), "-O", "binary", "-j", ".text", place / "payload.o", place / "payload.bin"])

    return cached("payload", digest(RECIPE, compiler, source.read_bytes()), build) / "payload.bin"


def _compile(*folders: Path) -> None:
    """Compile Python code here: compiling takes an emulated board longer than running.

    With -P the compiler imports nothing from the folder that it compiles, and leaves nothing there that names times of files.
    """
    for folder in folders:
        run([sys.executable, "-P", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "."], cwd=folder)


def pack(folder: Path, out: Path) -> None:
    """Pack a folder as the kernel's initramfs wants it, the same bytes for the same files.

    Not compressed: on an emulated board, unpacking takes longer than reading.
    """
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (0, 0), follow_symlinks=False)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    flags = ["--null", "--create", "--format=newc", "--owner=0:0", "--reproducible", "--quiet"]
    run(["cpio", *flags, "--file", out], cwd=folder, stdin="\0".join(names).encode())


def image(release: str = "", along: Mapping[str, Path] | None = None) -> Path:
    """Assemble the image of an emulated board.

    Parameters
    ----------
    release : str
        Its kernel, as a design has it; empty for KERNEL.
    along : mapping of str to path, optional
        Folders that it is to have below /guests, by name.

    Returns
    -------
    path
        A folder with ``vmlinuz``, ``config``, ``initrd`` and ``image.json`` (release, packages, digest).
    """
    system = find(release or KERNEL)
    versions = json.loads((system / "versions.json").read_text())
    if "source" in versions and (lacking := needs.lacks(release[:16], (system / "config").read_text(), needs.EMULATED)):
        raise BadRequest(f"{lacking}, for an emulated board")
    base = user_space()
    driver = module(versions["release"], system / "headers") if (system / "headers").is_dir() else None
    disks = [_initial_disk(versions["release"], system, base, driver), *([_more(along)] if along else [])]

    def build(place: Path) -> None:
        for name in ("vmlinuz", "config"):
            shutil.copy(system / name, place)
        _one_after_the_other(disks, place / "initrd")
        packaged = json.loads((base / "versions.json").read_text()) | versions["packages"]
        whole = digest(digest_of(place / "vmlinuz"), digest_of(place / "initrd"))
        (place / "image.json").write_text(
            json.dumps({"release": versions["release"], "packages": packaged, "digest": whole}, indent=1)
        )

    return cached("image", digest(RECIPE, system.name, *(disk.parent.name for disk in disks)), build)


def _one_after_the_other(disks: list[Path], out: Path) -> None:
    """Put archives into one file, which the kernel unpacks one after the other; one alone is linked."""
    if len(disks) == 1:
        os.link(disks[0], out)
    else:
        run(["cat", *disks], out=out)


def _more(along: Mapping[str, Path]) -> Path:
    """Pack folders that a board has below /guests."""

    def build(place: Path) -> None:
        progress.say("packing the board's guests (about 5 s)")
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            for name, folder in along.items():
                shutil.copytree(folder, Path(scratch, "guests", name))
            pack(Path(scratch), place / "initrd")

    return (
        cached("disk", digest(RECIPE, *(part for name, folder in along.items() for part in (name, folder.name))), build)
        / "initrd"
    )


def _initial_disk(release: str, system: Path, base: Path, driver: Path | None) -> Path:
    """Pack what a board runs. Kernels that have everything built in, and their configuration in themselves, share one."""
    guest, pyperf = payload(), distribution("pyperf")
    config = (system / "config").read_bytes()
    files = {f"lib/board/{path.name}": path for path in sorted(system.glob("*.ko"))}
    if b"CONFIG_IKCONFIG_PROC=y" not in config:
        files[f"boot/config-{release}"] = system / "config"
    if driver:
        files["board/study/collect/onboard/dbgswitch.ko"] = driver
    files["board/study/collect/onboard/payload.bin"] = guest
    parts = [part for name, path in files.items() for part in (name, path.read_bytes())]

    def build(place: Path) -> None:
        progress.say("packing the board's image (about 10 s)")
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            tree = Path(scratch, "tree")
            shutil.copytree(base / "root", tree, symlinks=True)
            for name in ("proc", "sys", "dev", "tmp", "boot", "lib/board", "board"):
                (tree / name).mkdir(parents=True, exist_ok=True)
            (tree / "init").write_text(init(BOARD_MODULES))
            (tree / "init").chmod(0o755)
            for name, path in {**{f"board/{name}": path for name, path in paths.agent().items()}, **files}.items():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tree / name)
            ignored = shutil.ignore_patterns("__pycache__", "tests")
            shutil.copytree(Path(str(pyperf.locate_file("pyperf"))), tree / "board/pyperf", ignore=ignored)
            _compile(tree / "board")
            pack(tree, place / "initrd")

    return cached("disk", digest(RECIPE, base.name, agent_digest(), pyperf.version, *parts), build) / "initrd"
