"""T20 to T24, F11: what finite samples show, teach and certify."""

from itertools import product

import numpy as np
from scipy.special import digamma
from scipy.stats import betabinom, binom

from theory import bounds
from theory.bounds.finite_samples import sign_error
from theory.exact import OrderChannel, conditional_mutual_information, merge_rows
from theory.verify.comparison import Check, Comparison, Effort, at_most, equal, within_errors


def sample_checks() -> list[Check]:
    """The checks of part 7."""
    return [
        Check("T20", "|measured - true| recall; paired intervals", _measured),
        Check("T21", "no learner's excess log-loss is below the floor", _excess),
        Check("T22", "plug-in regret <= sqrt(C(k+1)/(n+1)); no learner below the floor", _recall),
        Check("T23", "n rows teach at most 1 - 2 err of an order gain", _share),
        Check("T24", "hits and scores certify gain and information without H(Y)", _certificates),
    ]


def unique_history_check() -> Check:
    """The check of F11."""
    return Check("F11", "unique histories: no sample certifies a gain", _unique)


def _measured(effort: Effort) -> list[Comparison]:
    rng, inverted, limits, outside = np.random.default_rng(40), [], [], []
    for _ in range(effort.models):
        users, readers = int(rng.integers(1, 9999)), int(rng.integers(1, 50))
        delta = float(rng.uniform(0.01, 0.5))
        width = bounds.recall_deviation(users, readers=readers, delta=delta)
        inverted.append(2 * readers * np.exp(-2 * users * width**2) / delta)
        hits, n = int(rng.integers(1, 60)), 60
        low, high = bounds.clopper_pearson(min(hits, n - 1), n, delta=delta)
        limits += [binom.sf(min(hits, n - 1) - 1, n, low) / delta]
        limits += [binom.cdf(min(hits, n - 1), n, high) / delta]
        only = rng.multinomial(300, [0.05, 0.03, 0.92])
        pair = bounds.paired_recall_interval(int(only[0]), int(only[1]), 300, delta=0.2)
        d = rng.choice([-1.0, 0, 1], size=300, p=[0.03, 0.92, 0.05])
        other = bounds.paired_ndcg_interval(d, delta=0.2)
        outside.append(sum(not low <= 0.02 <= high for low, high in (pair, other)) / 2)
    return [
        equal(inverted, 1, 1e-9),
        equal(limits, 1, 1e-7),
        at_most(np.mean(outside), 0.2),
    ]


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


def _excess(effort: Effort) -> list[Comparison]:
    floors, best, ceilings = [], [], []
    for cells, items, n in product((1, 4), (2, 5), (0, 10, 60)):
        floors.append(bounds.table_excess_floor(cells, items, n))
        alphas = np.geomspace(0.2, 20, 9)
        best.append(max(dirichlet_excess(items, n, 1 / cells, float(a)) for a in alphas))
        ceilings.append(bounds.table_excess(cells, items, n))
    loses = bounds.ordered_table_loses(256, 35, 8)
    crossing = [256 * 7 / (3 * (loses + 256 * 8)), 35 * 7 / (loses + 1)]
    return [
        at_most(floors, best),
        at_most(floors, ceilings),
        at_most(0.42, bounds.table_excess_floor(4, 5, 4000) / bounds.table_excess(4, 5, 4000)),
        equal(crossing[0], crossing[1], 1e-9),
        at_most(1e300, bounds.ordered_table_loses(6, 2, 3)),
    ]


def majority_error(n: int, chance: float, eps: float) -> float:
    """`sign_error` by summing over all sequences of outcomes."""
    total = 0.0
    for outcome in product((0, 1, 2), repeat=n):  # no row, a right one, a wrong one
        right, wrong = outcome.count(1), outcome.count(2)
        p = (1 - chance) ** outcome.count(0)
        p *= (chance * (1 + eps) / 2) ** right * (chance * (1 - eps) / 2) ** wrong
        total += p * (1.0 if wrong > right else 0.5 if wrong == right else 0.0)
    return total


