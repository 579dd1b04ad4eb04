"""TIGER, SASRec, GRU4Rec, Popularity and SCoTER with one set of verbs: fit, recommend, save.

`scoter.run` trains the same networks by the same functions, and adds files and comparisons.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Int

from scoter.arguments import Seed, checked
from scoter.config import (
    Count,
    FusionConfig,
    MethodConfig,
    SemanticIdConfig,
    TextConfig,
    from_json,
    to_json,
)
from scoter.data.datasets import Dataset
from scoter.data.split import check_trainable
from scoter.errors import ConfigError, StoreError
from scoter.experiments import TIGER_IDS, methods
from scoter.plugins import BACKBONES
from scoter.recommenders import saved
from scoter.recommenders.chains import Chains
from scoter.recommenders.fitted import Fitted, Reading, Requests
from scoter.recommenders.saved import Parts
from scoter.recommenders.step_sources import Sources, steps_as_read
from scoter.storage.sentence_vectors import encoder_of
from scoter.transfer.grounded import sentence_widths
from scoter.types import StepEmbeddings

if TYPE_CHECKING:
    from scoter.models.training.loop import TrainingLog

Made = TypeVar("Made", bound="Estimator")
DEPTH = 20  # items ranked for each validation user


class Estimator(Fitted):
    """What all recommenders share; use one of the classes below.

    Args:
        semantic_ids, text: how item vectors and semantic IDs are made.
        options: fields of the backbone's configuration or of `TrainingConfig`, such as `dim=64`,
            `epochs=4` or `learning_rate=3e-4`.
    """

    preset = "tiger"  # the method of `scoter.experiments.methods` with the default configuration
    half_steps = False  # whether requests read chains in half precision, as a bundle keeps them

    def __init__(
        self,
        *,
        semantic_ids: SemanticIdConfig = TIGER_IDS,
        text: TextConfig = TextConfig(),
        **options: object,
    ) -> None:
        config = with_options(methods(grounded=True)[self.preset], options)
        self.name, self.config = self.preset, config
        self.semantic_ids, self.text = semantic_ids, text
        self.parts: Parts | None = None
        self._widths: list[int] | None = None
        self.log: TrainingLog | None = None

    @checked
    def fit(
        self: Made,
        dataset: Dataset,
        chains: Chains | None = None,
        *,
        seed: Seed = 0,
        epochs: Count | None = None,
        device: str = "cpu",
        threads: Count | None = None,
        progress: bool = True,
        checkpoints: str | Path | None = None,
    ) -> Made:
        """Learn from the training part of `dataset`; validation chooses the epoch that is kept.

        Args:
            chains: of this dataset, for recommenders that read chains.
            seed: decides initial weights, batches and dropout.
            epochs: the most epochs; default: the configuration's.
            device: `cpu` or `cuda`.
            threads: processor threads; default: torch's own choice.
            progress: whether bars are shown.
            checkpoints: a folder from which an interrupted training goes on, each dataset, seed,
                configuration and table of chains below a name of its own; default: none is kept.

        Raises:
            ConfigError: chains are missing, or are given to a recommender that reads none.
            DataError: the chains are of another dataset, or there is nothing to train on.
        """
        from scoter.recommenders.network import needs_semantic_ids
        from scoter.semantic_ids.build import ids_of_items

        self._check(dataset, chains)
        configured = self.config
        config = with_options(configured, {} if epochs is None else {"epochs": epochs})
        with _running(threads):
            settings, ids = (config, self.semantic_ids, self.text), None
            if needs_semantic_ids(config):
                space = (dataset.split.train, dataset.catalog, self.semantic_ids)
                ids = ids_of_items(*space, self.text.fields, encoder_of(self.text))
            table = self.open(Parts(*settings, dataset, seed, ids, chains), device)
            if self.network.trains:
                self._train(table, progress, checkpoints)
        self.network.eval()  # so that threads that ask at once cannot turn dropout on
        self.config = configured
        return self

    def with_chains(self: Made, chains: Chains) -> Made:
        """The same weights, reading other chains from now on: written later, or of another writer.

        Raises:
            ConfigError: it reads no chains, or chains of another pattern or encoder.
            DataError: the chains are of another dataset.
        """
        self._check(self.dataset, chains)
        parts = self.fitted_parts
        assert parts.chains is not None
        for what in ("pattern", "text"):
            if getattr(chains, what) != getattr(parts.chains, what):
                differs = f"the chains have another {what} than those it was fitted on"
                raise ConfigError(f"{differs}; write them with that one, or fit on these")
        other = copy.copy(self)
        other.parts = replace(parts, chains=chains)
        return other

    def save(self, folder: str | Path) -> None:
        """Write all that recommendations depend on into a new folder; `scoter.load` reads it.

        Raises:
            ConfigError: it was not fitted.
            StoreError: the folder exists, or cannot be written.
        """
        kind = next(each.__name__ for each in type(self).__mro__ if each.__name__ in CLASSES)
        saved.save(self.fitted_parts, kind, self.network, Path(folder))

    @property
    def reads_chains(self) -> bool:
        """Whether `fit` needs chains."""
        return self.config.fusion is not None

    def read(self, asked: Requests) -> Reading | None:
        from scoter.models.step_reader import StepReader, newest_reader

        if self.pattern is None:
            return None
        steps, sentences = self.steps_of(asked)
        said = (sentences, steps.indices, steps.offsets, steps.step_count)
        return Reading(newest_reader(StepReader(steps)), *said)

    def reasons_of(
        self, asked: Requests, items: Int[np.ndarray, "rows k"]
    ) -> list[list[dict[str, float]]] | None:
        chains = self.fitted_parts.chains
        return None if chains is None else chains.reasons_of(asked, items)

    def steps_of(self, asked: Requests) -> tuple[StepEmbeddings, list[str]]:
        """The requests' chains in the form of training, and the sentences of their vectors."""
        parts, fusion = self.fitted_parts, self.config.fusion
        assert parts.chains is not None
        assert fusion is not None
        steps, sentences = parts.chains.of_requests(asked)
        read = steps_as_read(fusion, steps, sentences, _sources(parts), self._widths)
        if self.half_steps:
            read = replace(read, vectors=read.vectors.astype(np.float16))
        return read, sentences

    def open(self, parts: Parts, device: str = "cpu") -> StepEmbeddings | None:
        """Make the untrained network of these parts; returns the chains that it trains with."""
        from scoter.recommenders.network import build_model, text_vectors

        config, dataset, table = parts.config, parts.dataset, None
        if parts.chains is not None and config.fusion is not None:
            steps, sentences = parts.chains.steps, parts.chains.table.sentences
            self._widths = sentence_widths(steps)
            table = steps_as_read(config.fusion, steps, sentences, _sources(parts))
        self.parts, self._dataset, self.config = parts, dataset, config
        self.pattern = None if table is None else table.pattern
        space = (dataset.split, dataset.catalog, parts.ids)
        texts = text_vectors(dataset.catalog, parts.text, encoder_of(parts.text))
        self._network = build_model(config, *space, table, parts.seed, device, texts)
        return table

    @property
    def fitted_parts(self) -> Parts:
        """All that it was fitted on and with."""
        _ = self.network  # refuses what was not fitted
        assert self.parts is not None
        return self.parts

    def _check(self, dataset: Dataset, chains: Chains | None) -> None:
        name, reads = type(self).__name__, self.reads_chains
        if reads and chains is None:
            raise ConfigError(f"{name} reads chains, and chains is None; pass write_chains(...)")
        if not reads and chains is not None:
            raise ConfigError(f"{name} reads no chains; leave `chains` out, or use SCoTER")
        if chains is not None:
            chains.check(dataset)
        if BACKBONES.get(self.config.model.kind).trains:
            check_trainable(dataset.split)

    def _train(
        self, table: StepEmbeddings | None, progress: bool, checkpoints: str | Path | None
    ) -> None:
        from scoter.models.step_reader import open_reader
        from scoter.models.training.precision import device_of
        from scoter.recommenders.fitting import Training, fit_network

        network, parts = self.network, self.fitted_parts
        reader = None if table is None else open_reader(table, device_of(network))
        with tempfile.TemporaryDirectory() as nowhere:
            scratch = Path(checkpoints or nowhere, parts.key[:16])
            try:
                scratch.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                problem = f"checkpoints = {str(checkpoints)!r} is no folder to write ({error})"
                raise StoreError(f"{problem}; name another") from None
            training = Training(parts.seed, DEPTH, self.preset, scratch, progress=progress)
            split, config = parts.dataset.split, parts.config.training
            self.log = fit_network(network, split, reader, config, training)


