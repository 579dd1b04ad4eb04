"""One request at a time, as a shop sends them: what does not depend on it is made beforehand."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding.folded import Folded
from scoter.models.decoding.ranking import inferring
from scoter.models.decoding.tiger_decoder import BeamDecoder


@runtime_checkable
class ReadyChain(Protocol):
    """One chain, ready to be read."""

    def __call__(self, hidden: Tensor, layer: int) -> Tensor:
        """States [1, queries, dim] that have read it in this layer."""
        ...

    def elect(self, items: Tensor, scores: Tensor, state: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The best k of what a search found and steps name, by the votes of a first state."""
        ...


class SingleRequests:
    """A trained TIGER ready for single requests, for which it is put into evaluation mode.

    Args:
        chain_of: (user, prefix length) -> the user's chain; None where none is read. See
            `scoter.transfer.prepared.PreparedFusion`.
    """

    def __init__(
        self, model: Tiger, chain_of: Callable[[int, int], ReadyChain] | None = None
    ) -> None:
        self.model, self.chain_of, self.folded = model.eval(), chain_of, Folded(model)

    def best(
        self, history: Int[Tensor, " length"], k: int, user: int = 0
    ) -> tuple[Int[Tensor, " found"], Float[Tensor, " found"]]:
        """(items, scores) of the `k` best after `history`, whose last `max_items` count.

        The chain that is read is that of `user`.
        """
        model = self.model
        items = history[None, -model.config.max_items :]
        with inferring(model):
            chain = None if self.chain_of is None else self.chain_of(user, len(history))
            memory = self.folded.encode(items)
            lengths = torch.tensor([items.shape[1]])
            decoder = BeamDecoder(model, self.folded, memory, lengths, read=chain)
            found, scores = model.search(decoder, items, max(k, model.config.beams))
            if chain is not None:
                return chain.elect(found[0], scores[0], decoder.state[0, 0], k)
        return found[0, :k], scores[0, :k]
