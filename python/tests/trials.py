"""Trials that tests of sweeps run, where other processes find them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from trial import QUICK, trial

from interneuron.errors import Diverged


def learned(network: str, lr: float, seed: int) -> dict[str, object]:
    """That of the examples, quickly."""
    return trial(network, lr, seed, **QUICK)


def counted(k: int, folder: str) -> dict[str, object]:
    """Leaves a file for each time that it is run."""
    with open(Path(folder) / f"{k}.runs", "a", encoding="ascii") as file:
        file.write("x")
    return {"square": k * k}


def fails(k: int, folder: str) -> dict[str, object]:
    """Fails for odd numbers, as long as a file is not there."""
    if k % 2 and not (Path(folder) / "mended").exists():
        raise Diverged("the loss is not finite", 7, 0.1, float("inf"))
    return {"square": k * k}


def dies(k: int, folder: str) -> dict[str, object]:
    """The first of all processes that tries 3 is killed."""
    mark = Path(folder) / "died"
    if k == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": k * k}


def odd(k: int) -> dict[str, object]:
    """Results that no row can have."""
    return {0: {"open": open}, 1: {"k": k + 1}, 2: {"k": k, "x": float("nan")}}[k]
