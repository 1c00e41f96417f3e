"""A campaign for other tools: pyperf's suites, and the format in which Bencher takes results to follow them over time."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from study.analyze.frame import TIMED
from study.campaign import Campaign, lines
from study.campaign.files import write_whole
from study.campaign.names import legible, slug
from study.campaign.store import Record
from study.design import MAIN
from study.errors import BadRequest

# What tells cells apart that have one name as a benchmark.
OF_A_BENCHMARK = ("guest", "host", "exit")
# What pyperf demands to be the same in all runs of a benchmark, or in none; boots and files that are one cell may differ in it.
SAME_IN_ALL = ("aslr", "cpu_count", "cpu_model_name", "hostname", "inner_loops", "platform", "python_executable",
               "python_implementation", "python_unicode", "python_version")  # fmt: skip
# What a row of a summary is called elsewhere, besides the kernel and the mode where there are several.
NAMED = ("board", "kernel", "mode", "strategy", "guest", "host", "exit")
# Letters of what Bencher calls a benchmark and a measure (https://bencher.dev/docs/reference/bencher-metric-format).
LONGEST_BENCHMARK, LONGEST_MEASURE = 1024, 64
ENDS = {"lower_value": "ci_low", "upper_value": "ci_high"}


def pyperf_suites(campaign: Campaign) -> dict[str, dict[str, Any]]:
    """Return pyperf's suites, as pyperf reads them, one for each board, strategy, arm and metric, and each kernel and mode if several.

    Benchmarks have the same names in each, so that ``pyperf compare_to`` finds what belongs together. Runs are in the
    order of measurement, and their metadata have the tags of ``study import``. Values of an emulated board are
    instructions, pyperf's unit ``integer``: they are no seconds. Visits that only perf has counted are left out.
    """
    visits = [(record, list(_runs(record))) for record in campaign.records() if "pyperf" in record.line]
    several = _several(record.facts for record, _ in visits)
    names = _names((runs[0]["metadata"]["name"], record.line["cell"]) for record, runs in visits)
    files: dict[tuple[str, ...], str] = {}
    suites: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for record, runs in visits:
        known, metadata = {**record.facts, **record.line["cell"]}, runs[0]["metadata"]
        arm = "" if record.line["arm"] == MAIN else record.line["arm"]
        metric = "" if record.facts["emulated"] or metadata["unit"] == "second" else TIMED[metadata["unit"]][0]
        key = (*_shown(known, NAMED[:4], several).values(), arm, metric)
        file = files.setdefault(key, _free(slug("-".join(filter(None, key))), files.values()))
        name = names[metadata["name"], *(known[tag] for tag in OF_A_BENCHMARK)]
        suites.setdefault(file, {}).setdefault(name, []).extend(
            {**run, "metadata": {**run["metadata"], "name": name}} for run in runs
        )
    return {
        file: {"version": "1.0", "benchmarks": [{"runs": _alike(runs)} for runs in benchmarks.values()]}
        for file, benchmarks in suites.items()
    }


def _several(machines: Iterable[Mapping[str, Any]]) -> set[tuple[str, ...]]:
    """Return the boards that ran several kernels, and the boards and kernels that ran in several modes."""
    found: dict[tuple[str, ...], set[str]] = {}
    for machine in machines:
        found.setdefault((machine["board"],), set()).add(machine["kernel"])
        found.setdefault((machine["board"], machine["kernel"]), set()).add(machine["mode"])
    return {place for place, ran in found.items() if len(ran) > 1}


def _shown(known: Mapping[str, Any], tags: Iterable[str], several: set[tuple[str, ...]]) -> dict[str, str]:
    """Return the tags that a name has: a kernel and a mode only where there are several."""
    left_out = {"kernel": (known["board"],), "mode": (known["board"], known["kernel"])}
    return {tag: known[tag] for tag in tags if tag not in left_out or left_out[tag] in several}


def _names(benchmarks: Iterable[tuple[str, Mapping[str, str]]]) -> dict[tuple[str, ...], str]:
    """Return what the benchmark of each name and cell is called: as it was, and with what tells it from others of that name."""
    cells: dict[str, dict[tuple[str, ...], None]] = {}
    for name, cell in benchmarks:
        cells.setdefault(name, {})[tuple(cell[tag] for tag in OF_A_BENCHMARK)] = None
    names = {}
    for name, found in cells.items():
        varied = [tag for tag, values in zip(OF_A_BENCHMARK, zip(*found, strict=True), strict=True) if len(set(values)) > 1]
        for values in found:
            known = dict(zip(OF_A_BENCHMARK, values, strict=True))
            names[name, *values] = " ".join([name, *(_word(tag, known[tag]) for tag in varied)])
    return names


def _word(tag: str, value: str) -> str:
    return f"{tag}={shlex.quote(value)}"


def _runs(record: Record) -> Iterable[dict[str, Any]]:
    """Yield the runs of a visit, each with its metadata and tags, and in the unit that its values are in."""
    (benchmark,) = record.line["pyperf"]["benchmarks"]
    shared = lines.metadata(record.facts, record.line)
    for run in benchmark["runs"]:
        metadata = {"unit": "second", **shared, **run.get("metadata", {}), **_tags(record)}
        if record.facts["emulated"]:
            run = _in_instructions(run) if metadata["unit"] == "second" else run
            metadata["unit"] = "integer"
        yield {**run, "metadata": metadata}


def _alike(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return runs without those metadata in which pyperf does not let them differ."""
    known = [run["metadata"] for run in runs]
    differ = {name for name in SAME_IN_ALL if len({json.dumps(metadata.get(name)) for metadata in known}) > 1}
    return [{**run, "metadata": {n: v for n, v in run["metadata"].items() if n not in differ}} for run in runs]


