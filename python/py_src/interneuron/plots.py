"""Pictures of sweeps, drawn by matplotlib, which is loaded when one is drawn."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]

__all__ = ["curves", "rates"]


def rates(
    frame: "pandas.DataFrame",
    *,
    x: str = "lr",
    y: str = "validation_error",
    by: str = "network",
    axes: Any = None,
) -> Any:
    """Draws `y` over the learning rate: a dot for each trial, a line for each network through the means of
    the trials at a rate, and crosses at the top where trials failed.

    `frame` is what `sweep.table` returns. Returns the axes of matplotlib, new ones unless they are given.
    """
    axes = _axes() if axes is None else axes
    for name, some in frame.groupby(by, sort=False):
        good, bad = some[some["failure"].isna()], some[some["failure"].notna()]
        values = good[y].astype(float)
        means = values.groupby(good[x]).mean()
        (line,) = axes.plot(means.index, means, label=name)
        color = line.get_color()
        axes.plot(good[x], values, "o", color=color, markersize=4)
        axes.plot(bad[x], [0.98] * len(bad), "x", color=color, transform=axes.get_xaxis_transform())
    axes.set(xscale="log", xlabel=x, ylabel=y)
    axes.legend(title=by)
    return axes


def curves(frame: "pandas.DataFrame", *, y: str, by: str = "network", axes: Any = None) -> Any:
    """Draws `y`, a list with a number for each epoch, over the epochs: the mean of the trials of each
    network, in a band from the least to the largest of them. Trials that failed are left out.

    `frame` and what is returned are as in `rates`.
    """
    axes = _axes() if axes is None else axes
    for name, some in frame[frame["failure"].isna()].groupby(by, sort=False):
        # As many epochs as all trials have: some may have ended early.
        columns = list(zip(*some[y], strict=False))
        epochs = range(1, len(columns) + 1)
        (line,) = axes.plot(epochs, [sum(column) / len(column) for column in columns], label=name)
        low, high = [min(column) for column in columns], [max(column) for column in columns]
        axes.fill_between(epochs, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="epoch", ylabel=y)
    axes.legend(title=by)
    return axes


def _axes() -> Any:
    # Without pyplot, whose figures live until they are closed.
    from matplotlib.figure import Figure

    return Figure(figsize=(8.6, 5.2), layout="constrained").add_subplot()
