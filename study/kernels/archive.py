"""Debian's archive: packages and kernels for arm64, fetched once through the machine's own apt configuration.

They go into a private root: no foreign architecture is added to the machine, and nothing is installed on it.
"""

from __future__ import annotations

import json
import lzma
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from study import factors
from study.errors import BadRequest, StudyError
from study.kernels.cache import cached, digest
from study.process import follow, need, run
from study.terminal import progress

# Which kernel an emulated board boots unless it is asked otherwise: that of the user space's release. Others are from the
# suites that follow it, and from backports, of the archive that the machine uses itself.
KERNEL = "6.1"
SUITES = ["bookworm", "bookworm-updates", "bookworm-backports", "trixie", "trixie-updates", "trixie-backports"]
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Kernel modules that the init of the board loads, in order, where they are not part of the kernel.
BOARD_MODULES = ["virtio_mmio", "virtio_console"]

# What is fetched depends on how: on this file.
RECIPE = Path(__file__).read_bytes()


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


def unpack(archives: list[Path], into: Path) -> None:
    """Unpack Debian archives into a folder."""
    into.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        run(["dpkg-deb", "--extract", archive, into])


def fetch(apt: list[str], *words: str, names: Sequence[str], cwd: Path | None = None) -> None:
    """Let apt-get fetch the packages `names` by a command of these words, and show how far it is, by what it says of itself."""
    command = ["apt-get", *apt, "-qq", *words, *names]
    sizes = [int(line.split()[2]) for line in run([*command, "--print-uris"], cwd=cwd).splitlines() if line.startswith("'")]
    others = " and others" if len(sizes) > 1 else ""
    with progress.bar(f"fetching {names[0]}{others}", round(sum(sizes) / 1e6), "MB") as shown:

        def hear(line: str) -> None:
            if line.startswith("dlstatus:"):
                shown.reach(round(float(line.split(":")[2]) / 100 * shown.total))

        follow([*command, "-o", "APT::Status-Fd=1"], hear, cwd)


def _update(apt: list[str]) -> None:
    """Read the archive's lists. One of several that cannot be read, such as while a mirror is written, is said and gone without."""
    try:
        run(["apt-get", *apt, "update"])
    except StudyError as error:
        if "Some index files failed" not in str(error):
            raise
        progress.say("apt could not read all lists of its archive; what is in the others is used")


def packages(*names: str, architecture: str = "arm64") -> Path:
    """Fetch Debian's packages of that name, with all that they depend on.

    Parameters
    ----------
    *names : str
        The packages.
    architecture : str
        As Debian calls it.

    Returns
    -------
    path
        A folder with ``root/``, where they are unpacked, and ``versions.json`` (package to version).
    """
    need("apt-get")

    def build(place: Path) -> None:
        progress.say(f"asking Debian's archive which packages it has for {architecture} (once, about 5 s)")
        apt = _apt(place / "apt", architecture)
        _update(apt)
        fetch(apt, "install", "--download-only", "--no-install-recommends", names=names)
        archives = sorted((place / "apt/cache/archives").glob("*.deb"))
        unpack(archives, place / "root")
        (place / "versions.json").write_text(json.dumps(_versions(archives), indent=1))
        shutil.rmtree(place / "apt")

    return cached("packages", digest(RECIPE, os.environ.get("STUDY_APT_SOURCES", ""), architecture, *names), build)


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
        How its release begins, such as ``6.12``; the newest is taken. ``6.12-16k`` is one whose pages have 16 KiB.

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
        progress.say(f"asking Debian's archive for its arm64 kernel {series} (once, about 20 s)")
        apt = of_kernels(place, "arm64")
        fetched = place / "archives"
        fetched.mkdir()
        pattern = r"^linux-image-[0-9]+[.][0-9]+[.][0-9.-]*([+]deb[0-9.]*)?-arm64"
        pattern += f"{factors.LARGER_PAGES if series.endswith(factors.LARGER_PAGES) else ''}$"
        names = run(["apt-cache", *apt, "search", "--names-only", pattern]).splitlines()
        release = newest([name.split()[0].removeprefix("linux-image-") for name in names], series)
        image = f"linux-image-{release}"
        parts = [image, *_depends(apt, image, *(f"linux-{part}-{release}" for part in ("base", "binary", "modules")))]
        fetch(apt, "download", names=parts, cwd=fetched)
        unpack(sorted(fetched.glob("*.deb")), place / "unpacked")
        wanted = ["vmlinuz", "config", *(f"{name}.ko" for name in BOARD_MODULES)]
        for found in (place / "unpacked").rglob("*"):
            name = found.name.removesuffix(f"-{release}").removesuffix(".xz")
            if name in wanted and found.is_file():
                plain(found, place / name)
        if factors.fits(release):
            headers = f"linux-headers-{release}"
            common, kbuild = (_depends(apt, headers, f"linux-{part}-")[0] for part in ("headers", "kbuild"))
            fetch(apt, "download", names=[headers, common], cwd=fetched)
            fetch(of_kernels(place, host), "download", names=[kbuild], cwd=fetched)
            unpack([path for name in (headers, common, kbuild) for path in fetched.glob(f"{name}_*.deb")], place / "headers")
        versions = _versions(sorted(fetched.glob("*.deb")))
        (place / "versions.json").write_text(json.dumps({"release": release, "packages": versions}, indent=1))
        for name in ("apt-arm64", f"apt-{host}", "unpacked", "archives"):
            shutil.rmtree(place / name, ignore_errors=True)

    return cached("kernel", digest(RECIPE, host, sources, series), build)


def kernel_alone(package: str, architecture: str) -> Path:
    """Fetch the kernel that a package of Debian's stands for, and nothing that it depends on.

    Returns
    -------
    path
        A folder with ``vmlinuz`` and ``versions.json`` (package to version).
    """
    need("apt-get")

    def build(place: Path) -> None:
        progress.say(f"asking Debian's archive for its kernel for {architecture} (once, about 5 s)")
        apt = _apt(place / "apt", architecture)
        _update(apt)
        fetch(apt, "download", names=_depends(apt, package, "linux-image-"), cwd=place)
        archives = sorted(place.glob("*.deb"))
        unpack(archives, place / "unpacked")
        (found,) = (place / "unpacked/boot").glob("vmlinuz-*")
        found.rename(place / "vmlinuz")
        (place / "versions.json").write_text(json.dumps(_versions(archives), indent=1))
        for path in (*archives, place / "apt", place / "unpacked"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return cached("kernel", digest(RECIPE, os.environ.get("STUDY_APT_SOURCES", ""), package, architecture), build)


def of_kernels(place: Path, architecture: str) -> list[str]:
    """Return apt's options for a private root that knows the kernels of later releases, too; updated.

    The archive is the one that the machine's own apt is set to use. Where STUDY_APT_SOURCES names the sources, they are all.
    """
    root = place / f"apt-{architecture}"
    apt = _apt(root, architecture)
    _update(apt)
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
    _update(apt)
    return apt


def plain(source: Path, out: Path) -> None:
    """Move a file to its place, uncompressed."""
    if source.suffix == ".xz":
        out.write_bytes(lzma.decompress(source.read_bytes()))
    else:
        source.rename(out)
