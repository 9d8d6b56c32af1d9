"""Layers by the kernels, against torch operations: every kind, variant, layout and element type."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import common
import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from common import SHAPES, assert_close, attributes, compare, f32, f64, inputs, layouts, parameters
from torch import Tensor

import interneuron.torch as it
from interneuron import _core
from interneuron.errors import ShapeError

KINDS = list(SHAPES)
DTYPES = pytest.mark.parametrize("dtype", [f32, f64], ids=["f32", "f64"])
RELU = pytest.mark.parametrize("relu", [True, False], ids=["relu", "identity"])
KIND = pytest.mark.parametrize("kind", KINDS)
LEADS = [(), (1,), (7,), (33,), (2, 3), (1, 5), (2, 1, 4), (1, 1, 1)]


@pytest.fixture(params=["dlpack", "attributes"], autouse=True)
def way_in(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "dlpack":
        yield
    else:
        with attributes():
            yield


def normals(*sizes: int, dtype: torch.dtype = f64, seed: int = 5) -> Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_pytorch_has_the_table_of_dlpack() -> None:
    # Otherwise both ways in are one.
    assert hasattr(torch.Tensor, "__dlpack_c_exchange_api__")


@KIND
@RELU
@DTYPES
def test_leading_dimensions(kind: str, relu: bool, dtype: torch.dtype) -> None:
    shape = SHAPES[kind](13, 21, 5, relu)
    arrays = parameters(shape, dtype)
    for lead in LEADS:
        if kind == "batch_norm" and torch.Size(lead).numel() == 1:
            # Normalised over one example, all is 0, and gradients are the rounding of the variance.
            continue
        compare(shape, inputs(shape, lead, dtype), arrays, normals(*lead, 21, dtype=dtype))


@KIND
@DTYPES
def test_layouts(kind: str, dtype: torch.dtype) -> None:
    shape = SHAPES[kind](12, 10, 4, True)
    arrays, x, dh = parameters(shape, dtype), inputs(shape, (4, 3), dtype), normals(4, 3, 10, dtype=dtype)
    for _, same in layouts(x):
        assert torch.equal(same, x)
        compare(shape, same, arrays, dh)
    for _, same in layouts(dh):
        compare(shape, x, arrays, same)
    # Parameters, too: all of them in one layout, of those that arrays of one dimension have.
    for place in range(8):
        compare(
            shape, x, [list(layouts(array))[place % len(list(layouts(array)))][1] for array in arrays], dh
        )


@KIND
@DTYPES
def test_gradients_that_repeat_one_number(kind: str, dtype: torch.dtype) -> None:
    # That of a sum has strides of 0.
    shape = SHAPES[kind](9, 6, 2, True)
    compare(shape, inputs(shape, (5,), dtype), parameters(shape, dtype))
    compare(shape, inputs(shape, (2, 3), dtype), parameters(shape, dtype))
    row = normals(6, dtype=dtype).expand(5, 6)
    column = normals(5, 1, dtype=dtype).expand(5, 6)
    for dh in (row, column):
        compare(shape, inputs(shape, (5,), dtype), parameters(shape, dtype), dh)


@KIND
def test_inputs_that_repeat_one_example(kind: str) -> None:
    shape = SHAPES[kind](9, 6, 2, True)
    one = inputs(shape, (1,), f64)
    x = torch.cat([one.expand(4, 9), inputs(shape, (4,), f64)]) if kind == "batch_norm" else one.expand(4, 9)
    compare(shape, x, parameters(shape, f64), normals(len(x), 6))
    # Rows that overlap: each begins one element after the one before.
    line = inputs(shape, (3,), f64).reshape(-1)
    compare(shape, line.as_strided((5, 9), (1, 1)), parameters(shape, f64), normals(5, 6))


@KIND
@RELU
def test_frozen_parameters(kind: str, relu: bool) -> None:
    shape = SHAPES[kind](8, 11, 3, relu)
    arrays, x, dh = parameters(shape, f64), inputs(shape, (6,), f64), normals(6, 11)
    count = len(arrays)
    for flags in itertools.product([False, True], repeat=count):
        compare(shape, x, arrays, dh, flags, True)
        compare(shape, x, arrays, dh, flags, False)


@KIND
@DTYPES
def test_batches_without_examples(kind: str, dtype: torch.dtype) -> None:
    shape = SHAPES[kind](5, 4, 2, True)
    for lead in [(0,), (0, 3), (2, 0), (1, 0, 2)]:
        x, arrays = inputs(shape, lead, dtype).requires_grad_(), parameters(shape, dtype)
        mine = common.leaves(arrays, [role != "statistic" for _, _, role, _, _ in shape.parameters])
        if kind == "batch_norm":
            for function in (common.run, it.composed.layer):
                with pytest.raises(ShapeError, match="expected an example"):
                    function(shape, x, mine)
            assert all(map(torch.equal, arrays, parameters(shape, dtype)))
            continue
        h = common.run(shape, x, mine)
        assert h.shape == (*lead, 4) and h.dtype == dtype
        h.sum().backward()
        assert x.grad is not None and x.grad.shape == x.shape
        for array in mine:
            assert array.grad is not None and array.grad.shape == array.shape and not array.grad.any()
        with torch.no_grad():
            assert common.run(shape, x, mine).shape == (*lead, 4)


@KIND
@DTYPES
def test_without_a_graph(kind: str, dtype: torch.dtype) -> None:
    # Another pass of the kernels than that which keeps what a backward pass needs.
    shape = SHAPES[kind](14, 9, 3, True)
    arrays = parameters(shape, dtype)
    for lead in [(), (17,), (2, 4)]:
        for _, x in layouts(inputs(shape, lead, dtype)):
            exact = [array.double() for array in arrays]
            expected = it.composed.layer(shape, x.double(), exact, training=False)
            if kind == "batch_norm":
                h = it.functional.batch_norm_linear(shape, x, arrays, training=False)
            else:
                h = common.run(shape, x, arrays)
            assert not h.requires_grad
            assert_close("h", h, expected, dtype)


@DTYPES
def test_running_statistics(dtype: torch.dtype) -> None:
    layer = it.BatchNormLinear(7, 5, seed=1, dtype=dtype)
    x, before = torch.rand(9, 7, dtype=dtype), (layer.running_mean.clone(), layer.running_var.clone())
    of_batch = it.composed.batch_norm_linear(
        x, layer.W, layer.g, layer.b, layer.running_mean, layer.running_var, training=True
    )[1:]
    h = layer(x)
    # They take in the batch in the backward pass, once.
    assert torch.equal(layer.running_mean, before[0])
    h.sum().backward(retain_graph=True)
    for name, old, new in zip(("running_mean", "running_var"), before, of_batch, strict=True):
        assert_close(name, getattr(layer, name), 0.9 * old.double() + 0.1 * new.double(), dtype)
    layer.eval()
    expected = it.composed.layer(layer.shape, x, layer.arrays(), training=False)
    assert_close("h", layer(x), expected.double(), dtype)
    with torch.no_grad():
        assert_close("h", layer(x), expected.double(), dtype)


def test_modules_are_their_functions() -> None:
    x = torch.rand(6, 8, dtype=f64)
    for divisor in ("plain", 0.2, "root", None):
        shape = _core.Shape.dann(8, 5, 3, divisor=divisor)
        layer = it.from_shape(shape, seed=2, dtype=f64)
        named = dict(layer.named_parameters())
        same = {"divisor": divisor} if divisor is not None else {}
        h = it.functional.dann_linear(x, **named, **same)
        assert torch.equal(layer(x), h)
        assert_close("h", h, it.composed.dann_linear(x, **named, **same), f64)
        inhibition = layer.inhibition(x)
        assert inhibition["zi"].shape == (6, 3) and not inhibition["zi"].requires_grad
        named.pop("b")
        without = it.functional.dann_linear(x, **named, **same, nonlinearity=None)
        assert_close("h", without, it.composed.dann_linear(x, **named, **same, nonlinearity=None), f64)
    columns = it.ColumnEILinear(8, 5, 3, seed=1, dtype=f64)
    assert columns.sign.tolist() == [1.0] * 5 + [-1.0] * 3
    expected = it.composed.column_linear(x, columns.Wpos, columns.b, columns.sign)
    assert_close("h", columns(x), expected, f64)
    assert_close("h", it.functional.column_linear(x, columns.Wpos, columns.b, columns.sign), expected, f64)


@st.composite
def problems(draw: st.DrawFn) -> tuple[str, int, int, int, tuple[int, ...], bool, torch.dtype, int, int]:
    size = st.one_of(st.integers(1, 20), st.integers(0, 130))
    kind, d, ne, ni = draw(st.sampled_from(KINDS)), draw(size), draw(size), draw(size)
    lead = draw(st.lists(st.one_of(st.integers(0, 5), st.integers(0, 40)), max_size=3).map(tuple))
    wrong = draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
    return (
        kind,
        d,
        ne,
        ni,
        lead,
        draw(st.booleans()),
        draw(st.sampled_from([f32, f64])),
        draw(st.integers(0, 7)),
        wrong,
    )


@hypothesis.settings(
    deadline=None, max_examples=400, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
@hypothesis.given(problems())
def test_any_shape(problem: tuple[str, int, int, int, tuple[int, ...], bool, torch.dtype, int, int]) -> None:
    """As torch operations, or the class of error that nn.Linear has for it."""
    kind, d, ne, ni, lead, relu, dtype, place, wrong = problem
    inhibited = kind in ("plain", "floor", "root", "subtractive")
    if d == 0 or ne == 0 or (ni == 0 and inhibited):
        with pytest.raises(ShapeError):
            SHAPES[kind](d, ne, ni, relu)
        return
    shape = SHAPES[kind](d, ne, ni, relu)
    arrays, x = parameters(shape, dtype), inputs(shape, lead, dtype)
    if wrong:
        x = torch.zeros((*lead, d + wrong), dtype=dtype)
        with pytest.raises(RuntimeError):
            torch.nn.functional.linear(x, torch.zeros(ne, d, dtype=dtype))
        with pytest.raises(ShapeError, match="expected"):
            common.run(shape, x, arrays)
        return
    if kind == "batch_norm" and torch.Size(lead).numel() < 3:
        # Few examples have no spread, or none worth the name.
        return
    ways = list(layouts(x))
    same, dh = ways[place % len(ways)][1], normals(*lead, ne, dtype=dtype)
    # Small differences between units or examples are normalised up, and so is their rounding.
    factor = 100.0 if kind in ("batch_norm", "layer_norm") else 10.0
    compare(shape, same, arrays, dh, factor=factor, by_all=True)
