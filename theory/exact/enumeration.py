"""Information and Bayes decisions of finite joints by summation."""

import numpy as np
from scipy.special import entr

from theory.errors import require

_GAPS = 100_000  # numbers of labels that nothing has, beyond which memory runs out


def entropy(probabilities: np.ndarray) -> float:
    """Shannon entropy in nats of an array of probabilities of any shape.

    >>> round(entropy(np.full(4, 0.25)), 4) == round(float(np.log(4)), 4)
    True
    """
    return float(entr(_checked(probabilities)).sum())


def mutual_information(joint: np.ndarray) -> float:
    """I(W;Y) in nats of joint[w, y].

    >>> round(mutual_information(np.eye(2) / 2), 4)
    0.6931
    """
    require(np.ndim(joint) == 2, "I(W;Y) reads an array [w, y]", joint=np.shape(joint))
    joint = _checked(joint)
    return conditional_mutual_information(joint[None])


def conditional_mutual_information(joint: np.ndarray) -> float:
    """I(W;Y|C) in nats of joint[c, w, y].

    >>> conditional_mutual_information(np.full((2, 2, 2), 0.125))
    0.0
    """
    require(np.ndim(joint) == 3, "I(W;Y|C) reads an array [c, w, y]", joint=np.shape(joint))
    joint = _checked(joint)
    seen = joint > 0
    parts = [joint, *(joint.sum(axes, keepdims=True) for axes in ((1, 2), 2, 1))]
    # logs first, since a product of tiny margins is 0
    logs = [np.log(np.broadcast_to(part, joint.shape)[seen]) for part in parts]
    return float(joint[seen] @ (logs[0] + logs[1] - logs[2] - logs[3]))


def conditional_entropy(joint: np.ndarray) -> float:
    """H(Y|W) in nats of joint[w, y].

    >>> conditional_entropy(np.eye(2) / 2)
    0.0
    """
    require(np.ndim(joint) == 2, "H(Y|W) reads an array [w, y]", joint=np.shape(joint))
    joint = _checked(joint)
    return float(entr(joint).sum() - entr(joint.sum(1)).sum())


def merge_rows(joint: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Joint of (t(w), y) from joint[w, y] and labels[w] = t(w), numbered from 0.

    >>> merge_rows(np.eye(2) / 2, np.array([0, 0])).tolist()
    [[0.5, 0.5]]
    """
    joint, labels = np.asarray(joint, dtype=float), np.asarray(labels)
    each = labels.ndim == 1 and labels.dtype.kind in "iu" and 0 < len(labels) == len(joint)
    require(each, f"one whole number for each of {len(joint)} rows", labels=labels.shape)
    require(np.min(labels) >= 0, "numbers from 0", labels=int(np.min(labels)))
    gaps = "number them without gaps: np.unique(labels, return_inverse=True)[1]"
    require(np.max(labels) < len(joint) + _GAPS, gaps, labels=int(np.max(labels)))
    merged = np.zeros((int(np.max(labels)) + 1, joint.shape[1]))
    np.add.at(merged, labels, joint)
    return merged


def bayes_recall(joint: np.ndarray, k: int) -> float:
    """Recall@k of the best list given W.

    >>> bayes_recall(np.array([[0.5, 0.25, 0.25]]), 2)
    0.75
    """
    return float(_sorted_mass(joint, k).sum())


def bayes_ndcg(joint: np.ndarray, k: int) -> float:
    """NDCG@k of the best list given W, one relevant item.

    >>> bayes_ndcg(np.array([[0.5, 0.25, 0.25]]), 1)
    0.5
    """
    return float(_sorted_mass(joint, k).sum(0) @ (1 / np.log2(np.arange(1, k + 1) + 1)))


def _sorted_mass(joint: np.ndarray, k: int) -> np.ndarray:
    inside = np.ndim(joint) == 2 and 1 <= k <= joint.shape[1]
    require(inside, "needs joint[w, y] and 1 <= k <= items", k=k)
    return -np.sort(-_checked(joint), axis=1)[:, :k]


def _checked(probabilities: np.ndarray) -> np.ndarray:
    p = np.asarray(probabilities, dtype=float)
    require(np.all(p >= 0), "probabilities are >= 0", probabilities=float(p.min(initial=0)))
    require(abs(p.sum() - 1) < 1e-9, "probabilities sum to 1", probabilities=float(p.sum()))
    return p
