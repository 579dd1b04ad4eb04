"""Finished runs: found by name or folder, and their methods opened again as they were trained."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scoter.config import Experiment, MethodConfig, from_json
from scoter.data.datasets import Dataset
from scoter.errors import ConfigError, DataError, StoreError, closest
from scoter.progress import on_stderr
from scoter.stages.context import Context
from scoter.stages.data import codes_of, open_data
from scoter.storage.run_files import RunOutcome, outcome_of, run_at
from scoter.storage.store import Artefact, Store
from scoter.types import Catalog, InteractionLog, Split

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone
    from scoter.protocols import StepSource
    from scoter.recommenders.estimators import Estimator
    from scoter.stages.networks import Inputs
    from scoter.types import StepEmbeddings

SharedStage = Literal["prepare", "semantic-ids", "discover", "chains"]


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run in its store: what was measured, and what it was made from."""

    store: Store
    artefact: Artefact

    @classmethod
    def at(cls, folder: Path) -> "FinishedRun":
        """The run in a folder of a store."""
        return cls(Store(folder.parent.parent), run_at(folder))

    @cached_property
    def outcome(self) -> RunOutcome:
        """What stands in its `run.json`."""
        return outcome_of(self.artefact)

    @property
    def name(self) -> str:
        """Experiment, seed and the start of the key."""
        return f"{self.outcome['experiment']}-s{self.seed}-{self.artefact.key[:8]}"

    @property
    def seed(self) -> int:
        return self.outcome["seed"]

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of its methods, in the experiment's order."""
        return tuple(self.outcome["methods"])

    @property
    def folder(self) -> Path:
        return self.artefact.path

    @cached_property
    def experiment(self) -> Experiment:
        return from_json(json.dumps(self.outcome["config"]), Experiment)

    @cached_property
    def context(self) -> Context:
        return Context(self.experiment, self.store, self.seed, lambda line: None)

    @property
    def data(self) -> tuple[InteractionLog, Catalog, Split]:
        return open_data(self.made_from("prepare"))

    @property
    def split(self) -> Split:
        return self.data[2]

    @cached_property
    def dataset(self) -> Dataset:
        """The users, items and interactions of the run."""
        prepared, (log, catalog, split) = self.made_from("prepare"), self.data
        identity, config = prepared.manifest()["inputs"][0], self.experiment.data
        described = (identity, str(prepared.path), config.name, self.context.data_seed)
        return Dataset(log, catalog, *described, split, config.protocol)

    def made_from(self, stage: SharedStage) -> Artefact:
        """The artefact of a stage that all methods share."""
        artefact = self.if_made(stage)
        if artefact is None:
            raise StoreError(f"the run {self.name} needed no stage {stage!r}; name another run")
        return artefact

    def if_made(self, stage: SharedStage) -> Artefact | None:
        """The same, or None where the run needed no such stage."""
        key = self.outcome["artefacts"].get(stage)
        return None if key is None else self.store.find(stage, str(key))

    @property
    def inputs(self) -> "Inputs":
        """What its methods were made from."""
        from scoter.stages.networks import Inputs

        made = self.if_made("semantic-ids"), self.if_made("chains")
        return Inputs(self.made_from("prepare"), *made)

    def method(self, name: str | None = None) -> "FinishedMethod":
        """One of its methods, by default the last one."""
        chosen = self.methods[-1] if name is None else name
        if chosen not in self.methods:
            known, like = ", ".join(self.methods), closest(chosen, self.methods)
            raise ConfigError(f"the run has no method {chosen!r}; choose from: {known}{like}")
        return FinishedMethod(self, chosen)

    def model(self, name: str | None = None) -> "Estimator":
        """One of its methods as an estimator: it recommends and can be saved."""
        return self.method(name).estimator()


