"""All layer cases of tests/golden through the C ABI, on every instruction set. Needs NumPy only.

python golden.py LIBRARY
"""
import ctypes as c
import json
import os
import pathlib
import sys

import numpy as np

lib = c.CDLL(sys.argv[1])
lib.interneuron_last_error.restype = c.c_char_p
floats, i64, u64 = c.POINTER(c.c_float), c.c_int64, c.c_uint64
NAMES = ["Wex", "Wix", "Wei", "alpha", "g", "b"]
INPUTS = ["x", "dh", "relu", "d", "ne", "ni", "batch", "lr"] + NAMES
# As the tests of the Rust crate: one pass of a layer in f32, relative to the largest element.
TOLERANCE = 1e-5


class Sized(c.Structure):
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
        sys.exit(f"{name}: status {status}: {lib.interneuron_last_error().decode()}")


def at(array):
    assert array.dtype == np.float32 and array.flags.c_contiguous
    return array.ctypes.data_as(floats)


def arrays(values):
    return c.byref(Arrays(*map(at, values)))


def read(path):
    """A safetensors file: the length of its header, the header as JSON, then the arrays."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header.pop("__metadata__", None)
    types = {"F64": "<f8", "I64": "<i8"}
    return {
        name: np.frombuffer(data[end:][slice(*entry["data_offsets"])], types[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }


def isas():
    count, name = i64(), c.c_char_p()
    call("isa_count", c.byref(count))
    for i in range(count.value):
        call("isa_name", i64(i), c.byref(name))
        yield name.value


def run(case, isa, threads, close):
    d, ne, ni, batch, relu = (int(case[name].item()) for name in ["d", "ne", "ni", "batch", "relu"])
    context, layer = u64(), u64()
    call("context_create", c.byref(ContextConfig(threads, isa)), c.byref(context))
    call("layer_create", context, c.byref(LayerConfig(d, ne, ni, 1 - relu, 1)), c.byref(layer))
    call("context_free", context)
    begin = [case[name].astype(np.float32) for name in NAMES]
    params = [array.copy() for array in begin]
    call("layer_attach", layer, arrays(params))
    x, dh = case["x"].astype(np.float32), case["dh"].astype(np.float32)
    h, dx = np.full((batch, ne), np.nan, np.float32), np.full((batch, d), np.nan, np.float32)
    gradients = [np.full_like(array, np.nan) for array in begin]

    def forward(function="layer_forward"):
        call(function, layer, i64(batch), at(x), at(h))

    forward("layer_infer")
    close("h", h)
    forward()
    close("h", h)
    zi, zhat, gamma = (np.full((batch, n), np.nan, np.float32) for n in [ni, ne, ne])
    call("layer_inhibition", layer, i64(batch), at(zi), at(zhat), at(gamma))
    close("zi", zi)
    close("gamma", gamma)
    # The excitation and the sum after gain and bias stay in registers: what the layer made of them must fit.
    close("z", begin[4] * zhat + begin[5])
    close("ze", zhat * gamma + zi @ begin[2].T)
    call("layer_backward", layer, i64(batch), at(x), at(dh), arrays(gradients), at(dx))
    close("dx", dx)
    for name, gradient in zip(NAMES, gradients):
        close("d" + name, gradient)
    for corrections in [1, 0]:
        for array, value in zip(params, begin):
            array[...] = value
        dx.fill(np.nan)
        forward()
        update = Update(float(case["lr"].item()), corrections, None)
        call("layer_update", layer, i64(batch), at(x), at(dh), c.byref(update), at(dx))
        close("dx", dx)
        for name, array in zip(NAMES, params):
            inhibitory = name in ["Wix", "Wei", "alpha"]
            close(name + ("1_sgd" if inhibitory and not corrections else "1"), array)
    call("layer_free", layer)


def main():
    folder = pathlib.Path(__file__).resolve().parents[2] / "tests/golden"
    folder = pathlib.Path(os.environ.get("INTERNEURON_GOLDEN_DIR") or folder)
    paths = sorted(folder.glob("layer_*.safetensors"))
    assert paths, f"{folder} holds no layer_*.safetensors"
    names = list(isas())
    worst = 0.0
    for path in paths:
        case = read(path)
        for isa in names:
            for threads in [0, 2]:
                seen = set(INPUTS)

                def close(name, got):
                    nonlocal worst
                    seen.add(name)
                    want = case[name].reshape(got.shape)
                    scale = np.abs(want).max() or 1.0
                    # Written so that a NaN fails.
                    error = np.abs(got - want).max() / scale
                    if not error <= TOLERANCE:
                        sys.exit(f"{path.name} on {isa.decode()}: {name} is off by {error:.1e}")
                    worst = max(worst, error)

                run(case, isa, threads, close)
                assert seen == set(case), f"{path.name}: not compared: {set(case) - seen}"
    print(f"{len(paths)} cases on {b', '.join(names).decode()}: off by {worst:.1e} at most")


main()
