"""`python tests/faults/million_items.py`: a million items, from raw files to recommendations.

Each step is a process of its own, so that its peak memory is its own, and leaves its files and a
small JSON in the work folder; a run that was stopped goes on from there. At `--share` 1 there are
20 million reviews by 5 million users of 1 million items before the five-core, and preparing them
must take at most 4 GiB; smaller shares have everything smaller.

    write     the raw files (`large_shop.py`)
    prepare   parse, five-core, number, save: what `scoter data prepare` does
    open      read the prepared folder and split it, as every stage that needs data does
    items     co-occurrence vectors of the training log, at unit norm
    ids       semantic IDs by residual k-means, with the collision level
    decode    the trie of all IDs, then beam search from it by a TIGER of the paper's size
    encode    the sentence encoder's rate, on some of the titles
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from benchmarks.studies import study
from benchmarks.studies.reliability import Section
from benchmarks.suite.collect import RESULTS

if TYPE_CHECKING:
    from scoter.types import Catalog, Histories, InteractionLog

LIMIT_MIB = 4096
BEAMS, DECODED, ENCODED = 20, 64, 512
_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--work", type=_PATH, required=True, help="A folder for the files of this run.")
@click.option("--share", default=1.0, show_default=True, help="The share of the full size.")
@click.option("--out", type=_PATH, default=RESULTS / "scale.json", show_default=True)
@click.option("--only", hidden=True, help="Run this step in this process.")
def main(work: Path, share: float, out: Path, only: str | None) -> None:
    """Run the steps that are missing in WORK and add this share's to the results."""
    if only is not None:
        keep(work, only, share)
        return
    measured = run(work, share, lambda name, text: click.echo(f"{name}: {text}"))
    study.put(out, f"{share:g}", measured)


def measure(quick: bool = False) -> Section:
    """The section of the reliability page: 1/20 of the full size, or 1/500 where `quick`."""
    share = 0.002 if quick else 0.05
    with TemporaryDirectory() as work:
        steps = run(Path(work), share)
    made, left = steps["write"], steps["prepare"]
    return Section(
        title="Loads held",
        said=(
            f"{made['interactions']:,} simulated reviews by {made['users']:,} users of "
            f"{made['items']:,} items, in the official raw format, {share:.1%} of the full size; "
            f"{left['interactions']:,} reviews are left by the five-core. Each step is a process "
            "of its own. [Scale](scale.md) has the other sizes and what they add up to."
        ),
        columns=("step", "CPU-seconds", "peak memory, MiB"),
        rows=[(name, steps[name]["cpu_seconds"], round(steps[name]["peak_mib"])) for name in STEPS],
        passed=steps["prepare_within_limit"],
        notes=[f"Passed: preparing within {LIMIT_MIB:,} MiB; decoded items exist, none twice."],
    )


def run(
    work: Path, share: float, say: Callable[[str, str], None] = lambda name, text: None
) -> dict[str, Any]:
    """Run the steps that WORK lacks, each in its own process; what each measured, by name."""
    work.mkdir(parents=True, exist_ok=True)
    module = [sys.executable, __file__]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    measured: dict[str, Any] = {}
    for name in STEPS:
        path = work / f"{name}.json"
        if not path.exists():
            say(name, "...")
            options = ["--work", str(work), "--share", str(share), "--only", name]
            subprocess.run([*module, *options], check=True, env=environment)
        say(name, path.read_text().strip())
        measured[name] = json.loads(path.read_text())
    return {**measured, "prepare_within_limit": measured["prepare"]["peak_mib"] <= LIMIT_MIB}


def keep(work: Path, name: str, share: float) -> None:
    """Run one step in this process and write what it measured, its cost and its commit."""
    from benchmarks.speed.timing import Clock
    from scoter.models.training.memory import peak_mib
    from scoter.storage.store import git_commit

    clock = Clock()
    measured = STEPS[name](work, share)
    spent = clock.stop(1)
    cost = {"cpu_seconds": spent.cpu_seconds, "wall_seconds": spent.wall_seconds}
    kept = {**measured, **cost, "peak_mib": peak_mib(), "share": share, "commit": git_commit()}
    (work / f"{name}.json").write_text(json.dumps(kept))


def write(work: Path, share: float) -> dict[str, Any]:
    from large_shop import FULL, SOURCE, write_raw

    size = FULL.times(share)
    plain = write_raw(work / "raw", size, seed=0)
    packed = sum((work / "raw" / name).stat().st_size for name in SOURCE.files)
    return {**vars(size), "plain_bytes": plain, "packed_bytes": packed}


