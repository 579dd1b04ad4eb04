"""Chains out of replies: tolerant of what surrounds the JSON object, strict about the object.

A chain in another form is read as `lenient.py` says, and counts as mended. Any other unusable reply
is sent back with the reason, a bounded number of times, then rejected and counted. Every reply
stays with its outcome, used or not.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from scoter.errors import ConfigError, LanguageModelError
from scoter.protocols import LanguageModel
from scoter.reasoning.language.language_model import (
    Answer,
    Completion,
    CompletionRequest,
    answer_many,
    schema_text,
)
from scoter.reasoning.language.lenient import loosely, with_brackets
from scoter.reasoning.language.prompts import ask_again, clean
from scoter.types import Json

LONGEST_REPLY = 64_000  # characters that are read
MOST_STEPS = 12  # of a chain
MOST_STARTS = 64  # places where a JSON object is sought
_OPENS = re.compile(r'\{\s*"')
_TAGS = "think|thinking|thoughts?|reasoning|reflection|scratchpad"
_THOUGHTS = re.compile(rf"[<\[◁](/?)(?:{_TAGS})[>\]▷]", re.IGNORECASE)
_NO_OBJECT = (
    "the reply holds no complete JSON object with the keys steps and recommendations, each once"
)


def _one_line(text: str) -> str:
    if not (line := clean(text)):
        raise ValueError("a text is blank")
    return line


Role = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_one_line)]
ROLES = TypeAdapter(Annotated[list[Role], Field(max_length=MOST_STEPS)])
Name = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_one_line)]
Line = Annotated[str, Field(min_length=1, max_length=600), AfterValidator(_one_line)]


class ChainStep(BaseModel):
    """A step of a chain: what it does, and what it concludes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    role: Role
    text: Line


