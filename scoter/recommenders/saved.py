"""Fitted recommenders as folders: safetensors, JSON and parquet, and nothing that runs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoter.config import MethodConfig, SemanticIdConfig, TextConfig, from_json
from scoter.data.datasets import Dataset
from scoter.data.prepared import load_prepared, save_prepared
from scoter.errors import ScoterError, StoreError
from scoter.reasoning.chains.table import load_chains, save_chains
from scoter.recommenders.chains import Chains
from scoter.storage.arrays import load_arrays, save_arrays
from scoter.storage.untrusted import parse_json
from scoter.types import SemanticIds

if TYPE_CHECKING:
    from scoter.recommenders.estimators import Estimator

ABOUT, WEIGHTS, IDS, DATASET, CHAINS = (
    *("model.json", "weights.safetensors", "semantic-ids.safetensors"),
    *("dataset", "chains"),
)
FORMAT = {"format": "scoter-model", "version": 1}


def save(model: "Estimator", folder: Path) -> None:
    """Write a fitted estimator into a new folder.

    Raises:
        StoreError: the folder exists.
    """
    from scoter.models.training.loop import save_weights

    if folder.exists():
        raise StoreError(f"{folder} exists; name a new folder, or remove that one first")
    folder.mkdir(parents=True)
    dataset, network = model.dataset, model.network
    assert dataset is not None
    assert network is not None
    save_prepared(dataset.log, dataset.catalog, folder / DATASET)
    about: dict[str, Any] = {
        **FORMAT,
        "class": type(model).__name__,
        "seed": model.seed,
        "method": asdict(model.config),
        "semantic_ids": asdict(model.semantic_ids),
        "text": asdict(model.text),
        "dataset": {
            **{"name": dataset.name, "seed": dataset.seed},
            **{"identity": dataset.identity, "origin": dataset.origin},
        },
    }
    if model.ids is not None:
        about["codebook_sizes"] = list(model.ids.codebook_sizes)
        books = {} if model.ids.codebooks is None else {"codebooks": model.ids.codebooks}
        save_arrays(folder / IDS, codes=model.ids.codes.astype(np.int32), **books)
    if model.chains is not None:
        (folder / CHAINS).mkdir()
        save_chains(model.chains.table, folder / CHAINS)
        save_arrays(folder / CHAINS / "vectors.safetensors", vectors=model.chains.vectors)
    if network.trains:
        save_weights(network, folder / WEIGHTS)
    (folder / ABOUT).write_text(json.dumps(about, indent=1))


def read(folder: Path) -> tuple[dict[str, Any], Dataset, SemanticIds | None, Chains | None]:
    """What `save` wrote but the weights: what is told of the model, its dataset, IDs and chains.

    Raises:
        StoreError: the folder holds no such model, or one that cannot be read.
    """
    try:
        about = parse_json((folder / ABOUT).read_bytes())
        if {name: about.get(name) for name in FORMAT} != FORMAT:
            raise ValueError(f"it is not of {FORMAT}")
        about["method"] = from_json(json.dumps(about["method"]), MethodConfig)
        about["semantic_ids"] = from_json(json.dumps(about["semantic_ids"]), SemanticIdConfig)
        text = about["text"] = from_json(json.dumps(about["text"]), TextConfig)
        known = about["dataset"]
        identity, origin = str(known["identity"]), str(known["origin"])
        name, seed = str(known["name"]), int(known["seed"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ScoterError) as error:
        raise StoreError(
            f"{folder} holds no saved recommender ({type(error).__name__}: {error}); pass a folder "
            f"that `model.save` wrote"
        ) from None
    dataset = Dataset(*load_prepared(folder / DATASET), identity, origin, name, seed)
    ids = chains = None
    if (folder / IDS).exists():
        arrays, sizes = load_arrays(folder / IDS), tuple(about["codebook_sizes"])
        ids = SemanticIds(arrays["codes"], sizes, arrays.get("codebooks"))
    if (folder / CHAINS).exists():
        vectors = load_arrays(folder / CHAINS / "vectors.safetensors")["vectors"]
        chains = Chains(load_chains(folder / CHAINS), vectors, dataset, text)
    return about, dataset, ids, chains
