"""The local board, measured for real: an emulated board serves as the machine that the study runs on."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import fastjsonschema
import pytest
import tqdm

from study import paths
from study.analyze import compare, figures, frame, tables
from study.campaign import Campaign
from study.collect.boards.emulated import EmulatedBoard
from study.kernels import archive, cache, image, module
from study.process import run
from tests.conftest import letters, some

pytestmark = pytest.mark.board

# Three campaigns, each in a process of its own, forked from one that has imported the study: the first is interrupted in its second
# visit, and the third asks for another boot. What they say goes to the console and to `asked`; `after` is what the first one leaves.
COLLECT = """
import os, pathlib, signal, subprocess, sys, time, traceback
from study.collect import session
from study.design import Factors

def collect(folder, factors, out, until=None):
    process = os.fork()
    if process == 0:
        file = os.open(out, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        try:
            session.collect("local", pathlib.Path(folder), factors)
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(0)
    while until and not until():
        time.sleep(0.02)
    if until:
        os.kill(process, signal.SIGINT)
    os.waitpid(process, 0)

def recorded():
    return any(path.read_bytes() for path in pathlib.Path("/tmp/interrupted").glob("boots/*/visits.jsonl"))

factors = Factors(strategies=("stock", "lazy"), guests=("untouched", "mde"), processes=1, values=3, warmups=1, loops=2000)
collect("/tmp/interrupted", factors, "/dev/console", recorded)
time.sleep(1)
subprocess.run("lsmod >/tmp/after; ps >>/tmp/after; wc -l /tmp/interrupted/boots/*/visits.jsonl >>/tmp/after", shell=True, check=True)
collect("/tmp/campaign", factors, "/dev/console")
again = Factors(strategies=("stock",), guests=("untouched",), processes=1, loops=100, boots=2, kernels=(sys.argv[1],))
collect("/tmp/again", again, "/tmp/campaign/asked")
"""
SCRIPT = """
mkdir -p /tmp/checkout && cd /tmp/checkout && base64 -d <<END | tar xz
{files}
END
mkdir -p /lib/modules/{release}/build
export STUDY_CACHE=/tmp/checkout/cache PYTHONPATH=/tmp/checkout:/board
python3 collect.py {release} >/dev/console 2>&1
wc -l /tmp/again/boots/*/visits.jsonl >>/tmp/campaign/asked
lsmod >/tmp/campaign/lsmod; mv /tmp/after /tmp/campaign/after
tar cz -C /tmp campaign | base64
exit
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A campaign of the local board, with the very commands and files of a checkout on it."""
    folder = tmp_path_factory.mktemp("local")
    board = EmulatedBoard("qemu-neoverse-n1", append='"STUDY_UNDER=sh -s"')
    launch = board.launch(folder / "console.log", ("stock",))
    release = json.loads((archive.kernel(archive.KERNEL) / "versions.json").read_text())["release"]
    script = SCRIPT.format(files=base64.encodebytes(_checkout(release, folder / "checkout")).decode(), release=release)
    with subprocess.Popen(launch.argv, cwd=launch.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(script.encode())
        process.stdin.flush()
        packed = base64.decodebytes(process.stdout.read())
    assert packed, (folder / "console.log").read_text()
    run(["tar", "--extract", "--gzip", "--directory", folder], stdin=packed)
    return Campaign(folder / "campaign")


def _checkout(release: str, place: Path) -> bytes:
    """Pack what a checkout on an arm64 board has after building and a first run: sources, compiled too, the guest, the module."""
    for path in [paths.PACKAGES, *some(paths.ROOT.glob("study/**/*"), 100)]:
        if path.suffix in (".py", ".S", ".c", ".txt", ".json", "") and path.is_file():
            (place / path.relative_to(paths.ROOT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place / path.relative_to(paths.ROOT))
    for package in (fastjsonschema, tqdm):
        shutil.copytree(Path(package.__file__).parent, place / package.__name__, ignore=shutil.ignore_patterns("__pycache__"))
    image._compile(place)
    built = {
        f"payload-{cache.digest(image.RECIPE, 'gcc', (paths.ONBOARD / 'payload.S').read_bytes())[:16]}": image.payload(),
        f"module-{cache.digest(module.RECIPE, release, f'/lib/modules/{release}/build', cache.tree_digest(paths.MODULE))[:16]}": (
            module.module(release, archive.kernel(archive.KERNEL) / "headers")
        ),
    }
    for name, path in built.items():
        (place / "cache" / name).mkdir(parents=True)
        shutil.copy(path, place / "cache" / name)
    (place / "collect.py").write_text(COLLECT)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as packed:
        packed.add(place, ".")
    return stream.getvalue()


def test_the_local_board_is_measured_whole(local: Campaign) -> None:
    assert local.missing("local") == []
    assert [problem.file.name for problem in local.verify()] == ["after", "asked", "lsmod"]
    (boot,) = local.boots()
    known = local.facts(boot)
    assert (known["board"], known["emulated"], known["mode"]) == ("local", False, "vhe")
    assert all(record.line["checks"]["well"] for record in some(local.records(), 6))


def test_the_module_is_gone_when_the_study_is_done(local: Campaign) -> None:
    modules = (local.folder / "lsmod").read_text()
    assert modules.startswith("Module")
    assert "dbgswitch" not in modules


def test_an_interrupted_study_leaves_no_module_and_no_process(local: Campaign) -> None:
    after = (local.folder / "after").read_text()
    assert re.search(r"^ *[1-9]\d* .*visits.jsonl", after, re.MULTILINE), "it was interrupted before its first visit"
    assert re.search(r"^Module", after, re.MULTILINE) and re.search(r"^ *PID", after, re.MULTILINE)
    assert "dbgswitch" not in after
    assert "onboard" not in after.replace("sh -s python3 -m study.collect.onboard", ""), (
        "more than the shell that this test itself runs under"
    )


def test_where_boots_are_asked_for_the_board_must_be_restarted(local: Campaign) -> None:
    asked = (local.folder / "asked").read_text()
    assert re.search(r"boot 2 of the design must be a new one: restart local with 6\.1\S+, and run the same command again", asked)
    assert re.search(r"^ *2 .*local\.1/visits.jsonl", asked, re.MULTILINE), "the first boot's visits stay"


def test_a_board_that_is_not_emulated_reports_time(local: Campaign) -> None:
    values = frame.tidy(local)
    assert {"time", "instructions", "cycles"} <= set(values["metric"])
    assert set(values.query("metric == 'time'")["unit"]) == {"s"}
    summary = compare.summarise(values, local.baselines())
    text = " ".join(tables.all_tables(summary).split())
    assert "local, Linux 6.1" in text
    assert "time in ns" in text
    assert "path length" not in text
    cost = {(row.strategy, row.guest): row.median * 1e9 for row in compare.timed(summary).itertuples() if row.arm == "main"}
    assert cost["stock", "mde"] - cost["stock", "untouched"] == pytest.approx(363, abs=30)
    posted = letters(local, values, summary, title="x", version=1)[1]
    assert "emulated" not in posted
    assert "in ns over an untouched guest" in " ".join(posted.split())
    drawing = next(drawing for drawing in figures.draw_all(values, summary) if drawing.name == "cost-hvc")
    assert drawing.figure.axes[0].get_ylabel() == "ns per round trip"
    assert "emulated" not in drawing.figure.axes[0].get_title(loc="left")
