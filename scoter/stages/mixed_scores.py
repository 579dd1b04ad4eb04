"""The control that mixes a recommender's scores with the transition scores that the reasoner counts
by."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, vstack

from scoter.config import MethodConfig
from scoter.seeding import derive_seed
from scoter.stages.context import PARTS, Context
from scoter.stages.data import open_data
from scoter.stages.networks import computation, open_network, save_rankings
from scoter.storage.arrays import save_arrays
from scoter.storage.store import Artefact
from scoter.types import Histories, Split

LISTED = 50
WINDOW = 3
LAG_DECAY = 0.5


def rank_mixed(
    context: Context, method: MethodConfig, trained: Artefact, data: Artefact, ids: Artefact | None
) -> Artefact:
    """Rankings by mixed scores; the share of transitions is the one with the best NDCG@10 on all
    validation users.

    The recommender's best `LISTED` items are mixed. The scores are those of the role `likely_next`:
    cross-fitted transition counts from the last `WINDOW` items, each lag at half the weight of the
    one before.
    """

    def build(out: Path, scratch: Path) -> None:
        from scoter.models.training.loop import load_weights
        from scoter.transfer.mixing import mix_scores

        _, catalog, split = open_data(data)
        model, _, _ = open_network(context, method, data, ids, None)
        load_weights(model, trained.file("weights.safetensors"))
        depth = context.experiment.depth
        listed = {
            part: model.recommend(split.histories(part), max(depth, LISTED)) for part in PARTS
        }
        scores = {
            part: transition_scores(
                split,
                catalog.item_count,
                split.histories(part),
                derive_seed(context.data_seed, "folds"),
            )
            for part in PARTS
        }
        share = best_share(listed["valid"], scores["valid"], split, depth)
        for part in PARTS:
            save_rankings(mix_scores(listed[part], scores[part], share, depth), out, part)
            rows = len(listed[part].users)
            readings = {
                "gate": np.full(rows, share, np.float32),
                "attention": np.tile(np.array([share, 1 - share], np.float32), (rows, 1)),
            }
            save_arrays(out / f"readings-{part}.safetensors", **readings)

    recipe = {
        "depth": context.experiment.depth,
        "mixed": [LISTED, WINDOW, LAG_DECAY],
        **computation(method, context.device),
    }
    return context.stage("rank", recipe, [trained, data], build)


def best_share(listed: Any, scores: csr_array, split: Split, depth: int) -> float:
    """The share of the transition scores with the best NDCG@10 on all validation users; the
    smallest one among equals."""
    from scoter.evaluation.evaluator import Evaluator
    from scoter.evaluation.metrics import mean_metrics
    from scoter.transfer.mixing import WEIGHTS, mix_scores

    targets = split.targets("valid")
    found = [
        mean_metrics(Evaluator().evaluate(mix_scores(listed, scores, share, depth), targets))
        for share in WEIGHTS
    ]
    return WEIGHTS[int(np.argmax([metrics["ndcg@10"] for metrics in found]))]


def transition_scores(split: Split, item_count: int, histories: Histories, seed: int) -> csr_array:
    """One row of scores per history: what other shoppers' next purchases are after its last items,
    seen items among them."""
    from scoter.reasoning.catalogue.statistics import FoldedStatistics

    statistics = FoldedStatistics(split.train, item_count, seed)
    rows = _recent(histories, item_count)
    folds = statistics.user_folds[histories.users]
    order, parts = [], []
    for fold in np.unique(folds):
        chosen = np.flatnonzero(folds == fold)
        order.append(chosen)
        parts.append(csr_array(rows[chosen] @ statistics.transitions[fold]))
    return csr_array(csr_array(vstack(parts))[np.argsort(np.concatenate(order))])


def _recent(histories: Histories, item_count: int) -> csr_array:
    lags = np.arange(WINDOW)
    places = histories.offsets[1:, None] - 1 - lags
    there = places >= histories.offsets[:-1, None]
    row, lag = np.nonzero(there)
    weights: Float[np.ndarray, " entries"] = LAG_DECAY**lag
    return csr_array(
        (weights, (row, histories.items[places[there]])), shape=(len(histories), item_count)
    )
