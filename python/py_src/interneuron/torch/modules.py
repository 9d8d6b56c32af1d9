"""Layers as modules, with parameters of the names that the equations have."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from .. import _core
from . import composed, functional
from .functional import Divisor, Nonlinearity

if TYPE_CHECKING:
    from .optim import Fused

Scheme = Literal["matched", "independent", "centred"] | float
Kind = Literal["dann", "mlp", "layer_norm", "batch_norm", "column_ei"]

_is_compiling = torch.compiler.is_compiling

# All modules that live: an optimiser that is handed parameters looks here for the layers that they belong to.
_alive: weakref.WeakSet[Layer] = weakref.WeakSet()


def _drawn_seed(generator: torch.Generator | None = None) -> int:
    """A seed of PyTorch's generator, wherever new tensors are by default."""
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(2**63 - 1, (), generator=generator, device=device))


def is_moved(role: str) -> bool:
    """Whether steps move arrays of a role: they are parameters, and others buffers."""
    return role not in ("statistic", "constant")


class Layer(nn.Module):
    """A layer of any kind. It holds parameters and numbers, and nothing native: copies, pickles, `.to`, state dicts and
    functional calls are those of every module."""

    shape: _core.Shape

    def __init__(
        self,
        shape: _core.Shape,
        *,
        rectified_input: bool = True,
        scheme: Scheme = "matched",
        mean_input: float = 0.0,
        seed: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **drawing: Any,
    ) -> None:
        super().__init__()
        self.shape = shape
        # What else drawing it takes.
        self._drawing = drawing
        self._described = functional.described(shape)
        self.rectified_input = rectified_input
        self.scheme = scheme
        self.mean_input = mean_input
        # Set by an optimiser that updates in the backward pass.
        self._fused: Fused | None = None
        for name, sizes, role, _, _ in shape.parameters:
            array = torch.empty(sizes, device=device, dtype=dtype)
            if not is_moved(role):
                self.register_buffer(name, array)
            else:
                self.register_parameter(name, nn.Parameter(array))
        self._names = tuple(name for name, *_ in shape.parameters)
        self._of = operator.itemgetter(*self._names)
        self.reset_parameters(seed=seed)
        _alive.add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        _alive.add(self)

    def arrays(self) -> tuple[Tensor, ...]:
        """Parameters and statistics, in the order of the equations."""
        try:
            return self._of(self._parameters)  # type: ignore[no-any-return]
        except KeyError:
            # Statistics are buffers, and a parametrisation takes a parameter's place.
            return self._traceable()

    def _traceable(self) -> tuple[Tensor, ...]:
        """The same in a way that `torch.compile` can follow, which takes longer."""
        return tuple([getattr(self, name) for name in self._names])

    def reset_parameters(self, generator: torch.Generator | None = None, *, seed: int | None = None) -> None:
        """Draws the parameters anew: by a seed of PyTorch's generator, or by `seed` with the bits of the Rust crate."""
        arrays = self.arrays()
        if arrays[0].is_meta:
            return
        if seed is None:
            seed = _drawn_seed(generator)
        # Drawn on the CPU in an element type that the kernels have, as everywhere else.
        dtype = torch.float64 if arrays[0].dtype == torch.float64 else torch.float32
        drawn = [torch.empty(it.shape, dtype=dtype, device="cpu") for it in arrays]
        _core.draw_layer(
            self.shape,
            drawn,
            seed,
            rectified=self.rectified_input,
            scheme=self.scheme,
            mean_input=self.mean_input,
            **self._drawing,
        )
        self._take(drawn)

    @torch.no_grad()
    def _take(self, drawn: Sequence[Tensor]) -> None:
        """Copies arrays that were drawn, but no time constants."""
        for name, to, of in zip(self._names, self.arrays(), drawn, strict=True):
            if name != "kappa":
                to.copy_(of)

    def forward(self, x: Tensor) -> Tensor:
        """`h [..., ne]` of `x [..., d]`."""
        fused = self._fused if self.training else None
        if _is_compiling():
            return functional.compiled(self._described, x, self._traceable(), fused=fused)
        return functional.layer(self.shape, x, self.arrays(), fused)

    def extra_repr(self) -> str:
        shape = self.shape
        said = [f"{shape.inputs}, {shape.outputs}"]
        if shape.kind == "dann":
            said += [f"n_inhibitory={shape.interneurons}", f"divisor={shape.divisor!r}"]
        if shape.kind == "columns":
            said.append(f"n_inhibitory_in={shape.inhibitory_inputs}")
        return ", ".join([*said, f"nonlinearity={'relu' if shape.relu else None!r}"])


