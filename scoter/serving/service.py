"""Recommendations for a history of today, by a finished run: trained weights, the newest chain, no
target."""

from dataclasses import replace
from typing import Any

import numpy as np

from scoter.config import MethodConfig
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.serving.explanation import explain as explained
from scoter.serving.newest_chains import NewestChains, latest_stored, write_newest
from scoter.serving.questions import Question, Service, ask, described, numbers_of
from scoter.stages.data import open_semantic_ids
from scoter.stages.finished import FinishedMethod, FinishedRun
from scoter.stages.reasoning import open_steps
from scoter.storage.store import Artefact, Store
from scoter.types import Histories, InteractionLog


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
    opened = served(FinishedRun(store, run), method)
    histories, who = _histories(opened.run, users, items)
    service = run_service(opened)
    chains = (
        newest_chains(opened, histories, known=not items) if service.pattern is not None else None
    )
    return answers(service, ask(who, histories, chains), count, explain)


def served(run: FinishedRun, method: str | None) -> FinishedMethod:
    """One method of a finished run that can answer, by default its last one.

    Raises:
        ConfigError: the run has no such method, or it is a control that reads something else than a
            user's own chain.
    """
    found = run.method(method)
    if not is_served(found.config):
        raise ConfigError(
            f"{found.name!r} is a control that takes something else than a user's own chain; it is "
            f"for measuring only"
        )
    return found


def is_served(method: MethodConfig) -> bool:
    """Whether it can answer for any shopper: it reads no chain, or the shopper's own, as controls
    do not."""
    return method.fusion is None or (
        method.fusion.chains == "own" and method.fusion.kind != "scores"
    )


def run_service(method: FinishedMethod) -> Service:
    """The trained model of a run, in fp32, so that it answers alike on every machine and small
    contributions count."""
    from scoter.reasoning.catalogue.facets import item_names

    model, _, table = method.trained()
    model.precision = "fp32"
    catalog = method.run.data[1]
    pattern = None if table is None else table.pattern
    return Service(method.name, method.config, model, catalog.keys, item_names(catalog), pattern)


def newest_chains(method: FinishedMethod, histories: Histories, known: bool) -> NewestChains:
    """A chain after the last item of each history: written now, or where chains are stored, the
    latest of a `known` user."""
    from scoter.reasoning.chains.table import load_chains

    run = method.run
    if run.experiment.chains.source:
        chains = run.made_from("chains")
        table = load_chains(chains.folder())
        return _as_trained(method, latest_stored(chains, table, histories, known))
    _, catalog, split = run.data
    pattern = run.made_from("discover")
    return _as_trained(method, write_newest(run.context, pattern, split, catalog, histories))


def _as_trained(method: FinishedMethod, chains: NewestChains) -> NewestChains:
    """The chains in the form of training: grounded, or with a slot for each sentence.

    Their vectors are in half precision, as in the stage `chains` and in a bundle, so that a run and
    its bundle answer alike.
    """
    from scoter.reasoning.catalogue.facets import item_names
    from scoter.transfer.grounded import ground_steps, one_step_per_sentence, sentence_widths

    fusion, run, steps = method.config.fusion, method.run, chains.steps
    assert fusion is not None
    if fusion.grounded:
        ids, names = open_semantic_ids(run.made_from("semantic-ids")), item_names(run.data[1])
        steps = ground_steps(steps, chains.sentences, names, ids, derive_seed(0, "codes"))
    if fusion.slots == "sentence":
        trained_on = sentence_widths(open_steps(run.made_from("chains")))
        steps = one_step_per_sentence(steps, like=trained_on)
    return NewestChains(replace(steps, vectors=steps.vectors.astype(np.float16)), chains.sentences)


def answers(
    service: Service, question: Question, count: int, explain: bool
) -> list[dict[str, Any]]:
    """One row for each history: user, method, titles of the history, the best items, and why, if
    that is asked for."""
    if explain:
        return explained(service, question, count)
    return described(
        service, question, service.model.recommend(*_arguments(service, question, count))
    )


def whole_log(log: InteractionLog) -> Histories:
    """Everybody's whole history, the held-out items included."""
    return Histories(np.arange(log.user_count), log.items, log.offsets)


def _arguments(service: Service, question: Question, count: int) -> tuple[Any, ...]:
    known = (question.histories, count)
    return known if service.config.model.kind == "popularity" else (*known, question.reader)


def _histories(
    run: FinishedRun, users: tuple[str, ...], items: tuple[str, ...]
) -> tuple[Histories, list[str]]:
    log, catalog, _ = run.data
    if items:
        sequence = numbers_of(catalog.keys, items, "the catalogue")
        return Histories(np.array([0]), sequence, np.array([0, len(sequence)])), ["(items given)"]
    rows = {key: user for user, key in enumerate(log.user_keys)}
    who = list(dict.fromkeys(users)) or list(log.user_keys[:3])
    unknown = [key for key in who if key not in rows]
    if unknown:
        raise ConfigError(
            f"the dataset has no user {unknown[0]!r}; its keys look like "
            f"{', '.join(log.user_keys[:3])}"
        )
    return whole_log(log).select(np.array([rows[key] for key in who])), who
