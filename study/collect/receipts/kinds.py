"""What kind an instruction is, by its word: decoded by capstone, as it was executed."""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass

import capstone

from study.errors import BadData


class Flow(enum.Enum):
    """What may be executed next."""

    ON = "the instruction behind it"
    BRANCH = "its target, or the instruction behind it"
    CALL = "its target, which returns"
    ANYWHERE = "what a register holds"
    CALL_ANYWHERE = "what a register holds, which returns"
    BACK = "what the link register, or the exception link register, holds"


@dataclass(frozen=True)
class Kind:
    """What is counted of an instruction.

    Parameters
    ----------
    reads, writes : str
        The system register that it reads or writes; a coprocessor's register as ``p14,0,c0,c5,4`` where it has no name here.
    isb, dsb, load, store, branch, eret : bool
        Whether it is such. An atomic operation on memory is a load and a store; a pair is one of its kind.
    flow : Flow
        What may be executed next.
    target : int
        Where a direct branch goes, from the instruction.
    """

    reads: str = ""
    writes: str = ""
    isb: bool = False
    dsb: bool = False
    load: bool = False
    store: bool = False
    branch: bool = False
    eret: bool = False
    flow: Flow = Flow.ON
    target: int = 0


# Of memory operations: what loads, what stores, and what does both.
BOTH = re.compile(r"(?:cas|swp|ld(?:add|clr|eor|set|[su](?:max|min)))")
LOADS = re.compile(r"(?:ld(?!add|clr|eor|set|[su](?:max|min))|pop|vld|vpop)")
STORES = re.compile(r"(?:st(?!add|clr|eor|set|[su](?:max|min))|push|vst|vpush)")
# Atomic operations without a result.
ADDS = re.compile(r"st(?:add|clr|eor|set|[su](?:max|min))")
# Coprocessor 14 of ARMv7: DBGBVR0 and so on, by opc2 (Arm ARM v7, C11.8); and DBGDSCR.
DEBUG = re.compile(r"p14, #?0, \w+, c0, c(?P<n>\d+), \{?#?(?P<which>[4567])\}?")
NAMES = {"4": "dbgbvr", "5": "dbgbcr", "6": "dbgwvr", "7": "dbgwcr"}
# What is the state of the processor and no system register.
PSTATE = {"daif", "daifset", "daifclr", "nzcv", "spsel", "pan", "uao", "ssbs", "currentel", "cpsr", "apsr", "apsr_nzcv"}

# LDTR and its like (Arm ARM C4.1, loads and stores with an unprivileged address): capstone 5 knows them only if they load into another
# register than the one that holds the address.
UNPRIVILEGED, LDTR = 0x3B200C00, 0x38000800

MODES = {
    "aarch64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
    "armv7": (capstone.CS_ARCH_ARM, capstone.CS_MODE_ARM | capstone.CS_MODE_V8),
}


@functools.cache
def _decoder(architecture: str) -> capstone.Cs:
    return capstone.Cs(*MODES[architecture])


@functools.cache
def kind(architecture: str, word: int) -> Kind:
    """Return what kind of instruction a word is.

    Parameters
    ----------
    architecture : str
        ``aarch64`` or ``armv7``.
    word : int
        32 bits.

    Raises
    ------
    BadData
        If it is no instruction that is known.
    """
    if architecture == "aarch64" and word & UNPRIVILEGED == LDTR and word & 0x1F == word >> 5 & 0x1F:
        word ^= 1
    found = next(_decoder(architecture).disasm_lite(word.to_bytes(4, "little"), 0), None)
    if found is None:
        raise BadData(f"{word:#010x} is no {architecture} instruction that is known")
    _, _, name, operands = found
    return (_of_a64 if architecture == "aarch64" else _of_a32)(name, operands.lower())


def _of_a64(name: str, operands: str) -> Kind:
    first, _, last = (part.strip() for part in operands.partition(","))
    match name:
        case "mrs":
            return Kind(reads="" if last in PSTATE else last)
        case "msr":
            return Kind(writes="" if first in PSTATE else first)
        case "isb":
            return Kind(isb=True)
        case "dsb":
            return Kind(dsb=True)
        case "bl":
            return Kind(branch=True, flow=Flow.CALL, target=_place(operands))
        case "eret" | "eretaa" | "eretab":
            return Kind(branch=True, eret=True, flow=Flow.BACK)
        case "ret" | "retaa" | "retab":
            return Kind(branch=True, flow=Flow.BACK)
    if name.startswith("blr"):
        return Kind(branch=True, flow=Flow.CALL_ANYWHERE)
    if name.startswith("br") and name != "brk":
        return Kind(branch=True, flow=Flow.ANYWHERE)
    if name == "b" or name.startswith(("b.", "bc.", "cbz", "cbnz", "tbz", "tbnz")):
        return Kind(branch=True, flow=Flow.BRANCH, target=_place(operands.rpartition(",")[2]))
    return _of_memory(name)


def _of_a32(name: str, operands: str) -> Kind:
    stem = re.sub(r"(?:eq|ne|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al)?(?:\.w)?$", "", name) or name
    first, _, last = (part.strip() for part in operands.partition(","))
    match stem:
        case "mrc" | "mrrc":
            return Kind(reads=_coprocessor(operands))
        case "mcr" | "mcrr":
            return Kind(writes=_coprocessor(operands))
        case "mrs":
            return Kind(reads="" if last in PSTATE else last)
        case "msr":
            return Kind(writes="" if first.partition("_")[0] in PSTATE else first)
        case "vmrs" | "vmsr":
            return Kind(reads=last) if stem == "vmrs" else Kind(writes=first)
        case "isb":
            return Kind(isb=True)
        case "dsb":
            return Kind(dsb=True)
        case "eret" | "rfe" | "rfeia":
            return Kind(branch=True, eret=True, flow=Flow.BACK)
        case "b":
            return Kind(branch=True, flow=Flow.BRANCH, target=_place(operands))
        case "bl":
            return Kind(branch=True, flow=Flow.CALL, target=_place(operands))
        case "blx":
            return Kind(branch=True, flow=Flow.CALL_ANYWHERE)
        case "bx" | "bxj":
            return Kind(branch=True, flow=Flow.BACK if first == "lr" else Flow.ANYWHERE)
    if name in ("bls", "blt", "ble", "blo"):  # b, if lower or same and so on
        return Kind(branch=True, flow=Flow.BRANCH, target=_place(operands))
    found = _of_memory(stem)
    to_pc = (stem.startswith(("pop", "ldm")) and re.search(r"\bpc\b", operands)) or (first == "pc" and stem != "cmp")
    return Kind(load=found.load, store=found.store, branch=True, flow=Flow.BACK) if to_pc else found


def _of_memory(name: str) -> Kind:
    if BOTH.match(name) or ADDS.match(name):
        return Kind(load=True, store=True)
    return Kind(load=bool(LOADS.match(name)), store=bool(STORES.match(name)))


def _place(text: str) -> int:
    """Return where a branch goes: capstone was told that the instruction is at 0."""
    place = int(text.strip().removeprefix("#"), 0)
    return place - (1 << 64) if place >> 63 else place - (1 << 32) if 1 << 31 <= place < 1 << 32 else place


def _coprocessor(operands: str) -> str:
    if found := DEBUG.fullmatch(operands):
        return f"{NAMES[found['which']]}{found['n']}"
    words = [word.strip(" #{}") for word in operands.split(",")]
    return ",".join(word for word in words if not re.fullmatch(r"r\d+|sp|lr|pc|apsr_nzcv|fp|ip|sb|sl", word))
