"""Which tests can run here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

HERE = Path(__file__).parent

collect_ignore: list[str] = []

if importlib.util.find_spec("torch") is None:
    # Those that cannot be read without PyTorch. The others run, and the summary says what did not.
    for test in sorted(HERE.glob("test_*.py")):
        text = test.read_text()
        if "import torch" in text or "interneuron.torch" in text or "from common import" in text:
            collect_ignore.append(test.name)


def pytest_report_header() -> list[str]:
    if not collect_ignore:
        return []
    return [f"SKIPPED, since PyTorch is not installed: {', '.join(collect_ignore)}"]
