"""Models on a device of their own, without one: a tensor that says it is on a GPU and refuses to
meet one that is not."""

from typing import Any

import numpy as np
import pytest
import torch
from test_training import IDS, LOG
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_flatten, tree_map_only

from scoter.config import SasrecConfig, TigerConfig
from scoter.models.backbones.sasrec import SASRec
from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding import ranking
from scoter.models.step_reader import FixedStepReader, StepReader
from scoter.models.training.batches import ItemBatch, PaddedBatch, cut_windows, training_batches
from scoter.models.training.precision import autocast, resolve_precision
from scoter.transfer.fusion import StructuredFusion
from scoter.types import Histories, ReasoningPattern, Step, StepEmbeddings

GPU = torch.device("cuda", 0)
SMALL: dict[str, Any] = {
    "dim": 8,
    "layers": 1,
    "heads": 2,
    "head_dim": 4,
    "feed_forward": 16,
    "dropout": 0.0,
}
HISTORIES = Histories(np.arange(4), LOG.items[:20], np.arange(5) * 5)
pytestmark = pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")


class Remote(Tensor):
    """A tensor that stands for one on the GPU. It is computed here, and meets no tensor that is not
    there too."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "Remote":
        made = Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), dtype=here.dtype
        )
        made.here = here.detach()
        return made

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = (args, kwargs or {})
        tensors = [part for part in tree_flatten(given)[0] if isinstance(part, Tensor)]
        strangers = [
            tuple(part.shape) for part in tensors if not isinstance(part, Remote) and part.ndim
        ]
        if strangers:
            raise AssertionError(f"{function} meets a tensor of shape {strangers[0]} on the CPU")
        args, kwargs = tree_map_only(Remote, lambda part: part.here, given)
        return tree_map_only(Tensor, Remote, function(*args, **kwargs))

    def cpu(self) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.here


class Placed(TorchFunctionMode):
    """What `torch.device("cuda")` as a context does, and the way to it."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is Tensor.to and GPU in args[1:]:
            return args[0] if isinstance(args[0], Remote) else Remote(args[0])
        made = function(*args, **(kwargs or {}))
        return (
            Remote(made)
            if function in _device_constructors() and not isinstance(made, Remote)
            else made
        )


def fusion() -> StructuredFusion:
    return StructuredFusion(steps=2, step_dim=4, dim=8, layers=1, heads=2, dropout=0.0)


def reading(model: Any, fusion: Any) -> Any:
    model.attach(fusion)
    return model


# Without GRU4Rec: torch transposes a GRU's output in place, of which a wrapped tensor is told
# nothing.
MODELS = {
    "tiger": lambda: Tiger(TigerConfig(**SMALL), IDS),
    "tiger over the trie": lambda: Tiger(
        TigerConfig(**SMALL, softmax="trie", repeat_bias=True), IDS
    ),
    "tiger with chains": lambda: reading(Tiger(TigerConfig(**SMALL), IDS), fusion()),
    "sasrec": lambda: SASRec(SasrecConfig(dim=8, layers=1, dropout=0.0), 8),
    "sasrec with chains": lambda: reading(
        SASRec(SasrecConfig(dim=8, layers=1, dropout=0.0), 8), fusion()
    ),
}


def chains() -> StepEmbeddings:
    bags = np.arange(10 * 4 * 2 + 1)
    vectors = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    return StepEmbeddings(
        vectors,
        bags[:-1],
        bags,
        np.arange(11) * 4,
        ReasoningPattern((Step("a"), Step("b"))),
        "none",
    )


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_on_a_device_of_its_own_equals_the_model_here(
    name: str, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (batch,) = training_batches(LOG, cut_windows(LOG, 4), 1000, 0)
    batch = PaddedBatch(*batch) if padded else batch

    torch.manual_seed(1)
    model, reader = MODELS[name](), (FixedStepReader if padded else StepReader)(chains())
    steps = reader if model.fusion is not None else None

    def outcome(batch: ItemBatch) -> tuple[Tensor, list[Tensor], np.ndarray]:
        model.zero_grad()
        loss = model.loss(batch, steps)
        loss.backward()
        return (
            loss,
            [p.grad for p in model.parameters() if p.grad is not None],
            model.recommend(HISTORIES, 5, steps).items,
        )

    loss, gradients, items = outcome(batch)
    torch.__future__.set_overwrite_module_params_on_conversion(
        True
    )  # a new parameter, not the old one's `data` replaced
    try:
        model._apply(Remote)
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    distinct = tuple(Remote(part) for part in reader.distinct)
    for table in ("vectors", "indices", "offsets", "starts"):
        setattr(reader, table, Remote(getattr(reader, table)))
    reader.distinct = distinct
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # which knows no wrapped tensors
    monkeypatch.setattr(ranking, "device_of", lambda model: GPU)
    monkeypatch.setattr(ranking, "placed", lambda device: Placed())
    with Placed():
        remote, there, found = outcome(batch.to(GPU))
    assert isinstance(remote, Remote)
    # Equal but for `log_prob`, which has a way of its own on a processor.
    torch.testing.assert_close(remote.here, loss)
    for ours, expected in zip(there, gradients, strict=True):
        torch.testing.assert_close(ours.here, expected)
    np.testing.assert_array_equal(found, items)


def test_the_stand_in_refuses_what_a_gpu_refuses() -> None:
    with pytest.raises(AssertionError, match="on the CPU"):
        Remote(torch.ones(2)) + torch.ones(2)
    with pytest.raises(RuntimeError):
        Remote(torch.ones(2)).numpy()
    assert float(Remote(torch.ones(2)).sum() + torch.tensor(1.0)) == 3.0


def test_precision_is_the_devices_own_where_none_is_asked_for() -> None:
    assert resolve_precision("auto", GPU) == "fp32"
    assert resolve_precision("bf16", GPU) == "bf16"
    assert autocast("fp32", GPU).device == "cuda"
