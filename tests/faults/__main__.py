"""Things go wrong, for real: kills, full disks, modules that come and go. Prints tables, and exits with 1 unless nothing was harmed.

python -m tests.faults [--kills 200] [--loads 1000] [--seed 1] [--quick]

Kills come at random moments, drawn from the seed; how far a run is by then depends on the machine. Emulated boards, a rig and one
that is reached by ssh, take the blows.
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
from typing import Any

from study import paths
from study.collect.session import duration
from tests.faults import disk, kills

COLUMNS = ("tried", "before", "after", "lost", "duplicated", "wrong", "left")
HEADS = ("kills", "visits before", "visits after", "lost", "twice", "wrong", "left running")
PROMISED = ("lost", "duplicated", "wrong", "left")  # must be zero
QUICK = {"kills": 16, "loads": 50, "step": 4}
TRIES = 3  # drawn texts for each load of the module
OVER_SSH = 8  # one kill in so many is of a board that is reached by ssh
OUT = paths.PAPER / "reliability" / "faults.json"

Rows = list[dict[str, Any]]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the kills as a table, with a total."""
    total = {"kind": "all", **{name: sum(row[name] for row in rows) for name in COLUMNS}}
    texts = [["", *HEADS], *([str(row["kind"]), *(str(row[name]) for name in COLUMNS)] for row in [*rows, total])]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join([words[0].ljust(widths[0]), *(word.rjust(width) for word, width in zip(words[1:], widths[1:], strict=True))])
        for words in texts
    )


def harm(result: Mapping[str, Any]) -> list[str]:
    """Name all that is not zero and should be."""
    found = [f"{row['kind']}: {row[name]} {name}" for row in result["kills"] for name in PROMISED if row[name]]
    for row in [*result["kills"], *result["disk"].values()]:
        found += row.get("complaints", [])
    found += [f"{where}: {row[name]} {name}" for where, row in result["disk"].items() for name in PROMISED if row.get(name)]
    for what, row in result.get("module", {}).items():
        found += [f"module, {what}: {row[name]} {name}" for name in ("wrong", "warnings") if row.get(name)]
        if row.get("oracles") != row.get("processes"):
            found.append(f"module, {what}: guest breakpoints worked in {row['oracles']} of {row['processes']} processes")
    return found


def on_the_rig(folder: Path, count: int, seed: int, say: kills.Say) -> Rows:
    """Kill commands and notebooks that measure the rig."""
    folder.mkdir()
    return kills.campaigns(folder, count, seed, say)


def on_a_lab(folder: Path, count: int, loads: int, seed: int, say: kills.Say) -> tuple[Rows, dict[str, Any]]:
    """Kill what measures over ssh, and load the module again and again."""
    from tests.collect.sshd import lab
    from tests.faults import module, ssh

    folder.mkdir()
    (folder / "board").mkdir()
    (folder / "checked").mkdir()
    with lab(folder / "board") as running:
        rows = ssh.kills(running, folder, count, seed, say) if count else []
    named = [
        {**row, "kind": f"ssh: {row['kind']}", "tried": 1, "complaints": [] if ssh.well(row) else [f"ssh: {row}"]} for row in rows
    ]
    say(f"loading the module {loads} times, with {loads * TRIES} drawn inputs")
    done: dict[str, Counter[str]] = {"inputs": Counter(), "stress": Counter()}
    with lab(folder / "checked", words=module.CHECKS, cpus=module.CPUS) as running:
        done["inputs"].update(module.inputs(running, loads * TRIES, seed))
        for before in range(0, loads, module.PART):
            done["stress"].update(module.stress(running, min(module.PART, loads - before), seed + before))
            say(f"loaded {min(before + module.PART, loads)} times: {done['stress']['warnings']} warnings")
    return kills.added(named), {name: dict(counts) for name, counts in done.items()}


def on_disks(folder: Path, step: int, quick: bool, say: kills.Say) -> dict[str, Any]:
    """Fill disks up."""
    folder.mkdir()
    names = [*disk.DERIVED, *([] if quick else disk.NOTEBOOKS)]
    for name in ("collect", "import", *names):
        (folder / name).mkdir()
    whole = disk.measured(folder)
    found = {"collect": disk.sweep(folder / "collect", whole, step, say), "import": disk.imports(folder / "import", step, say)}
    return found | {name: disk.derived(folder / name, whole, name, say) for name in names}


def main() -> int:
    """Do all of it, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, help="over all kinds, one in eight over ssh (200)")
    parser.add_argument("--loads", type=int, help="of the kernel module (1000); 0 leaves out what needs a board over ssh")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few of each")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where the figures go ({OUT.relative_to(paths.ROOT)})")
    given = parser.parse_args()
    some = QUICK if given.quick else {"kills": 200, "loads": 1000, "step": 1}
    count = some["kills"] if given.kills is None else given.kills
    loads = some["loads"] if given.loads is None else given.loads
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{duration(time.monotonic() - began)}] {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="study-faults-") as name:
        folder = Path(name)
        remote = count // OVER_SSH if loads else 0
        rows = on_the_rig(folder / "rig", count - remote, given.seed, say)
        disks = on_disks(folder / "disks", some["step"], given.quick, say)
        more, module = on_a_lab(folder / "lab", remote, loads, given.seed, say) if loads else ([], {})
    result = {
        "seed": given.seed, "seconds": round(time.monotonic() - began), "kills": [*rows, *more], "disk": disks, "module": module,
    }  # fmt: skip
    print(f"\n{table(result['kills'])}\n")
    for where, found in disks.items():
        print(f"full disk, {where}: {found['tried']} points, {found.get('lost', 0)} visits lost")
    for what, found in module.items():
        print(f"module, {what}: {', '.join(f'{value} {key}' for key, value in found.items())}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    found = harm(result)
    for words in found:
        print(words, file=sys.stderr)
    print(
        f"{'nothing was harmed' if not found else f'{len(found)} kinds of harm'}, in {duration(result['seconds'])}: {given.out}"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
