"""Stages from semantic IDs and chains to trained models and their rankings."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from scoter.config import REASONS, MethodConfig
from scoter.data.split import check_trainable
from scoter.errors import ConfigError
from scoter.plugins import BACKBONES
from scoter.progress import counting
from scoter.reasoning.catalogue.folded_reasons import ALL
from scoter.reasoning.catalogue.reasoner import Texts
from scoter.recommenders.network import text_vectors
from scoter.seeding import derive_seed
from scoter.stages import networks
from scoter.stages.context import PARTS, Context, computation, method_recipe, sentence_encoder
from scoter.stages.data import open_data
from scoter.stages.networks import Inputs
from scoter.storage import sentence_vectors
from scoter.storage.arrays import save_arrays
from scoter.storage.store import Artefact
from scoter.types import Catalog, Histories, Part, Rankings, Split

LISTED = 50  # the recommender's best items, which are mixed
WINDOW = 3  # the last items of a history that transitions start from
LAG_DECAY = 0.5  # the weight of an item relative to the one after it
UNTRAINED = {"epochs": 0, "best_epoch": 0, "curve": [], "parameters": 0, "cpu_seconds": 0.0}
"""The training log of a method that only counts."""


def train(
    context: Context,
    name: str,
    method: MethodConfig,
    inputs: Inputs,
    chosen: Artefact | None = None,
) -> Artefact:
    """Weights of the best validation epoch, and the learning curve.

    `chosen` is an earlier training, whose best epoch is the number of epochs here, and whose shares
    of the votes are taken over; the schedule of rates is planned for so many.
    """
    if method.mixed_scores:  # which only ranks: the recommender is trained, and shared, as it is
        if context.experiment.data.protocol == "B":
            chooses = f"{name} chooses the share of the scores on validation users"
            remedy = "set data.protocol=A, or leave the method out"
            raise ConfigError(f"{chooses}, and data.protocol = 'B' has none; {remedy}")
        name, method = method.model.kind, replace(method, mixed_scores=False)

    def build(out: Path, scratch: Path) -> None:
        epochs = method.training.epochs if chosen is None else best_epoch(chosen)
        planned = replace(method, training=replace(method.training, epochs=epochs))
        shares = None if chosen is None else _log(chosen).get("shares")
        _train(context, name, planned, inputs, out, scratch, shares)

    needed = [*inputs.needed(method), *([] if chosen is None else [chosen])]
    item_text = method.fusion is not None and method.fusion.source == "item-text"
    if item_text or BACKBONES.get(method.model.kind).reads_texts:
        text = context.experiment.text
        needed += [sentence_vectors.provenance_key(text), ",".join(text.fields)]
    recipe = {
        **method_recipe(method, context.device),
        **({} if method.fusion is None else {"shares": "at each validation"}),
        "name": name,  # which the seed of dropout is derived from
        "seed": context.seed,
        "depth": context.experiment.depth,
    }
    return context.stage("train", recipe, needed, build, name)


def _train(
    context: Context,
    name: str,
    method: MethodConfig,
    inputs: Inputs,
    out: Path,
    scratch: Path,
    shares: Sequence[float] | None,
) -> None:
    from scoter.models.training.loop import save_weights
    from scoter.recommenders.fitting import Training, fit_network
    from scoter.recommenders.shares import set_shares

    if not BACKBONES.get(method.model.kind).trains:
        (out / "training.json").write_text(json.dumps(UNTRAINED))
        return
    split = open_data(inputs.data)[2]
    check_trainable(split)
    model, reader, _ = networks.open_network(context, method, inputs)
    set_shares(model, shares)
    training = Training(context.seed, context.experiment.depth, name, scratch, context.workers)
    log = fit_network(model, split, reader, method.training, training)
    save_weights(model, out / "weights.safetensors")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    (out / "training.json").write_text(json.dumps({**vars(log), "parameters": parameters}))


def best_epoch(trained: Artefact) -> int:
    """The epoch whose weights a training kept."""
    return int(_log(trained)["best_epoch"])


def _log(trained: Artefact) -> dict[str, Any]:
    return json.loads(trained.file("training.json").read_text())


def rank(context: Context, method: MethodConfig, trained: Artefact, inputs: Inputs) -> Artefact:
    """The best items for every validation and test user, and what was read of their chains.

    In protocol B there are no validation users, and items of the user's history are not ranked.
    """
    if method.mixed_scores:
        return _rank_mixed(context, method, trained, inputs)

    def build(out: Path, scratch: Path) -> None:
        from scoter.recommenders.network import rank_with_readings

        split, depth = open_data(inputs.data)[2], context.experiment.depth
        model, reader, _ = networks.open_trained(context, method, inputs, trained)
        unseen = context.experiment.data.protocol == "B"
        for part in split.parts:
            histories = split.histories(part)
            with counting(f"ranking, {part}", len(histories), "user") as note:
                asked = (model, histories, depth, reader, note, unseen)
                rankings, readings = rank_with_readings(*asked)
            if readings:
                save_arrays(out / f"readings-{part}.safetensors", **readings)
            networks.save_rankings(rankings, out, part)

    recipe = {"depth": context.experiment.depth, **computation(method, context.device)}
    needed = [trained, inputs.data]
    if method.fusion is not None and inputs.steps is not None:
        needed.append(inputs.steps)
    return context.stage("rank", recipe, needed, build)


def _rank_mixed(
    context: Context, method: MethodConfig, trained: Artefact, inputs: Inputs
) -> Artefact:
    """Rankings by a mix of the recommender's scores and what is counted beside it.

    The share of the counts is chosen on validation users; of transitions also whether items of the
    history count.
    """
    depth = context.experiment.depth

    def build(out: Path, scratch: Path) -> None:
        from scoter.transfer.mixing import mix_scores

        _, catalog, split = open_data(inputs.data)
        model, _, _ = networks.open_trained(context, method, inputs, trained)
        histories: dict[Part, Histories] = {part: split.histories(part) for part in PARTS}
        listed = {part: model.recommend(histories[part], max(depth, LISTED)) for part in PARTS}
        ways = _counted(context, method, split, catalog, histories)
        found = [best_share(listed["valid"], way["valid"], split, depth) for way in ways]
        (_, share), scores = max(zip(found, ways, strict=True), key=lambda pair: pair[0][0])
        for part in PARTS:
            networks.save_rankings(mix_scores(listed[part], scores[part], share, depth), out, part)
            rows = len(histories[part])
            shares = np.tile(np.array([share, 1 - share], np.float32), (rows, 1))
            readings = {"gate": np.full(rows, share, np.float32), "attention": shares}
            save_arrays(out / f"readings-{part}.safetensors", **readings)

    mixed = [LISTED, WINDOW, LAG_DECAY, method.mixed_with, "with and without the history", REASONS]
    recipe = {"depth": depth, "mixed": mixed, **computation(method, context.device)}
    return context.stage("rank", recipe, [trained, inputs.data], build)


def _counted(
    context: Context,
    method: MethodConfig,
    split: Split,
    catalog: Catalog,
    histories: dict[Part, Histories],
) -> list[dict[Part, csr_array]]:
    """Scores of the items after each history, one row each, in the ways that may be mixed in."""
    count = catalog.item_count
    if method.mixed_with == "reasons":
        seed = derive_seed(context.data_seed, "folds")
        texts = text_vectors(catalog, context.experiment.text, sentence_encoder(context))
        return [reason_scores(split, catalog, histories, seed, texts)]
    seen: dict[Part, csr_array] = {
        part: transition_scores(split, count, asked) for part, asked in histories.items()
    }
    return [seen, {part: _unseen(scores, histories[part]) for part, scores in seen.items()}]


def reason_scores(
    split: Split, catalog: Catalog, histories: dict[Part, Histories], seed: int, texts: Texts | None
) -> dict[Part, csr_array]:
    """The shares of the `LISTED` best items by all reasons, as steps rank them."""
    from scoter.reasoning.catalogue.reasoner import CatalogReasoner
    from scoter.reasoning.catalogue.view import look

    reasons, scores = CatalogReasoner.of(split.train, catalog, seed, texts).reasons, {}
    for part, asked in histories.items():
        items, shares = reasons.best(look(split, asked.users, asked.lengths), ALL, LISTED)
        rows = np.repeat(np.arange(len(items)), items.shape[1])
        shape = (len(items), catalog.item_count)
        scores[part] = csr_array((shares.ravel(), (rows, items.ravel())), shape=shape)
    return scores


def _unseen(scores: csr_array, histories: Histories) -> csr_array:
    """The same without the items of each history."""
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    seen = csr_array((np.ones(len(rows)), (rows, histories.items)), shape=scores.shape)
    return csr_array(scores - scores.multiply(seen > 0))


def best_share(
    listed: Rankings, scores: csr_array, split: Split, depth: int
) -> tuple[float, float]:
    """The best NDCG@10 on validation users, and the smallest share of the counts that has it."""
    from scoter.evaluation.evaluator import Evaluator
    from scoter.evaluation.metrics import mean_metrics
    from scoter.transfer.mixing import WEIGHTS, mix_scores

    targets = split.targets("valid")
    mixed = (mix_scores(listed, scores, share, depth) for share in WEIGHTS)
    reached = [mean_metrics(Evaluator().evaluate(ranked, targets))["ndcg@10"] for ranked in mixed]
    return max(reached), WEIGHTS[int(np.argmax(reached))]


def transition_scores(split: Split, item_count: int, histories: Histories) -> csr_array:
    """One row of scores per history: what is usually taken next after its last items."""
    from scoter.reasoning.catalogue.statistics import FoldedStatistics
    from scoter.reasoning.catalogue.successors import visible

    everybody = FoldedStatistics(split.train, item_count, seed=0, folds=1).transitions[1]
    return csr_array(visible(histories.newest(WINDOW), item_count, LAG_DECAY) @ everybody)
