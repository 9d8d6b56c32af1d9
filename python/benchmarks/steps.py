"""Times of layers and steps beside PyTorch's own, as ratios within one run.

    python python/benchmarks/steps.py [--seconds 20] [--threads 1 2] [--json FILE]

The rows of a group take turns, in short samples. Printed are medians in microseconds, and the ratio of each row to the
first of its group, as the median of the ratios of samples that were taken one after the other. A ratio of minima is beside
it: on a busy machine it is the one to believe.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import interneuron
import interneuron.torch as it
from interneuron import _core

Row = tuple[str, Callable[[], Any]]


def measure(rows: list[Row], seconds: float) -> list[dict[str, Any]]:
    """Medians of interleaved samples of at least 2 ms, and ratios to the first row."""
    calls = []
    for _, run in rows:
        run()
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < 0.02:
            run()
            count += 1
        calls.append(max(1, count // 10))
    samples: list[list[float]] = [[] for _ in rows]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[0]) < 5:
        for (_, run), count, times in zip(rows, calls, samples, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                run()
            times.append((time.perf_counter() - start) / count * 1e6)
    return [
        {
            "name": name,
            "median_us": statistics.median(times),
            "min_us": min(times),
            "ratio": statistics.median(a / b for a, b in zip(times, samples[0], strict=True)),
            "ratio_of_minima": min(times) / min(samples[0]),
        }
        for (name, _), times in zip(rows, samples, strict=True)
    ]


class ComposedDann(nn.Module):
    """The authors' layer as they would write it: PyTorch's operations, no kernel of ours."""

    def __init__(self, like: it.DannLinear) -> None:
        super().__init__()
        self.relu = like.shape.relu
        for name, array in zip(like._names, like.arrays(), strict=True):
            self.register_parameter(name, nn.Parameter(array.detach().clone()))

    def forward(self, x: Tensor) -> Tensor:
        zi = x @ self.Wix.T
        zhat = x @ self.Wex.T - zi @ self.Wei.T
        gamma = (self.alpha.exp() * zi) @ self.Wei.T + 1e-8
        z = self.g * (zhat / gamma) + self.b
        return F.relu(z) if self.relu else z

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """The corrected step and the bounds, parameter by parameter."""
        (ne, d) = self.Wex.shape
        scales = {"Wix": ne**-0.5, "Wei": 1 / d, "alpha": ne**-0.5 / d}
        for name, array in self.named_parameters():
            array.sub_(array.grad, alpha=lr * scales.get(name, 1.0))
            if name not in ("alpha", "b"):
                array.clamp_(min=0)
            array.grad = None


def torch_mlp(dims: list[int]) -> nn.Sequential:
    """An ordinary network of PyTorch."""
    layers: list[nn.Module] = []
    for d, n in zip(dims, dims[1:]):
        layers += [nn.Linear(d, n), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Callable[[], None]:
    """One step of the usual loop."""

    def run() -> None:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def small(seconds: float) -> dict[str, list[dict[str, Any]]]:
    """The layer of 2 inputs and 32 units, where the binding is what costs."""
    x, tiny = torch.rand(32, 2), torch.rand(1, 1)
    ours, theirs = it.DannLinear(2, 32, 3), nn.Linear(2, 32)
    one = _core.Shape.dann(1, 1, 1)
    arrays = [torch.rand(sizes) for _, sizes, *_ in one.parameters]
    hot = tuple(array.detach() for array in ours.arrays())

    def no_grad(run: Callable[[], Any]) -> Callable[[], Any]:
        def wrapped() -> None:
            with torch.no_grad():
                for _ in range(10):
                    run()

        return wrapped

    grad = x.clone().requires_grad_()
    dh = torch.rand(32, 32)

    def both(module: nn.Module) -> Callable[[], None]:
        def run() -> None:
            module(grad).backward(dh)

        return run

    net, mlp = it.mlp([2, 32, 2], [3, 1], seed=1), torch_mlp([2, 32, 2])
    y = torch.randint(2, (32,))
    fused_net, whole_net = it.mlp([2, 32, 2], [3, 1], seed=1), it.mlp([2, 32, 2], [3, 1], seed=1)
    whole = it.CSGD(whole_net, 1e-3)
    composed = nn.Sequential(*(ComposedDann(layer) for layer in net))
    return {
        "binding, 1 x 1, no grad (10 calls)": measure(
            [("_core.forward", no_grad(lambda: _core.forward(one, tiny, arrays, 1, False)))], seconds
        ),
        "layer 2 -> 32, B = 32, no grad (10 calls)": measure(
            [
                ("nn.Linear", no_grad(lambda: theirs(x))),
                ("nn.Linear, ReLU", no_grad(lambda: F.relu(theirs(x)))),
                ("DannLinear", no_grad(lambda: ours(x))),
                ("_core.forward", no_grad(lambda: _core.forward(ours.shape, x, hot, 1, False))),
            ],
            seconds,
        ),
        "layer 2 -> 32, B = 32, forward and backward": measure(
            [("nn.Linear", both(theirs)), ("DannLinear", both(ours))], seconds
        ),
        "network 2-32-2, B = 32, a step": measure(
            [
                ("MLP of PyTorch, SGD", step(mlp, torch.optim.SGD(mlp.parameters(), 1e-3), x, y)),
                ("DANN in PyTorch's operations", composed_step(composed, x, y)),
                ("ours", step(net, it.CSGD(net, 1e-3), x, y)),
                ("ours, fused", step(fused_net, it.CSGD(fused_net, 1e-3, fused=True), x, y)),
                ("ours, whole step", lambda: it.train_step(whole_net, x, y, whole)),
            ],
            seconds,
        ),
    }


def composed_step(model: nn.Sequential, x: Tensor, y: Tensor, lr: float = 1e-3) -> Callable[[], None]:
    """One step of a network in PyTorch's operations."""

    def run() -> None:
        F.cross_entropy(model(x), y).backward()
        for layer in model:
            layer.step(lr)

    return run


