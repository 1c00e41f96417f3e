"""From what was executed to a receipt: programs that are made up, and lines as the emulator writes them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.campaign import sense
from study.collect.receipts import symbols, trace, trips, walk
from study.collect.receipts.kinds import Flow, Kind, kind
from study.collect.receipts.symbols import Function
from study.design import Cell, Factors
from study.errors import BadData, BoardFailed
from tests import receipts
from tests.conftest import drawn, some
from tests.receipts import ERET, GUEST_AT, HVC, ISB, LDR, NOP, READ, REST, RET, STR, WRITE, Program

handlers = st.lists(st.lists(st.sampled_from(REST), min_size=1, max_size=12), min_size=1, max_size=6)
COLUMNS = {"reads": READ, "writes": WRITE, "isb": ISB, "loads": LDR, "stores": STR, "returns": ERET}


@drawn(100)
@given(handlers)
def test_a_receipt_counts_what_its_functions_execute(rest: list[list[int]]) -> None:
    program = Program(rest)
    made = program.receipt(program.trip() * 30)
    trip = program.trip()
    counted = Counter(program.functions[place].name for place in trip)
    assert {row["function"]: row["instructions"] for row in made["functions"]} == counted
    assert made["instructions"] == len(trip) and made["trips"] == [[len(trip), 27]]
    for column, word in COLUMNS.items():
        assert sum(row[column] for row in made["functions"]) == sum(program.words[place] == word for place in trip), column
    assert sum(row["entries"] for row in made["functions"]) == 1
    assert made["apart"] == [] and made["usual"] == {"trips": 27, "error": 0.0}
    assert (
        sense.doubt_of_receipt({**receipts.line(), **made, "clock": {**receipts.line()["clock"], "instructions": len(trip)}})
        == ""
    )


@drawn(100)
@given(handlers)
def test_stacks_are_who_called_whom(rest: list[list[int]]) -> None:
    program = Program(rest)
    made = program.receipt(program.trip() * 30)
    names = [f"handler{number}" for number in range(len(rest))]
    sizes = Counter(program.functions[place].name for place in program.trip())
    assert made["stacks"] == {
        ";".join(["guest", *names[:depth]]): sizes[(["guest", *names])[depth]] for depth in range(len(names) + 1)
    }


@drawn(60)
@given(handlers, handlers, st.integers(3, 6))
def test_trips_that_go_another_way_are_told_apart_and_not_averaged_away(
    rest: list[list[int]], others: list[list[int]], every: int
) -> None:
    program, other = Program(rest), Program([*rest, *others])
    program.words |= other.words
    program.functions |= other.functions
    usual, longer = program.trip(), other.trip()
    made = program.receipt([*(usual * every + longer) * 12, GUEST_AT])
    assert made["instructions"] == len(usual)
    (apart,) = made["apart"]
    assert apart["instructions"] == len(longer)
    assert sum(count for _, count in made["trips"]) == made["usual"]["trips"] + apart["trips"]
    assert sum(apart["more"].values()) <= len(longer) - len(usual), "of many functions the first are named"


def test_of_a_guest_with_a_period_each_place_in_it_counts_once() -> None:
    program = Program([[NOP], [NOP]])
    touching = GUEST_AT + 0x100
    program.words[touching], program.functions[touching] = WRITE, Function("guest", "guest")
    plain = program.trip()
    touched = [plain[0], touching, *plain[1:]]
    made = program.receipt([*(plain * 3 + touched) * 20], period=4)
    assert made["instructions"] == len(plain) + 0.25
    assert made["trips"] == [[len(plain), 58], [len(touched), 19]]
    assert sum(row["writes"] for row in made["functions"]) == 0.25


def test_too_few_round_trips_or_none_alike_are_refused() -> None:
    program = Program([[NOP]])
    with pytest.raises(BadData, match="holds 9 round trips, of which 20 are needed"):
        program.receipt(program.trip() * 12)
    with pytest.raises(BadData, match="does nothing else in one of 4"):
        program.receipt(program.trip() * 60, period=4)


def test_a_load_that_ends_in_an_exception_is_not_counted() -> None:
    program = Program([[NOP]])
    program.words[GUEST_AT + 4] = STR  # instead of hvc
    made = program.receipt(program.trip() * 30)
    assert made["instructions"] == len(program.trip()) - 1
    assert sum(row["stores"] for row in made["functions"]) == 0 and sum(row["entries"] for row in made["functions"]) == 1


KINDS = {
    READ: Kind(reads="mdscr_el1"),
    WRITE: Kind(writes="mdscr_el1"),
    0xD50343DF: Kind(),  # msr daifset, #3: the state of the processor
    ISB: Kind(isb=True),
    0xD5033F9F: Kind(dsb=True),
    LDR: Kind(load=True),
    STR: Kind(store=True),
    0xF8400863: Kind(load=True),  # ldtr x3, [x3]
    0xF8000863: Kind(store=True),
    0x88E37E62: Kind(load=True, store=True),  # casa
    0xF823003F: Kind(load=True, store=True),  # stadd
    0xF8E01020: Kind(load=True, store=True),  # ldclral
    ERET: Kind(branch=True, eret=True, flow=Flow.BACK),
    RET: Kind(branch=True, flow=Flow.BACK),
    HVC: Kind(),
    0x97FFFFFF: Kind(branch=True, flow=Flow.CALL, target=-4),
    0x14000002: Kind(branch=True, flow=Flow.BRANCH, target=8),
    0x54FFFFE1: Kind(branch=True, flow=Flow.BRANCH, target=-4),  # b.ne
    0xB4000060: Kind(branch=True, flow=Flow.BRANCH, target=12),  # cbz x0
    0xD63F0000: Kind(branch=True, flow=Flow.CALL_ANYWHERE),  # blr x0
    0xD61F0000: Kind(branch=True, flow=Flow.ANYWHERE),  # br x0
}
ARM = {
    0xEE000EB0: Kind(writes="dbgbcr0"),  # mcr p14, 0, r0, c0, c0, 5
    0xEE112F11: Kind(reads="p15,0,c1,c1,0"),  # mrc p15, 0, r2, c1, c1, 0: SCR
    0xE160006E: Kind(branch=True, eret=True, flow=Flow.BACK),  # eret
    0xE12FFF1E: Kind(branch=True, flow=Flow.BACK),  # bx lr
    0xE8BD8010: Kind(load=True, branch=True, flow=Flow.BACK),  # pop {r4, pc}
    0xE92D4010: Kind(store=True),  # push {r4, lr}
    0x1AFFFFFE: Kind(branch=True, flow=Flow.BRANCH, target=0),  # bne
    0xF57FF06F: Kind(isb=True),
    0xF57FF04F: Kind(dsb=True),
}


@pytest.mark.parametrize(
    ("architecture", "word", "wanted"),
    [("aarch64", *row) for row in KINDS.items()] + [("armv7", *row) for row in ARM.items()],
    ids=str,
)
def test_the_kind_of_an_instruction(architecture: str, word: int, wanted: Kind) -> None:
    assert kind(architecture, word) == wanted


def test_what_is_no_instruction_is_refused() -> None:
    with pytest.raises(BadData, match="0xffffffff is no aarch64 instruction"):
        kind("aarch64", 0xFFFFFFFF)


LOG = """----------------
IN:
0xffff800008083b48:  d503201f  nop

