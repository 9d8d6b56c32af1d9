#!/usr/bin/env bash
# Builds the package's wheel from its source distribution, installs it in an environment of its own, and runs all that
# must hold of it. Needs Python 3.11 or newer, a Rust toolchain, and what pip can install.
set -euo pipefail
cd "$(dirname "$0")"

python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What the workspace has compiled of other packages serves here, too.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}
say() { printf -- '-- %s (after %d s)\n' "$*" "$SECONDS"; }

say "an environment"
"$python" -m venv "$work/venv"
bin=$work/venv/bin
pip() { "$bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
if ! pip install 'maturin>=1.9.4,<2'; then
    echo "SKIPPED: maturin cannot be had, so there is no wheel; that the module compiles is all that is seen"
    cargo check --package interneuron-python
    exit 0
fi

say "the source distribution, and the wheel made of it"
"$bin/maturin" sdist --manifest-path Cargo.toml --out "$work/sdist"
pip wheel --no-deps --wheel-dir "$work/wheel" "$work"/sdist/*.tar.gz
ls -l "$work"/sdist/* "$work"/wheel/*
size=$(stat --format %s "$work"/wheel/*.whl)
[ "$size" -le $((4 << 20)) ] || { echo "the wheel has $size bytes"; exit 1; }

say "the wheel and what its tests take"
pip install "$(echo "$work"/wheel/*.whl)[test]"
"$bin/python" - <<'END'
import sys
import interneuron
assert not {"numpy", "torch"} & set(sys.modules), "import interneuron loads NumPy or PyTorch"
print(interneuron.info())
END
pip install torch || echo "SKIPPED: PyTorch cannot be had, so the tests of interneuron.torch do not run"

say "the demonstration"
"$bin/python" -m interneuron.demo --train 2000 --test 500 --hidden 64,64 --epochs 1

say "types, and the stub of the module"
mkdir "$work/elsewhere" && cp tests/stubtest.txt "$work/elsewhere" && cd "$work/elsewhere"
if "$bin/python" -c 'import torch' 2>/dev/null; then
    "$bin/mypy" --strict --package interneuron
fi
"$bin/python" -m mypy.stubtest interneuron._core --concise --allowlist stubtest.txt
cd - >/dev/null

say "tests"
# As the README says it. The folder has no module that could be taken for the installed one.
command="pytest python/tests"
grep -q "^$command" README.md
(cd .. && PATH="$bin:$PATH" $command --quiet -p no:logging)
(cd .. && INTERNEURON_ISA=portable PATH="$bin:$PATH" pytest --quiet -p no:logging python/tests/test_network.py python/tests/test_layer.py python/tests/test_rnn.py)

say "documentation"
if pip install mkdocs-material 'mkdocstrings[python]'; then
    "$bin/mkdocs" build --quiet --strict --site-dir "$work/site"
else
    echo "SKIPPED: mkdocs cannot be had"
fi
say "done"
