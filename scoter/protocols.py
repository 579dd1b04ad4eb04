"""Every plug-in point of scoter as a protocol; nothing of ours is imported at run time.

A class with the methods of a protocol can be used wherever the protocol is asked for; it need not
derive from anything. Only backbones derive from a class, the torch module
`scoter.models.backbones.backbone.Backbone`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from scoter.data.datasets import Dataset
    from scoter.models.step_reader import ChainMemory
    from scoter.reasoning.language.language_model import Completion, CompletionRequest
    from scoter.recommenders.chains import Chains


@runtime_checkable
class Recommender(Protocol):
    """What `scoter.evaluate` and `scoter.compare` need: learn from a dataset, then rank items.

    `fit` finds training sequences and validation targets in `dataset.split`; test targets are
    withheld. `recommend` gets users' keys and what each has in the history, oldest first, and
    returns a DataFrame with `user`, `item`, `score` and `rank` (from 1, without a gap).
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
class ReadsChains(Recommender, Protocol):
    """A recommender whose chains can be exchanged after `fit`, as those of `SCoTER` can."""

    def with_chains(self, chains: "Chains") -> Recommender: ...


@runtime_checkable
class StepSource(Protocol):
    """Chains as a recommender reads them: the steps of each (user, prefix length)."""

    def read(self, users: "Tensor", prefix_lengths: "Tensor") -> "tuple[Tensor, Tensor]":
        """Step embeddings [rows, steps, dim] in order, and which exist [rows, steps]."""
        ...

    def read_shared(
        self, users: "Tensor", prefix_lengths: "Tensor"
    ) -> "tuple[Tensor, Tensor, Tensor]":
        """The same as distinct embeddings [distinct, dim], the row of each step among them
        [rows, steps], and which steps exist [rows, steps]."""
        ...

    def named(self, users: "Tensor", prefix_lengths: "Tensor") -> "Tensor":
        """The item that each step names [rows, steps], -1 where it names none."""
        ...

    def certainty(self, users: "Tensor", prefix_lengths: "Tensor") -> "Tensor":
        """The share that each step gives to the item that it names [rows, steps], 0 where it says
        none."""
        ...


@runtime_checkable
class Fusion(Protocol):
    """A torch module through which hidden states read chains, such as
    `scoter.transfer.fusion.StructuredFusion`."""

    ordered: bool  # whether slots are steps in order, so that roles and votes have a meaning
    slot_count: int  # slots of a chain, the null slot not counted
    first_layer: int  # the first of the recommender's layers that reads
    start_only: bool  # whether only the first state of a row reads
    chain_dropout: float  # the share of chains left out in training
    detached: bool  # whether votes leave the recommender's own training alone

    def __init__(
        self,
        steps: int,
        step_dim: int,
        dim: int,
        layers: int,
        heads: int,
        *,
        gate: bool = True,
        keep: "Sequence[bool] | None" = None,
        roles: "Sequence[int] | None" = None,
        votes: bool = False,
    ) -> None: ...

    @staticmethod
    def slot_labels(steps: list[str]) -> list[str]:
        """What each slot holds, given what the steps are called."""
        ...

    @property
    def has_votes(self) -> bool: ...

    def read(self, source: StepSource, users: "Tensor", lengths: "Tensor") -> "ChainMemory":
        """The encoded chains of these users' prefixes."""
        ...

    def __call__(self, hidden: "Tensor", memory: "ChainMemory", layer: int) -> "Tensor":
        """Hidden states [rows, queries, dim] that have read their chains."""
        ...

    def vote(self, states: "Tensor", memory: "ChainMemory") -> "Tensor":
        """Log weights [rows, 1 + steps] of the recommender itself and of each step."""
        ...

    def set_statistics(self, steps: "Tensor", mask: "Tensor") -> None: ...

    def set_rates(self, named: "Tensor", targets: "Tensor") -> None:
        """Where steps vote: how often each has named the target of training prefixes."""
        ...

    def start_recording(self) -> None: ...

    def stop_recording(self) -> None: ...

    def take_readings(self) -> "tuple[Tensor, Tensor]":
        """Mean gate [rows] and attention [rows, slots + 1] since the last call."""
        ...


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
