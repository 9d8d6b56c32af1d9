"""The trial that all sweeps here share: one network, on drawn digits, at one learning rate and with one seed.

Its arguments are plain and its result is small, so that any engine can send it to another process or machine.
"""

import functools
from typing import Any

import pandas as pd

import interneuron as inn
from interneuron import sweep

# Networks that the paper compares: their kind, their update, and where their learning rate is searched for.
NETWORKS = {
    "mlp": ("mlp", inn.sgd, (0.01, 2.0)),
    "column-ei": ("column_ei", inn.sgd, (0.003, 0.5)),
    "dann": ("dann", inn.csgd, (0.01, 1.0)),
    "dann-nc": ("dann", inn.sgd, (0.0003, 0.1)),
}

# Arguments of a trial that takes no time.
QUICK = {"epochs": 1, "train": 300, "test": 100}


@functools.cache
def _digits(train: int, test: int) -> inn.TrainTest:
    # The same for all trials of a process.
    return inn.digits(train, test, seed=1)


def trial(
    network: str = "dann",
    lr: float = 0.1,
    seed: int = 0,
    epochs: int = 5,
    train: int = 2000,
    test: int = 1000,
    hidden: tuple[int, ...] = (100, 100),
    inhibitory: int = 10,
) -> dict[str, object]:
    """Trains a network, and returns its errors, from 0 to 1.

    `validation_error` is that of a sixth of the training images, which are held back, for searches to see;
    `test_error` and `test_errors`, after each epoch, are to be told. Raises `Diverged` at a rate too high.
    """
    kind, update, _ = NETWORKS[network]
    data = _digits(train, test)
    held = train // 6
    units = list(hidden)
    if network == "column-ei":
        # As many units in all as the others have with their interneurons.
        units = [count + inhibitory for count in units]
    net = inn.Network(
        [data.x.shape[1], *units, 10],
        [inhibitory] * len(units) + [1] if kind == "dann" else None,
        kind=kind,
        seed=seed,
        mean_input=float(data.x.mean()) if kind == "column_ei" else 0.0,
    )
    errors: list[float] = []
    # Trials are what goes side by side, so one thread for each.
    with inn.threads(1):
        net.fit(
            data.x[held:],
            data.y[held:],
            update(lr),
            epochs=epochs,
            callback=lambda row, net: errors.append(net.evaluate(data.x_test, data.y_test).error),
        )
        validation_error = net.evaluate(data.x[:held], data.y[:held]).error
        train_error = net.evaluate(data.x[held:], data.y[held:]).error
    return {
        "validation_error": validation_error,
        "test_error": errors[-1],
        "train_error": train_error,
        "test_errors": errors,
    }


def rates_and_seeds(quick: bool) -> list[dict[str, Any]]:
    """The settings of a sweep over networks, learning rates and seeds."""
    small = QUICK if quick else {}
    return sweep.grid(network=["mlp", "dann"], lr=[0.03, 0.1, 0.3], seed=range(1 if quick else 5), **small)


def summary(path: str) -> pd.DataFrame:
    """The test errors of a sweep: means, standard errors over the seeds, and how many trials failed."""
    groups = sweep.table(path).groupby(["network", "lr"])
    return groups["test_error"].agg(["mean", "sem"]).assign(failed=groups["failure"].count())