def paper(batch: int, seconds: float) -> list[dict[str, Any]]:
    """The network of the paper."""
    dims, nis = [784, 500, 500, 500, 10], [50, 50, 50, 1]
    x, y = torch.rand(batch, 784), torch.randint(10, (batch,))
    plain, fused, whole = (it.mlp(dims, nis, seed=1) for _ in range(3))
    ours_mlp, mlp = it.mlp(dims, kind="mlp", seed=1), torch_mlp(dims)
    composed = nn.Sequential(*(ComposedDann(layer) for layer in plain))
    optimizer, sgd = it.CSGD(whole, 1e-3), it.CSGD(ours_mlp, 1e-3, corrections=False)
    native = native_step(dims, nis, batch)
    rows: list[Row] = [
        ("DANN in PyTorch's operations", composed_step(composed, x, y)),
        ("MLP of PyTorch, SGD", step(mlp, torch.optim.SGD(mlp.parameters(), 1e-3), x, y)),
        ("ours", step(plain, it.CSGD(plain, 1e-3), x, y)),
        ("ours, fused", step(fused, it.CSGD(fused, 1e-3, fused=True), x, y)),
        ("ours, whole step", lambda: it.train_step(whole, x, y, optimizer)),
        ("ours, whole step, MLP", lambda: it.train_step(ours_mlp, x, y, sgd)),
        ("the extension's own step", native),
    ]
    return measure(rows, seconds)


def native_step(dims: list[int], nis: list[int], batch: int) -> Callable[[], None]:
    """The whole step without the glue of modules and optimisers."""
    shapes = _core.network("dann", dims, nis)
    params = [[torch.empty(sizes) for _, sizes, *_ in shape.parameters] for shape in shapes]
    _core.draw(shapes, params, 1)
    plan, update, state = _core.Plan(shapes, "float32"), _core.Update(1e-3, corrections=True), _core.TrainState()
    states = [_core.State(shape, "float32") for shape in shapes]
    x, target = torch.rand(batch, dims[0]), _core.Target("labels", torch.randint(10, (batch,)))
    return lambda: plan.train_step(params, states, state, x, target, update, torch.get_num_threads())


