"""One request at a time, as a shop sends them: everything that does not depend on the request is
made beforehand."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding.beam import beam_search
from scoter.models.decoding.tiger_decoder import BeamDecoder, evaluating, fold
from scoter.models.quantised_steps import QuantisedSteps
from scoter.protocols import StepSource


class SingleRequests:
    """A trained TIGER ready for single requests.

    Args:
        fusion: what `scoter.transfer.prepared.PreparedFusion` makes of the model's fusion, if it
            has one.

    Example:
        >>> import numpy as np
        >>> from scoter.config import TigerConfig
        >>> from scoter.types import SemanticIds
        >>> ids = SemanticIds(np.array([[0, 0], [0, 1], [1, 0]]), (2, 2))
        >>> model = Tiger(TigerConfig(dim=8, heads=2, head_dim=4, layers=1, feed_forward=16), ids)
        >>> items, scores = SingleRequests(model).best(torch.tensor([2, 1]), k=3)
        >>> sorted(items.tolist())
        [0, 1, 2]
    """

    def __init__(self, model: Tiger, fusion: Any = None) -> None:
        self.model, self.fusion, self.folded = model, fusion, fold(model)
        self.chains: Any = None

    def best(
        self,
        history: Int[Tensor, " length"],
        k: int,
        steps: StepSource | None = None,
        user: int = 0,
        beams: int = 0,
    ) -> tuple[Int[Tensor, " found"], Float[Tensor, " found"]]:
        """(items, scores) of the `k` best after `history`, whose last `max_items` count; `user` is
        whose chain is read."""
        model = self.model
        items = history[None, -model.config.max_items :]
        with evaluating(model):
            chain = None
            if self.fusion is not None and steps is not None:
                chain = self._chain(steps, user, len(history))
            memory = model.encode(model.item_tokens[items])
            decoder = BeamDecoder(model, self.folded, memory, torch.tensor([items.shape[1]]), chain)
            width, over_trie = max(k, beams or model.config.beams), model.config.softmax == "trie"
            found, scores = beam_search(
                decoder,
                model.trie,
                1,
                width,
                renormalise=over_trie,
                history=items,
                repeat=model.repeat_logits,
            )
            items, totals = found[0], scores[0]
            if chain is not None:
                items, totals = chain.elect(items, totals, decoder.state[0, 0])
        return items[:k], totals[:k]

    def _chain(self, steps: StepSource, user: int, length: int) -> Any:
        """The user's chain; those of a shipped table are all made ready when the first one is asked
        for."""
        if self.fusion.own is None or not isinstance(steps, QuantisedSteps):
            asked = torch.tensor([user]), torch.tensor([length])
            values, mask = steps.read(*asked)
            return self.fusion.chain(
                values[0], mask[0], None if self.fusion.votes is None else steps.named(*asked)[0]
            )
        if self.chains is None or self.chains.table is not steps:
            self.chains = self.fusion.chains(steps)
        return self.chains.of(user)
