"""D2, the permutation channel: only order informs. Closed form beside the enumeration."""

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from math import factorial

import numpy as np

from theory.bounds.list_bounds import binary_entropy
from theory.errors import require
from theory.exact.enumeration import bayes_ndcg, bayes_recall, merge_rows

_VIEWS = ("ordered", "multiset", "shuffled")


@dataclass(frozen=True)
class PermutationChannel:
    """Z is a uniform permutation; Y is Z_1, or with probability `noise` another symbol.

    >>> round(PermutationChannel(symbols=5, noise=0.2).information("ordered"), 6)
    0.831777
    >>> PermutationChannel(symbols=5, noise=0.2).information("multiset")
    0.0
    """

    symbols: int
    noise: float

    def __post_init__(self) -> None:
        few = 2 <= self.symbols <= 9
        require(few, "all permutations are enumerated: 2 to 9 symbols", symbols=self.symbols)
        require(0 <= self.noise <= 1, "a probability lies in [0, 1]", noise=self.noise)

    @cached_property
    def sequences(self) -> np.ndarray:
        """All permutations, [symbols!, symbols]."""
        return np.array(list(permutations(range(self.symbols))))

    def joint(self, view: str = "ordered") -> np.ndarray:
        """P(view, y) for "ordered", "multiset" and "shuffled" (C2a)."""
        require(view in _VIEWS, f"choose one of {_VIEWS}", view=view)
        p = np.full((factorial(self.symbols), self.symbols), self.noise / (self.symbols - 1))
        p[np.arange(len(p)), self.sequences[:, 0]] = 1 - self.noise
        p /= len(p)
        merged = merge_rows(p, np.zeros(len(p), dtype=int))
        if view == "multiset":
            return merged
        return p if view == "ordered" else np.repeat(merged / len(p), len(p), axis=0)

    def information(self, view: str = "ordered") -> float:
        """I(Y;view) in closed form: log K - h(noise) - noise log(K-1), or 0."""
        require(view in _VIEWS, f"choose one of {_VIEWS}", view=view)
        if view != "ordered":
            return 0.0
        lost = float(binary_entropy(self.noise)) + self.noise * float(np.log(self.symbols - 1))
        return float(np.log(self.symbols)) - lost

    def recall(self, k: int, view: str = "ordered") -> float:
        """Bayes recall@k, exact."""
        return bayes_recall(self.joint(view), k)

    def ndcg(self, k: int, view: str = "ordered") -> float:
        """Bayes NDCG@k, exact."""
        return bayes_ndcg(self.joint(view), k)

    def sample(self, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """n independent rows: steps [n, symbols] and items [n]."""
        rng = np.random.default_rng(seed)
        z = rng.permuted(np.tile(np.arange(self.symbols), (n, 1)), axis=1)
        other = (z[:, 0] + rng.integers(1, self.symbols, size=n)) % self.symbols
        return z, np.where(rng.random(n) < self.noise, other, z[:, 0])
