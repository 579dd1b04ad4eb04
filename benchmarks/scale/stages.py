"""Time and memory of every stage as a simulated dataset grows, with fitted exponents.

A dataset of size n has 40 n shoppers and 25 n items of the simulated shop. Each stage of each size
runs once, in a process of its own that has loaded the packages, on what `data` makes: chains follow
the ranked pattern, semantic IDs are residual k-means of co-occurrence, and a TIGER of the paper's
size is trained for one epoch and decodes for every user with 20 beams. `results/stages.json` holds
a row for each, written as soon as it is measured; a row of the same commit is not measured again.
"""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np

from benchmarks.studies import study
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.stages_page import FILE, page
from scoter.storage.store import git_commit
from scoter.types import Catalog, InteractionLog, ReasoningPattern, Split

SIZES = (1, 4, 16, 64)
SHOPPERS, ITEMS_PER_CELL = 40, 1  # at size 1; a cell is one of 5 brands in one of 5 categories
Shop = tuple[InteractionLog, Catalog, Split]
Work = Callable[[], object]


def main(sizes: tuple[int, ...] = SIZES, results: Path = RESULTS) -> list[study.Row]:
    """Measure what is missing, write it row by row and return all rows."""
    commit, path = git_commit(), results / FILE
    for size in sizes:
        for stage in STAGES:
            rows = study.read(path, [])
            known = {(row["size"], row["stage"]) for row in rows if row["commit"] == commit}
            if (size, stage) not in known:
                made = [{"commit": commit, **_in_a_process(stage, size)}]
                study.write(path, study.merged(rows, made, ["stage", "size"]))
    return study.read(path, [])


def measure(stage: str, size: int) -> study.Row:
    """CPU time and peak memory of one stage; of a fresh process, since a peak never falls."""
    from scoter.models.training.memory import peak_mib

    _shop(1)  # loads what it needs
    work = STAGES[stage](_shop(size)) if stage != "data" else lambda: _shop(size)
    before, began = peak_mib(), time.process_time()
    work()
    seconds, peak = time.process_time() - began, peak_mib()
    log, catalog, _ = _shop(size)
    sizes = {"users": log.user_count, "items": catalog.item_count, "interactions": len(log.items)}
    memory = {"before_mib": before, "peak_mib": peak}
    return {"stage": stage, "size": size, **sizes, "cpu_seconds": seconds, **memory}


def _in_a_process(stage: str, size: int) -> study.Row:
    context = get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.speed.training", "sentence_transformers"])
    with ProcessPoolExecutor(1, context) as process:
        return process.submit(measure, stage, size).result()


def _shop(size: int) -> Shop:
    """The simulated shop of that size, written as a prepared folder and read back."""
    from scoter.config import SimulatedConfig
    from scoter.data.prepared import load_prepared, save_prepared
    from scoter.data.simulated import simulate
    from scoter.data.split import leave_one_out

    config = SimulatedConfig(users=SHOPPERS * size, items_per_cell=ITEMS_PER_CELL * size)
    shop = simulate(config, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        save_prepared(shop.log, shop.catalog, Path(folder))
        log, catalog = load_prepared(Path(folder))
    return log, catalog, leave_one_out(log)


def _statistics(shop: Shop) -> Work:
    from scoter.reasoning.catalogue.statistics import FoldedStatistics

    statistics = FoldedStatistics(shop[2].train, shop[1].item_count, seed=0)
    return lambda: (statistics.transitions, statistics.popularity)


def _chains(shop: Shop) -> Work:
    from scoter.experiments import RANKED_PATTERN
    from scoter.reasoning.chains.table import write_chains

    return lambda: write_chains(shop[2], shop[1], ReasoningPattern(RANKED_PATTERN), seed=0)


def _encoding(shop: Shop) -> Work:
    from scoter.config import TextConfig
    from scoter.reasoning.chains.table import ChainTable
    from scoter.storage.sentence_vectors import encode

    table, cache = _chains(shop)(), Path(tempfile.mkdtemp())
    assert isinstance(table, ChainTable)
    encode(["The encoder is loaded."], TextConfig(), cache)
    return lambda: encode(table.sentences, TextConfig(), cache)


def _semantic_ids(shop: Shop) -> Work:
    from scoter.config import SemanticIdConfig
    from scoter.semantic_ids.build import build_semantic_ids
    from scoter.semantic_ids.vectors import item_vectors

    config = SemanticIdConfig(source="cooccurrence")
    given = (shop[2].train, shop[1], config, [], lambda texts: np.zeros((len(texts), 1)))
    return lambda: build_semantic_ids(item_vectors(*given), config, seed=0)


def _training(shop: Shop) -> Work:
    from benchmarks.speed.training import CONFIG, build, time_steps, warm_up
    from benchmarks.speed.work import SIZE, random_ids
    from scoter.models.training.batches import cut_windows, training_batches

    log, model = shop[2].train, build(random_ids(shop[1].item_count, seed=0))
    first = warm_up(log, SIZE.max_items)

    def epoch() -> object:
        windows = cut_windows(log, SIZE.max_items)
        batches = training_batches(log, windows, CONFIG.batch_targets, 0)
        return time_steps(model, [first, *batches], "bf16")

    return epoch


def _decoding(shop: Shop) -> Work:
    from benchmarks.speed.training import build
    from benchmarks.speed.work import random_ids

    model = build(random_ids(shop[1].item_count, seed=0)).eval()
    return lambda: model.recommend(shop[2].histories("test"), 20, None)


STAGES: dict[str, Callable[[Shop], Work]] = {
    "data": lambda shop: lambda: shop,  # `measure` makes it
    "statistics": _statistics,
    "chains": _chains,
    "encoding": _encoding,
    "semantic IDs": _semantic_ids,
    "training epoch": _training,
    "decoding": _decoding,
}


@click.command()
@study.option("--size", "sizes", type=click.IntRange(1), multiple=True, default=SIZES)
@study.results_option
def command(sizes: tuple[int, ...], results: Path) -> None:
    click.echo(page(main(sizes, results)).markdown())
