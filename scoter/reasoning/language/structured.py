"""Chains out of replies: tolerant of what surrounds the JSON object, strict about the object
itself.

A reply that cannot be used is asked for again with the reason appended, a bounded number of times,
and then rejected and counted. Every reply stays with its outcome, used or not.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from scoter.errors import ConfigError, LanguageModelError
from scoter.reasoning.language.language_model import (
    Answer,
    Completion,
    CompletionRequest,
    LanguageModel,
    answer_many,
    schema_text,
)
from scoter.reasoning.language.prompts import PROMPT_VERSION, ask_again, clean
from scoter.types import ReasoningChain, ReasoningPattern, Step

LONGEST_REPLY = 64_000
MOST_STARTS = 64
_OPENS = re.compile(r'\{\s*"')
_TAGS = "think|thinking|thoughts?|reasoning|reflection|scratchpad"
_THOUGHTS = re.compile(rf"[<\[◁](/?)(?:{_TAGS})[>\]▷]", re.IGNORECASE)


def _one_line(text: str) -> str:
    if not (line := clean(text)):
        raise ValueError("a text is blank")
    return line


Line = Annotated[str, Field(min_length=1, max_length=600), AfterValidator(_one_line)]


class ChainStep(BaseModel):
    """A step of a chain: what it does, and what it concludes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    role: Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_one_line)]
    text: Line


class ChainReply(BaseModel):
    """A chain as a language model writes it: ordered steps and, at the end, what to recommend, the
    best one first."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    steps: Annotated[list[ChainStep], Field(min_length=1, max_length=12)]
    recommendations: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_one_line)]],
        Field(min_length=1, max_length=20),
    ]


class DirectReply(ChainReply):
    """Recommendations without any reasoning: what a chain is compared with."""

    steps: Annotated[list[ChainStep], Field(max_length=0)] = []


class Unusable(LanguageModelError):
    """A reply that holds no valid chain; the message says why, so that it can be sent back."""


def chain_schema(
    roles: Sequence[str] | None = None,
    max_steps: int = 12,
    recommendations: int = 20,
    text_characters: int = 300,
) -> str:
    """The JSON schema of a chain for `CompletionRequest.json_schema`: what a server may be asked to
    keep to.

    It is tighter than `ChainReply`: at most `max_steps` and `recommendations`, or one step per role
    of `roles`, and texts of at most `text_characters`, so that a small model comes to an end. Empty
    `roles` leave the steps out. Docstrings are no part of it, so that no key of a stored reply
    depends on their wording.
    """
    schema = _bare(ChainReply.model_json_schema())
    steps, step = schema["properties"]["steps"], schema["$defs"]["ChainStep"]["properties"]
    steps["maxItems"] = max_steps
    schema["properties"]["recommendations"]["maxItems"] = recommendations
    for text in (step["role"], step["text"], schema["properties"]["recommendations"]["items"]):
        text["maxLength"] = min(text["maxLength"], text_characters)
    if roles is not None:
        steps["minItems"] = steps["maxItems"] = len(roles)
        step["role"] = {"type": "string", "enum": list(dict.fromkeys(roles))}
    if roles is not None and not roles:
        del schema["properties"]["steps"], schema["$defs"]
        schema["required"].remove("steps")
    return schema_text(schema)


def without_thoughts(text: str) -> str:
    """A reply without what the model thought, so that no draft is taken for the answer.

    A closing tag alone ends thoughts that the prompt's template opened; an opening one alone starts
    thoughts that were cut.

    Example:
        >>> without_thoughts("<think>comb, or {soap}?</think>Comb")
        'Comb'
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
    """The first valid chain in a reply; thoughts, prose and code fences around it do not matter.

    Args:
        text: the reply.
        roles: the roles that the steps must have, in order; None takes any, an empty list none at
            all (`DirectReply`).

    Raises:
        Unusable: no JSON object is a chain; the reason is that of the first one that looks like
            one.

    Example:
        >>> parse_chain(
        ...     'Sure: {"steps": [{"role": "recent", "text": "Soap."}], '
        ...     '"recommendations": ["Comb"]}'
        ... ).recommendations
        ['Comb']
    """
    answer = without_thoughts(text)
    if len(answer) > LONGEST_REPLY:
        raise Unusable(f"the reply has {len(answer)} characters; at most {LONGEST_REPLY} are read")
    if not answer.strip():
        thoughts = "the reply holds thoughts and no answer after them"
        raise Unusable(thoughts if text.strip() else "the reply is empty")
    first_problem = ""
    for found in json_objects(answer):
        try:
            chain = (ChainReply if roles is None or len(roles) else DirectReply).model_validate(
                found
            )
            said = [step.role for step in chain.steps]
            if roles is None or said == list(roles):
                return chain
            problem = f"the roles of the steps are {said}, but must be {list(roles)}"
        except ValidationError as error:
            problem = "; ".join(
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3]
            )
        if (
            "steps" in found or "recommendations" in found
        ):  # else it is a part of something that was cut, or prose
            first_problem = first_problem or problem
    raise Unusable(
        first_problem
        or "the reply holds no complete JSON object with the keys steps and recommendations, "
        "each once"
    )


