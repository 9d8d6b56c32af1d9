"""Recurrent networks as modules, called as those of PyTorch are."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import _core
from ..errors import InvalidValue, ShapeError
from . import functional
from .functional import Divisor
from .modules import Layer, _drawn_seed, chained

_is_compiling = torch.compiler.is_compiling

__all__ = ["ColumnEIRNN", "DannRNN", "PlainRNN", "RecurrentLayer"]

Dynamics: TypeAlias = Literal["plain", "rate", "state"]
Kappa: TypeAlias = float | Sequence[float] | Tensor | None
Noise: TypeAlias = Tensor | Sequence[Tensor | None] | None

RATIO = 9
"""Excitatory units for each inhibitory one in the published recurrent networks."""


class RecurrentLayer(Layer):
    """One recurrent layer, of any kind: what the modules below stack. Its parameters have the names that the equations of
    `interneuron.Shape.recurrent_dann` have; an `h0` that is not learned and a `kappa` of each unit are buffers.

    Args:
        shape: a shape such as `interneuron.Shape.recurrent_dann`.
        kappa: the leaks of the units, where the shape has one for each; 1 if None.
        radius: the spectral radius of the recurrent weights as they are drawn; that of published networks if None.
        few_inputs: draws input weights for a few inputs to many units.
        seed: of the parameters; None draws one from PyTorch's generator.
    """

    def __init__(
        self,
        shape: _core.Shape,
        *,
        kappa: Sequence[float] | Tensor | None = None,
        radius: float | None = None,
        few_inputs: bool = False,
        seed: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if shape.dynamics is None:
            raise ValueError(f"shape is {shape}: expected a recurrent layer, such as Shape.recurrent_dann")
        super().__init__(shape, seed=seed, device=device, dtype=dtype, radius=radius, few_inputs=few_inputs)
        leaks = self._buffers.get("kappa")
        if leaks is None and kappa is not None:
            raise ValueError(f'kappa is given for the shape {shape}: expected it with kappa="per_unit" in the shape')
        if leaks is not None:
            with torch.no_grad():
                leaks.copy_(torch.ones_like(leaks) if kappa is None else torch.as_tensor(kappa))
        # Derived, so it is in no state dict.
        self.sign: Tensor | None
        sign = None
        if shape.inhibitory_inputs:
            sign = torch.ones(shape.inputs, device=device, dtype=dtype)
            sign[shape.inputs - shape.inhibitory_inputs :] = -1
        self.register_buffer("sign", sign, persistent=False)

    def forward(  # type: ignore[override]
        self, x: Tensor, states: Tensor | None = None, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`h [T, B, visible]` of `x [T, B, d]`, and the states `[B, ne]` in which the sequences end."""
        if self.sign is not None:
            # To the kernels inputs bring their signs along.
            x = x * self.sign.to(x.dtype)
        fused = self._fused if self.training else None
        if _is_compiling() and fused is None and self._described.last_is_output:
            if x.dtype in functional.DTYPES and x.device.type == "cpu" and (noise is None or not noise.requires_grad):
                return functional.compiled_recurrent(self._described, x, self._traceable(), noise, states)
        return functional.recurrent(  # type: ignore[no-any-return]
            self.shape, x, self.arrays(), noise=noise, states=states, fused=fused
        )

    def extra_repr(self) -> str:
        return str(self.shape)


