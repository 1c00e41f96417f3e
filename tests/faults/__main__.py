"""Things go wrong, for real: kills, full disks, modules that come and go. Prints tables, and exits with 1 unless nothing was harmed.

python -m tests.faults [--kills 200] [--loads 1000] [--seed 1] [--quick]

Each kill comes in a state that the run is stopped in, at a place of the campaign that is drawn from the seed; the machine's speed has
no part in it. Emulated boards, a rig and one that is reached by ssh, take the blows. Where a state was not met, that is harm, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from study import paths
from study.terminal.progress import duration
from tests.collect.sshd import lab
from tests.conftest import ordinary_signals
from tests.faults import disk, kills, module, ssh
from tests.faults.kills import Kind
from tests.faults.states import STATES

HEADS = {
    "tried": "kills", "before": "visits before", "after": "visits after", "lost": "lost", "duplicated": "twice", "wrong": "wrong",
    "left": "left running",
}  # fmt: skip
QUICK = {"kills": 20, "loads": 50, "step": 4}
TRIES = 3  # drawn texts for each load of the module
OVER_SSH = 12  # one kill in so many, and one of each kind at least, is of a board that is reached by ssh
OUT = paths.PAPER / "reliability" / "faults.json"

Rows = list[dict[str, Any]]


def table(rows: Sequence[Mapping[str, Any]], heads: Mapping[str, str]) -> str:
    """Return columns of the kills as a table, with a total."""
    total = {"kind": "all", **{name: sum(row[name] for row in rows if row[name] != "") for name in heads}}
    texts = [["", *heads.values()], *([str(row["kind"]), *(str(row[name]) for name in heads)] for row in [*rows, total])]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join([words[0].ljust(widths[0]), *(word.rjust(width) for word, width in zip(words[1:], widths[1:], strict=True))])
        for words in texts
    )


def met(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how many kills of each kind met each state, as a table; nothing where none was asked for."""
    heads = {state.says: state.says for state in STATES.values()}
    counted = [
        {state: row["met"].get(state, 0) if state in {**row["asked"], **row["met"]} else "" for state in heads} for row in rows
    ]
    return table([{"kind": row["kind"], **states} for row, states in zip(rows, counted, strict=True)], heads)


def harm(result: Mapping[str, Any], kinds: Sequence[Kind]) -> list[str]:
    """Name all that is not zero and should be, and all that should have been met and was not."""
    rows, disks = result["kills"], result["disk"].items()
    tried, recorded = (sum(row[name] for row in rows) for name in ("tried", "recorded"))
    found = kills.harm(rows, kinds)
    found += [f"only {recorded} of {tried} kills came when visits were recorded"] if 2 * recorded < tried else []
    found += [f"full disk, {where}: {words}" for where, row in disks for words in row["complaints"]]
    found += [f"full disk, {where}: {row[name]} {name}" for where, row in disks for name in kills.PROMISED if row.get(name)]
    found += [f"full disk, {where}: it never was full" for where, row in disks if not row["full"]]
    return [*found, *(f"module, {job}: {words}" for job, done in result["module"].items() for words in module.harm(job, done))]


def on_the_rig(folder: Path, count: int, seed: int, say: kills.Say) -> Rows:
    """Kill commands and notebooks that measure the rig."""
    folder.mkdir()
    return kills.campaigns(folder, kills.undisturbed(folder), kills.drawn(count, Random(seed)), seed, say)


def on_a_lab(folder: Path, count: int, loads: int, seed: int, say: kills.Say) -> tuple[Rows, dict[str, Any]]:
    """Kill what measures over ssh, and load the module again and again."""
    folder.mkdir()
    (folder / "board").mkdir()
    (folder / "checked").mkdir()
    with lab(folder / "board") as running:
        rows = ssh.kills(running, folder, count, seed, say)
    say(f"loading the module {loads} times, with {loads * TRIES} drawn inputs")
    done: dict[str, Counter[str]] = {"inputs": Counter(), "stress": Counter()}
    with lab(folder / "checked", words=module.CHECKS, cpus=module.CPUS) as running:
        done["inputs"].update(module.inputs(running, loads * TRIES, seed))
        for before in range(0, loads, module.PART):
            done["stress"].update(module.stress(running, min(module.PART, loads - before), seed + before))
            say(f"loaded {min(before + module.PART, loads)} times: {done['stress']['warnings']} warnings")
    return rows, {name: dict(counts) for name, counts in done.items()}


def on_disks(folder: Path, step: int, quick: bool, say: kills.Say) -> dict[str, Any]:
    """Fill disks up."""
    folder.mkdir()
    names = [*disk.DERIVED, *([] if quick else disk.NOTEBOOKS)]
    for name in ("collect", "import", "receipts", *names):
        (folder / name).mkdir()
    whole = disk.measured(folder)
    found = {"collect": disk.sweep(folder / "collect", whole, step, say), "import": disk.imports(folder / "import", step, say)}
    found["receipts"] = disk.receipts(folder / "receipts", whole, say)
    return found | {name: disk.derived(folder / name, whole, name, say) for name in names}


def main() -> int:
    """Do all of it, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, help="over all kinds, one in twelve over ssh (200)")
    parser.add_argument("--loads", type=int, help="of the kernel module (1000); 0 leaves out what needs a board over ssh")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few of each")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where the figures go ({OUT.relative_to(paths.ROOT)})")
    given = parser.parse_args()
    ordinary_signals()
    some = QUICK if given.quick else {"kills": 200, "loads": 1000, "step": 1}
    count = some["kills"] if given.kills is None else given.kills
    loads = some["loads"] if given.loads is None else given.loads
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{duration(time.monotonic() - began)}] {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="study-faults-") as name:
        folder = Path(name)
        remote = max(len(ssh.KINDS), count // OVER_SSH) if loads else 0
        rows = on_the_rig(folder / "rig", count - remote, given.seed, say)
        disks = on_disks(folder / "disks", some["step"], given.quick, say)
        more, loaded = on_a_lab(folder / "lab", remote, loads, given.seed, say) if loads else ([], {})
    result = {
        "seed": given.seed, "seconds": round(time.monotonic() - began), "kills": [*rows, *more], "disk": disks, "module": loaded,
    }  # fmt: skip
    print(f"\n{table(result['kills'], HEADS)}\n\n{met(result['kills'])}\n")
    for where, found in disks.items():
        print(f"full disk, {where}: {found['full']} of {found['tried']} points, {found.get('lost', 0)} visits lost")
    for what, found in loaded.items():
        print(f"module, {what}: {', '.join(f'{value} {key}' for key, value in found.items())}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    found = harm(result, [*kills.KINDS, *(ssh.KINDS if remote else [])])
    for words in found:
        print(words, file=sys.stderr)
    print(
        f"{'nothing was harmed' if not found else f'{len(found)} kinds of harm'}, in {duration(result['seconds'])}: {given.out}"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
