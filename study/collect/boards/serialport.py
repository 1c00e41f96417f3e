"""A process that carries the line to a rig on a serial port: its input goes out, what comes in is its output.

It first waits until the rig answers, so that whatever a boot loader says, and answers to questions of an earlier run, are
passed over.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import sys
import termios
import time

import serial

from study.collect.boards import rig

ASK, WAIT = "id=0 facts", 1.0
PATIENCE = 10.0


def main(port: str, baud: str) -> int:
    """Carry lines until the input ends."""
    try:
        line = serial.Serial(port, int(baud), timeout=WAIT, exclusive=True)
    except (serial.SerialException, ValueError) as error:
        print(f"the port cannot be opened: {error}", file=sys.stderr)
        return 1
    with line:
        if not answers(line):
            print(f"no rig answered on {port} at {baud} baud within {PATIENCE:.0f} s: is it booted?", file=sys.stderr)
            return 1
        os.write(sys.stdout.fileno(), rig.GREETING.encode() + b"}\n")
        try:
            carry(line)
        except (OSError, serial.SerialException, termios.error):
            print("the port is gone: was it unplugged, or does another program read it?", file=sys.stderr)
            return 1
    return 0


def answers(line: serial.Serial) -> bool:
    """Ask until the rig answers, and then until it is silent."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        line.reset_input_buffer()
        line.write(f"\n{ASK}\n".encode())
        heard = False
        while text := line.readline():  # until it says nothing for a while
            with contextlib.suppress(ValueError):
                heard = rig.read(text, ASK)["id"] == 0
        if heard:
            return True
    return False


def carry(line: serial.Serial) -> None:
    """Copy both ways until the input ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.register(line, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj != sys.stdin:
                    os.write(sys.stdout.fileno(), line.read(max(1, line.in_waiting)))
                    continue
                data = os.read(sys.stdin.fileno(), 4096)
                if not data:
                    return
                line.write(data)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
