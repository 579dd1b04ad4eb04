"""Each method of the comparison, as the suite configures it, from data to a ranking: on a shop of
few shoppers, for one epoch."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from scoter.config import SemanticIdConfig, SimulatedConfig
from scoter.experiments import RANKED_PATTERN, methods, simulated_smoke
from scoter.stages import data, models, networks, reasoning
from scoter.stages.context import Context
from scoter.storage.store import Store


def test_every_method_of_the_suite_trains_and_ranks(tmp_path: Path) -> None:
    shop = simulated_smoke()
    usual = shop.methods["tiger"]
    tiger = replace(usual.model, softmax="trie", repeat_bias=True, layers=2)
    short = replace(usual.training, epochs=1, evaluate_every=1)
    shop = replace(
        shop,
        data=replace(shop.data, simulated=SimulatedConfig(users=40)),
        pattern=RANKED_PATTERN,
        semantic_ids=SemanticIdConfig(codebook_size=8, levels=2),
    )
    context = Context(shop, Store(tmp_path), 0, lambda line: None)
    prepared = data.prepare(context, None)
    ids = data.make_semantic_ids(context, data.embed_items(context, prepared))
    _, steps = reasoning.pattern_and_chains(context, prepared)
    for name, method in methods(short, tiger, short, grounded=True).items():
        if method.fusion is not None and method.fusion.without > 1:
            continue  # one step left out stands for each
        inputs = networks.Inputs(prepared, ids, steps)
        trained = models.train(context, name, method, inputs)
        found = networks.open_rankings(models.rank(context, method, trained, inputs), "test")
        assert len(found.users) == 40, name
        assert np.isfinite(found.scores[:, :10]).all(), name
        assert (found.items[:, :10] >= 0).all(), name