def compiled(seconds: float) -> list[dict[str, Any]]:
    """The network of the paper under torch.compile, forward and backward."""
    model = it.mlp([784, 500, 500, 500, 10], [50, 50, 50, 1], seed=1)
    graph = torch.compile(model, fullgraph=True, backend="aot_eager")
    x, y = torch.rand(32, 784), torch.randint(10, (32,))

    def both(model: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        return lambda: F.cross_entropy(model(x), y).backward()

    return measure([("eager", both(model)), ("compiled", both(graph))], seconds)


class Sequence(nn.Module):
    """A recurrent network and a readout of its last step."""

    def __init__(self, rnn: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.rnn, self.readout = rnn, readout

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.readout(self.rnn(x)[0][-1])
        return last


def recurrent(seconds: float) -> list[dict[str, Any]]:
    """Rows of images, one a step, to 100 units."""
    x, y = torch.rand(28, 32, 28), torch.randint(10, (32,))

    def ours(rnn: nn.Module) -> Sequence:
        return Sequence(rnn, it.DannLinear(100, 10, 1, nonlinearity=None, divisive=False))

    theirs = Sequence(nn.RNN(28, 100, nonlinearity="relu"), nn.Linear(100, 10))
    rnns: list[tuple[str, nn.Module]] = [
        ("DannRNN", it.DannRNN(28, 100)),
        ("DannRNN, divisive", it.DannRNN(28, 100, divisor="plain")),
        ("ColumnEIRNN", it.ColumnEIRNN(28, 100)),
        ("PlainRNN", it.PlainRNN(28, 100)),
    ]
    fused = ours(it.DannRNN(28, 100))
    shapes = [_core.Shape.recurrent_dann(28, 100, 10, 10), _core.Shape.dann(100, 10, 1, relu=False, divisor=None)]
    network = interneuron.Network.of(shapes)
    weights = torch.zeros(28, 32)
    weights[-1] = 1
    target = interneuron.Target("labels", y.expand(28, 32).numpy().copy(), weights=weights.numpy())

    def whole() -> None:
        with interneuron.threads(torch.get_num_threads()):
            network.train_step(x.numpy(), target, interneuron.csgd(1e-3))

    return measure(
        [
            ("nn.RNN of PyTorch, SGD", step(theirs, torch.optim.SGD(theirs.parameters(), 1e-3), x, y)),
            *((name, step(model, it.CSGD(model, 1e-3), x, y)) for name, model in ((n, ours(rnn)) for n, rnn in rnns)),
            ("DannRNN, fused", step(fused, it.CSGD(fused, 1e-3, fused=True), x, y)),
            ("interneuron.Network", whole),
        ],
        seconds,
    )


def import_times() -> list[float]:
    """Milliseconds that `import interneuron` takes in processes of its own."""
    code = "import time; t = time.perf_counter(); import interneuron; print((time.perf_counter() - t) * 1e3)"
    return sorted(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(7))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each group of rows")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {"isa": _core.isa(), "torch": torch.__version__, "interneuron": interneuron.__version__}
    print(results)
    groups: dict[str, list[dict[str, Any]]] = {}
    torch.set_num_threads(1)
    groups.update(small(arguments.seconds))
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for batch in (32, 128):
            groups[f"paper's network, B = {batch}, a step, {threads} threads"] = paper(batch, arguments.seconds)
    torch.set_num_threads(1)
    groups["paper's network, B = 32, forward and backward, compiled"] = compiled(arguments.seconds)
    groups["28 steps of 28 inputs to 100 units, B = 32, a step"] = recurrent(arguments.seconds)
    for title, rows in groups.items():
        print(f"\n{title}\n{'':34}{'median µs':>12}{'min µs':>12}{'ratio':>9}{'of minima':>11}")
        for row in rows:
            numbers = f"{row['median_us']:12.2f}{row['min_us']:12.2f}{row['ratio']:9.3f}{row['ratio_of_minima']:11.3f}"
            print(f"{row['name']:34}{numbers}")
    results["groups"], results["import_ms"] = groups, import_times()
    print(f"\nimport interneuron: {results['import_ms'][0]:.2f} ms at least, median {results['import_ms'][3]:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
