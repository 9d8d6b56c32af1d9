"""Layers in torch operations, against golden cases, finite differences, torch's own layers, and loops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import golden
import numpy as np
import pytest
import torch
from torch import Tensor

from interneuron.errors import DtypeError
from interneuron.torch import composed

NAMES = ("Wex", "Wix", "Wei", "alpha", "g", "b")
GOLDEN = golden.paths("layer", "guard")
# Of the largest element: one pass of a layer, as in the tests of the Rust crate.
TOLERANCES = [(torch.float64, 2e-14), (torch.float32, 1e-5)]


def close(name: str, got: Tensor, expected: np.ndarray, tolerance: float) -> None:
    assert list(got.shape) == list(expected.shape), name
    error = np.abs(got.detach().double().numpy() - expected).max()
    assert error <= tolerance * max(np.abs(expected).max(), 1e-300), f"{name}: off by {error}"


def stepped(
    params: dict[str, Tensor], gradients: Iterator[Tensor], lr: float, corrected: bool
) -> dict[str, Tensor]:
    """One step of projected gradient descent, of a layer whose first parameter is `[ne, d]`."""
    ne, d = next(iter(params.values())).shape
    corrections = dict(Wix=1 / ne**0.5, Wei=1 / d, alpha=1 / (ne**0.5 * d)) if corrected else {}
    moved = {}
    for name, param in params.items():
        free = param.detach() - lr * corrections.get(name, 1.0) * next(gradients)
        moved[name] = free.clamp(min=0) if name in ("Wex", "Wix", "Wei", "g", "Wpos") else free
    return moved


def test_there_are_golden_cases() -> None:
    assert len(golden.paths("layer")) >= 7
    assert len(golden.paths("guard")) >= 2
    assert len(golden.paths("net")) >= 4


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES, ids=["f64", "f32"])
@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_golden(path: Path, dtype: torch.dtype, tolerance: float) -> None:
    case = golden.read(path)
    kind = case.metadata.get("kind", "plain")
    divisor = case.number("floor") if kind == "floor" else kind
    nonlinearity = "relu" if case.number("relu") == 1 else None
    x, dh = (torch.tensor(case[name], dtype=dtype) for name in ("x", "dh"))
    params = [torch.tensor(case[name], dtype=dtype, requires_grad=True) for name in NAMES]
    wex, wix, wei, alpha, g, b = params
    x.requires_grad_()

    h = composed.dann_linear(x, *params, nonlinearity=nonlinearity, divisor=divisor)
    inhibition = composed.inhibition(x, wex, wix, wei, alpha, divisor=divisor)
    zi, zhat, gamma = (inhibition[name] for name in ("zi", "zhat", "gamma"))
    close("h", h, case["h"], tolerance)
    close("zi", zi, case["zi"], tolerance)
    close("gamma", gamma, case["gamma"], tolerance)
    close("z", g * zhat + b, case["z"], tolerance)
    close("ze", zhat * gamma + zi @ wei.T, case["ze"], tolerance)

    gradients = torch.autograd.grad(h, [x, *params], dh)
    for name, gradient in zip(("x", *NAMES), gradients):
        close(f"d{name}", gradient, case[f"d{name}"], tolerance)
    shape = SimpleNamespace(kind="dann", relu=nonlinearity == "relu", divisive=True, divisor=divisor)
    assert torch.equal(composed.layer(shape, x, params), h)

    for after, corrected in (("1", True), ("1_sgd", False)):
        moved = stepped(dict(zip(NAMES, params)), iter(gradients[1:]), case.number("lr"), corrected)
        for name in NAMES:
            if name + after in case.arrays:
                close(name + after, moved[name], case[name + after], tolerance)


NETWORKS = golden.paths("net")
KINDS = {"dann": ("Wex", "Wix", "Wei", "alpha", "g", "b"), "mlp": ("W", "b"), "colei": ("Wpos", "b")}
KINDS["dann_nc"] = KINDS["dann"]


@pytest.mark.parametrize("path", NETWORKS, ids=[path.stem for path in NETWORKS])
def test_golden_networks(path: Path) -> None:
    # Whole steps of networks of each kind, in f64.
    case = golden.read(path)
    kind = case.metadata["kind"]
    if kind not in KINDS:
        pytest.skip(f"networks of kind {kind} have no layers here")
    x, y, lr = torch.tensor(case["x"]), torch.tensor(case["y"]), case.number("lr")
    layers = []
    for k in range(len(case["dims"]) - 1):
        layers.append({name: torch.tensor(case[f"p{k}_{name}"]) for name in KINDS[kind]})

    def logits() -> Tensor:
        h = x
        for k, params in enumerate(layers):
            nonlinearity = "relu" if k + 1 < len(layers) else None
            if kind == "colei":
                sign = torch.tensor(case[f"p{k}_sign"])
                h = composed.column_linear(h, **params, sign=sign, nonlinearity=nonlinearity)
            else:
                function = composed.linear if kind == "mlp" else composed.dann_linear
                h = function(h, **params, nonlinearity=nonlinearity)
        return h

    close("logits0", logits(), case["logits0"], 1e-13)
    losses = []
    for _ in range(int(case.number("steps"))):
        variables = [param.requires_grad_() for params in layers for param in params.values()]
        loss = torch.nn.functional.cross_entropy(logits(), y)
        losses.append(loss.detach())
        gradients = iter(torch.autograd.grad(loss, variables))
        layers = [stepped(params, gradients, lr, corrected=kind == "dann") for params in layers]
    close("loss", torch.stack(losses), case["loss"], 1e-12)
    close("loss_end", torch.nn.functional.cross_entropy(logits(), y).reshape(1), case["loss_end"], 1e-12)
    for k, params in enumerate(layers):
        for name, param in params.items():
            close(f"q{k}_{name}", param, case[f"q{k}_{name}"], 1e-12)


def arrays(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    """Positive numbers in f64, as weights and inputs are."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1 for shape in shapes]


