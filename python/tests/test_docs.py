"""The Python blocks of the pages run, in their order, without a warning.

A comment before a block says what it needs: `<!-- needs: MODULE -->`, `<!-- torchrun: PROCESSES -->` for a
script of its own, or `<!-- no-run: WHY -->`, which is only compiled.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:^<!-- ([a-z-]+): ([^\n]*) -->\n)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of a page, and what a comment says of it."""

    page: Path
    line: int
    code: str
    what: str | None
    value: str | None

    def __str__(self) -> str:
        return f"{self.page.stem}-{self.line}"

    def compiled(self) -> object:
        """Code whose errors name the line of the page."""
        tree = ast.parse(self.code, str(self.page))
        return compile(ast.increment_lineno(tree, self.line - 1), str(self.page), "exec")


def blocks(page: Path) -> Iterator[Block]:
    """The Python blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start(3)) + 1
        yield Block(page, line, found[3], found[1], found[2])


def marked(what: str) -> pytest.MarkDecorator:
    """One test for each block of which a comment says this."""
    such = [block for page in PAGES for block in blocks(page) if block.what == what]
    return pytest.mark.parametrize("block", such, ids=str)


def test_comments_are_known() -> None:
    whats = {block.what for page in PAGES for block in blocks(page)}
    assert whats == {None, "needs", "no-run", "torchrun"}
    # A comment that is not right before its block would be read by nobody.
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("<!--") == sum(block.what is not None for block in blocks(page)), page


@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    absent = set()
    for block in blocks(page):
        if block.what in ("no-run", "torchrun"):
            continue
        if block.what == "needs" and importlib.util.find_spec(block.value) is None:
            absent.add(block.value)
            continue
        exec(block.compiled(), names)
    if absent:
        pytest.skip(f"all ran but the blocks that need {', '.join(sorted(absent))}")


@pytest.mark.timeout(120)
@marked("torchrun")
def test_processes(block: Block, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    # PyTorch's threads for gloo may abort while the interpreter ends, in one run of ten on a busy machine,
    # also of scripts that have nothing of this package. All that the block does is done by then.
    script.write_text(f"{block.code}\nimport os\nos._exit(0)\n", encoding="utf-8")
    run = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={block.value}",
        str(script),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


@marked("no-run")
def test_what_does_not_run_is_code(block: Block) -> None:
    block.compiled()
    pytest.skip(f"compiled only: {block.value}")
