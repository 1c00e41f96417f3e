"""A fleet: all boards of a shelf, measured at the same time into one campaign, by dask.distributed with a worker for each.

A board's whole collection is one task, tied to the board's worker, which has one unit of the resource ``board``: visits of a
board are made one after the other, whoever asks. The task is a process of its own, which dies with its worker, and ends when
nobody waits for it any more. It is begun once: a worker that is lost takes its board with it for this command, because a board of
which nobody knows what it does must not be measured. What was recorded stays, and the same command goes on with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import re
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study import __version__
from study.campaign import Campaign
from study.campaign.names import slug
from study.collect.boards import find
from study.collect.fleet.shelf import BoardEntry
from study.collect.fleet.worker import LOST, MOMENT, Errand, Say, dask_setup, go, look
from study.design import choose, kind_of
from study.errors import BadRequest, BoardFailed, StudyError
from study.terminal import ending, progress

RESOURCE = "board"
PATIENCE = 30.0  # seconds until each board must have a worker
TIMEOUT = 10  # seconds until a scheduler must have answered
ADDRESS = re.compile(r"((tcp|tls)://)?[^\s/]+:\d+")
GONE = "the scheduler is gone, or its worker is"

# What dask does by itself, and must not: run a lost worker's task again, and set variables that a collection would inherit.
SETTINGS = {"distributed.scheduler.allowed-failures": 0, "distributed.nanny.pre-spawn-environ": {}}


def collect(
    entries: Sequence[BoardEntry],
    folder: Path,
    options: Mapping[str, Any],
    scheduler: str = "",
    again: str = "run the same command again",
    patience: float = PATIENCE,
) -> Campaign:
    """Measure on all boards what a campaign still lacks.

    Parameters
    ----------
    entries : sequence of BoardEntry
        The boards.
    folder : path
        The campaign, as all workers see it; it is made if it is not there.
    options : mapping
        The options of ``study collect`` that make up a design, by name; each kind of board takes its own design from them.
    scheduler : str
        Address of a scheduler whose workers are called like the boards; empty to start one, and the workers, on this machine.
    again : str
        How to go on, for people.
    patience : float
        Seconds until each board must have a worker.

    Returns
    -------
    Campaign
        Complete for these boards.

    Raises
    ------
    BadRequest
        If no board at all can have the design. Nothing is measured then.
    BoardFailed
        If a board is incomplete. What was recorded stays.
    """
    distributed = _distributed()
    reasons = _frozen(entries, folder, options)
    able = [entry for entry in entries if entry.name not in reasons]
    if able:
        with (
            ending.quiet(),
            progress.Retold() as told,
            _client(distributed, [entry.name for entry in able], scheduler) as client,
        ):
            reasons |= _measure(client, able, folder.absolute(), options, patience, told.tell)
    for entry in entries:
        if entry.name in reasons:
            print(f"{entry.name}: {reasons[entry.name]}", flush=True)
    if reasons:
        raise BoardFailed(
            f"{len(reasons)} of {len(entries)} boards incomplete: {', '.join(reasons)}; what was recorded stays, go on with: {again}"
        )
    return Campaign(folder)


def words(options: Mapping[str, Any]) -> list[str]:
    """Return options by name as words of a command line; those that were not given are left out."""
    given = [(name.replace("_", "-"), value) for name, value in options.items() if value is not None]
    return [
        word
        for name, value in given
        for word in ([f"--{'' if value else 'no-'}{name}"] if isinstance(value, bool) else [f"--{name}", str(value)])
    ]


def _options_of(entry: BoardEntry, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a board's design: its kernel is part of it."""
    return {**options, "kernels": entry.kernel} if entry.kernel else dict(options)


def _frozen(entries: Sequence[BoardEntry], folder: Path, options: Mapping[str, Any]) -> dict[str, str]:
    """Freeze the designs before anyone measures, and return the boards that cannot have theirs, with the reason."""
    reasons: dict[str, str] = {}
    for entry in entries:
        try:
            if entry.kernel and options.get("kernels"):
                raise BadRequest("its kernel is given in the file of boards and by --kernels: leave one of them out")
            asked = choose(kind=kind_of(entry.name), **_options_of(entry, options))
            Campaign.freeze(folder, asked, grows=find(entry.name).emulated)
        except StudyError as error:
            reasons[entry.name] = str(error)
    if len(reasons) == len(entries) and len(set(reasons.values())) == 1:
        raise BadRequest(reasons[entries[0].name])
    return reasons


