"""The bare-metal rig: emulated, or on the end of a serial line. It counts what a world switch executes."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from study.campaign.names import legible
from study.collect.boards.link import Launch, Link
from study.collect.rig import build
from study.collect.rig.script import Machine, Script, oracle, states
from study.design import Cell, Factors, Visit, choose
from study.errors import BoardFailed
from study.factors import GUEST_STATES, RIG, STRATEGIES
from study.kernels.cache import digest_of
from study.process import need, run


@dataclass(frozen=True)
class Architecture:
    """What differs between architectures for those who ask a rig.

    Parameters
    ----------
    mode : str
        Where the host runs.
    monitor : int
        Bits that turn monitor debug mode on for a guest's kernel: MDSCR_EL1.MDE and KDE; DBGDSCR.MDBGEN.
    entry : int
        DBGDSCR.MOE, which MDSCR_EL1 does not have.
    """

    mode: str
    monitor: int
    entry: int


ARCHITECTURES = {
    "aarch64": Architecture("el2", monitor=1 << 15 | 1 << 13, entry=0),
    "armv7": Architecture("hyp", monitor=1 << 15, entry=0b1111 << 2),
}

# What the counting variant of the switch reports, parts and events, and what a window holds.
TALLY = ("base", "scan", "switch", "trap", "reads", "writes", "traps", "isbs", "switches")
WINDOW = ("instructions", "cycles", "ticks")

# What a rig says of itself that a person asks first.
SHOWN = ("kernel", "architecture", "mode", "model", "identity", "breakpoints", "watchpoints", "frequency", "strategies")

GREETING = '{"rig":"ready"'
DEFAULT_BAUD = 115200
# Breakpoints, and watchpoints: four bits say how many there are, less one (DBGDIDR, ID_AA64DFR0_EL1).
MOST = 16
FASTEST = (1 << 32) - 1  # hertz: CNTFRQ has 32 bits
# Beyond any of the rig's counters.
LARGEST = 1 << 64
VISIT_PATIENCE, SCRIPT_PATIENCE = 600.0, 60.0  # seconds


def write(number: int, do: str, arguments: Mapping[str, Any]) -> str:
    """Write a request as the line of words that the rig reads."""
    return f"id={number} {do} {arguments.get('words', '')}".rstrip()


def read(line: bytes, request: str) -> dict[str, Any]:
    """Read an answer of the rig. A serial line may garble what it carries, so both ways carry a CRC-32.

    Parameters
    ----------
    line : bytes
        The answer, with the CRC of its result, and that of the request as the rig heard it.
    request : str
        The request as it was sent.

    Raises
    ------
    ValueError
        If it is no answer, does not match its CRC, or answers to something else than was asked.
    """
    found = re.fullmatch(rb'\{"id":\d+,"(?:result|error)":(.*),"crc":(\d+),"heard":(\d+)\}\s*', line)
    if not found or zlib.crc32(found[1]) != int(found[2]) or zlib.crc32(request.encode()) != int(found[3]):
        raise ValueError("garbled")
    try:
        answer: dict[str, Any] = json.loads(line, parse_int=_counted, parse_float=_no_count, parse_constant=_no_count)
    except RecursionError:
        raise ValueError("nested without end") from None
    return answer


def _counted(word: str) -> int:
    """Read a number as a rig writes it: it counts."""
    count = int(word)
    return count if 0 <= count < LARGEST else _no_count(word)


def _no_count(word: str) -> NoReturn:
    raise ValueError(f"no rig counts {word[:40]}")


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Refuse what a rig said whole and what makes no sense."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise BoardFailed(
            f"what the rig says makes no sense ({type(error).__name__}: {legible(str(error))}): its image is of another version, "
            "or not the study's; build one with: study rig"
        ) from None


class Rig:
    """What every rig is asked, whatever carries the line."""

    seconds = (0.5, 0.05)
    name: str
    emulated: bool

    @_understood()
    def describe(self, link: Link, factors: Factors) -> dict[str, Any]:
        """Ask a boot what it is, and check that it counts instructions."""
        facts = link.ask("facts")
        architecture = ARCHITECTURES[facts["architecture"]]
        self._machine = Machine(
            int(facts["breakpoints"]), int(facts["watchpoints"]), int(facts["landmarks"], 16), int(facts["baits"], 16),
            architecture.monitor, architecture.entry, int(facts["debug"], 16),
        )  # fmt: skip
        if not (1 <= self._machine.breakpoints <= MOST and 1 <= self._machine.watchpoints <= MOST):
            raise ValueError(f"{self._machine.breakpoints} breakpoints and {self._machine.watchpoints} watchpoints")
        empty, one = (
            link.ask("measure", words=f"strategy=none loops={loops} values=1 warmups=0")["values"][0][0] for loops in (0, 1)
        )
        if not one > empty:
            raise BoardFailed("the counter of retired instructions does not count: without it the rig has nothing to say")
        self._frequency = int(facts["frequency"])
        if not self._frequency:
            raise BoardFailed("the firmware has not set CNTFRQ: without the counter's frequency nothing can be timed")
        if self._frequency > FASTEST:
            raise ValueError(f"a counter of {self._frequency} Hz")
        return {**facts, "kernel": f"rig-{facts['code']}", "mode": architecture.mode}

    def doctor(self, link: Link) -> list[dict[str, str]]:
        """Say what a boot is; one that does not count has refused by then."""
        facts = self.describe(link, choose("quick", RIG))
        shown = {name: facts[name] for name in SHOWN if facts.get(name)}
        return [
            {"check": name, "found": ", ".join(value) if isinstance(value, list) else str(value), "verdict": "good", "todo": ""}
            for name, value in shown.items()
        ]

    def after(self, link: Link) -> dict[str, Any]:
        """Say nothing: nothing on the board changes how fast it is."""
        return {}

    def tune(self, link: Link) -> dict[str, Any]:
        """Change nothing: nothing but the rig runs on the board."""
        return {}

    @_understood()
    def measure(self, link: Link, visit: Visit, factors: Factors) -> dict[str, Any]:
        """Measure one cell: values, what the counting variant of the switch says, and the oracle."""
        cell = visit.cell
        words = self.words(cell, factors, loops=factors.loops, values=factors.values, warmups=factors.warmups)
        measured = link.ask("measure", patience=VISIT_PATIENCE, words=words)
        if self.emulated:  # its clock follows the host's while it waits for a command: not the same twice, and no time at all
            measured["empty"] = measured["empty"][:2]
            measured["values"] = [window[:2] for window in measured["values"]]
        if measured["loops"] != factors.loops or len(measured["values"]) != factors.values:
            raise BoardFailed(f"the rig measured {measured['loops']} loops, not {factors.loops}: the line garbled the command")
        wrong = self._run(link, cell.strategy, oracle(self._machine, cell.guest, cell.host, cell.exit))
        checks = {"oracle": f"{wrong} wrong reads", "well": (wrong == 0) == STRATEGIES[cell.strategy].correct}
        return {
            "rig": measured,
            "pyperf": self._suite(visit, measured),
            "counts": self._counts(measured),
            "checks": checks,
        }

    def words(self, cell: Cell, factors: Factors, **counts: int) -> str:
        """Return the words of a command that measures a cell: `loops`, `values` and `warmups` of it."""
        how = {"strategy": cell.strategy, "exit": cell.exit, **counts, "touch": GUEST_STATES[cell.guest].touch_every}
        given = [f"{name}={value}" for name, value in {**how, "access": factors.touch_by}.items()]
        return " ".join([*given, *states(self._machine, cell.guest, cell.host).words])

    def _run(self, link: Link, strategy: str, script: Script) -> int:
        """Run a script and return how many of its reads are wrong."""
        answer = link.ask("script", patience=SCRIPT_PATIENCE, words=" ".join([f"strategy={strategy}", *script.words]))
        return script.wrong([int(value, 16) for value in answer["reads"]])

    def _per_round_trip(self, measured: Mapping[str, Any], what: str) -> list[float]:
        """Return one of the window's counters for each value, per round trip; what an empty window counts is left out."""
        at = WINDOW.index(what)
        return [(window[at] - measured["empty"][at]) / measured["loops"] for window in measured["values"]]

    def _suite(self, visit: Visit, measured: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values as a pyperf suite: seconds by the counter's time, or, emulated, a nanosecond an instruction."""
        import pyperf

        from study.collect import suites

        if self.emulated:
            values = [value * 1e-9 for value in self._per_round_trip(measured, "instructions")]
        else:
            values = [value / self._frequency for value in self._per_round_trip(measured, "ticks")]
        if min(values) <= 0:
            raise BoardFailed("the board's counter did not move during a value: ask for more loops")
        cell = visit.cell
        metadata = {"name": f"round trip {cell.guest} {cell.exit}", "loops": measured["loops"], "strategy": cell.strategy,
                    "host": cell.host, "arm": cell.arm, "visit": visit.name}  # fmt: skip
        return suites.of_run(pyperf.Run(values, metadata=metadata, collect_metadata=False))

    def _counts(self, measured: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return counts per round trip: the median window's instructions and cycles, and the tally of the counting variant."""
        counts = {
            f"rig:{what}": sorted(self._per_round_trip(measured, what))[len(measured["values"]) // 2] for what in WINDOW[:2]
        }
        tally = measured["tally"]
        counts |= {f"rig:{name}": tally[name] / tally["loops"] for name in TALLY}
        return [{"event": name, "value": value, "running": 1.0, "why": ""} for name, value in counts.items()]


@dataclass(frozen=True)
class Emulated:
    """How a rig is emulated: architecture, emulator, CPU."""

    architecture: str
    qemu: str
    cpu: str


RIGS = {
    "rig-cortex-a15": Emulated("armv7", "qemu-system-arm", "cortex-a15"),
    "rig-cortex-a7": Emulated("armv7", "qemu-system-arm", "cortex-a7"),
    "rig-cortex-a57": Emulated("aarch64", "qemu-system-aarch64", "cortex-a57"),
    "rig-neoverse-n1": Emulated("aarch64", "qemu-system-aarch64", "neoverse-n1"),
}


# The line to an emulated rig: QEMU's serial ports move a byte at once, in 15 us, a virtio port moves a line, and a rig that waits
# for one sleeps. A console, virtconsole, would drop what is not read at once.
VIRTIO = (
    "-append", "line=virtio", "-global", "virtio-mmio.force-legacy=false", "-device", "virtio-serial-device",
    "-chardev", "stdio,id=line,signal=off", "-device", "virtserialport,chardev=line,name=study",
)  # fmt: skip


class EmulatedRig(Rig):
    """A rig under QEMU, where the instruction counter is exact: one boot serves a whole campaign.

    The line is a virtio port; with ``-serial stdio`` as `line` it is a serial port, and a hundred times slower.

    Parameters
    ----------
    name : str
        A row of RIGS.
    more : tuple of str
        Options added to QEMU's.
    """

    emulated = True
    line: tuple[str, ...] = VIRTIO

    def __init__(self, name: str, more: tuple[str, ...] = ()) -> None:
        self.name, self._more = name, more

    def launch(self, console: Path, strategies: tuple[str, ...], kernel: str = "") -> Launch:
        """Build the image, or take it from the cache, and say how to boot it."""
        how = RIGS[self.name]
        qemu = need(how.qemu)
        image = build.image(how.architecture)
        argv = [
            need("setpriv"), "--pdeathsig", "KILL", "--",  # no emulator outlives the command that started it
            qemu, "-M", "virt,virtualization=on", "-cpu", how.cpu, "-m", "64", "-icount", "shift=0",
            "-kernel", str(image), "-display", "none", "-nodefaults", "-nic", "none", "-no-reboot", "-monitor", "none",
            *self.line, *self._more,
        ]  # fmt: skip
        facts = {
            "image_sha256": digest_of(image),
            "emulator": run([qemu, "--version"]).splitlines()[0],
            "emulated_cpu": how.cpu,
        }
        return Launch(
            argv, cwd=console.parent, console=console, facts=facts, patience=30.0,
            write=write, read=read, greeting=GREETING, farewell="off",
        )  # fmt: skip


class SerialRig(Rig):
    """A rig on the end of a serial line, started by hand or by a boot loader.

    Parameters
    ----------
    port : str
        The port's device, and after a comma its speed, 115200 if there is none: ``/dev/ttyUSB0,921600``.
    """

    emulated = False

    def __init__(self, port: str) -> None:
        self.name = f"serial:{port}"
        device, _, self._baud = port.partition(",")
        self._port = str(Path(device).absolute())

    def launch(self, console: Path, strategies: tuple[str, ...], kernel: str = "") -> Launch:
        """Say how to reach it: a process that carries the line."""
        argv = [sys.executable, "-m", "study.collect.boards.serialport", self._port, self._baud or str(DEFAULT_BAUD)]
        return Launch(argv, cwd=console.parent, console=console, patience=30.0, write=write, read=read, greeting=GREETING)

    @_understood()
    def describe(self, link: Link, factors: Factors) -> dict[str, Any]:
        """Ask a boot what it is. It goes on running between two runs of the study, which are one boot then."""
        facts = super().describe(link, factors)
        return {**facts, "boot_id": facts["started"]}
