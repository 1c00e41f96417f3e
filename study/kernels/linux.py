"""Linux's own source, as Debian packages it, in a git repository: what a developer of kernels has."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from study.kernels import archive
from study.kernels.cache import cached, digest
from study.kernels.repository import PLAIN, SOMEONE
from study.process import need, run
from study.terminal import progress

BRANCH, BASE = "topic", "base"
RECIPE = Path(__file__).read_bytes()  # what is made depends on how: on this file


def repository(series: str) -> Path:
    """Fetch the newest source of a series of kernels.

    Parameters
    ----------
    series : str
        Such as ``7.3``: one of those that Debian packages, of its own release, the next one and their backports.

    Returns
    -------
    path
        A bare repository, whose only branch is BRANCH with the tag BASE.
    """
    package = f"linux-source-{series}"

    def fetch(place: Path) -> None:
        need("xz")  # tar calls it
        host = run(["dpkg", "--print-architecture"]).strip()
        archive.fetch(archive.of_kernels(place, host), "download", names=[package], cwd=place)
        progress.say(f"unpacking the source of Linux {series} (about a minute)")
        archive.unpack(list(place.glob("*.deb")), place / "unpacked")
        (packed,) = place.glob("unpacked/usr/src/*.tar.xz")
        tree = place / "tree"
        tree.mkdir()
        run(["tar", "--extract", "--file", packed, "--directory", tree, "--strip-components=1"])
        repo = place / "linux.git"
        run(["git", "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", repo], env=PLAIN)
        words = ["git", f"--git-dir={repo}", f"--work-tree={tree}", "-c", "core.looseCompression=0"]
        run([*words, "add", "--all", "--force"], cwd=tree, env=PLAIN)
        message = (
            f"Linux {_version(tree / 'Makefile')}\n\nAs Debian has it: {', '.join(path.name for path in place.glob('*.deb'))}"
        )
        run([*words, "commit", "--quiet", "-m", message], cwd=tree, env={**PLAIN, **SOMEONE})
        run([*words, "tag", BASE], env=PLAIN)
        for name in ("tree", "unpacked", f"apt-{host}"):
            shutil.rmtree(place / name)
        for path in place.glob("*.deb"):
            path.unlink()

    return cached("linux", digest(RECIPE, package), fetch) / "linux.git"


def _version(makefile: Path) -> str:
    """Return which Linux a Makefile is of, from its first lines."""
    parts = re.findall(r"^(?:VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", makefile.read_text(), re.MULTILINE)
    return ".".join(parts)
