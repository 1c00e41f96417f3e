"""Another kernel in force by kexec, without a boot loader: one of the user's own, or the board's own again.

Nothing is kept on the board of what its own kernel is. The command line of its own boot is passed on to every other kernel, and behind it
the release of its own: whoever comes next reads it from the kernel that runs.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from . import BoardError
from .tuning import BOOT_ID, read

OWN = "study.own="
# A kernel that panics restarts the board, whose boot loader brings its own back.
PANIC = "panic=10"

# Where a release has its files: as Debian, Fedora and SUSE name them.
KERNELS = ("boot/vmlinuz-{}", "boot/Image-{}")
INITRDS = ("boot/initrd.img-{}", "boot/initramfs-{}.img", "boot/initrd-{}")
EFI, TREE = "sys/firmware/efi", "sys/firmware/devicetree/base"


def has_its(root: Path) -> bool:
    """Say whether the device tree has a GICv3 ITS."""
    return any(b"arm,gic-v3-its" in path.read_bytes() for path in (root / TREE).rglob("compatible"))


# What kexec takes, and what to say where that is not so. An ITS and its redistributors cannot be turned off: the next kernel writes to
# the tables of the one before, wherever they are (drivers/irqchip/irq-gic-v3-its.c, enabled_lpis_allowed()).
NEEDS: tuple[tuple[Callable[[Path], object], str], ...] = (
    (lambda root: os.geteuid() == 0, 'kexec takes root: log in as root, or set STUDY_SSH_PYTHON="sudo -n python3"'),
    (lambda root: shutil.which("kexec"), "there is no kexec: install kexec-tools on the board"),
    (
        lambda root: read(root / "sys/kernel/kexec_loaded"),
        "the kernel that runs has no kexec: it takes CONFIG_KEXEC or CONFIG_KEXEC_FILE",
    ),
    (
        lambda root: read(root / "proc/sys/kernel/kexec_load_disabled") != "1",
        "kexec is shut off until the board restarts: leave kernel.kexec_load_disabled at 0 there",
    ),
    (
        lambda root: (root / EFI).exists() or not has_its(root),
        "kexec would spoil memory there: the board's interrupt controller (ITS) goes on writing tables, which only UEFI keeps apart: "
        "boot the board by UEFI, or restart it with --reboot",
    ),
)

# What restarts the board: where systemd runs, and elsewhere.
KEXEC = (["systemctl", "kexec"], ["kexec", "--exec"])
REBOOT = (["systemctl", "reboot"], ["reboot", "-f"])
SYSTEMD = "run/systemd/system"


def own(command_line: str, running: str) -> tuple[str, str]:
    """Return the command line of the board's own boot and the release of its own kernel, by what the running one was told."""
    line, word, after = f" {command_line}".partition(f" {OWN}")
    return line.strip(), after.split()[0] if word else running


def runs(root: Path) -> dict[str, object]:
    """Return the release of the kernel that runs, that of the board's own, whether it is another one, and which boot it is."""
    line = read(root / "proc/cmdline")
    home = own(line, platform.release())[1]
    return {"kernel": platform.release(), "own": home, "foreign": f" {OWN}" in f" {line}", "boot_id": read(root / BOOT_ID)}


def loaded(root: Path, release: str, more: str = "") -> tuple[tuple[list[str], list[str]], str]:
    """Load a kernel, and return what puts it in force, and why that is not kexec if it is not.

    Parameters
    ----------
    root : path
        The folder that paths start at; ``/`` on a board.
    release : str
        Of the kernel in the file $STUDY_IMAGE; empty for the board's own, to which a plain restart leads, too.
    more : str
        Words that the command line of the former has besides.

    Raises
    ------
    BoardError
        If the kernel cannot be loaded.
    """
    try:
        _load(root, release, more)
    except BoardError as error:
        if release:
            raise
        return REBOOT, str(error)
    finally:
        os.sync()  # now, while nobody counts our seconds
    return KEXEC, ""


def _load(root: Path, release: str, more: str) -> None:
    line, home = own(read(root / "proc/cmdline"), platform.release())
    for there, todo in NEEDS:
        if not there(root):
            raise BoardError(todo)
    image = Path(os.environ["STUDY_IMAGE"]) if release else _first(root, KERNELS, [home])
    if image is None:
        raise BoardError(f"/boot has no kernel {home}")
    initrd = _first(root, INITRDS, [release, home])
    told = " ".join(filter(None, [line, f"{OWN}{home}", PANIC, more])) if release else line
    words = ["--load", str(image), f"--command-line={told}"]
    words += [f"--initrd={initrd}"] if initrd else []
    # Whichever system call the kernel has; and what was loaded a moment ago need not be checked, which takes seconds.
    done = subprocess.run(["kexec", "--kexec-syscall-auto", "--no-checks", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BoardError(f"kexec does not take the kernel: {' | '.join((done.stderr or done.stdout).strip().splitlines()[-2:])}")


def _first(root: Path, names: Iterable[str], releases: Iterable[str]) -> Path | None:
    """Return the first file that is there of some releases, where there are any."""
    places = (root / name.format(release) for release in releases if release for name in names)
    return next((place for place in places if place.exists()), None)


def go(root: Path, ways: tuple[list[str], list[str]], folder: str) -> None:
    """Restart the board, after removing the folder that we were sent in; where systemd runs, it ends all else before."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(ways[not (root / SYSTEMD).is_dir()], check=False)
