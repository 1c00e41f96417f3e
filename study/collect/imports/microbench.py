"""The log of arm/micro-bench, the program of kvm-unit-tests that times what leaves a guest. Pure.

Since it was merged, in 2018, it prints a line ``name  total ns  avg ns``, a rule, and then for each of its tests the name, the
time of all loops, and what a loop takes on average, cut to whole nanoseconds. So the loops are those that give this average,
and a value is the total over them. Drafts of before, and the programs that it comes from, have other tables: they are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from study.campaign.sense import LONGEST
from study.errors import BadData
from study.factors import MICRO_BENCH

# What a log is known by: lines of the program, and the one with which kvm-unit-tests ends each of its own.
TITLES = "name total ns avg ns"
HEADER = re.compile(r"name\s+total (\w+)\s+avg (\w+)")
MARK = re.compile(rf"^[^\S\n]*(?:{HEADER.pattern}|Timer Frequency \d+ Hz|EXIT: STATUS=\d)", re.MULTILINE)
ROW = re.compile(r"(\w+)\s+(\d{1,20})\.(\d+)\s+(\d{1,20})\.\d+")
# What is a row, or begins as one does, names being padded, and is torn or has numbers that are none.
LIKE_A_ROW = re.compile(rf"{ROW.pattern}$|(?:{'|'.join(MICRO_BENCH)})\b(?! test skipped)|\w+\s{{2,}}[-\d.]")
# What is printed of a run that should not be trusted. Status 1 is an exit with 0: the program prints twice its code, and 1.
ENDED_BADLY = re.compile(
    r"EXIT: STATUS=(?!1$)|(?:SKIP|FAIL)\S{0,9} micro-bench|terminating on signal|QEMU Aborted|assert failed|Unhandled exception"
)
NANO = 1e-9
# How often the program runs a test, but for those that are named, unless that takes longer than its limit.
LOOPS, FEWER = 65536, {"timer_10ms": 256}
LIMIT = 5_000_000_000  # ns, with what is subtracted from each loop's time: the timer's own
SUBTRACTED = {"timer_10ms": 10_000_000}


@dataclass(frozen=True)
class Row:
    """What a run says of one test.

    Parameters
    ----------
    test : str
        Its name, as the program has it.
    loops : int
        How often it ran.
    seconds : float
        What each of these took, on average.
    """

    test: str
    loops: int
    seconds: float


def is_log(text: str) -> bool:
    """Say whether a text is such a log, or what is left of one."""
    return MARK.search(text) is not None


def read(text: str, loops: int = 0) -> list[Row]:
    """Return the rows of all runs in a log, in order.

    Parameters
    ----------
    text : str
        One run or several, one after the other, with whatever else was printed. A test that was skipped has no row.
    loops : int
        How often a test ran, if the program was changed; 0 for as often as the program has it.

    Raises
    ------
    BadData
        If a run did not end well, or a row is torn, does not agree with itself, or cannot be true; or if there is no row.
    """
    rows = list(_rows(text, loops))
    if not rows:
        raise BadData(f"no test of micro-bench has a row in it, below a line `{TITLES}`, as the program prints it")
    return rows


def _rows(text: str, loops: int) -> Iterator[Row]:
    seen: set[str] | None = None  # tests of the run so far; None before the first
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        where = f"line {number}, {line[:80]!r}"
        if header := HEADER.fullmatch(line):
            if header.groups() != ("ns", "ns"):
                raise BadData(f"{where}: micro-bench prints its times in ns; this is of another program")
            seen = set()
        elif ENDED_BADLY.search(line):
            raise BadData(f"{where}: a run that did not end well is not taken; take it out of the log")
        elif seen is None and ROW.fullmatch(line):
            raise BadData(f"{where}: no line `{TITLES}` is before it, and nothing says in which unit it is")
        elif seen is not None and LIKE_A_ROW.match(line):
            row = _row(line, where, loops)
            if row.test in seen:
                raise BadData(f"{where}: {row.test} is there twice in one run; each run begins with a line `{TITLES}`")
            seen.add(row.test)
            yield row


def _row(line: str, where: str, loops: int) -> Row:
    found = ROW.fullmatch(line)
    if not found:
        raise BadData(f"{where}: a row is a name and two numbers with decimals, and this one is torn, or is none")
    test, total, decimals, average = found[1], int(found[2]), found[3], int(found[4])
    time = float(f"{total}.{decimals}") * NANO
    if not time:
        raise BadData(f"{where}: it took no time, as the clock of the guest has it; take the row out of the log")
    count = _loops(test, total, average, where, loops)
    if time / count > LONGEST:  # of a timer that was early, too: the program prints what is below 0 as 2^64 less that
        raise BadData(f"{where}: nothing that is one loop takes {time / count:.0f} s; take the row out of the log")
    return Row(test, count, time / count)


def _loops(test: str, total: int, average: int, where: str, loops: int) -> int:
    """Return the number of loops whose average is as printed: the program's own, or the one at which its time was up."""
    for known in (loops, FEWER.get(test, LOOPS)):
        if known and total // known == average:
            return known
    most = total // max(average, 1)
    if most == total // (average + 1) + 1 and total + most * SUBTRACTED.get(test, 0) >= LIMIT:
        return most
    known = loops or FEWER.get(test, LOOPS)
    why = f"{known} loops of {total} ns in all do not take {average} ns each"
    raise BadData(f"{where}: {why}; of a program that was changed say --tag loops=NUMBER")
