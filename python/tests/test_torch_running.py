"""Layers in use: memory over many steps, threads of Python, and a training loop as papers have it."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from common import (
    SHAPES,
    assert_close,
    batches,
    differing,
    f32,
    f64,
    inputs,
    leaves,
    parameters,
    run,
    threads,
)
from torch import Tensor, nn

import interneuron.torch as it
from interneuron import _core
from interneuron.errors import InUse

STATM = Path("/proc/self/statm")
needs_statm = pytest.mark.skipif(
    not STATM.exists(), reason="this system does not tell the memory of a process so"
)


def resident() -> int:
    """Bytes in memory."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * 4096


def growth(action: Callable[[], object], times: int) -> int:
    """How many bytes more are in memory after the second half of so many calls than before it."""
    for _ in range(times // 2):
        action()
    before = resident()
    for _ in range(times - times // 2):
        action()
    return resident() - before


# One tensor of 64 x 32 numbers a call would be 40 MB.
SLACK = 4 << 20


@needs_statm
@pytest.mark.parametrize("way", ["step", "fused", "train_step", "dropped", "no graph", "twice", "double"])
def test_memory_stays(way: str) -> None:
    model = it.mlp([32, 32, 4], [3, 1], seed=1)
    optimizer = it.CSGD(model, lr=1e-3, momentum=0.9, fused=way == "fused")
    x, y = batches(1, 64, 32, 4)[0]

    def action() -> None:
        if way == "train_step":
            it.train_step(model, x, y, optimizer)
        elif way == "no graph":
            with torch.no_grad():
                model(x)
        elif way == "dropped":
            model(x)
        elif way == "double":
            torch.autograd.grad(model(x).sum(), model[0].Wex, create_graph=True)
        else:
            optimizer.zero_grad()
            loss = it.loss(model(x), y)
            loss.backward(retain_graph=way == "twice")
            if way == "twice":
                loss.backward()
            optimizer.step()

    assert growth(action, 1000 if way == "double" else 10_000) < SLACK


@needs_statm
def test_memory_of_calls_that_fail_stays() -> None:
    model = it.mlp([32, 32, 4], [3, 1], seed=1)
    optimizer = it.CSGD(model, lr=1e-3)
    x, y = batches(1, 64, 32, 4)[0]

    def action() -> None:
        for wrong in (lambda: it.train_step(model, x, y + 4, optimizer), lambda: model(x.double())):
            try:
                wrong()
            except (ValueError, TypeError):
                continue
            raise AssertionError

    assert growth(action, 4000) < SLACK


@needs_statm
def test_memory_of_optimisers_and_shapes_stays() -> None:
    sizes = iter(range(10**6))

    def action() -> None:
        # Of a shape that no call had before: what is shared by shape dies with the layers.
        layer = it.DannLinear(32, 32 + next(sizes) % 400, 3, seed=1)
        optimizer = it.CSGD(layer, lr=0.1, momentum=0.5, fused=True)
        layer(torch.rand(8, 32)).sum().backward()
        optimizer.step()

    # Each has some 10 KB of parameters and as much of velocities.
    assert growth(action, 1600) < 2 * SLACK


def beats(call: Callable[[], object]) -> float:
    """How often a second another thread gets to do something small while this one calls."""
    end = threading.Event()

    def heart() -> float:
        count, begin = 0, time.perf_counter()
        while not end.is_set():
            count += 1
            time.sleep(0.001)
        return count / (time.perf_counter() - begin)

    with ThreadPoolExecutor(1) as pool:
        counted = pool.submit(heart)
        begin = time.perf_counter()
        while time.perf_counter() - begin < 0.3:
            call()
        end.set()
        return counted.result()


@pytest.mark.timeout(60)
def test_other_threads_run_beside_kernels() -> None:
    layer = it.DannLinear(1500, 1500, 150, seed=1)
    optimizer = it.CSGD(layer, lr=1e-6)
    net = nn.Sequential(layer)
    x, y = torch.rand(1024, 1500), torch.zeros(1024, dtype=torch.long)

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    def three() -> None:
        optimizer.zero_grad()
        layer(x).sum().backward()
        optimizer.step()

    for call in (forward, three, lambda: it.train_step(net, x, y, optimizer)):
        call()
        begin = time.perf_counter()
        call()
        # A call that takes long, so that who held the interpreter's lock for all of it would be seen.
        assert time.perf_counter() - begin > 0.01
        # More than half as often as beside PyTorch's own products, which shows how busy the machine is.
        assert any(beats(call) > 0.5 * beats(lambda: x @ layer.Wex.detach().T) for _ in range(5)), call


@pytest.mark.parametrize("count", [1, 2])
def test_threads_that_share_a_layer(count: int) -> None:
    shape = SHAPES["plain"](40, 60, 6, True)
    arrays = leaves(parameters(shape, f64))
    examples = [inputs(shape, (1 + k % 9,), f64, k) for k in range(40)]
    expected = []
    for x in examples:
        h = run(shape, x, arrays)
        expected.append((h, *torch.autograd.grad(h.square().sum(), arrays)))

    def work(place: int) -> int:
        for k in range(place, place + 40):
            x = examples[k % 40]
            h = run(shape, x, arrays)
            got = (h, *torch.autograd.grad(h.square().sum(), arrays))
            assert all(map(torch.equal, got, expected[k % 40])), k
            with torch.no_grad():
                assert torch.equal(run(shape, x, arrays), h)
        return place

    with threads(count), ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(work, range(12), timeout=25)) == list(range(12))


def test_threads_that_train_models_of_their_own() -> None:
    def work(seed: int) -> nn.Module:
        model = it.mlp([20, 17, 4], [3, 1], seed=seed % 3)
        optimizer = it.CSGD(model, lr=0.1, fused=seed >= 3)
        for x, y in batches(30, 32, 20, 4):
            it.loss(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
        return model

    with ThreadPoolExecutor(6) as pool:
        models = list(pool.map(work, range(6), timeout=25))
    for k in range(3):
        assert not differing(models[k], models[k + 3])


def test_threads_that_share_a_state() -> None:
    shape = _core.Shape.dann(600, 600, 60)
    state, update = _core.State(shape, "float32"), _core.Update(1e-6, momentum=0.9)
    gradients = [torch.ones(sizes) for _, sizes, *_ in shape.parameters]
    seen: list[str] = []
    ready = threading.Barrier(2, timeout=10)

    def work(_: int) -> int:
        arrays, done = parameters(shape, f32), 0
        ready.wait()
        for _ in range(400):
            try:
                _core.apply(shape, arrays, gradients, state, update, 1)
                done += 1
            except InUse as error:
                seen.append(str(error))
            if seen:
                break
        return done

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(work, range(2), timeout=25))
    assert seen, done
    assert set(seen) == {"the state is in use by another thread: expected one call at a time"}
    # And it is whole: nobody left it taken.
    _core.apply(shape, parameters(shape, f32), gradients, state, update, 1)
    assert state.names() == ["velocity"]


class Torchlike(nn.Module):
    """The layer class that the loop below had before: the same equations in torch operations."""

    def __init__(self, layer: it.DannLinear) -> None:
        super().__init__()
        for name, array in layer.named_parameters():
            self.register_parameter(name, nn.Parameter(array.detach().clone()))
        self.nonlinearity = "relu" if layer.shape.relu else None

    def forward(self, x: Tensor) -> Tensor:
        return it.composed.dann_linear(x, **dict(self.named_parameters()), nonlinearity=self.nonlinearity)


class Net(nn.Module):
    """As the networks of papers are written: named layers, and images that they flatten."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({f"fc{k}": layer for k, layer in enumerate(layers)})

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(len(x), -1)
        for layer in self.layers.values():
            x = layer(x)
        return x


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.argmax(1) == labels).double().mean())


def papers_loop(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> Iterator[float]:
    """Accuracy and loss of each batch, a retained graph, evaluation beside it, one optimiser a group."""
    data = [(x.view(32, 4, 5), y) for x, y in batches(30, 32, 20, 4, f64)]
    held, labels = data.pop()
    for epoch in range(2):
        model.train()
        for k, (x, y) in enumerate(data):
            outputs = model(x)
            seen = accuracy(outputs, y)
            loss = F.cross_entropy(outputs, y)
            loss.backward(retain_graph=True)
            for optimizer in optimizers:
                optimizer.step()
            model.zero_grad()
            yield loss.item()
            assert 0 <= seen <= 1
            if k % 10 == epoch:
                model.eval()
                with torch.no_grad():
                    yield F.cross_entropy(model(held), labels).item()
                    yield accuracy(model(held), labels)
                model.train()


class Stepper(torch.optim.Optimizer):
    """The paper's update of one group, in torch operations."""

    def __init__(self, params: list[Tensor], lr: float, corrections: list[float], bounded: bool) -> None:
        super().__init__(params, {"lr": lr})
        self.corrections, self.bounded = corrections, bounded

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        assert closure is None
        for group in self.param_groups:
            for array, correction in zip(group["params"], self.corrections, strict=True):
                array -= group["lr"] * correction * array.grad
                if self.bounded:
                    array.clamp_(min=0)


def test_the_loop_of_a_paper_with_the_layer_class_replaced() -> None:
    drawn = it.mlp([20, 17, 4], [3, 1], seed=1, dtype=f64)
    before = Net([Torchlike(layer) for layer in drawn])
    steppers = []
    for role in ("Wex", "Wix", "Wei", "alpha", "g", "b"):
        arrays = [getattr(layer, role) for layer in before.layers.values()]
        fixed = [it for layer in drawn for name, _, _, _, it in layer.shape.parameters if name == role]
        steppers.append(Stepper(arrays, 0.2, fixed, role not in ("alpha", "b")))
    expected = torch.tensor(list(papers_loop(before, steppers)), dtype=f64)
    assert expected[-2] < 0.7 * expected[0]

    after = Net(list(it.mlp([20, 17, 4], [3, 1], seed=1, dtype=f64)))
    groups = it.param_groups(after)
    got = list(papers_loop(after, [it.CSGD([group], lr=0.2) for group in groups]))
    # Errors of rounding grow over 58 steps.
    assert_close("losses and accuracies", torch.tensor(got, dtype=f64), expected, f64, 1e4)

    for fused in (False, True):
        again = Net(list(it.mlp([20, 17, 4], [3, 1], seed=1, dtype=f64)))
        assert list(papers_loop(again, [it.CSGD(again, lr=0.2, fused=fused)])) == got
        assert not differing(again, after)


def test_loops_whose_closure_runs_the_backward_pass() -> None:
    # As Lightning and skorch call optimisers: step(closure), where the closure does all of it.
    results = []
    for automatic in (False, True):
        model = it.mlp([20, 17, 4], [3, 1], seed=1)
        optimizer = it.CSGD(model, lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.95**step)
        for x, y in batches(20, 32, 20, 4):

            def closure() -> Tensor:
                loss = F.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                return loss

            if automatic:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
            scheduler.step()
        results.append(model)
    assert not differing(*results)


def test_hooks_of_steps() -> None:
    model = it.mlp([20, 17, 4], [3, 1], seed=1)
    optimizer = it.CSGD(model, lr=0.1)
    called: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    x, y = batches(1, 32, 20, 4)[0]
    F.cross_entropy(model(x), y).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    assert called == ["before", "after"]
    assert differing(model, it.mlp([20, 17, 4], [3, 1], seed=1))


def test_references_of_layers() -> None:
    # Calls leave no reference to their arguments behind.
    model = it.mlp([20, 17, 4], [3, 1], seed=1)
    optimizer = it.CSGD(model, lr=0.1)
    x, y = (array.clone() for array in batches(1, 32, 20, 4)[0])
    counts = [sys.getrefcount(it) for it in (x, y, *model.parameters())]
    for _ in range(50):
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        it.train_step(model, x, y, optimizer)
    gc.collect()
    after = [sys.getrefcount(it) for it in (x, y, *model.parameters())]
    # The first step and the first whole step may keep what they prepare.
    assert all(now - then < 10 for now, then in zip(after, counts, strict=True))
