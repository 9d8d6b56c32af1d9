"""One layer on arrays of the caller's."""

from typing import Any

import golden
import numpy as np
import pytest

import interneuron as inn
from interneuron import Layer, Network, Shape
from interneuron.errors import InvalidValue, ShapeError

SHAPES = [
    Shape.dann(7, 9, 3),
    Shape.dann(7, 9, 3, relu=False, divisor="root"),
    Shape.dann(7, 9, 3, divisor=0.01),
    Shape.dann(7, 9, 3, divisor=None),
    Shape.linear(7, 9),
    Shape.columns(7, 9, inhibitory_inputs=2, inhibitory_outputs=1),
    Shape.layer_norm(7, 9),
    Shape.batch_norm(7, 9),
]


def problem(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.random((12, 7)).astype(dtype), rng.normal(size=(12, 9)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_update_is_backward_and_apply(shape: Shape, dtype: str) -> None:
    x, dh = problem(dtype)
    layer, rule = Layer(shape), inn.csgd(0.05, momentum=0.9)
    fused, apart = layer.draw(1, dtype=dtype), layer.draw(1, dtype=dtype)
    fused_state, apart_state = layer.state(dtype), layer.state(dtype)
    for _ in range(3):
        h, kept = layer.forward(fused, x)
        dx = layer.update(fused, kept, x, dh, fused_state, rule)
        with inn.threads(2):
            other_h, other_kept = layer.forward(apart, x)
            other_dx, gradients = layer.backward(apart, other_kept, x, dh)
            assert gradients is not None
            layer.apply(apart, gradients, apart_state, rule)
        assert h.tobytes() == other_h.tobytes() and dx is not None and other_dx is not None
        assert dx.tobytes() == other_dx.tobytes() and h.dtype == dtype
    assert (
        all(a.tobytes() == b.tobytes() for a, b in zip(fused, apart, strict=True))
        and fused_state == apart_state
    )


def test_what_is_not_needed_is_none() -> None:
    x, dh = problem("float32")
    layer = Layer(SHAPES[0])
    params = layer.draw()
    h, kept = layer.forward(params, x)
    np.testing.assert_array_equal(layer.infer(params, x), h)
    dx, gradients = layer.backward(params, kept, x, dh, needs_x=False)
    assert dx is None and gradients is not None and len(gradients) == len(layer.names) == 6
    # A second backward pass of the same forward pass.
    dx, none = layer.backward(params, kept, x, dh, needs_params=False)
    assert dx is not None and none is None
    assert layer.update(params, kept, x, dh, layer.state(), inn.sgd(0.1), needs_x=False) is None


@pytest.mark.parametrize(
    "name", ["layer_01_tiny", "layer_02_odd", "layer_04_ni1_linear", "layer_07_zero_rows"]
)
def test_golden_layers(name: str) -> None:
    case = golden.read(golden.FOLDER / f"{name}.safetensors")
    d, ne, ni = (int(case.number(it)) for it in ("d", "ne", "ni"))
    layer = Layer(Shape.dann(d, ne, ni, relu=bool(case.number("relu"))))
    params = [case[it].copy() for it in layer.names]
    h, kept = layer.forward(params, case["x"])
    np.testing.assert_allclose(h, case["h"], rtol=1e-9, atol=1e-12)
    dx, gradients = layer.backward(params, kept, case["x"], case["dh"])
    np.testing.assert_allclose(dx, case["dx"], rtol=1e-8, atol=1e-10)
    assert gradients is not None
    for it, gradient in zip(layer.names, gradients, strict=True):
        np.testing.assert_allclose(gradient, case[f"d{it}"], rtol=1e-8, atol=1e-10)
    layer.apply(params, gradients, layer.state("float64"), inn.csgd(case.number("lr")))
    for it, array in zip(layer.names, params, strict=True):
        np.testing.assert_allclose(array, case[f"{it}1"], rtol=1e-8, atol=1e-10)


def test_draws_are_those_of_networks() -> None:
    net = Network([7, 9, 4], [3, 1], seed=6).params()
    first = Layer(Shape.dann(7, 9, 3))
    for name, array in zip(first.names, first.draw(6, rectified=False), strict=True):
        np.testing.assert_array_equal(array, net[f"layers.0.{name}"])
    assert not np.array_equal(first.draw(6)[0], net["layers.0.Wex"])


def test_low_divisors_are_counted() -> None:
    x, _ = problem("float32")
    layer = Layer(SHAPES[0])
    _, kept = layer.forward(layer.draw(), -x)
    low = kept.low_divisors()
    assert low is not None and low[0] == low[1] == 12 * 9


def test_no_rows_and_other_dimensions() -> None:
    x, dh = problem("float32")
    layer = Layer(SHAPES[0])
    params = layer.draw()
    h, kept = layer.forward(params, x[:0])
    assert h.shape == (0, 9)
    dx, gradients = layer.backward(params, kept, x[:0], dh[:0])
    assert (
        dx is not None
        and dx.shape == (0, 7)
        and gradients is not None
        and not any(it.any() for it in gradients)
    )
    assert layer.infer(params, x.reshape(3, 4, 7)).shape == (3, 4, 9)
    assert layer.infer(params, x[0]).shape == (9,)


def test_what_is_refused() -> None:
    x, dh = problem("float32")
    layer: Layer = Layer(SHAPES[0])
    params: list[Any] = layer.draw()
    _, kept = layer.forward(params, x)
    state, rule = layer.state(), inn.sgd(0.1)
    with pytest.raises(TypeError, match="shape is <class 'str'>: expected a Shape"):
        Layer("dann")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="params are 5 arrays: expected 6, Wex, Wix, Wei, alpha, g, b"):
        layer.forward(params[:5], x)
    with pytest.raises(TypeError, match="x is of float64: expected float32"):
        layer.forward(params, x.astype("float64"))
    with pytest.raises(ShapeError, match="dh has 11 examples, x has 12: expected as many"):
        layer.backward(params, kept, x, dh[:11])
    with pytest.raises(ShapeError, match="shares memory with"):
        layer.update([params[0], *params[1:5], params[4]], kept, x, dh, state, rule)
    with pytest.raises(ShapeError, match="expected a row-major array without gaps"):
        layer.update([np.asfortranarray(params[0]), *params[1:]], kept, x, dh, state, rule)
    params[5].flags.writeable = False
    with pytest.raises(InvalidValue, match="b is read-only: expected an array that can be written"):
        layer.update(params, kept, x, dh, state, rule)
    layer.infer(params, x)