def _recall(effort: Effort) -> list[Comparison]:
    rng, regrets, caps = np.random.default_rng(42), [], []
    for _ in range(max(8, effort.models // 10)):
        cells, items, n = int(rng.integers(1, 5)), 6, int(rng.integers(1, 200))
        k = int(rng.integers(1, 5))
        law = rng.dirichlet(np.ones(cells))[:, None] * rng.dirichlet(np.ones(items), size=cells)
        counts = rng.multinomial(n, law.reshape(-1), size=200).reshape(200, cells, items)
        chosen = np.argsort(-counts, axis=2, kind="stable")[:, :, :k]
        listed = np.take_along_axis(np.broadcast_to(law, counts.shape), chosen, 2).sum((1, 2))
        regrets.append(-np.sort(-law, axis=1)[:, :k].sum() - listed.mean())
        caps.append(bounds.table_regret(cells, k, n))
    cases = [(0, 0.5, 0.2), (3, 0.7, 0.4), (4, 0.4, 0.9), (5, 1.0, 0.3)]
    exact = [sign_error(*case) for case in cases]
    floor = bounds.table_regret_floor(256, 12, 3, 30_720)
    return [
        at_most(regrets, caps),
        equal(exact, [majority_error(*case) for case in cases]),
        at_most(np.sqrt(256 * 3 / 30_720) / 8, floor),
        equal(floor, 0.0268, 1e-3),
    ]


def _share(effort: Effort) -> list[Comparison]:
    rng, cells, k, n, eps = np.random.default_rng(43), 8, 2, 60, 0.3
    chance, repetitions = 2 / (cells * k), effort.repetitions
    rows = rng.binomial(n, chance, size=repetitions)
    right = rng.binomial(rows, (1 + eps) / 2)
    wins = np.where(2 * right == rows, 0.5, 2 * right > rows)
    kept = 2 * wins - 1  # a right sign gains eps, a wrong one loses it
    error = kept.std(ddof=1) / np.sqrt(repetitions)
    shares = [bounds.learned_share(256, 3, n, 0.2) for n in (2_000, 8_000, 32_000)]
    least = 256 * 3 / (8 * 0.2**2)
    return [
        within_errors(kept.mean(), bounds.learned_share(cells, k, n, eps), error),
        equal(shares, [0.345, 0.638, 0.933], 1e-3),
        at_most(bounds.learned_share(256, 3, int(least), 0.2), 0.5),
    ]


def _certificates(effort: Effort) -> list[Comparison]:
    model, k = OrderChannel(3, 3, 6, order_weight=0.8, noise=0.1, seed=2), 1
    joint, labels = model.joint(), model.labels("multiset")
    gain = bounds.strict_gain(joint, labels, k)
    cube = np.zeros((labels.max() + 1, len(joint), joint.shape[1]))
    cube[labels, np.arange(len(joint))] = joint
    nats, best = conditional_mutual_information(cube), model.channel.argmax(1)
    pooled = merge_rows(joint, labels)
    rng, draws, over = np.random.default_rng(44), max(20, effort.models // 4), []
    gains, informations, scores = [], [], []
    for _ in range(draws):
        rows = rng.choice(len(joint), size=1500, p=model.sequence_probabilities)
        items = (model.channel[rows].cumsum(1) < rng.random((1500, 1))).sum(1)
        hits = best[rows] == items
        sure = bounds.certify_gain(hits, labels[rows], items, k, confidence=0.9)
        gains.append(sure.gain_lower)
        informations.append(
            bounds.certify_information(hits, labels[rows], items, k, slope=2.0, confidence=0.9)
        )
        ratio = np.log(model.channel / joint.sum(0))
        pairs = ratio[rows[::2], items[1::2]]
        low, high = float(ratio.min()), float(ratio.max())
        limits = {"low": low, "high": high, "confidence": 0.9}
        scores.append(bounds.certify_scores(ratio[rows, items], pairs, **limits))
        over.append([gains[-1] > gain, informations[-1] > nats, scores[-1] > model.information()])
    return [
        at_most(np.mean(over, axis=0), 0.1),
        at_most(0.75 * gain, np.mean(gains)),  # and they are worth something
        at_most(0.25 * nats, np.mean(informations)),
        at_most(0.4 * model.information(), np.mean(scores)),
        at_most(pooled.max(1).sum(), sure.collapsed_upper),
    ]


def _unique(effort: Effort) -> list[Comparison]:
    rng, lowers, nats = np.random.default_rng(45), [], []
    for _ in range(10):
        targets = rng.integers(50, size=2000)
        hits = np.ones(2000, dtype=bool)  # a perfect reader, and every history its own
        labels = np.arange(2000)
        lowers.append(bounds.certify_gain(hits, labels, targets, 5).gain_lower)
        nats.append(bounds.certify_information(hits, labels, targets, 5))
    repeated = bounds.certify_gain(hits, np.mod(labels, 4), targets, 5).gain_lower
    return [at_most(lowers, 0), equal(nats, 0), at_most(0.5, repeated)]
