"""The `study` command. Thin: each command parses its options and calls the function that does the work."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from study import __version__, paths
from study.errors import StudyError
from study.terminal import ending

if TYPE_CHECKING:
    import pandas as pd

    from study.campaign import Campaign

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__)
def study() -> None:
    """Measure what each way of switching the debug registers costs at guest entry and exit on ARM.

    \b
    A first look, on an emulated board (three minutes):
        study plan    --profile quick
        study collect --profile quick --campaign data/first
        study summary data/first

    \b
    Each patch of a series, built and measured without a board:
        study series --repo ../linux --base v7.3 --branch topic --campaign data/topic

    \b
    With the figures, the letter and the page:
        make study
    """


def factors(profile: str = "default") -> Callable[[Any], Any]:
    """Return what adds the options that make up a design, but for its kernels."""
    options = [
        click.option("--profile", default=profile, show_default=True, help="Start from quick, default, full or series."),
        click.option("--strategies", help="Separated by commas; study strategies lists them."),
        click.option("--guests", help="Of untouched, mde, one, half, all, one-no-mde, touch, touch-4, touch-20."),
        click.option("--hosts", help="What the host itself has enabled: none, one, half, all; all:mde for some guests only."),
        click.option("--exits", help="Of hvc, sysreg, wfx, vgic, mmio; mmio:untouched+mde for some guests only."),
        click.option("--processes", type=int, help="Visits of each cell on each boot, each a fresh process and VM."),
        click.option("--values", type=int, help="pyperf values in each visit."),
        click.option("--warmups", type=int, help="Values thrown away before."),
        click.option("--loops", type=int, help="Round trips in each value."),
        click.option("--boots", type=int, help="How often the board is started; with --until the most."),
        click.option("--until", type=float, help="Stop when all intervals are narrower than this share: 0.01 for 1 %."),
        click.option("--control-on", help="Of which kernels the baseline is measured a second time: every, first."),
        click.option("--seed", type=int, help="Of the random order."),
        click.option("--touch-by", help="What a touch is: write or, on the rig, read."),
        click.option("--gic/--no-gic", default=None, help="Whether the guest has an in-kernel interrupt controller."),
        click.option("--pmu/--no-pmu", default=None, help="Whether the guest has a PMU."),
        click.option("--events", help="More events for perf stat to count."),
    ]
    return _all_of(options)


def kernels() -> Callable[[Any], Any]:
    """Return what adds the options that name kernels, and where those are from that are built."""
    words = "Kernels to measure, by release or how it begins: 6.1,7.3; LABEL=RELEASE names one, 6.12:stock limits it."
    own = "Your own: LABEL=git:COMMIT (git:. is the working tree), LABEL=image:FOLDER; with :lazy+eager booted once for each, and told it."
    options = [
        click.option("--kernels", help=f"{words} {own}"),
        click.option("--repo", type=click.Path(path_type=Path), help="Repository of kernels that are built."),
    ]
    return _all_of(options)


def styles(*known: str, hint: str = "How to show it.") -> Callable[[Any], Any]:
    """Return what adds the options that say how something is shown, the first if there is none; ``--json`` is short for one of them."""
    options = [
        click.option("--as", "style", type=click.Choice(known), default=known[0], show_default=True, help=hint),
        click.option("--json", "as_json", is_flag=True, help="The same as --as json: a list of rows for programs."),
    ]

    def add(command: Any) -> Any:
        @functools.wraps(command)
        def shown(style: str, as_json: bool, **given: Any) -> Any:
            return command(style="json" if as_json else style, **given)

        return _all_of(options)(shown)

    return add


def _all_of(options: list[Any]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


BOARD = click.option("--board", default="qemu-neoverse-n1", show_default=True, help="What is measured; see: study boards.")
CAMPAIGN = click.argument("campaign", type=click.Path(path_type=Path))


def _share(context: click.Context, option: click.Parameter, text: str) -> float:
    """Return the share that an option names."""
    from study.analyze.verdict import share

    return share(text, str(option.name).replace("_", "-"))


SMALLEST = click.option(
    "--smallest", default="1%", metavar="SHARE", callback=_share,
    help="Differences that are not larger are of no interest.  [default: 1%]",
)  # fmt: skip
CELLS = click.option("--cells", default="", help='Such as "exit=hvc guest=mde,untouched"; else all.')


@study.command()
def boards() -> None:
    """List the boards that can be measured."""
    from study.collect.boards import shown

    for name in shown():
        print(name)


@study.command()
def strategies() -> None:
    """List the ways of switching, and where each can be measured."""
    from study.design import KINDS
    from study.factors import STRATEGIES

    for name, row in STRATEGIES.items():
        where = f"on {' and '.join(KINDS[kind] for kind in row.on)}" if row.on else "what stock is called where none is to choose"
        print(f"{name:<14}{row.says} ({where})")


@study.command()
@click.argument("board")
@click.option("--kernel", default="", help="How the release of an emulated board's kernel begins, such as 6.12.")
def doctor(board: str, kernel: str) -> None:
    """Say what keeps BOARD from being measured, what spoils figures, and what mends it.

    A line for each check: what there is, and good, an advice, or bad. Exits with 1 if something is bad.
    """
    from study.collect import doctor as examination

    rows = examination.examine(board, kernel)
    print(examination.lines(rows))
    if not examination.well(rows):
        raise SystemExit(1)


@study.command()
@click.argument("board")
@click.option(
    "--campaign", type=click.Path(path_type=Path), help="Record them in a campaign, whose maps and page show them then."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write them to this file; else, without --campaign, prices-BOARD.toml."
)
@click.option("--kernel", default="", help="How the release of an emulated board's kernel begins, such as 6.1.")
@click.option("--repeats", default=5, show_default=True, help="A price is the range of the medians of so many repeats.")
def prices(board: str, campaign: Path | None, out: Path | None, kernel: str, repeats: int) -> None:
    """Measure on BOARD what a trap, an exception, a hypercall, an ISB and accesses to debug registers cost.

    Loops of the kit's own run there, each with so many of a thing in its body and with twice as many: the difference is theirs.
    Reads and writes of DBGBVR, DBGBCR, DBGWVR, DBGWCR and MDSCR, with and without an ISB, and a batch of 16 writes with one ISB, by a
    module of the host's kernel, which writes back what was there; a trap where the host is at EL1 (nVHE); an exception from EL0 to EL1
    and a hypercall by the guest. In cycles, or in ns where there is no PMU.

    \b
    On this machine, as root, and on one that ssh reaches, with a module that was built there:
        study prices local
        study module --prices
        STUDY_MODULE=dbgprice.ko study prices ssh:altra --campaign data/mine

    What is written is a table of TOML for each price, as study/analyze/prices.toml has those that were published; a campaign keeps it as
    its prices.toml, where a board that is measured again replaces its own.

    An emulated board knows instructions, not prices: how many each loop has of its own is shown, and nothing is written.
    """
    from study.analyze import measured, published
    from study.campaign import Campaign
    from study.campaign.files import write_whole
    from study.campaign.names import slug
    from study.collect import prices as loops

    into = Campaign(campaign) if campaign else None
    known = measured.recorded(into) if into else []
    found = loops.measure(board, kernel, repeats)
    for name, why in found.left_out.items():
        print(f"no {name}: {why}")
    if found.emulated:
        print(measured.path_lengths(found.rows, board))
        return
    rows, nothing = measured.of_rows(found.rows, found.source, core=found.core, machine=found.machine, kernel=found.kernel)
    print(published.rows_of(rows), end="")
    for line in nothing:
        print(f"cannot be told from nothing, and is no price: {line}")
    if into:
        into.record_prices(measured.text(measured.joined(known, rows)))
        print(f"{into.folder}: they are in its prices.toml; draw them with: make figures CAMPAIGN={shlex.quote(str(campaign))}")
    if out or not into:
        file = out or Path(f"prices-{slug(board)}.toml")
        write_whole(file, measured.text(rows))
        print(file)


@study.command()
@BOARD
@kernels()
@factors()
def plan(board: str, **options: Any) -> None:
    """Show what collect would measure, in which order and for how long, without measuring."""
    from study import design
    from study.collect import boards as known
    from study.collect import pace

    machine = known.find(board)
    _resolve(options)
    drawn = design.draw(design.choose(kind=design.kind_of(board), **options))
    visits = drawn.visits()
    print(design.describe(drawn.factors))
    print(f"{'time:':<12}{pace.planned(machine, len(visits), drawn.factors.starts)} on an emulated board\n")
    for visit in visits:
        cell = visit.cell
        arm = "" if cell.arm == design.MAIN else f" ({cell.arm} arm)"
        kernel = f"  {visit.kernel}" if visit.kernel else ""
        print(f"{visit.name}{kernel}  block {visit.block}  {cell.strategy} {cell.guest} {cell.host} {cell.exit}{arm}")


@study.command()
@BOARD
@click.option("--campaign", type=click.Path(path_type=Path), required=True, help="Folder to record in; made if missing.")
@click.option("--tune/--no-tune", default=False, help="Tune the machine for the CPU that measures, and put it back at the end.")
@click.option(
    "--reboot", default="", metavar="COMMAND", help="Restarts the board where kernels alternate; else you are asked to."
)
@click.option(
    "--fleet", type=click.Path(path_type=Path), metavar="FILE", help="Measure all boards of a file such as boards.toml."
)
@click.option("--scheduler", default="", metavar="ADDRESS", help="With --fleet: of dask workers named after the boards.")
@click.option("--brief", is_flag=True, help="Do not say at the end what there is.")
@kernels()
@factors()
@click.pass_context
def collect(
    context: click.Context,
    /,
    board: str,
    campaign: Path,
    tune: bool,
    reboot: str,
    fleet: Path | None,
    scheduler: str,
    brief: bool,
    **options: Any,
) -> None:
    """Measure on a board, or on a fleet of them at the same time, what a campaign still lacks.

    What is recorded stays, whatever happens: run the same command again to go on.

    \b
    A fleet is described in a file, with a table for each board; kernel, cpu, python, module, tune and reboot may be said in it:
        [boards."qemu-neoverse-n1"]
        [boards."ssh:lab"]
        cpu = 3
    """
    from study import design
    from study.collect import session

    _resolve(options)
    if fleet:
        measured = _collect_fleet(context, fleet, campaign, scheduler, options)
    elif scheduler:
        raise click.UsageError("--scheduler is of use with --fleet only")
    else:
        factors = design.choose(kind=design.kind_of(board), **options)
        measured = session.collect(board, campaign, factors, _widest, tune, reboot)
    if not brief:
        print(measured.describe())


def _resolve(options: dict[str, Any]) -> None:
    """Name the kernels that options ask for by what they are: a branch may move."""
    from study.kernels import source

    repo = options.pop("repo")
    if options["kernels"]:
        options["kernels"] = source.resolved(options["kernels"], repo)


def _widest(campaign: Campaign, board: str) -> float:
    """Return how wide the intervals of a board are: what tells that takes half a second to load, and few campaigns ask."""
    from study.analyze import frame

    return frame.widest(campaign, board)


def _collect_fleet(context: click.Context, file: Path, campaign: Path, scheduler: str, options: dict[str, Any]) -> Campaign:
    from study.collect.fleet import client, shelf

    for name in ("board", "tune", "reboot"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} and --fleet: leave one of them out, {file} says it of each board")
    words = ["study", "collect", "--fleet", str(file), "--campaign", str(campaign)]
    words += [*(["--scheduler", scheduler] if scheduler else []), *client.words(options)]
    return client.collect(shelf.read(file), campaign, options, scheduler, shlex.join(words))


@study.command()
@click.option("--board", default="qemu-cortex-a57", show_default=True, help="A board with KVM; see: study boards.")
@click.option("--campaign", type=click.Path(path_type=Path), required=True, help="Folder to record in; made if missing.")
@click.option("--profile", default="default", show_default=True, help="Start from quick, default or full.")
@click.option("--guests", help="Of linux-arm64, linux-armmp, and those of --table; else all of the profile.")
@click.option("--workloads", help="Of marks, idle, hackbench, timer, fork, debugger, breakpoints-all; boot is always there.")
@click.option("--longer", type=int, help="How many times as long as by default: 20 on hardware.")
@click.option("--table", type=click.Path(path_type=Path), help="A file such as guests.toml that describes guests of your own.")
@click.option("--strategies", help="Separated by commas; study strategies lists them.")
@click.option("--processes", type=int, help="Lives of each guest under each strategy in a boot.")
@click.option("--boots", type=int, help="How often the board is started, with each kernel.")
@click.option("--control-on", help="Of which kernels the baseline is measured a second time: every, first.")
@click.option("--seed", type=int, help="Of the random order.")
@click.option("--tune/--no-tune", default=False, help="Tune the machine for the CPU that measures, and put it back at the end.")
@click.option(
    "--reboot", default="", metavar="COMMAND", help="Restarts the board where kernels alternate; else you are asked to."
)
@kernels()
def guests(board: str, campaign: Path, table: Path | None, tune: bool, reboot: str, **options: Any) -> None:
    """Let real guests live under a board's KVM, and count what they do with the debug registers: a Linux of its own, at work.

    A life is a start, workloads one after the other, and a power-off. In each of its phases entries, exits and instructions are counted
    exactly; under each strategy, and in the first boot of a kernel by tracepoints, too. What is recorded stays: run the same command
    again to go on. study census shows it.

    
        study guests --campaign data/mine
        study guests --board local --campaign data/mine --longer 20 --workloads hackbench,timer

    
    A guest of your own is a table of a file, guests.toml for example; a flat image of kvm-unit-tests, too:
        [mine]
        kernel = "arch/arm64/boot/Image"
        initrd = "initrd.cpio"
        append = "console=ttyAMA0"
    """
    from study import design
    from study.collect.guests import walk
    from study.factors import GUESTS

    _resolve(options)
    walk.live(board, campaign, design.choose(kind=GUESTS, **options), table, tune, reboot)


@study.command()
@CAMPAIGN
@click.option("--board", default="", help="A board; else each of the campaign that can be traced.")
@CELLS
@click.option("--sampled", is_flag=True, help="Sample the board instead, which any board with Linux and a PMU allows.")
@click.option("--visits", default=10, show_default=True, help="With --sampled: visits of each cell.")
def trace(campaign: Path, board: str, cells: str, sampled: bool, visits: int) -> None:
    """Let an emulated board write down every instruction of some round trips, and record what they are made of: receipts.

    Cells that have a receipt are passed over. study receipt shows them. On hardware nothing sees every instruction: there samples
    say how much of a round trip is in which function.

    \b
        study trace data/first
        study trace data/first --board qemu-neoverse-n1 --cells "exit=hvc guest=mde,untouched"
        study trace data/mine --board local --sampled --cells "exit=hvc guest=mde"
    """
    from study.analyze import select
    from study.collect import receipts

    if visits < 1:
        raise click.UsageError(f"--visits is {visits}: it must be at least 1")
    tags = {tag: tuple(values) for tag, values in select.tags(cells)}
    for name in [board] if board else receipts.boards_of(campaign, tags):
        receipts.collect(campaign, name, tags, visits if sampled else 0)


@study.command("import")
@CAMPAIGN
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--tag", "tags", multiple=True, metavar="NAME=VALUE", help="What holds for all FILES, whatever they say themselves."
)
@click.option("--baseline", metavar="STRATEGY", help="What others are compared to; else the first file's strategy.")
def import_(campaign: Path, files: tuple[Path, ...], tags: tuple[str, ...], baseline: str | None) -> None:
    """Make a campaign of results that were measured elsewhere, or add to one.

    FILES are pyperf suites, output of perf stat -j and logs of kvm-unit-tests' arm/micro-bench, packed by gzip or not, in any
    mixture.

    \b
    Two pyperf suites; a file's name is its strategy, and no two of one cell have the same; the first is the baseline:
        study import data/mine before.json after.json
        study summary data/mine

    \b
    perf stat around a program that makes 4000 round trips, once on each boot:
        perf stat -j -o lazy-1.txt ./bench 4000
        study import data/mine lazy-1.txt --tag strategy=lazy --tag loops=4000 --tag boot=1
        perf stat -j -o eager-1.txt ./bench 4000
        study import data/mine eager-1.txt --tag strategy=eager --tag loops=4000 --tag boot=1

    
    micro-bench on two kernels as they are, some runs on each boot; a test's name is its exit:
        study import data/mine old-1.log --tag kernel=6.12 --tag strategy=stock --tag boot=1
        study import data/mine new-1.log --tag kernel=6.18 --tag strategy=stock --tag boot=1
        study verdict data/mine --than 6.12

    Tags are board, kernel, mode, strategy, guest, host, exit, arm (main or control), boot, loops and emulated (yes or no: then
    a second of pyperf's is 10^9 instructions). What no tag says is taken from pyperf's metadata: board from hostname, kernel
    from platform, boot from boot_time and uptime, exit from the benchmark's name. Counts of perf are divided by loops, those of
    intervals after they were added up. Of a log loops says how often a test ran if micro-bench was changed. An interval needs
    three boots.
    """
    from study.collect.imports import imported
    from study.collect.imports import tags as known

    print(imported.import_files(campaign, files, known.of_words(tags), baseline).describe())


@study.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def lines(file: Path, folder: Path) -> None:
    """Make a repository of the kernel's source with a patch series that is kept as the lines that it adds.

    \b
        study lines paper/series/debug-registers.toml linux
        study series --repo linux --base base --branch topic --campaign data/topic

    The source is Debian's. It is fetched once, and takes 2 GB of disk; docs/kernels.md says what such a file holds.
    """
    from study.kernels import lines as kept
    from study.kernels import linux

    kept.commit(file, folder)
    print(f"{folder} has the series: its base is {linux.BASE}, and its branch {linux.BRANCH}")


@study.command()
@click.option(
    "--repo", type=click.Path(path_type=Path), default=".", show_default=True, help="The kernel's repository; it is only read."
)
@click.option("--base", help="The commit that the series starts from, such as v7.3.")
@click.option("--branch", default="HEAD", show_default=True, help="Its tip.")
@click.option(
    "--lines",
    help="A file that keeps the series as lines, as for study lines: the repository is made of it, with base and branch.",
)
@click.option("--ends", is_flag=True, help="Measure the base and the tip alone.")
@click.option("--campaign", type=click.Path(path_type=Path), required=True, help="Folder to record in; made if missing.")
@click.option(
    "--boards", default="qemu-neoverse-n1,qemu-cortex-a57", show_default=True, help="What is measured, at the same time."
)
@factors("series")
def series(
    repo: Path, base: str | None, branch: str, lines: str | None, ends: bool, campaign: Path, boards: str, **options: Any
) -> None:
    """Build the base and each commit of a patch series, measure every exit, and say what each patch costs or saves.

    \b
        study series --repo ../linux --base v7.3 --branch topic --campaign data/topic
        study series --lines paper/series/debug-registers.toml --repo linux --campaign data/topic
    """
    from study.collect import patches
    from study.kernels import lines as kept
    from study.kernels import linux

    if lines:
        asked = kept.commit(Path(lines), repo).design
        options |= {name: text for name, text in asked.items() if options[name] is None}
        base, branch = linux.BASE, linux.BRANCH
    if not base:
        raise click.UsageError("a series starts from a commit: name it with --base, or a file of lines with --lines")
    names = [name.strip() for name in boards.split(",")]
    measured = patches.collect(repo, base, branch, campaign, names, options, ends=ends, lines=lines or "")
    _show_patches(measured, "text")


def _as_json(rows: pd.DataFrame) -> str:
    """Return a frame as a list of rows for programs."""
    return json.dumps(json.loads(rows.to_json(orient="records", double_precision=15)), indent=1)


def _show_patches(measured: Campaign, style: str, *smallest: float) -> None:
    from study.analyze import compare, frame, patches

    known = measured.series()
    if not known:
        raise StudyError(f"{measured.folder} measures no series: it has no series.json; study series makes one")
    moved = patches.moves(compare.medians(frame.tidy(measured)), known, *smallest)
    if style == "json":
        print(_as_json(moved))
        return
    fence = ["```"] * (style == "markdown")
    print(*fence, *patches.commits(known), *fence, "", sep="\n")
    print(patches.table(moved, known, style), end="")


@study.command()
@CAMPAIGN
@styles("text", "markdown", "json", hint="json: all cells.")
@SMALLEST
def patches(campaign: Path, style: str, smallest: float) -> None:
    """Show what each patch of a measured series costs or saves."""
    from study.campaign import Campaign

    _show_patches(Campaign(campaign), style, smallest)


@study.command()
@CAMPAIGN
@click.option(
    "--boards", default="qemu-neoverse-n1,qemu-cortex-a57", show_default=True, help="Emulated ones; they play at the same time."
)
@click.option("--count", default=2000, show_default=True, help="How many sequences.")
@click.option("--seed", default="1", show_default=True, help="From which they are drawn, together with their numbers.")
def sequences(campaign: Path, boards: str, count: int, seed: str) -> None:
    """Play random accesses to debug registers on each kernel of a measured series, and say where they come out otherwise.

    \b
        study sequences data/topic --count 200

    Guest, user space and host read and write the registers, and meet breakpoints and watchpoints. What was read, and what fired, is
    compared with the base, which is played twice. Exits with 1 if something differs; the first such sequence is printed.
    """
    from study.analyze import played
    from study.campaign import Campaign
    from study.collect import sequences as drawn

    told = drawn.play(Campaign(campaign), [name.strip() for name in boards.split(",")], count, seed)
    print(played.table(told), played.sentence(told), sep="\n")
    if any(row["differ"] for row in told["played"]):
        raise SystemExit(1)


AT_MOST = click.option(
    "--at-most", default="1%", show_default=True, callback=_share, help="By how much it may be dearer, as a share."
)


@study.command()
@CAMPAIGN
@click.option("--than", required=True, help="The kernel to compare with, by its label: base.")
@click.option(
    "--kernel", default="", help="The kernel that is judged; else the last of the design, of the series, or of what was imported."
)
@CELLS
@AT_MOST
def verdict(campaign: Path, than: str, kernel: str, cells: str, at_most: float) -> None:
    """Say whether a kernel is worse than another: exits with 0 if not, 1 if it is, 125 if it cannot be said.

    It is worse if it is sure of any cell that it takes more than --at-most more, and not worse if it is sure of every cell that it does
    not. Whatever else is wrong ends with 128, which ends a bisection.

    \b
        study verdict data/topic --than base --cells "exit=hvc guest=untouched,mde" --at-most 1%
    """
    from study.campaign import Campaign

    _end_with(Campaign(campaign), kernel, than, cells, at_most)


@study.command("bisect-step")
@click.option("--repo", type=click.Path(path_type=Path), default=".", show_default=True, help="The repository that is bisected.")
@click.option("--than", required=True, help="A good commit to compare with, such as v7.3.")
@click.option(
    "--campaigns",
    type=click.Path(path_type=Path),
    default=paths.DATA / "bisect",
    help="Folder for a campaign of each step; else data/bisect.",
)
@BOARD
@CELLS
@AT_MOST
@factors("series")
def bisect_step(repo: Path, than: str, campaigns: Path, board: str, cells: str, at_most: float, **options: Any) -> None:
    """Measure what is checked out in a repository beside a good commit, and exit as study verdict does.

    \b
    A commit that does not build or boot is skipped. In the kernel's repository:
        git bisect start topic v7.3
        git bisect run study bisect-step --than v7.3 --cells "exit=hvc guest=mde" --at-most 1%
    """
    from study.analyze import select
    from study.analyze import verdict as judging
    from study.collect import patches
    from study.errors import BoardFailed
    from study.kernels.build import NotBuilt

    cells_asked = dict(select.tags(cells))
    options |= {
        f"{tag}s": ",".join(values) for tag, values in cells_asked.items() if f"{tag}s" in options and not options[f"{tag}s"]
    }
    try:
        measured, kernel = patches.step(repo, than, campaigns, board, options)
    except (NotBuilt, BoardFailed) as error:
        print(f"study: {error}", file=sys.stderr)
        raise SystemExit(judging.CANNOT_BE_SAID) from None
    _end_with(measured, kernel, patches.BASE, cells, at_most)


def _end_with(measured: Campaign, kernel: str, than: str, cells: str, at_most: float) -> None:
    """Print a verdict, and end with its status."""
    from study.analyze import compare, frame, verdict

    named, why = verdict.judged(measured, kernel)
    than, _ = verdict.judged(measured, than)
    found = verdict.Verdict(verdict.CANNOT_BE_SAID, f"cannot be said: {why}") if why else verdict.verdict(
        compare.medians(frame.tidy(measured)), named, than, cells, at_most
    )  # fmt: skip
    print(found.says)
    raise SystemExit(found.status)


@study.command()
@CAMPAIGN
@styles("text", "json", hint="json: all metrics.")
@SMALLEST
def summary(campaign: Path, style: str, smallest: float) -> None:
    """Show medians, intervals and verdicts."""
    from study.analyze import compare, frame, tables
    from study.campaign import Campaign

    measured = Campaign(campaign)
    rows = compare.summarise(frame.tidy(measured), measured.baselines(), smallest)
    if style == "json":
        print(_as_json(rows))
    else:
        print(tables.all_tables(rows, notes=measured.notes()), end="")


@study.command()
@CAMPAIGN
@CELLS
@click.option("--against", default="", help='What is different of those they are compared with, such as "guest=untouched".')
@styles("text", "markdown", "html", "json", "folded", hint="folded: stacks of one receipt, for flamegraph.pl and speedscope.")
@click.option("--sampled", is_flag=True, help="Shares of the samples that perf took, not what was traced.")
@click.option("--all", "whole", is_flag=True, help="In text, too, the functions of less than 1 % of a round trip.")
def receipt(campaign: Path, cells: str, against: str, style: str, sampled: bool, whole: bool) -> None:
    """Show what one round trip is made of, function by function, and what two differ in.

    On an emulated board every instruction is counted: a path length, not a time. Where perf sampled it is shares, not counts.

    \b
    What a round trip of a guest that keeps monitor debug mode on is made of:
        study receipt data/mine --cells "board=qemu-neoverse-n1 kernel=6.1 exit=hvc guest=mde"

    \b
    What it has more than one of an untouched guest, and what a kernel has more than another:
        study receipt data/mine --cells "exit=hvc guest=mde kernel=6.1" --against "guest=untouched"
        study receipt data/mine --cells "exit=hvc guest=mde kernel=7.3" --against "kernel=6.1"

    \b
    A flame graph:
        study receipt data/mine --cells "exit=mmio guest=mde kernel=6.1" --as folded | flamegraph.pl >mmio.svg

    --against says in what the others differ; in all that it does not name they are as --cells has them, and agree with the receipt
    that they are compared with. Cells are named by board, kernel, strategy, guest, host and exit.
    """
    from study.analyze import receipt_tables, receipts
    from study.campaign import Campaign

    if against and (sampled or style == "folded"):
        raise click.UsageError("--against compares what was traced, in tables: leave --sampled and --as folded out")
    if sampled and style == "folded":
        raise click.UsageError("samples have no stacks: leave --sampled or --as folded out")
    found = receipts.frame(Campaign(campaign))
    if style == "folded":
        print("\n".join(receipts.folded(receipts.of_kind(found, receipts.TRACED, cells))))
        return
    rows: Any
    programs: Callable[[Any], pd.DataFrame]
    draw: Callable[..., str]
    if against:
        rows, programs, draw = receipts.pairs(found, cells, against), receipts.differences, receipt_tables.all_against
    elif sampled:
        rows, programs, draw = receipts.of_kind(found, receipts.SAMPLED, cells), receipts.shares, receipt_tables.all_sampled
    else:
        rows, programs, draw = receipts.of_kind(found, receipts.TRACED, cells), receipts.functions, receipt_tables.all_of
    print(_as_json(programs(rows)) if style == "json" else draw(rows, style, whole).rstrip("\n"))


@study.command()
@CAMPAIGN
@CELLS
@click.option(
    "--against", default="", help='What is different of those they are compared with: "kernel=6.1"; else strategies are.'
)
@click.option("--core", default="", help='One core that has published prices, such as "Neoverse N1"; else all.')
@styles("text", "markdown", "html", "json")
def predict(campaign: Path, cells: str, against: str, core: str, style: str) -> None:
    """Predict what round trips would take on real cores: receipts times published prices. Nobody measured it.

    By how much strategies, or two kernels, would differ in cycles, whether published hypercalls are within what is predicted of a kernel like theirs, and
    what each hvc round trip would take. docs/prices.md says what it rests on.

    \b
        study trace data/mine --cells "exit=hvc host=none"
        study predict data/mine
        study predict data/mine --core "Neoverse N1" --cells "guest=mde,untouched"
        study predict data/mine --cells "guest=mde kernel=7.3" --against "kernel=6.1"
    """
    from study.analyze import predicted, predicted_tables, receipts
    from study.analyze.assumed import assumed
    from study.analyze.published import prices
    from study.campaign import Campaign

    found = predicted.predict(receipts.frame(Campaign(campaign)), prices(), assumed(), cells, against, core)
    if style == "json":
        print(_as_json(predicted_tables.programs(found)))
    else:
        print(predicted_tables.page(found, style).rstrip("\n"))


@study.command()
@CAMPAIGN
@styles("text", "markdown", "html", "json")
@SMALLEST
def census(campaign: Path, style: str, smallest: float) -> None:
    """Show what real guests did with the debug registers, entry for entry, and what each strategy cost their host.

    Entries, exits by what they are, entries with monitor debug mode on and with something enabled; then what the host's kernel does for
    each exit under each strategy, beside what the kit's own guest predicts of it. study guests lets some live.

    \b
        study census data/mine
        study census data/mine --json
    """
    import contextlib

    from study.analyze import compare, frame, life_tables, lives
    from study.campaign import Campaign
    from study.errors import BadRequest

    measured, visits = Campaign(campaign), None
    found = lives.lived(measured)
    with contextlib.suppress(BadRequest):  # a campaign may have nothing but real guests
        visits = compare.medians(frame.tidy(measured))
    judged = lives.judged(found, visits, smallest)
    if style == "json":
        print(_as_json(lives.programs(found, judged)))
    else:
        print(life_tables.page(found, judged, style).rstrip("\n"))


@study.command()
@CAMPAIGN
def verify(campaign: Path) -> None:
    """Compare every file of a campaign with its sum, and every visit with its digest and the design.

    Exits with 0 if all is whole, else names each bad file and exits with 1; so it does where there is no visit.
    """
    from study.campaign import Campaign

    measured = Campaign(campaign)
    problems = measured.verify()
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise SystemExit(1)
    visits = measured.recorded(lives=True)
    print(f"{campaign}: every file is whole: {len(measured.raw_files())} files, {visits} visits")


@study.command()
@CAMPAIGN
@click.option("--measure/--no-measure", default=True, help="Measure again what is missing then.")
def repair(campaign: Path, measure: bool) -> None:
    """Set aside what is damaged in a campaign, and measure it again.

    Nothing is deleted: what was wrong goes to aside/ in the campaign, with why.txt beside it. Visits whose lines are whole stay.
    Emulated boards and this machine are measured at once; for others the command is printed, and that for receipts.
    """
    from study.campaign import Campaign
    from study.campaign import repair as mending
    from study.campaign.store import RECEIPTS
    from study.collect import session

    problems = mending.repair(campaign)
    for problem in problems:
        print(problem)
    if any(problem.file.name == RECEIPTS for problem in problems):
        print(f"make the receipts again with: study trace {shlex.quote(str(campaign))}")
    measured = Campaign(campaign)
    print("\n".join([f"{campaign}: what is there is whole", *measured.incomplete()]))
    for board, command in session.again(measured).items():
        if measure and not command:
            session.collect(board, campaign, measured.design_of(board).factors, _widest)
        elif measure:
            print(f"go on with: {command}")
    for command in session.lives_again(measured) if measure else ():
        print(f"go on with: {command}")


@study.command()
@CAMPAIGN
@click.option("--pyperf", "folder", type=click.Path(path_type=Path), help="Folder for pyperf suites.")
@click.option("--bmf", "file", type=click.Path(path_type=Path), help="File for medians in the Bencher Metric Format.")
def export(campaign: Path, folder: Path | None, file: Path | None) -> None:
    """Write what other tools read: suites for `pyperf compare_to`, `stats` and friends, or medians for Bencher.

    A suite holds values of one board, strategy, arm and metric, a benchmark those of one cell. Bencher's benchmarks are cells, too;
    each has a measure for each metric, named after it and its unit: its value is the median of `study summary --json`, and its lower and
    upper value are the interval, where there is one.

    \b
        study export data/mine --pyperf suites
        study export data/mine --bmf results.json
        bencher run --adapter json --file results.json
    """
    from study.analyze import compare, exports, frame
    from study.campaign import Campaign

    if not (folder or file):
        raise click.UsageError("say what to write: --pyperf FOLDER or --bmf FILE")
    measured = Campaign(campaign)
    for path in exports.export_pyperf(measured, folder) if folder else ():
        print(path)
    if file:
        print(exports.export_bencher(compare.summarise(frame.tidy(measured), measured.baselines()), file))


@study.command()
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--profile", help="For collect: take the factors of a profile.")
@click.option("-p", "given", type=(str, str), multiple=True, metavar="NAME VALUE", help="A papermill parameter.")
@click.option("--again", is_flag=True, help="Run it even if nothing changed since it was run.")
def notebook(name: str, out: Path, profile: str | None, given: tuple[tuple[str, str], ...], again: bool) -> None:
    """Run a notebook with papermill and keep it only if it ran to its end.

    NAME is collect, analyze, cover-letter or simulation. What would come out the same is left as it is: OUT remembers what went
    in (notebook, parameters, campaign, code, packages) and what came out (figures, tables, letter).
    """
    from study.notebooks import execution
    from study.notebooks.parameters import of_words

    ran = execution.run(name, out, of_words(dict(given) | ({"profile": profile} if profile else {})), again)
    print(out if ran else f"{out} is up to date")


@study.command()
@click.argument("letter", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--branch", required=True, help="The branch of the series.")
@click.option("--repo", default=".", show_default=True, type=click.Path(path_type=Path), help="The kernel's checkout.")
@click.option("--base", default="", help="Where the series starts; else the branch's upstream.")
@click.option("--tool", default="git", show_default=True, help="git or b4.")
@click.option("--keep", default="", help="Where b4 keeps the letter: description or commit; else as it is configured.")
@click.option("--version", default=1, show_default=True, help="Of the series.")
@click.option("--to", multiple=True, help="A recipient, or several with commas between.")
@click.option("--cc", multiple=True, help="The same.")
def mail(
    letter: Path, out: Path, branch: str, repo: Path, base: str, tool: str, keep: str, version: int, to: Any, cc: Any
) -> None:
    """Put a letter into a branch's series, with git format-patch or b4, and check what came out.

    LETTER is a text whose first line is the subject; the mails of the series go to the folder OUT.

    \b
        study mail paper/reference/letter.txt /tmp/series --repo ../linux --branch topic --base v7.3
    """
    from study.publish import series

    text = letter.read_bytes().decode(errors="replace")
    meant = series.Series(repo, branch, base, version, series.addresses(to), series.addresses(cc), keep)
    mails = series.put(text, meant, out, tool)
    for path in mails:
        print(path)
    print(f"read them, and send them with: {series.sending(meant, out, tool)}")


@study.command()
@CAMPAIGN
@click.option("--cells", required=True, help='Such as "board=qemu-neoverse-n1 exit=hvc guest=mde,untouched".')
@SMALLEST
def reply(campaign: Path, cells: str, smallest: float) -> None:
    """Print a table for a reply on the list: the named cells, in at most 40 lines that can be quoted."""
    from study.analyze import compare, frame
    from study.campaign import Campaign
    from study.publish import reply

    measured = Campaign(campaign)
    rows = compare.summarise(frame.tidy(measured), measured.baselines(), smallest)
    print(reply.render(measured, rows, cells), end="")


@study.command()
@click.argument("campaigns", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", default=paths.PAPER / "html", type=click.Path(path_type=Path), help="Folder of the pages; else paper/html."
)
@click.option(
    "--paper", default=paths.PAPER, type=click.Path(path_type=Path), help="Where the executed notebooks are; else paper."
)
def html(campaigns: tuple[Path, ...], out: Path, paper: Path) -> None:
    """Make static pages of CAMPAIGNS, and of all others in data/ that were analysed, with an index.

    Each page is one file that asks no network for anything.
    """
    from study.notebooks import uptodate

    named = [path.absolute() for path in campaigns]
    others = [path for path in uptodate.analysed(paths.DATA, paper) if path.absolute() not in named]
    went_in = uptodate.inputs_of_pages([*campaigns, *others], paper)
    if uptodate.are_up_to_date(out, went_in):
        print(f"{out / 'index.html'} is up to date")
        return
    from study.publish import site

    left_out: list[str] = []
    print(site.build([*campaigns, *others], out, paper, left_out.append))
    for line in left_out:
        print(line)
    if not left_out:
        uptodate.stamp_pages(out, went_in)


@study.command()
@kernels()
def image(kernels: str | None, repo: Path | None) -> None:
    """Assemble the images of the emulated Linux boards, one for each kernel, or say where they are.

    Without --kernels it is that of the kernel which is booted unless another is asked for.
    """
    from study.design import Kernel
    from study.kernels import image, source

    for text in source.resolved(kernels or "", repo).split(","):
        print(image.image(Kernel.of(text).release))


@study.command()
@click.argument("architecture", type=click.Choice(["aarch64", "armv7"]))
def rig(architecture: str) -> None:
    """Build the bare-metal rig for an architecture, and say where the image for its boot loader is."""
    from study.collect.rig import build

    print(build.image(architecture))


@study.command()
@click.option("--prices", "priced", is_flag=True, help="The module whose loops study prices runs, for any kernel.")
def module(priced: bool) -> None:
    """Build the kernel module for the kernel that runs here, on an arm64 board."""
    import platform

    from study.kernels import module as driver

    print((driver.loops if priced else driver.module)(platform.release()))


# Commands whose status tells a bisection something: whatever goes wrong must end it, and 1 and 2 would mean bad.
FOR_BISECT, ENDS_IT = ("verdict", "bisect-step"), 128


def main() -> None:
    """Run the command; what the user can mend is one line and a non-zero exit."""
    bisected = sys.argv[1:2] in [[name] for name in FOR_BISECT]
    try:
        study(standalone_mode=False)
    except click.exceptions.Exit as done:
        raise SystemExit(done.exit_code) from None
    except (click.ClickException, StudyError) as error:
        words = error.format_message() if isinstance(error, click.ClickException) else str(error)
        print(f"study: {' '.join(words.split())}", file=sys.stderr)
        raise SystemExit(ENDS_IT if bisected else 2 if isinstance(error, click.ClickException) else 1) from None
    except (KeyboardInterrupt, click.Abort):
        raise ending.ended() from None
    except OSError as error:
        print(f"study: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(ENDS_IT if bisected else 1) from None


if __name__ == "__main__":
    ending.guard()
    main()
