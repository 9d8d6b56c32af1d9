"""Layers as functions: the kernels where they can compute, and the same equations in PyTorch's operations elsewhere."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .. import _core
from . import composed

if TYPE_CHECKING:
    from .optim import Fused

Nonlinearity = Literal["relu"] | None
Divisor = Literal["plain", "root"] | float | None

# What a tensor is whose memory the kernels may use: a subclass may hold something else.
_PLAIN = {Tensor, torch.nn.Parameter, torch.nn.Buffer} if hasattr(torch.nn, "Buffer") else {Tensor, torch.nn.Parameter}
# The element types that the kernels have.
DTYPES = {torch.float32, torch.float64}
_peek = getattr(torch._C._functorch, "peek_interpreter_stack", lambda: None)
_is_compiling = torch.compiler.is_compiling
_forward, _backward = _core.forward, _core.backward
_get_num_threads = torch.get_num_threads
_is_grad_enabled = torch.is_grad_enabled
_duals: Any = forward_ad


class FallbackWarning(UserWarning):
    """A layer computes by PyTorch's operations, since the kernels have not what it takes."""


class DivisorWarning(UserWarning):
    """Divisors are below ε, so that divisive inhibition is negative somewhere."""


@dataclasses.dataclass(frozen=True)
class Described:
    """A shape in words and numbers of Python alone, which `torch.compile` can look into."""

    text: str
    kind: str
    outputs: int
    relu: bool
    divisive: bool = False
    divisor: Divisor = None
    inhibitory_outputs: int = 0
    last_is_output: bool = False


@functools.lru_cache(maxsize=1024)
def described(shape: _core.Shape) -> Described:
    """A shape in words."""
    return Described(
        str(shape),
        shape.kind,
        shape.outputs,
        shape.relu,
        shape.divisive,
        shape.divisor,
        shape.inhibitory_outputs,
        _last_is_output(shape),
    )


_fallback: Literal["error", "warn", "silent"] = "warn"


def fallback(what: Literal["error", "warn", "silent"]) -> None:
    """What happens where the kernels cannot compute (element types other than float32 and float64, other devices): an
    error, a `FallbackWarning` (the default), or nothing. Double backward and function transforms always go by
    PyTorch's operations."""
    global _fallback
    if what not in ("error", "warn", "silent"):
        raise ValueError(f'what is {what!r}: expected "error", "warn" or "silent"')
    _fallback = what


def _is_transformed() -> bool:
    """Whether more than outputs is asked for: by a transform of `torch.func`, or along with tangents, which go forward."""
    return _peek() is not None or _duals._current_level >= 0


def _fall_back(shape: _core.Shape, x: Tensor) -> None:
    text = (
        f"the layer {shape} computes by PyTorch's operations: there are no kernels for {x.dtype} on {x.device} "
        f"({type(x).__name__}); expected float32 or float64 on the CPU"
    )
    if _fallback == "error":
        raise TypeError(text)
    if _fallback == "warn":
        warnings.warn(text, FallbackWarning, stacklevel=4)


def _warn_of_divisors(shape: _core.Shape, low: tuple[int, int, float | None]) -> None:
    warnings.warn(
        f"the layer {shape} divides by numbers below ε: {low[0]} of {low[1]}, the smallest is {low[2]:.2e}. Divisive "
        "inhibition needs inputs >= 0: subtract from each input its smallest value in the training data, or choose "
        "another divisor (a floor such as 0.01, 'root', or None with exact centring)",
        DivisorWarning,
        stacklevel=5,
    )


class _Layer(torch.autograd.Function):
    # With `setup_context`, PyTorch would bind the signature anew in each call, which takes longer than small layers.
    @staticmethod
    def forward(
        ctx: Any, shape: _core.Shape, statistics: tuple[Tensor, ...], fused: Fused | None, x: Tensor, *params: Tensor
    ) -> Tensor:
        if fused is not None:
            fused.check(params)
        h, kept = _forward(shape, x, params + statistics, _get_num_threads(), True)
        assert kept is not None
        ctx.save_for_backward(x, *params)
        # Statistics may change before the backward pass, which does not need them as they are now.
        ctx.shape, ctx.statistics, ctx.fused, ctx.kept = shape, statistics, fused, kept
        low = kept.low_divisors()
        if low is not None and low[0] and shape.divisor == "plain":
            _warn_of_divisors(shape, low)
        return h  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Any, ...]:
        x, *params = ctx.saved_tensors
        _, _, _, needs_x, *needs = ctx.needs_input_grad
        if _is_grad_enabled():
            return None, None, None, *_differentiable(ctx, dh, x, params, [needs_x, *needs])
        if ctx.fused is not None:
            dx = ctx.fused.backward(ctx.kept, dh, x, ctx.statistics, needs_x)
            return None, None, None, dx, *(None,) * len(params)
        arrays = (*params, *ctx.statistics)
        dx, gradients = _backward(ctx.kept, dh, x, arrays, _get_num_threads(), needs_x, any(needs))
        if gradients is None:
            return None, None, None, dx, *(None,) * len(params)
        if ctx.statistics:
            gradients = _take_statistics(ctx.statistics, gradients)
        if not all(needs):
            gradients = tuple(it if need else None for it, need in zip(gradients, needs, strict=True))
        return None, None, None, dx, *gradients


