"""The same sweep on a cluster of Ray's, or on the cores of this machine.

    python sweep_ray.py --address auto

Workers of a cluster need this package; the folder of this script is sent to them.
"""

import argparse
from pathlib import Path

import ray
from ray.util.multiprocessing import Pool
from trial import rates_and_seeds, summary, trial

from interneuron import sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", help="of a cluster, such as auto; without it Ray is started here")
    parser.add_argument("--workers", type=int, default=2, help="trials side by side, with one CPU each")
    parser.add_argument("--out", default="runs/ray.jsonl", help="file of results")
    parser.add_argument("--quick", action="store_true", help="some seconds")
    options = parser.parse_args()

    settings = rates_and_seeds(options.quick)
    environment = {"working_dir": str(Path(__file__).parent)}
    here = {} if options.address else {"num_cpus": options.workers, "include_dashboard": False}
    ray.init(address=options.address, runtime_env=environment, **here)
    with Pool(options.workers) as pool:
        sweep.run(trial, settings, options.out, executor=pool)
    ray.shutdown()
    print(summary(options.out))


if __name__ == "__main__":
    main()
