"""Which chains are written, with which pattern and by whom; replies aside, this decides a shard."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Int

from scoter.errors import ConfigError
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.catalogue.reasoner import (
    MODEL,
    PROMPT_VERSION,
    RECOMMENDS,
    CatalogReasoner,
    Texts,
)
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
from scoter.reasoning.language.structured import ChainOutcome, outcome_of
from scoter.reasoning.writing.folder import ChainRow, history_digests
from scoter.seeding import derive_seed
from scoter.types import Catalog, Json, ReasoningPattern, Split

FORMAT = 1
EVERY = PrefixPolicy()


class VisibleItems:
    """Digests of the items that each user's chains may be written from."""

    def __init__(self, split: Split, catalog: Catalog) -> None:
        self._items, self._keys = split.visible, catalog.keys
        self._last: tuple[int, list[str]] = (-1, [])

    def fits(self, user: int, prefix_length: int, digest: str) -> bool:
        """Whether that is the digest of the user's first `prefix_length` items."""
        digests = self.digests(user)
        return 1 <= prefix_length <= len(digests) and digests[prefix_length - 1] == digest

    def digests(self, user: int) -> list[str]:
        """`history_digests` of the items; those of the user asked for last are kept."""
        if user != self._last[0]:
            keys = [self._keys[item] for item in self._items.sequence(user)]
            self._last = (user, history_digests(keys))
        return self._last[1]


