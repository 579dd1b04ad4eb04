"""A recommender that trains for some epochs with a pattern's chains, is measured, and goes on."""

from functools import partial

import numpy as np
from jaxtyping import Int

from scoter.config import MethodConfig
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.types import Catalog, Histories, InteractionLog, SemanticIds, Split, StepEmbeddings


class TransferProbe:
    """The method's recommender and fusion for one pattern's chains.

    Training uses neither validation nor test interactions, and the last epoch counts.
    `target_steps` counts each target as often as it was trained on; `planned_epochs` shape the
    schedule of the learning rate.
    """

    def __init__(
        self,
        method: MethodConfig,
        split: Split,
        catalog: Catalog,
        ids: SemanticIds | None,
        table: StepEmbeddings,
        planned_epochs: int,
        seed: int,
    ) -> None:
        from scoter.models.step_reader import StepReader
        from scoter.models.training.loop import Descent
        from scoter.recommenders.network import build_model

        fusion = method.fusion
        if fusion is None or fusion.source != "own":
            wanted = "a transfer is probed with a method that reads its user's own chain"
            raise ConfigError(f"{wanted}; {fusion} does not")
        if fusion.grounded or fusion.slots != "step":
            raise ConfigError(
                "a transfer is probed with one embedding a step, without codes; set "
                "fusion.grounded=false and fusion.slots=step"
            )
        self.method, self.seed, self.planned_epochs = method, seed, planned_epochs
        self.reader = StepReader(table)
        self.model = build_model(method, split, catalog, ids, table, seed)
        # The first epoch says how many steps there are.
        self.descent = Descent(self.model, method.training, total_steps=0)
        self.epochs, self.target_steps = 0, 0

    def train(self, log: InteractionLog, epochs: int) -> None:
        """`epochs` more epochs on all targets of `log`."""
        import torch

        from scoter.models.training.batches import cut_windows, training_batches
        from scoter.recommenders.fitting import total_loss

        config, model = self.method.training, self.model
        windows = cut_windows(log, model.config.max_items)
        smoothing = config.label_smoothing
        loss = partial(total_loss, model, steps=self.reader, label_smoothing=smoothing)
        model.train()
        for epoch in range(self.epochs, self.epochs + epochs):
            torch.manual_seed(derive_seed(self.seed, "dropout", epoch))
            seed = derive_seed(self.seed, "batches", epoch)
            batches = training_batches(log, windows, config.batch_targets, seed)
            self.descent.total_steps = self.planned_epochs * len(batches)
            for number, batch in enumerate(batches, start=epoch * len(batches)):
                self.descent.step(number, loss, batch)
                self.target_steps += batch.target_count
        self.epochs += epochs

    def ranks(
        self, histories: Histories, targets: Int[np.ndarray, " rows"], depth: int
    ) -> Int[np.ndarray, " rows"]:
        """The place of each target among the `depth` best, from 1; 0 for a miss."""
        hits = self.model.recommend(histories, depth, self.reader).items == targets[:, None]
        return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)


def without_last(
    log: InteractionLog, users: Int[np.ndarray, " users"]
) -> tuple[InteractionLog, Histories]:
    """The log without the last item of each of `users`, and the items before it."""
    keep = np.ones(len(log.items), bool)
    keep[log.offsets[1:][users] - 1] = False
    lengths = log.lengths - np.isin(np.arange(log.user_count), users)
    times = None if log.times is None else log.times[keep]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    shorter = InteractionLog(log.items[keep], offsets, log.user_keys, times)
    everyone = Histories(np.arange(log.user_count), shorter.items, shorter.offsets)
    return shorter, everyone.select(users)
