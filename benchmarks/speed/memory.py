"""Peak memory of one side alone, in this process, on the batches that need most."""

import numpy as np

from benchmarks.speed.decoding import OurDecoding, ReferenceDecoding
from benchmarks.speed.training import CONFIG, ReferenceTraining, build, time_steps, warm_up
from benchmarks.speed.work import open_work
from scoter.models.training.batches import cut_windows, training_batches
from scoter.models.training.memory import peak_mib
from scoter.models.training.precision import resolve_precision

BEAMS, OUR_USERS, THEIR_USERS = 50, 128, 8


def peak(side: str) -> dict[str, float]:
    """Peak resident memory in MiB after loading, after training, and after decoding."""
    work = open_work()
    model, loaded = build(work.ids), peak_mib()
    most = model.config.max_items
    if side == "ours":
        batches = training_batches(work.log, cut_windows(work.log, most), CONFIG.batch_targets, 0)
        largest = max(batches, key=lambda batch: batch.items.shape[-1])
        batches = [warm_up(work.log, most), largest, largest]
        time_steps(model, batches, resolve_precision("auto"))
        trained, decoding = peak_mib(), OurDecoding(work, model, BEAMS, OUR_USERS)
    else:
        training = ReferenceTraining(work, model, "fp32", 1)
        training(0)
        assert np.max(training.padded_to) == 4 * most
        trained, decoding = peak_mib(), ReferenceDecoding(work, model, BEAMS, THEIR_USERS)
    decoding(0)
    return {"loaded_mib": loaded, "training_mib": trained, "peak_mib": peak_mib()}
