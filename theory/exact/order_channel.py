"""D1, the order channel: an item depends on the order of its steps as much as asked."""

from dataclasses import dataclass
from functools import cached_property
from math import factorial

import numpy as np

from theory.errors import require
from theory.exact.enumeration import bayes_ndcg, bayes_recall, merge_rows, mutual_information


@dataclass(frozen=True)
class OrderChannel:
    """Markov steps Z_1..Z_K and an item drawn from their order or from their multiset.

    `order_weight` w dials how much order matters: 0 = not at all. f, g and the chain are drawn from
    `seed`. Views: "ordered", "multiset", "shuffled", "sum" (of the symbols' numbers), "last",
    "first".

    >>> model = OrderChannel(alphabet=3, steps=3, items=5, order_weight=0.0, noise=0.1, seed=0)
    >>> abs(model.information("ordered") - model.information("multiset")) < 1e-12
    True
    """

    alphabet: int
    steps: int
    items: int
    order_weight: float
    noise: float
    seed: int

    def __post_init__(self) -> None:
        for name, least in (("alphabet", 2), ("steps", 1), ("items", 2)):
            require(getattr(self, name) >= least, f"needs {least}", **{name: getattr(self, name)})
        few = self.alphabet**self.steps <= 1_000_000
        require(few, "all alphabet**steps are enumerated: use fewer", steps=self.steps)
        weight = self.order_weight
        require(0 <= weight <= 1, "a weight lies in [0, 1]", order_weight=weight)
        require(0 <= self.noise <= 1, "a probability lies in [0, 1]", noise=self.noise)

    @cached_property
    def sequences(self) -> np.ndarray:
        """All sequences, [alphabet**steps, steps]."""
        return np.indices((self.alphabet,) * self.steps).reshape(self.steps, -1).T

    @cached_property
    def sequence_probabilities(self) -> np.ndarray:
        """P(z) by row of `sequences`."""
        rng = np.random.default_rng([self.seed, 0])
        start = rng.dirichlet(np.ones(self.alphabet))
        moves = rng.dirichlet(np.ones(self.alphabet), size=self.alphabet)
        p = start[self.sequences[:, 0]]
        for k in range(1, self.steps):
            p = p * moves[self.sequences[:, k - 1], self.sequences[:, k]]
        return p / p.sum()

    @cached_property
    def channel(self) -> np.ndarray:
        """P(y|z), [sequence, item]."""
        rng = np.random.default_rng([self.seed, 1])
        multisets = self.labels("multiset")
        by_order = rng.integers(self.items, size=len(self.sequences))
        by_multiset = rng.integers(self.items, size=multisets.max() + 1)[multisets]
        p = np.full((len(self.sequences), self.items), self.noise / self.items)
        rows = np.arange(len(p))
        p[rows, by_order] += (1 - self.noise) * self.order_weight
        p[rows, by_multiset] += (1 - self.noise) * (1 - self.order_weight)
        return p

    def labels(self, view: str) -> np.ndarray:
        """The number of each sequence under a view that is a function of it."""
        z = self.sequences
        columns = {"ordered": z, "multiset": np.sort(z, 1), "sum": z.sum(1, keepdims=True)}
        columns |= {"last": z[:, -1:], "first": z[:, :1]}
        require(view in columns, f"choose one of {sorted(columns)}", view=view)
        return np.unique(columns[view], axis=0, return_inverse=True)[1].reshape(-1)

    def joint(self, view: str = "ordered") -> np.ndarray:
        """P(view, y); "shuffled" arranges the steps of each row anew (C2a)."""
        ordered = self.sequence_probabilities[:, None] * self.channel
        if view == "shuffled":
            multisets = self.labels("multiset")
            merged = merge_rows(ordered, multisets)[multisets]
            return merged / np.bincount(multisets)[multisets][:, None]
        return merge_rows(ordered, self.labels(view))

    def information(self, view: str = "ordered") -> float:
        """I(Y;view) in nats, exact."""
        return mutual_information(self.joint(view))

    def order_information(self) -> float:
        """O = I(Y;Z) - I(Y;S) of T2, exact."""
        return self.information("ordered") - self.information("multiset")

    def recall(self, k: int, view: str = "ordered") -> float:
        """Bayes recall@k, exact."""
        return bayes_recall(self.joint(view), k)

    def ndcg(self, k: int, view: str = "ordered") -> float:
        """Bayes NDCG@k, exact."""
        return bayes_ndcg(self.joint(view), k)

    def arrangement_entropy_cap(self) -> float:
        """E log(K! / prod m_a!) of T2."""
        counts = np.stack([(self.sequences == a).sum(1) for a in range(self.alphabet)], axis=1)
        factorials = np.array([factorial(m) for m in range(self.steps + 1)], dtype=float)
        arrangements = factorial(self.steps) / factorials[counts].prod(1)
        return float(self.sequence_probabilities @ np.log(arrangements))

    def sample(self, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """n independent rows: steps [n, K] and items [n]."""
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(self.sequences), size=n, p=self.sequence_probabilities)
        items = (self.channel[rows].cumsum(1) < rng.random((n, 1))).sum(1)
        return self.sequences[rows], np.minimum(items, self.items - 1)
