"""T10 to T12 and G1 to G3: finite samples, search and choice (parts 4 and 5)."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from scipy.integrate import quad
from scipy.special import entr
from scipy.stats import binom

from theory import bounds, exact
from theory.verify.comparison import Checks, Comparison, Effort, at_most, equal, within_errors
from theory.verify.random_joints import random_joint

CHECKS = Checks()


def crossover_case() -> tuple[exact.GaussianChain, float, float, float]:
    """Four steps against their mean: chain, residual variances of both, n*."""
    chain = exact.GaussianChain(weights=(0.25, 0.5, 0.75, 1.0), rho=0.6)
    fine, coarse = chain.residual_variance("ordered"), chain.residual_variance("mean")
    return chain, fine, coarse, bounds.gaussian_crossover(4, 1, 0.5 * float(np.log(coarse / fine)))


def simulated_risk(
    chain: exact.GaussianChain, n: int, view: str, repetitions: int, seed: int
) -> tuple[float, float]:
    """Mean test error of least squares on n rows, and its standard error."""
    z, y = chain.sample(n * repetitions, seed=seed)
    steps = z[..., 0].reshape(repetitions, n, -1)
    x = steps if view == "ordered" else steps.mean(2, keepdims=True)
    reader = np.eye(4) if view == "ordered" else np.full((4, 1), 0.25)
    gram = np.einsum("rni,rnj->rij", x, x)
    products = np.einsum("rni,rn->ri", x, y.reshape(repetitions, n))[..., None]
    fitted = np.linalg.solve(gram, products)[..., 0]
    miss = fitted @ reader.T - np.array(chain.weights)
    errors = chain.noise_variance + np.einsum("ri,ij,rj->r", miss, chain.correlation, miss)
    return float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(repetitions))


@CHECKS.of("T10", "least squares: structured wins iff n > n*")
def _gaussian_crossover(effort: Effort) -> Iterator[Comparison]:
    chain, fine, coarse, crossing = crossover_case()
    below, above = int(crossing), int(crossing) + 1
    risk = bounds.least_squares_risk
    yield at_most(risk(above, 4, fine), risk(above, 1, coarse))
    yield at_most(risk(below, 1, coarse), risk(below, 4, fine))
    readers = (("ordered", 4, fine), ("mean", 1, coarse))
    for n, (view, dims, variance) in product((below, above), readers):
        measured, error = simulated_risk(chain, n, view, effort.repetitions, seed=n)
        yield within_errors(measured, risk(n, dims, variance), error)
    rng = np.random.default_rng(10)
    for _ in range(effort.models):  # the closed form is the root of the two risks
        d_z, gap = int(rng.integers(2, 50)), float(rng.uniform(0.001, 1))
        d_t = int(rng.integers(1, d_z))
        root = bounds.gaussian_crossover(d_z, d_t, gap)
        ratio = (root - d_t - 1) / (root - d_z - 1)
        yield equal(np.log(ratio), 2 * gap, 1e-9)


def exact_table_excess(p: np.ndarray, n: int) -> float:
    """E KL of the add-one table after n rows of p[z, y], by the binomial law of each count."""
    items, counts = p.shape[1], np.arange(n + 1)
    p_z = np.minimum(p.sum(1), 1)  # the binomial law is not defined one rounding above 1
    cell = (binom.pmf(counts, n, p_z[:, None]) * np.log(counts + items)).sum(1)
    entry = (binom.pmf(counts, n, p[..., None]) * np.log(counts + 1)).sum(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(p > 0, p * np.log(p / p_z[:, None]), 0)
    return float((own + p * (cell[:, None] - entry)).sum())


@CHECKS.of("T11", "E excess of the add-one table <= |Z|(M-1)/(n+1)")
def _table(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(11)
    for _ in range(effort.models // 2):
        cells, items, n = int(rng.integers(1, 7)), int(rng.integers(2, 6)), int(rng.integers(0, 60))
        excess = exact_table_excess(random_joint(rng, cells, items), n)
        yield at_most(excess, bounds.table_excess(cells, items, n))
        yield at_most(0, excess)
    p = np.array([[0.4, 0.1], [0.1, 0.4]])
    enough = bounds.table_guarantee(2, 2, exact.mutual_information(p))
    yield at_most(exact_table_excess(p, enough), exact.mutual_information(p))


@CHECKS.of("H11b", "heuristic: excess and plug-in inflation near d/(2n)")
def _heuristic(effort: Effort) -> Iterator[Comparison]:
    rng, n = np.random.default_rng(12), 4000
    p = 0.5 * random_joint(rng, 4, 3) + 0.5 / 12
    half_dims = 4 * 2 / (2 * n)
    counts = np.arange(n + 1)
    inflation = [_plug_in_entropy(q, n, counts) for q in (p.sum(1), p.sum(0), p.reshape(-1))]
    plug_in = inflation[0] + inflation[1] - inflation[2]
    yield at_most(abs(exact_table_excess(p, n) / half_dims - 1), 0.1)
    yield at_most(abs((plug_in - exact.mutual_information(p)) / (3 * 2 / (2 * n)) - 1), 0.1)


def _plug_in_entropy(q: np.ndarray, n: int, counts: np.ndarray) -> float:
    return float((binom.pmf(counts, n, q[:, None]) * entr(counts / n)).sum())


@CHECKS.of("T12", "|E gap| <= sqrt(I(W;S)/(2n)), <= sqrt(2 CMI/n)")
def _generalisation(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(13)
    samples = np.array(list(product(range(3), repeat=3)))
    # n = 2 slots of two candidates
    pairs = np.array(list(product(range(3), repeat=4))).reshape(-1, 2, 2)
    masks = np.array(list(product(range(2), repeat=2)))
    for _ in range(effort.models // 4):
        p, loss, heat = rng.dirichlet(np.ones(3)), rng.random((4, 3)), np.exp(rng.uniform(-1, 5))
        weight = p[samples].prod(1)
        learner = _gibbs(loss[:, samples].mean(2).T, heat)
        gap = (weight[:, None] * learner * ((loss @ p)[None] - loss[:, samples].mean(2).T)).sum()
        nats = exact.mutual_information(weight[:, None] * learner)
        yield at_most(abs(gap), bounds.xu_raginsky(nats, 3))
        prior = p[pairs].prod((1, 2))
        cube, ghost = np.zeros((len(pairs), 4, 4)), 0.0
        for m, mask in enumerate(masks):
            train, test = pairs[:, [0, 1], mask], pairs[:, [0, 1], 1 - mask]
            picked = _gibbs(loss[:, train].mean(2).T, heat)
            cube[:, m] = prior[:, None] / 4 * picked
            worse = loss[:, test].mean(2).T - loss[:, train].mean(2).T
            ghost += float((cube[:, m] * worse).sum())
        nats = max(exact.conditional_mutual_information(cube), 0)
        yield at_most(abs(ghost), bounds.conditional_information_bound(nats, 2))


def _gibbs(risk: np.ndarray, heat: float) -> np.ndarray:
    p = np.exp(-heat * (risk - risk.min(1, keepdims=True)))
    return p / p.sum(1, keepdims=True)


@CHECKS.of("G1", "I(Y;Z^p|X~) <= min(R, I(Y;X|X~)); concave in R")
def _bottleneck(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(14)
    for seed in range(max(3, effort.models // 40)):
        p = random_joint(rng, 6, 4) * 0.9 + 0.1 / 24
        options = {"letters": 3, "seed": seed, "rounds": 100}
        points = [exact.bottleneck_point(p, trade=trade, **options) for trade in (1.5, 6.0)]
        for rate, kept, _ in points:
            yield at_most(kept, min(rate, exact.mutual_information(p)))
        # the coin is part of the letter
        shared = np.concatenate([0.3 * points[0][2], 0.7 * points[1][2]], axis=1)
        both = shared * p.sum(1)[:, None]
        kept = exact.mutual_information(both.T @ (p / p.sum(1, keepdims=True)))
        yield equal(kept, 0.3 * points[0][1] + 0.7 * points[1][1])
        yield equal(exact.mutual_information(both), 0.3 * points[0][0] + 0.7 * points[1][0])
        given = p.reshape(2, 3, 4)  # X~ = x // 3
        channel = points[1][2].reshape(2, 3, 3)
        letters = np.einsum("cxy,cxz->czy", given, channel)
        rate = exact.conditional_mutual_information(given.sum(2)[..., None] * channel)
        most = min(rate, exact.conditional_mutual_information(given))
        yield at_most(exact.conditional_mutual_information(letters), most)


@CHECKS.of("G2", "winner's curse and regret <= sqrt(log N/(2 n_v))")
def _selection(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(15)
    for _ in range(effort.models // 4):
        rows, arms = int(rng.integers(1, 8)), int(rng.integers(2, 4))
        means = rng.random(arms) if rng.random() < 0.5 else np.full(arms, 0.5)
        scores = np.array(list(product(range(rows + 1), repeat=arms)))
        weight = binom.pmf(scores, rows, means).prod(1)
        picked = scores.argmax(1)
        curse = weight @ (scores.max(1) / rows - means[picked])
        cap = bounds.selection_optimism(arms, rows)
        yield at_most(curse, cap)
        yield at_most(means.max() - weight @ means[picked], cap)
        entropy = float(entr(np.bincount(picked, weights=weight, minlength=arms)).sum())
        yield at_most(curse, bounds.selection_optimism_by_entropy(entropy, rows))


@CHECKS.of("G3", "KL(best of n) <= log n - (n-1)/n; gains")
def _best_of_n(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(16)
    for _ in range(effort.models):
        levels, n = int(rng.integers(2, 21)), int(rng.integers(1, 17))
        p = rng.dirichlet(np.ones(levels))
        upper = np.minimum(p.cumsum(), 1)
        best = np.diff(np.concatenate([[0], upper]) ** n)
        divergence = (best * np.log(np.where(best > 0, best / p, 1))).sum()
        yield at_most(divergence, bounds.best_of_n_kl(n))
        yield at_most(divergence, -np.log(p[-1]))
        gain = (best - p) @ np.linspace(0, 1, levels)
        yield at_most(gain, bounds.best_of_n_gain(n, sub_gaussian=0.5))
    for n in (2, 4, 8, 16):
        integral = -quad(lambda u, n=n: entr(n * u ** (n - 1)), 0, 1)[0]
        yield equal(integral, bounds.best_of_n_kl(n), 1e-8)
        verifier = rng.standard_normal((effort.repetitions * 4, n))
        true = 0.6 * verifier.max(1) + 0.8 * rng.standard_normal(len(verifier))
        error = true.std(ddof=1) / np.sqrt(len(true))
        yield within_errors(true.mean(), bounds.noisy_verifier_gain(n, 0.6), error)
