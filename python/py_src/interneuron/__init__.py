"""Fast CPU layers with separate excitatory and inhibitory units (Dale's ANNs)."""

from ._core import __version__

__all__ = ["__version__"]