def dann_arrays(d: int = 5, ne: int = 4, ni: int = 3, lead: tuple[int, ...] = (6,)) -> list[Tensor]:
    x, wex, wix, wei, alpha, g, b = arrays((*lead, d), (ne, d), (ni, d), (ne, ni), (ni,), (ne,), (ne,))
    return [x, 3 * wex, wix, wei, alpha.log(), g, b - 0.6]


def mixed(x: Tensor) -> Tensor:
    """Inputs of both signs, of which some divisors are negative."""
    return x * x.new_tensor([1.0, -1.3] * x.shape[-1])[: x.shape[-1]]


RUNNING = arrays((4,), (4,), seed=1)
# Each as a function of its arrays, and the arrays.
LAYERS = {
    "dann": (lambda x, *p: composed.dann_linear(x, *p), dann_arrays()),
    "dann identity": (lambda x, *p: composed.dann_linear(x, *p, nonlinearity=None), dann_arrays()),
    "floor": (
        lambda x, *p: composed.dann_linear(mixed(x), *p, nonlinearity=None, divisor=0.15),
        dann_arrays(),
    ),
    "root": (
        lambda x, *p: composed.dann_linear(mixed(x), *p, nonlinearity=None, divisor="root"),
        dann_arrays(),
    ),
    "subtractive": (
        lambda x, *p: composed.dann_linear(x, *p[:3], b=p[3]),
        dann_arrays()[:4] + dann_arrays()[6:],
    ),
    "linear": (lambda x, w, b: composed.linear(x, w, b - 2.4), arrays((6, 5), (4, 5), (4,))),
    "columns": (
        lambda x, w, b: composed.column_linear(x, w, b - 1, x.new_tensor([1.0, 1, 1, -1, -1])),
        arrays((6, 5), (4, 5), (4,)),
    ),
    "signed columns": (
        lambda x, *p: composed.column_linear(x, *p, inhibitory_outputs=2, nonlinearity=None),
        arrays((6, 5), (4, 5), (4,)),
    ),
    "layer norm": (
        lambda x, w, g, b: composed.layer_norm_linear(x, w, g, b - 0.6),
        arrays((6, 5), (4, 5), (4,), (4,)),
    ),
    "batch norm": (
        lambda x, w, g, b: composed.batch_norm_linear(x, w, g, b - 0.6, g, b, training=True)[0],
        arrays((6, 5), (4, 5), (4,), (4,)),
    ),
    "batch norm, running": (
        lambda x, w, g, b: composed.batch_norm_linear(
            x, w, g, b - 2, *(array.to(x.dtype) for array in RUNNING), training=False
        )[0],
        arrays((6, 5), (4, 5), (4,), (4,)),
    ),
}
EACH = pytest.mark.parametrize(("function", "inputs"), LAYERS.values(), ids=LAYERS.keys())


