"""State dicts of the paper authors' modules, and ours.

`layers.fc{i}.NAME` in the code of Cornford et al. (ICLR 2021) is `{i}.NAME` in a `Sequential` of ours.
Vectors that are columns or rows there (`b [ne, 1]`, `alpha [1, ni]`) are vectors here, and the matrix of
signs of sign-constrained columns, `D [d, d]`, is its diagonal, `sign [d]`. Names of later code of the group,
of its convolutions and of its recurrent cells are known, too: the tables below have all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .._core import Shape
from ..errors import InvalidValue, ShapeError
from .modules import Layer, from_shapes

__all__ = ["LayerDescription", "convert_state_dict", "describe", "from_ltlwdp", "split_biases", "to_ltlwdp"]

Kind = Literal["dann", "linear", "columns", "conv", "recurrent"]


@dataclass(frozen=True)
class LayerDescription:
    """What a state dict says of a layer, with the attributes of `interneuron._core.Shape`.

    A state dict has no nonlinearities: all layers but the last are taken for ReLU, as the authors build them.
    """

    kind: Kind
    """`dann`, `linear` or `columns`; of `conv` there is no module here, and `recurrent` is in no `Sequential`."""
    inputs: int
    """`d`; of a convolution its channels."""
    outputs: int
    """`ne`"""
    interneurons: int = 0
    """`ni`; of a recurrent layer those of its inputs."""
    divisive: bool = False
    """Whether inhibition divides, too."""
    relu: bool = True
    inhibitory_inputs: int = 0
    """How many inputs, the last ones, are inhibitory."""
    inhibitory_outputs: int = 0
    """How many outputs, the last ones, the next layer takes for inhibitory."""
    kernel: tuple[int, int] | None = None
    """Height and width of the filters of a convolution."""
    recurrent_interneurons: int = 0
    """Of a recurrent layer, those of its own units."""

    @property
    def divisor(self) -> Literal["plain"] | None:
        """What it divides by: the authors' layers know one divisor."""
        return "plain" if self.divisive else None

    def shape(self) -> Shape:
        """The shape that kernels have for it."""
        match self.kind:
            case "dann":
                return Shape.dann(
                    self.inputs, self.outputs, self.interneurons, relu=self.relu, divisor=self.divisor
                )
            case "linear":
                return Shape.linear(self.inputs, self.outputs, relu=self.relu)
            case "columns":
                return Shape.columns(
                    self.inputs,
                    self.outputs,
                    inhibitory_inputs=self.inhibitory_inputs,
                    inhibitory_outputs=self.inhibitory_outputs,
                    relu=self.relu,
                )
            case _:
                raise InvalidValue(
                    f"kind is {self.kind!r}: expected dann, linear or columns, which have kernels"
                )


@dataclass(frozen=True)
class _Array:
    """An array of a kind of layer: its name and its dimensions there, its name here.

    Here it has the dimensions that are letters, in the same order.
    """

    theirs: str
    dimensions: tuple[str | Literal[1], ...]
    ours: str
    non_negative: bool = False


@dataclass(frozen=True)
class _Format:
    """The arrays of a kind of layer."""

    kind: Kind
    divisive: bool
    arrays: tuple[_Array, ...]

    def names(self, side: Literal["theirs", "ours"]) -> dict[str, _Array]:
        return {getattr(array, side): array for array in self.arrays}


def _weights(theirs: str, *dimensions: str, ours: str | None = None) -> _Array:
    return _Array(theirs, dimensions, ours or theirs, non_negative=True)


