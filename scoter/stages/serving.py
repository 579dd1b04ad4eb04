"""Recommendations of a finished run for a history of today: trained weights, a chain written on the spot, no target."""

import json
from typing import Any

import numpy as np

from scoter.config import Experiment, from_json
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.stages.context import Context
from scoter.stages.data import open_data, open_semantic_ids
from scoter.stages.models import build_model, open_steps
from scoter.stages.reasoning import open_pattern, sentence_encoder
from scoter.store import Artefact, Store
from scoter.types import Catalog, Histories, InteractionLog, Split, StepEmbeddings


def recommend_from_run(
    store: Store, run: Artefact, method: str | None, users: tuple[str, ...], items: tuple[str, ...], count: int
) -> list[dict[str, Any]]:
    """The `count` best next items for some of the run's users, or for a shopper with just these items (keys, oldest first).

    A user's history is the whole log, the held-out items included: this is for use, not for measurement.

    Raises:
        ConfigError: an unknown method, user or item; the message names it and what to choose from.
    """
    from scoter.models.training import load_weights
    from scoter.reasoning.chains import item_names

    outcome = _json(run)
    chosen = list(outcome["methods"])[-1] if method is None else method
    if chosen not in outcome["methods"]:
        raise ConfigError(f"the run has no method {chosen!r}; choose from: {', '.join(outcome['methods'])}")
    context = Context(_experiment(outcome), store, outcome["seed"], lambda line: None)
    keys, config = outcome["artefacts"], context.experiment.methods[chosen]
    if config.fusion is not None and (config.fusion.chains != "own" or config.fusion.kind == "scores"):
        raise ConfigError(f"{chosen!r} is a control that takes something else than a user's own chain; it is for measuring only")
    data = store.find("prepare", keys["prepare"])
    log, catalog, split = open_data(data)
    histories, who = _histories(log, catalog, users, items)
    names = item_names(catalog)
    table = None if config.fusion is None else open_steps(store.find("chains", keys["chains"]))
    model = build_model(
        config, split, catalog, open_semantic_ids(store.find("semantic-ids", keys["semantic-ids"])), table, context.seed
    )
    if config.model.kind == "popularity":
        rankings = model.recommend(histories, count)
    else:
        load_weights(model, store.find("train", keys["train"][chosen]).file("weights.safetensors"))
        reader = None
        if table is not None:
            stored = bool(context.experiment.chains.source)
            # A shopper whose items are given by hand is none of the users, and has no stored chain.
            reader = (
                _stored_chains_now(table, histories, known=not items)
                if stored
                else _chains_now(context, outcome, split, catalog, histories)
            )
        rankings = model.recommend(histories, count, reader)
    return [
        {
            "user": name,
            "method": chosen,
            "history": [names[item] for item in histories.sequence(row)],
            "items": [
                {"key": catalog.keys[item], "title": names[item], "score": float(score)}
                for item, score in zip(rankings.items[row], rankings.scores[row], strict=True)
                if item >= 0
            ],
        }
        for row, name in enumerate(who)
    ]


def _histories(
    log: InteractionLog, catalog: Catalog, users: tuple[str, ...], items: tuple[str, ...]
) -> tuple[Histories, list[str]]:
    if items:
        numbers = {key: item for item, key in enumerate(catalog.keys)}
        unknown = [key for key in items if key not in numbers]
        if unknown:
            raise ConfigError(f"the catalogue has no item {unknown[0]!r}; its keys look like {', '.join(catalog.keys[:3])}")
        sequence = np.array([numbers[key] for key in items])
        return Histories(np.array([0]), sequence, np.array([0, len(sequence)])), ["(items given)"]
    rows = {key: user for user, key in enumerate(log.user_keys)}
    who = list(dict.fromkeys(users)) or list(log.user_keys[:3])
    unknown = [key for key in who if key not in rows]
    if unknown:
        raise ConfigError(f"the dataset has no user {unknown[0]!r}; its keys look like {', '.join(log.user_keys[:3])}")
    everyone = Histories(np.arange(log.user_count), log.items, log.offsets)
    return everyone.select(np.array([rows[key] for key in who])), who


def _chains_now(context: Context, outcome: dict[str, Any], split: Split, catalog: Catalog, histories: Histories) -> Any:
    """Chains of these histories, with the statistics that the users' chains had in training."""
    from scoter.models.batches import StepReader
    from scoter.reasoning.catalog_reasoner import CatalogReasoner
    from scoter.reasoning.chains import write_rows
    from scoter.reasoning.statistics import FoldedStatistics
    from scoter.reasoning.view import MAX_ITEMS, View

    pattern = open_pattern(context.store.find("discover", outcome["artefacts"]["discover"]))
    lengths = histories.lengths
    positions = lengths[:, None] - 1 - np.arange(MAX_ITEMS)
    recent = np.where(positions >= 0, histories.items[np.maximum(positions, 0) + histories.offsets[:-1, None]], -1)
    statistics = FoldedStatistics(split.train, catalog.item_count, derive_seed(context.data_seed, "folds"))
    view = View(histories.users, lengths, recent)
    sentences, indices, offsets = write_rows(CatalogReasoner(catalog, statistics), view, pattern)
    # Only the last prefix of each request has a chain: those before it are empty.
    users = np.arange(split.train.user_count)
    room = np.zeros(len(users), np.int64)
    room[histories.users] = lengths
    starts = np.concatenate([[0], np.cumsum(room)])
    counts = np.zeros((starts[-1], len(pattern)), np.int64)
    counts[starts[histories.users] + lengths - 1] = np.diff(offsets).reshape(len(histories), -1)
    order = np.argsort(histories.users, kind="stable")
    blocks = np.split(indices, offsets[len(pattern) : -1 : len(pattern)])
    flat = np.concatenate([blocks[row] for row in order])
    ends = np.concatenate([[0], np.cumsum(counts.ravel())])
    return StepReader(StepEmbeddings(sentence_encoder(context)(sentences), flat, ends, starts, pattern, "now"))


def _stored_chains_now(table: StepEmbeddings, histories: Histories, known: bool) -> Any:
    """The latest stored chain of each user, at the end of the whole history; nobody has one who is not `known`."""
    from scoter.models.batches import StepReader

    users, steps = np.arange(len(table.starts) - 1), table.step_count
    room = np.zeros(len(users), np.int64)
    room[histories.users] = histories.lengths
    starts = np.concatenate([[0], np.cumsum(room)])
    counts = np.zeros((starts[-1], steps), np.int64)
    blocks = []
    if known:
        last = table.starts[1:][histories.users] - 1
        bags = last[:, None] * steps + np.arange(steps)
        counts[starts[histories.users] + histories.lengths - 1] = table.offsets[bags + 1] - table.offsets[bags]
        order = np.argsort(histories.users, kind="stable")
        blocks = [table.indices[table.offsets[row * steps] : table.offsets[(row + 1) * steps]] for row in last[order]]
    flat = np.concatenate([*blocks, np.zeros(0, table.indices.dtype)])
    ends = np.concatenate([[0], np.cumsum(counts.ravel())])
    return StepReader(StepEmbeddings(table.vectors, flat, ends, starts, table.pattern, table.encoder))


def _experiment(outcome: dict[str, Any]) -> Experiment:
    return from_json(json.dumps(outcome["config"]))


def _json(run: Artefact) -> dict[str, Any]:
    return json.loads(run.file("run.json").read_text())
