"""Processes that do not outlive the one that started them, however that ends: prctl(2), PR_SET_PDEATHSIG."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def end_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent, or the parent's thread that started it, ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def to_parent(number: int) -> Callable[[], None]:
    """Return what a child is to call between fork and exec, so that it gets a signal when we end."""
    parent = os.getpid()

    def before_exec() -> None:
        end_with_parent(number)
        if os.getppid() != parent:  # it has ended already
            os._exit(1)

    return before_exec