def prepare(work: Path, share: float) -> dict[str, Any]:
    from large_shop import SOURCE

    from scoter.data.official.prepare import prepare as prepare_source
    from scoter.data.prepared import save_prepared

    log, catalog = prepare_source(SOURCE, work / "raw")
    save_prepared(log, catalog, work / "prepared")
    stored = sum(path.stat().st_size for path in (work / "prepared").iterdir())
    counts = {"users": log.user_count, "items": catalog.item_count, "interactions": len(log.items)}
    return {**counts, "stored_bytes": stored}


def open_data(work: Path, share: float) -> dict[str, Any]:
    _, train, _ = _open(work)
    return {"training_interactions": len(train.items)}


def items(work: Path, share: float) -> dict[str, Any]:
    from scoter.semantic_ids.vectors import cooccurrence_vectors, directions
    from scoter.storage.arrays import save_arrays

    catalog, train, _ = _open(work)
    counts = cooccurrence_vectors(train, catalog.item_count, 128, seed=0)
    vectors = directions(counts).astype("float32")
    save_arrays(work / "vectors.safetensors", vectors=vectors)
    return {"dim": vectors.shape[1]}


def ids(work: Path, share: float) -> dict[str, Any]:
    from scoter.config import SemanticIdConfig
    from scoter.semantic_ids.build import build_semantic_ids
    from scoter.storage.arrays import load_arrays, save_arrays

    vectors = load_arrays(work / "vectors.safetensors")["vectors"]
    made, report = build_semantic_ids(vectors, SemanticIdConfig(), seed=0)
    save_arrays(work / "codes.safetensors", codes=made.codes)
    return {"items": len(made.codes), **report}


def decode(work: Path, share: float) -> dict[str, Any]:
    import numpy as np
    import torch

    from benchmarks.scale.growth import tensor_bytes
    from benchmarks.speed.timing import Clock
    from benchmarks.speed.work import SIZE
    from scoter.models.backbones.tiger import Tiger
    from scoter.models.decoding.trie import build_trie
    from scoter.storage.arrays import load_arrays
    from scoter.types import SemanticIds

    torch.set_num_threads(1)
    codes = load_arrays(work / "codes.safetensors")["codes"]
    known = SemanticIds(codes, tuple(int(size) for size in codes.max(axis=0) + 1))
    clock = Clock()
    trie = build_trie(known)
    built = clock.stop(1).cpu_seconds
    assert trie.spells(known), "the trie spells another catalogue"
    torch.manual_seed(0)
    model = Tiger(SIZE, known)
    _, _, histories = _open(work)
    chosen = histories.select(np.linspace(0, len(histories) - 1, DECODED).astype(np.int64))
    model.recommend(chosen.select(np.arange(2)), BEAMS)
    clock = Clock()
    rankings = model.recommend(chosen, BEAMS)
    spent = clock.stop(DECODED)
    whole = all(len(set(row)) == BEAMS and min(row) >= 0 for row in rankings.items.tolist())
    assert whole, "an item is missing or comes twice"
    return {
        "trie_cpu_seconds": built,
        "trie_bytes_per_item": trie.nbytes / len(codes),
        "trie_tensor_bytes_per_item": tensor_bytes(model.trie) / len(codes),
        "users": DECODED,
        "beams": BEAMS,
        "cpu_seconds_per_user": 1 / spent.rate,
    }


def encode(work: Path, share: float) -> dict[str, Any]:
    import torch

    from benchmarks.speed.timing import Clock
    from scoter.config import TextConfig
    from scoter.storage import sentence_vectors as text

    torch.set_num_threads(1)
    catalog, _, _ = _open(work)
    config = TextConfig()
    titles = text.item_texts(catalog, [name for name in config.fields if catalog.has(name)])
    sentences = list(dict.fromkeys(titles))[:ENCODED]
    with TemporaryDirectory() as cache:
        text.encode(["a first sentence loads the encoder"], config, Path(cache))
        clock = Clock()
        text.encode(sentences, config, Path(cache))
        spent = clock.stop(len(sentences))
    return {"sentences": len(sentences), "sentences_per_cpu_second": spent.rate}


STEPS: dict[str, Callable[[Path, float], dict[str, Any]]] = {
    **{"write": write, "prepare": prepare, "open": open_data, "items": items},
    **{"ids": ids, "decode": decode, "encode": encode},
}


def _open(work: Path) -> tuple["Catalog", "InteractionLog", "Histories"]:
    from scoter.data.prepared import load_prepared
    from scoter.data.split import leave_one_out

    log, catalog = load_prepared(work / "prepared")
    split = leave_one_out(log)
    return catalog, split.train, split.histories("test")


if __name__ == "__main__":
    main()
