"""Cornac's TIGER as a peer process; see `peers.py`. Runs in an environment of its own and imports
nothing of scoter."""

import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any

# fmt: off
from cornac.data import FeatureModality, SequentialDataset  # pyright: ignore[reportMissingImports]  # isort: skip
from cornac.models import TIGER  # pyright: ignore[reportMissingImports]  # isort: skip
# fmt: on
import numpy as np
import torch

LEARNING_RATE = 1e-3


class TimedTiger(TIGER):
    """Times the training of the T5 alone, not the semantic IDs before it."""

    seconds = (0.0, 0.0)

    def _fit_seq2seq(self, *arguments: Any) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        super()._fit_seq2seq(*arguments)
        self.seconds = (time.process_time() - cpu, time.perf_counter() - wall)


def dataset_of(sequences: list[list[int]], items: int) -> Any:
    """The sequences as sessions, and a session of one event for every item: not trained on, but it
    makes the item known."""
    events = [
        (f"u{user}", f"s{user}", f"i{item}", time)
        for user, row in enumerate(sequences)
        for time, item in enumerate(row)
    ]
    events += [("catalogue", f"c{item}", f"i{item}", 0) for item in range(items)]
    dataset = SequentialDataset.from_usit(events)
    features = np.random.default_rng(0).normal(size=(dataset.num_items, 16)).astype("float32")
    dataset.add_modalities(item_feature=FeatureModality(features=features))
    return dataset


def main(task: dict[str, Any]) -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    dataset = dataset_of(task["sequences"], task["items"])
    model = TimedTiger(
        tokenizer="rkmeans",
        n_epochs=1,
        batch_size=256,
        learning_rate=LEARNING_RATE,
        seed=0,
        **task["sizes"],
    )
    histories = [[dataset.iid_map[f"i{item}"] for item in row] for row in task["sequences"]]
    tell({"cornac": version("cornac"), "torch": torch.__version__})
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "train":
            model.fit(dataset)
            units, (cpu, wall) = sum(len(row) - 1 for row in histories), model.seconds
        else:
            model.n_beams = request["beams"]
            chosen = np.random.default_rng(request["repeat"]).permutation(len(histories))[:8]
            starts = time.process_time(), time.perf_counter()
            for row in chosen:
                model.score(0, histories[row])
            units, cpu, wall = (
                len(chosen),
                time.process_time() - starts[0],
                time.perf_counter() - starts[1],
            )
        tell({"units": units, "cpu_seconds": cpu, "wall_seconds": wall})


def tell(answer: dict[str, Any]) -> None:
    print("@ " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
