"""Every kind of layer in ordinary torch operations.

These are the equations that the kernels compute, written with what torch has: they can be differentiated any
number of times, run on any device and in any floating-point dtype, and go through `vmap`, `torch.func` and
`torch.compile`. They are slower than the kernels, take their place where those cannot go, and are what the
tests hold them against.

Letters: `x [..., d]` inputs, `d` of them; `ne` outputs; `ni` interneurons; `f` is ReLU
(`nonlinearity="relu"`) or the identity (`None`). Arrays have the names and the dimensions of the Rust crate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DtypeError, InvalidValue, ShapeError

__all__ = [
    "EPSILON",
    "NORM_EPSILON",
    "ROOT_EPSILON",
    "batch_norm_linear",
    "column_linear",
    "dann_linear",
    "inhibition",
    "layer",
    "layer_norm_linear",
    "linear",
    "recurrent",
]

Nonlinearity = Literal["relu"] | None
Divisor = Literal["plain", "root"] | float | None

EPSILON = 1e-8
"""What is added to a divisor: that of an example whose interneurons are silent."""
ROOT_EPSILON = 1e-5
"""What is added under the root, where a root divides."""
NORM_EPSILON = 1e-5
"""What is added to the variance in layer and batch normalisation."""

_DIMENSIONS: dict[str, tuple[str, ...]] = {
    "Wex": ("ne", "d"),
    "Wix": ("ni", "d"),
    "Wei": ("ne", "ni"),
    "alpha": ("ni",),
    "g": ("ne",),
    "b": ("ne",),
    "W": ("ne", "d"),
    "Wpos": ("ne", "d"),
    "sign": ("d",),
    "running_mean": ("ne",),
    "running_var": ("ne",),
}


def dann_linear(
    x: Tensor,
    Wex: Tensor,
    Wix: Tensor,
    Wei: Tensor,
    alpha: Tensor | None = None,
    g: Tensor | None = None,
    b: Tensor | None = None,
    *,
    nonlinearity: Nonlinearity = "relu",
    divisor: Divisor = "plain",
) -> Tensor:
    """A layer whose interneurons inhibit it.

    ```text
    zI = x Wixᵀ      γ = (exp(alpha) ⊙ zI) Weiᵀ + 1e-8      ẑ = (x Wexᵀ − zI Weiᵀ) / γ      h = f(g ⊙ ẑ + b)
    ```

    Without `alpha` and `g` inhibition only subtracts: `h = f(x Wexᵀ − zI Weiᵀ + b)`.

    Args:
        x: `[..., d]`
        Wex: `[ne, d]`, ≥ 0
        Wix: `[ni, d]`, ≥ 0
        Wei: `[ne, ni]`, ≥ 0
        alpha: `[ni]`, the logarithm of the strength of division. It comes with `g`, or neither does.
        g: `[ne]`, gain, ≥ 0
        b: `[ne]`, bias
        nonlinearity: `"relu"` or `None`
        divisor: `"plain"` as above; `"root"`: `γ = √((exp(alpha) ⊙ zI)² Weiᵀ + 1e-5)`; a number: the plain
            `γ`, and that number where `γ` is below it, through which no gradient goes.

    Returns:
        `h [..., ne]`
    """
    if (alpha is None) != (g is None):
        there, missing = ("g", "alpha") if alpha is None else ("alpha", "g")
        raise InvalidValue(f"{missing} is None and {there} is not: expected both (division), or neither")
    _check(x, Wex=Wex, Wix=Wix, Wei=Wei, alpha=alpha, g=g, b=b)
    _, _, zhat = _inhibited(x, Wex, Wix, Wei, alpha, divisor)
    return _activated(_affine(zhat, g, b), nonlinearity)


def inhibition(
    x: Tensor,
    Wex: Tensor,
    Wix: Tensor,
    Wei: Tensor,
    alpha: Tensor | None = None,
    *,
    divisor: Divisor = "plain",
) -> dict[str, Tensor]:
    """What the interneurons of [`dann_linear`][interneuron.torch.composed.dann_linear] do.

    Returns:
        `zi [..., ni]`, the activity of the interneurons; `zhat [..., ne]`, the inhibited excitation before
        gain and bias; `gamma [..., ne]`, what divides, 1 where nothing does.
    """
    _check(x, Wex=Wex, Wix=Wix, Wei=Wei, alpha=alpha)
    zi, gamma, zhat = _inhibited(x, Wex, Wix, Wei, alpha, divisor)
    return {"zi": zi, "zhat": zhat, "gamma": torch.ones_like(zhat) if gamma is None else gamma}


def linear(x: Tensor, W: Tensor, b: Tensor | None = None, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """A plain layer, `h = f(x Wᵀ + b)`, with `W [ne, d]` and `b [ne]`; `h [..., ne]`."""
    _check(x, W=W, b=b)
    return _activated(F.linear(x, W, b), nonlinearity)


def column_linear(
    x: Tensor,
    Wpos: Tensor,
    b: Tensor | None = None,
    sign: Tensor | None = None,
    *,
    inhibitory_outputs: int = 0,
    nonlinearity: Nonlinearity = "relu",
) -> Tensor:
    """A layer whose inputs are excitatory or inhibitory: `h = s f((sign ⊙ x) Wposᵀ + b)`.

    Args:
        x: `[..., d]`
        Wpos: `[ne, d]`, ≥ 0
        b: `[ne]`, bias
        sign: `[d]` of +1 and −1; `None` where x brings its signs, as the kernels have it.
        inhibitory_outputs: For how many of the outputs, the last ones, `s` is −1. So units hand on what they
            do with their own sign, and the next layer has no `sign`.
        nonlinearity: `"relu"` or `None`

    Returns:
        `h [..., ne]`
    """
    _check(x, Wpos=Wpos, b=b, sign=sign)
    ne = Wpos.shape[0]
    if not 0 <= inhibitory_outputs <= ne:
        raise ShapeError(f"inhibitory_outputs is {inhibitory_outputs}: expected from 0 to ne = {ne}")
    h = _activated(F.linear(x if sign is None else x * sign, Wpos, b), nonlinearity)
    if inhibitory_outputs == 0:
        return h
    excitatory = ne - inhibitory_outputs
    return torch.cat([h[..., :excitatory], -h[..., excitatory:]], dim=-1)


def layer_norm_linear(
    x: Tensor,
    W: Tensor,
    g: Tensor | None = None,
    b: Tensor | None = None,
    *,
    nonlinearity: Nonlinearity = "relu",
) -> Tensor:
    """A layer that is normalised over its units.

    ```text
    u = x Wᵀ      h = f(g ⊙ (u − mean(u)) / √(var(u) + 1e-5) + b)
    ```

    The mean and the variance (divided by `ne`) are those of the units of one example. `W [ne, d]`, `g [ne]`,
    `b [ne]`; `h [..., ne]`.
    """
    _check(x, W=W, g=g, b=b)
    u = F.linear(x, W)
    return _activated(_affine(_standardised(u, *_moments(u, -1)), g, b), nonlinearity)


def batch_norm_linear(
    x: Tensor,
    W: Tensor,
    g: Tensor | None,
    b: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    training: bool,
    nonlinearity: Nonlinearity = "relu",
) -> tuple[Tensor, Tensor, Tensor]:
    """A layer that is normalised over its batch.

    ```text
    u = x Wᵀ      h = f(g ⊙ (u − mean(u)) / √(var(u) + 1e-5) + b)
    ```

    In training the mean and the variance (divided by `B`) are those of each unit in all `B` examples, which
    are all that the leading dimensions of x count; else they are the running ones. No array is changed.

    Returns:
        `h [..., ne]`, and what running statistics are to take in, without gradients: the mean `[ne]` and the
        variance `[ne]` of the batch, that divided by `B − 1` (by 1 if there is one example). Not in training,
        the running ones.
    """
    _check(x, W=W, g=g, b=b, running_mean=running_mean, running_var=running_var)
    u = F.linear(x, W)
    mean, variance = running_mean, running_var
    statistics = mean, variance
    if training:
        rows = u.reshape(-1, W.shape[0])
        examples = rows.shape[0]
        if examples == 0:
            raise ShapeError(
                f"x is {list(x.shape)}: expected an example at least, as batches have no mean without one"
            )
        mean, variance = _moments(rows, 0)
        mean, variance = mean.squeeze(0), variance.squeeze(0)
        statistics = mean.detach(), variance.detach() * (examples / max(examples - 1, 1))
    return _activated(_affine(_standardised(u, mean, variance), g, b), nonlinearity), *statistics


def layer(shape: Any, x: Tensor, params: Sequence[Tensor], *, training: bool = True) -> Tensor:
    """The layer that a shape describes, with its parameters in their order.

    Args:
        shape: What a layer is, as `interneuron._core.Shape` says it. Layers of sign-constrained columns get
            inputs that bring their signs, as the kernels do.
        x: `[..., d]`
        params: The arrays that such a layer has.
        training: Whether batch normalisation goes by its batch. Running statistics are not changed.

    Returns:
        `h [..., ne]`
    """
    nonlinearity: Nonlinearity = "relu" if shape.relu else None
    match shape.kind:
        case "dann":
            division = ("alpha", "g") if shape.divisive else ()
            named = _named(shape, params, "Wex", "Wix", "Wei", *division, "b")
            return dann_linear(x, **named, nonlinearity=nonlinearity, divisor=shape.divisor)
        case "linear":
            return linear(x, **_named(shape, params, "W", "b"), nonlinearity=nonlinearity)
        case "columns":
            named, negative = _named(shape, params, "Wpos", "b"), shape.inhibitory_outputs
            return column_linear(x, **named, inhibitory_outputs=negative, nonlinearity=nonlinearity)
        case "layer_norm":
            return layer_norm_linear(x, **_named(shape, params, "W", "g", "b"), nonlinearity=nonlinearity)
        case "batch_norm":
            named = _named(shape, params, "W", "g", "b", "running_mean", "running_var")
            return batch_norm_linear(x, **named, training=training, nonlinearity=nonlinearity)[0]
        case kind:
            kinds = "dann, linear, columns, layer_norm or batch_norm"
            raise InvalidValue(f"shape.kind is {kind!r}: expected {kinds}")


def recurrent(
    shape: Any,
    x: Tensor,
    params: Sequence[Tensor],
    *,
    noise: Tensor | None = None,
    states: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrent layer that a shape describes, with its parameters in their order.

    ```text
    z_t = A(x_t; U) + A(h_{t−1}; W) + b + ξ_t
    plain   h_t = f(z_t)                                    f = ReLU
    rate    h_t = (1−κ) h_{t−1} + κ f(z_t)
    state   v_t = (1−κ) v_{t−1} + κ z_t,   h_t = f(v_t)     h0 is v_0 then
    ```

    The leg A(v; L) is a layer with interneurons before its bias and ReLU, `Lg ⊙ (v Lexᵀ − I Leiᵀ) / γ`;
    `v D Lposᵀ` with columns of one sign; or `v Lᵀ`.

    Args:
        shape: What a layer is, as `interneuron._core.Shape` says it. Inputs of sign-constrained columns bring
            their signs, as to the kernels, and a signed layer hands them on.
        x: `[T, B, d]`
        params: The arrays that such a layer has.
        noise: ξ `[T, B, ne]`, zero if None.
        states: Where each example begins, `[B, ne]`, in the place of `h0`.

    Returns:
        `h [T, B, visible]`, and the states in which the sequences end, `[B, ne]`: `h_T` without signs, or `v_T`
        in the state form.
    """
    described = shape.parameters
    arrays = _named(shape, params, *(name for name, *_ in described))
    ne = shape.recurrent_units
    if x.dim() != 3 or x.shape[0] == 0 or x.shape[2] != shape.inputs:
        raise ShapeError(f"x is {list(x.shape)}: expected [T, B, {shape.inputs}], with at least one step")
    steps, examples, _ = x.shape
    sizes = {name: tuple(size) for name, size, *_ in described}
    sizes.update(noise=(steps, examples, ne), states=(examples, ne))
    for name, array in {**arrays, "noise": noise, "states": states}.items():
        if array is None:
            continue
        if tuple(array.shape) != sizes[name]:
            said = f"{name} is {list(array.shape)}: expected {list(sizes[name])}"
            raise ShapeError(f"{said} beside x {list(x.shape)}")
        if array.dtype != x.dtype and not _autocast(x.device.type):
            said = f"{name} is {array.dtype} and x is {x.dtype}"
            raise DtypeError(f"{said}: expected one dtype, for instance by x.to({array.dtype})")

    if shape.no_self:
        # The diagonal is 0 and has no gradient.
        own = "W" if shape.kind == "recurrent_plain" else "Wpos"
        arrays[own] = arrays[own] * (1 - torch.eye(ne, dtype=x.dtype, device=x.device))

    def leg(v: Tensor, letter: str) -> Tensor:
        if shape.kind == "recurrent_plain":
            return F.linear(v, arrays[letter])
        if shape.kind == "recurrent_columns":
            return F.linear(v, arrays[f"{letter}pos"])
        ex, ix, ei = (arrays[letter + name] for name in ("ex", "ix", "ei"))
        g = arrays.get(f"{letter}g")
        _, _, zhat = _inhibited(v, ex, ix, ei, arrays.get(f"{letter}alpha"), shape.divisor)
        return zhat if g is None else g * zhat

    signs = x.new_ones(ne)
    signs[ne - shape.inhibitory_units :] = -1
    kappa: Any = arrays.get("kappa", shape.kappa)
    state = arrays["h0"].expand(examples, ne) if states is None else states
    drive = leg(x, "U") + arrays["b"]
    if noise is not None:
        drive = drive + noise
    # In half precision a quotient of nothing by next to nothing has no gradient.
    is_half = x.dtype in (torch.float16, torch.bfloat16)
    is_silent = is_half and states is None and not shape.learned_state and not arrays["h0"].any()
    outputs = []
    h = torch.relu(state) if shape.dynamics == "state" else state
    for step, z in enumerate(drive):
        if not (is_silent and step == 0):
            z = z + leg(h * signs if shape.inhibitory_units else h, "W")
        if shape.dynamics == "state":
            state = (1 - kappa) * state + kappa * z
            h = torch.relu(state)
        elif shape.dynamics == "rate":
            state = h = (1 - kappa) * h + kappa * torch.relu(z)
        else:
            state = h = torch.relu(z)
        outputs.append(h)
    h = torch.stack(outputs)
    if shape.signed and shape.inhibitory_units:
        h = h * signs
    return h[..., : shape.outputs], state


