"""The recommender over which discovery validates patterns: trained without the held-in targets."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scoter.config import DiscoverConfig, MethodConfig, SemanticIdConfig, TextConfig
from scoter.errors import ConfigError
from scoter.experiments import methods
from scoter.recommenders.network import build_model, needs_semantic_ids, text_vectors
from scoter.types import Catalog, Split

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone
    from scoter.recommenders.network import Encode


def frozen_method(config: DiscoverConfig) -> MethodConfig:
    """What is trained: a method of `scoter.experiments`, for `config.epochs` without a choice."""
    known = methods()
    if config.recommender not in known or known[config.recommender].fusion is not None:
        plain = ", ".join(name for name, method in known.items() if method.fusion is None)
        given = f"discover.recommender = {config.recommender!r}"
        raise ConfigError(f"{given} will not do; choose one that reads no chains: {plain}")
    method = known[config.recommender]
    training = replace(method.training, epochs=config.epochs, evaluate_every=config.epochs)
    return replace(method, training=training)


@dataclass(frozen=True)
class Frozen:
    """Trains the recommender on a split; semantic IDs are made from its training part alone."""

    config: DiscoverConfig
    catalog: Catalog
    ids: SemanticIdConfig
    text: TextConfig
    encode: "Encode"
    seed: int
    scratch: Path | None = None  # an interrupted training goes on from there
    progress: bool = True

    def __call__(self, split: Split) -> "Backbone":
        from scoter.recommenders.fitting import Training, fit_network
        from scoter.semantic_ids.build import ids_of_items

        method, catalog, ids = frozen_method(self.config), self.catalog, None
        if needs_semantic_ids(method):
            ids = ids_of_items(split.train, catalog, self.ids, self.text.fields, self.encode)
        texts = text_vectors(catalog, self.text, self.encode)
        model = build_model(method, split, catalog, ids, None, self.seed, texts=texts)
        if model.trains:
            with tempfile.TemporaryDirectory() as nowhere:
                where, depth = self.scratch or Path(nowhere), self.config.top_k
                label = f"{self.config.recommender} without held-in targets"
                training = Training(self.seed, depth, label, where, progress=self.progress)
                fit_network(model, split, None, method.training, training)
        return model
