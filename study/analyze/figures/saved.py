"""Figures as files: SVG, PNG and plain text, and an index of them. The same data give the same bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from study.analyze import tables
from study.analyze.figures import svg
from study.analyze.figures.apart import apart
from study.analyze.figures.look import STYLE, WIDTH, Drawing
from study.campaign.files import write_whole
from study.errors import BadRequest
from study.terminal import progress

PIXELS = 1600  # of a PNG, across
SHADES = 64  # colours of a PNG
ENDINGS = ("svg", "png", "txt")


def save_all(drawings: list[Drawing], folder: Path, pixels: int = PIXELS) -> list[Path]:
    """Write each figure as SVG, PNG and plain text, and an index of what each shows. The same data give the same bytes.

    Parameters
    ----------
    drawings : list of Drawing
        As draw_all() returns them.
    folder : path
        Where they go; ``figures.md`` in it is the index, ``alt.json`` the same for programs.
    pixels : int
        The width of a PNG. An SVG is as wide as WIDTH says, whatever the PNG has.

    Raises
    ------
    BadRequest
        If the width is none that a figure can have.
    """
    if not 400 <= pixels <= 8000:
        raise BadRequest(f"pixels is {pixels}: a figure may be 400 to 8000 pixels wide")
    folder.mkdir(parents=True, exist_ok=True)
    with plt.style.context(STYLE):
        done = apart(partial(_save, folder=folder, pixels=pixels), drawings)
        for _ in progress.bar("drawing figures", len(drawings), "figures", aside=True, over=done):
            pass
    write_whole(folder / "alt.json", json.dumps({drawing.name: drawing.alt for drawing in drawings}, indent=1) + "\n")
    write_whole(folder / "figures.md", index(drawings, pixels))
    return [folder / f"{drawing.name}.{ending}" for drawing in drawings for ending in ENDINGS]


def _save(drawing: Drawing, folder: Path, pixels: int) -> None:
    """Write one figure."""
    figure = drawing.figure
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine("none")  # it is laid out once, not for each kind again
    files: list[str | bytes] = [
        svg.canonical(_svg(figure), drawing.name),
        _png(figure, pixels),
        drawing.text.encode("ascii", "replace") + b"\n",
    ]
    for ending, content in zip(ENDINGS, files, strict=True):
        write_whole(folder / f"{drawing.name}.{ending}", content)


def show(folder: Path, drawings: Sequence[Drawing], *beginnings: str) -> None:
    """Show figures in a notebook, with what they say to those who cannot see them.

    Parameters
    ----------
    folder : path
        Where save_all() has put them.
    drawings : sequence of Drawing
        Of which some are shown.
    *beginnings : str
        How the names of those begin.
    """
    from IPython.display import SVG, display

    for drawing in drawings:
        if drawing.name.startswith(beginnings):
            display(SVG(filename=folder / f"{drawing.name}.svg", metadata={"alt": drawing.alt, "name": drawing.name}))


# A figure's savefig() draws twice: once for nothing, to lay out what has been laid out. Its canvases draw once.


def _svg(figure: Figure) -> str:
    """Return a figure as SVG."""
    drawn = io.StringIO()
    figure.set_dpi(plt.rcParams["savefig.dpi"])
    FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})
    return drawn.getvalue()


def _png(figure: Figure, pixels: int) -> bytes:
    """Return a figure as PNG with a palette: a third of the size, for pages and posts."""
    packed = io.BytesIO()
    figure.set_dpi(pixels / WIDTH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(SHADES, dither=Image.Dither.NONE)
    image.save(packed, format="PNG", optimize=True)
    return packed.getvalue()


def index(drawings: list[Drawing], pixels: int = PIXELS) -> str:
    """Return a Markdown index of the figures: what each shows, and its files."""
    narrow = [drawing.name for drawing in drawings if drawing.width < WIDTH]
    parts = [
        "# Figures",
        f"Each is a PNG of {pixels} pixels, an SVG of {WIDTH:g} inches ({WIDTH * 96:.0f} CSS pixels) and plain text of at most "
        f"{tables.WIDTH} columns." + "".join(f" {name} is narrower, for a telephone." for name in narrow),
    ]
    for drawing in drawings:
        links = ", ".join(f"[{drawing.name}.{ending}]({drawing.name}.{ending})" for ending in ENDINGS)
        parts += [f"## {drawing.name}", drawing.alt, links]
    return "\n\n".join(parts) + "\n"
