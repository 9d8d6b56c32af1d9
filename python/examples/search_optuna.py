"""A search for the learning rate by Optuna.

    python search_optuna.py --trials 20

Any number of these may run at once, on one machine or as tasks of a Slurm array: they share the study's file.
Killed, the study goes on where it was.
"""

import argparse
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from trial import NETWORKS, QUICK, trial

from interneuron.errors import Diverged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="dann")
    parser.add_argument("--trials", type=int, default=20, help="trials of this process")
    parser.add_argument("--seed", type=int, default=0, help="of the sampler; another one for each process")
    parser.add_argument("--out", default="runs/optuna.log", help="file of the study")
    parser.add_argument("--quick", action="store_true", help="some seconds")
    options = parser.parse_args()

    low, high = NETWORKS[options.network][2]
    small = QUICK if options.quick else {}

    def objective(asked: optuna.Trial) -> float:
        result = trial(
            options.network, asked.suggest_float("lr", low, high, log=True), seed=asked.number, **small
        )
        asked.set_user_attr("test_error", result["test_error"])
        return result["validation_error"]

    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=options.network,
        storage=JournalStorage(JournalFileBackend(options.out)),
        sampler=optuna.samplers.TPESampler(seed=options.seed),
        load_if_exists=True,
    )
    # A rate at which training diverges is a failed trial, and no end of the search.
    study.optimize(objective, n_trials=3 if options.quick else options.trials, catch=(Diverged,))
    best = study.best_trial
    errors = f"validation error {best.value:.4f}, test error {best.user_attrs['test_error']:.4f}"
    print(f"lr {best.params['lr']:.4g}: {errors}")


if __name__ == "__main__":
    main()
