"""What a board needs, built once and kept by the digest of what went in: guest, module, user space and image."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from study import paths, progress
from study.collect.cache import cached, digest, digest_of, tree_digest
from study.collect.debian import BOARD_MODULES, KERNEL, kernel, packages
from study.collect.onboard import factors, strategy
from study.errors import StudyError
from study.process import need, run

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
waited=0
while [ ! -e $port ] && [ $waited -lt 50 ]; do sleep 0.1; waited=$((waited + 1)); done
cd /study
$STUDY_UNDER python3 -m onboard <>$port >&0
poweroff -f
"""

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


def cross(tool: str) -> str:
    """Return the name of an arm64 build tool: the machine's own on arm64, else Debian's cross tool."""
    return tool if platform.machine() == "aarch64" else f"aarch64-linux-gnu-{tool}"


def payload() -> Path:
    """Assemble the guest and return its flat binary."""
    source = paths.ONBOARD / "payload.S"
    compiler = cross("gcc")

    def build(place: Path) -> None:
        progress.say("assembling the guest")
        run([compiler, "-c", "-o", place / "payload.o", source])
        run([cross("objcopy"), "-O", "binary", "-j", ".text", place / "payload.o", place / "payload.bin"])

    return cached("payload", digest(RECIPE, compiler, source.read_bytes()), build) / "payload.bin"


def module(release: str, root: Path | None = None) -> Path:
    """Build the kernel module that chooses the strategy.

    Parameters
    ----------
    release : str
        The kernel's release.
    root : path, optional
        Folder below which Debian's arm64 headers of that kernel are unpacked. Without it, the headers that are installed
        on this machine, an arm64 board.

    Returns
    -------
    path
        ``dbgswitch.ko``.

    Raises
    ------
    StudyError
        If the headers are not there, or the module does not fit this kernel.
    """
    if not factors.fits(release):
        raise StudyError(strategy.MISFIT.format(release=release))
    headers = root / f"usr/src/linux-headers-{release}" if root else Path(f"/lib/modules/{release}/build")
    if not headers.is_dir():
        raise StudyError(
            f"no headers of kernel {release} in {headers}; install them with: sudo apt-get install linux-headers-{release}"
        )

    def build(place: Path) -> None:
        progress.say(f"building the module for {release} (about 10 s)")
        with tempfile.TemporaryDirectory(dir=_for_kbuild(Path(tempfile.gettempdir()), Path("/tmp"))) as scratch:
            beside = Path(scratch)
            for source in paths.MODULE.iterdir():
                shutil.copy(source, beside)
            tree, variables = _unpacked_headers(headers, root, beside) if root else (headers, [])
            run(["make", "-s", "-C", tree, f"M={beside}", *variables, "modules"])
            run([cross("strip"), "--strip-debug", beside / "dbgswitch.ko"])
            shutil.copy(beside / "dbgswitch.ko", place)

    return cached("module", digest(RECIPE, release, str(headers), tree_digest(paths.MODULE)), build) / "dbgswitch.ko"


def _for_kbuild(folder: Path, other: Path) -> Path:
    """Return a folder, or another one if kbuild cannot work below it: it takes paths apart at blanks and colons."""
    return other if re.search(r"[\s:]", str(folder.resolve())) else folder


def _unpacked_headers(headers: Path, root: Path, beside: Path) -> tuple[Path, list[str]]:
    """Copy Debian's headers so that they work where they were unpacked; return the copy and make's variables for it.

    They name their other half and their tools by absolute or relative paths, as if they were installed.
    """
    tree, other = beside / "headers", _for_kbuild(root, beside / "root")
    if other != root:
        shutil.copytree(root, other, symlinks=True)
        headers, root = other / headers.relative_to(root), other
    shutil.copytree(headers, tree, symlinks=True)
    for name in ("scripts", "tools"):
        (tree / name).unlink()
        (tree / name).symlink_to((headers / name).resolve())
    makefile = tree / "Makefile"
    makefile.write_text(makefile.read_text().replace(" /usr/src/", f" {root.resolve()}/usr/src/"))
    # The module names no folder that it was built in: the same sources give the same bytes.
    unnamed = " ".join(f"-ffile-prefix-map={folder.resolve()}=." for folder in (beside, other))
    variables = ["ARCH=arm64", "CONFIG_DEBUG_INFO_BTF_MODULES=", f"KCFLAGS={unnamed}"]
    if platform.machine() != "aarch64":
        need(cross("gcc"))
        variables += ["CROSS_COMPILE=aarch64-linux-gnu-", "DEB_HOST_ARCH=arm64", "DEB_HOST_GNU_TYPE=aarch64-linux-gnu"]
        variables += [f"DEB_BUILD_ARCH={run(['dpkg', '--print-architecture']).strip()}"]
    return tree, variables


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


def image(series: str = "") -> Path:
    """Assemble the image of an emulated board.

    Parameters
    ----------
    series : str
        How its kernel's release begins; empty for KERNEL.

    Returns
    -------
    path
        A folder with ``vmlinuz``, ``config``, ``initrd`` and ``image.json`` (release, packages, digest).
    """
    system, base, guest = kernel(series or KERNEL), user_space(), payload()
    versions = json.loads((system / "versions.json").read_text())
    driver = module(versions["release"], system / "headers") if factors.fits(versions["release"]) else None
    pyperf = distribution("pyperf")
    parts: list[str | bytes] = [system.name, base.name, tree_digest(paths.ONBOARD), guest.read_bytes()]
    recipe = digest(RECIPE, *parts, driver.read_bytes() if driver else b"", pyperf.version)

    def build(place: Path) -> None:
        progress.say(f"assembling the board's image with kernel {versions['release']} (about 10 s)")
        for name in ("vmlinuz", "config"):
            shutil.copy(system / name, place)
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            tree = Path(scratch, "tree")
            shutil.copytree(base / "root", tree, symlinks=True)
            for name in ("proc", "sys", "dev", "tmp", "boot", "lib/board", "study"):
                (tree / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(system / "config", tree / f"boot/config-{versions['release']}")
            for path in system.glob("*.ko"):
                shutil.copy(path, tree / "lib/board")
            (tree / "init").write_text(INIT.format(modules=" ".join(BOARD_MODULES)))
            (tree / "init").chmod(0o755)
            ignored = shutil.ignore_patterns("__pycache__", "tests")
            shutil.copytree(paths.ONBOARD, tree / "study/onboard", ignore=ignored)
            shutil.copytree(Path(str(pyperf.locate_file("pyperf"))), tree / "study/pyperf", ignore=ignored)
            shutil.copy(guest, tree / "study/onboard/payload.bin")
            if driver:
                shutil.copy(driver, tree / "study/onboard/dbgswitch.ko")
            _compile(tree / "study")
            pack(tree, place / "initrd")
        packaged = json.loads((base / "versions.json").read_text()) | versions["packages"]
        whole = digest(digest_of(place / "vmlinuz"), digest_of(place / "initrd"))
        (place / "image.json").write_text(
            json.dumps({"release": versions["release"], "packages": packaged, "digest": whole}, indent=1)
        )

    return cached("image", recipe, build)
