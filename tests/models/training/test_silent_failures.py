"""Failures that leave no error behind: a deaf decoder, precision that drifts, IDs that two items
share.

Codebook collapse is tested beside the diagnosis (semantic_ids), resumption beside the training
loop.
"""

import numpy as np
import pytest
import torch

from scoter.config import TigerConfig
from scoter.data.split import leave_one_out
from scoter.errors import DataError
from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding.exact import encoder_influence
from scoter.models.training.batches import ItemBatch, cut_windows, training_batches
from scoter.models.training.precision import autocast
from scoter.types import Histories, InteractionLog, SemanticIds

CONFIG = TigerConfig(
    dim=32, layers=1, heads=2, head_dim=16, feed_forward=64, dropout=0.0, max_items=12
)
ITEMS, USERS = 12, 200
IDS = SemanticIds(np.stack(np.divmod(np.arange(ITEMS), 3), 1), (4, 3))
# nats; measured when this was written: .46 and .69 after training, exactly 0 without
# cross-attention
HEARD = 0.1


def train(cut: bool) -> tuple[Tiger, Histories, ItemBatch]:
    """A small TIGER after a few epochs of users who walk round a circle of items; `cut` removes its
    cross-attention."""
    lengths = np.random.default_rng(0).integers(5, 10, USERS)
    starts = np.random.default_rng(1).integers(0, ITEMS, USERS)
    items = (
        np.concatenate(
            [start + 5 * np.arange(length) for start, length in zip(starts, lengths, strict=True)]
        )
        % ITEMS
    )
    log = InteractionLog(
        items, np.concatenate([[0], np.cumsum(lengths)]), tuple(map(str, range(USERS)))
    )
    split = leave_one_out(log)
    torch.manual_seed(0)
    model = Tiger(CONFIG, IDS)
    if cut:
        for layer in model.decoder.layers:
            layer.cross.o.weight.requires_grad_(False).zero_()
    optimizer = torch.optim.AdamW(
        [weights for weights in model.parameters() if weights.requires_grad], lr=1e-2
    )
    windows = cut_windows(split.train, CONFIG.max_items)
    for epoch in range(25):
        for batch in training_batches(split.train, windows, 512, epoch):
            optimizer.zero_grad()
            model.loss(batch).backward()
            optimizer.step()
    return (
        model.eval(),
        split.histories("valid"),
        training_batches(split.train, windows, 4096, 0)[0],
    )


@pytest.fixture(scope="module")
def trained() -> tuple[Tiger, Histories, ItemBatch]:
    return train(cut=False)


@pytest.fixture(scope="module")
def deaf() -> Tiger:
    return train(cut=True)[0]


@pytest.mark.parametrize("instead", ["nothing", "another"])
def test_a_trained_decoder_hears_its_encoder_and_a_cut_one_is_found_out(
    instead: str, trained: tuple[Tiger, Histories, ItemBatch], deaf: Tiger
) -> None:
    model, histories, _ = trained
    assert encoder_influence(model, histories, instead=instead) > HEARD
    assert encoder_influence(deaf, histories, instead=instead) < HEARD / 1000


def test_an_encoder_that_says_the_same_of_everyone_is_heard_but_found_out(
    trained: tuple[Tiger, Histories, ItemBatch],
) -> None:
    """Every token alike: reading the encoder still moves the decoder, but any other user's history
    would do."""
    model = Tiger(CONFIG, IDS)
    model.load_state_dict(trained[0].state_dict())
    model.item_tokens[:] = model.item_tokens[0]
    histories = Histories(np.arange(20), np.arange(60) % 10, np.arange(21) * 3)
    assert encoder_influence(model, histories, instead="nothing") > HEARD
    assert encoder_influence(model, histories, instead="another") < HEARD / 1000


def test_influence_is_the_divergence_by_hand(trained: tuple[Tiger, Histories, ItemBatch]) -> None:
    """One user, computed from the decoder of training instead of the decoder of search."""
    model, histories, _ = trained
    one = histories.select(np.array([3]))
    tokens = model.item_tokens[torch.tensor(one.sequence(0)[-CONFIG.max_items :])][None]
    first = slice(1, 1 + IDS.codebook_sizes[0])
    with torch.inference_mode():
        memory = model.encode(tokens)
        start = torch.zeros(1, tokens.shape[1], model.levels, dtype=torch.long)
        p, q = (
            model._logits(model._decode_all(start, read, None)[0, -1, 0])[first].softmax(-1)
            for read in (memory, memory * 0)
        )
    assert encoder_influence(model, one) == pytest.approx(
        float((p * (p / q).log()).sum()), abs=1e-5
    )


def test_bf16_loss_is_close_to_fp32_and_is_not_fp32(
    trained: tuple[Tiger, Histories, ItemBatch],
) -> None:
    """Torch computes bf16 on any processor, only slowly on some. Eight bits of mantissa: 2^-8
    relative is one rounding."""
    model, _, batch = trained
    with torch.no_grad():
        exact = float(model.loss(batch))
        with autocast("bf16"):
            rounded = float(model.loss(batch))
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=2**-6)


def test_bf16_decoding_ranks_as_fp32_does(trained: tuple[Tiger, Histories, ItemBatch]) -> None:
    model, histories, _ = trained
    exact = model.recommend(histories, 5)
    model.precision = "bf16"
    rounded = model.recommend(histories, 5)
    model.precision = "fp32"
    np.testing.assert_allclose(
        rounded.scores, exact.scores, atol=0.25
    )  # up to .15 seen, on a processor with bf16 of its own
    assert (rounded.items[:, 0] == exact.items[:, 0]).mean() > 0.9


def test_two_items_cannot_share_a_semantic_id() -> None:
    codes = np.array([[0, 1], [1, 1], [0, 1]])
    with pytest.raises(DataError, match="two items share one semantic ID; add a collision level"):
        SemanticIds(codes, (2, 2))
