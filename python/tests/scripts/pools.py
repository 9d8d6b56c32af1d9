"""What happens to pools of threads where processes begin and end. The argument says which of it."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

import interneuron as inn
from interneuron import _core

# Large enough for phases that go to a pool.
DIMS, NIS, BATCH = [64, 128, 10], [16, 1], 64


def trained(steps: int = 5, threads: int = 2) -> bytes:
    """The bits of a network after some steps."""
    generator = np.random.default_rng(1)
    x, y = generator.random((BATCH, DIMS[0]), np.float32), generator.integers(0, 10, BATCH)
    net = inn.Network(DIMS, NIS, seed=1)
    with inn.threads(threads):
        for _ in range(steps):
            net.train_step(x, y, inn.csgd(0.1))
    return b"".join(array.tobytes() for array in net.params().values())


def own_threads() -> int:
    """How many threads of our pools this process has."""
    count = 0
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm", encoding="ascii") as file:
                count += file.read().startswith("interneuron")
        except FileNotFoundError:
            # It has ended meanwhile.
            pass
    return count


def wait_for_threads(count: int) -> None:
    """Waits until there are so many, which the time limit of the test ends."""
    while own_threads() != count:
        time.sleep(0.01)


def in_child(work: Callable[[], bytes]) -> bytes:
    """What a function returns in a child process of `os.fork`."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with os.fdopen(write, "wb") as pipe:
                pipe.write(work())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return said


def anew() -> bytes:
    """Checks that this process begins without a pool, and makes one."""
    assert _core.pools() == 0
    assert own_threads() == 0
    bits = trained()
    assert _core.pools() == 1
    wait_for_threads(2)
    return bits


def fork() -> None:
    expected = trained()
    assert _core.pools() == 1
    assert in_child(anew) == expected
    # A child of the child, and the parent itself afterwards.
    assert in_child(lambda: anew() and in_child(anew)) == expected
    assert trained() == expected
    assert _core.pools() == 1


def fork_in_thread() -> None:
    expected = trained()
    said: list[bytes] = []
    thread = threading.Thread(target=lambda: said.append(in_child(anew)))
    thread.start()
    thread.join()
    assert said == [expected]


def fork_beside_computation() -> None:
    expected, over = trained(), threading.Event()

    def compute() -> None:
        while not over.is_set():
            assert trained() == expected

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert in_child(anew) == expected
    over.set()
    for thread in threads:
        thread.join()


def fork_after_eviction() -> None:
    """A network whose pool is no longer among those that are kept goes on in a child."""
    generator = np.random.default_rng(1)
    x, y = generator.random((BATCH, DIMS[0]), np.float32), generator.integers(0, 10, BATCH)
    net = inn.Network(DIMS, NIS, seed=1)
    for threads in (2, 3, 4, 5, 6):
        with inn.threads(threads):
            (inn.Network(DIMS, NIS) if threads > 2 else net).train_step(x, y, inn.csgd(0.1))

    def on() -> bytes:
        with inn.threads(2):
            net.train_step(x, y, inn.csgd(0.1))
        return b"".join(array.tobytes() for array in net.params().values())

    assert in_child(on) == on()


def executor(method: str) -> None:
    expected = trained()
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        assert set(executor.map(trained, [5] * 4, timeout=30)) == {expected}
    with context.Pool(2) as pool:
        assert set(pool.map_async(trained, [5] * 4).get(30)) == {expected}
    process = context.Process(target=trained)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert trained() == expected


def exit_with_pool() -> None:
    trained()
    assert own_threads() == 2


def exit_of_child() -> None:
    """A child that ends as any program does, with its objects of the parent's pool."""
    trained()
    pid = os.fork()
    if pid == 0:
        trained()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def exit_beside_computation() -> None:
    """A daemon is in a kernel when the interpreter ends."""
    threading.Thread(target=trained, args=(10**9,), daemon=True).start()
    time.sleep(0.2)


def one_thread() -> None:
    """The environment says 1."""
    assert inn.get_num_threads() == 1
    trained(threads=inn.get_num_threads())
    assert _core.pools() == 0
    assert own_threads() == 0
    # So that the other process computes at the same time.
    time.sleep(0.2)


def evicted() -> None:
    """Pools that are no longer kept end their threads."""
    for threads in range(2, 12):
        trained(1, threads)
    wait_for_threads(8 + 9 + 10 + 11)
    assert _core.pools() == 4


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
