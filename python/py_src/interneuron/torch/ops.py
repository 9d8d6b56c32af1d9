"""The operators that `torch.compile` and `torch.export` see: `interneuron::layer`, `interneuron::recurrent`, and what goes
back through them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from .. import _core

_library = torch.library.Library("interneuron", "DEF")  # type: ignore[no-untyped-call]
_library.define("layer(str shape, Tensor x, Tensor[] params) -> Tensor")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    "layer_backward(str shape, Tensor dh, Tensor x, Tensor[] params, bool needs_x, bool needs_params)"
    " -> (Tensor, Tensor[])"
)
_library.define(  # type: ignore[no-untyped-call]
    "recurrent(str shape, Tensor x, Tensor[] params, Tensor? noise, Tensor? states) -> Tensor"
)
_library.define(  # type: ignore[no-untyped-call]
    "recurrent_backward(str shape, Tensor dh, Tensor x, Tensor[] params, Tensor? noise, Tensor? states, bool needs_x,"
    " bool needs_params) -> (Tensor, Tensor, Tensor[])"
)


@functools.lru_cache(maxsize=1024)
def _parse(shape: str) -> _core.Shape:
    return _core.Shape.parse(shape)


@torch.library.impl(_library, "layer", "CPU")
def _layer(shape: str, x: Tensor, params: list[Tensor]) -> Tensor:
    return _core.forward(_parse(shape), x, params, torch.get_num_threads(), False)[0]  # type: ignore[no-any-return]


@torch.library.impl(_library, "layer_backward", "CPU")
def _layer_backward(
    shape: str, dh: Tensor, x: Tensor, params: list[Tensor], needs_x: bool, needs_params: bool
) -> tuple[Tensor, list[Tensor]]:
    threads, parsed = torch.get_num_threads(), _parse(shape)
    # What the forward pass kept is no tensor that a graph could hold, so it is made again.
    _, kept = _core.forward(parsed, x, params, threads, True)
    assert kept is not None
    dx, gradients = _core.backward(kept, dh, x, params, threads, needs_x, needs_params)
    return dx if dx is not None else x.new_empty(0), list(gradients or ())


@torch.library.register_fake("interneuron::layer", lib=_library)  # type: ignore[untyped-decorator]
def _fake_layer(shape: str, x: Tensor, params: list[Tensor]) -> Tensor:
    return x.new_empty((*x.shape[:-1], _parse(shape).outputs))


@torch.library.register_fake("interneuron::layer_backward", lib=_library)  # type: ignore[untyped-decorator]
def _fake_backward(
    shape: str, dh: Tensor, x: Tensor, params: list[Tensor], needs_x: bool, needs_params: bool
) -> tuple[Tensor, list[Tensor]]:
    dx = x.new_empty(x.shape) if needs_x else x.new_empty(0)
    return dx, [it.new_empty(it.shape) for it in params] if needs_params else []


def _setup_context(ctx: Any, inputs: tuple[str, Tensor, list[Tensor]], output: Tensor) -> None:
    shape, x, params = inputs
    ctx.shape = shape
    ctx.needs_params = [it.requires_grad for it in params]
    ctx.save_for_backward(x, *params)


def _backward(ctx: Any, dh: Tensor) -> tuple[None, Tensor | None, list[Tensor | None]]:
    x, *params = ctx.saved_tensors
    needs_x, needs_params = ctx.needs_input_grad[1], any(ctx.needs_params)
    dx, gradients = torch.ops.interneuron.layer_backward(ctx.shape, dh, x, params, needs_x, needs_params)
    wanted = [it if need else None for it, need in zip(gradients, ctx.needs_params)] if needs_params else None
    return None, dx if needs_x else None, wanted or [None] * len(params)


torch.library.register_autograd("interneuron::layer", _backward, setup_context=_setup_context, lib=_library)


@torch.library.impl(_library, "recurrent", "CPU")
def _recurrent(
    shape: str, x: Tensor, params: list[Tensor], noise: Tensor | None, states: Tensor | None
) -> Tensor:
    sequences = _core.Sequences(x, noise=noise, states=states)
    return _core.forward(_parse(shape), sequences, params, torch.get_num_threads(), False)[0]  # type: ignore[no-any-return]


@torch.library.impl(_library, "recurrent_backward", "CPU")
def _recurrent_backward(
    shape: str,
    dh: Tensor,
    x: Tensor,
    params: list[Tensor],
    noise: Tensor | None,
    states: Tensor | None,
    needs_x: bool,
    needs_params: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    threads, sequences = torch.get_num_threads(), _core.Sequences(x, noise=noise, states=states)
    _, kept = _core.forward(_parse(shape), sequences, params, threads, True)
    assert kept is not None
    dx, dstates, gradients = _core.backward_through_time(kept, dh, sequences, params, threads, needs_x, needs_params)
    return dx if dx is not None else x.new_empty(0), dstates, list(gradients or ())


@torch.library.register_fake("interneuron::recurrent", lib=_library)  # type: ignore[untyped-decorator]
def _fake_recurrent(
    shape: str, x: Tensor, params: list[Tensor], noise: Tensor | None, states: Tensor | None
) -> Tensor:
    return x.new_empty((*x.shape[:-1], _parse(shape).outputs))


@torch.library.register_fake("interneuron::recurrent_backward", lib=_library)  # type: ignore[untyped-decorator]
def _fake_recurrent_backward(
    shape: str,
    dh: Tensor,
    x: Tensor,
    params: list[Tensor],
    noise: Tensor | None,
    states: Tensor | None,
    needs_x: bool,
    needs_params: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    dx = x.new_empty(x.shape) if needs_x else x.new_empty(0)
    dstates = x.new_empty((x.shape[1], _parse(shape).recurrent_units))
    return dx, dstates, [it.new_empty(it.shape) for it in params] if needs_params else []


def _setup_recurrent(
    ctx: Any, inputs: tuple[str, Tensor, list[Tensor], Tensor | None, Tensor | None], output: Tensor
) -> None:
    shape, x, params, noise, states = inputs
    ctx.shape = shape
    ctx.needs_params = [it.requires_grad for it in params]
    ctx.save_for_backward(x, noise, states, *params)


def _back_through_time(ctx: Any, dh: Tensor) -> tuple[None, Tensor | None, list[Tensor | None], None, Tensor | None]:
    x, noise, states, *params = ctx.saved_tensors
    _, needs_x, _, _, needs_states = ctx.needs_input_grad
    needs_params = any(ctx.needs_params)
    dx, dstates, gradients = torch.ops.interneuron.recurrent_backward(
        ctx.shape, dh, x, params, noise, states, needs_x, needs_params
    )
    wanted = [it if need else None for it, need in zip(gradients, ctx.needs_params)] if needs_params else None
    of_states = dstates if needs_states else None
    return None, dx if needs_x else None, wanted or [None] * len(params), None, of_states


torch.library.register_autograd(
    "interneuron::recurrent", _back_through_time, setup_context=_setup_recurrent, lib=_library
)
