"""The networks that papers compare, as lists of the shapes of their layers."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypeVar

from . import _check
from ._core import Shape
from ._types import Divisor
from .errors import InvalidValue, ShapeError

Kind: TypeAlias = Literal["dann", "mlp", "layer_norm", "batch_norm", "column_ei"]
KINDS: tuple[Kind, ...] = ("dann", "mlp", "layer_norm", "batch_norm", "column_ei")

RATIO = 10
"""Excitatory units for each inhibitory one in networks of sign-constrained columns, as in the paper."""

_MOST = 2**40

T = TypeVar("T")


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
    - `"column_ei"`: Dale's principle by sign-constrained columns. In hidden layers ⌈n/(ratio + 1)⌉ of n units are
      inhibitory; `ratio` is 10 if not given. All inputs are excitatory.

    For `"dann"` only: `divisor` is what layers divide by, `"plain"` γ, `"root"` √(γ² + …), or a floor > 0 of γ; `subtractive`
    takes the division out of all. A sequence has a divisor for each layer, None where a layer only subtracts.

    Raises `ShapeError` for dimensions that make no network, `InvalidValue` for an argument that this kind has no use for.
    """
    _check.name("kind", kind, KINDS)
    sizes = [_check.whole(f"dims[{k}]", size, 1, _MOST) for k, size in enumerate(dims)]
    layers = len(sizes) - 1
    if layers < 1:
        raise ShapeError(f"dims is {list(dims)}: expected the inputs, and the units of at least one layer")
    last = layers - 1
    pairs = list(zip(sizes, sizes[1:], strict=False))
    if kind != "dann":
        for name, unused in (("nis", nis is None), ("divisor", divisor == "plain"), ("subtractive", not subtractive)):
            if not unused:
                raise InvalidValue(f"{name} is given for a network of kind {kind!r}: expected it with 'dann' only")
    if kind != "column_ei" and ratio is not None:
        raise InvalidValue(f"ratio is given for a network of kind {kind!r}: expected it with 'column_ei' only")
    if kind == "dann":
        if nis is None:
            raise InvalidValue("nis is None: expected how many interneurons each layer of a network of kind 'dann' has")
        counts = [_check.whole(f"nis[{k}]", count, 1, _MOST) for k, count in enumerate(nis)]
        if len(counts) != layers:
            raise ShapeError(f"nis has {len(counts)} elements: expected {layers}, one for each layer")
        if subtractive and divisor != "plain":
            raise InvalidValue(f"divisor is {divisor!r} with subtractive=True: expected one of them")
        divisors = [None] * layers if subtractive else for_each_layer("divisor", divisor, layers)
        return [
            Shape.dann(d, ne, counts[k], relu=k < last, divisor=divisors[k]) for k, (d, ne) in enumerate(pairs)
        ]
    if kind == "column_ei":
        excitatory = RATIO if ratio is None else _check.whole("ratio", ratio, 1, _MOST)

        def inhibitory(units: int) -> int:
            return -(-units // (excitatory + 1))

        return [
            Shape.columns(
                d,
                ne,
                inhibitory_inputs=0 if k == 0 else inhibitory(d),
                inhibitory_outputs=0 if k == last else inhibitory(ne),
                relu=k < last,
            )
            for k, (d, ne) in enumerate(pairs)
        ]
    hidden = {"mlp": Shape.linear, "layer_norm": Shape.layer_norm, "batch_norm": Shape.batch_norm}[kind]
    return [hidden(d, ne) if k < last else Shape.linear(d, ne, relu=False) for k, (d, ne) in enumerate(pairs)]


def for_each_layer(name: str, value: T | Sequence[T], layers: int) -> list[T]:
    """One value for each layer, of one for all or of a sequence."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * layers  # type: ignore[list-item]
    if len(value) != layers:
        raise ShapeError(f"{name} has {len(value)} elements: expected {layers}, one for each layer")
    return list(value)
