"""Opens a bundle and answers from it alone, without store, data, encoder or language model."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from scoter.config import MethodConfig, ModelConfig, from_json
from scoter.data.datasets import Dataset
from scoter.errors import ConfigError, ScoterError, StoreError
from scoter.recommenders.chains import step_bounds
from scoter.recommenders.estimators import with_options
from scoter.recommenders.fitted import Fitted, Reading, Requests, requests_of
from scoter.serving import bundle as written
from scoter.storage.arrays import load_arrays
from scoter.storage.store import MANIFEST, hash_file
from scoter.storage.untrusted import parse_json, read_parquet
from scoter.types import Catalog, InteractionLog, ReasoningPattern, SemanticIds, Step, entries_of

if TYPE_CHECKING:
    import pyarrow as pa

    from scoter.models.backbones.backbone import Backbone
    from scoter.models.backbones.single import SingleRequests
    from scoter.models.backbones.tiger import Tiger
    from scoter.models.quantised_steps import QuantisedSteps
    from scoter.transfer.fusion import StructuredFusion

AGAIN = "export the bundle again with `scoter export`"


@dataclass(frozen=True)
class _File:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds."""

    files: dict[str, _File]  # by name
    format: str = ""
    version: int = 0


@dataclass(frozen=True)
class About:
    """What `model.json` holds."""

    format: Literal["scoter bundle"]
    version: Literal[1]
    method: str
    config: dict[str, object]  # of the method
    items: int
    users: int
    pattern: list[Step] | None = None
    codebook_sizes: tuple[int, ...] = ()
    step_dim: int = 0  # numbers in the vector of a sentence


