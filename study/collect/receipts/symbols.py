"""In which function an address lies: the kernel's, a module's, the guest's, or a program's; the rig's, for a rig."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

# Where nobody knows the function, and what is no kernel's.
UNKNOWN, GUEST, USER, KERNEL = "unknown", "guest", "user", "kernel"
# No function is longer; what is further from the last symbol is of no symbol.
LONGEST = 1 << 16
# Pages that are compared are of the smallest size that there is.
PAGE, WORD = 4096, 4
AT_EL2 = "__kvm_nvhe_"  # how names begin of what runs at EL2 without VHE; some of it is there twice
# Of the kernel's text a part is mapped a second time in its own half of addresses, for what comes from user space, and older kernels
# have no symbols of it (.entry.tramp.text; FIX_ENTRY_TRAMP_TEXT in arch/arm64/include/asm/fixmap.h).
UPPER_HALF, TRAMPOLINE = 1 << 63, "entry trampoline"
ROW = re.compile(r"^([0-9a-f]{16}) (\w) (\S+)(?:\s+\[(\S+)\])?$", re.M)
MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ \S+ *(.*)$", re.M)
# Symbols that say where something begins or ends, and are no function.
MARKERS = re.compile(r"^(?:\$[xdat]|_stext|_text|__.*text_(?:start|end)|.*_(?:start|end)_text|__pi__stext)")


@dataclass(frozen=True)
class Function:
    """A function, and whose it is."""

    name: str
    module: str = KERNEL


class Symbols:
    """The functions of a boot, by address.

    Parameters
    ----------
    rows : iterable of tuple
        Address and function, in any order. Of those at one address the first that is global, or else the first, counts.
    """

    def __init__(self, rows: Iterable[tuple[int, Function]]) -> None:
        known: dict[int, Function] = {}
        for address, function in rows:
            known.setdefault(address, function)
        self._starts = sorted(known)
        self._functions = [known[address] for address in self._starts]

    def find(self, address: int) -> Function | None:
        """Return the function at an address; nothing if there is none."""
        place = bisect.bisect_right(self._starts, address) - 1
        if place < 0 or address - self._starts[place] >= LONGEST:
            return None
        return self._functions[place]

    def start(self, name: str) -> int:
        """Return where a function begins."""
        return next(at for at, function in zip(self._starts, self._functions, strict=True) if function.name == name)


def of_kernel(text: str) -> Symbols:
    """Return the symbols of /proc/kallsyms: of code, with those of modules."""
    rows = [
        (int(at, 16), kind, Function(name, module or KERNEL)) for at, kind, name, module in ROW.findall(text) if kind in "tTwW"
    ]
    rows.sort(key=lambda row: (row[0], row[1] not in "TW"))
    return Symbols((at, function) for at, _, function in rows if not MARKERS.match(function.name))


def of_program(maps: str) -> Callable[[int], Function | None]:
    """Return what finds the file that a program executes at an address, by its /proc/self/maps."""
    ranges = [
        (int(first, 16), int(last, 16), Function(Path(name).name or USER, USER)) for first, last, name in MAPPING.findall(maps)
    ]

    def find(address: int) -> Function | None:
        return next((function for first, last, function in ranges if first <= address < last), None)

    return find


def aliases(
    places: npt.NDArray[np.uint64], words: Mapping[int, int], text: npt.NDArray[np.uint32], start: int
) -> dict[int, list[int]]:
    """Find the kernel's own code where it is executed at other addresses: at EL2 without VHE, and on the way from user space.

    Such a page is one of the kernel's text, mapped a second time; it is known by what is in it, or by how far its neighbours are moved.

    Parameters
    ----------
    places : array of int
        Addresses that are of no function.
    words : mapping of int to int
        The word at each.
    text : array of int
        The kernel's text in memory, as words.
    start : int
        The address of its first word by which symbols know it; of a page.

    Returns
    -------
    dict of int to int
        For the address of each such page that one page alone can be, the address by which symbols know it.
    """
    pages = text[: len(text) // (PAGE // WORD) * (PAGE // WORD)].reshape(-1, PAGE // WORD)
    candidates = {}
    for page in np.unique(places // PAGE):
        inside = [int(place) for place in places[places // PAGE == page]]
        columns = [place % PAGE // WORD for place in inside]
        wanted = np.array([words[place] for place in inside], np.uint32)
        (same,) = np.nonzero((pages[:, columns] == wanted).all(axis=1))
        if len(same):
            candidates[int(page) * PAGE] = [start + int(at) * PAGE for at in same]
    moves = {page - found[0] for page, found in candidates.items() if len(found) == 1}
    return {page: [at for at in found if page - at in moves] or found for page, found in candidates.items()}


def named(
    places: npt.NDArray[np.uint64],
    kernel: Symbols,
    moved: Mapping[int, list[int]],
    others: Iterable[Callable[[int], Function | None]],
) -> list[Function]:
    """Return the function of each address: as others find it, by the kernel's symbols, or UNKNOWN.

    Parameters
    ----------
    places : array of int
        Addresses.
    kernel : Symbols
        Of the kernel.
    moved : mapping of int to list of int
        As aliases() returns it.
    others : iterable of callable
        From an address to its function; they are asked first.
    """
    finders = list(others)

    def find(place: int) -> Function:
        for finder in finders:
            if function := finder(place):
                return function
        page = place // PAGE * PAGE
        found = [kernel.find(at + place - page) for at in moved.get(page, [page])]
        known = {function.name.removeprefix(AT_EL2): function for function in found if function}
        if page in moved and page >= UPPER_HALF and "tramp" not in "".join(known):
            return Function(TRAMPOLINE)
        return known.popitem()[1] if len(known) == 1 and all(found) else Function(UNKNOWN, UNKNOWN)

    return [find(int(place)) for place in places]
