"""A host that debugs: breakpoints and watchpoints that the measuring process holds in itself, and that must go on firing.

They are perf's (PERF_TYPE_BREAKPOINT, perf_event_open(2)), so the kernel arms them in the debug registers of the CPU while this
process runs, KVM's world switch included. Each is at a place of its own that only fire() reaches, so none fires while a guest
is measured.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct

from study.factors import HOST_STATES, share

from . import BoardError, perfevent

PERF_TYPE_BREAKPOINT, BREAK_WRITE, BREAK_EXECUTE = 5, 2, 4

RET = struct.pack("<I", 0xD65F03C0)
BYTES = {BREAK_EXECUTE: 4, BREAK_WRITE: 8}


class Debugging:
    """The host's own breakpoints and watchpoints, enabled until they are closed.

    Parameters
    ----------
    state : str
        A row of HOST_STATES.
    breakpoints, watchpoints : int
        How many the CPU has.
    places : tuple of int, optional
        Addresses of functions of one instruction each, and of words, where they are to be; else they are where the kernel puts them.
    cpu : int, optional
        Of all that runs on this CPU; else of this thread, wherever it runs.

    Raises
    ------
    BoardError
        If the kernel does not give them.
    """

    def __init__(
        self,
        state: str,
        *,
        breakpoints: int,
        watchpoints: int,
        places: tuple[int, int] | None = None,
        cpu: int = perfevent.ANY_CPU,
    ) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._files: list[int] = []
        self._cpu = cpu
        row = HOST_STATES[state]
        code = places[0] if places else self._code(breakpoints)
        words = ctypes.c_uint64 * watchpoints
        self._words = words.from_address(places[1]) if places else words()
        data = ctypes.addressof(self._words)
        self._calls = [ctypes.CFUNCTYPE(None)(code + 4 * n) for n in range(share(breakpoints, row.enabled, least=1))]
        self._stores = range(share(watchpoints, row.enabled))
        try:
            for n in range(len(self._calls)):
                self._files.append(self._enable(BREAK_EXECUTE, code + 4 * n))
            for n in self._stores:
                self._files.append(self._enable(BREAK_WRITE, data + 8 * n))
        except OSError as error:
            held = len(self._files)
            self.close()
            asked = len(self._calls) + len(self._stores)
            raise BoardError(
                f"the host could enable {held} of its own {asked} breakpoints and watchpoints: {_why(error)}"
            ) from None

    def _code(self, count: int) -> int:
        """Return the address of `count` functions of one instruction each."""
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._page[: 4 * count] = RET * count
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        # Executable only after it is written: that is when the kernel makes the instruction cache see it.
        if self._libc.mprotect(ctypes.c_void_p(address), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC):
            raise BoardError(f"the host's breakpoints have no page to be in: {os.strerror(ctypes.get_errno())}")
        return address

    def _enable(self, kind: int, address: int) -> int:
        flags = perfevent.EXCLUDE_KERNEL | perfevent.EXCLUDE_HV
        thread = perfevent.THIS_THREAD if self._cpu == perfevent.ANY_CPU else perfevent.ANY_THREAD
        where = kind, address, BYTES[kind]
        return perfevent.opened(PERF_TYPE_BREAKPOINT, flags=flags, breakpoint=where, cpu=self._cpu, thread=thread)

    def fire(self) -> list[int]:
        """Reach every breakpoint and watchpoint once and return how often each fired: 1, if it is armed."""
        before = self._fired()
        for call in self._calls:
            call()
        for n in self._stores:
            self._words[n] = n
        return [after - first for first, after in zip(before, self._fired())]

    def _fired(self) -> list[int]:
        return [struct.unpack("=Q", os.read(file, 8))[0] for file in self._files]

    def close(self) -> None:
        """Disable all of them."""
        while self._files:
            os.close(self._files.pop())


def _why(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "a debugger or perf holds the others; end it"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "the kernel forbids it; run the study as root, or allow it with: sudo sysctl kernel.perf_event_paranoid=-1"
    return str(error.strerror)
