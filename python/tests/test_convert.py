"""State dicts of the authors' modules and ours, both ways.

The classes here compute what the authors' modules compute, written anew, with the names and the dimensions of
theirs.
"""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interneuron.errors import InvalidValue
from interneuron.torch import DannLinear, DannRNN, LayerNormLinear, composed, convert


def drawn(*shape: int, at: float = 0.1) -> nn.Parameter:
    return nn.Parameter(torch.rand(shape, dtype=torch.float64) + at)


class Theirs(nn.Module):
    """A layer that works on columns: one example each."""

    def __init__(self, relu: bool) -> None:
        super().__init__()
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        z = self.columns(x.T).T
        return F.relu(z) if self.relu else z


class TheirDann(Theirs):
    def __init__(self, d: int, ne: int, ni: int, relu: bool = True) -> None:
        super().__init__(relu)
        self.Wex, self.Wix, self.Wei = drawn(ne, d, at=1.0), drawn(ni, d), drawn(ne, ni)
        self.alpha, self.g, self.b = drawn(1, ni), drawn(ne, 1), drawn(ne, 1, at=-1.0)

    def columns(self, x: Tensor) -> Tensor:
        interneurons = self.Wix @ x
        gamma = (torch.exp(self.alpha) * self.Wei) @ interneurons + 1e-8
        return self.g * ((1 / gamma) * (self.Wex @ x - self.Wei @ interneurons)) + self.b


class TheirSubtractive(Theirs):
    def __init__(self, d: int, ne: int, ni: int, relu: bool = True, bias: str = "b") -> None:
        super().__init__(relu)
        self.Wex, self.Wix, self.Wei = drawn(ne, d, at=1.0), drawn(ni, d), drawn(ne, ni)
        if bias == "split":
            self.bias_pos, self.bias_neg = drawn(ne, 1, at=1.0), nn.Parameter(-drawn(ne, 1, at=2.0).detach())
        else:
            setattr(self, bias, drawn(ne, 1, at=-6.0))
        self.bias_name = bias

    def columns(self, x: Tensor) -> Tensor:
        bias = self.bias_pos + self.bias_neg if self.bias_name == "split" else getattr(self, self.bias_name)
        return (self.Wex - self.Wei @ self.Wix) @ x + bias


class TheirLinear(Theirs):
    def __init__(self, d: int, ne: int, relu: bool = True) -> None:
        super().__init__(relu)
        self.W, self.b = drawn(ne, d, at=-0.5), drawn(ne, 1, at=-0.5)

    def columns(self, x: Tensor) -> Tensor:
        return self.W @ x + self.b


class TheirColumns(Theirs):
    def __init__(self, d: int, ne: int, inhibitory: int, relu: bool = True) -> None:
        super().__init__(relu)
        signs = torch.ones(d, dtype=torch.float64)
        signs[d - inhibitory :] = -1
        self.W_pos, self.b = drawn(ne, d), drawn(ne, 1, at=-1.0)
        self.D = nn.Parameter(torch.diag(signs), requires_grad=False)

    def columns(self, x: Tensor) -> Tensor:
        return (self.W_pos @ self.D) @ x + self.b


