"""Methods of finished runs, given as folders: one run that holds several, or runs of one method
each on the same data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scoter.config import Experiment, MethodConfig, from_json
from scoter.errors import ConfigError, DataError
from scoter.stages.context import Context
from scoter.storage.store import MANIFEST, Artefact, Store
from scoter.types import Split


@dataclass(frozen=True, eq=False)
class MethodRun:
    """One method of a finished run."""

    name: str
    run: Artefact
    outcome: dict[str, Any]

    @property
    def store(self) -> Store:
        return Store(self.run.path.parent.parent)

    @cached_property
    def experiment(self) -> Experiment:
        return from_json(json.dumps(self.outcome["config"]))

    @property
    def config(self) -> MethodConfig:
        return self.experiment.methods[self.name]

    @cached_property
    def split(self) -> Split:
        from scoter.stages.data import open_data

        return open_data(self.artefact("prepare"))[2]

    def artefact(self, stage: str) -> Artefact:
        """The artefact of a stage that the run was made of; of `train`, this method's."""
        key = self.outcome["artefacts"][stage]
        return self.store.find(stage, key[self.name] if stage == "train" else key)

    def untrained(self, config: MethodConfig | None = None) -> tuple[Any, Any]:
        """(model, reader of its chains): the model as it was before training, or another `config`
        on the same data."""
        from scoter.stages.data import codes_of, open_data
        from scoter.stages.models import build_model, step_reader

        config, data = config or self.config, self.artefact("prepare")
        catalog, split = open_data(data)[1:]
        context = Context(self.experiment, self.store, self.outcome["seed"], lambda line: None)
        chains = self.artefact("chains") if config.fusion is not None else None
        ids = self.artefact("semantic-ids") if "semantic-ids" in self.outcome["artefacts"] else None
        table, reader = step_reader(config.fusion, chains, context, data, ids)
        model = build_model(config, split, catalog, codes_of(ids), table, context.seed)
        return model, reader

    def trained(self) -> tuple[Any, Any]:
        """The same with the trained weights."""
        from scoter.models.training.loop import load_weights

        model, reader = self.untrained()
        load_weights(model, self.artefact("train").file("weights.safetensors"))
        return model, reader


def find_methods(runs: Sequence[Path], names: Sequence[str]) -> dict[str, MethodRun]:
    """The methods of these names, wherever among `runs` they are.

    Raises:
        DataError: a folder holds no finished run, or two runs have other data, semantic IDs or
            seeds.
        ConfigError: none of the runs has a method of that name.
    """
    found: dict[str, MethodRun] = {}
    for folder in runs:
        if not (folder / MANIFEST).exists() or not (folder / "run.json").exists():
            raise DataError(
                f"{folder} holds no finished run (a run.json and a {MANIFEST}); pass a folder "
                f"below the store's run/"
            )
        outcome = json.loads((folder / "run.json").read_text())
        run = Artefact(folder, "run", json.loads((folder / MANIFEST).read_text())["key"])
        found |= {
            name: MethodRun(name, run, outcome) for name in outcome["methods"] if name in names
        }
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(
            f"no run given has a method {missing[0]!r}; pass the folder of one that has, beside "
            f"the others"
        )
    artefacts = [method.outcome["artefacts"] for method in found.values()]
    same = {
        (method.outcome["seed"], method.outcome["artefacts"]["prepare"])
        for method in found.values()
    }
    # Methods over item numbers have no semantic IDs.
    ids = {made["semantic-ids"] for made in artefacts if "semantic-ids" in made}
    if len(same) > 1 or len(ids) > 1:
        raise DataError(
            "the runs differ in data, semantic IDs or seed, so their methods are not alike; pass "
            "runs of one setting"
        )
    return {name: found[name] for name in names}
