"""Users of an explorer, made ready for their template.

An entry has `user`, `history` (titles, oldest first), `steps` (`role`, `sentences`), `truth` (a
title) and `recommendations` (method -> items with `title`, `score`). Entries of
`scoter.serving.explorer` also say of each item whether it is the `truth` and what each step
contributed, and have `read` (method -> gate, attention, step labels, the truth's contributions and
rank).
"""

from collections.abc import Mapping, Sequence


def shoppers(entries: Sequence[Mapping]) -> list[dict[str, object]]:
    """One dict per user; `found_by` names the methods that recommended what came next.

    Example:
        >>> listed = [{"title": "soap", "score": -1.0}, {"title": "comb", "score": -2.0}]
        >>> entry = {"user": "u7", "history": ["gel"], "steps": [], "truth": "comb"}
        >>> (user,) = shoppers([entry | {"recommendations": {"tiger": listed, "scoter": []}}])
        >>> user["found_by"], [item["truth"] for item in user["recommendations"]["tiger"]]
        (['tiger'], [False, True])
    """
    return [_shopper(entry) for entry in entries]


def _shopper(entry: Mapping) -> dict[str, object]:
    plain, truth = {"contributions": None}, entry["truth"]
    lists = {
        method: [{"truth": item["title"] == truth, **plain, **item} for item in items]
        for method, items in entry["recommendations"].items()
    }
    read = {name: _scaled(part, lists[name]) for name, part in entry.get("read", {}).items()}
    found_by = [name for name, items in lists.items() if any(item["truth"] for item in items)]
    return {**entry, "recommendations": lists, "read": read, "found_by": found_by}


def _scaled(read: Mapping, items: Sequence[Mapping]) -> dict[str, object]:
    """The same with `largest`, the contribution that the longest bar stands for."""
    values = [value for item in items for value in item["contributions"] or ()]
    sizes = [abs(value) for value in (*values, *(read["truth"] or ()))]
    return {**read, "largest": max([1e-9, *sizes])}
