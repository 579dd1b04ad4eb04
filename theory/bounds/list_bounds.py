"""The best recall of a list, from a conditional entropy: ceiling (T5) and floor (T6)."""

from functools import lru_cache
from typing import Any

import numpy as np

from theory.errors import Numbers, numbers, require, whole

_MOST = 2**53  # items that a float counts


def fano_ceiling(conditional_entropy: Numbers, *, items: int, k: int) -> Any:
    """Highest recall@k of any decoder at this H(Y|W) in nats (T5, list Fano).

    Premises: 1 <= k < items and 0 <= H(Y|W) <= log items. H must be the entropy itself or a lower
    bound of it: a cross-entropy is an upper bound and certifies no ceiling (T9).

    >>> round(float(fano_ceiling(8.0, items=12_101, k=10)), 3)
    0.281
    """
    whole(2, _MOST, items=items)
    entropy = numbers(0, float(np.log(items)), conditional_entropy=conditional_entropy)
    low, high = np.zeros_like(entropy), np.full_like(entropy, 1 - k / items)
    # g_k increases on [0, 1 - k/M]; the lower end keeps the ceiling valid under rounding
    for _ in range(80):
        middle = (low + high) / 2
        below = fano_entropy(middle, items=items, k=k) < entropy
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return _like(conditional_entropy, np.where(entropy <= np.log(k), 1.0, 1 - low))


def fano_entropy(error: Numbers, *, items: int, k: int) -> Any:
    """g_k(e) = h(e) + e log(M-k) + (1-e) log k: the largest H(Y|W) at error e.

    >>> bool(np.isclose(fano_entropy(1 - 3 / 10, items=10, k=3), np.log(10)))
    True
    """
    whole(2, _MOST, items=items)
    whole(1, items - 1, k=k)
    error = numbers(0, 1, error=error)
    return binary_entropy(error) + error * np.log(items - k) + (1 - error) * np.log(k)


def recall_ceiling_weak(conditional_entropy: Numbers, *, items: int, k: int) -> Any:
    """The looser closed form of T5: 1 - (H - log 2 - log k) / log((M-k)/k).

    >>> round(float(recall_ceiling_weak(8.0, items=12_101, k=10)), 3)
    0.295
    """
    whole(1, k=k)
    whole(2, _MOST, items=items)
    require(items > 2 * k, f"the weak form needs items > 2k = {2 * k}", items=items)
    entropy = numbers(0, float(np.log(items)), conditional_entropy=conditional_entropy)
    error = (entropy - np.log(2) - np.log(k)) / np.log((items - k) / k)
    return _like(conditional_entropy, np.minimum(1 - error, 1))


def recall_floor(conditional_entropy: Numbers, *, items: int, k: int) -> Any:
    """Lowest Bayes recall@k at this H(Y|W), or at an upper bound of it (T6, Feder-Merhav).

    Premises: 1 <= k < items, H >= 0. Above log items the floor is that of chance, k / items.

    >>> round(float(recall_floor(8.0, items=12_101, k=10)), 4)
    0.0034
    """
    entropy = numbers(0, np.inf, conditional_entropy=conditional_entropy)
    errors, entropies = list_envelope(items, k)
    return _like(conditional_entropy, 1 - np.interp(entropy, entropies, errors))


@lru_cache(maxsize=256)
def list_envelope(items: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (error, entropy) of phi_k, the lower convex envelope of T6, in rising order.

    >>> errors, entropies = list_envelope(8, 1)
    >>> float(errors[1]), round(float(entropies[1]), 4)
    (0.5, 0.6931)
    """
    whole(2, items=items)
    whole(1, items - 1, k=k)
    sizes = np.arange(k + 1, items + 1)
    points = [(0.0, 0.0), *zip((1 - k / sizes).tolist(), np.log(sizes).tolist(), strict=True)]
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    vertices = np.array(hull)
    vertices.setflags(write=False)  # it is kept, and callers share it
    return vertices[:, 0], vertices[:, 1]


def hellman_raviv_constant(k: int, *, items: int | None = None) -> float:
    """c_k with error@k <= c_k H(Y|W) (T6), for a catalogue of `items`, or for every size when None.

    >>> [round(hellman_raviv_constant(k), 4) for k in (1, 5, 10, 20)]
    [0.7213, 0.2504, 0.2045, 0.1741]
    """
    whole(1, np.inf if items is None else items - 1, k=k)
    most = 40 * k + 40 if items is None else items  # the maximum lies near 6k
    sizes = np.arange(k + 1, most + 1)
    return float(np.max((1 - k / sizes) / np.log(sizes)))


def binary_entropy(p: Numbers) -> Any:
    """h(p) = -p log p - (1-p) log(1-p) in nats.

    >>> round(float(binary_entropy(0.25)), 4)
    0.5623
    """
    from scipy.special import entr

    p = numbers(0, 1, p=p)
    return entr(p) + entr(1 - p)


def _turns_down(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0


def _like(argument: Numbers, values: Any) -> Any:
    return float(values) if np.ndim(argument) == 0 else values
