"""`make bench`: measure every row, print the table, write bench.json and its figure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import click
import tabulate

from study import paths
from study.bench import analysis, collection, figure, notebooks, setup, statistics
from study.bench.rows import Row
from study.campaign.files import write_whole
from study.errors import StudyError

PARTS: dict[str, Callable[[Callable[[str], None]], Iterable[Row]]] = {
    "visits": collection.rows_of_visits,
    "boards": collection.rows_of_boards,
    "rig": collection.rows_of_a_rig,
    "setup": setup.rows,
    "notebooks": notebooks.rows,
    "analysis": analysis.rows,
    "statistics": statistics.rows,
}


def table(rows: list[Row]) -> str:
    """Return the table for a terminal: each row's value beside the most that it may be, its ends, and how many figures it is of."""
    lines = [
        [row.name, f"{row.value:.2f}", "" if row.bound is None else f"{row.bound:g}",
         "" if row.bound is None else "yes" if row.holds else "NO", f"{row.low:.2f} to {row.high:.2f}", row.n]
        for row in rows
    ]  # fmt: skip
    heads = ["row", "value", "at most", "holds", "spread", "n"]
    return tabulate.tabulate(lines, heads, colalign=["left", "right", "right", "left", "right", "right"], disable_numparse=True)


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=paths.PAPER / "bench", help="Folder of bench.json and its figure."
)
@click.option(
    "--only", type=click.Choice(list(PARTS)), multiple=True, help="Measure only this part; the others stay as they are."
)
@click.option("--campaigns", default=2000, show_default=True, help="Campaigns to simulate for each noise and size.")
def main(out: Path, only: tuple[str, ...], campaigns: int) -> None:
    """Measure what the study costs beside what it measures, as ratios of one run.

    Each row compares two things that are run in turns; nothing else should run meanwhile.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / "bench.json"
    parts = {part: found for part, found in (json.loads(file.read_text()) if file.exists() else {}).items() if part in PARTS}
    for part in only or PARTS:
        parts[part] = []
        try:
            for row in PARTS[part](lambda text: print(text, flush=True)):
                parts[part].append({**dataclasses.asdict(row), "holds": row.holds})
                write_whole(file, json.dumps({name: parts[name] for name in PARTS if name in parts}, indent=1) + "\n")
        except StudyError as error:
            raise click.ClickException(str(error)) from None
    rows = read(file)
    print(f"\n{table(rows)}\n")
    figure.save(rows, out)
    if not only or "statistics" in only:
        statistics.proof(campaigns, print)


def read(file: Path) -> list[Row]:
    """Return the rows of bench.json."""
    fields = {field.name for field in dataclasses.fields(Row)}
    parts = json.loads(file.read_text())
    return [Row(**{name: value for name, value in row.items() if name in fields}) for part in parts.values() for row in part]


if __name__ == "__main__":
    main()
