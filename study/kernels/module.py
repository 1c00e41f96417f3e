"""The kernel modules, one that chooses the strategy and one whose loops are priced, built for a kernel; and the tools that build for arm64."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from pathlib import Path

from study import factors, paths
from study.errors import StudyError
from study.kernels.cache import cached, digest, tree_digest
from study.process import install, need, run
from study.terminal import progress

# What is built depends on how: on this file.
RECIPE = Path(__file__).read_bytes()


def cross(tool: str) -> str:
    """Return the name of an arm64 build tool: the machine's own on arm64, else Debian's cross tool."""
    return tool if platform.machine() == "aarch64" else f"aarch64-linux-gnu-{tool}"


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
        raise StudyError(factors.MISFIT.format(release=release))
    return _built(paths.MODULE, release, root)


def loops(release: str, root: Path | None = None) -> Path:
    """Build the kernel module with the loops that are priced, for any kernel whose headers are there; else as module().

    Returns
    -------
    path
        ``dbgprice.ko``.
    """
    return _built(paths.LOOPS, release, root)


def _built(sources: Path, release: str, root: Path | None) -> Path:
    """Build the module of a folder, which is called as the folder is."""
    headers = root / f"usr/src/linux-headers-{release}" if root else Path(f"/lib/modules/{release}/build")
    if not headers.is_dir():
        raise StudyError(f"no headers of kernel {release} in {headers}; install them with: {install(f'linux-headers-{release}')}")
    name = f"{sources.name}.ko"

    def build(place: Path) -> None:
        progress.say(f"building the module {sources.name} for {release} (about 10 s)")
        with tempfile.TemporaryDirectory(dir=_for_kbuild(Path(tempfile.gettempdir()), Path("/tmp"))) as scratch:
            beside = Path(scratch)
            for source in sources.iterdir():
                shutil.copy(source, beside)
            tree, variables = _unpacked_headers(headers, root, beside) if root else (headers, [])
            run(["make", "-s", "-C", tree, f"M={beside}", *variables, "modules"])
            run([cross("strip"), "--strip-debug", beside / name])
            shutil.copy(beside / name, place)

    return cached("module", digest(RECIPE, release, str(headers), tree_digest(sources)), build) / name


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