@dataclass(frozen=True)
class ChainOutcome:
    """What became of one request for a chain: the chain or None, every reply in order, and why
    replies were not used."""

    chain: ChainReply | None
    replies: tuple[Completion, ...]
    problems: tuple[str, ...]


def ask_for_chain(
    model: LanguageModel,
    request: CompletionRequest,
    roles: Sequence[str] | None = None,
    retries: int = 2,
) -> ChainOutcome:
    """Ask for a chain; a reply that cannot be used is sent back with the reason at most `retries`
    times.

    Raises:
        ReplyError, LanguageModelError: as the model does.
    """
    if retries < 0:
        raise ConfigError(f"retries = {retries}; it must be 0 or more")
    replies, problems, asked = [], [], request
    for _ in range(retries + 1):
        completion = model.complete(asked)
        replies.append(completion)
        try:
            return ChainOutcome(
                parse_chain(completion.text, roles), tuple(replies), tuple(problems)
            )
        except Unusable as error:
            cut = " (it was cut at max_tokens)" if completion.finish_reason == "length" else ""
            problems.append(f"{error}{cut}")
            asked = ask_again(request, completion.text, problems[-1])
    return ChainOutcome(None, tuple(replies), tuple(problems))


def ask_for_chains(
    model: LanguageModel,
    requests: Iterable[CompletionRequest],
    roles: Sequence[str] | None = None,
    retries: int = 2,
) -> Iterator[Answer[ChainOutcome]]:
    """`ask_for_chain` for many requests at once, each answered exactly once, as they come; see
    `answer_many`."""
    return answer_many(
        lambda request: ask_for_chain(model, request, roles, retries), requests, model.concurrency
    )


@dataclass(frozen=True)
class ChainCounts:
    """`requests` = `at_once` + `mended` + `rejected` + `unanswered`; `replies` counts every reply
    that came."""

    requests: int
    at_once: int
    mended: int
    rejected: int
    unanswered: int
    replies: int

    @property
    def valid_share(self) -> float:
        """Share of requests that ended in a valid chain."""
        return (self.at_once + self.mended) / max(1, self.requests)


def count_chains(answers: Iterable[Answer[ChainOutcome]]) -> ChainCounts:
    """How the requests ended: a chain at once, a chain after being sent back, no chain, or no
    reply."""
    ends: Counter[str] = Counter()
    replies = 0
    for answer in answers:
        outcome = answer.reply
        replies += len(outcome.replies) if outcome is not None else 0
        if outcome is None:
            ends["unanswered"] += 1
        elif outcome.chain is None:
            ends["rejected"] += 1
        else:
            ends["mended" if outcome.problems else "at_once"] += 1
    counted = {name: ends[name] for name in ("at_once", "mended", "rejected", "unanswered")}
    return ChainCounts(requests=ends.total(), replies=replies, **counted)


def as_reasoning_chain(
    chain: ChainReply,
    user: int,
    prefix_length: int,
    model: str,
    sample: int = 0,
    pattern: ReasoningPattern | None = None,
) -> ReasoningChain:
    """The chain as the rest of scoter knows it: a sentence per step, and a last step that
    recommends.

    Its pattern has the roles that the model named, or is `pattern` where the model was told to
    follow one, with the recommendation as a further step.

    Example:
        >>> reply = parse_chain(
        ...     '{"steps": [{"role": "recent", "text": "Soap."}], '
        ...     '"recommendations": ["Comb", "Brush"]}'
        ... )
        >>> as_reasoning_chain(reply, user=0, prefix_length=1, model="some-model").steps
        (('Soap.',), ('The recommendation is Comb.', 'The recommendation is Brush.'))
    """
    steps = pattern.steps if pattern is not None else tuple(Step(step.role) for step in chain.steps)
    if len(steps) != len(chain.steps):
        raise ConfigError(
            f"the pattern has {len(steps)} steps, the chain {len(chain.steps)}; parse it with "
            f"the pattern's roles"
        )
    return ReasoningChain(
        user=user,
        prefix_length=prefix_length,
        pattern=ReasoningPattern((*steps, Step("recommendation"))),
        steps=(
            *((step.text,) for step in chain.steps),
            tuple(f"The recommendation is {name}." for name in chain.recommendations),
        ),
        model=model,
        prompt_version=PROMPT_VERSION,
        sample=sample,
    )


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, left to right, none within another; a bounded number of places is
    tried."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    end = 0
    for _ in range(MOST_STARTS):
        if (start := _OPENS.search(text, end)) is None:
            return
        try:
            found, end = decoder.raw_decode(text, start.start())
            yield found
        except (ValueError, RecursionError):
            end = start.start() + 1


def _bare(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: _bare(value)
            for key, value in schema.items()
            if key not in ("title", "description")
        }
    return [_bare(value) for value in schema] if isinstance(schema, list) else schema


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
