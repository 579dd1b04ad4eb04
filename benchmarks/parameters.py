"""How many parameters each arm has, counted on the modules that training builds: what docs/controls.md prints."""

from dataclasses import replace
from typing import Any

import numpy as np

from scoter.types import Catalog, ReasoningPattern, SemanticIds

STEPS = 6
STEP_DIM = 384


def count_parameters() -> dict[str, int]:
    """Parameters of TIGER and of what every arm with chains adds to it, in the recipe of the benchmark.

    Chains have the six steps of the hand-written pattern and the encoder's 384 dimensions; semantic IDs have three levels
    of 256 codes, as for Beauty. Weights are not trained, and the number of items does not enter.

    Example:
        >>> found = count_parameters()
        >>> found["scoter"] - found["tiger-meanpool"] == (STEPS - 1) * 128  # five more position vectors
        True
    """
    from scoter.config import TigerConfig
    from scoter.experiments import methods
    from scoter.models.tiger import Tiger
    from scoter.transfer.alignment import Alignment
    from scoter.transfer.build import build_fusion

    pattern, chosen = _pattern(), methods()
    ids = SemanticIds(np.repeat(np.arange(256)[:, None], 3, axis=1), (256, 256, 256))
    tiger = chosen["tiger"].model
    assert isinstance(tiger, TigerConfig)
    found = {"tiger": _size(Tiger(replace(tiger, embedding_start="random"), ids))}
    for name, method in chosen.items():
        fusion = method.fusion
        if fusion is None or method.model.kind != "tiger":
            continue
        if fusion.kind == "scores":
            found[name] = 0
            continue
        found[name] = _size(build_fusion(fusion, pattern, STEP_DIM, tiger.dim, tiger.layers))
        if fusion.alignment:
            found[name] += _size(Alignment(tiger.dim, fusion.alignment, fusion.temperature))
    return found


def _pattern() -> ReasoningPattern:
    from scoter.reasoning.chains import hand_written_pattern

    pattern = hand_written_pattern(Catalog(("a",), {"title": ("A",), "categories": (("B",),)}))
    assert len(pattern) == STEPS
    return pattern


def _size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
