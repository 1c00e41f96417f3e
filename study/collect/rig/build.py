"""Build the rig: one image for each architecture, the same bytes from the same sources and compiler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from study import paths
from study.kernels.cache import cached, digest
from study.kernels.module import cross
from study.process import run
from study.terminal import progress

RECIPE = Path(__file__).read_bytes()

# -mstrict-align and its like: before its MMU is on, a CPU faults on unaligned accesses. No pattern of a loop becomes a call
# of a C library that is not there.
FLAGS = [
    "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-stack-protector", "-fPIE", "-fvisibility=hidden",
    "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns",
]  # fmt: skip
LINK = ["-nostdlib", "-static-pie", "-Wl,-z,notext,-z,noexecstack,--no-dynamic-linker,--build-id=none,--no-warn-rwx-segments"]


@dataclass(frozen=True)
class Architecture:
    """How an architecture's image is compiled: the prefix of its tools, and flags of its own."""

    prefix: str
    flags: tuple[str, ...]

    def tool(self, name: str) -> str:
        """Return the name of a tool that builds for this architecture."""
        return cross(name) if self.prefix == "aarch64-linux-gnu-" else self.prefix + name


ARCHITECTURES = {
    "aarch64": Architecture("aarch64-linux-gnu-", ("-mgeneral-regs-only", "-mstrict-align")),
    "armv7": Architecture(
        "arm-linux-gnueabihf-", ("-marm", "-march=armv7ve", "-mfpu=auto", "-mfloat-abi=soft", "-mno-unaligned-access")
    ),
}


def image(architecture: str) -> Path:
    """Build the rig for an architecture, or take it from the cache.

    Returns
    -------
    path
        ``rig.bin``, as boot loaders take it; ``rig.elf``, with symbols, lies beside it.

    Raises
    ------
    StudyError
        If the compiler is not installed, or fails.
    """
    how = ARCHITECTURES[architecture]
    folders = [paths.RIG / "shared", paths.RIG / architecture]
    sources = sorted(path for folder in folders for path in folder.iterdir())
    contents = [part for path in sources for part in (path.name, path.read_bytes())]
    compiler = how.tool("gcc")
    version = run([compiler, "--version"]).splitlines()[0]

    def build(place: Path) -> None:
        progress.say(f"building the rig for {architecture}")
        common = [compiler, *FLAGS, *how.flags, *(f"-I{folder}" for folder in folders), "-c"]
        objects = []
        # The switch is assembled twice: as it is measured, and as it counts itself.
        jobs: list[tuple[Path, str, list[str]]] = [(path, path.stem, []) for path in sources if path.suffix in (".c", ".S")]
        jobs.append((paths.RIG / architecture / "switch.S", "tally", ["-DTALLY"]))
        for source, name, more in jobs:
            objects.append(place / f"{name}{source.suffix}.o")
            run([*common, *more, "-o", objects[-1], source])
        script = paths.RIG / "shared/image.lds"
        run([compiler, *how.flags, *LINK, "-T", script, "-o", place / "rig.elf", *sorted(objects), "-lgcc"])
        run([how.tool("objcopy"), "-O", "binary", place / "rig.elf", place / "rig.bin"])
        for path in objects:
            path.unlink()

    recipe = digest(RECIPE, architecture, version, *contents)
    return cached(f"rig-{architecture}", recipe, build) / "rig.bin"
