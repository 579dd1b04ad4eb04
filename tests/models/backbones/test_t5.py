"""TIGER equals the reference implementation: logits, beams and scores."""

import itertools

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from scoter.config import TigerConfig
from scoter.errors import ConfigError
from scoter.models.backbones.t5 import item_causal_mask, to_transformers
from scoter.models.backbones.tiger import Tiger
from scoter.transfer.fusion import StructuredFusion
from scoter.types import Histories, SemanticIds

SIZES = (6, 5, 4, 2)
CONFIG = TigerConfig(dim=24, layers=2, heads=3, head_dim=8, feed_forward=48, max_items=7, beams=50)


@pytest.fixture(scope="module")
def model() -> Tiger:
    torch.manual_seed(0)
    every = np.array(list(itertools.product(*map(range, SIZES))))
    return Tiger(
        CONFIG, SemanticIds(np.random.default_rng(0).permutation(every)[:120], SIZES)
    ).eval()


def histories(rows: int) -> Histories:
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, CONFIG.max_items + 1, rows)
    return Histories(
        np.arange(rows),
        rng.integers(0, 120, lengths.sum()),
        np.concatenate([[0], np.cumsum(lengths)]),
    )


def encode(model: Tiger, reference, requests: Histories):
    """The reference's encoder output and padding mask for these histories."""
    lengths = torch.tensor(requests.lengths)
    items = torch.full((len(requests), int(lengths.max())), -1)
    for row in range(len(requests)):
        items[row, : lengths[row]] = torch.tensor(requests.sequence(row))
    tokens = model.item_tokens[items]
    mask = item_causal_mask(lengths, items.shape[1], model.levels)
    hidden = reference.encoder(input_ids=tokens.flatten(1), attention_mask=mask).last_hidden_state
    seen = torch.arange(hidden.shape[1])[None, :] < (lengths * model.levels)[:, None]
    return tokens, hidden, seen


@torch.inference_mode()
def test_logits_equal_the_reference(model: Tiger) -> None:
    reference, requests = to_transformers(model), histories(9)
    tokens, hidden, seen = encode(model, reference, requests)
    ours = model.encode(tokens)
    torch.testing.assert_close(ours[seen], hidden[seen], atol=1e-5, rtol=1e-5)
    target = model.item_tokens[:9]
    decoder_input = torch.nn.functional.pad(target[:, :-1], (1, 0))
    expected = reference(
        encoder_outputs=BaseModelOutput(hidden),
        attention_mask=seen,
        decoder_input_ids=decoder_input,
    ).logits
    for row in range(9):
        length = int(requests.lengths[row])
        filler = torch.zeros(1, length - 1, model.levels, dtype=torch.long)
        states = model._decode_all(
            torch.cat([filler, decoder_input[row][None, None]], 1),
            ours[row : row + 1, : length * 4],
            None,
        )
        torch.testing.assert_close(
            model._logits(states[0, -1]), expected[row], atol=1e-5, rtol=1e-5
        )


@torch.inference_mode()
@pytest.mark.parametrize("softmax", ["vocabulary", "trie"])
@pytest.mark.parametrize("beams", [10, 20, 50])
def test_beams_equal_generate_with_a_prefix_function(
    model: Tiger, beams: int, softmax: str
) -> None:
    reference, requests = to_transformers(model), histories(4)
    _, hidden, seen = encode(model, reference, requests)
    prefixes: dict[tuple[int, ...], set[int]] = {}
    for tokens in model.item_tokens[:-1].tolist():
        for level in range(model.levels):
            prefixes.setdefault(tuple(tokens[:level]), set()).add(tokens[level])
    generated = reference.generate(
        encoder_outputs=BaseModelOutput(hidden),
        attention_mask=seen,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=model.levels,
        min_new_tokens=model.levels,
        do_sample=False,
        length_penalty=0.0,
        early_stopping=False,
        renormalize_logits=softmax == "trie",
        prefix_allowed_tokens_fn=lambda _, tokens: sorted(prefixes[tuple(tokens[1:].tolist())]),
        return_dict_in_generate=True,
        output_scores=True,
    )
    item_of = {tuple(tokens): item for item, tokens in enumerate(model.item_tokens[:-1].tolist())}
    theirs = np.array(
        [item_of[tuple(sequence[1:].tolist())] for sequence in generated.sequences]
    ).reshape(4, beams)
    scores = generated.sequences_scores.view(4, beams).numpy()
    narrow = Tiger(
        TigerConfig(**{**vars(CONFIG), "beams": beams, "softmax": softmax}),
        SemanticIds(np.asarray(model.item_tokens[:-1]) - np.array([1, 7, 12, 16]), SIZES),
    )
    narrow.load_state_dict(model.state_dict())
    ours = narrow.eval().recommend(requests, beams)
    np.testing.assert_allclose(ours.scores, scores, atol=1e-4)
    np.testing.assert_array_equal(ours.items, theirs)


def test_a_fusion_or_a_repeat_bias_has_no_equivalent(model: Tiger) -> None:
    fused = Tiger(CONFIG, SemanticIds(np.array([[0], [1]]), (2,)))
    fused.attach(StructuredFusion(2, 4, CONFIG.dim, CONFIG.layers, 2))
    with pytest.raises(ConfigError, match="TIGER with a fusion has no T5 equivalent"):
        to_transformers(fused)
    repeating = Tiger(
        TigerConfig(softmax="trie", repeat_bias=True), SemanticIds(np.array([[0], [1]]), (2,))
    )
    with pytest.raises(ConfigError, match="TIGER with repeat_bias has no T5 equivalent"):
        to_transformers(repeating)
