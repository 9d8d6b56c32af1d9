"""What is done to inputs before networks see them."""

import pickle
from typing import Any

import numpy as np
import pytest

from interneuron import InputStatistics, Scaler
from interneuron.errors import InvalidValue, ShapeError


def examples(dtype: str = "float64") -> np.ndarray:
    rng = np.random.default_rng(3)
    return (rng.normal(size=(3000, 4)) * [1.0, 5.0, 0.1, 1.0] + [0.0, 1e6, -2.0, 3.0]).astype(dtype)


def test_the_example_of_the_crate() -> None:
    train = np.array([[-1.0, 3.0], [0.0, 5.0], [1.0, 7.0]], np.float32)
    statistics = InputStatistics(train)
    scaled = statistics.shifted(statistics.standardise()).apply(train)
    assert (scaled[0] == 0).all() and (scaled >= 0).all() and scaled.dtype == np.float32


def test_statistics_are_those_of_all_batches() -> None:
    x = examples()
    statistics = InputStatistics(x[:10])
    for start in range(10, 3000, 700):
        statistics.add(x[start : start + 700])
    assert statistics.examples == 3000 and statistics.inputs == 4
    np.testing.assert_array_equal(statistics.least, x.min(axis=0))
    np.testing.assert_allclose(statistics.means(), x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.variances(), x.var(axis=0), rtol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalers(dtype: str) -> None:
    x = examples(dtype)
    statistics = InputStatistics(x)
    tolerance = 1e-2 if dtype == "float32" else 1e-9
    each = statistics.standardise_each().apply(x)
    np.testing.assert_allclose(each.mean(axis=0), 0, atol=tolerance)
    np.testing.assert_allclose(each.std(axis=0), 1, atol=tolerance)
    together = statistics.standardise().apply(x)
    assert together.mean(dtype=np.float64) == pytest.approx(0, abs=1e-3)
    assert together.std(dtype=np.float64) == pytest.approx(1, abs=1e-3)
    shifted = statistics.shifted(statistics.identity()).apply(x)
    np.testing.assert_allclose(shifted.min(axis=0), 0)
    assert statistics.identity().is_identity and not statistics.standardise().is_identity


def test_inputs_that_are_always_the_same() -> None:
    x = np.full((5, 3), 0.1)
    statistics = InputStatistics(x)
    for scaler in (statistics.standardise(), statistics.standardise_each()):
        assert (scaler.scale == 1).all() and (scaler.apply(x) == 0).all()


def test_apply_writes_where_it_is_told() -> None:
    scaler = Scaler([1.0, 2.0], [2.0, 0.5])
    x = np.array([[1.0, 4.0], [2.0, 2.0]])
    before = x.copy()
    result = scaler.apply(x)
    np.testing.assert_array_equal(result, [[0, 1], [2, 0]])
    np.testing.assert_array_equal(x, before)
    assert scaler.apply(x, out=x) is x and np.array_equal(x, result)
    assert scaler == pickle.loads(pickle.dumps(scaler)) and scaler != Scaler([1.0, 2.0], [2.0, 1.0])


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: Scaler([1.0], [1.0, 2.0]),
            ShapeError,
            r"offset and scale have the shapes \(1,\) and \(2,\)",
        ),
        (lambda: Scaler([], []), ShapeError, "expected .d. of both"),
        (lambda: Scaler([np.nan], [1.0]), InvalidValue, r"offset\[0\] is nan: expected a finite number"),
        (
            lambda: Scaler([0.0, 0.0], [1.0, 0.0]),
            InvalidValue,
            r"scale\[1\] is 0.0: expected a finite number > 0",
        ),
        (
            lambda: Scaler([1e300], [1.0]).apply(np.ones((1, 1), "f4")),
            InvalidValue,
            "offset.*also in float32",
        ),
        (
            lambda: Scaler([0.0], [1e-300]).apply(np.ones((1, 1), "f4")),
            InvalidValue,
            "scale.*also in float32",
        ),
        (
            lambda: Scaler([0.0], [1.0]).apply(np.ones((2, 2))),
            ShapeError,
            r"x has the shape \(2, 2\): expected 1 columns",
        ),
        (
            lambda: Scaler([0.0], [1.0]).apply(np.ones((2, 1), int)),
            TypeError,
            "x is of int64: expected an array of floats",
        ),
        (lambda: InputStatistics(np.ones(3)), ShapeError, r"x has the shape \(3,\): expected \[B, d\]"),
        (lambda: InputStatistics(np.ones((0, 3))), ShapeError, "with at least one example"),
        (
            lambda: InputStatistics(np.array([[1.0, np.inf]])),
            InvalidValue,
            r"x\[0, 1\] is inf: expected a finite number",
        ),
        (
            lambda: InputStatistics(np.ones((2, 3))).add(np.ones((2, 4))),
            ShapeError,
            "x has 4 columns: expected 3",
        ),
        (
            lambda: InputStatistics(np.ones((2, 3))).shifted(Scaler([0.0], [1.0])),
            ShapeError,
            "the scaler has 1 inputs",
        ),
    ],
)
def test_what_cannot_be(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()
