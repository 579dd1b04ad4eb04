"""Votes: a step that names an item can win it a share of the prediction.

A recommender that reads such a step as a vector has to spell out the item again, code by code.
Instead, each step that names an item has a vote: with p the recommender's own distribution,

    p'(item) = w_0 p(item) + sum over the steps k that name the item of w_k,

where w is a softmax over the steps and a part that abstains, computed from the state before the
first code and from what the steps say. Trained by likelihood, w leaves most to p, since likelihood
pays for targets that nobody names; a list of ten is better with less of it. So two shares are
chosen afterwards by the NDCG@10 of the validation users, and kept with the weights: with sigma_k
the share of training targets that step k named,

    p'(item) ~ (1 - c) (b w_0 p(item) + sum of w_k) + c sum of sigma_k.

It is a pointer beside a generator, as in See et al. 2017
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
        self.rates: Tensor  # sigma
        self.register_buffer("rates", torch.ones(steps))
        self.shares: Tensor  # b and c; until they are chosen nothing is changed
        self.register_buffer("shares", torch.tensor([1.0, 0.0]))

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
            weights = torch.log_softmax(torch.cat([abstain, scores], dim=1), dim=1)
        return weights if self.training else shared(weights, named, self.rates, self.shares)


def shared(
    weights: Float[Tensor, "rows choices"],
    named: Int[Tensor, "rows steps"],
    rates: Float[Tensor, " steps"],
    shares: Float[Tensor, " 2"],
) -> Float[Tensor, "rows choices"]:
    """The log weights after b and c have had their say; they sum to one.

    >>> weights, named = torch.tensor([[0.9, 0.1, 0.0]]).log(), torch.tensor([[4, 5]])
    >>> rates, shares = torch.tensor([0.3, 0.1]), torch.tensor([0.5, 0.2])
    >>> shared(weights, named, rates, shares).exp()
    tensor([[0.5625, 0.3594, 0.0781]])
    """
    own, unlearned = shares.tolist()
    if (own, unlearned) == (1.0, 0.0):
        return weights
    counted = rates * (named >= 0)
    counted = counted / counted.sum(dim=1, keepdim=True).clamp(min=1e-9)
    parts = weights.exp() * (1 - unlearned)
    parts = torch.cat([own * parts[:, :1], parts[:, 1:] + unlearned * counted], dim=1)
    total = parts.sum(dim=1, keepdim=True)
    return torch.where(parts > 0, (parts / total).clamp(min=1e-30).log(), NEVER)
