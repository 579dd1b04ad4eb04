"""Folded weights and the search over them, against the training pass and plain loops."""

from typing import Literal

import numpy as np
import pytest
import torch

from scoter.config import TigerConfig
from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding.folded import Folded
from scoter.models.decoding.ranking import evaluating
from scoter.types import Histories, SemanticIds

SIZES = (4, 3, 3)


def make_tiger(
    softmax: Literal["trie", "vocabulary"] = "trie", precision: str = "fp32", seed: int = 0
) -> Tiger:
    every = np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), -1).reshape(-1, 3)
    codes = np.random.default_rng(seed).permutation(every)[:20]
    torch.manual_seed(seed)
    small = TigerConfig(
        dim=16, layers=2, heads=2, head_dim=8, feed_forward=32, max_items=5, softmax=softmax
    )
    model = Tiger(small, SemanticIds(codes, SIZES), precision)
    with torch.no_grad():  # gains of one would hide a gain in a wrong place
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 2)
    return model


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.1)])
def test_folded_weights_encode_as_training_does(precision: str, tolerance: float) -> None:
    model = make_tiger(precision=precision)
    with evaluating(model):
        folded = Folded(model)
        for items in ([[3, 1, 2, -1], [7, 0, -1, -1], [4, 5, 6, 7]], [[9], [2]]):
            plain = model.encode(model.item_tokens[torch.tensor(items)])
            torch.testing.assert_close(
                folded.encode(torch.tensor(items)), plain.float(), atol=tolerance, rtol=tolerance
            )


def plain_search(model: Tiger, history: np.ndarray, beams: int) -> list[tuple[int, float]]:
    """Beam search by one training pass for each beam, without a trie, a cache or a batch."""
    tokens = model.item_tokens[:-1].tolist()
    memory = model.encode(model.item_tokens[torch.from_numpy(history)][None])
    filler = torch.zeros(1, len(history) - 1, model.levels, dtype=torch.long)
    kept: list[tuple[list[int], float]] = [([], 0.0)]
    for level in range(model.levels):
        found = []
        for prefix, score in kept:
            read = torch.tensor([[0, *prefix, *[0] * (model.levels - level - 1)]])[None]
            hidden = model._decode_all(torch.cat([filler, read], 1), memory, None)[0, -1, level]
            logits = model._logits(hidden)
            following = sorted({row[level] for row in tokens if row[:level] == prefix})
            among = logits[following] if model.config.softmax == "trie" else logits
            shares = (logits[following] - torch.logsumexp(among, -1)).tolist()
            found += [
                ([*prefix, token], score + share)
                for token, share in zip(following, shares, strict=True)
            ]
        kept = sorted(found, key=lambda beam: -beam[1])[:beams]
    return [(tokens.index(prefix), score) for prefix, score in kept]


@pytest.mark.parametrize("softmax", ["trie", "vocabulary"])
@pytest.mark.parametrize("beams", [1, 3, 12])
def test_a_narrow_search_equals_one_in_plain_loops(
    softmax: Literal["trie", "vocabulary"], beams: int
) -> None:
    for seed in range(2):
        model, rng = make_tiger(softmax, seed=seed), np.random.default_rng(seed)
        lengths = rng.integers(1, 6, 3)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        histories = Histories(np.arange(3), rng.integers(0, 20, offsets[-1]), offsets)
        ranked = model.recommend(histories, beams, batch_rows=2, beams=beams)
        with evaluating(model):
            for row in range(3):
                expected = plain_search(model, histories.sequence(row).copy(), beams)
                assert ranked.items[row].tolist() == [item for item, _ in expected]
                scores = [score for _, score in expected]
                np.testing.assert_allclose(ranked.scores[row], scores, atol=1e-5)