@dataclass(frozen=True, eq=False)
class ChainJob:
    """The chains of some users' prefixes, or of items: what follows from having just bought one.

    Chains by item are rows whose user is the item, and whose history is that item alone.
    """

    split: Split
    catalog: Catalog
    pattern: ReasoningPattern
    identity: str  # names the dataset, so that a folder never mixes two
    policy: PrefixPolicy = EVERY  # the prefixes that get a chain
    writing: WritingConfig | None = None  # how a language model is asked; None: symbolic reasoner
    fold_seed: int = 0  # draws the groups of the symbolic reasoner's cross-fitted statistics
    seed: int = 0  # draws the sample of users
    users: int = 0  # size of that sample; 0 means all users
    limit: int = 0  # write only the first so many chains; 0 means all
    shard_rows: int = 1024  # chains in a shard, and the most that memory holds
    texts: Texts | None = None  # makes the vectors of item texts, for steps that rank by reasons
    by: Literal["user", "item"] = "user"

    def __post_init__(self) -> None:
        if self.shard_rows < 1 or self.limit < 0:
            wanted = "shard_rows must be 1 or more, limit 0 or more"
            raise ConfigError(f"shard_rows = {self.shard_rows}, limit = {self.limit}; {wanted}")
        if self.by == "item" and (self.writing is None or self.users or self.policy != EVERY):
            given = f"by = 'item' with users = {self.users} and prefixes = {self.policy}"
            wanted = "it needs a language model, all users and every prefix"
            raise ConfigError(f"{given}: {wanted}; choose how many items by limit")
        if self.by == "item" and any("lag" in step.parameters for step in self.pattern.steps):
            labels = ", ".join(step.label() for step in self.pattern.steps)
            remedy = "an item's steps get their lags when they are read; leave it out"
            raise ConfigError(f"the pattern {labels} has a step with a lag; {remedy}")

    @cached_property
    def rows(self) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
        """User and prefix length of every chain, in the order in which they are written.

        By item, those first that are most often in the training log.
        """
        if self.by == "item":
            used = np.bincount(self.split.train.items, minlength=self.catalog.item_count)
            items = np.argsort(-used, kind="stable")[: self.limit or None]
            return items, np.ones_like(items)
        seed = derive_seed(self.seed, "reason users")
        chosen = sample_of_users(self.split.train.user_count, self.users, seed)
        users, prefix_lengths = self.policy.rows(self.split, chosen)
        if not len(users):
            remedy = "no user has a prefix that long; use a smaller distance, or every"
            raise ConfigError(f"prefixes = {self.policy}: {remedy}")
        kept = slice(0, self.limit or len(users))
        return users[kept], prefix_lengths[kept]

    def __len__(self) -> int:
        return len(self.rows[0])

    @property
    def shard_count(self) -> int:
        return -(-len(self) // self.shard_rows)

    def places(self, shard: int) -> range:
        return range(shard * self.shard_rows, min(len(self), (shard + 1) * self.shard_rows))

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

    def describe(self) -> dict[str, Json]:
        pattern = self.pattern if self.writing is None else written_pattern(self.pattern)
        return {
            **({"by": self.by} if self.by == "item" else {}),
            "format": FORMAT,
            "dataset": self.identity,
            "pattern": pattern.to_json(),
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
        return CatalogReasoner.of(self.split.train, self.catalog, self.fold_seed, self.texts)

    @cached_property
    def _visible(self) -> VisibleItems:
        return VisibleItems(self.split, self.catalog)

    def request(self, place: int) -> CompletionRequest:
        if self.writing is None:
            remedy = "name one with --language-model"
            raise ConfigError(f"the catalogue reasoner asks no language model; {remedy}")
        owner, prefix_length = (int(column[place]) for column in self.rows)
        if self.by == "item":
            titles = [described(self.catalog, owner, self._names[owner])]
        else:
            items = self.split.visible.sequence(owner)[:prefix_length]
            titles = [self._names[item] for item in items]
        return chain_request(titles, self.pattern, self.writing)

    def catalog_rows(self, shard: int) -> list[ChainRow]:
        places = self.places(shard)
        users, prefix_lengths = (column[places.start : places.stop] for column in self.rows)
        views = look(self.split, users, prefix_lengths)
        sentences, indices, offsets, _ = write_rows(self._reasoner, views, self.pattern)
        steps, labels = len(self.pattern), [step.label() for step in self.pattern.steps]
        recommends = self.pattern.steps[-1].role == RECOMMENDATION
        rows = []
        for row, blank in enumerate(map(self._blank_row, places)):
            bounds = pairwise(offsets[row * steps : (row + 1) * steps + 1].tolist())
            numbers = [indices[low:high] for low, high in bounds]
            texts = [tuple(sentences[number] for number in step) for step in numbers]
            named = tuple(recommended_name(text) for text in texts.pop()) if recommends else ()
            written = tuple(zip(labels, texts, strict=False))  # without the recommendation
            rows.append(replace(blank, outcome="valid", steps=written, recommendations=named))
        return rows

    def answered_row(self, place: int, answer: Answer[ChainOutcome]) -> ChainRow:
        blank = self._blank_row(place)
        reply = answer.reply
        if reply is None:
            return replace(blank, reason=answer.error)
        reason = reply.problems[-1] if reply.problems else ""
        row = replace(blank, outcome=outcome_of(answer), reason=reason)
        if reply.chain is None:
            return row
        steps = tuple((step.role, (step.text,)) for step in reply.chain.steps)
        return replace(row, steps=steps, recommendations=tuple(reply.chain.recommendations))

    def _blank_row(self, place: int) -> ChainRow:
        """The row as far as it does not depend on who writes it."""
        owner, prefix_length = (int(column[place]) for column in self.rows)
        of_item = self.by == "item"
        key = (self.catalog.keys if of_item else self.split.train.user_keys)[owner]
        digests = history_digests([key]) if of_item else self._visible.digests(owner)
        return ChainRow(
            user=owner,
            user_key=key,
            prefix_length=prefix_length,
            history=digests[prefix_length - 1],
            sample=0 if self.writing is None else self.writing.sample,
            model=self.model,
            prompt_version=self.prompt_version,
        )


def described(catalog: Catalog, item: int, name: str) -> str:
    """An item's name, with its brand and its two finest categories where it has them.

    >>> shop = Catalog(("k1",), {"brand": ("Aster",), "categories": (("Beauty", "Bath", "Soap"),)})
    >>> described(shop, 0, "Rose bar")
    'Rose bar by Aster (Bath, Soap)'
    """
    brand, categories = (
        catalog.columns[column][item] if catalog.has(column) else ()
        for column in ("brand", "categories")
    )
    maker = f" by {brand}" if brand and str(brand).lower() not in name.lower() else ""
    finest = ", ".join(categories[-2:]) if isinstance(categories, tuple) else ""
    return f"{name}{maker} ({finest})" if finest else f"{name}{maker}"


def recommended_name(sentence: str) -> str:
    """The name in a sentence that recommends; the inverse of `recommending`."""
    before, _, after = RECOMMENDS["item"].partition("{}")
    return sentence.removeprefix(before).removesuffix(after)


def recommending(names: Sequence[str]) -> tuple[str, ...]:
    """The sentences of a recommendation step, such as 'The recommendation is Soap.'"""
    return tuple(RECOMMENDS["item"].format(name) for name in names)
