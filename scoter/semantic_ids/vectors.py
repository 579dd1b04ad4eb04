"""The vectors that semantic IDs are made from: items' texts, training co-occurrence, or both."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32
from scipy.sparse import csr_matrix

from scoter.config import SemanticIdConfig, TextConfig
from scoter.errors import ConfigError, closest
from scoter.seeding import derive_seed
from scoter.semantic_ids.assign import Vectors
from scoter.storage.sentence_vectors import item_texts
from scoter.types import Catalog, InteractionLog

COOCCURRENCE_DIM = 128
TEXT_COLUMNS = (*TextConfig.fields, "description")  # that a catalogue may lack
WINDOW = 5  # events of one user at most so far apart are a pair


def text_fields(catalog: Catalog, wanted: tuple[str, ...]) -> list[str]:
    """The wanted columns that hold something; a machine-made `phrase` only in place of a title."""
    for name in wanted:
        if name not in catalog.columns and name not in TEXT_COLUMNS:
            known = [*catalog.columns]
            choice = f"the catalogue has {', '.join(known) or 'no columns'}{closest(name, known)}"
            raise ConfigError(f"text.fields names {name!r}, and {choice}")
    fields = [name for name in wanted if catalog.has(name)]
    return [name for name in fields if name != "phrase" or "title" not in fields]


def vector_source(config: SemanticIdConfig, fields: list[str]) -> str:
    """`text`, `cooccurrence` or `text+cooccurrence`: what `config.source` comes to here."""
    if config.source == "auto":
        return "text" if fields else "cooccurrence"
    if config.source == "text+cooccurrence" and not fields:
        return "cooccurrence"
    return config.source


def item_vectors(
    train: InteractionLog,
    catalog: Catalog,
    config: SemanticIdConfig,
    fields: list[str],
    encode: Callable[[list[str]], Float32[np.ndarray, "sentences dim"]],
) -> Float32[np.ndarray, "items dim"]:
    """One vector per item; co-occurrence is counted in the training log alone."""
    source = vector_source(config, fields)
    text = encode(item_texts(catalog, fields)) if "text" in source else None
    if text is not None and source == "text":
        return text.astype(np.float32)
    seed = derive_seed(0, "cooccurrence")
    near = cooccurrence_vectors(train, catalog.item_count, COOCCURRENCE_DIM, seed)
    if text is None:
        return directions(near).astype(np.float32)
    return beside(text, near, config.cooccurrence_weight)


def cooccurrence_vectors(
    train: InteractionLog, item_count: int, dim: int, seed: int
) -> Float32[np.ndarray, "items kept"]:
    """Rank-`dim` factor U sqrt(S) of the items' positive pointwise mutual information (`ppmi`).

    An item that never appears beside another has the zero vector. Source: Levy and Goldberg 2014,
    Neural word embedding as implicit matrix factorization, section 3.3.
    """
    from sklearn.utils.extmath import randomized_svd  # half a second that answers do not need

    matrix = ppmi(train, item_count)
    left, values, _ = randomized_svd(matrix, min(dim, item_count), random_state=seed % 2**32)
    return (left * np.sqrt(values)).astype(np.float32)


def beside(
    text: Float[np.ndarray, "items text_dim"], cooccurrence: Vectors, weight: float
) -> Float32[np.ndarray, "items both"]:
    """Text and `directions` of co-occurrence as one vector, the second times `weight`.

    Each is centred and scaled to a root mean square norm of 1 first.
    """
    parts = [_unit(text - text.mean(axis=0)), weight * _unit(directions(cooccurrence))]
    return np.concatenate(parts, axis=1).astype(np.float32)


def directions(cooccurrence: Vectors) -> Vectors:
    """Each item's vector at unit norm, then centred; zeros for an item that is beside no other.

    The norm grows with popularity, and k-means on it puts most of a large catalogue into one cell.
    """
    norms = np.linalg.norm(cooccurrence, axis=1, keepdims=True)
    known = norms[:, 0] > 0
    unit = cooccurrence / np.where(norms > 0, norms, 1)
    return np.where(known[:, None], unit - unit[known].mean(axis=0), 0) if known.any() else unit


def _unit(centred: Vectors) -> Vectors:
    return centred / max(float(np.sqrt(np.square(centred).sum(axis=1).mean())), 1e-12)


def ppmi(train: InteractionLog, item_count: int, window: int = WINDOW) -> csr_matrix:
    """max(0, log(n_ij n / (n_i n_j))) in nats, items by items, symmetric.

    n_ij counts the pairs of events of one user at most `window` events apart whose items are i and
    j, in both orders; n_i and n are its sums. Pairs of an item with itself do not count.
    """
    shape = (item_count, item_count)
    user = np.repeat(np.arange(train.user_count, dtype=np.int32), train.lengths)
    pairs = csr_matrix(shape)
    for gap in range(1, window + 1):  # all gaps' pairs at once would be many times the log
        left, right = train.items[:-gap], train.items[gap:]
        near = (user[gap:] == user[:-gap]) & (left != right)
        left, right = left[near].astype(np.int32), right[near].astype(np.int32)
        pairs += csr_matrix((np.ones(len(left)), (left, right)), shape=shape)
    counts = (pairs + pairs.T).tocoo()
    counts.sum_duplicates()
    totals = np.bincount(counts.row, counts.data, minlength=item_count)
    ratios = counts.data * counts.data.sum() / (totals[counts.row] * totals[counts.col])
    information = np.log(ratios)
    kept = information > 0
    return csr_matrix((information[kept], (counts.row[kept], counts.col[kept])), shape=shape)
