"""Open an event of the kernel's perf by perf_event_open(2).

Layouts: include/uapi/linux/perf_event.h and hw_breakpoint.h, which are stable.
"""

from __future__ import annotations

import ctypes
import os
import struct

PERF_EVENT_OPEN = 241  # include/uapi/asm-generic/unistd.h
# struct perf_event_attr to sample_regs_intr: type, size, config, sample_period, sample_type, read_format, flags, wakeup_events,
# bp_type, bp_addr, bp_len, branch_sample_type, sample_regs_user, sample_stack_user, clockid, sample_regs_intr.
ATTRIBUTES = struct.Struct("=IIQQQQQIIQQQQIiQ")
DISABLED, INHERIT, EXCLUDE_USER, EXCLUDE_KERNEL, EXCLUDE_HV = 1, 1 << 1, 1 << 4, 1 << 5, 1 << 6  # of the flags
ENABLE_ON_EXEC, EXCLUDE_HOST = 1 << 12, 1 << 19
THIS_THREAD, ANY_THREAD, ANY_CPU, NO_GROUP, CLOSE_ON_EXEC = 0, -1, -1, -1, 8


def opened(
    kind: int, config: int = 0, *, flags: int, period: int = 0, sample: int = 0, breakpoint: tuple[int, int, int] = (0, 0, 0),
    registers: int = 0, cpu: int = ANY_CPU, read: int = 0, thread: int = THIS_THREAD,
) -> int:  # fmt: skip
    """Open an event, of this thread if nothing else is said, and return its file.

    Parameters
    ----------
    kind, config : int
        Which event.
    flags : int
        What is left out of it, and how it begins.
    period, sample, registers : int
        After how many of them a sample is taken, and what is in it: bits of sample_type, and of the registers.
    breakpoint : tuple of int
        Of a breakpoint: its type, address and length.
    cpu : int
        Only on this CPU, whose PMU it is.
    read : int
        What is read beside the count: bits of read_format.
    thread : int
        Whose it is; ANY_THREAD: of all that runs on that CPU.

    Raises
    ------
    OSError
        If the kernel does not give it.
    """
    which, address, length = breakpoint
    fields = ATTRIBUTES.pack(
        kind, ATTRIBUTES.size, config, period, sample, read, flags, 0, which, address, length, 0, 0, 0, 0, registers
    )
    file = ctypes.CDLL(None, use_errno=True).syscall(PERF_EVENT_OPEN, fields, thread, cpu, NO_GROUP, CLOSE_ON_EXEC)
    if file < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(file)
