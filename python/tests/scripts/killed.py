"""A sweep that is killed while it goes on. Arguments: the file of results, how many processes run trials."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext

from interneuron import sweep


def slow(k: int) -> dict[str, object]:
    """A trial that takes a moment and has a long row."""
    time.sleep(0.05)
    return {"square": k * k, "curve": list(range(2000))}


if __name__ == "__main__":
    path, workers = sys.argv[1], int(sys.argv[2])
    with ProcessPoolExecutor(workers) if workers else nullcontext() as executor:
        sweep.run(slow, sweep.grid(k=range(40)), path, executor=executor)
