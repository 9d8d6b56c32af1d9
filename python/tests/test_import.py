"""What `import interneuron` does, and what it leaves alone."""

import importlib
import subprocess
import sys

import pytest

import interneuron as inn


def run(code: str) -> str:
    """Runs a program of Python and returns what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_neither_numpy_nor_torch_is_loaded() -> None:
    names = ["numpy", "torch", "sklearn", "pandas", "xarray", "tqdm"]
    uses = "i.csgd(0.1), i.Schedule.cosine(1.0, 9), i.presets.shapes([2, 3], [1]), i.info()"
    code = f"import sys, interneuron as i; {uses}; print([n for n in {names} if n in sys.modules])"
    assert run(code) == "[]"


def test_torch_is_not_loaded_by_what_needs_numpy() -> None:
    code = "import sys, interneuron as i; [getattr(i, n) for n in i.__all__]; \
        print([n for n in ('torch', 'sklearn', 'pandas', 'xarray', 'tqdm') if n in sys.modules])"
    assert run(code) == "[]"


def test_without_numpy_the_error_says_so() -> None:
    code = """
import sys
sys.modules["numpy"] = None
import interneuron as i
i.csgd(0.1)
try:
    i.Network
except ImportError as error:
    print(error)
"""
    assert run(code) == "interneuron.Network needs NumPy, which is not installed: pip install numpy"


def test_all_names_are_there() -> None:
    for name in inn.__all__:
        assert getattr(inn, name) is not None
    assert set(inn.__all__) <= set(dir(inn))
    assert inn.__version__ == importlib.import_module("interneuron._core").__version__
    with pytest.raises(AttributeError, match="module 'interneuron' has no attribute 'Netwrk'"):
        inn.Netwrk  # noqa: B018