Trace 0: 0x7f00 [0000000000003001/ffff800008083b48/00000251/ff020201]
Trace 0: 0x7f00 [0000000000003001/ffff800008083b4c/00000251/ff020201]
Stopped execution of TB chain before 0x7f00 [ffff800008083b4c]
Trace 0: 0x7f00 [0000000000003001/ffff800008083b4c/00000251/ff020201]
Trace 0: 0x7f00 [0000000000003001/ffff800008083b50/00000251/ff020201]
cpu_io_recompile: rewound execution of TB to ffff800008083b50
----------------
IN:
0xffff800008083b50:  b9000003  str      w3, [x0]

Trace 0: 0x7f00 [0000000000003001/ffff800008083b50/00000251/ff020201]
"""


def test_what_the_emulator_wrote_down_and_did_not_execute_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(LOG)
    ran, words = trace.read(tmp_path / "log")
    assert [f"{int(place):x}"[-2:] for place in ran.places[ran.order]] == ["48", "4c", "50"]
    assert list(words.values()) == [0xD503201F, 0xB9000003]
    (tmp_path / "log").write_text("qemu: nothing\n")
    with pytest.raises(BadData, match="no instruction"):
        trace.read(tmp_path / "log")


def test_functions_are_found_where_they_are_mapped_a_second_time() -> None:
    start, page = 0xFFFF800008000000, symbols.PAGE
    text = np.arange(4 * page // 4, dtype=np.uint32) % 1500  # pages that differ
    kernel = symbols.of_kernel(f"{start:016x} T _text\n{start + page:016x} t __kvm_nvhe_first\n{start + page + 64:016x} t second\n"
                               f"{start + 2 * page:016x} t other\t[dbgswitch]\n")  # fmt: skip
    at_el2 = 0x9F0000000000
    places = np.array([at_el2 + page, at_el2 + page + 4, at_el2 + page + 64, at_el2 + 9 * page], np.uint64)
    words = {int(place): int(text[(int(place) - at_el2) // 4 % len(text)]) for place in places}
    words[int(places[3])] = 0xFFFFFFFF
    moved = symbols.aliases(places, words, text, start)
    named = symbols.named(places, kernel, moved, [])
    assert [function.name for function in named] == ["__kvm_nvhe_first", "__kvm_nvhe_first", "second", "unknown"]
    assert kernel.find(start + 2 * page) == Function("other", "dbgswitch")
    assert kernel.find(start - 4) is None and kernel.find(start + 4 * trips.DEEPEST * page) is None


def test_the_file_of_a_program() -> None:
    find = symbols.of_program(
        "00400000-00916000 r-xp 00000000 00:02 259   /usr/bin/python3.11\nffff00-ffff10 r-xp 00000000 00:00 0 [vdso]\n"
    )
    assert find(0x400010) == Function("python3.11", "user") and find(0xFFFF0C) == Function("[vdso]", "user") and find(8) is None


WRONG = {
    "more than the clock says": {"clock": {"instructions": 8.0, "error": 0.1, "values": [9.0]}},
    "stacks of another sum": {"stacks": {"guest": 1.0}},
    "too few trips": {"usual": {"trips": 3, "error": 0.0}},
    "unknown functions": {"functions": [{**row, "module": "unknown"} for row in receipts.line()["functions"]]},
    "registers of another count": {"functions": [{**row, "registers": {}} for row in receipts.line()["functions"]]},
    "more reads than instructions": {"functions": [{**row, "loads": 99.0} for row in receipts.line()["functions"]]},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_receipt_that_cannot_be_true_is_doubted(changes: dict[str, object]) -> None:
    assert sense.doubt_of_receipt(receipts.line()) == ""
    assert sense.doubt_of_receipt({**receipts.line(), **changes})
    assert some(receipts.line()["functions"], 3)


class NoReceipt:
    """What makes no receipt, or one that cannot be true."""

    def __init__(self, made: dict[str, object] | None) -> None:
        self._made = made

    def receipt(self, cell: Cell, factors: Factors) -> dict[str, object]:
        if self._made is None:
            raise BadData("the guest does nothing")
        return self._made


@pytest.mark.parametrize("made", [None, {**receipts.line(), "stacks": {"guest": 1.0}}], ids=["none", "untrue"])
def test_what_is_not_recorded_says_of_which_board_and_cell(made: dict[str, object] | None) -> None:
    wanted = walk.Wanted(Cell("stock", "mde", "none", "hvc"), "traced", 1)
    with pytest.raises(BoardFailed, match=r"^b: the receipt of stock mde none hvc is not recorded: "):
        walk._line("b", wanted, NoReceipt(made), Factors())
