"""What usually comes next, and what a history holds most of: counts, vectorised over prefixes."""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from scoter.reasoning.catalogue.facets import Facet
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import View

LAG_DECAY = 0.5  # weight of an item relative to the next newer one
Best = Int[np.ndarray, "rows count"]
Successors = tuple[Best, Float[np.ndarray, "rows count"]]  # codes, best first, and strengths
_CHUNK = 2048  # rows at a time


def likely_next(
    view: View, statistics: FoldedStatistics, facet: Facet, count: int, window: int, new_only: bool
) -> Successors:
    """The codes of `facet` that other users' next items most often have, best first; and strengths.

    The score of a code is the sum, over the last `window` visible items and over the items with
    that code, of the cross-fitted transition count times LAG_DECAY ** (lag - 1). Ties go to the
    more popular code, then to the lower number. `new_only` leaves out the visible items.

    A code's strength is its score over the root of the sum of the row's scores, because counts
    scatter by their root. Where there is no code: -1, strength 0.
    """
    best = np.full((len(view), count), -1, np.int64)
    strength = np.zeros((len(view), count))
    folds = statistics.left_out(view.users, view.prefix_lengths)
    grouped, items = indicator(facet), statistics.item_count
    for fold in np.unique(folds):
        table = csr_array(statistics.transitions[fold] @ grouped)
        ties = _tie_breaks(statistics.popularity[fold] @ grouped)
        rows = np.flatnonzero(folds == fold)
        for chunk in np.split(rows, np.arange(_CHUNK, len(rows), _CHUNK)):
            scores = csr_array(visible(view.recent[chunk, :window], items, LAG_DECAY) @ table)
            if new_only:
                seen = visible(view.recent[chunk], items, 1.0)
                scores = csr_array(scores - scores.multiply(seen > 0))
            best[chunk], top = _best_columns(scores, ties, count)
            strength[chunk] = top / np.sqrt(np.maximum(scores.sum(axis=1), 1e-9))[:, None]
    return best, strength


def popular_in(
    view: View,
    statistics: FoldedStatistics,
    groups: Int[np.ndarray, " items"],
    chosen: Int[np.ndarray, " rows"],
    count: int,
) -> Best:
    """The most popular items, not visible in the row, of its group (-1: of the whole catalogue)."""
    best = np.full((len(view), count), -1, np.int64)
    folds = statistics.left_out(view.users, view.prefix_lengths)
    for fold, group in np.unique(np.stack([folds, chosen], axis=1), axis=0):
        rows = np.flatnonzero((folds == fold) & (chosen == group))
        members = np.arange(len(groups)) if group < 0 else np.flatnonzero(groups == group)
        order = np.argsort(-statistics.popularity[fold][members], kind="stable")
        candidates = members[order[: count + view.recent.shape[1]]]
        new = ~(candidates[None, :, None] == view.recent[rows][:, None, :]).any(axis=2)
        first = np.argsort(~new, axis=1, kind="stable")[:, :count]
        taken = np.where(np.take_along_axis(new, first, axis=1), candidates[first], -1)
        best[rows, : taken.shape[1]] = taken
    return best


def commonest(codes: Int[np.ndarray, "rows items"], count: int, least: int = 1) -> Best:
    """Each row's `count` most common codes, seen `least` times or more; the leftmost of a tie."""
    width = codes.shape[1]
    same = codes[:, :, None] == codes[:, None, :]
    first = ~(same & np.tri(width, k=-1, dtype=bool)).any(axis=2)
    votes = same.sum(axis=2, dtype=np.int16)
    counted = first & (codes >= 0) & (votes >= least)
    score = np.where(counted, votes * (width + 1) - np.arange(width), 0)
    order = np.argsort(-score, axis=1, kind="stable")[:, :count]
    best, top = (np.take_along_axis(values, order, axis=1) for values in (codes, score))
    missing = ((0, 0), (0, count - order.shape[1]))
    return np.pad(np.where(top > 0, best, -1), missing, constant_values=-1)


def indicator(facet: Facet) -> csr_array:
    """Which items (rows) have which code (column)."""
    items = np.flatnonzero(facet.codes >= 0)
    shape = (len(facet.codes), len(facet.labels))
    return csr_array((np.ones(len(items)), (items, facet.codes[items])), shape=shape)


def visible(recent: Int[np.ndarray, "rows lags"], item_count: int, decay: float) -> csr_array:
    """Each row's items, the newest with weight 1, each older one `decay` times that; -1 is none."""
    rows, lags = np.nonzero(recent >= 0)
    return csr_array((decay**lags, (rows, recent[rows, lags])), shape=(len(recent), item_count))


def _tie_breaks(popularity: Float[np.ndarray, " codes"]) -> Float[np.ndarray, " codes"]:
    """Less than any difference between scores: orders equal ones by popularity, then by number."""
    ranks = np.empty(len(popularity))
    ranks[np.argsort(-popularity, kind="stable")] = np.arange(len(popularity))
    return -1e-9 * ranks


def _best_columns(
    scores: csr_array, ties: Float[np.ndarray, " codes"], count: int
) -> tuple[Best, Float[np.ndarray, "rows count"]]:
    """The columns with the best scores, -1 where there are fewer, and these scores."""
    lengths = np.diff(scores.indptr)
    keys = np.where(scores.data > 1e-6, scores.data + ties[scores.indices], -np.inf)
    least = _largest(keys, scores.indptr, count)
    kept = np.flatnonzero((keys >= np.repeat(least, lengths)) & (keys > -np.inf))
    rows = np.repeat(np.arange(len(lengths)), lengths)[kept]
    order = np.lexsort((-keys[kept], rows))
    kept, rows = kept[order], rows[order]
    places = np.arange(len(rows)) - np.searchsorted(rows, rows)
    best, scored = np.full((len(lengths), count), -1), np.zeros((len(lengths), count))
    top = places < count
    kept, where = kept[top], (rows[top], places[top])
    best[where], scored[where] = scores.indices[kept], scores.data[kept]
    return best, scored


def _largest(
    values: Float[np.ndarray, " entries"], bounds: Int[np.ndarray, " rows_plus_1"], count: int
) -> Float[np.ndarray, " rows"]:
    """The `count`-th largest value of each row; minus infinity where it has no more than that.

    Rows of similar length are searched together, because what does not sort is many times faster.
    """
    lengths, found = np.diff(bounds), np.full(len(bounds) - 1, -np.inf)
    many = np.flatnonzero(lengths > count)
    classes = np.ceil(4 * np.log2(lengths[many]))
    for size in np.unique(classes):
        rows = many[classes == size]
        places = np.arange(lengths[rows].max())
        held = values[np.minimum(bounds[rows, None] + places, len(values) - 1)]
        held[places >= lengths[rows, None]] = -np.inf
        held.partition(len(places) - count, axis=1)
        found[rows] = held[:, -count]
    return found
