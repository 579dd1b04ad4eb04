"""Chains in the other forms that small models write: nothing is added, only the form is mended.

Steps may be strings in order, a mapping of role to text, or labelled lines without any JSON; the
recommendations a list, a text, or the lines below that word. `structured.py` reads a reply so only
where it holds no chain of the asked form, and counts it as mended.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

NAMES = "recommendations"
_BULLET = re.compile(r"^[\s>#*•\"-]*(?:\d+\s*[.):]\s*|step \d+\W+)?[\s*\"'`]*", re.IGNORECASE)
_LABEL = re.compile(r"([^:]{1,80}?)[\s*\"'`]*:[\s*\"'`]*(.*)", re.DOTALL)
_BETWEEN = re.compile(r'"[\]}\s]+,\s*"recommendations"\s*:')
_ENDS = ' \t*"`,'
Pairs = list[tuple[str, str]]
"""Labels and texts of steps in order; a step without a label has ''."""


def loosely(
    objects: Iterable[Mapping[str, object]], answer: str, roles: Sequence[str] | None
) -> list[object]:
    """What `answer`, or a JSON object in it, may mean: chains of the asked form, best first.

    Where no roles are asked for, None, each step must name its own.

    >>> loosely([{"steps": ["Soap."], "recommendations": "a comb; a brush"}], "", ["likes"])
    [{'steps': [{'role': 'likes', 'text': 'Soap.'}], 'recommendations': ['a comb', 'a brush']}]
    >>> loosely([], "**Likes:** soap\\nRecommendations:\\n1. a comb", ["likes"])
    [{'steps': [{'role': 'likes', 'text': 'soap'}], 'recommendations': ['a comb']}]
    """
    read = [_of_object(tree, roles) for tree in objects]
    read.append(_of_lines(answer.splitlines(), roles or ()))
    chains: list[object] = []
    for pairs, names in read:
        asked = [label for label, _ in pairs] if roles is None else roles
        texts = _in_order(pairs, asked)
        if texts and names:
            steps: list[object] = [
                {"role": role, "text": text} for role, text in zip(asked, texts, strict=True)
            ]
            chains.append({"steps": steps, NAMES: [*names]})
    return chains


def with_brackets(answer: str) -> str:
    """The same reply with the brackets that must stand between steps and recommendations.

    >>> with_brackets('{"steps":[{"role":"a","text":"b"}]],"recommendations":["c"]}')
    '{"steps":[{"role":"a","text":"b"}],"recommendations":["c"]}'
    """
    return _BETWEEN.sub('"}],"recommendations":', answer)


def _of_object(tree: Mapping[str, object], roles: Sequence[str] | None) -> tuple[Pairs, list[str]]:
    steps = tree.get("steps", {name: tree[name] for name in tree if name != NAMES})
    if isinstance(steps, dict):
        steps = [{name: value} for name, value in steps.items()]
    listed = steps if isinstance(steps, list) else []
    return [_pair(step, roles) for step in listed], _names(tree.get(NAMES))


def _pair(step: object, roles: Sequence[str] | None) -> tuple[str, str]:
    match step:
        case str():
            label, text = _labelled(step)
            known = roles is None or any(_abridged(label, role) for role in roles)
            return (label, text) if known else ("", step)
        case {"role": str(role), "text": str(text)}:
            return role, text
        case dict() if len(step) == 1:
            ((label, value),) = step.items()
            inner = value.get("text") if isinstance(value, dict) else value
            return label, inner if isinstance(inner, str) else ""
    return "", ""


def _labelled(line: str) -> tuple[str, str]:
    bare = _BULLET.sub("", line, count=1)
    match = _LABEL.fullmatch(bare)
    return (match[1], match[2].rstrip(_ENDS)) if match else ("", bare.rstrip(_ENDS))


def _names(value: object) -> list[str]:
    if isinstance(value, str):
        parts: list[object] = [*re.split(r"\s*[;\n]\s*", value)]
        value = parts if len(parts) > 1 else [*value.split(",")]
    found = []
    for name in value if isinstance(value, list) else []:
        if isinstance(name, dict):
            name = next((part for part in name.values() if isinstance(part, str)), "")
        if isinstance(name, str):
            found.append(_BULLET.sub("", name, count=1).rstrip(_ENDS))
    return list(filter(None, found))


def _of_lines(lines: Sequence[str], roles: Sequence[str]) -> tuple[Pairs, list[str]]:
    """Lines that start with one of the roles, and what follows the word recommendations."""
    known, pairs = {_plain(role) for role in roles}, []
    for number, line in enumerate(lines):
        label, text = _labelled(line)
        if _plain(label or text).startswith("recommendation"):
            return pairs, _names(text if label and text else "\n".join(lines[number + 1 :]))
        if _plain(label) in known:
            pairs.append((label, text))
    return pairs, []


def _in_order(pairs: Pairs, roles: Sequence[str]) -> list[str] | None:
    """The texts of the roles: by label, or in order where the labels are absent or abridged."""
    by_label: dict[str, list[str]] = {}
    for label, text in reversed(pairs):
        by_label.setdefault(_plain(label), []).append(text)
    named = [(by_label.get(_plain(role)) or [""]).pop() for role in roles]  # the first that is left
    if all(named):
        return named
    fits = len(pairs) == len(roles) and all(
        text and (not label or _abridged(label, role))
        for (label, text), role in zip(pairs, roles, strict=True)
    )
    return [text for _, text in pairs] if fits else None


def _abridged(label: str, role: str) -> bool:
    return bool(_plain(label)) and _plain(role).startswith(_plain(label))


def _plain(label: str) -> str:
    return "".join(filter(str.isalnum, label.lower()))
