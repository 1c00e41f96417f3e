"""What a board needs, built once and kept by the digest of what went in: guest, module, kernel and user space.

Everything comes from Debian through the machine's own apt configuration, fetched into a private root for arm64: no
foreign architecture is added to the machine, and nothing is installed on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

from study import paths
from study.collect.onboard import strategy
from study.errors import StudyError
from study.process import need, run

# The user space of an emulated board, and the packages that its kernel and module are made from.
USER_SPACE = ["python3-minimal", "libpython3-stdlib", "linux-perf", "busybox-static", "kmod"]
KERNEL = "linux-image-arm64"
HEADERS = "linux-headers-arm64"
# Kernel modules that the init of the board loads, in order.
BOARD_MODULES = ["virtio_mmio", "virtio_console"]
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
for module in {modules}; do insmod /lib/board/$module.ko; done
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


def say(text: str) -> None:
    """Tell the user what is being made; it takes a while the first time."""
    print(text, flush=True)


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


def cached(kind: str, recipe: str, build: Callable[[Path], None]) -> Path:
    """Return the folder that `build` made for this `recipe`, building it only if it is not there yet.

    The folder appears whole or not at all: it is built under another name and renamed.
    """
    place = paths.cache() / f"{kind}-{recipe[:16]}"
    if place.is_dir():
        return place
    paths.cache().mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{kind}-", suffix=".part", dir=paths.cache()))
    try:
        build(aside)
        aside.chmod(0o755)
        try:
            aside.rename(place)
        except OSError:  # another process was faster, and its folder is the same by construction
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return place


def _apt(root: Path, architecture: str) -> list[str]:
    """Return the options that give apt a private root and leave it the machine's sources and keys."""
    (root / "state/lists/partial").mkdir(parents=True, exist_ok=True)
    (root / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    options = {
        "Dir::State": root / "state",
        "Dir::State::status": root / "status",
        "Dir::Cache": root / "cache",
        "Dir::Log": root,
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "1",
    }
    if sources := os.environ.get("STUDY_APT_SOURCES"):
        options |= {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null"}
    return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]


def _depends(apt: list[str], package: str, prefix: str) -> str:
    """Return the first dependency of `package` whose name starts with `prefix`."""
    lines = run(["apt-cache", *apt, "depends", package]).splitlines()
    for line in lines:
        word, _, name = line.strip().partition(": ")
        if word == "Depends" and name.startswith(prefix):
            return name
    raise StudyError(f"the machine's apt sources offer no {package} for arm64; name a sources.list in STUDY_APT_SOURCES")


def _unpack(archives: list[Path], into: Path, *members: str) -> None:
    """Unpack Debian archives into a folder: all of them, or only the members that match."""
    into.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        if not members:
            run(["dpkg-deb", "--extract", archive, into])
            continue
        with tempfile.NamedTemporaryFile(dir=into, suffix=".tar") as tar:
            run(["dpkg-deb", "--fsys-tarfile", archive], out=Path(tar.name))
            run(["tar", "--extract", "--file", tar.name, "--directory", into, "--wildcards", *members])


def debian() -> Path:
    """Fetch Debian's arm64 kernel, headers and user space.

    Returns
    -------
    path
        A folder with ``root/`` (user space), ``kernel/`` (vmlinuz, config, modules), ``headers/`` (to build modules
        with on this machine) and ``versions.json`` (package to version, and ``release``).
    """
    need("apt-get")
    host = run(["dpkg", "--print-architecture"]).strip()
    sources = os.environ.get("STUDY_APT_SOURCES", "")
    recipe = digest(RECIPE, host, sources)

    def build(place: Path) -> None:
        say("fetching Debian's arm64 kernel and user space (about 120 MB, once)")
        apt, host_apt = _apt(place / "apt", "arm64"), _apt(place / "apt-host", host)
        fetched = place / "apt/cache/archives"
        for options in {tuple(apt), tuple(host_apt)}:
            run(["apt-get", *options, "update"])
        image = _depends(apt, KERNEL, "linux-image-")
        release = image.removeprefix("linux-image-")
        headers = _depends(apt, HEADERS, "linux-headers-")
        common = _depends(apt, headers, "linux-headers-")
        kbuild = _depends(apt, headers, "linux-kbuild-")
        run(["apt-get", *apt, "install", "-y", "--download-only", "--no-install-recommends", *USER_SPACE])
        _unpack(sorted(fetched.glob("*.deb")), place / "root")
        for name in LEFT_OUT:
            shutil.rmtree(place / "root" / name, ignore_errors=True)
        _compile(place / "root/usr/lib/python3.11", place / "root/usr/lib/python3")
        run(["apt-get", *apt, "download", image, headers, common], cwd=fetched)
        run(["apt-get", *host_apt, "download", kbuild], cwd=fetched)
        wanted = ["./boot/vmlinuz-*", "./boot/config-*", *(f"*/{name}.ko" for name in BOARD_MODULES)]
        _unpack(sorted(fetched.glob(f"{image}_*.deb")), place / "unpacked", *wanted)
        (place / "kernel").mkdir()
        for found in (place / "unpacked").rglob("*"):
            if found.is_file():
                found.rename(place / "kernel" / found.name.removesuffix(f"-{release}"))
        _unpack([p for name in (headers, common, kbuild) for p in sorted(fetched.glob(f"{name}_*.deb"))], place / "headers")
        versions = dict(p.name.split("_")[:2] for p in sorted(fetched.glob("*.deb")))
        (place / "versions.json").write_text(json.dumps({"release": release, "packages": versions}, indent=1))
        for name in ("apt", "apt-host", "unpacked"):
            shutil.rmtree(place / name)

    return cached("debian", recipe, build)


def cross(tool: str) -> str:
    """Return the name of an arm64 build tool: the machine's own on arm64, else Debian's cross tool."""
    return tool if platform.machine() == "aarch64" else f"aarch64-linux-gnu-{tool}"


def payload() -> Path:
    """Assemble the guest and return its flat binary."""
    source = paths.ONBOARD / "payload.S"
    compiler = cross("gcc")

    def build(place: Path) -> None:
        say("assembling the guest")
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
    if not strategy.fits(release):
        raise StudyError(strategy.MISFIT.format(release=release))
    headers = root / f"usr/src/linux-headers-{release}" if root else Path(f"/lib/modules/{release}/build")
    if not headers.is_dir():
        raise StudyError(
            f"no headers of kernel {release} in {headers}; install them with: sudo apt-get install linux-headers-{release}"
        )

    def build(place: Path) -> None:
        say(f"building the module for {release}")
        for source in paths.MODULE.iterdir():
            shutil.copy(source, place)
        tree, variables = _unpacked_headers(headers, root, place / "headers") if root else (headers, [])
        run(["make", "-s", "-C", tree, f"M={place}", *variables, "modules"])
        run([cross("strip"), "--strip-debug", place / "dbgswitch.ko"])  # it names the folder it was built in
        if root:
            shutil.rmtree(tree)

    return cached("module", digest(RECIPE, release, str(headers), tree_digest(paths.MODULE)), build) / "dbgswitch.ko"


def _unpacked_headers(headers: Path, root: Path, tree: Path) -> tuple[Path, list[str]]:
    """Copy Debian's headers so that they work where they were unpacked; return the copy and make's variables for it.

    They name their other half and their tools by absolute or relative paths, as if they were installed.
    """
    shutil.copytree(headers, tree, symlinks=True)
    for name in ("scripts", "tools"):
        (tree / name).unlink()
        (tree / name).symlink_to((headers / name).resolve())
    makefile = tree / "Makefile"
    makefile.write_text(makefile.read_text().replace(" /usr/src/", f" {root.resolve()}/usr/src/"))
    variables = ["ARCH=arm64", "CONFIG_DEBUG_INFO_BTF_MODULES="]
    if platform.machine() != "aarch64":
        need(cross("gcc"))
        variables += ["CROSS_COMPILE=aarch64-linux-gnu-", "DEB_HOST_ARCH=arm64", "DEB_HOST_GNU_TYPE=aarch64-linux-gnu"]
        variables += [f"DEB_BUILD_ARCH={run(['dpkg', '--print-architecture']).strip()}"]
    return tree, variables


def _compile(*folders: Path) -> None:
    """Compile Python code here: compiling takes an emulated board longer than running."""
    for folder in folders:
        run([sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "."], cwd=folder)


def _archive(folder: Path, out: Path) -> None:
    """Pack a folder as the kernel's initramfs wants it, the same bytes for the same files.

    Not compressed: on an emulated board, unpacking takes longer than reading.
    """
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (0, 0), follow_symlinks=False)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    flags = ["--null", "--create", "--format=newc", "--owner=0:0", "--reproducible", "--quiet"]
    run(["cpio", *flags, "--file", out], cwd=folder, stdin="\0".join(names).encode())


