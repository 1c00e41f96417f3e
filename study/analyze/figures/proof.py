"""What intervals and verdicts are worth, on simulated campaigns."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analyze import texts
from study.analyze.figures.look import STYLE, TITLE, message, panels


def proof(table: pd.DataFrame) -> Figure:
    """Draw what simulation says of the intervals and verdicts: coverage, and false verdicts beside those of other tests.

    Parameters
    ----------
    table : DataFrame
        Rows of study.analyze.simulate.prove().
    """
    names = list(dict.fromkeys(table["noise"]))
    sizes = list(dict.fromkeys(table["size"]))
    shades = dict(zip(sizes, sns.color_palette("cividis", len(sizes)), strict=True))
    what = {"covered": "ratio", "median_covered": "median"}
    false = {"study any false": "this study", "pyperf any false": "pyperf", "Welch any false": "Welch's t"}
    with plt.style.context(STYLE):
        figure, (axes,) = panels(1, 2, height=4.2, more=1.4, sharey=True)
        for axis, columns, markers in ((axes[0], what, "os"), (axes[1], false, "oX^")):
            for at, name in enumerate(names):
                here = table[table["noise"] == name]
                for number, (_, row) in enumerate(here.iterrows()):
                    y = at + (number - (len(here) - 1) / 2) * 0.17
                    for column, marker in zip(columns, markers, strict=True):
                        axis.plot(row[column] * 100, y, marker, color=shades[row["size"]], ms=6, mec="0.2", mew=0.5)
        axes[0].axvspan(93, 97, color="0.9", zorder=0)
        axes[0].set(
            xlabel="intervals that hold the truth, % (grey: 93 to 97)", yticks=range(len(names)),
            xlim=(min(92.0, 100 * table[list(what)].min(axis=None) - 0.5), max(98.0, 100 * table[list(what)].max(axis=None) + 0.5)),
        )  # fmt: skip
        axes[0].set_yticklabels(names)
        axes[0].invert_yaxis()
        axes[1].axvline(5, color="0.4", lw=0.8)
        axes[1].set_xlabel("campaigns with any false verdict, % (line: 5)")
        for axis, markers, words in ((axes[0], "os", what), (axes[1], "oX^", false)):
            marks = [Line2D([], [], color="0.3", marker=marker, ls="") for marker in markers]
            axis.legend(marks, list(words.values()), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        dots = [Line2D([], [], color=shade, marker="o", ls="") for shade in shades.values()]
        named = [f"{size} (boots x visits x values)" if size == sizes[0] else size for size in sizes]
        figure.legend(
            handles=dots, labels=named, loc="outside lower center", ncols=len(sizes),
            title=f"{table['campaigns'].iloc[0]} simulated campaigns for each mark",
        )  # fmt: skip
        figure.suptitle(message(texts.message_of_proof(table)), **TITLE)
    return figure
