"""Information of normal data without bias, and under normal and Student copulas: any margins."""

import numpy as np
from scipy.special import digamma, gammaln, ndtri, psi
from scipy.stats import rankdata
from scipy.stats import t as student

from theory.errors import require
from theory.estimators.answer import Answer

_FREEDOMS = (20.0, 10.0, 6.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.0)
_ROUNDS = 10


def gaussian_information(
    x: np.ndarray, y: np.ndarray, cond: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """I(X;Y|C) in nats under joint normality, and the n log ratios at the fitted law.

    E log|S| of a Wishart matrix is known in digammas, so that the estimate has no bias for Gaussian
    data (Misra et al. 2005). Not a bound for other data.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((500, 1))
    >>> bool(abs(gaussian_information(x, x + rng.standard_normal((500, 1)))[0] - 0.3466) < 0.1)
    True
    """
    x, y = _centred(x), _centred(y)
    c = np.zeros((len(x), 0)) if cond is None else _centred(cond)
    n, dims = len(x), x.shape[1] + y.shape[1] + c.shape[1]
    require(n > dims + 2, f"needs more than {dims + 2} rows", rows=n, columns=dims)
    value, density = 0.0, np.zeros(n)
    for block, sign in ((np.c_[x, c], 1), (np.c_[y, c], 1), (np.c_[x, y, c], -1), (c, -1)):
        if block.shape[1] == 0:
            continue
        covariance = block.T @ block / (n - 1)
        determinant_sign, log_determinant = np.linalg.slogdet(covariance)
        regular = determinant_sign > 0 and np.linalg.cond(covariance) < 1e13
        require(regular, "the covariance is singular: drop copies", columns=block.shape[1])
        value += sign * 0.5 * (log_determinant - _log_determinant_bias(block.shape[1], n - 1))
        form = np.einsum("ni,ij,nj->n", block, np.linalg.inv(covariance), block)
        density += sign * 0.5 * (log_determinant + form)
    return float(value), density


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Columns through their ranks to normal quantiles; rising maps change nothing.

    >>> normal_scores(np.array([[3.0], [1.0], [2.0]]))[:, 0].round(3).tolist()
    [0.674, -0.674, 0.0]
    """
    values = np.asarray(values)
    return ndtri(rankdata(values.reshape(len(values), -1), axis=0) / (len(values) + 1))


def student_copula(x: np.ndarray, y: np.ndarray) -> Answer:
    """I(X;Y) of the copula of best likelihood among Student's and the normal one.

    Correlations and tail are fitted to the ranks; the value is the law's own, with the correction
    for few rows of `gaussian_information`. Not a bound for other data.

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((2, 2000, 1)) / np.sqrt(rng.chisquare(1, size=(2000, 1)))
    >>> bool(abs(student_copula(x, y).value - 0.224) < 0.05)
    True
    """
    x, y = (np.asarray(values, dtype=float).reshape(len(values), -1) for values in (x, y))
    both, dims = np.c_[x, y], (x.shape[1], y.shape[1])
    value, terms = gaussian_information(normal_scores(x), normal_scores(y))
    tail, scores, shape = _fitted(both)
    if tail < np.inf:
        blocks = (slice(None), slice(dims[0]), slice(dims[0], None))
        density = [_log_density(scores[:, b], shape[b, b], tail) for b in blocks]
        terms = density[0] - density[1] - density[2]
        logs = [float(np.linalg.slogdet(shape[b, b])[1]) for b in blocks]
        bias = dims[0] * dims[1] / (2 * len(both))
        value = (logs[1] + logs[2] - logs[0]) / 2 - bias + _tail(dims, tail)
    text = f"Student, {tail:g} degrees" if tail < np.inf else "normal"
    return Answer(value, terms, freedom=dims[0] * dims[1], notes={"tail": text})


def _log_determinant_bias(dims: int, freedom: int) -> float:
    i = np.arange(dims)
    return float(digamma((freedom - i) / 2).sum() + dims * np.log(2 / freedom))


def _centred(values: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and greatest value 1: units say nothing."""
    values = np.asarray(values, dtype=float).reshape(len(values), -1)
    values = values - values.mean(0)
    greatest = np.abs(values).max(0)
    return values / np.where(greatest > 0, greatest, 1)


def _fitted(both: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Degrees of freedom, scores and correlations of the best copula; more tail while it gains."""
    ranks = np.rint(2 * rankdata(both, axis=0)).astype(int)  # ties have halves
    shares = np.arange(2 * len(both) + 1) / (2 * len(both) + 2)
    normal = normal_scores(both)
    kept = (np.inf, normal, np.corrcoef(normal.T))
    best = _normal_likelihood(normal) + np.log(len(both))
    for tail in _FREEDOMS:
        scores = student.ppf(shares, tail)[ranks]
        shape = _shape(scores, tail)
        margins = student.logpdf(scores, tail).sum(1)
        likelihood = float((_log_density(scores, shape, tail) - margins).sum())
        if likelihood > best:
            best, kept = likelihood, (tail, scores, shape)
        elif kept[0] < np.inf:
            break
    return kept


def _tail(dims: tuple[int, int], freedom: float) -> float:
    """Information of two uncorrelated parts of a Student law: they share its scale."""

    def entropy(d: int) -> float:
        both = (freedom + d) / 2
        mass = gammaln(freedom / 2) - gammaln(both) + d / 2 * np.log(freedom * np.pi)
        return float(mass + both * (psi(both) - psi(freedom / 2)))

    return entropy(dims[0]) + entropy(dims[1]) - entropy(sum(dims))


def _normal_likelihood(scores: np.ndarray) -> float:
    correlation = np.corrcoef(scores.T)
    form = np.einsum("ni,ij,nj->n", scores, np.linalg.inv(correlation), scores)
    log_determinant = float(np.linalg.slogdet(correlation)[1])
    return float(((scores**2).sum(1) - form - log_determinant).sum() / 2)


def _shape(scores: np.ndarray, freedom: float) -> np.ndarray:
    """The correlations of a Student law of given freedom, by reweighting."""
    dims = scores.shape[1]
    shape = np.eye(dims)
    for _ in range(_ROUNDS):
        form = np.einsum("ni,ni->n", scores @ np.linalg.inv(shape), scores)
        weighted = scores * ((freedom + dims) / (freedom + form))[:, None]
        shape = weighted.T @ scores / len(scores)
        scale = np.sqrt(np.diagonal(shape))
        shape /= np.outer(scale, scale)
    require(np.linalg.cond(shape) < 1e13, "the ranks are singular: drop copies", columns=dims)
    return shape


def _log_density(scores: np.ndarray, shape: np.ndarray, freedom: float) -> np.ndarray:
    dims = scores.shape[1]
    form = np.einsum("ni,ni->n", scores @ np.linalg.inv(shape), scores)
    mass = gammaln((freedom + dims) / 2) - gammaln(freedom / 2) - dims / 2 * np.log(freedom * np.pi)
    log_determinant = float(np.linalg.slogdet(shape)[1])
    return mass - log_determinant / 2 - (freedom + dims) / 2 * np.log1p(form / freedom)
