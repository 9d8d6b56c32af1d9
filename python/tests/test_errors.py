"""Exceptions: their bases, their attributes, and that they are the same on the other side of a pickle."""

import copy
import pickle
import subprocess
import sys

import pytest

from interneuron import errors
from interneuron.errors import Diverged, DivisorError, InterneuronError

PLAIN = ["ShapeError", "InvalidValue", "CheckpointError", "TooLarge", "InternalError", "InUse", "NotFitted"]


@pytest.mark.parametrize("name", PLAIN)
def test_plain_errors_pickle(name: str) -> None:
    error = getattr(errors, name)("x is 3: expected 4")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error) and str(other) == "x is 3: expected 4"
        assert isinstance(other, InterneuronError)


def test_errors_pickle_where_dask_is_loaded() -> None:
    pytest.importorskip("tblib")
    code = f"""
import copy, pickle
from interneuron import errors
import tblib.pickling_support
tblib.pickling_support.install()
for name in {[*PLAIN, "Diverged", "DivisorError"]}:
    error = getattr(errors, name)("x is 3")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error) and str(other) == "x is 3", name
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=25)


def test_attributes_pickle() -> None:
    diverged = Diverged("the loss is NaN", 7, 0.5, float("inf"))
    diverged.add_note("in epoch 3")
    other = pickle.loads(pickle.dumps(diverged))
    assert (str(other), other.step, other.lr, other.loss) == ("the loss is NaN", 7, 0.5, float("inf"))
    assert other.__notes__ == ["in epoch 3"]
    low = pickle.loads(pickle.dumps(DivisorError("layer 0", 0, 0.25, -1.0)))
    assert (str(low), low.layer, low.share, low.smallest) == ("layer 0", 0, 0.25, -1.0)
    assert Diverged("message").step is None and DivisorError("message").layer is None


def test_bases() -> None:
    expected = {
        "ShapeError": (ValueError, RuntimeError),
        "InvalidValue": (ValueError,),
        "Diverged": (ArithmeticError,),
        "DivisorError": (ArithmeticError,),
        "CheckpointError": (OSError,),
        "TooLarge": (MemoryError,),
        "InternalError": (RuntimeError,),
        "InUse": (RuntimeError,),
        "NotFitted": (ValueError, AttributeError),
    }
    for name, bases in expected.items():
        assert issubclass(getattr(errors, name), (InterneuronError,))
        assert all(issubclass(getattr(errors, name), base) for base in bases)
