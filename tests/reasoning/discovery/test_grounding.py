"""Names to items: against a brute-force twin, on mangled names whose item is known, and on names
that mean no item."""

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from scoter.errors import ConfigError, DataError
from scoter.reasoning.chains.table import ChainTable
from scoter.reasoning.discovery.grounding import Grounding, with_catalogue_names
from scoter.types import ReasoningPattern, Step

NAMES = [
    "Lumi red lipstick",
    "Lumi red lip balm",
    "Aster rose soap bar",
    "Aster rose soap",
    "Comb",
    "comb",
    "Garden hose 10 m",
]
ASKED = [
    "lumi lipstick",
    "rose  soap by Aster",
    "COMB",
    "hose",
    "",
    "\u202e\x00",
    "a wholly different thing",
    "Aster rose soap",
]
LATENT = np.random.default_rng(0).normal(size=(len(NAMES) + len(ASKED), 5)).astype(np.float32)
WORDS = np.array(
    [
        first + second
        for first in ("ba", "ki", "lo", "mu", "ze", "tra")
        for second in ("rin", "dok", "lap", "ves")
    ]
)


def encode(texts: list[str]) -> np.ndarray:
    return LATENT[[len(NAMES) + ASKED.index(text) for text in texts]]


def no_meaning(texts: list[str]) -> np.ndarray:
    return np.zeros((len(texts), 1), np.float32)


def grams(text: str) -> Counter[str]:
    """Every 3- and 4-gram within each word, the word padded with one blank at either side."""
    found: Counter[str] = Counter()
    for word in text.lower().split():
        padded = f" {word} "
        for size in (3, 4):
            found.update(
                padded[start : start + size] for start in range(max(1, len(padded) - size + 1))
            )
            if size >= len(padded):
                break
    return found


def slow_scores(lexical: float) -> np.ndarray:
    frequency = Counter(gram for name in NAMES for gram in grams(name))
    documents = Counter(gram for name in NAMES for gram in set(grams(name)))

    def weigh(text: str) -> dict[str, float]:
        rarity = {
            gram: math.log((1 + len(NAMES)) / (1 + documents[gram])) + 1 for gram in frequency
        }
        raw = {
            gram: (1 + math.log(count)) * rarity[gram]
            for gram, count in grams(text).items()
            if gram in frequency
        }
        norm = math.sqrt(sum(value**2 for value in raw.values())) or 1.0
        return {gram: value / norm for gram, value in raw.items()}

    scores = np.zeros((len(ASKED), len(NAMES)))
    for row, asked in enumerate(ASKED):
        for item, name in enumerate(NAMES):
            left, right = weigh(asked), weigh(name)
            letters = sum(value * right.get(gram, 0.0) for gram, value in left.items())
            one, other = LATENT[len(NAMES) + row], LATENT[item]
            meaning = float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
            scores[row, item] = lexical * letters + (1 - lexical) * meaning
    return scores


@pytest.mark.parametrize("lexical", [0.0, 0.3, 1.0])
def test_scores_are_those_of_the_slow_twin(lexical: float) -> None:
    scores = slow_scores(lexical)
    grounding = Grounding(NAMES, LATENT[: len(NAMES)], encode, lexical=lexical, least=0.6)
    np.testing.assert_allclose(grounding._scores(ASKED), scores, atol=1e-5)
    grounded = grounding.ground(ASKED)
    first_best = np.argmax(scores > scores.max(axis=1, keepdims=True) - 1e-6, axis=1)
    np.testing.assert_array_equal(grounded, np.where(scores.max(axis=1) >= 0.6, first_best, -1))
    assert (grounded < 0).mean() == (scores.max(axis=1) < 0.6).mean() > 0


def test_mangled_names_find_their_item_and_strange_ones_none() -> None:
    rng = np.random.default_rng(0)
    names = sorted({" ".join(rng.choice(WORDS, 4, replace=False)) for _ in range(400)})
    grounding = Grounding(names, np.zeros((len(names), 1), np.float32), no_meaning, lexical=1.0)
    shuffled = [" ".join(reversed(name.upper().split())) for name in names]
    same_words = [
        [i for i, other in enumerate(names) if set(other.split()) == set(name.split())]
        for name in names
    ]
    found = grounding.ground(shuffled)
    assert all(item in allowed for item, allowed in zip(found, same_words, strict=True))
    typed = [name[:9] + "q" + name[10:] for name in names]
    assert (grounding.ground(typed) == np.arange(len(names))).mean() > 0.8
    strange = grounding.ground(["hydraulic excavator", "quiche", ""])
    assert strange.tolist() == [-1, -1, -1]


