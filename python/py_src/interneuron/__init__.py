"""Fast CPU layers with separate excitatory and inhibitory units ("Dale's ANNs"), for NumPy and PyTorch.

`Network` trains a network on NumPy arrays, `DannClassifier` is one as an estimator in scikit-learn's manner,
`Layer` is one layer on arrays of the caller's, and `interneuron.torch` has modules of PyTorch. `import
interneuron` loads neither NumPy nor PyTorch: what needs them does.
"""

import importlib

from ._core import Sequences, Shape, __version__, isa, isas

# As `typing` has it, which would take longer to load than all that is loaded here.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from . import errors, presets
    from ._threads import get_num_threads, info, set_num_threads, threads
    from .data import TrainTest, digits, load_images
    from .errors import InterneuronError
    from .estimator import DannClassifier
    from .history import History, LayerStatistics
    from .layer import Layer
    from .network import Evaluation, Network
    from .scaler import InputStatistics, Scaler
    from .targets import Target
    from .updates import Schedule, Update, adam, adamw, adamw_eg, csgd, eg, natural, sgd

# Where the names are that are loaded when somebody asks for them.
_LAZY = {
    "_threads": ("get_num_threads", "info", "set_num_threads", "threads"),
    "data": ("TrainTest", "digits", "load_images"),
    "errors": ("InterneuronError",),
    "estimator": ("DannClassifier",),
    "history": ("History", "LayerStatistics"),
    "layer": ("Layer",),
    "network": ("Evaluation", "Network"),
    "scaler": ("InputStatistics", "Scaler"),
    "targets": ("Target",),
    "updates": ("Schedule", "Update", "adam", "adamw", "adamw_eg", "csgd", "eg", "natural", "sgd"),
}
_MODULES = {name: module for module, names in _LAZY.items() for name in names}

__all__ = [
    "DannClassifier",
    "Evaluation",
    "History",
    "InputStatistics",
    "InterneuronError",
    "Layer",
    "LayerStatistics",
    "Network",
    "Scaler",
    "Schedule",
    "Sequences",
    "Shape",
    "Target",
    "TrainTest",
    "Update",
    "__version__",
    "adam",
    "adamw",
    "adamw_eg",
    "csgd",
    "digits",
    "eg",
    "errors",
    "get_num_threads",
    "info",
    "isa",
    "isas",
    "load_images",
    "natural",
    "presets",
    "set_num_threads",
    "sgd",
    "threads",
]


def __getattr__(name: str) -> "Any":
    if name in ("errors", "presets"):
        return importlib.import_module(f".{name}", __name__)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        raise ImportError(
            f"{__name__}.{name} needs NumPy, which is not installed: pip install numpy", name="numpy"
        ) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
