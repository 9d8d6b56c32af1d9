"""The demonstration, in small."""

import subprocess
import sys

import pytest

from interneuron import demo

SMALL = [
    "--train",
    "600",
    "--test",
    "100",
    "--hidden",
    "40,40",
    "--inhibitory",
    "5",
    "--epochs",
    "2",
    "--threads",
    "1",
]


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(SMALL) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "600 images for training, 100 for testing, 10 classes"
    assert [line.split()[0] for line in lines[2:]] == ["network", "mlp", "dann", "dann-nc"]
    assert demo.main(SMALL) == 0
    again = capsys.readouterr().out.splitlines()
    assert [line.split()[:6] for line in again[3:]] == [line.split()[:6] for line in lines[3:]]


def test_errors_are_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main([*SMALL, "--hidden", "a,b"]) == 2
    assert capsys.readouterr().err == "error: --hidden is 'a,b': expected numbers such as 200,200\n"
    assert demo.main([*SMALL, "--threads", "0"]) == 2
    assert demo.main([*SMALL, "--data", "/nowhere"]) == 2
    assert "/nowhere" in capsys.readouterr().err


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "interneuron.demo", "--help"], capture_output=True, text=True, timeout=25
    )
    assert done.returncode == 0 and "Train a plain network and two inhibited ones" in done.stdout