def _differentiable(
    ctx: Any, dh: Tensor, x: Tensor, params: list[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients as PyTorch's operations make them, which can be differentiated once more."""
    if ctx.fused is not None:
        raise RuntimeError(
            "a fused update with create_graph=True: expected fused=False, since the gradients are spent in the update"
        )
    inputs = [x, *params]
    wanted = [it for it, need in zip(inputs, needs, strict=True) if need]
    # As the forward pass was computed, which autocast did not change.
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        h = composed.layer(ctx.shape, x, [*params, *ctx.statistics])
        gradients = torch.autograd.grad(h, wanted, dh, create_graph=True, allow_unused=True, materialize_grads=True)
    rest = iter(gradients)
    return [next(rest) if need else None for need in needs]


def _take_statistics(statistics: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Running statistics take in a tenth of those of the batch, which stand in the place of their gradients."""
    count = len(gradients) - len(statistics)
    with torch.no_grad():
        for running, of_batch in zip(statistics, gradients[count:], strict=True):
            # Each operation rounds by itself, as in the update of the kernels.
            running.sub_((running - of_batch).mul_(0.1))
    return gradients[:count]


def layer(shape: _core.Shape, x: Tensor, params: Sequence[Tensor], fused: Fused | None = None) -> Tensor:
    """`h [..., ne]` of `x [..., d]` by a layer of any kind but batch normalisation, with its arrays in the order of
    `shape.parameters`. Under `torch.compile` call `compiled`."""
    if x.dtype not in DTYPES or not x.is_cpu or type(x) not in _PLAIN or _is_transformed():
        return _elsewhere(shape, x, params, True, fused)
    if _is_grad_enabled() and _requires_grad(x, params):
        return _Layer.apply(shape, (), fused, x, *params)  # type: ignore[no-any-return]
    return _forward(shape, x, params, _get_num_threads(), False)[0]  # type: ignore[no-any-return]


def _last_is_output(shape: _core.Shape) -> bool:
    """Whether it is a recurrent layer whose last states are the outputs of the last step."""
    is_shown = shape.outputs == shape.recurrent_units and not (shape.signed and shape.inhibitory_units)
    return is_shown and shape.dynamics in ("plain", "rate")


class _Recurrent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        shape: _core.Shape,
        constants: tuple[Tensor, ...],
        fused: Fused | None,
        x: Tensor,
        noise: Tensor | None,
        states: Tensor | None,
        *params: Tensor,
    ) -> tuple[Tensor, Tensor]:
        if fused is not None:
            fused.check(params)
        sequences = _core.Sequences(x, noise=noise, states=states)
        threads = _get_num_threads()
        h, last, kept = _core.forward_through_time(shape, sequences, params + constants, threads, True)
        assert kept is not None
        ctx.save_for_backward(x, noise, states, *params)
        ctx.shape, ctx.constants, ctx.fused, ctx.kept = shape, constants, fused, kept
        # Most often there is no gradient by the last states.
        ctx.set_materialize_grads(False)
        low = kept.low_divisors()
        if low is not None and low[0] and shape.divisor == "plain":
            _warn_of_divisors(shape, low)
        return h, last

    @staticmethod
    def backward(ctx: Any, dh: Tensor | None, dlast: Tensor | None) -> tuple[Any, ...]:
        x, noise, states, *params = ctx.saved_tensors
        _, _, _, needs_x, _, needs_states, *needs = ctx.needs_input_grad
        shape: _core.Shape = ctx.shape
        if dh is None and dlast is None:
            return (None,) * (6 + len(params))
        if _is_grad_enabled() or (dlast is not None and not _last_is_output(shape)):
            dx, dstates, *gradients = _through_time(ctx, dh, dlast, [needs_x, needs_states, *needs])
            return None, None, None, dx, None, dstates, *gradients
        if dh is None:
            dh = x.new_zeros(*x.shape[:2], shape.outputs)
        if dlast is not None:
            dh = torch.cat([dh[:-1], (dh[-1] + dlast).unsqueeze(0)])
        sequences = _core.Sequences(x, noise=noise, states=states)
        if ctx.fused is not None:
            dx, dstates = ctx.fused.backward_through_time(ctx.kept, dh, sequences, ctx.constants, needs_x)
            return None, None, None, dx, None, dstates if needs_states else None, *(None,) * len(params)
        arrays = (*params, *ctx.constants)
        dx, dstates, by_params = _core.backward_through_time(
            ctx.kept, dh, sequences, arrays, _get_num_threads(), needs_x, any(needs)
        )
        wanted = [it if need else None for it, need in zip(by_params or params, needs)]
        return None, None, None, dx, None, dstates if needs_states else None, *wanted


def _through_time(
    ctx: Any, dh: Tensor | None, dlast: Tensor | None, needs: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients as PyTorch's operations make them: those that can be differentiated once more, and those by last states
    that are no outputs."""
    if ctx.fused is not None:
        raise RuntimeError(
            "a fused update with create_graph=True, or with a gradient by last states that are no outputs: expected "
            "fused=False, or last states that are detached"
        )
    x, noise, states, *params = ctx.saved_tensors
    once_more = _is_grad_enabled()
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        if not once_more:
            x, *params = [it.detach().requires_grad_(it.requires_grad) for it in (x, *params)]
            states = states if states is None else states.detach().requires_grad_(states.requires_grad)
        inputs = [it for it, need in zip((x, states, *params), needs, strict=True) if need]
        outputs = composed.recurrent(ctx.shape, x, [*params, *ctx.constants], noise=noise, states=states)
        pairs = [(it, d) for it, d in zip(outputs, (dh, dlast), strict=True) if d is not None]
        gradients = torch.autograd.grad(
            [it for it, _ in pairs],
            inputs,
            [d for _, d in pairs],
            create_graph=once_more,
            allow_unused=True,
            materialize_grads=True,
        )
    rest = iter(gradients)
    return [next(rest) if need else None for need in needs]


# What it keeps is no tensor that a graph could hold.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def recurrent(
    shape: _core.Shape,
    x: Tensor,
    params: Sequence[Tensor],
    *,
    noise: Tensor | None = None,
    states: Tensor | None = None,
    fused: Fused | None = None,
) -> tuple[Tensor, Tensor]:
    """`h [T, B, visible]` of `x [T, B, d]` by a recurrent layer, with its arrays in the order of `shape.parameters`, and the
    states `[B, ne]` in which the sequences end: see `composed.recurrent`.

    By PyTorch's operations go gradients by `noise`, and those by last states that are no outputs of the last step: in the
    state form, and of units that do not go out. Under `torch.compile` the graph breaks here; modules have an operator for
    the other forms.
    """
    if x.dtype not in DTYPES or not x.is_cpu or type(x) not in _PLAIN or _is_transformed():
        return _recurrent_elsewhere(shape, x, params, noise, states, fused)
    if not _is_grad_enabled():
        sequences = _core.Sequences(x, noise=noise, states=states)
        return _core.forward_through_time(shape, sequences, params, _get_num_threads(), False)[:2]
    if noise is not None and noise.requires_grad:
        return _recurrent_elsewhere(shape, x, params, noise, states, fused)
    if not _requires_grad(x, params) and (states is None or not states.requires_grad):
        with torch.no_grad():
            return recurrent(shape, x, params, noise=noise, states=states)  # type: ignore[no-any-return]
    moved = sum(role != "constant" for _, _, role, *_ in shape.parameters)
    constants = tuple(params[moved:])
    h, last = _Recurrent.apply(shape, constants, fused, x, noise, states, *params[:moved])
    return h, last


def compiled_recurrent(
    shape: Described, x: Tensor, params: Sequence[Tensor], noise: Tensor | None, states: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As `recurrent`, in a graph, by an operator: of a layer whose last states are outputs, in float32 or float64 on the CPU,
    without a gradient by noise."""
    h: Tensor = torch.ops.interneuron.recurrent(shape.text, x, list(params), noise, states)
    return h, h[-1]


def _recurrent_elsewhere(
    shape: _core.Shape,
    x: Tensor,
    params: Sequence[Tensor],
    noise: Tensor | None,
    states: Tensor | None,
    fused: Fused | None,
) -> tuple[Tensor, Tensor]:
    """As `_elsewhere`, for recurrent layers."""
    dtype = _kept_dtype(x, params)
    if dtype is not None:
        noise, states = (it if it is None else it.to(dtype) for it in (noise, states))
        return recurrent(shape, x.to(dtype), params, noise=noise, states=states, fused=fused)  # type: ignore[no-any-return]
    if fused is not None:
        raise RuntimeError("a fused update where the kernels cannot compute: expected fused=False")
    has_kernels = x.dtype in DTYPES and x.is_cpu and type(x) in _PLAIN
    if not has_kernels and not _is_transformed() and x.dtype == params[0].dtype:
        _fall_back(shape, x)
    return composed.recurrent(shape, x, params, noise=noise, states=states)


def _requires_grad(x: Tensor, params: Sequence[Tensor]) -> bool:
    if x.requires_grad:
        return True
    for array in params:
        if array.requires_grad:
            return True
    return False


def batch_norm_linear(
    shape: _core.Shape, x: Tensor, params: Sequence[Tensor], *, training: bool, fused: Fused | None = None
) -> Tensor:
    """As `layer`, for batch normalisation, by the statistics of the batch in training. The running ones, which come
    last among the arrays, take in those of the batch in the backward pass, or at once where none can follow."""
    if x.dtype not in DTYPES or not x.is_cpu or type(x) not in _PLAIN or _is_transformed():
        return _elsewhere(shape, x, params, training, fused)
    needs_gradient = _is_grad_enabled() and _requires_grad(x, params)
    if needs_gradient and training:
        return _Layer.apply(shape, tuple(params[-2:]), fused, x, *params[:-2])  # type: ignore[no-any-return]
    if needs_gradient or training:
        # What the kernels have not: a gradient through the running statistics, and those of a batch without one.
        with torch.autocast(x.device.type, enabled=False):
            return _composed(shape, x, params, training)
    return _forward(shape, x, params, _get_num_threads(), False)[0]  # type: ignore[no-any-return]


def compiled(
    shape: Described, x: Tensor, params: Sequence[Tensor], *, training: bool = True, fused: Fused | None = None
) -> Tensor:
    """As `layer`, in a graph: by an operator that graphs can hold, or by PyTorch's own."""
    if fused is not None:
        raise RuntimeError("a fused update under torch.compile: expected fused=False, and the optimiser's own step")
    if x.dtype in DTYPES and x.device.type == "cpu" and shape.kind != "batch_norm":
        return torch.ops.interneuron.layer(shape.text, x, list(params))  # type: ignore[no-any-return]
    return _composed(shape, x, params, training)


def _composed(shape: _core.Shape | Described, x: Tensor, params: Sequence[Tensor], training: bool) -> Tensor:
    """By PyTorch's operations. Running statistics take in those of a batch at once."""
    if shape.kind != "batch_norm" or not training:
        return composed.layer(shape, x, params, training=training)
    W, g, b, running_mean, running_var = params
    nonlinearity: Nonlinearity = "relu" if shape.relu else None
    h, mean, variance = composed.batch_norm_linear(
        x, W, g, b, running_mean, running_var, training=True, nonlinearity=nonlinearity
    )
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), 0.1)
        running_var.lerp_(variance.to(running_var.dtype), 0.1)
    return h


def _kept_dtype(x: Tensor, params: Sequence[Tensor]) -> torch.dtype | None:
    """The parameters' element type, if under autocast the kernels compute in it."""
    if _is_transformed() or not (x.is_cpu and x.is_floating_point() and torch.is_autocast_enabled("cpu")):
        return None
    return params[0].dtype if x.dtype not in DTYPES and params[0].dtype in DTYPES else None


def _elsewhere(
    shape: _core.Shape, x: Tensor, params: Sequence[Tensor], training: bool, fused: Fused | None
) -> Tensor:
    """What the kernels have not: by PyTorch's operations, or in the parameters' element type under autocast."""
    transformed, dtype = _is_transformed(), _kept_dtype(x, params)
    if dtype is not None:
        x = x.to(dtype)
        if shape.kind == "batch_norm":
            return batch_norm_linear(shape, x, params, training=training, fused=fused)
        return layer(shape, x, params, fused)
    if fused is not None:
        raise RuntimeError("a fused update where the kernels cannot compute: expected fused=False")
    if not transformed and x.dtype == params[0].dtype:
        # Two element types are an error of PyTorch's operations, too.
        _fall_back(shape, x)
    if transformed:
        # A function transform may run many batches at once, which share the running statistics.
        return composed.layer(shape, x, params, training=training)
    return _composed(shape, x, params, training)


@functools.lru_cache(maxsize=1024)
def _dann(d: int, ne: int, ni: int, relu: bool, divisor: Divisor) -> _core.Shape:
    return _core.Shape.dann(d, ne, ni, relu=relu, divisor=divisor)


def is_relu(nonlinearity: Nonlinearity) -> bool:
    """Whether there is a ReLU."""
    if nonlinearity not in ("relu", None):
        raise ValueError(f'nonlinearity is {nonlinearity!r}: expected "relu" or None')
    return nonlinearity == "relu"


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
    """`h = f(g (zE - s) / γ + b)`, with `zE = x Wexᵀ`, `zI = x Wixᵀ`, `s = zI Weiᵀ`, `γ = (exp(alpha) zI) Weiᵀ + ε`.

    `x [..., d]`, `Wex [ne, d]`, `Wix [ni, d]`, `Wei [ne, ni]`, `alpha [ni]`, `g [ne]`, `b [ne]`; without `alpha` and `g`,
    inhibition only subtracts: `h = f(zE - s + b)`. Without `b` there is no bias. Source: Cornford et al., ICLR 2021.
    """
    if (alpha is None) != (g is None):
        raise ValueError("alpha and g: expected both, or none of them where inhibition only subtracts")
    if Wex.ndim != 2 or Wix.ndim != 2:
        raise _shape_error(f"Wex and Wix have {Wex.ndim} and {Wix.ndim} dimensions: expected 2 of both")
    if b is None:
        b = Wex.new_zeros(Wex.shape[0])
    (ne, d), ni, relu = Wex.shape, Wix.shape[0], is_relu(nonlinearity)
    divides = None if alpha is None else divisor
    params = (Wex, Wix, Wei, b) if alpha is None or g is None else (Wex, Wix, Wei, alpha, g, b)
    if _is_compiling():
        text = f"dann:{d},{ne},{ni},{'relu' if relu else 'identity'},{'none' if divides is None else divides}"
        return compiled(Described(text, "dann", ne, relu, divides is not None, divides), x, params)
    return layer(_dann(d, ne, ni, relu, divides), x, params)


def column_linear(
    x: Tensor, Wpos: Tensor, b: Tensor, sign: Tensor, *, nonlinearity: Nonlinearity = "relu"
) -> Tensor:
    """`h = f(x (Wpos D)ᵀ + b)`, with `Wpos [n, m]`, `b [n]`, and the diagonal of D, `sign [m]`, of +1 and −1."""
    (n, m), relu = Wpos.shape, is_relu(nonlinearity)
    x = x * sign.to(x.dtype)
    if _is_compiling():
        text = f"columns:{m},{n},0,0,{'relu' if relu else 'identity'}"
        return compiled(Described(text, "columns", n, relu), x, (Wpos, b))
    return layer(_columns(m, n, relu), x, (Wpos, b))


@functools.lru_cache(maxsize=1024)
def _columns(m: int, n: int, relu: bool) -> _core.Shape:
    return _core.Shape.columns(m, n, relu=relu)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, outputs: Tensor, target: _core.Target) -> Tensor:
        loss, doutputs = _core.loss(outputs, target)
        ctx.save_for_backward(outputs)
        ctx.doutputs = doutputs
        return outputs.new_tensor(loss)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor, None]:
        # In the usual case a product with 1, which changes no bit.
        return ctx.doutputs * dloss, None


