"""A page as one file: a template, the one style sheet and the one script, all inside it; nothing is fetched.

All text of the data (titles, sentences, names) passes through jinja2's autoescape. The page's policy lets the browser run this
script by its hash and no other, so text that slipped through would still be dead.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from scoter.writing import replacing

PAGES = Path(__file__).with_name("pages")
Number = int | float


def write_page(out: Path, template: str, folder: Path = PAGES, **values: Any) -> None:
    """Render `template` of `folder` (it may extend `base.html` and import `parts.html`) with `values`, and write it to `out`.

    Raises:
        StoreError: a place that cannot be written to.
    """
    page = render(template, folder, **values)
    with replacing(out) as partial:
        partial.write_text(page, encoding="utf-8")


def render(template: str, folder: Path = PAGES, **values: Any) -> str:
    """The page as text; a name that the template uses and `values` lacks is an error."""
    loader = FileSystemLoader([folder, PAGES])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "plain": plain, "signed": "{:+.4f}".format, "thousands": thousands}
    script = (PAGES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (PAGES / "report.css").read_text(encoding="utf-8")
    environment.globals |= {"style": Markup(style), "script": Markup(script), "script_hash": f"sha256-{digest}"}
    return environment.get_template(template).render(**values)


def flat(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Nested keys as `a / b`, with readable values.

    >>> flat({"recall": {"mean": 0.25, "found": True}, "seeds": [0, 1]})
    [('recall / mean', '0.2500'), ('recall / found', 'yes'), ('seeds', '0, 1')]
    """
    rows = []
    for key, value in tree.items():
        name = f"{above} / {key}" if above else str(key)
        rows += flat(value, name) if isinstance(value, Mapping) else [(name, plain(value))]
    return rows


def plain(value: Any) -> str:
    """A value of a JSON file in words."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(plain(part) for part in value)
    return number(value) if isinstance(value, float) else str(value)


def number(value: Number) -> str:
    """Four decimals below a hundred, none above."""
    return f"{value:.4f}" if abs(value) < 100 else thousands(value)


def thousands(value: Number) -> str:
    return f"{value:,.0f}"
