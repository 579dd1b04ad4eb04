"""`discover` and `write_chains`: from a dataset to a mined pattern and its chains."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge

from scoter.arguments import Seed, checked
from scoter.config import ChainsConfig, Count, DiscoverConfig, SemanticIdConfig, TextConfig
from scoter.data.datasets import Dataset
from scoter.errors import ConfigError
from scoter.experiments import TIGER_IDS
from scoter.progress import on_stderr
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.chains.prefixes import PrefixPolicy
from scoter.reasoning.chains.table import write_chains as write_table
from scoter.recommenders.chains import Chains
from scoter.recommenders.frozen import Frozen
from scoter.recommenders.network import text_vectors
from scoter.recommenders.step_sources import spoken_items
from scoter.seeding import derive_seed
from scoter.storage.sentence_vectors import encoder_of
from scoter.types import ReasoningPattern

if TYPE_CHECKING:
    from scoter.protocols import LanguageModel
    from scoter.reasoning.chains.requests import WritingConfig
    from scoter.reasoning.discovery.report import Discovery
    from scoter.reasoning.language.server import ServerConfig


@checked
def discover(
    dataset: Dataset,
    *,
    config: DiscoverConfig | None = None,
    text: TextConfig = TextConfig(),
    semantic_ids: SemanticIdConfig = TIGER_IDS,
    seed: Seed = 0,
    progress: bool = True,
) -> "Discovery":
    """Generate, validate and mine a reasoning pattern on training interactions alone.

    Patterns are judged by what they add over `config.recommender`, which is trained for
    `config.epochs` without the targets that they are judged on.

    Args:
        config: default: `DiscoverConfig()`; a dataset with fewer users than that asks for has half
            of them chosen on and half fresh, and a line on stderr says so.
        progress: shows an estimate of the time and, on a terminal, bars on stderr.

    Raises:
        ConfigError: too few users, patterns or clusters for `config`.
    """
    from scoter.progress import ProgressBars, silent
    from scoter.reasoning.discovery.mine import discover as mine
    from scoter.reasoning.discovery.mine import planned_patterns

    config = _that_fits(dataset) if config is None else config
    encode, catalog = encoder_of(text), dataset.catalog
    vectors = encode(spoken_items(catalog, text.fields))
    bars = ProgressBars(on_stderr, planned_patterns(config), "patterns") if progress else silent
    train = Frozen(config, catalog, semantic_ids, text, encode, seed, progress=progress)
    drawn = derive_seed(seed, "discover")
    return mine(dataset.split, catalog, config, encode, vectors, drawn, train, bars)


def _that_fits(dataset: Dataset) -> DiscoverConfig:
    """The default, on fewer users where the dataset has not as many."""
    usual, able = DiscoverConfig(), int((dataset.split.train.lengths >= 2).sum())
    if able >= usual.users + usual.fresh_users:
        return usual
    half = able // 2
    on_stderr(f"discover: {half:,} users to choose on and {half:,} fresh ones, of {able:,}")
    return replace(usual, users=half, fresh_users=half)


@checked
def write_chains(
    dataset: Dataset,
    pattern: ReasoningPattern,
    *,
    language_model: "str | LanguageModel" = "catalog",
    server: "ServerConfig | None" = None,
    writing: "WritingConfig | None" = None,
    by: Literal["user", "item"] = "user",
    prefixes: str = "every",
    limit: Annotated[int, Ge(0)] = 0,
    items: Count = ChainsConfig.items,
    folder: str | Path | None = None,
    text: TextConfig = TextConfig(),
) -> Chains:
    """The chains of a dataset's prefixes, with the vectors of their sentences.

    Args:
        language_model: `catalog`, the symbolic reasoner; `local`, `NAME:REST` or the name of a
            server's model, as `scoter reason --language-model` takes them; or a model of your own.
        server: where and how a server is asked.
        writing: how the model is asked; it also names the model.
        by: a chain for each prefix of a user, or for each item, of which every prefix reads those
            of its last `items` items; see `load_chains`. Only language models write by item.
        prefixes: `every`, or `anchors:K:M` for every K-th item, the first M; any other prefix reads
            the latest chain before it. Only for language models.
        limit: write only the first so many chains; by item, those of the most used items.
        folder: where chains and replies are kept, so that an interrupted writing goes on.

    Raises:
        ConfigError: the pattern has no steps, or one that this catalogue cannot fill.
        LanguageModelError: the model cannot be reached, or answers nothing that can be used.

    >>> import scoter
    >>> shop = scoter.load_dataset("simulated", users=40)
    >>> pattern = scoter.ReasoningPattern(
    ...     (scoter.Step("recent_item", {"lag": 1, "field": "brand"}),)
    ... )
    >>> scoter.write_chains(shop, pattern).chain("shopper-0", 1).steps
    (('The shopper chose ...',),)
    """
    if language_model == "catalog":
        seed = derive_seed(dataset.seed, "folds")
        texts = text_vectors(dataset.catalog, text, encoder_of(text))
        table = write_table(dataset.split, dataset.catalog, pattern, seed, texts=texts)
        return Chains.of(table, dataset, text)
    from scoter.reasoning.language.replies import RequestStore
    from scoter.reasoning.writing.engine import check_ended, run_job
    from scoter.reasoning.writing.folder import REPLIES, ChainFolder
    from scoter.reasoning.writing.job import ChainJob

    opened, usual = _opened(language_model, server)
    about = (dataset.split, dataset.catalog, pattern, dataset.identity)
    job = ChainJob(*about, PrefixPolicy.parse(prefixes), writing or usual, limit=limit, by=by)
    with nullcontext(str(folder)) if folder is not None else TemporaryDirectory() as place:
        chains = ChainFolder(place)
        with opened as model:
            ended = run_job(job, chains, RequestStore(Path(place, REPLIES)).recording(model))
        check_ended(chains, ended, lambda line: None)
        return load_chains(place, dataset, items=items, text=text)


def _opened(
    language_model: "str | LanguageModel", server: "ServerConfig | None"
) -> "tuple[AbstractContextManager[LanguageModel], WritingConfig]":
    from scoter.reasoning.chains.requests import WritingConfig, small_model
    from scoter.reasoning.language.registry import choose_language_model
    from scoter.reasoning.language.server import ServerConfig

    if not isinstance(language_model, str):
        return nullcontext(language_model), WritingConfig(type(language_model).__name__)
    choice = choose_language_model(language_model, server or ServerConfig())
    if choice is None:
        raise ConfigError(f"language_model = {language_model!r} names none; leave it out")
    usual = small_model(choice.name) if choice.small else WritingConfig(choice.name)
    return choice.open(), usual


@checked
def load_chains(
    source: str | Path,
    dataset: Dataset,
    *,
    items: Count = ChainsConfig.items,
    text: TextConfig = TextConfig(),
) -> Chains:
    """Chains of a folder of `scoter reason`, or of a table that others wrote, for their dataset.

    Args:
        items: of chains by item, how many of a prefix's last items are read: the newest item's
            steps first. An item without a chain is as many missing steps.

    Raises:
        DataError: there are no finished chains, or they were written from other data.
    """
    from scoter.reasoning.discovery.grounding import with_catalogue_names
    from scoter.reasoning.writing.reader import read_chains

    table = read_chains(Path(source), dataset.split, dataset.catalog, items)
    table = with_catalogue_names(table, item_names(dataset.catalog), encoder_of(text))
    return Chains.of(table, dataset, text)
