"""A patch series on boards: every kernel is built, and tried on each board, before the first is measured."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study import paths
from study.campaign import Campaign
from study.campaign.names import slug
from study.collect import boards, session
from study.collect.boards import Link
from study.collect.fleet import client
from study.collect.fleet.shelf import BoardEntry
from study.design import GIT, Kernel, choose
from study.errors import BadRequest, BoardFailed
from study.kernels import image, source
from study.kernels.build import NotBuilt
from study.kernels.cache import cached, digest, kept
from study.kernels.repository import Commit, Repository, clone
from study.terminal import progress

BASE, TIP = (
    "base",
    "tip",
)  # labels of the commit that a series starts from, and of its last one where that is all that is measured
LONGEST = 24  # letters of a label
TRIED = "tried"  # what of the cache says that a kernel booted


def collect(
    repo: Path, base: str, branch: str, folder: Path, names: Sequence[str], options: Mapping[str, Any], *, ends: bool = False,
    lines: str = "",
) -> Campaign:  # fmt: skip
    """Measure what a campaign of a series still lacks: the base, then every commit of ``base..branch``.

    A commit that does not build, or does not boot, is none that is measured; one whose build is that of an earlier commit is measured
    by that. Commits may be added to a series on emulated boards: what is measured stays.

    Parameters
    ----------
    repo : path
        The repository; it is read and never written.
    base, branch : str
        Where the series starts, and its tip.
    folder : path
        The campaign; it is made if it is not there.
    names : sequence of str
        Of the boards, which are measured at the same time.
    options : mapping
        Those of ``study collect`` that make up a design.
    ends : bool
        Whether the base and the tip are enough.
    lines : str
        The file that the series is kept in as lines, if it is: what others need to measure it.

    Raises
    ------
    BadRequest
        If there is no such series, the campaign is of another one, or none of its commits can be measured.
    NotBuilt
        If the base does not build.
    BoardFailed
        If the base does not boot, or a board fails. What was recorded stays.
    """
    choose(**options)  # what cannot be measured is said before anything is built
    repository = Repository(repo)
    numbered = {TIP: repository.commit(branch)} if ends else dict(enumerate(repository.series(base, branch), 1))
    start = clone().take(repository, base)
    patches = [_row(clone().take(repository, name), str(number)) for number, name in numbered.items()]
    if start.name in [row["commit"] for row in patches]:
        raise BadRequest(f"{base} and {branch} are one commit: there is no series between them")
    known: dict[str, Any] = {"branch": branch, "ends": ends, "base": _named(start, BASE), "patches": patches}
    known |= {"lines": lines} if lines else {}
    _find_kernels(known, names)
    kernels = [row for row in (known["base"], *patches) if row["kernel"] == row["label"]]
    if len(kernels) == 1 and not any(row["kernel"] for row in patches):
        raise BadRequest(f"no commit of {base}..{branch} can be measured; the first one: {patches[0]['why']}")
    asked = {**options, "kernels": ",".join(Kernel(GIT + row["commit"], row["label"]).text for row in kernels)}
    campaign = Campaign.freeze(folder, choose(**asked), grows=all(boards.find(name).emulated for name in names))
    campaign.record_series(known)
    if len(names) == 1:
        return session.collect(names[0], folder, choose(**asked))
    where = ["--lines", lines] if lines else ["--base", base, "--branch", branch]
    words = ["study", "series", "--repo", str(repo), *where, *(["--ends"] if ends else [])]
    again = shlex.join([*words, "--campaign", str(folder), *client.words(options)])
    return client.collect([BoardEntry(name) for name in names], folder, asked, again=again)


def step(repo: Path, than: str, folder: Path, name: str, options: Mapping[str, Any]) -> tuple[Campaign, str]:
    """Measure what is checked out in a repository beside a commit, for one step of a bisection.

    Returns
    -------
    Campaign, str
        A campaign in `folder` that is named after both commits, and what it calls the one that is checked out; BASE is the other.

    Raises
    ------
    NotBuilt
        If what is checked out does not build, or does not boot.
    BadRequest
        If the commit that it is compared with does not.
    """
    repository = Repository(repo)
    start, here = (clone().take(repository, commit) for commit in (than, "HEAD"))
    rows = [_named(start, BASE), _named(here, here.name[:12])]
    try:
        _find_kernels({"base": rows[0], "patches": rows[1:]}, [name])
    except (NotBuilt, BoardFailed) as error:
        raise BadRequest(f"nothing can be compared with {than}: {error}") from None
    if not rows[1]["kernel"]:
        raise NotBuilt(rows[1]["why"])
    own = [Kernel(GIT + row["commit"], row["label"]).text for row in rows if row["kernel"] == row["label"]]
    campaign = folder / f"{start.name[:12]}-{here.name[:12]}"
    return session.collect(name, campaign, choose(**options, kernels=",".join(own))), rows[1]["kernel"]


def _row(commit: Commit, label: str) -> dict[str, str]:
    """Return what is recorded of a patch; its label is a number, or TIP, and as many words of its subject as have room."""
    words = re.findall(r"[a-z0-9]+", commit.subject.rpartition(": ")[2].lower())
    for word in words:
        if len(label) + 1 + len(word) > LONGEST:
            break
        label += f"-{word}"
    return _named(commit, label)


def _named(commit: Commit, label: str) -> dict[str, str]:
    return {
        "commit": commit.name,
        "describe": commit.describe,
        "subject": commit.subject,
        "label": label,
        "kernel": label,
        "why": "",
    }


def _find_kernels(known: Mapping[str, Any], names: Sequence[str]) -> None:
    """Build and try every kernel of a series, and write down by which kernel each commit is measured, or why by none."""
    rows = [known["base"], *known["patches"]]
    built: dict[str, str] = {}
    for row in progress.bar("kernels", len(rows), "built and tried", over=rows):
        try:
            build = source.find(GIT + row["commit"])
            (build_id,) = json.loads((build / "versions.json").read_text())["source"]["build_ids"]
            row["kernel"] = built.setdefault(build_id, row["label"])
            if row["kernel"] == row["label"]:
                _try(names, GIT + row["commit"])
        except (NotBuilt, BoardFailed) as error:
            if row is known["base"]:
                raise
            progress.say(str(error))
            row["kernel"], row["why"] = "", " ".join(str(error).split())
            built = {build_id: label for build_id, label in built.items() if label != row["label"]}


def _try(names: Sequence[str], release: str) -> None:
    """Boot a kernel once on each emulated board, and ask it for all that is measured, before a campaign counts on it."""
    machines = [machine for machine in map(boards.find, names) if machine.emulated]
    marks = {machine.name: digest(machine.name, image.image(release).name) for machine in machines}
    with contextlib.ExitStack() as stack:  # they boot at the same time
        links = {
            machine: stack.enter_context(Link(machine.name, machine.launch(_console(machine.name), ("stock",), release)))
            for machine in machines
            if not kept(TRIED, marks[machine.name]).is_dir()
        }
        for machine, link in links.items():
            facts = machine.describe(link, choose("quick", strategies="stock"))
            if facts["build_id"] not in source.about(release)["build_ids"]:
                raise BoardFailed(f"{machine.name} booted another kernel than {release}: build ID {facts['build_id'] or 'none'}")
            cached(TRIED, marks[machine.name], lambda place: None)


def _console(name: str) -> Path:
    return paths.cache() / f"{TRIED}-{slug(name)}.log"
