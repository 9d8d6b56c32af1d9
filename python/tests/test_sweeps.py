"""Sweeps: settings, the file of results, engines that run trials, pictures, and the examples."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import stat
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trials
from script import PYTHON, SCRIPTS, Program, run

from interneuron import sweep
from interneuron.errors import InvalidValue

EXAMPLES = PYTHON / "examples"
SETTINGS = sweep.grid(network=["dann", "mlp", "column-ei"], lr=[0.1], seed=range(2))


def results(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what differs from run to run."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def alone() -> list[dict[str, Any]]:
    """What the trials return, one after another."""
    return [setting | trials.learned(**setting) | {"failure": None} for setting in SETTINGS]


# ---- settings


def test_a_grid_has_all_combinations_in_order() -> None:
    grid = sweep.grid(network="dann", lr=[0.1, 1.0], seed=range(2))
    assert [(it["lr"], it["seed"]) for it in grid] == [(0.1, 0), (0.1, 1), (1.0, 0), (1.0, 1)]
    assert {it["network"] for it in grid} == {"dann"}
    assert sweep.grid() == [{}]
    assert sweep.grid(lr=[]) == []


def test_random_settings_depend_on_the_seed_and_their_number_alone() -> None:
    space = {
        "lr": sweep.Uniform(1e-3, 1, log=True),
        "momentum": sweep.Uniform(0, 0.9),
        "clip": [None, 1.0],
        "epochs": 2,
    }
    drawn = sweep.random(200, seed=1, **space)
    assert drawn == sweep.random(200, seed=1, **space)
    assert drawn[:50] == sweep.random(50, seed=1, **space)
    assert [it["lr"] for it in drawn] == [it["lr"] for it in sweep.random(200, seed=1, lr=space["lr"])]
    assert drawn != sweep.random(200, seed=2, **space)
    assert len({it["seed"] for it in drawn}) == 200
    assert all(1e-3 <= it["lr"] <= 1 and 0 <= it["momentum"] <= 0.9 and it["epochs"] == 2 for it in drawn)
    assert {it["clip"] for it in drawn} == {None, 1.0}
    # A third of them for each power of ten.
    assert all(40 < sum(low <= it["lr"] < 10 * low for it in drawn) < 95 for low in (1e-3, 1e-2, 1e-1))


@pytest.mark.parametrize("numbers", [(1, 0, False), (0, 1, True), (0, math.inf, False), (math.nan, 1, False)])
def test_impossible_ranges_are_refused(numbers: tuple[float, float, bool]) -> None:
    with pytest.raises(InvalidValue, match="expected finite numbers, low <= high"):
        sweep.Uniform(*numbers)


# ---- the file


def test_trials_with_a_row_are_not_run_again(tmp_path: Path) -> None:
    path, folder = tmp_path / "made" / "for it" / "rows.jsonl", str(tmp_path)
    first = sweep.run(trials.counted, sweep.grid(k=range(3), folder=folder), path)
    again = sweep.run(trials.counted, [{"folder": folder, "k": k} for k in (4, 2, 2, 0)], path)
    assert [row["square"] for row in first] == [0, 1, 4]
    assert [row["square"] for row in again] == [16, 4, 4, 0]
    assert {it.name: it.read_text() for it in tmp_path.glob("*.runs")} == {
        f"{k}.runs": "x" for k in (0, 1, 2, 4)
    }
    assert len(path.read_text().splitlines()) == 4


def test_failed_trials_have_a_row_and_are_run_again_if_asked_for(tmp_path: Path) -> None:
    path, settings = tmp_path / "rows.jsonl", sweep.grid(k=range(4), folder=str(tmp_path))
    for _ in range(2):
        rows = sweep.run(trials.fails, settings, path)
        assert [row["failure"] for row in rows] == [None, "Diverged: the loss is not finite"] * 2
        assert [row.get("square") for row in rows] == [0, None, 4, None]
    assert "in fails" in json.loads(path.read_text().splitlines()[1])["traceback"]
    (tmp_path / "mended").touch()
    rows = sweep.run(trials.fails, settings, path, retry=True)
    assert [row["square"] for row in rows] == [0, 1, 4, 9]
    assert [row["failure"] for row in rows] == [None] * 4
    # The last row of a setting counts.
    assert len(path.read_text().splitlines()) == 6
    assert len(sweep.table(path)) == 4
    assert list(sweep.table(path)["square"]) == [0, 1, 4, 9]


def test_results_that_no_row_can_have_are_failures(tmp_path: Path) -> None:
    rows = sweep.run(trials.odd, sweep.grid(k=range(4)), tmp_path / "rows.jsonl")
    assert "is a builtin_function_or_method: expected numbers" in rows[0]["failure"]
    assert rows[1]["failure"] == "InvalidValue: the result's 'k' is not the argument's: expected another name"
    assert rows[2]["failure"] is None
    assert math.isnan(rows[2]["x"])
    assert rows[3]["failure"] == "KeyError: 3"


def test_numbers_of_numpy_are_plain_settings(tmp_path: Path) -> None:
    settings = [
        {"network": "mlp", "lr": lr, "seed": seed} for lr in np.float64([0.1]) for seed in np.arange(2)
    ]
    assert sweep.run(trials.learned, settings, tmp_path / "rows.jsonl")[1]["seed"] == 1
    before = (tmp_path / "rows.jsonl").read_text()
    sweep.run(trials.learned, sweep.grid(network="mlp", lr=0.1, seed=[0, 1]), tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_text() == before


def test_settings_that_no_row_can_have_are_refused_before_the_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected numbers, texts, and lists of them"):
        sweep.run(trials.odd, [{"k": object()}], tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()


def test_half_a_line_is_a_trial_that_is_run_again(tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole.jsonl", str(tmp_path)
    sweep.run(trials.counted, sweep.grid(k=range(3), folder=folder), whole)
    data = whole.read_bytes()
    last = data.rstrip(b"\n").rindex(b"\n") + 1
    for end in [*range(last, last + 20), len(data) - 30, len(data) - 2]:
        path = tmp_path / "rows.jsonl"
        path.write_bytes(data[:end])
        assert len(sweep.table(path)) == 2
        rows = sweep.run(trials.counted, sweep.grid(k=range(4), folder=folder), path)
        assert [row["square"] for row in rows] == [0, 1, 4, 9]
        assert len(sweep.table(path)) == 4
    # All but the end of the line.
    path.write_bytes(data[:-1])
    assert len(sweep.table(path)) == 3
    assert len(sweep.run(trials.counted, sweep.grid(k=range(4), folder=folder), path)) == 4
    assert len(path.read_bytes().splitlines()) == 4


@pytest.mark.parametrize(
    "text", ["lr,error\n0.1,3\n", "{}\n", '{"setting": 1}x\n{"a": 1}\n', "[]\n", "\x00\x00\n"]
)
def test_other_files_are_refused_and_left_as_they_are(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.csv"
    path.write_text(text)
    with pytest.raises(
        InvalidValue, match=r"path is '.*notes\.csv', whose line \d is .*: expected rows of a sweep"
    ):
        sweep.run(trials.counted, sweep.grid(k=[1], folder=str(tmp_path)), path)
    assert path.read_text() == text
    assert not (tmp_path / "1.runs").exists()


def test_a_file_that_cannot_be_written_is_an_error_before_any_trial_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, kind in ((tmp_path, IsADirectoryError), (tmp_path / "file" / "rows", NotADirectoryError)):
        with pytest.raises(OSError, match=r"path is '.*': expected a file that can be written \(") as caught:
            sweep.run(trials.counted, sweep.grid(k=[1], folder=str(tmp_path)), path)
        assert isinstance(caught.value, kind | FileExistsError)
    if os.geteuid() != 0:
        (tmp_path / "file").chmod(stat.S_IRUSR)
        with pytest.raises(PermissionError, match="expected a file that can be written"):
            sweep.run(trials.counted, sweep.grid(k=[1], folder=str(tmp_path)), tmp_path / "file")
    assert not (tmp_path / "1.runs").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        OSError, match=r"path is '/dev/full': expected a file that can be written \(No space left"
    ):
        sweep._append("/dev/full", "{}")


def test_several_writers_share_a_file(tmp_path: Path) -> None:
    path, settings = tmp_path / "rows.jsonl", sweep.grid(k=range(60), folder=str(tmp_path))
    context = multiprocessing.get_context("spawn")
    parts = [settings[k::3] for k in range(3)]
    writers = [context.Process(target=sweep.run, args=(trials.counted, part, path)) for part in parts]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(20)
        assert writer.exitcode == 0
    assert sorted(sweep.table(path)["k"]) == list(range(60))
    assert len(path.read_text().splitlines()) == 60


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_sweep_goes_on(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "rows.jsonl"
    program = Program(SCRIPTS / "killed.py", str(path), str(workers))
    # Some rows, and then at any moment.
    while not path.exists() or path.stat().st_size < 50_000:
        assert program.is_running()
    program.kill()
    program.output(10)
    killed = len(sweep.table(path))
    assert 2 <= killed < 40
    run(SCRIPTS / "killed.py", str(path), str(workers), seconds=20)
    frame = sweep.table(path)
    assert sorted(frame["k"]) == list(range(40))
    assert list(frame["square"]) == [k * k for k in frame["k"]]


def test_a_worker_that_dies_is_no_failed_trial(tmp_path: Path) -> None:
    path, settings = tmp_path / "rows.jsonl", sweep.grid(k=range(6), folder=str(tmp_path))
    with ProcessPoolExecutor(1) as executor, pytest.raises(BrokenProcessPool):
        sweep.run(trials.dies, settings, path, executor=executor)
    assert set(sweep.table(path)["k"]) <= {0, 1, 2}
    assert [row["square"] for row in sweep.run(trials.dies, settings, path)] == [0, 1, 4, 9, 16, 25]
    assert sweep.table(path)["failure"].isna().all()


# ---- engines


def test_executors_of_python_return_the_bits_of_trials_that_run_alone(
    tmp_path: Path, alone: list[dict[str, Any]]
) -> None:
    assert results(sweep.run(trials.learned, SETTINGS, tmp_path / "alone.jsonl")) == alone
    spawn = multiprocessing.get_context("spawn")
    with (
        ThreadPoolExecutor(3) as threads,
        ProcessPoolExecutor(2, mp_context=spawn) as processes,
        spawn.Pool(2) as pool,
    ):
        for k, executor in enumerate((threads, processes, pool)):
            assert (
                results(sweep.run(trials.learned, SETTINGS, tmp_path / f"{k}.jsonl", executor=executor))
                == alone
            )


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_returns_the_bits_of_trials_that_run_alone(
    tmp_path: Path, alone: list[dict[str, Any]], backend: str
) -> None:
    joblib = pytest.importorskip("joblib")
    for return_as in ("generator", "generator_unordered"):
        parallel = joblib.Parallel(2, backend=backend, return_as=return_as)
        path = tmp_path / f"{return_as}.jsonl"
        assert results(sweep.run(trials.learned, SETTINGS, path, executor=parallel)) == alone


def test_what_is_no_executor_is_refused(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    for executor in (joblib.Parallel(2), 2):
        with pytest.raises(TypeError, match=r'executor is .*: expected .*return_as="generator_unordered"'):
            sweep.run(trials.learned, SETTINGS, tmp_path / "rows.jsonl", executor=executor)


@pytest.mark.timeout(90)
def test_dask_returns_the_bits_of_trials_that_run_alone(tmp_path: Path, alone: list[dict[str, Any]]) -> None:
    distributed = pytest.importorskip("distributed")
    here = {"host": "127.0.0.1", "dashboard_address": None, "processes": True, "threads_per_worker": 1}
    with distributed.LocalCluster(n_workers=2, **here) as cluster, distributed.Client(cluster) as client:
        assert results(sweep.run(trials.learned, SETTINGS, tmp_path / "rows.jsonl", executor=client)) == alone
        # Trials that failed are run again, and not looked up.
        settings = sweep.grid(k=range(2), folder=str(tmp_path))
        for mended in (False, True):
            if mended:
                (tmp_path / "mended").touch()
            rows = sweep.run(trials.fails, settings, tmp_path / "failed.jsonl", executor=client, retry=True)
            assert (rows[1]["failure"] is None) == mended


def test_executors_with_futures_and_arrays_of_their_own(tmp_path: Path, alone: list[dict[str, Any]]) -> None:
    """As submitit has them: futures of another class, which are there once an array is whole."""

    class Job:
        def __init__(self, call: Any) -> None:
            self.polled, self.call = 0, call

        def done(self) -> bool:
            self.polled += 1
            return self.polled > 2

        def result(self) -> Any:
            return self.call()

        def cancel(self) -> None:
            raise AssertionError("it is done")

    class Executor:
        def __init__(self) -> None:
            self.arrays: list[str] = []

        def batch(self) -> Executor:
            return self

        def __enter__(self) -> None:
            self.arrays.append("begun")

        def __exit__(self, *error: object) -> None:
            self.arrays.append("whole")

        def submit(self, function: Any, *arguments: Any) -> Job:
            assert self.arrays == ["begun"]
            return Job(lambda: function(*arguments))

    executor = Executor()
    assert results(sweep.run(trials.learned, SETTINGS, tmp_path / "rows.jsonl", executor=executor)) == alone
    assert executor.arrays == ["begun", "whole"]
    # No array of nothing, of which submitit warns.
    assert results(sweep.run(trials.learned, SETTINGS, tmp_path / "rows.jsonl", executor=executor)) == alone
    assert executor.arrays == ["begun", "whole"]


def test_trials_that_were_not_begun_are_cancelled_if_the_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    futures: list[Future[str]] = []

    class Lazy:
        def submit(self, function: Any, *arguments: Any) -> Future[str]:
            future: Future[str] = Future()
            if not futures:
                future.set_result(function(*arguments))
            futures.append(future)
            return future

    append = sweep._append

    def full(path: Any, line: str) -> None:
        if line:
            raise OSError(28, "path is full")
        append(path, line)

    monkeypatch.setattr(sweep, "_append", full)
    with pytest.raises(OSError, match="path is full"):
        sweep.run(trials.learned, SETTINGS, tmp_path / "rows.jsonl", executor=Lazy())
    assert [future.cancelled() for future in futures] == [False, True, True, True, True, True]


def test_optuna_sees_the_bits_of_trials_that_run_alone(alone: list[dict[str, Any]]) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(asked: Any) -> float:
        network = asked.suggest_categorical("network", ["dann", "mlp", "column-ei"])
        result = trials.learned(network, asked.suggest_float("lr", 0.1, 0.1), asked.suggest_int("seed", 0, 1))
        asked.set_user_attr("result", result)
        return float(result["validation_error"])  # type: ignore[arg-type]

    study = optuna.create_study(
        sampler=optuna.samplers.GridSampler(
            {name: list({it[name] for it in SETTINGS}) for name in SETTINGS[0]}
        )
    )
    study.optimize(objective, n_jobs=2)
    found = [trial.params | trial.user_attrs["result"] | {"failure": None} for trial in study.trials]
    assert len(found) >= len(alone)
    assert all(it in alone for it in found)
    assert all(it in found for it in alone)


# ---- pictures


def test_pictures_are_drawn_also_of_what_failed(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    pandas = pytest.importorskip("pandas")
    good = [
        {
            "network": name,
            "lr": lr,
            "seed": seed,
            "validation_error": 0.1 * seed + lr,
            "test_errors": [0.5, 0.1 * seed],
        }
        for name in ("mlp", "dann")
        for lr in (0.01, 0.1)
        for seed in (0, 1)
    ]
    bad = [
        {"network": "dann", "lr": 1.0, "failure": "Diverged: …"},
        {"network": "eg", "lr": 1.0, "failure": "Diverged: …"},
    ]
    frame = pandas.DataFrame([it | {"failure": None} for it in good] + bad)
    axes = sweep.plots.rates(frame)
    assert isinstance(axes, matplotlib.axes.Axes)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["mlp", "dann", "eg"]
    lines = axes.get_lines()
    # Means, dots, and crosses of each network.
    assert [list(line.get_xdata()) for line in lines[3:6]] == [[0.01, 0.1], [0.01, 0.01, 0.1, 0.1], [1.0]]
    assert np.allclose(lines[3].get_ydata(), [0.06, 0.15])
    assert list(lines[8].get_xdata()) == [1.0]
    axes.figure.savefig(tmp_path / "rates.svg")
    axes = sweep.plots.curves(frame, y="test_errors")
    assert np.allclose(axes.get_lines()[0].get_ydata(), [0.5, 0.05])
    assert len(axes.collections) == 2
    axes.figure.savefig(tmp_path / "curves.svg")
    assert sweep.plots.curves(frame, y="test_errors", axes=axes) is axes


# ---- examples


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "needs", "says"),
    [
        ("compare", "matplotlib", "| dann-nc |"),
        ("sweep_joblib", "joblib", "dann"),
        ("sweep_dask", "distributed", "dann"),
        ("search_optuna", "optuna", "validation error"),
        ("slurm_submitit", "submitit", "dann"),
        ("sweep_ray", "ray", "dann"),
    ],
)
def test_examples_run_and_go_on(tmp_path: Path, name: str, needs: str, says: str) -> None:
    pytest.importorskip(needs, reason=f"examples/{name}.py needs {needs}, which is not installed")
    out = str(tmp_path / "out")
    logs = ["--logs", str(tmp_path / "logs")] if name == "slurm_submitit" else []
    for _ in range(2):
        # Engines tell of themselves on standard error.
        said = run(
            EXAMPLES / f"{name}.py", "--quick", "--out", out, *logs, seconds=50, silent=name == "compare"
        )
        assert says in said
    if name == "compare":
        assert {it.name for it in Path(out).iterdir()} > {"rates.svg", "curves.svg", "table.md"}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", ["ddp", "local_sgd"])
def test_examples_of_several_processes_run(tmp_path: Path, name: str) -> None:
    pytest.importorskip("torch")
    launcher = tmp_path / "torchrun.py"
    launcher.write_text("from torch.distributed.run import main\n\nmain()\n")
    here = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--nproc-per-node", "2"]
    script, environment = str(EXAMPLES / f"{name}.py"), {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    said = run(launcher, *here, script, "--quick", seconds=80, silent=False, **environment)
    assert "on 2 processes" in said


def test_every_example_is_tested() -> None:
    names = {it.stem for it in EXAMPLES.glob("*.py")}
    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    assert {name for name in names if f'"{name}"' not in text and name != "trial"} == set()
