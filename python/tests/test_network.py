"""Networks on NumPy arrays."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest

import interneuron as inn
from interneuron import Network, Shape, Target, Update
from interneuron.errors import (
    CheckpointError,
    Diverged,
    DivisorError,
    InvalidValue,
    InUse,
    ShapeError,
    TooLarge,
)

DIMS, NIS = [9, 24, 16, 4], [4, 3, 1]
KINDS = ["dann", "mlp", "layer_norm", "batch_norm", "column_ei"]
DTYPES = ["float32", "float64"]
UPDATES: dict[str, Update] = {
    "sgd": inn.sgd(0.05),
    "csgd": inn.csgd(0.05, momentum=0.9, nesterov=True, decay={"Wex": 1e-4}, clip=1.0),
    "adam": inn.adam(0.003, amsgrad=True),
    "adamw": inn.adamw(0.003, corrections=True, clip=1.0, clip_scope="network"),
    "eg": inn.eg(0.05, momentum=0.5, dampening=0.1),
    "adamw_eg": inn.adamw_eg(0.01),
    "natural": inn.natural(0.005, f_lambda=1.0, epsilon=0.1, normalised=False),
    "sums": inn.sgd(0.05, kept_sums="row", floor=1e-6, factors={"b": 0.5}),
    "angle": inn.csgd(0.1, angle=(0.001, 10, 0.01)),
}


def problem(dtype: str = "float32", examples: int = 40, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, examples)
    x = rng.random((examples, 9)) * 0.5
    x[np.arange(examples), labels * 2] += 1.0
    return x.astype(dtype), labels


def network(kind: str = "dann", dtype: str = "float32", **keywords: Any) -> Network:
    return Network(DIMS, NIS if kind == "dann" else None, kind=kind, dtype=dtype, **keywords)  # type: ignore[arg-type]


def bits(net: Network) -> dict[str, bytes]:
    """Everything that steps change."""
    arrays = {**net.params(), **net.state()}
    return {
        "steps": net.steps.to_bytes(8, "little"),
        **{name: array.tobytes() for name, array in arrays.items()},
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", UPDATES)
def test_every_kind_learns_by_every_update(kind: str, rule: str, dtype: str) -> None:
    x, y = problem(dtype)
    net, other = network(kind, dtype, seed=3), network(kind, dtype, seed=3)
    if (kind, rule) == ("batch_norm", "natural"):
        with pytest.raises(
            InvalidValue, match="a natural gradient of batch normalisation is not supported here"
        ):
            net.train_step(x, y, UPDATES[rule])
        return
    before = net.evaluate(x, y)
    for _ in range(60):
        loss = net.train_step(x, y, UPDATES[rule])
        with inn.threads(2):
            assert other.train_step(x, y, UPDATES[rule]) == loss
    after = net.evaluate(x, y)
    assert after.loss < before.loss and after.examples == 40 and after.error == after.errors / 40
    assert bits(net) == bits(other) and net.steps == 60


@pytest.mark.parametrize("kind", KINDS)
def test_copies_pickles_and_files_go_on_to_the_same_bits(kind: str, tmp_path: Path) -> None:
    x, y = problem()
    # The natural gradient draws labels, and the second rule keeps velocities beside its estimates.
    rules = [UPDATES["natural"], UPDATES["csgd"], UPDATES["adamw"]]
    for rule in rules if kind != "batch_norm" else rules[1:]:
        net = network(kind, seed=11)
        net.scaler = inn.Scaler(np.zeros(9), np.ones(9))
        for _ in range(5):
            net.train_step(x, y, rule)
        net.save(tmp_path / "net.safetensors")
        others = [
            net.copy(),
            copy.copy(net),
            copy.deepcopy(net),
            pickle.loads(pickle.dumps(net)),
            Network.load(tmp_path / "net.safetensors"),
        ]
        here = bits(net)
        for other in others:
            assert bits(other) == here and other.seed == 11 and other.scaler == net.scaler
            assert other.shapes == net.shapes and other.dtype == net.dtype
        for _ in range(5):
            net.train_step(x, y, rule)
        for other in others:
            for _ in range(5):
                other.train_step(x, y, rule)
            assert bits(other) == bits(net)


def test_f64_is_saved_as_f64(tmp_path: Path) -> None:
    net = network(dtype="float64", seed=2)
    net.save(str(tmp_path / "net"))
    other = Network.load(str(tmp_path / "net"))
    assert other.dtype == "float64" and bits(other) == bits(net)


def test_read_only_pickles_can_be_trained() -> None:
    # As joblib lays arrays into memory that its workers share.
    x, y = problem()
    state = network().__getstate__()
    for layer in state["params"]:
        for array in layer:
            array.flags.writeable = False
    net = Network.__new__(Network)
    net.__setstate__(state)
    net.train_step(x, y, inn.csgd(0.1))


@pytest.mark.parametrize("name", ["net_01_dann", "net_03_dann_nc", "net_04_mlp", "net_07_colei"])
def test_golden_networks(name: str) -> None:
    case = golden.read(golden.FOLDER / f"{name}.safetensors")
    kind = case.metadata["kind"]
    dims = [int(size) for size in case["dims"]]
    layers = len(dims) - 1
    parameters = {k: {n[3:]: case[n] for n in case.arrays if n.startswith(f"p{k}_")} for k in range(layers)}
    if kind == "mlp":
        net = Network(dims, kind="mlp", dtype="float64")
    elif kind.startswith("dann"):
        net = Network(dims, [int(size) for size in case["nis"]], dtype="float64")
    else:
        # The signs are those of the columns; a network here has all excitatory columns first.
        inhibitory = [int((parameters[k]["sign"] < 0).sum()) for k in range(layers)] + [0]
        net = Network.of(
            [
                Shape.columns(
                    dims[k],
                    dims[k + 1],
                    inhibitory_inputs=inhibitory[k],
                    inhibitory_outputs=inhibitory[k + 1],
                    relu=k + 1 < layers,
                )
                for k in range(layers)
            ],
            dtype="float64",
        )
    own = net.params()
    net.set_params(
        {f"layers.{k}.{n}": v for k, it in parameters.items() for n, v in it.items() if n != "sign"}
    )
    x, y = case["x"], case["y"].astype(np.int64)
    np.testing.assert_allclose(net.logits(x), case["logits0"], rtol=1e-9)
    lr = case.number("lr")
    update = inn.csgd(lr) if kind == "dann" else inn.sgd(lr)
    losses = [net.train_step(x, y, update) for _ in range(len(case["loss"]))]
    np.testing.assert_allclose(losses, case["loss"], rtol=1e-8)
    assert net.evaluate(x, y).loss == pytest.approx(case.number("loss_end"), rel=1e-8)
    for k in range(layers):
        for n in (n[3:] for n in case.arrays if n.startswith(f"q{k}_") and not n.endswith("sign")):
            np.testing.assert_allclose(own[f"layers.{k}.{n}"], case[f"q{k}_{n}"], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("rule", ["sgd", "csgd", "adamw", "eg"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_and_apply_are_a_step(kind: str, rule: str) -> None:
    x, y = problem()
    net, other = network(kind), network(kind)
    out = None
    for _ in range(3):
        loss = net.train_step(x, y, UPDATES[rule])
        other_loss, gradients = other.gradients(x, y, out)
        assert out is None or all(gradients[name] is out[name] for name in out)
        other.apply(gradients, UPDATES[rule])
        assert loss == other_loss
        out = gradients
    assert bits(net) == bits(other)


def test_gradients_are_those_of_the_loss() -> None:
    x, y = problem("float64", 12)
    net = network(dtype="float64", seed=4)
    _, gradients = net.gradients(x, y)
    params = net.params()
    rng = np.random.default_rng(0)
    for name, gradient in gradients.items():
        place = tuple(rng.integers(0, size) for size in gradient.shape)
        value, step = params[name][place], 1e-6
        losses = []
        for other in (value + step, value - step):
            params[name][place] = other
            losses.append(net.evaluate(x, y).loss)
        params[name][place] = value
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(gradient[place], rel=1e-4, abs=1e-8)


# ---- parameters


def test_params_are_the_arrays_themselves() -> None:
    net = network()
    params = net.params()
    assert list(params)[:6] == [f"layers.0.{name}" for name in ("Wex", "Wix", "Wei", "alpha", "g", "b")]
    assert params["layers.0.Wex"].shape == (24, 9) and params["layers.0.Wex"].dtype == np.float32
    x, _ = problem()
    before = net.logits(x)
    params["layers.2.b"] += 1.0
    np.testing.assert_allclose(net.logits(x), before + 1.0, atol=1e-5)
    assert list(network("batch_norm").params())[:5] == [
        f"layers.0.{name}" for name in ("W", "g", "b", "running_mean", "running_var")
    ]


def test_set_params_checks_before_it_writes() -> None:
    net = network()
    before = bits(net)
    ones = np.ones((24, 9), np.float32)
    for wrong, error, text in [
        ({"layers.0.W": ones}, InvalidValue, "params has 'layers.0.W': expected names among layers.0.Wex, "),
        ({"layers.0.Wex": ones.T}, ShapeError, r"layers.0.Wex has the shape \(9, 24\): expected \(24, 9\)"),
        (
            {"layers.0.Wex": ones * 1.0e0 - 2},
            InvalidValue,
            r"layers.0.Wex\[0, 0\] is -1.0: expected a finite number ≥ 0",
        ),
        (
            {"layers.0.b": np.full(24, np.nan, np.float32)},
            InvalidValue,
            r"layers.0.b\[0\] is nan: expected a finite",
        ),
        (
            {"layers.0.Wex": ones.astype(float)},
            TypeError,
            "layers.0.Wex is of float64: expected float32, by .*astype",
        ),
    ]:
        with pytest.raises(error, match=text):
            net.set_params({"layers.0.g": np.full(24, 2, np.float32), **wrong})
        assert bits(net) == before
    net.set_params({"layers.0.Wex": ones, "layers.0.alpha": -np.ones(4, np.float32)})
    assert net.params()["layers.0.Wex"].sum() == 24 * 9
    net.set_params({name: array[::-1] for name, array in net.params().items()})


def test_state_and_forget() -> None:
    x, y = problem()
    net = network()
    assert net.state() == {}
    net.train_step(x, y, inn.csgd(0.1, momentum=0.9))
    kept = net.state()
    assert set(kept) == {
        f"layers.{k}.velocity.{n}" for k in range(3) for n in ("Wex", "Wix", "Wei", "alpha", "g", "b")
    }
    kept["layers.0.velocity.b"][:] = 0  # a copy
    assert net.state()["layers.0.velocity.b"].any()
    net.forget(0)
    assert not any(name.startswith("layers.0.") for name in net.state())
    net.forget()
    assert net.state() == {} and net.steps == 1
    with pytest.raises(InvalidValue, match="layer is 3: expected from 0 to 2"):
        net.forget(3)


def test_seeds_and_schemes() -> None:
    assert bits(network(seed=1)) == bits(network(seed=1)) != bits(network(seed=2))
    by_name = network(scheme="independent").params()["layers.0.Wix"]
    assert not np.array_equal(by_name, network().params()["layers.0.Wix"])
    layered = network(scheme=["centred", "matched", 1.0]).params()["layers.0.Wix"]
    assert (layered == layered[0]).all()
    x, _ = problem()
    measured = network(x=x)
    statistics = measured.inspect(x, problem()[1], inn.csgd(0.1))[0]
    assert statistics.zhat_mean is not None and abs(statistics.zhat_mean) < 0.5
    assert bits(measured) != bits(network())
    assert network(seed=np.uint64(2**64 - 1)).seed == 2**64 - 1


# ---- arguments


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_of_inputs_do_not_matter(dtype: str) -> None:
    x, y = problem(dtype)
    wide = np.zeros((40, 20), dtype)
    wide[:, 3:12] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    want = network(dtype=dtype)
    want.train_step(x, y, inn.csgd(0.1))
    labels: Any
    for other in (
        wide[:, 3:12],
        np.asfortranarray(x),
        x[::-1][::-1],
        read_only,
        np.repeat(x, 2, axis=0)[::2],
    ):
        for labels in (y, y.astype(np.uint8), y.tolist(), np.repeat(y, 3)[::3], y.astype(np.int32)):
            net = network(dtype=dtype)
            net.train_step(other, labels, inn.csgd(0.1))
            assert bits(net) == bits(want)
    assert read_only.tobytes() == x.tobytes()
    np.testing.assert_array_equal(want.logits(x.reshape(5, 8, 9)), want.logits(x).reshape(5, 8, 4))
    np.testing.assert_array_equal(want.logits(x[0]), want.logits(x[:1])[0])


def test_no_rows() -> None:
    net = network()
    empty = np.empty((0, 9), np.float32)
    assert net.logits(empty).shape == (0, 4)
    for call in (net.evaluate, net.gradients, lambda x, y: net.train_step(x, y, inn.csgd(0.1))):
        with pytest.raises(ShapeError, match="x has the shape .0, 9.: expected at least one example"):
            call(empty, np.empty(0, np.int64))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            lambda x, y: (x.astype("float64"), y),
            TypeError,
            'x is of float64: expected float32, by x.astype."float32".',
        ),
        (
            lambda x, y: ((255 * x).astype("uint8"), y),
            TypeError,
            "x is of uint8: expected float32.*images of 0 to 255 also need / 255",
        ),
        (lambda x, y: (x.tolist(), y), TypeError, "x is <class 'list'>: expected an array"),
        (lambda x, y: (x[:, :8], y), ShapeError, r"x has the shape \[40, 8\]: expected 9 inputs"),
        (lambda x, y: (x, y[:-1]), ShapeError, "labels has 39 elements: expected 40"),
        (
            lambda x, y: (x, y + 1),
            InvalidValue,
            "label [0-9]* is 4: expected less than 4, the number of classes",
        ),
        (
            lambda x, y: (x, y - 1),
            InvalidValue,
            r"labels\[[0-9]*\] is -1: expected the number of a class, from 0",
        ),
        (
            lambda x, y: (x, y.astype(float)),
            TypeError,
            "labels is of float64: expected labels of an integer type",
        ),
        (lambda x, y: (x * np.nan, y), InvalidValue, r"x\[0\] is NaN: expected a finite number"),
        (lambda x, y: (-x, y), DivisorError, "layer 0: .* of its divisors are below ε"),
    ],
)
def test_what_is_refused_changes_nothing(
    change: Callable[..., Any], error: type[Exception], text: str
) -> None:
    x, y = problem()
    net = network()
    net.train_step(x, y, inn.csgd(0.1, momentum=0.5))
    before = bits(net)
    with pytest.raises(error, match=text) as caught:
        net.train_step(*change(x, y), inn.csgd(0.1, momentum=0.5))
    assert bits(net) == before
    if isinstance(caught.value, DivisorError):
        assert caught.value.layer == 0 and 0 < caught.value.share <= 1 and caught.value.smallest < 0
        assert "of Network: divisor=" in caught.value.__notes__[0]


def test_divergence() -> None:
    x, y = problem()
    net = network("mlp")
    net.params()["layers.2.b"][1] = np.inf
    before = bits(net)
    with pytest.raises(
        Diverged, match="in step 0 at learning rate 0.25: the parameters are those before"
    ) as caught:
        net.train_step(x, y, inn.sgd(0.25))
    assert (caught.value.step, caught.value.lr) == (0, 0.25) and not np.isfinite(caught.value.loss or 0.0)
    assert bits(net) == before


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"dtype": "float16"}, InvalidValue, 'dtype is \'float16\': expected "float32" or "float64"'),
        ({"dtype": "quad"}, InvalidValue, "dtype is 'quad': expected"),
        ({"seed": -1}, InvalidValue, "seed is -1: expected from 0 to 18446744073709551615"),
        ({"seed": 0.5}, TypeError, "seed is 0.5: expected a whole number"),
        ({"scheme": "random"}, InvalidValue, 'scheme is "random": expected "matched"'),
        ({"scheme": ["matched"]}, ShapeError, "scheme has 1 elements: expected 3, one for each layer"),
        ({"mean_input": float("nan")}, InvalidValue, "mean_input is NaN: expected a finite number"),
        ({"x": np.zeros((8, 9))}, TypeError, "x is of float64: expected float32"),
        ({"x": np.zeros((1, 9), "f4")}, ShapeError, "layer 0: rows is 1: expected at least 2"),
        ({"x": np.zeros((2, 9), "f4")}, InvalidValue, "layer 0: "),
    ],
)
def test_networks_that_cannot_be(keywords: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        network(**keywords)


def test_networks_larger_than_memory() -> None:
    with pytest.raises(TooLarge, match="the parameters of .* do not fit in memory"):
        Network([10**8, 10**8, 2], [1, 1])
    with pytest.raises(ShapeError, match="expected dimensions whose product fits in memory"):
        Network([2**40, 2**40, 2], [1, 1])


def test_layers_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="layer 1: the layer has 5 inputs, the layer below has 6 outputs"):
        Network.of([Shape.dann(8, 6, 2), Shape.linear(5, 4)])
    with pytest.raises(ShapeError):
        Network.of([])


def test_remedies_for_inputs_below_zero() -> None:
    x, y = problem()
    x -= 0.5
    for divisor, scheme in (("root", "matched"), (0.01, "matched"), (None, "centred")):
        net = network(divisor=[divisor, "plain", "plain"], scheme=[scheme, "matched", "matched"])
        before = net.evaluate(x, y).loss
        for _ in range(40):
            net.train_step(x, y, inn.csgd(0.05))
        assert net.evaluate(x, y).loss < before
    net = network()
    net.evaluate(x, y)
    low = net.low_divisors()[0]
    assert (
        low is not None
        and 0 < low.low <= low.all == 40 * 24
        and low.smallest is not None
        and low.smallest < 0
    )
    assert network("mlp").low_divisors() == [None, None, None]


# ---- targets


@pytest.mark.parametrize("dtype", DTYPES)
def test_targets(dtype: str) -> None:
    x, y = problem(dtype)
    net = network(dtype=dtype)
    logits = net.logits(x).astype(np.float64)
    one_hot = np.eye(4)[y].astype(dtype)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    weights = np.random.default_rng(1).random(40).astype(dtype)
    mask = np.random.default_rng(2).integers(0, 2, (40, 4)).astype(dtype)
    cross = -log_p[np.arange(40), y]
    smooth = 0.9 * cross - 0.1 * log_p.mean(axis=1)
    square = (logits - one_hot) ** 2
    binary = np.maximum(logits, 0) - logits * one_hot + np.log1p(np.exp(-abs(logits)))
    for target, loss in [
        (Target("labels", y), cross.mean()),
        (Target("labels", y, smoothing=0.1), smooth.mean()),
        (Target("labels", y, weights=weights), np.average(cross, weights=weights)),
        (Target("probabilities", one_hot), cross.mean()),
        (Target("values", one_hot), square.mean()),
        (Target("values", one_hot, mask=mask), np.average(square, weights=mask)),
        (Target("binary", one_hot), binary.mean()),
        (Target("binary", one_hot, weights=weights), np.average(binary, axis=0, weights=weights).mean()),
    ]:
        assert net.evaluate(x, target).loss == pytest.approx(loss, rel=tolerance)
        assert net.evaluate(x, pickle.loads(pickle.dumps(target))) == net.evaluate(x, target)
        first = target.rows(slice(10))
        other = target.rows(np.arange(10))
        assert net.evaluate(x[:10], first) == net.evaluate(x[:10], other)
        net.copy().train_step(x, target, inn.csgd(0.1))


def test_targets_that_cannot_be() -> None:
    x, y = problem()
    net, one_hot = network(), np.eye(4, dtype=np.float32)[y]
    for make, error, text in [
        (lambda: Target("label", y), InvalidValue, 'kind is "label": expected "labels"'),  # type: ignore[arg-type]
        (
            lambda: Target("values", one_hot.astype("float64")),
            TypeError,
            "values is of float64: expected float32",
        ),
        (
            lambda: Target("values", one_hot[:, :3]),
            ShapeError,
            r"values has the shape \[40, 3\]: expected 4 outputs",
        ),
        (lambda: Target("binary", 2 * one_hot), InvalidValue, "is 2"),
        (lambda: Target("labels", y, weights=-np.ones(40, "f4")), InvalidValue, "is -1"),
        (
            lambda: Target("labels", y, weights=np.ones(40)),
            TypeError,
            "weights is of float64: expected float32",
        ),
        (lambda: Target("labels", y, mask=one_hot), InvalidValue, "mask"),
        (lambda: Target("labels", y, smoothing=1.5), InvalidValue, "smoothing is 1.5"),
        (
            lambda: Target("values", one_hot[:20]),
            ShapeError,
            "the target has 20 rows, x has 40: expected as many",
        ),
        *(
            (
                lambda rows=rows: Target("values", one_hot, mask=one_hot[:rows]),
                ShapeError,
                f"the mask has {rows} rows, x has 40: expected as many",
            )
            for rows in (0, 20)
        ),
    ]:
        with pytest.raises(error, match=text):
            net.train_step(x, make(), inn.csgd(0.1))  # type: ignore[no-untyped-call]


# ---- what it tells


def test_inspect() -> None:
    x, y = problem()
    net = network()
    layers = net.inspect(x, y, inn.csgd(0.1))
    assert len(layers) == 3
    first, last = layers[0], layers[-1]
    assert (
        first.gamma_min is not None and first.gamma_max is not None and 0 < first.gamma_min <= first.gamma_max
    )
    assert first.silent is not None and last.silent is None
    assert list(first.gradient_norms) == ["Wex", "Wix", "Wei", "alpha", "g", "b"]
    _, gradients = net.gradients(x, y)
    assert first.gradient_norms["Wex"] == pytest.approx(
        float(np.linalg.norm(gradients["layers.0.Wex"])), rel=1e-5
    )
    assert first.low_divisors is not None and first.low_divisors.low == 0
    plain = network("mlp").inspect(x, y, inn.sgd(0.1))[0]
    assert plain.gamma_min is None and plain.cosine is None and plain.low_divisors is None


def test_inspect_as_a_dataset() -> None:
    pytest.importorskip("xarray")
    x, y = problem()
    net = network()
    dataset = net.inspect_dataset(x, y, inn.csgd(0.1))
    assert dict(dataset.sizes) == {"layer": 3, "unit": 24}
    assert dataset["gamma_min"].dims == ("layer",) and dataset["activity"].dims == ("layer", "unit")
    h = net.activations(x)
    np.testing.assert_allclose(dataset["activity"][1, :16], h[1].mean(axis=0), rtol=1e-5)
    assert np.isnan(dataset["activity"][2, 4:]).all()
    np.testing.assert_array_equal(h[-1], net.logits(x))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_children_of_a_process_with_threads() -> None:
    code = """
