"""What is read of a checkpoint before its arrays are."""

from __future__ import annotations

import json
import os
import struct
from typing import Literal, cast

from .errors import CheckpointError

# The longest header that the crate reads.
_LONGEST = 1 << 20
_DTYPES = {"F32": "float32", "F64": "float64"}


def dtype(path: str | os.PathLike[str]) -> Literal["float32", "float64"]:
    """The element type of the network in a checkpoint, by the header of the file.

    Raises `interneuron.errors.CheckpointError` if it cannot be read or has no such network.
    """
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, _LONGEST)))
        names = {it["dtype"] for key, it in header.items() if key.startswith("layers.")}
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}: expected a checkpoint") from error
    if len(names) != 1 or next(iter(names)) not in _DTYPES:
        expected = "those of a network, all of F32 or all of F64"
        raise CheckpointError(f"{os.fspath(path)}: the tensors layers.* are of {sorted(names)}: expected {expected}")
    return cast(Literal["float32", "float64"], _DTYPES[next(iter(names))])
