"""Layers whose gradients are written by hand, against autograd on the plain formula."""

import pytest
import torch
from torch import Tensor

from scoter.models.layers import Dropout, FeedForward, RMSNorm


def gradients(function, *inputs: Tensor) -> list[Tensor]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    output = function(*leaves)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    return [output.detach(), *torch.autograd.grad((output.float() * weights).sum(), leaves)]


@pytest.mark.parametrize("shape", [(7, 12), (2, 3, 5, 12)])
def test_the_norm_and_its_gradient_equal_autograd(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm, x = RMSNorm(12), 3 * torch.randn(shape)
    weight = torch.rand(12) + 0.5

    def ours(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight}, x)

    def plain(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * weight

    for found, expected in zip(
        gradients(ours, x, weight), gradients(plain, x, weight), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_norm_gives_what_autocast_multiplies() -> None:
    norm, x = RMSNorm(8), torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        low = norm(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), norm(x), atol=0.02, rtol=0.01)


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    torch.manual_seed(0)
    dropout, x = Dropout(0.25), torch.ones(200_000)
    kept = dropout(x)
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 4 / 3]))
    assert float(kept.mean()) == pytest.approx(1, abs=4 * (0.25 / 0.75 / len(x)) ** 0.5)
    torch.manual_seed(0)
    torch.testing.assert_close(dropout.add(2 * x, x), 2 + kept)
    assert dropout.eval().add(2 * x, x).eq(3).all()


def test_feed_forward_with_dropout_equals_autograd_on_the_plain_formula() -> None:
    torch.manual_seed(0)
    layer, x = FeedForward(6, 16, 0.5), torch.randn(5, 8, 6)
    torch.manual_seed(7)
    mask = layer.dropout.mask(torch.empty(5, 8, 16))

    def ours(x: Tensor, wi: Tensor, wo: Tensor) -> Tensor:
        torch.manual_seed(7)
        return torch.func.functional_call(layer, {"wi.weight": wi, "wo.weight": wo}, x)

    def plain(x: Tensor, wi: Tensor, wo: Tensor) -> Tensor:
        return (torch.relu(x @ wi.T) * mask) @ wo.T

    inputs = (x, layer.wi.weight, layer.wo.weight)
    for found, expected in zip(gradients(ours, *inputs), gradients(plain, *inputs), strict=True):
        torch.testing.assert_close(found, expected)
