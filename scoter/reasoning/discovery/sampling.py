"""Generate with a language model: several chains for each user, by nucleus sampling.

The instructions vary too. Sample m of a user is a request of its own, so a store never answers two
samples with one reply.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

from scoter.config import AskingConfig, DiscoverConfig
from scoter.progress import Progress, silent
from scoter.protocols import LanguageModel
from scoter.reasoning.chains.requests import RECOMMENDATION, WritingConfig, chain_request
from scoter.reasoning.language import structured
from scoter.reasoning.language.language_model import Answer, CompletionRequest
from scoter.reasoning.language.prompts import (
    EXAMPLE_STEPS,
    INSTRUCTIONS,
    brief,
    example_turns,
    quote,
    render,
)
from scoter.types import ReasoningPattern, Step

STEP_BY_STEP = "Let's think step by step."
"""What a language model is asked without any template (Kojima et al. 2022)."""

HAND_WRITTEN = ("analyse the history", "match the interest")
"""The paper's own example of a pattern; the recommendation follows."""

Histories = Sequence[Sequence[str]]


@dataclass(frozen=True)
class SampledChain:
    """A valid chain."""

    row: int  # the user's row in the sample
    sample: int  # the index of the sample for that user
    chain: structured.ChainReply

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(step.role for step in self.chain.steps)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(step.text for step in self.chain.steps)


@dataclass(frozen=True)
class Arm:
    """The result of a batch of requests."""

    chains: tuple[SampledChain, ...]  # in the order of rows and samples
    counts: structured.ChainCounts
    prompt_tokens: int
    completion_tokens: int
    problem: str = ""  # the commonest reason why a request gave no chain, '' where all gave one


@dataclass(frozen=True, eq=False)
class ChainSampler:
    """Asks one language model about some users, the same way each time."""

    model: LanguageModel
    writing: WritingConfig
    config: DiscoverConfig
    histories: Histories  # titles by user, oldest first
    progress: Progress = silent

    def free(
        self, samples: range, instructions: Sequence[str] = INSTRUCTIONS, name: str = "generate"
    ) -> Arm:
        """Chains whose steps the model chooses: `samples` a user, the instructions in turn."""
        asked = [(row, sample) for row in range(len(self.histories)) for sample in samples]
        texts = [instructions[(row + sample) % len(instructions)] for row, sample in asked]
        requests = (
            self._request(self.histories[row], text, sample)
            for (row, sample), text in zip(asked, texts, strict=True)
        )
        return self._ask(requests, asked, None, name)

    def following(self, pattern: ReasoningPattern, name: str) -> Arm:
        """One chain for each user with the steps of a pattern."""
        roles = [step.label() for step in pattern.steps if step.role != RECOMMENDATION]
        requests = (chain_request(titles, pattern, self.writing) for titles in self.histories)
        return self._ask(requests, self._once, roles, name)

    def direct(self, name: str) -> Arm:
        """Recommendations without reasoning, once for each user."""
        requests = (self._request(titles, "", 0, free=False) for titles in self.histories)
        return self._ask(requests, self._once, (), name)

    @property
    def _once(self) -> list[tuple[int, int]]:
        return [(row, 0) for row in range(len(self.histories))]

    def _request(
        self, titles: Sequence[str], instruction: str, sample: int, free: bool = True
    ) -> CompletionRequest:
        writing = replace(self.writing, sample=sample)
        most = self.config.max_steps - 1 if free else 0
        asked = partial(render if writing.prompt == "full" else brief, config=writing)
        if writing.prompt == "full":
            pattern = None if free else ReasoningPattern(())
            prompt = partial(asked, pattern=pattern, max_steps=most)
        else:
            few = f"2 to {most}" if most > 2 else f"{most}"
            steps = f" {few} steps, each with a role and a short sentence, then" if free else ""
            prompt = partial(asked, wanted=steps)
        lengths = (most, writing.recommendations, writing.step_characters)
        schema = structured.chain_schema(None if free else (), *lengths)
        # The example has no instruction, so it is one beginning for all, which a server reads once.
        example = example_turns(prompt, [*EXAMPLE_STEPS][:most], writing.recommendations)
        return writing.request(prompt(titles, instruction=instruction), schema, most, example)

    def _ask(
        self,
        requests: Iterable[CompletionRequest],
        asked: list[tuple[int, int]],
        roles: Sequence[str] | None,
        name: str,
    ) -> Arm:
        answers: list[Answer[structured.ChainOutcome]] = []
        retries = self.writing.retries
        for answer in structured.ask_for_chains(self.model, iter(requests), roles, retries):
            answers.append(answer)
            self.progress(name, len(answers), len(asked))
        answers.sort(key=lambda answer: answer.index)
        outcomes = [(answer.index, answer.reply) for answer in answers if answer.reply is not None]
        replies = [reply for _, outcome in outcomes for reply in outcome.replies]
        problems = Counter(problem for problem in map(_problem, answers) if problem)
        return Arm(
            chains=tuple(
                SampledChain(*asked[index], outcome.chain)
                for index, outcome in outcomes
                if outcome.chain is not None
            ),
            counts=structured.count_chains(answers),
            prompt_tokens=sum(reply.prompt_tokens for reply in replies),
            completion_tokens=sum(reply.completion_tokens for reply in replies),
            problem=next((problem for problem, _ in problems.most_common(1)), ""),
        )


def _problem(answer: Answer[structured.ChainOutcome]) -> str:
    if answer.reply is None:
        return answer.error
    return "" if answer.reply.chain is not None else answer.reply.problems[-1]


def writing_config(model: str, config: DiscoverConfig, seed: int) -> WritingConfig:
    """How `config.sampling` has chains written by the model of that name."""
    sampling = config.sampling
    shared = {field.name: getattr(sampling, field.name) for field in fields(AskingConfig)}
    shared["step_characters"] = shared["name_characters"] = sampling.text_characters
    return WritingConfig(model, seed=seed, **shared)


def outline(roles: Sequence[str]) -> ReasoningPattern:
    """Roles as a pattern: each once, and the recommendation as the last step.

    >>> [step.role for step in outline(["likes", "likes", "need", "recommendation"]).steps]
    ['likes', 'need', 'recommendation']
    """
    named = [role for role in dict.fromkeys(roles) if role.lower() != RECOMMENDATION]
    return ReasoningPattern((*(Step(role) for role in named), Step(RECOMMENDATION)))


def seeded_instructions(pattern: ReasoningPattern) -> tuple[str, ...]:
    """The instructions of a later round: half of them start from the steps of a mined pattern."""
    named = ", ".join(quote(step.label(), 80) for step in pattern.steps[:-1])
    seeded = (
        f"These steps served other shoppers: {named}. Start from them; change, add or drop one "
        "where that explains this shopper better."
    )
    return tuple(text for free in INSTRUCTIONS for text in (free, seeded))
