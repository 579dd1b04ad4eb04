"""Errors that a user can act on: each names the argument, its value and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the names most like it; '' if none is.

    >>> closest("beuty", ["beauty", "toys"]), closest("x", ["beauty"])
    (". Did you mean 'beauty'?", '')
    """
    near = [repr(match) for match in get_close_matches(name, dict.fromkeys(known))]
    return f". Did you mean {' or '.join(near)}?" if near else ""


class ScoterError(Exception):
    """Anything that scoter reports on purpose. Every other exception is a defect of ours."""


class ConfigError(ScoterError):
    """An experiment, option or argument that cannot be honoured."""


class DataError(ScoterError):
    """Data that is missing, malformed, or not what it claims to be."""


class StoreError(ScoterError):
    """An artefact that is absent, unfinished, altered, or cannot be written."""


class CollapseError(ScoterError):
    """A learned representation that lost its content, such as an unused codebook."""


class LanguageModelError(ScoterError):
    """A language model server that cannot be reached, refuses, or gives no usable answer."""


class ReplyError(LanguageModelError):
    """One request that got no usable reply; other requests may be answered."""


class BudgetError(LanguageModelError):
    """The token budget is spent. Every reply that was paid for is kept."""
