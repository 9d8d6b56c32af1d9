"""Names of types, which the extension module has in its stub only."""

from typing import Any, Literal, TypeAlias

Array: TypeAlias = Any
"""An array of NumPy or a tensor of PyTorch."""
Dtype: TypeAlias = Literal["float32", "float64"]
Divisor: TypeAlias = Literal["plain", "root"] | float
