"""TIGER, SASRec, GRU4Rec, Popularity and SCoTER with one set of verbs: fit, recommend, save.

An estimator owns everything that its recommendations depend on: the configuration, the dataset it
was fitted on, semantic IDs, chains and weights. The pipeline of `scoter.run` trains the same
networks with the same functions; it adds files, caching and the comparison of many methods.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from scoter.config import (
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
from scoter.recommenders.requests import Requests, requests_of
from scoter.recommenders.step_sources import Sources, steps_as_read
from scoter.seeding import derive_seed
from scoter.semantic_ids.vectors import item_vectors, text_fields
from scoter.storage.sentence_vectors import encoder_of
from scoter.transfer.grounded import sentence_widths
from scoter.types import SemanticIds, StepEmbeddings

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone
    from scoter.models.training.loop import TrainingLog
    from scoter.protocols import StepSource

Fitted = TypeVar("Fitted", bound="Estimator")
DEPTH = 20
"""How many items are ranked for each validation user."""


class Estimator:
    """What all recommenders share; use one of the classes below.

    Args:
        semantic_ids, text: how item vectors and semantic IDs are made.
        options: fields of the backbone's configuration or of `TrainingConfig`, such as `dim=64`,
            `epochs=4` or `learning_rate=3e-4`.

    Raises:
        ConfigError: an option that neither has.
    """

    preset = "tiger"
    """The method of `scoter.experiments.methods` whose configuration is the default."""

    def __init__(
        self,
        *,
        semantic_ids: SemanticIdConfig = TIGER_IDS,
        text: TextConfig = TextConfig(),
        **options: Any,
    ) -> None:
        self.semantic_ids, self.text, self.seed = semantic_ids, text, 0
        self.config = with_options(methods(grounded=True)[self.preset], options)
        self.dataset: Dataset | None = None
        self.chains: Chains | None = None
        self.ids: SemanticIds | None = None
        self.network: Backbone | None = None
        self.log: TrainingLog | None = None

    def fit(
        self: Fitted,
        dataset: Dataset,
        chains: Chains | None = None,
        *,
        seed: int = 0,
        epochs: int | None = None,
        device: str = "cpu",
        threads: int | None = None,
        progress: bool = True,
        checkpoints: str | Path | None = None,
    ) -> Fitted:
        """Learn from the training part of `dataset`; validation chooses the epoch that is kept.

        Args:
            chains: what `scoter.write_chains` made of this dataset; for recommenders that read
                chains.
            seed: decides initial weights, batches and dropout.
            epochs: at most so many, instead of the configuration's.
            device: `cpu` or `cuda`.
            threads: processor threads; by default torch's own choice.
            progress: whether bars are shown.
            checkpoints: a folder from which an interrupted training goes on; by default nothing is
                kept.

        Returns:
            The estimator itself.

        Raises:
            ConfigError: chains are missing, or are given to a recommender that reads none.
            DataError: the chains are of another dataset.
        """
        name, reads = type(self).__name__, self.reads_chains
        if reads and chains is None:
            raise ConfigError(f"{name} reads chains, and chains is None; pass write_chains(...)")
        if not reads and chains is not None:
            raise ConfigError(f"{name} reads no chains; leave `chains` out, or use SCoTER")
        if chains is not None:
            chains.check(dataset)
        if BACKBONES.get(self.config.model.kind).trains:
            check_trainable(dataset.split)
        if epochs is not None:
            budget = replace(self.config.training, epochs=epochs)
            self.config = replace(self.config, training=budget)
        self.dataset, self.chains, self.seed, self.ids = dataset, chains, seed, None
        with _running(threads):
            table = self._open(device)
            assert self.network is not None
            if self.network.trains:
                self._train(table, progress, checkpoints)
        return self

    def recommend(
        self,
        users: Sequence[str] | None = None,
        k: int = 10,
        *,
        histories: Sequence[Sequence[str]] | None = None,
        filter_seen: bool = False,
    ) -> pd.DataFrame:
        """The `k` best next items, one row each: `user`, `item`, `score` (nats), `rank` (from 1).

        Args:
            users: keys of users of the dataset, who are asked after everything in it; all of them
                by default.
            histories: items' keys, oldest first, one list a request, instead of what the dataset
                knows. With `users`, list i is what user i has; without, the users of the answer are
                the numbers of the lists.
            filter_seen: leave out what stands in the history.

        Raises:
            ConfigError: it was not fitted, or a user or an item is unknown.
        """
        network = self._fitted()
        assert self.dataset is not None
        asked = requests_of(self.dataset, users, histories)
        seen = int(asked.histories.lengths.max(initial=0)) if filter_seen else 0
        steps = None if self.chains is None else self._read(self.chains, asked)
        return asked.as_frame(network.recommend(asked.histories, k + seen, steps), k, filter_seen)

    def save(self, folder: str | Path) -> None:
        """Write all that recommendations depend on; `scoter.load` reads it back.

        Raises:
            ConfigError: it was not fitted.
            StoreError: the folder exists, or cannot be written.
        """
        self._fitted()
        saved.save(self, Path(folder))

    @property
    def reads_chains(self) -> bool:
        """Whether `fit` needs chains."""
        return self.config.fusion is not None

    def restore(self, weights: Path) -> None:
        """Open the network for the dataset, IDs and chains at hand, and load its weights."""
        from scoter.models.training.loop import load_weights

        self._open()
        network = self._fitted()
        if network.trains:
            load_weights(network, weights)

    def _fitted(self) -> "Backbone":
        if self.network is None:
            name = type(self).__name__
            raise ConfigError(
                f"this {name} was not fitted; call fit(dataset) first, or scoter.load"
            )
        return self.network

    def _open(self, device: str = "cpu") -> StepEmbeddings | None:
        """Make semantic IDs where they are needed and an untrained network; the chains it reads."""
        from scoter.recommenders.network import build_model

        config, dataset = self.config, self.dataset
        assert dataset is not None
        grounded = config.fusion is not None and config.fusion.grounded
        if self.ids is None and (BACKBONES.get(config.model.kind).needs_ids or grounded):
            self.ids = semantic_ids_of(dataset, self.semantic_ids, self.text)
        table = None
        if self.chains is not None and config.fusion is not None:
            steps, sentences = self.chains.steps, self.chains.table.sentences
            table = steps_as_read(config.fusion, steps, sentences, self._sources())
        self._widths = None if self.chains is None else sentence_widths(self.chains.steps)
        catalog, split = dataset.catalog, dataset.split
        self.network = build_model(config, split, catalog, self.ids, table, self.seed, device)
        return table

    def _sources(self) -> Sources:
        assert self.dataset is not None
        encode = encoder_of(self.text)
        return Sources(self.dataset.catalog, self.dataset.split, self.ids, encode, self.text)

    def _read(self, chains: Chains, asked: Requests) -> "StepSource":
        """The requests' chains, as the network was trained to read them."""
        from scoter.models.step_reader import StepReader, newest_reader

        assert self.config.fusion is not None
        steps, sentences = chains.of_requests(asked)
        sources = self._sources()
        read = steps_as_read(self.config.fusion, steps, sentences, sources, self._widths)
        return newest_reader(StepReader(read))

    def _train(
        self, table: StepEmbeddings | None, progress: bool, checkpoints: str | Path | None
    ) -> None:
        from scoter.models.step_reader import StepReader
        from scoter.models.training.precision import device_of
        from scoter.recommenders.fitting import fit_network

        assert self.dataset is not None
        network = self._fitted()
        reader = None if table is None else StepReader(table, device_of(network))
        with tempfile.TemporaryDirectory() as nowhere:
            scratch = Path(checkpoints or nowhere)
            scratch.mkdir(parents=True, exist_ok=True)
            self.log = fit_network(
                network,
                self.dataset.split,
                reader,
                self.config.training,
                seed=self.seed,
                depth=DEPTH,
                label=self.preset,
                scratch=scratch,
                progress=progress,
            )


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

    Example:
        >>> import scoter
        >>> shop = scoter.load_dataset("simulated", users=40)
        >>> small = scoter.TIGER(dim=16, layers=1, heads=2, head_dim=8, feed_forward=16)
        >>> found = small.fit(shop, epochs=1, progress=False).recommend(["shopper-0"], k=3)
        >>> list(found.columns), found["rank"].tolist()
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
        fusion: FusionConfig | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        presets = {"tiger": "scoter", "sasrec": "sasrec-ce-scoter", "gru4rec": "gru4rec-scoter"}
        if backbone not in presets:
            known = ", ".join(presets)
            raise ConfigError(f"backbone = {backbone!r} has no preset; choose from: {known}")
        self.preset = presets[backbone]
        super().__init__(**options)
        if fusion is not None:
            known = {} if self.config.fusion is None else vars(self.config.fusion)
            given = vars(fusion) if isinstance(fusion, FusionConfig) else {**known, **fusion}
            read = from_json(to_json(dict(given)), FusionConfig)
            self.config = replace(self.config, fusion=read)


