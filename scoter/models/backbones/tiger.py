"""TIGER (Rajput et al. 2023): a T5 over semantic IDs, trained on all targets of a user in one pass.

The encoder is item-causal: a token attends to the tokens of its own item and of earlier items. One
pass over a user's items therefore yields the hidden states of all prefixes, and the decoder of
target t reads those of the items before t and the chain of exactly that prefix. Training sees what
decoding sees: the states of a prefix do not depend on what follows.

Token 0 starts a decoder and pads; token `first_tokens[l] + c` is code c of level l. There is no
user token: in the paper's ablation it gains nothing on Beauty. Decoding is a beam search over the
trie of existing IDs.

Shape legend: B rows, L items in a row, T = L - 1 targets, C codes per item, D width, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.config import TigerConfig
from scoter.errors import ConfigError
from scoter.models.backbones.backbone import Backbone, ItemSpace
from scoter.models.decoding.beam import Choice, TrieTensors, beam_search
from scoter.models.decoding.exact import rescore
from scoter.models.decoding.folded import Folded
from scoter.models.decoding.ranking import AfterBatch, ignore, rank_in_batches
from scoter.models.decoding.tiger_decoder import BeamDecoder
from scoter.models.decoding.trie import build_trie
from scoter.models.decoding.votes import elect
from scoter.models.layers import Attention, Dropout, FeedForward, RelativeBias, RMSNorm
from scoter.models.step_reader import ChainMemory, read_chains
from scoter.models.training.batches import HistoryBatch, ItemBatch
from scoter.models.training.precision import device_of
from scoter.protocols import StepSource
from scoter.types import Histories, Rankings, SemanticIds

BLUR = 0.1  # noise added to codebooks at the start, in units of T5's own
BATCH_ROWS = 24  # users ranked together on a processor: what a core's cache holds
GPU_BATCH_ROWS = 2048  # and on a GPU: its kernels then take longer than it takes to start them
_BLOCKED = -1e9


class Tiger(Backbone[TigerConfig]):
    """Generative retrieval over `ids`; with a fusion, the decoder also reads the chain's steps.

    >>> ids = SemanticIds(np.array([[0, 0], [0, 1], [1, 0]]), (2, 2))
    >>> model = Tiger(TigerConfig(dim=8, heads=2, head_dim=4, layers=1, feed_forward=16), ids)
    >>> histories = Histories(np.array([0]), np.array([2, 1]), np.array([0, 2]))
    >>> sorted(model.recommend(histories, k=3).items[0].tolist())
    [0, 1, 2]
    """

    Config = TigerConfig
    needs_ids = takes_padding = True

    def __init__(self, config: TigerConfig, ids: SemanticIds, precision: str = "fp32") -> None:
        super().__init__(config, precision)
        if config.repeat_bias and config.softmax != "trie":
            raise ConfigError("repeat_bias = True needs softmax = 'trie'; set model.softmax=trie")
        self.reading_layers = config.layers
        sizes = np.asarray(ids.codebook_sizes)
        first_tokens = tuple((1 + np.concatenate([[0], np.cumsum(sizes)[:-1]])).tolist())
        tokens = torch.from_numpy(ids.codes.astype(np.int64)) + torch.tensor(first_tokens)
        # Row -1, the padding item, is all zeros.
        tokens = torch.cat([tokens, torch.zeros(1, len(sizes), dtype=torch.long)])
        self.item_tokens: Tensor
        self.register_buffer("item_tokens", tokens, persistent=False)
        self.trie = TrieTensors(build_trie(ids), first_tokens)
        self.levels, self.codebook_sizes = len(sizes), ids.codebook_sizes
        self.embedding = nn.Embedding(1 + int(sizes.sum()), config.dim)
        if config.embedding_start == "codebooks":
            start_from_codebooks(self.embedding.weight, ids, first_tokens)
        self.repeat = nn.Parameter(torch.zeros(self.levels)) if config.repeat_bias else None
        self.encoder = Stack(config, decoder=False)
        self.decoder = Stack(config, decoder=True)
        self.dropout = Dropout(config.dropout)

    @classmethod
    def build(cls, config: TigerConfig, items: ItemSpace, precision: str = "fp32") -> "Tiger":
        """An untrained TIGER over the items' semantic IDs."""
        if items.ids is None:
            raise ConfigError("ids is None, but TIGER generates semantic IDs; pass them")
        return cls(config, items.ids, precision=precision)

    def output_vectors(self, items: Int[Tensor, " items"]) -> Float[Tensor, "items D"]:
        """The mean of the embeddings of an item's codes, which scores are products with."""
        return self.embedding(self.item_tokens[items]).mean(dim=1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Tiger":
        """Moves the trie along with the weights: `nn.Module.to`, `cuda` and their like end here."""
        self.trie.move(fn)
        return super()._apply(fn, recurse)

    def loss(
        self, batch: ItemBatch, steps: StepSource | None = None, label_smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats per semantic-ID token over the batch's targets."""
        tokens = self.item_tokens[batch.items]  # B L C
        memory = self.encode(tokens[:, :-1])
        first, (row, column) = batch.first_target, batch.places
        targets = tokens[:, 1 + first :]
        users = batch.users.repeat_interleave(targets.shape[1])
        lengths = batch.prefix_lengths[:, first:].flatten()
        chain = read_chains(self.fusion, steps, users, lengths)
        shifted = nn.functional.pad(targets[..., :-1], (1, 0))  # the start token is 0
        hidden = self._decode_all(shifted, memory, chain)[row, column - first]
        items = batch.targets
        if self.config.softmax == "trie":
            smoothed = label_smoothing > 0
            log_probs, spread = self._over_trie(hidden, batch.histories, items, smoothed)
        else:
            over_all = torch.log_softmax(self._logits(hidden).float(), -1)
            log_probs = over_all.gather(2, self.item_tokens[items][..., None])[..., 0].sum(1)
            spread = -over_all.mean(-1).sum(1)
        if self.fusion is not None and chain is not None and chain.named is not None:
            chosen = row * targets.shape[1] + column - first
            log_probs = self.voted(log_probs, hidden[:, 0], chain.of(chosen), items)
        loss = (label_smoothing - 1) * batch.mean(log_probs)
        return (loss + label_smoothing * batch.mean(spread)) / self.levels

    def _over_trie(
        self,
        hidden: Float[Tensor, "N C D"],
        history: Int[Tensor, "N L"],
        items: Int[Tensor, " N"],
        smoothed: bool,
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Log probability of each item, each code among those that can follow the ones before it.

        For smoothing, also the mean cross-entropy of the codes that can follow, summed over levels.
        """
        total = hidden.new_zeros(len(items), dtype=torch.float32)
        spread = torch.zeros_like(total)
        for level, first_token in enumerate(self.trie.first_tokens):
            size = self.codebook_sizes[level]
            logits = self._logits(hidden[:, level], self.scored(level)).float()
            nodes = self.trie.path[items, level]
            forbidden = ~self.trie.codes_below(nodes, level, size)
            if self.repeat is not None:
                seen = self.trie.seen_codes(history, nodes, size)
                logits = logits + seen * (10 * self.repeat[level])
            log_probs = torch.log_softmax(logits.masked_fill(forbidden, _BLOCKED), -1)
            label = self.item_tokens[items, level] - first_token
            total = total + log_probs.gather(1, label[:, None])[:, 0]
            if smoothed:
                allowed = log_probs.masked_fill(forbidden, 0).sum(1) / (~forbidden).sum(1)
                spread = spread - allowed
        return total, spread

    def recommend(
        self,
        histories: Histories,
        k: int,
        steps: StepSource | None = None,
        after_batch: AfterBatch = ignore,
        batch_rows: int = 0,
        beams: int = 0,
    ) -> Rankings:
        """The `k` most likely items after each history, by constrained beam search.

        Args:
            batch_rows: histories ranked together; 0 for what suits the device.
            beams: width of the search, at least `k`; 0 for the config's.
        """
        folded = Folded(self)  # once for all batches
        rows = batch_rows or (BATCH_ROWS if device_of(self).type == "cpu" else GPU_BATCH_ROWS)

        def best(asked: HistoryBatch) -> tuple[Tensor, Tensor]:
            width = max(k, beams or self.config.beams)
            found, scores, votes = self.listed(asked, width, steps, folded)
            return (found, scores) if votes is None else elect(found, scores, *votes)

        return rank_in_batches(self, best, histories, k, rows, after_batch)

    def listed(
        self,
        asked: HistoryBatch,
        beams: int,
        steps: StepSource | None,
        folded: Folded | None = None,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """The items that the search finds, their own log p, and what the steps vote."""
        decoder = BeamDecoder.start(self, folded or Folded(self), asked, steps)
        found = self.search(decoder, asked.items, beams)
        return *found, decoder.votes

    def search(
        self, decoder: BeamDecoder, items: Int[Tensor, "B L"], beams: int
    ) -> tuple[Int[Tensor, "B beams"], Float[Tensor, "B beams"]]:
        """The best items and their scores after the histories that a decoder starts from."""
        return beam_search(decoder, self.trie, self.choice(items), beams)

    def scored(self, level: int) -> slice:
        """The tokens among which a code of this level is chosen."""
        first = self.trie.first_tokens[level]
        whole = self.config.softmax == "vocabulary"
        return slice(None) if whole else slice(first, first + self.codebook_sizes[level])

    def choice(self, items: Int[Tensor, "B L"]) -> Choice:
        """How codes are chosen after these histories.

        A branch that leads to one item alone, which the history holds, has ten times the level's
        parameter added to its logit: it so moves ten times as fast; else it would come too late.
        """
        again = None if self.repeat is None else 10 * self.repeat
        return Choice(self.config.softmax == "trie", items, again)

    def rescore(
        self,
        histories: Histories,
        items: Int[np.ndarray, "histories k"],
        steps: StepSource | None = None,
    ) -> Float[np.ndarray, "histories k"]:
        """log P(item | history) in nats of given items; -inf where an item is -1."""
        return rescore(self, histories, items, steps)

    def encode(self, tokens: Int[Tensor, "B L C"]) -> Float[Tensor, "B LC D"]:
        """Hidden states of all tokens; those of an item depend on it and on earlier items only."""
        length = tokens.shape[1] * self.levels
        item = torch.arange(length) // self.levels
        causal = torch.where(item[:, None] >= item[None, :], 0.0, _BLOCKED)
        x = self.dropout(self.embedding(tokens.flatten(1)))
        bias = self.encoder.relative_bias(length) + causal
        for layer in self.encoder.layers:
            x = layer.feed_forward(layer.self_attend(x, bias))
        return self.dropout(self.encoder.norm(x))

    def _decode_all(
        self,
        tokens: Int[Tensor, "B T C"],
        memory: Float[Tensor, "B LC D"],
        chain: ChainMemory | None,
    ) -> Float[Tensor, "B T C D"]:
        rows, targets, codes = tokens.shape
        length = memory.shape[1] // codes
        item = torch.arange(length).repeat_interleave(codes)
        # The targets are the row's last ones. Target t (0-based here) is item t + 1 of the row: it
        # may read items 0..t.
        target = torch.arange(length - targets, length).repeat_interleave(codes)
        before = torch.where(item[None, :] <= target[:, None], 0.0, _BLOCKED)[None, None]
        order = torch.arange(codes)
        causal = torch.where(order[:, None] >= order[None, :], 0.0, _BLOCKED)
        causal = self.decoder.relative_bias(codes) + causal
        x = self.dropout(self.embedding(tokens)).flatten(0, 1)  # BT C D
        for number, layer in enumerate(self.decoder.layers):
            x = layer.self_attend(x, causal).view(rows, targets * codes, -1)
            read = layer.cross(layer.cross_norm(x), layer.cross.keys_values(memory), before)
            x = layer.dropout.add(x, read)
            x = x.view(rows * targets, codes, -1)
            if self.fusion is not None and chain is not None:
                x = self.fusion(x, chain, number)
            x = layer.feed_forward(x)
        return self.dropout(self.decoder.norm(x)).view(rows, targets, codes, -1)

    def _logits(
        self, hidden: Float[Tensor, "*rows D"], tokens: slice = slice(None)
    ) -> Float[Tensor, "*rows V"]:
        """Tied with the embedding and scaled, as in T5; of these `tokens` only."""
        return nn.functional.linear(hidden * self.config.dim**-0.5, self.embedding.weight[tokens])


@torch.no_grad()
def start_from_codebooks(
    embedding: Float[Tensor, "V D"], ids: SemanticIds, first_tokens: tuple[int, ...]
) -> None:
    """Write each level's codebook into `embedding`, so that codes that mean alike start alike.

    All books keep their D leading axes and are turned by one random rotation; each is then scaled
    to unit variance, as T5 starts, and blurred by a tenth of T5's noise.
    """
    if ids.codebooks is None:
        raise ConfigError(
            "embedding_start = 'codebooks', but these semantic IDs come without codebooks; make "
            "them with semantic_ids.build_semantic_ids, or set model.embedding_start=random"
        )
    books = torch.from_numpy(ids.codebooks.astype(np.float32))
    dim = embedding.shape[1]
    axes = torch.linalg.svd(books.flatten(0, 1), full_matrices=False)[2][:dim]
    turn = axes.T @ nn.init.orthogonal_(torch.empty(dim, dim))[: len(axes)]
    for book, first_token in zip(books, first_tokens, strict=False):
        turned = book @ turn
        scaled = turned / turned.square().mean().sqrt().clamp(min=1e-12)
        embedding[first_token : first_token + len(book)] = scaled + BLUR * torch.randn_like(scaled)


class Stack(nn.Module):
    """Layers, the relative bias that they share, and a final norm."""

    def __init__(self, config: TigerConfig, decoder: bool) -> None:
        super().__init__()
        layers = nn.ModuleList(Layer(config, decoder) for _ in range(config.layers))
        self.layers = cast("Sequence[Layer]", layers)
        self.relative_bias = RelativeBias(config.heads, bidirectional=not decoder)
        self.norm = RMSNorm(config.dim)


class Layer(nn.Module):
    """Pre-norm sublayers with residuals; an encoder layer has no cross-attention."""

    def __init__(self, config: TigerConfig, decoder: bool) -> None:
        super().__init__()
        self.self_norm = RMSNorm(config.dim)
        self.self_attention = Attention(config.dim, config.heads, config.head_dim)
        if decoder:
            self.cross_norm = RMSNorm(config.dim)
            self.cross = Attention(config.dim, config.heads, config.head_dim)
        self.ff_norm = RMSNorm(config.dim)
        self.ff = FeedForward(config.dim, config.feed_forward, config.dropout)
        self.dropout = Dropout(config.dropout)

    def self_attend(
        self, x: Float[Tensor, "N Q D"], bias: Float[Tensor, "1 H Q Q"]
    ) -> Float[Tensor, "N Q D"]:
        normed = self.self_norm(x)
        keys_values = self.self_attention.keys_values(normed)
        return self.dropout.add(x, self.self_attention(normed, keys_values, bias))

    def feed_forward(self, x: Float[Tensor, "N Q D"]) -> Float[Tensor, "N Q D"]:
        return self.dropout.add(x, self.ff(self.ff_norm(x)))
