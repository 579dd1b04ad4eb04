"""`python -m benchmarks.scale.growth`: cost by size of the catalogue and length of the history.

Simulated catalogues with unique random semantic IDs (three levels of 256 and a collision level),
the TIGER paper's size of T5, random weights: what is measured does not depend on what was learned.
Curves, one row a point:

    catalogue   items -> CPU-seconds per user of beam search (20 beams), bytes of trie per item
    history     items in a history -> CPU-seconds per target of training

Verdicts: from the smallest catalogue on, neither bytes per item nor seconds per user may grow
faster than the logarithm of the number of items.
"""

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from benchmarks.speed.timing import Sample

CATALOGUES = (10_000, 100_000, 1_000_000)
HISTORIES = (5, 10, 20, 50)
BEAMS, DECODED, HISTORY = 20, 128, 8
_TRIE = ("trie_bytes_per_item", "trie_tensor_bytes_per_item")
_COLUMNS = {
    "catalogue": ("items", *_TRIE, "cpu_seconds_per_user"),
    "history": ("history", "cpu_seconds_per_target"),
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--threads", default=1, show_default=True, help="Threads.")
@click.option("--repeats", default=5, show_default=True, help="Repeats of each point, in turn.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the JSON to this file.")
def main(as_json: bool, threads: int, repeats: int, out: Path | None) -> None:
    """Measure and print both curves; compare the catalogue's with the logarithm."""
    # Torch reads them when it is loaded.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    import torch

    from benchmarks.speed.timing import machine

    torch.set_num_threads(threads)
    about = machine(threads)
    rows = [*catalogue_curve(repeats), *history_curve(repeats)]
    result = {"machine": about, "repeats": repeats, "rows": rows, "verdicts": verdicts(rows)}
    text = json.dumps(result, indent=1)
    if out is not None:
        out.write_text(text + "\n")
    click.echo(text if as_json else table(result))


def catalogue_curve(
    repeats: int, catalogues: tuple[int, ...] = CATALOGUES, decoded: int = DECODED
) -> list[dict[str, Any]]:
    """Decode time per user and trie memory per item for each number of items."""
    import numpy as np

    from benchmarks.speed import timing, work
    from benchmarks.speed.decoding import OurDecoding
    from benchmarks.speed.training import build
    from scoter.models.decoding.trie import build_trie

    contenders, rows = {}, []
    for items in catalogues:
        rng = np.random.default_rng(items)
        log = work.uniform_log(np.full(4 * decoded, HISTORY), items, rng)
        ids = work.random_ids(items, seed=0)
        model, given = build(ids), work.Work(log, work.whole_histories(log), ids, "simulated")
        contenders[str(items)] = OurDecoding(given, model, BEAMS, decoded)
        row = {"curve": "catalogue", "items": items, "codebooks": list(ids.codebook_sizes)}
        row["trie_bytes_per_item"] = build_trie(ids).nbytes / items
        row["trie_tensor_bytes_per_item"] = tensor_bytes(model.trie) / items
        rows.append(row)
    samples = timing.alternate(contenders, repeats)
    return [row | _seconds(samples[str(row["items"])], "user") for row in rows]


def history_curve(
    repeats: int, histories: tuple[int, ...] = HISTORIES, budget: int = 1000
) -> list[dict[str, Any]]:
    """Training time per target of users with one length; `budget` targets fill a batch."""
    import numpy as np

    from benchmarks.speed.timing import alternate
    from benchmarks.speed.training import build, time_steps, warm_up
    from benchmarks.speed.work import SIZE, random_ids, uniform_log
    from scoter.models.training.batches import cut_windows, training_batches

    ids = random_ids(10_000, seed=0)
    models = {items: build(ids, replace(SIZE, max_items=items)) for items in histories}

    def contender(items: int) -> "Callable[[int], Sample]":
        lengths = np.full(2 * budget // items, items + 1)
        log = uniform_log(lengths, 10_000, np.random.default_rng(items))
        batches = training_batches(log, cut_windows(log, items), budget, 0)

        def work(repeat: int) -> "Sample":
            return time_steps(models[items], [warm_up(log, items), *batches], "fp32")

        return work

    samples = alternate({str(items): contender(items) for items in histories}, repeats)
    costs = {items: _seconds(samples[str(items)], "target") for items in histories}
    return [{"curve": "history", "history": items, **cost} for items, cost in costs.items()]


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Growth of the catalogue's costs from its smallest size, beside that of the logarithm.

    >>> same = {"curve": "catalogue", "trie_tensor_bytes_per_item": 9.0}
    >>> sizes = ({"items": 10**n, "cpu_seconds_per_user": float(n)} for n in (1, 2))
    >>> points = [{**same, **size} for size in sizes]
    >>> [(made["growth"], made["logarithm"], made["holds"]) for made in verdicts(points)]
    [(1.0, 2.0, True), (2.0, 2.0, True)]
    """
    catalogues = (row for row in rows if row["curve"] == "catalogue")
    smallest, *larger = sorted(catalogues, key=lambda row: row["items"])
    made = []
    for point in larger:
        logarithm = math.log(point["items"]) / math.log(smallest["items"])
        for measure in ("trie_tensor_bytes_per_item", "cpu_seconds_per_user"):
            growth = point[measure] / smallest[measure]
            sizes = {"measure": measure, "from": smallest["items"], "to": point["items"]}
            verdict = {"growth": growth, "logarithm": logarithm, "holds": growth <= logarithm}
            made.append(sizes | verdict)
    return made


def table(result: dict[str, Any]) -> str:
    about = result["machine"]
    machine = f"{about['cpu']}, {about['threads']} threads, load {about['load_average']:.1f}"
    lines = [f"{machine}, commit {about['commit'][:10]}"]
    for curve, columns in _COLUMNS.items():
        lines += ["", "".join(f"{column:>28}" for column in columns)]
        chosen = (row for row in result["rows"] if row["curve"] == curve)
        lines += ["".join(f"{row[column]:28,.6g}" for column in columns) for row in chosen]
    lines.append("")
    for verdict in result["verdicts"]:
        compared = "grows no faster than" if verdict["holds"] else "GROWS FASTER THAN"
        what = f"{verdict['measure']} from {verdict['from']:,} to {verdict['to']:,} items"
        limit = f"the logarithm (times {verdict['logarithm']:.2f})"
        lines.append(f"{what}: times {verdict['growth']:.2f}, {compared} {limit}")
    return "\n".join(lines)


def _seconds(samples: "Sequence[Sample]", unit: str) -> dict[str, float]:
    each = [1 / sample.rate for sample in samples]
    name = f"cpu_seconds_per_{unit}"
    return {name: median(each), f"{name}_min": min(each), f"{name}_max": max(each)}


def tensor_bytes(trie: object) -> int:
    """What the trie takes while decoding: all tensors that it holds."""
    import torch

    tensors = (value for value in vars(trie).values() if isinstance(value, torch.Tensor))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


if __name__ == "__main__":
    main()
