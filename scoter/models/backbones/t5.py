"""TIGER as a `transformers` T5: the same weights under other names, the same function.

T5 attends over whole sequences, so its encoder has to be given the `item_causal_mask`; its decoder
then takes the encoder's output with an ordinary padding mask.
"""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from scoter.config import TigerConfig
from scoter.errors import ConfigError
from scoter.models.backbones.tiger import Tiger

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration


def to_transformers(model: Tiger) -> "T5ForConditionalGeneration":
    """A `T5ForConditionalGeneration` with this model's weights, in evaluation mode."""
    from transformers import T5Config, T5ForConditionalGeneration

    if model.fusion is not None:
        raise ConfigError("a TIGER with a fusion has no T5 equivalent; export one without")
    if model.repeat is not None:
        raise ConfigError(
            "a TIGER with repeat_bias has no T5 equivalent; train with model.repeat_bias=false"
        )
    config = model.config
    sizes = {
        "vocab_size": model.embedding.num_embeddings,
        "d_model": config.dim,
        "d_kv": config.head_dim,
        "d_ff": config.feed_forward,
        "num_layers": config.layers,
        "num_decoder_layers": config.layers,
        "num_heads": config.heads,
        "dropout_rate": config.dropout,
    }
    form = {"feed_forward_proj": "relu", "tie_word_embeddings": True}
    tokens = {"pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": None}
    reference = T5ForConditionalGeneration(T5Config(**sizes, **form, **tokens))
    weights = {theirs: model.state_dict()[ours] for ours, theirs in _names(config).items()}
    tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    weights |= {name: model.embedding.weight for name in tied if name in reference.state_dict()}
    reference.load_state_dict(weights)
    return reference.eval()


def item_causal_mask(
    lengths: Int[Tensor, " rows"], items: int, levels: int
) -> Bool[Tensor, "rows 1 tokens tokens"]:
    """True where a token may look: at its own and earlier items within the row's length.

    >>> item_causal_mask(torch.tensor([1]), items=2, levels=1)[0, 0].int().tolist()
    [[1, 0], [1, 0]]
    """
    item = torch.arange(items * levels) // levels
    causal, inside = item[:, None] >= item[None, :], item < lengths[:, None, None]
    return (causal & inside)[:, None]


def _names(config: TigerConfig) -> dict[str, str]:
    names = {"embedding.weight": "shared.weight"}
    for stack in ("encoder", "decoder"):
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        names[f"{stack}.relative_bias.embedding.weight"] = bias
        names[f"{stack}.norm.weight"] = f"{stack}.final_layer_norm.weight"
        for layer in range(config.layers):
            ours, theirs = f"{stack}.layers.{layer}", f"{stack}.block.{layer}.layer"
            parts = [("self_norm", "self_attention", "SelfAttention", list("qkvo"))]
            if stack == "decoder":
                parts.append(("cross_norm", "cross", "EncDecAttention", list("qkvo")))
            parts.append(("ff_norm", "ff", "DenseReluDense", ["wi", "wo"]))
            for place, (norm, part, name, maps) in enumerate(parts):
                names[f"{ours}.{norm}.weight"] = f"{theirs}.{place}.layer_norm.weight"
                for map_ in maps:
                    their_map = f"{theirs}.{place}.{name}.{map_}.weight"
                    names[f"{ours}.{part}.{map_}.weight"] = their_map
    return names
