"""Checkpoints of the Rust crate, as modules and optimisers of PyTorch."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import torch
from torch import Tensor, nn

from .. import _core, checkpoint
from .modules import Layer, chained, from_shapes
from .optim import LayerOptimizer
from .train import layers


@dataclasses.dataclass
class Checkpoint:
    """What a file holds beside the network: the seed, the steps taken, what is done to inputs before."""

    model: nn.Sequential
    seed: int
    steps: int
    scaler: tuple[list[float], list[float]] | None
    _states: list[_core.State]
    _train_state: _core.TrainState

    def restore(self, optimizer: LayerOptimizer) -> None:
        """Hands an optimiser of the model's parameters what steps have kept of them, so that it goes on to the same bits."""
        entries = {id(entry.layer): entry for entry in optimizer._entries}
        for layer, state in zip(layers(self.model), self._states, strict=True):
            if id(layer) not in entries:
                raise ValueError(f"the optimiser has not the layer {layer.shape}: expected one of model.parameters()")
            entries[id(layer)].state = state.copy()
        optimizer._train_state = self._train_state.copy()
        optimizer._whole.clear()


def save(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: LayerOptimizer | None = None,
    *,
    seed: int = 0,
    scaler: tuple[list[float], list[float]] | None = None,
) -> None:
    """Saves a network of this package's layers, and what an optimiser keeps, as a file that the Rust crate loads.

    The file is there whole or not at all. Raises `interneuron.errors.CheckpointError`.
    """
    found = layers(model)
    entries = {id(entry.layer): entry.state for entry in optimizer._entries} if optimizer is not None else {}
    arrays = [[it.detach().contiguous() for it in layer.arrays()] for layer in found]
    states = [entries.get(id(layer)) or _state(layer) for layer in found]
    train_state = optimizer._train_state if optimizer is not None else _core.TrainState(seed)
    _core.save(os.fspath(path), chained(found), arrays, states, train_state, seed, scaler)


def _state(layer: Layer) -> _core.State:
    dtype = str(layer.arrays()[0].dtype).removeprefix("torch.")
    return _core.State(layer.shape, dtype)  # type: ignore[arg-type]


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Loads a network from a checkpoint of the Rust crate. Raises `interneuron.errors.CheckpointError`."""
    dtype = checkpoint.dtype(path)
    shapes, _, params, states, train_state, seed, scaler = _core.load(os.fspath(path), dtype)
    model = from_shapes(shapes, seed=0, dtype=getattr(torch, dtype))
    with torch.no_grad():
        for layer, arrays in zip(model, params, strict=True):
            for to, of in zip(_arrays(layer), arrays, strict=True):
                to.copy_(torch.from_numpy(of))
    return Checkpoint(model, seed, train_state.steps, scaler, states, train_state)


def _arrays(layer: Any) -> tuple[Tensor, ...]:
    assert isinstance(layer, Layer)
    return layer.arrays()
