"""Figures as SVG elements of one page."""

from __future__ import annotations

import re
from io import BytesIO

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline

from dametric.report.chart import Panel
from dametric.report.drawing import Mark, style


def inline_svg(panel: Panel, key: str) -> Markup:
    """The panel as an SVG element for a page that holds several.

    Parameters
    ----------
    panel : Panel
    key : str
        Stands before every id, so that no two figures of a page share one.

    Returns
    -------
    Markup
        Without prolog, metadata and style sheet; scales with its box; carries the alternative text.
    """
    with style(), matplotlib.rc_context({"svg.hashsalt": key}):
        figure = Figure(figsize=panel.size, layout="constrained")
        panel.draw(figure.subplots())
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue().decode()
    box = re.search(r'viewBox="([-0-9. ]+)"', text)
    assert box is not None
    body = text[text.index(">", text.index("<svg")) + 1 :]
    for part in (r"<!--.*?-->", r"<metadata>.*?</metadata>", r"<style.*?</style>"):
        body = re.sub(part, "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{key}-', body)
    body = re.sub(r'\b(?:xlink:)?href="#', f'href="#{key}-', body).replace("url(#", f"url(#{key}-")
    body = re.sub(r"\n\s*", "\n", body)
    opening = f'<svg class="chart" role="img" viewBox="{box[1]}" aria-label="{escape(panel.alt)}">'
    return Markup(opening + body)  # of matplotlib's own making: it escapes the text in it


def key_svg(mark: Mark) -> Markup:
    """The symbol of a legend as a small SVG element; the name beside it says what it stands for."""
    shape = MarkerStyle(mark[0])
    path = shape.get_path().transformed(shape.get_transform())
    steps = []
    for points, code in path.iter_segments():
        letter = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}.get(code, "Z")
        steps.append(letter + (" ".join(f"{value:.3f}" for value in points) if letter != "Z" else ""))
    size = 'viewBox="-0.7 -0.7 1.4 1.4" width="14" height="14" aria-hidden="true"'
    return Markup(f'<svg {size}><path transform="scale(1,-1)" fill="{mark[1]}" d="{"".join(steps)}"/></svg>')
