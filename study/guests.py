"""Real guests and what they do: a Linux of its own under the board's KVM, its workloads, and the marks between them. Pure.

A guest's first process runs its workloads one after the other. Before and after each it writes a line on its console and waits for
an answer; so the board knows where a phase begins and ends, and reads its counters while the guest is idle.
"""

from __future__ import annotations

from dataclasses import dataclass

from study.errors import BadRequest


@dataclass(frozen=True)
class Guest:
    """A Linux that is a guest.

    Parameters
    ----------
    says : str
        What it is in words.
    bits : int
        Of its kernel: 32 needs a CPU that has AArch32 at EL1.
    architecture, package : str
        Debian's names of what it is built for, and of its kernel.
    """

    says: str
    bits: int
    architecture: str
    package: str


GUESTS = {
    "linux-arm64": Guest("Debian's Linux for 64-bit ARM", 64, "arm64", "linux-image-arm64"),
    "linux-armmp": Guest(
        "Debian's Linux for 32-bit ARM (multi-platform, as multi_v7_defconfig)", 32, "armhf", "linux-image-armmp"
    ),
}


@dataclass(frozen=True)
class Workload:
    """What a guest does in one phase.

    Parameters
    ----------
    says : str
        What it is in words.
    script : str
        What its shell runs; ``$LONGER`` is how many times as long as by default, 1 or more.
    """

    says: str
    script: str


# A program that sleeps often, under gdb with breakpoints and watchpoints at places that nothing reaches: whenever it is put on the
# CPU, or taken off it, the kernel writes debug registers. gdb 13 for 32-bit ARM
# asserts that it finds a breakpoint again, and may not: such a guest cannot do it.
DEBUGGED = """dmesg | grep -q 'hw-breakpoint: found' || {{ dmesg | sed -n 's/.*hw-breakpoint: //p' > /tmp/out; return $CANNOT; }}
gdb -q -nx -batch -ex 'set pagination off' -ex starti {arm} -ex continue \\
  --args cyclictest -q -t 1 -i 500 -l $((400 * LONGER)) > /tmp/out 2>&1
grep -q 'exited normally' /tmp/out && return
grep -q 'No such device' /tmp/out && return $CANNOT
sed -n 's/.*internal-error: /gdb: /p' /tmp/out > /tmp/why
[ -s /tmp/why ] && mv /tmp/why /tmp/out && return $CANNOT
return 1"""

WORKLOADS = {
    "marks": Workload("nothing: what two marks cost", ":"),
    "idle": Workload("2 s of sleep", "sleep $((2 * LONGER))"),
    "hackbench": Workload(
        "hackbench: 20 processes, then 20 threads, that send each other messages through pipes",
        "hackbench -p -g 1 -f 10 -l $((200 * LONGER)) > /tmp/out && hackbench -T -p -g 1 -f 10 -l $((200 * LONGER)) > /tmp/out",
    ),
    "timer": Workload("cyclictest: 1000 sleeps of 500 us", "cyclictest -q -t 1 -i 500 -l $((1000 * LONGER)) > /tmp/out"),
    "fork": Workload(
        "100 processes, one after the other",
        "n=0; while [ $n -lt $((100 * LONGER)) ]; do /bin/busybox true || return 1; n=$((n + 1)); done",
    ),
    "debugger": Workload(
        "400 sleeps of 500 us under gdb, with one hardware watchpoint",
        DEBUGGED.format(arm="-ex 'watch -l *(int *) $pc'"),
    ),
    "breakpoints-all": Workload(
        "the same with all breakpoints and watchpoints that there are",
        """set -- $(dmesg | sed -n 's/.*found \\([0-9]*\\).* breakpoint and \\([0-9]*\\) watchpoint.*/\\1 \\2/p') 0 0
{ n=0; while [ $n -lt $1 ]; do n=$((n + 1)); echo "hbreak *(\\$pc + $((4096 + 4 * n)))"; done
  n=0; while [ $n -lt $2 ]; do n=$((n + 1)); echo "watch -l *(int *) (\\$pc + $((8 * n)))"; done; } > /tmp/armed
"""
        + DEBUGGED.format(arm="-x /tmp/armed"),
    ),
}

BOOT = "boot"  # the phase before the first mark
MARK = "study:"  # what a line that marks begins with; then a phase, and "begins", or "ends" and its exit status
CANNOT = 77  # the status of a workload for which the guest lacks something
# The words of the kernel's command line that tell the first process what to do.
WORDS = "WORKLOADS", "LONGER"

INIT = """#!/bin/busybox sh
# A real guest's first process: workloads, one after the other, with marks between them.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mkdir /dev/shm
mount -t tmpfs tmpfs /dev/shm
export CANNOT={cannot} PATH=/bin HOME=/tmp LD_LIBRARY_PATH=/lib
exec 0<> /dev/console 1>&0 2>&0
stty -echo
mark() {{ echo "{mark} $*"; read answer; }}
{functions}
mark {boot} ends 0
for workload in $(echo $WORKLOADS | tr , ' '); do
  mark $workload begins
  do_$(echo $workload | tr - _)
  status=$?
  [ $status = 0 ] || tail -n 3 /tmp/out
  mark $workload ends $status
done
poweroff -f
"""


def init() -> str:
    """Return the script of a guest's first process."""
    functions = "\n".join(f"do_{name.replace('-', '_')}() {{\n{row.script}\n}}" for name, row in WORKLOADS.items())
    return INIT.format(mark=MARK, boot=BOOT, cannot=CANNOT, functions=functions)


def check_workloads(names: tuple[str, ...]) -> None:
    """Refuse workloads that no table knows."""
    for name in names:
        if name not in WORKLOADS:
            raise BadRequest(f"workloads: {name!r} is unknown; choose from {', '.join(WORKLOADS)}")