# --- on the machine that the command runs on ----------------------------------------------------------------------------


def _distributed() -> Any:
    try:
        import dask
        import distributed
    except ImportError:
        raise StudyError("dask.distributed is not installed; install it with: pip install 'study[fleet]'") from None
    dask.config.set(SETTINGS)
    return distributed


@contextlib.contextmanager
def _client(distributed: Any, boards: Sequence[str], address: str) -> Iterator[Any]:
    """Connect to a scheduler, or start one that listens on this machine only, with a worker for each board."""
    import dask

    with contextlib.ExitStack() as stack:
        if address:
            where: Any = _scheduler_at(distributed, address)
        else:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="study-fleet-"))
            stack.enter_context(dask.config.set({"temporary-directory": scratch}))
            options = {
                "host": "127.0.0.1", "nthreads": 1, "resources": {RESOURCE: 1}, "memory_limit": 0, "dashboard": False, "preload": [dask_setup.__module__],
                "local_directory": scratch, "silence_logs": logging.CRITICAL + 1,
            }  # fmt: skip
            servers = {
                "workers": {name: {"cls": distributed.Nanny, "options": options} for name in boards},
                "scheduler": {"cls": distributed.Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}},
            }
            try:
                with _without_interruption():
                    where = stack.enter_context(distributed.SpecCluster(**servers, silence_logs=logging.CRITICAL + 1))
            except (RuntimeError, OSError) as error:
                raise BoardFailed(f"the workers of the boards do not start: {_line(error)}; is the machine very busy?") from None
        yield stack.enter_context(distributed.Client(where, timeout=TIMEOUT, set_as_default=False))


def _scheduler_at(distributed: Any, address: str) -> str:
    """Return the whole address of a scheduler after it has answered: dask's client would wait for ever for a silent port."""
    if not ADDRESS.fullmatch(address):
        raise BadRequest(f"scheduler {address!r} is no address: write it like tcp://127.0.0.1:8786")
    whole = address if "://" in address else f"tcp://{address}"

    async def identity() -> Any:
        async with distributed.rpc(whole) as there:
            return await there.identity()

    try:
        if (kind := asyncio.run(asyncio.wait_for(identity(), TIMEOUT))["type"]) != "Scheduler":
            raise BadRequest(f"at {address} is a {kind.lower()} of dask, not its scheduler")
    except (OSError, ValueError) as error:
        why = _line(error) if str(error) else f"it was silent for {TIMEOUT} s"
        raise BoardFailed(f"the scheduler at {address} does not answer: {why}; is it there?") from None
    return whole


