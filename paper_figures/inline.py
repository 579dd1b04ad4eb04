"""A figure as SVG inside a page: text stays text, ids are its own, and nothing in it names another
place."""

import io
import re

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from paper_figures.style import style

SCALE = 1.4 * 4 / 3
"""Pixels to a point: a screen is read from further away than paper."""


def inline_svg(figure: Figure, name: str, told: str) -> Markup:
    """The figure as an `<svg>` element, larger than it is printed, that is read out as `told`;
    `name` keeps its ids apart.

    >>> from paper_figures.figures import draw
    >>> svg = inline_svg(draw("beams").figure, "beams", "beams <beside> exact search")
    >>> (
    ...     svg.startswith(
    ...         '<svg role="img" aria-label="beams &lt;beside&gt; exact search" style="width:'
    ...     ),
    ...     "http" in svg,
    ... )
    (True, False)
    """
    file = io.StringIO()
    with style(), rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->|\s+(?=\n)",
        "",
        text,
        flags=re.DOTALL,
    )
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'\b(?:xlink:)?href="#', f'href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    found = re.match(r'<svg[^>]*?viewBox="(?P<box>[^"]*)"[^>]*>', text)
    assert found is not None
    width = SCALE * float(found["box"].split()[2])
    head = (
        f'<svg role="img" aria-label="{escape(told)}" style="width:{width:.0f}px" '
        f'viewBox="{found["box"]}">'
    )
    return Markup(head + text[found.end() :])
