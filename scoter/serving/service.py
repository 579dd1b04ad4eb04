"""Recommendations for a history of today, by a finished run: trained weights, the newest chain, no
target."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from scoter.config import Experiment, MethodConfig, from_json
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.serving.newest_chains import NewestChains, latest_stored, write_newest
from scoter.stages.context import Context
from scoter.stages.data import codes_of, open_data, open_semantic_ids
from scoter.stages.models import build_model, step_reader
from scoter.stages.reasoning import open_steps
from scoter.storage.store import Artefact, Store
from scoter.types import Catalog, Histories, InteractionLog, ReasoningPattern, Split


@dataclass(frozen=True, eq=False)
class Service:
    """A trained method that can answer: the model, what its items are called, the pattern of the
    chains it reads."""

    method: str
    config: MethodConfig
    model: Any
    item_keys: Sequence[str]
    item_names: Sequence[str]
    pattern: ReasoningPattern | None


@dataclass(frozen=True, eq=False)
class Question:
    """Histories of some users with their names and their chains, if the method reads any.

    `reader` is asked for `histories.users`, whatever these are numbers of; `texts` is asked for a
    row of `histories`.
    """

    who: list[str]
    histories: Histories
    reader: Any = None
    texts: Any = None


@dataclass(frozen=True, eq=False)
class OpenRun:
    """What a finished run knows: its data, one of its methods, and where its artefacts are."""

    context: Context
    keys: dict[str, Any]
    method: str
    config: MethodConfig
    log: InteractionLog
    catalog: Catalog
    split: Split
    outcome: dict[str, Any]


def recommend_from_run(
    store: Store,
    run: Artefact,
    method: str | None,
    users: tuple[str, ...],
    items: tuple[str, ...],
    count: int,
    explain: bool = False,
) -> list[dict[str, Any]]:
    """The `count` best next items for some of the run's users, or for a shopper with just these
    items (keys, oldest first).

    A user's history is the whole log, the held-out items included: this is for use, not for
    measurement. With `explain`, each row also has what `scoter.serving.explanation.explain` says.

    Raises:
        ConfigError: an unknown method, user or item; the message names it and what to choose from.
    """
    opened = open_run(store, run, method)
    histories, who = _histories(opened, users, items)
    service = run_service(opened)
    chains = (
        newest_chains(opened, histories, known=not items) if service.pattern is not None else None
    )
    return answers(service, ask(who, histories, chains), count, explain)


def open_run(store: Store, run: Artefact, method: str | None) -> OpenRun:
    """One method of a finished run, by default its last one.

    Raises:
        ConfigError: the run has no such method, or it is a control that reads something else than a
            user's own chain.
    """
    outcome = json.loads(run.file("run.json").read_text())
    chosen = list(outcome["methods"])[-1] if method is None else method
    if chosen not in outcome["methods"]:
        raise ConfigError(
            f"the run has no method {chosen!r}; choose from: {', '.join(outcome['methods'])}"
        )
    experiment: Experiment = from_json(json.dumps(outcome["config"]))
    config = experiment.methods[chosen]
    if not is_served(config):
        raise ConfigError(
            f"{chosen!r} is a control that takes something else than a user's own chain; it is "
            f"for measuring only"
        )
    context = Context(experiment, store, outcome["seed"], lambda line: None)
    log, catalog, split = open_data(store.find("prepare", outcome["artefacts"]["prepare"]))
    return OpenRun(context, outcome["artefacts"], chosen, config, log, catalog, split, outcome)


def is_served(method: MethodConfig) -> bool:
    """Whether it can answer for any shopper: it reads no chain, or the shopper's own, as controls
    do not."""
    return method.fusion is None or (
        method.fusion.chains == "own" and method.fusion.kind != "scores"
    )


def run_service(run: OpenRun) -> Service:
    """The trained model of an open run, in fp32, so that it answers alike on every machine and
    small contributions count."""
    from scoter.models.training.loop import load_weights
    from scoter.reasoning.chains.table import item_names

    store, keys = run.context.store, run.keys
    chains = None if run.config.fusion is None else store.find("chains", keys["chains"])
    ids = store.find("semantic-ids", keys["semantic-ids"]) if "semantic-ids" in keys else None
    table, _ = step_reader(
        run.config.fusion, chains, run.context, store.find("prepare", keys["prepare"]), ids
    )
    model = build_model(run.config, run.split, run.catalog, codes_of(ids), table, run.context.seed)
    if run.config.model.kind != "popularity":
        load_weights(
            model, store.find("train", keys["train"][run.method]).file("weights.safetensors")
        )
        model.precision = "fp32"
    pattern = None if table is None else table.pattern
    return Service(
        run.method, run.config, model, run.catalog.keys, item_names(run.catalog), pattern
    )


def newest_chains(run: OpenRun, histories: Histories, known: bool) -> NewestChains:
    """A chain after the last item of each history: written now, or where chains are stored, the
    latest of a `known` user."""
    from scoter.reasoning.chains.table import load_chains

    store = run.context.store
    if run.context.experiment.chains.source:
        chains = store.find("chains", run.keys["chains"])
        return _as_trained(
            run, latest_stored(chains, load_chains(chains.folder()), histories, known)
        )
    pattern = store.find("discover", run.keys["discover"])
    return _as_trained(run, write_newest(run.context, pattern, run.split, run.catalog, histories))


def _as_trained(run: OpenRun, chains: NewestChains) -> NewestChains:
    """The chains in the form of training: grounded, or with a slot for each sentence.

    Their vectors are in half precision, as in the stage `chains` and in a bundle, so that a run and
    its bundle answer alike.
    """
    from scoter.reasoning.chains.table import item_names
    from scoter.transfer.grounded import ground_steps, one_step_per_sentence, sentence_widths

    fusion, store, steps = run.config.fusion, run.context.store, chains.steps
    assert fusion is not None
    if fusion.grounded:
        ids = open_semantic_ids(store.find("semantic-ids", run.keys["semantic-ids"]))
        steps = ground_steps(
            steps, chains.sentences, item_names(run.catalog), ids, derive_seed(0, "codes")
        )
    if fusion.slots == "sentence":
        steps = one_step_per_sentence(
            steps, like=sentence_widths(open_steps(store.find("chains", run.keys["chains"])))
        )
    return NewestChains(replace(steps, vectors=steps.vectors.astype(np.float16)), chains.sentences)


def ask(who: list[str], histories: Histories, chains: NewestChains | None) -> Question:
    """A question about these histories, whose users become row numbers."""
    rows = Histories(np.arange(len(histories)), histories.items, histories.offsets)
    return (
        Question(who, rows)
        if chains is None
        else Question(who, rows, chains.reader(), chains.texts)
    )


def answers(
    service: Service, question: Question, count: int, explain: bool
) -> list[dict[str, Any]]:
    """One row for each history: user, method, titles of the history, the best items, and why, if
    that is asked for."""
    if explain:
        from scoter.serving.explanation import explain as explain_rows

        return explain_rows(service, question, count)
    return described(
        service, question, service.model.recommend(*_arguments(service, question, count))
    )


def described(service: Service, question: Question, rankings: Any) -> list[dict[str, Any]]:
    """Rankings with keys and titles."""
    return [
        {
            "user": name,
            "method": service.method,
            "history": [service.item_names[item] for item in question.histories.sequence(row)],
            "items": [
                {
                    "key": service.item_keys[item],
                    "title": service.item_names[item],
                    "score": float(score),
                }
                for item, score in zip(rankings.items[row], rankings.scores[row], strict=True)
                if item >= 0
            ],
        }
        for row, name in enumerate(question.who)
    ]


def whole_log(log: InteractionLog) -> Histories:
    """Everybody's whole history, the held-out items included."""
    return Histories(np.arange(log.user_count), log.items, log.offsets)


