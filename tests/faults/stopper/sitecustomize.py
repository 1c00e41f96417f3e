"""Stop the process that records a campaign at an event, so that it can be struck there. Python loads this by its name, at its start.

The environment says what to do; without it, nothing happens:

STOPPER_CAMPAIGN  the campaign's folder; whoever writes there records
STOPPER_STOPS     events, one after the other, each with which occurrence of it, from 1 on: ``asked:3 closing:1``
STOPPER_MARKS     a folder for a file about each stop, ``0`` and so on, which is there, whole, before the process stops

An event is a moment at a call by which the study loads itself, writes its files, or asks its board:

========  ==============================================================================================
loading   the command's own modules are about to be loaded
unfrozen  the design is written aside, and about to be put in place
begun     the boot is described, no visit of it asked for
asked     a visit is asked for, and the board's process is stopped, too, before it has read that
writing   half of a visit's line is written
unsynced  the whole line is written, its file still open
between   a line is written, its file closed, and the next visit about to be asked for
closing   the sums are written aside, and about to be put in place
closed    the sums are in place
========  ==============================================================================================
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

REAL = SimpleNamespace(write=os.write, close=os.close, replace=os.replace, link=os.link)


def link_of(path):
    """Return what a link leads to; nothing if it is gone."""
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def reader_of(file):
    """Return the child whose standard input a file of ours is the other end of; 0 if it is none's."""
    pipe = link_of(f"/proc/self/fd/{file}")
    children = [child for path in Path("/proc/self/task").glob("*/children") for child in path.read_text().split()]
    return next((int(child) for child in children if pipe.startswith("pipe:") and link_of(f"/proc/{child}/fd/0") == pipe), 0)


def halt(process):
    """Stop another process, and wait until it is."""
    os.kill(process, signal.SIGSTOP)
    while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.0002)


class Stopper:
    """Counts events, and stops at those that it was told."""

    def __init__(self, campaign, stops, marks):
        self.campaign, self.marks = Path(campaign), Path(marks)
        self.stops = [(event, int(number)) for event, _, number in (stop.partition(":") for stop in stops.split())]
        self.stopped = self.seen = 0
        self.written = self.recorded = False  # a line of this run, in a file that is open; one, in a file that was closed
        self.next_asks = False  # the next request is for a visit

    def find_spec(self, name, *_):
        """Find no module: what is loaded is an event."""
        if name == "study.cli":
            self.at("loading")

    def at(self, event):
        """Stop if this is what is waited for."""
        if self.due(event):
            self.stop(event)

    def due(self, event):
        """Count an event, and say whether it is what is waited for."""
        if self.stopped == len(self.stops) or self.stops[self.stopped][0] != event:
            return False
        self.seen += 1
        return self.seen == self.stops[self.stopped][1]

    def stop(self, event):
        """Say so and stop, unless another process has stopped here."""
        aside, mark = self.marks / f"{os.getpid()}.part", self.marks / str(self.stopped)
        aside.write_text(json.dumps({"process": os.getpid(), "event": event}))
        self.stopped, self.seen = self.stopped + 1, 0
        with suppress(FileExistsError):
            REAL.link(aside, mark)
            os.kill(os.getpid(), signal.SIGSTOP)

    def is_visits(self, file):
        """Say whether a file is one of the campaign's visits."""
        path = link_of(f"/proc/self/fd/{file}")
        return path.startswith(f"{self.campaign}/") and path.endswith("/visits.jsonl")

    def write(self, file, data):
        """Do what os.write does."""
        if self.is_visits(file):
            self.written = True
            if self.due("writing"):
                done = REAL.write(file, data[: len(data) // 2])
                self.stop("writing")
                return done
        if not self.next_asks or not (board := reader_of(file)):
            return REAL.write(file, data)
        self.next_asks = False
        if self.recorded:
            self.at("between")
        if not self.due("asked"):
            return REAL.write(file, data)
        halt(board)
        done = REAL.write(file, data)
        self.stop("asked")
        return done

    def close(self, file):
        """Do what os.close does."""
        is_line = self.written and self.is_visits(file)  # or a torn line of an earlier run was cut off
        if is_line:
            self.at("unsynced")
        REAL.close(file)
        if is_line:
            self.written, self.recorded, self.next_asks = False, True, True

    def replace(self, source, target, **how):
        """Do what os.replace does."""
        name = Path(target).name if Path(target).is_relative_to(self.campaign) else ""
        if name == "SHA256SUMS":
            self.at("closing")
        REAL.replace(source, target, **how)
        if name == "boot.json":
            self.next_asks = True
            self.at("begun")
        if name == "SHA256SUMS":
            self.at("closed")

    def link(self, source, target, **how):
        """Do what os.link does."""
        if Path(target) == self.campaign / "design.json":
            self.at("unfrozen")
        REAL.link(source, target, **how)


if "STOPPER_STOPS" in os.environ:
    stopper = Stopper(*(os.environ[f"STOPPER_{name}"] for name in ("CAMPAIGN", "STOPS", "MARKS")))
    os.write, os.close, os.replace, os.link = stopper.write, stopper.close, stopper.replace, stopper.link
    sys.meta_path.insert(0, stopper)
