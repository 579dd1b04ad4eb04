"""Votes: a step that names an item can win it a share of the prediction, beside what the
recommender finds by itself.

A chain's last steps name items. Reading them as vectors, a recommender has to spell out again, code
by code, what the step said plainly. So each step that names an item has a vote: with p the
recommender's own distribution,

    p'(item) = w_0 p(item) + sum over the steps k that name the item of w_k,

where w is a softmax over the steps and a part that abstains, from the state before the first code
and what the steps say. It is a pointer beside a generator, as in See et al. 2017 (arXiv 1704.04368)
and Merity et al. 2016 (arXiv 1609.07843), and our addition: the paper's abstracts say nothing of
it. Steps have to be kept apart for it; a pooled chain names nothing.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

NEVER = -1e9


class Votes(nn.Module):
    """The weights w of every chain, in logarithms.

    Args:
        steps: K, the number of steps.
        dim: width of states and slots.

    Example:
        >>> votes = Votes(steps=2, dim=4)
        >>> weights = votes(
        ...     torch.randn(3, 4), torch.randn(3, 2, 4), torch.tensor([[5, -1], [5, 5], [-1, -1]])
        ... )
        >>> weights.shape, weights.exp().sum(1).round(decimals=5).tolist(), weights[2, 0].item()
        (torch.Size([3, 3]), [1.0, 1.0, 1.0], 0.0)
    """

    def __init__(self, steps: int, dim: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.step = nn.Parameter(torch.zeros(steps))
        # Abstains at first in nearly all: e^-3 of the weight of abstention is a step's.
        self.abstain = nn.Parameter(torch.tensor(3.0))

    def forward(
        self,
        states: Float[Tensor, "rows dim"],
        slots: Float[Tensor, "rows steps dim"],
        named: Int[Tensor, "rows steps"],
    ) -> Float[Tensor, "rows choices"]:
        """Log weights of abstention and of each step; a step whose `named` is -1 names no item and
        has none.

        Args:
            states: the recommender's states when it has read the history and the chain, and said
                nothing yet.
        """
        with torch.autocast(states.device.type, enabled=False):
            asked = self.query(states.float())
            # (W s + b) q as s (W' q) + b q, since there are more steps than states.
            scores = (slots.float() @ (asked @ self.key.weight)[:, :, None])[..., 0] + (
                asked @ self.key.bias
            )[:, None]
            scores = scores * states.shape[1] ** -0.5 + self.step
            scores = scores.masked_fill(named < 0, NEVER)
            return torch.log_softmax(
                torch.cat([self.abstain.expand(len(scores), 1), scores], dim=1), dim=1
            )