def numbers_of(keys: Sequence[str], wanted: Sequence[str], of: str) -> Int[np.ndarray, " wanted"]:
    """The numbers of some items by their keys; `of` is who has them.

    Example:
        >>> numbers_of(("a", "b"), ["b"], "the catalogue").tolist()
        [1]
    """
    numbers = {key: item for item, key in enumerate(keys)}
    unknown = [key for key in wanted if key not in numbers]
    if unknown:
        raise ConfigError(
            f"{of} has no item {unknown[0]!r}; its keys look like {', '.join(keys[:3])}"
        )
    return np.array([numbers[key] for key in wanted], np.int64)


def _arguments(service: Service, question: Question, count: int) -> tuple[Any, ...]:
    known = (question.histories, count)
    return known if service.config.model.kind == "popularity" else (*known, question.reader)


def _histories(
    run: OpenRun, users: tuple[str, ...], items: tuple[str, ...]
) -> tuple[Histories, list[str]]:
    if items:
        sequence = numbers_of(run.catalog.keys, items, "the catalogue")
        return Histories(np.array([0]), sequence, np.array([0, len(sequence)])), ["(items given)"]
    rows = {key: user for user, key in enumerate(run.log.user_keys)}
    who = list(dict.fromkeys(users)) or list(run.log.user_keys[:3])
    unknown = [key for key in who if key not in rows]
    if unknown:
        raise ConfigError(
            f"the dataset has no user {unknown[0]!r}; its keys look like "
            f"{', '.join(run.log.user_keys[:3])}"
        )
    return whole_log(run.log).select(np.array([rows[key] for key in who])), who
