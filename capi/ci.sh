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
if command -v readelf >/dev/null; then
    readelf -d "$lib/libinterneuron.so" | grep "SONAME.*\[libinterneuron.so\]"
fi
nm -D --defined-only "$lib/libinterneuron.so" | awk '{ print $NF }' | sort >"$tmp/symbols"
diff capi/symbols.txt "$tmp/symbols" || { echo "the exported symbols are not those of capi/symbols.txt"; exit 1; }

part "the same loss, to the bit, from Rust and from C"
cargo run --quiet --release -p interneuron-capi --example same_problem >"$tmp/rust"
cat "$tmp/rust"
for program in "train-static" "train-shared" "train-shared --threads 2" "train-cxx"; do
    # The program's name and its options.
    "$CARGO_TARGET_DIR/c/"$program | tail -n 1 | diff "$tmp/rust" - || { echo "$program has another loss"; exit 1; }
done

part "double, strides, arrays of the program's own, states and files, as C and as C++"
cc -std=c99 -O2 -g -Wall -Wextra -Werror -Icapi/include -o "$tmp/double" capi/tests/double.c "$lib/libinterneuron.a" \
    -lpthread -lm -ldl
c++ -O2 -g -Wall -Wextra -Werror -Icapi/include -x c++ -o "$tmp/double-cxx" capi/tests/double.c -x none \
    "$lib/libinterneuron.a" -lpthread -lm -ldl
"$tmp/double" "$tmp/double.safetensors"
"$tmp/double-cxx" "$tmp/double.safetensors"

part "the C program on IDX files, and on broken ones"
python3 - "$tmp" <<'PYTHON'
import struct, sys
images = bytes(10 + 200 * (i % 7 == k) for k in range(64) for i in range(7 * 9))
with open(sys.argv[1] + "/images", "wb") as file:
    file.write(struct.pack(">4I", 0x803, 64, 7, 9) + images)
with open(sys.argv[1] + "/labels", "wb") as file:
    file.write(struct.pack(">2I", 0x801, 64) + bytes(k % 10 for k in range(64)))
with open(sys.argv[1] + "/short", "wb") as file:
    file.write(struct.pack(">4I", 0x803, 64, 7, 9) + images[1:])
with open(sys.argv[1] + "/letters", "wb") as file:
    file.write(struct.pack(">2I", 0x801, 64) + bytes(1 + k % 26 for k in range(64)))
with open(sys.argv[1] + "/one-class", "wb") as file:
    file.write(struct.pack(">2I", 0x801, 64) + bytes([3]) * 64)
with open(sys.argv[1] + "/page", "wb") as file:
    file.write(b"<!DOCTYPE html><title>404</title>")
PYTHON
gzip -k "$tmp/images"
train=$CARGO_TARGET_DIR/c/train-static
"$train" "$tmp/images" "$tmp/labels" | tee "$tmp/output" | tail -n 1 | grep "of 64 wrong"
grep "64 examples of 10 classes, with labels from 0 to 9" "$tmp/output"
"$train" "$tmp/images" "$tmp/letters" | grep "64 examples of 26 classes, with labels from 1 to 26"
# refused WORDS COMMAND: the command ends with code 1 and says so.
refused() {
    local words=$1 status=0
    shift
    "$@" >/dev/null 2>"$tmp/error" || status=$?
    { test "$status" = 1 && grep -- "$words" "$tmp/error"; } ||
        { echo "expected code 1 and \"$words\", got code $status:"; cat "$tmp/error"; exit 1; }
}
refused "does not hold what its header says" "$train" "$tmp/short" "$tmp/labels"
refused "compressed by gzip.*expected images" "$train" "$tmp/images.gz" "$tmp/labels"
refused "an HTML page.*expected labels" "$train" "$tmp/images" "$tmp/page"
refused "another number of dimensions" "$train" "$tmp/labels" "$tmp/labels"
refused "labels are all 3" "$train" "$tmp/images" "$tmp/one-class"
refused "--epochs is 0: expected a whole number from 1 to 100000" "$train" --epochs 0
refused "--epochs is 99999999999999999999: expected" "$train" --epochs 99999999999999999999
refused "--threads is 1025: expected a whole number from 0 to 1024" "$train" --threads 1025
refused "--threads is two: expected" "$train" --threads two
full() { "$train" >/dev/full; }
closed() { "$train" >&-; }
# Not written at once: all would fit into the pipe before its reader is gone.
unread() { local status; "$train" --epochs 1000 | true; status=${PIPESTATUS[0]}; return "$status"; }
if [ -e /dev/full ]; then
    refused "standard output: " full
