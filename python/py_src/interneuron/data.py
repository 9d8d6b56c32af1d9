"""Data sets to try networks on."""

import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import _check, _core


class TrainTest(NamedTuple):
    """Images of a training and a test set, one a row, of float32 from 0 to 1, and their labels, of int64."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    x_test: npt.NDArray[np.float32]
    y_test: npt.NDArray[np.int64]


def digits(train: int = 4000, test: int = 1000, seed: int = 0) -> TrainTest:
    """Drawn images of digits, 28 × 28 pixels, with labels 0 to 9: strokes at chance positions, with noise.
    The same seed gives the same images. Raises `InvalidValue` for sizes below 1 or above 10 million."""
    train, test = _check.whole("train", train, 1, 10_000_000), _check.whole("test", test, 1, 10_000_000)
    return TrainTest(*_core.digits(train, test, _check.seed(seed)))


def load_images(folder: str | os.PathLike[str]) -> TrainTest:
    """A data set in MNIST's format from a folder (MNIST, Fashion-MNIST, EMNIST, …), its files plain or
    compressed.

    Raises `CheckpointError`, an `OSError`, if a file is missing or does not hold what it should.
    """
    return TrainTest(*_core.load_images(os.fspath(folder)))
