"""Recurrent layers of PyTorch: against operations of it, in its graphs, with the optimisers, and what is refused."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from common import assert_close, f32, f64, threads
from test_rnn import of_case
from torch import Tensor, nn

import interneuron as inn
import interneuron.torch as it
from interneuron import Shape, _core
from interneuron.errors import InvalidValue, ShapeError

GOLDEN = golden.paths("rnn")
CELLS: dict[str, Callable[..., Shape]] = {
    "subtractive": lambda **more: Shape.recurrent_dann(5, 13, 2, 3, **more),
    "plain": lambda **more: Shape.recurrent_dann(5, 13, 2, 3, divisor="plain", **more),
    "floor": lambda **more: Shape.recurrent_dann(5, 13, 2, 3, divisor=0.3, **more),
    "root": lambda **more: Shape.recurrent_dann(5, 13, 2, 3, divisor="root", **more),
    "columns": lambda **more: Shape.recurrent_columns(5, 13, 3, inhibitory_inputs=1, no_self=True, **more),
    "unsigned": lambda **more: Shape.recurrent_columns(5, 13, 3, signed=False, **more),
    "no interneurons": lambda **more: Shape.recurrent_plain(5, 13, no_self=True, **more),
}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "learned": {"learned_state": True},
    "rate": {"dynamics": "rate", "kappa": 0.3},
    "state": {"dynamics": "state", "kappa": 0.2, "learned_state": True},
    "per unit": {"dynamics": "rate", "kappa": "per_unit", "learned_state": True, "visible": 9},
    "hidden": {"dynamics": "state", "kappa": "per_unit", "visible": 9},
}
CELL = pytest.mark.parametrize("cell", CELLS)
FORM = pytest.mark.parametrize("form", FORMS)
MODULES: dict[str, Callable[..., nn.Module]] = {
    "dann": lambda **how: it.DannRNN(5, 13, 2, **how),
    "divisive": lambda **how: it.DannRNN(5, 13, 2, divisor="plain", **how),
    "columns": lambda **how: it.ColumnEIRNN(5, 13, 2, n_inhibitory_in=2, **how),
    "plain": lambda **how: it.PlainRNN(5, 13, 2, no_self=True, **how),
}
MODULE = pytest.mark.parametrize("name", MODULES)


def numbers(*size: int, seed: int = 0, dtype: torch.dtype = f64, least: float = 0.1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(size, generator=generator, dtype=f64).to(dtype) + least


def parameters(shape: Shape, dtype: torch.dtype = f64) -> list[Tensor]:
    """Fresh ones, but for numbers that begin at 0 or 1."""
    arrays = [torch.empty(size, dtype=dtype) for _, size, *_ in shape.parameters]
    _core.draw_layer(shape, arrays, 5, rectified=False)
    for (name, size, *_), array in zip(shape.parameters, arrays, strict=True):
        if name in ("kappa", "h0", "b"):
            array.copy_(0.5 * numbers(*size, seed=len(name)))
    return arrays


def moved(shape: Shape) -> list[bool]:
    return [role != "constant" for _, _, role, _, _ in shape.parameters]


def variables(arrays: list[Tensor], flags: list[bool], dtype: torch.dtype) -> list[Tensor]:
    return [array.detach().to(dtype).clone().requires_grad_(flag) for array, flag in zip(arrays, flags, strict=True)]


@CELL
@FORM
@pytest.mark.parametrize("dtype", [f32, f64], ids=["f32", "f64"])
@pytest.mark.parametrize("given", [False, True], ids=["own", "given"])
def test_kernels_are_the_operations(cell: str, form: str, dtype: torch.dtype, given: bool) -> None:
    shape = CELLS[cell](**FORMS[form])
    for steps, examples in ((6, 3), (1, 4), (3, 40)):
        arrays = [x.to(f32) for x in parameters(shape)]
        x, noise = numbers(steps, examples, 5, dtype=f32), 0.1 * numbers(steps, examples, 13, seed=1, dtype=f32)
        states = numbers(examples, 13, seed=2, dtype=f32)
        both = []
        for of, run in ((dtype, it.functional.recurrent), (f64, it.composed.recurrent)):
            x_, states_, noise_, *params = variables(
                [x, states, noise, *arrays], [True, given, False, *moved(shape)], of
            )
            out = run(shape, x_, params, **({"noise": noise_, "states": states_} if given else {}))
            wanted = [it for it in (x_, states_, *params) if it.requires_grad]
            dh, dlast = numbers(*out[0].shape, seed=3, dtype=of), numbers(*out[1].shape, seed=4, dtype=of)
            gradients = torch.autograd.grad(out, wanted, (dh, dlast), allow_unused=True, materialize_grads=True)
            with torch.no_grad():
                inferred = run(shape, x_, params, **({"noise": noise_, "states": states_} if given else {}))
            assert all(map(torch.equal, inferred, out))
            both.append([*out, *gradients])
        for k, (mine, expected) in enumerate(zip(*both, strict=True)):
            assert_close(f"{k} of {steps} by {examples}", mine, expected, dtype, factor=30)


@CELL
@FORM
def test_gradients_are_differences(cell: str, form: str) -> None:
    shape = CELLS[cell](**FORMS[form])
    arrays = parameters(shape)
    # Weights that are zero and stay so are no variables.
    flags = [flag and not (shape.no_self and name in ("W", "Wpos")) for flag, (name, *_) in zip(moved(shape), shape.parameters)]
    x, states, *params = variables([numbers(3, 2, 5), numbers(2, 13, seed=2), *arrays], [True, True, *flags], f64)
    noise = 0.1 * numbers(3, 2, 13, seed=1)

    def run(x: Tensor, states: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return it.functional.recurrent(shape, x, params, noise=noise, states=states)

    assert torch.autograd.gradcheck(run, (x, states, *(it for it in params if it.requires_grad)), fast_mode=True)


@CELL
def test_double_backward(cell: str) -> None:
    shape = CELLS[cell](dynamics="rate", kappa=0.5)
    x, states, *params = variables(
        [numbers(3, 2, 5), numbers(2, 13, seed=2), *parameters(shape)], [True, True, *moved(shape)], f64
    )

    def run(x: Tensor, states: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return it.functional.recurrent(shape, x, params, states=states)

    wanted = [it for it, (name, *_) in zip(params, shape.parameters) if it.requires_grad and name not in ("W", "Wpos")]
    assert torch.autograd.gradgradcheck(run, (x, states, *wanted), fast_mode=True)


def test_no_gradient_is_asked_for() -> None:
    model, x = it.DannRNN(5, 13, 2, seed=1), torch.rand(4, 3, 5)
    expected = model(x)
    with torch.no_grad():
        assert all(map(torch.equal, model(x), expected))
    with torch.inference_mode():
        assert all(map(torch.equal, model(x), expected))
    model.requires_grad_(False)
    output, h_n = model(x)
    assert not output.requires_grad and torch.equal(output, expected[0]) and torch.equal(h_n, expected[1])
    # The gradient of the input alone.
    x.requires_grad_()
    (dx,) = torch.autograd.grad(model(x)[0].sum(), x)
    (right,) = torch.autograd.grad(it.DannRNN(5, 13, 2, seed=1)(x)[0].sum(), x)
    assert torch.allclose(dx, right, rtol=1e-5, atol=1e-6 * float(right.abs().max()))


def test_gradients_by_noise() -> None:
    shape = CELLS["subtractive"]()
    noise = (0.1 * numbers(3, 2, 13, seed=1)).requires_grad_()
    params = parameters(shape)

    def run(noise: Tensor) -> Tensor:
        return it.functional.recurrent(shape, numbers(3, 2, 5), params, noise=noise)[0]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.autograd.gradcheck(run, noise)


@MODULE
def test_many_passes_outstanding(name: str) -> None:
    model = MODULES[name](seed=1, dtype=f64)
    xs = [numbers(4, 3, 5, seed=k) for k in range(5)]

    def gradients(loss: Tensor, **how: Any) -> list[Tensor]:
        return list(torch.autograd.grad(loss, list(model.parameters()), **how))

    expected = [gradients(model(x)[0].square().sum()) for x in xs]
    losses = [model(x)[0].square().sum() for x in xs]
    for k in (3, 0, 4, 1, 2):
        first = gradients(losses[k], retain_graph=True)
        # Once more, of what is made again.
        for once, again, right in zip(first, gradients(losses[k]), expected[k], strict=True):
            assert torch.equal(once, right) and torch.equal(again, right)


@MODULE
def test_graphs_die_without_the_collector(name: str) -> None:
    model = MODULES[name](seed=1)
    gc.disable()
    try:
        for ended in (True, False):
            output, _ = model(torch.rand(4, 3, 5))
            node = weakref.ref(output.grad_fn)
            if ended:
                output.sum().backward()
            del output, _
            assert node() is None
    finally:
        gc.enable()


@MODULE
def test_called_as_those_of_pytorch(name: str) -> None:
    model = MODULES[name](seed=1)
    theirs = nn.RNN(5, 13, 2, nonlinearity="relu")
    x, h0 = torch.rand(7, 3, 5), torch.rand(2, 3, 13)
    for arguments in ((x,), (x, h0), (x[:, 0],), (x[:, 0], h0[:, 0])):
        mine, expected = model(*arguments), theirs(*arguments)
        assert [it.shape for it in mine] == [it.shape for it in expected]
    output, h_n = model(x, h0)
    assert torch.equal(output[-1], h_n[-1])
    batch_first = MODULES[name](seed=1, batch_first=True)
    turned, ends = batch_first(x.transpose(0, 1), h0)
    assert torch.equal(turned.transpose(0, 1), output) and torch.equal(ends, h_n)
    for k in range(3):
        alone, end = model(x[:, k], h0[:, k])
        assert torch.allclose(alone, output[:, k], atol=1e-5) and torch.allclose(end, h_n[:, k], atol=1e-5)
    # Cut in two, with the gradients of the whole.
    first, middle = model(x[:4], h0)
    second, end = model(x[4:], middle)
    assert torch.equal(torch.cat([first, second]), output) and torch.equal(end, h_n)
    wanted = list(model.parameters())
    for mine_, right in zip(
        torch.autograd.grad(first.sum() + second.sum(), wanted), torch.autograd.grad(output.sum(), wanted), strict=True
    ):
        assert torch.allclose(mine_, right, rtol=1e-4, atol=1e-4 * float(right.abs().max()))


def test_arguments() -> None:
    x = torch.rand(6, 3, 5)
    # A bias that is not there stays 0.
    model = it.DannRNN(5, 13, bias=False, seed=1)
    optimizer = it.CSGD(model, lr=0.1)
    model(x)[0].square().sum().backward()
    optimizer.step()
    layer: Any = model.layers[0]
    assert not layer.b.any() and not layer.b.requires_grad
    # Dropout lies between layers, in training.
    model = it.DannRNN(5, 13, 2, dropout=0.5, seed=1)
    assert not torch.equal(model(x)[0], model(x)[0])
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])
    # Noise of one layer, and of two.
    one, two = it.DannRNN(5, 13, batch_first=True, seed=1), it.DannRNN(5, 13, 2, seed=1)
    noise = torch.rand(3, 6, 13)
    shape, arrays = one.layers[0].shape, one.layers[0].arrays()  # type: ignore[union-attr, operator]
    expected = it.composed.recurrent(shape, x, arrays, noise=noise.transpose(0, 1))[0]  # type: ignore[arg-type]
    assert torch.allclose(one(x.transpose(0, 1), noise=noise)[0].transpose(0, 1), expected, atol=1e-5)
    noise = noise.transpose(0, 1)
    assert torch.equal(two(x, noise=[None, noise])[1][0], two(x)[1][0])
    assert not torch.equal(two(x, noise=[None, noise])[1][1], two(x)[1][1])
    # Leaks of each unit are no parameters, and stay where others are drawn.
    kappa = torch.linspace(0.1, 1.0, 13)
    model = it.DannRNN(5, 13, dynamics="state", kappa=kappa, learned_state=True)
    model.reset_parameters()
    assert torch.equal(model.state_dict()["layers.0.kappa"], kappa)
    names = {name for name, _ in model.named_parameters()}
    assert "layers.0.h0" in names and "layers.0.kappa" not in names
    assert "n" not in it.DannRNN(5, 13).state_dict()
    assert repr(two).startswith("DannRNN(\n  5, 13, num_layers=2\n")


def test_how_they_are_drawn() -> None:
    for make, shapes in (
        (it.DannRNN, [Shape.recurrent_dann(d, 20, 2, 2) for d in (5, 20)]),
        (
            it.ColumnEIRNN,
            [
                Shape.recurrent_columns(5, 20, 2),
                Shape.recurrent_columns(20, 20, 2, inhibitory_inputs=2, signed=False),
            ],
        ),
        (it.PlainRNN, [Shape.recurrent_plain(d, 20) for d in (5, 20)]),
    ):
        net = inn.Network.of(shapes, seed=4, few_inputs=True, radius=0.9)
        model = make(5, 20, 2, seed=4, few_inputs=True, radius=0.9)
        state = model.state_dict()
        assert state.keys() == net.params().keys()
        assert all(np.array_equal(state[name].numpy(), array) for name, array in net.params().items())
        torch.manual_seed(1)
        one, other = make(5, 20), make(5, 20)
        first = next(iter(state))
        assert not torch.equal(one.state_dict()[first], other.state_dict()[first])


def of_network(name: str, dtype: torch.dtype = f32, **how: Any) -> nn.ModuleDict:
    return nn.ModuleDict({"rnn": MODULES[name](seed=1, dtype=dtype, **how), "readout": readout(name, dtype)})


def readout(name: str, dtype: torch.dtype) -> it.Layer:
    if name == "columns":
        return it.ColumnEILinear(13, 3, 2, nonlinearity=None, seed=2, dtype=dtype)
    return it.DannLinear(13, 3, 1, nonlinearity=None, divisive=False, seed=2, dtype=dtype)


def batch(k: int, dtype: torch.dtype = f32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(k)
    x = torch.rand(6, 4, 5, generator=generator, dtype=f64).to(dtype)
    return x, torch.randint(3, (6, 4), generator=generator), torch.ones(6, 4, dtype=dtype)


def train(model: nn.ModuleDict, optimizer: it.LayerOptimizer, steps: int) -> list[float]:
    losses = []
    for k in range(steps):
        x, y, weights = batch(k, next(model.parameters()).dtype)
        optimizer.zero_grad()
        loss = it.loss(model["readout"](model["rnn"](x)[0]), y, weights=weights)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


OPTIMIZERS: dict[str, Callable[..., it.LayerOptimizer]] = {
    "csgd": lambda model, **how: it.CSGD(model, lr=0.05, momentum=0.9, clip=1.0, **how),
    "adam": lambda model, **how: it.AdamW(model, lr=0.01, **how),
    "eg": lambda model, **how: it.EG(model, lr=0.05, **how),
}


@MODULE
@pytest.mark.parametrize("rule", OPTIMIZERS)
@pytest.mark.parametrize("how", [{}, {"dynamics": "state", "kappa": 0.4, "learned_state": True}], ids=["plain", "state"])
def test_fused_is_unfused(name: str, rule: str, how: dict[str, Any]) -> None:
    one, other = of_network(name, **how), of_network(name, **how)
    losses = train(one, OPTIMIZERS[rule](one), 10)
    with threads(2):
        assert train(other, OPTIMIZERS[rule](other, fused=True), 10) == losses
    for (key, array), mine in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(array, mine), key
    for key, array in one.named_parameters():
        if key.rsplit(".", 1)[1] in ("Uex", "Uix", "Uei", "Wex", "Wix", "Wei", "Ug", "Wg", "Upos", "Wpos"):
            assert (array >= 0).all(), key
    for layer in one["rnn"].layers if name == "plain" else ():  # type: ignore[union-attr]
        assert not torch.diagonal(layer.W).any()


@MODULE
@pytest.mark.parametrize("rule", ["csgd", "adam"])
def test_whole_steps(name: str, rule: str) -> None:
    one, model = of_network(name, f64), of_network(name, f64)
    other = nn.ModuleList([model["rnn"], model["readout"]])
    of_one, of_other = OPTIMIZERS[rule](one), OPTIMIZERS[rule](other)
    losses = train(one, of_one, 10)
    for k, loss in enumerate(losses):
        x, y, weights = batch(k, f64)
        assert it.train_step(other, x, y, of_other, weights=weights) == pytest.approx(loss, rel=1e-10)
    for (key, array), mine in zip(one.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.allclose(array, mine, rtol=1e-8, atol=1e-10), key
    # With noise, and from states; some of each.
    x, y, weights = batch(20, f64)
    noise, states = torch.ones(6, 4, 13, dtype=f64), torch.ones(4, 13, dtype=f64)
    output, _ = one["rnn"](x, torch.stack([torch.zeros_like(states), states]), [noise, None])
    loss = it.loss(one["readout"](output), y, weights=weights).item()
    own = torch.zeros_like(states)
    step = it.train_step(other, x, y, of_other, weights=weights, noise={0: noise}, states={0: own, 1: states})
    assert step == pytest.approx(loss, rel=1e-8)


def test_checkpoints_of_the_crate(tmp_path: Path) -> None:
    model = nn.ModuleList([MODULES["columns"](seed=1), readout("columns", f32)])
    optimizer = OPTIMIZERS["adam"](model)
    x, y, weights = batch(0)
    it.train_step(model, x, y, optimizer, weights=weights)
    it.checkpoint.save(tmp_path / "net.safetensors", model, optimizer)
    net = inn.Network.load(tmp_path / "net.safetensors")
    assert net.steps == 1
    state = model[0].state_dict()
    assert all(np.array_equal(net.params()[name], array.numpy()) for name, array in state.items())


def test_steps_are_those_of_a_network() -> None:
    # To the bit, but for sums that a whole step makes in another order.
    shapes = [Shape.recurrent_dann(5, 13, 1, 1), Shape.recurrent_dann(13, 13, 1, 1)]
    net = inn.Network.of([*shapes, Shape.dann(13, 3, 1, divisor=None, relu=False)], seed=1, dtype="float64")
    model = of_network("dann", f64)
    state = {name: torch.tensor(array) for name, array in net.params().items()}
    model["rnn"].load_state_dict({name: it for name, it in state.items() if not name.startswith("layers.2")})
    model["readout"].load_state_dict({name[9:]: it for name, it in state.items() if name.startswith("layers.2")})
    optimizer = it.CSGD(model, lr=0.05, momentum=0.9)
    losses = train(model, optimizer, 10)
    for k, loss in enumerate(losses):
        x, y, weights = batch(k, f64)
        target = inn.Target("labels", y.numpy(), weights=weights.numpy())
        assert net.train_step(x.numpy(), target, inn.csgd(0.05, momentum=0.9)) == pytest.approx(loss, rel=1e-12)
    for name, array in model["rnn"].state_dict().items():
        assert np.allclose(array.numpy(), net.params()[name], rtol=1e-10, atol=1e-13), name


def test_corrections_go_leg_by_leg() -> None:
    model = it.DannRNN(5, 16, n_inhibitory=(2, 3), seed=1, dtype=f64)
    layer: Any = model.layers[0]
    before = {name: array.detach().clone() for name, array in layer.named_parameters()}
    optimizer = it.CSGD(model, lr=1e-6)
    model(numbers(4, 3, 5))[0].square().sum().backward()
    gradients = {name: array.grad.clone() for name, array in layer.named_parameters()}
    optimizer.step()
    factors = {"Uix": 1 / 4, "Wix": 1 / 4, "Uei": 1 / 5, "Wei": 1 / 16}
    for name, array in layer.named_parameters():
        expected = before[name] - 1e-6 * factors.get(name, 1.0) * gradients[name]
        assert torch.allclose(array, expected.clamp(min=0) if name != "b" else expected, rtol=1e-12, atol=0), name


def test_one_leg_may_be_frozen() -> None:
    for k, name in enumerate(("Uex", "Wei")):
        model = of_network("divisive")
        layer: Any = model["rnn"].layers[0]  # type: ignore[union-attr, index]
        getattr(layer, name).requires_grad_(False)
        optimizer = it.CSGD(model, lr=0.05, momentum=0.9)
        before = {key: array.clone() for key, array in model.state_dict().items()}
        train(model, optimizer, 3)
        changed = {key for key, array in model.state_dict().items() if not torch.equal(array, before[key])}
        assert f"rnn.layers.0.{name}" not in changed
        assert f"rnn.layers.0.{('Wex', 'Uei')[k]}" in changed
        with pytest.raises(ValueError, match="one of the parameters of role"):
            train(model, it.CSGD(model, lr=0.05, fused=True), 1)
        with pytest.raises(ValueError, match="one of the parameters of role"):
            whole(model["rnn"], torch.rand(4, 3, 5))
    model = of_network("dann")
    layer = model["rnn"].layers[0]  # type: ignore[union-attr, index]
    others = [array for array in model.parameters() if array is not layer.Uex]
    with pytest.raises(ValueError, match="lr differs between two parameters of role 'Wex'"):
        it.CSGD([{"params": [layer.Uex], "lr": 0.1}, {"params": others}], lr=0.05)
    groups = it.param_groups(model, Wei={"lr": 0.01})
    assert len(train(model, it.CSGD(groups, lr=0.05), 2)) == 2


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "state_dict"])
def test_copies_go_on(how: str) -> None:
    model = of_network("divisive", dynamics="rate", kappa=torch.rand(13) * 0.5 + 0.5, learned_state=True)
    optimizer = OPTIMIZERS["csgd"](model, fused=True)
    train(model, optimizer, 3)
    if how == "deepcopy":
        other, of_other = copy.deepcopy((model, optimizer))
    elif how == "pickle":
        other, of_other = pickle.loads(pickle.dumps((model, optimizer)))
    else:
        other = of_network("divisive", dynamics="rate", kappa=torch.ones(13), learned_state=True)
        other.load_state_dict(model.state_dict())
        of_other = OPTIMIZERS["csgd"](other, fused=True)
        of_other.load_state_dict(optimizer.state_dict())
    assert train(model, optimizer, 3) == train(other, of_other, 3)
    assert all(torch.equal(one, mine) for one, mine in zip(model.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize("dtype", [f32, f64], ids=["f32", "f64"])
@pytest.mark.parametrize("door", ["kernels", "operations"])
@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_golden(path: Path, door: str, dtype: torch.dtype) -> None:
    case, tolerance = golden.read(path), {f32: 3e-4, f64: 1e-11}[dtype]
    net, sequences, target, _ = of_case(case, str(dtype).removeprefix("torch."))
    layers = [
        [
            torch.tensor(array).requires_grad_(role != "constant")
            for array, (_, _, role, _, _) in zip(arrays, shape.parameters, strict=True)
        ]
        for shape, arrays in zip(net.shapes, net._params, strict=True)
    ]
    h = x = torch.tensor(np.asarray(sequences.x)).requires_grad_()
    run = it.functional.recurrent if door == "kernels" else it.composed.recurrent
    outputs = []
    for k, (shape, params) in enumerate(zip(net.shapes[:-1], layers, strict=False)):
        noise: Any = None if sequences.noise is None else sequences.noise.get(k)  # type: ignore[union-attr]
        h, _ = run(shape, h, params, noise=None if noise is None else torch.tensor(noise))
        outputs.append(h)
    out = it.functional.layer(net.shapes[-1], h, layers[-1])
    weights = torch.tensor(np.asarray(target.weights))
    y = torch.tensor(np.asarray(target.y))
    if target.kind == "labels":
        errors = F.cross_entropy(out.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
    else:
        errors = (out - y).square().mean(-1)
    loss = (weights * errors).sum() / weights.sum()
    loss.backward()

    def close(name: str, got: Tensor, expected: np.ndarray) -> None:
        scale = max(float(np.abs(expected).max()), 1e-3)
        off = float(np.abs(got.detach().double().numpy() - expected).max())
        assert off <= tolerance * scale, f"{name} is off by {off}, the largest is {scale}"

    close("out", out, case["out"])
    close("loss", loss, case["loss"][0])
    for k, output in enumerate(outputs):
        close(f"h_{k}", output.abs(), case[f"h_{k}"][..., : output.shape[-1]])
    assert x.grad is not None
    close("dx", x.grad * torch.tensor(case.arrays.get("signU_0", np.ones(x.shape[-1]))), case["dx"])
    for k, (shape, params) in enumerate(zip(net.shapes, layers, strict=True)):
        for (name, *_), array in zip(shape.parameters, params, strict=True):
            if f"d{k}_{name}" in case.arrays:
                assert array.grad is not None
                close(f"d{k}_{name}", array.grad, case[f"d{k}_{name}"])


@MODULE
@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
def test_what_the_kernels_have_not(name: str) -> None:
    model, x = MODULES[name](seed=1), torch.rand(4, 3, 5)
    expected = model(x)[0].detach()
    with pytest.warns(it.FallbackWarning, match=r"torch\.bfloat16 on cpu"):
        half = copy.deepcopy(model).bfloat16()
        output, _ = half(x.bfloat16())
    output.sum().backward()
    assert all(array.grad is not None and array.grad.isfinite().all() for array in half.parameters())
    assert torch.allclose(output.float(), expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(x.bfloat16())[0].dtype == f32
    # Transforms of functions, and tangents that go forward.
    arrays = dict(model.named_parameters()) | dict(model.named_buffers())
    each = torch.func.vmap(lambda x: torch.func.functional_call(model, arrays, (x,))[0], in_dims=1, out_dims=1)(x)
    assert torch.allclose(each, expected, atol=1e-4 * float(expected.abs().max()))
    parameters = dict(model.named_parameters())
    by_function = torch.func.grad(lambda p: torch.func.functional_call(model, p, (x,))[0].square().sum())(parameters)
    model(x)[0].square().sum().backward()
    for key, array in parameters.items():
        assert array.grad is not None
        assert torch.allclose(by_function[key], array.grad, rtol=1e-3, atol=1e-4 * float(array.grad.abs().max())), key
    _, tangent = torch.func.jvp(lambda x: model(x)[0], (x,), (torch.ones_like(x),))
    assert tangent.shape == expected.shape
    assert next(MODULES[name](seed=1, device="meta").parameters()).is_meta


@pytest.mark.timeout(120)
@MODULE
def test_graphs_have_them(name: str) -> None:
    torch._dynamo.reset()
    model, other = (MODULES[name](seed=1, dynamics="rate", kappa=0.5, learned_state=True) for _ in range(2))
    x, h0 = torch.rand(4, 3, 5), torch.rand(2, 3, 13)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    given = []
    for run in (compiled, other):
        leaves = x.clone().requires_grad_(), h0.clone().requires_grad_()
        output, h_n = run(*leaves, noise=[torch.ones(4, 3, 13), None])
        (output.square().sum() + h_n.sum()).backward()
        given.append([leaf.grad for leaf in leaves])
    for mine, right in zip(*given, strict=True):
        assert mine is not None and right is not None
        assert torch.allclose(mine, right, rtol=1e-4, atol=1e-5 * float(right.abs().max()))
    assert torch.equal(compiled(x)[0], other(x)[0])
    for array, mine in zip(other.parameters(), model.parameters(), strict=True):
        assert array.grad is not None and mine.grad is not None
        assert torch.allclose(mine.grad, array.grad, rtol=1e-4, atol=1e-5 * float(array.grad.abs().max()))


@pytest.mark.timeout(120)
def test_operators_are_registered_right() -> None:
    for cell in ("plain", "columns", "no interneurons"):
        shape = CELLS[cell](learned_state=True)
        params = variables(parameters(shape), moved(shape), f64)
        for noise, states in ((None, None), (numbers(4, 3, 13), numbers(3, 13, seed=2).requires_grad_())):
            arguments = (str(shape), numbers(4, 3, 5).requires_grad_(), params, noise, states)
            # What AOT does with shapes of any size takes minutes.
            torch.library.opcheck(
                torch.ops.interneuron.recurrent.default,
                arguments,
                test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
            )


@pytest.mark.timeout(120)
def test_graphs_break_at_states() -> None:
    torch._dynamo.reset()
    model, x = it.DannRNN(5, 13, dynamics="state", kappa=0.5, seed=1), torch.rand(4, 3, 5)
    compiled = torch.compile(model, backend="eager")
    output, _ = compiled(x)
    assert torch.equal(output, model(x)[0])
    output.sum().backward()


def test_divisors_below_epsilon() -> None:
    model = it.DannRNN(5, 13, divisor="plain", seed=1)
    with pytest.warns(it.DivisorWarning, match="recurrent_dann:5,13,1,1,plain,plain divides by numbers below"):
        model(-torch.rand(4, 3, 5))


def test_no_examples() -> None:
    for name in MODULES:
        model = MODULES[name](seed=1)
        output, h_n = model(torch.zeros(4, 0, 5))
        assert output.shape == (4, 0, 13) and h_n.shape == (2, 0, 13)
        output.sum().backward()
        assert not any(array.grad is not None and array.grad.any() for array in model.parameters())


def test_what_is_refused() -> None:
    model, x = it.DannRNN(5, 13, 2, seed=1), torch.rand(4, 3, 5)
    layer = it.RecurrentLayer(Shape.recurrent_dann(5, 13, 1, 1, dynamics="state", kappa=0.5), seed=1)
    calls: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (ShapeError, r"input is \[5\]", lambda: model(x[0, 0])),
        (ShapeError, r"h0 is \[1, 3, 13\]: expected \[2, B, 13\]", lambda: model(x, torch.zeros(1, 3, 13))),
        (ShapeError, "states of layer 0 has the shape", lambda: model(x, torch.zeros(2, 4, 13))),
        (ShapeError, "noise is that of 1 layers: expected 2", lambda: model(x, noise=torch.zeros(4, 3, 13))),
        (ShapeError, r"x has the shape \[4, 3, 6\]", lambda: model(torch.rand(4, 3, 6))),
        (ShapeError, "expected .T, B, 5., with at least one step", lambda: model(x[:0])),
        (TypeError, "x is of float64: expected float32, by x.double|x is of float64", lambda: model(x.double())),
        (ShapeError, "num_layers is 0", lambda: it.DannRNN(5, 13, 0)),
        (ShapeError, "kappa is .3.", lambda: it.DannRNN(5, 13, dynamics="rate", kappa=[0.1, 0.2, 0.3])),
        (ShapeError, "n_inhibitory is .1, 2, 3.", lambda: it.DannRNN(5, 13, n_inhibitory=(1, 2, 3))),
        (ValueError, "kappa is given for the shape", lambda: it.RecurrentLayer(Shape.recurrent_plain(5, 2), kappa=[1, 1])),
        (InvalidValue, "kappa has the element 0", lambda: it.DannRNN(5, 2, dynamics="rate", kappa=[0.1, 0.0])),
        (InvalidValue, "kappa is None", lambda: it.DannRNN(5, 13, dynamics="rate")),
        (InvalidValue, "dropout is 1", lambda: it.DannRNN(5, 13, dropout=1.0)),
        (ValueError, "expected a recurrent layer", lambda: it.RecurrentLayer(Shape.linear(3, 2))),
        (ValueError, "expected a layer without states", lambda: it.from_shape(layer.shape)),
        (ValueError, "model is batch_first", lambda: whole(it.DannRNN(5, 13, batch_first=True), x)),
        (ValueError, "model has the dropout 0.5", lambda: whole(it.DannRNN(5, 13, 2, dropout=0.5), x)),
        (TypeError, r"model\[1\] is a Linear", lambda: whole(nn.ModuleList([model, nn.Linear(13, 3)]), x)),
        (InvalidValue, "no layer is recurrent", lambda: whole(it.Linear(5, 3), x[0], noise=x)),
        (RuntimeError, "last states", lambda: fused_by_last_states(layer, x)),
    ]
    for error, text, call in calls:
        with pytest.raises(error, match=text):
            call()


def whole(model: nn.Module, x: Tensor, **more: Any) -> float:
    y = torch.zeros(x.shape[:-1], dtype=torch.int64)
    return it.train_step(model, x, y, it.CSGD(model, lr=0.1), **more)


def fused_by_last_states(layer: it.RecurrentLayer, x: Tensor) -> None:
    optimizer = it.CSGD(layer, lr=0.1, fused=True)
    layer(x)[1].sum().backward()
    optimizer.step()
