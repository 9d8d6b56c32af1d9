"""The golden cases of the repository, read with NumPy alone.

They were computed in f64 by an independent implementation; the tests of the Rust crate read the same files.
The cases are those of `tests/golden` in the repository, and those of the folder that `INTERNEURON_GOLDEN_DIR`
names.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[2] / "tests" / "golden"
_DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}


@dataclass(frozen=True)
class Case:
    """A case: its name, what its metadata say, and its arrays."""

    name: str
    metadata: dict[str, str]
    arrays: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise KeyError(f"{self.name} has no array {name}")
        return self.arrays[name]

    def number(self, name: str) -> float:
        """The number in an array of one element."""
        return self[name].item()


def read(path: Path) -> Case:
    """Reads a safetensors file: the length of its header, the header as JSON, the arrays."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, tensor in header.items():
        begin, end = (8 + length + offset for offset in tensor["data_offsets"])
        array = np.frombuffer(data[begin:end], dtype=_DTYPES[tensor["dtype"]])
        arrays[name] = array.reshape(tensor["shape"])
    return Case(path.stem, metadata, arrays)


def paths(*families: str) -> list[Path]:
    """The files of the cases whose names begin with one of these words."""
    folders = [FOLDER]
    if folder := os.environ.get("INTERNEURON_GOLDEN_DIR"):
        folders.append(Path(folder))
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.safetensors")):
            if path.stem.split("_")[0] in families:
                # A file of the same name is the same case.
                found.setdefault(path.stem, path)
    return list(found.values())
