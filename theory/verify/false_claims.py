"""F1 to F10: each check reproduces the failure that it describes."""

from itertools import combinations_with_replacement, product

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from theory import bounds, exact
from theory.estimators.entropies import codes
from theory.estimators.nearest_neighbour import ksg
from theory.verify.collapse_checks import order_models
from theory.verify.comparison import Check, Comparison, Effort, at_most, equal
from theory.verify.learning_checks import crossover_case, simulated_risk


def false_claim_checks() -> list[Check]:
    """The table of false or vacuous claims."""
    return [
        Check("F1", "steps written from X alone: I(Y;Z|X) = 0, yet I(Y;Z|X~) > 0", _markov),
        Check("F2", "a generic (tagged) mean pool loses nothing", _injective_pool),
        Check("F3", "more information, equal recall", _no_recall),
        Check("F4", "more information raises the ceiling and the floor", _looser_ceiling),
        Check("F5", "at 12,101 items Fano is nearly vacuous", _vacuous_fano),
        Check("F6", "below n* the collapsed model is better", _small_sample),
        Check("F7", "usable information breaks data processing", _usable_information),
        Check("F8", "KSG breaks data processing; the plug-in inflates O", _estimators),
        Check("F9", "InfoNCE saturates at log N and the gap vanishes", _saturation),
        Check("F10", "targets of low order, or settled by the last step", _low_order),
    ]