class Popularity(Estimator):
    """The most popular items of the training part, the same for everybody."""

    preset = "popularity"


class SASRec(Estimator):
    """SASRec (Kang and McAuley 2018) with a softmax over the whole catalogue."""

    preset = "sasrec-ce"


class GRU4Rec(Estimator):
    """GRU4Rec (Hidasi et al. 2016) with a softmax over the whole catalogue."""

    preset = "gru4rec"


class TIGER(Estimator):
    """TIGER (Rajput et al. 2023): a T5 that generates semantic IDs by constrained beam search.

    >>> import scoter
    >>> shop = scoter.load_dataset("simulated", users=40)
    >>> small = scoter.TIGER(dim=16, layers=1, heads=2, head_dim=8, feed_forward=16)
    >>> items = small.fit(shop, epochs=1, progress=False).recommend(["shopper-0"], k=3)
    >>> list(items.columns), items["rank"].tolist()
    (['user', 'item', 'score', 'rank'], [1, 2, 3])
    """


class SCoTER(Estimator):
    """A recommender that reads ordered chains of reasoning (SCoTER).

    Args:
        backbone: `tiger`, `sasrec` or `gru4rec`.
        fusion: how the chain is read; a `FusionConfig`, or a mapping of its fields to change.
        options: as for the backbone itself.
    """

    preset = "scoter"

    def __init__(
        self,
        backbone: str = "tiger",
        *,
        fusion: FusionConfig | Mapping[str, object] | None = None,
        semantic_ids: SemanticIdConfig = TIGER_IDS,
        text: TextConfig = TextConfig(),
        **options: object,
    ) -> None:
        presets = {"tiger": "scoter", "sasrec": "sasrec-ce-scoter", "gru4rec": "gru4rec-scoter"}
        if backbone not in presets:
            known = ", ".join(presets)
            raise ConfigError(f"backbone = {backbone!r} has no preset; choose from: {known}")
        self.preset = presets[backbone]
        super().__init__(semantic_ids=semantic_ids, text=text, **options)
        if fusion is not None:
            known = {} if self.config.fusion is None else vars(self.config.fusion)
            given = vars(fusion) if isinstance(fusion, FusionConfig) else {**known, **fusion}
            read = from_json(to_json(dict(given)), FusionConfig)
            if read.source != "own":
                told = f"fusion source = {read.source!r} is for measuring only"
                raise ConfigError(f"{told}; `scoter run` measures it, a recommender reads 'own'")
            self.config = replace(self.config, fusion=read)


