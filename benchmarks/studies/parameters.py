"""How many parameters each arm has, counted on the modules that training builds.

`docs/controls.md` prints the numbers from `results/parameters.json`, which tables read without
torch.
"""

from dataclasses import replace
from pathlib import Path
from typing import cast

import click
import numpy as np
from torch import nn

from benchmarks.studies import study
from benchmarks.suite.cells import CONTROLLED
from benchmarks.tables.controls import FILE
from scoter.config import TigerConfig
from scoter.experiments import RANKED_PATTERN, methods
from scoter.models.backbones.tiger import Tiger
from scoter.reasoning.catalogue.reasoner import lacking
from scoter.transfer.alignment import Alignment
from scoter.transfer.build import build_fusion
from scoter.transfer.grounded import FRAME_WIDTH, LEVEL_WIDTH
from scoter.types import Catalog, ReasoningPattern, SemanticIds

WORDS = 384  # dimensions of a sentence vector


def measure(results: Path) -> dict[str, dict[str, int]]:
    """Count each dataset that has every control; write `parameters.json` and return it."""
    counts = {dataset: count_parameters(dataset) for dataset in CONTROLLED}
    study.write(results / FILE, counts)
    return counts


def count_parameters(dataset: str = "beauty") -> dict[str, int]:
    """Parameters of TIGER, and what every arm with chains adds to it, as the benchmark builds them.

    Chains have the steps of the benchmark's pattern (on Toys those that need no category) and the
    encoder's 384 dimensions, and, where they are grounded, those of the codes and of the words
    around names. Semantic IDs have three levels of 256 codes. The number of items does not enter.
    An arm that leaves out a step is counted where the pattern has that step.

    >>> counts = count_parameters()
    >>> counts["control-no-votes"] - counts["tiger-meanpool"]  # 13 more positions of 128
    1664
    """
    columns = {"title": ("Soap",), **({"categories": (("Bath",),)} if dataset != "toys" else {})}
    catalog = Catalog(("soap",), columns)
    pattern = ReasoningPattern(tuple(s for s in RANKED_PATTERN if lacking(s, catalog) is None))
    assert len(pattern) == CONTROLLED[dataset]
    chosen = methods(grounded=True)
    ids = SemanticIds(np.repeat(np.arange(256)[:, None], 3, axis=1), (256, 256, 256))
    tiger = cast(TigerConfig, chosen["tiger"].model)
    counts = {"tiger": _size(Tiger(replace(tiger, embedding_start="random"), ids))}
    grounded_width = LEVEL_WIDTH * len(ids.codebook_sizes) + FRAME_WIDTH
    for name, method in chosen.items():
        fusion = method.fusion
        if method.mixed_scores:
            counts[name] = 0
        if fusion is None or method.model.kind != "tiger" or fusion.without > len(pattern):
            continue
        width = WORDS + grounded_width * fusion.grounded
        module = build_fusion(fusion, pattern, width, tiger.dim, tiger.layers)
        counts[name] = _size(cast(nn.Module, module))
        if fusion.alignment:
            counts[name] += _size(Alignment(tiger.dim, fusion.alignment, fusion.temperature))
    return counts


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@click.command()
@study.results_option
def command(results: Path) -> None:
    for dataset, counts in measure(results).items():
        for name, parameters in counts.items():
            click.echo(f"{dataset:8} {name:28} {parameters:>10,}")