def _markov(effort: Effort) -> list[Comparison]:
    rng, given_all, given_part = np.random.default_rng(21), [], []
    for _ in range(effort.models // 4):
        p_x = rng.dirichlet(np.ones(8))
        steps, items = (rng.dirichlet(np.full(size, 0.3), size=8) for size in (5, 4))
        cube = p_x[:, None, None] * steps[:, :, None] * items[:, None, :]
        given_all.append(exact.conditional_mutual_information(cube))
        given_part.append(exact.conditional_mutual_information(cube.reshape(2, 4, 5, 4).sum(1)))
    return [equal(given_all, 0), at_most(1e-4, given_part), at_most(0.05, np.mean(given_part))]


def _injective_pool(effort: Effort) -> list[Comparison]:
    rng, comparisons = np.random.default_rng(22), []
    for model in order_models(max(5, effort.models // 20)):
        words = rng.standard_normal((model.alphabet, 2))
        tags = rng.standard_normal((model.steps, 2))
        pool = words[model.sequences].mean(1)
        # step times position tag, summed
        tagged = np.einsum("nkd,ke->nde", words[model.sequences], tags).reshape(len(pool), -1)
        multisets = len(list(combinations_with_replacement(range(model.alphabet), model.steps)))
        seen, bags = np.unique(np.round(pool, 9), axis=0, return_inverse=True)
        comparisons.append(equal(len(seen), multisets))
        distinct, rows = np.unique(np.round(tagged, 9), axis=0, return_inverse=True)
        comparisons.append(equal(len(distinct), len(model.sequences)))
        comparisons.append(equal(_information_of(model, bags), model.information("multiset")))
        comparisons.append(equal(_information_of(model, rows), model.information("ordered")))
    return comparisons


def _information_of(model: exact.OrderChannel, labels: np.ndarray) -> float:
    joint = np.zeros((labels.max() + 1, model.items))
    np.add.at(joint, labels.reshape(-1), model.joint())
    return exact.mutual_information(joint)


def _no_recall(effort: Effort) -> list[Comparison]:
    sure = np.array([[0.9, 0.1], [0.6, 0.4]]) / 2  # Z moves the posterior, item 0 stays on top
    model = exact.OrderChannel(4, 4, 16, order_weight=0.25, noise=0.1, seed=3)
    return [
        at_most(0.06, exact.mutual_information(sure)),
        equal(sure.max(1).sum(), sure.sum(0).max()),
        at_most(0.1, model.order_information()),
        equal(model.recall(1, "ordered"), model.recall(1, "multiset")),
    ]


def _looser_ceiling(effort: Effort) -> list[Comparison]:
    entropies = np.linspace(0, np.log(50), 200)
    ceilings = bounds.fano_ceiling(entropies, items=50, k=5)
    floors = bounds.recall_floor(entropies, items=50, k=5)
    higher, lower = at_most(ceilings[1:], ceilings[:-1]), at_most(floors[1:], floors[:-1])
    return [higher, lower, at_most(ceilings[-1] + 0.5, ceilings[50])]


def _vacuous_fano(effort: Effort) -> list[Comparison]:
    catalogue = {"items": 12_101, "k": 10}
    ceiling, floor = bounds.fano_ceiling(8.0, **catalogue), bounds.recall_floor(8.0, **catalogue)
    step = bounds.fano_ceiling(7.9, **catalogue) - ceiling
    entropies = np.linspace(0, 8, 4001)
    needed = 8.0 - entropies[bounds.recall_floor(entropies, **catalogue) > ceiling].max()
    return [
        equal([floor, ceiling, step], [0.0034, 0.281, 0.016], 5e-4),
        at_most(4.4, needed),
        at_most(bounds.recall_cap(floor, 0.1), ceiling),
    ]


def _small_sample(effort: Effort) -> list[Comparison]:
    chain, fine, coarse, crossing = crossover_case()
    n = (int(crossing) + 6) // 2
    exact = at_most(bounds.least_squares_risk(n, 1, coarse), bounds.least_squares_risk(n, 4, fine))
    few = simulated_risk(chain, n, "mean", effort.repetitions, seed=26)
    many = simulated_risk(chain, n, "ordered", effort.repetitions, seed=26)
    return [exact, at_most(few[0] + 2 * (few[1] + many[1]), many[0])]


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


def _usable_information(effort: Effort) -> list[Comparison]:
    pairs = np.array(list(product(range(4), repeat=2)))
    label = (pairs[:, 0] == pairs[:, 1]).astype(float)
    one_hot = np.eye(4)[pairs]
    steps, pool = one_hot.reshape(16, 8), one_hot.max(1)
    ordered, pooled = usable_information(steps, label), usable_information(pool, label)
    nested = usable_information(np.concatenate([steps, pool], axis=1), label)
    most = at_most(pooled, float(bounds.binary_entropy(0.25)))
    return [equal(ordered, 0, 1e-9), at_most(0.56, pooled), most, at_most(0.56, nested)]


def _estimators(effort: Effort) -> list[Comparison]:
    chain = exact.GaussianChain(weights=(0.25, 0.5, 0.75, 1.0), rho=0.3, dims=3)
    fine, coarse = chain.information("ordered").value, chain.information("mean").value
    comparisons = [at_most(coarse + 0.2, fine)]
    for seed in range(3):
        z, y = chain.sample(800, seed=seed)
        ordered, pooled = ksg(z.reshape(len(z), -1), y), ksg(z.mean(1), y)
        comparisons += [at_most(ordered, pooled), at_most(ordered, fine - 0.2)]
    model = exact.OrderChannel(3, 3, 6, order_weight=0.3, noise=0.3, seed=1)
    inflated = []
    for seed in range(20):
        z, y = model.sample(200, seed=seed)
        words = z @ 3 ** np.arange(3)
        inflated.append(_counted(words, y) - _counted(codes(np.sort(z, 1)), y))
    mean = at_most(model.order_information() + 0.05, np.mean(inflated))
    return [*comparisons, at_most(0, inflated), mean]


def _counted(words: np.ndarray, y: np.ndarray) -> float:
    table = np.zeros((words.max() + 1, y.max() + 1))
    np.add.at(table, (words, y), 1)
    return exact.mutual_information(table / table.sum())


def _saturation(effort: Effort) -> list[Comparison]:
    rng, batch = np.random.default_rng(29), 16
    terms = {}
    for nats in (1.0, 8.0, 10.0):
        r = np.sqrt(-np.expm1(-2 * nats))
        x = rng.standard_normal((max(effort.repetitions // 10, 50), batch))
        y = r * x + np.sqrt(1 - r**2) * rng.standard_normal(x.shape)
        residual = y[:, None] - r * x[..., None]
        critic = -(residual**2) / (2 * (1 - r**2)) + y[:, None] ** 2 / 2  # the true log ratio
        scores = np.diagonal(critic, axis1=1, axis2=2) - logsumexp(critic, axis=2) + np.log(batch)
        terms[nats] = scores
    low, high, higher = (scores.mean() for scores in terms.values())
    capped = [at_most(scores, np.log(batch)) for scores in terms.values()]
    saturated = [at_most(abs(higher - high), 0.1), at_most(np.log(batch) - 0.1, high)]
    return [*capped, *saturated, at_most(low, 1.0)]


def _low_order(effort: Effort) -> list[Comparison]:
    plain = [
        exact.OrderChannel(3, 3, 6, order_weight=0.0, noise=0.1, seed=seed) for seed in range(5)
    ]
    equal_weights = exact.GaussianChain(weights=(0.5,) * 3, rho=0.0)
    last_only = exact.GaussianChain(weights=(0.0, 0.0, 1.0), rho=0.4)
    settled = exact.PermutationChannel(symbols=4, noise=0.2)
    by_step = np.stack([settled.joint()[settled.sequences[:, 0] == a].sum(0) for a in range(4)])
    return [
        equal([model.order_information() for model in plain], 0),
        equal(equal_weights.information("multiset", n=200).value, _pointwise(equal_weights, 200)),
        equal(last_only.information("last").value, last_only.information("ordered").value),
        # one step has it all, though O > 0
        equal(exact.mutual_information(by_step), settled.information("ordered")),
        at_most(0.1, settled.information("ordered") - settled.information("multiset")),
    ]


def _pointwise(chain: exact.GaussianChain, n: int) -> float:
    z, y = chain.sample(n, seed=0)
    total, noise = chain.signal_variance + chain.noise_variance, chain.noise_variance
    residual = y - z[..., 0] @ np.array(chain.weights)
    return float(np.mean(0.5 * (y**2 / total - residual**2 / noise + np.log(total / noise))))
