"""Votes: a step that names an item can win it a share of the prediction.

A recommender that reads such a step as a vector has to spell out the item again, code by code.
Instead, each step that names an item has a vote: with p the recommender's own distribution,

    p'(item) = w_0 p(item) + sum over the steps k that name the item of w_k,

where w is a softmax over the steps and a part that abstains, computed from the state before the
first code and from what the steps say. Trained by likelihood, w leaves most to p, since likelihood
pays for targets that nobody names; a list of ten is better with less of it. So two shares are
chosen afterwards by the NDCG@10 of the validation users, and kept with the weights: with sigma_k
the chance of what step k names, which is what the step itself says of it, or else the share of
training targets that step k named,

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
        self.rates: Tensor  # sigma of steps that do not say how sure they are
        self.register_buffer("rates", torch.ones(steps))
        self.shares: Tensor  # b and c; until they are chosen nothing is changed
        self.register_buffer("shares", torch.tensor([1.0, 0.0]))

    def forward(
        self,
        states: Float[Tensor, "rows dim"],
        slots: Float[Tensor, "rows steps dim"],
        named: Int[Tensor, "rows steps"],
        certainty: Float[Tensor, "rows steps"] | None = None,
    ) -> Float[Tensor, "rows choices"]:
        """Log weights of abstention and of each step; a step whose `named` is -1 has no vote.

        Args:
            states: the recommender's, when it has read the history and the chain.
            certainty: the share that each step states, 0 where it states none.
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
        if self.training:
            return weights
        return shared(weights, self.chances(named, certainty), self.shares)

    def chances(
        self, named: Int[Tensor, "rows steps"], certainty: Float[Tensor, "rows steps"] | None
    ) -> Float[Tensor, "rows steps"]:
        """sigma of each step that names an item, else 0."""
        sure = self.rates.expand(named.shape)
        if certainty is not None:
            sure = torch.where(certainty > 0, certainty, sure)
        return torch.where(named >= 0, sure, 0.0)


def shared(
    weights: Float[Tensor, "rows choices"],
    chances: Float[Tensor, "rows steps"],
    shares: Float[Tensor, " 2"],
) -> Float[Tensor, "rows choices"]:
    """The log weights after b and c have had their say; they sum to one.

    >>> weights, chances = torch.tensor([[0.9, 0.1, 0.0]]).log(), torch.tensor([[0.3, 0.1]])
    >>> shared(weights, chances, torch.tensor([0.5, 0.5])).exp()
    tensor([[0.4737, 0.4211, 0.1053]])
    """
    own, unlearned = shares.tolist()
    if (own, unlearned) == (1.0, 0.0):
        return weights
    parts = weights.exp() * (1 - unlearned)
    parts = torch.cat([own * parts[:, :1], parts[:, 1:] + unlearned * chances], dim=1)
    total = parts.sum(dim=1, keepdim=True)
    return torch.where(parts > 0, (parts / total).clamp(min=1e-30).log(), NEVER)
