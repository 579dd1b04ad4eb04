"""One training loop for every neural model: schedule, early stopping, exact resumption.

A checkpoint holds the weights, the optimiser's state, the generator's state and the place in the
epoch, as safetensors and JSON. Batches are a function of (seed, epoch). So a run that is killed and
resumed equals the run that was not, bit for bit on one machine.
"""

import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from scoter.config import TrainingConfig
from scoter.errors import StoreError
from scoter.models.training.memory import peak_mib
from scoter.models.training.precision import autocast, device_of, name_of, placed, resolve_precision
from scoter.models.training.workers import Alone, Workers
from scoter.seeding import derive_seed
from scoter.storage.store import as_new_file, hash_file

SELECTION_METRIC = "ndcg@10"


@dataclass
class TrainingLog:
    """What happened: one entry per epoch, and the cost. CPU seconds include validation; memory is
    the peak in MiB."""

    curve: list[dict[str, float | int]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = -1.0
    epochs: int = 0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    precision: str = "fp32"
    device: str = "cpu"
    workers: int = 1


def fit(
    model: nn.Module,
    batches: Callable[[int], Sequence[Any]],
    loss: Callable[[Any], Tensor],
    evaluate: Callable[[], dict[str, float]],
    config: TrainingConfig,
    *,
    seed: int,
    scratch: Path,
    label: str,
    on_step: Callable[[int], None] = lambda step: None,
    workers: Workers | None = None,
    progress: bool = True,
) -> TrainingLog:
    """Train `model` in place, where its parameters are, and leave the weights of its best
    validation epoch in it.

    Args:
        batches: epoch -> its batches; must be a pure function.
        loss: batch -> mean loss over its targets.
        evaluate: validation metrics, among them ndcg@10, of all validation users.
        scratch: folder for checkpoints; what it holds of this very run is resumed.
        on_step: called after each optimiser step with its number, for tests and monitors.
        workers: the processes that share each batch; None for this one alone. Several call `fit`
            with equal arguments and one `scratch`; the first validates and writes, and its log is
            the whole one.
        progress: whether a bar and a line an epoch are shown.
    """
    workers = workers or Alone()
    torch.manual_seed(derive_seed(seed, label, "dropout"))
    loss, first = workers.share(model, loss), batches(0)
    descent = Descent(model, config, config.epochs * len(first))
    log = TrainingLog(
        precision=descent.precision, device=name_of(descent.device), workers=workers.count
    )
    place = {"epoch": 0, "step": 0, "loss_sum": 0.0, "targets": 0}
    checkpoint = _Checkpoint(scratch, model, descent.optimizer)
    if checkpoint.exists():
        log, place = checkpoint.load()
        log.workers = workers.count
    best_file = scratch / "best.safetensors"
    clock, saved_at = time.process_time(), time.monotonic()
    for epoch in range(place["epoch"], config.epochs):
        if _stopped(log, config):
            break
        todo = first if epoch == 0 else batches(epoch)
        model.train()
        bar = tqdm(
            todo,
            desc=f"{label} epoch {epoch + 1}/{config.epochs}",
            disable=None if workers.is_first and progress else True,
            leave=False,
        )
        for number, batch in enumerate(bar):
            if number < place["step"]:
                continue
            step = epoch * len(first) + number
            workers.start_step(derive_seed(seed, label, "dropout", step))
            value = descent.step(step, loss, batch)
            place["loss_sum"] += workers.mean(value) * batch.target_count
            place["targets"] += batch.target_count
            place["step"] = number + 1
            if workers.is_first and time.monotonic() - saved_at > 60:
                clock = _spend(log, clock)
                checkpoint.save(log, {**place, "epoch": epoch})
                saved_at = time.monotonic()
            on_step(step + 1)
        entry: dict[str, float | int] = {
            "epoch": epoch + 1,
            "loss": place["loss_sum"] / max(1, place["targets"]),
        }
        if (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs:
            found = evaluate() if workers.is_first else {}
            entry |= {
                **found,
                SELECTION_METRIC: workers.from_first(found.get(SELECTION_METRIC, 0.0)),
            }
            if entry[SELECTION_METRIC] > log.best_value:
                log.best_value, log.best_epoch = entry[SELECTION_METRIC], epoch + 1
                if workers.is_first:
                    save_weights(model, best_file)
                    checkpoint.best = hash_file(best_file)
        log.curve.append(entry)
        log.epochs = epoch + 1
        place = {"epoch": epoch + 1, "step": 0, "loss_sum": 0.0, "targets": 0}
        clock = _spend(log, clock)
        if not workers.is_first:
            continue
        checkpoint.save(log, place)
        report = ", ".join(f"{key} {value:.4g}" for key, value in entry.items())
        if progress:
            tqdm.write(f"{label}: {report}, {log.cpu_seconds:.0f} CPU-s", file=sys.stderr)
    # until the first has written the best weights, and then until all have read them
    workers.wait()
    if workers.is_first and checkpoint.best and hash_file(best_file) != checkpoint.best:
        raise StoreError(
            f"{best_file} was altered since it was written; delete the folder {scratch} to train "
            f"from the start"
        )
    load_weights(model, best_file)
    workers.wait()
    log.peak_mib = max(log.peak_mib, peak_mib())
    return log


class Descent:
    """AdamW with clipped gradients, along the schedule of `total_steps`, in the precision of
    `config` and where the model is."""

    def __init__(self, model: nn.Module, config: TrainingConfig, total_steps: int) -> None:
        self.model, self.config, self.total_steps = model, config, total_steps
        self.device = device_of(model)
        self.precision = resolve_precision(config.precision, self.device)
        self.optimizer = torch.optim.AdamW(parameter_groups(model, config), fused=True)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def step(self, number: int, loss: Callable[[Any], Tensor], batch: Any) -> float:
        """Step `number`, from 0, down the `loss` of `batch`, which is returned as it was before."""
        factor = schedule(number, self.total_steps, self.config.warmup_share)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        with autocast(self.precision, self.device), placed(self.device):
            value = loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        return float(value.detach())


def schedule(step: int, total: int, warmup_share: float) -> float:
    """Learning-rate factor: linear warm-up, then a cosine to a hundredth.

    Example:
        >>> [round(schedule(step, 100, 0.1), 3) for step in (0, 9, 10, 99)]
        [0.1, 1.0, 1.0, 0.01]
    """
    warmup = max(1, round(total * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return max(0.01, 0.5 * (1 + math.cos(math.pi * progress)))


def parameter_groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Tables (the model's own embeddings), other matrices, and vectors (norms, biases), which alone
    do not decay.

    Tables learn `embedding_rate` times as fast. T5 starts its embedding with unit variance, ten
    times the deviation of its matrices; Adam moves every number by about the learning rate, so at
    one rate for all the embedding hardly moves.
    """
    tables = [module.weight for module in model.children() if isinstance(module, nn.Embedding)]
    known = {id(table) for table in tables}
    others = [
        parameter
        for parameter in model.parameters()
        if parameter.requires_grad and id(parameter) not in known
    ]
    rate, decay = config.learning_rate, config.weight_decay
    return [
        {"params": tables, "lr": rate * config.embedding_rate, "weight_decay": decay},
        {"params": [p for p in others if p.ndim >= 2], "lr": rate, "weight_decay": decay},
        {"params": [p for p in others if p.ndim < 2], "lr": rate, "weight_decay": 0.0},
    ]


def save_weights(model: nn.Module, path: Path) -> None:
    """Weights as safetensors, written whole or not at all."""
    _replace({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Put saved weights into a model of the same shape.

    Raises:
        StoreError: the file holds the weights of another model; those of an older version may have
            other names.
    """
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        found = " ".join(str(error).split())[:200]
        raise StoreError(
            f"{path} does not hold the weights of this model ({found}); train it again with this "
            f"version"
        ) from None


def generator_state(device: torch.device) -> Tensor:
    """The state of the generator that draws on `device`."""
    return torch.get_rng_state() if device.type == "cpu" else torch.cuda.get_rng_state(device)


def set_generator_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)


def _spend(log: TrainingLog, since: float) -> float:
    now = time.process_time()
    log.cpu_seconds += now - since
    return now


def _stopped(log: TrainingLog, config: TrainingConfig) -> bool:
    return (
        log.epochs - log.best_epoch >= config.patience * config.evaluate_every
        and log.best_epoch > 0
    )


def _replace(
    tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    temporary = path.with_suffix(".tmp")
    with as_new_file(temporary):
        save_file(tensors, temporary, metadata)
    temporary.replace(path)


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(
            tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        )
    return digest.hexdigest()


class _Checkpoint:
    """Weights, optimiser and generator state in one file, whose header carries the log: one atomic
    replace.

    `best` is the hash of the best weights, which lie in a file of their own. The header has a hash
    of the tensors too, so that a damaged checkpoint is refused; those of older versions have none.
    """

    def __init__(self, scratch: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.path, self.model, self.optimizer = scratch / "checkpoint.safetensors", model, optimizer
        self.device = device_of(model)
        self.best = ""

    def exists(self) -> bool:
        return self.path.exists()

    def save(self, log: TrainingLog, place: dict[str, Any]) -> None:
        tensors = {
            f"model.{name}": tensor.contiguous() for name, tensor in self.model.state_dict().items()
        }
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        tensors["generator"] = generator_state(self.device)
        told = {
            "log": json.dumps(asdict(log)),
            "place": json.dumps(place),
            "best": self.best,
            "digest": _digest(tensors),
        }
        _replace(tensors, self.path, told)

    def load(self) -> tuple[TrainingLog, dict[str, Any]]:
        """The state of the model, the optimiser and the generator, put back; returns the log and
        the place.

        Raises:
            StoreError: the file is cut off, or was altered.
        """
        from safetensors import safe_open

        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata()
            tensors = load_file(self.path)
            log, place = TrainingLog(**json.loads(metadata["log"])), json.loads(metadata["place"])
            if metadata.get("digest") not in (None, _digest(tensors)):
                raise ValueError("it was altered since it was written")
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"the checkpoint {self.path} cannot be read ({error}); delete it to train from "
                f"the start"
            ) from None
        self.best = metadata.get("best", "")
        self.model.load_state_dict(
            {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
        )
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        set_generator_state(self.device, tensors["generator"])
        return log, place
