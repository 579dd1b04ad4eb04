"""Every source of chains, in both its forms, against a loop over the chain table."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from scoter.models.quantised_steps import NoSteps, QuantisedSteps, quantise
from scoter.models.step_reader import Redirected, StepReader, newest_reader
from scoter.protocols import StepSource
from scoter.serving.explanation import _OneHidden
from scoter.transfer.collapse import other_users_chains
from scoter.transfer.grounded import one_step_per_sentence
from scoter.transfer.substitutes import item_texts_as_steps, statements_as_features
from scoter.types import ReasoningPattern, Step, StepEmbeddings

USERS, STEPS, DIM, SENTENCES = 6, 3, 4, 5
PATTERN = ReasoningPattern(tuple(Step("recent_item", {"lag": lag}) for lag in (3, 2, 1)))
# Of each step: its mean vector, the item it names, and how sure it says that it is.
Said = list[tuple[np.ndarray, int, float] | None]
Truth = Callable[[int, int], Said]  # of a user and a prefix length


def table(lengths: list[int]) -> StepEmbeddings:
    """Chains of few sentences, so that they repeat; some steps have none, some several."""
    rng = np.random.default_rng(0)
    counts = rng.choice(4, size=sum(lengths) * STEPS, p=[0.2, 0.5, 0.2, 0.1])
    return StepEmbeddings(
        vectors=rng.standard_normal((SENTENCES, DIM)).astype(np.float32),
        indices=rng.integers(0, SENTENCES, counts.sum()),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        pattern=PATTERN,
        encoder="none",
        named=np.array([7, -1, 3, 0, -1]),
        certainty=rng.random(counts.sum(), np.float32),
    )


def said(steps: StepEmbeddings, user: int, length: int) -> Said:
    if not 1 <= length <= steps.starts[user + 1] - steps.starts[user]:
        return [None] * steps.step_count
    bag = (steps.starts[user] + length - 1) * steps.step_count
    bounds = [slice(*steps.offsets[[k, k + 1]].tolist()) for k in bag + range(steps.step_count)]
    items = np.full(len(steps.vectors), -1) if steps.named is None else steps.named
    sure = np.zeros(len(steps.indices)) if steps.certainty is None else steps.certainty
    chain: Said = []
    for at in bounds:
        sentences = steps.indices[at]
        alone = (int(items[sentences[0]]), float(sure[at][0])) if len(sentences) == 1 else (-1, 0.0)
        chain.append((steps.vectors[sentences].mean(axis=0), *alone) if len(sentences) else None)
    return chain


def sources() -> Iterator[tuple[str, StepSource, Truth, int]]:
    """A name, a source, what it should say, and how many users it knows."""
    every, newest = table([3, 1, 0, 4, 2, 2]), table([1, 1, 0, 1, 1, 1])
    recent = np.random.default_rng(1).integers(-1, SENTENCES, (int(every.starts[-1]), 2))
    tables = {
        "own": every,
        "other-user": other_users_chains(every, 0),
        "features": statements_as_features(every, 0),
        "item-text": item_texts_as_steps(every, recent, every.vectors),
        "sentence": one_step_per_sentence(every),
    }
    for name, steps in tables.items():
        yield name, StepReader(steps), lambda *at, steps=steps: said(steps, *at), USERS
    reader = StepReader(every)
    earlier = Redirected(reader, lambda users, lengths: (users, lengths - 1))
    yield "earlier", earlier, lambda user, length: said(every, user, length - 1), USERS
    one = newest_reader(StepReader(newest))
    yield "newest", one, lambda user, _: said(newest, user, 1), USERS
    yield "nothing", NoSteps(STEPS, DIM), lambda *_: [None] * STEPS, USERS
    known, variants = np.array([3, 0, 5]), STEPS + 1

    def hidden(row: int, length: int) -> Said:
        chain = said(every, int(known[row // variants]), length)
        return [None if row % variants == step else part for step, part in enumerate(chain, 1)]

    yield "one hidden", _OneHidden(reader, known, variants), hidden, len(known) * variants


def shipped(kind: str) -> tuple[QuantisedSteps, Truth]:
    """A table in half precision or eight bits, with one chain at most for each user."""
    steps = table([1] * USERS)
    made = quantise(steps.vectors, kind)  # pyright: ignore[reportArgumentType]
    exact = made["vectors"].astype(np.float32) * made.get("scale", np.ones(SENTENCES))[:, None]
    source = QuantisedSteps(
        *(made["vectors"], made.get("scale"), steps.indices, steps.offsets, STEPS, steps.named),
        stated=steps.certainty,
    )
    rounded = StepEmbeddings(**{**vars(steps), "vectors": exact.astype(np.float32)})
    return source, lambda user, _: said(rounded, user, 1)


CASES = {name: (source, truth, users) for name, source, truth, users in sources()}
CASES |= {kind: (*shipped(kind), USERS) for kind in ("fp16", "int8")}


@pytest.mark.parametrize("case", CASES)
def test_both_forms_the_named_items_and_the_certainties_are_those_of_the_table(case: str) -> None:
    source, truth, count = CASES[case]
    assert isinstance(source, StepSource)
    asked = [(user, length) for user in range(count) for length in range(6)]
    users, lengths = (torch.tensor(part) for part in zip(*asked, strict=True))
    steps, mask = source.read(users, lengths)
    distinct, place, same = source.read_shared(users, lengths)
    assert torch.equal(mask, same)
    assert torch.equal(distinct[place][mask], steps[mask])
    wanted = [truth(*at) for at in asked]
    assert mask.tolist() == [[step is not None for step in chain] for chain in wanted]
    means = [step[0] for chain in wanted for step in chain if step is not None]
    found = steps[mask].numpy()
    np.testing.assert_allclose(found, np.reshape(means, found.shape), rtol=1e-5, atol=1e-6)
    sure = [step[2] for chain in wanted for step in chain if step is not None]
    assert source.certainty(users, lengths)[mask].tolist() == pytest.approx(sure)
    if getattr(source, "items", ()) is None:  # chains whose sentences name nothing
        return
    items = [step[1] for chain in wanted for step in chain if step is not None]
    assert source.named(users, lengths)[mask].tolist() == items
