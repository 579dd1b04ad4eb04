"""Peak memory of one side alone: the batches that need most, training and decoding, in this
process."""

import numpy as np

from benchmarks.speed.decoding import OurDecoding, ReferenceDecoding
from benchmarks.speed.training import (
    CONFIG,
    REFERENCE_BATCH,
    ReferenceTraining,
    build,
    time_steps,
    warm_up,
)
from benchmarks.speed.work import open_work
from scoter.models.training.batches import cut_windows, training_batches
from scoter.models.training.memory import peak_mib
from scoter.models.training.precision import resolve_precision

BEAMS, OUR_USERS, THEIR_USERS = 50, 128, 8


def peak(side: str) -> dict[str, float]:
    """Peak resident memory in MiB after loading, after training on the longest batches, and after
    decoding with 50 beams."""
    work = open_work()
    model = build(work.ids)
    found = {"loaded_mib": peak_mib()}
    if side == "ours":
        windows = cut_windows(work.log, model.config.max_items)
        batches = training_batches(work.log, windows, CONFIG.batch_targets, 0)
        largest = max(batches, key=lambda batch: batch.items.shape[-1])
        time_steps(
            model,
            [warm_up(work.log, model.config.max_items), largest, largest],
            resolve_precision("auto"),
        )
        found["training_mib"] = peak_mib()
        OurDecoding(work, model, BEAMS, OUR_USERS)(0)
    else:
        training = ReferenceTraining(work, model, "fp32", 1, REFERENCE_BATCH)
        training(0)
        found["training_mib"] = peak_mib()
        assert np.max(training.padded_to) == 4 * model.config.max_items
        ReferenceDecoding(work, model, BEAMS, THEIR_USERS)(0)
    return {**found, "peak_mib": peak_mib()}
