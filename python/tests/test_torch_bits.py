"""What must be the same to the bit: ways to take a step, numbers of threads, copies, files, the C library."""

from __future__ import annotations

import copy
import ctypes
import functools
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import pytest
import torch
from common import attributes, batches, differing, f32, f64, threads
from torch import nn

import interneuron.torch as it
from interneuron import _core
from interneuron.errors import CheckpointError

KINDS = ["dann", "mlp", "layer_norm", "batch_norm", "column_ei"]
OPTIMIZERS: dict[str, Callable[..., it.LayerOptimizer]] = {
    "csgd": lambda model, **how: it.CSGD(model, lr=0.1, **how),
    "csgd with all": lambda model, **how: it.CSGD(
        model, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01, clip=0.5, angle=(0.01, 5, 1e-3), **how
    ),
    "nesterov, floor": lambda model, **how: it.CSGD(
        model, lr=0.1, momentum=0.8, nesterov=True, floor=1e-3, **how
    ),
    "adamw": lambda model, **how: it.AdamW(model, lr=0.01, amsgrad=True, **how),
    "adam": lambda model, **how: it.AdamW(model, lr=0.01, decoupled=False, corrections=True, clip=1.0, **how),
    "eg": lambda model, **how: it.EG(model, lr=0.1, momentum=0.9, weight_decay=0.01, kept_sums="row", **how),
    "adamweg": lambda model, **how: it.AdamWEG(model, lr=0.01, **how),
}
OPTIMIZER = pytest.mark.parametrize("name", list(OPTIMIZERS))


def network(kind: str = "dann", dtype: torch.dtype = f32, seed: int = 1) -> nn.Sequential:
    return it.mlp([20, 17, 9, 4], [4, 3, 1] if kind == "dann" else None, kind=kind, seed=seed, dtype=dtype)


def train(
    model: nn.Sequential, optimizer: it.LayerOptimizer, steps: int, whole: bool = False, begin: int = 0
) -> None:
    first = next(model.parameters())
    for x, y in batches(100, 32, 20, 4, first.dtype)[begin : begin + steps]:
        if whole:
            it.train_step(model, x, y, optimizer)
        else:
            optimizer.zero_grad()
            it.loss(model(x), y).backward()
            optimizer.step()


@functools.lru_cache
def reference(kind: str, name: str, dtype: torch.dtype) -> nn.Sequential:
    """A hundred steps of three calls each."""
    model = network(kind, dtype)
    train(model, OPTIMIZERS[name](model), 100)
    # None that ended in numbers which are not finite, or at the start.
    assert all(array.isfinite().all() for array in model.parameters())
    assert len(differing(model, network(kind, dtype))) >= 6
    return model


@OPTIMIZER
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [f32, f64], ids=["f32", "f64"])
def test_three_ways_to_take_a_step(kind: str, name: str, dtype: torch.dtype) -> None:
    expected = reference(kind, name, dtype)
    for fused, whole in ((True, False), (False, True), (True, True)):
        model = network(kind, dtype)
        train(model, OPTIMIZERS[name](model, fused=fused), 100, whole)
        assert not differing(model, expected), (fused, whole)


@OPTIMIZER
def test_ways_may_change(name: str) -> None:
    # What is kept is in one place, whoever steps.
    model = network()
    optimizer = OPTIMIZERS[name](model)
    for k in range(10):
        train(model, optimizer, 10, k % 2 == 1, 10 * k)
    assert not differing(model, reference("dann", name, f32))


def test_both_ways_in() -> None:
    model = network()
    with attributes():
        train(model, OPTIMIZERS["csgd"](model), 50)
        optimizer = OPTIMIZERS["csgd"](model, fused=True)
        train(model, optimizer, 25, begin=50)
        train(model, optimizer, 25, True, 75)
    assert not differing(model, reference("dann", "csgd", f32))


