"""Generate with a language model: several chains for each shopper, by nucleus sampling and with
varied instructions.

Sample m of a shopper is a request of its own, so a store never answers two samples with one reply.
What came back is an `Arm`: the valid chains, how the other requests ended, and what all replies
cost, whoever paid for them and when.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

from scoter.config import AskingConfig, DiscoverConfig
from scoter.protocols import LanguageModel
from scoter.reasoning.chains.requests import WritingConfig, chain_request
from scoter.reasoning.language.language_model import (
    Answer,
    CompletionRequest,
    Message,
)
from scoter.reasoning.language.prompts import INSTRUCTIONS, history_lines, quote, render
from scoter.reasoning.language.structured import (
    ChainCounts,
    ChainOutcome,
    ChainReply,
    ask_for_chains,
    chain_schema,
    count_chains,
)
from scoter.types import ReasoningPattern, Step

STEP_BY_STEP = "Let's think step by step."
"""What a language model is asked without any template (Kojima et al. 2022)."""

HAND_WRITTEN = ("analyse the history", "match the interest")
"""The paper's own example of a pattern; the recommendation follows."""

Histories = Sequence[Sequence[str]]


@dataclass(frozen=True)
class SampledChain:
    """A valid chain: whose (a row of the sample), and the how manieth of that shopper's."""

    row: int
    sample: int
    chain: ChainReply

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(step.role for step in self.chain.steps)


@dataclass(frozen=True)
class Arm:
    """What a batch of requests came to; `chains` are in the order of rows and samples.

    `problem` is the commonest reason why a request gave no chain, '' where all gave one.
    """

    chains: tuple[SampledChain, ...]
    counts: ChainCounts
    prompt_tokens: int
    completion_tokens: int
    problem: str = ""


@dataclass(frozen=True, eq=False)
class ChainSampler:
    """Asks one language model about some shoppers' `histories` (titles, oldest first), the same way
    each time.

    `progress` is called with the number of requests answered so far in a batch, and how many it
    has.
    """

    model: LanguageModel
    writing: WritingConfig
    config: DiscoverConfig
    histories: Histories
    progress: Callable[[str, int, int], None] = lambda name, done, total: None

    def free(
        self, samples: range, instructions: Sequence[str] = INSTRUCTIONS, name: str = "generate"
    ) -> Arm:
        """Chains whose steps the model chooses: `samples` for each shopper, the instructions in
        turn over both."""
        asked = [(row, sample) for row in range(len(self.histories)) for sample in samples]
        requests = (
            self._free(row, sample, instructions[(row + sample) % len(instructions)])
            for row, sample in asked
        )
        return self._ask(requests, asked, None, name)

    def following(self, pattern: ReasoningPattern, name: str) -> Arm:
        """One chain for each shopper with the steps of a pattern."""
        roles = [step.label() for step in pattern.steps if step.role != "recommendation"]
        asked = [(row, 0) for row in range(len(self.histories))]
        return self._ask(
            (chain_request(titles, pattern, self.writing) for titles in self.histories),
            asked,
            roles,
            name,
        )

    def direct(self, name: str) -> Arm:
        """Recommendations without reasoning, once for each shopper."""
        asked = [(row, 0) for row in range(len(self.histories))]
        return self._ask(
            (self._request(titles, "", 0, ReasoningPattern(())) for titles in self.histories),
            asked,
            (),
            name,
        )

    def _free(self, row: int, sample: int, instruction: str) -> CompletionRequest:
        return self._request(self.histories[row], instruction, sample, None)

    def _request(
        self, titles: Sequence[str], instruction: str, sample: int, pattern: ReasoningPattern | None
    ) -> CompletionRequest:
        writing, most = self.writing, self.config.max_steps - 1
        if writing.prompt == "full":
            prompt = render(titles, instruction, writing, pattern, most)
        else:
            few = f"2 to {most}" if most > 2 else f"{most}"
            steps = (
                ""
                if pattern is not None
                else f" {few} steps, each with a role and a short sentence, then"
            )
            reply = (
                f"Reply with JSON on one line:{steps} {writing.recommendations} products to buy "
                f"next."
            )
            shown = [
                "A shopper bought, oldest first:",
                *history_lines(titles, writing),
                instruction,
                reply,
            ]
            prompt = "\n".join(line for line in shown if line)
        roles = None if pattern is None else ()
        schema = chain_schema(roles, most, writing.recommendations, writing.step_characters)
        return CompletionRequest(
            messages=(Message("user", prompt),),
            model=writing.model,
            temperature=writing.temperature,
            top_p=writing.top_p,
            max_tokens=writing.max_tokens,
            seed=writing.seed,
            sample=sample,
            json_schema="" if writing.schema == "none" else schema,
        )

    def _ask(
        self,
        requests: Iterator[CompletionRequest],
        asked: list[tuple[int, int]],
        roles: Sequence[str] | None,
        name: str,
    ) -> Arm:
        answers: list[Answer[ChainOutcome]] = []
        for answer in ask_for_chains(self.model, requests, roles, self.writing.retries):
            answers.append(answer)
            self.progress(name, len(answers), len(asked))
        answers.sort(key=lambda answer: answer.index)
        problems = Counter(_problem(answer) for answer in answers) - Counter([""] * len(answers))
        replies = [
            reply
            for answer in answers
            if answer.reply is not None
            for reply in answer.reply.replies
        ]
        return Arm(
            chains=tuple(
                SampledChain(*asked[answer.index], answer.reply.chain)
                for answer in answers
                if answer.reply is not None and answer.reply.chain is not None
            ),
            counts=count_chains(answers),
            prompt_tokens=sum(reply.prompt_tokens for reply in replies),
            completion_tokens=sum(reply.completion_tokens for reply in replies),
            problem=next((problem for problem, _ in problems.most_common(1)), ""),
        )


def _problem(answer: Answer[ChainOutcome]) -> str:
    if answer.reply is None:
        return answer.error
    return "" if answer.reply.chain is not None else answer.reply.problems[-1]


def writing_config(model: str, config: DiscoverConfig, seed: int) -> WritingConfig:
    """How `config.sampling` has chains written by the model of that name."""
    sampling = config.sampling
    shared = {field.name: getattr(sampling, field.name) for field in fields(AskingConfig)}
    characters = sampling.text_characters
    return WritingConfig(
        model, step_characters=characters, name_characters=characters, seed=seed, **shared
    )


def outline(roles: Sequence[str]) -> ReasoningPattern:
    """Roles as a pattern: each once, and the recommendation, which every chain ends in, as the last
    step.

    Example:
        >>> [step.role for step in outline(["likes", "likes", "need", "recommendation"]).steps]
        ['likes', 'need', 'recommendation']
    """
    named = [role for role in dict.fromkeys(roles) if role.lower() != "recommendation"]
    return ReasoningPattern((*(Step(role) for role in named), Step("recommendation")))


def seeded_instructions(patterns: Sequence[ReasoningPattern]) -> tuple[str, ...]:
    """The instructions of a later round: those of the first one, each next to one that starts from
    a mined pattern."""
    wanted = [
        f"These steps served other shoppers: "
        f"{', '.join(quote(step.label(), 80) for step in pattern.steps[:-1])}. "
        "Start from them; change, add or drop one where that explains this shopper better."
        for pattern in patterns
    ]
    return tuple(
        text
        for place, free in enumerate(INSTRUCTIONS)
        for text in (free, wanted[place % len(wanted)])
    )
