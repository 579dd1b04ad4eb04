"""Fitted recommenders as folders: safetensors, JSON and parquet, and nothing that runs."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scoter.config import DataConfig, MethodConfig, SemanticIdConfig, TextConfig, from_json, to_json
from scoter.data.datasets import Dataset
from scoter.data.prepared import load_prepared, save_prepared
from scoter.data.split import hold_out
from scoter.errors import ScoterError, StoreError
from scoter.reasoning.chains.table import load_chains, save_chains
from scoter.recommenders.chains import Chains
from scoter.storage.arrays import load_arrays, save_arrays
from scoter.storage.store import hash_file, hash_json
from scoter.storage.untrusted import parse_json
from scoter.types import SemanticIds

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone

ABOUT, WEIGHTS, IDS = "model.json", "weights.safetensors", "semantic-ids.safetensors"
DATASET, SPLIT = "dataset", "split.safetensors"
CHAINS, VECTORS = "chains", "vectors.safetensors"
FORMAT = {"format": "scoter-model", "version": 1}
DESCRIBED = ("name", "seed", "identity", "origin", "protocol")  # attributes of a dataset


@dataclass(frozen=True, eq=False)
class Parts:
    """All that a fitted recommender depends on but its weights."""

    config: MethodConfig
    semantic_ids: SemanticIdConfig  # how the semantic IDs were made
    text: TextConfig  # how sentences become vectors
    dataset: Dataset  # that it was fitted on
    seed: int  # of initial weights, batches and dropout
    ids: SemanticIds | None  # None where it needs none
    chains: Chains | None  # None where it reads none

    @property
    def key(self) -> str:
        """The hash of all that a training depends on but its number of threads and its device."""
        split = self.dataset.split
        arrays = [split.train.items, split.train.offsets, split.valid.users, split.valid.items]
        arrays += [] if self.ids is None else [self.ids.codes]
        said: list[object] = [to_json(self.config), to_json(self.text), self.seed]
        if self.chains is not None:
            table = self.chains.table
            said += [table.pattern.to_json(), table.sentences, str(self.chains.vectors.shape)]
            arrays += [table.indices, table.offsets, table.starts, self.chains.vectors]
            arrays += [] if table.certainty is None else [table.certainty]
        hashes = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
        return hash_json([self.dataset.identity, said, hashes])


def save(parts: Parts, kind: str, network: "Backbone", folder: Path) -> None:
    """Write a fitted estimator of the class `kind` into a new folder."""
    from scoter.models.training.loop import save_weights

    if folder.exists():
        raise StoreError(f"{folder} exists; name a new folder, or remove that one first")
    folder.mkdir(parents=True)
    dataset, ids, chains = parts.dataset, parts.ids, parts.chains
    save_prepared(dataset.log, dataset.catalog, folder / DATASET)
    if dataset.fixed_split is not None:
        held = {part: dataset.split.targets(part).users for part in ("valid", "test")}
        save_arrays(folder / SPLIT, **held)
    about: dict[str, object] = {
        **FORMAT,
        "class": kind,
        "seed": parts.seed,
        "method": asdict(parts.config),
        "semantic_ids": asdict(parts.semantic_ids),
        "text": asdict(parts.text),
        "dataset": {name: getattr(dataset, name) for name in DESCRIBED},
    }
    if ids is not None:
        about["codebook_sizes"] = list(ids.codebook_sizes)
        books = {} if ids.codebooks is None else {"codebooks": ids.codebooks}
        save_arrays(folder / IDS, codes=ids.codes.astype(np.int32), **books)
    if chains is not None:
        save_chains(chains.table, folder / CHAINS)
        save_arrays(folder / CHAINS / VECTORS, vectors=chains.vectors)
    if network.trains:
        save_weights(network, folder / WEIGHTS)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    about["files"] = {path.relative_to(folder).as_posix(): hash_file(path) for path in files}
    (folder / ABOUT).write_text(json.dumps(about, indent=1))


def read(folder: Path) -> tuple[str, Parts]:
    """The class and the parts that `save` wrote."""
    try:
        about = parse_json((folder / ABOUT).read_bytes())
        if {name: about.get(name) for name in FORMAT} != FORMAT:
            raise ValueError(f"it is not of {FORMAT}")
        kind, seed, known = str(about["class"]), int(about["seed"]), about["dataset"]
        method = from_json(json.dumps(about["method"]), MethodConfig)
        semantic_ids = from_json(json.dumps(about["semantic_ids"]), SemanticIdConfig)
        text = from_json(json.dumps(about["text"]), TextConfig)
        named = (str(known["identity"]), str(known["origin"]), str(known["name"]))
        shop_seed = int(known["seed"])
        kept = from_json(json.dumps({"protocol": known.get("protocol", "A")}), DataConfig)
        for name, wanted in about.get("files", {}).items():
            if hash_file(folder / name) != wanted:
                raise ValueError(f"{name} was altered since it was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ScoterError) as error:
        why = f"{folder} holds no saved recommender ({type(error).__name__}: {error})"
        raise StoreError(f"{why}; pass a folder that `model.save` wrote") from None
    log, catalog = load_prepared(folder / DATASET)
    split = hold_out(log, **load_arrays(folder / SPLIT)) if (folder / SPLIT).exists() else None
    dataset = Dataset(log, catalog, *named, shop_seed, split, kept.protocol)
    ids = chains = None
    if (folder / IDS).exists():
        arrays, sizes = load_arrays(folder / IDS), tuple(about["codebook_sizes"])
        ids = SemanticIds(arrays["codes"], sizes, arrays.get("codebooks"))
    if (folder / CHAINS).exists():
        vectors = load_arrays(folder / CHAINS / VECTORS)["vectors"]
        chains = Chains(load_chains(folder / CHAINS), vectors, dataset, text)
    return kind, Parts(method, semantic_ids, text, dataset, seed, ids, chains)
