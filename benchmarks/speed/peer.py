"""Another project's model in a process of its own environment; see `peers.py`.

`peer.py cornac|rectools TASK.json` prepares the model, prints its versions, and answers each line
of JSON on standard input by one on standard output, with what the work took. It imports nothing of
scoter, which the environment lacks.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

LEARNING_RATE = 1e-3
Took = tuple[int, float, float]  # units of work, CPU-seconds, wall seconds
Work = dict[str, Callable[..., Took]]  # what a request may ask for


def timed(work: Callable[[], object], units: int) -> Took:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return units, time.process_time() - cpu, time.perf_counter() - wall


def cornac(task: dict[str, Any]) -> Work:
    """TIGER, and a catalogue in which a session of one item makes each item known."""
    data, models = import_module("cornac.data"), import_module("cornac.models")
    sequences = task["sequences"]
    events = []
    for user, row in enumerate(sequences):
        events += [(f"u{user}", f"s{user}", f"i{item}", place) for place, item in enumerate(row)]
    events += [("catalogue", f"c{item}", f"i{item}", 0) for item in range(task["items"])]
    dataset = data.SequentialDataset.from_usit(events)
    features = np.random.default_rng(0).normal(size=(dataset.num_items, 16)).astype("float32")
    dataset.add_modalities(item_feature=data.FeatureModality(features=features))
    histories = [[dataset.iid_map[f"i{item}"] for item in row] for row in sequences]
    targets, took = sum(len(row) - 1 for row in histories), list[Took]()

    class TimedTiger(models.TIGER):
        """Times the training of the T5 alone, not the semantic IDs before it."""

        def _fit_seq2seq(self, *arguments: object) -> None:
            took.append(timed(lambda: super(TimedTiger, self)._fit_seq2seq(*arguments), targets))

    fixed = {"tokenizer": "rkmeans", "n_epochs": 1, "batch_size": 256, "seed": 0}
    model = TimedTiger(learning_rate=LEARNING_RATE, **fixed, **task["sizes"])

    def train(repeat: int) -> Took:
        model.fit(dataset)
        return took[-1]

    def decode(repeat: int, beams: int) -> Took:
        model.n_beams = beams
        chosen = np.random.default_rng(repeat).permutation(len(histories))[:8]
        return timed(lambda: [model.score(0, histories[row]) for row in chosen], len(chosen))

    return {"train": train, "decode": decode}


def rectools(task: dict[str, Any]) -> Work:
    """SASRec with the full softmax."""
    import pandas as pd

    datasets, models = import_module("rectools.dataset"), import_module("rectools.models")
    warnings.simplefilter("ignore")
    columns = import_module("rectools").Columns
    sequences, sizes = task["sequences"], task["sizes"]
    lengths = [len(row) for row in sequences]
    frame = pd.DataFrame({columns.User: np.repeat(np.arange(len(lengths)), lengths)})
    frame[columns.Item] = np.concatenate(sequences)
    days = pd.to_timedelta(np.concatenate([np.arange(length) for length in lengths]), unit="D")
    frame[columns.Datetime], frame[columns.Weight] = pd.Timestamp("2020-01-01") + days, 1.0
    dataset, users = datasets.Dataset.construct(frame), list(range(len(sequences)))
    model = models.SASRecModel(epochs=1, **sizes)
    targets = sum(min(length - 1, sizes["session_max_len"]) for length in lengths)

    def train(repeat: int) -> Took:
        return timed(lambda: model.fit(dataset), targets)

    def rank(repeat: int) -> Took:
        options = {"k": 10, "filter_viewed": False}
        return timed(lambda: model.recommend(users, dataset, **options), len(users))

    return {"train": train, "rank": rank}


def main(name: str, path: str) -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with open(path) as file:
        work = {"cornac": cornac, "rectools": rectools}[name](json.load(file))
    answer({name: version(name), "torch": torch.__version__})
    for line in sys.stdin:
        request = json.loads(line)
        units, cpu, wall = work[request.pop("do")](**request)
        answer({"units": units, "cpu_seconds": cpu, "wall_seconds": wall})


def answer(values: dict[str, Any]) -> None:
    print("@ " + json.dumps(values), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
