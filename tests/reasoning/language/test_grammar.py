"""Grammars of schemas, read as regular expressions: the compact texts of the schema, no others."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoter.errors import ConfigError
from scoter.reasoning.chains.requests import WritingConfig, chain_request, small_model
from scoter.reasoning.language.grammar import grammar_of
from scoter.reasoning.language.openai_model import chat_arguments
from scoter.reasoning.language.server import ServerConfig
from scoter.reasoning.language.structured import chain_schema
from scoter.types import ReasoningPattern, Step

TOKENS = re.compile(r'"((?:[^"\\]|\\.)*)"|(\[(?:[^\]\\]|\\.)*\])|([a-z]+\d*)|([(){}|?,]|\d+)|\s+')
NAMED = ReasoningPattern((Step("recent_item", {"lag": 1}), Step('the "need"')))


def as_regex(grammar: str) -> re.Pattern[str]:
    rules = dict(line.split(" ::= ") for line in grammar.splitlines())

    def translated(rule: str) -> str:
        parts = []
        for literal, group, name, sign in TOKENS.findall(rule):
            text = re.escape(json.loads(f'"{literal}"')) if literal else group or sign
            parts.append(f"(?:{translated(rules[name])})" if name else text)
        return "".join(parts)

    return re.compile(translated(rules["root"]))


@given(st.lists(st.text(min_size=1, max_size=20), min_size=4, max_size=4), st.integers(0, 1))
def test_the_compact_texts_of_a_chain_and_no_others(texts: list[str], ordered: int) -> None:
    config = WritingConfig("m", schema=("any", "ordered")[ordered], recommendations=2)
    matches = as_regex(grammar_of(chain_request(["Soap"], NAMED, config).json_schema)).fullmatch
    roles = [step.label() for step in NAMED.steps]
    steps = [{"role": role, "text": text} for role, text in zip(roles, texts, strict=False)]
    chain = {"steps": steps, "recommendations": texts[2:]}
    assert matches(json.dumps(chain, separators=(",", ":")))
    assert not matches(json.dumps(chain))
    assert not matches(json.dumps(chain, indent=1))
    for wrong in (
        {**chain, "recommendations": []},
        {**chain, "recommendations": texts[:3]},
        {**chain, "steps": steps[:1]},
        {**chain, "steps": [{"role": "mood", "text": "good"}, steps[1]]},
        {"recommendations": texts[2:], "steps": steps},
        {**chain, "steps": [{**steps[0], "text": ""}, steps[1]]},
    ):
        assert not matches(json.dumps(wrong, separators=(",", ":")))
    swapped = json.dumps({**chain, "steps": steps[::-1]}, separators=(",", ":"))
    assert bool(matches(swapped)) is not bool(ordered)


def test_each_server_gets_the_form_that_it_reads() -> None:
    request = chain_request(["Soap"], NAMED, small_model("m"))
    grammar, schema = grammar_of(request.json_schema), json.loads(request.json_schema)
    sent = {
        way: chat_arguments(request, ServerConfig(guided=way))
        for way in ("response_format", "llama.cpp", "vllm")
    }
    assert sent["response_format"]["response_format"]["json_schema"]["schema"] == schema
    assert sent["llama.cpp"]["grammar"] == sent["vllm"]["structured_outputs"]["grammar"] == grammar
    assert all(
        ("response_format" in body) is (way == "response_format") for way, body in sent.items()
    )
    free = grammar_of(chain_schema(max_steps=2, recommendations=2, text_characters=9))
    assert as_regex(free).fullmatch('{"steps":[{"role":"a","text":"b"}],"recommendations":["c"]}')
    with pytest.raises(ConfigError, match="no grammar; use --guided response_format"):
        grammar_of('{"type": "number"}')
