"""Opening a bundle and answering from it alone: no store, no data, no sentence encoder, no language
model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scoter.config import MethodConfig, from_json
from scoter.errors import ConfigError, ScoterError, StoreError
from scoter.serving.bundle import (
    FILES,
    FORMAT,
    HISTORIES,
    IDS,
    ITEMS,
    MODEL,
    SENTENCES,
    STEPS,
    TRIE,
    USERS,
    WEIGHTS,
)
from scoter.serving.newest_chains import step_texts
from scoter.serving.questions import Question, Service, numbers_of
from scoter.serving.service import answers
from scoter.storage.arrays import load_arrays
from scoter.storage.store import MANIFEST, hash_file
from scoter.storage.untrusted import parse_json, read_parquet
from scoter.types import Histories, ReasoningPattern, SemanticIds, Step


@dataclass(frozen=True, eq=False)
class Bundle:
    """An open bundle. `reader` is None where the method reads no chains, `sentences` where they
    were not exported."""

    folder: Path
    service: Service
    user_rows: Mapping[str, int]
    histories: Histories
    reader: Any
    sentences: Sequence[str] | None

    def recommend(
        self,
        users: Sequence[str] = (),
        items: Sequence[str] = (),
        count: int = 10,
        explain: bool = False,
    ) -> list[dict[str, Any]]:
        """The `count` best next items for users of the bundle, or for a shopper with just these
        items (keys, oldest first).

        A shopper given by items has no chain here: the fusion reads its learned null instead.

        Raises:
            ConfigError: an unknown user or item, or explanations of a bundle without sentences.
        """
        if explain and self.reader is not None and self.sentences is None:
            raise ConfigError(
                f"{self.folder} has no {SENTENCES} to explain with; export it again without "
                f"--no-texts"
            )
        return answers(
            self.service, self._items_given(items) if items else self._of(users), count, explain
        )

    @cached_property
    def _single(self) -> Any:
        from scoter.models.backbones.single import SingleRequests
        from scoter.transfer.prepared import PreparedFusion

        model: Any = self.service.model  # a TIGER, as `rank` made sure
        if self.reader is None:
            return SingleRequests(model)
        return SingleRequests(model, PreparedFusion(model.fusion).of_table(self.reader))

    def rank(self, user: str, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """(item numbers, scores in nats) of one user's `count` best, by the shortest way: what a
        shop calls for each request.

        The first call multiplies weights out. Only for TIGER, with a fusion or without.

        Raises:
            ConfigError: an unknown user, or another model.
        """
        if self.service.config.model.kind != "tiger":
            raise ConfigError(
                f"rank answers for TIGER, and this bundle's model is "
                f"{self.service.config.model.kind!r}; use recommend"
            )
        row = int(self._rows([user])[0])
        items, scores = self._single.best(_tensor(self.histories.sequence(row)), count, row)
        return items.numpy(), scores.numpy()

    def _rows(self, who: Sequence[str]) -> np.ndarray:
        unknown = [key for key in who if key not in self.user_rows]
        if unknown:
            looks = ", ".join(list(self.user_rows)[:3])
            raise ConfigError(
                f"the bundle has no user {unknown[0]!r}; its keys look like {looks}; give a new "
                f"one's --item"
            )
        return np.array([self.user_rows[key] for key in who])

    def _of(self, users: Sequence[str]) -> Question:
        who = list(dict.fromkeys(users)) or list(self.user_rows)[:3]
        rows = self._rows(who)
        histories = self.histories.select(rows)
        if self.reader is None:
            return Question(who, histories)
        return Question(who, histories, self.reader, lambda row: self._texts(int(rows[row])))

    def _items_given(self, items: Sequence[str]) -> Question:
        sequence = numbers_of(self.service.item_keys, items, "the bundle")
        histories = Histories(np.array([0]), sequence, np.array([0, len(sequence)]))
        who = ["(items given)"]
        if self.reader is None or self.service.pattern is None:
            return Question(who, histories)
        steps = len(self.service.pattern)
        return Question(
            who, histories, self.reader.without_chain(), lambda row: [[] for _ in range(steps)]
        )

    def _texts(self, row: int) -> list[list[str]]:
        assert self.sentences is not None
        return step_texts(
            self.sentences, self.reader.indices, self.reader.offsets, self.reader.step_count, row
        )


def open_bundle(folder: Path) -> Bundle:
    """Check every file of a bundle against its manifest and open it.

    Raises:
        StoreError: a file is missing, altered, cut off, of another bundle, or something else; the
            message names it.
    """
    check_files(folder)
    with _reading(folder, MODEL):
        about = json.loads((folder / MODEL).read_text())
        if {name: about.get(name) for name in FORMAT} != FORMAT:
            raise ValueError(f"it is not of {FORMAT}")
        config: MethodConfig = from_json(json.dumps(about["config"]), MethodConfig)
        pattern = None
        if "pattern" in about:
            pattern = ReasoningPattern(
                tuple(Step(step["role"], step["parameters"]) for step in about["pattern"])
            )
        items, users, method = int(about["items"]), int(about["users"]), str(about["method"])
        if (config.fusion is None) != (pattern is None):
            raise ValueError("it has a fusion without a pattern, or a pattern without a fusion")
    with _reading(folder, ITEMS):
        table = read_parquet(folder / ITEMS)
        keys, titles = table["key"].to_pylist(), table["title"].to_pylist()
        _same(len(keys), items, "items")
        if not all(isinstance(text, str) for text in (*keys, *titles)):
            raise ValueError("a key or a title is no text")
    with _reading(folder, USERS):
        rows = {key: row for row, key in enumerate(read_parquet(folder / USERS)["key"].to_pylist())}
        _same(len(rows), users, "users")
    with _reading(folder, HISTORIES):
        arrays = load_arrays(folder / HISTORIES)
        _ragged(arrays["offsets"], users, arrays["items"], items)
        histories = Histories(np.arange(users), arrays["items"].astype(np.int64), arrays["offsets"])
    model = _network(folder, config, about, pattern)
    reader, sentences = (
        (None, None) if pattern is None else _chains(folder, about, len(pattern), users)
    )
    service = Service(method, config, model, tuple(keys), titles, pattern)
    return Bundle(folder, service, rows, histories, reader, sentences)


def _tensor(values: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(values.copy())


def check_files(folder: Path) -> None:
    """Every file that the manifest names, and no other name than a bundle's own, has the size and
    the bytes of the manifest."""
    again = "export the bundle again with `scoter export`"
    try:
        manifest = parse_json((folder / MANIFEST).read_bytes())
        files = dict(manifest["files"])
        known = {name: manifest.get(name) for name in FORMAT} == FORMAT
        sizes = {name: (int(entry["bytes"]), entry["sha256"]) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise StoreError(
            f"{folder / MANIFEST} is no manifest of a bundle ({type(error).__name__}: {error}); "
            f"{again}"
        ) from None
    if not known:
        raise StoreError(
            f"{folder / MANIFEST} is not of {FORMAT}, so another version wrote it; {again}"
        )
    for name, (size, digest) in sizes.items():
        path = folder / name
        if name not in FILES:
            raise StoreError(
                f"{folder / MANIFEST} names {name!r}, which is no file of a bundle; nothing was "
                f"read; {again}"
            )
        if path.is_symlink() or not path.is_file():
            raise StoreError(f"{path} is missing, or is no plain file; {again}")
        if path.stat().st_size != size:
            raise StoreError(
                f"{path} has {path.stat().st_size:,} bytes instead of {size:,}: copied in part? "
                f"{again}"
            )
        if hash_file(path) != digest:
            raise StoreError(f"{path} was altered since it was exported; {again}")
    foreign = [name for name in FILES if name not in sizes and (folder / name).exists()]
    if foreign:
        raise StoreError(
            f"{folder / foreign[0]} is not in the manifest, so it belongs to another bundle; "
            f"{again}"
        )
    missing = {MODEL, WEIGHTS, ITEMS, USERS, HISTORIES} - set(sizes)
    if missing:
        raise StoreError(
            f"{folder / MANIFEST} does not name {sorted(missing)[0]}, which every bundle has; "
            f"{again}"
        )


def _network(
    folder: Path, config: MethodConfig, about: dict[str, Any], pattern: ReasoningPattern | None
) -> Any:
    from scoter.models.backbones.backbone import ItemSpace
    from scoter.models.training.loop import load_weights
    from scoter.recommenders.network import build_network

    ids = None
    if config.model.kind == "tiger":
        with _reading(folder, IDS):
            ids = _semantic_ids(load_arrays(folder / IDS), tuple(about["codebook_sizes"]))
        # Trained weights follow: where they once started from is of no concern, and the codebooks
        # are not here.
        config = replace(config, model=replace(config.model, embedding_start="random"))
    with _reading(folder, WEIGHTS):
        _check_size(config.model, int(about.get("step_dim", 0)), (folder / WEIGHTS).stat().st_size)
        chains = None if pattern is None else (pattern, int(about["step_dim"]))
        model = build_network(config, ItemSpace(int(about["items"]), ids), chains, seed=0)
        load_weights(model, folder / WEIGHTS)
        model.precision = "fp32"
    return model.eval()


def _check_size(model: Any, step_dim: int, weights_bytes: int) -> None:
    """Refuse a model whose matrices would be far larger than the file of its weights, before memory
    is taken for it."""
    told = asdict(model)
    widest = max(
        told["dim"],
        told.get("feed_forward", 0),
        told.get("heads", 0) * told.get("head_dim", 1),
        step_dim,
    )
    needed = 4 * told["layers"] * told["dim"] * widest
    if (
        needed > 4 * weights_bytes + (64 << 20)
        or max(told["max_items"], told.get("beams", 0)) > 100_000
    ):
        raise ValueError(
            f"its {weights_bytes:,} bytes are too few for the model that {MODEL} describes"
        )


def _semantic_ids(arrays: dict[str, np.ndarray], sizes: tuple[int, ...]) -> SemanticIds:
    from scoter.models.decoding.trie import Trie

    ids = SemanticIds(arrays["codes"], sizes)
    trie = Trie(*(arrays[f"trie_{name}"] for name in TRIE))
    if not trie.spells(ids):
        raise ValueError("the trie does not spell these semantic IDs")
    return ids


def _chains(
    folder: Path, about: dict[str, Any], steps: int, users: int
) -> tuple[Any, Sequence[str] | None]:
    from scoter.models.quantised_steps import QuantisedSteps

    with _reading(folder, STEPS):
        arrays = load_arrays(folder / STEPS)
        vectors, offsets = arrays["vectors"], arrays["offsets"]
        _ragged(offsets, users * steps, arrays["indices"], len(vectors))
        _same(vectors.shape[1], int(about["step_dim"]), "numbers in a step")
        named = arrays.get("named")
        if named is not None:
            _same(len(named), len(vectors), "named items")
            if len(named) and not -1 <= int(named.min()) <= int(named.max()) < int(about["items"]):
                raise ValueError(f"a named item lies outside -1 to {int(about['items']) - 1}")
        reader = QuantisedSteps(
            vectors, arrays.get("scale"), arrays["indices"], offsets, steps, named
        )
    sentences = None
    if (folder / SENTENCES).exists():
        with _reading(folder, SENTENCES):
            sentences = read_parquet(folder / SENTENCES)["sentence"].to_pylist()
            _same(len(sentences), len(vectors), "sentences")
    return reader, sentences


def _same(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise ValueError(f"it has {found:,} {what} where {wanted:,} belong")


def _ragged(offsets: np.ndarray, rows: int, entries: np.ndarray, most: int) -> None:
    if offsets.dtype.kind not in "iu" or entries.dtype.kind not in "iu":
        raise ValueError(
            f"its offsets and entries are {offsets.dtype} and {entries.dtype} where whole "
            f"numbers belong"
        )
    _same(len(offsets), rows + 1, "offsets")
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(entries) or (np.diff(offsets) < 0).any():
        raise ValueError("its offsets do not describe its entries")
    if len(entries) and not 0 <= int(entries.min()) <= int(entries.max()) < most:
        raise ValueError(f"an entry lies outside 0 to {most - 1}")


@contextmanager
def _reading(folder: Path, name: str) -> Iterator[None]:
    """Whatever a file's content makes impossible is said with its name."""
    try:
        yield
    except Exception as error:
        reason = (
            str(error)
            if isinstance(error, ScoterError | ValueError)
            else f"{type(error).__name__}: {error}"
        )
        first = reason.strip().splitlines()[0][:200]
        raise StoreError(
            f"{folder / name} cannot be used: {first}; export the bundle again with `scoter export`"
        ) from error
