"""Layers in graphs: torch.compile without breaks, torch.export, and the operators behind them."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest
import torch
from common import SHAPES, assert_close, f32, f64, inputs, layouts, leaves, parameters
from torch import Tensor, nn

import interneuron.torch as it

GRAPHED = [kind for kind in SHAPES if kind != "batch_norm"]
# What PyTorch's compiler calls itself is deprecated in its newest version.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def nothing_compiled() -> None:
    torch.compiler.reset()


def networks() -> dict[str, nn.Sequential]:
    made = {
        kind: it.mlp([7, 6, 3], kind=kind, seed=1)
        for kind in ("mlp", "layer_norm", "batch_norm", "column_ei")
    }
    for divisor in ("plain", 0.1, "root", None):
        made[f"dann {divisor}"] = it.mlp([7, 6, 3], [2, 1], seed=1, divisor=divisor)
    return made


def gradients(function: Any, model: nn.Module, x: Tensor) -> list[Tensor]:
    h = function(x)
    return [h, *torch.autograd.grad(h.square().sum(), [x, *model.parameters()])]


@pytest.mark.parametrize(
    "kind", ["mlp", "layer_norm", "batch_norm", "column_ei", "dann plain", "dann 0.1", "dann root"]
)
def test_compiled_networks(kind: str) -> None:
    model, x = networks()[kind], torch.rand(5, 7, requires_grad=True)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    eager = gradients(model, model, x)
    if kind == "batch_norm":
        # A graph has torch operations for it.
        for one, other in zip(gradients(compiled, model, x), eager, strict=True):
            assert_close("a gradient", one, other.double(), f32)
        return
    assert all(map(torch.equal, gradients(compiled, model, x), eager))
    with torch.no_grad():
        assert torch.equal(compiled(x), eager[0])
    # Another number of examples is another graph at most, no break.
    other = torch.rand(9, 7, requires_grad=True)
    assert all(map(torch.equal, gradients(compiled, model, other), gradients(model, model, other)))


def test_compiled_functions() -> None:
    layer = it.DannLinear(7, 6, 2, seed=1)
    named = dict(layer.named_parameters())

    def function(x: Tensor) -> Tensor:
        h = it.functional.dann_linear(x, **named, divisor=0.2)
        return it.functional.column_linear(h, weight, bias, sign, nonlinearity=None) * 2

    weight, bias, sign = torch.rand(3, 6), torch.rand(3), torch.tensor([1.0, 1, 1, 1, -1, -1])
    x = torch.rand(5, 7)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), function(x))


def test_training_in_a_graph() -> None:
    results = []
    for graph in (False, True):
        model = it.mlp([7, 6, 3], [2, 1], seed=1)
        optimizer = it.CSGD(model, lr=0.1)
        function = torch.compile(model, fullgraph=True, backend="aot_eager") if graph else model
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            x = torch.rand(8, 7, generator=generator)
            optimizer.zero_grad()
            function(x).square().sum().backward()
            optimizer.step()
        results.append(list(model.parameters()))
    assert all(map(torch.equal, *results))


# It takes a minute, nearly all of it in the C++ compiler, of which nothing here depends.
@pytest.mark.skipif(
    "INTERNEURON_TEST_INDUCTOR" not in os.environ, reason="set INTERNEURON_TEST_INDUCTOR for it"
)
@pytest.mark.timeout(300)
def test_the_compiler_that_generates_code() -> None:
    model, x = it.mlp([7, 6, 3], [2, 1], seed=1), torch.rand(5, 7, requires_grad=True)
    compiled = torch.compile(lambda x: torch.sin(model(x)) * 2, fullgraph=True)
    for one, other in zip(
        gradients(compiled, model, x), gradients(lambda x: torch.sin(model(x)) * 2, model, x), strict=True
    ):
        assert_close("a gradient", one, other.double(), f32)


@pytest.mark.parametrize("kind", ["mlp", "layer_norm", "batch_norm", "column_ei", "dann plain", "dann root"])
def test_export(kind: str) -> None:
    model, x = networks()[kind].eval(), torch.rand(5, 7)
    batch = torch.export.Dim("batch", min=2, max=1000)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    assert_close("outputs", program.module()(x), model(x).double(), f32)
    more = torch.rand(31, 7)
    assert_close("outputs", program.module()(more), model(more).double(), f32)
    named = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    # Batch normalisation alone is made of PyTorch's operations.
    assert named.count("interneuron.layer.default") == (1 if kind == "batch_norm" else 2)


# The check looks at gradients of what is no variable.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("kind", GRAPHED)
@pytest.mark.parametrize("relu", [True, False], ids=["relu", "identity"])
def test_operators(kind: str, relu: bool) -> None:
    shape = SHAPES[kind](5, 4, 2, relu)
    arrays, x = parameters(shape, f64), inputs(shape, (3, 2), f64)
    layer, backward = torch.ops.interneuron.layer.default, torch.ops.interneuron.layer_backward.default
    quick = ("test_schema", "test_autograd_registration", "test_faketensor")
    names = [role for _, _, role, _, _ in shape.parameters]
    subsets = [
        [True] * len(names),
        [False] * len(names),
        *([role != frozen for role in names] for frozen in names),
    ]
    for wanted, x_wanted in itertools.product(subsets, (True, False)):
        if not x_wanted and not any(wanted):
            continue
        variables = leaves(arrays, wanted)
        torch.library.opcheck(
            layer, (str(shape), x.clone().requires_grad_(x_wanted), variables), test_utils=quick
        )
    for _, same in layouts(x):
        torch.library.opcheck(layer, (str(shape), same.detach(), arrays), test_utils=quick)
    # The whole of it, with a graph of shapes that are not known, once.
    torch.library.opcheck(layer, (str(shape), x.clone().requires_grad_(), leaves(arrays)))
    dh = torch.rand(3, 2, 4, dtype=f64)
    for needs in itertools.product((True, False), repeat=2):
        torch.library.opcheck(backward, (str(shape), dh, x, arrays, *needs), test_utils=quick)


def test_fused_updates_are_refused() -> None:
    model = it.mlp([7, 6, 3], [2, 1], seed=1)
    optimizer = it.CSGD(model, lr=0.1, fused=True)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with pytest.raises(RuntimeError, match="a fused update under torch.compile: expected fused=False"):
        compiled(torch.rand(5, 7))
    model.eval()
    assert compiled(torch.rand(5, 7)).shape == (5, 3)
    assert optimizer.param_groups