Loss = Literal["cross_entropy", "mse", "bce"]


def target(
    y: Tensor,
    loss: Loss = "cross_entropy",
    *,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> _core.Target:
    """What outputs are to be: integer labels `[B]`, or for "cross_entropy" probabilities, for "mse" values and for "bce"
    numbers from 0 to 1 `[B, K]`. `weights [B]` are of examples, a `mask [B, K]` of elements. Of outputs at every step,
    `[T, B, K]`, all of them have steps before examples."""
    kinds = {"cross_entropy": "probabilities" if y.is_floating_point() else "labels", "mse": "values", "bce": "binary"}
    if loss not in kinds:
        raise ValueError(f"loss is {loss!r}: expected one of {list(kinds)}")
    return _core.Target(kinds[loss], y, weights=weights, mask=mask, smoothing=label_smoothing)  # type: ignore[arg-type]


def loss(
    outputs: Tensor,
    y: Tensor,
    loss: Loss = "cross_entropy",
    *,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The mean loss of `outputs [B, K]`, with the bits that a whole step has: `F.cross_entropy`, `F.mse_loss` or
    `F.binary_cross_entropy_with_logits`, computed together with its gradient. On the CPU, in float32 or float64; for
    double backward and function transforms there are PyTorch's own."""
    goal = target(y, loss, weights=weights, mask=mask, label_smoothing=label_smoothing)
    return _Loss.apply(outputs, goal)  # type: ignore[no-any-return]


def _shape_error(text: str) -> Exception:
    from ..errors import ShapeError

    return ShapeError(text)
