"""Beam search: users per CPU-second of `Tiger.recommend` and of `generate` with a prefix function,
on the same weights.

Where the model's softmax is over the trie, `generate` renormalises over the allowed tokens, so that
both search for the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from jaxtyping import Float, Int

from benchmarks.speed.timing import Clock, Sample
from benchmarks.speed.work import Work, item_tokens
from scoter.models.backbones.t5 import item_causal_mask, to_transformers
from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding.tiger_decoder import BeamDecoder
from scoter.seeding import derive_seed
from scoter.types import Histories

TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Found:
    items: Int[np.ndarray, "users beams"]
    scores: Float[np.ndarray, "users beams"]


class OurDecoding:
    """`recommend` with as many beams as items asked for."""

    def __init__(self, work: Work, model: Tiger, beams: int, users: int) -> None:
        self.work, self.model, self.beams, self.users = work, model, beams, users
        self.decode(sample(work.histories, 4, 0))

    def __call__(self, repeat: int) -> Sample:
        requests = sample(self.work.histories, self.users, repeat)
        clock = Clock()
        self.decode(requests)
        return clock.stop(len(requests))

    def decode(self, requests: Histories) -> Found:
        rankings = self.model.recommend(requests, self.beams)
        return Found(rankings.items, rankings.scores)

    def positions(self, requests: Histories) -> list[float]:
        """Decoder positions per user at each level: the beams that are not decided yet, and what
        pads them to a batch."""
        asked: dict[int, int] = {}

        def counting(decoder: BeamDecoder, tokens: torch.Tensor) -> torch.Tensor:
            level = len(decoder.past[0])
            asked[level] = asked.get(level, 0) + tokens.numel()
            return advance(decoder, tokens)

        advance = BeamDecoder.advance
        with patch.object(BeamDecoder, "advance", counting):
            self.decode(requests)
        return [asked.get(level, 0) / len(requests) for level in range(self.model.levels)]


class ReferenceDecoding:
    """`generate` with `num_beams` and `prefix_allowed_tokens_fn`, the item-causal mask handed to
    its encoder.

    Each repeat is `calls` calls for `users` users each.
    """

    def __init__(self, work: Work, model: Tiger, beams: int, users: int, calls: int = 1) -> None:
        self.work, self.beams, self.users, self.calls, self.max_items = (
            work,
            beams,
            users,
            calls,
            model.config.max_items,
        )
        self.reference, self.tokens = to_transformers(model), item_tokens(work.ids)
        self.renormalise = model.config.softmax == "trie"
        self.levels = self.tokens.shape[1]
        self.allowed = prefix_function(self.tokens[:-1].tolist())
        self.item_of = {tuple(row): item for item, row in enumerate(self.tokens[:-1].tolist())}
        self.decode(sample(work.histories, 2, 0))

    def __call__(self, repeat: int) -> Sample:
        requests = sample(self.work.histories, self.users * self.calls, repeat)
        parts = [
            requests.select(rows) for rows in np.array_split(np.arange(len(requests)), self.calls)
        ]
        clock = Clock()
        for part in parts:
            self.decode(part)
        return clock.stop(len(requests))

    @torch.inference_mode()
    def decode(self, requests: Histories) -> Found:
        rows = [requests.sequence(row)[-self.max_items :] for row in range(len(requests))]
        lengths = torch.tensor([len(row) for row in rows])
        items = torch.full((len(rows), int(lengths.max())), -1)
        for row, sequence in enumerate(rows):
            items[row, : len(sequence)] = torch.from_numpy(np.array(sequence))
        mask = item_causal_mask(lengths, items.shape[1], self.levels)
        hidden = self.reference.encoder(
            input_ids=self.tokens[items].flatten(1), attention_mask=mask
        )
        generated: Any = self.reference.generate(
            encoder_outputs=hidden,
            attention_mask=torch.arange(items.shape[1] * self.levels)[None, :]
            < (lengths * self.levels)[:, None],
            num_beams=self.beams,
            num_return_sequences=self.beams,
            max_new_tokens=self.levels,
            min_new_tokens=self.levels,
            do_sample=False,
            length_penalty=0.0,
            early_stopping=False,
            prefix_allowed_tokens_fn=self.allowed,
            renormalize_logits=self.renormalise,
            return_dict_in_generate=True,
            output_scores=True,
        )
        found = [
            self.item_of.get(tuple(sequence[1:]), -1) for sequence in generated.sequences.tolist()
        ]
        shape = (len(rows), self.beams)
        return Found(np.array(found).reshape(shape), generated.sequences_scores.view(shape).numpy())


def prefix_function(rows: list[list[int]]) -> Callable[[int, torch.Tensor], list[int]]:
    """The tokens that may follow a prefix, from a dictionary, as `generate` asks for them."""
    following: dict[tuple[int, ...], set[int]] = {}
    for tokens in rows:
        for level in range(len(tokens)):
            following.setdefault(tuple(tokens[:level]), set()).add(tokens[level])
    ready = {prefix: sorted(tokens) for prefix, tokens in following.items()}
    return lambda _, tokens: ready[tuple(tokens[1:].tolist())]


def sample(histories: Histories, users: int, repeat: int) -> Histories:
    """Random users; the first n of a larger sample are those of a smaller one."""
    order = np.random.default_rng(derive_seed(0, "users", repeat)).permutation(len(histories))
    return histories.select(order[:users])


def agreement(ours: Found, theirs: Found) -> dict[str, float]:
    """How far two beam searches agree.

    Returns:
        `score_difference`: greatest difference between scores of one rank, in nats.
        `same_items`: share of users with the same items in the same order.
        `explained`: share of users whose items are the same but for an order, or a last place, that
            scores 1e-4 apart leave open.
    """
    same = (ours.items == theirs.items).all(axis=1)
    explained = [_equal_but_for_ties(ours, theirs, row) for row in range(len(ours.items))]
    gap = np.abs(ours.scores - theirs.scores).max()
    return {
        "score_difference": float(gap),
        "same_items": float(same.mean()),
        "explained": float(np.mean(explained)),
    }


def _equal_but_for_ties(ours: Found, theirs: Found, row: int) -> bool:
    mine, other = (
        dict(zip(found.items[row].tolist(), found.scores[row].tolist(), strict=True))
        for found in (ours, theirs)
    )
    last = min(mine.values())
    both = all(abs(mine[item] - other[item]) <= TOLERANCE for item in mine.keys() & other.keys())
    either = [
        score
        for item, score in (*mine.items(), *other.items())
        if item not in mine or item not in other
    ]
    return both and all(score - last <= 2 * TOLERANCE for score in either)
