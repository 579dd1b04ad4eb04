"""T20 to T24: what finite samples show, teach and certify (part 7)."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from scipy.special import digamma
from scipy.stats import betabinom, binom

from theory import bounds
from theory.bounds.finite_samples import sign_error
from theory.exact import OrderChannel, conditional_mutual_information, merge_rows
from theory.verify.comparison import Checks, Comparison, Effort, at_most, equal, within_errors

CHECKS = Checks()


@CHECKS.of("T20", "|measured - true| recall; paired intervals")
def _measured(effort: Effort) -> Iterator[Comparison]:
    rng, outside = np.random.default_rng(40), []
    for _ in range(effort.models):
        users, readers = int(rng.integers(1, 9999)), int(rng.integers(1, 50))
        delta = float(rng.uniform(0.01, 0.5))
        width = bounds.recall_deviation(users, readers=readers, delta=delta)
        yield equal(2 * readers * np.exp(-2 * users * width**2) / delta, 1, 1e-9)
        hits, n = int(rng.integers(1, 60)), 60
        low, high = bounds.clopper_pearson(hits, n, delta=delta)
        yield equal(binom.sf(hits - 1, n, low) / delta, 1, 1e-7)
        yield equal(binom.cdf(hits, n, high) / delta, 1, 1e-7)
        only = rng.multinomial(300, [0.05, 0.03, 0.92])
        pair = bounds.paired_recall_interval(int(only[0]), int(only[1]), 300, delta=0.2)
        d = rng.choice([-1.0, 0, 1], size=300, p=[0.03, 0.92, 0.05])
        other = bounds.paired_ndcg_interval(d, delta=0.2)
        outside.append(sum(not low <= 0.02 <= high for low, high in (pair, other)) / 2)
    yield at_most(np.mean(outside), 0.2)


def dirichlet_excess(items: int, n: int, chance: float, alpha: float) -> float:
    """Expected excess log-loss of the best learner of one cell: Dirichlet(alpha), Bin(n) rows."""
    rows = np.arange(n + 1)
    total = rows + items * alpha
    value = -(digamma(total + 1) - np.log(total))
    for size in rows:
        counts = np.arange(size + 1)
        law = betabinom.pmf(counts, size, alpha, (items - 1) * alpha)
        a = counts + alpha
        value[size] += items * float(law @ (a / total[size] * (digamma(a + 1) - np.log(a))))
    return float(binom.pmf(rows, n, chance) @ value)


@CHECKS.of("T21", "no learner's excess log-loss is below the floor")
def _excess(effort: Effort) -> Iterator[Comparison]:
    for cells, items, n in product((1, 4), (2, 5), (0, 10, 60)):
        floor, alphas = bounds.table_excess_floor(cells, items, n), np.geomspace(0.2, 20, 9)
        yield at_most(floor, max(dirichlet_excess(items, n, 1 / cells, float(a)) for a in alphas))
        yield at_most(floor, bounds.table_excess(cells, items, n))
    yield at_most(0.42, bounds.table_excess_floor(4, 5, 4000) / bounds.table_excess(4, 5, 4000))
    loses = bounds.ordered_table_loses(256, 35, 8)
    yield equal(256 * 7 / (3 * (loses + 256 * 8)), 35 * 7 / (loses + 1), 1e-9)
    yield at_most(1e300, bounds.ordered_table_loses(6, 2, 3))


def majority_error(n: int, chance: float, eps: float) -> float:
    """`sign_error` by summing over all sequences of outcomes."""
    total = 0.0
    for outcome in product((0, 1, 2), repeat=n):  # no row, a right one, a wrong one
        right, wrong = outcome.count(1), outcome.count(2)
        p = (1 - chance) ** outcome.count(0)
        p *= (chance * (1 + eps) / 2) ** right * (chance * (1 - eps) / 2) ** wrong
        total += p * (1.0 if wrong > right else 0.5 if wrong == right else 0.0)
    return total


@CHECKS.of("T22", "plug-in regret <= sqrt(C(k+1)/(n+1)); no learner below the floor")
def _recall(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(42)
    for _ in range(max(8, effort.models // 10)):
        cells, items, n = int(rng.integers(1, 5)), 6, int(rng.integers(1, 200))
        k = int(rng.integers(1, 5))
        law = rng.dirichlet(np.ones(cells))[:, None] * rng.dirichlet(np.ones(items), size=cells)
        counts = rng.multinomial(n, law.reshape(-1), size=200).reshape(200, cells, items)
        chosen = np.argsort(-counts, axis=2, kind="stable")[:, :, :k]
        listed = np.take_along_axis(np.broadcast_to(law, counts.shape), chosen, 2).sum((1, 2))
        regret = -np.sort(-law, axis=1)[:, :k].sum() - listed.mean()
        yield at_most(regret, bounds.table_regret(cells, k, n))
    for case in ((0, 0.5, 0.2), (3, 0.7, 0.4), (4, 0.4, 0.9), (5, 1.0, 0.3)):
        yield equal(sign_error(*case), majority_error(*case))
    floor = bounds.table_regret_floor(256, 12, 3, 30_720)
    yield at_most(np.sqrt(256 * 3 / 30_720) / 8, floor)
    yield equal(floor, 0.0268, 1e-3)


@CHECKS.of("T23", "n rows teach at most 1 - 2 err of an order gain")
def _share(effort: Effort) -> Iterator[Comparison]:
    rng, cells, k, n, eps = np.random.default_rng(43), 8, 2, 60, 0.3
    chance, repetitions = 2 / (cells * k), effort.repetitions
    rows = rng.binomial(n, chance, size=repetitions)
    right = rng.binomial(rows, (1 + eps) / 2)
    wins = np.where(2 * right == rows, 0.5, 2 * right > rows)
    kept = 2 * wins - 1  # a right sign gains eps, a wrong one loses it
    error = kept.std(ddof=1) / np.sqrt(repetitions)
    yield within_errors(kept.mean(), bounds.learned_share(cells, k, n, eps), error)
    for n, share in ((2_000, 0.345), (8_000, 0.638), (32_000, 0.933)):
        yield equal(bounds.learned_share(256, 3, n, 0.2), share, 1e-3)
    least = 256 * 3 / (8 * 0.2**2)
    yield at_most(bounds.learned_share(256, 3, int(least), 0.2), 0.5)


@CHECKS.of("T24", "hits and scores certify gain and information without H(Y)")
def _certificates(effort: Effort) -> Iterator[Comparison]:
    model, k = OrderChannel(3, 3, 6, order_weight=0.8, noise=0.1, seed=2), 1
    joint, labels = model.joint(), model.labels("multiset")
    gain = bounds.strict_gain(joint, labels, k)
    cube = np.zeros((labels.max() + 1, len(joint), joint.shape[1]))
    cube[labels, np.arange(len(joint))] = joint
    nats, best = conditional_mutual_information(cube), model.channel.argmax(1)
    pooled = merge_rows(joint, labels)
    rng, truth, certified = np.random.default_rng(44), [gain, nats, model.information()], []
    for _ in range(max(20, effort.models // 4)):
        rows = rng.choice(len(joint), size=1500, p=model.sequence_probabilities)
        items = (model.channel[rows].cumsum(1) < rng.random((1500, 1))).sum(1)
        hits = best[rows] == items
        sure = bounds.certify_gain(hits, labels[rows], items, k, confidence=0.9)
        options = {"slope": 2.0, "confidence": 0.9}
        information = bounds.certify_information(hits, labels[rows], items, k, **options)
        ratio = np.log(model.channel / joint.sum(0))
        pairs = ratio[rows[::2], items[1::2]]
        limits = {"low": float(ratio.min()), "high": float(ratio.max()), "confidence": 0.9}
        score = bounds.certify_scores(ratio[rows, items], pairs, **limits)
        certified.append([sure.gain_lower, information, score])
    yield at_most(np.mean(np.array(certified) > truth, axis=0), 0.1)
    # and they are worth something
    yield at_most(np.array([0.75, 0.25, 0.4]) * truth, np.mean(certified, axis=0))
    yield at_most(pooled.max(1).sum(), sure.collapsed_upper)
