"""The bare-metal rig, on real emulators: what it switches, what it counts, what it says, and what it survives."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import json
import re
import subprocess
import sys
import termios
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pytest
import serial
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.analyze import compare, frame
from study.campaign import Campaign
from study.collect import boards, session
from study.collect.boards import Board, Launch, Link, rig
from study.collect.boards.rig import RIGS, EmulatedRig
from study.collect.rig import build
from study.collect.rig.script import GUEST, HOST, HOSTS, LANDMARKS, LEAVE, STRIDE, Machine, Script, oracle, states
from study.design import PROFILES, STATES, Cell, Factors, Visit, choose
from study.errors import BoardFailed
from study.factors import EXITS, GUEST_STATES, HOST_STATES, RIG, STRATEGIES, names
from tests.conftest import letters, refused, run, some

pytestmark = pytest.mark.board

ONE_OF_EACH = ["rig-cortex-a15", "rig-cortex-a57"]
REAL = [name for name in names(STRATEGIES, RIG) if STRATEGIES[name].correct]
SEQUENCES = 400  # for each architecture, each under every strategy
LEAVES = names(EXITS, RIG)
PATIENCE = 120.0  # seconds; the machine may be busy
each = pytest.mark.parametrize("machine", ONE_OF_EACH, indirect=True)


class Asked:
    """A running rig, and the machine that it says it is."""

    def __init__(self, link: Link, board: EmulatedRig) -> None:
        self.link, self.board, self.facts = link, board, board.describe(link, choose("quick", RIG))
        self.machine: Machine = board._machine

    def reads(self, strategy: str, script: Script) -> list[int]:
        answer = self.link.ask("script", words=" ".join([f"strategy={strategy}", *script.words]))
        return [int(value, 16) for value in answer["reads"]]

    def words(self, cell: Cell, factors: Factors) -> str:
        return self.board.words(cell, factors, loops=factors.loops, values=factors.values, warmups=factors.warmups)

    def measure(self, words: str) -> dict[str, Any]:
        return self.link.ask("measure", words=words)


@contextlib.contextmanager
def booted(name: str, folder: Path, more: tuple[str, ...] = (), line: tuple[str, ...] = rig.VIRTIO) -> Iterator[Asked]:
    board = EmulatedRig(name, more)
    board.line = line
    with Link(name, board.launch(folder / "console.log", ())) as link:
        yield Asked(link, board)


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with booted(request.param, tmp_path_factory.mktemp("rig")) as asked:
        yield asked


def trips(measured: dict[str, Any]) -> list[float]:
    """Instructions per round trip, of each value."""
    return [(window[0] - measured["empty"][0]) / measured["loops"] for window in measured["values"]]


# --- switching what must be switched ----------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("strategy", names(STRATEGIES, RIG))
def test_the_oracle_passes_for_every_strategy_in_every_state_and_fails_for_none(machine: Asked, strategy: str) -> None:
    for number, (guest, host) in enumerate(itertools.product(GUEST_STATES, HOST_STATES)):
        leave = LEAVES[number % len(LEAVES)]
        script = oracle(machine.machine, guest, host, leave)
        wrong = script.wrong(machine.reads(strategy, script))
        assert (wrong == 0) == (strategy != "none"), f"{strategy}, guest {guest}, host {host}, {leave}: {wrong} wrong reads"


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Whatever host and guest may do: writes and reads of any register, exits, breakpoints that fire or do not."""
    who = st.sampled_from([HOST, GUEST])
    write = st.tuples(st.just("write"), who, st.sampled_from("bw"), st.sampled_from("vc"), st.integers(0, 15), st.integers(0, 31))
    monitor = st.tuples(st.just("monitor"), who, st.booleans())
    read = st.tuples(st.just("read"), who, st.sampled_from("bw"), st.sampled_from("vc"), st.integers(0, 15))
    leave = st.tuples(st.just("leave"), st.sampled_from(list(LEAVE)), st.integers(1, 3))
    arm = st.tuples(
        st.just("arm"), who, st.sampled_from("bw"), st.integers(0, 15), st.integers(0, 15), st.sampled_from([False] * 4 + [True])
    )
    fire = st.tuples(st.just("fire"), st.integers(0, LANDMARKS - 1))
    return draw(st.lists(st.one_of(write, arm, arm, monitor, read, leave, fire), min_size=10, max_size=40))


