"""Weights and checkpoints as files: written whole or not at all, refused when altered."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scoter.errors import StoreError
from scoter.models.training.precision import device_of
from scoter.storage.store import as_new_file


@dataclass
class TrainingLog:
    """What happened in training, and what it cost."""

    curve: list[dict[str, float | int]] = field(default_factory=list)  # one entry an epoch
    best_epoch: int = 0  # from 1; 0 before the first validation
    best_value: float = -1.0  # its NDCG@10; -1 where nothing is validated
    epochs: int = 0  # epochs trained
    cpu_seconds: float = 0.0  # validation included
    peak_mib: float = 0.0  # peak memory of the process
    precision: str = "fp32"
    device: str = "cpu"  # what the device calls itself
    workers: int = 1  # processes that trained together
    shares: tuple[float, float] | None = None  # b and c of the votes, chosen with the epoch


@dataclass
class Place:
    """Where training stands."""

    epoch: int = 0
    step: int = 0  # steps done in it
    loss_sum: float = 0.0  # of its targets
    targets: int = 0  # their number


def save_weights(model: nn.Module, path: Path) -> None:
    """Weights as safetensors, written whole or not at all."""
    _replace({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Put saved weights into a model of the same shape."""
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, OSError, SafetensorError) as error:
        cause = " ".join(str(error).split())[:200]
        problem = f"{path} does not hold the weights of this model ({cause})"
        raise StoreError(f"{problem}; train it again with this version") from None


class Checkpoint:
    """Weights, optimiser, generator and log in one file, replaced at once.

    `best` is the hash of the best weights, which lie in a file of their own. The header has a hash
    of the tensors too; that of older versions has none.
    """

    def __init__(self, scratch: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.path, self.model, self.optimizer = scratch / "checkpoint.safetensors", model, optimizer
        self.device = device_of(model)
        self.best = ""

    def save(self, log: TrainingLog, place: Place) -> None:
        weights = self.model.state_dict().items()
        tensors = {f"model.{name}": tensor.contiguous() for name, tensor in weights}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        on_cpu = self.device.type == "cpu"
        generator = torch.get_rng_state() if on_cpu else torch.cuda.get_rng_state(self.device)
        tensors["generator"] = generator
        header = {"log": json.dumps(asdict(log)), "place": json.dumps(asdict(place))}
        _replace(tensors, self.path, {**header, "best": self.best, "digest": _digest(tensors)})

    def load(self) -> tuple[TrainingLog, Place]:
        """The log and the place, with model, optimiser and generator put back."""
        try:
            with safe_open(self.path, "pt") as file:
                header = file.metadata()
            tensors = load_file(self.path)
            log = TrainingLog(**json.loads(header["log"]))
            place = Place(**json.loads(header["place"]))
            if header.get("digest") not in (None, _digest(tensors)):
                raise ValueError("it was altered since it was written")
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            problem = f"the checkpoint {self.path} cannot be read ({error})"
            raise StoreError(f"{problem}; delete it to train from the start") from None
        self.best = header.get("best", "")
        self._restore(tensors)
        return log, place

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        weights: dict[str, Tensor] = {}
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part == "model":
                weights[rest] = tensor
            elif part == "optimizer":
                index, _, key = rest.partition(".")
                state.setdefault(int(index), {})[key] = tensor
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        if self.device.type == "cpu":
            torch.set_rng_state(tensors["generator"])
        else:
            torch.cuda.set_rng_state(tensors["generator"], self.device)


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
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
