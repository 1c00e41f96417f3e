"""An emulated board: a real arm64 Linux with real KVM under QEMU, where one instruction is one virtual nanosecond."""

from __future__ import annotations

import json
from pathlib import Path

from study.collect.boards.link import Launch
from study.collect.boards.linux import LinuxBoard
from study.design import Kernel
from study.errors import BadRequest
from study.kernels import archive, guests, image, module, source
from study.kernels.cache import digest_of
from study.process import need, run

# Board name: QEMU's CPU. The first runs KVM with VHE, the second without (nVHE).
CPUS = {"qemu-neoverse-n1": "neoverse-n1", "qemu-cortex-a57": "cortex-a57"}
# Pages that a CPU has not, by what the kernel's configuration calls them: such a kernel stops before its first word (Arm Cortex-A57 TRM,
# ID_AA64MMFR0_EL1.TGran16).
LACKS = {"qemu-cortex-a57": ("CONFIG_ARM64_16K_PAGES=y", "pages of 16 KiB")}

# The kernel's command line. Without cryptomgr.notests it tries all of its ciphers, which takes a sixth of a boot. With damon_stat, which
# Debian's 6.18 and 7.3 have on, a thread looks at the board's memory every 36 ms, for up to 3 million instructions.
WORDS = ("console=ttyAMA0", "rdinit=/init", "panic=-1", "loglevel=5", "cryptomgr.notests", "damon_stat.enabled=N")


class EmulatedBoard(LinuxBoard):
    """A machine of the emulator; started afresh for every boot.

    Parameters
    ----------
    name : str
        A row of CPUS.
    machine : str
        QEMU's machine; the default starts Linux at EL2, so that it has KVM.
    append : str
        Words added to the kernel's command line.
    patience : float
        Seconds until the board must have answered for the first time.

    Attributes
    ----------
    cpus : int
        How many it has.
    """

    emulated = True
    cpus = 1

    def __init__(
        self, name: str, machine: str = "virt,virtualization=on,gic-version=3", append: str = "", patience: float = 120.0
    ) -> None:
        self.name = name
        self._machine, self._append, self._patience = machine, append, patience

    def launch(self, console: Path, strategies: tuple[str, ...], kernel: str = "") -> Launch:
        """Assemble the image with a kernel of a series, or take it from the cache, and say how to boot it."""
        qemu = need("qemu-system-aarch64")
        along = {guests.FOLDER_OF_THE_VMM: guests.vmm() / "root", **self.guests} if self.guests else {}
        if self.priced:
            along["prices"] = self._loops(kernel or archive.KERNEL)
        built = image.image(kernel, along)
        lacking, called = LACKS.get(self.name, ("", ""))
        if lacking and lacking in (built / "config").read_text().splitlines():
            raise BadRequest(
                f"{self.name} has no {called}, which kernel {kernel} needs: leave it out there, or take another board"
            )
        facts = json.loads((built / "image.json").read_text())
        # -icount shift=0: one instruction, one nanosecond, so that clocks and counters count the same thing.
        argv = [
            need("setpriv"), "--pdeathsig", "KILL", "--",  # no emulator outlives the command that started it
            qemu, "-M", self._machine, "-cpu", CPUS[self.name], "-smp", str(self.cpus), "-m", "2G", "-icount", "shift=0",
            "-kernel", str(built / "vmlinuz"), "-initrd", str(built / "initrd"),
            "-append", " ".join(filter(None, [*WORDS, Kernel(kernel, strategies=strategies).words, self._append])),
            "-display", "none", "-nodefaults", "-no-reboot", "-monitor", "none", "-serial", f"file:{console.name}",
            "-device", "virtio-serial-device", "-chardev", "stdio,id=line,signal=off",
            "-device", "virtserialport,chardev=line,name=study",
        ]  # fmt: skip
        version = run([qemu, "--version"]).splitlines()[0]
        host_facts = {
            "emulator": version,
            "emulated_cpu": CPUS[self.name],
            "image_sha256": facts["digest"],
            "packages": facts["packages"],
            "config_sha256": digest_of(built / "config"),
        }
        return Launch(argv, cwd=console.parent, console=console, facts=host_facts, patience=self._patience)

    def _loops(self, kernel: str) -> Path:
        """Return the folder of the module whose loops are priced, for a kernel."""
        system = source.find(kernel)
        release = json.loads((system / "versions.json").read_text())["release"]
        if not (system / "headers").is_dir():
            raise BadRequest(
                f"{self.name}: the headers of kernel {release} are not fetched for emulated boards; ask for --kernel 6.1"
            )
        return module.loops(release, system / "headers").parent
