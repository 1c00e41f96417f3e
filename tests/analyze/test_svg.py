from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from study import paths
from study.analyze.figures import saved, svg
from study.analyze.figures.look import STYLE

BITS = 1e-13  # as a share: what a processor may make of the same number


def drawn(shift: float) -> str:
    """A figure with all that matplotlib names by a hash: markers, clips, hatches, images, collections; two panels are alike."""
    with plt.style.context(STYLE):
        figure: Figure = plt.figure(figsize=(6, 3))
        for left, more in ((0.1, shift), (0.55, 0.0)):
            axes = figure.add_axes((left, 0.2 * (1 + more), 0.35, 0.7))
            axes.plot(np.arange(5) * (1 + more), "o-")
            axes.scatter(np.arange(60.0) / 12, np.arange(60.0) / 12 * (1 + more), c=["k", "w"] * 30)
            axes.bar([1, 2], [3, 4 * (1 + more)], hatch="//")
            axes.pcolormesh(np.arange(12.0).reshape(3, 4), rasterized=True)
        plt.close(figure)
        return saved._svg(figure)


@pytest.mark.parametrize("shift", [BITS, -BITS])
def test_the_last_bits_do_not_show(shift: float) -> None:
    plain, other = drawn(0.0), drawn(shift)
    assert plain != other, "nothing differed that could have shown"
    assert svg.canonical(plain, "x") == svg.canonical(other, "x")
    assert svg.canonical(drawn(1e-3), "x") != svg.canonical(plain, "x")


def test_names_count_up_each_once_and_every_reference_is_met() -> None:
    text = svg.canonical(drawn(0.0), "a-figure")
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert {re.sub(r"\d+$", "", name) for name in names if name.startswith("a-figure")} == {
        f"a-figure-{kind}" for kind in ("m", "p", "h", "c")
    }
    assert not any(svg.HASHED.fullmatch(name) for name in names)
    references = re.findall(r"#([\w.-]+)\)|href=\"#([^\"]+)\"", text)
    assert len(references) > 20
    assert {one or other for one, other in references} <= set(names)


def test_no_coordinate_is_finer_than_is_seen_and_factors_stay() -> None:
    plain = drawn(0.0)
    text = svg.canonical(plain, "x")
    places = re.findall(r' (?:d|x|y|width|height|points)="[^"]*"|translate\([^)]*\)', text)
    assert len(places) > 100
    assert not [place for place in places if re.search(r"\.\d{4}", place)]
    assert sorted(re.findall(r"scale\([^)]*\)", text)) == sorted(re.findall(r"scale\([^)]*\)", plain))


def test_what_a_figure_says_is_text_as_wide_as_it_was_laid_out_without_a_style() -> None:
    text = svg.canonical(drawn(0.0), "x")
    root = ElementTree.fromstring(text)
    words = [element for element in root.iter() if element.tag == svg.TEXT]
    assert {element.text for element in words} >= {"0", "1", "2"}
    assert all(float(element.get("textLength", 0)) > 0.5 * float(element.get("font-size", "")[:-2]) for element in words)
    assert "style" not in text and "font-family" in root.attrib


def test_every_shipped_figure_is_so() -> None:
    shipped = sorted(paths.PAPER.glob("*/*.svg"))
    assert len(shipped) >= 14
    for path in shipped:
        text = path.read_text()
        assert not re.search(r'id="(m|p|h|image|C)[0-9a-f_]*[0-9a-f]{10}"', text), path