CLASSES = {made.__name__: made for made in (Popularity, SASRec, GRU4Rec, TIGER, SCoTER)}


def load(folder: str | Path) -> Estimator:
    """The estimator that `save` wrote into a folder; it recommends what it did before.

    Raises:
        StoreError: the folder holds no such model, or one that cannot be read.
    """
    about, dataset, ids, chains = saved.read(Path(folder))
    if about["class"] not in CLASSES:
        known = ", ".join(CLASSES)
        raise StoreError(f"{folder} holds a {about['class']!r}; this version knows {known}")
    model = CLASSES[about["class"]]()
    model.config, model.text = about["method"], about["text"]
    model.semantic_ids, model.seed = about["semantic_ids"], int(about["seed"])
    model.dataset, model.ids, model.chains = dataset, ids, chains
    model.restore(Path(folder) / saved.WEIGHTS)
    return model


def with_options(method: MethodConfig, options: Mapping[str, Any]) -> MethodConfig:
    """The method with fields of its model or its training changed by name.

    Raises:
        ConfigError: neither has a field of that name, or the value is refused.

    Example:
        >>> from scoter.experiments import methods
        >>> with_options(methods()["sasrec-ce"], {"dim": 32, "epochs": 2}).model.dim
        32
    """
    model = {field.name for field in fields(method.model)} - {"kind"}
    training = {field.name for field in fields(method.training)}
    for name in options:
        if name not in model | training:
            known = ", ".join(sorted(model | training))
            raise ConfigError(f"option {name!r} is unknown; choose from: {known}")
    changed = replace(
        method,
        model=replace(method.model, **{n: v for n, v in options.items() if n in model}),
        training=replace(method.training, **{n: v for n, v in options.items() if n in training}),
    )
    return from_json(to_json(changed), MethodConfig)


def semantic_ids_of(dataset: Dataset, config: SemanticIdConfig, text: TextConfig) -> SemanticIds:
    """The semantic IDs of a dataset's items, from texts and training co-occurrence."""
    from scoter.semantic_ids.build import build_semantic_ids

    fields_used = text_fields(dataset.catalog, text.fields)
    train, encode = dataset.split.train, encoder_of(text)
    vectors = item_vectors(train, dataset.catalog, config, fields_used, encode)
    return build_semantic_ids(vectors, config, derive_seed(0, "ids"))[0]


@contextmanager
def _running(threads: int | None) -> Iterator[None]:
    """So many processor threads for the time being."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
