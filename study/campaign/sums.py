"""The sums of a campaign: the SHA-256 of each raw file, as ``sha256sum -c`` reads them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from study.campaign.files import write_whole

SUMS = "SHA256SUMS"


def read_sums(folder: Path) -> dict[str, str]:
    """Return the sums of a campaign: name to SHA-256. A line that is none is passed over: its file is without a sum then."""
    path = folder / SUMS
    if not path.exists():
        return {}
    found = re.findall(r"^([0-9a-f]{64})  (.+)$", path.read_text(errors="replace"), re.MULTILINE)
    return {name: value for value, name in found}


def write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Write the sums of a campaign, as ``sha256sum -c`` reads them."""
    write_whole(folder / SUMS, "".join(f"{value}  {name}\n" for name, value in sorted(sums.items())))


def before_crlf(path: Path, value: str) -> bytes:
    """Return what a file with this sum held before its line ends became CRLF; nothing, if it is not that which is wrong with it."""
    data = path.read_bytes().replace(b"\r\n", b"\n")
    return data if hashlib.sha256(data).hexdigest() == value else b""


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