class DannLinear(Layer):
    """Separate excitatory and inhibitory units: `interneuron.torch.functional.dann_linear` with parameters
    `Wex [ne, d]`, `Wix [ni, d]`, `Wei [ne, ni]`, `alpha [ni]`, `g [ne]`, `b [ne]`, in this order; all weights and `g` are
    ≥ 0, and the optimisers of this package keep them so.

    Args:
        in_features: inputs d.
        out_features: excitatory units ne, which are the outputs.
        n_inhibitory: interneurons ni.
        nonlinearity: "relu", or None for the identity.
        divisive: False where inhibition only subtracts: no `alpha`, no `g`.
        divisor: what a layer that divides divides by: "plain", a floor such as 0.01, or "root". The last two take inputs of
            any sign.
        rectified_input: False for a network's first layer, whose inputs did not pass a ReLU: it is drawn otherwise.
        scheme: how it is drawn: "matched", "independent", "centred", or the k of lognormal weights.
        seed: of the parameters; None draws one from PyTorch's generator.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_inhibitory: int,
        *,
        nonlinearity: Nonlinearity = "relu",
        divisive: bool = True,
        divisor: Divisor = "plain",
        rectified_input: bool = True,
        scheme: Scheme = "matched",
        iid_inhibition: bool = False,
        seed: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if iid_inhibition and scheme != "matched":
            raise ValueError(f'iid_inhibition is another word for scheme="independent", but scheme is {scheme!r}')
        super().__init__(
            _core.Shape.dann(
                in_features,
                out_features,
                n_inhibitory,
                relu=functional.is_relu(nonlinearity),
                divisor=divisor if divisive else None,
            ),
            rectified_input=rectified_input,
            scheme="independent" if iid_inhibition else scheme,
            seed=seed,
            device=device,
            dtype=dtype,
        )

    @torch.no_grad()
    def inhibition(self, x: Tensor) -> dict[str, Tensor]:
        """What inhibition does to `x [..., d]`: `zi [..., ni]`, and where it divides `zhat [..., ne]`, `gamma [..., ne]`."""
        names = dict(zip(self._names, self.arrays(), strict=True))
        names.pop("b")
        g = names.pop("g", None)
        del g
        return composed.inhibition(x, **names, divisor=self.shape.divisor)


class _Ordinary(Layer):
    """What layers without interneurons have in common."""

    # Makes the shape of d inputs and ne outputs.
    _shape: Callable[..., _core.Shape]

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        nonlinearity: Nonlinearity = "relu",
        rectified_input: bool = True,
        seed: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = self._shape(in_features, out_features, relu=functional.is_relu(nonlinearity))
        super().__init__(shape, rectified_input=rectified_input, seed=seed, device=device, dtype=dtype)


class Linear(_Ordinary):
    """An ordinary layer `h = f(x Wᵀ + b)`, on the same kernels: `W [ne, d]`, `b [ne]`."""

    _shape = staticmethod(_core.Shape.linear)


class LayerNormLinear(_Ordinary):
    """An ordinary layer with layer normalisation of `x Wᵀ`: `W [ne, d]`, `g [ne]`, `b [ne]`."""

    _shape = staticmethod(_core.Shape.layer_norm)


class BatchNormLinear(_Ordinary):
    """An ordinary layer with batch normalisation of `x Wᵀ`: `W [ne, d]`, `g [ne]`, `b [ne]`, and the buffers
    `running_mean [ne]`, `running_var [ne]`, of which each batch of training takes in a tenth."""

    _shape = staticmethod(_core.Shape.batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """`h [..., ne]` of `x [..., d]`."""
        fused = self._fused if self.training else None
        if _is_compiling():
            return functional.compiled(self._described, x, self._traceable(), training=self.training, fused=fused)
        arrays = self.arrays()
        return functional.batch_norm_linear(self.shape, x, arrays, training=self.training, fused=fused)


class ColumnEILinear(Layer):
    """Dale's principle by columns of one sign: `h = f(x (Wpos D)ᵀ + b)` with `Wpos [n, m]` ≥ 0 and `b [n]`. The buffer
    `sign [m]` is the diagonal of D: +1 for excitatory inputs, −1 for the last `n_inhibitory_in`.

    Args:
        in_features: inputs m, ≥ 0.
        out_features: outputs n.
        n_inhibitory_in: how many of the inputs, the last ones, are inhibitory.
        mean_input: the mean of the inputs, where none is inhibitory: biases make up for it.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_inhibitory_in: int,
        *,
        nonlinearity: Nonlinearity = "relu",
        mean_input: float | None = None,
        seed: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = _core.Shape.columns(
            in_features, out_features, inhibitory_inputs=n_inhibitory_in, relu=functional.is_relu(nonlinearity)
        )
        super().__init__(shape, mean_input=mean_input or 0.0, seed=seed, device=device, dtype=dtype)
        self.sign: Tensor
        sign = torch.ones(in_features, device=device, dtype=dtype)
        sign[in_features - n_inhibitory_in :] = -1
        self.register_buffer("sign", sign)

    def forward(self, x: Tensor) -> Tensor:
        """`h [..., n]` of `x [..., m]`."""
        # To the kernels inputs bring their signs along.
        return super().forward(x * self.sign.to(x.dtype) if self.shape.inhibitory_inputs else x)


