"""Sweeps over learning rates, seeds and whatever else a trial takes, on engines that exist.

A trial is a function of plain arguments that returns a dict of numbers, texts, and lists of them:

>>> settings = grid(network=["mlp", "dann"], lr=[0.03, 0.1, 0.3], seed=range(5))
>>> rows = run(trial, settings, "rates.jsonl", executor=ProcessPoolExecutor())      # doctest: +SKIP
>>> plots.rates(table("rates.jsonl"), y="test_error").figure.savefig("rates.svg")   # doctest: +SKIP

Results are a file of JSON lines, a row for each trial, which is there whole or not at all. A sweep that was
killed goes on when it is run again: only trials without a row are run. As trials are what goes side by side,
each should compute on one thread, `with interneuron.threads(1):`. `table` needs pandas, `plots` matplotlib.
"""

import concurrent.futures
import contextlib
import functools
import itertools
import json
import math
import os
import random as _random
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from . import plots
from .errors import InvalidValue

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]

__all__ = ["Uniform", "grid", "plots", "random", "run", "table"]

Setting: TypeAlias = dict[str, Any]
Row: TypeAlias = dict[str, Any]
Trial: TypeAlias = Callable[..., Mapping[str, Any]]
Path: TypeAlias = str | os.PathLike[str]

_NAMES = ("setting", "result", "failure", "seconds")
# How a row begins. What begins so and is no row is half a line, of a process that was killed.
_BEGIN = '{"setting": '


