"""What is done to inputs before a network sees them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InvalidValue, ShapeError

Floats = npt.NDArray[np.float64]

# Rows that are looked at together, so that sums in f64 need little memory.
_ROWS = 1024


class Scaler:
    """A map of each input, applied to training and test data alike: x' = (x − offset) ⊙ scale.

    `offset [d]` and `scale [d]` are of f64; they are rounded to the element type of x, in which the map is
    computed. Checkpoints hold it. Raises `ShapeError` if the two disagree or are empty, `InvalidValue` if an
    offset is not finite or a scale no finite number above 0.
    """

    offset: Floats
    scale: Floats

    def __init__(self, offset: npt.ArrayLike, scale: npt.ArrayLike):
        self.offset = np.array(offset, dtype=np.float64, ndmin=1)
        self.scale = np.array(scale, dtype=np.float64, ndmin=1)
        if self.offset.ndim != 1 or self.offset.shape != self.scale.shape or self.offset.size == 0:
            raise ShapeError(
                f"offset and scale have the shapes {self.offset.shape} and {self.scale.shape}: expected [d] "
                "of both"
            )
        _check_numbers("offset", self.offset, np.isfinite(self.offset), "a finite number")
        _check_numbers("scale", self.scale, np.isfinite(self.scale) & (self.scale > 0), "a finite number > 0")

    def apply(self, x: npt.NDArray[Any], out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """What the network is to see of `x [..., d]`, in its element type: a new array, or `out`, which may
        be x itself.

        Raises `TypeError` if x is no array of floats, `ShapeError` if it has not d columns, `InvalidValue` if
        its type cannot hold an offset or a scale.
        """
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            kind = x.dtype if isinstance(x, np.ndarray) else type(x)
            raise TypeError(f'x is of {kind}: expected an array of floats, such as x.astype("float32")')
        if x.ndim == 0 or x.shape[-1] != self.offset.size:
            raise ShapeError(
                f"x has the shape {x.shape}: expected {self.offset.size} columns, as the scaler has"
            )
        with np.errstate(over="ignore", under="ignore"):
            offset, scale = self.offset.astype(x.dtype), self.scale.astype(x.dtype)
        _check_numbers("offset", self.offset, np.isfinite(offset), f"a finite number, also in {x.dtype}")
        _check_numbers(
            "scale", self.scale, np.isfinite(scale) & (scale > 0), f"a finite number > 0, also in {x.dtype}"
        )
        shifted: npt.NDArray[Any] = np.subtract(x, offset, out=out)
        np.multiply(shifted, scale, out=shifted)
        return shifted

    @property
    def is_identity(self) -> bool:
        """Whether it leaves inputs as they are."""
        return not self.offset.any() and bool((self.scale == 1).all())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scaler):
            return NotImplemented
        return np.array_equal(self.offset, other.offset) and np.array_equal(self.scale, other.scale)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Scaler({self.offset!r}, {self.scale!r})"


class InputStatistics:
    """What is known of each input of a data set, of which batches are added one by one: its smallest value,
    its mean and its deviation. Sums are in f64.

    It begins with the examples `x [B, d]`. Raises `ShapeError` if there is none, or if x is no matrix,
    `InvalidValue` if an element is not finite.
    """

    examples: int
    least: Floats

    def __init__(self, x: npt.NDArray[Any]):
        _check_examples(x)
        self.examples = 0
        # Sums are of distances from the first example, lest a small deviation be lost beside a large mean.
        self._first: Floats = x[0].astype(np.float64)
        self.least = self._first.copy()
        self._sums = np.zeros_like(self._first)
        self._squares = np.zeros_like(self._first)
        self.add(x)

    def add(self, x: npt.NDArray[Any]) -> None:
        """Adds the examples `x [B, d]`. Raises as at the beginning, and `ShapeError` for another number of
        inputs; nothing is added then."""
        _check_examples(x)
        if x.shape[1] != self.inputs:
            raise ShapeError(f"x has {x.shape[1]} columns: expected {self.inputs}, as the examples before")
        for start in range(0, len(x), _ROWS):
            _check_numbers(
                "x", x[start : start + _ROWS], np.isfinite(x[start : start + _ROWS]), "a finite number"
            )
        self.examples += len(x)
        for start in range(0, len(x), _ROWS):
            rows = x[start : start + _ROWS].astype(np.float64)
            np.minimum(self.least, rows.min(axis=0), out=self.least)
            distances = rows - self._first
            self._sums += distances.sum(axis=0)
            self._squares += np.square(distances, out=distances).sum(axis=0)

    @property
    def inputs(self) -> int:
        """How many inputs, d."""
        return self._first.size

    def means(self) -> Floats:
        """The mean of each input, [d]."""
        means: Floats = self._first + self._sums / self.examples
        return means

    def variances(self) -> Floats:
        """The biased variance of each input, [d]."""
        variances: Floats = self._squares / self.examples - np.square(self._sums / self.examples)
        # Rounding may leave less than nothing.
        bounded: Floats = np.where(variances < 0, 0.0, variances)
        return bounded

    def identity(self) -> Scaler:
        """Leaves inputs as they are."""
        return Scaler(np.zeros(self.inputs), np.ones(self.inputs))

    def standardise(self) -> Scaler:
        """Makes mean 0 and variance 1 of all inputs together: one offset and one scale. Inputs that are all
        the same only lose their mean."""
        means = self.means()
        # Of distances from the first, which are 0 where all inputs are the same.
        mean = means[0] + (means - means[0]).mean()
        variance = np.square(means - mean).mean() + self.variances().mean()
        return Scaler(np.full(self.inputs, mean), np.full(self.inputs, _inverse(variance)))

    def standardise_each(self) -> Scaler:
        """Makes mean 0 and variance 1 of each input by itself. One that is always the same only loses its
        mean."""
        return Scaler(self.means(), _inverse(self.variances()))

    def shifted(self, scaler: Scaler) -> Scaler:
        """A scaler with its offsets replaced by each input's smallest value: of the examples that these
        statistics are of, no input is below 0 then. Others may be, a little. Raises `ShapeError` for another
        number of inputs."""
        if scaler.offset.size != self.inputs:
            raise ShapeError(
                f"the scaler has {scaler.offset.size} inputs: expected {self.inputs}, as the examples"
            )
        return Scaler(self.least, scaler.scale)


def _inverse(variance: Any) -> Any:
    """What makes a variance 1, or 1 for one of 0."""
    return 1 / np.sqrt(np.where(variance == 0, 1.0, variance))


def _check_examples(x: npt.NDArray[Any]) -> None:
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        kind = x.dtype if isinstance(x, np.ndarray) else type(x)
        raise TypeError(f'x is of {kind}: expected an array of floats, such as x.astype("float32")')
    if x.ndim != 2 or x.size == 0:
        raise ShapeError(f"x has the shape {x.shape}: expected [B, d], with at least one example")


def _check_numbers(name: str, array: npt.NDArray[Any], fine: npt.NDArray[np.bool_], expected: str) -> None:
    if not fine.all():
        place = tuple(int(k) for k in np.argwhere(~fine)[0])
        raise InvalidValue(f"{name}{list(place)} is {array[place]}: expected {expected}")
