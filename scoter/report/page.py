"""A page as one file: a template with the one style sheet and script; nothing is fetched.

Data are escaped by jinja2, and the page's policy allows this script alone, by its hash.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from scoter.storage.writing import replacing

PAGES = Path(__file__).with_name("pages")
Number = int | float


def write_page(out: Path, template: str, folder: Path = PAGES, **values: object) -> None:
    """Render `template` of `folder`, which may extend `base.html`, and write it to `out`."""
    page = render(template, folder, **values)
    with replacing(out) as partial:
        partial.write_text(page, encoding="utf-8")


def render(template: str, folder: Path = PAGES, **values: object) -> str:
    """The page as text; a name that the template uses and `values` lacks is an error."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.loader, environment.lstrip_blocks = FileSystemLoader([folder, PAGES]), True
    environment.filters |= {"number": number, "plain": plain, "thousands": thousands}
    environment.filters |= {"signed": "{:+.4f}".format, "cpu_time": cpu_time}
    environment.filters["metric_name"] = metric_name
    script = (PAGES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "style": Markup((PAGES / "report.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
    }
    return environment.get_template(template).render(**values)


def flat(tree: Mapping[str, object], above: str = "") -> list[tuple[str, str]]:
    """Nested keys as `a / b`, with readable values.

    >>> flat({"recall": {"mean": 0.25, "found": True}, "seeds": [0, 1]})
    [('recall / mean', '0.2500'), ('recall / found', 'yes'), ('seeds', '0, 1')]
    """
    rows = []
    for key, value in tree.items():
        name = f"{above} / {key}" if above else str(key)
        rows += flat(value, name) if isinstance(value, Mapping) else [(name, plain(value))]
    return rows


def plain(value: object) -> str:
    """A value of a JSON file in words.

    >>> plain([{"role": "recent item", "lag": 2}, None])
    'role recent item, lag 2, none'
    """
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(part) for part in value)
    return number(value) if isinstance(value, float) else str(value)


def metric_name(key: str) -> str:
    """A metric as papers write it.

    >>> metric_name("recall@10"), metric_name("ndcg@5")
    ('Recall@10', 'NDCG@5')
    """
    return key.replace("recall", "Recall").replace("ndcg", "NDCG")


def number(value: Number) -> str:
    """Four decimals below a hundred, none above."""
    return f"{value:.4f}" if abs(value) < 100 else thousands(value)


def thousands(value: Number) -> str:
    return f"{value:,.0f}"


def cpu_time(seconds: Number | None) -> str:
    """Processor time in a readable unit; nothing where none was measured.

    >>> [cpu_time(seconds) for seconds in (0.42, 21.2, 372.0, 7260.0, 0.0, None)]
    ['0.4 s', '21 s', '6.2 min', '2.0 h', '', '']
    """
    if not (seconds and seconds > 0):  # NaN too
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
