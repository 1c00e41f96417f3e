"""Whether a boot is one that the campaign may go on with: of the kernel that is next, on the machine that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from study.campaign import Campaign
from study.collect.boards import Board
from study.design import Kernel, Visit
from study.errors import BoardFailed, WrongBoot
from study.factors import CHOOSES, told

# What a board must still be when it goes on with a campaign, and what must be the same in all boots of one kernel.
MACHINE = ("architecture", "identity", "model", "cpu", "emulated_cpu", "breakpoints", "watchpoints", "gic", "frequency")
UNSAID = {None, ""}  # of a boot of an earlier version, or one that may not read it
OF_A_KERNEL = ("kernel", "build_id", "config_sha256", "mode", "mitigations")


def same_machine(campaign: Campaign, board: Board, facts: dict[str, Any]) -> None:
    """Refuse to go on with another kernel or build, another mode of KVM, or another machine or kind of core under the same name."""
    asked = campaign.design_of(board.name).factors.kernel_called
    for known in map(campaign.facts, campaign.boots()):
        if known["board"] != board.name:
            continue
        one_kernel = len({asked(boot["kernel"], boot.get("command_line", "")) for boot in (facts, known)}) == 1
        for what in (*OF_A_KERNEL * one_kernel, *MACHINE):
            if not {known.get(what), facts.get(what)} & UNSAID and known[what] != facts[what]:
                raise BoardFailed(
                    f"{board.name} has {what} {facts.get(what)}, but {campaign.folder} has visits of it with {known[what]}: "
                    "that is another campaign, name one"
                )


def right_kernel(campaign: Campaign, board: str, visit: Visit, facts: dict[str, Any]) -> None:
    """Refuse a boot of another kernel than the design alternates to, and one that was measured already."""
    kernels = [Kernel.of(text) for text in campaign.design_of(board).factors.kernels]
    kernel = Kernel.of(visit.kernel)
    boots = [known for known in map(campaign.facts, campaign.boots()) if known["board"] == board]
    again = "run the same command again: what was recorded stays"
    if runs := other_kernel(kernel, kernels, boots, facts):
        raise WrongBoot(
            f"boot {visit.boot} of the design is one of {kernel.name}, but {board} runs {runs}", f"boot it, and {again}"
        )
    if facts.get("boot_id") in [known.get("boot_id") for known in boots] and visit.name.endswith("-0001"):
        raise WrongBoot(f"boot {visit.boot} of the design must be a new one", f"restart {board} with {kernel.name}, and {again}")


def other_kernel(wanted: Kernel, kernels: Sequence[Kernel], known: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return what a boot runs instead of the kernel that it should; empty if it runs that.

    Parameters
    ----------
    wanted : Kernel
        One of `kernels`, those of the design.
    known : sequence of mappings
        Facts of the board's boots so far, with what tables call their ``kernel``.
    facts : mapping
        Of the boot: ``kernel``, its release, ``build_id``, by which kernels of one release are told apart, and ``command_line``, by
        which boots of one build are; if the kernel is one of the user's own, ``source``, with the build IDs that it may have.
    """
    release, build = str(facts["kernel"]), facts.get("build_id", "")
    if wanted.own and build not in facts["source"]["build_ids"]:
        return f"{release} with build ID {build[:12] or 'none'}, which is another build"
    if wanted.own and (has := told(facts.get("command_line", ""))) != wanted.told:
        there = f"{CHOOSES}{has}" if has else f"no {CHOOSES}"
        return f"{release} with {there} on its command line, and not {wanted.words or 'without'}"
    exact = [kernel for kernel in kernels if kernel.release == release]
    if wanted not in exact and (exact or not wanted.is_that(release)):
        return release
    if not (wanted.label and build):
        return ""
    alike = [boot for boot in known if told(boot.get("command_line", "")) == told(facts.get("command_line", ""))]
    builds = {boot["build_id"]: boot["kernel"] for boot in alike if boot.get("build_id")}
    if builds.get(build, wanted.label) != wanted.label:
        return f"{builds[build]}, by its build ID"
    if wanted.label in builds.values() and build not in builds:
        return f"another build of {release} than its boots before"
    return ""
