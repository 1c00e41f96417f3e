"""What a board needs, built once and kept by the digest of what went in: guest, module, kernel and user space.

Everything comes from Debian through the machine's own apt configuration, fetched into a private root for arm64: no
foreign architecture is added to the machine, and nothing is installed on it.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

from study import paths
from study.collect.onboard import factors, strategy
from study.errors import BadRequest, StudyError
from study.process import need, run

# The user space of an emulated board.
USER_SPACE = ["python3-minimal", "libpython3-stdlib", "linux-perf", "busybox-static", "kmod"]
# Which kernel an emulated board boots unless it is asked otherwise: that of the user space's release. Others are from the
# suites that follow it, and from backports, of the archive that the machine uses itself.
KERNEL = "6.1"
SUITES = ["bookworm", "bookworm-updates", "bookworm-backports", "trixie", "trixie-updates", "trixie-backports"]
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Kernel modules that the init of the board loads, in order, where they are not part of the kernel.
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


def _depends(apt: list[str], package: str, *prefixes: str) -> list[str]:
    """Return the dependencies of `package` whose names start with one of `prefixes`."""
    lines = [line.strip().partition(": ") for line in run(["apt-cache", *apt, "depends", package]).splitlines()]
    return [name for word, _, name in lines if word == "Depends" and name.startswith(prefixes)]


def _unpack(archives: list[Path], into: Path) -> None:
    """Unpack Debian archives into a folder."""
    into.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        run(["dpkg-deb", "--extract", archive, into])


def packages(*names: str) -> Path:
    """Fetch Debian's packages of that name for arm64, with all that they depend on.

    Returns
    -------
    path
        A folder with ``root/``, where they are unpacked, and ``versions.json`` (package to version).
    """
    need("apt-get")

    def build(place: Path) -> None:
        say(f"fetching {', '.join(names)} for arm64 (once)")
        apt = _apt(place / "apt", "arm64")
        run(["apt-get", *apt, "update"])
        run(["apt-get", *apt, "install", "-y", "--download-only", "--no-install-recommends", *names])
        archives = sorted((place / "apt/cache/archives").glob("*.deb"))
        _unpack(archives, place / "root")
        (place / "versions.json").write_text(json.dumps(_versions(archives), indent=1))
        shutil.rmtree(place / "apt")

    return cached("packages", digest(RECIPE, os.environ.get("STUDY_APT_SOURCES", ""), *names), build)


def _versions(archives: list[Path]) -> dict[str, str]:
    """Return package to version, as the names of archives have them."""
    return dict(path.name.split("_")[:2] for path in archives)


def newest(releases: list[str], series: str) -> str:
    """Return the newest release of a series of kernels.

    Parameters
    ----------
    releases : list of str
        Such as ``6.12.117+deb12-arm64``.
    series : str
        How it begins: ``6.12``, or ``7`` for the newest of all of them.

    Raises
    ------
    BadRequest
        If there is none, with the series that there are.
    """

    def age(release: str) -> tuple[list[int], int]:
        version, _, suite = release.partition("+deb")
        return [int(word) for word in re.findall(r"\d+", version)], -int(re.match(r"\d*", suite)[0] or 0)  # type: ignore[index]

    found = [release for release in releases if factors.of_series(release, series)]
    if not found:
        known = sorted({tuple(map(int, re.findall(r"\d+", release)[:2])) for release in releases})
        there = ", ".join(f"{major}.{minor}" for major, minor in known) or "none at all"
        raise BadRequest(f"there is no kernel {series} for an emulated board; the archive has {there}")
    return max(found, key=age)


def kernel(series: str) -> Path:
    """Fetch one of Debian's arm64 kernels, and its headers if the module fits it.

    Parameters
    ----------
    series : str
        How its release begins, such as ``6.12``; the newest is taken.

    Returns
    -------
    path
        A folder with ``vmlinuz``, ``config``, the board's modules, ``headers/`` (to build modules with on this machine) and
        ``versions.json`` (package to version, and ``release``).
    """
    need("apt-get")
    host = run(["dpkg", "--print-architecture"]).strip()
    sources = os.environ.get("STUDY_APT_SOURCES", "")

    def build(place: Path) -> None:
        say(f"fetching Debian's arm64 kernel {series} (about 100 MB, once)")
        apt, host_apt = _archive_of_kernels(place, "arm64"), _archive_of_kernels(place, host)
        fetched = place / "archives"
        fetched.mkdir()
        names = run(
            ["apt-cache", *apt, "search", "--names-only", r"^linux-image-[0-9]+[.][0-9]+[.][0-9.-]*([+]deb[0-9.]*)?-arm64$"]
        ).splitlines()
        release = newest([name.split()[0].removeprefix("linux-image-") for name in names], series)
        image = f"linux-image-{release}"
        parts = [image, *_depends(apt, image, *(f"linux-{part}-{release}" for part in ("base", "binary", "modules")))]
        run(["apt-get", *apt, "download", *parts], cwd=fetched)
        _unpack(sorted(fetched.glob("*.deb")), place / "unpacked")
        wanted = ["vmlinuz", "config", *(f"{name}.ko" for name in BOARD_MODULES)]
        for found in (place / "unpacked").rglob("*"):
            name = found.name.removesuffix(f"-{release}").removesuffix(".xz")
            if name in wanted and found.is_file():
                _plain(found, place / name)
        if factors.fits(release):
            headers = f"linux-headers-{release}"
            common, kbuild = (_depends(apt, headers, f"linux-{part}-")[0] for part in ("headers", "kbuild"))
            run(["apt-get", *apt, "download", headers, common], cwd=fetched)
            run(["apt-get", *host_apt, "download", kbuild], cwd=fetched)
            _unpack([path for name in (headers, common, kbuild) for path in fetched.glob(f"{name}_*.deb")], place / "headers")
        versions = _versions(sorted(fetched.glob("*.deb")))
        (place / "versions.json").write_text(json.dumps({"release": release, "packages": versions}, indent=1))
        for name in ("apt-arm64", f"apt-{host}", "unpacked", "archives"):
            shutil.rmtree(place / name, ignore_errors=True)

    return cached("kernel", digest(RECIPE, host, sources, series), build)


def _archive_of_kernels(place: Path, architecture: str) -> list[str]:
    """Return apt's options for a private root that knows the kernels of later releases, too; updated.

    The archive is the one that the machine's own apt is set to use. Where STUDY_APT_SOURCES names the sources, they are all.
    """
    root = place / f"apt-{architecture}"
    apt = _apt(root, architecture)
    run(["apt-get", *apt, "update"])
    if os.environ.get("STUDY_APT_SOURCES"):
        return apt
    lines = run(["apt-get", *apt, "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]).splitlines()
    archives = {codename: uri for codename, _, uri in (line.partition(" ") for line in lines)}
    if SUITES[0] not in archives:
        raise StudyError(
            f"the machine's apt knows no suite {SUITES[0]} of Debian; name a sources.list that has the kernels in STUDY_APT_SOURCES"
        )
    text = [f"deb [signed-by={KEYRING}] {archives.get(suite, archives[SUITES[0]])} {suite} main\n" for suite in SUITES]
    security = [f"deb [signed-by={KEYRING}] {uri} {name} main\n" for name, uri in archives.items() if name.endswith("-security")]
    (root / "sources.list").write_text("".join([*text, *security]))
    apt += ["-o", f"Dir::Etc::sourcelist={root / 'sources.list'}", "-o", "Dir::Etc::sourceparts=/dev/null"]
    run(["apt-get", *apt, "update"])
    return apt


def _plain(source: Path, out: Path) -> None:
    """Move a file to its place, uncompressed."""
    if source.suffix == ".xz":
        out.write_bytes(lzma.decompress(source.read_bytes()))
    else:
        source.rename(out)


def user_space() -> Path:
    """Return the user space of an emulated board: Debian's packages, without what nothing needs, compiled."""
    base = packages(*USER_SPACE)

    def build(place: Path) -> None:
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
    if not factors.fits(release):
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
        say(f"assembling the board's image with kernel {versions['release']}")
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
            _archive(tree, place / "initrd")
        packaged = json.loads((base / "versions.json").read_text()) | versions["packages"]
        whole = digest(digest_of(place / "vmlinuz"), digest_of(place / "initrd"))
        (place / "image.json").write_text(
            json.dumps({"release": versions["release"], "packages": packaged, "digest": whole}, indent=1)
        )

    return cached("image", recipe, build)
