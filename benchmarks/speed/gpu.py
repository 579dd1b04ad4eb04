"""Training on a GPU: recorded steps beside plain ones, then cells of the suite, in given minutes.

Plain steps are those of a processor: batches as they are, kernels started one by one, a loss read
after each step. Recorded steps are what training on a GPU does (`fixed_steps`). On a processor the
same runs unrecorded, to see that everything is in place.
"""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from unittest.mock import patch
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.training import in_proportion
from benchmarks.studies.study import Row, write
from benchmarks.suite.side_by_side import side_by_side
from scoter.config import Experiment
from scoter.errors import ConfigError
from scoter.experiments import benchmark, methods, simulated_smoke
from scoter.models.backbones import tiger
from scoter.models.layers import Dropout
from scoter.models.step_reader import FixedStepReader, StepReader
from scoter.models.training.batches import ItemBatch, cut_windows, training_batches
from scoter.models.training.fixed_steps import FixedSteps
from scoter.models.training.loop import Descent
from scoter.models.training.precision import name_of, resolve_device
from scoter.pipeline import make_inputs
from scoter.recommenders.fitting import total_loss
from scoter.seeding import derive_seed
from scoter.stages.context import Context
from scoter.stages.data import open_data
from scoter.stages.networks import open_network
from scoter.storage.store import Store, git_commit
from scoter.storage.writing import replacing
from scoter.types import InteractionLog

if TYPE_CHECKING:
    from scoter.stages.networks import Opened

GRACE_SECONDS = 45.0  # in which cells that are not done stop
Step = Callable[[ItemBatch], Tensor]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What is measured, and where."""

    dataset: str = "beauty"  # or simulated
    device: str = "cuda"
    store: Path | None = None
    data: Path | None = None
    equal_steps: int = 200  # steps whose losses are compared
    timed_steps: int = 60  # steps of a repeat
    repeats: int = 3


class Method:
    """A method on a dataset as a run would train it, with seed 0."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.settings, experiment = settings, experiment_of(settings.dataset, name)
        self.config, store = experiment.methods[name], Store(settings.store)
        self.context = Context(experiment, store, 0, lambda line: None, None, settings.device)
        self.inputs = make_inputs(self.context, settings.data)
        self.train: InteractionLog = open_data(self.inputs.data)[2].train

    @cached_property
    def opened(self) -> "Opened":
        return open_network(self.context, self.config, self.inputs)

    def batches(self, least: int = 1) -> list[ItemBatch]:
        """The batches of so many epochs that there are at least so many."""
        windows, budget = cut_windows(self.train, self.config.model.max_items), self.config.training
        made, epochs = list[ItemBatch](), count()
        while len(made) < least:
            seed = derive_seed(0, "batches", next(epochs))
            made += training_batches(self.train, windows, budget.batch_targets, seed)
        return made

    def steps(self, kind: str, batches: Sequence[ItemBatch], *, dropout: bool = True) -> Step:
        """A fresh training's steps on batches of these sizes; without dropout they are in fp32.

        Args:
            kind: `plain`; `reversed`, which are plain with the rows from the last to the first;
                `padded`; or `recorded`.
        """
        network, _, table = self.opened
        model, device = deepcopy(network), resolve_device(self.settings.device)
        model.train()
        config = self.config.training
        if not dropout:
            drop_nothing(model)
            config = replace(config, precision="fp32")
        torch.manual_seed(derive_seed(0, "dropout"))
        fixed = kind in ("padded", "recorded")
        reads = FixedStepReader if fixed else StepReader
        reader = None if table is None else reads(table, device)
        loss = partial(total_loss, model, steps=reader, label_smoothing=0.0)
        descent = Descent(model, config, 10_000)
        down: Step = partial(descent.descend, lambda batch: loss(batch.to(device)))
        if fixed:
            down = FixedSteps(down, batches, device)
            down.recording = down.recording and kind == "recorded"
        numbers = count()

        def step(batch: ItemBatch) -> Tensor:
            descent.set_rates(next(numbers))
            if kind == "reversed":
                batch = ItemBatch(*(part.flip(0) for part in batch))
            value = down(batch)
            return value if fixed else torch.tensor(float(value))

        return step


def experiment_of(dataset: str, method: str) -> Experiment:
    """The experiment of one method, on a dataset of the suite or in the simulated shop."""
    shop = simulated_smoke()
    known = list(shop.methods if dataset == "simulated" else methods())
    if method not in known:
        raise ConfigError(f"--methods {method!r} is not measured; choose from: {', '.join(known)}")
    if dataset != "simulated":
        return benchmark(dataset, method)
    return replace(shop, methods={method: shop.methods[method]})


