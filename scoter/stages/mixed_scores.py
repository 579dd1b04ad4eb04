"""The control that mixes a recommender's scores with the reasoner's transition scores."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, vstack

from scoter.config import MethodConfig
from scoter.seeding import derive_seed
from scoter.stages.context import PARTS, Context
from scoter.stages.data import open_data
from scoter.stages.networks import Inputs, computation, open_trained, save_rankings
from scoter.storage.arrays import save_arrays
from scoter.storage.store import Artefact
from scoter.types import Histories, Rankings, Split

LISTED = 50  # the recommender's best items, which are mixed
WINDOW = 3  # the last items of a history that transitions start from
LAG_DECAY = 0.5  # the weight of an item relative to the one after it


def rank_mixed(
    context: Context, method: MethodConfig, trained: Artefact, inputs: Inputs
) -> Artefact:
    """Rankings by a mix of the recommender's and the role `likely_next`'s scores."""
    depth = context.experiment.depth

    def build(out: Path, scratch: Path) -> None:
        from scoter.transfer.mixing import mix_scores

        _, catalog, split = open_data(inputs.data)
        model, _, _ = open_trained(context, method, inputs, trained)
        seed = derive_seed(context.data_seed, "folds")
        histories = {part: split.histories(part) for part in PARTS}
        listed = {part: model.recommend(histories[part], max(depth, LISTED)) for part in PARTS}
        scores = {
            part: transition_scores(split, catalog.item_count, histories[part], seed)
            for part in PARTS
        }
        share = best_share(listed["valid"], scores["valid"], split, depth)
        for part in PARTS:
            save_rankings(mix_scores(listed[part], scores[part], share, depth), out, part)
            rows = len(histories[part])
            shares = np.tile(np.array([share, 1 - share], np.float32), (rows, 1))
            readings = {"gate": np.full(rows, share, np.float32), "attention": shares}
            save_arrays(out / f"readings-{part}.safetensors", **readings)

    mixed = [LISTED, WINDOW, LAG_DECAY]
    recipe = {"depth": depth, "mixed": mixed, **computation(method, context.device)}
    return context.stage("rank", recipe, [trained, inputs.data], build)


def best_share(listed: Rankings, scores: csr_array, split: Split, depth: int) -> float:
    """The smallest share of the transition scores with the best NDCG@10 on validation users."""
    from scoter.evaluation.evaluator import Evaluator
    from scoter.evaluation.metrics import mean_metrics
    from scoter.transfer.mixing import WEIGHTS, mix_scores

    targets = split.targets("valid")
    mixed = (mix_scores(listed, scores, share, depth) for share in WEIGHTS)
    reached = [mean_metrics(Evaluator().evaluate(ranked, targets))["ndcg@10"] for ranked in mixed]
    return WEIGHTS[int(np.argmax(reached))]


def transition_scores(split: Split, item_count: int, histories: Histories, seed: int) -> csr_array:
    """One row of scores per history: what other users take next after its last items."""
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
    """The weights of each history's last items [histories, items]."""
    lags = np.arange(WINDOW)
    places = histories.offsets[1:, None] - 1 - lags
    there = places >= histories.offsets[:-1, None]
    row, lag = np.nonzero(there)
    weights: Float[np.ndarray, " entries"] = LAG_DECAY**lag
    shape = (len(histories), item_count)
    return csr_array((weights, (row, histories.items[places[there]])), shape=shape)