def test_a_ranking_has_each_item_once_in_the_order_of_the_names() -> None:
    grounding = Grounding(NAMES, np.zeros((len(NAMES), 1), np.float32), no_meaning, lexical=1.0)
    asked = [
        ["rose soap", "Aster rose soap", "nothing such", "Comb", "Lumi red lipstick"],
        [],
        ["a wholly different thing"],
    ]
    ranked = grounding.rank(asked, k=2)
    assert ranked.tolist() == [[3, 4], [-1, -1], [-1, -1]]
    grounded = grounding.ground([name for names in asked for name in names])
    assert grounded.tolist() == [3, 3, -1, 4, 0, -1]
    assert grounding.rank([], k=3).shape == (0, 3)


def test_impossible_settings_name_themselves() -> None:
    with pytest.raises(ConfigError, match=r"lexical = 1\.5"):
        Grounding(NAMES, LATENT[: len(NAMES)], encode, lexical=1.5)
    with pytest.raises(ConfigError, match=r"least = -0\.1"):
        Grounding(NAMES, LATENT[: len(NAMES)], encode, least=-0.1)
    with pytest.raises(DataError, match="7 names and 2 item vectors"):
        Grounding(NAMES, LATENT[:2], encode)


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("SCOTER_DATA"), reason="SCOTER_DATA names no folder of real data"
)
def test_the_threshold_separates_beauty_from_other_shops(tmp_path: Path) -> None:
    from scoter.config import TextConfig
    from scoter.data.prepared import load_prepared
    from scoter.reasoning.catalogue.facets import item_names
    from scoter.storage.sentence_vectors import encode as encode_texts

    rng = np.random.default_rng(1)

    def draw(dataset: str, count: int) -> list[str]:
        names = sorted(set(item_names(load_prepared(Path(os.environ["SCOTER_DATA"]) / dataset)[1])))
        return [names[row] for row in rng.choice(len(names), count, replace=False)]

    def encoded(texts: list[str]) -> np.ndarray:
        return encode_texts(texts, TextConfig(), tmp_path)

    names = draw("beauty", 1000)
    grounding = Grounding(names, encoded(names), encoded)
    some = rng.choice(1000, 200, replace=False)
    kept = [
        [word for word in names[row].split() if rng.random() > 0.3] or [names[row]] for row in some
    ]
    mangled = grounding.ground([" ".join(words).lower() for words in kept])
    assert (mangled == some).mean() > 0.9
    assert (mangled < 0).mean() < 0.1
    strange = grounding.ground(draw("toys", 100) + draw("sports", 100))
    assert (strange < 0).mean() > 0.95


def test_products_in_free_words_are_named_as_the_catalogue_names_them() -> None:
    said = ["lumi lipstick", "garden chairs and tables", "Comb", "Lumi lip stick", "red lipstick"]
    sentences = [f"The recommendation is {name}." for name in said] + ["A tidy shopper."]
    pattern = ReasoningPattern((Step("shopper"), Step("recommendation")))
    indices, offsets = np.array([5, 0, 1, 5, 2, 3, 4]), np.array([0, 1, 3, 4, 7])
    table = ChainTable(sentences, indices, offsets, np.array([0, 2]), pattern)
    found = with_catalogue_names(table, NAMES, kinds_of_thing)
    close = "The recommendation is close to Lumi red lipstick."
    assert [found.bag(bag) for bag in range(4)] == [
        ("A tidy shopper.",),
        (close, sentences[1]),
        ("A tidy shopper.",),
        (sentences[2], close, close),
    ]
    assert len({*found.sentences}) == len(found.sentences)
    same = with_catalogue_names(found, [*NAMES, said[1], "close to Lumi red lipstick"], no_meaning)
    assert same is found


def kinds_of_thing(texts: list[str]) -> np.ndarray:
    kinds = ("lip", "soap", "comb", "hose", "chair")
    return np.array([[kind in text.lower() for kind in kinds] for text in texts], np.float32)