class Bundle(Fitted):
    """An open bundle, with the newest chain of each user's whole history and none of another."""

    def __init__(
        self,
        name: str,
        config: MethodConfig,
        dataset: Dataset,
        network: "Backbone",
        pattern: ReasoningPattern | None = None,
        steps: "QuantisedSteps | None" = None,
        sentences: list[str] | None = None,
    ) -> None:
        self.name, self.config, self.pattern = name, config, pattern
        self.steps, self.sentences = steps, sentences
        self._dataset, self._network = dataset, network
        self.user_rows = {key: row for row, key in enumerate(dataset.log.user_keys)}

    @cached_property
    def item_names(self) -> list[str]:
        return [str(title) for title in self.dataset.catalog.columns["title"]]

    def read(self, asked: Requests) -> Reading | None:
        from scoter.models.quantised_steps import QuantisedSteps

        steps = self.steps
        if steps is None:
            return None
        whole = asked.is_prefix & (asked.histories.lengths == self.dataset.log.lengths[asked.users])
        users = np.where(whole, asked.users, 0)
        low, counts = step_bounds(steps.offsets, users, steps.step_count, whole)
        take, offsets = entries_of(low, counts)
        table = (steps.vectors, steps.scale, steps.indices[take], offsets)
        stated = None if steps.stated is None else steps.stated[take]
        chosen = QuantisedSteps(*table, steps.step_count, steps.items, stated)
        return Reading(chosen, self.sentences, chosen.indices, offsets, chosen.step_count)

    @cached_property
    def _single(self) -> "SingleRequests":
        from scoter.models.backbones.single import SingleRequests
        from scoter.transfer.prepared import PreparedFusion

        if self.config.model.kind != "tiger":
            kind = f"this bundle's model is {self.config.model.kind!r}"
            raise ConfigError(f"rank answers for TIGER, and {kind}; use recommend")
        network = cast("Tiger", self.network)
        if self.steps is None:
            return SingleRequests(network)
        fusion = cast("StructuredFusion", network.fusion)
        return SingleRequests(network, PreparedFusion(fusion).of_table(self.steps))

    def rank(self, user: str, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """One TIGER user's `count` best items and scores (nats); the first call prepares."""
        import torch

        single = self._single
        if user not in self.user_rows:
            requests_of(self.dataset, [user], None)  # its error names the user
        row = self.user_rows[user]
        history = torch.from_numpy(self.dataset.log.sequence(row).copy())
        items, scores = single.best(history, count, row)
        return items.numpy(), scores.numpy()


def open_bundle(folder: Path) -> Bundle:
    """Check every file of a bundle against its manifest and open it.

    Raises:
        StoreError: a file is missing, altered or of another bundle; the message names it.
    """
    manifest = _checked(folder)
    with _reading(folder, written.MODEL):
        about: About = from_json((folder / written.MODEL).read_text(), About)
        config: MethodConfig = from_json(json.dumps(about.config), MethodConfig)
        pattern = None if about.pattern is None else ReasoningPattern(tuple(about.pattern))
        if (config.fusion is None) != (pattern is None):
            raise ValueError("it has a fusion without a pattern, or a pattern without a fusion")
    dataset = _dataset(folder, about, manifest.files[written.HISTORIES].sha256)
    network = _network(folder, about, config, pattern)
    if pattern is None:
        return Bundle(about.method, config, dataset, network)
    steps = _steps(folder, about, len(pattern))
    sentences = _sentences(folder, len(steps.vectors))
    return Bundle(about.method, config, dataset, network, pattern, steps, sentences)


def _checked(folder: Path) -> Manifest:
    """The manifest, once each of its files has its size and bytes and a bundle's own name."""
    place = folder / MANIFEST
    try:
        parse_json(place.read_bytes())  # refuses what no reader should be given
        manifest: Manifest = from_json(place.read_text(), Manifest)
    except (OSError, ValueError, ScoterError) as error:
        raise StoreError(f"{place} is no manifest of a bundle ({error}); {AGAIN}") from None
    if {name: getattr(manifest, name) for name in written.FORMAT} != written.FORMAT:
        foreign = f"{place} is not of {written.FORMAT}, so another version wrote it"
        raise StoreError(f"{foreign}; {AGAIN}")
    for name, file in manifest.files.items():
        _check_file(folder, name, file)
    for name in written.FILES:
        if name not in manifest.files and (folder / name).exists():
            path = folder / name
            raise StoreError(f"{path} is not in the manifest: it is another bundle's; {AGAIN}")
    for name in written.ALWAYS:
        if name not in manifest.files:
            raise StoreError(f"{place} does not name {name}, which every bundle has; {AGAIN}")
    return manifest


def _check_file(folder: Path, name: str, file: _File) -> None:
    path = folder / name
    if name not in written.FILES:
        named = f"{folder / MANIFEST} names {name!r}, which is no file of a bundle"
        raise StoreError(f"{named}; nothing was read; {AGAIN}")
    if path.is_symlink() or not path.is_file():
        raise StoreError(f"{path} is missing, or is no plain file; {AGAIN}")
    size = path.stat().st_size
    if size != file.bytes:
        cut = f"{path} has {size:,} bytes instead of {file.bytes:,}: copied in part?"
        raise StoreError(f"{cut} {AGAIN}")
    if hash_file(path) != file.sha256:
        raise StoreError(f"{path} was altered since it was exported; {AGAIN}")


def _dataset(folder: Path, about: About, identity: str) -> Dataset:
    with _reading(folder, written.ITEMS):
        table = read_parquet(folder / written.ITEMS)
        keys, titles = _texts(table, "key"), _texts(table, "title")
        _same(len(keys), about.items, "items")
    with _reading(folder, written.USERS):
        users = _texts(read_parquet(folder / written.USERS), "key")
        _same(len(set(users)), about.users, "users")
        _same(len(users), about.users, "users")
    with _reading(folder, written.HISTORIES):
        arrays = load_arrays(folder / written.HISTORIES)
        _ragged(arrays["offsets"], about.users, arrays["items"], about.items)
        log = InteractionLog(arrays["items"].astype(np.int64), arrays["offsets"], tuple(users))
    catalog = Catalog(tuple(keys), {"title": tuple(titles)})
    return Dataset(log, catalog, identity, str(folder))


def _network(
    folder: Path, about: About, config: MethodConfig, pattern: ReasoningPattern | None
) -> "Backbone":
    from scoter.models.backbones.backbone import ItemSpace
    from scoter.models.training.loop import load_weights
    from scoter.recommenders.network import build_network

    ids = None
    if config.model.kind == "tiger":
        with _reading(folder, written.IDS):
            ids = _semantic_ids(load_arrays(folder / written.IDS), about.codebook_sizes)
        # The codebooks where embeddings may start are not here; trained weights replace them.
        config = with_options(config, {"embedding_start": "random"})
    with _reading(folder, written.WEIGHTS):
        _check_size(config.model, about.step_dim, (folder / written.WEIGHTS).stat().st_size)
        chains = None if pattern is None else (pattern, about.step_dim)
        network = build_network(config, ItemSpace(about.items, ids), chains, seed=0)
        load_weights(network, folder / written.WEIGHTS)
        network.precision = "fp32"
    return network.eval()


def _check_size(model: ModelConfig, step_dim: int, weights_bytes: int) -> None:
    """Refuse a model far larger than the file of its weights, before memory is taken for it."""
    sizes = vars(model)
    heads = sizes.get("heads", 0) * sizes.get("head_dim", 1)
    widest = max(sizes["dim"], sizes.get("feed_forward", 0), heads, step_dim)
    needed, longest = 4 * sizes.get("layers", 1) * sizes["dim"] * widest, sizes["max_items"]
    if needed > 4 * weights_bytes + (64 << 20) or max(longest, sizes.get("beams", 0)) > 100_000:
        model_of = f"the model that {written.MODEL} describes"
        raise ValueError(f"its {weights_bytes:,} bytes are too few for {model_of}")


def _semantic_ids(arrays: dict[str, np.ndarray], sizes: tuple[int, ...]) -> SemanticIds:
    from scoter.models.decoding.trie import Trie

    ids = SemanticIds(arrays["codes"], sizes)
    trie = Trie(*(arrays[f"trie_{name}"] for name in written.TRIE))
    if not trie.spells(ids):
        raise ValueError("the trie does not spell these semantic IDs")
    return ids


def _steps(folder: Path, about: About, steps: int) -> "QuantisedSteps":
    from scoter.models.quantised_steps import QuantisedSteps

    with _reading(folder, written.STEPS):
        arrays = load_arrays(folder / written.STEPS)
        vectors, offsets, indices = (arrays[name] for name in ("vectors", "offsets", "indices"))
        _ragged(offsets, about.users * steps, indices, len(vectors))
        _same(vectors.shape[1], about.step_dim, "numbers in a step")
        named = arrays.get("named")
        if named is not None:
            _same(len(named), len(vectors), "named items")
            if len(named) and not -1 <= int(named.min()) <= int(named.max()) < about.items:
                raise ValueError(f"a named item lies outside -1 to {about.items - 1}")
        stated = arrays.get("certainty")
        if stated is not None:
            _same(len(stated), len(indices), "certainties")
            if len(stated) and not 0 <= float(stated.min()) <= float(stated.max()) <= 1:
                raise ValueError("a certainty lies outside 0 to 1")
        return QuantisedSteps(vectors, arrays.get("scale"), indices, offsets, steps, named, stated)


def _sentences(folder: Path, count: int) -> list[str] | None:
    if not (folder / written.SENTENCES).exists():
        return None
    with _reading(folder, written.SENTENCES):
        sentences = _texts(read_parquet(folder / written.SENTENCES), "sentence")
        _same(len(sentences), count, "sentences")
    return sentences


def _texts(table: "pa.Table", column: str) -> list[str]:
    texts = table[column].to_pylist()
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"its column {column!r} holds something that is no text")
    return texts


def _same(count: int, wanted: int, what: str) -> None:
    if count != wanted:
        raise ValueError(f"it has {count:,} {what} where {wanted:,} belong")


def _ragged(offsets: np.ndarray, rows: int, entries: np.ndarray, most: int) -> None:
    if offsets.dtype.kind not in "iu" or entries.dtype.kind not in "iu":
        kinds = f"{offsets.dtype} and {entries.dtype}"
        raise ValueError(f"its offsets and entries are {kinds} where whole numbers belong")
    _same(len(offsets), rows + 1, "offsets")
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(entries) or (np.diff(offsets) < 0).any():
        raise ValueError("its offsets do not describe its entries")
    if len(entries) and not 0 <= int(entries.min()) <= int(entries.max()) < most:
        raise ValueError(f"an entry lies outside 0 to {most - 1}")


@contextmanager
def _reading(folder: Path, name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        ours = isinstance(error, ScoterError | ValueError)
        reason = str(error) if ours else f"{type(error).__name__}: {error}"
        first = reason.strip().splitlines()[0][:200]
        raise StoreError(f"{folder / name} cannot be used: {first}; {AGAIN}") from error