class ChainReply(BaseModel):
    """A chain as a language model writes it: ordered steps, then recommendations, best first."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    steps: Annotated[list[ChainStep], Field(min_length=1, max_length=MOST_STEPS)]
    recommendations: Annotated[list[Name], Field(min_length=1, max_length=20)]


class DirectReply(ChainReply):
    """Recommendations without reasoning: what a chain is compared with."""

    steps: Annotated[list[ChainStep], Field(max_length=0)] = []


class Unusable(LanguageModelError):
    """A reply without a valid chain; the message says why, so that it can be sent back."""


def chain_schema(
    roles: Sequence[str] | None = None,
    max_steps: int = MOST_STEPS,
    recommendations: int = 20,
    text_characters: int = 300,
) -> str:
    """The JSON schema of a chain, for `CompletionRequest.json_schema`.

    It is tighter than `ChainReply`, so that a small model comes to an end: at most `max_steps`
    steps, or one for each of `roles`. Empty `roles` leave the steps out. Stored replies are found
    by this text, so it must not change.
    """
    role = _text(80, text_characters)
    if roles is not None:
        role: _Schema = {"type": "string", "enum": list(dict.fromkeys(roles))}
        max_steps = len(roles)
    step = {"role": role, "text": _text(600, text_characters)}
    least = 1 if roles is None else max_steps
    steps = _list_of({"$ref": "#/$defs/ChainStep"}, least, max_steps)
    names = _list_of(_text(300, text_characters), 1, recommendations)
    if not max_steps:
        return schema_text(_object({"recommendations": names}))
    chain = _object({"steps": steps, "recommendations": names})
    return schema_text({"$defs": {"ChainStep": _object(step)}, **chain})


_Schema = dict[str, object]


def _text(longest: int, characters: int) -> _Schema:
    return {"maxLength": min(longest, characters), "minLength": 1, "type": "string"}


def _list_of(items: _Schema, least: int, most: int) -> _Schema:
    return {"items": items, "maxItems": most, "minItems": least, "type": "array"}


def _object(properties: dict[str, _Schema]) -> _Schema:
    strict: _Schema = {"additionalProperties": False, "properties": properties}
    return {**strict, "required": list(properties), "type": "object"}


def without_thoughts(text: str) -> str:
    """A reply without the model's thoughts, so that no draft is taken for the answer.

    A closing tag alone ends thoughts that the prompt's template opened; an opening one alone starts
    thoughts that were cut.

    >>> without_thoughts("soap?</think>Comb<think>or")
    'Comb'
    """
    kept: list[str] = []
    start, thinking = 0, False
    for tag in _THOUGHTS.finditer(text):
        if tag[1]:
            if not thinking:
                kept.clear()
            start, thinking = tag.end(), False
        elif not thinking:
            kept.append(text[start : tag.start()])
            thinking = True
    return "".join(kept if thinking else [*kept, text[start:]])


def parse_chain(text: str, roles: Sequence[str] | None = None) -> ChainReply:
    """The first valid chain in a reply, whatever thoughts, prose and code fences surround it.

    The steps must have the `roles`, in order; None takes any, an empty list no step at all. An
    `Unusable` says what is wrong with the first JSON object that looks like a chain.

    >>> step = '{"role": "recent", "text": "Soap."}'
    >>> parse_chain(f'Sure: {{"steps": [{step}], "recommendations": ["Comb"]}}').recommendations
    ['Comb']
    """
    answer = without_thoughts(text)
    if len(answer) > LONGEST_REPLY:
        raise Unusable(f"the reply has {len(answer)} characters; at most {LONGEST_REPLY} are read")
    if not answer.strip():
        thoughts = "the reply holds thoughts and no answer after them"
        raise Unusable(thoughts if text.strip() else "the reply is empty")
    kind = ChainReply if roles is None or len(roles) else DirectReply
    first_problem = ""
    for tree in json_objects(answer):
        try:
            chain = kind.model_validate(tree)
            named = [step.role for step in chain.steps]
            if roles is None or named == list(roles):
                return chain
            problem = f"the roles of the steps are {named}, but must be {list(roles)}"
        except ValidationError as error:
            places = ((".".join(map(str, row["loc"])), row["msg"]) for row in error.errors()[:3])
            problem = "; ".join(f"{place}: {message}" for place, message in places)
        if "steps" in tree or "recommendations" in tree:  # else prose, or part of a cut object
            first_problem = first_problem or problem
    raise Unusable(first_problem or _NO_OBJECT)


def read_loosely(text: str, roles: Sequence[str] | None = None) -> ChainReply | None:
    """The chain that a reply gives in another form than was asked for; None where there is none."""
    answer = without_thoughts(text)[:LONGEST_REPLY]
    objects = [*json_objects(answer), *json_objects(with_brackets(answer))]
    for tree in loosely(objects, answer, roles):
        try:
            return ChainReply.model_validate(tree)
        except ValidationError:
            continue
    return None


@dataclass(frozen=True)
class ChainOutcome:
    """What became of one request for a chain."""

    chain: ChainReply | None
    replies: tuple[Completion, ...]  # every reply, in order
    problems: tuple[str, ...]  # why replies were not used


def ask_for_chain(
    model: LanguageModel,
    request: CompletionRequest,
    roles: Sequence[str] | None = None,
    retries: int = 2,
) -> ChainOutcome:
    """Ask for a chain; an unusable reply is sent back with the reason, at most `retries` times.

    A reply in another form is not sent back; the reason why it is not as asked for is kept.
    """
    if retries < 0:
        raise ConfigError(f"retries = {retries}; it must be 0 or more")
    replies, problems, asked = [], [], request
    for _ in range(retries + 1):
        reply = model.complete(asked)
        replies.append(reply)
        try:
            return ChainOutcome(parse_chain(reply.text, roles), tuple(replies), tuple(problems))
        except Unusable as error:
            cut = " (it was cut at max_tokens)" if reply.finish_reason == "length" else ""
            problems.append(f"{error}{cut}")
            if (chain := read_loosely(reply.text, roles)) is not None:
                return ChainOutcome(chain, tuple(replies), tuple(problems))
            asked = ask_again(request, reply.text, problems[-1])
    return ChainOutcome(None, tuple(replies), tuple(problems))


def ask_for_chains(
    model: LanguageModel,
    requests: Iterable[CompletionRequest],
    roles: Sequence[str] | None = None,
    retries: int = 2,
) -> Iterator[Answer[ChainOutcome]]:
    """`ask_for_chain` for many requests at once, in no fixed order; see `answer_many`."""
    ask = partial(ask_for_chain, model, roles=roles, retries=retries)
    return answer_many(ask, requests, model.concurrency)


@dataclass(frozen=True)
class ChainCounts:
    """How requests ended: `requests` = `at_once` + `mended` + `rejected` + `unanswered`."""

    requests: int
    at_once: int  # the first reply held a valid chain
    mended: int  # a reply held one in another form, or a later one did after one was sent back
    rejected: int  # no reply did
    unanswered: int  # no reply came
    replies: int  # that came, used or not


def outcome_of(answer: Answer[ChainOutcome]) -> str:
    """How a request ended: 'valid' at once, 'mended', 'rejected' or 'unanswered'."""
    if answer.reply is None:
        return "unanswered"
    if answer.reply.chain is None:
        return "rejected"
    return "mended" if answer.reply.problems else "valid"


def count_chains(answers: Sequence[Answer[ChainOutcome]]) -> ChainCounts:
    ends = Counter(map(outcome_of, answers))
    replies = sum(len(answer.reply.replies) for answer in answers if answer.reply is not None)
    return ChainCounts(
        len(answers), ends["valid"], ends["mended"], ends["rejected"], ends["unanswered"], replies
    )


def json_objects(text: str) -> Iterator[dict[str, Json]]:
    """The JSON objects in a text, left to right, none within another; few places are tried."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    end = 0
    for _ in range(MOST_STARTS):
        if (start := _OPENS.search(text, end)) is None:
            return
        try:
            tree, end = decoder.raw_decode(text, start.start())
            yield tree
        except (ValueError, RecursionError):
            end = start.start() + 1


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