def drop_nothing(model: nn.Module) -> None:
    """Turn dropout off, so that trainings differ in arithmetic alone."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.threshold = 0
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0


def differences(method: Method) -> dict[str, float]:
    """The greatest relative differences of losses over the first steps of a training.

    `from_plain`: recorded from plain steps, without dropout. `by_order`: plain steps on the same
    rows in another order, which is what rounding alone does, as it grows from step to step.
    `from_unrecorded`: recorded from the same steps unrecorded, with dropout.
    """

    def losses(kind: str, *, dropout: bool = False) -> Tensor:
        least = method.settings.equal_steps
        batches = method.batches(least)
        step = method.steps(kind, batches, dropout=dropout)
        # Copied, since the loss of a shape stays at one address.
        return torch.stack([step(batch).clone() for batch in batches[:least]]).double().cpu()

    def difference(left: Tensor, right: Tensor) -> float:
        return float(((left - right) / right).abs().max())

    plain = losses("plain")
    unrecorded = losses("padded", dropout=True)
    return {
        "from_plain": difference(losses("recorded"), plain),
        "by_order": difference(losses("reversed"), plain),
        "from_unrecorded": difference(losses("recorded", dropout=True), unrecorded),
    }


def rates(method: Method) -> Row:
    """Steps a second, plain and recorded in turn, and the seconds that recording took."""
    settings, epoch = method.settings, method.batches()
    timed = in_proportion(epoch, settings.timed_steps, 0)
    steps = {kind: method.steps(kind, epoch) for kind in ("plain", "recorded")}
    first = {kind: seconds_of(step, [*timed, *timed], settings) for kind, step in steps.items()}
    found: dict[str, list[float]] = {kind: [] for kind in steps}
    for _ in range(settings.repeats):
        for kind, step in steps.items():
            found[kind].append(len(timed) / seconds_of(step, timed, settings))
    plain, recorded = (median(values) for values in found.values())
    extra = first["recorded"] - 2 * len(timed) / recorded
    return {**found, "ratio": recorded / plain, "seconds_to_record": extra}


def seconds_of(step: Step, batches: Sequence[ItemBatch], settings: Settings) -> float:
    """Wall seconds of these steps, until the GPU is done with them."""
    began = time.perf_counter()
    for batch in batches:
        step(batch)
    if settings.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def ranked_per_second(method: Method) -> dict[str, float]:
    """Validation users ranked in a second, by how many TIGER ranks together on a GPU."""
    model, reader, _ = method.opened
    split, depth = open_data(method.inputs.data)[2], method.context.experiment.depth
    histories, found = split.histories("valid"), dict[str, float]()
    if method.settings.device == "cpu":
        histories = histories.select(np.arange(24))
    model.recommend(histories.select(np.arange(2)), depth, reader)
    for rows in (512, 2048, 8192):
        with patch.object(tiger, "GPU_BATCH_ROWS", rows):
            began = time.perf_counter()
            model.recommend(histories, depth, reader)
            found[str(rows)] = len(histories) / (time.perf_counter() - began)
    return found


def measure(settings: Settings, methods: Sequence[str], out: Path, say: Say) -> Row:
    """Differences and rates of each method; `out` has what is known whenever one is done."""
    device = name_of(resolve_device(settings.device))
    made: Row = {"device": device, "torch": torch.__version__, "commit": git_commit()}
    for name in methods:
        method = Method(name, settings)
        made[name] = {
            "losses": differences(method),
            "steps_per_second": rates(method),
            "ranked_per_second": ranked_per_second(method),
        }
        write(out / "gpu.json", made)
        say(f"{name:18} {as_text(made[name])}")
    return made


def as_text(row: Row) -> str:
    """One line of a method."""
    losses, speed = row["losses"], row["steps_per_second"]
    plain, recorded = median(speed["plain"]), median(speed["recorded"])
    return (
        f"steps a second: {plain:.1f} plain, {recorded:.1f} recorded ({speed['ratio']:.1f} times; "
        f"recording took {speed['seconds_to_record']:.1f} s); losses differ by "
        f"{losses['from_plain']:.1e} from plain (by order of rows {losses['by_order']:.1e}), by "
        f"{losses['from_unrecorded']:.1e} from unrecorded"
    )


def train_cells(
    settings: Settings, only: Sequence[str], at_once: int, minutes: float, out: Path, say: Say
) -> None:
    """Train cells of the suite side by side; `out/runs.zip` has the runs that are done."""
    store, kept = Store(settings.store), set[Path]()
    given = {"device": settings.device, "store": store.root, "results": out / "results"}
    given |= {"data": settings.data} if settings.data else {}
    given["budget-minutes"] = f"{minutes:.2f}"
    words = [f"--only={pattern}" for pattern in only]
    words += [f"--{name}={value}" for name, value in given.items()]

    def keep() -> None:
        done = {path.parent for path in store.root.glob("run/*/manifest.json")}
        if done != kept:
            with replacing(out / "runs.zip") as partial_file, ZipFile(partial_file, "w") as runs:
                for file in sorted(path for folder in done for path in folder.rglob("*")):
                    runs.write(file, file.relative_to(store.root / "run"))
            say(f"{len(done)} runs are done")
            kept.update(done)

    side_by_side(at_once, words, out / "logs", keep)