def script_of(machine: Machine, todo: list[tuple[Any, ...]]) -> Script:
    """Write down the steps, and let both sides read everything at the end. The host aims where the guest's never does."""
    script = Script(machine)
    places = {"b": (machine.breakpoints, machine.landmarks), "w": (machine.watchpoints, machine.baits)}
    words = {"b": 0x1E6, "w": 0x1FFE}
    for what, *how in todo:
        if what in ("write", "read"):
            who, kind, which, n = how[:4]
            count, place = places[kind]
            register = f"{kind}{which}{n % count}"
            if what == "read":
                script.read(who, register)
            else:
                choice = how[4]
                aim = place + STRIDE * (choice % HOSTS + (HOSTS if who == HOST else 0))
                script.write(who, register, words[kind] | choice & 1 if which == "c" else aim)
        elif what == "arm":  # what it takes to fire, at once, and the place itself
            who, kind, n, place, off = how
            count, first = places[kind]
            aim = place + (HOSTS if who == HOST else 0)
            script.write(who, f"{kind}v{n % count}", first + STRIDE * aim)
            script.write(who, f"{kind}c{n % count}", words[kind] | 1)
            script.write(who, "m", 0 if off and who == GUEST else machine.monitor)
            script.fire(aim)
        elif what == "monitor":
            script.write(how[0], "m", machine.monitor if how[1] else 0)
        elif what == "leave":
            script.leave(*how)
        else:
            script.fire(how[0])
    script.leave("hvc", 1)
    script.fire_all()
    script.read_all(GUEST)
    script.read_all(HOST)
    return script


def read_by(script: Script) -> list[str]:
    """Return the words of a script that read, in the order of what is read."""
    return [word for word in script.words if "=" not in word and word not in (HOST, GUEST) and word[0] not in LEAVE.values()]


