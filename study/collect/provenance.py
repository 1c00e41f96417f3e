"""What the study itself was when it measured: its version, its sources, the host's tools."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from study import __version__, paths
from study.collect import measuring
from study.errors import StudyError
from study.kernels.cache import agent_digest, digest, tree_digest
from study.process import git


def of_the_host() -> dict[str, Any]:
    """Return what is true of a boot and only the host knows."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "study": _of_the_study(),
        "host": {
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "python": platform.python_version(),
        },
    }


@functools.cache
def _of_the_study() -> dict[str, Any]:
    """Return what this process runs, as it was when it was first asked."""
    return {
        "version": __version__,
        "commit": _commit(),
        "onboard_sha256": agent_digest(),
        "module_sha256": tree_digest(paths.MODULE),
        "sources_sha256": digest(tree_digest(paths.ROOT / "study")),
        "measured_by": measuring.digests(),
    }


def _commit() -> str:
    """Return the commit of the checkout, with a plus sign if the code has changes; empty where there is no git, or no checkout.

    A copy of the study inside of somebody else's repository is none: what is above it is a commit of something else.
    """
    try:
        above, commit = git(paths.ROOT, "rev-parse", "--show-prefix", "--short=12", "HEAD").split("\n", 1)
        changes = git(paths.ROOT, "status", "--porcelain", "--untracked-files=normal", "--", "study", "notebooks")
    except StudyError:
        return ""
    return "" if above else commit.strip() + "+" * bool(changes)


def another_kit(boots: Iterable[Mapping[str, Any]]) -> str:
    """Say in a line that boots were measured by other commits of the kit than the one that speaks; empty where none was.

    Parameters
    ----------
    boots : iterable of mapping
        The facts of boots, as of_the_host() is part of them.
    """
    measured = {commit for facts in boots if (commit := facts.get("study", {}).get("commit"))}
    here = _commit()
    if not here or measured <= {here}:
        return ""
    return f"Note: this was measured with commit {', '.join(sorted(measured))} of the kit, and is drawn with {here}.\n\n"