@dataclass(frozen=True)
class Uniform:
    """Numbers from `low` to `high`, uniform, or log-uniform with `log=True`."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not -math.inf < self.low <= self.high < math.inf or (self.log and self.low <= 0):
            raise InvalidValue(f"{self}: expected finite numbers, low <= high, and low > 0 with log=True")

    def draw(self, generator: _random.Random) -> float:
        """A number."""
        if self.log:
            return math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return generator.uniform(self.low, self.high)


def grid(**lists: Any) -> list[Setting]:
    """All combinations; the last argument changes first. What is no list is the same for all."""
    axes = map(_alternatives, lists.values())
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*axes)]


def random(count: int, *, seed: int, **spaces: Any) -> list[Setting]:
    """`count` settings: a `Uniform` or a list is drawn from, what is neither is the same for all, and each
    has a `seed` of its own. Of two sweeps of one `seed`, the longer begins with the shorter."""

    def draw(name: str, space: Any, k: int) -> Any:
        # What is drawn for an argument does not depend on which others there are.
        generator = _random.Random(f"{seed} {k} {name}")
        return space.draw(generator) if isinstance(space, Uniform) else generator.choice(_alternatives(space))

    seeds = [_random.Random(f"{seed} {k}").getrandbits(31) for k in range(count)]
    drawn = [{name: draw(name, space, k) for name, space in spaces.items()} for k in range(count)]
    return [setting | {"seed": own} for setting, own in zip(drawn, seeds, strict=True)]


def _alternatives(values: Any) -> list[Any]:
    is_one = isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable)
    return [values] if is_one else list(values)


def run(
    trial: Trial, settings: Iterable[Setting], path: Path, *, executor: Any = None, retry: bool = False
) -> list[Row]:
    """Runs `trial(**setting)` for each setting without a row in the file at `path`; returns those of all.

    A row has the arguments, the results, `seconds` unless the trial says its own, and `failure`: None, or
    what the trial raised, which does not end the others. A trial whose process died has no row; the
    executor's exception is raised once the others have ended.

    Args:
        trial: at the top level of a module, so that other processes find it.
        settings: dicts of arguments: numbers, texts, and lists of them.
        path: a file of JSON lines, made if it is not there. Several processes may write to it at once, where
            the file system has locks; each should have settings of its own, such as `settings[k::n]`.
        executor: None: one trial after another, here. Or what has `submit` (`concurrent.futures`, Dask's
            client, submitit), or `imap_unordered` (pools of `multiprocessing`, which wait for ever for a
            process that was killed, and Ray's), or a `joblib.Parallel(return_as="generator_unordered")`.
        retry: whether trials whose row has a `failure` are run again.

    Raises `OSError` if the file cannot be written, before any trial runs; `InvalidValue` if it holds others.
    """
    settings = list(settings)
    keys = [_key(setting) for setting in settings]
    _append(path, "")
    done = {key for key, row in _read(path).items() if row["failure"] is None or not retry}
    todo = {key: setting for key, setting in zip(keys, settings, strict=True) if key not in done}
    for line in _lines(functools.partial(_attempt, trial), list(todo.values()), executor):
        _append(path, line)
    rows = _read(path)
    return [_flat(rows[key]) for key in keys]


def table(*paths: Path) -> "pandas.DataFrame":
    """The rows of files as a DataFrame of pandas, the last one of each setting. Raises as `run`."""
    import pandas

    known = {key: _flat(row) for path in paths for key, row in _read(path).items()}
    return pandas.DataFrame(list(known.values()))


def _flat(row: Row) -> Row:
    return {"seconds": row["seconds"], **row["setting"], **row["result"], "failure": row["failure"]}


def _key(setting: Setting) -> str:
    return json.dumps(setting, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}: expected numbers, texts, and lists of them")


def _attempt(trial: Trial, setting: Setting) -> str:
    """Runs a trial, wherever that is, and returns its row."""
    row: Row = {"setting": setting, "result": {}, "failure": None}
    start = time.perf_counter()
    try:
        row["result"] = dict(trial(**setting))
        for name in setting.keys() & row["result"].keys():
            if _key({name: setting[name]}) != _key({name: row["result"][name]}):
                raise InvalidValue(f"the result's {name!r} is not the argument's: expected another name")
        json.dumps(row, default=_plain)
    except Exception as error:
        row.update(result={}, failure=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
    row["seconds"] = time.perf_counter() - start
    return json.dumps(row, default=_plain)


def _lines(attempt: Callable[[Setting], str], settings: list[Setting], executor: Any) -> Iterator[str]:
    """The rows of trials, as they end."""
    if executor is None or not settings:
        return map(attempt, settings)
    if hasattr(executor, "get_executor"):
        # Dask's client. It is to run a trial again that is asked for again, and not to look its row up.
        executor = executor.get_executor(pure=False)
    if hasattr(executor, "submit"):
        return _completed(attempt, settings, executor)
    if hasattr(executor, "imap_unordered"):
        return iter(executor.imap_unordered(attempt, settings))
    if getattr(executor, "return_as", None) not in ("generator", "generator_unordered"):
        raise TypeError(
            f"executor is {executor!r}: expected what has submit or imap_unordered, or joblib's Parallel "
            'with return_as="generator_unordered", which hands over each row when its trial ends'
        )
    # A call as joblib.delayed makes it.
    return iter(executor((attempt, (setting,), {}) for setting in settings))


def _completed(attempt: Callable[[Setting], str], settings: list[Setting], executor: Any) -> Iterator[str]:
    futures: list[Any] = []
    # An exception that is not of a trial, as those are in its row.
    broken: Exception | None = None
    try:
        # What is submitted within submitit's `batch()` becomes one array of Slurm's.
        with executor.batch() if hasattr(executor, "batch") else contextlib.nullcontext():
            for setting in settings:
                futures.append(executor.submit(attempt, setting))
    except Exception as error:
        broken = error
    try:
        for future in _ended(futures):
            try:
                yield future.result()
            except Exception as error:
                broken = broken or error
    finally:
        for future in futures:
            if not future.done():
                future.cancel()
    if broken is not None:
        raise broken


def _ended(futures: list[Any]) -> Iterator[Any]:
    if all(isinstance(future, concurrent.futures.Future) for future in futures):
        yield from concurrent.futures.as_completed(futures)
        return
    # Those of other libraries cannot be waited for together.
    while futures:
        done = [future for future in futures if future.done()]
        yield from done
        futures = [future for future in futures if future not in done]
        time.sleep(0.05)


def _append(path: Path, line: str) -> None:
    """Adds a line to a file, whole, whoever else writes there. An empty one tries whether it can."""
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "ab+", buffering=0) as file:
            with contextlib.suppress(ImportError, OSError):
                import fcntl  # Not on Windows: there, a line is still one call.

                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
            # Half a line ends here, so that the next row is a line of its own.
            begin = "" if file.read(1) in (b"", b"\n") else "\n"
            data = f"{begin}{line}\n".encode() if line else b""
            while data:
                data = data[file.write(data) :]
    except OSError as error:
        text = f"path is {os.fspath(path)!r}: expected a file that can be written"
        raise OSError(error.errno, f"{text} ({error.strerror})") from error


def _read(path: Path) -> dict[str, Row]:
    """The rows of a file by their settings, the last one of each."""
    known = {}
    with open(path, "rb") as file:
        for number, data in enumerate(file, 1):
            line = data.decode(errors="replace").rstrip("\n")
            try:
                row = json.loads(line)
                known[_key(row["setting"])] = {name: row[name] for name in _NAMES}
            except (ValueError, TypeError, KeyError):
                if not line.startswith(_BEGIN) and not _BEGIN.startswith(line):
                    text = f"{os.fspath(path)!r}, whose line {number} is {line[:40]!r}"
                    raise InvalidValue(f"path is {text}: expected rows of a sweep") from None
    return known
