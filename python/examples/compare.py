"""The paper's comparison on drawn digits: networks with separate excitatory and inhibitory units beside a
plain one.

    python compare.py

For each network the learning rate is searched for, by the error on images that are held back; then it is
trained with several seeds at the best rate. The end is a table and two pictures. Killed, it goes on where it
was. (Cornford et al., "Learning to live with Dale's principle", ICLR 2021.)
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from trial import NETWORKS, QUICK, trial

from interneuron import sweep

# Test errors are means over so many epochs at the end, as they go up and down at a constant rate.
LAST = 5


def main() -> None:
    options = _options().parse_args()
    common: dict[str, Any] = {"train": options.train, "test": options.test, "epochs": options.epochs}
    search = common | {"epochs": options.search_epochs}
    if options.quick:
        options.trials, options.seeds, common, search = 3, 2, QUICK | {"epochs": 2}, QUICK
    folder = Path(options.out)
    paths = {
        name: folder / name for name in ("search.jsonl", "runs.jsonl", "rates.svg", "curves.svg", "table.md")
    }

    with ProcessPoolExecutor(options.jobs) as executor:
        settings = [
            setting
            for name, (_, _, (low, high)) in NETWORKS.items()
            for setting in sweep.random(
                options.trials,
                seed=options.seed,
                network=name,
                lr=sweep.Uniform(low, high, log=True),
                **search,
            )
        ]
        searched = pd.DataFrame(sweep.run(trial, settings, paths["search.jsonl"], executor=executor))
        good = searched[searched["failure"].isna()]
        best = good.loc[good.groupby("network")["validation_error"].idxmin()].set_index("network")["lr"]
        settings = [
            setting
            for name in NETWORKS
            if name in best
            for setting in sweep.grid(network=name, lr=best[name], seed=range(options.seeds), **common)
        ]
        runs = pd.DataFrame(sweep.run(trial, settings, paths["runs.jsonl"], executor=executor))

    sweep.plots.rates(searched).figure.savefig(paths["rates.svg"])
    sweep.plots.curves(runs, y="test_errors").figure.savefig(paths["curves.svg"])
    table = _table(runs)
    paths["table.md"].write_text(table, encoding="utf-8")
    print(f"{table}\nin {folder}: {', '.join(paths)}")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=12, help="learning rates of each network's search")
    parser.add_argument("--search-epochs", type=int, default=3, help="epochs of each of them")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each network at its best rate")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each of them")
    parser.add_argument("--train", type=int, default=12000, help="images for training; a sixth is held back")
    parser.add_argument("--test", type=int, default=2000, help="images for testing")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side")
    parser.add_argument("--out", default="runs/compare", help="folder of results")
    parser.add_argument("--quick", action="store_true", help="some seconds; errors mean nothing then")
    return parser


def _table(runs: pd.DataFrame) -> str:
    """A table in Markdown: errors are means over the seeds, with standard errors."""
    lines = [
        "| network | learning rate | test error | training error | time per run |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, some in runs.groupby("network", sort=False):
        good = some[some["failure"].isna()]
        errors = good["test_errors"].map(lambda it: 100 * sum(it[-LAST:]) / len(it[-LAST:]))
        failed = f" ({len(some) - len(good)} of {len(some)} failed)" if len(good) < len(some) else ""
        test = f"{errors.mean():.2f} ± {errors.sem():.2f} %{failed}"
        train, seconds = 100 * good["train_error"].mean(), good["seconds"].mean()
        lines.append(f"| {name} | {some['lr'].iloc[0]:.4g} | {test} | {train:.2f} % | {seconds:.1f} s |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
