"""A layer on NumPy arrays: forward, backward and updates in place, through the C ABI. Needs ctypes and NumPy only.

python layer.py [LIBRARY], by default target/release/libinterneuron.so of this repository
"""
import ctypes as c
import pathlib
import sys

import numpy as np

default = str(pathlib.Path(__file__).resolve().parents[2] / "target/release/libinterneuron.so")
lib = c.CDLL((sys.argv[1:] or [default])[0])
lib.interneuron_last_error.restype = c.c_char_p
floats, i64, u64 = c.POINTER(c.c_float), c.c_int64, c.c_uint64
NAMES = ["wex", "wix", "wei", "alpha", "g", "b"]


class Sized(c.Structure):  # a struct that begins with its own size
    def __init__(self, *values):
        super().__init__(c.sizeof(self), *values)


class ContextConfig(Sized):
    _fields_ = [("size", u64), ("threads", i64), ("isa", c.c_char_p)]


class LayerConfig(Sized):
    _fields_ = [("size", u64)] + [(n, i64) for n in ["d", "ne", "ni", "nonlinearity", "divisive"]]


class Arrays(Sized):
    _fields_ = [("size", u64)] + [(name, floats) for name in NAMES]


class Update(Sized):
    _fields_ = [("size", u64), ("lr", c.c_double), ("corrections", i64), ("factors", c.POINTER(c.c_double))]


def call(name, *args):
    status = getattr(lib, "interneuron_" + name)(*args)
    if status != 0:
        raise RuntimeError(f"{name}: status {status}: {lib.interneuron_last_error().decode()}")


def at(array):
    """Where an array of float32 is, without a copy."""
    assert array.dtype == np.float32 and array.flags.c_contiguous
    return array.ctypes.data_as(floats)


batch, d, ne, ni = 32, 20, 30, 3
context, layer = u64(), u64()
call("context_create", c.byref(ContextConfig(0, None)), c.byref(context))
call("layer_create", context, c.byref(LayerConfig(d, ne, ni, 0, 1)), c.byref(layer))

# The parameters are NumPy's; the layer draws them there, reads them there and changes them there.
shapes = [(ne, d), (ni, d), (ne, ni), (ni,), (ne,), (ne,)]
params, gradients = ([np.zeros(shape, np.float32) for shape in shapes] for _ in range(2))
call("layer_attach", layer, c.byref(Arrays(*map(at, params))))
call("layer_init", layer, u64(1), i64(0))

rng = np.random.default_rng(1)
x, target = rng.random((batch, d), np.float32), rng.random((batch, ne), np.float32)
h, dx = np.empty((batch, ne), np.float32), np.empty_like(x)
for step in range(201):
    call("layer_forward", layer, i64(batch), at(x), at(h))
    dh = (h - target) / batch  # the gradient of the loss below
    if step % 50 == 0:
        print(f"step {step}: loss {0.5 * np.sum((h - target) ** 2) / batch:.4f}")
    if step < 100:  # fused with the update
        call("layer_update", layer, i64(batch), at(x), at(dh), c.byref(Update(0.05, 1, None)), at(dx))
    else:  # or all gradients, for an update of one's own
        call("layer_backward", layer, i64(batch), at(x), at(dh), c.byref(Arrays(*map(at, gradients))), None)
        for name, param, gradient in zip(NAMES, params, gradients):
            param -= 0.05 * gradient / {"wix": ne**0.5, "wei": d, "alpha": ne**0.5 * d}.get(name, 1)
            if name not in ["alpha", "b"]:
                np.maximum(param, 0, out=param)
call("layer_free", layer)
call("context_free", context)
