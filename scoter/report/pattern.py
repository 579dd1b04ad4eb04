"""A run's reasoning pattern, made ready for its template: steps in words, tables and a picture.

A mined pattern comes with its clusters and rivals; a given one has steps and an origin alone.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scoter.report.page import flat, number

_WORDS = {
    "field": "the {}",
    "what": "the {}",
    "level": "the {}",
    "history_summary count": "the last {} items",
    "count": "up to {}",
    "lag": "{} purchases ago",
    "window": "after the last {} items",
    "rank": "from rank {} on",
    "degrees": "in {} degrees of certainty",
}
"""A parameter of a step (or of one role alone) in words, in the order in which they are read."""
_ONE = {
    "lag": "1 purchase ago",
    "history_summary count": "the last item",
    "window": "after the last item",
    "degrees": "in 1 degree of certainty",
}
"""The same for the value 1, where that reads otherwise."""
_SHOWN = ("pattern", "clusters", "rivals", "picture_of", "provenance")
_FACTS = {
    "recall": "recall{} at fresh users",
    "ndcg": "ndcg{} at fresh users",
    "chosen_on": "recall{} where it was chosen",
    "support": "share of {} in its cluster",
    "distilled_by": "distilled by",
}


def described(found: Mapping[str, Any] | None, picture: Path | None) -> dict[str, Any] | None:
    """A run's pattern for the template: steps, facts, tables, how it was mined and the picture.

    None where the run has no pattern.
    """
    if not found:
        return None
    pattern = found["pattern"]
    about = found.get("provenance", {})
    points = "patterns" if found.get("counts") is None else "chains"
    at = f"@{about['top_k']}" if "top_k" in about else ""
    known = {}
    for key, name in _FACTS.items():
        if key in pattern:
            known[name.format(points if key == "support" else at)] = _told(pattern[key])
    other = {key: value for key, value in pattern.items() if key not in ("steps", "votes", *_FACTS)}
    beside = {key: value for key, value in found.items() if key not in _SHOWN}
    steps = pattern.get("steps", ())
    voted = len(pattern.get("votes", ())) == len(steps) > 0
    votes = pattern["votes"] if voted else [None] * len(steps)
    return {
        "steps": [(_step(step), vote) for step, vote in zip(steps, votes, strict=True)],
        "facts": flat(known | other),
        "clusters": [_cluster(*one) for one in enumerate(found.get("clusters", ()), 1)],
        "rivals": [_rival(name, one) for name, one in found.get("rivals", {}).items()],
        "points": points,
        "first": "best pattern" if points == "patterns" else "medoid",
        "voted": voted,
        "at": at,
        "mined": [pair for pair in flat(about | beside) if pair[1] not in ("", "none")],
        "picture": None if picture is None else base64.b64encode(picture.read_bytes()).decode(),
        "picture_of": found.get("picture_of", points),
    }


def in_words(label: str) -> str:
    """A step's label in plain English.

    Example:
        >>> in_words("recent_item(field=brand, lag=2)"), in_words("recent_item(lag=1)")
        ('recent item: the brand, 2 purchases ago', 'recent item: 1 purchase ago')
        >>> in_words("brand_loyalty")
        'brand loyalty'
    """
    role, _, inside = label.removesuffix(")").partition("(")
    parts = (part.partition("=") for part in inside.split(", ") if part)
    return _said(role, {name: value for name, _, value in parts})


def _step(step: Any) -> str:
    if isinstance(step, Mapping):
        return _said(str(step["role"]), step.get("parameters", {}))
    return in_words(str(step))


def _said(role: str, parameters: Mapping[str, Any]) -> str:
    words = {}
    for name, value in parameters.items():
        key = next((key for key in (f"{role} {name}", name) if key in _WORDS), name)
        form = _ONE.get(key) if str(value) == "1" else None
        words[key] = form or _WORDS.get(key, f"{name} {{}}").format(value)
    told = [words[key] for key in sorted(words, key=list(_WORDS | words).index)]
    return role.replace("_", " ") + (f": {', '.join(told)}" if told else "")


def _cluster(place: int, found: Mapping[str, Any]) -> list[str]:
    best = " \u2192 ".join(in_words(label) for label in found["patterns"][0])
    name = f"{place} (chosen)" if place == 1 else str(place)
    estimates = [_estimate(found[key]) for key in ("recall", "ndcg")]
    return [name, best, f"{found['support']:.0%}", *estimates]


def _rival(name: str, found: Mapping[str, Any]) -> list[str]:
    gains = [_gain(found["gain_of_mined"]), _gain(found["ndcg_gain_of_mined"])]
    return [name, _estimate(found), *gains, "{choosing:,} + {fresh:,}".format(**found["calls"])]


def _told(value: Any) -> Any:
    return _estimate(value) if isinstance(value, Mapping) else value


def _estimate(found: Mapping[str, Any]) -> str:
    return "{} [{}, {}]".format(*(number(found[end]) for end in ("mean", "low", "high")))


def _gain(found: Mapping[str, Any]) -> str:
    return "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**found)
