"""A finished run of the simulated shop, small enough for every test, with TIGER, two fusions and a
whole-catalogue model."""

from dataclasses import replace
from pathlib import Path

import pytest

from scoter import pipeline
from scoter.config import FusionConfig, MethodConfig, SasrecConfig, with_overrides
from scoter.experiments import experiment
from scoter.storage.store import Artefact, Store
from scoter.types import Step

TINY = (
    "data.simulated.users=60",
    "methods.*.training.epochs=1",
    "methods.*.training.evaluate_every=1",
)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Artefact]:
    shop = experiment("simulated-smoke")
    arm = shop.methods["scoter"]
    sasrec = MethodConfig(SasrecConfig(dim=16), arm.training, arm.fusion)
    methods = {
        name: shop.methods[name] for name in ("popularity", "tiger", "tiger-meanpool", "scoter")
    }
    listed = replace(arm, fusion=FusionConfig(grounded=True, slots="sentence", votes=True))
    ranked = {"by": "reasons", "count": 3, "degrees": 8, "rank": 1, "window": 3}
    steps = (*shop.pattern, Step("recommendation", ranked))
    all_methods = {**methods, "listed": listed, "sasrec-ce-scoter": sasrec}
    chosen = with_overrides(replace(shop, methods=all_methods, pattern=steps), TINY)
    store = Store(tmp_path_factory.mktemp("serving") / "store")
    return store, pipeline.run(chosen, store=store)


@pytest.fixture(scope="session")
def bundles(
    finished: tuple[Store, Artefact], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Bundles of three methods, and of one with its step table in eight bits."""
    from scoter.serving.bundle import export_run

    folder = tmp_path_factory.mktemp("bundles")
    for method in ("tiger", "tiger-meanpool", "scoter", "listed", "sasrec-ce-scoter"):
        export_run(*finished, method, folder / method)
    export_run(*finished, "scoter", folder / "int8", steps="int8", texts=False)
    return {path.name: path for path in folder.iterdir()}
