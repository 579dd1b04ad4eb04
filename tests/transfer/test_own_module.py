"""The module of one's own in docs/python.md: it runs as it stands, and learns what only the chain
tells, in its order."""

import math
import re
from pathlib import Path
from typing import Any

import torch

PAGE = (Path(__file__).parents[2] / "docs/python.md").read_text()
(BLOCK,) = [
    block
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    if "class MyRecommender" in block
]
ITEMS, ROWS, STEPS, WIDTH = 20, 128, 3, 32


def test_the_example_has_at_most_fifteen_lines() -> None:
    assert len([line for line in BLOCK.splitlines() if line.strip()]) <= 15


def train(read_in_order: bool) -> tuple[float, float]:
    """First and last loss when the target is what the second step of three says; the history says
    nothing."""
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(BLOCK, names)
    model = names["MyRecommender"](ITEMS, dim=32, steps=STEPS, step_dim=WIDTH)
    words, mask = torch.randn(ITEMS, WIDTH), torch.ones(ROWS, STEPS, dtype=torch.bool)
    model.fusion.set_statistics(words[torch.randint(ITEMS, (ROWS, STEPS))], mask)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(50):
        said, history = torch.randint(ITEMS, (ROWS, STEPS)), torch.randint(ITEMS, (ROWS, 3))
        read = said if read_in_order else said.gather(1, torch.rand(ROWS, STEPS).argsort(1))
        loss = torch.nn.functional.cross_entropy(model(history, words[read], mask), said[:, 1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses[0], losses[-1]


def test_the_example_trains_and_keeps_the_order() -> None:
    first, last = train(read_in_order=True)
    _, shuffled = train(read_in_order=False)
    assert (
        last < 0.5 < math.log(2) < shuffled < first
    )  # each of three steps may be the one that counts
