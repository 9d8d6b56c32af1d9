"""Epochs, and what is told of them."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import interneuron as inn
from interneuron import History, Network, Schedule, Target
from interneuron.errors import Diverged, InvalidValue, ShapeError
from interneuron.network import _bounds


@pytest.fixture(scope="module")
def data() -> inn.TrainTest:
    return inn.digits(300, 100, 3)


def network(**keywords: Any) -> Network:
    return Network([784, 40, 10], [5, 1], **{"seed": 1, **keywords})


def bits(net: Network) -> list[bytes]:
    return [array.tobytes() for array in net.params().values()]


def test_history(data: inn.TrainTest) -> None:
    net = network()
    held = (data.x_test, data.y_test)
    history = net.fit(data.x, data.y, inn.csgd(0.05), epochs=3, validation=held, inspect=True)
    assert len(history) == 3 and len(history.layers) == 3 and len(history.layers[0]) == 2
    names = ["epoch", "step", "lr", "loss", "seconds", "validation_loss", "validation_error"]
    assert list(history.columns) == names
    assert history["epoch"].tolist() == [1, 2, 3] and history["step"].tolist() == [9, 18, 27]
    assert history["loss"][2] < history["loss"][0]
    evaluation = net.evaluate(*held)
    rows = list(history)
    assert (rows[-1]["validation_loss"], rows[-1]["validation_error"]) == (evaluation.loss, evaluation.error)
    with pytest.raises(KeyError, match="'accuracy': expected one of epoch, step, lr"):
        history["accuracy"]
    with pytest.raises(KeyError, match="there is no epoch yet"):
        History()["loss"]


def test_frames_and_datasets(data: inn.TrainTest) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("xarray")
    history = network().fit(data.x, data.y, inn.csgd(0.05), epochs=2, inspect=True)
    frame = history.frame()
    assert list(frame.columns) == list(history.columns) and len(frame) == 2
    assert frame["loss"].tolist() == history.columns["loss"]
    dataset = history.dataset()
    assert dict(dataset.sizes) == {"step": 2, "layer": 2} and dataset["step"].values.tolist() == [9, 18]
    assert dataset["loss"].dims == ("step",) and dataset["gamma_min"].dims == ("step", "layer")
    assert math.isnan(dataset["silent"].values[0, 1])
    assert History().dataset().sizes == {"step": 0}
    assert dict(network().fit(data.x, data.y, inn.csgd(0.05)).dataset().sizes) == {"step": 1}


@pytest.mark.parametrize("name", ["pandas", "xarray", "tqdm"])
def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, data: inn.TrainTest, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    history = History()
    calls = {
        "pandas": history.frame,
        "xarray": history.dataset,
        "tqdm": lambda: network().fit(data.x, data.y, inn.csgd(0.1), progress=True),
    }
    with pytest.raises(ImportError, match=f"needs {name}, which is not installed: pip install {name}"):
        calls[name]()


def test_rows_of_other_columns() -> None:
    history = History()
    history.add({"loss": 1.0})
    history.add({"loss": 0.5, "validation_loss": 0.7})
    history.add({"loss": 0.25})
    assert history["loss"].tolist() == [1.0, 0.5, 0.25]
    assert np.isnan(history["validation_loss"]).tolist() == [True, False, True]


@pytest.mark.parametrize("last_batch", ["spread", "short"])
def test_parts_are_the_whole(data: inn.TrainTest, tmp_path: Path, last_batch: Any) -> None:
    keywords: dict[str, Any] = {"batch_size": 64, "last_batch": last_batch}
    update, schedule = inn.csgd(0.0, momentum=0.9), Schedule.cosine(0.02, 40).warmup(3)
    whole, parts = network(), network()
    with inn.threads(2):
        whole.fit(data.x, data.y, update, epochs=4, schedule=schedule, **keywords)
    parts.fit(data.x, data.y, update, epochs=1, schedule=schedule, **keywords)
    parts.save(tmp_path / "net")
    parts = Network.load(tmp_path / "net")
    history = parts.fit(data.x, data.y, update, epochs=3, schedule=schedule, **keywords)
    assert bits(parts) == bits(whole) and parts.steps == whole.steps
    assert history["lr"][-1] == schedule.rate(parts.steps)
    other = network()
    other.fit(data.x, data.y, update, epochs=4, schedule=schedule, seed=2, **keywords)
    assert bits(other) != bits(whole)


def test_bounds_of_batches() -> None:
    assert _bounds(10, 4, "spread") == [(0, 5), (5, 10)]
    assert _bounds(10, 4, "short") == [(0, 4), (4, 8), (8, 10)]
    assert _bounds(8, 4, "short") == _bounds(8, 4, "spread") == [(0, 4), (4, 8)]
    assert _bounds(3, 3, "spread") == [(0, 3)]


def test_read_only_and_mapped_examples(data: inn.TrainTest, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", data.x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    wide = np.zeros((300, 1000), np.float32)
    wide[:, 100:884] = data.x
    nets = [network() for _ in range(3)]
    for net, x in zip(nets, (data.x, mapped, wide[:, 100:884]), strict=True):
        net.fit(x, data.y, inn.csgd(0.05), validation=(x, data.y))
    assert bits(nets[0]) == bits(nets[1]) == bits(nets[2])


def test_targets_are_cut_with_the_examples(data: inn.TrainTest) -> None:
    one_hot = np.eye(10, dtype=np.float32)[data.y]
    by_labels, by_probabilities = network(), network()
    by_labels.fit(data.x, Target("labels", data.y, weights=np.ones(300, np.float32)), inn.csgd(0.05))
    by_probabilities.fit(data.x, Target("probabilities", one_hot), inn.csgd(0.05))
    for a, b in zip(by_labels.params().values(), by_probabilities.params().values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_callbacks_see_rows_and_end_the_run(data: inn.TrainTest) -> None:
    seen: list[float] = []

    def callback(row: dict[str, float], net: Network) -> bool:
        seen.append(row["loss"])
        assert row["step"] == net.steps
        return len(seen) == 2

    history = network().fit(data.x, data.y, inn.csgd(0.05), epochs=5, callback=callback)
    assert seen == history.columns["loss"] and len(history) == 2


def test_history_outlives_an_exception(data: inn.TrainTest) -> None:
    history = History()
    net = network()

    def callback(row: dict[str, float], net: Network) -> None:
        net.params()["layers.1.b"][0] = np.inf

    with pytest.raises(Diverged):
        net.fit(data.x, data.y, inn.csgd(0.05), epochs=3, callback=callback, history=history)
    assert len(history) == 1
    assert net.fit(data.x, data.y, inn.csgd(0.05), epochs=0, history=history) is history


def test_progress(data: inn.TrainTest, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    network().fit(data.x, data.y, inn.csgd(0.05), epochs=2, progress=True)
    assert "18/18" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"epochs": -1}, InvalidValue, "epochs is -1: expected at least 0"),
        ({"batch_size": 0}, InvalidValue, "batch_size is 0: expected at least 1"),
        (
            {"batch_size": 301},
            InvalidValue,
            "batch_size is 301: expected at most 300, the number of examples",
        ),
        ({"last_batch": "drop"}, InvalidValue, "last_batch is 'drop': expected one of 'spread', 'short'"),
        ({"seed": -1}, InvalidValue, "seed is -1"),
        ({"x": np.zeros((300, 784))}, TypeError, "x is of float64: expected float32"),
        (
            {"x": np.zeros((300, 28, 28), "f4")},
            ShapeError,
            r"x has the shape \(300, 28, 28\): expected \[N, 784\]",
        ),
        ({"x": np.zeros((300, 784), "u1")}, TypeError, "x is of uint8: .*images of 0 to 255"),
        ({"x": [[0.0] * 784] * 300}, TypeError, "x is <class 'list'>: expected an array of NumPy"),
        (
            {"y": np.zeros(299, int)},
            ShapeError,
            "y has 299 elements or rows: expected 300, as many as x has rows",
        ),
        ({"validation": (np.zeros((5, 784)), np.zeros(5, int))}, TypeError, "validation x is of float64"),
    ],
)
def test_arguments_that_cannot_be(
    data: inn.TrainTest, change: Any, error: type[Exception], text: str
) -> None:
    arguments = {"x": data.x, "y": data.y, "update": inn.csgd(0.05), **change}
    net = network()
    before = bits(net)
    with pytest.raises(error, match=text):
        net.fit(**arguments)
    assert bits(net) == before


def test_batch_normalisation_needs_two_examples_a_step(data: inn.TrainTest) -> None:
    net = Network([784, 20, 10], kind="batch_norm")
    with pytest.raises(InvalidValue, match="batch normalisation needs two"):
        net.fit(data.x[:33], data.y[:33], inn.sgd(0.1), last_batch="short")
    net.fit(data.x[:33], data.y[:33], inn.sgd(0.1))


def test_data() -> None:
    first, other = inn.digits(30, 10, 5), inn.digits(30, 10, 5)
    assert first.x.shape == (30, 784) and first.x_test.shape == (10, 784)
    assert first.x.dtype == np.float32 and first.y.dtype == np.int64 and set(first.y) <= set(range(10))
    assert 0 <= first.x.min() and first.x.max() <= 1
    assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert not np.array_equal(first.x, inn.digits(30, 10, 6).x)
    with pytest.raises(InvalidValue, match="train is 0: expected from 1 to 10000000"):
        inn.digits(0, 1, 1)


def test_images_from_files(tmp_path: Path) -> None:
    def idx(name: str, array: np.ndarray) -> None:
        header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
        (tmp_path / name).write_bytes(header + array.tobytes())

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (7, 4, 5), np.uint8), rng.integers(0, 3, 7).astype(np.uint8)
    for part, count in (("train", 7), ("t10k", 3)):
        idx(f"{part}-images-idx3-ubyte", images[:count])
        idx(f"{part}-labels-idx1-ubyte", labels[:count])
    data = inn.load_images(tmp_path)
    np.testing.assert_array_equal(data.x, images.reshape(7, 20).astype(np.float32) / np.float32(255))
    assert data.y.tolist() == labels.tolist() and len(data.x_test) == 3
    with pytest.raises(OSError, match="nowhere"):
        inn.load_images(tmp_path / "nowhere")
