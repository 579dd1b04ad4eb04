"""Which catalogue item, if any, a language model means by the name that it wrote.

The paper leaves grounding open. Here the score of an item for a name is

    lexical * (cosine of tf-idf weighted character 3- and 4-grams) + (1 - lexical) * (cosine of
    sentence embeddings)

so that a misspelt title is found by its letters and a paraphrase by its meaning. The best item is
meant if its score reaches `least`; otherwise the name is *ungrounded*, and never guessed.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from scoter.errors import ConfigError, DataError
from scoter.reasoning.catalogue.reasoner import RECOMMENDS
from scoter.reasoning.chains.table import ChainTable
from scoter.reasoning.discovery.validate import Encode

LEAST = 0.5
"""Between two measured groups (2,500 Beauty names, all-MiniLM-L6-v2, lexical 0.5, 250 names a
group, one draw). Names with three words in ten dropped, one letter in twelve mistyped, or only the
first four words kept score above .52 in at least 95 of 100 cases; their best item is the right one
in 97, 100 and 88. Products of two other shops (Toys, Sports) score below .45 in 99 of 100. Limit:
Beauty products that are *not* among these 2,500 names score .56 in the median, and are grounded in
the nearest one."""

CLOSE_TO = "The recommendation is close to {}."

Chains = Int[np.ndarray, " chains"]
Ranked = Int[np.ndarray, "chains k"]
_BATCH = 256


def target_ranks(ranked: Ranked, targets: Chains) -> Chains:
    """The 1-based place of each chain's target among its items, k + 1 where it is not among them.

    >>> target_ranks(np.array([[4, 7, -1], [4, -1, -1]]), np.array([7, 5])).tolist()
    [2, 4]
    """
    hits = ranked == targets[:, None]
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, ranked.shape[1] + 1)


class Grounding:
    """A catalogue's names, indexed for look-up.

    `item_vectors` are the names' embeddings by `encode`; `lexical` is the weight of the lexical
    match and `least` the score from which on a name is grounded, both in [0, 1].

    >>> shop = ["Lumi red lipstick", "Aster rose soap"]
    >>> blind = lambda texts: np.zeros((len(texts), 2))
    >>> grounding = Grounding(shop, np.eye(2, dtype=np.float32), blind, lexical=1.0)
    >>> grounding.ground(["red lipstick by Lumi", "rose soap", "garden hose"]).tolist()
    [0, 1, -1]
    """

    def __init__(
        self,
        names: Sequence[str],
        item_vectors: Float[np.ndarray, "items dim"],
        encode: Encode,
        lexical: float = 0.5,
        least: float = LEAST,
    ) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        if len(names) != len(item_vectors) or not len(names):
            given = f"{len(names)} names and {len(item_vectors)} item vectors"
            raise DataError(f"{given}; give one of each per item, at least one")
        for name, value in (("lexical", lexical), ("least", least)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} = {value}; it must lie in [0, 1]")
        self.lexical, self.least, self._encode = lexical, least, encode
        self._grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True)
        self._names = self._grams.fit_transform(list(names)).T.tocsr()
        self._vectors = _unit(np.asarray(item_vectors, np.float32))

    def ground(self, names: Sequence[str]) -> Int[np.ndarray, " names"]:
        """The item meant by each name, -1 for none; among equal scores the lower item number."""
        distinct = sorted(set(names))
        items = np.full(len(distinct), -1, np.int64)
        for start in range(0, len(distinct), _BATCH):
            batch = slice(start, start + _BATCH)
            table = self._scores(distinct[batch])
            items[batch] = np.where(table.max(axis=1) < self.least, -1, table.argmax(axis=1))
        places = {name: place for place, name in enumerate(distinct)}
        return items[np.array([places[name] for name in names], np.int64)]

    def rank(self, recommendations: Sequence[Sequence[str]], k: int) -> Ranked:
        """Each chain's first `k` distinct items in its order, padded with -1.

        A name that is ungrounded, or means an item that an earlier one meant, takes no place.
        """
        named = self.ground([name for names in recommendations for name in names])
        ranked = np.full((len(recommendations), k), -1, np.int64)
        ends = np.cumsum([len(names) for names in recommendations])
        for row, items in enumerate(np.split(named, ends)[:-1]):
            best = list(dict.fromkeys(items[items >= 0].tolist()))[:k]
            ranked[row, : len(best)] = best
        return ranked

    def _scores(self, names: list[str]) -> Float[np.ndarray, "names items"]:
        letters = (self._grams.transform(names) @ self._names).toarray().astype(np.float32)
        if self.lexical == 1:
            return letters
        meaning = _unit(np.asarray(self._encode(names), np.float32)) @ self._vectors.T
        return self.lexical * letters + (1 - self.lexical) * meaning


def with_catalogue_names(table: ChainTable, names: Sequence[str], encode: Encode) -> ChainTable:
    """The chains with each product that is recommended in free words named as the item it means.

    So a step that recommends can vote for an item. A product that means none keeps its words.
    """
    before, _, after = RECOMMENDS["item"].partition("{}")
    known, free = {*names}, {}
    for number, sentence in enumerate(table.sentences):
        product = sentence.removeprefix(before).removesuffix(after)
        if len(product) == len(sentence) - len(before) - len(after) and product not in known:
            free[number] = product
    if not free:
        return table
    grounding = Grounding(names, np.asarray(encode(list(names)), np.float32), encode)
    sentences = list(table.sentences)
    for number, item in zip(free, grounding.ground([*free.values()]).tolist(), strict=True):
        if item >= 0:
            sentences[number] = CLOSE_TO.format(names[item])
    places: dict[str, int] = {}
    moved = np.array([places.setdefault(text, len(places)) for text in sentences], np.int32)
    return replace(table, sentences=list(places), indices=moved[table.indices])


def _unit(vectors: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
