"""The same sweep as an array of Slurm's, by submitit; on this machine where there is no Slurm.

    python slurm_submitit.py --partition cpu --at-once 200

Killed, or run again with more seeds, it submits what has no row yet.
"""

import argparse

import submitit
from trial import rates_and_seeds, summary, trial

from interneuron import sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--partition", help="of Slurm's")
    parser.add_argument(
        "--at-once", type=int, default=200, metavar="N", help="tasks of the array at the same time"
    )
    parser.add_argument("--minutes", type=int, default=60, help="that a trial may take")
    parser.add_argument("--out", default="runs/slurm.jsonl", help="file of results")
    parser.add_argument("--logs", default="runs/slurm-logs", help="folder of the tasks' files")
    parser.add_argument("--quick", action="store_true", help="some seconds, on this machine")
    options = parser.parse_args()

    settings = rates_and_seeds(options.quick)
    executor = submitit.AutoExecutor(options.logs, cluster="local" if options.quick else None)
    executor.update_parameters(
        cpus_per_task=1, timeout_min=options.minutes, slurm_array_parallelism=options.at_once
    )
    if options.partition:
        executor.update_parameters(slurm_partition=options.partition)
    sweep.run(trial, settings, options.out, executor=executor)
    print(summary(options.out))


if __name__ == "__main__":
    main()
