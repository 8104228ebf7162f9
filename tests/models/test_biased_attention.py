"""Attention with a learned bias: its own backward pass against PyTorch's over the plain formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kinelite.models import biased_attention as module
from kinelite.models.biased_attention import biased_attention


def draw(windows: int, heads: int, tokens: int, masked: int, dtype: torch.dtype) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, windows, tokens, heads, 8, generator=generator, dtype=dtype).transpose(2, 3)
    bias = torch.randn(heads, tokens, tokens, generator=generator, dtype=dtype)
    far = torch.rand(masked, tokens, tokens, generator=generator) < 0.3 if masked else None
    mask = None if far is None else far.to(dtype) * -100.0
    return [q, k, v, bias, mask]


def plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 + bias
    if mask is not None:
        scores = scores + mask.repeat(len(q) // len(mask), 1, 1).unsqueeze(1)
    return scores.softmax(-1) @ v


@pytest.mark.parametrize(("windows", "heads", "masked"), [(5, 3, 0), (6, 3, 3), (20, 2, 10), (4, 24, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_result_and_all_gradients(windows: int, heads: int, masked: int, dtype: torch.dtype) -> None:
    *ours, mask = draw(windows, heads, 13, masked, dtype)
    theirs = [tensor.clone().requires_grad_() for tensor in ours]
    ours = [tensor.requires_grad_() for tensor in ours]
    found, expected = biased_attention(*ours, mask), plain(*theirs, mask)
    assert found.grad_fn is not None
    assert "Biased" in type(found.grad_fn).__name__
    exact = {"atol": 1e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 1e-12, "rtol": 1e-9}
    torch.testing.assert_close(found, expected, **exact)
    weights = torch.linspace(-1, 1, found.numel(), dtype=dtype).view_as(found)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, **exact)


def test_without_gradients_it_is_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Biased, "apply", None)
    *tensors, mask = draw(4, 2, 9, 2, torch.float32)
    torch.testing.assert_close(biased_attention(*tensors, mask), plain(*tensors, mask), atol=1e-5, rtol=1e-4)


def test_a_second_derivative_is_refused_instead_of_wrong() -> None:
    *tensors, mask = draw(4, 2, 5, 2, torch.float64)
    tensors = [tensor.requires_grad_() for tensor in tensors]
    (first,) = torch.autograd.grad(biased_attention(*tensors, mask).square().sum(), tensors[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


@pytest.mark.parametrize("wanted", [(0,), (3,), (1, 3)])
def test_frozen_inputs_get_no_gradient_and_the_others_the_same(wanted: tuple[int, ...]) -> None:
    *tensors, mask = draw(6, 3, 7, 3, torch.float64)
    results = []
    for attention in (biased_attention, plain):
        given = [t.clone().requires_grad_(i in wanted) for i, t in enumerate(tensors)]
        attention(*given, mask).square().sum().backward()
        results.append([t.grad for t in given])
    for i, (ours, theirs) in enumerate(zip(*results, strict=True)):
        assert (ours is None) == (i not in wanted)
        if ours is not None:
            torch.testing.assert_close(ours, theirs)
