"""The two shares of a recommender's votes, chosen by the rankings of the validation users."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from scoter.evaluation.metrics import per_user
from scoter.progress import counting
from scoter.types import Split, UserMetrics

if TYPE_CHECKING:
    from torch import Tensor

    from scoter.models.backbones.backbone import Backbone
    from scoter.models.training.batches import HistoryBatch
    from scoter.protocols import StepSource
    from scoter.transfer.votes import Votes

OWN = (1.0, 0.85, 0.7, 0.5, 0.35, 0.2, 0.1)  # values of b that are tried
UNLEARNED = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of c
LISTED, CUT, ROWS = 20, 10, 64  # items a user, the k of NDCG, users at a time


def shares_of(model: "Backbone") -> tuple[float, float] | None:
    """b and c of the model's votes; None where nothing votes. See `scoter.transfer.votes`."""
    votes: Votes | None = getattr(model.fusion, "votes", None)
    if votes is None:
        return None
    own, unlearned = votes.shares.double().round(decimals=6).tolist()
    return own, unlearned


def set_shares(model: "Backbone", shares: Sequence[float] | None) -> None:
    """Give b and c, where they are known, to a model with votes."""
    votes: Votes | None = getattr(model.fusion, "votes", None)
    if votes is not None and shares is not None:
        votes.shares.copy_(votes.shares.new_tensor(shares))


def fit_shares(
    model: "Backbone", split: Split, steps: "StepSource | None", progress: bool = True
) -> None:
    """Sets b and c of the model's votes, if it has any, to the best NDCG@10 of validation users."""
    import torch

    from scoter.models.backbones.backbone import Backbone

    votes: Votes | None = getattr(model.fusion, "votes", None)
    lists = type(model).listed is not Backbone.listed
    if votes is None or steps is None or not len(split.valid) or not lists:
        return
    votes.shares.copy_(torch.tensor([1.0, 0.0]))
    ballots = _ballots(model, votes, split, steps, progress)
    with torch.inference_mode():
        reached = {pair: _ndcg(ballots, pair) for pair in product(OWN, UNLEARNED)}
    votes.shares.copy_(torch.tensor(max(reached, key=reached.__getitem__)))


@dataclass(frozen=True, eq=False)
class _Batch:
    """What speaks for each candidate of some users; p' is (1 - c) (b own + voted) + c sure."""

    own: "Tensor"  # the recommender's p, times the weight of abstention
    voted: "Tensor"  # the weights of the steps that name it
    sure: "Tensor"  # their unlearned chances
    there: "Tensor"  # false where the row has no more candidates
    hit: "Tensor"  # whether it is the target


def _ballots(
    model: "Backbone", votes: "Votes", split: Split, steps: "StepSource", progress: bool
) -> "list[_Batch]":
    import torch

    from scoter.models.decoding.ranking import rank_in_batches
    from scoter.models.decoding.votes import candidates

    targets, kept = torch.from_numpy(split.valid.items.astype(np.int64)), []
    histories = split.histories("valid")

    def best(asked: "HistoryBatch") -> "tuple[Tensor, Tensor]":
        listed = model.listed(asked, LISTED, steps)
        assert listed is not None
        found, scores, ballot = listed
        assert ballot is not None
        weights, named = ballot
        chances = votes.chances(named, steps.certainty(asked.users, asked.prefix_lengths))
        items, own = candidates(found, scores, named)
        agree = items[:, :, None] == named[:, None, :]
        voted, sure = ((agree * of[:, None]).sum(dim=2) for of in (weights[:, 1:].exp(), chances))
        wanted = targets.to(items.device)[torch.from_numpy(asked.rows), None]
        own = (own + weights[:, :1]).exp()
        kept.append(_Batch(own, voted, sure, items >= 0, items == wanted))
        return found, scores

    with counting("choosing shares", len(histories), "user", progress) as note:
        rank_in_batches(model, best, histories, CUT, ROWS, note)
    return kept


def _ndcg(ballots: "list[_Batch]", pair: tuple[float, float]) -> float:
    import torch

    (b, c), places = pair, []
    for batch in ballots:
        scores = (1 - c) * (b * batch.own + batch.voted) + c * batch.sure
        scores = torch.where(batch.there, scores, -1.0)
        target = torch.where(batch.hit, scores, -1.0).amax(dim=1, keepdim=True)
        above = 1 + (scores > target).sum(dim=1)
        places.append(torch.where(batch.hit.any(dim=1), above, 0))
    ranks = torch.cat(places).cpu().numpy()
    metrics = UserMetrics(np.arange(len(ranks)), ranks, int(ranks.max(initial=CUT)))
    return float(per_user(metrics, f"ndcg@{CUT}").mean())
