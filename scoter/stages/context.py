"""What every stage shares: the experiment, the store, the seed, and how arrays are kept."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scoter.config import Experiment, MethodConfig, from_json, to_json
from scoter.plugins import BACKBONES, FUSIONS
from scoter.progress import under_way
from scoter.storage.store import Artefact, Store
from scoter.types import Part

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from scoter.models.training.workers import Workers

# Bump a stage's version when its output changes for the same inputs.
VERSIONS = {
    "prepare": 1,
    "items": 2,
    "semantic-ids": 3,
    "discover": 10,
    "chains": 6,
    "train": 4,
    "rank": 3,
    "run": 4,
    "explorer": 1,
}
PARTS: tuple[Part, ...] = ("valid", "test")


@dataclass(frozen=True)
class Context:
    """One run of an experiment."""

    experiment: Experiment
    store: Store  # where its artefacts are kept
    seed: int  # of training, and of the simulated shop
    say: Callable[[str], None]  # called with one line for each stage
    workers: "Workers | None" = None  # processes that train together; None for this one alone
    device: str = "cpu"  # `cpu` or `cuda`, where models are trained and ranked

    def __post_init__(self) -> None:
        """Checks a config that was made in Python as strictly as JSON is checked."""
        from_json(to_json(self.experiment), Experiment)

    @property
    def data_seed(self) -> int:
        """The run's seed for the simulated shop; 0 for real data, where only training differs."""
        return self.seed if self.experiment.data.simulated else 0

    def stage(
        self,
        name: str,
        config: "DataclassInstance | Mapping[str, object]",
        inputs: Sequence[Artefact | str],
        build: Callable[[Path, Path], None],
        of: str = "",
    ) -> Artefact:
        """The artefact of one stage, with a line that says whether it was reused.

        `of` says of which method it is.
        """
        first = self.workers is None or self.workers.is_first
        make = self.store.take_part if name == "train" and not first else self.store.stage
        with under_way(f"{name} {of}".strip(), first):
            artefact = make(name, VERSIONS[name], config, inputs, build)
        of = f" ({of})" if of else ""
        self.say(f"{name}: {'reused' if artefact.reused else 'made'} {artefact.key[:16]}{of}")
        return artefact


def sentence_encoder(context: Context, keep: bool = True) -> Callable[[list[str]], np.ndarray]:
    """Sentences to vectors, cached in the store; `keep` is as for `sentence_vectors.encode`."""
    from scoter.storage.sentence_vectors import encode

    settings, cache = context.experiment.text, context.store.root / "sentences"
    return lambda sentences: encode(sentences, settings, cache, keep)


def method_recipe(method: MethodConfig, device: str) -> dict[str, object]:
    """What of a method and of this machine decides its numbers, for the key of a stage.

    It has the precision that `auto` comes to, and the code of plug-ins, but no versions, threads or
    processes. A GPU pads batches, which changes what dropout draws.
    """
    config, where = json.loads(to_json(method)), computation(method, device)
    del config["training"]["precision"], config["mixed_with"]  # which only ranking knows
    used = [(BACKBONES, method.model.kind)]
    used += [] if method.fusion is None else [(FUSIONS, method.fusion.module)]
    code = {name: digest for table, name in used if (digest := table.digest(name))}
    plugins = {"plugins": code} if code else {}
    padded = {"batches": "padded"} if where.get("device") == "cuda" else {}
    return {"method": config, **plugins, **where, **padded}


def computation(method: MethodConfig, device: str) -> dict[str, str]:
    """The kind of device and the precision of a method's computations; popularity has neither."""
    from scoter.models.training.precision import resolve_device, resolve_precision

    if not BACKBONES.get(method.model.kind).trains:
        return {}
    where = resolve_device(device)
    precision = resolve_precision(method.training.precision, where)
    return {"device": where.type, "precision": precision}
