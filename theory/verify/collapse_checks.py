"""T1 to T3: identities of collapse, order and steps."""

from itertools import pairwise

import numpy as np

from theory import exact
from theory.estimators.entropies import codes
from theory.verify.comparison import Check, Comparison, Effort, at_most, equal
from theory.verify.random_joints import random_joint


def collapse_checks() -> list[Check]:
    """The checks of parts 1 and 2."""
    return [
        Check("T1", "I(Y;Z|X) = I(Y;T|X) + L(T); L is the log-loss gap", _collapse),
        Check("T2", "I(Y;Z|X) - I(Y;S|X) = I(Y;Pi|S,X) <= E log(K!/prod m!)", _order_and_pool),
        Check("C2a", "a fresh uniform shuffle keeps exactly I(Y;S)", _shuffle),
        Check("C2b", "the shuffle contrast is O + D0", _contrast),
        Check("T3", "the chain rule over steps; prefixes never lose", _steps),
    ]


def _collapse(effort: Effort) -> list[Comparison]:
    rng = np.random.default_rng(1)
    totals, parts, divergences, losses, gaps = [], [], [], [], []
    for _ in range(effort.models):
        x, z, y, t = 3, 5, 4, 3
        p = random_joint(rng, x, z, y)
        if rng.random() < 0.5:
            noisy = rng.dirichlet(np.full(t, 0.3), size=z)
        else:
            noisy = np.eye(t)[rng.integers(t, size=z)]
        full = p[:, :, None, :] * noisy[None, :, :, None]  # [x, z, t, y]
        collapsed = full.sum(1)
        totals.append(exact.conditional_mutual_information(p))
        kept = exact.conditional_mutual_information(collapsed)
        lost = exact.conditional_mutual_information(full.transpose(0, 2, 1, 3).reshape(x * t, z, y))
        parts.append(kept + lost)
        losses.append(lost)
        with np.errstate(invalid="ignore"):  # a value of T that never occurs
            fine = np.log(p / p.sum(2, keepdims=True))[:, :, None]
            ratio = fine - np.log(collapsed / collapsed.sum(2, keepdims=True))[:, None]
        divergences.append(float((full * np.where(full > 0, ratio, 0)).sum()))
        entropies = [exact.conditional_entropy(joint.reshape(-1, y)) for joint in (collapsed, p)]
        gaps.append(entropies[0] - entropies[1])
    equalities = [equal(totals, parts), equal(divergences, losses), equal(gaps, losses)]
    return [*equalities, at_most(0, losses)]


def order_models(count: int) -> list[exact.OrderChannel]:
    """Small order channels over all weights of order."""
    sizes = [(2, 3, 4), (3, 3, 6), (4, 3, 8), (3, 4, 5)]
    dials = [((i % 5) / 4, 0.02 + 0.3 * (i % 3) / 2) for i in range(count)]
    return [exact.OrderChannel(*sizes[i % 4], *dials[i], seed=i) for i in range(count)]


def _order_and_pool(effort: Effort) -> list[Comparison]:
    order, direct, caps, whole, parts = [], [], [], [], []
    for model in order_models(effort.models // 4):
        joint, multisets, sums = model.joint(), model.labels("multiset"), model.labels("sum")
        order.append(model.order_information())
        direct.append(_given(joint, multisets, np.arange(len(joint))))
        caps.append(model.arrangement_entropy_cap())
        whole.append(_given(joint, sums, np.arange(len(joint))))
        parts.append(order[-1] + _given(joint, sums, multisets))
    sure = exact.PermutationChannel(symbols=5, noise=0.2)
    closed = equal(exact.mutual_information(sure.joint()), sure.information())
    inequalities = [at_most(order, caps), at_most(0, order)]
    return [equal(order, direct), equal(whole, parts), *inequalities, closed]


def _shuffle(effort: Effort) -> list[Comparison]:
    models = order_models(effort.models // 4)
    shuffled, bags = ([m.information(view) for m in models] for view in ("shuffled", "multiset"))
    return [equal(shuffled, bags)]


def _contrast(effort: Effort) -> list[Comparison]:
    biased, order, own = [], [], []
    for model in order_models(effort.models // 4):
        joint, multisets = model.joint(), model.labels("multiset")
        shuffled = model.joint("shuffled")
        biased.append(_divergence(joint, shuffled))
        own.append(_divergence(joint.sum(1), shuffled.sum(1)))
        order.append(_given(joint, multisets, np.arange(len(joint))))
    return [equal(np.array(biased) - own, order), at_most(order, biased)]


def _steps(effort: Effort) -> list[Comparison]:
    comparisons = []
    for model in order_models(effort.models // 4):
        joint, z = model.joint(), model.sequences
        prefixes = [codes(z[:, :k]) for k in range(1, model.steps + 1)]
        none = np.zeros(len(z), dtype=int)
        terms = [_given(joint, before, after) for before, after in pairwise([none, *prefixes])]
        comparisons += [equal(np.sum(terms), model.information()), at_most(0, terms)]
    bits = np.array([[a, b] for a in range(2) for b in range(2)])
    synergy = np.eye(2)[bits.sum(1) % 2] / 4  # Y = exclusive or: no step alone informs
    alone = [_given(synergy, np.zeros(4, dtype=int), bits[:, k]) for k in range(2)]
    return [*comparisons, equal(alone, 0), equal(exact.mutual_information(synergy), np.log(2))]


def _given(joint: np.ndarray, condition: np.ndarray, word: np.ndarray) -> float:
    """I(Y; word | condition), both functions of the row."""
    cube = np.zeros((condition.max() + 1, word.max() + 1, joint.shape[1]))
    np.add.at(cube, (condition, word), joint)
    return exact.conditional_mutual_information(cube)


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())
