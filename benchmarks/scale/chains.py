"""Time and memory of `scoter reason` by the number of chains; memory should not grow with it.

Each size runs in a process of its own, which writes chains of the catalogue reasoner (symbolic: no
language model's time is in this) for the first so many prefixes of a dataset. `results/chains.json`
holds one row per size.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.studies import study
from benchmarks.suite.collect import RESULTS
from scoter.storage.store import git_commit

SIZES = (10_000, 100_000)


def main(
    sizes: tuple[int, ...] = SIZES, dataset: str = "beauty", results: Path = RESULTS
) -> dict[str, Any]:
    """Measure every size, write `results/chains.json` and return what stands in it."""
    rows = [study.in_a_process(write, dataset, size) for size in sizes]
    about = {"dataset": dataset, "commit": git_commit(), "reasoner": study.REASONER}
    result = {**about, "rows": rows}
    study.write(results / "chains.json", result)
    return result


def write(dataset: str, chains: int) -> dict[str, Any]:
    """Write the chains and measure this process: it must be a fresh one, since a peak never falls.

    `data_peak_mib` is the peak before the first chain: the data, and the packages.
    """
    from scoter.config import DataConfig
    from scoter.data.datasets import open_dataset
    from scoter.data.split import leave_one_out
    from scoter.models.training.memory import peak_mib
    from scoter.reasoning.chains.table import hand_written_pattern
    from scoter.reasoning.writing.engine import run_job
    from scoter.reasoning.writing.folder import ChainFolder
    from scoter.reasoning.writing.job import ChainJob
    from scoter.seeding import derive_seed

    shop = open_dataset(DataConfig(dataset))
    split, pattern = leave_one_out(shop.log), hand_written_pattern(shop.catalog)
    folds = derive_seed(0, "folds")
    job = ChainJob(split, shop.catalog, pattern, shop.identity, fold_seed=folds, limit=chains)
    before, began, cpu = peak_mib(), time.perf_counter(), time.process_time()
    with TemporaryDirectory() as folder:
        written = sum(run_job(job, ChainFolder(Path(folder)), None).values())
        seconds, spent = time.perf_counter() - began, time.process_time() - cpu
        size = sum(path.stat().st_size for path in Path(folder).glob("chains-*.parquet"))
    return {
        "chains": written,
        "seconds": seconds,
        "cpu_seconds": spent,
        "chains_per_second": written / seconds,
        "data_peak_mib": before,
        "peak_mib": peak_mib(),
        "bytes_per_chain": size / written,
    }


@click.command()
@study.option("--chains", "sizes", type=click.IntRange(1), multiple=True, default=SIZES)
@study.dataset_option
@study.results_option
def command(sizes: tuple[int, ...], dataset: str, results: Path) -> None:
    text = "{chains:9,} chains: {seconds:.1f} s, {chains_per_second:,.0f} a second, peak "
    text += "{peak_mib:.0f} MiB ({data_peak_mib:.0f} before the first chain)"
    for row in main(sizes, dataset, results)["rows"]:
        click.echo(text.format(**row))