def variables(inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return tuple(array.clone().requires_grad_() for array in inputs)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
@EACH
def test_gradients(function, inputs) -> None:
    assert torch.autograd.gradcheck(function, variables(inputs), check_forward_ad=True)


@EACH
def test_second_gradients(function, inputs) -> None:
    assert torch.autograd.gradgradcheck(function, variables(inputs))


def test_layers_are_not_silent() -> None:
    # A case whose units are all off, or whose floor raises all or no divisor, would test nothing.
    for name, (function, inputs) in LAYERS.items():
        h = function(*inputs)
        assert h.abs().max() > 0.01, name
        if name not in ("dann identity", "floor", "root", "signed columns"):
            assert 0 < (h == 0).sum() < h.numel(), name
    x, *params = dann_arrays()
    plain = composed.inhibition(mixed(x), *params[:4])["gamma"]
    assert 0 < (plain < 0.15).sum() < plain.numel()


@EACH
def test_vmap_is_a_loop(function, inputs) -> None:
    x, *params = inputs
    batches = torch.stack([x, 2 * x.flip(0)])
    got = torch.func.vmap(lambda x: function(x, *params))(batches)
    torch.testing.assert_close(
        got, torch.stack([function(x, *params) for x in batches]), rtol=1e-12, atol=1e-12
    )


@EACH
def test_an_ensemble_is_a_loop(function, inputs) -> None:
    x, *params = inputs
    stacked = [torch.stack([param, param.flip(0)]) for param in params]
    got = torch.func.vmap(function, in_dims=(None, *[0] * len(params)))(x, *stacked)
    expected = torch.stack([function(x, *(param[k] for param in stacked)) for k in range(2)])
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "batch norm"])
def test_gradients_of_examples(name: str) -> None:
    function, (x, *params) = LAYERS[name]

    def loss(params, x):
        return function(x, *params).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, x)
    for k, example in enumerate(x):
        alone = torch.autograd.grad(loss(again := variables(params), example), again)
        for got, expected in zip(each, alone):
            torch.testing.assert_close(got[k], expected, rtol=1e-12, atol=1e-12)


@EACH
def test_leading_dimensions(function, inputs) -> None:
    x, *params = inputs
    h = function(x, *params)
    torch.testing.assert_close(
        function(x.reshape(2, 3, -1), *params), h.reshape(2, 3, -1), rtol=1e-12, atol=1e-12
    )
    strided = torch.stack([x, x], dim=-1)[..., 0]
    torch.testing.assert_close(function(strided, *params), h, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "batch norm"])
def test_one_example_and_none(name: str) -> None:
    function, (x, *params) = LAYERS[name]
    torch.testing.assert_close(function(x[0], *params), function(x, *params)[0], rtol=1e-12, atol=1e-12)
    assert function(x[:0], *params).shape == (0, params[0].shape[0])


@EACH
def test_half_precision(function, inputs) -> None:
    expected = function(*inputs)
    for dtype, tolerance in ((torch.bfloat16, 0.2), (torch.float16, 0.03)):
        got = function(*(array.to(dtype) for array in inputs))
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), expected, rtol=tolerance, atol=tolerance)


def test_silent_examples() -> None:
    x, *params = dann_arrays()
    x[2] = 0.0
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        inputs = variables([array.to(dtype) for array in (x, *params)])
        h = composed.dann_linear(*inputs)
        assert torch.equal(h[2], torch.relu(inputs[-1]))
        h.sum().backward()
        assert all(array.grad.isfinite().all() for array in inputs[1:])


