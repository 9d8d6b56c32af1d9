"""Programs that tests run in processes of their own: one that hangs fails its test, and is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PYTHON = Path(__file__).parents[1]
SCRIPTS = Path(__file__).parent / "scripts"
# Python 3.12 warns of every fork of a process with threads, which is what is tested here.
_FLAGS = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]


class Program:
    """A program that runs, with an environment that says nothing of threads unless it is told to."""

    def __init__(self, path: Path, *arguments: str, **environment: str) -> None:
        threads = ("OMP_NUM_THREADS", "INTERNEURON_NUM_THREADS", "MKL_NUM_THREADS")
        inherited = {name: value for name, value in os.environ.items() if name not in threads}
        # The package as it is imported here, for the processes that the program starts, too.
        inherited["PYTHONPATH"] = os.pathsep.join(it for it in sys.path if it)
        self._process = subprocess.Popen(
            [sys.executable, *_FLAGS, str(path), *arguments],
            env=inherited | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def output(self, seconds: float) -> tuple[int, str, str]:
        """Exit code, output and errors. A program that takes longer is killed with all that it started."""
        try:
            out, errors = self._process.communicate(timeout=seconds)
            return self._process.returncode, out, errors
        except subprocess.TimeoutExpired:
            self.kill()
            out, errors = self._process.communicate()
            raise AssertionError(f"no end after {seconds} s; said: {out}{errors}") from None

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends it and all that it started, at once, if it has not ended."""
        # Only so is the number still that of this process.
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)


def run(path: Path, *arguments: str, seconds: float, silent: bool = True, **environment: str) -> str:
    """What a program says that ends well, and, unless `silent` is False, without a word on standard error."""
    code, out, errors = Program(path, *arguments, **environment).output(seconds)
    assert code == 0, f"exit code {code}: {out}{errors}"
    assert not silent or errors == "", errors
    return out
