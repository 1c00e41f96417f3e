"""A campaign as one tidy frame: a row for each value, every tag a column."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from study.campaign import DERIVED, Campaign, Record
from study.design import MAIN, Factors
from study.errors import BadData, BadRequest

COLUMNS = [
    "board", "kernel", "mode", "strategy", "guest", "host", "exit", "arm", "boot", "visit",
    "value_index", "loops", "metric", "unit", "value", "running", "emulated", "gic", "pmu", "touch_by",
]  # fmt: skip

# A metric for each event that perf counts in every visit, and its unit. Events of the user's own keep their name.
METRICS = {
    "instructions:kh": ("instructions", "instructions"),
    "instructions:u": ("user-instructions", "instructions"),
    "instructions:G": ("guest-instructions", "instructions"),
    "cycles:kh": ("cycles", "cycles"),
    "kvm:kvm_entry": ("entries", "events"),
    "kvm:kvm_exit": ("exits", "events"),
    "kvm:trap_reg": ("traps", "events"),
    "rig:instructions": ("instructions", "instructions"),
    "rig:cycles": ("cycles", "cycles"),
    "rig:base": ("part-base", "instructions"),
    "rig:scan": ("part-scan", "instructions"),
    "rig:switch": ("part-switch", "instructions"),
    "rig:trap": ("part-trap", "instructions"),
    "rig:reads": ("debug-reads", "events"),
    "rig:writes": ("debug-writes", "events"),
    "rig:traps": ("traps", "events"),
    "rig:isbs": ("isbs", "events"),
    "rig:switches": ("switches", "events"),
}
# On an emulated board the clock moves one nanosecond with each instruction, and so do the cycles: what pyperf times
# there is a path length, and is never called a time.
TIME, CLOCK = ("time", "s"), ("clock", "instructions")
REPEATS_INSTRUCTIONS = {"cycles"}


def tidy(campaign: Campaign) -> pd.DataFrame:
    """Return every value of a campaign.

    Parameters
    ----------
    campaign : Campaign
        It may still lack visits.

    Returns
    -------
    DataFrame
        COLUMNS; `value` is per round trip, in `unit`. A value that could not be counted is NaN; one that perf counted in a
        share of the time only is an estimate, and `running` is that share. On an emulated board the metric `clock` takes
        the place of `time`: pyperf's values, in instructions. A boot is a start of the machine: a board that went on running
        between two sessions has one.

    Raises
    ------
    BadRequest
        If nothing is recorded yet.
    BadData
        If a visit is damaged.
    """
    starts: dict[tuple[str, str], str] = {}
    rows: list[tuple[Any, ...]] = []
    for record in campaign.records():
        machine = str(record.facts.get("boot_id") or record.boot)
        boot = starts.setdefault((record.facts["board"], machine), record.boot)
        rows += _rows(record, boot, campaign.design_of(record.facts["board"]).factors)
    if not rows:
        raise BadRequest(f"{campaign.folder} holds no visit yet; collect some with: study collect --campaign {campaign.folder}")
    return pd.DataFrame(rows, columns=COLUMNS)


def write(campaign: Campaign, frame: pd.DataFrame) -> Path:
    """Write the frame beside the campaign as values.parquet, for other tools to read; it is derived, rebuilt at will."""
    path = campaign.folder / DERIVED
    aside = path.with_name(path.name + ".part")
    frame.to_parquet(aside, index=False)
    aside.rename(path)
    return path


def _rows(record: Record, boot: str, factors: Factors) -> Iterator[tuple[Any, ...]]:
    line, facts = record.line, record.facts
    try:
        cell = line["cell"]
        emulated = bool(facts["emulated"])
        tags = (facts["board"], facts["kernel"], facts["mode"], cell["strategy"], cell["guest"], cell["host"], cell["exit"],
                line["arm"], boot, line["visit"])  # fmt: skip
        rest = (emulated, factors.gic, factors.pmu, factors.touch_by)
        for index, (metric, unit, value, running) in enumerate(_values(line, emulated)):
            yield (*tags, index, line["loops"], metric, unit, value, running, *rest)
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(
            f"boot {record.boot}, visit {line.get('visit')}: {type(error).__name__} {error}: it is not a visit"
        ) from None


def _values(line: dict[str, Any], emulated: bool) -> Iterator[tuple[str, str, float, float]]:
    metric, unit = CLOCK if emulated else TIME
    scale = 1e9 if emulated else 1.0
    for run in line["pyperf"]["benchmarks"][0]["runs"]:
        for value in run.get("values", ()):
            if not (isinstance(value, float) and math.isfinite(value) and value > 0):
                raise ValueError(f"pyperf recorded {value!r}")
            yield metric, unit, value * scale, 1.0
    for count in line["counts"]:
        name, unit = METRICS.get(count["event"], (count["event"], "events"))
        if not (emulated and name in REPEATS_INSTRUCTIONS):
            yield name, unit, math.nan if count["value"] is None else float(count["value"]), count["running"]
    module = line.get("module", {})
    for name in sorted(module.keys() - {"loops"}):
        yield f"module-{name.replace('_', '-')}", "events", module[name] / module["loops"], 1.0


def pyperf_suites(campaign: Campaign) -> dict[str, dict[str, Any]]:
    """Return pyperf's suites, as pyperf reads them, one for each board, strategy and arm.

    Benchmarks have the same names in each, so that ``pyperf compare_to`` finds what belongs together. Runs are in the
    order of measurement. Values of an emulated board are instructions, pyperf's unit ``integer``: they are no seconds.
    """
    suites: dict[str, dict[str, Any]] = {}
    for record in campaign.records():
        line = record.line
        arm = "" if line["arm"] == MAIN else f"-{line['arm']}"
        name = f"{record.facts['board'].replace(':', '-').replace('/', '-')}-{line['cell']['strategy']}{arm}"
        benchmarks = suites.setdefault(name, {"version": "1.0", "benchmarks": []})["benchmarks"]
        (benchmark,) = line["pyperf"]["benchmarks"]
        metadata = {**line["pyperf"].get("metadata", {}), **benchmark.get("metadata", {})}
        runs = benchmark["runs"]
        if record.facts["emulated"]:
            metadata["unit"] = "integer"
            runs = [_in_instructions(run) for run in runs]
        runs = [{**run, "metadata": {**metadata, **run.get("metadata", {})}} for run in runs]
        same = [b for b in benchmarks if b["runs"][0]["metadata"]["name"] == metadata["name"]]
        if same:
            same[0]["runs"] += runs
        else:
            benchmarks.append({"runs": runs})
    return suites


def _in_instructions(run: dict[str, Any]) -> dict[str, Any]:
    warmups = [[loops, round(value * 1e9)] for loops, value in run.get("warmups", [])]
    return {**run, "values": [round(value * 1e9) for value in run.get("values", [])], "warmups": warmups}


def export_pyperf(campaign: Campaign, folder: Path) -> list[Path]:
    """Write pyperf_suites() into a folder, one file each, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, suite in sorted(pyperf_suites(campaign).items()):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(suite) + "\n")
        paths.append(path)
    return paths
