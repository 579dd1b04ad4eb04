"""What a recommender does with the votes of a chain's steps (`scoter.transfer.votes`): the mixture
p' and its best items."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

NEVER = -1e9


def add_votes(
    scores: Float[Tensor, "rows items"],
    weights: Float[Tensor, "rows choices"],
    named: Int[Tensor, "rows steps"],
    items: Int[Tensor, "rows items"],
) -> Float[Tensor, "rows items"]:
    """log p' of some `items`, given the recommender's own log p of them in `scores`.

    Example:
        >>> half = torch.tensor([[0.5, 0.3, 0.2]]).log()
        >>> add_votes(
        ...     torch.tensor([[0.4, 0.0]]).log(),
        ...     half,
        ...     torch.tensor([[7, 7]]),
        ...     torch.tensor([[2, 7]]),
        ... ).exp()
        tensor([[0.2000, 0.5000]])
    """
    agree = items[:, :, None] == named[:, None, :]
    won = torch.logsumexp(weights[:, None, 1:].masked_fill(~agree, NEVER), dim=-1)
    return torch.logaddexp((scores + weights[:, :1]).clamp(min=NEVER), won)


def add_votes_everywhere(
    scores: Float[Tensor, "rows items"],
    weights: Float[Tensor, "rows choices"],
    named: Int[Tensor, "rows steps"],
) -> Float[Tensor, "rows items"]:
    """log p' of the whole catalogue, given the recommender's own log p of every item.

    Example:
        >>> half = torch.tensor([[0.5, 0.3, 0.2]]).log()
        >>> add_votes_everywhere(
        ...     torch.tensor([[0.4, 0.6]]).log(), half, torch.tensor([[1, -1]])
        ... ).exp()
        tensor([[0.2000, 0.6000]])
    """
    total = scores + weights[:, :1]
    for step, items in enumerate(named.unbind(1)):
        place = items.clamp(min=0)[:, None]
        won = weights[:, step + 1, None].masked_fill(items[:, None] < 0, NEVER)
        total = total.scatter(1, place, torch.logaddexp(total.gather(1, place), won))
    return total


def elect(
    found: Int[Tensor, "rows k"],
    scores: Float[Tensor, "rows k"],
    weights: Float[Tensor, "rows choices"],
    named: Int[Tensor, "rows steps"],
) -> tuple[Int[Tensor, "rows k"], Float[Tensor, "rows k"]]:
    """The best k by p' among the items that a search `found` and those that steps name, best first.

    An item that the search did not find has its votes alone: what p would add is below the k-th
    score found.

    Example:
        >>> third = torch.full((1, 3), 1 / 3).log()
        >>> items, scores = elect(
        ...     torch.tensor([[2, 7]]),
        ...     torch.tensor([[0.6, 0.3]]).log(),
        ...     third,
        ...     torch.tensor([[7, 9]]),
        ... )
        >>> items.tolist(), scores.exp()
        ([[7, 9]], tensor([[0.4333, 0.3333]]))
    """
    others = torch.where((named[:, :, None] == found[:, None, :]).any(-1), -1, named)
    again = (others[:, :, None] == others[:, None, :]) & torch.ones(
        others.shape[1], others.shape[1]
    ).tril(-1).bool()
    others = torch.where(again.any(-1), -1, others)
    candidates = torch.cat([found, others], dim=1)
    own = torch.cat([scores, scores.new_full(others.shape, -torch.inf)], dim=1)
    total = add_votes(own, weights, named, candidates).masked_fill(candidates < 0, -torch.inf)
    best, place = total.topk(found.shape[1], dim=1)
    return torch.where(best > NEVER / 2, candidates.gather(1, place), -1), best
