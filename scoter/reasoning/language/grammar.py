"""JSON schemas as grammars (GBNF, read by llama.cpp and vLLM) that leave no room for white space.

A server's own grammar for a schema lets a model indent its reply: up to a third of the tokens. Only
what the schemas of chains are made of is known here; anything else is refused.
"""

import json
from functools import lru_cache

from scoter.errors import ConfigError

_CHARACTER = r'[^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})'


@lru_cache(maxsize=16)
def grammar_of(json_schema: str) -> str:
    """The grammar of the compact JSON texts of a schema, with properties in their order.

    What repeats is a rule of its own: llama.cpp writes repetitions out, and refuses a grammar in
    which long ones stand within each other.

    >>> grammar_of('{"type": "array", "items": {"const": 3}}').splitlines()[:2]
    ['root ::= "[" (part1 ("," part1){0,})? "]"', 'part1 ::= "3"']
    """
    schema = json.loads(json_schema)
    grammar = _Grammar(schema.get("$defs", {}))
    root = f"root ::= {grammar.rule(schema)}"
    return "\n".join([root, *grammar.rules, f"char ::= {_CHARACTER}"])


class _Grammar:
    def __init__(self, known: dict[str, object]) -> None:
        self.known, self.rules = known, list[str]()
        self._names: dict[str, str] = {}

    def named(self, schema: object) -> str:
        """The name of a rule for `schema`; equal rules have one name."""
        rule = self.rule(schema)
        if rule not in self._names:
            self._names[rule] = f"part{len(self.rules) + 1}"
            self.rules.append(f"{self._names[rule]} ::= {rule}")
        return self._names[rule]

    def rule(self, schema: object) -> str:
        match schema:
            case {"$ref": str(place)}:
                return self.rule(self.known[place.rpartition("/")[2]])
            case {"const": value}:
                return _literal(json.dumps(value, ensure_ascii=False))
            case {"enum": list(values)}:
                return " | ".join(
                    _literal(json.dumps(value, ensure_ascii=False)) for value in values
                )
            case {"type": "string", **sizes}:
                least, most = sizes.get("minLength", 0), sizes.get("maxLength", "")
                return f'"\\"" char{{{least},{most}}} "\\""'
            case {"type": "object", "properties": dict(properties)}:
                named = [
                    (_literal(f"{json.dumps(name)}:"), properties[name]) for name in properties
                ]
                return _listed("{", [f"{name} {self.named(value)}" for name, value in named], "}")
            case {"type": "array", "prefixItems": list(items)}:
                return _listed("[", [self.named(item) for item in items], "]")
            case {"type": "array", "items": item, **sizes}:
                least, most = sizes.get("minItems", 0), sizes.get("maxItems")
                more = f"{max(0, least - 1)},{'' if most is None else most - 1}"
                name = self.named(item)
                listed = f'{name} ("," {name}){{{more}}}'
                return f'"[" {listed if least else f"({listed})?"} "]"'
        problem = f"json_schema holds {json.dumps(schema)[:80]}, for which there is no grammar"
        raise ConfigError(f"{problem}; use --guided response_format")


def _listed(opens: str, rules: list[str], closes: str) -> str:
    return " ".join([_literal(opens), ' "," '.join(rules), _literal(closes)])


def _literal(text: str) -> str:
    """Text as a literal of the grammar."""
    return json.dumps(text, ensure_ascii=False)
