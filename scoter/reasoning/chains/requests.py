"""The request that asks a language model for one chain with the steps of a pattern.

Equal configs, patterns and histories give equal requests, so a stored reply is found again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Annotated

from annotated_types import Ge
from pydantic import ValidationError

from scoter.arguments import refusal
from scoter.config import AskingConfig, Count
from scoter.errors import ConfigError
from scoter.reasoning.language import prompts
from scoter.reasoning.language.language_model import CompletionRequest, Message, schema_text
from scoter.reasoning.language.structured import ROLES, chain_schema
from scoter.types import Json, ReasoningPattern, Step

BRIEF_PROMPT_VERSION = "lm-brief-3"
RECOMMENDATION = "recommendation"
ROLE_CHARACTERS = 50  # of a role, with the signs around it
CHARACTERS_PER_TOKEN = 3  # fewer than the four of usual English, so that no reply is cut
FRAME = 32  # tokens around steps and recommendations


@dataclass(frozen=True)
class WritingConfig(AskingConfig):
    """How a language model is asked for the chains of a pattern."""

    model: str  # the model's name, as its server knows it
    step_characters: Count = 300  # of a step's sentence
    name_characters: Count = 200  # of an item's name
    max_tokens: Annotated[int, Ge(0)] = field(default=0, kw_only=True)
    seed: int = 0
    sample: int = 0  # numbers a further chain for the same history

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise ConfigError("the language model has no name; pass --language-model NAME")
        for name in ("step_characters", "name_characters"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; it must be 1 or more")

    @property
    def prompt_version(self) -> str:
        """What the chains name as their prompt's version."""
        return BRIEF_PROMPT_VERSION if self.prompt == "brief" else prompts.PROMPT_VERSION

    def request(
        self, prompt: str, json_schema: str, steps: int, example: tuple[Message, ...] = ()
    ) -> CompletionRequest:
        """The request with that prompt, after the turns of an example, for at most so many steps.

        The reply keeps to the schema, unless `schema` is none.
        """
        longest = steps * (self.step_characters + ROLE_CHARACTERS)
        longest += self.recommendations * self.name_characters
        return CompletionRequest(
            messages=(*example, Message("user", prompt)),
            model=self.model,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens or longest // CHARACTERS_PER_TOKEN + FRAME,
            seed=self.seed,
            sample=self.sample,
            json_schema="" if self.schema == "none" else json_schema,
        )


def small_model(model: str, seed: int = 0) -> WritingConfig:
    """Short prompts and chains, for some hundred million parameters on one processor core."""
    return WritingConfig(
        model,
        prompt="brief",
        schema="ordered",
        history_characters=200,
        title_characters=45,
        step_characters=60,
        name_characters=45,
        recommendations=1,
        temperature=0.7,
        seed=seed,
        retries=1,
    )


def asked_steps(pattern: ReasoningPattern) -> tuple[Step, ...]:
    """The steps a model is asked for: all but a final recommendation, which ends every chain."""
    ended = len(pattern) > 0 and pattern.steps[-1].role == RECOMMENDATION
    steps = pattern.steps[:-1] if ended else pattern.steps
    if not steps:
        missing = "the pattern asks for no step before the recommendation"
        raise ConfigError(f"{missing}; give it at least one")
    labels = ReasoningPattern(steps).distinct_labels()
    try:
        if (told := ROLES.validate_python(labels)) != labels:
            raise ConfigError(f"a model cannot say the roles {labels}; write them as {told}")
    except ValidationError as error:
        raise ConfigError(refusal("a step of the pattern", error)) from None
    return steps


def written_pattern(pattern: ReasoningPattern) -> ReasoningPattern:
    """The pattern of a language model's chains: the asked steps, then the recommendation.

    >>> [step.role for step in written_pattern(ReasoningPattern((Step("likes"),))).steps]
    ['likes', 'recommendation']
    """
    steps = asked_steps(pattern)
    last = pattern.steps[-1] if len(steps) < len(pattern) else Step(RECOMMENDATION)
    return ReasoningPattern((*steps, last))


def chain_request(
    titles: Sequence[str], pattern: ReasoningPattern, config: WritingConfig
) -> CompletionRequest:
    """The request for one chain after a history of `titles`, oldest first.

    >>> pattern = ReasoningPattern((Step("likes"),))
    >>> request = chain_request(["Soap"], pattern, small_model("some-model"))
    >>> print(request.messages[-1].content)  # doctest: +ELLIPSIS
    Reply with JSON on one line: a short sentence for each of the steps "likes", then 1 ...
    A shopper bought, oldest first:
    "Soap"
    """
    steps = asked_steps(pattern)
    roles = tuple(step.label() for step in steps)
    if config.prompt == "full":
        prompt = partial(prompts.render, config=config, pattern=ReasoningPattern(steps))
    else:
        named = ", ".join(prompts.quote(role, 80) for role in roles)
        wanted = f" a short sentence for each of the steps {named}, then"
        prompt = partial(prompts.brief, wanted=wanted, config=config)
    example = prompts.example_turns(prompt, roles, config.recommendations)
    return config.request(prompt(titles), _schema(roles, config), len(roles), example)


@lru_cache(maxsize=16)
def _schema(roles: tuple[str, ...], config: WritingConfig) -> str:
    if config.schema != "ordered":
        return chain_schema(roles, len(roles), config.recommendations, config.step_characters)
    text: Json = {"type": "string", "minLength": 1, "maxLength": config.step_characters}
    name: Json = {"type": "string", "minLength": 1, "maxLength": config.name_characters}
    steps: list[Json] = [closed_object({"role": {"const": role}, "text": text}) for role in roles]
    chain: dict[str, Json] = {
        "steps": {"type": "array", "prefixItems": steps},
        "recommendations": array_of(name, config.recommendations),
    }
    return schema_text(closed_object(chain))


def closed_object(properties: dict[str, Json]) -> dict[str, Json]:
    """The JSON schema of an object with exactly these properties, in this order."""
    required = {"required": [*properties], "additionalProperties": False}
    return {"type": "object", "properties": properties, **required}


def array_of(item: Json, most: int) -> dict[str, Json]:
    """The JSON schema of 1 to `most` such items."""
    return {"type": "array", "items": item, "minItems": 1, "maxItems": most}
