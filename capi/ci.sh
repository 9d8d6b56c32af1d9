#!/usr/bin/env bash
# Everything that must hold of the C library, from its sources to programs that use it. Needs a Rust toolchain, a C and
# a C++ compiler and Python; gets NumPy and valgrind itself where it can, and says where it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
lib=$CARGO_TARGET_DIR/release
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

part() { printf -- '-- %s\n' "$*"; }

part "formatting and lints"
cargo fmt --check -p interneuron-capi
cargo clippy --quiet -p interneuron-capi --all-targets -- -D warnings

part "tests of every entry point, and that the header is what the sources say"
cargo test --quiet --release -p interneuron-capi

part "the C program, as C and as C++"
make --no-print-directory -C examples/c all
nm -D --defined-only "$lib/libinterneuron.so" | awk '{ print $NF }' | sort >"$tmp/symbols"
diff capi/symbols.txt "$tmp/symbols" || { echo "the exported symbols are not those of capi/symbols.txt"; exit 1; }

part "the same loss, to the bit, from Rust and from C"
cargo run --quiet --release -p interneuron-capi --example same_problem >"$tmp/rust"
cat "$tmp/rust"
for program in "train-static" "train-shared" "train-shared --threads 2" "train-cxx"; do
    # The program's name and its options.
    "$CARGO_TARGET_DIR/c/"$program | tail -n 1 | diff "$tmp/rust" - || { echo "$program has another loss"; exit 1; }
done

part "the C program on IDX files, and on a broken one"
python3 - "$tmp" <<'PYTHON'
import struct, sys
images = bytes(10 + 200 * (i % 7 == k) for k in range(64) for i in range(7 * 9))
with open(sys.argv[1] + "/images", "wb") as file:
    file.write(struct.pack(">4I", 0x803, 64, 7, 9) + images)
with open(sys.argv[1] + "/labels", "wb") as file:
    file.write(struct.pack(">2I", 0x801, 64) + bytes(k % 10 for k in range(64)))
with open(sys.argv[1] + "/short", "wb") as file:
    file.write(struct.pack(">4I", 0x803, 64, 7, 9) + images[1:])
PYTHON
"$CARGO_TARGET_DIR/c/train-static" "$tmp/images" "$tmp/labels" | tail -n 1 | grep "of 64 wrong"
if "$CARGO_TARGET_DIR/c/train-static" "$tmp/short" "$tmp/labels" 2>"$tmp/error"; then
    echo "a truncated file was read" && exit 1
fi
grep "does not hold what its header says" "$tmp/error"

part "Python: the script, and the golden cases"
python=python3
if ! python3 -c "import numpy" 2>/dev/null; then
    if python3 -m venv "$tmp/venv" && "$tmp/venv/bin/pip" install --quiet numpy; then
        python=$tmp/venv/bin/python
    else
        python=
        echo "SKIPPED: NumPy is not there and cannot be installed"
    fi
fi
if [ -n "$python" ]; then
    test "$(wc -l <examples/python/layer.py)" -lt 80
    "$python" examples/python/layer.py "$lib/libinterneuron.so" | tail -n 1
    "$python" capi/tests/golden.py "$lib/libinterneuron.so"
fi

part "pkg-config"
if command -v pkg-config >/dev/null; then
    capi/install.sh "$tmp/prefix"
    export PKG_CONFIG_PATH=$tmp/prefix/lib/pkgconfig
    # The flags are words.
    # shellcheck disable=SC2046
    cc $(pkg-config --cflags interneuron) -o "$tmp/train" examples/c/train.c $(pkg-config --libs interneuron)
    LD_LIBRARY_PATH=$tmp/prefix/lib "$tmp/train" | tail -n 1 | diff "$tmp/rust" -
else
    echo "SKIPPED: there is no pkg-config"
fi

part "valgrind"
if ! command -v valgrind >/dev/null; then
    (apt-get update && apt-get install -y valgrind) >/dev/null 2>&1 || true
fi
if command -v valgrind >/dev/null; then
    # It may not know AVX-512, which the CPU may have.
    isa=portable
    grep -qw avx2 /proc/cpuinfo && isa=avx2
    check="valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all \
        --fair-sched=yes --suppressions=capi/valgrind.supp"
    echo "the tests of every entry point"
    cargo --config 'target."cfg(unix)".runner="valgrind --quiet --error-exitcode=9 --fair-sched=yes"' \
        test --quiet --release -p interneuron-capi --lib
    for program in train-static train-shared; do
        for threads in 0 2; do
            echo "$program, $threads threads, $isa"
            $check "$CARGO_TARGET_DIR/c/$program" --isa "$isa" --threads "$threads" --epochs 1 | tail -n 1
        done
    done
    echo "$program, where the call fails"
    status=0
    $check "$CARGO_TARGET_DIR/c/$program" --isa mmx 2>"$tmp/error" || status=$?
    test "$status" = 1
    grep -v "==" "$tmp/error"
else
    echo "SKIPPED: valgrind is not there and cannot be installed"
fi
