"""SVG with the same bytes on every processor, that can stand in a page: rounded coordinates, ids that count up, no styles.

matplotlib writes six decimals, and names what it draws more than once by a hash of the unrounded coordinates. Their last bits
differ between processors, and with them the names, and which of two like things are the same. It styles by CSS, which the policy
of a page forbids: presentation attributes say the same. And it writes text without a width, which then depends on the fonts of who
reads: with `textLength` it is as wide as it was laid out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from study.analyze.rounding import NEAR_TIE

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
PREFIXES = {
    "": SVG,
    "xlink": XLINK,
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "cc": "http://creativecommons.org/ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
}
DEFINITIONS = f"{{{SVG}}}defs"
TEXT, STYLE, GROUP = (f"{{{SVG}}}{name}" for name in ("text", "style", "g"))
FONTS = "DejaVu Sans, Verdana, Arial, sans-serif"  # the first is what texts are measured with
DECIMALS = 3  # of a point, 1/72 inch
PLACES = ("d", "x", "y", "width", "height", "points")  # attributes that are coordinates
# A number that is finer than that, and a move: factors of scale() have more digits that matter.
FINE, MOVE = re.compile(rf"-?\d+\.\d{{{DECIMALS + 1},}}"), re.compile(r"(translate|rotate)\([^)]*\)")
# A name that matplotlib made of a hash: of a marker, a clip path, a hatch, an image, or a path of a collection.
HASHED = re.compile(r"(m|p|h|image|C)[0-9a-f_]*[0-9a-f]{10}")
MAP = "prices-map"  # in the name of the ground of a map over prices
NO_TURN = re.compile(r" ?rotate\(-?0(\.0)? [^)]*\)")
REFERENCE = re.compile(r"#([\w.-]+)")


def canonical(text: str, name: str) -> str:
    """Return a figure that matplotlib wrote as SVG, with rounded coordinates and names that count up; what is there twice goes.

    Parameters
    ----------
    text : str
        The SVG.
    name : str
        What the figure is called; its names begin with it, so that a page may hold several figures.
    """
    for prefix, address in PREFIXES.items():
        ElementTree.register_namespace(prefix, address)
    root = ElementTree.fromstring(text, ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True)))
    for element in root.iter():
        element.attrib.update({key: _rounded(key, value) for key, value in element.items()})
        _present(element)
    root.attrib.update({"font-family": FONTS, "stroke-linejoin": "round", "stroke-linecap": "butt"})
    names = _rename(root, name)
    for element in root.iter():
        element.attrib.update({key: REFERENCE.sub(_by(names), value) for key, value in element.items()})
    _forget(root)
    _flatten(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _present(element: Element) -> None:
    """Say by attributes what an element says by a style; drop style sheets, and turns by nothing; let a text be as wide as it is."""
    for child in [child for child in element if child.tag == STYLE]:
        element.remove(child)
    styles = dict(part.split(": ", 1) for part in element.attrib.pop("style", "").split("; ") if part)
    element.attrib.update({key: value for key, value in styles.items() if key != "font-family"})
    if turned := NO_TURN.sub("", element.attrib.pop("transform", "")):
        element.set("transform", turned)
    if element.tag == TEXT and element.text:
        font = FontProperties(
            family=FONTS.split(",")[0],
            weight=styles.get("font-weight", "normal"),
            size=float(styles["font-size"].removesuffix("px")),
        )
        width, *_ = text_to_path.get_text_width_height_descent(element.text, font, ismath=False)
        element.attrib |= {"textLength": f"{width:.1f}", "lengthAdjust": "spacingAndGlyphs"}


def _forget(root: Element) -> None:
    """Drop the names that nothing refers to, but for maps, which a page marks: several figures in a page would have the same."""
    known = {name for element in root.iter() for value in element.attrib.values() for name in REFERENCE.findall(value)}
    for element in root.iter():
        if element.get("id") not in known and MAP not in element.get("id", ""):
            element.attrib.pop("id", None)


def _flatten(element: Element) -> None:
    """Put what is in groups that say nothing in their place."""
    for child in element:
        _flatten(child)
    element[:] = [one for child in element for one in (child if child.tag == GROUP and not child.attrib else [child])]
    if len(element):
        element.text = "\n"
    for child in element:
        child.tail = "\n"


def _by(names: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
    """Return what names a reference anew."""
    return lambda at: f"#{names.get(at[1], at[1])}"


def _rounded(name: str, value: str) -> str:
    if name in PLACES:
        return FINE.sub(_number, value)
    return MOVE.sub(lambda move: FINE.sub(_number, move[0]), value) if name == "transform" else value


def _number(match: re.Match[str]) -> str:
    number = round(float(match[0]) + NEAR_TIE * 10**-DECIMALS, DECIMALS) + 0.0  # which makes 0 of -0
    return f"{number:.{DECIMALS}f}".rstrip("0").rstrip(".")


def _rename(root: Element, name: str) -> dict[str, str]:
    """Give what has a hash for a name one that counts up, drop definitions that are there already, and return the new names."""
    names, known, count = dict[str, str](), dict[bytes, str](), Counter[str]()
    for parent, element in list(_named(root)):
        old = element.attrib.pop("id")
        content = ElementTree.tostring(element).strip()
        if parent.tag == DEFINITIONS and content in known:
            names[old] = known[content]
            parent.remove(element)
            continue
        kind = HASHED.fullmatch(old)[1].lower()  # type: ignore[index]
        count[kind] += 1
        names[old] = known[content] = f"{name}-{kind}{count[kind]}"
        element.set("id", names[old])
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag == DEFINITIONS and not len(child)]:
            parent.remove(child)
    return names


def _named(root: Element) -> Iterator[tuple[Element, Element]]:
    """Yield each element that has a hash for a name, with its parent, in the order of the file."""
    for parent in root.iter():
        for child in parent:
            if HASHED.fullmatch(child.get("id", "")):
                yield parent, child
