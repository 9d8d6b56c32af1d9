"""How many threads compute, and which rule says so."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import interneuron as inn
from interneuron import _threads
from interneuron.errors import InvalidValue

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(autouse=True)
def nothing_set() -> Iterator[None]:
    inn.set_num_threads(None)
    yield
    inn.set_num_threads(None)


def said(code: str = "", **variables: str) -> str:
    """What `info` says in a process with these variables: the number and its rule."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("INTERNEURON_NUM_THREADS", "OMP_NUM_THREADS")
    }
    program = f"import interneuron as inn\n{code}\ninfo = inn.info()\nprint(info['threads'], info['rule'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=25,
        env={**environment, **variables},
    )
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def test_order_of_the_rules() -> None:
    both = {"INTERNEURON_NUM_THREADS": "5", "OMP_NUM_THREADS": "7"}
    assert said("inn.set_num_threads(3)\nblock = inn.threads(2)\nblock.__enter__()", **both) == "2 threads()"
    assert said("inn.set_num_threads(3)", **both) == "3 set_num_threads()"
    assert said(**both) == "5 INTERNEURON_NUM_THREADS"
    assert said(OMP_NUM_THREADS="7") == "7 OMP_NUM_THREADS"
    assert said(OMP_NUM_THREADS="6,3,1") == "6 OMP_NUM_THREADS"
    assert said(INTERNEURON_NUM_THREADS="", OMP_NUM_THREADS="4") == "4 OMP_NUM_THREADS"
    assert said("inn.set_num_threads(3)\ninn.set_num_threads(None)", **both) == "5 INTERNEURON_NUM_THREADS"


def test_the_machine_decides_at_last() -> None:
    count, rule = said().split()
    assert rule in ("affinity", "cgroup", "cpu_count") and 1 <= int(count) <= CORES
    if hasattr(os, "sched_setaffinity"):
        one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
        assert said(one) == "1 affinity"


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "1025", "٣"])
def test_variables_that_are_no_number(text: str) -> None:
    for name in ("INTERNEURON_NUM_THREADS", "OMP_NUM_THREADS"):
        expected = (
            f"interneuron.errors.InvalidValue: {name} is {text!r}: expected a whole number from 1 to 1024"
        )
        assert said(**{name: text}, PYTHONIOENCODING="utf-8") == expected


@pytest.mark.parametrize(
    ("n", "error", "text"),
    [
        (0, InvalidValue, "n is 0: expected from 1 to 1024"),
        (1025, InvalidValue, "n is 1025: expected from 1 to 1024"),
        (1.0, TypeError, "n is 1.0: expected a whole number"),
        (True, TypeError, "n is True: expected a whole number"),
    ],
)
def test_numbers_that_cannot_be(n: int, error: type[Exception], text: str) -> None:
    inn.set_num_threads(3)
    for call in (inn.set_num_threads, lambda n: inn.threads(n).__enter__()):
        with pytest.raises(error, match=text):
            call(n)
    assert inn.get_num_threads() == 3


def test_blocks_nest_and_end() -> None:
    inn.set_num_threads(3)
    with inn.threads(2):
        with inn.threads(1):
            assert inn.get_num_threads() == 1
        assert inn.get_num_threads() == 2
    with pytest.raises(KeyError), inn.threads(2):
        raise KeyError
    assert inn.get_num_threads() == 3


def test_blocks_are_of_one_thread() -> None:
    inn.set_num_threads(3)
    seen: list[int] = []
    with inn.threads(1):
        other = threading.Thread(target=lambda: seen.append(inn.get_num_threads()))
        other.start()
        other.join()
    assert seen == [3] or (sys.version_info >= (3, 14) and seen == [1])


def test_info() -> None:
    info = inn.info()
    assert set(info) == {"version", "isa", "isas", "threads", "rule", "pools"}
    assert info["isa"] in info["isas"] and info["version"] == inn.__version__


def groups(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "250000 100000\n", "a/cpu.max": "400000 100000\n"}, 2),
        ("0::/elsewhere\n", {"cpu.max": "150000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        (
            "3:cpu,cpuacct:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "400000\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            4,
        ),
        (
            "3:cpu,cpuacct:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        ("2:memory:/x\nnonsense\n", {"cpu.max": "100000 100000\n"}, None),
    ],
)
def test_quotas_of_control_groups(
    tmp_path: Path, membership: str, files: dict[str, str], quota: int | None
) -> None:
    root = groups(tmp_path / "root", files)
    (tmp_path / "cgroup").write_text(membership)
    assert _threads._quota(str(tmp_path / "cgroup"), root) == quota
    assert _threads._quota(str(tmp_path / "missing"), root) is None
