"""Layers, arrays and comparisons for the tests of the PyTorch side."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

import interneuron.torch as it
from interneuron import _core

f32, f64 = torch.float32, torch.float64

# Layers are small here, and on a busy machine a call waits for the slowest thread. Tests of threads take
# more.
torch.set_num_threads(1)

# Of the largest element: one pass of a layer, as in the tests of the Rust crate. A tenth of it is what is
# seen.
TOLERANCE = {f32: 1e-5, f64: 2e-14}

Shape = Callable[[int, int, int, bool], _core.Shape]
# Every kind of layer, by d, ne, ni and whether there is a ReLU.
SHAPES: dict[str, Shape] = {
    "plain": lambda d, ne, ni, relu: _core.Shape.dann(d, ne, ni, relu=relu),
    "floor": lambda d, ne, ni, relu: _core.Shape.dann(d, ne, ni, relu=relu, divisor=0.3),
    "root": lambda d, ne, ni, relu: _core.Shape.dann(d, ne, ni, relu=relu, divisor="root"),
    "subtractive": lambda d, ne, ni, relu: _core.Shape.dann(d, ne, ni, relu=relu, divisor=None),
    "linear": lambda d, ne, ni, relu: _core.Shape.linear(d, ne, relu=relu),
    "columns": lambda d, ne, ni, relu: _core.Shape.columns(
        d, ne, inhibitory_inputs=d // 3, inhibitory_outputs=ne // 4, relu=relu
    ),
    "layer_norm": lambda d, ne, ni, relu: _core.Shape.layer_norm(d, ne, relu=relu),
    "batch_norm": lambda d, ne, ni, relu: _core.Shape.batch_norm(d, ne, relu=relu),
}


def inputs(shape: _core.Shape, lead: Sequence[int], dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Examples `[..., d]`, ≥ 0.1 where a divisor needs that and of both signs elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    size = (*lead, shape.inputs)
    if shape.divisor == "plain":
        return torch.rand(size, generator=generator, dtype=dtype) + 0.1
    return torch.randn(size, generator=generator, dtype=dtype)


def parameters(shape: _core.Shape, dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    """Numbers of a size that layers have, and none that drops out: gains are not 1, biases not 0."""
    generator = torch.Generator().manual_seed(seed + 1)
    arrays = []
    for _, sizes, role, signed, _ in shape.parameters:
        array = torch.rand(sizes, generator=generator, dtype=dtype) + 0.1
        if role in ("Wex", "Wix") and len(sizes) == 2:
            array = array / sizes[1]
        if role == "Wei":
            array = array / sizes[1]
        if role == "Wex" and signed:
            array = array * torch.where(torch.rand(sizes, generator=generator, dtype=dtype) < 0.5, -3, 3)
        if role in ("alpha", "b"):
            array = array - 0.6
        arrays.append(array)
    return arrays


def run(shape: _core.Shape, x: Tensor, arrays: Sequence[Tensor]) -> Tensor:
    """A layer by the kernels, in training."""
    if shape.kind == "batch_norm":
        return it.functional.batch_norm_linear(shape, x, arrays, training=True)
    return it.functional.layer(shape, x, tuple(arrays))


def leaves(arrays: Sequence[Tensor], wanted: Sequence[bool] | None = None) -> list[Tensor]:
    """The same memory, as variables of their own."""
    flags = wanted or [True] * len(arrays)
    return [array.detach().requires_grad_(flag) for array, flag in zip(arrays, flags, strict=True)]


def assert_close(
    name: str, got: Tensor, expected: Tensor, dtype: torch.dtype, factor: float = 1.0, least: float = 0.1
) -> None:
    """Compares with numbers of float64, of which the largest counts as `least` at least."""
    assert got.dtype == dtype, name
    assert got.shape == expected.shape, f"{name} is {list(got.shape)}: expected {list(expected.shape)}"
    if got.numel() == 0:
        return
    # What cancels out leaves the rounding of what does: a layer that divides has the same outputs for 2x as
    # for x.
    largest = max(float(expected.detach().abs().max()), least)
    off = float((got.detach().double() - expected.detach().double()).abs().max())
    # So that NaN is not close to anything.
    assert off <= factor * TOLERANCE[dtype] * largest, f"{name} is off by {off}, the largest is {largest}"


def compare(
    shape: _core.Shape,
    x: Tensor,
    arrays: Sequence[Tensor],
    dh: Tensor | None = None,
    wanted: Sequence[bool] | None = None,
    x_wanted: bool = True,
    factor: float = 1.0,
    by_all: bool = False,
) -> None:
    """Outputs and all gradients of the kernels, against torch operations in float64 on the same numbers.

    Without `dh` the gradient of the outputs is that of their sum, which is one number for all of them. Errors
    are relative to the largest element of the array, or `by_all` of all gradients.
    """
    signs = [role != "statistic" for _, _, role, _, _ in shape.parameters]
    wanted = [want and moved for want, moved in zip(wanted or signs, signs, strict=True)]
    # `x` keeps its strides: it is a variable that others are seen through.
    variable = x.detach().requires_grad_(x_wanted)
    mine = leaves(arrays, wanted)
    h = run(shape, variable, mine)

    exact_x = x.detach().double().clone().requires_grad_(x_wanted)
    exact = leaves([array.double().clone() for array in arrays], wanted)
    expected = it.composed.layer(shape, exact_x, exact)
    assert_close("h", h, expected, x.dtype, factor)
    assert h.requires_grad == (x_wanted or any(wanted))
    if not h.requires_grad:
        return

    names = ["x"] + [name for name, *_ in shape.parameters]
    of = [variable, *mine], [exact_x, *exact]
    mine, exact = ([it for it in arrays if it.requires_grad] for arrays in of)
    names = [name for name, array in zip(names, of[0], strict=True) if array.requires_grad]
    if dh is None:
        got, wanted_gradients = torch.autograd.grad(h.sum(), mine), torch.autograd.grad(expected.sum(), exact)
    else:
        got = torch.autograd.grad(h, mine, dh)
        wanted_gradients = torch.autograd.grad(expected, exact, dh.double())
    least = max([0.1, *(float(array.abs().max()) for array in wanted_gradients if by_all and array.numel())])
    for name, gradient, right in zip(names, got, wanted_gradients, strict=True):
        assert_close(f"d{name}", gradient, right, x.dtype, factor, least)


def layouts(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The same numbers as they can lie in memory."""
    yield "as it is", x
    if x.dim() >= 2:
        yield "transposed", x.mT.contiguous().mT
        yield "first dimension last", x.movedim(0, -1).contiguous().movedim(-1, 0)
    wide = torch.full((*x.shape[:-1], x.shape[-1] + 5), torch.nan, dtype=x.dtype)
    wide[..., 2:-3] = x
    yield "rows of wider ones", wide[..., 2:-3]
    apart = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan, dtype=x.dtype)
    apart[..., ::2] = x
    yield "every other element", apart[..., ::2]
    after = torch.full((x.numel() + 3,), torch.nan, dtype=x.dtype)
    after[3:] = x.reshape(-1)
    yield "after an offset", after[3:].view(x.shape)
    yield "between words", misaligned(x)
    if x.dim() >= 2:
        padded = torch.full((2 * x.shape[0], *x.shape[1:]), torch.nan, dtype=x.dtype)
        padded[::2] = x
        yield "every other example", padded[::2]