_B = _Array("b", ("ne", 1), "b")
_INHIBITION = (_weights("Wex", "ne", "d"), _weights("Wix", "ni", "d"), _weights("Wei", "ne", "ni"))
_RECURRENT = (
    _weights("Uex", "ne", "d"),
    _weights("Uix", "nu", "d"),
    _weights("Uei", "ne", "nu"),
    _weights("Wex", "ne", "ne"),
    _weights("Wix", "nw", "ne"),
    _weights("Wei", "ne", "nw"),
)
_RECURRENT_DIVISION = (
    _Array("U_alpha", (1, "nu"), "Ualpha"),
    _Array("W_alpha", (1, "nw"), "Walpha"),
    _Array("U_g", ("ne", 1), "Ug", non_negative=True),
    _Array("W_g", ("ne", 1), "Wg", non_negative=True),
)
_H0 = _Array("hidden_reset_policy.h0", ("ne", 1), "h0")
_FORMATS = (
    _Format(
        "dann",
        True,
        (
            *_INHIBITION,
            _Array("alpha", (1, "ni"), "alpha"),
            _Array("g", ("ne", 1), "g", non_negative=True),
            _B,
        ),
    ),
    _Format("dann", False, (*_INHIBITION, _B)),
    _Format("linear", False, (_Array("W", ("ne", "d"), "W"), _B)),
    _Format(
        "columns", False, (_weights("W_pos", "ne", "d", ours="Wpos"), _Array("D", ("d", "d"), "sign"), _B)
    ),
    _Format(
        "conv",
        True,
        (
            _weights("e_conv.weight", "ne", "channels", "height", "width", ours="Wex"),
            _weights("i_conv.weight", "ni", "channels", "height", "width", ours="Wix"),
            _weights("Wei", "ne", "ni"),
            _Array("alpha", ("ni", 1, 1), "alpha"),
            _Array("g", ("ne", 1, 1), "g", non_negative=True),
            _Array("b", ("ne", 1, 1), "b"),
        ),
    ),
    _Format("recurrent", True, (*_RECURRENT, *_RECURRENT_DIVISION, _B, _H0)),
    _Format("recurrent", False, (*_RECURRENT, _B, _H0)),
)

_ALIASES = {"bias": "b", "h0": "hidden_reset_policy.h0"}
"""Other names of the same arrays, in other code of the group."""
_PARTS = ("bias_pos", "bias_neg")
"""A bias that exponentiated gradient moves is the sum of two."""
_DOTTED = ("e_conv.weight", "i_conv.weight", "hidden_reset_policy.h0")
"""Names of arrays that have a dot in them."""
_NORMALISED = (
    "their normalised layers add the bias before and after they normalise, and divide by the unbiased"
    " deviation without a constant, so no layer here computes the same"
)


@dataclass(frozen=True)
class _Layer:
    """A layer of a state dict: what it is, the arrays in its terms, and where they come from."""

    prefix: str
    number: int
    format: _Format
    arrays: dict[str, Tensor]
    sizes: dict[str, int]

    @property
    def name(self) -> str:
        return _layer_name(self.prefix)


