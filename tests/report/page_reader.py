"""A page as an HTML parser sees it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Every start tag with its attributes, all text outside style and script, and whether each tag
    was closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.inside: list[tuple[tuple[str, ...], str]] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts.append(
                "sha256-" + base64.b64encode(hashlib.sha256(data.encode()).digest()).decode()
            )
        elif "style" not in self.open:
            self.inside.append((tuple(self.open), data))

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.inside]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def allowed_scripts(raw: str) -> list[str]:
    """The hashes of scripts that the page's policy lets the browser run."""
    (policy,) = re.findall(r"script-src ([^;\"]*)", raw)
    return re.findall(r"'([^']+)'", policy.replace("&#39;", "'"))
