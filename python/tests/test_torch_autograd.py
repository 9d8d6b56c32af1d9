"""Layers as PyTorch differentiates, transforms, checkpoints and casts them."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from common import SHAPES, assert_close, f32, f64, inputs, leaves, parameters, run, threads
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import interneuron.torch as it
from interneuron import _core
from interneuron.errors import DtypeError

KIND = pytest.mark.parametrize("kind", list(SHAPES))
# PyTorch imports rules for tangents that are written in what it has deprecated.
TANGENTS = pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:FutureWarning")


def problem(kind: str, relu: bool = True, seed: int = 0) -> tuple[_core.Shape, list[Tensor]]:
    """A small layer in float64, and its inputs and parameters as variables; statistics are none."""
    shape = SHAPES[kind](4, 5, 2, relu)
    moved = [role != "statistic" for _, _, role, _, _ in shape.parameters]
    return shape, leaves([inputs(shape, (6,), f64, seed), *parameters(shape, f64, seed)], [True, *moved])


@KIND
@pytest.mark.parametrize("relu", [True, False], ids=["relu", "identity"])
def test_finite_differences(kind: str, relu: bool) -> None:
    # The only test in which no torch operation stands for the right answer.
    shape, variables = problem(kind, relu)
    assert torch.autograd.gradcheck(lambda x, *arrays: run(shape, x, arrays), variables)


@KIND
def test_finite_differences_of_gradients(kind: str) -> None:
    shape, variables = problem(kind, False)
    assert torch.autograd.gradgradcheck(lambda x, *arrays: run(shape, x, arrays), variables, atol=1e-4)


@KIND
def test_gradients_of_gradients_are_those_of_torch_operations(kind: str) -> None:
    shape, variables = problem(kind)
    wanted = [it for it in variables if it.requires_grad]

    def penalty(h: Tensor) -> list[Tensor]:
        gradients = torch.autograd.grad(h.square().sum(), wanted, create_graph=True)
        return list(torch.autograd.grad(sum(it.square().sum() for it in gradients), wanted))

    got = penalty(run(shape, variables[0], variables[1:]))
    expected = penalty(it.composed.layer(shape, variables[0], variables[1:]))
    for one, other in zip(got, expected, strict=True):
        assert_close("the gradient of the gradients", one, other, f64)


@TANGENTS
def test_tangents() -> None:
    shape, variables = problem("plain")
    tangents = [torch.ones_like(it) for it in variables]

    def function(x: Tensor, *arrays: Tensor) -> Tensor:
        return run(shape, x, arrays)

    def exact(x: Tensor, *arrays: Tensor) -> Tensor:
        return it.composed.layer(shape, x, arrays)

    _, expected = torch.func.jvp(exact, tuple(variables), tuple(tangents))
    _, got = torch.func.jvp(function, tuple(variables), tuple(tangents))
    assert_close("the tangent", got, expected, f64)
    for recorded in (True, False):
        with forward_ad.dual_level(), torch.set_grad_enabled(recorded):
            duals = [forward_ad.make_dual(*both) for both in zip(variables, tangents, strict=True)]
            got = forward_ad.unpack_dual(function(*duals)).tangent
        # Without care it would be None: the kernels see numbers alone.
        assert got is not None
        assert_close("the tangent", got, expected, f64)


@KIND
def test_gradients_by_example(kind: str) -> None:
    if kind == "batch_norm":
        # One example alone has no statistics.
        return
    shape, (x, *arrays) = problem(kind)

    def loss(arrays: tuple[Tensor, ...], x: Tensor) -> Tensor:
        return run(shape, x, arrays).square().sum()

    of_all = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(tuple(arrays), x)
    for k in range(len(x)):
        alone = torch.autograd.grad(loss(tuple(arrays), x[k]), arrays)
        for one, other in zip(of_all, alone, strict=True):
            assert_close("a gradient", one[k], other, f64)


def test_ensembles() -> None:
    models = [it.mlp([6, 5, 3], [2, 1], seed=seed, dtype=f64) for seed in range(3)]
    stacked, _ = torch.func.stack_module_state(models)
    # A module without memory stands for all of them, as PyTorch's tutorial has it.
    base = copy.deepcopy(models[0]).to("meta")
    x = torch.rand(4, 6, dtype=f64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = torch.vmap(lambda params: torch.func.functional_call(base, params, x))(stacked)
    assert_close("outputs", got, torch.stack([model(x) for model in models]), f64)


def test_functional_calls() -> None:
    model, other = it.mlp([6, 5, 3], [2, 1], seed=1), it.mlp([6, 5, 3], [2, 1], seed=2)
    x = torch.rand(4, 6)
    assert torch.equal(torch.func.functional_call(model, dict(other.named_parameters()), x), other(x))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(reentrant: bool) -> None:
    model, x = it.mlp([9, 8, 7, 3], [3, 2, 1], seed=1), torch.rand(5, 9, requires_grad=True)
    gradients = []
    for kept in (True, False):
        y = model(x) if kept else checkpoint(model, x, use_reentrant=reentrant)
        y.square().sum().backward()
        gradients.append([x.grad, *(it.grad for it in model.parameters())])
        x.grad = None
        model.zero_grad()
    assert all(map(torch.equal, *gradients))


def test_hooks_on_saved_tensors() -> None:
    shape, variables = problem("plain")
    expected = torch.autograd.grad(run(shape, variables[0], variables[1:]).sum(), variables)
    stored: dict[int, Any] = {}

    def pack(tensor: Tensor) -> int:
        stored[len(stored)] = tensor.detach().clone().numpy()
        return len(stored) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda key: torch.from_numpy(stored[key])):
        h = run(shape, variables[0], variables[1:])
    assert len(stored) == len(variables)
    assert all(map(torch.equal, torch.autograd.grad(h.sum(), variables), expected))
    with torch.autograd.graph.save_on_cpu():
        h = run(shape, variables[0], variables[1:])
    assert all(map(torch.equal, torch.autograd.grad(h.sum(), variables), expected))


@KIND
def test_graphs_that_are_used_twice(kind: str) -> None:
    # The second backward pass finds what was kept used up, and makes it again.
    shape, variables = problem(kind)
    wanted = [it for it in variables if it.requires_grad]
    h = run(shape, variables[0], variables[1:])
    passes = [torch.autograd.grad(h.square().sum(), wanted, retain_graph=True) for _ in range(3)]
    assert all(map(torch.equal, passes[0], passes[1]))
    assert all(map(torch.equal, passes[0], passes[2]))
    torch.autograd.grad(h.sum(), wanted)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(h.sum(), wanted)


def test_many_passes_at_once() -> None:
    shape, (_, *arrays) = problem("plain")
    # More than tapes are kept for, of several batch sizes, and ended in another order.
    examples = [inputs(shape, (1 + k % 7,), f64, k) for k in range(50)]
    passes = [run(shape, x, arrays) for x in examples]
    for k in [*range(1, 50, 2), *reversed(range(0, 50, 2))]:
        got = torch.autograd.grad(passes[k].square().sum(), arrays)
        alone = torch.autograd.grad(run(shape, examples[k], arrays).square().sum(), arrays)
        assert all(map(torch.equal, got, alone)), k


def test_a_layer_that_is_used_many_times() -> None:
    layer = it.DannLinear(6, 6, 2, seed=1, dtype=f64)
    x = torch.rand(3, 6, dtype=f64)

    def loss(function: Any) -> Tensor:
        h = x
        for _ in range(5):
            h = function(h)
        return h.sum()

    names = ["plain", *layer._names]
    got = torch.autograd.grad(loss(layer), list(layer.parameters()))
    exact = torch.autograd.grad(
        loss(lambda h: it.composed.layer(layer.shape, h, layer.arrays())), list(layer.parameters())
    )
    for name, one, other in zip(names[1:], got, exact, strict=True):
        assert_close(name, one, other, f64, 10.0)


def test_inference_mode() -> None:
    model, x = it.mlp([6, 5, 3], [2, 1], seed=1), torch.rand(4, 6)
    expected = model(x)
    with torch.inference_mode():
        h = model(x)
        assert h.is_inference() and not h.requires_grad
        assert torch.equal(h, expected)
    # As for nn.Linear, such a tensor cannot be saved for a backward pass.
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        it.Linear(3, 2)(h)


def test_autocast() -> None:
    layer, x = it.DannLinear(30, 20, 10, seed=1), torch.rand(5, 30, requires_grad=True)
    exact = layer(x)
    gradients = torch.autograd.grad(exact.sum(), [x, *layer.parameters()])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), exact)
        h = layer(x)
        second = torch.autograd.grad(h.sum(), [x, *layer.parameters()], create_graph=True)
        # After a layer that autocast has computed in half precision.
        half = F.linear(x, torch.eye(30))
        assert half.dtype == torch.bfloat16
        assert layer(half).dtype == f32
        assert torch.equal(layer(half), layer(half.float()))
        torch.autograd.grad(layer(half).sum(), x)
        norm = it.BatchNormLinear(30, 20, seed=1).eval()
        assert norm(x).dtype == f32
    for one, other in zip(gradients, second, strict=True):
        assert_close("a gradient", other, one, f32)


def test_element_types_without_kernels() -> None:
    layer = it.DannLinear(6, 5, 2, seed=1, dtype=torch.bfloat16)
    x = torch.rand(3, 6, dtype=torch.bfloat16)
    with pytest.warns(it.FallbackWarning, match=r"dann:6,5,2,relu,plain computes .* torch.bfloat16 on cpu"):
        h = layer(x)
    assert h.dtype == torch.bfloat16 and h.requires_grad
    try:
        it.fallback("silent")
        assert torch.equal(layer(x), h)
        assert it.DannLinear(6, 5, 2, device="meta")(torch.rand(3, 6, device="meta")).shape == (3, 5)
        it.fallback("error")
        with pytest.raises(
            TypeError, match=r"there are no kernels for torch.bfloat16 on cpu \(Tensor\); expected float32"
        ):
            layer(x)
        with pytest.raises(TypeError, match="torch.float32 on meta"):
            it.DannLinear(6, 5, 2, device="meta")(torch.rand(3, 6, device="meta"))
        # What goes by torch operations anyhow is no fallback.
        exact = it.DannLinear(6, 5, 2, seed=1)
        torch.func.grad(lambda x: exact(x).sum())(torch.rand(3, 6))
    finally:
        it.fallback("warn")
    with pytest.raises(ValueError, match='what is \'loud\': expected "error", "warn" or "silent"'):
        it.fallback("loud")  # type: ignore[arg-type]
    with pytest.warns(it.FallbackWarning, match="torch.float32 on meta"):
        it.DannLinear(6, 5, 2, device="meta")(torch.rand(3, 6, device="meta"))


class Other(Tensor):
    """Who knows what it does to memory."""


def test_tensors_of_other_classes() -> None:
    layer, x = it.DannLinear(6, 5, 2, seed=1), torch.rand(3, 6)
    with pytest.warns(it.FallbackWarning, match="torch.float32 on cpu \\(Other\\)"):
        h = layer(x.as_subclass(Other))
    assert type(h) is Other
    assert_close("h", h.as_subclass(Tensor), layer(x).double(), f32)
    for hidden in (x.to_sparse(), x.to_mkldnn()):
        with pytest.raises((RuntimeError, TypeError)):
            layer(hidden)


@pytest.mark.parametrize("kind", ["dann", "mlp", "layer_norm", "batch_norm", "column_ei"])
def test_element_types_that_meet(kind: str) -> None:
    nis = [2, 1] if kind == "dann" else None
    model = it.mlp([20, 20, 3], nis, kind=kind, seed=1)
    linear = nn.Linear(20, 3)
    for other in (f64, torch.float16, torch.bfloat16, torch.int64, torch.bool):
        x = torch.ones(4, 20).to(other)
        with pytest.raises(RuntimeError):
            linear(x)
        # Both that and a TypeError, by kernels and by torch operations, and no warning of a fallback before.
        for layer in model:
            with pytest.raises(DtypeError) as caught:
                layer(x)
            assert isinstance(caught.value, RuntimeError) and isinstance(caught.value, TypeError)
    with pytest.raises(DtypeError, match=r"^x is of float64: expected float32, by x.float\(\)$"):
        model[0](torch.ones(4, 20, dtype=f64))


@KIND
def test_bits_do_not_depend_on_threads(kind: str) -> None:
    shape = SHAPES[kind](300, 257, 30, True)
    x, *arrays = leaves([inputs(shape, (64,), f32), *parameters(shape, f32)])
    results = []
    for count in (1, 2, 3):
        with threads(count):
            h = run(shape, x, [it if it.requires_grad else it.clone() for it in arrays])
            moved = [
                it
                for it, (_, _, role, _, _) in zip(arrays, shape.parameters, strict=True)
                if role != "statistic"
            ]
            results.append([h, *torch.autograd.grad(h.square().sum(), [x, *moved])])
    assert _core.pools() >= 2
    for others in results[1:]:
        assert all(map(torch.equal, results[0], others))


def test_graphs_die_without_the_collector() -> None:
    layer = it.DannLinear(6, 5, 2, seed=1)
    gc.disable()
    try:
        for ended in (True, False):
            h = layer(torch.rand(3, 6))
            node = weakref.ref(h.grad_fn)
            if ended:
                h.sum().backward()
            del h
            assert node() is None
    finally:
        gc.enable()
    assert gc.collect() >= 0
