"""A figure as SVG inside a page: text stays text, ids are its own, nothing refers elsewhere."""

import io
import re

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from paper_figures.style import style

SCALE = 1.4 * 4 / 3  # pixels to a point; a screen is read from further away than paper
_NOISE = re.compile(
    r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->|\s+(?=\n)", re.DOTALL
)


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an `<svg>` element, larger than it is printed.

    `name` keeps its ids apart; `label` is what a screen reader says.

    >>> from paper_figures.figures import draw
    >>> svg = inline_svg(draw("beams").figure, "beams", "beams <beside> exact search")
    >>> svg.startswith('<svg role="img" aria-label="beams &lt;beside&gt; exact search"')
    True
    >>> "http" in svg
    False
    """
    file = io.StringIO()
    with style(), rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = _NOISE.sub("", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'\b(?:xlink:)?href="#', f'href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    head = re.match(r'<svg[^>]*?viewBox="(?P<box>[^"]*)"[^>]*>', text)
    assert head is not None
    width = SCALE * float(head["box"].split()[2])
    size = f'style="width:{width:.0f}px" viewBox="{head["box"]}"'
    return Markup(f'<svg role="img" aria-label="{escape(label)}" {size}>' + text[head.end() :])
