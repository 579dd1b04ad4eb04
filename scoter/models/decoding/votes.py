"""What a recommender does with the votes of steps: the mixture p' and its best items.

`scoter.transfer.votes` explains the mixture and makes its log weights.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

NEVER = -1e9  # a log weight that no softmax gives a share

Scores = Float[Tensor, "rows items"]
Weights = Float[Tensor, "rows choices"]
Named = Int[Tensor, "rows steps"]


def add_votes(
    scores: Scores, weights: Weights, named: Named, items: Int[Tensor, "rows items"]
) -> Scores:
    """log p' of some `items`, given the recommender's own log p of them in `scores`.

    >>> weights, own = torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[0.4, 0.0]]).log()
    >>> add_votes(own, weights, torch.tensor([[7, 7]]), torch.tensor([[2, 7]])).exp()
    tensor([[0.2000, 0.5000]])
    """
    agree = items[:, :, None] == named[:, None, :]
    won = torch.logsumexp(weights[:, None, 1:].masked_fill(~agree, NEVER), dim=-1)
    return torch.logaddexp((scores + weights[:, :1]).clamp(min=NEVER), won)


def add_votes_everywhere(scores: Scores, weights: Weights, named: Named) -> Scores:
    """log p' of the whole catalogue, given the recommender's own log p of every item.

    >>> weights, own = torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[0.4, 0.6]]).log()
    >>> add_votes_everywhere(own, weights, torch.tensor([[1, -1]])).exp()
    tensor([[0.2000, 0.6000]])
    """
    total = scores + weights[:, :1]
    for step, items in enumerate(named.unbind(1)):
        place = items.clamp(min=0)[:, None]
        won = weights[:, step + 1, None].masked_fill(items[:, None] < 0, NEVER)
        total = total.scatter(1, place, torch.logaddexp(total.gather(1, place), won))
    return total


def candidates(
    found: Int[Tensor, "rows k"], scores: Float[Tensor, "rows k"], named: Named
) -> tuple[Int[Tensor, "rows items"], Scores]:
    """The items that a search `found` and those that steps name, each once, and their log p.

    p of an item that the search did not find counts as 0: it is below the k-th score found.
    """
    others = torch.where((named[:, :, None] == found[:, None, :]).any(-1), -1, named)
    earlier = torch.ones(others.shape[1], others.shape[1]).tril(-1).bool()
    again = (others[:, :, None] == others[:, None, :]) & earlier
    others = torch.where(again.any(-1), -1, others)
    own = torch.cat([scores, scores.new_full(others.shape, -torch.inf)], dim=1)
    return torch.cat([found, others], dim=1), own


def elect(
    found: Int[Tensor, "rows k"], scores: Float[Tensor, "rows k"], weights: Weights, named: Named
) -> tuple[Int[Tensor, "rows k"], Float[Tensor, "rows k"]]:
    """The best k by p' among the items that a search `found` and those that steps name.

    >>> found, scores = torch.tensor([[2, 7]]), torch.tensor([[0.6, 0.3]]).log()
    >>> thirds = torch.full((1, 3), 1 / 3).log()
    >>> items, best = elect(found, scores, thirds, torch.tensor([[7, 9]]))
    >>> items.tolist(), best.exp()
    ([[7, 9]], tensor([[0.4333, 0.3333]]))
    """
    items, own = candidates(found, scores, named)
    total = add_votes(own, weights, named, items).masked_fill(items < 0, -torch.inf)
    best, place = total.topk(found.shape[1], dim=1)
    return torch.where(best > NEVER / 2, items.gather(1, place), -1), best
