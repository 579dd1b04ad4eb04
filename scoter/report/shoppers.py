"""Users of an explorer, made ready for their template: where the truth stands in each list, and how
long each bar is.

An entry has `user`, `history` (titles, oldest first), `steps` (`role`, `sentences`), `truth` (a
title) and `recommendations` (method -> items with `title`, `score`). Entries of
`scoter.serving.explorer` also say of each item whether it is the `truth` and what each step
contributed to it, and have `read` (method -> gate, attention, step labels, the truth's
contributions and rank).
"""

from collections.abc import Mapping, Sequence
from typing import Any


def shoppers(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One dict for each user; `found_by` names the methods that recommended what came next.

    Example:
        >>> lists = {
        ...     "tiger": [{"title": "soap", "score": -1.0}, {"title": "comb", "score": -2.0}],
        ...     "scoter": [],
        ... }
        >>> entry = {
        ...     "user": "u7",
        ...     "history": ["gel"],
        ...     "steps": [],
        ...     "truth": "comb",
        ...     "recommendations": lists,
        ... }
        >>> (one,) = shoppers([entry])
        >>> one["found_by"], [item["truth"] for item in one["recommendations"]["tiger"]]
        (['tiger'], [False, True])
    """
    found = []
    for entry in entries:
        lists = {
            method: [
                {"truth": item["title"] == entry["truth"], "contributions": None, **item}
                for item in listed
            ]
            for method, listed in entry["recommendations"].items()
        }
        read = {
            method: _scaled(one, lists[method]) for method, one in entry.get("read", {}).items()
        }
        found_by = [
            method for method, listed in lists.items() if any(item["truth"] for item in listed)
        ]
        found.append({**entry, "recommendations": lists, "read": read, "found_by": found_by})
    return found


def _scaled(read: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same with `largest`, the contribution that the longest bar stands for."""
    every = [value for item in items for value in item["contributions"] or ()] + list(
        read["truth"] or ()
    )
    return {**read, "largest": max([1e-9, *(abs(value) for value in every)])}
