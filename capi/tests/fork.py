"""A child of multiprocessing's "fork" goes on with the network of its parent, to the bit. Needs ctypes only.

python fork.py LIBRARY
"""
import ctypes as c
import multiprocessing
import sys

lib = c.CDLL(sys.argv[1])
lib.interneuron_last_error.restype = c.c_char_p
i64, u64 = c.c_int64, c.c_uint64
BATCH, INPUTS, STEPS = 32, 784, 6


class Sized(c.Structure):
    def __init__(self, *values):
        super().__init__(c.sizeof(self), *values)


class ContextConfig(Sized):
    _fields_ = [("size", u64), ("threads", i64), ("isa", c.c_char_p)]


class NetworkConfig(Sized):
    _fields_ = [("size", u64), ("layers", i64), ("dims", c.POINTER(i64)), ("nis", c.POINTER(i64)), ("seed", u64)]


class Update(Sized):
    _fields_ = [("size", u64), ("lr", c.c_double), ("corrections", i64), ("factors", c.POINTER(c.c_double))]


def call(name, *args):
    status = getattr(lib, "interneuron_" + name)(*args)
    if status != 0:
        raise RuntimeError(f"{name}: status {status}: {lib.interneuron_last_error().decode()}")


def create(threads):
    context, network = u64(), u64()
    call("context_create", c.byref(ContextConfig(threads, None)), c.byref(context))
    shape = NetworkConfig(2, (i64 * 3)(INPUTS, 300, 10), (i64 * 2)(30, 1), 1)
    call("network_create", context, c.byref(shape), c.byref(network))
    return context, network


def train(network, steps):
    x = (c.c_float * (BATCH * INPUTS))(*(i % 97 / 97 for i in range(BATCH * INPUTS)))
    labels = (c.c_uint32 * BATCH)(*(i % 10 for i in range(BATCH)))
    loss = c.c_double()
    for _ in range(steps):
        call("network_train_step", network, i64(BATCH), x, labels, c.byref(Update(0.1, 1, None)), c.byref(loss))
        yield loss.value.hex()


def free(context, network):
    call("network_free", network)
    call("context_free", context)


def child(things, queue):
    queue.put(list(train(things[1], STEPS - 2)))
    free(*things)


def main():
    things = create(0)
    expected = list(train(things[1], STEPS))
    free(*things)
    things = create(2)
    begin = list(train(things[1], 2))
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    children = [fork.Process(target=child, args=(things, queue)) for _ in range(2)]
    for process in children:
        process.start()
    rests = [queue.get(timeout=60) for _ in children]
    for process in children:
        process.join(60)
        assert process.exitcode == 0, f"a child ended with {process.exitcode}"
    rests.append(list(train(things[1], STEPS - 2)))
    free(*things)
    assert all(begin + rest == expected for rest in rests), f"expected {expected}, got {begin} and {rests}"
    print("children of multiprocessing go on to the bit")


main()