def _tags(record: Record) -> dict[str, str]:
    """Return what a run's metadata say of its visit: the tags that ``study import`` reads."""
    facts = record.facts
    boot = str(facts.get("boot") or facts.get("boot_id") or record.boot)
    tags = {name: facts[name] for name in ("board", "kernel", "mode")} | {"boot": boot, "arm": record.line["arm"]}
    tags |= {**record.line["cell"], "emulated": "yes" if facts["emulated"] else "no"}
    return {name: text for name, text in tags.items() if text}


def _free(name: str, taken: Collection[str]) -> str:
    """Return a name, or the first with a number that nobody has: different strategies may have one name as a file."""
    return next(free for free in (name, *(f"{name}-{number}" for number in range(2, 10_000))) if free not in taken)


def _in_instructions(run: dict[str, Any]) -> dict[str, Any]:
    warmups = [[loops, round(value * 1e9)] for loops, value in run.get("warmups", [])]
    return {**run, "values": [round(value * 1e9) for value in run.get("values", [])], "warmups": warmups}


def export_pyperf(campaign: Campaign, folder: Path) -> list[Path]:
    """Write pyperf_suites() into a folder, one file each, and return their paths.

    Raises
    ------
    BadRequest
        If there is none to write.
    """
    campaign.recorded()
    suites = pyperf_suites(campaign)
    if not suites:
        raise BadRequest(f"{campaign.folder} holds nothing that pyperf timed, only what perf counted: see study summary --json")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, suite in sorted(suites.items()):
        path = folder / f"{name}.json"
        write_whole(path, json.dumps(suite) + "\n")
        paths.append(path)
    return paths


def bencher(summary: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Return a campaign's medians in the Bencher Metric Format: for each cell its measures, each with a value and its interval.

    Parameters
    ----------
    summary : DataFrame
        As compare.summarise() returns it.

    Returns
    -------
    dict
        By the name of a benchmark, its tags as ``--cells`` has them: a kernel is among them where a board ran several, so that a
        name stays the same from kernel to kernel. By the name of a measure, the metric and its unit: `value`, the median, and
        where there is an interval `lower_value` and `upper_value`, all in that unit per round trip.
    """
    rows: list[dict[str, Any]] = summary.to_dict("records")
    several = _several(rows)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        tags = _shown(row, NAMED, several) | ({} if row["arm"] == MAIN else {"arm": row["arm"]})
        name = " ".join(_word(tag, str(value)) for tag, value in tags.items())
        measure = row["metric"] if row["metric"] == row["unit"] else f"{row['metric']} in {row['unit']}"
        ends = {end: row[column] for end, column in ENDS.items() if math.isfinite(row[column])}
        found.setdefault(legible(name, LONGEST_BENCHMARK), {})[legible(measure, LONGEST_MEASURE)] = {
            "value": row["median"],
            **ends,
        }
    return found


def export_bencher(summary: pd.DataFrame, path: Path) -> Path:
    """Write bencher() into a file, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(bencher(summary), indent=1, allow_nan=False) + "\n")
    return path
