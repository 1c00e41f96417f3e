"""Run the notebooks with papermill, and believe them only if they ran to their end."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study import paths
from study.errors import BadRequest, StudyError
from study.notebooks import uptodate
from study.notebooks.parameters import END
from study.terminal import ending, progress

# What papermill calls the way in which it executes them here.
ENGINE = "study"

# The notebook that makes what it reads: what counts is how the campaign is afterwards.
MEASURING = "collect"


def run(name: str, out: Path, parameters: Mapping[str, Any], again: bool = False) -> bool:
    """Execute a notebook with papermill and keep it only if it ran to its end; leave it if it would come out the same.

    Parameters
    ----------
    name : str
        A notebook in notebooks/, without its ending.
    out : path
        Where the executed notebook goes; it appears whole or not at all.
    parameters : mapping
        Papermill parameters.
    again : bool
        Execute it in any case.

    Returns
    -------
    bool
        Whether it was executed.

    Raises
    ------
    StudyError
        If a cell failed or the notebook did not reach its end. What ran of it is kept in a folder beside `out`,
        ``unfinished``.
    """
    source = paths.NOTEBOOKS / f"{name}.ipynb"
    if not source.exists():
        known = ", ".join(sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb")))
        raise BadRequest(f"notebook {name!r} is unknown; choose from {known}")
    if not again and uptodate.is_up_to_date(out, source, parameters):
        return False
    started, went_in = time.time(), _inputs(source, parameters, own=False)
    import nbformat
    import papermill
    from nbclient.exceptions import CellControlSignal
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillException
    from traitlets.config import Config

    aside = out.parent / "unfinished" / out.name
    aside.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    words = aside.with_suffix(".log")
    try:
        with ending.quiet(), progress.Retold() as told, tempfile.TemporaryDirectory(prefix="study-") as own:
            papermill_engines.register(ENGINE, _engine(f"running {source.name}", told, words, own))
            papermill.execute_notebook(
                str(source), str(aside), parameters=dict(parameters), cwd=str(paths.ROOT), kernel_name="python3",
                engine_name=ENGINE, progress_bar=False, log_output=False, stdout_file=told, record_timing=False,
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{own}/kernel"}}),
            )  # fmt: skip
    except (PapermillException, CellControlSignal, RuntimeError, TimeoutError) as error:  # a cell failed; its kernel did
        why = getattr(error, "evalue", "") or str(error) or type(error).__name__
        raise StudyError(f"{why.strip()} (the notebook as far as it ran: {aside})") from None
    except OSError as error:  # on a full disk
        raise OSError(error.errno, error.strerror, error.filename or str(aside)) from None
    finally:
        if words.exists() and not words.stat().st_size:
            words.unlink()
    node = nbformat.read(aside, as_version=4)
    last = next(cell for cell in reversed(node.cells) if cell.cell_type == "code")
    if END not in "".join(output.get("text", "") for output in last.outputs):
        raise StudyError(f"the notebook {name} stopped before its end: its kernel died; what ran of it is in {aside.parent}")
    timeless(node)
    now = _inputs(source, parameters, own=False)
    if now and (now == went_in or name == MEASURING):  # or someone else measured meanwhile
        uptodate.stamp(node, _inputs(source, parameters), uptodate.outputs(source, parameters, started))
    nbformat.write(node, aside)
    aside.replace(out)
    words.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # what another notebook left unfinished stays
        aside.parent.rmdir()
    return True


def _engine(name: str, told: progress.Retold, words: Path, own: str) -> Any:
    """Return an engine for papermill that tells how far the notebook is, and what its cells tell of their progress.

    What a kernel says of its own affairs goes to the file `words`: being shut down, it would say so, beside the one line of what
    is wrong. The kernel is the one of this Python, with IPython's folder in `own`: no start-up file of the user's or the
    machine's runs in it.
    """
    from jupyter_client import AsyncKernelManager  # type: ignore[attr-defined]
    from jupyter_client.kernelspec import KernelSpecManager
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine

    class Quiet(AsyncKernelManager):
        async def start_kernel(self, **how: Any) -> None:  # type: ignore[override]
            self.kernel_spec_manager = KernelSpecManager(kernel_dirs=[])
            spec: Any = self.kernel_spec
            spec.argv[spec.argv.index("ipykernel_launcher")] = "study.notebooks.kernel"
            env = {**os.environ, "IPYTHONDIR": f"{own}/ipython", "PYTHONSTARTUP": ""}
            with open(words, "wb") as said:
                await super().start_kernel(stderr=said, **{**how, "env": env})

    class Client(PapermillNotebookClient):  # type: ignore[misc]
        def process_message(self, message: dict[str, Any], cell: Any, index: int) -> Any:
            total = len(self.nb.cells)
            if message["msg_type"] == "execute_input":
                told.hear(f"{name}: {index}/{total} cells, {total - index} left")
            elif message["msg_type"] in ("display_data", "update_display_data"):
                told.hear(message["content"]["data"].get("text/plain", ""))
            return super().process_message(message, cell, index)

    class Engine(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **how: Any) -> Any:
            options = {key: how[key] for key in ("stdout_file", "record_timing", "config")}
            names = {"kernel_name": kernel_name, "kernel_manager_class": Quiet, "startup_timeout": how["start_timeout"]}
            done = Client(nb_man, **names, **options).execute()
            told.hear(f"{name}: {len(done.cells)}/{len(done.cells)} cells, 0 left")
            return done

    return Engine


def _inputs(source: Path, parameters: Mapping[str, Any], own: bool = True) -> str:
    """Return the digest of what goes into a notebook; empty where that cannot be read: the notebook says so better."""
    try:
        return uptodate.inputs(source, parameters, own)
    except (StudyError, OSError, ValueError, LookupError, TypeError):
        return ""


def timeless(node: Any) -> Any:
    """Return an executed notebook without what differs between two runs alike.

    That is times, papermill's paths, a drawn id, and where the kernel, which sends what it prints now and then, cut a text in two.

    Parameters
    ----------
    node : NotebookNode
        It is changed.
    """
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    CoalesceStreamsPreprocessor(enabled=True).preprocess(node, {})
    for number, cell in enumerate(node.cells):
        cell.metadata.pop("papermill", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = f"parameters-{number}"
    node.metadata["papermill"] = {"parameters": node.metadata.get("papermill", {}).get("parameters", {})}
    return node
