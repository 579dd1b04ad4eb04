"""Joint optimisation of pattern and transfer: mining proposes, training the transfer decides.

Successive halving of the mined pattern and its best competitors: each trains for some epochs and is
measured on the held-in targets of the users that mining chose on. These targets are taken out of
training for that long; validation and test targets are never used.

Limits: the reasoner's statistics and the semantic IDs may count the held-in interactions, for every
candidate alike; patterns that the linear probe ranked low are not among the candidates.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int

from scoter.config import MethodConfig, to_json
from scoter.errors import ConfigError
from scoter.reasoning.chains.table import write_chains
from scoter.reasoning.discovery.generate import hold_in, labels
from scoter.reasoning.discovery.halving import Round, halving_units, successive_halving
from scoter.reasoning.discovery.validate import ndcg
from scoter.seeding import derive_seed
from scoter.stages.context import Context, method_recipe, sentence_encoder
from scoter.stages.data import codes_of, open_data
from scoter.stages.discovery import with_reasoner
from scoter.stages.transfer_probe import TransferProbe, without_last
from scoter.storage.store import Artefact
from scoter.types import ReasoningPattern, StepEmbeddings

PATTERN_FILE, ROUNDS_FILE = "pattern.json", "rounds.json"


@dataclass(frozen=True)
class JointBudget:
    """How long patterns are trained: each round halves the candidates and doubles the epochs."""

    candidates: int = 4  # patterns in the first round
    first_epochs: int = 2  # of each candidate in the first round
    more_epochs: int = 4  # of the last one, after all rounds

    def winner_epochs(self) -> int:
        """Epochs that the chosen pattern is trained in all."""
        return halving_units(self.candidates, self.first_epochs)[1] + self.more_epochs

    def equal_budget(self) -> int:
        """Epochs of one pattern alone that cost what choosing and training cost together."""
        return halving_units(self.candidates, self.first_epochs)[0] + self.more_epochs


def choose_by_transfer(
    context: Context,
    name: str,
    method: MethodConfig,
    data: Artefact,
    ids: Artefact,
    budget: JointBudget,
) -> Artefact:
    """`pattern.json`, which the transfer to method `name` chose, and `rounds.json`: how."""
    from scoter.storage import sentence_vectors as text

    def build(out: Path, scratch: Path) -> None:
        chosen = search(context, method, data, ids, budget)
        (out / ROUNDS_FILE).write_text(json.dumps({"method": name, **chosen.as_json()}, indent=1))
        pattern = {"steps": chosen.pattern.to_json(), "chosen_by": f"transfer to {name}"}
        (out / PATTERN_FILE).write_text(json.dumps({"pattern": pattern}, indent=1))

    settings = context.experiment.text
    recipe = {
        "discover": json.loads(to_json(context.experiment.discover)),
        **method_recipe(method, "cpu"),
        "name": name,
        "budget": asdict(budget),
        "seed": context.seed,
        "fields": settings.fields,
    }
    return context.stage("joint", recipe, [data, ids, text.provenance_key(settings)], build)


@dataclass(frozen=True, eq=False)
class Chosen:
    """The chosen pattern with its half-trained transfer and chains."""

    pattern: ReasoningPattern
    transfer: TransferProbe
    table: StepEmbeddings
    mined: ReasoningPattern  # what recall alone would have chosen
    candidates: tuple[ReasoningPattern, ...]
    rounds: list[Round]
    users: Int[np.ndarray, " users"]  # those whose held-in targets chose, in mining and here
    target_steps: int  # trained on by all candidates together
    cpu_seconds: dict[str, float]  # by part

    def as_json(self) -> dict[str, object]:
        """The content of `rounds.json`."""
        return {
            "candidates": [list(labels(pattern)) for pattern in self.candidates],
            "chosen": self.candidates.index(self.pattern),
            "rounds": [asdict(round_) for round_ in self.rounds],
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
    """Mine, write the candidates' chains, and halve the candidates by the transfer's NDCG."""
    config, clock = context.experiment.discover, _Clock()
    _, catalog, split = open_data(data)
    mined = with_reasoner(context, data)
    tried, _ = hold_in(split, config, derive_seed(context.data_seed, "discover"))
    candidates = mined.finalists[: budget.candidates]
    if len(candidates) < budget.candidates:
        left = f"but mining left {len(candidates)} patterns; ask for fewer"
        raise ConfigError(f"candidates = {budget.candidates}, {left}")
    clock.lap("mining")
    tables = [written(context, data, pattern) for pattern in candidates]
    clock.lap("chains")
    shared, epochs = (split, catalog, codes_of(ids)), budget.winner_epochs()
    transfers = [TransferProbe(method, *shared, table, epochs, context.seed) for table in tables]
    shorter, before = without_last(split.train, tried.users)

    def advance(candidate: int, epochs: int) -> float:
        transfer, k = transfers[candidate], config.top_k
        transfer.train(shorter, epochs)
        ranks = transfer.ranks(before, tried.targets, k)
        score = float(np.where(ranks > 0, ndcg(np.maximum(ranks, 1), k), 0.0).mean())
        context.say(f"candidate {candidate}, {transfer.epochs} epochs: ndcg@{k} {score:.4f}")
        return score

    winner, rounds = successive_halving(budget.candidates, budget.first_epochs, advance)
    clock.lap("choosing")
    return Chosen(
        pattern=candidates[winner],
        transfer=transfers[winner],
        table=tables[winner],
        mined=mined.pattern,
        candidates=candidates,
        rounds=rounds,
        users=tried.users,
        target_steps=sum(transfer.target_steps for transfer in transfers),
        cpu_seconds=clock.laps,
    )


def written(context: Context, data: Artefact, pattern: ReasoningPattern) -> StepEmbeddings:
    """The step embeddings of every prefix's chain with that pattern."""
    _, catalog, split = open_data(data)
    table = write_chains(split, catalog, pattern, derive_seed(context.data_seed, "folds"))
    vectors = sentence_encoder(context)(table.sentences).astype(np.float16)
    return table.embed(vectors, context.experiment.text.encoder)


@dataclass
class _Clock:
    laps: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.process_time)

    def lap(self, name: str) -> None:
        now = time.process_time()
        self.laps[name], self._since = now - self._since, now
