"""What must fail, with its text, and what is as it was before."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from common import SHAPES, batches, differing, f32, f64, inputs, leaves, misaligned, parameters, run
from torch import Tensor, nn

import interneuron.torch as it
from interneuron import _core
from interneuron.errors import Diverged, DivisorError, DtypeError, InvalidValue, ShapeError


def network(dtype: torch.dtype = f32) -> nn.Sequential:
    return it.mlp([6, 5, 3], [2, 1], seed=1, dtype=dtype)


X, Y = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize("kind", list(SHAPES))
def test_arrays_that_change_before_the_backward_pass(kind: str) -> None:
    shape = SHAPES[kind](4, 5, 2, True)
    roles = [role for _, _, role, _, _ in shape.parameters]
    for place in range(1 + sum(role != "statistic" for role in roles)):
        flags = [True, *(role != "statistic" for role in roles)]
        variables = leaves([inputs(shape, (6,), f64), *parameters(shape, f64)], flags)
        h = run(shape, variables[0], variables[1:])
        with torch.no_grad():
            variables[place].mul_(1.5)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            h.sum().backward()


def test_optimisers_tell_that_they_have_changed_parameters() -> None:
    for take in ("step", "train_step", "fused"):
        model = network()
        optimizer = it.CSGD(model, lr=0.1, fused=take == "fused")
        before = [array._version for array in model.parameters()]
        loss = F.cross_entropy(model(X), Y)
        if take == "train_step":
            it.train_step(model, X, Y, optimizer)
        else:
            F.cross_entropy(model(X), Y).backward()
            optimizer.step()
        assert all(
            array._version > version for array, version in zip(model.parameters(), before, strict=True)
        )
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_fused_layers_that_are_used_twice() -> None:
    layer = it.DannLinear(6, 6, 2, seed=1)
    optimizer = it.CSGD(layer, lr=0.1, fused=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        layer(layer(torch.rand(4, 6))).sum().backward()
    assert optimizer.param_groups


def test_fused_updates_of_gradients_that_add_up() -> None:
    model = network()
    optimizer = it.CSGD(model, lr=0.1, fused=True)
    F.cross_entropy(model(X), Y).backward()
    before = copy.deepcopy(model)
    with pytest.raises(
        RuntimeError, match=r"a second backward pass before step\(\), with fused=True: .* fused=False"
    ):
        F.cross_entropy(model(X), Y).backward()
    assert not differing(model, before)
    optimizer.step()
    F.cross_entropy(model(X), Y).backward()
    optimizer.step()


def test_fused_updates_elsewhere() -> None:
    model = network()
    optimizer = it.CSGD(model, lr=0.1, fused=True)
    before = copy.deepcopy(model)
    loss = F.cross_entropy(model(X), Y)
    with pytest.raises(RuntimeError, match="a fused update with create_graph=True: expected fused=False"):
        torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    others = {name: array.detach().clone().requires_grad_() for name, array in model.named_parameters()}
    with pytest.raises(
        RuntimeError, match="computes with other parameters than its optimiser has, as in functional"
    ):
        torch.func.functional_call(model, others, X)
    with pytest.raises(
        RuntimeError, match="a fused update where the kernels cannot compute: expected fused=False"
    ):
        torch.func.vmap(model)(X)
    assert not differing(model, before)
    assert all(torch.equal(others[name], array) for name, array in model.named_parameters())
    loss = F.cross_entropy(model(X), Y)
    del optimizer
    with pytest.raises(RuntimeError, match="the optimiser of a fused update is gone: expected that it lives"):
        loss.backward()


def test_fused_updates_with_hooks_on_saved_tensors() -> None:
    # Hooks hand copies to the backward pass, which must not be what is updated.
    model, other = network(), network()
    for net, hooks in ((model, True), (other, False)):
        optimizer = it.CSGD(net, lr=0.1, fused=True)
        for x, y in batches(5, 8, 6, 3):
            if hooks:
                with torch.autograd.graph.saved_tensors_hooks(lambda it: it.detach().clone(), lambda it: it):
                    loss = F.cross_entropy(net(x), y)
            else:
                loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
    assert not differing(model, other)
    assert differing(model, network())


def test_copies_of_layers_have_no_fused_update() -> None:
    model = network()
    optimizer = it.CSGD(model, lr=0.1, fused=True)
    again = copy.deepcopy(model)
    F.cross_entropy(again(X), Y).backward()
    assert all(array.grad is not None for array in again.parameters())
    assert not differing(again, model) and optimizer.param_groups


def test_steps_of_natural_gradients() -> None:
    optimizer = it.NaturalGradient(network(), lr=0.1)
    with pytest.raises(
        RuntimeError, match="draws labels from the outputs: expected interneuron.torch.train_step"
    ):
        optimizer.step()


def test_networks_that_whole_steps_cannot_run() -> None:
    model = network()
    optimizer = it.CSGD(model, lr=0.1)
    mixed = nn.Sequential(nn.Flatten(), model[0], nn.Dropout(), model[1])
    with pytest.raises(
        TypeError, match=r"model\[2\] is a Dropout: expected layers of interneuron.torch alone, as a whole"
    ):
        it.train_step(mixed, X, Y, optimizer)
    with pytest.raises(TypeError, match="model is a Linear: expected an nn.Sequential of layers"):
        it.train_step(nn.Linear(6, 3), X, Y, optimizer)
    with pytest.raises(TypeError, match="model has no layer"):
        it.train_step(nn.Sequential(nn.Flatten()), X, Y, optimizer)
    with pytest.raises(
        ValueError, match="the optimiser has not the layer dann:6,5,2,relu,plain: expected one of model"
    ):
        it.train_step(network(), X, Y, optimizer)
    own = it.CSGD([{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.2}], lr=0.1)
    with pytest.raises(ValueError, match="have updates of their own: expected the same learning rates"):
        it.train_step(model, X, Y, own)
    assert not differing(model, network())
    # What it can run: images, flattened, and networks in networks.
    images = X.view(4, 2, 3)
    whole = nn.Sequential(nn.Flatten(), nn.Sequential(model))
    first = it.train_step(whole, images, Y, optimizer)
    again = network()
    assert first == it.train_step(again, X, Y, it.CSGD(again, lr=0.1))
    assert not differing(model, again)


@pytest.mark.parametrize(
    ("x", "y", "kind", "text"),
    [
        (X.double(), Y, TypeError, r"^x is of float64: expected float32, by x.float\(\)$"),
        (X.long(), Y, TypeError, "x is of int64: expected float32"),
        (X[:, :5], Y, ShapeError, r"x has the shape \[4, 5\]: expected 6 inputs in the last dimension"),
        (X[:0], Y[:0], ShapeError, r"x has the shape \[0, 6\]: expected at least one example"),
        (X, Y[:3], ShapeError, "labels? ha(s|ve) 3"),
        (X, Y.float(), ShapeError, "probabilities has the shape .* expected 3 outputs in the last dimension"),
        (X, Y[:, None], ShapeError, r"labels has the shape \[4, 1\]: expected one label for each example"),
        (X, Y + 1, InvalidValue, "label 2 is 3: expected less than 3, the number of classes"),
        (X, Y - 1, InvalidValue, r"labels\[0\] is -1: expected the number of a class, from 0"),
        (X, Y + 2**40, InvalidValue, r"labels\[0\] is 1099511627776"),
        (X * torch.nan, Y, InvalidValue, r"x\[0\] is NaN: expected a finite number"),
        (X * torch.inf, Y, InvalidValue, r"x\[0\] is inf: expected a finite number"),
    ],
    ids=[
        "float64",
        "int64",
        "too narrow",
        "no examples",
        "too few labels",
        "labels that are no integers",
        "a column of labels",
        "a class too many",
        "a class below 0",
        "a huge class",
        "NaN",
        "infinite",
    ],
)
def test_whole_steps_that_change_nothing(x: Tensor, y: Tensor, kind: type[Exception], text: str) -> None:
    model = network()
    optimizer = it.CSGD(model, lr=0.1, momentum=0.9)
    it.train_step(model, X, Y, optimizer)
    before, kept = copy.deepcopy(model), copy.deepcopy(optimizer.state_dict())
    versions = [array._version for array in model.parameters()]
    with pytest.raises(kind, match=text):
        it.train_step(model, x, y, optimizer)
    assert not differing(model, before)
    assert [array._version for array in model.parameters()] == versions
    state = optimizer.state_dict()
    assert state["train_state"] == kept["train_state"]
    for key, arrays in kept["state"].items():
        assert torch.equal(arrays["momentum_buffer"], state["state"][key]["momentum_buffer"])
    # And what follows is what would have followed.
    other = copy.deepcopy(before)
    second = it.CSGD(other, lr=0.1, momentum=0.9)
    second.load_state_dict(kept)
    assert it.train_step(model, X, Y, optimizer) == it.train_step(other, X, Y, second)
    assert not differing(model, other)


def test_losses_that_diverge() -> None:
    model = network()
    optimizer = it.CSGD(model, lr=0.1)
    it.train_step(model, X, Y, optimizer)
    with torch.no_grad():
        model[1].b[0] = torch.inf
    before = copy.deepcopy(model)
    text = "the loss is .* in step 1 at learning rate 0.1: the parameters are those before this step"
    with pytest.raises(Diverged, match=text) as caught:
        it.train_step(model, X, Y, optimizer)
    assert (caught.value.step, caught.value.lr) == (1, 0.1) and not np.isfinite(caught.value.loss)
    assert isinstance(caught.value, ArithmeticError)
    assert not differing(model, before)
    # By itself it is a number as every other, as in PyTorch.
    assert not it.loss(model(X), Y).isfinite()


def test_divisors_below_epsilon() -> None:
    model = network()
    x = -X
    with pytest.warns(
        it.DivisorWarning, match=r"the layer dann:6,5,2,relu,plain divides by numbers below ε: 20 of 20"
    ):
        model[0](x)
    optimizer = it.CSGD(model, lr=0.1)
    with pytest.raises(DivisorError, match="layer 0|divis") as caught:
        it.train_step(model, x, Y, optimizer)
    assert (caught.value.layer, caught.value.share) == (0, 1.0) and caught.value.smallest < 0
    assert not differing(model, network())
    # Other divisors take such inputs, and nothing is said where there is no graph.
    with torch.no_grad():
        model[0](x)
    for divisor in (0.01, "root", None):
        it.DannLinear(6, 5, 2, seed=1, divisor=divisor or "plain", divisive=divisor is not None)(x)


def test_shapes_that_do_not_go_together() -> None:
    layer = it.DannLinear(6, 5, 2, seed=1)
    with pytest.raises(
        ShapeError, match=r"^x has the shape \[4, 5\]: expected 6 inputs in the last dimension$"
    ):
        layer(torch.rand(4, 5))
    with pytest.raises(ShapeError, match=r"x has the shape \[\]"):
        layer(torch.tensor(1.0))
    with pytest.raises(ShapeError, match="x has 9 dimensions: expected at most 8"):
        layer(torch.rand(1, 1, 1, 1, 1, 1, 1, 1, 6))
    named = dict(layer.named_parameters())
    with pytest.raises(ValueError, match="alpha and g: expected both, or none of them"):
        it.functional.dann_linear(X, **{**named, "g": None})
    with pytest.raises(ShapeError, match=r"Wei has the shape \[5, 3\]: expected \[5, 2\]"):
        it.functional.dann_linear(X, **{**named, "Wei": torch.rand(5, 3)})
    with pytest.raises(ShapeError, match=r"b has the shape \[5, 1\]: expected \[5\]"):
        it.functional.dann_linear(X, **{**named, "b": torch.rand(5, 1)})
    with pytest.raises(ShapeError, match="Wex and Wix have 1 and 2 dimensions: expected 2 of both"):
        it.functional.dann_linear(X, **{**named, "Wex": torch.rand(6)})
    with pytest.raises(DtypeError, match=r"b is of float64: expected float32, by b.float\(\)"):
        it.functional.dann_linear(X, **{**named, "b": torch.rand(5, dtype=f64)})
    with pytest.raises(TypeError, match=r"b is on the device meta: expected one on the CPU, by .cpu\(\)"):
        it.functional.dann_linear(X, **{**named, "b": torch.rand(5, device="meta")})
    with pytest.raises(ValueError, match="nonlinearity is 'tanh': expected \"relu\" or None"):
        it.DannLinear(6, 5, 2, nonlinearity="tanh")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='divisor is "cube"'):
        it.DannLinear(6, 5, 2, divisor="cube")  # type: ignore[arg-type]
    for sizes in ((0, 5, 2), (6, 0, 2), (6, 5, 0)):
        with pytest.raises(ShapeError, match="is 0: expected"):
            it.DannLinear(*sizes)
    with pytest.raises((OverflowError, ShapeError)):
        it.DannLinear(-1, 5, 2)
    with pytest.raises(
        ValueError, match=r"loss is \'hinge\': expected one of \[\'cross_entropy\', \'mse\', \'bce\'\]"
    ):
        it.loss(X, Y, "hinge")  # type: ignore[arg-type]


def update(params: Any, x: Tensor, shape: _core.Shape, dtype: str = "float32") -> None:
    h, kept = _core.forward(shape, x, params, 1, True)
    assert kept is not None
    _core.update(kept, torch.ones_like(h), x, params, _core.State(shape, dtype), _core.Update(0.1), 1, False)


def test_memory_that_updates_cannot_write() -> None:
    shape = SHAPES["plain"](6, 5, 2, True)
    arrays = parameters(shape, f32)
    names = [name for name, *_ in shape.parameters]
    for k, name in enumerate(names):
        frozen = arrays[k].numpy().copy()
        frozen.flags.writeable = False
        with pytest.raises(InvalidValue, match=f"{name} is read-only: expected an array that can be written"):
            update([*arrays[:k], frozen, *arrays[k + 1 :]], X, shape)
        apart = torch.zeros(*arrays[k].shape, 2)[..., 0].copy_(arrays[k])
        with pytest.raises(
            ShapeError, match=f"{name} of shape .* has strides of .*: expected a row-major array"
        ):
            update([*arrays[:k], apart, *arrays[k + 1 :]], X, shape)
        with pytest.raises(ShapeError, match=f"{name} of shape"):
            update([*arrays[:k], misaligned(arrays[k]), *arrays[k + 1 :]], X, shape)
    line = torch.rand(100)
    with pytest.raises(ShapeError, match="g shares memory with b: expected arrays of their own"):
        update([*arrays[:4], line[:5], line[4:9]], X, shape)
    update([*arrays[:4], line[:5], line[5:10]], X, shape)
    with pytest.raises(ShapeError, match="b shares memory with x: expected arrays of their own"):
        update([*arrays[:5], line[5:10]], line[:24].view(4, 6), shape)
    # Reading them together is fine.
    _core.forward(shape, line[:24].view(4, 6), [*arrays[:4], line[:5], line[4:9]], 1, False)


def test_arrays_that_another_layer_left() -> None:
    # A state, or what a pass kept, of another shape or element type.
    shape, other = SHAPES["plain"](6, 5, 2, True), SHAPES["plain"](6, 5, 3, True)
    arrays = parameters(shape, f32)
    _, kept = _core.forward(shape, X, arrays, 1, True)
    assert kept is not None
    with pytest.raises(
        ShapeError, match="state is of the layer dann:6,5,3,relu,plain: expected dann:6,5,2,relu,plain"
    ):
        _core.update(
            kept, torch.ones(4, 5), X, arrays, _core.State(other, "float32"), _core.Update(0.1), 1, False
        )
    with pytest.raises(ShapeError, match="state is of another element type: expected float32"):
        _core.update(
            kept, torch.ones(4, 5), X, arrays, _core.State(shape, "float64"), _core.Update(0.1), 1, False
        )
    with pytest.raises(ShapeError, match="dh has 3 examples, x has 4: expected as many"):
        _core.backward(kept, torch.ones(3, 5), X, arrays, 1, True, True)
    with pytest.raises(DtypeError, match="dh is of float64"):
        _core.backward(kept, torch.ones(4, 5, dtype=f64), X, arrays, 1, True, True)
    for threads in (0, 2000):
        with pytest.raises(InvalidValue, match=f"threads is {threads}: expected from 1 to 1024"):
            _core.forward(shape, X, arrays, threads, False)
