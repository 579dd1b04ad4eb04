"""`discover` and `write_chains`: from a dataset to a mined pattern and its chains."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scoter.config import DiscoverConfig, TextConfig
from scoter.data.datasets import Dataset
from scoter.reasoning.chains.table import write_chains as write_table
from scoter.recommenders.chains import Chains
from scoter.recommenders.step_sources import spoken_items
from scoter.seeding import derive_seed
from scoter.storage.sentence_vectors import encoder_of
from scoter.types import ReasoningPattern

if TYPE_CHECKING:
    from scoter.reasoning.discovery.report import Discovery


def discover(
    dataset: Dataset,
    *,
    config: DiscoverConfig = DiscoverConfig(),
    text: TextConfig = TextConfig(),
    seed: int = 0,
    progress: bool = True,
) -> "Discovery":
    """Generate, validate and mine a reasoning pattern on training interactions alone.

    Args:
        progress: whether an estimate of the time and, on a terminal, bars are shown on stderr.

    Returns:
        What was found: `pattern`, its clusters, its rivals, and what it was measured on.

    Raises:
        ConfigError: too few users, patterns or clusters for `config`.
    """
    from scoter.reasoning.discovery.mine import discover as mine
    from scoter.reasoning.discovery.mine import planned_patterns
    from scoter.reasoning.discovery.progress import ProgressBars, on_stderr, silent

    encode = encoder_of(text)
    vectors = encode(spoken_items(dataset.catalog, text.fields))
    bars = ProgressBars(on_stderr, planned_patterns(config), "patterns") if progress else silent
    drawn = derive_seed(seed, "discover")
    return mine(dataset.split, dataset.catalog, config, encode, vectors, drawn, bars)


def write_chains(
    dataset: Dataset, pattern: ReasoningPattern, *, text: TextConfig = TextConfig()
) -> Chains:
    """The chains of every prefix, by the symbolic reasoner, with the vectors of their sentences.

    Raises:
        ConfigError: the pattern has no steps, or one that this catalogue cannot fill.

    Example:
        >>> import scoter
        >>> shop = scoter.load_dataset("simulated", users=40)
        >>> pattern = scoter.ReasoningPattern(
        ...     (scoter.Step("recent_item", {"lag": 1, "field": "brand"}),)
        ... )
        >>> scoter.write_chains(shop, pattern).chain("shopper-0", 1).steps
        (('The shopper chose ...',),)
    """
    seed = derive_seed(dataset.seed, "folds")
    table = write_table(dataset.split, dataset.catalog, pattern, seed)
    return Chains(table, encoder_of(text)(table.sentences).astype(np.float16), dataset, text)


def load_chains(folder: str | Path, dataset: Dataset, *, text: TextConfig = TextConfig()) -> Chains:
    """Chains that `scoter reason` wrote into a folder, for the dataset they were written from.

    Raises:
        DataError: there are no finished chains, or they were written from other data.
    """
    from scoter.reasoning.writing.folder import ChainFolder
    from scoter.reasoning.writing.reader import read_folder

    table = read_folder(ChainFolder(Path(folder)), dataset.split, dataset.catalog)
    return Chains(table, encoder_of(text)(table.sentences).astype(np.float16), dataset, text)
