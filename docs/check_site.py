"""`make docs`: every link of the built site leads to a file and an anchor, every page is reachable.

    python docs/check_site.py FOLDER

Looks at no address outside the site.
"""

import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LINK = re.compile(r'\s(?:href|src)="([^"]*)"')
_ID = re.compile(r'\sid="([^"]*)"')
MADE_BY_SPHINX = {"genindex.html", "py-modindex.html", "search.html"}


def complaints(site: Path) -> list[str]:
    """One line for each broken link, missing anchor and page that no path of links leads to."""
    site = site.resolve()
    pages = (path for path in site.rglob("*.html") if "_static" not in path.parts)
    texts = {path: path.read_text(encoding="utf-8") for path in pages}
    ids = {path: set(_ID.findall(text)) for path, text in texts.items()}
    lines, links = [], {}
    for page, text in texts.items():
        links[page] = set()
        for link in set(_LINK.findall(text)):
            parts = urlsplit(link.replace("&amp;", "&"))
            if parts.scheme or parts.netloc:
                continue
            to = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            if not to.is_file():
                lines.append(f"{page.relative_to(site)}: {link} leads to no file")
            elif anchor and to in ids and anchor not in ids[to]:
                lines.append(f"{page.relative_to(site)}: {link} leads to no anchor")
            links[page].add(to)
    lost = set(texts) - _reachable(site / "index.html", links)
    lost -= {site / name for name in MADE_BY_SPHINX}
    return sorted(lines) + sorted(f"no link leads to {page.relative_to(site)}" for page in lost)


def _reachable(start: Path, links: dict[Path, set[Path]]) -> set[Path]:
    found, ahead = {start}, [start]
    while ahead:
        new = links.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return found


if __name__ == "__main__":
    if found := complaints(Path(sys.argv[1])):
        sys.exit("\n".join(found))
    print("every internal link leads somewhere, and every page is reachable")
