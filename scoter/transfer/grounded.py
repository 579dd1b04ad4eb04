"""Grounded steps: a sentence that ends by naming an item of the catalogue brings that item's
semantic ID along.

A recommender that speaks in semantic IDs has to learn which codes a title stands for before it can
use a step that names an item, and the words alone do not tell codes that come from co-occurrence.
So each sentence vector gets a second part, made from the codes of the item that it names, and zeros
where it names none. A recommender over item numbers may use it too: codes identify items.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from scoter.seeding import derive_seed
from scoter.types import ReasoningPattern, SemanticIds, Step, StepEmbeddings

LEVEL_WIDTH = 128
FRAME_WIDTH = 64


def ground_steps(
    steps: StepEmbeddings,
    sentences: Sequence[str],
    names: Sequence[str],
    ids: SemanticIds,
    seed: int,
) -> StepEmbeddings:
    """Sentence vectors, beside them the code vectors of the item that the sentence names, and a
    vector of the words around the name, such as how sure the sentence is; each of length 1.

    Args:
        sentences: the texts of `steps.vectors`, in the same order.
        names: each item's name, as sentences say it. Items of one name are told apart by nothing
            here, so their mean counts.
        seed: draws one random direction for each code of each level, `LEVEL_WIDTH` numbers a level,
            and one for each frame of words around a name, `FRAME_WIDTH` numbers.
    """
    codes = code_vectors(ids, seed)
    second = np.zeros((len(sentences), codes.shape[1]), np.float32)
    third = np.zeros((len(sentences), FRAME_WIDTH), np.float32)
    alone = np.full(len(sentences), -1, np.int32)
    frames: dict[str, np.ndarray] = {}
    for number, (sentence, (name, items)) in enumerate(
        zip(sentences, items_named(sentences, names), strict=True)
    ):
        if items:
            second[number] = codes[items].mean(axis=0)
            if len(items) == 1:
                alone[number] = items[0]
            frame = sentence.removesuffix(".").removesuffix(name)
            if frame not in frames:
                frames[frame] = np.random.default_rng(
                    derive_seed(seed, "frame", frame)
                ).standard_normal(FRAME_WIDTH)
            third[number] = frames[frame]
    parts = [_unit(steps.vectors.astype(np.float32)), _unit(second), _unit(third)]
    return replace(steps, vectors=np.concatenate(parts, axis=1), named=alone)


def sentence_widths(steps: StepEmbeddings, most: int = 10) -> list[int]:
    """How many sentences any chain has for each step, at most `most` and at least one."""
    counts = np.diff(steps.offsets).reshape(-1, steps.step_count)
    return np.minimum(counts.max(axis=0, initial=0), most).clip(1).tolist()


def one_step_per_sentence(
    steps: StepEmbeddings, most: int = 10, like: Sequence[int] | None = None
) -> StepEmbeddings:
    """The same chains with each sentence a step of its own, so that a step which lists items is not
    averaged over them.

    A step becomes as many steps as its width says, its own `sentence_widths` or those of other
    chains (`like`); where a chain has fewer sentences, the last ones are missing. Their place in
    the list becomes their position.

    Example:
        >>> from scoter.types import ReasoningPattern, Step
        >>> pattern = ReasoningPattern((Step("history_summary"), Step("recommendation")))
        >>> offsets = np.array(
        ...     [0, 2, 3, 4, 4]
        ... )  # one chain says two sentences and one, the other one and none
        >>> table = StepEmbeddings(
        ...     np.eye(4, dtype=np.float32),
        ...     np.array([0, 1, 2, 3]),
        ...     offsets,
        ...     np.array([0, 2]),
        ...     pattern,
        ...     "e",
        ... )
        >>> split = one_step_per_sentence(table)
        >>> split.step_count, split.offsets.tolist(), split.pattern.steps[1].label()
        (3, [0, 1, 2, 3, 4, 4, 4], 'history_summary(place=2)')
    """
    counts = np.diff(steps.offsets).reshape(-1, steps.step_count)
    widths = np.array(sentence_widths(steps, most) if like is None else like)
    place = np.arange(len(steps.indices)) - np.repeat(steps.offsets[:-1], counts.ravel())
    kept = place < np.repeat(np.tile(widths, len(counts)), counts.ravel())
    says = np.concatenate(
        [np.arange(width) < counts[:, [step]] for step, width in enumerate(widths)], axis=1
    )
    pattern = [
        Step(step.role, {**step.parameters, "place": place + 1}) if width > 1 else step
        for step, width in zip(steps.pattern.steps, widths.tolist(), strict=True)
        for place in range(width)
    ]
    offsets = np.concatenate([[0], np.cumsum(says.ravel())])
    return replace(
        steps,
        indices=steps.indices[kept],
        offsets=offsets,
        pattern=ReasoningPattern(tuple(pattern)),
    )


def items_named(sentences: Iterable[str], names: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """The name with which each sentence ends and the items that bear it; an empty one and none
    where it ends with none.

    Example:
        >>> list(items_named(["We suggest soap.", "Nothing."], ["soap", "oil", "soap"]))
        [('soap', [0, 2]), ('', [])]
    """
    bearers: defaultdict[str, list[int]] = defaultdict(list)
    for item, name in enumerate(names):
        bearers[name].append(item)
    for sentence in sentences:
        name = named(sentence, bearers)
        yield ("", []) if name is None else (name, bearers[name])


def named(sentence: str, names: "defaultdict[str, list[int]] | set[str]") -> str | None:
    """The longest of `names` with which the sentence ends, a full stop aside; None where it ends
    with none.

    Example:
        >>> named("The recommendation is Lumi red lipstick.", {"lipstick", "Lumi red lipstick"})
        'Lumi red lipstick'
    """
    text = sentence.removesuffix(".")
    starts = [0, *(place + 1 for place, character in enumerate(text) if character == " ")]
    return next((text[start:] for start in starts if text[start:] in names), None)


def code_vectors(ids: SemanticIds, seed: int) -> Float32[np.ndarray, "items width"]:
    """Each item's codes as random directions side by side: nearly orthogonal for different codes of
    a level."""
    rng = np.random.default_rng(seed)
    books = [
        _unit(rng.standard_normal((size, LEVEL_WIDTH), np.float32)) for size in ids.codebook_sizes
    ]
    return np.concatenate(
        [book[codes] for book, codes in zip(books, ids.codes.T, strict=True)], axis=1
    )


def _unit(vectors: Float32[np.ndarray, "rows width"]) -> Float32[np.ndarray, "rows width"]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
