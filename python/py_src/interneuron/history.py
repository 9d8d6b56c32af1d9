"""What networks did: numbers of each epoch, and statistics of each layer."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]
    import xarray

Floats = npt.NDArray[np.float64]


class LowDivisors(NamedTuple):
    """How many divisors were below their bound, of how many in all, and the smallest of them, None if there
    was none."""

    low: int
    all: int
    smallest: float | None


class StepStatistics(NamedTuple):
    """What the units of a recurrent layer that go out did, a number for each step."""

    mean: tuple[float, ...]
    """The mean of h over units and examples."""
    variance: tuple[float, ...]
    """Its variance."""
    active: tuple[float, ...]
    """The part of units and examples in which h is not zero, from 0 to 1."""


@dataclass(frozen=True)
class LayerStatistics:
    """What a layer did on some examples: numbers that studies of such networks look at. None where it does
    not apply."""

    zhat_mean: float | None
    """Mean of the standardised excitation ẑ over units and examples, for layers that divide or normalise."""
    zhat_variance: float | None
    """Its variance."""
    gamma_min: float | None
    """The least divisor γ, for layers that divide."""
    gamma_max: float | None
    """The largest."""
    low_divisors: LowDivisors | None
    """How many divisors were below their bound, for layers that divide."""
    silent: float | None
    """The part of the units, from 0 to 1, that are zero for every example. None without ReLU."""
    zero_weights: float
    """The part of the weights that are zero."""
    cosine: float | None
    """The cosine between the step of projected descent, with the update's rate, corrections, factors and
    floor, and what the bound leaves of it: over parameters that keep their sign."""
    gradient_norms: dict[str, float]
    """The L2 norm of the gradient by each parameter, without corrections."""
    steps: StepStatistics | None = None
    """What the units did at each step, for recurrent layers."""
    radius: float | None = None
    """The spectral radius of what takes the states of a recurrent layer from one step to the next, without
    its leak: Wex − Wei Wix (before anything divides it), Wpos with the signs of the units, or W. Above 1,
    states and gradients may grow from step to step."""

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> "LayerStatistics":
        """From what `_core.Plan.inspect` says of a layer."""
        low, steps = numbers["low_divisors"], numbers["steps"]
        named = {
            "low_divisors": None if low is None else LowDivisors(*low),
            "steps": None if steps is None else StepStatistics(**{k: tuple(v) for k, v in steps.items()}),
        }
        return cls(**{**numbers, **named})


def arrays(statistics: Sequence[LayerStatistics]) -> dict[str, Floats]:
    """Statistics of the layers of a network as arrays [layers], by name, NaN where a layer has no such
    number. Low divisors are their part of all, gradients `gradient_norm_NAME`; what there is of each step is
    left out."""
    rows = []
    for layer in statistics:
        low = layer.low_divisors
        row: dict[str, float | None] = {
            "zhat_mean": layer.zhat_mean,
            "zhat_variance": layer.zhat_variance,
            "gamma_min": layer.gamma_min,
            "gamma_max": layer.gamma_max,
            "low_divisors": None if low is None or low.all == 0 else low.low / low.all,
            "silent": layer.silent,
            "zero_weights": layer.zero_weights,
            "cosine": layer.cosine,
            "radius": layer.radius,
        }
        row.update({f"gradient_norm_{name}": norm for name, norm in layer.gradient_norms.items()})
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    missing = math.nan

    def number(value: float | None) -> float:
        return missing if value is None else value

    return {name: np.array([number(row.get(name)) for row in rows]) for name in names}


@dataclass
class History:
    """Numbers of each epoch of a run, in columns: `epoch` from 1, `step` taken so far, `lr` of the last step,
    `loss`, the mean over the examples of the epoch before each step, `seconds` of the epoch, and with
    validation data `validation_loss` and `validation_error`, from 0 to 1. What a row has not is NaN.

    `history["loss"]` is a column as an array, `len(history)` how many epochs there are, iteration gives rows.
    """

    columns: dict[str, list[float]] = field(default_factory=dict)
    layers: list[list[LayerStatistics]] = field(default_factory=list)
    """Statistics of each layer after each epoch, if they were asked for."""

    def add(self, row: Mapping[str, float], layers: Sequence[LayerStatistics] | None = None) -> None:
        """Adds an epoch."""
        before = len(self)
        for name in row:
            self.columns.setdefault(name, [math.nan] * before)
        for name, column in self.columns.items():
            column.append(float(row.get(name, math.nan)))
        if layers is not None:
            self.layers.append(list(layers))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def __getitem__(self, name: str) -> Floats:
        if name not in self.columns:
            raise KeyError(
                f"{name!r}: expected one of {', '.join(self.columns) or 'none, as there is no epoch yet'}"
            )
        return np.array(self.columns[name])

    def __iter__(self) -> Iterator[dict[str, float]]:
        return ({name: column[k] for name, column in self.columns.items()} for k in range(len(self)))

    def frame(self) -> "pandas.DataFrame":
        """A DataFrame of pandas: a row for each epoch. Raises `ImportError` if pandas is not installed."""
        frame: pandas.DataFrame = _module("pandas", "History.frame").DataFrame(self.columns)
        return frame

    def dataset(self) -> "xarray.Dataset":
        """A Dataset of xarray: all columns by the dimension `step`, and statistics of layers, if there are
        any, by `step` and `layer`. Raises `ImportError` if xarray is not installed."""
        xr = _module("xarray", "History.dataset")
        steps = self.columns.get("step", [])
        data: dict[str, Any] = {name: ("step", self[name]) for name in self.columns if name != "step"}
        coordinates: dict[str, Any] = {"step": np.array(steps, dtype=np.int64)}
        if self.layers and len(self.layers) == len(self):
            of_epochs = [arrays(layers) for layers in self.layers]
            coordinates["layer"] = np.arange(len(self.layers[0]))
            for name in of_epochs[0]:
                data[name] = (("step", "layer"), np.stack([of_epoch[name] for of_epoch in of_epochs]))
        dataset: xarray.Dataset = xr.Dataset(data, coords=coordinates)
        return dataset


def _module(name: str, what: str) -> ModuleType:
    """A package that is not needed otherwise."""
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(
            f"{what} needs {name}, which is not installed: pip install {name}", name=name
        ) from None
