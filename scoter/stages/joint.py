"""Joint optimisation of pattern and transfer: generate-validate-mine proposes, training the
transfer decides.

Mining orders patterns by the recall of a linear probe. Here the transfer itself chooses among the
mined pattern and its best competitors, by successive halving: train each for some epochs, ask each
for the held-in targets of the very shoppers that mining chose on, keep the better half, and train
that on from where it stands. While choosing, those targets are taken out of training; validation
and test are never asked. What the losers cost is paid for: `equal_budget` says how long the mined
pattern alone could have been trained instead, and both are compared so in
`benchmarks/studies/joint.py`.

Limits: the reasoner's statistics and the semantic IDs may count the held-in events, for every
candidate alike; and patterns that the linear probe ranked low are not among the candidates.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from scoter.config import MethodConfig, to_json
from scoter.errors import ConfigError
from scoter.recommenders.step_sources import spoken_items
from scoter.seeding import derive_seed
from scoter.stages.context import Context, sentence_encoder
from scoter.stages.data import codes_of, open_data
from scoter.stages.networks import method_recipe
from scoter.stages.transfer_probe import TransferProbe, without_last
from scoter.storage.store import Artefact
from scoter.types import ReasoningPattern, StepEmbeddings

PATTERN_FILE, ROUNDS_FILE = "pattern.json", "rounds.json"


@dataclass(frozen=True)
class JointBudget:
    """`candidates` patterns train for `first_epochs`, half of them for twice as many, ...; the last
    one for `more_epochs`."""

    candidates: int = 4
    first_epochs: int = 2
    more_epochs: int = 4

    def winner_epochs(self) -> int:
        """Epochs that the chosen pattern is trained in all."""
        from scoter.reasoning.discovery.halving import halving_units

        return halving_units(self.candidates, self.first_epochs)[1] + self.more_epochs

    def equal_budget(self) -> int:
        """Epochs that one pattern alone could be trained for what choosing and training cost
        together."""
        from scoter.reasoning.discovery.halving import halving_units

        return halving_units(self.candidates, self.first_epochs)[0] + self.more_epochs


def choose_by_transfer(
    context: Context,
    name: str,
    method: MethodConfig,
    data: Artefact,
    ids: Artefact,
    budget: JointBudget,
) -> Artefact:
    """`pattern.json`, the pattern that the transfer chose, and `rounds.json`, how; `name` is what
    the method is called."""
    from scoter.storage import sentence_vectors as text

    def build(out: Path, scratch: Path) -> None:
        chosen = search(context, method, data, ids, budget)
        (out / ROUNDS_FILE).write_text(json.dumps({"method": name, **chosen.as_json()}, indent=1))
        told = {"pattern": {"steps": chosen.pattern.to_json(), "chosen_by": f"transfer to {name}"}}
        (out / PATTERN_FILE).write_text(json.dumps(told, indent=1))

    recipe = {
        "discover": json.loads(to_json(context.experiment.discover)),
        **method_recipe(method, "cpu"),
        "name": name,
        "budget": asdict(budget),
        "seed": context.seed,
        "fields": context.experiment.text.fields,
    }
    return context.stage(
        "joint", recipe, [data, ids, text.provenance_key(context.experiment.text)], build
    )


@dataclass(frozen=True, eq=False)
class Chosen:
    """The chosen pattern with its half-trained transfer and chains; `mined` is what recall alone
    would have chosen.

    `users` are the shoppers whose held-in targets chose, in mining and here; nobody else's took
    part.
    """

    pattern: ReasoningPattern
    transfer: TransferProbe
    table: StepEmbeddings
    mined: ReasoningPattern
    candidates: tuple[ReasoningPattern, ...]
    rounds: list[Any]
    users: Int[np.ndarray, " users"]
    target_steps: int
    cpu_seconds: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        from scoter.reasoning.discovery.generate import labels

        return {
            "candidates": [list(labels(pattern)) for pattern in self.candidates],
            "chosen": self.candidates.index(self.pattern),
            "rounds": [asdict(turn) for turn in self.rounds],
            "metric": "ndcg of held-in targets",
            "users": len(self.users),
            "target_steps": self.target_steps,
            "cpu_seconds": self.cpu_seconds,
        }


def search(
    context: Context,
    method: MethodConfig,
    data: Artefact,
    ids: Artefact | None,
    budget: JointBudget,
) -> Chosen:
    """Mine, write the candidates' chains, and halve them by the NDCG that the transfer reaches on
    held-in targets."""
    from scoter.reasoning.discovery.generate import hold_in
    from scoter.reasoning.discovery.halving import successive_halving
    from scoter.reasoning.discovery.mine import discover
    from scoter.reasoning.discovery.validate import ndcg

    experiment, clock = context.experiment, _Clock()
    _, catalog, split = open_data(data)
    vectors = sentence_encoder(context)(spoken_items(catalog, experiment.text.fields))
    seed = derive_seed(context.data_seed, "discover")
    found = discover(split, catalog, experiment.discover, sentence_encoder(context), vectors, seed)
    tried, _ = hold_in(split, experiment.discover, seed)
    candidates = found.finalists[: budget.candidates]
    if len(candidates) < budget.candidates:
        raise ConfigError(
            f"candidates = {budget.candidates}, but mining left {len(candidates)} patterns; ask "
            f"for fewer"
        )
    clock.lap("mining")
    tables = [written(context, data, pattern) for pattern in candidates]
    clock.lap("chains")
    codes, epochs = codes_of(ids), budget.winner_epochs()
    transfers = [
        TransferProbe(method, split, catalog, codes, table, epochs, context.seed)
        for table in tables
    ]
    shorter, before = without_last(split.train, tried.users)

    def advance(candidate: int, epochs: int) -> float:
        transfers[candidate].train(shorter, epochs)
        ranks = transfers[candidate].ranks(before, tried.targets, experiment.discover.top_k)
        score = float(
            np.where(ranks > 0, ndcg(np.maximum(ranks, 1), experiment.discover.top_k), 0.0).mean()
        )
        context.say(
            f"candidate {candidate}, {transfers[candidate].epochs} epochs: "
            f"ndcg@{experiment.discover.top_k} {score:.4f}"
        )
        return score

    winner, rounds = successive_halving(budget.candidates, budget.first_epochs, advance)
    clock.lap("choosing")
    return Chosen(
        pattern=candidates[winner],
        transfer=transfers[winner],
        table=tables[winner],
        mined=found.pattern,
        candidates=candidates,
        rounds=rounds,
        users=tried.users,
        target_steps=sum(transfer.target_steps for transfer in transfers),
        cpu_seconds=clock.laps,
    )


def written(context: Context, data: Artefact, pattern: ReasoningPattern) -> StepEmbeddings:
    """Every prefix's chain with that pattern, and its sentences' vectors (from the cache where they
    are known)."""
    from scoter.reasoning.chains.table import write_chains

    _, catalog, split = open_data(data)
    table = write_chains(split, catalog, pattern, derive_seed(context.data_seed, "folds"))
    return table.embed(
        sentence_encoder(context)(table.sentences).astype(np.float16),
        context.experiment.text.encoder,
    )


class _Clock:
    """CPU seconds by part."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.process_time()

    def lap(self, name: str) -> None:
        now = time.process_time()
        self.laps[name], self._since = now - self._since, now
