"""How many threads compute."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePosixPath
from typing import Any

from . import _check, _core
from .errors import InvalidValue

MOST_THREADS = 1024

_block: ContextVar[int | None] = ContextVar("interneuron.threads", default=None)
_set: int | None = None
# What the environment and the machine say, once somebody has asked.
_found: tuple[int, str] | None = None


def set_num_threads(n: int | None) -> None:
    """Sets how many threads compute, 1 to 1024, in the whole process; None: what the environment and the
    machine say.

    It never changes a bit of a result, only the time. One thread is best for small networks, and where many
    runs go on side by side.

    Raises `InvalidValue` for a number out of range, `TypeError` for what is no whole number.
    """
    global _set
    _set = None if n is None else _check.whole("n", n, 1, MOST_THREADS)


def get_num_threads() -> int:
    """How many threads the next call computes on. The first of these that there is decides:

    1. a block `with threads(n)`,
    2. `set_num_threads`,
    3. the environment's `INTERNEURON_NUM_THREADS`,
    4. its `OMP_NUM_THREADS` (of a list the first number), which schedulers and job systems set,
    5. the cores that this process may use: its affinity, and the quota of its control group.

    The environment and the machine are asked once, at first use.

    Raises `InvalidValue` if a variable of the environment is no number from 1 to 1024.
    """
    return _decide()[0]


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Calls inside of `with threads(n):` compute on n threads, 1 to 1024.

    It holds for this thread of Python, or this task of `asyncio`, alone. No bit of a result depends on it.
    """
    token = _block.set(_check.whole("n", n, 1, MOST_THREADS))
    try:
        yield
    finally:
        _block.reset(token)


def info() -> dict[str, Any]:
    """What this process computes with: `version`; `isa`, the instruction set in use, and `isas`, all that
    this CPU has; `threads`, and `rule`, which said how many; `pools`, how many pools of threads there are (1
    thread needs none)."""
    count, rule = _decide()
    return {
        "version": _core.__version__,
        "isa": _core.isa(),
        "isas": _core.isas(),
        "threads": count,
        "rule": rule,
        "pools": _core.pools(),
    }


def _decide() -> tuple[int, str]:
    """How many, and which rule says so."""
    global _found
    block = _block.get()
    if block is not None:
        return block, "threads()"
    if _set is not None:
        return _set, "set_num_threads()"
    if _found is None:
        _found = _of_environment(os.environ) or _of_machine()
    return _found


def _of_environment(variables: Mapping[str, str]) -> tuple[int, str] | None:
    for variable in ("INTERNEURON_NUM_THREADS", "OMP_NUM_THREADS"):
        text = variables.get(variable, "").strip()
        if not text:
            continue
        first = text.split(",")[0].strip() if variable == "OMP_NUM_THREADS" else text
        if not (first.isascii() and first.isdigit() and 1 <= int(first) <= MOST_THREADS):
            raise InvalidValue(f"{variable} is {text!r}: expected a whole number from 1 to {MOST_THREADS}")
        return int(first), variable
    return None


def _of_machine() -> tuple[int, str]:
    try:
        cores, rule = len(os.sched_getaffinity(0)), "affinity"
    except AttributeError:
        # Not on this system.
        cores, rule = os.cpu_count() or 1, "cpu_count"
    quota = _quota("/proc/self/cgroup", "/sys/fs/cgroup")
    if quota is not None and quota < cores:
        cores, rule = quota, "cgroup"
    return min(max(cores, 1), MOST_THREADS), rule


def _quota(membership: str, root: str) -> int | None:
    """Whole cores that the control group of this process, or one above it, allows; None if there is no
    quota."""

    def read(path: str) -> str:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    least = math.inf
    for line in read(membership).splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        version_2 = hierarchy == "0" and controllers == ""
        if not version_2 and "cpu" not in controllers.split(","):
            continue
        # Inside of a container the path is that outside, and the group itself is the root.
        for part in [PurePosixPath("/"), PurePosixPath(group), *PurePosixPath(group).parents]:
            folder = f"{root}{'' if version_2 else '/cpu'}{'' if str(part) == '/' else part}"
            files = ["cpu.max"] if version_2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
            said = " ".join(read(f"{folder}/{file}") for file in files).split()
            if len(said) == 2 and said[0].isdigit() and said[1].isdigit() and int(said[1]) > 0:
                least = min(least, int(said[0]) / int(said[1]))
    # Part of a core is no core, as Rust's standard library counts; there is always one.
    return None if least == math.inf else max(1, int(least))
