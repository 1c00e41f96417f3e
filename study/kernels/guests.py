"""What a real guest is: a Linux of Debian's with a small user space, and the QEMU that runs it; built once and kept.

A guest boots a kernel of Debian's as it is, with a user space that holds busybox and what its workloads need. The QEMU is Debian's
for arm64, with the libraries that it loads and no others; a real board has its own.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from study import guests
from study.errors import StudyError
from study.kernels.archive import KERNEL, kernel, kernel_alone, packages
from study.kernels.cache import cached, digest
from study.kernels.image import pack
from study.kernels.module import cross
from study.process import run
from study.terminal import progress

# What runs a guest: the program, its package, and where a board of ours has it.
VMM, VMM_PACKAGE, FOLDER_OF_THE_VMM = "qemu-system-aarch64", "qemu-system-arm", "vmm"
# What a guest's user space holds: programs, and the packages that bring them.
PROGRAMS = ("bin/busybox", "usr/bin/hackbench", "usr/bin/cyclictest", "usr/bin/gdb")
PACKAGES = ("busybox-static", "rt-tests", "gdb-minimal")
LOADERS = {"arm64": "lib/ld-linux-aarch64.so.1", "armhf": "lib/ld-linux-armhf.so.3"}

# What is built depends on how: on this file.
RECIPE = Path(__file__).read_bytes()


def linux(name: str) -> Path:
    """Return a row of GUESTS, built: a folder with ``kernel`` and ``initrd``.

    Parameters
    ----------
    name : str
        A row of study.guests.GUESTS.
    """
    row = guests.GUESTS[name]
    system = kernel(KERNEL) if row.architecture == "arm64" else kernel_alone(row.package, row.architecture)
    base = packages(*PACKAGES, architecture=row.architecture)

    def build(place: Path) -> None:
        progress.say(f"packing the guest {name} (about 5 s)")
        shutil.copy(system / "vmlinuz", place / "kernel")
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            tree = Path(scratch)
            copy_programs(base / "root", PROGRAMS, LOADERS[row.architecture], tree)
            (tree / "init").write_text(guests.init())
            (tree / "init").chmod(0o755)
            for folder in ("proc", "sys", "dev", "tmp"):
                (tree / folder).mkdir()
            pack(tree, place / "initrd")

    return cached("guest", digest(RECIPE, guests.init(), system.name, base.name), build)


def vmm() -> Path:
    """Return a folder with ``root/``, in which QEMU for arm64 and its libraries are, and nothing else."""
    base = packages(VMM_PACKAGE)

    def build(place: Path) -> None:
        progress.say("packing the board's QEMU (about 5 s)")
        copy_programs(base / "root", [f"usr/bin/{VMM}"], LOADERS["arm64"], place / "root")

    return cached("vmm", digest(RECIPE, base.name), build)


def beside_each_other(along: Mapping[str, Path]) -> Path:
    """Return a folder that has folders by these names, for a board that is this machine."""

    def build(place: Path) -> None:
        for name, folder in along.items():
            shutil.copytree(folder, place / name)

    return cached("guests", digest(RECIPE, *(part for name, folder in along.items() for part in (name, folder.name))), build)


def copy_programs(root: Path, programs: Sequence[str], loader: str, out: Path) -> None:
    """Copy programs and the libraries that they name, one after the other, to the folders ``bin`` and ``lib``.

    Raises
    ------
    StudyError
        If a library is nowhere.
    """
    for folder in ("bin", "lib"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    there = {path.name: path for path in root.rglob("*.so*") if path.is_file()}
    copied = {Path(loader).name}
    shutil.copy(root / loader, out / "lib")
    wanted = [root / name for name in programs]
    for path in wanted:
        shutil.copy(path, out / "bin")
    while wanted:
        lacking = sorted(set(_needed(wanted)) - copied)
        if unknown := [name for name in lacking if name not in there]:
            raise StudyError(f"{root}: no package brings the library {unknown[0]} that a program needs")
        wanted = [there[name] for name in lacking]
        for path, name in zip(wanted, lacking, strict=True):
            shutil.copy(path, out / "lib" / name)
        copied |= set(lacking)


def _needed(files: Iterable[Path]) -> list[str]:
    """Return the names of the libraries that programs or libraries ask for (DT_NEEDED)."""
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run([cross("readelf"), "--dynamic", "--wide", *files]))