fi
refused "standard output: " closed
refused "standard output: " unread

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

part "installation, into folders of all names"
here=$PWD
# The name of the folder, as it is given to the script from a folder of its own.
for name in prefix "with space & more" "a|b" "it's" 'quote"d' 'back\slash' "#hash" -lead './rel/../ative "x" \ end'; do
    rm -rf "$tmp/install" && mkdir "$tmp/install"
    (cd "$tmp/install" && "$here/capi/install.sh" "$name" 2>"$tmp/error") || { cat "$tmp/error"; exit 1; }
    prefix=$(cd "$tmp/install" && cd -- "$name" && pwd)
    test -e "$prefix/include/interneuron.h" && test -e "$prefix/lib/libinterneuron.a"
    if command -v pkg-config >/dev/null; then
        export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
        eval "cc $(pkg-config --cflags interneuron) -o \"\$tmp/train\" examples/c/train.c $(pkg-config --libs interneuron)"
        LD_LIBRARY_PATH=$prefix/lib "$tmp/train" | tail -n 1 | diff "$tmp/rust" -
    else
        echo "SKIPPED: there is no pkg-config"
    fi
done
# Flags with a dollar are right where no shell reads them again, which the script says.
capi/install.sh "$tmp/dol\$lar" 2>&1 | grep "pkg-config does not escape"
if command -v pkg-config >/dev/null; then
    export PKG_CONFIG_PATH="$tmp/dol\$lar/lib/pkgconfig"
    # The flags are words.
    # shellcheck disable=SC2046
    cc $(pkg-config --cflags interneuron) -o "$tmp/train" examples/c/train.c $(pkg-config --libs interneuron)
fi
unset PKG_CONFIG_PATH
refused "on one line" capi/install.sh "$tmp/two
lines"
refused "reads a variable" capi/install.sh "$tmp/\${prefix}"
refused "usage" capi/install.sh ""

part "the C program in a folder with a space, with variables that are empty"
mkdir "$tmp/target folder"
# What was compiled serves there, too.
ln -s "$lib" "$tmp/target folder/release"
CARGO="true" CARGO_TARGET_DIR="$tmp/target folder" make --no-print-directory -C examples/c all
"$tmp/target folder/c/train-shared" | tail -n 1 | diff "$tmp/rust" -
INTERNEURON_ISA="" "$CARGO_TARGET_DIR/c/train-shared" | tail -n 1 | diff "$tmp/rust" -

part "child processes"
cc -std=c99 -O2 -g -Wall -Wextra -Werror -Icapi/include -o "$tmp/fork" capi/tests/fork.c -ldl
"$tmp/fork" "$lib/libinterneuron.so"
python3 capi/tests/fork.py "$lib/libinterneuron.so"

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
    INTERNEURON_FORK_TEST=1 cargo --config 'target."cfg(unix)".runner="valgrind --quiet --error-exitcode=9 --fair-sched=yes"' \
        test --quiet --release -p interneuron-capi --lib -- --test-threads=1
    for program in train-static train-shared; do
        for threads in 0 2; do
            echo "$program, $threads threads, $isa"
            $check "$CARGO_TARGET_DIR/c/$program" --isa "$isa" --threads "$threads" --epochs 1 | tail -n 1
        done
    done
    echo "double, $isa"
    INTERNEURON_ISA=$isa $check "$tmp/double" "$tmp/double.safetensors"
    echo "child processes, $isa"
    # A child gives up what it cannot end: pools of its parent.
    INTERNEURON_ISA=$isa valgrind --quiet --error-exitcode=9 --fair-sched=yes "$tmp/fork" "$lib/libinterneuron.so"
    echo "$program, where the call fails"
    status=0
    $check "$CARGO_TARGET_DIR/c/$program" --isa mmx 2>"$tmp/error" || status=$?
    test "$status" = 1
    grep -v "==" "$tmp/error"
else
    echo "SKIPPED: valgrind is not there and cannot be installed"
fi
