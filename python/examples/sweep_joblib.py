"""A sweep over learning rates and seeds on the cores of this machine, by joblib.

    python sweep_joblib.py --jobs 8

Killed, it goes on where it was. Processes (loky) and threads do alike: the kernels let go of Python's lock.
"""

import argparse

import joblib
from trial import rates_and_seeds, summary, trial

from interneuron import sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=-1, help="trials side by side; -1: one for each core")
    parser.add_argument("--backend", choices=("loky", "threading"), default="loky")
    parser.add_argument("--out", default="runs/joblib.jsonl", help="file of results")
    parser.add_argument("--quick", action="store_true", help="some seconds")
    options = parser.parse_args()

    settings = rates_and_seeds(options.quick)
    parallel = joblib.Parallel(options.jobs, backend=options.backend, return_as="generator_unordered")
    sweep.run(trial, settings, options.out, executor=parallel)
    print(summary(options.out))


if __name__ == "__main__":
    main()
