"""The same sweep on a cluster of Dask, or on processes of this machine where there is none.

    python sweep_dask.py --scheduler tcp://HOST:8786

Workers need this package and `trial.py`, which is sent to them; give them one thread each.
"""

import argparse
from pathlib import Path

from distributed import Client, LocalCluster
from trial import rates_and_seeds, summary, trial

from interneuron import sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scheduler", help="address of a scheduler; without it workers are started here")
    parser.add_argument("--workers", type=int, default=2, help="how many are started here")
    parser.add_argument("--out", default="runs/dask.jsonl", help="file of results")
    parser.add_argument("--quick", action="store_true", help="some seconds")
    options = parser.parse_args()

    settings = rates_and_seeds(options.quick)
    if options.scheduler:
        with Client(options.scheduler) as client:
            client.upload_file(str(Path(__file__).with_name("trial.py")))
            sweep.run(trial, settings, options.out, executor=client)
    else:
        cluster = LocalCluster(
            n_workers=options.workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
        )
        with cluster, Client(cluster) as client:
            sweep.run(trial, settings, options.out, executor=client)
    print(summary(options.out))


if __name__ == "__main__":
    main()
