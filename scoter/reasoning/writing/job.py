"""A job of chain writing: which chains, with which pattern, by whom. Everything in a shard follows
from it (and the replies)."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int

from scoter.errors import ConfigError
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.catalogue.reasoner import MODEL, PROMPT_VERSION, RECOMMENDS, CatalogReasoner
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.chains.prefixes import PrefixPolicy, sample_of_users
from scoter.reasoning.chains.requests import (
    RECOMMENDATION,
    WritingConfig,
    asked_steps,
    chain_request,
    written_pattern,
)
from scoter.reasoning.chains.table import write_rows
from scoter.reasoning.language.language_model import Answer, CompletionRequest
from scoter.reasoning.language.structured import ChainOutcome
from scoter.reasoning.writing.folder import ChainRow, history_digests
from scoter.seeding import derive_seed
from scoter.types import Catalog, ReasoningPattern, Split

FORMAT = 1
EVERY = PrefixPolicy()


@dataclass(frozen=True, eq=False)
class ChainJob:
    """The chains of some users' prefixes.

    Args:
        identity: names the dataset; it stands in `job.json`, so that a folder never mixes two.
        writing: how a language model is asked; None means the catalogue reasoner, which is
            symbolic.
        fold_seed: draws the groups of the catalogue reasoner's cross-fitted statistics.
        users: how many, a fixed sample by `seed`; 0 means all.
        limit: write only the first so many chains; 0 means all.
        shard_rows: chains in a shard, the most that is held in memory at once and that a kill sets
            back.
    """

    split: Split
    catalog: Catalog
    pattern: ReasoningPattern
    identity: str
    policy: PrefixPolicy = EVERY
    writing: WritingConfig | None = None
    fold_seed: int = 0
    seed: int = 0
    users: int = 0
    limit: int = 0
    shard_rows: int = 1024

    def __post_init__(self) -> None:
        if self.shard_rows < 1 or self.limit < 0:
            raise ConfigError(
                f"shard_rows = {self.shard_rows} must be 1 or more, limit = {self.limit} 0 or more"
            )

    @cached_property
    def rows(self) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
        """User and prefix length of every chain, in the order in which they are written."""
        chosen = sample_of_users(
            self.split.train.user_count, self.users, derive_seed(self.seed, "reason users")
        )
        users, prefix_lengths = self.policy.rows(self.split, chosen)
        kept = slice(0, self.limit or len(users))
        if not len(users):
            raise ConfigError(
                f"prefixes = {self.policy}: no user has a prefix that long; use a smaller "
                f"distance, or every"
            )
        return users[kept], prefix_lengths[kept]

    def __len__(self) -> int:
        return len(self.rows[0])

    @property
    def shard_count(self) -> int:
        return -(-len(self) // self.shard_rows)

    def places(self, shard: int) -> range:
        """The numbers of the chains of a shard."""
        return range(shard * self.shard_rows, min(len(self), (shard + 1) * self.shard_rows))

    @property
    def written_pattern(self) -> ReasoningPattern:
        """The pattern that the written chains have."""
        return self.pattern if self.writing is None else written_pattern(self.pattern)

    @property
    def roles(self) -> list[str]:
        """The roles that a language model's steps must have."""
        return [step.label() for step in asked_steps(self.pattern)]

    @property
    def model(self) -> str:
        return MODEL if self.writing is None else self.writing.model

    @property
    def prompt_version(self) -> str:
        return PROMPT_VERSION if self.writing is None else self.writing.prompt_version

    def describe(self) -> dict[str, Any]:
        """All that decides the chains, as JSON."""
        return {
            "format": FORMAT,
            "dataset": self.identity,
            "pattern": self.written_pattern.to_json(),
            "prefixes": str(self.policy),
            "model": self.model,
            "prompt_version": self.prompt_version,
            "writing": None if self.writing is None else asdict(self.writing),
            "fold_seed": self.fold_seed if self.writing is None else None,
            "seed": self.seed,
            "users": self.users,
            "limit": self.limit,
            "shard_rows": self.shard_rows,
            "chains": len(self),
        }

    @cached_property
    def _names(self) -> list[str]:
        return item_names(self.catalog)

    @cached_property
    def _reasoner(self) -> CatalogReasoner:
        return CatalogReasoner(
            self.catalog,
            FoldedStatistics(self.split.train, self.catalog.item_count, self.fold_seed),
        )

    @cached_property
    def _valid_items(self) -> Int[np.ndarray, " users"]:
        found = np.full(self.split.train.user_count, -1, np.int64)
        found[self.split.valid.users] = self.split.valid.items
        return found

    def history(self, place: int) -> list[int]:
        """The items that a chain is written from, oldest first: the user's first `prefix_length`,
        and nothing after."""
        user, prefix_length = int(self.rows[0][place]), int(self.rows[1][place])
        return visible_items(self.split, self._valid_items, user)[:prefix_length]

    def request(self, place: int) -> CompletionRequest:
        """What a language model is asked for a chain."""
        if self.writing is None:
            raise ConfigError(
                "the catalogue reasoner asks no language model; name one with --language-model"
            )
        return chain_request(
            [self._names[item] for item in self.history(place)], self.pattern, self.writing
        )

    def catalog_rows(self, shard: int) -> list[ChainRow]:
        """A shard as the catalogue reasoner writes it."""
        places = self.places(shard)
        users, prefix_lengths = (column[places.start : places.stop] for column in self.rows)
        sentences, indices, offsets = write_rows(
            self._reasoner, look(self.split, users, prefix_lengths), self.pattern
        )
        steps, labels = len(self.pattern), [step.label() for step in self.pattern.steps]
        recommends = self.pattern.steps[-1].role == RECOMMENDATION
        rows = []
        for row, frame in enumerate(self._frames(places)):
            bounds = offsets[row * steps : (row + 1) * steps + 1].tolist()
            texts = [
                tuple(sentences[number] for number in indices[low:high])
                for low, high in pairwise(bounds)
            ]
            named = tuple(recommended_name(text) for text in texts.pop()) if recommends else ()
            said = tuple(
                zip(labels, texts, strict=False)
            )  # without the recommendation, which stands beside the steps
            rows.append(
                ChainRow(**frame, outcome="valid", reason="", steps=said, recommendations=named)
            )
        return rows

    def answered_row(
        self, place: int, answer: Answer[ChainOutcome], outcome_of_error: str
    ) -> ChainRow:
        """The row of one language model's answer; `outcome_of_error` is the reason where there is
        no reply."""
        frame = next(self._frames(range(place, place + 1)))
        found = answer.reply
        if found is None:
            return ChainRow(
                **frame, outcome="unanswered", reason=outcome_of_error, steps=(), recommendations=()
            )
        reason = found.problems[-1] if found.problems else ""
        if found.chain is None:
            return ChainRow(
                **frame, outcome="rejected", reason=reason, steps=(), recommendations=()
            )
        steps = tuple((step.role, (step.text,)) for step in found.chain.steps)
        outcome = "mended" if found.problems else "valid"
        named = tuple(found.chain.recommendations)
        return ChainRow(**frame, outcome=outcome, reason=reason, steps=steps, recommendations=named)

    def _frames(self, places: range) -> Iterator[dict[str, Any]]:
        """What every row holds whoever writes it."""
        last, digests = -1, []
        for place in places:
            user, prefix_length = int(self.rows[0][place]), int(self.rows[1][place])
            if user != last:
                items = visible_items(self.split, self._valid_items, user)
                last, digests = user, history_digests([self.catalog.keys[item] for item in items])
            yield {
                "user": user,
                "user_key": self.split.train.user_keys[user],
                "prefix_length": prefix_length,
                "history": digests[prefix_length - 1],
                "sample": 0 if self.writing is None else self.writing.sample,
                "model": self.model,
                "prompt_version": self.prompt_version,
            }


def visible_items(split: Split, valid_items: Int[np.ndarray, " users"], user: int) -> list[int]:
    """A user's training items and, after them, the validation item (-1 in `valid_items` where there
    is none)."""
    held_out = [int(valid_items[user])] if valid_items[user] >= 0 else []
    return [*split.train.sequence(user).tolist(), *held_out]


def recommended_name(sentence: str) -> str:
    """The name in a sentence that recommends; the inverse of `recommending`."""
    before, _, after = RECOMMENDS["item"].partition("{}")
    return sentence.removeprefix(before).removesuffix(after)


def recommending(names: Sequence[str]) -> tuple[str, ...]:
    """The sentences of a recommendation step.

    Example:
        >>> recommending(["Soap"])
        ('The recommendation is Soap.',)
    """
    return tuple(RECOMMENDS["item"].format(name) for name in names)
