"""Pilot: what chains add, measured on a few of them before the rest is paid for.

The reader is Validate's: a conditional logit over the items that a frozen recommender and the
symbolic reasons name, fitted on half of the users and judged on the other half. Users are those
whose last item has a chain; their target is held in. What the chain adds is its cosines with each
candidate, step by step, and the vector that the ordered chain predicts. The same is made of the
last items' own texts, so that the model's words are told apart from the catalogue's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import log_softmax

from scoter.errors import DataError
from scoter.reasoning.discovery.generate import HeldIn
from scoter.reasoning.discovery.validate import Z_95, Column, Recall, Trial, ndcg
from scoter.seeding import derive_seed
from scoter.types import Split, Step, StepEmbeddings

FEWEST = 20  # users whose mean has an interval
WORTH = 0.001  # the least gain of NDCG@10 that is worth its price
SEEN_BINS = ((1, 5), (6, 20), (21, None))  # interactions of the last item in the training log
WORDS = "near in words"  # the reasons that read texts start so


@dataclass(frozen=True)
class Addition:
    """What some columns of the reader add to others: paired means with 95 % intervals."""

    what: str
    users: int
    nats: Recall  # of the target among the candidates; 0 where it is not among them
    recall: Recall
    ndcg: Recall


def pilot_users(split: Split, chains: StepEmbeddings, most: int, seed: int) -> HeldIn:
    """At most `most` users whose last item before the held-in target has a chain."""
    lengths, width = split.train.lengths, chains.step_count
    able = np.flatnonzero(lengths >= 2)
    rows = chains.chain_rows(able, lengths[able] - 1)
    # The steps of the last item come first; those of a user's chain are all alike here.
    lags = [step.parameters.get("lag", 1) for step in chains.pattern.steps]
    first = rows * width
    there = chains.offsets[first + lags.count(1)] > chains.offsets[first]
    rng = np.random.default_rng(derive_seed(seed, "pilot users"))
    chosen = np.sort(rng.permutation(able[there & (rows >= 0)])[:most])
    if len(chosen) < FEWEST:
        few = f"only {len(chosen)} of at most {most} readers have a chain of their last item"
        raise DataError(f"{few}; write more items, or read more users: {FEWEST} at least")
    targets = split.train.items[split.train.offsets[1:][chosen] - 1]
    return HeldIn(chosen, lengths[chosen] - 1, targets)


@dataclass(frozen=True, eq=False)
class Pilot:
    """A trial of chains: `trial.steps` knows the embeddings of `told` and of `texts` by label."""

    trial: Trial
    told: Sequence[Step]
    texts: Sequence[Step]  # the last items' own texts, as steps

    def scores(self) -> dict[str, Float[np.ndarray, "users width"]]:
        """The reader's scores of the candidates, by what it may use."""
        choices, view = self.trial.choices, self.trial.steps.view
        # Each reason of each candidate, counted without the target.
        values = self.trial.steps.reasoner.reasons.values(view, np.maximum(choices.items, 0))
        counts = [choices.log_p, *(values[name] for name in values if not name.startswith(WORDS))]
        words = [values[name] for name in values if name.startswith(WORDS)]
        spoken = [self._cosines(step) for step in self.told]
        read = self.trial.scores
        return {
            "recommender": read([choices.log_p], ()),
            "counts": read(counts, ()),
            "counts + texts": read([*counts, *words], self.texts),
            "counts + chain": read([*counts, *spoken], self.told),
            "all": read([*counts, *words, *spoken], [*self.texts, *self.told]),
        }

    def _cosines(self, step: Step) -> Column:
        said, items = self.trial.steps.of_step(step), self.trial.item_vectors
        near = np.zeros_like(self.trial.choices.log_p)
        lengths = np.linalg.norm(items, axis=1)
        for row, candidates in enumerate(self.trial.choices.items):
            norm = np.linalg.norm(said[row]) * lengths[candidates]
            near[row] = items[candidates] @ said[row] / np.maximum(norm, 1e-6)
        return near

    def additions(
        self, k: int, seen: Int[np.ndarray, " users"]
    ) -> tuple[list[Addition], list[Addition]]:
        """What each source adds over all users, and what the chain adds by how often the last item
        was seen (`seen`)."""
        measured = {name: self._measures(scores, k) for name, scores in self.scores().items()}
        compared = {
            "chain over counts and texts": ("all", "counts + texts"),
            "chain over counts": ("counts + chain", "counts"),
            "texts over counts": ("counts + texts", "counts"),
            "counts over the recommender": ("counts", "recommender"),
        }
        everyone = np.ones(len(seen), bool)
        rows = [
            _addition(what, measured[more] - measured[less], everyone)
            for what, (more, less) in compared.items()
        ]
        gain, bins = measured["all"] - measured["counts + texts"], []
        for low, high in SEEN_BINS:
            inside = (seen >= low) & (seen <= (high or np.inf))
            if inside.sum() > 1:
                name = f"last item seen {low} to {high} times" if high else f"{low} times or more"
                bins.append(_addition(name, gain, inside))
        return rows, bins

    def _measures(
        self, scores: Float[np.ndarray, "users width"], k: int
    ) -> Float[np.ndarray, "3 users"]:
        """Log-likelihood, hit and NDCG of each user's target."""
        ranks, listed = self.trial.places(scores), self.trial.choices.listed
        nats = np.where(listed, log_softmax(scores.astype(float), axis=1)[:, 0], 0.0)
        return np.stack([nats, (ranks <= k).astype(float), ndcg(ranks, k)])


def _addition(
    what: str, gain: Float[np.ndarray, "3 everyone"], rows: Bool[np.ndarray, " everyone"]
) -> Addition:
    users, kept = int(rows.sum()), gain[:, rows]
    means, halves = kept.mean(axis=1), Z_95 * kept.std(axis=1, ddof=1) / math.sqrt(users)
    parts = [
        Recall(mean, mean - half, mean + half, users)
        for mean, half in zip(means.tolist(), halves.tolist(), strict=True)
    ]
    return Addition(what, users, *parts)


def verdict(gain: Addition, worth: float, users: int) -> str:
    """Whether the whole job is worth it by NDCG, or how many users would tell; there are `users`.

    >>> flat = Recall(0.0, -0.0004, 0.0004, 4000)
    >>> verdict(Addition("chain", 4000, flat, flat, flat), 0.001, 20_000)
    'no: at most +0.0004 NDCG@10, below the 0.001 that would be worth it'
    """
    low, high = gain.ndcg.low, gain.ndcg.high
    if high < worth:
        return f"no: at most {high:+.4f} NDCG@10, below the {worth:g} that would be worth it"
    if low > 0 and gain.ndcg.mean >= worth:
        return f"yes: {gain.ndcg.mean:+.4f} NDCG@10, interval above zero"
    needed = math.ceil(gain.users * ((high - low) / worth) ** 2)
    wide = f"not known yet: {low:+.4f} to {high:+.4f} NDCG@10"
    if needed > users:
        return f"{wide}; all {users:,} users would leave an interval wider than {worth:g}"
    return f"{wide}; about {needed:,} users, {needed / gain.users:.1f} times as many, would tell"
