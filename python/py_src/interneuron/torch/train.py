"""A whole step of training in one call."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .. import _core
from .functional import Loss, target
from .modules import Layer, chained
from .optim import LayerOptimizer, check_not_distributed, increment_version
from .recurrent import RNN


def layers(model: nn.Module) -> list[Layer]:
    """The layers of a network of this package's layers alone.

    Raises:
        TypeError: another module is among them, but for an `nn.Flatten` at the beginning.
        ValueError: a recurrent module has inputs with the batch first, or dropout.
    """
    if isinstance(model, Layer):
        return [model]
    if isinstance(model, RNN):
        if model.batch_first:
            raise ValueError("model is batch_first: expected a module of inputs [T, B, d], as a whole step has them")
        if model.dropout and model.num_layers > 1:
            raise ValueError(f"model has the dropout {model.dropout}: expected 0, as a whole step has none")
        return [it for it in model.layers if isinstance(it, Layer)]
    if not isinstance(model, (nn.Sequential, nn.ModuleList)):
        raise TypeError(
            f"model is a {type(model).__name__}: expected an nn.Sequential of layers of interneuron.torch, or an nn.ModuleList "
            "where some are recurrent"
        )
    found: list[Layer] = []
    for name, module in model.named_children():
        if isinstance(module, (Layer, RNN, nn.Sequential)):
            found += layers(module)
        elif not (isinstance(module, nn.Flatten) and not found):
            raise TypeError(
                f"model[{name}] is a {type(module).__name__}: expected layers of interneuron.torch alone, as a whole step "
                "runs through all of them; others are trained by backward() and an optimiser's step()"
            )
    return found


def _prepare(model: nn.Module, optimizer: LayerOptimizer) -> tuple[_core.Plan, list[Layer], list[_core.State], _core.Update]:
    """The passes through a network, its layers, what steps keep of them, and the update of all."""
    found = layers(model)
    if not found:
        raise TypeError("model has no layer: expected layers of interneuron.torch")
    entries = {id(entry.layer): entry for entry in optimizer._entries}
    for layer in found:
        if id(layer) not in entries:
            raise ValueError(f"the optimiser has not the layer {layer.shape}: expected one of model.parameters()")
    used = [entries[id(layer)] for layer in found]
    for entry in used:
        entry.check_roles()
    numbers = used[0].numbers(optimizer)
    for entry in used[1:]:
        joined = numbers.joined(entry.numbers(optimizer))
        if joined is None:
            raise ValueError(
                f"the layers {used[0].layer.shape} and {entry.layer.shape} have updates of their own: expected the same learning "
                "rates, numbers and frozen parameters in all layers, or backward() and step()"
            )
        numbers = joined
    dtype = str(found[0].arrays()[0].dtype).removeprefix("torch.")
    plan = _core.Plan(chained(found), dtype)  # type: ignore[arg-type]
    return plan, found, [entry.state for entry in used], numbers.update()


def train_step(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: LayerOptimizer,
    *,
    loss: Loss = "cross_entropy",
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    noise: Tensor | Mapping[int, Tensor] | None = None,
    states: Tensor | Mapping[int, Tensor] | None = None,
) -> float:
    """Forward, loss, backward and update in one call, with the bits of the three calls; returns the loss before the step.

    Args:
        model: an `nn.Sequential` of layers of this package, perhaps after an `nn.Flatten`; with recurrent modules, an
            `nn.ModuleList` of them and of the layers above.
        x: examples `[B, d]`; with recurrent modules, sequences `[T, B, d]`.
        y: labels `[B]`, or what `target` takes; with recurrent modules, steps come before examples. `weights [T, B]` then
            choose the steps that count.
        optimizer: one of this package, with the same numbers for all layers.
        noise, states: of recurrent layers, as `interneuron.Sequences` has them: `[T, B, ne]` and `[B, ne]`, by the number of
            the layer if several are recurrent.

    Raises:
        Diverged: the loss is not finite; nothing was changed.
        DivisorError: divisors are below ε; nothing was changed.
    """
    check_not_distributed(optimizer._local)
    optimizer.refresh()
    optimizer._is_fresh = False
    prepared = optimizer._whole.get(id(model))
    if prepared is None or prepared[0] is not model or prepared[2] != layers(model):
        prepared = optimizer._whole[id(model)] = (model, *_prepare(model, optimizer))
    _, plan, found, kept, update = prepared
    arrays = [layer.arrays() for layer in found]
    is_recurrent = any(layer.shape.dynamics is not None for layer in found)
    inputs = x if is_recurrent or x.ndim <= 2 else x.reshape(len(x), -1)
    with torch.no_grad():
        if found[0].shape.inhibitory_inputs:
            # To the kernels inputs bring their signs along.
            inputs = inputs * found[0].get_buffer("sign").to(inputs.dtype)
        sequences = inputs if noise is None and states is None else _core.Sequences(inputs, noise=noise, states=states)
        value = plan.train_step(
            arrays,
            kept,
            optimizer._train_state,
            sequences,
            target(y, loss, weights=weights, mask=mask, label_smoothing=label_smoothing),
            update,
            torch.get_num_threads(),
        )
    increment_version([array for layer in arrays for array in layer])
    # Schedulers look for it, and warn of an optimiser that took no step before they do.
    optimizer._opt_called = True  # type: ignore[attr-defined]
    return value