@each
def test_no_sequence_of_events_can_tell_a_strategy_from_the_architecture(machine: Asked) -> None:
    told_apart, fired = Counter[str](), Counter[str]()

    @settings(max_examples=SEQUENCES, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(steps())
    def check(todo: list[tuple[Any, ...]]) -> None:
        script = script_of(machine.machine, todo)
        for strategy in REAL:
            assert script.wrong(machine.reads(strategy, script)) == 0, f"{strategy}: {' '.join(script.words)}"
        told_apart["none"] += script.wrong(machine.reads("none", script)) > 0
        told_apart["all"] += 1
        read = list(zip(read_by(script), script.expected, strict=True))
        fired["b"] += any(must & 1 if word[0] == "f" else must for word, must in read if word[0] == "f" or word == "F0")
        fired["w"] += any(must & 2 if word[0] == "f" else must for word, must in read if word[0] == "f" or word == "F1")
        fired["host"] += any(what == "arm" and how[0] == HOST for what, *how in todo)

    check()
    assert told_apart["all"] >= SEQUENCES
    assert told_apart["none"] > SEQUENCES / 4, "sequences that cannot find a missing switch test nothing"
    assert min(fired["b"], fired["w"], fired["host"]) > SEQUENCES / 4, f"sequences in which nothing fires test little: {fired}"


def test_the_model_itself_knows_what_a_breakpoint_is() -> None:
    script = Script(Machine(2, 1, 0x1000, 0x2000, 0x8000))
    script.write(GUEST, "bv1", 0x1000 + 3 * STRIDE)
    script.write(GUEST, "bc1", 0x1E7)
    script.fire(3)
    script.write(GUEST, "m", 0x8000)
    script.fire(3)
    script.write(HOST, "bv1", 0)
    script.fire(3)
    script.fire(2)
    script.read(HOST, "bc1")
    script.read(GUEST, "bc1")
    assert script.expected == [0, 1, 1, 0, 0, 0x1E7]
    assert script.words == [
        "G",
        "bv1=1018",
        "bc1=1e7",
        "f3",
        "m=8000",
        "f3",
        "H",
        "bv1=0",
        "G",
        "f3",
        "f2",
        "H",
        "bc1",
        "G",
        "bc1",
    ]
    assert script.wrong([0, 1, 1, 0, 0, 0x1E7]) == 0
    assert script.wrong([0, 1, 1, 0, 0]) == 1


# --- counting -----------------------------------------------------------------------------------------------------------


MATRIX = ["--profile", "full", "--exits", "hvc", "--hosts", "none,half,all", "--loops", 40, "--guests", ",".join(STATES)]
EXITS_TOO = [
    "--profile",
    "full",
    "--exits",
    "sysreg,mmio",
    "--loops",
    40,
    "--guests",
    "mde,touch",
    "--hosts",
    "none,half",
    "--boots",
    1,
]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Every strategy and guest, with a host that debugs and one that does not, on each architecture, in two boots."""
    folder = tmp_path_factory.mktemp("data") / "matrix"
    for board in ONE_OF_EACH:
        done = run("collect", "--board", board, "--campaign", folder, *MATRIX)
        assert done.returncode == 0, done.stderr
    return Campaign(folder)


def medians(campaign: Campaign) -> pd.DataFrame:
    """A row for each board, strategy, guest, host and exit, a column for each metric."""
    rows = compare.summarise(frame.tidy(campaign), campaign.baselines()).query("arm == 'main'")
    wide = rows.pivot_table(index=["board", "strategy", "guest", "host", "exit"], columns="metric", values="median")
    assert ((wide["clock"] - wide["clock"].round()).abs() < 1e-6).all(), "a round trip has whole instructions"
    return wide.round(6)


@pytest.fixture(scope="module")
def cells(matrix: Campaign) -> pd.DataFrame:
    return medians(matrix)


def test_a_matrix_repeats_byte_for_byte(matrix: Campaign) -> None:
    seen: dict[tuple[str, ...], list[str]] = {}
    for record in matrix.records():
        cell = (record.facts["board"], record.line["arm"], *record.line["cell"].values())
        seen.setdefault(cell, []).append(json.dumps([record.line["rig"], record.line["counts"], record.line["checks"]]))
    assert len(seen) == 2 * 8 * 7 * 3
    assert all(len(set(some(said, 2))) == 1 for said in seen.values())


def test_a_campaign_of_a_rig_alone_makes_a_letter(matrix: Campaign, tmp_path: Path) -> None:
    short = tmp_path / "short"
    done = run("collect", "--board", ONE_OF_EACH[0], "--campaign", short, "--profile", "quick", "--loops", 20)
    assert done.returncode == 0, done.stderr
    for campaign, table in ((Campaign(short), "guest"), (matrix, "strategy +case 1 +case 2 +case 3 +monitor mode")):
        values = frame.tidy(campaign)
        summary = compare.summarise(values, campaign.baselines())
        text = letters(campaign, values, summary, title="x", version=1)[1]
        assert re.search(rf"^{table}|^strategy +untouched +mde +touch", text, re.MULTILINE)
        assert "path length in instructions, not time" in " ".join(text.split())
        assert "Linux boards" not in text


def test_whole_instructions_and_parts_that_make_up_the_whole(cells: pd.DataFrame) -> None:
    assert len(cells) == 2 * 7 * 7 * 3
    assert (cells["clock"] % 1 == 0).all()
    parts = cells[["part-base", "part-scan", "part-switch", "part-trap"]].sum(axis=1)
    assert (parts - cells["clock"]).abs().max() < 1e-6
    assert (cells["instructions"] - cells["clock"]).abs().max() < 1e-6


@pytest.mark.parametrize("board", ONE_OF_EACH)
def test_strategies_cost_what_their_rules_say(cells: pd.DataFrame, board: str) -> None:
    cost = cells.loc[board]["clock"].xs(("none", "hvc"), level=("host", "exit")).unstack("strategy")
    none = cost["none"]
    assert cost["eager"].sub(none).nunique() == 1
    assert cost["lazy"]["mde"] - cost["eager"]["mde"] <= 20
    assert 0 < cost["control-scan"]["mde"] - none["mde"] <= 60
    assert 0 < cost["summary-scan"]["mde"] - none["mde"] <= 12
    assert cost["control-scan"]["mde"] == cost["control-scan"]["untouched"]
    assert cost["lazy"]["one-no-mde"] == cost["lazy"]["untouched"]
    assert cost["control-scan"]["one-no-mde"] == cost["control-scan"]["one"]
    assert cost["partial"]["one"] < cost["partial"]["half"] < cost["partial"]["all"]
    assert cost["host-mask"]["mde"] < cost["eager"]["mde"]


@pytest.mark.parametrize(("board", "registers", "least"), [("rig-cortex-a57", 21, 128), ("rig-cortex-a15", 21, 104)])
def test_eager_is_near_the_least_possible(cells: pd.DataFrame, board: str, registers: int, least: int) -> None:
    """Two reads and two writes of every register in a round trip, and a load and a store for each two of them."""
    cell = cells.loc[board, "eager", "untouched", "none", "hvc"]
    assert (cell["debug-reads"], cell["debug-writes"]) == (2 * registers, 2 * registers)
    assert cell["clock"] - cells.loc[board, "none", "untouched", "none", "hvc"]["clock"] <= 1.15 * least


@pytest.mark.parametrize("board", ONE_OF_EACH)
def test_a_trap_is_all_in_its_own_part(cells: pd.DataFrame, board: str) -> None:
    base = cells.loc[board]["part-base"].xs(("none", "hvc"), level=("host", "exit")).unstack("guest")
    touch = base["touch"] - base["untouched"]
    assert touch["none"] == touch["eager"] == 6, "what the guest itself executes for a touch"
    assert touch["control-scan"] == touch["summary-scan"] == touch["host-mask"] == touch["partial"] == 8, (
        "and the vector and ERET"
    )
    assert touch["lazy"] == 9, "and the access is made again"


@pytest.mark.parametrize("board", ONE_OF_EACH)
def test_events_are_those_of_the_rules(cells: pd.DataFrame, board: str) -> None:
    here = cells.loc[board]
    switches, traps = here["switches"], here["traps"]
    assert (switches.xs("eager", level="strategy") == 1).all()
    assert (here.xs("none", level="strategy")[["debug-reads", "debug-writes", "isbs", "traps", "switches"]] == 0).all().all()
    touch = here.xs("touch", level="guest")
    assert (touch.xs("lazy", level="strategy")["switches"] == 1).all()
    assert (touch.xs("partial", level="strategy")["traps"] == 1).all()
    assert (touch.xs("eager", level="strategy")["traps"] == 0).all()
    quiet = traps.drop("touch", level="guest")
    assert (quiet == 0).all()
    scans = here.loc[["control-scan", "summary-scan"]].xs("mde", level="guest")["switches"].unstack("host")
    assert (scans["none"] == 0).all()
    assert (scans[["half", "all"]] == 1).all().all()


@pytest.mark.parametrize("board", ONE_OF_EACH)
def test_what_a_strategy_costs_does_not_depend_on_the_exit(cells: pd.DataFrame, board: str, tmp_path: Path) -> None:
    done = run("collect", "--board", board, "--campaign", tmp_path / "c", *EXITS_TOO)
    assert done.returncode == 0, done.stderr
    cost = pd.concat([cells.loc[[board]], medians(Campaign(tmp_path / "c"))])["clock"]
    above = cost.unstack("strategy").sub(cost.xs("none", level="strategy"), axis=0).dropna().unstack("exit").dropna()
    assert len(above) == 4
    for strategy in names(STRATEGIES, RIG):
        assert (above[strategy]["hvc"] == above[strategy]["sysreg"]).all(), strategy
        assert (above[strategy]["hvc"] == above[strategy]["mmio"]).all(), strategy


@each
def test_a_touch_may_be_a_read_and_may_be_rare(machine: Asked) -> None:
    base = trips(machine.measure("strategy=control-scan loops=100"))[0]
    every = {
        access: trips(machine.measure(f"strategy=control-scan loops=100 touch=1 access={access}"))[0]
        for access in ("write", "read")
    }
    tenth = machine.measure("strategy=control-scan loops=100 touch=10 access=write")
    assert every["write"] > base + 20
    assert every["read"] > base + 20
    assert tenth["tally"]["traps"] * 10 == tenth["tally"]["loops"]
    assert base < trips(tenth)[0] < base + (every["write"] - base) / 5


# --- an instruction trace of the emulator says the same ------------------------------------------------------------------

DEBUG_REGISTER = re.compile(r"dbg[bw][vc]r\d+(?:_el1)?|mdscr_el1|p14,0,c0,c2,2")


@pytest.mark.parametrize("board", ONE_OF_EACH)
def test_counts_agree_with_a_receipt_of_every_instruction(board: str, tmp_path: Path) -> None:
    """Each strategy's own count of what it does is what its receipt says, for a guest that debugs, one that touches, and none of it."""
    factors = Factors(
        kind=RIG, strategies=names(STRATEGIES, RIG), guests=("untouched", "one", "touch"), processes=1, values=1, warmups=1, loops=60,
        boots=1,
    )  # fmt: skip
    Campaign.freeze(tmp_path / "c", factors)
    done = run("trace", tmp_path / "c", "--board", board)
    assert done.returncode == 0, done.stderr
    lines = {
        tuple(record.line["cell"][name] for name in ("strategy", "guest")): record.line
        for record in Campaign(tmp_path / "c").receipts()
    }
    assert len(lines) == 3 * len(names(STRATEGIES, RIG))
    moved = Counter[str]()
    with booted(board, tmp_path) as asked:
        for (strategy, guest), line in lines.items():
            cell = Cell(strategy, guest, "none", "hvc")
            answer = asked.measure(asked.words(cell, factors))
            where = f"{board} {strategy} {guest}"
            assert trips(answer)[0] == line["instructions"] == line["clock"]["instructions"], where
            per_trip = {name: number / answer["tally"]["loops"] for name, number in answer["tally"].items()}
            # The guest's own access, and once more if it is made again after the trap.
            own = 1 + per_trip["traps"] * (strategy == "lazy") if guest == "touch" else 0
            registers = [(name, times) for row in line["functions"] for name, times in row["registers"].items()]
            reads, writes = (sum(times[at] for name, times in registers if DEBUG_REGISTER.fullmatch(name)) for at in (0, 1))
            assert (reads, writes - own) == (per_trip["reads"], per_trip["writes"]), where
            assert sum(row["isb"] for row in line["functions"]) == per_trip["isbs"], where
            moved += Counter(reads=int(reads), writes=int(writes))
    assert len(moved) == 2, "both reads and writes were found, where there are some"


# --- the line --------------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "this is no command"),
        ("measure", "a strategy must be named"),
        ("measure strategy=fast", "a strategy, exit or access is unknown"),
        ("measure strategy=lazy loops=99999999", "a number is none, or too large"),
        ("measure strategy=lazy loops=x", "a number is none, or too large"),
        ("script strategy=lazy bv99=1", "this machine has no such register"),
        ("script strategy=lazy bv1=", "a value is missing"),
        ("script strategy=lazy zz", "this is no step of a script"),
        ("script strategy=lazy f32", "this is no step of a script"),
        ("script strategy=lazy m=1", "the host only turns monitor debug mode on and off"),
        ("script strategy=lazy x5", "only the guest exits and fires"),
        ("script strategy=lazy " + "m " * 5000, "a script has at most 4096 steps"),
    ],
)
def test_a_wrong_command_is_refused_and_the_next_one_works(machine: Asked, line: str, words: str) -> None:
    do, _, rest = line.partition(" ")
    with pytest.raises(Exception, match=words):
        machine.link.ask(do, words=rest)
    assert machine.link.ask("facts")["breakpoints"] == machine.machine.breakpoints