def convert_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' state dict under the names of ours, `{i}.NAME`, and with our dimensions.

    `i` is the number at which the authors' prefix ends (`layers.fc{i}.`), or the place of the layer where
    prefixes do not end in different numbers. What only changes its name or its dimensions shares memory with
    what is passed.

    Raises:
        InvalidValue: if a key is not known, or not with the others of its layer, or if a weight is negative.
        ShapeError: if an array has other dimensions than the authors' modules give it.
    """
    layers = _read(state_dict)
    return {f"{layer.number}.{name}": array for layer in layers for name, array in _ours(layer).items()}


def describe(state_dict: Mapping[str, Tensor]) -> list[LayerDescription]:
    """What network the authors' state dict is of: a description of each layer, from the input on.

    Raises:
        InvalidValue, ShapeError: as [`convert_state_dict`][interneuron.torch.convert.convert_state_dict], and
            if the outputs of a layer are not the inputs of the next.
    """
    layers = _read(state_dict)
    descriptions = [_describe(layer) for layer in layers]
    for k, (layer, following) in enumerate(pairwise(descriptions)):
        # How many pixels a convolution hands on is not in its arrays.
        if layer.kind != "conv" and layer.outputs != following.inputs:
            here, there = layers[k].name, layers[k + 1].name
            raise ShapeError(f"{here} has {layer.outputs} outputs, {there} has {following.inputs} inputs")
        descriptions[k] = replace(layer, inhibitory_outputs=following.inhibitory_inputs)
    descriptions[-1] = replace(descriptions[-1], relu=False)
    return descriptions


def from_ltlwdp(state_dict: Mapping[str, Tensor]) -> nn.Sequential:
    """The network of the authors' state dict, with copies of its arrays, on the CPU and in their dtype.

    Raises:
        InvalidValue, ShapeError: as [`describe`][interneuron.torch.convert.describe], and for convolutions,
            of which there is no module, and recurrent cells, which `DannRNN` has.
    """
    layers, descriptions = _read(state_dict), describe(state_dict)
    for layer, description in zip(layers, descriptions):
        if description.kind in ("conv", "recurrent"):
            said = f"{layer.name} is of kind {description.kind}: expected dann, linear or columns"
            raise InvalidValue(f"{said}; convert_state_dict converts its arrays")
    dtype = next(iter(state_dict.values())).dtype
    network = from_shapes([description.shape() for description in descriptions], seed=0, dtype=dtype)
    arrays = ((k, name, array) for k, layer in enumerate(layers) for name, array in _ours(layer).items())
    network.load_state_dict({f"{k}.{name}": array for k, name, array in arrays})
    return network


def split_biases(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`b⁻ ≥ 0` for each bias that is split into `bias_pos` and `bias_neg = −b⁻`, under the name of our bias.

    It is what `EG` keeps as `negative`. A bias that is not split is not in the result.
    """
    split = [layer for layer in _read(state_dict) if f"{layer.prefix}{_PARTS[1]}" in state_dict]
    return {f"{layer.number}.b": -state_dict[f"{layer.prefix}{_PARTS[1]}"].flatten() for layer in split}


def to_ltlwdp(source: nn.Module | Mapping[str, Tensor], *, prefix: str | None = None) -> dict[str, Tensor]:
    """A network or a state dict of ours under the authors' names and with their dimensions.

    Args:
        source: A `Sequential` of our layers, a `DannRNN`, or a state dict of them.
        prefix: What keys begin with, `{}` being the number of the layer in `source`. Without it, layers are
            `layers.fc0.`, `layers.fc1.`, … in their order, as the authors' `DenseNet` counts them. Their
            networks with convolutions have `layers.{}.`.

    Raises:
        InvalidValue: for layers that the authors do not have.
        ShapeError: if arrays do not fit one another.
    """
    if isinstance(source, nn.Module):
        _check_theirs(source)
        source = source.state_dict()
    result = {}
    for place, (start, number, arrays) in enumerate(_groups(source, ())):
        format = _format(start, arrays, "ours")
        _sizes(start, arrays, format, "ours")
        begin = f"layers.fc{place}." if prefix is None else prefix.format(number)
        for array in format.arrays:
            value = arrays[array.ours]
            ones = [1 if dimension == 1 else -1 for dimension in array.dimensions]
            if array.theirs == "D":
                value = torch.diag(value)
            elif 1 in ones:
                value = value.reshape(ones)
            result[begin + array.theirs] = value
    return result


def _check_theirs(module: nn.Module) -> None:
    """Raises if layers compute what the authors' do not, which their arrays do not tell."""
    named = [
        (name or "the layer", layer.shape)
        for name, layer in module.named_modules()
        if isinstance(layer, Layer)
    ]
    for k, (name, shape) in enumerate(named):
        if shape.dynamics not in ("plain", None):
            said = f"{name} has the dynamics {shape.dynamics!r}"
            raise InvalidValue(f"{said}: expected 'plain', which is what the authors' cells have")
        if shape.divisor not in ("plain", None):
            said = f"{name} has the divisor {shape.divisor!r}"
            raise InvalidValue(f"{said}: expected 'plain', which is what the authors' layers have")
        if shape.dynamics is None and shape.relu != (k + 1 < len(named)):
            said = f"{name} is {'followed by ReLU' if shape.relu else 'linear'}"
            raise InvalidValue(
                f"{said}: expected ReLU in all layers but the last, as in the authors' networks"
            )