@dataclass(frozen=True, eq=False)
class FinishedMethod:
    """One method of a finished run."""

    run: FinishedRun
    name: str

    @property
    def config(self) -> MethodConfig:
        return self.run.experiment.methods[self.name]

    @property
    def weights(self) -> Artefact:
        """What training left."""
        return self.run.store.find("train", self.run.outcome["artefacts"]["train"][self.name])

    def untrained(
        self, config: MethodConfig | None = None
    ) -> "tuple[Backbone, StepSource | None, StepEmbeddings | None]":
        """The network before training, the reader of its chains, and the chains; or those of
        another configuration on the same data."""
        from scoter.stages.networks import open_network

        return open_network(self.run.context, config or self.config, self.run.inputs)

    def trained(self) -> "tuple[Backbone, StepSource | None, StepEmbeddings | None]":
        """The same with the trained weights."""
        from scoter.stages.networks import open_trained

        return open_trained(self.run.context, self.config, self.run.inputs, self.weights)

    @property
    def answers(self) -> bool:
        """Whether it can answer for anybody: it reads no chain, or the user's own."""
        fusion = self.config.fusion
        reads_own = fusion is None or fusion.source == "own"
        return reads_own and not self.config.mixed_scores

    def estimator(self) -> "Estimator":
        """The method as an estimator, in fp32, so that it answers alike on every machine."""
        from scoter.recommenders.estimators import Parts, opened
        from scoter.stages.reasoning import open_chains

        run, experiment = self.run, self.run.experiment
        if not self.answers:
            control = f"{self.name!r} is a control that does not read a user's own chain"
            raise ConfigError(f"{control}; it is for measuring only")
        chains = None
        if self.config.fusion is not None:
            chains = open_chains(run.context, run.made_from("chains"), run.dataset)
        settings, ids = (experiment.semantic_ids, experiment.text), run.if_made("semantic-ids")
        parts = Parts(self.config, *settings, run.dataset, run.seed, codes_of(ids), chains)
        model = opened(parts, lambda: self.weights.file("weights.safetensors"))
        model.name, model.network.precision = self.name, "fp32"
        return model


def finished_runs(store: Store) -> Iterator[FinishedRun]:
    """Every finished run of a store, oldest first; what cannot be read is named on stderr."""
    for folder in store.folders("run"):
        try:
            run = FinishedRun(store, run_at(folder))
            run.outcome  # noqa: B018
        except (DataError, StoreError) as error:
            on_stderr(str(error))
            continue
        yield run


def find_run(store: Store, name: str) -> FinishedRun:
    """The newest finished run of that name, start of its key, or experiment; or the `latest`."""
    runs = list(finished_runs(store))
    named = [
        run
        for run in runs
        if name in ("latest", run.name, run.artefact.key[: len(name)], run.outcome["experiment"])
    ]
    if not named:
        names = [run.name for run in runs]
        like = closest(name, [*names, *(run.outcome["experiment"] for run in runs)])
        newest = f"the newest runs are: {', '.join(names[-5:]) or 'none yet'}"
        raise StoreError(f"there is no run {name!r} in {store.root}; {newest}{like}")
    return named[-1]


def find_methods(folders: Sequence[Path], names: Sequence[str]) -> dict[str, FinishedMethod]:
    """The methods of these names, wherever among the runs in `folders` they are."""
    runs = [FinishedRun.at(folder) for folder in folders]
    known = {name: run.method(name) for run in runs for name in run.methods}
    missing = [name for name in names if name not in known]
    if missing:
        remedy = "pass the folder of one that has, beside the others"
        raise ConfigError(f"no run given has a method {missing[0]!r}; {remedy}")
    chosen = {name: known[name] for name in names}
    made = [method.run.outcome for method in chosen.values()]
    keys = [(run["seed"], run["artefacts"]) for run in made]
    shared = {(seed, key["prepare"], key.get("semantic-ids")) for seed, key in keys}
    if len(shared) > 1:
        raise DataError("the runs differ in data, semantic IDs or seed; pass runs of one setting")
    return chosen
