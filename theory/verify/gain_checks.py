"""T13 to T19: strict gain and exact range of recall, against search over all lists (part 6)."""

from collections.abc import Callable, Iterator
from itertools import combinations, permutations

import numpy as np
from scipy.optimize import linprog
from scipy.special import entr, rel_entr

from theory import bounds
from theory.bounds.list_rate import ListRate, RankingRate
from theory.exact import bayes_ndcg, bayes_recall, merge_rows, mutual_information
from theory.verify.comparison import Checks, Comparison, Effort, at_most, equal
from theory.verify.random_joints import random_joint

CHECKS = Checks()


@CHECKS.of("T13", "R_k(Z) - R_k(T) = E[V_k(p_Z) - p_Z(L_T)]; > 0 iff no common list")
def _strict(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(33)
    for case in range(effort.models):
        items = int(rng.integers(2, 6))
        k = int(rng.integers(1, items + 1))
        joint, labels = random_joint(rng, 6, items), rng.integers(3, size=6)
        if case % 3 == 0:  # few distinct posteriors, so that ties and common lists are frequent
            laws = rng.permuted(np.tile([4.0, 3, 3, 1, 1], (2, 1))[:, :items], axis=1)
            joint = laws[rng.integers(2, size=6)] * rng.random(6)[:, None]
            joint /= joint.sum()
        labels = np.unique(labels, return_inverse=True)[1]
        collapsed = merge_rows(joint, labels)
        gain, ndcg_gain = (f(joint, labels, k) for f in (bounds.strict_gain, bounds.ndcg_gain))
        yield equal(gain, bayes_recall(joint, k) - bayes_recall(collapsed, k))
        yield equal(ndcg_gain, bayes_ndcg(joint, k) - bayes_ndcg(collapsed, k))
        yield equal(gain > 1e-11, not _has_common_list(joint, labels, k))


def _has_common_list(joint: np.ndarray, labels: np.ndarray, k: int) -> bool:
    """Whether each collapsed value has a list that is optimal for every row of it, by search."""
    lists = list(combinations(range(joint.shape[1]), k))
    masses = np.stack([joint[:, list(items)].sum(1) for items in lists], axis=1)
    optimal = masses >= masses.max(1, keepdims=True) - 1e-12
    return all(optimal[labels == label].all(0).any() for label in np.unique(labels))


@CHECKS.of("T14", "G <= I/(2m), <= sqrt(I/2); pairs give a floor")
def _size(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(34)
    for _ in range(effort.models):
        joint, k = random_joint(rng, 4, 5), int(rng.integers(1, 5))
        gain = bounds.strict_gain(joint, np.zeros(4, dtype=int), k)
        order = np.argsort(-joint.sum(0))
        p = joint.sum(0)[order]
        margin = min(p[k - 1] - p[k], 1.0)
        yield at_most(gain, bounds.margin_gain_cap(mutual_information(joint), margin))
        pair = joint[:, order[k - 1 : k + 1]]
        mass, seen = pair.sum(), pair.sum(1) > 0
        uncertainty = entr(pair[seen] / mass).sum() - entr(pair[seen].sum(1) / mass).sum()
        share = min(pair[:, 1].sum() / mass, 0.5)
        yield at_most(bounds.pair_gain_floor(min(mass, 1.0), share, max(uncertainty, 0)), gain)
    rare = np.array([[0.5051, 0.4849], [0.0049, 0.0051]])
    nats, gain = mutual_information(rare), bounds.strict_gain(rare, np.zeros(2, int), 1)
    yield at_most(bounds.margin_gain_cap(nats, 0.02), 1.02 * gain)  # within 2 % of an example


@CHECKS.of("T15", "regret <= min(sqrt(2KL), KL/(2m_q), 2KL/m_p)")
def _regret(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(35)
    for _ in range(effort.models * 5):
        items = int(rng.integers(2, 6))
        p, q = rng.dirichlet(np.full(items, 2.0), size=2)
        q = p + rng.random() ** 3 * (q - p)
        k = int(rng.integers(1, items))
        chosen = np.argsort(-q)[:k]
        regret = max(-np.sort(-p)[:k].sum() - p[chosen].sum(), 0)
        margins = [-np.diff(-np.sort(-law))[k - 1] for law in (q, p)]
        reader, true = (float(abs(margin)) for margin in margins)
        nats = float(rel_entr(p, q).sum())
        cap = bounds.reader_regret(nats, reader_margin=reader, true_margin=true)
        yield at_most(regret, cap + 1e-15)
    near, true = np.array([0.501, 0.499]), np.array([0.4, 0.6])
    tight = float(rel_entr(true, near).sum())
    yield at_most(bounds.reader_regret(tight), 1.02 * 0.2)  # regret .2: sqrt(2 KL) nearly met


def _cases(effort: Effort, seed: int) -> Iterator[tuple[np.ndarray, int, float]]:
    rng = np.random.default_rng(seed)
    for _ in range(max(6, effort.models // 40)):
        items = int(rng.integers(3, 6))
        law, k = rng.dirichlet(np.full(items, 2.0)), int(rng.integers(1, items))
        yield law, k, float(np.exp(rng.uniform(-2, 2)))


def _blahut_arimoto(p: np.ndarray, gains: np.ndarray, s: float) -> tuple[float, float]:
    """Below and above max over laws v of sum_y p_y log sum_L v_L e^(s gain), by its fixed point."""
    tilted = np.exp(s * gains)
    law = np.full(tilted.shape[1], 1 / tilted.shape[1])
    for _ in range(10_000):
        step = p @ (tilted / (tilted @ law)[:, None])
        if step.max() - 1 < 1e-12:
            break
        law = law * step
    value = float(p @ np.log(tilted @ law))
    return value, value + float(np.log(step.max()))


def _between(value: float, low: float, high: float) -> list[Comparison]:
    return [at_most(low, value, 1e-9), at_most(value, high, 1e-9), at_most(high - low, 1e-5)]


@CHECKS.of("T16", "max recall at I is inf_s (I + F(s))/s")
def _rate(effort: Effort) -> Iterator[Comparison]:
    for p, k, s in _cases(effort, 36):
        lists = list(combinations(range(len(p)), k))
        gains = np.array([[float(item in items) for items in lists] for item in range(len(p))])
        rate, law, most = ListRate(p, k), np.sort(p)[::-1], np.sort(p)[-k:].sum()
        energy, included = rate.free_energy(s), rate.inclusion(s)
        yield from _between(energy, *_blahut_arimoto(law, gains, s))
        yield equal(law @ np.log1p(np.expm1(s) * included), energy, 1e-9)
        outside = [included.sum() - k, min(included.min(), 0), max(included.max() - 1, 0)]
        yield equal(outside, 0, 1e-9)
        nats = 0.2 * float(entr(p).sum())
        reached = rate.ceiling(nats)
        yield equal(rate.rate(reached) if reached < 1 else nats, nats, 1e-8)
        yield equal(rate.ceiling(0.0), most)
        yield at_most(reached, bounds.recall_cap(float(min(most, 1)), nats), 1e-9)
    zipf = 1 / np.arange(1, 13) / (1 / np.arange(1, 13)).sum()
    yield from _below_ceiling(effort, 46, bayes_recall, bounds.list_rate_ceiling)
    yield equal(bounds.list_rate_ceiling(zipf, 3, 0.088), 0.677756, 1e-6)
    yield equal(bounds.list_rate(zipf, 3, 0.677756), 0.088, 1e-6)


def _below_ceiling(
    effort: Effort,
    seed: int,
    bayes: Callable[[np.ndarray, int], float],
    ceiling: Callable[[np.ndarray, int, float], float],
) -> Iterator[Comparison]:
    """What the best lists of random joints reach, below the ceiling at their information."""
    rng = np.random.default_rng(seed)
    for _ in range(effort.models // 10):
        joint, k = random_joint(rng, 5, 6), int(rng.integers(1, 6))
        nats = max(mutual_information(joint), 0)
        yield at_most(bayes(joint, k), ceiling(joint.sum(0), k, nats), 1e-10)


@CHECKS.of("T17", "I >= d(r||Q_k) - KL(p||Q) for every law Q; T5 and T7 are two")
def _references(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(37)
    for p, k, s in _cases(effort, 37):
        p = np.sort(p)[::-1]
        rate, c = ListRate(p, k), np.expm1(s)
        inclusion = rate.inclusion(s)
        listed = np.exp(s) * inclusion / (1 + c * inclusion)  # P(y in L | y) at the optimum
        recall = float(min(p @ listed, 1.0))
        optimal = p / (1 + c * inclusion)
        needed = rate.rate(recall)
        for law in (np.full(len(p), 1 / len(p)), p, rng.dirichlet(np.ones(len(p)))):
            yield at_most(_referred(p, recall, law, k), needed, 1e-8)
        yield equal(_referred(p, recall, optimal / optimal.sum(), k), needed, 1e-8)


def _referred(p: np.ndarray, recall: float, law: np.ndarray, k: int) -> float:
    """d(r || Q_k) - KL(p || Q) of a law Q whose list does not reach the recall, else 0."""
    top = float(min(np.sort(law)[-k:].sum(), 1.0))
    return float(bounds.binary_kl(recall, top) - rel_entr(p, law).sum()) if recall >= top else 0.0


@CHECKS.of("T18", "max NDCG at I is inf_s (I + F^N(s))/s")
def _ranking_rate(effort: Effort) -> Iterator[Comparison]:
    for p, k, s in _cases(effort, 38):
        rankings = list(permutations(range(len(p)), k))
        discounts = 1 / np.log2(np.arange(1, k + 1) + 1)
        gains = np.array(
            [
                [discounts[items.index(item)] if item in items else 0.0 for items in rankings]
                for item in range(len(p))
            ]
        )
        rate = RankingRate(p, k)
        yield from _between(rate.free_energy(s), *_blahut_arimoto(np.sort(p)[::-1], gains, s))
        recalls = [ListRate(p, size).ceiling(0.1) for size in range(1, k + 1)]
        nested = bounds.ndcg_from_recalls(np.maximum.accumulate(recalls))
        yield at_most(rate.ceiling(0.1), nested, 1e-9)
    yield from _below_ceiling(effort, 48, bayes_ndcg, bounds.ndcg_rate_ceiling)


@CHECKS.of("T19", "min recall at I is a linear program")
def _floor(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(39)
    for _ in range(max(6, effort.models // 40)):
        items = int(rng.integers(3, 6))
        p, k = rng.dirichlet(np.ones(items)), int(rng.integers(1, items))
        entropy = float(entr(p).sum())
        nats = float(rng.random()) * entropy
        sets = [s for size in range(1, items + 1) for s in combinations(range(items), size)]
        uniform = np.array([[(y in s) / len(s) for s in sets] for y in range(items)])
        sizes = np.array([len(s) for s in sets])
        discounts = (1 / np.log2(np.arange(1, k + 1) + 1)).cumsum()
        for floor, cost in (
            (bounds.list_rate_floor, np.minimum(1, k / sizes)),
            (bounds.ndcg_rate_floor, discounts[np.minimum(sizes, k) - 1] / sizes),
        ):
            program = linprog(cost, np.log(sizes)[None], [entropy - nats], uniform, p)
            yield equal(floor(p, k, nats), program.fun, 1e-9)
    for _ in range(effort.models // 10):
        joint, k = random_joint(rng, 5, 6), int(rng.integers(1, 6))
        nats = min(max(mutual_information(joint), 0), float(entr(joint.sum(0)).sum()))
        yield at_most(bounds.list_rate_floor(joint.sum(0), k, nats), bayes_recall(joint, k), 1e-9)
        yield at_most(bounds.ndcg_rate_floor(joint.sum(0), k, nats), bayes_ndcg(joint, k), 1e-9)
