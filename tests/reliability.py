"""What SECURITY.md says of the last whole run of `make faults` and `make fuzz`: sentences with the figures that they wrote."""

from __future__ import annotations

import json
from typing import Any

from study import paths

FOLDER = paths.PAPER / "reliability"


def sentences() -> list[str]:
    """Return a sentence for each kind of harm that was tried."""
    faults, fuzz = (json.loads((FOLDER / f"{name}.json").read_text()) for name in ("faults", "fuzz"))
    return [_kills(faults["kills"]), _disks(faults["disk"]), _module(faults["module"]), _rubbish(fuzz)]


def _total(rows: list[dict[str, Any]], name: str) -> int:
    return sum(int(row.get(name, 0)) for row in rows)


def _kills(rows: list[dict[str, Any]]) -> str:
    over_ssh = [row for row in rows if row["kind"].startswith("ssh")]
    met = [state for row in rows for state, count in row["met"].items() if count]
    return (
        f"{_total(rows, 'tried')} kills of {len(rows)} kinds, {_total(over_ssh, 'tried')} of them over ssh: {_total(rows, 'before')} visits "
        f"recorded before, {_total(rows, 'after')} after, lost {_total(rows, 'lost')}, there twice {_total(rows, 'duplicated')}, wrong "
        f"{_total(rows, 'wrong')}; left running {_total(rows, 'left')}. They met {len(set(met))} states of a run, {len(met)} pairs of kind and state; "
        f"at {_total(rows, 'recorded')} of them visits were recorded before."
    )


def _disks(rows: dict[str, dict[str, Any]]) -> str:
    return (
        f"Disks full at {_total(list(rows.values()), 'tried')} points of collecting, importing and analysing: visits lost "
        f"{_total(list(rows.values()), 'lost')}."
    )


def _module(rows: dict[str, dict[str, Any]]) -> str:
    stress, inputs = rows["stress"], rows["inputs"]
    return (
        f"The kernel module loaded and unloaded {stress['loads']} times under {stress['guests']} guests, {stress['killed']} of which were "
        f"killed meanwhile, and given {inputs['refused'] + inputs['accepted']} texts: words of warning in the kernel's log "
        f"{stress['warnings'] + inputs['warnings']}, wrong {stress['wrong'] + inputs['wrong']}."
    )


def _rubbish(fuzz: dict[str, Any]) -> str:
    total = fuzz["total"]
    return (
        f"{total['inputs']} files of rubbish in {len(fuzz['formats'])} formats: {total['refused']} refused, {total['taken']} taken for what they "
        f"are, uncaught {total['uncaught']}; the worst took {total['worst_seconds']:.2f} s and {total['worst_mebibytes']:.0f} MiB."
    )
