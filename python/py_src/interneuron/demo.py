"""The paper's comparison in short: `python -m interneuron.demo`.

Images of digits are drawn; a plain network, a network with separate excitatory and inhibitory units with
corrected steps, and the same without corrections learn them. Each has the learning rate that the paper found
for MNIST. (Cornford et al., "Learning to live with Dale's principle", ICLR 2021.)
"""

import argparse
import sys
import time
from collections.abc import Sequence

from ._threads import get_num_threads, threads
from .errors import InterneuronError
from .presets import Kind
from .updates import Update, csgd, sgd

# Name, kind of network, update, learning rate of the paper.
MODELS: tuple[tuple[str, Kind, bool, float], ...] = (
    ("mlp", "mlp", False, 0.2976),
    ("dann", "dann", True, 0.1107),
    ("dann-nc", "dann", False, 0.003981),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, and prints a table. Returns the exit code."""
    options = _options().parse_args(arguments)
    try:
        with threads(get_num_threads() if options.threads is None else options.threads):
            _compare(options)
    except InterneuronError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m interneuron.demo",
        description="Train a plain network and two inhibited ones on drawn digits, and compare.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", metavar="DIR", help="folder with files in MNIST's format; without it digits are drawn"
    )
    parser.add_argument("--train", type=int, default=16000, metavar="N", help="drawn images for training")
    parser.add_argument("--test", type=int, default=4000, metavar="N", help="drawn images for testing")
    parser.add_argument("--hidden", default="300,300,300", metavar="LIST", help="units of each hidden layer")
    parser.add_argument(
        "--inhibitory", type=int, default=30, metavar="N", help="interneurons of each hidden layer"
    )
    parser.add_argument("--epochs", type=int, default=8, metavar="N", help="passes over the training images")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="images of a step")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of images, parameters and orders")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads; None: all cores that this process may use"
    )
    return parser


def _compare(options: argparse.Namespace) -> None:
    # With NumPy from here on, so that --help needs nothing.
    from .data import digits, load_images
    from .network import Network

    try:
        hidden = [int(units) for units in options.hidden.split(",")]
    except ValueError:
        raise InterneuronError(f"--hidden is {options.hidden!r}: expected numbers such as 200,200") from None
    data = load_images(options.data) if options.data else digits(options.train, options.test, options.seed)
    classes = int(max(data.y.max(), data.y_test.max())) + 1
    print(f"{len(data.x)} images for training, {len(data.x_test)} for testing, {classes} classes")
    print(f"\n{'network':<9}{'lr':>9}{'test error':>13}{'train error':>13}{'train loss':>12}{'time':>9}")
    for name, kind, corrected, lr in MODELS:
        nis = [options.inhibitory] * len(hidden) + [1] if kind == "dann" else None
        network = Network([data.x.shape[1], *hidden, classes], nis, kind=kind, seed=options.seed)
        update: Update = csgd(lr) if corrected else sgd(lr)
        start = time.perf_counter()
        network.fit(data.x, data.y, update, epochs=options.epochs, batch_size=options.batch)
        seconds = time.perf_counter() - start
        test, train = network.evaluate(data.x_test, data.y_test), network.evaluate(data.x, data.y)
        print(
            f"{name:<9}{lr:>9.4g}{100 * test.error:>11.2f} %{100 * train.error:>11.2f} %"
            f"{train.loss:>12.5f}{seconds:>7.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
