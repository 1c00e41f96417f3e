"""The figures: from a frame to a figure, one function each; drawn as a whole campaign needs them, and saved."""

from study.analyze.figures.drawn import draw_all
from study.analyze.figures.look import Drawing
from study.analyze.figures.proof import proof
from study.analyze.figures.saved import save_all, show

__all__ = ["Drawing", "draw_all", "proof", "save_all", "show"]