def _named(shape: Any, params: Sequence[Tensor], *names: str) -> dict[str, Tensor]:
    if len(params) != len(names):
        raise ShapeError(
            f"params has {len(params)} arrays: expected {len(names)} for {shape}: {', '.join(names)}"
        )
    return dict(zip(names, params))


def _check(x: Tensor, **arrays: Tensor | None) -> None:
    """Raises unless the arrays have the dimensions of their letters, `d` being that of x, and the dtype of x.

    Without it torch would broadcast a bias `[ne, 1]`, and promote an f64 bias of an f32 layer, in silence.
    """
    if x.dim() == 0:
        raise ShapeError("x is a number: expected [..., d]")
    sizes = {"d": x.shape[-1]}
    for name, array in arrays.items():
        if array is None:
            continue
        letters = _DIMENSIONS[name]
        if array.dim() == len(letters):
            for letter, size in zip(letters, array.shape):
                sizes.setdefault(letter, size)
        if list(array.shape) != [sizes.get(letter) for letter in letters]:
            expected = ", ".join(
                f"{letter} = {sizes[letter]}" if letter in sizes else letter for letter in letters
            )
            raise ShapeError(f"{name} is {list(array.shape)}: expected [{expected}] beside x {list(x.shape)}")
        if array.dtype != x.dtype and not _autocast(x.device.type):
            said = f"{name} is {array.dtype} and x is {x.dtype}"
            raise DtypeError(f"{said}: expected one dtype, for instance by x.to({array.dtype})")


