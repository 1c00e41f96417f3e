"""Figures in a page: SVG with nothing in it that could run or load, that says what it shows to those who cannot see it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from study.analyze.figures.svg import PREFIXES, SVG, XLINK
from study.errors import BadData

# What a figure may hold; all else is taken out.
TAGS = {
    f"{{{SVG}}}{name}" for name in ("clipPath", "defs", "g", "image", "path", "pattern", "rect", "svg", "text", "tspan", "use")
}
ATTRIBUTES = {
    "clip-path", "clip-rule", "d", "fill", "fill-opacity", "fill-rule", "font-family", "font-size", "font-style", "font-weight", "height",
    "id", "lengthAdjust", "opacity", "patternUnits", "preserveAspectRatio", "stroke", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "stroke-opacity", "stroke-width", "text-anchor", "textLength", "transform",
    "viewBox", "width", "x", "y",
}  # fmt: skip
HREF = f"{{{XLINK}}}href"
WITHIN = ("#", "data:image/png;base64,")  # how an address begins that leads out of no page
REFERENCE = re.compile(r"^(url\()?#")
NARROW = 400  # points: a figure that is not wider fits a telephone


def inline(text: str, alt: str, prefix: str = "") -> str:
    """Return a figure as an element of a page.

    Parameters
    ----------
    text : str
        SVG.
    alt : str
        What it shows.
    prefix : str
        What the names in it begin with, where a page has figures of several campaigns.

    Raises
    ------
    BadData
        If it is none.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise BadData(f"a figure is no SVG ({error}); draw it again with: make analyze") from None
    if root.tag not in TAGS:
        raise BadData(f"a figure is a {root.tag!r} and no SVG; draw it again with: make analyze")
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag not in TAGS]:
            parent.remove(child)
        parent.attrib = {name: _named(name, value, prefix) for name, value in _kept(parent)}
    narrow = float(root.get("width", "0").removesuffix("pt")) <= NARROW
    root.attrib |= {"role": "img", "aria-label": alt, "class": "narrow" if narrow else "broad"}
    for prefix, address in PREFIXES.items():
        ElementTree.register_namespace(prefix, address)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _named(attribute: str, value: str, prefix: str) -> str:
    """Return the value of an attribute with a prefix to each name in it."""
    if attribute == "id":
        return prefix + value
    return (
        REFERENCE.sub(lambda at: at[0].replace("#", f"#{prefix}"), value)
        if attribute == HREF or value.startswith("url(")
        else value
    )


def _kept(element: ElementTree.Element) -> list[tuple[str, str]]:
    """Return the attributes of an element that may stay."""
    return [
        (name, value)
        for name, value in element.items()
        if (name in ATTRIBUTES and "url(" not in value.replace("url(#", "")) or (name == HREF and value.startswith(WITHIN))
    ]
