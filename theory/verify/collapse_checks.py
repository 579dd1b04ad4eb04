"""T1 to T3: identities of collapse, order and steps (parts 1 and 2)."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from theory import exact
from theory.estimators.entropies import codes
from theory.verify.comparison import Checks, Comparison, Effort, at_most, equal
from theory.verify.random_joints import random_joint

CHECKS = Checks()


@CHECKS.of("T1", "I(Y;Z|X) = I(Y;T|X) + L(T); L is the log-loss gap")
def _collapse(effort: Effort) -> Iterator[Comparison]:
    rng = np.random.default_rng(1)
    for _ in range(effort.models):
        x, z, y, t = 3, 5, 4, 3
        p = random_joint(rng, x, z, y)
        if rng.random() < 0.5:
            noisy = rng.dirichlet(np.full(t, 0.3), size=z)
        else:
            noisy = np.eye(t)[rng.integers(t, size=z)]
        full = p[:, :, None, :] * noisy[None, :, :, None]  # [x, z, t, y]
        collapsed = full.sum(1)
        kept = exact.conditional_mutual_information(collapsed)
        lost = exact.conditional_mutual_information(full.transpose(0, 2, 1, 3).reshape(x * t, z, y))
        yield equal(exact.conditional_mutual_information(p), kept + lost)
        with np.errstate(invalid="ignore"):  # a value of T that never occurs
            fine = np.log(p / p.sum(2, keepdims=True))[:, :, None]
            ratio = fine - np.log(collapsed / collapsed.sum(2, keepdims=True))[:, None]
        yield equal((full * np.where(full > 0, ratio, 0)).sum(), lost)
        entropies = [exact.conditional_entropy(joint.reshape(-1, y)) for joint in (collapsed, p)]
        yield equal(entropies[0] - entropies[1], lost)
        yield at_most(0, lost)


def order_models(count: int) -> list[exact.OrderChannel]:
    """Small order channels over all weights of order."""
    sizes = [(2, 3, 4), (3, 3, 6), (4, 3, 8), (3, 4, 5)]
    dials = [((i % 5) / 4, 0.02 + 0.3 * (i % 3) / 2) for i in range(count)]
    return [exact.OrderChannel(*sizes[i % 4], *dials[i], seed=i) for i in range(count)]


@CHECKS.of("T2", "I(Y;Z|X) - I(Y;S|X) = I(Y;Pi|S,X) <= E log(K!/prod m!)")
def _order_and_pool(effort: Effort) -> Iterator[Comparison]:
    for model in order_models(effort.models // 4):
        joint, multisets, sums = model.joint(), model.labels("multiset"), model.labels("sum")
        order, rows = model.order_information(), np.arange(len(joint))
        yield equal(order, _given(joint, multisets, rows))
        yield equal(_given(joint, sums, rows), order + _given(joint, sums, multisets))
        yield at_most(order, model.arrangement_entropy_cap())
        yield at_most(0, order)
    sure = exact.PermutationChannel(symbols=5, noise=0.2)
    yield equal(exact.mutual_information(sure.joint()), sure.information())


@CHECKS.of("C2a", "a fresh uniform shuffle keeps exactly I(Y;S)")
def _shuffle(effort: Effort) -> Iterator[Comparison]:
    for model in order_models(effort.models // 4):
        yield equal(model.information("shuffled"), model.information("multiset"))


@CHECKS.of("C2b", "the shuffle contrast is O + D0")
def _contrast(effort: Effort) -> Iterator[Comparison]:
    for model in order_models(effort.models // 4):
        joint, shuffled = model.joint(), model.joint("shuffled")
        biased, own = _divergence(joint, shuffled), _divergence(joint.sum(1), shuffled.sum(1))
        order = _given(joint, model.labels("multiset"), np.arange(len(joint)))
        yield equal(biased - own, order)
        yield at_most(order, biased)


@CHECKS.of("T3", "the chain rule over steps; prefixes never lose")
def _steps(effort: Effort) -> Iterator[Comparison]:
    for model in order_models(effort.models // 4):
        joint, z = model.joint(), model.sequences
        prefixes = [codes(z[:, :k]) for k in range(1, model.steps + 1)]
        none = np.zeros(len(z), dtype=int)
        terms = [_given(joint, before, after) for before, after in pairwise([none, *prefixes])]
        yield equal(np.sum(terms), model.information())
        yield at_most(0, terms)
    bits = np.array([[a, b] for a in range(2) for b in range(2)])
    synergy = np.eye(2)[bits.sum(1) % 2] / 4  # Y = exclusive or: no step alone informs
    for k in range(2):
        yield equal(_given(synergy, np.zeros(4, dtype=int), bits[:, k]), 0)
    yield equal(exact.mutual_information(synergy), np.log(2))


def _given(joint: np.ndarray, condition: np.ndarray, word: np.ndarray) -> float:
    """I(Y; word | condition), both functions of the row."""
    cube = np.zeros((condition.max() + 1, word.max() + 1, joint.shape[1]))
    np.add.at(cube, (condition, word), joint)
    return exact.conditional_mutual_information(cube)


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())
