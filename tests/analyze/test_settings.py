"""Nobody else's settings: what a user has set for matplotlib, Python and IPython changes no byte and breaks nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from study import paths
from tests.conftest import refused, run, some

RC = """\
figure.facecolor: black
savefig.facecolor: black
font.family: serif
lines.linewidth: 4
axes.autolimit_mode: round_numbers
axes.formatter.use_locale: True
figure.hooks: nowhere:nothing
svg.fonttype: none
text.usetex: True
"""
DRAWN = """
import sys
from pathlib import Path
from study.analyze import chart
from study.analyze.figures import Drawing, look, save_all
import matplotlib.pyplot as plt
with plt.style.context(look.STYLE):
    figure, axes = look.panels(1, 2, height=2)
    for axis in axes[0]:
        axis.plot([1000, 2000.5], [1, 3], "o-", label="a line")
        axis.legend()
marks = [chart.Mark(str(n), n / 7, n / 8, n / 6, "") for n in range(1, 5)]
save_all([Drawing("figure", lambda: figure, "a figure", chart.intervals({"": marks}, "mark", at=0.5))], Path(sys.argv[1]))
"""


def drawn(out: Path, cwd: Path, env: dict[str, str]) -> dict[str, bytes]:
    """What a figure is as files, drawn in a folder and an environment."""
    words = [sys.executable, "-c", DRAWN, str(out)]
    done = subprocess.run(
        words, cwd=cwd, env={**os.environ, "PYTHONPATH": str(paths.ROOT), **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in some(sorted(out.iterdir()), 5)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with settings of all kinds, and files that leave a trace if they are run."""
    trace = f"open({str(tmp_path / 'was-run')!r}, 'w').close()\n"
    for name, text in {
        ".config/matplotlib/matplotlibrc": RC,
        ".ipython/profile_default/startup/00-mine.py": trace,
        ".ipython/profile_default/ipython_kernel_config.py": trace,
        ".local/share/jupyter/kernels/python3/kernel.json": '{"argv": ["/bin/false"], "display_name": "mine", "language": "python"}',
        "startup.py": trace,
        "etc/ipython/startup/00-machine.py": trace,
        "sitecustomize.py": f"from IPython.core import application\napplication.SYSTEM_CONFIG_DIRS[:] = [{str(tmp_path / 'home/etc/ipython')!r}]\n",
        "here/matplotlibrc": RC,
    }.items():
        path = tmp_path / "home" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "home"


def test_figures_are_drawn_by_no_settings_but_the_study_s(tmp_path: Path, home: Path) -> None:
    plain = drawn(tmp_path / "plain", tmp_path, {})
    assert drawn(tmp_path / "home's", tmp_path, {"HOME": str(home), "MPLBACKEND": "tkagg", "DISPLAY": ""}) == plain
    (home / ".config/matplotlib/matplotlibrc").write_bytes("font.family: Sérif".encode("latin-1"))
    assert drawn(tmp_path / "unreadable", tmp_path, {"HOME": str(home)}) == plain
    assert drawn(tmp_path / "here", home / "here", {"MPLBACKEND": "no backend"}) == plain


def test_a_notebook_runs_in_the_kernel_of_the_study_and_runs_no_file_of_the_user_s(tmp_path: Path, home: Path) -> None:
    env = {"HOME": str(home), "PYTHONSTARTUP": str(home / "startup.py"), "JUPYTER_PATH": str(home / ".local/share/jupyter")}
    env |= {"PYTHONPATH": f"{home}:{paths.ROOT}"}  # its sitecustomize stands in for a machine that has /etc/ipython
    env |= {"IPYTHONDIR": str(home / ".ipython"), "MPLBACKEND": "no backend"}
    said = refused(run("notebook", "analyze", tmp_path / "out.ipynb", "-p", "campaign", tmp_path / "none", env=env))
    assert f"{tmp_path / 'none'} is no campaign" in said
    assert not (tmp_path / "was-run").exists()


def test_the_templates_of_a_user_are_in_no_page(tmp_path: Path) -> None:
    """A template of nbconvert's own name in a user's folder comes before nbconvert's, wherever that is asked."""
    folder = tmp_path / "jupyter/nbconvert/templates/base"
    folder.mkdir(parents=True)
    (folder / "cell_id_anchor.j2").write_text("mine")
    for name in ("display_priority.j2", "celltags.j2", "mathjax.html.j2", "jupyter_widgets.html.j2", "null.j2"):
        (folder / name).write_text("mine")
    notebook = tmp_path / "paper/reference/notebooks/analyze.ipynb"
    assert run("notebook", "analyze", notebook, "-p", "paper", tmp_path / "paper").returncode == 0
    pages = []
    for env in ({}, {"JUPYTER_PATH": str(tmp_path / "jupyter")}):
        out = tmp_path / f"html{len(pages)}"
        done = run("html", "data/reference", "--paper", tmp_path / "paper", "--out", out, env=env)
        assert done.returncode == 0, done.stderr
        pages.append({path.name: path.read_bytes() for path in some(out.rglob("*.html"), 2)})
    assert pages[0] == pages[1]
