"""Chains out of replies: what surrounds them does not matter, what they are does; bad ones are
counted and kept."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import ScriptedServer

from scoter.errors import ConfigError
from scoter.reasoning.language.language_model import Completion, CompletionRequest, Message
from scoter.reasoning.language.openai_model import OpenAIModel
from scoter.reasoning.language.prompts import clean
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.language.server import ServerConfig
from scoter.reasoning.language.structured import (
    ChainReply,
    Unusable,
    ask_for_chain,
    ask_for_chains,
    chain_schema,
    count_chains,
    parse_chain,
    read_loosely,
)

GOOD = {
    "steps": [{"role": "recent", "text": "Soap."}, {"role": "next", "text": "A comb."}],
    "recommendations": ["Comb"],
}
BAD = {
    "no JSON": "I would buy a comb.",
    "cut": json.dumps(GOOD)[:-10],
    "empty": "",
    "no steps": json.dumps({**GOOD, "steps": []}),
    "no recommendation": json.dumps({"steps": GOOD["steps"]}),
    "a further key": json.dumps({**GOOD, "mood": "good"}),
    "a number for a text": json.dumps({**GOOD, "recommendations": [3]}),
    "a blank text": json.dumps({**GOOD, "recommendations": ["\u200b \n"]}),
    "a list": json.dumps([GOOD["steps"]]),
    "a key twice": '{"steps": [{"role": "a", "text": "b"}], "steps": [], "recommendations": ["c"]}',
    "deep": '{"steps": ' + "[" * 50_000,
    "too many": json.dumps({**GOOD, "recommendations": ["x"] * 21}),
    "too long": json.dumps({**GOOD, "recommendations": ["x" * 301]}),
}
TEXTS = st.text(min_size=1, max_size=60).filter(lambda text: bool(clean(text)))
CHAINS = st.builds(
    lambda steps, recommendations: {
        "steps": [{"role": role, "text": text} for role, text in steps],
        "recommendations": recommendations,
    },
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6),
    st.lists(TEXTS, min_size=1, max_size=6),
)
AROUND: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: f"```json\n{text}\n```",
    lambda text: f"Sure! Here {{as you asked}} it is:\n\n{text}\n\nI hope that helps {{}}.",
    lambda text: f'First {{"steps": []}} then ```\n{text}```',
    lambda text: f"<think>{{{{ hmm }}}}</think>\ufeff{text}",
]


@given(CHAINS, st.sampled_from(AROUND), st.booleans())
def test_a_chain_is_found_whatever_surrounds_it(
    tree: dict, around: Callable[[str], str], ascii_only: bool
) -> None:
    chain = parse_chain(around(json.dumps(tree, ensure_ascii=ascii_only)))
    assert [(step.role, step.text) for step in chain.steps] == [
        (clean(step["role"]), clean(step["text"])) for step in tree["steps"]
    ]
    assert chain.recommendations == [clean(name) for name in tree["recommendations"]]


DRAFT = json.dumps({**GOOD, "recommendations": ["Draft"]})


@pytest.mark.parametrize(
    "before",
    [
        f"<think>First: {DRAFT} no.</think>\n",
        f"<THINK>{DRAFT}</THINK>",
        f"<thinking>{DRAFT}</thinking> and <reasoning>{DRAFT}</reasoning>",
        f"[THINK]{DRAFT}[/THINK]",
        f"◁think▷{DRAFT}◁/think▷",
        f"{DRAFT}, or not?\n</think>\n",  # the opening tag stands in the prompt
        f"<think>a <think>b</think> {DRAFT} </think>",
        f"<think>I may write <think> here: {DRAFT}</think>",
        f"<think>{'set {x} ' * 100}</think>",
        f"<think>{'so long ' * 20_000}</think>",
        "Set {x}. " * 100,
    ],
)
@pytest.mark.parametrize("after", ["", f"<think>or {DRAFT}</think>", f"<think>or {DRAFT}"])
def test_a_draft_among_thoughts_is_never_the_chain(before: str, after: str) -> None:
    answer = json.dumps(GOOD)
    assert parse_chain(f"{before}{answer}{after}").recommendations == ["Comb"]


def test_thoughts_without_an_answer_are_named() -> None:
    for text in (f"<think>{DRAFT}", f"{DRAFT}</think>", f"<Reasoning>{DRAFT}</reasoning>\n"):
        with pytest.raises(Unusable, match="the reply holds thoughts and no answer after them"):
            parse_chain(text)
    with pytest.raises(Unusable, match="the reply is empty"):
        parse_chain(" ")


@pytest.mark.parametrize("piece", ["<think>", "</think>", "<think>{", '<think>{"</think>'])
def test_thoughts_of_any_length_are_dropped_quickly(piece: str) -> None:
    start = time.process_time()
    assert parse_chain(f"{piece * 200_000}</think>{json.dumps(GOOD)}").recommendations == ["Comb"]
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([GOOD]),
        f"```json\n{json.dumps(GOOD)}\n```",
        f"{json.dumps(GOOD)}\n{DRAFT}",
        f'{{"note": 1}} {json.dumps(GOOD)}',
    ],
)
def test_the_first_chain_counts_whatever_else_is_there(text: str) -> None:
    assert parse_chain(text).recommendations == ["Comb"]


def test_a_trailing_comma_is_sent_back() -> None:
    with pytest.raises(Unusable, match="no complete JSON object"):
        parse_chain(json.dumps(GOOD)[:-1] + ",}")


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_chain_is_not_made_one(name: str) -> None:
    with pytest.raises(Unusable):
        parse_chain(BAD[name])


@given(st.text('{}[]":,\\ \nabé1', max_size=200))
def test_any_text_gives_a_chain_or_a_reason(text: str) -> None:
    try:
        assert isinstance(parse_chain(text), ChainReply)
        return
    except Unusable as error:
        reason = str(error)
    assert reason


@pytest.mark.parametrize("piece", ["{", '{"a":', '{"a":[', '{"a":"', '{"a":1,', "[{", '\\"{'])
def test_long_nonsense_is_read_quickly(piece: str) -> None:
    start = time.process_time()
    with pytest.raises(Unusable):
        parse_chain(piece * (60_000 // len(piece)))
    with pytest.raises(Unusable, match="at most 64000 are read"):
        parse_chain(piece * 100_000)
    assert time.process_time() - start < 2


def test_reasons_name_the_place() -> None:
    with pytest.raises(Unusable, match=r"steps\.0\.text: Field required"):
        parse_chain('{"steps": [{"role": "a"}], "recommendations": ["b"]}')
    with pytest.raises(Unusable, match="no complete JSON object"):
        parse_chain(json.dumps(GOOD)[:-3])
    with pytest.raises(
        Unusable, match=r"roles of the steps are \['recent', 'next'\], but must be \['next'\]"
    ):
        parse_chain(json.dumps(GOOD), roles=["next"])
    assert parse_chain(json.dumps(GOOD), roles=["recent", "next"]) == parse_chain(json.dumps(GOOD))


def test_the_schema_asks_for_no_more_than_the_parser_takes() -> None:
    schema = json.loads(chain_schema(roles=["a", "b", "a"], recommendations=4))
    assert (
        schema["properties"]["steps"]["minItems"] == schema["properties"]["steps"]["maxItems"] == 3
    )
    assert schema["$defs"]["ChainStep"]["properties"]["role"]["enum"] == ["a", "b"]
    assert schema["properties"]["recommendations"]["maxItems"] == 4
    assert (
        schema["additionalProperties"]
        is schema["$defs"]["ChainStep"]["additionalProperties"]
        is False
    )
    assert (
        schema["required"] == list(schema["properties"]) == ["steps", "recommendations"]
    )  # reasons first
    assert schema["$defs"]["ChainStep"]["properties"]["text"]["maxLength"] == 300
    assert "description" not in chain_schema()


class Scripted:
    concurrency = 1

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = list(texts), []

    def complete(self, request: CompletionRequest) -> Completion:
        self.asked.append(request)
        return Completion(self.texts[len(self.asked) - 1], "length", 1, 1, "raw")


ASK = CompletionRequest((Message("user", "Write a chain."),), "some-model")


def test_a_bad_reply_is_sent_back_with_its_reason_a_bounded_number_of_times() -> None:
    model = Scripted(BAD["no steps"], BAD["no JSON"], json.dumps(GOOD))
    outcome = ask_for_chain(model, ASK, retries=2)
    assert outcome.chain is not None
    assert [reply.text for reply in outcome.replies] == model.texts
    assert len(outcome.problems) == 2
    assert "steps: List should have at least 1 item" in model.asked[1].messages[-1].content
    assert "no complete JSON object" in model.asked[2].messages[-1].content
    assert "cut at max_tokens" in model.asked[2].messages[-1].content
    assert len({request.key for request in model.asked}) == 3
    rejected = ask_for_chain(Scripted(*[BAD["no JSON"]] * 2), ASK, retries=1)
    assert (rejected.chain, len(rejected.replies), len(rejected.problems)) == (None, 2, 2)
    with pytest.raises(ConfigError, match="retries = -1"):
        ask_for_chain(model, ASK, retries=-1)


@pytest.mark.timeout(120)
def test_no_chain_is_lost_or_doubled_whatever_the_server_does(tmp_path: Path) -> None:
    """Each prompt has a script of HTTP behaviours and one of reply texts; the counts must be
    exactly what these say."""
    rng = np.random.default_rng(1)
    nuisances = ["429:0.02", "500", "503", "cut", "hang up", "malformed", "empty", "wrong schema"]
    bad = [text if read_loosely(text) is None else BAD["no JSON"] for text in BAD.values()]
    texts = {
        f"shopper {n}": [bad[k] for k in rng.choice(len(bad), rng.integers(0, 4))]
        for n in range(40)
    }
    http = {
        name: {int(k): nuisances[rng.integers(8)] for k in rng.choice(5, rng.integers(0, 3))}
        for name in texts
    }
    http["shopper 7"] = dict.fromkeys(range(50), "500")  # never answered
    served: dict[str, int] = dict.fromkeys(texts, 0)
    attempts: dict[str, int] = dict.fromkeys(texts, 0)

    def plan(prompt: str, _: int) -> str:
        name = prompt.split("\n")[0]
        attempts[name] += 1
        return http[name].get(attempts[name] - 1, "duplicated" if attempts[name] % 2 else "ok")

    def reply(prompt: str, _: int) -> str:
        name = prompt.split("\n")[0]
        number = served[name]
        served[name] += http[name].get(attempts[name] - 1) is None
        return (
            texts[name][number]
            if number < len(texts[name])
            else json.dumps({**GOOD, "recommendations": [name]})
        )

    requests = [CompletionRequest((Message("user", name),), "some-model") for name in texts]
    with (
        ScriptedServer(plan, reply) as server,
        OpenAIModel(
            ServerConfig(
                server.base_url, concurrency=5, first_pause=0.002, attempts=4, timeout=20.0
            )
        ) as model,
    ):
        answers = list(ask_for_chains(RequestStore(tmp_path).recording(model), requests, retries=2))
        usage = model.usage
    assert sorted(answer.index for answer in answers) == list(range(40))
    counts = count_chains(answers)
    bad_replies = [len(texts[name]) for name in texts if name != "shopper 7"]
    assert (counts.requests, counts.unanswered) == (40, 1)
    assert counts.at_once == bad_replies.count(0)
    assert counts.mended == bad_replies.count(1) + bad_replies.count(2)
    assert counts.rejected == bad_replies.count(3) > 0
    assert counts.replies == usage.replies == sum(min(3, 1 + count) for count in bad_replies)
    assert usage.attempts == sum(attempts.values()) == usage.replies + sum(usage.causes.values())
    assert (usage.failures, usage.causes["server error"] >= 4) == (1, True)
    for answer in answers:
        name = f"shopper {answer.index}"
        if answer.reply is not None:
            assert [reply.text for reply in answer.reply.replies[:-1]] == texts[name][
                : len(answer.reply.replies) - 1
            ]
            if answer.reply.chain is not None:
                assert answer.reply.chain.recommendations == [name]
    replayed = list(
        ask_for_chains(
            RequestStore(tmp_path).replay(),
            [r for r in requests if r is not requests[7]],
            retries=2,
        )
    )
    assert count_chains(replayed).replies == counts.replies
    assert len(RequestStore(tmp_path)) == counts.replies


def test_recommendations_without_reasoning() -> None:
    schema = json.loads(chain_schema(roles=(), recommendations=3))
    assert list(schema["properties"]) == schema["required"] == ["recommendations"]
    assert parse_chain('{"recommendations": ["Comb"]}', roles=()) == parse_chain(
        '{"steps": [], "recommendations": ["Comb"]}', ()
    )
    with pytest.raises(Unusable, match="steps"):
        parse_chain(
            '{"steps": [{"role": "a", "text": "b"}], "recommendations": ["Comb"]}', roles=()
        )
    with pytest.raises(Unusable, match=r"steps: Field required"):
        parse_chain('{"recommendations": ["Comb"]}')
