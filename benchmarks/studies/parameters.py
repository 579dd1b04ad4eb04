"""How many parameters each arm has, counted on the modules that training builds: what
docs/controls.md prints."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.cells import CONTROLLED
from benchmarks.tables.controls import FILE
from scoter.types import Catalog, ReasoningPattern, SemanticIds

WORDS = 384


def measure(results: Path) -> dict[str, dict[str, int]]:
    """`count_parameters` of each dataset that has every control, also kept in `results`, where
    tables read it without torch."""
    found = {dataset: count_parameters(dataset) for dataset in CONTROLLED}
    (results / FILE).write_text(json.dumps(found, indent=1) + "\n")
    return found


def count_parameters(dataset: str = "beauty") -> dict[str, int]:
    """Parameters of TIGER and of what every arm with chains adds to it, in the recipe of the
    benchmark.

    Chains have the steps of the benchmark's pattern, on Toys those that need no category, and the
    encoder's 384 dimensions, and beside them, where they are grounded, those of the codes and of
    the words around names; semantic IDs have three levels of 256 codes. Nothing is trained, and the
    number of items does not enter. No arm leaves out a step that is not there.

    Example:
        >>> found = count_parameters()
        >>> (
        ...     found["control-no-votes"] - found["tiger-meanpool"]
        ... )  # thirteen more position vectors of 128 numbers
        1664
    """
    from scoter.config import TigerConfig
    from scoter.experiments import RANKED_PATTERN, methods
    from scoter.models.backbones.tiger import Tiger
    from scoter.reasoning.catalogue.reasoner import lacking
    from scoter.transfer.alignment import Alignment
    from scoter.transfer.build import build_fusion
    from scoter.transfer.grounded import FRAME_WIDTH, LEVEL_WIDTH

    columns = {"title": ("Soap",), **({"categories": (("Bath",),)} if dataset != "toys" else {})}
    pattern = ReasoningPattern(
        tuple(step for step in RANKED_PATTERN if lacking(step, Catalog(("soap",), columns)) is None)
    )
    assert len(pattern) == CONTROLLED[dataset]
    chosen = methods(grounded=True)
    ids = SemanticIds(np.repeat(np.arange(256)[:, None], 3, axis=1), (256, 256, 256))
    tiger = chosen["tiger"].model
    assert isinstance(tiger, TigerConfig)
    found = {"tiger": _size(Tiger(replace(tiger, embedding_start="random"), ids))}
    for name, method in chosen.items():
        fusion = method.fusion
        if method.mixed_scores:
            found[name] = 0
        if fusion is None or method.model.kind != "tiger" or fusion.without > len(pattern):
            continue
        width = WORDS + (
            LEVEL_WIDTH * len(ids.codebook_sizes) + FRAME_WIDTH if fusion.grounded else 0
        )
        found[name] = _size(build_fusion(fusion, pattern, width, tiger.dim, tiger.layers))
        if fusion.alignment:
            found[name] += _size(Alignment(tiger.dim, fusion.alignment, fusion.temperature))
    return found


def _size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
