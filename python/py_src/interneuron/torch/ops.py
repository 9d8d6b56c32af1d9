"""The operators that `torch.compile` and `torch.export` see: `interneuron::layer` and its backward."""

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