def test_nothing_goes_through_a_raised_divisor() -> None:
    # γ = 2 exp(alpha) x + 1e-8: a bound below it, at it, above it.
    one = torch.ones(1, 1, dtype=torch.float64)
    for divisor, slope in ((1.0, 1.0), (2.0 + 1e-8, 1.0), (3.0, 0.0)):
        alpha = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        composed.dann_linear(
            one, one * 7, one, one * 2, alpha, one[0], nonlinearity=None, divisor=divisor
        ).backward()
        gamma = max(2.0 + 1e-8, divisor)
        expected = torch.tensor([-slope * 5.0 / gamma**2 * 2.0], dtype=torch.float64)
        torch.testing.assert_close(alpha.grad, expected, rtol=1e-14, atol=0)


def test_nan_stays() -> None:
    x, *params = dann_arrays()
    x[1, 2] = torch.nan
    for divisor in ("plain", "root", 0.01):
        h = composed.dann_linear(x, *params, divisor=divisor)
        assert h[1].isnan().all() and h[0].isfinite().all()


def test_batch_statistics() -> None:
    x, w, g, b = arrays((6, 5), (4, 5), (4,), (4,))
    norm = torch.nn.BatchNorm1d(4, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(g), norm.bias.copy_(b)
    mean, variance = torch.zeros_like(g), torch.ones_like(g)
    for batch in (x, 3 * x + 1, x[:2]):
        h, batch_mean, batch_variance = composed.batch_norm_linear(
            batch, w, g, b, mean, variance, training=True
        )
        mean, variance = 0.9 * mean + 0.1 * batch_mean, 0.9 * variance + 0.1 * batch_variance
        torch.testing.assert_close(h, torch.relu(norm(batch @ w.T)), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(mean, norm.running_mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(variance, norm.running_var, rtol=1e-12, atol=1e-12)
    h, *same = composed.batch_norm_linear(x, w, g, b, mean, variance, training=False)
    torch.testing.assert_close(h, torch.relu(norm.eval()(x @ w.T)), rtol=1e-12, atol=1e-12)
    assert same[0] is mean and same[1] is variance
    # One example is its own mean, and its variance is 0.
    h, _, variance = composed.batch_norm_linear(x[0], w, g, b, mean, variance, training=True)
    assert torch.equal(h, torch.relu(b)) and torch.equal(variance, torch.zeros_like(b))


def test_layer_norm_is_that_of_torch() -> None:
    x, w, g, b = arrays((6, 5), (4, 5), (4,), (4,))
    expected = torch.nn.functional.layer_norm(x @ w.T, (4,), g, b, eps=1e-5)
    got = composed.layer_norm_linear(x, w, g, b, nonlinearity=None)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_signs_may_come_before_or_after() -> None:
    # A network with signs at the inputs of its layers, and one that hands signed activities on.
    x, first, second, b = arrays((6, 5), (4, 5), (3, 4), (4,))
    sign = torch.tensor([1.0, 1, -1, -1], dtype=torch.float64)
    hidden = composed.column_linear(x, first, b)
    signed = composed.column_linear(x, first, b, inhibitory_outputs=2)
    assert torch.equal(signed, hidden * sign)
    before = composed.column_linear(hidden, second, None, sign, nonlinearity=None)
    assert torch.equal(composed.column_linear(signed, second, nonlinearity=None), before)
    all_of_them = composed.column_linear(x, first, b, inhibitory_outputs=4)
    assert torch.equal(all_of_them, -hidden)


def shape(kind: str, **more) -> SimpleNamespace:
    return SimpleNamespace(
        **{"kind": kind, "relu": True, "divisive": False, "divisor": None, "inhibitory_outputs": 0, **more}
    )


def test_shapes_find_their_layers() -> None:
    x, *params = dann_arrays()
    wex, wix, wei, _, g, b = params
    equal = torch.equal
    for divisor in ("plain", "root", 0.1):
        got = composed.layer(shape("dann", divisive=True, divisor=divisor), x, params)
        assert equal(got, composed.dann_linear(x, *params, divisor=divisor))
    got = composed.layer(shape("dann", relu=False), x, [wex, wix, wei, b])
    assert equal(got, composed.dann_linear(x, wex, wix, wei, b=b, nonlinearity=None))
    assert equal(composed.layer(shape("linear"), x, [wex, b]), composed.linear(x, wex, b))
    got = composed.layer(shape("columns", inhibitory_outputs=1), x, [wex, b])
    assert equal(got, composed.column_linear(x, wex, b, inhibitory_outputs=1))
    assert equal(
        composed.layer(shape("layer_norm"), x, [wex, g, b]), composed.layer_norm_linear(x, wex, g, b)
    )
    for training in (True, False):
        got = composed.layer(shape("batch_norm"), x, [wex, g, b, b, g], training=training)
        assert equal(got, composed.batch_norm_linear(x, wex, g, b, b, g, training=training)[0])


def test_devices_without_kernels() -> None:
    inputs = [array.to("meta") for array in dann_arrays()]
    assert composed.dann_linear(*inputs).shape == (6, 4)


def test_compiles_into_one_graph() -> None:
    x, *params = dann_arrays()
    compiled = torch.compile(
        lambda x, *p: composed.dann_linear(x, *p, divisor=0.3), backend="eager", fullgraph=True
    )
    assert torch.equal(compiled(x, *params), composed.dann_linear(x, *params, divisor=0.3))


X, WEX, WIX, WEI, ALPHA, G, B = dann_arrays()
ERRORS = [
    (
        lambda: composed.dann_linear(X, WEX[:, :4], WIX, WEI),
        "Wex is [4, 4]: expected [ne = 4, d = 5] beside x [6, 5]",
    ),
    (
        lambda: composed.dann_linear(X, WEX, WIX, WEI.T),
        "Wei is [3, 4]: expected [ne = 4, ni = 3] beside x [6, 5]",
    ),
    (
        lambda: composed.dann_linear(X, WEX, WIX, WEI, b=B[:, None]),
        "b is [4, 1]: expected [ne = 4] beside x [6, 5]",
    ),
    (lambda: composed.linear(X[0, 0], WEX), "x is a number: expected [..., d]"),
    (
        lambda: composed.dann_linear(X, WEX, WIX, WEI, ALPHA),
        "g is None and alpha is not: expected both (division), or neither",
    ),
    (
        lambda: composed.dann_linear(X, WEX, WIX, WEI, g=G),
        "alpha is None and g is not: expected both (division), or neither",
    ),
    (
        lambda: composed.dann_linear(X, WEX, WIX, WEI, ALPHA, G, divisor=0.0),
        "divisor is 0.0: expected 'plain', 'root', or a floor from 1e-30 to 1e30",
    ),
    (
        lambda: composed.dann_linear(X, WEX, WIX, WEI, ALPHA, G, divisor="floor"),
        "divisor is 'floor': expected 'plain', 'root', or a floor from 1e-30 to 1e30",
    ),
    (
        lambda: composed.dann_linear(X, WEX, WIX, WEI, divisor="root"),
        "divisor is 'root' and alpha is None: expected alpha and g, or nothing divides",
    ),
    (
        lambda: composed.dann_linear(X, WEX, WIX, WEI, ALPHA, G, divisor=None),
        "divisor is None and alpha is not: expected 'plain', 'root' or a number, or no alpha and g",
    ),
    (lambda: composed.linear(X, WEX, nonlinearity="tanh"), "nonlinearity is 'tanh': expected 'relu' or None"),
    (
        lambda: composed.column_linear(X, WEX, inhibitory_outputs=5),
        "inhibitory_outputs is 5: expected from 0 to ne = 4",
    ),
    (
        lambda: composed.batch_norm_linear(X[:0], WEX, G, B, B, G, training=True),
        "x is [0, 5]: expected an example at least, as batches have no mean without one",
    ),
    (
        lambda: composed.layer(shape("rnn"), X, []),
        "shape.kind is 'rnn': expected dann, linear, columns, layer_norm or batch_norm",
    ),
]


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=[text for _, text in ERRORS])
def test_errors(call, text: str) -> None:
    # ShapeError and InvalidValue are ValueErrors.
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == text


def test_dtypes_are_not_cast() -> None:
    with pytest.raises(DtypeError) as caught:
        composed.dann_linear(X.float(), WEX, WIX, WEI)
    text = (
        "Wex is torch.float64 and x is torch.float32: expected one dtype, for instance by x.to(torch.float64)"
    )
    assert str(caught.value) == text


def test_params_of_another_kind() -> None:
    with pytest.raises(ValueError, match=r"params has 5 arrays: expected 4 for .*: Wex, Wix, Wei, b"):
        composed.layer(shape("dann"), X, [WEX, WIX, WEI, ALPHA, B])
