"""A run's reasoning pattern, made ready for its template: steps in words, tables and a picture."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from scoter.report.page import flat, number

# A parameter of a step (or of one role alone) in words, in the order in which they are read.
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
_SINGULAR = {
    "lag": "1 purchase ago",
    "history_summary count": "the last item",
    "window": "after the last item",
    "degrees": "in 1 degree of certainty",
}
_SHOWN = ("pattern", "clusters", "rivals", "picture_of", "provenance")
_FACTS = {
    "recall": "recall{} at fresh users",
    "ndcg": "ndcg{} at fresh users",
    "chosen_on": "{} where it was chosen",
    "support": "share of {} in its cluster",
    "distilled_by": "distilled by",
}


def described(mined: Mapping | None, picture: Path | None) -> dict[str, object] | None:
    """A run's pattern for the template; None where the run has no pattern."""
    if not mined:
        return None
    pattern, about = mined["pattern"], mined.get("provenance", {})
    points = "patterns" if mined.get("counts") is None else "chains"
    at = f"@{about['top_k']}" if "top_k" in about else ""
    chosen_on = f"{'ndcg' if points == 'patterns' else 'recall'}{at}"
    about_it = {"support": points, "chosen_on": chosen_on}
    facts = {
        name.format(about_it.get(key, at)): _fact(pattern[key])
        for key, name in _FACTS.items()
        if key in pattern
    }
    elsewhere = {"steps", "votes", "added", *_FACTS}
    facts |= {key: value for key, value in pattern.items() if key not in elsewhere}
    beside = {key: value for key, value in mined.items() if key not in _SHOWN}
    return {
        **_steps(pattern, at),
        "facts": flat(facts),
        "clusters": [_cluster(*pair) for pair in enumerate(mined.get("clusters", ()), 1)],
        "rivals": [_rival(name, rival) for name, rival in mined.get("rivals", {}).items()],
        "points": points,
        "first": "best pattern" if points == "patterns" else "medoid",
        "at": at,
        "mined": [pair for pair in flat(about | beside) if pair[1] not in ("", "none")],
        "picture": None if picture is None else base64.b64encode(picture.read_bytes()).decode(),
        "picture_of": mined.get("picture_of", points),
    }


def _steps(pattern: Mapping, at: str) -> dict[str, object]:
    """A row for each step: what it says, its votes, and what it adds, where these are known."""
    steps = [in_words(step) for step in pattern.get("steps", ())]
    columns = {
        "what it says": [f"{place}. {step}" for place, step in enumerate(steps, 1)],
        "votes of its cluster": [f"{vote:.0%}" for vote in pattern.get("votes", ())],
        f"adds to ndcg{at} over those before": [_gain(one) for one in pattern.get("added", ())],
    }
    known = {name: cells for name, cells in columns.items() if len(cells) == len(steps)}
    return {"columns": list(known), "steps": list(zip(*known.values(), strict=True))}


def in_brief(labels: Sequence[str]) -> list[str]:
    """Labels of steps in few words, or in full where two different ones would read alike.

    >>> in_brief(["recent_item(field=brand, lag=2)", "recommendation(count=1, rank=3, window=3)"])
    ['brand, 2 ago', 'item, rank 3']
    >>> in_brief(["history_summary(count=5)", "history_summary(count=9)", "nothing"])
    ['history summary: the last 5 items', 'history summary: the last 9 items', 'nothing']
    """
    short = {label: _brief(label) for label in labels}
    alike = Counter(short.values())
    return [in_words(label) if alike[short[label]] > 1 else short[label] for label in labels]


def _ladders(names: Sequence[str]) -> list[str]:
    """Neighbours that differ in their rank alone, as one.

    >>> _ladders(["brand, 2 ago", "item, rank 1", "item, rank 2", "item, rank 3"])
    ['brand, 2 ago', 'item, ranks 1 to 3']
    """
    joined: list[str] = []
    for of, group in groupby(names, key=lambda name: name.partition(", rank ")[0]):
        alike = list(group)
        ranks = [name.removeprefix(of).removeprefix(", rank ") for name in alike]
        ladder = len(ranks) > 1 and all(ranks)
        joined += [f"{of}, ranks {ranks[0]} to {ranks[-1]}"] if ladder else alike
    return joined


def _brief(label: str) -> str:
    role, values = _parts(label)
    if role == "recent_item" and "lag" in values:
        return f"{values.get('field', 'recent item')}, {values['lag']} ago"
    name = "item" if role == "recommendation" and "rank" in values else role.replace("_", " ")
    return f"{name}, rank {values['rank']}" if "rank" in values else name


def in_words(label: Mapping | str) -> str:
    """A step, or its label, in plain English.

    >>> in_words("recent_item(field=brand, lag=2)"), in_words("recent_item(lag=1)")
    ('recent item: the brand, 2 purchases ago', 'recent item: 1 purchase ago')
    >>> in_words("brand_loyalty"), in_words("near_in_words(count=1, rank=4)")
    ('brand loyalty', 'near in words: rank 4')
    """
    if isinstance(label, Mapping):
        return _phrase(str(label["role"]), label.get("parameters", {}))
    return _phrase(*_parts(label))


def _parts(label: str) -> tuple[str, dict[str, str]]:
    """The role of a label, and its parameters."""
    role, _, inside = label.removesuffix(")").partition("(")
    parts = (part.partition("=") for part in inside.split(", ") if part)
    return role, {name: value for name, _, value in parts}


def _phrase(role: str, parameters: Mapping[str, object]) -> str:
    words, parameters = {}, dict(parameters)
    if "rank" in parameters and str(parameters.get("count")) == "1":
        words["rank"] = f"rank {parameters.pop('rank')}"
        del parameters["count"]
    for name, value in parameters.items():
        key = next((key for key in (f"{role} {name}", name) if key in _WORDS), name)
        form = _SINGULAR.get(key) if str(value) == "1" else None
        words[key] = form or _WORDS.get(key, f"{name} {{}}").format(value)
    ordered = [words[key] for key in sorted(words, key=list(_WORDS | words).index)]
    return role.replace("_", " ") + (f": {', '.join(ordered)}" if ordered else "")


def _cluster(place: int, cluster: Mapping) -> list[str]:
    best = " \u2192 ".join(_ladders(in_brief(cluster["patterns"][0])))
    name = f"{place} (chosen)" if place == 1 else str(place)
    estimates = [_estimate(cluster[key]) for key in ("recall", "ndcg")]
    return [name, best, f"{cluster['support']:.0%}", *estimates]


def _rival(name: str, rival: Mapping) -> list[str]:
    gains = [_gain(rival["gain_of_mined"]), _gain(rival["ndcg_gain_of_mined"])]
    return [name, _estimate(rival), *gains, "{choosing:,} + {fresh:,}".format(**rival["calls"])]


def _gain(row: Mapping) -> str:
    return "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format_map(row)


def _fact(value: object) -> object:
    return _estimate(value) if isinstance(value, Mapping) else value


def _estimate(row: Mapping) -> str:
    return "{} [{}, {}]".format(*(number(row[end]) for end in ("mean", "low", "high")))
