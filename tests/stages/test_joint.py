"""Choosing a pattern by the transfer: what is trained on, that training goes on where it stood, and
the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from scoter.config import FusionConfig, MethodConfig, SasrecConfig, TrainingConfig
from scoter.errors import ConfigError
from scoter.stages.joint import JointBudget
from scoter.stages.transfer_probe import TransferProbe, without_last
from scoter.types import (
    Catalog,
    InteractionLog,
    ReasoningPattern,
    SemanticIds,
    Split,
    Step,
    StepEmbeddings,
    Targets,
)

ITEMS, USERS, LENGTH = 12, 60, 6
METHOD = MethodConfig(
    SasrecConfig(dim=16, layers=1, heads=2, dropout=0.0, max_items=8),
    TrainingConfig(batch_targets=64, learning_rate=1e-2),
    FusionConfig("structured", heads=2),
)


@pytest.fixture(scope="module")
def shop() -> tuple[Split, Catalog, StepEmbeddings]:
    """Random purchases; the one step of each chain says, as one vector per item, what comes
    next."""
    rng = np.random.default_rng(0)
    items = rng.integers(ITEMS, size=(USERS, LENGTH + 2))
    everyone = np.arange(USERS)
    log = InteractionLog(
        items[:, :LENGTH].ravel(),
        np.arange(0, USERS * LENGTH + 1, LENGTH),
        tuple(map(str, everyone)),
    )
    split = Split(log, Targets(everyone, items[:, LENGTH]), Targets(everyone, items[:, LENGTH + 1]))
    told = items[:, 1:].ravel()
    steps = StepEmbeddings(
        np.eye(ITEMS, dtype=np.float32),
        told,
        np.arange(len(told) + 1),
        np.arange(0, len(told) + 1, LENGTH + 1),
        ReasoningPattern((Step("recommendation"),)),
        "one-hot",
    )
    return split, Catalog(tuple(map(str, range(ITEMS)))), steps


def probe(shop, planned: int) -> TransferProbe:
    split, catalog, steps = shop
    return TransferProbe(
        METHOD,
        split,
        catalog,
        SemanticIds(np.arange(ITEMS)[:, None], (ITEMS,)),
        steps,
        planned,
        seed=0,
    )


def test_a_transfer_goes_on_exactly_where_it_stood(shop):
    log = shop[0].train
    at_once, in_turns = probe(shop, 4), probe(shop, 4)
    at_once.train(log, 4)
    for epochs in (1, 3):
        in_turns.train(log, epochs)
        torch.rand(7)  # whoever trains in between
    assert at_once.target_steps == in_turns.target_steps == 4 * USERS * (LENGTH - 1)
    for left, right in zip(at_once.model.parameters(), in_turns.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_chain_that_names_the_target_is_used_and_ranks_are_those_of_the_list(shop):
    split = shop[0]
    trained = probe(shop, 20)
    trained.train(split.train, 20)
    histories = split.histories("valid")
    ranks = trained.ranks(histories, split.valid.items, 3)
    assert (ranks == 1).mean() > 0.8  # chance is 1 / 12
    listed = trained.model.recommend(histories, 3, trained.reader).items
    wanted = [
        [*row, target].index(target) + 1
        for row, target in zip(listed.tolist(), split.valid.items.tolist(), strict=True)
    ]
    assert ranks.tolist() == [rank if rank <= 3 else 0 for rank in wanted]


def test_held_in_targets_are_taken_out_of_training(shop):
    log, users = shop[0].train, np.array([5, 0, 31])
    shorter, before = without_last(log, users)
    for user in range(USERS):
        wanted = log.sequence(user)[:-1] if user in users else log.sequence(user)
        assert shorter.sequence(user).tolist() == wanted.tolist()
    assert [before.sequence(row).tolist() for row in range(3)] == [
        log.sequence(user)[:-1].tolist() for user in users.tolist()
    ]
    assert before.users.tolist() == users.tolist()


def test_a_method_without_its_users_own_chain_is_refused(shop):
    split, catalog, steps = shop
    for fusion in (None, FusionConfig(source="other-user")):
        with pytest.raises(
            ConfigError, match="probed with a method that reads its user's own chain"
        ):
            TransferProbe(
                replace(METHOD, fusion=fusion),
                split,
                catalog,
                SemanticIds(np.zeros((1, 1), int), (1,)),
                steps,
                1,
                0,
            )
    for fusion in (FusionConfig(grounded=True), FusionConfig(slots="sentence")):
        with pytest.raises(ConfigError, match=r"set fusion\.grounded=false and fusion\.slots=step"):
            TransferProbe(
                replace(METHOD, fusion=fusion),
                split,
                catalog,
                SemanticIds(np.zeros((1, 1), int), (1,)),
                steps,
                1,
                0,
            )


def test_the_budget_counts_every_epoch():
    budget = JointBudget(candidates=8, first_epochs=3, more_epochs=5)
    assert budget.equal_budget() == 8 * 3 + 4 * 6 + 2 * 12 + 5
    assert budget.winner_epochs() == 3 + 6 + 12 + 5


@pytest.mark.slow
def test_discover_select_transfer_keeps_a_pattern_and_tells_how(tmp_path: Path):
    from scoter.cli.main import main
    from scoter.reasoning.discovery.report import pattern_from_json

    small = (
        "data.simulated.users=300",
        "discover.patterns=12",
        "discover.rounds=1",
        "discover.users=100",
    )
    command = ["discover", "simulated", "--select", "transfer", "--store", str(tmp_path), "--json"]
    for assignment in (*small, "discover.fresh_users=100"):
        command += ["--set", assignment]
    found = json.loads(CliRunner().invoke(main, command, catch_exceptions=False).stdout)
    assert [len(turn["candidates"]) for turn in found["rounds"]] == [4, 2]
    steps = [step.label() for step in pattern_from_json(json.dumps(found)).steps]
    assert steps == found["candidates"][found["chosen"]]
    last = found["rounds"][-1]
    assert found["chosen"] == last["candidates"][int(np.argmax(last["scores"]))]
