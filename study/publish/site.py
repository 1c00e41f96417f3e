"""Static HTML: each executed notebook as one file that asks the network for nothing, and an index."""

from __future__ import annotations

import html
from pathlib import Path

from study import paths
from study.errors import BadData, BadRequest

# What a page may load: nothing but what it holds. Scripts are not among it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
TEMPLATES = paths.TEMPLATES / "html"


def build(notebooks: Path, out: Path) -> Path:
    """Write a page for each executed notebook in a folder, and an index.

    Parameters
    ----------
    notebooks : path
        Folder of executed notebooks.
    out : path
        Folder of the pages.

    Returns
    -------
    path
        The index.

    Raises
    ------
    BadRequest
        If there is no executed notebook.
    BadData
        If a file is no notebook.
    """
    sources = sorted(notebooks.glob("*.ipynb"))
    if not sources:
        raise BadRequest(f"{notebooks} holds no executed notebook; make some with: make analyze")
    from nbconvert import HTMLExporter
    from nbformat import ValidationError
    from traitlets.config import Config

    exporter = HTMLExporter(
        template_name="study", extra_template_basedirs=[str(TEMPLATES)], exclude_input_prompt=True, exclude_output_prompt=True,
        config=Config({"HTMLExporter": {"embed_images": True}}),
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    links = []
    for source in sources:
        try:
            body, _ = exporter.from_filename(str(source), resources={"study_policy": POLICY})
        except (ValueError, KeyError, AttributeError, ValidationError):
            raise BadData(f"{source} is no notebook; make it again with: make analyze") from None
        page = out / f"{source.stem}.html"
        page.write_text(body)
        links.append(f'<li><a href="{html.escape(page.name)}">{html.escape(source.stem)}</a></li>')
    index = out / "index.html"
    text = (TEMPLATES / "index.html").read_text()
    for mark, value in (("@POLICY@", POLICY), ("@LINKS@", "\n".join(links)), ("@NAME@", html.escape(notebooks.parent.name))):
        text = text.replace(mark, value)
    index.write_text(text)
    return index