class RNN(nn.Module):
    """What the recurrent networks have in common: layers one upon the other, and how they are called."""

    def __init__(
        self,
        shapes: Sequence[_core.Shape],
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        kappa: Kappa,
        radius: float | None,
        few_inputs: bool,
        seed: int | None,
        device: Any,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise InvalidValue(f"dropout is {dropout}: expected at least 0 and less than 1")
        self.input_size, self.hidden_size, self.num_layers = shapes[0].inputs, shapes[0].recurrent_units, len(shapes)
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.radius, self.few_inputs = radius, few_inputs
        leaks = None if kappa is None or _is_number(kappa) else torch.as_tensor(kappa)
        if leaks is not None:
            if leaks.shape != (self.hidden_size,):
                raise ShapeError(f"kappa is {list(leaks.shape)}: expected a number, or [{self.hidden_size}] of them")
            wrong = leaks[~((leaks > 0) & (leaks <= 1))]
            if len(wrong):
                raise InvalidValue(f"kappa has the element {wrong[0].item():g}: expected leaks above 0 and at most 1")
        self.layers = nn.ModuleList(
            RecurrentLayer(shape, kappa=leaks, seed=0, device=device, dtype=dtype) for shape in shapes
        )
        if not bias:
            for layer in self._layers():
                layer.b.requires_grad_(False)
        self.reset_parameters(seed=seed)

    def _layers(self) -> list[Any]:
        return list(self.layers)

    def reset_parameters(self, generator: torch.Generator | None = None, *, seed: int | None = None) -> None:
        """Draws the parameters anew: by a seed of PyTorch's generator, or by `seed` with the bits that a network of these
        layers has in the Rust crate."""
        layers = self._layers()
        first = layers[0].arrays()[0]
        if first.is_meta:
            return
        dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
        drawn = [[torch.empty(it.shape, dtype=dtype, device="cpu") for it in layer.arrays()] for layer in layers]
        seed = _drawn_seed(generator) if seed is None else seed
        _core.draw(chained(layers), drawn, seed, radius=self.radius, few_inputs=self.few_inputs)
        for layer, of in zip(layers, drawn, strict=True):
            layer._take(of)
            if not self.bias:
                nn.init.zeros_(layer.b)

    def forward(
        self, input: Tensor, h0: Tensor | None = None, noise: Noise = None
    ) -> tuple[Tensor, Tensor]:
        """The states of the last layer at all steps, and the states of all layers after the last step.

        Args:
            input: `[T, B, d]`, `[B, T, d]` with `batch_first`, or one sequence `[T, d]`.
            h0: `[num_layers, B, ne]`, or `[num_layers, ne]` for one sequence: where each example begins; that of the layers
                if None. In the state form it is v_0.
            noise: ξ, laid out as `input` with `ne` in the place of d: of the only layer, or a sequence of one for each
                layer, None where there is none.

        Returns:
            `output`, laid out as `input` with `ne` in the place of d, and `h_n`, laid out as `h0`: with it another call goes
            on. In the state form it is v_T.
        """
        is_batch = input.dim() == 3
        if input.dim() not in (2, 3):
            raise ShapeError(f"input is {list(input.shape)}: expected [T, B, d], [B, T, d] with batch_first, or [T, d]")
        if h0 is not None and (h0.dim() != input.dim() or h0.shape[0] != self.num_layers):
            middle = "B, " if is_batch else ""
            expected = f"[{self.num_layers}, {middle}{self.hidden_size}]"
            raise ShapeError(f"h0 is {list(h0.shape)}: expected {expected} beside input {list(input.shape)}")
        x = self._time_first(input)
        h0 = h0 if h0 is None or is_batch else h0.unsqueeze(1)
        ends = []
        for k, (layer, xi) in enumerate(zip(self._layers(), self._noise(noise), strict=True)):
            if k > 0 and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            x, end = layer(x, None if h0 is None else h0[k], None if xi is None else self._time_first(xi))
            ends.append(end)
        h_n = torch.stack(ends)
        if not is_batch:
            return x.squeeze(1), h_n.squeeze(1)
        return x.transpose(0, 1) if self.batch_first else x, h_n

    def _time_first(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return x.unsqueeze(1)
        return x.transpose(0, 1) if self.batch_first else x

    def _noise(self, noise: Noise) -> Sequence[Tensor | None]:
        """The noise of each layer."""
        if noise is None:
            return [None] * self.num_layers
        noise = [noise] if isinstance(noise, Tensor) else noise
        if len(noise) != self.num_layers:
            raise ShapeError(f"noise is that of {len(noise)} layers: expected {self.num_layers}, None for those without")
        return noise

    def extra_repr(self) -> str:
        said = [f"{self.input_size}, {self.hidden_size}"]
        defaults = (("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0))
        return ", ".join(said + [f"{name}={getattr(self, name)}" for name, usual in defaults if getattr(self, name) != usual])


def _is_number(kappa: Any) -> bool:
    """Whether it is one leak for all units."""
    return isinstance(kappa, numbers.Real) or (isinstance(kappa, Tensor) and kappa.dim() == 0)


def _in_time(dynamics: Dynamics, kappa: Kappa, learned_state: bool) -> dict[str, Any]:
    """What all kinds of shapes take."""
    leak = None if kappa is None else float(kappa) if _is_number(kappa) else "per_unit"  # type: ignore[arg-type]
    return {"dynamics": dynamics, "kappa": leak, "learned_state": learned_state}


class DannRNN(RNN):
    """Recurrent layers with separate excitatory and inhibitory units. With v for x_t or h_{t−1}, and L for U or W:

    ```text
    E = v Lexᵀ      I = v Lixᵀ      A(v; L) = E − I Leiᵀ
    with a divisor  γ = (exp(Lalpha) ⊙ I) Leiᵀ + ε      A = Lg ⊙ (E − I Leiᵀ) / γ
    z_t = A(x_t; U) + A(h_{t−1}; W) + b + ξ_t
    plain   h_t = f(z_t)                                    f = ReLU
    rate    h_t = (1−κ) h_{t−1} + κ f(z_t)
    state   v_t = (1−κ) v_{t−1} + κ z_t,   h_t = f(v_t)     h0 is v_0 then
    ```

    Parameters are `layers.{k}.Uex [ne, d]`, `Uix [nu, d]`, `Uei [ne, nu]`, `Wex [ne, ne]`, `Wix [nw, ne]`, `Wei [ne, nw]`,
    with a divisor `Ualpha [nu]`, `Ug [ne]`, `Walpha [nw]`, `Wg [ne]`, and `b [ne]`, `h0 [ne]`: the names that
    `interneuron.Network` and checkpoints have. Weights and gains are ≥ 0, and the optimisers of this package keep them so,
    with the corrections of each leg. Sources: Li, Cornford, Ghosh, Richards, NeurIPS 2023; division in time is our own.

    Args:
        input_size: inputs d.
        hidden_size: excitatory units ne of each layer.
        num_layers: layers, each of which reads the states of the one below at the same step.
        n_inhibitory: interneurons of the input leg and of the recurrent leg, one number for both or two; a tenth of the
            units each if None.
        bias: False where b is 0 and stays so.
        batch_first: whether inputs and outputs are `[B, T, ...]`.
        dropout: of the states between layers.
        divisor: what inhibition divides by: "plain", a floor such as 0.01, or "root"; None where it only subtracts.
        dynamics: "plain", "rate" or "state".
        kappa: the leak κ of the last two, above 0 and at most 1: a number, or one for each unit. It is not learned.
        learned_state: whether h0 is learned; else it is 0.
        radius: the spectral radius of the recurrent weights as they are drawn; about 0.58, as published, if None. Not with a
            divisor.
        few_inputs: draws Uex ~ Exp(1/√d), for a few inputs to many units.
        seed: of the parameters; None draws one from PyTorch's generator.

    Raises:
        ShapeError, InvalidValue: for sizes and numbers that cannot be used.

    `forward(input, h0=None, noise=None)` returns `output` and `h_n`, as `torch.nn.RNN` does.

    >>> rnn = DannRNN(28, 100, seed=1)
    >>> output, h_n = rnn(torch.rand(28, 32, 28))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        n_inhibitory: int | tuple[int, int] | None = None,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        divisor: Divisor = None,
        dynamics: Dynamics = "plain",
        kappa: Kappa = None,
        learned_state: bool = False,
        radius: float | None = None,
        few_inputs: bool = False,
        seed: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if n_inhibitory is None:
            n_inhibitory = max(1, hidden_size // (RATIO + 1))
        legs = n_inhibitory if isinstance(n_inhibitory, Sequence) else (n_inhibitory, n_inhibitory)
        if len(legs) != 2:
            raise ShapeError(f"n_inhibitory is {n_inhibitory}: expected a number, or one for each of two legs")
        nu, nw = legs
        in_time = _in_time(dynamics, kappa, learned_state)
        super().__init__(
            [
                _core.Shape.recurrent_dann(d, hidden_size, nu, nw, divisor=divisor, **in_time)
                for d in _inputs(input_size, hidden_size, num_layers)
            ],
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            kappa=kappa,
            radius=radius,
            few_inputs=few_inputs,
            seed=seed,
            device=device,
            dtype=dtype,
        )


class ColumnEIRNN(RNN):
    """Recurrent layers that keep Dale's principle by columns of one sign: as `DannRNN` with

    ```text
    A(v; L) = v D Lposᵀ      D = −1 for the last n_inhibitory units, 1 for the others
    ```

    Parameters are `layers.{k}.Upos [ne, d]`, `Wpos [ne, ne]`, both ≥ 0, `b [ne]`, `h0 [ne]`. Outputs are rates ≥ 0 of all
    units, without their signs: `ColumnEILinear(ne, K, n_inhibitory)` reads them with these signs, and a readout of the
    excitatory units takes `output[..., : ne - n_inhibitory]`. Sources: Song, Yang, Wang, PLoS Computational Biology 2016, and
    Li et al., NeurIPS 2023.

    Args:
        n_inhibitory: inhibitory units among the hidden ones, the last; ⌈ne/10⌉ if None.
        n_inhibitory_in: how many of the inputs, the last ones, are inhibitory.
        no_self: whether units have no connection to themselves: the diagonal of Wpos is 0 and stays so.
        radius: the spectral radius of the recurrent weights as they are drawn, with their signs; 1.5 if None.

    The others are those of `DannRNN`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        n_inhibitory: int | None = None,
        n_inhibitory_in: int = 0,
        no_self: bool = False,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        dynamics: Dynamics = "plain",
        kappa: Kappa = None,
        learned_state: bool = False,
        radius: float | None = None,
        few_inputs: bool = False,
        seed: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if n_inhibitory is None:
            n_inhibitory = -(-hidden_size // (RATIO + 1))
        self_and_time = {"no_self": no_self, **_in_time(dynamics, kappa, learned_state)}
        super().__init__(
            [
                _core.Shape.recurrent_columns(
                    d,
                    hidden_size,
                    n_inhibitory,
                    inhibitory_inputs=n_inhibitory if k > 0 else n_inhibitory_in,
                    signed=False,
                    **self_and_time,
                )
                for k, d in enumerate(_inputs(input_size, hidden_size, num_layers))
            ],
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            kappa=kappa,
            radius=radius,
            few_inputs=few_inputs,
            seed=seed,
            device=device,
            dtype=dtype,
        )


class PlainRNN(RNN):
    """Recurrent layers with weights of any sign: as `DannRNN` with `A(v; L) = v Lᵀ`, on the same kernels. Parameters are
    `layers.{k}.U [ne, d]`, `W [ne, ne]`, `b [ne]`, `h0 [ne]`. The arguments are those of `ColumnEIRNN`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        no_self: bool = False,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        dynamics: Dynamics = "plain",
        kappa: Kappa = None,
        learned_state: bool = False,
        radius: float | None = None,
        few_inputs: bool = False,
        seed: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        in_time = _in_time(dynamics, kappa, learned_state)
        super().__init__(
            [
                _core.Shape.recurrent_plain(d, hidden_size, no_self=no_self, **in_time)
                for d in _inputs(input_size, hidden_size, num_layers)
            ],
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            kappa=kappa,
            radius=radius,
            few_inputs=few_inputs,
            seed=seed,
            device=device,
            dtype=dtype,
        )


def _inputs(input_size: int, hidden_size: int, num_layers: int) -> list[int]:
    """The inputs of each layer."""
    if num_layers < 1:
        raise ShapeError(f"num_layers is {num_layers}: expected at least 1")
    return [input_size] + [hidden_size] * (num_layers - 1)
