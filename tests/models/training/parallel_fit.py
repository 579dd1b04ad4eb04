"""A process of a data-parallel training: `parallel_fit.py FOLDER KIND KILL_AT` writes its weights,
the first its curve too."""

import json
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from test_training import BUDGET, Killed, train

from scoter.models.training import loop as training
from scoter.models.training.workers import DataParallel

STEADY = replace(BUDGET, batch_targets=22, evaluate_every=1)


def main(folder: Path, kind: str, kill_at: int) -> None:
    torch.set_num_threads(1)
    workers = DataParallel()
    ticks = iter(range(0, 10**6, 100))
    training.time = type(
        "Ticking", (), {"monotonic": lambda: next(ticks), "process_time": lambda: 0.0}
    )  # a checkpoint a step
    with suppress(Killed):
        model, log = train(kind, folder, kill_at, STEADY, workers, dropout=0.0)
        if workers.is_first:
            (folder / "curve.json").write_text(json.dumps(log.curve))
        training.save_weights(model, folder / f"weights-{workers.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
