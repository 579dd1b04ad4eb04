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

    >>> grammar_of('{"type": "array", "items": {"const": 3}, "maxItems": 2}').splitlines()[0]
    'root ::= "[" (("3") ("," ("3")){0,1})? "]"'
    """
    schema = json.loads(json_schema)
    return f"root ::= {_rule(schema, schema.get('$defs', {}))}\nchar ::= {_CHARACTER}"


def _rule(schema: object, known: dict[str, object]) -> str:
    match schema:
        case {"$ref": str(place)}:
            return _rule(known[place.rpartition("/")[2]], known)
        case {"const": value}:
            return _literal(json.dumps(value, ensure_ascii=False))
        case {"enum": list(values)}:
            return " | ".join(_literal(json.dumps(value, ensure_ascii=False)) for value in values)
        case {"type": "string", **sizes}:
            least, most = sizes.get("minLength", 0), sizes.get("maxLength", "")
            return f'"\\"" char{{{least},{most}}} "\\""'
        case {"type": "object", "properties": dict(properties)}:
            named = [(_literal(f"{json.dumps(name)}:"), properties[name]) for name in properties]
            return _listed("{", [f"{name} ({_rule(value, known)})" for name, value in named], "}")
        case {"type": "array", "prefixItems": list(items)}:
            return _listed("[", [f"({_rule(item, known)})" for item in items], "]")
        case {"type": "array", "items": item, **sizes}:
            least, most = sizes.get("minItems", 0), sizes.get("maxItems")
            more = f"{max(0, least - 1)},{'' if most is None else most - 1}"
            rule = f"({_rule(item, known)})"
            listed = f'{rule} ("," {rule}){{{more}}}'
            return f'"[" {listed if least else f"({listed})?"} "]"'
    problem = f"json_schema holds {json.dumps(schema)[:80]}, for which there is no grammar"
    raise ConfigError(f"{problem}; use --guided response_format")


def _listed(opens: str, rules: list[str], closes: str) -> str:
    return " ".join([_literal(opens), ' "," '.join(rules), _literal(closes)])


def _literal(text: str) -> str:
    """Text as a literal of the grammar."""
    return json.dumps(text, ensure_ascii=False)
