"""A bad line to a rig: run a program, pass on what goes in and comes out, and spoil one answer. Used by test_rig.py.

    garbler.py HOW WHICH PROGRAM...

HOW is mishear (one digit of the command changes on its way), garble (one digit of the result changes), cut (the line ends early), silence, reset (the rig starts anew), late
(the answer before comes again), end (the line is gone). WHICH is the number of the answer, from 1.
"""

from __future__ import annotations

import subprocess
import sys
import threading

GREETING = b'{"rig":"ready","architecture":"none"}\n'


def main(how: str, which: str, *program: str) -> None:
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        mishear = int(which) if how == "mishear" else 0
        threading.Thread(target=copy, args=(process.stdin, mishear), daemon=True).start()
        before = b""
        for number, line in enumerate(process.stdout):
            spoiled = line if number != int(which) else spoil(how, line, before)
            if spoiled is None:
                process.kill()
                return
            sys.stdout.buffer.write(spoiled)
            sys.stdout.buffer.flush()
            before = line


def copy(to: object, mishear: int) -> None:
    for number, line in enumerate(sys.stdin.buffer, 1):
        if number == mishear:
            line = line.replace(b"warmups=1", b"warmups=2")  # the rig would do that, and measure another cell
        to.write(line)  # type: ignore[attr-defined]
        to.flush()  # type: ignore[attr-defined]


def spoil(how: str, line: bytes, before: bytes) -> bytes | None:
    middle = line.index(b"[[") + 2 if b"[[" in line else len(line) // 2
    changed = b"1" if line[middle : middle + 1] != b"1" else b"2"
    return {
        "mishear": line,
        "garble": line[:middle] + changed + line[middle + 1 :],
        "cut": line[: len(line) // 2] + b"\n",
        "silence": b"",
        "reset": GREETING,
        "late": before,
        "end": None,
    }[how]


if __name__ == "__main__":
    main(*sys.argv[1:])
