"""Errors that a user can act on: each names the argument, its value and the remedy."""


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
    """A language model server that cannot be reached, refuses us, or answers with nothing that can be used."""


class ReplyError(LanguageModelError):
    """One request that got no usable reply, however often it was sent; other requests may well be answered."""


class BudgetError(LanguageModelError):
    """The token budget is spent. Every reply that was paid for is kept."""
