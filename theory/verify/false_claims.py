"""F1 to F11: each check reproduces the failure that it describes."""

from collections.abc import Iterator
from itertools import combinations_with_replacement, product

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from theory import bounds, exact
from theory.estimators.entropies import codes
from theory.estimators.nearest_neighbour import ksg
from theory.verify.collapse_checks import order_models
from theory.verify.comparison import Checks, Comparison, Effort, at_most, equal
from theory.verify.learning_checks import crossover_case, simulated_risk

CHECKS = Checks()


@CHECKS.of("F1", "steps written from X alone: I(Y;Z|X) = 0, yet I(Y;Z|X~) > 0")
def _markov(effort: Effort) -> Iterator[Comparison]:
    rng, given_part = np.random.default_rng(21), []
    for _ in range(effort.models // 4):
        p_x = rng.dirichlet(np.ones(8))
        steps, items = (rng.dirichlet(np.full(size, 0.3), size=8) for size in (5, 4))
        cube = p_x[:, None, None] * steps[:, :, None] * items[:, None, :]
        yield equal(exact.conditional_mutual_information(cube), 0)
        given_part.append(exact.conditional_mutual_information(cube.reshape(2, 4, 5, 4).sum(1)))
    yield at_most(1e-4, given_part)
    yield at_most(0.05, np.mean(given_part))


@CHECKS.of("F2", "a generic (tagged) mean pool loses nothing")
def _injective_pool(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(22)
    for model in order_models(max(5, effort.models // 20)):
        words = rng.standard_normal((model.alphabet, 2))
        tags = rng.standard_normal((model.steps, 2))
        pool = words[model.sequences].mean(1)
        # step times position tag, summed
        tagged = np.einsum("nkd,ke->nde", words[model.sequences], tags).reshape(len(pool), -1)
        multisets = len(list(combinations_with_replacement(range(model.alphabet), model.steps)))
        seen, bags = np.unique(np.round(pool, 9), axis=0, return_inverse=True)
        yield equal(len(seen), multisets)
        distinct, rows = np.unique(np.round(tagged, 9), axis=0, return_inverse=True)
        yield equal(len(distinct), len(model.sequences))
        for labels, view in ((bags, "multiset"), (rows, "ordered")):
            merged = exact.merge_rows(model.joint(), labels.reshape(-1))
            yield equal(exact.mutual_information(merged), model.information(view))


@CHECKS.of("F3", "more information, equal recall")
def _no_recall(effort: Effort) -> Iterator[Comparison]:
    sure = np.array([[0.9, 0.1], [0.6, 0.4]]) / 2  # Z moves the posterior, item 0 stays on top
    model = exact.OrderChannel(4, 4, 16, order_weight=0.25, noise=0.1, seed=3)
    yield at_most(0.06, exact.mutual_information(sure))
    yield equal(sure.max(1).sum(), sure.sum(0).max())
    yield at_most(0.1, model.order_information())
    yield equal(model.recall(1, "ordered"), model.recall(1, "multiset"))


@CHECKS.of("F4", "more information raises the ceiling and the floor")
def _looser_ceiling(effort: Effort) -> Iterator[Comparison]:
    entropies = np.linspace(0, np.log(50), 200)
    ceilings = bounds.fano_ceiling(entropies, items=50, k=5)
    floors = bounds.recall_floor(entropies, items=50, k=5)
    yield at_most(ceilings[1:], ceilings[:-1])
    yield at_most(floors[1:], floors[:-1])
    yield at_most(ceilings[-1] + 0.5, ceilings[50])


@CHECKS.of("F5", "at 12,101 items Fano is nearly vacuous")
def _vacuous_fano(effort: Effort) -> Iterator[Comparison]:
    catalogue = {"items": 12_101, "k": 10}
    ceiling, floor = bounds.fano_ceiling(8.0, **catalogue), bounds.recall_floor(8.0, **catalogue)
    step = bounds.fano_ceiling(7.9, **catalogue) - ceiling
    entropies = np.linspace(0, 8, 4001)
    needed = 8.0 - entropies[bounds.recall_floor(entropies, **catalogue) > ceiling].max()
    yield equal([floor, ceiling, step], [0.0034, 0.281, 0.016], 5e-4)
    yield at_most(4.4, needed)
    yield at_most(bounds.recall_cap(floor, 0.1), ceiling)


@CHECKS.of("F6", "below n* the collapsed model is better")
def _small_sample(effort: Effort) -> Iterator[Comparison]:
    chain, fine, coarse, crossing = crossover_case()
    n = (int(crossing) + 6) // 2
    yield at_most(bounds.least_squares_risk(n, 1, coarse), bounds.least_squares_risk(n, 4, fine))
    few = simulated_risk(chain, n, "mean", effort.repetitions, seed=26)
    many = simulated_risk(chain, n, "ordered", effort.repetitions, seed=26)
    yield at_most(few[0] + 2 * (few[1] + many[1]), many[0])


def usable_information(features: np.ndarray, label: np.ndarray) -> float:
    """V-information in nats of a linear logistic decoder; the convex loss gives its infimum."""
    x = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    sign = 2.0 * label - 1

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ w)
        gradient = -(x * (sign * expit(-margin))[:, None]).mean(0)
        return float(np.logaddexp(0, -margin).mean()), gradient

    start, options = np.zeros(x.shape[1]), {"maxiter": 2000, "ftol": 1e-16, "gtol": 1e-10}
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    return float(bounds.binary_entropy(label.mean())) - float(fitted.fun)


@CHECKS.of("F7", "usable information breaks data processing")
def _usable_information(effort: Effort) -> Iterator[Comparison]:
    pairs = np.array(list(product(range(4), repeat=2)))
    label = (pairs[:, 0] == pairs[:, 1]).astype(float)
    one_hot = np.eye(4)[pairs]
    steps, pool = one_hot.reshape(16, 8), one_hot.max(1)
    pooled = usable_information(pool, label)
    yield equal(usable_information(steps, label), 0, 1e-9)
    yield at_most(0.56, pooled)
    yield at_most(pooled, float(bounds.binary_entropy(0.25)))
    yield at_most(0.56, usable_information(np.concatenate([steps, pool], axis=1), label))


@CHECKS.of("F8", "KSG breaks data processing; the plug-in inflates O")
def _estimators(effort: Effort) -> Iterator[Comparison]:
    chain = exact.GaussianChain(weights=(0.25, 0.5, 0.75, 1.0), rho=0.3, dims=3)
    fine, coarse = chain.information("ordered").value, chain.information("mean").value
    yield at_most(coarse + 0.2, fine)
    for seed in range(3):
        z, y = chain.sample(800, seed=seed)
        ordered, pooled = ksg(z.reshape(len(z), -1), y), ksg(z.mean(1), y)
        yield at_most(ordered, pooled)
        yield at_most(ordered, fine - 0.2)
    model = exact.OrderChannel(3, 3, 6, order_weight=0.3, noise=0.3, seed=1)
    inflated = []
    for seed in range(20):
        z, y = model.sample(200, seed=seed)
        words = z @ 3 ** np.arange(3)
        inflated.append(_counted(words, y) - _counted(codes(np.sort(z, 1)), y))
    yield at_most(0, inflated)
    yield at_most(model.order_information() + 0.05, np.mean(inflated))


def _counted(words: np.ndarray, y: np.ndarray) -> float:
    table = np.zeros((words.max() + 1, y.max() + 1))
    np.add.at(table, (words, y), 1)
    return exact.mutual_information(table / table.sum())


@CHECKS.of("F9", "InfoNCE saturates at log N and the gap vanishes")
def _saturation(effort: Effort) -> Iterator[Comparison]:
    rng, batch, means = np.random.default_rng(29), 16, []
    for nats in (1.0, 8.0, 10.0):
        r = np.sqrt(-np.expm1(-2 * nats))
        x = rng.standard_normal((max(effort.repetitions // 10, 50), batch))
        y = r * x + np.sqrt(1 - r**2) * rng.standard_normal(x.shape)
        residual = y[:, None] - r * x[..., None]
        critic = -(residual**2) / (2 * (1 - r**2)) + y[:, None] ** 2 / 2  # the true log ratio
        scores = np.diagonal(critic, axis1=1, axis2=2) - logsumexp(critic, axis=2) + np.log(batch)
        yield at_most(scores, np.log(batch))
        means.append(scores.mean())
    low, high, higher = means
    yield at_most(abs(higher - high), 0.1)
    yield at_most(np.log(batch) - 0.1, high)
    yield at_most(low, 1.0)


@CHECKS.of("F10", "targets of low order, or settled by the last step")
def _low_order(effort: Effort) -> Iterator[Comparison]:
    for seed in range(5):
        model = exact.OrderChannel(3, 3, 6, order_weight=0.0, noise=0.1, seed=seed)
        yield equal(model.order_information(), 0)
    equal_weights = exact.GaussianChain(weights=(0.5,) * 3, rho=0.0)
    yield equal(equal_weights.information("multiset", n=200).value, _pointwise(equal_weights, 200))
    last_only = exact.GaussianChain(weights=(0.0, 0.0, 1.0), rho=0.4)
    yield equal(last_only.information("last").value, last_only.information("ordered").value)
    settled = exact.PermutationChannel(symbols=4, noise=0.2)
    by_step = np.stack([settled.joint()[settled.sequences[:, 0] == a].sum(0) for a in range(4)])
    # one step has it all, though O > 0
    yield equal(exact.mutual_information(by_step), settled.information("ordered"))
    yield at_most(0.1, settled.information("ordered") - settled.information("multiset"))


def _pointwise(chain: exact.GaussianChain, n: int) -> float:
    z, y = chain.sample(n, seed=0)
    total, noise = chain.signal_variance + chain.noise_variance, chain.noise_variance
    residual = y - z[..., 0] @ np.array(chain.weights)
    return float(np.mean(0.5 * (y**2 / total - residual**2 / noise + np.log(total / noise))))


@CHECKS.of("F11", "unique histories: no sample certifies a gain")
def _unique(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(45)
    for _ in range(10):
        targets = rng.integers(50, size=2000)
        hits = np.ones(2000, dtype=bool)  # a perfect reader, and every history its own
        labels = np.arange(2000)
        yield at_most(bounds.certify_gain(hits, labels, targets, 5).gain_lower, 0)
        yield equal(bounds.certify_information(hits, labels, targets, 5), 0)
    yield at_most(0.5, bounds.certify_gain(hits, np.mod(labels, 4), targets, 5).gain_lower)
