"""The kernel module under hostile conditions, on an emulated board of two CPUs that really run at the same time.

    python -m tests.faults.module [--loads 1000] [--tries 5000] [--kernel 6.1] [--seed 1]

What is done on the board is in board_module.py. Counts that say whether all is well:

==========  ==========================================================================================================
wrong       expectations that were not met
warnings    lines of the kernel's log from the level of a warning on, or that sound like one; and new taints
oracles     processes of guests after which guest breakpoints work; must be as many as there are ``processes``
kept        guests that ran all the time and have the debug registers that they had
==========  ==========================================================================================================
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.collect import sshd
from tests.collect.sshd import Lab

# The checks that Debian's kernels have and that a word turns on: freed memory is overwritten and looked at again, so that what
# uses a vCPU after its end is seen. Others are always on (CONFIG_DEBUG_LIST, CONFIG_HARDENED_USERCOPY, reference counts).
# The last word is for kernels that have KFENCE; others ignore it.
CHECKS = "slub_debug=FZPU,kvm_vcpu,kmalloc-* page_poison=1 log_buf_len=4M kfence.sample_interval=10"
CPUS = 2
PART = 100  # loads for each set of guests, when there are many
# What there must be of it, or nothing was shown.
LEAST = {
    "inputs": ("loads", "loads refused", "writes", "refused", "accepted", "processes"),
    "stress": ("loads", "changes", "entries", "raced", "hotplugs", "guests", "killed", "steps", "processes"),
}
LIMIT = 3600.0  # seconds; an oops with a lock held would hang the rest


def stress(lab: Lab, loads: int, seed: int) -> dict[str, int]:
    """Load and unload the module so many times while guests run, are made, and go."""
    return _on_board(lab, "stress", loads, seed)


def inputs(lab: Lab, tries: int, seed: int) -> dict[str, int]:
    """Write so many drawn texts to the module's parameters, besides those that are listed; load it with words that are wrong."""
    return _on_board(lab, "inputs", tries, seed)


def harm(job: str, done: dict[str, int]) -> list[str]:
    """Name what was wrong in a job, and what there was none of and should have been."""
    found = [f"{done[name]} {name}" for name in ("wrong", "warnings") if done[name]]
    found += [f"no {name}" for name in LEAST[job] if not done.get(name)]
    if done["oracles"] != done["processes"]:
        found.append(f"guest breakpoints worked in {done['oracles']} of {done['processes']} processes")
    return found


def _on_board(lab: Lab, *words: object) -> dict[str, int]:
    program = Path(__file__).with_name("board_module.py").read_bytes()
    done = json.loads(lab.sh(f"cd /board && exec python3 - {' '.join(map(str, words))}", stdin=program, limit=LIMIT))
    for line in done.pop("words"):
        print(line, file=sys.stderr)
    return {str(name): int(count) for name, count in done.items()}


def main() -> int:
    """Run both and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"loads": 1000, "tries": 5000, "seed": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--kernel", default="", help="how the release of the board's kernel begins")
    args = parser.parse_args()
    started, bad = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder, sshd.lab(Path(folder), kernel=args.kernel, words=CHECKS, cpus=CPUS) as lab:
        print(lab.sh("uname -rv; cat /proc/cmdline; nproc").strip(), flush=True)
        parts = [min(PART, args.loads - before) for before in range(0, args.loads, PART)]
        for number, (job, count) in enumerate([(inputs, args.tries), *((stress, part) for part in parts)]):
            done = job(lab, count, args.seed + number)
            bad += bool(harm(job.__name__, done))
            print(f"{job.__name__}: {json.dumps(done)}, {time.monotonic() - started:.0f} s", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