def _autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _inhibited(
    x: Tensor, Wex: Tensor, Wix: Tensor, Wei: Tensor, alpha: Tensor | None, divisor: Divisor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """`zI`, `γ` (none where nothing divides) and `ẑ`."""
    floor = _floor(divisor)
    zi = F.linear(x, Wix)
    difference = F.linear(x, Wex) - F.linear(zi, Wei)
    if alpha is None:
        if divisor not in ("plain", None):
            raise InvalidValue(
                f"divisor is {divisor!r} and alpha is None: expected alpha and g, or nothing divides"
            )
        return zi, None, difference
    if divisor is None:
        raise InvalidValue(
            "divisor is None and alpha is not: expected 'plain', 'root' or a number, or no alpha and g"
        )
    strength = alpha.exp() * zi
    if divisor == "root":
        gamma = (F.linear(strength.square(), Wei) + ROOT_EPSILON).sqrt()
    else:
        # Half precision has no 1e-8: it would be 0, and the quotient of a silent example NaN.
        gamma = F.linear(strength, Wei)
        gamma = gamma + max(EPSILON, torch.finfo(gamma.dtype).smallest_normal)
        if floor is not None:
            # Not `clamp`, which has a gradient of 0 for NaN, too.
            gamma = gamma.masked_fill(gamma < floor, floor)
    return zi, gamma, difference / gamma


def _floor(divisor: Divisor) -> float | None:
    """The least divisor, if there is one."""
    if divisor in ("plain", "root", None):
        return None
    if isinstance(divisor, (str, bool)) or not 1e-30 <= divisor <= 1e30:
        raise InvalidValue(f"divisor is {divisor!r}: expected 'plain', 'root', or a floor from 1e-30 to 1e30")
    return float(divisor)


def _moments(u: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and variance over a dimension, which stays. No `var`, which warns of a batch without examples."""
    mean = u.mean(dim, keepdim=True)
    return mean, (u - mean).square().mean(dim, keepdim=True)


def _standardised(u: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (u - mean) / (variance + NORM_EPSILON).sqrt()


def _affine(zhat: Tensor, g: Tensor | None, b: Tensor | None) -> Tensor:
    z = zhat if g is None else g * zhat
    return z if b is None else z + b


def _activated(z: Tensor, nonlinearity: Nonlinearity) -> Tensor:
    if nonlinearity is None:
        return z
    if nonlinearity != "relu":
        raise InvalidValue(f"nonlinearity is {nonlinearity!r}: expected 'relu' or None")
    return torch.relu(z)
