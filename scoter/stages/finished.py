"""Finished runs: found by name or folder, and their methods opened again as they were trained."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoter.config import Experiment, MethodConfig, from_json
from scoter.errors import ConfigError, DataError, StoreError, closest
from scoter.stages.context import Context
from scoter.stages.data import open_data
from scoter.storage.run_files import outcome_of, run_at, run_name
from scoter.storage.store import Artefact, Store
from scoter.types import Catalog, InteractionLog, Split

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone
    from scoter.protocols import StepSource
    from scoter.types import StepEmbeddings


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run in its store: what was measured, and what it was made from."""

    store: Store
    artefact: Artefact

    @classmethod
    def at(cls, folder: Path) -> "FinishedRun":
        """The run in a folder of a store.

        Raises:
            DataError: the folder holds no finished run.
        """
        run = run_at(folder)
        return cls(Store(folder.parent.parent), run)

    @cached_property
    def outcome(self) -> dict[str, Any]:
        """What stands in its `run.json`.

        Raises:
            StoreError: it lacks what runs of this version have.
        """
        return outcome_of(self.artefact)

    @property
    def name(self) -> str:
        """Experiment, seed and the start of the key."""
        return run_name(self.artefact)

    @cached_property
    def experiment(self) -> Experiment:
        return from_json(json.dumps(self.outcome["config"]), Experiment)

    @cached_property
    def context(self) -> Context:
        return Context(self.experiment, self.store, self.outcome["seed"], lambda line: None)

    @cached_property
    def data(self) -> tuple[InteractionLog, Catalog, Split]:
        return open_data(self.made_from("prepare"))

    @property
    def split(self) -> Split:
        return self.data[2]

    def made_from(self, stage: str) -> Artefact:
        """The artefact of a stage that all methods share."""
        return self.store.find(stage, self.outcome["artefacts"][stage])

    def if_made(self, stage: str) -> Artefact | None:
        """The same, or None where the run needed no such stage."""
        return self.made_from(stage) if stage in self.outcome["artefacts"] else None

    def method(self, name: str | None = None) -> "FinishedMethod":
        """One of its methods, by default the last one.

        Raises:
            ConfigError: the run has no such method.
        """
        chosen = list(self.outcome["methods"])[-1] if name is None else name
        if chosen not in self.outcome["methods"]:
            known = ", ".join(self.outcome["methods"])
            like = closest(chosen, self.outcome["methods"])
            raise ConfigError(f"the run has no method {chosen!r}; choose from: {known}{like}")
        return FinishedMethod(self, chosen)


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
        """The network as it was before training, or another one on the same data; the reader of its
        chains, and the chains."""
        from scoter.stages.networks import open_network

        config, run = config or self.config, self.run
        steps = run.made_from("chains") if config.fusion is not None else None
        data, ids = run.made_from("prepare"), run.if_made("semantic-ids")
        return open_network(run.context, config, data, ids, steps)

    def trained(self) -> "tuple[Backbone, StepSource | None, StepEmbeddings | None]":
        """The same with the trained weights."""
        model, reader, steps = self.untrained()
        if model.trains:
            from scoter.models.training.loop import load_weights

            load_weights(model, self.weights.file("weights.safetensors"))
        return model, reader, steps


def find_run(store: Store, name: str) -> FinishedRun:
    """The newest finished run of that name, start of its key, or experiment.

    `latest` is the newest of all.

    Raises:
        StoreError: there is none.
    """
    runs = [FinishedRun(store, artefact) for artefact in store.artefacts("run")]
    named = [
        run
        for run in runs
        if name in (run.name, run.artefact.key[: len(name)], run.outcome["experiment"])
    ]
    named = runs if name == "latest" else named
    if not named:
        names = [run.name for run in runs]
        like = closest(name, [*names, *(run.outcome["experiment"] for run in runs)])
        newest = f"the newest runs are: {', '.join(names[-5:]) or 'none yet'}"
        raise StoreError(f"there is no run {name!r} in {store.root}; {newest}{like}")
    return named[-1]


def find_methods(folders: Sequence[Path], names: Sequence[str]) -> dict[str, FinishedMethod]:
    """The methods of these names, wherever among the runs in `folders` they are.

    Raises:
        DataError: a folder holds no finished run, or two runs have other data, semantic IDs or
            seeds.
        ConfigError: none of the runs has a method of that name.
    """
    runs = [FinishedRun.at(folder) for folder in folders]
    found = {name: run.method(name) for run in runs for name in run.outcome["methods"]}
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(
            f"no run given has a method {missing[0]!r}; pass the folder of one that has, beside "
            f"the others"
        )
    chosen = {name: found[name] for name in names}
    outcomes = [method.run.outcome for method in chosen.values()]
    shared = [
        (one["seed"], *map(one["artefacts"].get, ("prepare", "semantic-ids"))) for one in outcomes
    ]
    if len(set(shared)) > 1:
        raise DataError(
            "the runs differ in data, semantic IDs or seed, so their methods are not alike; pass "
            "runs of one setting"
        )
    return chosen
