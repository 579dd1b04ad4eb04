"""T4 to T9: recall and NDCG against information, on random joints and extremals (part 3)."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from theory import bounds
from theory.exact import bayes_ndcg, bayes_recall, conditional_entropy, entropy
from theory.verify.comparison import Checks, Comparison, Effort, at_most, equal
from theory.verify.random_joints import (
    batch_conditional_entropy,
    batch_recall,
    joint_batches,
    merge_pairs,
    random_joint,
)

CHECKS = Checks()


@CHECKS.of("T4", "R_k(Z) >= R_k(T)")
def _decisions(effort: Effort) -> Iterator[Comparison]:
    for p, k in joint_batches(4, effort.joints):
        yield at_most(batch_recall(merge_pairs(p), k), batch_recall(p, k))


@CHECKS.of("T5", "R_k <= C_k(H(Y|W)), attained")
def _ceiling(effort: Effort) -> Iterator[Comparison]:
    for p, k in joint_batches(5, effort.joints):
        items, recalls = p.shape[2], batch_recall(p, k)
        entropies = np.maximum(batch_conditional_entropy(p), 0)
        yield at_most(recalls, bounds.fano_ceiling(entropies, items=items, k=k))
        if items > 2 * k:
            yield at_most(recalls, bounds.recall_ceiling_weak(entropies, items=items, k=k))
    for items, k in ((5, 1), (12, 3), (100, 10), (12, 8)):  # the posterior that attains it
        for error in np.linspace(0.01, 0.95, 20) * (1 - k / items):
            p = np.repeat([(1 - error) / k, error / (items - k)], [k, items - k])
            yield equal(bounds.fano_ceiling(entropy(p), items=items, k=k), 1 - error)


@CHECKS.of("T6", "R_k >= F_k(H(Y|W)), attained")
def _floor(effort: Effort) -> Iterator[Comparison]:
    for p, k in joint_batches(6, effort.joints):
        items, recalls = p.shape[2], batch_recall(p, k)
        entropies = np.maximum(batch_conditional_entropy(p), 0)
        yield at_most(bounds.recall_floor(entropies, items=items, k=k), recalls)
        yield at_most(1 - recalls, bounds.hellman_raviv_constant(k, items=items) * entropies)
    for items, k in ((5, 1), (12, 3), (100, 10)):  # time-sharing between two vertices attains it
        errors, _ = bounds.list_envelope(items, k)
        for left, right in pairwise(errors):
            small, large = round(k / (1 - left)) if left > 0 else 1, round(k / (1 - right))
            shared = np.stack([0.3 * _uniform(small, items), 0.7 * _uniform(large, items)])
            floor = bounds.recall_floor(conditional_entropy(shared), items=items, k=k)
            yield equal(floor, bayes_recall(shared, k))


@CHECKS.of("T7", "d(R_k(Z) || R_k(T)) <= I(Y;Z|T)")
def _cap(effort: Effort) -> Iterator[Comparison]:
    for p, k in joint_batches(7, effort.joints):
        collapsed = merge_pairs(p)
        lost = batch_conditional_entropy(collapsed) - batch_conditional_entropy(p)
        information = np.maximum(lost, 0)
        fine, coarse = batch_recall(p, k), batch_recall(collapsed, k)
        gain = np.maximum(fine, coarse)  # equal up to rounding where nothing is gained
        yield at_most(bounds.binary_kl(gain, coarse), information)
        yield at_most(gain, bounds.recall_cap(coarse, information), 1e-9)
        yield at_most(gain - coarse, np.sqrt(information / 2), 1e-9)


@CHECKS.of("C7a", "a lift certifies I(Y;Z|T) >= d(r || R_T)")
def _lift(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(77)
    for p, k in joint_batches(77, effort.joints // 10):
        collapsed = merge_pairs(p)
        information = batch_conditional_entropy(collapsed) - batch_conditional_entropy(p)
        coarse = batch_recall(collapsed, k)
        order = np.argsort(-p * np.exp(0.5 * rng.standard_normal(p.shape)), axis=2)
        noisy = np.take_along_axis(p, order[:, :, :k], axis=2)
        reached = np.minimum(noisy.sum((1, 2)), 1.0)  # any decoder of Z, not the best one
        for r, base, nats in zip(reached, coarse, information, strict=True):
            if r >= base:
                yield at_most(bounds.certified_information(float(r), float(base)), nats)
    yield equal(bounds.certified_information(0.0648 * 1.0375, 0.0648), 4.8e-5, 1e-6)


@CHECKS.of("T8", "NDCG is a non-negative sum of recalls")
def _ndcg(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(8)
    for _ in range(effort.models):
        p, k = random_joint(rng, 4, 9), int(rng.integers(1, 9))
        recalls = np.minimum([bayes_recall(p, r) for r in range(1, k + 1)], 1.0)
        ndcg = bayes_ndcg(p, k)
        yield equal(ndcg, bounds.ndcg_from_recalls(recalls))
        below = np.minimum.accumulate((recalls * rng.random(k))[::-1])[::-1]
        above = np.maximum.accumulate(recalls + (1 - recalls) * rng.random(k))
        yield at_most(bounds.ndcg_from_recalls(below), ndcg)
        yield at_most(ndcg, bounds.ndcg_from_recalls(above))


@CHECKS.of("T9", "a cross-entropy certifies I >= H(Y) - CE, and no difference")
def _cross_entropy(effort: Effort) -> Iterator[Comparison]:
    rng, bias = np.random.default_rng(9), []
    for _ in range(effort.models):
        p = random_joint(rng, 6, 5)
        q, q_collapsed = rng.dirichlet(np.ones(5), size=6), rng.dirichlet(np.ones(5), size=3)
        loss, conditional = float(-(p * np.log(q)).sum()), conditional_entropy(p)
        yield at_most(conditional, loss)
        yield at_most(entropy(p.sum(0)) - loss, entropy(p.sum(0)) - conditional)
        collapsed = merge_pairs(p[None])[0]
        difference = float(-(collapsed * np.log(q_collapsed)).sum()) - loss
        bias.append(difference - (conditional_entropy(collapsed) - conditional))
    yield at_most(min(bias), -0.01)
    yield at_most(0.01, max(bias))


def _uniform(size: int, items: int) -> np.ndarray:
    return np.where(np.arange(items) < size, 1 / size, 0.0)
