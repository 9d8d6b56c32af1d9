"""Running statistics of batch normalisation, whichever way a layer computes."""

import warnings

import pytest
import torch
from torch import Tensor

import interneuron.torch as it


def pair(dtype: torch.dtype = torch.float32) -> tuple[it.BatchNormLinear, Tensor]:
    return it.BatchNormLinear(5, 4, seed=1, dtype=dtype), torch.rand(16, 5, dtype=dtype)


def expected(layer: it.BatchNormLinear, x: Tensor) -> tuple[Tensor, Tensor]:
    """A tenth of the way from 0 and 1 to the batch's, as `nn.BatchNorm1d` goes."""
    like = torch.nn.BatchNorm1d(4, dtype=torch.float64)
    like((x.double() @ layer.W.detach().double().T))
    assert like.running_mean is not None and like.running_var is not None
    return like.running_mean, like.running_var


# A few units in the last place of what was summed.
TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-13, torch.bfloat16: 2e-2}


def check(layer: it.BatchNormLinear, x: Tensor, mean: Tensor, variance: Tensor) -> None:
    tolerance = TOLERANCES[x.dtype]
    assert torch.allclose(layer.running_mean.double(), mean, rtol=tolerance, atol=tolerance)
    assert torch.allclose(layer.running_var.double(), variance, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eager(dtype: torch.dtype) -> None:
    layer, x = pair(dtype)
    wanted = expected(layer, x)
    layer(x).sum().backward()
    check(layer, x, *wanted)


def test_eager_without_gradient() -> None:
    layer, x = pair()
    wanted = expected(layer, x)
    with torch.no_grad():
        layer(x)
    check(layer, x, *wanted)


def test_fused() -> None:
    layer, x = pair()
    wanted = expected(layer, x)
    optimizer = it.CSGD(layer, 0.1, fused=True)
    layer(x).sum().backward()
    optimizer.step()
    check(layer, x, *wanted)


def test_unfused_takes_them_in_once() -> None:
    layer, x = pair()
    wanted = expected(layer, x)
    optimizer = it.CSGD(layer, 0.1)
    layer(x).sum().backward()
    optimizer.step()
    check(layer, x, *wanted)


def test_half_precision() -> None:
    layer, x = pair(torch.bfloat16)
    wanted = expected(layer, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", it.FallbackWarning)
        layer(x).sum().backward()
    check(layer, x, *wanted)


@pytest.mark.timeout(120)
def test_compiled() -> None:
    layer, x = pair()
    wanted = expected(layer, x)
    torch.compile(layer, fullgraph=True, backend="aot_eager")(x).sum().backward()
    check(layer, x, *wanted)


def test_evaluation_leaves_them() -> None:
    layer, x = pair()
    layer.eval()
    layer(x.requires_grad_()).sum().backward()
    assert torch.equal(layer.running_mean, torch.zeros(4)) and torch.equal(layer.running_var, torch.ones(4))
