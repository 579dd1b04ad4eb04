"""N, the hidden-Markov mixture: continuous steps, discrete items, exact posteriors."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from theory.errors import require
from theory.exact.enumeration import entropy
from theory.exact.measured import Measured
from theory.exact.order_channel import OrderChannel


@dataclass(frozen=True)
class HiddenMarkovMixture:
    """States and item from an OrderChannel; Z_k = mean of state C_k + spread * noise.

    Views: "ordered", "multiset" (mixture over K! assignments), "mean" (normal around the mean of
    the states' means), "last".

    >>> states = OrderChannel(2, 2, 3, order_weight=1.0, noise=0.1, seed=1)
    >>> model = HiddenMarkovMixture(states, dims=1, spread=0.3)
    >>> ordered, mean = model.information("ordered", n=500), model.information("mean", n=500)
    >>> ordered.value > mean.value
    True
    """

    states: OrderChannel
    dims: int = 2
    spread: float = 0.6

    def __post_init__(self) -> None:
        steps, spread = self.states.steps, self.spread
        require(steps <= 6, "K! assignments are summed: at most 6 steps", steps=steps)
        require(spread > 0, "the steps are the states: use OrderChannel", spread=spread)
        require(self.dims >= 1, "steps have at least one coordinate", dims=self.dims)

    @cached_property
    def means(self) -> np.ndarray:
        """Mean of each state, [alphabet, dims], standard normal draws of the model's seed."""
        rng = np.random.default_rng([self.states.seed, 2])
        return rng.standard_normal((self.states.alphabet, self.dims))

    def sample(self, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """n independent rows: steps [n, K, dims] and items [n]."""
        states, items = self.states.sample(n, seed=seed)
        noise = np.random.default_rng([seed, 3]).standard_normal((*states.shape, self.dims))
        return self.means[states] + self.spread * noise, items

    def posterior(self, z: np.ndarray, view: str = "ordered") -> np.ndarray:
        """P(y | view of z), [n, items], exact."""
        log_p = self._log_likelihood(z, view) + np.log(self.states.sequence_probabilities + 1e-300)
        weights = np.exp(log_p - logsumexp(log_p, axis=1, keepdims=True))
        return weights @ self.states.channel

    def information(self, view: str = "ordered", *, n: int = 20_000, seed: int = 0) -> Measured:
        """I(Y;view): Monte Carlo over n rows of exact conditional entropies."""
        p = self._posteriors(view, n, seed)
        rows = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
        return Measured.mean(entropy(self.states.joint().sum(0)) - rows)

    def recall(self, k: int, view: str = "ordered", *, n: int = 20_000, seed: int = 0) -> Measured:
        """Bayes recall@k, Monte Carlo over n rows of exact posteriors."""
        return Measured.mean(-np.sort(-self._posteriors(view, n, seed), axis=1)[:, :k].sum(1))

    def ndcg(self, k: int, view: str = "ordered", *, n: int = 20_000, seed: int = 0) -> Measured:
        """Bayes NDCG@k, Monte Carlo over n rows of exact posteriors."""
        best = -np.sort(-self._posteriors(view, n, seed), axis=1)[:, :k]
        return Measured.mean(best @ (1 / np.log2(np.arange(1, k + 1) + 1)))

    def _posteriors(self, view: str, n: int, seed: int) -> np.ndarray:
        z, _ = self.sample(n, seed=seed)
        parts = np.array_split(z, max(1, n // 1000))
        return np.concatenate([self.posterior(part, view) for part in parts])

    def _log_likelihood(self, z: np.ndarray, view: str) -> np.ndarray:
        sequences, steps = self.states.sequences, self.states.steps
        if view == "mean":
            centres = self.means[sequences].mean(1)
            return _log_kernel(z.mean(1), centres, self.spread**2 / steps)
        by_step = _log_kernel(z, self.means, self.spread**2)  # [n, K, state]
        if view == "last":
            return by_step[:, -1][:, sequences[:, -1]]
        if view == "ordered":
            later = (by_step[:, k, sequences[:, k]] for k in range(1, steps))
            return sum(later, by_step[:, 0, sequences[:, 0]])
        require(view == "multiset", "choose ordered, multiset, mean or last", view=view)
        # The assignments of a sequence sum to a permanent, equal on its multiset; scaled so that
        # the multiset of likeliest states keeps a weight >= 1.
        labels = self.states.labels("multiset")
        first = np.unique(labels, return_index=True)[1]
        scaled = np.exp(by_step - by_step.max(2, keepdims=True))
        return np.log(_permanents(scaled, sequences[first]) + 1e-300)[:, labels]


def _permanents(likelihood: np.ndarray, states: np.ndarray) -> np.ndarray:
    """sum_pi prod_k likelihood[n, pi(k), states[m, k]], [n, m], by the subset recursion."""
    steps = states.shape[1]
    partial = {0: np.ones((len(likelihood), len(states)))}
    for k in range(steps):
        grown: dict[int, np.ndarray] = {}
        for used, value in partial.items():
            for step in range(steps):
                if not used >> step & 1:
                    term = value * likelihood[:, step, states[:, k]]
                    key = used | 1 << step
                    grown[key] = grown[key] + term if key in grown else term
        partial = grown
    return partial[(1 << steps) - 1]


def _log_kernel(z: np.ndarray, centres: np.ndarray, variance: float) -> np.ndarray:
    return -((z[..., None, :] - centres) ** 2).sum(-1) / (2 * variance)
