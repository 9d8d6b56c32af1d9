"""Processes that begin and end: pools of threads, workers, graphs that are left over."""

from __future__ import annotations

import sys

import pytest
from script import SCRIPTS, Program, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and counts threads in /proc")

POOLS, TORCH = SCRIPTS / "pools.py", SCRIPTS / "torch_processes.py"
METHODS = ["fork", "forkserver", "spawn"]


@pytest.mark.parametrize("how", ["fork", "fork_in_thread", "fork_beside_computation", "fork_after_eviction"])
def test_a_forked_process_makes_its_own_pool_and_computes_the_same_bits(how: str) -> None:
    run(POOLS, how, seconds=20)


@pytest.mark.parametrize("method", METHODS)
def test_workers_of_python_compute_the_same_bits_after_the_parent_used_its_pool(method: str) -> None:
    run(POOLS, "executor", method, seconds=25)


@pytest.mark.parametrize("how", ["exit_with_pool", "exit_of_child", "exit_beside_computation"])
def test_the_interpreter_ends_without_a_word(how: str) -> None:
    assert run(POOLS, how, seconds=15) == ""


def test_pools_that_are_not_kept_end_their_threads() -> None:
    run(POOLS, "evicted", seconds=15)


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "INTERNEURON_NUM_THREADS"])
def test_two_processes_with_one_thread_each_start_no_pool(variable: str) -> None:
    programs = [Program(POOLS, "one_thread", **{variable: "1"}) for _ in range(2)]
    for program in programs:
        assert program.output(15) == (0, "", "")


@pytest.mark.timeout(90)
@pytest.mark.parametrize("method", METHODS)
def test_layers_compute_in_workers_of_a_data_loader(method: str) -> None:
    pytest.importorskip("torch")
    run(TORCH, "loader", method, seconds=80)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", ["fork", "rule", "exit_with_graphs"])
def test_layers_of_torch_go_through_forks_threads_and_exits(what: str) -> None:
    pytest.importorskip("torch")
    assert run(TORCH, what, seconds=50) == ""


@pytest.mark.timeout(60)
def test_two_processes_of_torch_with_one_thread_each_start_no_pool() -> None:
    pytest.importorskip("torch")
    programs = [Program(TORCH, "follows_environment", OMP_NUM_THREADS="1") for _ in range(2)]
    for program in programs:
        assert program.output(50) == (0, "", "")
