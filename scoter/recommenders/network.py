"""An untrained network of a method: its backbone, with the fusion that reads chains."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scoter.config import MethodConfig, TextConfig
from scoter.models.backbones.backbone import ItemSpace
from scoter.models.decoding.ranking import AfterBatch, ignore, rank_unseen
from scoter.plugins import BACKBONES
from scoter.seeding import derive_seed
from scoter.semantic_ids.vectors import text_fields
from scoter.storage.sentence_vectors import item_texts
from scoter.types import (
    Catalog,
    Histories,
    Rankings,
    ReasoningPattern,
    SemanticIds,
    Split,
    StepEmbeddings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scoter.models.backbones.backbone import Backbone
    from scoter.protocols import StepSource

    Encode = Callable[[list[str]], np.ndarray]
    Encoded = Callable[[], np.ndarray]


def build_model(
    method: MethodConfig,
    split: Split,
    catalog: Catalog,
    ids: SemanticIds | None,
    steps: StepEmbeddings | None,
    seed: int,
    device: str = "cpu",
    texts: "Encoded | None" = None,
) -> "Backbone":
    """The network on its device, the fusion's statistics taken from training prefixes.

    Initial weights depend on `seed` alone, wherever they are. `texts` makes items' text vectors.
    """
    from scoter.models.training.precision import resolve_device

    chains = None if method.fusion is None or steps is None else (steps.pattern, steps.dim)
    items = ItemSpace(catalog.item_count, ids, split.train, catalog, texts)
    model = build_network(method, items, chains, seed, device)
    if not model.trains:
        return model
    if model.fusion is not None and steps is not None:
        model.fusion.set_statistics(*training_steps(split, steps))
        if model.fusion.has_votes:
            model.fusion.set_rates(*training_votes(split, steps))
    return model.to(resolve_device(device))


def build_network(
    method: MethodConfig,
    items: ItemSpace,
    chains: tuple[ReasoningPattern, int] | None,
    seed: int,
    device: str = "cpu",
) -> "Backbone":
    """The same without data and still on the processor; `device` decides its precision.

    `chains` has the pattern and the width of a step's embedding.
    """
    import torch

    from scoter.models.training.precision import resolve_device, resolve_precision
    from scoter.transfer.alignment import Alignment
    from scoter.transfer.build import build_fusion

    config, fusion = method.model, method.fusion
    dim = config.dim
    torch.manual_seed(derive_seed(seed, "weights"))
    precision = resolve_precision(method.training.precision, resolve_device(device))
    model = BACKBONES.get(config.kind).build(config, items, precision)
    if fusion is not None and chains is not None:
        model.attach(build_fusion(fusion, *chains, dim, model.reading_layers))
        if fusion.alignment:
            model.alignment = Alignment(dim, fusion.alignment, fusion.temperature)
    return model


def text_vectors(catalog: Catalog, text: TextConfig, encode: "Encode") -> "Encoded | None":
    """What makes the text vectors of a catalogue's items; None where it says nothing of them."""
    fields = text_fields(catalog, text.fields)
    return (lambda: encode(item_texts(catalog, fields))) if fields else None


def needs_semantic_ids(method: MethodConfig) -> bool:
    """Whether a method generates semantic IDs, or reads those of the items that its chains name."""
    grounded = method.fusion is not None and method.fusion.grounded
    return grounded or BACKBONES.get(method.model.kind).needs_ids


def training_steps(
    split: Split, steps: StepEmbeddings, most: int = 8192
) -> tuple["Tensor", "Tensor"]:
    """Steps and mask of at most `most` evenly spaced training prefixes that an item follows."""
    import torch

    from scoter.models.step_reader import StepReader

    users, prefix_lengths = _training_prefixes(split, most)
    return StepReader(steps).read(torch.from_numpy(users), torch.from_numpy(prefix_lengths))


def training_votes(
    split: Split, steps: StepEmbeddings, most: int = 65536
) -> tuple["Tensor", "Tensor"]:
    """The items that each step of such prefixes names, and the item that followed."""
    import torch

    from scoter.models.step_reader import StepReader

    users, lengths = _training_prefixes(split, most)
    named = StepReader(steps).named(torch.from_numpy(users), torch.from_numpy(lengths))
    targets = split.train.items[split.train.offsets[users] + lengths]
    return named, torch.from_numpy(targets.astype(np.int64))


def _training_prefixes(split: Split, most: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.maximum(split.train.lengths - 1, 0)
    ends = np.cumsum(lengths)
    chosen = np.linspace(0, ends[-1] - 1, min(most, int(ends[-1]))).astype(np.int64)
    users = np.searchsorted(ends, chosen, side="right")
    return users, chosen - (ends - lengths)[users] + 1


def rank_with_readings(
    model: "Backbone",
    histories: Histories,
    k: int,
    steps: "StepSource | None",
    after_batch: AfterBatch = ignore,
    unseen: bool = False,
) -> tuple[Rankings, dict[str, np.ndarray]]:
    """The `k` best items after each history, or of those that it does not hold, and what was read.

    Where chains are read: mean `gate` [rows] and `attention` [rows, slots].
    """
    rank = partial(rank_unseen, model) if unseen else model.recommend
    rows, fusion = len(histories), model.fusion
    if fusion is None or steps is None:
        return rank(histories, k, steps, after_batch), {}
    gate = np.zeros(rows, np.float32)
    attention = np.zeros((rows, fusion.slot_count + 1), np.float32)

    def note(chosen: np.ndarray) -> None:
        gates, weights = fusion.take_readings()
        gate[chosen], attention[chosen] = gates.cpu().numpy(), weights.cpu().numpy()
        after_batch(chosen)

    fusion.start_recording()
    rankings = rank(histories, k, steps, note)
    fusion.stop_recording()
    return rankings, {"gate": gate, "attention": attention}