class TheirConv(nn.Module):
    def __init__(self, channels: int, ne: int, ni: int) -> None:
        super().__init__()
        self.e_conv = nn.Conv2d(channels, ne, (3, 2), bias=False, dtype=torch.float64)
        self.i_conv = nn.Conv2d(channels, ni, (3, 2), bias=False, dtype=torch.float64)
        self.e_conv.weight, self.i_conv.weight = drawn(ne, channels, 3, 2), drawn(ni, channels, 3, 2)
        self.Wei, self.alpha = drawn(ne, ni), drawn(ni, 1, 1)
        self.g, self.b = drawn(ne, 1, 1), drawn(ne, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        def mixed(maps: Tensor) -> Tensor:
            return torch.einsum("oi,bihw->bohw", self.Wei, maps)

        inhibitory = self.i_conv(x)
        gamma = mixed(torch.exp(self.alpha) * inhibitory) + 1e-8
        return F.relu(self.g * (self.e_conv(x) - mixed(inhibitory)) / gamma + self.b)


class TheirStart(nn.Module):
    def __init__(self, ne: int) -> None:
        super().__init__()
        self.h0 = drawn(ne, 1)


class TheirCell(nn.Module):
    def __init__(self, d: int, ne: int, nu: int, nw: int, divisive: bool) -> None:
        super().__init__()
        self.Uex, self.Uix, self.Uei = drawn(ne, d), drawn(nu, d), drawn(ne, nu)
        self.Wex, self.Wix, self.Wei = drawn(ne, ne), drawn(nw, ne), drawn(ne, nw)
        self.b = drawn(ne, 1)
        self.hidden_reset_policy = TheirStart(ne)
        if divisive:
            self.U_alpha, self.W_alpha, self.U_g, self.W_g = (
                drawn(1, nu),
                drawn(1, nw),
                drawn(ne, 1),
                drawn(ne, 1),
            )


class TheirNet(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({f"fc{i}": layer for i, layer in enumerate(layers)})

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers.values():
            x = layer(x)
        return x


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


NETWORKS = {
    "dann": lambda: TheirNet(TheirDann(6, 5, 3), TheirDann(5, 4, 2), TheirDann(4, 3, 1, relu=False)),
    "subtractive": lambda: TheirNet(TheirSubtractive(6, 5, 3), TheirSubtractive(5, 3, 1, relu=False)),
    "bias": lambda: TheirNet(TheirSubtractive(6, 5, 3, bias="bias"), TheirDann(5, 3, 1, relu=False)),
    "linear": lambda: TheirNet(TheirLinear(6, 5), TheirLinear(5, 3, relu=False)),
    "columns": lambda: TheirNet(
        TheirColumns(6, 5, 0), TheirColumns(5, 4, 2), TheirColumns(4, 3, 1, relu=False)
    ),
    "one layer": lambda: TheirNet(TheirDann(6, 3, 2, relu=False)),
    "inhibitory inputs": lambda: TheirNet(TheirColumns(6, 3, 2, relu=False)),
}
EACH = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())


def composed_network(
    converted: dict[str, Tensor], descriptions: list[convert.LayerDescription], x: Tensor
) -> Tensor:
    """A network of layers in torch operations."""
    functions = {"dann": composed.dann_linear, "linear": composed.linear, "columns": composed.column_linear}
    for k, layer in enumerate(descriptions):
        params = {
            key.removeprefix(f"{k}."): array for key, array in converted.items() if key.startswith(f"{k}.")
        }
        x = functions[layer.kind](x, **params, nonlinearity="relu" if layer.relu else None)
    return x


def inputs() -> Tensor:
    return torch.rand(7, 6, dtype=torch.float64)


@EACH
def test_the_same_outputs_and_gradients(build) -> None:
    theirs, x = build(), inputs().requires_grad_()
    learnt = {name: param for name, param in theirs.named_parameters() if param.requires_grad}
    converted = convert.convert_state_dict({**theirs.state_dict(), **learnt})
    ours = composed_network(converted, convert.describe(theirs.state_dict()), x)
    expected = theirs(x)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    dh = torch.rand_like(expected)
    # Converted parameters are views of theirs, so both give gradients by theirs.
    variables = [x, *learnt.values()]
    for got, want in zip(
        torch.autograd.grad(ours, variables, dh), torch.autograd.grad(expected, variables, dh)
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


@EACH
def test_the_way_back(build) -> None:
    state_dict = build().state_dict()
    back = convert.to_ltlwdp(convert.convert_state_dict(state_dict))
    renamed = {key.replace(".bias", ".b"): array for key, array in state_dict.items()}
    assert back.keys() == renamed.keys()
    assert all(torch.equal(back[key], array) for key, array in renamed.items())


@EACH
def test_modules(build) -> None:
    theirs, x = build(), inputs()
    ours = convert.from_ltlwdp(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
    before = theirs(x)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(2)
    assert torch.equal(theirs(x), before), "the network has copies"
    back = convert.to_ltlwdp(ours)
    other = build()
    for key in list(back):
        if key.endswith(".b") and key not in other.state_dict():
            back[key.replace(".b", ".bias")] = back.pop(key)
    other.load_state_dict(back)
    torch.testing.assert_close(other(x), ours(x), rtol=1e-12, atol=1e-12)


def test_dtypes_of_modules() -> None:
    state_dict = {name: array.float() for name, array in NETWORKS["dann"]().state_dict().items()}
    ours = convert.from_ltlwdp(state_dict)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}


def test_names() -> None:
    converted = convert.convert_state_dict(NETWORKS["dann"]().state_dict())
    names = [f"{k}.{name}" for k in range(3) for name in ("Wex", "Wix", "Wei", "alpha", "g", "b")]
    assert list(converted) == names
    assert [list(converted[f"1.{name}"].shape) for name in ("Wex", "Wei", "alpha", "g", "b")] == [
        [4, 5], [4, 2], [2], [4], [4]
    ]  # fmt: skip


def test_what_a_network_is() -> None:
    Layer = convert.LayerDescription
    dann = convert.describe(NETWORKS["dann"]().state_dict())
    assert dann == [
        Layer("dann", 6, 5, 3, divisive=True),
        Layer("dann", 5, 4, 2, divisive=True),
        Layer("dann", 4, 3, 1, divisive=True, relu=False),
    ]
    assert [layer.divisor for layer in dann] == ["plain"] * 3
    assert convert.describe(NETWORKS["bias"]().state_dict())[0] == Layer("dann", 6, 5, 3)
    assert convert.describe(NETWORKS["columns"]().state_dict()) == [
        Layer("columns", 6, 5, inhibitory_outputs=2),
        Layer("columns", 5, 4, inhibitory_inputs=2, inhibitory_outputs=1),
        Layer("columns", 4, 3, inhibitory_inputs=1, relu=False),
    ]
    for layer in [*dann, *convert.describe(NETWORKS["columns"]().state_dict())]:
        shape = layer.shape()
        for name in ("kind", "inputs", "outputs", "interneurons", "divisive", "divisor", "relu"):
            assert getattr(shape, name) == getattr(layer, name)
        assert (shape.inhibitory_inputs, shape.inhibitory_outputs) == (
            layer.inhibitory_inputs,
            layer.inhibitory_outputs,
        )


def test_the_order_is_that_of_the_numbers() -> None:
    layers = [TheirDann(6, 6, 2) for _ in range(12)]
    state_dict = dict(sorted(TheirNet(*layers).state_dict().items()))
    converted = convert.convert_state_dict(state_dict)
    for k, layer in enumerate(layers):
        assert torch.equal(converted[f"{k}.Wex"], layer.Wex)
    assert [layer.relu for layer in convert.describe(state_dict)] == [True] * 11 + [False]


def test_other_prefixes() -> None:
    layer = TheirDann(6, 5, 3, relu=False)
    expected = convert.convert_state_dict(TheirNet(layer).state_dict())
    for prefix in ("", "module.layers.fc0.", "readout."):
        got = convert.convert_state_dict({prefix + name: array for name, array in layer.state_dict().items()})
        assert got.keys() == expected.keys()
    # Without numbers that tell them apart, layers are in the order of the state dict.
    first = {f"first.{name}": array for name, array in TheirDann(6, 5, 3).state_dict().items()}
    assert "1.Wex" in convert.convert_state_dict(
        {**first, **{f"last.{k}": v for k, v in layer.state_dict().items()}}
    )


def test_split_biases() -> None:
    theirs, x = TheirNet(TheirSubtractive(6, 5, 3, bias="split"), TheirDann(5, 3, 1, relu=False)), inputs()
    state_dict = theirs.state_dict()
    converted = convert.convert_state_dict(state_dict)
    assert torch.equal(
        converted["0.b"], (theirs.layers["fc0"].bias_pos + theirs.layers["fc0"].bias_neg).flatten()
    )
    ours = composed_network(converted, convert.describe(state_dict), x)
    torch.testing.assert_close(ours, theirs(x), rtol=1e-12, atol=1e-12)
    parts = convert.split_biases(state_dict)
    assert list(parts) == ["0.b"]
    assert torch.equal(parts["0.b"], -theirs.layers["fc0"].bias_neg.flatten()) and (parts["0.b"] > 0).all()


def test_convolutions() -> None:
    # As in the authors' networks, a number for each module: 1 is a pooling layer.
    layers = nn.ModuleDict({"0": TheirConv(2, 5, 3), "2": TheirDann(20, 3, 1, relu=False)})
    state_dict = {f"layers.{name}": array for name, array in layers.state_dict().items()}
    converted = convert.convert_state_dict(state_dict)
    assert [list(converted[f"0.{name}"].shape) for name in ("Wex", "Wix", "Wei", "alpha", "g", "b")] == [
        [5, 2, 3, 2], [3, 2, 3, 2], [5, 3], [3], [5], [5]
    ]  # fmt: skip
    assert "2.Wex" in converted
    description = convert.describe(state_dict)[0]
    assert (description.kind, description.inputs, description.outputs) == ("conv", 2, 5)
    assert (description.interneurons, description.kernel, description.divisive) == (3, (3, 2), True)
    # Windows of the image are rows of a dense layer with the same arrays.
    x = torch.rand(2, 2, 4, 5, dtype=torch.float64)
    windows = F.unfold(x, (3, 2)).transpose(1, 2)
    flat = {name: converted[f"0.{name}"].flatten(1) for name in ("Wex", "Wix", "Wei")}
    rows = composed.dann_linear(
        windows, **flat, **{name: converted[f"0.{name}"] for name in ("alpha", "g", "b")}
    )
    torch.testing.assert_close(
        rows.transpose(1, 2).reshape(2, 5, 2, 4), layers["0"](x), rtol=1e-12, atol=1e-12
    )
    back = convert.to_ltlwdp(converted, prefix="layers.{}.")
    assert back.keys() == state_dict.keys()
    assert all(torch.equal(back[key], array) for key, array in state_dict.items())
    with pytest.raises(
        ValueError, match=r"layers.0 is of kind conv: expected dann, linear or columns; convert_state_"
    ):
        convert.from_ltlwdp(state_dict)


@pytest.mark.parametrize("divisive", [True, False])
def test_recurrent_cells(divisive: bool) -> None:
    cell = TheirCell(6, 5, 3, 2, divisive)
    state_dict = {f"layers.rnn0.{name}": array for name, array in cell.state_dict().items()}
    converted = convert.convert_state_dict(state_dict)
    more = {"0.Ualpha": [3], "0.Walpha": [2], "0.Ug": [5], "0.Wg": [5]} if divisive else {}
    assert {name: list(array.shape) for name, array in converted.items()} == {
        "0.Uex": [5, 6], "0.Uix": [3, 6], "0.Uei": [5, 3], "0.Wex": [5, 5], "0.Wix": [2, 5], "0.Wei": [5, 2],
        **more, "0.b": [5], "0.h0": [5],
    }  # fmt: skip
    back = convert.to_ltlwdp(converted, prefix="layers.rnn{}.")
    assert back.keys() == state_dict.keys()
    assert all(torch.equal(back[key], array) for key, array in state_dict.items())
    description = convert.describe(state_dict)[0]
    assert (description.interneurons, description.recurrent_interneurons) == (3, 2)


def changed(key: str, value: object, build=NETWORKS["dann"]) -> dict[str, Tensor]:
    return {**build().state_dict(), key: value}


def without(key: str) -> dict[str, Tensor]:
    return {name: array for name, array in NETWORKS["dann"]().state_dict().items() if name != key}


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.float64)


def normalised() -> dict[str, Tensor]:
    return {"layers.fc0.W": ones(3, 6), "layers.fc0.g": ones(3, 1), "layers.fc0.b": ones(3, 1)}


ERRORS = [
    (lambda: changed("layers.fc0.b", ones(5)), "layers.fc0.b is [5]: expected [ne = 5, 1]"),
    (lambda: changed("layers.fc0.alpha", ones(3, 1)), "layers.fc0.alpha is [3, 1]: expected [1, ni = 3]"),
    (lambda: changed("layers.fc1.Wix", ones(2, 6)), "layers.fc1.Wix is [2, 6]: expected [ni = 2, d = 5]"),
    (lambda: changed("layers.fc1.Wex", ones(4)), "layers.fc1.Wex is [4]: expected [ne, d]"),
    (
        lambda: changed("layers.fc0.weight", ones(5, 6)),
        "layers.fc0.weight [5, 6] is not known: expected D, U_alpha, U_g, Uei, Uex, Uix, W, W_alpha, W_g,"
        " W_pos, Wei, Wex, Wix, alpha, b, e_conv.weight, g, hidden_reset_policy.h0, i_conv.weight",
    ),
    (
        lambda: without("layers.fc1.b"),
        "layers.fc1 has Wex, Wix, Wei, alpha, g: expected Wex, Wix, Wei, alpha, g, b (a dann layer)",
    ),
    (
        lambda: changed("layers.fc2.bias", ones(3, 1)),
        "layers.fc2.bias is there twice, once by another name: expected one array for b",
    ),
    (
        lambda: changed("layers.fc2.bias_pos", ones(3, 1)),
        "the bias is layers.fc2.b, layers.fc2.bias_pos: expected bias_pos and bias_neg, or one array",
    ),
    (
        lambda: changed("layers.fc0.Wei", -ones(5, 3)),
        "layers.fc0.Wei has 15 elements that are not ≥ 0, as -1: expected weights ≥ 0",
    ),
    (
        lambda: changed("layers.fc0.g", torch.nan * ones(5, 1)),
        "layers.fc0.g has 5 elements that are not ≥ 0, as nan: expected weights ≥ 0",
    ),
    (
        lambda: changed("layers.fc1.D", ones(5, 5), NETWORKS["columns"]),
        "layers.fc1.D has elements beside its diagonal: expected a diagonal matrix of +1 and -1",
    ),
    (
        lambda: changed("layers.fc1.D", 2 * torch.eye(5).double(), NETWORKS["columns"]),
        "layers.fc1.D has 2 among its signs: expected +1 and -1",
    ),
    (
        lambda: changed(
            "layers.fc1.D", torch.diag(ones(5).index_fill(0, torch.tensor(1), -1)), NETWORKS["columns"]
        ),
        "layers.fc1.D has -1 before +1 on its diagonal: expected +1 for the excitatory inputs, then -1 for"
        " the inhibitory ones",
    ),
    (
        lambda: {**NETWORKS["linear"]().state_dict(), "layers.fc1.W": ones(3, 4)},
        "layers.fc0 has 5 outputs, layers.fc1 has 4 inputs",
    ),
    (
        lambda: changed("layers.fc0.b", ones(5, 1).float()),
        "layers.fc0.Wex is torch.float64, layers.fc0.b is torch.float32: expected one dtype",
    ),
    (
        lambda: changed("layers.fc0.b", torch.ones(5, 1, dtype=torch.int64)),
        "layers.fc0.b is torch.int64: expected a floating-point dtype",
    ),
    (lambda: {}, "the state dict is empty: expected the arrays of a layer at least"),
    (
        normalised,
        "layers.fc0.W comes with g, as in a normalised layer: their normalised layers add the bias before"
        " and after they normalise, and divide by the unbiased deviation without a constant, so no layer here"
        " computes the same",
    ),
]


@pytest.mark.parametrize(("state_dict", "text"), ERRORS, ids=[text[:40] for _, text in ERRORS])
def test_errors(state_dict, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        convert.describe(state_dict())
    assert str(caught.value) == text


def test_what_is_no_tensor() -> None:
    with pytest.raises(TypeError, match=re.escape("layers.fc0.b is of type list: expected a tensor")):
        convert.describe(changed("layers.fc0.b", [1.0]))


def test_errors_on_the_way_back() -> None:
    converted = convert.convert_state_dict(NETWORKS["columns"]().state_dict())
    for key, value, text in (
        ("1.sign", ones(5, 5), "1.sign is [5, 5]: expected [d = 5]"),
        ("1.sign", 0 * ones(5), "1.sign has 0 among its signs: expected +1 and -1"),
        ("1.b", ones(4, 1), "1.b is [4, 1]: expected [ne = 4]"),
        ("1.W", ones(4, 5), "1 has Wpos, sign, b, W: expected Wpos, sign, b (a columns layer)"),
    ):
        with pytest.raises(ValueError) as caught:
            convert.to_ltlwdp({**converted, key: value})
        assert str(caught.value) == text


REFUSED = [
    (
        (DannLinear(6, 5, 3, divisor=0.01), DannLinear(5, 3, 1, nonlinearity=None)),
        "0 has the divisor 0.01: expected 'plain', which is what the authors' layers have",
    ),
    (
        (DannLinear(6, 5, 3, nonlinearity=None), DannLinear(5, 3, 1, nonlinearity=None)),
        "0 is linear: expected ReLU in all layers but the last, as in the authors' networks",
    ),
    (
        (DannLinear(6, 5, 3), DannLinear(5, 3, 1)),
        "1 is followed by ReLU: expected ReLU in all layers but the last, as in the authors' networks",
    ),
    (
        (LayerNormLinear(6, 3, nonlinearity=None),),
        "0.W comes with g, as in a normalised layer: their normalised layers add the bias before and"
        " after they normalise, and divide by the unbiased deviation without a constant, so no layer here"
        " computes the same",
    ),
    (
        (nn.Linear(6, 5), DannLinear(5, 3, 1, nonlinearity=None)),
        "0.weight [5, 6] is not known: expected Ualpha, Uei, Uex, Ug, Uix, W, Walpha, Wei, Wex, Wg, Wix,"
        " Wpos, alpha, b, g, h0, sign",
    ),
]


@pytest.mark.parametrize(("layers", "text"), REFUSED, ids=[text[:40] for _, text in REFUSED])
def test_layers_that_the_authors_do_not_have(layers: tuple[nn.Module, ...], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        convert.to_ltlwdp(nn.Sequential(*layers))
    assert str(caught.value) == text


def test_the_random_numbers_of_the_caller_stay() -> None:
    state_dict = NETWORKS["dann"]().state_dict()
    before = torch.get_rng_state()
    convert.from_ltlwdp(state_dict)
    assert torch.equal(torch.get_rng_state(), before)


def test_recurrent_modules() -> None:
    for divisor in (None, "plain"):
        rnn = DannRNN(5, 8, 2, divisor=divisor, learned_state=True, seed=1)
        theirs = convert.to_ltlwdp(rnn, prefix="layers.rnn{}.")
        assert theirs["layers.rnn1.hidden_reset_policy.h0"].shape == (8, 1)
        other = DannRNN(5, 8, 2, divisor=divisor, learned_state=True, seed=2)
        ours = convert.convert_state_dict(theirs)
        other.load_state_dict({f"layers.{name}": array for name, array in ours.items()})
        assert all(map(torch.equal, rnn.state_dict().values(), other.state_dict().values()))
        assert [layer.kind for layer in convert.describe(theirs)] == ["recurrent"] * 2
    with pytest.raises(InvalidValue, match="has the dynamics 'rate'"):
        convert.to_ltlwdp(DannRNN(5, 8, dynamics="rate", kappa=0.5))
    with pytest.raises(InvalidValue, match="divisor 0.1"):
        convert.to_ltlwdp(DannRNN(5, 8, divisor=0.1))