BY_KIND = {"popularity": Popularity, "sasrec": SASRec, "gru4rec": GRU4Rec, "tiger": TIGER}
CLASSES = {made.__name__: made for made in (*BY_KIND.values(), SCoTER, Estimator)}


def load(folder: str | Path) -> Estimator:
    """The estimator that `save` wrote into a folder; it recommends what it did before.

    Raises:
        StoreError: the folder holds no such model, or one that cannot be read.
    """
    name, parts = saved.read(Path(folder))
    if name not in CLASSES:
        known = ", ".join(CLASSES)
        raise StoreError(f"{folder} holds a {name!r}; this version knows {known}")
    return opened(parts, lambda: Path(folder) / saved.WEIGHTS, CLASSES[name])


def opened(
    parts: Parts, weights: Callable[[], Path], kind: type[Estimator] | None = None
) -> Estimator:
    """A trained method as an estimator; `weights` is called only if the network has any."""
    from scoter.models.training.loop import load_weights

    if kind is None:
        plain = BY_KIND.get(parts.config.model.kind, Estimator)
        kind = plain if parts.config.fusion is None else SCoTER
    model = kind(semantic_ids=parts.semantic_ids, text=parts.text)
    model.open(parts)
    if model.network.trains:
        load_weights(model.network, weights())
    model.network.eval()
    return model


def with_options(method: MethodConfig, options: Mapping[str, object]) -> MethodConfig:
    """The method with fields of its model or its training changed by name.

    >>> with_options(methods()["sasrec-ce"], {"dim": 32, "epochs": 2}).model.dim
    32
    """
    whole = asdict(method)
    model, training = whole["model"].keys() - {"kind"}, whole["training"].keys()
    if unknown := [name for name in options if name not in model | training]:
        known = ", ".join(sorted(model | training))
        raise ConfigError(f"option {unknown[0]!r} is unknown; choose from: {known}")
    for part, names in (("model", model), ("training", training)):
        whole[part] |= {name: value for name, value in options.items() if name in names}
    return from_json(to_json(whole), MethodConfig)


def _sources(parts: Parts) -> Sources:
    split, catalog = parts.dataset.split, parts.dataset.catalog
    encode = (parts.chains and parts.chains.encoder) or encoder_of(parts.text)
    return Sources(catalog, split, parts.ids, encode, parts.text)


@contextmanager
def _running(threads: int | None) -> Iterator[None]:
    """Sets the number of processor threads meanwhile."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
