"""What can be wrong with a call.

Every exception of the package is an `InterneuronError`, and also what NumPy, PyTorch or the standard library
would raise there. Its text names the argument, its value, and what was expected. Unless an exception says
otherwise, outputs and parameters are as they were before the call. What is no array at all is a plain
`TypeError`.
"""

from typing import Any


class InterneuronError(Exception):
    """The base of all."""

    def __reduce__(self) -> tuple[Any, ...]:
        # That of built-in classes makes pickling by tblib, which dask loads, call the wrong `__new__`.
        return type(self), self.args, self.__dict__


class ShapeError(InterneuronError, ValueError, RuntimeError):
    """Dimensions, lengths, strides or kinds of layers do not go together."""


class DtypeError(InterneuronError, TypeError, RuntimeError):
    """Arrays are of another element type than what they meet."""


class InvalidValue(InterneuronError, ValueError):
    """A number, a label, a name or an element is not what it may be."""


class Diverged(InterneuronError, ArithmeticError):
    """The loss is not finite. The parameters are those before this step.

    `step` is counted from 0, `lr` is the learning rate, `loss` is the loss; the first two are None where no
    step was taken.
    """

    def __init__(
        self, message: str, step: int | None = None, lr: float | None = None, loss: float | None = None
    ):
        super().__init__(message)
        self.step, self.lr, self.loss = step, lr, loss

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.step, self.lr, self.loss), self.__dict__


class DivisorError(InterneuronError, ArithmeticError):
    """Divisive inhibition is negative somewhere: divisors γ of a layer are below ε = 1e-8. The step changed
    nothing.

    `layer` is counted from 0 at the input, `share` is the part of its divisors that is below ε, from 0 to 1,
    `smallest` is the smallest of them. Inputs ≥ 0 never do that.
    """

    def __init__(
        self,
        message: str,
        layer: int | None = None,
        share: float | None = None,
        smallest: float | None = None,
    ):
        super().__init__(message)
        self.layer, self.share, self.smallest = layer, share, smallest

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.layer, self.share, self.smallest), self.__dict__


class CheckpointError(InterneuronError, OSError):
    """A file cannot be read or written, or does not hold what it should."""


class TooLarge(InterneuronError, MemoryError):
    """Arrays do not fit in memory."""


class InternalError(InterneuronError, RuntimeError):
    """A defect of this package. Arrays that the call was to write may be half-written."""


class InUse(InterneuronError, RuntimeError):
    """Another thread is in a call with the same network or state: one call at a time."""


class NotFitted(InterneuronError, ValueError, AttributeError):
    """An estimator was asked for something before `fit`."""