def from_shape(shape: _core.Shape, **keywords: Any) -> Layer:
    """The module of a shape. Raises `ValueError` for recurrent layers, whose modules are `DannRNN` and its like."""
    if shape.dynamics is not None:
        raise ValueError(f"shape is {shape}: expected a layer without states; DannRNN and its like are modules of others")
    nonlinearity: Nonlinearity = "relu" if shape.relu else None
    match shape.kind:
        case "dann":
            return DannLinear(
                shape.inputs,
                shape.outputs,
                shape.interneurons,
                nonlinearity=nonlinearity,
                divisive=shape.divisive,
                divisor=shape.divisor if shape.divisive else "plain",
                **keywords,
            )
        case "columns":
            keywords.pop("rectified_input", None)
            return ColumnEILinear(
                shape.inputs,
                shape.outputs,
                shape.inhibitory_inputs,
                nonlinearity=nonlinearity,
                **keywords,
            )
        case "layer_norm":
            return LayerNormLinear(shape.inputs, shape.outputs, nonlinearity=nonlinearity, **keywords)
        case "batch_norm":
            return BatchNormLinear(shape.inputs, shape.outputs, nonlinearity=nonlinearity, **keywords)
        case _:
            return Linear(shape.inputs, shape.outputs, nonlinearity=nonlinearity, **keywords)


def from_shapes(shapes: Sequence[_core.Shape], *, seed: int | None = None, **keywords: Any) -> nn.Sequential:
    """The modules of a network, from the input to the output."""
    below = [False, *(shape.relu for shape in shapes)]
    layers = [from_shape(shape, rectified_input=relu, seed=0, **keywords) for shape, relu in zip(shapes, below)]
    model = nn.Sequential(*layers)
    draw(model, seed)
    return model


def chained(layers: Sequence[Layer]) -> list[_core.Shape]:
    """The shapes of layers that follow one another: outputs have the signs that the inputs above have."""
    shapes = [layer.shape for layer in layers]
    for k, above in enumerate(shapes[1:]):
        below = shapes[k]
        if below.kind == "columns":
            shapes[k] = _core.Shape.columns(
                below.inputs,
                below.outputs,
                inhibitory_inputs=below.inhibitory_inputs,
                inhibitory_outputs=above.inhibitory_inputs,
                relu=below.relu,
            )
        if below.kind == "recurrent_columns" and not below.signed and above.inhibitory_inputs:
            shapes[k] = _core.Shape.parse(str(below).removesuffix(" unsigned"))
    return shapes


def draw(
    model: nn.Sequential,
    seed: int | None = None,
    *,
    schemes: Sequence[Scheme] | None = None,
    mean_input: float = 0.0,
    x: Tensor | None = None,
) -> None:
    """Draws the parameters of a network of this package's layers from one seed, with the bits of the Rust crate; None
    draws a seed from PyTorch's generator. With a batch `x [B, d]` layers are drawn from the moments of their inputs."""
    layers = [layer for layer in model if isinstance(layer, Layer)]
    arrays = [layer.arrays() for layer in layers]
    if arrays[0][0].is_meta:
        return
    if seed is None:
        seed = _drawn_seed()
    dtype = torch.float64 if arrays[0][0].dtype == torch.float64 else torch.float32
    drawn = [[torch.empty(it.shape, dtype=dtype, device="cpu") for it in layer] for layer in arrays]
    _core.draw(chained(layers), drawn, seed, schemes=schemes, mean_input=mean_input, x=x)
    for layer, of in zip(layers, drawn, strict=True):
        layer._take(of)


def mlp(
    dims: Sequence[int],
    nis: Sequence[int] | None = None,
    *,
    kind: Kind = "dann",
    seed: int | None = None,
    divisor: Divisor = "plain",
    scheme: Scheme = "matched",
    ratio: int = 10,
    mean_input: float = 0.0,
    device: Any = None,
    dtype: torch.dtype | None = None,
) -> nn.Sequential:
    """A network that the paper compares: `dims` are the inputs and then the units of each layer, `nis` the interneurons of
    each layer (for "dann" alone). A seed has the bits that it has in the Rust crate.

    >>> model = mlp([784, 500, 500, 500, 10], [50, 50, 50, 1], seed=1)
    """
    shapes = _core.network(kind, dims, nis, divisor=divisor, ratio=ratio)
    model = from_shapes(shapes, seed=0, device=device, dtype=dtype)
    for layer in model:
        assert isinstance(layer, Layer)
        layer.scheme, layer.mean_input = scheme, mean_input
    draw(model, seed, schemes=[scheme] * len(shapes), mean_input=mean_input)
    return model


def layers_of(parameters: Sequence[Tensor]) -> list[Layer]:
    """The layers that parameters belong to, in the order of the parameters."""
    owners = {id(array): layer for layer in _alive for array in layer._parameters.values() if array is not None}
    found: dict[int, Layer] = {}
    for parameter in parameters:
        layer = owners.get(id(parameter))
        if layer is not None:
            found.setdefault(id(layer), layer)
    return list(found.values())
