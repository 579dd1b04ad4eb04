"""Grounded steps: a sentence that ends by naming an item carries that item's semantic ID.

A recommender over semantic IDs has to learn which codes a title stands for before it can use a step
that names an item, and the words do not tell codes that come from co-occurrence. So each sentence
vector gets a second part, made from the codes of the item that it names; zeros where it names none.
A recommender over item numbers may use it too: codes identify items.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from scoter.seeding import derive_seed
from scoter.types import ReasoningPattern, SemanticIds, Step, StepEmbeddings

LEVEL_WIDTH = 128  # numbers for a code
FRAME_WIDTH = 64  # numbers for the words around a name


def ground_steps(
    steps: StepEmbeddings,
    sentences: Sequence[str],
    names: Sequence[str],
    ids: SemanticIds,
    seed: int,
) -> StepEmbeddings:
    """Sentence vectors, the codes of the item that each names, and the words around the name.

    Each part has length 1; the last tells, for example, how sure the sentence is.

    Args:
        names: each item's name, as sentences say it; items of one name count as their mean.
        seed: draws a random direction for each code of each level, and for each frame of words.
    """
    codes = code_vectors(ids, seed)
    second = np.zeros((len(sentences), codes.shape[1]), np.float32)
    alone, frame_of = np.full((2, len(sentences)), -1, np.int32)
    frames: dict[str, int] = {}
    for number, (name, items) in enumerate(items_named(sentences, names)):
        if not items:
            continue
        if len(items) == 1:
            alone[number] = items[0]
        else:
            second[number] = codes[items].mean(axis=0)
        frame = sentences[number].removesuffix(".").removesuffix(name)
        frame_of[number] = frames.setdefault(frame, len(frames))
    second[alone >= 0] = codes[alone[alone >= 0]]
    third = np.zeros((len(frames) + 1, FRAME_WIDTH), np.float32)  # its last row is of no frame
    for frame, number in frames.items():
        rng = np.random.default_rng(derive_seed(seed, "frame", frame))
        third[number] = rng.standard_normal(FRAME_WIDTH)
    parts = [_unit(steps.vectors.astype(np.float32)), _unit(second), _unit(third)[frame_of]]
    return replace(steps, vectors=np.concatenate(parts, axis=1), named=alone)


def sentence_widths(steps: StepEmbeddings, most: int = 10) -> list[int]:
    """How many sentences any chain has for each step, at most `most` and at least one."""
    counts = np.diff(steps.offsets).reshape(-1, steps.step_count)
    return np.minimum(counts.max(axis=0, initial=0), most).clip(1).tolist()


def one_step_per_sentence(
    steps: StepEmbeddings, most: int = 10, like: Sequence[int] | None = None
) -> StepEmbeddings:
    """The same chains with each sentence a step of its own, so that a list is not averaged.

    A step becomes as many steps as its width says: its own `sentence_widths`, or those of other
    chains (`like`). Where a chain has fewer sentences, the last ones are missing.
    """
    counts = np.diff(steps.offsets).reshape(-1, steps.step_count)
    widths = np.array(sentence_widths(steps, most) if like is None else like)
    place = np.arange(len(steps.indices)) - np.repeat(steps.offsets[:-1], counts.ravel())
    kept = place < np.repeat(np.tile(widths, len(counts)), counts.ravel())
    there = [np.arange(width) < counts[:, [step]] for step, width in enumerate(widths)]
    pattern = [
        Step(step.role, {**step.parameters, "place": place + 1}) if width > 1 else step
        for step, width in zip(steps.pattern.steps, widths.tolist(), strict=True)
        for place in range(width)
    ]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(there, axis=1).ravel())])
    return steps.with_entries(kept, offsets, ReasoningPattern(tuple(pattern)))


def items_named(sentences: Iterable[str], names: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """The name with which each sentence ends, and the items of that name; "" and none without."""
    bearers: defaultdict[str, list[int]] = defaultdict(list)
    for item, name in enumerate(names):
        bearers[name].append(item)
    for sentence in sentences:
        name = named(sentence, bearers)
        yield ("", []) if name is None else (name, bearers[name])


def named(sentence: str, names: "defaultdict[str, list[int]] | set[str]") -> str | None:
    """The longest of `names` with which the sentence ends, a full stop aside; None without one.

    >>> named("The recommendation is Lumi red lipstick.", {"lipstick", "Lumi red lipstick"})
    'Lumi red lipstick'
    """
    text = sentence.removesuffix(".")
    starts = [0, *(place + 1 for place, character in enumerate(text) if character == " ")]
    return next((text[start:] for start in starts if text[start:] in names), None)


def code_vectors(ids: SemanticIds, seed: int) -> Float32[np.ndarray, "items width"]:
    """Each item's codes as random directions side by side, nearly orthogonal within a level."""
    rng, sizes = np.random.default_rng(seed), ids.codebook_sizes
    books = [_unit(rng.standard_normal((size, LEVEL_WIDTH), np.float32)) for size in sizes]
    parts = [book[codes] for book, codes in zip(books, ids.codes.T, strict=True)]
    return np.concatenate(parts, axis=1)


def _unit(vectors: Float32[np.ndarray, "rows width"]) -> Float32[np.ndarray, "rows width"]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
