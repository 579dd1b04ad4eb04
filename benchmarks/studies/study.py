"""What the studies share: options of their commands, and files of results."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import click

from benchmarks.suite.collect import RESULTS
from scoter.storage.writing import replacing

Row = dict[str, Any]  # an object of a results file, as JSON holds it
Option = Callable[[Callable[..., None]], Callable[..., None]]
Made = TypeVar("Made")

PATH = click.Path(path_type=Path)
REASONER = "catalog-reasoner (symbolic)"  # who writes the chains of the studies that need new ones

option = partial(click.option, show_default=True)  # for an option with a default worth telling
results_option = click.option("--results", type=PATH, default=RESULTS, help="Folder of results.")
store_option = click.option("--store", type=PATH, help="[default: $SCOTER_STORE or artifacts/]")
FOLDER = click.Path(path_type=Path, exists=True)
data_option = click.option("--data", type=FOLDER, help="A prepared folder, or one of datasets.")
seed_option = option("--seed", default=0)
seeds_option = option(
    "--seed", "seeds", type=click.IntRange(0), multiple=True, default=(0,), help="Repeatable."
)
arm_option = option("--arm", default="scoter", help="The method of the runs to measure.")
dataset_option = option("--dataset", default="beauty")
run_argument = click.argument("run", type=PATH)
runs_argument = click.argument("runs", nargs=-1, required=True, type=PATH)


def users_option(default: int, least: int = 1) -> Option:
    """`--users`: the most users that a study measures."""
    return option("--users", type=click.IntRange(least), default=default, help="Most to measure.")


def in_a_process(work: Callable[..., Made], *given: object) -> Made:
    """What `work(*given)` returns in a fresh process, as a process never gives its peak back."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work, *given).result()


def read(path: Path, otherwise: Any) -> Any:
    """The JSON of a results file, or `otherwise` where the file is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else otherwise


def write(path: Path, value: Any, *, indent: int = 1, sort_keys: bool = False) -> None:
    """Write JSON in place of the file at `path`, whole or not at all."""
    text = json.dumps(value, indent=indent, sort_keys=sort_keys) + "\n"
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def put(path: Path, name: str, value: Any, *, sort_keys: bool = True) -> None:
    """Write `value` under `name` into the object of a results file, beside what it holds."""
    write(path, {**read(path, {}), name: value}, sort_keys=sort_keys)


def merged(
    rows: Sequence[Row], made: Sequence[Row], key: Sequence[str], order: Sequence[str] = ()
) -> list[Row]:
    """`rows` with `made` in place of those of equal `key`, sorted by key and then by `order`.

    >>> merged([{"seed": 1}, {"seed": 0, "old": True}], [{"seed": 0}], ["seed"])
    [{'seed': 0}, {'seed': 1}]
    """
    replaced = [itemgetter(*key)(row) for row in made]
    kept = [row for row in rows if itemgetter(*key)(row) not in replaced]
    return sorted([*kept, *made], key=itemgetter(*key, *order))
