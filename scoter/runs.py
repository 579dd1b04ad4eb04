"""`scoter.run`: an experiment through the cached pipeline, and its results as DataFrames."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from scoter import pipeline
from scoter.arguments import Seed, checked
from scoter.config import Experiment, with_overrides
from scoter.evaluation.evaluate import Evaluation
from scoter.evaluation.evaluator import load_user_metrics
from scoter.experiments import experiment as experiment_named
from scoter.stages.finished import FinishedRun
from scoter.storage.store import Store


class Run(FinishedRun):
    """A finished run: what each method reached on the users' held-out last items."""

    @cached_property
    def evaluations(self) -> dict[str, Evaluation]:
        """The results of each method, as `scoter.evaluate` gives them."""
        log, made = self.data[0], {}
        for name in self.outcome["methods"]:
            ranks = load_user_metrics(self.artefact.file(f"ranks/{name}-test.parquet"))
            keys = tuple(log.user_keys[user] for user in ranks.users)
            made[name] = Evaluation(name, keys, ranks, self.outcome["seed"])
        return made

    @property
    def metrics(self) -> pd.DataFrame:
        """Mean and 95 % bootstrap interval (`low`, `high`), one row per method and metric."""
        frames = {name: result.metrics for name, result in self.evaluations.items()}
        return pd.concat(frames, names=["method"])

    @property
    def differences(self) -> pd.DataFrame:
        """Paired differences with 95 % intervals, one row per pair of methods and metric; columns
        `better`, `worse`, `metric`, `mean`, `low`, `high`."""
        return pd.DataFrame(self.outcome["differences"])

    @property
    def per_user(self) -> pd.DataFrame:
        """The rank of the held-out item (0 for a miss) and each metric, per method and user."""
        frames = {name: result.per_user for name, result in self.evaluations.items()}
        return pd.concat(frames, names=["method"]).reset_index("method").reset_index(drop=True)


@checked
def run(
    experiment: str | Experiment,
    *,
    seed: Seed = 0,
    overrides: Sequence[str] = (),
    store: Store | Path | str | None = None,
    data_dir: Path | str | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> Run:
    """Run an experiment; every stage that ran before, by whomever, is read from the store.

    Args:
        experiment: a name of `scoter ls`, a dataset (SCoTER on it), or a configuration.
        seed: decides weights, batches and dropout, and the simulated shop.
        overrides: changes such as `"methods.*.training.epochs=2"`, as `--set` takes them.
        store: a folder of artefacts; default: `$SCOTER_STORE` or `artifacts/`.
        data_dir: a prepared folder, or a folder of them; default: `$SCOTER_DATA`.
        device: `cpu` or `cuda`.
        say: called with a line for each stage.

    Raises:
        ConfigError: an unknown name or override; the message has the nearest one.
        DataError: the data are not here, or there is nothing to train on.
    """
    folder = None if data_dir is None else Path(data_dir)
    chosen = experiment_named(experiment, folder) if isinstance(experiment, str) else experiment
    opened = store if isinstance(store, Store) else Store(store)
    artefact = pipeline.run(
        with_overrides(chosen, overrides) if overrides else chosen,
        seed=seed,
        store=opened,
        data_dir=folder,
        say=say,
        device=device,
    )
    return Run(opened, artefact)