def image() -> Path:
    """Assemble the image of an emulated board.

    Returns
    -------
    path
        A folder with ``vmlinuz``, ``config``, ``initrd`` and ``image.json`` (release, packages, digest).
    """
    base, guest = debian(), payload()
    versions = json.loads((base / "versions.json").read_text())
    driver = module(versions["release"], base / "headers")
    pyperf = distribution("pyperf")
    recipe = digest(RECIPE, base.name, tree_digest(paths.ONBOARD), guest.read_bytes(), driver.read_bytes(), pyperf.version)

    def build(place: Path) -> None:
        say("assembling the board's image")
        for name in ("vmlinuz", "config"):
            shutil.copy(base / "kernel" / name, place)
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            tree = Path(scratch, "tree")
            shutil.copytree(base / "root", tree, symlinks=True)
            for name in ("proc", "sys", "dev", "tmp", "lib/board", "study"):
                (tree / name).mkdir(parents=True, exist_ok=True)
            for name in BOARD_MODULES:
                shutil.copy(base / "kernel" / f"{name}.ko", tree / "lib/board")
            (tree / "init").write_text(INIT.format(modules=" ".join(BOARD_MODULES)))
            (tree / "init").chmod(0o755)
            ignored = shutil.ignore_patterns("__pycache__", "tests")
            shutil.copytree(paths.ONBOARD, tree / "study/onboard", ignore=ignored)
            shutil.copytree(Path(str(pyperf.locate_file("pyperf"))), tree / "study/pyperf", ignore=ignored)
            shutil.copy(guest, tree / "study/onboard/payload.bin")
            shutil.copy(driver, tree / "study/onboard/dbgswitch.ko")
            _compile(tree / "study")
            _archive(tree, place / "initrd")
        facts = {**versions, "digest": digest(digest_of(place / "vmlinuz"), digest_of(place / "initrd"))}
        (place / "image.json").write_text(json.dumps(facts, indent=1))

    return cached("image", recipe, build)
