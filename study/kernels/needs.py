"""What a kernel must be so that a board can boot it and the study can measure it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from study.errors import BadRequest

# Options that must be built in, and what is missing without each: on every board, and on an emulated one, where nobody loads a module.
EVERYWHERE = {"KVM": "guests", "PERF_EVENTS": "perf", "HW_PERF_EVENTS": "perf's counters", "EVENT_TRACING": "tracepoints"}
EMULATED = {
    "BLK_DEV_INITRD": "its user space",
    "DEVTMPFS": "devices",
    "SERIAL_AMBA_PL011_CONSOLE": "the console",
    "VIRTIO_MMIO": "the line of the agent",
    "VIRTIO_CONSOLE": "the line of the agent",
}

VERSION = re.compile(r"^# Linux/(\S+) (\S+) Kernel Configuration", re.MULTILINE)
MAGIC, AT = b"ARM\x64", 56  # Documentation/arch/arm64/booting.rst
NOTE = re.compile(rb"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0(.{20})", re.DOTALL)  # an ELF note of type NT_GNU_BUILD_ID


def check(name: str, image: bytes, config: str) -> str:
    """Return the release of a kernel that a board can be measured with.

    Parameters
    ----------
    name : str
        What the user calls it.
    image, config : bytes, str
        Its Image and its configuration.

    Raises
    ------
    BadRequest
        If the image is none of arm64, or an option that is needed is not built in.
    """
    if image[AT : AT + len(MAGIC)] != MAGIC:
        raise BadRequest(f"{name}: its Image is not that of an arm64 kernel")
    if lacking := lacks(name, config):
        raise BadRequest(lacking)
    if not build_ids(image):
        raise BadRequest(f"{name}: its Image has no build ID, by which a boot of it would be known")
    return VERSION.search(config)[2]  # type: ignore[index]  # lacks() has seen it


def lacks(name: str, config: str, needed: Mapping[str, str] = EVERYWHERE) -> str:
    """Return what in a configuration keeps a board from being measured, in a line; empty if nothing does."""
    found = VERSION.search(config)
    if not found:
        return f"{name}: its config does not begin as the configuration of a kernel does"
    if found[1] != "arm64":
        return f"{name}: it is configured for {found[1]}, not for arm64"
    built_in = set(re.findall(r"^CONFIG_(\w+)=y$", config, re.MULTILINE))
    if not (missing := [option for option in needed if option not in built_in]):
        return ""
    what = ", ".join(f"CONFIG_{option} ({needed[option]})" for option in missing)
    return f"{name}: its configuration must have built in, with =y: {what}"


def build_ids(image: bytes) -> list[str]:
    """Return the build IDs in an image: the kernel's, and those of the code that it gives to user space."""
    return [found.hex() for found in NOTE.findall(image)]
