"""A measured patch series that nobody measured: a campaign on disk whose costs are given."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.campaign import Campaign
from study.design import GIT, Factors, Kernel, choose
from tests import lines

BOARDS = {"qemu-neoverse-n1": "vhe", "qemu-cortex-a57": "nvhe"}
SUBJECTS = ["Linux 7.3", "KVM: arm64: Burn a hundred instructions", "KVM: arm64: Burn nothing any more", "KVM: arm64: Reword"]


def row(label: str, number: int, kernel: str | None = None, why: str = "") -> dict[str, str]:
    """A commit as series.json has it."""
    known = {
        "commit": f"{number:040x}",
        "describe": f"v7.3-{number}",
        "subject": SUBJECTS[number % len(SUBJECTS)],
        "label": label,
    }
    return {**known, "kernel": label if kernel is None else kernel, "why": why}


def factors(labels: list[str], **more: Any) -> Factors:
    """The design of a series whose kernels have these labels."""
    kernels = ",".join(Kernel(f"{GIT}{place:040x}", label).text for place, label in enumerate(labels))
    asked = {"guests": "untouched,mde", "exits": "hvc,mmio", "values": 1, **more}
    return choose("series", kernels=kernels, **asked)


def make(
    folder: Path, costs: Mapping[str, float], series: Mapping[str, Any], boards: Mapping[str, str] = BOARDS, **more: Any
) -> Campaign:
    """A campaign of kernels by label, each of which takes so many instructions more than the base; a boot is off by up to a half."""
    asked = factors(list(costs), **more)
    campaign = Campaign.freeze(folder, asked, grows=True)
    campaign.record_series(series)
    noise = random.Random(1)
    for board, mode in boards.items():
        for number in sorted({visit.boot for visit in campaign.missing(board)}):
            boot, kernel = campaign.open_boot(board, number), Kernel.of(asked.kernel_of(number))
            boot.begin()
            boot.console.write_text("made up\n")
            source = {
                "commit": kernel.release,
                "compiler": "gcc 12",
                "config_sha256": "c" * 64,
                "build_ids": [kernel.release[-40:]],
            }
            known = {"board": board, "kernel": kernel.label, "release": "7.3.4", "mode": mode, "emulated": True, "source": source}
            boot.describe(known)
            for visit in [visit for visit in campaign.missing(board) if visit.boot == number]:
                base = {"hvc": 1250.0, "mmio": 6500.0}[visit.cell.exit] + (380.0 if visit.cell.guest == "mde" else 0.0)
                cost = base + costs[kernel.label] + noise.uniform(-0.5, 0.5)
                boot.record(lines.of_kvm(visit, asked, cost * 1e-9))
        campaign.close(board)
    return Campaign(folder)