def copied(model: nn.Sequential, optimizer: it.LayerOptimizer, how: str, name: str) -> tuple[Any, Any]:
    if how == "deepcopy":
        return copy.deepcopy((model, optimizer))
    if how == "deepcopy, optimiser first":
        optimizer, model = copy.deepcopy((optimizer, model))
        return model, optimizer
    if how == "pickle":
        return pickle.loads(pickle.dumps((model, optimizer)))
    if how == "pickle, optimiser first":
        saved = pickle.dumps({"optimizer": optimizer, "model": model})
        loaded = pickle.loads(saved)
        return loaded["model"], loaded["optimizer"]
    saved = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    saved.seek(0)
    # As files from elsewhere are to be loaded: with nothing in them but tensors and plain values.
    loaded = torch.load(saved, weights_only=True)
    model = network(seed=7)
    optimizer = OPTIMIZERS[name](model)
    model.load_state_dict(loaded["model"])
    optimizer.load_state_dict(loaded["optimizer"])
    return model, optimizer


@OPTIMIZER
@pytest.mark.parametrize(
    "how", ["deepcopy", "deepcopy, optimiser first", "pickle", "pickle, optimiser first", "state_dict"]
)
def test_copies_go_on(name: str, how: str) -> None:
    for fused in (False, True):
        model = network()
        optimizer = OPTIMIZERS[name](model, fused=fused)
        train(model, optimizer, 40)
        again, theirs = copied(model, optimizer, how, name)
        assert not differing(model, again)
        train(again, theirs, 60, begin=40)
        assert not differing(again, reference("dann", name, f32))
        # The original has not moved meanwhile, and goes on, too.
        assert differing(again, model)
        train(model, optimizer, 60, begin=40)
        assert not differing(again, model)


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "state_dict"])
def test_copies_of_natural_gradients_draw_the_same_labels(how: str) -> None:
    OPTIMIZERS["natural"] = lambda model, **how: it.NaturalGradient(model, lr=0.05, seed=3, **how)
    try:
        model = network()
        optimizer = OPTIMIZERS["natural"](model)
        train(model, optimizer, 10, True)
        again, theirs = copied(model, optimizer, how, "natural")
        train(model, optimizer, 10, True, 10)
        train(again, theirs, 10, True, 10)
        assert not differing(model, again)
        # It does depend on what is drawn.
        other = network()
        third = it.NaturalGradient(other, lr=0.05, seed=4)
        train(other, third, 20, True)
        assert differing(model, other)
    finally:
        del OPTIMIZERS["natural"]


@OPTIMIZER
@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    for whole, dtype in ((False, f32), (True, f64)):
        model = network(kind, dtype)
        optimizer = OPTIMIZERS[name](model)
        train(model, optimizer, 40, whole)
        it.checkpoint.save(path, model, optimizer, seed=5)
        loaded = it.checkpoint.load(path)
        assert (loaded.seed, loaded.steps) == (5, 40 if whole else 0)
        assert not differing(loaded.model, model)
        other = OPTIMIZERS[name](loaded.model)
        loaded.restore(other)
        train(loaded.model, other, 60, whole, 40)
        assert not differing(loaded.model, reference(kind, name, dtype))


def test_checkpoints_that_cannot_be(tmp_path: Path) -> None:
    model = network()
    with pytest.raises(CheckpointError, match="expected a checkpoint"):
        it.checkpoint.load(tmp_path / "missing")
    with pytest.raises(TypeError, match=r"model\[1\] is a ReLU: expected layers of interneuron.torch alone"):
        it.checkpoint.save(tmp_path / "no", nn.Sequential(model[0], nn.ReLU()))
    it.checkpoint.save(tmp_path / "net", model)
    loaded = it.checkpoint.load(tmp_path / "net")
    with pytest.raises(ValueError, match="the optimiser has not the layer dann:20,17,4,relu,plain"):
        loaded.restore(it.CSGD(model, lr=0.1))


@pytest.mark.parametrize("kind", ["dann", "mlp", "batch_norm"])
@pytest.mark.timeout(120)
def test_any_number_of_threads(kind: str) -> None:
    # Large enough that threads share the work.
    results = []
    data = batches(4, 64, 784, 10)
    for count in (1, 2, 5):
        for fused, whole in ((False, False), (True, False), (False, True)):
            model = it.mlp([784, 500, 10], [50, 1] if kind == "dann" else None, kind=kind, seed=1)
            optimizer = it.CSGD(model, lr=0.1, momentum=0.9, fused=fused)
            with threads(count):
                for x, y in data:
                    if whole:
                        it.train_step(model, x, y, optimizer)
                    else:
                        optimizer.zero_grad()
                        it.loss(model(x), y).backward()
                        optimizer.step()
                with torch.no_grad():
                    outputs = model(data[0][0])
            results.append((model, outputs))
    assert _core.pools() > 0
    for model, outputs in results[1:]:
        assert not differing(model, results[0][0])
        assert torch.equal(outputs, results[0][1])


