"""The default for numbers: copula, neighbours and a network, and whether they agree."""

from dataclasses import replace

import numpy as np
from scipy.linalg import qr

from theory.errors import PremiseError
from theory.estimators.answer import Answer, of_neighbours
from theory.estimators.copula import gaussian_information, normal_scores, student_copula
from theory.estimators.nearest_neighbour import conditional_ksg_terms, mixed_ksg_terms
from theory.estimators.residual import residual_terms

LOW, _ROWS = 4, 400  # most columns of x and y for neighbours; least rows for the network
_APART, _SURE, _LEAST = 0.1, 2.5, 0.04  # nats between families; standard errors; nats


def automatic(x: np.ndarray, y: np.ndarray, *, seed: int) -> Answer:
    """The copula's estimate, or the greatest of those that surely exceed it.

    The three families are a Student or normal copula, KSG on normal scores (up to four columns in
    all), and a network beyond the normal copula (from 400 rows). What each leaves out makes it too
    low rather than too high, so the greatest is taken, but only where it exceeds the copula by 2.5
    standard errors and .04 nats: the copula varies least. No bound, and no interval where the
    network is taken. `families` in the notes has all values. "disagreement" warns where no other
    family comes within .1 nats (the copula does not count beside the network, which starts at it),
    or where the joint law is not normal although the copula was taken as such.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((300, 1))
    >>> automatic(x, x**2 + rng.standard_normal((300, 1)), seed=0).notes["chosen"]
    'neighbours'
    """
    x, y = (_without_copies(normal_scores(side)) for side in (x, y))
    found: dict[str, Answer] = {}
    notes: dict[str, object] = {}
    try:
        found["copula"] = student_copula(x, y)
        found |= _network(x, y, seed) if len(x) >= _ROWS else {}
    except PremiseError as error:  # as where x and y share a column, or rows are few
        notes["refused"] = f"copula and network: {error}"
    few = x.shape[1] + y.shape[1] <= LOW
    if few or not found:
        found["neighbours"] = replace(of_neighbours(mixed_ksg_terms, x, y), interval=few)
    start = found.get("copula", found.get("neighbours"))
    assert start is not None
    surer = {
        name: answer
        for name, answer in found.items()
        if answer.error is not None
        and answer.value - start.value > max(_SURE * answer.error, _LEAST)
    }
    name = max(surer, key=lambda name: surer[name].value, default=next(iter(found)))
    chosen = found[name]
    values = {family: round(answer.value, 4) for family, answer in found.items()}
    notes |= {"chosen": name, "families": values, **start.notes}
    above = {name, "copula"} if name == "network" else {name}
    others = [value for family, value in values.items() if family not in above]
    compared = others or name == "network"
    if compared and chosen.value - max(others, default=-np.inf) > _APART:
        notes["disagreement"] = f"no other family comes within {_APART} nats"
    elif name == "copula" and start.notes["tail"] == "normal" and not _normal(np.c_[x, y]):
        notes["disagreement"] = "the joint law is not normal (Mardia): there may be more"
    return replace(chosen, notes=notes)


def automatic_given(x: np.ndarray, y: np.ndarray, cond: np.ndarray) -> Answer:
    """I(X;Y|C): of a normal copula where the joint law looks normal, else of neighbours.

    Neither is a bound, and the copula can err to both sides: what C does to both X and Y in another
    way than along a line, it takes for information. Beyond four columns neighbours see little; then
    the copula is kept, without an interval. "disagreement" warns there, and where the two are more
    than .1 nats apart.

    >>> rng = np.random.default_rng(0)
    >>> c, e, d = rng.standard_normal((3, 800, 1))
    >>> bool(abs(automatic_given(c**2 + e / 10, c**2 + d / 10, c).value) < 0.1)
    True
    """
    x, y, cond = (_without_copies(normal_scores(side)) for side in (x, y, cond))
    both, found, notes, normal = np.c_[x, y, cond], {}, {}, False
    try:
        value, terms = gaussian_information(x, y, cond)
        found["copula"] = Answer(value, terms, freedom=x.shape[1] * y.shape[1])
        normal = _normal(both)
    except PremiseError as error:
        notes["refused"] = f"copula: {error}"
    few = both.shape[1] <= LOW
    if few or not found:
        answer = of_neighbours(conditional_ksg_terms, x, y, cond)
        found["neighbours"] = replace(answer, interval=few)
    name = "neighbours" if "neighbours" in found and not normal else "copula"
    values = {family: round(answer.value, 4) for family, answer in found.items()}
    notes |= {"chosen": name, "families": values}
    if name == "copula" and not normal:
        found[name] = replace(found[name], interval=False)
        notes["disagreement"] = "the joint law is not normal (Mardia): there may be more, or less"
    elif max(values.values()) - min(values.values()) > _APART:
        notes["disagreement"] = f"families are more than {_APART} nats apart"
    return replace(found[name], notes=notes)


def _without_copies(scores: np.ndarray) -> np.ndarray:
    """The columns that are no combination of others, which add no information."""
    found = qr(scores, mode="r", pivoting=True)
    size = np.abs(np.diagonal(found[0]))
    return scores[:, np.sort(found[-1][: max(1, int((size > 1e-7 * size[0]).sum()))])]


def _network(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, Answer]:
    normal, _ = gaussian_information(x, y)
    both, law = residual_terms(x, y, seed=seed)
    gain = both - law
    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    value = normal + float(gain.mean())
    return {"network": Answer(value, both, error=error, interval=False)}


def _normal(both: np.ndarray) -> bool:
    """Whether Mardia's kurtosis is within four standard errors of a normal law's."""
    n, dims = both.shape
    centred = both - both.mean(0)
    inverse = np.linalg.inv(centred.T @ centred / n)
    kurtosis = (np.einsum("ni,ni->n", centred @ inverse, centred) ** 2).mean()
    expected = dims * (dims + 2) * (n - 1) / (n + 1)
    return bool(abs(kurtosis - expected) < 4 * np.sqrt(8 * dims * (dims + 2) / n))
