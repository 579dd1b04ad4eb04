"""G, the Gaussian chain: ordered and mean in closed form, the multiset posterior exact."""

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

from theory.errors import require
from theory.exact.measured import Measured, ranks_of


@dataclass(frozen=True)
class GaussianChain:
    """Steps in R^dims with correlation rho^|j-k| between steps j and k, coordinates independent;
    Y = sum_k weights[k] (first coordinate of Z_k) + N(0, noise_variance).

    Views: "ordered", "multiset", "mean", "last". Given a multiset the arrangement pi has p(pi|S) in
    proportion to N(z_pi; 0, R), so p(y|S) is a mixture of K! normals; only the outer mean is Monte
    Carlo. Items, where recall is asked, are the `items` equally likely intervals of Y.

    >>> chain = GaussianChain(weights=(0.25, 0.5, 0.75, 1.0), rho=0.6)
    >>> round(chain.information("ordered").value, 4), round(chain.information("mean").value, 4)
    (1.0962, 0.8751)
    """

    weights: tuple[float, ...]
    rho: float = 0.0
    dims: int = 1
    noise_variance: float = 0.5

    def __post_init__(self) -> None:
        few = 1 <= len(self.weights) <= 7
        require(few, "K! arrangements are enumerated: 1 to 7 steps", weights=self.weights)
        require(-1 < self.rho < 1, "a correlation below 1 in size keeps R invertible", rho=self.rho)
        noise = self.noise_variance
        require(noise > 0, "without noise the information is infinite", noise_variance=noise)
        require(self.dims >= 1, "steps have at least one coordinate", dims=self.dims)

    @cached_property
    def correlation(self) -> np.ndarray:
        """R, [steps, steps]."""
        k = np.arange(len(self.weights))
        return self.rho ** np.abs(k[:, None] - k[None]).astype(float)

    @property
    def signal_variance(self) -> float:
        """w'Rw, the variance of Y that the steps explain."""
        return float(np.array(self.weights) @ self.correlation @ np.array(self.weights))

    def information(self, view: str = "ordered", *, n: int = 20_000, seed: int = 0) -> Measured:
        """I(Y;view) in nats: closed form, or Monte Carlo over n rows for the multiset."""
        if view == "multiset":
            z, y = self.sample(n, seed=seed)
            log_weights, means = self._arrangements(z)
            given = _log_normal(y[:, None] - means, self.noise_variance)
            marginal = _log_normal(y, self.signal_variance + self.noise_variance)
            return Measured.mean(logsumexp(log_weights + given, axis=1) - marginal)
        explained = 1 - self.residual_variance(view) / (self.signal_variance + self.noise_variance)
        return Measured(float(-0.5 * np.log1p(-explained)))

    def residual_variance(self, view: str = "ordered") -> float:
        """Variance of Y given a linear view: "ordered", "mean" or "last"."""
        w, total = np.array(self.weights), self.signal_variance + self.noise_variance
        readers = {"ordered": w, "mean": np.full(len(w), 1 / len(w)), "last": np.eye(len(w))[-1]}
        require(view in readers, f"choose one of {[*sorted(readers), 'multiset']}", view=view)
        reader = readers[view]
        variance = float(reader @ self.correlation @ reader)
        covariance = float(reader @ self.correlation @ w)
        return total - (covariance**2 / variance if variance > 0 else 0.0)

    def recall(
        self, k: int, view: str = "ordered", *, items: int = 16, n: int = 5_000, seed: int = 0
    ) -> Measured:
        """Bayes recall@k of the interval of Y, by Monte Carlo over n rows of exact posteriors."""
        posteriors, _ = self.posteriors(view, items=items, n=n, seed=seed)
        return Measured.mean(-np.sort(-posteriors, axis=1)[:, :k].sum(1))

    def ndcg(
        self, k: int, view: str = "ordered", *, items: int = 16, n: int = 5_000, seed: int = 0
    ) -> Measured:
        """Bayes NDCG@k of the interval of Y, by Monte Carlo over n rows of exact posteriors."""
        posteriors, chosen = self.posteriors(view, items=items, n=n, seed=seed)
        ranks = ranks_of(posteriors, chosen)
        return Measured.mean(np.where(ranks <= k, 1 / np.log2(ranks + 1), 0.0))

    def posteriors(
        self, view: str, *, items: int, n: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """P(interval of Y | view) [n, items] and the interval that came [n], for n fresh rows."""
        z, y = self.sample(n, seed=seed)
        quantiles = ndtri(np.arange(1, items) / items)
        edges = np.sqrt(self.signal_variance + self.noise_variance) * quantiles
        chosen = np.searchsorted(edges, y)
        if view == "multiset":
            log_weights, means = self._arrangements(z)
            below = ndtr((edges - means[..., None]) / np.sqrt(self.noise_variance))
            cumulative = (np.exp(log_weights)[..., None] * below).sum(1)
        else:
            centre, spread = self._linear_prediction(z, view), np.sqrt(self.residual_variance(view))
            cumulative = ndtr((edges - centre[:, None]) / spread)
        padded = np.concatenate([np.zeros((n, 1)), cumulative, np.ones((n, 1))], axis=1)
        return np.diff(padded, axis=1), chosen

    def sample(self, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """n independent rows: steps [n, K, dims] and Y [n]."""
        rng = np.random.default_rng(seed)
        normal = rng.standard_normal((n, len(self.weights), self.dims))
        z = np.einsum("jk,nkd->njd", np.linalg.cholesky(self.correlation), normal)
        noise = np.sqrt(self.noise_variance) * rng.standard_normal(n)
        return z, z[..., 0] @ np.array(self.weights) + noise

    def _arrangements(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        orders = np.array(list(permutations(range(z.shape[1]))))
        precision, w = np.linalg.inv(self.correlation), np.array(self.weights)
        grams = np.einsum("njd,nkd->njk", z, z)
        forms = [np.einsum("njk,jk->n", grams[:, o][:, :, o], precision) for o in orders]
        means = z[..., 0][:, orders] @ w
        log_weights = -0.5 * np.stack(forms, axis=1)
        return log_weights - np.asarray(logsumexp(log_weights, axis=1, keepdims=True)), means

    def _linear_prediction(self, z: np.ndarray, view: str) -> np.ndarray:
        steps, w = z[..., 0], np.array(self.weights)
        if view == "ordered":
            return steps @ w
        reader = np.full(len(w), 1 / len(w)) if view == "mean" else np.eye(len(w))[-1]
        slope = (reader @ self.correlation @ w) / (reader @ self.correlation @ reader)
        return slope * (steps @ reader)


def _log_normal(x: np.ndarray, variance: float) -> np.ndarray:
    return -0.5 * (x**2 / variance + np.log(2 * np.pi * variance))