import os
import numpy as np, interneuron as inn
inn.set_num_threads(2)
x, y = np.random.default_rng(0).random((300, 50)), np.arange(300) % 10
net = inn.Network([50, 200, 10], [20, 1], dtype="float64")
net.train_step(x, y, inn.csgd(0.1))
reader, writer = os.pipe()
child = os.fork()
loss = repr(net.train_step(x, y, inn.csgd(0.1))).encode()
if child == 0:
    os.write(writer, loss)
    os._exit(0)
assert os.read(reader, 100) == loss
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(inn.info()["pools"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25)
    assert done.stdout == "1\n", done.stderr


def test_two_threads_of_python_cannot_share_a_call() -> None:
    big = Network([784, 500, 10], [50, 1])
    rng = np.random.default_rng(0)
    x, y = rng.random((512, 784), np.float32), rng.integers(0, 10, 512)
    caught: list[BaseException] = []

    def train() -> None:
        try:
            for _ in range(100):
                big.train_step(x, y, inn.csgd(0.01))
                if caught:
                    break
        except InUse as error:
            caught.append(error)

    workers = [threading.Thread(target=train) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert caught and "is in use by another thread: expected one call at a time" in str(caught[0])
    big.train_step(x, y, inn.csgd(0.01))


def test_files_that_cannot_be(tmp_path: Path) -> None:
    net = network()
    with pytest.raises(CheckpointError, match="missing"):
        Network.load(tmp_path / "missing")
    (tmp_path / "text").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match="text"):
        Network.load(tmp_path / "text")
    net.save(tmp_path / "net")
    net.params()["layers.0.b"][3] = np.nan
    with pytest.raises(InvalidValue, match=r"layer 0: b\[3\] is NaN: expected a finite number"):
        net.save(tmp_path / "net")
    assert not np.isnan(Network.load(tmp_path / "net").params()["layers.0.b"]).any()
    with pytest.raises(OSError, match="folder"):
        network().save(tmp_path / "no" / "folder" / "net")


def test_repr() -> None:
    text = repr(Network([4, 3, 2], [2, 1], seed=5))
    assert text == "<Network of dann:4,3,2,relu,plain, dann:3,2,1,identity,plain; float32, seed 5, 0 steps>"
