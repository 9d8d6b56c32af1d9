"""The networks that papers compare, as lists of the shapes of their layers."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from . import _check, _core
from ._core import Shape
from ._types import Divisor
from .errors import InvalidValue, ShapeError

Kind: TypeAlias = Literal["dann", "mlp", "layer_norm", "batch_norm", "column_ei"]
KINDS: tuple[Kind, ...] = ("dann", "mlp", "layer_norm", "batch_norm", "column_ei")

RATIO = 10
"""Excitatory units for each inhibitory one in networks of sign-constrained columns, as in the paper."""


def shapes(
    dims: Sequence[int],
    nis: Sequence[int] | None = None,
    *,
    kind: Kind = "dann",
    divisor: Divisor | None | Sequence[Divisor | None] = "plain",
    subtractive: bool = False,
    ratio: int | None = None,
) -> list[Shape]:
    """The shapes of the layers of a network. Hidden layers have ReLU, the last the identity.

    `dims` are the inputs and then the units of each layer. `kind` is

    - `"dann"`: separate excitatory and inhibitory units; `nis` are the interneurons of each layer;
    - `"mlp"`: plain layers;
    - `"layer_norm"`, `"batch_norm"`: the same with normalisation in the hidden layers;
    - `"column_ei"`: Dale's principle by sign-constrained columns. In hidden layers ⌈n/(ratio + 1)⌉ of n units
      are inhibitory; `ratio` is 10 if not given. All inputs are excitatory.

    For `"dann"` only: `divisor` is what layers divide by, `"plain"`, `"root"`, or a floor > 0; `subtractive`
    takes the division out of all. A sequence has a divisor for each layer, None where a layer only subtracts.

    Raises `ShapeError` for dimensions that make no network, `InvalidValue` for an argument that this kind has
    no use for.
    """
    _check.name("kind", kind, KINDS)
    sizes = _check.wholes("dims", dims, 1)
    layers = len(sizes) - 1
    if layers < 1:
        raise ShapeError(f"dims is {list(dims)}: expected the inputs, and the units of at least one layer")
    if kind != "dann":
        given = {"nis": nis is not None, "divisor": divisor != "plain", "subtractive": subtractive}
        for name in (name for name, is_given in given.items() if is_given):
            raise InvalidValue(
                f"{name} is given for a network of kind {kind!r}: expected it with 'dann' only"
            )
    if kind != "column_ei" and ratio is not None:
        raise InvalidValue(
            f"ratio is given for a network of kind {kind!r}: expected it with 'column_ei' only"
        )
    ratio = RATIO if ratio is None else _check.whole("ratio", ratio, 1)
    if kind != "dann":
        return _core.network(kind, sizes, ratio=ratio)
    if nis is None:
        raise InvalidValue(
            "nis is None: expected how many interneurons each layer of a network of kind 'dann' has"
        )
    counts = _check.wholes("nis", nis, 1)
    if subtractive and divisor != "plain":
        raise InvalidValue(f"divisor is {divisor!r} with subtractive=True: expected one of them")
    plain = _core.network(kind, sizes, counts)
    divisors = for_each_layer("divisor", None if subtractive else divisor, layers)
    return [
        Shape.dann(shape.inputs, shape.outputs, shape.interneurons, relu=shape.relu, divisor=divisor)
        for shape, divisor in zip(plain, divisors, strict=True)
    ]


def for_each_layer(name: str, value: Any, layers: int) -> list[Any]:
    """One value for each layer, of one for all or of a sequence. Raises `ShapeError` for another number of
    them."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * layers
    if len(value) != layers:
        raise ShapeError(f"{name} has {len(value)} elements: expected {layers}, one for each layer")
    return list(value)
