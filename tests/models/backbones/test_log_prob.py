"""log p with a shared buffer is torch's own, with torch's own gradients, and one
backward pass."""

import numpy as np
import pytest
import torch
from torch import nn

from scoter.config import SasrecConfig
from scoter.models.backbones import log_prob as module
from scoter.models.backbones.log_prob import log_prob
from scoter.models.backbones.sasrec import SASRec
from scoter.types import Histories


def case(rows=37, items=501, width=8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    states, vectors = (
        torch.randn(n, width, generator=generator, dtype=dtype).requires_grad_()
        for n in (rows, items)
    )
    return states, vectors, torch.randint(0, items, (rows,), generator=generator)


def by_torch(states, vectors, items):
    logits = nn.functional.linear(states, vectors)
    return torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)[
        torch.arange(len(items)), items
    ]


def gradients(function, states, vectors, items, weights):
    loss = (function(states, vectors, items) * weights).sum()
    return [loss.detach(), *torch.autograd.grad(loss, (states, vectors))]


@pytest.mark.parametrize("block", [1, 1100, 2**20])  # one row, two rows, all rows at a time
def test_values_and_gradients_are_those_of_torch(block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    states, vectors, items = case()
    weights = torch.linspace(-1, 2, len(items), dtype=torch.float64)
    mine = gradients(log_prob, states, vectors, items, weights)
    for found, wanted in zip(
        mine, gradients(by_torch, states, vectors, items, weights), strict=True
    ):
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_half_precision_is_as_close_as_torch_in_half_precision():
    states, vectors, items = case(dtype=torch.float32)
    weights = torch.full((len(items),), 1 / len(items))
    exact = gradients(by_torch, states, vectors, items, weights)
    with torch.autocast("cpu", torch.bfloat16):
        mine = gradients(log_prob, states, vectors, items, weights)
        theirs = gradients(by_torch, states, vectors, items, weights)
    for found, rival, truth in zip(mine, theirs, exact, strict=True):
        assert (found - truth).norm() <= 1.5 * (rival - truth).norm() + 1e-3 * truth.norm()


def test_two_forward_passes_do_not_share_a_buffer_and_later_steps_do():
    module._free.clear()
    one, two = case(), case(rows=11)
    first, second = log_prob(*one), log_prob(*two)
    first.sum().backward()
    second.sum().backward()
    assert two[0].grad is not None
    assert torch.allclose(
        two[0].grad, torch.autograd.grad(by_torch(*two).sum(), two[0])[0], rtol=1e-12
    )
    kept = {buffer.data_ptr() for buffer in module._free}
    log_prob(*case(rows=9)).sum().backward()
    assert {buffer.data_ptr() for buffer in module._free} <= kept


def test_a_second_backward_pass_is_refused():
    states, vectors, items = case()
    loss = log_prob(states, vectors, items).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="compute the loss anew"):
        loss.backward()


def test_nothing_is_kept_where_no_gradient_is_asked_for():
    module._free.clear()
    with torch.no_grad():
        found = log_prob(*case())
    assert torch.allclose(found, by_torch(*case()), atol=1e-6)
    assert module._free == []


def test_a_model_that_answers_keeps_no_buffer():
    log_prob(*case()).sum().backward()
    assert module._free
    asked = Histories(np.arange(1), np.array([3]), np.array([0, 1]))
    SASRec(SasrecConfig(dim=8, layers=1), 8).recommend(asked, 2)
    assert module._free == []
