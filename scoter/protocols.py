"""Every plug-in point of scoter as a protocol. This file imports nothing of ours at run time.

A class is a citizen wherever one of these is asked for if it has the methods; it need not derive
from anything. Backbones alone derive from `scoter.models.backbones.backbone.Backbone`, a torch
module.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from scoter.data.datasets import Dataset
    from scoter.reasoning.language.language_model import Completion, CompletionRequest


@runtime_checkable
class Recommender(Protocol):
    """What `scoter.evaluate` and the suite need: learn from a dataset, then rank items.

    `fit` finds training sequences and validation targets in `dataset.split`; test targets are
    withheld. `recommend` gets users' keys and what each has in the history, oldest first, and
    returns a DataFrame with `user`, `item`, `score` and `rank` (from 1).
    """

    def fit(self, dataset: "Dataset", *, seed: int = 0) -> object: ...

    def recommend(
        self,
        users: "Sequence[str] | None" = None,
        k: int = 10,
        *,
        histories: "Sequence[Sequence[str]] | None" = None,
    ) -> "pd.DataFrame": ...


@runtime_checkable
class StepSource(Protocol):
    """Chains as a recommender reads them: the steps of any user's prefix."""

    def read(self, users: "Tensor", prefix_lengths: "Tensor") -> "tuple[Tensor, Tensor]":
        """Step embeddings [rows, steps, dim] in order, and which exist [rows, steps]."""
        ...

    def named(self, users: "Tensor", prefix_lengths: "Tensor") -> "Tensor":
        """The item that each step names [rows, steps], -1 where it names none."""
        ...


class Fusion(Protocol):
    """How hidden states read chains; `scoter.transfer.fusion.StructuredFusion` is the method's."""

    slot_count: int

    def encode(self, steps: "Tensor", mask: "Tensor", named: "Tensor | None" = None) -> object: ...

    def __call__(self, hidden: "Tensor", memory: object, layer: int) -> "Tensor": ...

    def set_statistics(self, steps: "Tensor", mask: "Tensor") -> None: ...


@runtime_checkable
class LanguageModel(Protocol):
    """A language model: a frozen request goes in, a completion comes out."""

    @property
    def concurrency(self) -> int:
        """How many requests may be under way at once."""
        ...

    def complete(self, request: "CompletionRequest") -> "Completion":
        """The reply to one request; called from several threads.

        Raises:
            ReplyError: this request got no usable reply; others may.
            LanguageModelError: no request will get one.
        """
        ...
