"""RecTools' SASRec as a peer process; see `peers.py`. Runs in an environment of its own and imports
nothing of scoter."""

import json
import os
import sys
import time
import warnings
from importlib.metadata import version
from typing import Any

import pandas as pd
import torch
from rectools import Columns  # pyright: ignore[reportMissingImports]
from rectools.dataset import Dataset  # pyright: ignore[reportMissingImports]
from rectools.models import SASRecModel  # pyright: ignore[reportMissingImports]

EPOCHS = 1


def dataset_of(sequences: list[list[int]]) -> Any:
    events = [
        (user, item, place) for user, row in enumerate(sequences) for place, item in enumerate(row)
    ]
    frame = pd.DataFrame(events, columns=[Columns.User, Columns.Item, "place"])
    frame[Columns.Datetime] = pd.Timestamp("2020-01-01") + pd.to_timedelta(
        frame.pop("place"), unit="D"
    )
    frame[Columns.Weight] = 1.0
    return Dataset.construct(frame)


def main(task: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    sequences, sizes = task["sequences"], task["sizes"]
    dataset = dataset_of(sequences)
    model = SASRecModel(epochs=EPOCHS, **sizes)
    longest = sizes["session_max_len"]
    tell({"rectools": version("rectools"), "torch": torch.__version__})
    for line in sys.stdin:
        request = json.loads(line)
        cpu, wall = time.process_time(), time.perf_counter()
        if request["do"] == "train":
            model.fit(dataset)
            units = EPOCHS * sum(min(len(row) - 1, longest) for row in sequences)
        else:
            model.recommend(list(range(len(sequences))), dataset, k=10, filter_viewed=False)
            units = len(sequences)
        tell(
            {
                "units": units,
                "cpu_seconds": time.process_time() - cpu,
                "wall_seconds": time.perf_counter() - wall,
            }
        )


def tell(answer: dict[str, Any]) -> None:
    print("@ " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
