"""Golden cases through every door of PyTorch's side: autograd, operator, graph, torch operations, fused, whole steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import interneuron.torch as it

NAMES = ("Wex", "Wix", "Wei", "alpha", "g", "b")
LAYERS, NETWORKS = golden.paths("layer", "guard"), golden.paths("net")
DTYPES = [torch.float64, torch.float32]
# Of the largest element. Sums are made in another order than where the cases come from; in f32 a layer that divides has
# the rounding of its divisor in all that it makes.
TOLERANCES = {torch.float64: 2e-13, torch.float32: 5e-5}
# Ten steps add up what one rounds.
OF_STEPS = {torch.float64: 1e-12, torch.float32: 5e-4}


def close(name: str, got: Tensor, expected: np.ndarray, tolerance: float) -> None:
    wanted = torch.tensor(expected).double().reshape(got.shape)
    scale = max(float(wanted.abs().max()), 1e-3)
    off = float((got.detach().double() - wanted).abs().max())
    assert off <= tolerance * scale, f"{name} is off by {off}, the largest is {scale}"


def module(case: golden.Case, dtype: torch.dtype) -> it.DannLinear:
    """The layer of a case."""
    kind = case.metadata.get("kind", "plain")
    (ne, d), ni = case["Wex"].shape, case["Wix"].shape[0]
    layer = it.DannLinear(
        d,
        ne,
        ni,
        nonlinearity="relu" if case.number("relu") == 1 else None,
        divisor=case.number("floor") if kind == "floor" else kind,
        seed=0,
        dtype=dtype,
    )
    layer.load_state_dict({name: torch.tensor(case[name]) for name in NAMES})
    return layer


DOORS: dict[str, Callable[[it.DannLinear, Tensor], Tensor]] = {
    "autograd": lambda layer, x: layer(x),
    "operator": lambda layer, x: torch.ops.interneuron.layer(str(layer.shape), x, list(layer.arrays())),
    "graph": lambda layer, x: torch.compile(layer, fullgraph=True, backend="aot_eager")(x),
    "operations": lambda layer, x: it.composed.layer(layer.shape, x, layer.arrays()),
}


@pytest.mark.timeout(120)
# A graph takes seconds to make, and its operator is the same.
@pytest.mark.parametrize(
    ("door", "dtype"), [(door, dtype) for dtype in DTYPES for door in DOORS if dtype is DTYPES[0] or door != "graph"]
)
@pytest.mark.parametrize("path", LAYERS, ids=[path.stem for path in LAYERS])
def test_layers(path: Path, dtype: torch.dtype, door: str) -> None:
    torch._dynamo.reset()
    case, tolerance = golden.read(path), TOLERANCES[dtype]
    layer = module(case, dtype)
    x = torch.tensor(case["x"], dtype=dtype, requires_grad=True)
    h = DOORS[door](layer, x)
    close("h", h, case["h"], tolerance)
    h.backward(torch.tensor(case["dh"], dtype=dtype))
    assert x.grad is not None
    close("dx", x.grad, case["dx"], tolerance)
    for name, array in layer.named_parameters():
        assert array.grad is not None
        close(f"d{name}", array.grad, case[f"d{name}"], tolerance)


@pytest.mark.parametrize("fused", [False, True], ids=["unfused", "fused"])
@pytest.mark.parametrize("dtype", DTYPES, ids=["f64", "f32"])
@pytest.mark.parametrize("path", LAYERS, ids=[path.stem for path in LAYERS])
def test_steps_of_layers(path: Path, dtype: torch.dtype, fused: bool) -> None:
    case = golden.read(path)
    for after, corrections in (("1", True), ("1_sgd", False)):
        layer = module(case, dtype)
        optimizer = it.CSGD(layer, case.number("lr"), corrections=corrections, fused=fused)
        layer(torch.tensor(case["x"], dtype=dtype)).backward(torch.tensor(case["dh"], dtype=dtype))
        optimizer.step()
        for name, array in layer.named_parameters():
            if name + after in case.arrays:
                close(name + after, array, case[name + after], TOLERANCES[dtype])


def network(case: golden.Case, dtype: torch.dtype) -> nn.Sequential:
    """The network of a case."""
    kind = case.metadata["kind"]
    dims = [int(size) for size in case["dims"]]
    nis = [int(size) for size in case["nis"]] if kind.startswith("dann") else None
    if kind == "colei":
        layers: list[it.Layer] = []
        for k, (d, n) in enumerate(zip(dims, dims[1:])):
            negative = int((case[f"p{k}_sign"] < 0).sum())
            end = None if k + 2 == len(dims) else "relu"
            layers.append(it.ColumnEILinear(d, n, negative, nonlinearity=end, seed=0, dtype=dtype))
        model = nn.Sequential(*layers)
    else:
        model = it.mlp(dims, nis, kind="dann" if nis is not None else "mlp", seed=0, dtype=dtype)
    for k, layer in enumerate(model):
        assert isinstance(layer, it.Layer)
        layer.load_state_dict(
            {name: torch.tensor(case[f"p{k}_{name}"]) for name, _ in layer.named_parameters()}, strict=False
        )
    return model


@pytest.mark.parametrize("way", ["unfused", "fused", "whole"])
@pytest.mark.parametrize("dtype", DTYPES, ids=["f64", "f32"])
@pytest.mark.parametrize("path", NETWORKS, ids=[path.stem for path in NETWORKS])
def test_networks(path: Path, dtype: torch.dtype, way: str) -> None:
    case, tolerance = golden.read(path), OF_STEPS[dtype]
    kind = case.metadata["kind"]
    if kind not in ("dann", "dann_nc", "mlp", "colei"):
        pytest.skip(f"networks of kind {kind} are not here")
    model, lr = network(case, dtype), case.number("lr")
    x, y = torch.tensor(case["x"], dtype=dtype), torch.tensor(case["y"]).long()
    optimizer = it.CSGD(model, lr, corrections=kind == "dann", fused=way == "fused")
    close("logits0", model(x), case["logits0"], tolerance)
    losses = []
    for _ in range(int(case.number("steps"))):
        if way == "whole":
            losses.append(it.train_step(model, x, y, optimizer))
            continue
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    close("loss", torch.tensor(losses, dtype=torch.float64), case["loss"], tolerance)
    for k, layer in enumerate(model):
        for name, array in layer.named_parameters():
            close(f"q{k}_{name}", array, case[f"q{k}_{name}"], tolerance)


def test_there_are_cases() -> None:
    assert len(LAYERS) >= 9 and len(NETWORKS) >= 4