def _read(state_dict: Mapping[str, Tensor]) -> list[_Layer]:
    """The layers of the authors' state dict, from the input on, all of them checked."""
    layers = []
    for prefix, number, arrays in _groups(state_dict, _DOTTED):
        arrays = _merged(prefix, arrays)
        format = _format(prefix, arrays, "theirs")
        layers.append(_Layer(prefix, number, format, arrays, _sizes(prefix, arrays, format, "theirs")))
    return layers


def _groups(
    state_dict: Mapping[str, Tensor], dotted: tuple[str, ...]
) -> list[tuple[str, int, dict[str, Tensor]]]:
    """The prefix, the number and the arrays of each layer, in the order of the numbers."""
    groups: dict[str, dict[str, Tensor]] = {}
    dtypes: dict[torch.dtype, str] = {}
    for key, array in state_dict.items():
        if not isinstance(array, Tensor):
            raise TypeError(f"{key} is of type {type(array).__name__}: expected a tensor")
        if not array.is_floating_point():
            raise InvalidValue(f"{key} is {array.dtype}: expected a floating-point dtype")
        dtypes.setdefault(array.dtype, key)
        name = next(
            (name for name in dotted if key == name or key.endswith(f".{name}")), key.rpartition(".")[2]
        )
        groups.setdefault(key.removesuffix(name), {})[name] = array
    if not groups:
        raise InvalidValue("the state dict is empty: expected the arrays of a layer at least")
    if len(dtypes) > 1:
        said = ", ".join(f"{key} is {dtype}" for dtype, key in dtypes.items())
        raise InvalidValue(f"{said}: expected one dtype")
    ends = [re.search(r"(\d+)\.$", prefix) for prefix in groups]
    numbers = [int(end[1]) for end in ends if end]
    if len(set(numbers)) < len(groups):
        numbers = list(range(len(groups)))
    numbered = zip(groups, numbers, groups.values())
    return sorted(numbered, key=lambda group: group[1])


def _layer_name(prefix: str) -> str:
    return prefix.removesuffix(".") or "the layer"


