"""Votes: a step that names an item can win it a share of the prediction.

A recommender that reads such a step as a vector has to spell out the item again, code by code.
Instead, each step that names an item has a vote: with p the recommender's own distribution,

    p'(item) = w_0 p(item) + sum over the steps k that name the item of w_k,

where w is a softmax over the steps and a part that abstains, computed from the state before the
first code and from what the steps say. It is a pointer beside a generator, as in See et al. 2017
(arXiv 1704.04368) and Merity et al. 2016 (arXiv 1609.07843). It is our addition: the paper's
abstracts do not mention it. It needs steps that are kept apart; a pooled chain names nothing.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.models.decoding.votes import NEVER


class Votes(nn.Module):
    """The log weights w of each chain."""

    def __init__(self, steps: int, dim: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.step = nn.Parameter(torch.zeros(steps))
        # At first nearly all weight abstains: a step has e^-3 of it.
        self.abstain = nn.Parameter(torch.tensor(3.0))

    def forward(
        self,
        states: Float[Tensor, "rows dim"],
        slots: Float[Tensor, "rows steps dim"],
        named: Int[Tensor, "rows steps"],
    ) -> Float[Tensor, "rows choices"]:
        """Log weights of abstention and of each step; a step whose `named` is -1 has no vote.

        Args:
            states: the recommender's, when it has read the history and the chain.
        """
        with torch.autocast(states.device.type, enabled=False):
            asked = self.query(states.float())
            # (W s + b) q as s (W' q) + b q, since there are more steps than states.
            scores = (slots.float() @ (asked @ self.key.weight)[:, :, None])[..., 0]
            scores = scores + (asked @ self.key.bias)[:, None]
            scores = scores * states.shape[1] ** -0.5 + self.step
            scores = scores.masked_fill(named < 0, NEVER)
            abstain = self.abstain.expand(len(scores), 1)
            return torch.log_softmax(torch.cat([abstain, scores], dim=1), dim=1)
