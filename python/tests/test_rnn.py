"""Recurrent layers and networks on NumPy arrays."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest

import interneuron as inn
from interneuron import Network, Sequences, Shape, Target, Update, history
from interneuron.errors import InvalidValue, ShapeError

GOLDEN = golden.paths("rnn")
DTYPES = ["float32", "float64"]
# Of the largest element; steps add up what one rounds.
TOLERANCES = {"float32": 3e-4, "float64": 1e-11}
SHAPES: dict[str, Callable[..., Shape]] = {
    "subtractive": lambda **more: Shape.recurrent_dann(5, 13, 2, 3, **more),
    "plain": lambda **more: Shape.recurrent_dann(5, 13, 2, 3, divisor="plain", **more),
    "floor": lambda **more: Shape.recurrent_dann(5, 13, 2, 3, divisor=0.3, **more),
    "root": lambda **more: Shape.recurrent_dann(5, 13, 2, 3, divisor="root", **more),
    "columns": lambda **more: Shape.recurrent_columns(5, 13, 3, **more),
    "no interneurons": lambda **more: Shape.recurrent_plain(5, 13, **more),
}
FORMS: list[dict[str, Any]] = [
    {},
    {"learned_state": True},
    {"dynamics": "rate", "kappa": 0.3},
    {"dynamics": "state", "kappa": "per_unit", "learned_state": True, "visible": 9},
]


def network(dtype: str = "float32", divisor: Any = None, **more: Any) -> Network:
    """Two recurrent layers and a readout."""
    below = Shape.recurrent_dann(5, 13, 2, 3, divisor=divisor, learned_state=True)
    above = Shape.recurrent_dann(13, 9, 1, 2, divisor=divisor, dynamics="state", kappa=0.4)
    readout = Shape.dann(9, 3, 1, divisor=None, relu=False)
    return Network.of([below, above, readout], seed=3, dtype=dtype, **more)


def problem(dtype: str = "float32", steps: int = 9, examples: int = 6) -> tuple[np.ndarray, Target]:
    rng = np.random.default_rng(2)
    x = rng.random((steps, examples, 5)).astype(dtype)
    weights = (rng.random((steps, examples)) > 0.3).astype(dtype)
    return x, Target("labels", rng.integers(3, size=(steps, examples)), weights=weights)


@pytest.mark.parametrize("form", range(len(FORMS)))
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_values(name: str, form: int) -> None:
    shape = SHAPES[name](**FORMS[form])
    assert Shape.parse(str(shape)) == shape == pickle.loads(pickle.dumps(shape))
    assert shape.recurrent_units == 13 and shape.outputs == FORMS[form].get("visible", 13)
    assert shape.dynamics == FORMS[form].get("dynamics", "plain")
    assert shape.kappa == FORMS[form].get("kappa")
    assert shape.learned_state == FORMS[form].get("learned_state", False)
    roles = {name: role for name, _, role, _, _ in shape.parameters}
    assert roles["h0"] == ("h0" if shape.learned_state else "constant")
    assert roles.get("kappa", "constant") == "constant"
    assert shape.leg_interneurons == ((0, 0) if "Uix" not in roles else (2, 3))


def test_what_shapes_say() -> None:
    columns = Shape.recurrent_columns(6, 10, 2, inhibitory_inputs=1, no_self=True, signed=False)
    assert (columns.inhibitory_inputs, columns.inhibitory_units, columns.inhibitory_outputs) == (1, 2, 0)
    assert columns.no_self and not columns.signed
    assert Shape.recurrent_columns(6, 10, 2).inhibitory_outputs == 2
    assert Shape.dann(5, 4, 2).dynamics is None
    corrections = {name: it for name, _, _, _, it in Shape.recurrent_dann(4, 16, 1, 2).parameters}
    assert corrections["Uix"] == 0.25 and corrections["Uei"] == 0.25 and corrections["Wei"] == 1 / 16


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"dynamics": "rate"}, "kappa is None"),
        ({"dynamics": "rate", "kappa": 1.5}, "kappa is 1.5"),
        ({"dynamics": "rate", "kappa": "each"}, 'kappa is "each"'),
        ({"kappa": 0.5}, 'kappa is given with dynamics "plain"'),
        ({"dynamics": "tanh"}, 'dynamics is "tanh"'),
    ],
)
def test_what_no_shape_has(arguments: dict[str, Any], text: str) -> None:
    for make in SHAPES.values():
        with pytest.raises(InvalidValue, match=text):
            make(**arguments)
    with pytest.raises(ShapeError, match="visible is 14"):
        Shape.recurrent_plain(5, 13, visible=14)


def of_case(case: golden.Case, dtype: str) -> tuple[Network, Sequences, Target, Update]:
    """The network of a case, what it sees, and how it learns."""
    dims, kind = case["dims"].astype(int).tolist(), case.metadata["kind"]
    last = len(dims) - 2

    def negative(name: str) -> int:
        return int((case.arrays.get(name, np.zeros(0)) < 0).sum())

    shapes = []
    for k in range(last):
        kappa, form = case[f"kappa_{k}"].ravel(), int(case.number(f"form_{k}"))
        above = f"sign_{last}" if k + 1 == last else f"signU_{k + 1}"
        more: dict[str, Any] = {
            "dynamics": ("plain", "rate", "state")[form],
            "kappa": None if form == 0 else "per_unit" if len(kappa) > 1 else float(kappa[0]),
            "learned_state": case.number(f"learn_h0_{k}") != 0,
            "visible": int(case.number("readout_units")) if k + 1 == last else None,
        }
        no_self = case.number(f"no_self_{k}") != 0
        match kind:
            case "dann":
                nu, nw = case[f"nis_{k}"].astype(int)
                divisor = "plain" if case.number(f"div_{k}") else None
                shape = Shape.recurrent_dann(dims[k], dims[k + 1], nu, nw, divisor=divisor, **more)
            case "colei":
                shape = Shape.recurrent_columns(
                    dims[k],
                    dims[k + 1],
                    negative(f"signW_{k}"),
                    inhibitory_inputs=negative(f"signU_{k}"),
                    no_self=no_self,
                    signed=negative(above) > 0,
                    **more,
                )
            case _:
                shape = Shape.recurrent_plain(dims[k], dims[k + 1], no_self=no_self, **more)
        shapes.append(shape)
    units, outputs = int(case.number("readout_units")), dims[-1]
    match case.metadata["readout"]:
        case "dann":
            divisor = "plain" if case.number(f"div_{last}") else None
            ni = int(case.number(f"nis_{last}"))
            shapes.append(Shape.dann(units, outputs, ni, relu=False, divisor=divisor))
        case "colei":
            signs = negative(f"sign_{last}")
            shapes.append(Shape.columns(units, outputs, inhibitory_inputs=signs, relu=False))
        case _:
            shapes.append(Shape.linear(units, outputs, relu=False))
    net = Network.of(shapes, dtype=dtype)
    names = {name: name.replace("layers.", "p").replace(".", "_") for name in net.params()}
    names = {name: it.replace("p", "", 1) if it.endswith("kappa") else it for name, it in names.items()}
    names = {name: f"kappa_{it[0]}" if it.endswith("kappa") else it for name, it in names.items()}
    params = {name: case[it].astype(dtype).reshape(net.params()[name].shape) for name, it in names.items()}
    net.set_params(params)
    signs = case.arrays.get("signU_0", np.ones(dims[0]))
    noise = {k: case[f"xi_{k}"].astype(dtype) for k in range(last) if f"xi_{k}" in case.arrays}
    x = Sequences((case["x"] * signs).astype(dtype), noise=noise or None)
    is_labels = case.metadata["loss"] == "ce"
    y = case["y"].astype(np.int64 if is_labels else dtype)
    target = Target("labels" if is_labels else "values", y, weights=case["mask"].astype(dtype))
    rule: Callable[..., Update] = getattr(inn, case.metadata["update"])
    scope = {"tensor": "array", "global": "network"}.get(case.metadata["clip_scope"], "layer")
    update = rule(case.number("lr"), clip=case.number("clip") or None, clip_scope=scope)
    return net, x, target, update


def close(name: str, got: Any, expected: np.ndarray, tolerance: float) -> None:
    scale = max(float(np.abs(expected).max()), 1e-3)
    off = float(np.abs(np.asarray(got, dtype="float64").reshape(expected.shape) - expected).max())
    assert off <= tolerance * scale, f"{name} is off by {off}, the largest is {scale}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_golden(path: Path, dtype: str) -> None:
    case, tolerance = golden.read(path), TOLERANCES[dtype]
    net, x, target, update = of_case(case, dtype)
    close("out", net.logits(x), case["out"], tolerance)
    for k, h in enumerate(net.activations(x)[:-1]):
        expected = case[f"h_{k}"][..., : h.shape[-1]]
        close(f"h_{k}", np.abs(h), expected, tolerance)
    _, gradients = net.gradients(x, target)
    for name, gradient in gradients.items():
        of_case_ = name.replace("layers.", "d").replace(".", "_")
        if of_case_ in case.arrays:
            close(of_case_, gradient, case[of_case_], tolerance)
    losses = [net.train_step(x, target, update) for _ in range(int(case.number("steps")))]
    close("losses", losses, case["loss"], tolerance)
    close("loss_end", net.evaluate(x, target).loss, case["loss_end"], tolerance)
    for name, array in net.params().items():
        of_case_ = name.replace("layers.", "q").replace(".", "_")
        if of_case_ in case.arrays:
            close(of_case_, array, case[of_case_], tolerance)


def test_there_are_golden_cases() -> None:
    assert len(GOLDEN) >= 10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("divisor", [None, "plain"])
def test_steps_and_gradients_are_the_same_step(dtype: str, divisor: Any) -> None:
    x, target = problem(dtype)
    noise = {1: np.random.default_rng(4).normal(size=(9, 6, 9)).astype(dtype) * 0.1}
    update = inn.csgd(0.01, momentum=0.5)
    whole, apart, copied = (network(dtype, divisor) for _ in range(3))
    apart.keep_at_most(2)
    with inn.threads(1):
        losses = [whole.train_step(Sequences(x, noise=noise), target, update) for _ in range(6)]
    assert losses[-1] < losses[0]
    for k in range(6):
        loss, gradients = apart.gradients(Sequences(x, noise=noise), target)
        apart.apply(gradients, update)
        assert loss == losses[k]
        with inn.threads(2):
            copied = (copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it)))[k % 3](copied)
            assert copied.train_step(Sequences(x, noise=noise), target, update) == losses[k]
    for name, array in whole.params().items():
        assert np.array_equal(array, apart.params()[name]) and np.array_equal(array, copied.params()[name])


def test_files(tmp_path: Path) -> None:
    x, target = problem()
    net = network(divisor="plain")
    net.train_step(x, target, inn.adam(0.01))
    net.save(tmp_path / "net.safetensors")
    loaded = Network.load(tmp_path / "net.safetensors")
    assert loaded.shapes == net.shapes
    assert loaded.train_step(x, target, inn.adam(0.01)) == net.train_step(x, target, inn.adam(0.01))


def test_a_sequence_cut_in_two_is_the_whole() -> None:
    net, (x, target) = network("float64"), problem("float64", steps=8)
    whole = net.logits(x)
    assert np.array_equal(net.logits(x[:4]), whole[:4])
    states = net.last_states()
    assert [None if it is None else it.shape for it in states] == [(6, 13), (6, 9), None]
    assert np.array_equal(net.logits(Sequences(x[4:], carried=True)), whole[4:])
    given = {k: it for k, it in enumerate(states) if it is not None}
    assert np.array_equal(net.logits(Sequences(x[4:], states=given)), whole[4:])
    assert np.array_equal(net.activations(Sequences(x[4:], states=given))[-1], whole[4:])
    # Training goes on where the call before ended, too.
    first = Target("labels", target.y[:4])
    net.train_step(x[:4], first, inn.sgd(0.0))
    ended = net.last_states()[0]
    assert ended is not None and states[0] is not None and np.array_equal(ended, states[0])
    net.train_step(Sequences(x[4:], carried=True), first, inn.sgd(0.01))


def test_layers_hand_back_what_comes_to_states() -> None:
    rng = np.random.default_rng(1)
    for name, make in SHAPES.items():
        shape = make()
        layer = inn.Layer(shape)
        params = layer.draw(2, dtype="float64")
        x, dh = rng.random((6, 3, 5)), rng.random((6, 3, 13))
        h, last, kept = layer.forward_through_time(params, x)
        assert kept is not None
        assert np.array_equal(layer.infer(params, x), h) and np.array_equal(np.abs(h[-1]), last)
        dx, dstates, gradients = layer.backward_through_time(params, kept, x, dh)
        assert not dstates.any() and gradients is not None and dx is not None
        # Again, and it is made once more.
        again = layer.backward(params, kept, x, dh)
        assert again[1] is not None and all(map(np.array_equal, gradients, again[1])) and np.array_equal(dx, again[0])
        # A change of the first states changes what comes out by the gradient.
        states, eps = rng.random((3, 13)) + 0.1, 1e-6
        given = Sequences(x, states=states)
        _, _, kept = layer.forward_through_time(params, given)
        assert kept is not None
        _, dstates, none = layer.backward_through_time(params, kept, given, dh, needs_x=False, needs_params=False)
        assert none is None
        for place in ((0, 0), (1, 12), (2, 6)):
            outs = []
            for change in (eps, -eps):
                moved = states.copy()
                moved[place] += change
                outs.append((layer.infer(params, Sequences(x, states=moved)) * dh).sum())
            assert (outs[0] - outs[1]) / (2 * eps) == pytest.approx(dstates[place], rel=1e-4, abs=1e-6), name


def test_fused_steps_of_a_layer() -> None:
    rng = np.random.default_rng(1)
    layer = inn.Layer(SHAPES["plain"](learned_state=True))
    one, other = (layer.draw(2) for _ in range(2))
    x, dh = rng.random((6, 3, 5)).astype("float32"), rng.random((6, 3, 13)).astype("float32")
    states = layer.state(), layer.state()
    for _ in range(3):
        _, _, kept = layer.forward_through_time(one, x)
        assert kept is not None
        dx, dstates = layer.update_through_time(one, kept, x, dh, states[0], inn.csgd(0.01, momentum=0.5))
        _, _, kept = layer.forward_through_time(other, x)
        assert kept is not None
        expected, by_states, gradients = layer.backward_through_time(other, kept, x, dh)
        assert gradients is not None
        layer.apply(other, gradients, states[1], inn.csgd(0.01, momentum=0.5))
        assert np.array_equal(dx, expected) and np.array_equal(dstates, by_states)  # type: ignore[arg-type]
        assert all(map(np.array_equal, one, other))


def test_epochs() -> None:
    x, target = problem(examples=50)
    net, other = network(), network()
    history = net.fit(
        x, target, inn.csgd(0.05), epochs=3, batch_size=8, validation=(x, target), inspect=True, last_batch="short"
    )
    assert history["loss"][-1] < history["loss"][0] and len(history) == 3
    assert history["validation_loss"][-1] == net.evaluate(x, target).loss
    assert history.layers[0][0].radius is not None
    # The same steps, one by one.
    for epoch in range(3):
        order = np.random.default_rng((3, epoch)).permutation(50)
        for begin in range(0, 50, 8):
            index = order[begin : begin + 8]
            other.train_step(x[:, index], target.rows(index, axis=1), inn.csgd(0.05))
    assert all(map(np.array_equal, net.params().values(), other.params().values()))


def test_statistics() -> None:
    net, (x, target) = network(), problem()
    layers = net.inspect(x, target, inn.csgd(0.1))
    h = net.activations(x)
    for layer, out in zip(layers[:2], h, strict=False):
        assert layer.steps is not None and layer.radius is not None
        assert np.allclose(layer.steps.mean, out.mean(axis=(1, 2)), atol=1e-6)
        assert np.allclose(layer.steps.variance, out.var(axis=(1, 2)), atol=1e-6)
        assert np.allclose(layer.steps.active, (out != 0).mean(axis=(1, 2)))
    params = net.params()
    v = params["layers.0.Wex"] - params["layers.0.Wei"] @ params["layers.0.Wix"]
    assert layers[0].radius == pytest.approx(np.abs(np.linalg.eigvals(v)).max(), rel=1e-3)
    assert layers[2].steps is None and layers[2].radius is None
    assert history.arrays(layers)["radius"].shape == (3,)


def test_how_they_are_drawn() -> None:
    def radius(**more: Any) -> float:
        net = Network.of([Shape.recurrent_dann(3, 60, 6, 6), Shape.linear(60, 2, relu=False)], seed=1, **more)
        layer = net.inspect(np.ones((2, 2, 3), "float32"), Target("labels", np.zeros((2, 2), int)), inn.sgd(0.1))[0]
        assert layer.radius is not None
        return layer.radius

    assert 0.4 < radius() < 0.8 and 1.0 < radius(radius=1.5) < 2.0
    shape = Shape.recurrent_dann(3, 60, 6, 6)
    few = inn.Layer(shape).draw(1, few_inputs=True)[0]
    assert few.mean() == pytest.approx(3**-0.5, rel=0.2)
    assert np.array_equal(few, Network.of([shape], seed=1, few_inputs=True).params()["layers.0.Uex"])
    with pytest.raises(InvalidValue, match="radius is -1"):
        inn.Layer(shape).draw(1, radius=-1)


def test_what_is_refused() -> None:
    net, (x, target) = network(), problem()
    update = inn.csgd(0.1)
    y, other = target.y, np.zeros((9, 6, 9), "float32")
    values = Target("values", np.zeros((6, 9, 3), "float32"))
    calls: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (ShapeError, r"x has the shape \[6, 5\]: expected \[T, B, 5\]", lambda: net.train_step(x[0], y[0], update)),
        (ShapeError, "x has the shape", lambda: net.logits(x[:0])),
        (ShapeError, r"labels has the shape \[6, 9\]", lambda: net.train_step(x, y.T, update)),
        (ShapeError, r"labels has the shape \[54\]", lambda: net.evaluate(x, y.ravel())),
        (ShapeError, r"values has the shape \[6, 9, 3\]", lambda: net.evaluate(x, values)),
        (
            ShapeError,
            "weights has the shape",
            lambda: net.evaluate(x, Target("labels", y, weights=np.ones((6, 9), "float32"))),
        ),
        (ShapeError, "noise is one array, and there are 2", lambda: net.logits(Sequences(x, noise=other))),
        (ShapeError, "noise of layer 0 has the shape", lambda: net.logits(Sequences(x, noise={0: other}))),
        (InvalidValue, "noise has an array for layer 2", lambda: net.logits(Sequences(x, noise={2: other}))),
        (ShapeError, "states of layer 1 has the shape", lambda: net.logits(Sequences(x, states={1: other}))),
        (InvalidValue, "states are given with carried=True", lambda: Sequences(x, states={}, carried=True)),
        (InvalidValue, "carried is True", lambda: net.activations(Sequences(x, carried=True))),
        (InvalidValue, "steps is 0", lambda: net.keep_at_most(0)),
        (ShapeError, r"x has the shape \(6, 5\): expected \[T, N, 5\]", lambda: net.fit(x[0], y[0], update)),
        (ShapeError, r"y has the shape \(6, 9\): expected \[9, 6\]", lambda: net.fit(x, y.T, update)),
        (TypeError, "noise is of float64", lambda: net.logits(Sequences(x, noise={1: other.astype("float64")}))),
        (TypeError, "x is of int64", lambda: net.logits(Sequences(np.zeros((9, 6, 5), int)))),
        (ShapeError, "x has 6 examples", lambda: network().logits(Sequences(x, carried=True))),
    ]
    for error, text, call in calls:
        with pytest.raises(error, match=text):
            call()
    layer = inn.Layer(SHAPES["plain"]())
    with pytest.raises(InvalidValue, match="carried is True for a layer by itself"):
        layer.infer(layer.draw(1), Sequences(x, carried=True))
    dense = inn.Layer(Shape.linear(5, 2))
    with pytest.raises(ShapeError, match="expected that of a recurrent layer"):
        dense.forward_through_time(dense.draw(1), x)
    with pytest.raises(InvalidValue, match="no layer is recurrent"):
        dense.infer(dense.draw(1), Sequences(x, noise=other))
    # Nothing was changed.
    assert all(map(np.array_equal, net.params().values(), network().params().values()))


def test_no_examples() -> None:
    net, layer = network(), inn.Layer(SHAPES["plain"]())
    assert net.logits(np.zeros((4, 0, 5), "float32")).shape == (4, 0, 3)
    x, params = np.zeros((4, 0, 5), "float32"), layer.draw(1)
    h, last, kept = layer.forward_through_time(params, x)
    assert h.shape == (4, 0, 13) and last.shape == (0, 13) and kept is not None
    dx, dstates, gradients = layer.backward_through_time(params, kept, x, h)
    assert dx is not None and dx.shape == x.shape and dstates.shape == (0, 13)
    assert gradients is not None and not any(it.any() for it in gradients)