def _merged(prefix: str, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """The arrays with one name for each, and a bias for its parts."""
    merged: dict[str, Tensor] = {}
    for name, array in arrays.items():
        if name in _PARTS:
            continue
        known = _ALIASES.get(name, name)
        if known in merged:
            raise InvalidValue(
                f"{prefix}{name} is there twice, once by another name: expected one array for {known}"
            )
        merged[known] = array
    parts = [arrays[name] for name in _PARTS if name in arrays]
    if len(parts) == 1 or (parts and "b" in merged):
        there = ", ".join(prefix + name for name in arrays if name in (*_PARTS, "b", "bias"))
        raise InvalidValue(f"the bias is {there}: expected {' and '.join(_PARTS)}, or one array")
    if parts:
        positive, negative = parts
        if positive.shape != negative.shape:
            shapes = f"{list(positive.shape)} and {list(negative.shape)}"
            raise ShapeError(
                f"{prefix}bias_pos and {prefix}bias_neg are {shapes}: expected the same dimensions"
            )
        merged["b"] = positive + negative
    return merged


def _format(prefix: str, arrays: Mapping[str, Tensor], side: Literal["theirs", "ours"]) -> _Format:
    """What kind of layer has arrays of these names."""
    names = set(arrays)
    formats = [format for format in _FORMATS if format.names(side).keys() == names]
    if formats:
        # Convolutions have the names of dense layers here, and more dimensions.
        first = formats[0].arrays[0]
        dimensions = arrays[getattr(first, side)].dim()
        return next(
            (format for format in formats if len(format.arrays[0].dimensions) == dimensions), formats[0]
        )
    if {"W", "g", "b"} <= names:
        raise InvalidValue(f"{prefix}W comes with g, as in a normalised layer: {_NORMALISED}")
    known = {name for format in _FORMATS for name in format.names(side)}
    for name in arrays:
        if name not in known:
            expected = ", ".join(sorted(known))
            raise InvalidValue(f"{prefix}{name} {list(arrays[name].shape)} is not known: expected {expected}")
    # The kind that differs least.
    nearest = min(_FORMATS, key=lambda format: len(format.names(side).keys() ^ names))
    there = ", ".join(arrays)
    expected = ", ".join(nearest.names(side))
    raise InvalidValue(f"{_layer_name(prefix)} has {there}: expected {expected} (a {nearest.kind} layer)")


def _sizes(
    prefix: str, arrays: Mapping[str, Tensor], format: _Format, side: Literal["theirs", "ours"]
) -> dict[str, int]:
    """What the letters are. Raises unless all arrays of a layer agree, and weights are ≥ 0."""
    sizes: dict[str, int] = {}
    for name, array in format.names(side).items():
        value, dimensions = arrays[name], array.dimensions
        if side == "ours":
            letters = [dimension for dimension in dimensions if dimension != 1]
            dimensions = tuple(letters[:1] if array.theirs == "D" else letters)
        if value.dim() == len(dimensions):
            for letter, size in zip(dimensions, value.shape):
                if letter != 1:
                    sizes.setdefault(letter, size)
        if list(value.shape) != [1 if letter == 1 else sizes.get(letter) for letter in dimensions]:
            expected = ", ".join(_said(letter, sizes) for letter in dimensions)
            raise ShapeError(f"{prefix}{name} is {list(value.shape)}: expected [{expected}]")
        if array.non_negative and not (value >= 0).all():
            wrong = value[~(value >= 0)]
            said = f"{prefix}{name} has {wrong.numel()} elements that are not ≥ 0, as {wrong[0].item():g}"
            raise InvalidValue(f"{said}: expected weights ≥ 0")
        if array.theirs == "D":
            _check_signs(prefix + name, value)
    return sizes


def _said(letter: str | Literal[1], sizes: Mapping[str, int]) -> str:
    if letter == 1:
        return "1"
    return f"{letter} = {sizes[letter]}" if letter in sizes else str(letter)


def _check_signs(key: str, value: Tensor) -> None:
    """Raises unless it is a vector, or a diagonal matrix, of +1 and −1."""
    signs = torch.diagonal(value) if value.dim() == 2 else value
    if value.dim() == 2 and not torch.equal(value, torch.diag(signs)):
        raise InvalidValue(f"{key} has elements beside its diagonal: expected a diagonal matrix of +1 and -1")
    if not (signs.abs() == 1).all():
        wrong = signs[signs.abs() != 1]
        raise InvalidValue(f"{key} has {wrong[0].item():g} among its signs: expected +1 and -1")


def _ours(layer: _Layer) -> dict[str, Tensor]:
    """The arrays of a layer under our names, with our dimensions."""
    result = {}
    for array in layer.format.arrays:
        value = layer.arrays[array.theirs]
        if array.theirs == "D":
            value = torch.diagonal(value).clone()
        elif 1 in array.dimensions:
            value = value.reshape(
                [layer.sizes[dimension] for dimension in array.dimensions if dimension != 1]
            )
        result[array.ours] = value
    return result


def _describe(layer: _Layer) -> LayerDescription:
    """A layer by itself, with ReLU."""
    kind, sizes = layer.format.kind, layer.sizes
    inputs = sizes["channels" if kind == "conv" else "d"]
    more: dict[str, Any] = {}
    match kind:
        case "dann":
            more = {"interneurons": sizes["ni"]}
        case "conv":
            more = {"interneurons": sizes["ni"], "kernel": (sizes["height"], sizes["width"])}
        case "recurrent":
            more = {"interneurons": sizes["nu"], "recurrent_interneurons": sizes["nw"]}
        case "columns":
            signs = torch.diagonal(layer.arrays["D"])
            inhibitory = int((signs < 0).sum())
            if (signs[: inputs - inhibitory] < 0).any():
                said = f"{layer.prefix}D has -1 before +1 on its diagonal"
                raise InvalidValue(
                    f"{said}: expected +1 for the excitatory inputs, then -1 for the inhibitory ones"
                )
            more = {"inhibitory_inputs": inhibitory}
    return LayerDescription(kind, inputs, sizes["ne"], divisive=layer.format.divisive, **more)
