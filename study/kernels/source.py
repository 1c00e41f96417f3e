"""Kernels of the user's own: commits of a git repository, and images that are there already.

A user's repository is read and never written: a clone of ours borrows its objects, and has one tree that is switched from commit to
commit. What a design freezes is the commit, or the digest of the image: a branch may move, and a folder may be built anew.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from pathlib import Path
from typing import Any

from study.design import GIT, IMAGE, Kernel
from study.errors import BadRequest
from study.kernels import archive, build, needs
from study.kernels.cache import cached, digest, digest_of, kept
from study.kernels.repository import Repository, clone

FROZEN = re.compile(r"[0-9a-f]{40}(-dirty)?")
KEPT = "own"
NO_REPO = "kernel {text}: say which repository it is in, with --repo, or REPO= of make"


def resolved(kernels: str, repo: Path | None, start: Path = Path()) -> str:
    """Return kernels with those of the user's own named by what they are: a commit, or the digest of an image.

    Parameters
    ----------
    kernels : str
        As they were asked for, with commas between.
    repo : path, optional
        The repository that commits are in; without one only commits that were seen before are known.
    start : path
        Where relative folders of images start.

    Raises
    ------
    BadRequest
        If there is no such repository, commit or folder, or an image is none that a board could be measured with.
    """
    return ",".join(_resolved(Kernel.of(text.strip()), repo, start).text for text in kernels.split(","))


def _resolved(kernel: Kernel, repo: Path | None, start: Path) -> Kernel:
    if not kernel.own:
        return kernel
    kind, colon, name = kernel.release.partition(":")
    is_commit = kind + colon == GIT
    known = clone().knows(name) if is_commit else kept(KEPT, name).is_dir()
    if FROZEN.fullmatch(name) and known:
        return kernel
    frozen, label = _freeze_commit(name, repo) if is_commit else _freeze_image(name, start)
    return dataclasses.replace(kernel, release=kind + colon + frozen, label=kernel.label or _as_label(label))


def _as_label(text: str) -> str:
    """Return a name without what means something in the text of a kernel."""
    return re.sub(r"[=:,+\s]+", "-", text)


def _freeze_commit(name: str, repo: Path | None) -> tuple[str, str]:
    if repo is None:
        raise BadRequest(NO_REPO.format(text=GIT + name))
    commit = clone().take(Repository(repo), name)
    return commit.name, commit.describe if commit.dirty else name


def _freeze_image(name: str, start: Path) -> tuple[str, str]:
    """Take the files of an image along, as the folder has them now."""
    folder = start / Path(name).expanduser()
    image, config = _image_in(folder), folder / "config"
    try:
        data = gzip.decompress(image.read_bytes()) if image.suffix == ".gz" else image.read_bytes()
        text = config.read_text(errors="replace")
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise BadRequest(f"image:{name} cannot be read: {error}") from None
    release = needs.check(f"image:{name}", data, text)
    frozen = digest(data, text)[:40]

    def take(place: Path) -> None:
        (place / "vmlinuz").write_bytes(data)
        (place / "config").write_text(text)
        about = {"image_sha256": digest_of(place / "vmlinuz"), "config_sha256": digest_of(place / "config"),
                 "build_ids": needs.build_ids(data)}  # fmt: skip
        (place / "versions.json").write_text(json.dumps({"release": release, "packages": {}, "source": about}, indent=1))

    cached(KEPT, frozen, take)
    return frozen, folder.resolve().name


def _image_in(folder: Path) -> Path:
    for name in ("Image", "Image.gz"):
        if (folder / name).is_file() and (folder / "config").is_file():
            return folder / name
    raise BadRequest(
        f"image:{folder} holds no kernel: it must be a folder with Image (or Image.gz) and config, as tuxmake leaves it"
    )


def find(release: str) -> Path:
    """Return the folder of a kernel, which is fetched or built unless it is there.

    Parameters
    ----------
    release : str
        As a design has it: how its release begins, of one of Debian's; or ``git:`` or ``image:`` and what resolved() made of it.

    Returns
    -------
    path
        A folder with ``vmlinuz``, ``config`` and ``versions.json``: ``release``, ``packages`` and, of the user's own, ``source``.

    Raises
    ------
    NotBuilt
        If a commit does not build, with its first error.
    """
    if release.startswith(GIT):
        return build.kernel(clone(), release.removeprefix(GIT))
    if release.startswith(IMAGE):
        if not (place := kept(KEPT, release.removeprefix(IMAGE))).is_dir():
            raise BadRequest(f"{release} is not kept here any more: name the folder that it came from again")
        return place
    return archive.kernel(release)


def about(release: str) -> dict[str, Any]:
    """Return what is to be recorded of a boot of a user's own kernel: where it is from, and what it was built of and by."""
    built: dict[str, Any] = json.loads((find(release) / "versions.json").read_text())["source"]
    return built | (clone().commit(release.removeprefix(GIT)).facts() if release.startswith(GIT) else {})


def prepare(kernels: tuple[str, ...]) -> None:
    """Build the own ones of some kernels, and refuse two labels of one build that are told the same as they boot.

    Raises
    ------
    BadRequest
        If two of them are the same build, and the same strategy: what boots could not be told apart.
    """
    seen: list[tuple[Kernel, set[str]]] = []
    for kernel in filter(lambda kernel: kernel.own, map(Kernel.of, kernels)):
        builds = set(about(kernel.release)["build_ids"])
        for other, ids in seen:
            if other.told == kernel.told and (
                builds <= ids or ids <= builds
            ):  # an image has, besides its own, those of what it gives to user space
                raise BadRequest(
                    f"kernels: {other.name} and {kernel.name} are the same build ({min(builds & ids)[:12]}): leave one out"
                )
        seen.append((kernel, builds))
