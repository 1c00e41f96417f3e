"""The machine that the study runs on, if it is an arm64 Linux with KVM. The code is the one that emulated boards run."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from study import paths
from study.collect.boards.link import Launch
from study.collect.boards.linux import RunningBoard
from study.design import Kernel
from study.errors import BoardFailed
from study.factors import STRATEGIES
from study.kernels import guests
from study.kernels.image import payload
from study.kernels.module import loops, module


class LocalBoard(RunningBoard):
    """This machine."""

    name = "local"

    def launch(self, console: Path, strategies: tuple[str, ...], kernel: str = "", image: Path | None = None) -> Launch:
        """Assemble the guest, build the module if a strategy needs it, and say how to start the agent."""
        if platform.machine() != "aarch64":
            raise BoardFailed(
                f"local: this machine is {platform.machine()}, not arm64; measure an emulated board instead: BOARD=qemu-neoverse-n1"
            )
        places = [str(paths.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {"STUDY_PAYLOAD": str(payload()), "PYTHONPATH": os.pathsep.join(places)}
        if any(STRATEGIES[name].module for name in strategies) and not Kernel(kernel, strategies=strategies).told:
            env["STUDY_MODULE"] = str(module(platform.release()))
        if self.priced:
            env["STUDY_MODULE"] = str(loops(platform.release()))
        if self.guests:
            env["STUDY_GUESTS"] = str(guests.beside_each_other(self.guests))
        if image:
            env["STUDY_IMAGE"] = str(image.absolute())
        env["STUDY_PARENT"] = str(os.getpid())  # it ends its visit, and puts the machine back, if we are killed
        return Launch([sys.executable, "-m", "study.collect.onboard"], cwd=console.parent, console=console, env=env)
