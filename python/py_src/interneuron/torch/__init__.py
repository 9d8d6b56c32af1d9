"""Layers, optimisers and whole steps for PyTorch on the kernels of interneuron.

>>> import torch, interneuron.torch as it
>>> model = it.mlp([784, 500, 10], [50, 1], seed=1)
>>> optimizer = it.CSGD(model, lr=0.1)
>>> loss = torch.nn.functional.cross_entropy(model(torch.rand(32, 784)), torch.randint(10, (32,)))
>>> loss.backward()
>>> optimizer.step()
"""

from . import checkpoint, composed, convert, functional, ops
from .functional import DivisorWarning, FallbackWarning, fallback, loss, target
from .modules import (
    BatchNormLinear,
    ColumnEILinear,
    DannLinear,
    Layer,
    LayerNormLinear,
    Linear,
    draw,
    from_shape,
    from_shapes,
    mlp,
)
from .optim import CSGD, EG, AdamW, AdamWEG, LayerOptimizer, NaturalGradient, average_parameters, param_groups
from .recurrent import ColumnEIRNN, DannRNN, PlainRNN, RecurrentLayer
from .train import train_step

__all__ = [
    "CSGD",
    "EG",
    "AdamW",
    "AdamWEG",
    "BatchNormLinear",
    "ColumnEILinear",
    "ColumnEIRNN",
    "DannLinear",
    "DannRNN",
    "DivisorWarning",
    "FallbackWarning",
    "Layer",
    "LayerNormLinear",
    "LayerOptimizer",
    "Linear",
    "NaturalGradient",
    "PlainRNN",
    "RecurrentLayer",
    "average_parameters",
    "checkpoint",
    "composed",
    "convert",
    "draw",
    "fallback",
    "from_shape",
    "from_shapes",
    "functional",
    "loss",
    "mlp",
    "ops",
    "param_groups",
    "target",
    "train_step",
]