@contextlib.contextmanager
def _without_interruption() -> Iterator[None]:
    """Put an interruption off, and for threads and processes that are started meanwhile, and by them, for ever."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ending.ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending.ENDS)


def _measure(
    client: Any, entries: Sequence[BoardEntry], folder: Path, options: Mapping[str, Any], patience: float, say: Say
) -> dict[str, str]:
    """Let workers collect on their boards, and return the boards that are incomplete, with the reason."""
    topic = f"study-{uuid.uuid4().hex}"
    tickets = {entry.name: folder / f"{topic}.{slug(entry.name)}.part" for entry in entries}
    try:
        for ticket in tickets.values():
            ticket.touch()
        places = _places(client, [entry.name for entry in entries], patience)
        reasons = {
            entry.name: f"no worker of the scheduler is called {entry.name}" for entry in entries if entry.name not in places
        }
        reasons |= _unfit(client, places, tickets)
        able = [entry for entry in entries if entry.name not in reasons]
        errands = {
            places[entry.name]: Errand(
                entry.name,
                (*entry.options, "--campaign", str(folder), *words(_options_of(entry, options))),
                tuple(entry.before), entry.environment, tickets[entry.name], topic,
            )
            for entry in able
        }  # fmt: skip
        return reasons | _followed(client, errands, topic, say)
    finally:
        for ticket in tickets.values():
            ticket.unlink(missing_ok=True)


def _workers(client: Any) -> dict[str, dict[str, Any]]:
    """Return what the scheduler says of its workers, by address."""
    workers: dict[str, dict[str, Any]] = client.sync(client.scheduler.identity)["workers"]
    return workers


def _places(client: Any, boards: Sequence[str], patience: float) -> dict[str, str]:
    """Wait until each board has a worker, for a while, and return the addresses of those that are there."""
    end = time.monotonic() + patience
    while True:
        named = {str(worker["name"]): address for address, worker in _workers(client).items()}
        places = {board: named[board] for board in boards if board in named}
        if len(places) == len(boards) or time.monotonic() > end:
            return places
        time.sleep(MOMENT / 4)


def _unfit(client: Any, places: Mapping[str, str], tickets: Mapping[str, Path]) -> dict[str, str]:
    """Return the boards whose worker cannot collect, with the reason: it would fail later, or never begin."""
    workers = _workers(client)
    versions = client.get_versions()
    reasons = {}
    for board, address in places.items():
        found = client.run(look, str(tickets[board]), workers=[address], on_error="return").get(address)
        reason = unlike(versions["client"], versions["scheduler"], "the scheduler")
        reason = reason or unlike(versions["client"], versions["workers"].get(address), "its worker")
        if not reason and not workers.get(address, {}).get("resources", {}).get(RESOURCE):
            reason = (
                f"its worker has no resource {RESOURCE}; start it with: dask worker ... --name {board} --resources {RESOURCE}=1"
            )
        if not reason and not isinstance(found, dict):
            reason = f"its worker cannot use the study: {_line(found)}; install it there"
        if not reason and found["version"] != __version__:
            reason = f"its worker has study {found['version']}, and this is {__version__}: install the same"
        if not reason and not found["sees"]:
            reason = f"its worker does not see {tickets[board].parent}: the campaign must be in a folder that all machines share"
        if reason:
            reasons[board] = reason
    return reasons


def unlike(ours: Any, theirs: Any, who: str) -> str:
    """Say in what the versions of two sides differ that must be the same; empty if in nothing."""
    if not theirs:
        return f"{who} does not say its versions"
    for package, parts in {"distributed": None, "python": 2}.items():
        mine, other = (".".join(str(side["packages"].get(package)).split(".")[:parts]) for side in (ours, theirs))
        if mine != other:
            return f"{who} has {package} {other}, and this is {mine}: install the same"
    return ""


def _followed(client: Any, errands: Mapping[str, Errand], topic: str, say: Say) -> dict[str, str]:
    """Send each errand to the worker at its address, tell what is heard, and return the boards that failed, with the reason."""
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.subscribe_topic(topic, lambda event: inbox.put(event[1]))
    left = {}
    for address, errand in errands.items():
        future = client.submit(
            go, errand, key=f"{topic}-{errand.board}", pure=False, retries=0, workers=[address], allow_other_workers=False,
            resources={RESOURCE: 1},
        )  # fmt: skip
        future.add_done_callback(inbox.put)
        left[future] = (address, errand.board)
    reasons: dict[str, str] = {}
    looked = time.monotonic()
    try:
        while left:
            with contextlib.suppress(queue.Empty):
                heard = inbox.get(timeout=MOMENT)
                if isinstance(heard, str):
                    say(heard)
                elif heard in left:
                    reasons[left.pop(heard)[1]] = _reason(heard)
            if time.monotonic() - looked > MOMENT:
                looked = time.monotonic()
                for future in _orphans(client, left):
                    future.cancel()
                    reasons[left.pop(future)[1]] = LOST
    finally:
        if left:
            client.cancel(list(left))
    return {board: reason for board, reason in reasons.items() if reason}


def _orphans(client: Any, left: Mapping[Any, tuple[str, str]]) -> list[Any]:
    """Return the tasks whose worker is gone: a scheduler that allows failures would keep them for a worker that never comes."""
    try:
        there = _workers(client)
    except (OSError, TimeoutError):  # then it tells the same of each task by itself
        return []
    return [future for future, (address, _) in left.items() if address not in there]


def _reason(future: Any) -> str:
    if future.status == "finished":
        return str(future.result())
    error = future.exception() if future.status == "error" else None
    if error is None:
        return GONE
    return LOST if type(error).__name__ == "KilledWorker" else _line(error)


def _line(error: Any) -> str:
    """Return an error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
