"""Checks of numbers and names, so that one kind of mistake has one text."""

import math
import operator
from collections.abc import Iterable
from typing import Any

from .errors import InvalidValue


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number of any type that says it is one, as an `int`.

    Raises `TypeError` for other types, `InvalidValue` for a number that is too small or too large.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}: expected a whole number") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: expected a whole number")
    if number < least or (most is not None and number > most):
        expected = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidValue(f"{name} is {number}: expected {expected}")
    return number


def wholes(name: str, values: Any, least: int) -> list[int]:
    """Whole numbers, each at least `least`. Raises as `whole`, and `TypeError` for what is no sequence."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} is {values!r}: expected a sequence of whole numbers")
    return [whole(f"{name}[{k}]", value, least) for k, value in enumerate(values)]


def number(name: str, value: Any, least: float, most: float = math.inf) -> float:
    """A finite number within bounds, as a `float`.

    Raises `TypeError` for what is no number, `InvalidValue` for one out of bounds.
    """
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}: expected a number") from None
    if not (math.isfinite(result) and least <= result <= most):
        expected = f"a finite number ≥ {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise InvalidValue(f"{name} is {value!r}: expected {expected}")
    return result


def name(argument: str, value: Any, names: Iterable[str]) -> str:
    """One of some names. Raises `InvalidValue` for any other."""
    names = list(names)
    if not isinstance(value, str) or value not in names:
        raise InvalidValue(f"{argument} is {value!r}: expected one of {', '.join(map(repr, names))}")
    return value


MOST_SEED = 2**64 - 1


def seed(value: Any) -> int:
    """A seed: a whole number of 64 bits."""
    return whole("seed", value, 0, MOST_SEED)
