"""Beam search: users per CPU-second of `Tiger.recommend` and of `generate`, on the same weights.

`generate` gets a prefix function. Where the model's softmax is over the trie, it also renormalises
over the allowed tokens, so that both search for the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.speed.timing import Clock, Sample
from benchmarks.speed.work import Work
from scoter.models.backbones.t5 import item_causal_mask, to_transformers
from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding.tiger_decoder import BeamDecoder
from scoter.seeding import derive_seed
from scoter.types import Histories, Rankings

TOLERANCE = 1e-4  # difference of scores, in nats, up to which two items may change places


@dataclass(frozen=True, eq=False)
class OurDecoding:
    """`recommend` with as many beams as items asked for."""

    work: Work
    model: Tiger
    beams: int
    users: int  # decoded in a repeat

    def __post_init__(self) -> None:
        self.decode(sample(self.work.histories, 4, 0))

    def __call__(self, repeat: int) -> Sample:
        requests = sample(self.work.histories, self.users, repeat)
        clock = Clock()
        self.decode(requests)
        return clock.stop(len(requests))

    def decode(self, requests: Histories) -> Rankings:
        return self.model.recommend(requests, self.beams)

    def positions(self, requests: Histories) -> list[float]:
        """Decoder positions per user at each level: undecided beams, and padding to a batch."""
        asked = [0] * self.model.levels
        advance = BeamDecoder.advance

        def counting(decoder: BeamDecoder, tokens: torch.Tensor) -> torch.Tensor:
            asked[len(decoder.past[0])] += tokens.numel()
            return advance(decoder, tokens)

        with patch.object(BeamDecoder, "advance", counting):
            self.decode(requests)
        return [count / len(requests) for count in asked]


class ReferenceDecoding:
    """`generate` with `num_beams` and a prefix function, the item-causal mask in its encoder.

    Each repeat is `calls` calls for `users` users each.
    """

    def __init__(self, work: Work, model: Tiger, beams: int, users: int, calls: int = 1) -> None:
        self.work, self.beams, self.users, self.calls = work, beams, users, calls
        self.reference: Any = to_transformers(model)
        self.tokens = model.item_tokens
        self.levels, self.max_items = model.levels, model.config.max_items
        self.renormalise = model.config.softmax == "trie"
        rows = self.tokens[:-1].tolist()
        self.allowed = prefix_function(rows)
        self.item_of = {tuple(row): item for item, row in enumerate(rows)}
        self.decode(sample(work.histories, 2, 0))

    def __call__(self, repeat: int) -> Sample:
        requests = sample(self.work.histories, self.users * self.calls, repeat)
        rows = np.array_split(np.arange(len(requests)), self.calls)
        calls = [requests.select(chosen) for chosen in rows]
        clock = Clock()
        for call in calls:
            self.decode(call)
        return clock.stop(len(requests))

    @torch.inference_mode()
    def decode(self, requests: Histories) -> Rankings:
        lengths = torch.from_numpy(np.minimum(requests.lengths, self.max_items).astype(np.int64))
        items = torch.full((len(requests), int(lengths.max())), -1)
        for row, length in enumerate(lengths.tolist()):
            items[row, :length] = torch.tensor(requests.sequence(row)[-self.max_items :])
        hidden = self.reference.encoder(
            input_ids=self.tokens[items].flatten(1),
            attention_mask=item_causal_mask(lengths, items.shape[1], self.levels),
        )
        places = torch.arange(items.shape[1] * self.levels)
        generated = self.reference.generate(
            encoder_outputs=hidden,
            attention_mask=places[None, :] < (lengths * self.levels)[:, None],
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
        ranked = [self.item_of.get(tuple(row[1:]), -1) for row in generated.sequences.tolist()]
        shape = (len(requests), self.beams)
        scores = generated.sequences_scores.view(shape).numpy()
        return Rankings(requests.users, np.array(ranked).reshape(shape), scores)


def prefix_function(rows: Sequence[Sequence[int]]) -> Callable[[int, torch.Tensor], list[int]]:
    """The tokens that may follow a prefix, as `generate` asks for them."""
    following: dict[tuple[int, ...], set[int]] = {}
    for tokens in rows:
        for level, token in enumerate(tokens):
            following.setdefault(tuple(tokens[:level]), set()).add(token)
    ready = {prefix: sorted(tokens) for prefix, tokens in following.items()}
    return lambda _, tokens: ready[tuple(tokens[1:].tolist())]


def sample(histories: Histories, users: int, repeat: int) -> Histories:
    """Random users; the first n of a larger sample are those of a smaller one."""
    order = np.random.default_rng(derive_seed(0, "users", repeat)).permutation(len(histories))
    return histories.select(order[:users])


def agreement(ours: Rankings, theirs: Rankings) -> dict[str, float]:
    """Greatest difference of scores in nats, and the shares of users whose items agree.

    `explained` also allows another order, or last place, among scores that differ by 1e-4.
    """
    explained = [_equal_but_for_ties(ours, theirs, row) for row in range(len(ours.items))]
    return {
        "score_difference": float(np.abs(ours.scores - theirs.scores).max()),
        "same_items": float((ours.items == theirs.items).all(axis=1).mean()),
        "explained": float(np.mean(explained)),
    }


def _equal_but_for_ties(ours: Rankings, theirs: Rankings, row: int) -> bool:
    pairs = (
        zip(x.items[row].tolist(), x.scores[row].tolist(), strict=True) for x in (ours, theirs)
    )
    a, b = map(dict, pairs)
    last = min(a.values())
    alone = [(a | b)[item] for item in a.keys() ^ b.keys()]
    both = all(abs(a[item] - b[item]) <= TOLERANCE for item in a.keys() & b.keys())
    return both and all(score - last <= 2 * TOLERANCE for score in alone)