def misaligned(x: Tensor) -> Tensor:
    """The same numbers at an address that is no multiple of their size."""
    if x.numel() == 0:
        return x.clone()
    data = bytearray(1) + x.detach().contiguous().numpy().tobytes()
    result = torch.frombuffer(data, dtype=x.dtype, offset=1).view(x.shape)
    assert result.data_ptr() % x.element_size() != 0
    return result


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Computes on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def attributes() -> Iterator[None]:
    """Reads tensors by their attributes, as those of a PyTorch without DLPack's table."""
    _core._use_dlpack(False)
    try:
        yield
    finally:
        _core._use_dlpack(True)


@functools.lru_cache
def batches(
    count: int, size: int, d: int, classes: int, dtype: torch.dtype = f32
) -> list[tuple[Tensor, Tensor]]:
    """Examples and labels that a network can learn."""
    generator = torch.Generator().manual_seed(3)
    means = torch.rand(classes, d, generator=generator, dtype=dtype)
    result = []
    for _ in range(count):
        y = torch.randint(classes, (size,), generator=generator)
        result.append((0.5 * means[y] + 0.5 * torch.rand(size, d, generator=generator, dtype=dtype), y))
    return result


def differing(one: Any, other: Any) -> list[str]:
    """The names of what differs, to the bit, in the state dicts of two modules."""
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]