@each
def test_a_line_of_rubbish_does_not_stop_it(machine: Asked) -> None:
    machine.link._send(b"\xff\x00\x1b[31m" * 1000 + b"\n" + b"x" * 200_000 + b"\n", time.monotonic() + PATIENCE)
    for _ in range(2):
        machine.link._line(time.monotonic() + PATIENCE)
    assert machine.link.ask("facts")["watchpoints"] == 4


def waiting(pipe: IO[bytes]) -> int:
    """Return how many bytes a pipe holds that nobody has read: ioctl(2), FIONREAD."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@each
def test_a_long_answer_is_whole_though_nobody_reads_it_for_a_while(machine: Asked) -> None:
    link = machine.link
    assert link._process.stdout
    size = fcntl.fcntl(link._process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    request = "id=7 script strategy=eager bv0=fffffff8" + " bv0" * 4095
    end = time.monotonic() + PATIENCE
    link._send(f"{request}\n".encode(), end)
    while waiting(link._process.stdout) < size:
        assert time.monotonic() < end, "the pipe is never full"
        time.sleep(0.01)
    answer = rig.read(link._line(end), request)
    assert answer["result"]["reads"] == ["fffffff8"] * 4095
    assert machine.link.ask("facts")["breakpoints"] == machine.machine.breakpoints


SERIAL = ("-serial", "stdio")
UNHEARD = ("-global", "virtio-mmio.force-legacy=false", "-device", "virtio-serial-device", "-device", "virtserialport,name=study")
OTHER_LINES = {
    "serial": SERIAL,
    "serial, named": (*SERIAL, "-append", "earlycon=pl011,0x9000000"),
    "serial, as there is no virtio": (*SERIAL, "-append", "line=virtio"),
    "serial, as virtio could not wake it": (*SERIAL, "-append", "line=virtio", "-M", "gic-version=3", *UNHEARD),
}


@each
@pytest.mark.parametrize("line", OTHER_LINES)
def test_whatever_carries_the_line_the_figures_are_the_same(machine: Asked, line: str, tmp_path: Path) -> None:
    said = []
    with booted(machine.link._board, tmp_path, line=OTHER_LINES[line]) as other:
        assert other.facts["code"] == machine.facts["code"]
        for asked in (machine, other):
            script = oracle(asked.machine, "half", "half", "hvc")
            prepared = " ".join(states(asked.machine, "half", "half").words)
            measured = [asked.measure(f"strategy={strategy} loops=50 values=2 {prepared}") for strategy in names(STRATEGIES, RIG)]
            for one in measured:
                one["empty"], one["values"] = one["empty"][:2], [window[:2] for window in one["values"]]
            said.append((measured, asked.reads("lazy", script)))
    assert said[0] == said[1]


REQUEST = "id=3 measure strategy=lazy"


@given(st.binary(max_size=80), st.integers(0, 200), st.binary(min_size=1, max_size=1), st.text(max_size=30))
def test_no_garbled_line_is_believed(noise: bytes, at: int, byte: bytes, heard: str) -> None:
    def answer_to(request: str) -> bytes:
        result = b'{"values":[[12345,6,7]]}'
        return b'{"id":3,"result":%s,"crc":%d,"heard":%d}\n' % (result, zlib.crc32(result), zlib.crc32(request.encode()))

    whole = answer_to(REQUEST)
    good = rig.read(whole, REQUEST)["result"]
    assert good["values"][0][0] == 12345
    changed = whole[: at % len(whole)] + byte + whole[at % len(whole) + 1 :]
    for line in (noise, changed):
        with contextlib.suppress(ValueError):
            assert rig.read(line, REQUEST)["result"] == good
    if heard != REQUEST:
        with pytest.raises(ValueError, match="garbled"):
            rig.read(answer_to(heard), REQUEST)


@pytest.mark.parametrize("body", ["-1", "1.5", "NaN", "1e999", str(1 << 64), "9" * 5000, "[" * 100_000 + "]" * 100_000])
def test_what_no_counter_says_is_garbled_though_its_line_is_whole(body: str) -> None:
    line = b'{"id":3,"result":%s,"crc":%d,"heard":%d}' % (body.encode(), zlib.crc32(body.encode()), zlib.crc32(REQUEST.encode()))
    with pytest.raises(ValueError):
        rig.read(line, REQUEST)


FAULTS = {
    "mishear": "gave no answer that can be read",
    "garble": "gave no answer that can be read",
    "cut": "gave no answer that can be read",
    "silence": "silent for too long",
    "reset": "started anew in the middle of its work",
    "late": "gave no answer that can be read",
    "end": "it ended",
}
SMALL = Factors(**{**PROFILES[RIG]["quick"], "strategies": ("lazy", "none"), "loops": 10})


class BadLine(EmulatedRig):
    """A rig at the end of a line that spoils one answer: the measurement of the second visit."""

    how = ""

    def launch(self, console: Path, *asked: Any) -> Launch:
        good = super().launch(console, *asked)
        answer = 3 + 2 + 1  # facts and two windows, a visit's measurement and oracle, then this
        wrapped = [sys.executable, str(Path(__file__).with_name("garbler.py")), self.how, str(answer), *good.argv]
        return dataclasses.replace(good, argv=wrapped)

    def measure(self, link: Link, visit: Visit, factors: Factors) -> dict[str, Any]:
        measured = super().measure(link, visit, factors)
        if self.how == "silence":
            rig.VISIT_PATIENCE = 0.5  # the next answer never comes
        return measured


@pytest.mark.parametrize("how", FAULTS)
def test_a_bad_line_is_noticed_and_the_campaign_goes_on(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = ONE_OF_EACH[1]

    def bad() -> Board:
        rig_ = BadLine(board)
        rig_.how = how
        return rig_

    with monkeypatch.context() as patch:
        patch.setattr(rig, "VISIT_PATIENCE", PATIENCE)
        patch.setitem(boards.BOARDS, board, bad)
        with pytest.raises(BoardFailed, match=FAULTS[how]) as failed:
            session.collect(board, tmp_path / "c", SMALL)
    assert "\n" not in str(failed.value)
    campaign = Campaign(tmp_path / "c")
    assert len(list(campaign.records())) == 1
    assert session.collect(board, tmp_path / "c", SMALL).verify() == []
    assert campaign.missing(board) == []


def test_a_rig_that_was_not_started_at_the_hypervisor_s_level_says_so(tmp_path: Path) -> None:
    class Plain(EmulatedRig):
        def launch(self, console: Path, *asked: Any) -> Launch:
            good = super().launch(console, *asked)
            return dataclasses.replace(good, argv=["virt" if word.startswith("virt,") else word for word in good.argv])

    for name in ONE_OF_EACH:
        board = Plain(name)
        with pytest.raises(BoardFailed, match="it was not started at"), Link(name, board.launch(tmp_path / "c.log", ())) as link:
            link.ask("facts")


def test_a_counter_that_does_not_count_is_noticed(tmp_path: Path) -> None:
    class Uncounted(EmulatedRig):
        def launch(self, console: Path, *asked: Any) -> Launch:
            good = super().launch(console, *asked)
            words = list(good.argv)
            at = words.index("-icount")
            return dataclasses.replace(good, argv=words[:at] + words[at + 2 :])

    board = Uncounted(ONE_OF_EACH[1])
    with pytest.raises(BoardFailed, match="does not count"), Link(board.name, board.launch(tmp_path / "c.log", ())) as link:
        board.describe(link, SMALL)


# --- a serial port, and a boot loader ------------------------------------------------------------------------------------

FIRMWARE = {"armv7": ("qemu_arm", "bootz"), "aarch64": ("qemu_arm64", "booti")}
LOADED = 0x4800_0000


@pytest.fixture
def bootloader(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """U-Boot with the rig in memory, on a serial port; yields the port and the command that boots."""
    how = RIGS[request.param]
    folder, command = FIRMWARE[how.architecture]
    image = build.image(how.architecture)
    argv = [
        how.qemu,
        "-M",
        "virt,virtualization=on",
        "-cpu",
        how.cpu,
        "-m",
        "256",
        "-icount",
        "shift=0,sleep=off",
        "-nic",
        "none",
    ]
    argv += [
        "-display",
        "none",
        "-nodefaults",
        "-monitor",
        "none",
        "-serial",
        "pty",
        "-bios",
        f"/usr/lib/u-boot/{folder}/u-boot.bin",
    ]
    argv += ["-device", f"loader,file={image},addr={LOADED:#x},force-raw=on"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        port = re.search(r"/dev/pts/\d+", process.stdout.readline())
        assert port
        yield port[0], command
        process.kill()


@pytest.mark.parametrize("bootloader", ONE_OF_EACH, indirect=True)
def test_u_boot_starts_it_and_a_serial_port_is_enough(bootloader: tuple[str, str], tmp_path: Path) -> None:
    port, command = bootloader
    done = run("collect", "--board", f"serial:{port}", "--campaign", tmp_path / "early", "--profile", "quick")
    assert "no rig answered" in refused(done)
    with serial.Serial(port, 115200, timeout=PATIENCE) as line:
        line.write(b"\r")  # that was not for U-Boot, and neither is this
        line.read_until(b"=> ")
        line.write(b"setenv bootargs earlycon=pl011,0x9000000 of the test\r")
        line.read_until(b"=> ")
        line.write(f"{command} {LOADED:#x} - $fdtcontroladdr\r".encode())
        assert line.read_until(b'"ready"').endswith(b'"ready"')
    folder = tmp_path / "c"
    done = run("collect", "--board", f"serial:{port}", "--campaign", folder, "--profile", "quick", "--loops", 100)
    assert done.returncode == 0, done.stderr
    campaign = Campaign(folder)
    (facts,) = map(campaign.facts, campaign.boots())
    assert facts["bootargs"] == "earlycon=pl011,0x9000000 of the test"
    assert facts["emulated"] is False
    values = frame.tidy(campaign)
    assert set(values.query("metric == 'time'")["unit"]) == {"s"}
    assert {"instructions", "cycles", "part-switch"} <= set(values["metric"])
    assert (values.query("metric == 'time'")["value"].between(1e-8, 1e-4)).all()


def test_a_port_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    words = refused(run("collect", "--board", "serial:/dev/ttyNONE", "--campaign", tmp_path / "c", "--profile", "quick"))
    assert "the port cannot be opened" in words