@pytest.mark.parametrize("dtype", [f32, f64], ids=["f32", "f64"])
def test_losses_are_those_of_pytorch(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(9, 5, generator=generator, dtype=dtype).requires_grad_()
    labels = torch.randint(5, (9,), generator=generator)
    wanted = torch.rand(9, 5, generator=generator, dtype=dtype)
    shares = wanted / wanted.sum(1, keepdim=True)
    weights, mask = torch.rand(9, generator=generator, dtype=dtype), (wanted > 0.4).to(dtype)
    functional = nn.functional
    each = functional.cross_entropy(outputs, labels, reduction="none")
    squares = (outputs - wanted).square()
    for got, expected in [
        (it.loss(outputs, labels), functional.cross_entropy(outputs, labels)),
        (it.loss(outputs, labels.int()), functional.cross_entropy(outputs, labels)),
        (it.loss(outputs, shares), functional.cross_entropy(outputs, shares)),
        (
            it.loss(outputs, labels, label_smoothing=0.1),
            functional.cross_entropy(outputs, labels, label_smoothing=0.1),
        ),
        (it.loss(outputs, labels, weights=weights), (weights * each).sum() / weights.sum()),
        (it.loss(outputs, wanted, "mse"), functional.mse_loss(outputs, wanted)),
        (it.loss(outputs, wanted, "mse", mask=mask), (mask * squares).sum() / mask.sum()),
        (it.loss(outputs, wanted, "bce"), functional.binary_cross_entropy_with_logits(outputs, wanted)),
    ]:
        assert got.dtype == dtype
        common.assert_close("the loss", got, expected, dtype)
        for factor in (1.0, 2.5):
            one, other = (
                torch.autograd.grad(factor * it, outputs, retain_graph=True)[0] for it in (got, expected)
            )
            common.assert_close("its gradient", one, other, dtype)


class Sized(ctypes.Structure):
    """A struct of the C library, which begins with its own size."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(size=ctypes.sizeof(type(self)), **fields)


I64, U64, FLOATS = ctypes.c_int64, ctypes.c_uint64, ctypes.POINTER(ctypes.c_float)
ARRAYS = ("wex", "wix", "wei", "alpha", "g", "b")


class Context(Sized):
    _fields_ = (("size", U64), ("threads", I64))


class Config(Sized):
    _fields_ = (
        ("size", U64),
        ("layers", I64),
        ("dims", ctypes.POINTER(I64)),
        ("nis", ctypes.POINTER(I64)),
        ("seed", U64),
    )


class Update(Sized):
    _fields_ = (("size", U64), ("lr", ctypes.c_double), ("corrections", I64))


class Arrays(Sized):
    _fields_ = (("size", U64), *((name, FLOATS) for name in ARRAYS))


class Library:
    """Networks of the C library."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.interneuron_last_error.restype = ctypes.c_char_p

    def __call__(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, f"interneuron_{name}")(*arguments)
        assert status == 0, f"{name}: {self.library.interneuron_last_error().decode()}"

    def parameters(self, network: ctypes.c_uint64, model: nn.Sequential) -> list[torch.Tensor]:
        found = []
        for k, layer in enumerate(model):
            copies = {name: torch.empty_like(array) for name, array in layer.named_parameters()}
            places = {("wex" if name == "W" else name.lower()): at(array) for name, array in copies.items()}
            self("network_get_parameters", network, I64(k), ctypes.byref(Arrays(**places)))
            found += copies.values()
        return found


def at(array: torch.Tensor) -> Any:
    kind = ctypes.c_uint32 if array.dtype == torch.int32 else ctypes.c_float
    return ctypes.cast(array.data_ptr(), ctypes.POINTER(kind))


LIBRARY = Path(__file__).parents[2] / "target" / "release" / "libinterneuron.so"


@pytest.mark.skipif(not LIBRARY.exists(), reason="no C library: cargo build --release -p interneuron-capi")
@pytest.mark.parametrize("nis", [[4, 3, 1], None], ids=["dann", "mlp"])
def test_the_c_library(nis: list[int] | None) -> None:
    call, dims = Library(LIBRARY), [20, 17, 9, 4]
    context, handle, loss = U64(), U64(), ctypes.c_double()
    call("context_create", ctypes.byref(Context()), ctypes.byref(context))
    config = Config(layers=3, dims=(I64 * 4)(*dims), nis=(I64 * 3)(*nis) if nis else None, seed=11)
    call("network_create", context, ctypes.byref(config), ctypes.byref(handle))
    model = it.mlp(dims, nis, kind="dann" if nis else "mlp", seed=11)
    assert all(map(torch.equal, call.parameters(handle, model), model.parameters()))
    optimizer = it.CSGD(model, lr=0.1)
    for x, y in batches(100, 32, 20, 4):
        labels, update = y.int(), Update(lr=0.1, corrections=1)
        call(
            "network_train_step", handle, I64(32), at(x), at(labels), ctypes.byref(update), ctypes.byref(loss)
        )
        assert it.train_step(model, x, y, optimizer) == loss.value
    assert all(map(torch.equal, call.parameters(handle, model), model.parameters()))
    # And of three calls.
    other = it.mlp(dims, nis, kind="dann" if nis else "mlp", seed=11)
    train(other, it.CSGD(other, lr=0.1), 100)
    assert not differing(other, model)
    call("network_free", handle)
    call("context_free", context)


def test_seeds() -> None:
    # Of the generator of PyTorch where none is said.
    made = []
    for _ in range(2):
        torch.manual_seed(5)
        made.append(nn.Sequential(it.DannLinear(6, 5, 2), *it.mlp([5, 4, 3], [2, 1])))
    assert not differing(*made)
    assert differing(made[0][1], it.mlp([5, 4, 3], [2, 1])[0])
    layer = it.DannLinear(6, 5, 2, seed=4)
    before = copy.deepcopy(layer)
    layer.reset_parameters()
    assert differing(layer, before)
    layer.reset_parameters(seed=4)
    assert not differing(layer, before)
    generators = [torch.Generator().manual_seed(9) for _ in range(2)]
    layer.reset_parameters(generators[0])
    before.reset_parameters(generators[1])
    assert not differing(layer, before)


def test_layers_without_memory() -> None:
    with torch.device("meta"):
        model = it.mlp([6, 5, 3], [2, 1])
        layer = it.DannLinear(6, 5, 2, device="cpu", seed=3)
        with attributes(), torch.no_grad():
            h = layer(torch.rand(2, 6, device="cpu"))
    assert h.device.type == layer.Wex.device.type == "cpu"
    assert all(array.is_meta for array in model.parameters())
    model.to_empty(device="cpu")
    it.draw(model, 1)
    assert not differing(model, it.mlp([6, 5, 3], [2, 1], seed=1))


@pytest.mark.xfail(
    strict=True, reason="a fused update counts the gradients of frozen parameters in the norm of clip"
)
def test_clipping_beside_frozen_parameters() -> None:
    models = [network(), network()]
    for model, fused in zip(models, (False, True), strict=True):
        for layer in model:
            layer.Wex.requires_grad_(False)
        train(model, it.CSGD(model, lr=0.1, clip=0.01, fused=fused), 5)
    assert not differing(*models)


def test_whole_steps_of_inhibitory_inputs() -> None:
    one, other = (it.ColumnEILinear(6, 3, 2, nonlinearity=None, seed=1) for _ in range(2))
    x, y = torch.rand(4, 6), torch.randint(3, (4,))
    optimizer = it.CSGD(one, lr=0.1)
    it.loss(one(x), y).backward()
    optimizer.step()
    it.train_step(other, x, y, it.CSGD(other, lr=0.1))
    assert torch.equal(one.Wpos, other.Wpos) and torch.equal(one.b, other.b)


def test_state_dicts_of_batch_normalisation() -> None:
    # What is kept of statistics, which no step moves, is in no state dict.
    model = network("batch_norm")
    optimizer = OPTIMIZERS["csgd"](model)
    train(model, optimizer, 3)
    other = network("batch_norm")
    of_other = OPTIMIZERS["csgd"](other)
    other.load_state_dict(model.state_dict())
    of_other.load_state_dict(optimizer.state_dict())
    train(model, optimizer, 3, begin=3)
    train(other, of_other, 3, begin=3)
    assert not differing(model, other)
