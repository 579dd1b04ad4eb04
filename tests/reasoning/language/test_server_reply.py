"""Bodies as servers send them: only the text decides, and an answer that stands elsewhere is
named."""

import json

import pytest

from scoter.reasoning.language.language_model import CompletionRequest, Message
from scoter.reasoning.language.server_reply import TryAgain, error_message, read_body

CHAIN = json.dumps({"steps": [{"role": "likes", "text": "Soap."}], "recommendations": ["Comb"]})
REQUEST = CompletionRequest((Message("user", "x" * 400),), "some-model")


def body(choice: dict, **more: object) -> bytes:
    return json.dumps({"choices": [choice], **more}).encode()


@pytest.mark.parametrize(
    "more",
    [
        {"usage": None}, {"usage": {}}, {"usage": {"total_tokens": 15}}, {"usage": []},
        {"usage": "many"},
        {"usage": {"prompt_tokens": -1, "completion_tokens": "ten"}},
        {"id": None, "created": "now", "model": 7, "object": None},
        {"choices": [{"index": "a", "finish_reason": 3, "message": {"role": 5, "content": CHAIN}}]},
        {"choices": [{"message": {"content": CHAIN, "refusal": None, "tool_calls": None}}]},
    ],
)  # fmt: skip
def test_optional_fields_cost_no_reply_and_tokens_are_estimated(more: dict) -> None:
    raw = json.dumps({"choices": [{"message": {"content": CHAIN}}]} | more).encode()
    reply = read_body(raw)
    found = reply.completion(raw, REQUEST)
    assert (found.text, found.finish_reason) == (CHAIN, "")
    assert (reply.metered, reply.elsewhere) == (False, "")
    assert (found.prompt_tokens, found.completion_tokens) == (101, len(CHAIN) // 4 + 1)


def test_a_count_that_is_given_is_kept() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": None}
    raw = body({"message": {"content": CHAIN}}, usage=usage)
    reply = read_body(raw)
    assert (reply.metered, reply.completion(raw, REQUEST).prompt_tokens) == (False, 10)
    whole = read_body(body({"message": {"content": CHAIN}}, usage=usage | {"completion_tokens": 0}))
    assert (whole.metered, whole.completion(raw, REQUEST).completion_tokens) == (True, 0)


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "text", "text": CHAIN}],
        [
            {"type": "text", "text": CHAIN[:9]},
            {"type": "image_url"},
            {"type": "text", "text": CHAIN[9:]},
        ],
        [CHAIN[:9], CHAIN[9:], None],
    ],
)
def test_content_in_parts_is_put_together(parts: list) -> None:
    assert read_body(body({"message": {"content": parts}})).text == CHAIN


def stream(*pieces: dict, end: bytes = b"data: [DONE]\n\n") -> bytes:
    return b"".join(b"data: " + json.dumps(piece).encode() + b"\n\n" for piece in pieces) + end


def test_a_stream_that_nobody_asked_for_is_put_together_if_it_is_whole() -> None:
    pieces = [
        {"choices": [{"delta": {"role": "assistant", "content": None}}]},
        {"choices": [{"delta": {"content": CHAIN[:20]}}]},
        {"choices": [{"delta": {"content": CHAIN[20:]}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 5}},
    ]
    for raw in (stream(*pieces), stream(*pieces, end=b""), stream(*pieces).replace(b"\n", b"\r\n")):
        found = read_body(raw).completion(raw, REQUEST)
        assert (found.text, found.finish_reason, found.completion_tokens) == (CHAIN, "stop", 5)
    for cut in (stream(*pieces[:2], end=b""), stream(*pieces[:2])[:70], stream([], 3), b"data: x"):
        with pytest.raises(TryAgain) as caught:
            read_body(cut)
        assert caught.value.cause == "malformed"


@pytest.mark.parametrize(
    ("message", "reason", "said"),
    [
        (
            {"reasoning_content": CHAIN},
            "stop",
            "the text is in `reasoning_content`; start the server",
        ),
        (
            {"reasoning": CHAIN},
            "length",
            "in `reasoning`; the thoughts took all tokens: raise max_tokens",
        ),
        (
            {"tool_calls": [{"function": {"arguments": CHAIN}}]},
            "tool_calls",
            "is a tool call; serve the",
        ),
        ({"function_call": {"arguments": CHAIN}}, "stop", "the answer is a tool call"),
        (
            {"refusal": "I cannot help."},
            "stop",
            "the model refuses: 'I cannot help.'; name another",
        ),
        ({}, "content_filter", "the server's filter withheld it"),
        ({}, "stop", ""),
    ],
)
def test_empty_content_says_where_the_answer_is(message: dict, reason: str, said: str) -> None:
    for content in ({}, {"content": None}, {"content": " "}, {"content": []}):
        found = read_body(body({"message": message | content, "finish_reason": reason}))
        assert said in found.elsewhere
        assert bool(found.elsewhere) == bool(said)
    assert read_body(body({"message": message | {"content": CHAIN}})).elsewhere == ""


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"<!DOCTYPE html><html>", "it is a web page; check that the address is that of the API"),
        (b'{"error": {"message": "no credit", "code": 402}}', "with status 200: no credit"),
        (b'{"error": "no credit", "choices": []}', "with status 200: no credit"),
        (b'{"choices": []}', "its schema is wrong"),
        (b"42", "its schema is wrong"),
    ],
)
def test_what_is_no_completion_says_what_it_is(raw: bytes, said: str) -> None:
    with pytest.raises(TryAgain) as caught:
        read_body(raw)
    assert said in str(caught.value)


def test_any_encoding_of_json_is_read() -> None:
    raw = body({"message": {"content": "Crème"}}).decode().encode("utf-16")
    assert read_body(raw).completion(raw, REQUEST).text == "Crème"


def test_the_words_of_an_error_are_found_wherever_they_lie() -> None:
    assert error_message({"object": "error", "message": "a\n b"}) == "a b"
    assert (
        error_message({"detail": [{"loc": ["body"], "msg": "field required"}]}) == "field required"
    )
    assert error_message({"error": True, "message": "bad"}) == "bad"
    deep: dict = {"message": "x"}
    for _ in range(500):
        deep = {"error": deep}
    assert [error_message(odd) for odd in (None, 3, [], {}, deep)] == [""] * 5
